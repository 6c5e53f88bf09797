//! Whether ARP broadcasts of other hosts arrive at an interface. No I/O and no clock.
//!
//! That none comes proves nothing: hosts sleep, and in a small network they ask each other by unicast for days. What does is an answer
//! to another host whose question did not arrive, as on a mirror without broadcasts. At a port where only answers to this host arrive, no
//! verdict is possible; the time of the last broadcast is what a person can judge.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use shm_layout::{BroadcastState, MacAddr, UnixTime};

/// Hosts that were answered, and whose questions did not arrive.
const ASKERS: usize = 3;
/// For so long at least, without a broadcast.
const SPAN: Duration = Duration::from_secs(3600);
/// A question may arrive so long before its answer, or after it: a mirror may change their order.
const NEAR: i64 = 1_000_000_000;
/// An answer is looked at so long after it arrived; its question is remembered for longer.
const LATE: Duration = Duration::from_secs(2);
const KEPT: Duration = Duration::from_secs(6);
/// Questions and answers that are remembered.
const MOST: usize = 1024;

/// A question, or the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asks.
    pub asker: MacAddr,
    /// Who answers, which a question by unicast is sent to.
    pub owner: MacAddr,
}

/// What arrived at an interface since the last broadcast.
#[derive(Debug, Default)]
pub struct BroadcastWatch {
    /// Broadcasts so far.
    count: u64,
    /// Questions by unicast, and answers that are not settled yet: with the first heartbeat after them.
    questions: VecDeque<(Asked, UnixTime, Option<Instant>)>,
    answers: VecDeque<(Asked, UnixTime, Option<Instant>)>,
    /// Hosts that were answered and whose question is missing, and since when.
    askers: Vec<MacAddr>,
    since: Option<Instant>,
    state: BroadcastState,
}

impl BroadcastWatch {
    /// From now on; `count`: broadcasts before.
    pub fn new(count: u64) -> BroadcastWatch {
        BroadcastWatch { count, ..BroadcastWatch::default() }
    }

    /// A host asked another one by unicast.
    pub fn question(&mut self, asked: Asked, time: UnixTime) {
        remember(&mut self.questions, (asked, time, None));
    }

    /// A host answered another one.
    pub fn answer(&mut self, asked: Asked, time: UnixTime) {
        if !self.answers.iter().any(|(known, ..)| *known == asked) {
            remember(&mut self.answers, (asked, time, None));
        }
    }

    /// Whether a broadcast arrived since the last heartbeat.
    pub fn has_more(&self, count: u64) -> bool {
        count > self.count
    }

    /// The state, at each heartbeat. `count`: broadcasts so far; `is_captured`: frames can arrive now.
    pub fn observe(&mut self, count: u64, is_captured: bool, now: Instant) -> BroadcastState {
        if self.has_more(count) {
            self.state = BroadcastState::Arriving;
        }
        // Fewer: the file of the ring was truncated. Full: a question may have been forgotten.
        let is_full = self.questions.len() >= MOST || self.answers.len() >= MOST;
        if count != self.count || !is_captured || is_full {
            self.count = count;
            self.forget();
            return self.state;
        }
        for (.., at) in &mut self.answers {
            at.get_or_insert(now);
        }
        while let Some((asked, time, Some(at))) = self.answers.front() {
            if now.saturating_duration_since(*at) < LATE {
                break;
            }
            let (asked, time) = (*asked, *time);
            self.answers.pop_front();
            let is_near = |other: UnixTime| {
                other.as_nanos().saturating_sub(time.as_nanos()).saturating_abs() <= NEAR
            };
            if !self.questions.iter().any(|(known, at, _)| *known == asked && is_near(*at)) {
                self.is_missing(asked.asker, now);
            }
        }
        self.questions
            .retain_mut(|(.., at)| now.saturating_duration_since(*at.get_or_insert(now)) < KEPT);
        self.state
    }

    /// The question of a host that was answered did not arrive.
    fn is_missing(&mut self, asker: MacAddr, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if self.askers.len() < ASKERS && !self.askers.contains(&asker) {
            self.askers.push(asker);
        }
        if self.askers.len() == ASKERS && now.saturating_duration_since(since) >= SPAN {
            self.state = BroadcastState::Missing;
        }
    }

