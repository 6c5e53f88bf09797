//! Ethernet frames inside of other packets: remote mirroring and overlays over IP (VXLAN, GENEVE, TZSP, ERSPAN and
//! Ethernet over GRE), provider bridges (PBB), fabrics (FabricPath, TRILL) and bridged PPP. Everything here is what the sender of the outer packet
//! chose to write; `decapsulation` decides which of them are accepted.

use std::{net::IpAddr, ops::RangeInclusive};

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, ip_number};
use shm_layout::{Counter, OuterHeader, VlanId};

use crate::link::split;

/// UDP ports: VXLAN (RFC 7348) and what Linux used before; GENEVE (RFC 8926); TZSP.
pub const VXLAN: u16 = 4789;
pub const VXLAN_OF_LINUX: u16 = 8472;
pub const GENEVE: u16 = 6081;
pub const TZSP: u16 = 37008;
/// Protocol types of GRE: Ethernet (also NVGRE, RFC 7637), ERSPAN types I and II, ERSPAN type III.
pub const ETHERNET: u16 = 0x6558;
pub const ERSPAN: u16 = 0x88be;
pub const ERSPAN_3: u16 = 0x22eb;
/// EtherTypes: the I-TAG of a provider bridge (IEEE 802.1ah), a PPPoE session (RFC 2516), Cisco FabricPath, TRILL
/// (RFC 6325).
pub const PBB: u16 = 0x88e7;
pub const PPPOE: u16 = 0x8864;
pub const FABRICPATH: u16 = 0x8903;
pub const TRILL: u16 = 0x22f3;
/// All of these.
pub const FRAMES: [u16; 4] = [PBB, PPPOE, FABRICPATH, TRILL];

/// A frame found in a packet.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    /// The frame, from its destination MAC on.
    pub frame: &'a [u8],
    /// The number of the tunnel, as its kind defines it.
    pub id: Option<u32>,
    /// The frame's VLAN, if the tunnel's header has it.
    pub vlan: VlanId,
    /// Which header announced it.
    pub header: OuterHeader,
    /// The packet's source address; none on layer 2.
    pub sender: Option<IpAddr>,
    /// The packet is a fragment.
    pub fragmented: bool,
    /// The packet is longer than what was captured of it.
    pub cut: bool,
}

/// What a tunnel's own header contains.
struct Contents<'a> {
    id: Option<u32>,
    vlan: VlanId,
    frame: &'a [u8],
}

impl<'a> Contents<'a> {
    fn new(id: Option<u32>, frame: &'a [u8]) -> Self {
        Contents { id, vlan: VlanId::NONE, frame }
    }
}

/// Whether an IPv4 packet is UDP or GRE.
#[inline]
pub fn may_be_in_ipv4(bytes: &[u8]) -> bool {
    const PROTOCOL: usize = 9;
    matches!(bytes.get(PROTOCOL), Some(17 | 47))
}

/// A frame in an IPv4 packet.
pub fn in_ipv4(bytes: &[u8]) -> Result<Inner<'_>, Counter> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| Counter::Unrelated)?;
    if header.fragments_offset().value() != 0 {
        return Err(Counter::Unrelated); // what follows is data, not a header
    }
    let start = header.slice().len();
    let (end, cut) = limit(bytes, header.total_len().into());
    let payload = bytes.get(start..end).ok_or(Counter::Unrelated)?;
    let sender = IpAddr::V4(header.source_addr());
    let packet = Packet { sender, fragmented: header.more_fragments(), cut };
    packet.inner(header.protocol(), payload)
}

/// A frame in an IPv6 packet.
pub fn in_ipv6(bytes: &[u8]) -> Result<Inner<'_>, Counter> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| Counter::Unrelated)?;
    let start = header.slice().len();
    let (end, cut) = limit(bytes, start + usize::from(header.payload_length()));
    let payload = bytes.get(start..end).ok_or(Counter::Unrelated)?;
    let (extensions, protocol, payload) =
        Ipv6ExtensionsSlice::from_slice(header.next_header(), payload)
            .map_err(|_| Counter::Unrelated)?;
    let sender = IpAddr::V6(header.source_addr());
    let packet = Packet { sender, fragmented: extensions.is_fragmenting_payload(), cut };
    packet.inner(protocol, payload)
}

/// Where a packet of this length ends, and whether less of it is there.
fn limit(bytes: &[u8], length: usize) -> (usize, bool) {
    (bytes.len().min(length), bytes.len() < length)
}

/// The outer packet.
struct Packet {
    sender: IpAddr,
    fragmented: bool,
    cut: bool,
}

