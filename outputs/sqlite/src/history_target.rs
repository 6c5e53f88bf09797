//! `aw-sqlite import`: adds a history that `aw-query export` wrote to a database, also while aw-sqlite writes to it.
//!
//! A sighting is identified by what its line has. A line adds a row only if the database has fewer of these rows than the
//! line stands for. Rows without a ring come from MySQL or addrwatch, and have whole seconds and less of the place. Such a
//! line is compared by second with all rows that look like it there; and a line with a ring with such rows. A line within a
//! span of compacted sightings is one of them; a line of a span is known if one lasts as long, or as many sightings are in its time.

use std::{
    collections::HashMap,
    fs::File,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use aw_database::{NOT_FILED, recent_between};
use aw_output::{
    Error, HistoryChange, HistoryCount, HistoryLine, HistoryName, HistoryPlace, HistorySighting,
    HistorySpan, HistoryTarget, failed,
};
use rusqlite::{Connection, params};
use shm_layout::{MacAddr, UnixTime, ip_text};

use crate::{
    compaction::{examine_late, is_of_span, not_of_span},
    database_file, delete_trigger, legacy_file,
    name_rows::add_name,
    row_writer::{OWN_FRAME, ip_bytes, known_place, place_id},
    schema::{self, Unusable, ViewName},
    sqlite_sink::{open_connection, require_directory, write_failure},
};

/// How long to wait for another program's transaction: those of aw-sqlite are short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Cached places and pairings: at most a few MB.
const CACHED: usize = 1 << 15;

const SECOND: i64 = 1_000_000_000;

/// Adds lines to a database.
pub struct SqliteTarget {
    path: PathBuf,
    connection: Connection,
    cache: Cache,
    /// Closed after the connection, see `database_file::open_lock`.
    lock: File,
}

/// What is known of the database within a transaction. Afterwards, aw-sqlite may delete or add rows.
#[derive(Default)]
struct Cache {
    places: HashMap<HistoryPlace, i64>,
    pairings: HashMap<Looks, Vec<Pairing>>,
}

/// What pairings have in common that are the same one in MySQL's tables.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Looks {
    ip: IpAddr,
    mac: MacAddr,
    source: i64,
    host: String,
    interface: String,
    vlan: i64,
}

/// One of them.
struct Pairing {
    id: i64,
    place: i64,
    has_ring: bool,
}

/// The owner of a database that exists: as this user root imports into it, so that no file beside it becomes root's.
pub fn owner(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|file| file.uid())
}

impl SqliteTarget {
    pub fn open(path: PathBuf, view: &ViewName) -> Result<SqliteTarget, Error> {
        require_directory(&path)?;
        let opened = open_connection(&path, view, None, BUSY_TIMEOUT);
        let (connection, lock) = opened.map_err(|why| match why {
            Unusable::Foreign(why) => failed(format_args!("open {}: {why}", path.display())),
            Unusable::Sqlite(error) => failed(write_failure(&path, error)),
        })?;
        let target = SqliteTarget { path, connection, cache: Cache::default(), lock };
        match target.unfinished_table() {
            Ok(None) => Ok(target),
            Ok(Some(table)) => Err(failed(format_args!(
                "import into {}: rows of addrwatch's table are not imported yet, they are in {table} (run aw-sqlite with this --database until it reports the end of that import, then import again)",
                target.path.display()
            ))),
            Err(error) => Err(failed(write_failure(&target.path, error))),
        }
    }

