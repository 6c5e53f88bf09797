//! Of an address that no MAC was seen to use: which MACs announced it, have a lease of it, or asked for it. It is what messages say,
//! and any host can send them. No I/O and no clock, but for the history.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use aw_output::{ClaimedName, NameSource};
use aw_service::Error;
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    clocks::Clocks,
    history_reader::{ClaimedAddress, HistoryReader, Lease, NearestSightings, TimeRange},
    leases,
    left_out::Why,
    queries::{macs, network, row},
    result_table::{Cell, time_text},
    who::{LEASES, distance, duration},
};

/// MACs that are listed: a host can invent any number.
const LISTED: usize = 8;
/// The last time of a claim that is repeated may be an hour old, in seconds.
const STALE: i64 = 3_600;

/// How a MAC came to an address that it was not seen to use, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// It announced the address in multicast DNS, or registered it.
    Announced,
    /// A DHCP server gave it the address.
    Leased,
    /// It asked a DHCP server for it.
    Requested,
}

impl How {
    /// The word for `how_sure`.
    fn name(self) -> &'static str {
        match self {
            How::Announced => "announced",
            How::Leased => "leased",
            How::Requested => "requested",
        }
    }

    fn of(source: NameSource) -> Option<How> {
        match source {
            NameSource::MdnsAddress => Some(How::Announced),
            NameSource::RequestedAddress => Some(How::Requested),
            _ => None,
        }
    }
}

impl Why {
    /// Why an announcement, or a question to a server, counts for no period.
    pub fn of_claim(source: NameSource) -> Option<Why> {
        How::of(source)
            .map(|how| if how == How::Announced { Why::Announced } else { Why::Requested })
    }
}

/// From when until when.
type Times = (UnixTime, UnixTime);

/// What a MAC in a network has of an address.
struct Claims {
    network: usize,
    mac: MacAddr,
    mdns: Option<Times>,
    asked: Option<Times>,
    /// When a server gave it the address, or when it registered an IPv6 address: last before the time in question, and first after it.
    given: [Option<UnixTime>; 2],
    /// The last lease that began before the time, if the history has it.
    lease: Option<Lease>,
}

/// What orders the claims: how many seconds they are away from the time, how strong they are, and which one comes first of equal ones.
type Rank = (i64, How, i64);

impl Claims {
    fn new(network: usize, mac: MacAddr) -> Claims {
        Claims { network, mac, mdns: None, asked: None, given: [None; 2], lease: None }
    }

    fn is_given(&self) -> bool {
        self.given.iter().any(Option::is_some)
    }

    /// How many seconds a time is away from the end of the lease, 0 if it runs, or from the messages of the server.
    fn away_from_lease(&self, at: UnixTime) -> i64 {
        let lease = self.lease.map(|lease| seconds_from(lease.until, at).max(0));
        let given = self.given.into_iter().flatten().map(|time| seconds_from(time, at).abs());
        given.chain(lease).min().unwrap_or(i64::MAX)
    }

    /// What is there, each with its last time before the one in question, and the first one after it. Of messages of a MAC, what was there first
    /// comes first, which cannot be forged later; of leases the last one, because a server gives an address again when it is free.
    fn all(&self, (ip, at): (IpAddr, UnixTime)) -> Vec<(Rank, [Option<UnixTime>; 2])> {
        let mut all = Vec::new();
        for (how, times) in [(How::Announced, self.mdns), (How::Requested, self.asked)] {
            let each = |times: Times| ((away(times, at), how, times.0.seconds()), sides(times, at));
            all.extend(times.map(each));
        }
        if let Some(time) = self.given.into_iter().flatten().next() {
            let (how, first) = match ip.is_ipv4() {
                true => (How::Leased, time.seconds().saturating_neg()),
                false => (How::Announced, time.seconds()),
            };
            all.push(((self.away_from_lease(at), how, first), self.given));
        }
        all
    }

    /// For how many seconds it has announced the address, or has its lease.
    fn longest(&self, at: UnixTime) -> i64 {
        let lease = self.lease.filter(|lease| lease.until > at).map(|lease| (lease.begin, at));
        let all = [self.mdns, self.asked, lease].into_iter().flatten();
        all.map(|(first, last)| seconds_from(first, last)).max().unwrap_or(0)
    }
}

/// A row, and how many seconds it is away from the time that is asked for.
type NearRow = (i64, Vec<Cell>);

