//! The rate gate of a channel: it admits a few alerts in each window and collects the rest in one digest, so that a storm
//! of alerts does not become a thousand messages. Every alert is counted; the most important ones are named, and are sent
//! during a storm: a host that causes a storm hides nothing behind it. No I/O and no clock.

use std::collections::BTreeMap;

use aw_detect::{Alert, AlertKind};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shm_layout::NameKind;

use crate::{
    notification::{Notification, zoned},
    priority::{Class, Priority},
};

/// Samples in a digest, at most.
const MAX_SAMPLES: usize = 20;
/// Of new settings, those that send traffic another way: a digest without room for all has these.
const LEADING: [NameKind; 6] = [
    NameKind::DhcpProxy,
    NameKind::DhcpPortal,
    NameKind::DhcpDns,
    NameKind::DhcpRouter,
    NameKind::DhcpRoute,
    NameKind::DhcpBoot,
];
/// Important alerts of each class that are sent in a window although a storm lasts; above that, those of addresses that a
/// device had for more than twice as long as all of them.
const URGENT: usize = 10;

/// Alerts of each exempt kind that are sent alone in an hour although a storm lasts, each about another address: a host can cause
/// any number of them. Above that, as of important ones, those of addresses that were held for more than twice as long.
const EXEMPT: usize = 10;
const EXEMPT_SECONDS: i64 = 3600;

#[derive(Clone, Copy, Debug)]
pub struct ChannelLimit {
    /// Alerts in a window that are sent at once.
    pub burst: u32,
    /// Length of the window in seconds.
    pub window: i64,
}

/// The state of a gate. It is stored as JSON, so that a digest survives a kill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateGate {
    /// When the window began.
    since: i64,
    /// Alerts admitted in this window.
    sent: u32,
    held: Option<Digest>,
    /// Whether the digest has alerts beyond the burst, not only those that belong there.
    #[serde(default)]
    storm: bool,
    /// Important alerts sent during a storm since `urgent_since`: what they are about.
    #[serde(default)]
    urgent_sent: Vec<(Priority, String)>,
    #[serde(default)]
    urgent_since: i64,
    /// Alerts of exempt kinds that were sent alone since `exempt_since`.
    #[serde(default)]
    exempt_sent: Vec<Exempt>,
    #[serde(default)]
    exempt_since: i64,
}

/// An alert that was sent alone: its kind, what it is about, and for how many seconds the address was held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Exempt(AlertKind, String, #[serde(default)] i64);

/// Alerts that are sent together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    count: u64,
    first: i64,
    last: i64,
    kinds: BTreeMap<String, u64>,
    /// The most important ones first, one for each address and kind; one of each kind, as far as there is room.
    samples: Vec<Sample>,
}

/// An alert of a digest: its time and its line; what it is about, if it is important; its kind, which an earlier release did
/// not store; of the first alert, all of it; and of a new setting, the kind of record that has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample(
    i64,
    String,
    #[serde(default)] Priority,
    #[serde(default)] String,
    #[serde(default)] Option<AlertKind>,
    #[serde(default)] Option<Box<Alert>>,
    #[serde(default, skip_serializing_if = "String::is_empty")] String,
);

impl Sample {
    fn leads(&self) -> bool {
        LEADING.iter().any(|kind| kind.name() == self.6)
    }
}

impl RateGate {
    /// Returns whether the alert is to be sent now; if not, it is added to the digest. `exempt`: its kind is.
    pub fn admit(
        &mut self,
        alert: &Alert,
        priority: Priority,
        now: i64,
        limit: ChannelLimit,
        exempt: bool,
    ) -> bool {
        if !self.storm && !(self.since..self.since + limit.window).contains(&now) {
            (self.since, self.sent) = (now, 0);
        }
        if !alert.digest {
            // No alert overtakes those of a storm. Those that belong in the digest delay no other: a random MAC, which
            // anyone can choose, is one.
            if !self.storm && self.sent < limit.burst {
                self.sent += 1;
                return true;
            }
            let is_sent = self.is_urgent(alert, priority, now, limit)
                || exempt && limit.burst > 0 && self.is_exempt(alert, priority, now);
            if is_sent {
                return true;
            }
            self.storm = true;
        }
        self.held.get_or_insert_default().add(alert, priority);
        false
    }

    /// Whether an alert is so important that it is sent during a storm; a few of them in a window are.
    fn is_urgent(
        &mut self,
        alert: &Alert,
        priority: Priority,
        now: i64,
        limit: ChannelLimit,
    ) -> bool {
        if priority.class == Class::Other || limit.burst == 0 {
            return false;
        }
        if !(self.urgent_since..self.urgent_since + limit.window).contains(&now) {
            (self.urgent_since, self.urgent_sent) = (now, Vec::new());
        }
        let subject = subject(alert);
        let of_class = self.urgent_sent.iter().filter(|(other, _)| other.class == priority.class);
        let held = of_class.map(|(other, _)| other.held());
        let is_repeated = self.urgent_sent.iter().any(|(_, other)| *other == subject);
        if is_repeated || !is_among(URGENT, priority, held) {
            return false;
        }
        self.urgent_sent.push((priority, subject));
        true
    }

