//! `aw-alert import` and `export`: files of other programs, in the encodings of other systems, of any size; what has no
//! known format is refused. Names pass through Debian's arpwatch and its arp2ethers.
#![forbid(unsafe_code)]

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use aw_tests::{
    capture_file::{ETHERNET, Pcap, Unit, at, ethernet_pcap, save},
    collect::{collect, json, lines},
    frames::{Arp, Ethernet, Mac, station},
    rig::{Finished, program, run},
    ring::Ring,
};
use serde_json::Value;
use tempfile::TempDir;

/// A vendor's MAC, unlike those of `station`: alerts about those wait for a digest.
fn device(number: u8) -> Mac {
    [0x00, 0x1b, 0x21, 0, 0, number]
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

struct Alert(TempDir);

impl Alert {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("state")).expect("our own directory");
        Alert(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        save(self.path(), name, content.as_ref())
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = program("aw-alert", &["--state-dir"]);
        command.arg(self.path().join("state")).args(options).env("TZ", "UTC");
        command
    }

    fn import(&self, name: &str, content: impl AsRef<[u8]>) -> Finished {
        let file = self.file(name, content);
        run(self.command(&["import", "--network", "lan", &file]))
    }

    #[track_caller]
    fn export(&self, options: &[&str]) -> String {
        run(self.command(&[&["export"], options].concat())).ok().stdout
    }

    /// What is stored, without names: `network ip mac last`.
    #[track_caller]
    fn pairings(&self) -> Vec<String> {
        let csv = self.export(&["csv"]);
        let columns = |line: &str| line.split(',').take(4).collect::<Vec<_>>().join(" ");
        csv.lines().skip(1).map(columns).collect()
    }

    /// The alerts about new devices, after the imports: each with an address 192.0.2.N.
    fn alerts(&self, macs: &[Mac], options: &[&str]) -> Vec<Value> {
        let ring = Ring::new();
        let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory");
        for (number, mac) in (1..).zip(macs) {
            let ip = Ipv4Addr::new(192, 0, 2, number);
            let frame = Arp::request(*mac, ip, [192, 0, 2, 254].into()).frame();
            file.packet(at(1_800_000_000), &frame).expect("memory");
        }
        collect(&ring, &file.finish().expect("memory"), &["-q"]).ok();
        let out = self.path().join("alerts");
        let script = self.file("append", format!("#!/bin/sh\nexec cat >> {}\n", out.display()));
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
        let options = [&["--once", "--ring", ring.name(), "--exec", &script], options].concat();
        run(self.command(&options)).ok();
        let text = fs::read_to_string(out).unwrap_or_default();
        text.lines().map(json).collect()
    }
}

