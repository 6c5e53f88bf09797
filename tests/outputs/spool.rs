//! An output whose destination is down: it continues to read, queues events on disk in order, and delivers them when the
//! destination is back; events without room are counted and logged.
#![forbid(unsafe_code)]

use aw_tests::checkpoint::Checkpoint;
use aw_tests::collect::collect;
use aw_tests::feed::{Follower, numbered_capture, numbered_lines, publish, reading_collector};
use aw_tests::mount::Mount;
use aw_tests::rig::{program, run, run_with, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::rows::Rows;
use aw_tests::spool::publish_while_down;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::thread::sleep;
use std::time::Duration;

/// The ring is overwritten many times meanwhile, and nothing is lost.
#[test]
fn a_destination_that_is_down_costs_nothing() {
    let ring = Ring::new();
    let rows = Rows::new();
    const SLOTS: u32 = 8192;
    let small = |numbers| {
        let capture = numbered_capture(numbers);
        run_with(reading_collector(&ring, &["-q", "-L", &SLOTS.to_string()]), &capture).ok();
    };
    small(1..101);
    let output = rows.start(&ring, &[]);
    wait_until("the first rows", || rows.sequences(&ring).len() == 100);
    let lock = rows.lock();
    publish_while_down(&ring, SLOTS, 101..20_001, &rows.spool());
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("write ") && message.contains("locked"), "{message}");
    assert_eq!(rows.sequences(&ring).len(), 100, "it is down");
    drop(lock);
    output.stderr.wait_for("the destination is back");
    small(20_001..20_011);
    wait_until("the last rows", || rows.checkpoint(&ring).is_some_and(|a| a.next() == 20_010));
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(": 20010 events, 0 lost\n"), "{}", ended.stderr);
    let changes = ended.stderr.lines().filter(|line| line.contains("destination is back")).count();
    assert_eq!(changes, 1, "one line for each change of state: {}", ended.stderr);
    rows.assert_exactly_once(&ring, 20_010);
    assert_eq!(rows.sequences(&ring), (0..20_010).collect::<Vec<u64>>());
}

/// Killed repeatedly while it queues events, and while it delivers them.
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
    wait_until("all rows", || {
        rows.checkpoint(&ring).is_some_and(|checkpoint| checkpoint.next() == all)
    });
    output.stop().ok();
    rows.assert_exactly_once(&ring, all);
    assert_eq!(rows.checkpoint(&ring).unwrap().lost, 0);
}

/// Killed after it has stored many events and before it has removed them: the next start removes them at once, in the sandbox.
#[test]
fn many_stored_events_are_removed_at_the_start() {
    let ring = Ring::new();
    let rows = Rows::new();
    const ALL: u32 = 20_000;
    publish(&ring, 1..11);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    let output = rows.start(&ring, &[]);
    publish(&ring, 11..ALL + 1);
    wait_until("they are queued", || rows.queued() == u64::from(ALL - 10));
    output.kill();
    let files = ["", "-wal"].map(|end| format!("{}{end}", rows.spool().display()));
    let kept = files.each_ref().map(|file| fs::read(file).unwrap());
    drop(lock);
    run(rows.command(&ring, &["--once"])).ok();
    for (file, content) in files.iter().zip(kept) {
        fs::write(file, content).unwrap();
    }
    let ended = run(rows.command(&ring, &["--once"])).ok();
    assert!(ended.stderr.ends_with(": 0 events, 0 lost\n"), "{}", ended.stderr);
    rows.assert_exactly_once(&ring, u64::from(ALL));
    assert_eq!(rows.sequences(&ring).len(), ALL as usize);
}

