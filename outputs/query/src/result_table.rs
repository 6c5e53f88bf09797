//! Prints answers as a table, as CSV, or as JSON with one object a line. Control characters that come from a
//! network or a database do not reach the terminal.

use std::io::{self, Write};

use aw_service::{csv_cell, plain};
use clap::ValueEnum;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde_json::{Map, Value as Json};
use shm_layout::{MacAddr, UnixTime};

use crate::{in_turn::Shared, omitted::Omitted};

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Columns, with a heading
    Table,
    /// One JSON object a line
    Json,
    /// Comma-separated values (RFC 4180), with a heading
    Csv,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// It has no value.
    None,
    /// Text of a network, a database or this program.
    Text(String),
    /// A number.
    Number(i64),
    /// A time.
    Time(UnixTime),
    /// The table shows its first items.
    List(Vec<String>),
}

impl Cell {
    /// The text of a value.
    pub fn text(text: impl ToString) -> Cell {
        Cell::Text(text.to_string())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::None, Into::into)
    }
}

impl From<UnixTime> for Cell {
    fn from(time: UnixTime) -> Cell {
        Cell::Time(time)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Number(number)
    }
}

/// Columns and rows. A column whose name begins with `+` is in JSON and CSV only; one with `?` is also in a table if its
/// cells differ.
#[derive(Default)]
pub struct ResultTable {
    /// The names of the columns, with their marks.
    pub columns: Vec<&'static str>,
    /// The cells of each row, in the order of the columns.
    pub rows: Vec<Vec<Cell>>,
    pub(crate) omitted: Omitted,
    pub(crate) in_turn: Vec<Shared>,
}

/// The mark of a column that is not in each table.
const MARKS: [char; 2] = ['+', '?'];

/// Times that a remark about claims in turn names.
const SHOWN_TIMES: usize = 3;

/// Items of a list that the table shows.
const SHOWN_ITEMS: usize = 3;

impl ResultTable {
    /// Of a query that has no answer to print.
    pub fn done() -> ResultTable {
        let (columns, rows) = (Vec::new(), vec![Vec::new()]);
        ResultTable { columns, rows, ..ResultTable::default() }
    }

    /// When two MACs claimed the address of the answer in turn, from first to last; only those of this MAC, if one is named.
    pub fn in_turn(&self, mac: Option<MacAddr>) -> Option<(UnixTime, UnixTime)> {
        let times = || self.of_mac(mac);
        Some((times().map(|one| one.first).min()?, times().map(|one| one.last).max()?))
    }

    fn of_mac(&self, mac: Option<MacAddr>) -> impl Iterator<Item = &Shared> {
        self.in_turn.iter().filter(move |one| mac.is_none_or(|mac| one.macs.contains(&mac)))
    }

    /// The same as a sentence, the latest times first.
    pub fn in_turn_text(&self, mac: Option<MacAddr>, zone: &TimeZone) -> Option<String> {
        let text = |one: &Shared| {
            let [first, last] = [one.first, one.last].map(|time| time_text(time, zone));
            format!("{} and {} from {first} to {last}", one.macs[0], one.macs[1])
        };
        let mut times: Vec<_> = self.of_mac(mac).collect();
        times.sort_by_key(|one| std::cmp::Reverse(one.last));
        let shown: Vec<_> = times.iter().take(SHOWN_TIMES).map(|one| text(one)).collect();
        let more = match times.len() - shown.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (!shown.is_empty())
            .then(|| format!("two MACs claimed it in turn: {}{more}", shown.join("; ")))
    }

    /// Prints it.
    pub fn print(
        &self,
        to: &mut impl Write,
        format: OutputFormat,
        zone: &TimeZone,
    ) -> io::Result<()> {
        match format {
            OutputFormat::Table => self.text(to, zone),
            OutputFormat::Json => self.json(to, zone),
            OutputFormat::Csv => self.csv(to, zone),
        }
    }

