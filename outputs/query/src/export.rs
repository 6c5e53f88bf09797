//! `aw-query export`: prints the whole history as lines that `aw-sqlite import` and `aw-mysql import` read. A history may
//! have millions of rows and be written meanwhile, so lines are printed as they are read, a buffer at a time.

use std::{
    collections::HashMap,
    hash::Hash,
    io::{self, Write},
    time::{Duration, Instant},
};

use aw_output::{HistoryChange, HistoryCount, HistoryLine, HistoryName, HistorySighting};
use aw_service::{Error, count_of, failed, info};
use shm_layout::UnixTime;

use crate::{history_reader::TimeRange, open, options::Options};

/// Bytes of lines that are printed at once.
const BUFFER: usize = 1 << 20;
/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Collects lines, and prints them when it is known that they are of one state of the history.
pub struct Exporter {
    pub range: TimeRange,
    /// Lines that are not printed yet, and their number.
    buffer: Vec<u8>,
    buffered: u64,
    printed: u64,
    /// Pairings that no line can have, of the reader's last pass, and rows, with those since the last print.
    left_out_pairings: u64,
    left_out: u64,
    left_out_now: u64,
    /// What the first of them is.
    first_left_out: Option<String>,
    reported: Instant,
}

impl Exporter {
    fn new(range: TimeRange) -> Exporter {
        Exporter {
            range,
            buffer: Vec::with_capacity(BUFFER + 4096),
            buffered: 0,
            printed: 0,
            left_out_pairings: 0,
            left_out: 0,
            left_out_now: 0,
            first_left_out: None,
            reported: Instant::now(),
        }
    }

    pub fn sighting(&mut self, sighting: HistorySighting) {
        self.rows(HistoryLine::Sighting(sighting));
    }

    pub fn change(&mut self, change: HistoryChange) {
        self.rows(HistoryLine::Change(change));
    }

    pub fn name(&mut self, name: HistoryName) {
        self.rows(HistoryLine::Name(name));
    }

    /// Begins to read pairings from the first one on.
    pub fn begin_pairings(&mut self) {
        self.left_out_pairings = 0;
    }

    /// Notes a pairing whose address or MAC is none, with all its sightings.
    pub fn leave_out_pairing(&mut self, id: i64) {
        self.left_out_pairings += 1;
        self.first_left_out.get_or_insert_with(|| format!("pairing {id}"));
    }

    /// Notes rows with a value that no line can have.
    pub fn leave_out(&mut self, rows: u64, what: impl FnOnce() -> String) {
        self.left_out_now += rows;
        self.first_left_out.get_or_insert_with(what);
    }

    fn rows(&mut self, mut line: HistoryLine) {
        for times in line.times().into_iter().flat_map(HistoryCount::parts) {
            line.set_times(times);
            match line.write(&mut self.buffer) {
                Some(()) => self.buffered += 1,
                None => self.leave_out(times.count, || named(&line)),
            }
        }
    }

    /// Prints the first or the last line.
    fn print_mark(&mut self, line: &HistoryLine) -> Result<(), Error> {
        line.write(&mut self.buffer).ok_or(Error::Closed)?; // they always can be
        self.print()
    }

    /// Whether it is time to print.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER
    }

    /// Forgets what is not printed: the history changed while it was read.
    pub fn discard(&mut self) {
        self.buffer.clear();
        (self.buffered, self.left_out_now) = (0, 0);
    }

    /// Prints the lines.
    pub fn print(&mut self) -> Result<(), Error> {
        let printed = io::stdout().lock().write_all(&self.buffer);
        printed.map_err(|error| Error::write("standard output", error))?;
        self.printed += self.buffered;
        self.left_out += self.left_out_now;
        self.discard();
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            info(format_args!("{} lines exported", self.printed));
        }
        Ok(())
    }
}

/// A row, for a message.
fn named(line: &HistoryLine) -> String {
    let (place, time, what) = match line {
        HistoryLine::Sighting(sighting) => {
            let HistorySighting { place, time, mac, ip, .. } = sighting;
            (place, time, format!("{mac} with {ip}"))
        }
        HistoryLine::Change(HistoryChange { place, time, user, .. }) => {
            (place, time, format!("a change by {:?}", start_of(user)))
        }
        HistoryLine::Name(HistoryName { place, mac, claimed, .. }) => {
            (place, &claimed.first, format!("a name of {mac}"))
        }
        HistoryLine::Begin | HistoryLine::End(_) => return String::new(),
    };
    let [host, interface] = [&place.host, &place.interface].map(|name| start_of(name));
    format!("{what} at @{} of host {host:?}, interface {interface:?}", time.seconds())
}

/// The first characters of a name, for a message: it may have any length.
pub fn start_of(name: &str) -> &str {
    &name[..name.floor_char_boundary(80)]
}

/// Counts rows that look the same in tables with whole seconds. They come in the order of time.
#[derive(Clone)]
pub struct NthOfSecond<K> {
    second: i64,
    seen: HashMap<K, u64>,
}

impl<K> Default for NthOfSecond<K> {
    fn default() -> Self {
        NthOfSecond { second: i64::MIN, seen: HashMap::new() }
    }
}

