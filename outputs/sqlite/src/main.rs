//! `aw-sqlite`: keeps the events of the collector's rings in a SQLite database, each exactly once.
//! The database's owner is believed, and so is what other programs of that user do with the file.
#![forbid(unsafe_code)]

mod import;
mod insert;
mod retention;
mod schema;
mod store;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use aw_output::{Access, Plan, RingOptions, SpoolOptions, parse, run};
use clap::{Parser, value_parser};

use crate::{
    schema::TableName,
    store::{Settings, Store},
};

/// Keeps the events of the collector's ring in a SQLite database.
#[derive(Parser)]
#[command(name = "aw-sqlite", version, after_help = EXAMPLES)]
struct Options {
    /// Keep sightings in the database FILE, which is made if there is none; one of addrwatch's is carried on [default: addrwatch.db in the state directory]
    #[arg(long, visible_alias = "sqlite3", value_name = "FILE")]
    database: Option<PathBuf>,

    /// Show the sightings as NAME, with the columns of addrwatch's table
    #[arg(long, visible_alias = "sqlite3-table", value_name = "NAME", default_value = "addrwatch")]
    table: TableName,

    /// Forget sightings that are older than DAYS
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(1..=36_500))]
    retention: Option<u32>,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,
}

const EXAMPLES: &str = "\
Examples:
  aw-sqlite                                  /var/lib/addrwatch/addrwatch.db
  aw-sqlite --database lan.db --retention 90
  aw-query who 10.1.2.3 --at '2026-11-20 14:05'
  sqlite3 lan.db 'SELECT * FROM addrwatch'   as addrwatch's own table

While the database cannot be written, events wait in the state directory.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

/// A commit for many events, not for each; with what the rest takes, a row is there within a second.
const LINGER: Duration = Duration::from_millis(900);
/// Events in a transaction. Each may write a page, so that the log has 64 MiB at most.
const BATCH: usize = 16_384;

fn main() -> ExitCode {
    let Options { rings, spool, database, table, retention } = parse("aw-sqlite");
    let path = database.unwrap_or_else(|| rings.state_dir.join("addrwatch.db"));
    let path = std::path::absolute(&path).unwrap_or(path);
    let files = path.parent().map(|directory| Access::Write(directory.into())).into_iter();
    let plan = Plan {
        files: files.collect(),
        linger: LINGER,
        batch: BATCH,
        spool: Some(spool),
        ..Plan::default()
    };
    let settings = Settings { path, table, retention };
    run("aw-sqlite", &rings, &plan, || Store::new(settings))
}
