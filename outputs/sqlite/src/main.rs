//! `aw-sqlite`: stores the events of the collector's rings in a SQLite database, each exactly once.
//! It trusts the owner of the database, and what other programs of that user do with the file.
#![forbid(unsafe_code)]

mod background;
mod clock_check;
mod compaction;
mod database_file;
mod delete_trigger;
mod filing;
mod forget_names;
mod history_target;
mod lease_rows;
mod legacy_file;
mod legacy_import;
mod name_rows;
mod retention;
mod row_writer;
mod schema;
mod sqlite_sink;
mod unreadable;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aw_output::{
    Access, NameFollower, Plan, RingOptions, SpoolOptions, check, failed, import,
    names::{NAMES_FILE, Names, is_name, read_names},
    parse, run, run_command, state_directory,
};
use aw_service::TimeSpan;
use clap::{Parser, Subcommand};

use crate::{
    forget_names::{Device, forget_names},
    history_target::{SqliteTarget, owner},
    schema::ViewName,
    sqlite_sink::{DatabaseSettings, SqliteSink},
};

/// Stores the events of the collector's rings in a SQLite database.
#[derive(Parser)]
#[command(name = "aw-sqlite", version, after_help = EXAMPLES)]
struct Options {
    /// Store events in the database FILE; it is created if it does not exist; if the older program addrwatch created it, its rows are imported [default: addrwatch.db in the state directory]
    #[arg(long, global = true, visible_alias = "sqlite3", value_name = "FILE")]
    database: Option<PathBuf>,

    #[arg(
        long,
        global = true,
        visible_alias = "sqlite3-table",
        value_name = "NAME",
        help = "Name of the view that shows the sightings, with the columns of the table of the older program addrwatch [default: addrwatch; of an import: the view that the database has]"
    )]
    table: Option<ViewName>,

    /// Delete sightings and configuration changes that are older than DAYS: 90, 90d or 12w [default: keep all]
    #[arg(long, value_name = "DAYS", value_parser = parse_days)]
    retention: Option<u32>,

    /// Compact sightings that are older than DAYS: those of a MAC with an address that are at most ten minutes apart become one span
    /// with first, last and number, for ever; 0: keep each one. Answers of aw-query have the same MACs, addresses and times. A database of
    /// an earlier release is compacted from the day after its first start on
    #[arg(long, value_name = "DAYS", default_value = "7", value_parser = parse_raw_days)]
    raw_days: u32,

    /// Commit at most once in TIME, such as 1s or 5m; earlier when a quarter of the ring is not committed. A question does not see
    /// what is not committed; a power failure loses it, a kill does not. At one event a second, 1s writes many times as much as 60s
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_interval)]
    commit_interval: Duration,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,
    #[cfg(feature = "stream")]
    #[command(flatten)]
    stream: aw_relay::StreamOptions,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Add a history that `aw-query export` wrote, or a SQLite database of the older program addrwatch, to the database, and exit
    ///
    /// A row that the database has already is not added again. So an import that ended early can be run again, and two
    /// histories that overlap become one. aw-sqlite may write to the database at the same time.
    Import {
        /// The file; - is standard input, for an export
        file: PathBuf,
    },
    /// Delete what devices call themselves, and their leases of addresses, from the database, and exit
    ///
    /// Sightings stay, and so do names that you gave with aw-query name. aw-sqlite may write to the database at the same time; the next
    /// message of a device stores its name again, while the collector captures names.
    ForgetNames {
        /// MAC addresses of devices, or names that you gave them in /etc/addrwatch/names. What a device calls itself is no key: any host can send it, so a
        /// message shows the MACs
        #[arg(required_unless_present = "all", value_name = "MAC|NAME", value_parser = parse_device)]
        devices: Vec<Device>,
        /// All devices
        #[arg(long, conflicts_with = "devices")]
        all: bool,
    },
}

fn parse_device(text: &str) -> Result<Device, &'static str> {
    match text.parse() {
        Ok(mac) => Ok(Device::Mac(mac)),
        // A MAC with a mistake is none.
        Err(_) if !text.contains(':') && is_name(text).is_ok() => Ok(Device::Name(text.into())),
        Err(_) => Err("must be a MAC address, such as 02:00:00:00:00:01, or a name"),
    }
}

/// A number of days, or a time span of whole days.
fn parse_days(text: &str) -> Result<u32, &'static str> {
    const DAY: u64 = 86_400;
    let days = text.parse::<u64>().ok().or_else(|| {
        let seconds = text.parse::<TimeSpan>().ok()?.0.as_secs();
        Some(seconds / DAY).filter(|days| days * DAY == seconds)
    });
    let days = days.filter(|days| (1..=36_500).contains(days)).and_then(|it| it.try_into().ok());
    days.ok_or("must be a number of whole days, 1 to 36500, such as 90, 90d or 12w")
}

/// The same, or 0.
fn parse_raw_days(text: &str) -> Result<u32, &'static str> {
    if text == "0" { Ok(0) } else { parse_days(text) }
}

/// A time between a second and an hour.
fn parse_interval(text: &str) -> Result<Duration, &'static str> {
    let time = text.parse::<TimeSpan>().ok().map(|span| span.0);
    let limits = Duration::from_secs(1)..=Duration::from_secs(3_600);
    time.filter(|time| limits.contains(time))
        .ok_or("must be a time from 1s to 1h, such as 60s or 5m")
}

const EXAMPLES: &str = "\
Examples:
  aw-sqlite                                  store in /var/lib/addrwatch/addrwatch.db
  aw-sqlite --database lan.db --retention 90
  aw-query who 10.1.2.3 --at '2026-11-20 14:05'
  sqlite3 lan.db 'SELECT * FROM addrwatch'   read the sightings as from addrwatch's table
  aw-query --database other.db export | aw-sqlite --database lan.db import -

