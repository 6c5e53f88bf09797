//! Finds a message with names in a frame: the headers up to UDP, ICMPv6 or LLDP, and what has to be right in them.
//!
//! Frames inside of other frames are not searched: a mirror that the collector receives itself (`--listen-vxlan`,
//! `--listen-tzsp`) hands its frames over one by one.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use shm_layout::{
    InterfaceName, MacAddr, NameCounter, NameKind, NameRecord, NameText, UnixTime, VlanId,
};

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
/// Operation of a DHCP server's answer.
pub const BOOT_REPLY: u8 = 2;
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
    /// The MAC that the frame was sent to; zero if the capture does not have it.
    pub receiver: MacAddr,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// What the IP header has.
    pub packet: Packet,
    /// What it contains; not checked if it is refused.
    pub body: Body<'a>,
    /// What is wrong with the headers.
    pub refused: Option<NameCounter>,
}

/// What the IP header has, IPv4 as v4-mapped; all zero for LLDP.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// The packet's source.
    pub source: Ipv6Addr,
    /// The packet's destination.
    pub destination: Ipv6Addr,
    /// The hop limit, or time to live.
    pub hop_limit: u8,
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

impl<'a> Message<'a> {
    /// Adds all that its records are made of, other than its time: equal messages have equal records. The transaction and the seconds
    /// of DHCP are no part of it.
    pub fn hash(&self, state: &mut impl Hasher) {
        let &Message { interface, sender, receiver, vlan, outer_vlan, .. } = self;
        let Packet { source, destination, hop_limit } = self.packet;
        let without = |bytes: &'a [u8], from, to| match bytes.split_at_checked(to) {
            Some((before, after)) => [&before[..from], after],
            None => [bytes, &[]],
        };
        let (protocol, port, parts) = match self.body {
            Body::Dhcp(port, bytes) => (1, port, without(bytes, 4, 10)),
            // A client's message, not one of a relay (RFC 8415, 8 and 9).
            Body::Dhcpv6(bytes @ [1..=11, ..]) => (2, 0, without(bytes, 1, 4)),
            Body::Dhcpv6(bytes) => (3, 0, [bytes, &[]]),
            Body::Mdns(port, bytes) => (4, port, [bytes, &[]]),
            Body::Icmp(bytes) => (5, 0, [bytes, &[]]),
            Body::Lldp(bytes) => (6, 0, [bytes, &[]]),
        };
        let [source, destination] = [source, destination].map(u128::from);
        // In few pieces, which is faster.
        let head = [
            u128::from(sender.number()) << 64 | u128::from(receiver.number()),
            source,
            destination,
            u128::from(vlan.get()) << 64 | u128::from(outer_vlan.get()) << 32 | u128::from(port),
            u128::from(hop_limit) << 64 | protocol,
        ];
        (head, interface).hash(state);
        parts.iter().for_each(|part| state.write(part));
    }

    /// A record of this message, about the sender.
    pub fn record(&self, kind: NameKind) -> NameRecord {
        let &Message { time, interface, sender, receiver, vlan, outer_vlan, .. } = self;
        let Packet { source, destination, hop_limit: ttl } = self.packet;
        let record = NameRecord::new(kind, time, interface);
        NameRecord {
            mac: sender,
            sender,
            receiver,
            vlan,
            outer_vlan,
            source,
            destination,
            ttl,
            ..record
        }
    }

    /// The record of a message that is refused, if hosts may accept it, and it is of a router or DHCP server: what is malformed must
    /// not be what hides it.
    pub fn refusal(&self, reason: NameCounter) -> Option<NameRecord> {
        use NameCounter::*;
        // No host accepts it (RFC 4861, 6.1.2 and 8.1), and a router may have forwarded it.
        if matches!(reason, HopLimit | Checksum | Code | SourceAddress | RedirectTarget) {
            return None;
        }
        let (number, what) = match self.body {
            Body::Icmp([ROUTER_ADVERTISEMENT, ..]) => (ROUTER_ADVERTISEMENT, "RA"),
            Body::Icmp([REDIRECT, ..]) => (REDIRECT, "REDIRECT"),
            Body::Dhcp(DHCP_CLIENT, _) | Body::Dhcp(_, [BOOT_REPLY, ..]) => (BOOT_REPLY, "DHCP"),
            _ => return None,
        };
        let record = self.record(NameKind::Refused);
        let (address, number, detail) = (record.source, number.into(), NameText::cut(what));
        Some(NameRecord { address, number, detail, reason: Some(reason), ..record })
    }
}

