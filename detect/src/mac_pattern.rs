//! A pattern of MAC addresses: one address, those that begin alike, or those that are equal under a mask.

use std::str::FromStr;

use serde::Deserialize;
use shm_layout::MacAddr;

/// MAC addresses that a configuration names together. In text: `02:42:ac:11:00:02` is one address, `02:42:*` are those
/// that begin so, `02:42:00:00:00:00/16` are those with the same first 16 bits, and
/// `02:42:00:00:00:00/ff:ff:00:00:00:00` are those that are equal where the mask has a 1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct MacPattern {
    value: u64,
    mask: u64,
}

const BITS: u32 = 48;
const ALL: u64 = (1 << BITS) - 1;

impl MacPattern {
    /// Whether the pattern includes this address.
    pub fn matches(&self, mac: MacAddr) -> bool {
        mac.number() & self.mask == self.value
    }

    /// The address, if the pattern is one alone.
    pub fn single(&self) -> Option<MacAddr> {
        let [_, _, octets @ ..] = self.value.to_be_bytes();
        (self.mask == ALL).then(|| MacAddr::new(octets))
    }

    /// Whether the pattern is this address alone.
    pub fn is(&self, mac: MacAddr) -> bool {
        self.single() == Some(mac)
    }

    fn new(mac: MacAddr, mask: u64) -> Option<MacPattern> {
        // No pattern matches every address: a mistake would silence all alerts.
        (mask != 0).then(|| MacPattern { value: mac.number() & mask, mask })
    }

    fn parse(text: &str) -> Option<MacPattern> {
        if let Some(prefix) = text.strip_suffix('*') {
            let separator = prefix.chars().next_back().filter(|c| matches!(c, ':' | '-'))?;
            let groups = prefix.matches(separator).count();
            let missing = 6_usize.checked_sub(groups).filter(|missing| *missing > 0)?;
            let zeros = vec!["00"; missing].join(&separator.to_string());
            return MacPattern::new(
                (prefix.to_owned() + &zeros).parse().ok()?,
                first_bits(groups as u32 * 8),
            );
        }
        let Some((mac, mask)) = text.split_once('/') else {
            return MacPattern::new(text.parse().ok()?, ALL);
        };
        let length =
            || mask.parse().ok().filter(|bits: &u32| *bits <= BITS && !mask.starts_with('+'));
        let mask = match mask.len() {
            0..=2 => first_bits(length()?),
            _ => mask.parse::<MacAddr>().ok()?.number(),
        };
        MacPattern::new(mac.parse().ok()?, mask)
    }
}

/// A mask of this many bits.
fn first_bits(bits: u32) -> u64 {
    ALL & !(ALL >> bits)
}

impl TryFrom<String> for MacPattern {
    type Error = String;
    fn try_from(text: String) -> Result<MacPattern, String> {
        text.parse()
    }
}

impl FromStr for MacPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<MacPattern, String> {
        MacPattern::parse(text.trim()).ok_or_else(|| {
            format!("{text:?}: not a MAC address, a prefix such as \"02:42:*\" or a block such as \"02:42:00:00:00:00/16\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_prefixes_and_masks() {
        for (text, inside, outside) in [
            ("0:8:e1:1:2:a", "00:08:e1:01:02:0a", "00:08:e1:01:02:0b"),
            ("02:42:*", "02:42:ac:11:00:02", "02:43:00:00:00:00"),
            ("00-00-5E-00-01-*", "00:00:5e:00:01:ff", "00:00:5e:00:02:01"),
            ("2:42:*", "02:42:00:00:00:00", "20:42:00:00:00:00"),
            ("02:42:00:00:00:00/16", "02:42:ff:ff:ff:ff", "02:40:00:00:00:00"),
            ("0242.ac11.0002/16", "02:42:00:00:00:00", "02:41:ac:11:00:02"),
            ("3c:a6:f6:58:ee:b0/47", "3c:a6:f6:58:ee:b1", "3c:a6:f6:58:ee:b2"),
            ("00:00:00:58:ee:b1/00:00:00:ff:ff:ff", "3c:a6:f6:58:ee:b1", "3c:a6:f6:58:ee:b0"),
            ("02:00:00:00:00:01/48", "02:00:00:00:00:01", "02:00:00:00:00:00"),
        ] {
            let pattern: MacPattern = text.parse().unwrap();
            let matches = |mac: &str| pattern.matches(mac.parse().unwrap());
            assert_eq!((matches(inside), matches(outside)), (true, false), "{text}");
        }
    }

    #[test]
    fn no_other_text_and_no_pattern_of_all_addresses() {
        for bad in [
            "",
            "*",
            ":*",
            "02*",
            "02:4*",
            "02:42:*:*",
            "02:42:ac:11:00:02:*",
            "02:42-*",
            "02.42.*",
            "02:42:00:00:00:00/0",
            "02:42:00:00:00:00/49",
            "02:42:00:00:00:00/+1",
            "02:42:00:00:00:00/",
            "02:42/16",
            "1:2",
            "02:42:00:00:00:00/00:00:00:00:00:00",
            "é*",
        ] {
            let error = bad.parse::<MacPattern>().unwrap_err();
            assert!(error.contains("not a MAC address"), "{bad}: {error}");
        }
    }
}
