//! A network as a parameter and as a link: what distinguishes it in the rows of an answer.

use std::cmp::Ordering;

use aw_output::Entry;
use aw_query::{Cell, ResultTable};
use shm_layout::Event;

use crate::{
    display::encoded, listing::natural_order, network_label, parameters::Parameters,
    problem::Problem,
};

/// The columns, in the order of the text.
const COLUMNS: [&str; 6] = ["interface", "vlan", "outer_vlan", "host", "router", "ring"];

/// The network of a row; a value that it does not have is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetworkId([String; COLUMNS.len()]);

/// VLAN 101 comes before VLAN 1000, and eth2 before eth10.
impl Ord for NetworkId {
    fn cmp(&self, other: &NetworkId) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        let natural = pairs.fold(Ordering::Equal, |order, (one, other)| {
            order.then_with(|| natural_order(one, other))
        });
        natural.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for NetworkId {
    fn partial_cmp(&self, other: &NetworkId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl NetworkId {
    pub fn of(table: &ResultTable, row: &[Cell]) -> NetworkId {
        NetworkId::of_cells(|name| table.cell(row, name))
    }

    /// The same of the cells of its columns.
    pub fn of_cells<'a>(cell: impl Fn(&'static str) -> &'a Cell) -> NetworkId {
        NetworkId(COLUMNS.map(|name| match cell(name) {
            Cell::Text(text) => text.clone(),
            Cell::Number(number @ 1..) => number.to_string(),
            _ => String::new(),
        }))
    }

    /// The network of an event, as the history has it.
    pub fn of_entry(entry: &Entry) -> NetworkId {
        let Event { interface, vlan, outer_vlan, router, .. } = &entry.event;
        let number = |vlan: u16| if vlan == 0 { String::new() } else { vlan.to_string() };
        let router = if router.is_unspecified() { String::new() } else { router.to_string() };
        NetworkId([
            interface.as_str().to_owned(),
            number(vlan.get()),
            number(outer_vlan.get()),
            entry.host.to_owned(),
            router,
            entry.ring.as_str().to_owned(),
        ])
    }

    /// Takes the parameters that name it, if there are some.
    pub fn take(parameters: &mut Parameters) -> Option<NetworkId> {
        let id = NetworkId(COLUMNS.map(|name| parameters.take(name).unwrap_or_default()));
        (id != NetworkId::default()).then_some(id)
    }

    /// The same of one text, as [`NetworkId::text`] makes it.
    /// Or as aw-query names it: `eth0`, `eth0.20`, `eth0@192.0.2.1`.
    pub fn parse(text: &str) -> Result<NetworkId, Problem> {
        if let Some(id) = NetworkId::of_place(text) {
            return Ok(id);
        }
        let mut parameters = Parameters::parse(text)?;
        let id = NetworkId::take(&mut parameters);
        parameters.finish()?;
        id.ok_or_else(|| {
            Problem::bad(format!(
                "network: {text:?} names none (write interface=eth0; /networks lists them)"
            ))
        })
    }

    /// Of a place without host and ring, as [`NetworkId::local_place`] writes it.
    fn of_place(text: &str) -> Option<NetworkId> {
        let is_place = |c: char| c.is_alphanumeric() || "._-@:".contains(c);
        let (place, router) = text.split_once('@').unwrap_or((text, ""));
        if place.is_empty() || !text.chars().all(is_place) {
            return None;
        }
        let is_tag = |tag: &&str| tag.parse().is_ok_and(|tag: u16| (1..4096).contains(&tag));
        let mut parts: Vec<&str> = place.split('.').collect();
        let tags = parts[1..].iter().rev().take_while(|tag| is_tag(tag)).take(2).count();
        let tags = parts.split_off(parts.len() - tags);
        let [outer, vlan] = match *tags {
            [outer, vlan] => [outer, vlan],
            [vlan] => ["", vlan],
            _ => ["", ""],
        };
        let interface = parts.join(".");
        Some(NetworkId([&interface, vlan, outer, "", router, ""].map(str::to_owned)))
    }

    /// Whether it is this network, as far as it is named: without host and ring, each one of that place.
    pub fn admits(&self, other: &NetworkId) -> bool {
        let [.., host, _, ring] = &self.0;
        let is_of = |own: &str, of: &str| own.is_empty() || own == of;
        self.local_place() == other.local_place()
            && is_of(host, &other.0[3])
            && is_of(ring, &other.0[5])
    }

    /// Its parameters, for a URL.
    pub fn text(&self) -> String {
        let named = COLUMNS.iter().zip(&self.0).filter(|(_, value)| !value.is_empty());
        named
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect::<Vec<_>>()
            .join("&")
    }

    /// The path of its page.
    pub fn link(&self) -> String {
        format!("/network?{}", self.text())
    }

    /// What a page calls it.
    pub fn label(&self) -> String {
        network_label::label(self)
    }

    /// What an alert calls it: `eth0.7 of host`.
    pub fn place(&self) -> String {
        let host = &self.0[3];
        let host = if host.is_empty() { String::new() } else { format!(" of {host}") };
        self.local_place() + &host
    }

    /// The same without the host: `eth0.7`, `eth0@192.0.2.1`.
    pub fn local_place(&self) -> String {
        let [interface, vlan, outer_vlan, _, router, _] = &self.0;
        let tags = [outer_vlan, vlan].into_iter().filter(|tag| !tag.is_empty());
        let tags: String = tags.map(|tag| format!(".{tag}")).collect();
        let router = if router.is_empty() { String::new() } else { format!("@{router}") };
        format!("{interface}{tags}{router}")
    }

    /// Its cells, in the order of [`NetworkId::columns`].
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        let is_number = |name: &str| name.ends_with("vlan");
        COLUMNS.iter().zip(&self.0).map(move |(name, value)| match value.parse() {
            Ok(number) if is_number(name) => Cell::Number(number),
            _ if is_number(name) => Cell::Number(0),
            _ => Cell::text(value),
        })
    }