impl Packet {
    fn inner(self, protocol: IpNumber, payload: &[u8]) -> Result<Inner<'_>, Counter> {
        let (header, contents) = match protocol {
            ip_number::UDP => udp(payload)?,
            ip_number::GRE => gre(payload)?,
            _ => return Err(Counter::Unrelated),
        };
        let Packet { sender, fragmented, cut } = self;
        let Contents { id, vlan, frame } = contents;
        Ok(Inner { frame, id, vlan, header, sender: Some(sender), fragmented, cut })
    }
}

fn udp(bytes: &[u8]) -> Result<(OuterHeader, Contents<'_>), Counter> {
    let Some(([_, _, p0, p1, ..], data)) = bytes.split_first_chunk::<8>() else {
        return Err(Counter::Unrelated);
    };
    let port = u16::from_be_bytes([*p0, *p1]);
    let contents = match port {
        VXLAN | VXLAN_OF_LINUX => vxlan(data).map(|(id, frame)| Contents::new(id, frame))?,
        GENEVE => geneve(data)?,
        TZSP => Contents::new(None, tzsp(data)?),
        _ => return Err(Counter::Unrelated),
    };
    Ok((OuterHeader::UdpPort(port), contents))
}

/// RFC 7348, 5: returns the network identifier and the frame.
pub fn vxlan(bytes: &[u8]) -> Result<(Option<u32>, &[u8]), Counter> {
    const HAS_IDENTIFIER: u8 = 0x08;
    let ([flags, _, _, _, a, b, c, _], frame) = split::<8>(bytes)?;
    match flags & HAS_IDENTIFIER {
        0 => Err(Counter::Unrelated),
        _ => Ok((Some(u32::from_be_bytes([0, *a, *b, *c])), frame)),
    }
}

/// RFC 8926, 3.4. Options are skipped.
fn geneve(bytes: &[u8]) -> Result<Contents<'_>, Counter> {
    let ([first, _, p0, p1, a, b, c, _], rest) = split::<8>(bytes)?;
    let (version, options) = (first >> 6, usize::from(first & 0x3f) * 4);
    if version != 0 || u16::from_be_bytes([*p0, *p1]) != ETHERNET {
        return Err(Counter::Unrelated);
    }
    let frame = rest.get(options..).ok_or(Counter::Truncated)?;
    Ok(Contents::new(Some(u32::from_be_bytes([0, *a, *b, *c])), frame))
}

/// TaZmen Sniffer Protocol: version 1, a type, the protocol inside, and tags up to an end tag.
pub fn tzsp(bytes: &[u8]) -> Result<&[u8], Counter> {
    const PADDING: u8 = 0;
    const END: u8 = 1;
    let ([version, kind, protocol @ ..], mut rest) = split::<4>(bytes)?;
    // Types: a received packet, and one to be sent. The others are messages of the sensor.
    if *version != 1 || *kind > 1 || u16::from_be_bytes(*protocol) != 1 {
        return Err(Counter::Unrelated);
    }
    loop {
        rest = match rest {
            [END, frame @ ..] => return Ok(frame),
            [PADDING, rest @ ..] => rest,
            [_, length, rest @ ..] => rest.get(usize::from(*length)..).ok_or(Counter::Truncated)?,
            _ => return Err(Counter::Truncated),
        };
    }
}

/// RFC 2784 and RFC 2890.
fn gre(bytes: &[u8]) -> Result<(OuterHeader, Contents<'_>), Counter> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    /// Routing, which RFC 2784 abolished, and the version.
    const OTHER: u16 = 0x4007;
    let Some(([f0, f1, p0, p1], mut rest)) = bytes.split_first_chunk::<4>() else {
        return Err(Counter::Unrelated);
    };
    let (flags, protocol) = (u16::from_be_bytes([*f0, *f1]), u16::from_be_bytes([*p0, *p1]));
    if flags & OTHER != 0 || ![ETHERNET, ERSPAN, ERSPAN_3].contains(&protocol) {
        return Err(Counter::Unrelated);
    }
    let mut field = |flag: u16| match flags & flag {
        0 => Ok(None),
        _ => split::<4>(rest).map(|(field, after)| {
            rest = after;
            Some(u32::from_be_bytes(*field))
        }),
    };
    field(CHECKSUM)?;
    let key = field(KEY)?;
    let sequence = field(SEQUENCE)?;
    let contents = match protocol {
        ERSPAN if sequence.is_some() => erspan_2(rest)?,
        ERSPAN_3 => erspan_3(rest)?,
        // Without a sequence number it is ERSPAN type I, which has no header.
        _ => Contents::new(key.map(tunnel_id), rest),
    };
    Ok((OuterHeader::Gre(protocol), contents))
}

