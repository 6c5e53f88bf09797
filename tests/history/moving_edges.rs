//! Histories that move in parts, with hostile or odd rows, beside a queue or a lock, and as the guide says.
#![forbid(unsafe_code)]

use aw_tests::feed::publish;
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::moving::{
    COARSE, EXACT, added, assert_fails, export, export_of, file, import, import_command, import_to,
    line, line_at, rows,
};
use aw_tests::rig::{Run, binary, program, program_at, run, wait_until};
use aw_tests::ring::Ring;
use rustix::process::geteuid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

const PAIRING: &str = "\"mac\":\"02:00:00:00:00:01\",\"ip\":\"192.0.2.1\",\"origin\":0";
const PLACE: &str = "\"host\":\"gw\",\"ring\":\"/a\",\"interface\":\"eth0\"";
/// Within a second that begins there.
const SECOND: u32 = 1_795_200_000;

/// A part that begins within a second has the whole second: the numbers of its rows are those of the second, and not of the part.
#[test]
fn parts_within_a_second() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let history = History::new();
    let lines: Vec<String> = [("1", 1), ("2", 2), ("7", 3)]
        .map(|(fraction, nth)| {
            line_at(&format!("{SECOND}.{fraction}"), &format!("{PLACE},{PAIRING},\"nth\":{nth}"))
        })
        .into();
    import(&history, &file(&lines)).ok();
    let part = |range: &[&str]| run(history.query(&[&["export"], range].concat())).ok().stdout;
    let within = "2026-11-20T18:40:00.15Z"; // SECOND and a fraction
    let [first, second] = [part(&["--to", within]), part(&["--from", within])];
    for text in [&lines[0], &first, &second] {
        let text = if text.starts_with("{\"time") { file(&lines[..1]) } else { text.clone() };
        import_to(&server, &[], &text).ok();
    }
    assert_eq!(server.count(), 3);
    let (copy, none) = (History::new(), "0 rows added, 3 were there already");
    import(&copy, &(first + &second)).ok();
    assert_eq!(rows(&copy, EXACT), rows(&history, EXACT));
    assert_eq!(added(&import(&copy, &export_of(&server, &[])).ok()), none);
}

/// Names that differ in case or in blanks at the end only are those of different hosts, interfaces, routers and users.
#[test]
fn names_that_a_server_compares_as_equal() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let history = History::new();
    let mut lines = Vec::new();
    // The server compares the first four as equal, and the last two.
    for (name, nth) in [("GW", 1), ("gw", 1), ("gw ", 1), ("g\u{e9}w", 1), ("gew", 1), ("GW", 2)] {
        let nth = format!("\"nth\":{nth},\"before\":{}", nth - 1);
        lines.push(line(0, &format!("\"host\":\"{name}\",\"interface\":\"eth0\",{PAIRING},{nth}")));
        let place = format!("\"host\":\"h\",\"interface\":\"{name}\"");
        lines.push(line(0, &format!("{place},{PAIRING},{nth}")));
        let lines_of = "\"lines_added\":1,\"lines_removed\":0";
        lines.push(line(0, &format!("{place},\"user\":\"a\",{lines_of},{nth}")));
        let place = "\"host\":\"h\",\"interface\":\"core\"";
        lines.push(line(0, &format!("{place},\"user\":\"{name}\",{lines_of},{nth}")));
    }
    let text = file(&lines);
    import(&history, &text).ok();
    import_to(&server, &[], &file(&lines[..20])).ok();
    import_to(&server, &[], &text).ok(); // now the second GW comes after the others
    assert_eq!(server.count(), 12);
    assert_eq!(server.sql("SELECT count(*) FROM config_change").trim(), "12");
    let back = History::new();
    import(&back, &export_of(&server, &[])).ok();
    let expected = rows(&history, EXACT);
    assert_eq!((rows(&back, EXACT), expected.len()), (expected.clone(), 20));
    let again = import_to(&server, &[], &text).ok();
    assert_eq!(added(&again), "0 rows added, 24 were there already");
}

