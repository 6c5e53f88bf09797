//! `aw-query`: who had an address, and when, from the rows that `aw-sqlite` stored.
#![forbid(unsafe_code)]

use aw_tests::collect::json;
use aw_tests::feed::publish;
use aw_tests::history::{History, addrwatch_database};
use aw_tests::rig::{Finished, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, ADDRESS, Sighting, capture};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};

/// A history of these sightings.
fn history(seen: &[Sighting]) -> History {
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, seen);
    run(history.command(&ring, &["--once"])).ok();
    history
}

fn handover() -> History {
    history(&sightings::handover())
}

fn rows(finished: Finished) -> Vec<Value> {
    finished.ok().stdout.lines().map(json).collect()
}

/// Some fields of all rows.
fn fields(history: &History, arguments: &[&str], names: &[&str]) -> Vec<String> {
    let rows = rows(run(history.query(&[arguments, &["--format", "json"]].concat())));
    let field = |row: &Value, name: &&str| match &row[name] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let line =
        |row: &Value| names.iter().map(|name| field(row, name)).collect::<Vec<_>>().join(" ");
    rows.iter().map(line).collect()
}

#[test]
fn who_had_it() {
    let history = handover();
    let who = |time: &str| {
        let at = format!("2026-11-20 {time}");
        let names = ["mac", "how_sure", "seconds_before", "seconds_after", "interface", "vlan"];
        fields(&history, &["who", ADDRESS, "--at", &at], &names)
    };
    assert_eq!(who("14:32:00"), ["02:00:00:00:00:01 sure 120 180 eth0 0"]);
    assert_eq!(who("15:30:00"), ["02:00:00:00:00:02 sure 0 300 eth0 0"]);
    assert_eq!(
        who("14:58:00"),
        ["02:00:00:00:00:02 changed null 120 eth0 0", "02:00:00:00:00:01 changed 180 7320 eth0 0"]
    );
    assert_eq!(who("13:59:59"), ["02:00:00:00:00:01 one-sided null 1 eth0 0"]);
    let before = "nothing of that time is recorded: the history begins 1 h 0 min later";
    for of in [["who", ADDRESS], ["mac", "02:00:00:00:00:01"]] {
        let asked = run(history.query(&[of[0], of[1], "--at", "2026-11-20 13:00"])).ok();
        assert!(asked.stderr.contains(before), "{asked:?}");
        let asked = run(history.query(&[of[0], of[1], "--at", "2026-11-20 14:01"])).ok();
        assert!(!asked.stderr.contains("nothing of that time"), "{asked:?}");
    }
    assert_eq!(who("23:00"), ["02:00:00:00:00:01 one-sided 18300 null eth0 0"]);
    // Whether anything was captured at that time.
    let why = |address: &str, time: &str| {
        let at = format!("2026-11-20 {time}");
        fields(&history, &["who", address, "--at", &at], &["how_sure", "why"])
    };
    assert_eq!(
        why(ADDRESS, "19:00"),
        [
            "one-sided seen 1 h 5 min before, not since; nothing at all was seen in this network since 1 h 5 min before"
        ]
    );
    // In VLAN 7, too: that the device was seen in VLAN 0 says nothing about it.
    assert_eq!(
        why("10.1.2.4", "14:30"),
        [
            "one-sided seen 28 min 20 s before, not since; nothing at all was seen in this network since 28 min 20 s before"
        ]
    );
    let ip = fields(&history, &["ip", ADDRESS, "--at", "2026-11-20 14:32"], &["mac", "how_sure"]);
    assert_eq!(ip, ["02:00:00:00:00:01 sure"]);
    let text = run(history.query(&["who", ADDRESS, "--at", "2026-11-20 14:32"])).ok().stdout;
    assert_eq!(
        text,
        "MAC                SEEN BEFORE                 SEEN AFTER                  HOW SURE  WHY                                        INTERFACE  VLAN\n\
         02:00:00:00:00:01  2026-11-20 14:30:00 +00:00  2026-11-20 14:35:00 +00:00  sure      seen 2 min 0 s before and 3 min 0 s after  eth0       0\n"
    );
}

