//! What devices call themselves, stored by `aw-mysql` in a real MariaDB: each name once, whatever fails, and never many; and no fault
//! of names stops an event.
#![forbid(unsafe_code)]

use aw_tests::dhcp;
use aw_tests::feed::publish;
use aw_tests::frames::{Arp, lldp, station};
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::moving::{added, export, export_of, import, import_to};
use aw_tests::mysql_proxy::{Cut, MysqlProxy};
use aw_tests::rig::{Finished, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::Server;
use aw_tests::sightings::{BEGIN, capture_names};
use std::fs;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

const NAMES: &str = "SELECT group_concat(concat(hex(mac_address), ' ', name, ' ', uses) ORDER BY mac_address, name SEPARATOR ', ') FROM claimed_name";

/// `delivered lost` of the ring of names.
fn position(server: &MariaDb, ring: &Ring) -> String {
    let select = "SELECT concat_ws(' ', delivered, lost) FROM position WHERE ring =";
    server.sql(&format!("{select} '{}.names'", ring.name())).trim().into()
}

/// The number that a statement returns; none while the server or the table is not there.
fn count(server: &MariaDb, statement: &str) -> u64 {
    let mut client = server.client("addrwatch");
    client.args(["-e", statement]);
    run(client).stdout.trim().parse().unwrap_or(0)
}

fn arp(number: u32) -> Vec<u8> {
    let ip = [10, 1, 2, number as u8].into();
    Arp::request(station(number), ip, [10, 1, 2, 254].into()).frame()
}

/// One row for each name, host and ring, however often the program reads it; the newest message counts once, too.
#[test]
fn each_name_once() {
    let Some(server) = MariaDb::start(&["--default-time-zone=+05:00"]) else { return };
    let ring = Ring::new();
    let claims = [lldp(station(1), "nas"), lldp(station(1), "nas"), lldp(station(2), "door")];
    capture_names(&ring, (BEGIN..).step_by(70).zip(claims));
    let store =
        |options: &[&str]| run(server.command(&ring, &[&["--once"], options].concat())).ok();
    store(&[]);
    let both = "020000000001 nas 2, 020000000002 door 1\n";
    assert_eq!(server.sql(NAMES), both);
    assert_eq!(position(&server, &ring), "3 0");
    store(&[]);
    assert_eq!((server.sql(NAMES), position(&server, &ring)), (both.into(), "3 0".into()));
    // All of the ring again, as after a loss of the position: what a row is to be, is set.
    server.sql(&format!("DELETE FROM position WHERE ring = '{}.names'", ring.name()));
    store(&[]);
    assert_eq!(server.sql(NAMES), "020000000001 nas 4, 020000000002 door 2\n", "counted again");
    let times = "SELECT DISTINCT unix_timestamp(first_seen), unix_timestamp(last_seen), hostname, ring, interface, vlan_tag, source
        FROM claimed_name WHERE name = 'nas'";
    let row = format!("{BEGIN}\t{}\there\t{}\teth0\t0\t5\n", BEGIN + 70, ring.name());
    assert_eq!(server.sql(times), row);
    // The clock was ahead once: the next use mends the row.
    server.sql("UPDATE claimed_name SET last_seen = '2033-01-01' WHERE name = 'nas'");
    capture_names(&ring, [(BEGIN + 200, lldp(station(1), "nas"))]);
    store(&[]);
    assert_eq!(server.sql("SELECT count(*) FROM claimed_name WHERE last_seen <= now()"), "2\n");
    // A row that is deleted is forgotten; another sensor has rows of its own, with a prefix in tables of its own.
    server.sql("DELETE FROM claimed_name WHERE name = 'nas'");
    capture_names(&ring, [(BEGIN + 300, lldp(station(1), "nas"))]);
    store(&[]);
    let again = "SELECT unix_timestamp(first_seen), uses FROM claimed_name WHERE name = 'nas'";
    assert_eq!(server.sql(again), format!("{}\t1\n", BEGIN + 300));
    // A table of an earlier build has no index of addresses.
    let indexes = "SELECT count(*) FROM information_schema.statistics WHERE table_name = 'claimed_name' AND index_name = 'source_name'";
    assert_eq!(server.sql(indexes), "2\n");
    server.sql("ALTER TABLE claimed_name DROP INDEX source_name");
    store(&["--hostname", "tür's"]);
    assert_eq!(server.sql(indexes), "2\n");
    store(&["-p", "site1_", "--hostname", "other"]);
    let hosts = "SELECT hostname, count(*) FROM claimed_name GROUP BY 1 ORDER BY 1";
    assert_eq!(server.sql(hosts), "here\t2\ntür's\t2\n");
    assert_eq!(server.sql(&hosts.replace("claimed", "site1_claimed")), "other\t2\n");
}

/// The server is killed with -9 while names and events arrive, and so is aw-mysql: each name is there once, and so is each event.
#[test]
fn kills_of_server_and_output() {
    let Some(mut server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    for round in 0..6 {
        let output = server.output(&ring, &["-v"]);
        let numbers = (1 + 40 * round)..(41 + 40 * round);
        let frames = |numbers: Range<u32>| {
            let frames = |n| [(BEGIN + n, arp(n)), (BEGIN + n, lldp(station(n), &format!("n{n}")))];
            numbers.flat_map(frames)
        };
        let middle = numbers.start + 20;
        capture_names(&ring, frames(numbers.start..middle));
        if round % 2 == 1 {
            let names = "SELECT count(*) FROM claimed_name";
            wait_until("some of them", || count(&server, names) >= u64::from(middle - 1));
        }
        capture_names(&ring, frames(middle..numbers.end));
        if round < 4 {
            server.kill();
        }
        if round > 1 {
            output.kill();
        } else {
            sleep(Duration::from_secs(2)); // it meets a server that is down
            server.start_again();
            server.wait_for(u64::from(numbers.end - 1));
            output.stop().ok();
            continue;
        }
        if round < 4 {
            server.start_again();
        }
    }
    run(server.command(&ring, &["--once"])).ok();
    let names =
        "SELECT concat_ws(' ', count(*), count(DISTINCT name), sum(uses)) FROM claimed_name";
    assert_eq!(server.sql(names), "240 240 240\n");
    assert_eq!((position(&server, &ring), server.count()), ("240 0".into(), 240));
}

/// The connection breaks at each statement of a transaction of names, before the server has it or before its answer comes: each name and
/// lease is there once, from the same process or from the next one.
#[test]
fn cuts_of_a_transaction() {
    const STATEMENTS: [&str; 5] = [
        "START TRANSACTION",
        "INSERT INTO `position`",
        "INSERT INTO `claimed_name`",
        "INSERT INTO `address_lease`",
        "COMMIT",
    ];
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    let proxy = MysqlProxy::start(server.path("socket"), "`claimed_name`");
    server.config(""); // the first line of a key counts
    let config = format!("[addrwatch]\nuser = root\nsocket = {}\n", proxy.socket().display());
    fs::write(server.config_path(), config).unwrap();
    let (mut round, mut names) = (0, 1);
    for statement in STATEMENTS {
        for cut in [Cut::Before, Cut::After] {
            round += 1;
            let lease = dhcp::ack(station(round), [10, 1, 3, round as u8].into(), 3_600);
            let new = lldp(station(100 + round), &format!("n{round}"));
            let at = BEGIN + 100 * round;
            capture_names(&ring, [(at, lldp(station(1), "nas")), (at, lease), (at, new)]);
            proxy.cut(statement, cut);
            let broken = run(server.command(&ring, &["--once"]));
            assert!(proxy.has_cut(), "{statement}: {broken:#?}");
            assert!(broken.stderr.contains("names of devices are not stored"), "{broken:#?}");
            run(server.command(&ring, &["--once"])).ok();
            names += 1;
            let counts = "SELECT concat_ws(' ', count(*), sum(uses)) FROM claimed_name";
            assert_eq!(
                server.sql(counts),
                format!("{names} {}\n", 2 * round),
                "{statement} {cut:?}"
            );
            let leases =
                "SELECT concat_ws(' ', count(*), count(DISTINCT ip_address)) FROM address_lease";
            assert_eq!(server.sql(leases), format!("{round} {round}\n"), "{statement} {cut:?}");
            assert_eq!(position(&server, &ring), format!("{} 0", 3 * round), "{statement} {cut:?}");
        }
    }
    // A connection that has carried a transaction: the process sends the same again, on the next one, and logs nothing.
    let output = server.output(&ring, &[]);
    let uses = "SELECT sum(uses) FROM claimed_name";
    let mut sent = 2 * u64::from(round);
    for (part, cut) in [None, Some(Cut::Before), Some(Cut::After)].into_iter().enumerate() {
        let first = 1_000 + 2_000 * part as u32;
        if let Some(cut) = cut {
            proxy.cut("COMMIT", cut);
        }
        let new = |n| (BEGIN + 10_000 + n, lldp(station(n), &format!("n{n}")));
        capture_names(&ring, (first..first + 1_100).map(new));
        sent += 1_100;
        wait_until("all of them", || count(&server, uses) == sent);
        assert!(proxy.has_cut());
    }
    let ended = output.stop().ok();
    assert!(!ended.stderr.contains("names of devices are not stored"), "{}", ended.stderr);
    assert_eq!(count(&server, uses), sent);
    assert_eq!(server.count(), u64::from(round), "an event of each lease");
}

/// A full table, of names that were used for a day: those that repeat are written, no row makes room for another device's, and a message
/// says so, once.
#[test]
fn a_full_table() {
    const MOST: u32 = 65_536;
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    let nas = |second: u32| (BEGIN + second, lldp(station(1), "nas"));
    let door = |second: u32| (BEGIN + second, lldp(station(2), "door"));
    capture_names(&ring, [nas(0), nas(86_400)]);
    run(server.command(&ring, &["--once"])).ok();
    server.sql(&format!(
        "INSERT INTO claimed_name SELECT 'here', '{}', unhex(concat('0601', lpad(hex(seq), 8, '0'))), 'eth0', 0, 5, 'known',
            now() - INTERVAL 9 DAY, now() - INTERVAL 1 HOUR, 9 FROM seq_1_to_{}",
        ring.name(),
        MOST - 1
    ));
    let table = || {
        server.sql(&format!(
            "SELECT concat_ws(' ', count(*), sum(name = 'known'), sum(name = 'door'), max(if(name = 'nas', unix_timestamp(last_seen) - {BEGIN}, 0)))
            FROM claimed_name"
        ))
    };
    let output = server.output(&ring, &[]);
    capture_names(&ring, [nas(90_000), door(90_000)]);
    let why = output.stderr.wait_for("addresses of devices are stored for ring");
    assert!(why.contains("65536 names and addresses") && why.contains("and no more"), "{why}");
    wait_until("the name that repeats", || table() == "65536 65535 0 90000\n");
    server.sql("DELETE FROM claimed_name WHERE name = 'known' LIMIT 10");
    capture_names(&ring, [nas(90_100), door(90_100)]);
    let ended = output.stop().ok();
    // A full table is searched for room once a minute: the next process does it at once.
    assert_eq!(ended.stderr.matches("and no more").count(), 1, "{}", ended.stderr);
    capture_names(&ring, [door(90_200)]);
    run(server.command(&ring, &["--once"])).ok();
    assert_eq!(table(), "65527 65525 1 90100\n");
}

/// The server is down for longer than the ring of names holds: what was received meanwhile is in memory.
#[test]
fn an_outage_that_is_longer_than_the_ring() {
    let Some(mut server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture_names(&ring, [(BEGIN, arp(1)), (BEGIN, lldp(station(0), "n0"))]);
    let output = server.output(&ring, &[]);
    wait_until("it has begun", || count(&server, "SELECT count(*) FROM claimed_name") == 1);
    server.stop();
    for part in 0..3 {
        let numbers = (1 + part * 5_000)..(1 + (part + 1) * 5_000);
        let named = |n| (BEGIN + n, lldp(station(n % 500), &format!("n{}", n % 500)));
        capture_names(&ring, numbers.map(named));
        sleep(Duration::from_secs(4)); // it looks for records each second
    }
    server.start_again();
    wait_until("all of them", || count(&server, "SELECT count(*) FROM claimed_name") == 500);
    let ended = output.stop().ok();
    assert_eq!(position(&server, &ring), "15001 0", "{}", ended.stderr);
    assert_eq!(count(&server, "SELECT sum(uses) FROM claimed_name"), 15_001);
    assert_eq!(
        ended.stderr.matches("names of devices are stored again").count(),
        1,
        "{}",
        ended.stderr
    );
}

/// Another program has locked the table of names: events are stored at once, and names when they can be.
#[test]
fn a_locked_table() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture_names(&ring, [(BEGIN, arp(1)), (BEGIN, lldp(station(1), "nas"))]);
    let output = server.output(&ring, &[]);
    wait_until("it has begun", || count(&server, "SELECT count(*) FROM claimed_name") == 1);
    let lock = server.hold("LOCK TABLES claimed_name WRITE, address_lease WRITE");
    for n in 2..7 {
        capture_names(&ring, [(BEGIN + n, arp(n)), (BEGIN + n, lldp(station(n), "door"))]);
        let begin = Instant::now();
        server.wait_for(n.into());
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        sleep(Duration::from_secs(3));
    }
    let why = output.stderr.wait_for("names of devices are not stored");
    assert!(why.contains("Lock wait timeout"), "{why}");
    drop(lock);
    wait_until("all", || count(&server, "SELECT count(*) FROM claimed_name") == 6);
    let ended = output.stop().ok();
    assert!(!ended.stderr.contains("queueing"), "{}", ended.stderr);
}

/// A user who may not create tables, and then not delete rows: one message each, and neither events nor other names are stopped.
#[test]
fn without_rights() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..2);
    run(server.command(&ring, &["--once"])).ok();
    server.sql(
        "CREATE USER watch@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT, INSERT, UPDATE ON addrwatch.* TO watch@'127.0.0.1'",
    );
    let lines = "password = x\nprotocol = tcp\nhost = 127.0.0.1\nuser = watch";
    server.config(&format!("{lines}\nport = {}", server.port));
    let output = server.output(&ring, &[]);
    capture_names(&ring, [(BEGIN, arp(1)), (BEGIN, lldp(station(1), "nas"))]);
    server.wait_for(2);
    let why = output.stderr.wait_for("names of devices are not stored");
    let remedy = "CREATE command denied";
    assert!(
        why.contains(remedy)
            && why.contains(
                "(GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW ON `addrwatch`.*"
            ),
        "{why}"
    );
    // A new login is refused: the session of the events does not need one.
    server.sql("ALTER USER watch@'127.0.0.1' ACCOUNT LOCK");
    capture_names(&ring, [(BEGIN + 1, arp(2))]);
    server.wait_for(3);
    assert_eq!(server.sql("SHOW TABLES LIKE '%name%'"), "");
    server.sql("ALTER USER watch@'127.0.0.1' ACCOUNT UNLOCK; GRANT CREATE ON addrwatch.* TO watch@'127.0.0.1'");
    output.stderr.wait_for("names of devices are stored again");
    assert_eq!(server.sql(NAMES), "020000000001 nas 1\n");
    let forged = (0..80).map(|n| (BEGIN + 10 + n, lldp(station(1), &format!("forged-{n}"))));
    capture_names(&ring, forged);
    output.stderr.wait_for("(GRANT DELETE ON `addrwatch`.*");
    capture_names(&ring, [(BEGIN + 100, lldp(station(2), "door"))]);
    let door = "SELECT count(*) FROM claimed_name WHERE name = 'door'";
    wait_until("another name", || count(&server, door) == 1);
    assert!(count(&server, "SELECT count(*) FROM claimed_name") < 70);
    let ended = output.stop().ok();
    assert_eq!(ended.stderr.matches("are not stored until").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("queueing"), "{}", ended.stderr);
    let checked = run(server.command(&ring, &["--check"]));
    assert_eq!(checked.status.code(), Some(1), "{checked:#?}");
    assert!(
        checked.stdout.contains("DELETE command denied")
            || checked.stderr.contains("DELETE command denied"),
        "{checked:#?}"
    );
    // A table of an earlier build: the index is left to an administrator.
    server.sql("ALTER TABLE claimed_name DROP INDEX source_name");
    let checked = run(server.command(&ring, &["--check"]));
    let statement =
        "(as an administrator: ALTER TABLE `claimed_name` ADD KEY source_name (source, name))";
    assert!(checked.stderr.contains(statement), "{checked:#?}");
    // A table that is not aw-mysql's.
    server.sql("DROP TABLE claimed_name; CREATE TABLE claimed_name (n INT)");
    capture_names(&ring, [(BEGIN + 101, arp(3)), (BEGIN + 101, lldp(station(3), "door"))]);
    let once = run(server.command(&ring, &["--once"])).ok();
    assert!(once.stderr.contains("Unknown column"), "{once:#?}");
    assert_eq!(server.count(), 4);
}

