//! One router, as long as it is configured: connects, follows, and connects again after a pause.

mod fetch;
mod follow_log;
mod log_check;
mod ssh_session;

use std::{sync::Arc, time::Duration};

use aw_service::{Backoff, Condition, explain, warn};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep},
};

pub use self::fetch::{FetchTurns, FetchedExport, Turn, export, records};
use self::ssh_session::Session;
use crate::{
    attribution::Claims,
    change::{Change, Credit},
    config::Router,
    recorder::{Outcome, Recorder},
    ssh::{SshConnection, SshFault},
    syslog::SyslogLines,
    terminal::print,
};

/// The pause before a router with a fault that only an administrator can mend is tried again.
const LONG_PAUSE: Duration = Duration::from_secs(600);
/// A connection that lasted this long resets the pauses between connections.
const GOOD_CONNECTION: Duration = Duration::from_secs(30);

/// Follows a router until the task is aborted. `reload` changes when the user requests a new try.
pub async fn run(
    router: Arc<Router>,
    recorder: Arc<Recorder>,
    turns: FetchTurns,
    mut reload: watch::Receiver<u64>,
) {
    let mut task = RouterTask::new(router, recorder, turns);
    task.allow_syslog(task.router.address.host.parse().ok());
    task.router.syslog_from.iter().for_each(|address| task.allow_syslog(Some(*address)));
    loop {
        // An earlier reload is in effect already: a refused login is not tried twice.
        reload.borrow_and_update();
        let began = Instant::now();
        let fault = match SshConnection::open(&task.router).await {
            Ok(connection) => Session::new(&mut task, connection).run().await,
            Err(fault) => fault,
        };
        task.down_since.get_or_insert_with(Instant::now);
        match task.report_fault(fault, began.elapsed()) {
            Some(pause) => {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = reload.changed() => {}
                }
            }
            None => {
                if reload.changed().await.is_err() {
                    return;
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
    connection_fault: Condition,
    /// Separate: one fault does not hide the other.
    export_fault: Condition,
    /// The log shows no changes.
    log_fault: Condition,
    /// Lines that came by syslog.
    syslog: SyslogLines,
    /// Since when the router is not connected.
    down_since: Option<Instant>,
    /// Claims of earlier connections that no export has shown.
    claims: Claims,
    /// Whether to request only log lines about the system.
    filter: bool,
}

impl RouterTask {
    fn new(router: Arc<Router>, recorder: Arc<Recorder>, turns: FetchTurns) -> RouterTask {
        let filter = router.log_filter;
        RouterTask {
            router,
            recorder,
            turns,
            backoff: Backoff::default(),
            connection_fault: Condition::default(),
            export_fault: Condition::default(),
            log_fault: Condition::default(),
            syslog: SyslogLines::default(),
            down_since: None,
            claims: Claims::default(),
            filter,
        }
    }

    /// Reports a new fault once, and returns the pause before the next connection, or `None` if it waits for a reload.
    fn report_fault(&mut self, fault: SshFault, lasted: Duration) -> Option<Duration> {
        let cause = fault.to_string();
        let (status, subject, pause) = match &fault {
            SshFault::Unreachable(_) | SshFault::NoChannel(_) => {
                return Some(self.report_unreachable(&cause, lasted));
            }
            SshFault::Refused(_) => ("refused", "login refused", None),
            SshFault::ChangedKey(_) => ("host key", "HOST KEY CHANGED", Some(LONG_PAUSE)),
            SshFault::UnknownKey(_) => ("host key", "host key unknown", Some(LONG_PAUSE)),
            SshFault::Algorithms(_) => ("algorithms", "no common algorithm", Some(LONG_PAUSE)),
            SshFault::Local(_) => ("failing", "not followed", Some(LONG_PAUSE)),
        };
        self.recorder.set_status(&self.router.name, status, &cause);
        if self.connection_fault.set(&cause) {
            self.recorder.alarm(&self.router, subject, &cause);
        }
        pause
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
        let again = if self.connection_fault.clear() { " again" } else { "" };
        self.recorder.note(&self.router.name, &format!("connected{again}"));
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
                self.export_failed("archive", &text);
            }
            Err(_) => self.export_failed("internal error", "the export could not be recorded"),
        }
        None
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
        let text = format!("configuration changed by {users} (+{added} -{removed})");
        self.recorder.note(&self.router.name, &text);
    }

    /// Reports a fault of the exports once, until an export is complete.
    fn export_failed(&mut self, subject: &str, cause: &str) {
        self.recorder.set_status(&self.router.name, "incomplete", cause);
        if self.export_fault.set(cause) {
            self.recorder.alarm(&self.router, subject, cause);
        }
    }

    fn export_complete(&mut self, newest: Option<(String, String)>) {
        if self.export_fault.clear() {
            self.recorder.note(&self.router.name, "exports are complete again");
        }
        self.recorder.set_status(&self.router.name, "connected", "");
        self.recorder.set_last_line(&self.router.name, newest);
    }
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
    fn an_interval_is_spread() {
        let hour = Duration::from_secs(3600);
        assert_eq!(spread(hour, 0), hour);
        assert_eq!(spread(hour, 255), hour - hour / 8);
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
            task.export_failed("incomplete export", "the export is cut");
            task.down_since = Some(Instant::now());
            task.report_fault(SshFault::Unreachable("no route".into()), Duration::ZERO);
        }
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("the export is cut").count(), 1, "{log}");
        assert_eq!(log.matches("unreachable for 0 s").count(), 1, "{log}");
        task.connected();
        task.export_failed("incomplete export", "the export is cut");
        task.export_complete(None);
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("the export is cut").count(), 1, "{log}");
        assert!(
            log.contains("connected again") && log.ends_with("exports are complete again\n"),
            "{log}"
        );
    }
}
