//! Deletes sightings and configuration changes that are older than `--retention`: pairing by pairing, in
//! small steps. The age of those whose clock was not set is not known: it is counted from the first pass that
//! finds them.

use std::time::{Duration, Instant};

use aw_output::warn;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::UnixTime;

use crate::row_writer::RowWriter;

/// Pairings that one step examines, if there is nothing to delete.
const PAIRINGS_PER_STEP: i64 = 1000;
/// A clock that is further ahead than this may be wrong: nothing is deleted for the time of the suspension.
const MAX_AHEAD: Duration = Duration::from_secs(86_400);
const SUSPENSION: Duration = Duration::from_secs(3_600);

/// Times before this one are those of a clock that was not set.
const CLOCK_SET: i64 = UnixTime::CLOCK_SET.as_nanos();
/// Rows from this time on are to be deleted, those without a date included.
const UNDATED: i64 = i64::MIN;
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
        Retention { keep, ..Retention::default() }
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
        let keep = self.keep?;
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
        let pause = (keep / 24).min(Duration::from_secs(86_400));
        if self.suspended.take().is_some()
            || self.pass.is_none() && self.began.is_none_or(|began| steady - began >= pause)
        {
            self.began = Some(steady);
            let before = wall.saturating_sub(nanos(keep));
            self.pass = Some(DeletionPass { before, now: wall, pairing: 0, newest: i64::MIN });
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
        let newest = "SELECT max(id), max((SELECT max(time) FROM sighting WHERE pairing = id))
            FROM (SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT ?)";
        let row = |row: &Row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?));
        let (last, time) =
            database.prepare_cached(newest)?.query_row([pass.pairing, PAIRINGS_PER_STEP], row)?;
        pass.newest = pass.newest.max(time.filter(|time| *time >= CLOCK_SET).unwrap_or(i64::MIN));
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

    /// Deletes at most `rows` rows, in the caller's transaction. Returns true if there may be more.
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
        let next = "SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT 1";
        for _ in 0..PAIRINGS_PER_STEP {
            let next = database.prepare_cached(next)?.query_row([pass.pairing], |row| row.get(0));
            let Some(pairing) = next.optional()? else {
                let more = delete_changes(database, pass, left)? == left;
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
            // Or all of them were deleted from the view.
            let unused = "DELETE FROM pairing WHERE id = ?1
                AND NOT EXISTS (SELECT 1 FROM sighting WHERE pairing = ?1)";
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
    let oldest = "SELECT min(time) FROM sighting WHERE pairing = ?";
    database.prepare_cached(oldest)?.query_row([pairing], |row| row.get(0))
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
    let deleted = database.prepare_cached(delete)?.execute(row)?;
    if from == UNDATED {
        forget_undated(database, pairing, oldest_sighting(database, pairing)?)?;
    }
    Ok(deleted)
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

/// Ends the time for which undated rows are kept, if the oldest row that is left has a date.
fn forget_undated(
    database: &Connection,
    pairing: i64,
    oldest: Option<i64>,
) -> rusqlite::Result<()> {
    if oldest.is_none_or(|oldest| oldest >= CLOCK_SET) {
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
    if oldest.is_none_or(|oldest| oldest >= CLOCK_SET) {
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
    Ok(Some(CLOCK_SET))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    /// While the program runs: elapsed time is no step, and a step is trusted an hour later, unless it was reverted.
    #[test]
    fn a_clock_that_is_set_forward() {
        let day = nanos(MAX_AHEAD);
        let start = (20_000 * day, Instant::now());
        let mut retention = Retention::new(Some(30));
        let mut at = |days: i64, hours: u64| {
            let elapsed = Duration::from_secs(3_600 * hours);
            let due = retention.due_at(start.0 + days * day + nanos(elapsed), start.1 + elapsed);
            retention.pass = None; // as if it was complete
            due.map(|before| (before + 30 * day - start.0) / day)
        };
        assert_eq!(at(0, 0), Some(0));
        assert_eq!(at(0, 48), Some(2), "two days without a call are no step");
        assert_eq!(at(40, 90), None);
        assert_eq!(at(0, 90), None, "the clock was corrected");
        assert_eq!(at(0, 91), Some(3));
        assert_eq!(at(40, 120), None);
        assert_eq!(at(40, 121), Some(45), "the clock is trusted after an hour");
        assert_eq!(at(40, 122), None, "nothing is due");
    }

    /// A clock that is not set deletes nothing, and when it is set, that is no step.
    #[test]
    fn a_clock_that_is_not_set() {
        let (start, now) = (Instant::now(), 20_000 * nanos(MAX_AHEAD));
        let mut retention = Retention::new(Some(30));
        assert_eq!(retention.due_at(nanos(Duration::from_secs(30)), start), None);
        let set = start + Duration::from_secs(60);
        assert_eq!(retention.due_at(now, set), Some(now - 30 * nanos(MAX_AHEAD)));
        assert!(retention.suspended.is_none());
        // It does not hide a step between two times.
        retention.pass = None;
        assert_eq!(retention.due_at(0, set), None);
        assert_eq!(retention.due_at(now + 40 * nanos(MAX_AHEAD), set), None);
        assert!(retention.suspended.is_some());
    }

    /// What was captured before the clock was set is kept for the retention time after a pass has found it, and no longer.
    #[test]
    fn sightings_without_a_date() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap(); // as in schema::SESSION
        let day = nanos(MAX_AHEAD);
        let now = 20_000 * day;
        let insert = |pairing: i64, time: i64| {
            let pairing_row =
                "INSERT OR IGNORE INTO pairing VALUES (?1, x'0a000001', ?1, 1, '10.0.0.1')";
            database.execute(pairing_row, [pairing]).unwrap();
            let row = [pairing, time];
            database.execute("INSERT INTO sighting VALUES (?, ?, 0, 0)", row).unwrap();
        };
        let pass = |now: i64| {
            let mut retention = Retention::new(Some(30));
            assert!(retention.due_at(now, Instant::now()).is_some());
            while retention.step(&database, &mut RowWriter::default(), 2).unwrap() {}
            let list = |select: &str| {
                let list = database.query_row(select, [], |row| row.get::<_, Option<String>>(0));
                list.unwrap().unwrap_or_default()
            };
            let rows =
                "SELECT group_concat(pairing || ':' || (time / 86400000000000), ' ') FROM sighting";
            let changes = "SELECT count(*) || '' FROM config_change";
            (list(rows), list(changes))
        };
        for second in 1..6 {
            insert(1, second);
        }
        insert(1, now - 40 * day);
        insert(1, now);
        insert(2, 7);
        let change = "INSERT INTO config_change VALUES (?, 1, 'admin', 0, 0)";
        for time in [5, 6, now - 40 * day, now] {
            database.execute(change, [time]).unwrap();
        }
        let kept = "1:0 1:0 1:0 1:0 1:0 1:20000 2:0".to_owned();
        assert_eq!(pass(now), (kept.clone(), "3".into()));
        insert(1, now + 30 * day);
        let with_new = kept.replace(" 2:0", " 1:20030 2:0");
        assert_eq!(pass(now + 30 * day), (with_new, "3".into()));
        assert_eq!(pass(now + 30 * day + 1), ("1:20030".into(), "0".into()));
        insert(1, 9);
        assert_eq!(pass(now + 31 * day), ("1:0 1:20030".into(), "0".into()), "it begins again");
    }
}
