//! Messages built by the RFCs' formats, whole frames: what each gives, and what refuses it.

use std::net::{Ipv4Addr, Ipv6Addr};

use shm_layout::{MacAddr, NameCounter, NameKind, NameMarks, NameRecord, Origin, UnixTime, VlanId};

use super::{Claims, message};
use crate::{
    filter,
    link::{Frame, LinkType},
};

mod dhcp;
mod others;
mod routers;

pub const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
pub const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// An Ethernet frame.
pub fn ethernet(protocol: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &SENDER, &protocol.to_be_bytes(), payload].concat()
}

fn sum(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2);
    pairs.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A datagram over IPv4, to all hosts or to the group of multicast DNS.
pub fn udp4(source: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let destination = if ports[1] == 5353 { [224, 0, 0, 251] } else { [255; 4] };
    udp4_to(destination, 64, source, ports, payload)
}

pub fn udp4_to(
    destination: [u8; 4],
    hops: u8,
    source: [u8; 4],
    [from, to]: [u16; 2],
    payload: &[u8],
) -> Vec<u8> {
    let length = payload.len() as u16 + 8;
    let mut header = [&[0x45, 0][..], &(length + 20).to_be_bytes()].concat();
    header.extend([0, 0, 0, 0, hops, 17, 0, 0]);
    header.extend(source);
    header.extend(destination);
    let own = checksum(sum(&header));
    header[10..12].copy_from_slice(&own);
    let mut datagram = [from, to, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let all = sum(&header[12..]) + 17 + u32::from(length) + sum(&datagram);
    datagram[6..8].copy_from_slice(&checksum(all));
    [header, datagram].concat()
}

/// A packet of IPv6; the checksum of its payload is at this place.
pub fn packet6(
    source: &str,
    destination: &str,
    (next, hops): (u8, u8),
    mut payload: Vec<u8>,
    place: usize,
) -> Vec<u8> {
    let addresses = [source, destination].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets());
    let length = payload.len() as u16;
    payload[place..place + 2].fill(0);
    let all = sum(&addresses.concat()) + u32::from(next) + u32::from(length) + sum(&payload);
    payload[place..place + 2].copy_from_slice(&checksum(all));
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, hops]);
    packet.extend(addresses.concat());
    packet.extend(payload);
    packet
}

pub fn icmp6(source: &str, destination: &str, hops: u8, message: &[u8]) -> Vec<u8> {
    packet6(source, destination, (58, hops), message.to_vec(), 2)
}

