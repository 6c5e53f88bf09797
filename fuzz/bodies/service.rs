//! What all programs read: text files in any encoding, and values of options.

use std::cell::LazyCell;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::{
    ByteSize, HostPort, TextLines, TimeSpan, csv_fields, decode_text, parse_network, parse_time,
    split_name_line,
};

thread_local! {
    /// With days of 23 and 25 hours.
    static NOW: LazyCell<Zoned> = LazyCell::new(|| {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        Timestamp::UNIX_EPOCH.to_zoned(zone)
    });
}

/// Any bytes as a text file: its lines are numbered and bounded, also as one text. Each line is a value of options, too: what
/// is accepted is read again as it is printed.
pub fn text(input: &[u8]) {
    let Ok(lines) = TextLines::new(input) else { return };
    let mut length = 0;
    for (line, number) in lines.map_while(Result::ok).zip(1..) {
        assert_eq!(line.number, number);
        let Some(line) = line.text else { continue };
        length += line.len();
        assert!(!line.contains('\n'));
        values(&line);
    }
    // A byte of Windows-1252 becomes a character of three.
    assert!(length <= 3 * input.len(), "{length} bytes of {}", input.len());
    if let Ok(text) = decode_text(input) {
        assert!(text.is_empty() || text.ends_with('\n'));
    }
}

fn values(line: &str) {
    let fields = csv_fields(line, 3);
    assert!((1..=3).contains(&fields.len()));
    assert!(fields.iter().map(String::len).sum::<usize>() <= line.len(), "{line:?}");
    if let Some((mac, name)) = split_name_line(line) {
        assert!(line.contains(mac) && line.contains(name), "{line:?}");
    }
    if let Ok(server) = HostPort::parse(line, 25) {
        assert_eq!(HostPort::parse(&server.to_string(), 0), Ok(server), "{line:?}");
    }
    if let Ok(network) = parse_network(line) {
        assert_eq!(parse_network(&network.to_string()), Ok(network), "{line:?}");
    }
    let _ = (line.parse::<TimeSpan>(), line.parse::<ByteSize>());
}

/// Any text as a time of the command line: it is refused, or a range that does not end before it begins.
pub fn time(input: &[u8]) {
    if let Ok(range) = NOW.with(|now| parse_time(&String::from_utf8_lossy(input), now)) {
        assert!(range.start <= range.end, "{range:?}");
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("text", text);
    seeds::run("time", time);
}
