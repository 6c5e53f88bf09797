//! Of an address that no MAC was seen to use near a time: which MACs announced it, have a lease of it, or asked for it; and the same
//! of a MAC. It is what messages say, and any host can send them. No I/O and no clock, but for the history.

mod devices;
mod remarks;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aw_output::NameSource;
use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    clocks::Clocks,
    history_reader::{ClaimedAddress, HistoryReader, Lease, NearestSightings, Network, TimeRange},
    leases,
    left_out::Why,
    queries::{macs, network, row},
    result_table::Cell,
    who::{ADDRESS, LEASES, NEAR, NETWORK, SECONDS, WHY, distance, duration},
};

pub use self::{
    devices::{DeviceKey, UnseenDevice, devices},
    remarks::{
        Last, Subject, UnseenRemark, in_range, later, listed, of_address, remarks, without_rows,
    },
};

/// MACs that are listed: a host can invent any number.
const LISTED: usize = 8;
/// The last time of a claim that is repeated may be an hour old, in seconds.
const STALE: i64 = 3_600;

/// Why a message counts for no period, and the word for `how_sure` and `not_seen_in_use`, the strongest first. Who announces an address or
/// registers it says that it uses it.
const STRENGTHS: [(Why, &str); 4] = [
    (Why::Announced, "announced"),
    (Why::Lease, "leased"),
    (Why::Renewed, "renewed"),
    (Why::Requested, "requested"),
];

impl Why {
    /// Why an announcement, or a question to a server, counts for no period.
    pub fn of_claim(source: NameSource) -> Option<Why> {
        match source {
            NameSource::MdnsAddress => Some(Why::Announced),
            NameSource::RenewedAddress => Some(Why::Renewed),
            NameSource::RequestedAddress => Some(Why::Requested),
            _ => None,
        }
    }
}

/// The place in [`STRENGTHS`].
fn strength(why: Why) -> usize {
    STRENGTHS.iter().position(|(one, _)| *one == why).unwrap_or(STRENGTHS.len() - 1)
}

/// From when until when.
type Times = (UnixTime, UnixTime);

/// What a MAC in a network has of an address.
struct Claims {
    network: usize,
    mac: MacAddr,
    ip: IpAddr,
    mdns: Option<Times>,
    renewed: Option<Times>,
    asked: Option<Times>,
    /// When a server gave it the address, or when it registered an IPv6 address: last before the time in question, and first after it.
    given: [Option<UnixTime>; 2],
    /// The last lease that began before the time, if the history has it.
    lease: Option<Lease>,
}

/// What orders the claims: how many seconds they are away from the time, how strong they are, and which one comes first of equal ones.
type Rank = (i64, usize, i64);

impl Claims {
    fn new((network, mac, ip): Key) -> Claims {
        let (mdns, renewed, asked, given, lease) = (None, None, None, [None; 2], None);
        Claims { network, mac, ip, mdns, renewed, asked, given, lease }
    }

    /// How many seconds a time is after the last message, or before the first one; 0 of a time in between.
    fn away(&self, (first, last): Times, at: UnixTime) -> i64 {
        let (since, until) = (seconds_from(last, at), seconds_from(at, first));
        if since <= STALE && until <= 0 { 0 } else { since.max(until) }
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
    fn all(&self, at: UnixTime) -> Vec<(Rank, [Option<UnixTime>; 2])> {
        let mut all = Vec::new();
        let messages = [
            (Why::Announced, self.mdns),
            (Why::Renewed, self.renewed),
            (Why::Requested, self.asked),
        ];
        for (why, times) in messages {
            let how = strength(why);
            let each =
                |times: Times| ((self.away(times, at), how, times.0.seconds()), sides(times, at));
            all.extend(times.map(each));
        }
        if let Some(time) = self.given.into_iter().flatten().next() {
            let (why, first) = match self.ip.is_ipv4() {
                true => (Why::Lease, time.seconds().saturating_neg()),
                false => (Why::Announced, time.seconds()),
            };
            all.push(((self.away_from_lease(at), strength(why), first), self.given));
        }
        all
    }

    /// For how many seconds it has announced the address, or has its lease.
    fn longest(&self, at: UnixTime) -> i64 {
        let lease = self.lease.filter(|lease| lease.until > at).map(|lease| (lease.begin, at));
        let all = [self.mdns, self.renewed, self.asked, lease].into_iter().flatten();
        all.map(|(first, last)| seconds_from(first, last)).max().unwrap_or(0)
    }
}

/// A network, a MAC in it, and an address.
type Key = (usize, MacAddr, IpAddr);

/// What is known of each.
#[derive(Default)]
struct AllClaims(BTreeMap<Key, Claims>);

impl AllClaims {
    fn of(&mut self, key: Key) -> &mut Claims {
        self.0.entry(key).or_insert_with(|| Claims::new(key))
    }

