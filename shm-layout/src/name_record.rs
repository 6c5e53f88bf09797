//! The record of the ring of names: what a device calls itself, and what routers and servers announce. Every field is a claim of
//! the sender. docs/dev/names.md has the fields of each kind.
//!
//! A record is 504 bytes, so that with its sequence word it fills eight cache lines. Numbers are in the machine's byte order.
//! The last bytes are for later fields: in each record, 0 means that the writer did not know the field.
//!
//! | byte | field |
//! |---|---|
//! | 0 | time, nanoseconds since the Unix epoch, signed |
//! | 8 | address, 16 bytes, IPv4 as `::ffff:a.b.c.d`, `::` = none |
//! | 24 | interface name, 16 bytes, padded with zero bytes |
//! | 40 | MAC address, 6 bytes |
//! | 46 | VLAN id, 0 = untagged |
//! | 48 | MAC address that sent the frame, 6 bytes |
//! | 54 | outer VLAN id, 0 = none |
//! | 56 | kind |
//! | 57 | flags, as in the message |
//! | 58 | length of the prefix |
//! | 59 | hop limit that a router announces |
//! | 60 | lifetime, seconds, 4 bytes |
//! | 64 | second address, 16 bytes |
//! | 80 | relay, 16 bytes |
//! | 96 | name, 64 bytes, padded with zero bytes |
//! | 160 | detail, 64 bytes, padded with zero bytes |
//! | 224 | second lifetime, 4 bytes |
//! | 228 | number, 4 bytes |
//! | 232 | id, 8 bytes |
//! | 240 | source of the packet, 16 bytes |
//! | 256 | destination of the packet, 16 bytes |
//! | 272 | MAC address that the frame was sent to, 6 bytes |
//! | 278 | hop limit of the packet |
//! | 279 | version of the protocol |
//! | 280 | MAC address in an option, 6 bytes |
//! | 286 | counter of the refusal, 2 bytes |
//! | 288 | marks, 4 bytes |
//! | 292 | how often the message was repeated since it was stored last, 4 bytes |
//! | 296 | when it was last repeated, nanoseconds since the Unix epoch, signed |
//! | 304 | number of the message, 4 bytes |
//! | 308 | place of the record in its message, from 0, 2 bytes |
//! | 310 | records of the message, 2 bytes |
//! | 312 | times to renew and to rebind, seconds, 2 × 4 bytes |
//! | 320 | further flags, as in the message, 8 bytes |
//! | 328 | second id, 8 bytes |
//! | 336 | third text, 64 bytes, padded with zero bytes |
//! | 400 | circuit, 64 bytes, padded with zero bytes |
//! | 464 | 0, 40 bytes |

use std::net::{IpAddr, Ipv6Addr};

use crate::{
    CounterSet, InterfaceName, MacAddr, UnixTime, UnknownEvent, VlanId, record::NAME_WORDS,
};

mod counter;
mod kind;
mod line;
mod marks;
#[cfg(test)]
mod tests;
mod text;

pub use {counter::NameCounter, kind::NameKind, marks::NameMarks, text::NameText};

const SIZE: usize = NAME_WORDS * size_of::<u64>();