/// More equal rows than a line can have, as a flood within a second makes them in tables with whole seconds.
#[test]
fn more_equal_rows_than_a_line_has() {
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql(include_str!("../data/addrwatch-1.0.sql"));
    server.sql("CREATE INDEX ip_address_tstamp ON `log` (ip_address, tstamp)");
    server.sql(&format!(
        "DELETE FROM log; INSERT INTO log (tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id)
        SELECT from_unixtime({SECOND}), 'gw', 'eth0', 0, 0x020000000001, 0xc0000201, 0 FROM seq_1_to_25000"
    ));
    let (history, text) = (History::new(), export_of(&server, &[]));
    assert_eq!(text.lines().count(), 2 + 3, "{text}");
    import(&history, &text).ok();
    assert_eq!(history.count(), 25_000);
    let again = import(&history, &text).ok();
    assert_eq!(added(&again), "0 rows added, 25000 were there already");
    for text in [&text, &export(&history)] {
        import_to(&server, &["-p", "copy_"], text).ok();
        assert_eq!(server.sql("SELECT count(*) FROM copy_log").trim(), "25000");
    }
}

/// A number that was damaged or forged adds no more rows than a line has. Each batch is stored before the next one is read.
#[test]
fn hostile_numbers() {
    let (history, server) = (History::new(), MariaDb::start(&[]));
    let of =
        |count: u64, n: u32| line(i64::from(n), &format!("{PLACE},{PAIRING},\"count\":{count}"));
    let refused = import(&history, &file(&[of(1_000_000, 0)]));
    refused.refused("aw-sqlite", &["line 2: count is 1 to 10000"]);
    assert_eq!(history.count(), 0);
    let lines: Vec<_> = (0..6).map(|n| of(9000, n)).collect();
    let text = format!("{}{}", "{\"addrwatch_history\":1}\n", lines.concat());
    let mut command = program("aw-sqlite", &["--database", history.database().to_str().unwrap()]);
    command.args(["import", "-"]);
    let commands = [Some(command), server.as_ref().map(|server| import_command(server, &[]))];
    for command in commands.into_iter().flatten() {
        let is_server = command.get_program() != program("aw-sqlite", &[]).get_program();
        let count = || match &server {
            Some(server) if is_server => server.count(),
            _ => history.count(),
        };
        let mut import = Run::start(command);
        import.stdin.as_mut().expect("piped").write_all(text.as_bytes()).expect("it reads");
        wait_until("three batches of two lines", || count() == 54_000);
        import.kill();
    }
}

/// Rows of other programs that no line can have do not stop the others, and are counted, with an example.
#[test]
fn rows_that_are_left_out() {
    let history = History::new();
    let good: Vec<_> = (0..3).map(|n| line(n, &format!("{PLACE},{PAIRING}"))).collect();
    import(&history, &file(&good)).ok();
    let database = history.open().unwrap();
    database
        .execute_batch(&format!(
            "INSERT INTO place SELECT 100, host, ring, interface, 5000, outer_vlan, router FROM place LIMIT 1;
            INSERT INTO pairing (id, address, mac, place, ip, source) SELECT 100, address, mac, 100, ip, source FROM pairing LIMIT 1;
            INSERT INTO pairing (id, address, mac, place, ip, source) SELECT 101, x'01', mac, 100, ip, source FROM pairing LIMIT 1;
            INSERT INTO place SELECT 101, hex(zeroblob(300)), ring, interface, vlan, outer_vlan, router FROM place LIMIT 1;
            INSERT INTO pairing (id, address, mac, place, ip, source) SELECT 103, address, mac, 101, ip, source FROM pairing LIMIT 1;
            INSERT INTO sighting VALUES (103, {SECOND}000000003, 0, 0);
            INSERT INTO pairing (id, address, mac, place, ip, source) SELECT 102, address, 'x', place, ip, source FROM pairing LIMIT 1;
            INSERT INTO sighting VALUES (100, {SECOND}000000001, 0, 0), (100, {SECOND}000000002, 0, 0)"
        ))
        .unwrap();
    let exported = run(history.query(&["export"]));
    let what = "2 pairings and 3 rows are left out, the first is pairing 101";
    assert_fails_with(&exported, &[what, "all others are exported"]);
    assert!(exported.stdout.ends_with("{\"end_after_lines\":3}\n"), "{}", exported.stdout);
    import(&History::new(), &exported.stdout).ok();

    // And what a table cannot have.
    let Some(server) = MariaDb::start(&[]) else { return };
    let long = "\"host\":\"gw\",\"interface\":\"a-long-interface0\"";
    let odd = line(9, &format!("{long},{PAIRING},\"count\":2"));
    let text = file(&[&good[..1], &[odd], &good[1..]].concat());
    let of_server = import_to(&server, &[], &text);
    assert_fails(
        of_server,
        &["2 rows are not imported, the first of line 3: ", "a-long-interface0", "16 characters"],
    );
    assert_eq!(server.count(), 3);
}

