use aw_output::NAMES_ROOM;
use shm_layout::{NameKind, NameText};

use super::*;
use crate::schema;

const DAY: i64 = 86_400;
const BEGIN: i64 = 1_600_000_000; // no clock is before it

fn database() -> Connection {
    let mut database = Connection::open_in_memory().unwrap();
    assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
    database.execute_batch("PRAGMA foreign_keys = off").unwrap();
    database
}

/// Names that are added at a time in seconds, and written at once or not.
struct Writer {
    database: Connection,
    rows: NameRows,
    places: RowWriter,
    begin: Instant,
}

impl Writer {
    fn new(most: usize) -> Writer {
        let begin = Instant::now();
        let rows = NameRows { most, ..NameRows::new(begin) };
        Writer { database: database(), rows, places: RowWriter::default(), begin }
    }

    fn add(&mut self, mac: u32, name: &str, vlan: u16, seconds: i64) {
        let [a, b, c, d] = mac.to_be_bytes();
        let time = UnixTime::new(seconds, 0);
        let mut record = NameRecord::new(NameKind::Lldp, time, "eth0".parse().unwrap());
        (record.mac, record.name) = (MacAddr::new([2, 0, a, b, c, d]), NameText::cut(name));
        record.vlan = shm_layout::VlanId::from_tag(vlan);
        let entry = NameEntry { ring: &"test".parse().unwrap(), host: "here", record };
        self.rows.add(&self.database, &mut self.places, &entry).unwrap();
    }

    /// An address that a MAC announces, a different one for each.
    fn add_address(&mut self, mac: u32, seconds: i64) {
        let [a, b, c, d] = mac.to_be_bytes();
        let ip = std::net::Ipv4Addr::new(10, b, c, d).to_string();
        let used = NameUse::new(UnixTime::new(seconds, 0), 1);
        let (mac, claim) = (MacAddr::new([2, 0, a, b, c, d]), (1, NameSource::MdnsAddress, &*ip));
        self.rows.add_name(&self.database, mac, claim, used).unwrap();
    }

    /// So many seconds after the beginning.
    fn write(&mut self, seconds: u64, all: bool) {
        let now = self.begin + Duration::from_secs(seconds);
        self.rows.write((&self.database, &mut self.places), now, all).unwrap();
    }

    fn number(&self, select: &str) -> i64 {
        self.database.query_row(select, [], |row| row.get(0)).unwrap()
    }

    fn names(&self, mac: u32) -> Vec<(String, i64, i64, i64)> {
        let [a, b, c, d] = mac.to_be_bytes();
        let mac = MacAddr::new([2, 0, a, b, c, d]).number() as i64;
        let select = "SELECT name, first / 1000000000, last / 1000000000, count FROM claimed_name
            WHERE mac = ? ORDER BY first, name";
        let mut select = self.database.prepare(select).unwrap();
        let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        select.query_map([mac], row).unwrap().map(Result::unwrap).collect()
    }
}

/// Made-up VLANs are no transactions of their own.
#[test]
fn places_are_written_with_their_names() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    let changes = writer.number("SELECT total_changes()");
    (1..100).for_each(|vlan| writer.add(1, "nas", vlan, BEGIN));
    (1..100).for_each(|vlan| writer.add(1, "nas", vlan, BEGIN + 1));
    assert_eq!(writer.number("SELECT total_changes()"), changes);
    assert!(writer.rows.is_due(writer.begin, None, Duration::ZERO));
    writer.write(0, false);
    assert_eq!(writer.number("SELECT count(*) FROM place"), 99);
    assert_eq!(writer.names(1)[0], ("nas".into(), BEGIN, BEGIN + 1, 2));
}