pub fn udp6(source: &str, [from, to]: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = [from, to, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let destination = if to == 5353 { "ff02::fb" } else { "ff02::1:2" };
    packet6(source, destination, (17, 1), datagram, 6)
}

/// What a frame gives; none if it contains no message of these protocols.
pub fn read(frame: &[u8]) -> Option<Result<Claims, NameCounter>> {
    let time = UnixTime::new(1_700_000_000, 0);
    let frame = Frame { time, bytes: frame, length: frame.len() };
    let message = message::find(LinkType::Ethernet, &frame, "eth0".parse().unwrap())?;
    let mut claims = Claims::default();
    let read = claims.read(&message);
    // What is refused, and hosts may accept, is reported.
    let reported = claims.records().iter().all(|record| record.reason == read.err());
    assert!(read.is_ok() || (reported && claims.pairing().is_none()));
    Some(read.map(|()| claims))
}

/// The line of the record of a refused message.
#[track_caller]
pub fn refusal(frame: &[u8]) -> String {
    let time = UnixTime::new(1_700_000_000, 0);
    let frame = Frame { time, bytes: frame, length: frame.len() };
    let message = message::find(LinkType::Ethernet, &frame, "eth0".parse().unwrap()).unwrap();
    let mut claims = Claims::default();
    claims.read(&message).unwrap_err();
    let [record] = claims.records() else { panic!("{claims:?}") };
    record.to_string()
}

/// The records of a frame.
#[track_caller]
pub fn records(frame: &[u8]) -> Vec<NameRecord> {
    read(frame).expect("a message").expect("accepted").records().to_vec()
}

/// The records' lines, without time and interface.
#[track_caller]
pub fn lines(frame: &[u8]) -> Vec<String> {
    let line = |record: &NameRecord| {
        let line = record.to_string();
        line.strip_prefix("1700000000 eth0 ").unwrap().to_owned()
    };
    records(frame).iter().map(line).collect()
}

#[track_caller]
pub fn refused(frame: &[u8], reason: NameCounter) {
    assert_eq!(read(frame).expect("a message").map(|claims| claims.records().len()), Err(reason));
}

/// A cut frame, at whatever place, is refused or no message, and gives nothing.
#[track_caller]
pub fn cut_at_each_place(frame: &[u8]) {
    for length in 0..frame.len() {
        let cut = Frame { time: UnixTime::new(0, 0), bytes: &frame[..length], length: frame.len() };
        let found = message::find(LinkType::Ethernet, &cut, "eth0".parse().unwrap());
        let refused = found.is_none_or(|found| Claims::default().read(&found).is_err());
        assert!(refused, "cut to {length}");
    }
}

#[test]
fn other_traffic_is_not_read() {
    let dns = udp4([192, 0, 2, 1], [1234, 53], b"question");
    let ping = icmp6("fe80::1", "fe80::2", 64, &[128, 0, 0, 0, 0, 0, 0, 0]);
    let solicitation = icmp6("fe80::1", "fe80::2", 255, &[135; 24]);
    for (protocol, packet) in [(0x0800, dns), (0x86dd, ping), (0x86dd, solicitation)] {
        assert!(read(&ethernet(protocol, &packet)).is_none());
    }
    for protocol in [0x0806, 0x8847, 0x22f0] {
        assert!(read(&ethernet(protocol, &[0; 60])).is_none());
    }
    for length in 0..14 {
        assert!(read(&vec![0; length]).is_none());
    }
}

#[test]
fn vlans() {
    let message = icmp6("fe80::1", "ff02::1", 255, &routers::advertisement(&[]));
    let tagged = [&[0, 7, 0x81, 0, 0, 5, 0x86, 0xdd][..], &message].concat();
    let [record] = records(&ethernet(0x88a8, &tagged))[..] else { panic!() };
    assert_eq!((record.vlan, record.outer_vlan), (VlanId::from_tag(5), VlanId::from_tag(7)));
}

/// One message of each protocol.
fn examples() -> [(u16, Vec<u8>); 7] {
    let client = udp4([192, 0, 2, 1], [68, 67], &[0; 300]);
    let server = udp4([192, 0, 2, 1], [67, 68], &[0; 300]);
    let host = udp4([192, 0, 2, 1], [5353, 5353], &[0; 40]);
    let host6 = udp6("fe80::1", [5353, 5353], &[0; 40]);
    let registration = udp6("2001:db8::1", [546, 547], &[36; 40]);
    let router = icmp6("fe80::1", "ff02::1", 255, &routers::advertisement(&[]));
    [
        (0x0800, client),
        (0x0800, server),
        (0x0800, host),
        (0x86dd, host6),
        (0x86dd, registration),
        (0x86dd, router),
        (message::LLDP, vec![2, 7, 4, 2, 0, 0, 0, 0, 1]),
    ]
}

fn program(expression: &str) -> pcap::BpfProgram {
    let capture = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
    capture.compile(expression, true).unwrap()
}

/// With --names, the kernel's filter passes each message behind up to two VLAN tags, and drops what it dropped before.
#[test]
fn the_filter_passes_each_message() {
    for decapsulate in [false, true] {
        let own = filter::expression(LinkType::Ethernet, decapsulate);
        let with_names = program(&filter::with_names(&own, LinkType::Ethernet));
        for (protocol, packet) in examples() {
            for tags in [&[][..], &[0, 7], &[0, 7, 0x81, 0, 0, 5]] {
                let protocol = protocol.to_be_bytes();
                let frame = match tags {
                    [] => ethernet(u16::from_be_bytes(protocol), &packet),
                    tags => ethernet(0x8100, &[tags, &protocol, &packet].concat()),
                };
                assert!(with_names.filter(&frame), "{protocol:?} {tags:?}");
            }
        }
        let mut tcp = udp4([192, 0, 2, 1], [67, 68], &[0; 300]);
        tcp[9] = 6;
        assert!(!with_names.filter(&ethernet(0x0800, &tcp)));
        assert!(!with_names.filter(&ethernet(0x0800, &udp4([192, 0, 2, 1], [67, 53], &[0; 300]))));
        assert!(!with_names.filter(&ethernet(0x86dd, &udp6("fe80::1", [547, 53], &[0; 300]))));
    }
}
