//! The ring is overwritten, resized, removed, or is no ring: exactly the lost events are counted.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, held_json, stdout_of};
use aw_tests::feed::{
    Follower, Seen, assert_contiguous, number_of, numbered_capture, reading_collector,
};
use aw_tests::rig::{program, run, run_with};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::ops::Range;

/// Publishes these numbers into a ring of this size.
#[track_caller]
fn publish_in(ring: &Ring, slots: &str, numbers: Range<u32>) {
    run_with(reading_collector(ring, &["-q", "-L", slots]), &numbered_capture(numbers)).ok();
}

/// A reader too slow for its ring counts every event that it did not get, to the last one.
#[test]
fn overwritten_events_are_counted() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    publish_in(&ring, "64", 1..31);
    follower.wait_for(30);
    follower.signal(Signal::STOP);
    publish_in(&ring, "64", 31..10_001);
    follower.signal(Signal::CONT);
    follower.wait_for(10_000);
    let (events, stopped) = follower.stop();
    let ended = stopped.ok();
    let lost = 10_000 - events.len();
    assert!(lost >= 10_000 - 30 - 64, "only {lost} lost, with 64 slots");
    let gaps: u64 = events.windows(2).map(|pair| pair[1].sequence - pair[0].sequence - 1).sum();
    assert_eq!(gaps, lost as u64);
    for pair in events.windows(2) {
        let [one, next] = [pair[0], pair[1]];
        assert_eq!(
            next.sequence - one.sequence,
            u64::from(next.number - one.number),
            "{one:?} {next:?}"
        );
    }
    let summary = format!("aw-stdout: {}: {} events, {lost} lost\n", ring.name(), events.len());
    assert!(ended.stderr.ends_with(&summary), "{summary} was expected: {}", ended.stderr);
}

/// Another size is another segment, but the same stream: the running reader follows, even if it was stopped
/// meanwhile. Grown, shrunk, grown again.
#[test]
fn a_reader_follows_a_ring_of_another_size() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    for (round, size) in (0..).zip(["1024", "4096", "512", "65536"]) {
        let first = 1 + round * 500;
        if round == 2 {
            follower.signal(Signal::STOP);
        }
        publish_in(&ring, size, first..first + 500);
        follower.signal(Signal::CONT);
        follower.wait_for(first + 499);
    }
    let (events, stopped) = follower.stop();
    let ended = stopped.ok();
    let numbers: Vec<u32> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=2000).collect::<Vec<u32>>());
    assert_contiguous(&events);
    assert!(ended.stderr.contains("2000 events, 0 lost"), "{}", ended.stderr);
    let half_made =
        ring.files().into_iter().find(|file| file.extension().is_some_and(|end| end != "lock"));
    assert_eq!(half_made, None);
}

/// Stopped while the ring grew twice: the events of the segment in between are in the last one.
#[test]
fn a_reader_that_slept_through_two_sizes_loses_nothing() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    publish_in(&ring, "1024", 1..101);
    follower.wait_for(100);
    follower.signal(Signal::STOP);
    publish_in(&ring, "2048", 101..201);
    publish_in(&ring, "4096", 201..301);
    follower.signal(Signal::CONT);
    follower.wait_for(300);
    let (events, stopped) = follower.stop();
    assert!(stopped.ok().stderr.contains("300 events, 0 lost"));
    let numbers: Vec<u32> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=300).collect::<Vec<u32>>());
    assert_contiguous(&events);
}

/// Stopped while the ring shrank twice: events that no longer fit are counted, to the last one.
#[test]
fn events_beyond_a_shrunk_ring_are_counted() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    publish_in(&ring, "1024", 1..11);
    follower.wait_for(10);
    follower.signal(Signal::STOP);
    publish_in(&ring, "512", 11..411);
    publish_in(&ring, "64", 411..412);
    follower.signal(Signal::CONT);
    follower.wait_for(411);
    let (events, stopped) = follower.stop();
    let lost = 411 - events.len();
    assert!((401 - 64..=401 - 63).contains(&lost), "{lost} lost");
    let summary = format!("{} events, {lost} lost\n", events.len());
    assert!(stopped.ok().stderr.ends_with(&summary), "{summary}");
    let held: Vec<Seen> = held_json(&ring).iter().map(Seen::from).collect();
    assert_eq!(held[..], events[10..], "who reads only now reads the same");
}

#[test]
fn a_reader_picks_up_the_ring_that_follows_a_removed_one() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    for first in [1, 101, 201] {
        run_with(reading_collector(&ring, &["-q"]), &numbered_capture(first..first + 100)).ok();
        follower.wait_for(first + 99);
        run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    }
    let (events, stopped) = follower.stop();
    stopped.ok();
    let numbers: Vec<u32> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=300).collect::<Vec<u32>>());
    assert_eq!(events.chunk_by(|one, next| one.generation == next.generation).count(), 3);
}

/// A file with the ring's name that is no ring: no reader trusts it, and no collector writes into it.
#[test]
fn a_foreign_segment_is_refused() {
    let garbage: Vec<u8> =
        (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (what, bytes) in [
        ("empty", &[][..]),
        ("short", &garbage[..10]),
        ("garbage", &garbage),
        ("zeros", &[0; 70_000]),
    ] {
        let ring = Ring::new();
        std::fs::write(ring.path(), bytes).unwrap();
        let shown = run(stdout_of(&ring, &["--once"])).refused("aw-stdout", &[ring.name()]);
        assert_eq!(shown.stdout, "", "{what}");
        let collected = collect(&ring, &numbered_capture(1..2), &[]);
        match collected.status.code() {
            Some(0) => assert_eq!(number_of(&held_json(&ring)[0]), 1, "{what}: it made a new ring"),
            _ => {
                collected.refused("collector", &[ring.name()]);
                assert!(
                    std::fs::read(ring.path()).unwrap() == bytes,
                    "{what}: what is refused is not touched"
                );
            }
        }
    }
}
