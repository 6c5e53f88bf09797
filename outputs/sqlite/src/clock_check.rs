//! Whether the clock may be ahead: then sightings would seem to be old, and would be deleted or compacted. In doubt, nothing is for an
//! hour, in which the administrator can correct the clock.

use std::time::{Duration, Instant};

use aw_output::{info, warn};
use rusqlite::{Connection, Row};
use shm_layout::UnixTime;

/// A clock that is further ahead than this may be wrong.
pub const MAX_AHEAD: Duration = Duration::from_secs(86_400);
const SUSPENSION: Duration = Duration::from_secs(3_600);
/// Pairings that one step of the search examines.
const PAIRINGS_PER_STEP: i64 = 1000;

/// Times before this one are those of a clock that was not set.
pub const CLOCK_SET: i64 = UnixTime::CLOCK_SET.as_nanos();
/// The same for rows without a ring, 2000-01-01: addrwatch wrote true times long before `CLOCK_SET`.
pub const CLOCK_SET_WITHOUT_RING: i64 = 946_684_800_000_000_000;

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It is not set: a machine without a battery for its clock has just started.
    Unset,
    /// It is to be compared with the newest sighting of the database first.
    Unverified,
    /// It may be wrong.
    Suspended,
    /// It was suspended for an hour, and is trusted now.
    Resumed,
    Trusted,
}

/// Compares the clock with the newest sighting, and then with the time that has passed.
#[derive(Default)]
pub struct ClockCheck {
    /// What waits while the clock may be ahead: deletion, compaction.
    deletes: bool,
    compacts: bool,
    /// The wall clock at the last call, and when that was.
    last: Option<(i64, Instant)>,
    /// The last pairing in which the newest sighting was searched.
    searched: i64,
    is_searched: bool,
    /// Whether old rows were imported since the start.
    has_imported: bool,
    /// The newest sighting that was found.
    newest: Option<i64>,
    /// The newest sighting confirms the clock, or the suspension is over.
    is_verified: bool,
    /// When it was suspended.
    suspended: Option<Instant>,
}

impl ClockCheck {
    pub fn new(deletes: bool, compacts: bool) -> ClockCheck {
        ClockCheck { deletes, compacts, ..ClockCheck::default() }
    }

    /// What is known of the clock now.
    pub fn look(&mut self, wall: i64, steady: Instant) -> ClockState {
        if wall < CLOCK_SET {
            return ClockState::Unset;
        }
        if let Some((before, at)) = self.last.replace((wall, steady)) {
            let ahead = wall.saturating_sub(before) - nanos(steady - at);
            self.suspend_if_ahead(ahead, "the time that has passed", steady);
        }
        if !self.is_verified {
            if !self.is_searched {
                return ClockState::Unverified;
            }
            self.is_verified = true;
            let ahead = self.newest.map_or(0, |newest| wall.saturating_sub(newest));
            self.suspend_if_ahead(ahead, "the newest sighting", steady);
        }
        if self.suspended.is_some_and(|since| steady - since < SUSPENSION) {
            return ClockState::Suspended;
        }
        match self.suspended.take() {
            Some(_) => ClockState::Resumed,
            None => ClockState::Trusted,
        }
    }

    fn suspend_if_ahead(&mut self, ahead: i64, of: &str, now: Instant) {
        if ahead <= nanos(MAX_AHEAD) {
            return;
        }
        let days = ahead / nanos(MAX_AHEAD);
        let message = |waits: &str| {
            format!(
                "the clock is {days} days ahead of {of}: {waits} for an hour (correct the clock if it is wrong)"
            )
        };
        match (self.deletes, self.compacts) {
            (true, true) => warn(message("nothing is deleted or compacted")),
            (true, false) => warn(message("nothing is deleted")),
            // Mostly, the program did not run for some days, and nothing is wrong.
            (false, true) => info(message("no sightings are compacted")),
            (false, false) => {}
        }
        (self.suspended, self.is_verified) = (Some(now), true);
    }

    /// Whether the newest sighting is still to be searched: before this program adds one, which has the time of the clock.
    pub fn is_unsearched(&self) -> bool {
        !self.is_searched
    }

