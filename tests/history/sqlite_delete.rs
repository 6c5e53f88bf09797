//! A purge job that was written for addrwatch's table: `DELETE` on the view of aw-sqlite, while it runs, during the import
//! of addrwatch's rows, and of many rows.
#![forbid(unsafe_code)]

use std::{thread::sleep, time::Duration};

use aw_tests::{
    collect::collect,
    feed::publish,
    history::{History, Row, addrwatch_database},
    rig::{run, wait_until},
    ring::Ring,
    sample,
};
use rusqlite::StatementStatus;

const UNPAIRED: &str =
    "SELECT count(*) FROM (SELECT pairing FROM sighting UNION ALL SELECT pairing FROM recent_sighting)
    WHERE pairing NOT IN (SELECT id FROM pairing)";
const TRIGGER: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'";

#[track_caller]
fn execute(history: &History, statements: &str) {
    history.open().expect("a database").execute_batch(statements).expect(statements);
}

/// The old job runs each night while aw-sqlite writes; pairings that lost all their rows get new ones.
#[test]
fn a_purge_job_of_addrwatch() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..101);
    let output = history.start(&ring, &[]);
    wait_until("the rows", || history.count() == 100);
    execute(&history, "DELETE FROM addrwatch WHERE timestamp < 51");
    let times = || history.rows("addrwatch").iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(times(), (51..101).collect::<Vec<_>>());
    publish(&ring, 1..101); // the same pairings again
    wait_until("new rows", || history.count() == 150);
    execute(&history, "DELETE FROM addrwatch");
    publish(&ring, 1..11);
    wait_until("rows after all were deleted", || history.count() == 10);
    assert_eq!(history.value::<i64>(UNPAIRED), Some(0));
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(": 210 events, 0 lost\n"), "{}", ended.stderr);
    // Pairings that nothing refers to are deleted with those of old rows.
    execute(&history, "DELETE FROM addrwatch");
    let output = history.start(&ring, &["--retention", "36500"]);
    wait_until("no pairings", || history.value::<i64>("SELECT count(*) FROM pairing") == Some(0));
    output.stop().ok();
    // The user of such a job has no --retention: MACs and addresses must not stay for ever.
    publish(&ring, 1..11);
    run(history.command(&ring, &["--once"])).ok();
    execute(&history, "DELETE FROM addrwatch WHERE timestamp <> 5");
    let output = history.start(&ring, &[]);
    wait_until("one pairing", || history.value::<i64>("SELECT count(*) FROM pairing") == Some(1));
    output.stop().ok();
    assert_eq!(history.count(), 1);
}

/// Each condition deletes the rows that it deletes from a table with the same content.
#[test]
fn any_condition() {
    let (ring, other) = (Ring::new(), Ring::new());
    for condition in [
        "timestamp % 2 = 0",
        "ip_address LIKE 'fe80%'",
        "ip_address = (SELECT min(ip_address) FROM addrwatch)",
        "mac_address = (SELECT max(mac_address) FROM addrwatch)",
        "vlan_tag > 0",
        "origin IN (1, 4)",
        "interface = 'none'",
        "mac_address > '0' AND timestamp > 0",
        "timestamp = 3",
    ] {
        let history = History::new();
        for ring in [&ring, &other] {
            collect(ring, &sample::capture(), &["-q"]).ok();
        }
        publish(&ring, 1..20);
        publish(&ring, 1..20); // equal rows
        let rings = history.command(&ring, &["-m", other.name(), "--once", "--from", "oldest"]);
        run(rings).ok();
        execute(&history, "CREATE TABLE copy AS SELECT * FROM addrwatch");
        let copied = condition.replace("FROM addrwatch", "FROM copy");
        execute(&history, &format!("DELETE FROM addrwatch WHERE {condition}"));
        execute(&history, &format!("DELETE FROM copy WHERE {copied}"));
        assert_eq!(history.rows("addrwatch"), history.rows("copy"), "{condition}");
    }
}

/// The types of addrwatch's columns: a number that is compared with a text, as strftime returns it, would be less than any
/// text, and the job would delete all rows.
#[test]
fn a_limit_that_is_a_text() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..101);
    run(history.command(&ring, &["--once", "--from", "oldest"])).ok();
    for (limit, left) in [
        ("strftime('%s', '1970-01-01 00:00:11')", 90),
        ("'21'", 80),
        ("CAST(strftime('%s', '1970-01-01 00:00:31') AS INTEGER)", 70),
    ] {
        execute(&history, &format!("DELETE FROM addrwatch WHERE timestamp < {limit}"));
        assert_eq!(history.count(), left, "{limit}");
    }
    // A view of an earlier release, also one of another name, gets the types, too.
    let untyped = "PRAGMA writable_schema = on; UPDATE sqlite_schema
        SET sql = replace(replace(sql, 'CAST(', ''), ' AS INTEGER)', '') WHERE type = 'view'";
    execute(&history, untyped);
    run(history.command(&ring, &["--once", "--table", "other"])).ok();
    let typed =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'view' AND sql LIKE '%AS INTEGER)%'";
    assert_eq!(history.value::<i64>(typed), Some(2));
}

