//! The queue on disk for events while the destination is down, in order. It is an SQLite database: each
//! step is a transaction, so that a kill at any moment leaves the step either complete or undone.
//!
//! It trusts the owner of the state directory only.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aw_service::{ByteSize, Error, failed};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use rustix::fs::statvfs;
use shm_layout::{Event, Position, RingName};

use crate::{
    Checkpoint, CheckpointStore, Fault,
    checkpoint::{ItemKind, StreamItem},
    state::{open_in, state_error},
};

/// Temporary files are in memory: the sandbox lets none be created, and a removal of many rows needs one.
const SCHEMA: &str = "
    PRAGMA temp_store = memory;
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
/// Of an output that keeps batches. Others write nothing when they open a spool that exists: its disk may be full.
const BATCH_SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS batch (
        last INTEGER NOT NULL, ring TEXT NOT NULL, generation INTEGER NOT NULL, host TEXT NOT NULL);";
/// Removes a batch whose last item is gone: it was confirmed.
const REMOVE_CONFIRMED: &str = "DELETE FROM batch WHERE last NOT IN (SELECT id FROM piece)";

/// Options of an output with a spool.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "When the destination is down")]
pub struct SpoolOptions {
    /// While the destination is down, or slower than events arrive, queue events in the state directory, in at most SIZE bytes (suffixes
    /// K, M, G, T; at least 1M)
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = spool_size)]
    pub spool_size: ByteSize,
}

impl SpoolOptions {
    pub(crate) fn limit(&self) -> u64 {
        self.spool_size.0
    }
}

/// The lower limit is what SQLite needs, the upper one its largest number of pages.
pub(crate) fn spool_size(text: &str) -> Result<ByteSize, &'static str> {
    let size: ByteSize = text.parse()?;
    let fits = (1 << 20..1 << 43).contains(&size.0);
    fits.then_some(size).ok_or("must be at least 1M and less than 8T")
}

/// Bytes of an SQLite page.
const PAGE: u64 = 4096;
/// Bytes that an addition leaves free on the disk: removing delivered items needs some space.
const RESERVE: u64 = 8 << 20;

/// A batch that was sent, or is about to be: until it is confirmed, the same items are sent again, and with the same hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptBatch {
    /// The number of its last item.
    pub last: i64,
    /// Ring, generation, and the host of the collector.
    pub hosts: Vec<(RingName, u64, String)>,
}

impl KeptBatch {
    /// The host of the collector of an item, if the batch has events of its ring and generation.
    pub fn host(&self, ring: &RingName, at: Position) -> Option<&str> {
        let is_of = |(of, generation, _): &&(RingName, u64, String)| {
            of == ring && *generation == at.generation
        };
        self.hosts.iter().find(is_of).map(|(_, _, host)| &**host)
    }
}

pub(crate) struct Spool {
    path: PathBuf,
    database: Connection,
    /// Number of events in it.
    events: u64,
    /// Whether it has a table of batches.
    keeps_batches: bool,
}

