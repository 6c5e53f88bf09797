//! Deletes sightings and configuration changes that are older than `--retention`: pairing by pairing, in
//! small steps.

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
            self.pass = Some(DeletionPass { before, pairing: 0, newest: i64::MIN });
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
        let (Some(pass), Some(keep)) = (&mut self.pass, self.keep) else { return Ok(false) };
        let now = pass.before.saturating_add(nanos(keep));
        let newest = "SELECT max(id), max((SELECT max(time) FROM sighting WHERE pairing = id))
            FROM (SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT ?)";
        let row = |row: &Row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?));
        let (last, time) =
            database.prepare_cached(newest)?.query_row([pass.pairing, PAIRINGS_PER_STEP], row)?;
        pass.newest = pass.newest.max(time.unwrap_or(i64::MIN));
        self.clock_trusted = pass.newest > now - nanos(MAX_AHEAD);
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
        before: i64,
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
                let changes = "DELETE FROM config_change WHERE rowid IN (
                    SELECT rowid FROM config_change WHERE time < ? ORDER BY time LIMIT ?)";
                let row = params![before, left as i64];
                let more = database.prepare_cached(changes)?.execute(row)? == left;
                self.pass = self.pass.filter(|_| more);
                return Ok(more);
            };
            if oldest_sighting(database, pairing)?.is_some_and(|oldest| oldest >= before) {
                pass.pairing = pairing;
                continue;
            }
            left -= delete_sightings(database, pairing, before, left)?;
            if left == 0 {
                return Ok(true); // this pairing may have more
            }
            pass.pairing = pairing;
            // Or all of them were deleted from the view.
            let unused = "DELETE FROM pairing WHERE id = ?1
                AND NOT EXISTS (SELECT 1 FROM sighting WHERE pairing = ?1)";
            if database.prepare_cached(unused)?.execute([pairing])? > 0 {
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

/// Deletes the oldest sightings of a pairing, at most `rows`.
fn delete_sightings(
    database: &Connection,
    pairing: i64,
    before: i64,
    rows: usize,
) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM sighting WHERE (pairing, time, origin, again) IN (
        SELECT pairing, time, origin, again FROM sighting WHERE pairing = ? AND time < ?
        ORDER BY time, origin, again LIMIT ?)";
    database.prepare_cached(delete)?.execute(params![pairing, before, rows as i64])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While the program runs: elapsed time is no step, and a step is trusted an hour later, unless it was reverted.
    #[test]
    fn a_clock_that_is_set_forward() {
        let day = nanos(MAX_AHEAD);
        let start = (2_000 * day, Instant::now());
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
}
