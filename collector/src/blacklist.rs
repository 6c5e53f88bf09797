//! Addresses that are not reported: `-b`.

use std::{net::Ipv6Addr, str::FromStr};

use ipnet::IpNet;

use crate::options::block;

/// One address or block of addresses, IPv4 or IPv6: `192.0.2.1`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(IpNet);

impl FromStr for Block {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        block(text).map(Block)
    }
}

impl Block {
    /// Whether it holds an address as events have it, IPv4 as v4-mapped.
    pub fn holds(&self, address: Ipv6Addr) -> bool {
        match (self.0, address.to_ipv4_mapped()) {
            (IpNet::V4(block), Some(address)) => block.contains(&address),
            (IpNet::V4(_), None) => false,
            // ::/0 is all of IPv6 and nothing of IPv4, but for who says ::ffff:0:0/96.
            (IpNet::V6(block), Some(_)) => block.prefix_len() >= 96 && block.contains(&address),
            (IpNet::V6(block), None) => block.contains(&address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        let mapped = |text: &str| match text.parse().unwrap() {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
            std::net::IpAddr::V6(address) => address,
        };
        for (block, address, holds) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.77/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "198.51.100.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::2", false),
            ("fe80::/10", "192.0.2.1", false),
            ("::/0", "192.0.2.1", false),
            ("::/0", "2001:db8::1", true),
            ("::ffff:0:0/96", "192.0.2.1", true),
        ] {
            assert_eq!(
                block.parse::<Block>().unwrap().holds(mapped(address)),
                holds,
                "{block} {address}"
            );
        }
        for bad in ["", "192.0.2", "192.0.2.0/33", "2001:db8::/129", "eth0", "192.0.2.1-9"] {
            assert!(bad.parse::<Block>().is_err(), "{bad:?}");
        }
    }
}
