//! The collector is killed, restarted and doubled: no event is lost or repeated for a reader
//! that was running, nor for one that was not.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, counters, held, held_json};
use aw_tests::feed::{
    Feeder, Follower, Seen, assert_contiguous, numbered_capture, reading_collector,
};
use aw_tests::rig::{Run, program, run, run_with};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::io::Write;

/// How often the collector is killed.
const KILLS: u32 = 10;

/// The default ring.
const SLOTS: usize = 65_536;

#[test]
fn a_running_reader_loses_nothing_when_the_collector_is_killed() {
    let ring = Ring::new();
    let mut follower = Follower::start(&ring);
    let mut firsts = vec![1];
    for round in 0..KILLS {
        let first = *firsts.last().unwrap();
        let mut collector = Run::start(reading_collector(&ring, &["-q"]));
        let feeder = Feeder::start(collector.stdin.take().unwrap(), first, follower.last.clone());
        // The kill comes at another point of batch and ring in each round.
        follower.wait_for(first + 1000 + round * 1237);
        let killed = collector.kill();
        assert_eq!(killed.status.code(), None, "{killed:#?}");
        firsts.push(feeder.next());
    }

    // The last collector ends by itself, and counts all frames, with those of the killed ones.
    let first = *firsts.last().unwrap();
    let last = first + 4999;
    let finished =
        run_with(reading_collector(&ring, &["-q", "-v"]), &numbered_capture(first..last + 1)).ok();
    follower.wait_for(last);
    let (events, stopped) = follower.stop();
    let ended = stopped.ok();
    let summary = format!("aw-stdout: {}: {} events, 0 lost\n", ring.name(), events.len());
    assert!(ended.stderr.ends_with(&summary), "{summary} was expected: {}", ended.stderr);

    assert_contiguous(&events);
    let runs: Vec<&[Seen]> = events.chunk_by(|one, next| one.number + 1 == next.number).collect();
    // A gap exists only where frames in process or in the pipe were lost with their collector.
    let started: Vec<u32> = runs.iter().map(|run| run[0].number).collect();
    assert_eq!(
        started, firsts,
        "each collector's first frame is captured, and every one behind it until its death"
    );

    let mut counters = counters(&finished.stderr, "pcap");
    let seen = counters.remove("seen").expect("seen is printed");
    assert_eq!(counters["published"], events.len() as u64, "{counters:?}");
    assert_eq!(seen, counters.values().sum::<u64>(), "{counters:?}");

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

    // The first one is not disturbed.
    stdin.write_all(&numbered_capture(2..3)[24..]).unwrap();
    first.stdout.wait_for_lines(2);
    assert_eq!(held(&ring).lines().count(), 2);

    first.kill();
    let third = collect(&ring, &capture, &[]).ok();
    assert_eq!(third.stdout.lines().count(), 2);
    assert_eq!(held(&ring).lines().count(), 4, "it continues the ring of the killed one");
}

/// Terminated while it waits for input: a regular end, and the ring stays.
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
