//! From sightings to periods: which MAC had an address from when to when. No I/O and no clock.

use std::collections::HashMap;

use shm_layout::{MacAddr, UnixTime};

use crate::history_reader::AddressSighting;

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
    pub count: u64,
    /// The MAC that was seen last before this period, and when.
    pub previous: Option<(MacAddr, UnixTime)>,
}

/// The periods of one address, in the order in which they begin.
#[derive(Debug, Default)]
pub struct PeriodBuilder {
    all: Vec<Period>,
    /// For each network the period of the last sighting, and the last period of each MAC.
    last: HashMap<usize, usize>,
    of_mac: HashMap<(usize, MacAddr), usize>,
}

impl PeriodBuilder {
    /// Adds the next sighting. A period ends when another MAC is seen, unless the first is seen again soon.
    pub fn add(&mut self, AddressSighting { time, network, mac }: AddressSighting) {
        let last = self.last.get(&network).copied();
        let known = self.of_mac.get(&(network, mac)).copied();
        let continues = |index: &usize| {
            let since = time.as_nanos().saturating_sub(self.all[*index].last.as_nanos());
            Some(*index) == last || since <= KEPT_WITHIN
        };
        let index = match known.filter(continues) {
            Some(index) => {
                let period = &mut self.all[index];
                period.last = period.last.max(time);
                period.count += 1;
                index
            }
            None => {
                let previous = last.map(|last| (self.all[last].mac, self.all[last].last));
                self.all.push(Period { network, mac, first: time, last: time, count: 1, previous });
                self.all.len() - 1
            }
        };
        self.of_mac.insert((network, mac), index);
        self.last.insert(network, index);
    }

    pub fn finish(self) -> Vec<Period> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60;

    /// Sightings as (time in seconds, MAC, network); periods as (MAC, first, last, count, previous MAC).
    fn periods(seen: &[(i64, u8, usize)]) -> Vec<(u8, i64, i64, u64, Option<u8>)> {
        let mac = |last: u8| MacAddr::new([2, 0, 0, 0, 0, last]);
        let mut builder = PeriodBuilder::default();
        for (time, last, network) in seen {
            let time = UnixTime::new(*time, 0);
            builder.add(AddressSighting { time, network: *network, mac: mac(*last) });
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
}