    fn add_claimed(&mut self, claimed: &[ClaimedAddress]) {
        for ClaimedAddress { network, mac, ip, why, first, last, .. } in claimed {
            let claims = self.of((*network, *mac, *ip));
            let known = match why {
                Why::Announced => &mut claims.mdns,
                Why::Renewed => &mut claims.renewed,
                _ => &mut claims.asked,
            };
            let (first, last) = (*first, *last);
            *known = Some(known.map_or((first, last), |one| (one.0.min(first), one.1.max(last))));
        }
    }

    fn add_given(&mut self, ip: IpAddr, nearest: &[NearestSightings], clocks: &Clocks) {
        for NearestSightings { network, mac, before, after, .. } in nearest {
            let sides = [before, after].map(|side| side.lease);
            let sides = sides.map(|time| time.filter(|time| clocks.is_set(*network, *time)));
            if sides.iter().any(Option::is_some) {
                let [before, after] = &mut self.of((*network, *mac, ip)).given;
                *before = (*before).max(sides[0]);
                *after = [*after, sides[1]].into_iter().flatten().min();
            }
        }
    }

    /// Adds the leases of those whose messages from a server are nearest.
    fn add_leases(&mut self, history: &mut dyn HistoryReader, at: UnixTime, clocks: &Clocks) {
        let mut given: Vec<_> = self.0.values_mut().filter(|claims| claims.is_given()).collect();
        given.sort_by_key(|one| (one.away_from_lease(at), one.network, one.mac, one.ip));
        for claims in given.into_iter().take(LEASES) {
            // A fault of the leases is none of this answer.
            let leases = history.leases((claims.ip, claims.mac), at).unwrap_or_default();
            let is_right = |one: &Lease| {
                let Lease { network, begin, .. } = *one;
                network == claims.network && begin <= at && clocks.is_set(network, begin)
            };
            claims.lease = leases.into_iter().filter(is_right).max_by_key(|lease| lease.begin);
        }
    }

    /// Leaves out networks in which a sighting is as near as a message can be.
    fn admit(&mut self, history: &dyn HistoryReader, limits: &Limits) {
        self.0.retain(|(network, ..), _| limits.of(history, *network) > 0);
    }

    /// Those that are nearer than the nearest sighting: what was there at the time comes first, of these the strongest. In whole seconds,
    /// which is what a server has.
    fn ranked(self, history: &dyn HistoryReader, at: UnixTime, limits: &Limits) -> Vec<Ranked> {
        let nearest = |claims: Claims| {
            let (rank, sides) = claims.all(at).into_iter().min()?;
            let is_near = rank.0 < limits.of(history, claims.network);
            is_near.then_some((rank, sides, claims))
        };
        let mut all: Vec<Ranked> = self.0.into_values().filter_map(nearest).collect();
        all.sort_by_cached_key(|(rank, _, claims)| {
            (*rank, network(history, claims.network), claims.mac, claims.ip)
        });
        all
    }
}

/// How many seconds the nearest sighting is away in each network: what messages say counts only if it is nearer, and not at all where one is
/// near.
#[derive(Default)]
pub struct Limits(Vec<(Network, i64)>);

impl Limits {
    pub fn add(&mut self, network: Network, seconds: i64) {
        let seconds = if seconds <= NEAR { 0 } else { seconds };
        match self.0.iter_mut().find(|(known, _)| *known == network) {
            Some((_, known)) => *known = seconds.min(*known),
            None => self.0.push((network, seconds)),
        }
    }

