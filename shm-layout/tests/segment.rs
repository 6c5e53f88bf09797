//! A segment's life cycle: created, continued, resized, taken over after a kill, removed.

mod common;

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    time::Duration,
};

use common::Ring;
use rustix::fs::{CWD, FileType, Mode};
use shm_layout::{
    AttachError, BroadcastState, CaptureState, Counter, CreateError, Event, InterfaceName, Kind,
    MacAddr, NameChange, Next, Origin, Position, Reader, RingName, Start, UnixTime, VlanId, Writer,
    WriterOptions, remove,
};

fn create(ring: &RingName, slots: u64) -> Writer {
    Writer::create(&WriterOptions { name: ring.clone(), slots, group: None, host: None }).unwrap()
}

fn refused(ring: &RingName) -> CreateError {
    Writer::create(&WriterOptions { name: ring.clone(), slots: 8, group: None, host: None })
        .unwrap_err()
}

fn eth0() -> InterfaceName {
    "eth0".parse().unwrap()
}

fn event(n: u64) -> Event {
    Event {
        time: UnixTime::from_nanos(n as i64),
        address: Ipv4Addr::from_bits(n as u32).to_ipv6_mapped(),
        interface: eth0(),
        mac: MacAddr::new([2, 0, 0, 0, 0, n as u8]),
        source: MacAddr::new([2, 0, 0, 0, 0, n as u8]),
        vlan: VlanId::NONE,
        outer_vlan: VlanId::NONE,
        kind: Kind::Pairing(Origin::ArpReply),
        router: Ipv4Addr::UNSPECIFIED,
    }
}

fn publish(writer: &mut Writer, count: u64) {
    let counters = writer.interface(eth0());
    for _ in 0..count {
        writer.count(counters, Counter::Seen);
        let event = event(writer.published());
        writer.publish(counters, &event);
    }
    writer.wake();
}

/// Reads to the end: the numbers read, each checked against its event, and the number lost.
fn drain(reader: &mut Reader) -> (Vec<u64>, u64) {
    let (mut read, mut lost) = (Vec::new(), 0);
    loop {
        match reader.next() {
            Next::Event(n, found) => {
                assert_eq!(found, event(n));
                read.push(n);
            }
            Next::Lapped { lost: more } => lost += more,
            Next::Empty => return (read, lost),
            Next::Unknown(n, unknown) => panic!("event {n}: {unknown:?}"),
        }
    }
}

fn range(from: u64, to: u64) -> Vec<u64> {
    (from..to).collect()
}

#[test]
fn a_reader_starts_at_the_requested_position() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 20);
    let mut oldest = Reader::attach(&ring, Start::Oldest).unwrap();
    let mut now = Reader::attach(&ring, Start::Now).unwrap();
    let generation = now.generation();
    let at = |sequence| Start::At(Position { generation, sequence });
    let mut held = Reader::attach(&ring, at(15)).unwrap();
    let mut lapped = Reader::attach(&ring, at(3)).unwrap();
    let elsewhere = Start::At(Position { generation: generation ^ 1, sequence: 15 });
    let mut foreign = Reader::attach(&ring, elsewhere).unwrap();
    let mut beyond = Reader::attach(&ring, at(21)).unwrap();
    let mut first = Reader::attach(&ring, Start::First).unwrap();
    let mut skipping = Reader::attach(&ring, Start::First).unwrap();
    publish(&mut writer, 0);
    assert_eq!(drain(&mut oldest), (range(12, 20), 0));
    assert_eq!(drain(&mut now), (vec![], 0));
    assert_eq!(drain(&mut held), (range(15, 20), 0));
    assert_eq!(drain(&mut lapped), (range(12, 20), 9));
    assert_eq!(drain(&mut foreign), (range(12, 20), 0));
    assert_eq!(drain(&mut beyond), (range(12, 20), 0));
    assert_eq!(drain(&mut first), (range(12, 20), 12));
    assert_eq!((skipping.skip_lost(), skipping.skip_lost()), (12, 0));
    publish(&mut writer, 1);
    assert_eq!(drain(&mut now), (vec![20], 0));
    assert_eq!(skipping.skip_lost(), 1);
    assert_eq!(drain(&mut skipping), (range(13, 21), 0));
}

