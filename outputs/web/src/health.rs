//! Whether all is well: the collectors, by their rings, and the outputs, by the files in their state directories. What is read
//! is that of `--health` and of aw-metrics.

use std::{collections::BTreeMap, path::Path};

use aw_output::{HealthFault, RingHealth, SavedState, saved_states};
use aw_service::{TimeSpan, UnitFiles};
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};
use shm_layout::{CaptureState, Counter, RingName, UnixTime};

use crate::{NAME, display};

/// An output that has not saved its position for so many seconds although there are events does not run, or hangs.
const STALE: i64 = 180;
/// aw-sqlite saves it with each commit: the default of its --commit-interval, and the longest one, in seconds.
const COMMITS: &str = "aw-sqlite";
const COMMIT_INTERVAL: (i64, i64) = (60, 3600);
/// Programs that save no position of their events.
const NO_POSITION: [&str; 2] = [NAME, "aw-metrics"];

/// Seconds between two commits of the service aw-sqlite; the most that it may have if there is no such service. Files of the
/// system have it, so it is read before access is dropped.
pub fn commit_interval() -> i64 {
    let (default, most) = COMMIT_INTERVAL;
    let Some(command) = UnitFiles::of(COMMITS).and_then(|unit| unit.command()) else { return most };
    match command.option("--commit-interval").map(str::parse::<TimeSpan>) {
        Some(Ok(TimeSpan(interval))) => interval.as_secs() as i64,
        Some(Err(_)) => most,
        None => default,
    }
}

/// How all is.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// When it was looked at; none before that.
    pub at: Option<UnixTime>,
    pub rings: Vec<RingHealth>,
    pub outputs: BTreeMap<String, SavedState>,
    faults: Vec<Fault>,
}

/// What is wrong with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A ring, an output, or the history.
    pub of: String,
    pub text: String,
    pub since: Option<UnixTime>,
}

/// An output and a ring.
pub struct OutputRow<'a> {
    pub output: &'a str,
    pub ring: Option<&'a RingName>,
    /// Events that it has still to deliver; none if its ring is not read here.
    pub behind: Option<u64>,
    pub next: u64,
    pub delivered: u64,
    pub lost: u64,
    pub skipped: u64,
}

impl Health {
    /// Of rings, of the outputs with a directory in `outputs`, and of the history: why it cannot be read, and why it is not written.
    pub fn new(
        rings: Vec<RingHealth>,
        outputs: &Path,
        history: [Option<String>; 2],
        commit_interval: i64,
    ) -> Health {
        let mut outputs = saved_states(outputs);
        outputs.retain(|name, _| !NO_POSITION.contains(&name.as_str()));
        Health::of(rings, outputs, history, (UnixTime::now(), commit_interval))
    }

    fn of(
        rings: Vec<RingHealth>,
        outputs: BTreeMap<String, SavedState>,
        [unread, unwritten]: [Option<String>; 2],
        (now, commit_interval): (UnixTime, i64),
    ) -> Health {
        let mut health = Health { at: Some(now), rings, outputs, faults: Vec::new() };
        // It says itself why it cannot write.
        let has_outage = health.outputs.get(COMMITS).is_some_and(|saved| saved.outage.is_some());
        let unwritten = unwritten.filter(|_| !has_outage);
        let mut faults = Vec::new();
        for ring in &health.rings {
            let of = format!("ring {}", ring.ring);
            let fault =
                |HealthFault { text, since }: HealthFault| Fault { of: of.clone(), text, since };
            faults.extend(ring.faults.iter().cloned().map(fault));
        }
        for (name, saved) in &health.outputs {
            let fault = |text: String, since| Fault { of: name.clone(), text, since };
            faults.extend(saved.outage.clone().map(|outage| fault(outage.text, outage.since)));
            let stale = if name == COMMITS { 2 * commit_interval + STALE } else { STALE };
            let is_stopped = name == COMMITS && unwritten.is_some();
            let behind = || health.behind(name, saved, (now, stale));
            let behind = (!is_stopped).then(behind).flatten();
            faults.extend(behind.map(|(text, since)| fault(text, since)));
        }
        let since = health.outputs.get(COMMITS).and_then(|saved| saved.saved);
        faults.extend(unwritten.map(|text| Fault { of: COMMITS.into(), text, since }));
        faults.extend(unread.map(|text| Fault { of: "history".into(), text, since: None }));
        health.faults = faults;
        health
    }

