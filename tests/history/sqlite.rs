//! `aw-sqlite`: every event once, after any kill; addrwatch's table, also an existing one; no writes without
//! events; deletion of old rows.
#![forbid(unsafe_code)]

use aw_tests::checkpoint::Checkpoint;
use aw_tests::collect::{collect, held};
use aw_tests::feed::{numbered_capture, publish};
use aw_tests::history::{History, Row, addrwatch_database};
use aw_tests::rig::{program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sample;
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

/// By number. The lines have one name for 3 and 8, and for 4 and 7.
const ORIGINS: [&str; 16] = [
    "ARP_REQ",
    "ARP_REP",
    "ARP_ACD",
    "ND_NS",
    "ND_NA",
    "ND_DAD",
    "MACUPD",
    "ND_NA",
    "ND_NS",
    "ND_RA",
    "ND_RD",
    "ND_RS",
    "ARP_NO_HOST",
    "ND_NO_HOST",
    "ARP_IGNORED",
    "ND_IGNORED",
];

/// The table has the same content as the lines, field by field.
#[test]
fn the_table_is_addrwatchs() {
    let ring = Ring::new();
    let history = History::new();
    collect(&ring, &sample::capture(), &["-q"]).ok();
    let ended = run(history.command(&ring, &["--once"])).ok();
    assert!(ended.stderr.ends_with(": 36 events, 0 lost\n"), "{}", ended.stderr);
    let line = |(time, interface, vlan, mac, ip, origin): Row| {
        format!("{time} {interface} {vlan} {mac} {ip} {}\n", ORIGINS[origin as usize])
    };
    let lines: String = history.rows("addrwatch").into_iter().map(line).collect();
    assert_eq!(lines, held(&ring));
    let mode = fs::metadata(history.database()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn the_table_has_another_name() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..4);
    run(history.command(&ring, &["--once", "--table", "seen"])).ok();
    assert_eq!(history.rows("seen").len(), 3);
    for bad in ["pairing", "a b", "sqlite_x"] {
        assert_eq!(run(history.command(&ring, &["--table", bad])).status.code(), Some(2), "{bad}");
    }
}

/// The same sighting twice at the same time is two rows.
#[test]
fn equal_sightings_are_two_rows() {
    let ring = Ring::new();
    let history = History::new();
    for _ in 0..3 {
        publish(&ring, 1..3);
    }
    run(history.command(&ring, &["--once"])).ok();
    let times: Vec<i64> = history.rows("addrwatch").iter().map(|row| row.0).collect();
    assert_eq!(times, [1, 1, 1, 2, 2, 2]);
}

/// A row is stored without another event after it. How soon is not shown here: aw-sqlite commits within its interval.
#[test]
fn a_row_waits_for_no_other_event() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..2);
    let output = history.start(&ring, &[]);
    wait_until("the first row", || history.count() == 1);
    publish(&ring, 2..3);
    wait_until("the second row", || history.count() == 2);
    output.stop().ok();
}

/// Killed at any moment, also while it creates its tables, and started again.
#[test]
fn kills_do_no_harm() {
    let ring = Ring::new();
    let history = History::new();
    for round in 0..20_u32 {
        publish(&ring, 1 + round * 2000..1 + (round + 1) * 2000);
        let before = history.count();
        let output = history.start(&ring, &[]);
        sleep(Duration::from_millis(u64::from(round * 13 % 70)));
        if round % 3 == 0 {
            wait_until("rows", || history.count() > before);
        }
        output.kill();
    }
    run(history.command(&ring, &["--once"])).ok();
    history.assert_exactly_once(&ring, 40_001);
}

/// Without events nothing is written: not a byte in any of its files for twelve seconds, in which all that is done every second or
/// every five would have been done. What is done once a minute is not shown here.
#[test]
fn idle_it_writes_nothing() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..100);
    let output = history.start(&ring, &["--retention", "36500"]);
    wait_until("the rows", || history.count() == 99);
    let written = || {
        let io = fs::read_to_string(format!("/proc/{}/io", output.id())).expect("our own child");
        let line = io.lines().find(|line| line.starts_with("wchar: "));
        line.and_then(|line| line[7..].parse::<u64>().ok()).expect("a number")
    };
    // The state of the spool is written after five seconds, later on a busy machine: what is written every five seconds never ends.
    wait_until("nothing is written any more", || {
        let before = written();
        sleep(Duration::from_secs(12));
        written() == before
    });
    output.stop().ok();
}

