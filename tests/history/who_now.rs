//! `aw-query who` about now, and where the record ends: nothing comes after the time of the question.
#![forbid(unsafe_code)]

use aw_tests::frames::{Arp, DOT1Q, Ethernet, station};
use aw_tests::history::{History, without_silence};
use aw_tests::lan::Lan;
use aw_tests::listening::quiet;
use aw_tests::mariadb::MariaDb;
use aw_tests::neighbor::{Neighbor, OVERRIDE, SOLICITED};
use aw_tests::rig::{program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{BEGIN, address6, capture_frames};

const OWNER: u32 = 1;
const ATTACKER: u32 = 9;
const VICTIM: u32 = 2;

fn mac(number: u32) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

/// A claim of 10.1.2.3 by a MAC, in a frame of a MAC.
fn claim(second: u32, mac: u32, source: u32) -> (u32, Vec<u8>) {
    let arp = Arp::request(station(mac), [10, 1, 2, 3].into(), [10, 1, 2, 254].into());
    (BEGIN + second, arp.on(&Ethernet::from(station(source))))
}

const FIELDS: [&str; 3] = ["mac", "how_sure", "others"];

fn contested(macs: [u32; 2]) -> Vec<String> {
    macs.map(|number| format!("{} contested 1", mac(number))).to_vec()
}

/// Two MACs claim an address in turn, live. The answer about now has both, at once, and the first one of them first; forged
/// claims in the name of a third one make no difference to them.
#[test]
fn a_flip_flop_now() {
    let Some(lan) = Lan::new() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let collector = quiet(&lan.here, &ring, &[], &[]);
    let output = history.start(&ring, &[]);
    let send = |number: u32, source: u32| {
        lan.there.scapy(
            "veth1",
            &format!(
                "send(Ether(src='{}', dst='ff:ff:ff:ff:ff:ff')/ARP(hwsrc='{}', psrc='10.1.2.3', pdst='10.1.2.254'))",
                mac(source),
                mac(number)
            ),
        );
    };
    let who = || history.answers(&["who", "10.1.2.3"], &FIELDS);
    send(OWNER, OWNER);
    wait_until("the owner is seen", || who() == [format!("{} one-sided 0", mac(OWNER))]);
    for number in [ATTACKER, OWNER, ATTACKER] {
        send(number, number);
    }
    wait_until("both are shown", || who() == contested([OWNER, ATTACKER]));
    wait_until("all are stored", || history.count() == 4);
    assert_eq!(who(), contested([OWNER, ATTACKER]));
    let table = run(history.query(&["who", "10.1.2.3"])).ok().stdout;
    assert_eq!(table.matches("contested").count(), 2, "{table}");
    assert!(table.contains("; first claimed it "), "{table}");
    send(VICTIM, ATTACKER);
    let forged = format!("{} contested 2", mac(VICTIM));
    let with_forged = || [contested([OWNER, ATTACKER]), vec![forged.clone()]].concat();
    wait_until("the forged claim is a row of its own", || who() == with_forged());
    output.stop().ok();
    collector.stop().ok();
}

/// The same from SQLite and from a server, in all forms: after the last sighting, before the first one, and within the record.
#[test]
fn all_readers_agree() {
    let (ring, history) = (Ring::new(), History::new());
    let mut frames = vec![claim(0, ATTACKER, ATTACKER), claim(2, OWNER, OWNER)];
    frames.extend((0..20).map(|minute| claim(1000 + 60 * minute, OWNER, OWNER)));
    frames.extend((0..3).map(|turn| claim(2150 + 2 * turn, ATTACKER, ATTACKER)));
    frames.extend((0..3).map(|turn| claim(2151 + 2 * turn, VICTIM, ATTACKER)));
    capture_frames(&ring, frames);
    run(history.command(&ring, &["--once"])).ok();
    let at = |seconds: i64| format!("@{}", i64::from(BEGIN) + seconds);
    let who = |seconds| history.answers(&["who", "10.1.2.3", "--at", &at(seconds)], &FIELDS);
    let with_forged =
        |rows: Vec<String>| [rows, vec![format!("{} contested 2", mac(VICTIM))]].concat();
    assert_eq!(who(2160), with_forged(contested([ATTACKER, OWNER])));
    assert_eq!(who(-5), contested([ATTACKER, OWNER]), "before the first one");
    assert_eq!(who(300), contested([ATTACKER, OWNER]), "before a gap");
    assert_eq!(who(1500), [format!("{} sure 0", mac(OWNER))], "within the record");
    assert_eq!(who(2760), [format!("{} one-sided 0", mac(ATTACKER))], "long after it");
    let why = history.answers(&["who", "10.1.2.3", "--at", &at(2160)], &["why"]);
    assert_eq!(
        why[..2],
        [
            "seen 6 s before, not since; other MACs at that time: 1; first claimed it 36 min 0 s before",
            "seen 20 s before, not since; other MACs at that time: 1; first claimed it 35 min 58 s before",
        ]
    );
    let Some(server) = MariaDb::start(&[]) else { return };
    run(server.command(&ring, &["--once"])).ok();
    for seconds in [2160, -5, 300, 1500, 2760] {
        for format in ["table", "csv", "json"] {
            let at = at(seconds);
            let question = ["who", "10.1.2.3", "--at", &at, "--format", format];
            let ours = run(history.query(&question)).ok().stdout;
            let mut query = program("aw-query", &["-c", server.config("").to_str().unwrap()]);
            let theirs = run({
                query.args(question).env("TZ", "UTC");
                query
            });
            // The server has no ring.
            let ours =
                ours.replace(&format!("\"{}\"", ring.name()), "null").replace(ring.name(), "");
            let [ours, theirs] = without_silence(&ours, &theirs.ok().stdout);
            assert_eq!(ours, theirs, "{seconds} {format}");
        }
    }
}

/// A machine whose clock does not run begins in 1970 with each boot: who claims the address then was not first for that.
#[test]
fn claims_before_the_clock_was_set() {
    let (ring, history) = (Ring::new(), History::new());
    let in_1970 = (30, claim(0, ATTACKER, ATTACKER).1);
    capture_frames(&ring, [in_1970, claim(0, OWNER, OWNER), claim(5, ATTACKER, ATTACKER)]);
    run(history.command(&ring, &["--once"])).ok();
    let at = format!("@{}", BEGIN + 10);
    let question = ["who", "10.1.2.3", "--at", &at];
    assert_eq!(history.answers(&question, &FIELDS), contested([OWNER, ATTACKER]));
    let why = history.answers(&question, &["why"]);
    assert!(why[0].ends_with("; first claimed it 10 s before"), "{why:?}");
    assert!(why[1].ends_with("; first claimed it 5 s before"), "{why:?}");
    let Some(server) = MariaDb::start(&[]) else { return };
    run(server.command(&ring, &["--once"])).ok();
    let mut query = program("aw-query", &["-c", server.config("").to_str().unwrap()]);
    query.args(question).args(["--format", "csv"]).env("TZ", "UTC");
    let theirs = run(query).ok().stdout;
    let macs: Vec<_> = theirs.lines().skip(1).map(|row| row.contains(&mac(OWNER))).collect();
    assert_eq!(macs, [true, false], "{theirs}");
}

/// An attacker claims an IPv6 address, and its owner, whose claim is hours ago, only answers as hosts do to a unicast question:
/// without a MAC in the message (RFC 4861, 4.4).
#[test]
fn an_owner_that_only_answers() {
    let (ring, history, ip) = (Ring::new(), History::new(), address6(6));
    let claim = |second, number: u32| {
        let mac = station(number);
        (BEGIN + second, Neighbor::advertise(mac, ip).frame(mac))
    };
    let answer = Neighbor {
        destination: address6(1),
        flags: SOLICITED | OVERRIDE,
        options: Vec::new(),
        ..Neighbor::advertise(station(OWNER), ip)
    };
    let answer = (BEGIN + 9_010, answer.frame(station(OWNER)));
    let attacks = [claim(8_970, ATTACKER), claim(8_990, ATTACKER)];
    capture_frames(&ring, [claim(0, OWNER)].into_iter().chain(attacks).chain([answer]));
    run(history.command(&ring, &["--once"])).ok();
    let (ip, at) = (ip.to_string(), format!("@{}", BEGIN + 9_020));
    let question = ["who", &ip, "--at", &at];
    assert_eq!(history.answers(&question, &FIELDS), contested([OWNER, ATTACKER]));
    let Some(server) = MariaDb::start(&[]) else { return };
    run(server.command(&ring, &["--once"])).ok();
    let mut query = program("aw-query", &["-c", server.config("").to_str().unwrap()]);
    query.args(question).args(["--format", "csv"]).env("TZ", "UTC");
    let theirs = run(query).ok().stdout;
    let rows: Vec<_> = theirs.lines().skip(1).collect();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.contains("contested")), "{theirs}");
    assert!(rows[0].contains(&mac(OWNER)) && rows[1].contains(&mac(ATTACKER)), "{theirs}");
}

