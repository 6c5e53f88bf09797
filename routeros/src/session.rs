//! One router, as long as it is configured: connects, follows, and connects again after a pause.

mod backup;
mod export_requests;
mod failing_sections;
mod faults;
mod fetch;
mod follow_log;
mod log_check;
mod read_facts;
mod ssh_session;

use std::{pin::pin, sync::Arc, time::Duration};

use aw_service::{Backoff, Condition, explain, warn};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use self::{backup::Backups, failing_sections::FailingSections, ssh_session::Session};
pub use self::{
    backup::POLICIES,
    export_requests::{AnswerTo, ExportAnswer, ExportRequests, ExportResult},
    faults::without_next_try,
    fetch::{FetchTurns, FetchedExport, Turn, export, records},
    read_facts::Aftermath,
};
use crate::{
    attribution::{Claims, FactsClaims, LogClaim, OwnLines},
    change::{Change, Credit, Missed},
    config::Router,
    facts::Facts,
    login_gate::{self},
    recorder::{Outcome, Recorder, RestoredFaults},
    ssh::{SshConnection, SshFault},
    syslog::SyslogLines,
    terminal::print,
};

/// The longest pause before a refused login is tried again. With the default of `login_retry` there are at most three
/// tries in half an hour, and one in an hour later: servers lock accounts out after five or more tries in that time.
const LONGEST_LOGIN_PAUSE: Duration = Duration::from_secs(3600);

/// Follows a router until the task is aborted. `reload` changes when the user requests a new try.
pub async fn run(
    router: Arc<Router>,
    recorder: Arc<Recorder>,
    turns: FetchTurns,
    restored: RestoredFaults,
    mut reload: watch::Receiver<u64>,
    requests: ExportRequests,
) {
    let mut task = RouterTask::new(router, recorder, turns, restored);
    task.requests = requests;
    task.allow_syslog(task.router.address.host.parse().ok());
    task.router.syslog_from.iter().for_each(|address| task.allow_syslog(Some(*address)));
    let mut entry = None;
    loop {
        // An earlier reload is in effect already: a refused login is not tried twice.
        reload.borrow_and_update();
        let began = Instant::now();
        // Boxed, and freed once it is connected: what opens a connection is large.
        let fault = match Box::pin(SshConnection::open_with(&task.router, entry.take())).await {
            Ok(connection) => {
                task.unreachable = None;
                Session::new(&mut task, connection).run().await
            }
            Err(fault) => {
                match &fault {
                    SshFault::Unreachable(why) => {
                        task.unreachable = Some((why.clone(), Timestamp::now()));
                    }
                    SshFault::Held(_) => {}
                    _ => task.unreachable = None,
                }
                fault
            }
        };
        let why = fault.to_string();
        task.requests.disconnected(&why);
        let is_refused = matches!(fault, SshFault::Refused(_) | SshFault::Held(_));
        let pause = task.report_fault(fault, began.elapsed());
        let is_down = task.unreachable.is_some();
        let router = Arc::clone(&task.router);
        let mut paused = pin!(async {
            match (is_refused, pause) {
                (false, Some(pause)) => {
                    sleep(pause).await;
                    None
                }
                // It is reported as unreachable, in time.
                (true, Some(pause)) if is_down => {
                    timeout(pause, login_gate::next_try(&router, None)).await.unwrap_or_default()
                }
                _ => login_gate::next_try(&router, pause).await,
            }
        });
        loop {
            tokio::select! {
                turn = &mut paused => {
                    entry = turn;
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
                    task.requests.disconnected(&format!("{why} (a refused login is not tried for an export: systemctl reload aw-routeros tries it at once)"));
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
    /// It has another fault of the connection than that it is unreachable, which is reported.
    has_other_fault: bool,
    sections: FailingSections,
    /// Until then an earlier export may still run on the router.
    earlier_export: Option<Instant>,
    /// Why the router could not be connected to when that was last tried, and when.
    unreachable: Option<(String, Timestamp)>,
    /// Until when its log was followed, by this process.
    followed_until: Option<Timestamp>,
    /// Since when the router is unreachable, and has no other fault, also across restarts.
    unreachable_since: Option<Instant>,
    /// That no process followed it for a long time, until the first connection.
    off: Option<String>,
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
    fn new(
        router: Arc<Router>,
        recorder: Arc<Recorder>,
        turns: FetchTurns,
        restored: RestoredFaults,
    ) -> RouterTask {
        let RestoredFaults { is_refused, unreachable_since, failing_sections, off } = restored;
        let (filter, retry) = (router.log_filter, Duration::from_secs(router.login_retry));
        let syslog = SyslogLines::new(recorder.config.syslog.is_some());
        let sections = FailingSections::of(failing_sections);
        let unreachable_since = unreachable_since.map(Instant::from_std);
        RouterTask {
            router,
            recorder,
            turns,
            backoff: Backoff::default(),
            login_backoff: Backoff::new(retry, LONGEST_LOGIN_PAUSE.max(retry)),
            is_refused,
            has_other_fault: false,
            facts_fault: Condition::default(),
            facts_missing: Condition::default(),
            rules_missing: Condition::default(),
            syslog,
            sections,
            earlier_export: None,
            unreachable: None,
            followed_until: None,
            unreachable_since,
            off,
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

    /// Records an export. Returns `None` after a failure, which is reported.
    async fn record(&mut self, fetched: FetchedExport, credit: Credit) -> Option<Outcome> {
        let (recorder, router) = (Arc::clone(&self.recorder), Arc::clone(&self.router));
        let recorded =
            spawn_blocking(move || recorder.record_export(&router, fetched, credit)).await;
        match recorded {
            Ok(Ok(outcome)) => return Some(outcome),
            Ok(Err(error)) => {
                let text = format!("write to the archive: {}", explain(&error));
                self.export_failed("archive", "archive cannot be written", &text);
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

    #[test]
    fn an_interval_is_spread() {
        let hour = Duration::from_secs(3600);
        assert_eq!(spread(hour, 0), hour);
        assert_eq!(spread(hour, 255), hour - hour / 8);
    }
}
