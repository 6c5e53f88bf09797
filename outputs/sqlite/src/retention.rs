//! Deletes sightings and configuration changes that are older than `--retention`: pairing by pairing, in
//! small steps. The age of those whose clock was not set is not known: it is counted from the first pass that
//! finds them. Without `--retention`, pairings whose sightings another program has deleted are deleted.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use aw_output::warn;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::UnixTime;

use crate::row_writer::RowWriter;

/// Pairings that one step examines, if there is nothing to delete.
const PAIRINGS_PER_STEP: i64 = 1000;
/// A clock that is further ahead than this may be wrong: nothing is deleted for the time of the suspension.
const DAY: Duration = Duration::from_secs(86_400);
const MAX_AHEAD: Duration = DAY;
const SUSPENSION: Duration = Duration::from_secs(3_600);

/// Times before this one are those of a clock that was not set.
const CLOCK_SET: i64 = UnixTime::CLOCK_SET.as_nanos();
/// The same for rows without a ring, 2000-01-01: addrwatch wrote true times long before `CLOCK_SET`.
const CLOCK_SET_WITHOUT_RING: i64 = 946_684_800_000_000_000;
/// Rows from this time on are to be deleted, those without a date included.
const UNDATED: i64 = i64::MIN;
/// No row is older.
const NEVER: i64 = i64::MIN;
/// Stands for the configuration changes in the table `undated`: no pairing has this id.
const CHANGES: i64 = 0;

/// Decides when to delete, and remembers how far a pass is.
#[derive(Default)]
pub struct Retention {
    keep: Option<Duration>,
    pass: Option<DeletionPass>,
    /// When the last pass began.
    began: Option<Instant>,
    /// The wall clock at the last call, and when that was.
    last_clock: Option<(i64, Instant)>,
    /// The newest sighting confirms the clock, or the suspension is over.
    clock_trusted: bool,
    /// When deleting was suspended.
    suspended: Option<Instant>,
}

#[derive(Clone, Copy)]
struct DeletionPass {
    before: i64,
    /// The time of the clock when it began.
    now: i64,
    /// The id of the last pairing that was examined.
    pairing: i64,
    /// The newest sighting found so far, while the clock is not trusted yet.
    newest: i64,
}

impl Retention {
    pub fn new(days: Option<u32>) -> Self {
        let keep = days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        // Without a time to keep, nothing depends on the clock.
        Retention { keep, clock_trusted: keep.is_none(), ..Retention::default() }
    }

