//! `collector --names` with real servers on a veth pair, and `aw-stdout --names`: what they announce is in the ring of names, what
//! a DHCP server acknowledges is an event, and without the option nothing of it is there. What devices call themselves is in the history.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at, ethernet_pcap};
use aw_tests::collect::{collect, held, json, stdout_of};
use aw_tests::frames::{Arp, Ethernet, lldp, station};
use aw_tests::history::History;
use aw_tests::lan::{HERE, Lan, THERE};
use aw_tests::listening::quiet;
use aw_tests::neighbor::Neighbor;
use aw_tests::rig::{Run, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rusqlite::params;
use std::fs;
use std::path::Path;
use std::process::Command;

/// `aw-stdout --names` on this ring.
fn names_of(ring: &Ring, options: &[&str]) -> Command {
    let mut command = program("aw-stdout", &["--names", "--ring", ring.name()]);
    command.args(options);
    command
}

/// The test's servers, if they are installed.
fn is_installed(path: &str) -> bool {
    let found = Path::new(path).exists();
    if !found {
        skip(&format!("{path} is not installed (contrib/setup.sh test)"));
    }
    found
}

/// A collector on `veth0`, and its printer of names, which reads the ring from its beginning.
fn start(lan: &Lan, ring: &Ring, options: &[&str]) -> (Run, Run) {
    let collector = quiet(&lan.here, ring, &[], options);
    let printer = Run::start(names_of(ring, &["--replay"]));
    (collector, printer)
}

/// A rogue dnsmasq: its offer and what the client chose are there, also where only broadcasts arrive; its answer is an event.
#[test]
fn a_dhcp_server() {
    if !is_installed("/usr/sbin/dnsmasq") {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let (collector, printer) = start(&lan, &ring, &["--names"]);
    let history = History::new();
    let output = history.start(&ring, &[]);
    lan.there.ip("address add 192.0.2.1/24 dev veth1");
    let directory = tempfile::tempdir().unwrap();
    let mut server = lan.there.command("/usr/sbin/dnsmasq");
    server.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]);
    server.args(["--interface=veth1", "--bind-interfaces", "--log-dhcp", "--log-facility=-"]);
    server.args(["--dhcp-range=192.0.2.50,192.0.2.60,1h", "--dhcp-option=6,192.0.2.53"]);
    server.arg(format!("--dhcp-leasefile={}", directory.path().join("leases").display()));
    server.args(["--dhcp-authoritative", "--no-ping"]);
    let server = Run::start(server);
    server.stderr.wait_for("DHCP, IP range");
    let script = directory.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    lan.here.run(&["chmod", "755", script.to_str().unwrap()]);
    let mut client = lan.here.command("busybox");
    client.args(["udhcpc", "-i", "veth0", "-f", "-q", "-n", "-t", "20", "-s"]).arg(&script);
    client.args(["-x", "hostname:printer"]);
    run(client).ok();
    let client = format!("veth0 0 {HERE} ");
    let request = printer.stdout.wait_until("a request that names its server", |lines| {
        lines.iter().find(|line| line.contains("DHCP_REQUEST") && line.contains("server=")).cloned()
    });
    assert!(request.contains(&client) && request.contains("server=192.0.2.1"), "{request}");
    assert!(request.contains("name=\"printer\""), "{request}");
    let ack = printer.stdout.wait_for("DHCP_ACK");
    let given = ack.split(' ').nth(4).unwrap().to_owned();
    assert!(given.starts_with("192.0.2.5") || given == "192.0.2.60", "{ack}");
    assert!(ack.contains(&format!("sender={THERE} server=192.0.2.1 lifetime=3600")), "{ack}");
    printer.stdout.wait_for("192.0.2.53 DHCP_DNS server=192.0.2.1");
    printer.stdout.wait_for("DHCP_DISCOVER");
    printer.stdout.wait_for("DHCP_OFFER");
    // A lease is no use of an address.
    let arp = "send(Ether(src='02:00:00:00:00:01',dst='ff:ff:ff:ff:ff:ff')/ARP(op=1,hwsrc='02:00:00:00:00:01',psrc='192.0.2.50',pdst='192.0.2.1'))";
    lan.here.scapy("veth0", &arp.replace("02:00:00:00:00:01", HERE));
    wait_until("the client's name and use", || {
        let named = "SELECT count(*) FROM claimed_name WHERE name = 'printer'";
        let used = "SELECT count(*) FROM addrwatch WHERE origin = 0 AND ip_address = '192.0.2.50'";
        history.value::<i64>(named) == Some(1) && history.value::<i64>(used) > Some(0)
    });
    // The lease that was given, and its end, which the client names.
    let lease = "SELECT ((until - begin) / 1000000000) || ' ' || released FROM address_lease";
    wait_until("the lease", || history.value::<String>(lease).as_deref() == Some("3600 0"));
    let release = "send(Ether(src='HERE',dst='THERE')/IP(src='GIVEN',dst='192.0.2.1')/UDP(sport=68,dport=67)/BOOTP(chaddr=bytes.fromhex('HERE'.replace(':','')),ciaddr='GIVEN')/DHCP(options=[('message-type','release'),('server_id','192.0.2.1'),'end']))";
    let release = release.replace("THERE", THERE).replace("HERE", HERE).replace("GIVEN", &given);
    lan.here.scapy("veth0", &release);
    let released = "SELECT released FROM address_lease WHERE until < begin + 3600000000000";
    wait_until("its end", || history.value::<i64>(released) == Some(1));
    output.stop().ok();
    let says = "\"printer\" (DHCP host name since ";
    let devices = run(history.query(&["devices"])).ok().stdout;
    let row = devices.lines().find(|line| line.starts_with(HERE)).unwrap();
    assert!(devices.contains("CLAIMED NAME") && row.contains(says), "{devices}");
    let finished = printer.stop().ok();
    assert!(finished.stderr.contains(" records, 0 lost"), "{}", finished.stderr);
    collector.stop().ok();
    let event = format!("{client}{given} DHCP_ACK");
    assert!(held(&ring).lines().any(|line| line.ends_with(&event)), "{}", held(&ring));
    let shown = run(names_of(&ring, &["--once", "--format", "json"])).ok().stdout;
    let ack = shown.lines().map(json).find(|record| record["kind"] == "DHCP_ACK").unwrap();
    assert_eq!((&ack["mac"], &ack["ip"]), (&HERE.into(), &given.as_str().into()));
    assert_eq!((&ack["sender"], &ack["lifetime"]), (&THERE.into(), &3600.into()));
    let stats = run(program("collector", &["--stats", "--ring", ring.name()])).ok().stdout;
    assert!(stats.contains("names on               veth0\n"), "{stats}");
}

