//! Which MAC had an address at a time, and how sure that is. A device is not seen at every moment: known are
//! the last sighting before and the first one after. No I/O and no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use shm_layout::{MacAddr, UnixTime};

use crate::{
    counted::{self, Counted},
    edge::{self, Frames},
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
    /// Its first claim of the address, where several MACs claimed it and the record ends. It cannot be invented afterwards.
    pub first: Option<UnixTime>,
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
    /// Several MACs were seen within ten minutes, at least one of them both before and after, or all of them on one side
    /// while the record has nothing near on the other one: the question is about now. Or another MAC had the address, and this
    /// one was seen in frames that it did not send: a forged claim, most likely.
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

/// The MACs that may have had an address at this time, network by network, in each the nearest first; at the edge of the record
/// the one that claimed it first. In networks whose clock was `set`, an earlier time says nothing.
pub fn holders(
    nearest: &[NearestSightings],
    at: UnixTime,
    set: &HashMap<usize, UnixTime>,
) -> Vec<Holder> {
    let nearest = &with_established(nearest, at);
    let mut networks: BTreeMap<usize, Vec<&NearestSightings>> = BTreeMap::new();
    let merged = NearestSightings::merged(nearest);
    merged.iter().for_each(|one| networks.entry(one.network).or_default().push(one));
    let mut frames = Frames::new();
    nearest.iter().for_each(|one| frames.entry((one.network, one.mac)).or_default().push(one));
    // Also returns whether the record ends at this time.
    let in_network = |(network, all): (&usize, &Vec<&NearestSightings>)| {
        let mut found = counted::counted(all);
        let given = found.is_empty().then_some(Certainty::Probed);
        if found.is_empty() {
            found = counted::probes(all);
        } else if edge::is_edge(&found, at) {
            edge::add_owners(&mut found, all, at);
        }
        if let Some(set) = set.get(network) {
            let has_date = |time: Option<UnixTime>| time.is_some_and(|time| time >= *set);
            let is_dated = |one: &Counted| has_date(one.before) || has_date(one.after);
            if !found.iter().any(is_dated) {
                let undated = holders_in_network(&found, at, given).into_iter();
                let undated = undated.map(|holder| Holder { before: None, ..holder });
                return (undated.collect(), false);
            }
            found.retain(is_dated);
            found
                .iter_mut()
                .for_each(|one| one.before = one.before.filter(|_| has_date(one.before)));
        }
        let is_edge = given.is_none() && edge::is_edge(&found, at);
        if is_edge {
            edge::remove_forged(&mut found, &frames, at);
        }
        (holders_in_network(&found, at, given), is_edge)
    };
    let with_forged = |network: (&usize, &Vec<&NearestSightings>)| {
        let (mut holders, is_edge): (Vec<Holder>, bool) = in_network(network);
        for holder in &mut holders {
            let all = frames.get(&(holder.network, holder.mac)).map_or(&[][..], Vec::as_slice);
            holder.add_frames(all, at);
        }
        // Those that get no row because there is no room are no forged claims.
        let mut known: HashSet<MacAddr> = holders.iter().map(|holder| holder.mac).collect();
        let number = holders.len();
        if is_edge && holders.iter().any(|holder| holder.certainty == Certainty::Contested) {
            edge::rank(&mut holders, &frames, set.get(network.0).copied());
        }
        let forged = network.1.iter().filter(|one| !known.contains(&one.mac));
        let mut forged: Vec<Holder> = forged
            .filter_map(|one| forged_claim(frames.get(&(one.network, one.mac))?, at, number))
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
        let (has_own_frames, is_forged, first) = (false, false, None);
        Holder {
            network,
            mac,
            before,
            after,
            certainty,
            others,
            frame_sources,
            has_own_frames,
            first,
            is_forged,
            passed_over,
        }
    }

    pub fn is_near(&self, at: UnixTime) -> bool {
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
    let [last, next] = edge::last_and_next(all).map(|one| one.map(|one| one.mac));
    let nearby = all.iter().filter(|one| is_near(one)).count();
    let on_both_sides = all.iter().any(|one| near(one.before) && near(one.after));
    let is_edge = given.is_none() && edge::is_edge(all, at);
    let contested = nearby > 1 && (on_both_sides || is_edge);
    let mut holders: Vec<Holder> = all
        .iter()
        .filter(|a| [last, next].contains(&Some(a.mac)) || contested && is_near(a))
        .map(|one| {
            let Counted { before, after, .. } = *one;
            let certainty = given.unwrap_or(match (before, after) {
                _ if contested && is_near(one) => Certainty::Contested,
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
mod tests;
