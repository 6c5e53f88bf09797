//! The rows of what devices call themselves: one for each MAC, place, message and text, with its first and last time. The developer
//! documentation of the history's schema has the limits and their reasons.
//!
//! What is repeated changes rows in memory only, and is written once an hour: a thousand devices that repeat their names each minute
//! would otherwise write as many pages.

use std::{
    collections::{HashMap, hash_map::Entry as MapEntry},
    time::{Duration, Instant},
};

use aw_output::{
    ClaimedName, HistoryName, LeaseChange, NAME_DISUSED, NAME_KNOWN_AFTER, NAMES_OF_ALL,
    NAMES_OF_DEVICE, NAMES_ROOM, NameEntry, NameSource, NameUse, names_of,
};
use aw_service::Condition;
use rusqlite::{Connection, params, types::ValueRef};
use shm_layout::{MacAddr, NameRecord, RingName, UnixTime};

use crate::{clock_check::CLOCK_SET, lease_rows::LeaseRows, row_writer::RowWriter};

/// Devices whose rows are in memory, apart from those with repeats that are not written yet. With these, it is as much as the table has: 15 MB.
const CACHED: usize = 1 << 12;
/// New names that are committed before the interval is over.
const URGENT: usize = 1 << 13;
/// How often rows that were only repeated are written.
const REPEATS_EVERY: Duration = Duration::from_secs(3_600);
/// For so long after there was no room, none is made.
const FULL_FOR: Duration = Duration::from_secs(60);

/// The names of devices that named themselves lately, and which of them are to be written.
pub struct NameRows {
    devices: HashMap<MacAddr, Vec<Claim>>,
    /// How many names are new, or were not used for an hour while others were.
    urgent: usize,
    /// Names were repeated.
    is_changed: bool,
    /// Rows that made room for others of their MAC.
    removed: Vec<(MacAddr, Claim)>,
    /// Rows in the database, if they are counted.
    stored: Option<usize>,
    written_at: Instant,
    full: Condition,
    /// When there was no room. To find that reads all rows.
    full_at: Option<Instant>,
    most: usize,
    /// Nothing is read or written before: rows could not be.
    off_until: Option<Instant>,
    /// The saved positions in the rings of names are loaded.
    pub is_resumed: bool,
    leases: LeaseRows,
    /// Records of places that are not in the database: these are written with the next commit, and not in a transaction of their own.
    deferred: Vec<Deferred>,
}

struct Deferred {
    ring: RingName,
    host: String,
    record: NameRecord,
}

/// A row.
#[derive(Clone, Debug)]
struct Claim {
    place: i64,
    source: NameSource,
    name: String,
    used: NameUse,
    is_stored: bool,
    /// It was used since it was written.
    is_used: bool,
    is_urgent: bool,
    /// Its row was deleted.
    is_gone: bool,
}

impl Claim {
    fn add(&mut self, used: NameUse) {
        self.used.add(used);
        self.is_used = true;
    }

    fn is_of(&self, place: i64, source: NameSource) -> bool {
        (self.place, self.source) == (place, source)
    }
}

impl NameRows {
    /// Of a database that was opened now.
    pub fn new(now: Instant) -> NameRows {
        NameRows {
            devices: HashMap::new(),
            urgent: 0,
            is_changed: false,
            removed: Vec::new(),
            stored: None,
            written_at: now,
            full: Condition::default(),
            full_at: None,
            most: NAMES_OF_ALL,
            off_until: None,
            is_resumed: false,
            leases: LeaseRows::default(),
            deferred: Vec::new(),
        }
    }

    /// To be called after a fault of its rows: what is not written is forgotten, and read again from the saved positions later.
    pub fn switch_off(&mut self, until: Instant) {
        *self = NameRows { off_until: Some(until), ..NameRows::new(until) };
    }

    /// Whether nothing is to be read or written.
    pub fn is_off(&self, now: Instant) -> bool {
        self.off_until.is_some_and(|until| now < until)
    }