/// One record of the ring of names. Fields that a kind does not use are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRecord {
    /// When the frame was captured.
    pub time: UnixTime,
    /// The interface that received it.
    pub interface: InterfaceName,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// Which message it is.
    pub kind: NameKind,
    /// The device that the message is about: a DHCP client, otherwise the sender.
    pub mac: MacAddr,
    /// The MAC that sent the frame.
    pub sender: MacAddr,
    /// The address that the message is about, IPv4 as v4-mapped; `::` if there is none.
    pub address: Ipv6Addr,
    /// A second address: of the server as it was sent, also if no host can have it; of the router; a redirect's destination.
    pub other: Ipv6Addr,
    /// The relay that forwarded the message.
    pub relay: Ipv6Addr,
    /// Flags, as in the message.
    pub flags: u8,
    /// Length of the prefix that begins with the address.
    pub prefix: u8,
    /// Hop limit that a router announces.
    pub hops: u8,
    /// Seconds that the claim is valid; `u32::MAX` = for ever.
    pub lifetime: u32,
    /// A second time: the preferred lifetime, or a router's reachable time in milliseconds.
    pub preferred: u32,
    /// A number: MTU, transaction, port.
    pub number: u32,
    /// A hash of what identifies the client, or a router's retransmission time.
    pub id: u64,
    /// The name that the device gives itself.
    pub name: NameText,
    /// A second text: vendor class, model, port of the switch.
    pub detail: NameText,
    /// The packet's source, IPv4 as v4-mapped; `::` for LLDP.
    pub source: Ipv6Addr,
    /// The packet's destination.
    pub destination: Ipv6Addr,
    /// The MAC that the frame was sent to; zero if the capture does not have it.
    pub receiver: MacAddr,
    /// The packet's hop limit or time to live.
    pub ttl: u8,
    /// Version of the protocol (MLD).
    pub version: u8,
    /// A MAC in an option: of a redirect's target, the chassis of LLDP.
    pub target: MacAddr,
    /// Why the message was refused.
    pub reason: Option<NameCounter>,
    /// What else is to be known of the record.
    pub marks: NameMarks,
    /// How often the message was received and not stored since it was stored last.
    pub repeats: u32,
    /// When that was last.
    pub repeated: UnixTime,
    /// Number of the message, from when the collector started: all records of one message have the same.
    pub message: u32,
    /// Place of the record in its message, from 0.
    pub index: u16,
    /// Records of the message.
    pub of: u16,
    /// Seconds after which a lease is renewed.
    pub renew: u32,
    /// Seconds after which a lease is renewed at any server.
    pub rebind: u32,
    /// Further flags, as in the message: those of DHCP, the flags expansion of a router.
    pub more_flags: u64,
    /// A hash of what identifies the other side: the server, or a relay's remote id.
    pub other_id: u64,
    /// A third text: parameters that a DHCP client requests, chassis of LLDP.
    pub third: NameText,
    /// The port of the relay or switch that received the message (RFC 3046), or of LLDP that sent it.
    pub circuit: NameText,
}

impl NameRecord {
    /// A record without a claim yet.
    pub fn new(kind: NameKind, time: UnixTime, interface: InterfaceName) -> NameRecord {
        NameRecord {
            time,
            interface,
            vlan: VlanId::NONE,
            outer_vlan: VlanId::NONE,
            kind,
            mac: MacAddr::ZERO,
            sender: MacAddr::ZERO,
            address: Ipv6Addr::UNSPECIFIED,
            other: Ipv6Addr::UNSPECIFIED,
            relay: Ipv6Addr::UNSPECIFIED,
            flags: 0,
            prefix: 0,
            hops: 0,
            lifetime: 0,
            preferred: 0,
            number: 0,
            id: 0,
            name: NameText::EMPTY,
            detail: NameText::EMPTY,
            source: Ipv6Addr::UNSPECIFIED,
            destination: Ipv6Addr::UNSPECIFIED,
            receiver: MacAddr::ZERO,
            ttl: 0,
            version: 0,
            target: MacAddr::ZERO,
            reason: None,
            marks: NameMarks::NONE,
            repeats: 0,
            repeated: UnixTime::from_nanos(0),
            message: 0,
            index: 0,
            of: 0,
            renew: 0,
            rebind: 0,
            more_flags: 0,
            other_id: 0,
            third: NameText::EMPTY,
            circuit: NameText::EMPTY,
        }
    }

