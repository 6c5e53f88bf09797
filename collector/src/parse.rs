//! Finds the ARP or Neighbor Discovery message in a frame: `layer` walks through the headers around the message,
//! `check` checks its contents.

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
use shm_layout::{Counter, MacAddr, OuterHeader, VlanId};

use crate::{
    layer::{ARP, IPV4, IPV6, Layer, Tunnel},
    link::{Frame, LinkType, Payload, split},
    tunnel,
};

/// A message, and the frame's source and VLANs.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The frame's source MAC.
    pub source: MacAddr,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// In which tunnel the frame was; none if it was captured as it is.
    pub tunnel: Option<Tunnel>,
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

/// Finds the message in a frame, or in a frame that it contains.
pub fn parse<'a>(link: LinkType, frame: &Frame<'a>) -> Result<Packet<'a>, Counter> {
    let payload = link.payload(frame)?;
    let Payload { source, protocol, vlan, bytes } = payload;
    // Most frames have no other header; they need no walk.
    match message(protocol, bytes, frame.is_cut()) {
        Some(message) => {
            let (outer_vlan, tunnel) = (VlanId::NONE, None);
            Ok(Packet { source, vlan, outer_vlan, tunnel, message: message? })
        }
        None if protocol == IPV4 && !tunnel::may_be_in_ipv4(bytes) => Err(Counter::Unrelated),
        None => walk(Layer::outermost(link, payload, frame.is_cut())),
    }
}

fn walk(mut layer: Layer) -> Result<Packet, Counter> {
    loop {
        layer.descend()?;
        let Layer { source, protocol, bytes, vlans, cut, fragmented, tunnel, .. } = layer;
        // The rest of a fragmented message was not seen.
        match message(protocol, bytes, cut && !fragmented) {
            Some(Ok(_)) if fragmented => return Err(Counter::Fragmented),
            Some(message) => {
                let (vlan, outer_vlan) = (vlans.inner(), vlans.outer());
                return Ok(Packet { source, vlan, outer_vlan, tunnel, message: message? });
            }
            None => {}
        }
    }
}

/// The header that hides the message of a frame which was counted as [`Counter::UnknownHeader`].
pub fn hiding_header(link: LinkType, frame: &Frame) -> Option<OuterHeader> {
    let mut layer = Layer::outermost(link, link.payload(frame).ok()?, frame.is_cut());
    while message(layer.protocol, layer.bytes, layer.cut).is_none() {
        if layer.descend().is_err() {
            return Some(OuterHeader::EtherType(layer.protocol));
        }
    }
    layer.tunnel.map(|tunnel| tunnel.header)
}

/// The message that comes next; none if another header does.
#[inline]
fn message(protocol: u16, bytes: &[u8], cut: bool) -> Option<Result<Message<'_>, Counter>> {
    match protocol {
        ARP if cut => Some(Err(Counter::Truncated)),
        ARP => Some(arp(bytes).map(Message::Arp)),
        IPV6 => match neighbor(bytes, cut) {
            Err(Counter::Unrelated) => None, // the packet may contain a frame
            result => Some(result.map(Message::Nd)),
        },
        _ => None,
    }
}

/// A size field may require more bytes than there are: then the reason is the size, not the truncation.
fn arp(bytes: &[u8]) -> Result<ArpPacketSlice<'_>, Counter> {
    ArpPacketSlice::from_slice(bytes).map_err(|_| match bytes {
        [_, _, _, _, hardware, _, ..] if *hardware != 6 => Counter::ArpHardwareSize,
        [_, _, _, _, _, protocol, ..] if *protocol != 4 => Counter::ArpProtocolSize,
        _ => Counter::Truncated,
    })
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