    fn forget(&mut self) {
        self.questions.clear();
        self.answers.clear();
        self.askers.clear();
        self.since = None;
    }
}

/// Adds one, if there is room.
fn remember<T>(list: &mut VecDeque<T>, one: T) {
    if list.len() < MOST {
        list.push_back(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BroadcastState::*;

    /// An interface whose clock is in seconds.
    struct Port(BroadcastWatch, Instant, u64);

    /// What arrives: a question and its answer, each of a host to another one.
    #[derive(Clone, Copy)]
    enum Seen {
        Question(u8, u8),
        Answer(u8, u8),
    }
    use Seen::*;

    impl Port {
        fn new() -> Port {
            Port(BroadcastWatch::new(7), Instant::now(), 0)
        }

        fn see(&mut self, seen: Seen) {
            let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
            let time = UnixTime::new(self.2 as i64, 0);
            match seen {
                Question(asker, owner) => {
                    self.0.question(Asked { asker: mac(asker), owner: mac(owner) }, time);
                }
                Answer(owner, asker) => {
                    self.0.answer(Asked { asker: mac(asker), owner: mac(owner) }, time);
                }
            }
        }

        fn pass(&mut self, seconds: u64, count: u64, is_captured: bool) -> BroadcastState {
            self.2 += seconds;
            self.0.observe(count, is_captured, self.1 + Duration::from_secs(self.2))
        }

        /// This happens each ten minutes.
        fn hours(&mut self, hours: u64, each: &[Seen]) -> BroadcastState {
            let mut state = self.pass(0, 7, true);
            for _ in 0..hours * 6 {
                each.iter().for_each(|seen| self.see(*seen));
                for seconds in [1, 1, 1, 597] {
                    state = self.pass(seconds, 7, true);
                }
            }
            state
        }
    }

    const MIRROR: [Seen; 3] = [Answer(4, 1), Answer(4, 2), Answer(4, 3)];

    #[test]
    fn answers_without_questions() {
        let mut port = Port::new();
        assert_eq!(port.hours(1, &MIRROR), Unknown, "not for so long");
        assert_eq!(port.hours(1, &MIRROR), Missing);
        assert_eq!(port.pass(1, 8, true), Arriving);
        assert_eq!(port.hours(3, &MIRROR[..2]), Arriving, "two hosts");
    }

    #[test]
    fn no_verdict() {
        assert_eq!(Port::new().hours(99, &[]), Unknown, "nothing arrives: hosts sleep");
        // They ask each other by unicast; a mirror may change the order.
        let pairs = [1, 2, 3].map(|asker| [Question(asker, 4), Answer(4, asker)]);
        assert_eq!(Port::new().hours(99, pairs.as_flattened()), Unknown);
        let turned = [1, 2, 3].map(|asker| [Answer(4, asker), Question(asker, 4)]);
        assert_eq!(Port::new().hours(99, turned.as_flattened()), Unknown);
        // All at once, and then they sleep.
        let mut port = Port::new();
        assert_eq!(port.hours(1, &MIRROR), Unknown);
        assert_eq!(port.hours(99, &[]), Unknown);
        // The question of another one, and one long before.
        let mut port = Port::new();
        let others = [Question(1, 5), Question(2, 5), Question(3, 5)];
        assert_eq!(port.hours(2, &[&others[..], &MIRROR].concat()), Missing);
    }

    /// A broadcast; an interface that is not captured; a ring that was truncated; a flood.
    #[test]
    fn what_begins_again() {
        for (count, is_captured, state) in
            [(8, true, Arriving), (7, false, Unknown), (0, true, Unknown)]
        {
            let mut port = Port::new();
            port.hours(1, &MIRROR);
            assert_eq!(port.pass(1, count, is_captured), state);
            port.0.count = 7;
            assert_eq!(port.hours(1, &MIRROR), state);
            assert_eq!(port.hours(1, &MIRROR), Missing);
        }
        let mut port = Port::new();
        port.hours(1, &MIRROR);
        (0..=255).for_each(|one| (0..9).for_each(|other| port.see(Question(one, other))));
        assert_eq!(port.0.questions.len(), MOST);
        assert_eq!(port.hours(1, &MIRROR), Unknown);
    }
}
