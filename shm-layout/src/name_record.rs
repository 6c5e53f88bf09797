//! The record of the ring of names: what a device calls itself, and what routers and servers announce. Every field is a claim of
//! the sender. docs/dev/names.md has the fields of each kind.
//!
//! A record is 248 bytes, so that with its sequence word it fills four cache lines. Numbers are in the machine's byte order.
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
//! | 240 | 0 |

use std::net::{IpAddr, Ipv6Addr};

use crate::{InterfaceName, MacAddr, UnixTime, UnknownEvent, VlanId, record::NAME_WORDS};

mod counter;
mod kind;
mod line;
#[cfg(test)]
mod tests;
mod text;

pub use {counter::NameCounter, kind::NameKind, text::NameText};

const SIZE: usize = NAME_WORDS * size_of::<u64>();

/// One record of the ring of names. Fields that a kind does not use are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// A second address: of the server or router, or a redirect's destination.
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
        Ok(NameRecord {
            time,
            interface: InterfaceName::from_words(interface),
            vlan,
            outer_vlan,
            kind: NameKind::from_number(kind).ok_or(UnknownEvent { kind, origin: 0 })?,
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
}

fn address(address: Ipv6Addr) -> Option<IpAddr> {
    (!address.is_unspecified()).then(|| match address.to_ipv4_mapped() {
        Some(v4) => IpAddr::V4(v4),
        None => IpAddr::V6(address),
    })
}
