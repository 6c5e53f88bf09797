//! Which unknown devices of a day are in the alert log. A host can invent MACs, so the log is limited. When it is full, each
//! network still has one device a second: a flood is not the last that is reported of a day. What cannot be invented is not
//! limited: the pairings of the newest earlier log.

use std::collections::{HashMap, HashSet};

use shm_layout::MacAddr;

use crate::{activity::RowKey, day_log::network_of, local_time::Moment};

/// Unknown devices in the alert log, for each row of the limit: an alert takes less memory than a row.
const ALERTS_PER_ROW: usize = 2;
/// Seconds without an alert that a network can save up: that many new devices may come at once after a flood.
const SAVED: i64 = 100;
/// Networks with a rate of their own; further ones share one.
const MAX_NETWORKS: usize = 256;

/// The unknown devices of a day that are in the alert log.
#[derive(Debug, Default)]
pub struct Reported {
    macs: HashSet<MacAddr>,
    /// Of each network: to which second its alerts are used up.
    used: HashMap<String, i64>,
    /// Sightings of devices that are not in the alert log, since they were last taken.
    pub missing: u64,
}

impl Reported {
    /// Begins with devices that are in the alert log already.
    pub fn new(macs: HashSet<MacAddr>) -> Reported {
        Reported { macs, ..Reported::default() }
    }

    pub fn contains(&self, mac: MacAddr) -> bool {
        self.macs.contains(&mac)
    }

    /// Whether a device is to be reported now: it is not in the log yet, and there is room for it. `rows`: the largest
    /// number of rows. `is_known`: the newest earlier log has it.
    pub fn is_due(&mut self, key: &RowKey, at: Moment, rows: usize, is_known: bool) -> bool {
        if is_known || self.macs.len() < rows * ALERTS_PER_ROW {
            return self.macs.insert(key.mac);
        }
        if self.contains(key.mac) {
            return false;
        }
        match self.has_rate(key, at) {
            true => self.macs.insert(key.mac),
            false => {
                self.missing += 1;
                false
            }
        }
    }

    /// Uses up a second of the network, if one is left.
    fn has_rate(&mut self, key: &RowKey, at: Moment) -> bool {
        let now = at.seconds;
        let take = |used: &mut i64| {
            // A clock that is set back does not stop the alerts until it is where it was.
            *used = (*used).clamp(now - SAVED, now);
            let is_left = *used < now;
            *used += i64::from(is_left);
            is_left
        };
        let network = network_of(&key.interface);
        if let Some(used) = self.used.get_mut(network) {
            return take(used);
        }
        let network = if self.used.len() >= MAX_NETWORKS { "" } else { network };
        take(self.used.entry(network.to_owned()).or_insert(now - SAVED))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use jiff::tz::TimeZone;
    use shm_layout::UnixTime;

    use super::*;
    use crate::local_time::Calendar;

    const ROWS: usize = 50_000;

    /// 1.1 million made-up MACs in 22 seconds, in 4,000 VLANs: known devices and those of other networks are reported at
    /// once, and a new one as soon as the flood pauses for a second, also one that came meanwhile.
    #[test]
    fn made_up_macs_are_not_the_last_that_is_reported() {
        let mut reported = Reported::default();
        let mut see = |mac: u32, interface: &str, second: i64, is_known| {
            let [a, b, c, d] = mac.to_be_bytes();
            let mac = MacAddr::new([0, 8, a, b, c, d]);
            let key = RowKey { mac, ip: Ipv4Addr::LOCALHOST.into(), interface: interface.into() };
            let time = UnixTime::new(1_800_000_000 + second, 0);
            let at = Calendar::new(TimeZone::UTC).moment(time);
            reported.is_due(&key, at, ROWS, is_known)
        };
        let mut lines = 0;
        for number in 0..1_100_000_u32 {
            let vlan = format!("eth0.{}", number % 4_000);
            lines += u32::from(see(number, &vlan, i64::from(number / 50_000), false));
            if number == 600_000 {
                assert!(see(2_000_000, "eth0", 12, true), "known");
                assert!(see(2_000_001, "eth1", 12, false), "of another network");
                assert!(see(2_000_002, "site-b/eth0", 12, false), "of another ring");
                assert!(!see(2_000_003, "eth0", 12, false), "during the flood");
            }
        }
        assert_eq!(lines, 100_000 + 100 + 19);
        assert!(see(2_000_003, "eth0", 22, false), "seen again after the flood");
        assert!(!see(2_000_003, "eth0", 23, false), "once");
        (4..60).for_each(|new| assert!(see(2_000_000 + new, "eth0", 100, false), "{new}"));
        // The clock is set back by hours.
        assert!(!see(3_000_000, "eth0.7", -9_000, false));
        assert!(see(3_000_000, "eth0.7", -8_999, false));
    }

    #[test]
    fn networks_are_limited() {
        let mut reported = Reported::default();
        let at = Calendar::new(TimeZone::UTC).moment(UnixTime::new(1_800_000_000, 0));
        for number in 0..2_000_u16 {
            let [a, b] = number.to_be_bytes();
            let mac = MacAddr::new([0, 8, 0, 0, a, b]);
            let interface = format!("router{number}").into();
            reported.is_due(
                &RowKey { mac, ip: Ipv4Addr::LOCALHOST.into(), interface },
                at,
                0,
                false,
            );
        }
        assert_eq!(reported.used.len(), MAX_NETWORKS + 1);
        assert_eq!(reported.macs.len(), MAX_NETWORKS + SAVED as usize);
    }
}
