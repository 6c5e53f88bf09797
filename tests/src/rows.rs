//! `aw-rows`, the output of docs/dev/new-output.md, and what is in its database.

use crate::account::Account;
use crate::rig::{Run, example, program_at};
use crate::ring::Ring;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A state directory and a database for `aw-rows`; both vanish with the test.
pub struct Rows {
    directory: TempDir,
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

impl Rows {
    /// Nothing is there yet.
    pub fn new() -> Self {
        Rows { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Beneath it lies everything.
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

    /// How the output stands with a ring; nothing if there is no account yet.
    pub fn account(&self, ring: &Ring) -> Option<Account> {
        Account::of(ring, &self.open()?)
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

    /// Keeps the database from being written until what this returns is dropped: it is down.
    pub fn lock(&self) -> Connection {
        self.try_lock().expect("nobody else locks it for long")
    }

    /// The same, unless somebody stops in the midst of a transaction.
    pub fn try_lock(&self) -> Option<Connection> {
        let database = self.open()?;
        database.busy_timeout(Duration::from_secs(2)).ok()?;
        database.execute_batch("BEGIN IMMEDIATE").ok()?;
        Some(database)
    }

    /// Every row once, in order, and every number that is missing is a loss that was counted: asserts it for a ring of
    /// which so many events were published.
    #[track_caller]
    pub fn assert_exactly_once(&self, ring: &Ring, published: u64) {
        let account = self.account(ring).expect("an account");
        let sequences = self.sequences(ring);
        for pair in sequences.windows(2) {
            assert!(pair[0] < pair[1], "event {} twice, or out of order", pair[1]);
        }
        assert_eq!(account.delivered, sequences.len() as u64, "{account:?}");
        assert_eq!(account.next(), published, "{account:?}");
    }
}