/// The last part of an export is printed once, also if the log is copied while the reader of the lines is slow.
#[test]
fn changes_are_exported_once() {
    let history = History::new();
    let changes: Vec<_> = (0..5000)
        .map(|n| {
            line(n, &format!("{PLACE},\"user\":\"a\",\"lines_added\":{n},\"lines_removed\":0"))
        })
        .collect();
    import(&history, &file(&changes)).ok();
    let mut command = history.query(&["export"]);
    let mut export = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(export.stdout.take().unwrap());
    let mut first = String::new();
    for _ in 0..2 {
        output.read_line(&mut first).unwrap(); // with the first change, all are being printed
    }
    let delete = "UPDATE config_change SET lines_removed = 1; PRAGMA wal_checkpoint(truncate)";
    history.open().unwrap().execute_batch(delete).unwrap();
    let rest: Vec<String> = output.lines().map(Result::unwrap).collect();
    assert!(export.wait().unwrap().success());
    assert_eq!(rest.last().map(String::as_str), Some("{\"end_after_lines\":5000}"));
    assert_eq!(rest.len(), 5000);
}

/// Others may lock the tables for longer than a statement waits.
#[test]
fn a_lock_is_waited_for() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let text = file(&[line(0, &format!("{PLACE},{PAIRING}"))]);
    import_to(&server, &[], &text).ok();
    let rollbacks = || server.sql("SHOW GLOBAL STATUS LIKE 'Com_rollback'");
    let before = rollbacks();
    let lock = server.hold("LOCK TABLES log READ");
    let text = file(&[line(1, &format!("{PLACE},{PAIRING}"))]);
    let mut import = Run::start(import_command(&server, &[]));
    let mut stdin = import.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    import.wait_until("it tries again", || rollbacks() != before);
    drop(lock);
    import.finish().ok();
    assert_eq!(server.count(), 2);
}

/// What is queued is stored without a search for it: so an import waits for its end.
#[test]
fn not_while_events_are_queued() {
    let (history, ring) = (History::new(), Ring::new());
    let output = history.start(&ring, &[]);
    publish(&ring, 1..11);
    wait_until("rows", || history.count() == 10);
    let lock = history.lock();
    publish(&ring, 11..21);
    let state = history.path().join("state");
    let outage = state.join("aw-sqlite.outage");
    wait_until("a queue", || fs::read(&outage).is_ok_and(|text| text.starts_with(b"{")));
    let text = file(&[line(1, &format!("{PLACE},{PAIRING}"))]);
    let import = |state: &std::path::Path| {
        let mut command = program("aw-sqlite", &["--state-dir"]);
        command.arg(state).arg("--database").arg(history.database()).args(["import", "-"]);
        aw_tests::rig::run_with(command, text.as_bytes())
    };
    let why =
        ["aw-sqlite is queueing since", "wait until --health reports no queue", "--state-dir"];
    import(&state).refused("aw-sqlite", &why);
    // The directory of all services, as an administrator's command has it.
    let all = history.path().join("all");
    fs::create_dir(&all).unwrap();
    std::os::unix::fs::symlink(&state, all.join("aw-sqlite")).unwrap();
    import(&all).refused("aw-sqlite", &why);
    drop(lock);
    wait_until("all rows", || history.count() == 20);
    wait_until("no queue", || fs::read(&outage).is_ok_and(|text| !text.starts_with(b"{")));
    import(&state).ok();
    import(&all).ok();
    output.stop().ok();
    assert_eq!(history.count(), 21);
}

