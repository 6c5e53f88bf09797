//! Checks a message and extracts its pairing: a MAC that uses an address. Each rule names its source, each
//! refusal its counter.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{ArpHardwareId, ArpOperation, ArpPacketSlice, EtherType, icmpv6::NdpOptionType};
use shm_layout::{Counter, Event, InterfaceName, Kind, MacAddr, Origin, UnixTime, VlanId};

use crate::parse::{Message, Neighbor, NeighborKind, Packet};

/// A message that passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The MAC address.
    pub mac: MacAddr,
    /// The frame's source MAC.
    pub source: MacAddr,
    /// The address, IPv4 as v4-mapped.
    pub address: Ipv6Addr,
    /// The kind of message.
    pub origin: Origin,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
}

impl Sighting {
    /// The event of this sighting, with its time and interface.
    pub fn event(self, time: UnixTime, interface: InterfaceName) -> Event {
        let Sighting { mac, source, address, origin, vlan, outer_vlan } = self;
        let (kind, router) = (Kind::Pairing(origin), Ipv4Addr::UNSPECIFIED);
        Event { time, address, interface, mac, source, vlan, outer_vlan, kind, router }
    }
}

/// Checks a message and extracts its pairing. A MAC that no host has, and a form that Linux ignores, are marked and not
/// refused: other hosts may accept them.
pub fn sighting(packet: &Packet) -> Result<Sighting, Counter> {
    let &Packet { source, vlan, outer_vlan, ignored, .. } = packet;
    let ((mac, address, origin), [no_host, in_ignored_form]) = match &packet.message {
        Message::Arp(message) => (arp(message)?, [Origin::ArpNoHost, Origin::ArpIgnored]),
        Message::Nd(message) => (neighbor(message, source)?, [Origin::NdNoHost, Origin::NdIgnored]),
    };
    if address.is_unspecified() || address == ARP_UNSPECIFIED {
        return Err(Counter::UnspecifiedAddress);
    }
    let origin = match mac.is_no_host() {
        _ if ignored => in_ignored_form,
        true => no_host,
        false => origin,
    };
    Ok(Sighting { mac, source, address, origin, vlan, outer_vlan })
}

type Pairing = (MacAddr, Ipv6Addr, Origin);

/// `0.0.0.0`, as an event holds it.
const ARP_UNSPECIFIED: Ipv6Addr = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();

/// RFC 826; RFC 5227 for probes.
fn arp(message: &ArpPacketSlice) -> Result<Pairing, Counter> {
    // 6 is IEEE 802, used on 802.3 (RFC 1042); hosts accept both.
    if !matches!(message.hw_addr_type(), ArpHardwareId::ETHERNET | ArpHardwareId::IEEE802) {
        return Err(Counter::ArpHardwareType);
    }
    if message.proto_addr_type() != EtherType::IPV4 {
        return Err(Counter::ArpProtocolType);
    }
    let mac = message.sender_hw_addr().try_into().map_err(|_| Counter::ArpHardwareSize)?;
    let ipv4 = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(bytes) => Ok(Ipv4Addr::from(bytes).to_ipv6_mapped()),
        Err(_) => Err(Counter::ArpProtocolSize),
    };
    let sender = ipv4(message.sender_protocol_addr())?;
    let (address, origin) = match message.operation() {
        // Only a request from 0.0.0.0 is a probe of its target (RFC 5227, 1.1). A reply from it names no address of
        // the sender: its target is the address of the host that asked.
        ArpOperation::REQUEST if sender == ARP_UNSPECIFIED => {
            (ipv4(message.target_protocol_addr())?, Origin::ArpProbe)
        }
        ArpOperation::REQUEST => (sender, Origin::ArpRequest),
        ArpOperation::REPLY => (sender, Origin::ArpReply),
        _ => return Err(Counter::ArpOperation),
    };
    Ok((MacAddr::new(mac), address, origin))
}

