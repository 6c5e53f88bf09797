//! The devices that have names, and whether they are at home. No I/O and no clock.

use std::collections::BTreeMap;

use aw_alert::Names;
use serde_json::{Value, json};
use shm_layout::MacAddr;

use crate::topics::Topics;

/// States.
pub const HOME: &str = "home";
const NOT_HOME: &str = "not_home";
/// Characters of a name that are told.
const LONGEST: usize = 200;

pub struct Devices {
    all: BTreeMap<MacAddr, Device>,
    /// Seconds of silence after which one is away.
    away: i64,
}

struct Device {
    name: String,
    /// When it was last heard; 0 = never.
    last: i64,
    /// What was told.
    home: bool,
}

impl Devices {
    pub fn new(names: Names, away: i64) -> Devices {
        let device = |(mac, name): (MacAddr, String)| {
            let name = if name.is_empty() { mac.to_string() } else { name };
            let name = name.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
            (mac, Device { name, last: 0, home: false })
        };
        Devices { all: names.into_iter().map(device).collect(), away }
    }

    pub fn names(&self) -> Names {
        self.all.iter().map(|(mac, device)| (*mac, device.name.clone())).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = MacAddr> {
        self.all.keys().copied()
    }

    /// What an earlier run told. Of the time when nobody listened nothing is known: silence counts from now on.
    pub fn was_home(&mut self, mac: MacAddr, now: i64) {
        if let Some(device) = self.all.get_mut(&mac) {
            (device.home, device.last) = (true, now);
        }
    }

    pub fn hear(&mut self, mac: MacAddr, time: i64, now: i64) {
        if let Some(device) = self.all.get_mut(&mac) {
            // One that is heard in times to come, by a clock that was set back, would never leave.
            device.last = device.last.max(time).min(now);
        }
    }

    /// Who came or left by now.
    pub fn changes(&mut self, now: i64) -> Vec<(MacAddr, bool)> {
        let change = |(mac, device): (&MacAddr, &mut Device)| {
            device.last = device.last.min(now); // the clock was ahead when it was heard
            let home = device.last > 0 && now - device.last < self.away;
            (home != device.home).then_some((*mac, home))
        };
        self.all.iter_mut().filter_map(change).collect()
    }

    pub fn told(&mut self, mac: MacAddr, home: bool) {
        if let Some(device) = self.all.get_mut(&mac) {
            device.home = home;
        }
    }

    /// What the broker keeps of all of them: topics with payloads.
    pub fn retained(&self, topics: &Topics) -> Vec<(String, String)> {
        let of = |(mac, device): (&MacAddr, &Device)| {
            let config = config(*mac, &device.name, topics).to_string();
            let [state, attributes] = presence(*mac, device.home, topics);
            [(topics.discovery(*mac), config), state, attributes]
        };
        self.all.iter().flat_map(of).collect()
    }
}

/// As Home Assistant's "MQTT device tracker" has it: by a state, which 2027.1 is to take no more, and by the zones among the
/// attributes, which older ones do not know. Each passes over what it does not know.
fn config(mac: MacAddr, name: &str, topics: &Topics) -> Value {
    json!({
        "name": null, // that of the device
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

/// Where it is, both ways.
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
        let mut devices = Devices::new([(one, "a\x07b".into()), (two, String::new())].into(), 600);
        assert_eq!(devices.names().into_values().collect::<Vec<_>>(), ["ab", "04:04:04:04:04:04"]);
        assert_eq!(devices.changes(1000), []);
        devices.hear(one, 100, 1000);
        assert_eq!(devices.changes(1000), [], "long ago");
        devices.hear(one, 900, 1000);
        devices.hear(MacAddr::ZERO, 900, 1000);
        assert_eq!(devices.changes(1000), [(one, true)]);
        devices.told(one, true);
        assert_eq!((devices.changes(1499), devices.changes(1500)), (vec![], vec![(one, false)]));
        devices.hear(one, 9000, 1000);
        assert_eq!(devices.changes(1600), [(one, false)], "nobody is heard in times to come");
        devices.was_home(two, 2000);
        assert_eq!(devices.changes(2599), [(one, false)]);
        assert_eq!(devices.changes(2600), [(one, false), (two, false)]);
    }

    /// Silence counts from the moment when the clock was set right, or from what was heard since.
    #[test]
    fn a_clock_that_was_ahead() {
        let (one, two) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let mut devices = Devices::new([(one, "one".into()), (two, "two".into())].into(), 600);
        for mac in [one, two] {
            devices.hear(mac, 9000, 9000);
            devices.told(mac, true);
        }
        devices.hear(two, 900, 1000);
        assert_eq!(devices.changes(1100), []);
        assert_eq!(devices.changes(1600), [(two, false)]);
        assert_eq!(devices.changes(1700), [(one, false), (two, false)]);
    }
}
