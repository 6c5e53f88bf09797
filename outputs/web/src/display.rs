//! Cells and times as text of a page. The templates escape it; here control characters and reversals of direction are replaced.

use std::{collections::BTreeSet, sync::OnceLock, time::Duration};

use askama::Template;
use aw_query::{Cell, ResultTable};
use aw_service::{TimeSpan, plain};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::{MacAddr, UnixTime};

/// A time of a zone; one beyond the calendar is its end.
pub fn zoned(time: UnixTime, zone: &TimeZone) -> Zoned {
    let found = Timestamp::from_nanosecond(time.as_nanos().into());
    found.unwrap_or(Timestamp::MAX).to_zoned(zone.clone())
}

/// A time to the second, with the offset of its zone.
pub fn time(time: UnixTime, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// The same in RFC 3339, for programs.
pub fn rfc3339(time: UnixTime, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// A time with the day of the week, for a heading.
pub fn day_and_time(time: UnixTime, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()
}

/// A time to the second as the value of a parameter, which is the same in each zone.
pub fn absolute(time: UnixTime) -> String {
    zoned(time, &TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The same for a URL.
pub fn time_parameter(time: UnixTime) -> String {
    encoded(&absolute(time))
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

/// What the device of a row calls itself, with its source. It is a claim, and shown as one.
pub fn claim(table: &ResultTable, row: &[Cell]) -> Option<String> {
    let [name, source] = ["claimed_name", "name_source"].map(|name| text(table.cell(row, name)));
    Some(claimed(&name?, &source?))
}

/// The same of its parts.
pub fn claimed(name: &str, source: &str) -> String {
    format!("“{name}” ({source})")
}

static OWN_MACS: OnceLock<BTreeSet<MacAddr>> = OnceLock::new();

/// Reads the MACs of this machine, before access is dropped.
pub fn read_own_macs() {
    let _ = OWN_MACS.set(aw_output::own_macs());
}

/// Whether a MAC is of this machine.
pub fn is_own(mac: MacAddr) -> bool {
    OWN_MACS.get().is_some_and(|own| own.contains(&mac))
}

/// The path of the page of a device.
pub fn device_link(mac: &str) -> String {
    format!("/mac/{}", encoded(mac))
}

/// A text in which each MAC is a link to the page of its device.
#[derive(Template, Debug, PartialEq, Eq)]
#[template(path = "linked.html")]
pub struct Linked {
    parts: Vec<(String, Option<String>)>,
}

/// See [`Linked`].
pub fn linked(text: &str) -> Linked {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == ':';
    let mut parts: Vec<(String, Option<String>)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_word = rest.starts_with(is_part);
        let end = rest.find(|c| is_part(c) != is_word).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let name = word.trim_end_matches(':');
        let is_mac = name.len() == MAC && name.parse::<MacAddr>().is_ok();
        let (word, after) = if is_mac { rest.split_at(name.len()) } else { (word, after) };
        match (parts.last_mut(), is_mac) {
            (_, true) => parts.push((word.into(), Some(device_link(word)))),
            (Some((text, None)), false) => text.push_str(word),
            (_, false) => parts.push((word.into(), None)),
        }
        rest = after;
    }
    Linked { parts }
}

/// Characters of a MAC as answers have it.
const MAC: usize = 17;

/// Seconds in words.
pub fn seconds(seconds: i64) -> String {
    TimeSpan(Duration::from_secs(seconds.unsigned_abs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mac_is_a_link() {
        let html = |text: &str| linked(text).render().unwrap();
        let link = |mac: &str| {
            format!("<a class=\"mac\" href=\"/mac/{}\">{mac}</a>", mac.replace(':', "%3A"))
        };
        let (one, two) = ("02:00:00:00:00:01", "02:ab:cd:00:00:02");
        assert_eq!(
            html(&format!("sent by {one}, {two}: <b> é")),
            format!("sent by {}, {}: &#60;b&#62; é", link(one), link(two))
        );
        assert_eq!(html(one), link(one));
        for text in
            ["", "no MAC", "2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0001", "14:05:06"]
        {
            assert_eq!(html(text), text);
        }
    }

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