/// A thousand devices repeat their names each minute: that is written once an hour, and a new name with the next commit.
#[test]
fn repeats_write_once_an_hour() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    let changes = |writer: &Writer| writer.number("SELECT total_changes()");
    let (begin, mut written) = (changes(&writer), Vec::new());
    for minute in 0..=120 {
        (0..1000).for_each(|mac| writer.add(mac, "nas", 0, BEGIN + minute * 60));
        writer.write(minute as u64 * 60, false);
        written.push(changes(&writer) - begin);
    }
    assert_eq!((written[0], written[59]), (1001, 1001), "with a place");
    assert_eq!((written[60], written[119], written[120]), (2001, 2001, 3001));
    assert_eq!(writer.names(7), [("nas".into(), BEGIN, BEGIN + 7200, 121)]);
    writer.add(7, "nas-2", 0, BEGIN + 7201);
    assert_eq!(writer.rows.urgent, 1);
    writer.write(7201, false);
    assert_eq!(writer.names(7).len(), 2);
    assert_eq!(changes(&writer) - begin, 3002);
    // A device with two names repeats both; one that is back after an hour is a change.
    writer.add(7, "nas", 0, BEGIN + 7203);
    writer.add(7, "nas-2", 0, BEGIN + 7204);
    assert_eq!(writer.rows.urgent, 0);
    writer.add(7, "nas", 0, BEGIN + 7203 + 3_600);
    assert_eq!(writer.rows.urgent, 1);
    writer.write(7205, false);
    assert_eq!(writer.names(7)[0].2, BEGIN + 7203 + 3_600);
    assert_eq!(changes(&writer) - begin, 3003);
}

/// However many devices there are, what they repeat is written once an hour.
#[test]
fn repeats_of_many_devices() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    let changes = |writer: &Writer| writer.number("SELECT total_changes()");
    for minute in 0..60 {
        (0..9_000).for_each(|mac| writer.add(mac, "nas", 0, BEGIN + minute * 60));
        writer.write(minute as u64 * 60, false);
        assert!(!writer.rows.is_due(writer.begin, None, Duration::ZERO));
    }
    let (begin, all) = (9_000 + 1, changes(&writer));
    assert!(all <= begin + 50, "{all}"); // with the tables
}

/// A host that makes up MACs pushes out none that has used its name for a day, also when the first is forgotten in memory.
#[test]
fn a_flood_of_macs() {
    let begin = UnixTime::now().seconds() - 5 * DAY;
    let mut writer = Writer::new(4_000);
    for (mac, name) in [(1, "nas"), (2, "printer")] {
        writer.add(mac, name, 0, begin);
        writer.write(0, true);
        writer.add(mac, name, 0, begin + DAY);
        writer.write(0, true);
    }
    writer.add(3, "new", 0, begin + DAY);
    for mac in 0..20_000 {
        writer.add(1_000 + mac, "made-up", 0, begin + DAY + i64::from(mac) / 20);
        if mac % 500 == 0 {
            writer.write(0, false);
            assert!(writer.number("SELECT count(*) FROM claimed_name") <= 4_000);
            assert!(writer.rows.devices.len() <= CACHED + 500, "those that are written go");
        }
    }
    writer.write(0, false);
    assert_eq!(writer.names(1), [("nas".into(), begin, begin + DAY, 2)]);
    assert_eq!(writer.names(2).len(), 1);
    assert_eq!(writer.names(20_999).len(), 1, "who is new has a name, too");
    // A known device has its new name during the flood.
    writer.add(1, "nas-2", 0, begin + DAY + 2_000);
    writer.write(0, false);
    assert_eq!(writer.names(1).len(), 2);
    // All that are there have used their names for days.
    let old = "UPDATE claimed_name SET first = first - 2 * 86400000000000";
    writer.database.execute_batch(old).unwrap();
    for mac in 0..10_000 {
        writer.add(50_000 + mac, "made-up", 0, begin + 3 * DAY);
    }
    writer.write(0, false);
    assert!(writer.number("SELECT count(*) FROM claimed_name") <= 4_000);
    assert!(writer.rows.full.is_present());
    assert_eq!((writer.names(1).len(), writer.names(2).len()), (2, 1));
}

/// Who forges a MAC, with any name and VLAN, does not push out the name that it has used for a day.
#[test]
fn a_flood_of_names() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    writer.add(1, "nas", 0, BEGIN);
    writer.add(1, "nas", 0, BEGIN + DAY);
    for number in 0..1_000 {
        writer.add(1, &format!("forged-{number}"), number % 50, BEGIN + DAY + 1);
        if number % 10 == 0 {
            writer.write(0, false);
        }
    }
    writer.write(0, false);
    let names = writer.names(1);
    assert_eq!((names.len(), &names[0].0[..]), (NAMES_OF_DEVICE, "nas"));
    assert_eq!(writer.number("SELECT count(*) FROM claimed_name"), NAMES_OF_DEVICE as i64);
    // Also if each forged one is repeated after a day.
    for day in 2..5 {
        for number in 0..100 {
            writer.add(1, &format!("again-{number}"), 0, BEGIN + day * DAY);
            writer.add(1, &format!("again-{number}"), 0, BEGIN + (day + 1) * DAY + number);
        }
        writer.write(0, true);
    }
    assert_eq!(&writer.names(1)[0].0[..], "nas");
    // The same after a restart.
    writer.rows = NameRows::new(writer.begin);
    writer.add(1, "other", 0, BEGIN + 9 * DAY);
    writer.write(0, false);
    let names = writer.names(1);
    assert_eq!((names.len(), &names[0].0[..]), (NAMES_OF_DEVICE, "nas"));
}

