//! `make bench`, the history's part: rows per second into SQLite compared with inserts by hand, and bytes per row on the disk
//! and written. This is no test: the results depend on the machine.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aw_tests::ring::Ring;
use clap::Parser;
use rusqlite::{Connection, params_from_iter, types::Value};

/// Prints the speed of aw-sqlite: medians, with the range of all runs.
#[derive(Parser)]
struct Options {
    /// Runs of each measurement
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// Events in each run of aw-sqlite, at most what a ring holds
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,

    /// Seconds in which the bytes written on a quiet network are counted
    #[arg(long, default_value_t = 20)]
    quiet: u64,

    /// Create the databases in DIR
    #[arg(long, default_value = ".")]
    directory: PathBuf,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let options = Options::parse();
    println!("history: medians of {} runs, lowest and highest in brackets", options.runs);
    for hosts in [500, 5_000, 50_000] {
        insert(&options, hosts)?;
    }
    quiet(&options)
}

/// aw-sqlite on a full ring; and by hand the same rows from memory, a thousand in a transaction: into the same table,
/// with each pairing known, and into addrwatch's table with indexes that answer the same questions.
fn insert(options: &Options, hosts: u32) -> Outcome<()> {
    let directory = tempfile::tempdir_in(&options.directory)?;
    let ring = Ring::new();
    let events = options.events.next_power_of_two();
    fill(directory.path(), &ring, &["--frames", &(events * 5 / 4).to_string()], hosts, events)?;
    let mut figures = vec![Vec::new(); 6];
    for _ in 0..options.runs {
        let database = directory.path().join("ours.db");
        remove(&database);
        let begin = Instant::now();
        run(sqlite(&ring, directory.path(), &database).arg("--once").args(["--from", "oldest"]))?;
        let seconds = begin.elapsed().as_secs_f64();
        let history = Connection::open(&database)?;
        let rows = "SELECT count(*) FROM addrwatch";
        let rows: i64 = history.query_row(rows, [], |row| row.get(0))?;
        figures[0].push(rows as f64 / seconds);
        let by_hand = |sql: [&str; 3]| by_hand(&history, &directory.path().join("hand.db"), sql);
        let ours = by_hand(OURS)?;
        let theirs = by_hand(THEIRS)?;
        let found = [rows as f64 / seconds, ours, theirs];
        let bytes = fs::metadata(&database)?.len() as f64 / rows as f64;
        let values = [found[0], ours, theirs, found[0] / ours, found[0] / theirs, bytes];
        figures.iter_mut().zip(values).for_each(|(figure, value)| figure.push(value));
    }
    println!("{} events, {hosts} hosts with two addresses each:", events);
    row("aw-sqlite, start and end included", &figures[0], 1e-3, "1000 rows/s");
    row("by hand, the same tables", &figures[1], 1e-3, "1000 rows/s");
    row("by hand, addrwatch's table, two indexes", &figures[2], 1e-3, "1000 rows/s");
    row("aw-sqlite over the same tables", &figures[3], 100.0, "%");
    row("aw-sqlite over addrwatch's table", &figures[4], 100.0, "%");
    row("the database, pairings included", &figures[5], 1.0, "bytes/row");
    Ok(())
}

/// To make the tables, to read the rows, to insert one.
const OURS: [&str; 3] = [
    "CREATE TABLE sighting (pairing INTEGER, time INTEGER, origin INTEGER, again INTEGER,
        PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID",
    "SELECT pairing, time, origin, again, NULL, NULL FROM
        (SELECT pairing, time, origin, again FROM sighting UNION ALL SELECT pairing, slot - shift, origin, 0 FROM recent_sighting)
    ORDER BY time",
    "INSERT INTO sighting VALUES (?1, ?2, ?3, ?4)",
];
const THEIRS: [&str; 3] = [
    "CREATE TABLE addrwatch (timestamp INTEGER, interface TEXT, vlan_tag INTEGER, mac_address TEXT,
        ip_address TEXT, origin INTEGER);
    CREATE INDEX one ON addrwatch (ip_address, timestamp);
    CREATE INDEX two ON addrwatch (mac_address, timestamp)",
    "SELECT * FROM addrwatch ORDER BY timestamp",
    "INSERT INTO addrwatch VALUES (?, ?, ?, ?, ?, ?)",
];

