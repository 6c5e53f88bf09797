//! Outputs at the centre beside `aw-sqlite`: what sensors publish is in MySQL and ClickHouse, with the sensor's host, each event once.
#![forbid(unsafe_code)]

use aw_tests::clickhouse::Clickhouse;
use aw_tests::collect::{collect, held};
use aw_tests::feed::publish;
use aw_tests::mariadb::{MariaDb, sorted};
use aw_tests::nats::Nats;
use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sample;
use aw_tests::server::Server;
use rustix::process::Signal;

/// Rows are as from a ring, with the host of the sensor; `--hostname` is of saved positions alone.
#[test]
fn rows_in_mysql() {
    let (Some(server), Some(database)) = (Nats::start(), MariaDb::start(&[])) else { return };
    let ring = Ring::new();
    collect(&ring, &sample::capture(), &["-q"]).ok();
    for host in ["alpha", "beta"] {
        run(server.relay_command(host, &ring, &["--once"])).ok();
    }
    for _ in 0..2 {
        run(database.stream_command(&server.url(), &["--once", "--hostname", "centre"])).ok();
    }
    let hosts = database.sql("SELECT hostname, count(*) FROM log GROUP BY 1 ORDER BY 1");
    assert_eq!(hosts, "alpha\t36\nbeta\t36\n");
    let twice = held(&ring).repeat(2);
    assert_eq!(database.lines(), sorted(&twice));
    let positions =
        database.sql("SELECT DISTINCT hostname FROM position UNION SELECT count(*) FROM position");
    assert_eq!(positions, "centre\n5\n");
    let check = run(database.stream_command(&server.url(), &["--check"])).ok();
    assert!(check.stdout.contains("can be read"), "{}", check.stdout);
}

/// The database, the server of the stream and the output are killed with -9 again and again: each event is there once, in order.
#[test]
fn kills_with_mysql() {
    let (Some(mut server), Some(mut database)) = (Nats::start(), MariaDb::start(&[])) else {
        return;
    };
    let ring = Ring::new();
    let relay = server.relay("alpha", &ring);
    let url = server.url();
    let store = |database: &MariaDb| Run::start(database.stream_command(&url, &[]));
    let mut output = store(&database);
    for round in 0..8 {
        publish(&ring, 1 + round * 500..501 + round * 500);
        match round % 4 {
            0 => {
                output.kill();
                output = store(&database);
            }
            1 => {
                database.kill();
                database.start_again();
            }
            2 => {
                server.kill();
                server.start_again();
            }
            _ => database.wait_for(u64::from(500 + round * 500)),
        }
    }
    database.wait_for(4000);
    relay.stop().ok();
    output.stop().ok();
    database.assert_numbers(1..4001);
    assert_eq!(database.sql("SELECT DISTINCT hostname FROM log"), "alpha\n");
    let account =
        "SELECT concat_ws(' ', began, delivered, lost) FROM position WHERE ring LIKE '/alpha:0:%'";
    assert_eq!(database.sql(account), "0 4000 0\n");
}

/// The database ends between the rows of a sensor and the checkpoint of another one, which is new: the rows are stored once.
#[test]
fn a_new_sensor_in_an_outage() {
    let (Some(server), Some(mut database)) = (Nats::start(), MariaDb::start(&[])) else { return };
    let ring = Ring::new();
    let relay = |host: &str| run(server.relay_command(host, &ring, &["--once"])).ok();
    publish(&ring, 1..2);
    relay("alpha");
    let output = Run::start(database.stream_command(&server.url(), &[]));
    database.wait_for(1);
    // Both messages are there when it reads the next ones.
    output.signal(Signal::STOP);
    database.kill();
    publish(&ring, 2..12);
    relay("alpha");
    relay("beta");
    output.signal(Signal::CONT);
    output.stderr.wait_for("reading no further events until");
    database.start_again();
    database.wait_for(22);
    output.stop().ok();
    let hosts = database.sql("SELECT hostname, count(*) FROM log GROUP BY 1 ORDER BY 1");
    assert_eq!(hosts, "alpha\t11\nbeta\t11\n");
}

/// The same with ClickHouse, whose answers have each event once.
#[test]
fn kills_with_clickhouse() {
    let (Some(mut server), Some(mut database)) = (Nats::start(), Clickhouse::start()) else {
        return;
    };
    let ring = Ring::new();
    let relay = server.relay("alpha", &ring);
    let url = server.url();
    let store = |database: &Clickhouse| Run::start(database.stream_command(&url, &[]));
    let mut output = store(&database);
    for round in 0..8 {
        publish(&ring, 1 + round * 500..501 + round * 500);
        match round % 4 {
            0 => {
                output.kill();
                output = store(&database);
            }
            1 => {
                database.kill();
                database.start_again();
            }
            2 => {
                server.kill();
                server.start_again();
            }
            _ => database.wait_for(u64::from(500 + round * 500)),
        }
    }
    database.wait_for(4000);
    relay.stop().ok();
    output.stop().ok();
    database.assert_numbers(1..4001);
    let places = "SELECT DISTINCT host, ring FROM addrwatch.log";
    assert_eq!(database.sql(places), format!("alpha\t{}\n", ring.name()));
    let check = run(database.stream_command(&url, &["--check"])).ok();
    assert!(check.stdout.contains("can be read"), "{}", check.stdout);
    let named = run(database.stream_command(&url, &["--hostname", "centre"]));
    assert_eq!(named.status.code(), Some(2), "{named:#?}"); // rows have the sensor's host
}

/// `--health` of both reports a server of the stream that is down.
#[test]
fn health() {
    let (Some(mut server), Some(database)) = (Nats::start(), MariaDb::start(&[])) else { return };
    let output = Run::start(database.stream_command(&server.url(), &[]));
    let url = server.url();
    let health = || run(database.stream_command(&url, &["--health"]));
    wait_until("it is healthy", || health().status.success());
    server.stop();
    wait_until("it reports the server", || {
        let answer = health();
        answer.status.code() == Some(1) && answer.stdout.contains("read nats://")
    });
    server.start_again();
    wait_until("it is healthy again", || health().status.success());
    output.stop().ok();
}
