//! Compacts old sightings into spans: claims of a pairing that are at most ten minutes apart become one row with the first and
//! the last of them, and their number. aw-query answers as before, because only what decides nothing is compacted: a claim of the
//! MAC that has the address, between two others of it. Answers and signs of life between two such claims go with them.
//! Where another MAC used the address within twenty minutes, or this one probed it, all sightings stay: which of them counts depends
//! on what comes within ten minutes, and on what waits for that. So do claims in frames of another MAC, and messages that
//! are no pairing.
//!
//! Sightings that are not filed by pairing yet stay, and so does what is newer: what is near a sighting must be known.
//! A pass goes through the pairings in small steps, several times in the days for which single sightings are kept. `span_progress`
//! has how far it is, in the transaction of the rows. A span lies within a day of UTC: so what deletes the first row of
//! it, as old, does not delete months.

use std::time::{Duration, Instant};

use aw_database::LONGEST_SHIFT;
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::{Evidence, Origin, UnixTime};

use crate::retention::clock_set;

const DAY: Duration = Duration::from_secs(86_400);
/// Sightings no further apart are one presence, as for aw-query: ten minutes.
const APART: i64 = 600_000_000_000;
/// Nothing else that decides is nearer.
const ALONE: i64 = 2 * APART;
const DAY_NANOS: i64 = 86_400_000_000_000;
/// Claims that a span is worth. So many at least, or one more of a span that exists.
const LEAST: u64 = 3;
/// Sightings of a pairing that are examined together, at least.
const TOGETHER: usize = 100;
/// Pairings that one step examines, if there is nothing to compact.
const PAIRINGS_PER_STEP: usize = 1000;
/// Other pairings of an address, and their sightings in a step: with more of them, any host may have made them up, and all stays.
const OTHERS: i64 = 1000;
const SIGHTINGS_OF_OTHERS: i64 = 50_000;

/// Decides when sightings are compacted.
#[derive(Default)]
pub struct Compaction {
    /// The age from which on; none: never.
    keep: Option<Duration>,
    began: Option<Instant>,
}

/// The time between two passes: each one writes a page or two of each pairing.
fn pause(keep: Duration) -> Duration {
    (keep / 4).min(DAY)
}

/// How far a pass is.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Sightings from before this time were examined in earlier passes.
    until: i64,
    /// Sightings from before this time are examined in this pass; the same if there is none.
    before: i64,
    /// The pairing that is examined, and the time from which on.
    pairing: i64,
    time: i64,
}

/// A sighting.
#[derive(Clone, Copy)]
struct Row {
    time: i64,
    origin: i64,
}

/// Claims that are not interrupted.
#[derive(Clone, Copy)]
struct Run {
    first: Row,
    last: Row,
    claims: u64,
    /// It continues a span that exists: when that begins, and its last sighting.
    of_span: Option<(i64, i64)>,
}

impl Compaction {
    /// Sightings stay for so many days as they are; 0: for ever.
    pub fn new(days: u32) -> Compaction {
        let keep = Some(days).filter(|days| *days > 0);
        let keep = keep.map(|days| DAY * days);
        Compaction { keep, ..Compaction::default() }
    }

    /// Whether a pass is under way, or one may begin.
    pub fn may_be_due(&self, database: &Connection) -> rusqlite::Result<bool> {
        let Some(keep) = self.keep else { return Ok(false) };
        let pause = pause(keep);
        let progress = progress(database)?;
        let is_under_way = progress.until < progress.before;
        let is_due = self.began.is_none_or(|began| began.elapsed() >= pause);
        Ok(is_under_way || is_due && UnixTime::now() >= UnixTime::CLOCK_SET)
    }

    /// The time before which sightings are compacted, if a pass is under way or due. To be called in a transaction.
    pub fn due(&mut self, database: &Connection) -> rusqlite::Result<Option<i64>> {
        self.due_at(database, UnixTime::now().as_nanos(), Instant::now())
    }