    /// Adds what a device calls itself in a record, and the lease that it begins or ends. Only the rows of its MAC are read.
    pub fn add(
        &mut self,
        database: &Connection,
        places: &mut RowWriter,
        entry: &NameEntry,
    ) -> rusqlite::Result<()> {
        let record = &entry.record;
        if names_of(record).next().is_none() && LeaseChange::of(record, UnixTime::now()).is_none() {
            return Ok(());
        }
        if let Some(place) = places.known_place_of_name(database, entry)? {
            return self.add_at(database, place, record);
        }
        let (ring, host) = (entry.ring.clone(), entry.host.to_owned());
        self.deferred.push(Deferred { ring, host, record: *record });
        (self.is_changed, self.urgent) = (true, self.urgent + 1);
        Ok(())
    }

    fn add_at(
        &mut self,
        database: &Connection,
        place: i64,
        record: &NameRecord,
    ) -> rusqlite::Result<()> {
        let time = match record.repeats {
            0 => record.time,
            _ => record.time.max(record.repeated),
        };
        let count = i64::from(record.repeats) + 1;
        if let Some(change) = LeaseChange::of(record, UnixTime::now()) {
            self.leases.add(change, place);
            (self.is_changed, self.urgent) = (true, self.urgent + 1);
        }
        for (source, name) in names_of(record) {
            self.add_name(database, record.mac, (place, source, name), NameUse::new(time, count))?;
        }
        Ok(())
    }

