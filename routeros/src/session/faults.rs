//! What is reported of a router that is not followed or has no complete export, and when it is tried again.

use std::{collections::BTreeSet, time::Duration};

use aw_service::{Backoff, TimeSpan};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{RouterTask, failing_sections::Sections, random_byte};
use crate::{
    config::RouterName,
    config_export::list,
    login_gate::Credential,
    set_host_key::key_of_another,
    shared_faults::{OwnFault, SharedCause, SharedFault},
    ssh::SshFault,
};

/// The pause before a router with a fault that only an administrator can mend is tried again.
const LONG_PAUSE: Duration = Duration::from_secs(600);
/// A connection that lasted this long resets the pauses between connections.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);
/// Between a fault and the time of the next try.
const NEXT_TRY: &str = "; next try: ";

impl RouterTask {
    /// Reports a new fault once, and returns the pause before the next connection, or `None` if it waits for a reload.
    pub(super) fn report_fault(&mut self, fault: SshFault, lasted: Duration) -> Option<Duration> {
        let cause = fault.to_string();
        if fault.is_behind_jump() {
            self.jump_host_works();
        }
        let unreachable = match &fault {
            SshFault::Unreachable(_) | SshFault::NoChannel(_) | SshFault::Late { .. } => {
                Some((cause.clone(), String::new()))
            }
            // That its login is not tried would hide what is wrong with it.
            SshFault::Held(_) => self.unreachable.as_ref().map(|(why, tried)| {
                (why.clone(), format!(" (last tried at {})", self.recorder.local_time(*tried)))
            }),
            _ => None,
        };
        if let Some((cause, tried)) = unreachable {
            return Some(self.report_unreachable(&cause, &tried, lasted));
        }
        self.unreachable_since = None;
        let (status, own) = match fault {
            SshFault::Jump { jump, fault } => {
                return Some(self.report_jump(jump, &fault, &cause, lasted));
            }
            SshFault::Refused(_) => return self.report_refused(&cause),
            SshFault::Held(_) => {
                let login = SharedCause::Login(Credential::of(&self.router));
                let text = format!(
                    "{cause}; next try: after one router tried for all, or after a reload (systemctl reload aw-routeros)"
                );
                let alarm_after = Duration::from_secs(self.recorder.config.alarm_after);
                let fault = SharedFault::new(login, "login not tried", text);
                let fault = SharedFault { after: alarm_after, at_the_latest: alarm_after, ..fault };
                self.report_shared("refused", fault);
                return Some(reconnect_pause(&mut self.backoff, lasted, random_byte()));
            }
            SshFault::Credentials(_) => {
                let login = SharedCause::Login(Credential::of(&self.router));
                let text = self.with_next_try(&cause, Some(LONG_PAUSE));
                self.report_shared("failing", SharedFault::new(login, "not followed", text));
                return Some(LONG_PAUSE);
            }
            SshFault::Restart(_) => {
                let restart = SharedCause::Restart(cause.clone());
                self.report_shared("failing", SharedFault::new(restart, "not followed", cause));
                return Some(LONG_PAUSE);
            }
            SshFault::ChangedKey(_) => ("host key", OwnFault::ChangedKey),
            SshFault::UnknownKey(..) => ("host key", OwnFault::UnknownKey),
            SshFault::Algorithms(_) => ("algorithms", OwnFault::Algorithms),
            // The others are unreachable: see above.
            SshFault::Local(_)
            | SshFault::Unreachable(_)
            | SshFault::NoChannel(_)
            | SshFault::Late { .. } => ("failing", OwnFault::Local),
        };
        let other = match own {
            OwnFault::ChangedKey => {
                key_of_another(&cause, &self.router, &self.recorder.config.routers)
            }
            _ => String::new(),
        };
        let text = self.with_next_try(&format!("{cause}{other}"), Some(LONG_PAUSE));
        self.recorder.set_status(&self.router.name, status, &text);
        self.has_other_fault = true;
        self.recorder.own_fault(&self.router, SharedFault::own(own, &cause, text));
        Some(LONG_PAUSE)
    }

    /// The jump host is not the cause, or not any more.
    pub(super) fn jump_host_works(&self) {
        let is_jump = |by: &SharedCause| matches!(by, SharedCause::Jump(_));
        self.recorder.shared_fault_ends(&self.router.name, is_jump);
    }

