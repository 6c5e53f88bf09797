//! Compacts old sightings into spans: claims of a pairing that are at most ten minutes apart become one row with the first and
//! the last of them, and their number. aw-query answers as before, because only what decides nothing is compacted: a claim of the
//! MAC that has the address, between two others of it. Answers and signs of life between two such claims go with them.
//! Where another MAC used the address within twenty minutes, or this one probed it, all sightings stay: which of them counts depends
//! on what comes within ten minutes, and on what waits for that. So do claims in frames of another MAC, and messages that
//! are no pairing.
//!
//! Sightings that are not filed by pairing yet stay, and so does what is newer: what is near a sighting must be known.
//! A pass goes through the pairings, address by address, in small steps, several times in the days for which single sightings are
//! kept. `span_progress` has how far it is, in the transaction of the rows, and `late_pairing` which pairings got older ones. A span lies within a day of UTC: so what deletes the first
//! row of it, as old, does not delete months. Spans of a pairing do not overlap.

mod neighbours;

use std::time::{Duration, Instant};

use aw_database::LONGEST_SHIFT;
use aw_output::{info, warn};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value};
use shm_layout::{Evidence, Origin};

use self::neighbours::{Disturbing, Neighbours, PAIRINGS};
use crate::{
    clock_check::{CLOCK_SET_WITHOUT_RING, ClockState, nanos, recent_times},
    filing::data_version,
    retention::clock_set,
    row_writer::RowWriter,
    unreadable::Unreadable,
};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
/// Sightings no further apart are one presence, as for aw-query: ten minutes.
const APART: i64 = 600_000_000_000;
/// Nothing else that decides is nearer.
const ALONE: i64 = 2 * APART;
const DAY_NANOS: i64 = 86_400_000_000_000;
/// Claims that a span is worth. So many at least, or one more of a span that exists.
const LEAST: u64 = 3;
/// Sightings of a pairing that are examined together: fewer where too much is near.
const TOGETHER: usize = 100;
const MOST_TOGETHER: usize = 10_000;
/// Pairings that one step examines, if there is nothing to compact.
const PAIRINGS_PER_STEP: usize = 1000;

/// Decides when sightings are compacted.
#[derive(Default)]
pub struct Compaction {
    /// `--raw-days`; 0: never.
    days: u32,
    /// The age from which on; none: never.
    keep: Option<Duration>,
    /// When the last pass began, and what it was to examine: the database has less if that was rolled back.
    began: Option<(Instant, i64)>,
    /// When to try again to begin one.
    next: Option<Instant>,
    /// Whether the database has spans, which were committed.
    has_spans: bool,
    /// The time of the first pass that was logged last.
    announced: i64,
    /// What is logged after the commit.
    messages: Vec<String>,
    /// The pairings of the address that was examined last.
    neighbours: Option<Neighbours>,
    /// The version of the data that they are from, and whether rows came while they were read: then all of them are read in one step.
    version: i64,
    hurries: bool,
    /// How many sightings are examined together now.
    together: usize,
    unreadable: Unreadable,
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
    /// The pairing that is examined, and the time from which on. Without a pass, none begins before that time.
    pairing: i64,
    time: i64,
}

/// A sighting. Another program may have stored an origin that no sighting has.
#[derive(Clone, Copy)]
struct Row {
    time: i64,
    origin: Option<i64>,
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

/// What follows in a pass.
enum Next {
    /// The next pairing.
    Pairing,
    /// The same one from this time on.
    From(i64),
    /// The same sightings.
    Again,
}

impl Compaction {
    /// Sightings stay for so many days as they are; 0: for ever.
    pub fn new(days: u32) -> Compaction {
        let keep = Some(days).filter(|days| *days > 0);
        let keep = keep.map(|days| DAY * days);
        Compaction { days, keep, together: MOST_TOGETHER, ..Compaction::default() }
    }

    pub fn is_on(&self) -> bool {
        self.keep.is_some()
    }

    /// Whether a pass is under way, or one may begin.
    pub fn may_be_due(
        &self,
        database: &Connection,
        state: ClockState,
        now: Instant,
    ) -> rusqlite::Result<bool> {
        let Some(keep) = self.keep else { return Ok(raw_days(database)? != Some(0)) };
        if !is_trusted(state) {
            return Ok(false);
        }
        let progress = progress(database)?;
        Ok(progress.is_under_way() || self.may_begin(pause(keep), &progress, now))
    }