    fn add_name(
        &mut self,
        database: &Connection,
        mac: MacAddr,
        (place, source, name): (i64, NameSource, &str),
        used: NameUse,
    ) -> rusqlite::Result<()> {
        let claims = match self.devices.entry(mac) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(unknown) => unknown.insert(stored_claims(database, mac)?),
        };
        self.is_changed = true;
        // What another program deleted begins again with this message, and not after an hour.
        let is_same = |one: &Claim| one.is_of(place, source) && one.name == name;
        if let Some(at) = claims.iter().position(is_same)
            && claims[at].is_deleted(database, mac)?
        {
            claims.swap_remove(at);
        }
        let of_source = || claims.iter().filter(|one| one.is_of(place, source));
        let latest = of_source().map(|one| one.used.last).max();
        let found = claims.iter_mut().find(|one| one.is_of(place, source) && one.name == name);
        if let Some(claim) = found {
            let is_back = claim.used.is_back(used.last, latest);
            self.urgent += usize::from(is_back && !claim.is_urgent);
            claim.is_urgent |= is_back;
            claim.add(used);
            return Ok(());
        }
        if claims.len() >= NAMES_OF_DEVICE
            && let Some((at, _)) =
                claims.iter().enumerate().min_by_key(|(_, one)| one.used.importance())
        {
            let removed = claims.swap_remove(at);
            self.removed.extend(removed.is_stored.then_some((mac, removed)));
        }
        claims.push(Claim {
            place,
            source,
            name: name.to_owned(),
            used,
            is_stored: false,
            is_used: true,
            is_urgent: true,
            is_gone: false,
        });
        self.urgent += 1;
        Ok(())
    }

    /// Whether there is something to write: what is new, once the interval between two commits is over; what is repeated, once an
    /// hour.
    pub fn is_due(&self, now: Instant, committed: Option<Instant>, interval: Duration) -> bool {
        let may_commit = committed.is_none_or(|committed| now - committed >= interval);
        self.urgent > 0 && may_commit || self.urgent > URGENT || self.has_repeats(now)
    }

    /// Whether the names of an hour are to be written that were only repeated.
    fn has_repeats(&self, now: Instant) -> bool {
        self.is_changed && now - self.written_at >= REPEATS_EVERY
    }

    /// Whether anything is not written.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Writes what is due, or `all` that changed, in the transaction of the caller.
    pub fn write(
        &mut self,
        (database, places): (&Connection, &mut RowWriter),
        now: Instant,
        all: bool,
    ) -> rusqlite::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        for Deferred { ring, host, record } in std::mem::take(&mut self.deferred) {
            let entry = NameEntry { ring: &ring, host: &host, record };
            let place = places.place_of_name(database, &entry)?;
            self.add_at(database, place, &record)?;
        }
        self.leases.write(database)?;
        for (mac, claim) in std::mem::take(&mut self.removed) {
            let delete =
                "DELETE FROM claimed_name WHERE mac = ? AND place = ? AND source = ? AND name = ?";
            let row = params![mac.number() as i64, claim.place, claim.source as u8, claim.name];
            let deleted = database.prepare_cached(delete)?.execute(row)?;
            self.stored = self.stored.map(|stored| stored.saturating_sub(deleted));
        }
        let new = self.devices.values().flatten().filter(|one| one.is_urgent && !one.is_stored);
        let new = new.count();
        let stored = match self.stored {
            Some(stored) => stored,
            None => count(database)?,
        };
        let was_full = self.full_at.is_some_and(|at| now.saturating_duration_since(at) < FULL_FOR);
        // What makes room must not have an old time.
        let lacks_room = new > 0 && stored + new > self.most && !was_full;
        let all = all || self.has_repeats(now) || lacks_room;
        let mut due: Vec<(bool, MacAddr, &mut Claim)> = Vec::new();
        for (mac, claims) in &mut self.devices {
            let is_named = claims.iter().any(|claim| claim.is_stored);
            let is_due = |claim: &&mut Claim| claim.is_urgent || all && claim.is_used;
            due.extend(claims.iter_mut().filter(is_due).map(|claim| (!is_named, *mac, claim)));
        }
        // In the order of the table.
        due.sort_by_key(|(_, mac, claim)| (*mac, claim.place, claim.source));
        let mut missing = Vec::new();
        for (is_new, mac, claim) in due {
            match claim.is_stored {
                true => claim.update(database, mac)?,
                false => missing.push((is_new, mac, claim)),
            }
        }
        // Devices that have names already come first.
        missing.sort_by_key(|(is_new, ..)| *is_new);
        let mut room = self.most.saturating_sub(stored);
        if missing.len() > room && !was_full {
            room = make_room(database, self.most, missing.len())?;
            self.stored = None;
        }
        let is_full = missing.len() > room;
        if is_full != was_full {
            self.full_at = is_full.then_some(now);
        }
        let added = missing.len().min(room);
        for (at, (_, mac, claim)) in missing.into_iter().enumerate() {
            match at < room {
                true => claim.insert(database, mac)?,
                false => (claim.is_used, claim.is_urgent) = (false, false), // until it is repeated
            }
        }
        self.stored = match self.stored {
            Some(stored) => Some(stored + added),
            None => Some(count(database)?),
        };
        match is_full {
            true => self.full.begins(format_args!(
                "{} names that devices give themselves are stored, and no more: those of further devices are not (does a host invent MACs? rows of claimed_name can be deleted)",
                self.most
            )),
            false if added > 0 => self.full.ends("names of further devices are stored again"),
            false => {}
        }
        self.urgent = 0;
        for claims in self.devices.values_mut() {
            claims.retain(|claim| !claim.is_gone);
        }
        if all {
            (self.is_changed, self.written_at) = (false, now);
        }
        if self.devices.len() > CACHED {
            self.devices.retain(|_, claims| claims.iter().any(|claim| claim.is_used));
        }
        Ok(())
    }

    /// To be called after all names were written, and before places are deleted: what is not stored must not have the place of another one.
    pub fn forget_places(&mut self) {
        self.devices.retain(|_, claims| claims.iter().any(|claim| claim.is_used));
    }
}

impl Claim {
    /// Whether its row was stored and is not there any more.
    fn is_deleted(&self, database: &Connection, mac: MacAddr) -> rusqlite::Result<bool> {
        let select =
            "SELECT 1 FROM claimed_name WHERE mac = ? AND place = ? AND source = ? AND name = ?";
        let row = params![mac.number() as i64, self.place, self.source as u8, self.name];
        Ok(self.is_stored && !database.prepare_cached(select)?.exists(row)?)
    }

