//! What a history must answer, whatever stores it. A back-end is one file that implements
//! [`HistoryReader`]; `periods.rs` and `holders.rs` derive the rest from its answers.

use std::{collections::HashMap, net::IpAddr};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

/// Where an address is unique, as far as can be seen from outside: one interface and VLAN of one host, or one
/// router. The ring does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    pub host: String,
    pub interface: String,
    pub vlan: i64,
    pub outer_vlan: i64,
    pub router: String,
}

/// The networks found so far; a network's id is its index.
#[derive(Default)]
pub struct NetworkIndex {
    all: Vec<Network>,
    ids: HashMap<Network, usize>,
}

impl NetworkIndex {
    /// The id of a network, which is added if it is new.
    pub fn id(&mut self, network: Network) -> usize {
        let id = *self.ids.entry(network.clone()).or_insert(self.all.len());
        if id == self.all.len() {
            self.all.push(network);
        }
        id
    }

    pub fn all(&self) -> &[Network] {
        &self.all
    }
}

/// Times from `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub from: UnixTime,
    pub to: UnixTime,
}

impl TimeRange {
    pub const ALL: TimeRange =
        TimeRange { from: UnixTime::from_nanos(i64::MIN), to: UnixTime::from_nanos(i64::MAX) };
}

/// One sighting of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSighting {
    pub time: UnixTime,
    /// Its id in [`HistoryReader::networks`].
    pub network: usize,
    pub mac: MacAddr,
}

/// The sightings of a MAC with an address that are nearest to a time: the last one at or before it, and the
/// first one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearestSightings {
    pub network: usize,
    pub mac: MacAddr,
    pub before: Option<UnixTime>,
    pub after: Option<UnixTime>,
}

/// All sightings of a MAC with an address in a time range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairingSummary {
    pub network: usize,
    pub mac: MacAddr,
    pub ip: IpAddr,
    pub first: UnixTime,
    pub last: UnixTime,
    pub count: u64,
}

/// A change of a router's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterChange {
    pub time: UnixTime,
    /// Its interface is the router's name.
    pub network: usize,
    pub user: String,
    pub added: i64,
    pub removed: i64,
}

/// Receives the sightings of an answer one by one.
pub type EachSighting<'a> = &'a mut dyn FnMut(AddressSighting);

/// An address of 4 or 16 bytes.
pub fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// A history.
pub trait HistoryReader {
    /// All networks of the history, or those of its answers so far.
    fn networks(&self) -> &[Network];

    /// The addresses that were seen in this time range, or only those of one MAC; each once.
    fn addresses(&mut self, mac: Option<MacAddr>, range: TimeRange) -> Result<Vec<IpAddr>, Error>;

    /// All sightings of an address in this time range, oldest first.
    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error>;

    /// Every MAC that was ever seen with an address, once for each network.
    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error>;

    /// All pairings of this time range. A pairing may come several times; the counts add up.
    fn pairings(&mut self, range: TimeRange) -> Result<Vec<PairingSummary>, Error>;

    /// All configuration changes of routers in this time range.
    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error>;
}
