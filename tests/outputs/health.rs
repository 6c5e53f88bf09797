//! `aw-stdout --health`, and the warning of an output whose collector stopped.
#![forbid(unsafe_code)]

#[path = "health/kills.rs"]
mod kills;

use aw_tests::clock::library;
use aw_tests::collect::stdout_of;
use aw_tests::feed::{numbered_capture, publish, reading_collector};
use aw_tests::history::History;
use aw_tests::mount::Mount;
use aw_tests::rig::{Finished, Run, TIMEOUT, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
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

fn is_healthy(answer: &Finished) -> bool {
    answer.status.success()
}

fn reports(text: &str) -> impl Fn(&Finished) -> bool {
    move |answer| answer.stdout.contains(text)
}

#[test]
fn health_reports_the_fault() {
    let ring = Ring::new();
    health(&ring, &[]).unhealthy(&[ring.name(), "no such ring"]);
    publish(&ring, 1..4);
    health(&ring, &[]).unhealthy(&["no heartbeat: the collector ended"]);

    let (collector, _stdin) = beating(&ring, "65536");
    soon(|| health(&ring, &[]), is_healthy).ok();
    let healthy = soon(|| health(&ring, &[]), reports("last frame ")).ok(); // from the first heartbeat with frames on
    assert!(healthy.stdout.starts_with(&format!("aw-stdout: ring {}: last frame ", ring.name())));
    assert_eq!((healthy.stdout.lines().count(), healthy.stderr.as_str()), (1, ""), "{healthy:#?}");
    let both = health(&ring, &["-m", "/aw-test-no-such-ring"]);
    both.unhealthy(&["/aw-test-no-such-ring"]);

    collector.signal(Signal::STOP);
    let check = || health(&ring, &["--max-silence", "3"]);
    soon(check, reports("no heartbeat from")).unhealthy(&["no heartbeat from", "process"]);
    collector.signal(Signal::CONT);
    soon(check, is_healthy).ok();
    collector.kill();
    soon(|| health(&ring, &[]), reports("no heartbeat from")).unhealthy(&["no heartbeat from"]);
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
    soon(silent, reports("no frame yet, for ")).unhealthy(&["no frame yet, for "]);
    health(&ring, &["--max-silence", "0"]).ok();
    let begun = health(&ring, &[]).ok().stdout;
    assert!(begun.contains("no frame yet: the ring was created "), "{begun}");
    lan.there.scapy("veth1", "send(Ether(dst='ff:ff:ff:ff:ff:ff')/ARP(pdst='192.0.2.1'))");
    // Half a year: no machine is as slow as that.
    let patient = || health(&ring, &["--max-silence", "15000000"]);
    soon(patient, reports("last frame ")).ok();
    soon(silent, reports("no frame for ")).unhealthy(&["no frame for "]);
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
    soon(check, reports("behind")).unhealthy(&["aw-stdout is ", "behind"]);
    let output = Run::start({
        let mut command = stdout_of(&ring, &options);
        command.arg("-v");
        command
    });
    output.stderr.wait_for("reading ring");
    soon(check, is_healthy).ok();
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
    soon(|| health(&ring, &["--state-dir", state]), is_healthy).ok();
    let positions = directory.path().join("aw-stdout.positions");
    fs::write(&positions, "rubbish").unwrap();
    health(&ring, &["--state-dir", state]).unhealthy(&["read ", "aw-stdout.positions: "]);
    fs::remove_file(&positions).unwrap();
    fs::create_dir(&positions).unwrap();
    let directory = "it is a directory, not a regular file (move it away: mv ";
    health(&ring, &["--state-dir", state]).unhealthy(&["read ", directory]);
    health(&ring, &["--owner", "no-such-user-here"]).unhealthy(&["no-such-user-here"]);
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
    let healthy = check().ok();
    assert!(healthy.stdout.starts_with("aw-sqlite: ring "), "{healthy:#?}");
    output.signal(Signal::STOP);
    let unhealthy = soon(check, reports("events behind")); // half a ring and more
    let message = unhealthy.stdout.clone();
    assert_eq!(
        (unhealthy.status.code(), unhealthy.stderr.as_str()),
        (Some(1), ""),
        "{unhealthy:#?}"
    );
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
    let unhealthy = |options: &[&str], text: &str| {
        let unhealthy = check(options);
        assert_eq!(
            (unhealthy.status.code(), unhealthy.stderr.as_str()),
            (Some(1), ""),
            "{unhealthy:#?}"
        );
        assert!(unhealthy.stdout.contains(text), "{unhealthy:#?}");
    };
    let (collector, stdin) = beating(&ring, "64");
    wait_until("the ring", || ring.path().exists());
    unhealthy(&[], "aw-sqlite is not running"); // and never did
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() > 0);
    check(&[]).ok();
    output.kill();
    unhealthy(&[], "aw-sqlite is not running");
    check(&["--once"]).ok(); // a service that runs now and then
    drop(stdin);
    collector.kill();

    run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    let (collector, _stdin) = beating(&ring, "64");
    wait_until("the ring", || ring.path().exists());
    soon(|| check(&["--once"]), reports("aw-sqlite is ")); // behind: half a ring and more
    unhealthy(&["--once"], "aw-sqlite is ");
    let output = history.start(&ring, &[]);
    output.stderr.wait_for("is a new one, as after each start");
    check(&[]).ok();
    fs::write(history.path().join("state/aw-sqlite.now"), "").unwrap();
    output.signal(Signal::STOP);
    unhealthy(&[], "events behind");
    output.signal(Signal::CONT);
    output.stop().ok();
    collector.kill();
}