/// RFC 4861: 6.1.1, 6.1.2, 7.1.1, 7.1.2 and 8.1.
fn neighbor(message: &Neighbor, frame_source: MacAddr) -> Result<Pairing, Counter> {
    let &Neighbor { source, destination, options, .. } = message;
    if message.hop_limit != 255 {
        return Err(Counter::HopLimit); // a router forwarded it: the sender is not on this link
    }
    if !message.intact {
        return Err(Counter::IcmpChecksum);
    }
    if message.code != 0 {
        return Err(Counter::Code);
    }
    if source.is_multicast() {
        return Err(Counter::MulticastAddress);
    }
    let source_mac = || option(options, NdpOptionType::SOURCE_LINK_LAYER_ADDRESS);
    let target_mac = || option(options, NdpOptionType::TARGET_LINK_LAYER_ADDRESS);
    match message.kind {
        NeighborKind::RouterSolicitation => match source_mac()? {
            Some(_) if source.is_unspecified() => Err(Counter::DadLinkLayer),
            Some(mac) => Ok((ethernet(mac)?, source, Origin::NdRouterSolicitation)),
            None => Err(Counter::NoPairing),
        },
        NeighborKind::RouterAdvertisement => {
            of_router(source)?;
            let mac = source_mac()?.ok_or(Counter::NoPairing)?;
            Ok((ethernet(mac)?, source, Origin::NdRouterAdvertisement))
        }
        NeighborKind::Redirect { target, destination } => {
            of_router(source)?;
            if destination.is_multicast() {
                return Err(Counter::MulticastAddress);
            }
            // Another router, or the destination itself, which is on the link.
            if target != destination && !target.is_unicast_link_local() {
                return Err(Counter::RedirectTarget);
            }
            let mac = target_mac()?.ok_or(Counter::NoPairing)?;
            Ok((ethernet(mac)?, target, Origin::NdRedirect))
        }
        NeighborKind::Solicitation { target } | NeighborKind::Advertisement { target, .. }
            if target.is_multicast() =>
        {
            Err(Counter::MulticastAddress)
        }
        NeighborKind::Solicitation { target } if source.is_unspecified() => {
            if !is_solicited_node(destination) {
                return Err(Counter::DadDestination);
            }
            if source_mac()?.is_some() {
                return Err(Counter::DadLinkLayer);
            }
            Ok((frame_source, target, Origin::NdDad))
        }
        NeighborKind::Solicitation { .. } => match source_mac()? {
            Some(mac) => Ok((ethernet(mac)?, source, Origin::NdSolicitation)),
            // The option may be left out where the sender is known (RFC 4861, 4.3), so this is a sign of life. A
            // multicast solicitation must have it.
            None if destination.is_multicast() => Err(Counter::NoPairing),
            None => Ok((frame_source, source, Origin::NdSolicitationFrameSource)),
        },
        NeighborKind::Advertisement { target, solicited } => {
            let mac = target_mac()?;
            if solicited && destination.is_multicast() {
                return Err(Counter::SolicitedMulticast);
            }
            match mac {
                Some(mac) => Ok((ethernet(mac)?, target, Origin::NdAdvertisement)),
                // The answer to a unicast solicitation may leave it out (RFC 4861, 4.4); Linux does. The host that asked
                // sends to the MAC that it has asked, so the MAC that answers is the frame's.
                None if solicited => Ok((frame_source, target, Origin::NdAdvertisementFrameSource)),
                None => Err(Counter::NoPairing),
            }
        }
    }
}

/// RFC 4861, 6.1.2 and 8.1: routers use their link-local address.
fn of_router(source: Ipv6Addr) -> Result<(), Counter> {
    if source.is_unicast_link_local() { Ok(()) } else { Err(Counter::RouterAddress) }
}

/// Walks the options (RFC 4861, 4.6) and returns the body of the first one of a kind, which hosts use.
/// Of all others only the length is checked: hosts ignore their contents (RFC 4861, 7.1), so an attacker
/// could hide from a collector that refuses frames because of them.
fn option(mut options: &[u8], wanted: NdpOptionType) -> Result<Option<&[u8]>, Counter> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        if units == 0 {
            return Err(Counter::ZeroLengthOption);
        }
        let length = usize::from(units) * 8;
        let (option, rest) = options.split_at_checked(length).ok_or(Counter::Truncated)?;
        if kind == wanted.0 {
            found.get_or_insert(&option[2..]);
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Counter::Truncated) }
}

/// RFC 2464, 6: on Ethernet the option holds six bytes.
fn ethernet(address: &[u8]) -> Result<MacAddr, Counter> {
    address.try_into().map(MacAddr::new).map_err(|_| Counter::OptionLength)
}

/// `ff02::1:ff00:0/104` (RFC 4291, 2.7.1).
fn is_solicited_node(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ..])
}
