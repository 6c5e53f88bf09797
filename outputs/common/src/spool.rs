//! What a sink could not take while its destination was down, on disk and in order. SQLite keeps it:
//! each step is a transaction, so that a kill at any byte leaves the step done or not begun.
//!
//! It trusts the state directory's owner, and nobody else.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aw_service::{Error, failed};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use rustix::fs::statvfs;
use shm_layout::{Event, Position, RingName};

use crate::{
    Checkpoint, CheckpointStore, Fault,
    checkpoint::{ItemKind, StreamItem},
    state::{open_in, refused},
};

const SCHEMA: &str = "
    PRAGMA auto_vacuum = incremental;
    PRAGMA locking_mode = exclusive;
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = full;
    PRAGMA journal_size_limit = 1048576;
    CREATE TABLE IF NOT EXISTS ring (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
        generation INTEGER, began INTEGER, delivered INTEGER, lost INTEGER, skipped INTEGER);
    CREATE TABLE IF NOT EXISTS piece (
        id INTEGER PRIMARY KEY, ring INTEGER NOT NULL, generation INTEGER NOT NULL,
        sequence INTEGER NOT NULL, number INTEGER NOT NULL, event BLOB);";

/// Bytes of a page of SQLite's.
const PAGE: u64 = 4096;
/// What an addition leaves free on the disk: it takes room to give up what was delivered.
const RESERVE: u64 = 8 << 20;

pub(crate) struct Spool {
    path: PathBuf,
    database: Connection,
    /// Events in it.
    waiting: u64,
}

