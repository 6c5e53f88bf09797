//! The rate gate of a channel: it admits a few alerts in each window and collects the rest in one digest, so that a storm
//! of alerts does not become a thousand messages. Every alert is counted; the most important ones are named, and are sent
//! during a storm: a host that causes a storm hides nothing behind it. No I/O and no clock.

use std::collections::BTreeMap;

use aw_detect::Alert;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    notification::{Notification, zoned},
    priority::{Class, Priority},
};

/// Samples in a digest, at most.
const MAX_SAMPLES: usize = 20;
/// Important alerts of each class that are sent in a window although a storm lasts; above that, those of addresses that a
/// device had for more than twice as long as all of them.
const URGENT: usize = 10;

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
}

/// Alerts that are sent together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    count: u64,
    first: i64,
    last: i64,
    kinds: BTreeMap<String, u64>,
    /// The most important ones first, one for each address.
    samples: Vec<Sample>,
}

/// An alert of a digest: its time and its line, and what it is about, if it is important.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample(i64, String, #[serde(default)] Priority, #[serde(default)] String);

impl RateGate {
    /// Returns whether the alert is to be sent now; if not, it is added to the digest.
    pub fn admit(
        &mut self,
        alert: &Alert,
        priority: Priority,
        now: i64,
        limit: ChannelLimit,
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
            self.storm = true;
            if limit.burst > 0 && self.is_urgent(alert, priority, now, limit.window) {
                return true;
            }
        }
        self.held.get_or_insert_default().add(alert, priority);
        false
    }

    /// Whether an alert is so important that it is sent during a storm; a few of them in a window are.
    fn is_urgent(&mut self, alert: &Alert, priority: Priority, now: i64, window: i64) -> bool {
        if priority.class == Class::Other {
            return false;
        }
        if !(self.urgent_since..self.urgent_since + window).contains(&now) {
            (self.urgent_since, self.urgent_sent) = (now, Vec::new());
        }
        let subject = subject(alert);
        let of_class = self.urgent_sent.iter().filter(|(other, _)| other.class == priority.class);
        let (number, longest) = of_class
            .fold((0, 0), |(number, held), (other, _)| (number + 1, held.max(other.held())));
        let is_repeated = self.urgent_sent.iter().any(|(_, other)| *other == subject);
        if is_repeated || number >= URGENT && priority.held() / 2 <= longest {
            return false;
        }
        self.urgent_sent.push((priority, subject));
        true
    }

    /// Whether it would only count an alert of this priority: its text is not needed then.
    pub fn only_counts(&self, priority: Priority) -> bool {
        let full = |digest: &Digest| digest.place(priority) >= MAX_SAMPLES;
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
        self.samples.partition_point(|Sample(_, _, other, _)| *other <= priority)
    }

    fn add(&mut self, alert: &Alert, priority: Priority) {
        if self.count == 0 {
            (self.first, self.last) = (alert.time, alert.time);
        }
        self.count += 1;
        (self.first, self.last) = (self.first.min(alert.time), self.last.max(alert.time));
        *self.kinds.entry(alert.kind.label().into()).or_default() += 1;
        let mut place = self.place(priority);
        if place >= MAX_SAMPLES {
            return;
        }
        // Of those that rank, one for each address, so that one address does not fill the digest.
        let ranks = priority != Priority::default();
        let subject = if ranks { subject(alert) } else { String::new() };
        let same = self.samples.iter().position(|Sample(.., other)| ranks && *other == subject);
        if let Some(same) = same {
            if same < place {
                return;
            }
            self.samples.remove(same);
        }
        place = place.min(self.samples.len());
        self.samples.insert(place, Sample(alert.time, alert.to_string(), priority, subject));
        self.samples.truncate(MAX_SAMPLES);
    }

    /// As this host sends it. `kind` is `digest`.
    pub fn notification(&self, zone: &TimeZone, host: &str) -> Notification {
        let Digest { count, first, last, kinds, samples } = self;
        let each: Vec<_> = kinds.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
        let date = |time| zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        let more = count - samples.len() as u64;
        let alerts = if *count == 1 { "alert" } else { "alerts" };
        let mut subject = format!("{count} {alerts}: {}", each.join(", "));
        // Receivers that show only this must show what matters.
        if let Some(Sample(_, line, priority, _)) = samples.first()
            && priority.class != Class::Other
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
        let lines: Vec<_> = samples.iter().map(line).collect();
        text += &format!("\nreported by {host}\n");
        let fields = json!({
            "kind": "digest", "message": subject, "host": host, "count": count,
            "seconds": last, "first": first, "last": last, "kinds": kinds, "samples": lines,
        });
        Notification { subject, text, fields }
    }
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
mod tests {
    use super::*;
    use crate::notification::tests::alert;
    use aw_detect::AlertKind;

