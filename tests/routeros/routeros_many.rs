//! 200 routers in one process: each change is found, and memory is bounded. `make bench` measures the time.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::wait_until;
use aw_tests::ring::Ring;
use aw_tests::watching::{many, peak_memory};
use std::fs;

const ROUTERS: usize = 200;

#[test]
fn two_hundred() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let (routers, watching) = many(ROUTERS, &ring, sink.port);
    let daemon = watching.start();
    wait_until("all are stored", || {
        daemon.stderr.text().matches("first contact: configuration stored").count() == ROUTERS
    });
    for (n, router) in routers.iter().enumerate() {
        router.add(&format!("user{n}"), "/ip dns set servers=192.0.2.54");
    }
    wait_until("all are mailed", || sink.count() >= ROUTERS);
    let mails = sink.messages();
    assert_eq!(mails.len(), ROUTERS);
    for n in 0..ROUTERS {
        let subject =
            format!("Subject: [addrwatch] core{n}: configuration changed by user{n} (+1 -0)\n");
        assert_eq!(mails.iter().filter(|mail| mail.contains(&subject)).count(), 1, "{subject}");
        let archive = watching.archive(format!("core{n}"));
        let diff = fs::read_to_string(archive.join(format!("users/user{n}.diff"))).unwrap();
        assert!(diff.contains("\n+/ip dns set servers=192.0.2.54\n"), "{diff}");
        assert_eq!(fs::read_dir(archive.join("users")).unwrap().count(), 1, "core{n}");
    }
    assert!(routers.iter().all(|router| router.counts() == (1, 0)), "one login each");
    let peak = peak_memory(&daemon);
    assert!(peak < 100_000_000, "{peak}");
    daemon.stop().ok();
}
