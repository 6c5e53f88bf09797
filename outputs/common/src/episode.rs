//! When a lasting fault is reported: once when it begins, at most once an hour while it lasts, and once when it is over.
//!
//! Hosts on the network can cause some faults, and so decide when one begins and ends. So that they cannot cause a flood
//! of messages, a fault that comes back within an hour must be absent for twice as long before it counts as over. So
//! that they cannot prepare silence, the last message is never "over" while the fault is present. No I/O and no clock.

use serde::{Deserialize, Serialize};

/// Seconds without the fault after which it is over; twice as long each time that it comes back.
const QUIET: i64 = 10;
/// Seconds between two reports while it lasts; the longest time until it is over.
pub(crate) const HOUR: i64 = 3600;

/// When a fault that is present is reported again, and when it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reporting {
    /// While it lasts: once in so many seconds.
    pub interval: i64,
    /// The first time, it is over as soon as it is not present: of what is not present for a moment only.
    pub ends_at_once: bool,
}

impl Reporting {
    pub const HOURLY: Reporting = Reporting::each(HOUR);

    pub const fn each(interval: i64) -> Reporting {
        Reporting { interval, ends_at_once: false }
    }
}

/// The state of one fault. It can be stored, so that a restart repeats no report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// What is counted, such as lost events; 0 where nothing is.
    count: u64,
    /// The count at the last report.
    reported: u64,
    reported_at: i64,
    /// When it began, if it is present, and the count before that.
    began: Option<i64>,
    count_before: u64,
    /// When it was last present.
    last: i64,
    /// Seconds without it after which it is over.
    quiet: i64,
}

/// What is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpisodeChange {
    /// It begins, with so many events or frames.
    Begins(u64),
    /// It lasts, with so many since the last report.
    Lasts(u64),
    /// It is over, after so many in all.
    Over {
        /// Since it began.
        number: u64,
        /// When it began.
        since: i64,
    },
}

impl Episode {
    /// A fault that is not present; what was counted up to now is no part of it.
    pub fn new(count: u64) -> Episode {
        Episode { count, reported: count, count_before: count, ..Episode::default() }
    }

    /// The counts begin again with this one, and what it includes is not reported.
    pub fn restart(&mut self, count: u64) {
        (self.count, self.reported, self.count_before) = (count, count, count);
    }

    /// What was counted is reported by now: if more is counted, that is reported at once.
    pub(crate) fn report_next(&mut self) {
        if self.count > 0 {
            self.reported_at = 0;
        }
    }

    /// The count at the last observation.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When it was last present.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// Whether it is present.
    pub fn is_present(&self) -> bool {
        self.began.is_some()
    }

    /// Takes its state at a time: it is present if `present` is set or if the count has grown. Returns what is to be
    /// reported now.
    pub fn observe(&mut self, now: i64, count: u64, present: bool) -> Option<EpisodeChange> {
        self.observe_with(Reporting::HOURLY, now, count, present)
    }

    /// The same with other times.
    pub(crate) fn observe_with(
        &mut self,
        Reporting { interval, ends_at_once }: Reporting,
        now: i64,
        count: u64,
        present: bool,
    ) -> Option<EpisodeChange> {
        let present = present || count > self.count;
        self.count = count;
        // The clock may have been set back.
        (self.last, self.reported_at) = (self.last.min(now), self.reported_at.min(now));
        let change = match self.began {
            None if !present => return None,
            None => {
                let is_again = self.last != 0 && now - self.last < HOUR;
                self.quiet = match is_again {
                    true => (self.quiet * 2).clamp(QUIET, HOUR),
                    false if ends_at_once => 0,
                    false => QUIET,
                };
                (self.began, self.count_before) = (Some(now), self.reported);
                EpisodeChange::Begins(count.saturating_sub(self.count_before))
            }
            Some(_) if present && now - self.reported_at >= interval => {
                EpisodeChange::Lasts(count.saturating_sub(self.reported))
            }
            Some(since) if !present && now - self.last >= self.quiet => {
                self.began = None;
                let number = count.saturating_sub(self.count_before);
                (self.reported, self.reported_at) = (count, now);
                return Some(EpisodeChange::Over { number, since });
            }
            Some(_) => {
                if present {
                    self.last = now;
                }
                return None;
            }
        };
        self.last = now;
        (self.reported, self.reported_at) = (count, now);
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_at_its_begin_each_hour_and_at_its_end() {
        let mut lost = Episode::new(5);
        assert_eq!(lost.observe(100, 5, false), None, "what was lost before");
        assert_eq!(lost.observe(101, 12, false), Some(EpisodeChange::Begins(7)));
        let while_it_lasts: Vec<_> =
            (102..7402).filter_map(|now| lost.observe(now, now as u64, false)).collect();
        assert_eq!(while_it_lasts, [EpisodeChange::Lasts(3689), EpisodeChange::Lasts(3600)]);
        assert_eq!(lost.observe(7410, 7401, false), None);
        let over = EpisodeChange::Over { number: 7396, since: 101 };
        assert_eq!(lost.observe(7411, 7401, false), Some(over));
        assert_eq!(lost.observe(7500, 7401, false), None);
        lost.restart(0);
        assert_eq!(
            lost.observe(99_000, 2, false),
            Some(EpisodeChange::Begins(2)),
            "another stream"
        );
    }

    /// A host that causes a fault again and again causes few messages, and none that is wrong.
    #[test]
    fn a_fault_that_comes_and_goes() {
        for (present, absent) in [(1, 11), (1, 60), (5, 700), (3000, 3000)] {
            for ends_at_once in [false, true] {
                let with = Reporting { ends_at_once, ..Reporting::HOURLY };
                let mut fault = Episode::new(0);
                let mut reports = Vec::new();
                for now in 1..86_400 {
                    let is_present = now % (present + absent) < present;
                    let change = fault.observe_with(with, now, 0, is_present);
                    reports.extend(change);
                    assert!(fault.is_present() || !is_present, "silent at {now}");
                }
                let begins =
                    reports.iter().filter(|report| **report == EpisodeChange::Begins(0)).count();
                assert!(reports.len() <= 60 && begins <= 17, "{present} {absent}: {reports:?}");
            }
        }
    }

    /// The first time; one that comes back within an hour is over later, twice as long each time.
    #[test]
    fn over_at_once() {
        let mut fault = Episode::new(0);
        let with = Reporting { ends_at_once: true, ..Reporting::HOURLY };
        let mut over = |begin: i64| {
            assert!(fault.observe_with(with, begin, 0, true).is_some());
            let end = (begin + 1..).find(|now| fault.observe_with(with, *now, 0, false).is_some());
            end.map(|end| end - begin)
        };
        let after = [10_000, 10_100, 10_200, 20_000].map(&mut over);
        assert_eq!(after, [Some(1), Some(10), Some(20), Some(1)]);
    }

    #[test]
    fn a_clock_that_is_set_back() {
        let mut fault = Episode::new(0);
        assert_eq!(fault.observe(9000, 0, true), Some(EpisodeChange::Begins(0)));
        assert_eq!(fault.observe(100, 0, false), None);
        assert!(matches!(fault.observe(110, 0, false), Some(EpisodeChange::Over { .. })));
    }
}
