//! Who had an address where the record ends: now, before a gap, or at its beginning. Nothing near comes on the other side that
//! could confirm the MAC that was seen last, so all that were seen near have a row. Any host can invent MACs: the one that
//! claimed the address first comes first, which cannot be invented afterwards. No I/O and no clock.

use std::collections::{HashMap, HashSet};

use shm_layout::{MacAddr, UnixTime};

use crate::{
    counted::Counted,
    history_reader::NearestSightings,
    holders::{Certainty, Holder, near},
    passed_over::{NearMac, passed_over},
};

/// Rows of a network; further MACs are counted.
const ROWS: usize = 64;

/// The sightings of each MAC of a network, those in frames of each sender apart.
pub type Frames<'a> = HashMap<(usize, MacAddr), Vec<&'a NearestSightings>>;

/// Whether the record ends at this time: what is near is on one side only. What comes after a gap says nothing about those that were
/// near: any host can claim the address then.
pub fn is_edge(all: &[Counted], at: UnixTime) -> bool {
    let [last, next] = last_and_next(all);
    let [before, after] = [last.and_then(|one| one.before), next.and_then(|one| one.after)];
    near(before, at) != near(after, at)
}

/// Adds the MACs that claimed the address once, and near the time only answered without a MAC in the message, as hosts do to a
/// unicast question (RFC 4861, 4.4): such answers overrule no claim, but here they show another owner.
pub fn add_owners(found: &mut Vec<Counted>, all: &[&NearestSightings], at: UnixTime) {
    let known = found.iter().filter(|one| is_near(one, at)).map(|one| one.mac).collect();
    let Some(network) = all.first().map(|one| one.network) else { return };
    let owners = passed_over(all, at, &known);
    let macs: HashSet<MacAddr> = owners.iter().map(|one| one.mac).collect();
    found.retain(|one| !macs.contains(&one.mac));
    let counted = |NearMac { mac, before, after }| Counted { network, mac, before, after };
    found.extend(owners.into_iter().map(counted));
}

/// The MAC that was seen last before the time, and the one that was seen first after it.
pub fn last_and_next(all: &[Counted]) -> [Option<&Counted>; 2] {
    let last = all.iter().filter(|one| one.before.is_some()).max_by_key(|one| one.before);
    let next = all.iter().filter(|one| one.after.is_some()).min_by_key(|one| one.after);
    [last, next]
}

/// Removes the MACs that only other ones named near the time, if one was seen there in frames of its own: such claims have rows as
/// what they are, and make no owner contested. A station of a repeater that had the address for a day stays.
pub fn remove_forged(found: &mut Vec<Counted>, frames: &Frames, at: UnixTime) {
    let is_own = |one: &Counted| {
        let all = frames.get(&(one.network, one.mac)).into_iter().flatten();
        all.flat_map(|one| [(one.source, one.before), (one.source, one.after)]).any(
            |(source, side)| match source {
                None => side.all().into_iter().any(|time| near(time, at)),
                Some(_) => near(side.claim, at), // only established ones are claims
            },
        )
    };
    if found.iter().filter(|one| is_near(one, at)).any(is_own) {
        found.retain(|one| !is_near(one, at) || is_own(one));
    }
}

/// Sorts the rows of a network by the first claim; those of equal rank stay in order. A claim before the clock was `set` has no
/// date: an attacker may have waited for a boot, so it is the last one.
pub fn rank(holders: &mut Vec<Holder>, frames: &Frames, set: Option<UnixTime>) {
    let set = set.unwrap_or(UnixTime::from_nanos(i64::MIN));
    // What comes after a gap is last; its first claim may be unknown.
    for holder in holders.iter_mut().filter(|holder| holder.certainty == Certainty::Contested) {
        holder.first = first_claim(frames, holder, set);
    }
    holders.sort_by_key(|holder| {
        let is_undated = holder.first.is_none_or(|first| first < set);
        (holder.certainty != Certainty::Contested, is_undated, holder.first)
    });
    holders.truncate(ROWS);
}

/// In frames of its own, if it sent some.
fn first_claim(frames: &Frames, holder: &Holder, set: UnixTime) -> Option<UnixTime> {
    let of = |is_own: bool| {
        let all = frames.get(&(holder.network, holder.mac)).into_iter().flatten();
        let firsts = all.filter(|one| one.source.is_none() == is_own).map(|one| one.first);
        firsts.fold(None, |one, other| NearestSightings::first_of(one, other, set))
    };
    of(true).or_else(|| of(false))
}