impl Spool {
    /// Opens `NAME.spool`, and makes it if there is none. It never takes more than `limit` bytes,
    /// and a few MiB beside them while it works.
    pub fn open(directory: &Path, name: &str, limit: u64) -> Result<Spool, Error> {
        let path = directory.join(format!("{name}.spool"));
        // What it holds is nobody's business. SQLite takes the mode for its other files.
        let file = open_in(&path, 0o600)?;
        let mode = file.set_permissions(Permissions::from_mode(0o600));
        mode.map_err(|error| refused("make its user's alone", &path, error))?;
        drop(file);
        let open = || -> rusqlite::Result<(Connection, u64)> {
            let database = Connection::open(&path)?;
            database.execute_batch(SCHEMA)?;
            database.pragma_update(None, "max_page_count", (limit / PAGE) as i64)?;
            let count = "SELECT count(event) FROM piece WHERE number = 1";
            let waiting = database.query_row(count, [], |row| row.get::<_, i64>(0))?;
            Ok((database, waiting as u64))
        };
        match open() {
            Ok((database, waiting)) => Ok(Spool { path, database, waiting }),
            Err(error) => Err(failure("open", &path, &error)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Events in it.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    fn fault(&self, error: rusqlite::Error) -> Error {
        failure("use", &self.path, &error)
    }

    /// Whether there is nothing to hand over, not even a loss.
    pub fn is_empty(&self) -> Result<bool, Error> {
        let any = self
            .database
            .query_row("SELECT EXISTS (SELECT 1 FROM piece)", [], |row| row.get::<_, bool>(0));
        any.map(|any| !any).map_err(|error| self.fault(error))
    }

    /// Adds items at its end, and writes down the checkpoints that they follow, all or nothing; tells
    /// whether there was room.
    pub fn append(
        &mut self,
        items: &[(&RingName, StreamItem)],
        checkpoints: &[(RingName, Checkpoint)],
    ) -> Result<bool, Error> {
        if room(&self.path) < RESERVE {
            return Ok(false);
        }
        let mut events = 0;
        let mut append = || -> rusqlite::Result<()> {
            let transaction = self.database.transaction()?;
            for (ring, checkpoint) in checkpoints {
                store(&transaction, ring, checkpoint)?;
            }
            for (ring, item) in items {
                let ring = ring_id(&transaction, ring)?;
                let (number, event) = match &item.kind {
                    ItemKind::Start => (0, None),
                    ItemKind::Restart => (0, Some(Vec::new())),
                    ItemKind::Event(event) => (1, Some(event.to_bytes().to_vec())),
                    ItemKind::Skipped => (1, None),
                    ItemKind::Lost(number) => (-(*number as i64), None),
                };
                events += u64::from(matches!(item.kind, ItemKind::Event(_)));
                let Position { generation, sequence } = item.at;
                transaction
                    .prepare_cached(
                        "INSERT INTO piece (ring, generation, sequence, number, event)
                        VALUES (?, ?, ?, ?, ?)",
                    )?
                    .execute(params![ring, generation as i64, sequence as i64, number, event])?;
            }
            transaction.commit()
        };
        match append() {
            Ok(()) => {
                self.waiting += events;
                Ok(true)
            }
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Its oldest items, at most so many, and the number of the last.
    pub fn oldest(&self, limit: usize) -> Result<(Vec<(RingName, StreamItem)>, i64), Error> {
        let read = || -> rusqlite::Result<_> {
            let mut statement = self.database.prepare_cached(
                "SELECT piece.id, name, piece.generation, sequence, number, event
                FROM piece JOIN ring ON ring.id = ring ORDER BY piece.id LIMIT ?",
            )?;
            let mut rows = statement.query([limit as i64])?;
            let (mut items, mut last) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                items.extend(item(row)?); // a name that is none any more was a ring's once
            }
            Ok((items, last))
        };
        read().map_err(|error| self.fault(error))
    }

    /// Writes these checkpoints down, and forgets the items up to this number, which are in them now.
    pub fn delivered(
        &mut self,
        last: i64,
        checkpoints: &[(RingName, Checkpoint)],
    ) -> Result<(), Error> {
        let forget = |database: &mut Connection| -> rusqlite::Result<i64> {
            let transaction = database.transaction()?;
            let count = "SELECT count(event) FROM piece WHERE number = 1 AND id <= ?";
            let events = transaction.query_row(count, [last], |row| row.get(0))?;
            transaction.execute("DELETE FROM piece WHERE id <= ?", [last])?;
            for (ring, checkpoint) in checkpoints {
                store(&transaction, ring, checkpoint)?;
            }
            transaction.commit()?;
            Ok(events)
        };
        let events = forget(&mut self.database).map_err(|error| self.fault(error))?;
        self.waiting -= events as u64;
        if last > 0 {
            self.shrink();
        }
        Ok(())
    }

    /// Whether a restart of a ring's checkpoint is in it.
    pub fn restarts(&self, ring: &RingName) -> Result<bool, Error> {
        let any = self.database.query_row(
            "SELECT EXISTS (SELECT 1 FROM piece JOIN ring ON ring.id = ring
            WHERE name = ? AND number = 0 AND event IS NOT NULL)",
            [ring.as_str()],
            |row| row.get(0),
        );
        any.map_err(|error| self.fault(error))
    }

    /// Forgets what a sink had stored before it, or we, were killed, by its checkpoint. That says nothing of
    /// what is behind a restart, before which nothing of that was handed over. [`Fault::Down`]: its disk
    /// is too full for that, and nothing of it is to be handed over before there is room.
    pub fn forget_all_in(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let forgotten = self.database.execute(
            "DELETE FROM piece WHERE ring = (SELECT id FROM ring WHERE name = ?1) AND id <= (
                SELECT max(piece.id) FROM piece JOIN ring ON ring.id = ring
                WHERE name = ?1 AND piece.generation = ?2 AND sequence + abs(number) <= ?3)
            AND id < (
                SELECT coalesce(min(piece.id), 1 << 62) FROM piece JOIN ring ON ring.id = ring
                WHERE name = ?1 AND number = 0 AND event IS NOT NULL)",
            params![ring.as_str(), checkpoint.generation as i64, checkpoint.next() as i64],
        );
        let count = || -> rusqlite::Result<Option<i64>> {
            if forgotten? == 0 {
                return Ok(None);
            }
            let count = "SELECT count(event) FROM piece WHERE number = 1";
            self.database.query_row(count, [], |row| row.get(0)).map(Some)
        };
        match count() {
            Ok(None) => {}
            Ok(Some(waiting)) => {
                self.waiting = waiting as u64;
                self.shrink();
            }
            Err(error) => {
                let full = is_full(&error);
                return Err(match self.fault(error) {
                    Error::Failed(why) if full => Fault::Down(why),
                    error => error.into(),
                });
            }
        }
        Ok(())
    }

    /// Gives the disk back once nothing is left. That takes some room first: without, it keeps what it
    /// has, and may give it back the next time.
    fn shrink(&mut self) {
        if !matches!(self.is_empty(), Ok(true)) {
            return;
        }
        let shrink = || -> rusqlite::Result<()> {
            // A row for each page, which it frees when it is asked for.
            let mut free = self.database.prepare_cached("PRAGMA incremental_vacuum")?;
            let mut pages = free.query([])?;
            while pages.next()?.is_some() {}
            self.database.execute_batch("PRAGMA wal_checkpoint(truncate)")
        };
        let _ = shrink();
    }

    /// Where the ring is to be read on, if anything of it is in here.
    pub fn end(&self, ring: &RingName) -> Result<Option<Position>, Error> {
        let last = self.database.query_row(
            "SELECT piece.id, name, piece.generation, sequence, number, event
            FROM piece JOIN ring ON ring.id = ring WHERE name = ? ORDER BY piece.id DESC LIMIT 1",
            [ring.as_str()],
            item,
        );
        let last = last.optional().map_err(|error| self.fault(error))?.flatten();
        Ok(last.map(|(_, item)| Position { sequence: item.end(), ..item.at }))
    }
}

impl CheckpointStore for Spool {
    fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>, Fault> {
        let checkpoint = self.database.query_row(
            "SELECT generation, began, delivered, lost, skipped FROM ring
            WHERE name = ? AND generation IS NOT NULL",
            [ring.as_str()],
            |row| {
                let columns = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
                Ok(Checkpoint::from_columns(columns))
            },
        );
        Ok(checkpoint.optional().map_err(|error| self.fault(error))?.flatten())
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> Result<(), Fault> {
        Ok(store(&self.database, ring, checkpoint).map_err(|error| self.fault(error))?)
    }
}

fn store(database: &Connection, ring: &RingName, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    let [generation, began, delivered, lost, skipped] = checkpoint.columns();
    database
        .prepare_cached(
            "INSERT INTO ring (name, generation, began, delivered, lost, skipped)
            VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
            generation = excluded.generation, began = excluded.began,
            delivered = excluded.delivered, lost = excluded.lost, skipped = excluded.skipped",
        )?
        .execute(params![ring.as_str(), generation, began, delivered, lost, skipped])
        .map(drop)
}

fn ring_id(database: &Connection, ring: &RingName) -> rusqlite::Result<i64> {
    database
        .prepare_cached("INSERT OR IGNORE INTO ring (name) VALUES (?)")?
        .execute([ring.as_str()])?;
    database
        .prepare_cached("SELECT id FROM ring WHERE name = ?")?
        .query_row([ring.as_str()], |row| row.get(0))
}

/// A row, as `append` wrote it: 0 = a start; 1 = an event, or none that is known; less than 0 = so
/// many lost.
fn item(row: &Row) -> rusqlite::Result<Option<(RingName, StreamItem)>> {
    let [generation, sequence] = [row.get::<_, i64>(2)? as u64, row.get::<_, i64>(3)? as u64];
    let number: i64 = row.get(4)?;
    let event = row.get_ref(5)?.as_blob_or_null()?.map(<&[u8; Event::SIZE]>::try_from);
    let what = match (number, event) {
        (0, None) => ItemKind::Start,
        (0, Some(_)) => ItemKind::Restart,
        (1, Some(Ok(bytes))) => Event::from_bytes(bytes).map_or(ItemKind::Skipped, ItemKind::Event),
        (..0, _) => ItemKind::Lost(number.unsigned_abs()),
        _ => ItemKind::Skipped,
    };
    let name: String = row.get(1)?;
    let at = Position { generation, sequence };
    Ok(name.parse().ok().map(|name| (name, StreamItem { at, kind: what })))
}

fn failure(what: &str, path: &Path, error: &rusqlite::Error) -> Error {
    let advice = match error.sqlite_error_code() {
        _ if is_full(error) || room(path) == 0 => "make room on its disk",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "move it away; what it holds was not delivered"
        }
        _ => "let this program's user write there, or choose another --state-dir",
    };
    failed(format_args!("{what} {}: {error} ({advice})", path.display()))
}

/// Bytes free on the disk; many where nobody says.
fn room(path: &Path) -> u64 {
    statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// No room, by our bound or on the disk.
fn is_full(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE};
    let code = error.sqlite_error();
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || code.is_some_and(|error| {
            [SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE].contains(&error.extended_code)
        })
}

#[cfg(test)]
pub(crate) mod tests;
