//! Faults of routers that are mailed, and their ends. If several routers share a cause, such as a wrong password or a jump
//! host that is down, it is one condition for all of them, and a few mails about it. Faults of each router itself are gathered
//! too: all of them at once are one outage. What was mailed is stored, so that a restart mails its end. No I/O and no clock here.

mod own;
mod stored;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use aw_service::TimeSpan;
use serde::{Deserialize, Serialize};

pub use self::{
    own::OwnFault,
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
/// The end is reported when no other router was followed again for this time, unless it is over for all.
const QUIET_ENDS: Duration = Duration::from_secs(30);
/// Of a fault of a router itself, so many causes are reported until its end; of further ones, one a day.
const MAX_KEYS: usize = 8;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Routers that a report names.
const NAMED: usize = 10;

/// What routers share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedCause {
    /// Their login.
    Login(Credential),
    Jump(RouterName),
    /// What the sandbox does not allow before a restart.
    Restart(String),
    /// None: each has its own, of this kind. Many that begin together are one outage.
    Own(OwnFault),
}

impl SharedCause {
    /// Whether a router with this cause is not followed. A router has one such cause at a time.
    pub fn is_of_connection(&self) -> bool {
        !matches!(self, SharedCause::Own(own) if !own.is_of_connection())
    }

    pub fn is_own(&self) -> bool {
        matches!(self, SharedCause::Own(_))
    }
}

/// A fault of one router by such a cause.
#[derive(Clone, Debug)]
pub struct SharedFault {
    pub by: SharedCause,
    /// A few words.
    pub subject: Cow<'static, str>,
    /// The cause, for all of the routers.
    pub why: String,
    /// The router refused the login; others do not try it.
    pub is_refused: bool,
    /// When it began; `None`: now.
    pub since: Option<Instant>,
    /// The fault is reported after this time.
    pub after: Duration,
    /// A router that joins later is reported after this time, also if others were a moment ago.
    pub at_the_latest: Duration,
    /// If the router has another one of these, it is reported again.
    pub key: String,
}

impl SharedFault {
    pub fn new(by: SharedCause, subject: &'static str, why: String) -> SharedFault {
        SharedFault {
            by,
            subject: subject.into(),
            why,
            is_refused: false,
            since: None,
            after: Duration::ZERO,
            at_the_latest: REPORT_AGAIN,
            key: String::new(),
        }
    }

    /// A fault of the router itself, which is reported at once.
    pub fn own(own: OwnFault, key: &str, why: String) -> SharedFault {
        let fault = SharedFault::new(SharedCause::Own(own), own.subject(), why);
        let at_the_latest = if own.is_of_connection() { Duration::ZERO } else { REPORT_AGAIN };
        SharedFault { key: key.into(), at_the_latest, ..fault }
    }

    /// A router that is not reached since then, which is reported after this time.
    pub fn unreachable(why: String, since: Instant, after: Duration) -> SharedFault {
        let fault = SharedFault::own(OwnFault::Unreachable, "", why);
        SharedFault { since: Some(since), at_the_latest: after, ..fault }
    }
}

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

/// A mail.
#[derive(Debug, PartialEq, Eq)]
pub struct SharedReport {
    /// The receivers of the routers, if they have their own.
    pub to: Option<Vec<String>>,
    pub subject: String,
    pub text: String,
    /// The same in one line, for the log.
    pub line: String,
    /// It is about several routers, or a jump host: no other message reports it.
    pub is_of_several: bool,
    /// The same for each router, if nothing was logged when it began.
    pub of_each: Vec<(RouterName, String)>,
    /// Routers are followed again.
    pub is_over: bool,
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
}

#[derive(Default)]
pub struct SharedFaults {
    states: BTreeMap<SharedCause, State>,
    /// Routers with a cause, as they are configured.
    members: BTreeMap<SharedCause, usize>,
    /// Their order in the configuration.
    places: Places,
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
    pub fn set_routers(&mut self, routers: &[Router]) {
        self.members.clear();
        let names = routers.iter().map(|router| router.name.clone());
        self.places = names.zip(0..).collect();
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
                    state.ended.insert(name, Ended { router, reported, at: now });
                }
            }
            !state.is_over()
        });
        was_known
    }

    #[cfg(test)]
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

