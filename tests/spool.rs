//! An output whose destination is down: it goes on reading, keeps events on disk in order, and delivers them when the
//! destination is back; what there was no room for is counted and said.
#![forbid(unsafe_code)]

use aw_tests::collect::collect;
use aw_tests::feed::{Follower, numbered_capture, numbered_lines, publish, reading_collector};
use aw_tests::rig::{run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::rows::Rows;
use std::fs;

/// The ring goes round many times meanwhile, and nothing is lost.
#[test]
fn a_destination_that_is_down_costs_nothing() {
    let ring = Ring::new();
    let rows = Rows::new();
    let small = |numbers| {
        let capture = numbered_capture(numbers);
        run_with(reading_collector(&ring, &["-q", "-L", "8192", "--max-rate", "20000"]), &capture);
    };
    small(1..101);
    let output = rows.start(&ring, &[]);
    wait_until("the first rows", || rows.sequences(&ring).len() == 100);
    let lock = rows.lock();
    small(101..20_001);
    let said = output.stderr.wait_for("keeping events in");
    assert!(said.contains("write ") && said.contains("locked"), "{said}");
    assert_eq!(rows.sequences(&ring).len(), 100, "it is down");
    drop(lock);
    output.stderr.wait_for("the destination is back");
    small(20_001..20_011);
    wait_until("the last rows", || rows.account(&ring).is_some_and(|a| a.next() == 20_010));
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(": 20010 events, 0 lost\n"), "{}", ended.stderr);
    let changes = ended.stderr.lines().filter(|line| line.contains("destination")).count();
    assert_eq!(changes, 1, "one line for each change of state: {}", ended.stderr);
    rows.assert_exactly_once(&ring, 20_010);
    assert_eq!(rows.sequences(&ring), (0..20_010).collect::<Vec<u64>>());
}

/// Killed again and again while it keeps events, and while it delivers them.
#[test]
fn kills_do_not_harm_the_spool() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..11);
    run(rows.command(&ring, &["--once"])).ok();
    let mut lock = Some(rows.lock());
    let mut published = 10;
    for round in 0..8_u64 {
        let output = rows.start(&ring, &[]);
        for _ in 0..4 {
            publish(&ring, published + 1..published + 1501);
            published += 1500;
            std::thread::sleep(std::time::Duration::from_millis(60 + 30 * round));
        }
        if round == 4 {
            lock = None;
        }
        output.kill();
    }
    assert!(lock.is_none());
    let output = rows.start(&ring, &["-v"]);
    output.stderr.wait_for("reading ring"); // before that, a signal would simply end it
    let all = u64::from(published);
    wait_until("all rows", || rows.account(&ring).is_some_and(|account| account.next() == all));
    output.stop().ok();
    rows.assert_exactly_once(&ring, all);
    assert_eq!(rows.account(&ring).unwrap().lost, 0);
}

/// The spool has a bound. What the ring overwrites while it is full is lost, and both numbers say how much.
#[test]
fn what_a_full_spool_cannot_hold_is_counted() {
    let ring = Ring::new();
    let rows = Rows::new();
    let last = 60_000;
    publish(&ring, 1..11);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    let output = rows.start(&ring, &["--spool-size", "1M", "-v"]);
    let options = ["-q", "-L", "1024", "--max-rate", "15000"];
    run_with(reading_collector(&ring, &options), &numbered_capture(11..last + 1)).ok();
    output.stderr.wait_for("is full: what the rings overwrite from now on is lost");
    output.stderr.wait_for("events lost, overtaken by the collector");
    drop(lock);
    let all = u64::from(last);
    wait_until("all rows", || rows.account(&ring).is_some_and(|account| account.next() == all));
    let ended = output.stop().ok();
    rows.assert_exactly_once(&ring, all);
    let account = rows.account(&ring).unwrap();
    assert!(account.lost > 10_000 && account.delivered > 5_000, "{account:?}");
    let said = format!(": {} events, {} lost\n", account.delivered - 10, account.lost);
    assert!(ended.stderr.ends_with(&said), "{said} was expected: {}", ended.stderr);
    let spool = fs::metadata(rows.path().join("state/aw-rows.spool")).unwrap().len();
    assert!(spool <= 1 << 20, "{spool} bytes");
}

/// The destination is down from the start, the output ends, and is started again: nothing is lost or doubled.
#[test]
fn what_is_kept_survives_an_end() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..4);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    publish(&ring, 4..8);
    let once = run(rows.command(&ring, &["--once"]));
    assert_eq!(once.status.code(), Some(1), "{once:#?}");
    assert!(once.stderr.contains("the destination is down: 4 events are kept in "), "{once:#?}");
    let output = rows.start(&ring, &[]);
    publish(&ring, 8..11);
    let waits = || fs::metadata(rows.path().join("state/aw-rows.spool-wal")).is_ok();
    wait_until("a spool", waits);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let ended = output.stop().ok();
    assert!(ended.stderr.contains("7 events wait in "), "{}", ended.stderr);
    collect(&ring, &numbered_capture(11..15), &["-q"]).ok();
    drop(lock);
    let again = rows.start(&ring, &["-v"]);
    again.stderr.wait_for("reading ring");
    wait_until("all rows", || rows.account(&ring).is_some_and(|account| account.next() == 14));
    again.stop().ok();
    assert_eq!(rows.lines(), numbered_lines(1..15));
    // A reader of the ring itself was not disturbed by any of it.
    let mut follower = Follower::start(&ring);
    follower.wait_for(14);
    follower.stop().1.ok();
}
