//! `aw-alert`: its alerts equal those of Debian's arpwatch, and no alert is repeated or lost.
#![forbid(unsafe_code)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use aw_tests::capture_file::{ETHERNET, Pcap, Time, Unit, at, save};
use aw_tests::collect::{collect, complete_json, json};
use aw_tests::frames::{Arp, Ethernet, Mac};
use aw_tests::rig::{Finished, Run, TIMEOUT, program, run, wait_until};
use aw_tests::ring::Ring;
use serde_json::Value;
use tempfile::TempDir;

/// Not locally administered, unlike the MACs of `station`: alerts about those wait for a digest.
fn device(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    [0x00, 0x08, 0xe1, a, b, c]
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// At these seconds, these MACs claim these addresses.
fn capture(claims: &[(u32, Mac, Ipv4Addr)]) -> Vec<u8> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for (time, mac, ip) in claims {
        let frame = Arp::request(*mac, *ip, [192, 0, 2, 254].into()).frame();
        file.packet(at(*time), &frame).expect("memory takes all");
    }
    file.finish().expect("memory takes all")
}

/// This many devices, one address each.
fn devices(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let claim = |number| (1000 + number, device(number), Ipv4Addr::from(0x0a00_0000 + number));
    capture(&numbers.map(claim).collect::<Vec<_>>())
}

struct Alert {
    directory: TempDir,
    ring: Ring,
}

impl Alert {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Alert { directory, ring: Ring::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = program("aw-alert", &["--ring", self.ring.name()]);
        command.arg("--state-dir").arg(self.path("state")).args(options).env("TZ", "UTC");
        fs::create_dir_all(self.path("state")).expect("our own directory can be written to");
        command
    }

    #[track_caller]
    fn once(&self, options: &[&str]) -> Finished {
        run(self.command(&[&["--once"], options].concat())).ok()
    }

    #[track_caller]
    fn publish(&self, capture: &[u8], options: &[&str]) {
        self.collect(capture, options);
    }

    #[track_caller]
    fn collect(&self, capture: &[u8], options: &[&str]) -> Finished {
        collect(&self.ring, capture, &[&["-q"], options].concat()).ok()
    }

    fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = save(self.directory.path(), name, format!("#!/bin/sh\n{text}\n").as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }

    /// A program that appends the alerts that it receives to a file.
    fn appending_program(&self) -> String {
        self.script("append", &format!("exec cat >> {}", self.path("alerts").display()))
    }

    fn alerts(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("alerts")).unwrap_or_default();
        complete_json(&text)
    }
}

/// Debian's arpwatch on a capture: its reports as `message ip mac old`, in order.
fn arpwatch(directory: &Path, capture: &[u8]) -> Vec<String> {
    let file = save(directory, "arpwatch.pcap", capture);
    let data = directory.join("arp.dat");
    fs::write(&data, fs::read(&data).unwrap_or_default()).expect("our own file");
    let mut command = Command::new("/bin/sh");
    // Mails go to standard output, log lines to standard error: in one stream they are in order.
    command.args([
        "-c",
        "exec /usr/sbin/arpwatch \"$@\" 2>&1",
        "sh",
        "-d",
        "-N",
        "-r",
        &file,
        "-f",
    ]);
    command.arg(&data).env("TZ", "UTC");
    let ended = run(command).ok();
    let mut reports: Vec<[String; 4]> = Vec::new();
    for line in ended.stdout.lines() {
        // A mail is a message with headers, a log entry is a line.
        if let Some((message, _)) = line.strip_prefix("Subject: ").and_then(|s| s.split_once(" ("))
        {
            reports.push([message.into(), String::new(), String::new(), String::new()]);
        } else if let Some((key, value)) = line.split_once(": ") {
            let place = match key.trim() {
                "ip address" => 1,
                "ethernet address" => 2,
                "old ethernet address" => 3,
                _ => 0,
            };
            if let Some(report) = reports.last_mut().filter(|_| place > 0) {
                report[place] = value.trim().into();
            }
        }
        for words in [
            "reused old ethernet address",
            "suppressed DECnet flip flop",
            "ethernet mismatch",
            "ethernet broadcast",
        ] {
            if let Some((_, rest)) = line.split_once(&format!("{words} ")) {
                let rest = rest.trim_end_matches("(from file)"); // its interface
                let mut rest = rest.split_whitespace().map(|word| word.trim_matches(['(', ')']));
                let mut next = || rest.next().unwrap_or_default().to_owned();
                reports.push([words.into(), next(), next(), next()]);
            }
        }
    }
    reports.iter().map(|report| report.join(" ").trim_end().to_owned()).collect()
}

