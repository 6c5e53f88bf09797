//! No frame causes an allocation once the tables are full: neither a published one nor one that is refused, limited or
//! filtered, neither when the rate limit forgets a pairing nor when readers are woken.

use allocation_counter::measure;
use clap::Parser;
use shm_layout::{Reader, RingName, Start, Writer, remove};

use super::*;
use crate::{options::Options, pipeline::Pipeline};

/// Pairings that the rate limit may remember.
const KNOWN: u32 = 1000;

/// Deleted at the end of the test.
struct Ring(RingName);

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

/// Frame number `n`: one of each kind in turn, with an address derived from the number.
fn numbered(n: u32) -> Vec<u8> {
    let ethernet = |tags: &[_], protocol, message: &[u8]| {
        frame(LinkType::Ethernet, tags, false, protocol, message)
    };
    let arp = |address: u32| {
        let mut message = arp_request();
        message[14..18].copy_from_slice(&address.to_be_bytes());
        message
    };
    let own = 0x0a00_0000 + n;
    let nd = |extensions: &[u8]| {
        let mut message = advertisement(extensions);
        let address = message.len() - 12; // the target's last four bytes; an option follows
        message[address..address + 4].copy_from_slice(&n.to_be_bytes());
        message
    };
    let tag = |protocol: u16, frame: Vec<u8>| {
        [&frame[..12], &protocol.to_be_bytes(), &[0; 4], &frame[12..]].concat()
    };
    match n % 12 {
        0 => ethernet(&[], 0x0806, &arp(own)),
        1 => ethernet(&[], 0x86dd, &nd(&[])),
        2 => ethernet(&[(0x88a8, 100), (0x8100, n as u16)], 0x0806, &arp(own)),
        3 => ethernet(&[(0x8100, 7)], 0x86dd, &nd(&[0, 60, 43])),
        4 => frame(LinkType::Ethernet, &[], true, 0x0806, &arp(own)),
        5 => ethernet(&[], 0x0806, &arp(0x0a00_0000)), // known, and limited
        6 => ethernet(&[], 0x0806, &arp(0xc000_0200)), // blacklisted
        7 => ethernet(&[], 0x0806, &arp(own)[..20]),   // truncated
        8 => ethernet(&[], 0x86dd, &nd(&[60, 0])),     // hop-by-hop options that are not the first
        9 => tag(0x8926, ethernet(&[], 0x0806, &arp(own))), // behind a VN-Tag
        10 => tag(0x9001, ethernet(&[], 0x0806, &arp(own))), // behind an unknown header
        _ => ethernet(&[], 0x88cc, &[2, 7, 4]),        // unrelated
    }
}

#[test]
fn no_frame_allocates() {
    let ring: RingName = format!("/aw-allocations-{}", std::process::id()).parse().unwrap();
    let ring = Ring(ring);
    let line =
        format!("collector -q -u root -r 60 -b 192.0.2.0/24 --max-pairings {KNOWN} -m {}", ring.0);
    let options = Options::parse_from(line.split(' '));
    let writer = Writer::create(&options.writer().unwrap()).unwrap();
    let mut pipeline = Pipeline::new(writer, None, None, &options).unwrap();
    let source = pipeline.source("eth0".parse().unwrap(), LinkType::Ethernet);
    let frames: Vec<_> = (0..40 * KNOWN).map(numbered).collect();
    let (warm_up, measured) = frames.split_at(frames.len() / 2);
    let mut process = |frames: &[Vec<u8>]| {
        for bytes in frames {
            let time = UnixTime::from_nanos(0);
            pipeline.process_frame(&source, &Frame { time, bytes, length: bytes.len() });
            pipeline.deliver().unwrap();
        }
    };
    assert!(measure(|| process(warm_up)).count_total > 0, "growing tables are measured");
    let allocations = measure(|| process(measured));
    assert_eq!(allocations.count_total, 0, "{allocations:?}");

    let counters = Reader::attach(&ring.0, Start::Now).unwrap().counters();
    for reason in [
        Counter::Published,
        Counter::RateLimited,
        Counter::Filtered,
        Counter::Truncated,
        Counter::ExtensionHeader,
        Counter::Unrelated,
        Counter::UnknownHeader,
        Counter::Forgotten,
    ] {
        assert!(counters[0].get(reason) >= u64::from(3 * KNOWN), "{reason:?}: {counters:?}");
    }
}
