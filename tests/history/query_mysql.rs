//! `aw-query` and a real MariaDB: the rows of `aw-mysql` give the same answers as those of `aw-sqlite`.
#![forbid(unsafe_code)]

#[path = "query_mysql/cost.rs"]
mod cost;

use aw_tests::dhcp;
use aw_tests::frames::{Arp, DOT1Q, Ethernet, lldp, station};
use aw_tests::history::{History, without_silence};
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{Finished, program, run};
use aw_tests::ring::Ring;
use aw_tests::sightings::{
    self, ADDRESS, Sighting, capture, capture_frames, capture_names, evidence,
};
use std::process::Command;

/// Every subcommand, with times and without.
const QUESTIONS: &[&[&str]] = &[
    &["who", ADDRESS, "--at", "2026-11-20 14:32"],
    &["who", ADDRESS, "--at", "2026-11-20 14:58"],
    &["who", ADDRESS, "--at", "2026-11-20 15:00:00"],
    &["who", ADDRESS, "--at", "2026-11-20 14:59:59"],
    &["who", ADDRESS, "--at", "2026-11-19"],
    &["who", ADDRESS, "--at", "2026-11-21T12:00Z"],
    &["who", "10.1.2.9", "--at", "2026-11-20 16:00:30"],
    &["ip", ADDRESS],
    &["ip", ADDRESS, "--at", "2026-11-20 17:01"],
    &["ip", ADDRESS, "--from", "2026-11-20 15:00", "--to", "2026-11-20 16:54"],
    &["ip", "10.1.2.9"],
    &["ip", "10.1.2.200"],
    &["ip", "fe80::1"],
    &["mac", "02:00:00:00:00:01"],
    &["mac", "0200.0000.0002", "--since", "2026-11-20 16:00"],
    &["mac", "02:00:00:00:00:ff"],
    &["changes"],
    &["changes", "--since", "2026-11-20 14:30"],
    &["changes", "--from", "2026-11-20 14:30", "--to", "2026-11-20 16:00"],
    &["changes", "--since", "2030-01-01"],
    &["devices"],
    &["devices", "--count"],
    &["devices", "--from", "2026-11-20 15:00", "--to", "2026-11-20 15:30"],
];

/// The same about sightings that do not prove that a MAC has an address.
const EVIDENCE_QUESTIONS: &[&[&str]] = &[
    &["who", "10.1.2.4", "--at", "@1795185000"],
    &["who", "10.1.2.8", "--at", "@1795185000"],
    &["who", "10.1.2.50", "--at", "@1795185003"],
    &["who", "2001:db8::6", "--at", "@1795186200"],
    &["who", "2001:db8::9", "--at", "@1795186200"],
    &["ip", "10.1.2.4", "--from", "2026-11-20 14:20"],
    &["ip", "10.1.2.7"],
    &["ip", "10.1.2.50"],
    &["ip", "2001:db8::6", "--from", "2026-11-20 14:20"],
    &["ip", "2001:db8::7"],
    &["ip", "2001:db8::9"],
    &["mac", "02:00:00:00:00:06"],
    // The clock was not set.
    &["ip", "10.1.2.60"],
    &["ip", "10.1.2.61"],
    &["who", "10.1.2.60", "--at", "@1795185000"],
    &["who", "10.1.2.61", "--at", "@1795185000"],
    &["who", "10.1.2.61", "--at", "@40"],
    &["devices"],
    &["devices", "--count"],
    &["changes"],
    &["changes", "--since", "2026-11-20 14:20"],
];

/// A handover, two devices that share an address, and one address in two VLANs.
fn all_seen() -> Vec<Sighting> {
    let mut seen = sightings::handover();
    seen.extend((0..100).map(|n| (7200 + 10 * n, 5 + n % 2, 9, 0)));
    seen.extend((0..20).flat_map(|n| [(60 * n, 7, 20, 0), (60 * n, 8, 20, 5)]));
    seen.sort_unstable();
    seen
}

