//! Histories move from database to database: `aw-query export`, `aw-sqlite import`, `aw-mysql import`; and compact tables of
//! addrwatch.
#![forbid(unsafe_code)]

use aw_tests::feed::publish;
use aw_tests::forms;
use aw_tests::frames::{Arp, station};
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::moving::{
    COARSE, EXACT, added, assert_fails, export, export_of, file, import, import_command, import_to,
    line, line_at, rows,
};
use aw_tests::rig::{Run, program, run, run_with, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::Server;
use aw_tests::sightings::{self, ADDRESS, capture, capture_frames, evidence};
use rusqlite::Connection;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

const QUESTIONS: &[&[&str]] = &[
    &["who", ADDRESS, "--at", "2026-11-20 14:58"],
    &["who", ADDRESS, "--at", "2026-11-20 15:00:00"],
    &["who", "10.1.2.50", "--at", "@1795185003"],
    &["who", "2001:db8::6", "--at", "@1795186200"],
    &["who", "2001:db8::9", "--at", "@1795186200"],
    &["who", "10.1.2.60", "--at", "@1795185000"],
    &["ip", ADDRESS],
    &["ip", ADDRESS, "--all"],
    &["ip", "10.1.2.4"],
    &["ip", "192.0.2.66", "--all"],
    &["ip", "2001:db8::66", "--all"],
    &["ip", "2001:db8::9", "--all"],
    &["ip", "10.1.2.60"],
    &["mac", "02:00:00:00:00:01"],
    &["mac", "02:00:00:00:00:66", "--all"],
    &["mac", "02:00:00:00:00:77", "--all"],
    &["mac", "02:00:00:00:00:63", "--all"],
    &["changes"],
    &["changes", "--since", "2026-11-20 14:20"],
    &["devices"],
    &["devices", "--count"],
];

/// Frames of every form, of an hour with probes, answers without a MAC and a forwarder, and of a clock that was not set.
fn captured(history: &History) -> Ring {
    let ring = Ring::new();
    let claim = |second: u32, number: u8| {
        let ip = [10, 1, 2, number].into();
        (second, Arp::request(station(number.into()), ip, [10, 1, 2, 254].into()).frame())
    };
    capture_frames(&ring, [claim(30, 60), claim(31, 61)]);
    capture(&ring, &sightings::handover());
    capture_frames(&ring, evidence());
    let all = forms::all().into_iter().flat_map(|form| form.frames);
    capture_frames(&ring, (1_795_190_000..).zip(all));
    capture_frames(&ring, [claim(sightings::BEGIN + 3600, 60)]);
    run(history.command(&ring, &["--once"])).ok();
    ring
}

/// Rows that frames of a test cannot make: every origin, others' numbers, VLANs, routers, several rings, senders; equal rows,
/// and several within a second; configuration changes.
fn rich() -> String {
    let mut lines = Vec::new();
    let of = |n: i64| format!("\"mac\":\"02:00:00:00:01:{n:02x}\",\"ip\":\"198.51.100.{n}\"");
    for origin in (0..=15).chain([99]) {
        let common = format!("\"interface\":\"eth1\",{},\"origin\":{origin}", of(origin));
        lines.push(line(origin, &format!("\"host\":\"gw\",\"ring\":\"/a\",{common}")));
        let source = "\"source\":\"02:00:00:00:09:09\"";
        lines.push(line(origin, &format!("\"host\":\"gw\",\"ring\":\"/a\",{common},{source}")));
        let vlans = "\"vlan\":17,\"outer_vlan\":5";
        lines.push(line(origin, &format!("\"host\":\"GW\",\"ring\":\"/b\",{common},{vlans}")));
        lines.push(line(origin, &format!("\"host\":\"old\",{common},\"vlan\":-1,\"count\":3")));
    }
    // A second in which three rings and two VLAN stacks saw the same pairing.
    for (n, (nanos, more)) in [
        ("1", "\"ring\":\"/a\""),
        ("25", "\"ring\":\"/b\""),
        ("25", "\"ring\":\"/c\",\"outer_vlan\":9"),
        ("3", "\"ring\":\"/a\",\"router\":\"192.0.2.1\""),
        ("999999999", "\"ring\":\"/a\",\"count\":2"),
    ]
    .into_iter()
    .enumerate()
    {
        let common = format!("\"host\":\"gw\",\"interface\":\"it's \\\\ \\u001b\",{}", of(200));
        let nth = if n > 0 { format!(",\"nth\":{}", n + 1) } else { String::new() };
        let time = format!("1795209000.{nanos}");
        lines.push(line_at(&time, &format!("{common},\"origin\":6,{more}{nth}")));
    }
    for (second, ring, count) in [(1, "/a", 1), (1, "/b", 2), (2, "/a", 1)] {
        let who = "\"user\":\"admin\",\"lines_added\":3,\"lines_removed\":1";
        let place = format!("\"host\":\"gw\",\"ring\":\"{ring}\",\"interface\":\"core1\"");
        let nth = if ring == "/b" { 2 } else { 1 };
        let router = "\"router\":\"192.0.2.1\"";
        let times = format!("\"count\":{count},\"nth\":{nth}");
        lines.push(line(second, &format!("{place},{router},{who},{times}")));
    }
    file(&lines)
}

#[test]
fn to_another_file() {
    let [history, copy] = [(); 2].map(|()| History::new());
    let _ring = captured(&history);
    import(&history, &rich()).ok();
    let text = export(&history);
    let lines = text.lines().count() - 2;
    import(&copy, &text).ok();
    assert_eq!(rows(&copy, EXACT), rows(&history, EXACT));
    assert_eq!(export(&copy), text, "the order does not depend on the file");
    assert!(!text.contains('\u{1b}') && text.contains("\\u001b"));
    for question in QUESTIONS {
        let [ours, theirs] = [&history, &copy].map(|history| {
            let answer = run(history.query(&[*question, &["--format", "json"]].concat()));
            (answer.status.code(), answer.stdout, answer.stderr)
        });
        assert_eq!(ours, theirs, "{question:?}");
        assert_eq!(ours.0, Some(0), "{question:?}");
    }
    let sum: i64 = rows(&copy, EXACT).values().sum();
    let again = import(&copy, &text).ok();
    assert_eq!(added(&again), format!("0 rows added, {sum} were there already"));
    assert!(again.stderr.contains(&format!("{lines} lines read")), "{}", again.stderr);
    assert_eq!(copy.value::<String>("PRAGMA integrity_check").as_deref(), Some("ok"));
    // A part of it.
    let part = run(history.query(&["export", "--from", "@1795200000", "--to", "@1795200002"]));
    assert_eq!(part.ok().stdout.lines().count(), 2 + 3 * 4 + 3);
    // What devices call themselves: a line each; one that is there gets the earlier first and the later last time.
    let add = "INSERT INTO claimed_name SELECT 0x020000000001, id, 5, 'nas', 1795200000000000000, 1795200009000000000, 3
        FROM place WHERE router = '' AND ring <> '' ORDER BY id LIMIT 1";
    history.open().unwrap().execute_batch(add).unwrap();
    let text = export(&history);
    assert_eq!(text.lines().count() - 2, lines + 1);
    assert_eq!(
        added(&import(&copy, &text).ok()),
        format!("1 rows added, {sum} were there already")
    );
    let later = "UPDATE claimed_name SET first = first + 5, last = last + 5, count = 4";
    copy.open().unwrap().execute_batch(later).unwrap();
    assert!(added(&import(&copy, &text).ok()).starts_with("0 rows added"));
    let name = "SELECT name || ' ' || first || ' ' || last || ' ' || count FROM claimed_name";
    let merged = "nas 1795200000000000000 1795200009000000005 4";
    assert_eq!(copy.value::<String>(name).as_deref(), Some(merged));
}

/// Each answer and each row stays, but for what the server's tables do not have; and nothing is counted twice on the way
/// back.
#[test]
fn to_a_server_and_back() {
    let Some(server) = MariaDb::start(&["--default-time-zone=+05:00"]) else { return };
    let [history, back] = [(); 2].map(|()| History::new());
    let ring = captured(&history);
    import_to(&server, &[], &export(&history)).ok();
    import(&back, &export_of(&server, &[])).ok();
    let config = server.config("");
    for question in QUESTIONS {
        let of = |database: &[&str]| {
            let mut query = program("aw-query", database);
            query.args(*question).args(["--format", "json"]).env("TZ", "UTC");
            let answer = run(query);
            (answer.status.code(), answer.stdout)
        };
        let on_server = of(&["-c", config.to_str().unwrap()]);
        let [ours, theirs] = [&history, &back].map(|history| {
            let (status, answer) = of(&["--database", history.database().to_str().unwrap()]);
            let ring = format!("\"ring\":\"{}\"", ring.name());
            (status, answer.replace(&ring, "\"ring\":null"))
        });
        assert_eq!(on_server, ours, "{question:?}");
        assert_eq!(on_server, theirs, "{question:?}");
        assert_eq!(on_server.0, Some(0), "{question:?}");
    }
    import(&history, &rich()).ok();
    let text = export(&history);
    import_to(&server, &[], &text).ok();
    let of_server = export_of(&server, &[]);
    import(&back, &of_server).ok();
    assert_eq!(rows(&back, COARSE), rows(&history, COARSE));
    let sum: i64 = rows(&back, EXACT).values().sum();
    assert_eq!(server.count(), rows(&history, COARSE).values().sum::<i64>() as u64 - 4);
    assert_eq!(server.sql("SELECT count(*) FROM config_change").trim(), "4");
    let none = format!("0 rows added, {sum} were there already");
    for (import, what) in [
        (import_to(&server, &[], &text), "again"),
        (import_to(&server, &[], &of_server), "what it has"),
        (import(&history, &of_server), "without fractions of the seconds"),
        (import(&back, &text), "with them"),
    ] {
        assert_eq!(added(&import.ok()), none, "{what}");
    }
    // To other tables of the server.
    import_to(&server, &["-p", "site2_"], &export(&back)).ok();
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&export_of(&server, &["-p", "site2_"])), sorted(&of_server));
    assert_eq!(sorted(&export(&back)), sorted(&of_server));
}

