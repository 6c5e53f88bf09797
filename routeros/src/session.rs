//! One router, as long as it is configured: connects, follows, and connects again after a pause.

mod backup;
mod export_requests;
mod failing_sections;
mod fetch;
mod follow_log;
mod log_check;
mod read_facts;
mod ssh_session;

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use aw_service::{Backoff, Condition, explain, warn};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use self::{
    backup::Backups,
    failing_sections::{FailingSections, Sections},
    ssh_session::Session,
};
pub use self::{
    backup::POLICIES,
    export_requests::{AnswerTo, ExportAnswer, ExportRequests, ExportResult},
    fetch::{FetchTurns, FetchedExport, Turn, export, records},
    read_facts::Aftermath,
};
use crate::{
    attribution::{Claims, FactsClaims, LogClaim, OwnLines},
    change::{Change, Credit, Missed},
    config::{Router, RouterName},
    config_export::list,
    facts::Facts,
    login_gate::{self, Credential},
    recorder::{Outcome, Recorder},
    shared_faults::{SharedCause, SharedFault},
    ssh::{SshConnection, SshFault},
    syslog::SyslogLines,
    terminal::print,
};

/// The pause before a router with a fault that only an administrator can mend is tried again.
const LONG_PAUSE: Duration = Duration::from_secs(600);
/// The longest pause before a refused login is tried again. With the default of `login_retry` there are at most three
/// tries in half an hour, and one in an hour later: servers lock accounts out after five or more tries in that time.
const LONGEST_LOGIN_PAUSE: Duration = Duration::from_secs(3600);
/// A connection that lasted this long resets the pauses between connections.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);

/// Follows a router until the task is aborted. `reload` changes when the user requests a new try.
pub async fn run(
    router: Arc<Router>,
    recorder: Arc<Recorder>,
    turns: FetchTurns,
    mut reload: watch::Receiver<u64>,
    requests: ExportRequests,
) {
    let mut task = RouterTask::new(router, recorder, turns);
    task.requests = requests;
    task.allow_syslog(task.router.address.host.parse().ok());
    task.router.syslog_from.iter().for_each(|address| task.allow_syslog(Some(*address)));
    let mut login_try = None;
    loop {
        // An earlier reload is in effect already: a refused login is not tried twice.
        reload.borrow_and_update();
        let began = Instant::now();
        // Boxed, and freed once it is connected: what opens a connection is large.
        let fault = match Box::pin(SshConnection::open_with(&task.router, login_try.take())).await {
            Ok(connection) => Session::new(&mut task, connection).run().await,
            Err(fault) => fault,
        };
        task.down_since.get_or_insert_with(Instant::now);
        let why = fault.to_string();
        task.requests.disconnected(&why);
        let is_refused = matches!(fault, SshFault::Refused(_) | SshFault::Held(_));
        let pause = task.report_fault(fault, began.elapsed());
        let router = Arc::clone(&task.router);
        let mut paused = pin!(async {
            match (is_refused, pause) {
                (false, Some(pause)) => {
                    sleep(pause).await;
                    None
                }
                _ => login_gate::next_try(&router, pause).await,
            }
        });
        loop {
            tokio::select! {
                turn = &mut paused => {
                    login_try = turn;
                    break;
                }
                changed = reload.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = task.requests.next() => {
                    if !is_refused {
                        break;
                    }
                    // Each refusal is a line in the router's log, and may ban this machine.
                    task.requests.disconnected(&format!("{why} (not tried again at once before a reload)"));
                }
            }
        }
    }
}

/// What is kept of a router from one connection to the next.
struct RouterTask {
    router: Arc<Router>,
    recorder: Arc<Recorder>,
    turns: FetchTurns,
    backoff: Backoff,
    login_backoff: Backoff,
    connection_fault: Condition,
    /// The log shows no changes.
    log_fault: Condition,
    /// Facts cannot be stored.
    facts_fault: Condition,
    /// The router was not asked for all facts.
    facts_missing: Condition,
    /// The router does not answer what its logging rules are.
    rules_missing: Condition,
    /// Lines that came by syslog.
    syslog: SyslogLines,
    /// The login was refused, and no command of an export was run since then.
    is_refused: bool,
    /// The last fault is one that other routers may share.
    is_shared: bool,
    /// The kinds of faults of the exports that were reported since the last one that worked. Separate: one fault does not
    /// hide the other.
    export_faults: BTreeSet<&'static str>,
    sections: FailingSections,
    /// Until then an earlier export may still run on the router.
    earlier_export: Option<Instant>,
    /// Since when the router is not connected.
    down_since: Option<Instant>,
    /// Claims of earlier connections that no export has shown.
    claims: Claims,
    /// Claims that a change of the facts may be credited to.
    facts_claims: FactsClaims,
    /// Claims that were settled by exports without some sections.
    missed: Missed,
    /// The last line of the log that is settled; the stored one is older while something is not.
    last_line: Option<(String, String)>,
    /// The stored history is not older than the claims that were credited.
    is_history_current: bool,
    /// Exports in a row that failed.
    failed_exports: u32,
    /// When backups are due, and the log lines that they cause.
    backups: Backups,
    own_lines: OwnLines,
    /// Exports that the user requested.
    requests: ExportRequests,
    /// Whether to request only log lines about the system.
    filter: bool,
}

