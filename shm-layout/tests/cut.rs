//! A process of the owner truncates a ring while it is mapped: no reader and no writer dies, no event is invented, and
//! what was not read is counted as lost.

mod common;

use std::{
    fs::{File, OpenOptions},
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::{FileExt, MetadataExt},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use common::Ring;
use shm_layout::{
    AttachError, Counter, Event, Kind, MacAddr, NameChange, Next, Origin, Position, Reader, Start,
    UnixTime, VlanId, Writer, WriterOptions, remove,
};

const SLOTS: u64 = 1024;
const HEADER: u64 = 69_632;
/// The file's lengths: nothing, the first page, half of the header, the header, half of the slots.
const LENGTHS: [u64; 5] = [0, 4096, HEADER / 2, HEADER, HEADER + SLOTS * 32];

fn create(ring: &Ring) -> Writer {
    let name = (*ring).clone();
    Writer::create(&WriterOptions { name, slots: SLOTS, group: None, host: None }).unwrap()
}

fn event(n: u64) -> Event {
    let mac = MacAddr::new([2, 0, 0, 0, 0, n as u8]);
    Event {
        time: UnixTime::from_nanos(n as i64 + 1),
        address: Ipv6Addr::from(u128::from(n) << 64 | 7),
        interface: "cut0".parse().unwrap(),
        mac,
        source: mac,
        vlan: VlanId::NONE,
        outer_vlan: VlanId::NONE,
        kind: Kind::Pairing(Origin::NdDad),
        router: Ipv4Addr::UNSPECIFIED,
    }
}

fn publish(writer: &mut Writer, number: u64) {
    for _ in 0..number {
        let interface = writer.interface("cut0".parse().unwrap());
        writer.count(interface, Counter::Seen);
        writer.publish(interface, &event(writer.published()));
    }
    writer.wake();
}

fn file(ring: &Ring) -> File {
    OpenOptions::new().write(true).open(ring.path()).unwrap()
}

/// Reads to the end; each event is the one that was published, and its number the next one. Returns read and lost.
fn read(reader: &mut Reader) -> (u64, u64) {
    let (mut read, mut lost) = (0, 0);
    loop {
        let before = reader.position().sequence;
        match reader.next() {
            Next::Event(n, found) => {
                assert_eq!((n, found), (before, event(n)));
                read += 1;
            }
            Next::Lapped { lost: more } => lost += more,
            Next::Unknown(n, unknown) => panic!("event {n} was not published: {unknown:?}"),
            Next::Empty => return (read, lost),
        }
    }
}

#[test]
fn a_truncated_ring_is_created_again_with_the_same_numbers() {
    for length in LENGTHS {
        // To the length, and to the length and back: the rest is zeros, which raise no signal.
        for grows in [false, true] {
            let ring = Ring::new();
            let mut writer = create(&ring);
            publish(&mut writer, 700);
            let mut reader = Reader::attach(&ring, Start::Oldest).unwrap();
            for n in 0..100 {
                assert_eq!(reader.next(), Next::Event(n, event(n)));
            }
            let whole = file(&ring).metadata().unwrap().len();
            file(&ring).set_len(length).unwrap();
            if grows {
                file(&ring).set_len(whole).unwrap();
            }
            let (held, lost) = read(&mut reader);
            assert_eq!(reader.take_cut_events(), lost, "none was overwritten: {length} {grows}");
            // Where the number of events is gone, too, the rest counts as lost once there is a new ring.
            let kept = length.saturating_sub(HEADER) / 64;
            let expected = if length < 4096 { 0 } else { kept.max(100) - 100 };
            let known = if length < 4096 { 0 } else { 600 };
            assert_eq!((held, held + lost), (expected, known), "{length} {grows}");
            // Nothing of this ends the process either.
            let _ = (reader.host(), reader.counters(), reader.heartbeat(), reader.published());
            reader.wait(Duration::ZERO);
            publish(&mut writer, 50);
            let generation = reader.generation();

            let change = writer.maintain(UnixTime::now());
            assert!(matches!(change, Some(NameChange::Cut(_))), "{length}: {change:?}");
            let header_is_left = grows && length > 4096; // its first page, and the names in use
            assert!(writer.maintain(UnixTime::now()).is_none());
            if header_is_left {
                let (more, missed) = read(&mut reader);
                assert_eq!((more, missed, reader.position().sequence), (50, 0, 750));
                let first = (kept + 50, 700 - kept);
                let oldest = if kept > 0 { first } else { (50, 0) };
                for (start, expected) in [(Start::First, first), (Start::Oldest, oldest)] {
                    let mut late = Reader::attach(&ring, start).unwrap();
                    assert_eq!(read(&mut late), expected, "{length}");
                }
            } else {
                assert!(reader.is_cut() || reader.is_replaced());
            }
            let position = reader.position();
            let mut reader = Reader::attach(&ring, Start::At(position)).unwrap();
            assert_eq!(reader.generation(), generation);
            let (more, missed) = read(&mut reader);
            assert_eq!((more, position.sequence + missed), (0, 750), "{length}");
            assert_eq!(reader.take_cut_events(), missed, "none was overwritten");
            let cuts = reader.cuts();
            assert_eq!(cuts.map(|(number, _)| number), Some(1), "{length}");
            // All counters begin again, whatever was left of them.
            let counters = |reader: &Reader| {
                let counters = reader.counters();
                let counters = counters.iter().find(|one| one.name.as_str() == "cut0").unwrap();
                [Counter::Seen, Counter::Published].map(|counter| counters.get(counter))
            };
            assert_eq!(counters(&reader), [0, 0], "{length} {grows}");
            publish(&mut writer, 30);
            assert_eq!(read(&mut reader), (30, 0));
            assert!(counters(&reader)[1] >= 30);
        }
    }
}

/// A ring that has its old length again behind its first page is reported once, also if new events fill it at once or if it
/// lost less than a page. What is left of it can be read.
#[test]
fn a_ring_that_was_truncated_and_has_grown_again() {
    const PAGE: u64 = 4096;
    let end = HEADER + SLOTS * 64;
    for length in [PAGE + 1, PAGE + 16, PAGE + 24, HEADER, end - PAGE, end - 640, end - 64] {
        // Quiet, busy, and so busy that all slots are written again.
        for more in [0, 5, 2 * SLOTS] {
            let ring = Ring::new();
            let mut writer = create(&ring);
            publish(&mut writer, 20 * SLOTS);
            assert!(writer.maintain(UnixTime::now()).is_none());
            let whole = file(&ring).metadata().unwrap().len();
            file(&ring).set_len(length).unwrap();
            file(&ring).set_len(whole).unwrap();
            publish(&mut writer, more);
            let change = writer.maintain(UnixTime::now());
            // Less than a page that is full again has lost nothing but what readers count.
            let is_seen = length < HEADER || more < SLOTS && (length <= end - PAGE || more == 0);
            assert_eq!(change.is_some(), is_seen, "{length} {more}: {change:?}");
            assert!(writer.maintain(UnixTime::now()).is_none(), "{length} {more}: once");
            let mut reader = Reader::attach(&ring, Start::Oldest).unwrap();
            let cuts = reader.cuts().map(|(number, _)| number);
            assert_eq!(cuts, is_seen.then_some(1), "{length} {more}");
            let names: Vec<_> = reader.counters().iter().map(|one| one.name).collect();
            assert_eq!(names, ["cut0".parse().unwrap()], "{length} {more}");
            let (found, _) = read(&mut reader);
            assert!(
                found >= if length < PAGE + 16 { 0 } else { more.min(SLOTS) },
                "{length} {more}"
            );
            // All memory is reserved again.
            assert!(file(&ring).metadata().unwrap().blocks() * 512 >= whole, "{length} {more}");
            publish(&mut writer, 3);
            assert_eq!(read(&mut reader), (3, 0), "{length} {more}");
        }
    }
    // Without a writer: the next one reports it.
    let ring = Ring::new();
    let mut writer = create(&ring);
    publish(&mut writer, 700);
    drop(writer);
    let whole = file(&ring).metadata().unwrap().len();
    file(&ring).set_len(HEADER + 640).unwrap();
    file(&ring).set_len(whole).unwrap();
    let mut writer = create(&ring);
    assert!(matches!(writer.maintain(UnixTime::now()), Some(NameChange::Cut(_))));
    assert!(writer.maintain(UnixTime::now()).is_none());
    assert_eq!(read(&mut Reader::attach(&ring, Start::First).unwrap()), (10, 690));
}

/// The next writer continues the numbers where the header is left, and begins a new generation otherwise.
#[test]
fn a_ring_that_was_truncated_without_a_writer() {
    for length in LENGTHS {
        let ring = Ring::new();
        let mut writer = create(&ring);
        publish(&mut writer, 700);
        drop(writer);
        let generation = Reader::attach(&ring, Start::Oldest).unwrap().generation();
        file(&ring).set_len(length).unwrap();
        assert!(matches!(Reader::attach(&ring, Start::Oldest), Err(AttachError::Cut)));
        let mut writer = create(&ring);
        publish(&mut writer, 5);
        let at = Position { generation, sequence: 100 };
        let mut reader = Reader::attach(&ring, Start::At(at)).unwrap();
        let expected = if length >= HEADER { (5, 600) } else { (5, 0) };
        assert_eq!(read(&mut reader), expected, "{length}");
        assert_eq!(reader.take_cut_events(), expected.1, "{length}");
        assert_eq!(reader.cuts().is_some(), length >= HEADER);
        assert_eq!(reader.generation() == generation, length >= HEADER);
        drop(writer);
        file(&ring).set_len(length).unwrap();
        remove(&ring).unwrap();
        assert!(!ring.path().exists());
    }
}

/// At full speed, with several readers, truncated again and again at random moments.
#[test]
fn readers_and_writer_at_full_speed() {
    let ring = Ring::new();
    let mut writer = create(&ring);
    let (done, published) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for _ in 0..2 {
            let mut reader = Reader::attach(&ring, Start::First).unwrap();
            let (ring, done, published) = (&ring, &done, &published);
            readers.push(scope.spawn(move || {
                let (mut total, mut cuts) = (0, 0);
                loop {
                    let end = done.load(Relaxed).then(|| published.load(Relaxed));
                    let (found, lost) = read(&mut reader);
                    total += found + lost;
                    if end == Some(total) {
                        return cuts;
                    }
                    reader.wait(Duration::from_millis(1));
                    if reader.is_cut() || reader.is_retired() || reader.is_replaced() {
                        let at = Start::At(reader.position());
                        if let Ok(again) = Reader::attach(ring, at) {
                            assert_eq!(again.position(), reader.position());
                            reader = again;
                            cuts += 1;
                        }
                    }
                }
            }));
        }
        let cutter = scope.spawn(|| {
            for round in 0..200 {
                // The file may be replaced at this moment.
                let _ = file(&ring).set_len(LENGTHS[round % LENGTHS.len()]);
                thread::sleep(Duration::from_micros(500));
            }
        });
        let mut changes = 0;
        while !cutter.is_finished() || changes == 0 {
            publish(&mut writer, 300);
            changes += u64::from(writer.maintain(UnixTime::now()).is_some());
        }
        while writer.maintain(UnixTime::now()).is_some() {}
        publish(&mut writer, 1);
        published.store(writer.published(), Relaxed);
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        let cuts: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(cuts > 0 && changes > 0, "{cuts} {changes}");
    });
}