/// The same fields from lines of `aw-alert`.
fn ours(stdout: &str) -> Vec<String> {
    let line = |line: &str| {
        let words = line.rsplit_once(' ').map_or(line, |(words, _)| words);
        words.replace(['(', ')'], "")
    };
    stdout.lines().map(line).collect()
}

#[test]
fn alerts_equal_those_of_arpwatch() {
    let decnet: Mac = [0xaa, 0, 4, 0, 1, 4];
    let macs =
        [device(1), device(2), device(3), decnet, [0x02, 0, 0, 0, 0, 1], [0, 0, 0x5e, 0, 1, 7]];
    // Random events with a fixed seed; now and then half a year passes, plus or minus a second.
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut time = 100_000_000;
    let claims: Vec<_> = (0..150) // arpwatch sleeps after every few letters
        .map(|_| {
            time += [1, 60, 86_399, 86_400, 86_401, 15_552_000, 15_552_001][match random(14) {
                common @ 0..5 => common as usize,
                5 => 6,
                6 => 5,
                _ => 0,
            }];
            (time, macs[random(6) as usize], Ipv4Addr::new(10, 0, 0, random(2) as u8 + 1))
        })
        .collect();
    let capture = capture(&claims);
    let alert = Alert::new();
    let expected = arpwatch(alert.directory.path(), &capture);
    alert.publish(&capture, &[]);
    let printed = alert.once(&["--print", "--dialect", "arpwatch"]).stdout;
    let printed = ours(&printed);
    for (ours, theirs) in printed.iter().zip(&expected) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(printed.len(), expected.len());
    for words in ["new station", "flip flop", "changed", "reused old", "suppressed", "new activity"]
    {
        assert!(printed.iter().any(|line| line.starts_with(words)), "no {words} among the events");
    }
    // Export and import show that both have the same state.
    let sorted = |text: &str| {
        let key = |line: &str| line.split('\t').take(3).map(str::to_owned).collect::<Vec<_>>();
        let mut lines: Vec<_> = text.lines().map(key).collect();
        lines.sort();
        lines
    };
    let theirs = fs::read_to_string(alert.path("arp.dat")).expect("arpwatch wrote it");
    let exported = run(alert.command(&["export", "--debian"])).ok().stdout;
    assert_eq!(sorted(&exported), sorted(&theirs));
    let other = Alert::new();
    let file = alert.path("arp.dat").display().to_string();
    run(other.command(&["import", "--network", "pcap", &file])).ok();
    let again = run(other.command(&["export"])).ok().stdout;
    assert_eq!(sorted(&again), sorted(&theirs));
    // Imported devices are not new; arpwatch accepts the exported file.
    let (last, mac, ip) = claims[149];
    let next = self::capture(&[(last + 1, mac, ip), (last + 2, device(9), ip)]);
    let changed = format!("changed ethernet address {ip} {} {}", text(device(9)), text(mac));
    other.publish(&next, &[]);
    let printed = other.once(&["--print", "--dialect", "arpwatch"]).stdout;
    assert_eq!(ours(&printed), std::slice::from_ref(&changed));
    let fresh = tempfile::tempdir().expect("a temporary directory");
    save(fresh.path(), "arp.dat", exported.as_bytes());
    assert_eq!(arpwatch(fresh.path(), &next), [changed]);
}

