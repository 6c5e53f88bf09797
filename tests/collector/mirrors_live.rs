//! Mirrored frames, live: tags of switches and tunnels on an interface, and datagrams without a privilege.
#![forbid(unsafe_code)]

use aw_tests::collect::{counters, held};
use aw_tests::encapsulation::*;
use aw_tests::frames::DOT1Q;
use aw_tests::lan::Lan;
use aw_tests::listening::Listening;
use aw_tests::mirrored::*;
use aw_tests::rig::{Run, program, public_copy, run, wait_until};
use aw_tests::ring::Ring;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

/// A frame that scapy sends as it is.
fn raw(frames: &[Vec<u8>]) -> String {
    let hex = |frame: &Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let send = |frame| format!("send(Raw(bytes.fromhex('{}')))\n", hex(frame));
    frames.iter().map(send).collect()
}

/// Live: tags of switches are read; tunnels are only noticed, unless `--decapsulate` is set and the sender is allowed.
#[test]
fn live_tunnels_are_an_explicit_choice() {
    let Some(lan) = Lan::new() else { return };
    let vn_tag = inserted(&arp().frame(), VN_TAG, &[0, 0, 0, 1]);
    let unknown = inserted(&arp().frame(), 0x9001, &[0; 6]);
    let (_, mut frames): (Vec<_>, Vec<_>) = tunnels(&arp().frame()).into_iter().unzip();
    let tunnels = frames.len();
    // The memory that the kernel has for a filter by default, before Linux 6.8.
    lan.here.run(&["sh", "-c", "echo 20480 > /proc/sys/net/core/optmem_max || true"]);
    frames.insert(0, unknown);
    frames.push(vn_tag);
    let plain = Listening::start(&lan.here, &["veth0"], "veth0");
    let mirror = Listening::start(&lan.here, &["--decapsulate", "veth0"], "veth0");
    let near = ["--decapsulate", "--tunnel-from", "10.9.0.2", "--tunnel-id", "veth0"];
    let near = Listening::start(&lan.here, &near, "veth0");
    lan.there.scapy("veth1", &raw(&frames));
    let stderr = plain.run.stderr.wait_for("is not read");
    assert!(
        stderr.contains("veth0: ARP or Neighbor Discovery behind EtherType 0x9001"),
        "{stderr}"
    );
    for run in [&plain.run, &mirror.run, &near.run] {
        assert!(!run.stderr.text().contains("memory for filter"), "{}", run.stderr.text());
    }
    plain.prints(&[arp_line("veth0", 0)]);
    mirror.prints(&vec![arp_line("veth0", 0); tunnels + 1]);
    near.run.stdout.wait_for_lines(tunnels / 2 + 1);
    let lines = near.stop();
    assert_eq!(lines.len(), tunnels / 2 + 1, "{lines:#?}");
    assert!(lines.contains(&arp_line("veth0#5001", 0)), "{lines:#?}");
}

/// A host of VLAN 10 writes a whole frame of VLAN 20 into a frame: without `--decapsulate` that is no claim in VLAN 20.
#[test]
fn a_live_frame_in_a_frame_claims_nothing_in_another_vlan() {
    let Some(lan) = Lan::new() else { return };
    let forged: Vec<_> = [
        behind(PBB, &[0, 0, 0, 1], &tagged(20)),
        behind(TRILL, &[0, 0x1f, 0, 1, 0, 2], &tagged(20)),
        behind(FABRICPATH, &[0, 0x60], &tagged(20)),
        behind(PPPOE, &[0x11, 0, 0, 5, 0, 50, 0, 0x31, 0, 1], &tagged(20)),
    ]
    .into();
    let in_vlan_10 = |frame: &Vec<u8>| inserted(frame, DOT1Q, &[0, 10]);
    let mut frames: Vec<_> = forged.iter().map(in_vlan_10).chain(forged.clone()).collect();
    let number = frames.len();
    frames.push(tagged(30));
    let plain = Listening::start(&lan.here, &["veth0"], "veth0");
    let fabric = Listening::start(&lan.here, &["--decapsulate", "veth0"], "veth0");
    lan.there.scapy("veth1", &raw(&frames));
    let stderr = plain.run.stderr.wait_for("is not read");
    assert!(stderr.contains("EtherType 0x88e7") && stderr.contains("--decapsulate"), "{stderr}");
    plain.run.stdout.wait_for(&arp_line("veth0", 30));
    let finished = plain.run.stop().ok();
    assert_eq!(without_time(&finished.stdout), [arp_line("veth0", 30)]);
    assert_eq!(counters(&finished.stderr, "veth0")["unknown_header"], number as u64);
    let read = vec![arp_line("veth0", 20); number];
    fabric.prints(&[read, vec![arp_line("veth0", 30)]].concat());
}