    /// Whether an alert of an exempt kind is sent although a storm lasts; a few of each kind in an hour are.
    fn is_exempt(&mut self, alert: &Alert, priority: Priority, now: i64) -> bool {
        if !self.is_exempt_hour(now) {
            (self.exempt_since, self.exempt_sent) = (now, Vec::new());
        }
        let (kind, subject) = (alert.kind, subject(alert));
        let is_same = |Exempt(of, other, _): &Exempt| *of == kind && *other == subject;
        if self.exempt_sent.iter().any(is_same) || !self.has_exempt(kind, priority) {
            return false;
        }
        self.exempt_sent.push(Exempt(kind, subject, priority.held()));
        true
    }

    fn is_exempt_hour(&self, now: i64) -> bool {
        (self.exempt_since..self.exempt_since + EXEMPT_SECONDS).contains(&now)
    }

    /// Whether another alert of this kind is sent alone in this hour.
    fn has_exempt(&self, kind: AlertKind, priority: Priority) -> bool {
        let of_kind = self.exempt_sent.iter().filter(|Exempt(of, ..)| *of == kind);
        is_among(EXEMPT, priority, of_kind.map(|Exempt(.., held)| *held))
    }

    /// Whether it would only count an alert of this kind and priority: its text is not needed then. `exempt`: its kind is, so that
    /// it may be sent.
    pub fn only_counts(&self, kind: AlertKind, priority: Priority, now: i64, exempt: bool) -> bool {
        // Each kind of setting has its sample, so its text is needed.
        if kind == AlertKind::NewSetting
            || exempt && (!self.is_exempt_hour(now) || self.has_exempt(kind, priority))
        {
            return false;
        }
        let full =
            |digest: &Digest| digest.has_kind(kind, "") && digest.place(priority) >= MAX_SAMPLES;
        self.storm && priority.class == Class::Other && self.held.as_ref().is_some_and(full)
    }

    /// The digest, if its window is over or if `flush` is set. While a storm lasts, there is one digest in each window
    /// and nothing else.
    pub fn take_digest(&mut self, now: i64, limit: ChannelLimit, flush: bool) -> Option<Digest> {
        if !flush && (self.since..self.since + limit.window).contains(&now) {
            return None;
        }
        let digest = self.held.take()?;
        let storm = std::mem::take(&mut self.storm);
        (self.since, self.sent) = (now, if storm { limit.burst } else { 0 });
        Some(digest)
    }
}

impl Digest {
    /// The place of an alert among the samples: behind those that are as important.
    fn place(&self, priority: Priority) -> usize {
        self.samples.partition_point(|Sample(_, _, other, ..)| *other <= priority)
    }

    fn has_kind(&self, kind: AlertKind, setting: &str) -> bool {
        self.samples.iter().any(|sample| sample.4 == Some(kind) && sample.6 == setting)
    }

    fn add(&mut self, alert: &Alert, priority: Priority) {
        if self.count == 0 {
            (self.first, self.last) = (alert.time, alert.time);
        }
        self.count += 1;
        (self.first, self.last) = (self.first.min(alert.time), self.last.max(alert.time));
        *self.kinds.entry(alert.kind.label().into()).or_default() += 1;
        if self.count == 2 {
            self.samples.iter_mut().for_each(|sample| sample.5 = None);
        }
        let mut place = self.place(priority);
        if place >= MAX_SAMPLES && self.has_kind(alert.kind, &alert.setting) {
            return;
        }
        // Of those that rank, one for each address and kind, so that one address does not fill the digest.
        let ranks = priority != Priority::default();
        let subject = if ranks { subject(alert) } else { String::new() };
        let kind = Some(alert.kind);
        let is_same = |sample: &Sample| ranks && sample.3 == subject && sample.4 == kind;
        let same = self.samples.iter().position(is_same);
        if let Some(same) = same {
            if same < place {
                return;
            }
            self.samples.remove(same);
        }
        place = place.min(self.samples.len());
        let whole = (self.count == 1).then(|| Box::new(alert.clone()));
        let (line, setting) = (alert.short_line(), alert.setting.clone());
        let sample = Sample(alert.time, line, priority, subject, kind, whole, setting);
        self.samples.insert(place, sample);
        if self.samples.len() > MAX_SAMPLES {
            // The last one whose kind has others, or else the last one that leads none.
            let has_others = |sample: &Sample| {
                let is_same = |other: &&Sample| (other.4, &other.6) == (sample.4, &sample.6);
                self.samples.iter().filter(is_same).count() > 1
            };
            let last = self.samples.iter().rposition(has_others);
            let last = last.or_else(|| self.samples.iter().rposition(|sample| !sample.leads()));
            self.samples.remove(last.unwrap_or(MAX_SAMPLES));
        }
    }

