//! Faults whose cause several routers share, such as a wrong password or a jump host that is down: one condition for all of
//! them, and a few mails about it. No I/O and no clock here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
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
}

impl SharedFault {
    pub fn new(by: SharedCause, subject: &'static str, why: String) -> SharedFault {
        SharedFault { by, subject, why, is_refused: false, after: Duration::ZERO }
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
    /// It is about several routers, or a jump host: no other message reports it.
    pub is_of_several: bool,
}

struct State {
    fault: SharedFault,
    affected: BTreeMap<RouterName, Arc<Router>>,
    refused: BTreeSet<RouterName>,
    reported: BTreeSet<RouterName>,
    /// Routers that were reported and are followed again.
    ended: BTreeMap<RouterName, Arc<Router>>,
    /// When the first and the last router joined that is not reported.
    first: Instant,
    last: Instant,
    reported_at: Option<Instant>,
}

#[derive(Default)]
pub struct SharedFaults {
    states: BTreeMap<SharedCause, State>,
    /// Routers with a cause, as they are configured.
    members: BTreeMap<SharedCause, usize>,
}

impl SharedFaults {
    /// The routers that are followed from now on. Those that are gone do not count.
    pub fn set_routers(&mut self, routers: &[Router]) {
        self.members.clear();
        let configured: BTreeSet<_> = routers.iter().map(|router| &router.name).collect();
        for router in routers {
            let jump = router.jump.as_ref().map(|jump| SharedCause::Jump(jump.name.clone()));
            let login = SharedCause::Login(Credential::of(router));
            for cause in jump.into_iter().chain([login]) {
                *self.members.entry(cause).or_default() += 1;
            }
        }
        self.states.retain(|_, state| {
            let gone: Vec<_> =
                state.affected.keys().filter(|name| !configured.contains(name)).cloned().collect();
            gone.iter().for_each(|name| drop(state.remove(name)));
            !state.affected.is_empty()
        });
    }

    /// A router has this fault.
    pub fn begin(&mut self, router: &Arc<Router>, fault: SharedFault, now: Instant) -> Joined {
        let by = fault.by.clone();
        self.states.retain(|cause, state| {
            // Another cause takes its place: this one is not over.
            *cause == by || state.remove(&router.name).is_none() || !state.affected.is_empty()
        });
        let state = self.states.entry(by).or_insert_with(|| State {
            fault: fault.clone(),
            affected: BTreeMap::new(),
            refused: BTreeSet::new(),
            reported: BTreeSet::new(),
            ended: BTreeMap::new(),
            first: now,
            last: now,
            reported_at: None,
        });
        if fault.is_refused {
            state.refused.insert(router.name.clone());
        }
        if fault.is_refused || state.refused.is_empty() {
            state.fault = fault;
        }
        if state.affected.insert(router.name.clone(), Arc::clone(router)).is_some() {
            return Joined::Known;
        }
        if state.affected.len() == state.reported.len() + 1 {
            state.first = now;
        }
        state.last = now;
        if state.affected.len() == 1 { Joined::First } else { Joined::Further }
    }

    /// A router does not have this kind of fault any more. Returns the reports if it was the last one.
    pub fn end(
        &mut self,
        router: &RouterName,
        is_over: impl Fn(&SharedCause) -> bool,
    ) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        self.states.retain(|cause, state| {
            if !is_over(cause) {
                return true;
            }
            let is_reported = state.reported.contains(router);
            let Some(entry) = state.remove(router) else { return true };
            if is_reported {
                state.ended.insert(router.clone(), entry);
            }
            if state.affected.is_empty() {
                reports.extend(
                    by_receiver(&state.ended).map(|(to, routers)| state.over(to, &routers)),
                );
            }
            !state.affected.is_empty()
        });
        reports
    }

    /// The reports that are due.
    pub fn due(&mut self, now: Instant) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        for (cause, state) in &mut self.states {
            let further = state.affected.len() - state.reported.len();
            let again = |since| now >= since + REPORT_AGAIN || further >= state.reported.len();
            let is_single = self.members.is_empty() || self.members.get(cause) == Some(&1);
            let is_gathered =
                is_single || now >= state.last + QUIET || now >= state.first + LONGEST_GATHERING;
            let is_late = now >= state.first + state.fault.after;
            if further == 0 || !is_gathered || !is_late || !state.reported_at.is_none_or(again) {
                continue;
            }
            let routers = by_receiver(&state.affected);
            let new: Vec<_> = routers
                .filter(|(_, routers)| {
                    routers.iter().any(|one| !state.reported.contains(&one.name))
                })
                .map(|(to, routers)| state.report(to, &routers))
                .collect();
            reports.extend(new);
            state.reported = state.affected.keys().cloned().collect();
            state.reported_at = Some(now);
        }
        reports
    }
}

impl State {
    fn remove(&mut self, router: &RouterName) -> Option<Arc<Router>> {
        self.refused.remove(router);
        self.reported.remove(router);
        self.affected.remove(router)
    }

    fn report(&self, to: Option<Vec<String>>, routers: &[Arc<Router>]) -> SharedReport {
        let SharedFault { by, subject, why, .. } = &self.fault;
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
        if is_of_several {
            text += &format!("Not followed: {}.\n", names(routers));
        }
        let refused: Vec<_> =
            routers.iter().filter(|one| self.refused.contains(&one.name)).cloned().collect();
        if !refused.is_empty() && refused.len() < routers.len() {
            text += &format!(
                "The login was refused by {}. It is not tried on the others, because servers lock accounts.\n",
                names(&refused)
            );
        }
        SharedReport { to, subject, text, is_of_several }
    }

    fn over(&self, to: Option<Vec<String>>, routers: &[Arc<Router>]) -> SharedReport {
        let what = match (&self.fault.by, self.fault.is_refused) {
            (SharedCause::Login(_), true) => "login accepted again",
            (SharedCause::Jump(_), _) => "jump host works again",
            _ => "followed again",
        };
        let subject = match (&self.fault.by, routers) {
            (SharedCause::Jump(jump), _) => format!("{jump}: {what}"),
            (_, [one]) => format!("{}: {what}", one.name),
            _ => format!("{} routers: {what}", routers.len()),
        };
        let (text, is_of_several) = (format!("{what}: {}\n", names(routers)), routers.len() > 1);
        SharedReport { to, subject, text, is_of_several }
    }
}

/// Each list of receivers with its routers.
fn by_receiver(
    routers: &BTreeMap<RouterName, Arc<Router>>,
) -> impl Iterator<Item = (Option<Vec<String>>, Vec<Arc<Router>>)> {
    let mut receivers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for router in routers.values() {
        receivers.entry(router.mail_to.clone()).or_default().push(Arc::clone(router));
    }
    receivers.into_iter()
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
