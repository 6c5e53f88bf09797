//! What devices call themselves, and leases, in answers about the history; and how they are forgotten.
#![forbid(unsafe_code)]

use aw_tests::dhcp::{self, SERVER};
use aw_tests::frames::{Arp, station};
use aw_tests::history::{History, without_silence};
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{Finished, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{BEGIN, capture_names};
use std::{fs, net::Ipv4Addr, os::unix::fs::symlink, path::Path};

const NAMED: &str = "02:00:00:00:00:01";
const LEASED: &str = "02:00:00:00:00:09";

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 2, last)
}

fn arp(number: u8) -> Vec<u8> {
    Arp::request(station(number.into()), ip(number), SERVER).frame()
}

fn named(number: u8, name: &str) -> Vec<u8> {
    dhcp::request(station(number.into()), ip(number), name, "udhcp 1.35")
}

fn ack(number: u8) -> Vec<u8> {
    dhcp::ack(station(number.into()), ip(number), 3_600)
}

fn capture(ring: &Ring, frames: impl IntoIterator<Item = (u32, Vec<u8>)>) {
    capture_names(ring, frames.into_iter().map(|(second, frame)| (BEGIN + second, frame)));
}

/// A lease that is left out leaves no mark on the sightings of its device, which look forged otherwise; and where there is nothing else, the
/// answer says what it is.
#[test]
fn a_lease_leaves_no_mark() {
    let (ring, history) = (Ring::new(), History::new());
    let [own, server, lease] = [arp(1), arp(254), ack(1)];
    capture(&ring, [(0, own.clone()), (1, server), (2, own.clone())]);
    run(history.command(&ring, &["--once"])).ok();
    const OWN: [&[&str]; 5] = [
        &["ip", "10.1.2.1"],
        &["mac", NAMED],
        &["changes"],
        &["devices"],
        &["who", "10.1.2.1", "--at", "2026-11-20 14:00:03"],
    ];
    let answers = || OWN.map(|question| history.answers(question, &["mac", "frame_sources"]));
    let before = answers();
    assert!(before.iter().all(|rows| !rows.is_empty()), "{before:?}");
    capture(&ring, [(3, lease), (4, ack(9))]);
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(answers(), before);
    let all = history.answers(&["ip", "10.1.2.1", "--all"], &["left_out", "frame_sources"]);
    assert_eq!(all, ["null []", "lease or registration [\"02:00:00:00:00:fe\"]"]);
    let mariadb = MariaDb::start(&[]);
    let config = mariadb.as_ref().map(|mariadb| {
        run(mariadb.command(&ring, &["--once"])).ok();
        mariadb.config("")
    });
    let of_server = |config: &Path, question: &[&str]| {
        let mut query = program("aw-query", &["--vendors", "/nonexistent", "--names", "/dev/null"]);
        query.arg("-c").arg(config).args(question).env("TZ", "UTC");
        run(query)
    };
    for question in OWN.into_iter().filter(|_| config.is_some()) {
        let of_server = of_server(config.as_ref().unwrap(), question).ok();
        let ours = run(history.query(question)).ok();
        let [own_rows, rows] = without_silence(&ours.stdout, &of_server.stdout);
        assert_eq!((rows, of_server.stderr), (own_rows, ours.stderr), "{question:?}");
    }
    let at = format!("@{}", BEGIN + 604);
    let ends = "; its lease ends 50 min 0 s after";
    let given = format!("a DHCP server gave it to {LEASED} 10 min 0 s before");
    for (question, says) in [
        (&["mac", "02:00:00:00:00:fe"][..], ""),
        (&["ip", "10.1.2.9"], "no claims of 10.1.2.9, only 1 lease or registration in the whole"),
        (&["mac", LEASED], "(it probed 0, and has a lease or registration of 1) in the whole"),
        (&["who", "10.1.2.9", "--at", &at], &given),
    ] {
        let ours = run(history.query(question));
        let theirs = config.as_ref().map(|config| of_server(config, question));
        for Finished { stderr, .. } in theirs.iter().chain([&ours]) {
            assert_eq!(stderr.is_empty(), says.is_empty(), "{question:?}: {stderr}");
            assert!(stderr.contains(says), "{question:?}: {stderr}");
        }
        let is_who = question[0] == "who";
        assert_eq!(ours.stderr.contains(ends), is_who, "{question:?}: {}", ours.stderr);
    }
}

