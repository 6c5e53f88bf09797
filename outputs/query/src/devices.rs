//! The query `devices`: every MAC with its addresses, and when it was seen.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    history_reader::{HistoryReader, PairingSummary, TimeRange},
    periods::KEPT_WITHIN,
    queries::{columns, network, row, with_clock},
    result_table::{Cell, ResultTable},
};

/// The MACs that claimed an address in a network, and when they were seen with it.
type Claims = HashMap<(usize, IpAddr), Vec<(MacAddr, UnixTime, UnixTime)>>;

/// Every MAC: its addresses, the latest first, and when it was seen. A MAC that was seen by its probes only has no
/// address.
pub fn devices(history: &mut dyn HistoryReader, range: TimeRange) -> Result<ResultTable, Error> {
    let all = history.pairings(range)?;
    let set = match range.to > UnixTime::CLOCK_SET {
        true => with_clock(history, all.iter().map(|one| (one.network, one.last.is_plausible())))?,
        false => HashSet::new(),
    };
    let mut claims = Claims::new();
    for PairingSummary { network, mac, ip, first, last, .. } in
        all.iter().filter(|pairing| pairing.is_claimed)
    {
        claims.entry((*network, *ip)).or_default().push((*mac, *first, *last));
    }
    let mut devices: HashMap<MacAddr, Vec<PairingSummary>> = HashMap::new();
    all.into_iter().for_each(|pairing| devices.entry(pairing.mac).or_default().push(pairing));
    let mut rows: Vec<(Option<UnixTime>, MacAddr, Vec<Cell>)> = Vec::new();
    for (mac, mut pairings) in devices {
        pairings.sort_by_cached_key(|pairing| {
            (Reverse(pairing.last), pairing.ip, network(history, pairing.network))
        });
        let [latest, ..] = pairings[..] else { continue };
        // A time before the clock was set counts only if there is no other.
        let is_right =
            |one: &&PairingSummary| one.last.is_plausible() || !set.contains(&one.network);
        let first = pairings.iter().filter(is_right).map(|pairing| pairing.first).min();
        let last = pairings.iter().filter(is_right).map(|pairing| pairing.last).max();
        let count: u64 = pairings.iter().map(|pairing| pairing.count).sum();
        let addresses = Cell::List(addresses(&pairings, &claims));
        let count = (count as i64).into();
        let cells = vec![Cell::text(mac), first.into(), last.into(), count, addresses];
        rows.push((last, mac, row(history, latest.network, cells)));
    }
    rows.sort_by_key(|(last, mac, _)| (Reverse(*last), *mac));
    let columns = columns("mac first_seen last_seen count addresses");
    Ok(ResultTable { rows: rows.into_iter().map(|(_, _, row)| row).collect(), columns, ignored: 0 })
}

/// The addresses that a MAC had, each once.
fn addresses(pairings: &[PairingSummary], claims: &Claims) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for ip in pairings.iter().filter(|one| has_address(one, claims)).map(|one| one.ip.to_string()) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
}

/// Whether a MAC had the address: it claimed it, or it answered for it while no other MAC had it.
fn has_address(pairing: &PairingSummary, claims: &Claims) -> bool {
    let PairingSummary { network, mac, ip, first, last, is_claimed, is_answered, .. } = pairing;
    let is_after = |one: UnixTime, other: UnixTime| {
        one.as_nanos().saturating_sub(other.as_nanos()) > KEPT_WITHIN
    };
    let is_at_that_time = |(other, from, to): &(MacAddr, UnixTime, UnixTime)| {
        other != mac && !is_after(*first, *to) && !is_after(*from, *last)
    };
    let others = claims.get(&(*network, *ip));
    *is_claimed || *is_answered && !others.is_some_and(|others| others.iter().any(is_at_that_time))
}