fn old(number: u32) -> Row {
    let (mac, ip) = (format!("02:00:00:00:00:{:02x}", number % 200), number % 250);
    (i64::from(number / 20), "eth0".into(), 0, mac, format!("10.0.0.{ip}"), 0)
}

/// While addrwatch's rows are being imported, the job fails with a reason and deletes nothing; then it works, also for rows
/// that cannot be imported.
#[test]
fn during_an_import() {
    const OLD: u32 = 200_000;
    let (ring, history) = (Ring::new(), History::new());
    let rubbish = |number: u32| if number.is_multiple_of(100) { "?".into() } else { old(number).3 };
    let row = |number: u32| {
        let (time, interface, vlan, _, ip, origin) = old(number);
        (time, interface, vlan, rubbish(number), ip, origin)
    };
    addrwatch_database(history.database(), (0..OLD).map(row));
    let left = || history.value::<i64>("SELECT count(*) FROM addrwatch_old").unwrap_or(0);
    let output = history.start(&ring, &[]);
    wait_until("some are imported", || (1..i64::from(OLD)).contains(&left()));
    output.kill();
    let purge = "DELETE FROM addrwatch WHERE timestamp < 5000";
    let error = history.open().unwrap().execute_batch(purge).unwrap_err().to_string();
    assert!(
        error.contains("still importing the table addrwatch_old (delete again when"),
        "{error}"
    );
    assert_eq!(history.count(), u64::from(OLD));
    publish(&ring, 1..2);
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(left(), i64::from(OLD / 100));
    execute(&history, purge);
    let times = history.rows("addrwatch").iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!((times.first(), times.len()), (Some(&5000), OLD as usize / 2));
    assert_eq!(left(), i64::from(OLD / 200));
}

/// A database of an earlier release, and each view that it has.
#[test]
fn existing_databases() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..21);
    run(history.command(&ring, &["--once", "--table", "seen"])).ok();
    run(history.command(&ring, &["--once"])).ok();
    execute(
        &history,
        "DROP TRIGGER IF EXISTS aw_sqlite_delete_addrwatch; DROP TRIGGER IF EXISTS aw_sqlite_delete_seen;
         DROP INDEX pairing_of_mac; CREATE INDEX pairing_of_mac ON pairing (mac)",
    );
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(history.value::<i64>(TRIGGER), Some(2));
    execute(
        &history,
        "DELETE FROM seen WHERE timestamp = 1; DELETE FROM addrwatch WHERE timestamp = 2",
    );
    assert_eq!((history.count(), history.rows("seen").len()), (18, 18));
}

/// A day among a million, of a router that answers for thousands of addresses.
#[test]
fn many_rows() {
    const ROWS: u32 = 300_000;
    let (ring, history) = (Ring::new(), History::new());
    let row = |number: u32| {
        let ip = format!("10.0.{}.{}", number / 250 % 16, number % 250);
        let mac = "02:00:00:00:00:01".to_owned();
        (i64::from(number / 10), "eth0".to_owned(), 0, mac, ip, 1)
    };
    addrwatch_database(history.database(), (0..ROWS).map(row));
    publish(&ring, 1..2);
    run(history.command(&ring, &["--once"])).ok();
    let database = history.open().unwrap();
    let mut delete = database.prepare("DELETE FROM addrwatch WHERE timestamp < 1000").unwrap();
    delete.execute([]).unwrap();
    let steps = delete.get_status(StatementStatus::VmStep);
    assert_eq!(history.count(), u64::from(ROWS) - 10_000);
    // Without the index of MAC and address, each of 10,000 rows costs a search through 4,000 pairings.
    assert!(steps < 20_000_000, "{steps} steps");
}

/// sqlite3 does not wait for a lock by default: while events arrive, other programs get the lock.
#[test]
fn other_programs_get_the_lock() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..2);
    // A transaction from the first event to the commit would take nearly all of the time.
    let output = history.start(&ring, &["--commit-interval", "10s"]);
    wait_until("a row", || history.count() == 1);
    let (mut got, mut published) = (0, 1);
    let database = history.open().unwrap();
    database.busy_timeout(Duration::ZERO).unwrap();
    for _ in 0..20 {
        published += 1;
        publish(&ring, published..published + 1);
        sleep(Duration::from_millis(100));
        got += u32::from(database.execute_batch("BEGIN IMMEDIATE; COMMIT").is_ok());
    }
    assert!(got >= 15, "{got} of 20");
    wait_until("all rows", || history.count() == u64::from(published));
    output.stop().ok();
}