impl RouterTask {
    fn new(router: Arc<Router>, recorder: Arc<Recorder>, turns: FetchTurns) -> RouterTask {
        let (filter, retry) = (router.log_filter, Duration::from_secs(router.login_retry));
        let syslog = SyslogLines::new(recorder.config.syslog.is_some());
        let sections = FailingSections::of(recorder.failing_sections(&router.name));
        RouterTask {
            router,
            recorder,
            turns,
            backoff: Backoff::default(),
            login_backoff: Backoff::new(retry, LONGEST_LOGIN_PAUSE.max(retry)),
            is_refused: false,
            is_shared: false,
            connection_fault: Condition::default(),
            log_fault: Condition::default(),
            facts_fault: Condition::default(),
            facts_missing: Condition::default(),
            rules_missing: Condition::default(),
            syslog,
            export_faults: BTreeSet::new(),
            sections,
            earlier_export: None,
            down_since: None,
            claims: Claims::default(),
            facts_claims: FactsClaims::default(),
            missed: Missed::default(),
            last_line: None,
            is_history_current: false,
            failed_exports: 0,
            backups: Backups::default(),
            own_lines: OwnLines::default(),
            requests: ExportRequests::default(),
            filter,
        }
    }

    /// Reports a new fault once, and returns the pause before the next connection, or `None` if it waits for a reload.
    fn report_fault(&mut self, fault: SshFault, lasted: Duration) -> Option<Duration> {
        let cause = fault.to_string();
        if fault.is_behind_jump() {
            self.jump_host_works();
        }
        let (status, subject) = match fault {
            SshFault::Unreachable(_) | SshFault::NoChannel(_) | SshFault::Late { .. } => {
                return Some(self.report_unreachable(&cause, lasted));
            }
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
            SshFault::ChangedKey(_) => ("host key", "HOST KEY CHANGED"),
            SshFault::UnknownKey(_) => ("host key", "host key unknown"),
            SshFault::Algorithms(_) => ("algorithms", "no common algorithm"),
            SshFault::Local(_) => ("failing", "not followed"),
        };
        let text = self.with_next_try(&cause, Some(LONG_PAUSE));
        self.recorder.set_status(&self.router.name, status, &text);
        if self.connection_fault.set(&cause) {
            self.recorder.alarm(&self.router, subject, &text);
        }
        Some(LONG_PAUSE)
    }

    /// The jump host is not the cause, or not any more.
    fn jump_host_works(&self) {
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
        self.is_shared = true;
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
        self.down_since = None;
        let may_pass = matches!(fault, SshFault::Unreachable(_) | SshFault::NoChannel(_));
        let after = if may_pass { self.recorder.config.alarm_after } else { 0 };
        let cause = format!("not followed: {cause}");
        let fault = SharedFault::new(SharedCause::Jump(jump), "jump host fails", cause);
        let fault = SharedFault { after: Duration::from_secs(after), ..fault };
        self.report_shared("jump host", fault);
        // Only one of these tries reaches the jump host.
        reconnect_pause(&mut self.backoff, lasted, random_byte())
    }

    /// Reports a router that is unreachable for `alarm_after`.
    fn report_unreachable(&mut self, cause: &str, lasted: Duration) -> Duration {
        let name = &self.router.name;
        let alarm_after = Duration::from_secs(self.recorder.config.alarm_after);
        self.recorder.set_status(name, "unreachable", cause);
        let pause = reconnect_pause(&mut self.backoff, lasted, random_byte());
        let down = self.down_since.map_or(Duration::ZERO, |since| since.elapsed());
        if !self.connection_fault.is_present() && down >= alarm_after {
            self.connection_fault.set(cause);
            let text = format!("unreachable for {} s: {cause}", down.as_secs());
            self.recorder.alarm(&self.router, "unreachable", &text);
        } else if lasted > Duration::from_secs(1) && down < Duration::from_secs(1) {
            self.recorder.note(name, &format!("connection lost: {cause}"));
        }
        if self.connection_fault.is_present() {
            return pause;
        }
        // The alarm must not wait for the end of a long pause.
        pause.min(alarm_after.saturating_sub(down).max(Duration::from_millis(10)))
    }