/// The spool has a limit. Events that the ring overwrites while it is full are lost, and both numbers are reported.
#[test]
fn events_beyond_a_full_spool_are_counted() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..11);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    let output = rows.start(&ring, &["--spool-size", "1M"]);
    let mut last = 10;
    let mut publish_more = |number: u32| {
        let capture = numbered_capture(last + 1..last + 1 + number);
        run_with(reading_collector(&ring, &["-q", "-L", "1024"]), &capture).ok();
        last += number;
        u64::from(last)
    };
    // How much it takes depends on how much of it is read.
    let full = "is full: events that the rings overwrite from now on are lost";
    output.wait_until(full, || {
        publish_more(600);
        output.stderr.text().contains(full)
    });
    let all = publish_more(20_000);
    output.stderr.wait_for("events lost: overwritten before they were read");
    drop(lock);
    wait_until("all rows", || {
        rows.checkpoint(&ring).is_some_and(|checkpoint| checkpoint.next() == all)
    });
    let ended = output.stop().ok();
    rows.assert_exactly_once(&ring, all);
    let checkpoint = rows.checkpoint(&ring).unwrap();
    assert!(checkpoint.lost > 10_000 && checkpoint.delivered > 5_000, "{checkpoint:?}");
    let message = format!(": {} events, {} lost\n", checkpoint.delivered - 10, checkpoint.lost);
    assert!(ended.stderr.ends_with(&message), "{message} was expected: {}", ended.stderr);
    let spool = fs::metadata(rows.path().join("state/aw-rows.spool")).unwrap().len();
    assert!(spool <= 1 << 20, "{spool} bytes");
}

/// The spool is full, and the ring is re-created: the events of the old one are read first.
#[test]
fn a_ring_is_not_left_while_there_is_no_room() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..11);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    let output = rows.start(&ring, &["--spool-size", "1M"]);
    publish(&ring, 11..50_001); // the ring holds them all
    output.stderr.wait_for("is full: events that the rings overwrite from now on are lost");
    run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    publish(&ring, 1..101);
    sleep(Duration::from_millis(1500)); // time enough to leave
    drop(lock);
    wait_until("all rows", || rows.sequences(&ring).len() >= 50_100);
    let ended = output.stop().ok();
    assert_eq!(rows.sequences(&ring), (0..50_000).chain(0..100).collect::<Vec<u64>>());
    let full = ended.stderr.matches("is full").count();
    assert_eq!(full, 1, "one line for each change of state: {}", ended.stderr);
}

/// The disk of the state directory is full: a database that works continues without the directory.
#[test]
fn a_full_state_directory_ends_no_database() {
    if !is_root() {
        return;
    }
    let ring = Ring::new();
    let rows = Rows::new();
    let mount = Mount::new(&rows.path().join("state"), "size=1m");
    publish(&ring, 1..11);
    let output = rows.start(&ring, &[]);
    wait_until("the first rows", || rows.sequences(&ring).len() == 10);
    mount.fill();
    for round in 1..4 {
        publish(&ring, 11 + (round - 1) * 100..11 + round * 100);
        wait_until("rows", || rows.sequences(&ring).len() == 10 + round as usize * 100);
        if round == 1 {
            let message = output.stderr.wait_for("continuing without saving the position");
            assert!(
                message.contains("aw-rows.spool: ") && message.contains("(free space on"),
                "{message}"
            );
        }
        sleep(Duration::from_millis(5500));
    }
    let again = run(rows.command(&ring, &["--once"]));
    again.refused("aw-rows", &["in use by another aw-rows"]);
    let ended = output.stop().ok();
    assert_eq!(
        ended.stderr.matches("continuing without saving the position").count(),
        1,
        "{}",
        ended.stderr
    );
    rows.assert_exactly_once(&ring, 310);
    assert_eq!(rows.checkpoint(&ring).unwrap().lost, 0);
    // It does not start without a place for its spool, and reports what to do.
    run(rows.command(&ring, &["--once"])).refused("aw-rows", &["aw-rows.spool", "(free space on"]);
}

/// The spool has filled its disk. It has enough reserved to deliver its events.
#[test]
fn a_spool_that_filled_its_disk_drains() {
    if !is_root() {
        return;
    }
    let ring = Ring::new();
    let rows = Rows::new();
    let _mount = Mount::new(&rows.path().join("state"), "size=16m");
    publish(&ring, 1..11);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    let output = rows.start(&ring, &[]);
    let mut last = 10;
    let full = "is full: events that the rings overwrite from now on are lost";
    output.wait_until(full, || {
        let capture = numbered_capture(last + 1..last + 20_001);
        run_with(reading_collector(&ring, &["-q", "--max-rate", "100000"]), &capture).ok();
        last += 20_000;
        output.stderr.text().contains(full)
    });
    publish(&ring, last + 1..last + 100_001);
    drop(lock);
    let all = u64::from(last) + 100_000;
    wait_until("all rows", || {
        rows.checkpoint(&ring).is_some_and(|checkpoint| checkpoint.next() == all)
    });
    output.stop().ok();
    rows.assert_exactly_once(&ring, all);
    assert!(rows.checkpoint(&ring).unwrap().delivered > 80_000, "{:?}", rows.checkpoint(&ring));
}