/// What is deleted is forgotten, with what was repeated before and is not written: the next message begins again.
#[test]
fn deleted_names() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    writer.add(1, "nas", 0, BEGIN);
    writer.write(0, false);
    writer.add(1, "nas", 0, BEGIN + 30);
    writer.database.execute_batch("DELETE FROM claimed_name").unwrap();
    writer.write(0, true);
    assert_eq!(writer.names(1), []);
    writer.add(1, "nas", 0, BEGIN + 60);
    writer.write(0, true);
    assert_eq!(writer.names(1), [("nas".into(), BEGIN + 60, BEGIN + 60, 1)]);
    // The next message stores it, and not the first one after the next hour; also what was repeated in between is forgotten.
    writer.add(1, "nas", 0, BEGIN + 70);
    writer.database.execute_batch("DELETE FROM claimed_name").unwrap();
    writer.add(1, "nas", 0, BEGIN + 80);
    assert!(writer.rows.is_due(writer.begin, None, Duration::ZERO));
    writer.write(0, false);
    assert_eq!(writer.names(1), [("nas".into(), BEGIN + 80, BEGIN + 80, 1)]);
    // Retention: by age; and those of MACs without a pairing a day after the newest name.
    let add = |writer: &mut Writer, mac, time| {
        writer.add(mac, "nas", 0, time);
        writer.write(0, true);
    };
    let pairing = "INSERT INTO pairing VALUES (1, x'0a000001', 0x020000000002, 1, '10.0.0.1', -1)";
    writer.database.execute_batch(pairing).unwrap();
    add(&mut writer, 2, BEGIN + 60);
    add(&mut writer, 3, BEGIN + 2 * DAY);
    assert_eq!(delete_names(&writer.database, i64::MIN, 10), Ok(1));
    let lens = |writer: &Writer| [1, 2, 3].map(|mac| writer.names(mac).len());
    assert_eq!(lens(&writer), [0, 1, 1]);
    let before = (BEGIN + DAY) * 1_000_000_000;
    assert_eq!(delete_names(&writer.database, before, 10), Ok(1));
    assert_eq!(lens(&writer), [0, 0, 1]);
}

/// Many names of each of some MACs, of which one is repeated after a day, do not fill the table for good; nor do those that are not used any more.
#[test]
fn a_table_that_is_full() {
    let mut writer = Writer::new(3_200);
    for mac in 0..100 {
        (0..32).for_each(|name| writer.add(mac, &format!("made-up-{name}"), 0, BEGIN));
    }
    writer.write(0, true);
    (0..100).for_each(|mac| writer.add(mac, "made-up-0", 0, BEGIN + DAY));
    writer.write(0, true);
    writer.add(7_000, "nas", 0, BEGIN + DAY);
    writer.write(0, true);
    assert_eq!(writer.names(7_000).len(), 1);
    let known = "UPDATE claimed_name SET last = first + 86400000000000 WHERE mac != 0x020000001b58";
    writer.database.execute_batch(known).unwrap();
    for mac in 0..3_200 {
        writer.add(10_000 + mac, "new", 0, BEGIN + 2 * DAY);
    }
    writer.write(0, true);
    assert!(!writer.rows.full.is_present(), "they were not used for 30 days");
}

/// What was stored while the clock was ahead makes no other name old.
#[test]
fn a_clock_that_was_ahead() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    writer.add(1, "nas", 0, BEGIN);
    writer.add(2, "ahead", 0, 4_000_000_000);
    writer.write(0, true);
    assert_eq!(delete_names(&writer.database, i64::MIN, 10), Ok(0));
    writer.rows = NameRows::new(writer.begin);
    writer.add(2, "now", 0, UnixTime::now().seconds() + 10);
    writer.add(2, "now", 0, UnixTime::now().seconds() + 20);
    let claims = writer.rows.devices.values().flatten();
    assert_eq!(claims.max_by_key(|claim| claim.used.last).unwrap().name, "now");
}