/// A row of a table that addrwatch made.
fn old(number: u32) -> Row {
    let mac = format!("02:00:00:00:{:02x}:{:02x}", number / 256 % 40, number % 256);
    let ip = if number.is_multiple_of(3) {
        format!("2001:db8::{:x}", 1 + number % 500)
    } else {
        format!("10.0.{}.{}", number % 7, number % 250)
    };
    // Many in the same second, some of them equal except for their place in the table.
    let time = 1_600_000_000 + i64::from(number / 50);
    (time, format!("eth{}", number % 2), i64::from(number % 3), mac, ip, i64::from(number % 6))
}

/// All rows of addrwatch's database are available at any moment, while they are imported and the program is killed
/// repeatedly; new ones arrive meanwhile; and views of other programs on the table still work.
#[test]
fn an_old_database_is_continued() {
    const OLD: u32 = 200_000;
    let ring = Ring::new();
    let history = History::new();
    let doubled = |number: u32| old(if number.is_multiple_of(10) { number / 20 } else { number });
    addrwatch_database(history.database(), (0..OLD).map(doubled));
    let others = "CREATE VIEW theirs AS SELECT count(*) AS number FROM addrwatch";
    history.open().unwrap().execute_batch(others).unwrap();
    let before = history.rows("addrwatch");
    for round in 0..12_u64 {
        let output = history.start(&ring, &[]);
        sleep(Duration::from_millis(20 + 15 * round));
        output.kill();
        assert_eq!(history.count(), u64::from(OLD), "after kill {round}");
        assert_eq!(history.value::<i64>("SELECT number FROM theirs"), Some(i64::from(OLD)));
    }
    publish(&ring, 1..6);
    let ended = run(history.command(&ring, &["--once"])).ok();
    assert!(ended.stderr.contains("rows of addrwatch's table are imported"), "{}", ended.stderr);
    assert_eq!(history.checkpoint(&ring), Some(Checkpoint { began: 0, delivered: 5, lost: 0 }));
    let mut after = history.rows("addrwatch");
    assert_eq!(after.drain(..5).map(|row| row.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let sorted = |mut rows: Vec<Row>| {
        rows.sort();
        rows
    };
    assert!(sorted(after) == sorted(before), "rows differ");
    assert_eq!(history.value::<i64>("SELECT number FROM theirs"), Some(i64::from(OLD) + 5));
    let left = "SELECT count(*) FROM sqlite_schema WHERE name = 'addrwatch_old'";
    assert_eq!(history.value::<i64>(left), Some(0));
    let again = run(history.command(&ring, &["--once"])).ok();
    assert!(!again.stderr.contains("import"), "{}", again.stderr);
}

/// The name of the table is changed during the import, twice: no row is left behind, and every name shows them all.
#[test]
fn another_name_during_the_import() {
    const OLD: u32 = 200_000;
    let (ring, history) = (Ring::new(), History::new());
    addrwatch_database(history.database(), (0..OLD).map(old));
    let all = |name: &str| history.value::<i64>(&format!("SELECT count(*) FROM {name}"));
    let left = || all("addrwatch_old").unwrap_or(0);
    let output = history.start(&ring, &[]);
    wait_until("some are imported", || (1..i64::from(OLD)).contains(&left()));
    output.kill();
    let output = history.start(&ring, &["--table", "a1"]);
    wait_until("the other name is there", || all("a1").is_some());
    output.kill();
    assert!(left() > 0, "too fast for this test");
    for name in ["addrwatch", "a1"] {
        assert_eq!(all(name), Some(OLD.into()), "{name}");
    }
    // Another one of addrwatch's tables, in the same file: it is imported as well.
    let more = "CREATE TABLE a AS SELECT * FROM addrwatch LIMIT 30";
    history.open().unwrap().execute_batch(more).unwrap();
    publish(&ring, 1..6);
    run(history.command(&ring, &["--once", "--table", "a"])).ok();
    for name in ["addrwatch", "a1", "a"] {
        assert_eq!(all(name), Some(i64::from(OLD) + 35), "{name}");
    }
    let left = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%old'";
    assert_eq!(history.value::<i64>(left), Some(0));
}

/// A row that is not in addrwatch's format is not lost either: it stays, and is reported.
#[test]
fn rows_that_cannot_be_read_stay() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..2);
    let mut rows: Vec<Row> = (0..10).map(old).collect();
    rows[3].3 = "not a MAC".into();
    rows[5].4 = "10.0.0.999".into();
    rows[7].5 = 77;
    addrwatch_database(history.database(), rows);
    let null = "INSERT INTO addrwatch (timestamp) VALUES (NULL)";
    history.open().unwrap().execute_batch(null).unwrap();
    for _ in 0..2 {
        let ended = run(history.command(&ring, &["--once"])).ok();
        assert!(
            ended
                .stderr
                .contains("4 rows are not in addrwatch's format and stay in table addrwatch_old")
        );
        assert_eq!(history.count(), 12);
    }
    assert_eq!(history.value::<i64>("SELECT count(*) FROM addrwatch_old"), Some(4));
}

