//! `aw-stdout --health`, and the warning of an output whose collector stopped.
#![forbid(unsafe_code)]

use aw_tests::clock::library;
use aw_tests::collect::stdout_of;
use aw_tests::feed::{numbered_capture, publish, reading_collector};
use aw_tests::history::History;
use aw_tests::rig::{Finished, Run, TIMEOUT, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::process::ChildStdin;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A replay that never ends, an event every 100 ms, with a heartbeat.
fn beating(ring: &Ring, slots: &str) -> (Run, ChildStdin) {
    let mut collector =
        Run::start(reading_collector(ring, &["-q", "-L", slots, "--max-rate", "10"]));
    let mut stdin = collector.stdin.take().unwrap();
    let numbers = numbered_capture(1..10_000);
    stdin.write_all(&numbers[..60_000]).unwrap();
    (collector, stdin)
}

fn health(ring: &Ring, options: &[&str]) -> Finished {
    let begun = Instant::now();
    let finished = run({
        let mut command = stdout_of(ring, &["--health"]);
        command.args(options);
        command
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "a check must not hang");
    finished
}

/// Repeats the check until its result satisfies `so`, which happens within seconds; returns the last result.
fn soon(check: impl Fn() -> Finished, so: impl Fn(&Finished) -> bool) -> Finished {
    let give_up = Instant::now() + TIMEOUT;
    loop {
        let answer = check();
        if so(&answer) || Instant::now() > give_up {
            return answer;
        }
        sleep(Duration::from_millis(100));
    }
}

fn is_well(answer: &Finished) -> bool {
    answer.status.success()
}

fn reports(text: &str) -> impl Fn(&Finished) -> bool {
    move |answer| answer.stdout.contains(text)
}

#[test]
fn health_reports_the_fault() {
    let ring = Ring::new();
    health(&ring, &[]).unwell(&[ring.name(), "no such ring"]);
    publish(&ring, 1..4);
    health(&ring, &[]).unwell(&["no heartbeat: the collector ended"]);

    let (collector, _stdin) = beating(&ring, "65536");
    let well = soon(|| health(&ring, &[]), is_well).ok();
    assert!(well.stdout.starts_with(&format!("aw-stdout: ring {}: last frame ", ring.name())));
    assert_eq!((well.stdout.lines().count(), well.stderr.as_str()), (1, ""), "{well:#?}");
    let both = health(&ring, &["-m", "/aw-test-no-such-ring"]);
    both.unwell(&["/aw-test-no-such-ring"]);

    collector.signal(Signal::STOP);
    let check = || health(&ring, &["--max-silence", "3"]);
    soon(check, reports("no heartbeat from")).unwell(&["no heartbeat from", "process"]);
    collector.signal(Signal::CONT);
    soon(check, is_well).ok();
    collector.kill();
    soon(|| health(&ring, &[]), reports("no heartbeat from")).unwell(&["no heartbeat from"]);
}

/// A running collector that captures nothing.
#[test]
fn silence_is_reported_on_request() {
    let ring = Ring::new();
    let Some(lan) = aw_tests::lan::Lan::new() else { return };
    let mut command = lan.here.command(aw_tests::rig::binary("collector"));
    command.args(["--ring", ring.name(), "-q", "veth0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0");
    let silent = || health(&ring, &["--max-silence", "2"]);
    soon(silent, reports("no frame for ")).unwell(&["no frame for "]);
    health(&ring, &["--max-silence", "0"]).ok();
    health(&ring, &[]).ok();
    lan.there.scapy("veth1", "send(Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(pdst='192.0.2.1'))");
    soon(silent, is_well).ok();
    health(&ring, &["--max-silence", "60"]).ok();
    collector.stop().ok();
}

/// An output that hangs: its saved position falls behind.
#[test]
fn a_lagging_output_is_reported() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap();
    let options = ["--from", "resume", "--state-dir", state];
    publish(&ring, 1..11);
    run({
        let mut command = stdout_of(&ring, &["--once"]);
        command.args(options);
        command
    })
    .ok();
    let capture = numbered_capture(1..1001);
    let mut collector = Run::start(reading_collector(&ring, &["-q", "-L", "64"]));
    let mut stdin = collector.stdin.take().unwrap();
    stdin.write_all(&capture).unwrap();
    let more = std::thread::spawn(move || {
        for number in 1001..1200 {
            if stdin.write_all(&numbered_capture(number..number + 1)[24..]).is_err() {
                return;
            }
            sleep(Duration::from_millis(100));
        }
    });
    let check = || health(&ring, &["--state-dir", state]);
    soon(check, reports("behind")).unwell(&["aw-stdout is ", "behind"]);
    let output = Run::start({
        let mut command = stdout_of(&ring, &options);
        command.arg("-v");
        command
    });
    output.stderr.wait_for("reading ring");
    soon(check, is_well).ok();
    output.stop().ok();
    collector.kill();
    more.join().unwrap();
}

/// If the positions of outputs cannot be read, that is reported, and not success.
#[test]
fn unreadable_positions_are_reported() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap();
    let (collector, _stdin) = beating(&ring, "64");
    wait_until("the ring", || ring.path().exists());
    health(&ring, &["--state-dir", state]).ok();
    let positions = directory.path().join("aw-stdout.positions");
    fs::write(&positions, "rubbish").unwrap();
    health(&ring, &["--state-dir", state]).unwell(&["read ", "aw-stdout.positions: "]);
    fs::remove_file(&positions).unwrap();
    fs::create_dir(&positions).unwrap();
    health(&ring, &["--state-dir", state]).unwell(&["read ", "directory", "--state-dir"]);
    health(&ring, &["--owner", "no-such-user-here"]).unwell(&["no-such-user-here"]);
    collector.kill();
}

/// The same for an output that saves its position with its rows.
#[test]
fn a_database_that_lags_is_reported() {
    let ring = Ring::new();
    let history = History::new();
    let (collector, _stdin) = beating(&ring, "64");
    let output = history.start(&ring, &[]);
    let check = || {
        run({
            let mut command = history.command(&ring, &["--health"]);
            command.args(["--max-silence", "0"]);
            command
        })
    };
    wait_until("rows", || history.count() > 0);
    let well = check().ok();
    assert!(well.stdout.starts_with("aw-sqlite: ring "), "{well:#?}");
    output.signal(Signal::STOP);
    let unwell = soon(check, reports("events behind")); // half a ring and more
    let message = unwell.stdout.clone();
    assert_eq!((unwell.status.code(), unwell.stderr.as_str()), (Some(1), ""), "{unwell:#?}");
    assert!(message.contains("aw-sqlite is ") && message.contains("events behind"), "{message}");
    output.signal(Signal::CONT);
    output.stop().ok();
    collector.kill();
}

/// It was killed, or its ring was re-created since: its saved position is of another stream, or gone.
#[test]
fn a_database_that_does_not_run_is_reported() {
    let ring = Ring::new();
    let history = History::new();
    let check = |options: &[&str]| {
        let mut command = history.command(&ring, &["--health"]);
        command.args(["--max-silence", "0"]).args(options);
        run(command)
    };
    let unwell = |options: &[&str], text: &str| {
        let unwell = check(options);
        assert_eq!((unwell.status.code(), unwell.stderr.as_str()), (Some(1), ""), "{unwell:#?}");
        assert!(unwell.stdout.contains(text), "{unwell:#?}");
    };
    let (collector, stdin) = beating(&ring, "64");
    wait_until("the ring", || ring.path().exists());
    unwell(&[], "aw-sqlite is not running"); // and never did
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() > 0);
    check(&[]).ok();
    output.kill();
    unwell(&[], "aw-sqlite is not running");
    check(&["--once"]).ok(); // a service that runs now and then
    drop(stdin);
    collector.kill();

    run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    let (collector, _stdin) = beating(&ring, "64");
    wait_until("the ring", || ring.path().exists());
    soon(|| check(&["--once"]), reports("aw-sqlite is ")); // behind: half a ring and more
    unwell(&["--once"], "aw-sqlite is ");
    let output = history.start(&ring, &[]);
    output.stderr.wait_for("another stream");
    check(&[]).ok();
    fs::write(history.path().join("state/aw-sqlite.now"), "").unwrap();
    output.signal(Signal::STOP);
    unwell(&[], "events behind");
    output.signal(Signal::CONT);
    output.stop().ok();
    collector.kill();
}