/// Publishes them, some from before the clock was set.
fn capture_evidence(ring: &Ring) {
    let claim = |second: u32, number: u8| {
        let ip = [10, 1, 2, number].into();
        (second, Arp::request(station(number.into()), ip, [10, 1, 2, 254].into()).frame())
    };
    capture_frames(ring, [claim(30, 60), claim(31, 61)]);
    capture_frames(ring, evidence());
    capture_frames(ring, [claim(sightings::BEGIN + 3600, 60)]);
}

fn asked(question: &[&str], database: &[&str]) -> Finished {
    let mut query = program("aw-query", database);
    query.args(question).env("TZ", "UTC");
    run(query)
}

/// The same answer, to the last byte; and the same exit status if there is none. The server does not have the ring.
#[track_caller]
fn assert_same(questions: &[&[&str]], (history, ring): (&History, &Ring), server: &MariaDb) {
    let config = server.config("");
    let (file, config) = (history.database().to_str().unwrap(), config.to_str().unwrap());
    for question in questions {
        for format in ["table", "json", "csv"] {
            let of = |database: &[&str]| {
                let answer = asked(&[*question, &["--format", format]].concat(), database);
                (answer.status.code(), answer.stdout)
            };
            let (mut ours, theirs) = (of(&["--database", file]), of(&["-c", config]));
            let (rings, none) = match format {
                "json" => (format!("\"ring\":\"{}\"", ring.name()), "\"ring\":null"),
                _ => (format!(",{},", ring.name()), ",,"),
            };
            ours.1 = ours.1.replace(&rings, none);
            let [our_answer, their_answer] = without_silence(&ours.1, &theirs.1);
            let (ours, theirs) = ((ours.0, our_answer), (theirs.0, their_answer));
            assert_eq!(ours, theirs, "{question:?} {format}");
            let nothing = [
                "fe80::1",
                "10.1.2.200",
                "02:00:00:00:00:ff",
                "2030-01-01",
                "10.1.2.7",
                "2001:db8::7",
            ];
            let status = match question {
                ["mac", "none"] => 3, // no MAC, and the name of no device
                words if words.iter().any(|word| nothing.contains(word)) => 3,
                _ => 0,
            };
            assert_eq!(ours.0, Some(status), "{question:?} {format}");
        }
    }
}

#[test]
fn the_same_answers() {
    let Some(server) = MariaDb::start(&["--default-time-zone=+05:00"]) else { return };
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, &all_seen());
    run(history.command(&ring, &["--once"])).ok();
    run(server.command(&ring, &["--once"])).ok();
    assert_same(QUESTIONS, (&history, &ring), &server);
    // A prefix selects other tables; a URL has the same meaning as the file.
    server.sql("CREATE TABLE site1_log LIKE log; INSERT INTO site1_log SELECT * FROM log WHERE vlan_tag = 7");
    let config = server.config("database = nowhere");
    let url = ["-c", config.to_str().unwrap(), "--database", "mysql://root@localhost/addrwatch"];
    let devices =
        |more: &[&str]| asked(&[&["devices", "--format", "csv"], more].concat(), &url).ok();
    assert_eq!(devices(&[]).stdout.lines().count(), 7);
    let of_site = devices(&["-p", "site1_"]);
    assert_eq!((of_site.stdout.lines().count(), &*of_site.stderr), (2, ""));
}

/// A database that addrwatch 1.0 created and filled: the same answers, and a message about the missing index.
#[test]
fn a_database_of_addrwatch() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, &all_seen());
    run(history.command(&ring, &["--once"])).ok();
    run(server.command(&ring, &["--once", "--hostname", "here", "-p", "other_"])).ok();
    server.sql(include_str!("../data/addrwatch-1.0.sql"));
    server.sql("DELETE FROM log; INSERT INTO log SELECT * FROM other_log ORDER BY tstamp");
    assert_same(QUESTIONS, (&history, &ring), &server);
    let config = server.config("");
    let ask = || asked(&["devices"], &["-c", config.to_str().unwrap()]).ok();
    let index = "CREATE INDEX ip_address_tstamp ON `log` (ip_address, tstamp)";
    let message = ask().stderr;
    assert!(message.contains("no index by address") && message.contains(index), "{message}");
    server.sql(index);
    assert_eq!(ask().stderr, "");
    assert_same(QUESTIONS, (&history, &ring), &server);
}