    /// If its row is not there any more, another program deleted it, or it made room: it is forgotten, with what is not written. The next
    /// message begins again.
    fn update(&mut self, database: &Connection, mac: MacAddr) -> rusqlite::Result<()> {
        // An import may have made it older.
        let update = "UPDATE claimed_name SET first = CASE WHEN first >= ?8 AND first < ?1 THEN first ELSE ?1 END,
                last = ?2, count = ?3
            WHERE mac = ?4 AND place = ?5 AND source = ?6 AND name = ?7";
        let Claim { place, source, ref name, used: NameUse { first, last, count }, .. } = *self;
        let (mac, first, last) = (mac.number() as i64, first.as_nanos(), last.as_nanos());
        let row = params![first, last, count, mac, place, source as u8, name, CLOCK_SET];
        self.is_gone = database.prepare_cached(update)?.execute(row)? == 0;
        (self.is_used, self.is_urgent) = (false, false);
        Ok(())
    }

    fn insert(&mut self, database: &Connection, mac: MacAddr) -> rusqlite::Result<()> {
        let insert = "REPLACE INTO claimed_name (mac, place, source, name, first, last, count)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
        let Claim { place, source, ref name, used: NameUse { first, last, count }, .. } = *self;
        let (mac, first, last) = (mac.number() as i64, first.as_nanos(), last.as_nanos());
        let row = params![mac, place, source as u8, name, first, last, count];
        database.prepare_cached(insert)?.execute(row)?;
        (self.is_stored, self.is_used, self.is_urgent) = (true, false, false);
        Ok(())
    }
}

/// The rows of a MAC. Another program may have written any of them: what is not as it should be is left out.
fn stored_claims(database: &Connection, mac: MacAddr) -> rusqlite::Result<Vec<Claim>> {
    let select = "SELECT place, source, name, CAST(first AS INTEGER), CAST(last AS INTEGER), CAST(count AS INTEGER)
        FROM claimed_name WHERE mac = ? AND typeof(place) = 'integer' AND typeof(source) = 'integer' AND typeof(name) = 'text'
        ORDER BY last DESC LIMIT ?";
    let mut statement = database.prepare_cached(select)?;
    let mut rows = statement.query([mac.number() as i64, NAMES_OF_DEVICE as i64])?;
    let (mut found, now) = (Vec::new(), UnixTime::now());
    while let Some(row) = rows.next()? {
        let Some(source) = NameSource::from_number(row.get(1)?) else { continue };
        let ValueRef::Text(name) = row.get_ref(2)? else { continue };
        let Ok(name) = str::from_utf8(name) else { continue };
        found.push(Claim {
            place: row.get(0)?,
            source,
            name: name.into(),
            used: NameUse {
                first: UnixTime::from_nanos(row.get(3)?),
                last: UnixTime::from_nanos(row.get(4)?).min(now), // the clock may have been ahead
                count: row.get(5)?,
            },
            is_stored: true,
            is_used: false,
            is_urgent: false,
            is_gone: false,
        });
    }
    Ok(found)
}

/// Adds a name that was exported: where it is known, only its times may change. It makes no room. Returns whether a row was added.
pub fn add_name(database: &Connection, place: i64, name: &HistoryName) -> rusqlite::Result<u64> {
    let HistoryName { mac, claimed: ClaimedName { source, name, first, last }, uses, .. } = name;
    let mut claims = stored_claims(database, *mac)?;
    let found = claims.iter_mut().find(|one| one.is_of(place, *source) && one.name == *name);
    if let Some(claim) = found {
        claim.add(NameUse::new(*first, 0));
        claim.add(NameUse::new(*last, 0));
        claim.used.count = claim.used.count.max(*uses as i64); // it may be of the same messages
        return claim.update(database, *mac).map(|()| 0);
    }
    if claims.len() >= NAMES_OF_DEVICE || count(database)? >= NAMES_OF_ALL {
        return Ok(0);
    }
    let mut claim = Claim {
        place,
        source: *source,
        name: name.clone(),
        used: NameUse { first: *first, last: *last, count: *uses as i64 },
        is_stored: false,
        is_used: true,
        is_urgent: true,
        is_gone: false,
    };
    claim.insert(database, *mac).map(|()| 1)
}

