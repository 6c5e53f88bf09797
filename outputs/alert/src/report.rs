//! What is told: the kinds, a report, and its shapes - a line, JSON, a mail as arpwatch writes it.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is told of.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An address is used again, by the same MAC, after half a year.
    NewActivity,
    /// An address that nobody had.
    NewStation,
    /// Its second last MAC has it again.
    FlipFlop,
    /// The same, as DECnet does it.
    SuppressedDecnet,
    /// An older MAC has it again.
    ReusedOld,
    /// A MAC has it that never had it.
    Changed,
    /// ARP in the frame of another MAC.
    Mismatch,
    /// ARP of, or in a frame of, the broadcast or the zero MAC.
    Broadcast,
    /// An address of no local network.
    Bogon,
    /// A MAC that was never heard.
    NewDevice,
    /// A MAC that is not among those with names.
    UnknownDevice,
    /// A MAC is heard after many days.
    Returned,
    /// Two MACs use an address now.
    Duplicate,
    /// A watched MAC is not heard.
    Silent,
    /// It is heard again.
    Back,
    /// A router's configuration changed.
    ConfigChange,
}

impl Kind {
    /// What is told where nothing is said. No *new station*: IPv6 hosts take new addresses every day.
    pub const DEFAULT: &[Kind] = &[
        Kind::FlipFlop,
        Kind::Changed,
        Kind::NewDevice,
        Kind::UnknownDevice,
        Kind::Returned,
        Kind::Duplicate,
        Kind::Silent,
        Kind::Back,
        Kind::ConfigChange,
    ];

    /// Its words, arpwatch's own where it has some.
    pub fn words(self) -> &'static str {
        match self {
            Kind::NewActivity => "new activity",
            Kind::NewStation => "new station",
            Kind::FlipFlop => "flip flop",
            Kind::SuppressedDecnet => "suppressed DECnet flip flop",
            Kind::ReusedOld => "reused old ethernet address",
            Kind::Changed => "changed ethernet address",
            Kind::Mismatch => "ethernet mismatch",
            Kind::Broadcast => "ethernet broadcast",
            Kind::Bogon => "bogon",
            Kind::NewDevice => "new device",
            Kind::UnknownDevice => "unknown device",
            Kind::Returned => "returned device",
            Kind::Duplicate => "duplicate address",
            Kind::Silent => "silent device",
            Kind::Back => "device is back",
            Kind::ConfigChange => "configuration changed",
        }
    }

    /// What arpwatch writes to its log, but mails to nobody.
    pub fn is_for_the_log(self) -> bool {
        use Kind::*;
        matches!(self, SuppressedDecnet | ReusedOld | Mismatch | Broadcast | Bogon)
    }

    /// As in the configuration.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Report {
    /// What it is.
    pub kind: Kind,
    /// Whole seconds since 1970, the packet's.
    pub time: i64,
    /// Interface and VLANs.
    pub network: String,
    /// The address that it is about.
    pub ip: String,
    /// Empty where there is none.
    pub mac: String,
    /// The name that the list of known MACs has for it.
    pub name: Option<String>,
    /// The MAC's maker, where that is known.
    #[serde(default)]
    pub vendor: Option<String>,
    /// The other one's.
    #[serde(default)]
    pub old_vendor: Option<String>,
    /// The MAC that had the address before.
    pub old_mac: Option<String>,
    /// When that was last heard there.
    pub previous: Option<i64>,
    /// What else there is to say.
    pub note: Option<String>,
    /// It is told together with others.
    pub digest: bool,
}

/// arpwatch's line, and what else is known: `<message> <ip> <mac> (<old mac>) <interface> [name]: note`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { note, name, .. } = self;
        f.write_str(&self.arpwatch_line())?;
        if let Some(name) = name {
            write!(f, " [{name}]")?;
        }
        note.as_ref().map_or(Ok(()), |note| write!(f, ": {note}"))
    }
}

/// What a channel is handed, ready to be sent.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Message {
    pub subject: String,
    pub text: String,
    pub fields: Value,
}

impl Report {
    /// As Debian's arpwatch writes it to the log: `<message> <ip> <mac> (<old mac>) <interface>`.
    pub fn arpwatch_line(&self) -> String {
        let Report { kind, network, ip, mac, old_mac, .. } = self;
        let old = old_mac.as_ref().filter(|old| *old != mac);
        let old = old.map(|old| format!(" ({old})")).unwrap_or_default();
        format!("{} {ip} {mac}{old} {network}", kind.words())
    }

    /// With all that there is to say.
    pub fn message(&self, zone: &TimeZone) -> Message {
        let who = self.name.as_ref().unwrap_or(&self.ip);
        let subject = format!("{} ({who}) {}", self.kind.words(), self.network);
        Message { subject, text: self.letter(zone, false), fields: self.fields(zone) }
    }

