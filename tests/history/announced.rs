//! A device that was not seen to use an address, and only announced itself: each question finds it, of SQLite as of MySQL.
#![forbid(unsafe_code)]

use aw_tests::dhcp::{self, SERVER};
use aw_tests::frames::{Arp, lldp, station};
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{Finished, program, run};
use aw_tests::ring::Ring;
use aw_tests::sightings::{BEGIN, capture_names};
use std::{fs, net::Ipv4Addr, path::Path};

const PC: &str = "02:00:00:00:00:02";
const LAPTOP: &str = "02:00:00:00:00:03";
const SWITCH: &str = "02:00:00:00:00:04";
const SILENCE: &str = "; nothing at all was seen in this network";

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 2, last)
}

fn arp(number: u8, last: u8) -> Vec<u8> {
    Arp::request(station(number.into()), ip(last), SERVER).frame()
}

fn mdns(number: u32, last: u8, name: &str) -> Vec<u8> {
    dhcp::mdns(station(number), ip(last), name)
}

/// A history in SQLite and, if it is installed, in MariaDB.
struct Both {
    history: History,
    server: Option<MariaDb>,
    ring: Ring,
}

impl Both {
    fn new() -> Both {
        Both { history: History::new(), server: MariaDb::start(&[]), ring: Ring::new() }
    }

    fn add(&self, frames: impl IntoIterator<Item = (u32, Vec<u8>)>) {
        let mut frames: Vec<_> = frames.into_iter().collect();
        frames.sort_by_key(|(second, _)| *second);
        capture_names(
            &self.ring,
            frames.into_iter().map(|(second, frame)| (BEGIN + second, frame)),
        );
        run(self.history.command(&self.ring, &["--once"])).ok();
        if let Some(server) = &self.server {
            run(server.command(&self.ring, &["--once"])).ok();
        }
    }

    /// The answer of SQLite: that of MySQL is the same, byte for byte.
    fn ask(&self, question: &[&str]) -> Finished {
        self.ask_with(question, Path::new("/dev/null"))
    }

    fn ask_with(&self, question: &[&str], names: &Path) -> Finished {
        let query = |database: &[&str]| {
            let mut query = program("aw-query", &["--vendors", "/nonexistent", "--names"]);
            query.arg(names).args(database).args(question).env("TZ", "UTC");
            run(query)
        };
        let ours = query(&["--database", self.history.database().to_str().unwrap()]);
        if let Some(server) = &self.server {
            let config = server.config("");
            let theirs = query(&["-c", config.to_str().unwrap()]);
            // A server has no rings, and is not asked when a network was silent.
            let ring = self.ring.name();
            let text = |one: &str| {
                let mut one = one.replace(&format!("\"{ring}\""), "null").replace(ring, "");
                while let Some(begin) = one.find(SILENCE) {
                    let end = one[begin..].find(['"', '\n']).expect("the end of the cell");
                    one.replace_range(begin..begin + end, "");
                }
                one
            };
            let of = |one: &Finished| (one.status.code(), text(&one.stdout), one.stderr.clone());
            assert_eq!(of(&theirs), of(&ours), "{question:?}");
        }
        ours
    }
}