/// Words of the header.
const BEAT: u64 = 264;
const BEAT_SINCE_BOOT: u64 = 2432;
const BOOT: u64 = 2448;
const KILLS: u64 = 320;

/// Changes a word of a ring without a writer.
fn change_word(ring: &RingName, place: u64, change: impl Fn(u64) -> u64) {
    let file = fs::File::options().read(true).write(true).open(ring.path()).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, place).unwrap();
    file.write_all_at(&change(u64::from_ne_bytes(word)).to_ne_bytes(), place).unwrap();
}

/// Moves the last heartbeat back, by the clock that is never set.
fn beat_earlier(ring: &RingName, seconds: u64) {
    change_word(ring, BEAT_SINCE_BOOT, |beat| beat - seconds * 1_000_000_000);
}

/// A time without a writer is stored by the one that ends it, also if it makes a ring of another size. A restart is none.
#[test]
fn a_time_without_a_writer() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    assert_eq!(writer.gap(), None);
    let ago =
        |seconds: i64| UnixTime::from_nanos(UnixTime::now().as_nanos() - seconds * 1_000_000_000);
    writer.maintain(ago(30));
    drop(writer);
    let mut writer = create(&ring, 8);
    assert_eq!(writer.gap(), None, "a restart");
    writer.maintain(ago(600));
    drop(writer);
    let mut writer = create(&ring, 8);
    assert_eq!(writer.gap(), None, "the clock was set forward by ten minutes, and no time went by");
    writer.maintain(ago(-600));
    drop(writer);
    beat_earlier(&ring, 300);
    let mut writer = create(&ring, 8);
    let (from, to) = writer.gap().unwrap();
    assert!(from < ago(290) && from > ago(310) && to > ago(10), "set back: {from:?} {to:?}");
    for slots in [8, 16, 16] {
        let last = ago(600);
        writer.maintain(last);
        drop(writer);
        beat_earlier(&ring, 600);
        writer = create(&ring, slots);
        let (from, to) = writer.gap().unwrap();
        assert!(from == last && to > ago(100), "{slots}: {from:?} {to:?}");
        let reader = Reader::attach(&ring, Start::Oldest).unwrap();
        assert_eq!(reader.gap(), Some((from, to)), "{slots}");
        drop(writer);
        writer = create(&ring, slots);
        assert_eq!(writer.gap(), None, "{slots}");
        assert_eq!(reader.gap(), Some((from, to)), "{slots}: it stays");
    }
}

/// The time since the boot counts only if it is of the last heartbeat and of this boot, and not in the future; else the clock does.
#[test]
fn a_time_without_a_writer_by_the_clock() {
    let ring = Ring::new();
    let ago =
        |seconds: i64| UnixTime::from_nanos(UnixTime::now().as_nanos() - seconds * 1_000_000_000);
    let gap_after = |beat: UnixTime, change: &dyn Fn()| {
        create(&ring, 8).maintain(beat);
        change();
        create(&ring, 8).gap().map(|(from, _)| from)
    };
    let recent = ago(5).as_nanos() as u64;
    let by_another_build = || {
        beat_earlier(&ring, 3600);
        change_word(&ring, BEAT, |_| recent);
    };
    assert_eq!(gap_after(ago(3600), &by_another_build), None, "it ran all the time");
    let long_ago = ago(600);
    let renewed = || change_word(&ring, BEAT, |_| long_ago.as_nanos() as u64);
    assert_eq!(gap_after(ago(0), &renewed), Some(long_ago), "it ended ten minutes ago");
    let ahead = || change_word(&ring, BEAT_SINCE_BOOT, |beat| beat + 3_600_000_000_000);
    assert_eq!(gap_after(long_ago, &ahead), Some(long_ago), "the file is older than this boot");
    let of_another_boot = || change_word(&ring, BOOT, |boot| !boot);
    assert_eq!(gap_after(long_ago, &of_another_boot), Some(long_ago), "of a longer uptime");
    let not_known = || change_word(&ring, BOOT, |_| 0);
    assert_eq!(gap_after(long_ago, &not_known), Some(long_ago), "of no boot");
    // A build that counted other things there.
    let other = || change_word(&ring, KILLS, |word| word + 1);
    assert_eq!(gap_after(ago(0), &other), None);
    change_word(&ring, KILLS, |word| {
        assert_eq!(word, 1, "these writers are stopped");
        word
    });
}

