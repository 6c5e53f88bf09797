//! What is repeated: found by its bytes, before it is read.

use allocation_counter::measure;
use shm_layout::{RingName, WriterOptions, remove_names};

use super::*;
use crate::{copies::Overlap, link::LinkType, names::tests};

/// Its files are removed after its writer.
struct Ring {
    names: Names,
    _files: Files,
}

struct Files(RingName);

impl Ring {
    fn new() -> Ring {
        let name: RingName = format!("/aw-repeats-{}", std::process::id()).parse().unwrap();
        let options = WriterOptions { name: name.names(), slots: 64, group: None, host: None };
        Ring {
            names: Names::new(NamesWriter::create(&options).unwrap(), false),
            _files: Files(name),
        }
    }

    fn read(&mut self, seconds: i64, bytes: &[u8]) {
        let name = "eth0".parse().unwrap();
        let (link, counters, overlap) = (LinkType::Ethernet, InterfaceId::default(), Overlap::None);
        let source = FrameSource { name, link, counters, overlap };
        let frame = Frame { time: UnixTime::new(seconds, 0), bytes, length: bytes.len() };
        let rest =
            self.names.process(&source, &frame, name, (&OwnAddresses::default(), false), |_| true);
        assert!(matches!(rest, Rest::Done));
    }

    fn numbers(&self, counters: [NameCounter; 4]) -> [u64; 4] {
        let [interface] = &self.names.writer.counters()[..] else { panic!() };
        counters.map(|counter| interface.get(counter))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = remove_names(&self.0);
    }
}

/// A request of a DHCP client for its address.
fn request(transaction: u8, seconds: u8, name: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 1, 2, 3, transaction, 0, seconds, 0, 0];
    message.resize(28, 0);
    message.extend(tests::CLIENT);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 3, 12, name.len() as u8]);
    message.extend(name);
    message.extend([60, 4, b't', b'e', b's', b't', 55, 3, 1, 3, 6, 255]);
    tests::ethernet(0x0800, &tests::udp4([0; 4], [68, 67], &message))
}

#[test]
fn what_is_repeated_is_not_read_again() {
    use NameCounter::{Checksum, Published, Repeated, Seen};
    let mut ring = Ring::new();
    let counters = [Seen, Published, Repeated, Checksum];
    ring.read(0, &request(1, 0, b"nas"));
    // Another transaction of the same client has the same records.
    (0..10).for_each(|second| ring.read(second, &request(2, second as u8, b"nas")));
    assert_eq!(ring.numbers(counters), [11, 1, 10, 0]);
    // What differs in anything that a record has.
    ring.read(10, &request(1, 0, b"nat"));
    let mut other = request(1, 0, b"nas");
    other[11] = 9; // the sender
    ring.read(10, &other);
    (other[11], other[5]) = (1, 9); // the receiver
    ring.read(10, &other);
    assert_eq!(ring.numbers(counters), [14, 4, 10, 0]);
    // The same bytes with another checksum are refused.
    let mut broken = request(1, 0, b"nas");
    broken[40] ^= 1;
    ring.read(11, &broken);
    assert_eq!(ring.numbers(counters), [15, 4, 10, 1]);
    // Once a minute it is published again.
    ring.read(59, &request(1, 0, b"nas"));
    ring.read(60, &request(1, 0, b"nas"));
    ring.read(61, &request(1, 0, b"nas"));
    assert_eq!(ring.numbers(counters), [18, 5, 12, 1]);
    let frame = request(1, 0, b"nas");
    let allocations = measure(|| (61..100).for_each(|second| ring.read(second, &frame)));
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}
