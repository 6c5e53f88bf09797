//! A notification: an alert in the form in which it is sent, as a mail of arpwatch's layout and as JSON fields.

use aw_detect::{Alert, AlertKind, Claim, MacClass};
use aw_service::plain_lines;
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shm_layout::MacAddr;

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
    format!("{}: {}{network}", alert.kind.label(), parts.join(", "))
}

/// `new station (192.0.2.17) eth0`
fn arpwatch_subject(alert: &Alert) -> String {
    let address = if alert.ip.is_empty() { &alert.mac } else { &alert.ip };
    let name = alert.name.as_ref().unwrap_or(address);
    format!("{} ({name}) {}", alert.kind.label(), alert.shown_network())
}

/// Names that hosts gave themselves, or that were imported, must not look like others.
fn without_hidden(mut alert: Alert) -> Alert {
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
        "vendor": alert.vendor, "old_vendor": alert.old_vendor, "old_mac": alert.old_mac,
        "old_name": alert.old_name, "claimed_name": name(&alert.claimed), "claimed_source": source(&alert.claimed),
        "old_claimed_name": name(&alert.old_claimed), "old_claimed_source": source(&alert.old_claimed),
        "previous": alert.previous, "note": alert.note, "frame_source": alert.frame_source,
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
        ("previous timestamp", previous.map(date)),
        ("delta", previous.map(|previous| delta(alert.time - previous))),
        ("reported by", filled(&alert.host).filter(|_| !arpwatch)),
        ("note", alert.note.clone().filter(|_| !arpwatch)),
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

pub fn zoned(seconds: i64, zone: &TimeZone) -> Zoned {
    Timestamp::from_second(seconds).unwrap_or_default().to_zoned(zone.clone())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    impl Notification {
        /// As arpwatch's, or as this program's.
        pub fn of(alert: &Alert, zone: &TimeZone, arpwatch: bool) -> Notification {
            Notification::in_layout(alert, zone, arpwatch, arpwatch)
        }
    }

    pub fn alert(kind: AlertKind) -> Alert {
        Alert {
            network: "eth0".into(),
            ip: "10.0.0.1".into(),
            mac: "00:08:e1:01:02:0a".into(),
            vendor: Some("Maker".into()),
            old_mac: Some("00:08:e1:01:02:0b".into()),
            previous: Some(1_700_000_002),
            ..Alert::new(kind, 1_700_000_003)
        }
    }

    #[test]
    fn line_mail_and_json() {
        let flip = alert(AlertKind::FlipFlop);
        let line = "flip flop 10.0.0.1 00:08:e1:01:02:0a (00:08:e1:01:02:0b) eth0 (Maker)";
        assert_eq!(flip.to_string(), line);
        let same = Alert { old_mac: Some(flip.mac.clone()), ..alert(AlertKind::NewActivity) };
        assert_eq!(same.to_string(), "new activity 10.0.0.1 00:08:e1:01:02:0a eth0 (Maker)");
        let Notification { subject, text, fields } = Notification::of(&flip, &TimeZone::UTC, false);
        assert_eq!(subject, "flip flop: 00:08:e1:01:02:0b to Maker, 10.0.0.1 (eth0)");
        let as_arpwatch = Notification::of(&flip, &TimeZone::UTC, true).subject;
        assert_eq!(as_arpwatch, "flip flop (10.0.0.1) eth0");
        // As Debian's arpwatch -d wrote it.
        let expected = "            hostname: <unknown>
          ip address: 10.0.0.1
           interface: eth0
    ethernet address: 00:08:e1:01:02:0a
     ethernet vendor: Maker
old ethernet address: 00:08:e1:01:02:0b
 old ethernet vendor: <unknown>
           timestamp: Tuesday, November 14, 2023 22:13:23 +0000
  previous timestamp: Tuesday, November 14, 2023 22:13:22 +0000
               delta: 1 second
";
        assert_eq!(text, expected);
        let probe =
            Alert { ip: String::new(), note: Some("probed 10.0.0.1".into()), ..flip.clone() };
        let Notification { subject, text: without, .. } =
            Notification::of(&probe, &TimeZone::UTC, false);
        assert!(!without.contains("ip address"), "{without}");
        let both = "00:08:e1:01:02:0b to Maker";
        assert_eq!(
            subject,
            format!("flip flop: {both}, 00:08:e1:01:02:0a, probed 10.0.0.1 (eth0)")
        );
        let noted = Alert { note: Some("a note".into()), host: "sensor1".into(), ..flip.clone() };
        let text = |arpwatch| Notification::of(&noted, &TimeZone::UTC, arpwatch).text;
        assert!(
            text(false).ends_with("         reported by: sensor1\n                note: a note\n")
        );
        assert_eq!(text(true), expected);
        assert_eq!((&fields["kind"], &fields["date"]), (&"flip_flop".into(), &"20231114".into()));
        let sender = "00:08:e1:01:02:0c";
        let forged = Alert { frame_source: Some(sender.into()), ..flip };
        let forged = Notification::of(&forged, &TimeZone::UTC, false);
        assert_eq!(
            (&forged.fields["frame_source"], &fields["frame_source"]),
            (&sender.into(), &Value::Null)
        );
    }

    /// What a device calls itself is a quotation, in each form, and cannot end it.
    #[test]
    fn claimed_names() {
        let claim = |name: &str| {
            Some(Claim::from(&aw_output::ClaimedName {
                source: aw_output::NameSource::MdnsHost,
                name: name.into(),
                first: shm_layout::UnixTime::new(0, 0),
                last: shm_layout::UnixTime::new(0, 0),
            }))
        };
        let hostile = "a” [gateway]\u{202e}\n\"";
        let new = Alert { claimed: claim(hostile), old_mac: None, ..alert(AlertKind::NewDevice) };
        let shown = "“a' [gateway]??'”";
        let line = format!(
            "new device 10.0.0.1 00:08:e1:01:02:0a eth0 (Maker) calls itself {shown} (mDNS host name)"
        );
        assert_eq!(new.to_string(), line);
        let Notification { subject, text, fields } = Notification::of(&new, &TimeZone::UTC, false);
        assert_eq!(subject, format!("new device: Maker, calls itself {shown}, 10.0.0.1 (eth0)"));
        assert!(text.starts_with("            hostname: <unknown>\n"), "{text}");
        assert!(
            text.contains(&format!("        calls itself: {shown} (mDNS host name)\n")),
            "{text}"
        );
        assert_eq!((&fields["name"], &fields["message"]), (&Value::Null, &line.into()));
        assert_eq!(fields["claimed_name"], "a' [gateway]??'");
        assert_eq!(fields["claimed_source"], "mDNS host name");
        let as_arpwatch = Notification::of(&new, &TimeZone::UTC, true);
        assert!(!as_arpwatch.text.contains("calls itself"), "{}", as_arpwatch.text);
        let taken = Alert { old_claimed: claim("nas"), ..alert(AlertKind::Changed) };
        assert!(
            taken.to_string().contains(" (00:08:e1:01:02:0b calls itself “nas” (mDNS host name)) ")
        );
        let Notification { subject, text, fields } =
            Notification::of(&taken, &TimeZone::UTC, false);
        assert!(!subject.contains("nas") && fields["old_claimed_name"] == "nas", "{subject}");
        assert!(text.contains("    old calls itself: “nas” (mDNS host name)\n"), "{text}");
    }

    /// What a receiver that shows one line must show.
    #[test]
    fn a_subject_names_the_device() {
        let new = Alert {
            network: "eth0.7".into(),
            ip: "192.0.2.17".into(),
            mac: "b8:27:eb:00:00:11".into(),
            ..Alert::new(AlertKind::NewDevice, 0)
        };
        let maker = Alert { vendor: Some("Raspberry Pi".into()), ..new.clone() };
        let named = Alert { name: Some("printer".into()), ..maker.clone() };
        let unnamed = Alert { name: Some(String::new()), ..maker.clone() };
        let silent = Alert {
            name: Some("nas".into()),
            mac: new.mac.clone(),
            note: Some("not seen for 600 s".into()),
            ..Alert::new(AlertKind::Silent, 0)
        };
        let router = Alert { mac: String::new(), ..new.clone() };
        let private = Alert {
            network: "eth0".into(),
            ip: "192.0.2.63".into(),
            mac: "06:00:00:00:00:01".into(),
            ..new.clone()
        };
        let text =
            |arpwatch| Notification::in_layout(&private, &TimeZone::UTC, arpwatch, false).text;
        assert!(text(false).contains("ethernet vendor: none: a private MAC, which its device made up, as phones and virtual machines do; a forged MAC can look the same\n"));
        assert!(text(true).contains("ethernet vendor: <unknown>"));
        let of_sensor = |kind, network: &str, note: &str| Alert {
            network: network.into(),
            ring: "/lan".into(),
            note: Some(note.into()),
            ..Alert::new(kind, 0)
        };
        let blind = of_sensor(AlertKind::Blind, "eth1", "interface eth1 is down or gone: ...");
        let text = |alert| Notification::of(alert, &TimeZone::UTC, false).text;
        assert!(text(&blind).starts_with("interface eth1 is down or gone: ...\n"));
        let lost = of_sensor(AlertKind::Lost, "", "9 events were overwritten");
        assert!(text(&lost).starts_with("ring /lan: 9 events were overwritten\n"));
        let ends = [
            ("eth1", "interface eth1 is captured again, after 9 s"),
            ("eth1", "the collector captures no longer on interface eth1, after 9 s"),
            ("", "events arrive again, after 9 s"),
            ("", "no collector ran from 10:00 to 10:05: nothing is recorded of that time"),
        ];
        let [sees, unwanted, arrive, gap] = ends
            .map(|(network, note)| of_sensor(AlertKind::Blind, network, &format!("over: {note}")));
        let dead = of_sensor(AlertKind::Blind, "", "it does not exist: no events arrive (...)");
        let over = of_sensor(AlertKind::Lost, "", "over: 9 events were lost, within 5 s");
        let drops =
            of_sensor(AlertKind::Lost, "eth1", "9 frames were dropped by the kernel on eth1");
        // The maker of the one that takes an address is the choice of an attacker.
        let taken = Alert {
            kind: AlertKind::Changed,
            old_mac: Some("00:08:e1:01:02:0b".into()),
            old_name: Some("gateway\u{202e}".into()),
            old_vendor: Some("Maker".into()),
            ..maker.clone()
        };
        let both = Alert { kind: AlertKind::Duplicate, old_name: None, ..taken.clone() };
        let line = "changed ethernet address 192.0.2.17 b8:27:eb:00:00:11 (00:08:e1:01:02:0b [gateway?]) eth0.7 (Raspberry Pi)";
        assert_eq!(taken.to_string(), line);
        assert!(!taken.arpwatch_line().contains("gateway"));
        let text = |arpwatch| Notification::in_layout(&taken, &TimeZone::UTC, arpwatch, false).text;
        assert!(text(false).contains("        old hostname: gateway?\nold ethernet address: 00:"));
        assert!(!text(true).contains("old hostname"));
        for (alert, expected) in [
            (taken, "changed ethernet address: gateway? to Raspberry Pi, 192.0.2.17 (eth0.7)"),
            (both, "duplicate address: Maker and Raspberry Pi, 192.0.2.17 (eth0.7)"),
            (maker, "new device: Raspberry Pi, 192.0.2.17 (eth0.7)"),
            (unnamed, "new device: Raspberry Pi, 192.0.2.17 (eth0.7)"),
            (named, "new device: printer, 192.0.2.17 (eth0.7)"),
            (new, "new device: b8:27:eb:00:00:11, 192.0.2.17 (eth0.7)"),
            (silent, "silent device: nas, b8:27:eb:00:00:11, not seen for 600 s"),
            (router, "new device: 192.0.2.17 (eth0.7)"),
            (private, "new device: private MAC 06:00:00:00:00:01, 192.0.2.63 (eth0)"),
            (blind, "no frames are captured on eth1 (ring /lan)"),
            (sees, "frames are captured on eth1 again (ring /lan)"),
            (unwanted, "eth1 is no longer to be captured (ring /lan)"),
            (dead, "no events arrive (ring /lan)"),
            (arrive, "events arrive again (ring /lan)"),
            (gap, "no collector ran for a time (ring /lan)"),
            (over, "no more events lost (ring /lan)"),
            (drops, "events lost on eth1 (ring /lan)"),
        ] {
            let Notification { subject, fields, .. } =
                Notification::of(&alert, &TimeZone::UTC, false);
            assert_eq!((&*subject, &fields["summary"]), (expected, &expected.into()));
        }
    }

    #[test]
    fn names_that_turn_or_hide_text() {
        let alert = Alert {
            name: Some("\u{202e}retuor\u{2066}".into()),
            note: Some("a\u{200b}b".into()),
            vendor: Some("\u{feff}Maker".into()),
            ..alert(AlertKind::NewDevice)
        };
        let Notification { subject, text, fields } =
            Notification::of(&alert, &TimeZone::UTC, false);
        let all = format!("{subject}\n{text}\n{fields}");
        assert!(!all.chars().any(aw_service::is_hidden), "{all:?}");
        assert!(subject.contains(": ?retuor?, ") && text.contains("note: a?b"), "{all}");
    }

    /// What a message calls a kind is found in the guide, in the row of the kind.
    #[test]
    fn each_text_is_in_the_guide() {
        let guide = [
            include_str!("../../../docs/guide/alerts.md"),
            include_str!("../../../docs/guide/rogues.md"),
        ];
        let rows = guide
            .iter()
            .flat_map(|guide| guide.lines())
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let mut number = 0;
        for (kinds, rest) in rows {
            let texts = rest.split_once(" | ").unwrap().0.split(", ");
            for (kind, text) in kinds.split("`, `").zip(texts) {
                let kind: AlertKind = serde_json::from_value(kind.into()).unwrap();
                assert_eq!(kind.label(), text);
                number += 1;
            }
        }
        assert_eq!(number, AlertKind::GatewayTaken as usize + 1, "all of them");
    }

    #[test]
    fn deltas() {
        let texts = [0, 1, 59, 60, 7199, 86_400, 200_000].map(delta);
        let expected =
            ["0 seconds", "1 second", "59 seconds", "1 minute", "1 hour", "1 day", "2 days"];
        assert_eq!(texts, expected);
    }
}
