//! The rate limit (`-r`): after a report of an address, it is not reported for a time with the same MAC. Another
//! MAC is always reported.
//!
//! It has no clock: the frames' times decide, so that a replay gives the same events. Its memory is bounded
//! by the number of pairings; when the table is full, it forgets the pairing that was not seen for longest. The
//! average cost of a step does not depend on the number of pairings, and nothing is allocated once the
//! table is full.

use std::{
    hash::{BuildHasher, RandomState},
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

/// A pairing as it was last reported.
struct Pairing {
    key: PairingKey,
    /// As bytes, so that the kind of evidence takes no more memory.
    mac: [u8; 6],
    evidence: Evidence,
    reported: UnixTime,
}

impl Pairing {
    fn hash(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((self.key, self.evidence))
    }
}

/// A pairing's neighbours in the list from the least recently to the most recently seen. Separate from the
/// pairings: a step in the list accesses three of these, and they are small enough to stay in the CPU's
/// cache.
struct Neighbors {
    earlier: u32,
    later: u32,
}

/// No pairing: the ends of the list.
const END: u32 = u32::MAX;

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
    least_recent: u32,
    most_recent: u32,
}

impl RateLimit {
    /// Remembers at most `max` pairings, at least one.
    pub fn new(suppression: Suppression, max: usize) -> Self {
        RateLimit {
            suppression,
            max: max.clamp(1, END as usize),
            index: HashTable::new(),
            hasher: RandomState::new(),
            pairings: Vec::new(),
            neighbors: Vec::new(),
            least_recent: END,
            most_recent: END,
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
        if self.suppression == Suppression::Off {
            return Verdict { report: true, forgot: false };
        }
        let hash = self.hasher.hash_one((key, evidence));
        let mac = mac.octets();
        let is_same = |pairing: &Pairing| pairing.key == key && pairing.evidence == evidence;
        let known = self.index.find(hash, |place| is_same(&self.pairings[*place as usize]));
        if let Some(&place) = known {
            self.move_to_end(place);
            let pairing = &mut self.pairings[place as usize];
            let report = pairing.mac != mac || !self.suppression.covers(pairing.reported, now);
            if report {
                pairing.mac = mac;
                pairing.reported = now;
            }
            return Verdict { report, forgot: false };
        }
        let forgot = self.pairings.len() == self.max;
        let place = if forgot { self.forget_least_recent() } else { self.pairings.len() as u32 };
        let pairing = Pairing { key, mac, evidence, reported: now };
        match self.pairings.get_mut(place as usize) {
            Some(old) => *old = pairing,
            None => {
                self.pairings.push(pairing);
                self.neighbors.push(Neighbors { earlier: END, later: END });
            }
        }
        self.append(place);
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

    /// Removes the least recently seen pairing from index and list; returns its place, which is then free.
    fn forget_least_recent(&mut self) -> u32 {
        let place = self.least_recent;
        let hash = self.pairings[place as usize].hash(&self.hasher);
        // Not with `entry`, which reserves room for one more.
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        self.unlink(place);
        place
    }

    fn move_to_end(&mut self, place: u32) {
        if place != self.most_recent {
            self.unlink(place);
            self.append(place);
        }
    }

    fn unlink(&mut self, place: u32) {
        let Neighbors { earlier, later } = self.neighbors[place as usize];
        match earlier {
            END => self.least_recent = later,
            earlier => self.neighbors[earlier as usize].later = later,
        }
        match later {
            END => self.most_recent = earlier,
            later => self.neighbors[later as usize].earlier = earlier,
        }
    }

    fn append(&mut self, place: u32) {
        self.neighbors[place as usize].earlier = self.most_recent;
        self.neighbors[place as usize].later = END;
        match self.most_recent {
            END => self.least_recent = place,
            last => self.neighbors[last as usize].later = place,
        }
        self.most_recent = place;
    }
}

#[cfg(test)]
mod tests;
