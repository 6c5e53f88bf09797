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
    history_reader::{ClaimedAddress, HistoryReader, TimeRange},
    leases,
    left_out::{LeftOut, LeftOuts, Why},
    queries::{macs, network, row},
    result_table::{Cell, time_text},
    who::{distance, duration},
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
    /// One of each kind of message; a registration of an IPv6 address is `given`, too.
    mdns: Option<Times>,
    given: Option<Times>,
    asked: Option<Times>,
}

impl Claims {
    /// What is there, each with how strong it is.
    fn all(&self, ip: IpAddr) -> impl Iterator<Item = (How, Times)> {
        let given = if ip.is_ipv4() { How::Leased } else { How::Announced };
        let all = [(How::Announced, self.mdns), (given, self.given), (How::Requested, self.asked)];
        all.into_iter().filter_map(|(how, times)| Some((how, times?)))
    }

    /// The one that is nearest to a time, and of equal ones the strongest.
    fn nearest(&self, (ip, at): (IpAddr, UnixTime)) -> Option<(How, Times)> {
        self.all(ip).min_by_key(|(how, times)| (away(*times, at), *how))
    }

    fn longest(&self, ip: IpAddr) -> i64 {
        let each =
            |(_, (first, last)): (How, Times)| last.seconds().saturating_sub(first.seconds());
        self.all(ip).map(each).max().unwrap_or(0)
    }
}

/// The rows of `who`, and how many MACs have none: what was there at the time comes first, of these the strongest, and of equal ones the one that
/// was there first, which cannot be forged later. The MAC that has announced the address for the longest time has a row: a flood does not hide it.
pub fn rows(
    history: &mut dyn HistoryReader,
    (ip, at): (IpAddr, UnixTime),
    left_out: &LeftOuts,
) -> Result<(Vec<Vec<Cell>>, u64), Error> {
    let clocks = history.clocks().asked(TimeRange { from: at, to: at });
    let mut found: BTreeMap<(usize, MacAddr), Claims> = BTreeMap::new();
    let mut add = |network, mac, how, times: Times| {
        let none = || Claims { network, mac, mdns: None, given: None, asked: None };
        let claims = found.entry((network, mac)).or_insert_with(none);
        let known = match how {
            How::Announced => &mut claims.mdns,
            How::Leased => &mut claims.given,
            How::Requested => &mut claims.asked,
        };
        *known = Some(known.map_or(times, |one| (one.0.min(times.0), one.1.max(times.1))));
    };
    for ClaimedAddress { network, mac, source, first, last, .. } in claimed(history, ip, &clocks)? {
        if let Some(how) = How::of(source) {
            add(network, mac, how, (first, last));
        }
    }
    let is_lease = |one: &&LeftOut| one.why == Why::Lease && clocks.is_set(one.network, one.last);
    for LeftOut { network, mac, first, last, .. } in left_out.all().filter(is_lease) {
        add(*network, *mac, How::Leased, (*first, *last));
    }
    let mut all: Vec<_> = found
        .into_values()
        .filter_map(|claims| Some((claims.nearest((ip, at))?, claims)))
        .collect();
    // In whole seconds, which is what a server has.
    all.sort_by_cached_key(|((how, times), claims)| {
        let network = network(history, claims.network);
        (away(*times, at), *how, times.0.seconds(), network, claims.mac)
    });
    let more = all.len().saturating_sub(LISTED);
    let longest = (LISTED - 1..all.len()).rev().max_by_key(|place| all[*place].1.longest(ip));
    if let Some(longest) = longest {
        all.swap(LISTED - 1, longest);
    }
    all.truncate(LISTED);
    let mut rows = Vec::new();
    for ((how, times), claims) in &all {
        let why = why(history, (ip, at), claims, *times);
        let [before, after] = sides(*times, at).map(|time| distance(time, at).into());
        let mut cells = vec![Cell::text(claims.mac), Cell::None, Cell::None];
        cells.extend([how.name().to_owned(), why].map(Cell::Text));
        cells.extend([Cell::text(ip), at.into(), before, after, 0.into(), macs(&[])]);
        rows.push(row(history, claims.network, cells));
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
    Ok(all)
}

/// How many seconds a time is after the last message, or before the first one; 0 of a time in between.
fn away((first, last): Times, at: UnixTime) -> i64 {
    let since = at.seconds().saturating_sub(last.seconds());
    let until = first.seconds().saturating_sub(at.seconds());
    if since <= STALE && until <= 0 { 0 } else { since.max(until) }
}

/// The last message that is known at or before a time, and the first one after it.
fn sides((first, last): Times, at: UnixTime) -> [Option<UnixTime>; 2] {
    let before = [last, first].into_iter().find(|time| *time <= at);
    [before, [first, last].into_iter().find(|time| *time > at)]
}

fn when(times: Times, at: UnixTime) -> String {
    let sides = sides(times, at);
    match sides.map(|time| distance(time, at).map(duration)) {
        [Some(before), Some(after)] => format!("from {before} before to {after} after"),
        [Some(before), None] => format!("{before} before"),
        [None, Some(after)] => format!("{after} after"),
        [None, None] => String::new(),
    }
}

/// What was near the time, or is nearest to it.
fn why(
    history: &mut dyn HistoryReader,
    (ip, at): (IpAddr, UnixTime),
    claims: &Claims,
    nearest: Times,
) -> String {
    let Claims { network, mac, mdns, given, asked } = *claims;
    let is_near = |times: &Times| away(*times, at) <= away(nearest, at);
    let mut all = Vec::new();
    let mdns = mdns.filter(is_near);
    all.extend(mdns.map(|times| format!("announced by mDNS {}", when(times, at))));
    if let Some(times) = given.filter(is_near) {
        // A fault of the leases is none of this answer.
        let leases = history.leases((ip, mac), at).unwrap_or_default();
        let leases = leases.into_iter().filter(|lease| lease.network == network);
        let lease = leases.max_by_key(|lease| lease.begin);
        let lease = lease.map_or(String::new(), |lease| leases::words(ip, &lease, at));
        let what = if ip.is_ipv4() { "given by a DHCP server" } else { "registered" };
        all.push(format!("{what} {}{lease}", when(times, at)));
    }
    if let (true, Some(times)) = (all.is_empty(), asked) {
        let not_given = if given.is_none() { ", and no server was seen to give it" } else { "" };
        all.push(format!("only requested by DHCP {}{not_given}", when(times, at)));
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
