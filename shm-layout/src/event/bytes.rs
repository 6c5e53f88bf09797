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
//! | 50 | kind: 1 = pairing, 2 = MACupd, 3 = configuration change, 4 = IPv6 pairing in a frame of another MAC |
//! | 51 | origin of a pairing, 0 to 5 or 7 to 17; otherwise 0 |
//! | 52 | IPv4 address of the router that reported it, 0 = none |
//!
//! In a pairing with an IPv4 address, which does not use its first twelve bytes:
//!
//! | byte | field |
//! |---|---|
//! | 8 | MAC address that sent the frame, where it is another than the pairing's; otherwise 0 |
//! | 15 | 1 where it is another; otherwise 0 |
//!
//! An IPv6 pairing in a frame of another MAC has no router, and its interface name ends in a zero byte as every
//! name does:
//!
//! | byte | field |
//! |---|---|
//! | 39 | byte 0 of the MAC address that sent the frame |
//! | 46 | VLAN id in 12 bits, outer VLAN id in 12 bits, byte 1 of that MAC address: a number of 4 bytes |
//! | 52 | bytes 2 to 5 of that MAC address |
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
use crate::record::EVENT_WORDS;

/// An event's words in a slot.
type Words = [u64; EVENT_WORDS];

const CONFIG_CHANGE: u8 = 3;
const IN_FRAME_OF_ANOTHER: u8 = 4;

/// The bits of a VLAN id.
const VLAN: u32 = 0xfff;

impl Event {
    #[inline]
    pub(crate) fn pack(&self) -> Words {
        if let Kind::ConfigChange(change) = self.kind {
            return self.pack_change(&change);
        }
        let [mut address_0, address_1] = halves(self.address.octets());
        if self.source != self.mac && self.kind.is_ipv4_pairing() {
            address_0 = u64::from_be(self.source.0 << 16 | 1);
        }
        let [interface_0, mut interface_1] = self.interface.to_words();
        let mac = u64::from_be(self.mac.0 << 16); // its bytes, then two of zero
        if self.source != self.mac
            && let Kind::Pairing(origin) = self.kind
            && !self.kind.is_ipv4()
        {
            let [a, b, source @ ..] = self.source.octets();
            interface_1 |= u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, a]);
            let vlans = u32::from(self.vlan.0) & VLAN | (u32::from(self.outer_vlan.0) & VLAN) << 12;
            let [v, w, x, y] = (vlans | u32::from(b) << 24).to_ne_bytes();
            let [q, r, s, t] = source;
            return [
                self.time.as_nanos() as u64,
                address_0,
                address_1,
                interface_0,
                interface_1,
                mac | u64::from_ne_bytes([0, 0, 0, 0, 0, 0, v, w]),
                u64::from_ne_bytes([x, y, IN_FRAME_OF_ANOTHER, origin as u8, q, r, s, t]),
            ];
        }
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
            (IN_FRAME_OF_ANOTHER, origin) => {
                let origin = Origin::from_number(origin).ok_or(unknown)?;
                return Event::unpack_in_frame_of_another(words, origin).ok_or(unknown);
            }
            (CONFIG_CHANGE, 0) => return Ok(Event::unpack_change(words, Ipv4Addr::from(router))),
            _ => return Err(unknown),
        };
        let mac = MacAddr(words[5].to_be() >> 16);
        let (mut source, mut address_0) = (mac, words[1]);
        if address_0 != 0 && kind.is_ipv4_pairing() {
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

    fn unpack_in_frame_of_another(words: &Words, origin: Origin) -> Option<Event> {
        let kind = Kind::Pairing(origin);
        let [x, y, _, _, c, d, e, f] = words[6].to_ne_bytes();
        let [.., v, w] = words[5].to_ne_bytes();
        let [name @ .., a] = words[4].to_ne_bytes();
        let [h, i, j, k, l, m, n] = name;
        let vlans = u32::from_ne_bytes([v, w, x, y]);
        let b = (vlans >> 24) as u8;
        (!kind.is_ipv4()).then(|| Event {
            time: UnixTime::from_nanos(words[0] as i64),
            address: Ipv6Addr::from(join([words[1], words[2]])),
            interface: InterfaceName::from_words([
                words[3],
                u64::from_ne_bytes([h, i, j, k, l, m, n, 0]),
            ]),
            mac: MacAddr(words[5].to_be() >> 16),
            source: MacAddr::new([a, b, c, d, e, f]),
            vlan: VlanId((vlans & VLAN) as u16),
            outer_vlan: VlanId((vlans >> 12 & VLAN) as u16),
            kind,
            router: Ipv4Addr::UNSPECIFIED,
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
