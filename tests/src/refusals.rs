//! One frame for each reason to refuse it, beside the counter that must be the only one to move.

use crate::frames::{ARP, Arp, BROADCAST, DOT1Q, Ethernet, IPV6, Mac, station};
use crate::neighbor::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A frame that must not become an event.
pub struct Refusal {
    /// What is wrong with it.
    pub wrong: &'static str,
    /// The counter, as `collector -v` prints it.
    pub counter: &'static str,
    /// What was captured.
    pub bytes: Vec<u8>,
    /// How long it was on the wire.
    pub wire_length: usize,
}

const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x66);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x66);

fn mac() -> Mac {
    station(0x66)
}

fn request() -> Arp {
    Arp::request(mac(), IP, PEER)
}

fn solicitation() -> Neighbor {
    Neighbor::solicit(mac(), IP6, PEER6)
}

fn advertisement() -> Neighbor {
    Neighbor::advertise(mac(), IP6)
}

/// All of them. The pairings that they would make, were they let through, are of 192.0.2.66 or 2001:db8::66.
pub fn all() -> Vec<Refusal> {
    let mut all = Vec::new();
    let mut add = |counter, wrong, bytes: Vec<u8>| {
        let wire_length = bytes.len();
        all.push(Refusal {
            wrong,
            counter,
            bytes,
            wire_length,
        });
    };
    arp(&mut add);
    neighbor(&mut add);
    truncated(&mut add);

    // Cut short by the capture, not by the sender.
    for (counter, wrong, bytes, kept) in [
        (
            "truncated",
            "ARP of which the capture kept 40 bytes",
            request().frame(),
            40,
        ),
        (
            "truncated",
            "padded ARP of which the capture kept all but padding",
            crate::frames::padded(request().frame()),
            42,
        ),
        (
            "truncated",
            "NS of which the capture kept all but two bytes",
            solicitation().frame(mac()),
            84,
        ),
    ] {
        all.push(Refusal {
            wrong,
            counter,
            wire_length: bytes.len(),
            bytes: bytes[..kept].to_vec(),
        });
    }
    all
}

fn arp(add: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    add(
        "arp_hardware_type",
        "ARP of hardware type 15 (frame relay)",
        Arp {
            hardware: 15,
            ..request()
        }
        .frame(),
    );
    add(
        "arp_protocol_type",
        "ARP for protocol 0x86dd",
        Arp {
            protocol: 0x86dd,
            ..request()
        }
        .frame(),
    );
    add(
        "arp_hardware_size",
        "ARP whose MACs are said to have 8 bytes",
        Arp {
            hardware_size: 8,
            ..request()
        }
        .frame(),
    );
    add(
        "arp_hardware_size",
        "ARP whose MACs are said to have none",
        Arp {
            hardware_size: 0,
            ..request()
        }
        .frame(),
    );
    add(
        "arp_protocol_size",
        "ARP whose addresses are said to have 16 bytes",
        Arp {
            protocol_size: 16,
            ..request()
        }
        .frame(),
    );
    add(
        "arp_operation",
        "ARP operation 0",
        Arp {
            operation: 0,
            ..request()
        }
        .frame(),
    );
    add(
        "arp_operation",
        "RARP's operation 3",
        Arp {
            operation: 3,
            ..request()
        }
        .frame(),
    );
    add(
        "bad_mac",
        "ARP from the broadcast MAC",
        Arp {
            sender_mac: BROADCAST,
            ..request()
        }
        .on(&Ethernet::from(mac())),
    );
    add(
        "bad_mac",
        "ARP from no MAC",
        Arp {
            sender_mac: [0; 6],
            ..request()
        }
        .on(&Ethernet::from(mac())),
    );
    add(
        "bad_ip",
        "ARP from nobody about nobody",
        Arp {
            sender_ip: Ipv4Addr::UNSPECIFIED,
            target_ip: Ipv4Addr::UNSPECIFIED,
            ..request()
        }
        .frame(),
    );
}

