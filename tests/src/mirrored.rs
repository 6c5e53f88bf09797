//! Frames for tests of mirrors, in each kind of tunnel, and the events that they become.

use crate::collect::json;
use crate::encapsulation::*;
use crate::frames::{Arp, DOT1Q, Ethernet, station};
use crate::neighbor::Neighbor;
use crate::rig::{program, run};
use crate::ring::Ring;
use serde_json::Value;

/// 192.0.2.1 asks for 192.0.2.2.
pub fn arp() -> Arp {
    Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 2].into())
}

/// The same with a VLAN tag.
pub fn tagged(vlan: u16) -> Vec<u8> {
    arp().on(&Ethernet::from(station(1)).tag(DOT1Q, vlan))
}

/// 2001:db8::1 announces itself.
pub fn advertisement() -> Vec<u8> {
    Neighbor::advertise(station(1), "2001:db8::1".parse().unwrap()).frame(station(1))
}

/// Lines without their times.
pub fn without_time(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// The line of `arp()` or `tagged()`.
pub fn arp_line(interface: &str, vlan: u16) -> String {
    format!("{interface} {vlan} 02:00:00:00:00:01 192.0.2.1 ARP_REQ")
}

/// The line of `advertisement()`.
pub fn nd_line(interface: &str) -> String {
    format!("{interface} 0 02:00:00:00:00:01 2001:db8::1 ND_NA")
}

/// Each kind of tunnel over IPv4 and over IPv6, with the number of its network.
pub fn tunnels(frame: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    for (id, protocol, payload) in [
        ("#5001", UDP, udp(VXLAN, &vxlan(5001, frame))),
        ("#5001", UDP, udp(8472, &vxlan(5001, frame))),
        ("#77", UDP, udp(GENEVE, &geneve(77, 0, frame))),
        ("#77", UDP, udp(GENEVE, &geneve(77, 5, frame))),
        ("", UDP, udp(TZSP, &tzsp(&[], frame))),
        ("", UDP, udp(TZSP, &tzsp(&[0, 10, 1, 0xc4, 0, 40, 4, 1, 2, 3, 4], frame))),
        ("", GRE, gre(0x6558, [None; 3], frame)),
        ("#42", GRE, gre(0x6558, [Some(0), Some(42), Some(9)], frame)),
        ("#66051", GRE, gre(0x6558, [None, Some(0x0102_0307), None], frame)), // NVGRE
        ("", GRE, gre(0x88be, [None; 3], frame)),                             // ERSPAN type I
        ("#100", GRE, erspan_2(0, 100, frame)),
        ("#1023", GRE, erspan_3(0, 1023, false, frame)),
        ("#7", GRE, erspan_3(0, 7, true, frame)),
    ] {
        all.push((id, ipv4(protocol, &payload)));
        all.push((id, ipv6(protocol, false, &payload)));
        all.push((id, ipv6(protocol, true, &payload)));
        all.push((id, ipv4_of(0x4000, 2, protocol, &payload)));
    }
    all
}

/// An interface's object in `--stats --format json`.
#[track_caller]
pub fn stats_of(ring: &Ring, interface: &str) -> Value {
    let options = ["--stats", "--format", "json", "--ring", ring.name()];
    let all = json(&run(program("collector", &options)).ok().stdout);
    let interfaces = all["interfaces"].as_array().unwrap();
    let found = interfaces.iter().find(|object| object["interface"] == interface);
    found.cloned().unwrap_or_default()
}
