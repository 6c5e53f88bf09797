//! The learning period, which begins with the first event. A time from before the clock was set neither ends it nor lies in
//! it: when the clock is set, the period begins again, and after its end it is over for good.

use aw_output::SinkResult;
use shm_layout::UnixTime;

use crate::store::AlertStore;

/// The notes with its end, and with the fact that it is over.
const UNTIL: &str = "learns until";
const OVER: &str = "has learned";
/// Seconds that clocks differ.
const TOLERANCE: i64 = 60;

pub struct Learning {
    /// The option `--learn`, in seconds.
    seconds: Option<i64>,
    until: Option<i64>,
    over: bool,
}

impl Learning {
    pub fn load(seconds: Option<i64>, store: &mut AlertStore) -> SinkResult<Learning> {
        let (until, over) = (store.note(UNTIL)?, store.note(OVER)?.is_some());
        Ok(Learning { seconds, until, over })
    }

    /// Reads its notes again, after a rollback.
    pub fn reload(&mut self, store: &mut AlertStore) -> SinkResult {
        *self = Learning::load(self.seconds, store)?;
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
                let until = time.saturating_add(seconds);
                store.store_note(UNTIL, until)?;
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
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_700_000_000;

    /// Whether each of the times is in a learning period of a day.
    fn includes(times: &[i64]) -> Vec<bool> {
        includes_at(i64::MAX, times)
    }

    fn includes_at(now: i64, times: &[i64]) -> Vec<bool> {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let each = times.iter().map(|time| {
            // As after a restart, each time.
            let mut learning = Learning::load(Some(DAY), &mut store).unwrap();
            learning.includes(*time, now, &mut store).unwrap()
        });
        each.collect()
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
