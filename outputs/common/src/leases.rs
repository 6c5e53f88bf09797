//! Which messages begin or end a lease of a DHCP server, or a registration of an IPv6 address. All of it is a claim.

use std::net::IpAddr;

use shm_layout::{MacAddr, NameKind, NameRecord, UnixTime};

/// Leases in a history: about 5 MB.
pub const LEASES_OF_ALL: usize = 1 << 16;
/// Further ones for which room is made at once.
pub const LEASES_ROOM: usize = 1 << 10;
/// Seconds that are stored of a lifetime, at most: a stranger can send any, 30 days.
pub const LONGEST_LEASE: u32 = 30 * 86_400;
/// A time that is later than now by more is one of a wrong clock: a day, in nanoseconds.
const AHEAD: i64 = 86_400_000_000_000;

/// What a message says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseChange {
    /// Who may use the address.
    pub mac: MacAddr,
    /// The address.
    pub address: IpAddr,
    /// When the message was received.
    pub time: UnixTime,
    /// None: the device gives the address back, or does not take it.
    pub until: Option<UnixTime>,
}

impl LeaseChange {
    /// Of a record that begins or ends a lease; not of a time when the clock was ahead.
    pub fn of(record: &NameRecord, now: UnixTime) -> Option<LeaseChange> {
        let lifetime = lease_of(record)?;
        let (address, mac, time) = (record.ip()?, record.mac, record.time);
        if time.as_nanos() > now.as_nanos().saturating_add(AHEAD) {
            return None;
        }
        let nanos = i64::from(lifetime.min(LONGEST_LEASE)) * 1_000_000_000;
        let until = UnixTime::from_nanos(time.as_nanos().saturating_add(nanos));
        Some(LeaseChange { mac, address, time, until: (lifetime > 0).then_some(until) })
    }
}

/// Of a record that begins or ends a lease: its seconds, 0 for an end.
fn lease_of(record: &NameRecord) -> Option<u32> {
    // What a relay forwards, and an answer without its receiver, another link's host can send.
    let has_receiver =
        record.receiver != MacAddr::ZERO || record.destination_ip().is_some_and(is_broadcast);
    let is_of_link = record.relay_ip().is_none() && record.ip().is_some();
    let is_own = record.sender == record.mac;
    let has_server = record.other_ip().is_some(); // it must be there (RFC 2131, tables 3 and 5)
    let lifetime = match record.kind {
        NameKind::DhcpAck if record.lifetime > 0 && has_server && has_receiver => record.lifetime,
        NameKind::AddrReg if is_own => record.lifetime,
        // Unicast from the address (RFC 2131, 4.4.6).
        NameKind::DhcpRelease if is_own && has_server && record.source == record.address => 0,
        NameKind::DhcpDecline if is_own && has_server => 0,
        _ => return None,
    };
    let is_dated = record.time >= UnixTime::CLOCK_SET;
    (is_of_link && is_dated && !record.mac.is_no_host()).then_some(lifetime)
}

fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: i64 = 1_700_000_000;
    const SERVER: &str = "::ffff:192.0.2.1";

    fn record(kind: NameKind, lifetime: u32) -> NameRecord {
        NameRecord {
            mac: MacAddr::new([2, 0, 0, 0, 0, 7]),
            sender: MacAddr::new([2, 0, 0, 0, 0, 7]),
            source: "::ffff:192.0.2.7".parse().unwrap(),
            receiver: MacAddr::new([2, 0, 0, 0, 0, 7]),
            address: "::ffff:192.0.2.7".parse().unwrap(),
            other: SERVER.parse().unwrap(),
            lifetime,
            ..NameRecord::new(kind, UnixTime::new(BEGIN, 0), "eth0".parse().unwrap())
        }
    }

    #[test]
    fn ends_of_leases() {
        let until = |kind, lifetime, now| {
            let change = LeaseChange::of(&record(kind, lifetime), UnixTime::new(BEGIN + now, 0))?;
            Some(change.until.map(|until| until.seconds() - BEGIN))
        };
        assert_eq!(until(NameKind::DhcpAck, 3600, 0), Some(Some(3600)));
        assert_eq!(until(NameKind::DhcpAck, u32::MAX, 0), Some(Some(30 * 86_400)));
        assert_eq!(until(NameKind::DhcpRelease, 0, 0), Some(None));
        assert_eq!(until(NameKind::DhcpAck, 3600, -86_400), Some(Some(3600)));
        assert_eq!(until(NameKind::DhcpAck, 3600, -86_401), None, "the clock was ahead");
    }

    #[test]
    fn what_is_no_lease() {
        let ack = record(NameKind::DhcpAck, 3600);
        let zero = [0; 16].into();
        for other in [
            NameRecord { lifetime: 0, ..ack },
            NameRecord { other: zero, ..ack },
            NameRecord { address: zero, ..ack },
            NameRecord { relay: SERVER.parse().unwrap(), ..ack },
            NameRecord { receiver: MacAddr::ZERO, ..ack },
            NameRecord { time: UnixTime::new(100, 0), ..ack },
            NameRecord { kind: NameKind::DhcpOffer, ..ack },
            NameRecord { kind: NameKind::DhcpRequest, ..ack },
            NameRecord { kind: NameKind::DhcpRelease, sender: MacAddr::BROADCAST, ..ack },
            NameRecord { kind: NameKind::DhcpRelease, source: SERVER.parse().unwrap(), ..ack },
            NameRecord { kind: NameKind::DhcpRelease, other: zero, ..ack },
            NameRecord { kind: NameKind::DhcpDecline, sender: MacAddr::BROADCAST, ..ack },
            NameRecord { kind: NameKind::DhcpDecline, other: zero, ..ack },
            NameRecord { kind: NameKind::AddrReg, sender: MacAddr::BROADCAST, ..ack },
        ] {
            assert_eq!(lease_of(&other), None, "{other:?}");
        }
        let for_all = NameRecord {
            receiver: MacAddr::ZERO,
            destination: "::ffff:255.255.255.255".parse().unwrap(),
            ..ack
        };
        assert_eq!(lease_of(&for_all), Some(3600));
        assert_eq!(lease_of(&record(NameKind::AddrReg, 0)), Some(0));
    }
}
