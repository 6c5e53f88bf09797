//! Drops what was already published within the last minute: an advertisement comes every few seconds, and a host that probes
//! repeats its name. The table has a fixed size, whatever arrives.

use std::hash::{BuildHasher, RandomState};

use shm_layout::{NameKind, NameRecord, UnixTime};

/// Seconds within which the same claim is not published again.
const INTERVAL: i64 = 60;
/// Claims that are remembered; later ones take the places of earlier ones, which are then published too often.
const PLACES: usize = 16_384;

/// The claims of the last minute.
pub struct Repeats {
    /// Keyed at random: a sender cannot choose a claim that takes the place of another one's.
    hasher: RandomState,
    /// Hash and time.
    places: Box<[(u64, i64)]>,
}

impl Repeats {
    pub fn new() -> Repeats {
        Repeats { hasher: RandomState::new(), places: vec![(0, i64::MIN); PLACES].into() }
    }

    /// Whether the same claim was published within the last minute; otherwise it is now. Lifetimes that only count down are the
    /// same claim, one of 0 is another.
    pub fn is_repeated(&mut self, record: &NameRecord) -> bool {
        let mut claim = NameRecord { time: UnixTime::from_nanos(0), ..*record };
        claim.lifetime = u32::from(record.lifetime == 0);
        if record.kind != NameKind::Router {
            claim.preferred = 0;
        }
        if record.kind.is_dhcp() || record.kind == NameKind::AddrReg {
            claim.number = 0; // the transaction
        }
        let hash = self.hasher.hash_one(claim);
        let now = record.time.seconds();
        let place = &mut self.places[hash as usize % PLACES];
        let is_recent = (0..INTERVAL).contains(&now.saturating_sub(place.1));
        if place.0 == hash && is_recent {
            return true;
        }
        *place = (hash, now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_layout::NameText;

    fn record(seconds: i64) -> NameRecord {
        let time = UnixTime::new(seconds, 0);
        NameRecord::new(NameKind::Router, time, "eth0".parse().unwrap())
    }

    #[test]
    fn once_a_minute() {
        let mut repeats = Repeats::new();
        let mut published = Vec::new();
        for seconds in 0..200 {
            if !repeats.is_repeated(&NameRecord { lifetime: 1800, ..record(seconds) }) {
                published.push(seconds);
            }
        }
        assert_eq!(published, [0, 60, 120, 180]);
    }

    #[test]
    fn a_change_is_published_at_once() {
        let mut repeats = Repeats::new();
        let first = NameRecord { lifetime: 1800, ..record(0) };
        assert!(!repeats.is_repeated(&first));
        assert!(repeats.is_repeated(&NameRecord { lifetime: 1799, ..record(1) }));
        for other in [
            NameRecord { lifetime: 0, ..record(1) },
            NameRecord { name: NameText::cut("x"), ..first },
            NameRecord { flags: 0x40, ..first },
            NameRecord { number: 1400, ..first },
            NameRecord { preferred: 30_000, ..first },
            NameRecord { interface: "eth1".parse().unwrap(), ..first },
        ] {
            assert!(!repeats.is_repeated(&other));
            assert!(repeats.is_repeated(&other));
        }
    }

    /// Of DHCP, the number is the transaction.
    #[test]
    fn another_transaction_is_the_same_claim() {
        let mut repeats = Repeats::new();
        let ack = NameRecord { kind: NameKind::DhcpAck, lifetime: 3600, ..record(0) };
        assert!(!repeats.is_repeated(&ack));
        assert!(repeats.is_repeated(&NameRecord { number: 7, ..ack }));
    }

    /// A clock that is set back makes a claim new.
    #[test]
    fn a_clock_that_was_set_back() {
        let mut repeats = Repeats::new();
        assert!(!repeats.is_repeated(&record(1000)));
        assert!(!repeats.is_repeated(&record(10)));
        assert!(repeats.is_repeated(&record(11)));
    }
}
