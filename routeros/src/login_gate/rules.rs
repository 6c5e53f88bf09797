//! Which router may log in with a credential now. No I/O and no clock here.

mod lane;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aw_service::Backoff;
use tokio::time::Instant;

use self::lane::Lane;
use crate::config::RouterName;

/// Logins at the same time, and after so many routers refused it within a minute those of their kind wait.
pub const MAX_REFUSED: usize = 3;
/// Routers that are connected to at the same time, so that one of them tries for all.
pub const MAX_CONNECTING: usize = 16;
/// The longest pause between tries of one for all.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// A login without an answer may have been refused too late: this part of the pause after a refusal follows.
const NO_ANSWER: u32 = 3;

/// What is known of a router and the credential. Routers of a kind wait for one that tries for all, if routers of that kind
/// or of one before it refused: none waits because of those that refuse always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its last answer was yes.
    Trusted,
    New,
    /// Its last answer was no.
    Refused,
}

/// The routers with one credential.
#[derive(Default)]
pub struct Rules {
    trusted: BTreeSet<RouterName>,
    /// Their next no is no news.
    refused: BTreeSet<RouterName>,
    /// The same of those that did not answer.
    late: BTreeSet<RouterName>,
    /// Those whose connection ended during their last login.
    cut: BTreeSet<RouterName>,
    /// When each had its last turn.
    turns: BTreeMap<RouterName, Instant>,
    /// Those that wait, the one whose turn is longest ago first: connected ones for their login, others to be connected to.
    queues: [BTreeSet<Place>; 2],
    /// Of routers that are trusted, and of others.
    lanes: [Lane; 2],
    /// Routers that are connected to while they are held.
    connecting: usize,
    hold: Option<Hold>,
    pauses: Option<Backoff>,
    /// The shortest first pause of these routers, without those that wait for a reload.
    retry: Option<Duration>,
    /// What the routers are trusted with.
    secret: u64,
}

/// A place among those that wait.
pub type Place = (Option<Instant>, RouterName);

/// What a router waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    Login,
    Connection,
}

/// All routers of this kind and of those after it wait.
#[derive(Clone, Copy)]
struct Hold {
    kind: Kind,
    /// One tries for all at this time; `None`: after a reload.
    until: Option<Instant>,
}

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
pub struct Right {
    pub kind: Kind,
    /// It tries for all.
    pub is_probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Refused,
    /// There was none in time: a refusal may be under way.
    Late,
    /// The connection ended first.
    Cut,
    NotTried,
}

impl Rules {
    fn kind(&self, router: &RouterName) -> Kind {
        match (self.trusted.contains(router), self.refused.contains(router)) {
            (true, _) => Kind::Trusted,
            (false, false) => Kind::New,
            (false, true) => Kind::Refused,
        }
    }

    fn is_held(&self, kind: Kind) -> bool {
        self.hold.is_some_and(|hold| kind >= hold.kind)
    }

    /// The time of the next try for all while this router waits for it, which may run.
    pub fn held_until(&self, router: &RouterName) -> Option<Option<Instant>> {
        self.hold.filter(|hold| self.kind(router) >= hold.kind).map(|hold| hold.until)
    }

    /// Whether no router of these kinds waits that had its turn longer ago.
    fn is_first(&self, queue: Queue, router: &RouterName, is_of: impl Fn(Kind) -> bool) -> bool {
        let first = self.queues[queue as usize].iter().find(|(_, name)| is_of(self.kind(name)));
        first.is_none_or(|first| *first >= self.place(router))
    }

    fn place(&self, router: &RouterName) -> Place {
        (self.turns.get(router).copied(), router.clone())
    }

    /// Whether a router that is held may be connected to now, so that it may try for all. It keeps its place among those that
    /// wait for their login until [`Rules::connected`]: a fast one that refuses does not take the turn of others.
    pub fn connect(&mut self, router: &RouterName, now: Instant) -> Option<Place> {
        let is_due = self.held_until(router).flatten().is_some_and(|until| until <= now);
        let is_held = |kind| self.is_held(kind);
        let may = is_due
            && self.connecting < MAX_CONNECTING
            && self.is_first(Queue::Connection, router, is_held);
        may.then(|| {
            self.connecting += 1;
            self.queue(Queue::Login, router)
        })
    }

    /// The login has begun or is not to be. A router that was not there has had its turn.
    pub fn connected(&mut self, place: &Place, was_there: bool, now: Instant) {
        self.connecting = self.connecting.saturating_sub(1);
        self.leave(Queue::Login, place);
        if !was_there {
            self.turns.insert(place.1.clone(), now);
        }
    }

    /// Whether a connected router may log in now, which is counted as running then.
    pub fn begin(&mut self, router: &RouterName, now: Instant) -> Step {
        let kind = self.kind(router);
        self.lanes.iter_mut().for_each(|lane| lane.forget_old(now));
        let is_probe = match self.held_until(router) {
            Some(until) => {
                if until.is_none_or(|until| until > now) {
                    return Step::Held;
                }
                let is_held = |kind| self.is_held(kind);
                let first = self.hold.map_or(kind, |hold| hold.kind);
                let is_running = self.lanes[lane(first)..].iter().any(|lane| lane.running > 0);
                if is_running || !self.is_first(Queue::Login, router, is_held) {
                    return Step::Wait;
                }
                true
            }
            None => {
                let is_beside = |other| lane(other) == lane(kind) && !self.is_held(other);
                if !self.is_first(Queue::Login, router, is_beside)
                    || self.lanes[lane(kind)].is_full()
                {
                    return Step::Wait;
                }
                false
            }
        };
        self.lanes[lane(kind)].running += 1;
        self.turns.insert(router.clone(), now);
        Step::Now(Right { kind, is_probe })
    }

