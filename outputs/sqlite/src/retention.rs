//! Forgets what is older than it may be: pairing by pairing, some rows at a time.

use std::time::{Duration, Instant};

use aw_output::warn;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::UnixTime;

use crate::insert::Insert;

/// Pairings looked at in one go where there is nothing to forget.
const LOOK: i64 = 1000;
/// A clock that is ahead by so much may be wrong: nothing is forgotten by it for a while.
const AHEAD: Duration = Duration::from_secs(86_400);
const DISTRUST: Duration = Duration::from_secs(3_600);

/// When to forget, and how far that is.
#[derive(Default)]
pub struct Retention {
    keep: Option<Duration>,
    pass: Option<Pass>,
    /// When the last pass began.
    began: Option<Instant>,
    /// What the clock showed when it was looked at last.
    seen: Option<(i64, Instant)>,
    /// Sightings say that the clock may be right, or it was so for long enough.
    believed: bool,
    distrusted: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Pass {
    before: i64,
    /// The last pairing that was looked at.
    pairing: i64,
    /// The newest sighting, while it is not known whether the clock can be believed.
    newest: i64,
}

impl Retention {
    pub fn new(days: Option<u32>) -> Self {
        let keep = days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        Retention { keep, ..Retention::default() }
    }

    /// What a pass that was cut short by a failure has not committed is done again.
    pub fn begin_again(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.pairing = 0;
        }
    }

    /// The time before which sightings are to be forgotten, if it is time to. A pass is made at the
    /// start and then as often as the time to keep has 24ths, at least once a day: so a page of old
    /// rows is written once a pass, and not with every event.
    pub fn due(&mut self) -> Option<i64> {
        self.due_at(UnixTime::now().as_nanos(), Instant::now())
    }

    fn due_at(&mut self, wall: i64, steady: Instant) -> Option<i64> {
        let keep = self.keep?;
        if let Some((was, at)) = self.seen.replace((wall, steady)) {
            self.distrust(wall.saturating_sub(was) - nanos(steady - at), "where it was", steady);
        }
        if self.distrusted.is_some_and(|since| steady - since < DISTRUST) {
            return None;
        }
        let pause = (keep / 24).min(Duration::from_secs(86_400));
        if self.distrusted.take().is_some()
            || self.pass.is_none() && self.began.is_none_or(|began| steady - began >= pause)
        {
            self.began = Some(steady);
            let before = wall.saturating_sub(nanos(keep));
            self.pass = Some(Pass { before, pairing: 0, newest: i64::MIN });
        }
        self.pass.map(|pass| pass.before)
    }

    /// If the clock is so far ahead that it may be wrong: nothing is forgotten for a while.
    fn distrust(&mut self, ahead: i64, of: &str, now: Instant) {
        if ahead > nanos(AHEAD) {
            let days = ahead / nanos(AHEAD);
            warn(format_args!(
                "the clock is {days} days ahead of {of}: nothing is forgotten for an hour"
            ));
            (self.distrusted, self.pass, self.believed) = (Some(now), None, true);
        }
    }

