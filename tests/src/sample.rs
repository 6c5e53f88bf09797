//! The sample capture in `tests/data/`: every origin, every kind of header, then one frame for each refusal.
//! The expected lines stand beside the frames, written by hand and not computed from them.

use crate::capture_file::{ETHERNET, Pcap, Time, Unit};
use crate::frames::{Arp, BROADCAST, DOT1AD, DOT1Q, Ethernet, Mac, OLD_QINQ, padded, station};
use crate::neighbor::*;
use crate::refusals;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The time of the first frame; each following one is a second and a thousand microseconds later.
pub const FIRST_SECOND: u32 = 1_700_000_000;

/// A frame, and the event that it must become: `vlan mac ip ORIGIN`.
pub struct AcceptedFrame {
    /// The frame.
    pub bytes: Vec<u8>,
    /// What follows seconds and interface in the line.
    pub event: &'static str,
    /// The outer VLAN id, which only JSON shows.
    pub outer_vlan: u16,
}

/// The frames that are events, in order.
pub fn accepted() -> Vec<AcceptedFrame> {
    let mut all = Vec::new();
    let mut add = |outer_vlan, event, bytes| all.push(AcceptedFrame { bytes, event, outer_vlan });
    let ip = |last| Ipv4Addr::new(192, 0, 2, last);
    let ip6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let link_local = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
    let from = |number| Ethernet::from(station(number));
    let request = |last: u8| Arp::request(station(last.into()), ip(last), ip(254));
    let load_balancer: Mac = [0x03, 0xbf, 0xc0, 0, 0x02, 0x0b];

    // Every origin, untagged.
    add(0, "0 02:00:00:00:00:01 192.0.2.1 ARP_REQ", request(1).frame());
    add(0, "0 02:00:00:00:00:02 192.0.2.2 ARP_REP", Arp::reply(station(2), ip(2), ip(254)).frame());
    add(0, "0 02:00:00:00:00:03 192.0.2.3 ARP_ACD", Arp::probe(station(3), ip(3)).frame());
    add(
        0,
        "0 02:00:00:00:00:04 fe80::4 ND_NS",
        Neighbor::solicit(station(4), link_local(4), ip6(1)).frame(station(4)),
    );
    add(
        0,
        "0 02:00:00:00:00:05 2001:db8::5 ND_NA",
        Neighbor::advertise(station(5), ip6(5)).frame(station(5)),
    );
    add(0, "0 02:00:00:00:00:06 2001:db8::6 ND_DAD", Neighbor::probe(ip6(6)).frame(station(6)));

    // Tags: one, the largest id, two, the provider's outside, three, and priority tags, which are no VLAN.
    add(0, "7 02:00:00:00:00:07 192.0.2.7 ARP_REQ", request(7).on(&from(7).tag(DOT1Q, 7)));
    add(0, "4094 02:00:00:00:00:08 192.0.2.8 ARP_REQ", request(8).on(&from(8).tag(DOT1Q, 0xeffe)));
    add(
        100,
        "9 02:00:00:00:00:09 192.0.2.9 ARP_REQ",
        request(9).on(&from(9).tag(DOT1Q, 100).tag(DOT1Q, 9)),
    );
    add(
        200,
        "10 02:00:00:00:00:0a 192.0.2.10 ARP_REQ",
        request(10).on(&from(10).tag(DOT1AD, 200).tag(DOT1Q, 10)),
    );
    add(
        300,
        "11 02:00:00:00:00:0b 2001:db8::b ND_NA",
        Neighbor::advertise(station(11), ip6(11)).on(&from(11).tag(OLD_QINQ, 300).tag(DOT1Q, 11)),
    );
    add(
        30,
        "12 02:00:00:00:00:0c 192.0.2.12 ARP_REQ",
        request(12).on(&from(12).tag(DOT1AD, 30).tag(DOT1Q, 20).tag(DOT1Q, 12)),
    );
    add(0, "0 02:00:00:00:00:0d 192.0.2.13 ARP_REQ", request(13).on(&from(13).tag(DOT1Q, 0xa000)));
    add(
        0,
        "14 02:00:00:00:00:0e 192.0.2.14 ARP_REQ",
        request(14).on(&from(14).tag(DOT1Q, 0xa000).tag(DOT1Q, 14)),
    );
    add(
        0,
        "15 02:00:00:00:00:0f 2001:db8::f ND_DAD",
        Neighbor::probe(ip6(15)).on(&from(15).tag(DOT1AD, 15).tag(DOT1Q, 0)),
    );

    // 802.3 with SNAP, untagged and tagged; hardware type 6; padded to 60 bytes.
    add(0, "0 02:00:00:00:00:10 192.0.2.16 ARP_IGNORED", request(16).on(&from(16).snap()));
    add(
        0,
        "17 02:00:00:00:00:11 192.0.2.17 ARP_IGNORED",
        Arp { hardware: 6, ..request(17) }.on(&from(17).tag(DOT1Q, 17).snap()),
    );
    add(
        0,
        "0 02:00:00:00:00:12 2001:db8::12 ND_IGNORED",
        Neighbor::advertise(station(18), ip6(18)).on(&from(18).snap()),
    );
    add(
        0,
        "0 02:00:00:00:00:13 192.0.2.19 ARP_REP",
        padded(Arp::reply(station(19), ip(19), ip(254)).frame()),
    );

    // Extension headers before ICMPv6: each alone, then all. Linux ignores what comes to a group behind a routing header.
    add(
        0,
        "0 02:00:00:00:00:14 2001:db8::14 ND_NA",
        Neighbor::advertise(station(20), ip6(20))
            .behind(padding_options(HOP_BY_HOP, 1))
            .frame(station(20)),
    );
    add(
        0,
        "0 02:00:00:00:00:15 2001:db8::15 ND_NS",
        Neighbor::solicit(station(21), ip6(21), ip6(1))
            .behind(padding_options(DESTINATION_OPTIONS, 3))
            .frame(station(21)),
    );
    add(
        0,
        "0 02:00:00:00:00:16 2001:db8::16 ND_IGNORED",
        Neighbor::probe(ip6(22)).behind(routing()).frame(station(22)),
    );
    let far = Neighbor::advertise(station(23), ip6(23))
        .behind(padding_options(HOP_BY_HOP, 2))
        .behind(padding_options(DESTINATION_OPTIONS, 1))
        .behind(routing());
    add(
        0,
        "0 02:00:00:00:00:17 2001:db8::17 ND_IGNORED",
        far.behind(padding_options(DESTINATION_OPTIONS, 2)).frame(station(23)),
    );

    // Options: another before the MAC's, of which the first counts; a solicited answer to one station.
    let nonce = vec![14, 1, 1, 2, 3, 4, 5, 6];
    let mtu_first = vec![nonce.clone(), link_layer(TARGET_LINK_LAYER, station(24))];
    add(
        0,
        "0 02:00:00:00:00:18 2001:db8::18 ND_NA",
        Neighbor { options: mtu_first, ..Neighbor::advertise(station(24), ip6(24)) }
            .frame(station(24)),
    );
    let answer = Neighbor {
        flags: SOLICITED | OVERRIDE,
        destination: ip6(1),
        ..Neighbor::advertise(station(25), ip6(25))
    };
    add(0, "0 02:00:00:00:00:19 2001:db8::19 ND_NA", answer.frame(station(25)));
    add(
        0,
        "0 02:00:00:00:00:1a 2001:db8::1a ND_DAD",
        Neighbor { options: vec![nonce], ..Neighbor::probe(ip6(26)) }.frame(station(26)),
    );

    // MACs: a proxy answers with its own MAC for another's address; the ARP sender is not the Ethernet source.
    add(
        0,
        "0 02:00:00:00:00:1b 2001:db8::1b ND_NA",
        Neighbor { source: ip6(1), ..Neighbor::advertise(station(27), ip6(27)) }
            .frame(station(0xfe)),
    );
    add(
        0,
        "0 02:00:00:00:00:1c 192.0.2.28 ARP_REP",
        Arp::reply(station(28), ip(28), ip(254)).on(&Ethernet::from(station(0xfe))),
    );
    add(
        0,
        "0 03:bf:c0:00:02:0b 192.0.2.29 ARP_NO_HOST",
        Arp::reply(load_balancer, ip(29), ip(254)).on(&Ethernet::from(station(29))),
    );
    add(
        0,
        "0 02:00:00:00:00:1e 192.0.2.30 ARP_REQ",
        Arp::request(station(30), ip(30), ip(30)).frame(),
    );

    // Routers, and hosts that look for them; a MAC that no host has; a routing header in a packet to one host.
    add(
        0,
        "0 02:00:00:00:00:1f fe80::1f ND_RS",
        Neighbor::solicit_routers(station(31), link_local(31)).frame(station(31)),
    );
    add(
        0,
        "0 02:00:00:00:00:20 fe80::20 ND_RA",
        Neighbor::advertise_router(station(32), link_local(32)).frame(station(32)),
    );
    let router = [link_local(32), ip6(1)];
    add(
        0,
        "0 02:00:00:00:00:21 fe80::21 ND_RD",
        Neighbor::redirect(station(33), router, link_local(33), ip6(99)).frame(station(32)),
    );
    add(
        0,
        "0 ff:ff:ff:ff:ff:ff 2001:db8::22 ND_NO_HOST",
        Neighbor::advertise(BROADCAST, ip6(34)).frame(station(34)),
    );
    add(
        0,
        "0 00:00:00:00:00:00 192.0.2.35 ARP_NO_HOST",
        Arp::request([0; 6], ip(35), ip(254)).on(&from(35)),
    );
    let answer = Neighbor { destination: ip6(1), ..Neighbor::advertise(station(36), ip6(36)) };
    add(0, "0 02:00:00:00:00:24 2001:db8::24 ND_NA", answer.behind(routing()).frame(station(36)));
    all
}

/// The whole sample: its bytes as a pcap file.
pub fn capture() -> Vec<u8> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    let mut number = 0;
    let mut next = || {
        let time = Time { seconds: FIRST_SECOND + number, nanoseconds: number * 1_000_000 };
        number += 1;
        time
    };
    for frame in accepted() {
        file.packet(next(), &frame.bytes).expect("memory takes all");
    }
    for refusal in refusals::all() {
        file.cut_packet(next(), &refusal.bytes, refusal.wire_length).expect("memory takes all");
    }
    file.finish().expect("memory takes all")
}

/// The lines that it must become, with this interface name.
pub fn text(interface: &str) -> String {
    lines(interface, |_| true)
}

/// Those of the lines whose part after the interface passes.
pub fn lines(interface: &str, wanted: impl Fn(&str) -> bool) -> String {
    (FIRST_SECOND..)
        .zip(accepted())
        .filter(|(_, frame)| wanted(frame.event))
        .map(|(second, frame)| format!("{second} {interface} {}\n", frame.event))
        .collect()
}
