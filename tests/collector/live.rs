//! Live capture over a veth pair between two network namespaces: frames that scapy and ndisc6 send, and those
//! that the kernel sends by itself. Nothing leaves the namespaces.
#![forbid(unsafe_code)]

use aw_tests::collect::counters;
use aw_tests::lan::{HERE, Host, Lan, THERE};
use aw_tests::listening::Listening;
use rustix::process::Signal;

fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.iter().map(|line| line.replace("THERE", THERE).replace("HERE", HERE)).collect()
}

/// Frames of every origin and with every kind of tag. The collector restores tags that the kernel strips.
const FRAMES: &str = "
mac = lambda n: '02:00:00:00:00:%02x' % n
ether = lambda n, t: Ether(src=mac(n), dst='ff:ff:ff:ff:ff:ff', type=t)
arp = lambda n, **a: ARP(hwsrc=mac(n), psrc='192.0.2.%d' % n, pdst='192.0.2.254', **a)
na = lambda n: (IPv6(src='2001:db8::%x' % n, dst='ff02::1', hlim=255)
    / ICMPv6ND_NA(tgt='2001:db8::%x' % n, R=0, S=0) / ICMPv6NDOptDstLLAddr(lladdr=mac(n)))
ns = lambda n: (IPv6(src='2001:db8::%x' % n, dst='ff02::1:ff00:fe', hlim=255)
    / ICMPv6ND_NS(tgt='2001:db8::fe') / ICMPv6NDOptSrcLLAddr(lladdr=mac(n)))
dad = lambda n: (IPv6(src='::', dst='ff02::1:ff00:%x' % n, hlim=255) / ICMPv6ND_NS(tgt='2001:db8::%x' % n))
send(ether(1, 0x806) / arp(1))
send(ether(2, 0x806) / arp(2, op=2))
send(ether(3, 0x806) / ARP(hwsrc=mac(3), psrc='0.0.0.0', pdst='192.0.2.3'))
send(ether(4, 0x86dd) / ns(4))
send(ether(5, 0x86dd) / na(5))
send(ether(6, 0x86dd) / dad(6))
send(ether(7, 0x8100) / Dot1Q(vlan=7) / arp(7))
send(ether(8, 0x8100) / Dot1Q(vlan=8) / na(8))
send(ether(9, 0x8100) / Dot1Q(vlan=100) / Dot1Q(vlan=9) / arp(9))
send(ether(10, 0x8100) / Dot1Q(vlan=100) / Dot1Q(vlan=10) / dad(10))
send(ether(11, 0x88a8) / Dot1Q(vlan=200, type=0x8100) / Dot1Q(vlan=11) / arp(11))
send(ether(12, 0x88a8) / Dot1Q(vlan=12) / ns(12))
send(ether(13, 0x8100) / Dot1Q(vlan=0, prio=5) / arp(13))
send(ether(14, 0x8100) / Dot1Q(vlan=30) / Dot1Q(vlan=20) / Dot1Q(vlan=14) / na(14))
send(ether(16, 0x8100) / Dot1Q(vlan=40) / Dot1Q(vlan=30) / Dot1Q(vlan=20) / Dot1Q(vlan=16) / arp(16))
send(Dot3(src=mac(15), dst='ff:ff:ff:ff:ff:ff') / LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(OUI=0, code=0x806) / arp(15))
";

fn frames(interface: &str) -> Vec<String> {
    [
        "0 02:00:00:00:00:01 192.0.2.1 ARP_REQ",
        "0 02:00:00:00:00:02 192.0.2.2 ARP_REP",
        "0 02:00:00:00:00:03 192.0.2.3 ARP_ACD",
        "0 02:00:00:00:00:04 2001:db8::4 ND_NS",
        "0 02:00:00:00:00:05 2001:db8::5 ND_NA",
        "0 02:00:00:00:00:06 2001:db8::6 ND_DAD",
        "7 02:00:00:00:00:07 192.0.2.7 ARP_REQ",
        "8 02:00:00:00:00:08 2001:db8::8 ND_NA",
        "9 02:00:00:00:00:09 192.0.2.9 ARP_REQ",
        "10 02:00:00:00:00:0a 2001:db8::a ND_DAD",
        "11 02:00:00:00:00:0b 192.0.2.11 ARP_REQ",
        "12 02:00:00:00:00:0c 2001:db8::c ND_NS",
        "0 02:00:00:00:00:0d 192.0.2.13 ARP_REQ",
        "14 02:00:00:00:00:0e 2001:db8::e ND_NA",
        "16 02:00:00:00:00:10 192.0.2.16 ARP_REQ",
        "0 02:00:00:00:00:0f 192.0.2.15 ARP_IGNORED",
    ]
    .map(|line| format!("{interface} {line}"))
    .to_vec()
}