/// Probes, answers without a MAC, and a clock that was not set: the same answers from both kinds of tables.
#[test]
fn what_sightings_prove() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let (ring, history) = (Ring::new(), History::new());
    capture_evidence(&ring);
    run(history.command(&ring, &["--once"])).ok();
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    assert_same(EVIDENCE_QUESTIONS, (&history, &ring), &server);
    server.sql("RENAME TABLE log TO new_log");
    server.sql("DROP VIEW log_plaintext; DROP TABLE origin");
    server.sql(include_str!("../data/addrwatch-1.0.sql"));
    let columns = "tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id";
    let insert = format!("INSERT INTO log SELECT {columns} FROM new_log ORDER BY tstamp");
    server.sql(&format!("DELETE FROM log; {insert}"));
    assert_same(EVIDENCE_QUESTIONS, (&history, &ring), &server);
}

/// Devices that name themselves, in two networks, one of them with another name on the next day; leases that run, ended, were given
/// back and renewed; and a name of a clock that was not set.
fn capture_named(ring: &Ring) {
    let ip = |last: u8| std::net::Ipv4Addr::new(10, 1, 2, last);
    let claim = |number: u8| Arp::request(station(number.into()), ip(number), ip(254));
    let arp = |number: u8| claim(number).frame();
    let tagged =
        |number: u8| claim(number).on(&Ethernet::from(station(number.into())).tag(DOT1Q, 7));
    let begin = sightings::BEGIN;
    let at = |second: u32, frame: Vec<u8>| (begin + second, frame);
    capture_names(ring, [(40, lldp(station(5), "long ago")), (41, arp(5))]);
    let mut frames = vec![
        at(0, arp(1)),
        at(0, arp(3)),
        at(1, dhcp::request(station(1), ip(1), "printer", "udhcp 1.35")),
        at(2, dhcp::ack(station(1), ip(1), 7_200)),
        at(3, lldp(station(2), "it's a \\ switch, \u{fc}")),
        at(4, tagged(2)),
        at(5, arp(4)),
        at(6, dhcp::ack(station(4), ip(4), u32::MAX)),
        at(10, dhcp::ack(station(3), ip(3), 3_600)),
        at(300, arp(1)),
        at(600, arp(1)),
        at(900, arp(3)),
        at(1_000, dhcp::release(station(3), ip(3))),
        at(3_602, dhcp::ack(station(1), ip(1), 7_200)),
        at(3_700, dhcp::ack(station(3), ip(3), 60)),
        at(12_000, dhcp::mdns(station(7), ip(22), "nasbox")),
        at(12_001, dhcp::request(station(8), ip(22), "phone", "")),
        at(20_000, lldp(station(5), "now")),
        at(20_001, arp(5)),
    ];
    frames.push(at(88_000, dhcp::request(station(1), ip(1), "printer", "udhcp 1.35")));
    frames.push(at(90_000, dhcp::request(station(1), ip(1), "printer-2", "udhcp 1.35")));
    frames.push(at(90_001, arp(1)));
    capture_names(ring, frames);
}

