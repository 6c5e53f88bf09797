//! The text format of tracker and alert logs. The header line names the columns. aw-tracker writes them in the order that
//! macupd_tracker's README shows; macupd_tracker itself wrote another order, which is read too. A name may contain spaces:
//! it is what is left between the other seven columns.

use std::{borrow::Cow, fmt::Write, net::IpAddr};

use jiff::civil::Date;
use shm_layout::MacAddr;

use crate::{
    activity::{Activity, HourCounts, RowKey, Sender},
    config_file::UNKNOWN,
    local_time::{HourMinute, compact, parse_date},
};

type Columns = [&'static str; 8];
const COLUMNS: Columns = ["mac", "name", "ip", "iface", "date", "time", "last", "active-hours"];
const LEGACY_COLUMNS: Columns =
    ["mac", "name", "date", "time", "last", "ip", "iface", "active-hours"];

/// A row that was read from a log.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedRow<'a> {
    pub mac: MacAddr,
    /// None if the log has `unknown`.
    pub name: Option<&'a str>,
    pub ip: IpAddr,
    pub interface: &'a str,
    pub date: Date,
    pub first: HourMinute,
    pub last: HourMinute,
    pub hours: HourCounts,
    /// The mark behind the name.
    pub sender: Sender,
}

type RowResult<'a> = Result<ParsedRow<'a>, &'static str>;

/// Reads a log: for each row its line number, and the row or the reason why it cannot be read. The header, comments and
/// macupd_tracker's rows for wireless clients, which have `rssi` instead of an address, are skipped.
pub fn parse_log(text: &[u8]) -> impl Iterator<Item = (usize, RowResult<'_>)> {
    let mut order: &Columns = &COLUMNS;
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    lines.filter_map(move |(number, bytes)| {
        let Ok(text) = str::from_utf8(bytes) else { return Some((number, Err("not UTF-8 text"))) };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        if let Some(found) = parse_header(text) {
            order = found;
            return None;
        }
        parse_row(text, order).transpose().map(|read| (number, read))
    })
}

/// Reads a row of an alert log, which has no header.
pub fn parse_alert(text: &str) -> Option<ParsedRow<'_>> {
    [&COLUMNS, &LEGACY_COLUMNS].into_iter().find_map(|order| parse_row(text, order).ok().flatten())
}

fn parse_header(text: &str) -> Option<&'static Columns> {
    let words = || text.split_whitespace();
    [&COLUMNS, &LEGACY_COLUMNS].into_iter().find(|order| words().eq(order.iter().copied()))
}

fn parse_row<'a>(text: &'a str, order: &Columns) -> Result<Option<ParsedRow<'a>>, &'static str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    // macupd_tracker wrote the interface in six places: after a longer name, no space comes before the next column.
    if let (7, true, Some(end)) = (words.len(), *order == LEGACY_COLUMNS, words.last().copied())
        && let Some(at) = end.len().checked_sub(24).filter(|at| end.is_char_boundary(*at))
    {
        words.splice(6.., [&end[..at], &end[at..]]);
    }
    let extra = words.len().checked_sub(8).ok_or("fewer than eight columns")?;
    let field = |name: &str| {
        let at = order.iter().position(|column| *column == name).unwrap_or_default();
        words[if at > 1 { at + extra } else { at }] // the name is the second column
    };
    let from = words[1].as_ptr().addr() - text.as_ptr().addr();
    let to = words[1 + extra].as_ptr().addr() - text.as_ptr().addr() + words[1 + extra].len();
    let (name, sender) = Sender::strip_mark(&text[from..to]);
    if field("ip") == "rssi" {
        return Ok(None);
    }
    let (first, last) = (field("time").parse(), field("last").parse());
    Ok(Some(ParsedRow {
        mac: words[0].parse()?,
        name: Some(name).filter(|name| *name != UNKNOWN),
        ip: field("ip").parse().map_err(|_| "not an IP address")?,
        interface: field("iface"),
        date: parse_date(field("date")).ok_or("not a date")?,
        first: first.map_err(|()| "not a time of day")?,
        last: last.map_err(|()| "not a time of day")?,
        hours: field("active-hours").parse().map_err(|()| "not 24 of the characters . 1 to 9 *")?,
        sender,
    }))
}

/// A row with the name of its device.
pub type NamedRow<'a> = (&'a RowKey, &'a Activity, &'a str);

/// The column of the name: with a mark, if other MACs sent frames of the row. The mark adds no word, and widens no column of
/// other rows, because programs read the columns of macupd_tracker, and any host can cause a mark.
fn marked<'a>(name: &'a str, activity: &Activity) -> Cow<'a, str> {
    match activity.sender {
        Sender::Own => name.into(),
        sender => format!("{name}{}", sender.mark()).into(),
    }
}

/// Formats the tracker log of a day.
pub fn format_log(date: Date, rows: &[NamedRow]) -> String {
    let widths = rows.iter().fold(Widths::default(), |widths, row| widths.with(row));
    let mut text = String::with_capacity((rows.len() + 1) * (66 + widths.sum()));
    widths.line(&mut text, COLUMNS);
    let date = compact(date);
    for row in rows {
        widths.row(&mut text, &date, row);
    }
    text
}

/// Formats a row of an alert log, with the smallest widths of columns.
pub fn format_row(date: Date, row: &NamedRow) -> String {
    let mut text = String::new();
    Widths::default().row(&mut text, &compact(date), row);
    text
}

/// The widths of columns: those of the longest entry without marks, and at least those in macupd_tracker's README.
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
    fn with(self, (key, _, name): &NamedRow) -> Self {
        Widths {
            name: self.name.max(name.chars().count()),
            ip: if key.ip.is_ipv4() { self.ip } else { self.ip.max(key.ip.to_string().len()) },
            interface: self.interface.max(key.interface.chars().count()),
        }
    }

    fn sum(&self) -> usize {
        self.name + self.ip + self.interface
    }

    fn row(&self, text: &mut String, date: &str, (key, activity, name): &NamedRow) {
        let Activity { first, last, hours, .. } = activity;
        self.line(
            text,
            [
                &key.mac.to_string(),
                &marked(name, activity),
                &key.ip.to_string(),
                &key.interface,
                date,
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
