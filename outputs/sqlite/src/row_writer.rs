//! Writes the rows of an event: its place, its pairing and the sighting; or a configuration change.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use aw_output::{Entry, NameEntry, warn};
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::{ConfigChange, Event, InterfaceName, Kind, MacAddr, NameRecord, RingName, VlanId};

use crate::{
    clock_check::{CLOCK_SET, CLOCK_SET_WITHOUT_RING},
    compaction::{examine_late, examined_before},
    filing::{filed_before, insert, insert_recent},
};

/// The origin of a router's report: the number after addrwatch's own origins.
const MACUPD: u8 = 6;

/// Cached ids of pairings: another one costs a search in the database. At most 6 MB.
const CACHED_PAIRINGS: usize = 1 << 16;
/// Rings with cached ids of places; one that moves to another host is another one.
const CACHED_RINGS: usize = 64;
/// Cached ids of places of a ring; forged VLAN tags can make any number of places. At most 1 MB.
const CACHED_PLACES: usize = 1 << 12;
/// Places of an interface that are stacks of two VLANs, of which a host can forge 16 million. Further ones are stored as
/// one place: an address is searched in each place of its pairings. Each of the 4,094 VLANs, and each router that reports,
/// has a place of its own, whatever stacks were forged before.
const STACKS_OF_INTERFACE: usize = 1 << 14;
/// Stands for their number after the message that there are too many.
const REPORTED: usize = usize::MAX;
/// The VLANs of that place.
const MORE_STACKS: i64 = -1;
/// The frame's source, where it is the pairing's MAC, or not known.
pub const OWN_FRAME: i64 = -1;

/// Caches the ids of places and pairings, and collects the events and sightings of a transaction.
#[derive(Default)]
pub struct RowWriter {
    rings: Vec<RingPlaces>,
    /// Events, with the index of their ring, of which nothing is written yet: while they are collected, other programs
    /// can write to the database.
    events: Vec<(usize, Event)>,
    pairings: HashMap<(i64, MacAddr, IpAddr, i64), i64>,
    /// Pairing, time and origin of the transaction's sightings: events, and old rows that are imported. Sorted, these touch
    /// each page once.
    sightings: Vec<(i64, i64, i64)>,
    imported: Vec<(i64, i64, i64)>,
    /// Whether late rows were written, from before what compaction examines. To be set to false by the reader.
    pub has_late: bool,
}

/// What is distinguished in a ring: interface, VLANs, and the router that reported the pairing.
type PlaceKey = (InterfaceName, VlanId, VlanId, Ipv4Addr);

struct RingPlaces {
    name: RingName,
    host: String,
    places: HashMap<PlaceKey, i64>,
    /// How many stacks of VLANs an interface has in the database.
    stacks: HashMap<InterfaceName, usize>,
}

/// A sighting that is to be written.
#[derive(Clone, Copy)]
pub struct SightingRow {
    /// The id of its place.
    pub place: i64,
    pub mac: MacAddr,
    pub ip: IpAddr,
    /// The MAC that sent the frame, or [`OWN_FRAME`].
    pub source: i64,
    /// Nanoseconds since 1970.
    pub time: i64,
    pub origin: u8,
}

impl RowWriter {
    /// To be called after pairings were deleted.
    pub fn clear_pairings(&mut self) {
        self.pairings.clear();
    }

    /// To be called after places were deleted.
    pub fn clear_places(&mut self) {
        for ring in &mut self.rings {
            ring.places.clear();
            ring.stacks.clear();
        }
    }

    /// Adds an event, without using the database.
    pub fn add_event(&mut self, entry: &Entry) {
        let index = self.ring_index(entry.host, entry.ring);
        self.events.push((index, entry.event));
    }

    fn write_event(
        &mut self,
        database: &Connection,
        ring: usize,
        event: &Event,
    ) -> rusqlite::Result<()> {
        let Event { interface, vlan, outer_vlan, router, .. } = *event;
        let place = self.place_of(database, ring, (interface, vlan, outer_vlan, router))?;
        let origin = match event.kind {
            Kind::Pairing(origin) => origin as u8,
            Kind::MacUpd => MACUPD,
            Kind::ConfigChange(change) => {
                let ConfigChange { user, added, removed } = change;
                let insert = "INSERT INTO config_change VALUES (?, ?, ?, ?, ?)";
                let row = params![event.time.as_nanos(), place, user.as_str(), added, removed];
                return database.prepare_cached(insert)?.execute(row).map(drop);
            }
        };
        let (mac, ip, time) = (event.mac, event.ip(), event.time.as_nanos());
        let forwarded = Some(event.source).filter(|source| *source != mac);
        let source = forwarded.map_or(OWN_FRAME, |source| source.number() as i64);
        let sighting = SightingRow { place, mac, ip, source, time, origin };
        let pairing = self.pairing_of(database, &sighting, || event.ip_text().to_string())?;
        self.sightings.push((pairing, time, origin.into()));
        Ok(())
    }

