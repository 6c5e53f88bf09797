//! `aw-rows`: events as rows of a SQLite database, each exactly once.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use aw_output::{
    Access, Checkpoint, CheckpointStore, Entry, Fault, Plan, RingOptions, Sink, SinkResult,
    SpoolOptions,
};
use clap::Parser;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::RingName;

/// Stores the events of the collector's rings in a SQLite database
#[derive(Parser)]
#[command(name = "aw-rows", version, after_help = "Examples:\n  aw-rows --database events.db")]
struct Options {
    /// Database file
    #[arg(long, value_name = "FILE")]
    database: PathBuf, // first: behind the others it would be under their heading in --help
    #[command(flatten)]
    rings: RingOptions,
    #[command(flatten)]
    spool: SpoolOptions,
}

struct Rows {
    path: PathBuf,
    /// None before the first use and after a failure: dropping it rolled back what was not committed.
    database: Option<Connection>,
}

const SCHEMA: &str = "PRAGMA journal_mode = wal;
    CREATE TABLE IF NOT EXISTS event (ring TEXT, sequence INTEGER, line TEXT);
    CREATE TABLE IF NOT EXISTS account (ring TEXT PRIMARY KEY, generation INTEGER,
        began INTEGER, delivered INTEGER, lost INTEGER, skipped INTEGER);";

impl Rows {
    /// Runs `act` in the transaction that `flush` commits. Every failure is temporary.
    fn with<T>(&mut self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> SinkResult<T> {
        let open = || -> rusqlite::Result<Connection> {
            let database = Connection::open(&self.path)?;
            database.busy_timeout(Duration::from_millis(100))?; // the rings do not wait
            database.execute_batch(SCHEMA).map(|()| database)
        };
        let done = self.database.take().map_or_else(open, Ok).and_then(|database| {
            if database.is_autocommit() {
                database.execute_batch("BEGIN")?;
            }
            let value = act(&database)?;
            self.database = Some(database);
            Ok(value)
        });
        done.map_err(|error| Fault::Down(format!("write {}: {error}", self.path.display())))
    }
}

impl Sink for Rows {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let (sequence, line) = (entry.position.sequence as i64, entry.event.to_string());
        let row = params![entry.ring.as_str(), sequence, line];
        let insert = "INSERT INTO event VALUES (?, ?, ?)";
        self.with(|database| database.prepare_cached(insert)?.execute(row).map(drop))
    }
    fn flush(&mut self) -> SinkResult {
        self.with(|database| database.execute_batch("COMMIT"))
    }
    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for Rows {
    fn load(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        let select = "SELECT * FROM account WHERE ring = ?";
        let checkpoint = self.with(|database| {
            let columns = |row: &Row| Ok([1, 2, 3, 4, 5].map(|column| row.get_unwrap(column)));
            database.query_row(select, [ring.as_str()], columns).optional()
        })?;
        self.flush()?; // leave no transaction open: the next event may come in an hour
        Ok(checkpoint.and_then(Checkpoint::from_columns))
    }
    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        let [generation, began, delivered, lost, skipped] = checkpoint.columns();
        let row = params![ring.as_str(), generation, began, delivered, lost, skipped];
        let replace = "REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?)";
        self.with(|database| database.execute(replace, row).map(drop))
    }
}

fn main() -> ExitCode {
    let Options { database, rings, spool } = aw_output::parse("aw-rows");
    let path = std::path::absolute(&database).unwrap_or(database);
    let files = path.parent().map(|directory| Access::Write(directory.into())).into_iter();
    let linger = Duration::from_millis(200); // one commit for many events
    let plan = Plan { files: files.collect(), linger, spool: Some(spool), ..Plan::default() };
    aw_output::run("aw-rows", &rings, &plan, || Ok(Rows { path, database: None }))
}
