//! What the page that is served says about now: who is online, and whether a collector runs. No I/O and no clock.

use aw_output::{RingState, broadcast_fault, capture_fault, neighbor_hint};
use jiff::{
    Timestamp, Zoned,
    civil::{Date, DateTime},
};
use shm_layout::{RingName, UnixTime};

use crate::{
    activity_report::{ActivityReport, LogTime},
    daily_logs::LogConfig,
};

/// Nanoseconds. A collector writes a heartbeat each second, and the run loop looks at it each second.
const NO_HEARTBEAT: i64 = 10_000_000_000;
/// Nanoseconds without a frame after which a collector counts as silent, as `--health` has it: hosts in use ask each minute or so.
const SILENCE: i64 = 600_000_000_000;

/// What the page shows of the run loop.
#[derive(Clone, Debug)]
pub struct Live {
    pub config: LogConfig,
    rings: Vec<LiveRing>,
    /// Why the logs cannot be written.
    unwritten: Option<String>,
    /// A day whose log cannot be read, and why: its sightings are in no log.
    unread: Option<(Date, String)>,
    /// How often something changed that the page shows.
    pub version: u64,
}

/// A ring at the last look.
#[derive(Clone, Debug)]
struct LiveRing {
    ring: RingName,
    /// It was there once.
    exists: bool,
    is_running: bool,
    heartbeat: Option<UnixTime>,
    /// Its writer captures frames: a collector.
    captures: bool,
    has_captured: bool,
    silent_since: Option<UnixTime>,
    why: Option<String>,
    uncaptured: Vec<String>,
}

/// How a ring is at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingStatus {
    Running,
    /// Its collector runs, and captured no frame for a while.
    Silent,
    /// No heartbeat.
    Ended,
}

/// What holds when a page is made.
#[derive(Debug)]
pub struct Now {
    at: Zoned,
    /// A device is online if it was seen in so many minutes before.
    pub online_minutes: i64,
    /// Why devices may be missing.
    pub faults: Vec<String>,
    /// Whether no collector runs.
    pub is_silent: bool,
    /// Whether those that run captured no frame yet.
    pub is_new: bool,
}

impl Live {
    pub fn new(config: LogConfig) -> Live {
        Live { config, rings: Vec::new(), unwritten: None, unread: None, version: 0 }
    }

    pub fn configure(&mut self, config: LogConfig) {
        self.config = config;
        self.version += 1;
    }

    /// The logs cannot be written for this reason, or can be again.
    pub fn set_unwritten(&mut self, why: Option<String>) {
        self.version += u64::from(self.unwritten != why);
        self.unwritten = why;
    }

    /// The log of this day cannot be read.
    pub fn set_unread(&mut self, day: Date, why: &str) {
        self.version += 1;
        self.unread = Some((day, why.to_owned()));
    }

    /// The log of this day is read: what is unread of earlier ones is no longer news.
    pub fn set_read(&mut self, day: Date) {
        self.version += u64::from(self.unread.take_if(|(unread, _)| *unread <= day).is_some());
    }

    pub fn observe(&mut self, state: &RingState) {
        let at = self.rings.iter().position(|known| known.ring == state.ring);
        let at = at.unwrap_or_else(|| {
            self.rings.push(LiveRing::new(state.ring.clone()));
            self.version += 1;
            self.rings.len() - 1
        });
        self.version += u64::from(self.rings[at].observe(state));
    }

    /// How each ring is at this time.
    pub fn statuses(&self, at: &Zoned) -> Vec<RingStatus> {
        self.rings.iter().map(|ring| ring.status(at)).collect()
    }

    /// What holds at this time. `report`: from the logs.
    pub fn now(&self, at: &Zoned, report: &ActivityReport, online_minutes: i64) -> Now {
        let collectors = || self.rings.iter().filter(|ring| ring.captures);
        let mut faults: Vec<String> =
            self.rings.iter().flat_map(|ring| ring.faults(at, report)).collect();
        if let Some((day, why)) = &self.unread {
            faults.push(format!("The sightings of {day} are not recorded: {why}"));
        }
        if let Some(why) = &self.unwritten {
            faults.push(format!("The logs are not complete: {why}"));
        }
        let has_some = collectors().next().is_some();
        Now {
            at: at.clone(),
            online_minutes,
            faults,
            is_silent: has_some && collectors().all(|ring| ring.status(at) == RingStatus::Ended),
            is_new: has_some && collectors().all(|ring| !ring.has_captured),
        }
    }
}

impl LiveRing {
    fn new(ring: RingName) -> LiveRing {
        LiveRing {
            ring,
            exists: false,
            is_running: false,
            heartbeat: None,
            captures: true,
            has_captured: false,
            silent_since: None,
            why: None,
            uncaptured: Vec::new(),
        }
    }

