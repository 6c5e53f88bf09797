//! The learning period, which begins with the first event. A time from before the clock was set neither ends it nor lies in
//! it: when the clock is set, the period begins again, and after its end it is over for good.

use aw_output::{SinkResult, warn};
use shm_layout::UnixTime;

use crate::{message_id::MessageIds, store::AlertStore};

/// The notes with its begin, its end, and the fact that it is over.
const SINCE: &str = "learns since";
const UNTIL: &str = "learns until";
const OVER: &str = "has learned";
pub const NOTES: [&str; 3] = [SINCE, UNTIL, OVER];
/// The note that what it saw is marked as learned. An earlier release marked nothing.
const MARKED: &str = "learned is marked";
/// Seconds that clocks differ.
const TOLERANCE: i64 = 60;

pub struct Learning {
    /// The option `--learn`, in seconds.
    seconds: Option<i64>,
    /// It does not begin before that: older events of the ring do not make it shorter.
    earliest: i64,
    until: Option<i64>,
    over: bool,
}

impl Learning {
    /// `earliest`: when aw-alert was started, if it runs on.
    pub fn load(
        seconds: Option<i64>,
        earliest: i64,
        store: &mut AlertStore,
    ) -> SinkResult<Learning> {
        let (until, over) = (store.note(UNTIL)?, store.note(OVER)?.is_some());
        if let Some(until) = until
            && store.note(MARKED)?.is_none()
        {
            store.memory.learn_until(until)?;
            store.store_note(MARKED, 1)?;
        }
        Ok(Learning { seconds, earliest, until, over })
    }

    /// The same with `--learn`, and whether the option is too late: on a state that an aw-alert has used without it, what was reported
    /// until now does not become normal. Call it before that state is marked as used ([`MessageIds::new`]).
    pub fn of_option(
        seconds: Option<i64>,
        earliest: i64,
        store: &mut AlertStore,
    ) -> SinkResult<(Learning, bool)> {
        let learning = Learning::load(seconds, earliest, store)?;
        let was_used = MessageIds::exist(store)? && !store.memory.is_empty()?;
        let is_too_late = seconds.is_some() && was_used && !learning.has_begun();
        if !is_too_late {
            return Ok((learning, false));
        }
        warn(format_args!(
            "--learn does not begin: {} was begun without it, so alerts are sent as before (to learn all devices, stop aw-alert, move that file away, and start it; routers and servers alone: aw-alert relearn)",
            store.memory.file().display()
        ));
        Ok((Learning::load(None, earliest, store)?, true))
    }

    /// Reads its notes again, after a rollback.
    pub fn reload(&mut self, store: &mut AlertStore) -> SinkResult {
        *self = Learning::load(self.seconds, self.earliest, store)?;
        Ok(())
    }

    /// Whether an event is in the learning period, which begins with the first one. `now`: an earlier release let it begin
    /// with an event of a clock that was ahead; then it begins again.
    pub fn includes(&mut self, time: i64, now: i64, store: &mut AlertStore) -> SinkResult<bool> {
        if self.over {
            return Ok(false);
        }
        let is_ahead = |until: &i64| {
            let latest = self.seconds.map(|seconds| now.saturating_add(seconds + TOLERANCE));
            is_set(now) && latest.is_some_and(|latest| *until > latest)
        };
        self.until = self.until.filter(|until| !is_ahead(until));
        let until = match (self.until, self.seconds) {
            (Some(until), _) if is_set(time) == is_set(until) => until,
            (Some(until), None) => until,
            // The clock of a period that has begun is not set for a while.
            (Some(until), Some(_)) if is_set(until) => return Ok(true),
            (_, Some(seconds)) => {
                let since = time.max(self.earliest);
                let until = since.saturating_add(seconds);
                store.store_note(SINCE, since)?;
                store.store_note(UNTIL, until)?;
                store.store_note(MARKED, 1)?;
                *self.until.insert(until)
            }
            (None, None) => return Ok(false),
        };
        if time < until {
            return Ok(true);
        }
        // Later, events can be of an earlier time: the clock of a sensor that boots is not set.
        if is_set(until) {
            store.store_note(OVER, 1)?;
            self.over = true;
        }
        Ok(false)
    }

    /// Ends it, also before it begins. Returns whether it had begun.
    pub fn end(&mut self, store: &mut AlertStore) -> SinkResult<bool> {
        if self.over {
            return Ok(false);
        }
        store.store_note(OVER, 1)?;
        self.over = true;
        Ok(self.until.is_some())
    }

    /// Whether it has begun, or is over before it began.
    pub fn has_begun(&self) -> bool {
        self.over || self.until.is_some()
    }

    /// Whether the period has ended.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether a time is in a period that has begun.
    pub fn is_running(&self, now: i64) -> bool {
        !self.over && self.until.is_some_and(|until| now < until)
    }
}