/// Of a MAC, `mac` answers as `ip` does: a remark, first, and status 3; rows with --all. With a time it answers as `who` does: with rows. By a name, it
/// has rows, and one remark: that the name is a claim.
#[test]
fn by_name_and_by_mac() {
    let both = Both::new();
    both.add([
        (0, arp(1, 1)),
        (60, mdns(2, 22, "pc2")),
        (61, dhcp::request(station(3), ip(107), "laptop-anna", "")),
        (62, lldp(station(4), "switch-1")),
        (63, dhcp::ack(station(5), ip(109), 3_600)),
    ]);
    let at = format!("@{}", BEGIN + 69);
    let announced = "aw-query: not seen in use: announced 10.1.2.22 by mDNS at 2026-11-20 14:01 +00:00 (a claim)\n";
    let asked = both.ask(&["mac", PC]);
    assert_eq!((asked.status.code(), &*asked.stdout), (Some(3), ""), "{asked:#?}");
    let last = format!("aw-query: no sightings of {PC} in the whole history\n");
    assert_eq!(asked.stderr, format!("{announced}{last}"));
    for name in [PC, "pc2", "PC2", "pc2.local", "Pc2.LOCAL"] {
        let then = both.ask(&["mac", name, "--at", &at]).ok();
        assert!(then.stdout.contains("10.1.2.22  -            -           announced  not seen in use: announced by mDNS 9 s before (a claim)"), "{then:#?}");
        let all = both.ask(&["mac", name, "--all"]).ok();
        assert!(all.stdout.contains("announced by mDNS"), "{all:#?}");
        if name == PC {
            continue;
        }
        let asked = both.ask(&["mac", name]).ok();
        assert!(asked.stdout.starts_with("ADDRESS    FIRST SEEN"), "{asked:#?}");
        let row = "10.1.2.22  2026-11-20 14:01:00 +00:00  2026-11-20 14:01:00 +00:00  1      announced by mDNS  eth0       0     \"pc2\" (mDNS host name since 2026-11-20)\n";
        assert!(asked.stdout.ends_with(row), "{asked:#?}");
        let claim =
            format!("aw-query: {PC} calls itself {name:?} (a claim: any host can send any name)\n");
        assert_eq!(asked.stderr, claim);
        // In the place of an address, too.
        assert_eq!(both.ask(&["ip", name]).ok().stdout, asked.stdout);
        assert_eq!(both.ask(&["ip", name, "--at", &at]).ok().stdout, then.stdout);
        assert_eq!(both.ask(&["who", name, "--at", &at]).ok().stdout, then.stdout);
    }
    let asked = both.ask(&["mac", "laptop-anna.local"]).ok();
    assert!(
        asked.stdout.contains("10.1.2.107") && asked.stdout.contains("  requested by DHCP  "),
        "{asked:#?}"
    );
    for (name, says) in [
        (
            "02:00:00:00:00:05",
            "not seen in use: given 10.1.2.109 by a DHCP server at 2026-11-20 14:01:03 +00:00 (a claim)",
        ),
        ("switch-1", "no sightings of 02:00:00:00:00:04 in the whole"),
    ] {
        let asked = both.ask(&["mac", name]);
        assert!(asked.stderr.contains(says), "{asked:#?}");
        assert_eq!(asked.status.code(), Some(3));
    }
    let given = both.ask(&["mac", "02:00:00:00:00:05", "--at", &at]).ok();
    assert!(given.stdout.contains(" leased "), "{given:#?}");
    let elsewhere = both.ask(&["mac", "unknown.local"]);
    assert!(
        elsewhere.stderr.contains("no device has the name \"unknown.local\""),
        "{elsewhere:#?}"
    );
    // The remark of an address comes first, too.
    let asked = both.ask(&["ip", "10.1.2.22"]);
    let lines: Vec<_> = asked.stderr.lines().collect();
    assert!(
        lines[0].contains("announced by mDNS by") && lines[1].contains("no sightings of"),
        "{lines:?}"
    );
    let given = both.ask(&["ip", "10.1.2.109"]);
    let says = "not seen in use: given by a DHCP server to 02:00:00:00:00:05 at 2026-11-20 14:01:03 +00:00 (a claim)";
    assert!(given.stderr.contains(says), "{given:#?}");
    // A name that was given ends so, and is that of another device.
    let names = both.history.path().join("names");
    fs::write(&names, format!("{LAPTOP} pc2.local\n{PC} Desk two\n")).unwrap();
    let own = both.ask_with(&["mac", "pc2.local"], &names);
    assert!(own.stdout.contains("10.1.2.107") && own.stderr.is_empty(), "{own:#?}");
    let own = both.ask_with(&["mac", "desk two"], &names);
    assert!(own.stdout.contains("announced by mDNS") && own.stderr.is_empty(), "{own:#?}");
}

