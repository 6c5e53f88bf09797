//! The senders whose datagrams and tunnels are accepted. A source address can be forged: this keeps out senders that are far
//! away, and accidents.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Loopback, private and link-local addresses (RFC 1918, RFC 3927, RFC 4193, RFC 4291).
const DEFAULT: [IpNet; 8] = [
    v4([10, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v6(0, 1, 128),
    v6(0xfc00, 0, 7),
    v6(0xfe80, 0, 10),
];

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6(first: u16, last: u16, bits: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), bits))
}

/// The addresses that are accepted.
#[derive(Clone, Debug)]
pub struct Senders(Vec<IpNet>);

impl Senders {
    /// These; if none is named, loopback, private and link-local addresses.
    pub fn named(from: &[IpNet]) -> Senders {
        Senders(if from.is_empty() { DEFAULT.to_vec() } else { from.to_vec() })
    }

    /// These; if none is named, all.
    pub fn named_or_all(from: &[IpNet]) -> Senders {
        let all = || vec![v4([0; 4], 0), v6(0, 0, 0)];
        Senders(if from.is_empty() { all() } else { from.to_vec() })
    }

    pub fn allow(&self, sender: IpAddr) -> bool {
        let sender = sender.to_canonical(); // a socket for both families receives IPv4 as v4-mapped
        self.0.iter().any(|net| net.contains(&sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_names() {
        let allow = |senders: &Senders, address: &str| senders.allow(address.parse().unwrap());
        let default = Senders::named(&[]);
        for near in ["10.1.2.3", "127.0.0.2", "::ffff:192.168.1.1", "::1", "fd00::1", "fe80::1"] {
            assert!(allow(&default, near), "{near}");
        }
        for far in ["192.0.2.1", "172.32.0.1", "2001:db8::1", "::2", "::ffff:192.0.2.1"] {
            assert!(!allow(&default, far), "{far}");
            assert!(allow(&Senders::named_or_all(&[]), far), "{far}");
        }
        let named = Senders::named_or_all(&["192.0.2.0/24".parse().unwrap()]);
        assert!(allow(&named, "192.0.2.9") && !allow(&named, "10.1.2.3"));
    }
}