/// Frames whose Ethernet source is not the ARP sender, or is no station: reported as arpwatch does, and not learned.
#[test]
fn odd_frames_are_reported_as_arpwatch_does() {
    const NO_STATION: [Mac; 2] = [[0xff; 6], [0; 6]];
    let (a, b, c) = (device(1), device(2), device(3));
    let from = [
        (a, a),
        (b, a),
        (a, b),
        (c, NO_STATION[0]),
        (NO_STATION[0], c),
        (NO_STATION[1], c),
        (c, NO_STATION[1]),
    ];
    let again =
        [(NO_STATION[0], NO_STATION[1]), (NO_STATION[1], NO_STATION[1]), (b, b), (a, b), (a, a)];
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for (number, (source, sender)) in (1..).zip(from.into_iter().chain(again)) {
        let arp = Arp::request(sender, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        file.packet(at(1000 + number), &arp.on(&Ethernet::from(source))).expect("memory takes all");
    }
    let capture = file.finish().expect("memory takes all");
    let alert = Alert::new();
    let expected = arpwatch(alert.directory.path(), &capture);
    assert_eq!(expected.len(), 12, "{expected:#?}");
    alert.publish(&capture, &[]);
    let printed = alert.once(&["--print", "--dialect", "arpwatch"]).stdout;
    assert_eq!(ours(&printed), expected);
    // The option of earlier releases is accepted. Nothing is refused for its MAC: all of these frames poison hosts.
    let plain = Alert::new();
    let collected = plain.collect(&capture, &["-v", "--odd-macs"]).stderr;
    assert!(!collected.contains("broadcast_mac") && !collected.contains("zero_mac"), "{collected}");
    // The message format of this project is an option; valid pairings are learned.
    let mut config = "[[channel]]\nname = \"c\"\nburst = 99\nkinds = [\"mismatch\", \"broadcast\", \"new_device\"]\n".to_owned();
    config += &format!("command = [{:?}]\n", plain.appending_program());
    let config = save(plain.directory.path(), "alert.toml", config.as_bytes());
    plain.once(&["-c", &config]);
    let kinds: Vec<_> =
        plain.alerts().iter().map(|report| report["kind"].as_str().unwrap().to_owned()).collect();
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!(
        (count("mismatch"), count("broadcast"), count("new_device")),
        (3, 2, 3),
        "{kinds:?}"
    );
    let mismatch = plain.alerts().into_iter().find(|report| report["kind"] == "mismatch").unwrap();
    assert_eq!((&mismatch["mac"], &mismatch["old_mac"]), (&text(b).into(), &text(a).into()));
}

/// Imported devices are not reported as new, have their names and vendors, and are printed in each format.
#[test]
fn moving_in_and_out() {
    let alert = Alert::new();
    let file = |name: &str| alert.path(name).display().to_string();
    let database = |name: &str, statements: &str| {
        rusqlite::Connection::open(alert.path(name)).unwrap().execute_batch(statements).unwrap();
        file(name)
    };
    let (a, b, c, d) = (text(device(1)), text(device(2)), text(device(3)), text(device(4)));
    let addrwatch = database(
        "addrwatch.db",
        &format!(
            "CREATE TABLE addrwatch (timestamp UNSIGNED BIG INT, interface VARCHAR(16), vlan_tag UNSIGNED INT,
                mac_address VARCHAR(17), ip_address VARCHAR(42), origin TINYINT);
             INSERT INTO addrwatch VALUES (900, 'pcap', 0, '{a}', '10.0.0.1', 0), (905, 'pcap', 0, '{a}', '10.0.0.1', 1),
                (906, 'pcap', 7, '{a}', 'fe80::1', 4), (1, 'pcap', 0, 'rubbish', '10.0.0.1', 0)"
        ),
    );
    let hostwatch = database(
        "hostwatch.db",
        &format!(
            "CREATE TABLE hosts (id integer primary key, interface_name text, ip_address text, protocol text,
                ether_address text, real_ether_address text, first_seen timestamp, last_seen timestamp,
                prev_ether_address text, prev_real_ether_address text, prev_last_seen timestamp,
                update_interval_sec integer);
             INSERT INTO hosts VALUES (1, 'pcap', '10.0.0.2', 'arp', '{b}', '{b}', '1970-01-01 00:00:10',
                '1970-01-01 00:15:10', '{c}', '', '1970-01-01 00:05:00', -1)"
        ),
    );
    let conf = save(
        alert.directory.path(),
        "macupd_tracker.conf",
        format!("PORT=1\n[MACLIST]\n{d}|the, NAS\n").as_bytes(),
    );
    let codes = save(alert.directory.path(), "ethercodes.dat", b"0:8:e1\tMaker  One\n");
    let imported = run(alert.command(&["import", &addrwatch, &hostwatch, &conf, &codes])).ok();
    for line in [
        format!("{addrwatch}: 2 pairings imported"),
        format!("{hostwatch}: 2 pairings imported"),
        format!("{conf}: 1 name imported"),
        format!("{codes}: 1 vendor imported"),
    ] {
        assert!(imported.stdout.lines().any(|found| found == line), "{imported:?}");
    }
    assert!(imported.stderr.contains("addrwatch.db: 1 line skipped"), "{imported:?}");
    // The imported database belongs to the user that reads the rings.
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::MetadataExt;
        let mut command = program("aw-alert", &["--state-dir"]);
        command.arg(alert.path("theirs")).args(["-u", "nobody", "import", &codes]);
        run(command).ok();
        let owner = |name: &str| alert.path(name).metadata().unwrap().uid();
        assert_eq!((owner("theirs"), owner("theirs/aw-alert.db")), (65534, 65534));
    }
    let mut command = program("aw-alert", &["--state-dir"]);
    command.arg(alert.path("nothing")).arg("export");
    run(command).refused("aw-alert", &["no database in", "--state-dir"]);
    // An older entry changes nothing; a newer one does, even if only the time differs.
    let again = |name: &str, text: String| {
        let file = save(alert.directory.path(), name, text.as_bytes());
        run(alert.command(&["import", "--network", "pcap", &file])).ok();
    };
    again("old.dat", format!("{a}\t10.0.0.1\t7\n{c}\t10.0.0.2\t8\n"));
    again("new.dat", format!("{a}\t10.0.0.1\t904\n{a}\t10.0.0.1\t908\n"));
    let exported = |shape: &[&str]| run(alert.command(&[&["export"], shape].concat())).ok().stdout;
    let dat = format!("{a}\t10.0.0.1\t908\n{b}\t10.0.0.2\t910\n{c}\t10.0.0.2\t300\n");
    assert_eq!(exported(&[]), dat);
    let csv = format!(
        "network,ip,mac,last,current,name,host,ring\r\npcap,10.0.0.1,{a},908,true,,,\r\n\
         pcap,10.0.0.2,{b},910,true,,,\r\npcap,10.0.0.2,{c},300,false,,,\r\n\
         pcap.7,fe80::1,{a},906,true,,,\r\n"
    );
    assert_eq!(exported(&["csv"]), csv);
    let lines: Vec<_> = exported(&["json"]).lines().map(json).collect();
    assert_eq!(
        (lines.len(), &lines[3]["ip"], &lines[3]["network"]),
        (4, &"fe80::1".into(), &"pcap.7".into())
    );
    // A known pairing, the one before it, a device with a name, and an unknown device.
    let claims = [(1, 1), (3, 2), (4, 4), (5, 5)];
    let claims = claims.map(|(mac, ip)| (100_000, device(mac), Ipv4Addr::new(10, 0, 0, ip)));
    alert.publish(&capture(&claims), &[]);
    alert.once(&["--exec", &alert.appending_program()]);
    let alerts = alert.alerts();
    let summaries = alerts.iter().map(|alert| {
        let text = |key: &str| alert[key].as_str().unwrap_or("-").to_owned();
        [text("kind"), text("mac"), text("name"), text("vendor"), text("old_vendor")].join(" ")
    });
    let summaries: Vec<_> = summaries.collect();
    let expected = [
        format!("unknown_device {a} - Maker One -"),
        format!("unknown_device {c} - Maker One -"),
        format!("flip_flop {c} - Maker One Maker One"),
        format!("new_device {d} the, NAS Maker One -"),
        format!("new_device {} - Maker One -", text(device(5))),
        format!("unknown_device {} - Maker One -", text(device(5))),
    ];
    assert_eq!(summaries, expected);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let place = format!("{host},{}", alert.ring.name());
    let line = format!("pcap,10.0.0.4,{d},100000,true,\"the, NAS\",{place}\r\n");
    assert!(exported(&["csv"]).contains(&line), "{line}");
}