/// Of a name that several devices have, each has a table, the first one that used the name before the others; a flood of such devices does not
/// hide it. CSV has one heading.
#[test]
fn several_with_one_name() {
    let both = Both::new();
    both.add([(0, mdns(9, 22, "tv")), (60, arp(3, 23)), (61, mdns(3, 23, "tv"))]);
    let asked = both.ask(&["mac", "tv"]).ok();
    let [first, second] = &asked.stdout.split("\n\n").collect::<Vec<_>>()[..] else {
        panic!("{asked:#?}")
    };
    assert!(first.contains("02:00:00:00:00:09") && first.contains("announced by mDNS"), "{first}");
    assert!(second.contains(LAPTOP) && second.contains("10.1.2.23"), "{second}");
    assert!(first.contains("MAC") && !second.contains("LEFT OUT"), "{asked:#?}");
    assert_eq!(
        asked.stderr,
        format!(
            "aw-query: 2 devices call themselves \"tv\", first 02:00:00:00:00:09, then {LAPTOP} (a claim: any host can send any name)\n"
        )
    );
    let csv = both.ask(&["who", "tv", "--at", &format!("@{}", BEGIN + 70), "--format", "csv"]);
    assert_eq!(csv.ok().stdout.lines().count(), 3);
    // A name that differs in case or in its end only is the same, and hides no earlier one.
    both.add([(70, mdns(12, 24, "TV")), (71, dhcp::request(station(11), ip(107), "tv.local", ""))]);
    for name in ["tv", "TV", "tv.local", "Tv.Local"] {
        let asked = both.ask(&["mac", name]).ok();
        let macs = asked
            .stdout
            .split("\n\n")
            .map(|table| table.split("02:00:00:00:00:").nth(1).expect("a MAC")[..2].to_owned());
        assert_eq!(macs.collect::<Vec<_>>(), ["09", "03", "0c", "0b"], "{asked:#?}");
    }
    // Of the file of names, the devices in it and no others.
    let names = both.history.path().join("names");
    fs::write(&names, format!("{LAPTOP} tv\n{PC} tv\n")).unwrap();
    let own = both.ask_with(&["mac", "tv"], &names).ok();
    assert!(own.stdout.contains(LAPTOP) && !own.stdout.contains("02:00:00:00:00:09"), "{own:#?}");
    assert_eq!(own.stderr, format!("aw-query: no sightings of {PC} in the whole history\n"));
    // Later ones, whose MACs would be first in the order of numbers.
    let forged = (0..1_100_u32).map(|n| {
        let [_, _, high, low] = n.to_be_bytes();
        let address = Ipv4Addr::new(10, 3, high, low);
        (120 + n / 10, dhcp::mdns([0, 0, 0, 1, high, low], address, "tv"))
    });
    both.add(forged);
    let asked = both.ask(&["mac", "tv"]).ok();
    assert!(asked.stdout.split("\n\n").next().unwrap().contains("02:00:00:00:00:09"), "{asked:#?}");
    assert_eq!(asked.stdout.split("\n\n").count(), 8);
    assert!(asked.stderr.contains("the first 8 are in the answer"), "{asked:#?}");
}

