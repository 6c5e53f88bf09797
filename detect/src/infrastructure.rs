//! What is known of a network's routers and servers: what the rules about rogue ones compare with.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use shm_layout::MacAddr;

use crate::{device::span, rules::Memory};

/// After so many seconds, what was reported as new is known: what changes it is reported, too.
const KNOWN_AFTER: i64 = 86_400;

macro_rules! parts {
    ($($(#[$doc:meta])* $part:ident $name:literal)*) => {
        /// What is stored under a key, for each network.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Part {
            $($(#[$doc])* $part,)*
        }

        impl Part {
            /// Its name in the database.
            pub fn name(self) -> &'static str {
                match self {
                    $(Part::$part => $name,)*
                }
            }

            /// The part with this name.
            pub fn named(name: &str) -> Option<Part> {
                [$(Part::$part),*].into_iter().find(|part| part.name() == name)
            }
        }
    };
}

parts! {
    /// A DHCP server: its address, its DUID, or `mac` and its MAC.
    DhcpServer "dhcp_server"
    /// A DHCP server, and a MAC that answered for it.
    DhcpServerMac "dhcp_server_mac"
    /// A router's address.
    Router "router"
    /// A router, and a MAC that announced it.
    RouterMac "router_mac"
    /// A router, and something that it announced.
    Setting "setting"
    /// A DNS server's address.
    Dns "dns"
    /// A router, and where it redirected to.
    Redirect "redirect"
    /// An address that a DHCP client found in use.
    Conflict "conflict"
    /// A DHCP server, and something that it set.
    DhcpSetting "dhcp_setting"
    /// A kind of message that was refused, its source and its MAC.
    Refused "refused"
    /// Of an interface: alerts of a kind within an hour.
    Limit "limit"
    /// Of an interface: when it began to learn.
    Period "period"
}

/// Why it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The learning period saw it.
    #[default]
    Learned,
    /// It was reported.
    Reported,
    /// It was in the digest, because it is harmless by what it announces.
    Harmless,
    /// The configuration names it: it gives way to what was learned.
    Named,
}

/// What is stored of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When it was first seen.
    pub first: i64,
    /// When it was last seen: to a minute of what people list, to an hour of others.
    pub last: i64,
    /// Why it is stored.
    pub trust: Trust,
    /// Its first MAC.
    pub mac: Option<MacAddr>,
    /// Of a router: 1 while it announces itself. Of what it announces: 1 once that is withdrawn. Of a limit: how many were reported. Of a
    /// period: 1 once it is over. Of a MAC that answered for a DHCP server, or announced a router: 1 if what it names is reported, as of
    /// a known one.
    pub number: i64,
    /// Of a router and of what it announces: when its withdrawal was last reported. Of a router's MAC: when it was last reported that it
    /// took the address. Of a DHCP server: the number of its first answer. Of a MAC that answered for one: from when on a lease of it is
    /// reported. Of a limit: how many were not reported. Of a period: how many seconds it lasts.
    pub further: i64,
    /// Of a router: what it announced last.
    pub text: String,
}

impl Known {
    /// Something that is seen for the first time.
    pub(crate) fn new(time: i64, trust: Trust) -> Known {
        Known { first: time, last: time, trust, ..Known::default() }
    }

    /// Whether what changes it is to be reported: an attacker's own is reported once.
    pub(crate) fn is_known(&self, time: i64) -> bool {
        match self.trust {
            Trust::Learned | Trust::Named => true,
            Trust::Reported => span(self.first, time).is_some_and(|age| age >= KNOWN_AFTER),
            Trust::Harmless => false,
        }
    }
}

/// The memory of routers and servers.
pub trait InfrastructureMemory: Memory {
    /// What is known of it in a network, by its full name.
    fn known(&mut self, network: &str, part: Part, key: &str)
    -> Result<Option<Known>, Self::Error>;
    /// Stores it. Where too many are stored, one that was not learned goes; if all were learned, this one is not stored.
    fn store_known(
        &mut self,
        network: &str,
        part: Part,
        key: &str,
        known: &Known,
    ) -> Result<(), Self::Error>;
    /// The MACs of a router or server, whose keys begin with its key, and what is known of each.
    fn macs(
        &mut self,
        network: &str,
        part: Part,
        key: &str,
    ) -> Result<Vec<(MacAddr, Known)>, Self::Error>;
    /// All keys of a network.
    fn keys(&mut self, network: &str, part: Part) -> Result<Vec<String>, Self::Error>;
}

/// MACs beside an address: those of a cluster, at most.
pub const MAX_MACS: usize = 16;

/// A server that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedServer {
    /// Its address, or a block of them.
    Addresses(IpNet),
    /// Its address, and its MACs there: no other one is its own. At least one.
    Owned(IpAddr, Vec<MacAddr>),
    /// The DUID of a DHCPv6 server, in lower case without separators.
    Duid(String),
}

impl NamedServer {
    /// Its address, if it is no block and no DUID.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            NamedServer::Addresses(block) if *block == block.addr().into() => Some(block.addr()),
            NamedServer::Owned(ip, _) => Some(*ip),
            _ => None,
        }
    }

    /// Whether it has this address.
    pub fn includes(&self, ip: IpAddr) -> bool {
        match self {
            NamedServer::Addresses(block) => block.contains(&ip),
            NamedServer::Owned(own, _) => *own == ip,
            NamedServer::Duid(_) => false,
        }
    }

    /// Its address, block or DUID, without its MACs.
    pub fn key(&self) -> String {
        match self {
            NamedServer::Owned(ip, _) => ip.to_string(),
            NamedServer::Duid(duid) => format!("DUID {duid}"),
            NamedServer::Addresses(block) => {
                self.address().map_or_else(|| block.to_string(), |ip| ip.to_string())
            }
        }
    }

    /// Its MACs, if the configuration has them.
    pub fn macs(&self) -> &[MacAddr] {
        match self {
            NamedServer::Owned(_, macs) => macs,
            _ => &[],
        }
    }
}

/// As the configuration has it.
impl fmt::Display for NamedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())?;
        self.macs().iter().try_for_each(|mac| write!(f, " {mac}"))
    }
}

/// Whether the list has this address.
pub(crate) fn includes(list: &[NamedServer], ip: IpAddr) -> bool {
    list.iter().any(|one| one.includes(ip))
}

/// Whether the list has this address itself, and not only a block that includes it.
pub(crate) fn names(list: &[NamedServer], ip: IpAddr) -> bool {
    list.iter().any(|one| one.address() == Some(ip))
}

/// Whether a host can have it: some servers name 255.255.255.255.
pub(crate) fn usable(ip: Option<IpAddr>) -> Option<IpAddr> {
    ip.filter(|ip| {
        let is_of_none = match ip {
            IpAddr::V4(ip) => ip.is_broadcast() || matches!(ip.octets()[0], 0 | 240..),
            IpAddr::V6(_) => false,
        };
        !(is_of_none || ip.is_unspecified() || ip.is_multicast() || ip.is_loopback())
    })
}