/// Each command of the guide, as shipped except for paths of files: another machine is this one.
#[test]
fn the_recipes_of_the_guide_run() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/moving-history.md");
    let guide = fs::read_to_string(guide).unwrap();
    let [lan, copy] = [(); 2].map(|()| History::new());
    let directory = tempfile::tempdir().unwrap();
    let [old, new, all] =
        ["old.db", "new.db", "all.db"].map(|name| History::at(directory.path().join(name)));
    let seen = |numbers: std::ops::Range<i64>| {
        let lines = numbers.map(|n| {
            line_at(&format!("{}.5", 1_790_000_000 + n * 100_000), &format!("{PLACE},{PAIRING}"))
        });
        file(&lines.collect::<Vec<_>>())
    };
    // From September to November 2026.
    import(&lan, &seen(0..60)).ok();
    import(&old, &seen(0..40)).ok();
    import(&new, &seen(30..60)).ok();
    let config = server.config("");
    fs::copy(&config, directory.path().join("reader.cnf")).unwrap();
    let user = if geteuid().is_root() { "-u 0 " } else { "" };
    let programs = binary("aw-query").parent().unwrap().display().to_string();
    let shell = |line: &str| {
        let line = line
            .replace("sudo ", "")
            .replace("ssh old ", "")
            .replace(
                "aw-query export",
                &format!("aw-query --database {} export", lan.database().display()),
            )
            .replace(
                "aw-sqlite import",
                &format!("aw-sqlite --database {} import", copy.database().display()),
            )
            .replace(
                "aw-mysql -c /etc/addrwatch/mysql.cnf",
                &format!("aw-mysql {user}-c {}", config.display()),
            );
        let mut shell = program_at(
            "bash".into(),
            &["-ec", &format!("set -o pipefail; PATH={programs}:$PATH; {line}")],
        );
        shell.current_dir(directory.path());
        run(shell).ok();
    };
    let blocks = guide.split("```").skip(1).step_by(2);
    let lines = blocks.filter_map(|block| block.strip_prefix("sh\n")).flat_map(str::lines);
    // `system/booted` and `system/units` run services and their files.
    let lines = lines.filter(|line| !line.contains("/srv/hist") && !line.contains("systemctl"));
    let lines: Vec<&str> = lines.filter_map(|line| line.split(" #").next()).collect();
    lines.iter().for_each(|line| shell(line));
    assert!(lines.len() >= 12, "{lines:?}");
    let expected = rows(&lan, EXACT);
    assert_eq!(expected.len(), 60);
    assert_eq!(rows(&all, EXACT), expected, "two files became one");
    assert_eq!((server.count(), rows(&copy, COARSE)), (60, rows(&lan, COARSE)));
    let lines_of = |name: &str| {
        let text = fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines().filter(|line| line.contains("\"time\"")).count()
    };
    let [whole, october, november] = ["lan.jsonl", "2026-10.jsonl", "2026-11.jsonl"].map(lines_of);
    assert_eq!(whole, 60);
    assert!(october > 20 && november > 10 && october + november < 60, "{october} {november}");
}

#[track_caller]
fn assert_fails_with(finished: &aw_tests::rig::Finished, texts: &[&str]) {
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    texts.iter().for_each(|text| assert!(finished.stderr.contains(text), "{}", finished.stderr));
}
