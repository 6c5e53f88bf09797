//! Faults of routers that are mailed, and their ends. If several routers share a cause, such as a wrong password or a jump
//! host that is down, it is one condition for all of them, and a few mails about it. Faults of each router itself are gathered
//! too: all of them at once are one outage. What was mailed is stored, so that a restart mails its end. No I/O and no clock here.

mod fault;
mod own;
mod reports;
mod stored;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use self::reports::Scope;
pub use self::{
    fault::{SharedCause, SharedFault},
    own::OwnFault,
    reports::{SharedEnd, SharedReport},
    stored::{Now, ReportedFault, read_reported},
};
use crate::{
    config::{Router, RouterName},
    login_gate::Credential,
};

/// A report waits until no router joined for this time, so that it names those that fail together,
const QUIET: Duration = Duration::from_secs(5);
/// and at most this long.
const LONGEST_GATHERING: Duration = Duration::from_secs(60);
/// Further routers are reported after this time, or at once if they are as many as those that were reported.
const REPORT_AGAIN: Duration = Duration::from_secs(3600);
/// Of a fault of a router itself, so many causes are reported until its end; of further ones, one a day.
const MAX_KEYS: usize = 8;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Routers that a line of the log names, and of which a mail has the reason or the end.
const NAMED: usize = 10;
/// Routers that a mail names: who gets it may have nothing else.
const ALL: usize = 1000;

/// What [`SharedFaults::begin`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The first router with this cause.
    First,
    /// Another router, or another key of a router.
    Further,
    /// It had this fault before.
    Known,
}

struct State {
    fault: SharedFault,
    affected: BTreeMap<RouterName, Affected>,
    /// Routers that were reported and have another cause now, or are not tried yet after a restart: this one is not known to
    /// be over.
    left: BTreeMap<RouterName, Left>,
    /// Routers that were reported and are followed again, which is not reported.
    ended: BTreeMap<RouterName, Ended>,
    /// When each list of receivers had its last report.
    reported_at: BTreeMap<Receivers, Instant>,
}

type Receivers = Option<Vec<String>>;

struct Affected {
    router: Arc<Router>,
    is_refused: bool,
    /// There is nothing to report.
    is_reported: bool,
    /// What was reported.
    reported: Option<Reported>,
    since: Instant,
    /// When it is reported, also if it is one of few further ones.
    at_the_latest: Instant,
    subject: Cow<'static, str>,
    /// The cause, if it is its own.
    why: String,
    key: String,
}

/// What was reported of a router by one cause.
struct Reported {
    keys: BTreeSet<String>,
    /// When the fault began.
    since: Instant,
    /// The last time.
    at: Instant,
}

struct Left {
    router: Arc<Router>,
    reported: Reported,
}

struct Ended {
    router: Arc<Router>,
    reported: Reported,
    at: Instant,
    /// Of a changed host key: the new one is in the configuration now.
    is_new_key: bool,
}

#[derive(Default)]
pub struct SharedFaults {
    states: BTreeMap<SharedCause, State>,
    /// Routers with a cause, as they are configured.
    members: BTreeMap<SharedCause, usize>,
    /// Their order in the configuration.
    places: Places,
    /// Their host keys in the configuration.
    host_keys: BTreeMap<RouterName, Vec<String>>,
    /// Those that are not behind a jump host.
    direct: usize,
    /// Those of which other faults are reported now than are stored.
    changed: BTreeSet<RouterName>,
    /// Those that were unreachable before a restart and are not tried yet.
    expected: BTreeSet<RouterName>,
}

type Places = BTreeMap<RouterName, usize>;

impl SharedFaults {
    /// The routers that are followed from now on. Those that are gone do not count.
    pub fn set_routers(&mut self, routers: &[Router], now: Instant) {
        self.set_addresses(routers, now);
        self.members.clear();
        let names = routers.iter().map(|router| router.name.clone());
        self.places = names.zip(0..).collect();
        let keys = |router: &Router| {
            router.host_key.0.iter().map(|key| key.fingerprint.to_string()).collect()
        };
        self.host_keys = routers.iter().map(|router| (router.name.clone(), keys(router))).collect();
        self.direct = routers.iter().filter(|router| router.jump.is_none()).count();
        for router in routers {
            let jump = router.jump.as_ref().map(|jump| SharedCause::Jump(jump.name.clone()));
            let login = SharedCause::Login(Credential::of(router));
            for cause in jump.into_iter().chain([login]) {
                *self.members.entry(cause).or_default() += 1;
            }
        }
        for state in self.states.values_mut() {
            let names = state.affected.keys().chain(state.left.keys()).chain(state.ended.keys());
            let gone = names.filter(|name| !self.places.contains_key(*name));
            self.changed.extend(gone.cloned());
            state.affected.retain(|name, _| self.places.contains_key(name));
            state.left.retain(|name, _| self.places.contains_key(name));
        }
        self.states.retain(|_, state| !state.is_over());
        self.expected.retain(|name| self.places.contains_key(name));
    }