    fn due_at(
        &mut self,
        database: &Connection,
        wall: i64,
        steady: Instant,
    ) -> rusqlite::Result<Option<i64>> {
        let Some(keep) = self.keep else { return Ok(None) };
        let pause = pause(keep);
        let is_due = self.began.is_none_or(|began| steady - began >= pause);
        let mut progress = progress(database)?;
        if progress.before <= progress.until {
            let keep = i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX);
            let before = wall.saturating_sub(keep);
            self.began = if is_due { Some(steady) } else { self.began };
            if !is_due || wall < UnixTime::CLOCK_SET.as_nanos() {
                return Ok(None);
            }
            if before <= progress.until {
                // The clock was ahead: what it examined then is not all that is older.
                if before < progress.until.saturating_sub(DAY_NANOS) {
                    store(database, Progress { until: before, before, ..progress })?;
                }
                return Ok(None);
            }
            let oldest = "SELECT min(slot) FROM recent_sighting";
            let oldest: Option<i64> = database.query_row(oldest, [], |row| row.get(0))?;
            let before =
                oldest.map_or(before, |oldest| before.min(oldest.saturating_sub(LONGEST_SHIFT)));
            if before <= progress.until {
                return Ok(None);
            }
            progress = Progress { before, pairing: 0, time: i64::MIN, ..progress };
            store(database, progress)?;
        }
        Ok(Some(progress.before))
    }

    /// Examines at most about `rows` sightings, in the caller's transaction. Returns true if there may be more.
    pub fn step(&mut self, database: &Connection, rows: usize) -> rusqlite::Result<bool> {
        let mut progress = progress(database)?;
        if progress.before <= progress.until {
            return Ok(false);
        }
        let mut left = rows;
        for _ in 0..PAIRINGS_PER_STEP {
            if progress.time == i64::MIN {
                let next = "SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT 1";
                let next =
                    database.prepare_cached(next)?.query_row([progress.pairing], |row| row.get(0));
                let Some(next) = next.optional()? else {
                    progress.until = progress.before;
                    store(database, progress)?;
                    return Ok(false);
                };
                // Those near the end of an earlier pass may belong to later ones.
                let from = progress.until.saturating_sub(2 * ALONE).max(clock_set(database, next)?);
                (progress.pairing, progress.time) = (next, from);
            }
            let (examined, next) = compact(database, &progress, left.max(TOGETHER))?;
            progress.time = next.unwrap_or(i64::MIN);
            left = left.saturating_sub(examined);
            if left == 0 {
                break;
            }
        }
        store(database, progress)?;
        Ok(true)
    }
}

fn progress(database: &Connection) -> rusqlite::Result<Progress> {
    let select = "SELECT until, before, pairing, time FROM span_progress";
    let progress = database.prepare_cached(select)?.query_row([], |row| {
        let [until, before, pairing, time] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        Ok(Progress { until, before, pairing, time })
    });
    let none = Progress { until: i64::MIN, before: i64::MIN, pairing: 0, time: i64::MIN };
    Ok(progress.optional()?.unwrap_or(none))
}

fn store(database: &Connection, progress: Progress) -> rusqlite::Result<()> {
    let Progress { until, before, pairing, time } = progress;
    database.prepare_cached("DELETE FROM span_progress")?.execute([])?;
    let insert = "INSERT INTO span_progress VALUES (?, ?, ?, ?)";
    database.prepare_cached(insert)?.execute([until, before, pairing, time]).map(drop)
}

/// To be called after sightings were added that may be older than those of the passes: the next pass examines them.
pub fn examine_again(database: &Connection, oldest: i64) -> rusqlite::Result<()> {
    let progress = progress(database)?;
    if oldest < progress.until {
        store(database, Progress { until: oldest, before: oldest, ..progress })?;
    }
    Ok(())
}

/// What a stored origin proves. Numbers of other programs are claims, as for aw-query.
fn evidence(origin: i64) -> Evidence {
    let origin = u8::try_from(origin).ok().and_then(Origin::from_number);
    origin.map_or(Evidence::Claim, Origin::evidence)
}

/// Whether a sighting of a pairing is one of a span that lasts over its time.
pub fn is_of_span(origin: i64) -> bool {
    evidence(origin) != Evidence::Probe && evidence(origin).is_pairing()
}

/// The origins of sightings that are not of a span, for SQL.
pub fn not_of_span() -> String {
    let all = (0..=i64::from(u8::MAX)).filter(|origin| !is_of_span(*origin));
    all.map(|origin| origin.to_string()).collect::<Vec<_>>().join(", ")
}