/// The state of each interface, which a writer that starts does not take over, and its last frame, which it does.
#[test]
fn states_and_last_frames() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    let eth1: InterfaceName = "eth1".parse().unwrap();
    let (first, second) = (writer.interface(eth0()), writer.interface(eth1));
    writer.set_state(first, CaptureState::Captured);
    writer.set_state(second, CaptureState::NoCarrier);
    let reader = Reader::attach(&ring, Start::Oldest).unwrap();
    let both = [(eth0(), CaptureState::Captured), (eth1, CaptureState::NoCarrier)];
    assert_eq!(reader.interfaces(), both);
    writer.set_state(second, CaptureState::None);
    assert_eq!(reader.interfaces(), both[..1]);
    assert_eq!(reader.last_frames(), []);
    writer.set_broadcasts(first, BroadcastState::Arriving);
    writer.set_broadcasts(second, BroadcastState::Missing);
    let at = |second| UnixTime::new(second, 0);
    let missing = (eth1, BroadcastState::Missing, None);
    assert_eq!(reader.broadcasts(), [(eth0(), BroadcastState::Arriving, None), missing]);
    writer.set_last_broadcast(first, at(7));
    let arriving = (eth0(), BroadcastState::Arriving, Some(at(7)));
    assert_eq!(reader.broadcasts(), [arriving, missing]);
    writer.set_broadcasts(second, BroadcastState::Unknown);
    assert_eq!(reader.broadcasts(), [arriving]);
    writer.count(second, Counter::Seen);
    writer.maintain(at(2));
    writer.count(first, Counter::Seen);
    writer.maintain(at(3));
    writer.maintain(at(4));
    let frames = [(eth0(), at(3)), (eth1, at(2))];
    assert_eq!(reader.last_frames(), frames);
    drop(writer);
    for slots in [16, 16] {
        let mut writer = create(&ring, slots);
        let reader = Reader::attach(&ring, Start::Oldest).unwrap();
        assert_eq!((reader.interfaces(), reader.last_frames()), (vec![], frames.to_vec()));
        let last = (eth0(), BroadcastState::Unknown, Some(at(7)));
        assert_eq!(reader.broadcasts(), [last], "the time stays");
        assert_eq!(writer.states_before(), &both[..1]);
        writer.set_state(first, CaptureState::Captured);
        let first = writer.interface(eth0());
        writer.set_broadcasts(first, BroadcastState::Missing);
    }
}

#[test]
fn last_frame_and_last_drop() {
    let ring = Ring::new();
    let at = UnixTime::from_nanos;
    let mut writer = create(&ring, 8);
    let reader = Reader::attach(&ring, Start::Now).unwrap();
    writer.maintain(at(1));
    assert_eq!((reader.last_frame(), reader.last_drop()), (None, None));
    let interface = writer.interface("eth0".parse().unwrap());
    writer.count(interface, Counter::Seen);
    writer.maintain(at(2));
    writer.add(interface, Counter::KernelDropped, 7);
    writer.maintain(at(3));
    writer.maintain(at(4));
    assert_eq!((reader.last_frame(), reader.last_drop()), (Some(at(2)), Some(at(3))));
    drop(writer);
    create(&ring, 16).maintain(at(5));
    let reader = Reader::attach(&ring, Start::Now).unwrap();
    assert_eq!((reader.last_frame(), reader.last_drop()), (Some(at(2)), Some(at(3))));
    assert_eq!(reader.heartbeat(), at(5));
}