    const LIMIT: ChannelLimit = ChannelLimit { burst: 3, window: 60 };

    fn admit(gate: &mut RateGate, alert: &Alert, now: i64) -> bool {
        gate.admit(alert, Priority::default(), now, LIMIT)
    }

    #[test]
    fn a_storm_is_one_digest() {
        let mut gate = RateGate::default();
        let storm =
            (0..100_000).map(|number| Alert { time: number, ..alert(AlertKind::NewDevice) });
        let passed =
            storm.filter(|alert| admit(&mut gate, alert, 1000 + alert.time / 5000)).count();
        assert_eq!(passed, 3);
        assert_eq!(gate.take_digest(1059, LIMIT, false), None);
        let kept = serde_json::to_vec(&gate).unwrap();
        assert!(kept.len() < 4096, "{} bytes", kept.len());
        let mut gate: RateGate = serde_json::from_slice(&kept).unwrap();
        let digest = gate.take_digest(1060, LIMIT, false).unwrap();
        assert_eq!((digest.count, digest.first, digest.last), (99_997, 3, 99_999));
        let Notification { subject, text, fields } = digest.notification(&TimeZone::UTC, "sensor1");
        assert_eq!(subject, "99997 alerts: 99997 new device");
        assert!(
            text.ends_with("and 99977 more\n\nreported by sensor1\n") && fields["count"] == 99_997,
            "{text}"
        );
        assert_eq!(gate.take_digest(2000, LIMIT, false), None, "once");
    }

    #[test]
    fn after_a_storm_alerts_are_sent_at_once_again() {
        let mut gate = RateGate::default();
        let flip = alert(AlertKind::FlipFlop);
        assert_eq!([0; 4].map(|now| admit(&mut gate, &flip, now)), [true, true, true, false]);
        assert_eq!(gate.take_digest(61, LIMIT, false).unwrap().count, 1);
        assert!(!admit(&mut gate, &flip, 62), "the storm lasts");
        assert_eq!(gate.take_digest(121, LIMIT, false).unwrap().count, 1);
        assert!(admit(&mut gate, &flip, 500));
        let digested = Alert { digest: true, ..flip };
        assert!(!admit(&mut gate, &digested, 501));
        assert!(gate.take_digest(501, LIMIT, true).is_some(), "at the end");
    }

    #[test]
    fn an_alert_in_the_digest_delays_no_other() {
        let mut gate = RateGate::default();
        let changed = alert(AlertKind::Changed);
        let new = Alert { digest: true, ..alert(AlertKind::NewDevice) };
        assert!(!admit(&mut gate, &new, 100));
        assert!(admit(&mut gate, &changed, 100));
        assert_eq!(gate.take_digest(159, LIMIT, false), None, "in the window");
        assert_eq!(gate.take_digest(160, LIMIT, false).unwrap().count, 1);
        assert_eq!([161; 4].map(|now| admit(&mut gate, &changed, now)), [true, true, true, false]);
        assert!(!admit(&mut gate, &new, 162));
        assert_eq!(gate.take_digest(220, LIMIT, false).unwrap().count, 2);
        assert!(!admit(&mut gate, &changed, 221), "after a storm");
    }

