//! 200 routers in one process: within its memory, and each change within its time.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::wait_until;
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::fs;
use std::time::{Duration, Instant};

const ROUTERS: usize = 200;

#[test]
fn two_hundred() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let routers: Vec<_> = (0..ROUTERS).map(|_| Router::start(Version::V7)).collect();
    let line =
        |n| format!("/ip firewall address-list add address=192.0.2.1 list=l{n} comment=some-words");
    for router in &routers {
        router.state().lines.extend((0..2_000).map(line));
    }
    let mut watching = Watching::new(&ring).mail(sink.port);
    for (n, router) in routers.iter().enumerate() {
        // The default of `settle`, so that the time below is the one promised.
        watching =
            watching.router(&format!("r{n}"), router, Version::V7).option("interval = 100000");
    }
    watching.replace("settle = 1\n", "");
    let daemon = watching.start();
    wait_until("all are stored", || {
        daemon.stderr.text().matches("first contact: configuration stored").count() == ROUTERS
    });
    // A change on any: within 5 s in the archive and in the mailbox.
    for n in [0, 77, ROUTERS - 1] {
        let began = Instant::now();
        routers[n].add("alice", "/ip dns set servers=192.0.2.53");
        sink.wait_for(&[&format!("Subject: [addrwatch] r{n}: configuration changed by alice")]);
        let took = began.elapsed();
        assert!(watching.archive(format!("r{n}")).join("users/alice.diff").exists());
        eprintln!("a change on r{n}: archived and mailed after {} ms", took.as_millis());
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    // On all at once.
    let began = Instant::now();
    for router in &routers {
        router.add("bob", "/ip dns set servers=192.0.2.54");
    }
    wait_until("all are mailed", || {
        sink.messages().iter().filter(|message| message.contains("changed by bob")).count()
            == ROUTERS
    });
    eprintln!(
        "a change on all {ROUTERS}: archived and mailed after {} ms",
        began.elapsed().as_millis()
    );
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let kib: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    eprintln!("peak memory: {} MiB", kib / 1024);
    assert!(kib * 1024 < 100_000_000, "{peak}");
    daemon.stop().ok();
}