/// Compacts sightings of a pairing, at most `rows`. Returns how many it examined, and from which time on there are more.
fn compact(
    database: &Connection,
    progress: &Progress,
    rows: usize,
) -> rusqlite::Result<(usize, Option<i64>)> {
    let Progress { before, pairing, time: from, .. } = *progress;
    // What comes after a sighting is known.
    let to = before.saturating_sub(ALONE);
    let select = "SELECT time, origin FROM sighting WHERE pairing = ? AND time >= ? AND time < ?
        ORDER BY time, origin LIMIT ?";
    let mut statement = database.prepare_cached(select)?;
    let found = statement.query_map(params![pairing, from, to, rows as i64], |row| {
        Ok(Row { time: row.get(0)?, origin: row.get(1)? })
    })?;
    let all: Vec<Row> = found.collect::<rusqlite::Result<_>>()?;
    let [first, .., last] = all[..] else { return Ok((all.len(), None)) };
    let after = (all.len() == rows).then_some(last.time.saturating_add(1));
    let near = (first.time.saturating_sub(ALONE), last.time.saturating_add(ALONE + 1));
    let Some(disturbing) = Disturbing::of(database, pairing, near)? else {
        return Ok((all.len(), after));
    };
    let mut run: Option<Run> = None;
    for row in &all {
        match evidence(row.origin) {
            // They decide nothing, and stay where they are.
            Evidence::NoHost | Evidence::Ignored | Evidence::Lease => {}
            _ if disturbing.touches(row.time) => end(database, pairing, run.take())?,
            Evidence::Claim => match &mut run {
                Some(run) if is_next((run.begin(), run.last.time), row.time) => {
                    (run.last, run.claims) = (*row, run.claims + 1);
                }
                _ => {
                    let of_span = span_before(database, pairing, row.time)?;
                    let new = Run { first: *row, last: *row, claims: 1, of_span };
                    end(database, pairing, run.replace(new))?;
                }
            },
            _ => {} // of a span if a claim follows
        }
    }
    // A run that is too short is examined again, with what follows.
    let again = run.filter(|run| !run.is_worth_a_span() && run.first.time > from);
    end(database, pairing, run)?;
    let next = after.map(|after| again.map_or(after, |run| run.first.time));
    Ok((all.len(), next))
}

/// Whether a claim continues what began at a time and had its last claim at another one.
fn is_next((begin, last): (i64, i64), time: i64) -> bool {
    time.saturating_sub(last) <= APART && begin.div_euclid(DAY_NANOS) == time.div_euclid(DAY_NANOS)
}

impl Run {
    fn begin(&self) -> i64 {
        self.of_span.map_or(self.first.time, |(first, _)| first)
    }

    fn is_worth_a_span(&self) -> bool {
        self.claims >= LEAST || self.of_span.is_some()
    }
}