    /// A table of addrwatch with rows that cannot be compared yet.
    fn unfinished_table(&self) -> rusqlite::Result<Option<String>> {
        for table in schema::legacy_tables(&self.connection)? {
            if !delete_trigger::has_index(&self.connection, &table)? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    fn add_lines(&mut self, batch: &[HistoryLine]) -> rusqlite::Result<u64> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut added = 0;
        for line in batch {
            added += match line {
                HistoryLine::Sighting(sighting) => {
                    self.cache.add_sighting(&self.connection, sighting)?
                }
                HistoryLine::Change(change) => self.cache.add_change(&self.connection, change)?,
                HistoryLine::Name(name) => self.cache.add_name(&self.connection, name)?,
                HistoryLine::Begin | HistoryLine::End(_) => 0,
            };
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(added)
    }
}

impl HistoryTarget for SqliteTarget {
    fn add(&mut self, batch: &[HistoryLine]) -> Result<u64, Error> {
        self.cache = Cache::default();
        let added = self.add_lines(batch).map_err(|error| {
            let _ = self.connection.execute_batch("ROLLBACK");
            failed(write_failure(&self.path, error) + "; import again: no row is added twice")
        })?;
        let _ = self.connection.busy_timeout(Duration::ZERO); // it is tried again after the next batch
        let _ = database_file::copy_log(&self.connection, &self.path, &self.lock);
        let _ = self.connection.busy_timeout(BUSY_TIMEOUT);
        Ok(added)
    }

    fn add_database(&mut self, path: &Path, program: &str) -> Result<(), Error> {
        legacy_file::import(path, program, self)
    }
}

impl Cache {
    fn add_sighting(
        &mut self,
        database: &Connection,
        sighting: &HistorySighting,
    ) -> rusqlite::Result<u64> {
        let HistorySighting { place: named, time, mac, ip, source, origin, times, span } = sighting;
        let looks = Looks {
            ip: *ip,
            mac: *mac,
            source: source.map_or(OWN_FRAME, |source| source.number() as i64),
            host: named.host.clone(),
            interface: named.interface.clone(),
            vlan: named.vlan,
        };
        if self.pairings.len() >= CACHED {
            self.pairings.clear();
        }
        if !self.pairings.contains_key(&looks) {
            let found = pairings(database, &looks)?;
            self.pairings.insert(looks.clone(), found);
        }
        let place = self.place(database, named)?;
        let Some(found) = self.pairings.get_mut(&looks) else { return Ok(0) };
        let own = found.iter().find(|pairing| Some(pairing.place) == place);
        let own = own.map(|pairing| pairing.id);
        let (has_ring, nanos) = (!named.ring.is_empty(), time.as_nanos());
        if let Some(span) = span {
            let id = match own {
                Some(own) => own,
                None => create_pairing(database, (place, &looks, named), found)?,
            };
            // Those with which it may be the same where one of the two has no ring, and whole seconds.
            let similar =
                found.iter().filter(|pairing| pairing.id != id && !(has_ring && pairing.has_ring));
            let similar: Vec<i64> = similar.map(|pairing| pairing.id).collect();
            return add_span(database, (id, &similar), (nanos, *origin), span);
        }
        let count = format!("SELECT (SELECT count(*) FROM sighting WHERE pairing = ?1 AND time >= ?2 AND time < ?3 AND origin = ?4)
            + (SELECT count(*) FROM recent_sighting WHERE pairing = ?1 AND {} AND origin = ?4 AND {NOT_FILED})",
            recent_between("?2", "?3"));
        let mut count = database.prepare_cached(&count)?;
        let mut count = |pairing: i64, (from, to): (i64, i64)| -> rusqlite::Result<u64> {
            count.query_row([pairing, from, to, *origin], |row| Ok(row.get::<_, i64>(0)? as u64))
        };
        let exact = own.map_or(Ok(0), |own| count(own, (nanos, nanos.saturating_add(1))))?;
        if exact >= times.before + times.count {
            return Ok(0);
        }
        let in_span = "SELECT EXISTS (SELECT 1 FROM sighting_span
            WHERE pairing = ?1 AND first < ?3 AND last >= ?2 AND ?4)";
        let mut in_span = database.prepare_cached(in_span)?;
        let mut is_compacted = |pairing: i64, (from, to): (i64, i64)| -> rusqlite::Result<bool> {
            in_span.query_row(params![pairing, from, to, is_of_span(*origin)], |row| row.get(0))
        };
        if own.map_or(Ok(false), |own| is_compacted(own, (nanos, nanos.saturating_add(1))))? {
            return Ok(0);
        }
        let mut similar = 0;
        for pairing in found.iter().filter(|pairing| !(has_ring && pairing.has_ring)) {
            if is_compacted(pairing.id, second_of(*time))? {
                return Ok(0);
            }
            similar += count(pairing.id, second_of(*time))?;
        }
        let missing = missing(*times, exact, similar);
        if missing == 0 {
            return Ok(0);
        }
        let id = match own {
            Some(own) => own,
            None => create_pairing(database, (place, &looks, named), found)?,
        };
        let insert = "INSERT INTO sighting SELECT ?1, ?2, ?3, coalesce(max(again) + 1, 0)
            FROM sighting WHERE pairing = ?1 AND time = ?2 AND origin = ?3";
        let mut insert = database.prepare_cached(insert)?;
        for _ in 0..missing {
            insert.execute([id, nanos, *origin])?;
        }
        examine_late(database, id, nanos)?;
        Ok(missing)
    }

    fn add_change(
        &mut self,
        database: &Connection,
        change: &HistoryChange,
    ) -> rusqlite::Result<u64> {
        let HistoryChange { place, time, user, added, removed, times } = change;
        let HistoryPlace { host, ring, interface, router, .. } = place;
        let (id, nanos) = (self.place(database, place)?, time.as_nanos());
        let exact = "SELECT count(*) FROM config_change
            WHERE time = ? AND place = ? AND user = ? AND lines_added = ? AND lines_removed = ?";
        let number = |row: &rusqlite::Row| Ok(row.get::<_, i64>(0)? as u64);
        let row = params![nanos, id, user, added, removed]; // without a place, it equals none
        let exact = database.prepare_cached(exact)?.query_row(row, number)?;
        let similar = "SELECT count(*) FROM config_change JOIN place ON place.id = place
            WHERE time >= ? AND time < ? AND user = ? AND lines_added = ? AND lines_removed = ?
            AND host = ? AND interface = ? AND router = ? AND (ring = '' OR ?)";
        let ((from, to), no_ring) = (second_of(*time), ring.is_empty());
        let similar = database.prepare_cached(similar)?.query_row(
            params![from, to, user, added, removed, host, interface, router, no_ring],
            number,
        )?;
        let missing = missing(*times, exact, similar);
        if missing == 0 {
            return Ok(0);
        }
        let id = id.map_or_else(|| create_place(database, place), Ok)?;
        let mut insert =
            database.prepare_cached("INSERT INTO config_change VALUES (?, ?, ?, ?, ?)")?;
        for _ in 0..missing {
            insert.execute(params![nanos, id, user, added, removed])?;
        }
        Ok(missing)
    }

    /// What a device calls itself: a name that is there gets the earlier first and the later last time.
    fn add_name(&mut self, database: &Connection, name: &HistoryName) -> rusqlite::Result<u64> {
        let known = self.place(database, &name.place)?;
        let place = known.map_or_else(|| create_place(database, &name.place), Ok)?;
        add_name(database, place, name)
    }

    /// The id of a place, if it exists.
    fn place(
        &mut self,
        database: &Connection,
        place: &HistoryPlace,
    ) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.places.get(place) {
            return Ok(Some(*id));
        }
        let HistoryPlace { host, ring, interface, vlan, outer_vlan, router } = place;
        let id = known_place(database, [host, ring, interface, router], [*vlan, *outer_vlan])?;
        if self.places.len() >= CACHED {
            self.places.clear();
        }
        if let Some(id) = id {
            self.places.insert(place.clone(), id);
        }
        Ok(id)
    }
}

