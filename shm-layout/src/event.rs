//! The event: what was seen, where and when, and its line of text.
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
//! | 51 | origin of a pairing, 0 to 5; otherwise 0 |
//! | 52 | IPv4 address of the router that reported it, 0 = none |
//!
//! Of an ARP message, whose address leaves its first twelve bytes without use:
//!
//! | byte | field |
//! |---|---|
//! | 8 | MAC address that sent the frame, where it is another than the pairing's; otherwise 0 |
//! | 15 | 1 where it is another; otherwise 0 |
//!
//! A configuration change has no address, MAC or VLAN of its own. In their place stand:
//!
//! | byte | field |
//! |---|---|
//! | 8 | user who made it, 16 bytes, cut there and padded with zero bytes |
//! | 24 | the router's name, as an interface's |
//! | 40 | lines added, 4 bytes |
//! | 44 | lines removed, 4 bytes |
//! | 48 | 0 |

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::ring::Words;

/// Nanoseconds since the Unix epoch, from 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(i64);

impl UnixTime {
    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        UnixTime(nanos)
    }

    /// From whole seconds and the nanoseconds beyond, held at the type's ends.
    pub const fn new(seconds: i64, nanos: i64) -> Self {
        UnixTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Now, by the machine's clock.
    pub fn now() -> Self {
        match std::time::UNIX_EPOCH.elapsed() {
            Ok(since) => UnixTime::new(since.as_secs() as i64, since.subsec_nanos().into()),
            Err(before) => UnixTime(-(before.duration().as_nanos() as i64)),
        }
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The nanoseconds beyond [`UnixTime::seconds`], 0 to 999,999,999.
    pub const fn subsec_nanos(self) -> u32 {
        self.0.rem_euclid(1_000_000_000) as u32
    }
}

/// A 48-bit MAC address. Held as a number, not as bytes: bytes would be stored one by one and
/// loaded as a word when an event is packed, and waiting for these stores took more than half of
/// the time to publish.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(u64);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: MacAddr = MacAddr::new([0xff; 6]);
    /// `00:00:00:00:00:00`.
    pub const ZERO: MacAddr = MacAddr::new([0; 6]);

    /// From its bytes as they are sent.
    #[inline]
    pub const fn new([a, b, c, d, e, f]: [u8; 6]) -> Self {
        MacAddr(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// Its bytes as they are sent.
    #[inline]
    pub const fn octets(self) -> [u8; 6] {
        let [_, _, octets @ ..] = self.0.to_be_bytes();
        octets
    }
}

impl FromStr for MacAddr {
    type Err = &'static str;

    /// Hexadecimal digits in either case: six groups of one or two with colons or dashes between, as
    /// arpwatch and BSD print them too; three groups of four with dots, as Cisco does; or twelve bare digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const BAD: &str = "not a MAC address";
        let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'));
        let (groups, digits) = match separator {
            Some('.') => (3, 4..=4),
            Some(_) => (6, 1..=2),
            None => (1, 12..=12),
        };
        let width = 12 / groups; // digits of a group with all its zeros
        let mut parts = text.split(|c| Some(c) == separator);
        let mut number = 0;
        for _ in 0..groups {
            let part = parts.next().filter(|part| digits.contains(&part.len())).ok_or(BAD)?;
            let fine = part.bytes().all(|byte| byte.is_ascii_hexdigit()); // no sign
            let group = u64::from_str_radix(part, 16).ok().filter(|_| fine).ok_or(BAD)?;
            number = number << (4 * width) | group;
        }
        if parts.next().is_none() { Ok(MacAddr(number)) } else { Err(BAD) }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00:00:00:00:00:00";
        for (to, byte) in text.chunks_mut(3).zip(self.octets()) {
            to[0] = HEX[usize::from(byte >> 4)];
            to[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A VLAN id of 12 bits (IEEE 802.1Q); 0 stands for "no VLAN", as a priority tag says it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VlanId(u16);

impl VlanId {
    /// Not on a VLAN.
    pub const NONE: VlanId = VlanId(0);

    /// The id in a tag's control information: its lower 12 bits.
    pub const fn from_tag(control: u16) -> Self {
        VlanId(control & 0x0fff)
    }

    /// The number, 0 to 4095.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A network interface's name, 1 to 15 bytes, as the kernel has it (IFNAMSIZ).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName([u8; 16]);

impl FromStr for InterfaceName {
    type Err = &'static str;

    /// Refuses what would break the line of text, or a terminal.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if !(1..=15).contains(&name.len()) {
            return Err("an interface name has 1 to 15 bytes");
        }
        if name.chars().any(breaks_a_line) {
            return Err("an interface name has no spaces, slashes or control characters");
        }
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(InterfaceName(bytes))
    }
}

fn breaks_a_line(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '/'
}

impl InterfaceName {
    pub(crate) fn to_words(self) -> [u64; 2] {
        halves(self.0)
    }

    pub(crate) fn from_words(words: [u64; 2]) -> Self {
        InterfaceName(join(words))
    }

    /// The name as text; empty if it is none that the writer could have stored.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(16);
        let name = str::from_utf8(&self.0[..length]).unwrap_or_default();
        if name.chars().any(breaks_a_line) { "" } else { name }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Which message said that a MAC uses an address. The numbers are addrwatch's `origin` ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Origin {
    /// ARP request: sender's MAC and address.
    ArpRequest = 0,
    /// ARP reply: sender's MAC and address.
    ArpReply = 1,
    /// ARP probe, sent to find out whether an address is free (RFC 5227): sender's MAC and the
    /// target address.
    ArpProbe = 2,
    /// Neighbor Solicitation: source link-layer option and source address.
    NdSolicitation = 3,
    /// Neighbor Advertisement: target link-layer option and target address.
    NdAdvertisement = 4,
    /// Duplicate Address Detection: Ethernet source and target address.
    NdDad = 5,
}

impl Origin {
    const ALL: [Origin; 6] = [
        Origin::ArpRequest,
        Origin::ArpReply,
        Origin::ArpProbe,
        Origin::NdSolicitation,
        Origin::NdAdvertisement,
        Origin::NdDad,
    ];

    /// addrwatch's word for it: `ARP_REQ`, `ARP_REP`, `ARP_ACD`, `ND_NS`, `ND_NA`, `ND_DAD`.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::ArpRequest => "ARP_REQ",
            Origin::ArpReply => "ARP_REP",
            Origin::ArpProbe => "ARP_ACD",
            Origin::NdSolicitation => "ND_NS",
            Origin::NdAdvertisement => "ND_NA",
            Origin::NdDad => "ND_DAD",
        }
    }

    const fn is_arp(self) -> bool {
        (self as u8) < Origin::NdSolicitation as u8
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name of at most 16 bytes; a longer one is cut. What would break a line is replaced by `_`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName([u8; 16]);

impl UserName {
    /// As much of the name as fits.
    pub fn cut(name: &str) -> UserName {
        let mut bytes = [0; 16];
        let mut length = 0;
        for c in name.chars().map(|c| if breaks_a_line(c) { '_' } else { c }) {
            let Some(room) = bytes.get_mut(length..length + c.len_utf8()) else { break };
            length += c.encode_utf8(room).len();
        }
        UserName(bytes)
    }

    /// The name; empty if it is none that the writer could have stored.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(16);
        let name = str::from_utf8(&self.0[..length]).unwrap_or_default();
        if name.chars().any(breaks_a_line) { "" } else { name }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What was changed in a router's configuration, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConfigChange {
    /// Who did it; `UNKNOWN` where nobody can tell.
    pub user: UserName,
    /// Lines that the configuration has now and had not.
    pub added: u32,
    /// Lines that it had.
    pub removed: u32,
}

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A MAC was seen using an address.
    Pairing(Origin),
    /// A router reported an entry of its ARP table.
    MacUpd,
    /// A router's configuration was changed: [`Event::config_change`].
    ConfigChange(ConfigChange),
}

impl Kind {
    /// The kind's name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Pairing(_) => "pairing",
            Kind::MacUpd => "macupd",
            Kind::ConfigChange(_) => "config_change",
        }
    }

    /// The last word of the line: a pairing's origin, `MACUPD`, or `CONFIG`, which the line follows
    /// with what was changed.
    pub const fn origin(self) -> &'static str {
        match self {
            Kind::Pairing(origin) => origin.name(),
            Kind::MacUpd => "MACUPD",
            Kind::ConfigChange(_) => "CONFIG",
        }
    }

    const fn is_arp(self) -> bool {
        matches!(self, Kind::Pairing(origin) if origin.is_arp())
    }

    /// Whether it is about an IPv4 address.
    pub const fn is_ipv4(self) -> bool {
        match self {
            Kind::Pairing(origin) => origin.is_arp(),
            Kind::MacUpd | Kind::ConfigChange(_) => true,
        }
    }
}