#[test]
fn frames_sent_by_scapy() {
    let Some(lan) = Lan::new() else { return };
    let listening = Listening::start(&lan.here, &["veth0"], "veth0");
    lan.there.scapy("veth1", FRAMES);
    listening.prints(&frames("veth0"));
}

/// `any` captures from all interfaces, without Ethernet headers. Linux 6.10 and later spoil stacked tags there: the header names
/// the innermost protocol, although a tag still lies before it (`vlan_get_protocol_dgram` in net/packet/af_packet.c).
/// Such a frame may be missed, but must not become another event.
#[test]
fn frames_on_any_interface() {
    let Some(lan) = Lan::new() else { return };
    let listening = Listening::start(&lan.here, &["any"], "any");
    lan.there.scapy("veth1", FRAMES);
    let all = frames("any");
    let last = all.last().unwrap();
    listening.run.stdout.wait_for(last);
    let mut captured = listening.stop();
    let stacked = [" 9 ", " 10 ", " 11 ", " 14 ", " 16 "].map(|vlan| format!("any{vlan}"));
    let is_stacked = |line: &String| stacked.iter().any(|start| line.starts_with(start));
    let without: Vec<String> = all.iter().filter(|line| !is_stacked(line)).cloned().collect();
    assert!(captured.iter().all(|line| all.contains(line)), "{captured:#?}");
    captured.retain(|line| !is_stacked(line));
    assert_eq!(captured, without);
}

#[test]
fn one_family_only() {
    let Some(lan) = Lan::new() else { return };
    let four = Listening::start(&lan.here, &["-4", "veth0"], "veth0");
    let six = Listening::start(&lan.here, &["-6", "veth0"], "veth0");
    lan.there.scapy("veth1", FRAMES);
    let of = |name: &str| {
        frames("veth0").into_iter().filter(|line| line.contains(name)).collect::<Vec<_>>()
    };
    four.prints(&of(" ARP_"));
    six.prints(&of(" ND_"));
}

/// Two interfaces in one process, each line with its own.
#[test]
fn two_interfaces() {
    let Some(lan) = Lan::new() else { return };
    lan.there.ip("link add left type veth peer name right");
    lan.there.ip("link set left up");
    lan.there.ip("link set right up");
    let listening = Listening::start(&lan.there, &["veth1", "left"], "veth1, left");
    let arp = |n: u8| {
        format!(
            "send(Ether(dst='ff:ff:ff:ff:ff:ff') / ARP(hwsrc='02:00:00:00:00:0{n}', psrc='192.0.2.{n}'))"
        )
    };
    for n in [1, 3] {
        lan.here.scapy("veth0", &arp(n));
        listening.run.stdout.wait_for_lines(n.into());
        lan.there.scapy("right", &arp(n + 1));
        listening.run.stdout.wait_for_lines((n + 1).into());
    }
    listening.prints(&lines([
        "veth1 0 02:00:00:00:00:01 192.0.2.1 ARP_REQ",
        "left 0 02:00:00:00:00:02 192.0.2.2 ARP_REQ",
        "veth1 0 02:00:00:00:00:03 192.0.2.3 ARP_REQ",
        "left 0 02:00:00:00:00:04 192.0.2.4 ARP_REQ",
    ]));
}

/// Frames that waited in the kernel on several interfaces are read in the order in which they arrived.
#[test]
fn interfaces_are_read_in_the_order_of_arrival() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add left type veth peer name right");
    lan.here.ip(&format!("link set right netns {}", lan.there.namespace()));
    lan.here.ip("link set left up");
    lan.there.ip("link set right up");
    let listening = Listening::start(&lan.here, &["veth0", "left"], "veth0, left");
    listening.run.signal(Signal::STOP);
    lan.there.scapy(
        "veth1",
        "for n in range(1, 41):
    frame = Ether(src=f'02:00:00:00:00:{n:02x}', dst='ff:ff:ff:ff:ff:ff')
    frame /= ARP(hwsrc=f'02:00:00:00:00:{n:02x}', psrc=f'192.0.2.{n}')
    sendp(frame, iface='veth1' if n % 4 < 2 else 'right')",
    );
    listening.run.signal(Signal::CONT);
    let line = |n: u8| {
        let interface = if n % 4 < 2 { "veth0" } else { "left" };
        format!("{interface} 0 02:00:00:00:00:{n:02x} 192.0.2.{n} ARP_REQ")
    };
    listening.prints(&(1..=40).map(line).collect::<Vec<_>>());
}

