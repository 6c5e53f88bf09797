//! `aw-query export`: prints the whole history as lines that `aw-sqlite import` and `aw-mysql import` read. A history may
//! have millions of rows and be written meanwhile, so lines are printed as they are read, a buffer at a time.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use aw_output::{HistoryChange, HistoryCount, HistoryLine, HistorySighting};
use aw_service::{Error, count_of, info, warn};
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
    /// There are rows that no line can have.
    has_foreign: bool,
    reported: Instant,
}

impl Exporter {
    fn new(range: TimeRange) -> Exporter {
        let (buffer, reported) = (Vec::with_capacity(BUFFER + 4096), Instant::now());
        Exporter { range, buffer, buffered: 0, printed: 0, has_foreign: false, reported }
    }

    pub fn sighting(&mut self, sighting: HistorySighting) {
        self.line(&HistoryLine::Sighting(sighting));
    }

    pub fn change(&mut self, change: HistoryChange) {
        self.line(&HistoryLine::Change(change));
    }

    /// Notes a row that has no address, no MAC or another value that no line can have.
    pub fn skip(&mut self) {
        self.has_foreign = true;
    }

    fn line(&mut self, line: &HistoryLine) {
        match line.write(&mut self.buffer) {
            Some(()) => self.buffered += 1,
            None => self.skip(),
        }
    }

    /// Whether it is time to print.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER
    }

    /// Forgets what is not printed: the history changed while it was read.
    pub fn discard(&mut self) {
        self.buffer.clear();
        self.buffered = 0;
    }

    /// Prints the lines.
    pub fn print(&mut self) -> Result<(), Error> {
        let printed = io::stdout().lock().write_all(&self.buffer);
        printed.map_err(|error| Error::write("standard output", error))?;
        self.printed += self.buffered;
        self.discard();
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            info(format_args!("{} lines exported", self.printed));
        }
        Ok(())
    }
}

/// Counts rows that look the same in tables with whole seconds. They come in the order of time.
#[derive(Clone)]
pub struct NthOfSecond<K> {
    second: i64,
    seen: Vec<(K, u64)>,
}

impl<K> Default for NthOfSecond<K> {
    fn default() -> Self {
        NthOfSecond { second: i64::MIN, seen: Vec::new() }
    }
}

impl<K: PartialEq> NthOfSecond<K> {
    /// The counts of a line for `count` rows that look so, in a second.
    pub fn next(&mut self, second: i64, looks: K, count: u64) -> HistoryCount {
        if self.second != second {
            (self.second, self.seen) = (second, Vec::new());
        }
        match self.seen.iter_mut().find(|(seen, _)| *seen == looks) {
            Some((_, before)) => {
                let nth = *before + 1;
                *before += count;
                HistoryCount { count, nth }
            }
            None => {
                self.seen.push((looks, count));
                HistoryCount { count, nth: 1 }
            }
        }
    }
}

/// How much of a database is printed. Its reader begins again there when the writer has changed what was read.
#[derive(Default)]
pub struct ExportPosition {
    /// The groups before this one are printed; None: nothing is.
    pub group: Option<ExportGroup>,
    /// The time of that group from which on rows are missing.
    pub from: UnixTime,
    /// The rows before that in its second, by origin.
    pub nth: NthOfSecond<i64>,
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

/// Prints the history.
pub fn export(options: &Options, range: TimeRange) -> Result<(), Error> {
    let mut exporter = Exporter::new(range);
    exporter.line(&HistoryLine::Begin);
    exporter.print()?;
    let mut position = ExportPosition::default();
    loop {
        let mut history = open(options)?;
        let done = history.export(&mut exporter, &mut position);
        match history.is_intact()? {
            false => exporter.discard(),
            true if done? => break,
            true => {} // it changed, and what was not printed is read again
        }
    }
    exporter.print()?;
    let lines = exporter.printed - 1;
    exporter.line(&HistoryLine::End(lines));
    exporter.print()?;
    info(count_of(lines, "line exported", "lines exported"));
    if exporter.has_foreign {
        warn(
            "some rows are not exported: another program wrote values that are no address, MAC or name",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_a_second() {
        let mut nth = NthOfSecond::default();
        let mut next = |second, origin, count| {
            let HistoryCount { count, nth } = nth.next(second, origin, count);
            (count, nth)
        };
        assert_eq!(next(5, 0, 1), (1, 1));
        assert_eq!(next(5, 0, 2), (2, 2));
        assert_eq!(next(5, 1, 1), (1, 1));
        assert_eq!(next(5, 0, 1), (1, 4));
        assert_eq!(next(6, 0, 1), (1, 1));
    }
}
