//! Drops what was already published within the last minute: an advertisement comes every few seconds, and a host that probes
//! repeats its name. The table has a fixed size, whatever arrives.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use shm_layout::{NameKind, NameRecord, Record, UnixTime};

use crate::names::message::Message;

/// Seconds within which the same message is not published again, or half of its shortest lifetime.
const INTERVAL: i64 = 60;
/// Messages that are remembered; later ones take the places of earlier ones, which are then published too often.
const PLACES: usize = 16_384;

/// The messages of the last minute.
pub struct Repeats {
    /// Keyed at random: a sender cannot choose a message that takes the place of another one's.
    hasher: RandomState,
    places: Box<[Place]>,
    /// Messages by their bytes, so that the same bytes are not read again.
    known: Box<[Known]>,
    /// How many leases ended: what begins one after that is no repeat of what began it before.
    ends: u64,
}

/// What was read of a message.
#[derive(Clone, Copy)]
struct Known {
    message: u64,
    records: Records,
}

/// The records of a message: their hash, the interval, and their number.
#[derive(Clone, Copy)]
pub struct Records {
    hash: u64,
    interval: i64,
    number: usize,
    is_of_lease: bool,
}

/// What begins or ends the use of an address: its order counts.
fn is_of_lease(kind: NameKind) -> bool {
    use NameKind::*;
    matches!(kind, DhcpAck | DhcpRelease | DhcpDecline | AddrReg)
}

fn ends_lease(record: &NameRecord) -> bool {
    use NameKind::*;
    match record.kind {
        DhcpRelease | DhcpDecline => true,
        kind => kind == AddrReg && record.lifetime == 0,
    }
}

/// What is remembered of a message.
#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    /// When it was published.
    published: i64,
    /// How often, and when last, it was dropped since then.
    repeats: u32,
    repeated: UnixTime,
}

/// An earlier message that was the same, if there is one.
pub struct Earlier<'a> {
    place: &'a mut Place,
    records: Records,
    now: UnixTime,
}

impl Repeats {
    pub fn new() -> Repeats {
        let repeated = UnixTime::from_nanos(0);
        let none = Place { hash: 0, published: i64::MIN, repeats: 0, repeated };
        let unknown = Known {
            message: 0,
            records: Records { hash: 0, interval: 0, number: 0, is_of_lease: false },
        };
        Repeats {
            hasher: RandomState::new(),
            places: vec![none; PLACES].into(),
            known: vec![unknown; PLACES].into(),
            ends: 0,
        }
    }

    /// A number for the bytes of a message.
    pub fn number(&self, message: &Message) -> u64 {
        let mut state = self.hasher.build_hasher();
        message.hash(&mut state);
        state.finish()
    }

    /// How many records a message with this number has, if they were published within the interval; then they are counted as repeated.
    pub fn repeat(&mut self, message: u64, now: UnixTime) -> Option<usize> {
        let known = self.known[message as usize % PLACES];
        let place = &mut self.places[known.records.hash as usize % PLACES];
        let mut earlier = Earlier { place, records: known.records, now };
        (known.message == message && earlier.is_repeated()).then_some(known.records.number)
    }

    /// Remembers which records a message has.
    pub fn remember(&mut self, message: u64, records: Records) {
        if records.is_of_lease {
            return;
        }
        self.known[message as usize % PLACES] = Known { message, records };
    }

    /// The earlier one. A lifetime is part of it as it was sent: one that falls to a second is as new as one of 0. A router that
    /// counts its lifetimes down is published each time.
    pub fn find(&mut self, records: &[NameRecord], now: UnixTime) -> Earlier<'_> {
        let mut state = self.hasher.build_hasher();
        for record in records {
            let mut claim = NameRecord { time: UnixTime::from_nanos(0), ..*record };
            if record.kind.has_transaction() {
                claim.number = 0;
            }
            if is_of_lease(record.kind) {
                self.ends.hash(&mut state);
            }
            if ends_lease(record) {
                self.ends = self.ends.wrapping_add(1); // the same end, later, is another one
            }
            claim.pack().hash(&mut state); // in one piece, which is faster than field by field
        }
        let hash = state.finish();
        let lifetimes =
            records.iter().filter(|record| record.has_lifetime() && record.lifetime > 0);
        let shortest = lifetimes.map(|record| i64::from(record.lifetime) / 2).min();
        let interval = shortest.unwrap_or(INTERVAL).clamp(1, INTERVAL);
        let place = &mut self.places[hash as usize % PLACES];
        let is_of_lease = records.iter().any(|record| is_of_lease(record.kind));
        let records = Records { hash, interval, number: records.len(), is_of_lease };
        Earlier { place, records, now }
    }
}

