//! Files of every variant, written by hand, and files that are damaged.

use std::io::Cursor;

use proptest::{collection::vec, prelude::*};

use super::*;

/// A pcapng file in the making, in one of the byte orders.
struct Pcapng {
    big: bool,
    bytes: Vec<u8>,
}

impl Pcapng {
    fn new(big: bool) -> Self {
        Pcapng { big, bytes: Vec::new() }.section()
    }

    fn u16(&self, number: u16) -> [u8; 2] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(&self, number: u32) -> [u8; 4] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn block(mut self, kind: u32, mut body: Vec<u8>) -> Self {
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.u32(body.len() as u32 + 12);
        self.bytes.extend([self.u32(kind), length].as_flattened());
        self.bytes.extend(body);
        self.bytes.extend(length);
        self
    }

    fn section(self) -> Self {
        let body = [self.u32(0x1a2b_3c4d), [self.u16(1), self.u16(0)].concat().try_into().unwrap()];
        self.block(0x0a0d_0d0a, [body.as_flattened(), &[0xff; 8]].concat())
    }

    fn interface(self, link: u16, snapshot: u32, options: &[(u16, &[u8])]) -> Self {
        let mut body = [self.u16(link), [0, 0]].concat();
        body.extend(self.u32(snapshot));
        for (code, value) in options {
            body.extend([self.u16(*code), self.u16(value.len() as u16)].as_flattened());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.block(1, body)
    }

    fn words(&self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.u32(*word)).collect()
    }

    fn packet(self, interface: u32, stamp: u64, bytes: &[u8]) -> Self {
        let length = bytes.len() as u32;
        let head = self.words(&[interface, (stamp >> 32) as u32, stamp as u32, length, length + 1]);
        self.block(6, [&head, bytes].concat())
    }
}

/// Each record as a line.
fn read(bytes: &[u8]) -> Vec<String> {
    let mut file = match CaptureFile::open(Cursor::new(bytes.to_vec())) {
        Ok(file) => file,
        Err(why) => return vec![why],
    };
    let mut lines = Vec::new();
    loop {
        lines.push(match file.next() {
            Ok(None) => return lines,
            Ok(Some(Record::Section)) => "section".into(),
            Ok(Some(Record::Interface(one))) => {
                format!("{} {}", one.link().0, one.name.unwrap_or_default())
            }
            Ok(Some(Record::Frame { interface, frame })) => {
                let (seconds, nanos) = (frame.time.seconds(), frame.time.subsec_nanos());
                format!("{interface}: {seconds}.{nanos:09} {:?} of {}", frame.bytes, frame.length)
            }
            Err(why) => {
                lines.push(why);
                return lines;
            }
        });
    }
}

#[test]
fn pcapng_in_both_byte_orders() {
    for big in [false, true] {
        let file = Pcapng::new(big)
            .interface(1, 65_535, &[(2, b"eth0"), (9, &[9]), (0, &[])])
            .interface(101, 0, &[(2, b"utun0")])
            .packet(0, 1_700_000_000_123_456_789, &[1, 2, 3])
            .packet(1, 1_700_000_000_123_456, &[4])
            .section()
            .interface(113, 96, &[])
            .packet(0, 5, &[6, 7, 8, 9, 10]);
        let expected = [
            "section",
            "1 eth0",
            "12 utun0",
            "0: 1700000000.123456789 [1, 2, 3] of 4",
            "1: 1700000000.123456000 [4] of 2",
            "section",
            "113 ",
            "0: 0.000005000 [6, 7, 8, 9, 10] of 6",
        ];
        assert_eq!(read(&file.bytes), expected);
    }
}

/// A file of a machine of the other byte order, appended.
#[test]
fn sections_of_different_byte_orders() {
    let mut bytes = Pcapng::new(false).interface(1, 0, &[]).packet(0, 1_000_000, &[1]).bytes;
    bytes.extend(Pcapng::new(true).interface(1, 0, &[]).packet(0, 2_000_000, &[2]).bytes);
    let lines = read(&bytes);
    assert_eq!(lines[2], "0: 1.000000000 [1] of 2");
    assert_eq!(lines[5], "0: 2.000000000 [2] of 2");
}