/// A service that was never started is not healthy: each output with a unit, but aw-stdout, which saves nothing.
#[test]
fn an_output_that_never_ran_is_reported() {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let (collector, _stdin) = beating(&ring, "65536");
    soon(|| health(&ring, &[]), is_healthy).ok();
    let check = |name: &str, options: &[&str]| {
        let mut command = program(name, &["--health", "--ring", ring.name()]);
        command.arg("--state-dir").arg(directory.path().join("state")).args(options);
        run(command)
    };
    for name in [
        "aw-alert",
        "aw-clickhouse",
        "aw-mqtt",
        "aw-mysql",
        "aw-relay",
        "aw-sqlite",
        "aw-syslog",
        "aw-tracker",
    ] {
        check(name, &[]).unhealthy_of(name, &[&format!("{name} is not running"), "(start it)"]);
        check(name, &["--once"]).ok(); // it runs only now and then
    }
    check("aw-stdout", &[]).ok();
    // Nothing listens on port 1.
    let listen = ["--listen", "127.0.0.1:1"];
    check("aw-metrics", &listen).unhealthy_of("aw-metrics", &["aw-metrics is not running"]);
    let mut command = program("aw-metrics", &["-v", "--listen", "0", "--ring", ring.name()]);
    command.arg("--state-dir").arg(directory.path());
    let metrics = Run::start(command);
    let line = metrics.stderr.wait_for("metrics at http://127.0.0.1:");
    let port = line.trim_end_matches("/metrics").rsplit(':').next().unwrap().to_owned();
    check("aw-metrics", &["--listen", port.as_str()]).ok();
    metrics.stop().ok();
    collector.kill();
}

