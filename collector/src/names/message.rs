//! Finds a message with names in a frame: the headers up to UDP, ICMPv6 or LLDP, and what has to be right in them.
//!
//! Frames inside of other frames are not searched: a mirror that the collector receives itself (`--listen-vxlan`,
//! `--listen-tzsp`) hands its frames over one by one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shm_layout::{InterfaceName, MacAddr, NameCounter, NameKind, NameRecord, UnixTime, VlanId};

use crate::{
    layer::{ARP, IPV4, IPV6, Layer},
    link::{Frame, LinkType},
    tunnel,
};

/// EtherType of LLDP.
pub const LLDP: u16 = 0x88cc;
/// UDP ports.
pub const DHCP_SERVER: u16 = 67;
pub const DHCP_CLIENT: u16 = 68;
pub const DHCPV6_SERVER: u16 = 547;
pub const MDNS: u16 = 5353;
/// ICMPv6 types.
pub const MLD_QUERY: u8 = 130;
pub const MLD_REPORT: u8 = 131;
pub const MLD_DONE: u8 = 132;
pub const ROUTER_SOLICITATION: u8 = 133;
pub const ROUTER_ADVERTISEMENT: u8 = 134;
pub const REDIRECT: u8 = 137;
pub const MLD2_REPORT: u8 = 143;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A message, and what the headers around it have.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// When the frame was captured.
    pub time: UnixTime,
    /// The interface's name in events.
    pub interface: InterfaceName,
    /// The frame's source MAC.
    pub sender: MacAddr,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// The packet's source, IPv4 as v4-mapped; `::` for LLDP.
    pub source: Ipv6Addr,
    /// The IPv6 hop limit.
    pub hop_limit: u8,
    /// What it contains.
    pub body: Body<'a>,
}

/// A message of one protocol.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// DHCPv4, and the port that it was sent to.
    Dhcp(u16, &'a [u8]),
    /// DHCPv6 to a server or relay.
    Dhcpv6(&'a [u8]),
    /// Multicast DNS, and the port that sent it.
    Mdns(u16, &'a [u8]),
    /// ICMPv6 from its type on.
    Icmp(&'a [u8]),
    /// LLDP.
    Lldp(&'a [u8]),
}

impl Message<'_> {
    /// A record of this message, about the sender.
    pub fn record(&self, kind: NameKind) -> NameRecord {
        let &Message { time, interface, sender, vlan, outer_vlan, .. } = self;
        let record = NameRecord::new(kind, time, interface);
        NameRecord { mac: sender, sender, vlan, outer_vlan, ..record }
    }
}

/// Finds the message in a frame; none if there is no message of these protocols.
pub fn find<'a>(
    link: LinkType,
    frame: &Frame<'a>,
    interface: InterfaceName,
) -> Option<Result<Message<'a>, NameCounter>> {
    let payload = link.payload(frame).ok()?;
    if payload.protocol == ARP {
        return None;
    }
    let mut layer = Layer::outermost(link, payload, frame.is_cut());
    let found = loop {
        match layer.protocol {
            IPV4 => break ipv4(layer.bytes)?,
            IPV6 => break ipv6(layer.bytes)?,
            LLDP => break Ok(Found::of(Body::Lldp(layer.bytes))),
            ARP => return None,
            protocol if tunnel::FRAMES.contains(&protocol) => return None,
            _ => layer.descend().ok()?,
        }
    };
    let Layer { source: sender, vlans, cut, snap, .. } = layer;
    Some(found.and_then(|found| {
        let Found { source, hop_limit, body } = found;
        if cut {
            return Err(NameCounter::Truncated);
        }
        // Hosts accept it there, other than switches with an RA guard.
        if snap && matches!(body, Body::Icmp(_)) {
            return Err(NameCounter::Hidden);
        }
        let (time, vlan, outer_vlan) = (frame.time, vlans.inner(), vlans.outer());
        Ok(Message { time, interface, sender, vlan, outer_vlan, source, hop_limit, body })
    }))
}

struct Found<'a> {
    source: Ipv6Addr,
    hop_limit: u8,
    body: Body<'a>,
}

impl<'a> Found<'a> {
    fn of(body: Body<'a>) -> Self {
        Found { source: Ipv6Addr::UNSPECIFIED, hop_limit: 0, body }
    }
}

type Search<'a> = Option<Result<Found<'a>, NameCounter>>;

