//! `aw-routeros` without resources: its archive's disk, open files, `/dev/shm`. It reports that once, with
//! a remedy; a change that could not be archived is found again; a mail that could not be queued is reported.
#![forbid(unsafe_code)]

use aw_tests::clock::{Clock, clean_up};
use aw_tests::collect::held_json;
use aw_tests::mail_sink::MailSink;
use aw_tests::mount::Mount;
use aw_tests::rig::{Finished, Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::fs;
use std::process::Command;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("only root can make a small disk");
    }
    root
}

/// No line is logged twice.
#[track_caller]
fn logged_once(ended: &Finished) {
    let mut lines: Vec<_> = ended.stderr.lines().collect();
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all, "{}", ended.stderr);
}

/// The changes in the archive, by their numbers of lines added.
fn changes(watching: &Watching) -> Vec<u64> {
    let text = fs::read_to_string(watching.archive("core1").join("changes.jsonl"));
    let text = text.unwrap_or_default();
    let lines = text.lines().map(aw_tests::collect::json);
    lines.map(|change| change["added"].as_u64().unwrap()).collect()
}

#[test]
fn a_full_disk() {
    if !is_root() {
        return;
    }
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let mount = Mount::new(&watching.root(), "size=1m,mode=700");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    mount.fill();
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("no space left on device (free space on its disk)");
    // The mail server works, and the disk that the queue of mails is on does not.
    sink.wait_for(&["Subject: [addrwatch] core1: ", "no space left on device"]);
    let mut health = program("aw-routeros", &["--health", "-c"]);
    health.arg(watching.file("routeros.toml"));
    let health = aw_tests::rig::run(health);
    assert_eq!(health.status.code(), Some(1), "{health:?}");
    assert!(health.stdout.contains("no space left on device"), "{health:?}");
    mount.make_room();
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    router.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    sink.wait_for(&["changed by alice"]);
    sink.wait_for(&["changed by bob"]);
    let ended = daemon.stop().ok();
    logged_once(&ended);
    assert_eq!(changes(&watching), [1, 1]);
    assert_eq!(held_json(&ring).len(), 2);
}

/// What only the daemon finds when it writes, such as a quota, `--health` and `show` have from it.
#[test]
fn a_file_that_cannot_be_written() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let log = watching.archive("core1").join("log.txt");
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("core1: write log.txt: ");
    let ask = |words: &[&str]| {
        let mut command = program("aw-routeros", words);
        command.arg("-c").arg(watching.file("routeros.toml"));
        run(command)
    };
    let health = ask(&["--health"]);
    assert_eq!(health.status.code(), Some(1), "{health:?}");
    assert!(health.stdout.contains("core1: write log.txt: "), "{health:?}");
    let shown = ask(&["show"]).ok();
    assert!(shown.stderr.contains("core1: write log.txt: "), "{shown:?}");
    fs::remove_dir(&log).unwrap();
    router.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("core1: write log.txt: works again");
    ask(&["--health"]).ok();
    daemon.stop().ok();
}

fn may_open(run: &Run, number: u32) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &run.id().to_string()]).arg(format!("--nofile={number}:1024"));
    aw_tests::rig::run(command).ok();
}

#[test]
fn no_files_to_open() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    may_open(&daemon, 3);
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for(
        "archive: too many open files (raise its limit of open files: ulimit -n, LimitNOFILE=)",
    );
    router.cut();
    daemon.stderr.wait_for("core1: unreachable for");
    may_open(&daemon, 1024);
    daemon.stderr.wait_for("changed by");
    daemon.stderr.wait_for("the queue of mails can be written again");
    sink.wait_for(&["+1 -0"]);
    let ended = daemon.stop().ok();
    logged_once(&ended);
    assert_eq!(changes(&watching), [1]);
    assert_eq!(held_json(&ring).len(), 1);
}