/// A hundred thousand made-up MACs, through one process: the table is bounded, and a device that has used its name for a day keeps it.
#[test]
fn floods_are_bounded() {
    const MOST: u64 = 65_536;
    const ROUND: u32 = 8_000;
    let Some(server) = MariaDb::start(&["--max-allowed-packet=1048576"]) else { return };
    let ring = Ring::new();
    capture_names(&ring, [(BEGIN, lldp(station(1), "nas"))]);
    capture_names(&ring, [(BEGIN + 86_400, lldp(station(1), "nas"))]);
    let output = server.output(&ring, &[]);
    let (begin, mut records) = (BEGIN + 90_000, 2);
    let mut send = |second: u32, macs: Range<u32>, name: &str| {
        records += macs.len();
        let at = begin + second - macs.start;
        capture_names(&ring, macs.map(|n| (at + n, lldp(station(n), name))));
        let all = format!("{records} 0");
        let ring = ring.name();
        let stored = format!(
            "SELECT count(*) FROM position WHERE ring = '{ring}.names' AND concat_ws(' ', delivered, lost) = '{all}'"
        );
        wait_until("its records", || count(&server, &stored) == 1);
        let rows = count(&server, "SELECT count(*) FROM claimed_name");
        assert!(rows <= MOST, "{rows}");
        rows
    };
    for round in 0..13 {
        let first = 1_000 + round * ROUND;
        let rows = send(round * ROUND, first..first + ROUND, "made-up");
        assert!(round < 9 || rows > MOST - 3_000, "{rows}");
    }
    let name_of = |mac: &str| {
        server.sql(&format!("SELECT name FROM claimed_name WHERE mac_address = 0x{mac}"))
    };
    assert_eq!(name_of("020000000001"), "nas\n");
    output.stop().ok();
}

