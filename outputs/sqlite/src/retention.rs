//! Forgets what is older than it may be: pairing by pairing, some rows at a time.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::UnixTime;

use crate::insert::Insert;

/// Pairings looked at in one go where there is nothing to forget.
const LOOK: i64 = 1000;

/// When to forget, and how far that is.
#[derive(Default)]
pub struct Retention {
    keep: Option<Duration>,
    pass: Option<Pass>,
    /// When the last pass began.
    began: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Pass {
    before: i64,
    /// The last pairing that was looked at.
    pairing: i64,
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
        let keep = self.keep?;
        let pause = (keep / 24).min(Duration::from_secs(86_400));
        if self.pass.is_none() && self.began.is_none_or(|began| began.elapsed() >= pause) {
            let before = UnixTime::now().as_nanos().saturating_sub(keep.as_nanos() as i64);
            self.began = Some(Instant::now());
            self.pass = Some(Pass { before, pairing: 0 });
        }
        self.pass.map(|pass| pass.before)
    }

    /// Forgets so many rows; tells whether there may be more. In the caller's transaction.
    pub fn step(
        &mut self,
        database: &Connection,
        insert: &mut Insert,
        before: i64,
        rows: usize,
    ) -> rusqlite::Result<bool> {
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
