//! Files recent sightings by pairing: from the table in the order of time, to which events add rows, into the table in which
//! questions find them. A page of that one is written for many rows then, and not for each event.
//!
//! A pass goes through the pairings in small steps. The table `recent_filing` has how far it is, in the transaction of the
//! rows, so that each row is read in one table or in the other one at any moment.

use std::collections::VecDeque;

use aw_database::LONGEST_SHIFT;
use aw_output::warn;
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::UnixTime;

use crate::clock_check::latest;

/// Recent rows that begin a pass. With a thousand pairings, a page gets hundreds of rows; a reader goes through so many in some
/// milliseconds. A pass has at most so many, 10 MB in memory.
const ROWS: usize = 250_000;

/// Rows from which on a warning is logged: questions take longer.
const MANY: usize = 1_000_000;

/// A row: pairing, time, origin.
type Row = (i64, i64, i64);

/// How far a pass is.
#[derive(Clone, Copy)]
struct Progress {
    /// Rows from before this slot are filed.
    before: i64,
    /// The last one that is in the other table.
    filed: (i64, i64),
}

/// All rows of a pass are in the other table, and are to be deleted here.
const ALL_FILED: (i64, i64) = (i64::MAX, i64::MAX);

/// The rows of a pass that are left to file.
struct Left {
    rows: VecDeque<Row>,
    /// The last one that was filed, and the version of the data that they are from.
    after: ((i64, i64), i64),
}

pub struct Filing {
    /// Recent rows, or more: other programs may have deleted some.
    rows: usize,
    limit: usize,
    /// Rows from before this time are wanted in the other table, however many they are.
    wanted: i64,
    /// Rows that were added since the last step, while there are enough to begin a pass.
    added: usize,
    /// Whether the log has that there are many.
    is_reported: bool,
    /// The rows of the current pass that are left, sorted.
    left: Option<Left>,
}

impl Filing {
    pub fn new(database: &Connection) -> rusqlite::Result<Filing> {
        Filing::with_limit(database, ROWS)
    }

    fn with_limit(database: &Connection, limit: usize) -> rusqlite::Result<Filing> {
        let count = "SELECT count(*) FROM recent_sighting";
        let rows = database.query_row(count, [], |row| row.get::<_, i64>(0))?;
        Ok(Filing {
            rows: rows as usize,
            limit,
            wanted: i64::MIN,
            added: 0,
            is_reported: false,
            left: None,
        })
    }

    /// To be called after a step was rolled back.
    pub fn forget(&mut self) {
        self.left = None;
    }

    /// To be called after rows were added.
    pub fn added(&mut self, rows: usize) {
        if self.rows >= self.limit {
            self.added += rows;
        }
        self.rows += rows;
        if self.rows < MANY {
            self.is_reported = false;
        } else if !std::mem::replace(&mut self.is_reported, true) {
            warn(format_args!(
                "more than {MANY} new sightings are not filed by pairing, because that fails or too many new ones come: questions take longer, and with four million, aw-query refuses those about many addresses (see the messages before, or find the host that makes up addresses)"
            ));
        }
    }

    /// Files rows from before a time, if there are any, before more of them is done. Returns whether there are.
    pub fn want(&mut self, database: &Connection, before: i64) -> rusqlite::Result<bool> {
        let any = "SELECT EXISTS (SELECT 1 FROM recent_sighting WHERE slot < ?1 + ?2 AND slot - shift < ?1)";
        let any =
            database.prepare_cached(any)?.query_row([before, LONGEST_SHIFT], |row| row.get(0))?;
        if any {
            self.wanted = self.wanted.max(before);
        }
        Ok(any)
    }

    /// Whether there is something to do.
    pub fn is_due(&self, database: &Connection) -> rusqlite::Result<bool> {
        let is_due = self.rows >= self.limit || self.wanted > i64::MIN;
        Ok(is_due || progress(database)?.is_some())
    }

