//! `aw-sqlite import FILE` of a database that the older program addrwatch wrote: its rows are added to the service's database as
//! those of an export are, and FILE stays as it is.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::Path,
    time::{Duration, Instant},
};

use aw_database::Snapshot;
use aw_output::{
    Error, HistoryCount, HistoryLine, HistoryPlace, HistorySighting, HistoryTarget, failed, info,
    this_host,
};
use aw_service::{FileKind, count_of, open_file, user_name};
use rusqlite::Connection;
use shm_layout::UnixTime;

use crate::{
    legacy_import::{LegacyRow, parse_row, select},
    schema,
};

/// Lines of a transaction: it takes some tens of milliseconds, and aw-sqlite writes between two.
const BATCH: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(10);
/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Rows so far, by what became of them.
struct Progress {
    read: u64,
    rows: u64,
    added: u64,
    /// Sightings that compact rows count without their times.
    undated: u64,
    left: u64,
    first_left: String,
    reported: Instant,
}

/// Adds the rows of all tables of addrwatch in this file.
pub fn import(path: &Path, program: &str, target: &mut impl HistoryTarget) -> Result<(), Error> {
    let shown = path.display();
    let fault = |why: String| failed(format_args!("import {shown}: {why}"));
    let sqlite = |error: rusqlite::Error| fault(error.to_string());
    // Another user opened it before, to see what it is.
    if let Err(error) = open_file(path, FileKind::Settings)
        && error.kind() == ErrorKind::PermissionDenied
    {
        let user = user_name();
        return Err(fault(format!(
            "permission denied: it is read as {user}, the user of the database (make a copy for that user: install -m 600 -o {user} {shown} /var/lib/addrwatch/import.db; import that, and remove it)"
        )));
    }
    let snapshot = Snapshot::open(path).map_err(sqlite)?;
    if schema::has_our_id(&snapshot.database).map_err(sqlite)? {
        return Err(fault(format!(
            "line 1: it is a database: aw-query --database {shown} export | {program} -"
        )));
    }
    let tables = schema::addrwatch_tables(&snapshot.database).map_err(sqlite)?;
    if tables.is_empty() {
        return Err(fault("it has no table of addrwatch, nor of aw-sqlite".into()));
    }
    let (first_left, reported) = (String::new(), Instant::now());
    let mut done =
        Progress { read: 0, rows: 0, added: 0, undated: 0, left: 0, first_left, reported };
    for table in &tables {
        let mut lines = Lines::default();
        let mut last = i64::MIN;
        loop {
            let more = read(&snapshot.database, table, &mut last, &mut lines, &mut done);
            let more = more.map_err(sqlite)?;
            if !snapshot.is_intact().map_err(sqlite)? {
                return Err(fault(
                    "another program writes to it (stop addrwatch, and import again: no row is added twice)".into(),
                ));
            }
            let batch = lines.take(!more);
            done.added += target.add(&batch)?;
            if done.reported.elapsed() >= REPORT_EVERY {
                done.reported = Instant::now();
                info(done.text());
            }
            if !more {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    info(done.text());
    if done.undated > 0 {
        info(format_args!(
            "addrwatch's table was compact: the first and the last sighting of each row are imported; the times of {} sightings between them are not in the table",
            done.undated
        ));
    }
    match done.left {
        0 => Ok(()),
        left => Err(fault(format!(
            "{} not in addrwatch's format and not imported; the first one is {}; all others are imported",
            count_of(left, "row is", "rows are"),
            done.first_left
        ))),
    }
}

impl Progress {
    fn text(&self) -> String {
        let known = self.rows.saturating_sub(self.added);
        let read = count_of(self.read, "row", "rows");
        let added = count_of(self.added, "sighting", "sightings");
        format!("{read} of addrwatch's table read: {added} added, {known} were there already")
    }
}

/// Reads the next rows. Returns true if there may be more.
fn read(
    database: &Connection,
    table: &str,
    last: &mut i64,
    lines: &mut Lines,
    done: &mut Progress,
) -> rusqlite::Result<bool> {
    let is_compact = schema::is_compact(database, table)?;
    let mut select = database.prepare_cached(&select(table, is_compact))?;
    let mut rows = select.query([*last, BATCH as i64])?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        read += 1;
        *last = row.get(0)?;
        match parse_row(row)? {
            Ok(row) => {
                done.undated = done.undated.saturating_add(row.undated);
                done.rows += 1 + u64::from(row.first.is_some());
                lines.add(row);
            }
            Err(why) => {
                if done.left == 0 {
                    done.first_left = format!("of table {table}, rowid {last}: {why}");
                }
                done.left += 1;
            }
        }
    }
    done.read += read as u64;
    Ok(read == BATCH)
}

/// Lines for the rows, each with the number of those that are equal: addrwatch writes them in the order of time, so that equal
/// ones are among those of one second.
#[derive(Default)]
struct Lines {
    complete: Vec<HistoryLine>,
    second: i64,
    /// Of this second, by what is equal in them.
    equal: BTreeMap<(String, i64, [u8; 6], String, u8), HistorySighting>,
}

impl Lines {
    fn add(&mut self, row: LegacyRow) {
        let is_one_time = row.first == Some(row.sighting.time);
        if let Some(first) = row.first.filter(|_| !is_one_time) {
            let times = HistoryCount { count: 1, nth: 1, before: 0 };
            let sighting = HistorySighting { times, ..sighting(&row, first) };
            self.complete.push(HistoryLine::Sighting(sighting));
        }
        let time = row.sighting.time;
        if time != self.second {
            self.complete_second();
            self.second = time;
        }
        let of_row = sighting(&row, time);
        let LegacyRow { sighting, interface, vlan, ip, .. } = row;
        let key = (interface, vlan, sighting.mac.octets(), ip, sighting.origin);
        self.equal.entry(key).or_insert(of_row).times.count += 1 + u64::from(is_one_time);
    }

    fn complete_second(&mut self) {
        let equal = std::mem::take(&mut self.equal).into_values();
        self.complete.extend(equal.map(HistoryLine::Sighting));
    }

    /// Those that are complete; at the end, all.
    fn take(&mut self, is_end: bool) -> Vec<HistoryLine> {
        if is_end {
            self.complete_second();
        }
        std::mem::take(&mut self.complete)
    }
}

/// As aw-sqlite has it: without a ring, and with this host, as addrwatch's table names none. It counts nothing yet.
fn sighting(row: &LegacyRow, time: i64) -> HistorySighting {
    let place = HistoryPlace {
        host: this_host(),
        interface: row.interface.clone(),
        vlan: row.vlan,
        ..HistoryPlace::default()
    };
    HistorySighting {
        place,
        time: UnixTime::from_nanos(time),
        mac: row.sighting.mac,
        ip: row.sighting.ip,
        source: None,
        origin: row.sighting.origin.into(),
        times: HistoryCount { count: 0, nth: 1, before: 0 },
        span: None,
    }
}
