//! Each reason to refuse a frame: no event, exactly one counter moves, and no frame is uncounted.
#![forbid(unsafe_code)]

use aw_tests::bench;
use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::{collect, counters};
use aw_tests::frames::{ARP, Arp, DOT1Q, Ethernet, IPV4, IPV6, station};
use aw_tests::neighbor::{ALL_NODES, HOP_BY_HOP, Neighbor, padding_options};
use aw_tests::refusals::{self, Refusal};
use aw_tests::ring::Ring;
use std::collections::BTreeMap;

/// Counters that are sums, or of frames that became events.
const SEEN: &str = "seen";
const PUBLISHED: &str = "published";

fn replay(refusals: &[Refusal]) -> (String, BTreeMap<String, u64>) {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for refusal in refusals {
        file.cut_packet(at(1000), &refusal.bytes, refusal.wire_length).unwrap();
    }
    let finished = collect(&Ring::new(), &file.finish().unwrap(), &["-v"]).ok();
    let mut counters = counters(&finished.stderr, "pcap");
    counters.retain(|_, count| *count > 0);
    (finished.stdout, counters)
}

#[test]
fn each_refusal_moves_its_own_counter_and_no_other() {
    let mut wrong = Vec::new();
    for refusal in refusals::all() {
        let expected = BTreeMap::from([(SEEN.to_owned(), 1), (refusal.counter.to_owned(), 1)]);
        let (stdout, counters) = replay(std::slice::from_ref(&refusal));
        if !stdout.is_empty() || counters != expected {
            wrong.push(format!(
                "{}: {counters:?} and {stdout:?} instead of {expected:?}",
                refusal.wrong
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_refusals_together_are_each_counted() {
    let all = refusals::all();
    let mut expected = BTreeMap::from([(SEEN.to_owned(), all.len() as u64)]);
    for refusal in &all {
        *expected.entry(refusal.counter.to_owned()).or_default() += 1;
    }
    let (stdout, counters) = replay(&all);
    assert_eq!((stdout.as_str(), counters), ("", expected));
}

/// `seen` = `published` + all other counters, over traffic of all kinds.
#[test]
fn the_counters_balance() {
    let mut traffic = Vec::new();
    bench::write(&mut traffic, bench::traffic(20_000, 7).take(50_000)).unwrap();
    let finished = collect(&Ring::new(), &traffic, &["-v"]).ok();
    let mut counters = counters(&finished.stderr, "pcap");
    let seen = counters.remove(SEEN).expect("seen is printed");
    assert_eq!(counters[PUBLISHED], finished.stdout.lines().count() as u64);
    assert!(counters[PUBLISHED] > 40_000, "{counters:?}");
    assert_eq!(seen, counters.values().sum::<u64>(), "{counters:?}");
}

/// Valid frames of other protocols: no event, and none of the counters for malformed frames.
#[test]
fn other_traffic_is_not_malformed() {
    let ethernet = Ethernet::from(station(1));
    let mut echo = Neighbor::probe("2001:db8::1".parse().unwrap());
    echo.message = 128;
    let other =
        |bytes: Vec<u8>| Refusal { wrong: "", counter: "", wire_length: bytes.len(), bytes };
    let frames = [
        ethernet.frame(IPV4, &[0x45; 20]),
        ethernet.clone().tag(DOT1Q, 3).frame(IPV4, &[0x45; 20]),
        ethernet.frame(0x88cc, &[2, 7, 4]),
        ethernet.clone().snap().frame(0x2000, &[1; 40]),
        // Spanning tree: 802.3 with another LLC header.
        ethernet.frame(38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]),
        echo.frame(station(1)),
        // A query of multicast listeners, with a hop limit that would be wrong for a neighbour.
        Neighbor { message: 130, hop_limit: 1, destination: ALL_NODES, ..echo.clone() }
            .frame(station(1)),
        // No ICMPv6 at all behind hop-by-hop options.
        Neighbor { message: 17, ..echo.clone() }
            .behind(padding_options(HOP_BY_HOP, 1))
            .frame(station(1)),
    ];
    let (stdout, counters) = replay(&frames.map(other));
    assert_eq!(stdout, "");
    for counter in refusals::all().iter().map(|refusal| refusal.counter) {
        assert!(!counters.contains_key(counter), "{counters:?}");
    }
}

/// A frame of another protocol that the capture truncated is not counted as truncated.
#[test]
fn a_cut_frame_of_other_traffic_is_not_truncated() {
    let ethernet = Ethernet::from(station(1));
    let cut = Refusal {
        wrong: "",
        counter: "",
        bytes: ethernet.frame(IPV4, &[0x45; 50]),
        wire_length: 1514,
    };
    let (stdout, counters) = replay(&[cut]);
    assert_eq!(stdout, "");
    assert!(!counters.contains_key("truncated"), "{counters:?}");
}

/// Any prefix of a valid frame: refused, or the same event; no crash, no other event.
#[test]
fn every_prefix_of_a_good_frame_is_harmless() {
    let arp = Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let neighbor = Neighbor::advertise(station(1), "2001:db8::1".parse().unwrap())
        .behind(padding_options(HOP_BY_HOP, 1));
    for (whole, event) in [
        (
            arp.on(&Ethernet::from(station(1)).tag(DOT1Q, 5)),
            "1000 pcap 5 02:00:00:00:00:01 192.0.2.1 ARP_REQ\n",
        ),
        (neighbor.frame(station(1)), "1000 pcap 0 02:00:00:00:00:01 2001:db8::1 ND_NA\n"),
        (
            Ethernet::from(station(1)).snap().frame(ARP, &arp.bytes()),
            "1000 pcap 0 02:00:00:00:00:01 192.0.2.1 ARP_IGNORED\n",
        ),
        (
            Ethernet::from(station(1)).frame(IPV6, &neighbor.bytes()),
            "1000 pcap 0 02:00:00:00:00:01 2001:db8::1 ND_NA\n",
        ),
    ] {
        let prefixes: Vec<Refusal> = (0..=whole.len())
            .map(|length| Refusal {
                wrong: "",
                counter: "",
                bytes: whole[..length].to_vec(),
                wire_length: length,
            })
            .collect();
        let (stdout, counters) = replay(&prefixes);
        assert_eq!(stdout, event);
        assert_eq!(counters[PUBLISHED], 1, "{counters:?}");
    }
}
