//! Events as syslog messages. The `syslog` crate does not fit: it uses the current time, in UTC, which
//! readers of RFC 3164 take for local time, and does not separate the messages of a stream.

use std::fmt::Write;

use aw_output::{Entry, Error, failed, this_host};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::Kind;

use crate::Format;

/// Facility daemon (3), severity info (6).
const PRIORITY: u8 = 3 << 3 | 6;
/// For structured data: the enterprise number that RFC 5612 reserves for examples; this project has none.
const ENTERPRISE: u32 = 32473;

pub struct MessageFormat {
    format: Format,
    structured: bool,
    /// For the daemon of this machine, which adds the host name itself.
    local: bool,
    host: String,
    zone: TimeZone,
}

impl MessageFormat {
    pub fn new(
        format: Format,
        structured: bool,
        local: bool,
        hostname: Option<String>,
    ) -> Result<MessageFormat, Error> {
        let mut host = hostname.unwrap_or_else(this_host);
        if host.is_empty() || host.len() > 255 || !host.chars().all(|c| c.is_ascii_graphic()) {
            return Err(failed(format_args!(
                "the host name {host:?} is not valid: it must have 1 to 255 visible ASCII characters (set --hostname)"
            )));
        }
        if format == Format::Rfc3164 && host.parse::<std::net::IpAddr>().is_err() {
            host.truncate(host.find('.').unwrap_or(host.len())); // RFC 3164, 4.1.2: no domain
        }
        Ok(MessageFormat { format, structured, local, host, zone: TimeZone::system() })
    }

    /// Appends an event as a message, without a separator.
    pub fn write(&self, entry: &Entry, to: &mut String) {
        let event = &entry.event;
        // Every i64 of nanoseconds is within jiff's range.
        let time = Timestamp::from_nanosecond(event.time.as_nanos().into()).unwrap_or_default();
        let header = self.header(&time.to_zoned(self.zone.clone()), entry);
        let _ = write!(to, "<{PRIORITY}>{header}{event}"); // writing to a String cannot fail
    }

    fn header(&self, time: &Zoned, entry: &Entry) -> String {
        let host = &self.host;
        if self.format == Format::Rfc3164 {
            let time = time.strftime("%b %e %H:%M:%S");
            return match self.local {
                true => format!("{time} addrwatch: "),
                false => format!("{time} {host} addrwatch: "),
            };
        }
        let (time, kind) = (time.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z"), entry.event.kind.name());
        let data = if self.structured { structured_data(entry) } else { "-".into() };
        format!("1 {time} {host} addrwatch - {kind} {data} ")
    }
}

/// The fields of an event as structured data (RFC 5424, 6.3).
fn structured_data(entry: &Entry) -> String {
    let event = &entry.event;
    let mut text = format!("[{}@{ENTERPRISE}", event.kind.name());
    let router = (!event.router.is_unspecified()).then(|| event.router.to_string());
    let outer = Some(event.outer_vlan.to_string()).filter(|outer| outer != "0");
    let change = match event.kind {
        Kind::ConfigChange(change) => Some(change),
        Kind::Pairing(_) | Kind::MacUpd => None,
    };
    for (name, value) in [
        ("ring", Some(entry.ring.to_string())),
        ("sequence", Some(entry.position.sequence.to_string())),
        ("interface", Some(event.interface.to_string())),
        ("vlan", Some(event.vlan.to_string())),
        ("outer_vlan", outer),
        ("mac", Some(event.mac.to_string())),
        ("ip", Some(event.ip_text().to_string())),
        ("origin", Some(event.kind.origin().into())),
        ("router", router),
        ("user", change.map(|change| change.user.to_string())),
        ("lines_added", change.map(|change| change.added.to_string())),
        ("lines_removed", change.map(|change| change.removed.to_string())),
    ] {
        if let Some(value) = value {
            let escaped: String = value
                .chars()
                .flat_map(|c| "\"\\]".contains(c).then_some('\\').into_iter().chain([c]))
                .collect();
            let _ = write!(text, " {name}=\"{escaped}\"");
        }
    }
    text + "]"
}