/// An address outside the local networks: of the configured ones, and of those of the interface.
#[test]
fn bogons() {
    let claims = [(1000, device(1), [10, 0, 0, 1]), (1001, device(2), [192, 0, 2, 1])];
    let claims = claims.map(|(time, mac, ip)| (time, mac, Ipv4Addr::from(ip)));
    let alert = Alert::new();
    alert.publish(&capture(&claims), &["--as", "lo"]);
    let config = |local: &str| {
        let text = format!("local = {{ {local} }}\n");
        save(alert.directory.path(), "alert.toml", text.as_bytes())
    };
    let reported = |local: &str| {
        let options = ["--print", "--dialect", "arpwatch", "--state-dir"];
        let state = tempfile::tempdir().expect("a temporary directory");
        let state = state.path().display().to_string();
        let (path, once) = (config(local), ["--once", "-c"]);
        let options = [&once[..], &[&path], &options, &[&state]].concat();
        let mut command = program("aw-alert", &["--ring", alert.ring.name()]);
        command.args(options);
        ours(&run(command).ok().stdout)
    };
    let station = |(_, mac, ip): (u32, Mac, Ipv4Addr)| format!("new station {ip} {}", text(mac));
    let bogon = |(_, mac, ip): (u32, Mac, Ipv4Addr)| format!("bogon {ip} {}", text(mac));
    let [one, two] = claims;
    assert_eq!(reported(""), [station(one), station(two)]);
    assert_eq!(reported("lo = ['10.0.0.0/8']"), [station(one), bogon(two)]);
    assert_eq!(reported("'*' = ['192.0.2.0/24']"), [bogon(one), station(two)]);
    assert_eq!(reported("'*' = [], lo = ['0.0.0.0/0']"), [station(one), station(two)]);
    assert_eq!(reported("lo = ['interface']"), [bogon(one), bogon(two)], "127.0.0.0/8");
    assert_eq!(reported("lo = ['interface', '10.0.0.1']"), [station(one), bogon(two)]);
    let wrong = config("'*' = ['interface']");
    run(alert.command(&["-c", &wrong, "--check"])).refused("aw-alert", &[&wrong, "needs the name"]);
}

