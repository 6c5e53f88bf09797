//! Capture files as they are kept: compressed, and pcapng of interfaces that differ.
#![forbid(unsafe_code)]

use aw_tests::bench::{self, Random};
use aw_tests::capture_file::*;
use aw_tests::collect::{collect, counters, lines};
use aw_tests::feed::numbered_capture;
use aw_tests::frames::{ARP, Arp, cooked, station};
use aw_tests::rig::{Finished, binary, program, run, run_with};
use aw_tests::ring::Ring;
use aw_tests::sample;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

/// What a program of the system makes of these bytes.
fn through(program: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let writer = thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    through("gzip", &["-c"], bytes)
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    through("zstd", &["-c", "-q", "--check"], bytes)
}

fn from_a_pipe(bytes: &[u8]) -> Finished {
    let ring = Ring::new(); // removed after the run
    run_with(program("collector", &["--ring", ring.name(), "--read", "-"]), bytes)
}

/// Whatever the file is called, and from a pipe.
#[test]
fn gzip_and_zstd_are_recognised() {
    let mut pcapng = Pcapng::new(Vec::new()).unwrap();
    pcapng.interface(ETHERNET as u16).unwrap();
    for (second, frame) in (0..).zip(sample::accepted()) {
        pcapng.packet(0, at(sample::FIRST_SECOND + second), &frame.bytes).unwrap();
    }
    for plain in [sample::capture(), pcapng.finish().unwrap()] {
        for compressed in [gzip(&plain), zstd(&plain)] {
            assert_eq!(lines(&compressed, &[]), sample::text("pcap"));
            assert_eq!(from_a_pipe(&compressed).ok().stdout, sample::text("pcap"));
        }
    }
}

/// A large file in several pieces, with the frames of a second one appended: `cat a.gz b.gz`, pzstd, skippable frames.
#[test]
fn compressed_files_in_a_row() {
    let whole = numbered_capture(1..20_001);
    let expected = lines(&whole, &["-4"]);
    assert_eq!(expected.lines().count(), 20_000);
    for split in [24, 1000, 700_000] {
        let (first, second) = whole.split_at(split);
        assert_eq!(lines(&[gzip(first), gzip(&[]), gzip(second)].concat(), &["-4"]), expected);
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], &[1, 2, 3]].concat();
        let frames = [skippable.clone(), zstd(first), zstd(&[]), skippable, zstd(second)];
        assert_eq!(lines(&frames.concat(), &["-4"]), expected);
    }
}

/// The events of the part that could be read are delivered; the error names their number.
#[test]
fn a_truncated_compressed_file_delivers_what_it_has() {
    // Hard to compress, so that most of it is in the first part.
    let frames: Vec<Vec<u8>> = {
        let mut random = Random::new(15);
        let mut host = || (0..4).map(|_| random.below(256) as u8).collect::<Vec<u8>>();
        let frame = |_| {
            Arp::request(
                station(1),
                [10, host()[0], host()[1], host()[2]].into(),
                [192, 0, 2, 2].into(),
            )
        };
        (0..50_000).map(frame).map(|arp| arp.frame()).collect()
    };
    let whole = ethernet_pcap(&frames);
    let all = lines(&whole, &[]);
    for (format, compressed) in [("gzip", gzip(&whole)), ("zstd", zstd(&whole))] {
        for cut in [compressed.len() * 2 / 3, compressed.len() - 1] {
            let cut = &compressed[..cut];
            let finished =
                collect(&Ring::new(), cut, &[]).refused("collector", &["capture", format]);
            let delivered = finished.stdout.lines().count();
            assert!(all.starts_with(&finished.stdout) && delivered > 1000, "{format}: {delivered}");
            let number = format!("after {delivered} frames");
            assert!(finished.stderr.contains(&number), "{number}: {}", finished.stderr);
            assert!(finished.stderr.contains("ends too early"), "{}", finished.stderr);
        }
    }
}