/// With few descriptors from the start it works, or reports what it could not do.
#[test]
fn few_files_from_the_start() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let whole = watching.command();
    let (mut ended, mut lives) = (0, 0);
    for limit in (3..30).step_by(3) {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={limit}")).arg(binary("aw-routeros")).args(whole.get_args());
        let daemon = Run::start(command);
        let clear = [
            "first contact",
            "connected",
            "too many open files",
            "shared libraries",
            "LimitNOFILE=",
        ];
        // Another line may be the first one.
        wait_until(&format!("with {limit}, a clear line of its log"), || {
            let log = daemon.stderr.text();
            clear.iter().any(|text| log.contains(text))
        });
        daemon.signal(rustix::process::Signal::TERM);
        match daemon.finish().status.code() {
            Some(0) => lives += 1,
            _ => ended += 1,
        }
    }
    assert!(ended > 0 && lives > 0, "{ended} ended, {lives} lived");
}

/// No room for its ring: it does not start, and reports the remedy. Deleted without room for another ring, it continues.
#[test]
fn a_full_shared_memory() {
    if !is_root() {
        return;
    }
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let whole = watching.command();
    let words: Vec<_> = whole.get_args().map(|word| word.to_str().unwrap()).collect();
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=1777 none /dev/shm && exec {} {}",
        binary("aw-routeros").display(),
        words.join(" ")
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    run(command).refused("aw-routeros", &["no space left on device (free space in /dev/shm"]);
    let script = script.replace("64k", "320k");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let daemon = Run::start(command);
    daemon.stderr.wait_for("first contact");
    let inside = format!("/proc/{}/root/dev/shm", daemon.id());
    fs::remove_file(format!("{inside}{}", ring.name())).unwrap();
    let _ = fs::write(format!("{inside}/filler"), vec![1; 320 << 10]);
    daemon.stderr.wait_for("new readers cannot find ring");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    fs::remove_file(format!("{inside}/filler")).unwrap();
    wait_until("it is there again", || fs::exists(format!("{inside}{}", ring.name())).unwrap());
    let ended = daemon.stop().ok();
    logged_once(&ended);
}

/// The clock is set: each change is archived, no file is removed because of the clock, and the newest stays.
#[test]
fn a_clock_that_is_set() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let Some(clock) = Clock::new(&ring) else { return };
    let watching = Watching::new(&ring).global("keep_days = 30");
    let watching = watching.router("core1", &router, Version::V7);
    let mut command = watching.command();
    clock.give(&mut command);
    let daemon = Run::start(command);
    daemon.stderr.wait_for("first contact");
    for (number, days) in [(1, -3), (2, 400), (3, 0)] {
        clock.set(days);
        router.add("alice", &format!("/ip dns set servers=192.0.2.{number}"));
        wait_until("it is written down", || changes(&watching).len() == number);
    }
    let id = daemon.id();
    daemon.stop().ok();
    clean_up(id);
    assert_eq!(held_json(&ring).len(), 3);
    let snapshots = fs::read_dir(watching.archive("core1").join("snapshots")).unwrap();
    assert_eq!(snapshots.count(), 4);
}

/// Its files are moved away without a signal: it begins new ones, and the old ones keep their content.
#[test]
fn files_that_are_moved_away() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let file = |name: &str| watching.archive("core1").join(name);
    let files = ["log.txt", "diff.txt", "changes.jsonl", "users/alice.diff"];
    let text = |name: &str| fs::read_to_string(file(name)).unwrap_or_default();
    for (number, dns) in [(1, "192.0.2.51"), (2, "192.0.2.52")] {
        router.add("alice", &format!("/ip dns set servers={dns}"));
        daemon.stderr.wait_until("the message about the removed files", |lines| {
            (lines.iter().filter(|line| line.contains("by alice")).count() == number).then_some(())
        });
        for name in files {
            wait_until("it is written", || {
                text(name).contains("alice") || text(name).contains(dns)
            });
            fs::rename(file(name), file(&format!("{name}.{number}"))).unwrap();
        }
    }
    daemon.stop().ok();
    for name in &files[1..] {
        for (number, has, lacks) in
            [(1, "192.0.2.51", "192.0.2.52"), (2, "192.0.2.52", "192.0.2.51")]
        {
            let text = text(&format!("{name}.{number}"));
            let added = |dns| text.contains(&format!("+/ip dns set servers={dns}"));
            assert!(text.contains(has) && !added(lacks), "{name}.{number}: {text}");
        }
    }
}
