//! Compacts old sightings into spans: those of a pairing that prove the same and are at most ten minutes apart become one row
//! with the first and the last of them, and their number. aw-query answers as before, because only what decides nothing is
//! compacted: claims in frames of their own, answers and signs of life of the only MAC that ever used the address, after its
//! first claim, and messages that are no pairing. Where another MAC used it within twenty minutes, or this one probed it, all
//! sightings stay: which of them counts depends on what comes within ten minutes, and on what waits for that.
//!
//! A pass goes through the pairings in small steps, once a day. `span_progress` has how far it is, in the transaction of the rows.
//! A span lies within a day of UTC: so what deletes the first row of it, as old, does not delete months.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::{Evidence, Origin, UnixTime};

use crate::retention::clock_set;

const DAY: Duration = Duration::from_secs(86_400);
/// Sightings no further apart are one presence, as for aw-query: ten minutes.
const APART: i64 = 600_000_000_000;
/// Nothing else that decides is nearer.
const ALONE: i64 = 2 * APART;
const DAY_NANOS: i64 = 86_400_000_000_000;
/// Sightings that a span is worth. So many at least, or one more of a span that exists.
const LEAST: usize = 3;
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

/// Sightings of one class that are not interrupted.
#[derive(Clone, Copy)]
struct Run {
    first: Row,
    last: Row,
    count: usize,
    origins: i64,
    /// It continues a span that exists: when that begins.
    of_span: Option<i64>,
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
        let pause = (keep / 24).min(DAY);
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
        let pause = (keep / 24).min(DAY);
        let is_due = self.began.is_none_or(|began| steady - began >= pause);
        let mut progress = progress(database)?;
        if progress.before <= progress.until {
            let keep = i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX);
            let before = wall.saturating_sub(keep);
            self.began = if is_due { Some(steady) } else { self.began };
            if !is_due || wall < UnixTime::CLOCK_SET.as_nanos() || before <= progress.until {
                return Ok(None);
            }
            progress = Progress { before, pairing: 0, time: i64::MIN, ..progress };
            store(database, progress)?;
        }
        Ok(Some(progress.before))
    }

    /// Examines at most about `rows` sightings, in the caller's transaction. Returns true if there may be more. Sightings that are
    /// not filed yet must be newer.
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

/// What a stored origin proves, as the number of a class. Numbers of other programs are claims, as for aw-query.
fn evidence(origin: i64) -> Evidence {
    let origin = u8::try_from(origin).ok().and_then(Origin::from_number);
    origin.map_or(Evidence::Claim, Origin::evidence)
}

/// The number of an origin's class in the table.
pub fn class_of(origin: i64) -> i64 {
    class(evidence(origin))
}

fn class(evidence: Evidence) -> i64 {
    match evidence {
        Evidence::Claim => 0,
        Evidence::FrameSource => 1,
        Evidence::SignOfLife => 2,
        Evidence::Probe => 3,
        Evidence::NoHost => 4,
        Evidence::Ignored => 5,
    }
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
    let near = (first.time.saturating_sub(ALONE), last.time.saturating_add(ALONE + 1));
    let Some(disturbing) = Disturbing::of(database, pairing, near)? else {
        let more = all.len() == rows;
        return Ok((all.len(), more.then_some(last.time.saturating_add(1))));
    };
    let owner_since = match disturbing.is_own {
        true => owner_since(database, pairing, &disturbing.others)?,
        false => None,
    };
    let stays = |row: &Row, evidence: Evidence| match evidence {
        Evidence::NoHost | Evidence::Ignored => false,
        Evidence::Probe => true,
        _ if !disturbing.is_own || disturbing.touches(row.time) => true,
        Evidence::Claim => false,
        _ => owner_since.is_none_or(|since| row.time < since),
    };
    let mut runs: HashMap<i64, Run> = HashMap::new();
    for row in &all {
        let evidence = evidence(row.origin);
        let class = class(evidence);
        if stays(row, evidence) {
            end(database, (pairing, class), runs.remove(&class))?;
            continue;
        }
        let is_next = |run: &Run| {
            row.time.saturating_sub(run.last.time) <= APART
                && row.time.div_euclid(DAY_NANOS) == run.first.time.div_euclid(DAY_NANOS)
        };
        match runs.get_mut(&class) {
            Some(run) if is_next(run) => {
                (run.last, run.count) = (*row, run.count + 1);
                run.origins |= bit(row.origin);
            }
            _ => {
                let of_span = span_before(database, (pairing, class), row.time)?;
                let run =
                    Run { first: *row, last: *row, count: 1, origins: bit(row.origin), of_span };
                end(database, (pairing, class), runs.insert(class, run))?;
            }
        }
    }
    let is_last = all.len() < rows;
    let mut next = (!is_last).then_some(last.time);
    for (class, run) in runs {
        // A run that is too short is examined again, with what follows.
        if !is_last && !run.is_worth_a_span() && run.first.time > first.time {
            next = next.map(|next| next.min(run.first.time));
            continue;
        }
        end(database, (pairing, class), Some(run))?;
    }
    // Also if all of them are of one moment.
    let next = next.map(|next| if next > from { next } else { last.time.saturating_add(1) });
    Ok((all.len(), next))
}