/// An event of a kind or origin that this reader does not know: from a newer collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEvent {
    /// The kind's number.
    pub kind: u8,
    /// The origin's number.
    pub origin: u8,
}

/// One event of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the packet was captured.
    pub time: UnixTime,
    /// The address, IPv4 as v4-mapped; [`Event::ip`] tells which it is.
    pub address: Ipv6Addr,
    /// The interface it was heard on: of this machine, or of the router that reported it.
    pub interface: InterfaceName,
    /// The MAC address.
    pub mac: MacAddr,
    /// Who sent the frame, for ARP; otherwise the MAC address again. Another one answers for others,
    /// or lies.
    pub source: MacAddr,
    /// The innermost VLAN.
    pub vlan: VlanId,
    /// The outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// What the event says.
    pub kind: Kind,
    /// The router that reported it; `0.0.0.0` where none did.
    pub router: Ipv4Addr,
}

impl Event {
    /// The configuration of a router was changed. Its address is the event's address as well as its
    /// router; it has no MAC and no VLAN.
    pub fn config_change(
        time: UnixTime,
        name: InterfaceName,
        router: Ipv4Addr,
        change: ConfigChange,
    ) -> Event {
        Event {
            time,
            address: router.to_ipv6_mapped(),
            interface: name,
            mac: MacAddr::ZERO,
            source: MacAddr::ZERO,
            vlan: VlanId::NONE,
            outer_vlan: VlanId::NONE,
            kind: Kind::ConfigChange(change),
            router,
        }
    }

