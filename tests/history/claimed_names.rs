//! What devices call themselves, and leases, in answers about the history; and how they are forgotten.
#![forbid(unsafe_code)]

use aw_tests::dhcp::{self, SERVER};
use aw_tests::frames::{Arp, station};
use aw_tests::history::{History, without_silence};
use aw_tests::mariadb::MariaDb;
use aw_tests::mysql_proxy::{Cut, MysqlProxy};
use aw_tests::rig::{Finished, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::Server;
use aw_tests::sightings::{BEGIN, capture_names};
use std::{fs, net::Ipv4Addr, os::unix::fs::symlink, path::Path};

const NAMED: &str = "02:00:00:00:00:01";
const LEASED: &str = "02:00:00:00:00:09";

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 2, last)
}

fn arp(number: u8) -> Vec<u8> {
    Arp::request(station(number.into()), ip(number), SERVER).frame()
}

fn named(number: u8, name: &str) -> Vec<u8> {
    dhcp::request(station(number.into()), ip(number), name, "udhcp 1.35")
}

fn ack(number: u8) -> Vec<u8> {
    dhcp::ack(station(number.into()), ip(number), 3_600)
}

/// Long before all other times: no sighting is of the future.
const EARLY: u32 = BEGIN - 90 * 86_400;

fn capture(ring: &Ring, frames: impl IntoIterator<Item = (u32, Vec<u8>)>) {
    capture_names(ring, frames.into_iter().map(|(second, frame)| (BEGIN + second, frame)));
}

/// A lease that is left out leaves no mark on the sightings of its device, which look forged otherwise; and where there is nothing else, the
/// answer says what it is.
#[test]
fn a_lease_leaves_no_mark() {
    let (ring, history) = (Ring::new(), History::new());
    let [own, server, lease] = [arp(1), arp(254), ack(1)];
    capture(&ring, [(0, own.clone()), (1, server), (2, own.clone())]);
    run(history.command(&ring, &["--once"])).ok();
    const OWN: [&[&str]; 5] = [
        &["ip", "10.1.2.1"],
        &["mac", NAMED],
        &["changes"],
        &["devices"],
        &["who", "10.1.2.1", "--at", "2026-11-20 14:00:03"],
    ];
    let answers = || OWN.map(|question| history.answers(question, &["mac", "frame_sources"]));
    let before = answers();
    assert!(before.iter().all(|rows| !rows.is_empty()), "{before:?}");
    capture(&ring, [(3, lease), (4, ack(9))]);
    run(history.command(&ring, &["--once"])).ok();
    let mut after = answers();
    // One that has nothing but a lease is in the list, too.
    after[3].retain(|row| !row.starts_with(LEASED));
    assert_eq!(after, before);
    let all = history.answers(&["ip", "10.1.2.1", "--all"], &["left_out", "frame_sources"]);
    assert_eq!(all, ["null []", "lease or registration [\"02:00:00:00:00:fe\"]"]);
    let mariadb = MariaDb::start(&[]);
    let config = mariadb.as_ref().map(|mariadb| {
        run(mariadb.command(&ring, &["--once"])).ok();
        mariadb.config("")
    });
    let of_server = |config: &Path, question: &[&str]| {
        let mut query = program("aw-query", &["--vendors", "/nonexistent", "--names", "/dev/null"]);
        query.arg("-c").arg(config).args(question).env("TZ", "UTC");
        run(query)
    };
    for question in OWN.into_iter().filter(|_| config.is_some()) {
        let of_server = of_server(config.as_ref().unwrap(), question).ok();
        let ours = run(history.query(question)).ok();
        let [own_rows, rows] = without_silence(&ours.stdout, &of_server.stdout);
        assert_eq!((rows, of_server.stderr), (own_rows, ours.stderr), "{question:?}");
    }
    let at = format!("@{}", BEGIN + 604);
    let given = "leased    not seen in use: given by a DHCP server 10 min 0 s before; its lease ends 50 min 0 s after (a claim)";
    for (question, says) in [
        (&["mac", "02:00:00:00:00:fe"][..], ""),
        (&["ip", "10.1.2.9"], "no claims of 10.1.2.9, only 1 lease or registration in the whole"),
        (&["mac", LEASED], "(it probed 0, and has a lease or registration of 1) in the whole"),
        (&["who", "10.1.2.9", "--at", &at], ""),
    ] {
        let ours = run(history.query(question));
        let theirs = config.as_ref().map(|config| of_server(config, question));
        for Finished { stdout, stderr, .. } in theirs.iter().chain([&ours]) {
            assert_eq!(stderr.is_empty(), says.is_empty(), "{question:?}: {stderr}");
            assert!(stderr.contains(says), "{question:?}: {stderr}");
            assert_eq!(stdout.contains(given), question[0] == "who", "{question:?}: {stdout}");
        }
    }
}