fn bit(origin: i64) -> i64 {
    1 << origin.clamp(0, 62)
}

impl Run {
    fn is_worth_a_span(&self) -> bool {
        self.count >= LEAST || self.of_span.is_some()
    }
}

/// When the span begins that a sighting continues, if there is one.
fn span_before(
    database: &Connection,
    (pairing, class): (i64, i64),
    time: i64,
) -> rusqlite::Result<Option<i64>> {
    let select =
        "SELECT first, last FROM sighting_span WHERE pairing = ? AND class = ? AND first <= ?
        ORDER BY first DESC LIMIT 1";
    let span = database.prepare_cached(select)?.query_row([pairing, class, time], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    let continues = |(first, last): &(i64, i64)| {
        time.saturating_sub(*last) <= APART
            && first.div_euclid(DAY_NANOS) == time.div_euclid(DAY_NANOS)
    };
    Ok(span.optional()?.filter(continues).map(|(first, _)| first))
}

/// Makes a span of a run, if it is worth one.
fn end(
    database: &Connection,
    (pairing, class): (i64, i64),
    run: Option<Run>,
) -> rusqlite::Result<()> {
    let Some(run) = run.filter(Run::is_worth_a_span) else { return Ok(()) };
    let Run { first, last, origins, of_span, .. } = run;
    let mut moved = 0;
    let mut select = database.prepare_cached(
        "SELECT DISTINCT origin FROM sighting WHERE pairing = ? AND time >= ? AND time <= ?",
    )?;
    let found = select.query_map([pairing, first.time, last.time], |row| row.get(0))?;
    let of_class = |origin: &i64| self::class(evidence(*origin)) == class;
    let found = found.collect::<rusqlite::Result<Vec<i64>>>()?;
    let is_alone = found.iter().all(of_class);
    for origin in found.into_iter().filter(of_class) {
        let delete = "DELETE FROM sighting WHERE pairing = ?1 AND time >= ?2 AND time <= ?3 AND (origin = ?4 OR ?5)";
        let row = params![pairing, first.time, last.time, origin, is_alone];
        moved += database.prepare_cached(delete)?.execute(row)?;
    }
    if let Some(begins) = of_span {
        let extend = "UPDATE sighting_span SET count = count + ?4, origins = origins | ?5,
            last_origin = CASE WHEN last < ?6 THEN ?7 ELSE last_origin END, last = max(last, ?6)
            WHERE pairing = ?1 AND class = ?2 AND first = ?3";
        let row = params![pairing, class, begins, moved as i64, origins, last.time, last.origin];
        return database.prepare_cached(extend)?.execute(row).map(drop);
    }
    let insert = "INSERT INTO sighting_span (pairing, class, first, last, count, origins, first_origin, last_origin)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let row = params![
        pairing,
        class,
        first.time,
        last.time,
        moved as i64,
        origins,
        first.origin,
        last.origin
    ];
    database.prepare_cached(insert)?.execute(row).map(drop)
}

