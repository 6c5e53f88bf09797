//! Where `aw-stdout` writes: appended and reopened files, times, closed and full outputs (of the collector as
//! well), and invalid options.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::{collect, json, stdout_of};
use aw_tests::feed::{numbered, numbered_capture, numbered_lines, publish};
use aw_tests::rig::{Run, binary, program, run, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// `| head -n 1`: more lines than a pipe holds, and a reader that ends early.
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

/// A full disk is a failure.
#[test]
fn a_full_output_is_an_error() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let full = run(stdout_of(&ring, &["--once", "-o", "/dev/full"]));
    assert_eq!(full.status.code(), Some(1), "{full:#?}");
    assert!(full.stderr.contains("aw-stdout: write to /dev/full: "), "{full:#?}");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" > /dev/full"]).arg(binary("aw-stdout"));
    command.args(["--ring", ring.name(), "--once"]);
    let full = run(command);
    assert_eq!(full.status.code(), Some(1), "{full:#?}");
    assert!(full.stderr.contains("aw-stdout: write "), "{full:#?}");
}

/// A replay into a ring for which a confined output waits. It shows that the output finds the ring and reads each event of it, and that
/// it has asked the system to report new rings; not that it is in time for a replay that waits for no reader: on a slow machine, a late
/// look and a late process have the same effect.
#[test]
fn a_replay_into_a_ring_that_is_awaited() {
    const EVENTS: u32 = 40_000;
    let capture = numbered_capture(1..EVENTS + 1);
    let (begin, rest) = capture.split_at(capture.len() / 2); // each less than the ring holds
    let ring = Ring::new();
    let reader = Run::start(stdout_of(&ring, &["--replay"]));
    reader.stderr.wait_for("waiting for ring");
    reader.wait_until("the system reports rings to it", || {
        let files = fs::read_dir(format!("/proc/{}/fdinfo", reader.id())).unwrap().flatten();
        let mut texts = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default());
        texts.any(|text| text.contains("inotify wd:"))
    });
    let words = ["--ring", ring.name(), "-q", "-L", "32768", "--read", "-"];
    let mut collector = Run::start(program("collector", &words));
    let mut pipe = collector.stdin.take().unwrap();
    pipe.write_all(begin).unwrap();
    reader.stdout.wait_for_lines(EVENTS as usize / 2 - 1);
    pipe.write_all(rest).unwrap();
    drop(pipe);
    collector.finish().ok();
    let last = format!(" {} ", Ipv4Addr::from(0x0a00_0000 + EVENTS));
    reader.stdout.wait_until("the last event", |lines| {
        lines.last().filter(|line| line.contains(&last)).map(|_| ())
    });
    assert_eq!(reader.stop().ok().stdout.lines().count(), EVENTS as usize);
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
    let first = format!("before\n{}", numbered_lines(1..3));
    wait_until("the first lines", || is(&log, &first));

    fs::rename(&log, &old).unwrap();
    publish(&ring, 3..5);
    let first = format!("before\n{}", numbered_lines(1..5));
    wait_until("lines in the renamed file", || is(&old, &first));
    reader.signal(Signal::HUP);
    wait_until("the file is re-created", || log.exists());
    publish(&ring, 5..8);
    wait_until("lines in the new file", || is(&log, &numbered_lines(5..8)));
    assert!(is(&old, &first));

    // Again, with nothing written in between.
    fs::rename(&log, &old).unwrap();
    reader.signal(Signal::HUP);
    wait_until("the file is re-created", || log.exists());
    let finished = reader.stop().ok();
    assert_eq!(finished.stdout, "");
    assert!(is(&log, "") && is(&old, &numbered_lines(5..8)));
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let ring = Ring::new();
    publish(&ring, 1..3);
    for path in ["/nowhere/at/all", "/proc", "/"] {
        let refused = run(stdout_of(&ring, &["--once", "-o", path])).refused("aw-stdout", &[path]);
        assert_eq!(refused.stdout, "");
    }
}

/// A POSIX time zone, so that the machine needs no time zone database: winter, summer, and the night between.
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

/// A named pipe that no process reads: it waits, and logs that once.
#[test]
fn a_named_pipe_waits_for_its_reader() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("events");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let output = Run::start(stdout_of(&ring, &["--once", "-o", pipe.to_str().unwrap()]));
    output.stderr.wait_for("is a pipe that no process reads: waiting for one that does");
    assert_eq!(fs::read_to_string(&pipe).unwrap(), numbered_lines(1..4));
    let ended = output.finish().ok();
    assert_eq!(ended.stderr.matches("no process reads").count(), 1, "{}", ended.stderr);
}