/// Made-up MACs can make the answer contested. They cannot remove the owner from it, nor be shown before it.
#[test]
fn made_up_macs_now() {
    let (ring, history) = (Ring::new(), History::new());
    let owner = [claim(0, OWNER, OWNER), claim(90_000, OWNER, OWNER)];
    let made_up = (0..1_000).map(|number| claim(90_010, 0x1_0000 + number, 0x1_0000 + number));
    capture_frames(&ring, owner.into_iter().chain(made_up));
    run(history.command(&ring, &["--once"])).ok();
    let at = format!("@{}", BEGIN + 90_020);
    let rows = history.answers(&["who", "10.1.2.3", "--at", &at], &FIELDS);
    assert_eq!((&*rows[0], rows.len()), (&*format!("{} contested 1000", mac(OWNER)), 64));
    let table = run(history.query(&["who", "10.1.2.3", "--at", &at])).ok().stdout;
    assert!(
        table.contains("other MACs at that time: 1000; first claimed it 1 d 1 h before"),
        "{table}"
    );
}

/// What the ring has and the database does not have yet: an answer that lacks some of it says so, with the MAC, and no other one does. What it has
/// already is not said again, a probe is no use, and another network is another one.
#[test]
fn what_is_not_stored_yet() {
    let (ring, history) = (Ring::new(), History::new());
    let arp = |second: u32, number: u32, last: u8| {
        (second, Arp::request(station(number), [10, 1, 2, last].into(), [10, 1, 2, 254].into()))
    };
    let add = |frames: &[(u32, Arp)], tag: Option<u16>| {
        let frame = |(second, arp): &(u32, Arp)| {
            let ethernet = Ethernet::from(arp.sender_mac);
            (*second, arp.on(&tag.map_or(ethernet.clone(), |vlan| ethernet.tag(DOT1Q, vlan))))
        };
        capture_frames(&ring, frames.iter().map(frame));
    };
    let store = || run(history.command(&ring, &["--once"])).ok();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let owner = mac(OWNER);
    let lacking = |question: &[&str]| {
        let stderr = run(history.query(question)).stderr;
        let lines = stderr.lines().filter(|line| line.contains("not in the history yet"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let begins = [BEGIN, now.as_secs() as u32 - 60];
    for (begin, remedy) in begins.into_iter().zip(["does aw-sqlite run", "ask again in a minute"]) {
        add(&[arp(begin, OWNER, 3), arp(begin + 1, VICTIM, 5)], None);
        store();
        add(&[arp(begin + 24, OWNER, 3), arp(begin + 25, ATTACKER, 3)], None);
        let probe = Arp::probe(station(7), [10, 1, 2, 5].into());
        add(&[arp(begin + 26, OWNER, 4), (begin + 27, probe)], None);
        add(&[arp(begin + 28, VICTIM, 9)], Some(7));
        let at = format!("@{}", begin + 30);
        let from = format!("@{begin}");
        for (question, says) in [
            (&["who", "10.1.2.3", "--at", &at][..], "02:00:00:00:00:09 used 10.1.2.3 until"),
            (&["ip", "10.1.2.3", "--from", &from], "02:00:00:00:00:09 used 10.1.2.3 until"),
            (&["mac", &owner, "--from", &from], "02:00:00:00:00:01 used 10.1.2.4 until"),
            (&["mac", &owner, "--at", &at], "02:00:00:00:00:01 used 10.1.2.4 until"),
            (&["devices", "--from", &from], "02:00:00:00:00:09 used addresses until"),
            (&["devices", "--network", "eth0.7", "--from", &from], "02:00:00:00:00:02 used"),
            (&["who", "10.1.2.3", "--network", "eth0.7", "--at", &at], ""),
            (&["who", "10.1.2.5", "--at", &at], ""),
            (&["who", "10.1.2.3", "--at", "2026-11-20 13:00"], ""),
        ] {
            let found = lacking(question);
            assert_eq!(found.len(), usize::from(!says.is_empty()), "{question:?}: {found:?}");
            for line in found {
                let is_right = line.starts_with("aw-query: stored until 2")
                    && line.contains(&format!(": {says}"))
                    && line.contains(remedy);
                assert!(is_right, "{question:?}: {line}");
            }
        }
        store();
        assert_eq!(lacking(&["who", "10.1.2.3", "--at", &at]), Vec::<String>::new());
        assert_eq!(lacking(&["devices"]), Vec::<String>::new());
        // Both MACs are in the answer, but the last one is another one now; in another network it is nothing new.
        add(&[arp(begin + 29, OWNER, 3)], None);
        add(&[arp(begin + 29, ATTACKER, 3)], Some(7));
        for question in [["who", "10.1.2.3", "--at", &at], ["ip", "10.1.2.3", "--from", &from]] {
            let found = lacking(&question);
            let says = format!("{owner} used 10.1.2.3 until");
            assert!(found.len() == 1 && found[0].contains(&says), "{question:?}: {found:?}");
        }
        add(&[arp(begin + 30, ATTACKER, 3), arp(begin + 31, OWNER, 3)], None);
        let found = lacking(&["ip", "10.1.2.3", "--from", &from]);
        let says = format!("{owner}, 02:00:00:00:00:09 used 10.1.2.3 ({owner} last) until");
        assert!(found.len() == 1 && found[0].contains(&says), "{found:?}");
        store();
        assert_eq!(lacking(&["who", "10.1.2.3", "--at", &at]), Vec::<String>::new());
    }
}
