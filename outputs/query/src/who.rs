//! Who had an address at a time, and how sure that is. Nobody is seen at every moment: what is known
//! is who was seen last before and first after. No I/O and no clock.

use shm_layout::{MacAddr, UnixTime};

use crate::{history::Around, spans::HOLD};

/// Who may have had it, in one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub network: usize,
    pub mac: MacAddr,
    pub before: Option<UnixTime>,
    pub after: Option<UnixTime>,
    pub how: How,
    /// Other MACs that were seen with it within ten minutes, before or after.
    pub others: usize,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Seen within ten minutes both before and after, and nobody else within ten minutes.
    Sure,
    /// Seen before and after, and nobody else between, but not so soon.
    Likely,
    /// Seen before and not since, or after and never before; and nobody else.
    OneSided,
    /// Another was seen last before than first after: it changed hands, nobody knows when.
    Changed,
    /// Seen shortly before and after, and so was another meanwhile, or within ten minutes.
    Contested,
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            How::Sure => "sure",
            How::Likely => "likely",
            How::OneSided => "one-sided",
            How::Changed => "changed",
            How::Contested => "contested",
        }
    }
}

/// Those that may have had an address at this time, nearest first, network by network.
pub fn who(around: &[Around], at: UnixTime) -> Vec<Holder> {
    let mut networks: Vec<usize> = around.iter().map(|around| around.network).collect();
    networks.sort_unstable();
    networks.dedup();
    let within = |network: usize| {
        let of: Vec<_> = around.iter().filter(|around| around.network == network).collect();
        holders(&of, at)
    };
    networks.into_iter().flat_map(within).collect()
}

fn holders(all: &[&Around], at: UnixTime) -> Vec<Holder> {
    let near = |time: Option<UnixTime>| distance(time, at).is_some_and(|distance| distance <= HOLD);
    let is_near = |around: &Around| near(around.before) || near(around.after);
    let last = all.iter().filter(|a| a.before.is_some()).max_by_key(|a| a.before);
    let next = all.iter().filter(|a| a.after.is_some()).min_by_key(|a| a.after);
    let (last, next) = (last.map(|a| a.mac), next.map(|a| a.mac));
    let crowd = all.iter().filter(|around| is_near(around)).count();
    let straddles = all.iter().any(|around| near(around.before) && near(around.after));
    let contested = crowd > 1 && straddles;
    let mut holders: Vec<Holder> = all
        .iter()
        .filter(|a| [last, next].contains(&Some(a.mac)) || contested && is_near(a))
        .map(|around| {
            let Around { network, mac, before, after } = **around;
            let how = match (before, after) {
                _ if contested => How::Contested,
                _ if last.is_some() && next.is_some() && last != next => How::Changed,
                (Some(_), Some(_)) if near(before) && near(after) => How::Sure,
                (Some(_), Some(_)) => How::Likely,
                _ => How::OneSided,
            };
            let others = crowd - usize::from(is_near(around));
            Holder { network, mac, before, after, how, others }
        })
        .collect();
    holders.sort_by_key(|holder| {
        let sides = [distance(holder.before, at), distance(holder.after, at)];
        (sides.into_iter().flatten().min(), holder.mac)
    });
    holders
}

/// Nanoseconds between two times.
fn distance(time: Option<UnixTime>, at: UnixTime) -> Option<i64> {
    Some(time?.as_nanos().saturating_sub(at.as_nanos()).saturating_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_000_000;

    /// MACs with the seconds to their sightings before and after; what is told of each.
    fn told(seen: &[(u8, Option<i64>, Option<i64>)]) -> Vec<(u8, &'static str, usize)> {
        let around: Vec<Around> = seen
            .iter()
            .map(|(last, before, after)| Around {
                network: 0,
                mac: MacAddr::new([2, 0, 0, 0, 0, *last]),
                before: before.map(|seconds| UnixTime::new(AT - seconds, 0)),
                after: after.map(|seconds| UnixTime::new(AT + seconds, 0)),
            })
            .collect();
        let holders = who(&around, UnixTime::new(AT, 0));
        holders.iter().map(|h| (h.mac.octets()[5], h.how.name(), h.others)).collect()
    }

    #[test]
    fn how_sure() {
        assert_eq!(told(&[]), []);
        assert_eq!(told(&[(1, Some(60), Some(600))]), [(1, "sure", 0)]);
        assert_eq!(told(&[(1, Some(0), Some(1))]), [(1, "sure", 0)]);
        assert_eq!(told(&[(1, Some(60), Some(601))]), [(1, "likely", 0)]);
        assert_eq!(told(&[(1, Some(60), None)]), [(1, "one-sided", 0)]);
        assert_eq!(told(&[(1, None, Some(60))]), [(1, "one-sided", 0)]);
        // One that had it long ago says nothing.
        assert_eq!(told(&[(1, Some(60), Some(60)), (2, Some(9000), None)]), [(1, "sure", 0)]);
        // Another has it next: nearest first.
        assert_eq!(
            told(&[(1, Some(300), None), (2, None, Some(100))]),
            [(2, "changed", 1), (1, "changed", 1)]
        );
        assert_eq!(
            told(&[(1, Some(30_000), Some(90_000)), (2, None, Some(40_000))]),
            [(1, "changed", 0), (2, "changed", 0)]
        );
        // Both are there.
        assert_eq!(
            told(&[(1, Some(5), Some(6)), (2, Some(7), Some(8))]),
            [(1, "contested", 1), (2, "contested", 1)]
        );
        assert_eq!(
            told(&[(1, Some(5), Some(6)), (2, Some(7), None), (3, Some(5000), Some(5000))]),
            [(1, "contested", 1), (2, "contested", 1)]
        );
    }

    #[test]
    fn each_network_has_its_own() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let at = UnixTime::new(AT, 0);
        let one =
            Around { network: 1, mac, before: Some(at), after: Some(UnixTime::new(AT + 1, 0)) };
        let two = Around { network: 0, mac: MacAddr::new([2, 0, 0, 0, 0, 2]), ..one };
        let networks: Vec<_> = who(&[one, two], at).iter().map(|h| (h.network, h.how)).collect();
        assert_eq!(networks, [(0, How::Sure), (1, How::Sure)]);
    }
}
