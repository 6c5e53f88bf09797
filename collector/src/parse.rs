//! Finds the ARP or Neighbor Discovery message in a frame: `layer` walks through the headers around the message,
//! `check` checks its contents.

use std::net::Ipv6Addr;

use etherparse::{
    ArpPacketSlice, IpAuthHeaderSlice, IpNumber, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, err, ip_number,
};
use shm_layout::{Counter, MacAddr, OuterHeader, VlanId};

use crate::{
    layer::{ARP, IPV4, IPV6, Layer, Tunnel},
    link::{Frame, LinkType, Payload},
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
    /// Linux ignores messages in this form; other hosts may accept them.
    pub ignored: bool,
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

impl Message<'_> {
    fn is_ignored(&self) -> bool {
        matches!(self, Message::Nd(message) if message.ignored)
    }
}

/// A Neighbor Discovery message.
#[derive(Debug)]
pub struct Neighbor<'a> {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub hop_limit: u8,
    pub code: u8,
    /// Whether the checksum is right.
    pub intact: bool,
    /// Linux ignores messages behind such extension headers.
    pub ignored: bool,
    pub options: &'a [u8],
    pub kind: NeighborKind,
}

/// The five kinds (RFC 4861, 4), and the addresses in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborKind {
    RouterSolicitation,
    RouterAdvertisement,
    Solicitation {
        target: Ipv6Addr,
    },
    Advertisement {
        target: Ipv6Addr,
        /// Whether it answers a solicitation.
        solicited: bool,
    },
    Redirect {
        /// The better way to the destination.
        target: Ipv6Addr,
        destination: Ipv6Addr,
    },
}

/// Finds the message in a frame, or in a frame that it contains.
pub fn parse<'a>(link: LinkType, frame: &Frame<'a>) -> Result<Packet<'a>, Counter> {
    let payload = link.payload(frame)?;
    let Payload { source, protocol, vlan, bytes, .. } = payload;
    // Most frames have no other header; they need no walk.
    match message(protocol, bytes, frame.is_cut()) {
        Some(message) => {
            let (outer_vlan, tunnel, message) = (VlanId::NONE, None, message?);
            Ok(Packet { source, vlan, outer_vlan, tunnel, ignored: message.is_ignored(), message })
        }
        None if protocol == IPV4 && !tunnel::may_be_in_ipv4(bytes) => Err(Counter::Unrelated),
        None => walk(Layer::outermost(link, payload, frame.is_cut())),
    }
}

