//! The sample capture: the committed file is what the generator writes, and it becomes exactly these lines, from the
//! collector and through the ring.
#![forbid(unsafe_code)]

use aw_tests::collect::{collect, held, held_json, lines, stdout_of};
use aw_tests::feed::generation_of;
use aw_tests::rig::run;
use aw_tests::ring::Ring;
use aw_tests::sample;

const CAPTURE: &[u8] = include_bytes!("../data/sample.pcap");
const TEXT: &str = include_str!("../data/sample.txt");

#[test]
fn the_committed_sample_is_what_the_generator_writes() {
    assert!(sample::capture() == CAPTURE, "run `make-capture sample tests/data/sample.pcap`");
    assert_eq!(sample::text("pcap"), TEXT, "run `make-capture sample-text tests/data/sample.txt`");
}

#[test]
fn the_collector_prints_the_sample() {
    assert_eq!(lines(CAPTURE, &[]), TEXT);
}

#[test]
fn the_ring_holds_the_sample() {
    let ring = Ring::new();
    let quiet = collect(&ring, CAPTURE, &["-q"]).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let shown = run(stdout_of(&ring, &["--once", "--replay"])).ok();
    assert_eq!(shown.stdout, TEXT);
    let expected = format!("aw-stdout: {}: {} events, 0 lost\n", ring.name(), TEXT.lines().count());
    assert_eq!(shown.stderr, expected);
    assert_eq!(held(&ring), TEXT, "a reader takes nothing away");
}

/// Every field of every line, with the outer VLAN id and the nanoseconds, which the text form does not show.
#[test]
fn the_sample_in_json_has_every_field() {
    let ring = Ring::new();
    collect(&ring, CAPTURE, &["-q"]).ok();
    let objects = held_json(&ring);
    let accepted = sample::accepted();
    assert_eq!(objects.len(), accepted.len());
    let generation = objects[0]["generation"].clone();
    assert_ne!(generation_of(&objects[0]), 0);
    let first = objects[0]["sequence"].as_u64().expect("a number");
    for (number, (object, accepted)) in (0..).zip(objects.iter().zip(&accepted)) {
        let words: Vec<&str> = accepted.event.split(' ').collect();
        let vlan: u16 = words[0].parse().unwrap();
        let mut expected = serde_json::json!({
            "ring": ring.name(),
            "generation": generation,
            "sequence": first + number,
            "kind": "pairing",
            "time": u64::from(sample::FIRST_SECOND) + number,
            "nanoseconds": number * 1_000_000,
            "interface": "pcap",
            "vlan": vlan,
            "outer_vlan": accepted.outer_vlan,
            "mac": words[1],
            "ip": words[2],
            "origin": words[3],
            "router": null,
        });
        // The Ethernet source, where it is another.
        let source = accepted.bytes[6..12].iter().map(|byte| format!("{byte:02x}"));
        let source = source.collect::<Vec<_>>().join(":");
        if source != words[1] {
            expected["frame_source"] = source.into();
        }
        assert_eq!(*object, expected);
    }
}

#[test]
fn the_interface_has_the_name_it_is_given() {
    assert_eq!(lines(CAPTURE, &["--as", "trunk0"]), sample::text("trunk0"));
    // The longest name that Linux allows an interface.
    assert_eq!(lines(CAPTURE, &["--as", "fifteen-letters"]), sample::text("fifteen-letters"));
}

/// Longer than an interface's name can be, empty, or of two words, which would break the line's columns.
#[test]
fn a_name_that_no_interface_can_have_is_refused() {
    for name in ["sixteen-letters-", "", "two words", "two\nlines"] {
        let finished = collect(&Ring::new(), CAPTURE, &["--as", name]);
        assert!(
            !finished.status.success() && finished.stdout.is_empty(),
            "{name:?}: {finished:#?}"
        );
        assert!(finished.status.code().is_some(), "{name:?}: {finished:#?}");
    }
}

#[test]
fn one_family_only() {
    let four = |event: &str| event.contains(" ARP_");
    let six = |event: &str| event.contains(" ND_");
    for option in ["-4", "--ipv4-only"] {
        assert_eq!(lines(CAPTURE, &[option]), sample::lines("pcap", four));
    }
    for option in ["-6", "--ipv6-only"] {
        assert_eq!(lines(CAPTURE, &[option]), sample::lines("pcap", six));
    }
}

/// No assertion on time: only that a slow replay loses and changes nothing.
#[test]
fn a_slow_replay_delivers_all() {
    let ring = Ring::new();
    assert_eq!(collect(&ring, CAPTURE, &["--max-rate", "500"]).ok().stdout, TEXT);
    assert_eq!(held(&ring), TEXT);
}