/// The MAC, how sure it is, why, and what the MAC calls itself, of each row of `who`.
fn who(history: &History, ip: &str, second: u32) -> Vec<String> {
    let at = format!("@{}", BEGIN + second);
    history.answers(&["who", ip, "--at", &at], &["mac", "how_sure", "why", "claimed_name"])
}

/// What is 10.1.2.22, which no device was seen to use? The one that announced it comes before the one that only asked for it; a time that is
/// asked for counts; and the answers of SQLite and MySQL, of a history that was moved, and without what was forgotten, are those.
#[test]
fn an_address_that_is_announced() {
    let (ring, history) = (Ring::new(), History::new());
    let mdns =
        |number: u8, last: u8, name: &str| dhcp::mdns(station(number.into()), ip(last), name);
    let asked = |number: u8, last: u8| dhcp::request(station(number.into()), ip(last), "", "");
    let frames = [
        (0, arp(1)),
        (60, mdns(2, 22, "nasbox")),
        (61, asked(3, 22)),
        (62, asked(3, 23)),
        (3_660, mdns(2, 22, "nasbox")),
        (7_200, mdns(2, 24, "nasbox")), // it has moved
        (7_300, mdns(4, 22, "other")),
    ];
    capture(&ring, frames);
    run(history.command(&ring, &["--once"])).ok();
    let [nas, asks, other] = ["02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:04"];
    let unseen = "not seen in use:";
    let only = |when: &str| {
        format!(
            "{asks} requested {unseen} only requested by DHCP {when}, and no server was seen to give it (a claim) null"
        )
    };
    for (address, second, expected) in [
        (
            "10.1.2.22",
            1_260,
            vec![
                format!(
                    "{nas} announced {unseen} announced by mDNS from 20 min 0 s before to 40 min 0 s after (a claim) nasbox"
                ),
                only("19 min 59 s before"),
                format!(
                    "{other} announced {unseen} announced by mDNS 1 h 40 min after (a claim) other"
                ),
            ],
        ),
        (
            "10.1.2.22",
            90_000,
            vec![
                format!(
                    "{other} announced {unseen} announced by mDNS 22 h 58 min before (a claim) other"
                ),
                format!(
                    "{nas} announced {unseen} announced by mDNS 23 h 59 min before (a claim) nasbox"
                ),
                only("1 d 0 h before"),
            ],
        ),
        ("10.1.2.23", 62, vec![only("0 s before")]),
        ("10.1.2.25", 62, vec![]),
    ] {
        assert_eq!(who(&history, address, second), expected, "{address} {second}");
    }
    // `ip` is about sightings: without one, a remark has the same; with --all, rows.
    let asked = run(history.query(&["ip", "10.1.2.22"]));
    let remark = format!(
        "{unseen} announced by mDNS by {nas} \"nasbox\" from 2026-11-20 14:01 +00:00 to 2026-11-20 15:01 +00:00; announced by mDNS by {other} \"other\" at 2026-11-20 16:01:40 +00:00; only requested by DHCP by {asks} at 2026-11-20 14:01:01 +00:00 (a claim)"
    );
    assert!(asked.stderr.contains(&remark), "{asked:#?}");
    assert_eq!((asked.status.code(), &*asked.stdout), (Some(3), ""));
    let of =
        |question: &[&str]| history.answers(question, &["mac", "first_seen", "count", "left_out"]);
    let rows = [
        format!("{nas} 2026-11-20T14:01:00.000000000+00:00 2 announced by mDNS"),
        format!("{asks} 2026-11-20T14:01:01.000000000+00:00 1 requested by DHCP"),
        format!("{other} 2026-11-20T16:01:40.000000000+00:00 1 announced by mDNS"),
    ];
    assert_eq!(of(&["ip", "10.1.2.22", "--all"]), rows);
    assert_eq!(of(&["ip", "10.1.2.22", "--all", "--from", "2026-11-20 16:01:30"]), rows[2..]);
    // An address is no name.
    for address in ["10.1.2.22", "10.1.2.24"] {
        assert_eq!(run(history.query(&["mac", address])).status.code(), Some(2));
    }
    let text = aw_tests::moving::export(&history);
    assert_eq!(text.matches("\"claimed_name\":\"10.1.2.22\"").count(), 3, "{text}");
    let moved = History::new();
    aw_tests::moving::import(&moved, &text).ok();
    let all = || [1_260, 90_000].map(|second| who(&history, "10.1.2.22", second));
    assert_eq!([1_260, 90_000].map(|second| who(&moved, "10.1.2.22", second)), all());
    // A sighting is more than all of that; and what is forgotten is no answer.
    run(program(
        "aw-sqlite",
        &["--database", moved.database().to_str().unwrap(), "forget-names", nas],
    ))
    .ok();
    assert_eq!(who(&moved, "10.1.2.24", 7_300), Vec::<String>::new());
    assert_eq!(who(&moved, "10.1.2.22", 7_300).len(), 2);
    let seen = Arp::request(station(5), ip(22), SERVER).frame();
    capture(&ring, [(7_400, seen)]);
    run(history.command(&ring, &["--once"])).ok();
    let [row] = &who(&history, "10.1.2.22", 7_500)[..] else { panic!("{:?}", all()) };
    assert!(row.starts_with("02:00:00:00:00:05 one-sided seen 1 min 40 s before"), "{row}");
}

