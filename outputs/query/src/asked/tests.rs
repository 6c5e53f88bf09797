use super::*;
use crate::result_table::Cell;
use rusqlite::Connection;

fn history() -> (tempfile::TempDir, History) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let tables = "
        PRAGMA application_id = 0x41576869; PRAGMA user_version = 1;
        CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
        CREATE TABLE pairing (id INTEGER PRIMARY KEY, address BLOB, mac INTEGER, place INTEGER, source INTEGER);
        CREATE INDEX of_address ON pairing (address);
        CREATE TABLE sighting (pairing INTEGER, time INTEGER, origin, again, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
        INSERT INTO place VALUES (1, 'here', '/addrwatch', 'eth0', 0, 0, '');
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 50000)
            INSERT INTO pairing SELECT n, unhex(printf('0a00%04x', n)), n, 1, -1 FROM n;
        INSERT INTO sighting SELECT id, 1795183200000000000 + id, 1, 0 FROM pairing;";
    Connection::open(&path).unwrap().execute_batch(tables).unwrap();
    (directory, History::Sqlite(path))
}

fn devices() -> Devices {
    Devices::new(LiveNames::default(), Makers::new(Path::new("/nonexistent")))
}

#[test]
fn rows_beyond_the_limit_are_counted() {
    let (_directory, history) = history();
    let minute = Duration::from_secs(60);
    let question = Question::Devices(TimeRange::ALL);
    let Ok(answer) = history.ask(&question, &devices(), &TimeZone::UTC, (minute, 10)) else {
        panic!("no answer")
    };
    assert_eq!((answer.table.rows.len(), answer.left_off), (10, 49_990));
    assert_eq!(answer.no_match, None);
    let last = answer.table.cell(&answer.table.rows[0], "mac");
    assert_eq!(*last, Cell::text("00:00:00:00:c3:50"), "the latest one is first");
}