/// Made-up leases, and names of one MAC: what was there before stays. A row of another program stops nothing.
#[test]
fn floods_of_leases_and_names() {
    const MOST: u64 = 65_536;
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    let store = || run(server.command(&ring, &["--once"])).ok().stderr;
    let own = dhcp::ack(station(1), [10, 1, 2, 1].into(), 30 * 86_400);
    capture_names(&ring, [(BEGIN, lldp(station(1), "nas")), (BEGIN, own)]);
    capture_names(&ring, [(BEGIN + 86_400, lldp(station(1), "nas"))]);
    store();
    let begin = BEGIN + 90_000;
    server.sql(&format!(
        "INSERT INTO address_lease SELECT 'here', '{ring}', unhex(concat('0b', lpad(hex(seq), 6, '0'))), 0x020000000066, 'eth0', 0,
            from_unixtime({begin}), from_unixtime({begin}), from_unixtime({begin} + 2592000), 0 FROM seq_1_to_65530;
        INSERT INTO address_lease VALUES ('here', '{ring}', '', 0x020000000066, 'eth0', 0, from_unixtime({begin} + 1), now(), now(), 0)",
        ring = ring.name()
    ));
    let made_up = |n: u32| {
        let [_, _, a, b] = n.to_be_bytes();
        (begin + 200_000 + n, dhcp::ack(station(0x66), [12, 0, a, b].into(), 1_000_000))
    };
    capture_names(&ring, (0..2_000).map(made_up));
    let log = store();
    assert!(log.contains("leases of addresses are stored for ring"), "{log}");
    let rows = count(&server, "SELECT count(*) FROM address_lease");
    assert!((MOST - 2_000..=MOST).contains(&rows), "{rows}");
    let own = "SELECT count(*) FROM address_lease WHERE ip_address = 0x0a010201";
    assert_eq!(count(&server, own), 1);
    let forged = (0..300).map(|n| (begin + 300_000 + n, lldp(station(1), &format!("forged-{n}"))));
    capture_names(&ring, forged);
    store();
    let of_device =
        "SELECT count(*), sum(name = 'nas') FROM claimed_name WHERE mac_address = 0x020000000001";
    assert_eq!(server.sql(of_device), "32\t1\n");
}

