//! The ring of names: another record, another size of slots, the same rules.

mod common;

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt},
};

use common::Ring;
use shm_layout::{
    AttachError, CreateError, MacAddr, NameChange, NameCounter, NameKind, NameRecord, NameText,
    NamesReader, NamesWriter, NextOf, Reader, RingName, Start, UnixTime, Writer, WriterOptions,
    remove,
};

const HEADER: u64 = 69_632;

fn options(name: &RingName, slots: u64) -> WriterOptions {
    WriterOptions { name: name.clone(), slots, group: None, host: None }
}

fn create(name: &RingName, slots: u64) -> NamesWriter {
    NamesWriter::create(&options(name, slots)).unwrap()
}

/// Every word of record `n` depends on `n`.
fn record(n: u64) -> NameRecord {
    let time = UnixTime::from_nanos(n as i64);
    let mut record = NameRecord::new(NameKind::Router, time, "eth0".parse().unwrap());
    record.mac = MacAddr::new([2, 0, 0, 0, 0, n as u8]);
    (record.address, record.other) = (u128::from(n).into(), u128::from(n + 1).into());
    (record.relay, record.id) = (u128::from(n + 2).into(), n);
    (record.lifetime, record.preferred, record.number) = (n as u32, n as u32, n as u32);
    (record.source, record.destination) = (u128::from(n + 3).into(), u128::from(n + 4).into());
    (record.message, record.repeats, record.more_flags) = (n as u32, n as u32, n);
    let text = NameText::cut(&n.to_string().repeat(63));
    NameRecord { name: text, detail: text, third: text, circuit: text, ..record }
}

fn publish(writer: &mut NamesWriter, count: u64) {
    let counters = writer.interface("eth0".parse().unwrap());
    for _ in 0..count {
        writer.count(counters, NameCounter::Seen);
        let record = record(writer.published());
        writer.publish(counters, &record);
    }
}

/// Reads to the end: the numbers read, and the number lost.
fn drain(reader: &mut NamesReader) -> (Vec<u64>, u64) {
    let (mut read, mut lost) = (Vec::new(), 0);
    loop {
        match reader.next() {
            NextOf::Event(n, found) => {
                assert_eq!(found, record(n));
                read.push(n);
            }
            NextOf::Lapped { lost: more } => lost += more,
            NextOf::Unknown(n, unknown) => panic!("{n}: {unknown:?}"),
            NextOf::Empty => return (read, lost),
        }
    }
}

#[test]
fn each_record_is_read_or_counted_lost() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    let mut reader = NamesReader::attach(&ring, Start::Now).unwrap();
    publish(&mut writer, 5);
    assert_eq!(drain(&mut reader), ((0..5).collect(), 0));
    publish(&mut writer, 11);
    assert_eq!(drain(&mut reader), ((8..16).collect(), 3));
    assert_eq!(fs::metadata(ring.path()).unwrap().len(), HEADER + 8 * 512);
    let [counters] = &reader.counters()[..] else { panic!() };
    assert_eq!(counters.get(NameCounter::Published), 16);
    assert_eq!(counters.sum_of_outcomes::<NameCounter>(), 16);
}

/// It continues where it ended, also with another size.
#[test]
fn a_restart_continues() {
    let ring = Ring::new();
    publish(&mut create(&ring, 8), 6);
    let mut reader = NamesReader::attach(&ring, Start::First).unwrap();
    publish(&mut create(&ring, 8), 1);
    assert_eq!(drain(&mut reader), ((0..7).collect(), 0));
    publish(&mut create(&ring, 16), 2);
    assert!(reader.is_retired());
    let mut reader = NamesReader::attach(&ring, Start::At(reader.position())).unwrap();
    assert_eq!(drain(&mut reader), (vec![7, 8], 0));
}

/// A kill between the two counters of a message: the next writer completes them.
#[test]
fn a_killed_writer() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 2);
    let counters = writer.interface("eth0".parse().unwrap());
    writer.count(counters, NameCounter::Seen);
    drop(writer);
    let writer = create(&ring, 8);
    let [counters] = &writer.counters()[..] else { panic!() };
    assert_eq!(counters.get(NameCounter::Interrupted), 1);
    assert_eq!(counters.get(NameCounter::Seen), counters.sum_of_outcomes::<NameCounter>());
}

