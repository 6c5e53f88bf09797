//! The collector is killed, restarted, doubled, resized and its ring removed: no event is lost or repeated for a reader
//! that was running, nor for one that was not.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, counters, held, held_json, stdout_of};
use aw_tests::feed::{Feeder, Follower, Seen, number_of, numbered_capture, reading_collector};
use aw_tests::rig::{Ring, Run, program, run, run_with};
use rustix::process::Signal;
use std::io::Write;
use std::ops::Range;

/// How often the collector is killed.
const KILLS: u32 = 10;

/// The default ring.
const SLOTS: usize = 65_536;

/// Publishes these numbers into a ring of this size.
#[track_caller]
fn publish(ring: &Ring, slots: &str, numbers: Range<u32>) {
    run_with(reading_collector(ring, &["-q", "-L", slots]), &numbered_capture(numbers)).ok();
}

/// One generation, no gap, no repeat.
#[track_caller]
fn assert_contiguous(events: &[Seen]) {
    for pair in events.windows(2) {
        assert_eq!(pair[0].generation, pair[1].generation);
        assert_eq!(pair[0].sequence + 1, pair[1].sequence, "{pair:?}");
    }
}

#[test]
fn a_running_reader_loses_nothing_when_the_collector_is_killed() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    let mut firsts = vec![1];
    for round in 0..KILLS {
        let first = *firsts.last().unwrap();
        let mut collector = Run::start(reading_collector(&ring, &["-q"]));
        let feeder = Feeder::start(collector.stdin.take().unwrap(), first, follower.last.clone());
        // Somewhere in the midst of it: each round elsewhere, with regard to batches and to the end of the ring.
        follower.wait_for(first + 1000 + round * 1237);
        let killed = collector.kill();
        assert_eq!(killed.status.code(), None, "{killed:#?}");
        firsts.push(feeder.next());
    }

    // The last one comes to its end by itself, and gives account of all the frames, those of the killed included.
    let first = *firsts.last().unwrap();
    let last = first + 4999;
    let finished =
        run_with(reading_collector(&ring, &["-q", "-v"]), &numbered_capture(first..last + 1)).ok();
    follower.wait_for(last);
    let (events, stopped) = follower.stop();
    let ended = stopped.ok();
    let account = format!("aw-stdout: {}: {} events, 0 lost\n", ring.name(), events.len());
    assert!(ended.stderr.ends_with(&account), "{account} was expected: {}", ended.stderr);

    assert_contiguous(&events);
    let runs: Vec<&[Seen]> = events.chunk_by(|one, next| one.number + 1 == next.number).collect();
    // A run is cut where frames in hand or in the pipe died with their collector; never elsewhere.
    let started: Vec<u32> = runs.iter().map(|run| run[0].number).collect();
    assert_eq!(
        started, firsts,
        "each collector's first frame is heard, and every one behind it until its death"
    );

    let mut accounts = counters(&finished.stderr, "pcap");
    let seen = accounts.remove("seen").expect("seen is printed");
    assert_eq!(accounts["published"], events.len() as u64, "{accounts:?}");
    assert_eq!(seen, accounts.values().sum::<u64>(), "{accounts:?}");

    let held: Vec<Seen> = held_json(&ring).iter().map(Seen::from).collect();
    assert!(held.len() >= events.len().min(SLOTS - 1), "only {} are held", held.len());
    assert_eq!(held, events[events.len() - held.len()..], "who reads only now reads the same");
}

#[test]
fn a_reader_that_was_not_running_loses_nothing_either() {
    let ring = Ring::new();
    let mut printed = Vec::new();
    for round in 0..5 {
        let mut collector = Run::start(reading_collector(&ring, &[]));
        let mut stdin = collector.stdin.take().unwrap();
        let capture = numbered_capture(1 + round * 10_000..1 + (round + 1) * 10_000);
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&capture)));
        collector.stdout.wait_for_lines(500 + 700 * round as usize);
        let killed = collector.kill();
        feeder.join().unwrap();
        // The last line may be half a line.
        let whole = killed.stdout.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        printed.push(whole.count());
    }
    let held: Vec<Seen> = held_json(&ring).iter().map(Seen::from).collect();
    assert_contiguous(&held);
    let runs: Vec<&[Seen]> = held.chunk_by(|one, next| one.number + 1 == next.number).collect();
    let started: Vec<u32> = runs.iter().map(|run| run[0].number).collect();
    assert_eq!(started, [0, 1, 2, 3, 4].map(|round| 1 + round * 10_000));
    for (run, printed) in runs.iter().zip(printed) {
        assert!(
            run.len() >= printed,
            "{printed} events were printed, {} are in the ring",
            run.len()
        );
    }
}

