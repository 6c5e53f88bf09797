//! Whether the clock may be ahead: then sightings would seem to be old, and would be deleted or compacted. In doubt, nothing is for an
//! hour, in which the administrator can correct the clock. The database has the last time that was trusted, and since when there is a
//! doubt. A restart ends none, and begins the hour again, because the clock of a machine that is off is not corrected; with `--once`, the
//! hour is the clock's. What was stored with the time of a clock that is ahead confirms nothing.

use std::time::{Duration, Instant};

use aw_output::{info, warn};
use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::UnixTime;

use crate::schema::legacy_tables;

/// A clock that is further ahead than this may be wrong.
pub const MAX_AHEAD: Duration = Duration::from_secs(86_400);
const SUSPENSION: Duration = Duration::from_secs(3_600);
/// A program that was stopped for longer is rarer than a clock that is wrong.
const LONG_STOP_DAYS: i64 = 60;
/// How old the time in the database may be.
const STORED_EVERY: Duration = Duration::from_secs(3_600);
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
    /// It was suspended, and is trusted now.
    Resumed,
    Trusted,
}

/// A time of the clock, and when this process read it; none: the database has it.
#[derive(Clone, Copy)]
struct Reading {
    wall: i64,
    at: Option<Instant>,
}

impl Reading {
    /// How far the clock is ahead of it, without the time that has passed.
    fn ahead(self, wall: i64, now: Instant) -> i64 {
        wall.saturating_sub(self.wall).saturating_sub(self.at.map_or(0, |at| nanos(now - at)))
    }

    /// The time that has passed; since one of an earlier process, by the clock.
    fn passed(self, wall: i64, now: Instant) -> i64 {
        self.at.map_or(wall.saturating_sub(self.wall), |at| nanos(now - at))
    }
}

/// Compares the clock with the last time that was trusted.
#[derive(Default)]
pub struct ClockCheck {
    /// What waits while the clock may be ahead: deletion, compaction.
    deletes: bool,
    compacts: bool,
    /// The process ends at once.
    once: bool,
    /// The last time that was trusted; none: not known yet.
    trusted: Option<Reading>,
    /// The time that is not trusted, when it was read first.
    doubted: Option<Reading>,
    /// What the database has: the time that was trusted, and the one that is not.
    stored: Option<(i64, Option<i64>)>,
    /// In a database that has none: the last pairing in which the newest sighting was searched, and that sighting.
    searched: (i64, Option<i64>),
}

impl ClockCheck {
    pub fn new((deletes, compacts): (bool, bool), once: bool) -> ClockCheck {
        ClockCheck { deletes, compacts, once, ..ClockCheck::default() }
    }

    /// To be called when a database was opened. What this process knows is newer than what the database has.
    pub fn opened(&mut self, database: &Connection) {
        let select = "SELECT CAST(trusted AS INTEGER), CAST(doubted AS INTEGER) FROM clock_check";
        let row = |row: &Row| Ok((row.get::<_, i64>(0)?, row.get(1)?));
        self.stored = database.query_row(select, [], row).ok();
        if let (None, Some((trusted, doubted))) = (self.trusted, self.stored) {
            let of_database = |wall| Reading { wall, at: None };
            (self.trusted, self.doubted) = (Some(of_database(trusted)), doubted.map(of_database));
        }
    }

    /// What is known of the clock now.
    pub fn look(&mut self, wall: i64, now: Instant) -> ClockState {
        if wall < CLOCK_SET {
            return ClockState::Unset;
        }
        let Some(trusted) = self.trusted else { return ClockState::Unverified };
        let (ahead, read) = (trusted.ahead(wall, now), Reading { wall, at: Some(now) });
        if ahead > nanos(MAX_AHEAD) {
            let is_same = |doubted: &Reading| {
                doubted.ahead(wall, now).unsigned_abs() <= MAX_AHEAD.as_nanos() as u64
            };
            let mut doubted = self.doubted.filter(is_same).unwrap_or_else(|| {
                match self.message(trusted, ahead) {
                    Some((true, message)) => warn(message),
                    Some((false, message)) => info(message),
                    None => {}
                }
                read
            });
            if !self.once {
                doubted.at.get_or_insert(now);
            }
            if doubted.passed(wall, now) < nanos(SUSPENSION) {
                self.doubted = Some(doubted);
                return ClockState::Suspended;
            }
        }
        self.trusted = Some(read);
        match self.doubted.take() {
            Some(_) => ClockState::Resumed,
            None => ClockState::Trusted,
        }
    }

