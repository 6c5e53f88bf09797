//! The queries: each reads the history and makes a table.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr};

use aw_service::Error;
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    history_reader::{
        AddressSighting, HistoryReader, NearestSightings, Network, PairingSummary, RouterChange,
        TimeRange,
    },
    holders::{self, Certainty, Holder},
    periods::{Period, PeriodBuilder},
    result_table::{Cell, ResultTable, time_text},
};

/// A query with its times.
#[derive(Debug)]
pub enum Query {
    Who(IpAddr, UnixTime),
    Ip(IpAddr, TimeRange),
    Mac(MacAddr, TimeRange),
    Changes(TimeRange),
    Devices(TimeRange),
}

impl Query {
    pub fn run(&self, history: &mut dyn HistoryReader) -> Result<ResultTable, Error> {
        match *self {
            Query::Who(ip, at) => who(history, ip, at),
            Query::Ip(ip, range) => address(history, ip, range),
            Query::Mac(mac, range) => addresses(history, mac, range),
            Query::Changes(range) => changes(history, range),
            Query::Devices(range) => devices(history, range),
        }
    }

    /// The message if nothing matches: what was searched, and in which times.
    pub fn no_match(&self, zone: &TimeZone) -> String {
        let (what, range) = match self {
            Query::Who(ip, _) => (format!("no sightings of {ip}"), &TimeRange::ALL),
            Query::Ip(ip, range) => (format!("no sightings of {ip}"), range),
            Query::Mac(mac, range) => (format!("no sightings of {mac}"), range),
            Query::Changes(range) => ("no changes".into(), range),
            Query::Devices(range) => ("no devices".into(), range),
        };
        let [from, to] = [range.from, range.to].map(|time| time_text(time, zone));
        match (range.from != TimeRange::ALL.from, range.to != TimeRange::ALL.to) {
            (true, true) => format!("{what} from {from} to {to}"),
            (true, false) => format!("{what} since {from}"),
            (false, true) => format!("{what} before {to}"),
            (false, false) => format!("{what} in the whole history"),
        }
    }
}

/// The columns of the network, with which every answer ends. The table shows interface and VLAN.
const NETWORK_COLUMNS: &str = "interface vlan +outer_vlan +host +router";