    fn of(&self, history: &dyn HistoryReader, index: usize) -> i64 {
        let network = network(history, index);
        self.0.iter().find(|(known, _)| *known == network).map_or(i64::MAX, |(_, seconds)| *seconds)
    }
}

type Ranked = (Rank, [Option<UnixTime>; 2], Claims);

/// A row of what messages say.
pub struct NearRow {
    /// How many seconds it is away from the time that is asked for.
    away: i64,
    cells: Vec<Cell>,
    /// That the MAC announced the address in multicast DNS near the time.
    announced: Option<String>,
}

impl NearRow {
    fn new(history: &dyn HistoryReader, (rank, sides, claims): &Ranked, at: UnixTime) -> NearRow {
        let Claims { network, mac, ip, mdns, .. } = claims;
        let (away, how) = (rank.0, rank.1);
        let [before, after] = sides.map(|time| distance(time, at).into());
        let mut cells = vec![Cell::text(mac), Cell::None, Cell::None];
        cells.extend([STRENGTHS[how].1.to_owned(), why(claims, at, away)].map(Cell::Text));
        cells.extend([Cell::text(ip), at.into(), before, after, 0.into(), macs(&[])]);
        NearRow {
            away,
            cells: row(history, *network, cells),
            announced: mdns
                .filter(|times| claims.away(*times, at) <= away)
                .map(|times| announced(times, at)),
        }
    }

    /// Whether it is in the place of the probe of the same MAC.
    fn hides(&self, probe: &[Cell]) -> bool {
        self.is_of(probe) && seconds_away(probe).is_none_or(|seconds| self.away <= seconds)
    }