/// A table of addrwatch 1.0: without an index by address an import would take for ever, and without the column for the frame's
/// source some rows do not fit.
#[test]
fn to_a_table_of_addrwatch() {
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql(include_str!("../data/addrwatch-1.0.sql"));
    let before = server.count();
    let index = "CREATE INDEX ip_address_tstamp ON `log` (ip_address, tstamp)";
    import_to(&server, &[], &rich()).refused("aw-mysql", &["no index by address", index]);
    server.sql(index);
    import_to(&server, &[], &rich()).ok();
    assert_eq!(server.count(), before + 17 * 6 + 6);
    let _other =
        server.hold("SELECT get_lock(concat('addrwatch ', md5(concat(database(), '.log'))), 0)");
    import_to(&server, &[], &rich()).refused("aw-mysql", &["another import", "wait for its end"]);
    // addrwatch's own rows, in a database of aw-sqlite.
    let history = History::new();
    let text = export_of(&server, &[]);
    import(&history, &text).ok();
    assert_eq!(rows(&history, EXACT).values().sum::<i64>() as u64, server.count() + 4);
}

/// What two histories have in common is there once, in either order, also while aw-sqlite stores events.
#[test]
fn two_histories_become_one() {
    let seen = |numbers: std::ops::Range<i64>| {
        let lines = numbers.map(|n| {
            let pairing =
                format!("\"mac\":\"02:00:00:00:00:{:02x}\",\"ip\":\"10.1.2.{}\"", n % 7, n % 5);
            let place = "\"host\":\"gw\",\"ring\":\"/a\",\"interface\":\"eth0\"";
            line(n / 3, &format!("{place},{pairing},\"origin\":0"))
        });
        file(&lines.collect::<Vec<_>>())
    };
    let parts = [seen(0..60), seen(40..100)];
    let [one, other, ringed] = [(); 3].map(|()| History::new());
    parts.iter().for_each(|part| drop(import(&one, part).ok()));
    parts.iter().rev().for_each(|part| drop(import(&other, part).ok()));
    let all = rows(&one, EXACT);
    assert_eq!((all.values().sum::<i64>(), &all), (100, &rows(&other, EXACT)));
    let ring = Ring::new();
    let output = ringed.start(&ring, &[]);
    publish(&ring, 1..101);
    wait_until("rows", || ringed.count() == 100);
    parts.iter().for_each(|part| drop(import(&ringed, part).ok()));
    publish(&ring, 101..201);
    wait_until("more rows", || ringed.count() == 300);
    import(&ringed, &parts.concat()).ok();
    output.stop().ok();
    assert_eq!(ringed.count(), 300);
    assert_eq!(ringed.checkpoint(&ring).unwrap().delivered, 200);
}

