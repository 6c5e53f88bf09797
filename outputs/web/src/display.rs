//! Cells and times as text of a page. The templates escape it; here control characters and reversals of direction are replaced.

use std::time::Duration;

use aw_query::Cell;
use aw_service::{TimeSpan, plain};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::UnixTime;

/// A time of a zone; one beyond the calendar is its end.
pub fn zoned(time: UnixTime, zone: &TimeZone) -> Zoned {
    let found = Timestamp::from_nanosecond(time.as_nanos().into());
    found.unwrap_or(Timestamp::MAX).to_zoned(zone.clone())
}

/// A time to the second, with the offset of its zone.
pub fn time(time: UnixTime, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// A time for a parameter of a URL, which reads it again.
pub fn time_parameter(time: UnixTime) -> String {
    let text = zoned(time, &TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    encoded(&text)
}

/// A value for a URL.
pub fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The text of a cell.
pub fn cell(cell: &Cell, zone: &TimeZone) -> String {
    match cell {
        Cell::None => "–".into(),
        Cell::Text(text) => plain(text),
        Cell::Number(number) => number.to_string(),
        Cell::Time(at) => time(*at, zone),
        Cell::List(list) if list.is_empty() => "–".into(),
        Cell::List(list) => list.iter().map(|text| plain(text)).collect::<Vec<_>>().join(" "),
    }
}

/// The text of a cell that has one.
pub fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(plain(text)),
        _ => None,
    }
}

/// Seconds in words.
pub fn seconds(seconds: i64) -> String {
    TimeSpan(Duration::from_secs(seconds.unsigned_abs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        assert_eq!(cell(&Cell::Time(UnixTime::new(0, 5)), &zone), "1970-01-01 01:00:00 +01:00");
        assert_eq!(cell(&Cell::text("a\u{1b}[2J\u{202e}<b>"), &zone), "a?[2J?<b>");
        assert_eq!(cell(&Cell::List(vec!["a".into(), "b".into()]), &zone), "a b");
        assert_eq!(time_parameter(UnixTime::new(0, 0)), "1970-01-01T00%3A00%3A00Z");
        assert_eq!(
            time(UnixTime::from_nanos(i64::MAX), &TimeZone::UTC),
            "2262-04-11 23:47:16 +00:00"
        );
    }
}