/// Databases of other programs are not changed.
#[test]
fn other_databases_are_refused() {
    let ring = Ring::new();
    for (sql, why) in [
        ("PRAGMA application_id = 5", "another program"),
        ("CREATE TABLE sighting (x)", "already has a table sighting"),
        ("CREATE TABLE addrwatch (timestamp)", "does not have the columns of addrwatch"),
        ("CREATE VIEW addrwatch AS SELECT 1", "its view addrwatch is not of aw-sqlite"),
        ("PRAGMA application_id = 1096247401; PRAGMA user_version = 99", "of version 99"),
    ] {
        let history = History::new();
        Connection::open(history.database()).unwrap().execute_batch(sql).unwrap();
        let refused = run(history.command(&ring, &["--once"]));
        refused.refused("aw-sqlite", &["open /", "lan.db: ", why]);
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'account'";
        assert_eq!(history.value::<i64>(tables), Some(0), "{sql}");
    }
    let nowhere = History::at("/nowhere/lan.db".into());
    run(nowhere.command(&ring, &[])).refused("aw-sqlite", &["no directory /nowhere", "--database"]);
}

/// Old rows are deleted, a few at a time, and new ones stay; the same holds for their pairings.
#[test]
fn old_rows_are_deleted() {
    let ring = Ring::new();
    let history = History::new();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let day = |days: i64| now - days * 86_400;
    let row = |number: u32| {
        let (_, interface, vlan, mac, ip, origin) = old(number % 100);
        let days = if number.is_multiple_of(4) || number % 100 == 1 { 40 } else { 20 };
        (day(days) + i64::from(number), interface, vlan, mac, ip, origin)
    };
    let all = || (0..60_000).map(row).chain([(now, "eth0".into(), 0, old(1).3, old(1).4, 0)]);
    addrwatch_database(history.database(), all());
    publish(&ring, 1..10); // in 1970: the clock was not set, so their age is not known
    let kept = all().filter(|row| row.0 > day(30)).count() as u64 + 9;
    let output = history.start(&ring, &["--retention", "30"]);
    wait_until("only new ones", || history.count() == kept);
    sleep(Duration::from_millis(300));
    assert_eq!(history.count(), kept);
    wait_until("pairings without rows are gone", || {
        let left = "SELECT count(*) FROM pairing
            WHERE id NOT IN (SELECT pairing FROM sighting UNION SELECT pairing FROM recent_sighting)";
        history.value::<i64>(left) == Some(0)
    });
    publish(&ring, 10..12); // it must not take a pairing for known that it forgot
    wait_until("new rows", || history.count() == kept + 2);
    assert_eq!(history.checkpoint(&ring).unwrap().delivered, 11);
    output.stop().ok();
}

