//! A record of names as JSON.

use serde::Serialize;
use shm_layout::{NameRecord, RingName, ip_text};

use crate::TimeFormat;

/// A record with all its fields; those that its kind does not use are missing.
#[derive(Serialize)]
pub struct NameJson<'a> {
    ring: &'a str,
    kind: &'a str,
    time: TimeFormat,
    nanoseconds: u32,
    interface: &'a str,
    vlan: u16,
    outer_vlan: u16,
    mac: String,
    sender: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_length: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime: Option<u32>,
    #[serde(skip_serializing_if = "is_zero")]
    preferred: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u8>,
    #[serde(skip_serializing_if = "is_zero")]
    hops: u32,
    #[serde(skip_serializing_if = "is_zero")]
    number: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl<'a> NameJson<'a> {
    /// The JSON of a record.
    pub fn new(ring: &'a RingName, record: &'a NameRecord, time: TimeFormat) -> NameJson<'a> {
        let text = |ip: std::net::IpAddr| ip_text(ip).to_string();
        NameJson {
            ring: ring.as_str(),
            kind: record.kind.name(),
            time,
            nanoseconds: record.time.subsec_nanos(),
            interface: record.interface.as_str(),
            vlan: record.vlan.get(),
            outer_vlan: record.outer_vlan.get(),
            mac: record.mac.to_string(),
            sender: record.sender.to_string(),
            ip: record.ip().map(text),
            other_ip: record.other_ip().map(text),
            relay: record.relay_ip().map(text),
            prefix_length: record.kind.has_prefix().then_some(record.prefix),
            lifetime: record.has_lifetime().then_some(record.lifetime),
            preferred: record.preferred,
            flags: record.kind.has_flags().then_some(record.flags),
            hops: record.hops.into(),
            number: record.number,
            id: if record.id == 0 { String::new() } else { format!("{:016x}", record.id) },
            name: record.name.as_str(),
            detail: record.detail.as_str(),
        }
    }
}