/// A watched device falls silent while another is still seen, and returns; a restart repeats no alert and sends none early.
#[test]
fn a_watched_device_is_silent_and_back() {
    let alert = Alert::new();
    let mac = text(device(1));
    let config = format!("[[watch]]\nmac = \"{mac}\"\nsilent_after = 2\n");
    let config = save(alert.directory.path(), "alert.toml", config.as_bytes());
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("after 1970").as_secs() as u32
    };
    let sighting = |station, ago| {
        let claim = (now() - ago, device(station), Ipv4Addr::new(10, 0, 0, station as u8));
        alert.publish(&capture(&[claim]), &[]);
    };
    // Seen long ago, when no program was reading: that does not count.
    sighting(1, 1000);
    let running = Run::start(alert.command(&["-c", &config, "--print", "--learn", "0"]));
    running.stdout.wait_for("new device 10.0.0.1");
    let silent = running.stdout.wait_for("silent device");
    let seconds = silent.split("not seen for ").nth(1).and_then(|rest| rest.split(' ').next());
    let seconds = seconds.and_then(|seconds| seconds.parse::<u64>().ok());
    let most = 1000 + 2 * TIMEOUT.as_secs();
    assert!(silent.contains(&mac) && (Some(1000)..Some(most)).contains(&seconds), "{silent}");
    sighting(2, 0);
    running.stdout.wait_for("new device 10.0.0.2");
    sighting(1, 0);
    running.stdout.wait_for("device is back 10.0.0.1");
    running.stdout.wait_for_lines(5); // and silent once more
    let ended = running.stop().ok();
    assert_eq!(ended.stdout.matches("silent device").count(), 2, "{}", ended.stdout);
    let again = Run::start(alert.command(&["-c", &config, "--print", "--learn", "0"]));
    sighting(3, 0);
    again.stdout.wait_for("new device 10.0.0.3");
    sighting(1, 0);
    again.stdout.wait_for("device is back 10.0.0.1");
    let ended = again.stop().ok();
    let (before, _) = ended.stdout.split_once("device is back").unwrap(); // and silent again, on a slow machine
    assert!(!before.contains("silent device"), "the alert is repeated: {}", ended.stdout);
}

#[test]
fn a_restart_repeats_no_alert() {
    let alert = Alert::new();
    alert.publish(&devices(1..4), &[]);
    let first = alert.once(&["--print"]).stdout;
    let line = format!("1001 new device 10.0.0.1 {} pcap\n", text(device(1)));
    assert!(first.starts_with(&line) && first.lines().count() == 3, "{first}");
    assert_eq!(alert.once(&["--print"]).stdout, "");
    // The same devices again, and the addresses of another ring: no alert.
    alert.publish(&devices(1..5), &[]);
    let more = alert.once(&["--print"]).stdout;
    assert_eq!(more.lines().count(), 1, "{more}");
}

/// What a channel lists is printed, too: a claim in the frame of another MAC is no default kind.
#[test]
fn prints_the_kinds_of_the_configuration() {
    let frame = Arp::request(device(1), Ipv4Addr::new(10, 0, 0, 1), [192, 0, 2, 254].into());
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    file.packet(at(1001), &frame.on(&Ethernet::from(device(2)))).unwrap();
    let capture = file.finish().unwrap();
    for (kinds, printed) in [("[\"mismatch\"]", true), ("[\"changed\"]", false)] {
        let alert = Alert::new();
        let channel =
            format!("[[channel]]\nname = \"a\"\nkinds = {kinds}\ncommand = [\"/bin/true\"]\n");
        let config = save(alert.directory.path(), "alert.toml", channel.as_bytes());
        alert.publish(&capture, &[]);
        let lines = alert.once(&["--print", "-c", &config]).stdout;
        let (sender, claimed) = (text(device(2)), text(device(1)));
        let line = format!("1001 ethernet mismatch 10.0.0.1 {sender} ({claimed}) pcap\n");
        assert_eq!(lines.contains(&line), printed, "{lines}");
        assert!(lines.contains(&format!("new device 10.0.0.1 {claimed} pcap: sent by {sender}\n")));
    }
}

#[test]
fn learns_in_silence() {
    let alert = Alert::new();
    alert.publish(&devices(1..100), &[]);
    let printed = alert.once(&["--print", "--learn", "90s"]).stdout;
    assert_eq!(printed.lines().count(), 9, "second 1091 to 1099: {printed}");
    alert.publish(&devices(1..101), &[]);
    let printed = alert.once(&["--print", "--learn", "90s"]).stdout;
    assert_eq!(printed.lines().count(), 1, "the learning period does not begin again: {printed}");
}