    /// A fault with the time of the next try.
    fn with_next_try(&self, cause: &str, pause: Option<Duration>) -> String {
        let reload = "after a reload (systemctl reload aw-routeros)";
        let at = pause.and_then(|pause| Timestamp::now().checked_add(pause).ok());
        let next = at.map_or(reload.into(), |at| {
            format!("at {}, or {reload}", self.recorder.local_time(at))
        });
        format!("{cause}{NEXT_TRY}{next}")
    }

    /// Reports a fault together with other routers that have it.
    fn report_shared(&mut self, status: &str, fault: SharedFault) {
        self.has_other_fault = true;
        self.recorder.set_status(&self.router.name, status, &fault.why);
        self.recorder.shared_fault(&self.router, fault);
    }

    /// Reports a refused login, and returns the pause before the next try. A login may be refused while the server that
    /// knows the users, such as RADIUS, is down.
    fn report_refused(&mut self, cause: &str) -> Option<Duration> {
        self.is_refused = true;
        let pause = (self.router.login_retry > 0)
            .then(|| login_pause(&mut self.login_backoff, random_byte()));
        let login = SharedCause::Login(Credential::of(&self.router));
        let fault = SharedFault::new(login, "login refused", self.with_next_try(cause, pause));
        self.report_shared("refused", SharedFault { is_refused: true, ..fault });
        pause
    }

    /// Reports a fault of a jump host, which is none of the router.
    fn report_jump(
        &mut self,
        jump: RouterName,
        fault: &SshFault,
        cause: &str,
        lasted: Duration,
    ) -> Duration {
        let may_pass = matches!(fault, SshFault::Unreachable(_) | SshFault::NoChannel(_));
        let after = if may_pass { self.recorder.config.alarm_after } else { 0 };
        let cause = format!("not followed: {cause}");
        let fault = SharedFault::new(SharedCause::Jump(jump), "jump host fails", cause);
        let fault = SharedFault { after: Duration::from_secs(after), ..fault };
        self.report_shared("jump host", fault);
        // Only one of these tries reaches the jump host.
        reconnect_pause(&mut self.backoff, lasted, random_byte())
    }

    /// Reports a router that is unreachable for `alarm_after`, with the others that are so at that time.
    fn report_unreachable(&mut self, cause: &str, tried: &str, lasted: Duration) -> Duration {
        let name = &self.router.name;
        let alarm_after = Duration::from_secs(self.recorder.config.alarm_after);
        self.recorder.set_status(name, OwnFault::Unreachable.subject(), cause);
        let since = *self.unreachable_since.get_or_insert_with(Instant::now);
        let down = since.elapsed();
        if lasted > Duration::from_secs(1) && down < alarm_after.min(Duration::from_secs(1)) {
            self.recorder.note(name, &format!("connection lost: {cause}"));
        }
        // A fault that was reported is not replaced by this one for a moment only.
        let has_other = self.has_other_fault || self.is_refused;
        if !has_other || down >= alarm_after {
            let text = format!("{cause}{tried}{}", self.remedy(cause));
            let address = self.router.address.to_string();
            let fault = SharedFault::unreachable(text, address, since.into_std(), alarm_after);
            self.recorder.own_fault(&self.router, fault);
        }
        reconnect_pause(&mut self.backoff, lasted, random_byte())
    }

    /// What to do about a router that cannot be reached, and when it was last followed.
    fn remedy(&self, cause: &str) -> String {
        let host = &self.router.address.host;
        let remedy = match cause {
            _ if let Some(jump) = &self.router.jump => {
                let jump = &jump.name;
                format!("ping {host} on {jump}, the jump host; then its power, its cables, and firewalls between them")
            }
            _ if cause.contains("refused") => {
                "its SSH service is off or has another port (/ip service print), or a firewall rejects it".into()
            }
            _ if cause.starts_with("resolve ") => format!("check the name: getent hosts {host}"),
            _ => format!("ping {host}; then its power, its cables, and firewalls on the way"),
        };
        let exported =
            self.recorder.archive(&self.router.name).state().ok().and_then(|it| it.exported);
        let last = exported.map_or("none yet".into(), |time| self.recorder.local_time(time));
        let off = self.off.as_ref().map_or(String::new(), |off| format!("; {off}"));
        format!(" ({remedy}); last export: {last}{off}")
    }

    pub(super) fn connected(&mut self) {
        let unreachable_since = self.unreachable_since.take();
        (self.has_other_fault, self.off) = (false, None);
        self.recorder.set_status(&self.router.name, "connected", "");
        // A refused login is over when an export is fetched: that may need a second login.
        let is_refused = self.is_refused;
        let is_over = |by: &SharedCause| match by {
            SharedCause::Login(_) | SharedCause::Restart(_) => !is_refused,
            _ => by.is_of_connection(),
        };
        let was_known = self.recorder.shared_fault_ends(&self.router.name, is_over);
        let mut text = "connected".to_owned();
        if is_refused || was_known {
            text += " again";
            let after =
                unreachable_since.map(|since| format!(" after {}", TimeSpan(since.elapsed())));
            text.extend(after);
        }
        self.recorder.note(&self.router.name, &text);
    }

