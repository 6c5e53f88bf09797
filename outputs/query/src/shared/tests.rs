use std::path::PathBuf;

use proptest::{collection::vec, prelude::*};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    address_rows::{just_before, periods},
    history_reader::{HistoryReader, TimeRange},
    queries::{Query, first_change, without_return},
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
    let mut reader = SqliteReader::open(&path, None).unwrap();
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
/// the first time in it at which both were seen. One that went before is in none.
#[test]
fn an_address_in_turn_since_before() {
    const DAY: i64 = 24 * HOUR;
    let first = claims(1, 0, (20 * 24 * 12, 300));
    let seen = [first, claims(2, 100, (20 * 24 * 12, 300)), claims(3, 200, (12, 300))].concat();
    let week = changes_of(&seen, 13 * DAY);
    assert_eq!(week, [row(13 * DAY + 100, ("shared", 2, Some(1), Some(20 * DAY - 300)))]);
    let all = changes_of(&seen, 0);
    assert_eq!(all.iter().map(|row| &*row.1).collect::<Vec<_>>(), ["new", "changed", "changed"]);
    let gone = [claims(1, 0, (24, 300)), claims(2, 100, (100, 300))].concat();
    assert_eq!(changes_of(&gone, HOUR).len(), 1);
    assert_eq!(changes_of(&gone, 2 * HOUR), [], "the first one is gone");
}

/// One message that comes late is no use in turn; two are, and a claim is.
#[test]
fn a_late_message() {
    let until = |late: &[Seen]| {
        let owner = claims(1, 0, (20, 300)); // until 5700
        let seen = [&owner, late, &claims(2, 5750, (20, 300))].concat();
        changes_of(&seen, 0)[1].4
    };
    const ANSWER: i64 = 7; // of the MAC that has claimed the address
    assert_eq!(until(&[]), None);
    assert_eq!(until(&[(1, 5751, 0)]), Some(5751), "a claim");
    let owner_answers = |times: &[i64]| {
        // A MAC that only answers is overruled by claims, so the other one answers, too.
        let first = (0..20).map(|at| (1, at * 300, ANSWER));
        let second = (0..20).map(|at| (2, 5750 + at * 300, ANSWER));
        let late = times.iter().map(|time| (1, *time, ANSWER));
        let seen: Vec<_> = first.chain(late).chain(second).collect();
        changes_of(&seen, 0)[1].4
    };
    assert_eq!(owner_answers(&[]), None);
    assert_eq!(owner_answers(&[5751]), None, "it may be a frame that another one overtook");
    assert_eq!(owner_answers(&[5751, 5800]), Some(5800));
}

/// A device that is quiet for hours at times was not gone when another one took its address for a moment. One that was never
/// silent for so long before was, and one that is away in each night: a lease returns.
#[test]
fn a_quiet_device() {
    const QUIET: i64 = 3 * HOUR;
    let takeover = |apart: i64, back: i64| {
        let owner = claims(1, 0, (30 * QUIET / apart, apart));
        let last = owner[owner.len() - 1].1;
        let other = claims(2, last + 5000, (1, 1));
        let seen = [owner, other, claims(1, last + back, (5, 300))].concat();
        let rows: Vec<_> = changes_of(&seen, 0)
            .into_iter()
            .map(|row| (row.0 - last, row.4.map(|at| at - last)))
            .collect();
        rows[1..].to_vec()
    };
    assert_eq!(takeover(QUIET, QUIET), [(5000, Some(5000)), (QUIET, None)]);
    assert_eq!(takeover(QUIET, QUIET + 1), [(5000, None), (QUIET + 1, None)]);
    assert_eq!(takeover(HOUR, QUIET), [(5000, None), (QUIET, None)], "a lease");
    assert_eq!(takeover(5 * QUIET, 5 * QUIET), [(5000, None), (5 * QUIET, None)], "a night");
    // A silence that was longer ago than a week is no measure.
    let late = |ago: i64| {
        let owner = [claims(1, 0, (2, QUIET)), claims(1, 2 * QUIET, (ago / 300, 300))].concat();
        let last = owner[owner.len() - 1].1;
        let seen = [owner, claims(2, last + 5000, (1, 1)), claims(1, last + QUIET, (1, 1))];
        changes_of(&seen.concat(), 0)[1].4.is_some()
    };
    assert_eq!([2, 8].map(|days| late(days * 24 * HOUR)), [true, false]);
}

/// The same from all sightings, also those before the first change.
fn all_changes_of(seen: &[Seen], from: i64) -> Vec<Row> {
    let (_directory, path) = history(seen);
    let mut reader = SqliteReader::open(&path, None).unwrap();
    let (ip, range) = ([10, 2, 0, 1].into(), since(from));
    let nearest = reader.nearest(ip, just_before(range)).unwrap();
    let clocks = reader.clocks().asked(range);
    let found = periods(&mut reader, ip, range, &clocks, &nearest).unwrap().periods;
    let shared = Shared::new(&found);
    let number = |mac: MacAddr| mac.octets()[5];
    let seconds = |time: UnixTime| time.seconds() - BEGIN;
    let new = found.iter().map(|one| &one.period).filter(|one| !one.is_older).map(|one| {
        let before = one.previous.map(|(mac, _)| number(mac));
        let change = if before.is_some() { "changed" } else { "new" };
        let until = shared.until(one).map(seconds);
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
