//! What the questions about all pairings cost, in pages and rows that are read, and that they have the same answers as a
//! history that is counted row by row, and as each other.
#![forbid(unsafe_code)]

use aw_tests::bench::Random;
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::moving::{file, import, import_to, line_at};
use aw_tests::rig::{program, run};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, capture};
use std::{collections::HashSet, process::Command};

/// A history of these sightings on both kinds of database: some times are from before the clock was set, some claims are in
/// frames of another MAC, some messages are no pairing.
fn random_lines(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let (mut lines, mut seconds) = (Vec::new(), HashSet::new());
    let (addresses, macs) = (2 + random.below(6), 2 + random.below(6));
    for _ in 0..20 + random.below(400) {
        let long = 1 + (200 << random.below(10));
        let second = match random.below(12) {
            0 => 30 + random.below(1000),
            _ => 1_795_183_200 + random.below(long),
        };
        // The order of two sightings in one second is not defined.
        if !seconds.insert(second) {
            continue;
        }
        let origin = [0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 15, 99][random.below(15) as usize];
        let host = ["here", "there"][usize::from(random.below(5) == 0)];
        let vlan = if random.below(5) == 0 { "\"vlan\":7," } else { "" };
        let (mac, source) = (random.below(macs), random.below(4 * macs));
        let source = match source < macs && source != mac {
            true => format!(",\"source\":\"02:00:00:00:00:{source:02x}\""),
            false => String::new(),
        };
        let address = random.below(addresses);
        lines.push(line_at(
            &second.to_string(),
            &format!(
                "\"host\":\"{host}\",\"interface\":\"eth0\",{vlan}\"mac\":\"02:00:00:00:00:{mac:02x}\",\"ip\":\"10.1.2.{address}\",\"origin\":{origin}{source}"
            ),
        ));
    }
    lines.sort();
    lines.dedup();
    lines
}

/// The columns `count` and the rest.
fn without_count(csv: &str) -> String {
    let heading = csv.lines().next().unwrap_or_default();
    let count = heading.split(',').position(|name| name == "count").expect("the column is there");
    let line = |line: &str| {
        let mut cells: Vec<&str> = line.split(',').collect();
        cells.remove(count);
        cells.join(",") + "\n"
    };
    csv.lines().map(line).collect()
}

/// Counted or not, in a file or on a server: the same rows, first and last times, addresses and changes.
#[test]
fn the_same_answers_of_random_histories() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let config = server.config("");
    let (mut devices, mut forged) = (0, 0);
    for seed in 1..=30 {
        let text = file(&random_lines(seed));
        let history = History::new();
        import(&history, &text).ok();
        let prefix = format!("s{seed}_");
        import_to(&server, &["-p", &prefix], &text).ok();
        let ask = |arguments: &[&str]| {
            let arguments = [arguments, &["--format", "csv"]].concat();
            let of_file = run(history.query(&arguments));
            let mut query = program("aw-query", &["-c", config.to_str().unwrap(), "-p", &prefix]);
            query.args(["--names", "/dev/null", "--vendors", "/nonexistent"]);
            query.args(&arguments).env("TZ", "UTC");
            let of_server = run(query);
            let of_file = (of_file.status.code(), of_file.stdout, of_file.stderr);
            let of_server = (of_server.status.code(), of_server.stdout, of_server.stderr);
            assert_eq!(of_file, of_server, "{seed}: {arguments:?}\n{text}");
            of_file
        };
        for times in [
            &[][..],
            &["--from", "@0"],
            &["--to", "@2000"],
            &["--since", "@1795183500"],
            &["--since", "@1795190000", "--to", "@1795200000"],
        ] {
            let counted = ask(&[&["devices", "--count"], times].concat());
            let uncounted = ask(&[&["devices"], times].concat());
            assert_eq!(without_count(&counted.1), without_count(&uncounted.1), "{seed} {times:?}");
            assert_eq!((counted.0, &counted.2), (uncounted.0, &uncounted.2), "{seed} {times:?}");
            devices += counted.1.lines().count() - 1;
            forged += usize::from(counted.2.contains("left out, because another MAC"));
            ask(&[&["changes"], times].concat());
        }
    }
    assert!(devices > 300 && forged > 20, "{devices} devices, {forged} with claims left out");
}

