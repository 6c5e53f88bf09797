//! Finds the ARP or Neighbor Discovery message in a frame: this file walks through the headers around the
//! message, `check` checks its contents.

use std::net::Ipv6Addr;

use etherparse::{
    ArpPacketSlice, IpAuthHeaderSlice, IpNumber, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, err,
    icmpv6::{
        NeighborAdvertisementHeader, NeighborAdvertisementPayloadSlice,
        NeighborSolicitationPayloadSlice,
    },
    ip_number,
};
use shm_layout::{Counter, MacAddr, VlanId};

use crate::link::{Frame, LinkType, split};

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and the number used for stacked tags before 802.1ad.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// LLC for SNAP, unnumbered information, organisation zero: an EtherType follows (RFC 1042).
const SNAP: &[u8] = &[0xaa, 0xaa, 0x03, 0, 0, 0];
/// Up to this, the field is a length and an LLC header follows (IEEE 802.3).
const MAX_LENGTH: u16 = 1500;

/// A message, and the frame's source and VLANs.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The frame's source MAC.
    pub source: MacAddr,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// The message.
    pub message: Message<'a>,
}

/// A message that can pair a MAC with an address.
#[derive(Debug)]
pub enum Message<'a> {
    /// RFC 826.
    Arp(ArpPacketSlice<'a>),
    /// RFC 4861.
    Nd(Neighbor<'a>),
}

/// A Neighbor Discovery message: the fields that both kinds have.
#[derive(Debug)]
pub struct Neighbor<'a> {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
    pub code: u8,
    pub target: Ipv6Addr,
    pub options: &'a [u8],
    pub kind: NeighborKind,
}

/// The two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborKind {
    Solicitation,
    Advertisement {
        /// Whether it answers a solicitation.
        solicited: bool,
    },
}

/// Finds the message in a frame.
pub fn parse<'a>(link: LinkType, frame: &Frame<'a>) -> Result<Packet<'a>, Counter> {
    let payload = link.payload(frame)?;
    let (mut protocol, mut bytes) = (payload.protocol, payload.bytes);
    let mut vlans = Vlans::default();
    while TAGS.contains(&protocol) {
        let ([c0, c1, p0, p1], rest) = split::<4>(bytes)?;
        vlans.add(VlanId::from_tag(u16::from_be_bytes([*c0, *c1])));
        protocol = u16::from_be_bytes([*p0, *p1]);
        bytes = rest;
    }
    if protocol <= MAX_LENGTH {
        (protocol, bytes) = snap(protocol, bytes, link)?;
    }
    let message = match protocol {
        ARP if frame.is_cut() => return Err(Counter::Truncated),
        ARP => Message::Arp(arp(bytes)?),
        IPV6 => Message::Nd(neighbor(bytes, frame.is_cut())?),
        _ => return Err(Counter::Unrelated),
    };
    Ok(Packet { source: payload.source, vlan: vlans.inner, outer_vlan: vlans.outer, message })
}

/// A size field may require more bytes than there are: then the reason is the size, not the truncation.
fn arp(bytes: &[u8]) -> Result<ArpPacketSlice<'_>, Counter> {
    ArpPacketSlice::from_slice(bytes).map_err(|_| match bytes {
        [_, _, _, _, hardware, _, ..] if *hardware != 6 => Counter::ArpHardwareSize,
        [_, _, _, _, _, protocol, ..] if *protocol != 4 => Counter::ArpProtocolSize,
        _ => Counter::Truncated,
    })
}

/// The tags' ids. A tag with id 0 carries a priority and no VLAN (IEEE 802.1Q, 9.6).
#[derive(Default)]
struct Vlans {
    inner: VlanId,
    outer: VlanId,
}

impl Vlans {
    fn add(&mut self, id: VlanId) {
        if id == VlanId::NONE {
            return;
        }
        if self.outer == VlanId::NONE {
            self.outer = self.inner;
        }
        self.inner = id;
    }
}