/// One of two interfaces is not there: that is not well, although frames of the other one arrive.
#[test]
fn an_interface_that_is_not_there_is_reported() {
    let ring = Ring::new();
    let Some(lan) = aw_tests::lan::Lan::new() else { return };
    let mut command = lan.here.command(aw_tests::rig::binary("collector"));
    command.args(["--ring", ring.name(), "-q", "--wait", "veth0", "eht0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0");
    let check = || health(&ring, &[]);
    soon(check, reports("eht0"))
        .unhealthy(&["interface eht0: no such interface: no frames of it arrive"]);
    lan.here.ip("link add eht0 type veth peer name eht1");
    lan.here.ip("link set eht0 up");
    lan.here.ip("link set eht1 up");
    soon(check, is_healthy).ok();
    collector.stop().ok();
}

/// One of two networks is blind because its cable is out, before the start or later: that is not well, although the interface is up
/// and frames of the other one arrive.
#[test]
fn an_interface_without_a_carrier_is_reported() {
    let Some(lan) = aw_tests::lan::Lan::new() else { return };
    for is_in_at_start in [true, false] {
        let ring = Ring::new();
        lan.here.ip("link add two0 type veth peer name two1");
        lan.here.ip("link set two0 up");
        let mut command = lan.here.command(aw_tests::rig::binary("collector"));
        command.args(["--ring", ring.name(), "-q", "veth0", "two0"]);
        if is_in_at_start {
            lan.here.ip("link set two1 up");
        }
        let collector = Run::start(command);
        collector.stderr.wait_for("listening on veth0, two0");
        let check = || health(&ring, &[]);
        if is_in_at_start {
            soon(check, is_healthy).ok();
            lan.here.ip("link set two1 down");
        }
        let fault = "interface two0 has no carrier: no frames of it arrive (check its cable and what is at ";
        soon(check, reports("two0")).unhealthy(&[fault]);
        collector.stderr.wait_for("two0 has no carrier: no frames until it has one (check");
        lan.here.ip("link set two1 up");
        soon(check, is_healthy).ok();
        collector.stderr.wait_for("two0 is up again");
        collector.stop().ok();
        lan.here.ip("link del two0");
    }
}

/// Each fault is named, also if another one comes before it.
#[test]
fn all_faults_are_reported() {
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let Some(lan) = aw_tests::lan::Lan::new() else { return };
    let mut command = lan.here.command(aw_tests::rig::binary("collector"));
    command.args(["--ring", ring.name(), "-q", "--wait", "veth0", "eht0", "eht1"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0");
    let check = || {
        let mut command = program("aw-sqlite", &["--health", "--ring", ring.name()]);
        command.args(["-m", "/aw-test-no-such-ring", "--state-dir"]).arg(directory.path());
        run(command)
    };
    let faults = [
        "interface eht0: no such interface",
        "interface eht1: no such interface",
        "/aw-test-no-such-ring: no such ring",
        "aw-sqlite is not running",
    ];
    let answer = soon(check, reports("eht0"));
    assert_eq!(answer.stdout.matches("is not running").count(), 1, "{answer:#?}");
    answer.unhealthy_of("aw-sqlite", &faults);
    collector.stop().ok();
}

/// A destination that is down: events are queued, and that is not well, from the first one on.
#[test]
fn a_destination_that_is_down_is_reported() {
    let ring = Ring::new();
    let history = History::new();
    let (collector, _stdin) = beating(&ring, "65536");
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() > 0);
    let check = || run(history.command(&ring, &["--health"]));
    check().ok();
    let moved = history.path().join("moved.db");
    fs::rename(history.database(), &moved).unwrap();
    mkfifoat(CWD, history.database(), Mode::RWXU).unwrap();
    let is_queueing = |answer: &Finished| {
        let text = &answer.stdout;
        answer.status.code() == Some(1) && text.contains("aw-sqlite is queueing since 20")
    };
    let queueing = soon(check, is_queueing).stdout;
    assert!(queueing.contains("it is a pipe, not a regular file"), "{queueing}");
    let number = |text: &str| {
        let words: Vec<_> = text.split([' ', ',']).collect();
        let at = words.iter().position(|word| ["event", "events"].contains(word));
        at.map_or(0, |at| words[at - 1].parse::<u64>().unwrap_or(0))
    };
    let later = soon(check, |answer| number(&answer.stdout) > number(&queueing)).stdout;
    assert!(number(&later) > number(&queueing), "{later}");
    assert_eq!(later.lines().count(), 1, "{later}");
    // The outage continues after a restart.
    output.stop().ok();
    let since = |text: &str| text.split("since ").nth(1).map(|text| text[..19].to_owned());
    let output = history.start(&ring, &[]);
    let again = soon(check, is_queueing).stdout;
    assert_eq!(since(&again), since(&queueing), "{again}");
    fs::remove_file(history.database()).unwrap();
    fs::rename(&moved, history.database()).unwrap();
    output.stderr.wait_for("the destination is back");
    soon(check, is_healthy).ok();
    let outage = history.path().join("state/aw-sqlite.outage");
    assert!(fs::read(&outage).unwrap().trim_ascii().is_empty());
    // A backup is restored while it runs, or a user removes the file: the next outage is reported all the same.
    fs::remove_file(&outage).unwrap();
    fs::rename(history.database(), &moved).unwrap();
    mkfifoat(CWD, history.database(), Mode::RWXU).unwrap();
    soon(check, is_queueing).unhealthy_of("aw-sqlite", &["aw-sqlite is queueing since 20"]);
    fs::remove_file(&outage).unwrap();
    soon(check, is_queueing).unhealthy_of("aw-sqlite", &["aw-sqlite is queueing since 20"]);
    output.stop().ok();
    collector.kill();
}

/// The usual fault: database, spool and the file of the outage are on one disk, and that is full.
#[test]
fn a_full_disk_is_reported() {
    if !rustix::process::geteuid().is_root() {
        return skip("it needs root, to mount a small file system");
    }
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mount = Mount::new(&state, "size=24m");
    let command = |options: &[&str]| {
        let mut command = program("aw-sqlite", &["--ring", ring.name(), "--commit-interval", "1s"]);
        command.arg("--state-dir").arg(&state).args(options);
        command
    };
    let check = || run(command(&["--health"]));
    let (collector, _stdin) = beating(&ring, "65536");
    let output = Run::start(command(&[]));
    soon(check, is_healthy).ok();
    mount.fill();
    let full = soon(check, reports("aw-sqlite is queueing since 20"));
    full.unhealthy_of(
        "aw-sqlite",
        &["aw-sqlite is queueing since 20", "is full (free space on its disk)"],
    );
    mount.make_room();
    output.stderr.wait_for("the destination is back");
    soon(check, is_healthy).ok();
    output.stop().ok();
    collector.kill();
}

/// What is no regular file in the place of a state file is reported with what it is, and with one remedy; a program that
/// does not run does not count as running.
#[test]
fn other_files_in_the_place_of_state_files() {
    let ring = Ring::new();
    let (collector, _stdin) = beating(&ring, "65536");
    wait_until("the ring", || ring.path().exists());
    type Place = (&'static str, fn(&Path));
    let places: [Place; 4] = [
        ("it is a pipe, not a regular file (move it away: mv ", |path| {
            mkfifoat(CWD, path, Mode::RWXU).unwrap();
        }),
        ("it is a directory, not a regular file (move it away: mv ", |path| {
            fs::create_dir(path).unwrap();
        }),
        ("it is a socket, not a regular file (move it away: mv ", |path| {
            drop(UnixListener::bind(path).unwrap());
        }),
        ("it is a link, and links are not followed (replace it by a file)", |path| {
            symlink("/etc/hostname", path).unwrap();
        }),
    ];
    let history = History::new();
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() > 0);
    output.stop().ok();
    for (what, put) in places {
        for name in ["lock", "now", "positions", "outage"] {
            let file = history.path().join("state/aw-sqlite").with_added_extension(name);
            let _ = fs::remove_file(&file);
            put(&file);
            let once: &[&str] = if name == "lock" { &[] } else { &["--once"] };
            let answer = run(history.command(&ring, &[&["--health"], once].concat()));
            assert_eq!(answer.status.code(), Some(1), "{name}: {answer:#?}");
            assert!(answer.stdout.contains(what), "{name}: {answer:#?}");
            assert_eq!(answer.stdout.matches('(').count(), 1, "{name}: {answer:#?}");
            if name != "positions" && name != "outage" {
                let refused = run(history.command(&ring, &["--once"]));
                assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
                let remedy =
                    if what.contains("link") { "not followed (move it away: mv " } else { what };
                assert!(refused.stderr.contains(remedy), "{name}: {refused:#?}");
            }
            let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        }
    }
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
        .unhealthy(&["the collector ended at an unknown time, because the clock was set back"]);
    let (collector, _stdin) = beating(&ring, "65536");
    wait_until("a heartbeat", || health(&ring, &[]).status.success());
    let healthy = earlier(&["--max-silence", "3"]).ok();
    assert!(healthy.stdout.contains("last frame at an unknown time"), "{healthy:#?}");
    collector.signal(Signal::STOP);
    let check = || earlier(&[]);
    soon(check, reports("no heartbeat"))
        .unhealthy(&["no heartbeat from the collector", "the clock was set back"]);
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
