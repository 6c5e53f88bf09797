//! Formats of captures: pcap of both byte orders and both units, pcapng, standard input, cooked captures, and the
//! first and last times.
#![forbid(unsafe_code)]

use aw_tests::capture_file::*;
use aw_tests::collect::{collect, held_json, lines};
use aw_tests::frames::{ARP, Arp, DOT1AD, DOT1Q, Ethernet, IPV6, cooked, cooked_v2, station};
use aw_tests::neighbor::Neighbor;
use aw_tests::rig::{program, run_with};
use aw_tests::ring::Ring;
use aw_tests::sample;
use std::net::Ipv6Addr;

fn arp() -> Arp {
    Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 2].into())
}

fn target() -> Ipv6Addr {
    "2001:db8::1".parse().unwrap()
}

/// The sample's events, one per second and a million nanoseconds.
fn each_accepted(mut packet: impl FnMut(Time, &[u8])) {
    for (number, frame) in (0..).zip(sample::accepted()) {
        packet(
            Time { seconds: sample::FIRST_SECOND + number, nanoseconds: 999_999_999 - number },
            &frame.bytes,
        );
    }
}

/// Times in JSON are those of the capture, to the last digit.
#[track_caller]
fn is_the_sample(capture: &[u8], unit: Unit) {
    let ring = Ring::new();
    assert_eq!(collect(&ring, capture, &[]).ok().stdout, sample::text("pcap"));
    for (number, object) in (0..).zip(held_json(&ring)) {
        let exact = 999_999_999 - number;
        let expected = if unit == Unit::Nanosecond { exact } else { exact / 1000 * 1000 };
        assert_eq!(object["time"], sample::FIRST_SECOND + number, "{object}");
        assert_eq!(object["nanoseconds"], expected, "{object}");
    }
}

#[test]
fn pcap_in_microseconds_and_in_nanoseconds() {
    for unit in [Unit::Microsecond, Unit::Nanosecond] {
        let mut file = Pcap::new(Vec::new(), ETHERNET, unit).unwrap();
        each_accepted(|time, bytes| file.packet(time, bytes).unwrap());
        is_the_sample(&file.finish().unwrap(), unit);
    }
}

#[test]
fn pcap_of_the_other_byte_order() {
    for unit in [Unit::Microsecond, Unit::Nanosecond] {
        let mut file = Pcap::swapped(Vec::new(), ETHERNET, unit).unwrap();
        each_accepted(|time, bytes| file.packet(time, bytes).unwrap());
        is_the_sample(&file.finish().unwrap(), unit);
    }
}

#[test]
fn pcapng() {
    let mut file = Pcapng::new(Vec::new()).unwrap();
    file.interface(ETHERNET as u16).unwrap();
    // A block of an unknown type is skipped.
    file.block(0x0bad, &[1; 16]).unwrap();
    each_accepted(|time, bytes| file.packet(0, time, bytes).unwrap());
    is_the_sample(&file.finish().unwrap(), Unit::Nanosecond);
}

#[test]
fn pcapng_of_two_interfaces() {
    let mut file = Pcapng::new(Vec::new()).unwrap();
    file.interface(ETHERNET as u16).unwrap();
    file.interface(ETHERNET as u16).unwrap();
    let mut interface = 0;
    each_accepted(|time, bytes| {
        file.packet(interface, time, bytes).unwrap();
        interface ^= 1;
    });
    is_the_sample(&file.finish().unwrap(), Unit::Nanosecond);
}

#[test]
fn standard_input() {
    let ring = Ring::new();
    let command = || program("collector", &["--ring", ring.name(), "--read", "-"]);
    assert_eq!(run_with(command(), &sample::capture()).ok().stdout, sample::text("pcap"));
    let mut pcapng = Pcapng::new(Vec::new()).unwrap();
    pcapng.interface(ETHERNET as u16).unwrap();
    pcapng.packet(0, at(1000), &arp().frame()).unwrap();
    let expected = "1000 pcap 0 02:00:00:00:00:01 192.0.2.1 ARP_REQ\n";
    assert_eq!(run_with(command(), &pcapng.finish().unwrap()).ok().stdout, expected);
}