    /// Reports a fault of the exports once for each kind, until an export works: its details may differ each time.
    pub(super) fn export_failed(&mut self, kind: &str, subject: &'static str, cause: &str) {
        self.recorder.set_status(&self.router.name, "incomplete", cause);
        let fault = SharedFault::own(OwnFault::Exports, kind, cause.into());
        let fault = SharedFault { subject: subject.into(), ..fault };
        self.recorder.own_fault(&self.router, fault);
    }

    /// A failure that may be chance, until the next export fails too.
    pub(super) fn export_repeated(&self, cause: &str) {
        self.recorder.set_status(&self.router.name, "incomplete", cause);
        self.recorder.note(&self.router.name, &format!("{cause}: exporting again"));
    }

    pub(super) fn is_export_failing(&self) -> bool {
        self.failed_exports > 0
    }

    /// The router ran the command of an export: it accepted each login that this needs, whatever its answer is.
    pub(super) fn login_works(&mut self) {
        if std::mem::take(&mut self.is_refused) {
            self.login_backoff.reset();
            self.recorder.note(&self.router.name, "the router accepts the login again");
            self.recorder.shared_fault_ends(&self.router.name, SharedCause::is_of_connection);
        }
    }

    /// An export was recorded, without these sections.
    pub(super) fn exports_work(&mut self, failed: &BTreeSet<String>) {
        let text = match failed.is_empty() {
            true => "exports are complete again",
            false => "exports are recorded again, without some sections",
        };
        self.recorder.own_fault_ends(&self.router.name, OwnFault::Exports, text);
    }

    /// An export was recorded without these sections, or with all of them. Returns true if it is to be repeated soon.
    pub(super) fn sections_failed(&mut self, failed: &BTreeSet<String>) -> bool {
        let observed = self.sections.observe(failed);
        if observed != Sections::Same {
            self.recorder.set_failing_sections(&self.router.name, self.sections.seen());
        }
        match observed {
            Sections::Others(sections) => {
                let text = format!("the router failed to export {}", list(&sections));
                self.recorder.note(&self.router.name, &text);
            }
            Sections::End => {
                let text = "the router exports all sections again";
                self.recorder.own_fault_ends(&self.router.name, OwnFault::Sections, text);
            }
            Sections::Begin | Sections::Same => {}
        }
        if failed.is_empty() {
            self.recorder.set_status(&self.router.name, "connected", "");
        } else {
            let cause = format!("the router failed to export {}", list(failed));
            self.recorder.set_status(&self.router.name, "incomplete", &cause);
            let text = format!(
                "{cause}: the rest is recorded, and the export repeated until it is complete"
            );
            // Also if an earlier process ended before it was mailed.
            let fault = SharedFault::own(OwnFault::Sections, "", text);
            self.recorder.own_fault(&self.router, fault);
        }
        self.sections.is_present()
    }

    /// The channel of an export that took too long could not be closed.
    pub(super) fn export_may_run(&mut self) {
        self.earlier_export = Some(Instant::now() + self.router.export_timeout());
    }
}

/// A fault without the time of its next try, which is another one after each try.
pub fn without_next_try(why: &str) -> &str {
    why.split_once(NEXT_TRY).map_or(why, |(why, _)| why)
}

/// The pause after a failure or after a connection that lasted this long. `random` spreads the tries of many routers over
/// the second half of the pause.
fn reconnect_pause(backoff: &mut Backoff, lasted: Duration, random: u8) -> Duration {
    if lasted >= GOOD_CONNECTION {
        backoff.reset();
    }
    let pause = backoff.pause();
    pause / 2 + pause / 2 * u32::from(random) / 255
}