/// Pages of 4 KiB that a question reads: the kernel counts what a process and its ended children have read.
fn pages_read(history: &History, question: &[&str]) -> u64 {
    let query = history.query(question);
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" >/dev/null; cat /proc/$$/io", "sh"]);
    shell.arg(query.get_program()).args(query.get_args()).env("TZ", "UTC");
    let io = run(shell).ok().stdout;
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("the kernel counts");
    read.parse::<u64>().expect("a number") / 4096
}

/// The pages that are read depend on the pairings, and not on the rows. Those of `--count` show that the rows are there.
#[test]
fn a_question_about_all_pairings_reads_few_pages() {
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, &sightings::handover());
    run(history.command(&ring, &["--once"])).ok();
    let database = history.open().expect("a database");
    database
        .execute_batch(
            "PRAGMA synchronous = off; BEGIN;
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200)
                INSERT INTO pairing (id, address, mac, place, ip) SELECT 1000 + n, unhex(printf('0a02%04x', n)), n, 1, printf('10.2.%d.%d', n / 256, n % 256) FROM n;
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
                INSERT INTO sighting SELECT id, (1795200000 + 60 * n) * 1000000000, n % 2, 0 FROM pairing CROSS JOIN n WHERE id > 1000;
            COMMIT",
        )
        .expect("rows");
    drop(database);
    let rows = history.count();
    assert!(rows > 1_000_000, "{rows} rows");
    let since = "@1795450000";
    for (question, most) in [
        (&["devices"][..], 1500),
        (&["devices", "--since", since], 1500),
        (&["changes", "--since", since], 1500),
        (&["changes"], 8000), // all is new: each row is read once
    ] {
        let read = pages_read(&history, question);
        assert!(read < most, "{question:?} reads {read} pages");
    }
    let counted = pages_read(&history, &["devices", "--count"]);
    assert!(counted > 5000, "{counted} pages");
}

/// The same of a server: it counts the rows that it looks at.
#[test]
fn a_question_about_all_pairings_looks_at_few_rows() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    server.sql(
        "INSERT INTO log SELECT from_unixtime(1795100000 + seq), 'here', 'eth0', 0, unhex(lpad(hex(seq % 1000), 12, '0')),
            unhex(concat('0a02', lpad(hex(seq % 1000), 4, '0'))), seq div 1000 % 2 FROM seq_1_to_200000;
        ANALYZE TABLE log",
    );
    let config = server.config("");
    let value = |select: &str| -> u64 { server.sql(select).trim().parse().unwrap() };
    let rows = || {
        value(
            "SELECT sum(variable_value) FROM information_schema.global_status WHERE variable_name LIKE 'handler_read%'",
        )
    };
    let questions = || {
        value(
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'com_select'",
        )
    };
    let ask = |question: &[&str]| {
        let (before, selects) = (rows(), questions());
        let mut asked = program("aw-query", &["-c", config.to_str().unwrap()]);
        asked.args(question).env("TZ", "UTC");
        let asked = run(asked);
        assert!(matches!(asked.status.code(), Some(0 | 3)), "{question:?}: {asked:#?}"); // 3: nothing has changed
        (rows() - before, questions() - selects)
    };
    let idle = [rows(), rows()];
    let idle = idle[1] - idle[0];
    // A step of a server's index takes three of its searches; two origins, and temporary tables of the result.
    for question in [
        &["devices"][..],
        &["devices", "--since", "@1795250000"],
        &["changes", "--since", "@1795299000"],
    ] {
        let (read, selects) = ask(question);
        assert!(read - idle < 40_000, "{question:?}: {read} rows were looked at");
        // Not one for each of the thousand addresses.
        assert!(selects < 30, "{question:?}: {selects} queries");
    }
    let (counted, _) = ask(&["devices", "--count"]);
    assert!(counted > 200_000, "{counted} rows");

    // The addresses of an IPv6 network change each day: between two that are in use are many of the days before.
    let of_network = |time: &str, numbers: &str| {
        format!(
            "INSERT INTO log SELECT from_unixtime({time}), 'here', 'eth0', 0, unhex(lpad(hex({numbers}), 12, '0')),
                unhex(concat('20010db8', lpad(hex({numbers}), 24, '0'))), 2 FROM"
        )
    };
    server.sql(&format!(
        "{} seq_1_to_10000; {} seq_1_to_100; ANALYZE TABLE log",
        of_network("1795100000 + seq", "seq"),
        of_network("1795400000 + seq", "seq * 100"),
    ));
    let (read, selects) = ask(&["changes", "--since", "@1795400000"]);
    assert!(read - idle < 40_000, "{read} rows were looked at");
    assert!(selects < 30, "{selects} queries");
}