/// The MAC and the certainty of each row of `who`, from SQLite; those from MySQL are the same.
fn both(history: &History, server: Option<&MariaDb>, ip: &str, second: u32) -> Vec<String> {
    let at = format!("@{}", EARLY + second);
    let question = ["who", ip, "--at", &at];
    if let Some(server) = server {
        let config = server.config("");
        let mut query = program("aw-query", &["--vendors", "/nonexistent", "--names", "/dev/null"]);
        query.arg("-c").arg(config).args(question).env("TZ", "UTC");
        let [theirs, ours] = [run(query), run(history.query(&question))];
        assert_eq!(theirs.stdout, ours.stdout, "{question:?}");
        assert_eq!(theirs.stderr, ours.stderr, "{question:?}");
    }
    history.answers(&question, &["mac", "how_sure"])
}

/// What is nearest to the time counts, and of a lease and a probe of one MAC the lease. A flood of MACs does not hide the device that has announced
/// the address for long, and the answer says how many there are more.
#[test]
fn the_strongest_claim_of_the_time() {
    const DAY: u32 = 86_400;
    let (ring, history, server) = (Ring::new(), History::new(), MariaDb::start(&[]));
    let mdns = |number: u8, last: u8| dhcp::mdns(station(number.into()), ip(last), "name");
    let asked = |number: u8, last: u8| dhcp::request(station(number.into()), ip(last), "x", "");
    let given = |number: u8, last: u8, long| dhcp::ack(station(number.into()), ip(last), long);
    let lease = |number: u8, last: u8| given(number, last, 3_600);
    let mut frames = vec![(0, arp(1)), (1, mdns(2, 22)), (2, mdns(9, 41))];
    frames.extend([
        (10 * DAY, asked(4, 23)),
        (10 * DAY + 1, lease(4, 23)),
        (10 * DAY + 2, Arp::probe(station(4), ip(23)).frame()),
        (57 * DAY, mdns(9, 40)),
        (59 * DAY, mdns(9, 40)),
        (60 * DAY, lease(2, 22)),
        (60 * DAY + 1, asked(3, 22)),
    ]);
    frames.extend((0..10).map(|n| (60 * DAY + 10 + u32::from(n), mdns(100 + n, 40))));
    // A lease runs that is not renewed in a captured message; and two leases of a MAC are no span.
    frames.extend([
        (20 * DAY, given(6, 24, DAY)),
        (20 * DAY + 18_000, asked(7, 24)),
        (20 * DAY + 18_001, asked(6, 24)),
        (5 * DAY, given(6, 25, DAY)),
        (70 * DAY, given(7, 25, 20 * DAY)),
        (80 * DAY, given(6, 25, DAY)),
    ]);
    frames.sort_by_key(|(second, _)| *second);
    capture_names(&ring, frames.into_iter().map(|(second, frame)| (EARLY + second, frame)));
    run(history.command(&ring, &["--once"])).ok();
    if let Some(server) = &server {
        run(server.command(&ring, &["--once"])).ok();
    }
    let both = |last: u8, second| both(&history, server.as_ref(), &ip(last).to_string(), second);
    let [nas, phone] = ["02:00:00:00:00:02 leased", "02:00:00:00:00:03 requested"];
    assert_eq!(both(22, 60 * DAY + 5), [nas, phone]);
    assert_eq!(both(22, 5), ["02:00:00:00:00:02 announced", phone]);
    assert_eq!(both(23, 10 * DAY + 5), ["02:00:00:00:00:04 leased"], "and not probed");
    let [laptop, phone] = ["02:00:00:00:00:06 leased", "02:00:00:00:00:07"];
    assert_eq!(both(24, 20 * DAY + 18_600), [laptop, &format!("{phone} requested")]);
    assert_eq!(both(25, 75 * DAY), [&*format!("{phone} leased"), laptop]);
    let flooded = both(40, 60 * DAY + 30);
    assert_eq!((flooded.len(), &*flooded[7]), (8, "02:00:00:00:00:09 announced"), "{flooded:?}");
    let asked =
        run(history.query(&["who", "10.1.2.40", "--at", &format!("@{}", EARLY + 60 * DAY + 30)]));
    assert!(asked.stderr.contains("3 further MACs announced the address"), "{asked:#?}");
    let asked = run(history.query(&["ip", "10.1.2.40"]));
    assert!(asked.stderr.contains("3 further MACs announced the address"), "{asked:#?}");
    // Rows that cannot be read are no answer.
    let Some(server) = server else { return };
    let proxy = MysqlProxy::start(server.path("socket"), "`claimed_name`");
    let config = server.config("");
    let text = format!("[addrwatch]\nuser = root\nsocket = {}\n", proxy.socket().display());
    fs::write(&config, text).unwrap();
    proxy
        .cut("(SELECT hostname, interface, vlan_tag, mac_address, source, name, unix", Cut::Before);
    let mut query = program("aw-query", &["who", "10.1.2.22", "-c"]);
    query.arg(config);
    let broken = run(query);
    assert!(proxy.has_cut());
    assert_eq!((broken.status.code(), &*broken.stdout), (Some(1), ""), "{broken:#?}");
}