    /// 100,000 alerts that an attacker causes neither hide nor delay the one that matters.
    #[test]
    fn a_storm_hides_no_takeover_of_a_known_address() {
        for (class, number) in [(Class::Named, 20), (Class::Known, 20)] {
            let mut gate = RateGate::default();
            let storm = |gate: &mut RateGate| {
                let new = alert(AlertKind::NewDevice);
                (0..50_000).filter(|_| admit(gate, &new, 1000)).count()
            };
            assert_eq!(storm(&mut gate), 3);
            let mut taken = |held: i64| {
                let taken = Alert { ip: format!("192.0.2.{held}"), ..alert(AlertKind::Changed) };
                gate.admit(&taken, Priority::new(class, held), 1000, LIMIT)
            };
            // Who had an address for longest comes last.
            assert_eq!((0..number).filter(|held| taken(*held)).count(), 10, "during the storm");
            assert_eq!(storm(&mut gate), 0);
            assert!(gate.only_counts(Priority::default()));
            let stored = serde_json::to_string(&gate).unwrap();
            let mut gate: RateGate = serde_json::from_str(&stored).unwrap();
            let digest = gate.take_digest(1060, LIMIT, false).unwrap();
            let Notification { subject, text, .. } = digest.notification(&TimeZone::UTC, "sensor1");
            assert!(subject.contains("; changed ethernet address 192.0.2.19 "), "{subject}");
            let lines: Vec<_> = text.lines().filter(|line| line.contains("192.0.2.1")).collect();
            assert!(lines.len() == 10 && lines[0].contains("192.0.2.19 "), "{text}");
        }
    }

    /// Who forges the MAC of a named device, so that it loses addresses which were free, fills neither the places that are
    /// sent nor the digest; nor does one address that is taken many times.
    #[test]
    fn forged_takeovers_hide_no_true_one() {
        for class in [Class::Named, Class::Known] {
            let mut gate = RateGate::default();
            let mut take = |ip: String, held| {
                let taken = Alert { ip, ..alert(AlertKind::Changed) };
                gate.admit(&taken, Priority::new(class, held), 1000, LIMIT)
            };
            let sent = (0..1000).filter(|number| take(format!("10.1.{number}.1"), 2)).count();
            assert_eq!(sent, 3 + 10);
            assert_eq!((0..1000).filter(|held| take("10.2.0.1".into(), 5 + held)).count(), 1);
            // Also if it prepared them for a day.
            assert_eq!((0..30).filter(|n| take(format!("10.3.{n}.1"), 86_400)).count(), 1);
            assert!(take("192.0.2.1".into(), 200_000), "the gateway");
            let digest = gate.take_digest(1060, LIMIT, false).unwrap();
            let mut subjects: Vec<_> = digest.samples.iter().map(|sample| &sample.3).collect();
            subjects.sort();
            subjects.dedup();
            assert_eq!(subjects.len(), MAX_SAMPLES);
            // It is the first line of a digest, too.
            let mut gate = RateGate { held: Some(digest), storm: true, ..RateGate::default() };
            let closed = ChannelLimit { burst: 0, ..LIMIT };
            let taken = Alert { ip: "192.0.2.1".into(), ..alert(AlertKind::Changed) };
            assert!(!gate.admit(&taken, Priority::new(class, 200_000), 1100, closed));
            let digest = gate.take_digest(1200, LIMIT, false).unwrap();
            assert!(digest.samples[0].1.contains(" 192.0.2.1 "), "{:?}", digest.samples);
        }
    }

    #[test]
    fn a_state_of_an_earlier_release() {
        let old = r#"{"since":5,"sent":2,"held":{"count":3,"first":5,"last":6,"kinds":{"new device":3},
            "samples":[[5,"new device a"],[6,"new device b"]]},"storm":true}"#;
        let mut gate: RateGate = serde_json::from_str(old).unwrap();
        let flip = alert(AlertKind::FlipFlop);
        let closed = ChannelLimit { burst: 0, ..LIMIT };
        assert!(!gate.admit(&flip, Priority::new(Class::Named, 1), 7, closed), "outside its hours");
        let digest = gate.take_digest(90, LIMIT, false).unwrap();
        let lines = digest.samples.iter().map(|Sample(_, line, ..)| &**line).collect::<Vec<_>>();
        assert_eq!(digest.count, 4);
        assert!(
            lines[0].starts_with("flip flop ") && lines[1..] == ["new device a", "new device b"]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_delays_no_digest() {
        let mut gate = RateGate::default();
        admit(&mut gate, &Alert { digest: true, ..alert(AlertKind::NewDevice) }, 5000);
        assert!(gate.take_digest(10, LIMIT, false).is_some());
    }
}