    /// The same, with no line more than arpwatch's letter has.
    pub fn arpwatch_message(&self, zone: &TimeZone) -> Message {
        Message { text: self.letter(zone, true), ..self.message(zone) }
    }

    /// The keys of macupd_tracker's alerter among them.
    pub fn fields(&self, zone: &TimeZone) -> Value {
        let time = zoned(self.time, zone);
        let hours: String =
            (0..24).map(|hour| if hour == time.hour() { '1' } else { '.' }).collect();
        json!({
            "kind": self.kind.name(), "message": self.to_string(), "seconds": self.time,
            "mac": self.mac, "ip": self.ip, "iface": self.network, "name": self.name,
            "date": time.strftime("%Y%m%d").to_string(), "time": time.strftime("%H%M").to_string(),
            "active-hours": hours, "last": self.previous.map(|last| zoned(last, zone).strftime("%H%M").to_string()),
            "vendor": self.vendor, "old_vendor": self.old_vendor, "old_mac": self.old_mac, "previous": self.previous, "note": self.note,
        })
    }

    /// The text of arpwatch's mail: keys to the right of 20 columns. `arpwatch`: no line that it does not have.
    fn letter(&self, zone: &TimeZone, arpwatch: bool) -> String {
        let date = |time| zoned(time, zone).strftime("%A, %B %-d, %Y %-H:%M:%S %z").to_string();
        let previous = self.previous.filter(|_| self.kind != Kind::NewStation);
        let lines = [
            ("hostname", Some(self.name.clone().unwrap_or_else(|| "<unknown>".into()))),
            ("ip address", Some(self.ip.clone())),
            ("interface", Some(self.network.clone())),
            ("ethernet address", Some(self.mac.clone()).filter(|mac| !mac.is_empty())),
            ("ethernet vendor", vendor(&self.vendor).filter(|_| !self.mac.is_empty())),
            ("old ethernet address", self.old_mac.clone()),
            ("old ethernet vendor", vendor(&self.old_vendor).filter(|_| self.old_mac.is_some())),
            ("timestamp", Some(date(self.time))),
            ("previous timestamp", previous.map(date)),
            ("delta", previous.map(|previous| delta(self.time - previous))),
            ("note", self.note.clone().filter(|_| !arpwatch)),
        ];
        let lines = lines.into_iter().filter_map(|(key, value)| Some((key, value?)));
        lines.map(|(key, value)| format!("{key:>20}: {value}\n")).collect()
    }
}

fn vendor(name: &Option<String>) -> Option<String> {
    Some(name.clone().unwrap_or_else(|| "<unknown>".into()))
}

/// arpwatch's: the largest unit, cut down.
fn delta(seconds: i64) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let fits = |(size, _): &&(i64, &str)| seconds.abs() >= *size;
    let (size, unit) = units.iter().find(fits).unwrap_or(&(1, "second"));
    let number = seconds / size;
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

fn zoned(seconds: i64, zone: &TimeZone) -> jiff::Zoned {
    Timestamp::from_second(seconds).unwrap_or_default().to_zoned(zone.clone())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn report(kind: Kind) -> Report {
        Report {
            kind,
            time: 1_700_000_003,
            network: "eth0".into(),
            ip: "10.0.0.1".into(),
            mac: "00:08:e1:01:02:0a".into(),
            name: None,
            vendor: Some("Maker".into()),
            old_vendor: None,
            old_mac: Some("00:08:e1:01:02:0b".into()),
            previous: Some(1_700_000_002),
            note: None,
            digest: false,
        }
    }

    #[test]
    fn shapes() {
        let flip = report(Kind::FlipFlop);
        let line = "flip flop 10.0.0.1 00:08:e1:01:02:0a (00:08:e1:01:02:0b) eth0";
        assert_eq!(flip.to_string(), line);
        let same = Report { old_mac: Some(flip.mac.clone()), ..report(Kind::NewActivity) };
        assert_eq!(same.to_string(), "new activity 10.0.0.1 00:08:e1:01:02:0a eth0");
        let Message { subject, text, fields } = flip.message(&TimeZone::UTC);
        assert_eq!(subject, "flip flop (10.0.0.1) eth0");
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
        let noted = Report { note: Some("a note".into()), ..flip.clone() };
        assert!(noted.message(&TimeZone::UTC).text.ends_with("                note: a note\n"));
        assert_eq!(noted.arpwatch_message(&TimeZone::UTC).text, expected);
        assert_eq!((&fields["kind"], &fields["date"]), (&"flip_flop".into(), &"20231114".into()));
    }

    #[test]
    fn deltas() {
        let told = [0, 1, 59, 60, 7199, 86_400, 200_000].map(delta);
        let expected =
            ["0 seconds", "1 second", "59 seconds", "1 minute", "1 hour", "1 day", "2 days"];
        assert_eq!(told, expected);
    }
}
