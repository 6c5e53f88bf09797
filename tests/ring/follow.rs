//! `aw-stdout` follows a ring: it waits for it, begins at the configured event, catches up, two at once, ends.
#![forbid(unsafe_code)]

use aw_tests::collect::{json, stdout_of};
use aw_tests::feed::{
    Follower, number_of, numbered_capture, numbered_lines, publish, reading_collector,
};
use aw_tests::rig::{Run, TIMEOUT, run, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::time::Instant;

/// Waits until the reader has this ring mapped and sleeps.
#[track_caller]
fn wait_until_following(reader: &Run, ring: &Ring) {
    let proc = |file: &str| {
        fs::read_to_string(format!("/proc/{}/{file}", reader.id())).unwrap_or_default()
    };
    wait_until("aw-stdout follows", || {
        proc("maps").contains(ring.path().to_str().unwrap()) && proc("status").contains("State:\tS")
    });
}

#[test]
fn it_waits_for_the_ring_and_logs_that_once() {
    let ring = Ring::new();
    let reader = Run::start(stdout_of(&ring, &[]));
    let message = reader.stderr.wait_for("waiting");
    assert!(
        message.starts_with(&format!("aw-stdout: waiting for ring {} (", ring.name())),
        "{message}"
    );
    // The reader started before the ring existed: all its events are new.
    publish(&ring, 1..4);
    reader.stdout.wait_for_lines(3);
    publish(&ring, 4..6);
    reader.stdout.wait_for_lines(5);
    let finished = reader.stop().ok();
    assert_eq!(finished.stdout, numbered_lines(1..6));
    let summary = format!("aw-stdout: {}: 5 events, 0 lost", ring.name());
    let lines: Vec<_> = finished.stderr.lines().collect();
    let [first, there, last] = lines[..] else { panic!("{lines:?}") };
    assert_eq!((first, last), (message.as_str(), summary.as_str()));
    assert!(there.starts_with(&format!("aw-stdout: reading ring {}, ", ring.name())), "{there}");
}

#[test]
fn it_begins_with_the_present_or_with_the_oldest() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let present = Run::start(stdout_of(&ring, &[]));
    wait_until_following(&present, &ring);
    let replay = Run::start(stdout_of(&ring, &["--replay"]));
    replay.stdout.wait_for_lines(3);
    publish(&ring, 4..6);
    present.stdout.wait_for_lines(2);
    replay.stdout.wait_for_lines(5);
    assert_eq!(present.stop().ok().stdout, numbered_lines(4..6));
    assert_eq!(replay.stop().ok().stdout, numbered_lines(1..6));
}

#[test]
fn once_ends_when_it_caught_up() {
    let ring = Ring::new();
    let missing = run(stdout_of(&ring, &["--once"]))
        .refused("aw-stdout", &[ring.name(), "(start the collector"]);
    assert_eq!(missing.stdout, "");
    publish(&ring, 1..1);
    assert_eq!(run(stdout_of(&ring, &["--once"])).ok().stdout, "", "an empty ring");
    publish(&ring, 1..4);
    assert_eq!(run(stdout_of(&ring, &["--once"])).ok().stdout, numbered_lines(1..4));
}

#[test]
fn it_ends_cleanly_on_sigterm() {
    for signal in [Signal::TERM, Signal::INT] {
        let ring = Ring::new();
        let waiting = Run::start(stdout_of(&ring, &[]));
        waiting.stderr.wait_for("waiting");
        waiting.signal(signal);
        assert_eq!(waiting.finish().ok().stdout, "");

        publish(&ring, 1..4);
        let following = Run::start(stdout_of(&ring, &["--replay"]));
        following.stdout.wait_for_lines(3);
        following.signal(signal);
        assert!(following.finish().ok().stderr.ends_with("3 events, 0 lost\n"));
    }
}

/// The event wakes a sleeping reader, not a timer: repeated so often that a reader
/// which polls would need minutes, where a second is enough.
#[test]
fn a_sleeping_reader_is_woken() {
    let ring = Ring::new();
    let mut collector = Run::start(reading_collector(&ring, &["-q"]));
    let mut stdin = collector.stdin.take().unwrap();
    let mut follower = Follower::start(&ring);
    let begun = Instant::now();
    for number in 1..501 {
        // The file's header is in the first capture only.
        let capture = numbered_capture(number..number + 1);
        stdin.write_all(if number == 1 { &capture } else { &capture[24..] }).unwrap();
        follower.wait_for(number);
        assert!(begun.elapsed() < TIMEOUT, "only {number} events arrived");
    }
    follower.stop().1.ok();
}

#[test]
fn two_rings_at_once() {
    let (one, two) = (Ring::new(), Ring::new());
    let mut command = stdout_of(&one, &["-m", two.name(), "--replay", "--format", "json"]);
    command.env("TZ", "UTC0");
    let reader = Run::start(command);
    publish(&two, 1..101);
    reader.stdout.wait_for_lines(100);
    publish(&one, 101..201);
    reader.stdout.wait_for_lines(200);
    publish(&two, 201..301);
    publish(&one, 301..401);
    reader.stdout.wait_for_lines(400);
    let finished = reader.stop().ok();
    let events: Vec<_> = finished.stdout.lines().map(json).collect();
    for (ring, expected) in [(&one, [101..201, 301..401]), (&two, [1..101, 201..301])] {
        let numbers: Vec<u32> =
            events.iter().filter(|event| event["ring"] == ring.name()).map(number_of).collect();
        assert_eq!(numbers, expected.into_iter().flatten().collect::<Vec<u32>>());
        let summary = format!("aw-stdout: {}: 200 events, 0 lost\n", ring.name());
        assert!(finished.stderr.contains(&summary), "{}", finished.stderr);
    }
    let both = run(stdout_of(&one, &["--ring", two.name(), "--once"])).ok();
    assert_eq!(both.stdout.lines().count(), 400);
}
