//! Faults whose cause several routers share, such as a wrong password or a jump host that is down: one condition for all of
//! them, and a few mails about it. Faults of each router itself are gathered too: all of them at once are one outage. No
//! I/O and no clock here.

mod own;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::own::{HOST_KEY_CHANGED, UNREACHABLE};
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
/// Routers that a report names.
const NAMED: usize = 10;

/// What routers share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedCause {
    /// Their login.
    Login(Credential),
    Jump(RouterName),
    /// What the sandbox does not allow before a restart.
    Restart(String),
    /// None: each has its own, of this subject. Many that begin together are one outage.
    Own(&'static str),
}

/// A fault of one router by such a cause.
#[derive(Clone, Debug)]
pub struct SharedFault {
    pub by: SharedCause,
    /// A few words.
    pub subject: &'static str,
    /// The cause, for all of the routers.
    pub why: String,
    /// The router refused the login; others do not try it.
    pub is_refused: bool,
    /// The fault is reported after this time.
    pub after: Duration,
    /// A router that joins later is reported after this time, also if others were a moment ago.
    pub at_the_latest: Duration,
    /// It is to be reported, though the router had this fault before: with another cause of its own.
    pub is_news: bool,
}

impl SharedFault {
    pub fn new(by: SharedCause, subject: &'static str, why: String) -> SharedFault {
        SharedFault {
            by,
            subject,
            why,
            is_refused: false,
            after: Duration::ZERO,
            at_the_latest: REPORT_AGAIN,
            is_news: false,
        }
    }

    /// A fault of the router itself, which is reported after this time.
    pub fn own(subject: &'static str, why: String, after: Duration) -> SharedFault {
        let fault = SharedFault::new(SharedCause::Own(subject), subject, why);
        SharedFault { at_the_latest: after, ..fault }
    }
}

/// What [`SharedFaults::begin`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The first router with this cause.
    First,
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
    /// Routers are followed again.
    pub is_over: bool,
}

struct State {
    fault: SharedFault,
    affected: BTreeMap<RouterName, Affected>,
    /// Routers that were reported and have another cause now: this one is not known to be over.
    left: BTreeMap<RouterName, Arc<Router>>,
    /// Routers that were reported and are followed again, which is not reported.
    ended: BTreeMap<RouterName, Ended>,
    /// When each list of receivers had its last report.
    reported_at: BTreeMap<Receivers, Instant>,
}

type Receivers = Option<Vec<String>>;

struct Affected {
    router: Arc<Router>,
    is_refused: bool,
    is_reported: bool,
    since: Instant,
    /// When it is reported, also if it is one of few further ones.
    at_the_latest: Instant,
    /// The cause, if it is its own.
    why: String,
}

