//! `aw-rows`, the output of docs/dev/new-output.md, and the content of its database.

use crate::checkpoint::Checkpoint;
use crate::rig::{Run, TIMEOUT, example, program_at};
use crate::ring::Ring;
use crate::spool::queued;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A state directory and a database for `aw-rows`; both are removed with the test.
pub struct Rows {
    directory: TempDir,
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Rows {
    /// Without any file yet.
    pub fn new() -> Self {
        Rows { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The directory of all its files.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The database's file.
    pub fn database(&self) -> PathBuf {
        self.path().join("rows/events.db")
    }

    /// The program on this ring, not started yet. The database's directory is made, so that it is up.
    pub fn command(&self, ring: &Ring, options: &[&str]) -> Command {
        self.up();
        let mut command = program_at(example("aw-rows"), &["--ring", ring.name()]);
        command.arg("--state-dir").arg(self.path().join("state"));
        command.arg("--database").arg(self.database()).args(options);
        command
    }

    /// The program on this ring.
    pub fn start(&self, ring: &Ring, options: &[&str]) -> Run {
        Run::start(self.command(ring, options))
    }

    fn up(&self) {
        let directory = self.path().join("rows");
        std::fs::create_dir_all(directory).expect("our own directory can be written to");
    }

    fn open(&self) -> Option<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        Connection::open_with_flags(self.database(), flags).ok()
    }

    /// The checkpoint of a ring; none if there is none yet.
    pub fn checkpoint(&self, ring: &Ring) -> Option<Checkpoint> {
        Checkpoint::of(ring, &self.open()?)
    }

    /// The numbers of all rows of a ring, in the order of their insertion.
    pub fn sequences(&self, ring: &Ring) -> Vec<u64> {
        let Some(database) = self.open() else { return Vec::new() };
        let select = "SELECT sequence FROM event WHERE ring = ? ORDER BY rowid";
        let Ok(mut statement) = database.prepare(select) else { return Vec::new() };
        let rows = statement.query_map([ring.name()], |row| row.get::<_, i64>(0));
        rows.expect("rows").map(|row| row.expect("a row") as u64).collect()
    }

    /// All lines, in the order of their insertion.
    pub fn lines(&self) -> String {
        let database = self.open().expect("a database");
        let mut statement = database.prepare("SELECT line FROM event ORDER BY rowid").expect("one");
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        rows.map(|row| row.expect("a row") + "\n").collect()
    }

    /// The number of events in its spool.
    pub fn queued(&self) -> u64 {
        queued(&self.spool())
    }

    /// The spool's file.
    pub fn spool(&self) -> PathBuf {
        self.path().join("state/aw-rows.spool")
    }

    /// Locks the database until the returned connection is dropped: it is down.
    pub fn lock(&self) -> Connection {
        self.lock_within(TIMEOUT).expect("no other program locks it for long")
    }

    /// The same; none if another program is stopped during a transaction.
    pub fn try_lock(&self) -> Option<Connection> {
        self.lock_within(Duration::from_secs(2))
    }

    fn lock_within(&self, time: Duration) -> Option<Connection> {
        let database = self.open()?;
        database.busy_timeout(time).ok()?;
        database.execute_batch("BEGIN IMMEDIATE").ok()?;
        Some(database)
    }

    /// Asserts for a ring with this many published events: every row is there once, in order, and every missing number
    /// is counted as lost.
    #[track_caller]
    pub fn assert_exactly_once(&self, ring: &Ring, published: u64) {
        let checkpoint = self.checkpoint(ring).expect("a checkpoint");
        let sequences = self.sequences(ring);
        for pair in sequences.windows(2) {
            assert!(pair[0] < pair[1], "event {} twice, or out of order", pair[1]);
        }
        assert_eq!(checkpoint.delivered, sequences.len() as u64, "{checkpoint:?}");
        assert_eq!(checkpoint.next(), published, "{checkpoint:?}");
    }
}