/// The rows of `who`, each with the seconds that it is away from the time, and how many MACs have none: what was there at the time comes first, of
/// these the strongest. The MAC that has announced the address for the longest time has a row: a flood of a day does not hide one that did for a day.
pub fn rows(
    history: &mut dyn HistoryReader,
    (ip, at): (IpAddr, UnixTime),
    nearest: &[NearestSightings],
) -> Result<(Vec<NearRow>, u64), Error> {
    let clocks = history.clocks().asked(TimeRange { from: at, to: at });
    let mut found: BTreeMap<(usize, MacAddr), Claims> = BTreeMap::new();
    for ClaimedAddress { network, mac, source, first, last, .. } in claimed(history, ip, &clocks)? {
        let claims = found.entry((network, mac)).or_insert_with(|| Claims::new(network, mac));
        let known = match How::of(source) {
            Some(How::Announced) => &mut claims.mdns,
            Some(_) => &mut claims.asked,
            None => continue,
        };
        *known = Some(known.map_or((first, last), |one| (one.0.min(first), one.1.max(last))));
    }
    for NearestSightings { network, mac, before, after, .. } in nearest {
        let sides = [before, after].map(|side| side.lease);
        let sides = sides.map(|time| time.filter(|time| clocks.is_set(*network, *time)));
        if sides.iter().any(Option::is_some) {
            let new = || Claims::new(*network, *mac);
            let [before, after] = &mut found.entry((*network, *mac)).or_insert_with(new).given;
            *before = (*before).max(sides[0]);
            *after = [*after, sides[1]].into_iter().flatten().min();
        }
    }
    let mut given: Vec<_> = found.values_mut().filter(|claims| claims.is_given()).collect();
    given.sort_by_key(|claims| (claims.away_from_lease(at), claims.network, claims.mac));
    for claims in given.into_iter().take(LEASES) {
        // A fault of the leases is none of this answer.
        let leases = history.leases((ip, claims.mac), at).unwrap_or_default().into_iter();
        let is_right = |one: &Lease| {
            let Lease { network, begin, .. } = *one;
            network == claims.network && begin <= at && clocks.is_set(network, begin)
        };
        claims.lease = leases.filter(is_right).max_by_key(|lease| lease.begin);
    }
    let nearest = |claims: Claims| {
        let (rank, sides) = claims.all((ip, at)).into_iter().min()?;
        Some((rank, sides, claims))
    };
    let mut all: Vec<_> = found.into_values().filter_map(nearest).collect();
    // In whole seconds, which is what a server has.
    all.sort_by_cached_key(|(rank, _, claims)| {
        (*rank, network(history, claims.network), claims.mac)
    });
    let more = all.len().saturating_sub(LISTED);
    let longest = (LISTED - 1..all.len()).rev().max_by_key(|place| all[*place].2.longest(at));
    if let Some(longest) = longest {
        all.swap(LISTED - 1, longest);
    }
    all.truncate(LISTED);
    let mut rows = Vec::new();
    for ((away, how, _), sides, claims) in &all {
        let [before, after] = sides.map(|time| distance(time, at).into());
        let mut cells = vec![Cell::text(claims.mac), Cell::None, Cell::None];
        cells.extend([how.name().to_owned(), why(claims, (ip, at), *away)].map(Cell::Text));
        cells.extend([Cell::text(ip), at.into(), before, after, 0.into(), macs(&[])]);
        rows.push((*away, row(history, claims.network, cells)));
    }
    Ok((rows, more as u64))
}

fn claimed(
    history: &mut dyn HistoryReader,
    ip: IpAddr,
    clocks: &Clocks,
) -> Result<Vec<ClaimedAddress>, Error> {
    let mut all = history.claimed_addresses(ip)?;
    all.retain(|one| clocks.is_set(one.network, one.last));
    for one in all.iter_mut().filter(|one| !clocks.is_set(one.network, one.first)) {
        one.first = one.last;
    }
    Ok(all)
}

/// How many whole seconds later than a time another one is.
fn seconds_from(time: UnixTime, later: UnixTime) -> i64 {
    later.seconds().saturating_sub(time.seconds())
}

/// How many seconds a time is after the last message, or before the first one; 0 of a time in between.
fn away((first, last): Times, at: UnixTime) -> i64 {
    let (since, until) = (seconds_from(last, at), seconds_from(at, first));
    if since <= STALE && until <= 0 { 0 } else { since.max(until) }
}

/// The last message that is known at or before a time, and the first one after it.
fn sides((first, last): Times, at: UnixTime) -> [Option<UnixTime>; 2] {
    let before = [last, first].into_iter().find(|time| *time <= at);
    [before, [first, last].into_iter().find(|time| *time > at)]
}

