use super::*;
use crate::schema;

/// A pass begins at the start and when the clock is trusted again; none while it may be wrong.
#[test]
fn a_clock_that_may_be_wrong() {
    use ClockState::{Resumed, Suspended, Trusted, Unset, Unverified};
    let (start, now) = (Instant::now(), 20_000 * nanos(DAY));
    let mut retention = Retention::new(Some(30));
    let due = Some(now - 30 * nanos(DAY));
    for (state, hours, expected) in [
        (Unset, 0, None),
        (Unverified, 0, None),
        (Trusted, 0, due),
        (Trusted, 1, due), // it is not complete
        (Suspended, 2, None),
        (Trusted, 3, None), // it began less than a day ago
        (Suspended, 4, None),
        (Resumed, 5, due),
    ] {
        let steady = start + Duration::from_secs(3_600 * hours);
        assert_eq!(retention.due((now, state), steady), expected, "{state:?}");
    }
}

/// What was captured before the clock was set is kept for the retention time after a pass has found it, and no longer.
#[test]
fn sightings_without_a_date() {
    let mut database = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
    database.execute_batch("PRAGMA foreign_keys = off").unwrap(); // as in schema::SESSION
    let day = nanos(DAY);
    let now = 20_000 * day;
    let insert = |pairing: i64, time: i64| {
        let pairing_row = "INSERT OR IGNORE INTO pairing (id, address, mac, place, ip) VALUES (?1, x'0a000001', ?1, 1, '10.0.0.1')";
        database.execute(pairing_row, [pairing]).unwrap();
        let row = [pairing, time];
        database.execute("INSERT INTO sighting VALUES (?, ?, 0, 0)", row).unwrap();
    };
    let pass = |now: i64| {
        let mut retention = Retention::new(Some(30));
        assert!(retention.due((now, ClockState::Trusted), Instant::now()).is_some());
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
    assert_eq!(
        retention.due((30, ClockState::Unset), start),
        Some(NEVER),
        "whatever the clock says"
    );
    while retention.step(&database, &mut RowWriter::default(), 2).unwrap() {}
    let left = "SELECT (SELECT group_concat(id) FROM pairing) || ' ' || count(*) FROM sighting";
    let left: String = database.query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(left, "1200 3");
    assert_eq!(retention.due((60, ClockState::Unset), start + DAY / 2), None);
    assert_eq!(retention.due((60, ClockState::Unset), start + DAY), Some(NEVER));
    let undated = "SELECT count(*) FROM undated";
    assert_eq!(database.query_row(undated, [], |row| row.get(0)), Ok(0));
}

/// Spans that overlap, as another program may leave them, become one at the cut.
#[test]
fn spans_that_overlap() {
    let mut database = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
    database.execute_batch("PRAGMA foreign_keys = off").unwrap();
    database
        .execute_batch(
            "INSERT INTO sighting_span VALUES (1, 0, 100, 101, 0, 1), (1, 40, 80, 41, 1, 2),
            (1, 60, 200, 5, 1, 3), (1, 300, 400, 7, 0, 0), (2, 10, 10, 1, 0, 0), (2, 60, 60, 1, 0, 0)",
        )
        .unwrap();
    for pairing in 1..=2 {
        delete_spans(&database, pairing, 60).unwrap();
    }
    let all = "SELECT group_concat(pairing || ':' || first || '-' || last || '=' || count || '/' || last_origin, ' ')
        FROM sighting_span";
    let all: String = database.query_row(all, [], |row| row.get(0)).unwrap();
    assert_eq!(all, "1:60-200=66/3 1:300-400=7/0 2:60-60=1/0");
}
