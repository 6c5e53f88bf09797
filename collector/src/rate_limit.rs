//! The rate limit (`-r`): after a report of an address, it is not reported for a time with the same MAC. Another
//! MAC is always reported.
//!
//! It has no clock: the frames' times decide, so that a replay gives the same events. Its memory is bounded by the
//! number of pairings. The average cost of a step does not depend on that number, and nothing is allocated once the
//! table is full.
//!
//! A full table forgets so that no host can make it forget the pairings of others with made-up ones:
//!
//! * The *first* pairings, which came while the table was less than half full, are kept as long as each is seen once in
//!   30 days. Nothing that others send can remove one: made-up MACs, addresses and VLANs come later.
//! * Of the *later* ones, which fill the other half, those of large groups are forgotten first: of a MAC with more than
//!   [`CROWD`] pairings, then of an interface with more than half of the table, then the one that was not seen for
//!   longest. Only a flood that changes its MACs, too, can remove pairings of others here, and costs them no
//!   more than a report that is repeated too early.

use std::{
    hash::{BuildHasher, RandomState},
    iter::successors,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use hashbrown::HashTable;
use shm_layout::{Evidence, InterfaceName, MacAddr, UnixTime, VlanId};

/// How long a pairing is not reported again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppression {
    /// 0: every sighting is reported.
    Off,
    /// For this number of seconds.
    Seconds(u32),
    /// -1: for ever.
    Forever,
}

impl FromStr for Suppression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<i64>() {
            Ok(-1) => Ok(Suppression::Forever),
            Ok(0) => Ok(Suppression::Off),
            Ok(seconds) if let Ok(seconds) = u32::try_from(seconds) => {
                Ok(Suppression::Seconds(seconds))
            }
            _ => Err(
                "must be a number of seconds, 0 for no limit, or -1 to report an address again only with another MAC",
            ),
        }
    }
}

/// How far in the future a report's time may be, in nanoseconds: a day, because clocks are set back by hours.
const FUTURE: i64 = 86_400_000_000_000;

impl Suppression {
    fn covers(self, reported: UnixTime, now: UnixTime) -> bool {
        let elapsed = now.as_nanos().saturating_sub(reported.as_nanos());
        match self {
            Suppression::Off => false,
            Suppression::Seconds(seconds) => {
                let limit = i64::from(seconds) * 1_000_000_000;
                // A report more than a day in the future was made with a wrong clock.
                (-limit - FUTURE..=limit).contains(&elapsed)
            }
            Suppression::Forever => true,
        }
    }
}

/// The key of a pairing: an address has one MAC at a time in one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PairingKey {
    pub interface: InterfaceName,
    pub vlan: VlanId,
    pub outer_vlan: VlanId,
    /// The router that reported it: two routers may have the same private addresses behind them.
    pub router: Ipv4Addr,
    pub address: Ipv6Addr,
}

/// The decision about a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Report it.
    pub report: bool,
    /// Another pairing was forgotten for it.
    pub forgot: bool,
}

/// Days in a period; a pairing remembers the one in which it was last seen.
const PERIOD: i64 = 10;
/// Seen so many periods ago, that is at least 30 days, a first pairing may be forgotten.
const SILENT: i8 = 4;
/// No host has more addresses: who claims more is a proxy, or makes them up.
const CROWD: u32 = 256;
/// So many of the later pairings are looked at, in search of one of a large group: of those not seen for longest, then of
/// the newest ones, among which are those of a flood.
const CANDIDATES: usize = 8;
/// For so many pairings there is one counter of MACs. MACs of the same hash share it: in a full table of as many MACs it
/// counts 16 pairings on average, far from a crowd.
const PAIRINGS_A_COUNTER: usize = 16;
/// Counters of interfaces, and of routers that report.
const INTERFACES: usize = 64;

/// In the kind of a pairing: it was in a frame of another MAC.
const FORWARDED: u8 = 1 << 7;

/// A pairing as it was last reported.
struct Pairing {
    key: PairingKey,
    /// As bytes, so that the following fields take no more memory. Of a sighting in a frame of another MAC, a hash of both.
    mac: [u8; 6],
    /// The kind of evidence, and [`FORWARDED`].
    kind: u8,
    /// The period in which it was last seen, modulo 256.
    period: u8,
    reported: UnixTime,
}

fn period(now: UnixTime) -> u8 {
    now.seconds().div_euclid(PERIOD * 86_400) as u8
}

impl Pairing {
    fn hash(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((self.key, self.kind))
    }
}

/// A pairing's neighbours in the list from the least recently to the most recently seen. Separate from the
/// pairings: a step in the list accesses three of these, and they are small enough to stay in the CPU's
/// cache.
struct Neighbors {
    earlier: u32,
    later: u32,
}

