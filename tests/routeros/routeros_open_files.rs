//! Each router needs a descriptor: the soft limit of open files is raised to the hard limit, but not for the programs of
//! hooks, and a warning reports how many routers fit.
#![forbid(unsafe_code)]

use aw_tests::rig::{Run, binary, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::fs;
use std::process::Command;

const ROUTERS: usize = 50;

/// The daemon, started with these limits of open files: `SOFT:HARD`.
fn start(watching: &Watching, limits: &str) -> Run {
    let whole = watching.command();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={limits}")).arg(binary("aw-routeros")).args(whole.get_args());
    Run::start(command)
}

/// The soft and the hard limit of a process.
fn limits(run: &Run) -> Vec<u64> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", run.id())).expect("it runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.expect("its limit").split_whitespace().take(2).map(|word| word.parse().unwrap()).collect()
}

#[test]
fn the_soft_limit_is_raised() {
    let ring = Ring::new();
    let routers: Vec<_> = (0..ROUTERS).map(|_| Router::start(Version::V7)).collect();
    let mut watching = Watching::new(&ring);
    for (n, router) in routers.iter().enumerate() {
        watching = watching.router(&format!("core{n}"), router, Version::V7);
    }
    let seen = watching.file("seen");
    let hook = format!("ulimit -Sn > {0}.new; mv {0}.new {0}", seen.display());
    let watching = watching.global(&format!("hooks = [[\"/bin/sh\", \"-c\", {hook:?}]]"));
    // Fewer than there are routers.
    let daemon = start(&watching, "40:1000");
    wait_until("all are stored", || {
        daemon.stderr.text().matches("first contact: configuration stored").count() == ROUTERS
    });
    assert_eq!(limits(&daemon), [1000, 1000]);
    routers[0].add("alice", "/ip dns set servers=192.0.2.54");
    wait_until("the hook has written its limit", || seen.exists());
    assert_eq!(fs::read_to_string(&seen).unwrap(), "40\n");
    let log = daemon.stop().ok().stderr;
    assert!(!log.contains("open files"), "{log}");
}

/// It follows as many as fit, and reports how many these are and what to raise: at the start, and after a reload.
#[test]
fn a_hard_limit_that_is_too_low() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let warning = |connections: usize| {
        format!(
            "{connections} connections to routers need about {} open files, and 66 are allowed: about 2 of them fit",
            connections + 64
        )
    };
    let watching = Watching::new(&ring).router("core0", &router, Version::V7);
    let enough = start(&watching, "40:66");
    enough.stderr.wait_for("first contact");
    assert!(!enough.stop().ok().stderr.contains("open files"));
    let watching = (1..3)
        .fold(watching, |watching, n| watching.router(&format!("core{n}"), &router, Version::V7));
    let daemon = start(&watching, "40:66");
    let line = daemon.stderr.wait_for(&warning(3));
    assert!(line.contains("LimitNOFILE=128 in the unit, or ulimit -Hn 128"), "{line}");
    daemon.stderr.wait_for("core0: connected");
    let watching = watching.router("core3", &router, Version::V7);
    watching.command(); // writes the configuration
    daemon.signal(rustix::process::Signal::HUP);
    daemon.stderr.wait_for(&warning(4));
    daemon.stop().ok();
}
