//! Properties of parsing and checking: no input causes a panic, and the kernel's filter passes every frame
//! that the parser accepts.

use std::net::{Ipv4Addr, Ipv6Addr};

use pcap::{BpfProgram, Capture, Linktype};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use shm_layout::{Counter, MacAddr, Origin, UnixTime};

use crate::{
    check::{self, Sighting},
    filter,
    link::{Frame, LinkType},
    parse,
};

mod allocations;
mod encapsulated;
mod fuzzed;

fn check_frame(link: LinkType, bytes: &[u8]) -> Result<Sighting, Counter> {
    check_cut(link, bytes, bytes.len())
}

fn check_cut(link: LinkType, bytes: &[u8], length: usize) -> Result<Sighting, Counter> {
    let frame = Frame { time: UnixTime::from_nanos(0), bytes, length };
    parse::parse(link, &frame).and_then(|packet| check::sighting(&packet))
}

/// The kernel's filter for a link type.
fn filter(link: LinkType, decapsulate: bool) -> BpfProgram {
    let capture = Capture::dead(Linktype(link as i32)).unwrap();
    capture.compile(&filter::expression(link, decapsulate), true).unwrap()
}

thread_local! {
    static FILTERS: [[BpfProgram; 2]; 7] =
        LinkType::ALL.map(|link| [false, true].map(|decapsulate| filter(link, decapsulate)));
}

/// Whether the filter without and that with `--decapsulate` pass the frame.
fn passes(link: LinkType, bytes: &[u8]) -> [bool; 2] {
    let index = LinkType::ALL.iter().position(|known| *known == link).unwrap();
    FILTERS.with(|filters| [0, 1].map(|decapsulate| filters[index][decapsulate].filter(bytes)))
}

/// The same, with any checksum: damage is to reach the other checks.
fn check_damaged(link: LinkType, bytes: &[u8]) -> Result<Sighting, Counter> {
    let frame = Frame { time: UnixTime::from_nanos(0), bytes, length: bytes.len() };
    let mut packet = parse::parse(link, &frame)?;
    if let parse::Message::Nd(message) = &mut packet.message {
        message.intact = true;
    }
    check::sighting(&packet)
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn arp_request() -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
    bytes.extend(MAC);
    bytes.extend([192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2]);
    bytes
}

/// An advertisement with its IPv6 header and extension headers.
fn advertisement(extensions: &[u8]) -> Vec<u8> {
    let target = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets();
    let mut icmp = vec![136, 0, 0, 0, 0x40, 0, 0, 0];
    icmp.extend(target);
    icmp.extend([2, 1]);
    icmp.extend(MAC);
    let mut chain = Vec::new();
    for (index, _) in extensions.iter().enumerate() {
        chain.push(*extensions.get(index + 1).unwrap_or(&58));
        chain.extend([0, 1, 4, 0, 0, 0, 0]); // eight bytes, padded
    }
    let length = (chain.len() + icmp.len()) as u16;
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([*extensions.first().unwrap_or(&58), 255]);
    bytes.extend(target);
    bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets());
    bytes.extend(chain);
    bytes.extend(icmp);
    bytes
}

/// The packet with the right checksum, if it is ICMPv6 behind extension headers of eight bytes.
fn sealed(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let (mut next, mut at) = (packet[6], 40);
    while [0, 43, 60].contains(&next) && at + 8 < packet.len() {
        (next, at) = (packet[at], at + 8);
    }
    if next == 58 && at + 4 <= packet.len() {
        packet[at + 2..at + 4].fill(0);
        let covered = [&packet[8..40], &packet[at..], &[0]].concat();
        let pairs =
            covered.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair)));
        let mut sum: u32 = pairs.sum::<u32>() + (packet.len() - at) as u32 + 58;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        packet[at + 2..at + 4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    packet
}

