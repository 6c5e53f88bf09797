//! Second processes of a program: systemd sends the signal that stops a unit to all of its processes at once, in any order.
#![forbid(unsafe_code)]

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use aw_tests::{
    alerting::Alert,
    rig::{Run, wait_until},
    ring::Ring,
    routeros::{Router, Version},
    watching::Watching,
};
use rustix::process::{Pid, Signal, kill_process};

const SIGNALS: [Signal; 3] = [Signal::HUP, Signal::INT, Signal::TERM];

fn signal(id: u32, signal: Signal) {
    let id = Pid::from_raw(id as i32).expect("a process id");
    kill_process(id, signal).expect("our own child can be signalled");
}

fn runs(id: u32) -> bool {
    // Its state is `Z` until its new parent has waited for it.
    let stat = fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn assert_stops(run: Run, helper: u32) {
    signal(helper, Signal::TERM);
    let ended = run.stop().ok();
    let is_fault =
        ["unexpectedly", "no hook is started"].iter().any(|it| ended.stderr.contains(it));
    assert!(!is_fault, "{ended:#?}");
    wait_until("the helper has ended", || !runs(helper));
}

#[test]
fn aw_alert_needs_its_sender_process_until_its_end() {
    let alert = Alert::new();
    alert.config(&alert.appending_channel());
    let run = alert.start();
    let sender = run.child_process();
    alert.publish(1..2);
    run.wait_until("it has begun", || alert.alerts().len() == 1);
    SIGNALS.into_iter().for_each(|one| signal(sender, one));
    alert.publish(2..3);
    run.wait_until("both alerts are sent", || alert.alerts().len() == 2);
    assert_stops(run, sender);
}

/// After the end of aw-alert, the signal ends what a slow server delays.
#[test]
fn the_sender_process_ends_without_aw_alert() {
    let (alert, silent) = (Alert::new(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = silent.local_addr().expect("it is bound").port();
    alert.config(&format!(
        "[[channel]]\nname = \"slow\"\ntime_limit = 60\nwebhook = {{ url = \"http://127.0.0.1:{port}/\" }}\n"
    ));
    let run = alert.start();
    let sender = run.child_process();
    alert.publish(1..2);
    silent.set_nonblocking(true).expect("our own socket");
    let mut connection = None;
    run.wait_until("the sender process connects", || {
        connection = silent.accept().ok();
        connection.is_some()
    });
    run.signal(Signal::TERM);
    wait_until("aw-alert has ended", || !runs(run.id()));
    assert!(runs(sender), "it waits for the server");
    signal(sender, Signal::TERM);
    wait_until("the sender process has ended", || !runs(sender));
    let ended = run.finish().ok(); // both have closed standard error
    assert!(ended.stderr.contains("1 messages stay in the queue"), "{ended:#?}");
    drop(connection);
}

#[test]
fn aw_routeros_needs_its_hook_process_until_its_end() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let (hook, out) = (watching.file("hook"), watching.file("out"));
    write_hook(&hook, &out);
    let watching = watching.global(&format!("hooks = [{hook:?}]"));
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    let helper = daemon.child_process();
    SIGNALS.into_iter().for_each(|one| signal(helper, one));
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.wait_until("the hook ran", || out.exists());
    assert_stops(daemon, helper);
}

fn write_hook(hook: &Path, out: &Path) {
    fs::write(hook, format!("#!/bin/sh\necho x >> {}\n", out.display())).expect("ours");
    fs::set_permissions(hook, fs::Permissions::from_mode(0o700)).expect("ours");
}
