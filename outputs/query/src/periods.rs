//! From sightings to periods: which MAC had an address from when to when. No I/O and no clock.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use shm_layout::{Evidence, MacAddr, UnixTime};

use crate::{
    clocks::Clocks,
    counted,
    established::is_established,
    history_reader::{AddressSighting, NearestSightings},
    in_turn::{InTurn, Shared},
    left_out::{LeftOuts, Why},
};

/// A MAC that is seen again within this time, in nanoseconds, has kept the address: two MACs that share an
/// address (failover, a conflict) have one period each, and not one for each packet.
pub const KEPT_WITHIN: i64 = 600_000_000_000;

/// A time in which a MAC had an address, as far as sightings show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub network: usize,
    pub mac: MacAddr,
    pub first: UnixTime,
    pub last: UnixTime,
    /// Sightings in the time range; 0 if all are before it.
    pub count: u64,
    /// It began before the time range.
    pub is_older: bool,
    /// The MAC that was seen last before this period, and when.
    pub previous: Option<(MacAddr, UnixTime)>,
}

/// The periods of one address, in the order in which they begin.
#[derive(Debug)]
pub struct PeriodBuilder {
    clocks: Clocks,
    all: Vec<Period>,
    networks: BTreeMap<usize, NetworkState>,
    /// Pairings of which a sign of life counts.
    known: HashSet<(usize, MacAddr)>,
    /// The first claim of each MAC, in frames of its own and in those of each other MAC.
    first: HashMap<(usize, MacAddr, Option<MacAddr>), UnixTime>,
    /// Sightings that count for no period.
    pub left_out: LeftOuts,
    /// Other MACs that sent the frames of a MAC's sightings that count.
    sources: HashMap<(usize, MacAddr), Vec<MacAddr>>,
}

/// Of each MAC, other MACs that sent its frames are listed up to this number.
const FRAME_SOURCES: usize = 16;

#[derive(Debug, Default)]
struct NetworkState {
    /// The period of the last sighting, and the last period of each MAC.
    last: Option<usize>,
    of_mac: HashMap<MacAddr, usize>,
    /// The last claim, and which MACs claim in turn.
    owner: Option<(MacAddr, UnixTime)>,
    in_turn: InTurn,
    /// What counts only depending on the next claim, and the order in which that began.
    pending: HashMap<MacAddr, Pending>,
    order: VecDeque<(UnixTime, MacAddr)>,
    has_date: bool,
}

/// Sightings of one MAC that wait for ten minutes for a claim: one of the same MAC makes them count. One of another
/// MAC discards them. Without any, probes do not count, all others do.
#[derive(Debug)]
struct Pending {
    first: UnixTime,
    last: UnixTime,
    messages: LeftOuts,
}

impl PeriodBuilder {
    /// Begins with what is known from before a time range.
    pub fn new(nearest: &[NearestSightings], clocks: Clocks) -> PeriodBuilder {
        let (all, networks, known) = (Vec::new(), BTreeMap::new(), HashSet::new());
        let (left_out, sources) = (LeftOuts::default(), HashMap::new());
        let first = nearest.iter().filter_map(|one| Some((one.of_source(), one.first?))).collect();
        let mut builder = PeriodBuilder { clocks, all, networks, known, first, left_out, sources };
        let nearest = NearestSightings::merged(nearest);
        let mut networks: HashMap<usize, Vec<&NearestSightings>> = HashMap::new();
        nearest.iter().for_each(|one| networks.entry(one.network).or_default().push(one));
        for (network, all) in networks {
            let known = all.iter().filter(|one| one.is_known()).map(|one| (network, one.mac));
            builder.known.extend(known);
            let mut before: Vec<_> = counted::counted(&all)
                .into_iter()
                .filter_map(|one| Some((one.before?, one.mac)))
                .collect();
            before.sort_unstable();
            for (time, mac) in &before {
                builder.record(network, *mac, (*time, *time), 0);
            }
            let claims = all.iter().filter_map(|one| Some((one.before.claim?, one.mac)));
            let mut claims: Vec<_> = claims.collect();
            claims.sort_unstable();
            let state = builder.networks.entry(network).or_default();
            claims.iter().for_each(|(time, mac)| state.in_turn.known(*mac, *time));
            state.owner = claims.last().map(|(time, mac)| (*mac, *time));
            state.has_date = before.iter().any(|(time, _)| builder.clocks.is_set(network, *time));
        }
        builder.all.iter_mut().for_each(|period| period.is_older = true);
        builder
    }