fn count(database: &Connection) -> rusqlite::Result<usize> {
    let count = "SELECT count(*) FROM claimed_name";
    let count = database.prepare_cached(count)?.query_row([], |row| row.get::<_, i64>(0));
    Ok(usize::try_from(count?).unwrap_or(0))
}

/// Makes room for so many rows, and some more. A name that a MAC has used for a day stays, unless it was not used for 30 days: who invents
/// MACs or names would have to repeat each of them after a day to push out others. Returns for how many there is room.
fn make_room(database: &Connection, most: usize, wanted: usize) -> rusqlite::Result<usize> {
    let now = UnixTime::now().as_nanos();
    for (condition, limit) in
        [("last - first < ?1", NAME_KNOWN_AFTER), ("last < ?1", now - NAME_DISUSED)]
    {
        let superfluous = (count(database)? + wanted.max(NAMES_ROOM)).saturating_sub(most);
        let delete = format!(
            "DELETE FROM claimed_name WHERE (mac, place, source, name) IN (
                SELECT mac, place, source, name FROM claimed_name WHERE {condition} ORDER BY last LIMIT ?2)"
        );
        database.prepare_cached(&delete)?.execute(params![limit, superfluous as i64])?;
    }
    Ok(most.saturating_sub(count(database)?))
}

/// Deletes names that were last used before a time, and those of MACs without a pairing that are a day older than the newest name:
/// their sightings were deleted, or they never had one. At most `rows`. A time of a clock that was not set, or was ahead, is no age.
pub fn delete_names(database: &Connection, before: i64, rows: usize) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM claimed_name WHERE (mac, place, source, name) IN (
        SELECT mac, place, source, name FROM claimed_name
        WHERE last < ?1 AND last >= ?4
        OR (last < (SELECT max(last) FROM claimed_name WHERE last <= ?5) - ?2
            AND NOT EXISTS (SELECT 1 FROM pairing WHERE pairing.mac = claimed_name.mac)) LIMIT ?3)";
    let now = UnixTime::now().as_nanos();
    let row = params![before, NAME_KNOWN_AFTER, rows as i64, CLOCK_SET, now];
    database.prepare_cached(delete)?.execute(row)
}

#[cfg(test)]
mod tests {
    use shm_layout::{NameKind, NameText};

    use super::*;
    use crate::schema;

    const DAY: i64 = 86_400;
    const BEGIN: i64 = 1_600_000_000; // no clock is before it

    fn database() -> Connection {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        database
    }

    /// Names that are added at a time in seconds, and written at once or not.
    struct Writer {
        database: Connection,
        rows: NameRows,
        places: RowWriter,
        begin: Instant,
    }

    impl Writer {
        fn new(most: usize) -> Writer {
            let begin = Instant::now();
            let rows = NameRows { most, ..NameRows::new(begin) };
            Writer { database: database(), rows, places: RowWriter::default(), begin }
        }

        fn add(&mut self, mac: u32, name: &str, vlan: u16, seconds: i64) {
            let [a, b, c, d] = mac.to_be_bytes();
            let time = UnixTime::new(seconds, 0);
            let mut record = NameRecord::new(NameKind::Lldp, time, "eth0".parse().unwrap());
            (record.mac, record.name) = (MacAddr::new([2, 0, a, b, c, d]), NameText::cut(name));
            record.vlan = shm_layout::VlanId::from_tag(vlan);
            let entry = NameEntry { ring: &"test".parse().unwrap(), host: "here", record };
            self.rows.add(&self.database, &mut self.places, &entry).unwrap();
        }

        /// So many seconds after the beginning.
        fn write(&mut self, seconds: u64, all: bool) {
            let now = self.begin + Duration::from_secs(seconds);
            self.rows.write((&self.database, &mut self.places), now, all).unwrap();
        }

