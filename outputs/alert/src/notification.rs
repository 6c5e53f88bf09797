//! A notification: an alert in the form in which it is sent, as a mail of arpwatch's layout and as JSON fields.

use std::time::Duration;

use aw_detect::{Alert, AlertKind, Claim, MacClass};
use aw_service::{TimeSpan, plain_lines};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shm_layout::{MacAddr, UnixTime};

/// A message to a channel, ready to be sent. It is stored in the queue as JSON.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Notification {
    pub subject: String,
    pub text: String,
    pub fields: Value,
}

impl Notification {
    /// The subject is among the fields, too, as `summary`.
    pub fn new(subject: String, text: String, mut fields: Value) -> Notification {
        fields["summary"] = subject.clone().into();
        Notification { subject, text, fields }
    }

    /// The notification of an alert, with all that is known. `lines`: its text has only arpwatch's lines. `dialect`: its subject
    /// is arpwatch's.
    pub fn in_layout(alert: &Alert, zone: &TimeZone, lines: bool, dialect: bool) -> Notification {
        let alert = &without_hidden(alert.clone());
        if alert.kind.is_sensor() {
            let note = alert.note.as_deref().unwrap_or_default();
            // What is about an interface names it.
            let of_ring = alert.network.is_empty() && !alert.ring.is_empty();
            let ring = if of_ring { format!("ring {}: ", alert.ring) } else { String::new() };
            let (subject, text) =
                (sensor_subject(alert), format!("{ring}{note}\n\nreported by {}\n", alert.host));
            return Notification::new(subject, text, fields(alert, zone));
        }
        let subject = if dialect { arpwatch_subject(alert) } else { subject(alert) };
        Notification::new(subject, mail_text(alert, zone, lines, dialect), fields(alert, zone))
    }

    /// The notification that the first day begins.
    pub fn of_first_day(subject: &str, line: &str, time: i64, host: &str) -> Notification {
        let fields = json!({ "kind": "learning", "message": line, "host": host, "seconds": time });
        let text = format!("{line}\n\nreported by {host}\n");
        Notification::new(subject.into(), text, fields)
    }

    /// The notification that another channel fails, of this host.
    pub fn of_failure(channel: &str, why: &str, time: i64, host: &str) -> Notification {
        let line = format!("channel {channel} fails: {why}");
        let fields = json!({
            "kind": "channel_fails", "channel": channel, "message": line, "host": host,
            "seconds": time,
        });
        let text = format!("{line}\n\nreported by {host}\n");
        Notification::new(format!("channel {channel} fails"), text, fields)
    }
}

/// `no frames are captured on eth1 (ring /addrwatch)`, `events lost (ring /addrwatch)`: what the sensor misses, where, and in
/// other words if that is over.
fn sensor_subject(alert: &Alert) -> String {
    let (network, kind) = (&*alert.network, alert.kind);
    let end = alert.note.as_deref().filter(|_| alert.is_over());
    let note = alert.note.as_deref().unwrap_or_default();
    let of = |text: &str| kind == AlertKind::Blind && note.contains(text);
    let what = match (kind, network.is_empty(), end) {
        _ if of("names are not read") => "names are no longer read".into(),
        _ if of("names are read again") => "names are read again".into(),
        _ if of("ARP broadcasts do not arrive") => {
            format!("ARP broadcasts do not arrive on {network}")
        }
        _ if of("ARP broadcasts of other hosts") => format!("ARP broadcasts arrive on {network}"),
        _ if of(" was not killed again, and did not crash") => {
            "no further kill or crash for an hour".into()
        }
        _ if of("the collector was killed or crashed ") => {
            "the collector was killed or crashed several times".into()
        }
        _ if of("the program that writes this ring ") => {
            "what writes the ring was killed or crashed several times".into()
        }
        _ if of(" multicast queries on ") => {
            format!("Neighbor Discovery may be hidden on {network}")
        }
        _ if of(" answer multicast queries ") => {
            format!("multicast queries are answered on {network}")
        }
        (AlertKind::Blind, false, None) => format!("no frames are captured on {network}"),
        (AlertKind::Blind, false, Some(end)) if end.contains(" captures no longer ") => {
            format!("{network} is no longer to be captured")
        }
        (AlertKind::Blind, false, Some(_)) => format!("frames are captured on {network} again"),
        (AlertKind::Blind, true, None) => "no events arrive".into(),
        (AlertKind::Blind, true, Some(end)) if end.contains("no collector ran ") => {
            "no collector ran for a time".into()
        }
        (AlertKind::Blind, true, Some(_)) => "events arrive again".into(),
        (_, of_all, end) => {
            let label = if end.is_some() { kind.label_of_end() } else { kind.label() };
            if of_all { label.into() } else { format!("{label} on {network}") }
        }
    };
    match &*alert.ring {
        "" => what,
        ring => format!("{what} (ring {ring})"),
    }
}

