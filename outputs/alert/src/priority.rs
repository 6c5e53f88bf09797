//! Which alerts come first in a digest and are sent during a storm: what counts is what a host on the network cannot choose,
//! the names of the configuration and how long a device has had the address that it loses.

use std::cmp::Reverse;

use aw_detect::{Alert, AlertKind, Names};
use serde::{Deserialize, Serialize};
use shm_layout::MacAddr;

/// Who has had an address for so many seconds is known: a host that prepares a storm must begin it as early.
const KNOWN_AFTER: i64 = 86_400;

/// Smaller is more important: the class, then for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Priority {
    pub class: Class,
    held: Reverse<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// About the sensor itself, or the configuration of a router.
    Sensor,
    /// A device with a name loses an address that it had before any other, or is silent or back.
    Named,
    /// The same of a device that is watched, had the address for a day, or has a name and had it after another.
    Known,
    /// Whatever a new host can cause.
    #[default]
    Other,
}

impl Default for Priority {
    /// The lowest one.
    fn default() -> Self {
        Priority { class: Class::Other, held: Reverse(0) }
    }
}

impl Priority {
    /// Both MACs of an alert can be forged: who claims a free address in the name of a named device, and then in its own,
    /// takes it from that device. But it held that address for a moment only.
    pub fn of(alert: &Alert, names: &Names) -> Priority {
        use AlertKind::*;
        let is_named =
            |mac: &String| mac.parse::<MacAddr>().is_ok_and(|mac| names.contains_key(&mac));
        let class = match alert.kind {
            ConfigChange => Class::Sensor,
            kind if kind.is_sensor() => Class::Sensor,
            // Only of devices that the configuration watches.
            Silent | Back if is_named(&alert.mac) => Class::Named,
            Silent | Back => Class::Known,
            RouterChanged | RouterWithdrawn if is_named(&alert.mac) => Class::Named,
            kind if !kind.is_takeover() && !kind.is_of_known_router() => Class::Other,
            _ if alert.held > 0 && alert.old_mac.as_ref().is_some_and(is_named) => Class::Named,
            // Its old MAC has a name, but is not the address's first one: ranks behind all others of this class.
            _ if alert.old_mac.as_ref().is_some_and(is_named) => Class::Known,
            _ if alert.held >= KNOWN_AFTER => Class::Known,
            _ => Class::Other,
        };
        Priority { class, held: Reverse(alert.held) }
    }

    /// For how many seconds the device had the address that it loses.
    pub fn held(self) -> i64 {
        self.held.0
    }

    #[cfg(test)]
    pub fn new(class: Class, held: i64) -> Priority {
        Priority { class, held: Reverse(held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_how_long_count() {
        let mac = |last: u8| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        let (named, other, stranger) = (mac(1), mac(2), mac(3));
        let names = Names::from([(named, "gateway".to_owned())]);
        let of = |kind, mac: MacAddr, old_mac: Option<MacAddr>, held| {
            let old_mac = old_mac.map(|mac| mac.to_string());
            Priority::of(
                &Alert { mac: mac.to_string(), old_mac, held, ..Alert::new(kind, 0) },
                &names,
            )
        };
        use AlertKind::*;
        let order = [
            of(Blind, MacAddr::ZERO, None, 0),
            of(Changed, stranger, Some(named), 100),
            of(Duplicate, stranger, Some(named), 1),
            of(Back, named, None, 0),
            of(Duplicate, stranger, Some(other), KNOWN_AFTER + 1),
            of(ReusedOld, stranger, Some(other), KNOWN_AFTER),
            of(Silent, other, None, 0),
            of(FlipFlop, stranger, Some(other), KNOWN_AFTER - 1),
            of(NewDevice, stranger, None, 0),
        ];
        assert!(order.is_sorted(), "{order:?}");
        let classes = order.map(|priority| priority.class);
        use Class::*;
        assert_eq!(classes, [Sensor, Named, Named, Named, Known, Known, Known, Other, Other]);
        // What a frame with the MAC of a named device causes, and what it never had.
        for kind in [Broadcast, Mismatch, NewDevice, Returned, UnknownDevice] {
            assert_eq!(of(kind, named, Some(named), 0), Priority::default(), "{kind:?}");
        }
        assert_eq!(of(Changed, named, Some(stranger), 1).class, Other);
        assert_eq!(of(Changed, stranger, Some(named), 0), Priority::new(Known, 0));
    }
}