        fn number(&self, select: &str) -> i64 {
            self.database.query_row(select, [], |row| row.get(0)).unwrap()
        }

        fn names(&self, mac: u32) -> Vec<(String, i64, i64, i64)> {
            let [a, b, c, d] = mac.to_be_bytes();
            let mac = MacAddr::new([2, 0, a, b, c, d]).number() as i64;
            let select =
                "SELECT name, first / 1000000000, last / 1000000000, count FROM claimed_name
                WHERE mac = ? ORDER BY first, name";
            let mut select = self.database.prepare(select).unwrap();
            let row =
                |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            select.query_map([mac], row).unwrap().map(Result::unwrap).collect()
        }
    }

    /// Made-up VLANs are no transactions of their own.
    #[test]
    fn places_are_written_with_their_names() {
        let mut writer = Writer::new(NAMES_OF_ALL);
        let changes = writer.number("SELECT total_changes()");
        (1..100).for_each(|vlan| writer.add(1, "nas", vlan, BEGIN));
        (1..100).for_each(|vlan| writer.add(1, "nas", vlan, BEGIN + 1));
        assert_eq!(writer.number("SELECT total_changes()"), changes);
        assert!(writer.rows.is_due(writer.begin, None, Duration::ZERO));
        writer.write(0, false);
        assert_eq!(writer.number("SELECT count(*) FROM place"), 99);
        assert_eq!(writer.names(1)[0], ("nas".into(), BEGIN, BEGIN + 1, 2));
    }

    /// A thousand devices repeat their names each minute: that is written once an hour, and a new name with the next commit.
    #[test]
    fn repeats_write_once_an_hour() {
        let mut writer = Writer::new(NAMES_OF_ALL);
        let changes = |writer: &Writer| writer.number("SELECT total_changes()");
        let (begin, mut written) = (changes(&writer), Vec::new());
        for minute in 0..=120 {
            (0..1000).for_each(|mac| writer.add(mac, "nas", 0, BEGIN + minute * 60));
            writer.write(minute as u64 * 60, false);
            written.push(changes(&writer) - begin);
        }
        assert_eq!((written[0], written[59]), (1001, 1001), "with a place");
        assert_eq!((written[60], written[119], written[120]), (2001, 2001, 3001));
        assert_eq!(writer.names(7), [("nas".into(), BEGIN, BEGIN + 7200, 121)]);
        writer.add(7, "nas-2", 0, BEGIN + 7201);
        assert_eq!(writer.rows.urgent, 1);
        writer.write(7201, false);
        assert_eq!(writer.names(7).len(), 2);
        assert_eq!(changes(&writer) - begin, 3002);
        // A device with two names repeats both; one that is back after an hour is a change.
        writer.add(7, "nas", 0, BEGIN + 7203);
        writer.add(7, "nas-2", 0, BEGIN + 7204);
        assert_eq!(writer.rows.urgent, 0);
        writer.add(7, "nas", 0, BEGIN + 7203 + 3_600);
        assert_eq!(writer.rows.urgent, 1);
        writer.write(7205, false);
        assert_eq!(writer.names(7)[0].2, BEGIN + 7203 + 3_600);
        assert_eq!(changes(&writer) - begin, 3003);
    }

    /// However many devices there are, what they repeat is written once an hour.
    #[test]
    fn repeats_of_many_devices() {
        let mut writer = Writer::new(NAMES_OF_ALL);
        let changes = |writer: &Writer| writer.number("SELECT total_changes()");
        for minute in 0..60 {
            (0..9_000).for_each(|mac| writer.add(mac, "nas", 0, BEGIN + minute * 60));
            writer.write(minute as u64 * 60, false);
            assert!(!writer.rows.is_due(writer.begin, None, Duration::ZERO));
        }
        let (begin, all) = (9_000 + 1, changes(&writer));
        assert!(all <= begin + 50, "{all}"); // with the tables
    }