/// A history of SQLite with names to a server and back: each name once, with the earlier first and the later last time.
#[test]
fn names_move() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let [history, back] = [(); 2].map(|()| History::new());
    let ring = Ring::new();
    capture_names(&ring, [(BEGIN, arp(1)), (BEGIN, lldp(station(1), "nas"))]);
    capture_names(
        &ring,
        [(BEGIN + 90, lldp(station(1), "nas")), (BEGIN + 91, lldp(station(2), "tür's \\"))],
    );
    run(history.command(&ring, &["--once"])).ok();
    let text = export(&history);
    let imported = |into: Finished| added(&into.ok());
    assert_eq!(imported(import_to(&server, &[], &text)), "3 rows added, 0 were there already");
    assert_eq!(imported(import_to(&server, &[], &text)), "0 rows added, 3 were there already");
    // aw-mysql continues with the same rows of names. It stores its event once more.
    run(server.command(&ring, &["--once"])).ok();
    assert_eq!(server.sql("SELECT count(*) FROM claimed_name"), "2\n");
    server.sql("UPDATE claimed_name SET first_seen = first_seen + INTERVAL 5 SECOND, uses = 1 WHERE name = 'nas'");
    assert_eq!(imported(import_to(&server, &[], &text)), "0 rows added, 3 were there already");
    let nas = "SELECT unix_timestamp(first_seen), unix_timestamp(last_seen), uses FROM claimed_name WHERE name = 'nas'";
    assert_eq!(server.sql(nas), format!("{BEGIN}\t{}\t2\n", BEGIN + 90));
    let of_server = export_of(&server, &[]);
    assert!(imported(import_to(&server, &[], &of_server)).starts_with("0 rows added"), "its own");
    assert_eq!(imported(import(&back, &of_server)), "4 rows added, 0 were there already");
    let names = "SELECT group_concat(name || ' ' || (first / 1000000000) || ' ' || count, ', ') FROM (SELECT * FROM claimed_name ORDER BY mac)";
    let both = format!("nas {BEGIN} 2, tür's \\ {} 2", BEGIN + 91); // imported, and received
    assert_eq!(back.value::<String>(names), Some(both));
    assert_eq!(
        imported(import_to(&server, &["-p", "site2_"], &of_server)),
        "4 rows added, 0 were there already"
    );
    assert_eq!(export_of(&server, &["-p", "site2_"]), of_server);
    let (config, to) = (server.config(""), format!("@{}", BEGIN + 50));
    let part = ["-c", config.to_str().unwrap(), "export", "--to", &to];
    let part = run(program("aw-query", &part)).ok().stdout;
    assert!(part.contains("\"nas\"") && !part.contains("tür"), "{part}");
}

/// A server that takes small packets only.
#[test]
fn small_packets() {
    let Some(server) = MariaDb::start(&["--max-allowed-packet=1024"]) else { return };
    let ring = Ring::new();
    let frames = (0..60).flat_map(|n: u32| {
        let ip = [10, 1, 2, n as u8].into();
        let name = lldp(station(n), &"n".repeat(60));
        [(BEGIN + n, name), (BEGIN + n, dhcp::ack(station(n), ip, 3_600))]
    });
    capture_names(&ring, frames);
    let stored = run(server.command(&ring, &["--once"])).ok().stderr;
    assert!(!stored.contains("not stored"), "{stored}");
    let counts = "SELECT (SELECT count(*) FROM claimed_name), (SELECT count(*) FROM address_lease)";
    assert_eq!(server.sql(counts), "60\t60\n");
}
