//! From sightings to spans: who held an address from when to when. No I/O and no clock.

use std::collections::HashMap;

use shm_layout::{MacAddr, UnixTime};

use crate::history::Sighting;

/// A MAC that is back within this time, in nanoseconds, never went: of two that share an address
/// (failover, a conflict) each has one span, and not one for each packet.
pub const HOLD: i64 = 600_000_000_000;

/// A MAC held an address, as far as was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub network: usize,
    pub mac: MacAddr,
    pub first: UnixTime,
    pub last: UnixTime,
    pub count: u64,
    /// Who was seen last before it began, and when.
    pub from: Option<(MacAddr, UnixTime)>,
}

/// The spans of one address, in the order in which they begin.
#[derive(Debug, Default)]
pub struct Spans {
    all: Vec<Span>,
    /// For each network the last span that was seen, and the last of each MAC.
    last: HashMap<usize, usize>,
    of_mac: HashMap<(usize, MacAddr), usize>,
}

impl Spans {
    /// Adds the next sighting. A span ends where another MAC is seen, unless the first is back soon.
    pub fn add(&mut self, Sighting { time, network, mac }: Sighting) {
        let last = self.last.get(&network).copied();
        let known = self.of_mac.get(&(network, mac)).copied();
        let goes_on = |index: &usize| {
            let since = time.as_nanos().saturating_sub(self.all[*index].last.as_nanos());
            Some(*index) == last || since <= HOLD
        };
        let index = match known.filter(goes_on) {
            Some(index) => {
                let span = &mut self.all[index];
                span.last = span.last.max(time);
                span.count += 1;
                index
            }
            None => {
                let from = last.map(|last| (self.all[last].mac, self.all[last].last));
                self.all.push(Span { network, mac, first: time, last: time, count: 1, from });
                self.all.len() - 1
            }
        };
        self.of_mac.insert((network, mac), index);
        self.last.insert(network, index);
    }

    /// All of them.
    pub fn finish(self) -> Vec<Span> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60;

    /// Sightings as (time in seconds, MAC, network); spans as (MAC, first, last, count, before).
    fn spans(seen: &[(i64, u8, usize)]) -> Vec<(u8, i64, i64, u64, Option<u8>)> {
        let mac = |last: u8| MacAddr::new([2, 0, 0, 0, 0, last]);
        let mut spans = Spans::default();
        for (time, last, network) in seen {
            let time = UnixTime::new(*time, 0);
            spans.add(Sighting { time, network: *network, mac: mac(*last) });
        }
        let number = |mac: MacAddr| mac.octets()[5];
        let tell = |span: Span| {
            let from = span.from.map(|(mac, _)| number(mac));
            (number(span.mac), span.first.seconds(), span.last.seconds(), span.count, from)
        };
        spans.finish().into_iter().map(tell).collect()
    }

    #[test]
    fn one_holder_has_one_span_however_long_it_is_silent() {
        assert_eq!(spans(&[]), []);
        assert_eq!(spans(&[(1, 1, 0), (5, 1, 0), (900_000, 1, 0)]), [(1, 1, 900_000, 3, None)]);
    }

    #[test]
    fn another_holder_begins_another_span() {
        let hour = 60 * MINUTE;
        assert_eq!(
            spans(&[(0, 1, 0), (hour, 2, 0), (2 * hour, 2, 0), (3 * hour, 1, 0)]),
            [
                (1, 0, 0, 1, None),
                (2, hour, 2 * hour, 2, Some(1)),
                (1, 3 * hour, 3 * hour, 1, Some(2))
            ]
        );
    }

    #[test]
    fn two_at_the_same_time_have_a_span_each() {
        let seen: Vec<_> = (0..1000).map(|n| (n * MINUTE, (n % 2) as u8, 0)).collect();
        let last = 999 * MINUTE;
        assert_eq!(
            spans(&seen),
            [(0, 0, last - MINUTE, 500, None), (1, MINUTE, last, 500, Some(0))]
        );
    }

    #[test]
    fn networks_have_nothing_to_do_with_each_other() {
        assert_eq!(
            spans(&[(0, 1, 0), (1, 2, 1), (9000, 1, 0), (9001, 2, 1)]),
            [(1, 0, 9000, 2, None), (2, 1, 9001, 2, None)]
        );
    }
}
