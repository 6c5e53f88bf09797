//! `aw-query` and `aw-web` with a real ClickHouse: the tables of `aw-clickhouse` give the same answers as the file of `aw-sqlite`, also
//! after the server has each event several times.
#![forbid(unsafe_code)]

use aw_tests::bench::Random;
use aw_tests::clickhouse::Clickhouse;
use aw_tests::frames::{Arp, DOT1AD, DOT1Q, Ethernet, station};
use aw_tests::history::History;
use aw_tests::neighbor::{Neighbor, SOLICITED};
use aw_tests::receiver::{Receiver, line};
use aw_tests::rig::{program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::{Server as _, free_port};
use aw_tests::sightings::{self, ADDRESS, BEGIN, address6, capture, capture_frames, evidence};
use aw_tests::web::Server;
use std::collections::{HashMap, HashSet};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::thread::spawn;

/// Every subcommand, with times and without.
const QUESTIONS: &[&[&str]] = &[
    &["who", ADDRESS, "--at", "2026-11-20 14:32"],
    &["who", ADDRESS, "--at", "2026-11-20 14:58"],
    &["who", ADDRESS, "--at", "2026-11-20 15:00:00"],
    &["who", ADDRESS, "--at", "2026-11-20 14:59:59"],
    &["who", ADDRESS, "--at", "2026-11-19"],
    &["who", ADDRESS, "--at", "2026-11-21T12:00Z"],
    &["who", "10.1.2.9", "--at", "2026-11-20 16:00:30"],
    &["who", "10.1.2.9", "--at", "2026-11-20 23:00"],
    &["ip", ADDRESS],
    &["ip", ADDRESS, "--all"],
    &["ip", ADDRESS, "--at", "2026-11-20 17:01"],
    &["ip", ADDRESS, "--from", "2026-11-20 15:00", "--to", "2026-11-20 16:54"],
    &["ip", "10.1.2.9"],
    &["ip", "10.1.2.200"],
    &["ip", "fe80::1"],
    &["mac", "02:00:00:00:00:01"],
    &["mac", "02:00:00:00:00:01", "--all"],
    &["mac", "02:00:00:00:00:01", "--at", "2026-11-20 16:30"],
    &["mac", "02:00:00:00:00:01", "--at", "2026-11-22"],
    &["mac", "0200.0000.0002", "--since", "2026-11-20 16:00"],
    &["mac", "02:00:00:00:00:ff"],
    &["changes"],
    &["changes", "--since", "2026-11-20 14:30"],
    &["changes", "--from", "2026-11-20 14:30", "--to", "2026-11-20 16:00"],
    &["changes", "--since", "2030-01-01"],
    &["devices"],
    &["devices", "--count"],
    &["devices", "--network", "eth0"],
    &["devices", "--network", "eth0.*"],
    &["devices", "--from", "2026-11-20 15:00", "--to", "2026-11-20 15:30"],
    &["devices", "--count", "--from", "2026-11-20 15:00", "--to", "2026-11-20 15:30"],
    &["export"],
    &["export", "--from", "2026-11-20 15:00", "--to", "2026-11-20 15:30"],
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
    &["ip", "10.1.2.50", "--all"],
    &["ip", "2001:db8::6", "--from", "2026-11-20 14:20"],
    &["ip", "2001:db8::7"],
    &["ip", "2001:db8::9", "--all"],
    &["mac", "02:00:00:00:00:06"],
    &["mac", "02:00:00:00:00:08", "--all"],
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
    &["export"],
];

/// The events of a ring in a file and in a server.
struct Both {
    server: Clickhouse,
    history: History,
    ring: Ring,
}

impl Both {
    fn new() -> Option<Both> {
        Some(Both { server: Clickhouse::start()?, history: History::new(), ring: Ring::new() })
    }

    /// Stores what the ring has since the last time.
    #[track_caller]
    fn store(&self) {
        run(self.history.command(&self.ring, &["--once"])).ok();
        run(self.server.command(&self.ring, &["--once"])).ok();
    }

    /// The server gets all that the ring has, which it has already, as other batches.
    #[track_caller]
    fn send_again(&self) {
        let count = || self.server.number("SELECT count() FROM addrwatch.log");
        let before = count();
        // A state directory of its own: without a position, all is sent.
        let state = tempfile::tempdir().unwrap();
        let again = ["--once", "--state-dir", state.path().to_str().unwrap()];
        self.server.sql("SYSTEM STOP MERGES");
        run(self.server.command(&self.ring, &again)).ok();
        assert!(count() > before, "{before} rows, and no copy");
    }

    /// The same answer, to the last byte, with its messages and its status.
    #[track_caller]
    fn assert_same(&self, question: &[&str]) -> String {
        let answer = |command| {
            let answer = run(command);
            (answer.status.code(), answer.stdout, answer.stderr)
        };
        let ours = answer(self.history.query(question));
        let theirs = answer(self.server.query(question));
        assert_eq!(theirs, ours, "{question:?}");
        assert!(matches!(ours.0, Some(0 | 3)), "{question:?}: {ours:?}");
        ours.1
    }

    #[track_caller]
    fn assert_all_same(&self, questions: &[&[&str]]) {
        for question in questions {
            if question[0] == "export" {
                self.assert_same(question);
                continue;
            }
            for format in ["table", "json", "csv"] {
                self.assert_same(&[*question, &["--format", format]].concat());
            }
        }
    }
}

/// A handover, two devices that share an address, one address in two VLANs; in two batches, which are sent again as one.
#[test]
fn the_same_answers() {
    let Some(both) = Both::new() else { return };
    let mut seen = sightings::handover();
    seen.extend((0..100).map(|n| (7200 + 10 * n, 5 + n % 2, 9, 0)));
    seen.extend((0..20).flat_map(|n| [(60 * n, 7, 20, 0), (60 * n, 8, 20, 5)]));
    seen.sort_unstable();
    let (begin, rest) = seen.split_at(seen.len() / 2);
    capture(&both.ring, begin);
    both.store();
    capture(&both.ring, rest);
    both.store();
    both.assert_all_same(QUESTIONS);
    both.send_again();
    both.assert_all_same(QUESTIONS);
}

/// Probes, answers without a MAC, a repeater, and a clock that was not set.
#[test]
fn what_sightings_prove() {
    let Some(both) = Both::new() else { return };
    let claim = |second: u32, number: u8| {
        let ip = [10, 1, 2, number].into();
        (second, Arp::request(station(number.into()), ip, [10, 1, 2, 254].into()).frame())
    };
    capture_frames(&both.ring, [claim(30, 60), claim(31, 61)]);
    capture_frames(&both.ring, evidence());
    both.store();
    capture_frames(&both.ring, [claim(BEGIN + 3600, 60)]);
    both.store();
    both.assert_all_same(EVIDENCE_QUESTIONS);
    both.send_again();
    both.assert_all_same(EVIDENCE_QUESTIONS);
}

/// A router's reports, and an IPv6 neighbour with an address that looks like IPv4: it is another one.
#[test]
fn routers_and_mapped_addresses() {
    let Some(both) = Both::new() else { return };
    let receiver = Receiver::listening(&both.ring, &["--hostname", "here"]);
    receiver.send("127.0.0.2", &[&line(1, "10.1.2.3", 2, "02:00:00:00:00:02", "vlan2")]);
    let held = || aw_tests::collect::held(&both.ring);
    wait_until("it is in the ring", || !held().is_empty());
    receiver.run.stop().ok();
    let mapped: Ipv6Addr = Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped();
    let neighbor = Neighbor::advertise(station(3), mapped).frame(station(3));
    let ipv4 = Arp::request(station(1), [10, 1, 2, 3].into(), [10, 1, 2, 254].into()).frame();
    capture_frames(&both.ring, [(BEGIN, ipv4), (BEGIN + 1, neighbor)]);
    both.store();
    assert!(held().contains(" ::ffff:10.1.2.3 "), "{}", held());
    let questions: &[&[&str]] = &[
        &["devices"],
        &["changes"],
        &["who", "10.1.2.3", "--at", "2026-11-20 14:01"],
        &["who", "::ffff:10.1.2.3", "--at", "2026-11-20 14:01"],
        &["ip", "10.1.2.3"],
        &["ip", "::ffff:10.1.2.3"],
        &["mac", "02:00:00:00:00:02"],
        &["mac", "02:00:00:00:00:03"],
        &["devices", "--network", "vlan2@127.0.0.2"],
        &["export"],
    ];
    both.assert_all_same(questions);
    both.send_again();
    both.assert_all_same(questions);
}

/// Two sensors with the same sequences in one table, and the same MACs and addresses: two networks, in which both are counted.
#[test]
fn two_sensors() {
    let Some(mut both) = Both::new() else { return };
    for host in ["here", "there"] {
        both.ring = Ring::new();
        let (seen, state) = (sightings::handover(), tempfile::tempdir().unwrap());
        capture(&both.ring, &seen[..if host == "here" { seen.len() } else { 40 }]);
        run(both.history.command(&both.ring, &["--once"])).ok();
        // The name of a collector on another machine.
        both.history
            .open()
            .unwrap()
            .execute("UPDATE place SET host = ?1 WHERE ring = ?2", [host, both.ring.name()])
            .unwrap();
        let state = state.path().to_str().unwrap();
        for _ in 0..2 {
            let _ = fs::remove_dir_all(state);
            let once = ["--once", "--hostname", host, "--state-dir", state];
            run(both.server.command(&both.ring, &once)).ok();
        }
    }
    let same = "SELECT uniqExact(sequence) < uniqExact(host, ring, generation, sequence) FROM addrwatch.log";
    assert_eq!(both.server.number(same), 1);
    both.assert_all_same(QUESTIONS);
    both.server.sql("OPTIMIZE TABLE addrwatch.log FINAL");
    both.assert_all_same(QUESTIONS);
}

/// Frames of some days around midnight, of few MACs and addresses, so that all that can happen to an address does.
fn random_frames(random: &mut Random) -> Vec<(u32, Vec<u8>)> {
    const MIDNIGHT: u32 = BEGIN + 10 * 3600;
    let (addresses, macs) = (2 + random.below(4), 2 + random.below(5));
    let (mut frames, mut seconds) = (Vec::new(), HashSet::new());
    for _ in 0..50 + random.below(300) {
        let span = 1 + (200 << random.below(10));
        let second = match random.below(16) {
            0 => 30 + random.below(1000), // before the clock was set
            1..8 => MIDNIGHT - span.min(MIDNIGHT - BEGIN) / 2 + random.below(span),
            _ => BEGIN + random.below(4 * 86_400),
        };
        // The order of two sightings of one moment is not defined.
        if !seconds.insert(second) {
            continue;
        }
        let mac = station(1 + random.below(macs));
        let number = 1 + random.below(addresses) as u16;
        let ip = Ipv4Addr::new(10, 1, 2, number as u8);
        let sender = if random.below(6) == 0 { station(1 + random.below(macs)) } else { mac };
        let mut ethernet = Ethernet::from(sender);
        match random.below(12) {
            0 | 1 => ethernet = ethernet.tag(DOT1Q, 7),
            2 => ethernet = ethernet.tag(DOT1AD, 9).tag(DOT1Q, 7),
            _ => {}
        }
        let without_option = |neighbor: Neighbor| Neighbor { options: Vec::new(), ..neighbor };
        let frame = match random.below(10) {
            0 => Arp::probe(mac, ip).on(&ethernet),
            1 | 2 => Arp::reply(mac, ip, Ipv4Addr::UNSPECIFIED).on(&ethernet),
            3 => Neighbor::advertise(mac, address6(number)).frame(sender),
            4 => without_option(Neighbor {
                destination: address6(99),
                flags: SOLICITED,
                ..Neighbor::advertise(mac, address6(number))
            })
            .frame(sender),
            5 => without_option(Neighbor {
                destination: address6(99),
                ..Neighbor::solicit(mac, address6(number), address6(99))
            })
            .frame(sender),
            _ => Arp::request(mac, ip, [10, 1, 2, 254].into()).on(&ethernet),
        };
        frames.push((second, frame));
    }
    frames.sort_by_key(|(second, _)| *second);
    frames
}

/// Random histories of some days, at random times: whole days and their parts come from different tables.
#[test]
fn the_same_answers_of_random_histories() {
    let Some(server) = Clickhouse::start() else { return };
    let mut both = Both { server, history: History::new(), ring: Ring::new() };
    let mut rows = HashMap::<String, usize>::new();
    for seed in 1..=12 {
        for table in ["log", "pairing_day", "config_change"] {
            both.server.sql(&format!("TRUNCATE TABLE addrwatch.{table}"));
        }
        let _ = fs::remove_dir_all(both.server.path("state"));
        (both.history, both.ring) = (History::new(), Ring::new());
        let mut random = Random::new(seed);
        let frames = random_frames(&mut random);
        let (begin, rest) = frames.split_at(random.below(frames.len() as u32) as usize);
        for part in [begin, rest] {
            capture_frames(&both.ring, part.iter().cloned());
            both.store();
        }
        for round in 0..2 {
            let mut time = || {
                let (frame, _) = &frames[random.below(frames.len() as u32) as usize];
                let offset = [0, 1, 599, 601, 3_600, 86_400][random.below(6) as usize];
                let time = frame.saturating_add(offset);
                // Beside midnight, too.
                if offset == 3_600 { time - time % 86_400 } else { time }
            };
            let mut range = || {
                let (one, other) = (time(), time());
                let (from, to) = (one.min(other), one.max(other) + 1);
                match from % 4 {
                    0 => vec![],
                    1 => vec!["--from".into(), format!("@{from}")],
                    2 => vec!["--to".into(), format!("@{to}")],
                    _ => vec!["--from".into(), format!("@{from}"), "--to".into(), format!("@{to}")],
                }
            };
            let mut questions: Vec<Vec<String>> = Vec::new();
            let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            for _ in 0..3 {
                for what in ["devices", "devices --count", "devices --network eth0", "changes"] {
                    questions.push([words(what), range()].concat());
                }
                questions.push([words("mac 02:00:00:00:00:01"), range()].concat());
                questions.push([words("mac 02:00:00:00:00:02 --all"), range()].concat());
                questions.push([words("ip 10.1.2.1"), range()].concat());
                questions.push([words("ip 2001:db8::1 --all"), range()].concat());
            }
            for _ in 0..4 {
                let at = format!("@{}", time());
                for what in
                    ["who 10.1.2.1 --at", "who 2001:db8::2 --at", "mac 02:00:00:00:00:01 --at"]
                {
                    questions.push([words(what), vec![at.clone()]].concat());
                }
            }
            questions.push(words("export"));
            for question in &questions {
                let question: Vec<&str> = question.iter().map(String::as_str).collect();
                let answer = match question[0] {
                    "export" => both.assert_same(&question),
                    _ => both.assert_same(&[&question[..], &["--format", "csv"]].concat()),
                };
                *rows.entry(question[0].into()).or_default() += answer.lines().count() - 1;
            }
            if round == 0 {
                both.send_again();
            }
        }
    }
    for question in ["who", "ip", "mac", "changes", "devices", "export"] {
        assert!(rows[question] > 100, "{question}: {rows:?}");
    }
}

/// The pages and the API of `aw-web`.
#[test]
fn the_web_answers() {
    let Some(both) = Both::new() else { return };
    capture(&both.ring, &sightings::handover());
    both.store();
    both.send_again();
    let state = tempfile::tempdir().unwrap();
    let mut command =
        program("aw-web", &["--vendors", "/nonexistent", "--names", "/dev/null", "--listen", "0"]);
    command.args(["--database", &both.server.history()]);
    command.arg("--state-dir").arg(state.path()).env("TZ", "UTC");
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    let theirs = Server::started(command, state);
    let ours = Server::start(&both.history, &[]);
    for question in [
        "who?ip=10.1.2.3&at=2026-11-20+14:32",
        "ip/10.1.2.3",
        "mac/02:00:00:00:00:01",
        "changes?from=2026-11-20",
        "devices",
    ] {
        let [ours, theirs] = [&ours, &theirs]
            .map(|server| server.get(&format!("/api/v1/{question}")).expect(200).json());
        assert_eq!(theirs["rows"], ours["rows"], "{question}");
        assert!(ours["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{question}: {ours}");
    }
    let page = theirs.get("/ip/10.1.2.3?at=2026-11-20&zoom=day").expect(200).body;
    assert_eq!(page.matches("<rect class=\"bar").count(), 3, "{page}");
}

/// Tables of a release without `pairing_day`: nothing is answered until the statements of this release have filled it.
#[test]
fn an_upgrade() {
    let Some(both) = Both::new() else { return };
    capture(&both.ring, &sightings::handover());
    both.store();
    let drop = |kind: &str, name: &str| both.server.sql(&format!("DROP {kind} addrwatch.{name}"));
    drop("TABLE", "pairings");
    drop("TABLE", "pairing_day");
    let remedy = "aw-clickhouse --database addrwatch schema | clickhouse-client --multiquery";
    run(both.server.query(&["devices"])).refused("aw-query", &["no view pairings", remedy]);
    // Meanwhile an output of this release queues: no event is without its day.
    capture(&both.ring, &[(80_000, 9, 9, 0)]);
    run(both.history.command(&both.ring, &["--once"])).ok();
    let output = both.server.output(&both.ring, &[]);
    output.stderr.wait_for("queueing events in");
    both.server.create_tables();
    output.stderr.wait_for("the destination is back");
    output.stop().ok();
    both.assert_all_same(&[&["devices"], &["devices", "--count"], &["changes"]]);
    both.server.create_tables();
    both.assert_all_same(&[&["devices"], &["mac", "02:00:00:00:00:01"]]);
    // An output of an earlier release inserts into `log` alone.
    both.server.sql(
        "INSERT INTO addrwatch.log SELECT time, host, ring, generation, 1000, interface, 0, 0, 0, 2199023255649, 0,
            toFixedString(unhex('00000000000000000000ffff0a090909'), 16), 0 FROM addrwatch.log LIMIT 1",
    );
    let remedy =
        ["pairing_day lacks events of", "upgrade all sensors, DROP TABLE addrwatch.pairings"];
    run(both.server.query(&["who", "10.9.9.9"])).refused("aw-query", &remedy);
    run(both.server.query(&["mac", "02:00:00:00:00:61"])).refused("aw-query", &remedy);
    both.server.sql("DROP TABLE addrwatch.pairings");
    both.server.create_tables();
    run(both.server.query(&["mac", "02:00:00:00:00:61"])).ok();
}

/// A profile that ends answers early, and without an error: fewer rows are no answer.
#[test]
fn limits_of_a_profile() {
    let Some(both) = Both::new() else { return };
    capture(&both.ring, &sightings::handover());
    both.store();
    let ask = |user: &str| {
        let url = format!("clickhouse://{user}@127.0.0.1:{}/addrwatch", both.server.port);
        let mut query = program("aw-query", &["--database", &url, "devices"]);
        query.env("TZ", "UTC");
        run(query)
    };
    ask("brief").refused("aw-query", &["Limit for rows"]);
    ask("brief_reader").refused("aw-query", &["ends answers without an error", "readonly = 2"]);
}

/// A server that accepts connections and is silent is passed over, also by the next question of one process.
#[test]
fn a_silent_server() {
    let Some(both) = Both::new() else { return };
    capture(&both.ring, &sightings::handover());
    both.store();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (silent, port) = (listener.local_addr().unwrap().port(), both.server.port);
    for servers in [[silent, port], [port, silent]] {
        let [one, other] = servers.map(|port| format!("127.0.0.1:{port}"));
        let url = format!("clickhouse://{one},{other}/addrwatch");
        // The first one is any of them.
        for _ in 0..3 {
            let mut query = program("aw-query", &["--database", &url, "--timeout", "20s"]);
            query.arg("devices");
            assert!(run(query).ok().stdout.contains("02:00:00:00:00:01"));
        }
    }
}

/// Users, passwords and wrong names: one line that says what to do.
#[test]
fn faults_and_remedies() {
    let Some(both) = Both::new() else { return };
    capture(&both.ring, &sightings::handover());
    both.store();
    let Both { server, .. } = &both;
    let secret = |name: &str, text: &str, mode: u32| {
        let path = server.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let right = secret("right", "s3cret\n", 0o600);
    let wrong = secret("wrong", "other\n", 0o600);
    let public = secret("public", "s3cret\n", 0o644);
    let port = server.port;
    let at = |user: &str, rest: &str| format!("clickhouse://{user}127.0.0.1:{port}{rest}");
    let ask = |url: &str, more: &[&str]| {
        let mut query = program("aw-query", &["--database", url]);
        query.args(["who", ADDRESS, "--at", "2026-11-20 14:32"]).args(more);
        run(query)
    };
    for (url, options) in [
        (at("sensor@", "/addrwatch"), &["--password-file", &right][..]),
        (at("", ""), &[]),
        // A user whose profile is read-only may not set a time limit.
        (at("reader@", "/addrwatch"), &[]),
    ] {
        let answer = ask(&url, options).ok();
        assert!(answer.stdout.contains("02:00:00:00:00:01"), "{answer:#?}");
        assert_eq!(answer.stderr, "");
    }
    // One that is down is passed over.
    let dead = free_port();
    let cluster = format!("clickhouse://127.0.0.1:{dead},127.0.0.1:{port}/addrwatch");
    (0..4).for_each(|_| _ = ask(&cluster, &[]).ok());
    let refused = |url: &str, more: &[&str], why: &[&str]| {
        let ended = ask(url, more);
        assert!(!ended.stderr.contains("s3cret"), "{ended:#?}");
        ended.refused("aw-query", why);
    };
    let login = ["correct the user in --database and the first line of --password-file"];
    refused(&at("sensor@", ""), &["--password-file", &wrong], &login);
    refused(&at("sensor@", ""), &["--password-file", &public], &["chmod"]);
    refused(&at("sensor:s3cret@", ""), &[], &["a password in a URL", "--password-file"]);
    refused(&at("", ""), &["--password-file", &right], &["--password-file needs a user"]);
    refused(&at("", "/nowhere"), &[], &["read nowhere", "no view pairings", "GRANT SELECT"]);
    refused(
        &format!("clickhouse://127.0.0.1:{dead}"),
        &[],
        &["read addrwatch at http://127.0.0.1", "connection refused", "--database"],
    );
    refused(
        "clickhouse://sensor@192.0.2.1",
        &["--password-file", &right],
        &["a password is not sent to 192.0.2.1 without TLS", "clickhouses://"],
    );
    refused(&at("", ""), &["--ca-file", &right], &["--ca-file", "need TLS", "clickhouses://"]);
    refused(&at("", ""), &["-p", "x_"], &["--config and --prefix are for MySQL"]);
    refused("lan.db", &["--password-file", &right], &["--password-file is for", "clickhouse://"]);
    refused(&at("", "/a/b"), &[], &["a URL of ClickHouse has the form clickhouse://"]);
    server.sql("ALTER TABLE addrwatch.pairing_day DROP COLUMN last");
    refused(&at("", ""), &[], &["last", "compare it with aw-clickhouse schema"]);
}

/// With TLS, a certificate of the client, and a password in a file.
#[test]
fn over_tls() {
    let Some((server, port)) = Clickhouse::with_tls() else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once"])).ok();
    let file = |name: &str| server.path(name).display().to_string();
    let password = file("password");
    fs::write(&password, "s3cret\n").unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    let (ca, certificate, key) = (file("tls/ca.pem"), file("tls/server.pem"), file("tls/own.key"));
    let ask = |scheme: &str, options: &[&str]| {
        let url = format!("{scheme}://sensor@127.0.0.1:{port}/addrwatch");
        let mut query = program("aw-query", &["--database", &url]);
        query.args(["who", ADDRESS, "--at", "2026-11-20 14:32", "--password-file", &password]);
        run({
            query.args(options);
            query
        })
    };
    let identity = ["--certificate-file", &certificate, "--key-file", &key];
    let trusted = [&["--ca-file", &ca][..], &identity].concat();
    let answer = ask("clickhouses", &trusted).ok();
    assert!(answer.stdout.contains("02:00:00:00:00:01"), "{answer:#?}");
    let refused = |scheme: &str, options: &[&str], why: &str| {
        let ended = ask(scheme, options);
        assert!(!ended.stderr.contains("s3cret"), "{ended:#?}");
        ended.refused("aw-query", &[why]);
    };
    refused("clickhouses", &["--ca-file", &ca], "--certificate-file and --key-file");
    refused("clickhouses", &identity, "--ca-file");
    refused("clickhouse", &[], "read addrwatch at http://127.0.0.1");
}

/// Any content of the tables: no panic, and no control characters for a terminal.
#[test]
fn content_is_not_trusted() {
    let Some(server) = Clickhouse::start() else { return };
    // A host, a ring, an identity and an interface: an escape sequence, and once a text of half a megabyte.
    let place = "concat(unhex('1b5b324affe280ae'), 'x'), '/r', 1, number,
        concat(unhex('1b5b324a9b'), toString(range(100000 * (number = 1))))";
    let ip = "toFixedString(unhex('00000000000000000000ffff0a010203'), 16)";
    let from = "FROM (SELECT number FROM system.numbers LIMIT 5)";
    server.sql(&format!(
        "INSERT INTO addrwatch.log SELECT 1795183200000000000 + number * 1000000000, {place}, 65535, 65535, 4294967295,
            if(number = 2, 18446744073709551615, 2199023255553), if(number = 3, 18446744073709551615, 0), {ip},
            if(number = 4, 99, 0) {from}"
    ));
    server.sql(&format!(
        "INSERT INTO addrwatch.log SELECT if(number = 0, toInt64(-9223372036854775807), toInt64(9223372036854775807)), {place},
            0, 0, 0, 2199023255553, 0, {ip}, 0 {from}"
    ));
    server.sql("DROP TABLE addrwatch.pairings");
    server.create_tables();
    for question in [
        &["devices"][..],
        &["devices", "--count"],
        &["changes"],
        &["ip", ADDRESS, "--all"],
        &["who", ADDRESS, "--at", "2026-11-20 14:00:01"],
        &["mac", "02:00:00:00:00:01"],
    ] {
        for format in ["table", "json", "csv"] {
            let question = [question, &["--format", format]].concat();
            let ended = run(server.query(&question)).ok();
            let steers = |c: char| c.is_control() && c != '\n' && !(c == '\r' && format == "csv");
            assert!(!ended.stdout.contains(steers), "{question:?}: {:?}", ended.stdout);
            assert!(!ended.stdout.contains('\u{202e}'), "{question:?}: {:?}", ended.stdout);
            assert!(ended.stdout.contains("?[2J"), "{question:?}: {:?}", ended.stdout);
        }
    }
}

/// A server, or what is in its place, that answers with these bytes, ends early, or never: an error in time.
#[test]
fn answers_that_are_none() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("clickhouse://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let ask = |body: Option<&'static [u8]>| {
        let listener = listener.try_clone().unwrap();
        let server = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut part = [0; 65_536];
            let _ = stream.read(&mut part);
            let Some(body) = body else { return stream.read_to_end(&mut Vec::new()).map(drop) };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
            stream.write_all(&[head.as_bytes(), body].concat())
        });
        let mut query = program("aw-query", &["--database", &url, "--timeout", "2s"]);
        query.arg("devices");
        let asked = run(query);
        let _ = server.join();
        asked
    };
    let is_none = ["no answer of ClickHouse (correct --database: the port of HTTP)"];
    ask(Some(b"<html>Welcome</html>")).refused("aw-query", &is_none);
    ask(Some(b"")).refused("aw-query", &is_none);
    ask(None).refused("aw-query", &["no answer within 2 s"]);
}
