//! What users write on the command line of aw-query.

use std::cell::LazyCell;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::time_expression::parse;

thread_local! {
    /// With days of 23 and 25 hours.
    static NOW: LazyCell<Zoned> = LazyCell::new(|| {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        Timestamp::UNIX_EPOCH.to_zoned(zone)
    });
}

/// Any text as a time: it is refused, or a range that does not end before it begins.
pub fn time(input: &[u8]) {
    if let Ok(range) = NOW.with(|now| parse(&String::from_utf8_lossy(input), now)) {
        assert!(range.from <= range.to, "{range:?}");
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("time", time);
}
