//! IPv6 Neighbor Discovery (RFC 4861) by hand: IPv6, extension headers, one of the five messages, options, and a
//! correct checksum.

use crate::frames::{Ethernet, IPV6, Mac};
use std::net::Ipv6Addr;

/// ICMPv6 type of a Neighbor Solicitation.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type of a Neighbor Advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// ICMPv6 type of a Router Solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 type of a Router Advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// ICMPv6 type of a Redirect.
pub const REDIRECT: u8 = 137;
/// Option: source link-layer address.
pub const SOURCE_LINK_LAYER: u8 = 1;
/// Option: target link-layer address.
pub const TARGET_LINK_LAYER: u8 = 2;
/// The S flag of an advertisement, in its first flag byte.
pub const SOLICITED: u8 = 0x40;
/// The O flag of an advertisement.
pub const OVERRIDE: u8 = 0x20;
/// The R flag of an advertisement.
pub const ROUTER: u8 = 0x80;
/// ff02::2
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// ff02::1
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Extension header number: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Extension header number: routing.
pub const ROUTING: u8 = 43;
/// Extension header number: fragment.
pub const FRAGMENT: u8 = 44;
/// Extension header number: destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// One message in its IPv6 packet.
#[derive(Clone, Debug)]
pub struct Neighbor {
    /// 6.
    pub version: u8,
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// 255, or the packet came from another link.
    pub hop_limit: u8,
    /// Number and bytes of each extension header; byte 0, the next header's number, is filled in.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The ICMPv6 type: it decides which of the addresses below are in the message.
    pub message: u8,
    /// 0.
    pub code: u8,
    /// R, S and O of an advertisement.
    pub flags: u8,
    /// The address in question; not in messages to and of routers.
    pub target: Ipv6Addr,
    /// For which destination a Redirect names the target.
    pub redirected: Ipv6Addr,
    /// Added to the right checksum: 0.
    pub checksum_error: u16,
    /// Whole options, type and length included.
    pub options: Vec<Vec<u8>>,
}