/// The kernel's own VXLAN sends to a collector that has no privilege and no interface.
#[test]
fn the_kernels_vxlan() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("addr add 10.9.0.1/24 dev veth0");
    lan.there.ip("addr add 10.9.0.2/24 dev veth1");
    lan.there.ip("link add vx0 type vxlan id 5001 remote 10.9.0.1 dstport 4789");
    lan.there.ip("link set vx0 up");
    let noticed = Listening::start(&lan.here, &["veth0"], "veth0");
    let received =
        Listening::start(&lan.here, &["--listen-vxlan", "--tunnel-id"], "0.0.0.0:4789 (VXLAN)");
    lan.there.scapy("vx0", &raw(&[arp().frame(), advertisement(), tagged(6)]));
    let stderr = noticed.run.stderr.wait_for("is not read");
    assert!(stderr.contains("VXLAN (UDP port 4789)") && stderr.contains("--decapsulate"));
    received.run.stdout.wait_for_lines(3);
    let expected = [arp_line("vxlan#5001", 0), nd_line("vxlan#5001"), arp_line("vxlan#5001", 6)];
    assert_eq!(received.stop(), expected);
}

/// A collector that receives datagrams with this option; its first address.
fn receiver(mut command: Command, option: &str, address: &str, title: &str) -> (Run, SocketAddr) {
    command.args([option, address]);
    let run = Run::start(command);
    let line = run.stderr.wait_for(&format!("({title})"));
    let mut words = line.split_whitespace().map(|word| word.trim_end_matches(','));
    let address = words.find_map(|word| word.parse().ok()).expect("an address");
    (run, address)
}

#[test]
fn mirrors_send_datagrams() {
    let ring = Ring::new();
    let command = program("collector", &["-q", "--ring", ring.name()]);
    let (collector, address) = receiver(command, "--listen-tzsp", "127.0.0.1:0", "TZSP");
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    let jumbo = [arp().frame(), vec![0; 9000]].concat();
    for datagram in [
        tzsp(&[], &arp().frame()),
        tzsp(&[10, 1, 0xc4], &advertisement()),
        tzsp(&[], &jumbo),
        vec![1, 4, 0, 0], // keep-alive
        tzsp(&[], &arp().frame()[..30]),
        vec![],
        tzsp(&[], &ipv4(UDP, &udp(VXLAN, &vxlan(5, &arp().frame())))),
    ] {
        socket.send_to(&datagram, address).unwrap();
    }
    let counters = || stats_of(&ring, "(tzsp)")["counters"].clone();
    wait_until("all are counted", || counters()["seen"] == 7);
    let expected = [arp_line("tzsp", 0), nd_line("tzsp"), arp_line("tzsp", 0)];
    assert_eq!(without_time(&held(&ring)), expected);
    let counters = counters();
    for (name, number) in
        [("published", 3), ("unrelated", 1), ("truncated", 2), ("unknown_header", 1)]
    {
        assert_eq!(counters[name], number, "{name} of {counters:#}");
    }
    collector.stop().ok();
}

/// Only senders that are allowed, over IPv4 and IPv6.
#[test]
fn only_allowed_mirrors() {
    for (bind, from, to) in [
        ("127.0.0.1:0", ["127.0.0.1:0", "127.0.0.3:0"], "127.0.0.3"),
        ("[::1]:0", ["[::1]:0", "[::1]:0"], "fd00::/8"),
    ] {
        let ring = Ring::new();
        let command = program("collector", &["-q", "--ring", ring.name(), "--tunnel-from", to]);
        let (collector, address) = receiver(command, "--listen-vxlan", bind, "VXLAN");
        for from in from {
            let socket = UdpSocket::bind(from).unwrap();
            socket.send_to(&vxlan(5, &arp().frame()), address).unwrap();
        }
        let counters = || stats_of(&ring, "(vxlan)")["counters"].clone();
        wait_until("both are counted", || counters()["seen"] == 2);
        let refused = if address.is_ipv4() { 1 } else { 2 };
        assert_eq!(counters()["tunnel_sender"], refused);
        assert_eq!(counters()["published"], 2 - refused);
        collector.stop().ok();
    }
}

/// No privilege is needed, and a port alone is enough.
#[test]
fn a_user_without_privileges_receives() {
    let ring = Ring::new();
    let directory = public_copy(&["collector"]);
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { "setpriv" } else { "env" });
    if root {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    let named = ["--as", "vxlan=core", "--ring", ring.name()];
    command.arg(directory.path().join("collector")).args(named);
    let (collector, address) = receiver(command, "--listen-vxlan", "0", "VXLAN");
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    socket.send_to(&vxlan(5, &arp().frame()), ("127.0.0.1", address.port())).unwrap();
    collector.stdout.wait_for(&arp_line("core", 0));
    collector.stop().ok();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bad = ["--ring", ring.name(), "--listen-tzsp", &address];
    run(program("collector", &bad)).refused("collector", &["in use", "--listen-tzsp"]);
}