    /// What to log about a clock that is ahead, and whether it is a warning: not where the program may only have been stopped for some days,
    /// and nothing is deleted.
    fn message(&self, trusted: Reading, ahead: i64) -> Option<(bool, String)> {
        let waits = match (self.deletes, self.compacts) {
            (true, true) => "nothing is deleted or compacted",
            (true, false) => "nothing is deleted",
            (false, true) => "no sightings are compacted",
            (false, false) => return None,
        };
        let days = ahead / nanos(MAX_AHEAD);
        let what = match (trusted, self.stored) {
            (Reading { wall: ..=0, .. }, _) => {
                "the clock cannot be compared with the newest sighting, which is not known".into()
            }
            (Reading { at: Some(_), .. }, _) => {
                format!("the clock is {days} days ahead of the time that has passed")
            }
            (_, Some(_)) => format!("the clock is {days} days ahead of the last run"),
            (_, None) => format!("the clock is {days} days ahead of the newest sighting"),
        };
        let is_warning = self.deletes || trusted.at.is_some() || days > LONG_STOP_DAYS;
        Some((
            is_warning,
            format!("{what}: {waits} for an hour (correct the clock if it is wrong)"),
        ))
    }

    /// Whether the newest sighting is to be searched.
    pub fn must_search(&self, wall: i64) -> bool {
        self.trusted.is_none() && wall >= CLOCK_SET
    }

    /// Takes a step of the search for a sighting that is about as new as the clock, or else for the newest one, before anything is stored
    /// with the time of this clock. One of the future is of a clock that was ahead. What was found so far is stored, because after a restart
    /// the newest ones are of this clock.
    pub fn search(&mut self, database: &Connection, wall: i64) -> rusqlite::Result<()> {
        let newest = "SELECT max(id), CAST(max(max(coalesce((SELECT max(time) FROM sighting WHERE pairing = id
                AND time >= CASE WHEN ring = '' THEN ?3 ELSE ?4 END AND time <= ?6), ?5),
                coalesce((SELECT last FROM sighting_span WHERE pairing = id AND first <= ?6 ORDER BY first DESC LIMIT 1), ?5))) AS INTEGER)
            FROM (SELECT pairing.id AS id, ring FROM pairing LEFT JOIN place ON place.id = place
                WHERE pairing.id > ?1 ORDER BY pairing.id LIMIT ?2)";
        let row = |row: &Row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let (set, other) = (CLOCK_SET, CLOCK_SET_WITHOUT_RING);
        let values = [self.searched.0, PAIRINGS_PER_STEP, other, set, i64::MIN, latest(wall)];
        let (last, time) = database.prepare_cached(newest)?.query_row(values, row)?;
        let mut newest = self.searched.1.max(time.filter(|time| *time > i64::MIN));
        if self.searched.0 == 0 {
            newest = newest.max(newest_elsewhere(database, wall)?);
        }
        if last.is_some() || newest.is_some() {
            write(database, newest.unwrap_or(0), None)?;
        }
        self.searched = (last.unwrap_or_default(), newest);
        let is_near = newest.is_some_and(|newest| newest >= wall.saturating_sub(nanos(MAX_AHEAD)));
        if last.is_none() || is_near {
            self.end_search(i64::MAX); // where nothing is, there is nothing to lose
        }
        Ok(())
    }

    /// Ends a search that failed: what was found counts, or else nothing confirms the clock.
    pub fn search_failed(&mut self) {
        self.end_search(0);
    }

    /// Ends the search with what was found, or else this time.
    fn end_search(&mut self, otherwise: i64) {
        let wall = self.searched.1.unwrap_or(otherwise);
        self.trusted = self.trusted.or(Some(Reading { wall, at: None }));
    }

    /// Whether the database is to have another time.
    pub fn must_store(&self) -> bool {
        let is_stored = |trusted: Reading| {
            self.stored.is_some_and(|(time, doubted)| {
                let later = trusted.wall.saturating_sub(time);
                (0..nanos(STORED_EVERY)).contains(&later)
                    && doubted == self.doubted.map(|doubted| doubted.wall)
            })
        };
        self.trusted.is_some_and(|trusted| trusted.wall < i64::MAX && !is_stored(trusted))
    }

    pub fn store(&mut self, database: &Connection) -> rusqlite::Result<()> {
        let Some(trusted) = self.trusted else { return Ok(()) };
        let doubted = self.doubted.map(|doubted| doubted.wall);
        write(database, trusted.wall, doubted)?;
        self.stored = Some((trusted.wall, doubted));
        Ok(())
    }

    /// To be called after a failure that rolled back what was stored.
    pub fn restart(&mut self) {
        self.stored = None;
    }
}