    /// Files at most about `rows` rows of so many pairings, in the caller's transaction: each pairing has a page of its own. Of as many more as
    /// rows were added since the last step, and a quarter more, for those that are added while rows are deleted: so what is new has a bound.
    /// Returns true if there may be more.
    pub fn step(
        &mut self,
        database: &Connection,
        (rows, pairings): (usize, usize),
    ) -> rusqlite::Result<bool> {
        let added = std::mem::take(&mut self.added);
        let pairings = pairings + added + added / 4;
        let progress = match progress(database)? {
            Some(progress) => progress,
            None => {
                self.left = None;
                self.begin(database)?
            }
        };
        if progress.filed == ALL_FILED {
            return self.delete(database, progress, rows);
        }
        let mut left = self.take_left(database, progress)?;
        let mut filed = progress.filed;
        let (mut done, mut begun) = (0, 0);
        while let Some(row @ (pairing, time, _)) = left.front().copied() {
            // Equal ones together: the progress does not distinguish them.
            let is_full = done >= rows && (pairing, time) != filed;
            let is_next = pairing != filed.0;
            if is_full || is_next && begun >= pairings {
                break;
            }
            begun += usize::from(is_next);
            insert(database, row)?;
            left.pop_front();
            filed = (pairing, time);
            done += 1;
        }
        if left.is_empty() {
            filed = ALL_FILED;
        }
        let update = "UPDATE recent_filing SET pairing = ?, time = ?";
        database.prepare_cached(update)?.execute([filed.0, filed.1])?;
        self.left = Some(Left { rows: left, after: (filed, data_version(database)?) });
        Ok(true)
    }

    fn begin(&mut self, database: &Connection) -> rusqlite::Result<Progress> {
        let after = "SELECT slot FROM recent_sighting ORDER BY slot LIMIT 1 OFFSET ?";
        let after = database.prepare_cached(after)?;
        let before = { after }.query_row([self.limit as i64], |row| row.get::<_, i64>(0));
        let before = match (before.optional()?, self.wanted) {
            (Some(before), _) => before,
            (None, i64::MIN) => {
                // The newest one that is not of the future stays: from which time on older ones are compacted depends on it.
                let newest = "SELECT coalesce((SELECT max(slot) FROM recent_sighting WHERE slot <= ?), max(slot), 0) FROM recent_sighting";
                let wall = UnixTime::now().as_nanos();
                database.query_row(newest, [latest(wall)], |row| row.get(0))?
            }
            (None, wanted) => wanted.saturating_add(LONGEST_SHIFT),
        };
        let filed = (i64::MIN, i64::MIN);
        let insert = "INSERT INTO recent_filing VALUES (?, ?, ?)";
        database.execute(insert, [before, filed.0, filed.1])?;
        Ok(Progress { before, filed })
    }

    /// The rows that are left: those of the last step, unless another program changed something, or the step was not committed.
    fn take_left(
        &mut self,
        database: &Connection,
        Progress { before, filed }: Progress,
    ) -> rusqlite::Result<VecDeque<Row>> {
        let after = (filed, data_version(database)?);
        if let Some(left) = self.left.take().filter(|left| left.after == after) {
            return Ok(left.rows);
        }
        // What another program stored, and is no number, becomes one: it must not stop the others.
        let select = "SELECT CAST(pairing AS INTEGER), CAST(slot - shift AS INTEGER),
                CASE typeof(origin) WHEN 'integer' THEN origin ELSE -1 END
            FROM recent_sighting WHERE slot < ?1 AND (pairing, slot - shift) > (?2, ?3)";
        let mut statement = database.prepare_cached(select)?;
        let rows = statement.query_map([before, filed.0, filed.1], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let mut left = rows.collect::<rusqlite::Result<Vec<Row>>>()?;
        left.sort_unstable();
        Ok(left.into())
    }

    /// Deletes rows that are in the other table.
    fn delete(
        &mut self,
        database: &Connection,
        Progress { before, .. }: Progress,
        rows: usize,
    ) -> rusqlite::Result<bool> {
        let rows = 5 * rows; // which is as fast
        let delete = "DELETE FROM recent_sighting WHERE slot < min(?1, coalesce(
            (SELECT slot FROM recent_sighting ORDER BY slot LIMIT 1 OFFSET ?2), ?1))";
        let deleted = database.prepare_cached(delete)?.execute(params![before, rows as i64])?;
        if deleted >= rows {
            return Ok(true);
        }
        database.execute("DELETE FROM recent_filing", [])?;
        let is_reported = self.is_reported;
        *self = Filing { is_reported, ..Filing::with_limit(database, self.limit)? };
        self.is_due(database)
    }
}