    /// A login ended.
    pub fn end(&mut self, (router, right): (&RouterName, Right), answer: Answer, now: Instant) {
        let lane = lane(right.kind);
        self.lanes[lane].running = self.lanes[lane].running.saturating_sub(1);
        match answer {
            Answer::Cut => drop(self.cut.insert(router.clone())),
            _ => drop(self.cut.remove(router)),
        }
        match answer {
            Answer::Accepted => {
                self.refused.remove(router);
                self.late.remove(router);
                self.trusted.insert(router.clone());
                self.lanes[lane].accepted.push_back(now);
                if self.is_held(right.kind) {
                    self.end_hold(now);
                }
            }
            Answer::Refused => {
                self.trusted.remove(router);
                let is_news = self.refused.insert(router.clone());
                if is_news {
                    self.lanes[lane..].iter_mut().for_each(|lane| lane.accepted.clear());
                }
                match self.hold {
                    Some(hold) if right.kind >= hold.kind && right.is_probe => {
                        self.hold(hold.kind, now);
                    }
                    Some(hold) if right.kind >= hold.kind => {}
                    _ if is_news => self.count_refusal(lane, router, now),
                    _ => {}
                }
            }
            Answer::Late | Answer::Cut if right.is_probe => self.hold_on(now),
            Answer::Late => {
                let is_news = self.late.insert(router.clone());
                if is_news && !self.is_held(right.kind) {
                    self.count_refusal(lane, router, now);
                    if self.is_held(right.kind) {
                        self.hold_on(now);
                    }
                }
            }
            Answer::Cut | Answer::NotTried => {}
        }
    }

    /// All that wait do so for a shorter time, because nothing was refused for sure.
    fn hold_on(&mut self, now: Instant) {
        let pause = self.retry.map_or(LONGEST_HOLD, |retry| retry / NO_ANSWER);
        self.hold = self.hold.map(|hold| Hold { until: Some(now + pause), ..hold });
    }

    /// Whether the connection ended during the last login of this router, too: a server may end it in place of a refusal.
    pub fn was_cut(&self, router: &RouterName) -> bool {
        self.cut.contains(router)
    }

    fn count_refusal(&mut self, lane: usize, router: &RouterName, now: Instant) {
        for lane in &mut self.lanes[lane..] {
            lane.forget_old(now);
            lane.refusals.insert(router.clone(), now);
        }
        let many = self.lanes.iter().position(|lane| lane.refusals.len() >= MAX_REFUSED);
        if let Some(lane) = many {
            self.hold([Kind::Trusted, Kind::New][lane], now);
        }
    }

    fn hold(&mut self, kind: Kind, now: Instant) {
        if self.hold.is_some_and(|hold| hold.kind != kind) {
            self.pauses = None;
        }
        let pause = self.retry.map(|retry| {
            let first = Backoff::new(retry, LONGEST_HOLD.max(retry));
            self.pauses.get_or_insert(first).pause()
        });
        self.hold = Some(Hold { kind, until: pause.map(|pause| now + pause) });
        if kind != Kind::Refused {
            self.lanes[lane(kind)..].iter_mut().for_each(|lane| lane.refusals.clear());
        }
    }

    /// One was accepted. Many that refused try one after the other, because their refusals do not count again.
    fn end_hold(&mut self, now: Instant) {
        self.pauses = None;
        let are_many = self.refused.len() > MAX_REFUSED;
        self.hold = are_many.then_some(Hold { kind: Kind::Refused, until: Some(now) });
    }

    /// A router waits.
    pub fn queue(&mut self, queue: Queue, router: &RouterName) -> Place {
        let place = self.place(router);
        self.queues[queue as usize].insert(place.clone());
        place
    }

    pub fn leave(&mut self, queue: Queue, place: &Place) {
        self.queues[queue as usize].remove(place);
    }

    pub fn refused(&self) -> impl Iterator<Item = &RouterName> {
        self.refused.iter()
    }

    pub fn late(&self) -> impl Iterator<Item = &RouterName> {
        self.late.iter()
    }

    /// A router has this first pause after a refusal, or zero if it waits for a reload.
    pub fn set_retry(&mut self, retry: Duration) {
        let retry = Some(retry).filter(|retry| !retry.is_zero());
        self.retry = self.retry.into_iter().chain(retry).min();
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
        self.late.clear();
        self.cut.clear();
        self.lanes.iter_mut().for_each(Lane::reset);
        (self.hold, self.pauses, self.retry) = (None, None, None);
        self.trusted.retain(|name| configured.contains(name));
        self.turns.retain(|name, _| configured.contains(name));
        !self.trusted.is_empty() || !self.turns.is_empty()
    }
}

/// The lane of routers of this kind.
fn lane(kind: Kind) -> usize {
    usize::from(kind != Kind::Trusted)
}