struct Ended {
    router: Arc<Router>,
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
        self.states.retain(|_, state| {
            state.affected.retain(|name, _| self.places.contains_key(name));
            state.left.retain(|name, _| self.places.contains_key(name));
            !state.is_over()
        });
    }

    /// A router has this fault.
    pub fn begin(&mut self, router: &Arc<Router>, fault: SharedFault, now: Instant) -> Joined {
        let by = fault.by.clone();
        self.states.retain(|cause, state| {
            // Another cause takes its place: this one is not over.
            if *cause != by
                && let Some(one) = state.affected.remove(&router.name)
                && one.is_reported
            {
                state.left.insert(router.name.clone(), one.router);
            }
            !state.is_over()
        });
        let state = self.states.entry(by).or_insert_with(|| State {
            fault: fault.clone(),
            affected: BTreeMap::new(),
            left: BTreeMap::new(),
            ended: BTreeMap::new(),
            reported_at: BTreeMap::new(),
        });
        let ended = state.ended.remove(&router.name);
        let is_own = matches!(fault.by, SharedCause::Own(_));
        let (is_refused, is_news) = (fault.is_refused, fault.is_news);
        let why = if is_own { fault.why.clone() } else { String::new() };
        let at_the_latest = now + fault.at_the_latest;
        if is_refused || !state.affected.values().any(|one| one.is_refused) {
            state.fault = fault;
        }
        if let Some(known) = state.affected.get_mut(&router.name) {
            known.is_refused |= is_refused;
            known.why = why;
            if is_news {
                known.is_reported = false;
                (known.since, known.at_the_latest) = (now, at_the_latest);
            }
            return Joined::Known;
        }
        let is_reported = state.left.remove(&router.name).is_some();
        let router_now = Affected {
            router: Arc::clone(router),
            is_refused,
            // Its end was not reported.
            is_reported: is_reported || is_own && ended.is_some() && !is_news,
            since: now,
            at_the_latest,
            why,
        };
        state.affected.insert(router.name.clone(), router_now);
        match state.affected.len() {
            _ if is_reported => Joined::Known,
            1 => Joined::First,
            _ => Joined::Further,
        }
    }

    /// A router does not have this kind of fault any more.
    pub fn end(
        &mut self,
        router: &RouterName,
        is_over: impl Fn(&SharedCause) -> bool,
        now: Instant,
    ) {
        self.states.retain(|cause, state| {
            if is_over(cause) {
                let left = state.left.remove(router);
                let reported = state.affected.remove(router).filter(|one| one.is_reported);
                if let Some(router) = reported.map(|one| one.router).or(left) {
                    state.ended.insert(router.name.clone(), Ended { router, at: now });
                }
            }
            !state.is_over()
        });
    }

    /// The reports that are due.
    pub fn due(&mut self, now: Instant) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        for (cause, state) in &mut self.states {
            let is_single = self.members.is_empty() || self.members.get(cause) == Some(&1);
            reports.extend(match cause {
                SharedCause::Own(_) => state.due_own(self.direct, &self.places, now),
                _ => state.due(is_single, &self.places, now),
            });
            reports.extend(state.due_ends(&self.places, now));
        }
        self.states.retain(|_, state| !state.is_over());
        reports
    }
}

impl State {
    /// Nothing is left to report.
    fn is_over(&self) -> bool {
        self.affected.is_empty() && self.left.is_empty() && self.ended.is_empty()
    }

    /// The lists of receivers whose routers are to be reported.
    fn due(&mut self, is_single: bool, places: &Places, now: Instant) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        for (to, routers) in by_receiver(self.affected.values().map(|one| &one.router), places) {
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
            reports.push(self.report(to.clone(), &routers));
            self.reported_at.insert(to, now);
            for router in &routers {
                let one = self.affected.get_mut(&router.name);
                one.into_iter().for_each(|one| one.is_reported = true);
            }
        }
        reports
    }

    /// The lists of receivers whose routers are followed again: at once if those are all, or later if some are left.
    fn due_ends(&mut self, places: &Places, now: Instant) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        for (to, routers) in by_receiver(self.ended.values().map(|one| &one.router), places) {
            let mut others =
                self.affected.values().map(|one| &one.router).chain(self.left.values());
            let is_left = others.any(|router| router.mail_to == to);
            let last = routers.iter().map(|router| self.ended[&router.name].at).max();
            if is_left && last.is_some_and(|last| now < last + QUIET_ENDS) {
                continue;
            }
            reports.push(self.over(to, &routers));
            routers.iter().for_each(|router| drop(self.ended.remove(&router.name)));
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
        let subject = if none_refused { "login not tried" } else { subject };
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
        let line = format!("{subject}: {}", [&[why.clone()], &*more].concat().join("; "));
        SharedReport { to, subject, text, line, is_of_several, is_over: false }
    }

    fn over(&self, to: Option<Vec<String>>, routers: &[Arc<Router>]) -> SharedReport {
        let what = match (&self.fault.by, self.fault.subject) {
            (SharedCause::Login(_), "login refused" | "login not tried") => "login accepted again",
            (SharedCause::Jump(_), _) => "jump host works again",
            (SharedCause::Own(subject), _) => own::over(subject),
            _ => "followed again",
        };
        let subject = match (&self.fault.by, routers) {
            (SharedCause::Jump(jump), _) => format!("{jump}: {what}"),
            (_, [one]) => format!("{}: {what}", one.name),
            _ => format!("{} routers: {what}", routers.len()),
        };
        let (line, is_of_several) = (format!("{what}: {}", names(routers)), routers.len() > 1);
        SharedReport { to, subject, text: format!("{line}\n"), line, is_of_several, is_over: true }
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
