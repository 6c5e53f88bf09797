//! `--names`: what devices call themselves, and what routers and servers announce, from messages that reach every port. What pairs
//! a MAC with an address is an event, too. docs/dev/names.md has the fields of each message.
//!
//! `message` finds a message, one file for each protocol reads it. Nothing here has a clock or does I/O.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Deref,
};

use shm_layout::{MacAddr, NameCounter, NameMarks, NameRecord, NameText, Origin};

use crate::check::Sighting;

mod dhcp;
mod dhcpv6;
mod lldp;
mod mdns;
pub mod message;
mod mld;
mod router;
#[cfg(test)]
pub mod tests;

use message::{Body, Message};

/// Most records of one message. The sender chooses how many it has.
const MOST: usize = 32;

/// Labels and pointers of a name of DNS: RFC 1035 has names of 255 bytes, and programs write one pointer, or two.
const LABELS: usize = 128;
const POINTERS: usize = 16;
const NAME: usize = 255;

/// What a message gives.
#[derive(Debug, Default)]
pub struct Claims {
    records: Vec<NameRecord>,
    left_out: LeftOut,
    /// What it pairs.
    pairing: Option<Sighting>,
    /// Keyed at random, so that a hash can neither be made nor be tried out.
    hasher: RandomState,
}

/// What was left out of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Records that were too many.
    pub more: u64,
    /// Texts that are not UTF-8.
    pub texts: u64,
    /// Options whose length or value is not right, or that came twice.
    pub options: u64,
}

impl Claims {
    fn add(&mut self, record: NameRecord) {
        match self.records.len() < MOST {
            true => self.records.push(record),
            false => self.left_out.more += 1,
        }
    }

    /// Adds a record unless there are so many of its kind. Returns whether it was added.
    fn add_of(&mut self, most: usize, record: NameRecord) -> bool {
        let is_room = self.records.iter().filter(|other| other.kind == record.kind).count() < most;
        match is_room {
            true => self.add(record),
            false => self.left_out.more += 1,
        }
        is_room
    }

    /// Something of an option; otherwise the option is left out.
    fn option<T>(&mut self, value: Option<T>) -> Option<T> {
        self.left_out.options += u64::from(value.is_none());
        value
    }

    /// A device's text, with what is not UTF-8 replaced, and whether it was cut.
    fn text(&mut self, bytes: &[u8]) -> (NameText, bool) {
        NameText::clean(bytes).unwrap_or_else(|| {
            self.left_out.texts += 1;
            let text = String::from_utf8_lossy(bytes);
            NameText::clean(text.as_bytes()).unwrap_or((NameText::EMPTY, false))
        })
    }

    /// Stores a device's text as the name.
    fn name(&mut self, record: &mut NameRecord, bytes: &[u8]) {
        let (name, cut) = self.text(bytes);
        record.name = name;
        record.marks.set_if(cut, NameMarks::NAME_CUT);
    }

    /// Stores a text that has no end of its own, such as a URL: what is behind 63 bytes may be what counts.
    fn long(&mut self, record: &mut NameRecord, bytes: &[u8]) {
        self.left_out.texts += u64::from(str::from_utf8(bytes).is_err());
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.trim();
        for field in [&mut record.name, &mut record.detail, &mut record.third, &mut record.circuit]
        {
            let (part, after) = rest.split_at(rest.floor_char_boundary(63));
            *field = NameText::cut(part);
            rest = after;
        }
        record.marks.set_if(!rest.is_empty(), NameMarks::CIRCUIT_CUT);
    }

    /// Stores a device's text as the detail.
    fn detail(&mut self, record: &mut NameRecord, bytes: &[u8]) {
        let (detail, cut) = self.text(bytes);
        record.detail = detail;
        record.marks.set_if(cut, NameMarks::DETAIL_CUT);
    }

    /// A hash of what identifies a client or server; 0 if it is empty. Equal ones are equal until the collector starts again.
    fn hash(&self, bytes: &[u8]) -> u64 {
        if bytes.is_empty() { 0 } else { self.hasher.hash_one(bytes).max(1) }
    }

    /// Pairs the record's MAC with its address.
    fn pair(&mut self, record: &NameRecord, origin: Origin) {
        let &NameRecord { mac, sender: source, address, vlan, outer_vlan, .. } = record;
        self.pairing = Some(Sighting { mac, source, address, origin, vlan, outer_vlan });
    }

    /// Records of the last message; of one that was refused, the one that reports this, if it is of a router or server.
    pub fn records(&self) -> &[NameRecord] {
        &self.records
    }

    /// Keeps the records that are wanted. Returns the number of the others.
    pub fn retain(&mut self, is_wanted: impl Fn(&NameRecord) -> bool) -> u64 {
        let all = self.records.len();
        self.records.retain(is_wanted);
        self.number();
        (all - self.records.len()) as u64
    }