    fn may_begin(&self, pause: Duration, progress: &Progress, now: Instant) -> bool {
        let is_over = |(began, before)| now - began >= pause || progress.until < before;
        self.began.is_none_or(is_over) && self.next.is_none_or(|next| now >= next)
    }

    /// Begins a pass if one is due: of sightings from `raw-days` before the clock's time, and before the newest one that is not filed yet,
    /// because those before the clock's time may have to be stored yet. Returns whether a pass is under way. To be called in a transaction, after
    /// what is to be stored was written. A pass that is under way waits while the clock may be wrong, and ends if the clock was corrected
    /// since it began, or more days are to be kept.
    pub fn begin(
        &mut self,
        database: &Connection,
        (wall, state): (i64, ClockState),
        now: Instant,
    ) -> rusqlite::Result<bool> {
        let Some(keep) = self.keep else {
            store_raw_days(database, 0)?;
            return Ok(false);
        };
        self.unreadable.examine(None);
        let mut progress = progress(database)?;
        let before = wall.saturating_sub(nanos(keep));
        if progress.is_under_way() {
            if !is_trusted(state) || progress.before <= before {
                return Ok(is_trusted(state));
            }
            let until = progress.until.min(before);
            progress = Progress { until, before: until, pairing: 0, time: i64::MIN };
            store(database, progress)?;
            (self.neighbours, self.began) = (None, None);
        }
        if !is_trusted(state) || !self.may_begin(pause(keep), &progress, now) {
            return Ok(false);
        }
        if self.waits(&mut progress, (wall, keep), database)? {
            self.next = Some(now + HOUR);
            return Ok(false);
        }
        if before < progress.until.saturating_sub(DAY_NANOS) {
            // The clock was ahead: what was examined then is not all that is older.
            progress = Progress { until: before, before, ..progress };
            store(database, progress)?;
        }
        // Those of a clock that is not set are never compacted, and disturb nothing.
        let (oldest, newest) = recent_times(database, wall)?.unwrap_or((i64::MAX, wall));
        let before = before.min(newest.saturating_sub(nanos(keep)));
        let before = before.min(oldest.saturating_sub(LONGEST_SHIFT));
        self.began = Some((now, before));
        if before <= progress.until {
            return Ok(false);
        }
        self.neighbours = None;
        store(database, Progress { before, pairing: 0, time: i64::MIN, ..progress })?;
        Ok(true)
    }

    /// Examines at most about `rows` sightings, in the caller's transaction. Returns true if there may be more.
    pub fn step(
        &mut self,
        database: &Connection,
        writer: &mut RowWriter,
        rows: usize,
    ) -> rusqlite::Result<bool> {
        let mut progress = progress(database)?;
        if !progress.is_under_way() {
            return Ok(false);
        }
        let version = data_version(database)?;
        let is_changed = std::mem::replace(&mut self.version, version) != version;
        self.hurries = false;
        if std::mem::take(&mut writer.has_late) || is_changed {
            // Another MAC may have come near to what follows.
            self.hurries = self.neighbours.take().is_some_and(|known| !known.are_known());
        }
        let mut left = rows;
        for _ in 0..PAIRINGS_PER_STEP {
            if progress.time == i64::MIN {
                self.unreadable.examine(None);
                let Some(next) = next_pairing(database, progress.pairing)? else {
                    store(database, Progress { until: progress.before, ..progress })?;
                    self.neighbours = None;
                    self.report_first_span(database);
                    if progress.until == i64::MIN && self.knows_spans() {
                        self.messages.push(first_pass_ended(database));
                    }
                    return Ok(false);
                };
                let until = progress.until.min(take_late(database, next)?.unwrap_or(i64::MAX));
                // Those near the end of an earlier pass may belong to later ones.
                let from = until.saturating_sub(2 * ALONE).max(clock_set(database, next)?);
                (progress.pairing, progress.time) = (next, from);
            }
            if self.unreadable.examine(Some(progress.pairing)) {
                // After a restart, a pass examines what this one has not.
                examine_late(database, progress.pairing, progress.time)?;
                progress.time = i64::MIN;
                continue;
            }
            let (cost, next) = self.compact(database, &progress, left)?;
            progress.time = match next {
                Next::Pairing => i64::MIN,
                Next::From(time) => time,
                Next::Again => progress.time,
            };
            left = left.saturating_sub(cost);
            if left == 0 {
                break;
            }
        }
        self.unreadable.examine(None);
        store(database, progress)?;
        self.report_first_span(database);
        Ok(true)
    }