#[test]
fn a_corrupt_compressed_file_is_refused() {
    let mut random = Random::new(16);
    let whole = numbered_capture(1..2_001);
    for (format, compressed) in [("gzip", gzip(&whole)), ("zstd", zstd(&whole))] {
        let mut refused = 0;
        for _ in 0..60 {
            let mut spoiled = compressed.clone();
            // Behind the header, in which a few bits have no meaning.
            let at = 12 + random.below(spoiled.len() as u32 - 12) as usize;
            spoiled[at] ^= 1 << random.below(8);
            let finished = collect(&Ring::new(), &spoiled, &["-q"]);
            assert!(!finished.stderr.contains("panicked"), "{format}, byte {at}: {finished:#?}");
            refused += u32::from(finished.status.code() == Some(1));
        }
        assert!(refused >= 58, "{format}: {refused} of 60");
    }
}

/// A small file that stands for a large one takes time, and no memory: with 160 MiB of address space, of which the
/// window of zstd may take 8.
#[test]
fn a_bomb_takes_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    // 48 million bytes of frames without bytes, three million of them, and a block of a gigabyte.
    let frames = [ethernet_pcap::<Vec<u8>>(&[]), vec![0; 48_000_000]].concat();
    let block = {
        let mut file = Pcapng::new(Vec::new()).unwrap();
        file.interface(ETHERNET as u16).unwrap();
        let mut bytes = file.finish().unwrap();
        bytes.extend([0x0bad_u32, 1 << 30].map(u32::to_le_bytes).as_flattened());
        [bytes, vec![0; 200_000_000]].concat()
    };
    for (bomb, code) in [(frames, 0), (block, 1)] {
        for compressed in [gzip(&bomb), through("zstd", &["-c", "-q", "-19"], &bomb)] {
            let file = save(directory.path(), "capture", &compressed);
            let mut command = Command::new("prlimit");
            command.args(["--as=167772160"]).arg(binary("collector"));
            let ring = Ring::new(); // removed after the run
            command.args(["-q", "--ring", ring.name(), "--read", &file]);
            assert_eq!(run(command).status.code(), Some(code), "{} bytes", compressed.len());
        }
    }
}

#[test]
fn other_compressions_have_a_remedy() {
    let compressed = [b"\xfd7zXZ\0", &[0; 100][..]].concat();
    collect(&Ring::new(), &compressed, &[])
        .refused("collector", &["capture", "xzcat FILE | collector"]);
    let window = through("zstd", &["-c", "-q", "--ultra", "-22", "--long=30"], &sample::capture());
    // A small input gets a small window, unless its size is not known.
    if collect(&Ring::new(), &window, &["-q"]).status.code() != Some(0) {
        collect(&Ring::new(), &window, &[]).refused("collector", &["zstdcat --long=31"]);
    }
}

fn arp(number: u8) -> Arp {
    Arp::request(station(number.into()), [192, 0, 2, number].into(), [192, 0, 2, 99].into())
}

fn line(second: u32, interface: &str, number: u8) -> String {
    format!("{second} {interface} 0 02:00:00:00:00:0{number} 192.0.2.{number} ARP_REQ\n")
}

/// An office's Ethernet interface, its VPN, `any`, and another one of another snapshot length, in one file.
fn differing() -> Vec<u8> {
    let mut file = Pcapng::new(Vec::new()).unwrap();
    file.named_interface(RAW_IP, 0, "utun0").unwrap();
    file.packet(0, at(999), &[0x45; 28]).unwrap();
    file.named_interface(ETHERNET, 262_144, "en0").unwrap();
    file.named_interface(LINUX_SLL, 65_535, "any").unwrap();
    file.named_interface(ETHERNET, 96, "en1").unwrap();
    file.packet(1, at(1000), &arp(1).frame()).unwrap();
    file.packet(0, at(1001), &[0x45; 28]).unwrap();
    file.packet(2, at(1002), &cooked(station(2), ARP, &arp(2).bytes())).unwrap();
    file.packet(3, at(1003), &arp(3).frame()).unwrap();
    file.finish().unwrap()
}