    /// Adds an old sighting; `text` is its address as addrwatch writes it.
    pub fn add_imported(
        &mut self,
        database: &Connection,
        sighting: &SightingRow,
        text: impl FnOnce() -> String,
    ) -> rusqlite::Result<()> {
        let pairing = self.pairing_of(database, sighting, text)?;
        self.imported.push((pairing, sighting.time, sighting.origin.into()));
        Ok(())
    }

    fn pairing_of(
        &mut self,
        database: &Connection,
        sighting: &SightingRow,
        text: impl FnOnce() -> String,
    ) -> rusqlite::Result<i64> {
        let SightingRow { place, mac, ip, source, .. } = *sighting;
        Ok(match self.pairings.get(&(place, mac, ip, source)) {
            Some(pairing) => *pairing,
            None => {
                let pairing = pairing_id(database, sighting, &text())?;
                if self.pairings.len() >= CACHED_PAIRINGS {
                    self.pairings.clear();
                }
                self.pairings.insert((place, mac, ip, source), pairing);
                pairing
            }
        })
    }

    /// Writes the events and sightings. To be called before the end of the transaction. Returns how many rows it added to the
    /// recent ones.
    pub fn write_rows(&mut self, database: &Connection) -> rusqlite::Result<usize> {
        for (ring, event) in std::mem::take(&mut self.events) {
            self.write_event(database, ring, &event)?;
        }
        if self.rings.len() > CACHED_RINGS {
            self.rings.clear(); // the events that have its indices are written
        }
        // What comes late, from a spool or another ring, is examined again. It is filed at once: those that are not filed bound a pass.
        let (filed, examined) = (filed_before(database)?, examined_before(database)?);
        let mut recent = 0;
        for row @ (_, time, _) in self.sightings.drain(..) {
            if time < filed || (CLOCK_SET..examined).contains(&time) {
                self.imported.push(row);
            } else {
                insert_recent(database, row)?;
                recent += 1;
            }
        }
        self.imported.sort_unstable();
        let mut late = None;
        for row @ (pairing, time, _) in self.imported.drain(..) {
            let is_late = (CLOCK_SET_WITHOUT_RING..examined).contains(&time);
            self.has_late |= is_late;
            if is_late && late.replace(pairing) != Some(pairing) {
                examine_late(database, pairing, time)?;
            }
            insert(database, row)?;
        }
        Ok(recent)
    }

    fn ring_index(&mut self, host: &str, ring: &RingName) -> usize {
        let is_same = |known: &RingPlaces| known.name == *ring && known.host == host;
        self.rings.iter().position(is_same).unwrap_or_else(|| {
            let (name, host) = (ring.clone(), host.to_owned());
            let (places, stacks) = (HashMap::new(), HashMap::new());
            self.rings.push(RingPlaces { name, host, places, stacks });
            self.rings.len() - 1
        })
    }

    /// The id of the place where a device named itself, if it exists. Nothing is written.
    pub fn known_place_of_name(
        &mut self,
        database: &Connection,
        NameEntry { host, ring, record }: &NameEntry,
    ) -> rusqlite::Result<Option<i64>> {
        let index = self.ring_index(host, ring);
        let NameRecord { interface, vlan, outer_vlan, .. } = *record;
        let key = (interface, vlan, outer_vlan, Ipv4Addr::UNSPECIFIED);
        if let Some(place) = self.rings[index].places.get(&key) {
            return Ok(Some(*place));
        }
        let vlans = [vlan, outer_vlan].map(|vlan| i64::from(vlan.get()));
        let known = known_place(database, [host, ring.as_str(), interface.as_str(), ""], vlans)?;
        known.map(|_| self.place_of(database, index, key)).transpose() // which remembers it
    }

