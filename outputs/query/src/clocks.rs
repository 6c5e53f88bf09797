//! Which times are those of a clock that was not set. No I/O.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use aw_service::Error;
use shm_layout::UnixTime;

use crate::{
    history_reader::{HistoryReader, Network, TimeRange},
    queries::network,
};

/// 2000-01-01 00:00 UTC. Rows without a ring may be from addrwatch, which wrote true times long before
/// [`UnixTime::CLOCK_SET`].
const SET_WITHOUT_RING: UnixTime = UnixTime::new(946_684_800, 0);

/// The time from which the clock of each network counts as set.
#[derive(Clone, Debug)]
pub struct Clocks {
    with_ring: UnixTime,
    without_ring: UnixTime,
    /// Networks that have rows without a ring, as far as they are known; None: all.
    ringless: Option<Rc<RefCell<HashSet<usize>>>>,
}

impl Clocks {
    /// Of a history in which these networks have rows without a ring.
    pub fn new(ringless: HashSet<usize>) -> Clocks {
        let ringless = Some(Rc::new(RefCell::new(ringless)));
        Clocks { ringless, ..Clocks::without_rings() }
    }

    /// Adds a network that has rows without a ring, also to the clocks of questions that were made of these.
    pub fn add_ringless(&self, network: usize) {
        if let Some(ringless) = &self.ringless {
            ringless.borrow_mut().insert(network);
        }
    }

    /// Of a history that does not have rings.
    pub fn without_rings() -> Clocks {
        let with_ring = UnixTime::CLOCK_SET;
        Clocks { with_ring, without_ring: SET_WITHOUT_RING, ringless: None }
    }

    /// Those of a question about a time range: one that names an earlier time is answered with the times as they are.
    pub fn asked(&self, range: TimeRange) -> Clocks {
        let of = |set: UnixTime| {
            let names_earlier = range.from > TimeRange::ALL.from && range.from < set;
            if names_earlier || range.to <= set { TimeRange::ALL.from } else { set }
        };
        let (with_ring, without_ring) = (of(self.with_ring), of(self.without_ring));
        Clocks { with_ring, without_ring, ringless: self.ringless.clone() }
    }

    /// The time from which the clock of a network counts as set.
    pub fn set_at(&self, network: usize) -> UnixTime {
        self.choose(network, (self.with_ring, self.without_ring))
    }

    /// Both limits: for networks with a ring, and without.
    pub fn limits(&self) -> [UnixTime; 2] {
        [self.with_ring, self.without_ring]
    }

    /// Chooses what applies to a network.
    pub fn choose<T>(&self, network: usize, (with_ring, without): (T, T)) -> T {
        let is_ringless = self.ringless.as_ref().is_none_or(|all| all.borrow().contains(&network));
        if is_ringless { without } else { with_ring }
    }

    /// Whether a time in a network is one of a clock that was set.
    pub fn is_set(&self, network: usize, time: UnixTime) -> bool {
        time >= self.set_at(network)
    }
}

/// Of these networks, those whose clock was set, with the time from which it was: earlier ones in them are wrong. Each
/// comes with whether one of its times in the answer is right.
pub fn with_clock(
    history: &mut dyn HistoryReader,
    clocks: &Clocks,
    networks: impl Iterator<Item = (usize, bool)>,
) -> Result<HashMap<usize, UnixTime>, Error> {
    let mut is_right: HashMap<usize, bool> = HashMap::new();
    networks.for_each(|(network, right)| *is_right.entry(network).or_default() |= right);
    let mut of_interface: HashMap<[String; 3], bool> = HashMap::new();
    let mut set = HashMap::new();
    for (index, is_right) in is_right {
        let Network { host, ring, interface, .. } = network(history, index);
        let interface = [host, ring, interface];
        let is_set = match of_interface.get(&interface) {
            _ if is_right => true,
            Some(is_set) => *is_set,
            None => history.is_clock_set(index)?,
        };
        if is_set {
            set.insert(index, clocks.set_at(index));
        }
        of_interface.insert(interface, is_set);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_they_are() {
        let clocks = Clocks::new([1].into());
        let [t1999, t2018, t2024] =
            [946_684_799, 1_514_764_800, 1_704_067_200].map(|seconds| UnixTime::new(seconds, 0));
        let of = |clocks: &Clocks, network| {
            [t1999, t2018, t2024].map(|time| clocks.is_set(network, time))
        };
        assert_eq!(of(&clocks, 0), [false, false, true]);
        assert_eq!(of(&clocks, 1), [false, true, true]);
        assert_eq!(of(&Clocks::without_rings(), 0), [false, true, true]);
        let all = TimeRange::ALL;
        for (range, expected) in [
            (all, [2, 1]),
            (TimeRange { from: t2024, ..all }, [2, 1]),
            (TimeRange { to: t2024, ..all }, [2, 1]),
            (TimeRange { from: t2018, ..all }, [0, 1]),
            (TimeRange { to: t2018, ..all }, [0, 1]),
            (TimeRange { from: t1999, ..all }, [0, 0]),
            (TimeRange { to: t1999, ..all }, [0, 0]),
        ] {
            let asked = clocks.asked(range);
            let wrong = |network| of(&asked, network).iter().filter(|is_set| !**is_set).count();
            assert_eq!([wrong(0), wrong(1)], expected, "{range:?}");
        }
    }
}