    /// A host that makes up MACs pushes out none that has used its name for a day, also when the first is forgotten in memory.
    #[test]
    fn a_flood_of_macs() {
        let begin = UnixTime::now().seconds() - 5 * DAY;
        let mut writer = Writer::new(4_000);
        for (mac, name) in [(1, "nas"), (2, "printer")] {
            writer.add(mac, name, 0, begin);
            writer.write(0, true);
            writer.add(mac, name, 0, begin + DAY);
            writer.write(0, true);
        }
        writer.add(3, "new", 0, begin + DAY);
        for mac in 0..20_000 {
            writer.add(1_000 + mac, "made-up", 0, begin + DAY + i64::from(mac) / 20);
            if mac % 500 == 0 {
                writer.write(0, false);
                assert!(writer.number("SELECT count(*) FROM claimed_name") <= 4_000);
                assert!(writer.rows.devices.len() <= CACHED + 500, "those that are written go");
            }
        }
        writer.write(0, false);
        assert_eq!(writer.names(1), [("nas".into(), begin, begin + DAY, 2)]);
        assert_eq!(writer.names(2).len(), 1);
        assert_eq!(writer.names(20_999).len(), 1, "who is new has a name, too");
        // A known device has its new name during the flood.
        writer.add(1, "nas-2", 0, begin + DAY + 2_000);
        writer.write(0, false);
        assert_eq!(writer.names(1).len(), 2);
        // All that are there have used their names for days.
        let old = "UPDATE claimed_name SET first = first - 2 * 86400000000000";
        writer.database.execute_batch(old).unwrap();
        for mac in 0..10_000 {
            writer.add(50_000 + mac, "made-up", 0, begin + 3 * DAY);
        }
        writer.write(0, false);
        assert!(writer.number("SELECT count(*) FROM claimed_name") <= 4_000);
        assert!(writer.rows.full.is_present());
        assert_eq!((writer.names(1).len(), writer.names(2).len()), (2, 1));
    }

    /// Who forges a MAC, with any name and VLAN, does not push out the name that it has used for a day.
    #[test]
    fn a_flood_of_names() {
        let mut writer = Writer::new(NAMES_OF_ALL);
        writer.add(1, "nas", 0, BEGIN);
        writer.add(1, "nas", 0, BEGIN + DAY);
        for number in 0..1_000 {
            writer.add(1, &format!("forged-{number}"), number % 50, BEGIN + DAY + 1);
            if number % 10 == 0 {
                writer.write(0, false);
            }
        }
        writer.write(0, false);
        let names = writer.names(1);
        assert_eq!((names.len(), &names[0].0[..]), (NAMES_OF_DEVICE, "nas"));
        assert_eq!(writer.number("SELECT count(*) FROM claimed_name"), NAMES_OF_DEVICE as i64);
        // Also if each forged one is repeated after a day.
        for day in 2..5 {
            for number in 0..100 {
                writer.add(1, &format!("again-{number}"), 0, BEGIN + day * DAY);
                writer.add(1, &format!("again-{number}"), 0, BEGIN + (day + 1) * DAY + number);
            }
            writer.write(0, true);
        }
        assert_eq!(&writer.names(1)[0].0[..], "nas");
        // The same after a restart.
        writer.rows = NameRows::new(writer.begin);
        writer.add(1, "other", 0, BEGIN + 9 * DAY);
        writer.write(0, false);
        let names = writer.names(1);
        assert_eq!((names.len(), &names[0].0[..]), (NAMES_OF_DEVICE, "nas"));
    }

