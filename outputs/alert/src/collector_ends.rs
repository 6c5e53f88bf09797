//! Collectors that end without being stopped: a frame that crashes one hides what is sent until it runs again. Each end is short, so its
//! number counts, which the ring has.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use aw_detect::{Alert, AlertKind};
use aw_output::RingState;
use shm_layout::RingName;

/// So many ends within this time are one message.
const MOST: usize = 3;
const WITHIN: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct CollectorEnds(BTreeMap<RingName, Ends>);

struct Ends {
    /// What the ring had counted at the last look.
    kills: u64,
    /// When that became more.
    times: VecDeque<Instant>,
    reported: Option<Instant>,
}

impl CollectorEnds {
    /// Looks at the ring, about once a second. Returns the alert if its collector ended too often.
    pub fn observe(&mut self, state: &RingState, at: Instant, now: i64) -> Option<Alert> {
        state.generation?; // no ring
        let new = || Ends { kills: state.kills, times: VecDeque::new(), reported: None };
        let one = self.0.entry(state.ring.clone()).or_insert_with(new);
        let further = state.kills.saturating_sub(one.kills).min(MOST as u64) as usize;
        one.kills = state.kills;
        one.times.extend(std::iter::repeat_n(at, further));
        let is_recent = |time: Instant| at.saturating_duration_since(time) < WITHIN;
        one.times.retain(|time| is_recent(*time));
        if one.times.len() < MOST || one.reported.is_some_and(is_recent) {
            return None;
        }
        one.reported = Some(at);
        // aw-routeros writes a ring, too, and captures nothing.
        let (what, why) = match state.silent_since {
            Some(_) => (
                "the collector",
                "a fault of it, or a frame that crashes it, and nothing is captured until it runs again (the log of its service has the cause: journalctl -u 'addrwatch-collector@*')",
            ),
            None => ("the program that writes this ring", "the log of its service has the cause"),
        };
        let number = one.times.len();
        let note =
            format!("{what} ended {number} times within an hour without being stopped: {why}");
        let (host, ring) = (state.host.clone(), state.ring.to_string());
        Some(Alert { host, ring, note: Some(note), ..Alert::new(AlertKind::Blind, now) })
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use shm_layout::UnixTime;

    use super::*;
    use crate::{notification::Notification, sensor::tests::state};

    /// Three within an hour are one message; what was before the first look, and fewer, are none.
    #[test]
    fn it_ends_again_and_again() {
        let begin = Instant::now();
        let mut ends = CollectorEnds::default();
        let mut found = |minute: u64, kills: u64, silent_since: Option<UnixTime>| -> Vec<Alert> {
            let state = RingState { kills, silent_since, ..state(&[]) };
            let at = begin + Duration::from_secs(60 * minute);
            ends.observe(&state, at, 7).into_iter().collect()
        };
        let captures = Some(UnixTime::new(1, 0));
        assert_eq!(found(0, 9, captures), []);
        for (minute, kills) in [(1, 10), (31, 11), (62, 12), (93, 13), (94, 13), (400, 13)] {
            assert_eq!(found(minute, kills, captures), [], "{minute}");
        }
        assert_eq!(found(401, 15, captures), []);
        let [alert] = &*found(402, 16, captures) else { panic!() };
        let line = "sensor blind /site: the collector ended 3 times within an hour without being stopped: a fault of it, or a frame ";
        assert!(alert.to_string().starts_with(line), "{alert}");
        let subject = Notification::of(alert, &TimeZone::UTC, false).subject;
        assert_eq!(subject, "the collector ended several times (ring /site)");
        assert_eq!(found(410, 30, captures), [], "once an hour");
        // A new ring counts from the begin.
        assert_eq!(found(600, 0, None), []);
        let [alert] = &*found(601, 1000, None) else { panic!() };
        assert!(!alert.to_string().contains("frame"), "{alert}");
    }
}
