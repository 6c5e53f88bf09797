//! `aw-stdout` as its users meet it: waiting, following, appending, ending; and both programs with a closed or full
//! output.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::{collect, json, stdout_of};
use aw_tests::feed::{number_of, numbered, numbered_capture};
use aw_tests::rig::{PATIENCE, Ring, Run, binary, program, run};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Publishes these numbers.
#[track_caller]
fn publish(ring: &Ring, numbers: std::ops::Range<u32>) {
    collect(ring, &numbered_capture(numbers), &["-q"]).ok();
}

/// The lines that these numbers become.
fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers
        .map(|number| {
            format!("{number} pcap 0 02:00:00:00:00:{number:02x} 10.0.0.{number} ARP_REQ\n")
        })
        .collect()
}

/// Waits until something is so; a bound on failure only.
#[track_caller]
fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < give_up, "patience ended before {what}");
        sleep(Duration::from_millis(2));
    }
}

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
fn it_waits_for_the_ring_and_says_so_once() {
    let ring = Ring::new();
    let reader = Run::start(stdout_of(&ring, &[]));
    let said = reader.stderr.wait_for("waiting");
    assert!(said.starts_with(&format!("aw-stdout: waiting for ring {} (", ring.name())), "{said}");
    // It was there before the ring: all that is in it is new.
    publish(&ring, 1..4);
    reader.stdout.wait_for_lines(3);
    publish(&ring, 4..6);
    reader.stdout.wait_for_lines(5);
    let finished = reader.stop().ok();
    assert_eq!(finished.stdout, lines(1..6));
    let account = format!("aw-stdout: {}: 5 events, 0 lost", ring.name());
    assert_eq!(finished.stderr.lines().collect::<Vec<_>>(), [said.as_str(), account.as_str()]);
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
    assert_eq!(present.stop().ok().stdout, lines(4..6));
    assert_eq!(replay.stop().ok().stdout, lines(1..6));
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
    assert_eq!(run(stdout_of(&ring, &["--once"])).ok().stdout, lines(1..4));
}

#[test]
fn it_ends_cleanly_when_told() {
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

/// `| head -n 1`: more lines than a pipe holds, and a reader that goes away.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let ring = Ring::new();
    publish(&ring, 1..20_001);
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("capture");
    fs::write(&capture, numbered_capture(1..20_001)).unwrap();
    let other = Ring::new();
    for words in [
        format!("{} --ring {} --replay", binary("aw-stdout").display(), ring.name()),
        format!("{} --ring {} --replay --format json", binary("aw-stdout").display(), ring.name()),
        format!(
            "{} --ring {} --read {}",
            binary("collector").display(),
            other.name(),
            capture.display()
        ),
    ] {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{words} | head -n 1; exit ${{PIPESTATUS[0]}}")]);
        let finished = run(command).ok();
        assert_eq!(finished.stdout.lines().count(), 1, "{words}");
        for word in ["pipe", "panic", "rror"] {
            assert!(!finished.stderr.contains(word), "{words}: {}", finished.stderr);
        }
    }
}

/// A full disk is no success.
#[test]
fn a_full_output_is_an_error() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let full = run(stdout_of(&ring, &["--once", "-o", "/dev/full"]));
    assert_eq!(full.status.code(), Some(1), "{full:#?}");
    assert!(full.stderr.contains("aw-stdout: write /dev/full: "), "{full:#?}");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" > /dev/full"]).arg(binary("aw-stdout"));
    command.args(["--ring", ring.name(), "--once"]);
    let full = run(command);
    assert_eq!(full.status.code(), Some(1), "{full:#?}");
    assert!(full.stderr.contains("aw-stdout: write "), "{full:#?}");
}

