//! Who sent the frame: a forged claim lowers no owner, and names the MAC that sent it. What is no pairing is in no answer.
#![forbid(unsafe_code)]

use aw_tests::frames::{Arp, Ethernet, station};
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{Finished, program, run};
use aw_tests::ring::Ring;
use aw_tests::sightings::{BEGIN, capture_frames};
use std::net::Ipv4Addr;

const OWNER: u32 = 1;
/// It claims that the owner's address is at the MAC of `VICTIM`; and, in the name of a device that is not there, 10.1.2.8.
const ATTACKER: u32 = 9;
const VICTIM: u32 = 2;
const REPEATER: u32 = 7;
const GUEST: u32 = 3;

fn mac(number: u32) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// A claim of an address of 10.1.2. by a MAC, in a frame of a MAC.
fn claim(second: u32, mac: u32, number: u8, source: u32) -> (u32, Vec<u8>) {
    let arp = Arp::request(station(mac), Ipv4Addr::new(10, 1, 2, number), [10, 1, 2, 254].into());
    (BEGIN + second, arp.on(&Ethernet::from(station(source))))
}

/// An hour. The owner claims 10.1.2.1 every five minutes. The attacker claims it for the victim's MAC in between, in frames
/// of its own. A repeater sends all frames of a guest, who has 10.1.2.3.
fn frames() -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    for minute in (0..60).step_by(5) {
        frames.push(claim(60 * minute, OWNER, 1, OWNER));
        frames.push(claim(60 * minute + 1, VICTIM, 2, VICTIM));
        frames.push(claim(60 * minute + 60, VICTIM, 1, ATTACKER));
        frames.push(claim(60 * minute + 120, VICTIM, 1, ATTACKER));
        frames.push(claim(60 * minute + 180, GUEST, 3, REPEATER));
    }
    frames
}

fn ring() -> Ring {
    let ring = Ring::new();
    capture_frames(&ring, frames());
    ring
}

fn history() -> History {
    let (ring, history) = (ring(), History::new());
    run(history.command(&ring, &["--once"])).ok();
    history
}

const WHO: [&str; 5] = ["mac", "how_sure", "others", "frame_sources", "ring"];

#[test]
fn a_forged_claim_names_its_sender() {
    let history = history();
    let at = format!("@{}", BEGIN + 1890);
    let who = |ip: &str| history.answers(&["who", ip, "--at", &at], &WHO[..4]);
    let (attacker, repeater) = (mac(ATTACKER), mac(REPEATER));
    // The owner stays what it is, and is first, although the forged claims are nearer.
    assert_eq!(
        who("10.1.2.1"),
        [
            format!("{} sure 0 []", mac(OWNER)),
            format!("{} contested 1 [\"{attacker}\"]", mac(VICTIM)),
        ]
    );
    assert_eq!(who("10.1.2.2"), [format!("{} sure 0 []", mac(VICTIM))]);
    // The frames of a repeater are no forgery: no other MAC claims the address.
    assert_eq!(who("10.1.2.3"), [format!("{} sure 0 [\"{repeater}\"]", mac(GUEST))]);
    let text = |ip: &str| run(history.query(&["who", ip, "--at", &at])).ok().stdout;
    let forged =
        format!("only sent by {attacker}; another MAC had the address: forged, or forwarded");
    assert!(text("10.1.2.1").contains(&forged), "{}", text("10.1.2.1"));
    assert!(text("10.1.2.3").contains(&format!("; only sent by {repeater}")));
}

