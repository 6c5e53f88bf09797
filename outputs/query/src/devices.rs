//! The query `devices`: every MAC with its addresses, and when it was seen.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    address_rows::{Found, just_before, periods},
    clocks::with_clock,
    history_reader::{HistoryReader, PairingSummary, TimeRange},
    left_out::Why,
    omitted::Omitted,
    periods::KEPT_WITHIN,
    queries::{columns, macs, network, row, shown_if_any},
    read_limit::{ReadLimit, Span, held, merge, windows},
    result_table::{Cell, ResultTable},
    unseen::{self, DeviceKey, UnseenDevice},
};

/// MACs that are searched in the rest of the history: a host can make up any number.
const SEARCHED: usize = 1_000;

/// Sightings of a pairing in frames of another MAC.
#[derive(Default)]
struct Forwarded {
    read: u64,
    /// Of these.
    left_out: u64,
}

/// When the MACs that claimed an address in a network were seen with it: from, to. Sorted, and none overlap.
type Claims = HashMap<(usize, IpAddr), Vec<Span>>;

/// Every MAC: its addresses, the latest first, and when it was seen. A MAC that was seen by its probes only has no
/// address, and one that only announced itself is marked. Sightings are counted only if `is_counted`: that takes as long as there are sightings.
pub fn devices(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    is_counted: bool,
) -> Result<ResultTable, Error> {
    grouped(history, range, is_counted, false)
}

/// The same, once for each network in which a MAC was.
pub fn of_networks(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    is_counted: bool,
) -> Result<ResultTable, Error> {
    grouped(history, range, is_counted, true)
}

/// A row, with what the rows are sorted by: the last sighting, the MAC and its network.
type SortedRow = (Option<UnixTime>, (MacAddr, Option<usize>), Vec<Cell>);

fn grouped(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    is_counted: bool,
    is_by_network: bool,
) -> Result<ResultTable, Error> {
    let mut all = history.pairings(range, is_counted)?;
    let claims = claims(&all);
    let mut sources: HashMap<MacAddr, Vec<MacAddr>> = HashMap::new();
    for PairingSummary { mac, source, .. } in &all {
        sources.entry(*mac).or_default().extend(source);
    }
    let (mut unseen, is_cut) = unseen::devices(history, range, is_by_network)?;
    let mut omitted = leave_out_forged(history, range, &claims, &mut all)?;
    for one in all.iter().filter(|one| has_address(one, &claims)) {
        unseen.remove(&(one.mac, is_by_network.then_some(one.network)));
    }
    omitted.is_unseen_cut = leave_out_seen(history, range, &mut unseen)? || is_cut;
    let clocks = history.clocks().asked(range);
    let has_date = |one: &PairingSummary| clocks.is_set(one.network, one.last);
    let networks = all.iter().map(|one| (one.network, has_date(one)));
    let set = with_clock(history, &clocks, networks)?;
    let mut devices: HashMap<(MacAddr, Option<usize>), Vec<PairingSummary>> = HashMap::new();
    for one in all {
        let group = is_by_network.then_some(one.network);
        devices.entry((one.mac, group)).or_default().push(one);
    }
    let mut rows: Vec<SortedRow> = Vec::new();
    for (key @ (mac, _), mut pairings) in devices {
        pairings.sort_by_cached_key(|pairing| {
            (Reverse(pairing.last), pairing.ip, network(history, pairing.network))
        });
        let [latest, ..] = pairings[..] else { continue };
        // A time before the clock was set counts only if there is no other.
        let is_right = |one: &&PairingSummary| has_date(one) || !set.contains_key(&one.network);
        let first = pairings.iter().filter(is_right).map(|pairing| pairing.first).min();
        let last = pairings.iter().filter(is_right).map(|pairing| pairing.last).max();
        let count: Option<u64> = pairings.iter().map(|pairing| pairing.count).sum();
        let addresses = Cell::List(addresses(&pairings, &claims));
        let count = count.map(|count| count as i64).into();
        let mut sources = sources.get(&mac).cloned().unwrap_or_default();
        sources.sort_unstable();
        sources.dedup();
        let sources = macs(&sources);
        let cells = vec![Cell::text(mac), first.into(), last.into(), count, addresses, sources];
        let mut row = row(history, latest.network, cells);
        // It only probed, or others answered.
        row.push(unseen.remove(&key).map_or(Cell::List(Vec::new()), |one| one.claimed));
        rows.push((last, key, row));
    }
    for (key @ (mac, _), UnseenDevice { network, times, claimed }) in unseen {
        let [first, last] = [times.map(|times| times.0), times.map(|times| times.1)];
        let none = || Cell::List(Vec::new());
        let cells = vec![Cell::text(mac), first.into(), last.into(), 0.into(), none(), none()];
        let mut row = row(history, network, cells);
        row.push(claimed);
        rows.push((last, key, row));
    }
    // The number of a network is none of its own: another history may have found it earlier.
    rows.sort_by_cached_key(|(last, (mac, id), _)| {
        (Reverse(*last), *mac, id.map(|id| network(history, id)))
    });
    // Not counted, the column stays in JSON and CSV: programs find the others where they were.
    let mut columns = columns(match is_counted {
        true => "mac first_seen last_seen count addresses +frame_sources",
        false => "mac first_seen last_seen +count addresses +frame_sources",
    });
    columns.push("+not_seen_in_use");
    let rows = rows.into_iter().map(|(_, _, row)| row).collect();
    Ok(shown_if_any(ResultTable { rows, columns, omitted, ..ResultTable::default() }))
}

