//! Outputs with a saved position: after an end, a kill or another stream they resume there, and events that they
//! missed are counted as lost.
#![forbid(unsafe_code)]

use aw_tests::checkpoint::Checkpoint;
use aw_tests::collect::{collect, json, stdout_of};
use aw_tests::feed::{number_of, numbered_capture, numbered_lines, publish, reading_collector};
use aw_tests::mount::Mount;
use aw_tests::rig::{Run, program, run, run_with, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::rows::Rows;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// The largest batch of aw-stdout: a kill repeats at most one.
const BATCH: usize = 256;

/// `aw-stdout --from resume`, which appends to `log` beneath this directory.
fn resuming(ring: &Ring, directory: &Path, options: &[&str]) -> Command {
    let mut command = stdout_of(ring, &["--from", "resume"]);
    command.arg("--state-dir").arg(directory.join("state"));
    command.arg("-o").arg(directory.join("log")).args(options);
    command
}

/// The same, with its lines in any place.
fn keeping(ring: &Ring, directory: &Path, options: &[&str]) -> Command {
    let mut command = stdout_of(ring, &["--from", "resume"]);
    command.arg("--state-dir").arg(directory.join("state")).args(options);
    command
}

/// The entry of this ring in the file of positions.
#[track_caller]
fn position(directory: &Path, ring: &Ring) -> Value {
    let text = fs::read_to_string(directory.join("state/aw-stdout.positions")).expect("positions");
    let all: Value = json(&text);
    let position = all[ring.name()].clone();
    let number = |field: &str| position[field].as_u64().expect("a number");
    let sum: u64 = ["began", "delivered", "lost", "skipped"].into_iter().map(number).sum();
    assert_eq!(number("next"), sum, "{position}");
    position
}

#[test]
fn it_resumes_where_it_was_terminated() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let is = |lines: &str| fs::read_to_string(&log).is_ok_and(|text| text == lines);
    publish(&ring, 1..4);
    // The first time it begins with the oldest event.
    let reader = Run::start(resuming(&ring, directory.path(), &[]));
    wait_until("the first lines", || is(&numbered_lines(1..4)));
    let ended = reader.stop().ok();
    assert!(ended.stderr.ends_with("3 events, 0 lost\n"), "{}", ended.stderr);
    publish(&ring, 4..8);
    let reader = Run::start(resuming(&ring, directory.path(), &[]));
    wait_until("the next lines", || is(&numbered_lines(1..8)));
    assert!(reader.stop().ok().stderr.ends_with("4 events, 0 lost\n"));
    let once = run(resuming(&ring, directory.path(), &["--once"])).ok();
    assert!(once.stderr.ends_with("0 events, 0 lost\n"), "{}", once.stderr);
    assert!(is(&numbered_lines(1..8)));
    assert_eq!(position(directory.path(), &ring)["delivered"], 7);
}

/// While it was down, the ring was overwritten: the overwritten events are counted as lost, and logged.
#[test]
fn what_was_overwritten_while_it_was_away_is_lost() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let fill = |numbers| {
        run_with(reading_collector(&ring, &["-q", "-L", "64"]), &numbered_capture(numbers)).ok()
    };
    fill(1..11);
    run(resuming(&ring, directory.path(), &["--once"])).ok();
    fill(11..111);
    let ended = run(resuming(&ring, directory.path(), &["--once"])).ok();
    assert!(ended.stderr.ends_with(": 64 events, 36 lost\n"), "{}", ended.stderr);
    let position = position(directory.path(), &ring);
    for (field, number) in [("next", 110), ("began", 0), ("delivered", 74), ("lost", 36)] {
        assert_eq!(position[field], number, "{position}");
    }
}

/// Killed while events arrive: none is missing, and none is repeated that was written before the last position.
#[test]
fn a_kill_loses_nothing() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count() as u32;
    for round in 0..5 {
        let (first, end) = (1 + round * 2000, 1 + (round + 1) * 2000);
        publish(&ring, first..end);
        let before = lines();
        let reader = Run::start(resuming(&ring, directory.path(), &["--format", "json"]));
        wait_until("some lines", || lines() > before + 500);
        reader.kill();
    }
    run(resuming(&ring, directory.path(), &["--format", "json", "--once"])).ok();
    let text = fs::read_to_string(&log).unwrap();
    // The kill may have cut a line, which is then written again completely.
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut numbers: Vec<u32> = whole.map(|event| number_of(&event)).collect();
    numbers.sort_unstable();
    let written = numbers.len();
    numbers.dedup();
    assert!(written - numbers.len() <= 5 * BATCH, "a kill repeats a batch, and no more: {written}");
    assert_eq!(numbers, (1..10_001).collect::<Vec<u32>>());
    let position = position(directory.path(), &ring);
    assert_eq!((&position["delivered"], &position["lost"]), (&10_000.into(), &0.into()));
}

