//! Reads a database that another program may be writing (in WAL mode), without a lock of SQLite.
//!
//! A lock on the index of the log (the file `-shm`) stops the writer, and who may read that file may lock it. So the
//! writer keeps the index to itself, and a reader makes its own one in memory, from the log. What it reads is the state
//! of that moment, unless the writer copies the log into the database meanwhile. The reader detects that afterwards, and
//! begins again. The writer is asked to wait, by a lock of another kind (flock), for which it waits only for so long.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use aw_service::{FileKind, cause, open_file};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use rustix::fs::{FlockOperation, flock};

/// What the name of the log ends with.
pub const WAL: &str = "-wal";
/// The log's header. A log that begins again has other numbers in it.
const HEADER: u64 = 32;

/// How long a reader waits for a writer that copies the log. It needs no permission to continue.
const COPYING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A change within this time after another one may leave the file's time as it is: the kernel's clock for files has
/// steps of at most 10 ms. File systems with whole seconds have steps of at most 2 s.
const CLOCK_STEP: Duration = Duration::from_millis(20);
const WHOLE_SECONDS: Duration = Duration::from_secs(2);

/// A state of the database.
pub struct Snapshot {
    /// The connection. What it returned is right if [`Snapshot::is_intact`] says so afterwards.
    pub database: Connection,
    path: PathBuf,
    version: Version,
    /// Asks the writer to wait.
    _lock: File,
}

/// What changes if what was read may be mixed from two states.
#[derive(Debug, PartialEq)]
struct Version {
    /// Device, inode, and when it was changed: seconds and nanoseconds.
    database: (u64, u64, i64, i64),
    log: Vec<u8>,
    /// A transaction of a database without a log is not complete, or was interrupted.
    is_changing: bool,
}

impl Snapshot {
    /// Opens the database, for reading only. Its schema is not trusted.
    pub fn open(path: &Path) -> rusqlite::Result<Snapshot> {
        Snapshot::open_until(path, None)
    }

    /// The same, with an error at this time if its writer has not become idle until then.
    pub fn open_until(path: &Path, end: Option<Instant>) -> rusqlite::Result<Snapshot> {
        let lock = open_file(path, FileKind::Settings).map_err(cannot_open)?;
        let path = &path.canonicalize().map_err(cannot_open)?;
        ask_to_wait(&lock, end);
        let version = settled(path, end).map_err(cannot_open)?;
        // Without a log there is no index, either. With one, `exclusive` means: the index is in memory.
        let has_log = wal_path(path).try_exists().map_err(cannot_open)?;
        let how = if has_log { "vfs=unix-none" } else { "immutable=1" };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_URI;
        let database = Connection::open_with_flags(uri(path, how), flags)?;
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // No plan depends on values: else a statement with a range is planned again for each.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        database.execute_batch("PRAGMA locking_mode = exclusive")?;
        crate::distrust(&database)?;
        Ok(Snapshot { database, path: path.clone(), version, _lock: lock })
    }

    /// Whether all that was read so far is of one state. If not, it is to be discarded, errors included, and read again. An
    /// error means that it is not known: reading again would not help.
    pub fn is_intact(&self) -> rusqlite::Result<bool> {
        let now = match version(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            now => now.map_err(cannot_open)?,
        };
        // A log that was empty may have begun meanwhile: it is used from its beginning on.
        let Version { database, log, .. } = &self.version;
        let same_log = log.is_empty() || *log == now.log;
        Ok(*database == now.database && same_log && !now.is_changing)
    }
}

/// The log of a database.
pub fn wal_path(path: &Path) -> PathBuf {
    with_suffix(path, WAL)
}

/// The index of the log, in memory that processes share. Who may open it may stop the writer.
pub fn index_path(path: &Path) -> PathBuf {
    with_suffix(path, "-shm")
}

/// SQLite, too, follows links to the database first.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.canonicalize().unwrap_or(path.into()).into_os_string();
    name.push(suffix);
    name.into()
}

