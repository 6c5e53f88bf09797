use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    filing::{self, insert_recent},
    row_writer::{OWN_FRAME, SightingRow},
    schema,
};
use shm_layout::MacAddr;

const SECOND: i64 = 1_000_000_000;
/// In 2024, at the begin of a day.
const NOW: i64 = 20_000 * DAY_NANOS;

fn database() -> Connection {
    let mut database = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
    database
        .execute_batch(
            "PRAGMA foreign_keys = off; UPDATE span_progress SET until = until + 1; INSERT INTO raw_days VALUES (1); -- it was announced
            INSERT INTO place VALUES (1, 'here', 'ring', 'eth0', 0, 0, ''), (2, 'here', '', 'eth0', 0, 0, '')",
        )
        .unwrap();
    database
}

/// A pairing of an address, 10.0.0.0 + `address`, in a place.
fn pairing(database: &Connection, id: i64, (mac, address, place): (i64, u8, i64)) {
    let insert = "INSERT INTO pairing (id, address, mac, place, ip) VALUES (?, ?, ?, ?, '')";
    database.execute(insert, params![id, [10, 0, 0, address], mac, place]).unwrap();
}

/// Sightings at these seconds, of an origin.
fn rows(database: &Connection, pairing: i64, seconds: impl IntoIterator<Item = i64>, origin: i64) {
    let insert = "INSERT INTO sighting VALUES (?, ?, ?, 0)";
    let mut insert = database.prepare_cached(insert).unwrap();
    for second in seconds {
        insert.execute([pairing, NOW - 20 * DAY_NANOS + second * SECOND, origin]).unwrap();
    }
}

/// A whole pass over all that is older than seven days, a second after an earlier one.
fn pass(database: &Connection) -> Compaction {
    let mut compaction = Compaction::new(7);
    let next = progress(database).unwrap().until.saturating_add(7 * DAY_NANOS + SECOND);
    let (begun, now) = ((next.max(NOW), ClockState::Trusted), Instant::now());
    assert!(compaction.begin(database, begun, now).unwrap());
    while compaction.step(database, &mut RowWriter::default(), 1_000).unwrap() {}
    compaction
}

/// All spans, by pairing, in seconds, with their counts; and how many single sightings are left.
fn spans(database: &Connection) -> (String, i64) {
    let spans = format!(
        "SELECT coalesce(group_concat(printf('%d:%d-%d=%d', pairing, (first - {0}) / {SECOND}, (last - {0}) / {SECOND}, count), ' '), '')
        FROM sighting_span",
        NOW - 20 * DAY_NANOS
    );
    let single = "SELECT count(*) FROM sighting";
    (
        database.query_row(&spans, [], |row| row.get(0)).unwrap(),
        database.query_row(single, [], |row| row.get(0)).unwrap(),
    )
}

/// Sightings that came with an earlier time, since the last pass.
fn late(database: &Connection, pairing: i64, seconds: impl IntoIterator<Item = i64>, origin: i64) {
    for second in seconds {
        rows(database, pairing, [second], origin);
        examine_late(database, pairing, NOW - 20 * DAY_NANOS + second * SECOND).unwrap();
    }
}

