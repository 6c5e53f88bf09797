//! Kinds of events, and what is particular to each.

use std::fmt;

use super::UserName;

/// The message that pairs a MAC with an address. The numbers up to 5 are addrwatch's `origin` ids; 6 stands for a
/// router's report where these numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Origin {
    /// ARP request: sender's MAC and address.
    ArpRequest = 0,
    /// ARP reply: sender's MAC and address.
    ArpReply = 1,
    /// ARP probe, which checks whether an address is free (RFC 5227): sender's MAC and target
    /// address.
    ArpProbe = 2,
    /// Neighbor Solicitation: source link-layer option and source address.
    NdSolicitation = 3,
    /// Neighbor Advertisement: target link-layer option and target address.
    NdAdvertisement = 4,
    /// Duplicate Address Detection: Ethernet source and target address.
    NdDad = 5,
    /// Solicited Neighbor Advertisement without a link-layer option, which may be left out in the answer to a
    /// unicast solicitation (RFC 4861, 4.4): the frame's source and target address.
    NdAdvertisementFrameSource = 7,
    /// Unicast Neighbor Solicitation without a link-layer option: the frame's source and source address.
    NdSolicitationFrameSource = 8,
    /// Router Advertisement: source link-layer option and source address.
    NdRouterAdvertisement = 9,
    /// Redirect: target link-layer option and target address, which are another host's than the sender.
    NdRedirect = 10,
    /// Router Solicitation: source link-layer option and source address. A router takes it for a claim.
    NdRouterSolicitation = 11,
    /// Any ARP message that gives an address a MAC which no host has: a group MAC, broadcast among them, or zero.
    ArpNoHost = 12,
    /// Any Neighbor Discovery message that does so.
    NdNoHost = 13,
    /// Any ARP message in a form that Linux ignores and other hosts may accept: in a SNAP header.
    ArpIgnored = 14,
    /// Any Neighbor Discovery message in such a form: in a SNAP header, or behind a routing header.
    NdIgnored = 15,
    /// Acknowledgement of a DHCP server: the client's MAC and the address that it gave.
    DhcpAck = 16,
    /// Registration of an IPv6 address (RFC 9686): the frame's source, or what the relay found, and the address.
    AddressRegistration = 17,
}

/// What an event proves about its MAC and address. All of it is claimed by the sender: nothing is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The message names both: the MAC claims the address.
    Claim,
    /// An answer that names the address only, in a frame of this MAC: a claim that never overrules one of another
    /// MAC that names both.
    FrameSource,
    /// A question from the address in a frame of this MAC: it shows that a pairing that is known is still in use.
    SignOfLife,
    /// The MAC asks whether the address is free: no claim.
    Probe,
    /// The message gives the address a MAC that no host has: a host that takes it cannot reach the address, or sends what
    /// is for it to everybody. An attack or a cluster's group MAC, never a device.
    NoHost,
    /// A claim in a form that Linux ignores: an attempt.
    Ignored,
    /// A server gave the address to the MAC, or the MAC registered it: it may use it, and no neighbour cache was changed.
    Lease,
}

impl Evidence {
    /// Whether it says that the MAC uses, or wants to use, the address: not if no host has the MAC, if hosts ignore the form, or if
    /// it is a lease.
    pub const fn is_pairing(self) -> bool {
        !matches!(self, Evidence::NoHost | Evidence::Ignored | Evidence::Lease)
    }
}

impl Origin {
    pub(crate) const ALL: [Origin; 17] = [
        Origin::ArpRequest,
        Origin::ArpReply,
        Origin::ArpProbe,
        Origin::NdSolicitation,
        Origin::NdAdvertisement,
        Origin::NdDad,
        Origin::NdAdvertisementFrameSource,
        Origin::NdSolicitationFrameSource,
        Origin::NdRouterAdvertisement,
        Origin::NdRedirect,
        Origin::NdRouterSolicitation,
        Origin::ArpNoHost,
        Origin::NdNoHost,
        Origin::ArpIgnored,
        Origin::NdIgnored,
        Origin::DhcpAck,
        Origin::AddressRegistration,
    ];

    /// The origin with a number, if there is one.
    #[inline]
    pub const fn from_number(number: u8) -> Option<Origin> {
        match number {
            0..=5 => Some(Origin::ALL[number as usize]),
            7..=17 => Some(Origin::ALL[number as usize - 1]),
            _ => None,
        }
    }

