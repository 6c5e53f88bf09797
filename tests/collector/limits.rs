//! What the collector counts and does not report: the rate limit, the blacklist; the counters themselves; options of
//! addrwatch that moved to other programs.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::{collect, counters, lines};
use aw_tests::feed::{numbered_capture, numbered_lines};
use aw_tests::frames::{Arp, DOT1Q, Ethernet, station};
use aw_tests::neighbor::Neighbor;
use aw_tests::rig::{program, run};
use aw_tests::ring::Ring;

/// Sightings of 192.0.2.1: when, and by which station.
fn sightings(sightings: &[(u32, u32)]) -> Vec<u8> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for (second, number) in sightings {
        let frame =
            Arp::reply(station(*number), [192, 0, 2, 1].into(), [192, 0, 2, 9].into()).frame();
        file.packet(at(*second), &frame).unwrap();
    }
    file.finish().unwrap()
}

fn times(capture: &[u8], options: &[&str]) -> Vec<u32> {
    let lines = lines(capture, options);
    lines.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// The example of addrwatch's README.
const EXAMPLE: [(u32, u32); 8] =
    [(1, 1), (15, 1), (20, 2), (25, 2), (30, 1), (35, 1), (40, 2), (65, 2)];

#[test]
fn the_rate_limit_as_in_addrwatchs_example() {
    let capture = sightings(&EXAMPLE);
    assert_eq!(times(&capture, &["-r", "100"]), [1, 20, 30, 40]);
    assert_eq!(times(&capture, &["--ratelimit", "-1"]), [1, 20, 30, 40]);
    assert_eq!(times(&capture, &["-r", "0"]), EXAMPLE.map(|(time, _)| time));
    assert_eq!(times(&capture, &[]), EXAMPLE.map(|(time, _)| time));
    assert_eq!(times(&capture, &["-r", "10"]), [1, 15, 20, 30, 40, 65]);
    let ring = Ring::new();
    let counted = counters(&collect(&ring, &capture, &["-v", "-r", "100"]).ok().stderr, "pcap");
    assert_eq!((counted["seen"], counted["published"], counted["rate_limited"]), (8, 4, 4));
}

/// The rate limit is per VLAN, but not per origin.
#[test]
fn the_rate_limit_distinguishes_vlans_but_not_origins() {
    let reply = |ethernet: &Ethernet| {
        Arp::reply(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 9].into()).on(ethernet)
    };
    let request = Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 9].into()).frame();
    let untagged = Ethernet::from(station(1));
    let tagged = |id| Ethernet::from(station(1)).tag(DOT1Q, id);
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    let frames =
        [reply(&untagged), reply(&tagged(5)), reply(&tagged(6)), request, reply(&tagged(5))];
    for (second, frame) in (1..).zip(frames) {
        file.packet(at(second), &frame).unwrap();
    }
    assert_eq!(times(&file.finish().unwrap(), &["-r", "100"]), [1, 2, 3]);
}

/// With room for two pairings, the one that was silent longest is dropped and counted, and is new when it returns.
#[test]
fn pairings_beyond_the_maximum_are_forgotten_and_counted() {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for (second, host) in [(1, 1), (2, 2), (3, 1), (4, 3), (5, 1), (6, 2)] {
        let frame =
            Arp::reply(station(host), [192, 0, 2, host as u8].into(), [192, 0, 2, 9].into())
                .frame();
        file.packet(at(second), &frame).unwrap();
    }
    let capture = file.finish().unwrap();
    let options = ["-v", "-r", "-1", "--max-pairings", "2"];
    assert_eq!(times(&capture, &options[1..]), [1, 2, 4, 6]);
    let ring = Ring::new();
    let counted = counters(&collect(&ring, &capture, &options).ok().stderr, "pcap");
    assert_eq!((counted["published"], counted["rate_limited"], counted["forgotten"]), (4, 2, 2));
}