/// Names and leases are the same in both, and in what is exported; and a table of names that this user may not read is none.
#[test]
fn names_and_leases() {
    let Some(server) = MariaDb::start(&["--default-time-zone=+05:00"]) else { return };
    let (ring, history) = (Ring::new(), History::new());
    capture_named(&ring);
    run(history.command(&ring, &["--once"])).ok();
    let stored = run(server.command(&ring, &["--once"])).ok().stderr;
    assert!(stored.contains(".names: ") && stored.contains(", 0 lost"), "{stored}");
    let at = |second: u32| format!("@{}", sightings::BEGIN + second);
    let times = [500, 2_000, 3_650, 9_000, 20_000, 95_000].map(at);
    let mut questions: Vec<Vec<&str>> = vec![vec!["devices"], vec!["devices", "--count"]];
    for (mac, ip) in [
        ("02:00:00:00:00:01", "10.1.2.1"),
        ("02:00:00:00:00:02", "10.1.2.2"),
        ("02:00:00:00:00:03", "10.1.2.3"),
        ("02:00:00:00:00:04", "10.1.2.4"),
    ] {
        questions.extend([vec!["mac", mac], vec!["ip", ip]]);
        questions.extend(times.iter().map(|at| vec!["who", ip, "--at", at]));
    }
    questions.push(vec!["mac", "02:00:00:00:00:05"]);
    // No device was seen to use it.
    questions.extend(times.iter().map(|at| vec!["who", "10.1.2.22", "--at", at]));
    questions.push(vec!["ip", "10.1.2.22", "--all"]);
    // By what it calls itself.
    questions.extend([vec!["mac", "printer-2"], vec!["mac", "Printer-2"], vec!["mac", "none"]]);
    let questions: Vec<&[&str]> = questions.iter().map(Vec::as_slice).collect();
    assert_same(&questions, (&history, &ring), &server);
    // What is compared is there.
    let config = server.config("");
    let config = config.to_str().unwrap();
    let devices = asked(&["devices"], &["-c", config]).ok().stdout;
    let claims = [
        "\"printer-2\" (DHCP host name since 2026-11-21)",
        "\"it's a \\ switch, \u{fc}\" (LLDP system name since 2026-11-20)",
        "\"now\" (LLDP system name since 2026-11-20)",
    ];
    assert!(claims.iter().all(|claim| devices.contains(claim)), "{devices}");
    for (question, why) in [
        (["who", "10.1.2.1", "--at", &times[3]], "its lease ends 30 min 2 s after"),
        (
            ["who", "10.1.2.3", "--at", &times[1]],
            "a message that ends its lease was seen 16 min 40 s before",
        ),
        (["who", "10.1.2.3", "--at", &times[3]], "its lease ended 1 h 27 min before"),
        (["who", "10.1.2.4", "--at", &times[3]], "its lease was for 30 days or more"),
    ] {
        let answer = asked(&question, &["-c", config]).ok().stdout;
        assert!(answer.contains(why), "{question:?}: {answer}");
    }
    let rows = "SELECT (SELECT count(*) FROM claimed_name), (SELECT count(*) FROM address_lease)";
    let both = server.sql(rows);
    run(server.command(&ring, &["--once"])).ok();
    assert_eq!(server.sql(rows), both);
    // A user who may read the events only.
    server.sql(
        "CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'x'; GRANT SELECT ON addrwatch.log TO reader@'127.0.0.1'",
    );
    let login = server.config("password = x");
    let url = format!("mysql://reader@127.0.0.1:{}/addrwatch", server.port);
    let options = ["-c", login.to_str().unwrap(), "--database", &url];
    let devices = asked(&["devices"], &options).ok();
    assert!(!devices.stdout.contains("printer"), "{devices:#?}");
    assert!(devices.stdout.contains("10.1.2.1") && devices.stderr.is_empty(), "{devices:#?}");
    server.sql("GRANT INSERT ON addrwatch.claimed_name TO reader@'127.0.0.1'");
    let devices = asked(&["devices"], &options).ok();
    assert!(devices.stdout.contains("10.1.2.1"), "{devices:#?}");
    assert!(devices.stderr.contains("table `claimed_name` is not read: "), "{devices:#?}");
    // Three sensors see a host that forges a MAC with many names: the one that was used for days is shown.
    server.sql(
        "INSERT INTO claimed_name SELECT concat('sensor', s.seq), '/r', 0x020000000004, 'eth0', 0, 1, concat('forged-', n.seq), now(), now(), 1
            FROM seq_1_to_3 s JOIN seq_1_to_31 n;
        INSERT INTO claimed_name SELECT concat('sensor', seq), '/r', 0x020000000004, 'eth0', 0, 4, 'true', now() - INTERVAL 9 DAY, now() - INTERVAL 1 HOUR, 9
            FROM seq_1_to_3",
    );
    let names = server.config("");
    let devices =
        asked(&["mac", "02:00:00:00:00:04", "--format", "json"], &["-c", names.to_str().unwrap()])
            .ok();
    assert!(devices.stdout.contains("\"claimed_name\":\"true\""), "{devices:#?}");
}

