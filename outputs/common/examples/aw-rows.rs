//! `aw-rows`: events as rows of a SQLite database, each of them exactly once.
#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aw_output::{
    Access, Account, Entry, Fault, Ledger, Plan, Result, RingOptions, Sink, SpoolOptions, parse,
    run,
};
use clap::Parser;
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::RingName;

/// Keeps the events of the collector's rings in a SQLite database.
#[derive(Parser)]
#[command(name = "aw-rows", version)]
struct Options {
    #[command(flatten)]
    rings: RingOptions,

    #[command(flatten)]
    spool: SpoolOptions,

    /// Keep events in the database FILE
    #[arg(long, value_name = "FILE")]
    database: PathBuf,
}

struct Rows {
    path: PathBuf,
    /// None: not opened yet, or anew after a failure, which takes back what was not committed.
    database: Option<Connection>,
}

impl Rows {
    /// Does something with the database. Whatever fails may be better later.
    fn with<T>(&mut self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let attempt = || {
            let database = match self.database.take() {
                Some(database) => database,
                None => open(&self.path)?,
            };
            if database.is_autocommit() {
                database.execute_batch("BEGIN")?;
            }
            let value = act(&database)?;
            self.database = Some(database);
            Ok(value)
        };
        let down = |error: rusqlite::Error| format!("write {}: {error}", self.path.display());
        attempt().map_err(|error| Fault::Down(down(error)))
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.execute_batch(
        "PRAGMA journal_mode = wal;
        CREATE TABLE IF NOT EXISTS event (ring TEXT, sequence INTEGER, line TEXT);
        CREATE TABLE IF NOT EXISTS account (ring TEXT PRIMARY KEY, generation INTEGER,
            began INTEGER, delivered INTEGER, lost INTEGER, skipped INTEGER);",
    )?;
    Ok(database)
}

impl Sink for Rows {
    fn put(&mut self, entry: &Entry) -> Result {
        let (ring, sequence) = (entry.ring.as_str(), entry.position.sequence as i64);
        let row = params![ring, sequence, entry.event.to_string()];
        let insert = "INSERT INTO event VALUES (?, ?, ?)";
        self.with(|database| database.prepare_cached(insert)?.execute(row).map(drop))
    }

    fn idle(&mut self) -> Result {
        self.with(|database| database.execute_batch("COMMIT"))
    }

    fn ledger(&mut self) -> Option<&mut dyn Ledger> {
        Some(self)
    }
}

impl Ledger for Rows {
    fn load(&mut self, ring: &RingName) -> Result<Option<Account>> {
        let select =
            "SELECT generation, began, delivered, lost, skipped FROM account WHERE ring = ?";
        self.with(|database| {
            let row = database.query_row(select, [ring.as_str()], |row| {
                let columns = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
                Ok(Account::from_columns(columns))
            });
            row.optional()
        })
    }

    fn store(&mut self, ring: &RingName, account: &Account) -> Result {
        let [generation, began, delivered, lost, skipped] = account.columns();
        let row = params![ring.as_str(), generation, began, delivered, lost, skipped];
        let replace = "REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?)";
        self.with(|database| database.execute(replace, row).map(drop))
    }
}

fn main() -> ExitCode {
    let options: Options = parse("aw-rows");
    let path = std::path::absolute(&options.database).unwrap_or(options.database);
    let directory = path.parent().map(|parent| Access::Write(parent.into()));
    let plan = Plan {
        files: directory.into_iter().collect(),
        linger: Duration::from_millis(200), // a commit for many events, not for each
        spool: Some(options.spool),
        ..Plan::default()
    };
    run("aw-rows", &options.rings, &plan, || Ok(Rows { path, database: None }))
}