/// A reader of one of the two rings is never attached to the other.
#[test]
fn neither_is_taken_for_the_other() {
    let (events, names) = (Ring::new(), Ring::new());
    let _events = Writer::create(&options(&events, 8)).unwrap();
    let _names = create(&names, 8);
    assert!(matches!(NamesReader::attach(&events, Start::Now), Err(AttachError::NotARing)));
    assert!(matches!(Reader::attach(&names, Start::Now), Err(AttachError::NotARing)));
    drop(_names);
    let taken = Writer::create(&options(&names, 8)).unwrap_err();
    assert!(matches!(taken, CreateError::NotARing(_)), "{taken}");
}

/// As events: what a truncation took is counted as lost, and the ring is created again with the next number.
#[test]
fn a_truncated_file() {
    let ring = Ring::new();
    let mut writer = create(&ring, 64);
    publish(&mut writer, 40);
    let mut reader = NamesReader::attach(&ring, Start::First).unwrap();
    let file = fs::File::options().write(true).open(ring.path()).unwrap();
    file.set_len(HEADER).unwrap();
    assert_eq!(drain(&mut reader), (vec![], 40));
    assert!(reader.is_cut());
    let change = writer.maintain(UnixTime::now()).unwrap();
    assert!(matches!(change, NameChange::Cut(_)), "{change}");
    publish(&mut writer, 1);
    let mut reader = NamesReader::attach(&ring, Start::At(reader.position())).unwrap();
    assert_eq!(drain(&mut reader), (vec![40], 0));
}

/// A ring of an earlier build, with smaller slots: it is refused by readers, and replaced by a new one.
#[test]
fn another_layout() {
    let ring = Ring::new();
    publish(&mut create(&ring, 8), 2);
    let file = fs::File::options().write(true).open(ring.path()).unwrap();
    file.write_all_at(&1_u64.to_ne_bytes(), 8).unwrap();
    file.set_len(HEADER + 8 * 256).unwrap();
    let refused = NamesReader::attach(&ring, Start::Now).unwrap_err();
    assert!(matches!(refused, AttachError::Version(1, 2)), "{refused}");
    publish(&mut create(&ring, 8), 1);
    let mut reader = NamesReader::attach(&ring, Start::First).unwrap();
    assert_eq!(drain(&mut reader), (vec![0], 0));
}

/// A text whose bytes are damaged is empty, and a kind that is not known is skipped.
#[test]
fn damaged_slots() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 2);
    let file = fs::File::options().write(true).open(ring.path()).unwrap();
    file.write_all_at(&[0xff; 64], HEADER + 8 + 96).unwrap();
    file.write_all_at(&[200], HEADER + 512 + 8 + 56).unwrap();
    let mut reader = NamesReader::attach(&ring, Start::First).unwrap();
    let NextOf::Event(0, found) = reader.next() else { panic!() };
    assert_eq!((found.name.as_str(), found.detail), ("", record(0).detail));
    assert!(matches!(reader.next(), NextOf::Unknown(1, unknown) if unknown.kind == 200));
    assert!(matches!(reader.next(), NextOf::Empty));
}

/// The ring of names is removed with its ring of events.
#[test]
fn removed_together() {
    let ring = Ring::new();
    drop(Writer::create(&options(&ring, 8)).unwrap());
    drop(create(&ring.names(), 8));
    assert_eq!(fs::metadata(ring.names().path()).unwrap().mode() & 0o777, 0o640);
    remove(&ring).unwrap();
    for name in [&*ring, &ring.names()] {
        assert!(!name.path().exists() && !fs::exists(format!("/dev/shm{name}.lock")).unwrap());
    }
    assert!(matches!(remove(&ring), Err(CreateError::Missing)));
    // Without a ring of events, what is there is removed; with a collector, nothing is.
    drop(create(&ring.names(), 8));
    remove(&ring).unwrap();
    let events = Writer::create(&options(&ring, 8)).unwrap();
    drop(create(&ring.names(), 8));
    assert!(matches!(remove(&ring), Err(CreateError::Busy(_))));
    assert!(ring.names().path().exists());
    drop(events);
    remove(&ring).unwrap();
}
