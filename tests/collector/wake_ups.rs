//! How often the programs wake up: that is most of what they cost at rest and on an ordinary network. Counted, not timed: a
//! slow machine wakes them less often.
#![forbid(unsafe_code)]

use aw_tests::collect::json;
use aw_tests::lan::Lan;
use aw_tests::listening::quiet;
use aw_tests::rig::{Run, binary, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::usage::Usage;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The frames that the collector has processed, and those that the kernel dropped while it had no time.
fn seen(ring: &Ring) -> u64 {
    let stats = program("collector", &["--stats", "--format", "json", "--ring", ring.name()]);
    let stats = json(&run(stats).ok().stdout);
    let count = |name| stats["interfaces"][0]["counters"][name].as_u64().unwrap_or(0);
    count("seen") + count("kernel_dropped")
}

/// A reader that attached to a ring.
fn reader(ring: &Ring) -> Run {
    let reader = Run::start(program("aw-stdout", &["-v", "-m", ring.name()]));
    reader.stderr.wait_for("reading ring");
    reader
}

/// Frames that keep coming are gathered: fifty wake-ups a second, of the collector and of a reader, instead of one for each
/// frame.
#[test]
fn one_wake_up_for_many_frames() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = quiet(&lan.here, &ring, &[], &[]);
    let reader = reader(&ring);
    for rate in ["1000", "20000"] {
        let first = seen(&ring);
        let before = [&collector, &reader].map(Usage::of);
        let start = Instant::now();
        let mut sender = lan.there.command(binary("send-frames"));
        sender.args(["veth1", "--rate", rate, "--seconds", "3"]);
        let sent = run(sender).ok().stdout;
        let wanted: u64 = sent.split(' ').nth(1).unwrap().parse().unwrap();
        wait_until("all frames", || seen(&ring) == first + wanted);
        let used = [&collector, &reader].map(Usage::of);
        // Fifty a second, of which eight may be saved from before, and one for each heartbeat: 51 are usual. A tenth more, because a
        // reader may find a batch in two parts.
        let most = 56.0 * start.elapsed().as_secs_f64() + 20.0;
        for (used, before) in used.into_iter().zip(before) {
            let wakes = used.since(before).sleeps;
            assert!(
                wakes <= most,
                "{rate} frames a second: {wakes} wake-ups, expected at most {most}"
            );
        }
    }
}

/// An output that delivers later is not woken for what comes until then: not fifty times a second, but twice for each delivery,
/// and for what the disk needs.
#[test]
fn an_output_sleeps_until_it_delivers() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let _collector = quiet(&lan.here, &ring, &[], &[]);
    let state = directory.path().to_str().unwrap();
    let writer = |name, options: &[&str]| {
        let mut command = program(name, &["-v", "-m", ring.name(), "--state-dir", state]);
        command.args(options);
        let writer = Run::start(command);
        writer.stderr.wait_for("reading ring");
        writer
    };
    let database = directory.path().join("lan.db");
    let database = ["--database", database.to_str().unwrap()];
    let outputs = [writer("aw-sqlite", &database), writer("aw-alert", &["--print"])];
    let before = outputs.each_ref().map(Usage::of);
    let start = Instant::now();
    let mut sender = lan.there.command(binary("send-frames"));
    sender.args(["veth1", "--rate", "1000", "--seconds", "5", "--hosts", "200"]);
    run(sender).ok();
    let used = outputs.each_ref().map(Usage::of);
    let most = 20.0 * start.elapsed().as_secs_f64() + 20.0;
    for (used, before) in used.into_iter().zip(before) {
        let wakes = used.since(before).sleeps;
        assert!(wakes <= most, "{wakes} wake-ups, expected at most {most}");
    }
}

/// At rest, each program wakes up once a second, and so does one whose ring is missing.
#[test]
fn one_wake_up_a_second_at_rest() {
    let Some(lan) = Lan::new() else { return };
    let (ring, missing) = (Ring::new(), Ring::new());
    // In a /dev/shm of its own: the rings of other tests would wake it.
    let mut waiting = std::process::Command::new("unshare");
    let own = "mount -t tmpfs none /dev/shm && exec \"$0\" \"$@\"";
    waiting
        .args(["--mount", "sh", "-c", own])
        .arg(binary("aw-stdout"))
        .args(["-m", missing.name()]);
    let waiting = Run::start(waiting);
    waiting.stderr.wait_for("waiting for ring");
    let running = [quiet(&lan.here, &ring, &[], &[]), reader(&ring), waiting];
    let before = running.each_ref().map(Usage::of);
    let start = Instant::now();
    sleep(Duration::from_secs(6)); // the more seconds, the clearer
    let used = running.each_ref().map(Usage::of);
    let most = start.elapsed().as_secs_f64() + 3.0;
    for (used, before) in used.into_iter().zip(before) {
        let wakes = used.since(before).sleeps;
        assert!(wakes <= most, "{wakes} wake-ups, expected at most {most}");
    }
}