/// Finds the message in a frame; none if there is no message of these protocols.
pub fn find<'a>(
    link: LinkType,
    frame: &Frame<'a>,
    interface: InterfaceName,
) -> Option<Message<'a>> {
    let payload = link.payload(frame).ok()?;
    if payload.protocol == ARP {
        return None;
    }
    let mut layer = Layer::outermost(link, payload, frame.is_cut());
    let Found { packet, body, refused } = loop {
        match layer.protocol {
            IPV4 => break ipv4(layer.bytes)?,
            IPV6 => break ipv6(layer.bytes)?,
            LLDP => break lldp(layer.bytes),
            ARP => return None,
            protocol if tunnel::FRAMES.contains(&protocol) => return None,
            _ => layer.descend().ok()?,
        }
    };
    let Layer { source: sender, destination: receiver, vlans, cut, snap, .. } = layer;
    // Hosts accept it there, other than switches with an RA guard.
    let is_hidden = snap && matches!(body, Body::Icmp(_));
    let refused = match cut {
        true => Some(NameCounter::Truncated),
        false => refused.or(is_hidden.then_some(NameCounter::Hidden)),
    };
    let (time, vlan, outer_vlan) = (frame.time, vlans.inner(), vlans.outer());
    Some(Message { time, interface, sender, receiver, vlan, outer_vlan, packet, body, refused })
}

/// A message, and what is wrong with the headers around it.
struct Found<'a> {
    packet: Packet,
    body: Body<'a>,
    refused: Option<NameCounter>,
}

fn lldp(bytes: &[u8]) -> Found<'_> {
    let none = Ipv6Addr::UNSPECIFIED;
    let packet = Packet { source: none, destination: none, hop_limit: 0 };
    Found { packet, body: Body::Lldp(bytes), refused: None }
}

/// RFC 791.
fn ipv4(bytes: &[u8]) -> Option<Found<'_>> {
    let (header, _) = bytes.split_first_chunk::<20>()?;
    let [first, _, l0, l1, _, _, f0, f1, hop_limit, protocol, _, _, addresses @ ..] = *header;
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
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let payload = match bytes.get(length..total) {
        _ if fragment & 0x2000 != 0 => Err(NameCounter::Fragmented),
        _ if folded(sum(header)) != 0xffff => Err(NameCounter::Checksum),
        None => Err(NameCounter::Truncated),
        Some(packet) => udp(packet, sum(&addresses), true),
    };
    let [a, b, c, d, e, f, g, h] = addresses;
    let [source, destination] =
        [[a, b, c, d], [e, f, g, h]].map(|ip| Ipv4Addr::from(ip).to_ipv6_mapped());
    let packet = Packet { source, destination, hop_limit };
    let bytes = payload.unwrap_or(after.get(8..).unwrap_or_default());
    let body = match ports {
        [from, MDNS] => Body::Mdns(from, bytes),
        [_, to] => Body::Dhcp(to, bytes),
    };
    Some(Found { packet, body, refused: payload.err() })
}

/// RFC 8200. Behind an extension header, and in the first fragment, a message is found to be counted.
fn ipv6(bytes: &[u8]) -> Option<Found<'_>> {
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
    let is_mld = |kind| matches!(kind, MLD_QUERY | MLD_REPORT | MLD_DONE | MLD2_REPORT);
    let is_router = |kind| matches!(kind, ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT | REDIRECT);
    let hidden = match (next, rest) {
        (ICMPV6, [kind, ..]) if is_router(*kind) => extended,
        (ICMPV6, [kind, ..]) if is_mld(*kind) => routed,
        (UDP, _) if matches!(ports(rest)?[1], DHCPV6_SERVER | MDNS) => extended,
        _ => return None,
    };
    let pseudo = sum(&addresses);
    let is_udp = next == UDP;
    let payload = match is_udp {
        _ if fragmented => Err(NameCounter::Fragmented),
        _ if hidden => Err(NameCounter::Hidden),
        _ if short => Err(NameCounter::Truncated),
        true => udp(rest, pseudo, false),
        false => match folded(pseudo + u64::from(ICMPV6) + rest.len() as u64 + sum(rest)) {
            0xffff => Ok(rest),
            _ => Err(NameCounter::Checksum),
        },
    };
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let destination = Ipv6Addr::from(*destination.first_chunk::<16>()?);
    let packet = Packet { source: Ipv6Addr::from(*source), destination, hop_limit };
    let bytes = payload.unwrap_or(rest.get(if is_udp { 8 } else { 0 }..).unwrap_or_default());
    let body = match ports(rest) {
        Some([from, MDNS]) if is_udp => Body::Mdns(from, bytes),
        _ if is_udp => Body::Dhcpv6(bytes),
        _ => Body::Icmp(bytes),
    };
    Some(Found { packet, body, refused: payload.err() })
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
