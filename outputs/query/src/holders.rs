//! Which MAC had an address at a time, and how sure that is. A device is not seen at every moment: known are
//! the last sighting before and the first one after. No I/O and no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use shm_layout::{MacAddr, UnixTime};

use crate::{
    counted::{self, Counted},
    established::with_established,
    history_reader::NearestSightings,
    passed_over::{NearMac, passed_over},
    periods::KEPT_WITHIN,
};

/// A MAC that may have had the address, in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub network: usize,
    pub mac: MacAddr,
    /// Both are None if it was seen only before the clock was set.
    pub before: Option<UnixTime>,
    pub after: Option<UnixTime>,
    pub certainty: Certainty,
    /// Other MACs that were seen with the address at most ten minutes before or after.
    pub others: usize,
    /// Other MACs that sent frames in which it was seen then.
    pub frame_sources: Vec<MacAddr>,
    /// It was seen in frames of its own.
    pub has_own_frames: bool,
    /// Claimed in frames of another MAC only, while a MAC had the address.
    pub is_forged: bool,
    /// Other MACs that claimed the address and were seen with it near the time, but neither last before it nor first after it.
    pub passed_over: Vec<NearMac>,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// Seen at most ten minutes before and at most ten minutes after, and no other MAC was.
    Sure,
    /// The last MAC before and the first one after, but more than ten minutes away on one side or both.
    Likely,
    /// Seen only before, or only after; no MAC was seen on the other side.
    OneSided,
    /// One MAC was the last before, another the first after: it changed at an unknown time in between.
    Changed,
    /// Several MACs were seen within ten minutes, at least one of them both before and after. Or another MAC had the
    /// address, and this one was seen in frames that it did not send: a forged claim, most likely.
    Contested,
    /// The MAC asked whether the address is free, and no MAC ever used it.
    Probed,
}

impl Certainty {
    pub fn name(self) -> &'static str {
        match self {
            Certainty::Sure => "sure",
            Certainty::Likely => "likely",
            Certainty::OneSided => "one-sided",
            Certainty::Changed => "changed",
            Certainty::Contested => "contested",
            Certainty::Probed => "probed",
        }
    }
}

/// The MACs that may have had an address at this time, network by network, in each the nearest first. In networks whose
/// clock was `set`, an earlier time says nothing.
pub fn holders(
    nearest: &[NearestSightings],
    at: UnixTime,
    set: &HashMap<usize, UnixTime>,
) -> Vec<Holder> {
    let nearest = &with_established(nearest, at);
    let mut networks: BTreeMap<usize, Vec<&NearestSightings>> = BTreeMap::new();
    let merged = NearestSightings::merged(nearest);
    merged.iter().for_each(|one| networks.entry(one.network).or_default().push(one));
    let in_network = |(network, all): (&usize, &Vec<&NearestSightings>)| {
        let mut found = counted::counted(all);
        let given = found.is_empty().then_some(Certainty::Probed);
        if found.is_empty() {
            found = counted::probes(all);
        }
        if let Some(set) = set.get(network) {
            let has_date = |time: Option<UnixTime>| time.is_some_and(|time| time >= *set);
            let is_dated = |one: &Counted| has_date(one.before) || has_date(one.after);
            if !found.iter().any(is_dated) {
                let undated = holders_in_network(&found, at, given).into_iter();
                return undated.map(|holder| Holder { before: None, ..holder }).collect();
            }
            found.retain(is_dated);
            found
                .iter_mut()
                .for_each(|one| one.before = one.before.filter(|_| has_date(one.before)));
        }
        holders_in_network(&found, at, given)
    };
    let mut frames: HashMap<(usize, MacAddr), Vec<&NearestSightings>> = HashMap::new();
    nearest.iter().for_each(|one| frames.entry((one.network, one.mac)).or_default().push(one));
    let with_forged = |network: (&usize, &Vec<&NearestSightings>)| {
        let mut holders: Vec<Holder> = in_network(network);
        for holder in &mut holders {
            let all = frames.get(&(holder.network, holder.mac)).map_or(&[][..], Vec::as_slice);
            holder.add_frames(all, at);
        }
        let mut known: HashSet<MacAddr> = holders.iter().map(|holder| holder.mac).collect();
        let forged = network.1.iter().filter(|one| !known.contains(&one.mac));
        let mut forged: Vec<Holder> = forged
            .filter_map(|one| forged_claim(frames.get(&(one.network, one.mac))?, at, holders.len()))
            .collect();
        known.extend(forged.iter().map(|holder| holder.mac));
        let passed_over = passed_over(network.1, at, &known);
        let rows_near = holders.iter().filter(|holder| holder.is_near(at)).count();
        for holder in holders.iter_mut().filter(|holder| holder.is_open()) {
            let others = rows_near - usize::from(holder.is_near(at)) + passed_over.len();
            holder.others = holder.others.max(others);
            holder.passed_over.clone_from(&passed_over);
        }
        forged.iter_mut().for_each(|holder| holder.others += passed_over.len());
        holders.extend(forged);
        holders
    };
    networks.iter().flat_map(with_forged).collect()
}