/// No pairing: the ends of a list.
const END: u32 = u32::MAX;

/// The least recently and the most recently seen pairing.
#[derive(Clone, Copy)]
struct Ends {
    least_recent: u32,
    most_recent: u32,
}

/// The rate limit, and the pairings that it remembers.
pub struct RateLimit {
    suppression: Suppression,
    max: usize,
    /// Indexes into `pairings`, by the hash of their keys. The hash is keyed with a random number, so that
    /// an attacker cannot choose addresses that collide.
    index: HashTable<u32>,
    hasher: RandomState,
    pairings: Vec<Pairing>,
    neighbors: Vec<Neighbors>,
    /// Of the first pairings, whose places are below `max / 2`, and of the later ones.
    lists: [Ends; 2],
    /// How many pairings each MAC has, wherever it is seen, by its hash.
    by_mac: Vec<u32>,
    by_interface: [u32; INTERFACES],
    /// How many of `by_mac` are above [`CROWD`].
    crowds: usize,
}

impl RateLimit {
    /// Remembers at most `max` pairings, at least one.
    pub fn new(suppression: Suppression, max: usize) -> Self {
        let max = max.clamp(1, END as usize);
        RateLimit {
            suppression,
            max,
            index: HashTable::new(),
            hasher: RandomState::new(),
            pairings: Vec::new(),
            neighbors: Vec::new(),
            lists: [Ends { least_recent: END, most_recent: END }; 2],
            by_mac: vec![0; max / PAIRINGS_A_COUNTER + 1],
            by_interface: [0; INTERFACES],
            crowds: 0,
        }
    }

    /// Decides whether to report a sighting, and remembers it. Each kind of evidence is limited by itself: a probe does
    /// not suppress the report of the claim that follows it.
    pub fn admit(
        &mut self,
        key: PairingKey,
        evidence: Evidence,
        mac: MacAddr,
        now: UnixTime,
    ) -> Verdict {
        self.admit_of(key, evidence as u8, mac.octets(), now)
    }

    /// The same for a sighting in a frame of another MAC. It is limited by itself, too: a claim that is forged in the name of
    /// a MAC neither hides behind the claims of that MAC nor suppresses them.
    pub fn admit_forwarded(
        &mut self,
        key: PairingKey,
        evidence: Evidence,
        (mac, source): (MacAddr, MacAddr),
        now: UnixTime,
    ) -> Verdict {
        // Both in the room of one. The hash is keyed: no sender can choose two pairs with the same one.
        let [pair @ .., _, _] = self.hasher.hash_one((mac, source)).to_le_bytes();
        self.admit_of(key, evidence as u8 | FORWARDED, pair, now)
    }

    fn admit_of(&mut self, key: PairingKey, kind: u8, mac: [u8; 6], now: UnixTime) -> Verdict {
        if self.suppression == Suppression::Off {
            return Verdict { report: true, forgot: false };
        }
        let hash = self.hasher.hash_one((key, kind));
        let is_same = |pairing: &Pairing| pairing.key == key && pairing.kind == kind;
        let known = self.index.find(hash, |place| is_same(&self.pairings[*place as usize]));
        if let Some(&place) = known {
            self.move_to_end(place);
            let pairing = &mut self.pairings[place as usize];
            pairing.period = period(now);
            let changed = pairing.mac != mac;
            let report = changed || !self.suppression.covers(pairing.reported, now);
            if report {
                pairing.reported = now;
            }
            if changed {
                self.leave_groups(place);
                self.pairings[place as usize].mac = mac;
                self.join_groups(place);
            }
            return Verdict { report, forgot: false };
        }
        let forgot = self.pairings.len() == self.max;
        let place = if forgot { self.forget(now) } else { self.pairings.len() as u32 };
        let pairing = Pairing { key, mac, kind, period: period(now), reported: now };
        match self.pairings.get_mut(place as usize) {
            Some(old) => *old = pairing,
            None => {
                self.pairings.push(pairing);
                self.neighbors.push(Neighbors { earlier: END, later: END });
            }
        }
        self.append(place);
        self.join_groups(place);
        self.index_place(hash, place, forgot);
        Verdict { report: true, forgot }
    }

