//! The sink: rows and checkpoints are written in one transaction, which `flush` commits.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_database::{Snapshot, index_path, wal_path};
use aw_output::{
    Checkpoint, CheckpointStore, Entry, Error, Fault, NameFollower, RingState, Sink, SinkResult,
    failed, warn,
};
use aw_service::{
    Condition, Wanted, denied, full_disk, try_writing, unit_forbids_writing, unwritable,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use rustix::{
    fs::{Access, access},
    io::Errno,
};
use shm_layout::{RingName, UnixTime};

use crate::{
    background::{Background, PAUSE, is_of_all, remedy},
    compaction,
    database_file::{self, FileId},
    filing::Filing,
    legacy_import::LegacyImport,
    name_rows::NameRows,
    row_writer::RowWriter,
    schema::{self, Unusable, ViewName},
};

/// How long to wait for another program's lock. Then events go to the spool, because the ring does not wait.
const BUSY_TIMEOUT: Duration = Duration::from_millis(200);

/// Rows that one step of the import or of the retention takes, while events arrive and while none do: some
/// milliseconds, and some tens of milliseconds.
const STEP_BUSY: usize = 1000;
const STEP_IDLE: usize = 10_000;
/// Records of each ring of names that are taken at once.
const NAMES: usize = 4096;

/// The options of the database.
pub struct DatabaseSettings {
    pub path: PathBuf,
    pub view: ViewName,
    /// Days for which sightings are kept.
    pub retention: Option<u32>,
    /// Days after which sightings are compacted; 0: never.
    pub raw_days: u32,
    /// The process ends when it has delivered what there is.
    pub once: bool,
}

pub struct SqliteSink {
    settings: DatabaseSettings,
    /// None before the first use and after a failure: closing it has rolled back what was not committed.
    database: Option<OpenDatabase>,
    /// The file that was open when an operation failed.
    failed_file: Option<FileId>,
    /// The file was moved away, and another program still uses it.
    moved: Condition,
    background: Background,
    /// The rings of names; they are read between the events.
    names: Option<NameFollower>,
    /// The shortest time between two commits of names alone.
    interval: Duration,
    began: Instant,
    committed_at: Option<Instant>,
}

/// An open database, with what is cached of it: a rollback discards both.
pub struct OpenDatabase {
    pub connection: Connection,
    /// To notice when the file is moved away.
    file: FileId,
    pub rows: RowWriter,
    pub import: Option<LegacyImport>,
    pub filing: Filing,
    names: NameRows,
    /// Names cannot be read or written, and events can.
    names_fault: Condition,
    /// For readers of snapshots. It is closed after the connection, see `database_file::open_lock`.
    lock: File,
}

impl OpenDatabase {
    /// Writes the names that are due, or all, in a transaction. Returns whether the positions in their rings can be stored.
    fn write_names(&mut self, now: Instant, all: bool) -> rusqlite::Result<bool> {
        if self.names.is_off(now) {
            return Ok(false);
        }
        if !self.names.is_changed() {
            return Ok(true);
        }
        self.connection.execute_batch("SAVEPOINT names")?;
        let Err(error) = self.names.write((&self.connection, &mut self.rows), now, all) else {
            self.names_fault.ends("names of devices can be stored again");
            return self.connection.execute_batch("RELEASE names").map(|()| true);
        };
        let undone = self.connection.execute_batch("ROLLBACK TO names; RELEASE names");
        self.rows.clear_places(); // some were created here
        match undone {
            Ok(()) => self.give_up_names(error, true).map(|()| false),
            Err(_) => Err(error), // a failed read of the disk may have ended the transaction
        }
    }

    /// A fault of the rows of names, such as a damaged page, does not stop the storing of events; unless it has ended their transaction.
    fn give_up_names(&mut self, error: rusqlite::Error, was_open: bool) -> rusqlite::Result<()> {
        if is_of_all(&error) || was_open && self.connection.is_autocommit() {
            return Err(error);
        }
        let remedy = remedy(&error);
        self.names_fault.begins(format_args!(
            "store names of devices: {error}{remedy}: they are not stored, and events are; it is tried again in an hour"
        ));
        self.names.switch_off(Instant::now() + PAUSE);
        Ok(())
    }
}

impl SqliteSink {
    /// Opens the database. A failure that may be temporary is not an error here: the run loop tries again.
    pub fn new(settings: DatabaseSettings) -> Result<SqliteSink, Error> {
        require_directory(&settings.path)?;
        let background = Background::new(settings.retention, settings.raw_days, settings.once);
        let mut sink = SqliteSink {
            settings,
            database: None,
            failed_file: None,
            moved: Condition::default(),
            background,
            names: None,
            interval: Duration::ZERO,
            began: Instant::now(),
            committed_at: None,
        };
        match sink.open() {
            Ok(database) => sink.database = Some(database),
            Err(Unusable::Foreign(why)) => return Err(failed(sink.open_failure(&why))),
            Err(Unusable::Sqlite(_)) => {}
        }
        Ok(sink)
    }

    /// Stores what devices call themselves, too.
    pub fn with_names(self, names: NameFollower, interval: Duration) -> SqliteSink {
        SqliteSink { names: Some(names), interval, ..self }
    }

    /// Reads a database that exists, without a lock, and tries whether it can be written. Nothing is changed: the service may be
    /// another program's still, or that of an earlier release. Returns a line for the user.
    pub fn check(settings: DatabaseSettings) -> Result<String, Vec<String>> {
        let path = settings.path.clone();
        if path.parent().is_some_and(|directory| try_writing(directory).is_err()) {
            return Ok(String::new()); // which is reported already
        }
        let shown = path.display();
        let found = || {
            database_file::refuse_other_log(&path, None)?;
            if database_file::file_id(&path).is_none() {
                return Ok(format!("{shown} does not exist yet: it is created at the start"));
            }
            database_file::open_lock(&path)?;
            for file in [path.clone(), wal_path(&path), index_path(&path)] {
                match access(&file, Access::READ_OK | Access::WRITE_OK) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(database_file::as_sqlite(error.into()).into()),
                }
            }
            let (is_older, waits, has_spans) = loop {
                let snapshot = Snapshot::open(&path)?;
                let found = schema::is_older(&snapshot.database, &settings.view);
                let wall = UnixTime::now().as_nanos();
                let waits =
                    compaction::waits_for_a_day(&snapshot.database, wall, settings.raw_days);
                let has_spans = compaction::has_spans(&snapshot.database);
                if snapshot.is_intact()? {
                    break (found?, waits.unwrap_or(true), has_spans.unwrap_or(false));
                }
            };
            let converted =
                if is_older { "; its older tables are converted at the start" } else { "" };
            let compacted = match settings.raw_days {
                0 => String::new(),
                _ if has_spans && !waits => String::new(),
                days => format!(
                    "; {}sightings that are older than --raw-days ({days}) will be compacted into spans, 0 keeps each one",
                    if waits { "from a day after the first start on, " } else { "" }
                ),
            };
            Ok(format!("{shown} can be written{converted}{compacted}"))
        };
        require_directory(&path).map_err(|error| vec![error.to_string()])?;
        found().map_err(|why| match why {
            Unusable::Foreign(why) => vec![format!("open {shown}: {why}")],
            Unusable::Sqlite(error) => vec![write_failure(&path, error)],
        })
    }

    fn open(&mut self) -> Result<OpenDatabase, Unusable> {
        let DatabaseSettings { path, view, .. } = &self.settings;
        let (connection, lock) = open_connection(path, view, self.failed_file, BUSY_TIMEOUT)?;
        let import = LegacyImport::find(&connection, "")?;
        self.background.opened(&connection);
        let file = database_file::file_id(path).unwrap_or_default();
        let (rows, filing) = (RowWriter::default(), Filing::new(&connection)?);
        let (names, names_fault) = (NameRows::new(Instant::now()), Condition::default());
        Ok(OpenDatabase { connection, file, rows, import, filing, names, names_fault, lock })
    }

    fn open_failure(&self, why: &str) -> String {
        format!("open {}: {why}", self.settings.path.display())
    }

    /// The database, which is opened if it is not open.
    fn take_open(&mut self) -> SinkResult<OpenDatabase> {
        let opened = self.database.take().map_or_else(|| self.open(), Ok);
        opened.map_err(|why| match why {
            Unusable::Foreign(why) => Fault::Down(self.open_failure(&why)),
            Unusable::Sqlite(error) => self.write_failure(error),
        })
    }

    /// Runs an operation in the transaction that `flush` commits.
    fn in_transaction<T>(
        &mut self,
        operation: impl FnOnce(&mut OpenDatabase) -> rusqlite::Result<T>,
    ) -> SinkResult<T> {
        self.in_database(|database| {
            if database.connection.is_autocommit() {
                database.connection.execute_batch("BEGIN IMMEDIATE")?;
            }
            operation(database)
        })
    }

    /// The same without a transaction of its own.
    fn in_database<T>(
        &mut self,
        operation: impl FnOnce(&mut OpenDatabase) -> rusqlite::Result<T>,
    ) -> SinkResult<T> {
        let mut database = self.take_open()?;
        let done = operation(&mut database);
        self.failed_file = done.is_err().then_some(database.file);
        match done {
            Ok(_) => self.database = Some(database),
            Err(_) => self.background.restart(), // dropping the connection rolls back
        }
        done.map_err(|error| self.write_failure(error))
    }

    fn write_failure(&self, error: rusqlite::Error) -> Fault {
        Fault::Down(write_failure(&self.settings.path, error))
    }

    /// Takes one step of the import, or else of filing, of the retention, or of compaction. Returns true if there is more to do.
    fn background_step(&mut self, rows: usize) -> SinkResult<bool> {
        let database = self.take_open()?;
        let due = self.background.due(&database, Instant::now());
        self.database = Some(database);
        let Some(due) = due else { return Ok(false) };
        let none = Background::new(None, 0, false);
        let mut background = std::mem::replace(&mut self.background, none);
        let result = self.in_transaction(|database| {
            // Retention must not delete the places of names that are not written yet, nor rows that were used since.
            database.write_names(Instant::now(), due.deletes())?;
            if due.deletes() {
                database.names.forget_places();
            }
            background.step(database, due, rows)
        });
        self.background = background;
        if result.is_err() {
            self.background.restart();
        }
        result
    }

    /// Takes what the rings of names have. Returns whether there may be more.
    fn read_names(&mut self) -> SinkResult<bool> {
        let Some(mut follower) = self.names.take() else { return Ok(false) };
        let all_read = self.in_database(|database| {
            let OpenDatabase { connection, rows, names, .. } = &mut *database;
            if names.is_off(Instant::now()) {
                return Ok(true);
            }
            let was_open = !connection.is_autocommit();
            if !std::mem::replace(&mut names.is_resumed, true) {
                follower.resume(|ring| checkpoint(connection, ring))?;
            }
            let mut added = Ok(());
            let all_read = follower.read(NAMES, |entry| {
                if added.is_ok() {
                    added = names.add(connection, rows, entry);
                }
            });
            match added {
                Ok(()) => Ok(all_read),
                Err(error) => database.give_up_names(error, was_open).map(|()| true),
            }
        });
        self.names = Some(follower);
        all_read.map(|all_read| !all_read)
    }

    /// Whether names are to be committed although there is no event. After the start, it is sooner, as for events.
    fn has_due_names(&self, now: Instant) -> bool {
        let Some(OpenDatabase { names, .. }) = &self.database else { return false };
        let after_start = |last: Instant| last - self.began;
        let interval = self.committed_at.map_or(Duration::ZERO, after_start).min(self.interval);
        let is_due = names.is_due(now, self.committed_at, interval);
        is_due || self.settings.once && names.is_changed()
    }

    fn commit(&mut self, all_names: bool) -> SinkResult {
        let now = Instant::now();
        let follower = self.names.take();
        let committed = self.in_transaction(|database| {
            database.filing.added(database.rows.write_rows(&database.connection)?);
            let has_names = database.write_names(now, all_names)?;
            for (ring, checkpoint) in
                follower.iter().filter(|_| has_names).flat_map(NameFollower::unsaved)
            {
                store_checkpoint(&database.connection, ring, &checkpoint)?;
            }
            database.connection.execute_batch("COMMIT")?;
            database.import.iter_mut().for_each(LegacyImport::report_progress);
            Ok(has_names)
        });
        self.names = follower;
        if committed? {
            self.names.iter_mut().for_each(NameFollower::saved);
        }
        self.background.committed();
        self.committed_at = Some(now);
        if let Some(OpenDatabase { connection, lock, .. }) = &self.database {
            let _ = connection.busy_timeout(Duration::ZERO); // it is tried again after the next commit
            let _ = database_file::copy_log(connection, &self.settings.path, lock);
            let _ = connection.busy_timeout(BUSY_TIMEOUT);
        }
        self.close_if_moved();
        Ok(())
    }

    /// If the file was moved away or replaced, the next rows go to the file that has the name now. While the
    /// log of the old file cannot be copied, rows still go to the old file. None is lost, so this is not a fault.
    fn close_if_moved(&mut self) {
        let path = &self.settings.path;
        let Some(database) = &self.database else { return };
        if database_file::file_id(path) == Some(database.file) {
            return;
        }
        let shown = path.display();
        let is_deleted = is_deleted(&database.lock);
        let why = match database_file::detach(&database.connection, path) {
            Ok(true) => {
                self.database = None;
                if is_deleted {
                    let what = match path.exists() {
                        true => "was replaced by another file: the next rows go to that",
                        false => "was deleted, with all rows in it: the next rows go to a new",
                    };
                    warn(format_args!(
                        "{shown} {what} {shown} (aw-sqlite import adds those of a copy)"
                    ));
                }
                self.moved.ends(format_args!("the next rows go to a new {shown}"));
                return;
            }
            Ok(false) => "another program still reads it (end its transaction)".into(),
            Err(error) => error.to_string(),
        };
        self.moved.begins(format_args!(
            "{shown} was moved away, and rows still go to the moved file: {why}"
        ));
    }
}

