//! Names and makers of devices in answers, and the command `name`, which changes the file of names.

use std::{io::Write, path::Path, sync::Arc};

use aw_output::{
    makers::Makers,
    names::{LiveNames, NAMES_FILE, NameList, Names, NetworkNames, Written, is_name, write_name},
};
use aw_service::{Error, failed, info, plain, warn};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    omitted::listed,
    one_network::network_of,
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

    /// Adds what the files call the devices and networks of the rows.
    pub fn add_to(&self, table: &mut ResultTable, format: OutputFormat, zone: &TimeZone) {
        self.add_devices(table, format, zone);
        let networks = self.names.networks();
        if !networks.is_empty() {
            add_network_names(&networks, table, format);
        }
    }

    /// Adds name and maker of each row's MAC: two columns, or in a table one with the name, or else the maker in brackets, if
    /// a row has one. Where there is no name, a table has another column with what the device calls itself.
    fn add_devices(&self, table: &mut ResultTable, format: OutputFormat, zone: &TimeZone) {
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

/// Adds the name of each row's network, where networks have names: a column at the end, or in a table, if a row has one, beside the
/// VLAN.
fn add_network_names(names: &NetworkNames, table: &mut ResultTable, format: OutputFormat) {
    let Some(at) = table.columns.iter().position(|column| *column == "vlan") else { return };
    let of_row = |row: &Vec<Cell>| {
        let [host, ring] = ["host", "ring"].map(|column| match table.cell(row, column) {
            Cell::Text(text) => text.as_str(),
            _ => "",
        });
        names.of(host, ring, &network_of(table, row)).map(str::to_owned)
    };
    let found: Vec<_> = table.rows.iter().map(of_row).collect();
    let is_table = format == OutputFormat::Table;
    if is_table && found.iter().all(Option::is_none) {
        return;
    }
    let at = if is_table { at + 1 } else { table.columns.len() };
    table.columns.insert(at, "network");
    for (row, name) in table.rows.iter_mut().zip(found) {
        let shown = |name: String| if is_table { shortened(&name, SHOWN) } else { name };
        row.insert(at, name.map(shown).map(Cell::Text).into());
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
        Cell::Time(since) => format!(" since {}", day_text(*since, UnixTime::now(), zone)),
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
    let mut table = ResultTable { columns: vec!["mac"], rows, ..ResultTable::default() };
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
            let mut table = ResultTable { columns, rows, ..ResultTable::default() };
            labels.add_to(&mut table, format, zone);
            table.print(out, format, zone)
        }
    };
    printed.and_then(|()| out.flush()).map_err(|error| Error::write("standard output", error))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::columns;

    /// In JSON and CSV, the column is behind all others; a table has it if a row has a name.
    #[test]
    fn networks_have_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "network eth0.7 guests\n").unwrap();
        let names = LiveNames::read(Some(file.path())).unwrap();
        let labels = Labels::new(names, Makers::new(Path::new("/nonexistent")));
        let row = |vlan: i64| {
            let text = |text: &str| Cell::Text(text.into());
            let cells = [text("02:00:00:00:00:01"), text("eth0"), vlan.into(), 0.into()];
            cells.into_iter().chain([text("h"), Cell::None, text("/r")]).collect::<Vec<_>>()
        };
        let table = |vlans: &[i64]| ResultTable {
            columns: columns("mac"),
            rows: vlans.iter().map(|vlan| row(*vlan)).collect(),
            ..ResultTable::default()
        };
        let named = |vlans: &[i64], format| {
            let mut table = table(vlans);
            labels.add_to(&mut table, format, &TimeZone::UTC);
            table
        };
        for (vlans, is_shown) in [(&[7, 8][..], true), (&[8], false)] {
            let shown = named(vlans, OutputFormat::Table);
            let at = shown.columns.iter().position(|column| *column == "network");
            assert_eq!(at, is_shown.then_some(3), "{:?}", shown.columns);
        }
        let json = named(&[7, 8], OutputFormat::Json);
        assert_eq!(json.columns[7..], ["name", "maker", "network"]);
        assert_eq!(json.rows[0][9], Cell::text("guests"));
        assert_eq!((json.rows[1].len(), &json.rows[1][9]), (10, &Cell::None));
    }
}