    /// Why an output does not keep up, and since when.
    fn behind(
        &self,
        name: &str,
        saved: &SavedState,
        (now, stale): (UnixTime, i64),
    ) -> Option<(String, Option<UnixTime>)> {
        let rows = self.rows_of(name, saved);
        let far = rows.iter().find_map(|row| {
            let slots = self.ring(row.ring?)?.slots;
            row.behind.filter(|behind| *behind > slots / 2).map(|behind| (row.ring, behind))
        });
        if let Some((Some(ring), behind)) = far {
            let text = format!(
                "{name} is {behind} events behind ring {ring} (systemctl status {name}; {name} --health has more)"
            );
            return Some((text, saved.saved));
        }
        let is_behind = rows.iter().any(|row| row.behind.is_some_and(|behind| behind > 0));
        let since = saved.saved.filter(|at| now.seconds().saturating_sub(at.seconds()) > stale);
        let since = since.filter(|_| is_behind && saved.outage.is_none())?;
        let text = format!(
            "{name} has taken no event for {} although there are new ones (if it is to run: systemctl status {name})",
            display::seconds(now.seconds() - since.seconds())
        );
        Some((text, Some(since)))
    }

    fn ring(&self, name: &RingName) -> Option<&RingHealth> {
        self.rings.iter().find(|ring| ring.ring == *name)
    }

