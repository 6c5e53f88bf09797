//! From sightings to periods: which MAC had an address from when to when. No I/O and no clock.

use std::collections::{HashMap, HashSet, VecDeque};

use shm_layout::{Evidence, MacAddr, UnixTime};

use crate::{
    clocks::Clocks,
    counted,
    history_reader::{AddressSighting, NearestSightings},
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
    networks: HashMap<usize, NetworkState>,
    /// Pairings of which a sign of life counts.
    known: HashSet<(usize, MacAddr)>,
    /// Sightings that are no claim and count for none.
    pub ignored: u64,
    /// Of these: claims in frames that another MAC sent, while the owner claimed the address itself.
    pub forged: u64,
    /// Of these: messages with a MAC that no host has, or in a form that hosts ignore.
    pub no_host: u64,
    /// Other MACs that sent the frames of a MAC's sightings.
    sources: HashMap<(usize, MacAddr), Vec<MacAddr>>,
}

/// Of each MAC, other MACs that sent its frames are listed up to this number.
const FRAME_SOURCES: usize = 16;

#[derive(Debug, Default)]
struct NetworkState {
    /// The period of the last sighting, and the last period of each MAC.
    last: Option<usize>,
    of_mac: HashMap<MacAddr, usize>,
    /// The last claim.
    owner: Option<(MacAddr, UnixTime)>,
    /// What counts only depending on the next claim, and the order in which that began.
    pending: HashMap<MacAddr, Pending>,
    order: VecDeque<(UnixTime, MacAddr)>,
    has_date: bool,
}

/// Sightings of one MAC that wait for ten minutes for a claim: one of the same MAC makes them count. One of another
/// MAC discards them. Without any, probes do not count, all others do.
#[derive(Clone, Copy, Debug)]
struct Pending {
    first: UnixTime,
    last: UnixTime,
    answers: u64,
    /// Of the answers: claims in frames of another MAC.
    forwarded: u64,
    probes: u64,
}