/// Since when no frame came; nothing of the kind in a ring whose writer captures none, also after its file was deleted.
#[test]
fn a_writer_without_frames() {
    let ring = Ring::new();
    let silent_since = || Reader::attach(&ring, Start::Now).unwrap().silent_since();
    let mut writer = create(&ring, 8);
    let created = Reader::attach(&ring, Start::Now).unwrap().created();
    assert_eq!(silent_since(), Some(created));
    writer.set_no_frames();
    assert_eq!(silent_since(), None);
    std::fs::remove_file(ring.path()).unwrap();
    writer.maintain(UnixTime::from_nanos(1));
    let interface = writer.interface("router".parse().unwrap());
    writer.count(interface, Counter::Seen);
    writer.maintain(UnixTime::from_nanos(2));
    assert_eq!(silent_since(), None);
    drop(writer);
    let _collector = create(&ring, 8);
    assert_eq!(silent_since(), Some(UnixTime::from_nanos(2)));
}

#[test]
fn slots_are_rounded_up_and_bounded() {
    for (asked, given) in [(0, 2), (1, 2), (2, 2), (3, 4), (100, 128), (65_536, 65_536)] {
        let ring = Ring::new();
        let _writer = create(&ring, asked);
        assert_eq!(Reader::attach(&ring, Start::Now).unwrap().slots(), given);
    }
    for asked in [(1 << 28) + 1, u64::MAX] {
        let ring = Ring::new();
        let options = WriterOptions { name: ring.clone(), slots: asked, group: None, host: None };
        assert!(matches!(Writer::create(&options), Err(CreateError::TooLarge(_))));
    }
}

#[test]
fn a_restarted_writer_continues() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 5);
    let mut running = Reader::attach(&ring, Start::Oldest).unwrap();
    assert_eq!(drain(&mut running), (range(0, 5), 0));
    let position = running.position();
    drop(writer);
    assert_eq!(running.writer(), None);

    let mut writer = create(&ring, 8);
    assert_eq!(running.writer(), Some(std::process::id().into()));
    assert_eq!(writer.published(), 5);
    publish(&mut writer, 3);
    assert_eq!(drain(&mut running), (range(5, 8), 0));
    let mut was_down = Reader::attach(&ring, Start::At(position)).unwrap();
    assert_eq!(drain(&mut was_down), (range(5, 8), 0));
    let counters = writer.counters();
    assert_eq!(counters.len(), 1, "the same interface has the same counters");
    assert_eq!(counters[0].get(Counter::Published), 8);
}

#[test]
fn one_writer_at_a_time() {
    let ring = Ring::new();
    let writer = create(&ring, 8);
    let text = refused(&ring).to_string();
    assert!(text.contains(&format!("in use by another collector, process {}", std::process::id())));
    assert!(matches!(remove(&ring), Err(CreateError::Busy(..))));
    drop(writer);
    drop(create(&ring, 8));
}

#[test]
fn another_size_is_the_same_stream() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 20);
    let mut behind = Reader::attach(&ring, Start::Oldest).unwrap();
    let mut down = Reader::attach(&ring, Start::Oldest).unwrap();
    assert!(matches!(down.next(), Next::Event(12, _)));
    let position = down.position();
    let long_down = Position { sequence: 2, ..position };
    drop(down);
    drop(writer);

    let mut writer = create(&ring, 32);
    assert_eq!(writer.published(), 20);
    publish(&mut writer, 4);
    assert!(behind.is_retired() && behind.is_replaced());
    assert_eq!(drain(&mut behind), (range(12, 20), 0), "the old segment is read to its end");
    let mut follows = Reader::attach(&ring, Start::At(behind.position())).unwrap();
    assert_eq!(drain(&mut follows), (range(20, 24), 0));
    assert!(!follows.is_retired() && !follows.is_replaced());
    let mut was_down = Reader::attach(&ring, Start::At(position)).unwrap();
    assert_eq!(drain(&mut was_down), (range(13, 24), 0));
    let mut was_long_down = Reader::attach(&ring, Start::At(long_down)).unwrap();
    assert_eq!(drain(&mut was_long_down), (range(12, 24), 10));
    assert_eq!(writer.counters()[0].get(Counter::Published), 24);
    drop(writer);

    let mut writer = create(&ring, 4);
    publish(&mut writer, 1);
    assert_eq!(drain(&mut follows), (vec![], 0));
    let mut follows = Reader::attach(&ring, Start::At(follows.position())).unwrap();
    assert_eq!(drain(&mut follows), (vec![24], 0));
    let mut oldest = Reader::attach(&ring, Start::Oldest).unwrap();
    assert_eq!(drain(&mut oldest), (range(21, 25), 0));
}

