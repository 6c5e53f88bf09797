use std::path::{Path, PathBuf};

use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use super::*;
use crate::{address_rows::just_before, history_reader::HistoryReader, queries::is_unchanged};

const TABLES: &str = "
    PRAGMA application_id = 0x41576869; PRAGMA user_version = 1;
    CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
    CREATE TABLE pairing (id INTEGER PRIMARY KEY, address BLOB, mac INTEGER, place INTEGER, source INTEGER);
    CREATE TABLE sighting (pairing, time, origin, again, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
    INSERT INTO place VALUES (1, 'here', '/addrwatch', 'eth0', 0, 0, '');";

/// A sighting: pairing, seconds, origin.
type Sighting = (i64, i64, i64);

/// Pairings with a number, of which every third one is of frames of another MAC, and their sightings.
fn database(sightings: &[Sighting]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut database = Connection::open(&path).unwrap();
    database.execute_batch(TABLES).unwrap();
    let transaction = database.transaction().unwrap();
    for (again, (pairing, seconds, origin)) in (0..).zip(sightings) {
        add_pairing(&transaction, *pairing);
        let insert = "INSERT INTO sighting VALUES (?, ?, ?, ?)";
        let mut insert = transaction.prepare_cached(insert).unwrap();
        insert.execute([*pairing, seconds * 1_000_000_000, *origin, again]).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    (directory, path)
}

fn add_pairing(database: &Connection, pairing: i64) {
    let source = if pairing % 3 == 2 { 9 } else { -1 };
    let address = (0x0a00_0000 + pairing as u32).to_be_bytes();
    let insert = "INSERT OR IGNORE INTO pairing VALUES (?1, ?2, ?1, 1, ?3)";
    let mut insert = database.prepare_cached(insert).unwrap();
    insert.execute(rusqlite::params![pairing, address, source]).unwrap();
}

/// The same from sums over all rows.
fn counted(sightings: &[Sighting], range: TimeRange, set: UnixTime) -> Vec<PairingSummary> {
    let mut found: Vec<PairingSummary> = Vec::new();
    let ids: std::collections::BTreeSet<i64> = sightings.iter().map(|one| one.0).collect();
    for id in ids {
        let is_pairing = |origin| evidence(origin).is_pairing();
        let all: Vec<(UnixTime, i64)> = sightings
            .iter()
            .map(|(pairing, seconds, origin)| (*pairing, UnixTime::new(*seconds, 0), *origin))
            .filter(|(pairing, time, origin)| {
                *pairing == id && (range.from..range.to).contains(time) && is_pairing(*origin)
            })
            .map(|(_, time, origin)| (time, origin))
            .collect();
        let times = || all.iter().map(|(time, _)| *time);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { continue };
        let dated = times().filter(|time| *time >= set).min();
        let (first, has_undated) = (dated.unwrap_or(first), dated.is_some_and(|it| it > first));
        let mac = parse_mac(id).unwrap();
        let source = (id % 3 == 2).then(|| parse_mac(9).unwrap());
        let has_claim = all.iter().any(|(_, origin)| evidence(*origin) == Evidence::Claim);
        let has_answer = all.iter().any(|(_, origin)| *origin == 7);
        let is_claimed = has_claim && source.is_none();
        found.push(PairingSummary {
            network: 0,
            mac,
            ip: std::net::IpAddr::from((0x0a00_0000 + id as u32).to_be_bytes()),
            source,
            first,
            has_undated,
            last,
            count: Some(all.len() as u64),
            is_claimed,
            is_answered: !is_claimed && (has_claim || has_answer),
        });
    }
    found
}

fn sighting() -> impl Strategy<Value = Sighting> {
    let seconds = prop_oneof![10..1000_i64, 1_700_000_000..1_700_001_000_i64];
    (1..9_i64, seconds, 0..18_i64)
}

/// What else a history may have: new sightings; spans, as pairing, begin and seconds, of frames of the MAC itself; two places, and
/// addresses of several MACs.
const FURTHER: &str = "
    CREATE TABLE recent_sighting (slot INTEGER PRIMARY KEY, shift INTEGER, pairing INTEGER, origin INTEGER);
    CREATE TABLE recent_filing (before INTEGER, pairing INTEGER, time INTEGER);
    CREATE TABLE sighting_span (pairing INTEGER, first INTEGER, last INTEGER, count INTEGER, first_origin INTEGER,
        last_origin INTEGER, PRIMARY KEY (pairing, first)) WITHOUT ROWID;
    INSERT INTO place VALUES (2, 'here', '/addrwatch', 'eth0', 7, 0, '');";
const OTHER_PLACES: &str = "
    UPDATE pairing SET place = 1 + id % 2, address = CASE WHEN id > 5 THEN x'0a000001' ELSE address END;";

fn add_further(path: &Path, recent: &[Sighting], spans: &[Sighting]) {
    const NANOS: i64 = 1_000_000_000;
    let mut database = Connection::open(path).unwrap();
    database.execute_batch(FURTHER).unwrap();
    let transaction = database.transaction().unwrap();
    for (shift, (pairing, seconds, origin)) in (0..).zip(recent) {
        let insert = "INSERT INTO recent_sighting VALUES (?, ?, ?, ?)";
        let slot = seconds * NANOS + shift;
        add_pairing(&transaction, *pairing);
        transaction.execute(insert, [slot, shift, *pairing, *origin]).unwrap();
    }
    for (pairing, first, seconds) in spans.iter().filter(|(pairing, ..)| pairing % 3 != 2) {
        add_pairing(&transaction, *pairing);
        let [first, last] = [*first, first + seconds].map(|at| at * NANOS);
        let insert = "INSERT OR IGNORE INTO sighting_span VALUES (?, ?, ?, 5, 1, 1)";
        transaction.execute(insert, [*pairing, first, last]).unwrap();
    }
    transaction.execute_batch(OTHER_PLACES).unwrap();
    transaction.commit().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The searches find what sums over all rows are.
    #[test]
    fn searches_find_what_sums_are(
        sightings in vec(sighting(), 0..60),
        limits in (prop_oneof![Just(None), Just(Some(5)), (1_700_000_000..1_700_001_000_i64).prop_map(Some)], prop_oneof![Just(None), Just(Some(900)), (1_700_000_000..1_700_001_000_i64).prop_map(Some)]),
    ) {
        let time = |seconds: Option<i64>| seconds.map(|seconds| UnixTime::new(seconds, 0));
        let (from, to) = (time(limits.0), time(limits.1));
        let range = TimeRange {
            from: from.unwrap_or(TimeRange::ALL.from),
            to: to.unwrap_or(TimeRange::ALL.to),
        };
        let (_directory, path) = database(&sightings);
        let mut history = SqliteReader::open(&path, None).unwrap();
        let [set, _] = history.clocks().asked(range).limits();
        let mut expected = counted(&sightings, range, set);
        prop_assert_eq!(&history.pairings(range, true).unwrap(), &expected);
        expected.iter_mut().for_each(|one| one.count = None);
        prop_assert_eq!(&history.pairings(range, false).unwrap(), &expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// An address that is omitted has no change; of the pairings here, some have one address.
    #[test]
    fn no_change_is_omitted(
        sightings in vec(sighting(), 0..60),
        recent in vec(sighting(), 0..10),
        spans in vec((1..9_i64, 1_700_000_000..1_700_001_000_i64, 1..900_i64), 0..10),
        (from, to) in (1_700_000_000..1_700_001_000_i64, prop_oneof![Just(None), (1..900_i64).prop_map(Some)]),
    ) {
        let (_directory, path) = database(&sightings);
        add_further(&path, &recent, &spans);
        let mut history = SqliteReader::open(&path, None).unwrap();
        let to = to.map_or(TimeRange::ALL.to, |length| UnixTime::new(from + length, 0));
        let range = TimeRange { from: UnixTime::new(from, 0), to };
        let all = history.addresses(range).unwrap();
        let changed = history.changed_addresses(range).unwrap();
        prop_assert!(changed.iter().all(|ip| all.contains(ip)));
        let omitted: Vec<_> = all.into_iter().filter(|ip| !changed.contains(ip)).collect();
        let nearest = history.nearest_of_each(&omitted, just_before(range)).unwrap();
        let clocks = history.clocks().asked(range);
        for (ip, nearest) in omitted.iter().zip(nearest) {
            prop_assert!(is_unchanged(&nearest, range, &clocks), "{} {:?}", ip, nearest);
        }
    }
}

/// What takes most of the time is not asked of an address that one device has had all the time.
#[test]
fn most_addresses_are_omitted() {
    let seen = |pairing| (0..3).map(move |at| (pairing, 1_710_000_000 + 3600 * at, 1));
    let sightings: Vec<Sighting> = [1, 3, 4].into_iter().flat_map(seen).collect();
    let (_directory, path) = database(&sightings);
    let late = "INSERT INTO sighting VALUES (4, 1720000000000000000, 1, 0);
        DELETE FROM sighting WHERE pairing = 3 AND time < 1710007200000000000;";
    Connection::open(&path).unwrap().execute_batch(late).unwrap();
    let mut history = SqliteReader::open(&path, None).unwrap();
    let range = TimeRange { from: UnixTime::new(1_710_003_000, 0), to: TimeRange::ALL.to };
    assert_eq!(history.addresses(range).unwrap().len(), 3);
    assert_eq!(history.changed_addresses(range).unwrap(), [std::net::IpAddr::from([10, 0, 0, 3])]);
}

/// A thousand times the rows take the same steps, also of pairings that begin with a probe: the claim behind it is searched.
#[test]
fn steps_do_not_depend_on_rows() {
    let steps = |rows: i64| {
        let origin = |pairing: i64, row: i64| if row == 0 && pairing > 10 { 2 } else { row % 2 };
        let all =
            |row| (1..=20).map(move |pairing| (pairing, 1_700_000_000 + row, origin(pairing, row)));
        let sightings: Vec<Sighting> = (0..rows).flat_map(all).collect();
        let (_directory, path) = database(&sightings);
        let database = Connection::open(&path).unwrap();
        let mut searches = Searches::new(&database, TimeRange::ALL, false).unwrap();
        for pairing in 1..=20 {
            let mut seen = Seen::default();
            searches.add_to(&mut seen, pairing).unwrap();
            assert!(seen.has_claim && seen.count == 0, "{pairing}");
            assert_eq!(seen.last, Some(UnixTime::new(1_700_000_000 + rows - 1, 0)));
        }
        assert!(searches.claim.get_status(rusqlite::StatementStatus::VmStep) > 0);
        searches.steps()
    };
    assert_eq!(steps(3), steps(3000));
}

/// Claims and answers show that a MAC is in use, also in frames of another MAC; probes, signs of life and leases do not.
#[test]
fn macs_in_use() {
    let sightings = [(1, 5, 0), (2, 5, 0), (3, 5, 2), (4, 5, 16), (4, 6, 8), (5, 5, 2), (5, 6, 7)];
    let (_directory, path) = database(&sightings);
    let macs = [1, 2, 3, 4, 5, 77].map(|mac| parse_mac(mac).unwrap());
    let mut history = SqliteReader::open(&path, None).unwrap();
    let found = history.macs_in_use(&macs).unwrap();
    assert_eq!(found, [1, 2, 5].map(|mac| parse_mac(mac).unwrap()).into());
}