    /// The address in its own family. The kind decides, not the bits: an IPv6 neighbour may use a
    /// v4-mapped address, and stays what it is.
    pub fn ip(&self) -> IpAddr {
        match self.address.to_ipv4_mapped() {
            Some(v4) if self.kind.is_ipv4() => IpAddr::V4(v4),
            _ => IpAddr::V6(self.address),
        }
    }

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
            self.time.0 as u64,
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
            (1, origin) => Kind::Pairing(*Origin::ALL.get(usize::from(origin)).ok_or(unknown)?),
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
            time: UnixTime(words[0] as i64),
            address: Ipv6Addr::from(join([address_0, words[2]])),
            interface: InterfaceName(join([words[3], words[4]])),
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
        let [user_0, user_1] = halves(change.user.0);
        let [interface_0, interface_1] = self.interface.to_words();
        let [a, b, c, d] = change.added.to_ne_bytes();
        let [e, f, g, h] = change.removed.to_ne_bytes();
        let [q, r, s, t] = self.router.octets();
        [
            self.time.0 as u64,
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
            user: UserName(join([words[1], words[2]])),
            added: u32::from_ne_bytes([a, b, c, d]),
            removed: u32::from_ne_bytes([e, f, g, h]),
        };
        let name = InterfaceName(join([words[3], words[4]]));
        Event::config_change(UnixTime(words[0] as i64), name, router, change)
    }
}

impl Event {
    /// Bytes of an event.
    pub const SIZE: usize = size_of::<Words>();

    /// As it lies in the ring, for programs that keep events on the same machine.
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
const CONFIG_CHANGE: u8 = 3;

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}

fn join(words: [u64; 2]) -> [u8; 16] {
    let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]] = words.map(u64::to_ne_bytes);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// addrwatch's line, without its end: `seconds interface vlan mac ip ORIGIN`. That of a changed