    /// To be called when all rows of addrwatch are imported: they are searched, too, and not what this program has stored meanwhile.
    pub fn imported(&mut self) {
        (self.searched, self.is_searched, self.has_imported) = (0, false, true);
        self.is_verified = false;
    }

    /// Takes a step of the search for a sighting that is about as new as the clock, or else for the newest one.
    pub fn search(&mut self, database: &Connection, wall: i64) -> rusqlite::Result<()> {
        if self.searched == 0 && !self.has_imported {
            self.newest = newest_recent(database, wall)?;
        }
        // A text of another program would be greater than all numbers.
        let newest = "SELECT max(id), CAST(max(max(coalesce((SELECT max(time) FROM sighting
                WHERE pairing = id AND time >= CASE WHEN ring = '' THEN ?3 ELSE ?4 END AND time <= ?6), ?5),
                coalesce((SELECT max(last) FROM sighting_span WHERE pairing = id AND last <= ?6), ?5))) AS INTEGER)
            FROM (SELECT pairing.id AS id, ring FROM pairing LEFT JOIN place ON place.id = place
                WHERE pairing.id > ?1 ORDER BY pairing.id LIMIT ?2)";
        let row = |row: &Row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let (set, other) = (CLOCK_SET, CLOCK_SET_WITHOUT_RING);
        let values = [self.searched, PAIRINGS_PER_STEP, other, set, i64::MIN, latest(wall)];
        let (last, time) = database.prepare_cached(newest)?.query_row(values, row)?;
        self.newest = self.newest.max(time.filter(|time| *time > i64::MIN));
        self.searched = last.unwrap_or(self.searched);
        let is_near = |newest: i64| newest >= wall.saturating_sub(nanos(MAX_AHEAD));
        self.is_searched = last.is_none() || wall >= CLOCK_SET && self.newest.is_some_and(is_near);
        Ok(())
    }

    /// The newest sighting of the database, or one that is at most a day older.
    pub fn newest(&mut self, database: &Connection, wall: i64) -> rusqlite::Result<Option<i64>> {
        self.newest = self.newest.max(newest_recent(database, wall)?);
        Ok(self.newest)
    }
}

/// The newest sighting that is not filed yet.
fn newest_recent(database: &Connection, wall: i64) -> rusqlite::Result<Option<i64>> {
    let newest =
        "SELECT slot FROM recent_sighting WHERE slot BETWEEN ? AND ? ORDER BY slot DESC LIMIT 1";
    let times = [CLOCK_SET, latest(wall)];
    database.prepare_cached(newest)?.query_map(times, |row| row.get(0))?.next().transpose()
}

/// A sighting after this time is of a clock that was ahead, and confirms no other one. Of a clock that is not set, that is not known.
fn latest(wall: i64) -> i64 {
    if wall < CLOCK_SET { i64::MAX } else { wall.saturating_add(nanos(MAX_AHEAD)) }
}

