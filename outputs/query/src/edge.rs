//! Who had an address where the record ends: now, before a gap, or at its beginning. Nothing near comes on the other side that
//! could confirm the MAC that was seen last, so all that were seen near have a row. Any host can invent MACs: the one that
//! claimed the address first comes first, which cannot be invented afterwards. No I/O and no clock.

use std::collections::HashMap;

use shm_layout::{MacAddr, UnixTime};

use crate::{
    counted::Counted,
    history_reader::NearestSightings,
    holders::{Holder, near},
};

/// Rows of a network; further MACs are counted.
const ROWS: usize = 64;

/// The sightings of each MAC of a network, those in frames of each sender apart.
pub type Frames<'a> = HashMap<(usize, MacAddr), Vec<&'a NearestSightings>>;

/// Whether the record ends at this time: what is near is on one side only, and no other MAC comes next on the other side.
pub fn is_edge(all: &[Counted], at: UnixTime) -> bool {
    let [last, next] = last_and_next(all);
    let [before, after] = [last.and_then(|one| one.before), next.and_then(|one| one.after)];
    let are_near = [last, next].into_iter().flatten().all(|one| is_near(one, at));
    near(before, at) != near(after, at) && are_near
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

/// Sorts the rows of a network by the first claim; those of equal rank stay in order.
pub fn rank(holders: &mut Vec<Holder>, frames: &Frames) {
    for holder in holders.iter_mut() {
        holder.first = first_claim(frames, holder);
    }
    holders.sort_by_key(|holder| (holder.first.is_none(), holder.first));
    holders.truncate(ROWS);
}

/// In frames of its own, if it sent some.
fn first_claim(frames: &Frames, holder: &Holder) -> Option<UnixTime> {
    let of = |is_own: bool| {
        let all = frames.get(&(holder.network, holder.mac)).into_iter().flatten();
        all.filter(|one| one.source.is_none() == is_own).filter_map(|one| one.first).min()
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
        let rows = holders(all, UnixTime::new(AT, 0), &HashMap::new());
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

    /// A station that had the address for a day, always behind a repeater, is not taken for a forged claim.
    #[test]
    fn a_station_of_a_repeater() {
        let station = NearestSightings { first: time(-200_000), ..answer(3, Some(9), -5) };
        let expected = [(3, "contested", 1), (4, "contested", 1)];
        assert_eq!(rows(&[station, claim(4, -1, -60)]), expected);
    }
}
