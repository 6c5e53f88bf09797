//! The database as the run loop sees it: rows and accounts in one transaction, which `flush` commits.

use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use aw_output::{
    Checkpoint, CheckpointStore, Entry, Error, Fault, Result, Sink, explain, failed, warn,
};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};
use shm_layout::RingName;

use crate::{
    import::Import,
    insert::Insert,
    retention::Retention,
    schema::{self, Refused, TableName},
};

/// How long another program may hold the lock before events go to the spool: the ring waits for nobody.
const BUSY: Duration = Duration::from_millis(200);

/// What the command line says of the database.
pub struct Settings {
    pub path: PathBuf,
    pub table: TableName,
    /// Days for which sightings are kept.
    pub retention: Option<u32>,
}

pub struct Store {
    settings: Settings,
    /// None: to be opened, at first and after a failure, which takes back what was not committed.
    open: Option<Open>,
    /// The file that was open when something failed.
    lost: Option<(u64, u64)>,
    /// It was said that the file was moved away and cannot be left yet.
    told: bool,
    retention: Retention,
}

/// An open database. What it remembers goes with it when a transaction is taken back.
pub struct Open {
    pub database: Connection,
    /// Device and inode, to notice that somebody moved it away.
    file: (u64, u64),
    pub insert: Insert,
    import: Option<Import>,
}

impl Store {
    /// Opens the database, as far as it can be: what may be better later is no reason to end.
    pub fn new(settings: Settings) -> std::result::Result<Store, Error> {
        let directory = settings.path.parent().filter(|directory| !directory.is_dir());
        if let Some(directory) = directory {
            return Err(failed(format_args!(
                "open {}: there is no directory {} (make it, or choose another with --database)",
                settings.path.display(),
                directory.display()
            )));
        }
        let retention = Retention::new(settings.retention);
        let mut store = Store { settings, open: None, lost: None, told: false, retention };
        match store.open() {
            Ok(open) => store.open = Some(open),
            Err(Refused::Foreign(why)) => return Err(failed(store.named(&why))),
            Err(Refused::Sqlite(_)) => {} // the run loop will meet it, and go on
        }
        Ok(store)
    }

    fn open(&self) -> std::result::Result<Open, Refused> {
        let Settings { path, table, .. } = &self.settings;
        // A log of another file, for whoever wrote it was killed, or lost hold of it, before it could be
        // left: SQLite would delete it, or take it for this file's.
        let place = place_of(path);
        if place.is_none_or(|place| self.lost.is_some_and(|lost| lost != place)) && has_log(path) {
            let why = format!(
                "{} has rows of the file that was moved away (rename it as that one, with -wal behind it)",
                beside(path, "-wal").display()
            );
            return Err(as_sqlite(std::io::Error::other(why)).into());
        }
        if place.is_none() {
            remove_log(path).map_err(as_sqlite)?;
        }
        // Who was where is nobody's business but the group's. SQLite takes the mode for its other files.
        match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(as_sqlite(error).into());
            }
            _ => {}
        }
        let mut database = Connection::open(path)?;
        database.busy_timeout(BUSY)?;
        database.set_prepared_statement_cache_capacity(32);
        database.execute_batch(schema::SESSION)?;
        schema::prepare(&mut database, table)?;
        let import = Import::find(&database, "")?;
        let file = place_of(path).unwrap_or_default();
        Ok(Open { database, file, insert: Insert::default(), import })
    }

    fn named(&self, why: &str) -> String {
        format!("use {}: {why}", self.settings.path.display())
    }

    /// Does something in the transaction that `flush` commits.
    fn with<T>(&mut self, act: impl FnOnce(&mut Open) -> rusqlite::Result<T>) -> Result<T> {
        let opened = match self.open.take() {
            Some(open) => Ok(open),
            None => self.open(),
        };
        let mut open = match opened {
            Ok(open) => open,
            Err(Refused::Foreign(why)) => return Err(Fault::Down(self.named(&why))),
            Err(Refused::Sqlite(error)) => return Err(self.down(error)),
        };
        let done = || {
            if open.database.is_autocommit() {
                open.database.execute_batch("BEGIN IMMEDIATE")?;
            }
            act(&mut open)
        };
        match done() {
            Ok(value) => {
                (self.open, self.lost) = (Some(open), None);
                Ok(value)
            }
            Err(error) => {
                self.retention.begin_again();
                self.lost = Some(open.file);
                Err(self.down(error)) // and what was not committed goes with the connection
            }
        }
    }

    fn down(&self, error: rusqlite::Error) -> Fault {
        let help = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => " (make room on its disk)",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => " (by another program)",
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                " (let this program's user write the file and its directory)"
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                " (move it away with its -wal, or repair it with sqlite3's .recover)"
            }
            _ => "",
        };
        let path = self.settings.path.display();
        Fault::Down(format!("write {path}: {error}{help}"))
    }

    /// A piece of what is to be done beside events: carrying over an old table, and forgetting. Tells
    /// whether there is more.
    fn chore(&mut self, rows: usize) -> Result<bool> {
        let due = self.retention.due();
        let importing = self.open.as_ref().is_none_or(|open| open.import.is_some());
        if due.is_none() && !importing {
            return Ok(false);
        }
        let mut retention = std::mem::take(&mut self.retention);
        let done = self.with(|open| {
            if let Some(mut import) = open.import.take() {
                open.import = if import.step(&open.database, &mut open.insert, rows)? {
                    Some(import)
                } else {
                    Import::find(&open.database, import.old())?
                };
                return Ok(open.import.is_some() || due.is_some());
            }
            let Some(before) = due else { return Ok(false) };
            open.insert.finish(&open.database)?; // or a pairing that is new seems to have no rows
            retention.step(&open.database, &mut open.insert, before, rows)
        });
        self.retention = retention;
        if done.is_err() {
            self.retention.begin_again();
        }
        done
    }

    fn commit(&mut self) -> Result {
        self.with(|open| {
            open.insert.finish(&open.database)?;
            open.database.execute_batch("COMMIT")?;
            open.import.iter_mut().for_each(Import::tell);
            Ok(())
        })?;
        self.leave_if_moved();
        Ok(())
    }

    /// Somebody moved it away, or put another in its place: the next rows go to what has the name. Until
    /// the old one has all of its log they go on into that: it is no fault, for they are kept.
    fn leave_if_moved(&mut self) {
        let path = &self.settings.path;
        let Some(open) = &self.open else { return };
        if place_of(path) == Some(open.file) {
            return;
        }
        let why = match leave(&open.database, path) {
            Ok(true) => {
                (self.open, self.told) = (None, false);
                return;
            }
            Ok(false) => "somebody still reads it".into(),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut self.told, true) {
            warn(format_args!(
                "leave the file that was {}: {why}: rows go on into it, wherever it is now",
                path.display()
            ));
        }
    }
}