/// Neither the victim's address nor a change: the claims are left out, and a remark has their number.
#[test]
fn a_forged_claim_is_no_period() {
    let history = history();
    let ip = ["mac", "count", "frame_sources"];
    assert_eq!(history.answers(&["ip", "10.1.2.1"], &ip), [format!("{} 12 []", mac(OWNER))]);
    let remark = run(history.query(&["ip", "10.1.2.1"])).ok().stderr;
    assert!(
        remark.contains("24 claims are left out, because another MAC sent their frames"),
        "{remark}"
    );
    let guest = format!("{} 12 [\"{}\"]", mac(GUEST), mac(REPEATER));
    assert_eq!(history.answers(&["ip", "10.1.2.3"], &ip), [guest]);
    let table = run(history.query(&["ip", "10.1.2.3"])).ok().stdout;
    assert!(table.contains("FRAME SOURCES") && table.contains(&mac(REPEATER)), "{table}");
    // A row with its mark and its sender, as `who` has.
    let changes = history.answers(&["changes"], &["change", "address", "mac", "frame_sources"]);
    let new = |ip: u8, owner| format!("new 10.1.2.{ip} {} []", mac(owner));
    let forged = format!("forged or forwarded 10.1.2.1 {} [\"{}\"]", mac(VICTIM), mac(ATTACKER));
    let repeated = format!("new 10.1.2.3 {} [\"{}\"]", mac(GUEST), mac(REPEATER));
    assert_eq!(changes, [new(1, OWNER), new(2, VICTIM), forged, repeated]);
    let devices = history.answers(&["devices"], &["mac", "addresses", "frame_sources"]);
    let victim = format!("{} [\"10.1.2.2\"] [\"{}\"]", mac(VICTIM), mac(ATTACKER));
    assert!(devices.contains(&victim), "{devices:?}");
    assert_eq!(history.answers(&["mac", &mac(VICTIM)], &["address"]), ["10.1.2.2"]);
}

/// Nothing else claims the address for ten minutes: then the claim counts, with its mark.
#[test]
fn an_owner_that_was_not_seen() {
    let (ring, history) = (Ring::new(), History::new());
    let forged = |second| claim(second, VICTIM, 1, ATTACKER);
    capture_frames(&ring, [claim(0, OWNER, 1, OWNER), forged(60), forged(2000), forged(2060)]);
    run(history.command(&ring, &["--once"])).ok();
    let at = format!("@{}", BEGIN + 2030);
    let found = history.answers(&["who", "10.1.2.1", "--at", &at], &WHO[..4]);
    assert_eq!(found, [format!("{} sure 0 [\"{}\"]", mac(VICTIM), mac(ATTACKER))]);
    // The sender is a host of its own: the victim is not to be blamed with certainty.
    let ring = Ring::new();
    capture_frames(&ring, [claim(0, ATTACKER, 9, ATTACKER)]);
    run(history.command(&ring, &["--once"])).ok();
    let found = history.answers(&["who", "10.1.2.1", "--at", &at], &WHO[..4]);
    assert_eq!(found, [format!("{} likely 0 [\"{}\"]", mac(VICTIM), mac(ATTACKER))]);
    let table = run(history.query(&["who", "10.1.2.1", "--at", &at])).ok().stdout;
    assert!(table.contains("which has addresses itself"), "{table}");
}

/// A repeater sends all frames of a guest, for two days. Then another MAC claims the guest's address, in frames of its own.
fn takeover_behind_a_repeater() -> Ring {
    let ring = Ring::new();
    let hours = (0..48).map(|hour| claim(3600 * hour, GUEST, 3, REPEATER));
    let both = (0..12).flat_map(|n| {
        let second = 48 * 3600 + 300 * n;
        [claim(second, GUEST, 3, REPEATER), claim(second + 60, ATTACKER, 3, ATTACKER)]
    });
    capture_frames(&ring, hours.chain(both).collect::<Vec<_>>());
    ring
}

const BEHIND_A_REPEATER: u32 = BEGIN + 48 * 3600 + 1890;

/// The guest is not declared to be forged, and the other one not to be sure.
#[test]
fn a_guest_behind_a_repeater_keeps_its_address() {
    let (ring, history) = (takeover_behind_a_repeater(), History::new());
    run(history.command(&ring, &["--once"])).ok();
    let at = format!("@{BEHIND_A_REPEATER}");
    let found = history.answers(&["who", "10.1.2.3", "--at", &at], &WHO[..4]);
    let mut expected = [
        format!("{} contested 1 [\"{}\"]", mac(GUEST), mac(REPEATER)),
        format!("{} contested 1 []", mac(ATTACKER)),
    ];
    expected.sort();
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    let since = format!("@{}", BEGIN + 48 * 3600);
    for range in [&["ip", "10.1.2.3"][..], &["ip", "10.1.2.3", "--since", &since]] {
        let macs = history.answers(range, &["mac"]);
        assert_eq!(macs, [mac(GUEST), mac(ATTACKER)], "{range:?}");
    }
}

