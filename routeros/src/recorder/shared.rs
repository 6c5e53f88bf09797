//! Faults of routers, and the state of all routers in one line.

use std::{mem::replace, sync::Arc, time::Instant};

use aw_service::{info, warn};
use jiff::{SignedDuration, Timestamp};

use super::{Recorder, lock};
use crate::{
    archive::RouterState,
    config::{Router, RouterName},
    shared_faults::{Joined, Now, OwnFault, ReportedFault, SharedCause, SharedFault, SharedReport},
};

/// Routers that the line names.
const NAMED: usize = 3;

impl Recorder {
    /// The routers that are followed from now on.
    pub fn set_routers(&self, routers: &[Router]) {
        lock(&self.shared).set_routers(routers);
        let mut gone = Vec::new();
        lock(&self.statuses).retain(|name, _| {
            let stays = routers.iter().any(|router| &router.name == name);
            gone.extend((!stays).then(|| name.clone()));
            stays
        });
        for name in gone {
            self.journal.update_state(&name, |state| state.before = None);
        }
        self.mail
            .set_receivers(routers.iter().filter_map(|router| router.mail_to.as_ref()).flatten());
    }

    /// A router has a fault that others may have too: mailed with them, and logged for the first one.
    pub fn shared_fault(&self, router: &Arc<Router>, fault: SharedFault) {
        let (name, text, is_refused) = (&router.name, fault.why.clone(), fault.is_refused);
        let is_of_jump = matches!(fault.by, SharedCause::Jump(_));
        let joined = lock(&self.shared).begin(router, fault, Instant::now());
        if is_refused && joined != Joined::Known || joined == Joined::First && !is_of_jump {
            warn(format_args!("{name}: {}", self.masked(&text)));
        }
        if joined != Joined::Known {
            self.log(name, &text);
        }
        self.report_shared();
    }

    /// A fault of the router itself: logged if it is a new one, and mailed with those of others that began at the same time. One
    /// that may pass is logged when it is mailed.
    pub fn own_fault(&self, router: &Arc<Router>, mut fault: SharedFault) {
        fault.key = self.stored(&fault.key);
        let (may_pass, text) = (fault.since.is_some(), fault.why.clone());
        let joined = lock(&self.shared).begin(router, fault, Instant::now());
        if joined != Joined::Known && !may_pass {
            self.warn_of(&router.name, &text);
        }
        self.report_shared();
    }

    /// A router does not have these faults any more. Returns whether one of them was reported.
    pub fn shared_fault_ends(
        &self,
        router: &RouterName,
        is_over: impl Fn(&SharedCause) -> bool,
    ) -> bool {
        let was_known = lock(&self.shared).end(router, is_over, Instant::now());
        self.report_shared();
        was_known
    }

    /// What an earlier process mailed of a router has its end, and its outage goes on.
    pub fn restore_faults(&self, router: &Arc<Router>) -> RestoredFaults {
        let state = self.archive(&router.name).state().unwrap_or_default();
        let is_refused = state.reported.iter().any(ReportedFault::is_of_login);
        let was_unreachable =
            state.before.filter(|(status, _)| status == OwnFault::Unreachable.subject());
        let now = Now::of_clocks();
        let unreachable_since = was_unreachable.map(|(_, since)| now.instant(since));
        let mut shared = lock(&self.shared);
        shared.restore(router, state.reported, now);
        if unreachable_since.is_some() {
            shared.expect_unreachable(&router.name);
        }
        RestoredFaults { is_refused, unreachable_since }
    }

    #[cfg(test)]
    pub fn has_fault(&self, router: &RouterName, own: OwnFault) -> bool {
        lock(&self.shared).has(router, &SharedCause::Own(own))
    }

    /// Stores what was mailed of each router. Waits for disks.
    pub(super) fn store_reported(&self) {
        let changed = lock(&self.shared).take_changed(Now::of_clocks());
        for (router, reported) in changed {
            self.journal.update_state(&router, |state| state.reported = reported);
        }
    }