pub fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    const DAY: i64 = 86_400_000_000_000;
    const NOW: i64 = 20_000 * DAY;

    fn searched(database: &Connection, wall: i64) -> ClockCheck {
        let mut clock = ClockCheck::new(true, true);
        while clock.is_unsearched() {
            clock.search(database, wall).unwrap();
        }
        clock
    }

    /// While the program runs: elapsed time is no step, and a step is trusted an hour later, unless it was reverted.
    #[test]
    fn a_clock_that_is_set_forward() {
        let mut clock = ClockCheck { is_searched: true, ..ClockCheck::default() };
        let start = Instant::now();
        let mut at = |days: i64, hours: u64| {
            let elapsed = Duration::from_secs(3_600 * hours);
            clock.look(NOW + days * DAY + nanos(elapsed), start + elapsed)
        };
        use ClockState::{Resumed, Suspended, Trusted};
        assert_eq!(at(0, 0), Trusted);
        assert_eq!(at(0, 48), Trusted, "two days without a call are no step");
        assert_eq!(at(40, 90), Suspended);
        assert_eq!(at(0, 90), Suspended, "the clock was corrected");
        assert_eq!(at(0, 91), Resumed);
        assert_eq!(at(40, 120), Suspended);
        assert_eq!(at(40, 121), Resumed, "the clock is trusted after an hour");
        assert_eq!(at(40, 122), Trusted);
        // A clock that is not set is no step when it is set, and does not hide one.
        assert_eq!(clock.look(30, start + Duration::from_secs(3_600 * 123)), ClockState::Unset);
        let later = start + Duration::from_secs(3_600 * 124);
        assert_eq!(clock.look(NOW + 99 * DAY, later), Suspended);
    }

    /// The newest sighting is searched in steps, in all tables, and in that of new ones first.
    #[test]
    fn the_newest_sighting() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        let start = Instant::now();
        let state = |database: &Connection, wall: i64| {
            let mut clock = ClockCheck::new(true, true);
            assert_eq!(clock.look(wall, start), ClockState::Unverified);
            let mut clock = searched(database, wall);
            clock.look(wall, start)
        };
        assert_eq!(state(&database, NOW), ClockState::Trusted, "a new database");
        for pairing in 1..2_500 {
            let row = "INSERT INTO pairing (id, address, mac, place, ip) VALUES (?1, x'0a000001', ?1, 1, '10.0.0.1')";
            database.execute(row, [pairing]).unwrap();
        }
        let insert = |sql: &str, time: i64| database.execute(sql, [time]).map(drop).unwrap();
        insert("INSERT INTO sighting VALUES (7, ?, 0, 0), (7, 'x', 0, 0)", NOW - 3 * DAY);
        assert_eq!(state(&database, NOW), ClockState::Suspended);
        insert("INSERT INTO sighting_span VALUES (2400, 5, ?, 9, 0, 0)", NOW - DAY);
        assert_eq!(state(&database, NOW), ClockState::Trusted);
        assert_eq!(state(&database, NOW + 2 * DAY), ClockState::Suspended);
        insert("INSERT INTO recent_sighting VALUES (?, 0, 7, 0)", NOW + DAY);
        let mut clock = ClockCheck::new(true, true);
        clock.search(&database, NOW + 2 * DAY).unwrap();
        assert!(!clock.is_unsearched(), "one step");
        assert_eq!(clock.newest(&database, NOW + 2 * DAY), Ok(Some(NOW + DAY)));
        // A clock that was a year ahead once confirms none that is a month ahead.
        insert("INSERT INTO recent_sighting VALUES (?, 0, 7, 0)", NOW + 365 * DAY);
        assert_eq!(state(&database, NOW + 30 * DAY), ClockState::Suspended);
        // After an import, what was stored meanwhile confirms nothing.
        let mut clock = searched(&database, NOW);
        assert_eq!(clock.look(NOW + DAY, start), ClockState::Trusted);
        let database = {
            let mut other = Connection::open_in_memory().unwrap();
            assert!(schema::prepare(&mut other, &"addrwatch".parse().unwrap()).is_ok());
            other
        };
        let mut clock = searched(&database, NOW);
        assert_eq!(clock.look(NOW, start), ClockState::Trusted);
        database
            .execute_batch(&format!(
                "PRAGMA foreign_keys = off; INSERT INTO recent_sighting VALUES ({NOW}, 0, 7, 0);
                INSERT INTO pairing (id, address, mac, place, ip) VALUES (7, x'0a000001', 1, 1, '10.0.0.1');
                INSERT INTO sighting VALUES (7, {NOW} - 3 * {DAY}, 0, 0)"
            ))
            .unwrap();
        clock.imported();
        assert_eq!(clock.look(NOW, start), ClockState::Unverified);
        while clock.is_unsearched() {
            clock.search(&database, NOW).unwrap();
        }
        assert_eq!(clock.look(NOW, start), ClockState::Suspended);
        // It is searched while the clock is not set, and decided when it is.
        let mut clock = searched(&database, 5);
        insert("INSERT INTO recent_sighting VALUES (?, 0, 7, 0)", NOW + 9 * DAY);
        assert_eq!(clock.look(5, start), ClockState::Unset);
        assert_eq!(clock.look(NOW + 9 * DAY, start), ClockState::Suspended);
    }
}