#[test]
fn the_blacklist() {
    let capture = numbered_capture(1..9); // 10.0.0.1 to 10.0.0.8
    let ring = Ring::new();
    let options = ["-v", "-b", "10.0.0.2", "--blacklist", "10.0.0.4/30", "-b", "2001:db8::/32"];
    let finished = collect(&ring, &capture, &options).ok();
    let expected = [numbered_lines(1..2), numbered_lines(3..4), numbered_lines(8..9)].concat();
    assert_eq!(finished.stdout, expected);
    assert_eq!(counters(&finished.stderr, "pcap")["filtered"], 5);
    let neighbour = Neighbor::advertise(station(1), "2001:db8::1".parse().unwrap());
    let capture = aw_tests::capture_file::ethernet_pcap(&[neighbour.frame(station(1))]);
    assert_eq!(lines(&capture, &["-b", "2001:db8::/32"]), "");
    assert_eq!(lines(&capture, &["-b", "2001:db8::2"]).lines().count(), 1);
}

#[test]
fn addrwatchs_options_that_do_nothing_or_are_elsewhere() {
    let ring = Ring::new();
    let finished = collect(&ring, &numbered_capture(1..2), &["-v", "-H", "100"]).ok();
    assert!(finished.stderr.contains("collector: -H has no effect"), "{}", finished.stderr);
    let quiet = collect(&ring, &numbered_capture(1..2), &["--hashsize", "100"]).ok();
    assert_eq!(quiet.stderr, "");
    for (options, home) in [
        (["-o", "log"], "aw-stdout -o"),
        (["--output", "log"], "aw-stdout -o"),
        (["-s", "db"], "aw-sqlite"),
        (["--sqlite3", "db"], "aw-sqlite"),
        (["--sqlite3-table", "t"], "aw-sqlite"),
    ] {
        let finished = run(program("collector", &options));
        assert_eq!(finished.status.code(), Some(2));
        assert!(finished.stderr.contains(home), "{}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1);
    }
    for bad in [["-r", "-2"], ["-r", "x"], ["-b", "10.0.0.0/33"], ["--max-pairings", "0"]] {
        let finished = run(program("collector", &bad));
        assert_eq!(finished.status.code(), Some(2), "{bad:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    }
}

/// The counters of a collector that has ended, read from the ring alone.
#[test]
fn the_counters_are_there_to_be_read() {
    let ring = Ring::new();
    collect(&ring, &sightings(&EXAMPLE), &["-q", "-r", "100", "--as", "lan0"]).ok();
    let stats = |options: &[&str]| {
        let all = [&["--stats", "--ring", ring.name()], options].concat();
        run(program("collector", &all)).ok().stdout
    };
    let value = |text: &str, name: &str| -> String {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(' '));
        lines.find(|(first, _)| *first == name).unwrap().1.trim().to_owned()
    };
    let text = stats(&[]);
    for (name, expected) in [
        ("interface", "lan0"),
        ("seen", "8"),
        ("published", "4"),
        ("rate_limited", "4"),
        ("events", "4"),
    ] {
        assert_eq!(value(&text, name), expected, "{text}");
    }
    assert!(value(&text, "collector").starts_with("ended "), "{text}");
    assert!(!text.contains("hop_limit"), "what is zero is left out: {text}");
    let object = aw_tests::collect::json(&stats(&["--format", "json"]));
    assert_eq!(object["process"], serde_json::Value::Null);
    assert_eq!(object["events"], 4);
    assert_eq!(object["interfaces"][0]["interface"], "lan0");
    let counters = object["interfaces"][0]["counters"].as_object().unwrap();
    assert_eq!((&counters["seen"], &counters["hop_limit"]), (&8.into(), &0.into()));

    let missing = Ring::new();
    let finished = run(program("collector", &["--stats", "--ring", missing.name()]));
    finished.refused("collector", &["no such ring", missing.name()]);
}