/// A name that no device was given is that of the device which calls itself so, for a question; not if several do, and not for the file of
/// names.
#[test]
fn a_claimed_name_in_a_question() {
    let (ring, history) = (Ring::new(), History::new());
    let frames = [arp(1), named(1, "annas-laptop"), named(2, "tv"), named(3, "TV"), named(4, "x")];
    capture(&ring, (0..).zip(frames));
    run(history.command(&ring, &["--once"])).ok();
    for name in ["annas-laptop", "Annas-Laptop"] {
        let asked = run(history.query(&["mac", name])).ok();
        assert!(asked.stdout.contains("10.1.2.1 "), "{asked:#?}");
        let says = format!(
            "no device has the name \"{name}\" in /dev/null; {NAMED} calls itself so, which proves nothing"
        );
        assert!(asked.stderr.contains(&says), "{asked:#?}");
    }
    let refused = |question: &[&str]| {
        let asked = run(history.query(question));
        assert_eq!((asked.status.code(), &*asked.stdout), (Some(2), ""), "{asked:#?}");
        asked.stderr
    };
    let several = "these call themselves so: 02:00:00:00:00:02, 02:00:00:00:00:03 (write one";
    assert!(refused(&["mac", "Tv"]).contains(several));
    let same = run(history.query(&["mac", "TV"]));
    assert!(same.stderr.contains("02:00:00:00:00:03 calls itself so"), "{same:#?}");
    assert!(refused(&["name", "annas-laptop", "Anna"]).contains("(write the MAC)"));
    assert!(refused(&["mac", "nobody"]).contains("(aw-query name lists all names;"));
}

/// Names and leases are deleted while aw-sqlite has the database open, and leave no bytes in its files; the next message of the device
/// stores its name again.
#[test]
fn names_are_forgotten() {
    let (ring, history) = (Ring::new(), History::new());
    let names = || {
        let all = "SELECT coalesce(group_concat(name), '') FROM (SELECT name FROM claimed_name WHERE source = 1 ORDER BY name)";
        history.value::<String>(all)
    };
    let leases = || history.value::<i64>("SELECT count(*) FROM address_lease");
    let frames = [arp(1), named(1, "annas-laptop"), ack(1), named(2, "bobs-phone"), ack(2)];
    capture(&ring, (0..).zip(frames));
    let service = history.start(&ring, &[]);
    wait_until("both names", || names().as_deref() == Some("annas-laptop,bobs-phone"));
    wait_until("both leases", || leases() == Some(2));
    let forget_in = |database: &Path, macs: &[&str]| {
        let mut forget = program("aw-sqlite", &["--database"]);
        forget.arg(database).arg("forget-names").args(macs);
        run(forget)
    };
    let forget = |macs: &[&str]| forget_in(history.database(), macs);
    let has_bytes = |name: &str| {
        let log = format!("{}-wal", history.database().display());
        let files = [history.database().to_owned(), log.into()];
        let has = |bytes: Vec<u8>| bytes.windows(name.len()).any(|part| part == name.as_bytes());
        files.iter().any(|file| fs::read(file).is_ok_and(has))
    };
    assert!(has_bytes("annas-laptop"));
    let done = forget(&[NAMED]).ok().stderr;
    assert!(done.contains("2 names and 1 lease deleted from "), "{done}");
    assert!(done.contains("names may also be in the ring of names"), "{done}");
    assert_eq!((names().as_deref(), leases()), (Some("bobs-phone"), Some(1)));
    assert_eq!(["annas-laptop", "bobs-phone"].map(has_bytes), [false, true]);
    let sightings = || history.value::<i64>("SELECT count(*) FROM addrwatch");
    let stored = sightings();
    // The service has the name in memory.
    capture(&ring, [(600, named(1, "annas-laptop"))]);
    wait_until("the name again", || names().as_deref() == Some("annas-laptop,bobs-phone"));
    let first = "SELECT min(first) / 1000000000 FROM claimed_name WHERE mac = 0x020000000001";
    assert_eq!(history.value::<i64>(first), Some(i64::from(BEGIN) + 600));
    // As root finds the service's: by a link in another directory.
    let link = history.path().join("link.db");
    symlink(history.database(), &link).unwrap();
    let done = forget_in(&link, &["--all"]).ok().stderr;
    assert!(!history.path().join("link.db-shm").exists());
    assert!(done.contains("4 names and 1 lease deleted from "), "{done}");
    assert_eq!((names().as_deref(), leases()), (Some(""), Some(0)));
    assert_eq!(["annas-laptop", "bobs-phone"].map(has_bytes), [false; 2]);
    assert_eq!(sightings(), stored);
    drop(service);
    for wrong in [&[][..], &["printer"], &[NAMED, "--all"]] {
        assert_eq!(forget(wrong).status.code(), Some(2), "{wrong:?}");
    }
    fs::remove_file(history.database()).unwrap();
    let nothing = forget(&["--all"]);
    assert!(nothing.stderr.contains("there is no such file (choose"), "{nothing:#?}");
    assert_eq!((nothing.status.code(), history.database().exists()), (Some(1), false));
}
