//! What keeps a storm from becoming a thousand messages: a channel lets a few reports through at once, and gathers the
//! rest into one digest. Nothing is dropped without being counted. No I/O and no clock.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::report::{Message, Report};

/// Samples in a digest, at most.
const SAMPLES: usize = 20;

/// When there are too many.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// So many reports are told at once...
    pub burst: u32,
    /// ...in so many seconds.
    pub window: i64,
}

/// One for each channel; kept with the state, so that a digest survives a kill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// When the window began.
    since: i64,
    /// Messages of this window.
    sent: u32,
    held: Option<Digest>,
}

/// Reports that are told together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    count: u64,
    first: i64,
    last: i64,
    kinds: BTreeMap<String, u64>,
    samples: Vec<(i64, String)>,
}

impl Gate {
    /// Whether the report passes now; else it is in the digest.
    pub fn offer(&mut self, report: &Report, now: i64, limit: Limit) -> bool {
        if self.held.is_none() && !(self.since..self.since + limit.window).contains(&now) {
            (self.since, self.sent) = (now, 0);
        }
        // None overtakes those that wait.
        if self.held.is_none() && self.sent < limit.burst && !report.digest {
            self.sent += 1;
            return true;
        }
        self.held.get_or_insert_default().add(report);
        false
    }

    /// The digest, once its window is over, or at the end of all (`flush`). While the storm goes on there is
    /// one each window, and nothing else.
    pub fn due(&mut self, now: i64, limit: Limit, flush: bool) -> Option<Digest> {
        if !flush && (self.since..self.since + limit.window).contains(&now) {
            return None;
        }
        let digest = self.held.take()?;
        (self.since, self.sent) = (now, limit.burst);
        Some(digest)
    }
}

impl Digest {
    fn add(&mut self, report: &Report) {
        if self.count == 0 {
            (self.first, self.last) = (report.time, report.time);
        }
        self.count += 1;
        (self.first, self.last) = (self.first.min(report.time), self.last.max(report.time));
        *self.kinds.entry(report.kind.words().into()).or_default() += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push((report.time, report.to_string()));
        }
    }

    pub fn message(&self, zone: &TimeZone) -> Message {
        let Digest { count, first, last, kinds, samples } = self;
        let each: Vec<_> = kinds.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
        let date = |time| {
            let time = jiff::Timestamp::from_second(time).unwrap_or_default();
            time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z").to_string()
        };
        let more = count - samples.len() as u64;
        let reports = if *count == 1 { "report" } else { "reports" };
        let subject = format!("{count} {reports}: {}", each.join(", "));
        let mut text = format!("{count} {reports} from {} to {}\n\n", date(*first), date(*last));
        for (time, line) in samples {
            text += &format!("{} {line}\n", date(*time));
        }
        if more > 0 {
            text += &format!("and {more} more\n");
        }
        let lines: Vec<_> = samples.iter().map(|(time, line)| format!("{time} {line}")).collect();
        let fields = json!({
            "kind": "digest", "message": subject, "count": count,
            "seconds": last, "first": first, "last": last, "kinds": kinds, "samples": lines,
        });
        Message { subject, text, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Kind, tests::report};

    const LIMIT: Limit = Limit { burst: 3, window: 60 };

    #[test]
    fn a_storm_is_one_digest() {
        let mut gate = Gate::default();
        let storm = (0..100_000).map(|number| Report { time: number, ..report(Kind::NewDevice) });
        let passed =
            storm.filter(|report| gate.offer(report, 1000 + report.time / 5000, LIMIT)).count();
        assert_eq!(passed, 3);
        assert_eq!(gate.due(1059, LIMIT, false), None);
        let kept = serde_json::to_vec(&gate).unwrap();
        assert!(kept.len() < 4096, "{} bytes", kept.len());
        let mut gate: Gate = serde_json::from_slice(&kept).unwrap();
        let digest = gate.due(1060, LIMIT, false).unwrap();
        assert_eq!((digest.count, digest.first, digest.last), (99_997, 3, 99_999));
        let Message { subject, text, fields } = digest.message(&TimeZone::UTC);
        assert_eq!(subject, "99997 reports: 99997 new device");
        assert!(text.ends_with("and 99977 more\n") && fields["count"] == 99_997, "{text}");
        assert_eq!(gate.due(2000, LIMIT, false), None, "once");
    }

    #[test]
    fn after_the_storm_at_once_again() {
        let mut gate = Gate::default();
        let flip = report(Kind::FlipFlop);
        let mut offer = |now| gate.offer(&flip, now, LIMIT);
        assert_eq!([0, 0, 0, 0].map(&mut offer), [true, true, true, false]);
        assert_eq!(gate.due(61, LIMIT, false).unwrap().count, 1);
        assert!(!gate.offer(&flip, 62, LIMIT), "it goes on");
        assert_eq!(gate.due(121, LIMIT, false).unwrap().count, 1);
        assert!(gate.offer(&flip, 500, LIMIT));
        let digested = Report { digest: true, ..flip };
        assert!(!gate.offer(&digested, 501, LIMIT));
        assert!(gate.due(501, LIMIT, true).is_some(), "at the end");
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_back() {
        let mut gate = Gate::default();
        gate.offer(&Report { digest: true, ..report(Kind::NewDevice) }, 5000, LIMIT);
        assert!(gate.due(10, LIMIT, false).is_some());
    }
}