    /// What is deleted is forgotten, with what was repeated before and is not written: the next message begins again.
    #[test]
    fn deleted_names() {
        let mut writer = Writer::new(NAMES_OF_ALL);
        writer.add(1, "nas", 0, BEGIN);
        writer.write(0, false);
        writer.add(1, "nas", 0, BEGIN + 30);
        writer.database.execute_batch("DELETE FROM claimed_name").unwrap();
        writer.write(0, true);
        assert_eq!(writer.names(1), []);
        writer.add(1, "nas", 0, BEGIN + 60);
        writer.write(0, true);
        assert_eq!(writer.names(1), [("nas".into(), BEGIN + 60, BEGIN + 60, 1)]);
        // The next message stores it, and not the first one after the next hour; also what was repeated in between is forgotten.
        writer.add(1, "nas", 0, BEGIN + 70);
        writer.database.execute_batch("DELETE FROM claimed_name").unwrap();
        writer.add(1, "nas", 0, BEGIN + 80);
        assert!(writer.rows.is_due(writer.begin, None, Duration::ZERO));
        writer.write(0, false);
        assert_eq!(writer.names(1), [("nas".into(), BEGIN + 80, BEGIN + 80, 1)]);
        // Retention: by age; and those of MACs without a pairing a day after the newest name.
        let add = |writer: &mut Writer, mac, time| {
            writer.add(mac, "nas", 0, time);
            writer.write(0, true);
        };
        let pairing =
            "INSERT INTO pairing VALUES (1, x'0a000001', 0x020000000002, 1, '10.0.0.1', -1)";
        writer.database.execute_batch(pairing).unwrap();
        add(&mut writer, 2, BEGIN + 60);
        add(&mut writer, 3, BEGIN + 2 * DAY);
        assert_eq!(delete_names(&writer.database, i64::MIN, 10), Ok(1));
        let lens = |writer: &Writer| [1, 2, 3].map(|mac| writer.names(mac).len());
        assert_eq!(lens(&writer), [0, 1, 1]);
        let before = (BEGIN + DAY) * 1_000_000_000;
        assert_eq!(delete_names(&writer.database, before, 10), Ok(1));
        assert_eq!(lens(&writer), [0, 0, 1]);
    }

    /// Many names of each of some MACs, of which one is repeated after a day, do not fill the table for good; nor do those that are not used any more.
    #[test]
    fn a_table_that_is_full() {
        let mut writer = Writer::new(3_200);
        for mac in 0..100 {
            (0..32).for_each(|name| writer.add(mac, &format!("made-up-{name}"), 0, BEGIN));
        }
        writer.write(0, true);
        (0..100).for_each(|mac| writer.add(mac, "made-up-0", 0, BEGIN + DAY));
        writer.write(0, true);
        writer.add(7_000, "nas", 0, BEGIN + DAY);
        writer.write(0, true);
        assert_eq!(writer.names(7_000).len(), 1);
        let known =
            "UPDATE claimed_name SET last = first + 86400000000000 WHERE mac != 0x020000001b58";
        writer.database.execute_batch(known).unwrap();
        for mac in 0..3_200 {
            writer.add(10_000 + mac, "new", 0, BEGIN + 2 * DAY);
        }
        writer.write(0, true);
        assert!(!writer.rows.full.is_present(), "they were not used for 30 days");
    }

    /// What was stored while the clock was ahead makes no other name old.
    #[test]
    fn a_clock_that_was_ahead() {
        let mut writer = Writer::new(NAMES_OF_ALL);
        writer.add(1, "nas", 0, BEGIN);
        writer.add(2, "ahead", 0, 4_000_000_000);
        writer.write(0, true);
        assert_eq!(delete_names(&writer.database, i64::MIN, 10), Ok(0));
        writer.rows = NameRows::new(writer.begin);
        writer.add(2, "now", 0, UnixTime::now().seconds() + 10);
        writer.add(2, "now", 0, UnixTime::now().seconds() + 20);
        let claims = writer.rows.devices.values().flatten();
        assert_eq!(claims.max_by_key(|claim| claim.used.last).unwrap().name, "now");
    }

    /// Before the clock was set, times count only if there are no others.
    #[test]
    fn a_clock_that_was_not_set() {
        let mut writer = Writer::new(NAMES_OF_ALL);
        writer.add(1, "nas", 0, 100);
        writer.write(0, true);
        assert_eq!(writer.names(1), [("nas".into(), 100, 100, 1)]);
        writer.add(1, "nas", 0, BEGIN);
        writer.add(1, "nas", 0, 200);
        writer.write(0, true);
        assert_eq!(writer.names(1), [("nas".into(), BEGIN, BEGIN, 3)]);
    }
}