impl Spool {
    /// Opens `NAME.spool`, and creates it if it does not exist. Its size is at most `limit` bytes, plus a
    /// few MiB of temporary files. `keeps_batches`: whether this output keeps batches.
    pub fn open(
        directory: &Path,
        name: &str,
        limit: u64,
        keeps_batches: bool,
    ) -> Result<Spool, Error> {
        let path = directory.join(format!("{name}.spool"));
        // Other users must not read it. SQLite uses the same mode for its other files.
        let file = open_in(&path, 0o600)?;
        let mode = file.set_permissions(Permissions::from_mode(0o600));
        mode.map_err(|error| state_error("restrict the mode of", &path, error))?;
        drop(file);
        let open = || -> rusqlite::Result<(Connection, u64)> {
            let database = Connection::open(&path)?;
            database.execute_batch(SCHEMA)?;
            if keeps_batches {
                database.execute_batch(BATCH_SCHEMA)?;
                let _ = database.execute(REMOVE_CONFIRMED, []); // on a full disk, it is ignored
            }
            database.pragma_update(None, "max_page_count", (limit / PAGE) as i64)?;
            let count = "SELECT count(event) FROM piece WHERE number = 1";
            let events = database.query_row(count, [], |row| row.get::<_, i64>(0))?;
            Ok((database, events as u64))
        };
        match open() {
            Ok((database, events)) => Ok(Spool { path, database, events, keeps_batches }),
            Err(error) => Err(spool_error("open", &path, &error)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of events in it.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn error(&self, error: rusqlite::Error) -> Error {
        spool_error("use", &self.path, &error)
    }

    /// Whether it contains no items, not even a loss.
    pub fn is_empty(&self) -> Result<bool, Error> {
        let any = self
            .database
            .query_row("SELECT EXISTS (SELECT 1 FROM piece)", [], |row| row.get::<_, bool>(0));
        any.map(|any| !any).map_err(|error| self.error(error))
    }

    /// Adds items at the end, and saves the checkpoints that precede them, in one transaction. Returns
    /// false if there is no room.
    pub fn append(
        &mut self,
        items: &[(&RingName, StreamItem)],
        checkpoints: &[(RingName, Checkpoint)],
    ) -> Result<bool, Error> {
        if free_bytes(&self.path) < RESERVE {
            return Ok(false);
        }
        let mut added = 0;
        let mut append = || -> rusqlite::Result<()> {
            let transaction = self.database.transaction()?;
            for (ring, checkpoint) in checkpoints {
                store(&transaction, ring, checkpoint)?;
            }
            let mut last = None;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO piece (ring, generation, sequence, number, event)
                VALUES (?, ?, ?, ?, ?)",
            )?;
            for (ring, item) in items {
                let (_, ring) = match last {
                    Some(known @ (name, _)) if name == *ring => known,
                    _ => *last.insert((*ring, ring_id(&transaction, ring)?)),
                };
                let bytes;
                let (number, event): (i64, Option<&[u8]>) = match &item.kind {
                    ItemKind::Start => (0, None),
                    ItemKind::Restart => (0, Some(&[])),
                    ItemKind::Event(event) => {
                        bytes = event.to_bytes();
                        (1, Some(&bytes))
                    }
                    ItemKind::Skipped | ItemKind::Message => (1, None), // of streams, nothing is queued
                    ItemKind::Lost(number) => (-(*number as i64), None),
                };
                added += u64::from(matches!(item.kind, ItemKind::Event(_)));
                let Position { generation, sequence } = item.at;
                insert.execute(params![ring, generation as i64, sequence as i64, number, event])?;
            }
            drop(insert);
            transaction.commit()
        };
        match append() {
            Ok(()) => {
                self.events += added;
                Ok(true)
            }
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(self.error(error)),
        }
    }

    /// The oldest items, at most `limit` and up to the row number `to`, and the row number of the last one.
    pub fn oldest(
        &self,
        limit: usize,
        to: i64,
    ) -> Result<(Vec<(RingName, StreamItem)>, i64), Error> {
        let read = || -> rusqlite::Result<_> {
            let mut statement = self.database.prepare_cached(
                "SELECT piece.id, name, piece.generation, sequence, number, event
                FROM piece JOIN ring ON ring.id = ring WHERE piece.id <= ? ORDER BY piece.id LIMIT ?",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query([to, limit])?;
            let (mut items, mut last) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                items.extend(item(row)?); // a row with an invalid ring name is skipped
            }
            Ok((items, last))
        };
        read().map_err(|error| self.error(error))
    }

    /// Saves these checkpoints, and removes the items up to this row number, which they include.
    pub fn remove_delivered(
        &mut self,
        last: i64,
        checkpoints: &[(RingName, Checkpoint)],
    ) -> Result<(), Error> {
        let keeps_batches = self.keeps_batches;
        let remove = |database: &mut Connection| -> rusqlite::Result<i64> {
            let transaction = database.transaction()?;
            let count = "SELECT count(event) FROM piece WHERE number = 1 AND id <= ?";
            let events = transaction.query_row(count, [last], |row| row.get(0))?;
            transaction.execute("DELETE FROM piece WHERE id <= ?", [last])?;
            if keeps_batches {
                transaction.execute("DELETE FROM batch WHERE last <= ?", [last])?;
            }
            for (ring, checkpoint) in checkpoints {
                store(&transaction, ring, checkpoint)?;
            }
            transaction.commit()?;
            Ok(events)
        };
        let events = remove(&mut self.database).map_err(|error| self.error(error))?;
        self.events -= events as u64;
        if last > 0 {
            self.shrink();
        }
        Ok(())
    }

    /// The batch that is to be sent again, if there is one.
    pub fn kept_batch(&self) -> Result<Option<KeptBatch>, Error> {
        if !self.keeps_batches {
            return Ok(None);
        }
        let read = || -> rusqlite::Result<Option<KeptBatch>> {
            let mut statement = self.database.prepare_cached(
                "SELECT last, ring, generation, host FROM batch
                WHERE last IN (SELECT id FROM piece)",
            )?;
            let mut rows = statement.query([])?;
            let mut kept: Option<KeptBatch> = None;
            while let Some(row) = rows.next()? {
                let last = row.get(0)?;
                let kept = kept.get_or_insert(KeptBatch { last, hosts: Vec::new() });
                let (ring, host): (String, String) = (row.get(1)?, row.get(3)?);
                let generation = row.get::<_, i64>(2)? as u64;
                kept.hosts.extend(ring.parse().ok().map(|ring| (ring, generation, host)));
            }
            Ok(kept)
        };
        read().map_err(|error| self.error(error))
    }

    /// Stores a batch before it is sent; there is no other one. Returns false if there is no room: it is sent all the same, and not kept.
    pub fn keep_batch(&mut self, batch: &KeptBatch) -> Result<bool, Error> {
        let mut store = || -> rusqlite::Result<()> {
            let transaction = self.database.transaction()?;
            transaction.execute("DELETE FROM batch", [])?;
            let insert = "INSERT INTO batch (last, ring, generation, host) VALUES (?, ?, ?, ?)";
            let mut insert_row = transaction.prepare_cached(insert)?;
            // Also of a batch without an event.
            if batch.hosts.is_empty() {
                insert_row.execute(params![batch.last, "", 0, ""])?;
            }
            for (ring, generation, host) in &batch.hosts {
                insert_row.execute(params![batch.last, ring.as_str(), *generation as i64, host])?;
            }
            drop(insert_row);
            transaction.commit()
        };
        match store() {
            Err(error) if !is_full(&error) => Err(self.error(error)),
            stored => Ok(stored.is_ok()),
        }
    }

    /// Whether it contains a restart of a ring's checkpoint.
    pub fn has_restart(&self, ring: &RingName) -> Result<bool, Error> {
        let any = self.database.query_row(
            "SELECT EXISTS (SELECT 1 FROM piece JOIN ring ON ring.id = ring
            WHERE name = ? AND number = 0 AND event IS NOT NULL)",
            [ring.as_str()],
            |row| row.get(0),
        );
        any.map_err(|error| self.error(error))
    }

    /// Removes the items that a sink's checkpoint includes, which it had stored before it or this process
    /// was killed. Items after a restart stay: the sink receives them only after it has confirmed the
    /// restart. A kept batch whose last item is removed was confirmed, and is no longer kept. Returns the
    /// number of events among them. [`Fault::Down`]: the disk is too full to remove them, and no item may
    /// be delivered before there is room.
    pub fn remove_included(
        &mut self,
        ring: &RingName,
        checkpoint: &Checkpoint,
    ) -> Result<u64, Fault> {
        let (before, keeps_batches) = (self.events, self.keeps_batches);
        let mut remove = || -> rusqlite::Result<Option<i64>> {
            let transaction = self.database.transaction()?;
            let removed = transaction.execute(
                "DELETE FROM piece WHERE ring = (SELECT id FROM ring WHERE name = ?1) AND id <= (
                    SELECT max(piece.id) FROM piece JOIN ring ON ring.id = ring
                    WHERE name = ?1 AND piece.generation = ?2 AND sequence + abs(number) <= ?3)
                AND id < (
                    SELECT coalesce(min(piece.id), 1 << 62) FROM piece JOIN ring ON ring.id = ring
                    WHERE name = ?1 AND number = 0 AND event IS NOT NULL)",
                params![ring.as_str(), checkpoint.generation as i64, checkpoint.next() as i64],
            )?;
            if removed == 0 {
                return Ok(None);
            }
            if keeps_batches {
                transaction.execute(REMOVE_CONFIRMED, [])?;
            }
            let count = "SELECT count(event) FROM piece WHERE number = 1";
            let events = transaction.query_row(count, [], |row| row.get(0))?;
            transaction.commit()?;
            Ok(Some(events))
        };
        match remove() {
            Ok(None) => {}
            Ok(Some(events)) => {
                self.events = events as u64;
                self.shrink();
            }
            Err(error) => {
                let full = is_full(&error);
                return Err(match self.error(error) {
                    Error::Failed(why) if full => Fault::Down(why),
                    error => error.into(),
                });
            }
        }
        Ok(before.saturating_sub(self.events))
    }