#[test]
fn a_program_that_fails_gets_its_alerts_later() {
    let alert = Alert::new();
    alert.publish(&devices(1..3), &[]);
    let fails = alert.script("append", "exit 3");
    let ended = alert.once(&["--exec", &fails]);
    assert!(ended.stderr.contains("exit status: 3"), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 messages stay in the queue"), "{}", ended.stderr);
    let out = alert.path("alerts");
    alert.script(
        "append",
        &format!("read line; echo \"$mac $AW_KIND $iface|$line\" >> {}", out.display()),
    );
    alert.once(&["--exec", &fails]);
    let received = fs::read_to_string(&out).expect("the program ran");
    let lines: Vec<_> = received.lines().collect();
    assert_eq!(lines.len(), 2, "{received}");
    for (number, line) in (1..).zip(lines) {
        let (words, report) = line.split_once('|').expect("both");
        assert_eq!(words, format!("{} new_device pcap", text(device(number))));
        let report = json(report);
        assert_eq!(report["ip"], Ipv4Addr::from(0x0a00_0000 + number).to_string());
        assert_eq!((&report["date"], &report["time"]), (&"19700101".into(), &"0016".into()));
    }
}

#[test]
fn a_flood_of_new_devices_is_one_digest() {
    let alert = Alert::new();
    alert.publish(&devices(1..100_001), &["-L", "131072"]);
    alert.once(&["--exec", &alert.appending_program()]);
    let alerts = alert.alerts();
    let (digests, single): (Vec<_>, Vec<_>) =
        alerts.iter().partition(|report| report["kind"] == "digest");
    assert_eq!((digests.len(), single.len()), (1, 10));
    let digest = digests[0];
    assert_eq!(digest["count"], 99_990);
    assert_eq!((&digest["first"], &digest["last"]), (&1011.into(), &101_000.into()));
    assert_eq!(digest["samples"].as_array().map(Vec::len), Some(20));
}

#[test]
fn killed_at_any_time_it_sends_each_alert_at_least_once() {
    let alert = Alert::new();
    let (config, out) = (alert.path("config"), alert.path("alerts"));
    let slow = alert.script("append", &format!("sleep 0.01; exec cat >> {}", out.display()));
    let text = format!("[[channel]]\nname = \"all\"\nburst = 100000\ncommand = [{slow:?}]\n");
    fs::write(&config, text).expect("our own file");
    let config = config.display().to_string();
    for round in 0..8_u32 {
        alert.publish(&devices(round * 20..round * 20 + 20), &[]);
        let running = Run::start(alert.command(&["-c", &config, "--learn", "0"]));
        std::thread::sleep(Duration::from_millis(40 * u64::from(round) + 10));
        running.kill();
    }
    let size = |_: &()| fs::metadata(&out).map_or(0, |file| file.len());
    let before = size(&());
    alert.once(&["-c", &config]);
    assert!(size(&()) > before, "some alerts were left to send");
    let alerts = alert.alerts();
    let mut macs: Vec<_> = alerts.iter().map(|report| report["mac"].to_string()).collect();
    macs.sort();
    macs.dedup();
    assert_eq!(macs.len(), 160, "each alert is sent");
    assert!(alerts.len() <= 160 + 8, "one alert per kill is repeated: {}", alerts.len());
}

#[test]
fn mail() {
    // An SMTP server of a few lines: it accepts all mails and prints them.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let mut got = String::new();
        // --check connects, too, and sends nothing.
        while got.is_empty() {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            stream.write_all(b"220 test\r\n").expect("it listens");
            while let Some(Ok(line)) = lines.next() {
                let answer: &[u8] = match line.as_str() {
                    "DATA" => {
                        stream.write_all(b"354 go on\r\n").expect("it listens");
                        let text =
                            lines.by_ref().map_while(Result::ok).take_while(|line| line != ".");
                        got.extend(text.map(|line| line + "\n"));
                        b"250 taken\r\n"
                    }
                    "QUIT" => break,
                    _ => b"250 ok\r\n",
                };
                stream.write_all(answer).expect("it listens");
                if !got.is_empty() {
                    break;
                }
            }
        }
        got
    });
    let alert = Alert::new();
    let config = alert.path("config");
    let text = format!(
        "[[channel]]\nname = \"mail\"\nsmtp = {{ server = \"127.0.0.1:{port}\", from = \"a@example.org\", \
         to = [\"b@example.org\"] }}\n"
    );
    fs::write(&config, text).expect("our own file");
    let config = config.display().to_string();
    run(alert.command(&["-c", &config, "--check"])).ok();
    alert.publish(&devices(1..2), &[]);
    alert.once(&["-c", &config]);
    let got = server.join().expect("the server does not panic");
    for part in [
        "\nSubject: new device: 00:08:e1:00:00:01, 10.0.0.1 (pcap)\n",
        "\n          ip address: 10.0.0.1\n",
        "\n    ethernet address: 00:08:e1:00:00:01\n",
        "\n           timestamp: Thursday, January 1, 1970 0:16:41 +0000\n",
    ] {
        assert!(got.contains(part), "{part:?} is not in:\n{got}");
    }
}