/// The first and the last time of the span that a claim continues, if there is one.
fn span_before(
    database: &Connection,
    pairing: i64,
    time: i64,
) -> rusqlite::Result<Option<(i64, i64)>> {
    let select = "SELECT first, last FROM sighting_span WHERE pairing = ? AND first <= ?
        ORDER BY first DESC LIMIT 1";
    let span = database
        .prepare_cached(select)?
        .query_row([pairing, time], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    Ok(span.optional()?.filter(|span| is_next(*span, time)))
}

/// Makes a span of a run, if it is worth one.
fn end(database: &Connection, pairing: i64, run: Option<Run>) -> rusqlite::Result<()> {
    let Some(run) = run.filter(Run::is_worth_a_span) else { return Ok(()) };
    let Run { first, last, of_span, .. } = run;
    let from = of_span.map_or(first.time, |(_, last)| last);
    let delete = format!(
        "DELETE FROM sighting WHERE pairing = ? AND time >= ? AND time <= ? AND origin NOT IN ({})",
        not_of_span()
    );
    let moved = database.prepare_cached(&delete)?.execute([pairing, from, last.time])? as i64;
    if let Some((begin, _)) = of_span {
        let extend = "UPDATE sighting_span SET count = count + ?3,
            last_origin = CASE WHEN last < ?4 THEN ?5 ELSE last_origin END, last = max(last, ?4)
            WHERE pairing = ?1 AND first = ?2";
        let row = [pairing, begin, moved, last.time, last.origin];
        return database.prepare_cached(extend)?.execute(row).map(drop);
    }
    let insert =
        "INSERT INTO sighting_span (pairing, first, last, count, first_origin, last_origin)
        VALUES (?, ?, ?, ?, ?, ?)";
    let row = [pairing, first.time, last.time, moved, first.origin, last.origin];
    database.prepare_cached(insert)?.execute(row).map(drop)
}

/// The times near which a pairing's sightings stay as they are, each from and to, sorted, and none overlap.
struct Disturbing {
    times: Vec<(i64, i64)>,
}

impl Disturbing {
    /// None if nothing of the pairing is compacted: another MAC sent the frames, or others that disturb are too many.
    fn of(
        database: &Connection,
        pairing: i64,
        (from, to): (i64, i64),
    ) -> rusqlite::Result<Option<Disturbing>> {
        let source = "SELECT source FROM pairing WHERE id = ?";
        let source =
            database.prepare_cached(source)?.query_row([pairing], |row| row.get::<_, i64>(0))?;
        if source >= 0 {
            return Ok(None);
        }
        // Ring, outer VLAN and router are no part of it: rows that lack them may belong to the same network.
        let others = "SELECT other.id FROM pairing own JOIN place ON place.id = own.place
            JOIN pairing other ON other.address = own.address AND other.id <> own.id
            JOIN place there ON there.id = other.place AND there.host = place.host
                AND there.interface = place.interface AND there.vlan = place.vlan
            WHERE own.id = ? LIMIT ?";
        let mut others = database.prepare_cached(others)?;
        let others = others.query_map([pairing, OTHERS + 1], |row| row.get(0))?;
        let others = others.collect::<rusqlite::Result<Vec<i64>>>()?;
        let no_use = not_of_span();
        let probe = (0..=i64::from(u8::MAX)).filter(|origin| evidence(*origin) == Evidence::Probe);
        let probe = probe.map(|origin| origin.to_string()).collect::<Vec<_>>().join(", ");
        let uses = format!(
            "SELECT time, time FROM sighting
            WHERE pairing = ?1 AND time >= ?2 AND time < ?3 AND origin NOT IN ({no_use})
            UNION ALL SELECT first, last FROM sighting_span
            WHERE pairing = ?1 AND first > ?2 - {DAY_NANOS} AND first < ?3 AND last >= ?2 LIMIT ?4"
        );
        let probes = format!(
            "SELECT time, time FROM sighting
            WHERE pairing = ?1 AND time >= ?2 AND time < ?3 AND origin IN ({probe}) LIMIT ?4"
        );
        let same = "SELECT other.id FROM pairing own JOIN pairing other
            ON other.address = own.address AND other.mac = own.mac WHERE own.id = ? LIMIT ?";
        let mut same = database.prepare_cached(same)?;
        let same = same.query_map([pairing, OTHERS + 1], |row| row.get(0))?;
        let same = same.collect::<rusqlite::Result<Vec<i64>>>()?;
        let (mut times, mut left) = (Vec::new(), SIGHTINGS_OF_OTHERS);
        for (select, pairings) in [(uses, &others), (probes, &same)] {
            let mut select = database.prepare_cached(&select)?;
            for pairing in pairings {
                let found = select
                    .query_map([*pairing, from, to, left], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let before = times.len();
                for found in found {
                    times.push(found?);
                }
                left -= (times.len() - before) as i64;
            }
        }
        if others.len().max(same.len()) as i64 > OTHERS || left <= 0 {
            return Ok(None);
        }
        widen(&mut times);
        Ok(Some(Disturbing { times }))
    }

    fn touches(&self, time: i64) -> bool {
        let after = self.times.partition_point(|(from, _)| *from <= time);
        after.checked_sub(1).and_then(|at| self.times.get(at)).is_some_and(|(_, to)| time <= *to)
    }
}

/// Adds twenty minutes on both sides, and joins what overlaps.
fn widen(times: &mut Vec<(i64, i64)>) {
    for (from, to) in times.iter_mut() {
        (*from, *to) = (from.saturating_sub(ALONE), to.saturating_add(ALONE));
    }
    times.sort_unstable();
    times.dedup_by(|next, known| {
        let overlaps = next.0 <= known.1;
        known.1 = if overlaps { known.1.max(next.1) } else { known.1 };
        overlaps
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    /// A pass is due at the start and then four times in the days for which single sightings are kept, unless the clock is not set; and
    /// after it was ahead.
    #[test]
    fn when_a_pass_is_due() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        let now = 20_000 * DAY_NANOS;
        let start = Instant::now();
        let hours = |number: u64| start + Duration::from_secs(number * 3_600);
        let mut compaction = Compaction::new(1);
        let mut due = |wall, steady| {
            let due = compaction.due_at(&database, wall, steady).unwrap();
            while compaction.step(&database, 1_000).unwrap() {}
            due
        };
        assert_eq!(due(1, hours(0)), None);
        assert_eq!(due(now, hours(6)), Some(now - DAY_NANOS));
        assert_eq!(due(now + 1, hours(11)), None);
        assert_eq!(due(now + 9 * DAY_NANOS, hours(12)), Some(now + 8 * DAY_NANOS));
        assert_eq!(due(now + 2, hours(18)), None);
        assert_eq!(due(now + DAY_NANOS, hours(24)), Some(now));
        // What is not filed yet stays.
        let new = now + 2 * LONGEST_SHIFT;
        crate::filing::insert_recent(&database, (1, new, 0)).unwrap();
        assert_eq!(due(now + 2 * DAY_NANOS, hours(30)), Some(new - LONGEST_SHIFT));
        assert_eq!(due(now + 3 * DAY_NANOS, hours(36)), None);
        assert_eq!(Compaction::new(0).due_at(&database, now, hours(99)).unwrap(), None);
    }
}