/// The pause after a refused login, longer by up to a quarter: many routers that share a user must not try together.
fn login_pause(backoff: &mut Backoff, random: u8) -> Duration {
    let pause = backoff.pause();
    pause + pause / 4 * u32::from(random) / 255
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::Config,
        recorder::{Recorder, RestoredFaults},
        session::{FetchTurns, LONGEST_LOGIN_PAUSE},
    };

    /// Of a router that is not there, with its archive in a new directory.
    fn task() -> (tempfile::TempDir, RouterTask) {
        task_with("alarm_after = 0")
    }

    fn task_with(line: &str) -> (tempfile::TempDir, RouterTask) {
        let root = tempfile::tempdir().unwrap();
        let text = format!(
            "archive = {:?}\n{line}\n[[router]]\nname = \"core1\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n",
            root.path()
        );
        let config = Config::parse(&text).unwrap();
        let recorder = Arc::new(Recorder::new(&config, false, None, None, None));
        let router = Arc::new(config.routers[0].clone());
        let restored = RestoredFaults::default();
        (root, RouterTask::new(router, recorder, FetchTurns::default(), restored))
    }

    #[test]
    fn pauses_grow_and_are_spread() {
        let (mut backoff, none) = (Backoff::default(), Duration::ZERO);
        let pauses: Vec<_> =
            (0..9).map(|_| reconnect_pause(&mut backoff, none, 255).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(reconnect_pause(&mut backoff, none, 0).as_secs(), 30);
        assert_eq!(reconnect_pause(&mut backoff, GOOD_CONNECTION, 255).as_secs(), 1);
    }

    #[test]
    fn refused_logins_are_tried_rarely() {
        let (first, hour) = (Duration::from_secs(600), LONGEST_LOGIN_PAUSE);
        let mut backoff = Backoff::new(first, hour);
        let pauses: Vec<_> = (0..5).map(|_| login_pause(&mut backoff, 0).as_secs() / 60).collect();
        assert_eq!(pauses, [10, 20, 40, 60, 60]);
        assert_eq!(login_pause(&mut backoff, 255), hour + hour / 4);
    }

    /// A fault that other routers share does not hide the next one of this router alone.
    #[tokio::test]
    async fn a_shared_fault_hides_no_later_one() {
        let (root, mut task) = task();
        for shared in [SshFault::Held("held".into()), SshFault::Refused(String::new())] {
            task.report_fault(SshFault::ChangedKey("a key".into()), Duration::ZERO);
            task.report_fault(shared, Duration::ZERO);
            task.connected();
        }
        task.report_fault(SshFault::ChangedKey("a key".into()), Duration::ZERO);
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("ITS HOST KEY HAS CHANGED").count(), 3, "{log}");
    }

    /// That its login is not tried does not hide that the router is unreachable.
    #[tokio::test]
    async fn unreachable_while_others_are_refused() {
        let (root, mut task) = task();
        task.unreachable = Some(("no answer".into(), Timestamp::now()));
        task.report_fault(SshFault::Held("held".into()), Duration::ZERO);
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        let tried = "unreachable for 0 s: no answer (last tried at 20";
        assert!(log.contains(tried) && !log.contains("held"), "{log}");
    }

    /// A router that refused for hours is unreachable since it is, and a changed host key does not hide that for ever.
    #[tokio::test]
    async fn unreachable_after_another_fault() {
        let (_root, mut task) = task_with("alarm_after = 120");
        let hours = Duration::from_secs(7200);
        let earlier = |ago: Duration| Instant::now().checked_sub(ago).unwrap();
        let gone = || SshFault::Unreachable("no route".into());
        task.unreachable_since = Some(earlier(hours));
        for fault in [SshFault::Refused(String::new()), SshFault::ChangedKey("a key".into())] {
            task.report_fault(fault, Duration::ZERO);
            assert!(task.unreachable_since.is_none(), "it answered");
            task.report_fault(gone(), Duration::ZERO);
            assert!(!task.recorder.has_fault(&task.router.name, OwnFault::Unreachable));
            task.unreachable_since = Some(earlier(Duration::from_secs(120)));
            task.report_fault(gone(), Duration::ZERO);
            assert!(task.recorder.has_fault(&task.router.name, OwnFault::Unreachable));
            task.connected();
        }
    }

    /// A fault of the exports does not hide a fault of the connection, nor the reverse.
    #[tokio::test]
    async fn faults_are_reported_independently() {
        let (root, mut task) = task();
        for _ in 0..2 {
            task.export_failed("cut", "incomplete export", "the export is cut");
            task.report_fault(SshFault::Unreachable("no route".into()), Duration::ZERO);
        }
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("the export is cut").count(), 1, "{log}");
        assert_eq!(log.matches("unreachable for 0 s").count(), 1, "{log}");
        task.connected();
        task.export_failed("cut", "incomplete export", "the export is cut");
        task.exports_work(&BTreeSet::new());
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("the export is cut").count(), 1, "{log}");
        assert!(
            log.contains("connected again") && log.ends_with("exports are complete again\n"),
            "{log}"
        );
    }
}
