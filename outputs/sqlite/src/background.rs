//! The work between commits: the import of addrwatch's rows, filing, retention and compaction, each in small steps. A fault of one of
//! them, such as a damaged page that holds old rows, does not stop the storing of events.

use std::time::{Duration, Instant};

use aw_service::Condition;
use rusqlite::{Connection, Error, ErrorCode};
use shm_layout::UnixTime;

use crate::{
    clock_check::{ClockCheck, ClockState},
    compaction::Compaction,
    legacy_import::LegacyImport,
    retention::Retention,
    sqlite_sink::OpenDatabase,
};

/// Rows that are filed at once, at most: more than a transaction of events adds, so that the new rows have a bound while events never pause.
const STEP_FILING: usize = 32_768;
/// Of so many pairings at most, and of as many more as events added: each has two pages of its own, so 2,000 write 16 MB.
const STEP_FILING_PAIRINGS: usize = 2_000;
/// At rest, the database is asked whether there is work so much later.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// After a fault, a task is tried again so much later.
pub const PAUSE: Duration = Duration::from_secs(3_600);

/// What may fail for itself.
#[derive(Clone, Copy)]
enum Task {
    Clock,
    Filing,
    Retention,
    Compaction,
}

const TASKS: usize = 4;

impl Task {
    /// What it does, and what becomes of the rows, for a message.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Task::Clock => ("compare the clock", "a restart may trust it too early, or too late"),
            Task::Filing => ("file new sightings by pairing", "questions take longer"),
            Task::Retention => ("delete old sightings", "they are kept"),
            Task::Compaction => ("compact old sightings", "they stay as they are"),
        }
    }
}

/// Decides what is to be done, and does it.
pub struct Background {
    clock: ClockCheck,
    retention: Retention,
    compaction: Compaction,
    /// When the database was asked for work and had none; none: events came since, or something was done.
    asked: Option<Instant>,
    /// When a task failed, and whether that was reported.
    failed: [Option<Instant>; TASKS],
    faults: [Condition; TASKS],
}

/// What is to be done, and the times when that was decided.
#[derive(Clone, Copy)]
pub struct Due {
    wall: i64,
    now: Instant,
    clock: ClockState,
    /// The time before which sightings are to be deleted.
    delete_before: Option<i64>,
}

impl Due {
    /// Whether retention deletes rows.
    pub fn deletes(&self) -> bool {
        self.delete_before.is_some()
    }
}

impl Background {
    pub fn new(retention_days: Option<u32>, raw_days: u32, once: bool) -> Background {
        let (retention, compaction) = (Retention::new(retention_days), Compaction::new(raw_days));
        Background {
            clock: ClockCheck::new((retention.is_on(), compaction.is_on()), once),
            retention,
            compaction,
            asked: None,
            failed: Default::default(),
            faults: Default::default(),
        }
    }

    /// To be called when there may be work: when events come.
    pub fn ask(&mut self) {
        self.asked = None;
    }

    /// What is due, if anything.
    pub fn due(&mut self, database: &OpenDatabase, now: Instant) -> Option<Due> {
        let wall = UnixTime::now().as_nanos();
        if self.failed[Task::Clock as usize].is_some() {
            self.clock.search_failed();
        }
        let clock = self.clock.look(wall, now);
        let delete_before = self.retention.due((wall, clock), now);
        let delete_before = delete_before.filter(|_| self.may(Task::Retention, now));
        let OpenDatabase { connection, import, filing, .. } = database;
        let has_work = || {
            let may_file = self.may(Task::Filing, now) && filing.is_due(connection)?;
            let may_compact = self.may(Task::Compaction, now)
                && self.compaction.may_be_due(connection, clock, now)?;
            Ok::<_, Error>(may_file || may_compact)
        };
        let is_known = delete_before.is_some() || import.is_some() || self.has_to_check(wall, now);
        let is_asked = self.asked.is_none_or(|asked| now - asked >= ASKED_EVERY);
        let is_due = is_known || is_asked && has_work().unwrap_or(true);
        if is_due || is_asked {
            self.asked = (!is_due).then_some(now);
        }
        is_due.then_some(Due { wall, now, clock, delete_before })
    }

    /// Whether the clock is to be compared with the newest sighting, or its time is to be stored.
    fn has_to_check(&self, wall: i64, now: Instant) -> bool {
        self.may(Task::Clock, now) && (self.clock.must_search(wall) || self.clock.must_store())
    }

    /// To be called when the database was opened.
    pub fn opened(&mut self, connection: &Connection) {
        self.ask();
        self.clock.opened(connection);
        self.compaction.opened(connection);
        self.retention.restart_pass();
    }

    /// To be called after a commit.
    pub fn committed(&mut self) {
        self.compaction.committed();
    }

    /// To be called after a failure that rolled back what was done.
    pub fn restart(&mut self) {
        self.ask();
        self.clock.restart();
        self.retention.restart_pass();
        self.compaction.restart_pass();
    }

