//! Frames inside of frames: whatever lies around the message, it is found, the filter passes it, and depth is limited.

use std::net::IpAddr;

use super::*;
use crate::{parse::Packet, tag::FIXED};

/// A header, or headers, that something puts around a frame.
#[derive(Clone, Debug)]
enum Wrap {
    /// A tag of this EtherType and length behind the addresses.
    Tag(u16, usize),
    Macsec {
        sci: bool,
    },
    Pbb,
    Ppp,
    FabricPath,
    /// Four-byte words of options.
    Trill(u8),
    Tunnel {
        ipv6: bool,
        kind: Kind,
    },
}

#[derive(Clone, Debug)]
enum Kind {
    Vxlan(u16),
    /// Four-byte words of options.
    Geneve(u8),
    /// Whether tags come before the end tag.
    Tzsp(bool),
    /// Checksum, key and sequence number of GRE.
    Ethernet([bool; 3]),
    Erspan1,
    Erspan2,
    /// Whether it has a subheader.
    Erspan3(bool),
}

const OUTER: [u8; 12] = [2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 0x78];

impl Wrap {
    fn around(&self, frame: &[u8]) -> Vec<u8> {
        let inserted = |header: Vec<u8>| [&frame[..12], &header, &frame[12..]].concat();
        let behind = |header: &[u8]| [&OUTER, header, frame].concat();
        match self {
            Wrap::Tag(protocol, length) => {
                inserted([&protocol.to_be_bytes()[..], &vec![0; *length]].concat())
            }
            Wrap::Macsec { sci } => {
                let (control, length) = if *sci { (0x20, 12) } else { (0, 4) };
                let tag = [&[0x88, 0xe5, control, 0][..], &vec![9; length]].concat();
                [inserted(tag), vec![0xcc; 16]].concat()
            }
            Wrap::Pbb => behind(&[0x88, 0xe7, 0, 0, 0x30, 0x39]),
            Wrap::FabricPath => behind(&[0x89, 0x03, 0, 0x60]),
            Wrap::Trill(words) => {
                let options = vec![0; usize::from(*words) * 4];
                let header = [0x22, 0xf3, words >> 2, words << 6 | 0x1f, 0, 1, 0, 2];
                behind(&[&header, &options[..]].concat())
            }
            Wrap::Ppp => behind(&[0x88, 0x64, 0x11, 0, 0, 7, 0, 99, 0, 0x31, 0, 1]),
            Wrap::Tunnel { ipv6, kind } => {
                let (protocol, header) = kind.header();
                let payload = [header, frame.to_vec()].concat();
                [&OUTER[..], &packet(*ipv6, protocol, &payload)].concat()
            }
        }
    }

    fn sender(&self) -> Option<IpAddr> {
        match self {
            Wrap::Tunnel { ipv6: true, .. } => Some(IpAddr::V6("2001:db8::fe".parse().unwrap())),
            Wrap::Tunnel { .. } => Some(IpAddr::V4([192, 0, 2, 254].into())),
            _ => None,
        }
    }

    fn is_frame(&self) -> bool {
        !matches!(self, Wrap::Tag(..) | Wrap::Macsec { .. })
    }
}

impl Kind {
    /// The number of the protocol over IP, and the headers behind IP.
    fn header(&self) -> (u8, Vec<u8>) {
        let udp = |port: u16, header: &[u8]| {
            (17, [&[0x9c, 0x40][..], &port.to_be_bytes(), &[0, 0, 0, 0], header].concat())
        };
        match self {
            Kind::Vxlan(port) => udp(*port, &[8, 0, 0, 0, 0, 0x13, 0x89, 0]),
            Kind::Geneve(words) => {
                let options = vec![0; usize::from(*words) * 4];
                udp(6081, &[&[*words, 0, 0x65, 0x58, 0, 0x13, 0x89, 0], &options[..]].concat())
            }
            Kind::Tzsp(false) => udp(37008, &[1, 0, 0, 1, 1]),
            Kind::Tzsp(true) => udp(37008, &[1, 0, 0, 1, 0, 10, 1, 0xc4, 0, 1]),
            Kind::Ethernet(fields) => {
                let [checksum, key, sequence] = fields.map(u8::from);
                let mut header = vec![checksum << 7 | key << 5 | sequence << 4, 0, 0x65, 0x58];
                header.extend(vec![0; 4 * usize::from(checksum + key + sequence)]);
                (47, header)
            }
            Kind::Erspan1 => (47, vec![0, 0, 0x88, 0xbe]),
            Kind::Erspan2 => (47, [&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10][..], &[0; 7]].concat()),
            Kind::Erspan3(subheader) => {
                let flag = u8::from(*subheader);
                let header = [&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20][..], &[0; 10], &[flag]];
                (47, [header.concat(), vec![0; 8 * usize::from(flag)]].concat())
            }
        }
    }
}