/// Before the clock was set, times count only if there are no others.
#[test]
fn a_clock_that_was_not_set() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    writer.add(1, "nas", 0, 100);
    writer.write(0, true);
    assert_eq!(writer.names(1), [("nas".into(), 100, 100, 1)]);
    writer.add(1, "nas", 0, BEGIN);
    writer.add(1, "nas", 0, 200);
    writer.write(0, true);
    assert_eq!(writer.names(1), [("nas".into(), BEGIN, BEGIN, 3)]);
}

/// Addresses never push out names, and all of them make room for names before one does that was used for a day.
#[test]
fn names_come_before_addresses() {
    let mut writer = Writer::new(100);
    let addresses =
        |writer: &Writer| writer.number("SELECT count(*) FROM claimed_name WHERE source > 7");
    let names =
        |writer: &Writer| writer.number("SELECT count(*) FROM claimed_name WHERE source = 5");
    // Full of addresses that were used for a day: names are stored.
    (0..100).for_each(|mac| writer.add_address(mac, BEGIN));
    (0..100).for_each(|mac| writer.add_address(mac, BEGIN + DAY));
    writer.write(0, true);
    assert_eq!((addresses(&writer), names(&writer)), (100, 0));
    (200..250).for_each(|mac| writer.add(mac, "nas", 0, BEGIN + DAY));
    writer.write(100, false);
    assert_eq!(names(&writer), 50);
    // Full of names, of less than a day: addresses are not stored.
    (300..350).for_each(|mac| writer.add(mac, "nas", 0, BEGIN + DAY));
    writer.write(200, false);
    assert_eq!(names(&writer), 100);
    (400..450).for_each(|mac| writer.add_address(mac, BEGIN + DAY));
    writer.write(300, true);
    assert_eq!((addresses(&writer), names(&writer)), (0, 100));
}

/// In a table that is full of addresses that were used for a day, a name pushes out no name of today, and is stored also just after an address
/// found no room.
#[test]
fn names_in_a_table_of_addresses() {
    let begin = UnixTime::now().seconds() - 5 * DAY;
    let names = "SELECT count(*) FROM claimed_name WHERE source = 5";
    let mut writer = Writer::new(3_000);
    (0..2_000).for_each(|mac| writer.add_address(mac, begin));
    (0..2_000).for_each(|mac| writer.add_address(mac, begin + DAY));
    (5_000..6_000).for_each(|mac| writer.add(mac, "nas", 0, begin + DAY));
    writer.write(0, true);
    writer.add(7_000, "nas", 0, begin + DAY);
    writer.write(1, false);
    assert_eq!(writer.number(names), 1_001);
    // Only as many as make room go.
    assert_eq!(writer.number("SELECT count(*) FROM claimed_name"), 3_000 - NAMES_ROOM as i64 + 1);
    let mut writer = Writer::new(3_000);
    (0..3_000).for_each(|mac| writer.add_address(mac, begin));
    (0..3_000).for_each(|mac| writer.add_address(mac, begin + DAY));
    writer.write(0, true);
    writer.add_address(7_000, begin + DAY);
    writer.write(10, false);
    assert!(writer.rows.full.is_present());
    writer.add(7_001, "nas", 0, begin + DAY);
    writer.write(20, false);
    assert_eq!(writer.number(names), 1);
    assert!(!writer.rows.full.is_present());
}

/// A device that no sighting shows keeps the address that it announced for a day, and its name; with retention, they have its time.
#[test]
fn addresses_stay_without_a_pairing() {
    let writer = Writer::new(100);
    let insert = "INSERT INTO claimed_name VALUES (?, 1, ?, ?, ?, ?, 1)";
    let at = |seconds: i64| (BEGIN + seconds) * 1_000_000_000;
    for (mac, source, name, first, last) in [
        (1, 8, "10.0.0.1", 0, DAY),
        (1, 4, "nas", 0, DAY),
        (2, 8, "10.0.0.2", 0, 0),
        (2, 4, "phone", 0, DAY),
        (3, 4, "new", 9 * DAY, 9 * DAY),
    ] {
        writer.database.execute(insert, params![mac, source, name, at(first), at(last)]).unwrap();
    }
    assert_eq!(delete_names(&writer.database, i64::MIN, 100), Ok(2));
    let left =
        "SELECT group_concat(name) FROM (SELECT name FROM claimed_name ORDER BY mac, source)";
    let left: String = writer.database.query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(left, "nas,10.0.0.1,new");
    assert_eq!(delete_names(&writer.database, at(2 * DAY), 100), Ok(2));
}