    /// addrwatch's name for it: `ARP_REQ`, `ARP_REP`, `ARP_ACD`, `ND_NS`, `ND_NA`, `ND_DAD`; for the others, ours.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::ArpRequest => "ARP_REQ",
            Origin::ArpReply => "ARP_REP",
            Origin::ArpProbe => "ARP_ACD",
            Origin::NdSolicitation | Origin::NdSolicitationFrameSource => "ND_NS",
            Origin::NdAdvertisement | Origin::NdAdvertisementFrameSource => "ND_NA",
            Origin::NdDad => "ND_DAD",
            Origin::NdRouterAdvertisement => "ND_RA",
            Origin::NdRedirect => "ND_RD",
            Origin::NdRouterSolicitation => "ND_RS",
            Origin::ArpNoHost => "ARP_NO_HOST",
            Origin::NdNoHost => "ND_NO_HOST",
            Origin::ArpIgnored => "ARP_IGNORED",
            Origin::NdIgnored => "ND_IGNORED",
            Origin::DhcpAck => "DHCP_ACK",
            Origin::AddressRegistration => "ADDR_REG",
        }
    }

    /// What a message of this origin proves.
    pub const fn evidence(self) -> Evidence {
        match self {
            Origin::ArpRequest
            | Origin::ArpReply
            | Origin::NdSolicitation
            | Origin::NdAdvertisement
            | Origin::NdRouterAdvertisement
            | Origin::NdRedirect
            | Origin::NdRouterSolicitation => Evidence::Claim,
            Origin::NdAdvertisementFrameSource => Evidence::FrameSource,
            Origin::NdSolicitationFrameSource => Evidence::SignOfLife,
            Origin::ArpProbe | Origin::NdDad => Evidence::Probe,
            Origin::ArpNoHost | Origin::NdNoHost => Evidence::NoHost,
            Origin::ArpIgnored | Origin::NdIgnored => Evidence::Ignored,
            Origin::DhcpAck | Origin::AddressRegistration => Evidence::Lease,
        }
    }

    const fn is_ipv4(self) -> bool {
        matches!(
            self,
            Origin::ArpRequest
                | Origin::ArpReply
                | Origin::ArpProbe
                | Origin::ArpNoHost
                | Origin::ArpIgnored
                | Origin::DhcpAck
        )
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A change of a router's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConfigChange {
    /// The user who made it; `UNKNOWN` if the user could not be determined.
    pub user: UserName,
    /// Number of lines added.
    pub added: u32,
    /// Number of lines removed.
    pub removed: u32,
}

/// What an event reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A frame paired a MAC with an address.
    Pairing(Origin),
    /// A router reported an entry of its ARP table.
    MacUpd,
    /// A router's configuration was changed: [`Event::config_change`](crate::Event::config_change).
    ConfigChange(ConfigChange),
}

impl Kind {
    /// The kind's name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Pairing(_) => "pairing",
            Kind::MacUpd => "macupd",
            Kind::ConfigChange(_) => "config_change",
        }
    }

    /// The last word of the text line: a pairing's origin, `MACUPD`, or `CONFIG`, after which the
    /// line has details of the change.
    pub const fn origin(self) -> &'static str {
        match self {
            Kind::Pairing(origin) => origin.name(),
            Kind::MacUpd => "MACUPD",
            Kind::ConfigChange(_) => "CONFIG",
        }
    }

    /// What the event proves about its MAC and address. A router's report is a claim of the router.
    pub const fn evidence(self) -> Evidence {
        match self {
            Kind::Pairing(origin) => origin.evidence(),
            Kind::MacUpd | Kind::ConfigChange(_) => Evidence::Claim,
        }
    }

    pub(crate) const fn is_ipv4_pairing(self) -> bool {
        matches!(self, Kind::Pairing(origin) if origin.is_ipv4())
    }

    /// Whether the event's address is IPv4.
    pub const fn is_ipv4(self) -> bool {
        match self {
            Kind::Pairing(origin) => origin.is_ipv4(),
            Kind::MacUpd | Kind::ConfigChange(_) => true,
        }
    }
}

/// An event of a kind or origin that this reader does not know: a newer collector wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEvent {
    /// The kind's number.
    pub kind: u8,
    /// The origin's number.
    pub origin: u8,
}