/// A pass is due at the start and then four times in the days for which single sightings are kept, unless the clock is not set or may be
/// wrong; and after it was ahead.
#[test]
fn when_a_pass_is_due() {
    use ClockState::{Suspended, Trusted, Unset, Unverified};
    let database = database();
    let start = Instant::now();
    let mut compaction = Compaction::new(1);
    let add = |time: i64| insert_recent(&database, (1, time, 0)).unwrap();
    let mut at = |wall: i64, state, hours: u64| {
        let now = start + Duration::from_secs(hours * 3_600);
        let is_due = compaction.may_be_due(&database, state, now).unwrap();
        let begins = compaction.begin(&database, (wall, state), now).unwrap();
        assert!(is_due || !begins);
        let before = progress(&database).unwrap().before;
        while compaction.step(&database, &mut RowWriter::default(), 1_000).unwrap() {}
        begins.then_some(before)
    };
    for state in [Unset, Unverified, Suspended] {
        assert_eq!(at(NOW, state, 0), None);
    }
    assert_eq!(at(NOW, Trusted, 6), Some(NOW - DAY_NANOS), "all is filed");
    assert_eq!(at(NOW + 1, Trusted, 11), None);
    // Nothing newer was stored: what is near to the newest sighting is not known.
    add(NOW);
    assert_eq!(at(NOW + 9 * DAY_NANOS, Trusted, 12), None);
    add(NOW + 2);
    assert_eq!(at(NOW + 9 * DAY_NANOS, Trusted, 18), Some(NOW + 2 - DAY_NANOS));
    // What is not filed yet stays, apart from what a clock that is not set, or was ahead, gave a time.
    let (ahead, none) = (NOW + 9 * DAY_NANOS, "DELETE FROM recent_sighting");
    [77, ahead, ahead + 9 * DAY_NANOS].iter().for_each(|time| add(*time));
    assert_eq!(at(ahead, Trusted, 24), Some(NOW - LONGEST_SHIFT));
    database.execute_batch(none).unwrap();
    assert_eq!(at(ahead, Trusted, 30), Some(NOW + 8 * DAY_NANOS));
    // The clock was ahead.
    assert_eq!(at(NOW + 2, Trusted, 36), None);
    assert_eq!(at(NOW + DAY_NANOS, Trusted, 42), Some(NOW));
    assert!(!Compaction::new(0).begin(&database, (NOW, Trusted), start).unwrap());
}

/// A pass that is under way waits while the clock may be wrong. After the clock was set back, or with more days, it ends, and what it has
/// not examined stays.
#[test]
fn a_pass_whose_end_is_too_late() {
    use ClockState::{Suspended, Trusted, Unset};
    let ahead = NOW + 30 * DAY_NANOS;
    for (wall, days) in [(ahead, 7), (NOW, 7), (ahead, 90)] {
        let database = database();
        pairing(&database, 1, (1, 1, 1));
        let insert = "INSERT INTO sighting VALUES (1, ?, 0, 0)";
        for second in 0..3_000 {
            let time = NOW - DAY_NANOS + second * SECOND;
            database.execute(insert, [time]).unwrap();
        }
        let now = Instant::now();
        let mut compaction = Compaction::new(7);
        assert!(compaction.begin(&database, (ahead, Trusted), now).unwrap());
        assert!(compaction.step(&database, &mut RowWriter::default(), 1_000).unwrap());
        let mut compaction = Compaction::new(days);
        for state in [Unset, Suspended] {
            assert!(!compaction.begin(&database, (wall, state), now).unwrap());
            assert!(!compaction.may_be_due(&database, state, now).unwrap());
        }
        assert!(compaction.begin(&database, (wall, Trusted), now).unwrap());
        let days = i64::from(days) * DAY_NANOS;
        assert!(progress(&database).unwrap().before <= wall - days, "{wall} {days}");
    }
}