/// Rows per second.
fn by_hand(from: &Connection, path: &Path, [make, select, insert]: [&str; 3]) -> Outcome<f64> {
    remove(path);
    let mut to = Connection::open(path)?;
    to.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal; PRAGMA cache_size = -32768",
    )?;
    to.execute_batch(make)?;
    let mut select = from.prepare(select)?;
    let rows = select.query_map([], |row| {
        let value = |column| row.get::<_, Value>(column);
        Ok([value(0)?, value(1)?, value(2)?, value(3)?, value(4)?, value(5)?])
    })?;
    let rows: Vec<[Value; 6]> = rows.collect::<Result<_, _>>()?;
    let begin = Instant::now();
    for rows in rows.chunks(1000) {
        let transaction = to.transaction()?;
        let mut insert = transaction.prepare_cached(insert)?;
        let columns = insert.parameter_count();
        for row in rows {
            insert.execute(params_from_iter(&row[..columns]))?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(rows.len() as f64 / begin.elapsed().as_secs_f64())
}

/// Bytes that reach the disk for each event at a low rate.
fn quiet(options: &Options) -> Outcome<()> {
    for rate in [1, 10, 100] {
        let directory = tempfile::tempdir_in(&options.directory)?;
        let ring = Ring::new();
        let database = directory.path().join("quiet.db");
        // A thousand rows of each pairing exist, so that each has its own pages.
        fill(directory.path(), &ring, &["--frames", "1250000"], 500, 1 << 20)?;
        run(sqlite(&ring, directory.path(), &database).arg("--once"))?;
        make(directory.path(), &["--frames", "100000", "--seed", "2"], 500)?;
        let capture = directory.path().join("bench.pcap");
        let mut collector = Command::new(binary("collector"))
            .args(["-q", "-m", ring.name(), "--max-rate", &rate.to_string(), "--read"])
            .arg(&capture)
            .stderr(Stdio::null())
            .spawn()?;
        let mut output =
            sqlite(&ring, directory.path(), &database).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_secs(2));
        let select = "SELECT sum(delivered) FROM account";
        let delivered = || -> Outcome<i64> {
            Ok(Connection::open(&database)?.query_row(select, [], |row| row.get(0))?)
        };
        let before = (written(output.id())?, delivered()?);
        std::thread::sleep(Duration::from_secs(options.quiet));
        let after = (written(output.id())?, delivered()?);
        collector.kill()?;
        collector.wait()?;
        output.kill()?;
        output.wait()?;
        let bytes = (after.0 - before.0) as f64;
        row(&format!("written at {rate} events/s"), &[bytes / options.quiet as f64], 1e-3, "kB/s");
        row("  for each event", &[bytes / (after.1 - before.1).max(1) as f64], 1e-3, "kB");
    }
    Ok(())
}

/// Bytes that a process caused to be written to a disk.
fn written(process: u32) -> Outcome<u64> {
    let io = fs::read_to_string(format!("/proc/{process}/io"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("no write_bytes")?.parse()?)
}

/// A capture of these hosts.
fn make(directory: &Path, frames: &[&str], hosts: u32) -> Outcome<PathBuf> {
    let capture = directory.join("bench.pcap");
    let hosts = hosts.to_string();
    let mut make = Command::new(binary("make-capture"));
    run(make.arg("bench").arg(&capture).args(frames).args(["--hosts", &hosts]))?;
    Ok(capture)
}

/// A ring full of events of these hosts.
fn fill(directory: &Path, ring: &Ring, frames: &[&str], hosts: u32, slots: u64) -> Outcome<()> {
    let capture = make(directory, frames, hosts)?;
    let mut collector = Command::new(binary("collector"));
    collector.args(["-q", "-m", ring.name(), "-L", &slots.to_string(), "--read"]).arg(&capture);
    run(&mut collector)
}

fn sqlite(ring: &Ring, directory: &Path, database: &Path) -> Command {
    let mut command = Command::new(binary("aw-sqlite"));
    command.args(["-m", ring.name(), "--state-dir"]).arg(directory.join("state"));
    command.arg("--database").arg(database);
    command
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", path.display()));
    }
}

/// A binary of this build: they lie beside this one.
fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}

fn run(command: &mut Command) -> Outcome<()> {
    let output = command.stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {message}").into());
    }
    Ok(())
}

fn row(name: &str, values: &[f64], scale: f64, unit: &str) {
    let mut values: Vec<f64> = values.iter().map(|value| value * scale).collect();
    values.sort_by(f64::total_cmp);
    let (low, median, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    println!("{name:44} {median:9.2} {unit:12} [{low:.2} .. {high:.2}]");
}
