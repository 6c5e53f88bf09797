//! Who else claimed an address shortly before or after a time: right after a takeover only the new MAC was seen last, and its
//! row must not be the only one that counts. No I/O and no clock.

use std::collections::HashSet;

use shm_layout::{MacAddr, UnixTime};

use crate::{
    history_reader::{Nearest, NearestSightings},
    holders::{distance, near},
};

/// A MAC with its sightings nearest to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearMac {
    pub mac: MacAddr,
    pub before: Option<UnixTime>,
    pub after: Option<UnixTime>,
}

/// The MACs of one network that claimed the address at any time, were seen with it near this one, and have no row: the nearest
/// first.
pub fn passed_over(
    all: &[&NearestSightings],
    at: UnixTime,
    with_row: &HashSet<MacAddr>,
) -> Vec<NearMac> {
    let claims = |one: &&&NearestSightings| one.before.claim.or(one.after.claim).is_some();
    let seen = |side: &Nearest| [side.claim, side.frame_source, side.sign_of_life];
    let mut found: Vec<NearMac> = all
        .iter()
        .filter(claims)
        .map(|one| NearMac {
            mac: one.mac,
            before: seen(&one.before).into_iter().flatten().max(),
            after: seen(&one.after).into_iter().flatten().min(),
        })
        .filter(|one| near(one.before, at) || near(one.after, at))
        .filter(|one| !with_row.contains(&one.mac))
        .collect();
    found.sort_by_key(|one| (one.distance(at), one.mac));
    found
}

impl NearMac {
    fn distance(&self, at: UnixTime) -> Option<i64> {
        [self.before, self.after].into_iter().filter_map(|time| distance(time, at)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy that only answers without a MAC is no other owner; who claimed the address once and answers now is one.
    #[test]
    fn who_else_was_near() {
        let at = UnixTime::new(1_000_000, 0);
        let time = |seconds: i64| Some(UnixTime::new(1_000_000 + seconds, 0));
        let of = |last, claim, frame_source| {
            let before = Nearest { claim, frame_source, ..Nearest::default() };
            let mac = MacAddr::new([2, 0, 0, 0, 0, last]);
            NearestSightings { before, ..NearestSightings::new(0, mac, None) }
        };
        let all = [
            of(1, time(-600), None),
            of(2, time(-601), None),
            of(3, None, time(-5)),
            of(4, time(-9_000), time(-20)),
            of(5, time(-1), None),
        ];
        let with_row = [MacAddr::new([2, 0, 0, 0, 0, 5])].into();
        let found = passed_over(&all.iter().collect::<Vec<_>>(), at, &with_row);
        let found: Vec<_> = found.iter().map(|one| (one.mac.octets()[5], one.before)).collect();
        assert_eq!(found, [(4, time(-20)), (1, time(-600))]);
    }
}