/// Two devices that share an address have a span each, and the address is contested.
#[test]
fn two_at_once() {
    let seen: Vec<Sighting> = (0..200).map(|n| (n * 10, 1 + n % 2, 3, 0)).collect();
    let history = history(&seen);
    let at = ["who", ADDRESS, "--at", "2026-11-20 14:10:05"];
    assert_eq!(
        fields(&history, &at, &["mac", "how_sure", "others"]),
        ["02:00:00:00:00:01 contested 1", "02:00:00:00:00:02 contested 1"]
    );
    let spans = fields(&history, &["ip", ADDRESS], &["mac", "count"]);
    assert_eq!(spans, ["02:00:00:00:00:01 100", "02:00:00:00:00:02 100"]);
}

#[test]
fn spans() {
    let history = handover();
    let names = ["mac", "first_seen", "last_seen", "count"];
    let time = |text: &str| format!("2026-11-20T{text}:00.000000000+00:00");
    let [a, b, c, d, e, f] = ["14:00", "14:55", "15:00", "16:55", "17:00", "17:55"].map(time);
    let [one, two] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    let all =
        [format!("{one} {a} {b} 12"), format!("{two} {c} {d} 24"), format!("{one} {e} {f} 12")];
    assert_eq!(fields(&history, &["ip", ADDRESS], &names), all);
    let part = ["ip", ADDRESS, "--from", "2026-11-20 15:00", "--to", "2026-11-20 16:54"];
    let last = time("16:50");
    assert_eq!(fields(&history, &part, &names), [format!("{two} {c} {last} 23")]);
    let [of_two, of_one] = [two, "0200.0000.0001"]
        .map(|mac| fields(&history, &["mac", mac], &["address", "count", "vlan"]));
    assert_eq!(of_two, ["10.1.2.3 24 0"]);
    assert_eq!(of_one, ["10.1.2.3 12 0", "10.1.2.4 1 7", "10.1.2.3 12 0"]);
    let devices = fields(&history, &["devices", "--count"], &["mac", "count", "addresses"]);
    assert_eq!(
        devices,
        [format!("{one} 25 [\"10.1.2.3\",\"10.1.2.4\"]"), format!("{two} 24 [\"10.1.2.3\"]")]
    );
}

#[test]
fn one_network() {
    let history = handover();
    let [one, two] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    let of = |command: &[&str], network: &str| {
        let arguments = [command, &["--network", network]].concat();
        fields(&history, &arguments, &["mac", "vlan"])
    };
    assert_eq!(of(&["devices"], "eth0.7"), [format!("{one} 7")]);
    assert_eq!(of(&["devices"], "eth0"), [format!("{one} 0"), format!("{two} 0")]);
    assert_eq!(of(&["mac", one], "eth0.*"), [format!("{one} 7")]);
    assert_eq!(of(&["changes"], "eth0.7"), [format!("{one} 7")]);
    let devices = fields(&history, &["devices", "--interface", "eth0.7"], &["addresses"]);
    assert_eq!(devices, ["[\"10.1.2.4\"]"], "the addresses of this network");
    let none = run(history.query(&["devices", "--network", "eth1"]));
    assert_eq!(
        (none.status.code(), &*none.stderr),
        (
            Some(3),
            "aw-query: no row of the network \"eth1\" (there are rows of eth0, eth0.7; NAME.* is all VLANs of an interface)\n"
        )
    );
    let wrong = run(history.query(&["export", "--network", "eth0"]));
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.stderr);
}

#[test]
fn changes() {
    let history = handover();
    let names = ["change", "address", "mac", "before"];
    let [one, two] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    let new = [format!("new 10.1.2.3 {one} null"), format!("new 10.1.2.4 {one} null")];
    let changed =
        [format!("changed 10.1.2.3 {two} {one}"), format!("changed 10.1.2.3 {one} {two}")];
    let all = fields(&history, &["changes"], &names);
    assert_eq!(all, [&new[..], &changed[..]].concat());
    let since = |time: &str| fields(&history, &["changes", "--since", time], &names);
    assert_eq!(since("2026-11-20 14:30"), changed);
    assert_eq!(since("2026-11-20 15:00"), changed);
    assert_eq!(since("2026-11-20 15:00:01"), changed[1..]);
    let until = ["changes", "--from", "2026-11-20 14:30", "--to", "2026-11-20 16:00"];
    assert_eq!(fields(&history, &until, &names), changed[..1]);
}

