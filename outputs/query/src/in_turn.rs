//! Which MACs claim an address in turn. No I/O and no clock.

use std::collections::{HashMap, VecDeque};

use shm_layout::{MacAddr, UnixTime};

/// A claim of one MAC lies between two of another one that are at most so far apart, in nanoseconds: an hour.
const APART: i64 = 3_600_000_000_000;
/// A single claim so soon after the first one of the next MAC may be a frame that came late, in nanoseconds.
const LATE: i64 = 5_000_000_000;
/// Other MACs that a claim is compared with, the latest ones; and pairs that are kept. Who makes up more makes a conflict of it, too.
const OTHERS: usize = 4;
const PAIRS: usize = 1000;

/// A time in which two MACs claimed an address in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// In order.
    pub macs: [MacAddr; 2],
    /// The first claim that lies between two of the other MAC, and the one after it.
    pub first: UnixTime,
    pub next: UnixTime,
    /// The last one that does.
    pub last: UnixTime,
    /// From two on, it is no single frame.
    weight: u32,
}

/// Claims of a MAC without one of another MAC between them.
#[derive(Clone, Copy, Debug)]
struct Run {
    mac: MacAddr,
    first: UnixTime,
    last: UnixTime,
    number: u32,
}

/// The claims of an address in a network, in the order of time.
#[derive(Debug, Default)]
pub struct InTurn {
    run: Option<Run>,
    /// The last claim of each other MAC, and the latest runs of them.
    claimed: HashMap<MacAddr, UnixTime>,
    others: VecDeque<Run>,
    /// MACs that claim it again and again until a time: the history has these claims together.
    together: Vec<(MacAddr, UnixTime)>,
    pairs: HashMap<[MacAddr; 2], Shared>,
    /// The pair of which the next claim decides.
    open: Option<[MacAddr; 2]>,
    found: Vec<Shared>,
}

impl InTurn {
    /// What is known from before a time range, in the order of time, of each MAC once.
    pub fn known(&mut self, mac: MacAddr, time: UnixTime) {
        self.claim(mac, (time, None));
        self.run.iter_mut().for_each(|run| run.number = 0);
    }

    /// Whether [`InTurn::next`] does what [`InTurn::claim`] does.
    pub fn is_next(&self, mac: MacAddr, until: Option<UnixTime>) -> bool {
        let is_same = self.run.is_some_and(|run| run.mac == mac && run.number > 0);
        is_same && until.is_none() && self.open.is_none() && self.together.is_empty()
    }

    pub fn next(&mut self, time: UnixTime) {
        if let Some(run) = &mut self.run {
            run.last = time;
            run.number = run.number.saturating_add(1);
        }
    }

    /// Adds a claim; `until`: the last one of several.
    pub fn claim(&mut self, mac: MacAddr, (time, until): (UnixTime, Option<UnixTime>)) {
        self.together.retain(|(_, until)| *until > time);
        for (other, end) in self.together.clone().into_iter().filter(|(other, _)| *other != mac) {
            self.add(pair(mac, other), [time, time, until.map_or(time, |until| until.min(end))], 2);
        }
        if let Some(until) = until.filter(|until| *until > time)
            && self.together.len() < OTHERS
        {
            self.together.push((mac, until));
        }
        if let Some(run) = self.run.as_mut().filter(|run| run.mac == mac) {
            run.last = time;
            run.number = run.number.saturating_add(1);
            // It is the second one after the claim of another MAC.
            if let Some(pair) = self.open.take().and_then(|pair| self.pairs.get_mut(&pair)) {
                pair.weight += 1;
            }
            return;
        }
        self.open = None;
        let before = self.run.replace(Run { mac, first: time, last: time, number: 1 });
        let Some(before) = before else { return };
        self.claimed.insert(before.mac, before.last);
        let own_run = self.others.iter().find(|run| run.mac == mac).copied();
        self.others.retain(|run| run.mac != mac && run.mac != before.mac);
        if self.others.len() == OTHERS {
            self.others.pop_front();
        }
        self.others.push_back(before);
        let Some(own) = self.claimed.get(&mac).copied().filter(|own| within(*own, time, APART))
        else {
            return;
        };
        let between: Vec<Run> = self.others.iter().filter(|run| run.last > own).copied().collect();
        for other in between {
            let pair = pair(mac, other.mac);
            let is_first = self.pairs.get(&pair).is_some_and(|one| one.weight < 2);
            let is_late = is_first
                && other.number == 1
                && own_run.is_some_and(|own| within(own.first, other.first, LATE));
            let weight = if is_late { 0 } else { 1 + u32::from(other.number > 1) };
            self.add(pair, [other.last, time, other.last], weight);
            if other.mac == before.mac && !is_late {
                self.open = Some(pair);
            }
        }
    }

    fn add(&mut self, macs: [MacAddr; 2], [first, next, last]: [UnixTime; 3], weight: u32) {
        match self.pairs.get_mut(&macs) {
            Some(known) if within(known.last, first, APART) => {
                known.last = known.last.max(last);
                known.weight = known.weight.saturating_add(weight);
            }
            known => {
                let is_known = known.is_some();
                self.found.extend(known.filter(|known| known.weight > 1).map(|known| *known));
                if is_known || self.pairs.len() < PAIRS {
                    self.pairs.insert(macs, Shared { macs, first, next, last, weight });
                }
            }
        }
    }

    /// In the order of time.
    pub fn finish(&mut self) -> Vec<Shared> {
        let mut found = std::mem::take(&mut self.found);
        found.extend(self.pairs.drain().map(|(_, one)| one).filter(|one| one.weight > 1));
        found.sort_by_key(|one| (one.first, one.macs));
        found
    }
}

/// Two MACs in order.
pub fn pair(one: MacAddr, other: MacAddr) -> [MacAddr; 2] {
    [one.min(other), one.max(other)]
}

fn within(time: UnixTime, later: UnixTime, most: i64) -> bool {
    later.as_nanos().saturating_sub(time.as_nanos()) <= most
}

#[cfg(test)]
mod tests;
