//! The file of the database and the write-ahead log (WAL) beside it. A database may be moved away while it
//! is open: its log keeps the old name, and must not be taken for that of the next file of this name.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aw_output::explain;
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Device and inode.
pub type FileId = (u64, u64);

/// The file of this name, if there is one.
pub fn file_id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Creates the file if it does not exist. `failed` is the file that was open when an operation failed.
pub fn create(path: &Path, failed: Option<FileId>) -> rusqlite::Result<()> {
    // A log of another file, whose writer was killed or lost the file before it could copy the log: SQLite
    // would delete it, or take it for the log of this file.
    let current = file_id(path);
    if current.is_none_or(|current| failed.is_some_and(|failed| failed != current)) && has_wal(path)
    {
        let why = format!(
            "{} has rows of the file that was moved away (move it beside that file, with the same name and -wal)",
            with_suffix(path, "-wal").display()
        );
        return Err(as_sqlite(io::Error::other(why)));
    }
    if current.is_none() {
        remove_wal(path).map_err(as_sqlite)?;
    }
    // Only the group may read who was where. SQLite gives its other files the same mode.
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(as_sqlite(error)),
        _ => Ok(()),
    }
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
    fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

fn remove_wal(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        match fs::remove_file(with_suffix(path, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn as_sqlite(error: io::Error) -> rusqlite::Error {
    let explained = io::Error::new(error.kind(), explain(&error));
    rusqlite::Error::ToSqlConversionFailure(explained.into())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