/// A frame around a message: link header, tags, LLC and SNAP if asked for.
fn frame(
    link: LinkType,
    tags: &[(u16, u16)],
    snap: bool,
    protocol: u16,
    message: &[u8],
) -> Vec<u8> {
    let sealed = match protocol {
        0x86dd => sealed(message),
        _ => message.to_vec(),
    };
    let message = &sealed[..];
    let length = message.len() as u16 + 8;
    let cooked = link.is_cooked();
    let last = match (snap, cooked) {
        (false, _) => protocol,
        (true, false) => length,
        (true, true) => 4, // ETH_P_802_2
    };
    let protocols: Vec<u16> = tags.iter().map(|(tpid, _)| *tpid).chain([last]).collect();
    let first = protocols[0].to_be_bytes();
    let mut bytes = match link {
        LinkType::Ethernet => [&[0xff; 6], &MAC[..], &first].concat(),
        LinkType::BrcmTag => [&[0xff; 6], &MAC[..], &[0, 0, 0, 1], &first].concat(),
        LinkType::BrcmPrepended => [&[0, 0, 0, 1][..], &[0xff; 6], &MAC[..], &first].concat(),
        LinkType::DsaTag => [&[0xff; 6], &MAC[..], &[0xc0, 0x18, 0, 1], &first].concat(),
        LinkType::EdsaTag => {
            [&[0xff; 6], &MAC[..], &[0xda, 0xda, 0, 0, 0xc0, 0x18, 0, 1], &first].concat()
        }
        LinkType::CookedV1 => [&[0, 1, 0, 1, 0, 6], &MAC[..], &[0, 0], &first].concat(),
        LinkType::CookedV2 => {
            [&first, &[0, 0, 0, 0, 0, 9, 0, 1, 1, 6][..], &MAC[..], &[0, 0]].concat()
        }
    };
    for ((_, control), protocol) in tags.iter().zip(&protocols[1..]) {
        bytes.extend(control.to_be_bytes());
        bytes.extend(protocol.to_be_bytes());
    }
    if snap {
        bytes.extend([0xaa, 0xaa, 3, 0, 0, 0]);
        bytes.extend(protocol.to_be_bytes());
    }
    bytes.extend(message);
    bytes
}

fn links() -> impl Strategy<Value = LinkType> {
    select(LinkType::ALL.to_vec())
}

fn tags() -> impl Strategy<Value = Vec<(u16, u16)>> {
    vec((prop_oneof![Just(0x8100), Just(0x88a8), Just(0x9100)], any::<u16>()), 0..6)
}

fn messages() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let headers = prop_oneof![Just(43), Just(60)];
    let extensions = (any::<bool>(), vec(headers, 0..3)).prop_map(|(hop_by_hop, mut rest)| {
        if hop_by_hop {
            rest.insert(0, 0);
        }
        rest
    });
    prop_oneof![
        Just((0x0806, arp_request())),
        extensions.prop_map(|extensions| (0x86dd, advertisement(&extensions))),
    ]
}