/// What users know a device by: its name, or else its maker.
pub fn shown_name(alert: &Alert) -> Option<&str> {
    name_or_maker(&alert.name, &alert.vendor)
}

fn name_or_maker<'a>(name: &'a Option<String>, maker: &'a Option<String>) -> Option<&'a str> {
    [name, maker].into_iter().filter_map(|text| text.as_deref()).find(|text| !text.is_empty())
}

/// What a device without name and maker is called whose MAC is locally administered: the address that it has for this network only.
const PRIVATE: &str = "private MAC";

fn is_private(mac: &str) -> bool {
    mac.parse::<MacAddr>().is_ok_and(|mac| MacClass::of(mac) == MacClass::Random)
}

/// `printer to Raspberry Pi`: who loses an address, which no attacker chooses, and who takes it.
fn of_takeover(alert: &Alert) -> Option<String> {
    let old_mac = alert.old_mac.as_ref().filter(|_| alert.kind.is_takeover())?;
    let old = name_or_maker(&alert.old_name, &alert.old_vendor).unwrap_or(old_mac);
    let new = shown_name(alert).unwrap_or(&alert.mac);
    let link = if alert.kind == AlertKind::Duplicate { "and" } else { "to" };
    Some(format!("{old} {link} {new}"))
}

/// `new device: Raspberry Pi, 192.0.2.17 (eth0.7)`. Without name and maker, it has the MAC, `private MAC 06:...` if that is locally
/// administered; without an address, the MAC, and what it did: `probed 192.0.2.1`. Of a takeover, both devices: `flip flop: printer to Raspberry Pi, 192.0.2.17 (eth0.7)`.
fn subject(alert: &Alert) -> String {
    let takeover = of_takeover(alert);
    let name = takeover.as_deref().or(shown_name(alert));
    let mac = match name {
        None if is_private(&alert.mac) => Some(format!("{PRIVATE} {}", alert.mac)),
        None => Some(alert.mac.clone()),
        Some(_) => Some(alert.mac.clone()).filter(|_| alert.ip.is_empty()),
    };
    let deed = alert.note.as_deref().filter(|_| alert.ip.is_empty());
    let claim = alert.claimed.as_ref().map(|claim| format!("calls itself “{}”", claim.name));
    let parts = [name, mac.as_deref(), claim.as_deref(), Some(&*alert.ip), deed];
    let parts = parts.into_iter().flatten();
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    let network = match alert.shown_network() {
        network if network.is_empty() => network,
        network => format!(" ({network})"),
    };
    let late = if alert.late.is_empty() { String::new() } else { format!(", {}", alert.late) };
    format!("{}: {}{network}{late}", alert.kind.label(), parts.join(", "))
}

/// `new station (192.0.2.17) eth0`
fn arpwatch_subject(alert: &Alert) -> String {
    let address = if alert.ip.is_empty() { &alert.mac } else { &alert.ip };
    let name = alert.name.as_ref().unwrap_or(address);
    format!("{} ({name}) {}", alert.kind.label(), alert.shown_network())
}

/// Names that hosts gave themselves, or that were imported, must not look like others.
fn without_hidden(mut alert: Alert) -> Alert {
    alert.advice = plain_lines(&alert.advice);
    let Alert { name, note, vendor, old_name, old_vendor, .. } = &mut alert;
    for text in [name, note, vendor, old_name, old_vendor].into_iter().flatten() {
        *text = plain_lines(text);
    }
    alert
}

/// The alert as JSON; it includes the keys of macupd_tracker's alerter.
fn fields(alert: &Alert, zone: &TimeZone) -> Value {
    let time = zoned(alert.time, zone);
    let hours: String = (0..24).map(|hour| if hour == time.hour() { '1' } else { '.' }).collect();
    let last = alert.previous.map(|last| zoned(last, zone).strftime("%H%M").to_string());
    let name = |claim: &Option<Claim>| claim.as_ref().map(|one| one.name.clone());
    let source = |claim: &Option<Claim>| claim.as_ref().map(|one| one.source.clone());
    json!({
        "kind": alert.kind.name(), "message": alert.to_string(), "seconds": alert.time,
        "mac": alert.mac, "ip": alert.ip, "iface": alert.network, "name": alert.name,
        "host": alert.host, "ring": alert.ring,
        "date": time.strftime("%Y%m%d").to_string(), "time": time.strftime("%H%M").to_string(),
        "active-hours": hours, "last": last,
        "claimed_by": alert.claimed_by.join(" "), "vendor": alert.vendor, "old_vendor": alert.old_vendor, "old_mac": alert.old_mac,
        "old_name": alert.old_name, "claimed_name": name(&alert.claimed), "claimed_source": source(&alert.claimed),
        "old_claimed_name": name(&alert.old_claimed), "old_claimed_source": source(&alert.old_claimed),
        "previous": alert.previous, "note": alert.full_note(), "frame_source": alert.frame_source,
    })
}

