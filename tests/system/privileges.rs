//! Privileges of the collector once it listens, as the kernel shows them: /proc/PID/status of the running process. Needs
//! root and network namespaces.
#![forbid(unsafe_code)]

use aw_tests::collect::stdout_of;
use aw_tests::feed::{numbered_capture, reading_collector};
use aw_tests::lan::Lan;
use aw_tests::listening::quiet;
use aw_tests::rig::{Run, public_copy, run, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

/// The user `nobody` of Debian, and a group without members.
const NOBODY: &str = "65534";
const GROUP: &str = "60123";

/// CAP_NET_RAW, number 13 of linux/capability.h.
const NET_RAW: &str = "0000000000002000";
const NONE: &str = "0000000000000000";

/// The kernel's status of each thread.
fn threads(id: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let status = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let fields = |text: String| -> BTreeMap<String, String> {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.to_owned(), words(value))).collect()
    };
    status.map(fields).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_confined(id: u32, user: &str, group: &str, capabilities: &str) {
    let threads = threads(id);
    assert!(!threads.is_empty());
    for status in threads {
        for (field, expected) in [
            ("Uid", [user; 4].join(" ")),
            ("Gid", [group; 4].join(" ")),
            ("Groups", String::new()),
            ("CapInh", NONE.into()),
            ("CapPrm", capabilities.into()),
            ("CapEff", capabilities.into()),
            ("CapBnd", NONE.into()),
            ("CapAmb", NONE.into()),
            ("NoNewPrivs", "1".into()),
            ("Seccomp", "2".into()),
        ] {
            assert_eq!(status[field], expected, "{field} of {status:#?}");
        }
    }
}

fn send(lan: &Lan, from: &str, last: u8) {
    let host = if from == "veth1" { &lan.there } else { &lan.here };
    host.scapy(
        from,
        &format!(
            "sendp(Ether(src='02:00:00:00:00:07', dst='ff:ff:ff:ff:ff:ff') / \
             ARP(op=2, hwsrc='02:00:00:00:00:07', psrc='192.0.2.{last}'), iface='{from}')"
        ),
    );
}

#[track_caller]
fn wait_for(ring: &Ring, last: u8) {
    let line = format!(" veth0 0 02:00:00:00:00:07 192.0.2.{last} ARP_REP");
    let read = || run(stdout_of(ring, &["--once", "--owner", NOBODY])).ok().stdout;
    wait_until(&line, || read().contains(&line));
}

/// Started by root as another user: only the capability to open an interface again is left, which is enough to do
/// so, and to re-create a deleted ring.
#[test]
fn root_becomes_another_user() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = quiet(&lan.here, &ring, &[], &["-u", NOBODY, "--group", GROUP]);
    assert_confined(collector.id(), NOBODY, GROUP, NET_RAW);
    let file = ring.path().metadata().unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (65534, 60123, 0o640));
    send(&lan, "veth1", 1);
    wait_for(&ring, 1);

    lan.here.ip("link del veth0");
    collector.stderr.wait_for("stopped listening on veth0");
    lan.here.ip("link add veth0 type veth peer name veth9");
    lan.here.ip("link set veth9 up");
    lan.here.ip("link set veth0 up");
    collector.stderr.wait_for("listening on veth0 again");
    send(&lan, "veth9", 2);
    wait_for(&ring, 2);

    fs::remove_file(ring.path()).unwrap();
    collector.stderr.wait_for("re-created it");
    let file = ring.path().metadata().unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (65534, 60123, 0o640));
    assert_confined(collector.id(), NOBODY, GROUP, NET_RAW);
    assert_eq!(collector.stop().status.code(), Some(0));
}

/// One that waits for another, for months perhaps, has no more rights than the one that captures.
#[test]
fn a_collector_that_waits_is_confined() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("collectors");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let start = || {
        let mut command = lan.here.command(aw_tests::rig::binary("collector"));
        command.args(["-q", "-u", NOBODY, "--group", GROUP, "--ring", ring.name(), "--join"]);
        command.arg(&path).args(["--macupd", "127.0.0.1:0", "veth0"]);
        Run::start(command)
    };
    let first = start();
    first.stderr.wait_for("listening on veth0");
    let second = start();
    second.stderr.wait_for(&format!("process {} captures on veth0", first.id()));
    assert_confined(first.id(), NOBODY, GROUP, NET_RAW);
    assert_confined(second.id(), NOBODY, GROUP, NET_RAW);
    first.kill();
    second.stderr.wait_for("listening on veth0, ");
    assert_confined(second.id(), NOBODY, GROUP, NET_RAW);
    assert_eq!(second.stop().status.code(), Some(0));
}