fn create_place(database: &Connection, place: &HistoryPlace) -> rusqlite::Result<i64> {
    let HistoryPlace { host, ring, interface, vlan, outer_vlan, router } = place;
    place_id(database, [host, ring, interface, router], [*vlan, *outer_vlan])
}

fn pairings(database: &Connection, looks: &Looks) -> rusqlite::Result<Vec<Pairing>> {
    let Looks { ip, mac, source, host, interface, vlan } = looks;
    let select = "SELECT pairing.id, place, ring <> '' FROM pairing JOIN place ON place.id = place
        WHERE address = ? AND mac = ? AND source = ? AND host = ? AND interface = ? AND vlan = ?";
    let row = params![ip_bytes(ip), mac.number() as i64, source, host, interface, vlan];
    let mut statement = database.prepare_cached(select)?;
    let found = statement.query_map(row, |row| {
        Ok(Pairing { id: row.get(0)?, place: row.get(1)?, has_ring: row.get(2)? })
    })?;
    found.collect()
}

/// How many rows of a line the database lacks: it has `exact` ones that are equal, and `similar` ones of the same second that
/// may be the same where one of the two has whole seconds. Never more than the line stands for.
fn missing(times: HistoryCount, exact: u64, similar: u64) -> u64 {
    let HistoryCount { count, nth, before } = times;
    let of_equal = (before + count).saturating_sub(exact);
    let of_second = (nth - 1 + count).saturating_sub(similar);
    count.min(of_equal).min(of_second)
}