/// NVGRE has a network number of 24 bits in the key, from 0x1000 on (RFC 7637, 3.2); other senders have their own
/// key there, which is usually small.
fn tunnel_id(key: u32) -> u32 {
    const FIRST_NVGRE: u32 = 0x1000;
    if key >> 8 >= FIRST_NVGRE { key >> 8 } else { key }
}

/// draft-foschiano-erspan-03, 4.2. Some senders leave the version at 0.
fn erspan_2(bytes: &[u8]) -> Result<Contents<'_>, Counter> {
    let ([v0, v1, s0, s1, ..], frame) = split::<8>(bytes)?;
    erspan(0..=1, [*v0, *v1], [*s0, *s1], frame)
}

/// draft-foschiano-erspan-03, 4.3.
fn erspan_3(bytes: &[u8]) -> Result<Contents<'_>, Counter> {
    const FRAME_TYPE: u16 = 0x7c00;
    const SUBHEADER: u16 = 1;
    let ([v0, v1, s0, s1, _, _, _, _, _, _, f0, f1], mut frame) = split::<12>(bytes)?;
    let flags = u16::from_be_bytes([*f0, *f1]);
    if flags & FRAME_TYPE != 0 {
        return Err(Counter::Unrelated); // no Ethernet
    }
    if flags & SUBHEADER != 0 {
        (_, frame) = split::<8>(frame)?;
    }
    erspan(2..=2, [*v0, *v1], [*s0, *s1], frame)
}

/// The fields that both types have: version and VLAN, session.
fn erspan<'a>(
    versions: RangeInclusive<u16>,
    first: [u8; 2],
    second: [u8; 2],
    frame: &'a [u8],
) -> Result<Contents<'a>, Counter> {
    const SESSION: u16 = 0x03ff;
    let first = u16::from_be_bytes(first);
    if !versions.contains(&(first >> 12)) {
        return Err(Counter::Unrelated);
    }
    let id = Some((u16::from_be_bytes(second) & SESSION).into());
    Ok(Contents { id, vlan: VlanId::from_tag(first), frame })
}

/// A frame in a frame of a provider bridge or a fabric, or in a bridged PPP session; other payloads are unrelated.
pub fn in_ethernet(protocol: u16, bytes: &[u8]) -> Result<Inner<'_>, Counter> {
    let contents = match protocol {
        PBB => {
            let ([_, a, b, c], frame) = split::<4>(bytes)?;
            Contents::new(Some(u32::from_be_bytes([0, *a, *b, *c])), frame)
        }
        PPPOE => bridged_ppp(bytes)?,
        FABRICPATH => Contents::new(None, split::<2>(bytes)?.1),
        TRILL => trill(bytes)?,
        _ => return Err(Counter::Unrelated),
    };
    let (header, Contents { id, vlan, frame }) = (OuterHeader::EtherType(protocol), contents);
    Ok(Inner { frame, id, vlan, header, sender: None, fragmented: false, cut: false })
}

/// RFC 6325, 3: six bytes, and options.
fn trill(bytes: &[u8]) -> Result<Contents<'_>, Counter> {
    let ([first, second, ..], rest) = split::<6>(bytes)?;
    let options = usize::from(u16::from_be_bytes([*first, *second]) >> 6 & 0x1f) * 4;
    Ok(Contents::new(None, rest.get(options..).ok_or(Counter::Truncated)?))
}

/// RFC 2516, 4, then RFC 3518, 4.1: flags, the MAC type, and the frame.
fn bridged_ppp(bytes: &[u8]) -> Result<Contents<'_>, Counter> {
    const BRIDGED: u8 = 0x31;
    const ETHERNET: u8 = 1;
    let ([version, code, s0, s1, _, _], rest) = split::<6>(bytes)?;
    if (*version, *code) != (0x11, 0) {
        return Err(Counter::Unrelated);
    }
    match rest {
        // The protocol has two bytes, or one (RFC 1661, 6.5).
        [0, BRIDGED, _, ETHERNET, frame @ ..] | [BRIDGED, _, ETHERNET, frame @ ..] => {
            Ok(Contents::new(Some(u16::from_be_bytes([*s0, *s1]).into()), frame))
        }
        [] | [0] | [0, BRIDGED] | [0, BRIDGED, _] | [BRIDGED] | [BRIDGED, _] => {
            Err(Counter::Truncated)
        }
        _ => Err(Counter::Unrelated),
    }
}