fn neighbor(add: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let dad = Neighbor::probe(IP6);
    add(
        "ip_version",
        "ethertype IPv6, version 4",
        Neighbor {
            version: 4,
            ..solicitation()
        }
        .frame(mac()),
    );
    add(
        "hop_limit",
        "NS with hop limit 254",
        Neighbor {
            hop_limit: 254,
            ..solicitation()
        }
        .frame(mac()),
    );
    add(
        "hop_limit",
        "NA with hop limit 64",
        Neighbor {
            hop_limit: 64,
            ..advertisement()
        }
        .frame(mac()),
    );
    add(
        "hop_limit",
        "DAD with hop limit 1",
        Neighbor {
            hop_limit: 1,
            ..dad.clone()
        }
        .frame(mac()),
    );
    add(
        "code",
        "NS with code 1",
        Neighbor {
            code: 1,
            ..solicitation()
        }
        .frame(mac()),
    );
    add(
        "code",
        "NA with code 255",
        Neighbor {
            code: 255,
            ..advertisement()
        }
        .frame(mac()),
    );
    add(
        "multicast_target",
        "NS for a group",
        Neighbor {
            target: GROUP6,
            ..solicitation()
        }
        .frame(mac()),
    );
    add(
        "multicast_target",
        "NA of a group",
        Neighbor {
            target: GROUP6,
            ..advertisement()
        }
        .frame(mac()),
    );
    add(
        "dad_destination",
        "DAD to all nodes",
        Neighbor {
            destination: ALL_NODES,
            ..dad.clone()
        }
        .frame(mac()),
    );
    add(
        "dad_destination",
        "DAD to one station",
        Neighbor {
            destination: PEER6,
            ..dad.clone()
        }
        .frame(mac()),
    );
    add(
        "dad_destination",
        "DAD to ff02::2:ff00:66",
        Neighbor {
            destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 2, 0xff00, 0x66),
            ..dad.clone()
        }
        .frame(mac()),
    );
    add(
        "dad_option",
        "DAD with a source link-layer option",
        Neighbor {
            options: vec![link_layer(SOURCE_LINK_LAYER, mac())],
            ..dad.clone()
        }
        .frame(mac()),
    );
    add(
        "solicited_multicast",
        "NA to all nodes, said to be solicited",
        Neighbor {
            flags: SOLICITED | OVERRIDE,
            ..advertisement()
        }
        .frame(mac()),
    );
    add(
        "fragmented",
        "NS behind an atomic fragment header",
        solicitation().behind(fragment(0)).frame(mac()),
    );
    add(
        "fragmented",
        "NA that is a first fragment",
        advertisement().behind(fragment(1)).frame(mac()),
    );
    add(
        "fragmented",
        "DAD behind hop-by-hop options and a fragment header",
        dad.clone()
            .behind(padding_options(HOP_BY_HOP, 1))
            .behind(fragment(0))
            .frame(mac()),
    );
    add(
        "zero_option",
        "NS with an option of length zero",
        Neighbor {
            options: vec![vec![SOURCE_LINK_LAYER, 0, 2, 0, 0, 0, 0, 0x66]],
            ..solicitation()
        }
        .frame(mac()),
    );
    add(
        "zero_option",
        "NA with an option of length zero after the MAC",
        Neighbor {
            options: vec![
                link_layer(TARGET_LINK_LAYER, mac()),
                vec![14, 0, 0, 0, 0, 0, 0, 0],
            ],
            ..advertisement()
        }
        .frame(mac()),
    );
    add(
        "no_pairing",
        "NS without a MAC",
        Neighbor {
            options: Vec::new(),
            ..solicitation()
        }
        .frame(mac()),
    );
    add(
        "no_pairing",
        "NA without a MAC",
        Neighbor {
            options: Vec::new(),
            ..advertisement()
        }
        .frame(mac()),
    );
    add(
        "no_pairing",
        "NA with the other option",
        Neighbor {
            options: vec![link_layer(SOURCE_LINK_LAYER, mac())],
            ..advertisement()
        }
        .frame(mac()),
    );
    add(
        "bad_mac",
        "NS of the broadcast MAC",
        Neighbor {
            options: vec![link_layer(SOURCE_LINK_LAYER, BROADCAST)],
            ..solicitation()
        }
        .frame(mac()),
    );
    add(
        "bad_mac",
        "NA of no MAC",
        Neighbor {
            options: vec![link_layer(TARGET_LINK_LAYER, [0; 6])],
            ..advertisement()
        }
        .frame(mac()),
    );
    add("bad_mac", "DAD from no MAC", dad.frame([0; 6]));
    add(
        "bad_ip",
        "DAD for ::",
        Neighbor::probe(Ipv6Addr::UNSPECIFIED).frame(mac()),
    );
    add(
        "bad_ip",
        "NA of ::",
        Neighbor {
            target: Ipv6Addr::UNSPECIFIED,
            ..advertisement()
        }
        .frame(mac()),
    );
}

/// Short already on the wire.
fn truncated(add: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let ethernet = Ethernet::from(mac());
    let solicitation = solicitation().bytes();
    add(
        "truncated",
        "an Ethernet header of 13 bytes",
        ethernet.frame(ARP, &[])[..13].to_vec(),
    );
    add(
        "truncated",
        "nothing behind the ethertype of ARP",
        ethernet.frame(ARP, &[]),
    );
    add(
        "truncated",
        "ARP of 27 bytes",
        ethernet.frame(ARP, &request().bytes()[..27]),
    );
    add(
        "truncated",
        "a tag without an ethertype",
        [&ethernet.clone().tag(DOT1Q, 5).frame(0, &[])[..16]].concat(),
    );
    add(
        "truncated",
        "tagged ARP of 20 bytes",
        ethernet
            .clone()
            .tag(DOT1Q, 5)
            .frame(ARP, &request().bytes()[..20]),
    );
    add(
        "truncated",
        "IPv6 of 39 bytes",
        ethernet.frame(IPV6, &solicitation[..39]),
    );
    add(
        "truncated",
        "NS of 23 bytes",
        ethernet.frame(IPV6, &short(&solicitation, 63)),
    );
    add(
        "truncated",
        "NS whose option ends after two bytes",
        ethernet.frame(IPV6, &short(&solicitation, 66)),
    );
    add(
        "truncated",
        "NS shorter than its IPv6 length says",
        ethernet.frame(IPV6, &solicitation[..64]),
    );
    let long = Neighbor {
        options: vec![vec![SOURCE_LINK_LAYER, 9, 2, 0, 0, 0, 0, 0x66]],
        ..self::solicitation()
    };
    add(
        "truncated",
        "NS whose option is longer than the packet",
        long.frame(mac()),
    );
    let mut endless = padding_options(DESTINATION_OPTIONS, 1);
    endless.1[1] = 200;
    add(
        "truncated",
        "an extension header longer than the packet",
        self::solicitation().behind(endless).frame(mac()),
    );
}

/// An IPv6 packet cut to `length`, its own length field with it.
fn short(packet: &[u8], length: usize) -> Vec<u8> {
    let mut packet = packet[..length].to_vec();
    packet[4..6].copy_from_slice(
        &u16::try_from(length - 40)
            .expect("a short packet")
            .to_be_bytes(),
    );
    packet
}
