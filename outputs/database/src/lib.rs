//! SQLite databases that other programs write or read. Neither their schema is trusted, nor the processes that may read
//! them: views and triggers of others do nothing, and no reader needs a lock with which it could stop a writer.
#![forbid(unsafe_code)]

mod history_rows;
mod snapshot;

use std::path::Path;

use aw_service::{Access, FileKind, UnitFiles, open_file};
pub use history_rows::{
    CLAIMED, CLAIMED_COLUMNS, FILING, FILING_COLUMNS, HistoryRows, LEASE, LEASE_COLUMNS,
    LONGEST_SHIFT, NOT_FILED, RECENT, RECENT_COLUMNS, SPAN, SPAN_COLUMNS, recent_between,
};
pub use rusqlite::Connection;
use rusqlite::{OptionalExtension, Result, config::DbConfig};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
pub use snapshot::{Snapshot, WAL, index_path, wal_path};

/// The database of the service aw-sqlite, unless its options name another one.
pub const USUAL: &str = "/var/lib/addrwatch/addrwatch.db";

/// The database that the options of the service aw-sqlite name, if they name one.
pub fn named_by_the_service() -> Option<String> {
    let command = UnitFiles::of("aw-sqlite").and_then(|unit| unit.command())?;
    let named = command.option("--database").or_else(|| command.option("--sqlite3"))?;
    named.starts_with('/').then(|| named.to_owned())
}

/// A file of options of the service aw-sqlite that this user may not read, with the cause: whether they name a database is not known.
pub fn unread_options() -> Option<String> {
    let command = UnitFiles::of("aw-sqlite").and_then(|unit| unit.command())?;
    command.unread.into_iter().next()
}

/// Whether another process has the database open, as aw-sqlite has while it runs: SQLite then has a lock of it, whatever mode it uses,
/// and readers of this project have none.
pub fn is_in_use(path: &Path) -> std::io::Result<bool> {
    let file = open_file(path, FileKind::Settings)?;
    let all = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    Ok(fcntl_getlk(&file, &all)?.is_some())
}

/// What a confined process needs to ask again which database the options name.
pub fn access_to_options() -> Vec<Access> {
    UnitFiles::of("aw-sqlite").map(|unit| unit.access()).unwrap_or_default()
}

/// Prepares a connection for a file that other programs may have written: triggers and views do nothing, functions in the
/// schema are limited to harmless ones, and damaged pages are detected before they are used.
pub fn distrust(database: &Connection) -> Result<()> {
    for (setting, is_on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ] {
        database.set_db_config(setting, is_on)?;
    }
    database.execute_batch("PRAGMA cell_size_check = on; PRAGMA mmap_size = 0")
}

/// Whether this is a table, neither view nor virtual, that has at least these columns, none of them computed.
pub fn has_columns(database: &Connection, table: &str, columns: &[&str]) -> Result<bool> {
    let plain = "SELECT rootpage > 0 FROM sqlite_schema WHERE type = 'table' AND name = ?";
    let plain: Option<bool> = database.query_row(plain, [table], |row| row.get(0)).optional()?;
    if plain != Some(true) {
        return Ok(false);
    }
    let mut stored = database.prepare("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0")?;
    let stored = stored.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>>>()?;
    Ok(columns.iter().all(|column| stored.iter().any(|stored| stored == column)))
}