fn write(database: &Connection, trusted: i64, doubted: Option<i64>) -> rusqlite::Result<()> {
    database.execute("DELETE FROM clock_check", [])?;
    let insert = "INSERT INTO clock_check VALUES (?, ?)";
    database.execute(insert, params![trusted, doubted]).map(drop)
}

/// The newest sighting that has no pairing or is not filed yet, about: of addrwatch's tables, the one of the last rows.
fn newest_elsewhere(database: &Connection, wall: i64) -> rusqlite::Result<Option<i64>> {
    const SECOND: i64 = 1_000_000_000;
    let mut newest = recent_times(database, wall)?.map(|(_, newest)| newest);
    for table in legacy_tables(database)? {
        let last = format!(
            "SELECT max(timestamp) * {SECOND} FROM (SELECT timestamp FROM \"{table}\" ORDER BY rowid DESC LIMIT 10000)
            WHERE typeof(timestamp) = 'integer' AND timestamp BETWEEN ? AND ?"
        );
        let times = [CLOCK_SET_WITHOUT_RING / SECOND, latest(wall) / SECOND];
        newest = newest.max(database.query_row(&last, times, |row| row.get(0))?);
    }
    Ok(newest)
}

/// The times of the oldest and the newest sighting that are not filed yet, about.
pub fn recent_times(database: &Connection, wall: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    let select = |order: &str| {
        let select = format!(
            "SELECT slot FROM recent_sighting WHERE slot BETWEEN ? AND ? ORDER BY slot {order} LIMIT 1"
        );
        let times = [CLOCK_SET, latest(wall)];
        let mut select = database.prepare_cached(&select)?;
        select.query_row(times, |row| row.get::<_, i64>(0)).optional()
    };
    Ok(select("ASC")?.zip(select("DESC")?))
}

/// A sighting after this time is of a clock that was ahead.
pub fn latest(wall: i64) -> i64 {
    wall.saturating_add(nanos(MAX_AHEAD))
}