/// When a file was written.
fn seconds_of(file: &Path) -> u64 {
    let time = fs::metadata(file).and_then(|file| file.modified()).expect("a file");
    time.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

#[track_caller]
fn imported(finished: Finished, what: &str) -> String {
    let finished = finished.ok();
    assert!(finished.stdout.trim_end().ends_with(&format!(": {what}")), "{finished:?}");
    finished.stderr
}

/// In each format that has no arp.dat: what addrwatch printed, the kernel's table, a fork's arp.dat with VLANs.
#[test]
fn pairings_of_other_programs() {
    // Lines of the collector, which are addrwatch's: a claim in a VLAN, two claims and a probe.
    let (a, b) = (station(1), station(2));
    let arp = |mac, last| Arp::request(mac, [10, 0, 0, last].into(), [10, 0, 0, 9].into());
    let mut frames =
        vec![arp(a, 1).frame(), arp(a, 1).frame(), Arp::probe(b, [10, 0, 0, 1].into()).frame()];
    frames.push(arp(b, 2).on(&Ethernet::from(b).tag(0x8100, 20)));
    let log = lines(&ethernet_pcap(&frames), &[]);
    assert_eq!(log.lines().count(), 4, "{log}");
    let alert = Alert::new();
    imported(alert.import("addrwatch.log", &log), "2 pairings imported");
    let pairing = |network: &str, ip: &str, mac, time: &str| {
        let mac = text(mac);
        format!("{network} {ip} {mac} {time}")
    };
    let time = |line: usize| log.lines().nth(line).unwrap().split(' ').next().unwrap().to_owned();
    let expected =
        [pairing("pcap", "10.0.0.1", a, &time(1)), pairing("pcap.20", "10.0.0.2", b, &time(3))];
    assert_eq!(alert.pairings(), expected);

    let alert = Alert::new();
    let row = |ip: &str, flags: &str, mac: &str| {
        format!("{ip:<16} 0x1         {flags}         {mac}     *        br0\n")
    };
    let heading =
        "IP address       HW type     Flags       HW address            Mask     Device\n"
            .to_owned();
    let table =
        heading + &row("10.0.0.1", "0x2", &text(a)) + &row("10.0.0.2", "0x0", "00:00:00:00:00:00");
    imported(alert.import("arp", table), "1 pairing imported");
    let written = seconds_of(&alert.path().join("arp"));
    assert_eq!(alert.pairings(), [pairing("br0", "10.0.0.1", a, &written.to_string())]);

    let alert = Alert::new();
    let vlans = format!(
        "{}\t20\t10.0.0.1\t1700000000\tnas\n{}\t0\t10.0.0.2\t1700000001\n",
        text(a),
        text(b)
    );
    imported(alert.import("arp.dat", vlans), "1 name imported");
    let expected = [
        pairing("lan", "10.0.0.2", b, "1700000001"),
        pairing("lan.20", "10.0.0.1", a, "1700000000"),
    ];
    assert_eq!(alert.pairings(), expected);
}

/// A file without times is as old as the file, not of 1970: its devices do not return after half a century.
#[test]
fn files_without_times() {
    let alert = Alert::new();
    let line = format!("{}\t192.0.2.1\n", text(device(1)));
    imported(alert.import("arpsnmp.dat", line), "1 pairing imported");
    let written = seconds_of(&alert.path().join("arpsnmp.dat"));
    assert_eq!(alert.pairings(), [format!("lan 192.0.2.1 {} {written}", text(device(1)))]);
}

/// Vendors of all lists, also of blocks smaller than 24 bits, are in the messages.
#[test]
fn vendors_of_all_lists() {
    let long = [0x00, 0x55, 0xda, 0x12, 0x34, 0x56];
    for (name, list, expected) in [
        ("ethercodes.dat", "0:1b:21\tIntel  Corporate\n0:0:6c\t \n", ["Intel Corporate", "-"]),
        ("ethercodes.db", "0:0:c\tCisco\n0:1b:21\tIntel Corporate\n", ["Intel Corporate", "-"]),
        (
            "manuf",
            "00:1B:21\tIntel\tIntel Corporate\n00:55:DA:10:00:00/28\tKoolPOS\tKoolPOS Inc.\n",
            ["Intel Corporate", "KoolPOS Inc."],
        ),
        (
            "nmap-mac-prefixes",
            "# $Id$\n001B21 Intel Corporate\n0055DA123 Small\n0055DA1 Medium\n",
            ["Intel Corporate", "Small"],
        ),
        (
            "oui.csv",
            "Registry,Assignment,Organization Name,Organization Address\nMA-L,001B21,\"Intel, Inc\",\"Lot 8, x\"\nMA-M,0055DA1,KoolPOS,x\n",
            ["Intel, Inc", "KoolPOS"],
        ),
        (
            "oui.txt",
            "00-1B-21   (hex)\t\tIntel\n001B21     (base 16)\t\tIntel Corporate\n\t\t\t\tLot 8\n\n",
            ["Intel Corporate", "-"],
        ),
    ] {
        let alert = Alert::new();
        // An earlier import is replaced.
        alert.import("old", "0:1b:21\tM\u{fffd}ller\n").ok();
        alert.import(name, list).ok();
        let alerts = alert.alerts(&[device(1), long], &[]);
        let vendor = |alert: &Value| alert["vendor"].as_str().unwrap_or("-").to_owned();
        assert_eq!(alerts.iter().map(vendor).collect::<Vec<_>>(), expected, "{name}: {alerts:?}");
    }
}

/// A text in Latin-1, in UTF-8 with a byte order mark, and in UTF-16; with the ends of lines of Windows.
fn in_all_encodings(text: &str) -> [Vec<u8>; 4] {
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let utf16 = |order: fn(u16) -> [u8; 2]| windows.encode_utf16().flat_map(order).collect();
    let latin = text.chars().map(|c| u8::try_from(c).expect("a character of Latin-1"));
    [
        latin.collect(),
        windows.clone().into_bytes(),
        utf16(u16::to_le_bytes),
        utf16(u16::to_be_bytes),
    ]
}

/// The names in a file of another system are right, in an import and in a list of known devices, also in Cisco's notation.
#[test]
fn encodings_of_other_systems() {
    let [a, b] = [device(1), device(2)].map(text);
    for bytes in in_all_encodings(&format!("[MACLIST]\n{a}|Müller\n{b}|Küche\n")) {
        let alert = Alert::new();
        imported(alert.import("names.conf", &bytes), "2 names imported");
        alert.import("arp.dat", format!("{a}\t10.0.0.1\t7\r\n")).ok();
        assert!(alert.export(&["csv"]).contains(",true,Müller,"), "{bytes:x?}");
    }
    let [cisco, bare] = [&a, &b].map(|mac| mac.replace(':', ""));
    let cisco = format!("{}.{}.{}", &cisco[..4], &cisco[4..8], &cisco[8..]);
    for bytes in in_all_encodings(&format!("mac,name\n{cisco},Müller\n{bare}\tKüche\n")) {
        let alert = Alert::new();
        let known = alert.file("known", &bytes);
        let config = alert.file("alert.toml", format!("known = {known:?}\n"));
        let checked = run(alert.command(&["-c", &config, "--check"])).ok();
        assert!(checked.stdout.contains("2 devices in the list of known devices"), "{checked:?}");
        alert.import("arp.dat", format!("{a}\t10.0.0.1\t7\n")).ok();
        let exported = run(alert.command(&["-c", &config, "export", "csv"])).ok().stdout;
        assert!(exported.contains(",true,Müller,"), "{exported}");
    }
}

#[test]
fn unknown_files_are_refused() {
    let alert = Alert::new();
    let passwd =
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n";
    let pcap = ethernet_pcap(&[Arp::probe(station(1), [10, 0, 0, 1].into()).frame()]);
    let program = fs::read("/bin/true").expect("a program");
    for (name, content) in [
        ("passwd", passwd.as_bytes()),
        ("capture.pcap", &pcap),
        ("program", &program),
        ("hosts", b"127.0.0.1 localhost\n::1 localhost\n"),
        ("json", b"{\"mac\": \"00:1b:21:00:00:01\"}\n"),
        ("zeros", &[0; 100_000]),
        (
            "random",
            &(0..100_000_u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect::<Vec<_>>(),
        ),
    ] {
        let refused = alert.import(name, content);
        refused.refused(
            "aw-alert",
            &[&format!("/{name}: no format that is known"), "arp.dat", "oui.csv", "hostwatch"],
        );
    }
    let other = alert.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    let other = other.display().to_string();
    run(alert.command(&["import", &other])).refused("aw-alert", &["no format that is known"]);
    // Views of another program are not read: this one has no end.
    let view = alert.path().join("view.db");
    let endless = "CREATE VIEW addrwatch AS WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n)
        SELECT n AS timestamp, 'lan' AS interface, 0 AS vlan_tag, '02:00:00:00:00:01' AS mac_address,
            '10.0.0.1' AS ip_address, 0 AS origin FROM n";
    rusqlite::Connection::open(&view).unwrap().execute_batch(endless).unwrap();
    let view = view.display().to_string();
    run(alert.command(&["import", &view])).refused("aw-alert", &["no format that is known"]);
    assert_eq!(alert.pairings(), [""; 0]);
    // arpwatch begins with an empty file. Bad lines among good ones are counted.
    imported(alert.import("arp.dat", ""), "0 pairings imported");
    let mac = text(device(1));
    let some = format!("{mac}\t10.0.0.1\t7\nrubbish\n{mac}\t10.0.0.2\t8\n\n{mac}\thost\t9\n");
    let stderr = imported(alert.import("arp.dat", some), "2 pairings imported");
    assert!(stderr.contains("arp.dat: 2 lines skipped, they cannot be read: 2, 5"), "{stderr}");
}

/// Neither gigabytes nor a line without an end fill the memory.
#[test]
fn large_files() {
    let alert = Alert::new();
    let limited = |file: &str| {
        let mut command = Command::new("/bin/sh");
        let limit = "ulimit -v 400000; exec \"$@\"";
        command.args(["-c", limit, "sh"]).arg(aw_tests::rig::binary("aw-alert"));
        command.arg("--state-dir").arg(alert.path().join("state"));
        command.args(["import", "--network", "lan", file]);
        run(command)
    };
    let file = |name: &str| -> (PathBuf, String) {
        let path = alert.path().join(name);
        (path.clone(), path.display().to_string())
    };
    let (zeros, shown) = file("zeros");
    fs::File::create(&zeros).unwrap().set_len(2 << 30).unwrap(); // without using the disk
    limited(&shown).refused("aw-alert", &["no format that is known"]);
    // Two hundred thousand pairings, and a line of 64 MiB.
    let (_, shown) = file("log");
    let mut log: String = (0..200_000)
        .map(|n: u32| {
            format!(
                "1700000000 eth0 0 {} {} ARP_REQ\n",
                text(station(n)),
                Ipv4Addr::from(0x0a00_0000 + n)
            )
        })
        .collect();
    log += &"x".repeat(64 << 20);
    log += "\n1700000000 eth0 0 00:1b:21:00:00:01 192.0.2.1 ARP_REQ\n";
    fs::write(&shown, log).unwrap();
    let stderr = imported(limited(&shown), "200001 pairings imported");
    assert!(stderr.contains(": 1 line skipped, it cannot be read: 200001"), "{stderr}");
}

/// Sorted lines of Debian's arp2ethers for this arp.dat.
fn arp2ethers(alert: &Alert, dat: &str) -> String {
    let file = alert.file("exported.dat", dat);
    let mut command = Command::new("/usr/sbin/arp2ethers");
    command.arg(file);
    run(command).ok().stdout
}

/// Names of arp.dat pass through aw-alert and through arpwatch itself.
#[test]
fn names_reach_arp2ethers() {
    let alert = Alert::new();
    let line = |number, last: u8, time: u32, name: &str| {
        let end = if name.is_empty() { String::new() } else { format!("\t{name}") };
        format!("{}\t192.0.2.{last}\t{time}{end}\n", text(device(number)))
    };
    let theirs = line(1, 1, 1_700_000_000, "router")
        + &line(2, 2, 1_700_000_009, "nas")
        + &line(2, 3, 1_700_000_005, "former")
        + &line(3, 4, 1_700_000_003, "");
    let expected = arp2ethers(&alert, &theirs);
    assert_eq!(expected, format!("{}\trouter\n{}\tnas\n", text(device(1)), text(device(2))));
    alert.import("arp.dat", &theirs).ok();
    assert_eq!(arp2ethers(&alert, &alert.export(&[])), expected);
    // arpwatch reads what is exported, and writes its file, whose names are imported again.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = save(directory.path(), "arp.dat", alert.export(&[]).as_bytes());
    let frame = Arp::request(device(4), [192, 0, 2, 9].into(), [192, 0, 2, 254].into()).frame();
    let capture = save(directory.path(), "next.pcap", &ethernet_pcap(&[frame]));
    let mut command = Command::new("/usr/sbin/arpwatch");
    command.args(["-d", "-N", "-r", &capture, "-f", &data]);
    run(command).ok();
    let written = fs::read_to_string(&data).expect("arpwatch wrote it");
    assert!(written.contains("192.0.2.9") && written.contains("router"), "{written}");
    let other = Alert::new();
    other.import("arp.dat", written).ok();
    assert_eq!(arp2ethers(&other, &other.export(&[])), expected);
    let debian = other.export(&["--debian"]);
    assert!(debian.contains("\t1700000000\trouter\tlan\n"), "{debian}");
    // A name of the configuration replaces the imported one; as a word.
    let known = other.file("known", format!("{} the NAS\n", text(device(2))));
    let config = other.file("alert.toml", format!("known = {known:?}\n"));
    let exported = run(other.command(&["-c", &config, "export"])).ok().stdout;
    let named = arp2ethers(&other, &exported);
    assert_eq!(named, expected.replace("\tnas", "\tthe-NAS"));
}

/// A host name is shown, and does not make all other devices unknown. A list of known devices does.
#[test]
fn host_names_are_no_list_of_known_devices() {
    let summary = |alerts: Vec<Value>| {
        let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or("-").to_owned();
        alerts
            .iter()
            .map(|alert| text(alert, "kind") + " " + &text(alert, "name"))
            .collect::<Vec<_>>()
    };
    for (name, content) in [
        ("arp.dat", format!("{}\t10.0.0.1\t1799990000\tnas\n", text(device(3)))),
        ("ethers", format!("{}\tnas # of the office\n", text(device(3)))),
    ] {
        let alert = Alert::new();
        alert.import(name, content).ok();
        alert.import("macs", format!("{}\tprinter\n", text(device(1)))).ok();
        let options = ["--dialect", "arpwatch"];
        let found = summary(alert.alerts(&[device(1), device(2), device(3)], &options));
        assert_eq!(found, ["new_station printer", "new_station -", "new_station nas"], "{name}");
        let kinds = summary(alert.alerts(&[device(7)], &["--from", "oldest"]));
        assert!(!kinds.iter().any(|kind| kind.starts_with("unknown")), "{kinds:?}");
    }
    let alert = Alert::new();
    alert.import("macupd_tracker.conf", format!("{}|printer\n", text(device(1)))).ok();
    let found = summary(alert.alerts(&[device(1), device(2)], &[]));
    assert_eq!(found, ["new_device printer", "new_device -", "unknown_device -"]);
}
