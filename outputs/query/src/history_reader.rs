//! What a history must answer, whatever stores it. A back-end is one file that implements
//! [`HistoryReader`]; `periods.rs` and `holders.rs` derive the rest from its answers.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    ops::Range,
    path::Path,
    time::Instant,
};

use aw_output::ClaimedName;
use aw_service::{Error, failed};
use jiff::Timestamp;
use shm_layout::{Evidence, MacAddr, Origin, UnixTime};

use crate::clocks::Clocks;
use crate::export::{ExportPosition, Exporter};
use crate::left_out::Why;
pub use crate::nearest::{Nearer, Nearest, NearestSightings};
use crate::unread::Unread;

/// Where an address is unique, as far as can be seen from outside: one interface and VLAN of one collector, or one
/// router.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    pub host: String,
    /// Of the collector: two of them on one host may each have an interface eth0. Empty where the history has none.
    pub ring: String,
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
    /// The first time.
    pub from: UnixTime,
    /// The end, which is not included.
    pub to: UnixTime,
}

impl TimeRange {
    /// The whole history.
    pub const ALL: TimeRange =
        TimeRange { from: UnixTime::from_nanos(i64::MIN), to: UnixTime::from_nanos(i64::MAX) };

    /// Of the times that a text names.
    pub fn of(times: Range<Timestamp>) -> TimeRange {
        let time = |time: Timestamp| {
            let nanos = time.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into());
            UnixTime::from_nanos(nanos as i64)
        };
        TimeRange { from: time(times.start), to: time(times.end) }
    }
}

/// What the origins prove, for SQL: those that are no claim, the probes, and the answers that name the address only.
pub const NO_CLAIM: &str = "2, 5, 7, 8, 12, 13, 14, 15, 16, 17";
pub const PROBE: &str = "2, 5";
pub const FRAME_SOURCE: &str = "7";
/// Those that are no pairing at all: a MAC that no host has, a form that hosts ignore, or a lease, which no host has used yet.
pub const NO_PAIRING: &str = "12, 13, 14, 15, 16, 17";

/// Those that do not show that the MAC uses the address: neither a claim nor an answer.
pub const NO_USE: &str = "2, 5, 8, 12, 13, 14, 15, 16, 17";

/// What a stored origin proves. 6 is a router's report; rows with any other number were written by other programs.
/// Both are claims.
pub fn evidence(origin: i64) -> Evidence {
    let origin = u8::try_from(origin).ok().and_then(Origin::from_number);
    origin.map_or(Evidence::Claim, Origin::evidence)
}

/// The same for a sighting whose frame another MAC may have sent. A repeater does so, or a host that forges: a claim in
/// such a frame proves no more than an answer that names the address only, and overrules no claim in a frame of its own.
pub fn evidence_in_frame(origin: i64, source: Option<MacAddr>) -> Evidence {
    match evidence(origin) {
        Evidence::Claim if source.is_some() => Evidence::FrameSource,
        evidence => evidence,
    }
}

/// One sighting of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSighting {
    pub time: UnixTime,
    /// Its id in [`HistoryReader::networks`].
    pub network: usize,
    pub mac: MacAddr,
    pub evidence: Evidence,
    /// The MAC that sent the frame, if it is another one.
    pub source: Option<MacAddr>,
    /// Further sightings like this one until the next, at most ten minutes apart, that the history has only as a number.
    pub more: u64,
    /// When the last one of these was, if this is the first one of several that the history has together.
    pub until: Option<UnixTime>,
}

/// All sightings of a MAC with an address in a time range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairingSummary {
    pub network: usize,
    pub mac: MacAddr,
    pub ip: IpAddr,
    /// The MAC that sent the frames, if it is another one.
    pub source: Option<MacAddr>,
    /// The first one of a clock that was set, if there is one.
    pub first: UnixTime,
    /// There are others, before it.
    pub has_undated: bool,
    pub last: UnixTime,
    /// If the question asked for it.
    pub count: Option<u64>,
    /// The MAC claimed the address.
    pub is_claimed: bool,
    /// It answered for the address without a MAC in the message, or another MAC sent the frame of its claim.
    pub is_answered: bool,
}

/// An address of a MAC in a time range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressOfMac {
    pub ip: IpAddr,
    pub first: UnixTime,
    pub last: UnixTime,
    /// The MAC did more than probe it.
    pub is_more_than_probed: bool,
    /// It did so in frames of its own.
    pub is_own: bool,
}

impl AddressOfMac {
    /// Adds other sightings of the same address.
    pub fn merge(&mut self, other: &AddressOfMac) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.is_more_than_probed |= other.is_more_than_probed;
        self.is_own |= other.is_own;
    }
}

/// See [`HistoryReader::seen_around`].
pub type SeenAround = Option<[Option<UnixTime>; 2]>;

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