/// VLANs are independent of each other.
#[test]
fn networks() {
    let seen: Vec<Sighting> =
        (0..10).flat_map(|n| [(n * 60, 1, 3, 0), (n * 60, 2, 3, 5)]).collect();
    let history = history(&seen);
    let names = ["mac", "how_sure", "vlan", "host"];
    let at = ["who", ADDRESS, "--at", "2026-11-20 14:05:30"];
    let mut who = fields(&history, &at, &names);
    who.sort();
    assert_eq!(who, ["02:00:00:00:00:01 sure 0 here", "02:00:00:00:00:02 sure 5 here"]);
    assert_eq!(fields(&history, &["changes"], &["change"]), ["new", "new"]);
}

/// Times are in the time zone, and show it.
#[test]
fn zones() {
    let history = handover();
    let mut query = history.query(&["who", ADDRESS, "--at", "2026-11-20 15:32"]);
    query.env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3");
    let text = run(query).ok().stdout;
    assert!(text.contains("2026-11-20 15:30:00 +01:00") && text.contains("sure"), "{text}");
    let csv = run(history.query(&["ip", ADDRESS, "--format", "csv"])).ok().stdout;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "mac,first_seen,last_seen,count,address,frame_sources,interface,vlan,outer_vlan,host,router,ring,claimed_name,name_source,name_since,name,maker"
    );
    let first = "02:00:00:00:00:01,2026-11-20T14:00:00.000000000+00:00,2026-11-20T14:55:00.000000000+00:00,12,10.1.2.3,,eth0,0,0,here,,/";
    let (row, ring) = lines[1].split_at(first.len());
    assert_eq!((row, ring.is_empty(), lines.len()), (first, false, 5));
}

/// Nothing was captured, or nothing arrives: the answer names what finds out why.
#[test]
fn an_empty_history_names_the_checks() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..1);
    run(history.command(&ring, &["--once"])).ok();
    let nothing = run(history.query(&["devices"]));
    assert_eq!(nothing.status.code(), Some(3), "{nothing:#?}");
    assert_eq!(
        nothing.stderr,
        "aw-query: no devices in the whole history (aw-stdout --health: does the collector receive frames? aw-sqlite --health: is its database written?)\n"
    );
}