/// How far a pass is, if one has begun.
fn progress(database: &Connection) -> rusqlite::Result<Option<Progress>> {
    let select = "SELECT CAST(before AS INTEGER), CAST(pairing AS INTEGER), CAST(time AS INTEGER) FROM recent_filing";
    let progress = database.prepare_cached(select)?.query_row([], |row| {
        Ok(Progress { before: row.get(0)?, filed: (row.get(1)?, row.get(2)?) })
    });
    progress.optional()
}

/// Rows from before this time are added to the other table at once, because a pass files those of their pairings, or has done
/// so.
pub fn filed_before(database: &Connection) -> rusqlite::Result<i64> {
    Ok(progress(database)?.map_or(i64::MIN, |progress| progress.before))
}

/// Changes when another program changes something.
pub fn data_version(database: &Connection) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, "data_version", |row| row.get(0))
}

/// Adds a row to the table in the order of pairings.
pub fn insert(database: &Connection, (pairing, time, origin): Row) -> rusqlite::Result<()> {
    let row = params![pairing, time, origin];
    let insert = "INSERT OR IGNORE INTO sighting VALUES (?, ?, ?, 0)";
    if database.prepare_cached(insert)?.execute(row)? == 0 {
        let again = "INSERT INTO sighting SELECT ?1, ?2, ?3, max(again) + 1 FROM sighting
            WHERE pairing = ?1 AND time = ?2 AND origin = ?3";
        database.prepare_cached(again)?.execute(row)?;
    }
    Ok(())
}