impl Earlier<'_> {
    /// What is to be remembered of the message.
    pub fn records(&self) -> Records {
        self.records
    }

    /// Whether the same message was published within the interval; then this one is counted.
    pub fn is_repeated(&mut self) -> bool {
        let Earlier { place, records, now } = self;
        let age = now.seconds().saturating_sub(place.published);
        let is_repeated = place.hash == records.hash && (0..records.interval).contains(&age);
        if is_repeated {
            (place.repeats, place.repeated) = (place.repeats.saturating_add(1), *now);
        }
        is_repeated
    }

    /// The message is published. Returns how often, and when last, the earlier one was repeated.
    pub fn replace(self) -> (u32, UnixTime) {
        let Earlier { place, records: Records { hash, .. }, now } = self;
        let repeated = UnixTime::from_nanos(0);
        let new = Place { hash, published: now.seconds(), repeats: 0, repeated };
        let old = std::mem::replace(place, new);
        if old.hash == hash { (old.repeats, old.repeated) } else { (0, repeated) }
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

    /// None if it is repeated; otherwise the number of repetitions before it.
    fn published(repeats: &mut Repeats, records: &[NameRecord]) -> Option<u32> {
        let mut earlier = repeats.find(records, records[0].time);
        (!earlier.is_repeated()).then(|| earlier.replace().0)
    }

    #[test]
    fn once_a_minute() {
        let mut repeats = Repeats::new();
        let times = (0..200).filter_map(|seconds| {
            let number =
                published(&mut repeats, &[NameRecord { lifetime: 1800, ..record(seconds) }])?;
            Some((seconds, number))
        });
        assert_eq!(times.collect::<Vec<_>>(), [(0, 0), (60, 59), (120, 59), (180, 59)]);
    }

    /// A short lifetime is renewed in the ring before it ends.
    #[test]
    fn short_lifetimes() {
        let mut repeats = Repeats::new();
        let times = (0..60).filter(|seconds| {
            let record = NameRecord { lifetime: 30, ..record(*seconds) };
            published(&mut repeats, &[record]).is_some()
        });
        assert_eq!(times.collect::<Vec<_>>(), [0, 15, 30, 45]);
    }

    #[test]
    fn a_change_is_published_at_once() {
        let mut repeats = Repeats::new();
        let first = NameRecord { lifetime: 1800, preferred: 1800, ..record(0) };
        assert!(published(&mut repeats, &[first]).is_some());
        assert!(
            published(&mut repeats, &[NameRecord { time: UnixTime::new(1, 0), ..first }]).is_none()
        );
        let own = NameRecord { time: UnixTime::new(1, 0), ..first };
        for other in [
            NameRecord { lifetime: 0, ..own },
            NameRecord { lifetime: 1, ..own },
            NameRecord { preferred: 0, ..own },
            NameRecord { kind: NameKind::RouterPrefix, ..own },
            NameRecord { kind: NameKind::RouterPrefix, preferred: 0, ..own },
            NameRecord { name: NameText::cut("x"), ..own },
            NameRecord { flags: 0x40, ..own },
            NameRecord { number: 1400, ..own },
            NameRecord { interface: "eth1".parse().unwrap(), ..own },
        ] {
            assert!(published(&mut repeats, &[other]).is_some());
            assert!(published(&mut repeats, &[other]).is_none());
        }
        // What is missing in the next message is a change, too.
        assert!(published(&mut repeats, &[own, own]).is_some());
        assert!(published(&mut repeats, &[own]).is_none());
    }

    /// Of DHCP, the number is the transaction.
    #[test]
    fn another_transaction_is_the_same_claim() {
        let mut repeats = Repeats::new();
        let ack = NameRecord { kind: NameKind::DhcpAck, lifetime: 3600, ..record(0) };
        assert!(published(&mut repeats, &[ack]).is_some());
        assert!(published(&mut repeats, &[NameRecord { number: 7, ..ack }]).is_none());
    }

    /// What begins a lease after its end is no repeat, and neither is its next end.
    #[test]
    fn leases_that_end() {
        let mut repeats = Repeats::new();
        let ack = NameRecord { kind: NameKind::DhcpAck, lifetime: 3600, ..record(0) };
        let release = NameRecord { kind: NameKind::DhcpRelease, ..record(0) };
        let all = [ack, ack, release, ack, ack, release, ack];
        let published = all.map(|record| published(&mut repeats, &[record]).is_some());
        assert_eq!(published, [true, false, true, true, false, true, true]);
    }

    /// A clock that is set back makes a claim new.
    #[test]
    fn a_clock_that_was_set_back() {
        let mut repeats = Repeats::new();
        assert!(published(&mut repeats, &[record(1000)]).is_some());
        assert!(published(&mut repeats, &[record(10)]).is_some());
        assert!(published(&mut repeats, &[record(11)]).is_none());
    }
}
