//! The tracker's log as text: rows ↔ lines. The header line says in which order the columns are: ours is that of the
//! ancestor's README, its code wrote another. A name may hold spaces; it is what the other seven columns leave over.

use std::{fmt::Write, net::IpAddr};

use jiff::civil::Date;
use shm_layout::MacAddr;

use crate::{
    calendar::{HourMinute, compact, parse_date},
    config::UNKNOWN,
    row::{Activity, Hours, Key},
};

type Columns = [&'static str; 8];
const OURS: Columns = ["mac", "name", "ip", "iface", "date", "time", "last", "active-hours"];
const ANCESTORS: Columns = ["mac", "name", "date", "time", "last", "ip", "iface", "active-hours"];

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    pub mac: MacAddr,
    /// None: `unknown`.
    pub name: Option<&'a str>,
    pub ip: IpAddr,
    pub interface: &'a str,
    pub date: Date,
    pub first: HourMinute,
    pub last: HourMinute,
    pub hours: Hours,
}

/// Reads a log, line by line: a line's number, and what it says or why it says nothing. Lines that are no rows are left
/// out: the header, comments, and the ancestor's rows for wireless clients, whose address is the word `rssi`.
pub fn read(text: &[u8]) -> impl Iterator<Item = (usize, Result<Line<'_>, &'static str>)> {
    let mut order: &Columns = &OURS;
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    lines.filter_map(move |(number, bytes)| {
        let Ok(text) = str::from_utf8(bytes) else { return Some((number, Err("not UTF-8 text"))) };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        if let Some(found) = header(text) {
            order = found;
            return None;
        }
        line(text, order).transpose().map(|read| (number, read))
    })
}

/// A line of the alert log, which has no header.
pub fn read_alert(text: &str) -> Option<Line<'_>> {
    [&OURS, &ANCESTORS].into_iter().find_map(|order| line(text, order).ok().flatten())
}

fn header(text: &str) -> Option<&'static Columns> {
    let words = || text.split_whitespace();
    [&OURS, &ANCESTORS].into_iter().find(|order| words().eq(order.iter().copied()))
}

fn line<'a>(text: &'a str, order: &Columns) -> Result<Option<Line<'a>>, &'static str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    // The ancestor's column for interfaces has six places: a longer name touches what follows it.
    if let (7, true, Some(end)) = (words.len(), *order == ANCESTORS, words.last().copied())
        && let Some(at) = end.len().checked_sub(24).filter(|at| end.is_char_boundary(*at))
    {
        words.splice(6.., [&end[..at], &end[at..]]);
    }
    let extra = words.len().checked_sub(8).ok_or("fewer than eight columns")?;
    let field = |name: &str| {
        let at = order.iter().position(|column| *column == name).unwrap_or_default();
        words[if at > 1 { at + extra } else { at }] // the name is the second
    };
    let from = words[1].as_ptr().addr() - text.as_ptr().addr();
    let to = words[1 + extra].as_ptr().addr() - text.as_ptr().addr() + words[1 + extra].len();
    let name = &text[from..to];
    if field("ip") == "rssi" {
        return Ok(None);
    }
    let (first, last) = (field("time").parse(), field("last").parse());
    Ok(Some(Line {
        mac: words[0].parse()?,
        name: Some(name).filter(|name| *name != UNKNOWN),
        ip: field("ip").parse().map_err(|_| "not an IP address")?,
        interface: field("iface"),
        date: parse_date(field("date")).ok_or("not a date")?,
        first: first.map_err(|()| "not a time of day")?,
        last: last.map_err(|()| "not a time of day")?,
        hours: field("active-hours").parse().map_err(|()| "not 24 cells of . 1 to 9 or *")?,
    }))
}

/// A row and the name of its device.
pub type Named<'a> = (&'a Key, &'a Activity, &'a str);

/// The whole log of a day.
pub fn write(date: Date, rows: &[Named]) -> String {
    let widths = rows.iter().fold(Widths::default(), |widths, row| widths.with(row));
    let mut text = String::with_capacity((rows.len() + 1) * (66 + widths.sum()));
    let [mac, name, ip, interface, day, first, last, hours] = OURS;
    widths.line(&mut text, [mac, name, ip, interface, day, first, last, hours]);
    for row in rows {
        widths.row(&mut text, date, row);
    }
    text
}

/// A line by itself, for the alert log: as wide as a day of short names makes it.
pub fn write_line(date: Date, row: &Named) -> String {
    let mut text = String::new();
    Widths::default().row(&mut text, date, row);
    text
}

/// Columns are as wide as what is in them, and at least as the ancestor's README shows them.
struct Widths {
    name: usize,
    ip: usize,
    interface: usize,
}

impl Default for Widths {
    fn default() -> Self {
        Widths { name: 9, ip: 15, interface: 5 }
    }
}

impl Widths {
    fn with(self, (key, _, name): &Named) -> Self {
        Widths {
            name: self.name.max(name.chars().count()),
            ip: if key.ip.is_ipv4() { self.ip } else { self.ip.max(key.ip.to_string().len()) },
            interface: self.interface.max(key.interface.chars().count()),
        }
    }

    fn sum(&self) -> usize {
        self.name + self.ip + self.interface
    }

    fn row(&self, text: &mut String, date: Date, (key, activity, name): &Named) {
        let Activity { first, last, hours } = activity;
        self.line(
            text,
            [
                &key.mac.to_string(),
                name,
                &key.ip.to_string(),
                &key.interface,
                &compact(date),
                &first.clock.to_string(),
                &last.clock.to_string(),
                &hours.to_string(),
            ],
        );
    }

    fn line(&self, text: &mut String, columns: [&str; 8]) {
        let [mac, name, ip, interface, date, first, last, hours] = columns;
        let Widths { name: n, ip: i, interface: f } = *self;
        let _ = writeln!(
            text,
            "{mac:17} {name:n$} {ip:i$} {interface:f$} {date:8} {first:4} {last:4} {hours}"
        );
    }
}

#[cfg(test)]
mod tests;
