//! Captures and options that cannot be used: one line with operation, object, cause and remedy; exit 1.
#![forbid(unsafe_code)]

use aw_tests::capture_file::*;
use aw_tests::collect::{collect, held, held_json, lines};
use aw_tests::frames::{Arp, station};
use aw_tests::rig::{program, run, run_with};
use aw_tests::ring::Ring;
use aw_tests::sample;

const ONE: &str = "1000 pcap 0 02:00:00:00:00:01 192.0.2.1 ARP_REQ\n";

fn frame() -> Vec<u8> {
    Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 2].into()).frame()
}

/// Cut anywhere after the first packet: that packet is delivered, then the error is reported; the ring has the packet.
#[test]
fn a_truncated_capture_delivers_what_it_has() {
    let whole = ethernet_pcap(&[frame(), frame()]);
    let second = 24 + 16 + 42;
    for cut in [second + 1, second + 15, second + 16, second + 17, whole.len() - 1] {
        let ring = Ring::new();
        let finished = collect(&ring, &whole[..cut], &[]).refused("collector", &["capture"]);
        assert_eq!(finished.stdout, ONE, "cut at {cut}");
        assert_eq!(held(&ring), ONE, "cut at {cut}");
    }
    assert_eq!(lines(&whole[..second], &[]), ONE, "cut between packets, it is whole");
}

#[test]
fn a_truncated_pcapng_delivers_what_it_has() {
    let mut file = Pcapng::new(Vec::new()).unwrap();
    file.interface(ETHERNET as u16).unwrap();
    file.packet(0, at(1000), &frame()).unwrap();
    file.packet(0, at(1001), &frame()).unwrap();
    let whole = file.finish().unwrap();
    let finished =
        collect(&Ring::new(), &whole[..whole.len() - 10], &[]).refused("collector", &["capture"]);
    assert_eq!(finished.stdout, ONE);
}

#[test]
fn a_truncated_standard_input_is_named() {
    let ring = Ring::new();
    let whole = ethernet_pcap(&[frame(), frame()]);
    let command = program("collector", &["--ring", ring.name(), "--read", "-"]);
    assert_eq!(run_with(command, &whole[..100]).refused("collector", &["read -: "]).stdout, ONE);
}

#[test]
fn a_capture_without_packets_is_no_error() {
    assert_eq!(lines(&ethernet_pcap::<Vec<u8>>(&[]), &[]), "");
}

#[test]
fn files_of_other_formats_are_refused() {
    let garbage: Vec<u8> =
        (0..4000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let header = ethernet_pcap::<Vec<u8>>(&[]);
    for (what, bytes) in [
        ("empty", &[][..]),
        ("garbage", &garbage),
        ("text", b"hello\n"),
        ("half a header", &header[..20]),
    ] {
        let ring = Ring::new();
        let finished = collect(&ring, bytes, &[]).refused("collector", &["capture"]);
        assert_eq!(finished.stdout, "", "{what}");
    }
}

/// Packet lengths that no file can have are refused, and no memory is allocated for them.
#[test]
fn a_capture_with_absurd_lengths_is_refused() {
    for length in [u32::MAX, 0x7fff_ffff, 0x1000_0000] {
        let mut bytes = ethernet_pcap(&[frame()]);
        for word in [1001, 0, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([0; 100]);
        assert_eq!(
            collect(&Ring::new(), &bytes, &[]).refused("collector", &["capture"]).stdout,
            ONE
        );
    }
}

#[test]
fn unreadable_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.pcap");
    for (path, cause) in [
        (missing.to_str().unwrap(), "o such file"),
        (directory.path().to_str().unwrap(), "irectory"),
    ] {
        let ring = Ring::new();
        let command = program("collector", &["--ring", ring.name(), "--read", path]);
        run(command).refused("collector", &[path, cause]);
        assert!(
            ring.files().is_empty(),
            "a collector that never began leaves no ring: {:?}",
            ring.files()
        );
    }
}

#[test]
fn a_link_type_without_ethernet_is_named() {
    for (link_type, name) in [(WLAN, "IEEE802_11"), (101, "RAW")] {
        let capture = pcap_of(link_type, &[frame()]);
        assert_eq!(collect(&Ring::new(), &capture, &[]).refused("collector", &[name]).stdout, "");
    }
}

/// Wrong usage: nothing is done, the option is named, the exit code is not 0.
#[test]
fn wrong_options_are_named() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let whole = save(directory.path(), "capture", &sample::capture());
    for (options, named) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["--max-rate", "fast", "--read", "x"], "fast"),
        (&["--max-rate", "0", "--read", "x"], "0"),
        (&["-L", "0", "--read", "x"], "0"),
        (&["-L", "-5", "--read", "x"], "-5"),
        (&["-L", "99999999999999999999", "--read", "x"], "99999999999999999999"),
        (&["-4", "-6", "--read", "x"], "--ipv6-only"),
        (&["--group", "no-such-group-at-all", "--read", &whole], "no-such-group-at-all"),
        (&["--read", "x", "eth0"], "INTERFACE"),
    ] {
        let mut command = program("collector", &["--ring", ring.name()]);
        let finished = run({
            command.args(options);
            command
        });
        assert!(matches!(finished.status.code(), Some(1 | 2)), "{options:?}: {finished:#?}");
        assert!(
            finished.stderr.contains(named) && finished.stdout.is_empty(),
            "{options:?}: {finished:#?}"
        );
        assert!(ring.files().is_empty(), "{options:?} left {:?}", ring.files());
    }
}

