use super::*;
use crate::schema;

/// While the program runs: elapsed time is no step, and a step is trusted an hour later, unless it was reverted.
#[test]
fn a_clock_that_is_set_forward() {
    let day = nanos(MAX_AHEAD);
    let start = (20_000 * day, Instant::now());
    let mut retention = Retention::new(Some(30));
    let mut at = |days: i64, hours: u64| {
        let elapsed = Duration::from_secs(3_600 * hours);
        let due = retention.due_at(start.0 + days * day + nanos(elapsed), start.1 + elapsed);
        retention.pass = None; // as if it was complete
        due.map(|before| (before + 30 * day - start.0) / day)
    };
    assert_eq!(at(0, 0), Some(0));
    assert_eq!(at(0, 48), Some(2), "two days without a call are no step");
    assert_eq!(at(40, 90), None);
    assert_eq!(at(0, 90), None, "the clock was corrected");
    assert_eq!(at(0, 91), Some(3));
    assert_eq!(at(40, 120), None);
    assert_eq!(at(40, 121), Some(45), "the clock is trusted after an hour");
    assert_eq!(at(40, 122), None, "nothing is due");
}

/// A clock that is not set deletes nothing, and when it is set, that is no step.
#[test]
fn a_clock_that_is_not_set() {
    let (start, now) = (Instant::now(), 20_000 * nanos(MAX_AHEAD));
    let mut retention = Retention::new(Some(30));
    assert_eq!(retention.due_at(nanos(Duration::from_secs(30)), start), None);
    let set = start + Duration::from_secs(60);
    assert_eq!(retention.due_at(now, set), Some(now - 30 * nanos(MAX_AHEAD)));
    assert!(retention.suspended.is_none());
    // It does not hide a step between two times.
    retention.pass = None;
    assert_eq!(retention.due_at(0, set), None);
    assert_eq!(retention.due_at(now + 40 * nanos(MAX_AHEAD), set), None);
    assert!(retention.suspended.is_some());
}

/// What was captured before the clock was set is kept for the retention time after a pass has found it, and no longer.
#[test]
fn sightings_without_a_date() {
    let mut database = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
    database.execute_batch("PRAGMA foreign_keys = off").unwrap(); // as in schema::SESSION
    let day = nanos(MAX_AHEAD);
    let now = 20_000 * day;
    let insert = |pairing: i64, time: i64| {
        let pairing_row = "INSERT OR IGNORE INTO pairing (id, address, mac, place, ip) VALUES (?1, x'0a000001', ?1, 1, '10.0.0.1')";
        database.execute(pairing_row, [pairing]).unwrap();
        let row = [pairing, time];
        database.execute("INSERT INTO sighting VALUES (?, ?, 0, 0)", row).unwrap();
    };
    let pass = |now: i64| {
        let mut retention = Retention::new(Some(30));
        assert!(retention.due_at(now, Instant::now()).is_some());
        while retention.step(&database, &mut RowWriter::default(), 2).unwrap() {}
        let list = |select: &str| {
            let list = database.query_row(select, [], |row| row.get::<_, Option<String>>(0));
            list.unwrap().unwrap_or_default()
        };
        let rows =
            "SELECT group_concat(pairing || ':' || (time / 86400000000000), ' ') FROM sighting";
        let changes = "SELECT count(*) || '' FROM config_change";
        (list(rows), list(changes))
    };
    for second in 1..6 {
        insert(1, second);
    }
    insert(1, now - 40 * day);
    insert(1, now);
    insert(2, 7);
    let change = "INSERT INTO config_change VALUES (?, 1, 'admin', 0, 0)";
    for time in [5, 6, now - 40 * day, now] {
        database.execute(change, [time]).unwrap();
    }
    let kept = "1:0 1:0 1:0 1:0 1:0 1:20000 2:0".to_owned();
    assert_eq!(pass(now), (kept.clone(), "3".into()));
    insert(1, now + 30 * day);
    let with_new = kept.replace(" 2:0", " 1:20030 2:0");
    assert_eq!(pass(now + 30 * day), (with_new, "3".into()));
    assert_eq!(pass(now + 30 * day + 1), ("1:20030".into(), "0".into()));
    insert(1, 9);
    assert_eq!(pass(now + 31 * day), ("1:0 1:20030".into(), "0".into()), "it begins again");
    // Rows that addrwatch wrote in 2018 have a true time.
    let place = "INSERT INTO place VALUES (1, '', '', 'eth0', 0, 0, '')";
    database.execute(place, []).unwrap();
    insert(2, 17_600 * day);
    insert(2, now + 31 * day);
    assert_eq!(pass(now + 31 * day), ("1:0 1:20030 2:20031".into(), "0".into()));
}

/// Another program has deleted sightings: their pairings go, and no sighting.
#[test]
fn without_a_limit() {
    let mut database = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
    database.execute_batch("PRAGMA foreign_keys = off").unwrap();
    for pairing in 1..2_500 {
        let row = "INSERT INTO pairing (id, address, mac, place, ip) VALUES (?1, x'0a000001', ?1, 1, '10.0.0.1')";
        database.execute(row, [pairing]).unwrap();
    }
    for time in [5, 17_600 * nanos(DAY), 20_000 * nanos(DAY)] {
        database.execute("INSERT INTO sighting VALUES (1200, ?, 0, 0)", [time]).unwrap();
    }
    let (mut retention, start) = (Retention::new(None), Instant::now());
    assert_eq!(retention.due_at(30, start), Some(NEVER), "whatever the clock says");
    while retention.step(&database, &mut RowWriter::default(), 2).unwrap() {}
    let left = "SELECT (SELECT group_concat(id) FROM pairing) || ' ' || count(*) FROM sighting";
    let left: String = database.query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(left, "1200 3");
    assert_eq!(retention.due_at(60, start + DAY / 2), None);
    assert_eq!(retention.due_at(60, start + DAY), Some(NEVER));
    let undated = "SELECT count(*) FROM undated";
    assert_eq!(database.query_row(undated, [], |row| row.get(0)), Ok(0));
}