/// A lease, or a registration of an IPv6 address.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub network: usize,
    pub mac: MacAddr,
    pub begin: UnixTime,
    /// It was for so long that its end is not stored.
    pub is_long: bool,
    /// When it ends or ended.
    pub until: UnixTime,
    /// The device gave it back.
    pub is_released: bool,
}

/// The numbers of the sources that are addresses, for SQL.
pub const ADDRESSES: &str = "8, 9, 10";

/// That a MAC announced itself from an address, got it from a server, or asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedAddress {
    pub network: usize,
    pub mac: MacAddr,
    pub ip: IpAddr,
    /// Why it counts for no period.
    pub why: Why,
    pub first: UnixTime,
    /// It may be an hour older than that.
    pub last: UnixTime,
    pub count: i64,
}

/// What messages that are no sighting say of a MAC: a name, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub network: usize,
    pub mac: MacAddr,
    /// None: a name.
    pub what: Option<(Why, IpAddr)>,
    pub first: UnixTime,
    /// It may be an hour older than that.
    pub last: UnixTime,
}

/// Rows that [`ClaimReader::claims`] reads of a table: each sensor stores a third of it at most.
pub const CLAIMS: usize = 200_000;

/// What MACs call themselves, each name with the id of its network.
pub type NamesOfMacs = HashMap<MacAddr, Vec<(usize, ClaimedName)>>;

/// Receives the sightings of an answer one by one.
pub type EachSighting<'a> = &'a mut dyn FnMut(AddressSighting);

/// An address of 4 or 16 bytes.
pub fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// The MAC of a column with 48 bits of it; None if it has none.
pub fn parse_mac(number: i64) -> Option<MacAddr> {
    let [0, 0, octets @ ..] = number.to_be_bytes() else { return None };
    Some(MacAddr::new(octets))
}

/// What devices say of themselves in messages that are no sighting: names, addresses and leases. A history without them has none.
pub trait ClaimReader {
    /// What these MACs call themselves, each with its network.
    fn claimed_names(&mut self, _macs: &[MacAddr]) -> Result<NamesOfMacs, Error> {
        Ok(NamesOfMacs::new())
    }

    /// The MACs that call themselves so, in upper or lower case, with `.local` or without; the one that did so first is first.
    fn macs_claiming(&mut self, _name: &str) -> Result<Vec<MacAddr>, Error> {
        Ok(Vec::new())
    }

    /// The MACs that announced themselves from an address, or asked for it; of a flood those that did so nearest to the times, half of
    /// them MACs that did so for a day.
    fn claimed_addresses(
        &mut self,
        _ip: IpAddr,
        _near: TimeRange,
    ) -> Result<Vec<ClaimedAddress>, Error> {
        Ok(Vec::new())
    }

    /// The addresses that a MAC announced itself from, or asked for: a history stores few of each.
    fn addresses_claimed_by(&mut self, _mac: MacAddr) -> Result<Vec<ClaimedAddress>, Error> {
        Ok(Vec::new())
    }

    /// What messages say of all MACs, with the first or the last one in this time range; and whether there are more than are read, the oldest
    /// ones.
    fn claims(&mut self, _range: TimeRange) -> Result<(Vec<Claim>, bool), Error> {
        Ok((Vec::new(), false))
    }

    /// From when until when a MAC might use an address, as a DHCP server says, or a device that registers it: the latest ones that began
    /// before a time.
    fn leases(&mut self, _of: (IpAddr, MacAddr), _at: UnixTime) -> Result<Vec<Lease>, Error> {
        Ok(Vec::new())
    }
}

/// A history.
pub trait HistoryReader: ClaimReader {
    /// All networks of the history, or those of its answers so far.
    fn networks(&self) -> &[Network];

    /// From when on the clock of each network counts as set.
    fn clocks(&self) -> &Clocks;

    /// The addresses that were seen in this time range, each once.
    fn addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error>;

