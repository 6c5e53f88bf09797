//! Faults of each router itself, such as one that is switched off. Those of the connection are reported in time, and those that
//! began together in one report. If they are all, this machine or its uplink is the likely cause.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use aw_service::TimeSpan;
use serde::{Deserialize, Serialize};

use super::{
    ALL, Affected, LONGEST_GATHERING, NAMED, QUIET, Receivers, Scope, SharedReport, State,
    reports::by_receiver,
};
use crate::{
    config::{Router, RouterName},
    reload::some_of,
};

/// Routers that are lost one after the other are one outage if there is no longer time between them: a connection that is cut
/// silently is noticed by its next keepalive.
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnFault {
    Unreachable,
    ChangedKey,
    UnknownKey,
    Algorithms,
    Local,
    /// The router is followed, but its exports are not recorded,
    Exports,
    /// or not all sections of them.
    Sections,
    /// Its first configuration may be incomplete.
    Unconfirmed,
    /// What the archive has of it was damaged. Another copy has taken its place: this has no end.
    Archive,
    /// Exports with secrets are not stored.
    Encryption,
    /// Its log shows no changes.
    Log,
    Backups,
    /// One is still on the router.
    BackupLeft,
}

impl OwnFault {
    /// Whether a router with this fault is not followed.
    pub fn is_of_connection(self) -> bool {
        matches!(
            self,
            OwnFault::Unreachable
                | OwnFault::ChangedKey
                | OwnFault::UnknownKey
                | OwnFault::Algorithms
                | OwnFault::Local
        )
    }

    /// It is over when it is reported.
    pub(super) fn is_event(self) -> bool {
        self == OwnFault::Archive
    }

    pub fn subject(self) -> &'static str {
        match self {
            OwnFault::Unreachable => "unreachable",
            OwnFault::ChangedKey => "HOST KEY CHANGED",
            OwnFault::UnknownKey => "host key unknown",
            OwnFault::Algorithms => "no common algorithm",
            OwnFault::Local => "not followed",
            OwnFault::Exports => "exports fail",
            OwnFault::Sections => "incomplete export",
            OwnFault::Unconfirmed => "configuration not confirmed",
            OwnFault::Archive => "archive damaged",
            OwnFault::Encryption => "encrypted export not stored",
            OwnFault::Log => "its log shows no changes",
            OwnFault::Backups => "no backup",
            OwnFault::BackupLeft => "backup not removed",
        }
    }

    /// The end of such a fault.
    pub(super) fn over(self) -> &'static str {
        match self {
            OwnFault::Unreachable => "connected again",
            OwnFault::ChangedKey => "host key as configured again",
            OwnFault::UnknownKey | OwnFault::Algorithms | OwnFault::Local => "followed again",
            OwnFault::Exports => "exports are recorded again",
            OwnFault::Sections => "export complete again",
            OwnFault::Unconfirmed => "configuration confirmed",
            OwnFault::Archive => "archive replaced",
            OwnFault::Encryption => "exports are encrypted again",
            OwnFault::Log => "its log shows changes again",
            OwnFault::Backups => "backups are complete again",
            OwnFault::BackupLeft => "backup removed",
        }
    }

    /// What it means that all routers have the fault.
    fn all(self) -> &'static str {
        match self {
            OwnFault::Unreachable => {
                "no router can be reached: the network of this machine or its uplink may have failed (ip address; ip route; ping)"
            }
            OwnFault::Archive | OwnFault::Encryption => {
                "all routers are affected: the disk of the archive may be full, or fail (df; dmesg)"
            }
            _ => {
                "all routers are affected: the cause may be what they share, such as the way to them"
            }
        }
    }
}

impl Affected {
    /// Long enough to be reported with others whose time is over.
    fn is_ready(&self, now: Instant) -> bool {
        now >= self.since + ((self.at_the_latest - self.since) / 2).max(QUIET)
    }

    fn reason(&self, own: OwnFault, now: Instant) -> String {
        match own {
            OwnFault::Unreachable => {
                format!("unreachable for {}: {}", TimeSpan(now - self.since), self.why)
            }
            _ => self.why.clone(),
        }
    }
}