/// Of 25,000 lines so many are in the database when the import is killed. Then all of them are imported.
fn many() -> (Vec<u8>, String) {
    let lines: Vec<_> = (0..25_000)
        .map(|n| {
            let (mac, ip) = (n % 50, n % 50);
            let pairing = format!("\"mac\":\"02:00:00:00:00:{mac:02x}\",\"ip\":\"10.1.2.{ip}\"");
            let place = "\"host\":\"gw\",\"ring\":\"/a\",\"interface\":\"eth0\"";
            line(n / 50, &format!("{place},{pairing},\"origin\":0"))
        })
        .collect();
    let whole = file(&lines);
    let part: String = whole.split_inclusive('\n').take(1 + 12_000).collect();
    (part.into_bytes(), whole)
}

/// Feeds a part to the command, and kills it when the first batch is in the database.
fn kill_after_batch(command: Command, part: &[u8], count: impl Fn() -> u64) {
    let mut import = Run::start(command);
    import.stdin.as_mut().expect("piped").write_all(part).expect("it reads");
    wait_until("a batch", || count() > 0);
    import.kill();
    assert_eq!(count(), 10_000);
}

#[test]
fn a_kill_in_the_middle() {
    let (history, (part, whole)) = (History::new(), many());
    let command = program("aw-sqlite", &["--database", history.database().to_str().unwrap()]);
    let mut command = command;
    command.args(["import", "-"]);
    kill_after_batch(command, &part, || history.count());
    let again = import(&history, &whole).ok();
    assert_eq!(added(&again), "15000 rows added, 10000 were there already");
    let all = rows(&history, EXACT);
    assert_eq!((all.len(), all.values().sum::<i64>()), (25_000, 25_000));
    assert_eq!(history.value::<String>("PRAGMA integrity_check").as_deref(), Some("ok"));
}

