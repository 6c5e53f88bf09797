//! Which sightings count as use of an address: a claim always; an answer or a question without a MAC in the message
//! unless another MAC claims the address at that time; a probe only if a claim of the same MAC follows. No I/O and no
//! clock.

use shm_layout::{MacAddr, UnixTime};

use crate::{history_reader::NearestSightings, periods::KEPT_WITHIN};

/// The sightings of a MAC that count and are nearest to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub network: usize,
    pub mac: MacAddr,
    pub before: Option<UnixTime>,
    pub after: Option<UnixTime>,
}

/// The sightings that count, of each MAC of one network that has some. Each MAC comes once.
pub fn counted(all: &[&NearestSightings]) -> Vec<Counted> {
    let claims = NearestClaims::of(all);
    let of = |one: &&NearestSightings| {
        let others = claims.without(one.mac);
        let NearestSightings { network, mac, .. } = **one;
        let (before, after) = (others.counted_before(one), others.counted_after(one));
        Counted { network, mac, before, after }
    };
    let has_some = |one: &Counted| one.before.is_some() || one.after.is_some();
    all.iter().map(of).filter(has_some).collect()
}

/// The probes of a network in which no MAC ever used the address.
pub fn probes(all: &[&NearestSightings]) -> Vec<Counted> {
    if all.iter().any(|one| one.is_known()) {
        return Vec::new();
    }
    let probed = all.iter().filter(|one| one.before.probe.is_some() || one.after.probe.is_some());
    let of = |one: &&NearestSightings| {
        let NearestSightings { network, mac, before, after, .. } = **one;
        Counted { network, mac, before: before.probe, after: after.probe }
    };
    probed.map(of).collect()
}

/// The nearest claims of a network on each side, and the nearest ones of another MAC: any number of MACs may claim an
/// address, so they are not compared pair by pair.
#[derive(Default)]
struct NearestClaims {
    before: [Option<(UnixTime, MacAddr)>; 2],
    after: [Option<(UnixTime, MacAddr)>; 2],
}

impl NearestClaims {
    fn of(all: &[&NearestSightings]) -> NearestClaims {
        let mut claims = NearestClaims::default();
        for one in all {
            let NearestClaims { before: [last, second_last], after: [next, second_next] } =
                &mut claims;
            let before = one.before.claim.map(|time| (time, one.mac));
            let after = one.after.claim.map(|time| (time, one.mac));
            if before > *last {
                (*last, *second_last) = (before, *last);
            } else {
                *second_last = (*second_last).max(before);
            }
            let earlier =
                |one: Option<(UnixTime, MacAddr)>, other| [one, other].into_iter().flatten().min();
            if after.is_some() && earlier(after, *next) == after {
                (*next, *second_next) = (after, *next);
            } else {
                *second_next = earlier(*second_next, after);
            }
        }
        claims
    }

    fn without(&self, mac: MacAddr) -> ClaimsOfOthers {
        let of_other = |claims: [Option<(UnixTime, MacAddr)>; 2]| {
            claims.into_iter().flatten().find(|(_, other)| *other != mac).map(|(time, _)| time)
        };
        ClaimsOfOthers { before: of_other(self.before), after: of_other(self.after) }
    }
}

/// The nearest claims of all other MACs of the network.
struct ClaimsOfOthers {
    before: Option<UnixTime>,
    after: Option<UnixTime>,
}

impl ClaimsOfOthers {
    /// Whether another MAC claims the address at most ten minutes before or after this time.
    fn is_near(&self, time: UnixTime) -> bool {
        [self.before, self.after].into_iter().flatten().any(|claim| within(claim, time))
    }

    /// Whether a claim of another MAC is at or after `from` and not after `to`.
    fn is_between(&self, from: UnixTime, to: UnixTime) -> bool {
        [self.before, self.after].into_iter().flatten().any(|claim| (from..=to).contains(&claim))
    }

    /// The last claim before the time is one of this MAC.
    fn is_owner(&self, one: &NearestSightings) -> bool {
        one.before.claim.is_some() && one.before.claim >= self.before
    }

    fn counted_before(&self, one: &NearestSightings) -> Option<UnixTime> {
        let side = one.before;
        let life = side.sign_of_life.filter(|_| one.is_known());
        let other = side.frame_source.max(life).filter(|time| {
            self.is_owner(one)
                || self.before.is_none_or(|claim| claim < *time) && !self.is_near(*time)
        });
        let probe = side.probe.filter(|probe| self.is_join(*probe, one.after.claim));
        // Of two, the later one is nearer.
        side.claim.max(other).max(probe)
    }

    fn counted_after(&self, one: &NearestSightings) -> Option<UnixTime> {
        let side = one.after;
        let life = side.sign_of_life.filter(|_| one.is_known());
        let other = [side.frame_source, life].into_iter().flatten().min().filter(|time| {
            self.is_owner(one) && self.after.is_none_or(|claim| claim > *time)
                || !self.is_near(*time)
        });
        let probe = side.probe.filter(|probe| self.is_join(*probe, side.claim));
        [side.claim, other, probe].into_iter().flatten().min()
    }