/// The clock of the machine is set back by three hours: no healthy state becomes unhealthy, and the text is correct.
#[test]
fn a_clock_that_was_set_back_raises_no_alarm() {
    let Some(library) = library() else {
        return skip("there is no libfaketime here (faketime)");
    };
    let ring = Ring::new();
    let earlier = |options: &[&str]| {
        let mut command = stdout_of(&ring, &["--health"]);
        command.args(options).env("LD_PRELOAD", &library).env("FAKETIME", "-3h");
        run(command)
    };
    publish(&ring, 1..4);
    earlier(&[])
        .unwell(&["the collector ended at an unknown time, because the clock was set back"]);
    let (collector, _stdin) = beating(&ring, "65536");
    wait_until("a heartbeat", || health(&ring, &[]).status.success());
    let well = earlier(&["--max-silence", "3"]).ok();
    assert!(well.stdout.contains("last frame at an unknown time"), "{well:#?}");
    collector.signal(Signal::STOP);
    let check = || earlier(&[]);
    soon(check, reports("no heartbeat"))
        .unwell(&["no heartbeat from the collector", "the clock was set back"]);
    collector.kill();
}

/// The heartbeat stops: one line. It returns: one line.
#[test]
fn an_output_reports_a_stopped_collector() {
    let ring = Ring::new();
    let (collector, _stdin) = beating(&ring, "65536");
    let output = Run::start(stdout_of(&ring, &["-v"]));
    output.stderr.wait_for("reading ring");
    collector.signal(Signal::STOP);
    let message = output.stderr.wait_for("no heartbeat from the collector, process ");
    assert!(
        message.contains(ring.name()) && message.contains(&collector.id().to_string()),
        "{message}"
    );
    sleep(Duration::from_millis(1200));
    collector.signal(Signal::CONT);
    output.stderr.wait_for("the collector is back");
    collector.kill();
    output.stderr.wait_until("a second alarm", |lines| {
        (lines.iter().filter(|line| line.contains("no heartbeat")).count() == 2).then_some(())
    });
    let (next, _stdin) = beating(&ring, "65536");
    output.stderr.wait_until("the second return", |lines| {
        (lines.iter().filter(|line| line.contains("the collector is back")).count() == 2)
            .then_some(())
    });
    next.stop();
    output.stderr.wait_for("its collector has ended");
    let ended = output.stop().ok();
    let alarms = ended.stderr.lines().filter(|line| line.contains("no new events arrive"));
    assert_eq!(alarms.count(), 3, "{}", ended.stderr);
}