/// An address that begins has two rows, which do not push out each other; a flood pushes out few of those that were used for a day.
#[test]
fn addresses_of_a_device_that_moves() {
    let mut writer = Writer::new(NAMES_OF_ALL);
    let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
    let mut add = |source, last: i64, seconds: i64| {
        let (ip, time) = (format!("10.0.0.{last}"), UnixTime::new(BEGIN + seconds, 0));
        let claim = (1, source, &*ip);
        writer.rows.add_name(&writer.database, mac, claim, NameUse::new(time, 1)).unwrap();
        let addresses = writer.rows.devices[&mac].iter().filter(|one| one.used.is_known());
        let mut addresses: Vec<_> = addresses.map(|one| one.name.clone()).collect();
        addresses.dedup();
        addresses
    };
    use NameSource::{MdnsAddress, RequestedAddress};
    for n in 0..10 {
        for second in [n * 2 * DAY, n * 2 * DAY + DAY] {
            add(RequestedAddress, n, second);
            add(MdnsAddress, n, second + 1);
        }
    }
    let left = add(MdnsAddress, 9, 30 * DAY);
    assert!((2..10).all(|n| left.contains(&format!("10.0.0.{n}"))), "{left:?}");
    (0..200).for_each(|n| drop(add(MdnsAddress, 50 + n, 31 * DAY + n)));
    let left = add(MdnsAddress, 9, 32 * DAY);
    assert!((4..10).all(|n| left.contains(&format!("10.0.0.{n}"))), "{left:?}");
}

/// In several places an address has several rows, which do not push out each other: it is known after a day, also where there are more places than
/// rows. So is each of several addresses that are repeated in turn.
#[test]
fn addresses_in_several_places() {
    let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
    let sources = [NameSource::RequestedAddress, NameSource::MdnsAddress];
    let add = |writer: &mut Writer, place, source, last: i64, seconds: i64| {
        let (ip, time) = (format!("10.0.0.{last}"), UnixTime::new(BEGIN + seconds, 0));
        let (claim, used) = ((place, source, &*ip), NameUse::new(time, 1));
        writer.rows.add_name(&writer.database, mac, claim, used).unwrap();
    };
    let known = |writer: &Writer, last: i64| {
        let name = format!("10.0.0.{last}");
        let of = writer.rows.devices[&mac].iter().filter(|one| one.name == name);
        of.filter(|one| one.used.is_known()).count()
    };
    let mut writer = Writer::new(NAMES_OF_ALL);
    for n in 0..6 {
        for second in [n * 2 * DAY, n * 2 * DAY + DAY] {
            for place in 1..=3 {
                for source in sources {
                    add(&mut writer, place, source, n, second + place);
                }
            }
        }
    }
    assert_eq!([5, 4, 3, 2].map(|last| known(&writer, last)), [6, 6, 4, 0]);
    let mut writer = Writer::new(NAMES_OF_ALL);
    for second in (0..=DAY + 60).step_by(60) {
        (1..=20).for_each(|place| add(&mut writer, place, sources[1], 1, second + place));
    }
    assert_eq!(known(&writer, 1), ADDRESSES_OF_DEVICE);
    // Places that are not used any more make room.
    (101..=104).for_each(|place| add(&mut writer, place, sources[1], 1, 3 * DAY));
    assert_eq!(known(&writer, 1), ADDRESSES_OF_DEVICE - 4);
    let mut writer = Writer::new(NAMES_OF_ALL);
    for second in (0..=DAY + 600).step_by(60) {
        (1..=18).for_each(|last| add(&mut writer, 1, sources[1], last, second + last));
    }
    let known = (1..=18).filter(|last| known(&writer, *last) == 1).count();
    assert!(known >= ADDRESSES_OF_DEVICE - NEW, "{known}");
}

/// New rows that may be among those of a MAC.
const NEW: usize = 4;