#[test]
fn units_and_offsets_of_times() {
    let seven = 7_i64.to_le_bytes();
    let before = (-1_i64).to_le_bytes();
    type Options<'a> = &'a [(u16, &'a [u8])];
    let units: [(Options, u64, &str); 6] = [
        (&[(9, &[0])], 12, "12.000000000"),
        (&[(9, &[3])], 12_345, "12.345000000"),
        (&[(9, &[12])], 12_345_678_901_234, "12.345678901"),
        (&[(9, &[0x80 | 10])], 1024 * 3 + 512, "3.500000000"),
        (&[(9, &[9]), (14, &seven)], 1_000_000_001, "8.000000001"),
        (&[(14, &before)], 500_000, "-1.500000000"),
    ];
    for (options, stamp, expected) in units {
        let file = Pcapng::new(false).interface(1, 0, options).packet(0, stamp, &[]);
        assert_eq!(read(&file.bytes)[2], format!("0: {expected} [] of 1"), "{options:?}");
    }
    for resolution in [20, 127, 0x80 | 64, 0xff] {
        let file = Pcapng::new(false).interface(1, 0, &[(9, &[resolution])]);
        assert!(read(&file.bytes)[1].contains("too small"), "{resolution}");
    }
}

/// Old and simple packet blocks; blocks of other kinds are skipped, however long.
#[test]
fn other_blocks_of_pcapng() {
    let file = Pcapng::new(false).interface(1, 3, &[]).interface(1, 0, &[]);
    let old = [file.u16(1), file.u16(99)].concat();
    let old = [old, file.words(&[0, 3_000_000, 2, 9]), vec![1, 2, 0, 0]].concat();
    let simple = [file.words(&[8]), vec![1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let file = file.block(2, old).block(5, vec![7; 400_000]).block(3, simple);
    let lines = read(&file.bytes);
    assert_eq!(lines[3..], ["1: 3.000000000 [1, 2] of 9", "0: 0.000000000 [1, 2, 3] of 8"]);
}

#[test]
fn damaged_pcapng_is_refused() {
    let good = || Pcapng::new(false).interface(1, 0, &[]);
    let start = good().bytes.len();
    let damaged = |at: usize, value: u32| {
        let mut bytes = good().packet(0, 0, &[1, 2, 3, 4]).bytes;
        bytes[start + at..start + at + 4].copy_from_slice(&value.to_le_bytes());
        read(&bytes).pop().unwrap()
    };
    for (at, value, why) in [
        (4, 0, "a block of 0 bytes"),
        (4, 11, "a block of 11 bytes"),
        (4, 0xffff_fff0, "a block of 4294967280 bytes"),
        (4, 48, "in the middle"),
        (8, 1, "interface 1, which is not described"),
        (20, 5, "holds fewer"),
        (20, u32::MAX, "holds fewer"),
        (32, 0, "ends with the length 0"),
    ] {
        assert!(damaged(at, value).contains(why), "{at}: {}", damaged(at, value));
    }
    let many = (0..5000).fold(Pcapng::new(false), |file, _| file.interface(1, 0, &[]));
    assert!(read(&many.bytes).pop().unwrap().contains("more than 4096 interfaces"));
}

fn pcap(magic: u32, minor: u16, record: &[u32]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend([2_u16, minor].map(u16::to_be_bytes).as_flattened());
    bytes.extend([0, 0, 65_535, 0xf400_0001].map(u32::to_be_bytes).as_flattened());
    bytes.extend(record.iter().copied().map(u32::to_be_bytes).collect::<Vec<_>>().as_flattened());
    bytes.extend([8, 9]);
    bytes
}

#[test]
fn variants_of_pcap() {
    let frame = |file: Vec<u8>| read(&file)[1..].join("; ");
    let expected = "0: 4000000000.000007000 [8, 9] of 60";
    assert_eq!(frame(pcap(0xa1b2_c3d4, 4, &[4_000_000_000, 7, 2, 60])), expected);
    assert_eq!(frame(pcap(0xa1b2_3c4d, 4, &[4_000_000_000, 7000, 2, 60])), expected);
    assert_eq!(frame(pcap(0xa1b2_cd34, 4, &[4_000_000_000, 7, 2, 60, 3, 4])), expected);
    assert_eq!(frame(pcap(0xa1b2_c3d4, 3, &[4_000_000_000, 7, 60, 2])), expected);
    assert!(frame(pcap(0xa1b2_c3d4, 4, &[1, 0, 262_145, 60])).contains("262145 bytes"));
    assert!(frame(pcap(0xa1b2_c3d4, 4, &[1, 0, 3, 60])).contains("in the middle of a frame"));
    let mut other = pcap(0xa1b2_c3d4, 4, &[]);
    other[5] = 3;
    assert!(read(&other)[0].contains("version 3.4"));
}

#[test]
fn other_formats_are_named() {
    for (bytes, remedy) in [
        (&b""[..], "empty"),
        (b"\xfd7zXZ\0rest", "xzcat FILE | collector --read -"),
        (b"BZh9rest", "bzcat"),
        (b"\x04\x22\x4d\x18rest", "lz4cat"),
        (b"snoop\0\0\0rest", "tshark"),
        (b"\x0a", "unknown"),
    ] {
        assert!(read(bytes)[0].contains(remedy), "{:?}", read(bytes));
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300), start in 0..6) {
        let start: &[u8] = match start {
            0 => &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0],
            1 => &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0],
            2 => &[0x1f, 0x8b, 8, 0],
            3 => &[0x28, 0xb5, 0x2f, 0xfd],
            4 => &[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0],
            _ => &[],
        };
        read(&[start, &bytes].concat());
    }

    /// Every damage is an error or another valid file; what was read before it is right.
    #[test]
    fn damaged_files(big: bool, at in 0..200_usize, bit in 0..8_u8, cut in 0..220_usize) {
        let file = Pcapng::new(big).interface(1, 0, &[(2, b"eth0")]).packet(0, 9, &[1; 40]);
        let mut bytes = file.interface(113, 9, &[(9, &[6])]).packet(1, 9, &[2; 33]).bytes;
        let whole = read(&bytes);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
        bytes.truncate(cut);
        let lines = read(&bytes);
        prop_assert!(lines.len() <= whole.len());
    }
}