impl<K: Eq + Hash> NthOfSecond<K> {
    /// The counts of a line for `count` rows that look so, in a second.
    pub fn next(&mut self, second: i64, looks: K, count: u64) -> HistoryCount {
        if self.second != second {
            (self.second, self.seen) = (second, HashMap::new());
        }
        let seen = self.seen.entry(looks).or_default();
        let nth = *seen + 1;
        *seen += count;
        HistoryCount { count, nth, before: 0 }
    }
}

/// A span: its pairing, its first and its last time, and its number of sightings.
pub type PrintedSpan = (i64, UnixTime, UnixTime, u64);

/// How much of a database is printed. Its reader begins again there when the writer has changed what was read.
#[derive(Default)]
pub struct ExportPosition {
    /// The groups before this one are printed; None: nothing is.
    pub group: Option<ExportGroup>,
    /// The time of that group from which on rows are missing.
    pub from: UnixTime,
    /// The rows before that in its second, by origin.
    pub nth: NthOfSecond<i64>,
    /// The spans of that group that are printed and end later.
    pub spans: Vec<PrintedSpan>,
    /// All sightings are printed, and of the changes those before this time.
    pub changes_from: Option<UnixTime>,
}

/// What pairings have in common that MySQL's tables do not distinguish: address, MAC, VLAN, interface, host, and the MAC
/// that sent the frames. Exports are in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExportGroup {
    pub address: Vec<u8>,
    pub mac: i64,
    pub vlan: i64,
    pub interface: String,
    pub host: String,
    pub source: i64,
}

/// Prints the history. A part of it has whole seconds: the numbers of rows are those within their second.
pub fn export(options: &Options, range: TimeRange) -> Result<(), Error> {
    let mut exporter = Exporter::new(whole_seconds(range));
    exporter.print_mark(&HistoryLine::Begin)?;
    let mut position = ExportPosition::default();
    loop {
        let mut history = open(options)?;
        match history.export(&mut exporter, &mut position) {
            Ok(true) => break,
            // It changed, and what was not printed is read again.
            Ok(false) => exporter.discard(),
            Err(_) if !history.is_intact()? => exporter.discard(),
            Err(error) => return Err(error),
        }
    }
    exporter.print()?;
    let lines = exporter.printed;
    exporter.print_mark(&HistoryLine::End(lines))?;
    info(count_of(lines, "line exported", "lines exported"));
    let Exporter { left_out_pairings: pairings, left_out: rows, first_left_out, .. } = exporter;
    let first = first_left_out.unwrap_or_default();
    let what = match (pairings, rows) {
        (0, 0) => return Ok(()),
        (0, rows) => count_of(rows, "row is", "rows are"),
        (pairings, 0) => count_of(pairings, "pairing is", "pairings are"),
        (pairings, rows) => {
            let pairings = count_of(pairings, "pairing", "pairings");
            format!("{pairings} and {} are", count_of(rows, "row", "rows"))
        }
    };
    Err(failed(format_args!(
        "export: {what} left out, the first is {first}: another program wrote values that no event has (all others are exported)"
    )))
}

/// The range, from the begin of its first second to the end of its last one.
fn whole_seconds(TimeRange { from, to }: TimeRange) -> TimeRange {
    const SECOND: i64 = 1_000_000_000;
    let [from, to] = [from, to].map(UnixTime::as_nanos);
    let from = from.div_euclid(SECOND).saturating_mul(SECOND);
    let to = match to.rem_euclid(SECOND) {
        0 => to,
        rest => to.saturating_add(SECOND - rest),
    };
    TimeRange { from: UnixTime::from_nanos(from), to: UnixTime::from_nanos(to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_a_second() {
        let mut nth = NthOfSecond::default();
        let mut next = |second, origin, count| {
            let HistoryCount { count, nth, .. } = nth.next(second, origin, count);
            (count, nth)
        };
        assert_eq!(next(5, 0, 1), (1, 1));
        assert_eq!(next(5, 0, 2), (2, 2));
        assert_eq!(next(5, 1, 1), (1, 1));
        assert_eq!(next(5, 0, 1), (1, 4));
        assert_eq!(next(6, 0, 1), (1, 1));
    }

    /// A hostile host can make many users in a second.
    #[test]
    fn many_within_a_second() {
        let mut nth = NthOfSecond::default();
        for _ in 0..2 {
            (0..200_000).for_each(|looks| _ = nth.next(5, looks, 1));
        }
        assert_eq!(nth.next(5, 7, 1).nth, 3);
    }

    #[test]
    fn parts_have_whole_seconds() {
        let range = |from, to| {
            let [from, to] = [from, to].map(UnixTime::from_nanos);
            whole_seconds(TimeRange { from, to })
        };
        let nanos = |range: TimeRange| (range.from.as_nanos(), range.to.as_nanos());
        for (from, to, expected) in [
            (1_500_000_000, 3_000_000_001, (1_000_000_000, 4_000_000_000)),
            (2_000_000_000, 3_000_000_000, (2_000_000_000, 3_000_000_000)),
            (-1, -999_999_999, (-1_000_000_000, 0)),
            (i64::MIN, i64::MAX, (i64::MIN, i64::MAX)),
        ] {
            assert_eq!(nanos(range(from, to)), expected);
        }
    }
}