impl Holder {
    fn new(seen: Counted, certainty: Certainty, others: usize) -> Holder {
        let Counted { network, mac, before, after } = seen;
        let (frame_sources, passed_over) = (Vec::new(), Vec::new());
        let (has_own_frames, is_forged) = (false, false);
        Holder {
            network,
            mac,
            before,
            after,
            certainty,
            others,
            frame_sources,
            has_own_frames,
            is_forged,
            passed_over,
        }
    }

    fn is_near(&self, at: UnixTime) -> bool {
        near(self.before, at) || near(self.after, at)
    }

    /// Whether other MACs that were seen near the time may have no row.
    fn is_open(&self) -> bool {
        matches!(self.certainty, Certainty::Likely | Certainty::OneSided | Certainty::Changed)
    }

    /// Whether it would be sure, but never sent a frame itself.
    pub fn is_sure_by_others(&self) -> bool {
        self.certainty == Certainty::Sure && !self.has_own_frames && !self.frame_sources.is_empty()
    }

    /// Adds the other MACs that sent its frames: those near the time, and those of the times that are shown.
    fn add_frames(&mut self, all: &[&NearestSightings], at: UnixTime) {
        let shown = [self.before, self.after];
        for one in all {
            let times = [one.before, one.after].into_iter().flat_map(|side| side.all()).flatten();
            let is_meant = |time: UnixTime| shown.contains(&Some(time)) || near(Some(time), at);
            match one.source {
                None => self.has_own_frames |= times.into_iter().any(is_meant),
                Some(source) => {
                    self.frame_sources.extend(times.into_iter().any(is_meant).then_some(source))
                }
            }
        }
        self.frame_sources.sort_unstable();
        self.frame_sources.dedup();
    }
}

/// A MAC that did not have the address, because another one claimed it: if all its claims near the time came in frames that
/// it did not send, they show who sent them.
fn forged_claim(all: &[&NearestSightings], at: UnixTime, others: usize) -> Option<Holder> {
    let has_own = |one: &&NearestSightings| near(one.before.claim, at) || near(one.after.claim, at);
    if all.iter().filter(|one| one.source.is_none()).any(has_own) {
        return None;
    }
    let forged = all.iter().filter(|one| one.source.is_some());
    let forged: Vec<_> = forged
        .copied()
        .filter(|one| near(one.before.frame_source, at) || near(one.after.frame_source, at))
        .collect();
    let NearestSightings { network, mac, .. } = **forged.first()?;
    let before = forged.iter().filter_map(|one| one.before.frame_source).max();
    let after = forged.iter().filter_map(|one| one.after.frame_source).min();
    let claimed = Counted { network, mac, before, after };
    let mut holder =
        Holder { is_forged: true, ..Holder::new(claimed, Certainty::Contested, others) };
    holder.add_frames(&forged, at);
    Some(holder)
}

