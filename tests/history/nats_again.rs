//! The stream does not have what it had, or nothing new: what is read again is not stored again, what is new is read, and a run ends.
#![forbid(unsafe_code)]

use aw_tests::feed::{numbered_capture, publish, reading_collector};
use aw_tests::history::History;
use aw_tests::nats::{Nats, account, assert_each_once, numbers, wait_for};
use aw_tests::rig::{Finished, Run, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::Server;
use rusqlite::Connection;
use rustix::process::Signal;
use std::fs;
use std::io::Write;

/// Publishes these events of a sensor as one message.
#[track_caller]
fn relay(server: &Nats, host: &str, ring: &Ring, numbers: std::ops::Range<u32>) {
    publish(ring, numbers);
    run(server.relay_command(host, ring, &["--once"])).ok();
}

#[track_caller]
fn store(server: &Nats, history: &History) -> Finished {
    run(history.stream_command(&server.url(), &["--once"])).ok()
}

/// A sensor started again; then the server lost its newest message, and the stream is read again: also what the sensor's former ring had is
/// not stored again.
#[test]
fn messages_of_a_former_generation_again() {
    let Some(mut server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    relay(&server, "alpha", &ring, 1..51);
    ring.files().iter().for_each(|file| fs::remove_file(file).unwrap());
    relay(&server, "alpha", &ring, 51..101);
    server.forget_what_comes(|server| {
        relay(server, "alpha", &ring, 101..111);
        store(server, &history);
    });
    let again = store(&server, &history);
    assert!(again.stderr.contains("lost its newest messages"), "{}", again.stderr);
    assert!(numbers(&history, "alpha").into_iter().eq(1..111));
    assert_eq!(account(&history, "alpha", &ring), Some((0, 60, 0)));
    let all = "SELECT sum(delivered) || ' ' || sum(lost) FROM account WHERE ring LIKE '/alpha:_:%'";
    assert_eq!(history.value::<String>(all), Some("110 0".into()));
    // As if it were the only one.
    relay(&server, "alpha", &ring, 111..121);
    store(&server, &history);
    assert!(numbers(&history, "alpha").into_iter().eq(1..121));
}

/// The server lost its newest messages, and others have their numbers before the output reads again: they are read.
#[test]
fn others_in_place_of_lost_messages() {
    let Some(mut server) = Nats::start() else { return };
    let (rings, history) = ([Ring::new(), Ring::new()], History::new());
    relay(&server, "alpha", &rings[0], 1..2);
    server.forget_what_comes(|server| {
        for number in 2..5 {
            relay(server, "alpha", &rings[0], number..number + 1);
        }
        store(server, &history);
    });
    for number in 1..7 {
        relay(&server, "beta", &rings[1], number..number + 1);
    }
    let again = store(&server, &history);
    assert!(again.stderr.contains("lost its newest messages"), "{}", again.stderr);
    assert_each_once(&history, "alpha", &rings[0], 1..5);
    assert_each_once(&history, "beta", &rings[1], 1..7);
}

/// The server's clock was ahead when it stored the last message that was read: what it has now is read, although it is older.
#[test]
fn a_clock_that_was_ahead() {
    let Some(server) = Nats::start() else { return };
    let (rings, history) = ([Ring::new(), Ring::new()], History::new());
    relay(&server, "alpha", &rings[0], 1..6);
    store(&server, &history);
    let database = Connection::open(history.database()).unwrap();
    let hours = "UPDATE account SET generation = generation + 7200000000000, delivered = delivered + 3 WHERE ring = '/:addrwatch'";
    assert_eq!(database.execute(hours, []).unwrap(), 1);
    drop(database);
    relay(&server, "beta", &rings[1], 1..6);
    for _ in 0..2 {
        store(&server, &history);
    }
    assert_each_once(&history, "alpha", &rings[0], 1..6);
    assert_each_once(&history, "beta", &rings[1], 1..6);
}

/// `--once` ends if there is nothing new, if all messages are too old, and if there never was one.
#[test]
fn nothing_new() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    store(&server, &History::new());
    relay(&server, "alpha", &ring, 1..11);
    for _ in 0..2 {
        store(&server, &history);
    }
    server.create(&["--max-age", "1s"]);
    wait_until("the message is too old", || server.info()["state"]["messages"] == 0);
    for history in [&history, &History::new()] {
        store(&server, history);
    }
    assert_each_once(&history, "alpha", &ring, 1..11);
}

/// A sensor of the server's own host, whose ring has the name of the stream.
#[test]
fn a_sensor_named_as_the_stream() {
    let Some(server) = Nats::without_stream("") else { return };
    let (ring, history) = (Ring::new(), History::new());
    let url = server.url().replace("addrwatch", &ring.name()[1..]);
    run(program("aw-relay", &["--to", &url, "create"])).ok();
    publish(&ring, 1..11);
    for more in [11..12, 12..13] {
        run(server.relay_command("nats", &ring, &["--once", "--to", &url])).ok();
        let stored = run(history.stream_command(&url, &["--once"])).ok();
        assert!(!stored.stderr.contains("again"), "{}", stored.stderr);
        publish(&ring, more);
    }
    assert_each_once(&history, "nats", &ring, 1..12);
}

/// `--health` of an output says that the server is down, or its database is locked, and of the relay that nothing is published.
#[test]
fn health() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let options = ["-q", "-L", "1024", "--max-rate", "10"];
    let mut collector = Run::start(reading_collector(&ring, &options));
    let mut stdin = collector.stdin.take().unwrap();
    let capture = numbered_capture(1..10_000);
    stdin.write_all(&capture[..30_000]).unwrap();
    let (relay, store) = (server.relay("alpha", &ring), server.store(&history));
    let of_store = || run(history.stream_command(&server.url(), &["--health"]));
    let of_relay = || run(server.relay_command("alpha", &ring, &["--health"]));
    wait_for(&history, "alpha", 1);
    wait_until("both are healthy", || of_store().status.success() && of_relay().status.success());
    let reason = |answer: &Finished, text: &str| {
        answer.status.code() == Some(1) && answer.stdout.contains(text)
    };

    let lock = history.lock();
    stdin.write_all(&capture[30_000..45_000]).unwrap();
    store.stderr.wait_for("reading no further events until");
    wait_until("the lock is reported", || reason(&of_store(), ", since 20"));
    drop(lock);
    wait_until("it is healthy again", || of_store().status.success());

    server.signal(Signal::STOP);
    stdin.write_all(&capture[45_000..60_000]).unwrap();
    wait_until("the output reports it", || reason(&of_store(), "read nats://"));
    wait_until("the relay reports it", || reason(&of_relay(), "publish to nats://"));
    server.signal(Signal::CONT);
    wait_until("both are healthy", || of_store().status.success() && of_relay().status.success());
    relay.stop().ok();
    store.stop().ok();
    assert!(!of_store().status.success());
    collector.kill();
}
