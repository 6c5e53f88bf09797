//! The ring's file is truncated while real programs have it mapped: none of them dies (SIGBUS), none prints an event that
//! was not published, and what they had not read is counted as lost.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::json;
use aw_tests::collect::stdout_of;
use aw_tests::feed::{number_of, numbered, reading_collector};
use aw_tests::rig::{Finished, Run, program, run};
use aw_tests::ring::Ring;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

const HEADER: u64 = 69_632;

/// Feeds numbered frames until it is stopped, about as fast as a busy network.
struct Feed(JoinHandle<()>, Arc<AtomicBool>);

impl Feed {
    fn start(stdin: ChildStdin, next: &Arc<AtomicU32>) -> Feed {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, next) = (stop.clone(), next.clone());
        let feed = move || -> std::io::Result<()> {
            let mut file = Pcap::new(BufWriter::new(stdin), ETHERNET, Unit::Microsecond)?;
            while !stopped.load(Relaxed) {
                let number = next.fetch_add(1, Relaxed);
                file.packet(at(number), &numbered(number))?;
                if number % 32 == 0 {
                    sleep(Duration::from_millis(1)); // the load, no synchronisation
                }
            }
            file.finish()?.flush()
        };
        Feed(spawn(|| drop(feed())), stop)
    }

    fn stop(self) {
        self.1.store(true, Relaxed);
        self.0.join().unwrap();
    }
}

fn cut(ring: &Ring, length: u64) {
    OpenOptions::new().write(true).open(ring.path()).unwrap().set_len(length).unwrap();
}

/// Events and losses, as an output logs them at its end.
fn totals(ring: &Ring, ended: &Finished) -> (u64, u64) {
    let line = ended.stderr.lines().last().unwrap();
    let start = format!("aw-stdout: {}: ", ring.name());
    let words: Vec<_> = line.strip_prefix(&start).expect(line).split([' ', ',']).collect();
    let number = |word: &str| words[words.iter().position(|one| *one == word).unwrap() - 1];
    (number("events").parse().unwrap(), number("lost").parse().unwrap())
}

#[test]
fn no_program_dies_and_each_event_is_delivered_or_counted_as_lost() {
    let ring = Ring::new();
    let next = Arc::new(AtomicU32::new(1));
    let outputs: Vec<Run> =
        (0..3).map(|_| Run::start(stdout_of(&ring, &["--replay", "--format", "json"]))).collect();
    // The newest number that each output has printed.
    let number = |line: &String| number_of(&json(line));
    let wait_for = |least: u32| {
        for output in &outputs {
            output.stdout.wait_until("later events", |lines| {
                lines.last().map(number).filter(|last| *last >= least)
            });
        }
    };
    let mut collector = Run::start(reading_collector(&ring, &["-q", "-v"]));
    let mut feed = Feed::start(collector.stdin.take().unwrap(), &next);
    wait_for(1000);
    let lengths = [0, 4096, HEADER / 2, HEADER, HEADER + 2_097_152];
    for (round, length) in lengths.into_iter().enumerate() {
        cut(&ring, length);
        let reports = |lines: &[String]| {
            let cuts = lines.iter().filter(|line| line.contains("was truncated")).count();
            (cuts > round).then_some(())
        };
        collector.stderr.wait_until("a cut is reported, and mended", reports);
        wait_for(next.load(Relaxed) + 1000);
    }
    let stats = run(program("collector", &["--stats", "--format", "json", "--ring", ring.name()]));
    let stats = json(&stats.ok().stdout);
    assert_eq!(stats["truncations"], lengths.len(), "{stats}");
    assert!(stats["counters_since"].as_i64() >= stats["created"].as_i64(), "{stats}");
    let stats = run(program("collector", &["--stats", "--ring", ring.name()])).ok().stdout;
    assert!(stats.contains("5 times, last 20") && stats.contains("the counters begin there"));
    // The same without a collector: the outputs wait for the next one.
    collector.kill();
    feed.stop();
    cut(&ring, HEADER + 64);
    let mut collector = Run::start(reading_collector(&ring, &["-q", "-v"]));
    feed = Feed::start(collector.stdin.take().unwrap(), &next);
    wait_for(next.load(Relaxed) + 1000);
    feed.stop();
    let published = collector.finish().ok();
    assert!(published.stderr.contains("published"), "{}", published.stderr);

    let last = next.load(Relaxed) - 1;
    wait_for(last);
    for output in outputs {
        let ended = output.stop().ok();
        let numbers: Vec<u32> = ended.stdout.lines().map(|line| number(&line.into())).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "an event came twice");
        let (events, lost) = totals(&ring, &ended);
        assert_eq!(events, numbers.len() as u64);
        let sequence = json(ended.stdout.lines().last().unwrap())["sequence"].as_u64().unwrap();
        assert_eq!(events + lost, sequence + 1, "{}", ended.stderr);
        assert!(lost > 0, "nothing was cut, or this test proves nothing");
        assert!(
            ended.stderr.contains("events lost: the ring was truncated before"),
            "{}",
            ended.stderr
        );
    }
}

/// An output reports it once, and continues with the next ring, whatever is left of the old one.
#[test]
fn an_idle_output_waits_for_the_next_collector() {
    for length in [0, 4096, HEADER, HEADER + 64] {
        let ring = Ring::new();
        aw_tests::feed::publish(&ring, 1..4);
        let output = Run::start(stdout_of(&ring, &["--replay"]));
        output.stdout.wait_for_lines(3);
        cut(&ring, length);
        if length < HEADER {
            output.stderr.wait_for("was truncated");
        }
        aw_tests::feed::publish(&ring, 4..7);
        output.stdout.wait_for_lines(6);
        let ended = output.stop().ok();
        assert_eq!(ended.stdout, aw_tests::feed::numbered_lines(1..7), "{length}");
        let cuts = ended.stderr.lines().filter(|line| line.contains("was truncated")).count();
        assert!(cuts <= 1, "{}", ended.stderr);
        assert_eq!(totals(&ring, &ended), (6, 0), "{}", ended.stderr);
    }
}

/// A ring that was truncated and has its old length again: what it lost counts as lost, and no event after that is hidden.
#[test]
fn a_hole_hides_no_later_event() {
    for (length, kept) in [(4096, 0), (HEADER, 0), (HEADER + 64 * 100, 100)] {
        let ring = Ring::new();
        aw_tests::feed::publish(&ring, 1..201);
        let whole = ring.path().metadata().unwrap().len();
        cut(&ring, length);
        cut(&ring, whole);
        let output = Run::start(stdout_of(&ring, &["--replay"]));
        aw_tests::feed::publish(&ring, 201..204);
        output.stdout.wait_for_lines(kept as usize + 3);
        let ended = output.stop().ok();
        let lines = [1..kept + 1, 201..204].map(aw_tests::feed::numbered_lines).concat();
        assert_eq!(ended.stdout, lines, "{length}");
        // Without a kept event, the output begins with the first that there is.
        let lost = if kept > 0 { 200 - u64::from(kept) } else { 0 };
        assert_eq!(totals(&ring, &ended), (u64::from(kept) + 3, lost), "{}", ended.stderr);
    }
}