/// As logrotate does it: rename, SIGHUP; not a line is lost, and what was in the file stays.
#[test]
fn it_appends_and_reopens() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let (log, old) = (directory.path().join("log"), directory.path().join("log.1"));
    let is = |path: &Path, text: &str| fs::read_to_string(path).is_ok_and(|read| read == text);
    fs::write(&log, "before\n").unwrap();
    publish(&ring, 1..3);
    let reader = Run::start(stdout_of(&ring, &["--replay", "-o", log.to_str().unwrap()]));
    let first = format!("before\n{}", lines(1..3));
    wait_until("the first lines", || is(&log, &first));

    fs::rename(&log, &old).unwrap();
    publish(&ring, 3..5);
    let first = format!("before\n{}", lines(1..5));
    wait_until("lines in the renamed file", || is(&old, &first));
    reader.signal(Signal::HUP);
    wait_until("the file is made anew", || log.exists());
    publish(&ring, 5..8);
    wait_until("lines in the new file", || is(&log, &lines(5..8)));
    assert!(is(&old, &first));

    // Once more, with nothing written in between.
    fs::rename(&log, &old).unwrap();
    reader.signal(Signal::HUP);
    wait_until("the file is made anew", || log.exists());
    let finished = reader.stop().ok();
    assert_eq!(finished.stdout, "");
    assert!(is(&log, "") && is(&old, &lines(5..8)));
}

/// SIGHUP, the terminal's farewell, ends a program; but not one whose file it is to reopen, nor is a line lost.
#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let ring = Ring::new();
    publish(&ring, 1..3);
    for path in ["/nowhere/at/all", "/proc", "/"] {
        let refused = run(stdout_of(&ring, &["--once", "-o", path])).refused("aw-stdout", &[path]);
        assert_eq!(refused.stdout, "");
    }
}

/// A POSIX time zone, so that the machine needs no database of them: winter, summer, and the night between.
#[test]
fn rfc3339_in_the_machines_time_zone() {
    let ring = Ring::new();
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Nanosecond).unwrap();
    for seconds in [0, 1_700_000_000, 1_720_000_000, 1_730_610_600, 1_730_614_200] {
        let mut time = at(seconds);
        time.nanoseconds = 1_020_300;
        file.packet(time, &numbered(1)).unwrap();
    }
    collect(&ring, &file.finish().unwrap(), &["-q"]).ok();
    let times = |zone: &str, options: &[&str]| -> Vec<String> {
        let mut command = stdout_of(&ring, &["--once", "--time", "rfc3339"]);
        command.args(options).env("TZ", zone);
        run(command).ok().stdout.lines().map(str::to_owned).collect()
    };
    let york = "EST5EDT,M3.2.0,M11.1.0";
    let expected = [
        "1969-12-31T19:00:00-05:00",
        "2023-11-14T17:13:20-05:00",
        "2024-07-03T05:46:40-04:00",
        "2024-11-03T01:10:00-04:00",
        "2024-11-03T01:10:00-05:00",
    ];
    let text = times(york, &[]);
    assert_eq!(text.len(), expected.len());
    for (line, time) in text.iter().zip(expected) {
        assert_eq!(*line, format!("{time} pcap 0 02:00:00:00:00:01 10.0.0.1 ARP_REQ"));
    }
    for (line, time) in times(york, &["--format", "json"]).iter().zip(expected) {
        let (clock, zone) = time.split_at(19);
        assert_eq!(json(line)["time"], format!("{clock}.001020300{zone}"));
    }
    let text = times("UTC0", &[]);
    let time = text[1].split(' ').next().unwrap();
    assert!(["2023-11-14T22:13:20Z", "2023-11-14T22:13:20+00:00"].contains(&time), "{time}");
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
        let account = format!("aw-stdout: {}: 200 events, 0 lost\n", ring.name());
        assert!(finished.stderr.contains(&account), "{}", finished.stderr);
    }
    let both = run(stdout_of(&one, &["--ring", two.name(), "--once"])).ok();
    assert_eq!(both.stdout.lines().count(), 400);
}

#[test]
fn wrong_options_are_named() {
    let ring = Ring::new();
    publish(&ring, 1..3);
    for (options, named) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["--format", "xml"], "xml"),
        (&["--time", "swatch"], "swatch"),
        (&["surplus"], "surplus"),
    ] {
        let finished = run(stdout_of(&ring, options));
        assert!(matches!(finished.status.code(), Some(1 | 2)), "{options:?}: {finished:#?}");
        assert!(
            finished.stderr.contains(named) && finished.stdout.is_empty(),
            "{options:?}: {finished:#?}"
        );
    }
}

#[test]
fn help_and_version() {
    for name in ["collector", "aw-stdout"] {
        let help = run(program(name, &["--help"])).ok();
        assert!(help.stdout.contains("Usage: ") && help.stderr.is_empty(), "{help:#?}");
        let version = run(program(name, &["--version"])).ok();
        assert_eq!(version.stdout, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}
