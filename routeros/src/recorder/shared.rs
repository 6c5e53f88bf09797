//! Faults of routers, and the state of all routers in one line.

use std::{collections::BTreeSet, mem::replace, sync::Arc, time::Instant};

use aw_service::{TimeSpan, info, warn};
use jiff::{SignedDuration, Timestamp};

use super::{Recorder, lock};
use crate::{
    archive::{Archive, RouterState},
    config::{Router, RouterName},
    pause::Pause,
    shared_faults::{
        Joined, Now, OwnFault, ReportedFault, SharedCause, SharedEnd, SharedFault, SharedReport,
    },
};

/// Routers that the line names.
const NAMED: usize = 3;

impl Recorder {
    /// The routers that are followed from now on.
    pub fn set_routers(&self, routers: &[Router]) {
        lock(&self.shared).set_routers(routers, Instant::now());
        *lock(&self.receivers) =
            routers.iter().map(|router| (router.name.clone(), router.mail_to.clone())).collect();
        let mut gone = Vec::new();
        lock(&self.statuses).retain(|name, _| {
            let stays = routers.iter().any(|router| &router.name == name);
            gone.extend((!stays).then(|| name.clone()));
            stays
        });
        for name in gone {
            self.journal.update_state(&name, |state| state.before = None);
        }
        // A router that a reload adds has no pause.
        *lock(&self.pause) = Pause::None;
        self.mail
            .set_receivers(routers.iter().filter_map(|router| router.mail_to.as_ref()).flatten());
    }

    /// The receivers of mail about a router, as they are configured now. None: those of all.
    pub(super) fn receivers(&self, router: &Router) -> Option<Vec<String>> {
        let now = lock(&self.receivers).get(&router.name).cloned();
        now.unwrap_or_else(|| router.mail_to.clone())
    }

    fn with_receivers(&self, router: &Arc<Router>) -> Arc<Router> {
        let mail_to = self.receivers(router);
        match mail_to == router.mail_to {
            true => Arc::clone(router),
            false => Arc::new(Router { mail_to, ..(**router).clone() }),
        }
    }