/// The first pass of a database with old sightings begins a day after it was logged, by the clock, and whatever is restarted: of an earlier
/// release, of an import, or of days in which all was kept.
#[test]
fn old_sightings_wait_for_a_day() {
    let database = database();
    store(&database, Progress::NONE).unwrap();
    pairing(&database, 1, (1, 1, 1));
    rows(&database, 1, [0], 0);
    let start = Instant::now();
    let begins = |wall: i64, compaction: &mut Compaction, hours: u64| {
        let now = start + Duration::from_secs(hours * 3_600);
        compaction.begin(&database, (wall, ClockState::Trusted), now).unwrap()
    };
    let mut compaction = Compaction::new(7);
    let hour = DAY_NANOS / 24;
    assert!(!begins(NOW, &mut compaction, 0));
    prepare(&database).unwrap();
    assert!(!begins(NOW + hour, &mut Compaction::new(7), 1));
    let now = start + Duration::from_secs(60);
    assert!(!compaction.may_be_due(&database, ClockState::Trusted, now).unwrap(), "in an hour");
    // Sightings that come meanwhile change nothing, nor do restarts.
    examine_late(&database, 1, NOW - 9 * DAY_NANOS).unwrap();
    assert!(waits_for_a_day(&database, NOW + 23 * hour, 7).unwrap());
    assert!(!begins(NOW + 23 * hour, &mut compaction, 23));
    assert!(!begins(NOW + 23 * hour, &mut Compaction::new(7), 23));
    assert!(begins(NOW + 24 * hour, &mut compaction, 24));
    // The clock was ahead when it was logged.
    store(&database, Progress { time: NOW + 9 * DAY_NANOS, ..Progress::NONE }).unwrap();
    let mut compaction = Compaction::new(7);
    assert!(!begins(NOW, &mut compaction, 0));
    assert!(begins(NOW + 24 * hour, &mut compaction, 24));
    // So do those that are not filed yet; and what came since the start does not.
    let empty = "DELETE FROM sighting; DELETE FROM recent_sighting";
    for (days, waits) in [(8, false), (10, true)] {
        for is_filed in [true, false] {
            database.execute_batch(empty).unwrap();
            store(&database, Progress::NONE).unwrap();
            let row = (1, NOW - days * DAY_NANOS, 0);
            if is_filed { filing::insert(&database, row) } else { insert_recent(&database, row) }
                .unwrap();
            assert_eq!(waits_for_a_day(&database, NOW, 7), Ok(waits));
            assert_eq!(begins(NOW, &mut Compaction::new(7), 0), !waits);
        }
    }
    // A second database is logged, too.
    let mut compaction = Compaction::new(7);
    for later in [0, 5] {
        store(&database, Progress::NONE).unwrap();
        assert!(!begins(NOW + later, &mut compaction, later as u64));
        assert_eq!(compaction.announced, NOW + later + DAY_NANOS);
    }
}

/// Fewer days than before are announced like a first pass: also after a time in which all was kept, or if the days of the last run are not known.
/// The same days are not, whatever was filed meanwhile, and however long the program did not run.
#[test]
fn fewer_days_are_announced() {
    let ago = |days: i64| NOW - days * DAY_NANOS;
    let begins = |database: &Connection, compaction: &mut Compaction, wall: i64| {
        let begins = compaction.begin(database, (wall, ClockState::Trusted), Instant::now());
        let begins = begins.unwrap();
        if begins {
            while compaction.step(database, &mut RowWriter::default(), 1_000).unwrap() {}
        }
        begins
    };
    // `--raw-days` of the last run, days until which all is examined, of the last sighting.
    for (last, until, sighting, waits) in [
        (Some(0), 90, 20, true),
        (Some(30), 90, 20, true),
        (None, 90, 20, true),
        (Some(30), 11, 10, true),
        (Some(30), 9, 8, false),
        (Some(30), 90, 8, false),
        (Some(7), 90, 20, false),
        (Some(3), 90, 20, false),
    ] {
        let database = database();
        pairing(&database, 1, (1, 1, 1));
        insert_recent(&database, (1, ago(sighting), 0)).unwrap();
        let until = ago(until) + SECOND;
        store(&database, Progress { until, before: until, ..Progress::NONE }).unwrap();
        database.execute("DELETE FROM raw_days", []).unwrap();
        if let Some(days) = last {
            store_raw_days(&database, days).unwrap();
        }
        let mut compaction = Compaction::new(7);
        assert_eq!(waits_for_a_day(&database, NOW, 7), Ok(waits), "{last:?} {until}");
        database.execute("DELETE FROM recent_sighting", []).unwrap();
        filing::insert(&database, (1, ago(sighting), 0)).unwrap();
        assert_eq!(waits_for_a_day(&database, NOW, 7), Ok(waits), "{last:?} {until}, filed");
        assert_eq!(begins(&database, &mut compaction, NOW), !waits, "{last:?} {until}");
        let mut compaction = Compaction::new(7);
        if waits {
            assert!(!begins(&database, &mut compaction, NOW + DAY_NANOS - 1));
            compaction.next = None; // an hour later
            assert!(begins(&database, &mut compaction, NOW + DAY_NANOS));
        }
        assert_eq!(progress(&database).unwrap().time, i64::MIN);
        assert_eq!(raw_days(&database), Ok(Some(7)));
    }
    // A table that cannot be read.
    let database = database();
    pairing(&database, 1, (1, 1, 1));
    filing::insert(&database, (1, ago(20), 0)).unwrap();
    store(&database, Progress { until: ago(90), before: ago(90), ..Progress::NONE }).unwrap();
    database.execute_batch("DROP TABLE raw_days").unwrap();
    assert_eq!(waits_for_a_day(&database, NOW, 7), Ok(true));
}