#[test]
fn sendmail_and_a_channel_that_hangs_beside_it() {
    let alert = Alert::new();
    let out = alert.path("letter");
    let sendmail =
        alert.script("sendmail", &format!("echo \"$@\" > {0}; exec cat >> {0}", out.display()));
    let hangs = alert.script("hangs", "sleep 60");
    let text = format!(
        "[[channel]]\nname = \"hangs\"\ncommand = [{hangs:?}]\ntime_limit = 1\n[[channel]]\nname = \"mail\"\n\
         kinds = [\"new_device\"]\nsendmail = {{ path = {sendmail:?}, from = \"a@b\", to = [\"c@d\", \"e@f\"] }}\n"
    );
    let config = save(alert.directory.path(), "config", text.as_bytes());
    alert.publish(&devices(1..2), &[]);
    let ended = alert.once(&["-c", &config]);
    assert!(ended.stderr.contains("channel hangs: run "), "{}", ended.stderr);
    assert!(ended.stderr.contains("no end after 1 s"), "{}", ended.stderr);
    // The mail had the alert, then the alert that the other channel fails.
    let letter = fs::read_to_string(&out).expect("the program ran");
    assert!(
        letter.starts_with("-t -i -f a@b\nFrom: a@b\nTo: c@d, e@f\nSubject: channel hangs fails\n"),
        "{letter}"
    );
    run(alert.command(&["-c", &config, "test", "mail"])).ok();
    let letter = fs::read_to_string(&out).expect("the program ran");
    assert!(
        letter.contains("\nSubject: Test: new device: 00:00:5e:00:53:01, 192.0.2.1 (test)\n"),
        "{letter}"
    );
    assert!(letter.ends_with("                note: a test of channel mail\n"), "{letter}");
}

#[test]
fn faults_in_the_configuration_are_reported() {
    let alert = Alert::new();
    let config = save(alert.directory.path(), "config", b"[[channel]]\nname = \"a\"\n");
    let ended = run(alert.command(&["-c", &config, "--check"]));
    ended.refused("aw-alert", &["config", "needs exactly one of command"]);
    let one = Run::start(alert.command(&[]));
    wait_until("it has its state", || alert.path("state/aw-alert.db").exists());
    alert.publish(&devices(1..2), &[]);
    one.stop().ok();
}

/// Two sites with an eth0 and the same addresses each: none of them moves, and a filter can name one of them.
#[test]
fn two_rings_are_two_networks() {
    let gateway = Ipv4Addr::new(192, 168, 1, 1);
    let alert = Alert::new();
    let other = Ring::new();
    let times = [1000, 1020, 1040];
    for (ring, number) in [(&alert.ring, 1), (&other, 2)] {
        let claims = times.map(|time| (time + number, device(number), gateway));
        collect(ring, &capture(&claims), &["-q", "--as", "eth0"]).ok();
    }
    let channel = format!(
        "[[channel]]\nname = \"one\"\nkinds = [\"new_station\"]\nnetworks = [\"{}/eth0\"]\ncommand = [\"{}\"]\n",
        other.name().trim_start_matches('/'),
        alert.appending_program()
    );
    let config = save(alert.directory.path(), "alert.toml", channel.as_bytes());
    let printed = alert.once(&["--ring", other.name(), "--print", "-c", &config]).stdout;
    let line = |ring: &Ring, number| {
        let ring = ring.name().trim_start_matches('/');
        // The channel lists new stations: they are printed, too, those of the other network included.
        ["new device", "new station"].map(|what| {
            let mac = text(device(number));
            format!("{} {what} {gateway} {mac} {ring}/eth0\n", 1000 + number)
        })
    };
    assert_eq!(printed, [line(&alert.ring, 1), line(&other, 2)].as_flattened().concat());
    let alerts = alert.alerts();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fields = ["mac", "iface", "ring", "host"].map(|key| alerts[0][key].as_str().unwrap_or("-"));
    assert_eq!((alerts.len(), fields), (1, [&*text(device(2)), "eth0", other.name(), &*host]));
}

