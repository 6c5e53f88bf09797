//! Floods at full speed through a pipe: of faked pairings, and of malformed frames. The collector's
//! memory stays under the limit in docs/sizing.md, every frame is counted, and none is logged.
#![forbid(unsafe_code)]

use aw_tests::bench::Random;
use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::json;
use aw_tests::feed::reading_collector;
use aw_tests::frames::{Arp, DOT1AD, DOT1Q, Ethernet, station};
use aw_tests::neighbor::Neighbor;
use aw_tests::refusals;
use aw_tests::rig::{Run, program, run, wait_until};
use aw_tests::ring::Ring;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::net::{Ipv4Addr, Ipv6Addr};

const FRAMES: u64 = 600_000;
const MAX_PAIRINGS: u64 = 200_000;

/// From docs/sizing.md: bytes for each pairing in the table of the rate limit.
const PAIRING: u64 = 80;
/// Memory of a collector without pairings and without its code, which no frame changes: 4.8 MiB as measured, of which the ring has 4.1,
/// and some margin.
const BASE: u64 = 11 << 19;

/// Feeds frames to a collector; when all are counted, while it still runs, returns its peak memory and its counters. It
/// must not have logged anything.
fn flood(options: &[&str], frames: impl Iterator<Item = Vec<u8>>) -> (u64, Map<String, Value>) {
    let ring = Ring::new();
    let mut collector = Run::start(reading_collector(&ring, options));
    let stdin = collector.stdin.take().expect("piped");
    let out = BufWriter::with_capacity(1 << 16, stdin);
    let mut file = Pcap::new(out, ETHERNET, Unit::Microsecond).expect("the collector reads");
    for (number, frame) in (0..).zip(frames) {
        file.packet(at(1000 + number / 20_000), &frame).expect("the collector reads");
    }
    let pipe = file.finish().expect("the collector reads"); // kept open: the collector waits for more
    let stats = ["--stats", "--format", "json", "--ring", ring.name()];
    let mut counters = Map::new();
    wait_until("every frame is counted", || {
        let stats = json(&run(program("collector", &stats)).ok().stdout);
        counters = stats["interfaces"][0]["counters"].as_object().expect("counters").clone();
        counters["seen"] == FRAMES
    });
    let status = fs::read_to_string(format!("/proc/{}/status", collector.id())).unwrap();
    let kilobytes = |name: &str| -> u64 {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let peak = kilobytes("VmHWM:") - kilobytes("RssFile:");
    drop(pipe);
    let finished = collector.finish().ok();
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", ""));
    counters.retain(|name, count| *count != 0 && name != "arp_broadcast");
    (peak << 10, counters)
}

#[track_caller]
fn assert_counters(counters: Map<String, Value>, expected: &[(&str, u64)]) {
    let counters: BTreeMap<_, _> =
        counters.iter().map(|(name, count)| (name.as_str(), count.as_u64().unwrap())).collect();
    assert_eq!(counters, expected.iter().copied().collect());
}

/// Unique pairings: a random MAC, a random address, a random VLAN or two. Every sixth frame is the one
/// before it again, and every sixth has a new MAC for one and the same address.
#[test]
fn made_up_pairings_take_no_more_memory_than_stated() {
    let mut random = Random::new(21);
    let mut last = Vec::new();
    let pairings = (0..FRAMES as u32).map(|number| {
        let mac = station(1 + random.below(u32::MAX - 1));
        let router = Ipv4Addr::new(192, 0, 2, 1);
        let ethernet = match random.below(3) {
            0 => Ethernet::from(mac),
            1 => Ethernet::from(mac).tag(DOT1Q, random.below(4096) as u16),
            _ => Ethernet::from(mac).tag(DOT1AD, random.below(4096) as u16).tag(DOT1Q, 5),
        };
        // An odd factor mixes the numbers without repetition; the highest bit excludes 0.0.0.0.
        let made_up = number.wrapping_mul(0x9e37_79b1);
        let frame = match number % 6 {
            0 | 1 => Arp::request(mac, Ipv4Addr::from(made_up | 0x8000_0000), router).on(&ethernet),
            2 | 3 => {
                let host = u128::from(made_up) << 32 | u128::from(random.below(u32::MAX));
                Neighbor::advertise(mac, Ipv6Addr::from(0x2001_0db8_u128 << 96 | host))
                    .on(&ethernet)
            }
            4 => last.clone(),
            _ => Arp::reply(mac, router, router).frame(),
        };
        last = frame.clone();
        frame
    });
    let options = ["-q", "-r", "60", "--max-pairings", &MAX_PAIRINGS.to_string()];
    let (peak, counters) = flood(&options, pairings);
    let (strangers, sixth) = (4 * FRAMES / 6, FRAMES / 6);
    assert_counters(
        counters,
        &[
            ("seen", FRAMES),
            ("published", strangers + sixth),
            ("rate_limited", sixth),
            ("forgotten", strangers + 1 - MAX_PAIRINGS),
        ],
    );
    assert!(peak < BASE + PAIRING * MAX_PAIRINGS, "{peak} bytes at the peak");
}

/// Every frame is malformed: none is logged, none takes memory, each moves its own counter.
#[test]
fn malformed_frames_are_counted_in_silence() {
    let refusals: Vec<_> = refusals::all()
        .into_iter()
        .filter(|refusal| refusal.bytes.len() == refusal.wire_length)
        .collect();
    let mut expected: BTreeMap<&str, u64> = BTreeMap::from([("seen", FRAMES)]);
    for refusal in refusals.iter().cycle().take(FRAMES as usize) {
        *expected.entry(refusal.counter).or_default() += 1;
    }
    let expected: Vec<_> = expected.into_iter().collect();
    let frames: Vec<_> = refusals.into_iter().map(|refusal| refusal.bytes).collect();
    let (peak, counters) =
        flood(&["-q", "-r", "60"], frames.into_iter().cycle().take(FRAMES as usize));
    assert_counters(counters, &expected);
    assert!(peak < BASE, "{peak} bytes at the peak");
}
