//! Writers that are killed or panic: how many, when, and how long there was none.

mod common;

use std::{fs, os::unix::fs::FileExt, time::Duration};

use common::Ring;
use shm_layout::{Kills, NameChange, Reader, RingName, Start, UnixTime, Writer, WriterOptions};

/// Words of the header.
const BEAT_SINCE_BOOT: u64 = 2432;
const BOOT: u64 = 2448;

fn create(ring: &RingName, slots: u64) -> Writer {
    Writer::create(&WriterOptions { name: ring.clone(), slots, group: None, host: None }).unwrap()
}

fn kills(ring: &RingName) -> Kills {
    Reader::attach(ring, Start::Oldest).unwrap().kills()
}

/// What the next one finds.
fn of_next(ring: &RingName, slots: u64) -> Kills {
    drop(create(ring, slots));
    kills(ring)
}

fn is_killed(ring: &RingName) {
    let name = ring.clone();
    let panics = std::thread::spawn(move || {
        let _writer = create(&name, 8);
        panic!("a frame that is a fault");
    });
    assert!(panics.join().is_err());
}

/// Changes a word of a ring without a writer.
fn change_word(ring: &RingName, place: u64, change: impl Fn(u64) -> u64) {
    let file = fs::File::options().read(true).write(true).open(ring.path()).unwrap();
    let mut word = [0; 8];
    file.read_exact_at(&mut word, place).unwrap();
    file.write_all_at(&change(u64::from_ne_bytes(word)).to_ne_bytes(), place).unwrap();
}

/// Each is counted by the next one, also by one with another number of slots; one that is stopped is none.
#[test]
fn writers_that_end_without_being_stopped() {
    let ring = Ring::new();
    assert_eq!([of_next(&ring, 8), of_next(&ring, 8)], [Kills::default(), Kills::default()]);
    for number in 1..4 {
        is_killed(&ring);
        assert_eq!([of_next(&ring, 8).number, of_next(&ring, 8).number], [number, number]);
    }
    let mut writer = create(&ring, 64);
    let found = kills(&ring);
    assert_eq!((found.number, found.last.len()), (3, 3));
    assert_eq!(found.crash_loop().map(<[_]>::len), Some(3));
    assert!(found.last.iter().all(|kill| kill.gap.is_some()), "{found:?}");
    // A file that is deleted, and one that is truncated, are created again with them.
    let number = |writer: &Writer| (kills(&ring).last.len(), writer.kills().number);
    fs::remove_file(ring.path()).unwrap();
    assert!(matches!(writer.maintain(UnixTime::now()), Some(NameChange::Recreated(_))));
    assert_eq!(number(&writer), (3, 3));
    fs::File::options().write(true).open(ring.path()).unwrap().set_len(0).unwrap();
    assert!(matches!(writer.maintain(UnixTime::now()), Some(NameChange::Cut(_))));
    assert_eq!(number(&writer), (3, 3));
}

/// From the last heartbeat on; unknown after a build without it. The end of the machine is no kill.
#[test]
fn the_time_without_a_writer() {
    let ring = Ring::new();
    is_killed(&ring);
    change_word(&ring, BEAT_SINCE_BOOT, |beat| beat - 40_000_000_000);
    let [kill] = *of_next(&ring, 8).last else { panic!("one") };
    let gap = kill.gap.unwrap();
    assert!(gap >= Duration::from_secs(40), "{gap:?}");
    is_killed(&ring);
    change_word(&ring, BOOT, |_| 0);
    let two = of_next(&ring, 8).last;
    assert_eq!((two[0].gap, two[1].gap), (None, Some(gap)));
    is_killed(&ring);
    change_word(&ring, BOOT, |boot| !boot);
    assert_eq!(of_next(&ring, 8), Kills { number: 2, ..Kills::default() });
}
