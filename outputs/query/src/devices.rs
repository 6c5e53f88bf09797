//! The query `devices`: every MAC with its addresses, and when it was seen.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    clocks::with_clock,
    history_reader::{HistoryReader, PairingSummary, TimeRange},
    periods::KEPT_WITHIN,
    queries::{columns, macs, network, row, shown_if_any},
    result_table::{Cell, Omitted, ResultTable},
};

/// When the MACs that claimed an address in a network were seen with it: from, to. Sorted, and none overlap.
type Claims = HashMap<(usize, IpAddr), Vec<(UnixTime, UnixTime)>>;

/// Every MAC: its addresses, the latest first, and when it was seen. A MAC that was seen by its probes only has no
/// address.
pub fn devices(history: &mut dyn HistoryReader, range: TimeRange) -> Result<ResultTable, Error> {
    let all = history.pairings(range)?;
    let clocks = history.clocks().asked(range);
    let has_date = |one: &PairingSummary| clocks.is_set(one.network, one.last);
    let networks = all.iter().map(|one| (one.network, has_date(one)));
    let set = with_clock(history, &clocks, networks)?;
    let claims = claims(&all);
    let mut devices: HashMap<MacAddr, Vec<PairingSummary>> = HashMap::new();
    all.into_iter().for_each(|pairing| devices.entry(pairing.mac).or_default().push(pairing));
    let mut rows: Vec<(Option<UnixTime>, MacAddr, Vec<Cell>)> = Vec::new();
    for (mac, mut pairings) in devices {
        pairings.sort_by_cached_key(|pairing| {
            (Reverse(pairing.last), pairing.ip, network(history, pairing.network))
        });
        let [latest, ..] = pairings[..] else { continue };
        // A time before the clock was set counts only if there is no other.
        let is_right = |one: &&PairingSummary| has_date(one) || !set.contains_key(&one.network);
        let first = pairings.iter().filter(is_right).map(|pairing| pairing.first).min();
        let last = pairings.iter().filter(is_right).map(|pairing| pairing.last).max();
        let count: u64 = pairings.iter().map(|pairing| pairing.count).sum();
        let addresses = Cell::List(addresses(&pairings, &claims));
        let count = (count as i64).into();
        let mut sources: Vec<MacAddr> =
            pairings.iter().filter_map(|pairing| pairing.source).collect();
        sources.sort_unstable();
        sources.dedup();
        let sources = macs(&sources);
        let cells = vec![Cell::text(mac), first.into(), last.into(), count, addresses, sources];
        rows.push((last, mac, row(history, latest.network, cells)));
    }
    rows.sort_by_key(|(last, mac, _)| (Reverse(*last), *mac));
    let columns = columns("mac first_seen last_seen count addresses +frame_sources");
    let rows = rows.into_iter().map(|(_, _, row)| row).collect();
    Ok(shown_if_any(ResultTable { rows, columns, omitted: Omitted::default() }))
}

/// Any number of MACs may claim an address: so each answer for it costs one search, and not one step for each of them.
fn claims(all: &[PairingSummary]) -> Claims {
    let mut claims = Claims::new();
    for PairingSummary { network, ip, first, last, .. } in all.iter().filter(|one| one.is_claimed) {
        claims.entry((*network, *ip)).or_default().push((*first, *last));
    }
    for spans in claims.values_mut() {
        spans.sort_unstable();
        spans.dedup_by(|next, span| {
            let overlaps = next.0 <= span.1;
            if overlaps {
                span.1 = span.1.max(next.1);
            }
            overlaps
        });
    }
    claims
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
    let PairingSummary { network, ip, first, last, is_claimed, is_answered, .. } = pairing;
    let is_after = |one: UnixTime, other: UnixTime| {
        one.as_nanos().saturating_sub(other.as_nanos()) > KEPT_WITHIN
    };
    let is_at_that_time = |spans: &Vec<(UnixTime, UnixTime)>| {
        let next = spans.partition_point(|(_, to)| is_after(*first, *to));
        spans.get(next).is_some_and(|(from, _)| !is_after(*from, *last))
    };
    *is_claimed || *is_answered && !claims.get(&(*network, *ip)).is_some_and(is_at_that_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn pairing(mac: u32, (first, last): (i64, i64), is_claimed: bool) -> PairingSummary {
        let [a, b, c, d] = mac.to_be_bytes();
        let (mac, ip) = (MacAddr::new([2, 0, a, b, c, d]), IpAddr::from([10, 0, 0, 1]));
        let [first, last] = [first, last].map(|seconds| UnixTime::new(seconds, 0));
        let (network, count, is_answered, source) = (0, 1, !is_claimed, None);
        PairingSummary { network, mac, ip, source, first, last, count, is_claimed, is_answered }
    }

    #[test]
    fn an_answer_while_no_other_mac_claims_the_address() {
        let spans = [(9_000, 9_500), (1_000, 5_000), (2_000, 3_000), (5_000, 6_000)];
        let all: Vec<_> = (1..).zip(spans).map(|(mac, span)| pairing(mac, span, true)).collect();
        let claims = claims(&all);
        for (span, expected) in [
            ((100, 399), true),
            ((100, 400), false),
            ((3_500, 3_600), false),
            ((6_600, 6_700), false),
            ((6_601, 8_399), true),
            ((6_601, 8_400), false),
            ((0, 20_000), false),
            ((10_100, 10_200), false),
            ((10_101, 10_200), true),
        ] {
            assert_eq!(has_address(&pairing(99, span, false), &claims), expected, "{span:?}");
        }
    }

    /// A host that invents MACs makes any number of claims and answers: seconds, not minutes.
    #[test]
    fn many_claims_and_answers() {
        let of = |mac: u32, is_claimed| {
            pairing(mac, (2_000 * i64::from(mac), 2_000 * i64::from(mac)), is_claimed)
        };
        let all: Vec<_> = (0..200_000).map(|mac| of(mac, true)).collect();
        let claims = claims(&all);
        let begin = Instant::now();
        let found = (0..200_000).rev().filter(|mac| has_address(&of(*mac, false), &claims)).count();
        assert_eq!(found, 0);
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
}
