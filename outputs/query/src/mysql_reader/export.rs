//! The whole content of a server's tables, in the order of the index by pairing, so that the server need not sort.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::ControlFlow,
    time::Duration,
};

use aw_mysql::Row;
use aw_output::{HistoryChange, HistoryCount, HistoryPlace, HistorySighting};
use aw_service::Error;
use shm_layout::MacAddr;

use super::{
    MysqlReader, PAIRING,
    columns::{bytes, mac_address, number, text, time, times},
    connect::failure,
};
use crate::{
    export::{Exporter, start_of},
    history_reader::parse_ip,
};

/// How long the server may sort before the first row, and stop between two: the program that reads the lines may be slow.
const SILENCE: Duration = Duration::from_secs(600);

impl MysqlReader {
    pub(super) fn export_rows(&mut self, to: &mut Exporter) -> Result<(), Error> {
        (self.budget.silence, self.budget.bytes) = (SILENCE, u64::MAX);
        // Sessions of servers that do not know it go on without.
        let _ = self.conn.query_drop("SET SESSION net_write_timeout = 3600");
        let (log, source, times) = (&self.log, self.source, times(to.range));
        let by_source = if source == "NULL" { "" } else { ", frame_source" };
        let select = format!(
            "SELECT {PAIRING}, ip_address, {source}, origin_id, unix_timestamp(tstamp) FROM {log} WHERE TRUE{times}
            ORDER BY ip_address, mac_address, vlan_tag, interface, hostname{by_source}, origin_id, tstamp"
        );
        let mut equal = EqualRows::default();
        self.each_row(&select, to, &mut |to, row| match sighting(row) {
            Some(sighting) => equal.add(sighting, to),
            None => to.leave_out(1, || left_out(row, 7)),
        })?;
        equal.pass_on(to);
        self.export_changes(to, &times)?;
        self.export_names(to)
    }

    fn export_changes(&mut self, to: &mut Exporter, times: &str) -> Result<(), Error> {
        let table = self.config_change.clone();
        if !self.has_table(&table)? {
            return Ok(());
        }
        // Byte by byte: the columns' own comparison may be without regard to case and to blanks at the end.
        let [host, router, user] = ["hostname", "router", "user"]
            .map(|name| format!("cast(convert({name} USING utf8mb4) AS BINARY)"));
        let select = format!(
            "SELECT {host}, {router}, ip_address, {user}, lines_added, lines_removed, unix_timestamp(tstamp), count(*)
            FROM {table} WHERE TRUE{times}
            GROUP BY 7, 1, 2, 3, 4, 5, 6 ORDER BY 7, 1, 2, 3, 4, 5, 6"
        );
        self.each_row(&select, to, &mut |to, row| match change(row) {
            Some(change) => to.change(change),
            None => {
                let rows = number(row, 7).and_then(|rows| u64::try_from(rows).ok());
                to.leave_out(rows.unwrap_or(1), || left_out(row, 6));
            }
        })
    }

    /// Passes each row of a result on, and prints lines meanwhile. Ends early if they cannot be printed.
    pub(super) fn each_row(
        &mut self,
        select: &str,
        to: &mut Exporter,
        each: &mut dyn FnMut(&mut Exporter, &Row),
    ) -> Result<(), Error> {
        let MysqlReader { name, log, conn, budget, .. } = self;
        let mut printed = Ok(());
        conn.begin(*budget);
        conn.query_until(select, &mut |row| {
            each(to, row);
            if to.is_full() {
                printed = to.print();
            }
            if printed.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(|error| failure(name, log, &error))?;
        printed
    }
}

/// A row; None if its values are not valid.
fn sighting(row: &Row) -> Option<HistorySighting> {
    let (host, interface, vlan) = (text(row, 0), text(row, 1), number(row, 2)?);
    let mac = MacAddr::new(bytes(row, 3).try_into().ok()?);
    let source = mac_address(row, 5).filter(|source| *source != mac);
    Some(HistorySighting {
        place: HistoryPlace { host, interface, vlan, ..HistoryPlace::default() },
        time: time(row, 7)?,
        mac,
        ip: parse_ip(bytes(row, 4))?,
        source,
        origin: number(row, 6)?,
        times: HistoryCount { count: 1, nth: 1, before: 0 },
        span: None,
    })
}

/// Rows that the server's order does not distinguish: names that differ in case only may come in turns.
#[derive(Default)]
struct EqualRows(BTreeMap<[String; 2], HistorySighting>);

impl EqualRows {
    fn add(&mut self, sighting: HistorySighting, to: &mut Exporter) {
        fn looks(sighting: &HistorySighting) -> impl PartialEq {
            let HistorySighting { place, time, mac, ip, source, origin, .. } = sighting;
            (*ip, *mac, place.vlan, *source, *origin, *time)
        }
        if self.0.values().next().is_some_and(|first| looks(first) != looks(&sighting)) {
            self.pass_on(to);
        }
        let HistoryPlace { host, interface, .. } = &sighting.place;
        match self.0.entry([interface.clone(), host.clone()]) {
            Entry::Occupied(mut equal) => equal.get_mut().times.count += 1,
            Entry::Vacant(new) => _ = new.insert(sighting),
        }
    }

    fn pass_on(&mut self, to: &mut Exporter) {
        std::mem::take(&mut self.0).into_values().for_each(|sighting| to.sighting(sighting));
    }
}

/// A row that is not valid, for a message.
fn left_out(row: &Row, time: usize) -> String {
    let [host, name] = [0, 1].map(|column| text(row, column));
    let time = number(row, time).unwrap_or(0);
    format!("that of host {:?}, {:?} at @{time}", start_of(&host), start_of(&name))
}

fn change(row: &Row) -> Option<HistoryChange> {
    let router = parse_ip(bytes(row, 2))?;
    let router = if router.is_unspecified() { String::new() } else { router.to_string() };
    let lines = |column| number(row, column).and_then(|lines| u32::try_from(lines).ok());
    Some(HistoryChange {
        place: HistoryPlace {
            host: text(row, 0),
            interface: text(row, 1),
            router,
            ..HistoryPlace::default()
        },
        time: time(row, 6)?,
        user: text(row, 3),
        added: lines(4)?,
        removed: lines(5)?,
        times: HistoryCount { count: number(row, 7)? as u64, nth: 1, before: 0 },
    })
}