    fn rows_of<'a>(&'a self, name: &'a str, saved: &'a SavedState) -> Vec<OutputRow<'a>> {
        let of = |(ring, checkpoint): (&'a RingName, &aw_output::Checkpoint)| {
            let health = self.ring(ring).filter(|health| health.generation.is_some());
            let behind = health.map(|health| {
                // Of a ring that was created again, the output has read nothing.
                let is_same = health.generation == Some(checkpoint.generation);
                let next = if is_same { checkpoint.next() } else { 0 };
                health.published.saturating_sub(next)
            });
            OutputRow {
                output: name,
                ring: Some(ring),
                behind,
                next: checkpoint.next(),
                delivered: checkpoint.delivered,
                lost: checkpoint.lost,
                skipped: checkpoint.skipped,
            }
        };
        saved.checkpoints.iter().map(of).collect()
    }

    /// Each output with each of its rings; one without a position has a row without a ring.
    pub fn rows(&self) -> Vec<OutputRow<'_>> {
        let mut rows = Vec::new();
        for (name, saved) in &self.outputs {
            let of = self.rows_of(name, saved);
            if of.is_empty() {
                let (ring, behind, next) = (None, None, 0);
                let (delivered, lost, skipped) = (0, 0, 0);
                rows.push(OutputRow { output: name, ring, behind, next, delivered, lost, skipped });
            }
            rows.extend(of);
        }
        rows
    }

    /// The same if it was not looked at again for so many seconds: what it has may be wrong, and that comes first.
    pub fn unwatched(&self, seconds: i64) -> Health {
        let mut health = self.clone();
        let text = format!(
            "this server has not looked at the rings and outputs for {}: their states are not known (see journalctl -u {NAME}, and restart it: systemctl restart {NAME})",
            display::seconds(seconds)
        );
        health.faults.insert(0, Fault { of: NAME.into(), text, since: self.at });
        health
    }

    /// Why aw-sqlite does not write the history, and since when.
    pub fn unwritten(&self) -> Option<(String, Option<UnixTime>)> {
        let fault = self.faults.iter().find(|fault| fault.of == COMMITS)?;
        Some((fault.text.clone(), fault.since))
    }

    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether viewers know it from the other one: it is as live, and the same is wrong; numbers in the texts, such as seconds, may
    /// differ. A collector that runs no longer is no fault in its first minute.
    pub fn is_known_from(&self, other: &Health) -> bool {
        let words = |fault: &Fault| -> String {
            fault.text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
        };
        let all = |health: &Health| -> Vec<(String, String, Option<UnixTime>)> {
            let of = |fault: &Fault| (fault.of.clone(), words(fault), fault.since);
            health.faults.iter().map(of).collect()
        };
        self.is_live() == other.is_live() && all(self) == all(other)
    }

    /// Whether the rings are well now and were not, or the other way round.
    pub fn differs(&self, rings: &[RingHealth]) -> bool {
        let count = |rings: &[RingHealth]| -> Vec<(bool, usize)> {
            rings.iter().map(|ring| (ring.is_running, ring.faults.len())).collect()
        };
        count(&self.rings) != count(rings)
    }

    /// Whether events can arrive: a collector runs, or no ring is followed.
    pub fn is_live(&self) -> bool {
        self.rings.is_empty() || self.rings.iter().any(|ring| ring.is_running)
    }

    /// The faults, for a banner.
    pub fn summary(&self, zone: &TimeZone) -> Json {
        let fault = |fault: &Fault| {
            let since = fault.since.map(|since| display::rfc3339(since, zone));
            json!({ "of": fault.of, "fault": fault.text, "since": since })
        };
        let faults: Vec<_> = self.faults.iter().map(fault).collect();
        json!({ "well": self.faults.is_empty(), "faults": faults, "live": self.is_live() })
    }

    /// All of it.
    pub fn json(&self, zone: &TimeZone) -> Json {
        let time = |time: Option<UnixTime>| time.map(|time| display::rfc3339(time, zone));
        let interface = |one: &aw_output::InterfaceHealth| {
            json!({
                "interface": one.counters.name.as_str(),
                "state": state_name(one.state),
                "last_frame": time(one.last_frame),
                "frames_seen": one.counters.get(Counter::Seen),
                "published": one.counters.get(Counter::Published),
                "kernel_dropped": one.counters.get(Counter::KernelDropped),
                "forgotten": one.counters.get(Counter::Forgotten),
            })
        };
        let ring = |ring: &RingHealth| {
            json!({
                "ring": ring.ring.as_str(),
                "host": ring.host,
                "running": ring.is_running,
                "heartbeat": time(ring.heartbeat),
                "published": ring.published,
                "slots": ring.slots,
                "interfaces": ring.interfaces.iter().map(interface).collect::<Vec<_>>(),
                "hints": ring.hints,
            })
        };
        let output = |row: OutputRow| {
            let saved = &self.outputs[row.output];
            json!({
                "output": row.output,
                "ring": row.ring.map(RingName::as_str),
                "next_event": row.next,
                "behind_events": row.behind,
                "delivered": row.delivered,
                "lost": row.lost,
                "skipped": row.skipped,
                "spool_bytes": saved.spool,
                "queued_messages": saved.queues,
                "saved": time(saved.saved),
            })
        };
        let mut all = self.summary(zone);
        all["looked_at"] = json!(time(self.at));
        all["collectors"] = self.rings.iter().map(ring).collect();
        all["outputs"] = self.rows().into_iter().map(output).collect();
        all
    }
}

/// The state of an interface in a few words.
pub fn state_name(state: Option<CaptureState>) -> &'static str {
    match state {
        None => "unknown",
        Some(CaptureState::None) => "not captured",
        Some(CaptureState::Captured) => "captured",
        Some(CaptureState::Down) => "down",
        Some(CaptureState::NoCarrier) => "no carrier",
        Some(CaptureState::Absent) => "gone",
        Some(CaptureState::NotOpened) => "cannot be captured",
        Some(CaptureState::NotRunning) => "its collector does not run",
    }
}