    /// Mails the shared faults that are due; to be called about once a second.
    pub fn report_shared(&self) {
        let reports = lock(&self.shared).due(Instant::now());
        self.send_shared(reports);
    }

    /// What waits for others, at the end of the daemon.
    pub(super) fn report_the_rest(&self) {
        let reports = lock(&self.shared).due_at_the_end(Instant::now());
        self.send_shared(reports);
    }

    fn send_shared(&self, reports: Vec<SharedReport>) {
        for report in reports {
            self.mail_shared(&report);
            report.of_each.iter().for_each(|(router, text)| self.warn_of(router, text));
            let line = self.masked(&report.line);
            match (report.is_of_several, report.is_over) {
                (true, true) => info(line),
                (true, false) => warn(line),
                (false, _) => {}
            }
        }
    }

    fn mail_shared(&self, report: &SharedReport) {
        let (when, text) = (self.local_time(Timestamp::now()), self.masked(&report.text));
        self.mail.send(
            report.to.as_deref(),
            &self.masked(&report.subject),
            &format!("{when} {text}"),
        );
    }

    /// How many routers are followed, for the service manager.
    pub fn summary(&self) -> String {
        let mail =
            self.mail.faults().texts().into_iter().map(|why| format!("; {}", self.masked(&why)));
        self.summary_of_routers() + &mail.collect::<String>()
    }

    fn summary_of_routers(&self) -> String {
        let statuses = lock(&self.statuses);
        if statuses.is_empty() {
            return "no router is configured (aw-routeros add HOST)".into();
        }
        let connecting = statuses.values().filter(|status| *status == CONNECTING).count();
        let is_failing = |status: &str| status != CONNECTING && !is_followed(status);
        let failing: Vec<_> = statuses.iter().filter(|(_, status)| is_failing(status)).collect();
        let count = statuses.len();
        let noun = if count == 1 { "router" } else { "routers" };
        let mut text = format!("{count} {noun}: {} followed", count - failing.len() - connecting);
        if connecting > 0 {
            text += &format!(", {connecting} not connected yet");
        }
        if !failing.is_empty() {
            let named =
                failing.iter().take(NAMED).map(|(name, status)| format!("{name}: {status}"));
            let more = if failing.len() > NAMED { ", ..." } else { "" };
            text += &format!(
                ", {} not ({}{more})",
                failing.len(),
                named.collect::<Vec<_>>().join(", ")
            );
        }
        text
    }
}

/// What an earlier process knew of a router.
pub struct RestoredFaults {
    /// Its login was refused.
    pub is_refused: bool,
    /// It was unreachable when that process stopped.
    pub unreachable_since: Option<Instant>,
}

/// The status of a router before the first connection,
pub const CONNECTING: &str = "connecting";
/// and of one that is not followed any more.
pub const STOPPED: &str = "stopped";
/// A fault goes on if the daemon was stopped no longer than this.
const LONGEST_STOP: SignedDuration = SignedDuration::from_hours(1);

/// Whether a router of this status is followed.
pub fn is_followed(status: &str) -> bool {
    matches!(status, "connected" | "incomplete")
}

/// A router that has the same fault after a restart has it since it had it before.
pub(super) fn set_status(state: &mut RouterState, status: &str, now: Timestamp) {
    if state.status == status {
        return;
    }
    let old = replace(&mut state.status, status.into());
    let since = state.since.replace(now);
    let before = state.before.take();
    match status {
        STOPPED => {
            state.before = since.filter(|_| is_fault(&old)).map(|since| (old, since)).or(before)
        }
        CONNECTING if is_fault(&old) => state.before = since.map(|since| (old, since)), // it was killed
        CONNECTING => {
            let is_short = since.is_some_and(|since| now.duration_since(since) < LONGEST_STOP);
            state.before = before.filter(|_| is_short);
        }
        _ => {
            let same = before.filter(|(before, _)| before == status);
            same.into_iter().for_each(|(_, since)| state.since = Some(since));
        }
    }
}

fn is_fault(status: &str) -> bool {
    !matches!(status, "" | CONNECTING | STOPPED) && !is_followed(status)
}
