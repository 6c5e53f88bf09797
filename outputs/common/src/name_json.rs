//! A record of names as JSON.

use serde::Serialize;
use shm_layout::{MacAddr, NameCounter, NameKind, NameRecord, RingName, ip_text};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    ttl: u32,
    #[serde(skip_serializing_if = "is_zero")]
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    repeats: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<i64>,
    message: u32,
    index: u16,
    of: u16,
    #[serde(skip_serializing_if = "is_zero")]
    renew: u32,
    #[serde(skip_serializing_if = "is_zero")]
    rebind: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    more_flags: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    other_id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    parameters: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    chassis: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    third: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    circuit: &'a str,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// As digits, as JavaScript's numbers have 53 bits.
fn digits(number: u64) -> String {
    if number == 0 { String::new() } else { format!("{number:016x}") }
}

impl<'a> NameJson<'a> {
    /// The JSON of a record.
    pub fn new(ring: &'a RingName, record: &'a NameRecord, time: TimeFormat) -> NameJson<'a> {
        let text = |ip: std::net::IpAddr| ip_text(ip).to_string();
        let mac = |mac: MacAddr| (mac != MacAddr::ZERO).then(|| mac.to_string());
        let (kind, third) = (record.kind, record.third.as_str());
        let (is_message, is_lldp) =
            ((kind as u8) < NameKind::DhcpDns as u8, kind == NameKind::Lldp);
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
            prefix_length: (record.kind.has_prefix() || record.prefix > 0).then_some(record.prefix),
            lifetime: record.has_lifetime().then_some(record.lifetime),
            preferred: record.preferred,
            flags: record.kind.has_flags().then_some(record.flags),
            hops: record.hops.into(),
            number: record.number,
            id: digits(record.id),
            name: record.name.as_str(),
            detail: record.detail.as_str(),
            source_ip: record.source_ip().map(text),
            destination_ip: record.destination_ip().map(text),
            receiver: mac(record.receiver),
            ttl: record.ttl.into(),
            version: record.version.into(),
            target: mac(record.target),
            reason: record.reason.map(NameCounter::name),
            marks: record.marks.names().collect(),
            repeats: record.repeats,
            repeated: (record.repeats > 0).then(|| record.repeated.seconds()),
            message: record.message,
            index: record.index,
            of: record.of,
            renew: record.renew,
            rebind: record.rebind,
            more_flags: digits(record.more_flags),
            other_id: digits(record.other_id),
            parameters: if is_message { third } else { "" },
            chassis: if is_lldp { third } else { "" },
            third: if is_message || is_lldp { "" } else { third },
            circuit: record.circuit.as_str(),
        }
    }
}
