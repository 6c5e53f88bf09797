//! From which table a question about a time range is answered: whole days from `pairing_day`, which has a row for each pairing and day,
//! and the parts of days at both ends of the range from `log`.

use aw_clickhouse::{LAST_DAY, NANOS_OF_DAY, day};
use shm_layout::UnixTime;

use super::{
    ClickhouseReader,
    columns::{SeenSource, times},
};
use crate::history_reader::TimeRange;

/// A time range in days.
#[derive(Debug, PartialEq, Eq)]
pub struct Days {
    /// The first and the last one that lie in it completely.
    pub whole: Option<(i64, i64)>,
    /// The parts of others.
    pub cut: Vec<TimeRange>,
}

/// The times of a day.
pub fn day_range(day: i64) -> TimeRange {
    let begin = |day| UnixTime::from_nanos(day * NANOS_OF_DAY);
    TimeRange {
        from: if day == 0 { TimeRange::ALL.from } else { begin(day) },
        to: if day == LAST_DAY { TimeRange::ALL.to } else { begin(day + 1) },
    }
}

/// The days that have a part of the range.
pub fn days_of(range: TimeRange) -> (i64, i64) {
    (day(range.from), day(UnixTime::from_nanos(range.to.as_nanos().saturating_sub(1))))
}

impl Days {
    pub fn of(range: TimeRange) -> Days {
        let (first, last) = days_of(range);
        let (begin, end) = (day_range(first), day_range(last));
        let is_begin_whole = range.from <= begin.from;
        let is_end_whole = range.to >= end.to;
        let mut cut = Vec::new();
        if range.from >= range.to || first == last && !(is_begin_whole && is_end_whole) {
            return Days { whole: None, cut: vec![range] };
        }
        if !is_begin_whole {
            cut.push(TimeRange { to: begin.to, ..range });
        }
        if !is_end_whole {
            cut.push(TimeRange { from: end.from, ..range });
        }
        let whole = (first + i64::from(!is_begin_whole), last - i64::from(!is_end_whole));
        Days { whole: Some(whole).filter(|(first, last)| first <= last), cut }
    }
}

/// The condition that a row is of these days.
pub fn of_days((first, last): (i64, i64)) -> String {
    let date = |day| format!("toDate(toUInt16({day}))");
    match (first, last) {
        (0, LAST_DAY) => String::new(),
        (first, LAST_DAY) => format!(" AND day >= {}", date(first)),
        (first, last) => format!(" AND day >= {} AND day <= {}", date(first), date(last)),
    }
}

/// The rows of `pairing_day` for which a condition is true, of which few are: the other columns are read of these only.
fn rows_of(pairing_day: &str, condition: &str) -> String {
    match condition {
        "1" => format!("{pairing_day} WHERE 1"),
        condition => format!("{pairing_day} PREWHERE {condition} WHERE 1"),
    }
}

impl ClickhouseReader {
    /// Rows with columns, `first_time` and `last_time`, which together have the first and the last time of all sightings in a range.
    pub(super) fn seen(
        &self,
        range: TimeRange,
        SeenSource { columns, condition }: SeenSource,
    ) -> String {
        let (log, pairing_day) = (self.table("log"), self.table("pairing_day"));
        let Days { whole, cut } = Days::of(range);
        let mut parts = Vec::new();
        if let Some(whole) = whole {
            let (days, from) = (of_days(whole), rows_of(&pairing_day, condition));
            parts.push(format!(
                "SELECT {columns}, finalizeAggregation(first) AS first_time, finalizeAggregation(last) AS last_time
                FROM {from}{days}"
            ));
        }
        for part in cut {
            let (times, days) = (times("time", part), of_days(days_of(part)));
            // The order of `log` is by address.
            let addresses = match condition {
                "1" => String::new(),
                _ => format!(
                    " AND ip IN (SELECT DISTINCT ip FROM {pairing_day} WHERE {condition}{days})"
                ),
            };
            parts.push(format!(
                "SELECT {columns}, time AS first_time, time AS last_time
                FROM {log} WHERE {condition}{times}{addresses}"
            ));
        }
        format!("({})", parts.join(" UNION ALL "))
    }

    /// Rows with addresses and origins of sightings in a range, which has some. If it is of several days, the first or the last time of
    /// a day shows whether there is one: the range has the begin of its days or the end.
    pub(super) fn seen_in(&self, range: TimeRange, condition: &str) -> String {
        let days @ (first, last) = days_of(range);
        if first == last {
            return self.seen(range, SeenSource { columns: "ip, origin", condition });
        }
        let (from, of_days) = (rows_of(&self.table("pairing_day"), condition), of_days(days));
        let since = TimeRange { to: TimeRange::ALL.to, ..range };
        let until = TimeRange { from: TimeRange::ALL.from, ..range };
        let in_range =
            times("finalizeAggregation(last)", since) + &times("finalizeAggregation(first)", until);
        format!("(SELECT ip, origin FROM {from}{of_days}{in_range})")
    }
}