    fn connected(&mut self) {
        self.down_since = None;
        self.recorder.set_status(&self.router.name, "connected", "");
        // A refused login is over when an export is fetched: that may need a second login.
        let is_refused = self.is_refused;
        let was_shared = std::mem::take(&mut self.is_shared);
        // Over, whatever else was: its next fault is news.
        let was_alone = self.connection_fault.clear();
        let again = is_refused || was_shared || was_alone;
        let again = if again { " again" } else { "" };
        self.recorder.note(&self.router.name, &format!("connected{again}"));
        match is_refused {
            true => self.jump_host_works(),
            false => self.recorder.shared_fault_ends(&self.router.name, |_| true),
        }
    }

    /// Records an export. Returns `None` after a failure, which is reported.
    async fn record(&mut self, fetched: FetchedExport, credit: Credit) -> Option<Outcome> {
        let (recorder, router) = (Arc::clone(&self.recorder), Arc::clone(&self.router));
        let recorded =
            spawn_blocking(move || recorder.record_export(&router, fetched, credit)).await;
        match recorded {
            Ok(Ok(outcome)) => return Some(outcome),
            Ok(Err(error)) => {
                let text = format!("write to the archive: {}", explain(&error));
                self.export_failed("archive", "archive", &text);
            }
            Err(_) => {
                let text = "the export could not be recorded";
                self.export_failed("internal error", "internal error", text);
            }
        }
        None
    }

    /// Records what no export shows. A failure is reported as one of the archive.
    /// Returns the lines that a difference was credited to.
    async fn record_facts(&mut self, facts: Facts, aftermath: Aftermath) -> Option<Vec<LogClaim>> {
        let (recorder, router) = (Arc::clone(&self.recorder), Arc::clone(&self.router));
        let claims = self.facts_claims.clone();
        let recorded =
            spawn_blocking(move || recorder.record_facts(&router, facts, aftermath, &claims)).await;
        match recorded {
            Ok(Ok(credited)) => {
                if self.facts_fault.clear() {
                    self.recorder
                        .note(&self.router.name, "write facts to the archive: works again");
                }
                return Some(credited);
            }
            Ok(Err(error)) => {
                let text = format!("write facts to the archive: {}", explain(&error));
                if self.facts_fault.set(&text) {
                    self.recorder.note(&self.router.name, &text);
                }
            }
            Err(_) => {
                self.recorder.note(&self.router.name, "the facts could not be recorded");
            }
        }
        None
    }

    /// Notes once that facts are not read, and once that they are again.
    fn report_facts(&mut self, is_complete: bool) {
        let name = &self.router.name;
        if is_complete {
            if self.facts_missing.clear() {
                self.recorder.note(name, "users, keys and other facts are all read again");
            }
        } else if self.facts_missing.set("missing") {
            let text = "users, keys and other facts are not all read: the router is too slow, or refuses a command (those that are missing stay as they were)";
            self.recorder.note(name, text);
        }
        self.store_unread();
    }

    /// Stores what is not read of the router, for `show`.
    fn store_unread(&self) {
        let unread = match (self.facts_missing.is_present(), self.rules_missing.is_present()) {
            (false, false) => "",
            (true, false) => "users, keys and other facts are not all read",
            (false, true) => "its logging rules are not read",
            (true, true) => "its logging rules, users, keys and other facts are not all read",
        };
        self.recorder.set_unread(&self.router.name, unread);
    }

    fn report_change(&self, change: &Change) {
        if self.recorder.print {
            let when = self.recorder.local_time(change.time);
            let text = change.text(&when, self.recorder.config.mail_secrets);
            // The reader of standard output may have ended; the change is archived.
            if print(&text).is_err() {
                warn("print a change: standard output is closed");
            }
        }
        let (users, added, removed) = (change.who(), change.added, change.removed);
        if change.is_ignored() {
            let text =
                format!("change by {users} (+{added} -{removed}): all lines are ignored by rules");
            return self.recorder.log(&self.router.name, &text);
        }
        let text = format!("configuration changed by {users} (+{added} -{removed})");
        self.recorder.note(&self.router.name, &text);
    }

    /// Reports a fault of the exports once for each kind, until an export works: its details may differ each time.
    fn export_failed(&mut self, kind: &'static str, subject: &str, cause: &str) {
        self.recorder.set_status(&self.router.name, "incomplete", cause);
        if self.export_faults.insert(kind) {
            self.recorder.alarm(&self.router, subject, cause);
        }
    }