pub fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    const DAY: i64 = 86_400_000_000_000;
    const HOUR: u64 = 3_600;
    const NOW: i64 = 20_000 * DAY;

    use ClockState::{Resumed, Suspended, Trusted, Unset, Unverified};

    fn database() -> Connection {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        database
    }

    /// A process that has opened the database.
    fn start(database: &Connection, wall: i64) -> ClockCheck {
        let mut clock = ClockCheck::new((true, true), false);
        clock.opened(database);
        while clock.must_search(wall) {
            clock.search(database, wall).unwrap();
        }
        clock
    }

    /// While the program runs: elapsed time is no step, and a step is trusted an hour later, or when it was reverted.
    #[test]
    fn a_clock_that_is_set_forward() {
        let mut clock = start(&database(), NOW);
        let start = Instant::now();
        let mut at = |days: i64, hours: u64| {
            let elapsed = Duration::from_secs(HOUR * hours);
            clock.look(NOW + days * DAY + nanos(elapsed), start + elapsed)
        };
        assert_eq!(at(0, 0), Trusted);
        assert_eq!(at(0, 48), Trusted, "two days without a call are no step");
        assert_eq!(at(40, 90), Suspended);
        assert_eq!(at(0, 90), Resumed, "the clock was corrected");
        assert_eq!(at(0, 91), Trusted);
        assert_eq!(at(40, 120), Suspended);
        assert_eq!(at(50, 120), Suspended, "a second step begins the hour again");
        assert_eq!(at(20, 120), Suspended, "so does a correction to another wrong time");
        assert_eq!(at(20, 121), Resumed, "the clock is trusted after an hour");
        assert_eq!(at(20, 122), Trusted);
        // A clock that is not set is no step when it is set, and does not hide one.
        assert_eq!(clock.look(30, start + Duration::from_secs(HOUR * 123)), Unset);
        let later = start + Duration::from_secs(HOUR * 124);
        assert_eq!(clock.look(NOW + 99 * DAY, later), Suspended);
    }

    /// Restarts with a clock that is ahead, and what is stored with its time, end no suspension, nor does the time in which the program
    /// does not run; an hour in which it runs does, and with `--once`, one of the clock.
    #[test]
    fn a_restart_with_a_clock_that_is_ahead() {
        let database = database();
        let hours = |hours: i64| hours * DAY / 24;
        let run = |once: bool, wall: i64, runs: i64| {
            let mut clock = ClockCheck { once, ..start(&database, wall) };
            let now = Instant::now();
            if runs > 0 {
                clock.look(wall, now);
            }
            let wall = wall + runs;
            let state = clock.look(wall, now + Duration::from_nanos(runs as u64));
            clock.store(&database).unwrap();
            assert!(!clock.must_store());
            let insert = "INSERT OR IGNORE INTO recent_sighting VALUES (?, 0, 7, 0)";
            database.execute(insert, [wall]).unwrap();
            state
        };
        let at = |wall: i64| run(false, wall, 0);
        assert_eq!(at(NOW), Trusted, "a new database");
        assert_eq!(at(NOW + DAY), Trusted);
        assert_eq!(at(NOW + hours(23)), Trusted, "and set back, by less than a day");
        let ahead = NOW + 40 * DAY;
        assert_eq!(at(ahead), Suspended);
        assert_eq!(at(ahead + hours(1) / 2), Suspended);
        assert_eq!(at(NOW + DAY), Resumed, "it was corrected");
        assert_eq!(at(ahead + hours(12)), Suspended, "what was stored then confirms nothing");
        assert_eq!(at(ahead + 9 * DAY), Suspended, "another wrong time, or days without a process");
        assert_eq!(at(ahead + 9 * DAY + hours(12)), Suspended, "it was off for a night");
        assert_eq!(run(false, ahead + 10 * DAY, hours(1) - 1), Suspended);
        assert_eq!(run(false, ahead + 10 * DAY, hours(1)), Resumed);
        assert_eq!(at(ahead + 10 * DAY + hours(2)), Trusted);
        assert_eq!(run(true, ahead + 20 * DAY, 0), Suspended);
        assert_eq!(run(true, ahead + 20 * DAY + hours(1) - 1, 0), Suspended);
        assert_eq!(run(true, ahead + 20 * DAY + hours(1), 0), Resumed);
        assert_eq!(at(NOW + DAY), Trusted, "set back");
        assert_eq!(at(ahead), Suspended, "and ahead again");
    }

    /// A warning, unless the program may only have been stopped for some days, and nothing is deleted.
    #[test]
    fn what_is_logged() {
        let (now, stored) = (Instant::now(), Some((NOW, None)));
        let message = |what: (bool, bool), stored, (wall, at), days: i64| {
            let clock = ClockCheck { stored, ..ClockCheck::new(what, false) };
            let (is_warning, message) = clock.message(Reading { wall, at }, days * DAY).unwrap();
            (is_warning, message.split_once(" for an hour").unwrap().0.to_owned())
        };
        for (what, stored, trusted, days, is_warning, expected) in [
            (false, stored, (NOW, None), 40, false, "is 40 days ahead of the last run"),
            (false, stored, (NOW, None), 61, true, "is 61 days ahead of the last run"),
            (
                false,
                stored,
                (NOW, Some(now)),
                2,
                true,
                "is 2 days ahead of the time that has passed",
            ),
            (true, stored, (NOW, None), 2, true, "is 2 days ahead of the last run"),
            (false, None, (NOW, None), 9, false, "is 9 days ahead of the newest sighting"),
            (
                false,
                stored,
                (0, None),
                20_000,
                true,
                "cannot be compared with the newest sighting, which is not known",
            ),
        ] {
            let waits =
                if what { "nothing is deleted or compacted" } else { "no sightings are compacted" };
            let expected = (is_warning, format!("the clock {expected}: {waits}"));
            assert_eq!(message((what, true), stored, trusted, days), expected);
        }
        assert!(ClockCheck::default().message(Reading { wall: NOW, at: None }, DAY).is_none());
    }

    /// In a database of an earlier release, the newest sighting is searched in steps.
    #[test]
    fn the_newest_sighting() {
        let database = database();
        let now = Instant::now();
        let state = |wall: i64| {
            database.execute("DELETE FROM clock_check", []).unwrap();
            assert_eq!(ClockCheck::new((true, true), false).look(wall, now), Unverified);
            start(&database, wall).look(wall, now)
        };
        for pairing in 1..2_500 {
            let row = "INSERT INTO pairing (id, address, mac, place, ip) VALUES (?1, x'0a000001', ?1, 1, '10.0.0.1')";
            database.execute(row, [pairing]).unwrap();
        }
        let insert = |sql: &str, time: i64| {
            database.execute("DELETE FROM clock_check", []).unwrap();
            database.execute(sql, [time]).map(drop).unwrap();
        };
        insert("INSERT INTO sighting VALUES (7, ?, 0, 0), (7, 'x', 0, 0)", NOW - 3 * DAY);
        assert_eq!(state(NOW), Suspended);
        insert("INSERT INTO sighting VALUES (2400, ?, 0, 0)", NOW - DAY);
        assert_eq!(state(NOW), Trusted);
        assert_eq!(state(NOW + 2 * DAY), Suspended);
        // A clock that was a year ahead once confirms none that is a month ahead.
        insert("INSERT INTO sighting VALUES (7, ?, 0, 0)", NOW + 365 * DAY);
        assert_eq!(state(NOW + 30 * DAY), Suspended);
        // It is not searched before the clock is set.
        database.execute("DELETE FROM clock_check", []).unwrap();
        let mut clock = start(&database, 5);
        assert_eq!((clock.look(5, now), clock.look(NOW, now)), (Unset, Unverified));
        // A search that fails ends with what was found, and nothing else confirms the clock.
        clock.search(&database, NOW).unwrap();
        assert!(clock.must_search(NOW));
        clock.search_failed();
        assert_eq!(clock.look(NOW, now), Suspended);
        // So does one that a restart interrupts.
        insert("INSERT INTO recent_sighting VALUES (?, 0, 7, 0)", NOW - 3 * DAY);
        let mut clock = ClockCheck::new((true, true), false);
        clock.search(&database, NOW).unwrap();
        assert!(clock.must_search(NOW));
        database.execute("UPDATE recent_sighting SET slot = ?", [NOW]).unwrap();
        assert_eq!(start(&database, NOW).look(NOW, now), Suspended);
        insert("DELETE FROM sighting WHERE ?", 1);
        database.execute_batch("DROP TABLE sighting_span").unwrap();
        let mut clock = ClockCheck::new((true, true), false);
        clock.search(&database, NOW).unwrap_err();
        clock.search_failed();
        assert_eq!(clock.look(NOW, now), Suspended);
    }

    /// Sightings that are not filed, spans and rows of addrwatch are old sightings, too.
    #[test]
    fn the_newest_sighting_elsewhere() {
        let pairing = "INSERT INTO pairing (id, address, mac, place, ip) VALUES (7, x'0a000001', 1, 1, '10.0.0.1')";
        for insert in [
            "INSERT INTO recent_sighting VALUES (?1, 0, 7, 0)",
            "INSERT INTO sighting_span VALUES (7, ?1 - 5, ?1, 3, 0, 0)",
            "INSERT INTO addrwatch_old VALUES (?1 / 1000000000)",
        ] {
            let mut database = Connection::open_in_memory().unwrap();
            database
                .execute_batch(
                    "CREATE TABLE addrwatch (timestamp, interface, vlan_tag, mac_address, ip_address, origin)",
                )
                .unwrap();
            assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
            database.execute_batch("PRAGMA foreign_keys = off").unwrap();
            database.execute(pairing, []).unwrap();
            let table = &legacy_tables(&database).unwrap()[0];
            let of_table = format!("{table} (timestamp)");
            database.execute(&insert.replace("addrwatch_old", &of_table), [NOW]).unwrap();
            let now = Instant::now();
            assert_eq!(start(&database, NOW + DAY).look(NOW + DAY, now), Trusted, "{insert}");
            database.execute_batch("DELETE FROM clock_check").unwrap();
            let ahead = NOW + 365 * DAY;
            assert_eq!(start(&database, ahead).look(ahead, now), Suspended, "{insert}");
        }
    }
}
