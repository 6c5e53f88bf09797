//! The file of the database, the write-ahead log (WAL) beside it, and the log's index. A database may be moved away while
//! it is open: its log keeps the old name, and must not be taken for that of the next file of this name.
//!
//! The group may read the database and the log. A user who may read a file may also lock it. The index has the locks that
//! stop a writer, so it is private; readers do without it (`aw_database::Snapshot`). In WAL mode, a lock on the database
//! stops nothing that is needed; a new one is private until it has this mode.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use aw_database::{index_path, wal_path};
use aw_output::explain;
use aw_service::{FileKind, open_file};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// Modes: of files that the group may read, and of private ones.
const GROUP: u32 = 0o640;
const PRIVATE: u32 = 0o600;

/// The size of the log, in bytes, at which it is copied into the database: as soon as no snapshot is being read, and in
/// any case.
const COPY_LOG: u64 = 16 << 20;
const COPY_LOG_ANYWAY: u64 = 128 << 20;

/// Device and inode.
pub type FileId = (u64, u64);

/// The file of this name, if there is one.
pub fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Creates the file if it does not exist, and keeps others from the locks. `failed` is the file that was open when an operation failed.
pub fn create(path: &Path, failed: Option<FileId>) -> rusqlite::Result<()> {
    refuse_other_log(path, failed)?;
    if file_id(path).is_none() {
        remove_wal(path).map_err(as_sqlite)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(as_sqlite(error)),
        Err(_) => {}
        Ok(_) => Connection::open(path)?.execute_batch("PRAGMA journal_mode = wal")?,
    }
    if may_be_database(path) {
        keep_index_private(path);
    }
    Ok(())
}

/// Fails if the log is that of a file which was moved away.
pub fn refuse_other_log(path: &Path, failed: Option<FileId>) -> rusqlite::Result<()> {
    // A log of another file, whose writer was killed or lost the file before it could copy the log: SQLite
    // would delete it, or take it for the log of this file.
    let current = file_id(path);
    if current.is_none_or(|current| failed.is_some_and(|failed| failed != current)) && has_wal(path)
    {
        let why = format!(
            "{} has rows of the file that was moved away (move it beside that file, with the same name and -wal)",
            wal_path(path).display()
        );
        return Err(as_sqlite(io::Error::other(why)));
    }
    Ok(())
}

/// Whether the file is empty, or begins as a database does.
fn may_be_database(path: &Path) -> bool {
    const BEGIN: &[u8] = b"SQLite format 3\0";
    let mut begin = Vec::new();
    let read =
        open_file(path, FileKind::Settings).and_then(|file| file.take(16).read_to_end(&mut begin));
    read.is_ok() && (begin.is_empty() || begin == BEGIN)
}

/// Creates the index before SQLite does, which would give it the mode of the database. An empty file would get that, too.
/// Errors are those of the directory, which SQLite reports.
fn keep_index_private(path: &Path) {
    let index = index_path(path);
    match OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&index) {
        Ok(mut file) => drop(file.write_all(b"\0")),
        Err(_) => drop(set_mode(&index, PRIVATE)),
    }
}

/// Only the group may read who was where, and only in a file that this program has created: one that is private and has
/// no content beyond its mode. SQLite gives the log the mode of the database.
pub fn let_group_read(path: &Path, file: &File) -> rusqlite::Result<()> {
    let share = || -> io::Result<()> {
        if file.metadata()?.mode() & 0o777 != PRIVATE {
            return Ok(());
        }
        file.set_permissions(Permissions::from_mode(GROUP))?;
        match set_mode(&wal_path(path), GROUP) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    share().map_err(as_sqlite)
}

/// By a descriptor, not of a link: the sandbox has no other call. Not for the database while it is open, see [`open_lock`].
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    open_file(path, FileKind::State)?.set_permissions(Permissions::from_mode(mode))
}

/// The file, for the lock with which readers of snapshots ask to wait. It must stay open for as long as the connection:
/// closing it would end the locks that SQLite has on it.
pub fn open_lock(path: &Path) -> rusqlite::Result<File> {
    open_file(path, FileKind::Settings).map_err(as_sqlite)
}

/// Copies the log into the database when it has grown. Readers can delay that, and not prevent it. An error is that of a
/// disk, which the next commit reports.
pub fn copy_log(database: &Connection, path: &Path, lock: &File) -> rusqlite::Result<()> {
    let size = fs::metadata(wal_path(path)).map_or(0, |log| log.len());
    if size < COPY_LOG {
        return Ok(());
    }
    let waits = flock(lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
    if waits && size < COPY_LOG_ANYWAY {
        return Ok(());
    }
    let done = database.query_row("PRAGMA wal_checkpoint(truncate)", [], |_| Ok(()));
    let _ = flock(lock, FlockOperation::Unlock);
    done
}

/// Copies the log into the database, which has another name now, and removes the log and its index,
/// which kept theirs. A program that has the log open can read on, because the log is empty.
/// Returns false while another program uses the database.
pub fn detach(database: &Connection, path: &Path) -> rusqlite::Result<bool> {
    let checkpoint = "PRAGMA wal_checkpoint(truncate)";
    let busy: i64 = database.query_row(checkpoint, [], |row| row.get(0))?;
    if busy != 0 {
        return Ok(false); // SQLite does not return an error for this
    }
    let _exclusive = Transaction::new_unchecked(database, TransactionBehavior::Immediate)?;
    if has_wal(path) {
        return Ok(false); // another program wrote before the lock
    }
    remove_wal(path).map(|()| true).map_err(as_sqlite)
}

fn has_wal(path: &Path) -> bool {
    fs::metadata(wal_path(path)).is_ok_and(|log| log.len() > 0)
}

fn remove_wal(path: &Path) -> io::Result<()> {
    for file in [wal_path(path), index_path(path)] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

pub fn as_sqlite(error: io::Error) -> rusqlite::Error {
    let explained = io::Error::new(error.kind(), explain(&error));
    rusqlite::Error::ToSqlConversionFailure(explained.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of a snapshot delays the copy, and cannot prevent it.
    #[test]
    fn the_log_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        create(&path, None).unwrap();
        let lock = open_lock(&path).unwrap();
        let database = Connection::open(&path).unwrap();
        let begin = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)";
        database.execute_batch(begin).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!([mode(&path), mode(&index_path(&path))], [PRIVATE; 2]);
        let_group_read(&path, &lock).unwrap();
        assert_eq!([&path, &wal_path(&path)].map(|path| mode(path)), [GROUP; 2]);
        assert_eq!(mode(&index_path(&path)), PRIVATE);
        let size = || fs::metadata(wal_path(&path)).unwrap().len();
        let fill = |bytes: u64| {
            while size() < bytes {
                database.execute_batch("INSERT INTO t VALUES (zeroblob(4194304))").unwrap();
            }
        };
        let copy = || copy_log(&database, &path, &lock).map(|()| size());
        assert_ne!(copy(), Ok(0), "it is small");
        fill(COPY_LOG);
        let reader = File::open(&path).unwrap();
        flock(&reader, FlockOperation::LockShared).unwrap();
        assert_ne!(copy(), Ok(0), "a reader asks to wait");
        flock(&reader, FlockOperation::Unlock).unwrap();
        assert_eq!(copy(), Ok(0));
        flock(&reader, FlockOperation::LockExclusive).unwrap();
        fill(COPY_LOG_ANYWAY);
        assert_eq!(copy(), Ok(0));
        let count = "SELECT count(*) FROM t";
        assert!(database.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() > 30);
    }
}