/// RFC 791.
fn ipv4(bytes: &[u8]) -> Search<'_> {
    let (header, _) = bytes.split_first_chunk::<20>()?;
    let [first, _, l0, l1, _, _, f0, f1, _, protocol, _, _, addresses @ ..] = *header;
    let length = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || length < 20 || protocol != UDP {
        return None;
    }
    let fragment = u16::from_be_bytes([f0, f1]);
    if fragment & 0x1fff != 0 {
        return None; // what follows is data, not a header
    }
    let (header, after) = bytes.split_at_checked(length)?;
    let ports = ports(after)?;
    if !matches!(ports[1], DHCP_SERVER | DHCP_CLIENT | MDNS) {
        return None;
    }
    if fragment & 0x2000 != 0 {
        return Some(Err(NameCounter::Fragmented));
    }
    if folded(sum(header)) != 0xffff {
        return Some(Err(NameCounter::Checksum));
    }
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let Some(packet) = bytes.get(length..total) else { return Some(Err(NameCounter::Truncated)) };
    let [a, b, c, d, ..] = addresses;
    let source = Ipv4Addr::new(a, b, c, d).to_ipv6_mapped();
    Some(udp(packet, sum(&addresses), true).map(|bytes| {
        let body = match ports {
            [from, MDNS] => Body::Mdns(from, bytes),
            [_, to] => Body::Dhcp(to, bytes),
        };
        Found { source, hop_limit: 0, body }
    }))
}

/// RFC 8200. Behind an extension header, and in the first fragment, a message is found to be counted.
fn ipv6(bytes: &[u8]) -> Search<'_> {
    let (header, after) = bytes.split_first_chunk::<40>()?;
    let [first, _, _, _, l0, l1, mut next, hop_limit, addresses @ ..] = *header;
    if first >> 4 != 6 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let short = after.len() < length;
    let mut rest = after.get(..length).unwrap_or(after);
    let (mut extended, mut fragmented, mut routed) = (false, false, false);
    while !matches!(next, UDP | ICMPV6 | TCP) {
        let [following, size, f0, f1, ..] = *rest else { return None };
        let size = match next {
            0 | 43 | 60 => (usize::from(size) + 1) * 8,
            44 if u16::from_be_bytes([f0, f1]) & 0xfff8 != 0 => return None,
            44 => 8,
            51 => (usize::from(size) + 2) * 4,
            _ => return None,
        };
        fragmented |= next == 44;
        routed |= next != 0; // more than hop-by-hop options, which MLD has
        extended = true;
        (next, rest) = (following, rest.get(size..)?);
    }
    let source = Ipv6Addr::from(*addresses.first_chunk::<16>()?);
    let is_mld = |kind| matches!(kind, MLD_QUERY | MLD_REPORT | MLD_DONE | MLD2_REPORT);
    let is_router = |kind| matches!(kind, ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT | REDIRECT);
    let hidden = match (next, rest) {
        (ICMPV6, [kind, ..]) if is_router(*kind) => extended,
        (ICMPV6, [kind, ..]) if is_mld(*kind) => routed,
        (UDP, _) if matches!(ports(rest)?[1], DHCPV6_SERVER | MDNS) => extended,
        _ => return None,
    };
    if fragmented {
        return Some(Err(NameCounter::Fragmented));
    }
    if hidden {
        return Some(Err(NameCounter::Hidden));
    }
    if short {
        return Some(Err(NameCounter::Truncated));
    }
    let pseudo = sum(&addresses);
    let body = match next {
        UDP => udp(rest, pseudo, false).map(|bytes| match ports(rest) {
            Some([from, MDNS]) => Body::Mdns(from, bytes),
            _ => Body::Dhcpv6(bytes),
        }),
        _ => match folded(pseudo + u64::from(ICMPV6) + rest.len() as u64 + sum(rest)) {
            0xffff => Ok(Body::Icmp(rest)),
            _ => Err(NameCounter::Checksum),
        },
    };
    Some(body.map(|body| Found { source, hop_limit, body }))
}

fn ports(udp: &[u8]) -> Option<[u16; 2]> {
    let ([a, b, c, d], _) = udp.split_first_chunk()?;
    Some([u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])])
}

/// The payload of a datagram (RFC 768). Over IPv4 it may be without a checksum.
fn udp(packet: &[u8], addresses: u64, optional: bool) -> Result<&[u8], NameCounter> {
    let ([_, _, _, _, l0, l1, c0, c1], _) =
        packet.split_first_chunk().ok_or(NameCounter::Truncated)?;
    let length = u16::from_be_bytes([*l0, *l1]);
    let datagram = packet.get(..length.into()).ok_or(NameCounter::Truncated)?;
    let payload = datagram.get(8..).ok_or(NameCounter::OptionLength)?;
    let pseudo = addresses + u64::from(UDP) + u64::from(length);
    let checksum = u16::from_be_bytes([*c0, *c1]);
    let is_right = match checksum {
        0 => optional,
        // A packet of this machine, or of a container or virtual machine on it, has the sum of the pseudo-header there: the
        // network card would complete it (CHECKSUM_PARTIAL), and virtual ones do not.
        checksum => folded(pseudo + sum(datagram)) == 0xffff || checksum == folded(pseudo),
    };
    if is_right { Ok(payload) } else { Err(NameCounter::Checksum) }
}

/// The sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let last = odd.first().map_or(0, |byte| u64::from(*byte) << 8);
    pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>() + last
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Whether a host can have this address.
pub fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first != 0 && first != 127 && first < 224
        }
        IpAddr::V6(v6) => {
            let is_mapped = v6.to_ipv4_mapped().is_some(); // a record would show it as IPv4
            !(v6.is_unspecified() || v6.is_multicast() || v6.is_loopback() || is_mapped)
        }
    }
}
