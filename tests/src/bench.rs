//! A large capture for benchmarks: the same for the same seed, 60 % ARP, 25 % ND, 15 % IPv4/UDP that the collector
//! ignores, every fourth frame tagged.

use crate::capture_file::{ETHERNET, Pcap, Time, Unit};
use crate::frames::{ARP, Arp, DOT1Q, Ethernet, IPV4, IPV6, padded, station};
use crate::neighbor::{Neighbor, SOLICITED};
use std::io::{Result, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

/// SplitMix64: small, good enough to mix traffic, and part of this code, so that the file never changes with a library.
pub struct Random(u64);

impl Random {
    /// A generator that always gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// Endless frames from that many hosts, each with an IPv4 and an IPv6 address.
pub fn traffic(hosts: u32, seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut random = Random::new(seed);
    std::iter::from_fn(move || Some(frame(&mut random, hosts)))
}

/// Each pairing of these hosts once.
pub fn introductions(hosts: u32) -> impl Iterator<Item = Vec<u8>> {
    (1..=hosts).flat_map(|host| {
        let ethernet = link(host);
        let mac = ethernet.source;
        [
            Arp::request(mac, ip(host), ip(host)).on(&ethernet),
            Neighbor::solicit(mac, ip6(host), ip6(host)).on(&ethernet),
        ]
        .map(padded)
    })
}

/// Whether a frame of this traffic is ARP or Neighbor Discovery.
pub fn is_wanted(frame: &[u8]) -> bool {
    let ethertype = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let inner = ethertype(if ethertype(12) == DOT1Q { 16 } else { 12 });
    [ARP, IPV6].contains(&inner)
}

/// Writes a capture of these frames, five microseconds apart.
pub fn write(out: impl Write, frames: impl Iterator<Item = Vec<u8>>) -> Result<()> {
    let mut file = Pcap::new(out, ETHERNET, Unit::Microsecond)?;
    let mut time = Time { seconds: 1_700_000_000, nanoseconds: 0 };
    for frame in frames {
        file.packet(time, &frame)?;
        time.nanoseconds += 5_000;
        if time.nanoseconds == 1_000_000_000 {
            time = Time { seconds: time.seconds + 1, nanoseconds: 0 };
        }
    }
    file.finish().map(drop)
}

fn frame(random: &mut Random, hosts: u32) -> Vec<u8> {
    let host = 1 + random.below(hosts);
    let peer = 1 + random.below(hosts);
    let ethernet = link(host);
    let mac = ethernet.source;
    padded(match random.below(100) {
        0..35 => Arp::request(mac, ip(host), ip(peer)).on(&ethernet),
        35..57 => Arp::reply(mac, ip(host), ip(peer)).on(&ethernet.to(station(peer))),
        57..60 => Arp::probe(mac, ip(host)).on(&ethernet),
        60..72 => Neighbor::solicit(mac, ip6(host), ip6(peer)).on(&ethernet),
        72..83 => {
            let answer = Neighbor {
                flags: SOLICITED,
                destination: ip6(peer),
                ..Neighbor::advertise(mac, ip6(host))
            };
            answer.on(&ethernet.to(station(peer)))
        }
        83..85 => Neighbor::probe(ip6(host)).on(&ethernet),
        _ => {
            let length = random.below(200) as usize;
            ethernet.to(station(peer)).frame(IPV4, &udp(ip(host), ip(peer), length))
        }
    })
}

/// A host stays in its VLAN.
fn link(host: u32) -> Ethernet {
    let ethernet = Ethernet::from(station(host));
    if host.is_multiple_of(4) { ethernet.tag(DOT1Q, 10 + (host / 4 % 8) as u16) } else { ethernet }
}

fn ip(host: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + host)
}

fn ip6(host: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(host))
}

/// An IPv4/UDP packet, its UDP checksum left out as RFC 768 allows.
fn udp(source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> Vec<u8> {
    let total = (28 + length) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    bytes.extend(5000u16.to_be_bytes());
    bytes.extend(5001u16.to_be_bytes());
    bytes.extend((8 + length as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.resize(28 + length, 0x55);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_file() {
        let make = |seed| {
            let mut out = Vec::new();
            write(&mut out, traffic(100, seed).take(1000)).unwrap();
            out
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }
}