    fn number(&mut self) {
        let of = self.records.len() as u16;
        for (record, index) in self.records.iter_mut().zip(0..) {
            (record.index, record.of) = (index, of);
        }
    }

    /// The same, to add what the publisher knows.
    pub fn records_mut(&mut self) -> &mut [NameRecord] {
        &mut self.records
    }

    /// What was left out of the last message.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The pairing of the last message.
    pub fn pairing(&self) -> Option<Sighting> {
        self.pairing
    }

    /// Reads a message.
    pub fn read(&mut self, message: &Message) -> Result<(), NameCounter> {
        self.records.clear();
        (self.left_out, self.pairing) = (LeftOut::default(), None);
        let read = match message.refused {
            Some(reason) => Err(reason),
            None => self.read_body(message),
        };
        if let Err(reason) = read {
            self.records.clear();
            (self.left_out, self.pairing) = (LeftOut::default(), None);
            self.records.extend(message.refusal(reason));
        }
        self.number();
        let LeftOut { more, texts, options } = self.left_out;
        for record in &mut self.records {
            record.marks.set_if(more > 0, NameMarks::INCOMPLETE);
            record.marks.set_if(options > 0, NameMarks::BAD_OPTION);
            record.marks.set_if(texts > 0, NameMarks::BAD_TEXT);
        }
        read
    }

    fn read_body(&mut self, message: &Message) -> Result<(), NameCounter> {
        match message.body {
            Body::Dhcp(port, bytes) => dhcp::read(message, port, bytes, self),
            Body::Dhcpv6(bytes) => dhcpv6::read(message, bytes, self),
            Body::Mdns(port, bytes) => mdns::read(message, port, bytes, self),
            Body::Icmp(bytes) => match bytes.first() {
                Some(133..=137) => router::read(message, bytes, self),
                _ => mld::read(message, bytes, self),
            },
            Body::Lldp(bytes) => lldp::read(message, bytes, self),
        }
    }
}

/// Whether a MAC is one that a device can have.
fn is_device(mac: MacAddr) -> bool {
    !mac.is_no_host()
}

/// The next fixed number of bytes.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], NameCounter> {
    field(bytes, at).ok_or(NameCounter::Truncated)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied()
}

/// A name of DNS with dots between its labels.
#[derive(Clone)]
struct DnsName {
    bytes: [u8; NAME],
    length: usize,
}

impl Default for DnsName {
    fn default() -> DnsName {
        DnsName { bytes: [0; NAME], length: 0 }
    }
}

impl DnsName {
    /// Adds bytes, unless it would be too long.
    fn add(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length + bytes.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }
}

impl Deref for DnsName {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A name of DNS, and where what follows it begins; pointers are followed (RFC 1035, 4.1.4). It need not end in an empty label
/// (RFC 4702, 2.3.1).
fn labels(bytes: &[u8], mut at: usize) -> Option<(DnsName, usize)> {
    let (mut name, mut after) = (DnsName::default(), None);
    let mut end = at + 1; // pointers lead in front of this
    let mut pointers = 0;
    for _ in 0..LABELS + POINTERS {
        match bytes.get(at) {
            None | Some(0) => return Some((name, after.unwrap_or((at + 1).min(bytes.len())))),
            Some(length @ 1..=63) => {
                let label = bytes.get(at + 1..at + 1 + usize::from(*length))?;
                if !name.is_empty() {
                    name.add(b".")?;
                }
                name.add(label)?;
                at += 1 + label.len();
            }
            Some(high @ 192..) => {
                let to = usize::from(high & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                pointers += 1;
                if to + 1 >= end || pointers > POINTERS {
                    return None;
                }
                after = after.or(Some(at + 2));
                (at, end) = (to, to + 1);
            }
            Some(_) => return None,
        }
    }
    None
}

/// Texts should not end in zero bytes, and some programs add one (RFC 2132, 2).
fn until_zero(text: &[u8]) -> &[u8] {
    let length = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    &text[..length]
}

/// A port of a relay or switch: a text, or digits.
fn port(value: &[u8]) -> NameText {
    let is_text = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if is_text { NameText::cut(&String::from_utf8_lossy(value)) } else { hex("", value) }
}

/// Bytes as hexadecimal digits: as many as fit in a text.
fn hex(prefix: &str, bytes: &[u8]) -> NameText {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 63];
    let (head, digits) = text.split_at_mut(prefix.len());
    head.copy_from_slice(prefix.as_bytes());
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
    }
    NameText::cut(str::from_utf8(until_zero(&text)).unwrap_or_default())
}