impl PeriodBuilder {
    /// Begins with what is known from before a time range.
    pub fn new(nearest: &[NearestSightings], clocks: Clocks) -> PeriodBuilder {
        let (all, networks, known) = (Vec::new(), HashMap::new(), HashSet::new());
        let (ignored, forged, no_host, sources) = (0, 0, 0, HashMap::new());
        let mut builder =
            PeriodBuilder { clocks, all, networks, known, ignored, forged, no_host, sources };
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
            let claims = all.iter().filter_map(|one| Some((one.before.claim?, one.mac))).max();
            let state = builder.networks.entry(network).or_default();
            state.owner = claims.map(|(time, mac)| (mac, time));
            state.has_date = before.iter().any(|(time, _)| builder.clocks.is_set(network, *time));
        }
        builder.all.iter_mut().for_each(|period| period.is_older = true);
        builder
    }

    /// Adds the next sighting. A period ends when another MAC is seen, unless the first is seen again soon.
    pub fn add(&mut self, sighting: AddressSighting) {
        let AddressSighting { time, network, mac, evidence, source } = sighting;
        if let Some(source) = source {
            let sources = self.sources.entry((network, mac)).or_default();
            if sources.len() < FRAME_SOURCES && !sources.contains(&source) {
                sources.push(source);
            }
        }
        self.settle(network, time);
        let is_known = self.known.contains(&(network, mac));
        let state = self.networks.entry(network).or_default();
        if self.clocks.is_set(network, time) && !state.has_date {
            // The clock was set: how long ago the earlier sightings are is not known.
            *state = NetworkState { has_date: true, ..NetworkState::default() };
        }
        let is_owner = state.owner.is_some_and(|(owner, _)| owner == mac);
        let claimed = state.owner.map(|(_, claimed)| claimed);
        match evidence {
            Evidence::Claim => self.claim(network, mac, time),
            Evidence::NoHost | Evidence::Ignored => {
                self.ignored += 1;
                self.no_host += 1;
            }
            Evidence::SignOfLife if !is_known => self.ignored += 1,
            Evidence::Probe => state.wait(mac, time, Pending::PROBE),
            _ if is_owner => self.record(network, mac, (time, time), 1),
            _ if claimed.is_some_and(|claimed| is_soon(claimed, time)) => {
                self.ignored += 1;
                self.forged += u64::from(source.is_some());
            }
            _ if source.is_some() => state.wait(mac, time, Pending::FORWARDED),
            _ => state.wait(mac, time, Pending::ANSWER),
        }
    }

    fn claim(&mut self, network: usize, mac: MacAddr, time: UnixTime) {
        let state = self.networks.entry(network).or_default();
        let own = state.pending.remove(&mac);
        state.owner = Some((mac, time));
        state.order.clear();
        for (_, Pending { answers, forwarded, probes, .. }) in state.pending.drain() {
            self.ignored += answers + probes;
            self.forged += forwarded;
        }
        if let Some(Pending { first, last, answers, probes, .. }) = own {
            self.record(network, mac, (first, last), answers + probes);
        }
        self.record(network, mac, (time, time), 1);
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
        let Pending { first, last, answers, probes, .. } = pending;
        self.ignored += probes;
        if answers > 0 {
            self.record(network, mac, (first, last), answers);
        }
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

    /// Other MACs that sent the frames of a MAC's sightings.
    pub fn frame_sources(&self, network: usize, mac: MacAddr) -> &[MacAddr] {
        self.sources.get(&(network, mac)).map_or(&[], Vec::as_slice)
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

impl Pending {
    /// One sighting of each kind: answers, claims in frames of another MAC, probes.
    const ANSWER: [u64; 3] = [1, 0, 0];
    const FORWARDED: [u64; 3] = [1, 1, 0];
    const PROBE: [u64; 3] = [0, 0, 1];
}

impl NetworkState {
    fn wait(&mut self, mac: MacAddr, time: UnixTime, [answers, forwarded, probes]: [u64; 3]) {
        if let Some(pending) = self.pending.get_mut(&mac) {
            pending.last = pending.last.max(time);
            pending.answers += answers;
            pending.forwarded += forwarded;
            pending.probes += probes;
        } else {
            let pending = Pending { first: time, last: time, answers, forwarded, probes };
            self.pending.insert(mac, pending);
            self.order.push_back((time, mac));
        }
    }
}

/// Whether a time is at most ten minutes after another one.
fn is_soon(time: UnixTime, later: UnixTime) -> bool {
    later.as_nanos().saturating_sub(time.as_nanos()) <= KEPT_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use Evidence::{Claim, FrameSource, Probe, SignOfLife};

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    const MINUTE: i64 = 60;

    type Row = (u8, i64, i64, u64, Option<u8>);

    /// Claims as (time in seconds, MAC, network); periods as (MAC, first, last, count, previous MAC).
    fn periods(seen: &[(i64, u8, usize)]) -> Vec<Row> {
        let claims = seen.iter().map(|(time, mac, network)| (*time, *mac, *network, Claim));
        periods_after(&[], &claims.collect::<Vec<_>>())
    }

    /// The same with other evidence, and what is known from before.
    fn periods_after(
        nearest: &[NearestSightings],
        seen: &[(i64, u8, usize, Evidence)],
    ) -> Vec<Row> {
        let mut builder = PeriodBuilder::new(nearest, Clocks::new(HashSet::new()));
        for (time, last, network, evidence) in seen {
            let (time, mac) = (UnixTime::new(*time, 0), mac(*last));
            builder.add(AddressSighting {
                time,
                network: *network,
                mac,
                evidence: *evidence,
                source: None,
            });
        }
        let number = |mac: MacAddr| mac.octets()[5];
        let numbers = |Period { mac, first, last, count, previous, .. }: Period| {
            let previous = previous.map(|(mac, _)| number(mac));
            (number(mac), first.seconds(), last.seconds(), count, previous)
        };
        builder.finish().into_iter().map(numbers).collect()
    }

    #[test]
    fn one_mac_has_one_period_with_any_silence() {
        assert_eq!(periods(&[]), []);
        assert_eq!(periods(&[(1, 1, 0), (5, 1, 0), (900_000, 1, 0)]), [(1, 1, 900_000, 3, None)]);
    }

    #[test]
    fn another_mac_begins_another_period() {
        let hour = 60 * MINUTE;
        assert_eq!(
            periods(&[(0, 1, 0), (hour, 2, 0), (2 * hour, 2, 0), (3 * hour, 1, 0)]),
            [
                (1, 0, 0, 1, None),
                (2, hour, 2 * hour, 2, Some(1)),
                (1, 3 * hour, 3 * hour, 1, Some(2))
            ]
        );
    }

    #[test]
    fn two_macs_at_the_same_time_have_a_period_each() {
        let seen: Vec<_> = (0..1000).map(|n| (n * MINUTE, (n % 2) as u8, 0)).collect();
        let last = 999 * MINUTE;
        assert_eq!(
            periods(&seen),
            [(0, 0, last - MINUTE, 500, None), (1, MINUTE, last, 500, Some(0))]
        );
    }

    #[test]
    fn networks_are_independent() {
        assert_eq!(
            periods(&[(0, 1, 0), (1, 2, 1), (9000, 1, 0), (9001, 2, 1)]),
            [(1, 0, 9000, 2, None), (2, 1, 9001, 2, None)]
        );
    }

    #[test]
    fn probes_begin_a_period_only_if_a_claim_follows() {
        let of = |seen: &[(i64, u8, Evidence)]| {
            let seen = seen.iter().map(|(time, mac, evidence)| (*time, *mac, 0, *evidence));
            periods_after(&[], &seen.collect::<Vec<_>>())
        };
        assert_eq!(of(&[(0, 9, Probe), (300, 9, Probe), (9000, 9, Probe)]), []);
        let join = [(0, 1, Probe), (1, 1, Probe), (4, 1, Claim), (1000, 1, Claim)];
        assert_eq!(of(&join), [(1, 0, 1000, 4, None)]);
        let defended = [(0, 1, Claim), (60, 9, Probe), (61, 1, Claim), (90, 9, Claim)];
        assert_eq!(of(&defended), [(1, 0, 61, 2, None), (9, 90, 90, 1, Some(1))]);
        let too_late = [(0, 1, Probe), (601, 1, Claim)];
        assert_eq!(of(&too_late), [(1, 601, 601, 1, None)]);
    }

    #[test]
    fn answers_without_a_mac_overrule_no_claim() {
        let of = |seen: &[(i64, u8, Evidence)]| {
            let seen = seen.iter().map(|(time, mac, evidence)| (*time, *mac, 0, *evidence));
            periods_after(&[], &seen.collect::<Vec<_>>())
        };
        let owner = [(0, 1, Claim), (3600, 1, FrameSource), (7200, 1, FrameSource)];
        assert_eq!(of(&owner), [(1, 0, 7200, 3, None)]);
        assert_eq!(of(&owner[1..]), [(1, 3600, 7200, 2, None)]);
        // A Wi-Fi extender forwards the answers of a station that claims the address itself.
        let extender: Vec<_> = (0..100)
            .map(|n| {
                (
                    60 * n,
                    if n % 5 == 2 { 1 } else { 2 },
                    if n % 5 == 2 { Claim } else { FrameSource },
                )
            })
            .collect();
        assert_eq!(of(&extender), [(1, 120, 5820, 20, None)]);
        let later = [(0, 1, Claim), (601, 2, FrameSource), (1300, 2, FrameSource)];
        assert_eq!(of(&later), [(1, 0, 0, 1, None), (2, 601, 1300, 2, Some(1))]);
    }

    #[test]
    fn signs_of_life_count_for_known_pairings() {
        let seen = [(0, 1, 0, SignOfLife), (3600, 1, 0, SignOfLife)];
        assert_eq!(periods_after(&[], &seen), []);
        let mut known = NearestSightings::new(0, mac(1), None);
        known.after.claim = Some(UnixTime::new(9000, 0));
        assert_eq!(periods_after(&[known], &seen), [(1, 0, 3600, 2, None)]);
    }

    /// What was seen before the time range decides who owns the address, and is not counted.
    #[test]
    fn what_is_known_from_before() {
        let mut before = NearestSightings::new(0, mac(1), None);
        before.before.claim = Some(UnixTime::new(0, 0));
        let seen = [(60, 2, 0, FrameSource), (120, 1, 0, FrameSource), (180, 2, 0, Claim)];
        assert_eq!(
            periods_after(&[before], &seen),
            [(1, 120, 120, 1, None), (2, 180, 180, 1, Some(1))]
        );
        let mut builder = PeriodBuilder::new(&[before], Clocks::new(HashSet::new()));
        let time = UnixTime::new(3600, 0);
        builder.add(AddressSighting {
            time,
            network: 0,
            mac: mac(1),
            evidence: Claim,
            source: None,
        });
        let periods = builder.finish();
        assert_eq!((periods.len(), periods[0].is_older, periods[0].first), (1, true, time));
    }

    /// A sighting in 1970 and one after the clock was set do not belong to one period.
    #[test]
    fn the_clock_is_set() {
        let set = 1_700_000_000;
        assert_eq!(
            periods(&[(30, 1, 0), (40, 2, 0), (set, 1, 0), (set + 60, 1, 0)]),
            [(1, 30, 30, 1, None), (2, 40, 40, 1, Some(1)), (1, set, set + 60, 2, None)]
        );
    }
}
