//! Reports of DD-WRT routers: datagrams over UDP on the loopback, as the source code of the sender builds them.
#![forbid(unsafe_code)]

use aw_tests::collect::{held, held_json, json};
use aw_tests::lan::Lan;
use aw_tests::receiver::{Receiver, line};
use aw_tests::rig::{binary, program, public_copy, run, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use serde_json::Value;
use std::net::UdpSocket;
use std::process::Command;

fn counters(ring: &Ring) -> Value {
    let stats = ["--stats", "--format", "json", "--ring", ring.name()];
    let all = json(&run(program("collector", &stats)).ok().stdout);
    let interfaces = all["interfaces"].as_array().unwrap();
    let ours = interfaces.iter().find(|entry| entry["interface"] == "(macupd)");
    ours.map(|entry| entry["counters"].clone()).unwrap_or_default()
}

fn seen(ring: &Ring) -> u64 {
    counters(ring)["seen"].as_u64().unwrap_or_default()
}

fn without_time(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// A router's complete cycle: its table, then its wireless clients; and lines that are neither.
#[test]
fn a_routers_table_becomes_events() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let table = [
        line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "br0"),
        line(2, "192.168.1.125", 6, "AA:BB:CC:DD:EE:01", "vlan2"),
        line(3, "192.168.1.126", 0, "00:00:00:00:00:00", "br0"),
        line(4, "192.168.1.127", 0, "22:22:22:22:22:27", "br0"),
        line(5, "192.168.1.128", 12, "00:00:00:00:00:00", "*"),
        line(6, "192.168.1.129", 2, "ff:ff:ff:ff:ff:ff", "br0"),
        line(7, "192.168.1.130", 2, "01:00:5e:00:00:01", "br0"),
        "   1    rssi 0 0 22:22:22:22:22:22 +-55+ wlan".into(),
        "   2    rssi 0 0 33:33:33:33:33:33 ++ wds".into(),
        "nonsense".into(),
        String::new(),
        "x".repeat(600),
        line(8, "192.168.1.131", 2, "22:22:22:22:22:31", "eth1\n"),
    ];
    receiver.send("127.0.0.2", &table.each_ref().map(String::as_str));
    wait_until("all are counted", || seen(&ring) == 13);
    assert_eq!(
        without_time(&held(&ring)),
        [
            "br0 0 22:22:22:22:22:22 192.168.1.124 MACUPD",
            "vlan2 0 aa:bb:cc:dd:ee:01 192.168.1.125 MACUPD",
            "eth1 0 22:22:22:22:22:31 192.168.1.131 MACUPD",
        ]
    );
    let first = &held_json(&ring)[0];
    assert_eq!((&first["kind"], &first["router"]), (&"macupd".into(), &"127.0.0.2".into()));
    assert_eq!((&first["origin"], &first["interface"]), (&"MACUPD".into(), &"br0".into()));
    let counters = counters(&ring);
    for (name, number) in [
        ("published", 3),
        ("macupd_incomplete", 2),
        ("macupd_proxy", 1),
        ("broadcast_mac", 1),
        ("macupd_group", 1),
        ("macupd_wireless", 2),
        ("macupd_malformed", 3),
        ("kernel_dropped", 0),
    ] {
        assert_eq!(counters[name], number, "{name} of {counters:#}");
    }
    let finished = receiver.run.stop().ok();
    let message =
        finished.stderr.lines().filter(|line| !line.contains("listening on")).collect::<Vec<_>>();
    let malformed = "127.0.0.2 sends lines that are no MACupd reports, such as \"nonsense\" (";
    assert!(
        message.len() == 2
            && message[0].contains("--macupd-from")
            && message[1].contains(malformed),
        "none is logged singly: {message:?}"
    );
}

#[test]
fn only_those_who_are_named_may_report() {
    let report = line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "br0");
    let ring = Ring::new();
    let options = ["--macupd-from", "127.0.0.2", "--macupd-from", "127.0.1.0/24"];
    let receiver = Receiver::listening(&ring, &options);
    for router in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.1.77"] {
        receiver.send(router, &[&report]);
    }
    wait_until("all are counted", || seen(&ring) == 4);
    let routers: Vec<_> =
        held_json(&ring).iter().map(|event| event["router"].to_string()).collect();
    assert_eq!(routers, ["\"127.0.0.2\"", "\"127.0.1.77\""]);
    assert_eq!(counters(&ring)["macupd_sender"], 2);
    let ended = receiver.run.stop().ok().stderr;
    for refused in ["127.0.0.1", "127.0.0.3"] {
        let allow =
            format!("is not allowed: nothing of it is used (--macupd-from {refused} allows it)");
        assert_eq!(ended.matches(&allow).count(), 1, "{ended}");
    }
}

