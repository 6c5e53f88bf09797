//! Every output as a service: it drops privileges, ends on signals and resumes at its saved position, in the
//! foreground and in the background.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, stdout_of};
use aw_tests::feed::{numbered_capture, numbered_lines, publish};
use aw_tests::rig::{Run, public_copy, run, skip, wait_until};
use aw_tests::ring::Ring;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::Command;

fn status(id: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Started by any user: no capability, no way to get one, a filter for system calls.
#[test]
fn it_gives_up_all_privileges() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let output = Run::start(stdout_of(&ring, &["--from", "oldest"]));
    output.stdout.wait_for_lines(3);
    for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(status(output.id(), set), "0000000000000000", "{set}");
    }
    assert_eq!(status(output.id(), "NoNewPrivs:"), "1");
    assert_eq!(status(output.id(), "Seccomp:"), "2");
    publish(&ring, 4..6);
    output.stdout.wait_for_lines(5);
    assert_eq!(output.stop().ok().stdout, numbered_lines(1..6));
}

/// Started by root, it becomes another user with the groups of that user, which owns its files.
#[test]
fn it_becomes_another_user() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let ring = Ring::new();
    // The ring's group is that of the user `nobody`.
    collect(&ring, &numbered_capture(1..4), &["-q", "--group", "65534"]).ok();
    let directory = public_copy(&["aw-stdout"]);
    chown(directory.path(), Some(65534), Some(65534)).unwrap();
    let mut command = Command::new(directory.path().join("aw-stdout"));
    command.args(["--ring", ring.name(), "--from", "resume", "--user", "nobody"]);
    command.arg("--state-dir").arg(directory.path().join("state"));
    command.arg("-o").arg(directory.path().join("log"));
    let output = Run::start(command);
    let log = directory.path().join("log");
    wait_until("the lines", || fs::read_to_string(&log).is_ok_and(|t| t == numbered_lines(1..4)));
    assert_eq!(status(output.id(), "Uid:"), "65534 65534 65534 65534");
    output.stop().ok();
    for path in ["log", "state", "state/aw-stdout.positions"] {
        assert_eq!(directory.path().join(path).metadata().unwrap().uid(), 65534, "{path}");
    }
}

/// `-d -p`: the started process ends with 0 when all is open; SIGHUP reopens, SIGTERM saves the position and
/// removes the pid file.
#[test]
fn in_the_background() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut command = stdout_of(&ring, &["-d", "--from", "resume"]);
    command.arg("-p").arg(at("pid")).arg("-o").arg(at("log")).arg("--state-dir").arg(at("state"));
    let started = run(command).ok();
    assert_eq!(started.stdout, "");
    let id: i32 = fs::read_to_string(at("pid")).unwrap().trim().parse().unwrap();
    let signal = |signal| kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    let is = |name: &str, text: &str| fs::read_to_string(at(name)).is_ok_and(|t| t == text);
    wait_until("the first lines", || is("log", &numbered_lines(1..4)));
    fs::rename(at("log"), at("log.1")).unwrap();
    signal(Signal::HUP);
    wait_until("another log", || at("log").exists());
    publish(&ring, 4..6);
    wait_until("the next lines", || is("log", &numbered_lines(4..6)));
    signal(Signal::TERM);
    wait_until("its end", || !at("pid").exists());
    let positions = fs::read_to_string(at("state/aw-stdout.positions")).unwrap();
    assert!(positions.contains("\"next\": 5"), "{positions}");

    // Errors before that reach the terminal.
    let mut command = stdout_of(&ring, &["-d", "-o", "/nowhere/at/all"]);
    command.arg("-p").arg(at("pid"));
    run(command).refused("aw-stdout", &["/nowhere/at/all"]);
    let nowhere = run(stdout_of(&ring, &["-d"]));
    assert_eq!(nowhere.status.code(), Some(2), "lines into the void: {nowhere:#?}");
}

/// SIGTERM while events arrive at full speed: all events that were read are delivered, and the last line counts them.
#[test]
fn the_end_delivers_what_was_read() {
    let ring = Ring::new();
    publish(&ring, 1..50_001);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let start = || {
        let mut command = stdout_of(&ring, &["--from", "resume", "-v"]);
        command.arg("--state-dir").arg(directory.path().join("state")).arg("-o").arg(&log);
        Run::start(command)
    };
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    while lines() < 50_000 {
        let output = start();
        output.stderr.wait_for("reading ring");
        let before = lines();
        wait_until("lines", || lines() > before || before == 50_000);
        let ended = output.stop().ok();
        let delivered = lines() - before;
        let summary = ended.stderr.lines().last().unwrap();
        let events: usize = summary.split_whitespace().nth(2).unwrap().parse().unwrap();
        assert!(
            events >= delivered && summary.ends_with(" 0 lost"),
            "{summary}, and {delivered} lines"
        );
    }
    assert_eq!(lines(), 50_000, "none twice");
}
