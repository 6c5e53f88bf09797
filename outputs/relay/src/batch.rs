//! The bytes of a message: the events of a sensor's ring that were sent together. Numbers are little-endian.
//!
//! | byte | field |
//! |---|---|
//! | 0 | `AWB1` |
//! | 4 | byte order of the events: 1 = little-endian, 2 = big-endian |
//! | 8 | generation of the ring |
//! | 16 | number of the first event that the message accounts for |
//! | 24 | number after the last one |
//! | 32 | for each event: its number, and its 56 bytes as in the ring |
//!
//! A number between the first and the last one without an event was lost before it was read from the ring. An event of a kind that is not
//! known, here or at the sensor, is skipped: the sensor sends zeros in its place.
//!
//! It trusts no message: a sensor can send any bytes.

use aw_output::Batch;
use shm_layout::{Event, Position, RingName};

const MAGIC: &[u8; 4] = b"AWB1";
const HEAD: usize = 32;
const RECORD: usize = 8 + Event::SIZE;
const ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
/// No ring gets so far, with a million events a second for eight years.
const MAX_NUMBER: u64 = 1 << 48;

/// An event with its number, as in a message.
pub fn record(sequence: u64, event: &Event) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    bytes[8..].copy_from_slice(&event.to_bytes());
    bytes
}

/// The message with these records.
pub fn encode(first: Position, next: u64, records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + records.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[ORDER, 0, 0, 0]);
    for number in [first.generation, first.sequence, next] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(records);
    bytes
}

/// The same records with one of zeros for each of so many numbers that have none, the last ones.
pub fn with_skipped(first: u64, next: u64, records: &[u8], skipped: u64) -> Vec<u8> {
    let (mut left, mut end, mut found) = (skipped, next, Vec::new());
    let numbers = records.as_chunks::<RECORD>().0.iter().rev().map(Some).chain([None]);
    for record in numbers {
        let begin = record.map_or(first, |record| number(&record[..8]) + 1);
        while end > begin && left > 0 {
            (end, left) = (end - 1, left - 1);
            found.push([&end.to_le_bytes()[..], &[0; Event::SIZE]].concat());
        }
        if let Some(record) = record {
            found.push(record.to_vec());
            end = begin - 1;
        }
    }
    found.reverse();
    found.concat()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap_or_default())
}

