//! A device is a MAC address, whatever its IP addresses; and the classes of MAC addresses.

use serde::Deserialize;
use shm_layout::{MacAddr, UnixTime};

use crate::station::forget_after;

/// Seconds from one time to another; `None` if the clock was set at only one of them, because a machine without a battery
/// boots in 1970.
pub(crate) fn span(from: i64, to: i64) -> Option<i64> {
    UnixTime::new(to, 0).seconds_since(UnixTime::new(from, 0))
}

/// Days in which addresses are counted that a device answers for: in a longer time, each laptop has many.
const ADDRESS_DAYS: i64 = 7;

/// Seconds in which addresses are counted that a device probes: in a longer time, each host has many temporary ones.
const PROBED_SECONDS: i64 = 3600;
/// A device that probed so many addresses in that time of the learning period without claiming them is a scanner: a switch
/// that tracks devices, for example.
const SCANNER_PROBES: u32 = 8;

/// The class of a MAC address, by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacClass {
    /// Assigned by the vendor.
    Global,
    /// Shared by several routers (VRRP, CARP, HSRP, GLBP): it moves between them by design.
    Virtual,
    /// Locally administered: phones with private addresses, virtual machines.
    Random,
}

impl MacClass {
    /// The class of a MAC. VRRP: RFC 9568, 7.3, and CARP in the same block; HSRP: RFC 2281, 5.3, and Cisco's version 2; GLBP: Cisco.
    pub fn of(mac: MacAddr) -> MacClass {
        match mac.octets() {
            [0x00, 0x00, 0x5e, 0x00, 0x01 | 0x02, _]
            | [0x00, 0x00, 0x0c, 0x07, 0xac, _]
            | [0x00, 0x00, 0x0c, 0x9f, 0xf0..=0xff, _]
            | [0x00, 0x05, 0x73, 0xa0, 0x00..=0x0f, _]
            | [0x00, 0x07, 0xb4, _, _, _] => MacClass::Virtual,
            [first, ..] if first & 2 != 0 => MacClass::Random,
            _ => MacClass::Global,
        }
    }
}

/// How alerts about a class of MACs are sent.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum MacPolicy {
    /// Each in a message of its own.
    Report,
    /// Together in a digest.
    Digest,
    /// Not at all.
    Ignore,
}

/// The state of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// When it was first seen.
    pub first: i64,
    /// When it was last seen.
    pub last: i64,
    /// Whether the learning period saw it.
    pub learned: bool,
    /// Whether the configuration names it.
    pub named: bool,
    /// IPv4 addresses that it answered for within a week of the learning period.
    pub addresses: u32,
    /// The first day of that week, in days since 1970 (UTC).
    pub addresses_day: i64,
    /// Whether it does proxy ARP, as the learning period saw.
    pub proxy: bool,
    /// Whether it probes the addresses of others, as the learning period saw.
    pub scanner: bool,
    /// Addresses that it probed within an hour of the learning period and did not claim: many of a scanner, few of other
    /// devices.
    pub probed: u32,
    /// The begin of that hour.
    pub probed_since: i64,
    /// Addresses that it claimed for the first time in answer to another device's probe, on one day.
    pub denied: u32,
    /// That day, in days since 1970 (UTC).
    pub denied_day: i64,
    /// The day on which it was last reported as unknown, in days since 1970 (UTC); 0 = never.
    pub unknown_day: i64,
    /// Whether it was reported as silent.
    pub silent: bool,
}

impl Device {
    /// A device that is seen for the first time.
    pub fn new(time: i64) -> Device {
        Device { first: time, last: time, ..Device::default() }
    }

    /// Records that it is seen. Returns the days since the last time if they are `returned_after_days` or more (0 = off).
    pub fn seen(&mut self, time: i64, returned_after_days: u32) -> Option<i64> {
        let days = span(self.last, time).map(|span| span / 86_400);
        if span(self.first, time).is_none() {
            self.first = self.first.max(time); // the clock was set
        }
        self.last = self.last.max(time);
        days.filter(|days| returned_after_days > 0 && *days >= returned_after_days.into())
    }

    /// Whether to report it as unknown now: once a day.
    pub fn unknown_is_due(&mut self, time: i64) -> bool {
        let day = time.div_euclid(86_400);
        // Which day it is, is not known until the clock is set.
        if span(self.unknown_day * 86_400, time).is_none() && day < self.unknown_day {
            return false;
        }
        std::mem::replace(&mut self.unknown_day, day) != day
    }

    /// Counts an IPv4 address that it answers for in the learning period. From `limit` on it does proxy ARP.
    pub fn answered_for(&mut self, time: i64, limit: u32) {
        let day = time.div_euclid(86_400);
        if self.addresses < limit && (day - self.addresses_day).abs() >= ADDRESS_DAYS {
            (self.addresses, self.addresses_day) = (0, day);
        }
        self.addresses = self.addresses.saturating_add(1);
        self.proxy |= limit > 0 && self.addresses >= limit;
    }