/// Creates a pairing. Without a place, that is created, too.
fn create_pairing(
    database: &Connection,
    (place, looks, named): (Option<i64>, &Looks, &HistoryPlace),
    known: &mut Vec<Pairing>,
) -> rusqlite::Result<i64> {
    let place = place.map_or_else(|| create_place(database, named), Ok)?;
    let insert = "INSERT INTO pairing (address, mac, place, ip, source) VALUES (?, ?, ?, ?, ?)";
    let (bytes, text) = (ip_bytes(&looks.ip), ip_text(looks.ip).to_string());
    let row = params![bytes, looks.mac.number() as i64, place, text, looks.source];
    let id = database.prepare_cached(insert)?.insert(row)?;
    known.push(Pairing { id, place, has_ring: !named.ring.is_empty() });
    Ok(id)
}

/// A span as the database has it.
#[derive(Clone, Copy)]
struct Span {
    first: i64,
    last: i64,
    count: i64,
    first_origin: i64,
    last_origin: i64,
}

/// Adds a span of a pairing, unless the database has one that lasts as long, or so many sightings in its time; also of similar pairings,
/// with which it may be the same. Those that overlap become one. Returns 1 if something was added.
fn add_span(
    database: &Connection,
    (pairing, similar): (i64, &[i64]),
    (first, first_origin): (i64, i64),
    span: &HistorySpan,
) -> rusqlite::Result<u64> {
    let HistorySpan { last, last_origin, sightings } = *span;
    let (last, count) = (last.as_nanos(), sightings as i64);
    let mut new = Span { first, last, count, first_origin, last_origin };
    let seconds = (first - first.rem_euclid(SECOND), last - last.rem_euclid(SECOND) + SECOND - 1);
    let (mut in_spans, mut single) = (Vec::new(), Vec::new());
    let (mut from, mut to) = (i64::MAX, i64::MIN);
    for pairing in [pairing].iter().chain(similar) {
        let times = if in_spans.is_empty() { (first, last) } else { seconds };
        let (count, earliest, latest) = single_in(database, *pairing, times)?;
        single.push(count);
        (from, to) = (from.min(earliest), to.max(latest));
        in_spans.push(spans_in(database, *pairing, times)?);
    }
    // Those of similar pairings may be copies, or not.
    let of_similar = single[1..].iter().sum::<i64>();
    new.count -= single[0] + of_similar;
    let missing = count - single[0].max(of_similar);
    let is_known = |known: &Span, (first, last): (i64, i64)| {
        known.first.div_euclid(SECOND) <= first.div_euclid(SECOND)
            && known.last.div_euclid(SECOND) >= last.div_euclid(SECOND)
    };
    let lacks = (from.saturating_sub(SECOND) >= first, to.saturating_add(SECOND) <= last);
    if in_spans[0].iter().any(|known| known.first <= first && known.last >= last)
        || in_spans[1..].iter().flatten().any(|known| is_known(known, (first, last)))
        || new.count <= 0 && lacks == (false, false)
    {
        return Ok(0);
    }
    // A span has two at least, or is one sighting if all others are there. If its ends are there, that one is between, and the span is, too. Equal
    // ones, at one end or between, are not all others of three or more.
    let is_rest_known = count == 2 || count > 2 && from < to;
    match (missing, lacks) {
        (1, (false, true)) if is_rest_known => {
            (new.first, new.first_origin, new.count) = (last, last_origin, 1);
        }
        (1, (lacks_first, false)) if lacks_first && is_rest_known || count == 2 => {
            (new.last, new.last_origin, new.count) = (first, first_origin, 1);
        }
        _ => {
            // What another pairing has of it is in the database, too.
            let similar = in_spans[1..].iter().flatten();
            let similar: i64 = similar.map(|known| known.part(first, last)).sum();
            new.count = (new.count - similar).max(1 + i64::from(last > first));
        }
    }
    let mut known = std::mem::take(&mut in_spans[0]);
    known.retain(|known| known.first <= new.last && known.last >= new.first);
    if known.iter().any(|known| known.first <= new.first && known.last >= new.last) {
        return Ok(0);
    }
    let joined = join(new, &known);
    let delete = "DELETE FROM sighting_span WHERE pairing = ? AND first = ?";
    for Span { first, .. } in &known {
        database.prepare_cached(delete)?.execute([pairing, *first])?;
    }
    let insert =
        "INSERT INTO sighting_span (pairing, first, last, count, first_origin, last_origin)
        VALUES (?, ?, ?, ?, ?, ?)";
    let Span { first, last, count, first_origin, last_origin } = joined;
    let row = [pairing, first, last, count, first_origin, last_origin];
    database.prepare_cached(insert)?.execute(row)?;
    Ok(1)
}