/// A device that uses an address, and announces another one: by its name both are rows, whichever was later; by its MAC, what is no use is in no
/// remark beside a later use.
#[test]
fn in_use_and_announced() {
    let both = Both::new();
    both.add([(55, mdns(2, 23, "pc2")), (60, arp(2, 22)), (65, mdns(2, 24, "pc2"))]);
    let asked = both.ask(&["ip", "pc2"]).ok();
    let rows: Vec<_> = asked.stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{asked:#?}");
    for (row, (address, is_use)) in
        rows.iter().zip([("10.1.2.23 ", false), ("10.1.2.22 ", true), ("10.1.2.24 ", false)])
    {
        assert!(row.starts_with(address), "{asked:#?}");
        assert_eq!(row.contains("  announced by mDNS  "), !is_use, "{asked:#?}");
    }
    let of_mac = both.ask(&["mac", PC]).ok();
    assert_eq!((of_mac.stdout.lines().count(), &*of_mac.stderr), (2, ""), "{of_mac:#?}");
}

/// A client that renews its lease says that it has the address: it does not ask for one as a stranger does. An ordinary port gets that where the
/// client's server does not answer, and a mirror each time.
#[test]
fn a_lease_that_is_renewed() {
    let both = Both::new();
    both.add([
        (0, arp(1, 1)),
        (60, dhcp::renew(station(2), ip(22), "pc2")),
        (61, dhcp::request(station(3), ip(22), "laptop-anna", "")),
    ]);
    let at = format!("@{}", BEGIN + 69);
    let who = both.ask(&["who", "10.1.2.22", "--at", &at]).ok().stdout;
    let rows: Vec<_> = who.lines().skip(1).collect();
    assert!(rows[1].starts_with(LAPTOP) && rows[1].contains("  requested "), "{who}");
    assert!(rows[0].starts_with(PC), "{who}");
    let says = "renewed    not seen in use: renewed its lease by DHCP 9 s before (a claim)";
    assert!(rows[0].contains(says), "{who}");
    let ip = both.ask(&["ip", "10.1.2.22"]);
    let says = format!(
        "not seen in use: renewed by DHCP by {PC} \"pc2\" at 2026-11-20 14:01 +00:00; only requested by DHCP by {LAPTOP}"
    );
    assert!(ip.stderr.contains(&says), "{ip:#?}");
    let mac = both.ask(&["mac", "pc2"]).ok().stdout;
    assert!(mac.contains("  renewed by DHCP  "), "{mac}");
    let list = both.ask(&["devices"]).ok().stdout;
    assert!(list.contains("  renewed 10.1.2.22"), "{list}");
}

/// `devices` has them, marked; others are as without them, and so are the numbers.
#[test]
fn in_the_list() {
    let both = Both::new();
    both.add([(0, arp(1, 1)), (5, mdns(1, 1, "seen"))]);
    let before = both.ask(&["devices", "--count"]).ok();
    assert!(!before.stdout.contains("NOT SEEN IN USE"), "{before:#?}");
    both.add([
        (60, mdns(2, 22, "pc2")),
        (61, mdns(2, 24, "pc2")),
        (62, dhcp::request(station(3), ip(107), "laptop-anna", "")),
        (63, lldp(station(4), "switch-1")),
        (64, Arp::probe(station(6), ip(111)).frame()),
        (65, dhcp::request(station(6), ip(111), "phone", "")),
        (66, dhcp::ack(station(5), ip(109), 3_600)),
    ]);
    let list = both.ask(&["devices", "--count"]).ok().stdout;
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 7, "{list}");
    assert!(lines[0].ends_with("VLAN  NOT SEEN IN USE"), "{list}");
    for (line, mac, count, mark) in [
        (lines[1], "02:00:00:00:00:05", "  0 ", "leased 10.1.2.109"),
        (lines[2], "02:00:00:00:00:06", "  1 ", "requested 10.1.2.111"),
        (lines[3], SWITCH, "  0 ", "name only"),
        (lines[4], LAPTOP, "  0 ", "requested 10.1.2.107"),
        (lines[5], PC, "  0 ", "announced 10.1.2.24, announced 10.1.2.22"),
        (lines[6], "02:00:00:00:00:01", "  1 ", "-"),
    ] {
        assert!(line.starts_with(mac) && line.contains(count) && line.ends_with(mark), "{line}");
    }
    let of_network = both.ask(&["devices", "--network", "eth0"]).ok().stdout;
    assert_eq!(of_network.lines().count(), 7);
    let earlier = both.ask(&["devices", "--to", "2026-11-20 14:00:30"]).ok().stdout;
    assert!(earlier.lines().count() == 2 && !earlier.contains("NOT SEEN"), "{earlier}");
    let json = both.ask(&["devices", "--format", "json"]).ok().stdout;
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["not_seen_in_use"], serde_json::json!(["leased 10.1.2.109"]));
    assert_eq!(first["addresses"], serde_json::json!([]));
    // Of a time in which there is no message, it has none; nor one that was seen at another time.
    both.add([
        (432_000, mdns(2, 22, "pc2")),
        (432_001, mdns(1, 1, "seen")),
        (432_002, mdns(6, 111, "phone")), // it only probed before
    ]);
    let between = ["devices", "--from", "2026-11-22", "--to", "2026-11-23"];
    assert_eq!(both.ask(&between).status.code(), Some(3));
    let then = both.ask(&["devices", "--from", "2026-11-25"]).ok().stdout;
    assert!(then.lines().count() == 3 && then.contains(PC), "{then}");
    assert!(then.contains("02:00:00:00:00:06") && !then.contains("02:00:00:00:00:01"), "{then}");
    // Once it is seen, it is one of the others.
    both.add([(432_090, arp(2, 22))]);
    // (A name without an address or sighting is kept for a day, so the whole list differs between histories by now.)
    let list = both.ask(&["devices", "--from", "2026-11-25"]).ok().stdout;
    let pc = list.lines().find(|line| line.starts_with(PC)).unwrap();
    assert!(pc.ends_with(" -") && pc.contains("10.1.2.22"), "{pc}");
}