fn ask_to_wait(lock: &File, end: Option<Instant>) {
    for _ in 0..COPYING.as_millis() / PAUSE.as_millis() {
        match flock(lock, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) if pause(PAUSE, end).is_ok() => {}
            _ => return, // or a file system without such locks
        }
    }
}

/// Waits, or until the end: then it is an error.
fn pause(time: Duration, end: Option<Instant>) -> io::Result<()> {
    let left = end.map_or(time, |end| end.saturating_duration_since(Instant::now()));
    sleep(left.min(time));
    if left < time {
        return Err(io::Error::other("its writer was not idle in time (try again)"));
    }
    Ok(())
}

/// The version, once each later change will be seen in it.
fn settled(path: &Path, end: Option<Instant>) -> io::Result<Version> {
    let mut tries = COPYING.as_millis() / PAUSE.as_millis();
    loop {
        let version = version(path)?;
        if version.is_changing {
            if tries == 0 {
                let why = "another program is changing it, or was killed while it did (end or start that program)";
                return Err(io::Error::other(why));
            }
            tries -= 1;
            pause(PAUSE, end)?;
            continue;
        }
        let (.., seconds, nanos) = version.database;
        let step = if nanos == 0 { WHOLE_SECONDS } else { CLOCK_STEP };
        let changed = Duration::new(seconds.unsigned_abs(), nanos as u32);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match now.checked_sub(changed) {
            Some(age) if age < step => pause(step - age, end)?,
            _ => return Ok(version), // a time in the future is of a clock that was set back
        }
    }
}

fn version(path: &Path) -> io::Result<Version> {
    let file = fs::metadata(path)?;
    let log = begin_of(&wal_path(path), HEADER)?;
    // The journal of a complete transaction is deleted, empty, or begins with a zero.
    let is_changing =
        begin_of(&with_suffix(path, "-journal"), 1)?.first().is_some_and(|byte| *byte != 0);
    let database = (file.dev(), file.ino(), file.ctime(), file.ctime_nsec());
    Ok(Version { database, log, is_changing })
}

/// The first bytes of a file; none if there is no such file.
fn begin_of(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    match open_file(path, FileKind::State) {
        Ok(file) => drop(file.take(bytes).read_to_end(&mut begin)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(io::Error::other(format!("{}: {}", path.display(), cause(&error))));
        }
    }
    Ok(begin)
}

fn uri(path: &Path, how: &str) -> String {
    let absolute = std::path::absolute(path).unwrap_or(path.into());
    let escaped: String = absolute
        .to_string_lossy()
        .chars()
        .map(|c| if "%?#".contains(c) { format!("%{:02x}", c as u32) } else { c.into() })
        .collect();
    format!("file:{escaped}?mode=ro&{how}")
}

