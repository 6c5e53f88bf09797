//! The query `who`: which MACs had an address at a time, how certain that is, and why.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use aw_service::{Error, TimeSpan};
use shm_layout::{MacAddr, UnixTime};

use crate::{
    clocks::with_clock,
    history_reader::{HistoryReader, NearestSightings, SeenAround, TimeRange},
    holders::{self, Certainty, Holder},
    leases,
    left_out::LeftOuts,
    omitted::{Omitted, begins_after, listed},
    passed_over::NearMac,
    periods::KEPT_WITHIN,
    queries::{columns, macs, network, row},
    read_limit::ReadLimit,
    result_table::{Cell, ResultTable},
    unseen::{self, Limits, seconds_away},
};

/// Senders of a MAC's frames that are looked up.
const SOURCES: usize = 16;
/// MACs whose leases are looked up.
pub const LEASES: usize = 64;
/// Networks in which it is searched whether anything was seen: a host can invent VLANs.
pub const NETWORKS: usize = 4;

/// Which MAC had an address at a time.
pub fn who(
    history: &mut dyn HistoryReader,
    ip: IpAddr,
    at: UnixTime,
) -> Result<ResultTable, Error> {
    let nearest = history.nearest(ip, at)?;
    let rows = rows(history, (ip, at), &nearest)?;
    let columns = columns(
        "mac seen_before seen_after how_sure why +address +at +seconds_before +seconds_after +others +frame_sources",
    );
    // A probe is only a question, and an old sighting does not hide who says now that it has the address.
    let is_probe = |row: &[Cell]| row[HOW_SURE] == Cell::text(Certainty::Probed.name());
    let mut limits = Limits::default();
    for (_, index, row) in rows.iter().filter(|(.., row)| !is_probe(row)) {
        let seconds = seconds_away(row).unwrap_or(i64::MAX); // unknown
        limits.add(network(history, *index), seconds);
    }
    let mut rows: Vec<_> = rows.into_iter().map(|(.., row)| row).collect();
    let (mut omitted, mut left_out) = (Omitted::default(), LeftOuts::default());
    if rows.is_empty() && !nearest.is_empty() {
        match ReadLimit::default().allows(history, ip, &[TimeRange::ALL])? {
            true => history.sightings(ip, TimeRange::ALL, &mut |one| left_out.add(&one))?,
            false => omitted.uncounted = 1,
        }
        left_out.all().for_each(|one| omitted.add(one));
    }
    let (unseen, more) = unseen::rows(history, (ip, at), &nearest, &limits)?;
    omitted.more_unseen = more;
    unseen::add(&mut rows, unseen, is_probe);
    omitted.begins_after = begins_after(history, &rows, at)?;
    Ok(ResultTable { rows, columns, omitted, ..ResultTable::default() })
}

/// The places of certainty, its reason, seconds to both sides, network and address in a row.
const HOW_SURE: usize = 3;
pub const WHY: usize = 4;
pub const ADDRESS: usize = 5;
pub const SECONDS: [usize; 2] = [7, 8];
pub const NETWORK: usize = 11;
/// What is so many seconds away is near.
pub const NEAR: i64 = KEPT_WITHIN / 1_000_000_000;