    /// Inserts a place into the index. An entry that is removed from a crowded table leaves a tombstone, and
    /// when tombstones have used up the free places, hashbrown would double the table; here it is refilled
    /// instead, so that it does not grow once `max` pairings are in it. Less than two thirds of the places
    /// are in use, so tombstones are rare, and refilling even more so.
    fn index_place(&mut self, hash: u64, place: u32, forgot: bool) {
        let (pairings, hasher) = (&self.pairings, &self.hasher);
        let rehash = |place: &u32| pairings[*place as usize].hash(hasher);
        if forgot && self.index.len() == self.index.capacity() {
            self.index.clear();
            for place in 0..pairings.len() as u32 {
                self.index.insert_unique(rehash(&place), place, rehash);
            }
            return;
        }
        self.index.insert_unique(hash, place, rehash);
        // `capacity` is seven eighths of the places.
        if !forgot && self.index.len() > self.index.capacity() / 4 * 3 {
            self.index.reserve(self.index.capacity() - self.index.len() + 1, rehash);
        }
    }

    /// Removes a pairing from index, list and groups; returns its place, which is then free.
    fn forget(&mut self, now: UnixTime) -> u32 {
        let place = self.least_missed(now);
        let hash = self.pairings[place as usize].hash(&self.hasher);
        // Not with `entry`, which reserves room for one more.
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        self.unlink(place);
        self.leave_groups(place);
        place
    }

    /// The pairing to forget: a first one that is gone, or a later one, if possible of a large group.
    fn least_missed(&self, now: UnixTime) -> u32 {
        let [first, later] = self.lists;
        if first.least_recent != END {
            let seen = self.pairings[first.least_recent as usize].period;
            // A negative difference means that the clock was set back.
            if period(now).wrapping_sub(seen) as i8 >= SILENT {
                return first.least_recent;
            }
        }
        let largest = if self.crowds > 0 { 2 } else { 1 };
        let (mut found, mut size) = (later.least_recent, 0);
        let next = |place: &u32, step: fn(&Neighbors) -> u32| {
            Some(step(&self.neighbors[*place as usize])).filter(|place| *place != END)
        };
        let oldest = successors(Some(later.least_recent), |place| next(place, |at| at.later));
        let newest = successors(Some(later.most_recent), |place| next(place, |at| at.earlier));
        for place in oldest.take(CANDIDATES).chain(newest.take(CANDIDATES)) {
            let other = self.size(place);
            if other > size {
                (found, size) = (place, other);
            }
            if size == largest {
                break;
            }
        }
        found
    }

    /// The size of a pairing's groups: 2 if its MAC has too many, 1 if its interface has most of the table, otherwise 0.
    fn size(&self, place: u32) -> u8 {
        let [mac, interface] = self.groups(place);
        match self.by_mac[mac] > CROWD {
            true => 2,
            false => u8::from(self.by_interface[interface] as usize > self.max / 2),
        }
    }

    /// The counters of a pairing's groups.
    fn groups(&self, place: u32) -> [usize; 2] {
        let Pairing { key, mac, .. } = &self.pairings[place as usize];
        let mac = self.hasher.hash_one(mac) as usize % self.by_mac.len();
        [mac, self.interface_counter(key)]
    }

    fn interface_counter(&self, key: &PairingKey) -> usize {
        self.hasher.hash_one((&key.interface, &key.router)) as usize % INTERFACES
    }

    fn join_groups(&mut self, place: u32) {
        let [mac, interface] = self.groups(place);
        self.by_mac[mac] += 1;
        self.by_interface[interface] += 1;
        self.crowds += usize::from(self.by_mac[mac] == CROWD + 1);
    }

    fn leave_groups(&mut self, place: u32) {
        let [mac, interface] = self.groups(place);
        self.crowds -= usize::from(self.by_mac[mac] == CROWD + 1);
        self.by_mac[mac] -= 1;
        self.by_interface[interface] -= 1;
    }

    /// The list of a place.
    fn ends(&mut self, place: u32) -> &mut Ends {
        &mut self.lists[usize::from(place as usize >= self.max / 2)]
    }

    fn move_to_end(&mut self, place: u32) {
        if place != self.ends(place).most_recent {
            self.unlink(place);
            self.append(place);
        }
    }

    fn unlink(&mut self, place: u32) {
        let Neighbors { earlier, later } = self.neighbors[place as usize];
        match earlier {
            END => self.ends(place).least_recent = later,
            earlier => self.neighbors[earlier as usize].later = later,
        }
        match later {
            END => self.ends(place).most_recent = earlier,
            later => self.neighbors[later as usize].earlier = earlier,
        }
    }

    fn append(&mut self, place: u32) {
        let last = std::mem::replace(&mut self.ends(place).most_recent, place);
        match last {
            END => self.ends(place).least_recent = place,
            last => self.neighbors[last as usize].later = place,
        }
        self.neighbors[place as usize] = Neighbors { earlier: last, later: END };
    }
}

#[cfg(test)]
mod tests;