    /// Looks for a sighting that is as new as the clock says it is; tells whether there is more to do.
    fn look(&mut self, database: &Connection) -> rusqlite::Result<bool> {
        let (Some(pass), Some(keep)) = (&mut self.pass, self.keep) else { return Ok(false) };
        let now = pass.before.saturating_add(nanos(keep));
        let newest = "SELECT max(id), max((SELECT max(time) FROM sighting WHERE pairing = id))
            FROM (SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT ?)";
        let row = |row: &Row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?));
        let (last, time) = database.prepare_cached(newest)?.query_row([pass.pairing, LOOK], row)?;
        pass.newest = pass.newest.max(time.unwrap_or(i64::MIN));
        self.believed = pass.newest > now - nanos(AHEAD);
        match last {
            Some(last) if !self.believed => pass.pairing = last,
            None if pass.newest > i64::MIN => {
                let ahead = now.saturating_sub(pass.newest);
                self.distrust(ahead, "the newest sighting", Instant::now());
            }
            _ => (self.believed, pass.pairing) = (true, 0), // or there is nothing to forget
        }
        Ok(self.pass.is_some())
    }

    /// Forgets so many rows; tells whether there may be more. In the caller's transaction.
    pub fn step(
        &mut self,
        database: &Connection,
        insert: &mut Insert,
        before: i64,
        rows: usize,
    ) -> rusqlite::Result<bool> {
        if !self.believed {
            return self.look(database);
        }
        let Some(pass) = &mut self.pass else { return Ok(false) };
        let mut left = rows;
        let next = "SELECT id FROM pairing WHERE id > ? ORDER BY id LIMIT 1";
        for _ in 0..LOOK {
            let next = database.prepare_cached(next)?.query_row([pass.pairing], |row| row.get(0));
            let Some(pairing) = next.optional()? else {
                let more = forget_changes(database, before, left)? == left;
                self.pass = self.pass.filter(|_| more);
                return Ok(more);
            };
            let forgotten = forget(database, pairing, before, left)?;
            left -= forgotten;
            if left == 0 {
                return Ok(true); // of this one there may be more
            }
            pass.pairing = pairing;
            if forgotten > 0 && drop_pairing(database, pairing)? {
                insert.forget();
            }
        }
        Ok(true)
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Deletes the oldest rows of a pairing, at most so many.
fn forget(
    database: &Connection,
    pairing: i64,
    before: i64,
    rows: usize,
) -> rusqlite::Result<usize> {
    let oldest = "SELECT min(time) < ? FROM sighting WHERE pairing = ?";
    let is_old = |row: &Row| Ok(row.get(0).unwrap_or(false)); // null: there is none
    if !database.prepare_cached(oldest)?.query_row([before, pairing], is_old)? {
        return Ok(0);
    }
    let delete = "DELETE FROM sighting WHERE (pairing, time, origin, again) IN (
        SELECT pairing, time, origin, again FROM sighting WHERE pairing = ? AND time < ?
        ORDER BY time, origin, again LIMIT ?)";
    database.prepare_cached(delete)?.execute(params![pairing, before, rows as i64])
}

/// Deletes the oldest changes of configurations, at most so many.
fn forget_changes(database: &Connection, before: i64, rows: usize) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM config_change WHERE rowid IN (
        SELECT rowid FROM config_change WHERE time < ? ORDER BY time LIMIT ?)";
    database.prepare_cached(delete)?.execute(params![before, rows as i64])
}

/// Deletes a pairing of which no sighting is left; tells whether it did.
fn drop_pairing(database: &Connection, pairing: i64) -> rusqlite::Result<bool> {
    let delete = "DELETE FROM pairing WHERE id = ?1
        AND NOT EXISTS (SELECT 1 FROM sighting WHERE pairing = ?1)";
    Ok(database.prepare_cached(delete)?.execute([pairing])? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While it runs: time that goes by is no step, and a step is believed an hour later, unless it was taken back.
    #[test]
    fn a_clock_that_is_set_forward() {
        let day = nanos(AHEAD);
        let start = (2_000 * day, Instant::now());
        let mut retention = Retention::new(Some(30));
        let mut at = |days: i64, hours: u64| {
            let gone = Duration::from_secs(3_600 * hours);
            let due = retention.due_at(start.0 + days * day + nanos(gone), start.1 + gone);
            retention.pass = None; // as if it was made at once
            due.map(|before| (before + 30 * day - start.0) / day)
        };
        assert_eq!(at(0, 0), Some(0));
        assert_eq!(at(0, 48), Some(2), "two days of silence are no step");
        assert_eq!(at(40, 90), None);
        assert_eq!(at(0, 90), None, "it was set right");
        assert_eq!(at(0, 91), Some(3));
        assert_eq!(at(40, 120), None);
        assert_eq!(at(40, 121), Some(45), "it was meant");
        assert_eq!(at(40, 122), None, "nothing is due");
    }
}
