//! MAC addresses: one parser, which accepts every common notation, and one printed form.

use std::{fmt, str::FromStr};

/// A 48-bit MAC address. A number and not bytes: bytes would be stored one by one and
/// loaded as a word when an event is packed, and waiting for these stores took more than half of
/// the time to publish.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub(crate) u64);

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

    /// Whether no host can have it: it is a group's, such as broadcast, or zero.
    #[inline]
    pub const fn is_no_host(self) -> bool {
        self.0 == 0 || self.0 >> 40 & 1 == 1
    }

    /// Its 48 bits as a number.
    pub const fn number(self) -> u64 {
        self.0
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