/// The table of an earlier release has an index by pairing without the origin: the message names the one to add.
#[test]
fn an_index_of_an_earlier_release() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    let config = server.config("");
    let ask = || asked(&["devices"], &["-c", config.to_str().unwrap()]).ok().stderr;
    assert_eq!(ask(), "");
    let pairing = "ip_address, mac_address, vlan_tag, interface, hostname";
    server
        .sql(&format!("ALTER TABLE log DROP INDEX pairing, ADD INDEX pairing ({pairing}, tstamp)"));
    let message = ask();
    let create = format!(
        "CREATE INDEX pairing_frame_source ON `log` ({pairing}, frame_source, origin_id, tstamp)"
    );
    assert!(message.contains(&create), "{message}");
    server.sql(&create);
    assert_eq!(ask(), "");
}

/// Over TCP, as a user that may only read, with the password in a file; and refused connections.
#[test]
fn over_the_network() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    server.sql(
        "CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'a#b'; GRANT SELECT ON addrwatch.log TO reader@'127.0.0.1';
        CREATE USER stranger@'127.0.0.1' IDENTIFIED BY 'a#b';
        CREATE DATABASE other; CREATE TABLE other.log (n INT); CREATE TABLE other.x_log (n INT); DROP TABLE other.x_log;
        GRANT SELECT ON other.* TO reader@'127.0.0.1'",
    );
    let config = server.config("password = 'a#b'");
    let port = server.port;
    let ask = |url: &str, more: &[&str]| {
        let options = ["-c", config.to_str().unwrap(), "--database", url];
        asked(&["who", ADDRESS, "--at", "2026-11-20 14:32"], &[&options, more].concat())
    };
    let url = format!("mysql://reader@127.0.0.1:{port}/addrwatch");
    let answer = ask(&url, &[]).ok();
    assert!(answer.stdout.contains("02:00:00:00:00:01"), "{answer:#?}");
    assert_eq!(answer.stderr, "");
    let at = |user: &str, database: &str| format!("mysql://{user}@127.0.0.1:{port}/{database}");
    let refused = |url: &str, more: &[&str], why: &[&str]| {
        let ended = ask(url, more);
        assert!(!ended.stderr.contains("a#b") && !ended.stderr.contains("secret"), "{ended:#?}");
        ended.refused("aw-query", why);
    };
    refused(&at("reader:secret", "addrwatch"), &[], &["a password in a URL", "--config"]);
    refused(&at("stranger", "addrwatch"), &[], &["Access denied", "GRANT SELECT"]);
    refused(&at("nobody", "addrwatch"), &[], &["Access denied", "section [addrwatch]"]);
    refused(&at("reader", "other"), &[], &["Unknown column", "not a table of aw-mysql"]);
    refused(&at("reader", "other"), &["-p", "x_"], &["doesn't exist", "--prefix"]);
    refused(
        "mysql://reader@127.0.0.1:1/addrwatch",
        &[],
        &["addrwatch at 127.0.0.1:1: ", "refused"],
    );
    refused("mysql://127.0.0.1/a/b?ssl=0", &[], &["a URL has the form mysql://"]);
    refused("postgres://127.0.0.1/addrwatch", &[], &["open postgres://", "mysql://"]);
    refused("lan.db", &[], &["--config names a server", "choose one"]);
    let mut nowhere = Command::new(program("aw-query", &[]).get_program());
    nowhere.args(["-c", "/nowhere/mysql.cnf", "devices"]);
    run(nowhere).refused("aw-query", &["read /nowhere/mysql.cnf: no such file"]);
}