/// The frame in a VLAN.
fn tagged(frame: &[u8], vlan: u8) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, vlan], &frame[12..]].concat()
}

/// A device moves each second day, and is seen in one place, or in two of them: its last addresses stay, of the announcement and of the request; and
/// the rows in SQLite and MySQL are the same.
#[test]
fn a_device_that_moves() {
    const DAY: u32 = 86_400;
    for (places, stay) in [(1, 3..10_u8), (2, 7..10)] {
        let (ring, history, server) = (Ring::new(), History::new(), MariaDb::start(&[]));
        for n in 0..10_u8 {
            let second = 2 * DAY * u32::from(n);
            let asked = dhcp::request(station(2), ip(50 + n), "nasbox", "");
            let mdns = dhcp::mdns(station(2), ip(50 + n), "nasbox");
            let days = (0..2).flat_map(|day| {
                let at = EARLY + second + day * (DAY + 60);
                let own = [(at, asked.clone()), (at + 1, mdns.clone())];
                let other = [(at + 2, tagged(&asked, 7)), (at + 3, tagged(&mdns, 7))];
                own.into_iter().chain(other).take(2 * places)
            });
            capture_names(&ring, days.collect::<Vec<_>>());
            run(history.command(&ring, &["--once"])).ok();
            if let Some(server) = &server {
                run(server.command(&ring, &["--once"])).ok();
            }
        }
        let ours = "SELECT group_concat(name || ' ' || source || ' ' || (first / 1000000000) || ' ' || (last / 1000000000), ';')
            FROM (SELECT * FROM claimed_name WHERE source > 7 ORDER BY name, source, first)";
        let ours = history.value::<String>(ours).unwrap();
        assert_eq!(ours.split(';').count(), 16, "{ours}");
        if let Some(server) = &server {
            let theirs = "SELECT group_concat(concat_ws(' ', name, source, unix_timestamp(first_seen), unix_timestamp(last_seen))
                ORDER BY name, source, first_seen SEPARATOR ';') FROM claimed_name WHERE source > 7";
            assert_eq!(server.sql(theirs).trim(), ours);
        }
        for n in stay {
            let second = 2 * DAY * u32::from(n) + 600;
            let rows = both(&history, server.as_ref(), &ip(50 + n).to_string(), second);
            assert_eq!(rows.len(), places, "{n}");
            assert!(rows.iter().all(|row| row == "02:00:00:00:00:02 announced"), "{rows:?}");
        }
        let oldest = both(&history, server.as_ref(), "10.1.2.50", 600);
        assert!(oldest.is_empty(), "the oldest made room: {oldest:?}");
    }
}

