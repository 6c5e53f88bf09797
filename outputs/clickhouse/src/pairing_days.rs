//! The rows of `pairing_day`: for each pairing, origin and day of UTC the first and the last sighting. A question about all pairings
//! reads these instead of all events. The output makes them of each batch, and not a view on the server: with a view, a sensor would need
//! the permission to read all events. The server merges the rows of a day; which of them it has several times does not matter, because
//! the earlier of two first times and the later of two last ones are the same however often they are compared.

use std::{collections::BTreeMap, mem};

use shm_layout::UnixTime;

use crate::row_binary::RowBinary;

/// A day, in nanoseconds.
pub const NANOS_OF_DAY: i64 = 86_400_000_000_000;
/// 2106-02-06, the last day that all servers know as a time in seconds. It stands for later ones, too.
pub const LAST_DAY: i64 = 49_709;

/// The day of a time. The first one stands for times before 1970, too.
pub fn day(time: UnixTime) -> i64 {
    time.as_nanos().div_euclid(NANOS_OF_DAY).clamp(0, LAST_DAY)
}

/// The rows of a batch.
#[derive(Default)]
pub struct PairingDays {
    /// By what they are identified by, as bytes: two batches with the same events have the same rows in the same order.
    first_and_last: BTreeMap<Vec<u8>, (UnixTime, UnixTime)>,
}

impl PairingDays {
    /// Adds a sighting; `key` has the columns of its pairing and its origin.
    pub fn add(&mut self, mut key: RowBinary, time: UnixTime) {
        key.uint16(day(time) as u16);
        let known = self.first_and_last.entry(key.into_bytes()).or_insert((time, time));
        *known = (known.0.min(time), known.1.max(time));
    }

    /// The rows so far. The next ones begin again.
    pub fn take(&mut self) -> RowBinary {
        let mut rows = RowBinary::default();
        for (key, (first, last)) in mem::take(&mut self.first_and_last) {
            rows.raw(&key).state(first.as_nanos()).state(last.as_nanos());
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        let of = |seconds: i64| day(UnixTime::new(seconds, 0));
        assert_eq!([of(0), of(86_399), of(86_400), of(1_577_836_800)], [0, 0, 1, 18_262]);
        assert_eq!([of(-1), of(5_000_000_000)], [0, LAST_DAY]);
        // So no row of a day has times on both sides of it.
        assert_eq!(UnixTime::CLOCK_SET.as_nanos() % NANOS_OF_DAY, 0);
    }

    #[test]
    fn one_row_of_a_day() {
        let mut days = PairingDays::default();
        let mut add = |mac: u64, seconds: i64| {
            let mut key = RowBinary::default();
            key.uint64(mac);
            days.add(key, UnixTime::new(seconds, 0));
        };
        let seen = [(2, 50), (1, 90), (2, 40), (2, 60), (2, 86_401)];
        seen.into_iter().for_each(|(mac, time)| add(mac, time));
        let row = |mac: u64, day, first: i64, last: i64| {
            let mut row = RowBinary::default();
            row.uint64(mac).uint16(day);
            row.state(first * 1_000_000_000).state(last * 1_000_000_000);
            row.into_bytes()
        };
        let expected = [row(1, 0, 90, 90), row(2, 0, 40, 60), row(2, 1, 86_401, 86_401)].concat();
        assert_eq!(days.take().bytes(), expected);
        assert!(days.take().is_empty());
    }
}
