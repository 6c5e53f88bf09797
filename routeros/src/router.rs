//! One router, for as long as the daemon runs: connected, followed, exported, and tried again.

mod following;
mod taking;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};

pub use self::taking::{export, records};
use self::{
    following::{Following, Heard},
    taking::take,
};
use crate::{
    backoff::Backoff,
    change::Credit,
    config::Router,
    hub::{Hub, Outcome, Sent},
    record::{Record, Records},
    ssh::{Fault, Session},
    terminal::print,
    watch::{Claim, Pace, Watch},
};

/// A line is whole when nothing followed it for so long.
const QUIET: Duration = Duration::from_millis(300);
/// From the first line about a change to its export, at most.
const LATEST: Duration = Duration::from_secs(30);
/// A router whose key is wrong, or that refuses what we ask, is tried again after that.
const LONG: Duration = Duration::from_secs(600);
/// A refused export is tried again after the first pause, and at most after the second.
const RETRY: [Duration; 2] = [Duration::from_secs(10), LONG];
/// Candidates named, at most: the last ones.
const CANDIDATES: usize = 20;

/// Follows a router until the task is ended. `reload` changes when the user wants it tried again.
pub async fn run(router: Arc<Router>, hub: Arc<Hub>, mut reload: watch::Receiver<u64>) {
    let mut task = Task::new(router, hub);
    loop {
        // What is read already holds for this attempt: a login that is refused is not tried twice.
        reload.borrow_and_update();
        let began = Instant::now();
        let fault = task.connection().await;
        if task.down.is_none() {
            task.down = Some(Instant::now());
        }
        match task.after(fault, began.elapsed()) {
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

struct Task {
    router: Arc<Router>,
    hub: Arc<Hub>,
    backoff: Backoff,
    /// What keeps us from following it, was reported, and is not over.
    alarmed: Option<String>,
    /// The same of its exports: one must not silence the other.
    unfit: Option<String>,
    /// Since when it cannot be reached.
    down: Option<Instant>,
}

impl Task {
    fn new(router: Arc<Router>, hub: Arc<Hub>) -> Task {
        let backoff = Backoff::default();
        Task { router, hub, backoff, alarmed: None, unfit: None, down: None }
    }

    /// Says what is wrong, once, and for how long to wait; none: until told otherwise.
    fn after(&mut self, fault: Fault, lasted: Duration) -> Option<Duration> {
        let why = fault.to_string();
        let name = &self.router.name;
        let (status, subject, pause) = match &fault {
            Fault::Unreachable(_) | Fault::NoChannel(_) => {
                self.hub.set_status(name, "unreachable", &why);
                let pause = self.backoff.pause(lasted, chance());
                let down = self.down.map_or(Duration::ZERO, |down| down.elapsed());
                if self.alarmed.is_none() && down >= self.hub.alarm_after {
                    self.alarmed = Some(why.clone());
                    let text = format!("unreachable for {} s: {why}", down.as_secs());
                    self.hub.alarm(&self.router, "unreachable", &text);
                } else if lasted > Duration::from_secs(1) && down < Duration::from_secs(1) {
                    self.hub.note(name, &format!("connection lost: {why}"));
                }
                // The alarm must not wait for the end of a long pause.
                let rest = self.hub.alarm_after.saturating_sub(down).max(Duration::from_millis(10));
                return Some(if self.alarmed.is_some() { pause } else { pause.min(rest) });
            }
            Fault::Refused(_) => ("refused", "login refused", None),
            Fault::ChangedKey(_) => ("host key", "HOST KEY CHANGED", Some(LONG)),
            Fault::UnknownKey(_) => ("host key", "host key unknown", Some(LONG)),
            Fault::Algorithms(_) => ("algorithms", "no common algorithm", Some(LONG)),
            Fault::Local(_) => ("failing", "not followed", Some(LONG)),
        };
        self.hub.set_status(name, status, &why);
        if self.alarmed.as_ref() != Some(&why) {
            self.hub.alarm(&self.router, subject, &why);
            self.alarmed = Some(why);
        }
        pause
    }

    /// One connection, to its end.
    async fn connection(&mut self) -> Fault {
        let session = match Session::open(&self.router).await {
            Ok(session) => Arc::new(session),
            Err(fault) => return fault,
        };
        match self.follow(&session).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    fn connected(&mut self) {
        self.down = None;
        self.hub.set_status(&self.router.name, "connected", "");
        let back = if self.alarmed.take().is_some() { " again" } else { "" };
        self.hub.note(&self.router.name, &format!("connected{back}"));
    }

    async fn follow(&mut self, session: &Arc<Session>) -> Result<std::convert::Infallible, Fault> {
        let router = Arc::clone(&self.router);
        let held = session.run("/log print", router.patience()).await?;
        let mut following = Following::start(session, router.log_filter).await?;
        self.connected();
        let old = records(&held);
        let mut candidates = Some(self.candidates(&old));
        let pace = Pace {
            settle: Duration::from_secs(router.settle),
            latest: LATEST,
            interval: Duration::from_secs(router.interval),
        };
        let mut watch = Watch::new(pace, old);
        let mut records = Records::default();
        let start = Instant::now();
        let mut export: Option<(Export, Duration, (Vec<Claim>, u64))> = None;
        let (mut retry, mut quiet) = (RETRY[0], false);
        loop {
            let due = start + watch.due();
            let exporting = async {
                match &mut export {
                    Some((export, ..)) => export.await,
                    None => {
                        sleep_until(due).await;
                        None
                    }
                }
            };
            tokio::select! {
                heard = following.next() => {
                    let whole = match heard? {
                        Heard::Bytes(bytes) => records.feed(&bytes),
                        Heard::Refusal(command) => {
                            // Here, for what awaits inside the branch's own future can be dropped.
                            following.restart(session, command).await?;
                            continue;
                        }
                    };
                    whole.into_iter().for_each(|record| { watch.hear(start.elapsed(), record); });
                    quiet = false;
                }
                () = sleep(QUIET), if !quiet => {
                    quiet = true;
                    records.flush().into_iter().for_each(|record| { watch.hear(start.elapsed(), record); });
                }
                done = exporting => match (done, export.take()) {
                    (None, _) => {
                        let claims = watch.begin();
                        let export_now = take(Arc::clone(session), Arc::clone(&router), None);
                        export = Some((Box::pin(export_now), start.elapsed(), claims));
                    }
                    (Some(Err(fault)), Some((_, _, claims))) => {
                        if session.is_closed() {
                            return Err(fault);
                        }
                        self.failing("failed fetch", format!("export failed: {fault}"));
                        watch.retry(claims, start.elapsed(), retry);
                        retry = (retry * 2).min(RETRY[1]);
                    }
                    (Some(Ok(sent)), Some((_, began, claims))) => {
                        let mut credit = Credit { claims: claims.0.clone(), further: claims.1, candidates: candidates.clone() };
                        credit.claims.extend_from_slice(watch.meanwhile());
                        let last = credit.claims.clone();
                        match self.conclude(sent, credit).await {
                            Some(Outcome::Doubtful { export: first, base }) => {
                                let lines = first.lines.len();
                                self.hub.note(&router.name, &format!("the export has {lines} lines of {base}: taken once more"));
                                let again = take(Arc::clone(session), Arc::clone(&router), Some(first));
                                export = Some((Box::pin(again), began, claims));
                                continue;
                            }
                            Some(Outcome::Refused(unfit)) => {
                                self.failing("incomplete export", format!("export refused: {unfit}; it is kept in refused/"));
                                watch.retry(claims, start.elapsed(), retry);
                                retry = (retry * 2).min(RETRY[1]);
                            }
                            None => {
                                watch.retry(claims, start.elapsed(), retry);
                                retry = (retry * 2).min(RETRY[1]);
                            }
                            Some(_) => {
                                candidates = None;
                                retry = RETRY[0];
                                watch.end(began, start.elapsed());
                                self.whole(&last);
                            }
                        }
                    }
                    (Some(_), None) => {}
                },
            }
        }
    }

    /// What the log said while nobody listened: after the last line that we know.
    fn candidates(&self, held: &[Record]) -> Vec<Claim> {
        let known =
            self.hub.archive(&self.router.name).state().ok().and_then(|state| state.last_message);
        let last = known.and_then(|known| held.iter().rposition(|record| record.message == known));
        let new = &held[last.map_or(0, |at| at + 1)..];
        let mut claims: Vec<_> = new.iter().filter_map(Claim::of).collect();
        claims.drain(..claims.len().saturating_sub(CANDIDATES));
        claims
    }

    async fn conclude(&mut self, sent: Sent, credit: Credit) -> Option<Outcome> {
        let (hub, router) = (Arc::clone(&self.hub), Arc::clone(&self.router));
        let concluded = spawn_blocking(move || hub.conclude(&router, sent, credit)).await;
        let outcome = match concluded {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                let why = format!("write to the archive: {}", aw_service::explain(&error));
                self.failing("archive", why);
                return None;
            }
            Err(_) => {
                self.failing("internal error", "the export could not be looked at".into());
                return None;
            }
        };
        match &outcome {
            Outcome::First => {
                self.hub.note(&self.router.name, "first contact: configuration stored")
            }
            Outcome::Changed(change) => {
                let when = self.hub.when(change.time);
                if self.hub.print {
                    // Whoever read it may have gone; what is archived stays.
                    let text = change.text(&when, self.hub.secrets);
                    if print(&text).is_err() {
                        aw_service::warn("a change cannot be written to standard output");
                    }
                }
                let text = format!(
                    "configuration changed by {} (+{} -{})",
                    change.who(),
                    change.added,
                    change.removed
                );
                self.hub.note(&self.router.name, &text);
            }
            Outcome::Same | Outcome::Doubtful { .. } | Outcome::Refused(_) => {}
        }
        Some(outcome)
    }

    /// Something is wrong with exports: said once, until one is whole again.
    fn failing(&mut self, subject: &str, why: String) {
        self.hub.set_status(&self.router.name, "incomplete", &why);
        if self.unfit.as_ref() != Some(&why) {
            self.hub.alarm(&self.router, subject, &why);
            self.unfit = Some(why);
        }
    }

    fn whole(&mut self, claims: &[Claim]) {
        if self.unfit.take().is_some() {
            self.hub.note(&self.router.name, "the export is whole again");
        }
        self.hub.set_status(&self.router.name, "connected", "");
        if let Err(error) = self.hub.remember(&self.router.name, claims) {
            self.hub.note(
                &self.router.name,
                &format!("write state.json: {}", shm_layout::cause(&error)),
            );
        }
    }
}

type Export = Pin<Box<dyn Future<Output = Option<Result<Sent, Fault>>> + Send>>;

/// A number by chance, to spread what many routers do.
fn chance() -> u8 {
    let mut byte = [128];
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// What is wrong with exports does not hide that the router is gone, nor the other way round.
    #[tokio::test]
    async fn each_alarm_stands_for_itself() {
        let root = tempfile::tempdir().unwrap();
        let text = format!(
            "archive = {:?}\nalarm_after = 0\n[[router]]\nname = \"core1\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n",
            root.path()
        );
        let config = Config::parse(&text).unwrap();
        let hub = Arc::new(Hub::new(&config, false, None, None, None));
        let mut task = Task::new(Arc::new(config.routers[0].clone()), hub);
        for _ in 0..2 {
            task.failing("incomplete export", "the export is cut".into());
            task.down = Some(Instant::now());
            task.after(Fault::Unreachable("no route".into()), Duration::ZERO);
        }
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("the export is cut").count(), 1, "{log}");
        assert_eq!(log.matches("unreachable for 0 s").count(), 1, "{log}");
        task.connected();
        task.failing("incomplete export", "the export is cut".into());
        task.whole(&[]);
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("the export is cut").count(), 1, "{log}");
        assert!(
            log.contains("connected again") && log.ends_with("the export is whole again\n"),
            "{log}"
        );
    }
}