/// The group of the user by default; with lines printed by a second thread.
#[test]
fn every_thread_is_confined() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let mut command = lan.here.command(aw_tests::rig::binary("collector"));
    command.args(["--ring", ring.name(), "-u", NOBODY, "--group", NOBODY, "veth0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0");
    assert_eq!(threads(collector.id()).len(), 3, "one listens, one prints, one logs");
    assert_confined(collector.id(), NOBODY, NOBODY, NET_RAW);
    send(&lan, "veth1", 3);
    collector.stdout.wait_for("192.0.2.3 ARP_REP");
    assert_eq!(collector.stop().status.code(), Some(0));
}

#[test]
fn root_that_stays_root_has_no_more_rights_than_others() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = quiet(&lan.here, &ring, &[], &["-u", "root", "--group", GROUP]);
    assert_confined(collector.id(), "0", GROUP, NET_RAW);
    assert_eq!(collector.stop().status.code(), Some(0));
    assert_eq!(ring.path().metadata().unwrap().gid().to_string(), GROUP);
}

/// Another user that has only CAP_NET_RAW.
#[test]
fn one_capability_is_enough() {
    let Some(lan) = Lan::new() else { return };
    let directory = public_copy(&["collector"]);
    let path = directory.path().join("collector");
    let ring = Ring::new();
    let by = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let capability = ["--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw"];
    let mut command = lan.here.command(by[0]);
    command.args(&by[1..]).args(capability).args(["--bounding-set", "-all,+net_raw"]);
    command.arg(path).args(["-q", "--ring", ring.name(), "veth0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0");
    let status = &threads(collector.id())[0];
    assert_eq!((&*status["CapEff"], &*status["CapPrm"]), (NET_RAW, NET_RAW));
    assert_eq!((&*status["CapInh"], &*status["CapAmb"]), (NONE, NONE));
    assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"]), ("1", "2"));
    send(&lan, "veth1", 4);
    wait_for(&ring, 4);
    assert_eq!(collector.stop().status.code(), Some(0));
}

/// A replay has no capability, with any owner of the file.
#[test]
fn a_replay_keeps_no_capability() {
    if !rustix::process::geteuid().is_root() {
        return aw_tests::rig::skip("only root has something to give up");
    }
    let ring = Ring::new();
    let mut replay = Run::start(reading_collector(&ring, &["-q", "-u", NOBODY, "--group", GROUP]));
    let mut input = replay.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &numbered_capture(1..4)).unwrap();
    let owner = ["--once", "--owner", NOBODY];
    wait_until("it reads", || {
        ring.path().exists() && run(stdout_of(&ring, &owner)).stdout.lines().count() == 3
    });
    assert_confined(replay.id(), NOBODY, GROUP, NONE);
    drop(input);
    replay.finish().ok();
}

/// Privileges are gone before the first byte of a capture file is there: nothing of it is read, decompressed or parsed as root.
#[test]
fn a_replay_is_confined_before_it_reads() {
    if !rustix::process::geteuid().is_root() {
        return aw_tests::rig::skip("only root has something to give up");
    }
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("capture.pcap");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let ring = Ring::new();
    let options = ["--ring", ring.name(), "-q", "-u", NOBODY, "--group", GROUP, "--read"];
    let mut command = aw_tests::rig::program("collector", &options);
    command.arg(&pipe);
    let replay = Run::start(command);
    // Opening it lets the collector's open return; nothing is written yet.
    let mut input = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    replay.wait_until("it is confined", || {
        threads(replay.id()).iter().all(|status| status["Seccomp"] == "2")
    });
    assert_confined(replay.id(), NOBODY, GROUP, NONE);
    assert!(!ring.path().exists(), "it waits for the header of the file");
    std::io::Write::write_all(&mut input, &numbered_capture(1..4)).unwrap();
    drop(input);
    replay.finish().ok();
    assert_eq!(
        run(stdout_of(&ring, &["--once", "--owner", NOBODY])).ok().stdout.lines().count(),
        3
    );
}