/// Any content of the tables: no panic, and no control characters for a terminal.
#[test]
fn content_is_not_trusted() {
    let Some(server) = MariaDb::start(&["--sql-mode="]) else { return };
    server.sql(
        "CREATE TABLE log (tstamp TIMESTAMP(3) NULL, hostname VARBINARY(255), interface VARCHAR(16) CHARACTER SET latin1,
            vlan_tag BIGINT, mac_address VARBINARY(20) NULL, ip_address VARBINARY(20) NULL, origin_id INT);
        INSERT INTO log VALUES (from_unixtime(1795183200.5), 0x1b5b324affe280ae, concat(char(27), '[2J', char(155)), 5, 0x020000000001, 0x0a010203, 0),
            (NULL, NULL, NULL, NULL, NULL, NULL, NULL), (0, '', '', -9223372036854775808, 0x020000000001, 0x0a010203, 99),
            (now(), 'x', 'y', 0, 0x0200, 0x0a010203, 1), (now(), 'x', 'y', 0, 0x020000000001, 0x0a0102, 1);
        CREATE TABLE claimed_name (hostname BLOB, interface BLOB NULL, vlan_tag BIGINT NULL, mac_address BLOB, source BIGINT, name BLOB,
            first_seen TIMESTAMP NULL, last_seen TIMESTAMP NULL, uses INT NULL);
        INSERT INTO claimed_name VALUES ('x', 'y', 5, 0x020000000001, 5, concat(char(27), '[2Jn', 0xe280ae, char(255)), now(), now(), -1),
            (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('x', 'y', 0, 0x020000000001, 99, 'z', now(), now(), 1),
            ('x', 'y', 0, 0x020000000001, 1, '', now(), now(), 1), ('x', 'y', 0, 0x02, 1, 'z', 0, 0, 1);
        CREATE TABLE address_lease (hostname BLOB, interface VARCHAR(16) CHARACTER SET latin1, vlan_tag BIGINT NULL, ip_address VARBINARY(20), mac_address BLOB,
            begins TIMESTAMP NULL, last_seen TIMESTAMP NULL, ends TIMESTAMP NULL, released BIGINT NULL);
        INSERT INTO address_lease VALUES ('x', 'y', NULL, 0x0a010203, 0x020000000001, now(), now(), now(), NULL),
            ('x', 'y', 0, 0x0a010203, 0x020000000001, 0, NULL, now(), 7), (0x1b5b324affe280ae, concat(char(27), '[2J', char(155)), 5,
            0x0a010203, 0x020000000001, from_unixtime(1795183200), from_unixtime(1795183200), from_unixtime(1795197600), 9)",
    );
    let config = server.config("");
    for question in [
        &["devices"][..],
        &["changes"],
        &["ip", ADDRESS],
        &["who", ADDRESS, "--at", "2026-11-20 14:00:01"],
        &["mac", "02:00:00:00:00:01"],
        &["who", ADDRESS, "--at", "2026-11-20 16:00"],
    ] {
        for format in ["table", "json", "csv"] {
            let question = [question, &["--format", format]].concat();
            let ended = asked(&question, &["-c", config.to_str().unwrap()]).ok();
            let steers = |c: char| c.is_control() && c != '\n' && !(c == '\r' && format == "csv");
            assert!(!ended.stdout.contains(steers), "{question:?}: {:?}", ended.stdout);
            assert!(!ended.stdout.contains('\u{202e}'), "{question:?}: {:?}", ended.stdout);
            assert!(ended.stdout.contains("?[2J"), "{question:?}: {:?}", ended.stdout);
            let has_lease = ended.stdout.contains("its lease ends 2 h 0 min after");
            assert_eq!(has_lease, question.contains(&"2026-11-20 16:00"), "{:?}", ended.stdout);
        }
    }
}