    /// Counts an address that it probes in the learning period, and that it last probed at `last`, if ever. It is a scanner
    /// if these are many within an hour. `one_at_a_time`: or more than one a second, because it probes addresses that hosts
    /// try one after the other.
    pub fn probes(&mut self, time: i64, last: Option<i64>, one_at_a_time: bool) {
        let is_same_hour = (0..PROBED_SECONDS).contains(&(time - self.probed_since));
        if self.probed == 0 || !is_same_hour {
            (self.probed, self.probed_since) = (0, time);
        } else if last.is_some_and(|last| last >= self.probed_since) {
            return;
        }
        self.probed = self.probed.saturating_add(1);
        let is_fast = one_at_a_time && i64::from(self.probed) > time - self.probed_since + 2;
        self.scanner |= self.probed >= SCANNER_PROBES || is_fast;
    }

    /// Counts an address that it claims for the first time because another device probes it. Returns their number today.
    pub fn denied_a_probe(&mut self, time: i64) -> u32 {
        let day = time.div_euclid(86_400);
        if std::mem::replace(&mut self.denied_day, day) != day {
            self.denied = 0;
        }
        self.denied = self.denied.saturating_add(1);
        self.denied
    }

    /// Forgets times after `latest`, which an event of a clock that was ahead has left.
    pub fn forget_after(&mut self, latest: i64) {
        let times = [&mut self.first, &mut self.last, &mut self.probed_since];
        times.into_iter().for_each(|time| forget_after(time, latest));
        let days = [&mut self.addresses_day, &mut self.denied_day, &mut self.unknown_day];
        days.into_iter().for_each(|day| forget_after(day, latest.div_euclid(86_400)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (mac, class) in [
            ("00:00:5e:00:01:07", MacClass::Virtual),
            ("00:00:5e:00:02:07", MacClass::Virtual),
            ("00:00:0c:07:ac:01", MacClass::Virtual),
            ("0:0:c:9f:f0:1", MacClass::Virtual),
            ("00:07:b4:00:01:02", MacClass::Virtual),
            ("00:00:5e:00:53:07", MacClass::Global),
            ("DE-AD-be-ef-00-01", MacClass::Random),
            ("00:08:e1:01:02:d6", MacClass::Global),
        ] {
            assert_eq!(mac.parse::<MacAddr>().ok().map(MacClass::of), Some(class), "{mac}");
        }
        for bad in ["", "1:2:3:4:5", "1:2:3:4:5:6:7", "1:2:3:4:5:+6", "1:2:3:4:5:666", "1:2::4:5:6"]
        {
            assert_eq!(bad.parse::<MacAddr>().ok(), None, "{bad}");
        }
    }

    #[test]
    fn returns_and_unknowns() {
        let day = 86_400;
        let mut device = Device::new(0);
        assert_eq!(device.seen(30 * day - 1, 30), None);
        assert_eq!(device.seen(60 * day - 1, 30), Some(30));
        assert_eq!(device.seen(5, 30), None, "a clock that was set back");
        assert_eq!(device.last, 60 * day - 1);
        let due = [day, day + 1, 2 * day].map(|time| device.unknown_is_due(time));
        assert_eq!(due, [true, false, true]);
        // In 1970, before the clock is set.
        let now = 1_700_000_000;
        let mut device = Device::new(now);
        assert!(device.unknown_is_due(now));
        assert_eq!((device.seen(30, 30), device.unknown_is_due(30)), (None, false));
        assert_eq!((device.seen(now + 60, 30), device.last), (None, now + 60));
        let mut device = Device::new(30);
        assert_eq!(device.seen(now, 30), None);
        assert_eq!((device.first, device.seen(now + 30 * day, 30)), (now, Some(30)));
    }

    #[test]
    fn counts_within_a_time() {
        let day = 86_400;
        let mut device = Device::new(0);
        for time in [0, day, 8 * day, 9 * day] {
            device.answered_for(time, 3);
        }
        assert_eq!((device.addresses, device.proxy), (2, false), "of a laptop, one a day");
        for time in [9 * day, 90 * day] {
            device.answered_for(time, 3);
        }
        assert_eq!((device.addresses, device.proxy), (4, true), "a router stays one");
        let mut scanner = Device::new(0);
        (0..7).for_each(|number| scanner.probes(number * 60, None, false));
        assert!(!scanner.scanner);
        scanner.probes(600, None, false);
        assert!(scanner.scanner);
        let mut host = Device::new(0);
        (0..30).for_each(|number| host.probes(number * day, None, true));
        (0..9).for_each(|_| host.probes(30 * day, Some(30 * day), true));
        assert_eq!((host.probed, host.scanner), (1, false), "a temporary address each day");
        for (number, is_fast) in [(2, false), (3, true)] {
            for alone in [false, true] {
                let mut scanner = Device::new(0);
                (0..number).for_each(|_| scanner.probes(day, None, alone));
                assert_eq!(scanner.scanner, is_fast && alone, "{number} within a second");
            }
        }
        let denied = [day, day, 2 * day].map(|time| device.denied_a_probe(time));
        assert_eq!(denied, [1, 2, 1]);
    }
}