fn columns(first: &'static str) -> Vec<&'static str> {
    first.split(' ').chain(NETWORK_COLUMNS.split(' ')).collect()
}

fn network(history: &dyn HistoryReader, network: usize) -> Network {
    history.networks().get(network).cloned().unwrap_or_default()
}

/// A row: its own cells and those of the network.
fn row(history: &dyn HistoryReader, index: usize, mut cells: Vec<Cell>) -> Vec<Cell> {
    let Network { host, interface, vlan, outer_vlan, router } = network(history, index);
    let router = Some(router).filter(|router| !router.is_empty()).map(Cell::Text).into();
    cells.extend([Cell::Text(interface), vlan.into(), outer_vlan.into(), Cell::Text(host), router]);
    cells
}

/// Which MAC had an address at a time.
fn who(history: &mut dyn HistoryReader, ip: IpAddr, at: UnixTime) -> Result<ResultTable, Error> {
    let mut holders = holders::holders(&history.nearest(ip, at)?, at);
    holders.sort_by_cached_key(|holder| network(history, holder.network)); // in each, the nearest is first
    let rows = holders.iter().map(|holder| {
        let Holder { network, mac, before, after, certainty, others } = *holder;
        let seconds = [before, after].map(|time| distance(time, at).into());
        let [how_sure, why] = [certainty.name().into(), why(holder, at)].map(Cell::Text);
        let mut cells = vec![Cell::text(mac), before.into(), after.into(), how_sure, why];
        cells.extend([Cell::text(ip), at.into()].into_iter().chain(seconds));
        cells.push((others as i64).into());
        row(history, network, cells)
    });
    let columns = columns(
        "mac seen_before seen_after how_sure why +address +at +seconds_before +seconds_after +others",
    );
    Ok(ResultTable { rows: rows.collect(), columns })
}

/// The distance of two times in whole seconds.
fn distance(time: Option<UnixTime>, at: UnixTime) -> Option<i64> {
    Some(holders::distance(time, at)? / 1_000_000_000)
}

fn why(holder: &Holder, at: UnixTime) -> String {
    let [before, after] =
        [holder.before, holder.after].map(|time| distance(time, at).map(duration));
    let seen = match (before, after) {
        (Some(before), Some(after)) => format!("seen {before} before and {after} after"),
        (Some(before), None) => format!("seen {before} before, not since"),
        (None, Some(after)) => format!("seen {after} after, never before"),
        (None, None) => String::new(),
    };
    match holder.certainty {
        Certainty::Changed => format!("{seen}; the MAC changed in between"),
        Certainty::Contested => format!("{seen}; other MACs at that time: {}", holder.others),
        Certainty::Sure | Certainty::Likely | Certainty::OneSided => seen,
    }
}

/// A duration in its two largest units.
fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn periods(
    history: &mut dyn HistoryReader,
    ip: IpAddr,
    range: TimeRange,
) -> Result<Vec<Period>, Error> {
    let mut builder = PeriodBuilder::default();
    history.sightings(ip, range, &mut |sighting| builder.add(sighting))?;
    let mut periods = builder.finish();
    periods
        .sort_by_cached_key(|period| (period.first, network(history, period.network), period.mac));
    Ok(periods)
}

/// Which MACs had an address, from when to when.
fn address(
    history: &mut dyn HistoryReader,
    ip: IpAddr,
    range: TimeRange,
) -> Result<ResultTable, Error> {
    let periods = periods(history, ip, range)?;
    let columns = columns("mac first_seen last_seen count +address");
    let rows = periods
        .iter()
        .map(|period| period_row(history, period, Cell::text(period.mac), Cell::text(ip)));
    Ok(ResultTable { rows: rows.collect(), columns })
}

/// Which addresses a MAC had, from when to when.
fn addresses(
    history: &mut dyn HistoryReader,
    mac: MacAddr,
    range: TimeRange,
) -> Result<ResultTable, Error> {
    let mut found = Vec::new();
    for ip in history.addresses(Some(mac), range)? {
        let periods = periods(history, ip, range)?;
        let of_mac = periods.into_iter().filter(|period| period.mac == mac);
        found.extend(of_mac.map(|period| (ip, period)));
    }
    found.sort_by_cached_key(|(ip, period)| (period.first, *ip, network(history, period.network)));
    let columns = columns("address first_seen last_seen count +mac");
    let rows = found
        .iter()
        .map(|(ip, period)| period_row(history, period, Cell::text(ip), Cell::text(mac)));
    Ok(ResultTable { rows: rows.collect(), columns })
}

fn period_row(history: &dyn HistoryReader, period: &Period, found: Cell, asked: Cell) -> Vec<Cell> {
    let Period { network, first, last, count, .. } = *period;
    row(history, network, vec![found, first.into(), last.into(), (count as i64).into(), asked])
}

/// Addresses that are new or have another MAC, and configuration changes of routers.
fn changes(history: &mut dyn HistoryReader, range: TimeRange) -> Result<ResultTable, Error> {
    let mut rows: Vec<(UnixTime, Vec<Cell>)> = Vec::new();
    for (ip, period) in new_periods(history, range)? {
        let Period { network, mac, first, previous, .. } = period;
        let before = previous.map(|(mac, _)| Cell::text(mac));
        let before_last_seen = previous.map(|(_, time)| time);
        let change = Cell::text(if before.is_some() { "changed" } else { "new" });
        let (address, mac) = (Cell::text(ip), Cell::text(mac));
        let cells =
            vec![first.into(), address, change, mac, before.into(), before_last_seen.into()];
        rows.push((first, row(history, network, cells)));
    }
    for RouterChange { time, network, user, added, removed } in history.router_changes(range)? {
        let router = history.networks().get(network).map(|network| network.router.clone());
        let change = Cell::text(format!("configuration +{added} -{removed} by {user}"));
        let router = router.filter(|router| !router.is_empty()).map(Cell::Text);
        let cells = vec![time.into(), router.into(), change, Cell::None, Cell::None, Cell::None];
        rows.push((time, row(history, network, cells)));
    }
    rows.sort_by_key(|(time, _)| *time);
    let columns = columns("time address change mac before before_last_seen");
    Ok(ResultTable { rows: rows.into_iter().map(|(_, row)| row).collect(), columns })
}

/// The periods of all addresses that begin in this time range, in order.
fn new_periods(
    history: &mut dyn HistoryReader,
    range: TimeRange,
) -> Result<Vec<(IpAddr, Period)>, Error> {
    let mut found = Vec::new();
    for ip in history.addresses(None, range)? {
        let just_before = UnixTime::from_nanos(range.from.as_nanos().saturating_sub(1));
        let nearest = history.nearest(ip, just_before)?;
        // Most addresses keep their MAC: then their sightings need not be read.
        if nearest.iter().all(|one| is_unchanged(one, &nearest, range)) {
            continue;
        }
        let mut builder = PeriodBuilder::default();
        // The last sighting of each MAC before the time range, oldest first.
        let mut before: Vec<_> =
            nearest.iter().filter_map(|one| Some((one.before?, one))).collect();
        before.sort_by_key(|(time, one)| (*time, one.mac));
        for (time, NearestSightings { network, mac, .. }) in before {
            builder.add(AddressSighting { time, network: *network, mac: *mac });
        }
        history.sightings(ip, range, &mut |sighting| builder.add(sighting))?;
        let new = builder.finish().into_iter().filter(|period| period.first >= range.from);
        found.extend(new.map(|period| (ip, period)));
    }
    found.sort_by_cached_key(|(ip, period)| {
        (period.first, *ip, network(history, period.network), period.mac)
    });
    Ok(found)
}

/// Whether this MAC was not seen in the time range; or it was the only one, and the last one before.
fn is_unchanged(one: &NearestSightings, all: &[NearestSightings], range: TimeRange) -> bool {
    let seen = |other: &NearestSightings| other.after.is_some_and(|after| after < range.to);
    let is_older = |other: &NearestSightings| {
        other.network != one.network
            || other.mac == one.mac
            || !seen(other) && other.before < one.before
    };
    !seen(one) || one.before.is_some() && all.iter().all(is_older)
}

/// Every MAC: its addresses, the latest first, and when it was seen.
fn devices(history: &mut dyn HistoryReader, range: TimeRange) -> Result<ResultTable, Error> {
    let mut devices: HashMap<MacAddr, Vec<PairingSummary>> = HashMap::new();
    for pairing in history.pairings(range)? {
        devices.entry(pairing.mac).or_default().push(pairing);
    }
    let mut rows: Vec<(UnixTime, MacAddr, Vec<Cell>)> = Vec::new();
    for (mac, mut pairings) in devices {
        pairings.sort_by_cached_key(|pairing| {
            (Reverse(pairing.last), pairing.ip, network(history, pairing.network))
        });
        let [latest, ..] = &pairings[..] else { continue };
        let first = pairings.iter().map(|pairing| pairing.first).min();
        let mut addresses: Vec<String> = Vec::new();
        for ip in pairings.iter().map(|pairing| pairing.ip.to_string()) {
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        let count: u64 = pairings.iter().map(|pairing| pairing.count).sum();
        let (last, count) = (latest.last, (count as i64).into());
        let cells = vec![Cell::text(mac), first.into(), last.into(), count, Cell::List(addresses)];
        rows.push((last, mac, row(history, latest.network, cells)));
    }
    rows.sort_by_key(|(last, mac, _)| (Reverse(*last), *mac));
    let columns = columns("mac first_seen last_seen count addresses");
    Ok(ResultTable { rows: rows.into_iter().map(|(_, _, row)| row).collect(), columns })
}
