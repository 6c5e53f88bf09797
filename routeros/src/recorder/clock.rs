//! Whether this machine's clock can be used to find what is too old.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use aw_service::warn;
use jiff::{SignedDuration, Timestamp};

use super::lock;

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Nothing is removed for its age for this time after the clock was found wrong.
const DISTRUST: Duration = Duration::from_secs(3600);

/// Compares the clock with the time that has passed.
pub struct RetentionClock {
    started: Instant,
    last: Mutex<LastLook>,
}

struct LastLook {
    time: Timestamp,
    /// The time since the start of the machine.
    at: Instant,
    /// Since when the clock is not trusted.
    distrusted: Option<Instant>,
}

impl RetentionClock {
    pub fn new() -> RetentionClock {
        let (time, at) = (Timestamp::now(), Instant::now());
        RetentionClock { started: at, last: Mutex::new(LastLook { time, at, distrusted: None }) }
    }

    /// Whether the clock can be trusted. It is not for an hour after it was set forward by more than a day, nor in the
    /// first hour if it is more than a day ahead of the router's newest snapshot.
    pub fn is_trusted(&self, now: Timestamp, newest: Option<Timestamp>) -> bool {
        let mut last = lock(&self.last);
        let passed = SignedDuration::try_from(last.at.elapsed()).unwrap_or_default();
        if now.duration_since(last.time) - passed > DAY {
            last.distrusted = Some(Instant::now());
            warn("the clock was set forward: no snapshot is removed for its age for an hour");
        }
        (last.time, last.at) = (now, Instant::now());
        let is_ahead = newest.is_some_and(|newest| now.duration_since(newest) > DAY);
        if is_ahead && last.distrusted.is_none() {
            // From the start on: the snapshots stored since then have the time of the same clock.
            last.distrusted = Some(self.started);
        }
        last.distrusted.is_none_or(|since| since.elapsed() >= DISTRUST)
    }
}
