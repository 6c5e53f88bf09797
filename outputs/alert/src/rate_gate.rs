//! The rate gate of a channel: it admits a few alerts in each window and collects the rest in one digest, so that a storm
//! of alerts does not become a thousand messages. Every alert is counted. No I/O and no clock.

use std::collections::BTreeMap;

use aw_detect::Alert;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::notification::{Notification, zoned};

/// Samples in a digest, at most.
const MAX_SAMPLES: usize = 20;

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
}

/// Alerts that are sent together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    count: u64,
    first: i64,
    last: i64,
    kinds: BTreeMap<String, u64>,
    samples: Vec<(i64, String)>,
}

impl RateGate {
    /// Returns whether the alert is to be sent now; if not, it is added to the digest.
    pub fn admit(&mut self, alert: &Alert, now: i64, limit: ChannelLimit) -> bool {
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
        }
        self.held.get_or_insert_default().add(alert);
        false
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
    fn add(&mut self, alert: &Alert) {
        if self.count == 0 {
            (self.first, self.last) = (alert.time, alert.time);
        }
        self.count += 1;
        (self.first, self.last) = (self.first.min(alert.time), self.last.max(alert.time));
        *self.kinds.entry(alert.kind.label().into()).or_default() += 1;
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push((alert.time, alert.to_string()));
        }
    }

    /// As this host sends it. `kind` is `digest`.
    pub fn notification(&self, zone: &TimeZone, host: &str) -> Notification {
        let Digest { count, first, last, kinds, samples } = self;
        let each: Vec<_> = kinds.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
        let date = |time| zoned(time, zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string();
        let more = count - samples.len() as u64;
        let alerts = if *count == 1 { "alert" } else { "alerts" };
        let subject = format!("{count} {alerts}: {}", each.join(", "));
        let mut text = format!("{count} {alerts} from {} to {}\n\n", date(*first), date(*last));
        for (time, line) in samples {
            text += &format!("{} {line}\n", date(*time));
        }
        if more > 0 {
            text += &format!("and {more} more\n");
        }
        let lines: Vec<_> = samples.iter().map(|(time, line)| format!("{time} {line}")).collect();
        text += &format!("\nreported by {host}\n");
        let fields = json!({
            "kind": "digest", "message": subject, "host": host, "count": count,
            "seconds": last, "first": first, "last": last, "kinds": kinds, "samples": lines,
        });
        Notification { subject, text, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::tests::alert;
    use aw_detect::AlertKind;

    const LIMIT: ChannelLimit = ChannelLimit { burst: 3, window: 60 };

    #[test]
    fn a_storm_is_one_digest() {
        let mut gate = RateGate::default();
        let storm =
            (0..100_000).map(|number| Alert { time: number, ..alert(AlertKind::NewDevice) });
        let passed =
            storm.filter(|alert| gate.admit(alert, 1000 + alert.time / 5000, LIMIT)).count();
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
        let mut admit = |now| gate.admit(&flip, now, LIMIT);
        assert_eq!([0, 0, 0, 0].map(&mut admit), [true, true, true, false]);
        assert_eq!(gate.take_digest(61, LIMIT, false).unwrap().count, 1);
        assert!(!gate.admit(&flip, 62, LIMIT), "the storm lasts");
        assert_eq!(gate.take_digest(121, LIMIT, false).unwrap().count, 1);
        assert!(gate.admit(&flip, 500, LIMIT));
        let digested = Alert { digest: true, ..flip };
        assert!(!gate.admit(&digested, 501, LIMIT));
        assert!(gate.take_digest(501, LIMIT, true).is_some(), "at the end");
    }

    #[test]
    fn an_alert_in_the_digest_delays_no_other() {
        let mut gate = RateGate::default();
        let changed = alert(AlertKind::Changed);
        let new = Alert { digest: true, ..alert(AlertKind::NewDevice) };
        assert!(!gate.admit(&new, 100, LIMIT));
        assert!(gate.admit(&changed, 100, LIMIT));
        assert_eq!(gate.take_digest(159, LIMIT, false), None, "in the window");
        assert_eq!(gate.take_digest(160, LIMIT, false).unwrap().count, 1);
        assert_eq!(
            [161, 161, 161, 161].map(|now| gate.admit(&changed, now, LIMIT)),
            [true, true, true, false]
        );
        assert!(!gate.admit(&new, 162, LIMIT));
        assert_eq!(gate.take_digest(220, LIMIT, false).unwrap().count, 2);
        assert!(!gate.admit(&changed, 221, LIMIT), "after a storm");
    }

    #[test]
    fn a_clock_that_is_set_back_delays_no_digest() {
        let mut gate = RateGate::default();
        gate.admit(&Alert { digest: true, ..alert(AlertKind::NewDevice) }, 5000, LIMIT);
        assert!(gate.take_digest(10, LIMIT, false).is_some());
    }
}