/// Killed before it has saved its position: it resumes there, although the ring was overwritten since. No line is
/// repeated, and no written event counts as lost.
#[test]
fn after_a_kill_it_resumes_at_the_saved_position() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let fill = |numbers| {
        run_with(reading_collector(&ring, &["-q", "-L", "64"]), &numbered_capture(numbers)).ok()
    };
    fill(1..11);
    // From now on it has a checkpoint: killed before it ever saved one, it begins like at the first start.
    run(resuming(&ring, directory.path(), &["--once"])).ok();
    for (first, end) in [(11, 31), (131, 151), (251, 271)] {
        let reader = Run::start(resuming(&ring, directory.path(), &[]));
        let noted = |number: u32| {
            let note = format!("\"next\":{number},");
            let text = || fs::read_to_string(directory.path().join("state/aw-stdout.now"));
            wait_until("a note", || text().is_ok_and(|text| text.contains(&note)));
        };
        noted(first - 1);
        fill(first..end);
        noted(end - 1);
        reader.kill();
        fill(end..end + 100); // more than the ring holds
    }
    let ended = run(resuming(&ring, directory.path(), &["--once"])).ok();
    assert!(ended.stderr.ends_with(": 64 events, 36 lost\n"), "{}", ended.stderr);
    let text = fs::read_to_string(directory.path().join("log")).unwrap();
    let seconds: Vec<u32> =
        text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    let expected: Vec<u32> = (1..31).chain(67..151).chain(187..271).chain(307..371).collect();
    assert_eq!(seconds, expected);
    let position = position(directory.path(), &ring);
    for (field, number) in [("next", 370), ("delivered", expected.len()), ("lost", 3 * 36)] {
        assert_eq!(position[field], number, "{position}");
    }
}

/// Without the file of positions it begins with the oldest event; a live checkpoint alone is not used.
#[test]
fn without_positions_it_begins_with_the_oldest() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    publish(&ring, 1..11);
    run(resuming(&ring, directory.path(), &["--once"])).ok();
    assert!(directory.path().join("state/aw-stdout.now").exists());
    fs::remove_file(directory.path().join("state/aw-stdout.positions")).unwrap();
    let again = run(resuming(&ring, directory.path(), &["--once"])).ok();
    assert!(again.stderr.ends_with(": 10 events, 0 lost\n"), "{}", again.stderr);
}

/// It ends because its disk is full: the written events stay delivered.
#[test]
fn a_failure_saves_the_position() {
    if !rustix::process::geteuid().is_root() {
        return skip("it needs root, to mount a small disk");
    }
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let _mount = Mount::new(&disk, "size=1m");
    publish(&ring, 1..50_001);
    let log = disk.join("log");
    let ended = run(keeping(&ring, directory.path(), &["-o", log.to_str().unwrap()]));
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("no space left on device"), "{ended:#?}");
    let lines = fs::read_to_string(&log).unwrap().lines().count() as u64;
    let delivered = position(directory.path(), &ring)["delivered"].as_u64().unwrap();
    assert!(delivered > 5000 && lines - delivered <= BATCH as u64, "{delivered} of {lines}");
}

/// SIGTERM while its output is not read: it ends, and resumes there.
#[test]
fn it_ends_although_its_lines_are_not_read() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    publish(&ring, 1..50_001);
    let mut command = keeping(&ring, directory.path(), &[]);
    let mut unread = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Another end of the same pipe: what it could not write, the output cannot.
    let end = format!("/proc/self/fd/{}", unread.stdout.as_ref().unwrap().as_raw_fd());
    let end = File::options().write(true).open(end).unwrap();
    let now = Timespec::default();
    wait_until("the pipe is full", || {
        poll(&mut [PollFd::new(&end, PollFlags::OUT)], Some(&now)).unwrap() == 0
    });
    drop(end);
    kill_process(Pid::from_child(&unread), Signal::TERM).unwrap();
    wait_until("its end", || unread.try_wait().unwrap().is_some());
    let ended = unread.wait_with_output().unwrap();
    let message = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.contains("the destination accepted nothing for 15 s"), "{message}");
    let number = |line: &str| line.split(' ').next().unwrap().parse::<usize>().unwrap();
    let taken = String::from_utf8(ended.stdout).unwrap();
    let whole = taken.lines().count() - usize::from(!taken.ends_with('\n'));
    let rest = run(keeping(&ring, directory.path(), &["--once"])).ok();
    let first = number(rest.stdout.lines().next().unwrap());
    assert!((whole + 2 - BATCH..whole + 2).contains(&first), "{whole}, then from {first} on");
    assert_eq!(rest.stdout.lines().count(), 50_001 - first);
}

