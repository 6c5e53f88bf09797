//! `--network`: rows of one network only. Each network has its own answer, so that the others need not be known for it.

use std::collections::BTreeSet;

use aw_detect::{full_name, matches_network};
use shm_layout::MacAddr;

use crate::{
    history_reader::Network,
    result_table::{Cell, ResultTable},
};

/// Networks that a message names.
const MAX_SHOWN: usize = 8;

/// Removes the rows of other networks. Returns what to print if none is left.
pub fn keep(table: &mut ResultTable, name: &str) -> Option<String> {
    let mut rows = std::mem::take(&mut table.rows);
    let mut others = BTreeSet::new();
    rows.retain(|row| {
        let network = network_of(table, row);
        let is_meant = matches_network(name, &full_of(table, row));
        if !is_meant {
            others.insert(network);
        }
        is_meant
    });
    table.omitted.unseen.retain(|one| {
        let Network { host, ring, .. } = &one.network;
        matches_network(name, &full_name(host, ring, &name_of(&one.network)))
    });
    let has = |mac: &MacAddr| rows.iter().any(|row| *table.cell(row, "mac") == Cell::text(mac));
    let in_turn = table.in_turn.iter().filter(|one| one.macs.iter().all(has)).copied().collect();
    (table.rows, table.in_turn) = (rows, in_turn);
    (table.rows.is_empty() && !others.is_empty()).then(|| {
        let shown: Vec<_> = others.iter().take(MAX_SHOWN).map(String::as_str).collect();
        let more = if others.len() > shown.len() { ", ..." } else { "" };
        format!(
            "no row of the network {name:?} (there are rows of {}{more}; NAME.* is all VLANs of an interface)",
            shown.join(", ")
        )
    })
}

/// As filters of alerts have it: `eth0.7`, `eth0@192.0.2.1`.
pub fn network_of(table: &ResultTable, row: &[Cell]) -> String {
    let text = |column| match table.cell(row, column) {
        Cell::Text(text) => text.clone(),
        Cell::Number(number) if *number != 0 => number.to_string(),
        _ => String::new(),
    };
    let with = |mark: &str, column| match text(column) {
        text if text.is_empty() => text,
        text => format!("{mark}{text}"),
    };
    [text("interface"), with(".", "outer_vlan"), with(".", "vlan"), with("@", "router")].concat()
}

/// The same of a network.
pub fn name_of(network: &Network) -> String {
    let Network { interface, vlan, outer_vlan, router, .. } = network;
    let tag = |vlan: &i64| if *vlan == 0 { String::new() } else { format!(".{vlan}") };
    let router = if router.is_empty() { String::new() } else { format!("@{router}") };
    [interface.clone(), tag(outer_vlan), tag(vlan), router].concat()
}

/// The whole name of the network of a row.
pub fn full_of(table: &ResultTable, row: &[Cell]) -> String {
    let [host, ring] = ["host", "ring"].map(|column| match table.cell(row, column) {
        Cell::Text(text) => text.as_str(),
        _ => "",
    });
    full_name(host, ring, &network_of(table, row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::columns;

    #[test]
    fn names_of_networks() {
        let row = |interface: &str, vlan: i64, router: Option<&str>| {
            let text = |text: &str| Cell::Text(text.into());
            let router = router.map_or(Cell::None, text);
            let cells = [text("x"), text(interface), Cell::Number(vlan), Cell::Number(0)];
            cells.into_iter().chain([text("sensor"), router, text("/site")]).collect::<Vec<_>>()
        };
        let all =
            || vec![row("eth0", 0, None), row("eth0", 7, None), row("br0", 0, Some("192.0.2.1"))];
        for (name, expected) in [
            ("eth0", vec![0]),
            ("eth0.7", vec![1]),
            ("eth0.*", vec![1]),
            ("br0@192.0.2.1", vec![2]),
            ("site/eth0", vec![0]),
            ("sensor/site/eth0.7", vec![1]),
            ("eth", vec![]),
        ] {
            let mut table =
                ResultTable { columns: columns("mac"), rows: all(), ..Default::default() };
            let none = keep(&mut table, name);
            let wanted: Vec<_> = expected.iter().map(|at: &usize| all()[*at].clone()).collect();
            assert!(table.rows == wanted, "{name}");
            assert_eq!(none.is_some(), expected.is_empty(), "{name}");
        }
        let mut table = ResultTable { columns: columns("mac"), rows: all(), ..Default::default() };
        let none = keep(&mut table, "lan1").unwrap();
        assert!(none.contains("(there are rows of br0@192.0.2.1, eth0, eth0.7;"), "{none}");
    }
}
