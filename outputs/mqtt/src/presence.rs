//! Presence: whether the devices with names are at home. No I/O and no clock.

use std::collections::BTreeMap;

use aw_detect::Names;
use serde_json::{Value, json};
use shm_layout::{MacAddr, UnixTime};

use crate::topics::Topics;

/// The states of a device, as Home Assistant names them.
pub const HOME: &str = "home";
const NOT_HOME: &str = "not_home";
/// Characters of a name, at most.
const MAX_NAME: usize = 200;

pub struct NamedDevices {
    all: BTreeMap<MacAddr, NamedDevice>,
    /// Seconds without an event after which a device is away.
    away: i64,
}

struct NamedDevice {
    name: String,
    /// When it was last seen; 0 = never.
    last: i64,
    home: bool,
}

impl NamedDevices {
    pub fn new(names: Names, away: i64) -> NamedDevices {
        let device = |(mac, name): (MacAddr, String)| {
            let name = if name.is_empty() { mac.to_string() } else { name };
            let name = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
            (mac, NamedDevice { name, last: 0, home: false })
        };
        NamedDevices { all: names.into_iter().map(device).collect(), away }
    }

    pub fn names(&self) -> Names {
        self.all.iter().map(|(mac, device)| (*mac, device.name.clone())).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = MacAddr> {
        self.all.keys().copied()
    }

    /// Sets the state that an earlier run published. Absence counts from now on, because nothing is known of the time in
    /// between.
    pub fn was_home(&mut self, mac: MacAddr, now: i64) {
        if let Some(device) = self.all.get_mut(&mac) {
            (device.home, device.last) = (true, now);
        }
    }

    pub fn seen(&mut self, mac: MacAddr, time: i64, now: i64) {
        if !is_one_clock(time, now) {
            return; // captured before the clock was set: how long ago is not known
        }
        if let Some(device) = self.all.get_mut(&mac) {
            // With a time in the future, from before the clock was set back, the device would stay at home.
            device.last = device.last.max(time).min(now);
        }
    }

    /// The devices whose state differs from the published one.
    pub fn changes(&mut self, now: i64) -> Vec<(MacAddr, bool)> {
        let change = |(mac, device): (&MacAddr, &mut NamedDevice)| {
            if device.last > 0 && !is_one_clock(device.last, now) {
                device.last = now; // the clock was set since: absence counts from now on
            }
            device.last = device.last.min(now); // the clock was ahead when it was seen
            let home = device.last > 0 && now - device.last < self.away;
            (home != device.home).then_some((*mac, home))
        };
        self.all.iter_mut().filter_map(change).collect()
    }

    pub fn published(&mut self, mac: MacAddr, home: bool) {
        if let Some(device) = self.all.get_mut(&mac) {
            device.home = home;
        }
    }

    /// The retained messages of all devices: topics with payloads.
    pub fn retained(&self, topics: &Topics) -> Vec<(String, String)> {
        let of = |(mac, device): (&MacAddr, &NamedDevice)| {
            let config = config(*mac, &device.name, topics).to_string();
            let [state, attributes] = presence(*mac, device.home, topics);
            [(topics.discovery(*mac), config), state, attributes]
        };
        self.all.iter().flat_map(of).collect()
    }
}

/// Whether the clock was set at both times, or at neither.
fn is_one_clock(one: i64, other: i64) -> bool {
    UnixTime::new(one, 0).is_plausible() == UnixTime::new(other, 0).is_plausible()
}

/// The discovery message of Home Assistant's "MQTT device tracker". It has both the state, which 2027.1 is to remove, and the
/// zones in the attributes, which older releases do not know. Each release ignores what it does not know.
fn config(mac: MacAddr, name: &str, topics: &Topics) -> Value {
    json!({
        "name": null, // the device's name is used
        "unique_id": topics.unique_id(mac),
        "state_topic": topics.device(mac),
        "payload_home": HOME,
        "payload_not_home": NOT_HOME,
        "json_attributes_topic": topics.attributes(mac),
        "availability_topic": topics.status(),
        "source_type": "router",
        "qos": 1,
        "device": { "connections": [["mac", mac.to_string()]], "name": name },
        "origin": { "name": "aw-mqtt", "sw_version": env!("CARGO_PKG_VERSION") },
    })
}

/// The state of a device and its attributes: topics with payloads.
pub fn presence(mac: MacAddr, home: bool, topics: &Topics) -> [(String, String); 2] {
    let state = if home { HOME } else { NOT_HOME };
    let zones: &[&str] = if home { &["zone.home"] } else { &[] };
    let attributes = json!({ "in_zones": zones, "mac": mac.to_string() });
    [(topics.device(mac), state.into()), (topics.attributes(mac), attributes.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coming_and_going() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let mut devices =
            NamedDevices::new([(one, "a\x07b".into()), (two, String::new())].into(), 600);
        assert_eq!(devices.names().into_values().collect::<Vec<_>>(), ["ab", "04:04:04:04:04:04"]);
        assert_eq!(devices.changes(1000), []);
        devices.seen(one, 100, 1000);
        assert_eq!(devices.changes(1000), [], "long ago");
        devices.seen(one, 900, 1000);
        devices.seen(MacAddr::ZERO, 900, 1000);
        assert_eq!(devices.changes(1000), [(one, true)]);
        devices.published(one, true);
        assert_eq!((devices.changes(1499), devices.changes(1500)), (vec![], vec![(one, false)]));
        devices.seen(one, 9000, 1000);
        assert_eq!(devices.changes(1600), [(one, false)], "a time in the future counts as now");
        devices.was_home(two, 2000);
        assert_eq!(devices.changes(2599), [(one, false)]);
        assert_eq!(devices.changes(2600), [(one, false), (two, false)]);
    }

    /// Absence counts from the moment when the clock was set right, or from a later event.
    #[test]
    fn a_clock_that_was_ahead() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let mut devices = NamedDevices::new([(one, "one".into()), (two, "two".into())].into(), 600);
        for mac in [one, two] {
            devices.seen(mac, 9000, 9000);
            devices.published(mac, true);
        }
        devices.seen(two, 900, 1000);
        assert_eq!(devices.changes(1100), []);
        assert_eq!(devices.changes(1600), [(two, false)]);
        assert_eq!(devices.changes(1700), [(one, false), (two, false)]);
    }

    /// A machine without a battery boots in 1970: who is at home then, is not away when the clock is set.
    #[test]
    fn a_clock_that_is_set() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let mut devices = NamedDevices::new([(one, "one".into()), (two, "two".into())].into(), 600);
        devices.seen(one, 30, 31);
        assert_eq!(devices.changes(31), [(one, true)]);
        devices.published(one, true);
        let now = 1_700_000_000;
        devices.seen(two, 40, now);
        assert_eq!(devices.changes(now), [], "and no device came");
        assert_eq!(devices.changes(now + 599), []);
        assert_eq!(devices.changes(now + 600), [(one, false)]);
    }
}