    /// Adds the next sighting. A period ends when another MAC is seen, unless the first is seen again soon.
    pub fn add(&mut self, sighting: AddressSighting) {
        if self.continues(&sighting) {
            return;
        }
        let AddressSighting { time, network, mac, evidence, source, more, .. } = sighting;
        self.settle(network, time);
        let is_known = self.known.contains(&(network, mac));
        let state = self.networks.entry(network).or_default();
        if self.clocks.is_set(network, time) && !state.has_date {
            // The clock was set: how long ago the earlier sightings are is not known.
            *state = NetworkState { has_date: true, ..NetworkState::default() };
        }
        let owner = state.owner.map(|(owner, _)| owner);
        let is_owner = owner == Some(mac);
        let claimed = state.owner.map(|(_, claimed)| claimed);
        let is_forwarded = evidence == Evidence::FrameSource && source.is_some();
        if evidence == Evidence::Claim || is_forwarded {
            self.first.entry((network, mac, source)).or_insert(time);
        }
        let is_established = is_forwarded && self.is_established(&sighting, owner);
        let state = self.networks.entry(network).or_default();
        match evidence {
            Evidence::Claim => self.claim(&sighting),
            _ if is_established => self.claim(&sighting),
            Evidence::NoHost | Evidence::Ignored | Evidence::Lease => self.left_out.add(&sighting),
            Evidence::SignOfLife if !is_known => self.left_out.add(&sighting),
            Evidence::Probe => state.wait(&sighting),
            _ if is_owner => {
                self.add_source(network, mac, source);
                self.record(network, mac, (time, time), 1 + more);
            }
            _ if claimed.is_some_and(|claimed| is_soon(claimed, time)) => {
                self.left_out.add(&sighting);
            }
            _ => state.wait(&sighting),
        }
    }

    /// Adds what most sightings are: the next claim of the MAC that was seen last and has claimed the address, while nothing waits.
    fn continues(&mut self, sighting: &AddressSighting) -> bool {
        let AddressSighting { time, network, mac, evidence, source, more, .. } = *sighting;
        let Some(state) = self.networks.get_mut(&network) else { return false };
        let Some(period) = state.last.and_then(|last| self.all.get_mut(last)) else { return false };
        let is_next = evidence == Evidence::Claim
            && source.is_none()
            && period.mac == mac
            && period.count > 0
            && state.owner.is_some_and(|(owner, _)| owner == mac)
            && state.order.is_empty()
            && state.pending.is_empty()
            && (state.has_date || !self.clocks.is_set(network, time))
            && state.in_turn.is_next(mac, sighting.until);
        if is_next {
            state.in_turn.next(time);
            period.last = period.last.max(time);
            period.count += 1 + more;
            state.owner = Some((mac, time));
        }
        is_next
    }

    /// Whether a claim in a frame of another MAC counts as one in a frame of its own: it did so a day before the owner
    /// claimed the address.
    fn is_established(&mut self, sighting: &AddressSighting, owner: Option<MacAddr>) -> bool {
        let AddressSighting { network, mac, source, time, .. } = *sighting;
        let Some(first) = self.first.get(&(network, mac, source)).copied() else { return false };
        let other = owner.filter(|owner| *owner != mac);
        let others = other.map(|owner| self.first.get(&(network, owner, None)).copied());
        let is_established = is_established(first, time)
            && others.is_none_or(|owner| owner.is_some_and(|owner| is_established(first, owner)));
        if is_established {
            self.first.entry((network, mac, None)).or_insert(first);
        }
        is_established
    }

    fn claim(&mut self, sighting: &AddressSighting) {
        let AddressSighting { network, mac, source, time, more, until, .. } = *sighting;
        let state = self.networks.entry(network).or_default();
        state.in_turn.claim(mac, (time, until));
        let own = state.pending.remove(&mac);
        state.owner = Some((mac, time));
        state.order.clear();
        for (_, Pending { messages, .. }) in state.pending.drain() {
            self.left_out.extend(messages);
        }
        if let Some(Pending { first, last, messages }) = own {
            self.add_sources(network, mac, &messages);
            self.record(network, mac, (first, last), messages.count(|_| true));
        }
        self.add_source(network, mac, source);
        self.record(network, mac, (time, time), 1 + more);
    }