/// EtherType and IP packet, from 192.0.2.254 or 2001:db8::fe.
fn packet(ipv6: bool, protocol: u8, payload: &[u8]) -> Vec<u8> {
    if ipv6 {
        let length = (payload.len() as u16).to_be_bytes();
        let addresses: [Ipv6Addr; 2] = ["2001:db8::fe", "2001:db8::fa"].map(|a| a.parse().unwrap());
        let addresses = addresses.map(|address| address.octets()).concat();
        let fixed = [0x86, 0xdd, 0x60, 0, 0, 0, length[0], length[1], protocol, 64];
        return [&fixed[..], &addresses, payload].concat();
    }
    let length = (payload.len() as u16 + 20).to_be_bytes();
    let fixed = [8, 0, 0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    [&fixed[..], &[192, 0, 2, 254, 192, 0, 2, 250], payload].concat()
}

fn tunnels() -> impl Strategy<Value = Wrap> {
    let kind = prop_oneof![
        select(vec![4789, 8472]).prop_map(Kind::Vxlan),
        (0..4_u8).prop_map(Kind::Geneve),
        any::<bool>().prop_map(Kind::Tzsp),
        any::<[bool; 3]>().prop_map(Kind::Ethernet),
        Just(Kind::Erspan1),
        Just(Kind::Erspan2),
        any::<bool>().prop_map(Kind::Erspan3),
    ];
    (any::<bool>(), kind).prop_map(|(ipv6, kind)| Wrap::Tunnel { ipv6, kind })
}

/// Without many options: of a message behind them, the filter notices only a short one.
fn frames_of_layer_2() -> impl Strategy<Value = Wrap> {
    prop_oneof![
        Just(Wrap::Pbb),
        Just(Wrap::Ppp),
        Just(Wrap::FabricPath),
        (0..4_u8).prop_map(Wrap::Trill),
    ]
}

fn wraps() -> impl Strategy<Value = Wrap> {
    prop_oneof![
        4 => select(FIXED.to_vec()).prop_map(|(protocol, length)| Wrap::Tag(protocol, length)),
        1 => select(vec![0x8100, 0x88a8]).prop_map(|protocol| Wrap::Tag(protocol, 2)),
        1 => any::<bool>().prop_map(|sci| Wrap::Macsec { sci }),
        3 => frames_of_layer_2(),
        1 => (0..32_u8).prop_map(Wrap::Trill),
        4 => tunnels(),
    ]
}

fn wrapped(message: &(u16, Vec<u8>), wraps: &[Wrap]) -> Vec<u8> {
    let frame = frame(LinkType::Ethernet, &[], false, message.0, &message.1);
    wraps.iter().fold(frame, |frame, wrap| wrap.around(&frame))
}

fn parsed(bytes: &[u8], length: usize) -> Result<Packet<'_>, Counter> {
    let frame = Frame { time: UnixTime::from_nanos(0), bytes, length };
    parse::parse(LinkType::Ethernet, &frame)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_inner_message_is_found(message in messages(), wraps in vec(wraps(), 0..4)) {
        let bytes = wrapped(&message, &wraps);
        let packet = parsed(&bytes, bytes.len()).unwrap();
        let sighting = check::sighting(&packet).unwrap();
        prop_assert_eq!(sighting.mac, MacAddr::new(MAC));
        prop_assert_eq!(packet.source, MacAddr::new(MAC));
        // From the outside in.
        let frames = wraps.iter().rev().filter(|wrap| wrap.is_frame());
        let mut senders: Vec<Option<IpAddr>> = frames.map(Wrap::sender).collect();
        senders.resize(4, None);
        let found = packet.tunnel.map_or([None; 4], |tunnel| tunnel.senders);
        prop_assert_eq!(found.to_vec(), senders);
        let [plain, decapsulate] = passes(LinkType::Ethernet, &bytes);
        prop_assert!(decapsulate);
        prop_assert!(plain || wraps.iter().any(Wrap::is_frame));
    }

    /// Without `--decapsulate` the filter still passes a message in a tunnel, so that it is counted.
    #[test]
    fn a_tunnel_is_noticed(message in messages(), tunnel in prop_oneof![tunnels(), frames_of_layer_2()]) {
        prop_assert_eq!(passes(LinkType::Ethernet, &wrapped(&message, &[tunnel])), [true; 2]);
    }

    #[test]
    fn a_cut_frame_is_refused(
        message in messages(),
        wraps in vec(wraps(), 0..4),
        cut in any::<Index>(),
    ) {
        let bytes = wrapped(&message, &wraps);
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert!(parsed(short, bytes.len()).is_err());
        prop_assert!(parsed(&bytes, bytes.len() + 1).is_err());
    }

    #[test]
    fn damage_causes_no_panic_and_the_filter_agrees(
        message in messages(),
        wraps in vec(wraps(), 1..4),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = wrapped(&message, &wraps);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if parsed(&bytes, bytes.len()).is_ok() {
            prop_assert!(passes(LinkType::Ethernet, &bytes)[1]);
        }
    }

    /// Four frames inside of a frame are read, and 32 headers.
    #[test]
    fn depth_is_limited(message in messages(), wraps in vec(wraps(), 0..12)) {
        let bytes = wrapped(&message, &wraps);
        let frames = wraps.iter().filter(|wrap| wrap.is_frame()).count();
        prop_assert_eq!(parsed(&bytes, bytes.len()).is_ok(), frames <= 4);
    }
}