#[test]
fn a_kill_in_the_middle_to_a_server() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let (part, whole) = many();
    kill_after_batch(import_command(&server, &[]), &part, || server.count());
    // The server may need a moment to notice that, and until then it has the lock of the import.
    wait_until("the import can begin again", || import_to(&server, &[], &whole).status.success());
    assert_eq!(server.count(), 25_000);
    let distinct =
        "SELECT count(*) FROM (SELECT DISTINCT tstamp, mac_address, ip_address FROM log) AS a";
    assert_eq!(server.sql(distinct).trim(), "25000");
}

/// Root imports as the user who owns the database: a file of root beside it would stop aw-sqlite.
#[test]
fn as_the_owner_of_the_database() {
    if !rustix::process::geteuid().is_root() {
        skip("only root becomes another user");
        return;
    }
    const OWNER: u32 = 65_534;
    let public = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(public.path(), Permissions::from_mode(0o755)).unwrap();
    let directory = public.path().join("history");
    fs::create_dir(&directory).unwrap();
    let (history, (part, whole)) = (History::at(directory.join("lan.db")), many());
    import(&history, &rich()).ok();
    for path in [history.database(), &directory] {
        chown(path, Some(OWNER), Some(OWNER)).unwrap();
    }
    let mut command = program("aw-sqlite", &["--database", history.database().to_str().unwrap()]);
    command.args(["import", "-"]);
    let mut running = Run::start(command);
    running.stdin.as_mut().unwrap().write_all(&part).unwrap();
    for name in ["lan.db-wal", "lan.db-shm"] {
        wait_until(name, || directory.join(name).exists());
        assert_eq!(directory.join(name).metadata().unwrap().uid(), OWNER, "{name}");
    }
    running.kill();
    import(&history, &whole).ok();
    assert_eq!(history.database().metadata().unwrap().uid(), OWNER);
    assert_eq!(history.count(), 25_000 + 17 * 6 + 6);
}