/// An announcement counts for the days that it names, until all is to be kept, or for longer: also where a pass is under way then.
#[test]
fn all_is_kept_after_an_announcement() {
    use ClockState::Trusted;
    let later = NOW + 365 * DAY_NANOS;
    for (is_under_way, days) in [(false, 0), (true, 0), (false, 30)] {
        let database = database();
        database.execute("DELETE FROM raw_days", []).unwrap();
        store(&database, Progress::NONE).unwrap();
        pairing(&database, 1, (1, 1, 1));
        rows(&database, 1, [0, 30, 60], 0);
        let start = Instant::now();
        let begins = |days: u32, wall: i64| {
            Compaction::new(days).begin(&database, (wall, Trusted), start).unwrap()
        };
        assert!(!begins(7, NOW));
        if is_under_way {
            assert!(begins(7, NOW + DAY_NANOS));
        }
        let kept = Compaction::new(days);
        if days == 0 {
            for state in [ClockState::Unset, Trusted] {
                assert!(kept.may_be_due(&database, state, start).unwrap());
            }
        }
        assert!(!begins(days, NOW + 2));
        assert!(days > 0 || !kept.may_be_due(&database, Trusted, start).unwrap());
        rows(&database, 1, [300 * 86_400], 0);
        if is_under_way {
            let mut compaction = Compaction::new(7);
            assert!(compaction.begin(&database, (later, Trusted), start).unwrap());
            while compaction.step(&database, &mut RowWriter::default(), 1_000).unwrap() {}
        }
        assert!(waits_for_a_day(&database, later, 7).unwrap());
        assert!(!begins(7, later));
        assert!(!begins(7, later + DAY_NANOS - 1));
        assert!(begins(7, later + DAY_NANOS));
    }
}

/// What a failure rolled back is not logged, and a pass that it rolled back begins again; one that was committed is not due again.
#[test]
fn a_pass_that_is_rolled_back() {
    let database = database();
    store(&database, Progress { time: 1, ..Progress::NONE }).unwrap();
    pairing(&database, 1, (1, 1, 1));
    rows(&database, 1, [0, 100, 200], 0);
    let mut compaction = Compaction::new(7);
    compaction.opened(&database);
    let (begun, now) = ((NOW, ClockState::Trusted), Instant::now());
    for end in ["ROLLBACK", "COMMIT"] {
        database.execute_batch("BEGIN").unwrap();
        assert!(compaction.begin(&database, begun, now).unwrap());
        while compaction.step(&database, &mut RowWriter::default(), 1_000).unwrap() {}
        assert_eq!(compaction.messages.len(), 2, "the first span, and the end");
        database.execute_batch(end).unwrap();
        if end == "COMMIT" {
            compaction.committed();
        }
        compaction.restart_pass();
        assert!(compaction.messages.is_empty());
        let is_due = compaction.may_be_due(&database, ClockState::Trusted, now).unwrap();
        assert_eq!(is_due, end == "ROLLBACK");
    }
    // In another database, both are logged again, and nothing that is known of the first one counts.
    let other = self::database();
    compaction.opened(&other);
    assert!(!compaction.has_spans);
    assert!(compaction.may_be_due(&other, ClockState::Trusted, now).unwrap());
}

/// Older sightings that come between two passes, beside spans, between them and within: spans do not overlap, and each one is counted.
#[test]
fn older_rows_between_two_passes() {
    let database = database();
    pairing(&database, 1, (1, 1, 1));
    rows(&database, 1, [0, 300, 600], 0);
    rows(&database, 1, [1_500, 1_560, 1_620], 0);
    rows(&database, 1, [5_000, 5_100, 5_200], 1);
    pass(&database);
    assert_eq!(spans(&database), ("1:0-600=3 1:1500-1620=3 1:5000-5200=3".into(), 0));
    late(&database, 1, [1_080, 1_680], 0);
    late(&database, 1, [5_050, 5_060], 0);
    late(&database, 1, [5_150], 8);
    late(&database, 1, [4_500, 4_600, 4_700, 9_000], 0);
    pass(&database);
    let expected = "1:0-1680=8 1:4500-5200=8";
    assert_eq!(spans(&database), (expected.into(), 2), "9000, and 5150, after which no claim came");
    // Those within a span are of it.
    late(&database, 1, (4_800..=5_040).step_by(60), 0);
    pass(&database);
    assert_eq!(spans(&database), ("1:0-1680=8 1:4500-5200=13".into(), 2));
}