impl Span {
    /// About how many of its sightings are in a time.
    fn part(&self, from: i64, to: i64) -> i64 {
        let whole = i128::from(self.last) - i128::from(self.first);
        let part = i128::from(self.last.min(to)) - i128::from(self.first.max(from));
        match whole {
            0 => self.count,
            _ => ((i128::from(self.count) * part.max(0) + whole / 2) / whole) as i64,
        }
    }
}

/// The span that a new one and the known ones that it overlaps are together. Of the new one, what is outside of the known ones is added; if
/// it has all of them, it may be a later state of the same.
fn join(new: Span, known: &[Span]) -> Span {
    let mut all = new;
    let (mut sum, mut outside) = (0, new.count);
    for known in known {
        if known.first <= all.first {
            (all.first, all.first_origin) = (known.first, known.first_origin);
        }
        if known.last >= all.last {
            (all.last, all.last_origin) = (known.last, known.last_origin);
        }
        sum += known.count;
        outside -= new.part(known.first, known.last);
    }
    let has_all = (all.first, all.last) == (new.first, new.last);
    all.count = if has_all { sum.max(new.count) } else { sum + outside.max(0) };
    all
}

/// How many sightings of a pairing are in a time that a span could have, and the first and the last time of them.
fn single_in(
    database: &Connection,
    pairing: i64,
    (first, last): (i64, i64),
) -> rusqlite::Result<(i64, i64, i64)> {
    let single = format!(
        "SELECT count(*), CAST(coalesce(min(time), ?4) AS INTEGER), CAST(coalesce(max(time), ?5) AS INTEGER) FROM (
        SELECT time FROM sighting WHERE pairing = ?1 AND time >= ?2 AND time <= ?3 AND origin NOT IN ({0})
        UNION ALL SELECT slot - shift FROM recent_sighting WHERE pairing = ?1 AND {1}
            AND origin NOT IN ({0}) AND {NOT_FILED})",
        not_of_span(),
        recent_between("?2", "?3 + 1")
    );
    database.prepare_cached(&single)?.query_row([pairing, first, last, i64::MAX, i64::MIN], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
}

/// The spans of a pairing that have a part in a time.
fn spans_in(
    database: &Connection,
    pairing: i64,
    (first, last): (i64, i64),
) -> rusqlite::Result<Vec<Span>> {
    let known = "SELECT CAST(first AS INTEGER), CAST(last AS INTEGER), CAST(count AS INTEGER),
            CAST(first_origin AS INTEGER), CAST(last_origin AS INTEGER) FROM sighting_span
        WHERE pairing = ? AND first > ? AND first <= ? AND last >= ? ORDER BY first";
    let mut known = database.prepare_cached(known)?;
    // None is longer than a day.
    let from = first.saturating_sub(86_400 * SECOND);
    let known = known.query_map([pairing, from, last, first], |row| {
        let [first, last, count] = [row.get(0)?, row.get(1)?, row.get(2)?];
        let [first_origin, last_origin] = [row.get(3)?, row.get(4)?];
        Ok(Span { first, last, count, first_origin, last_origin })
    })?;
    known.collect()
}