/// Was a device there at a time? Near it: the addresses that it had then. Not near: the nearest one, and in words how long it was
/// not seen before and after.
#[test]
fn a_device_at_a_time() {
    let history = handover();
    let names = history.path().join("names");
    std::fs::write(&names, "02:00:00:00:00:01 Emmas Handy\n").unwrap();
    let ask = |device: &str, time: &str| {
        let names = names.to_str().unwrap();
        let at = format!("2026-11-20 {time}");
        let arguments = ["--names", names, "mac", device, "--at", &at, "--format", "json"];
        let asked = run(history.query(&arguments)).ok();
        let rows: Vec<_> = asked.stdout.lines().map(json).collect();
        let row = |row: &Value| {
            let [address, mac, how_sure] =
                ["address", "mac", "how_sure"].map(|name| row[name].clone());
            assert_eq!((&mac, &row["name"]), (&"02:00:00:00:00:01".into(), &"Emmas Handy".into()));
            [address, how_sure].map(|cell| cell.as_str().unwrap().to_owned()).join(" ")
        };
        (rows.iter().map(row).collect::<Vec<_>>(), asked.stderr)
    };
    let near = ask("02:00:00:00:00:01", "14:05");
    assert_eq!(near, (vec!["10.1.2.3 sure".into(), "10.1.2.4 one-sided".into()], String::new()));
    // It had 10.1.2.3 until 14:55 and from 17:00 on; another device had it meanwhile.
    for (time, away, why) in [
        (
            "16:00",
            "last 1 h 5 min before, next 1 h 0 min after",
            "others were seen then: it was away, or asleep",
        ),
        (
            "19:00",
            "last 1 h 5 min before, next never after",
            "nothing at all was seen then in its network",
        ),
    ] {
        let (rows, remark) = ask("emmas handy", time);
        assert_eq!(rows.len(), 1, "{rows:?}");
        let expected = format!(
            "aw-query: the device was not seen within ten minutes of that time: {away}; {why}\n"
        );
        assert!(remark.ends_with(&expected), "{remark}");
    }
    for (wrong, why) in [
        ("Emma", "(did you mean 'Emmas Handy'?)"),
        ("Radio", "(aw-query name lists all names; a MAC such as 02:00:00:00:00:01 is right, too)"),
    ] {
        let mut asked = history.query(&["mac", wrong, "--names"]);
        asked.arg(&names);
        let refused = run(asked);
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
}

#[test]
fn exit_codes() {
    let history = handover();
    let code = |arguments: &[&str]| run(history.query(arguments)).status.code();
    assert_eq!(code(&["ip", ADDRESS]), Some(0));
    let nothing = run(history.query(&["ip", "10.9.9.9"]));
    assert_eq!((nothing.status.code(), &*nothing.stdout), (Some(3), ""));
    assert_eq!(nothing.stderr, "aw-query: no sightings of 10.9.9.9 in the whole history\n");
    for (arguments, searched) in [
        (&["who", "10.9.9.9"][..], "no sightings of 10.9.9.9 in the whole history"),
        (
            &["ip", "fe80::9%eth0", "--to", "2026-11-20 14:05:07"],
            "no sightings of fe80::9 before 2026-11-20 14:05:08 +00:00",
        ),
        (&["mac", "0:1b:21:0:0:2"], "no sightings of 00:1b:21:00:00:02 in the whole history"),
        (
            &["changes", "--since", "2026-11-27 14:05"],
            "no changes since 2026-11-27 14:05 +00:00; its last sighting is of 2026-11-20 17:55 +00:00",
        ),
        (
            &["devices", "--from", "@0", "--to", "@59"],
            "no devices from 1970-01-01 00:00 +00:00 to 1970-01-01 00:01 +00:00; the history begins 2026-11-20 14:00 +00:00",
        ),
        (
            &["mac", "02:00:00:00:00:02", "--from", "2026-11-19", "--to", "2026-11-20 14:30"],
            "no sightings of 02:00:00:00:00:02 from 2026-11-19 00:00 +00:00 to 2026-11-20 14:31 +00:00 (--at TIME shows what was seen before and after a time); the history begins 2026-11-20 14:00 +00:00",
        ),
    ] {
        let nothing = run(history.query(arguments));
        assert_eq!(nothing.status.code(), Some(3), "{arguments:?}");
        assert_eq!(nothing.stderr, format!("aw-query: {searched}\n"));
    }
    for wrong in [
        &[][..],
        &["ip"],
        &["ip", "10.1.2"],
        &["who", ADDRESS, "--at", "noon"],
        &["who", ADDRESS, "--from", "1d"],
        &["ip", ADDRESS, "--at", "1d", "--from", "2d"],
        &["mac", "02:00"],
        &["changes", "--since", "1y"],
        &["devices", "--format", "xml"],
    ] {
        let ended = run(history.query(wrong));
        assert_eq!(ended.status.code(), Some(2), "{wrong:?}: {ended:#?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{wrong:?}: {ended:#?}");
    }
    let help = run(program("aw-query", &["--help"])).ok().stdout;
    for text in ["who", "ip", "mac", "changes", "devices", "contested", "--format", "yesterday"] {
        assert!(help.contains(text), "{text} is not in: {help}");
    }
}

#[test]
fn what_is_no_history_is_refused() {
    let history = History::new();
    run(history.query(&["devices"]))
        .refused("aw-query", &["lan.db: no such file", "start aw-sqlite", "--database"]);
    addrwatch_database(history.database(), []);
    run(history.query(&["devices"])).refused(
        "aw-query",
        &["not a database of aw-sqlite", "aw-sqlite import", "adds a database of addrwatch"],
    );
    fs::write(history.database(), "rubbish".repeat(1000)).unwrap();
    run(history.query(&["devices"])).refused("aw-query", &["file is not a database"]);
    fs::remove_file(history.database()).unwrap();
    let mut pipe = std::process::Command::new("mkfifo");
    pipe.arg(history.database());
    run(pipe).ok();
    let pipe = run(history.query(&["devices"])).refused("aw-query", &["it is a pipe, not a"]);
    assert_eq!(pipe.stderr.matches('(').count(), 1, "one remedy: {}", pipe.stderr);
    fs::remove_file(history.database()).unwrap();
    let newer = "PRAGMA application_id = 1096247401; PRAGMA user_version = 9";
    rusqlite::Connection::open(history.database()).unwrap().execute_batch(newer).unwrap();
    run(history.query(&["devices"])).refused("aw-query", &["of version 9"]);
    let history = handover();
    let file = File::options().write(true).open(history.database()).unwrap();
    for page in 1..file.metadata().unwrap().len() / 4096 {
        file.write_all_at(&[0x5a; 4096], page * 4096).unwrap();
    }
    for question in [&["devices"][..], &["changes"], &["ip", ADDRESS], &["who", ADDRESS]] {
        run(history.query(question)).refused("aw-query", &["malformed", ".recover"]);
    }
}

/// Any content of the database: no panic, and no control characters for a terminal.
#[test]
fn content_is_not_trusted() {
    let history = handover();
    let evil = "PRAGMA foreign_keys = off; UPDATE place SET interface = char(27) || '[2Jx' || char(155) || '31m' || char(10) || char(8238);
        INSERT INTO pairing (address, mac, place, ip) VALUES (x'0a010203', -1, 1, 'x'), (x'0a01020304', 5, 1, 'x'),
            (x'', 7, 1, ''), (x'0a010203', 281474976710656, 1, ''), (x'0a010203', 9, 999, ''), (5, 5, 1, 'x');
        INSERT INTO sighting SELECT id, 9223372036854775807, 99, 0 FROM pairing;
        INSERT INTO sighting SELECT id, -9223372036854775808, -5, 0 FROM pairing;";
    history.open().unwrap().execute_batch(evil).unwrap();
    for format in ["table", "json", "csv"] {
        for question in [
            &["devices"][..],
            &["changes"],
            &["ip", ADDRESS],
            &["who", ADDRESS],
            &["mac", "02:00:00:00:00:01"],
            &["ip", ADDRESS, "--at", "@0"],
        ] {
            let ended = run(history.query(&[question, &["--format", format]].concat())).ok();
            let steers = |c: char| c.is_control() && c != '\n' && !(c == '\r' && format == "csv");
            assert!(!ended.stdout.contains(steers), "{question:?}: {:?}", ended.stdout);
            assert!(!ended.stdout.contains('\u{202e}') && ended.stdout.contains("?[2Jx"));
        }
    }
    let text = "UPDATE place SET vlan = 'seven' WHERE id = 1";
    history.open().unwrap().execute_batch(text).unwrap();
    run(history.query(&["devices"])).refused("aw-query", &["read /"]);
}

/// While it is written, and by a user that may only read it.
#[test]
fn it_only_reads() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..1000);
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() == 999);
    let _lock = history.lock();
    let now = ["who", "10.0.0.7", "--at", "@7"];
    assert_eq!(fields(&history, &now, &["mac", "how_sure"]), ["02:00:00:00:00:07 one-sided"]);
    drop(_lock);
    output.stop().ok();
    if !rustix::process::geteuid().is_root() {
        return skip("it needs root");
    }
    for path in [history.path(), &history.path().join("history")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    chown(history.database(), None, Some(65534)).unwrap();
    let public = aw_tests::rig::public_copy(&["aw-query"]);
    let ask = || {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(public.path().join("aw-query")).arg("--database").arg(history.database());
        command.args(["who", "10.0.0.7", "--at", "@7"]);
        run(command)
    };
    assert!(ask().ok().stdout.contains("02:00:00:00:00:07"));
    chown(history.database(), None, Some(0)).unwrap();
    let me = "lan.db: permission denied (you are nobody"; // plain-words: ok
    ask().refused("aw-query", &[&format!("{me}: use sudo)")]);
    fs::set_permissions(history.path().join("history"), Permissions::from_mode(0o700)).unwrap();
    ask().refused("aw-query", &[&format!("{me}, who may not enter "), "/history: use sudo)"]);
    assert_eq!(fs::read_dir(history.path().join("history")).unwrap().count(), 1);
}

/// Each mistake has what to write in its place, on one line, with status 2.
#[test]
fn mistakes_name_what_to_write() {
    for (line, remedy) in [
        ("device", "unrecognized subcommand 'device' (did you mean `devices`? "),
        ("devices --formt csv", "(did you mean `--format`? aw-query devices --help"),
        ("192.0.2.9", "(write aw-query ip 192.0.2.9; "),
        ("who 02:00:00:00:00:09", "this is a MAC address, use aw-query mac"),
        ("mac 192.0.2.9", "this is an IP address, use aw-query ip"),
        ("who 192.0.2.9 --at yesterday 14:05", "put the time into quotes: --at 'yesterday 14:05'"),
        ("changes --since 2026-02-30", "there is no day 2026-02-30"),
        ("changes --since 25:99", "there is no time of day 25:99"),
        ("nothing-like-it", "'nothing-like-it' (aw-query --help lists the options)"),
    ] {
        let words: Vec<_> = line.split(' ').collect();
        let ended = run(program("aw-query", &words));
        assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
        assert!(ended.stderr.contains(remedy), "{line}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}