/// `all` have the certainty that is given.
fn holders_in_network(all: &[Counted], at: UnixTime, given: Option<Certainty>) -> Vec<Holder> {
    let near = |time| near(time, at);
    let is_near = |one: &Counted| near(one.before) || near(one.after);
    let last = all.iter().filter(|a| a.before.is_some()).max_by_key(|a| a.before);
    let next = all.iter().filter(|a| a.after.is_some()).min_by_key(|a| a.after);
    let (last, next) = (last.map(|a| a.mac), next.map(|a| a.mac));
    let nearby = all.iter().filter(|one| is_near(one)).count();
    let on_both_sides = all.iter().any(|one| near(one.before) && near(one.after));
    let contested = nearby > 1 && on_both_sides;
    let mut holders: Vec<Holder> = all
        .iter()
        .filter(|a| [last, next].contains(&Some(a.mac)) || contested && is_near(a))
        .map(|one| {
            let Counted { before, after, .. } = *one;
            let certainty = given.unwrap_or(match (before, after) {
                _ if contested => Certainty::Contested,
                _ if last.is_some() && next.is_some() && last != next => Certainty::Changed,
                (Some(_), Some(_)) if near(before) && near(after) => Certainty::Sure,
                (Some(_), Some(_)) => Certainty::Likely,
                _ => Certainty::OneSided,
            });
            Holder::new(*one, certainty, nearby - usize::from(is_near(one)))
        })
        .collect();
    holders.sort_by_key(|holder| {
        let sides = [distance(holder.before, at), distance(holder.after, at)];
        (sides.into_iter().flatten().min(), holder.mac)
    });
    holders
}

/// Whether a time is at most ten minutes before or after another one.
pub fn near(time: Option<UnixTime>, at: UnixTime) -> bool {
    distance(time, at).is_some_and(|distance| distance <= KEPT_WITHIN)
}

