//! An event as JSON, for aw-stdout and aw-mqtt.

use serde::Serialize;
use shm_layout::{Event, Evidence, Kind};

use crate::Entry;

/// An event with all its fields. The generation is text, because it does not fit in a double.
#[derive(Serialize)]
pub struct EventJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    ring: &'a str,
    generation: String,
    sequence: u64,
    kind: &'a str,
    time: TimeFormat,
    nanoseconds: u32,
    interface: &'a str,
    vlan: u16,
    outer_vlan: u16,
    mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_source: Option<String>,
    ip: String,
    origin: &'a str,
    router: Option<String>,
    #[serde(flatten)]
    change: Option<ConfigChangeJson<'a>>,
}

/// Whether the frame's source is reported: it differs from the MAC, or the MAC was taken from it.
fn has_frame_source(event: &Event) -> bool {
    let from_frame = matches!(event.kind.evidence(), Evidence::FrameSource | Evidence::SignOfLife);
    from_frame || event.source != event.mac
}

/// Further fields of a configuration change.
#[derive(Serialize)]
struct ConfigChangeJson<'a> {
    user: &'a str,
    lines_added: u32,
    lines_removed: u32,
}

/// The time of an event, in the format that the reader needs.
#[derive(Serialize)]
#[serde(untagged)]
pub enum TimeFormat {
    /// Seconds since 1970-01-01 00:00 UTC.
    Seconds(i64),
    /// Date and time as text.
    Text(String),
}

impl<'a> EventJson<'a> {
    /// With an empty address: it is not that of the MAC.
    pub fn without_address(self) -> EventJson<'a> {
        EventJson { ip: String::new(), ..self }
    }

    /// With the host of the collector: where it is not the same for all events.
    pub fn with_host(self, host: &'a str) -> EventJson<'a> {
        EventJson { host: Some(host), ..self }
    }

    /// The JSON of an event.
    pub fn new(entry: &'a Entry, time: TimeFormat) -> EventJson<'a> {
        let event = &entry.event;
        EventJson {
            host: None,
            ring: entry.ring.as_str(),
            generation: format!("{:016x}", entry.position.generation),
            sequence: entry.position.sequence,
            kind: event.kind.name(),
            time,
            nanoseconds: event.time.subsec_nanos(),
            interface: event.interface.as_str(),
            vlan: event.vlan.get(),
            outer_vlan: event.outer_vlan.get(),
            mac: event.mac.to_string(),
            frame_source: has_frame_source(event).then(|| event.source.to_string()),
            ip: event.ip_text().to_string(),
            origin: event.kind.origin(),
            router: (!event.router.is_unspecified()).then(|| event.router.to_string()),
            change: match &event.kind {
                Kind::ConfigChange(change) => Some(ConfigChangeJson {
                    user: change.user.as_str(),
                    lines_added: change.added,
                    lines_removed: change.removed,
                }),
                Kind::Pairing(_) | Kind::MacUpd => None,
            },
        }
    }
}