    /// The cell of a column of an answer; none if it has no such column.
    pub fn cell(&self, column: &str) -> Cell {
        let at = COLUMNS.iter().position(|name| *name == column);
        let cell = at.and_then(|at| self.cells().nth(at)).unwrap_or(Cell::None);
        let may_be_missing = ["router", "ring"].contains(&column);
        Some(cell).filter(|cell| !may_be_missing || *cell != Cell::text("")).into()
    }

    pub fn columns() -> [&'static str; COLUMNS.len()] {
        COLUMNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(values: [&str; COLUMNS.len()]) -> NetworkId {
        NetworkId(values.map(str::to_owned))
    }

    #[test]
    fn order() {
        let of = |vlan| id(["eth0", vlan, "", "", "", ""]);
        let mut all = ["1000", "101", "", "7", "0007", "70"].map(of);
        all.sort();
        assert_eq!(all, ["", "0007", "7", "70", "101", "1000"].map(of));
        let of = |interface| id([interface, "7", "", "", "", ""]);
        let mut all = ["wlan0", "eth10", "eth2", "eth2.x", "é", "eth"].map(of);
        all.sort();
        assert_eq!(all, ["eth", "eth2", "eth2.x", "eth10", "wlan0", "é"].map(of));
    }

    /// A link names the same network again, whatever is in its name.
    #[test]
    fn there_and_back() {
        for known in [
            id(["eth0", "", "", "here", "", "/addrwatch"]),
            id(["eth0", "7", "100", "", "192.0.2.1", ""]),
            id(["\"><script>&=%", "", "", "\u{1b}[2J", "a b+c", ""]),
        ] {
            assert_eq!(NetworkId::parse(&known.text()).unwrap(), known);
            assert!(known.link().is_ascii() && !known.link().contains('<'), "{}", known.link());
        }
        assert_eq!(id(["eth0", "7", "100", "here", "", ""]).place(), "eth0.100.7 of here");
        for (place, text) in [
            ("eth0", "interface=eth0"),
            ("eth0.20", "interface=eth0&vlan=20"),
            ("eth0.100.20@192.0.2.1", "interface=eth0&vlan=20&outer_vlan=100&router=192.0.2.1"),
            ("br.lan", "interface=br.lan"),
        ] {
            let of_place = NetworkId::parse(place).unwrap();
            assert_eq!(of_place, NetworkId::parse(text).unwrap());
            let full = NetworkId::parse(&format!("{text}&host=a&ring=/addrwatch")).unwrap();
            assert!(of_place.admits(&full) && full.admits(&full) && !full.admits(&of_place));
            assert_eq!(of_place.local_place(), place);
        }
        assert!(!NetworkId::parse("eth0").unwrap().admits(&NetworkId::parse("eth0.7").unwrap()));
        for bad in ["", "eth0 7", "interface=eth0&port=1"] {
            assert!(NetworkId::parse(bad).is_err(), "{bad}");
        }
    }
}