/// Root imports as the user that the server identifies by its socket, as the service does. It need not be named with -u.
#[test]
fn as_the_user_of_the_socket() {
    if !rustix::process::geteuid().is_root() {
        skip("only root becomes another user");
        return;
    }
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql(
        "CREATE USER daemon@localhost IDENTIFIED VIA unix_socket; GRANT ALL ON addrwatch.* TO daemon@localhost",
    );
    let config = server.config("user = daemon");
    let text = fs::read_to_string(&config).unwrap().replace("user = root\n", "");
    fs::write(&config, text).unwrap();
    let import = || {
        let words = ["-c", config.to_str().unwrap(), "--state-dir", "/nowhere", "import", "-"];
        run_with(program("aw-mysql", &words), rich().as_bytes())
    };
    let imported = import().ok();
    assert!(!added(&imported).starts_with("0 "), "{imported:#?}");
    // What that user may not do has its name.
    fs::set_permissions(server.directory(), Permissions::from_mode(0o700)).unwrap();
    import().refused("aw-mysql", &["permission denied (it runs as daemon, who may not enter "]);
}

/// A damaged line ends the import with its number, and nothing of its batch is stored.
#[test]
fn damaged_lines() {
    let (history, whole) = (History::new(), many().1);
    let hostile = [
        ("\"ip\":\"10.1.2.7\"", "\"ip\":\"10.1.2.777\""),
        ("\"origin\":0", "\"origin\":0,\"path\":\"/etc/passwd\""),
        ("{\"time\"", "\u{1b}[2J{\"time\""),
        ("\"ring\":\"/a\"", "\"ring\":\"/../../etc\""),
    ];
    for (good, bad) in hostile {
        let mut lines: Vec<String> = whole.split_inclusive('\n').map(str::to_owned).collect();
        let at = (10_100..).find(|at| lines[*at].contains(good)).unwrap();
        lines[at] = lines[at].replace(good, bad);
        let number = format!("line {}: ", at + 1);
        let refused = import(&history, &lines.concat());
        refused
            .refused("aw-sqlite", &[&number, "lines up to 10001 are imported", "import it again"]);
        assert_eq!(history.count(), 10_000, "{bad}");
    }
    let half = &whole[..whole.len() / 2];
    assert_fails(import(&history, half), &["it is not complete"]);
    import(&history, &whole).ok();
    assert_eq!(history.count(), 25_000);
    let database = program("aw-sqlite", &["--database", history.database().to_str().unwrap()]);
    let import_file = |path: &Path| {
        let mut command = Command::new(database.get_program());
        command.args(database.get_args()).arg("import").arg(path);
        run(command)
    };
    import_file(history.database()).refused("aw-sqlite", &["line 1: it is a database: aw-query"]);
    import_file(Path::new("/nowhere/x.jsonl")).refused("aw-sqlite", &["read /nowhere/x.jsonl"]);
}