/// What a device calls itself in a network is not what a host there calls itself in its name elsewhere; what is no text, or of no place, is
/// left out, and so is a clock that was not set.
#[test]
fn names_of_devices() {
    let (_directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let tables = "
        INSERT INTO place VALUES (2, 'here', '/addrwatch', 'eth1', 0, 0, '');
        INSERT INTO pairing VALUES (60001, x'0a010001', 1, 2, -1);
        INSERT INTO sighting VALUES (60001, 1795183200000000000, 1, 0);
        CREATE TABLE claimed_name (mac, place, source, name, first, last, count);
        INSERT INTO claimed_name VALUES
            (1, 1, 1, 'nas', 1795000000000000000, 1795183200000000000, 7),
            (1, 1, 8, '10.0.0.1', 1795000000000000000, 1795183200000000000, 7),
            (1, 1, 99, 'of a later release', 1795000000000000000, 1795183200000000000, 7),
            (1, 2, 1, 'forged', 1795000000000000000, 1795183300000000000, 9),
            (2, 1, 4, 'phone', 5000000000, 6000000000, 1),
            (3, 1, 1, x'00', 1795000000000000000, 1795183200000000000, 7),
            (4, 77, 1, 'nowhere', 1795000000000000000, 1795183200000000000, 7);";
    Connection::open(path).unwrap().execute_batch(tables).unwrap();
    let minute = Duration::from_secs(60);
    let question = Question::DevicesOfNetworks(TimeRange::ALL);
    let answer = history.ask(&question, &devices(), &TimeZone::UTC, (minute, usize::MAX));
    let Answer { table, .. } = answer.unwrap_or_else(|_| panic!("no answer"));
    let shown = |mac: &str, interface: &str| {
        let is_wanted = |row: &&Vec<Cell>| {
            let cell = |name| table.cell(row, name);
            *cell("mac") == Cell::text(mac) && *cell("interface") == Cell::text(interface)
        };
        let row = table.rows.iter().find(is_wanted).unwrap();
        ["claimed_name", "name_source", "name_since"].map(|name| table.cell(row, name).clone())
    };
    let since = Cell::Time(UnixTime::new(1_795_000_000, 0));
    let claim = |name| [Cell::text(name), Cell::text("DHCP host name"), since.clone()];
    assert_eq!(shown("00:00:00:00:00:01", "eth0"), claim("nas"));
    assert_eq!(shown("00:00:00:00:00:01", "eth1"), claim("forged"));
    let phone = [Cell::text("phone"), Cell::text("mDNS host name"), Cell::None];
    assert_eq!(shown("00:00:00:00:00:02", "eth0"), phone);
    for mac in ["00:00:00:00:00:03", "00:00:00:00:00:04", "00:00:00:00:00:05"] {
        assert_eq!(shown(mac, "eth0"), [Cell::None, Cell::None, Cell::None], "{mac}");
    }
}

/// Where a MAC was not seen near a time, the answer has its lease. One that it gave back ends what it was seen with before; an end by
/// time does not, because renewals are unicast. Its name is that of the time.
#[test]
fn leases_and_names_of_a_time() {
    const BEGIN: i64 = 1_795_183_200;
    let (_directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let tables = "
        INSERT INTO sighting VALUES (1, 1795219200000000000, 1, 0);
        INSERT INTO place VALUES (2, 'here', '/addrwatch', 'eth1', 0, 0, '');
        CREATE TABLE address_lease (address, mac, place, begin, last, until, released);
        INSERT INTO address_lease VALUES
            (x'0a000001', 1, 1, 1795183200000000000, 1795183200000000000, 1795186800000000000, 0),
            (x'0a000001', 1, 2, 1795183300000000000, 0, 9223372036854775807, 0),
            (x'0a000001', 2, 1, 1795183300000000000, 0, 9223372036854775807, 0),
            (x'0a000001', 'no MAC', 1, 1, 1, 2, 0);
        CREATE TABLE claimed_name (mac, place, source, name, first, last, count);
        INSERT INTO claimed_name VALUES
            (1, 1, 1, 'then', 1795183200000000000, 1795183300000000000, 7),
            (1, 1, 1, 'now', 1795219200000000000, 1795219200000000000, 7);";
    let database = Connection::open(path).unwrap();
    database.execute_batch(tables).unwrap();
    let minute = Duration::from_secs(60);
    let answer = |hours: i64| {
        let at = UnixTime::new(BEGIN + hours * 3600, 0);
        let question = Question::Who("10.0.0.1".parse().unwrap(), at);
        let answer = history.ask(&question, &devices(), &TimeZone::UTC, (minute, 10));
        let Answer { table, .. } = answer.unwrap_or_else(|_| panic!("no answer"));
        let [row] = &table.rows[..] else { panic!("{:?}", table.rows) };
        let cell = |name| match table.cell(row, name) {
            Cell::Text(text) => text.clone(),
            _ => String::new(),
        };
        [cell("how_sure"), cell("why"), cell("claimed_name")]
    };
    let [how_sure, why, name] = answer(3);
    assert_eq!((&*how_sure, &*name), ("likely", "then"));
    let ended =
        "not in between; its lease ended 2 h 0 min before, unless a renewal was not captured";
    assert!(why.contains(ended), "{why}");
    let renewed = "UPDATE address_lease SET until = until + 4 * 3600000000000 WHERE until < 1795186800000000001";
    database.execute_batch(renewed).unwrap();
    let [how_sure, why, _] = answer(3);
    assert!(how_sure == "likely" && why.contains("; its lease ends 2 h 0 min after"), "{why}");
    database.execute_batch("UPDATE address_lease SET until = until - 4 * 3600000000000, released = 1 WHERE until < 1795219200000000000").unwrap();
    let [how_sure, why, _] = answer(3);
    assert!(
        how_sure == "one-sided"
            && why.contains("; a message that ends its lease was seen 2 h 0 min before"),
        "{why}"
    );
    // 30 days are stored of a longer one.
    database.execute_batch("UPDATE address_lease SET last = last - 30 * 86400000000000 WHERE mac = 1 AND place = 1").unwrap();
    assert!(answer(3)[1].contains("; its lease was for 30 days or more"));
    // It was seen after that.
    database.execute_batch("INSERT INTO sighting VALUES (1, 1795190400000000000, 1, 0)").unwrap();
    let [how_sure, why, _] = answer(3);
    assert!(how_sure == "likely" && !why.contains("lease"), "{why}");
    // Where it was seen, that counts.
    let [how_sure, why, name] = answer(10);
    assert!(how_sure == "one-sided" && !why.contains("lease"), "{why}");
    assert_eq!(name, "now");
}

/// However many pairings there are, so many are read: the first and the last ones, and of the others those that are seen now.
#[test]
fn a_bounded_number_is_read() {
    let (_directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let recent = "CREATE TABLE recent_sighting (slot INTEGER PRIMARY KEY, shift, pairing, origin);
        CREATE TABLE recent_filing (before, pairing, time);
        INSERT INTO recent_sighting VALUES (1795190000000000000, 0, 49998, 1), (1795190000000000001, 0, 49999, 1);";
    Connection::open(path).unwrap().execute_batch(recent).unwrap();
    let mut reader = SqliteReader::open(path, None).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let mut macs = |most| {
        reader.limit(end, most).unwrap();
        let found = reader.pairings(TimeRange::ALL, false).unwrap();
        (found.iter().map(|one| one.mac.number()).collect::<Vec<_>>(), reader.is_cut())
    };
    let (all, is_cut) = macs(50_000);
    assert_eq!((all.len(), is_cut), (50_000, false));
    assert_eq!(macs(4), (vec![1, 2, 50_000, 49_999, 49_998], true));
    assert_eq!(macs(1), (vec![50_000, 49_998], true));
    let mut reader = SqliteReader::open(path, None).unwrap();
    reader.limit(end, 7).unwrap();
    assert_eq!((reader.addresses(TimeRange::ALL).unwrap().len(), reader.is_cut()), (7, true));
    let mac: MacAddr = "00:00:00:00:00:01".parse().unwrap();
    let mut reader = SqliteReader::open(path, None).unwrap();
    reader.limit(end, 1).unwrap();
    let found = reader.addresses_of(mac, TimeRange::ALL).unwrap().len();
    assert_eq!((found, reader.is_cut()), (1, false));
}

/// A list of changes has so many rows at most, of which one address takes a part; and the answer says that there are more.
#[test]
fn changes_are_bounded() {
    let (_directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let more = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2100)
            INSERT INTO pairing SELECT 60000 + n, x'0a020001', 60000 + n, 1, -1 FROM n;
        INSERT INTO sighting SELECT id, 1795190000000000000 + id * 1000000000, 1, 0 FROM pairing WHERE id > 60000;";
    Connection::open(path).unwrap().execute_batch(more).unwrap();
    let range = TimeRange { from: UnixTime::new(1_795_190_000, 0), to: TimeRange::ALL.to };
    let (minute, question) = (Duration::from_secs(60), Question::Changes(range));
    let limits = (minute, usize::MAX);
    let Ok(answer) = history.ask(&question, &devices(), &TimeZone::UTC, limits) else {
        panic!("no answer")
    };
    assert_eq!((answer.table.rows.len(), answer.is_complete), (2000, false));
    assert_eq!(answer.remarks, [ROWS_CUT]);
    let last = answer.table.cell(&answer.table.rows[1999], "mac");
    assert_eq!(*last, Cell::text(MacAddr::new([0, 0, 0, 0, 0xf2, 0x94])), "the latest ones");
    let mut reader = LimitedReader::open(&history, Instant::now() + minute).unwrap();
    reader.most_rows = 100;
    let all = Query::Changes(TimeRange::ALL).run(&mut reader).unwrap();
    assert_eq!((all.rows.len(), reader.is_cut()), (100, true));
    // A flood of many addresses hides no later change of one that follows them.
    let more = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3000)
            INSERT INTO pairing SELECT 70000 + n, unhex(printf('0a01%04x', n / 2)), 70000 + n, 1, -1 FROM n;
        INSERT INTO sighting SELECT id, 1795190000000000000 + id * 1000000000, 1, 0 FROM pairing WHERE id > 70000;
        INSERT INTO pairing VALUES (80000, x'fe000001', 80000, 1, -1);
        INSERT INTO sighting VALUES (80000, 1795290000000000000, 1, 0);";
    Connection::open(path).unwrap().execute_batch(more).unwrap();
    let mut reader = LimitedReader::open(&history, Instant::now() + minute).unwrap();
    reader.most_rows = 1000;
    let all = Query::Changes(range).run(&mut reader).unwrap();
    let last = all.cell(&all.rows[all.rows.len() - 1], "address");
    assert_eq!((all.rows.len(), reader.is_cut()), (1000, true));
    assert_eq!(*last, Cell::text("254.0.0.1"));
}

/// A database that its writer has closed is noticed at once. The writer is this test in another process: locks of the own one are not seen.
#[test]
fn a_writer_that_is_gone() {
    const OPEN: &str = "AW_QUERY_TEST_OPEN";
    if let Some(path) = std::env::var_os(OPEN) {
        let database = Connection::open(path).unwrap();
        let mode = database.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0));
        let mode: String = mode.unwrap();
        let read = database.query_row("SELECT count(*) FROM pairing", [], |row| row.get(0));
        let number: i64 = read.unwrap(); // from the first one on, it has the lock
        println!("\n{mode}: {number}");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let (directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let mut writer = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "asked::tests::a_writer_that_is_gone", "--nocapture"])
        .env(OPEN, path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(writer.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(lines).map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("wal: ")));
    assert_eq!(history.writer_fault(), None);
    drop(writer.stdin.take());
    assert!(writer.wait().unwrap().success());
    let closed = history.writer_fault().unwrap();
    assert!(closed.starts_with("no process has /"), "{closed}");
    assert!(closed.contains(": aw-sqlite does not run, or cannot write it ("), "{closed}");
    assert_eq!(History::Sqlite(directory.path().join("none")).writer_fault(), None);
}