#[test]
fn a_guest_behind_a_repeater_in_a_server() {
    let Some(server) = MariaDb::start(&[]) else { return };
    run(server.command(&takeover_behind_a_repeater(), &["--once"])).ok();
    let at = format!("@{BEHIND_A_REPEATER}");
    let who = asked(&server, &["who", "10.1.2.3", "--at", &at, "--format", "csv"]).ok().stdout;
    assert_eq!(who.matches(",contested,").count(), 2, "{who}");
}

/// A database of an earlier release, with its rows: the column is added, and a pairing may be in it once for each sender.
#[test]
fn a_database_of_an_earlier_release() {
    let history = history();
    let before = history.rows("addrwatch");
    let old = "
        CREATE TABLE older (id INTEGER PRIMARY KEY, address BLOB NOT NULL, mac INTEGER NOT NULL,
            place INTEGER NOT NULL REFERENCES place, ip TEXT NOT NULL, UNIQUE (address, mac, place));
        INSERT INTO older SELECT id, address, mac, place, ip FROM pairing;
        PRAGMA foreign_keys = off; PRAGMA legacy_alter_table = on;
        DROP TABLE pairing; ALTER TABLE older RENAME TO pairing;
        CREATE INDEX pairing_of_mac ON pairing (mac, ip)";
    history.open().unwrap().execute_batch(old).unwrap();
    // It is read as it is: its claims are all of their own frames.
    let at = format!("@{}", BEGIN + 1890);
    let who = |names: &[&str]| history.answers(&["who", "10.1.2.1", "--at", &at], names);
    assert!(who(&["how_sure", "frame_sources"]).iter().all(|row| row == "contested []"));
    let ring = Ring::new();
    capture_frames(&ring, frames().into_iter().map(|(second, frame)| (second + 7200, frame)));
    run(history.command(&ring, &["--once"])).ok();
    let after = history.rows("addrwatch");
    assert_eq!(after.len(), 2 * before.len());
    assert!(before.iter().all(|row| after.contains(row)));
    let at = format!("@{}", BEGIN + 7200 + 1890);
    let forged = history.answers(&["who", "10.1.2.1", "--at", &at], &WHO);
    let forged: Vec<&String> = forged.iter().filter(|row| row.ends_with(ring.name())).collect();
    assert!(forged[0].starts_with(&format!("{} sure", mac(OWNER))), "{forged:?}");
    assert!(forged[1].contains(&format!("[\"{}\"]", mac(ATTACKER))), "{forged:?}");
    assert_eq!(history.value::<String>("PRAGMA integrity_check").as_deref(), Some("ok"));
}

/// A MAC that no host has, and forms that hosts ignore: stored, and in no answer; a remark has their number.
#[test]
fn no_pairing_at_all() {
    let (ring, history) = (Ring::new(), History::new());
    capture_frames(&ring, (0..12).map(|n| claim(300 * n, OWNER, 1, OWNER)));
    run(history.command(&ring, &["--once"])).ok();
    let rows = format!(
        "INSERT INTO pairing (address, mac, place, ip) SELECT x'0a010201', 281474976710655, id, '10.1.2.1' FROM place;
        INSERT INTO pairing (address, mac, place, ip) SELECT x'0a010201', 5, id, '10.1.2.1' FROM place;
        INSERT INTO sighting SELECT id, {BEGIN}000000000 + 600000000000, 12, 0 FROM pairing WHERE mac = 281474976710655;
        INSERT INTO sighting SELECT id, {BEGIN}000000000 + 600000000000, 14, 0 FROM pairing WHERE mac = 5;"
    );
    history.open().unwrap().execute_batch(&rows).unwrap();
    assert_eq!(history.count(), 14);
    let at = format!("@{}", BEGIN + 600);
    let only = [mac(OWNER)];
    assert_eq!(history.answers(&["who", "10.1.2.1", "--at", &at], &["mac"]), only);
    assert_eq!(history.answers(&["ip", "10.1.2.1"], &["mac"]), only);
    assert_eq!(history.answers(&["changes"], &["mac"]), only);
    assert_eq!(history.answers(&["devices"], &["mac"]), only);
    for none in ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:05"] {
        assert_eq!(run(history.query(&["mac", none])).status.code(), Some(3), "{none}");
    }
    let remark = run(history.query(&["ip", "10.1.2.1"])).ok().stderr;
    assert!(
        remark.contains("2 messages are left out, because they name a MAC that no host has"),
        "{remark}"
    );
}