    fn is_export_failing(&self) -> bool {
        !self.export_faults.is_empty()
    }

    /// The router ran the command of an export: it accepted each login that this needs, whatever its answer is.
    fn login_works(&mut self) {
        if std::mem::take(&mut self.is_refused) {
            self.login_backoff.reset();
            self.recorder.note(&self.router.name, "the router accepts the login again");
            self.recorder.shared_fault_ends(&self.router.name, |_| true);
        }
    }

    /// An export was recorded, without these sections.
    fn exports_work(&mut self, failed: &BTreeSet<String>) {
        if !std::mem::take(&mut self.export_faults).is_empty() {
            let text = match failed.is_empty() {
                true => "exports are complete again",
                false => "exports are recorded again, without some sections",
            };
            self.recorder.note(&self.router.name, text);
        }
    }

    /// An export was recorded without these sections, or with all of them. Returns true if it is to be repeated soon.
    fn sections_failed(&mut self, failed: &BTreeSet<String>) -> bool {
        let observed = self.sections.observe(failed);
        if observed != Sections::Same {
            self.recorder.set_failing_sections(&self.router.name, self.sections.seen());
        }
        match observed {
            Sections::Begin => {
                let text = format!(
                    "the router failed to export {}: the rest is recorded, and the export repeated until it is complete",
                    list(failed)
                );
                self.recorder.alarm(&self.router, "incomplete export", &text);
            }
            Sections::Others(sections) => {
                let text = format!("the router failed to export {}", list(&sections));
                self.recorder.note(&self.router.name, &text);
            }
            Sections::End => {
                let text = "the router exports all sections again";
                self.recorder.recovered(&self.router, "export complete again", text);
            }
            Sections::Same => {}
        }
        if failed.is_empty() {
            self.recorder.set_status(&self.router.name, "connected", "");
        } else {
            let cause = format!("the router failed to export {}", list(failed));
            self.recorder.set_status(&self.router.name, "incomplete", &cause);
        }
        self.sections.is_present()
    }

    /// The channel of an export that took too long could not be closed.
    fn export_may_run(&mut self) {
        self.earlier_export = Some(Instant::now() + self.router.export_timeout());
    }
}

/// Between a fault and the time of the next try.
const NEXT_TRY: &str = "; next try: ";

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

/// Shortens an interval by up to an eighth, so that routers that connect together are not exported together every time.
fn spread(interval: Duration, random: u8) -> Duration {
    interval - interval / 8 * u32::from(random) / 255
}

fn random_byte() -> u8 {
    let mut byte = [128];
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

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

    #[test]
    fn an_interval_is_spread() {
        let hour = Duration::from_secs(3600);
        assert_eq!(spread(hour, 0), hour);
        assert_eq!(spread(hour, 255), hour - hour / 8);
    }

    /// A fault that other routers share does not hide the next one of this router alone.
    #[tokio::test]
    async fn a_shared_fault_hides_no_later_one() {
        let root = tempfile::tempdir().unwrap();
        let text = format!(
            "archive = {:?}\nalarm_after = 0\n[[router]]\nname = \"core1\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n",
            root.path()
        );
        let config = Config::parse(&text).unwrap();
        let recorder = Arc::new(Recorder::new(&config, false, None, None, None));
        let router = Arc::new(config.routers[0].clone());
        let mut task = RouterTask::new(router, recorder, FetchTurns::default());
        for shared in [SshFault::Held("held".into()), SshFault::Refused(String::new())] {
            task.report_fault(SshFault::ChangedKey("a key".into()), Duration::ZERO);
            task.report_fault(shared, Duration::ZERO);
            task.connected();
        }
        task.report_fault(SshFault::ChangedKey("a key".into()), Duration::ZERO);
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("ITS HOST KEY HAS CHANGED").count(), 3, "{log}");
    }

    /// A fault of the exports does not hide a fault of the connection, nor the reverse.
    #[tokio::test]
    async fn faults_are_reported_independently() {
        let root = tempfile::tempdir().unwrap();
        let text = format!(
            "archive = {:?}\nalarm_after = 0\n[[router]]\nname = \"core1\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n",
            root.path()
        );
        let config = Config::parse(&text).unwrap();
        let recorder = Arc::new(Recorder::new(&config, false, None, None, None));
        let mut task =
            RouterTask::new(Arc::new(config.routers[0].clone()), recorder, FetchTurns::default());
        for _ in 0..2 {
            task.export_failed("cut", "incomplete export", "the export is cut");
            task.down_since = Some(Instant::now());
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