    /// Those of them that may have a change in this time range. A reader may omit an address with one pairing in its whole history,
    /// which was claimed before.
    fn changed_addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.addresses(range)
    }

    /// Those of one MAC, also of messages that are no pairing.
    fn addresses_of(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<AddressOfMac>, Error>;

    /// Those of messages with other MACs that this MAC sent. One may come several times.
    fn addresses_sent_by(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<IpAddr>, Error>;

    /// The number of sightings of an address in this time range, and for each of its pairings at any time 10 more: or more than
    /// `limit`, if there are more. It reads no more than that.
    fn weight(&mut self, ip: IpAddr, range: TimeRange, limit: u64) -> Result<u64, Error>;

    /// All sightings of an address in this time range, oldest first.
    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error>;

    /// Announces that the sightings of these addresses in a time range are asked for next: a reader may read them together.
    fn read_ahead(&mut self, _addresses: &[IpAddr], _range: TimeRange) -> Result<(), Error> {
        Ok(())
    }

    /// Copies the whole history to an empty file.
    fn copy(&mut self, _to: &Path) -> Result<(), Error> {
        Err(failed(
            "copy: only a database of aw-sqlite can be copied (use the server's own tool, such as mariadb-dump)",
        ))
    }

    /// Exports what follows a position, to which it adds what is printed. Returns false if it has to be called again, of a
    /// reader that is opened again.
    fn export(&mut self, _to: &mut Exporter, _from: &mut ExportPosition) -> Result<bool, Error> {
        Ok(true)
    }

    /// Ends each statement at this time, with an error. Of the pairings, the addresses and the addresses of a MAC, each answer
    /// has so many at most; of the pairings the oldest and the newest half, and beyond that those that are seen now.
    fn limit(&mut self, _end: Instant, _most: usize) -> Result<(), Error> {
        Ok(())
    }

    /// Whether an answer so far has fewer than there are, by that limit.
    fn is_cut(&self) -> bool {
        false
    }

    /// How many rows a list of changes has at most; with more, it is cut.
    fn most_rows(&self) -> usize {
        usize::MAX
    }

    /// An answer has fewer rows than there are.
    fn cut(&mut self) {}

    /// What is not as it should be in this history, such as rows that are not searched.
    fn remarks(&self) -> &[String] {
        &[]
    }

    /// What the rings on this machine have, and this history does not have yet.
    fn unread(&mut self) -> Vec<Unread> {
        Vec::new()
    }

    /// Whether all answers so far are of one state of the history. If not, they are to be discarded.
    fn is_intact(&self) -> Result<bool, Error> {
        Ok(true)
    }

    /// Every MAC that ever sent a message about an address, once for each network and MAC that sent the frames.
    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error>;

    /// The same for each of several addresses, in their order, which is that of [`HistoryReader::addresses`]. A reader may omit
    /// the first claims.
    fn nearest_of_each(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
    ) -> Result<Vec<Vec<NearestSightings>>, Error> {
        addresses.iter().map(|ip| self.nearest(*ip, at)).collect()
    }

    /// Times without a gap of more than ten minutes around a time, as far as the history has no single sightings there: network,
    /// first and last sighting of a MAC with an address.
    fn presence(
        &mut self,
        _pairing: (IpAddr, MacAddr),
        _at: UnixTime,
    ) -> Result<Vec<(usize, UnixTime, UnixTime)>, Error> {
        Ok(Vec::new())
    }

    /// When anything at all was seen in a network: last at or before a time, and first after it; if that is within ten minutes, a
    /// reader may give any such time. None: that is not known, because it would take too many rows.
    fn seen_around(&mut self, _network: usize, _at: UnixTime) -> Result<SeenAround, Error> {
        Ok(None)
    }

    /// All pairings of this time range. A pairing may come several times; the counts add up. To count takes a step for each
    /// sighting; without it, an answer takes a few searches for each pairing.
    fn pairings(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error>;

    /// Those of these MACs that claimed an address or answered for one, at any time and in any network: a few searches for each. It is asked about
    /// MACs of [`ClaimReader::claims`] only.
    fn macs_in_use(&mut self, _macs: &[MacAddr]) -> Result<HashSet<MacAddr>, Error> {
        Ok(HashSet::new())
    }

    /// Whether a MAC ever claimed an address in frames of its own.
    fn has_own_claims(&mut self, mac: MacAddr) -> Result<bool, Error>;

    /// Whether the interface of a network has a sighting of a clock that was set.
    fn is_clock_set(&mut self, network: usize) -> Result<bool, Error>;

    /// All configuration changes of routers in this time range.
    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use aw_output::NameSource;

    /// The lists of numbers in SQL are those of the origins.
    #[test]
    fn numbers_of_origins() {
        let numbers = |wanted: fn(Evidence) -> bool| {
            let numbers = (0..=99).filter(|number| wanted(evidence(*number)));
            numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(numbers(|evidence| evidence != Evidence::Claim), NO_CLAIM);
        assert_eq!(numbers(|evidence| evidence == Evidence::Probe), PROBE);
        assert_eq!(numbers(|evidence| evidence == Evidence::FrameSource), FRAME_SOURCE);
        assert_eq!(numbers(|evidence| !evidence.is_pairing()), NO_PAIRING);
        let no_use = |one| !matches!(one, Evidence::Claim | Evidence::FrameSource);
        assert_eq!(numbers(no_use), NO_USE);
        let addresses = NameSource::ALL.into_iter().filter(|source| source.is_address());
        let addresses: Vec<_> = addresses.map(|source| (source as u8).to_string()).collect();
        assert_eq!(addresses.join(", "), ADDRESSES);
    }
}