const FULL: [&str; 5] = ["mac", "count", "frame_sources", "left_out", "address"];

/// All that an attacker does: `ip` and `mac` list what they leave out, with its sender.
#[test]
fn what_is_left_out_is_listed() {
    let history = history();
    let frames = [
        (
            BEGIN + 7,
            Arp::request([0xff; 6], [10, 1, 2, 1].into(), [10, 1, 2, 1].into())
                .on(&Ethernet::from(station(ATTACKER))),
        ),
        (
            BEGIN + 8,
            Arp::request([0xff; 6], [10, 1, 2, 77].into(), [10, 1, 2, 77].into())
                .on(&Ethernet::from(station(ATTACKER))),
        ),
        claim(9, ATTACKER, 9, ATTACKER),
    ];
    let ring = Ring::new();
    capture_frames(&ring, frames);
    run(history.command(&ring, &["--once"])).ok();
    let attacker = mac(ATTACKER);
    let none = "ff:ff:ff:ff:ff:ff";
    let forged = format!("{} 24 [\"{attacker}\"] claim sent by another MAC 10.1.2.1", mac(VICTIM));
    let no_host = |ip| format!("{none} 1 [\"{attacker}\"] MAC that no host has 10.1.2.{ip}");
    let owner = format!("{} 12 [] null 10.1.2.1", mac(OWNER));
    let victim = format!("{} 12 [] null 10.1.2.2", mac(VICTIM));
    let all = |question: &[&str]| history.answers(&[question, &["--all"]].concat(), &FULL);
    assert_eq!(all(&["ip", "10.1.2.1"]), [owner, no_host(1), forged.clone()]);
    assert_eq!(all(&["mac", &mac(VICTIM)]), [victim, forged.clone()]);
    let own = format!("{attacker} 1 [] null 10.1.2.9");
    assert_eq!(all(&["mac", &attacker]), [no_host(1), no_host(77), own, forged]);
    assert_eq!(all(&["mac", none]), [no_host(1), no_host(77)]);
    let table = run(history.query(&["mac", none, "--all"])).ok().stdout;
    assert!(table.contains("LEFT OUT") && table.contains("2026-11-20 14:00:07 +00:00"), "{table}");
    // Without it, a remark has the number and the sender; also if nothing else is found.
    let remark = |question: &[&str]| run(history.query(question)).stderr;
    let left_out = format!(
        "24 claims are left out, because another MAC sent their frames while the owner claimed the address itself: {attacker} (`ip` and `mac` with --all list them)"
    );
    for question in [&["mac", &mac(VICTIM)][..], &["devices"]] {
        assert!(remark(question).contains(&left_out), "{}", remark(question));
    }
    // `changes` lists them, so it has no remark.
    assert_eq!(remark(&["changes"]), "");
    let no_claims = remark(&["mac", none]);
    assert!(
        no_claims.contains(&format!("no claims of {none} that count in the whole history")),
        "{no_claims}"
    );
    assert!(no_claims.contains(&format!("2 messages are left out, because they name a MAC that no host has, or have a form that hosts ignore: sent by {attacker}")), "{no_claims}");
    for question in ["ip", "who"] {
        let no_claims = remark(&[question, "10.1.2.77"]);
        assert!(no_claims.contains("no claims of 10.1.2.77 that count"), "{no_claims}");
        assert!(
            no_claims.contains("1 message is left out, because it names a MAC that no host has"),
            "{no_claims}"
        );
    }
}

/// Any number of pairings may be in the database: which of them a MAC sent is not searched in all of them.
#[test]
fn what_a_mac_sent_has_an_index() {
    let history = history();
    let plan =
        "EXPLAIN QUERY PLAN SELECT DISTINCT address FROM pairing WHERE source = 1 AND source >= 0";
    let plan = history.open().unwrap().query_row(plan, [], |row| row.get::<_, String>(3)).unwrap();
    assert!(plan.contains("USING COVERING INDEX pairing_of_source"), "{plan}");
}

