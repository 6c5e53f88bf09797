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
    ADDRESSES_OF_DEVICE, ClaimedName, HistoryName, LeaseChange, NAME_DISUSED, NAME_KNOWN_AFTER,
    NAMES_OF_ALL, NAMES_OF_DEVICE, NameEntry, NameSource, NameUse, claims_of, least_address,
    superfluous,
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
    /// When there was no room for names, and for addresses. To find that reads all rows.
    full_at: [Option<Instant>; 2],
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

    fn shares_room(&self, source: NameSource) -> bool {
        self.source.is_address() == source.is_address()
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
            full_at: [None; 2],
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
        if claims_of(record).next().is_none() && LeaseChange::of(record, UnixTime::now()).is_none()
        {
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
        for (source, name) in claims_of(record) {
            self.add_name(database, record.mac, (place, source, &name), NameUse::new(time, count))?;
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
        let alike = || claims.iter().enumerate().filter(|(_, one)| one.shares_room(source));
        if alike().count() >= source.most() {
            let least = match source.is_address() {
                true => {
                    let all = alike().map(|(at, one)| (at, &*one.name, one.used));
                    least_address(all, (name, used.last))
                }
                false => alike().min_by_key(|(_, one)| one.used.importance()).map(|(at, _)| at),
            };
            let Some(at) = least else { return Ok(()) };
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
        let new: Vec<bool> = new.map(|one| one.source.is_address()).collect();
        let stored = match self.stored {
            Some(stored) => stored,
            None => count(database)?,
        };
        let was_full = self
            .full_at
            .map(|at| at.is_some_and(|at| now.saturating_duration_since(at) < FULL_FOR));
        // Where there is no room for addresses, there may be for names, which push them out.
        let may_search = |has_names: bool| !was_full[usize::from(!has_names)];
        // What makes room must not have an old time.
        let lacks_room = stored + new.len() > self.most && may_search(new.contains(&false));
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
        // Names come first, and of these the ones of devices that have some already.
        missing.sort_by_key(|(is_new, _, claim)| (claim.source.is_address(), *is_new));
        let is_name = |(.., claim): &&(bool, MacAddr, &mut Claim)| !claim.source.is_address();
        let names = missing.iter().filter(is_name).count();
        let mut room = self.most.saturating_sub(stored);
        if missing.len() > room && may_search(names > 0) {
            room = make_room(database, self.most, names, missing.len())?;
            self.stored = None;
        }
        let is_full = missing.len() > room;
        let of_kinds = [(names, names > room), (missing.len() - names, is_full)];
        for (at, (wanted, is_full)) in of_kinds.into_iter().enumerate() {
            if wanted > 0 && is_full != was_full[at] {
                self.full_at[at] = is_full.then_some(now);
            }
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
                "{} names and addresses of devices are stored, and no more: those of further devices are not (does a host invent MACs? rows of claimed_name can be deleted)",
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
    let mut rows =
        statement.query([mac.number() as i64, (NAMES_OF_DEVICE + ADDRESSES_OF_DEVICE) as i64])?;
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
    let alike = claims.iter().filter(|one| one.shares_room(*source)).count();
    if alike >= source.most() || count(database)? >= NAMES_OF_ALL {
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

/// Makes room for so many names, and so many names and addresses, and some more. A name that a MAC has used for a day stays, unless it was not used
/// for 30 days: who invents MACs or names would have to repeat each of them after a day to push out others. Addresses push out addresses only, and
/// all of them make room for names before a name does. Returns for how many there is room.
fn make_room(
    database: &Connection,
    most: usize,
    names: usize,
    wanted: usize,
) -> rusqlite::Result<usize> {
    let disused = UnixTime::now().as_nanos() - NAME_DISUSED;
    for (condition, limit, wanted) in [
        ("source > 7 AND last - first < ?1", NAME_KNOWN_AFTER, wanted),
        ("source > 7 AND last < ?1", disused, wanted),
        ("source > 7 AND last < ?1", i64::MAX, names),
        ("source <= 7 AND last - first < ?1", NAME_KNOWN_AFTER, names),
        ("source <= 7 AND last < ?1", disused, names),
    ] {
        let superfluous = superfluous(count(database)?, wanted, most);
        if superfluous == 0 {
            continue;
        }
        let delete = format!(
            "DELETE FROM claimed_name WHERE (mac, place, source, name) IN (
                SELECT mac, place, source, name FROM claimed_name WHERE {condition} ORDER BY last LIMIT ?2)"
        );
        database.prepare_cached(&delete)?.execute(params![limit, superfluous as i64])?;
    }
    Ok(most.saturating_sub(count(database)?))
}

/// Deletes names that were last used before a time, and those of MACs without a pairing that are a day older than the newest name:
/// their sightings were deleted, or they never had one. A MAC that announced an address for a day, and that no sighting shows, keeps its rows. At
/// most `rows`. A time of a clock that was not set, or was ahead, is no age.
pub fn delete_names(database: &Connection, before: i64, rows: usize) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM claimed_name WHERE (mac, place, source, name) IN (
        SELECT mac, place, source, name FROM claimed_name
        WHERE last < ?1 AND last >= ?4
        OR (last < (SELECT max(last) FROM claimed_name WHERE last <= ?5) - ?2
            AND NOT EXISTS (SELECT 1 FROM pairing WHERE pairing.mac = claimed_name.mac)
            AND NOT EXISTS (SELECT 1 FROM claimed_name AS other
                WHERE other.mac = claimed_name.mac AND other.source > 7 AND other.last - other.first >= ?2)) LIMIT ?3)";
    let now = UnixTime::now().as_nanos();
    let row = params![before, NAME_KNOWN_AFTER, rows as i64, CLOCK_SET, now];
    database.prepare_cached(delete)?.execute(row)
}

#[cfg(test)]
mod tests;