    /// A router has a fault that others may have too: mailed with them, and logged for the first one.
    pub fn shared_fault(&self, router: &Arc<Router>, fault: SharedFault) {
        let (name, text, is_refused) = (&router.name, fault.why.clone(), fault.is_refused);
        let is_of_jump = matches!(fault.by, SharedCause::Jump(_));
        let joined = lock(&self.shared).begin(&self.with_receivers(router), fault, Instant::now());
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
        if fault.by == SharedCause::Own(OwnFault::Archive) {
            // It is mended by now: another process would not find it.
            let damaged = self.stored(&fault.why);
            self.journal.update_state(&router.name, |state| state.damaged = damaged);
        }
        let (may_pass, text) = (fault.since.is_some(), fault.why.clone());
        let joined = lock(&self.shared).begin(&self.with_receivers(router), fault, Instant::now());
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

    /// A router is followed from now on. What an earlier process mailed of it has its end; its outage goes on, if that process
    /// ended a short time ago.
    pub fn begin(&self, router: &Arc<Router>) -> RestoredFaults {
        let (name, now) = (&router.name, Now::of_clocks());
        let is_known = lock(&self.statuses).insert(name.clone(), CONNECTING.into()).is_some();
        let pause = if is_known { Pause::For(SignedDuration::ZERO) } else { *lock(&self.pause) };
        let mut begun = None;
        self.journal.update_state(name, |state| {
            let address = router.address.to_string();
            let was_unreachable = begin(state, address, pause, now.time);
            if !router.backup {
                state.no_backup.clear();
            }
            begun = Some((was_unreachable, state.clone()));
        });
        let (was_unreachable, state) = begun.unwrap_or_default();
        let is_refused = state.reported.iter().any(ReportedFault::is_of_login);
        let unreachable = state.before.filter(|(status, _)| is_unreachable(status));
        let unreachable_since = unreachable.map(|(_, since)| now.instant(since));
        let mut shared = lock(&self.shared);
        shared.restore(router, state.reported, now);
        if !state.damaged.is_empty() {
            let fault = SharedFault::own(OwnFault::Archive, "", state.damaged);
            shared.begin(router, fault, now.instant);
        }
        if unreachable_since.is_some() {
            shared.expect_unreachable(name);
        }
        let off = self.text_of(pause);
        let before = if was_unreachable { ", and did not reach it before that either" } else { "" };
        RestoredFaults {
            is_refused,
            unreachable_since,
            failing_sections: state.failing_sections,
            off: off.map(|off| format!("aw-routeros was off {off}{before}")),
        }
    }

    /// "from TIME to TIME", if no process followed the routers for a long time before this one.
    pub fn off(&self) -> Option<String> {
        self.text_of(*lock(&self.pause))
    }

    fn text_of(&self, pause: Pause) -> Option<String> {
        pause.text(self.started, |time| self.local_time(time))
    }

    /// At the start: routers that an earlier process followed when it was killed, and that are configured no more.
    pub fn stop_others(&self, routers: &[Router]) {
        let mut names = Archive::names(&self.config.archive).unwrap_or_default();
        names.retain(|name| routers.iter().all(|router| router.name != *name));
        let now = Timestamp::now();
        for name in names {
            self.journal.update_state(&name, |state| {
                if !state.status.is_empty() {
                    set_status(state, STOPPED, now);
                    state.before = None;
                }
            });
        }
    }

    pub fn has_fault(&self, router: &RouterName, own: OwnFault) -> bool {
        lock(&self.shared).has(router, &SharedCause::Own(own))
    }

    /// Stores what was mailed of each router. Waits for disks.
    pub(super) fn store_reported(&self) {
        let changed = lock(&self.shared).take_changed(Now::of_clocks());
        for (router, reported) in changed {
            let is_waiting = self.has_fault(&router, OwnFault::Archive);
            self.journal.update_state(&router, |state| {
                state.reported = reported;
                if !is_waiting {
                    state.damaged.clear();
                }
            });
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
        let (now, mut text) = (Now::of_clocks(), self.masked(&report.text));
        if !report.is_over {
            text = format!("{} {text}", self.local_time(now.time));
        }
        // The mail is sent later than that.
        for SharedEnd { router, at, lasted } in &report.ends {
            let at = self.local_time(now.time(*at));
            text += &format!("{router}: at {at}, after {}\n", TimeSpan(*lasted));
        }
        self.mail.send(report.to.as_deref(), &self.masked(&report.subject), &text);
    }

    /// How many routers are followed, for the service manager.
    pub fn summary(&self) -> String {
        let mail =
            self.mail.faults().texts().into_iter().map(|why| format!("; {}", self.masked(&why)));
        let mut text = self.summary_of_routers() + &mail.collect::<String>();
        if let Some(why) = self.write_fault() {
            text += &format!("; {why}");
        }
        let not_in_effect = lock(&self.not_in_effect).clone();
        if !not_in_effect.is_empty() {
            text += &format!("; configuration not in effect: {}", self.masked(&not_in_effect));
        }
        text
    }

    /// Why a file of the archive cannot be written, if one cannot.
    pub fn write_fault(&self) -> Option<String> {
        self.journal.faults().map(|why| self.masked(&why))
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
#[derive(Default)]
pub struct RestoredFaults {
    /// Its login was refused.
    pub is_refused: bool,
    /// It was unreachable when that process ended.
    pub unreachable_since: Option<Instant>,
    /// Sections that it failed to export.
    pub failing_sections: BTreeSet<String>,
    /// That it was not followed for a long time, because no process did.
    pub off: Option<String>,
}

/// The status of a router before the first connection,
pub const CONNECTING: &str = "connecting";
/// and of one that is not followed any more.
pub const STOPPED: &str = "stopped";

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
        STOPPED | CONNECTING => {
            state.before = since.filter(|_| is_fault(&old)).map(|since| (old, since)).or(before);
        }
        _ => {
            let same = before.filter(|(before, _)| before == status);
            same.into_iter().for_each(|(_, since)| state.since = Some(since));
        }
    }
}

/// The router is followed from now on, at this address. An outage goes on if it is the same address, and the daemon was not off
/// for long. Returns whether an outage does not go on.
fn begin(state: &mut RouterState, address: String, pause: Pause, now: Timestamp) -> bool {
    let stopped = state.since.filter(|_| state.status == STOPPED);
    let is_short = pause.is_short(stopped, now);
    let is_same = state.address.is_empty() || state.address == address;
    state.address = address;
    set_status(state, CONNECTING, now);
    state.since = Some(now);
    state.why.clear();
    if !is_same {
        state.reported.iter_mut().for_each(|reported| reported.begins_again(now));
    }
    let before = state.before.take();
    let was_unreachable = before.as_ref().is_some_and(|(status, _)| is_unreachable(status));
    state.before = before.filter(|_| is_short && is_same);
    was_unreachable && is_same && !is_short
}

fn is_unreachable(status: &str) -> bool {
    status == OwnFault::Unreachable.subject()
}

fn is_fault(status: &str) -> bool {
    !matches!(status, "" | CONNECTING | STOPPED) && !is_followed(status)
}
