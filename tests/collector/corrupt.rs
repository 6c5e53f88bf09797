//! Random and corrupted input through the real programs: no panic, no hang, no broken line, no frame
//! uncounted, and no memory that grows with the input.
#![forbid(unsafe_code)]

use aw_tests::bench::{self, Random};
use aw_tests::capture_file::{ETHERNET, LINUX_SLL, LINUX_SLL2, pcap_of};
use aw_tests::collect::{collect, counters, stdout_of};
use aw_tests::feed::reading_collector;
use aw_tests::refusals;
use aw_tests::rig::{Finished, Run};
use aw_tests::ring::Ring;
use aw_tests::sample;
use shm_layout::MacAddr;
use std::fs;
use std::io::Write;
use std::net::IpAddr;

/// Every line is an event, and the counters balance; the collector did not end by a panic or a signal.
#[track_caller]
fn assert_sound(finished: &Finished) {
    assert!(matches!(finished.status.code(), Some(0 | 1)), "{finished:#?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:#?}");
    for line in finished.stdout.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [seconds, interface, vlan, mac, ip, origin] = words[..] else { panic!("{line:?}") };
        assert!(seconds.parse::<u64>().is_ok(), "{line}");
        assert_eq!(interface, "pcap", "{line}");
        assert!(vlan.parse::<u16>().is_ok_and(|vlan| vlan < 4096), "{line}");
        assert_eq!(mac.len(), 17, "{line}");
        let mac: MacAddr = mac.parse().unwrap_or_else(|why| panic!("{why}: {line}"));
        let ip: IpAddr = ip.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(!ip.is_unspecified(), "{line}");
        // A MAC that no host has is never published as the claim of a host.
        let (no_host, ignored, origins) = if ip.is_ipv4() {
            ("ARP_NO_HOST", "ARP_IGNORED", &["ARP_REQ", "ARP_REP", "ARP_ACD"][..])
        } else {
            let (no_host, ignored) = ("ND_NO_HOST", "ND_IGNORED");
            (no_host, ignored, &["ND_NS", "ND_NA", "ND_DAD", "ND_RA", "ND_RD", "ND_RS"][..])
        };
        let of_mac = match mac.is_no_host() {
            true => origin == no_host,
            false => origins.contains(&origin),
        };
        assert!(of_mac || origin == ignored, "{line}");
    }
}

#[track_caller]
fn assert_balanced(finished: &Finished, frames: usize) {
    let mut counters = counters(&finished.stderr, "pcap");
    let seen = counters.remove("seen").expect("seen is printed");
    assert_eq!(seen, frames as u64, "{counters:?}");
    assert_eq!(seen, counters.values().sum::<u64>(), "{counters:?}");
    assert_eq!(
        finished.stdout.lines().count() as u64,
        counters.get("published").copied().unwrap_or(0)
    );
}

/// Valid and refused frames, each with a few bits flipped or its end cut off.
fn spoiled_frames(random: &mut Random, count: usize) -> Vec<Vec<u8>> {
    let accepted = sample::accepted().into_iter().map(|frame| frame.bytes);
    let good: Vec<Vec<u8>> =
        accepted.chain(refusals::all().into_iter().map(|refusal| refusal.bytes)).collect();
    let spoil = |_| {
        let mut frame = good[random.below(good.len() as u32) as usize].clone();
        // Without the Ethernet addresses, in which every value is valid.
        let inside = frame.len() as u32 - 12;
        for _ in 0..random.below(4) {
            frame[12 + random.below(inside) as usize] ^= 1 << random.below(8);
        }
        if random.below(4) == 0 {
            frame.truncate(random.below(frame.len() as u32 + 1) as usize);
        }
        frame
    };
    (0..count).map(spoil).collect()
}

#[test]
fn spoiled_frames_are_counted_or_accepted() {
    let frames = spoiled_frames(&mut Random::new(11), 100_000);
    let finished = collect(&Ring::new(), &pcap_of(ETHERNET, &frames), &["-v"]).ok();
    assert_sound(&finished);
    assert_balanced(&finished, frames.len());
    assert!(finished.stdout.lines().count() > 10_000, "most of the damage is harmless");
}