/// configuration has its words, too: `seconds router 0 00:00:00:00:00:00 ip CONFIG:+3-1:user`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.time.seconds())?;
        self.fmt_after_time(f)
    }
}

impl Event {
    /// The line from the interface on, for outputs that write the time in their own way.
    pub fn after_time(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.fmt_after_time(f))
    }

    fn fmt_after_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { interface, vlan, mac, kind, .. } = self;
        write!(f, "{interface} {vlan} {mac} {} {}", self.ip_text(), kind.origin())?;
        match kind {
            Kind::ConfigChange(ConfigChange { user, added, removed }) => {
                write!(f, ":+{added}-{removed}:{user}")
            }
            Kind::Pairing(_) | Kind::MacUpd => Ok(()),
        }
    }

    /// The address as addrwatch writes it.
    pub fn ip_text(&self) -> impl fmt::Display + use<> {
        let ip = self.ip();
        fmt::from_fn(move |f| match ip {
            IpAddr::V4(ip) => write!(f, "{ip}"),
            IpAddr::V6(ip) => fmt_ipv6(ip, f),
        })
    }
}

/// As inet_ntop(3) of glibc, which addrwatch uses. It differs from std in one case: the deprecated
/// IPv4-compatible addresses (RFC 4291, 2.5.5.1) end in dotted form.
fn fmt_ipv6(ip: Ipv6Addr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = ip.octets();
            write!(f, "::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => write!(f, "{ip}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            time: UnixTime::new(1_700_000_000, 123_456_789),
            address: Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(),
            interface: "eth0".parse().unwrap(),
            mac: MacAddr::new([0x02, 0xab, 0, 0, 0, 0x1f]),
            source: MacAddr::new([0x02, 0xab, 0, 0, 0, 0x1f]),
            vlan: VlanId::from_tag(0xe005),
            outer_vlan: VlanId::from_tag(4095),
            kind: Kind::Pairing(Origin::ArpRequest),
            router: Ipv4Addr::UNSPECIFIED,
        }
    }

    fn bytes(event: &Event) -> Vec<u8> {
        event.pack().iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn layout() {
        let bytes = bytes(&Event { router: Ipv4Addr::new(10, 0, 0, 1), ..event() });
        assert_eq!(bytes[0..8], 1_700_000_000_123_456_789_i64.to_ne_bytes());
        assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(&bytes[24..40], b"eth0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(bytes[40..46], [0x02, 0xab, 0, 0, 0, 0x1f]);
        assert_eq!(bytes[46..48], 5_u16.to_ne_bytes());
        assert_eq!(bytes[48..50], 4095_u16.to_ne_bytes());
        assert_eq!(bytes[50..56], [1, 0, 10, 0, 0, 1]);
    }

    #[test]
    fn packed_and_unpacked() {
        for origin in Origin::ALL {
            let event = Event { kind: Kind::Pairing(origin), ..event() };
            assert_eq!(Event::unpack(&event.pack()), Ok(event));
            assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event));
        }
        for source in [MacAddr::new([2, 1, 2, 3, 4, 5]), MacAddr::ZERO, MacAddr::BROADCAST] {
            let event = Event { source, ..event() };
            assert_eq!(Event::unpack(&event.pack()), Ok(event));
            assert_eq!(bytes(&event)[8..14], source.octets());
            assert_eq!(bytes(&event)[14..24], [0, 1, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        }
        let router = Ipv4Addr::new(192, 0, 2, 1);
        let event = Event { kind: Kind::MacUpd, router, ..event() };
        assert_eq!(Event::unpack(&event.pack()), Ok(event));
        assert_eq!(event.to_string(), "1700000000 eth0 5 02:ab:00:00:00:1f 192.0.2.7 MACUPD");
    }

    #[test]
    fn a_changed_configuration() {
        let change = ConfigChange { user: UserName::cut("alice"), added: 3, removed: 70_000 };
        let (name, router) = ("core1".parse().unwrap(), Ipv4Addr::new(192, 0, 2, 1));
        let event = Event::config_change(UnixTime::new(1_700_000_000, 5), name, router, change);
        assert_eq!(Event::unpack(&event.pack()), Ok(event));
        let bytes = bytes(&event);
        assert_eq!(&bytes[8..24], b"alice\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&bytes[24..40], b"core1\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(bytes[40..48], [3_u32.to_ne_bytes(), 70_000_u32.to_ne_bytes()].concat());
        assert_eq!(bytes[48..56], [0, 0, 3, 0, 192, 0, 2, 1]);
        let line = "1700000000 core1 0 00:00:00:00:00:00 192.0.2.1 CONFIG:+3-70000:alice";
        assert_eq!(event.to_string(), line);
    }

    #[test]
    fn mac_addresses() {
        for text in [
            "AA:bb:00:00:00:1f",
            "aa-bb-00-00-00-1f",
            "aa:bb:0:0:0:1f",
            "AABB.0000.001F",
            "aabb0000001f",
        ] {
            assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), "aa:bb:00:00:00:1f", "{text}");
        }
        for bad in [
            "",
            "aa:bb:00:00:00",
            "aa:bb:00:00:00:1f:00",
            "aa:bb:00:00:00:01f",
            "aa:bb:00:00:00:",
            "aa:bb-00:00:00:1f",
            "+a:bb:00:00:00:1f",
            "aabb.0000",
            "aabb.0.1f",
            "aabb0000001",
            "+abb0000001f",
            "aabb:0000:001f",
        ] {
            assert_eq!(bad.parse::<MacAddr>(), Err("not a MAC address"), "{bad}");
        }
    }

    #[test]
    fn user_names() {
        for (name, kept) in [
            ("a b\n/\x1b", "a_b___"),
            ("scheduler:guest-wifi-off", "scheduler:guest-"),
            ("fifteen-bytes-xé", "fifteen-bytes-x"),
            ("fourteen-bytesé", "fourteen-bytesé"),
            ("", ""),
        ] {
            assert_eq!(UserName::cut(name).as_str(), kept);
        }
        for foreign in [[0xff; 16], *b"a b\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(UserName(foreign).as_str(), "");
        }
    }

    #[test]
    fn a_newer_kind_is_told_apart() {
        for (kind, origin) in [(0, 0), (2, 1), (3, 1), (4, 0), (255, 255), (1, 6)] {
            let mut words = event().pack();
            words[6] = u64::from_ne_bytes([0, 0, kind, origin, 0, 0, 0, 0]);
            assert_eq!(Event::unpack(&words), Err(UnknownEvent { kind, origin }));
        }
    }

    #[test]
    fn text() {
        let event = event();
        assert_eq!(event.to_string(), "1700000000 eth0 5 02:ab:00:00:00:1f 192.0.2.7 ARP_REQ");
        for (ip, text) in [
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1:0:0:1", "fe80::1:0:0:1"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
            ("::1", "::1"),
            ("::1:2", "::0.1.0.2"),
            ("::192.0.2.1", "::192.0.2.1"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ] {
            let kind = Kind::Pairing(Origin::NdDad);
            let event = Event { address: ip.parse().unwrap(), kind, ..event };
            let line = format!("1700000000 eth0 5 02:ab:00:00:00:1f {text} ND_DAD");
            assert_eq!(event.to_string(), line);
        }
    }

    #[test]
    fn times() {
        let before = UnixTime::from_nanos(-1);
        assert_eq!((before.seconds(), before.subsec_nanos()), (-1, 999_999_999));
        assert_eq!(UnixTime::new(i64::MAX, 0).as_nanos(), i64::MAX);
        assert_eq!(UnixTime::new(i64::MIN, 0).as_nanos(), i64::MIN);
        assert_eq!(UnixTime::new(u32::MAX.into(), 5).seconds(), 4_294_967_295);
    }

    #[test]
    fn interface_names() {
        assert_eq!("enp0s31f6.4094".parse::<InterfaceName>().unwrap().as_str(), "enp0s31f6.4094");
        for bad in ["", "sixteen-bytes-xx", "a b", "a/b", "a\x1b[0m", "a\n"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
        for foreign in [[0xff; 16], *b"eth0\n170000000 x", *b"\x1b[31meth0\0\0\0\0\0\0\0"] {
            assert_eq!(InterfaceName(foreign).as_str(), "");
        }
    }
}