/// The text of arpwatch's mail: keys are right-aligned in 20 columns.
fn mail_text(alert: &Alert, zone: &TimeZone, arpwatch: bool, dialect: bool) -> String {
    let date = |time| zoned(time, zone).strftime("%A, %B %-d, %Y %-H:%M:%S %z").to_string();
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "<unknown>".into());
    let maker = |mac: &str, text: &Option<String>| match text {
        None if !arpwatch && !dialect && is_private(mac) => {
            format!(
                "none: a {PRIVATE}, which its device made up, as phones and virtual machines do; a forged MAC can look the same"
            )
        }
        text => known(text),
    };
    let previous = alert.previous.filter(|_| alert.kind != AlertKind::NewStation);
    let has_mac = !alert.mac.is_empty();
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let claim = |claim: &Option<Claim>| {
        let claim = claim.as_ref().filter(|_| !arpwatch)?;
        Some(format!("“{}” ({})", claim.name, claim.source))
    };
    let lines = [
        ("hostname", Some(known(&alert.name))),
        ("ip address", filled(&alert.ip)),
        ("interface", filled(&alert.network)),
        ("ethernet address", has_mac.then(|| alert.mac.clone())),
        ("ethernet vendor", has_mac.then(|| maker(&alert.mac, &alert.vendor))),
        ("calls itself", claim(&alert.claimed)),
        ("old hostname", alert.old_name.clone().filter(|_| !arpwatch)),
        ("old calls itself", claim(&alert.old_claimed)),
        ("old ethernet address", alert.old_mac.clone()),
        ("old ethernet vendor", alert.old_mac.as_ref().map(|mac| maker(mac, &alert.old_vendor))),
        ("timestamp", Some(date(alert.time))),
        ("late", filled(&alert.late).filter(|_| !arpwatch)),
        ("previous timestamp", previous.map(date)),
        ("delta", previous.map(|previous| delta(alert.time - previous))),
        ("reported by", filled(&alert.host).filter(|_| !arpwatch)),
        ("note", alert.full_note().filter(|_| !arpwatch)),
    ];
    let lines = lines.into_iter().filter_map(|(key, value)| Some((key, value?)));
    lines.map(|(key, value)| format!("{key:>20}: {value}\n")).collect()
}

/// A time span as arpwatch writes it: in the largest unit, rounded down.
fn delta(seconds: i64) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let fits = |(size, _): &&(i64, &str)| seconds.abs() >= *size;
    let (size, unit) = units.iter().find(fits).unwrap_or(&(1, "second"));
    let number = seconds / size;
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// `05:19:07 UTC`, with the day if it is another one than at `now`.
pub fn clock(seconds: i64, now: i64, zone: &TimeZone) -> String {
    let time = zoned(seconds, zone);
    let is_today = time.date() == zoned(now, zone).date();
    let format = if is_today { "%H:%M:%S %Z" } else { "%Y-%m-%d %H:%M:%S %Z" };
    time.strftime(format).to_string()
}

/// `at 05:19:07 UTC, 1 min 18 s ago`, if an alert is older than `max` seconds; not if one of the clocks was not set.
pub fn late(alert: &Alert, now: i64, max: i64, zone: &TimeZone) -> String {
    let is_set = UnixTime::new(alert.time, 0).is_plausible();
    match u64::try_from(now.saturating_sub(alert.time)) {
        Ok(age) if is_set && age > max as u64 => {
            let at = clock(alert.time, now, zone);
            format!("at {at}, {} ago", TimeSpan(Duration::from_secs(age)))
        }
        _ => String::new(),
    }
}

pub fn zoned(seconds: i64, zone: &TimeZone) -> Zoned {
    Timestamp::from_second(seconds).unwrap_or_default().to_zoned(zone.clone())
}

#[cfg(test)]
pub mod tests;