/// An old sighting does not hide who announces the address today; and a flood of today does not hide who announced it then.
#[test]
fn old_sightings_and_floods() {
    const DAY: u32 = 86_400;
    let both = Both::new();
    let hours = (0..20).map(|hour| (DAY + 3_600 * hour, mdns(2, 22, "nasbox")));
    both.add([(0, arp(1, 22))].into_iter().chain(hours));
    let at = |seconds: u32| format!("@{}", BEGIN + seconds);
    let who = |seconds: u32| {
        let asked = both.ask(&["who", "10.1.2.22", "--at", &at(seconds), "--format", "csv"]).ok();
        let rows = asked.stdout.lines().skip(1);
        let rows = rows.map(|row| row.split(',').take(4).collect::<Vec<_>>().join(" "));
        rows.collect::<Vec<_>>()
    };
    let old = "02:00:00:00:00:01 2026-11-20T14:00:00.000000000+00:00  one-sided";
    assert_eq!(who(60), [old]);
    assert_eq!(who(DAY + 7_200), [old, "02:00:00:00:00:02   announced"]);
    let asked = both.ask(&["ip", "10.1.2.22"]).ok();
    assert!(
        asked.stderr.contains("announced by mDNS by 02:00:00:00:00:02 \"nasbox\" from"),
        "{asked:#?}"
    );
    // One message of each of many made-up MACs, later than all others.
    both.add((0..1_100).map(|n| (8 * DAY + n, mdns(1_000 + n, 22, "x"))));
    let rows = who(DAY + 7_200);
    assert_eq!(rows[..2], [old, "02:00:00:00:00:02   announced"], "{rows:?}");
}

/// What a device calls itself is no key for a deletion: the error has its MAC.
#[test]
fn forgotten_by_name() {
    let both = Both::new();
    both.add([(0, mdns(2, 22, "pc2")), (1, mdns(3, 23, "tv")), (2, mdns(4, 24, "TV"))]);
    let forget = |name: &str| {
        let database = both.history.database().to_str().unwrap();
        run(program("aw-sqlite", &["--database", database, "forget-names", name]))
    };
    for (name, says) in [
        ("pc2.local", format!("these call themselves so: {PC} (write one of these MACs)")),
        ("tv", format!("these call themselves so: {LAPTOP}, {SWITCH} (write")),
        ("unknown", "no device calls itself so (write a MAC)".into()),
    ] {
        let refused = forget(name);
        assert_eq!(refused.status.code(), Some(1), "{refused:#?}");
        assert!(refused.stderr.contains(&says), "{refused:#?}");
    }
    assert!(forget(PC).ok().stderr.contains("2 names and addresses and 0 leases deleted"));
}

/// A name for a device that announced itself is no mistake in a digit.
#[test]
fn named_before_it_is_seen() {
    let both = Both::new();
    both.add([(0, mdns(2, 22, "pc2")), (1, lldp(station(4), "switch-1"))]);
    let names = both.history.path().join("names");
    fs::write(&names, "").unwrap();
    let name = |mac: &str| {
        let mut query = program("aw-query", &["--vendors", "/nonexistent", "--names"]);
        query.arg(&names).arg("--database").arg(both.history.database());
        run({
            query.args(["name", mac, "Desk two"]);
            query
        })
        .ok()
        .stderr
    };
    for mac in [PC, SWITCH] {
        assert!(!name(mac).contains("was not seen yet"), "{mac}");
    }
    assert!(name("02:00:00:00:00:77").contains("was not seen yet"));
}

/// A sighting in another VLAN hides nothing.
#[test]
fn in_another_vlan() {
    let both = Both::new();
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 20], &frame[12..]].concat();
    both.add([(0, arp(1, 22)), (1, tagged(&mdns(2, 22, "pc2")))]);
    let at = format!("@{}", BEGIN + 10);
    let who = |network: &[&str]| {
        let question = [&["who", "10.1.2.22", "--at", &at][..], network].concat();
        both.ask(&question).ok().stdout
    };
    assert_eq!(who(&[]).lines().count(), 3, "{}", who(&[]));
    let there = who(&["--network", "eth0.20"]);
    assert!(there.lines().count() == 2 && there.contains(PC), "{there}");
    let asked = both.ask(&["ip", "10.1.2.22"]).ok();
    assert!(asked.stderr.contains(&format!("{PC} \"pc2\" on eth0.20 at ")), "{asked:#?}");
    let asked = both.ask(&["ip", "10.1.2.22", "--network", "eth0"]).ok();
    assert_eq!(asked.stderr, "");
}
