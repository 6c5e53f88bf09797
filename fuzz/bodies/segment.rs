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
    CounterSet, Event, InterfaceName, Kind, MacAddr, NameKind, NameRecord, NameText, NextOf,
    Origin, Position, Record, RingName, RingReader, RingWriter, Start, UnixTime, VlanId,
    WriterOptions,
};

const SLOTS: u64 = 8;

/// Where the words lie that an input may change, in bytes, 64 words each: the header, the first and the last counters,
/// the slots: all of events, two of names.
const WINDOWS: [usize; 4] = [0, 4096, 69_120, 69_632];

/// The first two bytes are added to the file's length. Then nine bytes for each change: which word, and its new value.
pub fn segment(input: &[u8]) {
    examine(input, &EVENTS);
    examine(input, &NAMES);
}

/// What one of the two rings holds.
struct Tested<T: 'static> {
    whole: LazyLock<Vec<u8>>,
    record: fn(u64, InterfaceName) -> T,
    check: fn(&T),
}

fn examine<T: Record<N>, const N: usize>(input: &[u8], tested: &Tested<T>) {
    let (longer, patches) = match input {
        [a, b, patches @ ..] => (i16::from_le_bytes([*a, *b]), patches),
        _ => return,
    };
    let mut bytes = tested.whole.clone();
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
        if let Ok(mut reader) = RingReader::<T, N>::attach(&ring.0, start) {
            read_header(&reader);
            read(&mut reader, tested.check);
            reader.wait(Duration::ZERO);
        }
    }
    for slots in [SLOTS, 2 * SLOTS] {
        let options = WriterOptions { name: ring.0.clone(), slots, group: None, host: None };
        let Ok(mut writer) = RingWriter::<T, N>::create(&options) else { return };
        let mut reader =
            RingReader::<T, N>::attach(&ring.0, Start::Now).expect("a ring that was just created");
        publish(&mut writer, 3, tested.record);
        let (found, lost) = read(&mut reader, tested.check);
        assert!(found >= 3 && lost == 0, "events of the next collector are read: {found}, {lost}");
    }
}

/// Reads every field of the header.
fn read_header<T: Record<N>, const N: usize>(reader: &RingReader<T, N>) {
    assert!(reader.host().chars().count() <= 64);
    assert!(!reader.is_replaced());
    for counters in reader.counters() {
        assert_line(counters.name.as_str());
        counters.sum_of_outcomes::<T::Counter>();
    }
    let _ = (reader.created(), reader.heartbeat(), reader.writer(), reader.is_retired());
    let _ = (reader.published(), reader.slots(), reader.position());
}

/// Reads to the end; returns the numbers of events read and lost. There is no writer that could overtake the reader, so
/// it reaches the end after reading each slot twice, at the latest.
fn read<T: Record<N>, const N: usize>(reader: &mut RingReader<T, N>, check: fn(&T)) -> (u64, u64) {
    let start = reader.position().sequence;
    let (mut found, mut lost) = (0, 0);
    for _ in 0..=4 * SLOTS {
        match reader.next() {
            NextOf::Event(_, record) => {
                check(&record);
                found += 1;
            }
            NextOf::Unknown(..) => found += 1,
            NextOf::Lapped { lost: more } => {
                assert_ne!(more, 0);
                lost += more;
            }
            NextOf::Empty => {
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
fn whole<T: Record<N>, const N: usize>(record: fn(u64, InterfaceName) -> T) -> Vec<u8> {
    let ring = Ring::new();
    let options = WriterOptions { name: ring.0.clone(), slots: SLOTS, group: None, host: None };
    let mut writer = RingWriter::<T, N>::create(&options).unwrap();
    writer.interface("eth1".parse().unwrap());
    publish(&mut writer, SLOTS + 3, record);
    drop(writer);
    fs::read(ring.0.path()).unwrap()
}

static EVENTS: Tested<Event> =
    Tested { whole: LazyLock::new(|| whole(event)), record: event, check: check_event };
static NAMES: Tested<NameRecord> =
    Tested { whole: LazyLock::new(|| whole(name)), record: name, check: check_name };

fn check_event(event: &Event) {
    let line = event.to_string();
    assert_line(&line);
    assert_eq!(line.split(' ').count(), 6, "{line:?}");
}

/// The texts have spaces and quotes, which the line escapes.
fn check_name(record: &NameRecord) {
    let line = record.to_string();
    assert_line(&line);
    assert!(line.split(' ').count() >= 6, "{line:?}");
    let texts = [record.name, record.detail, record.third, record.circuit];
    assert!(texts.iter().all(|text| text.as_str().len() < 64));
}

fn publish<T: Record<N>, const N: usize>(
    writer: &mut RingWriter<T, N>,
    count: u64,
    record: fn(u64, InterfaceName) -> T,
) {
    let name: InterfaceName = "eth0".parse().unwrap();
    let interface = writer.interface(name);
    for _ in 0..count {
        writer.count(interface, T::Counter::SEEN);
        let record = record(writer.published(), name);
        writer.publish(interface, &record);
    }
}

fn address(number: u64) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number))
}

fn event(number: u64, interface: InterfaceName) -> Event {
    Event {
        time: UnixTime::new(1_700_000_000, 0),
        address: address(number),
        interface,
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
        source: MacAddr::new([2, 0, 0, 0, 0, 1]),
        vlan: VlanId::NONE,
        outer_vlan: VlanId::NONE,
        kind: Kind::Pairing(Origin::NdAdvertisement),
        router: Ipv4Addr::UNSPECIFIED,
    }
}

fn name(number: u64, interface: InterfaceName) -> NameRecord {
    let record = NameRecord::new(NameKind::DhcpAck, UnixTime::new(1_700_000_000, 0), interface);
    let (address, name) = (address(number), NameText::cut("printer"));
    NameRecord { address, name, mac: MacAddr::new([2, 0, 0, 0, 0, 1]), lifetime: 3600, ..record }
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