impl State {
    /// The reports of each list of receivers about faults of the connection.
    pub(super) fn due_own(
        &mut self,
        own: OwnFault,
        scope: &Scope,
        changed: &mut BTreeSet<RouterName>,
        now: Instant,
    ) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        let is_due = |one: &Affected| !one.is_reported && now >= one.at_the_latest;
        if !self.affected.values().any(is_due) {
            return reports; // at most calls, and there may be hundreds of routers
        }
        let affected = self.affected.values().map(|one| &one.router);
        for (to, mut routers) in by_receiver(affected, scope.places) {
            routers.retain(|router| !self.affected[&router.name].is_reported);
            let ones = || routers.iter().map(|router| &self.affected[&router.name]);
            let Some(first) = ones().filter(|one| is_due(one)).map(|one| one.at_the_latest).min()
            else {
                continue;
            };
            let is_gathered = scope.places.len() <= 1
                || now >= first + LONGEST_GATHERING
                || (scope.is_complete || own != OwnFault::Unreachable)
                    && outage(ones().collect(), now).iter().all(|one| one.is_ready(now));
            if !is_gathered {
                continue;
            }
            routers.retain(|router| {
                let one = &self.affected[&router.name];
                is_due(one) || one.is_ready(now)
            });
            reports.push(self.report_own(own, to, &routers, scope, now));
            self.set_reported(&routers, changed, now);
        }
        reports
    }

    /// A report about these routers, each with its reason.
    pub(super) fn report_own(
        &self,
        own: OwnFault,
        to: Receivers,
        routers: &[Arc<Router>],
        scope: &Scope,
        now: Instant,
    ) -> SharedReport {
        let ones = || routers.iter().map(|router| &self.affected[&router.name]);
        let mut subjects = ones().map(|one| &*one.subject);
        let first = subjects.next().unwrap_or_default();
        let subject = if subjects.all(|other| other == first) { first } else { own.subject() };
        let (is_all, count) = (self.is_all(own, scope), routers.len());
        let all = scope.places.len();
        let has_all = is_all && self.affected.len() == all;
        let subject = match routers {
            [one] => format!("{}: {subject}", one.name),
            // Some of them may have other receivers.
            _ if has_all && (count == all || !self.is_reported_to(&to)) => {
                format!("all {all} routers: {subject}")
            }
            _ if has_all => format!("{count} more routers, now all {all}: {subject}"),
            _ => format!("{count} routers: {subject}"),
        };
        let reason = |one: &Affected| one.reason(own, now);
        let mut text = match routers {
            [one] => {
                let all = if is_all { format!("\n{}\n", own.all()) } else { String::new() };
                let reason = reason(&self.affected[&one.name]);
                format!("{} ({})\n\n{reason}\n{all}", one.name, one.address)
            }
            // What matters most comes first.
            _ if has_all && count < all && !self.is_reported_to(&to) => {
                format!("{}\n\n{count} of the {all} routers are reported to you:\n\n", own.all())
            }
            _ if is_all => format!("{}\n\nat the same time:\n\n", own.all()),
            _ => "at the same time:\n\n".into(),
        };
        if count > 1 {
            for one in ones().take(NAMED) {
                text += &format!("{} ({}): {}\n", one.router.name, one.router.address, reason(one));
            }
        }
        if count > NAMED {
            let more: Vec<_> = routers[NAMED..].iter().map(|router| &router.name).collect();
            text += &format!(
                "and {} more (aw-routeros show has their reasons): {}\n",
                count - NAMED,
                some_of(&more, ALL)
            );
        }
        let mut line = subject.clone();
        if is_all {
            line += &format!(": {}", own.all());
        }
        let is_logged = own != OwnFault::Unreachable;
        let of_each =
            ones().filter(|_| !is_logged).map(|one| (one.router.name.clone(), reason(one)));
        SharedReport {
            to,
            subject,
            text,
            line,
            is_of_several: count > 1,
            of_each: of_each.collect(),
            is_over: false,
            ends: Vec::new(),
        }
    }

    /// Whether another report was sent to these receivers before.
    fn is_reported_to(&self, to: &Receivers) -> bool {
        self.affected.values().any(|one| one.is_reported && one.router.mail_to == *to)
    }

    /// Whether all routers have this fault. A router behind a jump host that is not reached shows that this machine reaches the
    /// jump host.
    fn is_all(&self, own: OwnFault, scope: &Scope) -> bool {
        let (affected, all) = (self.affected.len(), scope.places.len());
        if own != OwnFault::Unreachable {
            return all > 1 && affected == all;
        }
        scope.direct > 1
            && affected == scope.direct
            && affected + scope.behind == all
            && self.affected.values().all(|one| one.router.jump.is_none())
    }
}

/// Those that were lost together with one whose time is over: there is no long time between them.
fn outage(mut ones: Vec<&Affected>, now: Instant) -> Vec<&Affected> {
    ones.sort_by_key(|one| one.since);
    let mut last = None;
    ones.retain(|one| {
        let is_part =
            now >= one.at_the_latest || last.is_some_and(|last| one.since <= last + LONGEST_GAP);
        if is_part {
            last = Some(one.since);
        }
        is_part
    });
    ones
}
