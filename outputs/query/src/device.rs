//! What a page about one MAC asks: the addresses it had, with their networks, and in which quarters of an hour it was seen. Each
//! reads a bounded number of rows, however often the MAC was seen.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    history_reader::{
        AddressOfMac, AddressSighting, ClaimedAddress, HistoryReader, NearestSightings, TimeRange,
    },
    omitted::Omitted,
    queries::{columns, row},
    read_limit::{ReadLimit, held},
    result_table::{Cell, ResultTable},
    unseen::{self, Subject},
};

/// Addresses whose networks are searched: those in frames of its own first, of which no other host can make any number, and of
/// these the ones that were seen last.
const ADDRESSES: usize = 200;
/// Proofs that are none of use.
const PROBED: &str = "probed";
const LEASE: &str = "lease or registration";
/// Seconds of a quarter of an hour: each zone's hours begin with one.
const QUARTER: i64 = 900;
/// Sightings that the history has together are of a day at most; a row of another program may claim more.
const MOST: i64 = 96;

/// The addresses of a MAC, the latest first, once for each network; with what proves that it had them. Those that it announced or asked for,
/// and was not seen to use, are there, too.
pub fn addresses(history: &mut dyn HistoryReader, mac: MacAddr) -> Result<ResultTable, Error> {
    let mut all = history.addresses_of(mac, TimeRange::ALL)?;
    let rank = |one: &AddressOfMac| (one.is_own, one.is_more_than_probed);
    all.sort_by_key(|one| (Reverse(rank(one)), Reverse(one.last), one.ip));
    let unlisted = all.len().saturating_sub(ADDRESSES) as u64;
    let (mut omitted, mut limit) =
        (Omitted { unlisted, ..Omitted::default() }, ReadLimit::default());
    all.truncate(ADDRESSES);
    let clocks = history.clocks().asked(TimeRange::ALL);
    let mut found = Vec::new();
    for one in all {
        let AddressOfMac { ip, first, last, is_more_than_probed, is_own } = one;
        let proof = match (is_more_than_probed, is_own) {
            (false, _) => PROBED,
            (true, false) => "frames of another MAC",
            (true, true) => "own frames",
        };
        // Other MACs may have claimed it, in any number.
        if !limit.allows(history, ip, &[TimeRange { from: last, to: last }])? {
            omitted.uncounted += 1;
            continue;
        }
        let nearest = NearestSightings::merged(&history.nearest(ip, last)?);
        let of_mac: Vec<_> = nearest.into_iter().filter(|one| one.mac == mac).collect();
        for one @ NearestSightings { network, first: claim, before, .. } in &of_mac {
            let proof = if one.is_only_leased() { LEASE } else { proof };
            let (first, last) = match &*of_mac {
                [_] => (Some(first), Some(last)),
                _ => (*claim, before.all().into_iter().flatten().max()),
            };
            let dated = |time: Option<UnixTime>| time.filter(|time| clocks.is_set(*network, *time));
            found.push((dated(last), ip, *network, [dated(first), dated(last)], proof));
        }
    }
    for ClaimedAddress { network, ip, why, first, last, .. } in
        unseen::in_range(history, (Subject::Mac(mac), TimeRange::ALL), &clocks)?
    {
        let is_seen = found
            .iter()
            .any(|one| (one.1, one.2) == (ip, network) && ![PROBED, LEASE].contains(&one.4));
        if !is_seen {
            found.push((Some(last), ip, network, [Some(first), Some(last)], why.name()));
        }
    }
    found.sort_by_key(|(last, ip, network, ..)| (Reverse(*last), *ip, *network));
    let of = |(_, ip, network, [first, last], proof): (_, _, _, [Option<UnixTime>; 2], &str)| {
        let cells =
            vec![Cell::text(ip), first.into(), last.into(), Cell::text(proof), Cell::text(mac)];
        row(history, network, cells)
    };
    let rows = found.into_iter().map(of).collect();
    Ok(ResultTable {
        rows,
        columns: columns("address first_seen last_seen proof +mac"),
        omitted,
        ..ResultTable::default()
    })
}

/// The quarters of an hour of a sighting, and how many sightings there are in each. Of those that the history has together, the
/// first one stands for all but the last: they are at most ten minutes apart, so that one is in each quarter between. Their
/// number is spread over that time.
fn quarters(sighting: &AddressSighting) -> impl Iterator<Item = (i64, i64)> {
    let AddressSighting { time, more, until, .. } = *sighting;
    let of = |time: UnixTime| time.seconds().div_euclid(QUARTER);
    let first = of(time);
    let last = of(until.unwrap_or(time)).min(first.saturating_add(MOST));
    let all = i128::from(last - first) + 1;
    let before = move |quarter: i64| i128::from(more) * i128::from(quarter - first) / all;
    (first..=last).filter_map(move |quarter| {
        let share = i64::try_from(before(quarter + 1) - before(quarter)).unwrap_or(i64::MAX);
        let count = match quarter {
            _ if quarter == first => share.saturating_add(1),
            _ if quarter == last => share, // the last sighting follows
            _ => share.max(1),
        };
        (count > 0).then_some((quarter, count))
    })
}

/// The quarters of an hour in which a MAC was seen, in each network: in frames of its own, or if there are none, in those of others.
pub fn presence(
    history: &mut dyn HistoryReader,
    mac: MacAddr,
    range: TimeRange,
) -> Result<ResultTable, Error> {
    let (mut omitted, mut limit) = (Omitted::default(), ReadLimit::default());
    let mut all = history.addresses_of(mac, range)?;
    all.sort_by_key(|one| {
        (!one.is_own, !one.is_more_than_probed, Reverse(held(one.first, one.last)), one.ip)
    });
    // The number of sightings in each quarter and network, in frames of its own and of others.
    let mut seen: BTreeMap<(i64, usize), [i64; 2]> = BTreeMap::new();
    for AddressOfMac { ip, first, last, .. } in all {
        let to = UnixTime::from_nanos(last.as_nanos().saturating_add(1));
        let window = TimeRange { from: first.max(range.from), to: to.min(range.to) };
        if !limit.allows(history, ip, &[window])? {
            omitted.uncounted += 1;
            continue;
        }
        history.sightings(ip, window, &mut |sighting: AddressSighting| {
            let is_pairing = sighting.evidence.is_pairing();
            if sighting.mac == mac && is_pairing {
                for (quarter, count) in quarters(&sighting) {
                    let counts = seen.entry((quarter, sighting.network)).or_default();
                    counts[usize::from(sighting.source.is_some())] += count;
                }
            }
        })?;
    }
    let clocks = history.clocks().asked(range);
    let own: HashSet<usize> =
        seen.iter().filter(|(_, [own, _])| *own > 0).map(|((_, network), _)| *network).collect();
    let of = |((quarter, network), [own_count, others]): ((i64, usize), [i64; 2])| {
        let count = if own.is_empty() { others } else { own_count };
        let time = UnixTime::new(quarter.saturating_mul(QUARTER), 0);
        let is_counted = count > 0 && clocks.is_set(network, time);
        let cells = vec![time.into(), count.into(), Cell::text(mac)];
        is_counted.then(|| row(history, network, cells))
    };
    let rows = seen.into_iter().filter_map(of).collect();
    Ok(ResultTable { rows, columns: columns("time count +mac"), omitted, ..ResultTable::default() })
}