/// IEEE 802.2 with a SNAP header: returns the protocol in it, and that protocol's bytes.
fn snap(length: u16, bytes: &[u8], link: LinkType) -> Result<(u16, &[u8]), Counter> {
    // Cooked headers have the protocol number of 802.2 here (ETH_P_802_2), not a length.
    let bytes = match link {
        LinkType::Ethernet => bytes.get(..length.into()).unwrap_or(bytes),
        LinkType::CookedV1 | LinkType::CookedV2 => bytes,
    };
    match bytes.split_at_checked(SNAP.len()) {
        Some((SNAP, rest)) => {
            let (protocol, rest) = split::<2>(rest)?;
            Ok((u16::from_be_bytes(*protocol), rest))
        }
        None if SNAP.starts_with(bytes) => Err(Counter::Truncated),
        _ => Err(Counter::Unrelated),
    }
}

/// Walks from the IPv6 header to Neighbor Discovery (RFC 8200, 4).
fn neighbor(bytes: &[u8], cut: bool) -> Result<Neighbor<'_>, Counter> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|error| match error {
        err::ipv6::HeaderSliceError::Len(_) => Counter::Truncated,
        err::ipv6::HeaderSliceError::Content(_) => Counter::IpVersion,
    })?;
    let after = &bytes[header.slice().len()..];
    let length = usize::from(header.payload_length());
    let short = after.len() < length;
    let extensions = extensions(header.next_header(), after.get(..length).unwrap_or(after))?;
    let message = extensions.payload;
    let kind = *message.first().ok_or(Counter::Truncated)?;
    if !matches!(kind, SOLICITATION | ADVERTISEMENT) {
        return Err(Counter::Unrelated);
    }
    if extensions.fragmented {
        return Err(Counter::Fragmented);
    }
    if cut || short {
        return Err(Counter::Truncated);
    }
    let ([_, code, _, _, flags @ ..], body) = split::<8>(message)?;
    let truncated = |_| Counter::Truncated;
    let (target, options, kind) = match kind {
        SOLICITATION => {
            let body = NeighborSolicitationPayloadSlice::from_slice(body).map_err(truncated)?;
            (body.target_address(), body.options(), NeighborKind::Solicitation)
        }
        _ => {
            let body = NeighborAdvertisementPayloadSlice::from_slice(body).map_err(truncated)?;
            let solicited = NeighborAdvertisementHeader::from_bytes(*flags).solicited;
            let kind = NeighborKind::Advertisement { solicited };
            (body.target_address(), body.options(), kind)
        }
    };
    Ok(Neighbor {
        source: header.source_addr(),
        destination: header.destination_addr(),
        hop_limit: header.hop_limit(),
        code: *code,
        target,
        options,
        kind,
    })
}

/// ICMPv6 types (RFC 4861, 4.3 and 4.4).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// ICMPv6 behind the extension headers.
struct Extensions<'a> {
    fragmented: bool,
    payload: &'a [u8],
}

/// Walks the extension headers up to ICMPv6; any other protocol is unrelated.
fn extensions(first: IpNumber, bytes: &[u8]) -> Result<Extensions<'_>, Counter> {
    let truncated = |_| Counter::Truncated;
    let (mut next, mut rest, mut fragmented) = (first, bytes, false);
    loop {
        let length;
        (next, length) = match next {
            ip_number::IPV6_ICMP => return Ok(Extensions { fragmented, payload: rest }),
            ip_number::IPV6_HOP_BY_HOP if rest.len() != bytes.len() => {
                return Err(Counter::ExtensionHeader);
            }
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_DEST_OPTIONS | ip_number::IPV6_ROUTE => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest).map_err(truncated)?;
                (header.next_header(), header.slice().len())
            }
            ip_number::IPV6_FRAG => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest).map_err(truncated)?;
                if header.fragment_offset().value() != 0 {
                    return Err(Counter::Unrelated); // what follows is data, not a header
                }
                fragmented = true;
                (header.next_header(), header.slice().len())
            }
            ip_number::AUTH => {
                let header = IpAuthHeaderSlice::from_slice(rest).map_err(|error| match error {
                    err::ip_auth::HeaderSliceError::Len(_) => Counter::Truncated,
                    err::ip_auth::HeaderSliceError::Content(_) => Counter::ExtensionHeader,
                })?;
                (header.next_header(), header.slice().len())
            }
            _ => return Err(Counter::Unrelated),
        };
        rest = &rest[length..];
    }
}