#[test]
fn the_frame_being_processed_at_a_kill_is_counted() {
    // Killed after publishing, before the counter: the head knows.
    for (published, outcome) in [(true, Counter::Published), (false, Counter::Interrupted)] {
        let ring = Ring::new();
        let mut writer = create(&ring, 8);
        publish(&mut writer, 3);
        let counters = writer.interface(eth0());
        let other = writer.interface("eth1".parse().unwrap());
        writer.count(other, Counter::Seen);
        writer.count(other, Counter::HopLimit);
        writer.count(counters, Counter::Seen);
        drop(writer);
        if published {
            set_head(&ring, |head| head + 1);
        }
        let counters = create(&ring, 8).counters();
        let eth0 = counters.iter().find(|counters| counters.name == eth0()).unwrap();
        assert_eq!(eth0.get(Counter::Seen), 4);
        assert_eq!(eth0.get(outcome), if published { 4 } else { 1 });
        for counters in counters {
            assert_eq!(counters.get(Counter::Seen), counters.outcomes());
        }
    }
}

#[test]
fn a_position_past_the_head_of_a_killed_writer_stays_valid() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 5);
    drop(writer);
    set_head(&ring, |head| head - 1); // killed after completing event 4, before storing the head
    let mut reader = Reader::attach(&ring, Start::Oldest).unwrap();
    assert_eq!(drain(&mut reader), (range(0, 5), 0));
    let mut again = Reader::attach(&ring, Start::At(reader.position())).unwrap();
    assert_eq!(drain(&mut again), (vec![], 0));
    let mut now = Reader::attach(&ring, Start::Now).unwrap();
    assert_eq!(drain(&mut now), (vec![], 0));
}

#[test]
fn a_deleted_segment_is_recreated_with_its_contents() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 3);
    assert!(writer.maintain(UnixTime::new(1, 0)).is_none());
    let mut reader = Reader::attach(&ring, Start::Oldest).unwrap();
    assert!(matches!(reader.next(), Next::Event(0, _)));
    for file in [ring.path(), format!("{}.lock", ring.path().display()).into()] {
        fs::remove_file(file).unwrap();
    }
    assert!(matches!(writer.maintain(UnixTime::new(2, 0)), Some(NameChange::Recreated(_))));
    assert!(writer.maintain(UnixTime::new(3, 0)).is_none());
    publish(&mut writer, 2);
    assert!(reader.is_retired());
    assert_eq!(drain(&mut reader), (range(1, 3), 0));
    let mut reader = Reader::attach(&ring, Start::At(reader.position())).unwrap();
    assert_eq!(drain(&mut reader), (range(3, 5), 0));
    assert_eq!(reader.writer(), Some(std::process::id().into()));
    assert!(matches!(refused(&ring), CreateError::Busy(..)), "the lock is held again");
}

#[test]
fn unfinished_segments_of_killed_writers_are_deleted() {
    let ring = Ring::new();
    let left = format!("{}.new", ring.path().display());
    fs::write(&left, "half").unwrap();
    drop(create(&ring, 8));
    assert!(!fs::exists(&left).unwrap());
    fs::write(&left, "half").unwrap();
    remove(&ring).unwrap();
    assert!(!fs::exists(&left).unwrap());
}

fn set_head(ring: &RingName, change: impl Fn(u64) -> u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(ring.path()).unwrap();
    let mut head = [0; 8];
    file.read_exact_at(&mut head, 128).unwrap();
    file.write_all_at(&change(u64::from_ne_bytes(head)).to_ne_bytes(), 128).unwrap();
}

