//! Discovery messages of Home Assistant: the entities that it creates. Each release ignores keys that it does not know.

use aw_detect::AlertKind;
use serde_json::{Value, json};
use shm_layout::MacAddr;

use crate::{
    presence::{HOME, NOT_HOME},
    topics::Topics,
};

/// The kinds that the event entity reports. Without *new station*, *new activity* and *suppressed DECnet flip flop*: IPv6
/// hosts take new addresses every day.
pub const EVENT_KINDS: [AlertKind; 12] = [
    AlertKind::NewDevice,
    AlertKind::Returned,
    AlertKind::Changed,
    AlertKind::FlipFlop,
    AlertKind::ReusedOld,
    AlertKind::Duplicate,
    AlertKind::Broadcast,
    AlertKind::ConfigChange,
    AlertKind::Lost,
    AlertKind::Forgot,
    AlertKind::Full,
    AlertKind::Blind,
];

/// The discovery message of an "MQTT device tracker". It has both the state, which 2027.1 is to remove, and the zones in the
/// attributes.
pub fn device_tracker(mac: MacAddr, name: &str, topics: &Topics) -> Value {
    json!({
        "name": null, // the device's name is used
        "unique_id": topics.unique_id(mac),
        "state_topic": topics.device(mac),
        "payload_home": HOME,
        "payload_not_home": NOT_HOME,
        "json_attributes_topic": topics.attributes(mac),
        // Neither away nor at home: a device tracker without a state is left out of a person's, and no automation on `not_home` runs.
        "availability": [{ "topic": topics.status() }, { "topic": topics.device_status(mac) }],
        "availability_mode": "all",
        "source_type": "router",
        "qos": 1,
        "device": { "connections": [["mac", mac.to_string()]], "name": name },
        "origin": origin(),
    })
}

/// The discovery message of an "MQTT event": the alerts of this host. Its device is the host's aw-mqtt.
pub fn alert_event(topics: &Topics) -> Value {
    json!({
        "name": "Alerts",
        "unique_id": topics.alerts_id(),
        "state_topic": topics.alerts(),
        "event_types": EVENT_KINDS.map(AlertKind::name),
        "availability_topic": topics.status(),
        "icon": "mdi:lan",
        "qos": 1,
        "device": { "identifiers": [topics.host_id()], "name": topics.host_name() },
        "origin": origin(),
    })
}

fn origin() -> Value {
    json!({ "name": "aw-mqtt", "sw_version": env!("CARGO_PKG_VERSION") })
}