#[test]
fn interfaces_that_differ_are_read_and_others_skipped() {
    let finished = collect(&Ring::new(), &differing(), &["-v"]).ok();
    let expected = [line(1000, "pcap", 1), line(1002, "pcap", 2), line(1003, "pcap", 3)].concat();
    assert_eq!(finished.stdout, expected);
    let messages = finished.stderr.lines().filter(|line| line.contains("skipped"));
    let messages: Vec<&str> = messages.collect();
    assert!(messages.len() == 1 && messages[0].contains("utun0"), "{messages:?}");
    assert!(messages[0].contains("RAW"), "{messages:?}");
    let counted = counters(&finished.stderr, "pcap");
    assert_eq!((counted["seen"], counted["published"], counted["link_type"]), (5, 3, 2));
}

#[test]
fn the_filter_is_compiled_for_each_link_type() {
    let filter = ["-v", "--filter", "arp and not ether[6:4] = 0x02000000 or link[0] = 0"];
    let finished = collect(&Ring::new(), &differing(), &filter).ok();
    assert_eq!(finished.stdout, line(1002, "pcap", 2), "the cooked header begins with a zero");
    assert_eq!(counters(&finished.stderr, "pcap")["filtered"], 2);
}

#[test]
fn events_are_named_by_interface() {
    let names = ["--as", "lan", "--as", "en1=dmz", "--as", "eth9=x"];
    let finished = collect(&Ring::new(), &differing(), &names).ok();
    let expected = [line(1000, "lan", 1), line(1002, "lan", 2), line(1003, "dmz", 3)].concat();
    assert_eq!(finished.stdout, expected);
    assert!(finished.stderr.contains("has no interface eth9"), "{}", finished.stderr);
}

/// Nothing that can be read: an error, and no ring.
#[test]
fn a_file_without_ethernet_is_refused() {
    let mut raw = Pcapng::new(Vec::new()).unwrap();
    raw.named_interface(RAW_IP, 0, "utun0").unwrap();
    raw.packet(0, at(999), &[0x45; 28]).unwrap();
    let none = Pcapng::new(Vec::new()).unwrap();
    for (file, why) in [(raw, "RAW"), (none, "no interfaces")] {
        let ring = Ring::new();
        let finished =
            collect(&ring, &file.finish().unwrap(), &[]).refused("collector", &["capture", why]);
        assert_eq!((finished.stdout.as_str(), finished.stderr.lines().count()), ("", 1));
        assert!(ring.files().is_empty(), "{:?}", ring.files());
    }
}

/// Each section describes its own interfaces; a flood of skipped ones floods no log.
#[test]
fn many_sections() {
    let mut whole = Vec::new();
    for _ in 0..100 {
        let mut file = Pcapng::new(Vec::new()).unwrap();
        file.named_interface(RAW_IP, 0, "tun\x1b[31m").unwrap();
        file.named_interface(ETHERNET, 0, "eth0").unwrap();
        file.packet(1, at(1000), &arp(1).frame()).unwrap();
        whole.extend(file.finish().unwrap());
    }
    let finished = collect(&Ring::new(), &whole, &[]).ok();
    assert_eq!(finished.stdout, line(1000, "pcap", 1).repeat(100));
    assert!(finished.stderr.lines().count() < 10, "{}", finished.stderr);
    assert!(!finished.stderr.contains('\x1b'), "{:?}", finished.stderr);
}

/// Of the benchmark's traffic, the same events compressed and not.
#[test]
fn a_large_compressed_file() {
    let mut traffic = Vec::new();
    bench::write(&mut traffic, bench::traffic(1000, 3).take(200_000)).unwrap();
    let plain = lines(&traffic, &[]);
    assert!(plain.lines().count() > 100_000);
    for compressed in [gzip(&traffic), zstd(&traffic)] {
        assert!(lines(&compressed, &[]) == plain);
    }
}