/// What is wrong with a history is in each answer, and not only in a log.
#[test]
fn remarks_of_the_history() {
    let (_directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let old = "CREATE TABLE log_old (x)";
    Connection::open(path).unwrap().execute_batch(old).unwrap();
    let ip = IpAddr::from([10, 0, 0, 1]);
    for question in [Question::Who(ip, UnixTime::now()), Question::Devices(TimeRange::ALL)] {
        let limits = (Duration::from_secs(60), 10);
        let Ok(answer) = history.ask(&question, &devices(), &TimeZone::UTC, limits) else {
            panic!("no answer")
        };
        let remarks = answer.remarks.join(" ");
        assert!(remarks.contains("rows of addrwatch's table are not searched"), "{remarks}");
    }
}

/// A link to the database needs no access to its own directory, in which the states of other programs are.
#[test]
fn only_the_directory_of_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let (link, own) = (root.join("addrwatch.db"), root.join("aw-sqlite"));
    std::os::unix::fs::symlink("aw-sqlite/history.db", &link).unwrap();
    let access = || History::Sqlite(link.clone()).access();
    assert_eq!(access(), [Access::Read(root.clone())], "it leads nowhere yet");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("history.db"), "").unwrap();
    assert_eq!(access(), [Access::Read(own)]);
}