    /// Whether a row is of the same MAC, address and network.
    fn is_of(&self, row: &[Cell]) -> bool {
        let parts = |row: &[Cell]| (row[0].clone(), row[ADDRESS].clone(), row[NETWORK..].to_vec());
        parts(&self.cells) == parts(row)
    }
}

/// How many seconds the nearest sighting of a row is away from the time.
pub fn seconds_away(row: &[Cell]) -> Option<i64> {
    let seconds = SECONDS.into_iter().filter_map(|at| match row[at] {
        Cell::Number(seconds) => Some(seconds.saturating_abs()),
        _ => None,
    });
    seconds.min()
}

/// Adds what messages say to the rows of an answer. Of a MAC that has a row, it is said there; a probe is only a question, so what is
/// nearer takes its place.
pub fn add(rows: &mut Vec<Vec<Cell>>, unseen: Vec<NearRow>, is_probe: impl Fn(&[Cell]) -> bool) {
    rows.retain(|row| !is_probe(row) || !unseen.iter().any(|one| one.hides(row)));
    let mut new = Vec::new();
    for one in unseen {
        let Some(seen) = rows.iter_mut().find(|row| !is_probe(row) && one.is_of(row)) else {
            new.push(one.cells);
            continue;
        };
        if let (Cell::Text(why), Some(announced)) = (&mut seen[WHY], one.announced) {
            *why += &format!("; {announced} (a claim)");
        }
    }
    let at = if rows.iter().all(|row| is_probe(row)) { 0 } else { rows.len() };
    rows.splice(at..at, new);
}

/// The rows of `who`, and how many MACs have none. The MAC that has announced the
/// address for the longest time has a row: a flood of a day does not hide one that did for a day.
pub fn rows(
    history: &mut dyn HistoryReader,
    (ip, at): (IpAddr, UnixTime),
    nearest: &[NearestSightings],
    limits: &Limits,
) -> Result<(Vec<NearRow>, u64), Error> {
    let range = TimeRange { from: at, to: at };
    let clocks = history.clocks().asked(range);
    let mut found = AllClaims::default();
    let mut claimed = history.claimed_addresses(ip, range)?;
    set_clocks(&mut claimed, &clocks);
    found.add_claimed(&claimed);
    found.add_given(ip, nearest, &clocks);
    found.admit(history, limits);
    found.add_leases(history, at, &clocks);
    let mut all = found.ranked(history, at, limits);
    let longest = (LISTED - 1..all.len()).rev().max_by_key(|place| all[*place].2.longest(at));
    if let Some(longest) = longest {
        all.swap(LISTED - 1, longest);
    }
    let (listed, others) = all.split_at(LISTED.min(all.len()));
    let macs = |all: &[Ranked]| all.iter().map(|(.., one)| one.mac).collect::<BTreeSet<_>>();
    let more = macs(others).difference(&macs(listed)).count();
    let rows = listed.iter().map(|one| NearRow::new(history, one, at)).collect();
    Ok((rows, more as u64))
}

/// The same of a MAC: the addresses that it announced, got or asked for. `given`: what is nearest to the time at addresses of which a server
/// says that it may use them.
pub fn rows_of_mac(
    history: &mut dyn HistoryReader,
    (mac, at): (MacAddr, UnixTime),
    given: &[(IpAddr, NearestSightings)],
    limits: &Limits,
) -> Result<Vec<NearRow>, Error> {
    let clocks = history.clocks().asked(TimeRange { from: at, to: at });
    let mut found = AllClaims::default();
    let mut claimed = history.addresses_claimed_by(mac)?;
    set_clocks(&mut claimed, &clocks);
    found.add_claimed(&claimed);
    given.iter().for_each(|(ip, one)| found.add_given(*ip, &[*one], &clocks));
    found.admit(history, limits);
    found.add_leases(history, at, &clocks);
    let all = found.ranked(history, at, limits);
    Ok(all.iter().take(LISTED).map(|one| NearRow::new(history, one, at)).collect())
}

/// Leaves out what is of a clock that was not set.
fn set_clocks(all: &mut Vec<ClaimedAddress>, clocks: &Clocks) {
    all.retain(|one| clocks.is_set(one.network, one.last));
    for one in all.iter_mut().filter(|one| !clocks.is_set(one.network, one.first)) {
        one.first = one.last;
    }
}

/// How many whole seconds later than a time another one is.
fn seconds_from(time: UnixTime, later: UnixTime) -> i64 {
    later.seconds().saturating_sub(time.seconds())
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

fn announced(times: Times, at: UnixTime) -> String {
    format!("announced by mDNS {}", when(sides(times, at), at))
}

/// What was near the time, or is nearest to it: so many seconds away, or less.
fn why(claims: &Claims, at: UnixTime, nearest: i64) -> String {
    let (ip, mut all) = (claims.ip, Vec::new());
    let mdns = claims.mdns.filter(|times| claims.away(*times, at) <= nearest);
    all.extend(mdns.map(|times| announced(times, at)));
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
    let renewed = claims.renewed.filter(|times| claims.away(*times, at) <= nearest);
    all.extend(
        renewed.map(|times| format!("renewed its lease by DHCP {}", when(sides(times, at), at))),
    );
    if let (true, Some(times)) = (all.is_empty(), claims.asked) {
        let not_given = if claims.is_given() { "" } else { ", and no server was seen to give it" };
        let when = when(sides(times, at), at);
        all.push(format!("only requested by DHCP {when}{not_given}"));
    }
    format!("not seen in use: {} (a claim)", all.join("; "))
}

#[cfg(test)]
mod tests;