/// The rows of the answer, each with its MAC and its network.
pub fn rows(
    history: &mut dyn HistoryReader,
    (ip, at): (IpAddr, UnixTime),
    nearest: &[NearestSightings],
) -> Result<Vec<(MacAddr, usize, Vec<Cell>)>, Error> {
    let clocks = history.clocks().asked(TimeRange { from: at, to: at });
    let is_right = |one: &NearestSightings| {
        let sides = [one.before, one.after].into_iter().flat_map(|side| side.all());
        sides.flatten().any(|time| clocks.is_set(one.network, time))
    };
    let networks = nearest.iter().map(|one| (one.network, is_right(one)));
    let set = with_clock(history, &clocks, networks)?;
    let mut holders = holders::holders(nearest, at, &set);
    holders.sort_by_cached_key(|holder| network(history, holder.network)); // in each, the nearest is first
    let mut doubted = HashSet::new();
    for holder in holders.iter_mut().filter(|holder| holder.is_sure_by_others()) {
        let mut sources = holder.frame_sources.iter().take(SOURCES);
        if sources
            .try_fold(false, |own, mac| Ok::<_, Error>(own || history.has_own_claims(*mac)?))?
        {
            holder.certainty = Certainty::Likely;
            doubted.insert((holder.network, holder.mac));
        }
    }
    // A lease counts only where the MAC itself was not seen, or not alone.
    let is_open = |one: &Holder| !one.is_near(at) || one.certainty == Certainty::Contested;
    let mut leases = Vec::new();
    for Holder { mac, .. } in holders.iter().filter(|one| is_open(one)).take(LEASES) {
        // A fault of these rows is none of this answer.
        leases.extend(history.leases((ip, *mac), at).unwrap_or_default());
    }
    leases.retain(|lease| clocks.is_set(lease.network, lease.begin));
    let lease_of = |one: &Holder| leases::at(one, &leases, at).filter(|_| is_open(one));
    for holder in &mut holders {
        if let Some(lease) = lease_of(holder).filter(|lease| lease.is_released) {
            leases::end(holder, lease, at);
        }
    }
    // Where the history has no single sightings, the time without a gap takes their place.
    let mut within: HashMap<(usize, MacAddr), (UnixTime, UnixTime)> = HashMap::new();
    let just_after = Some(UnixTime::from_nanos(at.as_nanos().saturating_add(1)));
    for Holder { mac, before, after, .. } in &holders {
        if *before != Some(at) || *after != just_after {
            continue; // it is no time within a span
        }
        for (of, first, last) in history.presence((ip, *mac), at)? {
            let known = within.entry((of, *mac)).or_insert((first, last));
            *known = (known.0.min(first), known.1.max(last));
        }
    }
    // Whether anything was captured there, if the MAC was not seen near the time.
    let mut silences: HashMap<usize, String> = HashMap::new();
    for Holder { network, .. } in holders.iter().filter(|holder| !holder.is_near(at)) {
        if silences.len() < NETWORKS && !silences.contains_key(network) {
            // A fault of the rows of other MACs is none of this answer.
            let seen = history.seen_around(*network, at).unwrap_or_default();
            let silence = silence(seen, (at, set.get(network).copied())).unwrap_or_default();
            silences.insert(*network, silence);
        }
    }
    let rows = holders.iter().map(|holder| {
        let Holder { network, mac, mut before, mut after, certainty, others, .. } = *holder;
        let seconds = [before, after].map(|time| distance(time, at).into());
        let within = within
            .get(&(network, mac))
            .filter(|_| before == Some(at) && after == just_after)
            .copied();
        if let Some((first, last)) = within {
            (before, after) = (Some(first), Some(last));
        }
        let mut why = why(holder, (at, set.get(&network).copied()), within);
        if doubted.contains(&(holder.network, mac)) {
            why += ", which has addresses itself: it forwards, or forges";
        }
        why += &lease_of(holder).map_or(String::new(), |lease| leases::words(ip, lease, at));
        if !holder.is_near(at) {
            why += silences.get(&holder.network).map_or("", String::as_str);
        }
        let [how_sure, why] = [certainty.name().into(), why].map(Cell::Text);
        let mut cells = vec![Cell::text(mac), before.into(), after.into(), how_sure, why];
        cells.extend([Cell::text(ip), at.into()].into_iter().chain(seconds));
        cells.extend([(others as i64).into(), macs(&holder.frame_sources)]);
        (mac, network, row(history, network, cells))
    });
    Ok(rows.collect())
}

