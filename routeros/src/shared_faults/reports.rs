//! When shared faults and their ends are reported, and what the reports say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ALL, Ended, LONGEST_GATHERING, NAMED, OwnFault, Places, QUIET, REPORT_AGAIN, Receivers,
    SharedCause, SharedFault, State,
};
use crate::config::{Router, RouterName};

/// The end is reported when no other router was followed again for this time, unless it is over for all.
const QUIET_ENDS: Duration = Duration::from_secs(30);

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
    /// The ends of the first ones, for the text.
    pub ends: Vec<SharedEnd>,
}

/// The end of a fault of a router.
#[derive(Debug, PartialEq, Eq)]
pub struct SharedEnd {
    /// Its name and address.
    pub router: String,
    pub at: Instant,
    pub lasted: Duration,
}

/// All routers.
pub(super) struct Scope<'a> {
    pub places: &'a Places,
    /// Those that are not behind a jump host.
    pub direct: usize,
    /// Those whose jump host fails.
    pub behind: usize,
    /// Those that were unreachable before a restart are all tried.
    pub is_complete: bool,
}

impl State {
    /// The lists of receivers whose routers are to be reported.
    pub(super) fn due(
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

    pub(super) fn set_reported(
        &mut self,
        routers: &[Arc<Router>],
        changed: &mut BTreeSet<RouterName>,
        now: Instant,
    ) {
        if matches!(self.fault.by, SharedCause::Own(own) if own.is_event()) {
            changed.extend(routers.iter().map(|router| router.name.clone()));
            return self.affected.retain(|name, _| routers.iter().all(|one| one.name != *name));
        }
        for router in routers {
            let one = self.affected.get_mut(&router.name);
            one.into_iter().for_each(|one| one.reported(changed, now));
        }
    }

    /// The lists of receivers whose routers are followed again: at once if those are all, or later if some are left. Exports
    /// are an hour apart: so are the reports about their ends.
    pub(super) fn due_ends(
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
        let more = |most| {
            let mut more = Vec::new();
            if is_of_several {
                more.push(format!("Not followed: {}.", names(routers, most)));
            }
            if none_refused {
                more.push("The login was refused by other routers. It is not tried here, because servers lock accounts.".into());
            } else if !refused.is_empty() && refused.len() < routers.len() {
                more.push(format!(
                    "The login was refused by {}. It is not tried on the others, because servers lock accounts.",
                    names(&refused, most)
                ));
            }
            more
        };
        more(ALL).iter().for_each(|more| text += &format!("{more}\n"));
        let line = format!(
            "{subject}: {}",
            [std::slice::from_ref(why), &*more(NAMED)].concat().join("; ")
        );
        let of_each = Vec::new();
        let (is_over, ends) = (false, Vec::new());
        SharedReport { to, subject, text, line, is_of_several, of_each, is_over, ends }
    }

    fn over(&self, to: Option<Vec<String>>, routers: &[Arc<Router>]) -> SharedReport {
        let what = match (&self.fault.by, &*self.fault.subject) {
            (SharedCause::Login(_), "login refused" | "login not tried") => "login accepted again",
            (SharedCause::Jump(_), _) => "jump host works again",
            (SharedCause::Own(OwnFault::ChangedKey), _) => {
                let of = |router: &Arc<Router>| self.ended[&router.name].is_new_key;
                match (routers.iter().any(of), routers.iter().all(of)) {
                    (_, true) => "new host key is in the configuration now",
                    (false, _) => "shows its earlier host key again",
                    (true, false) => "host key as configured again",
                }
            }
            (SharedCause::Own(own), _) => own.over(),
            _ => "followed again",
        };
        let subject = match (&self.fault.by, routers) {
            (SharedCause::Jump(jump), _) => format!("{jump}: {what}"),
            (_, [one]) => format!("{}: {what}", one.name),
            _ => format!("{} routers: {what}", routers.len()),
        };
        let end = |router: &Arc<Router>| {
            let Ended { reported, at, .. } = &self.ended[&router.name];
            let lasted = at.saturating_duration_since(reported.since);
            SharedEnd { router: format!("{} ({})", router.name, router.address), at: *at, lasted }
        };
        let is_of_several = routers.len() > 1;
        let [line, all] = [NAMED, ALL].map(|most| format!("{what}: {}", names(routers, most)));
        let ends = routers.iter().take(NAMED).map(end).collect();
        let (text, of_each) = (format!("{all}\n\n"), Vec::new());
        SharedReport { to, subject, text, line, is_of_several, of_each, is_over: true, ends }
    }
}

/// Each list of receivers with its routers, in the order of the configuration.
pub(super) fn by_receiver<'a>(
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

/// The number of routers, if there are several, and the first names, so many at most.
fn names(routers: &[Arc<Router>], most: usize) -> String {
    let named: Vec<_> = routers.iter().take(most).map(|router| router.name.as_str()).collect();
    let named = named.join(", ");
    match routers.len() {
        0 | 1 => named,
        count if count <= most => format!("{count} routers: {named}"),
        count => format!("{count} routers: {named} and {} more", count - most),
    }
}