    /// Returns the disk space once the spool is empty. That needs some free space first: without it, the
    /// file keeps its size until the next time.
    fn shrink(&mut self) {
        if !matches!(self.is_empty(), Ok(true)) {
            return;
        }
        let shrink = || -> rusqlite::Result<()> {
            // Each row that is fetched frees one page.
            let mut free = self.database.prepare_cached("PRAGMA incremental_vacuum")?;
            let mut pages = free.query([])?;
            while pages.next()?.is_some() {}
            self.database.execute_batch("PRAGMA wal_checkpoint(truncate)")
        };
        let _ = shrink();
    }

    /// The position after the last item of a ring, if it contains any.
    pub fn end_position(&self, ring: &RingName) -> Result<Option<Position>, Error> {
        let last = self.database.query_row(
            "SELECT piece.id, name, piece.generation, sequence, number, event
            FROM piece JOIN ring ON ring.id = ring WHERE name = ? ORDER BY piece.id DESC LIMIT 1",
            [ring.as_str()],
            item,
        );
        let last = last.optional().map_err(|error| self.error(error))?.flatten();
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
        Ok(checkpoint.optional().map_err(|error| self.error(error))?.flatten())
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> Result<(), Fault> {
        Ok(store(&self.database, ring, checkpoint).map_err(|error| self.error(error))?)
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

/// Decodes a row of `append`. `number` is 0 for a start or restart, 1 for an event (without bytes if its
/// kind is unknown), and the negative count of a loss.
pub(crate) fn item(row: &Row) -> rusqlite::Result<Option<(RingName, StreamItem)>> {
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

fn spool_error(operation: &str, path: &Path, error: &rusqlite::Error) -> Error {
    let remedy = match error.sqlite_error_code() {
        _ if is_full(error) || free_bytes(path) == 0 => "free space on its disk",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "move it away; its events are not delivered"
        }
        _ => "let this program's user write there, or choose another --state-dir",
    };
    failed(format_args!("{operation} {}: {error} ({remedy})", path.display()))
}

/// Free bytes on the disk; the maximum if that is unknown.
fn free_bytes(path: &Path) -> u64 {
    statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether the limit is reached or the disk is full.
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