fn frames() -> impl Strategy<Value = (LinkType, Vec<(u16, u16)>, Vec<u8>)> {
    (links(), tags(), any::<bool>(), messages()).prop_map(
        |(link, tags, snap, (protocol, message))| {
            let bytes = frame(link, &tags, snap, protocol, &message);
            (link, tags, bytes)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_bytes_cause_no_panic(link in links(), bytes in vec(any::<u8>(), 0..200)) {
        let _ = check_frame(link, &bytes);
    }

    /// Whatever lies around the message: it is found, and so are its VLANs.
    #[test]
    fn the_message_is_found((link, tags, bytes) in frames()) {
        let sighting = check_frame(link, &bytes).unwrap();
        prop_assert_eq!(sighting.mac, MacAddr::new(MAC));
        let ids: Vec<_> = tags.iter().map(|(_, control)| control & 0xfff).filter(|id| *id != 0).collect();
        prop_assert_eq!(sighting.vlan.get(), ids.last().copied().unwrap_or(0));
        let outer = if ids.len() > 1 { ids[0] } else { 0 };
        prop_assert_eq!(sighting.outer_vlan.get(), outer);
    }

    /// A cut frame is never taken for a whole one.
    #[test]
    fn a_cut_frame_is_truncated((link, _, bytes) in frames(), cut in any::<Index>()) {
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(check_frame(link, short).map(|_| ()), Err(Counter::Truncated));
        prop_assert_eq!(check_cut(link, short, bytes.len()).map(|_| ()), Err(Counter::Truncated));
        // By one byte beyond the message, that is: also where nothing of the message is missing.
        prop_assert_eq!(check_cut(link, &bytes, bytes.len() + 1).map(|_| ()), Err(Counter::Truncated));
    }

    /// Damaged frames do no harm, and the filter passes each one that would be published.
    #[test]
    fn the_filter_passes_every_accepted_frame(
        (link, _, mut bytes) in frames(),
        damage in vec((any::<Index>(), any::<u8>()), 0..4),
        padding in 0..20_usize,
    ) {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(vec![0; padding]);
        if check_damaged(link, &bytes).is_ok() {
            prop_assert_eq!(passes(link, &bytes), [true; 2]);
        }
    }
}

/// RFC 4861, 7.1: hosts ignore the contents of other options, and accept such a message.
#[test]
fn other_options_do_not_cause_a_refusal() {
    let mtu_too_long = [&[5, 2][..], &[0; 14]].concat();
    let prefix_too_short = vec![3, 1, 0, 0, 0, 0, 0, 0];
    let source_too_long = [&[1, 2][..], &[0; 14]].concat();
    let zero_length = vec![14, 0, 0, 0, 0, 0, 0, 0];
    let target_too_long = [&[2, 2][..], &[0; 14]].concat();
    let half = vec![14];
    for (option, expected) in [
        (mtu_too_long, Ok(MacAddr::new(MAC))),
        (prefix_too_short, Ok(MacAddr::new(MAC))),
        (source_too_long, Ok(MacAddr::new(MAC))),
        (zero_length, Err(Counter::ZeroLengthOption)),
        (half, Err(Counter::Truncated)),
        (target_too_long.clone(), Ok(MacAddr::new(MAC))), // the second of its kind
    ] {
        let mut message = advertisement(&[]);
        message.extend(&option);
        let length = (message.len() - 40) as u16;
        message[4..6].copy_from_slice(&length.to_be_bytes());
        let bytes = frame(LinkType::Ethernet, &[], false, 0x86dd, &message);
        let result = check_frame(LinkType::Ethernet, &bytes).map(|sighting| sighting.mac);
        assert_eq!(result, expected, "{option:?}");
    }
    let mut message = advertisement(&[]);
    message.truncate(64);
    message.extend(target_too_long);
    message[4..6].copy_from_slice(&40_u16.to_be_bytes());
    let bytes = frame(LinkType::Ethernet, &[], false, 0x86dd, &message);
    assert_eq!(check_frame(LinkType::Ethernet, &bytes), Err(Counter::OptionLength));
}

/// RFC 4861, 4.3 and 4.4: what is sent to one host may leave out the option. The frame's source takes its place.
#[test]
fn without_the_option_the_frame_names_the_mac() {
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
    let target = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let host = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    let node: Ipv6Addr = "ff02::1:ff00:2".parse().unwrap();
    let from_frame = |origin, address| Ok((MacAddr::new(MAC), address, origin));
    let from_option = |origin, address| Ok((MacAddr::new(OTHER), address, origin));
    let (answer, sign) = (Origin::NdAdvertisementFrameSource, Origin::NdSolicitationFrameSource);
    for (kind, flags, destination, option, expected) in [
        (136, 0x40, host, None, from_frame(answer, target)),
        (136, 0x40, host, Some(1), from_frame(answer, target)), // the option of another message
        (136, 0x40, host, Some(2), from_option(Origin::NdAdvertisement, target)),
        (136, 0x20, host, None, Err(Counter::NoPairing)), // not solicited
        (136, 0x40, node, None, Err(Counter::SolicitedMulticast)),
        (135, 0, host, None, from_frame(sign, target)),
        (135, 0, host, Some(1), from_option(Origin::NdSolicitation, target)),
        (135, 0, node, None, Err(Counter::NoPairing)),
    ] {
        let mut message = advertisement(&[]);
        message.truncate(64);
        (message[40], message[44]) = (kind, flags);
        message[24..40].copy_from_slice(&destination.octets());
        if let Some(number) = option {
            message.extend([number, 1]);
            message.extend(OTHER);
        }
        let length = (message.len() - 40) as u16;
        message[4..6].copy_from_slice(&length.to_be_bytes());
        let bytes = frame(LinkType::Ethernet, &[], false, 0x86dd, &message);
        let found = check_frame(LinkType::Ethernet, &bytes);
        let found = found.map(|sighting| (sighting.mac, sighting.address, sighting.origin));
        assert_eq!(found, expected, "{kind} {flags:x} {destination} {option:?}");
    }
}

/// RFC 5227, 1.1: a probe is a request. A reply from 0.0.0.0 does not pair its target, the host that asked.
#[test]
fn only_a_request_pairs_its_target() {
    let unspecified = Ipv4Addr::UNSPECIFIED.octets();
    for (operation, sender, expected) in [
        (1, unspecified, Ok(([192, 0, 2, 2], Origin::ArpProbe))),
        (2, unspecified, Err(Counter::UnspecifiedAddress)),
        (1, [192, 0, 2, 1], Ok(([192, 0, 2, 1], Origin::ArpRequest))),
        (2, [192, 0, 2, 1], Ok(([192, 0, 2, 1], Origin::ArpReply))),
        (3, unspecified, Err(Counter::ArpOperation)),
    ] {
        let mut message = arp_request();
        message[7] = operation;
        message[14..18].copy_from_slice(&sender);
        let bytes = frame(LinkType::Ethernet, &[], false, 0x0806, &message);
        let found = check_frame(LinkType::Ethernet, &bytes);
        let found = found.map(|sighting| (sighting.address, sighting.origin));
        let expected = expected.map(|(ip, origin)| (Ipv4Addr::from(ip).to_ipv6_mapped(), origin));
        assert_eq!(found, expected, "operation {operation} from {sender:?}");
    }
}

#[test]
fn the_filter_drops_unrelated_frames() {
    let mut udp = advertisement(&[]);
    udp[6] = 17;
    let mut echo = advertisement(&[]);
    echo[40] = 128;
    let mut first_fragment = advertisement(&[44]);
    first_fragment[42..44].copy_from_slice(&0x0001_u16.to_be_bytes());
    let mut later_fragment = advertisement(&[44]);
    later_fragment[42..44].copy_from_slice(&0x0009_u16.to_be_bytes());
    for link in LinkType::ALL {
        let untagged = |protocol, message: &[u8]| frame(link, &[], false, protocol, message);
        for (what, bytes) in [
            ("IPv4", untagged(0x0800, &[0x45; 60])),
            ("UDP over IPv6", untagged(0x86dd, &udp)),
            ("ping", untagged(0x86dd, &echo)),
            ("a later fragment", untagged(0x86dd, &later_fragment)),
            ("a long frame of an unknown EtherType", untagged(0x88cc, &[0; 240])),
            ("MPLS", untagged(0x8847, &[0; 60])),
            ("LLDP", untagged(0x88cc, &[0; 60])),
        ] {
            assert_eq!(passes(link, &bytes), [false; 2], "{what}, {link:?}");
        }
        let first_fragment = untagged(0x86dd, &first_fragment);
        assert_eq!(passes(link, &first_fragment), [true; 2], "a first one, {link:?}");
    }
    let tagged = frame(LinkType::Ethernet, &[(0x8100, 7)], false, 0x0800, &[0x45; 60]);
    assert_eq!(passes(LinkType::Ethernet, &tagged), [false; 2], "tagged IPv4");
}

/// The kernel takes 20 KiB of eBPF for a socket by default, before Linux 6.8: a load becomes about twelve instructions
/// of eight bytes, most others one.
#[test]
fn the_filter_is_small() {
    for link in LinkType::ALL {
        for decapsulate in [false, true] {
            let own = filter::expression(link, decapsulate);
            let with_names = filter::with_names(&own, link);
            let [own, with_names] = [own, with_names].map(|text| size_in_kernel(link, &text));
            assert!(own < 18_000 && with_names < 20_480, "{link:?}: {own}, {with_names}");
        }
    }
}

fn size_in_kernel(link: LinkType, filter: &str) -> usize {
    let capture = Capture::dead(Linktype(link as i32)).unwrap();
    let program = capture.compile(filter, true).unwrap();
    filter::size_in_kernel(&program)
}

#[test]
fn the_pairing_of_an_arp_request() {
    let bytes = frame(
        LinkType::Ethernet,
        &[(0x88a8, 100), (0x8100, 0x6007)],
        false,
        0x0806,
        &arp_request(),
    );
    let sighting = check_frame(LinkType::Ethernet, &bytes).unwrap();
    assert_eq!(sighting.origin, Origin::ArpRequest);
    assert_eq!(sighting.mac, MacAddr::new(MAC));
    assert_eq!(sighting.address, Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
    assert_eq!((sighting.vlan.get(), sighting.outer_vlan.get()), (7, 100));
}