#[test]
fn random_frames_of_every_link_type_are_counted() {
    let mut random = Random::new(12);
    // Random addresses, then an ethertype that the collector reads, or only random bytes.
    let frame = |random: &mut Random| -> Vec<u8> {
        let mut frame: Vec<u8> = (0..random.below(150)).map(|_| random.below(256) as u8).collect();
        let types = [[0x08, 0x06], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8], [0, 40]];
        for at in [0, 12, 14] {
            if random.below(2) == 0 && frame.len() > at + 1 {
                frame[at..at + 2].copy_from_slice(&types[random.below(5) as usize]);
            }
        }
        frame
    };
    for link_type in [ETHERNET, LINUX_SLL, LINUX_SLL2] {
        let frames: Vec<Vec<u8>> = (0..50_000).map(|_| frame(&mut random)).collect();
        let finished = collect(&Ring::new(), &pcap_of(link_type, &frames), &["-v"]).ok();
        assert_sound(&finished);
        assert_balanced(&finished, frames.len());
    }
}

/// The file itself is damaged: the readable packets are processed, then one line reports the error.
#[test]
fn spoiled_files_end_with_a_clear_error() {
    let mut random = Random::new(13);
    let whole = sample::capture();
    let mut refused = 0;
    for _ in 0..150 {
        let mut file = whole.clone();
        for _ in 0..1 + random.below(8) {
            // Damage in the headers of file and packets has an effect; they are a fifth of the file.
            let end = if random.below(3) == 0 { 24 } else { file.len() as u32 };
            let at = random.below(end);
            file[at as usize] ^= 1 << random.below(8);
        }
        file.truncate(file.len() - random.below(3) as usize * random.below(200) as usize);
        let finished = collect(&Ring::new(), &file, &[]);
        assert_sound(&finished);
        if finished.status.code() == Some(1) {
            finished.refused("collector", &["capture"]);
            refused += 1;
        }
    }
    assert!(refused > 10, "only {refused} of the files were refused");
}

/// A ring in which any byte was changed by a misbehaving owner: a reader may refuse it or print nonsense, but must not crash.
#[test]
fn a_spoiled_segment_harms_no_reader() {
    let mut random = Random::new(14);
    let ring = Ring::new();
    collect(&ring, &sample::capture(), &["-q", "-L", "64"]).ok();
    let whole = fs::read(ring.path()).unwrap();
    for round in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(8) {
            // The first words of the header in some rounds, any byte in others.
            let at = random.below(if round % 3 == 0 { 256 } else { bytes.len() as u32 });
            bytes[at as usize] ^= 1 << random.below(8);
        }
        fs::write(ring.path(), &bytes).unwrap();
        let format = if round % 2 == 0 { "text" } else { "json" };
        let finished = Run::start(stdout_of(&ring, &["--once", "--format", format])).finish();
        assert!(matches!(finished.status.code(), Some(0 | 1)), "{finished:#?}");
        assert!(!finished.stderr.contains("panicked"), "{finished:#?}");
    }
}

/// Memory of both processes without the segment, after half a million frames.
#[test]
fn memory_does_not_grow_with_the_input() {
    let own_memory = |run: &Run| -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", run.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let ring = Ring::new();
    let mut collector = Run::start(reading_collector(&ring, &[]));
    let mut traffic = Vec::new();
    bench::write(&mut traffic, bench::traffic(20_000, 3).take(500_000)).unwrap();
    let mut stdin = collector.stdin.take().unwrap();
    stdin.write_all(&traffic).unwrap();
    collector.stdout.wait_for_lines(400_000);
    let reader = Run::start(stdout_of(&ring, &["--replay"]));
    reader.stdout.wait_for_lines(60_000);
    for (name, run) in [("collector", &collector), ("aw-stdout", &reader)] {
        let kilobytes = own_memory(run);
        assert!(kilobytes < 8192, "{name} holds {kilobytes} kB of its own");
    }
}