    /// Whether a probe and a later claim of the same MAC are one join (RFC 5227, 2.1.1; RFC 4862, 5.4): at most ten
    /// minutes lie between them, and no other MAC defends the address.
    fn is_join(&self, probe: UnixTime, claim: Option<UnixTime>) -> bool {
        claim.is_some_and(|claim| {
            probe <= claim && within(probe, claim) && !self.is_between(probe, claim)
        })
    }
}

/// Whether two times are at most ten minutes apart.
fn within(one: UnixTime, other: UnixTime) -> bool {
    one.as_nanos().saturating_sub(other.as_nanos()).saturating_abs() <= KEPT_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_layout::Evidence::{self, Claim, FrameSource, Probe, SignOfLife};

    const AT: i64 = 1_000_000;

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    /// Sightings as (MAC, evidence, seconds from the time in question); what counts as (MAC, before, after).
    fn count(
        seen: &[(u8, Evidence, i64)],
        which: fn(&[&NearestSightings]) -> Vec<Counted>,
    ) -> Vec<(u8, Option<i64>, Option<i64>)> {
        let mut all: Vec<NearestSightings> = Vec::new();
        for (last, evidence, seconds) in seen {
            if !all.iter().any(|one| one.mac == mac(*last)) {
                all.push(NearestSightings::new(0, mac(*last), None));
            }
            let one = all.iter_mut().find(|one| one.mac == mac(*last)).unwrap();
            let time = UnixTime::new(AT + seconds, 0);
            match seconds {
                ..=0 => one.before.add(*evidence, time, UnixTime::max),
                _ => one.after.add(*evidence, time, UnixTime::min),
            }
        }
        let seconds = |time: Option<UnixTime>| Some(time?.seconds() - AT);
        let counted = which(&all.iter().collect::<Vec<_>>());
        let row = |one: &Counted| (one.mac.octets()[5], seconds(one.before), seconds(one.after));
        counted.iter().map(row).collect()
    }

    #[test]
    fn a_probe_is_no_claim() {
        let scanner = [(1, Claim, -60), (1, Claim, 60), (9, Probe, -5), (9, Probe, 5)];
        assert_eq!(count(&scanner, counted), [(1, Some(-60), Some(60))]);
        assert_eq!(count(&scanner, probes), []);
        assert_eq!(count(&scanner[2..], counted), []);
        assert_eq!(count(&scanner[2..], probes), [(9, Some(-5), Some(5))]);
    }

    #[test]
    fn a_probe_begins_a_join() {
        let join = [(1, Probe, -3), (1, Claim, 3)];
        assert_eq!(count(&join, counted), [(1, Some(-3), Some(3))]);
        let later = [(1, Probe, -300), (1, Claim, 301)];
        assert_eq!(count(&later, counted), [(1, None, Some(301))]);
        let next = [(1, Probe, 3), (1, Claim, 6)];
        assert_eq!(count(&next, counted), [(1, None, Some(3))]);
        // Its owner defends the address.
        let defended = [(1, Probe, -3), (2, Claim, -2), (1, Claim, 3)];
        assert_eq!(count(&defended, counted), [(1, None, Some(3)), (2, Some(-2), None)]);
    }

    #[test]
    fn an_answer_without_a_mac_overrules_no_claim() {
        // The owner, however long its last claim is ago; or no other MAC claims the address.
        let owner = [(1, Claim, -9000), (1, FrameSource, -30), (1, FrameSource, 30)];
        assert_eq!(count(&owner, counted), [(1, Some(-30), Some(30))]);
        assert_eq!(count(&owner[1..], counted), [(1, Some(-30), Some(30))]);
        // Another MAC claims the address before, after, or in between.
        for claim in [-570, -60, 60, 570] {
            let proxied = [(1, FrameSource, -30), (1, FrameSource, 30), (2, Claim, claim)];
            let found = count(&proxied, counted);
            assert!(found.iter().all(|(mac, ..)| *mac == 2), "{claim}: {found:?}");
        }
        let long_ago = [(2, Claim, -700), (1, FrameSource, -30), (1, FrameSource, 30)];
        assert_eq!(count(&long_ago, counted), [(2, Some(-700), None), (1, Some(-30), Some(30))]);
        // The owner that another one follows.
        let handed_over =
            [(1, Claim, -900), (1, FrameSource, 50), (2, Claim, 60), (1, FrameSource, -50)];
        assert_eq!(count(&handed_over, counted), [(1, Some(-50), Some(50)), (2, None, Some(60))]);
    }

    #[test]
    fn a_sign_of_life_counts_for_a_known_pairing() {
        let unknown = [(1, SignOfLife, -30), (1, SignOfLife, 30)];
        assert_eq!(count(&unknown, counted), []);
        assert_eq!(count(&unknown, probes), []);
        for known in [(1, Claim, 90_000), (1, FrameSource, -90_000)] {
            let found = count(&[unknown[0], unknown[1], known], counted);
            assert_eq!(found, [(1, Some(-30), Some(30))], "{known:?}");
        }
    }
}