/// What was overwritten before the ring was truncated is not blamed on the truncation, and what a later resize keeps of it.
#[test]
fn overwritten_events_and_cut_events() {
    let ring = Ring::new();
    let mut writer = create(&ring);
    let mut reader = Reader::attach(&ring, Start::First).unwrap();
    publish(&mut writer, SLOTS + 500);
    file(&ring).set_len(0).unwrap();
    assert!(writer.maintain(UnixTime::now()).is_some());
    publish(&mut writer, 10);
    let mut reader_again = Reader::attach(&ring, Start::At(reader.position())).unwrap();
    assert_eq!(read(&mut reader_again), (10, SLOTS + 500));
    assert_eq!((reader_again.take_cut_events(), reader_again.take_cut_events()), (SLOTS, 0));
    let (number, last) = reader_again.cuts().unwrap();
    drop(writer);
    let name = (*ring).clone();
    let options = WriterOptions { name, slots: 2 * SLOTS, group: None, host: None };
    let mut writer = Writer::create(&options).unwrap();
    let mut resized = Reader::attach(&ring, Start::At(reader.position())).unwrap();
    assert_eq!((number, resized.cuts()), (1, Some((1, last))));
    assert_eq!(resized.skip_lost(), SLOTS + 500);
    // More events fit into this ring: its reader takes all that may have been there for cut.
    assert_eq!(resized.take_cut_events(), SLOTS + 500);
    file(&ring).set_len(HEADER).unwrap();
    publish(&mut writer, 1);
    assert!(writer.maintain(UnixTime::now()).is_some());
    assert_eq!(Reader::attach(&ring, Start::Now).unwrap().cuts().unwrap().0, 2);
    assert!(matches!(reader.next(), Next::Empty | Next::Lapped { .. }));
}

/// A writer that is killed while it lets the counters begin again leaves its mark: no reader takes them for counts, and the next
/// writer begins again.
#[test]
fn a_writer_that_was_killed_while_the_counters_began_again() {
    let ring = Ring::new();
    let mut writer = create(&ring);
    publish(&mut writer, 700);
    let reader = Reader::attach(&ring, Start::Oldest).unwrap();
    assert_eq!(reader.counted_since(), Some(0));
    drop(writer);
    file(&ring).write_all_at(&[0xff; 8], 344).unwrap();
    assert_eq!(reader.counted_since(), None);
    let mut writer = create(&ring);
    assert!(matches!(writer.maintain(UnixTime::now()), Some(NameChange::Cut(_))));
    let since = reader.counted_since().unwrap();
    assert_eq!(reader.cuts(), Some((1, UnixTime::from_nanos(since as i64))));
    assert!(writer.maintain(UnixTime::now()).is_none());
    assert_eq!(reader.counted_since(), Some(since));
}
