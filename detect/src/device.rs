//! A device is a MAC address, whatever its IP addresses; and the classes of MAC addresses.

use serde::Deserialize;
use shm_layout::MacAddr;

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
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
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
    /// IPv4 addresses that it claimed before any other MAC.
    pub addresses: u32,
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
        let days = (time - self.last) / 86_400;
        self.last = self.last.max(time);
        (returned_after_days > 0 && days >= returned_after_days.into()).then_some(days)
    }

    /// Whether to report it as unknown now: once a day.
    pub fn unknown_is_due(&mut self, time: i64) -> bool {
        let day = time.div_euclid(86_400);
        std::mem::replace(&mut self.unknown_day, day) != day
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
    }
}