/// Copies the log into the database, which has another name now, and removes the log and its index,
/// which have kept theirs: the next database of that name would take them for its own. Whoever has
/// them open reads on, for an empty log says nothing. False while it cannot be, for somebody reads.
fn leave(database: &Connection, path: &Path) -> rusqlite::Result<bool> {
    let checkpoint = "PRAGMA wal_checkpoint(truncate)";
    let busy: i64 = database.query_row(checkpoint, [], |row| row.get(0))?;
    if busy != 0 {
        return Ok(false); // which is no error to SQLite
    }
    let _alone = Transaction::new_unchecked(database, TransactionBehavior::Immediate)?;
    if has_log(path) {
        return Ok(false); // somebody came between
    }
    remove_log(path).map(|()| true).map_err(as_sqlite)
}

fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

fn remove_log(path: &Path) -> std::io::Result<()> {
    for end in ["-wal", "-shm"] {
        match fs::remove_file(beside(path, end)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn as_sqlite(error: std::io::Error) -> rusqlite::Error {
    let told = std::io::Error::new(error.kind(), explain(&error));
    rusqlite::Error::ToSqlConversionFailure(told.into())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Rows of an old table, or to be forgotten, that are dealt with in one go where events come all the
/// time, and where none come: some milliseconds, and some tens of them.
const SMALL: usize = 1000;
const LARGE: usize = 10_000;

impl Sink for Store {
    fn write(&mut self, entry: &Entry) -> Result {
        self.with(|open| open.insert.event(&open.database, entry))
    }

    fn flush(&mut self) -> Result {
        self.chore(SMALL)?;
        self.commit()
    }

    fn maintain(&mut self) -> Result<bool> {
        let more = self.chore(LARGE)?;
        if self.open.as_ref().is_some_and(|open| !open.database.is_autocommit()) {
            self.commit()?;
        }
        Ok(more)
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for Store {
    fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>> {
        let select =
            "SELECT generation, began, delivered, lost, skipped FROM account WHERE ring = ?";
        self.with(|open| {
            let account = open.database.query_row(select, [ring.as_str()], |row| {
                let columns = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
                Ok(Checkpoint::from_columns(columns))
            });
            account.optional().map(Option::flatten)
        })
    }

    fn store(&mut self, ring: &RingName, account: &Checkpoint) -> Result {
        let [generation, began, delivered, lost, skipped] = account.columns();
        let row = params![ring.as_str(), generation, began, delivered, lost, skipped];
        let replace = "REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?)";
        self.with(|open| open.database.prepare_cached(replace)?.execute(row).map(drop))
    }
}

fn place_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