/// All routers.
struct Scope<'a> {
    places: &'a Places,
    /// Those that are not behind a jump host.
    direct: usize,
    /// Those whose jump host fails.
    behind: usize,
    /// Those that were unreachable before a restart are all tried.
    is_complete: bool,
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

    /// The lists of receivers whose routers are to be reported.
    fn due(
        &mut self,
        is_single: bool,
        scope: &Scope,
        changed: &mut BTreeSet<RouterName>,
        now: Instant,
    ) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        if self.affected.values().all(|one| one.is_reported) {
            return reports; // at most calls, and there may be hundreds of routers
        }
        let affected = self.affected.values().map(|one| &one.router);
        for (to, routers) in by_receiver(affected, scope.places) {
            let all = || routers.iter().map(|router| &self.affected[&router.name]);
            let new = || all().filter(|one| !one.is_reported);
            let (Some(first), Some(last)) =
                (new().map(|one| one.since).min(), new().map(|one| one.since).max())
            else {
                continue;
            };
            let further = new().count();
            let is_gathered = is_single || now >= last + QUIET || now >= first + LONGEST_GATHERING;
            let is_late = now >= first + self.fault.after;
            let is_again = self.reported_at.get(&to).is_none_or(|since| {
                now >= *since + REPORT_AGAIN
                    || further >= routers.len() - further
                    || new().any(|one| now >= one.at_the_latest)
            });
            if !is_gathered || !is_late || !is_again {
                continue;
            }
            reports.push(match self.fault.by {
                SharedCause::Own(own) => self.report_own(own, to.clone(), &routers, scope, now),
                _ => self.report(to.clone(), &routers),
            });
            self.reported_at.insert(to, now);
            self.set_reported(&routers, changed, now);
        }
        reports
    }

    fn set_reported(
        &mut self,
        routers: &[Arc<Router>],
        changed: &mut BTreeSet<RouterName>,
        now: Instant,
    ) {
        if matches!(self.fault.by, SharedCause::Own(own) if own.is_event()) {
            return self.affected.retain(|name, _| routers.iter().all(|one| one.name != *name));
        }
        for router in routers {
            let one = self.affected.get_mut(&router.name);
            one.into_iter().for_each(|one| one.reported(changed, now));
        }
    }

    /// The lists of receivers whose routers are followed again: at once if those are all, or later if some are left. Exports
    /// are an hour apart: so are the reports about their ends.
    fn due_ends(
        &mut self,
        places: &Places,
        changed: &mut BTreeSet<RouterName>,
        now: Instant,
    ) -> Vec<SharedReport> {
        let is_of_connection = self.fault.by.is_of_connection();
        let mut reports = Vec::new();
        for (to, routers) in by_receiver(self.ended.values().map(|one| &one.router), places) {
            let left = self.left.values().map(|left| &left.router);
            let mut others = self.affected.values().map(|one| &one.router).chain(left);
            let is_left = others.any(|router| router.mail_to == to);
            let ends = || routers.iter().map(|router| self.ended[&router.name].at);
            let due = match is_of_connection {
                true => ends().max().map(|last| last + QUIET_ENDS),
                false => ends().min().map(|first| first + REPORT_AGAIN),
            };
            if is_left && due.is_some_and(|due| now < due) {
                continue;
            }
            reports.push(self.over(to, &routers));
            for router in &routers {
                self.ended.remove(&router.name);
                changed.insert(router.name.clone());
            }
        }
        reports
    }

    fn report(&self, to: Option<Vec<String>>, routers: &[Arc<Router>]) -> SharedReport {
        let SharedFault { by, subject, why, .. } = &self.fault;
        let has_refused = |router: &&Arc<Router>| self.affected[&router.name].is_refused;
        let refused: Vec<_> = routers.iter().filter(has_refused).cloned().collect();
        let is_of_login = matches!(by, SharedCause::Login(_));
        // Those that refused it may have other receivers.
        let none_refused = is_of_login && refused.is_empty() && self.fault.is_refused;
        let subject = if none_refused { "login not tried" } else { &**subject };
        let subject = match (by, routers) {
            (SharedCause::Jump(jump), _) => format!("{jump}: {subject}"),
            (_, [one]) => format!("{}: {subject}", one.name),
            _ => format!("{} routers: {subject}", routers.len()),
        };
        let mut text = match (by, routers) {
            (SharedCause::Login(_) | SharedCause::Restart(_), [one]) => {
                format!("{} ({})\n\n{why}\n", one.name, one.address)
            }
            (SharedCause::Login(credential), _) => format!("{credential}\n\n{why}\n"),
            _ => format!("{why}\n"),
        };
        let is_of_several = routers.len() > 1 || matches!(by, SharedCause::Jump(_));
        let mut more = Vec::new();
        if is_of_several {
            more.push(format!("Not followed: {}.", names(routers)));
        }
        if none_refused {
            more.push("The login was refused by other routers. It is not tried here, because servers lock accounts.".into());
        } else if !refused.is_empty() && refused.len() < routers.len() {
            more.push(format!(
                "The login was refused by {}. It is not tried on the others, because servers lock accounts.",
                names(&refused)
            ));
        }
        more.iter().for_each(|more| text += &format!("{more}\n"));
        let line =
            format!("{subject}: {}", [std::slice::from_ref(why), &*more].concat().join("; "));
        let of_each = Vec::new();
        SharedReport { to, subject, text, line, is_of_several, of_each, is_over: false }
    }

    fn over(&self, to: Option<Vec<String>>, routers: &[Arc<Router>]) -> SharedReport {
        let what = match (&self.fault.by, &*self.fault.subject) {
            (SharedCause::Login(_), "login refused" | "login not tried") => "login accepted again",
            (SharedCause::Jump(_), _) => "jump host works again",
            (SharedCause::Own(own), _) => own.over(),
            _ => "followed again",
        };
        let subject = match (&self.fault.by, routers) {
            (SharedCause::Jump(jump), _) => format!("{jump}: {what}"),
            (_, [one]) => format!("{}: {what}", one.name),
            _ => format!("{} routers: {what}", routers.len()),
        };
        let lasted = |router: &Arc<Router>| {
            let ended = &self.ended[&router.name];
            let lasted = TimeSpan(ended.at.saturating_duration_since(ended.reported.since));
            format!("{} ({}): after {lasted}\n", router.name, router.address)
        };
        let (line, is_of_several) = (format!("{what}: {}", names(routers)), routers.len() > 1);
        let lines: String = routers.iter().take(NAMED).map(lasted).collect();
        let (text, of_each) = (format!("{line}\n\n{lines}"), Vec::new());
        SharedReport { to, subject, text, line, is_of_several, of_each, is_over: true }
    }
}

/// Each list of receivers with its routers, in the order of the configuration.
fn by_receiver<'a>(
    routers: impl Iterator<Item = &'a Arc<Router>>,
    places: &Places,
) -> BTreeMap<Receivers, Vec<Arc<Router>>> {
    let mut receivers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for router in routers {
        receivers.entry(router.mail_to.clone()).or_default().push(Arc::clone(router));
    }
    receivers
        .values_mut()
        .for_each(|list| list.sort_by_cached_key(|router| places.get(&router.name)));
    receivers
}

/// The number of routers, if there are several, and the first names.
fn names(routers: &[Arc<Router>]) -> String {
    let named: Vec<_> = routers.iter().take(NAMED).map(|router| router.name.as_str()).collect();
    let named = named.join(", ");
    match routers.len() {
        0 | 1 => named,
        count if count <= NAMED => format!("{count} routers: {named}"),
        count => format!("{count} routers: {named} and {} more", count - NAMED),
    }
}

#[cfg(test)]
#[path = "shared_faults/tests.rs"]
mod tests;