/// The gateway asks every five minutes, and both machines with its address answer: the README's channel reports it.
#[test]
fn two_machines_that_answer() {
    let alert = Alert::new();
    let (ip, gateway) = (Ipv4Addr::new(192, 0, 2, 20), Ipv4Addr::new(192, 0, 2, 1));
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for round in 0..288 {
        let asked = 1_700_000_000 + round * 300;
        let frames = [
            Arp::request(device(1), gateway, ip),
            Arp::reply(device(2), ip, gateway),
            Arp::reply(device(3), ip, gateway),
        ];
        for (millis, arp) in [0, 1, 10].into_iter().zip(frames) {
            let time = Time { seconds: asked, nanoseconds: millis * 1_000_000 };
            file.packet(time, &arp.frame()).expect("memory takes all");
        }
    }
    alert.publish(&file.finish().expect("memory takes all"), &[]);
    let channel = format!(
        "[[channel]]\nname = \"phone\"\nkinds = [\"new_device\", \"duplicate\"]\nburst = 1000\ncommand = [\"{}\"]\n",
        alert.appending_program()
    );
    let config = save(alert.directory.path(), "alert.toml", channel.as_bytes());
    alert.once(&["-c", &config]);
    let alerts = alert.alerts();
    let of = |kind| alerts.iter().filter(|alert| alert["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("new_device").len(), of("duplicate").len()), (3, 24), "{alerts:?}");
    let [first, second, ..] = &of("duplicate")[..] else { panic!("24 of them") };
    let fields = ["mac", "old_mac", "ip"].map(|key| first[key].as_str().unwrap_or("-"));
    assert_eq!(fields, [&*text(device(3)), &text(device(2)), "192.0.2.20"]);
    let note = first["note"].as_str().unwrap();
    assert!(note.starts_with("both MACs answer. Before, it was "), "{note}");
    let note = second["note"].as_str().unwrap();
    assert!(
        note.starts_with(
            "both MACs claim it in turn, 22 more since the last alert. 00:08:e1:00:00:02 "
        ),
        "{note}"
    );
}

/// A sensor without a battery boots in 1970, again and again: nothing has returned, and the learning period is not over.
#[test]
fn a_clock_that_was_not_set() {
    let now = 1_700_000_000;
    let ip = |number: u8| Ipv4Addr::new(192, 0, 2, number);
    let claims = [
        (30, device(1), ip(1)),
        (now, device(1), ip(1)),
        (31, device(2), ip(2)),
        (now + 86_400, device(1), ip(1)),
        (now + 86_401, device(2), ip(2)),
        (now + 86_402, device(3), ip(3)),
    ];
    let new = |time: u32, number| {
        format!("{time} new device {} {} pcap\n", ip(number as u8), text(device(number)))
    };
    for (options, expected) in [
        (&[][..], new(30, 1) + &new(31, 2) + &new(now + 86_402, 3)),
        (&["--learn", "1h"], new(now + 86_402, 3)),
    ] {
        let alert = Alert::new();
        // Each in a run of its own, as after a boot.
        let mut printed = String::new();
        for claim in claims {
            alert.publish(&capture(&[claim]), &[]);
            printed += &alert.once(&[&["--print"], options].concat()).stdout;
        }
        assert_eq!(printed, expected);
        let alert = Alert::new();
        alert.publish(&capture(&claims), &[]);
        let printed = alert.once(&["--print", "--dialect", "arpwatch"]).stdout;
        assert_eq!(printed.matches("new activity").count(), 0, "{printed}");
    }
}

/// A device that probes before it uses an address has none yet; a scanner is no owner.
#[test]
fn a_probe_claims_nothing() {
    let ip = |number| Ipv4Addr::new(192, 0, 2, number);
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for round in 0..3 {
        for number in 1..=60_u8 {
            let time = at(1_700_000_000 + round * 300 + u32::from(number));
            file.packet(time, &Arp::probe(device(1), ip(number)).frame()).expect("memory");
            if number > 20 {
                let reply = Arp::reply(device(number.into()), ip(number), ip(0));
                file.packet(time, &reply.frame()).expect("memory takes all");
            }
        }
    }
    let alert = Alert::new();
    alert.publish(&file.finish().expect("memory takes all"), &[]);
    let channel = format!(
        "[[channel]]\nname = \"all\"\nburst = 1000\ncommand = [\"{}\"]\naddresses = [\"192.0.2.1\", \"192.0.2.21\"]\n",
        alert.appending_program()
    );
    let config = save(alert.directory.path(), "alert.toml", channel.as_bytes());
    let printed = alert.once(&["--print", "-c", &config]).stdout;
    assert!(printed.lines().all(|line| line.contains(" new device ")), "{printed}");
    assert_eq!(printed.lines().count(), 41);
    let scanner = format!("1700000001 new device {} pcap: probed 192.0.2.1", text(device(1)));
    assert_eq!(printed.lines().next(), Some(&*scanner));
    // The filter of addresses looks at the probed address of a device that has none.
    let alerts = alert.alerts();
    let addresses: Vec<_> = alerts.iter().map(|alert| alert["ip"].as_str()).collect();
    assert_eq!(addresses, [Some(""), Some("192.0.2.21")]);
}
