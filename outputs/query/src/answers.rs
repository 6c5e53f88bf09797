//! The questions: each asks the history and makes a table.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr};

use shm_layout::{MacAddr, UnixTime};

use crate::{
    history::{Around, ConfigChange, History, Network, Pairing, Range, Result},
    spans::{Span, Spans},
    table::{Table, Value},
    who::{Holder, How, who},
};

/// Where: the columns that every answer ends with. People see the interface and the VLAN.
const WHERE: [&str; 5] = ["interface", "vlan", "+outer_vlan", "+host", "+router"];

fn columns(first: &[&'static str]) -> Vec<&'static str> {
    [first, &WHERE].concat()
}

fn network(history: &dyn History, network: usize) -> Network {
    history.networks().get(network).cloned().unwrap_or_default()
}

fn place(history: &dyn History, index: usize) -> [Value; 5] {
    let network = network(history, index);
    let router = Some(network.router).filter(|router| !router.is_empty()).map(Value::Text);
    [
        Value::Text(network.interface),
        network.vlan.into(),
        network.outer_vlan.into(),
        Value::Text(network.host),
        router.into(),
    ]
}

fn row(history: &dyn History, network: usize, first: Vec<Value>) -> Vec<Value> {
    first.into_iter().chain(place(history, network)).collect()
}

/// Who had an address at a time.
pub fn holders(history: &mut dyn History, ip: IpAddr, at: UnixTime) -> Result<Table> {
    let mut holders = who(&history.around(ip, at)?, at);
    holders.sort_by_cached_key(|holder| network(history, holder.network)); // nearest first in each
    let rows = holders.iter().map(|holder| {
        let Holder { network, mac, before, after, how, others } = *holder;
        let [before_by, after_by] = [before, after].map(|time| distance(time, at));
        let first = vec![
            Value::text(mac),
            before.into(),
            after.into(),
            Value::text(how.name()),
            Value::text(why(holder, at)),
            Value::text(ip),
            at.into(),
            before_by.into(),
            after_by.into(),
            (others as i64).into(),
        ];
        row(history, network, first)
    });
    let columns = columns(&[
        "mac",
        "seen_before",
        "seen_after",
        "how_sure",
        "why",
        "+address",
        "+at",
        "+seconds_before",
        "+seconds_after",
        "+others",
    ]);
    Ok(Table { rows: rows.collect(), columns })
}

/// In whole seconds.
fn distance(time: Option<UnixTime>, at: UnixTime) -> Option<i64> {
    Some(time?.as_nanos().saturating_sub(at.as_nanos()).saturating_abs() / 1_000_000_000)
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
    match holder.how {
        How::Changed => format!("{seen}; it changed hands"),
        How::Contested => format!("{seen}; {} more at that time", holder.others),
        How::Sure | How::Likely | How::OneSided => seen,
    }
}

/// The two largest units.
fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn spans(history: &mut dyn History, ip: IpAddr, range: Range) -> Result<Vec<Span>> {
    let mut spans = Spans::default();
    history.sightings(ip, range, &mut |sighting| spans.add(sighting))?;
    let mut spans = spans.finish();
    spans.sort_by_cached_key(|span| (span.first, network(history, span.network), span.mac));
    Ok(spans)
}

/// Who had an address, from when to when.
pub fn address(history: &mut dyn History, ip: IpAddr, range: Range) -> Result<Table> {
    let spans = spans(history, ip, range)?;
    let rows = spans.iter().map(|span| {
        let Span { mac, first, last, count, .. } = *span;
        let count = (count as i64).into();
        row(
            history,
            span.network,
            vec![Value::text(mac), first.into(), last.into(), count, Value::text(ip)],
        )
    });
    let columns = columns(&["mac", "first_seen", "last_seen", "count", "+address"]);
    Ok(Table { rows: rows.collect(), columns })
}

/// Which addresses a MAC had, from when to when.
pub fn mac(history: &mut dyn History, mac: MacAddr, range: Range) -> Result<Table> {
    let mut found = Vec::new();
    for ip in history.addresses(Some(mac), range)? {
        let spans = spans(history, ip, range)?;
        found.extend(spans.into_iter().filter(|span| span.mac == mac).map(|span| (ip, span)));
    }
    found.sort_by_cached_key(|(ip, span)| (span.first, *ip, network(history, span.network)));
    let rows = found.iter().map(|(ip, span)| {
        let Span { first, last, count, .. } = *span;
        let count = (count as i64).into();
        row(
            history,
            span.network,
            vec![Value::text(ip), first.into(), last.into(), count, Value::text(mac)],
        )
    });
    let columns = columns(&["address", "first_seen", "last_seen", "count", "+mac"]);
    Ok(Table { rows: rows.collect(), columns })
}

/// Addresses that are new, or have another MAC; and routers whose configuration was changed.
pub fn changes(history: &mut dyn History, range: Range) -> Result<Table> {
    let mut found = Vec::new();
    for ip in history.addresses(None, range)? {
        let just_before = UnixTime::from_nanos(range.from.as_nanos().saturating_sub(1));
        let around = history.around(ip, just_before)?;
        // Most addresses have the MAC that they had before: there is no need to look at each sighting.
        if around.iter().all(|one| goes_on(one, &around, range)) {
            continue;
        }
        let mut seen = Spans::default();
        // Who had it before this time: the last sighting of each, oldest first.
        let mut before: Vec<_> = around.iter().filter_map(|a| Some((a.before?, a))).collect();
        before.sort_by_key(|(time, around)| (*time, around.mac));
        for (time, around) in before {
            let (network, mac) = (around.network, around.mac);
            seen.add(crate::history::Sighting { time, network, mac });
        }
        history.sightings(ip, range, &mut |sighting| seen.add(sighting))?;
        let new = seen.finish().into_iter().filter(|span| span.first >= range.from);
        found.extend(new.map(|span| (ip, span)));
    }
    found.sort_by_cached_key(|(ip, span)| {
        (span.first, *ip, network(history, span.network), span.mac)
    });
    let mut rows: Vec<_> = found
        .iter()
        .map(|(ip, span)| {
            let from = span.from.map(|(mac, _)| Value::text(mac));
            let last = span.from.map(|(_, time)| time);
            let what = Value::text(if from.is_some() { "changed" } else { "new" });
            let first = vec![
                span.first.into(),
                Value::text(ip),
                what,
                Value::text(span.mac),
                from.into(),
                last.into(),
            ];
            (span.first, row(history, span.network, first))
        })
        .collect();
    for change in history.config_changes(range)? {
        let ConfigChange { time, network, user, added, removed } = change;
        let router = history.networks().get(network).map(|network| network.router.clone());
        let what = Value::text(format!("configuration +{added} -{removed} by {user}"));
        let router = router.filter(|router| !router.is_empty()).map(Value::Text);
        let first = vec![time.into(), router.into(), what, Value::None, Value::None, Value::None];
        rows.push((time, row(history, network, first)));
    }
    rows.sort_by_key(|(time, _)| *time);
    let columns = columns(&["time", "address", "change", "mac", "before", "before_last_seen"]);
    Ok(Table { rows: rows.into_iter().map(|(_, row)| row).collect(), columns })
}

/// Whether this MAC was not seen in this time, or it alone was and it was the last one before.
fn goes_on(one: &Around, all: &[Around], range: Range) -> bool {
    let seen = |around: &Around| around.after.is_some_and(|after| after < range.to);
    let yields = |other: &Around| {
        other.network != one.network
            || other.mac == one.mac
            || !seen(other) && other.before < one.before
    };
    !seen(one) || one.before.is_some() && all.iter().all(yields)
}

/// Every MAC: its addresses, the newest first, and when it was seen.
pub fn devices(history: &mut dyn History, range: Range) -> Result<Table> {
    let mut devices: HashMap<MacAddr, Vec<Pairing>> = HashMap::new();
    for pairing in history.pairings(range)? {
        devices.entry(pairing.mac).or_default().push(pairing);
    }
    let mut rows: Vec<(UnixTime, MacAddr, Vec<Value>)> = Vec::new();
    for (mac, mut pairings) in devices {
        pairings.sort_by_cached_key(|pairing| {
            (Reverse(pairing.last), pairing.ip, network(history, pairing.network))
        });
        let [newest, ..] = &pairings[..] else { continue };
        let first = pairings.iter().map(|pairing| pairing.first).min();
        let mut addresses: Vec<String> = Vec::new();
        for ip in pairings.iter().map(|pairing| pairing.ip.to_string()) {
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        let count: u64 = pairings.iter().map(|pairing| pairing.count).sum();
        let first = vec![
            Value::text(mac),
            first.into(),
            newest.last.into(),
            (count as i64).into(),
            Value::List(addresses),
        ];
        rows.push((newest.last, mac, row(history, newest.network, first)));
    }
    rows.sort_by_key(|(last, mac, _)| (Reverse(*last), *mac));
    let columns = columns(&["mac", "first_seen", "last_seen", "count", "addresses"]);
    Ok(Table { rows: rows.into_iter().map(|(_, _, row)| row).collect(), columns })
}
