//! The columns of a row of the server, and conditions on them.

use aw_mysql::Row;
use shm_layout::{Evidence, MacAddr, UnixTime};

use crate::history_reader::{TimeRange, evidence_in_frame};

pub const NANOS: i64 = 1_000_000_000;

/// The bytes of a column; none if it is null or missing.
pub fn bytes(row: &Row, column: usize) -> &[u8] {
    row.get(column).and_then(Option::as_deref).unwrap_or_default()
}

pub fn text(row: &Row, column: usize) -> String {
    String::from_utf8_lossy(bytes(row, column)).into_owned()
}

/// A number without its fraction.
pub fn number(row: &Row, column: usize) -> Option<i64> {
    let text = std::str::from_utf8(bytes(row, column)).ok()?;
    text.split('.').next()?.parse().ok()
}

pub fn origin(row: &Row, column: usize, source: Option<MacAddr>) -> Evidence {
    evidence_in_frame(number(row, column).unwrap_or(i64::MAX), source)
}

pub fn mac_address(row: &Row, column: usize) -> Option<MacAddr> {
    bytes(row, column).try_into().ok().map(MacAddr::new)
}

pub fn time(row: &Row, column: usize) -> Option<UnixTime> {
    Some(UnixTime::from_nanos(number(row, column)?.checked_mul(NANOS)?))
}

/// A condition on the time of a sighting: see [`times_of`].
pub fn times(range: TimeRange) -> String {
    times_of("tstamp", range)
}

/// A condition on the time in a column, to be added to others. A stored time is a whole second. A limit that the server
/// cannot store is omitted, because comparisons with it fail.
pub fn times_of(column: &str, range: TimeRange) -> String {
    // The first second that begins at this time or later.
    let second = |time: UnixTime| {
        let nanos = time.as_nanos();
        nanos.div_euclid(NANOS) + i64::from(nanos.rem_euclid(NANOS) > 0)
    };
    let mut text = String::new();
    let from = second(range.from);
    if from > 0 {
        text += &format!(" AND {column} >= from_unixtime({})", from.min(i32::MAX.into()));
    }
    match second(range.to) {
        ..=0 => text += " AND FALSE",
        to if to <= i32::MAX.into() => text += &format!(" AND {column} < from_unixtime({to})"),
        _ => {}
    }
    text
}