    /// Reports that the first span of a database was made. A damaged page stops no pass here.
    fn report_first_span(&mut self, database: &Connection) {
        let is_new = !self.knows_spans() && has_spans(database).unwrap_or(false);
        if is_new && let Some(keep) = self.keep {
            self.messages.push(format!(
                    "compacting sightings that are older than {}: those of a MAC with an address that are at most ten minutes apart become one span; answers of aw-query stay the same (--raw-days 0: keep each sighting)",
                    days(keep)
                ));
        }
    }

    /// Whether the database has spans, or the current transaction made the first one.
    fn knows_spans(&self) -> bool {
        self.has_spans || !self.messages.is_empty()
    }

    /// To be called after the database was opened, maybe another one: there is no message if it has spans already.
    pub fn opened(&mut self, database: &Connection) {
        self.restart_pass();
        self.has_spans = has_spans(database).unwrap_or(true);
    }

    /// To be called after a commit.
    pub fn committed(&mut self) {
        self.has_spans |= !self.messages.is_empty();
        self.messages.drain(..).for_each(info);
    }

    /// To be called after a failure that rolled back what was done, maybe the begin of a pass: its progress is that of the database.
    pub fn restart_pass(&mut self) {
        (self.neighbours, self.next) = (None, None);
        self.messages.clear();
    }

    /// To be called after a fault. Returns the pairing that is left out from now on, if there is one.
    pub fn leave_out(&mut self) -> Option<i64> {
        self.unreadable.add()
    }

    /// Whether a pass over old sightings is still to wait, for a day after it was logged. Each start logs it.
    fn waits(
        &mut self,
        progress: &mut Progress,
        (wall, keep): (i64, Duration),
        database: &Connection,
    ) -> rusqlite::Result<bool> {
        // Or the clock was ahead.
        let longest = wall.saturating_add(DAY_NANOS);
        if progress.time > longest || is_to_announce(database, progress, wall, self.days)? {
            progress.time = longest;
            store(database, *progress)?;
        }
        store_raw_days(database, self.days)?;
        let time = progress.time;
        if wall >= time {
            return Ok(false);
        }
        if std::mem::replace(&mut self.announced, time) != time {
            let when = match time.saturating_sub(wall) / nanos(HOUR) {
                24.. => "from tomorrow on".into(),
                hours => format!("in {} hours", hours + 1),
            };
            warn(format_args!(
                "{when}, sightings that are older than {} are compacted: those of a MAC with an address that are at most ten minutes apart become one span; answers of aw-query stay the same (set --raw-days 0 before to keep each sighting)",
                days(keep)
            ));
        }
        Ok(true)
    }

    /// Compacts sightings of a pairing, about at most `rows`. Returns how many rows it read, and what follows.
    fn compact(
        &mut self,
        database: &Connection,
        progress: &Progress,
        rows: usize,
    ) -> rusqlite::Result<(usize, Next)> {
        let Progress { until, before, pairing, time: from } = *progress;
        let own = "SELECT address, CAST(source AS INTEGER) FROM pairing WHERE id = ?";
        let own = database.prepare_cached(own)?.query_row([pairing], |row| {
            Ok((row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec(), row.get::<_, i64>(1)?))
        });
        // Another MAC sent the frames, or retention deleted the pairing.
        let Some((address, _)) = own.optional()?.filter(|(_, source)| *source < 0) else {
            return Ok((1, Next::Pairing));
        };
        // What comes after a sighting is known.
        let to = before.saturating_sub(ALONE);
        let limit = self.together.min(rows).max(TOGETHER);
        let all = sightings(database, pairing, (from, to), limit)?;
        let mut cost = 1 + all.len();
        let [first, .., last] = all[..] else { return Ok((cost, Next::Pairing)) };
        let begin = until.saturating_sub(2 * ALONE).min(from);
        let window = (begin.saturating_sub(2 * ALONE), before);
        let neighbours = match self.neighbours.take() {
            Some(known) if known.are_of(&address, window) => known,
            _ => {
                let new = Neighbours::of(database, address, window)?;
                cost += new.count();
                new
            }
        };
        let neighbours = self.neighbours.insert(neighbours);
        if neighbours.count() > PAIRINGS {
            return Ok((cost, Next::Pairing));
        }
        let most = if self.hurries { PAIRINGS } else { rows.max(TOGETHER) };
        cost += neighbours.read(database, most)?;
        if !neighbours.are_known() {
            return Ok((cost, Next::Again));
        }
        let near = Disturbing::near(first.time, last.time);
        let (disturbing, read) = neighbours.disturbing(database, pairing, near)?;
        cost += read;
        let after = (all.len() == limit).then_some(last.time.saturating_add(1));
        let Some(disturbing) = disturbing else {
            // Only those near to what is too much stay.
            self.together = (all.len() / 8).max(TOGETHER);
            let is_least = all.len() <= TOGETHER;
            let next = if is_least { after.map_or(Next::Pairing, Next::From) } else { Next::Again };
            return Ok((cost, next));
        };
        self.together = (2 * self.together).min(MOST_TOGETHER);
        let again = compact_rows(database, (pairing, from), &all, &disturbing)?;
        let next = after.map(|after| again.unwrap_or(after));
        Ok((cost, next.map_or(Next::Pairing, Next::From)))
    }
}

impl Progress {
    /// Of a new database.
    const NONE: Progress =
        Progress { until: i64::MIN, before: i64::MIN, pairing: 0, time: i64::MIN };

