//! Channels of commands on a router: each is closed however its command ends, few are open at the same time, and what is worth
//! less than the log does not cost the connection.
#![forbid(unsafe_code)]

use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::thread::sleep;
use std::time::Duration;

/// Exports that the router refuses or that take too long, and facts that it refuses, leave no channel open.
#[test]
fn failing_commands() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring)
        .router("core1", &router, Version::V7)
        .option("interval = 100000\ntimeout = 5");
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    let export = || {
        let exports = router.exports();
        let mut command = watching.command();
        command.args(["export", "core1"]);
        let ended = run(command);
        assert!(router.exports() > exports, "{ended:?}");
        ended
    };
    wait_until("the log is all that is open", || router.open() == 1);
    router.most_open();
    router.state().faults.refused = Some("/export".into());
    for _ in 0..12 {
        export().refused("aw-routeros", &["the router does not run /export"]);
    }
    router.state().faults.refused = None;
    router.state().faults.hang = true;
    for _ in 0..3 {
        export().refused("aw-routeros", &["took longer than 5s"]);
    }
    router.state().faults.hang = false;
    router.state().faults.refused = Some(" print".into());
    for _ in 0..12 {
        export().ok();
    }
    wait_until("all are closed", || router.open() == 1);
    let missing = "core1: users, keys and other facts are not all read";
    assert_eq!(daemon.stderr.text().matches(missing).count(), 1);
    let blind =
        "core1: whether its log shows changes is not known: its logging rules cannot be read: ";
    assert_eq!(daemon.stderr.text().matches(blind).count(), 1);
    let show = || {
        let mut command = watching.command();
        command.arg("show");
        run(command).ok().stdout
    };
    let unread = "its logging rules, users, keys and other facts are not all read";
    assert!(show().contains(unread), "{}", show());
    router.state().faults.refused = None;
    export().ok();
    daemon.stderr.wait_for("core1: users, keys and other facts are all read again");
    daemon.stderr.wait_for("core1: its logging rules are read again");
    wait_until("it is shown", || !show().contains("not all read") && !show().contains("not read"));
    // The log, an export, a fact, a logging rule, and one that is being closed for each.
    assert!(router.most_open() <= 7);
    assert_eq!(router.counts(), (1, 0), "one connection");
    daemon.stop().ok();
}

/// A command that nothing waits for any more: the router does not support the filter of the log, while it prints the stored
/// log.
#[test]
fn a_command_that_is_given_up() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().faults.no_where = true;
    let filtered = "/log print follow-only where topics~\"system\"";
    router.state().held = vec![filtered.into(), "/log print".into()];
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    let prints = || {
        let state = router.state();
        state.commands.iter().filter(|command| *command == "/log print").count()
    };
    wait_until("the log is printed", || router.state().holding == 2);
    router.state().held.retain(|held| held != filtered);
    wait_until("the log is printed again", || prints() == 2);
    wait_until("the first one is closed", || router.open() == 2 && router.state().holding == 1);
    router.state().held.clear();
    daemon.stderr.wait_for("core1: first contact");
    assert_eq!(router.counts(), (1, 0));
    daemon.stop().ok();
}

/// A router that is too slow for a fact, and does not confirm that it ended the command, is followed all the same.
#[test]
fn a_fact_does_not_cost_the_log() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    wait_until("the facts are read", || router.open() == 1);
    router.state().held = vec!["/system history print detail".into()];
    router.state().faults.slow_close = Some(Duration::from_secs(30));
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    wait_until("the fact is asked for", || router.state().holding == 1);
    wait_until("it is ended", || router.state().holding == 0);
    router.state().held.clear();
    router.state().faults.slow_close = None;
    router.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    assert_eq!(router.counts(), (1, 0), "the same connection");
    assert!(!daemon.stderr.text().contains("connection lost"), "{}", daemon.stderr.text());
    daemon.stop().ok();
}

/// The log with a filter ends with an error while exports have all turns: none waits for a turn that another one has.
#[test]
fn a_filter_that_fails_late() {
    let routers: Vec<_> = (0..16).map(|_| Router::start(Version::V7)).collect();
    let ring = Ring::new();
    let mut watching = Watching::new(&ring);
    let filtered = "/log print follow-only where topics~\"system\"";
    let export = "/export terse hide-sensitive";
    for (n, router) in routers.iter().enumerate() {
        router.state().faults.no_where = true;
        router.state().held = vec![filtered.into(), export.into()];
        watching = watching.router(&format!("core{n}"), router, Version::V7);
    }
    let daemon = watching.start();
    wait_until("all export", || routers.iter().all(|router| router.state().holding == 2));
    for router in &routers {
        router.state().held.retain(|held| held != filtered);
    }
    let follows = |router: &Router| {
        let state = router.state();
        state.commands.iter().any(|command| command == "/log print follow-only")
    };
    wait_until("all are followed without it", || routers.iter().all(follows));
    routers.iter().for_each(|router| router.state().held.clear());
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    daemon.stop().ok();
}

/// A router that confirms none of four closes is connected to again, once nothing runs in its connection.
#[test]
fn closes_that_are_not_confirmed() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring)
        .router("core1", &router, Version::V7)
        .option("interval = 100000\nkeepalive = 1000");
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    wait_until("the facts are read", || router.open() == 1);
    router.state().held =
        vec!["/system history print detail".into(), "/system logging print detail".into()];
    router.add("alice", "/ip dns set servers=192.0.2.53");
    wait_until("history and logging rules are asked for", || router.state().holding == 2);
    // An export without a line asks for the history, too. Facts are read again after it, which is the fourth question.
    let mut command = watching.command();
    command.args(["export", "core1"]);
    let export = Run::start(command);
    wait_until("three questions run", || {
        let mut state = router.state();
        let is_so = state.holding == 3;
        if is_so {
            state.faults.slow_close = Some(Duration::from_secs(100_000));
        }
        is_so
    });
    daemon.stderr.wait_for("core1: users, keys and other facts are not all read");
    wait_until("the connection is given up", || router.counts().0 == 2);
    {
        let mut state = router.state();
        state.held.clear();
        state.faults.slow_close = None;
    }
    export.finish();
    daemon.stderr.wait_for("core1: its logging rules are read again");
    router.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    let text =
        "connection lost: the router does not confirm that it closes the channels of commands";
    assert!(daemon.stderr.text().contains(text), "{}", daemon.stderr.text());
    daemon.stop().ok();
}

/// Checks of the logging rule take turns, as facts do.
#[test]
fn turns() {
    let routers: Vec<_> = (0..12).map(|_| Router::start(Version::V7)).collect();
    let ring = Ring::new();
    let mut watching = Watching::new(&ring);
    for (n, router) in routers.iter().enumerate() {
        router.state().held = vec!["/system logging print detail".into()];
        watching = watching.router(&format!("core{n}"), router, Version::V7);
    }
    let daemon = watching.start();
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    let asked = || routers.iter().map(|router| router.state().holding).sum::<usize>();
    wait_until("some are asked", || asked() == 8);
    sleep(Duration::from_secs(1));
    assert!(asked() <= 8, "{}", asked());
    for router in &routers {
        router.state().held.clear();
    }
    let is_judged = |router: &Router| {
        let state = router.state();
        state.commands.iter().any(|command| command.starts_with("/system logging action print"))
    };
    wait_until("all are asked", || routers.iter().all(is_judged));
    daemon.stop().ok();
}