#[cfg(test)]
mod tests {
    use aw_output::Checkpoint;

    use super::*;

    fn ring(published: u64) -> RingHealth {
        RingHealth {
            ring: "/lan".parse().unwrap(),
            host: "here".into(),
            generation: Some(7),
            slots: 100,
            published,
            is_running: true,
            heartbeat: None,
            interfaces: Vec::new(),
            faults: Vec::new(),
            hints: Vec::new(),
        }
    }

    fn saved(generation: u64, delivered: u64, at: i64) -> BTreeMap<String, SavedState> {
        let checkpoint = Checkpoint { generation, began: 0, delivered, lost: 0, skipped: 0 };
        let checkpoints = BTreeMap::from([("/lan".parse().unwrap(), checkpoint)]);
        let saved = Some(UnixTime::new(at, 0));
        let state = SavedState { checkpoints, saved, ..SavedState::default() };
        BTreeMap::from([("aw-sqlite".to_owned(), state)])
    }

    #[test]
    fn an_output_that_does_not_keep_up() {
        let now = UnixTime::new(10_000, 0);
        let faults = |published, outputs| {
            let health = Health::of(vec![ring(published)], outputs, [None, None], (now, 60));
            health.faults().iter().map(|fault| fault.text.clone()).collect::<Vec<_>>()
        };
        assert!(faults(90, saved(7, 90, 0)).is_empty(), "there is nothing new");
        assert!(faults(90, saved(7, 80, 9900)).is_empty(), "it has saved a moment ago");
        let stale = faults(90, saved(7, 80, 0));
        assert!(stale[0].starts_with("aw-sqlite has taken no event for "), "{stale:?}");
        let far = faults(190, saved(7, 80, 9999));
        assert!(far[0].starts_with("aw-sqlite is 110 events behind ring /lan"), "{far:?}");
        let other = faults(90, saved(6, 80, 9999));
        assert!(other[0].starts_with("aw-sqlite is 90 events behind"), "{other:?}");
        let stopped = [None, Some("aw-sqlite is not running".to_owned())];
        let health = Health::of(vec![ring(90)], saved(7, 80, 9900), stopped, (now, 60));
        let [fault] = health.faults() else { panic!("{health:?}") };
        assert_eq!((&*fault.of, &*fault.text), ("aw-sqlite", "aw-sqlite is not running"));
        assert_eq!(fault.since, Some(UnixTime::new(9900, 0)));
    }

    #[test]
    fn what_is_wrong() {
        let fault = HealthFault { text: "eth1 is down".into(), since: Some(UnixTime::new(0, 0)) };
        let blind = RingHealth { faults: vec![fault], ..ring(1) };
        let well = Health::of(vec![ring(1)], BTreeMap::new(), [None, None], (UnixTime::now(), 60));
        assert!(well.faults().is_empty() && well.differs(std::slice::from_ref(&blind)));
        assert_eq!(well.json(&TimeZone::UTC)["well"], true);
        let health = Health::of(
            vec![blind],
            saved(7, 1, 0),
            [Some("gone".into()), None],
            (UnixTime::now(), 60),
        );
        assert!(!well.is_known_from(&health) && health.is_known_from(&health));
        let ended = RingHealth { is_running: false, ..ring(1) };
        let ended = Health::of(vec![ended], BTreeMap::new(), [None, None], (UnixTime::now(), 60));
        assert!(ended.faults().is_empty() && !ended.is_known_from(&well));
        let json = health.json(&TimeZone::UTC);
        assert_eq!(
            json["faults"],
            json!([
                { "of": "ring /lan", "fault": "eth1 is down", "since": "1970-01-01T00:00:00+00:00" },
                { "of": "history", "fault": "gone", "since": null },
            ])
        );
        assert_eq!(json["outputs"][0]["behind_events"], 0);
    }
}