/// Whether an open file has no name any more.
fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|file| file.nlink() == 0)
}

/// Why a database cannot be written, and what to do.
pub fn write_failure(path: &Path, error: rusqlite::Error) -> String {
    let shown = path.display();
    let denied = matches!(
        error.sqlite_error_code(),
        None | Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied)
    );
    if let Some(why) = denied.then(|| unwritable(path)).flatten() {
        return format!("write {shown}: {why}");
    }
    // SQLite says "disk I/O error" also where there is no room for the index of its log.
    let code = error.sqlite_error_code();
    if matches!(code, Some(ErrorCode::SystemIoFailure))
        && let Some(why) = path.parent().and_then(full_disk)
    {
        return format!("write {shown}: {why}");
    }
    let remedy = remedy(&error);
    format!("write {shown}: {error}{remedy}")
}

/// The directory of a database must exist.
pub fn require_directory(path: &Path) -> Result<(), Error> {
    if let Some(directory) = path.parent().filter(|directory| !directory.is_dir()) {
        if let Some(why) = unit_forbids_writing(directory) {
            return Err(failed(format_args!("open {}: {why}", path.display())));
        }
        let error = directory.metadata().err();
        if error.is_some_and(|error| error.kind() == ErrorKind::PermissionDenied) {
            let why = denied(path, Wanted::Write).unwrap_or_else(|| {
                "let this program's user reach it, or choose another file with --database".into()
            });
            let path = path.display();
            return Err(failed(format_args!("open {path}: permission denied ({why})")));
        }
        let (path, directory) = (path.display(), directory.display());
        return Err(failed(format_args!(
            "open {path}: there is no directory {directory} (create it, or choose another file with --database)"
        )));
    }
    Ok(())
}