    /// Begins the current pass again: a failure rolled back what it did.
    pub fn restart_pass(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.pairing = 0;
        }
    }

    /// The time before which sightings are to be deleted, while a pass is due. A pass begins at the start,
    /// and then after each 24th of the time to keep, at least once a day: so a page of old rows is
    /// written once in a pass, and not for each event.
    pub fn due(&mut self) -> Option<i64> {
        self.due_at(UnixTime::now().as_nanos(), Instant::now())
    }

    fn due_at(&mut self, wall: i64, steady: Instant) -> Option<i64> {
        let Some(keep) = self.keep else { return self.due_without_limit(steady) };
        if wall < CLOCK_SET {
            return None; // a machine without a battery for its clock has just started
        }
        if let Some((before, at)) = self.last_clock.replace((wall, steady)) {
            let ahead = wall.saturating_sub(before) - nanos(steady - at);
            self.suspend_if_ahead(ahead, "the time that has passed", steady);
        }
        if self.suspended.is_some_and(|since| steady - since < SUSPENSION) {
            return None;
        }
        let pause = (keep / 24).min(DAY);
        if self.suspended.take().is_some()
            || self.pass.is_none() && self.began.is_none_or(|began| steady - began >= pause)
        {
            self.began = Some(steady);
            let before = wall.saturating_sub(nanos(keep));
            self.pass = Some(DeletionPass { before, now: wall, pairing: 0, newest: i64::MIN });
        }
        self.pass.map(|pass| pass.before)
    }

    /// Without `--retention`: a pass at the start and then once a day, which deletes no sighting.
    fn due_without_limit(&mut self, steady: Instant) -> Option<i64> {
        if self.pass.is_none() && self.began.is_none_or(|began| steady - began >= DAY) {
            self.began = Some(steady);
            self.pass = Some(DeletionPass { before: NEVER, now: NEVER, pairing: 0, newest: NEVER });
        }
        self.pass.map(|pass| pass.before)
    }

    /// Suspends deleting if the clock is so far ahead that it may be wrong.
    fn suspend_if_ahead(&mut self, ahead: i64, of: &str, now: Instant) {
        if ahead > nanos(MAX_AHEAD) {
            let days = ahead / nanos(MAX_AHEAD);
            warn(format_args!(
                "the clock is {days} days ahead of {of}: nothing is deleted for an hour (correct the clock if it is wrong)"
            ));
            (self.suspended, self.pass, self.clock_trusted) = (Some(now), None, true);
        }
    }

    /// Searches for a sighting that is about as new as the clock. Returns true if there is more to do.
    fn verify_clock(&mut self, database: &Connection) -> rusqlite::Result<bool> {
        let Some(pass) = &mut self.pass else { return Ok(false) };
        let now = pass.now;
        let newest = "SELECT max(id), max(max(coalesce((SELECT max(time) FROM sighting
                WHERE pairing = id AND time >= CASE WHEN ring = '' THEN ?3 ELSE ?4 END), ?5),
                coalesce((SELECT max(last) FROM sighting_span WHERE pairing = id), ?5)))
            FROM (SELECT pairing.id AS id, ring FROM pairing LEFT JOIN place ON place.id = place
                WHERE pairing.id > ?1 ORDER BY pairing.id LIMIT ?2)";
        let row = |row: &Row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?));
        let values = [pass.pairing, PAIRINGS_PER_STEP, CLOCK_SET_WITHOUT_RING, CLOCK_SET, i64::MIN];
        let (last, time) = database.prepare_cached(newest)?.query_row(values, row)?;
        pass.newest = pass.newest.max(time.unwrap_or(i64::MIN));
        if pass.pairing == 0 {
            let newest = "SELECT max(slot) FROM recent_sighting WHERE slot >= ?";
            let recent = database
                .prepare_cached(newest)?
                .query_row([CLOCK_SET], |row| row.get::<_, Option<i64>>(0))?;
            pass.newest = pass.newest.max(recent.unwrap_or(i64::MIN));
        }
        self.clock_trusted = pass.newest >= now - nanos(MAX_AHEAD);
        match last {
            Some(last) if !self.clock_trusted => pass.pairing = last,
            None if pass.newest > i64::MIN => {
                let ahead = now.saturating_sub(pass.newest);
                self.suspend_if_ahead(ahead, "the newest sighting", Instant::now());
            }
            _ => (self.clock_trusted, pass.pairing) = (true, 0), // or there is nothing to delete
        }
        Ok(self.pass.is_some())
    }

    /// Deletes at most `rows` rows, in the caller's transaction. Returns true if there may be more. Recent sightings must be new
    /// enough: see `Filing::want`.
    pub fn step(
        &mut self,
        database: &Connection,
        writer: &mut RowWriter,
        rows: usize,
    ) -> rusqlite::Result<bool> {
        if !self.clock_trusted {
            return self.verify_clock(database);
        }
        let Some(pass) = &mut self.pass else { return Ok(false) };
        let mut left = rows;
        let mut recent = None;
        let next = "SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT 1";
        for _ in 0..PAIRINGS_PER_STEP {
            let next = database.prepare_cached(next)?.query_row([pass.pairing], |row| row.get(0));
            let Some(pairing) = next.optional()? else {
                let more = delete_changes(database, pass, left)? == left
                    || delete_places(database, writer, left)? == left;
                self.pass = self.pass.filter(|_| more);
                return Ok(more);
            };
            let oldest = oldest_sighting(database, pairing)?;
            let from = oldest_to_delete(database, pass, pairing, oldest)?;
            if let Some(from) = from {
                left -= delete_sightings(database, pass, (pairing, from), left)?;
            }
            if left == 0 {
                return Ok(true); // this pairing may have more
            }
            pass.pairing = pairing;
            if oldest.is_some() && from.is_none() {
                continue;
            }
            let recent: &HashSet<i64> = match &mut recent {
                Some(recent) => recent,
                none => none.insert(recent_pairings(database)?),
            };
            if recent.contains(&pairing) {
                continue;
            }
            // Or all of them were deleted from the view.
            let unused = "DELETE FROM pairing WHERE id = ?1
                AND NOT EXISTS (SELECT 1 FROM sighting WHERE pairing = ?1)
                AND NOT EXISTS (SELECT 1 FROM sighting_span WHERE pairing = ?1)";
            if database.prepare_cached(unused)?.execute([pairing])? > 0 {
                forget_undated(database, pairing, None)?;
                writer.clear_pairings();
            }
        }
        Ok(true)
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn oldest_sighting(database: &Connection, pairing: i64) -> rusqlite::Result<Option<i64>> {
    let oldest = "SELECT min(time) FROM (SELECT min(time) AS time FROM sighting WHERE pairing = ?1
        UNION ALL SELECT min(first) FROM sighting_span WHERE pairing = ?1)";
    database.prepare_cached(oldest)?.query_row([pairing], |row| row.get(0))
}

/// The pairings of recent sightings, which have no index by pairing.
fn recent_pairings(database: &Connection) -> rusqlite::Result<HashSet<i64>> {
    let mut select = database.prepare_cached("SELECT DISTINCT pairing FROM recent_sighting")?;
    select.query_map([], |row| row.get(0))?.collect()
}

fn oldest_change(database: &Connection) -> rusqlite::Result<Option<i64>> {
    let oldest = "SELECT min(time) FROM config_change";
    database.prepare_cached(oldest)?.query_row([], |row| row.get(0))
}

