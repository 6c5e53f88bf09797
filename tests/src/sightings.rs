//! Sightings for tests of histories: which MAC had which address, when.

use crate::capture_file::{ETHERNET, Pcap, Unit, at};
use crate::collect::collect;
use crate::frames::{Arp, DOT1Q, Ethernet, station};
use crate::neighbor::{Neighbor, OVERRIDE, SOLICITED};
use crate::ring::Ring;
use std::net::{Ipv4Addr, Ipv6Addr};

/// 2026-11-20 14:00 UTC.
pub const BEGIN: u32 = 1_795_183_200;

/// The address with most sightings.
pub const ADDRESS: &str = "10.1.2.3";

/// A sighting: seconds after the beginning, MAC, last number of the address 10.1.2., VLAN.
pub type Sighting = (u32, u32, u8, u16);

/// A collector on the host `here` captures these sightings on eth0.
#[track_caller]
pub fn capture(ring: &Ring, seen: &[Sighting]) {
    let frames = seen.iter().map(|(seconds, mac, address, vlan)| {
        let (mac, ip) = (station(*mac), Ipv4Addr::new(10, 1, 2, *address));
        let mut ethernet = Ethernet::from(mac);
        if *vlan > 0 {
            ethernet = ethernet.tag(DOT1Q, *vlan);
        }
        (BEGIN + seconds, Arp::request(mac, ip, [10, 1, 2, 254].into()).on(&ethernet))
    });
    capture_frames(ring, frames);
}

/// A collector on the host `here` captures these frames on eth0, each at its second since 1970.
#[track_caller]
pub fn capture_frames(ring: &Ring, frames: impl IntoIterator<Item = (u32, Vec<u8>)>) {
    capture_with(ring, frames, &[]);
}

/// The same with what devices call themselves, and their leases.
#[track_caller]
pub fn capture_names(ring: &Ring, frames: impl IntoIterator<Item = (u32, Vec<u8>)>) {
    capture_with(ring, frames, &["--names"]);
}

#[track_caller]
fn capture_with(ring: &Ring, frames: impl IntoIterator<Item = (u32, Vec<u8>)>, options: &[&str]) {
    let mut capture = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for (second, frame) in frames {
        capture.packet(at(second), &frame).expect("memory takes all");
    }
    let capture = capture.finish().expect("memory takes all");
    collect(ring, &capture, &[&["-q", "--as", "eth0", "--hostname", "here"], options].concat())
        .ok();
}

/// One device for an hour, every five minutes; another one takes over at 15:00; the first one is back at 17:00.
pub fn handover() -> Vec<Sighting> {
    let step = 300;
    let mut seen: Vec<Sighting> = Vec::new();
    seen.extend((0..12).map(|n| (n * step, 1, 3, 0)));
    seen.extend((12..36).map(|n| (n * step, 2, 3, 0)));
    seen.extend((36..48).map(|n| (n * step, 1, 3, 0)));
    seen.push((100, 1, 4, 7));
    seen
}

/// The address of a station of [`evidence`], as text.
pub fn address6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)
}

/// Frames of an hour, each with its second since 1970. What they prove about addresses differs:
///
/// * A scanner (MAC 99) probes 10.1.2.1 to 10.1.2.8 from 0.0.0.0 every five minutes. 10.1.2.1 to 10.1.2.4 answer.
/// * A host (MAC 5) joins at minute 30: three probes of 10.1.2.50, then announcements.
/// * A host (MAC 6) claims 2001:db8::6 once, and then answers unicast solicitations without the option. Later it only
///   asks, without the option. So does MAC 7, which is not known.
/// * An extender (MAC 8) forwards the answers of MAC 9, which claims 2001:db8::9 every four minutes, as its own frames.
pub fn evidence() -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    for minute in (0..60).step_by(5) {
        for address in 1..=8 {
            let (ip, second) = (Ipv4Addr::new(10, 1, 2, address), 60 * minute + u32::from(address));
            frames.push((second, Arp::probe(station(99), ip).frame()));
            if address <= 4 {
                let owner = station(address.into());
                let reply = Arp::reply(owner, ip, Ipv4Addr::UNSPECIFIED).frame();
                frames.push((second, reply));
            }
        }
    }
    let ip = Ipv4Addr::new(10, 1, 2, 50);
    frames.extend((0..3).map(|n| (1800 + n, Arp::probe(station(5), ip).frame())));
    frames.extend((0..2).map(|n| (1804 + 2 * n, Arp::request(station(5), ip, ip).frame())));
    let router = address6(1);
    let answer = |mac, number| Neighbor {
        destination: router,
        flags: SOLICITED | OVERRIDE,
        options: Vec::new(),
        ..Neighbor::advertise(station(mac), address6(number))
    };
    let ask = |mac, number| Neighbor {
        destination: router,
        options: Vec::new(),
        ..Neighbor::solicit(station(mac), address6(number), router)
    };
    frames.push((10, Neighbor::advertise(station(6), address6(6)).frame(station(6))));
    for minute in 1..40 {
        frames.push((60 * minute + 10, answer(6, 6).frame(station(6))));
    }
    for minute in 40..60 {
        frames.push((60 * minute + 10, ask(6, 6).frame(station(6))));
        frames.push((60 * minute + 10, ask(7, 7).frame(station(7))));
    }
    for minute in 0..60 {
        frames.push((60 * minute + 20, answer(8, 9).frame(station(8))));
        if minute % 4 == 2 {
            let claim = Neighbor::advertise(station(9), address6(9));
            frames.push((60 * minute + 30, claim.frame(station(9))));
        }
    }
    frames.sort_by_key(|(second, _)| *second);
    frames.into_iter().map(|(second, frame)| (BEGIN + second, frame)).collect()
}