/// Opens a database, which is created if it does not exist, and waits so long for locks of other programs. The file is to be
/// closed after the connection, see `database_file::open_lock`.
pub fn open_connection(
    path: &Path,
    view: &ViewName,
    failed_file: Option<FileId>,
    busy: Duration,
) -> Result<(Connection, File), Unusable> {
    database_file::create(path, failed_file)?;
    let lock = database_file::open_lock(path)?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(busy)?;
    connection.set_prepared_statement_cache_capacity(32);
    aw_database::distrust(&connection)?;
    let is_new = fs::metadata(path).is_ok_and(|file| file.len() > 0);
    connection.execute_batch(schema::SESSION)?;
    if is_new && schema::is_empty(&connection)? {
        database_file::let_group_read(path, &lock)?;
    }
    schema::prepare(&mut connection, view)?;
    Ok((connection, lock))
}

impl Sink for SqliteSink {
    /// No transaction begins here: other programs, such as a nightly job that deletes old rows, need the lock, too.
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let mut database = self.take_open()?;
        database.rows.add_event(entry);
        self.background.ask();
        self.database = Some(database);
        Ok(())
    }

    fn flush(&mut self) -> SinkResult {
        self.read_names()?;
        self.background_step(STEP_BUSY)?;
        self.commit(false)
    }

    fn maintain(&mut self) -> SinkResult<bool> {
        let more = self.background_step(STEP_IDLE)? | self.read_names()?;
        let is_open = |database: &OpenDatabase| !database.connection.is_autocommit();
        if self.database.as_ref().is_some_and(is_open) || self.has_due_names(Instant::now()) {
            self.commit(self.settings.once)?;
        }
        if self.database.as_ref().is_some_and(|database| is_deleted(&database.lock)) {
            self.close_if_moved();
            self.database = Some(self.take_open()?);
        }
        Ok(more)
    }

    /// Names must not wait for the commit of events: their ring may be overrun before.
    fn observe(&mut self, _: &RingState) -> SinkResult {
        self.read_names().map(drop)
    }

    /// Names that were repeated are written, too.
    fn close(&mut self) -> SinkResult {
        if self.database.is_some() {
            while self.read_names().unwrap_or(false) {}
            let is_changed = self.database.as_ref().is_some_and(|one| one.names.is_changed());
            let is_unsaved = self.names.iter().any(|names| names.unsaved().next().is_some());
            if (is_changed || is_unsaved)
                && let Err(Fault::Down(why)) = self.commit(true)
            {
                warn(format_args!("{why}: names are read again, or stored when they are repeated"));
            }
        }
        self.names.iter().for_each(NameFollower::log);
        Ok(())
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for SqliteSink {
    fn load(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        self.in_transaction(|database| checkpoint(&database.connection, ring))
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        self.in_transaction(|database| store_checkpoint(&database.connection, ring, checkpoint))
    }
}

fn checkpoint(database: &Connection, ring: &RingName) -> rusqlite::Result<Option<Checkpoint>> {
    let select = "SELECT generation, began, delivered, lost, skipped FROM account WHERE ring = ?";
    let checkpoint = database.query_row(select, [ring.as_str()], |row| {
        let columns = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        Ok(Checkpoint::from_columns(columns))
    });
    checkpoint.optional().map(Option::flatten)
}

fn store_checkpoint(
    database: &Connection,
    ring: &RingName,
    checkpoint: &Checkpoint,
) -> rusqlite::Result<()> {
    let [generation, began, delivered, lost, skipped] = checkpoint.columns();
    let row = params![ring.as_str(), generation, began, delivered, lost, skipped];
    let replace = "REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?)";
    database.prepare_cached(replace)?.execute(row).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::config::DbConfig;
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    const DAY: i64 = 86_400_000_000_000;

    /// A sink on a database with old sightings of three pairings, of which a trigger refuses to delete those of the first one. It stands for a
    /// damaged page, or with `ROLLBACK` for a disk that cannot read, which ends the transaction.
    fn failing(path: &Path, retention: Option<u32>, what: &str) -> SqliteSink {
        let (path, view) = (path.to_owned(), ViewName::default());
        let mut sink =
            SqliteSink::new(DatabaseSettings { path, view, retention, raw_days: 7, once: false })
                .unwrap();
        work(&mut sink); // from now on, the clock is trusted
        let connection = with_triggers(&mut sink);
        let begin = (UnixTime::now().as_nanos() / DAY - 10) * DAY;
        let insert = format!(
            "INSERT INTO place VALUES (1, 'here', 'ring', 'eth0', 0, 0, '');
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 300)
            INSERT INTO sighting SELECT n % 3 + 1, {begin} + n * 60000000000, 0, 0 FROM numbers;
            UPDATE span_progress SET time = 1; INSERT INTO raw_days VALUES (7); -- it was announced
            INSERT INTO pairing SELECT DISTINCT pairing, CAST('abc' || pairing AS BLOB), pairing, 1, '', -1 FROM sighting;
            CREATE TRIGGER refuse BEFORE {what}"
        );
        connection.execute_batch(&insert).unwrap();
        sink.background.ask();
        sink
    }

    /// Triggers that other programs could have created do nothing, unless a test uses them.
    fn with_triggers(sink: &mut SqliteSink) -> &Connection {
        let Ok(database) = sink.take_open() else { panic!("it can be opened") };
        database.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).unwrap();
        &sink.database.insert(database).connection
    }

    /// Works until there is no more to do. Returns how often the database had to be opened again.
    fn work(sink: &mut SqliteSink) -> usize {
        let mut failures = 0;
        loop {
            with_triggers(sink);
            match sink.maintain() {
                Ok(true) => {}
                Ok(false) => return failures,
                Err(_) => failures += 1,
            }
            assert!(failures < 5);
        }
    }

    fn number(sink: &mut SqliteSink, select: &str) -> i64 {
        with_triggers(sink).query_row(select, [], |row| row.get(0)).unwrap()
    }

    /// At rest, a wake-up runs no statement, except for one in ten seconds; events are looked at at once.
    #[test]
    fn no_statements_at_rest() {
        let directory = tempfile::tempdir().unwrap();
        let (path, view) = (directory.path().join("addrwatch.db"), ViewName::default());
        let settings =
            DatabaseSettings { path, view, retention: Some(5), raw_days: 7, once: false };
        let mut sink = SqliteSink::new(settings).unwrap();
        for _ in 0..3 {
            work(&mut sink); // the clock is trusted, that is stored, and the first passes have ended
            sink.background.ask();
        }
        let Ok(mut database) = sink.take_open() else { panic!("it can be opened") };
        let operations = Arc::new(AtomicU64::new(0));
        let counted = operations.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        database.connection.progress_handler(1, Some(count)).unwrap();
        let now = Instant::now();
        let background = &mut sink.background;
        background.ask();
        let asks = |background: &mut Background, seconds: u64| {
            operations.store(0, Ordering::Relaxed);
            assert!(background.due(&database, now + Duration::from_secs(seconds)).is_none());
            operations.load(Ordering::Relaxed) > 0
        };
        for (seconds, expected) in [(0, true), (1, false), (9, false), (10, true), (11, false)] {
            assert_eq!(asks(background, seconds), expected, "{seconds}");
        }
        background.ask();
        assert!(asks(background, 12));
        assert!(!asks(background, 13));
    }

    /// The newest sighting is searched before addrwatch's rows are imported, while new ones come.
    #[test]
    fn the_clock_is_compared_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("addrwatch.db");
        let begin = UnixTime::now().as_nanos() / DAY * 86_400 - 30 * 86_400;
        let table = format!(
            "CREATE TABLE addrwatch (timestamp INTEGER, interface TEXT, vlan_tag INTEGER, mac_address TEXT, ip_address TEXT, origin INTEGER);
            INSERT INTO addrwatch VALUES ({begin}, 'eth0', 0, '00:00:00:00:00:01', '10.0.0.1', 1)"
        );
        Connection::open(&path).unwrap().execute_batch(&table).unwrap();
        let (retention, view) = (Some(90), ViewName::default());
        let settings = DatabaseSettings { path, view, retention, raw_days: 7, once: false };
        let mut sink = SqliteSink::new(settings).unwrap();
        let found = "SELECT trusted / 1000000000 FROM clock_check";
        assert!(sink.maintain().is_ok());
        assert_eq!(number(&mut sink, found), begin);
        assert_eq!(work(&mut sink), 0);
        assert_eq!(number(&mut sink, "SELECT count(*) FROM sighting"), 1);
        assert_eq!(number(&mut sink, found), begin);
        assert_eq!(number(&mut sink, "SELECT count(doubted) FROM clock_check"), 1);
    }

    /// Another file, such as a copy that was put back, gets the name while retention deletes: all that is old in it is deleted, too.
    #[test]
    fn the_file_is_replaced_during_a_pass() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("addrwatch.db");
        let fill = |sink: &mut SqliteSink| {
            let now = UnixTime::now().as_nanos();
            let begin = now - 10 * DAY;
            let insert = format!(
                "INSERT INTO clock_check VALUES ({now}, NULL);
                INSERT INTO place VALUES (1, 'here', 'ring', 'eth0', 0, 0, '');
                WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)
                INSERT INTO sighting SELECT n, {begin}, 0, 0 FROM numbers;
                INSERT INTO pairing SELECT pairing, CAST('abc' || pairing AS BLOB), pairing, 1, '', -1 FROM sighting"
            );
            with_triggers(sink).execute_batch(&insert).unwrap();
        };
        let open = |path: PathBuf, retention| {
            let view = ViewName::default();
            SqliteSink::new(DatabaseSettings { path, view, retention, raw_days: 0, once: false })
        };
        let other = directory.path().join("other.db");
        fill(&mut open(other.clone(), None).unwrap());
        fill(&mut open(path.clone(), None).unwrap());
        let sink = &mut open(path.clone(), Some(5)).unwrap();
        let all = "SELECT count(*) FROM sighting";
        while number(sink, all) == 2_500 {
            assert!(matches!(sink.maintain(), Ok(true)));
        }
        assert_eq!(number(sink, all), 1_500);
        fs::rename(&path, directory.path().join("away.db")).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(work(sink), 0);
        assert_eq!(number(sink, all), 0);
    }

    /// A fault of the rows of names does not stop events, unless it has ended their transaction: the position of the events was in it.
    #[test]
    fn faults_of_names() {
        let directory = tempfile::tempdir().unwrap();
        let (path, view) = (directory.path().join("names.db"), ViewName::default());
        let settings = DatabaseSettings { path, view, retention: None, raw_days: 0, once: false };
        let mut sink = SqliteSink::new(settings).unwrap();
        for (end, stops) in [("ABORT", false), ("ROLLBACK", true)] {
            let refuse = format!(
                "DROP TRIGGER IF EXISTS refuse; CREATE TRIGGER refuse BEFORE INSERT ON place
                BEGIN SELECT RAISE({end}, 'it is damaged'); END; BEGIN IMMEDIATE"
            );
            with_triggers(&mut sink).execute_batch(&refuse).unwrap();
            let Some(database) = &mut sink.database else { panic!("it is open") };
            let (kind, time) = (shm_layout::NameKind::Lldp, UnixTime::now());
            let mut record = shm_layout::NameRecord::new(kind, time, "eth0".parse().unwrap());
            record.mac = "02:00:00:00:00:01".parse().unwrap();
            record.name = shm_layout::NameText::cut("nas");
            let entry =
                aw_output::NameEntry { ring: &"test".parse().unwrap(), host: "here", record };
            let OpenDatabase { connection, rows, names, .. } = &mut *database;
            names.add(connection, rows, &entry).unwrap();
            let written = names.write((connection, rows), Instant::now(), true);
            let error = written.unwrap_err();
            assert_eq!(database.give_up_names(error, true).is_err(), stops, "{end}");
            assert_eq!(database.connection.is_autocommit(), stops);
            if !stops {
                assert!(database.names.is_off(Instant::now()));
                database.connection.execute_batch("ROLLBACK").unwrap();
            }
        }
    }

    /// What fails in one pairing does not stop the task at others; and what fails otherwise does not stop other tasks.
    #[test]
    fn faults_of_a_task() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let of_first = "SELECT count(*) FROM sighting WHERE pairing = 1";
        let all = "SELECT count(*) FROM sighting";
        let spans = "SELECT count(*) FROM sighting_span";
        for (end, failures) in [("ABORT", 0), ("ROLLBACK", 1)] {
            let refuse = format!(
                "DELETE ON sighting WHEN OLD.pairing = 1 BEGIN SELECT RAISE({end}, 'it is damaged'); END"
            );
            let sink = &mut failing(&path(&format!("{end}.compacted")), None, &refuse);
            assert_eq!(work(sink), failures);
            let [first, all, made] = [of_first, all, spans].map(|select| number(sink, select));
            assert_eq!((first, all, made), (100, 100, 2));
            let sink = &mut failing(&path(&format!("{end}.deleted")), Some(5), &refuse);
            assert_eq!(work(sink), failures + failures);
            let all =
                "SELECT (SELECT count(*) FROM sighting) + (SELECT count(*) FROM sighting_span)";
            assert_eq!([of_first, all].map(|select| number(sink, select)), [100, 100]);
        }
        // Nothing can be filed.
        let refuse = "INSERT ON sighting BEGIN SELECT RAISE(ABORT, 'it is damaged'); END";
        let sink = &mut failing(&path("filed"), Some(5), refuse);
        let recent = "INSERT INTO recent_sighting SELECT max(time), 0, 1, 0 FROM sighting";
        with_triggers(sink).execute_batch(recent).unwrap();
        assert_eq!(work(sink), 0);
        let recent = "SELECT count(*) FROM recent_sighting";
        assert_eq!([all, recent].map(|select| number(sink, select)), [0, 1]);
    }
}