#[test]
fn more_interfaces_than_counters_share_the_last() {
    let ring = Ring::new();
    let mut writer = create(&ring, 2);
    for n in 0..shm_layout::MAX_INTERFACES + 10 {
        let counters = writer.interface(format!("eth{n}").parse().unwrap());
        writer.count(counters, Counter::Seen);
        writer.count(counters, Counter::Unrelated);
    }
    let counters = Reader::attach(&ring, Start::Now).unwrap().counters();
    assert_eq!(counters.len(), shm_layout::MAX_INTERFACES);
    let last = counters.last().unwrap();
    assert_eq!((last.name.as_str(), last.get(Counter::Seen)), ("(others)", 11));
    let seen: u64 = counters.iter().map(|counters| counters.get(Counter::Seen)).sum();
    assert_eq!(seen, shm_layout::MAX_INTERFACES as u64 + 10);
}

#[test]
fn removed_and_recreated() {
    let ring = Ring::new();
    assert!(remove(&ring).unwrap_err().to_string().contains("no such ring"));
    let mut writer = create(&ring, 8);
    publish(&mut writer, 2);
    let mut reader = Reader::attach(&ring, Start::Oldest).unwrap();
    drop(writer);
    remove(&ring).unwrap();
    assert!(!ring.path().exists());
    assert!(reader.is_retired() && reader.is_replaced());
    assert_eq!(drain(&mut reader), (range(0, 2), 0), "what it held is still readable");
    assert!(matches!(Reader::attach(&ring, Start::Oldest), Err(AttachError::Missing)));
    let generation = reader.generation();
    let writer = create(&ring, 8);
    let reader = Reader::attach(&ring, Start::At(reader.position())).unwrap();
    assert_ne!(reader.generation(), generation);
    assert_eq!(writer.published(), 0);
}

#[test]
fn readable_by_the_group_writable_by_the_owner() {
    let ring = Ring::new();
    let options = WriterOptions { name: ring.clone(), slots: 8, group: Some(12_345), host: None };
    // Only root may give a file to a group it is not in.
    if let Err(error) = Writer::create(&options) {
        assert!(error.to_string().contains("operation not permitted"), "{error}");
        assert!(std::env::var_os("CI").is_none(), "CI runs this as root: {error}");
        println!("SKIPPED: not root");
        return;
    }
    let file = fs::metadata(ring.path()).unwrap();
    assert_eq!((file.mode() & 0o7777, file.gid()), (0o640, 12_345));
    fs::set_permissions(ring.path(), fs::Permissions::from_mode(0o660)).unwrap();
    assert!(matches!(Reader::attach(&ring, Start::Oldest), Err(AttachError::Unsafe)));
}

#[test]
fn what_is_not_a_ring_is_refused_and_left_alone() {
    for content in [vec![], vec![0; 100], vec![0; 1 << 20], vec![0xff; 1 << 20]] {
        let ring = Ring::new();
        fs::write(ring.path(), &content).unwrap();
        fs::set_permissions(ring.path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(refused(&ring), CreateError::NotARing(_)));
        assert!(matches!(remove(&ring), Err(CreateError::NotARing(_))));
        assert!(matches!(Reader::attach(&ring, Start::Oldest), Err(AttachError::NotARing)));
        assert_eq!(fs::read(ring.path()).unwrap(), content);
    }
}

#[test]
fn an_inconsistent_header_is_refused() {
    // 16 slots in place of 8 is a truncated file: see cut.rs.
    let sizes = [(16, 3_u64), (16, 4), (16, 1 << 40), (16, 0), (40, 0), (0, 7)];
    let numbers = [(48, 1), (48, u64::MAX), (128, (1 << 62) + 1), (128, u64::MAX)];
    for (offset, value) in [&sizes[..], &numbers].concat() {
        let ring = Ring::new();
        drop(create(&ring, 8));
        let file = fs::OpenOptions::new().write(true).open(ring.path()).unwrap();
        file.write_all_at(&value.to_ne_bytes(), offset).unwrap();
        assert!(matches!(Reader::attach(&ring, Start::Oldest), Err(AttachError::NotARing)));
        assert!(matches!(refused(&ring), CreateError::NotARing(_)));
    }
}