/// The newest sighting is 40 days older than the clock, which may be wrong: nothing is deleted.
#[test]
fn a_clock_that_is_ahead() {
    let (ring, history) = (Ring::new(), History::new());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let row = |number: u32| {
        let (_, interface, vlan, mac, ip, origin) = old(number);
        (now - 40 * 86_400 - i64::from(number), interface, vlan, mac, ip, origin)
    };
    addrwatch_database(history.database(), (0..5000).map(row));
    publish(&ring, 1..11);
    let output = history.start(&ring, &["--retention", "30"]);
    output.stderr.wait_for("the clock is 40 days ahead of the newest sighting: nothing is deleted");
    publish(&ring, 11..21); // goes on
    wait_until("new rows", || history.checkpoint(&ring).is_some_and(|a| a.next() == 20));
    sleep(Duration::from_millis(1500)); // it rests three times
    output.stop().ok();
    assert_eq!(history.count(), 5020);
}

/// Moved to an archive: the next rows go to a new database.
#[test]
fn a_database_is_moved_away() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..3);
    let output = history.start(&ring, &[]);
    // From now on, it commits nothing but events.
    let checked = "SELECT count(*) FROM clock_check";
    wait_until("the clock is checked", || history.value::<i64>(checked) == Some(1));
    publish(&ring, 3..6);
    // Stored, and the file is looked for after that.
    let noted = || fs::read_to_string(history.path().join("state/aw-sqlite.now"));
    wait_until("rows", || noted().is_ok_and(|text| text.contains("\"next\":5,")));
    assert_eq!(history.count(), 5);
    let archive = history.path().join("history/archive.db");
    fs::rename(history.database(), &archive).unwrap();
    publish(&ring, 6..9); // still into the old one: that is seen afterwards
    wait_until("a new one", || history.database().exists());
    publish(&ring, 9..12);
    wait_until("rows in the new one", || history.count() == 3);
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(": 11 events, 0 lost\n"), "{}", ended.stderr);
    let archive = Connection::open(archive).unwrap();
    let rows: i64 =
        archive.query_row("SELECT count(*) FROM addrwatch", [], |row| row.get(0)).unwrap();
    assert_eq!((rows, history.checkpoint(&ring).unwrap().next()), (8, 11));
}

/// Several rings, and the configured name of the collector's host.
#[test]
fn rings_and_hosts_are_distinguished() {
    let rings = [Ring::new(), Ring::new()];
    let history = History::new();
    for (ring, host) in rings.iter().zip(["one", "two"]) {
        collect(ring, &numbered_capture(1..4), &["-q", "--hostname", host]).ok();
    }
    run(history.command(&rings[0], &["-m", rings[1].name(), "--once"])).ok();
    let hosts = "SELECT group_concat(host || ring, ' ') FROM place ORDER BY host";
    let [one, two] = rings.each_ref().map(Ring::name);
    assert_eq!(history.value::<String>(hosts), Some(format!("one{one} two{two}")));
    let help = run(program("aw-sqlite", &["--help"])).ok();
    for option in ["--database", "--table", "--retention", "--spool-size", "--state-dir"] {
        assert!(help.stdout.contains(option), "{}", help.stdout);
    }
}

/// Reports of routers have an origin of their own, and the router's address as interface.
#[test]
fn reports_of_routers_are_stored() {
    let ring = Ring::new();
    let mut command =
        program("collector", &["-q", "--ring", ring.name(), "--macupd", "127.0.0.1:0"]);
    command.stdin(std::process::Stdio::null());
    let collector = aw_tests::rig::Run::start(command);
    let line = collector.stderr.wait_for("(MACupd)");
    let to: std::net::SocketAddr =
        line.split_whitespace().find_map(|word| word.parse().ok()).expect("an address");
    let socket = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    let report =
        b"   1    192.168.1.124    0x1         0x2         22:22:22:22:22:22     *        br0";
    socket.send_to(report, to).unwrap();
    let held = || aw_tests::collect::held(&ring).lines().count();
    aw_tests::rig::wait_until("it is in the ring", || held() == 1);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.db");
    run(program(
        "aw-sqlite",
        &[
            "--ring",
            ring.name(),
            "--once",
            "--state-dir",
            directory.path().to_str().unwrap(),
            "--database",
            file.to_str().unwrap(),
        ],
    ))
    .ok();
    let database = rusqlite::Connection::open(&file).unwrap();
    let row: (String, String, String, i64) = database
        .query_row("SELECT interface, mac_address, ip_address, origin FROM addrwatch", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!(row, ("br0".into(), "22:22:22:22:22:22".into(), "192.168.1.124".into(), 6));
    collector.stop().ok();
}
