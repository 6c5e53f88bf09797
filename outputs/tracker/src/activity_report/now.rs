//! What the page that is served says about now: who is online, and whether a collector runs. No I/O and no clock.

use aw_output::RingState;
use jiff::{Timestamp, Zoned};
use shm_layout::{InterfaceName, RingName, UnixTime};

use crate::{
    activity_report::{ActivityReport, LogTime},
    daily_logs::LogConfig,
    local_time::HourMinute,
};

/// A collector writes a heartbeat each second, and the run loop looks at it each second.
const SILENCE: i64 = 10_000_000_000;

/// What the page shows of the run loop.
#[derive(Clone, Debug)]
pub struct Live {
    pub config: LogConfig,
    rings: Vec<LiveRing>,
    /// Why the logs cannot be written.
    unwritten: Option<String>,
    /// How often something changed that the page shows.
    pub version: u64,
}

/// A ring at the last look.
#[derive(Clone, Debug)]
struct LiveRing {
    ring: RingName,
    is_running: bool,
    heartbeat: Option<UnixTime>,
    last_frame: Option<UnixTime>,
    why: Option<String>,
    down: Vec<InterfaceName>,
}

/// What holds when a page is made.
#[derive(Debug)]
pub struct Now {
    at: LogTime,
    /// A device is online if it was seen in so many minutes before.
    pub online_minutes: i64,
    /// Why devices may be missing.
    pub faults: Vec<String>,
    /// Whether no collector runs.
    pub is_silent: bool,
}

impl Live {
    pub fn new(config: LogConfig) -> Live {
        Live { config, rings: Vec::new(), unwritten: None, version: 0 }
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

    pub fn observe(&mut self, state: &RingState) {
        let RingState { is_running, heartbeat, last_frame, .. } = *state;
        let (why, down) = (state.blind.clone(), state.down.clone());
        let known = self.rings.iter_mut().find(|known| known.ring == state.ring);
        let Some(known) = known else {
            let ring = state.ring.clone();
            self.rings.push(LiveRing { ring, is_running, heartbeat, last_frame, why, down });
            self.version += 1;
            return;
        };
        let shown = |ring: &LiveRing| (ring.is_running, ring.why.clone(), ring.down.clone());
        let before = shown(known);
        (known.is_running, known.why, known.down) = (is_running, why, down);
        // Those of a ring that was removed stay known.
        known.heartbeat = heartbeat.or(known.heartbeat);
        known.last_frame = last_frame.or(known.last_frame);
        self.version += u64::from(before != shown(known));
    }

    /// What holds at this time. `report`: from the logs.
    pub fn now(&self, at: &Zoned, report: &ActivityReport, online_minutes: i64) -> Now {
        let clock = HourMinute { hour: at.hour() as u8, minute: at.minute() as u8 };
        let mut now = Now {
            at: (at.date(), clock),
            online_minutes,
            faults: Vec::new(),
            is_silent: !self.rings.is_empty(),
        };
        for ring in &self.rings {
            let (is_running, faults) = ring.faults(at, report, online_minutes);
            now.is_silent &= !is_running;
            now.faults.extend(faults);
        }
        if let Some(why) = &self.unwritten {
            now.faults.push(format!("The logs are not complete: {why}"));
        }
        now
    }
}

impl LiveRing {
    /// Whether a collector runs, and why devices may be missing.
    fn faults(&self, at: &Zoned, report: &ActivityReport, minutes: i64) -> (bool, Vec<String>) {
        let age = |time: UnixTime| {
            i64::try_from(at.timestamp().as_nanosecond()).unwrap_or(i64::MAX) - time.as_nanos()
        };
        let ring = &self.ring;
        if !self.is_running || self.heartbeat.is_none_or(|last| age(last) > SILENCE) {
            let last =
                report.last().map(|last| format!("{} {}", at_minute(last), at.strftime("%:z")));
            let since = self.heartbeat.map(|last| local(last, at)).or(last);
            let since = since.map_or(String::new(), |since| format!(" since {since}"));
            let why = self.why.as_deref().unwrap_or(match self.heartbeat {
                Some(_) if self.is_running => {
                    "no heartbeat was seen since (is this machine too busy?)"
                }
                Some(_) => "its collector has ended (start it again)",
                None => "it does not exist (start the collector, or name its ring with -m)",
            });
            return (false, vec![format!("No data from the collector{since}: ring {ring}: {why}")]);
        }
        let mut faults: Vec<String> = Vec::new();
        for interface in &self.down {
            faults.push(format!(
                "Interface {interface} is down or gone: no frames of it arrive (ip link set {interface} up)"
            ));
        }
        if let Some(last) = self.last_frame.filter(|last| age(*last) > minutes * 60_000_000_000) {
            let since = local(last, at);
            faults.push(format!(
                "No data from the collector since {since}: ring {ring}: it runs, and captures no frames (look at its interfaces)"
            ));
        }
        (true, faults)
    }
}

impl Now {
    pub fn is_online(&self, last: LogTime) -> bool {
        // One minute ahead: the logs may be newer than the time of the page.
        (-1..=self.online_minutes).contains(&minutes(last, self.at))
    }
}

/// Minutes from one local time to another one.
pub fn minutes(from: LogTime, to: LogTime) -> i64 {
    let time = |(date, clock): LogTime| date.at(clock.hour as i8, clock.minute as i8, 0, 0);
    time(to).duration_since(time(from)).as_mins()
}

/// A time with its zone, in the zone of another one.
fn local(time: UnixTime, zone: &Zoned) -> String {
    let time = Timestamp::from_second(time.seconds()).unwrap_or_default();
    time.to_zoned(zone.time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

fn at_minute((date, clock): LogTime) -> String {
    format!("{date} {:02}:{:02}", clock.hour, clock.minute)
}

#[cfg(test)]
mod tests;
