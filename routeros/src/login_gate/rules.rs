//! Which router may log in with a credential now. No I/O and no clock here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use aw_service::Backoff;
use tokio::time::Instant;

use crate::config::RouterName;

/// Logins at the same time, and after so many routers refused it within [`WINDOW`] all wait.
pub const MAX_REFUSED: usize = 3;
/// How long an answer counts.
const WINDOW: Duration = Duration::from_secs(60);
/// The longest pause between tries of one for all.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// The routers with one credential.
#[derive(Default)]
pub struct Rules {
    /// Routers whose last answer was yes. They do not wait: a password that they accepted does not lock an account.
    trusted: BTreeSet<RouterName>,
    /// Routers whose last answer was no. Their next no is no news.
    refused: BTreeSet<RouterName>,
    /// When each had its last turn.
    turns: BTreeMap<RouterName, Instant>,
    /// Those that wait, the one whose turn is longest ago first.
    waiting: BTreeSet<Place>,
    /// Logins of routers that are not trusted.
    running: usize,
    /// Routers that refused it within [`WINDOW`] and not before.
    fresh: BTreeMap<RouterName, Instant>,
    /// Logins that were accepted within [`WINDOW`], since the last refusal, by routers that were not trusted.
    accepted: VecDeque<Instant>,
    /// All wait that are not trusted. One tries for all at this time; `None`: after a reload.
    hold: Option<Option<Instant>>,
    pauses: Option<Backoff>,
    /// What the routers are trusted with.
    secret: u64,
}

/// A place among those that wait.
pub type Place = (Option<Instant>, RouterName);

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Now(Right),
    /// Until a login of another router ended.
    Wait,
    /// Until one router tried for all.
    Held,
}

/// Why a router may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Trusted,
    Turn,
    /// It tries for all.
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Refused,
    /// The login was tried.
    Nothing,
    NotTried,
}

impl Rules {
    /// Whether a router may log in now, which is counted as running then.
    pub fn begin(&mut self, router: &RouterName, now: Instant) -> Step {
        if self.trusted.contains(router) {
            return Step::Now(Right::Trusted);
        }
        self.fresh.retain(|_, since| *since + WINDOW > now);
        while self.accepted.front().is_some_and(|since| *since + WINDOW <= now) {
            self.accepted.pop_front();
        }
        let is_first = self.waiting.first().is_none_or(|(_, first)| first == router);
        let right = match self.hold {
            Some(until) => {
                let is_due = until.is_some_and(|until| until <= now);
                if !is_due || !is_first || self.running > 0 {
                    return Step::Held;
                }
                Right::Probe
            }
            None => {
                let most = MAX_REFUSED + self.accepted.len();
                if !is_first || self.running + self.fresh.len() >= most {
                    return Step::Wait;
                }
                Right::Turn
            }
        };
        self.running += 1;
        self.turns.insert(router.clone(), now);
        Step::Now(right)
    }

    /// A login ended. `retry` is the first pause between tries for all, or zero if only a reload ends it.
    pub fn end(
        &mut self,
        (router, right): (&RouterName, Right),
        answer: Answer,
        retry: Duration,
        now: Instant,
    ) {
        if right != Right::Trusted {
            self.running = self.running.saturating_sub(1);
        }
        match answer {
            Answer::Accepted => {
                self.refused.remove(router);
                if self.trusted.insert(router.clone()) {
                    self.accepted.push_back(now);
                    (self.hold, self.pauses) = (None, None);
                }
            }
            Answer::Refused => {
                self.trusted.remove(router);
                self.accepted.clear();
                let is_fresh = self.refused.insert(router.clone());
                match self.hold {
                    Some(_) if right == Right::Probe => self.hold(retry, now),
                    Some(_) => {}
                    None if is_fresh => {
                        self.fresh.insert(router.clone(), now);
                        self.fresh.retain(|_, since| *since + WINDOW > now);
                        if self.fresh.len() >= MAX_REFUSED {
                            self.hold(retry, now);
                        }
                    }
                    None => {}
                }
            }
            // Its answer may have been too late.
            Answer::Nothing if right == Right::Probe && self.hold.is_some() => {
                self.hold = Some((!retry.is_zero()).then(|| now + retry));
            }
            Answer::Nothing | Answer::NotTried => {}
        }
    }

    fn hold(&mut self, retry: Duration, now: Instant) {
        let first = Backoff::new(retry, LONGEST_HOLD.max(retry));
        let pause = (!retry.is_zero()).then(|| self.pauses.get_or_insert(first).pause());
        self.hold = Some(pause.map(|pause| now + pause));
        self.fresh.clear();
    }

    /// The time of the next try for all, while all wait, unless it runs.
    pub fn held_until(&self) -> Option<Option<Instant>> {
        self.hold.map(|until| until.filter(|_| self.running == 0))
    }

    /// A router waits.
    pub fn queue(&mut self, router: &RouterName) -> Place {
        let place = (self.turns.get(router).copied(), router.clone());
        self.waiting.insert(place.clone());
        place
    }

    pub fn leave(&mut self, place: &Place) {
        self.waiting.remove(place);
    }

    pub fn refused(&self) -> impl Iterator<Item = &RouterName> {
        self.refused.iter()
    }

    /// The routers log in with this from now on. They have not accepted another one.
    pub fn set_secret(&mut self, secret: u64) {
        if std::mem::replace(&mut self.secret, secret) != secret {
            self.trusted.clear();
        }
    }

    /// All try again. Returns false if none of these routers is known here.
    pub fn reload(&mut self, configured: &BTreeSet<&RouterName>) -> bool {
        self.refused.clear();
        self.fresh.clear();
        self.accepted.clear();
        (self.hold, self.pauses) = (None, None);
        self.trusted.retain(|name| configured.contains(name));
        self.turns.retain(|name, _| configured.contains(name));
        !self.trusted.is_empty() || !self.turns.is_empty()
    }
}
