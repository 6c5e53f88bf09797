//! One router, for as long as the daemon runs: connected, followed, exported, and tried again.

mod following;
mod taking;

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};

pub use self::taking::{export, records};
use self::{
    following::{Following, Heard},
    taking::{log, take},
};
use crate::{
    backoff::Backoff,
    change::Credit,
    config::Router,
    export,
    hub::{Hub, Outcome, Sent, Turn},
    record::Records,
    ssh::{Fault, Session},
    terminal::print,
    watch::{Claim, Claims, Pace, Watch, is_same_time},
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
    /// What its log said before the last connection ended, and no export has shown.
    claims: Claims,
    /// Whether to let it send only lines about the system.
    filter: bool,
}

impl Task {
    fn new(router: Arc<Router>, hub: Arc<Hub>) -> Task {
        let (backoff, claims, filter) = (Backoff::default(), Claims::default(), router.log_filter);
        Task { router, hub, backoff, alarmed: None, unfit: None, down: None, claims, filter }
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
        let pace = Pace {
            settle: Duration::from_secs(self.router.settle),
            latest: LATEST,
            interval: spread(Duration::from_secs(self.router.interval), chance()),
        };
        let start = Instant::now();
        let mut watch = Watch::new(pace, std::mem::take(&mut self.claims));
        let mut records = Records::default();
        let ended = self.follow(&session, start, &mut watch, &mut records).await;
        // Who was named and not yet credited is credited after the next connection.
        if let Some(record) = records.flush() {
            watch.hear(start.elapsed(), &record);
        }
        self.claims = watch.leave();
        match ended {
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

    /// Follows the log, and then reads what of it the router holds, in this order: no line comes between.
    /// With it what the log said while nobody listened; none: nothing, and nobody did anything.
    async fn begin(
        &mut self,
        session: &Session,
        start: Instant,
        watch: &mut Watch,
    ) -> Result<(Following, Option<Vec<Claim>>), Fault> {
        let (router, hub) = (Arc::clone(&self.router), Arc::clone(&self.hub));
        let failed = self.unfit.is_some();
        let (following, held) = loop {
            let mut following = Following::start(session, self.filter).await?;
            let held = async {
                let _turn = hub.turn(failed).await;
                log(session, &router).await
            };
            match following.meanwhile(held).await? {
                Some(held) => break (following, held?),
                None => self.filter = false,
            }
        };
        let held: Vec<_> =
            held.iter().filter_map(|record| Some((record, Claim::of(record)?))).collect();
        let (now, last) = (start.elapsed(), watch.newest().cloned());
        held.iter().for_each(|(record, _)| watch.know(now, record));
        let last = last.or_else(|| self.hub.archive(&self.router.name).state().ok()?.last_line);
        let known = last.and_then(|(time, message)| {
            held.iter().rposition(|(_, claim)| {
                claim.message == message && is_same_time(&claim.time, &time)
            })
        });
        let new = held.into_iter().skip(known.map_or(0, |at| at + 1));
        let mut new: Vec<_> = new.map(|(_, claim)| claim).collect();
        new.drain(..new.len().saturating_sub(CANDIDATES));
        let mut candidates = Claims::default();
        new.into_iter().for_each(|claim| candidates.push(claim));
        if !candidates.kept.is_empty() || !watch.shown().kept.is_empty() {
            watch.settle(now);
        }
        let nothing = known.is_some() && candidates.kept.is_empty();
        Ok((following, (!nothing).then_some(candidates.kept)))
    }

    async fn follow(
        &mut self,
        session: &Arc<Session>,
        start: Instant,
        watch: &mut Watch,
        records: &mut Records,
    ) -> Result<Infallible, Fault> {
        let (mut following, mut candidates) = self.begin(session, start, watch).await?;
        self.connected();
        let mut export: Option<(Export, Duration)> = None;
        let (mut retry, mut quiet) = (RETRY[0], false);
        loop {
            let due = start + watch.due();
            let exporting = async {
                match &mut export {
                    Some((export, _)) => Some(export.await),
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
                        Heard::NoFilter => {
                            self.filter = false;
                            let (again, new) = self.begin(session, start, watch).await?;
                            following = again;
                            if let Some(new) = new {
                                candidates.get_or_insert_default().extend(new);
                            }
                            continue;
                        }
                    };
                    for record in whole {
                        watch.hear(start.elapsed(), &record);
                    }
                    quiet = false;
                }
                () = sleep(QUIET), if !quiet => {
                    quiet = true;
                    if let Some(record) = records.flush() {
                        watch.hear(start.elapsed(), &record);
                    }
                }
                done = exporting => match (done, export.take()) {
                    (Some(Ok(sent)), Some((_, began))) => {
                        // A line that was held back may be about what the export shows.
                        if let Some(record) = records.flush() {
                            watch.hear(start.elapsed(), &record);
                        }
                        let Claims { kept: claims, further, .. } = watch.shown();
                        let newest = watch.newest_begun().cloned();
                        let credit = Credit { claims, further, candidates: candidates.clone() };
                        match self.conclude(sent, credit).await {
                            Some(Outcome::Doubtful { export: first, base, turn }) => {
                                if let Some(base) = base {
                                    let lines = first.lines.len();
                                    let text = format!("the export has {lines} lines of {base}: taken once more");
                                    self.hub.note(&self.router.name, &text);
                                }
                                export = Some((self.export(session, Some((first, turn))), began));
                            }
                            Some(Outcome::Refused(unfit)) => {
                                self.failing("incomplete export", format!("export refused: {unfit}; it is kept in refused/"));
                                watch.retry(start.elapsed(), retry);
                                retry = (retry * 2).min(RETRY[1]);
                            }
                            None => {
                                watch.retry(start.elapsed(), retry);
                                retry = (retry * 2).min(RETRY[1]);
                            }
                            Some(_) => {
                                candidates = None;
                                retry = RETRY[0];
                                watch.end(began, start.elapsed());
                                self.whole(newest);
                            }
                        }
                    }
                    (Some(Err(fault)), _) => {
                        watch.retry(start.elapsed(), retry);
                        if fault.is_final() {
                            return Err(fault);
                        }
                        // If the connection ended, the log says so: after what it still has to say.
                        if !session.is_closed() {
                            self.failing("failed fetch", format!("export failed: {fault}"));
                        }
                        retry = (retry * 2).min(RETRY[1]);
                    }
                    (None, _) | (_, None) => {
                        watch.begin();
                        export = Some((self.export(session, None), start.elapsed()));
                    }
                },
            }
        }
    }

    /// An export, when it is this router's turn, or because the one before, in the same turn, is doubtful.
    fn export(&self, session: &Arc<Session>, doubtful: Option<(export::Export, Turn)>) -> Export {
        let (session, router) = (Arc::clone(session), Arc::clone(&self.router));
        let (hub, failed) = (Arc::clone(&self.hub), self.unfit.is_some());
        Box::pin(async move {
            let (first, turn) = match doubtful {
                Some((first, turn)) => (Some(first), turn),
                None => (None, hub.turn(failed).await),
            };
            take(&session, &router, turn, first).await
        })
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

    fn whole(&mut self, newest: Option<(String, String)>) {
        if self.unfit.take().is_some() {
            self.hub.note(&self.router.name, "the export is whole again");
        }
        self.hub.set_status(&self.router.name, "connected", "");
        self.hub.remember(&self.router.name, newest);
    }
}

type Export = Pin<Box<dyn Future<Output = Result<Sent, Fault>> + Send>>;

/// Up to an eighth less, by chance: routers that were started together are not all asked at once for
/// ever.
fn spread(interval: Duration, chance: u8) -> Duration {
    interval - interval / 8 * u32::from(chance) / 255
}

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

    #[test]
    fn an_interval_is_spread() {
        let hour = Duration::from_secs(3600);
        assert_eq!(spread(hour, 0), hour);
        assert_eq!(spread(hour, 255), hour - hour / 8);
    }

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
        task.whole(None);
        let log = std::fs::read_to_string(root.path().join("core1/log.txt")).unwrap();
        assert_eq!(log.matches("the export is cut").count(), 1, "{log}");
        assert!(
            log.contains("connected again") && log.ends_with("the export is whole again\n"),
            "{log}"
        );
    }
}
