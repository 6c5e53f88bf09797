//! Any words in a ring's segment, as damage or a hostile owner may leave them: a reader refuses the segment, or reaches
//! its end and has returned only valid events; the next collector refuses it, or continues it and its events are read.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use shm_layout::{
    Counter, Event, InterfaceName, Kind, MacAddr, Next, Origin, Position, Reader, RingName, Start,
    UnixTime, VlanId, Writer, WriterOptions,
};

const SLOTS: u64 = 8;

/// Where the words lie that an input may change, in bytes, 64 words each: the header, the first and the last counters,
/// all slots.
const WINDOWS: [usize; 4] = [0, 4096, 69_120, 69_632];

/// The first two bytes are added to the file's length. Then nine bytes for each change: which word, and its new value.
pub fn segment(input: &[u8]) {
    let (longer, patches) = match input {
        [a, b, patches @ ..] => (i16::from_le_bytes([*a, *b]), patches),
        _ => return,
    };
    let mut bytes = WHOLE.clone();
    for [place, value @ ..] in patches.as_chunks::<9>().0 {
        let at = WINDOWS[usize::from(place >> 6)] + usize::from(place & 63) * 8;
        bytes[at..at + 8].copy_from_slice(value);
    }
    bytes.resize(bytes.len().saturating_add_signed(longer.into()), 0);

    let ring = Ring::new();
    ring.write(&bytes);
    let generation =
        u64::from_ne_bytes(bytes.get(24..32).map_or([0; 8], |word| word.try_into().unwrap()));
    let old = Start::At(Position { generation, sequence: 2 });
    for start in [Start::Oldest, Start::Now, old] {
        if let Ok(mut reader) = Reader::attach(&ring.0, start) {
            read_header(&reader);
            read(&mut reader);
            reader.wait(Duration::ZERO);
        }
    }
    for slots in [SLOTS, 2 * SLOTS] {
        let options = WriterOptions { name: ring.0.clone(), slots, group: None, host: None };
        let Ok(mut writer) = Writer::create(&options) else { return };
        let mut reader = Reader::attach(&ring.0, Start::Now).expect("a ring that was just created");
        publish(&mut writer, 3);
        let (found, lost) = read(&mut reader);
        assert!(found >= 3 && lost == 0, "events of the next collector are read: {found}, {lost}");
    }
}

/// Reads every field of the header.
fn read_header(reader: &Reader) {
    assert!(reader.host().chars().count() <= 64);
    assert!(!reader.is_replaced());
    for counters in reader.counters() {
        assert_line(counters.name.as_str());
        counters.outcomes();
    }
    let _ = (reader.created(), reader.heartbeat(), reader.writer(), reader.is_retired());
    let _ = (reader.published(), reader.slots(), reader.position());
}

/// Reads to the end; returns the numbers of events read and lost. There is no writer that could overtake the reader, so
/// it reaches the end after reading each slot twice, at the latest.
fn read(reader: &mut Reader) -> (u64, u64) {
    let start = reader.position().sequence;
    let (mut found, mut lost) = (0, 0);
    for _ in 0..=4 * SLOTS {
        match reader.next() {
            Next::Event(_, event) => {
                let line = event.to_string();
                assert_line(&line);
                assert_eq!(line.split(' ').count(), 6, "{line:?}");
                found += 1;
            }
            Next::Unknown(..) => found += 1,
            Next::Lapped { lost: more } => {
                assert_ne!(more, 0);
                lost += more;
            }
            Next::Empty => {
                assert_eq!(start + found + lost, reader.position().sequence);
                return (found, lost);
            }
        }
    }
    panic!("a reader does not reach the end");
}

fn assert_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// A segment that was in use: more events than slots, two interfaces.
static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let ring = Ring::new();
    let options = WriterOptions { name: ring.0.clone(), slots: SLOTS, group: None, host: None };
    let mut writer = Writer::create(&options).unwrap();
    writer.interface("eth1".parse().unwrap());
    publish(&mut writer, SLOTS + 3);
    drop(writer);
    fs::read(ring.0.path()).unwrap()
});

fn publish(writer: &mut Writer, count: u64) {
    let name: InterfaceName = "eth0".parse().unwrap();
    let interface = writer.interface(name);
    for _ in 0..count {
        writer.count(interface, Counter::Seen);
        let address = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(writer.published()));
        let event = Event {
            time: UnixTime::new(1_700_000_000, 0),
            address,
            interface: name,
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            source: MacAddr::new([2, 0, 0, 0, 0, 1]),
            vlan: VlanId::NONE,
            outer_vlan: VlanId::NONE,
            kind: Kind::Pairing(Origin::NdAdvertisement),
            router: Ipv4Addr::UNSPECIFIED,
        };
        writer.publish(interface, &event);
    }
}

/// A ring with a unique name, which is deleted when this is dropped.
struct Ring(RingName);

impl Ring {
    fn new() -> Ring {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Relaxed);
        Ring(format!("/aw-fuzz-{}-{number}", std::process::id()).parse().unwrap())
    }

    fn write(&self, bytes: &[u8]) {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(self.0.path());
        file.and_then(|mut file| file.write_all(bytes)).unwrap();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for suffix in ["", ".lock", ".new"] {
            let _ = fs::remove_file(format!("/dev/shm{}{suffix}", self.0));
        }
    }
}