/// The rate limit, the blacklist and -6 apply to reports, too; the rate limit distinguishes routers.
#[test]
fn reports_are_limited_as_sightings_are() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &["-r", "60", "-b", "192.168.1.99"]);
    let report = |last: u8, mac: u8| {
        line(1, &format!("192.168.1.{last}"), 2, &format!("22:22:22:22:22:{mac:02x}"), "br0")
    };
    receiver.send("127.0.0.2", &[&report(1, 1), &report(1, 1), &report(1, 2), &report(99, 1)]);
    receiver.send("127.0.0.3", &[&report(1, 2), &report(1, 2)]);
    wait_until("all are counted", || seen(&ring) == 6);
    let counters = counters(&ring);
    let number = |name: &str| counters[name].as_u64().unwrap();
    assert_eq!((number("published"), number("rate_limited"), number("filtered")), (3, 2, 1));
    receiver.run.stop().ok();
}

/// Beside interfaces, in one process.
#[test]
fn reports_and_frames_together() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link set lo up");
    let ring = Ring::new();
    let mut command = lan.here.command(binary("collector"));
    command.args(["-q", "--ring", ring.name(), "veth0"]);
    let receiver = Receiver::start(command);
    lan.there.scapy(
        "veth1",
        "send(Ether(dst='ff:ff:ff:ff:ff:ff') / ARP(op=2, hwsrc='02:00:00:00:00:07', psrc='192.0.2.7'))",
    );
    wait_until("the frame is captured", || {
        held(&ring).contains("veth0 0 02:00:00:00:00:07 192.0.2.7 ARP_REP")
    });
    let report = line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "br0");
    let script = format!(
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{report}', ('127.0.0.1', {}))",
        receiver.address.port()
    );
    lan.here.run(&["/usr/bin/python3", "-c", &script]);
    wait_until("the report is received", || {
        held(&ring).contains("br0 0 22:22:22:22:22:22 192.168.1.124 MACUPD")
    });
    receiver.run.stop().ok();
}

/// Reports alone need no privilege at all.
#[test]
fn no_privilege_is_needed() {
    let ring = Ring::new();
    let directory = public_copy(&["collector"]);
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "setpriv" } else { "env" });
    if root {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    command.arg(directory.path().join("collector")).args(["-q", "--ring", ring.name()]);
    let receiver = Receiver::start(command);
    receiver.send("127.0.0.2", &[&line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "br0")]);
    let stats = ["--stats", "-u", "65534", "--ring", ring.name()];
    wait_until("the report is received", || {
        run(program("collector", &stats)).ok().stdout.contains("events                 1")
    });
    receiver.run.stop().ok();
}

/// The kernel counts datagrams that the collector reads too late, and the collector logs them: none is lost silently.
#[test]
fn datagrams_that_the_kernel_drops_are_counted() {
    const SENT: usize = 60_000;
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    receiver.run.signal(Signal::STOP);
    let report = line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "br0");
    receiver.send("127.0.0.2", &vec![&*report; SENT]);
    receiver.run.signal(Signal::CONT);
    receiver.run.stderr.wait_for("datagrams (MACupd)");
    let sum = || seen(&ring) + counters(&ring)["kernel_dropped"].as_u64().unwrap();
    wait_until("each is seen or dropped", || sum() == SENT as u64);
    assert!(seen(&ring) > 0);
    receiver.run.stop().ok();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let ring = Ring::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(program("collector", &["--ring", ring.name(), "--macupd", &address]))
        .refused("collector", &[&address, "in use", "another port with --macupd; ss -lunp shows"]);
    // Of another machine.
    for option in ["--macupd", "--listen-vxlan", "--listen-tzsp"] {
        let refused = run(program("collector", &["--ring", ring.name(), option, "192.0.2.9:2056"]));
        let why =
            ["no interface of this machine has 192.0.2.9: choose one that `ip address`", option];
        refused.refused("collector", &why);
    }
    let bad = ["--ring", ring.name(), "--macupd", "127.0.0.1:0", "--macupd-from", "2001:db8::/32"];
    run(program("collector", &bad)).refused("collector", &["2001:db8::/32", "IPv4"]);
    assert!(ring.files().is_empty());
}