/// However many addresses a host announces with one MAC, some stay: those that it had for a day before others. Its name takes no room, and
/// gives none.
#[test]
fn a_flood_of_announced_addresses() {
    let (ring, history) = (Ring::new(), History::new());
    let mdns = |last: u8| dhcp::mdns(station(2), ip(last), "nasbox");
    capture(&ring, [(0, mdns(22)), (86_400, mdns(22))]);
    capture(&ring, (100..250).map(|last| (86_400 + u32::from(last), mdns(last))));
    run(history.command(&ring, &["--once"])).ok();
    let of =
        |what| format!("SELECT count(*) FROM claimed_name WHERE mac = 0x020000000002 AND {what}");
    let count = |what| history.value::<i64>(&of(what));
    assert_eq!((count("source = 8"), count("source = 4")), (Some(16), Some(1)));
    assert_eq!(who(&history, "10.1.2.22", 86_400).len(), 1);
    assert_eq!(who(&history, "10.1.2.249", 86_700).len(), 1);
    let Some(server) = MariaDb::start(&[]) else { return };
    run(server.command(&ring, &["--once"])).ok();
    let of_server = "SELECT count(*), sum(name = '10.1.2.22'), sum(name = '10.1.2.249') FROM claimed_name WHERE source = 8";
    assert_eq!(server.sql(of_server), "16\t1\t1\n");
}

/// A name that no device was given is that of the devices which call themselves so, for a question, and not for the file of names.
#[test]
fn a_claimed_name_in_a_question() {
    let (ring, history) = (Ring::new(), History::new());
    let frames = [arp(1), named(1, "annas-laptop"), named(2, "tv"), named(3, "TV"), named(4, "x")];
    capture(&ring, (0..).zip(frames));
    run(history.command(&ring, &["--once"])).ok();
    for name in ["annas-laptop", "Annas-Laptop"] {
        let asked = run(history.query(&["mac", name])).ok();
        assert!(asked.stdout.contains("10.1.2.1 "), "{asked:#?}");
        let says = format!("aw-query: {NAMED} calls itself \"{name}\" (a claim: any host can ");
        assert!(asked.stderr.starts_with(&says), "{asked:#?}");
    }
    let refused = |question: &[&str]| {
        let asked = run(history.query(question));
        assert_eq!((asked.status.code(), &*asked.stdout), (Some(2), ""), "{asked:#?}");
        asked.stderr
    };
    let several = "these call themselves so: 02:00:00:00:00:02, 02:00:00:00:00:03 (write one";
    assert!(refused(&["name", "Tv", "x"]).contains(several));
    let both = run(history.query(&["mac", "Tv"])).ok();
    let several =
        "2 devices call themselves \"Tv\", first 02:00:00:00:00:02, then 02:00:00:00:00:03 (";
    assert!(both.stderr.contains(several), "{both:#?}");
    assert!(refused(&["name", "annas-laptop", "Anna"]).contains("(write the MAC)"));
    let unknown = run(history.query(&["mac", "missing"]));
    let says = "no device has the name \"missing\" in /dev/null, and none calls itself so (aw-query name lists all names;";
    assert!(unknown.status.code() == Some(3) && unknown.stderr.contains(says), "{unknown:#?}");
}