/// What is said if nothing at all was seen in a network near a time; `seen`: when anything was, if that is known. An earlier time
/// than that at which the clock was `set` says nothing.
fn silence(seen: SeenAround, (at, set): (UnixTime, Option<UnixTime>)) -> Option<String> {
    let seen = seen.filter(|seen| !seen.iter().any(|time| holders::near(*time, at)))?;
    let seen = seen.map(|time| time.filter(|time| set.is_none_or(|set| *time >= set)));
    let times = match seen.map(|time| distance(time, at).map(duration)) {
        [Some(before), Some(after)] => format!("from {before} before to {after} after"),
        [Some(before), None] => format!("since {before} before"),
        [None, Some(after)] => format!("until {after} after"),
        [None, None] => return None,
    };
    Some(format!("; nothing at all was seen in this network {times}"))
}

/// The distance of two times in whole seconds.
pub fn distance(time: Option<UnixTime>, at: UnixTime) -> Option<i64> {
    Some(holders::distance(time, at)? / 1_000_000_000)
}

/// `set`: from when on the clock of the network counts as set.
fn why(
    holder: &Holder,
    (at, set): (UnixTime, Option<UnixTime>),
    within: Option<(UnixTime, UnixTime)>,
) -> String {
    let [before, after] =
        [holder.before, holder.after].map(|time| distance(time, at).map(duration));
    let around = within.map(|(first, last)| {
        let [from, to] = [first, last].map(|time| distance(Some(time), at).map(duration));
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
        format!("seen without a gap over ten minutes from {from} before to {to} after")
    });
    let seen = match (before, after) {
        _ if around.is_some() => around.unwrap_or_default(),
        (Some(before), Some(after)) => {
            let is_likely = holder.certainty == Certainty::Likely;
            let not_in_between = if is_likely { ", not in between" } else { "" };
            format!("seen {before} before and {after} after{not_in_between}")
        }
        (Some(before), None) => format!("seen {before} before, not since"),
        (None, Some(after)) => format!("seen {after} after, never before"),
        (None, None) => "seen before the clock was set, at an unknown time".into(),
    };
    let seen = match holder.frame_sources.as_slice() {
        [] => seen,
        sources => {
            let only = if holder.has_own_frames { "partly" } else { "only" };
            format!("{seen}; {only} sent by {}", listed(sources))
        }
    };
    let why = certainty(holder, (at, set), seen);
    if holder.passed_over.is_empty() {
        return why;
    }
    format!("{why}; other MACs near that time: {}", passed_over(&holder.passed_over, at))
}

/// The first ones, with their sightings.
fn passed_over(all: &[NearMac], at: UnixTime) -> String {
    const SHOWN: usize = 3;
    let shown = all.iter().take(SHOWN).map(|one| {
        let seen = |time, side| Some(format!("{} {side}", duration(distance(time, at)?)));
        let seen = [seen(one.before, "before"), seen(one.after, "after")];
        format!("{} {}", one.mac, seen.into_iter().flatten().collect::<Vec<_>>().join(" and "))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What makes the answer more or less certain.
fn certainty(holder: &Holder, (at, set): (UnixTime, Option<UnixTime>), seen: String) -> String {
    match holder.certainty {
        Certainty::Contested if holder.is_forged => {
            format!("{seen}; another MAC had the address: forged, or forwarded")
        }
        Certainty::Changed => format!("{seen}; the MAC changed in between"),
        Certainty::Contested => {
            let first = match holder.first {
                Some(first) if set.is_some_and(|set| first < set) => {
                    "; first claimed it before the clock was set".into()
                }
                Some(first) => {
                    let side = if first <= at { "before" } else { "after" };
                    let first = distance(Some(first), at).map_or(String::new(), duration);
                    format!("; first claimed it {first} {side}")
                }
                None => String::new(),
            };
            format!("{seen}; other MACs at that time: {}{first}", holder.others)
        }
        Certainty::Probed => {
            format!("{seen}; a probe asks whether the address is free, it is no claim")
        }
        Certainty::Sure | Certainty::Likely | Certainty::OneSided => seen,
    }
}

pub fn duration(seconds: i64) -> String {
    TimeSpan(Duration::from_secs(seconds.unsigned_abs())).to_string()
}
