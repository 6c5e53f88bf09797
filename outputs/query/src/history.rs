//! What a history can be asked, whatever keeps it. A back-end is one file that answers these few
//! questions; what follows from the answers is told by `spans.rs` and `who.rs`.

use std::net::IpAddr;

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

/// Where an address is unique, as far as one can tell from outside: what was heard on one interface
/// and VLAN of one host, or by one router. The ring does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    pub host: String,
    pub interface: String,
    pub vlan: i64,
    pub outer_vlan: i64,
    pub router: String,
}

/// Times from `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: UnixTime,
    pub to: UnixTime,
}

impl Range {
    pub const ALL: Range =
        Range { from: UnixTime::from_nanos(i64::MIN), to: UnixTime::from_nanos(i64::MAX) };
}

/// One sighting of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub time: UnixTime,
    /// Its place in [`History::networks`].
    pub network: usize,
    pub mac: MacAddr,
}

/// When a MAC was seen with an address, next to some time: last at or before it, first after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    pub network: usize,
    pub mac: MacAddr,
    pub before: Option<UnixTime>,
    pub after: Option<UnixTime>,
}

/// All sightings of a MAC with an address within some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairing {
    pub network: usize,
    pub mac: MacAddr,
    pub ip: IpAddr,
    pub first: UnixTime,
    pub last: UnixTime,
    pub count: u64,
}

/// The change of a router's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub time: UnixTime,
    /// Its interface is the router's name.
    pub network: usize,
    pub user: String,
    pub added: i64,
    pub removed: i64,
}

pub type Result<T = ()> = std::result::Result<T, Error>;

/// A history.
pub trait History {
    /// All networks that it has, or has named so far.
    fn networks(&self) -> &[Network];

    /// The addresses that were seen in this time, with this MAC if one is named; each once.
    fn addresses(&mut self, mac: Option<MacAddr>, range: Range) -> Result<Vec<IpAddr>>;

    /// All sightings of an address in this time, oldest first.
    fn sightings(&mut self, ip: IpAddr, range: Range, each: &mut dyn FnMut(Sighting)) -> Result;

    /// Every MAC that ever had an address, once for each network.
    fn around(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<Around>>;

    /// All pairings that were seen in this time, each at least once: what is counted twice adds up.
    fn pairings(&mut self, range: Range) -> Result<Vec<Pairing>>;

    /// All changes of routers' configurations in this time.
    fn config_changes(&mut self, range: Range) -> Result<Vec<ConfigChange>>;
}