/// A message of this sensor.
pub fn decode((host, ring): (String, RingName), bytes: &[u8]) -> Result<Batch, String> {
    let Some((head, records)) = bytes.split_first_chunk::<HEAD>() else {
        return Err("it is too short".into());
    };
    if &head[..4] != MAGIC {
        return Err("it is not from aw-relay, or from a later release (update this program)".into());
    }
    if head[4] != ORDER {
        return Err("its sensor has another byte order".into());
    }
    let [generation, sequence, next] = [8, 16, 24].map(|at| number(&head[at..at + 8]));
    let (records, rest) = records.as_chunks::<RECORD>();
    let is_range = sequence <= next && next <= MAX_NUMBER;
    if !rest.is_empty() || !is_range {
        return Err("its numbers do not fit together".into());
    }
    let (mut events, mut least) = (Vec::with_capacity(records.len()), sequence);
    for record in records {
        let (at, event) = record.split_at(8);
        let at = number(at);
        if at < least || at >= next {
            return Err("its events are not in order".into());
        }
        least = at + 1;
        let event: &[u8; Event::SIZE] = event.try_into().map_err(|_| "it is too short")?;
        events.push((at, Event::from_bytes(event).ok()));
    }
    Ok(Batch { host, ring, first: Position { generation, sequence }, next, events })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use shm_layout::{ConfigChange, UnixTime, UserName};

    use super::*;

    fn event(second: i64) -> Event {
        let change = ConfigChange { user: UserName::cut("admin"), added: 1, removed: 2 };
        let (time, name) = (UnixTime::new(second, 5), "gw".parse().unwrap());
        Event::config_change(time, name, Ipv4Addr::new(192, 0, 2, 1), change)
    }

    #[test]
    fn what_is_sent_is_read() {
        let first = Position { generation: u64::MAX, sequence: 7 };
        let records = [record(7, &event(1)), record(9, &event(2))].concat();
        let bytes = encode(first, 12, &records);
        assert_eq!(bytes.len(), HEAD + 2 * RECORD);
        let sensor = ("alpha".to_owned(), "/lan".parse().unwrap());
        let read = |bytes: &[u8]| decode(sensor.clone(), bytes);
        let batch = read(&bytes).unwrap();
        assert_eq!((batch.first, batch.next, &*batch.host), (first, 12, "alpha"));
        assert_eq!(batch.events, [(7, Some(event(1))), (9, Some(event(2)))]);
        let empty = read(&encode(first, 7, &[])).unwrap();
        assert!(empty.events.is_empty());

        let with = |at: usize, byte| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            bytes
        };
        for (bad, why) in [
            (bytes[..31].to_vec(), "too short"),
            (with(3, b'2'), "later release"),
            (with(4, 3 - ORDER), "byte order"),
            (with(16, 8), "not in order"),
            (with(16, 13), "do not fit"),
            (with(24, 9), "not in order"),
            (with(31, 0x80), "do not fit"),
            (encode(first, i64::MAX as u64, &[]), "do not fit"),
            (with(HEAD + RECORD, 7), "not in order"),
            (bytes[..bytes.len() - 1].to_vec(), "do not fit"),
        ] {
            let fault = read(&bad).unwrap_err();
            assert!(fault.contains(why), "{fault}: {why}");
        }
        // A kind that this release does not know.
        let unknown = read(&with(HEAD + 8 + 50, 200)).unwrap();
        assert_eq!(unknown.events, [(7, None), (9, Some(event(2)))]);
    }

    /// An event of a kind that the sensor does not know is none for the reader, either; others that are missing are lost.
    #[test]
    fn what_the_sensor_skips_is_skipped() {
        let first = Position { generation: 1, sequence: 7 };
        let records = [record(9, &event(1)), record(12, &event(2))].concat();
        let numbers = |skipped| {
            let records = with_skipped(7, 14, &records, skipped);
            let sensor = ("alpha".to_owned(), "/lan".parse().unwrap());
            let batch = decode(sensor, &encode(first, 14, &records)).unwrap();
            let numbers = batch.events.into_iter().map(|(at, event)| (at, event.is_some()));
            numbers.collect::<Vec<_>>()
        };
        assert_eq!(numbers(0), [(9, true), (12, true)]);
        assert_eq!(numbers(2), [(9, true), (11, false), (12, true), (13, false)]);
        let all = (7..14).map(|at| (at, at == 9 || at == 12)).collect::<Vec<_>>();
        assert_eq!((numbers(5), numbers(9)), (all.clone(), all));
    }

    proptest! {
        /// Any bytes, and any change of a message: what is read is in order and within its numbers.
        #[test]
        fn any_message(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            changes in proptest::collection::vec((0..300_usize, any::<u8>()), 0..4),
            length in 0..300_usize,
        ) {
            let first = Position { generation: 3, sequence: 7 };
            let records = [record(7, &event(1)), record(9, &event(2)), record(10, &event(3))];
            let mut message = encode(first, 12, &records.concat());
            changes.iter().for_each(|(at, to)| message.iter_mut().skip(*at).take(1).for_each(|byte| *byte = *to));
            message.truncate(length.max(HEAD));
            for bytes in [&bytes, &message] {
                let sensor = ("alpha".to_owned(), "/lan".parse().unwrap());
                let Ok(batch) = decode(sensor, bytes) else { continue };
                let numbers: Vec<u64> = batch.events.iter().map(|(at, _)| *at).collect();
                prop_assert!(numbers.is_sorted_by(|one, two| one < two));
                prop_assert!(numbers.iter().all(|at| (batch.first.sequence..batch.next).contains(at)));
            }
        }
    }
}