    /// The id of the place where a device named itself, which is created if it does not exist.
    pub fn place_of_name(
        &mut self,
        database: &Connection,
        NameEntry { host, ring, record }: &NameEntry,
    ) -> rusqlite::Result<i64> {
        let ring = self.ring_index(host, ring);
        let none = Ipv4Addr::UNSPECIFIED;
        self.place_of(database, ring, (record.interface, record.vlan, record.outer_vlan, none))
    }

    fn place_of(
        &mut self,
        database: &Connection,
        ring: usize,
        key: PlaceKey,
    ) -> rusqlite::Result<i64> {
        let RingPlaces { name, host, places, stacks } = &mut self.rings[ring];
        let (interface, vlan, outer_vlan, router) = key;
        if let Some(place) = places.get(&key) {
            return Ok(*place);
        }
        let reporter = Some(router).filter(|router| !router.is_unspecified());
        let router = reporter.map(|router| router.to_string()).unwrap_or_default();
        let vlans = [vlan, outer_vlan].map(|vlan| i64::from(vlan.get()));
        let names = [host, name.as_str(), interface.as_str(), &router];
        let id = match known_place(database, names, vlans)? {
            Some(id) => id,
            None if vlans[1] == 0 || reporter.is_some() => place_id(database, names, vlans)?,
            None => {
                let count = match stacks.get_mut(&interface) {
                    Some(count) => count,
                    None => {
                        let count = count_stacks(database, host, name.as_str(), interface.as_str());
                        stacks.entry(interface).or_insert(count?)
                    }
                };
                if *count >= STACKS_OF_INTERFACE && *count < REPORTED {
                    warn(format_args!(
                        "{interface} of ring {} has {count} stacks of VLANs: further ones are stored as VLAN {MORE_STACKS} (if there are not so many, a host forges them)",
                        name.as_str()
                    ));
                    *count = REPORTED;
                }
                if *count < STACKS_OF_INTERFACE {
                    *count += 1;
                    place_id(database, names, vlans)?
                } else {
                    place_id(database, names, [MORE_STACKS; 2])?
                }
            }
        };
        if places.len() >= CACHED_PLACES {
            places.clear();
        }
        places.insert(key, id);
        Ok(id)
    }
}

/// How many stacks of VLANs an interface has, without the place of all further ones.
fn count_stacks(
    database: &Connection,
    host: &str,
    ring: &str,
    interface: &str,
) -> rusqlite::Result<usize> {
    let count = "SELECT count(*) FROM place
        WHERE host = ? AND ring = ? AND interface = ? AND outer_vlan > 0 AND router = ''";
    let count = database
        .prepare_cached(count)?
        .query_row([host, ring, interface], |row| row.get::<_, i64>(0));
    Ok(usize::try_from(count?).unwrap_or(0))
}

/// The id of a place, if it exists.
pub fn known_place(
    database: &Connection,
    [host, ring, interface, router]: [&str; 4],
    [vlan, outer_vlan]: [i64; 2],
) -> rusqlite::Result<Option<i64>> {
    let select = "SELECT id FROM place WHERE host = ? AND ring = ? AND interface = ? AND vlan = ?
        AND outer_vlan = ? AND router = ?";
    let row = params![host, ring, interface, vlan, outer_vlan, router];
    database.prepare_cached(select)?.query_row(row, |row| row.get(0)).optional()
}

/// The id of a place, which is created if it does not exist.
pub fn place_id(database: &Connection, names: [&str; 4], vlans: [i64; 2]) -> rusqlite::Result<i64> {
    if let Some(known) = known_place(database, names, vlans)? {
        return Ok(known);
    }
    let ([host, ring, interface, router], [vlan, outer_vlan]) = (names, vlans);
    let insert = "INSERT INTO place (host, ring, interface, vlan, outer_vlan, router)
        VALUES (?, ?, ?, ?, ?, ?)";
    let row = params![host, ring, interface, vlan, outer_vlan, router];
    database.prepare_cached(insert)?.insert(row)
}

/// An address as the table has it.
pub fn ip_bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