/// `--from oldest` while the destination is down: everything is delivered again, as it is when the destination is up.
#[test]
fn from_oldest_holds_while_it_is_down() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..8);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    let output = rows.start(&ring, &["--from", "oldest"]);
    output.stderr.wait_for("queueing events in");
    publish(&ring, 8..11);
    // Killed and started again: it is in the spool.
    wait_until("all is queued", || rows.queued() == 10);
    output.kill();
    let output = rows.start(&ring, &[]);
    publish(&ring, 11..15);
    wait_until("what came later is queued", || rows.queued() == 14);
    drop(lock);
    let lines = numbered_lines(1..8) + &numbered_lines(1..15);
    wait_until("all rows", || rows.lines() == lines);
    output.stderr.wait_for("the destination is back");
    output.stop().ok();
    assert_eq!(rows.checkpoint(&ring), Some(Checkpoint { began: 0, delivered: 14, lost: 0 }));
}

/// Reading a database leaves no transaction open: another program may write to it, and the output continues.
#[test]
fn it_holds_no_transaction_while_nothing_comes() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..4);
    run(rows.command(&ring, &["--once"])).ok();
    let output = rows.start(&ring, &["-v"]);
    output.stderr.wait_for("reading ring");
    rows.lock().execute_batch("CREATE TABLE other (a); COMMIT").unwrap();
    publish(&ring, 4..6);
    wait_until("the rows", || rows.sequences(&ring).len() == 5);
    let ended = output.stop().ok();
    assert!(!ended.stderr.contains("queueing events"), "{}", ended.stderr);
}

/// The spool contains who was where: only its user may read it.
#[test]
fn the_spool_is_its_users_alone() {
    let ring = Ring::new();
    let rows = Rows::new();
    let state = rows.path().join("state");
    fs::create_dir(&state).unwrap();
    let spool = File::create(state.join("aw-rows.spool")).unwrap(); // by a release that did not care
    spool.set_permissions(Permissions::from_mode(0o644)).unwrap();
    publish(&ring, 1..4);
    let output = rows.start(&ring, &[]);
    wait_until("rows", || rows.sequences(&ring).len() == 3);
    for file in fs::read_dir(&state).unwrap().map(|file| file.unwrap()) {
        let mode = file.metadata().unwrap().mode() & 0o777;
        let shared = ["aw-rows.now", "aw-rows.outage"].iter().any(|name| file.file_name() == *name); // for --health
        assert_eq!(mode, if shared { 0o640 } else { 0o600 }, "{file:?}");
    }
    output.stop().ok();
}

fn is_root() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("it needs root, to mount a small disk");
        return false;
    }
    true
}

/// The destination is down from the start, the output ends, and is started again: nothing is lost or repeated.
#[test]
fn queued_events_survive_an_end() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..4);
    run(rows.command(&ring, &["--once"])).ok();
    let lock = rows.lock();
    publish(&ring, 4..8);
    let once = run(rows.command(&ring, &["--once"]));
    assert_eq!(once.status.code(), Some(1), "{once:#?}");
    assert!(once.stderr.contains("the destination is down: 4 events are queued in "), "{once:#?}");
    let output = rows.start(&ring, &[]);
    publish(&ring, 8..11);
    wait_until("all is queued", || rows.queued() == 7);
    let ended = output.stop().ok();
    assert!(ended.stderr.contains("7 events are queued in "), "{}", ended.stderr);
    collect(&ring, &numbered_capture(11..15), &["-q"]).ok();
    drop(lock);
    let again = rows.start(&ring, &["-v"]);
    again.stderr.wait_for("reading ring");
    wait_until("all rows", || {
        rows.checkpoint(&ring).is_some_and(|checkpoint| checkpoint.next() == 14)
    });
    again.stop().ok();
    assert_eq!(rows.lines(), numbered_lines(1..15));
    // A reader of the ring itself is not disturbed.
    let mut follower = Follower::start(&ring);
    follower.wait_for(14);
    follower.stop().1.ok();
}