    /// The important ones first, then takeovers, of these by how long the address was held; then leading settings; then those of the rarest kind. Which
    /// kind is rare, a host chooses that causes the others.
    fn sorted_samples(&self) -> Vec<&Sample> {
        let number = |kind: AlertKind, setting: &str| match setting {
            "" => self.kinds.get(kind.label()).copied().unwrap_or_default(),
            _ => self.samples.iter().filter(|sample| sample.6 == setting).count() as u64,
        };
        let mut samples: Vec<_> = self.samples.iter().collect();
        samples.sort_by_key(|sample| {
            let Sample(_, _, priority, _, kind, _, setting) = sample;
            let is_takeover = kind.is_some_and(AlertKind::is_takeover);
            let is_other = priority.class == Class::Other;
            let rarity =
                if is_other { kind.map_or(u64::MAX, |kind| number(kind, setting)) } else { 0 };
            let held = if is_takeover { priority.held() } else { 0 };
            let order = (priority.class, is_other && !is_takeover, std::cmp::Reverse(held));
            (order, !sample.leads(), rarity)
        });
        samples
    }

    /// The only alert, if there is one and it is known: it needs no digest.
    pub fn only(&self) -> Option<&Alert> {
        let alert = self.samples.first()?.5.as_deref();
        alert.filter(|_| self.count == 1)
    }

    /// As this host sends it. `kind` is `digest`. It has as many samples as `max` bytes have room for.
    pub fn notification(&self, zone: &TimeZone, host: &str, max: usize) -> Notification {
        let mut samples = self.sorted_samples();
        loop {
            let notification = self.with_samples(&samples, zone, host);
            if notification.subject.len() + notification.text.len() <= max || samples.len() < 2 {
                return notification;
            }
            samples.pop();
        }
    }

    fn with_samples(&self, samples: &[&Sample], zone: &TimeZone, host: &str) -> Notification {
        let Digest { count, first, last, kinds, .. } = self;
        let each: Vec<_> = kinds.iter().map(|(kind, number)| numbered(*number, kind)).collect();
        let date = |time| zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        let more = count - samples.len() as u64;
        let alerts = if *count == 1 { "alert" } else { "alerts" };
        let mut subject = format!("{count} {alerts}: {}", each.join(", "));
        // Receivers that show only this must show what matters.
        if let Some(Sample(_, line, priority, _, kind, ..)) = samples.first()
            && (priority.class != Class::Other || kind.is_some_and(AlertKind::is_takeover))
            && *count > 1
        {
            subject += &format!("; {line}");
        }
        let mut text = format!("{count} {alerts} from {} to {}\n\n", date(*first), date(*last));
        for Sample(time, line, ..) in samples {
            text += &format!("{} {line}\n", date(*time));
        }
        if more > 0 {
            text += &format!("and {more} more\n");
        }
        let line = |Sample(time, line, ..): &Sample| format!("{time} {line}");
        let lines: Vec<_> = samples.iter().copied().map(line).collect();
        text += &format!("\nreported by {host}\n");
        let fields = json!({
            "kind": "digest", "message": subject, "host": host, "count": count,
            "seconds": last, "first": first, "last": last, "kinds": kinds, "samples": lines,
        });
        Notification::new(subject, text, fields)
    }
}

/// `1 new device`, `2 new devices`: of the labels that name a thing; `2 configuration changed` stays.
fn numbered(number: u64, label: &str) -> String {
    const THINGS: [&str; 13] = [
        "activity",
        "station",
        "flip flop",
        "address",
        "mismatch",
        "broadcast",
        "bogon",
        "device",
        "server",
        "conflict",
        "new router",
        "redirect",
        "setting",
    ];
    let thing = THINGS.iter().find(|thing| number != 1 && label.ends_with(*thing));
    let (label, end) = match thing {
        None => (label, ""),
        Some(&"activity") => (label.trim_end_matches('y'), "ies"),
        Some(&("address" | "mismatch")) => (label, "es"),
        Some(_) => (label, "s"),
    };
    format!("{number} {label}{end}")
}

/// Whether another alert is sent during a storm, after those that lost addresses which were held so long: so many are; then those
/// of addresses that were held for more than twice as long as all of them, and so a few more.
fn is_among(number: usize, priority: Priority, sent: impl Iterator<Item = i64>) -> bool {
    let (count, longest) =
        sent.fold((0, 0), |(count, longest), held| (count + 1, held.max(longest)));
    count < number || priority.held() / 2 > longest
}

/// What an alert is about: an address in its network, or else a device or a fault.
fn subject(alert: &Alert) -> String {
    let Alert { host, ring, network, ip, mac, kind, .. } = alert;
    match (ip.is_empty(), mac.is_empty()) {
        (false, _) => format!("{host}{ring}/{network} {ip}"),
        (true, false) => mac.clone(),
        (true, true) => alert.note.clone().unwrap_or_else(|| kind.name()),
    }
}

#[cfg(test)]
mod tests;