/// An overlay's host sees an acknowledgement for every other packet: none wakes the collector, with or without
/// `--decapsulate`.
#[test]
fn short_tcp_in_an_overlay_is_filtered() {
    let ipv4 = packet(false, 6, &[0; 20]);
    let ipv6 = packet(true, 6, &[0; 20]);
    for kind in [Kind::Vxlan(4789), Kind::Vxlan(8472), Kind::Erspan2] {
        for (inner, outer_is_v6) in [(&ipv4, false), (&ipv4, true), (&ipv6, false), (&ipv6, true)] {
            let tunnel = Wrap::Tunnel { ipv6: outer_is_v6, kind: kind.clone() };
            let bytes = tunnel.around(&[&OUTER, &inner[..]].concat());
            assert_eq!(passes(LinkType::Ethernet, &bytes), [false; 2], "{tunnel:?}");
        }
    }
}

#[test]
fn a_long_stack_of_tags_is_refused() {
    let message = (0x0806, arp_request());
    for (number, expected) in [(32, None), (33, Some(Counter::UnknownHeader))] {
        let bytes = wrapped(&message, &vec![Wrap::Tag(0x8100, 2); number]);
        assert_eq!(parsed(&bytes, bytes.len()).err(), expected);
    }
}

/// A message behind an EtherType that is not known is counted, wherever it lies within reach.
#[test]
fn an_unknown_header_is_noticed() {
    for (protocol, message) in [(0x0806, arp_request()), (0x86dd, advertisement(&[]))] {
        for length in (0..=62).step_by(2) {
            let bytes = wrapped(&(protocol, message.clone()), &[Wrap::Tag(0x9001, length)]);
            assert_eq!(parsed(&bytes, bytes.len()).err(), Some(Counter::UnknownHeader), "{length}");
            assert_eq!(passes(LinkType::Ethernet, &bytes), [true; 2], "{length}");
            let frame = Frame { time: UnixTime::from_nanos(0), bytes: &bytes, length: bytes.len() };
            let header = parse::hiding_header(LinkType::Ethernet, &frame).unwrap();
            assert_eq!(header.to_string(), "EtherType 0x9001");
        }
        let far = wrapped(&(protocol, message), &[Wrap::Tag(0x9001, 64)]);
        assert_eq!(parsed(&far, far.len()).err(), Some(Counter::Unrelated));
    }
    let ipv4 = wrapped(&(0x0800, vec![0x45; 60]), &[Wrap::Tag(0x9001, 4)]);
    assert_eq!(parsed(&ipv4, ipv4.len()).err(), Some(Counter::Unrelated));
}

/// Without encryption only: otherwise nothing can be read.
#[test]
fn encrypted_macsec_is_unrelated() {
    let mut bytes = wrapped(&(0x0806, arp_request()), &[Wrap::Macsec { sci: true }]);
    bytes[14] |= 0x0c;
    assert_eq!(passes(LinkType::Ethernet, &bytes), [false; 2]);
    bytes[28..].fill(0xee);
    assert_eq!(parsed(&bytes, bytes.len()).err(), Some(Counter::Unrelated));
}