/// Names and leases are deleted while aw-sqlite has the database open, and leave no bytes in its files; the next message of the device
/// stores its name again.
#[test]
fn names_are_forgotten() {
    let (ring, history) = (Ring::new(), History::new());
    let names = || {
        let all = "SELECT coalesce(group_concat(name), '') FROM (SELECT name FROM claimed_name WHERE source = 1 ORDER BY name)";
        history.value::<String>(all)
    };
    let leases = || history.value::<i64>("SELECT count(*) FROM address_lease");
    let frames = [arp(1), named(1, "annas-laptop"), ack(1), named(2, "bobs-phone"), ack(2)];
    capture(&ring, (0..).zip(frames));
    let service = history.start(&ring, &[]);
    wait_until("both names", || names().as_deref() == Some("annas-laptop,bobs-phone"));
    wait_until("both leases", || leases() == Some(2));
    let forget_in = |database: &Path, macs: &[&str]| {
        let mut forget = program("aw-sqlite", &["--database"]);
        forget.arg(database).arg("forget-names").args(macs);
        run(forget)
    };
    let forget = |macs: &[&str]| forget_in(history.database(), macs);
    let has_bytes = |name: &str| {
        let log = format!("{}-wal", history.database().display());
        let files = [history.database().to_owned(), log.into()];
        let has = |bytes: Vec<u8>| bytes.windows(name.len()).any(|part| part == name.as_bytes());
        files.iter().any(|file| fs::read(file).is_ok_and(has))
    };
    assert!(has_bytes("annas-laptop"));
    let done = forget(&[NAMED]).ok().stderr;
    assert!(done.contains("3 names and addresses and 1 lease deleted from "), "{done}");
    assert!(done.contains("names may also be in the ring of names"), "{done}");
    assert_eq!((names().as_deref(), leases()), (Some("bobs-phone"), Some(1)));
    assert_eq!(["annas-laptop", "bobs-phone"].map(has_bytes), [false, true]);
    let sightings = || history.value::<i64>("SELECT count(*) FROM addrwatch");
    let stored = sightings();
    // The service has the name in memory.
    capture(&ring, [(600, named(1, "annas-laptop"))]);
    wait_until("the name again", || names().as_deref() == Some("annas-laptop,bobs-phone"));
    let first = "SELECT min(first) / 1000000000 FROM claimed_name WHERE mac = 0x020000000001";
    assert_eq!(history.value::<i64>(first), Some(i64::from(BEGIN) + 600));
    // As root finds the service's: by a link in another directory.
    let link = history.path().join("link.db");
    symlink(history.database(), &link).unwrap();
    let done = forget_in(&link, &["--all"]).ok().stderr;
    assert!(!history.path().join("link.db-shm").exists());
    assert!(done.contains("6 names and addresses and 1 lease deleted from "), "{done}");
    assert_eq!((names().as_deref(), leases()), (Some(""), Some(0)));
    assert_eq!(["annas-laptop", "bobs-phone"].map(has_bytes), [false; 2]);
    assert_eq!(sightings(), stored);
    drop(service);
    for wrong in [&[][..], &["02:00:00:00:00"], &[NAMED, "--all"]] {
        assert_eq!(forget(wrong).status.code(), Some(2), "{wrong:?}");
    }
    fs::remove_file(history.database()).unwrap();
    let nothing = forget(&["--all"]);
    assert!(nothing.stderr.contains("there is no such file (choose"), "{nothing:#?}");
    assert_eq!((nothing.status.code(), history.database().exists()), (Some(1), false));
}