/// What only others sent in the name of a MAC, and a MAC that only sends in other names.
#[test]
fn no_sightings_is_not_said_of_what_was_sent() {
    let (ring, history) = (Ring::new(), History::new());
    capture_frames(&ring, [claim(0, OWNER, 1, OWNER), claim(60, VICTIM, 1, ATTACKER)]);
    run(history.command(&ring, &["--once"])).ok();
    let victim = run(history.query(&["mac", &mac(VICTIM)]));
    assert_eq!(victim.status.code(), Some(3));
    assert_eq!(
        victim.stderr,
        format!(
            "aw-query: no claims of {} that count in the whole history\n\
             aw-query: 1 claim is left out, because another MAC sent its frame while the owner claimed the address itself: {} (`ip` and `mac` with --all list them)\n",
            mac(VICTIM),
            mac(ATTACKER)
        )
    );
    let attacker = run(history.query(&["mac", &mac(ATTACKER)]));
    assert_eq!(attacker.status.code(), Some(3));
    assert!(
        attacker.stderr.contains("it sent frames with claims of other MACs (--all lists them)"),
        "{}",
        attacker.stderr
    );
}

/// An attacker that names many MACs makes no answer longer than that, and does not hide the one that is known, however often it
/// names the others.
#[test]
fn many_forged_claims_are_counted() {
    let (ring, history) = (Ring::new(), History::new());
    let many = (0..120).map(|number| claim(10 + number, 100 + number % 40, 1, ATTACKER));
    let own = [claim(0, OWNER, 1, OWNER), claim(1, VICTIM, 2, VICTIM)];
    let last = [claim(140, VICTIM, 1, ATTACKER), claim(150, OWNER, 1, OWNER)];
    capture_frames(&ring, own.into_iter().chain(many).chain(last));
    run(history.command(&ring, &["--once"])).ok();
    let rows = history.answers(&["changes"], &["change", "mac"]);
    let forged = |row: &&String| row.starts_with("forged or forwarded ");
    assert_eq!(rows.iter().filter(forged).count(), 16, "{rows:?}");
    for shown in [VICTIM, 100, 114] {
        assert!(rows.contains(&format!("forged or forwarded {}", mac(shown))), "{rows:?}");
    }
    let remark = run(history.query(&["changes"])).ok().stderr;
    assert!(
        remark.contains("75 claims are left out, because another MAC sent their frames"),
        "{remark}"
    );
}

/// Nor does one whose made-up MACs claim an address each in frames of their own, and are forged first.
#[test]
fn made_up_macs_with_claims_hide_no_forged_one() {
    let (ring, history) = (Ring::new(), History::new());
    let own = [claim(0, OWNER, 1, OWNER), claim(1, VICTIM, 2, VICTIM)];
    let planted = (0..20).map(|n| claim(2, 100 + n, 50 + n as u8, 100 + n));
    let forged = (0..20).map(|n| claim(10 + n, 100 + n, 1, ATTACKER));
    let last =
        [claim(40, VICTIM, 1, ATTACKER), claim(45, VICTIM, 2, VICTIM), claim(50, OWNER, 1, OWNER)];
    capture_frames(&ring, own.into_iter().chain(planted).chain(forged).chain(last));
    run(history.command(&ring, &["--once"])).ok();
    let whole: &[&str] = &["changes"];
    let since = format!("@{}", BEGIN + 2);
    for question in [whole, &["changes", "--since", &since]] {
        let rows = history.answers(question, &["change", "mac"]);
        let forged = rows.iter().filter(|row| row.starts_with("forged or forwarded "));
        assert_eq!(forged.count(), 16, "{rows:?}");
        let victim = format!("forged or forwarded {}", mac(VICTIM));
        assert!(rows.contains(&victim), "{question:?}: {rows:?}");
    }
}

