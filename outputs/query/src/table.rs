//! Answers as a table for people, as CSV, or as JSON, one object a line. Nothing that comes from a
//! network or a database can steer a terminal.

use std::io::{self, Write};

use clap::ValueEnum;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde_json::{Map, Value as Json};
use shm_layout::UnixTime;

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, with a heading
    Table,
    /// One JSON object a line
    Json,
    /// Comma-separated values (RFC 4180), with a heading
    Csv,
}

/// A cell.
#[derive(Clone, Debug)]
pub enum Value {
    None,
    Text(String),
    Number(i64),
    Time(UnixTime),
    /// Of which people are shown the first few.
    List(Vec<String>),
}

impl Value {
    pub fn text(text: impl ToString) -> Value {
        Value::Text(text.to_string())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::None, Into::into)
    }
}

impl From<UnixTime> for Value {
    fn from(time: UnixTime) -> Value {
        Value::Time(time)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(number)
    }
}

/// Columns and rows. A column whose name begins with `+` is left out of the table for people.
pub struct Table {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<Value>>,
}

/// So many of a list are shown to people.
const SHOWN: usize = 3;

impl Table {
    pub fn print(&self, to: &mut impl Write, format: Format, zone: &TimeZone) -> io::Result<()> {
        match format {
            Format::Table => self.for_people(to, zone),
            Format::Json => self.json(to, zone),
            Format::Csv => self.csv(to, zone),
        }
    }

    fn for_people(&self, to: &mut impl Write, zone: &TimeZone) -> io::Result<()> {
        let shown: Vec<usize> =
            (0..self.columns.len()).filter(|at| !self.columns[*at].starts_with('+')).collect();
        let heading = |at: &usize| self.columns[*at].replace('_', " ").to_uppercase();
        let mut lines: Vec<Vec<String>> = vec![shown.iter().map(heading).collect()];
        let cells = |row: &Vec<Value>| shown.iter().map(|at| cell(&row[*at], zone)).collect();
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
        for row in &self.rows {
            let value = |value: &Value| match value {
                Value::None => Json::Null,
                Value::Text(text) => clean(text).into(),
                Value::Number(number) => (*number).into(),
                Value::Time(time) => exact(*time, zone).into(),
                Value::List(list) => list.iter().map(|text| clean(text)).collect(),
            };
            let names = self.columns.iter().map(|name| name.trim_start_matches('+').to_owned());
            let object: Map<String, Json> = names.zip(row.iter().map(value)).collect();
            serde_json::to_writer(&mut *to, &object)?;
            writeln!(to)?;
        }
        Ok(())
    }

    fn csv(&self, to: &mut impl Write, zone: &TimeZone) -> io::Result<()> {
        let names: Vec<_> = self.columns.iter().map(|name| name.trim_start_matches('+')).collect();
        write!(to, "{}\r\n", names.join(","))?;
        for row in &self.rows {
            let cells = row.iter().map(|value| match value {
                Value::Time(time) => exact(*time, zone),
                Value::List(list) => quoted(&clean(&list.join(" "))),
                Value::None => String::new(),
                value => quoted(&cell(value, zone)),
            });
            write!(to, "{}\r\n", cells.collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }
}

fn cell(value: &Value, zone: &TimeZone) -> String {
    match value {
        Value::None => "-".into(),
        Value::Text(text) => clean(text),
        Value::Number(number) => number.to_string(),
        Value::Time(time) => zoned(*time, zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Value::List(list) => {
            let mut text =
                list.iter().take(SHOWN).map(|text| clean(text)).collect::<Vec<_>>().join(" ");
            if list.len() > SHOWN {
                text += &format!(" and {} more", list.len() - SHOWN);
            }
            text
        }
    }
}

fn zoned(time: UnixTime, zone: &TimeZone) -> Zoned {
    // Every i64 of nanoseconds is within jiff's range.
    Timestamp::from_nanosecond(time.as_nanos().into()).unwrap_or_default().to_zoned(zone.clone())
}

/// With the nanoseconds, for programs.
fn exact(time: UnixTime, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string()
}

/// Without control characters, C1 too, and without those that turn or hide text.
pub fn clean(text: &str) -> String {
    let steers = |c: char| {
        let hidden = ['\u{61c}', '\u{feff}'].contains(&c)
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2060}'..='\u{206f}').contains(&c);
        c.is_control() || hidden
    };
    text.replace(steers, "?")
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format) -> String {
        let many = ["1", "2", "3", "4"].map(String::from).to_vec();
        let table = Table {
            columns: vec!["name", "+hidden", "last_seen", "list"],
            rows: vec![
                vec![
                    Value::text("a,\"b\u{1b}[2J\u{9b}\u{202e}"),
                    5.into(),
                    UnixTime::new(0, 7).into(),
                    Value::None,
                ],
                vec![Value::None, Value::None, Value::None, Value::List(many)],
            ],
        };
        let mut out = Vec::new();
        table.print(&mut out, format, &TimeZone::fixed(jiff::tz::offset(1))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats() {
        assert_eq!(
            printed(Format::Table),
            "NAME        LAST SEEN                   LIST\n\
             a,\"b?[2J??  1970-01-01 01:00:00 +01:00  -\n\
             -           -                           1 2 3 and 1 more\n"
        );
        assert_eq!(
            printed(Format::Csv),
            "name,hidden,last_seen,list\r\n\
             \"a,\"\"b?[2J??\",5,1970-01-01T01:00:00.000000007+01:00,\r\n\
             ,,,1 2 3 4\r\n"
        );
        let json = printed(Format::Json);
        let first: Json = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["name"], "a,\"b?[2J??");
        assert_eq!(first["hidden"], 5);
        assert_eq!(first["last_seen"], "1970-01-01T01:00:00.000000007+01:00");
        assert_eq!(first["list"], Json::Null);
    }
}
