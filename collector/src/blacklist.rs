//! Networks whose addresses are not reported: `-b`.

use std::net::Ipv6Addr;

use ipnet::IpNet;

/// Whether a network contains an address as events hold it, IPv4 as v4-mapped.
pub fn contains(network: &IpNet, address: Ipv6Addr) -> bool {
    match (network, address.to_ipv4_mapped()) {
        (IpNet::V4(network), Some(address)) => network.contains(&address),
        (IpNet::V4(_), None) => false,
        // ::/0 is all of IPv6 and no IPv4; only ::ffff:0:0/96 and its parts are IPv4.
        (IpNet::V6(network), Some(_)) => network.prefix_len() >= 96 && network.contains(&address),
        (IpNet::V6(network), None) => network.contains(&address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aw_service::parse_network;

    #[test]
    fn networks() {
        let mapped = |text: &str| match text.parse().unwrap() {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
            std::net::IpAddr::V6(address) => address,
        };
        for (network, address, expected) in [
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
            let result = contains(&parse_network(network).unwrap(), mapped(address));
            assert_eq!(result, expected, "{network} {address}");
        }
        for bad in ["", "192.0.2", "192.0.2.0/33", "2001:db8::/129", "eth0", "192.0.2.1-9"] {
            assert!(parse_network(bad).is_err(), "{bad:?}");
        }
    }
}
