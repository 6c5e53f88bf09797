//! The rate limit: one report of a pairing, then silence for a while. A change of MAC is always
//! reported.
//!
//! It has no clock: a frame's own time decides, so that a replay gives the same lines. Its memory
//! is bounded by the number of pairings it may know; beyond that it forgets the one that was
//! silent longest. On average a step costs the same however many it knows, and it takes no memory
//! once the table has grown.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use hashbrown::HashTable;
use shm_layout::{InterfaceName, MacAddr, UnixTime, VlanId};

/// How long a pairing is silent after it was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// 0: every sighting is reported.
    None,
    /// For so many seconds.
    Seconds(u32),
    /// -1: for ever.
    Forever,
}

impl FromStr for Silence {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<i64>() {
            Ok(-1) => Ok(Silence::Forever),
            Ok(0) => Ok(Silence::None),
            Ok(seconds) if let Ok(seconds) = u32::try_from(seconds) => {
                Ok(Silence::Seconds(seconds))
            }
            _ => Err("a number of seconds, 0 for no limit, -1 for ever"),
        }
    }
}

/// How far in the future a report may lie, in nanoseconds: a day, for clocks are set back by hours.
const FUTURE: i64 = 86_400_000_000_000;

impl Silence {
    fn covers(self, reported: UnixTime, now: UnixTime) -> bool {
        let elapsed = now.as_nanos().saturating_sub(reported.as_nanos());
        match self {
            Silence::None => false,
            Silence::Seconds(seconds) => {
                let silence = i64::from(seconds) * 1_000_000_000;
                // A report from days ahead of now was made by a clock that was wrong.
                (-silence - FUTURE..=silence).contains(&elapsed)
            }
            Silence::Forever => true,
        }
    }
}

/// What has one MAC at a time: an address at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub interface: InterfaceName,
    pub vlan: VlanId,
    pub outer_vlan: VlanId,
    /// Who reported it: two routers may have the same private addresses behind them.
    pub router: Ipv4Addr,
    pub address: Ipv6Addr,
}

/// What became of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// To be reported.
    pub report: bool,
    /// Another pairing was forgotten for it.
    pub forgot: bool,
}

/// A pairing as last reported.
struct Pairing {
    key: Key,
    mac: MacAddr,
    reported: UnixTime,
}

/// A pairing's neighbours in the list from the one silent longest to the one just heard. Apart from
/// the pairings, for a step in the list touches three of these, and they are small enough to stay
/// in the processor's cache.
struct Links {
    earlier: u32,
    later: u32,
}

/// No pairing: the list's ends.
const END: u32 = u32::MAX;

/// The pairings known.
pub struct Limit {
    silence: Silence,
    max: usize,
    /// Places in `pairings`, by the hash of their keys; the hash is keyed, so that nobody can
    /// choose addresses that fall together.
    index: HashTable<u32>,
    hasher: RandomState,
    pairings: Vec<Pairing>,
    links: Vec<Links>,
    longest_silent: u32,
    just_heard: u32,
}

impl Limit {
    /// Knows at most `max` pairings, at least one.
    pub fn new(silence: Silence, max: usize) -> Self {
        Limit {
            silence,
            max: max.clamp(1, END as usize),
            index: HashTable::new(),
            hasher: RandomState::new(),
            pairings: Vec::new(),
            links: Vec::new(),
            longest_silent: END,
            just_heard: END,
        }
    }

    /// Decides on a sighting, and remembers it.
    pub fn admit(&mut self, key: Key, mac: MacAddr, now: UnixTime) -> Verdict {
        if self.silence == Silence::None {
            return Verdict { report: true, forgot: false };
        }
        let hash = self.hasher.hash_one(key);
        let known = self.index.find(hash, |place| self.pairings[*place as usize].key == key);
        if let Some(&place) = known {
            self.move_to_end(place);
            let pairing = &mut self.pairings[place as usize];
            let report = pairing.mac != mac || !self.silence.covers(pairing.reported, now);
            if report {
                pairing.mac = mac;
                pairing.reported = now;
            }
            return Verdict { report, forgot: false };
        }
        let forgot = self.pairings.len() == self.max;
        let place = if forgot { self.forget_longest_silent() } else { self.pairings.len() as u32 };
        let pairing = Pairing { key, mac, reported: now };
        match self.pairings.get_mut(place as usize) {
            Some(old) => *old = pairing,
            None => {
                self.pairings.push(pairing);
                self.links.push(Links { earlier: END, later: END });
            }
        }
        self.append(place);
        self.enter(hash, place, forgot);
        Verdict { report: true, forgot }
    }

    /// Puts a place into the index. What is taken out of a crowded table leaves a mark there, and
    /// where marks have used up the room, hashbrown would double the table; here it is filled anew
    /// instead, so that it never grows once all pairings are there. With so much room that less than
    /// two thirds are taken, marks are so rare that this hardly ever happens.
    fn enter(&mut self, hash: u64, place: u32, forgot: bool) {
        let (pairings, hasher) = (&self.pairings, &self.hasher);
        let rehash = |place: &u32| hasher.hash_one(pairings[*place as usize].key);
        if forgot && self.index.len() == self.index.capacity() {
            self.index.clear();
            for place in 0..pairings.len() as u32 {
                self.index.insert_unique(rehash(&place), place, rehash);
            }
            return;
        }
        self.index.insert_unique(hash, place, rehash);
        // `capacity` is seven eighths of the places that there are.
        if !forgot && self.index.len() > self.index.capacity() / 4 * 3 {
            self.index.reserve(self.index.capacity() - self.index.len() + 1, rehash);
        }
    }

    /// Takes the one silent longest out of index and list; tells its place, which is then free.
    fn forget_longest_silent(&mut self) -> u32 {
        let place = self.longest_silent;
        let hash = self.hasher.hash_one(self.pairings[place as usize].key);
        // Not by `entry`, which makes room for one more.
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        self.unlink(place);
        place
    }

    fn move_to_end(&mut self, place: u32) {
        if place != self.just_heard {
            self.unlink(place);
            self.append(place);
        }
    }

    fn unlink(&mut self, place: u32) {
        let Links { earlier, later } = self.links[place as usize];
        match earlier {
            END => self.longest_silent = later,
            earlier => self.links[earlier as usize].later = later,
        }
        match later {
            END => self.just_heard = earlier,
            later => self.links[later as usize].earlier = earlier,
        }
    }

    fn append(&mut self, place: u32) {
        self.links[place as usize].earlier = self.just_heard;
        self.links[place as usize].later = END;
        match self.just_heard {
            END => self.longest_silent = place,
            last => self.links[last as usize].later = place,
        }
        self.just_heard = place;
    }
}

#[cfg(test)]
mod tests;