/// From when on answers and signs of life of a pairing count at once: after its first claim, if no other MAC ever used the address.
fn owner_since(
    database: &Connection,
    pairing: i64,
    others: &[i64],
) -> rusqlite::Result<Option<i64>> {
    let no_use = origins(|evidence| {
        matches!(evidence, Evidence::Probe | Evidence::NoHost | Evidence::Ignored)
    });
    let used = format!(
        "SELECT EXISTS (SELECT 1 FROM sighting_span WHERE pairing = ?1 AND class <= 2)
        OR EXISTS (SELECT 1 FROM sighting WHERE pairing = ?1 AND origin NOT IN ({no_use}))"
    );
    let mut used = database.prepare_cached(&used)?;
    for other in others {
        if used.query_row([other], |row| row.get(0))? {
            return Ok(None);
        }
    }
    let no_claim = origins(|evidence| evidence != Evidence::Claim);
    let first = format!(
        "SELECT min(time) FROM (SELECT min(first) AS time FROM sighting_span WHERE pairing = ?1 AND class = 0
        UNION ALL SELECT * FROM (SELECT time FROM sighting
            WHERE pairing = ?1 AND time >= ?2 AND origin NOT IN ({no_claim}) ORDER BY time LIMIT 1))"
    );
    let set = clock_set(database, pairing)?;
    database.prepare_cached(&first)?.query_row([pairing, set], |row| row.get(0))
}

/// The origins that prove something, for SQL.
fn origins(is_wanted: impl Fn(Evidence) -> bool) -> String {
    let all = (0..=i64::from(u8::MAX)).filter(|origin| is_wanted(evidence(*origin)));
    all.map(|origin| origin.to_string()).collect::<Vec<_>>().join(", ")
}

/// The times near which a pairing's sightings stay as they are, each from and to, sorted, and none overlap.
struct Disturbing {
    times: Vec<(i64, i64)>,
    /// Other pairings of the address in this network.
    others: Vec<i64>,
    /// The pairing's own MAC sent the frames.
    is_own: bool,
}

impl Disturbing {
    /// None if there are too many.
    fn of(
        database: &Connection,
        pairing: i64,
        (from, to): (i64, i64),
    ) -> rusqlite::Result<Option<Disturbing>> {
        let source = "SELECT source FROM pairing WHERE id = ?";
        let source =
            database.prepare_cached(source)?.query_row([pairing], |row| row.get::<_, i64>(0))?;
        // The ring is no part of it: rows without one may belong to the same network.
        let others = "SELECT other.id FROM pairing own JOIN place ON place.id = own.place
            JOIN pairing other ON other.address = own.address AND other.id <> own.id
            JOIN place there ON there.id = other.place AND there.host = place.host
                AND there.interface = place.interface AND there.vlan = place.vlan
                AND there.outer_vlan = place.outer_vlan AND there.router = place.router
            WHERE own.id = ? LIMIT ?";
        let mut others = database.prepare_cached(others)?;
        let others = others.query_map([pairing, OTHERS + 1], |row| row.get(0))?;
        let others = others.collect::<rusqlite::Result<Vec<i64>>>()?;
        let (no_use, probe) = (
            origins(|evidence| {
                matches!(evidence, Evidence::Probe | Evidence::NoHost | Evidence::Ignored)
            }),
            origins(|evidence| evidence == Evidence::Probe),
        );
        let uses = format!(
            "SELECT time, time FROM sighting
            WHERE pairing = ?1 AND time >= ?2 AND time < ?3 AND origin NOT IN ({no_use})
            UNION ALL SELECT first, last FROM sighting_span
            WHERE pairing = ?1 AND last >= ?2 AND first < ?3 AND class <= 2 LIMIT ?4"
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
        Ok(Some(Disturbing { times, others, is_own: source < 0 }))
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
