//! What devices call themselves, in answers. It is a claim: any host can send any name, for any MAC.

use std::collections::HashSet;

use aw_output::{ClaimedName, names::without_local};
use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    history_reader::{HistoryReader, Network},
    result_table::{Cell, ResultTable},
};

/// The columns of a claim: the name, the message that has it, in words, and since when the device uses it.
pub const COLUMNS: [&str; 3] = ["+claimed_name", "+name_source", "+name_since"];

/// Adds what each row's MAC calls itself: in the network of the row, or if it has no name there, in another one. With a time, it is
/// the name that it had then, or if none is known, a later one.
pub fn add(
    history: &mut dyn HistoryReader,
    table: &mut ResultTable,
    at: Option<UnixTime>,
) -> Result<(), Error> {
    let Some(column) = table.mac_column() else { return Ok(()) };
    let mac = |row: &[Cell]| match &row[column] {
        Cell::Text(text) => text.parse::<MacAddr>().ok(),
        _ => None,
    };
    let mut macs: Vec<MacAddr> = table.rows.iter().filter_map(|row| mac(row)).collect();
    macs.sort_unstable();
    macs.dedup();
    let mut names = history.claimed_names(&macs)?;
    if let Some(at) = at {
        names.values_mut().for_each(|names| go_back(names, at));
    }
    let networks = history.networks();
    let claims = table.rows.iter().map(|row| {
        let names = names.get(&mac(row)?)?;
        let is_here = |network: usize| {
            networks.get(network).is_some_and(|network| is_network_of(table, row, network))
        };
        let here = names.iter().filter(|(network, _)| is_here(*network)).map(|(_, name)| name);
        let shown = ClaimedName::shown(here);
        shown.or_else(|| ClaimedName::shown(names.iter().map(|(_, name)| name)))
    });
    let claims: Vec<Option<ClaimedName>> = claims.map(Option::<&_>::cloned).collect();
    for (row, claim) in table.rows.iter_mut().zip(claims) {
        row.extend(match claim {
            Some(ClaimedName { source, name, first, .. }) => {
                let since = Some(first).filter(|first| *first >= UnixTime::CLOCK_SET);
                [Cell::Text(name), Cell::text(source.words()), since.into()]
            }
            None => [Cell::None, Cell::None, Cell::None],
        });
    }
    table.columns.extend(COLUMNS);
    Ok(())
}

/// Leaves what was known of a MAC's names at a time; if nothing was, what it called itself later.
fn go_back(names: &mut Vec<(usize, ClaimedName)>, at: UnixTime) {
    let is_known = names.iter().any(|(_, name)| name.first <= at);
    names.retain(|(_, name)| name.first <= at || !is_known);
    names.iter_mut().for_each(|(_, name)| name.last = name.last.min(at.max(name.first)));
}

/// Whether a row is of a network. A router reports pairings, and no names.
fn is_network_of(table: &ResultTable, row: &[Cell], network: &Network) -> bool {
    let Network { host, ring, interface, vlan, outer_vlan, router: _ } = network;
    let text = |name| match table.cell(row, name) {
        Cell::Text(text) => text.as_str(),
        _ => "",
    };
    let number = |name, number: i64| *table.cell(row, name) == Cell::Number(number);
    text("host") == host
        && text("ring") == ring
        && text("interface") == interface
        && number("vlan", *vlan)
        && number("outer_vlan", *outer_vlan)
}

/// MACs that are searched for one name.
pub const MOST_CLAIMING: usize = 1000;

/// The MACs that use a name, in the order in which they are added. Names in multicast DNS have no case, and `NAME.local` is NAME there: a later
/// name that differs in these only hides no earlier one.
pub struct Claiming {
    /// In lower case.
    pub names: [String; 2],
    macs: Vec<MacAddr>,
}

impl Claiming {
    pub fn new(name: &str) -> Claiming {
        let name = without_local(name).unwrap_or(name).to_lowercase();
        Claiming { names: [format!("{name}.local"), name], macs: Vec::new() }
    }

    pub fn add(&mut self, mac: MacAddr, text: &str) {
        if self.names.contains(&text.to_lowercase()) {
            self.macs.push(mac);
        }
    }

    /// The first ones, each once.
    pub fn into_macs(mut self) -> Vec<MacAddr> {
        let mut known = HashSet::new();
        self.macs.retain(|mac| known.insert(*mac));
        self.macs.truncate(MOST_CLAIMING);
        self.macs
    }
}
