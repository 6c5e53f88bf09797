//! Kinds of events, and what is particular to each.

use std::fmt;

use super::UserName;

/// The message that pairs a MAC with an address. The numbers are addrwatch's `origin` ids.
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
}

impl Origin {
    pub(crate) const ALL: [Origin; 6] = [
        Origin::ArpRequest,
        Origin::ArpReply,
        Origin::ArpProbe,
        Origin::NdSolicitation,
        Origin::NdAdvertisement,
        Origin::NdDad,
    ];

    /// addrwatch's name for it: `ARP_REQ`, `ARP_REP`, `ARP_ACD`, `ND_NS`, `ND_NA`, `ND_DAD`.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::ArpRequest => "ARP_REQ",
            Origin::ArpReply => "ARP_REP",
            Origin::ArpProbe => "ARP_ACD",
            Origin::NdSolicitation => "ND_NS",
            Origin::NdAdvertisement => "ND_NA",
            Origin::NdDad => "ND_DAD",
        }
    }

    const fn is_arp(self) -> bool {
        (self as u8) < Origin::NdSolicitation as u8
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

    pub(crate) const fn is_arp(self) -> bool {
        matches!(self, Kind::Pairing(origin) if origin.is_arp())
    }

    /// Whether the event's address is IPv4.
    pub const fn is_ipv4(self) -> bool {
        match self {
            Kind::Pairing(origin) => origin.is_arp(),
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
