//! The event's bytes in the ring.
//!
//! An event is 56 bytes, so that with its sequence word it fills one cache line. Numbers are in
//! the machine's byte order: the segment never leaves it.
//!
//! | byte | field |
//! |---|---|
//! | 0 | time, nanoseconds since the Unix epoch, signed |
//! | 8 | address, 16 bytes, IPv4 as `::ffff:a.b.c.d` |
//! | 24 | interface name, 16 bytes, padded with zero bytes |
//! | 40 | MAC address, 6 bytes |
//! | 46 | VLAN id, 0 = untagged |
//! | 48 | outer VLAN id, 0 = none |
//! | 50 | kind: 1 = pairing, 2 = MACupd, 3 = configuration change |
//! | 51 | origin of a pairing, 0 to 5, 7 or 8; otherwise 0 |
//! | 52 | IPv4 address of the router that reported it, 0 = none |
//!
//! In an ARP event, whose address does not use its first twelve bytes:
//!
//! | byte | field |
//! |---|---|
//! | 8 | MAC address that sent the frame, where it is another than the pairing's; otherwise 0 |
//! | 15 | 1 where it is another; otherwise 0 |
//!
//! A configuration change has no address, MAC or VLAN. Their bytes hold:
//!
//! | byte | field |
//! |---|---|
//! | 8 | user who made it, 16 bytes, cut there and padded with zero bytes |
//! | 24 | the router's name, as an interface's |
//! | 40 | lines added, 4 bytes |
//! | 44 | lines removed, 4 bytes |
//! | 48 | 0 |

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    ConfigChange, Event, InterfaceName, Kind, MacAddr, Origin, UnixTime, UnknownEvent, UserName,
    VlanId,
    names::{halves, join},
};
use crate::ring::Words;

const CONFIG_CHANGE: u8 = 3;

impl Event {
    #[inline]
    pub(crate) fn pack(&self) -> Words {
        if let Kind::ConfigChange(change) = self.kind {
            return self.pack_change(&change);
        }
        let [mut address_0, address_1] = halves(self.address.octets());
        if self.source != self.mac && self.kind.is_arp() {
            address_0 = u64::from_be(self.source.0 << 16 | 1);
        }
        let [interface_0, interface_1] = self.interface.to_words();
        let mac = u64::from_be(self.mac.0 << 16); // its bytes, then two of zero
        let [v, w] = self.vlan.0.to_ne_bytes();
        let [x, y] = self.outer_vlan.0.to_ne_bytes();
        let (kind, origin) = match self.kind {
            Kind::Pairing(origin) => (1, origin as u8),
            Kind::MacUpd => (2, 0),
            Kind::ConfigChange(_) => (CONFIG_CHANGE, 0),
        };
        let [q, r, s, t] = self.router.octets();
        [
            self.time.as_nanos() as u64,
            address_0,
            address_1,
            interface_0,
            interface_1,
            mac | u64::from_ne_bytes([0, 0, 0, 0, 0, 0, v, w]),
            u64::from_ne_bytes([x, y, kind, origin, q, r, s, t]),
        ]
    }

    #[inline]
    pub(crate) fn unpack(words: &Words) -> Result<Event, UnknownEvent> {
        let [.., v, w] = words[5].to_ne_bytes();
        let [x, y, kind, origin, router @ ..] = words[6].to_ne_bytes();
        let unknown = UnknownEvent { kind, origin };
        let kind = match (kind, origin) {
            (1, origin) => Kind::Pairing(Origin::from_number(origin).ok_or(unknown)?),
            (2, 0) => Kind::MacUpd,
            (CONFIG_CHANGE, 0) => return Ok(Event::unpack_change(words, Ipv4Addr::from(router))),
            _ => return Err(unknown),
        };
        let mac = MacAddr(words[5].to_be() >> 16);
        let (mut source, mut address_0) = (mac, words[1]);
        if address_0 != 0 && kind.is_arp() {
            (source, address_0) = (MacAddr(address_0.to_be() >> 16), 0);
        }
        Ok(Event {
            time: UnixTime::from_nanos(words[0] as i64),
            address: Ipv6Addr::from(join([address_0, words[2]])),
            interface: InterfaceName::from_words([words[3], words[4]]),
            mac,
            source,
            vlan: VlanId(u16::from_ne_bytes([v, w])),
            outer_vlan: VlanId(u16::from_ne_bytes([x, y])),
            kind,
            router: Ipv4Addr::from(router),
        })
    }

    #[cold]
    fn pack_change(&self, change: &ConfigChange) -> Words {
        let [user_0, user_1] = change.user.to_words();
        let [interface_0, interface_1] = self.interface.to_words();
        let [a, b, c, d] = change.added.to_ne_bytes();
        let [e, f, g, h] = change.removed.to_ne_bytes();
        let [q, r, s, t] = self.router.octets();
        [
            self.time.as_nanos() as u64,
            user_0,
            user_1,
            interface_0,
            interface_1,
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([0, 0, CONFIG_CHANGE, 0, q, r, s, t]),
        ]
    }

    #[cold]
    fn unpack_change(words: &Words, router: Ipv4Addr) -> Event {
        let [a, b, c, d, e, f, g, h] = words[5].to_ne_bytes();
        let change = ConfigChange {
            user: UserName::from_words([words[1], words[2]]),
            added: u32::from_ne_bytes([a, b, c, d]),
            removed: u32::from_ne_bytes([e, f, g, h]),
        };
        let name = InterfaceName::from_words([words[3], words[4]]);
        Event::config_change(UnixTime::from_nanos(words[0] as i64), name, router, change)
    }
}

impl Event {
    /// Bytes of an event.
    pub const SIZE: usize = size_of::<Words>();

    /// Its bytes as in the ring, for programs that store events on the same machine.
    pub fn to_bytes(&self) -> [u8; Event::SIZE] {
        let mut bytes = [0; Event::SIZE];
        bytes.as_chunks_mut().0.copy_from_slice(&self.pack().map(u64::to_ne_bytes));
        bytes
    }

    /// From [`Event::to_bytes`].
    pub fn from_bytes(bytes: &[u8; Event::SIZE]) -> Result<Event, UnknownEvent> {
        let mut words = Words::default();
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Event::unpack(&words)
    }
}