    /// Takes a step, in the transaction of the caller. Returns true if there is more to do.
    pub fn step(
        &mut self,
        database: &mut OpenDatabase,
        due: Due,
        rows: usize,
    ) -> rusqlite::Result<bool> {
        let Due { wall, now, clock, delete_before } = due;
        let OpenDatabase { connection, rows: writer, import, filing, .. } = database;
        let connection: &Connection = connection;
        if self.has_to_check(wall, now) {
            self.attempt(connection, Task::Clock, now, |it| match it.clock.must_search(wall) {
                true => it.clock.search(connection, wall),
                false => it.clock.store(connection),
            })?;
            if self.clock.must_search(wall) {
                // What has the time of this clock is not to be found: nothing is filed or imported before.
                filing.added(writer.write_rows(connection)?);
                return Ok(true);
            }
        }
        let waits = import.is_some();
        if let Some(mut current) = import.take() {
            *import = match current.step(connection, writer, rows)? {
                true => Some(current),
                false => LegacyImport::find(connection, &current.table)?,
            };
        }
        // Without them, a new pairing would seem to have no rows, and what is near to old ones would not be known.
        filing.added(writer.write_rows(connection)?);
        let limits = (STEP_FILING, rows.min(STEP_FILING_PAIRINGS));
        let files = self.attempt(connection, Task::Filing, now, |_| {
            if let Some(before) = delete_before {
                filing.want(connection, before)?;
            }
            Ok(filing.is_due(connection)? && filing.step(connection, limits)?)
        });
        let files = files?;
        if files.is_none() {
            filing.forget();
        }
        if waits || files == Some(true) {
            return Ok(true);
        }
        let compacts = self.attempt(connection, Task::Compaction, now, |it| {
            it.compaction.begin(connection, (wall, clock), now)
        });
        let compacts = compacts?.unwrap_or(false);
        if delete_before.is_some() {
            let more = self.attempt(connection, Task::Retention, now, |it| {
                it.retention.step(connection, writer, rows)
            });
            let Some(more) = more? else {
                writer.clear_pairings();
                writer.clear_places();
                return Ok(true);
            };
            return Ok(more || compacts); // and the next step compacts
        }
        if !compacts {
            return Ok(false);
        }
        let more = self.attempt(connection, Task::Compaction, now, |it| {
            it.compaction.step(connection, writer, rows)
        });
        Ok(more?.unwrap_or_else(|| self.may(Task::Compaction, now)))
    }

    fn may(&self, task: Task, now: Instant) -> bool {
        self.failed[task as usize].is_none_or(|failed| now - failed >= PAUSE)
    }

    /// Does a part of a task that may fail for itself. None if it has failed: what it did is rolled back, and not what the rest of the
    /// transaction did.
    fn attempt<T>(
        &mut self,
        connection: &Connection,
        task: Task,
        now: Instant,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        if !self.may(task, now) {
            return Ok(None);
        }
        connection.execute_batch("SAVEPOINT task")?;
        let error = match work(self) {
            Ok(done) => {
                connection.execute_batch("RELEASE task")?;
                let (what, _) = task.names();
                if self.failed[task as usize].take().is_some() {
                    self.faults[task as usize].ends(format_args!("it can {what} again"));
                }
                return Ok(Some(done));
            }
            Err(error) => error,
        };
        if is_of_all(&error) {
            return Err(error);
        }
        // The next try goes on behind the pairing.
        let left_out = match task {
            Task::Compaction => self.compaction.leave_out(),
            Task::Retention => self.retention.leave_out(),
            Task::Clock | Task::Filing => None,
        };
        let ((what, then), remedy) = (task.names(), remedy(&error));
        let next = match left_out {
            Some(pairing) => format!(
                "pairing {pairing} is left out until the next start, and others that fail, too"
            ),
            None => {
                self.failed[task as usize] = Some(now);
                format!("{then}, and events are stored; it is tried again in an hour")
            }
        };
        self.faults[task as usize].begins(format_args!("{what}: {error}{remedy}: {next}"));
        // A failed read of the disk may have ended the transaction: the next one is without this task, or this pairing.
        let undone = connection.execute_batch("ROLLBACK TO task; RELEASE task");
        match task {
            Task::Clock => self.clock.restart(),
            Task::Retention => self.retention.restart_pass(),
            Task::Compaction => self.compaction.restart_pass(),
            Task::Filing => {}
        }
        undone.map_err(|_| error).map(|()| None)
    }
}

/// Whether an error is not one of the rows that a task works on: then events cannot be stored either.
pub fn is_of_all(error: &Error) -> bool {
    use ErrorCode::*;
    matches!(
        error.sqlite_error_code(),
        Some(
            DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | ReadOnly
                | CannotOpen
                | PermissionDenied
                | OutOfMemory
                | OperationInterrupted
                | FileLockingProtocolFailed
                | NotADatabase
        )
    )
}

/// What to do against an error.
pub fn remedy(error: &Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => " (free space on its disk)",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            " by another program (end its transaction)"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            " (move it away with its -wal file, or repair it with sqlite3's .recover)"
        }
        _ => "",
    }
}
