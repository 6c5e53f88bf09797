//! Claims in frames of another MAC that count as if the device had sent them itself. A repeater sends all frames of its stations
//! with its own MAC. Such a station must not lose its address to a host that claims it later, in frames of its own: what came
//! a day earlier cannot be forged afterwards. No I/O and no clock.

use std::collections::HashMap;

use shm_layout::{MacAddr, UnixTime};

use crate::{history_reader::NearestSightings, holders::near};

/// So long a MAC is seen with the address, always sent by the same other MAC, before another one claims it.
const DAY: i64 = 86_400_000_000_000;

/// Whether what was first seen at one time is established at the other.
pub fn is_established(first: UnixTime, at: UnixTime) -> bool {
    at.as_nanos().saturating_sub(first.as_nanos()) >= DAY
}

/// The same sightings; those of an established pairing that are near the time are claims. Pairings that another MAC claimed in
/// its own frames before, and claims near the time, are none.
pub fn with_established(nearest: &[NearestSightings], at: UnixTime) -> Vec<NearestSightings> {
    let rivals = Rivals::of(nearest, at);
    let established = |one: &NearestSightings| {
        let rival = rivals.of_other(one).filter(|_| one.source.is_some());
        rival.zip(one.first).is_some_and(|(rival, first)| is_established(first, rival))
    };
    let mut all = nearest.to_vec();
    for one in all.iter_mut().filter(|one| established(one)) {
        one.before.claim = one.before.claim.max(one.before.frame_source);
        one.after.claim = one.after.claim.or(one.after.frame_source);
    }
    all
}

/// In each network, the two MACs that claimed the address first, of those that claim it near the time in own frames: any
/// number of them may do that, so they are not compared one by one.
struct Rivals(HashMap<usize, [Option<(UnixTime, MacAddr)>; 2]>);

impl Rivals {
    fn of(nearest: &[NearestSightings], at: UnixTime) -> Rivals {
        let mut all: HashMap<usize, [Option<(UnixTime, MacAddr)>; 2]> = HashMap::new();
        let claims = |one: &&NearestSightings| {
            one.source.is_none() && (near(one.before.claim, at) || near(one.after.claim, at))
        };
        for one in nearest.iter().filter(claims) {
            // Of a MAC whose first claim is not known, any may be earlier.
            let rival = (one.first.unwrap_or(UnixTime::from_nanos(i64::MIN)), one.mac);
            let [first, second] = all.entry(one.network).or_default();
            if first.is_none_or(|first| rival < first) {
                (*first, *second) = (Some(rival), *first);
            } else if second.is_none_or(|second| rival < second) {
                *second = Some(rival);
            }
        }
        Rivals(all)
    }

    /// The first claim of another MAC.
    fn of_other(&self, one: &NearestSightings) -> Option<UnixTime> {
        let rivals = self.0.get(&one.network)?.iter().flatten();
        rivals.filter(|(_, mac)| *mac != one.mac).map(|(time, _)| *time).next()
    }
}