#[test]
fn ring_names_that_cannot_be_are_refused() {
    let long = format!("/{}", "x".repeat(300));
    for name in ["", "/", "/a/b", "/..", "/../etc/x", &long] {
        let mut command = program("collector", &["--read", "-", "--ring", name]);
        let finished = run_with(
            std::mem::replace(&mut command, program("aw-stdout", &["--once", "--ring", name])),
            &sample::capture(),
        );
        assert!(
            matches!(finished.status.code(), Some(1 | 2)) && finished.stdout.is_empty(),
            "{name:?}: {finished:#?}"
        );
        let finished = run(command);
        assert!(matches!(finished.status.code(), Some(1 | 2)), "{name:?}: {finished:#?}");
    }
}

/// The size of the ring is a power of two, not less than the requested number of events.
#[test]
fn the_ring_is_rounded_up_to_a_power_of_two() {
    let frames: Vec<_> = std::iter::repeat_n(frame(), 3000).collect();
    let capture = ethernet_pcap(&frames);
    for (asked, slots) in [("1000", 1024_u64), ("1024", 1024), ("1025", 2048)] {
        let ring = Ring::new();
        collect(&ring, &capture, &["-q", "-L", asked]).ok();
        let objects = held_json(&ring);
        let held = objects.len() as u64;
        assert!(held == slots || held == slots - 1, "-L {asked}: {held} events are held");
        assert_eq!(objects.last().unwrap()["time"], 1000 + 2999, "the newest is the last");
        assert_eq!(objects[0]["time"], 4000 - held, "the oldest is the first");
        let bytes = ring.path().metadata().unwrap().len();
        assert!(
            (slots * 64..slots * 64 + (128 << 10)).contains(&bytes),
            "-L {asked}: {bytes} bytes"
        );
    }
}

#[test]
fn remove_deletes_the_segment() {
    let ring = Ring::new();
    collect(&ring, &sample::capture(), &["-q"]).ok();
    assert!(ring.path().exists(), "it stays when the collector ends");
    run(program("collector", &["--ring", ring.name(), "--remove"])).ok();
    assert!(!ring.path().exists());
    assert_eq!(
        run(program("aw-stdout", &["--once", "--ring", ring.name()]))
            .refused("aw-stdout", &[ring.name()])
            .stdout,
        ""
    );
}

/// Nothing to remove is an error, because a mistyped name must not look like success.
#[test]
fn remove_of_nothing_is_named() {
    let ring = Ring::new();
    run(program("collector", &["--ring", ring.name(), "--remove"]))
        .refused("collector", &[ring.name()]);
}