    /// A fault of a router that has another address now is another one.
    fn set_addresses(&mut self, routers: &[Router], now: Instant) {
        for (_, state) in self.states.iter_mut().filter(|(cause, _)| cause.is_of_address()) {
            for router in routers {
                let is_other = |one: &mut Affected| one.router.address != router.address;
                let moved = state
                    .affected
                    .extract_if(router.name.clone()..=router.name.clone(), |_, one| is_other(one))
                    .next();
                let Some((name, one)) = moved else { continue };
                let Some(reported) = one.reported else { continue };
                // The receivers of the fault get its end.
                let address = router.address.clone();
                let router = Arc::new(Router { address, ..(*one.router).clone() });
                self.changed.insert(name.clone());
                let reported = Reported { since: now, ..reported };
                state.left.insert(name, Left { router, reported });
            }
        }
    }

    /// A router was unreachable before a restart. Others that were so are reported together with it.
    pub fn expect_unreachable(&mut self, router: &RouterName) {
        let state = self.states.get(&SharedCause::Own(OwnFault::Unreachable));
        if !state.is_some_and(|state| state.affected.contains_key(router)) {
            self.expected.insert(router.clone());
        }
    }

    /// A router has this fault.
    pub fn begin(&mut self, router: &Arc<Router>, fault: SharedFault, now: Instant) -> Joined {
        let (by, name) = (fault.by.clone(), &router.name);
        self.states.retain(|cause, state| {
            // Another cause takes its place: this one is not over.
            if *cause != by
                && cause.is_of_connection()
                && by.is_of_connection()
                && let Some(Affected { router, reported: Some(reported), .. }) =
                    state.affected.remove(name)
            {
                state.left.insert(name.clone(), Left { router, reported });
            }
            !state.is_over()
        });
        let state = self.states.entry(by).or_insert_with(|| State::new(fault.clone()));
        let since = fault.since.unwrap_or(now);
        let was_expected = fault.by.is_of_connection() && self.expected.remove(name);
        // Its time may be over: the others are tried at about the same time.
        let earliest = if was_expected { now + QUIET } else { since };
        let mut one = Affected {
            router: Arc::clone(router),
            is_refused: fault.is_refused,
            is_reported: false,
            reported: None,
            since,
            at_the_latest: (since + fault.at_the_latest).max(earliest),
            subject: fault.subject.clone(),
            why: if fault.by.is_own() { fault.why.clone() } else { String::new() },
            key: fault.key.clone(),
        };
        let ended = state.ended.remove(name);
        self.changed.extend(ended.is_some().then(|| name.clone()));
        // The end of one that is its own was not reported.
        let ended = ended.filter(|_| fault.by.is_own());
        let earlier = state.left.remove(name).map(|left| left.reported);
        one.reported = earlier.or(ended.map(|ended| ended.reported));
        if fault.is_refused || !state.affected.values().any(|one| one.is_refused) {
            state.fault = fault;
        }
        let known = state.affected.remove(name);
        let is_known = one.reported.as_ref().is_some_and(|known| !known.is_news(&one.key, now));
        let joined = match known {
            Some(known) => one.continues(known, now),
            None if is_known => {
                one.is_reported = true;
                Joined::Known
            }
            None if state.affected.is_empty() => Joined::First,
            None => Joined::Further,
        };
        state.affected.insert(name.clone(), one);
        joined
    }