    fn is_under_way(&self) -> bool {
        self.before > self.until
    }
}

/// The message that the first pass has ended, without reading all spans: there may be millions.
fn first_pass_ended(database: &Connection) -> String {
    let number = |select: &str| database.query_row(select, [], |row| row.get::<_, i64>(0));
    let free =
        number("PRAGMA freelist_count").unwrap_or(0) * number("PRAGMA page_size").unwrap_or(0);
    format!(
        "old sightings are compacted; {} MB of the file are free for new rows (VACUUM in sqlite3 makes it smaller)",
        free / 1_000_000
    )
}

/// Days for a message.
fn days(keep: Duration) -> String {
    match keep.as_secs() / DAY.as_secs() {
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

/// Whether the database has a span.
pub fn has_spans(database: &Connection) -> rusqlite::Result<bool> {
    let any = "SELECT EXISTS (SELECT 1 FROM sighting_span)";
    database.prepare_cached(any)?.query_row([], |row| row.get(0))
}

/// To be called when a database is opened.
pub fn prepare(database: &Connection) -> rusqlite::Result<()> {
    let any = "SELECT EXISTS (SELECT 1 FROM span_progress)";
    if database.query_row(any, [], |row| row.get(0))? {
        return Ok(());
    }
    store(database, Progress::NONE)
}

fn progress(database: &Connection) -> rusqlite::Result<Progress> {
    let select = "SELECT CAST(until AS INTEGER), CAST(before AS INTEGER), CAST(pairing AS INTEGER), CAST(time AS INTEGER)
        FROM span_progress";
    let progress = database.prepare_cached(select)?.query_row([], |row| {
        let [until, before, pairing, time] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        Ok(Progress { until, before, pairing, time })
    });
    Ok(progress.optional()?.unwrap_or(Progress::NONE))
}

fn store(database: &Connection, progress: Progress) -> rusqlite::Result<()> {
    let Progress { until, before, pairing, time } = progress;
    database.prepare_cached("DELETE FROM span_progress")?.execute([])?;
    let insert = "INSERT INTO span_progress VALUES (?, ?, ?, ?)";
    database.prepare_cached(insert)?.execute([until, before, pairing, time]).map(drop)
}

/// Whether the next pass begins a day after a start, or is to wait for the end of that day.
pub fn waits_for_a_day(database: &Connection, wall: i64, days: u32) -> rusqlite::Result<bool> {
    let progress = progress(database)?;
    Ok(!progress.is_under_way()
        && (progress.time > wall || is_to_announce(database, &progress, wall, days)?))
}

/// `--raw-days` of the last run, if it is known: also of one that waits for its first pass.
fn raw_days(database: &Connection) -> rusqlite::Result<Option<u32>> {
    let days = "SELECT CAST(days AS INTEGER) FROM raw_days";
    let days = database.prepare_cached(days)?.query_row([], |row| row.get::<_, i64>(0));
    Ok(days.optional()?.and_then(|days| days.try_into().ok()))
}

fn store_raw_days(database: &Connection, days: u32) -> rusqlite::Result<()> {
    if raw_days(database)? == Some(days) {
        return Ok(());
    }
    database.execute("DELETE FROM raw_days", [])?;
    database.execute("INSERT INTO raw_days VALUES (?)", [days]).map(drop)
}

/// Whether a pass is to be logged a day before: an earlier release made the database, or an import, or the last run kept sightings for longer,
/// or for ever, or it is not known; and there are sightings to compact that are more than two days older than the days, filed or not.
fn is_to_announce(
    database: &Connection,
    progress: &Progress,
    wall: i64,
    days: u32,
) -> rusqlite::Result<bool> {
    let is_first = progress.until == i64::MIN;
    // What is not known, or cannot be read, permits nothing.
    let last = raw_days(database).unwrap_or_default().unwrap_or(0);
    let is_shorter = last == 0 || days < last;
    let before = wall.saturating_sub(nanos(DAY * (days + 2)));
    if !is_shorter && (!is_first || progress.time > 0) || before <= progress.until {
        return Ok(false);
    }
    if recent_times(database, wall)?.is_some_and(|(oldest, _)| oldest < before) {
        return Ok(true);
    }
    let any = "SELECT EXISTS (SELECT 1 FROM pairing WHERE EXISTS (
        SELECT 1 FROM sighting WHERE pairing = id AND time >= ? AND time < ?))";
    let from = progress.until.max(CLOCK_SET_WITHOUT_RING);
    database.query_row(any, [from, before], |row| row.get(0))
}

/// Sightings from before this time are late: they are examined already, or are being examined.
pub fn examined_before(database: &Connection) -> rusqlite::Result<i64> {
    Ok(progress(database)?.before)
}

/// To be called after a sighting was added. If it is late, the next pass, or the current one, examines its pairing from there on.
pub fn examine_late(database: &Connection, pairing: i64, time: i64) -> rusqlite::Result<()> {
    let late = "INSERT INTO late_pairing SELECT ?1, ?2 FROM span_progress WHERE before > ?2
        ON CONFLICT (pairing) DO UPDATE SET time = min(time, excluded.time)";
    database.prepare_cached(late)?.execute([pairing, time]).map(drop)
}

/// The oldest late sighting of a pairing, which is being examined now.
fn take_late(database: &Connection, pairing: i64) -> rusqlite::Result<Option<i64>> {
    let select = "SELECT CAST(time AS INTEGER) FROM late_pairing WHERE pairing = ?";
    let late = database.prepare_cached(select)?.query_row([pairing], |row| row.get(0));
    let late = late.optional()?;
    if late.is_some() {
        let delete = "DELETE FROM late_pairing WHERE pairing = ?";
        database.prepare_cached(delete)?.execute([pairing])?;
    }
    Ok(late)
}

fn is_trusted(state: ClockState) -> bool {
    matches!(state, ClockState::Trusted | ClockState::Resumed)
}

/// The pairing that follows, in the order of addresses. None after the last one.
fn next_pairing(database: &Connection, pairing: i64) -> rusqlite::Result<Option<i64>> {
    const KEY: &str = "address, mac, place, source";
    let known = format!("SELECT {KEY} FROM pairing WHERE id = ?");
    let known = database.prepare_cached(&known)?.query_row([pairing], |row| {
        let [address, mac, place, source]: [Value; 4] =
            [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        Ok([address, mac, place, source])
    });
    let next = |after: &str, key: &[Value]| {
        let next = format!("SELECT id FROM pairing {after} ORDER BY {KEY} LIMIT 1");
        let mut next = database.prepare_cached(&next)?;
        next.query_row(params_from_iter(key), |row| row.get(0)).optional()
    };
    match known.optional()? {
        // Values and not a subquery: the index finds it among thousands of an address.
        Some(key) => next(&format!("WHERE ({KEY}) > (?, ?, ?, ?)"), &key),
        // Or retention deleted it: then the pass begins again, and finds little to do.
        None => next("", &[]),
    }
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

/// The sightings of a pairing in a time, at most `rows`.
fn sightings(
    database: &Connection,
    pairing: i64,
    (from, to): (i64, i64),
    rows: usize,
) -> rusqlite::Result<Vec<Row>> {
    let select = "SELECT time, origin FROM sighting WHERE pairing = ? AND time >= ? AND time < ?
        AND typeof(time) = 'integer' ORDER BY time, origin LIMIT ?";
    let mut statement = database.prepare_cached(select)?;
    let found = statement.query_map(params![pairing, from, to, rows as i64], |row| {
        let origin = row.get_ref(1)?.as_i64().ok();
        let origin = origin.filter(|origin| (0..=i64::from(u8::MAX)).contains(origin));
        Ok(Row { time: row.get(0)?, origin })
    })?;
    found.collect()
}

/// Compacts sightings of a pairing. Returns from which time on they are to be examined again, with what follows: those of a run that is
/// too short, unless they are the first ones.
fn compact_rows(
    database: &Connection,
    (pairing, from): (i64, i64),
    all: &[Row],
    disturbing: &Disturbing,
) -> rusqlite::Result<Option<i64>> {
    let mut run: Option<Run> = None;
    for row in all {
        match row.origin.map(evidence) {
            // They decide nothing, and stay where they are.
            None | Some(Evidence::NoHost | Evidence::Ignored | Evidence::Lease) => {}
            _ if disturbing.touches(row.time) => end(database, pairing, run.take())?,
            Some(Evidence::Claim) => match &mut run {
                Some(run) if is_next((run.begin(), run.last.time), row.time) => {
                    (run.last, run.claims) = (*row, run.claims + 1);
                }
                _ => {
                    end(database, pairing, run.take())?;
                    let of_span = span_before(database, pairing, row.time)?;
                    // What came to disturb its end stays after it.
                    let of_span =
                        of_span.filter(|(_, last)| *last >= row.time || !disturbing.touches(*last));
                    run = Some(Run { first: *row, last: *row, claims: 1, of_span });
                }
            },
            _ => {} // of a span if a claim follows
        }
    }
    let again = run.filter(|run| !run.is_worth_a_span() && run.first.time > from);
    end(database, pairing, run)?;
    Ok(again.map(|run| run.first.time))
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
    let select = "SELECT CAST(first AS INTEGER), CAST(last AS INTEGER) FROM sighting_span
        WHERE pairing = ? AND first <= ? ORDER BY first DESC LIMIT 1";
    let span = database
        .prepare_cached(select)?
        .query_row([pairing, time], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    Ok(span.optional()?.filter(|span| is_next(*span, time)))
}

/// Makes a span of a run, if it is worth one, with the spans that it reaches.
fn end(database: &Connection, pairing: i64, run: Option<Run>) -> rusqlite::Result<()> {
    let Some(run) = run.filter(Run::is_worth_a_span) else { return Ok(()) };
    let Run { first, last, of_span, .. } = run;
    // Those after the span, or older ones that were added within it.
    let from = of_span.map_or(first.time, |(_, last)| last.min(first.time));
    let delete = format!(
        "DELETE FROM sighting WHERE pairing = ? AND time >= ? AND time <= ? AND typeof(time) = 'integer'
        AND typeof(origin) = 'integer' AND origin BETWEEN 0 AND 255 AND origin NOT IN ({})",
        not_of_span()
    );
    let moved = database.prepare_cached(&delete)?.execute([pairing, from, last.time])?;
    let of_run = "pairing = ?1 AND first >= ?2 AND first <= ?3";
    let known = format!(
        "SELECT CAST(first AS INTEGER), CAST(last AS INTEGER), CAST(count AS INTEGER), CAST(first_origin AS INTEGER),
            CAST(last_origin AS INTEGER) FROM sighting_span WHERE {of_run} ORDER BY first"
    );
    let times = [pairing, run.begin(), last.time];
    let mut known = database.prepare_cached(&known)?;
    let known = known.query_map(times, |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])
    })?;
    let [first_origin, last_origin] = [first, last].map(|row| row.origin.unwrap_or_default());
    let mut span = [first.time, last.time, moved as i64, first_origin, last_origin];
    for known in known.collect::<rusqlite::Result<Vec<[i64; 5]>>>()? {
        if known[0] <= span[0] {
            (span[0], span[3]) = (known[0], known[3]);
        }
        if known[1] >= span[1] {
            (span[1], span[4]) = (known[1], known[4]);
        }
        span[2] = span[2].saturating_add(known[2]);
    }
    let joined = format!("DELETE FROM sighting_span WHERE {of_run}");
    database.prepare_cached(&joined)?.execute(times)?;
    let insert =
        "INSERT INTO sighting_span (pairing, first, last, count, first_origin, last_origin)
        VALUES (?, ?, ?, ?, ?, ?)";
    let [first, last, count, first_origin, last_origin] = span;
    let row = [pairing, first, last, count, first_origin, last_origin];
    database.prepare_cached(insert)?.execute(row).map(drop)
}

#[cfg(test)]
mod tests;