impl Neighbor {
    /// `mac`, who has `source`, asks for `target`.
    pub fn solicit(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Self {
        Neighbor {
            version: 6,
            source,
            destination: solicited_node(target),
            hop_limit: 255,
            extensions: Vec::new(),
            message: SOLICITATION,
            code: 0,
            flags: 0,
            target,
            redirected: Ipv6Addr::UNSPECIFIED,
            checksum_error: 0,
            options: vec![link_layer(SOURCE_LINK_LAYER, mac)],
        }
    }

    /// `mac`, who has `source`, asks all routers to advertise themselves.
    pub fn solicit_routers(mac: Mac, source: Ipv6Addr) -> Self {
        Neighbor {
            destination: ALL_ROUTERS,
            message: ROUTER_SOLICITATION,
            ..Neighbor::solicit(mac, source, source)
        }
    }

    /// The router `mac` advertises itself to all nodes, as no default router.
    pub fn advertise_router(mac: Mac, source: Ipv6Addr) -> Self {
        Neighbor {
            destination: ALL_NODES,
            message: ROUTER_ADVERTISEMENT,
            ..Neighbor::solicit(mac, source, source)
        }
    }

    /// `router` sends to `host` that `target`, at `mac`, is the better way to a destination.
    pub fn redirect(
        mac: Mac,
        [router, host]: [Ipv6Addr; 2],
        target: Ipv6Addr,
        redirected: Ipv6Addr,
    ) -> Self {
        Neighbor {
            destination: host,
            message: REDIRECT,
            redirected,
            options: vec![link_layer(TARGET_LINK_LAYER, mac)],
            ..Neighbor::solicit(mac, router, target)
        }
    }

    /// A station asks whether another one has `target`, before it uses it (RFC 4862, duplicate address detection).
    pub fn probe(target: Ipv6Addr) -> Self {
        Neighbor { options: Vec::new(), ..Neighbor::solicit([0; 6], Ipv6Addr::UNSPECIFIED, target) }
    }

    /// `mac` announces to all nodes that it has `target`.
    pub fn advertise(mac: Mac, target: Ipv6Addr) -> Self {
        Neighbor {
            destination: ALL_NODES,
            message: ADVERTISEMENT,
            flags: OVERRIDE,
            options: vec![link_layer(TARGET_LINK_LAYER, mac)],
            ..Neighbor::solicit(mac, target, target)
        }
    }

    /// The same, with one more extension header before ICMPv6.
    pub fn behind(mut self, (number, bytes): (u8, Vec<u8>)) -> Self {
        self.extensions.push((number, bytes));
        self
    }

    /// The whole IPv6 packet.
    pub fn bytes(&self) -> Vec<u8> {
        let mut message = vec![self.message, self.code, 0, 0, self.flags, 0, 0, 0];
        match self.message {
            ROUTER_SOLICITATION => {}
            ROUTER_ADVERTISEMENT => message.extend([0; 8]),
            REDIRECT => message.extend([self.target.octets(), self.redirected.octets()].concat()),
            _ => message.extend(self.target.octets()),
        }
        message.extend(self.options.concat());
        let sum = checksum(self.source, self.destination, &message);
        let sum = sum.wrapping_add(self.checksum_error);
        message[2..4].copy_from_slice(&sum.to_be_bytes());

        let mut next = 58;
        for (number, bytes) in self.extensions.iter().rev() {
            let mut header = bytes.clone();
            header[0] = next;
            next = *number;
            message.splice(0..0, header);
        }
        let length = u16::try_from(message.len()).expect("a packet that fits a frame");
        let mut packet = vec![self.version << 4, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([next, self.hop_limit]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(message);
        packet
    }

    /// As a frame behind this header; its destination is replaced by that of the IPv6 group, if it is one.
    pub fn on(&self, ethernet: &Ethernet) -> Vec<u8> {
        let mut ethernet = ethernet.clone();
        if let [0xff, .., a, b, c, d] = self.destination.octets() {
            ethernet.destination = [0x33, 0x33, a, b, c, d];
        }
        ethernet.frame(IPV6, &self.bytes())
    }

    /// As an untagged frame from `source`.
    pub fn frame(&self, source: Mac) -> Vec<u8> {
        self.on(&Ethernet::from(source))
    }
}

/// ff02::1:ffXX:XXXX for this address (RFC 4291, 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// A link-layer address option of eight bytes.
pub fn link_layer(kind: u8, mac: Mac) -> Vec<u8> {
    let mut option = vec![kind, 1];
    option.extend(mac);
    option
}

/// Hop-by-hop or destination options: nothing but one PadN that fills `units` times eight bytes.
pub fn padding_options(number: u8, units: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0; usize::from(units) * 8];
    bytes[1] = units - 1;
    bytes[2] = 1;
    bytes[3] = units * 8 - 4;
    (number, bytes)
}

/// A routing header of an unknown type with no segments left: to be skipped (RFC 8200, 4.4). Linux does so in a packet
/// to one host.
pub fn routing() -> (u8, Vec<u8>) {
    routing_of(253, 0)
}

/// A routing header of eight bytes, of this type and with this many segments left.
pub fn routing_of(kind: u8, left: u8) -> (u8, Vec<u8>) {
    (ROUTING, vec![0, 0, kind, left, 0, 0, 0, 0])
}

/// A fragment header; offset 0 and no more fragments is an "atomic" one.
pub fn fragment(offset_and_more: u16) -> (u8, Vec<u8>) {
    let [a, b] = offset_and_more.to_be_bytes();
    (FRAGMENT, vec![0, 0, a, b, 0, 0, 0, 7])
}

/// RFC 4443, 2.3: over the pseudo-header and the message, whose own field is zero.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let mut covered = [source.octets(), destination.octets()].concat();
    covered.extend(u32::try_from(message.len()).expect("a short message").to_be_bytes());
    covered.extend([0, 0, 0, 58]);
    covered.extend(message);
    let mut sum: u32 = covered
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::station;

    /// An advertisement whose bytes, checksum included, were made with scapy.
    #[test]
    fn an_advertisement_has_these_bytes() {
        let packet = Neighbor::advertise(station(1), "fe80::1".parse().unwrap()).bytes();
        let hex: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../data/advertisement.hex").trim());
    }

    #[test]
    fn extension_headers_are_chained() {
        let packet = Neighbor::probe("2001:db8::1".parse().unwrap())
            .behind(padding_options(HOP_BY_HOP, 2))
            .behind(routing())
            .bytes();
        assert_eq!(
            (packet[6], packet[40], packet[56], packet[64]),
            (HOP_BY_HOP, ROUTING, 58, SOLICITATION)
        );
    }
}