    /// The address, if there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        address(self.address)
    }

    /// The second address, if there is one.
    pub fn other_ip(&self) -> Option<IpAddr> {
        address(self.other)
    }

    /// The relay, if there is one.
    pub fn relay_ip(&self) -> Option<IpAddr> {
        address(self.relay)
    }

    /// The packet's source, if it has one.
    pub fn source_ip(&self) -> Option<IpAddr> {
        address(self.source)
    }

    /// The packet's destination, if it has one.
    pub fn destination_ip(&self) -> Option<IpAddr> {
        address(self.destination)
    }

    pub(crate) fn pack(&self) -> [u64; NAME_WORDS] {
        let mut bytes = [0; SIZE];
        let mut rest = bytes.as_mut_slice();
        let mut put = |field: &[u8]| {
            let (to, after) = std::mem::take(&mut rest).split_at_mut(field.len());
            to.copy_from_slice(field);
            rest = after;
        };
        put(&self.time.as_nanos().to_ne_bytes());
        put(&self.address.octets());
        self.interface.to_words().iter().for_each(|word| put(&word.to_ne_bytes()));
        put(&self.mac.octets());
        put(&self.vlan.0.to_ne_bytes());
        put(&self.sender.octets());
        put(&self.outer_vlan.0.to_ne_bytes());
        put(&[self.kind as u8, self.flags, self.prefix, self.hops]);
        put(&self.lifetime.to_ne_bytes());
        put(&self.other.octets());
        put(&self.relay.octets());
        put(self.name.bytes());
        put(self.detail.bytes());
        put(&self.preferred.to_ne_bytes());
        put(&self.number.to_ne_bytes());
        put(&self.id.to_ne_bytes());
        put(&self.source.octets());
        put(&self.destination.octets());
        put(&self.receiver.octets());
        put(&[self.ttl, self.version]);
        put(&self.target.octets());
        let reason = self.reason.map_or(0, |reason| reason.index() as u16);
        put(&reason.to_ne_bytes());
        put(&self.marks.0.to_ne_bytes());
        put(&self.repeats.to_ne_bytes());
        put(&self.repeated.as_nanos().to_ne_bytes());
        put(&self.message.to_ne_bytes());
        put(&self.index.to_ne_bytes());
        put(&self.of.to_ne_bytes());
        put(&self.renew.to_ne_bytes());
        put(&self.rebind.to_ne_bytes());
        put(&self.more_flags.to_ne_bytes());
        put(&self.other_id.to_ne_bytes());
        put(self.third.bytes());
        put(self.circuit.bytes());
        let mut words = [0; NAME_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    }

    pub(crate) fn unpack(words: &[u64; NAME_WORDS]) -> Result<NameRecord, UnknownEvent> {
        let mut bytes = [0; SIZE];
        bytes.as_chunks_mut().0.copy_from_slice(&words.map(u64::to_ne_bytes));
        let mut fields = Fields(&bytes);
        let time = UnixTime::from_nanos(i64::from_ne_bytes(fields.take()));
        let address = Ipv6Addr::from(fields.take::<16>());
        let interface = [fields.take(), fields.take()].map(u64::from_ne_bytes);
        let mac = MacAddr::new(fields.take());
        let vlan = VlanId(u16::from_ne_bytes(fields.take()));
        let sender = MacAddr::new(fields.take());
        let outer_vlan = VlanId(u16::from_ne_bytes(fields.take()));
        let [kind, flags, prefix, hops] = fields.take();
        let kind = NameKind::from_number(kind).ok_or(UnknownEvent { kind, origin: 0 })?;
        Ok(NameRecord {
            time,
            interface: InterfaceName::from_words(interface),
            vlan,
            outer_vlan,
            kind,
            mac,
            sender,
            address,
            flags,
            prefix,
            hops,
            lifetime: u32::from_ne_bytes(fields.take()),
            other: Ipv6Addr::from(fields.take::<16>()),
            relay: Ipv6Addr::from(fields.take::<16>()),
            name: NameText::from_bytes(fields.take()),
            detail: NameText::from_bytes(fields.take()),
            preferred: u32::from_ne_bytes(fields.take()),
            number: u32::from_ne_bytes(fields.take()),
            id: u64::from_ne_bytes(fields.take()),
            source: Ipv6Addr::from(fields.take::<16>()),
            destination: Ipv6Addr::from(fields.take::<16>()),
            receiver: MacAddr::new(fields.take()),
            ttl: fields.byte(),
            version: fields.byte(),
            target: MacAddr::new(fields.take()),
            reason: NameCounter::ALL
                .get(fields.short() as usize)
                .copied()
                .filter(|reason| *reason != NameCounter::Seen),
            marks: NameMarks(u32::from_ne_bytes(fields.take())),
            repeats: u32::from_ne_bytes(fields.take()),
            repeated: UnixTime::from_nanos(i64::from_ne_bytes(fields.take())),
            message: u32::from_ne_bytes(fields.take()),
            index: fields.short(),
            of: fields.short(),
            renew: u32::from_ne_bytes(fields.take()),
            rebind: u32::from_ne_bytes(fields.take()),
            more_flags: u64::from_ne_bytes(fields.take()),
            other_id: u64::from_ne_bytes(fields.take()),
            third: NameText::from_bytes(fields.take()),
            circuit: NameText::from_bytes(fields.take()),
        })
    }
}

/// The fields of a record, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *field
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    fn short(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }
}

fn address(address: Ipv6Addr) -> Option<IpAddr> {
    (!address.is_unspecified()).then(|| match address.to_ipv4_mapped() {
        Some(v4) => IpAddr::V4(v4),
        None => IpAddr::V6(address),
    })
}