/// Another MAC's sighting near the end of a span, which came after the span was made: what follows is no part of it.
#[test]
fn what_disturbs_comes_late() {
    let database = database();
    pairing(&database, 1, (1, 1, 1));
    pairing(&database, 2, (2, 1, 1));
    rows(&database, 1, [0, 300, 600], 0);
    pass(&database);
    late(&database, 1, [700, 1_100, 1_150, 1_200], 0);
    late(&database, 2, [-350], 0); // up to 850
    pass(&database);
    assert_eq!(spans(&database), ("1:0-600=3 1:1100-1200=3".into(), 2));
}

/// Rows that come late, from before what is examined, do not end a pass, however often they come: the next one examines their pairings, and the
/// current one, if it was not there yet.
#[test]
fn late_rows_are_examined() {
    let database = database();
    for id in 1..=3 {
        pairing(&database, id, (id, id as u8, 1));
        rows(&database, id, [0, 300], 0);
    }
    let mut compaction = Compaction::new(7);
    let (begun, now) = ((NOW, ClockState::Trusted), Instant::now());
    assert!(compaction.begin(&database, begun, now).unwrap());
    assert!(compaction.step(&database, &mut RowWriter::default(), 1).unwrap());
    late(&database, 1, [600], 0);
    late(&database, 3, [600], 0);
    let mut steps = 0;
    while compaction.step(&database, &mut RowWriter::default(), 1).unwrap() {
        steps += 1;
        late(&database, 1, [700 + steps], 0);
        assert!(steps < 10, "the pass ends");
    }
    assert_eq!(spans(&database).0, "3:0-600=3");
    // The next pass reads what is new of all others.
    let late = "SELECT group_concat(pairing) FROM late_pairing";
    assert_eq!(database.query_row(late, [], |row| row.get::<_, String>(0)).unwrap(), "1");
    rows(&database, 2, [600], 0);
    pass(&database);
    assert_eq!(spans(&database).0, format!("1:0-{}={} 3:0-600=3", 700 + steps, 3 + steps));
}

/// Another MAC's sighting comes late, from this program or another one, while those of the address are examined: what is near stays.
#[test]
fn another_mac_comes_during_a_pass() {
    let directory = tempfile::tempdir().unwrap();
    for by_this_program in [true, false] {
        let path = directory.path().join(by_this_program.to_string());
        let mut database = Connection::open(&path).unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database
            .execute_batch(
                "PRAGMA synchronous = off; PRAGMA journal_mode = wal; UPDATE span_progress SET until = until + 1;
                INSERT INTO raw_days VALUES (7); INSERT INTO place VALUES (1, 'here', 'ring', 'eth0', 0, 0, '')",
            )
            .unwrap();
        pairing(&database, 1, (1, 1, 1));
        rows(&database, 1, (0..100_000).step_by(100), 0);
        let mut compaction = Compaction::new(7);
        let (begun, now) = ((NOW, ClockState::Trusted), Instant::now());
        assert!(compaction.begin(&database, begun, now).unwrap());
        let mut writer = RowWriter::default();
        for _ in 0..2 {
            assert!(compaction.step(&database, &mut writer, 100).unwrap());
        }
        let time = NOW - 20 * DAY_NANOS + 50_000 * SECOND;
        if by_this_program {
            let (mac, ip) = (MacAddr::new([0, 0, 0, 0, 0, 2]), [10, 0, 0, 1].into());
            let row = SightingRow { place: 1, mac, ip, source: OWN_FRAME, time, origin: 0 };
            writer.add_imported(&database, &row, String::new).unwrap();
            writer.write_rows(&database).unwrap();
        } else {
            let other = Connection::open(&path).unwrap();
            pairing(&other, 2, (2, 1, 1));
            rows(&other, 2, [50_000], 0);
        }
        while compaction.step(&database, &mut writer, 100).unwrap() {}
        let near =
            "SELECT count(*) FROM sighting WHERE pairing = 1 AND abs(time - ?) < 1200 * 1000000000";
        let near = database.query_row(near, [time], |row| row.get::<_, i64>(0));
        assert_eq!((near.unwrap(), spans(&database).1), (23, 26), "{by_this_program}");
    }
}