/// A device in two networks, with an address that it only probed and one that only others claimed for it.
#[test]
fn a_device() {
    let (_directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let more = "
        INSERT INTO place VALUES (2, 'here', '/addrwatch', 'eth0', 7, 0, '');
        INSERT INTO pairing VALUES (60000, x'0a010001', 1, 2, -1), (60001, x'0a010002', 1, 2, -1),
            (60002, x'0a010003', 1, 2, 9), (60003, x'0a010001', 2, 2, -1);
        INSERT INTO sighting VALUES (60000, 1795183200000000000, 1, 0), (60000, 1795183300000000000, 1, 0),
            (60000, 1795186799000000000, 1, 0), (60001, 1795183200000000000, 5, 0),
            (60002, 1795190000000000000, 1, 0), (60003, 1795183201000000000, 1, 0);";
    Connection::open(path).unwrap().execute_batch(more).unwrap();
    let ask = |question: Question| {
        let limits = (Duration::from_secs(60), 10);
        let Ok(answer) = history.ask(&question, &devices(), &TimeZone::UTC, limits) else {
            panic!("no answer")
        };
        answer.table
    };
    // The columns that are named, a text for each row.
    let columns = |table: &ResultTable, names: &[&str]| -> Vec<String> {
        let text = |row: &Vec<Cell>, name: &str| match table.cell(row, name) {
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => number.to_string(),
            Cell::Time(time) => (time.seconds() - 1_795_183_200).to_string(),
            Cell::List(list) => list.join(" "),
            Cell::None => "-".into(),
        };
        let line = |row| names.iter().map(|name| text(row, name)).collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = table.rows.iter().map(line).collect();
        if names[0] == "time" {
            lines.sort(); // of several networks at one time
        }
        lines
    };
    let mac: MacAddr = "00:00:00:00:00:01".parse().unwrap();
    let addresses = ask(Question::AddressesOf(mac));
    assert_eq!(
        columns(&addresses, &["address", "first_seen", "last_seen", "vlan", "proof"]),
        [
            "10.1.0.3 6800 6800 7 frames of another MAC",
            "10.1.0.1 0 3599 7 own frames",
            "10.0.0.1 0 0 0 own frames",
            "10.1.0.2 0 0 7 probed",
        ]
    );
    let quarters = ask(Question::Presence(mac, TimeRange::ALL));
    assert_eq!(columns(&quarters, &["time", "count", "vlan"]), ["0 1 0", "0 3 7", "2700 1 7"]);
    let hour = TimeRange { from: UnixTime::new(1_795_186_000, 0), to: TimeRange::ALL.to };
    assert_eq!(columns(&ask(Question::Presence(mac, hour)), &["time", "count"]), ["2700 1"]);
    let all = ask(Question::DevicesOfNetworks(TimeRange::ALL));
    let all = columns(&all, &["mac", "vlan", "addresses"]);
    assert_eq!(all[0], "00:00:00:00:00:01 7 10.1.0.3 10.1.0.1", "{all:?}");
    let other: MacAddr = "00:00:00:00:00:02".parse().unwrap();
    assert_eq!(columns(&ask(Question::Presence(other, TimeRange::ALL)), &["vlan"]), ["0", "7"]);
    let unknown: MacAddr = "00:00:00:ff:ff:ff".parse().unwrap();
    for question in [Question::AddressesOf(unknown), Question::Presence(unknown, TimeRange::ALL)] {
        assert_eq!(ask(question).rows.len(), 0);
    }
}

/// A method with a default that is not forwarded would answer as if the history had nothing.
#[test]
fn each_method_is_forwarded() {
    let methods = |text: &'static str, begin: &str| -> Vec<&'static str> {
        let text = &text[text.find(begin).expect("it is there")..];
        let text = &text[..text.find("\n}\n").expect("it ends")];
        let names = text.lines().filter_map(|line| line.strip_prefix("    fn "));
        names.filter_map(|line| line.split('(').next()).collect()
    };
    for (of, most) in [("HistoryReader: ClaimReader", 16), ("ClaimReader", 6)] {
        let wanted = methods(include_str!("../history_reader.rs"), &format!("\npub trait {of} {{"));
        let name = of.split(':').next().unwrap();
        let found = format!("\nimpl {name} for LimitedReader {{");
        let found = methods(include_str!("limited_reader.rs"), &found);
        assert!(wanted.len() >= most, "{wanted:?}");
        let missing: Vec<_> = wanted.iter().filter(|name| !found.contains(name)).collect();
        assert!(missing.is_empty(), "LimitedReader does not forward {missing:?}");
    }
}

/// At a time within compacted sightings, the first and the last one are the evidence, and not the time itself; and a
/// device was there in each quarter between both.
#[test]
fn compacted_sightings() {
    let (_directory, history) = history();
    let History::Sqlite(path) = &history else { panic!("a file") };
    let begin = 1_795_183_200_i64; // a full hour
    let span = |from: i64, to: i64| {
        let [from, to] = [from, to].map(|seconds| (begin + seconds) * 1_000_000_000);
        format!("(70000, {from}, {to}, 200, 1, 1)")
    };
    let more = format!(
        "CREATE TABLE sighting_span (pairing, first, last, count, first_origin, last_origin, PRIMARY KEY (pairing, first)) WITHOUT ROWID;
        INSERT INTO pairing VALUES (70000, x'0a020001', 99999, 1, -1);
        INSERT INTO sighting_span VALUES {};",
        span(60, 36_000 + 60)
    );
    Connection::open(path).unwrap().execute_batch(&more).unwrap();
    let ask = |question: Question| {
        let limits = (Duration::from_secs(60), 1000);
        let Ok(answer) = history.ask(&question, &devices(), &TimeZone::UTC, limits) else {
            panic!("no answer")
        };
        answer.table
    };
    let mac: MacAddr = "00:00:00:01:86:9f".parse().unwrap();
    let at = UnixTime::new(begin + 18_000, 0);
    let table = ask(Question::Who([10, 2, 0, 1].into(), at));
    let row = table.rows.iter().find(|row| *table.cell(row, "mac") == Cell::text(mac));
    let seen = ["seen_before", "seen_after"].map(|name| table.cell(row.unwrap(), name));
    let time = |seconds| Cell::Time(UnixTime::new(begin + seconds, 0));
    assert_eq!(seen, [&time(60), &time(36_060)]);
    let quarters = |from: i64, to: i64| -> Vec<i64> {
        let [from, to] = [from, to].map(|seconds| UnixTime::new(begin + seconds, 0));
        let table = ask(Question::Presence(mac, TimeRange { from, to }));
        let of = |row: &Vec<Cell>| match (table.cell(row, "time"), table.cell(row, "count")) {
            (Cell::Time(time), Cell::Number(1..)) => (time.seconds() - begin) / 900,
            other => panic!("{other:?}"),
        };
        table.rows.iter().map(of).collect()
    };
    assert_eq!(quarters(-86_400, 86_400), (0..=40).collect::<Vec<_>>());
    assert_eq!(quarters(9_000, 18_000), (10..20).collect::<Vec<_>>(), "a part of it");
}

/// A statement that runs is ended, and so is what has not begun; the process goes on.
#[test]
fn a_question_ends_in_time() {
    let (_directory, history) = history();
    let question = Question::Devices(TimeRange::ALL);
    let none = history.ask(&question, &devices(), &TimeZone::UTC, (Duration::ZERO, 10));
    assert!(matches!(none, Err(Unanswered::TooLong(Duration::ZERO))));
    let History::Sqlite(path) = &history else { panic!("a file") };
    let mut reader = SqliteReader::open(path, None).unwrap();
    reader.limit(Instant::now(), usize::MAX).unwrap();
    let why = reader.addresses(TimeRange::ALL).unwrap_err().to_string();
    assert!(why.contains("interrupted"), "{why}");
}
