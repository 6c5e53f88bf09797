//! How much is read about claims in frames of other MACs: anybody can send them, for any address and at any time, and they
//! make no answer slow.

use std::net::IpAddr;

use aw_service::Error;
use shm_layout::UnixTime;

use crate::{
    history_reader::{HistoryReader, TimeRange},
    periods::KEPT_WITHIN,
};

/// Sightings that are read in all.
const SIGHTINGS: u64 = 2_000_000;
/// One address gets at most this part of what is left: so the others do not go short.
const SHARE: u64 = 8;
/// The queries about an address and a time take as long as so many sightings.
const QUERIES: u64 = 500;

/// From, to: both are included.
pub type Span = (UnixTime, UnixTime);

/// What may still be read.
#[derive(Debug)]
pub struct ReadLimit {
    left: u64,
}

impl Default for ReadLimit {
    fn default() -> ReadLimit {
        ReadLimit { left: SIGHTINGS }
    }
}

impl ReadLimit {
    /// Whether what an address has in these times may be read. To find that out is counted, too.
    pub fn allows(
        &mut self,
        history: &mut dyn HistoryReader,
        ip: IpAddr,
        windows: &[TimeRange],
    ) -> Result<bool, Error> {
        let share = self.left / SHARE;
        let mut needed = 0;
        for window in windows {
            needed += QUERIES;
            if needed <= share {
                needed += history.weight(ip, *window, share - needed + 1)?;
            }
        }
        self.left -= needed.min(share);
        Ok(needed <= share)
    }
}

/// The times in which all lies that decides whether sightings in these spans count, within a time range.
pub fn windows(mut spans: Vec<Span>, range: TimeRange) -> Vec<TimeRange> {
    for (first, last) in &mut spans {
        *first = UnixTime::from_nanos(first.as_nanos().saturating_sub(KEPT_WITHIN));
        *last = UnixTime::from_nanos(last.as_nanos().saturating_add(KEPT_WITHIN + 1));
    }
    merge(&mut spans);
    let window = |(from, to): Span| TimeRange { from: from.max(range.from), to: to.min(range.to) };
    spans.into_iter().map(window).collect()
}

/// How long that is, in nanoseconds.
pub fn held(first: UnixTime, last: UnixTime) -> i64 {
    last.as_nanos().saturating_sub(first.as_nanos())
}

/// Sorts them, and joins those that overlap.
pub fn merge(spans: &mut Vec<Span>) {
    spans.sort_unstable();
    spans.dedup_by(|next, span| {
        let overlaps = next.0 <= span.1;
        if overlaps {
            span.1 = span.1.max(next.1);
        }
        overlaps
    });
}

#[cfg(test)]
mod tests;