/// The pairings of an address are read in one step if late rows come all the time: a pass ends.
#[test]
fn late_rows_come_in_each_step() {
    let database = database();
    for id in 1..=1_000 {
        pairing(&database, id, (id, 1, 1));
    }
    rows(&database, 1, (0..1_000).step_by(100), 0);
    let mut compaction = Compaction::new(7);
    let (begun, now) = ((NOW, ClockState::Trusted), Instant::now());
    assert!(compaction.begin(&database, begun, now).unwrap());
    let mut writer = RowWriter::default();
    writer.has_late = true;
    let mut steps = 0;
    while compaction.step(&database, &mut writer, 100).unwrap() {
        writer.has_late = true;
        steps += 1;
        assert!(steps < 100, "the pass ends");
    }
    assert_eq!(spans(&database), ("1:0-900=10".into(), 0));
}

/// A copy that gets the name of the database during a pass, in which another MAC was near: what was read of the first file does not count.
#[test]
fn another_file_during_a_pass() {
    let both = [false, true].map(|has_other| {
        let database = database();
        pairing(&database, 1, (1, 1, 1));
        rows(&database, 1, (0..100_000).step_by(100), 0);
        if has_other {
            pairing(&database, 2, (2, 1, 1));
            rows(&database, 2, [50_000], 0);
        }
        let mut compaction = Compaction::new(7);
        let (begun, now) = ((NOW, ClockState::Trusted), Instant::now());
        assert!(compaction.begin(&database, begun, now).unwrap());
        assert!(compaction.step(&database, &mut RowWriter::default(), 100).unwrap());
        (database, compaction)
    });
    let [(_, mut compaction), (database, _)] = both;
    compaction.opened(&database);
    while compaction.step(&database, &mut RowWriter::default(), 100).unwrap() {}
    assert_eq!(spans(&database).1, 26);
}

/// A pairing is not left out for a fault of what follows it.
#[test]
fn progress_that_cannot_be_stored() {
    let database = database();
    pairing(&database, 1, (1, 1, 1));
    rows(&database, 1, (0..100_000).step_by(100), 0);
    let mut compaction = Compaction::new(7);
    let (begun, now) = ((NOW, ClockState::Trusted), Instant::now());
    assert!(compaction.begin(&database, begun, now).unwrap());
    let refuse = "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.span_progress BEGIN SELECT RAISE(ABORT, 'it is damaged'); END";
    database.execute_batch(refuse).unwrap();
    compaction.step(&database, &mut RowWriter::default(), 100).unwrap_err();
    assert_eq!(compaction.leave_out(), None);
}