/// Rows are added and the log is copied while an export is printed: it has each row that was there all the time, once.
#[test]
fn an_export_while_the_database_changes() {
    let (history, whole) = (History::new(), many().1);
    import(&history, &whole).ok();
    let before = rows(&history, EXACT).len();
    let mut command = history.query(&["export"]);
    let mut export = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(export.stdout.take().unwrap());
    let mut first = String::new();
    // The first line of rows comes with many others, for which a pipe has no room: it waits now.
    for _ in 0..2 {
        output.read_line(&mut first).unwrap();
    }
    let database = history.open().unwrap();
    for n in 0..3 {
        database
            .execute_batch(&format!(
                "INSERT INTO sighting SELECT id, {n}, 0, 0 FROM pairing; PRAGMA wal_checkpoint(truncate)"
            ))
            .unwrap();
    }
    let mut lines: Vec<String> = output.lines().map(Result::unwrap).collect();
    lines.insert(0, first.lines().last().unwrap().to_owned());
    assert!(export.wait().unwrap().success());
    let end = lines.pop().unwrap();
    assert_eq!(end, format!("{{\"end_after_lines\":{}}}", lines.len()));
    let old = lines.iter().filter(|line| !line.contains("1970-01-01"));
    let mut old: Vec<_> = old.collect();
    old.sort();
    old.dedup();
    assert_eq!((old.len(), lines.len() >= before), (before, true));
    lines.sort();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "no line twice");
}

/// A compact table has the first and the last time of a pairing with an origin, and their number. Both are imported, and the
/// others are counted in a message; what is not of addrwatch stays.
#[test]
fn a_compact_table_of_addrwatch() {
    let (ring, history) = (Ring::new(), History::new());
    let make = "CREATE TABLE addrwatch(timestamp_first UNSIGNED BIG INT, timestamp UNSIGNED BIG INT,
        interface varchar(16), vlan_tag UNSIGNED INT, mac_address varchar(17), ip_address varchar(42), origin TINYINT,
        count UNSIGNED BIG INT);
        INSERT INTO addrwatch VALUES (1700000000, 1700090000, 'eth0', 0, '02:00:00:00:00:01', '10.1.2.3', 0, 100),
            (1700000500, 1700000500, 'eth0', 7, '02:00:00:00:00:02', '2001:db8::2', 4, 1),
            (1700000600, 1700000600, 'eth0', 0, '02:00:00:00:00:03', '10.1.2.4', 1, 2),
            (1700000700, 1700000700, 'eth0', 0, 'nonsense', '10.1.2.4', 1, 2)";
    Connection::open(history.database()).unwrap().execute_batch(make).unwrap();
    publish(&ring, 1..2);
    let output = history.start(&ring, &[]);
    wait_until("the import ends", || history.count() == 7);
    let ended = output.stop().ok().stderr;
    let rows = history.rows("addrwatch").into_iter().filter(|row| row.0 > 1);
    let seen: Vec<_> = rows.map(|row| (row.0, row.4)).collect();
    let row = |time: i64, ip: &str| (time, ip.to_owned());
    let expected = [
        row(1_700_000_000, "10.1.2.3"),
        row(1_700_000_500, "2001:db8::2"),
        row(1_700_000_600, "10.1.2.4"),
        row(1_700_000_600, "10.1.2.4"),
        row(1_700_000_700, "10.1.2.4"),
        row(1_700_090_000, "10.1.2.3"),
    ];
    assert_eq!(seen, expected);
    for text in [
        "the times of 98 sightings",
        "1 rows are not in addrwatch's format",
        "the first one is rowid 4: mac_address is 'nonsense', not a MAC such as",
    ] {
        assert!(ended.contains(text), "{ended}");
    }
    let from_to = history.answers(&["ip", "10.1.2.3"], &["mac", "first_seen", "last_seen"]);
    let expected =
        "02:00:00:00:00:01 2023-11-14T22:13:20.000000000+00:00 2023-11-15T23:13:20.000000000+00:00";
    assert_eq!(from_to, [expected]);
    // Such rows stay there for ever, and do not stop an import of a history.
    import(&history, &rich()).ok();
}