/// A writer that takes over neither counts up to the missing number one by one, nor overflows.
#[test]
fn impossible_counters_are_completed_at_once() {
    let ring = Ring::new();
    let mut writer = create(&ring, 8);
    publish(&mut writer, 1);
    drop(writer);
    let file = fs::OpenOptions::new().write(true).open(ring.path()).unwrap();
    let counter = |counter: Counter| 4096 + 16 + 8 * counter as u64;
    file.write_all_at(&u64::MAX.to_ne_bytes(), counter(Counter::Seen)).unwrap();
    let counters = create(&ring, 8).counters();
    assert_eq!(counters[0].get(Counter::Interrupted), u64::MAX - 1);
    for outcome in [Counter::Published, Counter::Unrelated] {
        file.write_all_at(&u64::MAX.to_ne_bytes(), counter(outcome)).unwrap();
    }
    let mut writer = create(&ring, 8);
    publish(&mut writer, 2);
    assert_eq!(writer.counters()[0].get(Counter::Seen), 1, "it wrapped");
}

#[test]
fn another_layout_is_refused_by_readers_and_replaced_by_the_writer() {
    let ring = Ring::new();
    drop(create(&ring, 8));
    let old = Reader::attach(&ring, Start::Oldest).unwrap();
    let file = fs::OpenOptions::new().write(true).open(ring.path()).unwrap();
    file.write_all_at(&99_u64.to_ne_bytes(), 8).unwrap();
    let refused = Reader::attach(&ring, Start::Oldest).unwrap_err();
    assert!(matches!(refused, AttachError::Version(99, 1)));
    assert!(refused.to_string().contains("layout version 99"));
    drop(create(&ring, 8));
    let new = Reader::attach(&ring, Start::Oldest).unwrap();
    assert_ne!(new.generation(), old.generation());
    assert!(old.is_replaced());
}

#[test]
fn a_link_in_the_name_s_place_is_not_followed() {
    let ring = Ring::new();
    let target = Ring::new();
    drop(create(&target, 8));
    std::os::unix::fs::symlink(target.path(), ring.path()).unwrap();
    assert!(Reader::attach(&ring, Start::Oldest).is_err());
    assert!(matches!(refused(&ring), CreateError::Io(..)));
}

#[test]
fn a_pipe_in_the_name_s_place_does_not_hang() {
    let ring = Ring::new();
    // Not with mkfifo(1): as a child it would inherit the descriptors, and so the locks of other tests.
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, ring.path(), FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(Reader::attach(&ring, Start::Oldest), Err(AttachError::NotARing)));
    assert!(matches!(refused(&ring), CreateError::NotARing(_)));
}

#[test]
fn waiting_ends_when_any_ring_has_an_event() {
    let (one, two) = (Ring::new(), Ring::new());
    let (_quiet, mut writer) = (create(&one, 8), create(&two, 8));
    let quiet = Reader::attach(&one, Start::Oldest).unwrap();
    let mut reader = Reader::attach(&two, Start::Oldest).unwrap();
    let publisher = std::thread::spawn(move || {
        for _ in 0..200 {
            publish(&mut writer, 1);
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    // Far longer than the test may take: without a wake-up this would not end in time.
    while reader.position().sequence < 200 {
        shm_layout::wait_any(&[&quiet, &reader], Duration::from_secs(600));
        drain(&mut reader);
    }
    publisher.join().unwrap();
}

/// A reader that gathers is woken for each sixteenth of the ring, here four events, and so is never far behind.
#[test]
fn a_gathering_reader_is_woken_for_a_part_of_the_ring() {
    let ring = Ring::new();
    let mut writer = create(&ring, 64);
    let mut reader = Reader::attach(&ring, Start::Oldest).unwrap();
    publish(&mut writer, 4);
    shm_layout::gather(&[&reader], Duration::from_secs(600)); // returns at once: they are there
    drain(&mut reader);
    let publisher = std::thread::spawn(move || {
        for _ in 0..200 {
            publish(&mut writer, 1);
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    // Far longer than the test may take.
    while reader.position().sequence < 204 {
        shm_layout::gather(&[&reader], Duration::from_secs(600));
        drain(&mut reader);
    }
    publisher.join().unwrap();
}