/// A pairing that could not be read is examined after a restart, from where it failed.
#[test]
fn what_was_left_out() {
    let database = database();
    for id in [1, 2] {
        pairing(&database, id, (id, id as u8, 1));
        rows(&database, id, (0..200_000).step_by(100), 0);
    }
    for steps in [0, 1] {
        let mut compaction = Compaction::new(7);
        let (begun, now) = ((NOW + steps, ClockState::Trusted), Instant::now());
        assert!(compaction.begin(&database, begun, now).unwrap());
        let mut writer = RowWriter::default();
        for _ in 0..steps {
            assert!(compaction.step(&database, &mut writer, 100).unwrap());
        }
        compaction.unreadable.examine(Some(1));
        assert_eq!(compaction.leave_out(), Some(1));
        while compaction.step(&database, &mut writer, 100).unwrap() {}
        let left = "SELECT pairing, count(*) FROM sighting";
        let left =
            database.query_row(left, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let (pairing, left) = left.unwrap();
        assert!(pairing == 1 && left > 1_800, "{left} of {pairing}");
    }
    pass(&database);
    assert_eq!(spans(&database).1, 0);
}

/// The first pass ends, whatever counts another program stored.
#[test]
fn counts_of_other_programs() {
    let database = database();
    store(&database, Progress { time: 1, ..Progress::NONE }).unwrap();
    pairing(&database, 1, (1, 1, 1));
    for first in [0, 5_000] {
        let insert = "INSERT INTO sighting_span VALUES (1, ?1, ?1 + 5, ?2, 0, 0)";
        database.execute(insert, [NOW - 20 * DAY_NANOS + first, i64::MAX]).unwrap();
    }
    pass(&database);
    assert_eq!(progress(&database).unwrap().until, NOW - 7 * DAY_NANOS);
}

/// Values that no sighting has, of another program, stay as they are, and stop nothing.
#[test]
fn values_of_other_programs() {
    let database = database();
    pairing(&database, 1, (1, 1, 1));
    pairing(&database, 2, (2, 2, 1));
    for pairing in [1, 2] {
        rows(&database, pairing, (0..2_000).step_by(100), 0);
    }
    for value in ["'ARP_REQ'", "1.5", "-7", "300", "x'00'"] {
        let insert = format!(
            "INSERT INTO sighting VALUES (1, {}, {value}, 0)",
            NOW - 20 * DAY_NANOS + 550 * SECOND
        );
        database.execute(&insert, []).unwrap();
    }
    let time = format!("INSERT INTO sighting VALUES (1, {}.5, 0, 0), (1, 'x', 0, 0)", NOW / 1_000);
    database.execute(&time, []).unwrap();
    pass(&database);
    assert_eq!(spans(&database), ("1:0-1900=20 2:0-1900=20".into(), 7));
}

/// Sightings of the same MAC without a ring, as from an import of addrwatch's, disturb nothing: they are of the same network.
#[test]
fn rows_without_a_ring() {
    let database = database();
    pairing(&database, 1, (1, 1, 1));
    pairing(&database, 2, (1, 1, 2));
    pairing(&database, 3, (3, 1, 2));
    for pairing in [1, 2] {
        rows(&database, pairing, (0..10_000).step_by(100), 0);
    }
    rows(&database, 3, [5_000], 0); // another MAC
    pass(&database);
    let expected = "1:0-3700=38 1:6300-9900=37 2:0-3700=38 2:6300-9900=37";
    assert_eq!(spans(&database), (expected.into(), 51));
}

/// MACs that a host makes up keep from being compacted what is near to them, and nothing else; and their number does not make a step
/// longer than others.
#[test]
fn thousands_of_other_macs() {
    let mut database = database();
    pairing(&database, 1, (1, 1, 1));
    rows(&database, 1, (0..300_000).step_by(60), 0);
    for id in 2..2_002 {
        pairing(&database, id, (id, 1, 1));
        rows(&database, id, (0..10).map(|nth| 100_000 + id % 700 + 20 * nth), 0);
    }
    let operations = Arc::new(AtomicU64::new(0));
    let counted = operations.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    database.progress_handler(100, Some(count)).unwrap();
    let mut compaction = Compaction::new(7);
    let (begun, now) = ((NOW, ClockState::Trusted), Instant::now());
    assert!(compaction.begin(&database, begun, now).unwrap());
    let (mut steps, mut longest, mut all) = (0, 0, 0);
    loop {
        operations.store(0, Ordering::Relaxed);
        let more = compaction.step(&database, &mut RowWriter::default(), 1_000).unwrap();
        let taken = operations.load(Ordering::Relaxed) * 100;
        (steps, longest, all) = (steps + 1, longest.max(taken), all + taken);
        if !more {
            break;
        }
    }
    assert!(longest < 1_000_000 && all < 10_000_000, "{longest} of {all} in {steps} steps");
    let (spans, single) = spans(&database);
    assert!(spans.starts_with("1:0-") && !spans.contains(" 2:"), "{spans}");
    let near = single - 2_000 * 10;
    assert!((40..400).contains(&near), "{near} single sightings: {spans}");
}