/// radvd, and a withdrawal by it: its last advertisement has a lifetime of 0.
#[test]
fn a_router() {
    if !is_installed("/usr/sbin/radvd") {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let (collector, printer) = start(&lan, &ring, &["--names"]);
    lan.there.ipv6("veth1");
    lan.there.ip("address add fe80::1/64 dev veth1 nodad");
    lan.there.run(&["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("radvd.conf");
    let text = "interface veth1 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvManagedFlag on;
        prefix 2001:db8:7::/64 { }; RDNSS 2001:db8:7::53 { }; };";
    fs::write(&file, text).unwrap();
    let mut server = lan.there.command("/usr/sbin/radvd");
    server.args(["--debug=1", "--nodaemon", "--logmethod=stderr", "--config"]).arg(&file);
    server.arg("--pidfile").arg(directory.path().join("pid"));
    let server = Run::start(server);
    let router = printer.stdout.wait_for(" RA ");
    assert!(router.contains(&format!("veth0 0 {THERE} fe80::1 RA lifetime=")), "{router}");
    assert!(router.contains("flags=0x80"), "{router}");
    printer.stdout.wait_for("2001:db8:7:: RA_PREFIX router=fe80::1 length=64 lifetime=86400");
    printer.stdout.wait_for("2001:db8:7::53 RA_DNS router=fe80::1");
    server.stderr.wait_for("polling for"); // it handles signals from now on
    server.stop();
    printer.stdout.wait_for("fe80::1 RA lifetime=0 ");
    printer.stop().ok();
    collector.stop().ok();
    assert!(held(&ring).contains("fe80::1 ND_RA"), "{}", held(&ring));
}

/// avahi names its own host.
#[test]
fn a_host() {
    if !is_installed("/usr/sbin/avahi-daemon") {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let (collector, printer) = start(&lan, &ring, &["--names"]);
    lan.there.ip("address add 192.0.2.7/24 dev veth1");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("avahi.conf");
    let text = "[server]\nhost-name=printer\nuse-ipv6=no\nallow-interfaces=veth1\nenable-dbus=no\n\
        [publish]\npublish-workstation=no\n";
    fs::write(&file, text).unwrap();
    // Its directory in /run is its own.
    let mut server = lan.there.command("unshare");
    let daemon =
        "mount -t tmpfs none /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f";
    server.args(["--mount", "sh", "-c", &format!("{daemon} {}", file.display())]);
    let server = Run::start(server);
    let line = printer.stdout.wait_for(" MDNS_HOST ");
    let own = format!("veth0 0 {THERE} 192.0.2.7 MDNS_HOST lifetime=");
    assert!(line.contains(&own) && line.ends_with("name=\"printer\""), "{line}");
    drop(server);
    printer.stop().ok();
    collector.stop().ok();
}

/// lldpd names its host and its port.
#[test]
fn a_switch() {
    if !is_installed("/usr/sbin/lldpd") {
        return;
    }
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let (collector, printer) = start(&lan, &ring, &["--names"]);
    let directory = tempfile::tempdir().unwrap();
    let mut server = lan.there.command("/usr/sbin/lldpd");
    server.args(["-d", "-S", "test switch", "-P", "none", "-I", "veth1", "-u"]);
    server.arg(directory.path().join("socket"));
    let server = Run::start(server);
    let line = printer.stdout.wait_for(" LLDP ");
    assert!(line.contains(THERE) && line.contains("detail=\""), "{line}");
    drop(server);
    printer.stop().ok();
    collector.stop().ok();
    assert_eq!(held(&ring), "", "LLDP is no event");
}

/// `-4`, `-6` and `-b` hold for names, too; LLDP has no family, and its address is one that may be listed.
#[test]
fn families_and_addresses() {
    let mac = station(1);
    let mut switch = b"\x02\x07\x04\x02\0\0\0\0\x55\x04\x06\x05gi0/7\x06\x02\0\x78".to_vec();
    switch.extend(b"\x10\x0c\x05\x01\xc0\0\x02\xfe\x02\0\0\0\x01\0\0\0");
    let router = Neighbor::advertise_router(mac, "fe80::1".parse().unwrap()).frame(mac);
    let capture = ethernet_pcap(&[router, Ethernet::from(mac).frame(0x88cc, &switch)]);
    for (options, kinds) in [
        (&[][..], &["RA", "LLDP"][..]),
        (&["-4"], &["LLDP"]),
        (&["-6"], &["RA", "LLDP"]),
        (&["-b", "192.0.2.0/24"], &["RA"]),
        (&["-b", "fe80::/10"], &["LLDP"]),
    ] {
        let ring = Ring::new();
        collect(&ring, &capture, &[&["-q", "--names"], options].concat()).ok();
        let shown = run(names_of(&ring, &["--once"])).ok().stdout;
        let found: Vec<_> = shown.lines().map(|line| line.split(' ').nth(5).unwrap()).collect();
        assert_eq!(found, kinds, "{options:?}: {shown}");
    }
}

/// A collector without the option removes the ring of an earlier one: names are personal data, and are not shown as if they were live.
#[test]
fn switched_off() {
    let mac = station(1);
    let router = Neighbor::advertise_router(mac, "fe80::1".parse().unwrap()).frame(mac);
    let (ring, capture) = (Ring::new(), ethernet_pcap(&[router]));
    let file = format!("/dev/shm{}.names", ring.name());
    let stats = || run(program("collector", &["--stats", "--ring", ring.name()])).ok().stdout;
    collect(&ring, &capture, &["-q", "--names"]).ok();
    assert!(Path::new(&file).exists() && stats().contains("names on "), "{}", stats());
    collect(&ring, &capture, &["-q"]).ok();
    assert!(!Path::new(&file).exists() && !stats().contains("names on "), "{}", stats());
    assert_eq!(
        fs::read_dir("/dev/shm")
            .unwrap()
            .filter(|entry| {
                entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(&file[9..])
            })
            .count(),
        0,
        "its lock is removed, too"
    );
}

/// What is malformed hides no router: hosts leave out the option, and use the rest. What they may accept, and is refused, is there.
#[test]
fn a_malformed_router() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let (collector, printer) = start(&lan, &ring, &["--names"]);
    let begin = "Ether(src='02:00:00:00:00:07',dst='33:33:00:00:00:01')/IPv6(src='fe80::7',dst='ff02::1',hlim=255)";
    let message =
        "ICMPv6ND_RA(routerlifetime=1800)/ICMPv6NDOptRDNSS(dns=['2001:db8::66'],lifetime=600)";
    lan.there.scapy(
        "veth1",
        &format!(
            "send({begin}/{message}/Raw(bytes.fromhex('26020007')+bytes(12)))\n\
             send({begin}/IPv6ExtHdrDestOpt()/{message})"
        ),
    );
    let router = printer.stdout.wait_for("fe80::7 RA lifetime=1800");
    assert!(router.ends_with(" bad_option=yes"), "{router}");
    printer.stdout.wait_for("2001:db8::66 RA_DNS router=fe80::7 lifetime=600");
    printer.stdout.wait_for("fe80::7 REFUSED reason=hidden detail=\"RA\"");
    printer.stop().ok();
    collector.stop().ok();
}

/// Without the option there is no ring of names, and a message is counted as before.
#[test]
fn off_by_default() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = quiet(&lan.here, &ring, &[], &[]);
    let events = Run::start(stdout_of(&ring, &["--replay"]));
    lan.there.scapy(
        "veth1",
        "send(Ether(src='02:00:00:00:00:07',dst='ff:ff:ff:ff:ff:ff')/IP(src='192.0.2.1',dst='255.255.255.255')/UDP(sport=67,dport=68)/BOOTP(op=2,yiaddr='192.0.2.9',chaddr=bytes.fromhex('020000000011'))/DHCP(options=[('message-type','ack'),'end']))\n\
         send(Ether(src='02:00:00:00:00:07',dst='ff:ff:ff:ff:ff:ff')/ARP(op=1,hwsrc='02:00:00:00:00:07',psrc='192.0.2.7',pdst='192.0.2.8'))",
    );
    events.stdout.wait_for("ARP_REQ"); // the frame behind it
    events.stop().ok();
    collector.stop().ok();
    assert!(!held(&ring).contains("DHCP_ACK"));
    assert!(!Path::new(&format!("/dev/shm{}.names", ring.name())).exists());
    run(names_of(&ring, &["--once"])).refused("aw-stdout", &["start the collector with --names"]);
}

/// Collects frames from this second on, one a second.
fn collect_from(ring: &Ring, second: u32, frames: &[Vec<u8>]) {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for (second, frame) in (second..).zip(frames) {
        file.packet(at(second), frame).unwrap();
    }
    collect(ring, &file.finish().unwrap(), &["-q", "--names"]).ok();
}

/// What a device calls itself is in answers as a claim, until the user names it; each once, also after a restart; and a flood of
/// made-up devices hides none.
#[test]
fn names_in_the_history() {
    const BEGIN: u32 = 1_795_132_800; // 2026-11-20 00:00 UTC
    let (ring, history) = (Ring::new(), History::new());
    let arp = |number| {
        let ip = |last| [10, 1, 2, last].into();
        Arp::request(station(number), ip(number as u8), ip(9)).frame()
    };
    let [nas, other] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    let store = || run(history.command(&ring, &["--once"])).ok().stderr;
    let claims = |arguments: &[&str]| {
        history.answers(arguments, &["mac", "claimed_name", "name_source", "name_since"])
    };
    let first = [arp(1), arp(2), lldp(station(1), "nas"), lldp(station(1), "nas")];
    collect_from(&ring, BEGIN, &first);
    let stored = store();
    assert!(stored.contains(".names: 1 record, 0 lost"), "{stored}");
    let says = format!("{nas} nas LLDP system name 2026-11-20T00:00:02.000000000+00:00");
    let none = format!("{other} null null null");
    assert_eq!(claims(&["devices"]), [none, says.clone()]);
    let at_noon = ["who", "10.1.2.1", "--at", "2026-11-20 12:00"];
    for arguments in [&["ip", "10.1.2.1"][..], &["mac", nas], &at_noon] {
        assert_eq!(claims(arguments), [&*says], "{arguments:?}");
    }
    let shown = |names: &Path| {
        let mut devices = history.query(&["devices"]);
        devices.arg("--names").arg(names);
        run(devices).ok().stdout
    };
    let claim = "\"nas\" (LLDP system name since 2026-11-20)";
    assert!(shown(Path::new("/dev/null")).contains(claim));
    let names = history.path().join("names");
    fs::write(&names, format!("{nas} Cellar\n")).unwrap();
    let table = shown(&names);
    assert!(table.contains("Cellar") && !table.contains("CLAIMED"), "{table}");
    // A restart, and another name: the newest one is shown, and each record is counted once.
    let account = || {
        let names = format!("{}.names", ring.name());
        let select = format!("SELECT delivered || ' ' || lost FROM account WHERE ring = '{names}'");
        history.value::<String>(&select).unwrap()
    };
    assert_eq!(account(), "1 0");
    store();
    assert_eq!(account(), "1 0");
    collect_from(&ring, BEGIN + 90_000, &[lldp(station(1), "nas"), lldp(station(1), "store")]);
    store();
    assert_eq!(account(), "3 0");
    let rows = "SELECT group_concat(name || ' ' || count, ', ') FROM claimed_name";
    assert_eq!(history.value::<String>(rows).as_deref(), Some("nas 2, store 1"));
    assert!(claims(&["mac", nas])[0].contains(" store LLDP"));
    // Made-up devices: their ring is overrun, which is counted.
    let flood: Vec<_> = (0..9_000).map(|one| lldp(station(1_000 + one), "made-up")).collect();
    collect_from(&ring, BEGIN + 91_000, &flood);
    store();
    let names = "SELECT count(*) FROM claimed_name";
    let delivered: i64 = account().split_once(' ').unwrap().0.parse().unwrap();
    let lost: i64 = account().split_once(' ').unwrap().1.parse().unwrap();
    assert_eq!((delivered + lost, history.value(names)), (9_003, Some(delivered - 1)));
    assert!(lost > 0 && claims(&["mac", nas])[0].contains(" store LLDP"));
    // What is in the database is not trusted.
    let database = history.open().unwrap();
    let insert = "UPDATE claimed_name SET name = ?1, source = ?2 WHERE name = ?3";
    let hostile = "\u{1b}[2J\u{202e}x\n";
    database.execute(insert, params![hostile, 5, "store"]).unwrap();
    database.execute(insert, params![vec![0xff_u8], 5, "nas"]).unwrap();
    assert!(claims(&["mac", nas])[0].contains(" [2Jx LLDP"), "{:?}", claims(&["mac", nas]));
}