    /// Decides on what has waited for ten minutes.
    fn settle(&mut self, network: usize, now: UnixTime) {
        while let Some(state) = self.networks.get_mut(&network)
            && let Some((first, mac)) = state.order.front().copied()
            && !is_soon(first, now)
        {
            state.order.pop_front();
            if let Some(pending) = state.pending.remove(&mac) {
                self.count_answers(network, mac, pending);
            }
        }
    }

    /// No claim has followed: answers count, probes do not.
    fn count_answers(&mut self, network: usize, mac: MacAddr, pending: Pending) {
        let Pending { first, last, mut messages } = pending;
        self.left_out.extend(messages.take(|why| why == Why::Probe));
        let answers = messages.count(|_| true);
        if answers > 0 {
            self.add_sources(network, mac, &messages);
            self.record(network, mac, (first, last), answers);
        }
    }

    /// Adds the other MAC that sent the frame of a sighting that counts: what is left out has a row of its own.
    fn add_source(&mut self, network: usize, mac: MacAddr, source: Option<MacAddr>) {
        let Some(source) = source else { return };
        let sources = self.sources.entry((network, mac)).or_default();
        if sources.len() < FRAME_SOURCES && !sources.contains(&source) {
            sources.push(source);
        }
    }

    /// The same of messages that have waited, in their order.
    fn add_sources(&mut self, network: usize, mac: MacAddr, messages: &LeftOuts) {
        let mut sources: Vec<_> = messages.all().map(|one| (one.first, one.source)).collect();
        sources.sort_unstable();
        sources.into_iter().for_each(|(_, source)| self.add_source(network, mac, source));
    }

    /// Counts sightings that belong together.
    fn record(
        &mut self,
        network: usize,
        mac: MacAddr,
        (first, last): (UnixTime, UnixTime),
        count: u64,
    ) {
        let state = self.networks.entry(network).or_default();
        let known = state.of_mac.get(&mac).copied();
        let continues =
            |index: &usize| Some(*index) == state.last || is_soon(self.all[*index].last, first);
        let index = match known.filter(continues) {
            Some(index) => {
                let period = &mut self.all[index];
                if period.count == 0 {
                    period.first = first;
                }
                period.last = period.last.max(last);
                period.count += count;
                index
            }
            None => {
                let previous = state.last.map(|last| (self.all[last].mac, self.all[last].last));
                let is_older = false;
                self.all.push(Period { network, mac, first, last, count, is_older, previous });
                self.all.len() - 1
            }
        };
        state.of_mac.insert(mac, index);
        state.last = Some(index);
    }

    /// Other MACs that sent the frames of a MAC's sightings that count.
    pub fn frame_sources(&self, network: usize, mac: MacAddr) -> &[MacAddr] {
        self.sources.get(&(network, mac)).map_or(&[], Vec::as_slice)
    }

    /// Which MACs claimed the address in turn, by network; and whether these are not all.
    pub fn shared(&mut self) -> (Vec<(usize, Shared)>, bool) {
        let is_cut = self.networks.values().any(|state| state.in_turn.is_cut);
        let of = |(network, state): (&usize, &mut NetworkState)| {
            let shared = state.in_turn.finish();
            shared.into_iter().map(|one| (*network, one)).collect::<Vec<_>>()
        };
        (self.networks.iter_mut().flat_map(of).collect(), is_cut)
    }

    /// The periods, without those that have no sighting in the time range.
    pub fn finish(&mut self) -> Vec<Period> {
        let networks: Vec<usize> = self.networks.keys().copied().collect();
        for network in networks {
            self.settle(network, UnixTime::from_nanos(i64::MAX));
        }
        self.all.retain(|period| period.count > 0);
        std::mem::take(&mut self.all)
    }
}

impl NetworkState {
    fn wait(&mut self, sighting: &AddressSighting) {
        let AddressSighting { mac, time, .. } = *sighting;
        let pending = self.pending.entry(mac).or_insert_with(|| {
            self.order.push_back((time, mac));
            Pending { first: time, last: time, messages: LeftOuts::default() }
        });
        pending.last = pending.last.max(time);
        pending.messages.add(sighting);
    }
}

/// Whether a time is at most ten minutes after another one.
fn is_soon(time: UnixTime, later: UnixTime) -> bool {
    later.as_nanos().saturating_sub(time.as_nanos()) <= KEPT_WITHIN
}

#[cfg(test)]
mod tests;