/// What arping(8) sends: an address in use, the same on a VLAN, and a probe for an address (RFC 5227).
#[test]
fn arp_untagged_tagged_and_probing() {
    let Some(lan) = Lan::new() else { return };
    let listening = Listening::start(&lan.here, &["veth0"], "veth0");
    let request = "ARP(hwsrc=wire.src, pdst='192.0.2.1', psrc=";
    for (count, packet) in [
        (1, format!("{request}'192.0.2.2')")),
        (2, format!("Dot1Q(vlan=42) / {request}'192.0.2.3')")),
        (3, format!("{request}'0.0.0.0')")),
    ] {
        let wire = format!("wire = Ether(src='{THERE}', dst='ff:ff:ff:ff:ff:ff')");
        lan.there.scapy("veth1", &format!("{wire}\nsend(wire / {packet})"));
        listening.run.stdout.wait_for_lines(count);
    }
    listening.prints(&lines([
        "veth0 0 THERE 192.0.2.2 ARP_REQ",
        "veth0 42 THERE 192.0.2.3 ARP_REQ",
        "veth0 0 THERE 192.0.2.1 ARP_ACD",
    ]));
}

#[test]
fn ndisc6_and_the_kernels_answer() {
    let Some(lan) = Lan::new() else { return };
    for (host, interface, address) in
        [(&lan.here, "veth0", "2001:db8::1"), (&lan.there, "veth1", "2001:db8::2")]
    {
        host.ipv6(interface);
        host.ip(&format!("addr add {address}/64 dev {interface} nodad"));
    }
    let listening = Listening::start(&lan.here, &["veth0"], "veth0");
    lan.there.run(&["ndisc6", "-1", "-r", "1", "-s", "2001:db8::2", "2001:db8::1", "veth1"]);
    listening.prints(&lines(["veth0 0 THERE 2001:db8::2 ND_NS", "veth0 0 HERE 2001:db8::1 ND_NA"]));
}

/// A datagram from there to here: the kernels resolve the address and answer by themselves.
fn datagram(from: &Host, family: &str, source: &str, destination: &str) {
    let script = format!(
        "import socket; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.bind(('{source}', 0)); \
         s.sendto(b'x', ('{destination}', 9))"
    );
    from.run(&["/usr/bin/python3", "-c", &script]);
}

#[test]
fn the_kernels_own_arp() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("addr add 192.0.2.1/24 dev veth0");
    lan.there.ip("addr add 192.0.2.2/24 dev veth1");
    let listening = Listening::start(&lan.here, &["veth0"], "veth0");
    datagram(&lan.there, "AF_INET", "192.0.2.2", "192.0.2.1");
    listening.prints(&lines(["veth0 0 THERE 192.0.2.2 ARP_REQ", "veth0 0 HERE 192.0.2.1 ARP_REP"]));
}

#[test]
fn the_kernels_own_neighbour_discovery() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ipv6("veth0");
    lan.there.ipv6("veth1");
    lan.here.ip("addr add 2001:db8::1/64 dev veth0 nodad");
    let listening = Listening::start(&lan.here, &["veth0"], "veth0");
    // Duplicate address detection, then a resolution from an address that need not wait for it.
    lan.there.ip("addr add 2001:db8::2/64 dev veth1");
    listening.run.stdout.wait_for_lines(1);
    lan.there.ip("addr add 2001:db8::3/64 dev veth1 nodad");
    datagram(&lan.there, "AF_INET6", "2001:db8::3", "2001:db8::1");
    listening.prints(&lines([
        "veth0 0 THERE 2001:db8::2 ND_DAD",
        "veth0 0 THERE 2001:db8::3 ND_NS",
        "veth0 0 HERE 2001:db8::1 ND_NA",
    ]));
}

/// The kernel's filter drops other traffic, or the collector counts it; the counters balance.
#[test]
fn the_counters_balance() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("addr add 192.0.2.1/24 dev veth0");
    lan.there.ip("addr add 192.0.2.2/24 dev veth1");
    let listening = Listening::start(&lan.here, &["veth0"], "veth0");
    let bad = "send(Ether(dst='ff:ff:ff:ff:ff:ff') / ARP(op=9))\n";
    lan.there.scapy("veth1", &format!("{bad}{FRAMES}"));
    listening.run.stdout.wait_for_lines(frames("veth0").len());
    let finished = listening.run.stop().ok();
    let mut counters = counters(&finished.stderr, "veth0");
    let seen = counters.remove("seen").expect("seen is printed");
    counters.remove("kernel_dropped");
    assert_eq!(counters["published"], frames("veth0").len() as u64, "{counters:?}");
    assert_eq!(counters["arp_operation"], 1, "{counters:?}");
    assert_eq!(seen, counters.values().sum::<u64>(), "{counters:?}");
}
