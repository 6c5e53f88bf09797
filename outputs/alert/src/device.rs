//! A MAC and what is known of it, whatever its addresses; and the kinds of MAC that are no devices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shm_layout::MacAddr;

/// What a MAC's bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The maker's own.
    Global,
    /// Shared by several routers (VRRP, CARP, HSRP, GLBP): it moves by design.
    Virtual,
    /// Locally administered: phones that change it, virtual machines.
    Random,
}

impl Class {
    /// VRRP: RFC 9568, 7.3, and CARP, which took its block; HSRP: RFC 2281, 5.3, and Cisco's version 2; GLBP: Cisco.
    pub fn of(mac: MacAddr) -> Class {
        match mac.octets() {
            [0x00, 0x00, 0x5e, 0x00, 0x01 | 0x02, _]
            | [0x00, 0x00, 0x0c, 0x07, 0xac, _]
            | [0x00, 0x00, 0x0c, 0x9f, 0xf0..=0xff, _]
            | [0x00, 0x05, 0x73, 0xa0, 0x00..=0x0f, _]
            | [0x00, 0x07, 0xb4, _, _, _] => Class::Virtual,
            [first, ..] if first & 2 != 0 => Class::Random,
            _ => Class::Global,
        }
    }
}

/// What to do with reports about a class.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Each is told.
    Report,
    /// They are told together.
    Digest,
    /// They are not told.
    Ignore,
}

/// What is known of a MAC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// When it was first heard, and last.
    pub first: i64,
    pub last: i64,
    /// IPv4 addresses that it was the first to claim.
    pub addresses: u32,
    /// The day on which it was last called unknown, counted from 1970 in UTC; 0 = never.
    pub unknown_day: i64,
    /// That it is silent was told.
    pub silent: bool,
}

impl Device {
    pub fn new(time: i64) -> Device {
        Device { first: time, last: time, ..Device::default() }
    }

    /// Heard again. After how many days, if that were at least so many.
    pub fn hear(&mut self, time: i64, returned_after_days: u32) -> Option<i64> {
        let days = (time - self.last) / 86_400;
        self.last = self.last.max(time);
        (returned_after_days > 0 && days >= returned_after_days.into()).then_some(days)
    }

    /// Whether it is to be called unknown: once a day.
    pub fn is_unknown_today(&mut self, time: i64) -> bool {
        let day = time.div_euclid(86_400);
        std::mem::replace(&mut self.unknown_day, day) != day
    }
}

/// `MAC NAME` a line, in the order of hosts(5) and macupd_tracker.conf; `#` begins a comment.
pub fn read_names(text: &str) -> Result<BTreeMap<MacAddr, String>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
    let entry = |(number, line): (usize, &str)| {
        let (mac, name) = line.split_once([' ', '\t', ',', '=']).unwrap_or((line, ""));
        let mac = mac
            .parse()
            .map_err(|_| format!("line {}: {mac:?} is not a MAC address", number + 1))?;
        Ok((mac, name.trim().to_owned()))
    };
    lines.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (mac, class) in [
            ("00:00:5e:00:01:07", Class::Virtual),
            ("00:00:5e:00:02:07", Class::Virtual),
            ("00:00:0c:07:ac:01", Class::Virtual),
            ("0:0:c:9f:f0:1", Class::Virtual),
            ("00:07:b4:00:01:02", Class::Virtual),
            ("00:00:5e:00:53:07", Class::Global),
            ("DE-AD-be-ef-00-01", Class::Random),
            ("00:08:e1:01:02:d6", Class::Global),
        ] {
            assert_eq!(mac.parse::<MacAddr>().ok().map(Class::of), Some(class), "{mac}");
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
        assert_eq!(device.hear(30 * day - 1, 30), None);
        assert_eq!(device.hear(60 * day - 1, 30), Some(30));
        assert_eq!(device.hear(5, 30), None, "a clock that was set back");
        assert_eq!(device.last, 60 * day - 1);
        let told: Vec<_> = [day, day + 1, 2 * day].map(|time| device.is_unknown_today(time)).into();
        assert_eq!(told, [true, false, true]);
    }

    #[test]
    fn names() {
        let list =
            read_names("# home\n0:8:e1:1:2:a  the nas # in the cellar\n02-00-00-00-00-01,phone\n");
        let names: Vec<_> = list.unwrap().into_values().collect();
        assert_eq!(names, ["the nas", "phone"]);
        assert!(read_names("x y").unwrap_err().contains("line 1"));
    }
}