/// Nanoseconds between two times.
pub fn distance(time: Option<UnixTime>, at: UnixTime) -> Option<i64> {
    Some(time?.as_nanos().saturating_sub(at.as_nanos()).saturating_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history_reader::Nearest;

    const AT: i64 = 1_000_000;

    /// The claims of a MAC in a network.
    fn claimed(
        (network, mac): (usize, u8),
        before: Option<UnixTime>,
        after: Option<UnixTime>,
    ) -> NearestSightings {
        let claim = |claim| Nearest { claim, ..Nearest::default() };
        let (before, after) = (claim(before), claim(after));
        NearestSightings {
            before,
            after,
            ..NearestSightings::new(network, MacAddr::new([2, 0, 0, 0, 0, mac]), None)
        }
    }

    /// MACs with the seconds to their sightings before and after; the MAC, certainty and others of each holder.
    fn found(seen: &[(u8, Option<i64>, Option<i64>)]) -> Vec<(u8, &'static str, usize)> {
        let nearest: Vec<NearestSightings> = seen
            .iter()
            .map(|(last, before, after)| {
                claimed(
                    (0, *last),
                    before.map(|seconds| UnixTime::new(AT - seconds, 0)),
                    after.map(|seconds| UnixTime::new(AT + seconds, 0)),
                )
            })
            .collect();
        let holders = holders(&nearest, UnixTime::new(AT, 0), &HashMap::new());
        holders.iter().map(|h| (h.mac.octets()[5], h.certainty.name(), h.others)).collect()
    }

    #[test]
    fn how_sure() {
        assert_eq!(found(&[]), []);
        assert_eq!(found(&[(1, Some(60), Some(600))]), [(1, "sure", 0)]);
        assert_eq!(found(&[(1, Some(0), Some(1))]), [(1, "sure", 0)]);
        assert_eq!(found(&[(1, Some(60), Some(601))]), [(1, "likely", 0)]);
        assert_eq!(found(&[(1, Some(60), None)]), [(1, "one-sided", 0)]);
        assert_eq!(found(&[(1, None, Some(60))]), [(1, "one-sided", 0)]);
        // One that had it long ago does not matter.
        assert_eq!(found(&[(1, Some(60), Some(60)), (2, Some(9000), None)]), [(1, "sure", 0)]);
        // Another has it next: nearest first.
        assert_eq!(
            found(&[(1, Some(300), None), (2, None, Some(100))]),
            [(2, "changed", 1), (1, "changed", 1)]
        );
        assert_eq!(
            found(&[(1, Some(30_000), Some(90_000)), (2, None, Some(40_000))]),
            [(1, "changed", 0), (2, "changed", 0)]
        );
        // Both are seen.
        assert_eq!(
            found(&[(1, Some(5), Some(6)), (2, Some(7), Some(8))]),
            [(1, "contested", 1), (2, "contested", 1)]
        );
        assert_eq!(
            found(&[(1, Some(5), Some(6)), (2, Some(7), None), (3, Some(5000), Some(5000))]),
            [(1, "contested", 1), (2, "contested", 1)]
        );
    }

    /// A claim in a frame of another MAC lowers no owner that was seen in frames of its own, and is shown.
    #[test]
    fn frames_of_another_mac() {
        let time = |seconds: i64| Some(UnixTime::new(AT + seconds, 0));
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        let forwarded = |number, source, before: i64, after: i64| NearestSightings {
            before: Nearest { frame_source: time(before), ..Nearest::default() },
            after: Nearest { frame_source: time(after), ..Nearest::default() },
            ..NearestSightings::new(0, mac(number), Some(mac(source)))
        };
        let found = |all: &[NearestSightings]| -> Vec<(u8, &str, Vec<u8>, bool)> {
            let holders = holders(all, UnixTime::new(AT, 0), &HashMap::new());
            let last = |mac: &MacAddr| mac.octets()[5];
            let row = |h: &Holder| {
                let sources = h.frame_sources.iter().map(last).collect();
                (last(&h.mac), h.certainty.name(), sources, h.has_own_frames)
            };
            holders.iter().map(row).collect()
        };
        let owner = claimed((0, 1), time(-60), time(60));
        let forged = forwarded(2, 9, -5, 5);
        assert_eq!(
            found(&[owner, forged, forwarded(2, 8, -6, 700)]),
            [(1, "sure", vec![], true), (2, "contested", vec![8, 9], false)]
        );
        // A claim of another's address in the name of its owner.
        assert_eq!(found(&[owner, forwarded(1, 9, -5, 5)]), [(1, "sure", vec![9], true)]);
        // A repeater: no other MAC claims the address.
        assert_eq!(found(&[forwarded(3, 9, -5, 5)]), [(3, "sure", vec![9], false)]);
        // A station of a repeater for a day, and then another MAC claims its address in its own frames: neither is sure. It
        // is not enough that the forged claims are older than a day: the owner's must be younger.
        let since =
            |one: NearestSightings, seconds| NearestSightings { first: time(seconds), ..one };
        let station = since(forwarded(3, 9, -5, 5), -200_000);
        let newcomer = |first| since(claimed((0, 4), time(-60), time(60)), first);
        assert_eq!(
            found(&[station, newcomer(-100_000)]),
            [(3, "contested", vec![9], false), (4, "contested", vec![], true)]
        );
        for owner in [newcomer(-120_000), newcomer(-300_000)] {
            assert_eq!(
                found(&[station, owner]),
                [(4, "sure", vec![], true), (3, "contested", vec![9], false)]
            );
        }
        // The owner was not seen for long.
        let away = claimed((0, 1), time(-9000), None);
        assert_eq!(found(&[away, forged]), [(2, "sure", vec![9], false)]);
    }

    #[test]
    fn each_network_has_its_own() {
        let at = UnixTime::new(AT, 0);
        let of = |network, mac| claimed((network, mac), Some(at), Some(UnixTime::new(AT + 1, 0)));
        let networks: Vec<_> = holders(&[of(1, 1), of(0, 2)], at, &HashMap::new())
            .iter()
            .map(|h| (h.network, h.certainty))
            .collect();
        assert_eq!(networks, [(0, Certainty::Sure), (1, Certainty::Sure)]);
    }

    /// In 1970 the clock of network 1 was not set. That of network 0 never was: it is that of a simulation.
    #[test]
    fn sightings_before_the_clock_was_set() {
        let at = UnixTime::new(1_700_000_000, 0);
        let [in_1970, in_2023] = [30, 1_699_999_900].map(|time| Some(UnixTime::new(time, 0)));
        let found = |all: &[NearestSightings]| -> Vec<(u8, &str, bool)> {
            let holders = holders(all, at, &[(1, UnixTime::CLOCK_SET)].into());
            let row = |h: &Holder| (h.mac.octets()[5], h.certainty.name(), h.before.is_some());
            holders.iter().map(row).collect()
        };
        let old = claimed((1, 1), in_1970, None);
        assert_eq!(found(&[old, claimed((1, 2), in_2023, None)]), [(2, "one-sided", true)]);
        assert_eq!(found(&[claimed((1, 1), in_1970, Some(at))]), [(1, "one-sided", false)]);
        assert_eq!(found(&[old]), [(1, "one-sided", false)]);
        assert_eq!(found(&[claimed((0, 1), in_1970, None)]), [(1, "one-sided", true)]);
        let probe = Nearest { probe: in_1970, ..Nearest::default() };
        assert_eq!(found(&[NearestSightings { before: probe, ..old }]), [(1, "probed", false)]);
    }
}