/// Deletes the oldest sightings of a pairing from a time on, at most `rows`.
fn delete_sightings(
    database: &Connection,
    pass: &DeletionPass,
    (pairing, from): (i64, i64),
    rows: usize,
) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM sighting WHERE (pairing, time, origin, again) IN (
        SELECT pairing, time, origin, again FROM sighting WHERE pairing = ? AND time >= ? AND time < ?
        ORDER BY time, origin, again LIMIT ?)";
    let row = params![pairing, from, pass.before, rows as i64];
    let mut deleted = database.prepare_cached(delete)?.execute(row)?;
    if deleted < rows {
        deleted += delete_spans(database, pairing, pass.before)?.min(rows - deleted - 1);
    }
    if from == UNDATED {
        forget_undated(database, pairing, oldest_sighting(database, pairing)?)?;
    }
    Ok(deleted)
}

/// Deletes the spans of a pairing that are old, and cuts the others: a pairing has few of them. A span has no sighting at the cut,
/// but some within ten minutes.
fn delete_spans(database: &Connection, pairing: i64, before: i64) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM sighting_span WHERE pairing = ? AND last < ?";
    let deleted = database.prepare_cached(delete)?.execute([pairing, before])?;
    let cut = "UPDATE sighting_span SET first = ?2,
        count = max(1 + (last > ?2), CAST(round(count * (1.0 * (last - ?2) / (last - first))) AS INTEGER))
        WHERE pairing = ?1 AND first < ?2";
    Ok(deleted + database.prepare_cached(cut)?.execute([pairing, before])?)
}

/// Deletes the oldest configuration changes, at most `rows`.
fn delete_changes(
    database: &Connection,
    pass: &DeletionPass,
    rows: usize,
) -> rusqlite::Result<usize> {
    let oldest = oldest_change(database)?;
    let Some(from) = oldest_to_delete(database, pass, CHANGES, oldest)? else { return Ok(0) };
    let delete = "DELETE FROM config_change WHERE rowid IN (
        SELECT rowid FROM config_change WHERE time >= ? AND time < ? ORDER BY time LIMIT ?)";
    let row = params![from, pass.before, rows as i64];
    let deleted = database.prepare_cached(delete)?.execute(row)?;
    if from == UNDATED {
        forget_undated(database, CHANGES, oldest_change(database)?)?;
    }
    Ok(deleted)
}

/// Deletes places that nothing refers to, at most `rows`: a host that forges VLANs leaves many of them.
fn delete_places(
    database: &Connection,
    writer: &mut RowWriter,
    rows: usize,
) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM place WHERE id IN (SELECT id FROM place
        WHERE NOT EXISTS (SELECT 1 FROM pairing WHERE pairing.place = place.id)
        AND id NOT IN (SELECT place FROM config_change) LIMIT ?)";
    let deleted = database.prepare_cached(delete)?.execute([rows as i64])?;
    if deleted > 0 {
        writer.clear_places();
    }
    Ok(deleted)
}

/// From which time on the clock of a pairing's place counts as set.
pub fn clock_set(database: &Connection, pairing: i64) -> rusqlite::Result<i64> {
    let select =
        "SELECT ring = '' FROM pairing JOIN place ON place.id = place WHERE pairing.id = ?";
    let ringless = database.prepare_cached(select)?.query_row([pairing], |row| row.get(0));
    Ok(if ringless.optional()? == Some(true) { CLOCK_SET_WITHOUT_RING } else { CLOCK_SET })
}

/// Ends the time for which undated rows are kept, if the oldest row that is left has a date.
fn forget_undated(
    database: &Connection,
    pairing: i64,
    oldest: Option<i64>,
) -> rusqlite::Result<()> {
    let set = clock_set(database, pairing)?;
    if oldest.is_none_or(|oldest| oldest >= set) {
        database.prepare_cached("DELETE FROM undated WHERE pairing = ?")?.execute([pairing])?;
    }
    Ok(())
}

/// From which time on rows of a pairing are to be deleted; None if all are new enough. If the clock of the oldest one was
/// not set, it is kept until the retention time has passed since a pass found it.
fn oldest_to_delete(
    database: &Connection,
    pass: &DeletionPass,
    pairing: i64,
    oldest: Option<i64>,
) -> rusqlite::Result<Option<i64>> {
    if pass.before == NEVER {
        return Ok(None);
    }
    let set = match oldest {
        Some(oldest) if oldest < CLOCK_SET => clock_set(database, pairing)?,
        _ => CLOCK_SET,
    };
    if oldest.is_none_or(|oldest| oldest >= set) {
        return Ok(oldest.filter(|oldest| *oldest < pass.before));
    }
    let select = "SELECT found FROM undated WHERE pairing = ?";
    let found = database.prepare_cached(select)?.query_row([pairing], |row| row.get::<_, i64>(0));
    match found.optional()? {
        Some(found) if found < pass.before => return Ok(Some(UNDATED)),
        Some(found) if found <= pass.now => {}
        // The first pass, or the clock was ahead when it began.
        _ => {
            let replace = "REPLACE INTO undated VALUES (?, ?)";
            database.prepare_cached(replace)?.execute([pairing, pass.now])?;
        }
    }
    Ok(Some(set))
}

#[cfg(test)]
mod tests;