fn when(sides: [Option<UnixTime>; 2], at: UnixTime) -> String {
    match sides.map(|time| distance(time, at).map(duration)) {
        [Some(before), Some(after)] => format!("from {before} before to {after} after"),
        [Some(before), None] => format!("{before} before"),
        [None, Some(after)] => format!("{after} after"),
        [None, None] => String::new(),
    }
}

/// What was near the time, or is nearest to it: so many seconds away, or less.
fn why(claims: &Claims, (ip, at): (IpAddr, UnixTime), nearest: i64) -> String {
    let is_near = |times: &Times| away(*times, at) <= nearest;
    let mut all = Vec::new();
    if let Some(times) = claims.mdns.filter(is_near) {
        all.push(format!("announced by mDNS {}", when(sides(times, at), at)));
    }
    if claims.is_given() && claims.away_from_lease(at) <= nearest {
        let [before, after] = claims.given;
        // Several messages are no span: the one in question is that of the lease, or else the nearest one.
        let is_later = |after: &UnixTime| seconds_from(at, *after) <= nearest;
        let (time, lease) = match after.filter(is_later) {
            Some(after) if nearest > 0 => ([None, Some(after)], None),
            _ if before.is_some() => ([before, None], claims.lease),
            _ => ([None, after], claims.lease),
        };
        let lease = lease.map_or(String::new(), |lease| leases::words(ip, &lease, at));
        let what = if ip.is_ipv4() { "given by a DHCP server" } else { "registered" };
        all.push(format!("{what} {}{lease}", when(time, at)));
    }
    if let (true, Some(times)) = (all.is_empty(), claims.asked) {
        let not_given = if claims.is_given() { "" } else { ", and no server was seen to give it" };
        let when = when(sides(times, at), at);
        all.push(format!("only requested by DHCP {when}{not_given}"));
    }
    format!("not seen in use: {} (a claim)", all.join("; "))
}

/// An address that a MAC announced or asked for, for the remark of an answer about sightings.
#[derive(Clone, Debug)]
pub struct Unseen {
    pub mac: MacAddr,
    /// What it calls itself.
    pub name: Option<String>,
    pub is_announced: bool,
    pub first: UnixTime,
    pub last: UnixTime,
}

impl Unseen {
    /// Such as `announced by mDNS by 02:00:00:00:00:01 "nas" from 2026-11-20 14:00 +00:00 to 2026-11-20 15:00 +00:00`.
    pub fn words(&self, zone: &TimeZone) -> String {
        let Unseen { mac, name, is_announced, first, last } = self;
        let what = if *is_announced { "announced by mDNS" } else { "only requested by DHCP" };
        let name =
            name.as_ref().map_or(String::new(), |name| format!(" \"{}\"", name.replace('"', "'")));
        let [from, to] = [first, last].map(|time| time_text(*time, zone));
        let when = if from == to { format!("at {to}") } else { format!("from {from} to {to}") };
        format!("{what} by {mac}{name} {when}")
    }
}

/// Those of an address in a time range: announcements first, and of these the one that was there first.
pub fn in_range(
    history: &mut dyn HistoryReader,
    (ip, range): (IpAddr, TimeRange),
    clocks: &Clocks,
) -> Result<Vec<ClaimedAddress>, Error> {
    let mut all = claimed(history, ip, clocks)?;
    // A last time may be older than it is.
    let is_in = |one: &ClaimedAddress| {
        one.first < range.to && one.last.seconds().saturating_add(STALE) >= range.from.seconds()
    };
    all.retain(is_in);
    all.sort_by_cached_key(|one| {
        (one.source, one.first.seconds(), network(history, one.network), one.mac)
    });
    Ok(all)
}

/// The same with the names of their MACs, each MAC once, and how many MACs there are more.
pub fn named(
    history: &mut dyn HistoryReader,
    all: &[ClaimedAddress],
) -> Result<(Vec<Unseen>, u64), Error> {
    let mut unseen: Vec<Unseen> = Vec::new();
    let mut known = HashSet::new();
    for ClaimedAddress { mac, source, first, last, .. } in all {
        if known.insert(*mac) && unseen.len() < LISTED {
            let (mac, is_announced) = (*mac, *source == NameSource::MdnsAddress);
            unseen.push(Unseen { mac, name: None, is_announced, first: *first, last: *last });
        }
    }
    let macs: Vec<MacAddr> = unseen.iter().map(|one| one.mac).collect();
    let names = history.claimed_names(&macs)?;
    for one in &mut unseen {
        let names = names.get(&one.mac).into_iter().flatten().map(|(_, name)| name);
        one.name = ClaimedName::shown(names).map(|name| name.name.clone());
    }
    let more = known.len() - unseen.len();
    Ok((unseen, more as u64))
}

#[cfg(test)]
mod tests;
