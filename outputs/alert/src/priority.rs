//! Which alerts come first in a digest and are sent during a storm: what counts is what a host on the network cannot choose,
//! the names of the configuration and how long a device is known.

use aw_detect::{Alert, AlertKind, Memory, Names};
use aw_output::SinkResult;
use serde::{Deserialize, Serialize};
use shm_layout::MacAddr;

use crate::store::AlertStore;

/// A device that was first seen this many seconds before an alert is known: a host that prepares a storm must begin it as
/// early.
const KNOWN_AFTER: i64 = 86_400;

/// Smaller is more important: the class, then since when the device is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Priority {
    pub class: Class,
    since: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// About the sensor itself, or a device with a name: its address is taken over, for example.
    Named,
    /// A device that is known for a day loses its address to another, or is silent.
    Known,
    /// Whatever a new host can cause.
    Other,
}

impl Default for Priority {
    /// The lowest one.
    fn default() -> Self {
        Priority { class: Class::Other, since: i64::MAX }
    }
}

impl Priority {
    pub fn of(alert: &Alert, names: &Names, store: &mut AlertStore) -> SinkResult<Priority> {
        use AlertKind::*;
        let mac = |text: Option<&String>| text.and_then(|text| text.parse::<MacAddr>().ok());
        let (own, old) = (mac(Some(&alert.mac)), mac(alert.old_mac.as_ref()));
        let is_named = |mac: Option<MacAddr>| mac.is_some_and(|mac| names.contains_key(&mac));
        // A takeover is about the MAC that had the address, the other kinds about their own.
        let subject = match alert.kind {
            kind if kind.is_takeover() => old.or(own),
            Silent | Back => own,
            ConfigChange => None,
            kind if kind.is_sensor() => None,
            _ if is_named(own) => own,
            _ => return Ok(Priority::default()),
        };
        let since = match subject {
            Some(mac) => store.memory.device(mac)?.map_or(alert.time, |device| device.first),
            None => i64::MIN,
        };
        let class = match subject {
            None => Class::Named,
            _ if is_named(own) || is_named(old) => Class::Named,
            _ if alert.time.saturating_sub(since) >= KNOWN_AFTER => Class::Known,
            _ => Class::Other,
        };
        Ok(Priority { class, since })
    }

    #[cfg(test)]
    pub fn new(class: Class, since: i64) -> Priority {
        Priority { class, since }
    }
}

#[cfg(test)]
mod tests {
    use aw_detect::Device;

    use super::*;

    #[test]
    fn names_and_age_count() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let mac = |last: u8| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        let (named, old, older, new, stranger) = (mac(1), mac(2), mac(3), mac(4), mac(5));
        let names = Names::from([(named, "gateway".to_owned())]);
        let now = 10 * KNOWN_AFTER;
        for (mac, first) in [(old, now - KNOWN_AFTER), (older, 5), (new, now - 60)] {
            store.memory.store_device(mac, &Device::new(first)).unwrap();
        }
        let mut of = |kind, mac: MacAddr, old_mac: Option<MacAddr>| {
            let old_mac = old_mac.map(|mac| mac.to_string());
            let alert = Alert { mac: mac.to_string(), old_mac, ..Alert::new(kind, now) };
            Priority::of(&alert, &names, &mut store).unwrap()
        };
        let order = [
            of(AlertKind::Blind, MacAddr::ZERO, None),
            of(AlertKind::Changed, stranger, Some(named)),
            of(AlertKind::Duplicate, stranger, Some(older)),
            of(AlertKind::ReusedOld, stranger, Some(old)),
            of(AlertKind::FlipFlop, stranger, Some(new)),
            of(AlertKind::NewDevice, stranger, None),
        ];
        assert!(order.is_sorted(), "{order:?}");
        let classes = order.map(|priority| priority.class);
        use Class::*;
        assert_eq!(classes, [Named, Named, Known, Known, Other, Other]);
        assert_eq!(of(AlertKind::UnknownDevice, older, None), Priority::default());
    }
}
