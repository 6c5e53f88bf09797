//! Sightings for tests of histories: which MAC had which address, when.

use crate::capture_file::{ETHERNET, Pcap, Unit, at};
use crate::collect::collect;
use crate::frames::{Arp, DOT1Q, Ethernet, station};
use crate::ring::Ring;
use std::net::Ipv4Addr;

/// 2026-11-20 14:00 UTC.
pub const BEGIN: u32 = 1_795_183_200;

/// The address with most sightings.
pub const ADDRESS: &str = "10.1.2.3";

/// A sighting: seconds after the beginning, MAC, last number of the address 10.1.2., VLAN.
pub type Seen = (u32, u32, u8, u16);

/// A collector on the host `here` captures these sightings on eth0.
#[track_caller]
pub fn capture(ring: &Ring, seen: &[Seen]) {
    let mut capture = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for (seconds, mac, address, vlan) in seen {
        let (mac, ip) = (station(*mac), Ipv4Addr::new(10, 1, 2, *address));
        let mut ethernet = Ethernet::from(mac);
        if *vlan > 0 {
            ethernet = ethernet.tag(DOT1Q, *vlan);
        }
        let frame = Arp::request(mac, ip, [10, 1, 2, 254].into()).on(&ethernet);
        capture.packet(at(BEGIN + seconds), &frame).expect("memory takes all");
    }
    let capture = capture.finish().expect("memory takes all");
    collect(ring, &capture, &["-q", "--as", "eth0", "--hostname", "here"]).ok();
}

/// One device for an hour, every five minutes; another one takes over at 15:00; the first one is back at 17:00.
pub fn handover() -> Vec<Seen> {
    let step = 300;
    let mut seen: Vec<Seen> = Vec::new();
    seen.extend((0..12).map(|n| (n * step, 1, 3, 0)));
    seen.extend((12..36).map(|n| (n * step, 2, 3, 0)));
    seen.extend((36..48).map(|n| (n * step, 1, 3, 0)));
    seen.push((100, 1, 4, 7));
    seen
}