/// A reader too slow for its ring: what it did not get, it counts to the last event.
#[test]
fn what_is_overtaken_is_counted() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    publish(&ring, "64", 1..31);
    follower.wait_for(30);
    follower.signal(Signal::STOP);
    publish(&ring, "64", 31..10_001);
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
    let account = format!("aw-stdout: {}: {} events, {lost} lost\n", ring.name(), events.len());
    assert!(ended.stderr.ends_with(&account), "{account} was expected: {}", ended.stderr);
}

#[test]
fn a_second_collector_is_refused_while_the_first_lives() {
    let ring = Ring::new();
    let mut first = Run::start(reading_collector(&ring, &[]));
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(&numbered_capture(1..2)).unwrap();
    first.stdout.wait_for_lines(1);

    let capture = numbered_capture(100..102);
    let second = collect(&ring, &capture, &[]).refused("collector", &[ring.name(), "in use"]);
    assert_eq!(second.stdout, "");
    let resized =
        collect(&ring, &capture, &["-L", "128"]).refused("collector", &[ring.name(), "in use"]);
    assert_eq!(resized.stdout, "");
    let removed = run(program("collector", &["--ring", ring.name(), "--remove"]));
    removed.refused("collector", &[ring.name(), "in use"]);

    // The first was not disturbed.
    stdin.write_all(&numbered_capture(2..3)[24..]).unwrap();
    first.stdout.wait_for_lines(2);
    assert_eq!(held(&ring).lines().count(), 2);

    first.kill();
    let third = collect(&ring, &capture, &[]).ok();
    assert_eq!(third.stdout.lines().count(), 2);
    assert_eq!(held(&ring).lines().count(), 4, "it continues the ring of the killed one");
}

/// Terminated while it waits for input: that is an end like any other, and the ring stays.
#[test]
fn a_terminated_collector_ends_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let ring = Ring::new();
        let mut collector = Run::start(reading_collector(&ring, &["-v"]));
        let mut stdin = collector.stdin.take().unwrap();
        stdin.write_all(&numbered_capture(1..4)).unwrap();
        collector.stdout.wait_for_lines(3);
        collector.signal(signal);
        let finished = collector.finish().ok();
        assert_eq!(counters(&finished.stderr, "pcap")["published"], 3, "{}", finished.stderr);
        assert_eq!(held(&ring), finished.stdout);
    }
}

/// Another size is another segment, but the same stream: the running reader follows, even where it was asleep
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
        publish(&ring, size, first..first + 500);
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

/// Asleep while the ring grew twice: the events of the segment in between are in the last one.
#[test]
fn a_reader_that_slept_through_two_sizes_loses_nothing() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    publish(&ring, "1024", 1..101);
    follower.wait_for(100);
    follower.signal(Signal::STOP);
    publish(&ring, "2048", 101..201);
    publish(&ring, "4096", 201..301);
    follower.signal(Signal::CONT);
    follower.wait_for(300);
    let (events, stopped) = follower.stop();
    assert!(stopped.ok().stderr.contains("300 events, 0 lost"));
    let numbers: Vec<u32> = events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=300).collect::<Vec<u32>>());
    assert_contiguous(&events);
}

/// Asleep while the ring shrank twice: what no longer fitted is counted, to the last event.
#[test]
fn what_a_shrunk_ring_could_not_hold_is_counted() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    publish(&ring, "1024", 1..11);
    follower.wait_for(10);
    follower.signal(Signal::STOP);
    publish(&ring, "512", 11..411);
    publish(&ring, "64", 411..412);
    follower.signal(Signal::CONT);
    follower.wait_for(411);
    let (events, stopped) = follower.stop();
    let lost = 411 - events.len();
    assert!((401 - 64..=401 - 63).contains(&lost), "{lost} lost");
    let account = format!("{} events, {lost} lost\n", events.len());
    assert!(stopped.ok().stderr.ends_with(&account), "{account}");
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

/// What lies under the ring's name but is no ring: no reader trusts it, and no collector writes into it.
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