/// Leaves out what messages say of devices that were seen to use an address at another time: they did not only announce themselves. It
/// searches those that are left, so it does not read the rest of the history. Returns whether there are too many: the latest ones stay.
fn leave_out_seen(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    unseen: &mut HashMap<DeviceKey, UnseenDevice>,
) -> Result<bool, Error> {
    if range == TimeRange::ALL && !history.is_cut() {
        return Ok(false);
    }
    let last = |one: &UnseenDevice| one.times.map(|times| times.1.seconds());
    let mut latest: Vec<_> = unseen.iter().map(|((mac, _), one)| (last(one), *mac)).collect();
    latest.sort_unstable_by_key(|(last, mac)| (Reverse(*last), *mac));
    let mut known = HashSet::new();
    let mut macs: Vec<_> = latest.into_iter().map(|(_, mac)| mac).collect();
    macs.retain(|mac| known.insert(*mac));
    let is_cut = macs.len() > SEARCHED;
    macs.truncate(SEARCHED);
    let seen = history.macs_in_use(&macs)?;
    let left: HashSet<_> = macs.into_iter().filter(|mac| !seen.contains(mac)).collect();
    unseen.retain(|(mac, _), _| left.contains(mac));
    Ok(is_cut)
}

/// Leaves out the claims that `mac` leaves out, too: those in frames of another MAC, while a MAC claimed the address itself. A
/// MAC that has no other sightings keeps them. What is too much to read is not left out.
fn leave_out_forged(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    claims: &Claims,
    all: &mut Vec<PairingSummary>,
) -> Result<Omitted, Error> {
    let is_disputed =
        |one: &PairingSummary| one.source.is_some() && one.is_answered && !has_address(one, claims);
    let mut disputed: HashMap<IpAddr, Vec<Span>> = HashMap::new();
    for one in all.iter().filter(|one| is_disputed(one)) {
        disputed.entry(one.ip).or_default().push((one.first, one.last));
    }
    // The most important first: addresses that a MAC had for long.
    let mut importance: HashMap<IpAddr, i64> = HashMap::new();
    for one in all.iter().filter(|one| one.is_claimed && disputed.contains_key(&one.ip)) {
        let known = importance.entry(one.ip).or_default();
        *known = (*known).max(held(one.first, one.last));
    }
    let mut disputed: Vec<(IpAddr, Vec<Span>)> = disputed.into_iter().collect();
    disputed.sort_by_key(|(ip, _)| (Reverse(importance.get(ip).copied()), *ip));
    let mut omitted = Omitted::default();
    let mut sent_by_others: HashMap<_, Forwarded> = HashMap::new();
    let mut times: HashMap<(IpAddr, usize, MacAddr), Vec<Span>> = HashMap::new();
    let (mut limit, mut windows_of) = (ReadLimit::default(), HashMap::new());
    let clocks = history.clocks().asked(range);
    for (ip, spans) in disputed {
        let windows = windows(spans, range);
        if !limit.allows(history, ip, &windows)? {
            omitted.unchecked += 1;
            continue;
        }
        for window in &windows {
            let nearest = history.nearest(ip, just_before(*window))?;
            let Found { periods, left_out, forwarded, .. } =
                periods(history, ip, *window, &clocks, &nearest)?;
            for ((network, mac, source), count) in forwarded {
                sent_by_others.entry((ip, network, mac, Some(source))).or_default().read += count;
            }
            for one in left_out.iter().filter(|one| one.why == Why::OtherFrame) {
                omitted.add(one);
                let key = (ip, one.network, one.mac, one.source);
                sent_by_others.entry(key).or_default().left_out += one.count;
            }
            for one in &periods {
                let key = (ip, one.period.network, one.period.mac);
                times.entry(key).or_default().extend(one.times);
            }
        }
        windows_of.insert(ip, windows);
    }
    let mut counted: Vec<PairingSummary> = Vec::with_capacity(all.len());
    for mut one in all.iter().copied() {
        let PairingSummary { ip, network, mac, source, .. } = one;
        let sent = sent_by_others.get_mut(&(ip, network, mac, source));
        if let Some(sent) = sent.filter(|sent| sent.left_out > 0) {
            let has_all = |window: &TimeRange| window.from <= one.first && one.last < window.to;
            let is_read = windows_of.get(&ip).is_some_and(|windows| windows.iter().any(has_all));
            if is_read && !one.has_undated && sent.read <= sent.left_out {
                continue;
            }
            if let Some(count) = &mut one.count {
                let taken = (*count).min(sent.left_out);
                *count -= taken;
                sent.left_out -= taken;
                sent.read -= taken.min(sent.read);
            }
            let spans = times.get(&(ip, network, mac)).into_iter().flatten();
            if let Some(first) = spans.clone().map(|(first, _)| *first).min() {
                one.first = one.first.max(first);
            }
            if let Some(last) = spans.map(|(_, last)| *last).max() {
                one.last = one.last.min(last);
            }
        }
        counted.push(one);
    }
    let with_others: BTreeSet<MacAddr> = counted.iter().map(|one| one.mac).collect();
    all.retain(|one| !with_others.contains(&one.mac));
    all.extend(counted);
    Ok(omitted)
}

/// Any number of MACs may claim an address: so each answer for it costs one search, and not one step for each of them.
fn claims(all: &[PairingSummary]) -> Claims {
    let mut claims = Claims::new();
    for PairingSummary { network, ip, first, last, .. } in all.iter().filter(|one| one.is_claimed) {
        claims.entry((*network, *ip)).or_default().push((*first, *last));
    }
    for spans in claims.values_mut() {
        merge(spans);
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
    let is_at_that_time = |spans: &Vec<Span>| {
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
        let (network, count, is_answered, source) = (0, None, !is_claimed, None);
        let has_undated = false;
        PairingSummary {
            network,
            mac,
            ip,
            source,
            first,
            has_undated,
            last,
            count,
            is_claimed,
            is_answered,
        }
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