    /// Returns whether something changed that the page shows. What is known of a ring that was removed stays known.
    fn observe(&mut self, state: &RingState) -> bool {
        let shown = |ring: &LiveRing| {
            let LiveRing { exists, is_running, captures, has_captured, .. } = *ring;
            (
                (exists, is_running, captures, has_captured),
                ring.why.clone(),
                ring.uncaptured.clone(),
            )
        };
        let before = shown(self);
        (self.is_running, self.why) = (state.is_running, state.blind.clone());
        let faults =
            state.interfaces.iter().filter_map(|(name, state)| capture_fault(*name, *state));
        self.uncaptured = faults.map(|fault| fault.replacen('i', "I", 1)).collect();
        let broadcasts = state.broadcasts.iter().filter(|_| state.is_running);
        self.uncaptured
            .extend(broadcasts.filter_map(|(name, found)| broadcast_fault(*name, *found)));
        let neighbors = state.neighbors.iter().filter(|_| state.is_running);
        self.uncaptured.extend(neighbors.filter_map(neighbor_hint));
        self.heartbeat = state.heartbeat.or(self.heartbeat);
        if state.generation.is_some() {
            self.exists = true;
            (self.captures, self.silent_since) = (state.silent_since.is_some(), state.silent_since);
            self.has_captured = state.has_captured;
        }
        before != shown(self)
    }

    fn status(&self, at: &Zoned) -> RingStatus {
        let age = |time: UnixTime| {
            let now = i64::try_from(at.timestamp().as_nanosecond()).unwrap_or(i64::MAX);
            now.saturating_sub(time.as_nanos())
        };
        if !self.is_running || self.heartbeat.is_none_or(|last| age(last) > NO_HEARTBEAT) {
            return RingStatus::Ended;
        }
        match self.silent_since.is_some_and(|since| age(since) >= SILENCE) {
            true => RingStatus::Silent,
            false => RingStatus::Running,
        }
    }

    /// Why devices may be missing.
    fn faults(&self, at: &Zoned, report: &ActivityReport) -> Vec<String> {
        let ring = &self.ring;
        let since =
            |time: Option<String>| time.map_or(String::new(), |time| format!(" since {time}"));
        let mut faults: Vec<String> = Vec::new();
        match self.status(at) {
            RingStatus::Running => {}
            RingStatus::Silent => {
                let since = since(self.silent_since.and_then(|last| local(last, at)));
                let why = match self.has_captured {
                    true => "captures no frames",
                    false => "has captured no frame yet",
                };
                faults.push(format!(
                    "No data from the collector{since}: ring {ring}: it runs, and {why} (look at its interfaces)"
                ));
            }
            RingStatus::Ended if !self.captures => {
                let since = since(self.heartbeat.and_then(|last| local(last, at)));
                faults.push(format!(
                    "No configuration changes of routers{since}: ring {ring}: no aw-routeros runs (systemctl start aw-routeros)"
                ));
            }
            RingStatus::Ended => {
                let last = || {
                    report.last().map(|last| format!("{} {}", at_minute(last), at.strftime("%:z")))
                };
                let since = since(self.heartbeat.and_then(|last| local(last, at)).or_else(last));
                let why = self.why.as_deref().unwrap_or(match self.exists {
                    true if self.is_running => {
                        "no heartbeat was seen since (is this machine too busy?)"
                    }
                    true => "its collector has ended (start it again, such as systemctl start addrwatch-collector@INTERFACE)",
                    false => "it does not exist (start the collector, or name its ring with -m)",
                });
                faults.push(format!("No data from the collector{since}: ring {ring}: {why}"));
            }
        }
        faults.extend(self.uncaptured.iter().cloned());
        faults
    }
}

impl Now {
    /// When clocks are set back, an hour comes twice: either may be meant.
    pub fn is_online(&self, last: LogTime) -> bool {
        let minute = |time: Timestamp| time.as_second().div_euclid(60);
        let now = minute(self.at.timestamp());
        let last = self.at.time_zone().to_ambiguous_timestamp(civil(last));
        [last.earlier(), last.later()].into_iter().flatten().any(|last| {
            // One minute ahead: the logs may be newer than the time of the page.
            (-1..=self.online_minutes).contains(&(now - minute(last)))
        })
    }
}

/// Minutes from one local time to another one.
pub fn minutes(from: LogTime, to: LogTime) -> i64 {
    civil(to).duration_since(civil(from)).as_mins()
}

fn civil((date, clock): LogTime) -> DateTime {
    date.at(clock.hour as i8, clock.minute as i8, 0, 0)
}

/// A time with its zone, in the zone of another one; none before the clock was set.
fn local(time: UnixTime, zone: &Zoned) -> Option<String> {
    let time = Timestamp::from_second(time.seconds()).ok().filter(|_| time.is_plausible())?;
    Some(time.to_zoned(zone.time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string())
}

fn at_minute((date, clock): LogTime) -> String {
    format!("{date} {:02}:{:02}", clock.hour, clock.minute)
}

#[cfg(test)]
pub mod tests;
