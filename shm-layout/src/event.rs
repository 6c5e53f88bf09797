//! The event: what was seen, where and when. `event/bytes.rs` has its layout in the ring, `event/text.rs`
//! its line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod bytes;
mod kind;
mod mac_addr;
mod names;
mod text;
mod unix_time;
mod vlan_id;

#[cfg(test)]
mod tests;

pub(crate) use names::breaks_terminal;
pub use {
    kind::{ConfigChange, Evidence, Kind, Origin, UnknownEvent},
    mac_addr::MacAddr,
    names::{InterfaceName, UserName},
    text::{ip_text, network_name},
    unix_time::UnixTime,
    vlan_id::VlanId,
};

/// One event of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the packet was captured.
    pub time: UnixTime,
    /// The address, IPv4 as v4-mapped; [`Event::ip`] gives it in its own family.
    pub address: Ipv6Addr,
    /// The interface that received it: of this machine, or of the router that reported it.
    pub interface: InterfaceName,
    /// The MAC address.
    pub mac: MacAddr,
    /// The MAC that sent the frame; the pairing's MAC again where no frame was captured. If they differ, the
    /// sender is a proxy, or forges. [`Kind::evidence`] shows whether the pairing's MAC was taken from it.
    pub source: MacAddr,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// What the event reports.
    pub kind: Kind,
    /// The router that reported it; `0.0.0.0` if the frame was captured on this machine.
    pub router: Ipv4Addr,
}

impl Event {
    /// The configuration of a router was changed. The router's address is both the event's address
    /// and its router; the event has no MAC and no VLAN.
    pub fn config_change(
        time: UnixTime,
        name: InterfaceName,
        router: Ipv4Addr,
        change: ConfigChange,
    ) -> Event {
        let (address, kind) = (router.to_ipv6_mapped(), Kind::ConfigChange(change));
        let (mac, source) = (MacAddr::ZERO, MacAddr::ZERO);
        let (vlan, outer_vlan) = (VlanId::NONE, VlanId::NONE);
        Event { time, address, interface: name, mac, source, vlan, outer_vlan, kind, router }
    }

    /// The address in its own family. The kind decides, not the bits: an IPv6 neighbour may use a
    /// v4-mapped address, which stays IPv6.
    pub fn ip(&self) -> IpAddr {
        match self.address.to_ipv4_mapped() {
            Some(v4) if self.kind.is_ipv4() => IpAddr::V4(v4),
            _ => IpAddr::V6(self.address),
        }
    }
}