    fn text(&self, to: &mut impl Write, zone: &TimeZone) -> io::Result<()> {
        let differs = |at: usize| self.rows.windows(2).any(|rows| rows[0][at] != rows[1][at]);
        let is_shown = |at: &usize| match self.columns[*at].chars().next() {
            Some('+') => false,
            Some('?') => differs(*at),
            _ => true,
        };
        let shown: Vec<usize> = (0..self.columns.len()).filter(is_shown).collect();
        let name = |at: &usize| self.columns[*at].trim_start_matches(MARKS);
        let heading = |at: &usize| name(at).replace('_', " ").to_uppercase();
        let mut lines: Vec<Vec<String>> = vec![shown.iter().map(heading).collect()];
        let cells = |row: &Vec<Cell>| shown.iter().map(|at| cell_text(&row[*at], zone)).collect();
        lines.extend(self.rows.iter().map(cells));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<_> = (0..shown.len()).map(|column| width(column).unwrap_or(0)).collect();
        for line in &lines {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                text += &format!("{cell:width$}  ");
            }
            writeln!(to, "{}", text.trim_end())?;
        }
        Ok(())
    }

    fn json(&self, to: &mut impl Write, zone: &TimeZone) -> io::Result<()> {
        for object in self.objects(zone) {
            serde_json::to_writer(&mut *to, &object)?;
            writeln!(to)?;
        }
        Ok(())
    }

    /// The rows as `--format json` prints them, one a line.
    pub fn objects(&self, zone: &TimeZone) -> impl Iterator<Item = Map<String, Json>> {
        self.rows.iter().map(|row| {
            let value = |value: &Cell| match value {
                Cell::None => Json::Null,
                Cell::Text(text) => plain(text).into(),
                Cell::Number(number) => (*number).into(),
                Cell::Time(time) => exact(*time, zone).into(),
                Cell::List(list) => list.iter().map(|text| plain(text)).collect(),
            };
            let names = self.columns.iter().map(|name| name.trim_start_matches(MARKS).to_owned());
            names.zip(row.iter().map(value)).collect()
        })
    }

    /// Whether the device in question was not seen near the time: then the row is the nearest one.
    pub fn is_away(&self) -> bool {
        self.omitted.away.is_some()
    }

    /// Whether nothing of the time in question is recorded, because the history begins later.
    pub fn begins_after(&self) -> bool {
        self.omitted.begins_after.is_some()
    }

    /// The cell of a column in a row, by the column's name in `--format json`.
    pub fn cell<'a>(&self, row: &'a [Cell], name: &str) -> &'a Cell {
        let is_column = |column: &&str| column.trim_start_matches(MARKS) == name;
        let at = self.columns.iter().position(is_column);
        at.and_then(|at| row.get(at)).unwrap_or(&Cell::None)
    }

    /// Shows a column in a table, too.
    pub(crate) fn show(&mut self, name: &str) {
        let is_hidden = |column: &&mut &'static str| column.strip_prefix('+') == Some(name);
        if let Some(column) = self.columns.iter_mut().find(is_hidden) {
            *column = column.trim_start_matches(MARKS);
        }
    }

    /// Where the column with MACs is, if there is one.
    pub(crate) fn mac_column(&self) -> Option<usize> {
        self.columns.iter().position(|column| matches!(*column, "mac" | "+mac"))
    }

    fn csv(&self, to: &mut impl Write, zone: &TimeZone) -> io::Result<()> {
        let names: Vec<_> =
            self.columns.iter().map(|name| name.trim_start_matches(MARKS)).collect();
        write!(to, "{}\r\n", names.join(","))?;
        for row in &self.rows {
            let cells = row.iter().map(|value| match value {
                Cell::Time(time) => exact(*time, zone),
                Cell::List(list) => csv_cell(&list.join(" ")),
                Cell::None => String::new(),
                Cell::Text(text) => csv_cell(text),
                Cell::Number(number) => number.to_string(),
            });
            write!(to, "{}\r\n", cells.collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }
}

fn cell_text(value: &Cell, zone: &TimeZone) -> String {
    match value {
        Cell::None => "-".into(),
        Cell::Text(text) => plain(text),
        Cell::Number(number) => number.to_string(),
        Cell::Time(time) => zoned(*time, zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Cell::List(list) if list.is_empty() => "-".into(),
        Cell::List(list) => {
            let shown: Vec<_> = list.iter().take(SHOWN_ITEMS).map(|text| plain(text)).collect();
            let between = if shown.iter().any(|text| text.contains(' ')) { ", " } else { " " };
            let mut text = shown.join(between);
            if list.len() > SHOWN_ITEMS {
                text += &format!(" and {} more", list.len() - SHOWN_ITEMS);
            }
            text
        }
    }
}

fn zoned(time: UnixTime, zone: &TimeZone) -> Zoned {
    // Every i64 of nanoseconds is within jiff's range.
    Timestamp::from_nanosecond(time.as_nanos().into()).unwrap_or_default().to_zoned(zone.clone())
}

/// The day of a time, for a cell that has more than the time; with the time of day if it is of the day of `now`.
pub fn day_text(time: UnixTime, now: UnixTime, zone: &TimeZone) -> String {
    let (time, now) = (zoned(time, zone), zoned(now, zone));
    let format = if time.date() == now.date() { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d" };
    time.strftime(format).to_string()
}

/// A time for messages, with seconds only if it has some.
pub fn time_text(time: UnixTime, zone: &TimeZone) -> String {
    let time = zoned(time, zone);
    let format = if time.second() == 0 { "%Y-%m-%d %H:%M %:z" } else { "%Y-%m-%d %H:%M:%S %:z" };
    time.strftime(format).to_string()
}

/// A time with nanoseconds, for programs.
fn exact(time: UnixTime, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: OutputFormat) -> String {
        let many = ["1", "2", "3", "4"].map(String::from).to_vec();
        let words = ["announced 1", "leased 2"].map(String::from).to_vec();
        let table = ResultTable {
            columns: vec!["name", "+hidden", "last_seen", "list"],
            rows: vec![
                vec![
                    Cell::text("a,\"b\u{1b}[2J\u{9b}\u{202e}"),
                    5.into(),
                    UnixTime::new(0, 7).into(),
                    Cell::None,
                ],
                vec![Cell::None, Cell::None, Cell::None, Cell::List(many)],
                vec![Cell::None, Cell::None, Cell::None, Cell::List(words)],
            ],
            ..ResultTable::default()
        };
        let mut out = Vec::new();
        table.print(&mut out, format, &TimeZone::fixed(jiff::tz::offset(1))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats() {
        assert_eq!(
            printed(OutputFormat::Table),
            "NAME        LAST SEEN                   LIST\n\
             a,\"b?[2J??  1970-01-01 01:00:00 +01:00  -\n\
             -           -                           1 2 3 and 1 more\n\
             -           -                           announced 1, leased 2\n"
        );
        assert_eq!(
            printed(OutputFormat::Csv),
            "name,hidden,last_seen,list\r\n\
             \"a,\"\"b?[2J??\",5,1970-01-01T01:00:00.000000007+01:00,\r\n\
             ,,,1 2 3 4\r\n\
             ,,,announced 1 leased 2\r\n"
        );
        let json = printed(OutputFormat::Json);
        let first: Json = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["name"], "a,\"b?[2J??");
        assert_eq!(first["hidden"], 5);
        assert_eq!(first["last_seen"], "1970-01-01T01:00:00.000000007+01:00");
        assert_eq!(first["list"], Json::Null);
    }

    #[test]
    fn a_day() {
        let begin = UnixTime::new(1_795_183_200, 0); // 2026-11-20 14:00 UTC
        let shown = |hours: i64, zone| {
            let now = UnixTime::new(begin.seconds() + hours * 3_600, 0);
            day_text(begin, now, &TimeZone::fixed(jiff::tz::offset(zone)))
        };
        assert_eq!([shown(9, 0), shown(10, 0)], ["2026-11-20 14:00", "2026-11-20"]);
        assert_eq!([shown(9, 10), shown(10, 10)], ["2026-11-21 00:00"; 2]);
    }
}