fn is_set(seconds: i64) -> bool {
    UnixTime::new(seconds, 0).is_plausible()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use aw_detect::{Device, MacClaim, Memory, Station};
    use shm_layout::MacAddr;

    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_700_000_000;

    /// Whether each of the times is in a learning period of a day.
    fn includes(times: &[i64]) -> Vec<bool> {
        includes_at(i64::MAX, times)
    }

    /// `--learn 0` ends a period, and one that has not begun does not begin later.
    #[test]
    fn it_is_ended() {
        for begins in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let mut store = AlertStore::open(directory.path()).unwrap();
            let mut learning = Learning::load(Some(DAY), i64::MIN, &mut store).unwrap();
            if begins {
                assert!(learning.includes(NOW, i64::MAX, &mut store).unwrap());
            }
            let mut learning = Learning::load(None, i64::MIN, &mut store).unwrap();
            assert_eq!(learning.end(&mut store).unwrap(), begins);
            assert!(learning.is_over() && !learning.end(&mut store).unwrap());
            let mut learning = Learning::load(Some(DAY), i64::MIN, &mut store).unwrap();
            assert!(!learning.includes(NOW + 1, i64::MAX, &mut store).unwrap());
        }
    }

    fn includes_at(now: i64, times: &[i64]) -> Vec<bool> {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let each = times.iter().map(|time| {
            // As after a restart, each time.
            let mut learning = Learning::load(Some(DAY), i64::MIN, &mut store).unwrap();
            learning.includes(*time, now, &mut store).unwrap()
        });
        each.collect()
    }

    /// An earlier release marked nothing as learned: what was there in its learning period is, and what came later is not.
    #[test]
    fn a_period_of_an_earlier_release() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let macs = [1, 2, 3].map(|last| MacAddr::new([0, 8, 0xe1, 0, 0, last]));
        let [owner, other, attacker] = macs;
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let times = [NOW, NOW, NOW + 2 * DAY];
        for (mac, time) in macs.into_iter().zip(times) {
            store.memory.store_device(mac, &Device::new(time)).unwrap();
        }
        // Its MACs, and when each last claimed it.
        let stations = [
            vec![(owner, NOW + 5 * DAY)],
            vec![(attacker, NOW + 5 * DAY), (owner, NOW + 4 * DAY)],
            vec![(other, NOW + 5 * DAY), (owner, NOW)],
            vec![(attacker, NOW + 2 * DAY)],
        ];
        for (last, claims) in (0..).zip(&stations) {
            let claims = claims.iter().map(|&(mac, time)| MacClaim { mac, time }).collect();
            let station = Station { claims, ..Station::default() };
            store.memory.store_station("s/r/eth0", ip(last), &station).unwrap();
        }
        store.store_note(UNTIL, NOW + DAY).unwrap();
        store.store_note(OVER, 1).unwrap();
        for _ in 0..2 {
            Learning::load(Some(DAY), i64::MIN, &mut store).unwrap();
            store.commit().unwrap();
            let devices = macs.map(|mac| store.memory.device(mac).unwrap().unwrap().learned);
            assert_eq!(devices, [true, true, false]);
            let learned = [0, 1, 2, 3]
                .map(|last| store.memory.station("s/r/eth0", ip(last)).unwrap().learned);
            assert_eq!(learned, [vec![owner], vec![], vec![owner], vec![]]);
            // Once: what comes later is not of that time.
            let late = Device::new(NOW);
            store.memory.store_device(attacker, &Device { learned: false, ..late }).unwrap();
        }
    }

    /// An event that was in the ring before the start does not end it at once. Before the clock is set, it begins as ever.
    #[test]
    fn it_begins_with_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let mut learning = Learning::load(Some(600), NOW, &mut store).unwrap();
        let mut includes = |time| learning.includes(time, NOW, &mut store).unwrap();
        assert_eq!([-3600, 0, 599, 600].map(|age| includes(NOW + age)), [true, true, true, false]);
        assert_eq!(store.note(SINCE).unwrap(), Some(NOW));
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let mut learning = Learning::load(Some(600), 20, &mut store).unwrap();
        let mut includes = |time| learning.includes(time, NOW, &mut store).unwrap();
        assert_eq!([30, NOW, NOW + 600].map(&mut includes), [true, true, false]);
    }

    #[test]
    fn a_clock_that_was_not_set() {
        assert_eq!(includes(&[NOW, NOW + DAY - 1, NOW + DAY]), [true, true, false]);
        assert_eq!(includes(&[1000, 1000 + DAY]), [true, false], "an old capture");
        let boot = [30, NOW, NOW + DAY - 1, NOW + DAY];
        assert_eq!(includes(&boot), [true, true, true, false], "it begins when the clock is set");
        let again = [NOW, 30, NOW + DAY, 30, NOW + 5];
        assert_eq!(includes(&again), [true, true, false, false, false], "it ends for good");
        let ahead = [NOW + 99 * DAY, NOW, NOW + DAY - 1, NOW + DAY];
        assert_eq!(includes_at(NOW, &ahead), [true, true, true, false], "a clock that was ahead");
    }
}