/// Nor does one that forges claims of many addresses: each has a row, and first of all those that name a known MAC.
#[test]
fn forged_claims_of_many_addresses_are_counted() {
    let (ring, history) = (Ring::new(), History::new());
    let own = (1..=30).map(|ip| claim(0, ip.into(), ip, ip.into()));
    let many = (0..480_u32).map(|number| claim(10, 100 + number, 1 + (number % 30) as u8, 99));
    let known = (1..=30).map(|ip| claim(20, (1 + ip % 30).into(), ip, 99));
    capture_frames(&ring, own.chain(many).chain(known));
    run(history.command(&ring, &["--once"])).ok();
    let rows = history.answers(&["changes"], &["change", "address", "mac"]);
    let forged: Vec<_> = rows.iter().filter(|row| row.starts_with("forged")).collect();
    assert_eq!(forged.len(), 256, "{rows:?}");
    for ip in 1..=30_u32 {
        let expected = format!("forged or forwarded 10.1.2.{ip} {}", mac(1 + ip % 30));
        assert!(forged.contains(&&expected), "{expected}: {rows:?}");
    }
    let remark = run(history.query(&["changes"])).ok().stderr;
    assert!(remark.contains("254 claims are left out"), "{remark}");
}

/// Right after a takeover, in frames of its own, both MACs have a row, and who was first is first; forged claims after it have a
/// row of their own.
#[test]
fn right_after_a_takeover() {
    let (ring, history) = (Ring::new(), History::new());
    let frames = [
        claim(0, OWNER, 1, OWNER),
        claim(17, ATTACKER, 1, ATTACKER),
        claim(19, VICTIM, 1, ATTACKER),
    ];
    capture_frames(&ring, frames);
    run(history.command(&ring, &["--once"])).ok();
    let at = format!("@{}", BEGIN + 21);
    let why = |at: &str| {
        history.answers(&["who", "10.1.2.1", "--at", at], &["mac", "how_sure", "others", "why"])
    };
    assert_eq!(
        why(&at),
        [
            format!(
                "{} contested 1 seen 21 s before, not since; other MACs at that time: 1; first claimed it 21 s before",
                mac(OWNER)
            ),
            format!(
                "{} contested 1 seen 4 s before, not since; other MACs at that time: 1; first claimed it 4 s before",
                mac(ATTACKER)
            ),
            format!(
                "{} contested 2 seen 2 s before, not since; only sent by {}; another MAC had the address: forged, or forwarded",
                mac(VICTIM),
                mac(ATTACKER)
            ),
        ]
    );
    // Longer ago than what counts as near.
    let later = format!("@{}", BEGIN + 601);
    assert_eq!(
        why(&later)[0],
        format!("{} one-sided 0 seen 9 min 44 s before, not since", mac(ATTACKER))
    );
}

/// Frames that an attacker sends in the name of a device make it neither seen later nor more often.
#[test]
fn devices_without_forged_claims() {
    let (ring, history) = (Ring::new(), History::new());
    let owner = (0..60).map(|minute| claim(60 * minute, OWNER, 1, OWNER));
    let forged = (10..50).map(|minute| claim(60 * minute + 1, VICTIM, 1, ATTACKER));
    let made_up = (10..50).map(|minute| claim(60 * minute + 2, 5, 1, ATTACKER));
    let mut frames: Vec<_> = owner.chain(forged).chain(made_up).collect();
    frames.extend([claim(3, VICTIM, 2, VICTIM), claim(100, GUEST, 3, REPEATER)]);
    frames.sort_by_key(|(second, _)| *second);
    capture_frames(&ring, frames);
    run(history.command(&ring, &["--once"])).ok();
    let devices =
        history.answers(&["devices", "--count"], &["mac", "last_seen", "count", "addresses"]);
    let row = |number, time: &str, count, addresses: &str| {
        format!("{} 2026-11-20T14:{time}.000000000+00:00 {count} {addresses}", mac(number))
    };
    // The made-up MAC has nothing else.
    let expected = [
        row(OWNER, "59:00", 60, "[\"10.1.2.1\"]"),
        row(5, "49:02", 40, "[]"),
        row(GUEST, "01:40", 1, "[\"10.1.2.3\"]"),
        row(VICTIM, "00:03", 1, "[\"10.1.2.2\"]"),
    ];
    assert_eq!(devices, expected);
    let remark = run(history.query(&["devices"])).ok().stderr;
    assert!(remark.contains("80 claims are left out"), "{remark}");
}

fn asked(server: &MariaDb, arguments: &[&str]) -> Finished {
    let mut query = program("aw-query", &["-c", server.config("").to_str().unwrap()]);
    query.args(arguments).env("TZ", "UTC");
    run(query)
}