While the database cannot be written, events are queued in the state directory. They are stored when
it can be written again.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

/// How long an event waits for others after a pause, to be committed together: with the commit, a row is stored within a second.
const LINGER: Duration = Duration::from_millis(900);
/// Events in a transaction.
const BATCH: usize = 16_384;

fn main() -> ExitCode {
    let options: Options = parse("aw-sqlite");
    let Options { rings, spool, database, table, .. } = options;
    let Options { retention, raw_days, commit_interval, command, .. } = options;
    // An import adds to the history that aw-query asks, unless another one is named; it has the names, too.
    let of_service =
        || command.is_some().then(aw_database::named_by_the_service).flatten().map(PathBuf::from);
    let path = database_of(database, &rings.state_dir, of_service);
    let path = std::path::absolute(&path).unwrap_or(path);
    let directory = path.parent().map(|directory| Access::Write(directory.into()));
    let files = directory.into_iter().collect();
    if let Some(Command::ForgetNames { devices, .. }) = &command {
        let names = named_devices(devices);
        // A link's own directory has neither the log nor its index.
        let path = path.canonicalize().unwrap_or(path);
        let directory = path.parent().map(|directory| Access::Write(directory.into()));
        let plan = Plan { files: directory.into_iter().collect(), ..Plan::default() };
        return run_command("aw-sqlite", &rings, owner(&path), &plan, || {
            let names = names.map_err(failed)?;
            forget_names(&path, &table.unwrap_or_else(ViewName::of_database), (devices, &names))
        });
    }
    if let Some(Command::Import { file }) = command {
        // A database of addrwatch is opened later, with the log beside it.
        let source = std::path::absolute(&file).ok().filter(|_| file != Path::new("-"));
        let source = source.as_deref().map_or(Vec::new(), source_access);
        let files: Vec<_> = [files, source].concat();
        let plan = Plan { files, ..Plan::default() };
        return import("aw-sqlite", &rings, &file, owner(&path), &plan, || {
            SqliteTarget::open(path.clone(), &table.unwrap_or_else(ViewName::of_database))
        });
    }
    let spool = Some(spool);
    let (linger, interval, batch) = (LINGER, commit_interval, BATCH);
    let plan = Plan { files, linger, interval, batch, spool, ..Plan::default() };
    let (view, once) = (table.unwrap_or_default(), rings.once);
    let settings = DatabaseSettings { path, view, retention, raw_days, once };
    #[cfg(feature = "stream")]
    if let Some(stream) = options.stream.source(&rings, &plan) {
        return stream.run("aw-sqlite", settings, SqliteSink::check, SqliteSink::new);
    }
    if rings.check {
        return check("aw-sqlite", &rings, &plan, || SqliteSink::check(settings));
    }
    run("aw-sqlite", &rings, &plan, || {
        let names = NameFollower::new(&rings, &plan)?;
        Ok(SqliteSink::new(settings)?.with_names(names, commit_interval))
    })
}

/// The names that a user gave, if they are needed.
fn named_devices(devices: &[Device]) -> Result<Names, String> {
    let path = Path::new(NAMES_FILE);
    let has_name = devices.iter().any(|device| matches!(device, Device::Name(_)));
    if has_name && path.exists() { read_names(path) } else { Ok(Names::new()) }
}

/// The database that is named, or that of the service if no directory of state is named, or else the usual one.
fn database_of(
    named: Option<PathBuf>,
    state: &Path,
    of_service: impl FnOnce() -> Option<PathBuf>,
) -> PathBuf {
    let is_usual = state == state_directory();
    let of_service = || if is_usual { of_service() } else { None };
    named.or_else(of_service).unwrap_or_else(|| state.join("addrwatch.db"))
}

/// What an import reads: the directory of a file, in which the log of a database lies. In the root directory the files themselves.
fn source_access(path: &Path) -> Vec<Access> {
    match path.parent().filter(|directory| directory.parent().is_some()) {
        Some(directory) => vec![Access::Read(directory.into())],
        None => {
            let file = |end: &str| {
                let mut name = path.as_os_str().to_owned();
                name.push(end);
                Access::Read(name.into())
            };
            ["", "-wal", "-shm"].map(file).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_of_a_file_in_the_root_directory() {
        let read = |paths: &[&str]| -> Vec<Access> {
            paths.iter().map(|path| Access::Read(path.into())).collect()
        };
        assert_eq!(source_access(Path::new("/srv/a.db")), read(&["/srv"]));
        assert_eq!(source_access(Path::new("/a.db")), read(&["/a.db", "/a.db-wal", "/a.db-shm"]));
    }

    /// Also where the program has a directory of its own, as packages make it.
    #[test]
    fn an_import_is_into_the_database_of_the_service() {
        let of_service = || Some("/srv/a.db".into());
        let usual = state_directory();
        assert_eq!(database_of(None, &usual, of_service), Path::new("/srv/a.db"));
        assert_eq!(database_of(None, &usual, || None), usual.join("addrwatch.db"));
        let other = Path::new("/x");
        assert_eq!(database_of(None, other, of_service), Path::new("/x/addrwatch.db"));
        assert_eq!(database_of(Some("b.db".into()), &usual, of_service), Path::new("b.db"));
    }

    #[test]
    fn days() {
        for (text, days) in [("90", 90), ("90d", 90), ("12w", 84), ("48h", 2), ("36500", 36_500)] {
            assert_eq!(parse_days(text), Ok(days), "{text}");
        }
        for bad in ["", "0", "0d", "36501", "30h", "90x", "-1", "1y", "99999999999999999999"] {
            assert!(parse_days(bad).is_err(), "{bad}");
        }
    }
}