/// The times of its second.
fn second_of(time: UnixTime) -> (i64, i64) {
    let from = time.as_nanos() - i64::from(time.subsec_nanos());
    (from, from.saturating_add(SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let times = |count, nth, before| HistoryCount { count, nth, before };
        for (times, exact, similar, expected) in [
            (times(1, 1, 0), 0, 0, 1),
            (times(1, 1, 0), 1, 1, 0),
            (times(3, 1, 0), 1, 1, 2),
            (times(2, 1, 0), 5, 5, 0),
            (times(1, 2, 0), 0, 1, 1), // the other one is the first of its second
            (times(1, 2, 0), 0, 2, 0),
            (times(3, 2, 0), 0, 2, 2),
            (times(1, 1_000_000, 0), 0, 0, 1), // never more than the line stands for
            (times(5, 11, 10), 10, 10, 5),     // the second line of fifteen equal rows
            (times(5, 11, 10), 13, 13, 2),
            (times(5, 11, 10), 15, 15, 0),
            (times(5, 11, 10), 0, 0, 5),
        ] {
            assert_eq!(missing(times, exact, similar), expected, "{times:?} {exact} {similar}");
        }
        assert_eq!(second_of(UnixTime::new(-1, 5)), (-SECOND, 0));
        assert_eq!(second_of(UnixTime::new(7, 0)), (7 * SECOND, 8 * SECOND));
    }

    /// Spans that overlap become one, and no sighting is counted twice or not at all: for what overlaps, their numbers are taken in
    /// proportion.
    #[test]
    fn spans_that_overlap() {
        let span =
            |first, last, count| Span { first, last, count, first_origin: 0, last_origin: 1 };
        for (new, known, expected) in [
            (span(59, 120, 120), vec![span(0, 60, 120)], (0, 120, 238)),
            (span(50, 100, 10), vec![span(0, 60, 120), span(90, 150, 120)], (0, 150, 246)),
            (span(0, 120, 240), vec![span(0, 60, 120)], (0, 120, 240)), // a later state
            (span(0, 120, 240), vec![span(0, 40, 120), span(80, 110, 200)], (0, 120, 320)),
            (span(60, 120, 61), vec![span(0, 60, 61)], (0, 120, 122)),
            (span(5, 5, 1), vec![], (5, 5, 1)),
        ] {
            let Span { first, last, count, .. } = join(new, &known);
            assert_eq!((first, last, count), expected);
        }
    }

    fn database() -> Connection {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        database
    }

    fn spans(database: &Connection) -> String {
        let all = "SELECT coalesce(group_concat(printf('%d:%d-%d=%d', pairing, first / 1000000000, last / 1000000000, count), ' '), '')
            FROM sighting_span";
        database.query_row(all, [], |row| row.get(0)).unwrap()
    }

    fn line(ring: &str, (first, last): (i64, i64), sightings: u64) -> HistorySighting {
        let last = UnixTime::from_nanos(last * SECOND);
        HistorySighting {
            place: HistoryPlace {
                host: "here".into(),
                ring: ring.into(),
                interface: "eth0".into(),
                ..HistoryPlace::default()
            },
            time: UnixTime::from_nanos(first * SECOND),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            ip: "10.0.0.1".parse().unwrap(),
            source: None,
            origin: 1,
            times: HistoryCount { count: 1, nth: 1, before: 0 },
            span: Some(HistorySpan { last, last_origin: 1, sightings }),
        }
    }

    /// A span is not added where rows without a ring are the same ones, and the reverse; whatever is there first, and how often it comes.
    #[test]
    fn spans_and_rows_without_a_ring() {
        const LATE: i64 = 1_800_000_000;
        let day = (LATE, LATE + 3_000);
        for (first, second) in [("", "ring"), ("ring", "")] {
            let (database, mut cache) = (database(), Cache::default());
            let mut add = |line: &HistorySighting| cache.add_sighting(&database, line).unwrap();
            // Single ones, and then the same as a span.
            for second in (0..=3_000).step_by(30) {
                let single = line(first, (LATE + second, 0), 1);
                assert_eq!(add(&HistorySighting { span: None, ..single }), 1);
            }
            assert_eq!(add(&line(second, day, 101)), 0);
            assert_eq!(add(&line(first, day, 101)), 0);
            assert_eq!(spans(&database), "");
            // A span, and then the same, and a part of it, elsewhere.
            let later = (LATE + 4_000, LATE + 7_000);
            assert_eq!(add(&line(first, later, 101)), 1);
            assert_eq!(add(&line(second, later, 101)), 0);
            assert_eq!(add(&line(second, (LATE + 5_000, LATE + 6_000), 34)), 0);
            // One that lasts longer adds what is new, once.
            assert_eq!(add(&line(second, (LATE + 4_000, LATE + 8_000), 135)), 1);
            assert_eq!(add(&line(second, (LATE + 4_000, LATE + 8_000), 135)), 0);
            let sum = "SELECT sum(count) FROM sighting_span";
            assert_eq!(database.query_row(sum, [], |row| row.get::<_, i64>(0)), Ok(135));
        }
    }

    /// A span that became a single sighting moves as one; one that is between two known ones joins them; and few sightings that lie
    /// elsewhere in its time do not stand for it.
    #[test]
    fn spans_are_joined() {
        const LATE: i64 = 1_800_000_000;
        let database = database();
        let add = |first: i64, last: i64, count| {
            let line = line("ring", (LATE + first, LATE + last), count);
            Cache::default().add_sighting(&database, &line).unwrap()
        };
        assert_eq!(add(0, 0, 1), 1);
        assert_eq!((add(100, 160, 61), add(190, 250, 61)), (1, 1));
        assert_eq!(add(150, 200, 51), 1);
        assert_eq!(add(150, 200, 51), 0);
        let single = "INSERT INTO sighting VALUES (1, ?1 + 500000000000, 0, 0), (1, ?1 + 500000000000, 0, 1), (1, ?1 + 500000000000, 0, 2)";
        database.execute(single, [LATE * SECOND]).unwrap();
        assert_eq!(add(400, 900, 3), 1);
        assert_eq!(add(400, 900, 3), 0);
        // All but one of a span are there.
        let single = "INSERT INTO sighting VALUES (1, ?1 + 2000000000000, 0, 0), (1, ?1 + 2030000000000, 0, 0)";
        database.execute(single, [LATE * SECOND]).unwrap();
        assert_eq!((add(2_000, 2_060, 3), add(2_000, 2_060, 3)), (1, 0));
        // Equal ones at one of its ends.
        let single = "INSERT INTO sighting VALUES (1, ?1 + 10000000000000, 0, 0), (1, ?1 + 10000000000000, 0, 1), (1, ?1 + 11060000000000, 0, 0), (1, ?1 + 11060000000000, 0, 1)";
        database.execute(single, [LATE * SECOND]).unwrap();
        assert_eq!((add(10_000, 10_060, 3), add(10_000, 10_060, 3)), (1, 0));
        assert_eq!((add(11_000, 11_060, 3), add(11_000, 11_060, 3)), (1, 0));
        // What is known twice, with a ring and without one, may be copies: what is between the ends of a span is not known, and is within it.
        let ringless = HistorySighting { span: None, ..line("", (LATE + 3_000, 0), 1) };
        assert_eq!(Cache::default().add_sighting(&database, &ringless).unwrap(), 1);
        let single = "INSERT INTO sighting VALUES (1, ?1 + 3000000000000, 0, 0), (2, ?1 + 5000000000000, 0, 0), (2, ?1 + 6200000000000, 0, 0)";
        database.execute(single, [LATE * SECOND]).unwrap();
        assert_eq!((add(3_000, 4_200, 3), add(3_000, 4_200, 3)), (1, 0));
        assert_eq!((add(5_000, 6_200, 3), add(5_000, 6_200, 3)), (1, 0));
        let all = spans(&database);
        let known = [
            (0, 0, 1),
            (100, 250, 61 + 61 + 51 - 10 - 10),
            (400, 900, 2),
            (2_060, 2_060, 1),
            (3_000, 4_200, 2),
            (5_000, 6_200, 2),
            (10_000, 10_060, 2),
            (11_000, 11_060, 2),
        ];
        let known =
            known.map(|(from, to, count)| format!("1:{}-{}={count}", LATE + from, LATE + to));
        assert_eq!(all, known.join(" "));
    }
}