/// The process that talks to servers: no capability and no way to get one, and with channels that start no program neither
/// files nor programs.
#[test]
fn the_sender_process_of_aw_alert() {
    if !rustix::process::geteuid().is_root() {
        return aw_tests::rig::skip("only root has something to give up");
    }
    let state = "#!/bin/sh\ngrep -E '^(NoNewPrivs|CapEff|CapBnd)' /proc/self/status > ";
    for starts_programs in [false, true] {
        let alert = aw_tests::alerting::Alert::new();
        let out = alert.path("status");
        let program = alert.path("program");
        fs::write(&program, format!("{state}{}\n", out.display())).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut config = "[[channel]]\nname = \"log\"\nsyslog = true\n".to_owned();
        if starts_programs {
            config += &format!("[[channel]]\nname = \"run\"\ncommand = [{program:?}]\n");
        } else {
            config += &aw_tests::alerting::webhook("web", "url = \"http://127.0.0.1:9/\"");
        }
        alert.config(&config);
        let run = alert.start();
        let sender = run.child_process();
        run.wait_until("the sender process is confined", || {
            threads(sender).iter().all(|status| status["NoNewPrivs"] == "1")
        });
        run.wait_until("and filtered", || {
            starts_programs || threads(sender).iter().all(|status| status["Seccomp"] == "2")
        });
        for status in threads(sender) {
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status[set], NONE, "{set} of {status:#?}");
            }
        }
        if starts_programs {
            alert.publish(1..2);
            run.wait_until("the program ran", || {
                fs::read_to_string(&out).is_ok_and(|text| text.lines().count() == 3)
            });
            let status = fs::read_to_string(&out).unwrap();
            assert!(status.contains("NoNewPrivs:\t1") && !status.contains("3fff"), "{status}");
        }
        assert_eq!(run.stop().status.code(), Some(0));
    }
}

/// A user without permission to change the user gets an error, except for its own name.
#[test]
fn another_user_is_refused_to_those_who_may_not() {
    if !rustix::process::geteuid().is_root() {
        return aw_tests::rig::skip("only root can become another user");
    }
    let directory = public_copy(&["collector"]);
    let ring = Ring::new();
    let start = |user: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
        command.arg(directory.path().join("collector"));
        command.args(["--ring", ring.name(), "-q", "--read", "-", "-u", user]);
        aw_tests::rig::run_with(command, &numbered_capture(1..4))
    };
    start("60001").refused("collector", &["60001", "permission denied", "start as root"]);
    start("no-such-user-here").refused("collector", &["no-such-user-here", "no such user"]);
    start(NOBODY).ok();
    assert_eq!(
        run(stdout_of(&ring, &["--once", "--owner", NOBODY])).ok().stdout.lines().count(),
        3
    );
    run(stdout_of(&ring, &["--once"]))
        .refused("aw-stdout", &["belongs to user id 65534", "--owner"]);
}

/// A group by its name, which needs files that are closed later.
#[test]
fn a_group_by_name() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let collector = quiet(&lan.here, &ring, &[], &["-u", "nobody", "--group", "daemon"]);
    assert_confined(collector.id(), NOBODY, "1", NET_RAW);
    assert_eq!(ring.path().metadata().unwrap().gid(), 1);
    assert_eq!(collector.stop().status.code(), Some(0));
}

/// Reports of routers need no capability; root in a container may lack the one to empty the bounding set.
#[test]
fn only_useful_capabilities_are_kept() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link set lo up");
    let ring = Ring::new();
    let mut command = lan.here.command(aw_tests::rig::binary("collector"));
    command.args(["-q", "--ring", ring.name(), "-u", NOBODY, "--group", NOBODY]);
    command.args(["--macupd", "127.0.0.1:0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("(MACupd)");
    assert_confined(collector.id(), NOBODY, NOBODY, NONE);
    assert_eq!(collector.stop().status.code(), Some(0));

    let ring = Ring::new();
    let by = ["setpriv", "--bounding-set", "-setpcap", "--inh-caps", "-setpcap"];
    let collector = quiet(&lan.here, &ring, &by, &["-u", NOBODY, "--group", NOBODY]);
    let status = &threads(collector.id())[0];
    assert_eq!((&*status["CapEff"], &*status["NoNewPrivs"]), (NET_RAW, "1"));
    assert_ne!(status["CapBnd"], NONE);
    assert_eq!(collector.stop().status.code(), Some(0));
}

/// Landlock, from outside: the directory of the file of refused frames is open to the collector, and another directory
/// in its place is not, although its user may write there.
#[test]
fn files_elsewhere_cannot_be_opened() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("frames");
    let snap = directory.join("bad.pcap");
    fs::create_dir(&directory).unwrap();
    let options = ["-u", "root", "--snap-malformed", snap.to_str().unwrap()];
    let collector = quiet(&lan.here, &ring, &[], &options);
    fs::remove_file(&snap).unwrap();
    collector.signal(Signal::HUP);
    wait_until("the file is made again", || snap.exists());
    fs::rename(&directory, parent.path().join("old")).unwrap();
    fs::create_dir(&directory).unwrap();
    collector.signal(Signal::HUP);
    collector.stderr.wait_for("bad.pcap: permission denied");
    assert!(!snap.exists());
    assert_eq!(collector.stop().status.code(), Some(0));
}
