//! When mails about a router's changes are sent: the first one of a burst at once, those that follow together. A burst is
//! what one user changes in a row, so that a change by another user is mailed at once, and so is one whose user is in doubt.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::config::RouterName;

/// A router, and a user.
pub type BurstKey = (RouterName, String);

/// A burst that lasts is mailed at longer and longer intervals, up to this.
const LONGEST: Duration = Duration::from_secs(3600);
/// Reports that wait for one mail, and their bytes: the mail is sent when there are more.
const MAX_WAITING: usize = 200;
const MAX_BYTES: usize = 1 << 20;
/// Bursts of one router at a time: beyond this, reports are mailed at once.
const MAX_BURSTS: usize = 32;

/// The bursts of all routers.
pub struct Digests {
    window: Duration,
    bursts: BTreeMap<BurstKey, Burst>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    until: Instant,
    window: Duration,
    waiting: usize,
    bytes: usize,
    /// A different number for each burst, for the names of files.
    number: u64,
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is mailed at once.
    Send,
    /// It waits, in the file with this number.
    Gather(u64),
    /// It is mailed together with those that wait in this file.
    SendGathered(u64),
}

impl Digests {
    /// Without a window every report is sent at once.
    pub fn new(window: Duration) -> Digests {
        Digests { window, bursts: BTreeMap::new(), next: 0 }
    }

    /// A report of this size about what only this user did; None: others may have had a part.
    pub fn add(
        &mut self,
        router: &RouterName,
        only_user: Option<&str>,
        bytes: usize,
        now: Instant,
    ) -> Step {
        let Some(user) = only_user.filter(|_| !self.window.is_zero()) else { return Step::Send };
        let key = (router.clone(), user.to_owned());
        let Some(burst) = self.bursts.get_mut(&key) else {
            if self.bursts.keys().filter(|(name, _)| name == router).count() >= MAX_BURSTS {
                return Step::Send;
            }
            let (window, number) = (self.window, self.next);
            self.next += 1;
            let burst = Burst { until: now + window, window, waiting: 0, bytes: 0, number };
            self.bursts.insert(key, burst);
            return Step::Send;
        };
        burst.waiting += 1;
        burst.bytes += bytes;
        if burst.waiting < MAX_WAITING && burst.bytes < MAX_BYTES {
            return Step::Gather(burst.number);
        }
        (burst.waiting, burst.bytes) = (0, 0);
        Step::SendGathered(burst.number)
    }

    /// The files whose reports are to be mailed now. A burst without reports in its window is over.
    pub fn due(&mut self, now: Instant) -> Vec<u64> {
        let mut due = Vec::new();
        let longest = LONGEST.max(self.window);
        self.bursts.retain(|_, burst| {
            if burst.until > now {
                return true;
            }
            if burst.waiting == 0 {
                return false;
            }
            due.push(burst.number);
            let window = (burst.window * 2).min(longest);
            *burst = Burst { until: now + window, window, waiting: 0, bytes: 0, ..*burst };
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn core1() -> RouterName {
        RouterName::try_from("core1".to_owned()).unwrap()
    }

    /// A counter that is written every three minutes for a day: the mails, and the longest wait.
    #[test]
    fn a_counter_script() {
        let (start, mut digests) = (Instant::now(), Digests::new(WINDOW));
        let (mut mails, mut gathered, mut waits) = (0, 0, Vec::new());
        let mut since = None;
        for second in 0..86_400_u64 {
            let now = start + Duration::from_secs(second);
            if !digests.due(now).is_empty() {
                mails += 1;
                waits.extend(since.take().map(|since| second - since));
            }
            if second % 180 == 0 {
                match digests.add(&core1(), Some("scheduler:cnt"), 100, now) {
                    Step::Send => mails += 1,
                    Step::Gather(0) => {
                        gathered += 1;
                        since.get_or_insert(second);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(mails < 30 && gathered == 479, "{mails} {gathered}");
        assert!(waits.iter().all(|wait| *wait <= 3600), "{waits:?}");
    }

    #[test]
    fn another_user_or_router_is_mailed_at_once() {
        let (now, mut digests) = (Instant::now(), Digests::new(WINDOW));
        let core2 = RouterName::try_from("core2".to_owned()).unwrap();
        assert_eq!(digests.add(&core1(), Some("alice"), 1, now), Step::Send);
        assert_eq!(digests.add(&core1(), Some("alice"), 1, now), Step::Gather(0));
        assert_eq!(digests.add(&core1(), Some("eve"), 1, now), Step::Send);
        (0..2).for_each(|_| assert_eq!(digests.add(&core1(), None, 1, now), Step::Send));
        assert_eq!(digests.add(&core2, Some("alice"), 1, now), Step::Send);
        assert!(digests.due(now).is_empty());
        assert_eq!(digests.due(now + WINDOW), [0]);
        assert!(digests.due(now + WINDOW * 3).is_empty(), "the others are over");
        assert_eq!(digests.add(&core1(), Some("alice"), 1, now + WINDOW * 3), Step::Send);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (now, mut digests) = (Instant::now(), Digests::new(WINDOW));
        digests.add(&core1(), Some("alice"), 1, now);
        for n in 1..MAX_WAITING {
            assert_eq!(digests.add(&core1(), Some("alice"), 1, now), Step::Gather(0), "{n}");
        }
        assert_eq!(digests.add(&core1(), Some("alice"), 1, now), Step::SendGathered(0));
        assert_eq!(digests.add(&core1(), Some("alice"), MAX_BYTES, now), Step::SendGathered(0));
        for n in 0..1000 {
            let user = n.to_string();
            assert_eq!(digests.add(&core1(), Some(&user), 1, now), Step::Send);
        }
        assert!(digests.bursts.len() <= MAX_BURSTS, "{}", digests.bursts.len());
    }

    #[test]
    fn without_a_window() {
        let mut digests = Digests::new(Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(digests.add(&core1(), Some("alice"), 1, Instant::now()), Step::Send);
        }
    }
}