/// The file of addrwatch is added to the service's database, which is in use, and stays as it is; again, it adds nothing.
#[test]
fn a_file_of_addrwatch() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..11);
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() == 10);
    let old = history.path().join("old.db");
    let row =
        |time: i64, ip: &str| (time, "eth0".into(), 0, "02:00:00:00:00:01".into(), ip.into(), 0);
    let rows = (0..25_000).map(|n| row(1_700_000_000 + n / 3, "10.1.2.3"));
    aw_tests::history::addrwatch_database(&old, rows.chain([row(1_700_100_000, "no address")]));
    let before = fs::read(&old).unwrap();
    let import = || {
        let mut command = program("aw-sqlite", &["--database"]);
        command.arg(history.database()).arg("import").arg(&old);
        run(command)
    };
    for added in [25_000, 0] {
        let known = 25_000 - added;
        let read =
            format!("25001 rows of addrwatch's table read: {added} sightings added, {known} were");
        let why = "1 row is not in addrwatch's format and not imported; the first one is of table addrwatch, rowid 25001: ip_address is 'no address', not an address";
        let refused = import();
        assert!(refused.stderr.contains(&read), "{refused:#?}");
        assert!(refused.stderr.contains(why), "{refused:#?}");
        assert_eq!((history.count(), refused.status.code()), (25_010, Some(1)));
    }
    assert!(fs::read(&old).unwrap() == before, "it is only read");
    output.stop().ok();
    // The same rows as by aw-sqlite that is started with the file.
    let other = History::new();
    fs::copy(&old, other.database()).unwrap();
    let output = other.start(&Ring::new(), &[]);
    wait_until("the import ends", || {
        other.value::<i64>("SELECT count(*) FROM sighting") == Some(25_000)
    });
    output.stop().ok();
    let mine = |history: &History| {
        let rows = history.rows("addrwatch").into_iter();
        rows.filter(|row| row.0 >= 1_700_000_000 && row.4 == "10.1.2.3").collect::<Vec<_>>()
    };
    assert!(mine(&history) == mine(&other));
    let connection = Connection::open(&old).unwrap();
    connection.execute_batch("DROP TABLE addrwatch; CREATE TABLE other (x)").unwrap();
    import().refused("aw-sqlite", &["it has no table of addrwatch, nor of aw-sqlite"]);
}

/// Root's file is read as the user of the database, who may not: the message says what to do.
#[test]
fn a_file_of_addrwatch_that_only_root_may_read() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root has a file that another user may not read");
    }
    let history = History::new();
    // Of root, and in a directory that others may enter.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let [old, copy] = ["old.db", "copy.db"].map(|name| place.path().join(name));
    let row = (1_700_000_000, "eth0".into(), 0, "02:00:00:00:00:01".into(), "10.1.2.3".into(), 0);
    aw_tests::history::addrwatch_database(&old, [row]);
    fs::set_permissions(&old, Permissions::from_mode(0o600)).unwrap();
    for directory in [history.path(), history.database().parent().unwrap()] {
        chown(directory, Some(65534), None).unwrap();
    }
    let import = |file: &Path| {
        let mut command = program("aw-sqlite", &["-u", "65534", "--database"]);
        command.arg(history.database()).arg("import").arg(file);
        run(command)
    };
    let why = "permission denied: it is read as ";
    import(&old).refused("aw-sqlite", &[why, "(make a copy for that user: install -m 600 -o "]);
    fs::copy(&old, &copy).unwrap();
    chown(&copy, Some(65534), None).unwrap();
    let read = "1 row of addrwatch's table read: 1 sighting added";
    assert!(import(&copy).ok().stderr.contains(read));
}

/// While addrwatch's rows are not imported, rows of a history cannot be compared with them.
#[test]
fn not_while_addrwatch_rows_are_imported() {
    let history = History::new();
    let row = (1_700_000_000, "eth0".into(), 0, "02:00:00:00:00:01".into(), "10.1.2.3".into(), 0);
    aw_tests::history::addrwatch_database(history.database(), [row]);
    let refused = import(&history, &rich());
    refused.refused("aw-sqlite", &["addrwatch_old", "run aw-sqlite with this --database"]);
    let ring = Ring::new();
    publish(&ring, 1..2);
    let output = history.start(&ring, &[]);
    let left = "SELECT count(*) FROM sqlite_schema WHERE name = 'addrwatch_old'";
    wait_until("the import ends", || history.value::<i64>(left) == Some(0));
    output.stop().ok();
    import(&history, &rich()).ok();
}
