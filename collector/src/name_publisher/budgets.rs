//! Limits what a flood may store: each interface has a limit for each kind of sender, so that none takes another one's.

use std::collections::BTreeMap;

use shm_layout::{InterfaceName, NameKind, NameRecord, UnixTime};

/// Kinds of senders: hosts; hosts that name a DHCP server; routers; DHCP servers; switches and queriers; what was refused.
const KINDS: usize = 6;
/// Records that may come at once: together two thirds of the ring.
const BURST: [i64; KINDS] = [2048, 1024, 1024, 1024, 256, 256];
/// Nanoseconds for which a record uses the limit: 20 records a second, of the last two kinds 5.
const EACH: [i64; KINDS] =
    [50_000_000, 50_000_000, 50_000_000, 50_000_000, 200_000_000, 200_000_000];
/// Most records of a message.
const MESSAGE: i64 = 32;

/// Until when each limit is used. An interface's name is chosen here, so there are not many.
#[derive(Debug, Default)]
pub struct Budgets(BTreeMap<InterfaceName, [i64; KINDS]>);

impl Budgets {
    /// Whether a message with this first record may be stored; if so, its records use the limit. It may be exceeded by one message:
    /// otherwise short ones would leave no room for a long one.
    pub fn admits(&mut self, first: &NameRecord, now: UnixTime, records: usize) -> bool {
        let (now, which) = (now.as_nanos(), kind_of(first));
        let used_until = &mut self.0.entry(first.interface).or_default()[which];
        let used = used_until.saturating_sub(now).max(0);
        // More than it can be: the clock was set back.
        let used = if used > (BURST[which] + MESSAGE) * EACH[which] { 0 } else { used };
        let admits = used < BURST[which] * EACH[which];
        if admits {
            *used_until = now.saturating_add(used + records as i64 * EACH[which]);
        }
        admits
    }
}

fn kind_of(record: &NameRecord) -> usize {
    use NameKind::*;
    match record.kind {
        DhcpRequest | DhcpDecline if record.other_ip().is_some() => 1,
        Dhcp6Request | Dhcp6Renew | Dhcp6Decline => 1,
        Refused => 5,
        Lldp | MldQuery => 4,
        kind if !kind.is_infrastructure() => 0,
        kind if kind.is_dhcp() => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: NameKind, interface: &str) -> NameRecord {
        NameRecord::new(kind, UnixTime::new(0, 0), interface.parse().unwrap())
    }

    fn admitted(budgets: &mut Budgets, kind: NameKind, second: i64) -> usize {
        let (record, now) = (record(kind, "eth0"), UnixTime::new(second, 0));
        (0..20_000).filter(|_| budgets.admits(&record, now, 1)).count()
    }

    /// A flood leaves the other kinds' limits, and those of other interfaces, and more time gives more.
    #[test]
    fn floods() {
        let mut budgets = Budgets::default();
        let kinds = [
            (NameKind::DhcpDiscover, 2048),
            (NameKind::Dhcp6Request, 1024),
            (NameKind::Router, 1024),
            (NameKind::DhcpAck, 1024),
            (NameKind::Lldp, 256),
            (NameKind::Refused, 256),
        ];
        for (kind, most) in kinds {
            assert_eq!(admitted(&mut budgets, kind, 1000), most);
        }
        assert_eq!(admitted(&mut budgets, NameKind::DhcpDiscover, 1002), 40);
        assert_eq!(admitted(&mut budgets, NameKind::Lldp, 1002), 10);
        assert!(budgets.admits(&record(NameKind::Router, "eth1"), UnixTime::new(1000, 0), 1));
    }

    /// Short messages leave room for a long one.
    #[test]
    fn long_messages() {
        let mut budgets = Budgets::default();
        admitted(&mut budgets, NameKind::Redirect, 1000);
        let (router, soon) = (record(NameKind::Router, "eth0"), UnixTime::new(1000, 60_000_000));
        assert!(budgets.admits(&router, soon, 32));
        assert!(!budgets.admits(&router, soon, 1));
    }

    #[test]
    fn a_clock_that_was_set_back() {
        let mut budgets = Budgets::default();
        admitted(&mut budgets, NameKind::DhcpDiscover, 1000);
        assert_eq!(admitted(&mut budgets, NameKind::DhcpDiscover, 10), 2048);
    }
}