/// The ring was re-created: the unknown number of events is reported, and none of the new stream is skipped silently.
#[test]
fn another_stream_is_begun_from_its_first_event() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    publish(&ring, 1..6);
    run(resuming(&ring, directory.path(), &["--once"])).ok();
    run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    run_with(reading_collector(&ring, &["-q", "-L", "64"]), &numbered_capture(6..106)).ok();
    let ended = run(resuming(&ring, directory.path(), &["--once"])).ok();
    let message = format!("aw-stdout: ring {} is a new one, as after each start", ring.name());
    assert!(ended.stderr.contains(&message), "{}", ended.stderr);
    assert!(ended.stderr.contains("got after its event 5, if any, are lost"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with(": 64 events, 36 lost\n"), "{}", ended.stderr);
    let position = position(directory.path(), &ring);
    assert_eq!((&position["began"], &position["next"]), (&0.into(), &100.into()));
}

/// Also if no event has arrived since.
#[test]
fn another_stream_is_reported_once() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    publish(&ring, 1..6);
    run(resuming(&ring, directory.path(), &["--once"])).ok();
    run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    publish(&ring, 6..6); // the ring alone
    let starts = [(); 2].map(|()| run(resuming(&ring, directory.path(), &["--once"])).ok());
    let reported = starts.map(|start| start.stderr.contains(" is a new one, "));
    assert_eq!(reported, [true, false]);
    publish(&ring, 6..8);
    run(resuming(&ring, directory.path(), &["--once"])).ok();
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    assert_eq!(log, numbered_lines(1..8));
}

#[test]
fn from_selects_the_first_event() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    for options in [&["--from", "oldest"][..], &["--replay"]] {
        let reader = Run::start(stdout_of(&ring, options));
        reader.stdout.wait_for_lines(3);
        assert_eq!(reader.stop().ok().stdout, numbered_lines(1..4));
    }
    let once = run(stdout_of(&ring, &["--from", "now", "--once"])).ok();
    assert_eq!(once.stdout, "");
    let both = run(stdout_of(&ring, &["--from", "now", "--replay"]));
    assert_eq!(both.status.code(), Some(2), "{both:#?}");

    // A database resumes at its saved position, unless an option changes that.
    let rows = Rows::new();
    run(rows.command(&ring, &["--once"])).ok();
    publish(&ring, 4..6);
    run(rows.command(&ring, &["--once"])).ok();
    assert_eq!(rows.lines(), numbered_lines(1..6));
    publish(&ring, 6..8);
    run(rows.command(&ring, &["--once", "--from", "now"])).ok();
    assert_eq!(rows.checkpoint(&ring), Some(Checkpoint { began: 7, delivered: 0, lost: 0 }));
    run(rows.command(&ring, &["--once", "--from", "oldest"])).ok();
    assert_eq!(rows.lines(), numbered_lines(1..6) + &numbered_lines(1..8));
}

/// Killed at any moment and started again: a database that has the position with its rows has each event once.
#[test]
fn a_database_has_every_event_exactly_once() {
    let ring = Ring::new();
    let rows = Rows::new();
    for round in 0..6 {
        publish(&ring, 1 + round * 3000..1 + (round + 1) * 3000);
        let before = rows.sequences(&ring).len();
        let output = rows.start(&ring, &[]);
        wait_until("rows", || rows.sequences(&ring).len() > before);
        std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 7));
        output.kill();
    }
    run(rows.command(&ring, &["--once"])).ok();
    rows.assert_exactly_once(&ring, 18_000);
    assert_eq!(rows.checkpoint(&ring), Some(Checkpoint { began: 0, delivered: 18_000, lost: 0 }));
}

/// Events of several rings are merged by time.
#[test]
fn rings_are_merged_by_time() {
    let rings = [Ring::new(), Ring::new(), Ring::new()];
    let every_third = |first: u32| -> Vec<u8> {
        let numbers: Vec<u32> = (0..50).map(|n| first + 3 * n).collect();
        let mut capture = numbered_capture(numbers[0]..numbers[0] + 1);
        for number in &numbers[1..] {
            capture.extend(&numbered_capture(*number..number + 1)[24..]);
        }
        capture
    };
    for (ring, first) in rings.iter().zip(1..) {
        collect(ring, &every_third(first), &["-q"]).ok();
    }
    let [one, two, three] = &rings;
    let options = ["-m", two.name(), "-m", three.name(), "--once"];
    assert_eq!(run(stdout_of(one, &options)).ok().stdout, numbered_lines(1..151));
}

/// Two programs with one checkpoint would overwrite each other's.
#[test]
fn a_state_directory_is_one_programs() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let first = Run::start(resuming(&ring, directory.path(), &[]));
    first.stderr.wait_for("waiting");
    let refused = run(resuming(&ring, directory.path(), &[]));
    refused.refused("aw-stdout", &["in use by another aw-stdout", "--state-dir"]);
    first.signal(Signal::TERM);
    first.finish().ok();
    fs::write(directory.path().join("state/aw-stdout.positions"), "rubbish").unwrap();
    run(resuming(&ring, directory.path(), &[])).refused("aw-stdout", &["aw-stdout.positions"]);
    let nowhere = stdout_of(&ring, &["--from", "resume", "--state-dir", "/nowhere/at/all"]);
    run(nowhere).refused("aw-stdout", &["create /nowhere/at/all: ", "--state-dir"]);
}