/// Bytes that a row takes in a new table, of which each index is a part: all of them together are less than those of the table
/// that earlier releases created.
#[test]
fn a_new_table_is_lean() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    server.sql(
        "CREATE TABLE earlier LIKE log;
        ALTER TABLE earlier MODIFY vlan_tag INT NOT NULL DEFAULT 0, MODIFY origin_id INT NOT NULL, DROP KEY vlan_tag_interface,
            ADD KEY interface (interface), ADD KEY vlan_tag (vlan_tag), ADD KEY mac_address (mac_address), ADD KEY interface_vlan_tag (interface, vlan_tag)",
    );
    let fill = |table: &str| {
        server.sql(&format!(
            "INSERT INTO {table} SELECT from_unixtime(1795100000 + seq), 'here', 'eth0', 0, unhex(lpad(hex(seq * 7919 % 1000), 12, '0')),
                unhex(concat('0a02', lpad(hex(seq * 7919 % 1000), 4, '0'))), seq div 1000 % 2 FROM seq_1_to_200000; ANALYZE TABLE {table}"
        ));
        let select = format!(
            "SELECT sum(stat_value) * 16384 div 200000 FROM mysql.innodb_index_stats WHERE table_name = '{table}' AND stat_name = 'n_leaf_pages'"
        );
        server.sql(&select).trim().parse::<u32>().unwrap()
    };
    let (new, earlier) = (fill("log"), fill("earlier"));
    assert!(new < 260 && 100 * new < 76 * earlier, "{new} and {earlier} bytes a row");
}

/// What users of addrwatch ask with SQL, of a table that aw-mysql created.
#[test]
fn statements_of_addrwatchs_users() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    for (select, expected) in [
        ("SELECT count(*) FROM log WHERE interface = 'eth0' AND vlan_tag = 7", "1\n"),
        ("SELECT hex(ip_address) FROM log WHERE vlan_tag > 4 LIMIT 1", "0A010204\n"),
        ("SELECT count(*) FROM log WHERE mac_address = unhex('020000000002')", "24\n"),
        ("SELECT count(*) FROM log JOIN origin ON origin.id = log.origin_id WHERE name = 'ARP_REQ'", "49\n"),
        ("SELECT inet6_ntoa(unhex(ip_address)), vlan_tag, origin FROM log_plaintext WHERE vlan_tag = 7", "10.1.2.4\t7\tARP_REQ\n"),
        ("SELECT vlan_tag, max(tstamp) > 0 FROM log GROUP BY vlan_tag ORDER BY 1", "0\t1\n7\t1\n"),
        // As addrwatch inserts.
        ("INSERT INTO log (tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id) VALUES (now(), 'x', 'eth1', 4095, 0x020000000001, 0x0a010203, 5);
            SELECT count(*) FROM log WHERE vlan_tag = 4095 AND origin_id = 5", "1\n"),
    ] {
        assert_eq!(server.sql(select), expected, "{select}");
    }
}