/// The id of a pairing, which is created if it does not exist.
fn pairing_id(database: &Connection, sighting: &SightingRow, text: &str) -> rusqlite::Result<i64> {
    let SightingRow { place, mac, ip, source, .. } = *sighting;
    let bytes = ip_bytes(&ip);
    let mac = mac.number() as i64;
    let select =
        "SELECT id FROM pairing WHERE address = ? AND mac = ? AND place = ? AND source = ?";
    let key = params![bytes, mac, place, source];
    let known = database.prepare_cached(select)?.query_row(key, |row| row.get(0));
    if let Some(known) = known.optional()? {
        return Ok(known);
    }
    let insert = "INSERT INTO pairing (address, mac, place, ip, source) VALUES (?, ?, ?, ?, ?)";
    database.prepare_cached(insert)?.insert(params![bytes, mac, place, text, source])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use shm_layout::{UnixTime, UserName};
    use std::collections::HashSet;

    /// Forged VLAN tags fill neither the memory nor the database, and a place that left the cache keeps its id. Those that
    /// are known keep their place, and so do VLANs and routers that come later.
    #[test]
    fn stacks_have_a_bound() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        let mut writer = RowWriter::default();
        let ring = writer.ring_index("here", &"test".parse().unwrap());
        let change = ConfigChange { user: UserName::cut("admin"), added: 0, removed: 0 };
        let (time, name) = (UnixTime::now(), "eth0".parse().unwrap());
        let event = Event::config_change(time, name, Ipv4Addr::UNSPECIFIED, change);
        let mut place_of = |(vlan, outer_vlan): (u16, u16), router: u8| {
            let [vlan, outer_vlan] = [vlan, outer_vlan].map(VlanId::from_tag);
            let router = if router == 0 { event.router } else { [192, 0, 2, router].into() };
            let key = (event.interface, vlan, outer_vlan, router);
            let place = writer.place_of(&database, ring, key).unwrap();
            (place, writer.rings[0].places.len())
        };
        let (first, _) = place_of((1, 1), 0);
        let mut places = HashSet::new();
        for outer in 2..9 {
            for vlan in 1..=4094 {
                let (place, cached) = place_of((vlan, outer), 0);
                places.insert(place);
                assert!(cached <= CACHED_PLACES);
            }
        }
        assert_eq!(places.len(), STACKS_OF_INTERFACE); // with the one of all others, without the first one
        assert_eq!(place_of((1, 1), 0).0, first);
        let [more, other] = [(1, 4000), (2, 4001)].map(|vlans| place_of(vlans, 0).0);
        assert_eq!(more, other);
        let vlans: HashSet<_> = (0..=4094).map(|vlan| place_of((vlan, 0), 0).0).collect();
        let routers: HashSet<_> = (1..=200).map(|router| place_of((1, 0), router).0).collect();
        assert_eq!((vlans.len(), routers.len()), (4095, 200));
        assert!(vlans.is_disjoint(&places) && routers.is_disjoint(&places));
        let count = "SELECT count(*) FROM place WHERE vlan = -1 AND outer_vlan = -1";
        assert_eq!(database.query_row(count, [], |row| row.get::<_, i64>(0)), Ok(1));
    }

    /// What comes late, from before what is compacted, is filed, and examined by the next pass; unless its clock was not set.
    #[test]
    fn late_rows() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        let (late, compacted) = (CLOCK_SET + 5, CLOCK_SET + 100);
        let progress = "UPDATE span_progress SET until = ?1, before = ?1";
        database.execute(progress, [compacted]).unwrap();
        let mut writer = RowWriter::default();
        let mut add = |rows: &[(i64, i64)], imported: &[(i64, i64)]| {
            let row = |(pairing, time): &(i64, i64)| (*pairing, *time, 0);
            writer.sightings.extend(rows.iter().map(row));
            writer.imported.extend(imported.iter().map(row));
            let recent = writer.write_rows(&database).unwrap();
            let late =
                "SELECT coalesce(group_concat(pairing || ':' || time, ' '), '') FROM late_pairing";
            (recent, database.query_row(late, [], |row| row.get::<_, String>(0)).unwrap())
        };
        assert_eq!(add(&[(1, compacted), (1, compacted + 5), (1, 77)], &[]), (3, "".into()));
        let both = format!("1:{late} 2:{}", late + 2);
        assert_eq!(add(&[(2, late + 2), (1, late + 3), (1, late), (3, compacted)], &[]), (1, both));
        let old = CLOCK_SET_WITHOUT_RING + 5;
        let all = format!("1:{late} 2:{old}");
        assert_eq!(add(&[], &[(4, 77), (2, compacted), (2, old)]), (0, all));
    }
}