fn walk(mut layer: Layer) -> Result<Packet, Counter> {
    loop {
        layer.descend()?;
        let Layer { source, protocol, bytes, vlans, cut, fragmented, tunnel, snap, .. } = layer;
        // The rest of a fragmented message was not seen.
        match message(protocol, bytes, cut && !fragmented) {
            Some(Ok(_)) if fragmented => return Err(Counter::Fragmented),
            Some(message) => {
                let (vlan, outer_vlan, message) = (vlans.inner(), vlans.outer(), message?);
                let ignored = snap || message.is_ignored();
                return Ok(Packet { source, vlan, outer_vlan, tunnel, ignored, message });
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
    let length = match usize::from(header.payload_length()) {
        // The length of a jumbogram is in an option (RFC 2675). Linux takes the rest of the frame without that option, too.
        0 if header.next_header() == ip_number::IPV6_HOP_BY_HOP => after.len(),
        length => length,
    };
    let short = after.len() < length;
    let (source, destination) = (header.source_addr(), header.destination_addr());
    let extensions = extensions(header.next_header(), after.get(..length).unwrap_or(after))?;
    let message = extensions.payload;
    let length = match *message.first().ok_or(Counter::Truncated)? {
        ROUTER_SOLICITATION => 8,
        ROUTER_ADVERTISEMENT => 16,
        SOLICITATION | ADVERTISEMENT => 24,
        REDIRECT => 40,
        _ => return Err(Counter::Unrelated),
    };
    if extensions.fragmented {
        return Err(Counter::Fragmented);
    }
    if cut || short {
        return Err(Counter::Truncated);
    }
    let (fixed, options) = message.split_at_checked(length).ok_or(Counter::Truncated)?;
    let address = |number: usize| {
        let bytes = fixed.get(8 + 16 * number..).and_then(<[u8]>::first_chunk::<16>);
        bytes.map_or(Ipv6Addr::UNSPECIFIED, |bytes| Ipv6Addr::from(*bytes))
    };
    let kind = match fixed[0] {
        ROUTER_SOLICITATION => NeighborKind::RouterSolicitation,
        ROUTER_ADVERTISEMENT => NeighborKind::RouterAdvertisement,
        SOLICITATION => NeighborKind::Solicitation { target: address(0) },
        ADVERTISEMENT => {
            NeighborKind::Advertisement { target: address(0), solicited: fixed[4] & SOLICITED != 0 }
        }
        _ => NeighborKind::Redirect { target: address(0), destination: address(1) },
    };
    let for_group = extensions.routed && destination.is_multicast();
    Ok(Neighbor {
        source,
        destination,
        hop_limit: header.hop_limit(),
        code: fixed[1],
        intact: is_intact(source, destination, message),
        ignored: extensions.ignored || for_group,
        options,
        kind,
    })
}

/// Whether the checksum over pseudo-header and message is right (RFC 4443, 2.3).
/// Summed here and not compared with the checksum that etherparse calculates: hosts accept 0xffff where that is 0.
fn is_intact(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> bool {
    let pairs = |bytes: &[u8]| -> u64 {
        let (pairs, odd) = bytes.as_chunks::<2>();
        let last = odd.first().map_or(0, |byte| u64::from(*byte) << 8);
        pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>() + last
    };
    let pseudo_header = message.len() as u64 + u64::from(ip_number::IPV6_ICMP.0);
    let mut sum = pseudo_header + pairs(&source.octets()) + pairs(&destination.octets());
    sum += pairs(message);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum == 0xffff
}

/// ICMPv6 types (RFC 4861, 4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// The S flag of an advertisement.
const SOLICITED: u8 = 0x40;

/// ICMPv6 behind the extension headers.
struct Extensions<'a> {
    fragmented: bool,
    /// A routing header was there: Linux drops it in a packet to a group.
    routed: bool,
    /// Linux drops the packet because of a header, or each host does.
    ignored: bool,
    payload: &'a [u8],
}

/// Walks the extension headers up to ICMPv6; any other protocol is unrelated.
fn extensions(first: IpNumber, bytes: &[u8]) -> Result<Extensions<'_>, Counter> {
    let truncated = |_| Counter::Truncated;
    let (mut next, mut rest) = (first, bytes);
    let (mut fragmented, mut routed, mut ignored) = (false, false, false);
    loop {
        let length;
        (next, length) = match next {
            ip_number::IPV6_ICMP => {
                return Ok(Extensions { fragmented, routed, ignored, payload: rest });
            }
            ip_number::IPV6_HOP_BY_HOP if rest.len() != bytes.len() => {
                return Err(Counter::ExtensionHeader);
            }
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_DEST_OPTIONS | ip_number::IPV6_ROUTE => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest).map_err(truncated)?;
                match next {
                    ip_number::IPV6_ROUTE => {
                        routed = true;
                        ignored |= is_route_refused(header.slice());
                    }
                    _ => ignored |= forbids_processing(&header.slice()[2..]),
                }
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
                ignored = true; // by a host that has no key to check it with
                (header.next_header(), header.slice().len())
            }
            _ => return Err(Counter::Unrelated),
        };
        rest = &rest[length..];
    }
}

/// Whether Linux drops a packet with this routing header (`net/ipv6/exthdrs.c`): it goes on to another host, or is of a
/// type that has to be switched on: of RPL (RFC 6554), of segment routing (RFC 8754).
fn is_route_refused(header: &[u8]) -> bool {
    matches!(header, [_, _, kind, left, ..] if *left > 0 || matches!(kind, 3 | 4))
}

/// Whether hosts drop a packet with these hop-by-hop or destination options: one of them demands it of hosts that do not
/// know it, by the two highest bits of its type (RFC 8200, 4.2), or is longer than the header. Neighbor Discovery needs
/// no option of this kind.
fn forbids_processing(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        let after = match (kind, rest) {
            (0, _) => Some(rest), // Pad1
            (0x01..=0x3f, [length, rest @ ..]) => rest.get(usize::from(*length)..),
            _ => None,
        };
        let Some(after) = after else { return true };
        options = after;
    }
    false
}