const SENT: &str =
    "SELECT hex(mac_address), hex(frame_source), count(*) FROM log GROUP BY 1, 2 ORDER BY 1, 2";
const ROWS: &str = "020000000001\tNULL\t12\n020000000002\tNULL\t12\n020000000002\t020000000009\t24\n\
    020000000003\t020000000007\t12\n";

/// The same in a server's table, and programs for addrwatch's table do not see the column.
#[test]
fn in_a_server() {
    let Some(server) = MariaDb::start(&[]) else { return };
    run(server.command(&ring(), &["--once"])).ok();
    assert_eq!(server.sql(SENT), ROWS);
    assert_eq!(server.sql("SELECT * FROM log LIMIT 1").split('\t').count(), 7);
    let at = format!("@{}", BEGIN + 1890);
    let who = asked(&server, &["who", "10.1.2.1", "--at", &at, "--format", "csv"]).ok().stdout;
    let sources: Vec<&str> = who.lines().skip(1).collect();
    assert!(sources[0].starts_with(&mac(OWNER)) && sources[0].contains(",sure,"), "{who}");
    assert!(sources[1].contains(",contested,") && sources[1].contains(&mac(ATTACKER)), "{who}");
    let ip = asked(&server, &["ip", "10.1.2.1", "--format", "csv"]).ok();
    assert_eq!(ip.stdout.lines().count(), 2, "{}", ip.stdout);
    assert!(ip.stderr.contains("24 claims are left out"), "{}", ip.stderr);
    // To the last byte; the server does not have the ring.
    let (ring, history) = (ring(), History::new());
    run(history.command(&ring, &["--once"])).ok();
    for question in [
        &["ip", "10.1.2.1", "--all"][..],
        &["ip", "10.1.2.3", "--all"],
        &["mac", &mac(VICTIM)],
        &["mac", &mac(VICTIM), "--all"],
        &["mac", &mac(ATTACKER)],
        &["mac", &mac(ATTACKER), "--all"],
        &["who", "10.1.2.1", "--at", &at],
        &["who", "10.1.2.1", "--at", &format!("@{}", BEGIN + 3599)],
        &["changes"],
        &["devices"],
        &["devices", "--count"],
    ] {
        for format in ["table", "csv"] {
            let question = [question, &["--format", format]].concat();
            let (ours, theirs) = (run(history.query(&question)), asked(&server, &question));
            let ours_out = ours.stdout.replace(&format!(",{},", ring.name()), ",,");
            assert_eq!((ours_out, ours.stderr), (theirs.stdout, theirs.stderr), "{question:?}");
        }
    }
}

/// addrwatch's own table: the column is added where the user may do that, without a copy of the table. Otherwise the rows are
/// stored without it, and a message says how to add it.
#[test]
fn a_table_that_exists() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name} (tstamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, hostname VARCHAR(255) NOT NULL,
            interface VARCHAR(16) NOT NULL, vlan_tag INT NOT NULL DEFAULT 0, mac_address BINARY(6) NOT NULL,
            ip_address VARBINARY(16) NOT NULL, origin_id INT NOT NULL) ENGINE = InnoDB"
        )
    };
    server.sql(&table("log"));
    run(server.command(&ring(), &["--once"])).ok();
    assert_eq!(server.sql(SENT), ROWS);
    server
        .sql("INSERT INTO log VALUES (now(), 'theirs', 'eth0', 0, 0x020000000001, 0x0a010201, 0)");
    // An engine that cannot add a column at once.
    server.sql(&table("old_log").replace("InnoDB", "MyISAM"));
    let ended = run(server.command(&ring(), &["--once", "-p", "old_"])).ok();
    assert!(
        ended.stderr.contains("ALTER TABLE `old_log` ADD COLUMN frame_source"),
        "{}",
        ended.stderr
    );
    assert_eq!(server.sql("SELECT count(*) FROM old_log"), "60\n");
    let at = format!("@{}", BEGIN + 1890);
    let who = asked(&server, &["-p", "old_", "who", "10.1.2.1", "--at", &at]).ok();
    assert!(who.stdout.contains("contested"), "{}", who.stdout);
}