/// Each kind of packet in a cooked capture, untagged, tagged and tagged twice. The MAC of DAD is the cooked header's.
#[test]
fn cooked_captures() {
    let tagged = |tags: &[(u16, u16)], ethertype: u16, payload: &[u8]| {
        // What follows the addresses: protocol of the outermost tag, then everything behind it.
        let mut ethernet = Ethernet::from(station(1));
        ethernet.tags = tags.to_vec();
        let frame = ethernet.frame(ethertype, payload);
        (u16::from_be_bytes([frame[12], frame[13]]), frame[14..].to_vec())
    };
    let packets = [
        tagged(&[], ARP, &arp().bytes()),
        tagged(&[], IPV6, &Neighbor::probe(target()).bytes()),
        tagged(&[], IPV6, &Neighbor::advertise(station(2), target()).bytes()),
        tagged(&[(DOT1Q, 7)], ARP, &arp().bytes()),
        tagged(&[(DOT1AD, 200), (DOT1Q, 9)], IPV6, &Neighbor::probe(target()).bytes()),
        tagged(&[(DOT1Q, 0)], ARP, &arp().bytes()),
    ];
    let expected = "\
1000 pcap 0 02:00:00:00:00:01 192.0.2.1 ARP_REQ
1001 pcap 0 02:00:00:00:00:01 2001:db8::1 ND_DAD
1002 pcap 0 02:00:00:00:00:02 2001:db8::1 ND_NA
1003 pcap 7 02:00:00:00:00:01 192.0.2.1 ARP_REQ
1004 pcap 9 02:00:00:00:00:01 2001:db8::1 ND_DAD
1005 pcap 0 02:00:00:00:00:01 192.0.2.1 ARP_REQ
";
    let v1: Vec<_> =
        packets.iter().map(|(protocol, payload)| cooked(station(1), *protocol, payload)).collect();
    assert_eq!(lines(&pcap_of(LINUX_SLL, &v1), &[]), expected);
    let v2: Vec<_> = packets
        .iter()
        .map(|(protocol, payload)| cooked_v2(station(1), 3, *protocol, payload))
        .collect();
    assert_eq!(lines(&pcap_of(LINUX_SLL2, &v2), &[]), expected);
    let ring = Ring::new();
    collect(&ring, &pcap_of(LINUX_SLL2, &v2), &["-q"]).ok();
    let outer: Vec<_> =
        held_json(&ring).iter().map(|object| object["outer_vlan"].as_u64()).collect();
    assert_eq!(outer, [0, 0, 0, 0, 200, 0].map(Some));
}

/// A cooked header too short, or from an interface whose MACs have not six bytes, makes no event and no crash.
#[test]
fn cooked_captures_that_cannot_be_paired() {
    let mut short = cooked(station(1), ARP, &[]);
    short.truncate(15);
    let mut no_mac = cooked(station(1), IPV6, &Neighbor::probe(target()).bytes());
    no_mac[5] = 0;
    assert_eq!(lines(&pcap_of(LINUX_SLL, &[short, no_mac]), &[]), "");
    let mut short = cooked_v2(station(1), 1, ARP, &[]);
    short.truncate(19);
    let mut no_mac = cooked_v2(station(1), 1, IPV6, &Neighbor::probe(target()).bytes());
    no_mac[11] = 0;
    assert_eq!(lines(&pcap_of(LINUX_SLL2, &[short, no_mac]), &[]), "");
}

/// All times in 32 bits of seconds, unsigned as the format defines them.
#[test]
fn the_ends_of_time() {
    let seconds = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    let expected: String = seconds
        .iter()
        .map(|second| format!("{second} pcap 0 02:00:00:00:00:01 192.0.2.1 ARP_REQ\n"))
        .collect();
    for unit in [Unit::Microsecond, Unit::Nanosecond] {
        let mut file = Pcap::new(Vec::new(), ETHERNET, unit).unwrap();
        for second in seconds {
            file.packet(at(second), &arp().frame()).unwrap();
        }
        assert_eq!(lines(&file.finish().unwrap(), &[]), expected, "pcap, {unit:?}");
    }
    let mut file = Pcapng::new(Vec::new()).unwrap();
    file.interface(ETHERNET as u16).unwrap();
    for second in seconds {
        file.packet(0, at(second), &arp().frame()).unwrap();
    }
    assert_eq!(lines(&file.finish().unwrap(), &[]), expected, "pcapng");
}

/// The ring keeps IPv4 as v4-mapped IPv6; that must not make IPv4 of a neighbour's v4-mapped address.
#[test]
fn a_v4_mapped_neighbour_stays_ipv6() {
    let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
    let ring = Ring::new();
    let capture = ethernet_pcap(&[Neighbor::advertise(station(1), mapped).frame(station(1))]);
    let expected = "1000 pcap 0 02:00:00:00:00:01 ::ffff:192.0.2.1 ND_NA\n";
    assert_eq!(collect(&ring, &capture, &[]).ok().stdout, expected);
    assert_eq!(held_json(&ring)[0]["ip"], "::ffff:192.0.2.1");
}