/// Adds a row to the table in the order of time.
pub fn insert_recent(database: &Connection, (pairing, time, origin): Row) -> rusqlite::Result<()> {
    let insert = "INSERT OR IGNORE INTO recent_sighting VALUES (?, ?, ?, ?)";
    let mut insert = database.prepare_cached(insert)?;
    if insert.execute([time, 0, pairing, origin])? > 0 {
        return Ok(());
    }
    let end = time.saturating_add(LONGEST_SHIFT);
    let last = "SELECT max(slot) FROM recent_sighting WHERE slot < ?";
    let last =
        database.prepare_cached(last)?.query_row([end], |row| row.get::<_, Option<i64>>(0))?;
    let slot = last.and_then(|last| last.checked_add(1)).unwrap_or(end);
    match slot < end {
        true => insert.execute([slot, slot - time, pairing, origin]).map(drop),
        false => self::insert(database, (pairing, time, origin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    const SECOND: i64 = 1_000_000_000;

    const ALL: &str = "SELECT group_concat(pairing || ' ' || time || ' ' || origin, ', ') FROM (
        SELECT pairing, time, origin FROM sighting UNION ALL
        SELECT pairing, slot - shift, origin FROM recent_sighting WHERE %s ORDER BY 1, 2, 3)";

    fn all(database: &Connection) -> String {
        let select = ALL.replace("%s", aw_database::NOT_FILED);
        database.query_row(&select, [], |row| row.get(0)).unwrap()
    }

    fn count(database: &Connection, table: &str) -> i64 {
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// Each row is read once after each step, equal ones included, also if a step is the last one before a kill and new rows are
    /// added in between. The pages that a pass writes are those of the pairings, each some times, and not one for each row.
    #[test]
    fn each_row_is_read_once() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        let rows = |from: i64| (from..from + 3_000).map(|n| (1 + n % 7, n / 5 * SECOND, n % 2));
        rows(0).for_each(|row| insert_recent(&database, row).unwrap());
        assert_eq!(count(&database, "sighting"), 0);
        let mut filing = Filing::with_limit(&database, 2_000).unwrap();
        assert!(filing.is_due(&database).unwrap());
        let mut expected = all(&database);
        let mut steps = 0;
        while filing.is_due(&database).unwrap() {
            let more = filing.step(&database, (100, 5)).unwrap();
            steps += 1;
            assert_eq!(all(&database), expected, "after step {steps}");
            if steps % 3 == 0 {
                filing = Filing::with_limit(&database, 2_000).unwrap(); // as after a kill
            }
            if steps == 5 {
                let before = filed_before(&database).unwrap();
                assert!(before > i64::MIN);
                insert(&database, (3, 77 * SECOND, 1)).unwrap(); // an old one
                insert_recent(&database, (3, before, 1)).unwrap();
                insert_recent(&database, (3, before, 1)).unwrap();
                expected = all(&database);
                assert_eq!(expected.split(", ").count(), 3_003);
            }
            assert!(more || steps > 10);
        }
        assert_eq!(count(&database, "recent_filing"), 0);
        let left = count(&database, "recent_sighting");
        assert!(left < 2_000 && count(&database, "sighting") == 3_003 - left);
        // Old ones are wanted, however few they are.
        assert!(filing.want(&database, 550 * SECOND).unwrap());
        while filing.is_due(&database).unwrap() {
            filing.step(&database, (100, 5)).unwrap();
        }
        assert_eq!(all(&database), expected);
        let oldest = "SELECT min(slot - shift) FROM recent_sighting";
        assert!(
            database.query_row(oldest, [], |row| row.get::<_, i64>(0)).unwrap() >= 550 * SECOND
        );
        assert!(!filing.want(&database, 550 * SECOND).unwrap());
    }

    /// Also where all rows begin a pass, the newest one stays, and one of a clock that was ahead.
    #[test]
    fn the_newest_row_stays() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        (0..99).for_each(|n| insert_recent(&database, (n % 3, n * SECOND, 0)).unwrap());
        insert_recent(&database, (1, i64::MAX / 2, 0)).unwrap();
        let mut filing = Filing::with_limit(&database, 100).unwrap();
        while filing.is_due(&database).unwrap() {
            filing.step(&database, (30, 5)).unwrap();
        }
        assert_eq!(count(&database, "sighting"), 98);
        let newest = "SELECT min(slot) FROM recent_sighting";
        assert_eq!(database.query_row(newest, [], |row| row.get(0)), Ok(98 * SECOND));
    }

    /// A step writes to few pairings, of which each has a page, and to more if more are added.
    #[test]
    fn many_pairings() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        (0..5_000).for_each(|n| insert_recent(&database, (n, n * SECOND, 0)).unwrap());
        let mut filing = Filing::with_limit(&database, 5_000).unwrap();
        assert!(!filing.is_reported);
        for (added, filed) in [(0, 300), (20, 325), (400, 800)] {
            let before = count(&database, "sighting");
            filing.added(added);
            assert!(filing.step(&database, (30_000, 300)).unwrap());
            assert_eq!(count(&database, "sighting") - before, filed);
        }
        filing.added(MANY);
        assert!(filing.is_reported);
    }

    /// In a flood in which each event has a new pairing and events never pause, pass after pass, there are at most twice as many rows as begin a
    /// pass: with a hundredth of the numbers that the program has. What came before a pass makes no step of it longer.
    #[test]
    fn a_flood_of_new_pairings() {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        for added in [30, 80, 164] {
            database
                .execute_batch("DELETE FROM recent_sighting; DELETE FROM recent_filing")
                .unwrap();
            let mut filing = Filing::with_limit(&database, 2_500).unwrap();
            let (mut most, mut passes, mut is_first) = (0, 0, true);
            for begin in (0..).step_by(added) {
                let rows = begin..begin + added as i64;
                rows.for_each(|n| insert_recent(&database, (n, n * SECOND, 0)).unwrap());
                filing.added(added);
                most = most.max(count(&database, "recent_sighting"));
                if filing.is_due(&database).unwrap() {
                    let before = count(&database, "sighting");
                    filing.step(&database, (328, 10)).unwrap();
                    if std::mem::take(&mut is_first) {
                        assert_eq!(count(&database, "sighting") - before, 10);
                    }
                    passes += usize::from(count(&database, "recent_filing") == 0);
                }
                if passes == 10 {
                    break;
                }
            }
            assert!(most <= 2 * 2_500, "{most} with {added}");
            database.execute_batch("DELETE FROM sighting").unwrap();
        }
    }
}
