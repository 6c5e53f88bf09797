use std::path::{Path, PathBuf};

use proptest::{collection::vec, prelude::*};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    address_rows::{just_before, periods},
    history_reader::{HistoryReader, TimeRange, parse_mac},
    queries::{Query, by_pair, first_change, until, without_return},
    result_table::Cell,
    sqlite_reader::SqliteReader,
};

const TABLES: &str = "
    PRAGMA application_id = 0x41576869; PRAGMA user_version = 1;
    CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
    CREATE TABLE pairing (id INTEGER PRIMARY KEY, address BLOB, mac INTEGER, place INTEGER, source INTEGER);
    CREATE TABLE sighting (pairing INTEGER, time INTEGER, origin, again, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
    INSERT INTO place VALUES (1, 'here', '/addrwatch', 'eth0', 0, 0, '');
    INSERT INTO pairing VALUES (1, x'0a020001', 1, 1, -1), (2, x'0a020001', 2, 1, -1), (3, x'0a020001', 3, 1, -1);
    BEGIN;";

/// The last octet of a MAC, a time in seconds, and an origin.
type Seen = (u8, i64, i64);

const BEGIN: i64 = 1_795_190_000;
const HOUR: i64 = 3600;

/// The time of a change in seconds, what it is, the last octet of the MAC and of the one before, and until when both use the address.
type Row = (i64, String, u8, Option<u8>, Option<i64>);

/// A history of an address of which these were seen.
fn history(seen: &[Seen]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut all = TABLES.to_owned();
    for (last, time, origin) in seen {
        let time = BEGIN + time;
        all += &format!(
            "INSERT OR IGNORE INTO sighting VALUES ({last}, {time}000000000, {origin}, 0);"
        );
    }
    Connection::open(&path).unwrap().execute_batch(&(all + "COMMIT")).unwrap();
    (directory, path)
}

fn since(from: i64) -> TimeRange {
    TimeRange { from: UnixTime::new(BEGIN + from, 0), to: TimeRange::ALL.to }
}

/// Its changes from a time on.
fn changes_of(seen: &[Seen], from: i64) -> Vec<Row> {
    let (_directory, path) = history(seen);
    rows(&path, from)
}

fn rows(path: &Path, from: i64) -> Vec<Row> {
    let mut reader = SqliteReader::open(path, None).unwrap();
    let table = Query::Changes(since(from)).run(&mut reader).unwrap();
    let is_shown = table.columns.contains(&"shared_until");
    let of = |row: &Vec<Cell>| {
        let time = |name| match table.cell(row, name) {
            Cell::Time(time) => Some(time.seconds() - BEGIN),
            _ => None,
        };
        let mac = |name| match table.cell(row, name) {
            Cell::Text(text) => Some(text.parse::<MacAddr>().unwrap().octets()[5]),
            _ => None,
        };
        let Cell::Text(change) = table.cell(row, "change") else { panic!("no change") };
        let (mac, before) = (mac("mac").unwrap(), mac("before"));
        (time("time").unwrap(), change.clone(), mac, before, time("shared_until"))
    };
    let rows: Vec<_> = table.rows.iter().map(of).collect();
    assert_eq!(is_shown, rows.iter().any(|row| row.4.is_some()), "{:?}", table.columns);
    rows
}

/// Claims of a MAC from a time on: so many, so many seconds apart.
fn claims(last: u8, from: i64, (times, apart): (i64, i64)) -> Vec<Seen> {
    (0..times).map(|at| (last, from + at * apart, 1)).collect()
}

fn row(time: i64, (change, mac, before, until): (&str, u8, Option<u8>, Option<i64>)) -> Row {
    (time, change.into(), mac, before, until)
}

/// Two devices that use an address in turn have one change, which says until when both do, and the table shows it; of one that is
/// gone it says nothing.
#[test]
fn an_address_in_turn() {
    let seen = [claims(1, 0, (20, 300)), claims(2, 900, (5, 300)), claims(3, 9000, (5, 300))];
    assert_eq!(
        changes_of(&seen.concat(), 0),
        [
            row(0, ("new", 1, None, None)),
            row(900, ("changed", 2, Some(1), Some(2100))),
            row(9000, ("changed", 3, Some(1), None)),
        ]
    );
}

/// Two devices that have used an address in turn since before the times that are read are in each list, also after weeks: with
/// the first time in it at which both did. One that went before is in none.
#[test]
fn an_address_in_turn_since_before() {
    const DAY: i64 = 24 * HOUR;
    let first = claims(1, 0, (20 * 24 * 12, 300));
    let seen = [first, claims(2, 100, (20 * 24 * 12, 300)), claims(3, 200, (12, 300))].concat();
    let last = 20 * DAY - 300;
    let week = changes_of(&seen, 13 * DAY);
    assert_eq!(week, [row(13 * DAY, ("shared", 2, Some(1), Some(last)))]);
    let all = changes_of(&seen, 0);
    let changes: Vec<_> = all.iter().map(|row| &*row.1).collect();
    assert_eq!(
        changes,
        ["new", "changed", "changed", "changed"],
        "the third one and the first one"
    );
    assert_eq!((all[1].4, all[3].2, all[3].3), (Some(last), 3, Some(1)));
    let gone = [claims(1, 0, (24, 300)), claims(2, 100, (100, 300))].concat();
    assert_eq!(changes_of(&gone, HOUR).len(), 1);
    assert_eq!(changes_of(&gone, 2 * HOUR), [], "the first one is gone");
}

/// The answer about an address says the same as its changes; of another device of it, nothing.
#[test]
fn the_answer_about_an_address() {
    let of = |seen: &[Seen], from: i64, mac: Option<u8>| {
        let (_directory, path) = history(seen);
        let mut reader = SqliteReader::open(&path, None).unwrap();
        let ip = "10.2.0.1".parse().unwrap();
        let table = Query::Ip(ip, since(from), false).run(&mut reader).unwrap();
        let mac = mac.map(|mac| format!("00:00:00:00:00:0{mac}").parse().unwrap());
        let times =
            table.in_turn(mac).map(|(first, last)| [first, last].map(|one| one.seconds() - BEGIN));
        assert_eq!(times.is_some(), table.in_turn_text(mac, &jiff::tz::TimeZone::UTC).is_some());
        times
    };
    let seen = [claims(1, 0, (20, 300)), claims(2, 910, (5, 300)), claims(3, 9000, (5, 300))];
    let seen = seen.concat();
    assert_eq!(of(&seen, 0, None), Some([910, 2110]));
    assert_eq!(of(&seen, 0, Some(2)), Some([910, 2110]));
    assert_eq!(of(&seen, 0, Some(3)), None);
    assert_eq!(of(&seen, 3000, None), None, "it has ended");
    // Their periods overlap by one late frame, which is no use in turn.
    let late = [claims(1, 0, (20, 300)), claims(2, 5750, (20, 300)), vec![(1, 5751, 1)]].concat();
    assert_eq!(of(&late, 0, None), None);
    // Their periods do not overlap, but the claims of one lie between those of the other one.
    let slow = [claims(1, 0, (6, 3000)), claims(2, 1500, (5, 3000))].concat();
    assert_eq!(of(&slow, 0, None), Some([1500, 13_500]));
}

/// One claim that comes late is no use in turn; two are, and one that does not come soon.
#[test]
fn a_late_claim() {
    let until = |late: &[i64]| {
        let late: Vec<_> = late.iter().map(|time| (1, *time, 1)).collect();
        // The first one until 5700.
        let seen = [&claims(1, 0, (20, 300)), &*late, &claims(2, 5750, (20, 300))].concat();
        let rows = changes_of(&seen, 0);
        assert_eq!(rows.len(), 2, "{rows:?}");
        rows[1].4
    };
    assert_eq!(until(&[]), None);
    assert_eq!(until(&[5751]), None, "it may be a frame that another one overtook");
    assert_eq!(until(&[5751, 5752]), Some(5752));
    assert_eq!(until(&[5760]), Some(5760));
    assert_eq!(until(&[5751, 6100]), Some(6100));
    // A device that claims it once among those of another one, and right after each of them.
    let once = [claims(1, 0, (20, 300)), claims(2, 1000, (1, 1))].concat();
    assert_eq!(changes_of(&once, 0)[1].4, Some(1000));
    // Half an hour, and the first one again.
    let half = [claims(1, 0, (13, 300)), claims(2, 3610, (30, 60)), claims(1, 5800, (5, 300))];
    let half: Vec<_> =
        changes_of(&half.concat(), 0).into_iter().map(|row| (row.1, row.4)).collect();
    let last = Some(3610 + 29 * 60);
    let row = |change: &str, until| (change.to_owned(), until);
    assert_eq!(half, [row("new", None), row("changed", last), row("changed", None)]);
    let after = [claims(1, 0, (20, 300)), claims(2, 1, (20, 300))].concat();
    assert_eq!(changes_of(&after, 0)[1].4, Some(5700));
}

/// A flood of made-up MACs hides no later conflict.
#[test]
fn made_up_pairs() {
    let mac = |number: u64| parse_mac(number as i64).unwrap();
    let mut in_turn = InTurn::default();
    let mut time = 0;
    let mut claim = |in_turn: &mut InTurn, number: u64, seconds: i64| {
        time += seconds;
        in_turn.claim(mac(number), (UnixTime::new(time, 0), None));
    };
    for number in (10..3000 + 10).step_by(2) {
        [number, number + 1, number].into_iter().for_each(|one| claim(&mut in_turn, one, 1));
    }
    assert!(in_turn.pairs.len() <= PAIRS && in_turn.is_cut);
    for _ in 0..10 {
        [1, 2].into_iter().for_each(|one| claim(&mut in_turn, one, 300));
    }
    let found = in_turn.finish();
    assert!(found.iter().any(|one| one.macs == [mac(1), mac(2)]), "{found:?}");
}

/// Who claims the address of a device that is silent for hours is not there at the same time, however often it does so.
#[test]
fn a_quiet_device() {
    let owner = claims(1, 0, (20, 3 * HOUR));
    let rows = changes_of(&[owner, claims(2, 2 * HOUR, (19, 3 * HOUR))].concat(), 0);
    assert_eq!(rows.len(), 39);
    assert!(rows.iter().all(|row| row.4.is_none()), "{rows:?}");
}

/// Old sightings that the history has together are claims without a gap: one of another device lies between them.
#[test]
fn old_sightings_together() {
    let (_directory, path) = history(&[(2, 5 * HOUR, 1)]);
    let nanos = |seconds: i64| (BEGIN + seconds) * 1_000_000_000;
    let span = format!(
        "CREATE TABLE sighting_span (pairing, first, last, count, first_origin, last_origin, PRIMARY KEY (pairing, first)) WITHOUT ROWID;
        INSERT INTO sighting_span VALUES (1, {}, {}, 200, 1, 1)",
        nanos(0),
        nanos(20 * HOUR)
    );
    Connection::open(&path).unwrap().execute_batch(&span).unwrap();
    let rows = rows(&path, 0);
    assert_eq!(rows[1], row(5 * HOUR, ("changed", 2, Some(1), Some(5 * HOUR))));
}

/// The same from all sightings, also those before the first change.
fn all_changes_of(seen: &[Seen], from: i64) -> Vec<Row> {
    let (_directory, path) = history(seen);
    let mut reader = SqliteReader::open(&path, None).unwrap();
    let (ip, range) = ([10, 2, 0, 1].into(), since(from));
    let nearest = reader.nearest(ip, just_before(range)).unwrap();
    let clocks = reader.clocks().asked(range);
    let found = periods(&mut reader, ip, range, &clocks, &nearest).unwrap();
    let mut shared = by_pair(found.shared);
    let number = |mac: MacAddr| mac.octets()[5];
    let seconds = |time: UnixTime| time.seconds() - BEGIN;
    let new = found.periods.iter().map(|one| &one.period).filter(|one| !one.is_older).map(|one| {
        let before = one.previous.map(|(mac, _)| number(mac));
        let change = if before.is_some() { "changed" } else { "new" };
        let until = until(one, &mut shared).map(seconds);
        (seconds(one.first), change.to_owned(), number(one.mac), before, until)
    });
    new.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is not read before a change decides nothing.
    #[test]
    fn what_is_not_read_changes_nothing(
        seen in vec((1..4_u8, 0..20 * 24_i64, prop_oneof![4 => Just(1_i64), 1 => Just(7_i64), 1 => Just(2_i64)]), 1..30),
        from in 0..10 * 24_i64,
    ) {
        let seen: Vec<Seen> = seen.into_iter().map(|(last, hours, origin)| (last, hours * HOUR, origin)).collect();
        let mut found = changes_of(&seen, from * HOUR);
        found.retain(|row| row.1 != "shared");
        prop_assert_eq!(found, all_changes_of(&seen, from * HOUR));
    }
}

/// Of an address that another device took, and the one before left, the sightings from then on are read, and not those of weeks
/// before.
#[test]
fn only_what_follows_a_change_is_read() {
    let read = |days: i64| {
        let seen = [claims(1, 0, (days * 288, 300)), claims(2, days * 24 * HOUR, (5, 300))];
        let (_directory, path) = history(&seen.concat());
        let mut reader = SqliteReader::open(&path, None).unwrap();
        let range = since(HOUR);
        let nearest = reader.nearest([10, 2, 0, 1].into(), just_before(range)).unwrap();
        let clocks = reader.clocks().asked(range);
        let first = first_change(&nearest, range, &clocks).unwrap();
        let ip = [10, 2, 0, 1].into();
        let (range, _) = without_return(&mut reader, ip, (range, first), nearest).unwrap();
        let mut number = 0;
        reader.sightings(ip, range, &mut |_| number += 1).unwrap();
        number
    };
    assert_eq!(read(3), 5);
    assert_eq!(read(13), 5);
}