    /// A router does not have this kind of fault any more. Returns whether it was reported, or logged.
    pub fn end(
        &mut self,
        router: &RouterName,
        is_over: impl Fn(&SharedCause) -> bool,
        now: Instant,
    ) -> bool {
        let mut was_known = false;
        let host_keys = self.host_keys.get(router).cloned().unwrap_or_default();
        if is_over(&SharedCause::Own(OwnFault::Unreachable)) {
            self.expected.remove(router);
        }
        self.states.retain(|cause, state| {
            if is_over(cause) {
                let (left, affected) = (state.left.remove(router), state.affected.remove(router));
                let is_logged = |_: &Affected| *cause != SharedCause::Own(OwnFault::Unreachable);
                was_known |= left.is_some() || affected.as_ref().is_some_and(is_logged);
                let affected = affected
                    .and_then(|one| Some(Left { router: one.router, reported: one.reported? }));
                if let Some(Left { router, reported }) = affected.or(left) {
                    was_known = true;
                    let name = router.name.clone();
                    let is_new_key = *cause == SharedCause::Own(OwnFault::ChangedKey)
                        && reported.keys.iter().any(|key| shown_one(key, &host_keys));
                    state.ended.insert(name, Ended { router, reported, at: now, is_new_key });
                }
            }
            !state.is_over()
        });
        was_known
    }

    pub fn has(&self, router: &RouterName, by: &SharedCause) -> bool {
        self.states.get(by).is_some_and(|state| state.affected.contains_key(router))
    }

    /// The reports that are due.
    pub fn due(&mut self, now: Instant) -> Vec<SharedReport> {
        self.reports(now, false)
    }

    /// The same at the end of the process, which will not find again what waits for others.
    pub fn due_at_the_end(&mut self, now: Instant) -> Vec<SharedReport> {
        self.reports(now, true)
    }

    fn reports(&mut self, now: Instant, is_end: bool) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        let is_jump = |cause: &SharedCause| matches!(cause, SharedCause::Jump(_));
        let jumps = self.states.iter().filter(|(cause, _)| is_jump(cause));
        let behind = jumps.map(|(_, state)| state.affected.len()).sum();
        let is_complete = self.expected.is_empty();
        let scope = Scope { places: &self.places, direct: self.direct, behind, is_complete };
        for (cause, state) in &mut self.states {
            let is_single = match cause {
                SharedCause::Own(_) => is_end || self.places.len() <= 1,
                _ => self.members.is_empty() || self.members.get(cause) == Some(&1),
            };
            let changed = &mut self.changed;
            reports.extend(match cause {
                SharedCause::Own(own) if own.is_of_connection() => {
                    state.due_own(*own, &scope, changed, now)
                }
                _ => state.due(is_single, &scope, changed, now),
            });
            reports.extend(state.due_ends(&self.places, changed, now));
        }
        self.states.retain(|_, state| !state.is_over());
        reports
    }
}

/// Whether the key that the router showed, of a text `expected OLD, got NEW (...)`, is one of these.
fn shown_one(text: &str, host_keys: &[String]) -> bool {
    let shown = text.rsplit_once(", got ").map_or("", |(_, shown)| shown);
    host_keys.iter().any(|key| shown.contains(key.as_str()))
}

impl Affected {
    /// The router has the fault still. Another key is news.
    fn continues(&mut self, known: Affected, now: Instant) -> Joined {
        let is_other = self.key != known.key;
        self.is_refused |= known.is_refused;
        self.is_reported = known.is_reported;
        self.reported = known.reported;
        if is_other && self.reported.as_ref().is_some_and(|known| known.is_news(&self.key, now)) {
            self.is_reported = false;
            return Joined::Further;
        }
        (self.since, self.at_the_latest) = (known.since, known.at_the_latest);
        if self.is_reported {
            self.router = known.router; // the receivers of the fault get its end
        }
        match is_other && self.reported.is_none() {
            true => Joined::Further,
            false => Joined::Known,
        }
    }

    /// It is reported.
    fn reported(&mut self, changed: &mut BTreeSet<RouterName>, now: Instant) {
        self.is_reported = true;
        let empty = || Reported { keys: BTreeSet::new(), since: self.since, at: now };
        let reported = self.reported.get_or_insert_with(empty);
        if reported.keys.len() < MAX_KEYS {
            reported.keys.insert(self.key.clone());
        }
        reported.at = now;
        changed.insert(self.router.name.clone());
    }
}

impl Reported {
    fn is_news(&self, key: &str, now: Instant) -> bool {
        !self.keys.contains(key) && (self.keys.len() < MAX_KEYS || now >= self.at + DAY)
    }
}

impl State {
    fn new(fault: SharedFault) -> State {
        State {
            fault,
            affected: BTreeMap::new(),
            left: BTreeMap::new(),
            ended: BTreeMap::new(),
            reported_at: BTreeMap::new(),
        }
    }

    /// Nothing is left to report.
    fn is_over(&self) -> bool {
        self.affected.is_empty() && self.left.is_empty() && self.ended.is_empty()
    }
}

#[cfg(test)]
#[path = "shared_faults/tests.rs"]
mod tests;