fn is_near(one: &Counted, at: UnixTime) -> bool {
    near(one.before, at) || near(one.after, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{history_reader::Nearest, holders::holders};

    const AT: i64 = 1_000_000;

    fn time(seconds: i64) -> Option<UnixTime> {
        Some(UnixTime::new(AT + seconds, 0))
    }

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr::new([2, 0, a, b, c, d])
    }

    fn seen(number: u32, source: Option<u32>, before: Nearest) -> NearestSightings {
        NearestSightings { before, ..NearestSightings::new(0, mac(number), source.map(mac)) }
    }

    fn claim(number: u32, seconds: i64, first: i64) -> NearestSightings {
        let claim = Nearest { claim: time(seconds), ..Nearest::default() };
        NearestSightings { first: time(first), ..seen(number, None, claim) }
    }

    fn answer(number: u32, source: Option<u32>, seconds: i64) -> NearestSightings {
        let answer = Nearest { frame_source: time(seconds), ..Nearest::default() };
        seen(number, source, answer)
    }

    /// The MAC, the certainty and the number of others of each row.
    fn rows(all: &[NearestSightings]) -> Vec<(u64, &'static str, usize)> {
        rows_with_clock(all, &HashMap::new())
    }

    fn rows_with_clock(
        all: &[NearestSightings],
        set: &HashMap<usize, UnixTime>,
    ) -> Vec<(u64, &'static str, usize)> {
        let rows = holders(all, UnixTime::new(AT, 0), set);
        let row = |one: &Holder| (one.mac.number() & 0xffff_ffff, one.certainty.name(), one.others);
        rows.iter().map(row).collect()
    }

    /// The owner of years is first, although 2,000 made-up MACs were seen later; those are counted.
    #[test]
    fn made_up_macs_do_not_hide_who_was_first() {
        let mut all: Vec<_> = (0..2_000).map(|made_up| claim(100 + made_up, -1, -50)).collect();
        all.push(claim(1, -30, -90_000));
        let rows = rows(&all);
        assert_eq!((rows[0], rows.len()), ((1, "contested", 2_000), ROWS));
    }

    /// Claims that another MAC sent make no owner contested, also where the owner only answers; they have rows of their own.
    #[test]
    fn forged_claims_are_shown_as_claims() {
        let owner = claim(1, -30, -90_000);
        let expected = [(1, "one-sided", 0), (2, "contested", 1)];
        assert_eq!(rows(&[owner, answer(2, Some(9), -5)]), expected);
        // Its own claim is long ago: then it answered without a MAC in the message, as hosts do to a unicast question.
        let silent = Nearest { claim: time(-9_000), frame_source: time(-30), ..Nearest::default() };
        assert_eq!(rows(&[seen(1, None, silent), answer(2, Some(9), -5)]), expected);
        // None was seen in frames of its own: a repeater's stations, or forged, all of them.
        let both = [(3, "contested", 1), (2, "contested", 1)];
        assert_eq!(rows(&[answer(2, Some(9), -5), answer(3, Some(9), -4)]), both);
    }

    /// An attacker claims the address, and its owner answers as hosts do to a unicast question: without a MAC in the message.
    #[test]
    fn an_owner_that_only_answers() {
        let answers =
            Nearest { claim: time(-9_000), frame_source: time(-10), ..Nearest::default() };
        let owner = NearestSightings { first: time(-9_000), ..seen(1, None, answers) };
        let expected = [(1, "contested", 1), (9, "contested", 1)];
        assert_eq!(rows(&[owner, claim(9, -30, -50)]), expected);
        // Also after it was seen again much later.
        let again = Nearest { claim: time(9_000), ..Nearest::default() };
        let owner = NearestSightings { after: again, ..owner };
        assert_eq!(rows(&[owner, claim(9, -30, -50)]), expected);
    }

    /// Within the record, the nearest is first and all have a row, however long another one had the address before.
    #[test]
    fn within_the_record() {
        let after = |one: NearestSightings, seconds| NearestSightings {
            after: Nearest { claim: time(seconds), ..Nearest::default() },
            ..one
        };
        let moved = [claim(1, -100, -6_000), after(claim(2, -40, -40), 20)];
        assert_eq!(rows(&moved), [(2, "contested", 1), (1, "contested", 1)]);
        let all: Vec<_> = (0..100).map(|mac| after(claim(mac, -1, -50), 1)).collect();
        assert_eq!(rows(&all).len(), 100);
    }

    /// Who comes after a gap is the last row, however long ago it had the address first, and whether a reader knows that or not.
    #[test]
    fn after_a_gap() {
        let after = Nearest { claim: time(9_000), ..Nearest::default() };
        for first in [time(-90_000), None] {
            let next = NearestSightings { first, after, ..claim(3, -90_000, 0) };
            let all = [claim(2, -5, -500), next, claim(1, -10, -600)];
            assert_eq!(rows(&all), [(1, "contested", 1), (2, "contested", 1), (3, "changed", 2)]);
        }
    }

    /// A claim without a date comes last: a machine without a clock that runs begins in 1970 with each boot.
    #[test]
    fn a_claim_before_the_clock_was_set() {
        let all = [claim(9, -5, -999_000), claim(1, -10, -5_000)];
        let set = HashMap::from([(0, UnixTime::new(AT - 100_000, 0))]);
        assert_eq!(rows_with_clock(&all, &set), [(1, "contested", 1), (9, "contested", 1)]);
        assert_eq!(rows(&all), [(9, "contested", 1), (1, "contested", 1)], "a simulation");
    }

    /// The stations of a repeater that find no room are no forged claims.
    #[test]
    fn many_stations_of_a_repeater() {
        let stations: Vec<_> = (0..201).map(|station| answer(100 + station, Some(9), -5)).collect();
        let rows = rows(&stations);
        assert_eq!(rows.len(), ROWS);
        assert!(rows.iter().all(|row| (row.1, row.2) == ("contested", 200)), "{rows:?}");
    }

    /// Of hosts that only probed, the last one has a row, also if a repeater forwarded its probe.
    #[test]
    fn probes_through_a_repeater() {
        let probe = |seconds| Nearest { probe: time(seconds), ..Nearest::default() };
        let all = [seen(1, None, probe(-50)), seen(3, Some(9), probe(-5))];
        assert_eq!(rows(&all), [(3, "probed", 1)]);
        let all = [seen(1, None, probe(-5)), seen(3, Some(9), probe(-50))];
        assert_eq!(rows(&all), [(1, "probed", 1)]);
    }

    /// A station that had the address for a day, always behind a repeater, is not taken for a forged claim.
    #[test]
    fn a_station_of_a_repeater() {
        let station = NearestSightings { first: time(-200_000), ..answer(3, Some(9), -5) };
        let expected = [(3, "contested", 1), (4, "contested", 1)];
        assert_eq!(rows(&[station, claim(4, -1, -60)]), expected);
    }
}