/// As SQLite reports it.
fn cannot_open(error: io::Error) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
    rusqlite::Error::SqliteFailure(code, Some(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(snapshot: &Snapshot) -> i64 {
        snapshot.database.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    /// A snapshot stays what it is while rows are added; when the log is copied, that is detected.
    #[test]
    fn a_state_and_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a%20b?#.db");
        let writer = Connection::open(&path).unwrap();
        let begin = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x);
            INSERT INTO t VALUES (1)";
        writer.execute_batch(begin).unwrap();
        let first = Snapshot::open(&path).unwrap();
        assert_eq!(count(&first), 1);
        writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        let second = Snapshot::open(&path).unwrap();
        assert_eq!([count(&first), count(&second)], [1, 2]);
        assert!(first.is_intact().unwrap() && second.is_intact().unwrap());
        writer.execute_batch("PRAGMA wal_checkpoint(truncate)").unwrap();
        assert!(!first.is_intact().unwrap() && !second.is_intact().unwrap());
        // The log begins while a reader reads.
        let empty = Snapshot::open(&path).unwrap();
        assert_eq!(count(&empty), 2);
        writer.execute_batch("INSERT INTO t VALUES (3)").unwrap();
        assert_eq!(count(&empty), 2);
        assert!(empty.is_intact().unwrap());
        // All of the log is copied, and it begins again.
        writer.execute_batch("PRAGMA wal_checkpoint(passive)").unwrap();
        let copied = Snapshot::open(&path).unwrap();
        assert_eq!(count(&copied), 3);
        writer.execute_batch("INSERT INTO t VALUES (4)").unwrap();
        assert!(!copied.is_intact().unwrap());
        drop(writer);
        let closed = Snapshot::open(&path).unwrap();
        assert_eq!(count(&closed), 4);
        assert!(closed.is_intact().unwrap());
    }

    /// A snapshot holds no lock of SQLite, and creates no file. A transaction that is not complete is not read.
    #[test]
    fn it_stops_no_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        let snapshot = Snapshot::open(&path).unwrap();
        assert_eq!(count(&snapshot), 0);
        writer.execute_batch("PRAGMA locking_mode = exclusive; INSERT INTO t VALUES (1)").unwrap();
        assert!(!snapshot.is_intact().unwrap());
        drop(snapshot);
        assert_eq!(count(&Snapshot::open(&path).unwrap()), 1);
        let complete = Snapshot::open(&path).unwrap();
        drop(writer);
        let journal = with_suffix(&path, "-journal");
        fs::write(&journal, [0xd9]).unwrap(); // as SQLite does before it changes the database
        assert!(!complete.is_intact().unwrap() && Snapshot::open(&path).is_err());
        fs::write(&journal, [0]).unwrap();
        assert_eq!(count(&Snapshot::open(&path).unwrap()), 1);
        assert!(![wal_path(&path), index_path(&path)].iter().any(|path| path.exists()));
    }

    /// What is open for a moment only is not waited for.
    #[test]
    fn it_is_opened_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let open = |end| Snapshot::open_until(&path, end);
        open(None).unwrap();
        fs::write(with_suffix(&path, "-journal"), [0xd9]).unwrap();
        let why = open(Some(Instant::now())).err().unwrap().to_string();
        assert!(why.contains("was not idle in time"), "{why}");
        let why = open(None).err().unwrap().to_string();
        assert!(why.contains("another program is changing it"), "{why}");
    }

    /// A statement with a range is planned once, and not for each of its values: that took two fifths of the time of a question.
    #[test]
    fn a_range_is_planned_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let rows = "CREATE TABLE t (x, y, PRIMARY KEY (x, y)) WITHOUT ROWID;
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
                INSERT INTO t SELECT n % 10, n FROM n";
        Connection::open(&path).unwrap().execute_batch(rows).unwrap();
        let snapshot = Snapshot::open(&path).unwrap();
        let select = "SELECT count(*) FROM t WHERE x = ? AND y >= ? AND y < ?";
        let mut statement = snapshot.database.prepare(select).unwrap();
        for x in 0..10 {
            let count: i64 = statement.query_row([x, 100 * x, 500 + x], |row| row.get(0)).unwrap();
            assert_eq!(count, (100 * x..500 + x).filter(|n| *n > 0 && n % 10 == x).count() as i64);
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    /// A pipe beside a database, which another user placed, hangs nothing; a database is read through a link to it.
    #[test]
    fn pipes_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let [path, link] = ["a.db", "link.db"].map(|name| directory.path().join(name));
        let writer = Connection::open(&path).unwrap();
        let begin =
            "PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3)";
        writer.execute_batch(begin).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(count(&Snapshot::open(&link).unwrap()), 3, "the log, too");
        drop(writer);
        for suffix in [WAL, "-journal"] {
            let pipe = with_suffix(&path, suffix);
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
            let why = Snapshot::open(&path).err().unwrap().to_string();
            assert!(why.contains(suffix) && why.contains("it is a pipe"), "{why}");
            fs::remove_file(&pipe).unwrap();
        }
        assert_eq!(count(&Snapshot::open(&path).unwrap()), 3);
    }
}
