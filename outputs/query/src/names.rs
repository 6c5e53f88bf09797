//! Names and makers of devices in answers, and the command `name`, which changes the file of names.

use std::{io::Write, path::Path, sync::Arc};

use aw_output::{
    makers::Makers,
    names::{LiveNames, NAMES_FILE, NameList, Names, Written, is_name, write_name},
};
use aw_service::{Error, failed, info, plain, warn};
use jiff::tz::TimeZone;
use shm_layout::MacAddr;

use crate::{
    omitted::{Omitted, listed},
    options::Options,
    result_table::{Cell, OutputFormat, ResultTable, day_text},
};

/// Characters of a name or maker in a table.
const SHOWN: usize = 30;

/// What the command `name` does with the name of a MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    Show,
    Set(String),
    Remove,
}

/// Where names and makers come from.
pub struct Labels {
    names: LiveNames,
    makers: Makers,
}

impl Labels {
    pub fn read(options: &Options) -> Result<Labels, Error> {
        let names = LiveNames::read(options.names.as_deref())?;
        Ok(Labels::new(names, Makers::new(&options.vendors)))
    }

    pub fn new(names: LiveNames, makers: Makers) -> Labels {
        Labels { names, makers }
    }

    pub fn names(&self) -> Arc<Names> {
        self.names.names()
    }

    /// The name of a MAC, if it is not empty, and its maker.
    pub fn of(&self, mac: MacAddr) -> (Option<String>, Option<String>) {
        let name = self.names.names().get(&mac).cloned();
        (name.filter(|name| !name.is_empty()), self.makers.of(mac))
    }

    /// Sets or removes a name, and reads the file again.
    pub fn set_name(&self, mac: MacAddr, name: Option<&str>) -> Result<Named, Error> {
        let named = set_name(self.names.path(), mac, name)?;
        self.names.reload();
        Ok(named)
    }

    /// Other MACs with this name.
    pub fn others_named(&self, mac: MacAddr, name: &str) -> Vec<MacAddr> {
        others_named(&self.names.names(), mac, name)
    }

    /// Adds name and maker of each row's MAC: two columns, or in a table one with the name, or else the maker in brackets, if
    /// a row has one. Where there is no name, a table has another column with what the device calls itself.
    pub fn add_to(&self, table: &mut ResultTable, format: OutputFormat, zone: &TimeZone) {
        let Some(at) = table.mac_column() else { return };
        let names: &Names = &self.names.names();
        let labels = table.rows.iter().map(|row| {
            let mac = match &row[at] {
                Cell::Text(text) => text.parse::<MacAddr>().ok(),
                _ => None,
            };
            let name = mac.and_then(|mac| names.get(&mac).cloned());
            (name.filter(|name| !name.is_empty()), mac.and_then(|mac| self.makers.of(mac)))
        });
        let labels: Vec<(Option<String>, Option<String>)> = labels.collect();
        if format != OutputFormat::Table {
            for (row, (name, maker)) in table.rows.iter_mut().zip(labels) {
                row.extend([name, maker].map(|text| text.map(Cell::Text).into()));
            }
            return table.columns.extend(["name", "maker"]);
        }
        let claims = table.rows.iter().zip(&labels);
        let claims = claims.map(|(row, (name, _))| match name {
            Some(_) => None,
            None => claim(table, row, zone),
        });
        let claims: Vec<Option<String>> = claims.collect();
        let label = |(name, maker): (Option<String>, Option<String>)| {
            let maker = || Some(format!("({})", shortened(&maker?, SHOWN - 2)));
            name.map(|name| shortened(&name, SHOWN)).or_else(maker)
        };
        let labels: Vec<_> = labels.into_iter().map(label).collect();
        // Beside the MAC, or at the end if the table does not show it.
        let beside = if table.columns[at] == "mac" { at + 1 } else { table.columns.len() };
        for (column, cells) in [("claimed_name", claims), ("name", labels)] {
            if cells.iter().all(Option::is_none) {
                continue;
            }
            table.columns.insert(beside, column);
            for (row, cell) in table.rows.iter_mut().zip(cells) {
                row.insert(beside, cell.map(Cell::Text).into());
            }
        }
    }
}

/// What a device calls itself, with its source.
fn claim(table: &ResultTable, row: &[Cell], zone: &TimeZone) -> Option<String> {
    let [Cell::Text(name), Cell::Text(source), since] =
        ["claimed_name", "name_source", "name_since"].map(|name| table.cell(row, name))
    else {
        return None;
    };
    let since = match since {
        Cell::Time(since) => format!(" since {}", day_text(*since, zone)),
        _ => String::new(),
    };
    Some(format!("\"{}\" ({source}{since})", shortened(&name.replace('"', "'"), SHOWN)))
}

fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 3).chain("...".chars()).collect(),
        false => text.into(),
    }
}

/// Whether a MAC can have this name; why not.
pub fn check_name(mac: MacAddr, name: &str) -> Result<(), Error> {
    is_name(name).map_err(failed)?;
    match mac.is_no_host() {
        false => Ok(()),
        true => Err(failed(format_args!(
            "{mac} is no device: it is the address of a group, or zero (name the MAC of a device)"
        ))),
    }
}

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name before.
    pub before: Option<String>,
    /// How the file was written.
    pub written: Written,
    /// Other MACs that have the new name.
    pub same: Vec<MacAddr>,
}

/// Sets or removes the name of a device in a file.
fn set_name(path: &Path, mac: MacAddr, name: Option<&str>) -> Result<Named, Error> {
    if let Some(name) = name {
        check_name(mac, name)?;
    }
    let names = NameList::read(path).map(|list| list.names).unwrap_or_default();
    let before = names.get(&mac).filter(|name| !name.is_empty()).cloned();
    let written = write_name(path, mac, name)?;
    let same = name.map_or_else(Vec::new, |name| others_named(&names, mac, name));
    Ok(Named { before, written, same })
}

fn others_named(names: &Names, mac: MacAddr, name: &str) -> Vec<MacAddr> {
    let same = names.iter().filter(|(other, of_other)| **other != mac && *of_other == name);
    same.map(|(other, _)| *other).collect()
}

/// Carries out the command `name`. Returns false if the MAC has no name to show.
pub fn run(
    options: &Options,
    (mac, change): (MacAddr, &NameChange),
    out: &mut impl Write,
    zone: &TimeZone,
) -> Result<bool, Error> {
    let path = options.names.as_deref().unwrap_or(Path::new(NAMES_FILE));
    let name = match change {
        NameChange::Show => {
            return show(&Labels::read(options)?, mac, options.format, out, zone);
        }
        NameChange::Set(name) => Some(&**name),
        NameChange::Remove => None,
    };
    let Named { before: old, written, same } = set_name(path, mac, name)?;
    let Some(name) = name else {
        match (written, old) {
            (Written::Unchanged, _) => {
                info(format_args!("{mac} has no name in {}", path.display()));
                return Ok(false);
            }
            (_, Some(old)) => info(format_args!("{mac} is not \"{}\" any more", plain(&old))),
            (_, None) => {}
        }
        return Ok(true);
    };
    let old = old.filter(|old| *old != name).map(|old| format!(" (it was \"{}\")", plain(&old)));
    info(format_args!("{mac} is \"{}\" now{}", plain(name), old.unwrap_or_default()));
    if !same.is_empty() {
        warn(format_args!(
            "the same name has {}: aw-query mac takes a name of one device only",
            listed(&same)
        ));
    }
    Ok(true)
}

/// All names.
pub fn all(options: &Options, out: &mut impl Write, zone: &TimeZone) -> Result<bool, Error> {
    let labels = Labels::read(options)?;
    let names = labels.names.names();
    let named = names.iter().filter(|(_, name)| !name.is_empty());
    let rows: Vec<_> = named.map(|(mac, _)| vec![Cell::text(mac)]).collect();
    if rows.is_empty() {
        let path = labels.names.path().display();
        info(format_args!("no names in {path} (aw-query name MAC NAME writes one)"));
        return Ok(false);
    }
    let mut table = ResultTable { columns: vec!["mac"], rows, omitted: Omitted::default() };
    labels.add_to(&mut table, options.format, zone);
    let printed = table.print(out, options.format, zone).and_then(|()| out.flush());
    printed.map_err(|error| Error::write("standard output", error))?;
    Ok(true)
}

fn show(
    labels: &Labels,
    mac: MacAddr,
    format: OutputFormat,
    out: &mut impl Write,
    zone: &TimeZone,
) -> Result<bool, Error> {
    let names = labels.names.names();
    let Some(name) = names.get(&mac).filter(|name| !name.is_empty()) else {
        let maker = labels.makers.of(mac).map(|maker| format!(" (its maker is {})", plain(&maker)));
        let path = labels.names.path().display();
        info(format_args!("{mac} has no name in {path}{}", maker.unwrap_or_default()));
        return Ok(false);
    };
    let printed = match format {
        OutputFormat::Table => writeln!(out, "{}", plain(name)),
        OutputFormat::Json | OutputFormat::Csv => {
            let (columns, rows) = (vec!["mac"], vec![vec![Cell::text(mac)]]);
            let mut table = ResultTable { columns, rows, omitted: Omitted::default() };
            labels.add_to(&mut table, format, zone);
            table.print(out, format, zone)
        }
    };
    printed.and_then(|()| out.flush()).map_err(|error| Error::write("standard output", error))?;
    Ok(true)
}
