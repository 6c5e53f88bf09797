//! One connection to a router: follows its log, and fetches an export when the log or the interval requires one.

mod after_export;
mod candidates;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use aw_service::Backoff;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    FetchedExport, RouterTask, Turn,
    backup::{BackupRun, PendingBackup},
    fetch::{fetch_export, stored_log},
    follow_log::{LogEvent, LogFollower},
    log_check::{LogCheck, LogChecked, check_log, next_check},
    random_byte,
    read_facts::{Aftermath, Reading, read_history},
    spread,
};
use crate::{
    attribution::{Attribution, Claims, ExportTiming, LogClaim, is_own_entry},
    change::{Credit, is_about_security},
    config_export::Export,
    facts::Facts,
    log_record::{LogAssembler, LogRecord},
    recorder::Outcome,
    ssh::{SshConnection, SshFault},
};

/// A record is complete when nothing follows it for this time.
const QUIET: Duration = Duration::from_millis(300);
/// From the first log line about a change to its export, at most.
const LATEST_EXPORT: Duration = Duration::from_secs(30);
/// The first and the longest pause after a failed export.
const EXPORT_PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(600)];
/// After so many failed exports in a row, what the log says is recorded without one.
const FAILED_EXPORTS: u32 = 5;
/// Parts of the log that are read before an export is judged, at most.
const MAX_WAITING: usize = 256;

type PendingExport = Pin<Box<dyn Future<Output = Result<FetchedExport, SshFault>> + Send>>;

/// One connection to a router.
pub struct Session<'a> {
    task: &'a mut RouterTask,
    connection: Arc<SshConnection>,
    start: Instant,
    attribution: Attribution,
    assembler: LogAssembler,
    /// Claims from a time when the log was not followed; `None` if there certainly was no change.
    candidates: Option<Vec<LogClaim>>,
    /// The export that is being fetched, and when it began.
    export: Option<(PendingExport, Duration)>,
    /// The number of the next claim when the last export began, see [`FactsClaims`](crate::attribution::FactsClaims).
    export_began: u64,
    /// Asks whether the log shows changes.
    log_check: Option<LogCheck>,
    export_backoff: Backoff,
    /// The backup that is taken. No export begins meanwhile.
    backup: Option<PendingBackup>,
    /// What is read and recorded after an export.
    reading: Option<Reading>,
    /// What is recorded with the facts that are read next.
    aftermath: Option<Aftermath>,
    /// Nothing arrived for [`QUIET`].
    is_quiet: bool,
    /// The router does not support the filter: its log is to be followed without.
    follows_again: bool,
}

enum SessionEvent {
    Log(LogEvent),
    Quiet,
    ExportDue,
    Exported(Result<FetchedExport, SshFault>),
    ExportRequested,
    Syslog(LogRecord),
    LogChecked(LogChecked),
    FactsRead(Facts, bool),
    BackupDue,
    BackedUp(BackupRun),
}

impl Session<'_> {
    pub fn new(task: &mut RouterTask, connection: SshConnection) -> Session<'_> {
        let timing = ExportTiming {
            settle: Duration::from_secs(task.router.settle),
            latest: LATEST_EXPORT,
            interval: spread(Duration::from_secs(task.router.interval), random_byte()),
        };
        let claims = std::mem::take(&mut task.claims);
        Session {
            task,
            connection: Arc::new(connection),
            start: Instant::now(),
            attribution: Attribution::new(timing, claims),
            assembler: LogAssembler::default(),
            candidates: None,
            export: None,
            export_began: 0,
            log_check: None,
            export_backoff: Backoff::new(EXPORT_PAUSES[0], EXPORT_PAUSES[1]),
            reading: None,
            backup: None,
            aftermath: None,
            is_quiet: false,
            follows_again: false,
        }
    }

    /// Follows the router until the connection ends. Claims without an export are credited after the next connection.
    pub async fn run(mut self) -> SshFault {
        let Err(fault) = self.follow().await;
        self.flush_log();
        Box::pin(self.record_rest()).await;
        if self.backup.take().is_some() {
            self.task.backup_lost();
        }
        self.task.claims = self.attribution.pending();
        fault
    }

    // What is large and rare is boxed: it takes memory while it runs, and not in the task of each router.
    async fn follow(&mut self) -> Result<Infallible, SshFault> {
        let mut log = Box::pin(self.start_log()).await?;
        self.task.connected();
        self.task.allow_syslog(self.connection.peer());
        loop {
            // Not while an export holds its turn: others that wait for one would stop each other.
            if std::mem::take(&mut self.follows_again) {
                log = self.start_log().await?;
            }
            // Facts and the check of the logging rules need another connection.
            let is_idle = self.export.is_none()
                && self.backup.is_none()
                && self.reading.is_none()
                && self.log_check.is_none();
            if is_idle && let Some(fault) = self.connection.stuck() {
                self.connection.disconnect().await;
                return Err(fault);
            }
            match self.next_event(&mut log).await? {
                SessionEvent::Log(event) => self.log_received(event),
                SessionEvent::Quiet => {
                    self.is_quiet = true;
                    self.flush_log();
                }
                SessionEvent::ExportDue => {
                    self.attribution.export_began();
                    self.task.requests.export_began();
                    self.export_began = self.task.facts_claims.next();
                    self.export = Some((self.fetch(None), self.start.elapsed()));
                }
                SessionEvent::Exported(result) => {
                    self.read_waiting(&mut log).await?;
                    Box::pin(self.export_fetched(result)).await?;
                }
                SessionEvent::ExportRequested => {}
                SessionEvent::BackupDue => self.backup = self.task.begin_backup(&self.connection),
                SessionEvent::BackedUp(run) => {
                    self.backup = None;
                    match self.connection.is_closed() && !run.is_complete() {
                        true => self.task.backup_lost(),
                        false => Box::pin(self.task.end_backup(run)).await,
                    }
                }
                SessionEvent::Syslog(record) => self.observe_syslog(&record),
                SessionEvent::LogChecked(checked) => {
                    self.log_check = None;
                    if checked.is_ok() || !self.connection.is_closed() {
                        self.task.report_change_log(checked);
                    }
                }
                SessionEvent::FactsRead(facts, is_complete) => {
                    if is_complete || !self.connection.is_closed() {
                        self.task.report_facts(is_complete);
                    }
                    self.read_waiting(&mut log).await?;
                    self.flush_log();
                    let is_recorded = Box::pin(self.record_facts(facts)).await;
                    if is_recorded && let Some(aftermath) = self.aftermath.take() {
                        self.read_facts(aftermath);
                    }
                }
            }
        }
    }

    /// Takes the lines that came before the end of an answer: they name who made the changes in it.
    async fn read_waiting(&mut self, log: &mut LogFollower) -> Result<(), SshFault> {
        for _ in 0..MAX_WAITING {
            let Some(event) = log.received().await else { break };
            self.log_received(event?);
            if self.follows_again {
                break;
            }
        }
        // Behind those of the log, of which they may be copies.
        self.flush_log();
        while let Some(record) = self.task.syslog.waiting() {
            self.observe_syslog(&record);
        }
        Ok(())
    }

    async fn next_event(&mut self, log: &mut LogFollower) -> Result<SessionEvent, SshFault> {
        if self.task.requests.is_waiting() && self.export.is_none() {
            self.attribution.schedule.request(self.start.elapsed());
        }
        let due = self.start + self.attribution.schedule.due();
        let (export, log_check, syslog) =
            (&mut self.export, &mut self.log_check, &mut self.task.syslog);
        let (reading, backup) = (&mut self.reading, &mut self.backup);
        let next_backup = self.task.backups.next().filter(|_| export.is_none());
        let is_backing_up = backup.is_some();
        let next_export = async {
            match export {
                Some((export, _)) => SessionEvent::Exported(export.await),
                None if is_backing_up => pending().await,
                None => {
                    sleep_until(due).await;
                    SessionEvent::ExportDue
                }
            }
        };
        let facts = async {
            match reading {
                Some(reading) => {
                    let (facts, is_complete) = (&mut reading.facts).await;
                    SessionEvent::FactsRead(facts, is_complete)
                }
                None => pending().await,
            }
        };
        let backed_up = async {
            match (backup, next_backup) {
                (Some(backup), _) => SessionEvent::BackedUp(backup.await),
                (None, Some(due)) => {
                    sleep_until(due).await;
                    SessionEvent::BackupDue
                }
                (None, None) => pending().await,
            }
        };
        tokio::select! {
            event = log.next() => event.map(SessionEvent::Log),
            () = sleep(QUIET), if !self.is_quiet => Ok(SessionEvent::Quiet),
            event = next_export => Ok(event),
            () = self.task.requests.next() => Ok(SessionEvent::ExportRequested),
            record = syslog.next() => Ok(SessionEvent::Syslog(record)),
            place = next_check(log_check) => Ok(SessionEvent::LogChecked(place)),
            event = facts => Ok(event),
            event = backed_up => Ok(event),
        }
    }

    fn log_received(&mut self, event: LogEvent) {
        match event {
            LogEvent::Bytes(bytes) => {
                let records = self.assembler.feed(&bytes);
                records.iter().for_each(|record| self.observe(record));
                self.is_quiet = false;
            }
            LogEvent::FilterUnsupported => {
                self.task.filter = false;
                self.follows_again = true;
            }
        }
    }

    fn observe_syslog(&mut self, record: &LogRecord) {
        if self.task.is_own_syslog(record) {
            return;
        }
        if let Some(claim) = self.attribution.observe_syslog(self.start.elapsed(), record) {
            self.task.facts_claims.push(claim);
        }
    }

    fn observe(&mut self, record: &LogRecord) {
        if self.task.is_own_line(record) {
            self.attribution.remember(self.start.elapsed(), record);
            // After a restart it is known too, unless an export or a record is to come anyway.
            let is_settled = self.export.is_none()
                && self.candidates.is_none()
                && self.reading.is_none()
                && self.aftermath.is_none();
            if is_settled && self.attribution.pending().kept.is_empty() {
                self.set_last_line(self.attribution.newest().cloned());
            }
            return;
        }
        if self.attribution.observe(self.start.elapsed(), record)
            && let Some(claim) = LogClaim::of(record)
        {
            self.task.facts_claims.push(claim);
        }
    }

    fn flush_log(&mut self) {
        if let Some(record) = self.assembler.flush() {
            self.observe(&record);
        }
    }

    /// Follows the log and then reads the stored log, in this order, so that no line is missed between them. The stored
    /// lines after the last known one become candidates.
    async fn start_log(&mut self) -> Result<LogFollower, SshFault> {
        let (log, stored) = loop {
            let mut log = LogFollower::start(&self.connection, self.task.filter).await?;
            let stored = async {
                let _turn = self.task.turns.next(self.task.is_export_failing()).await;
                stored_log(&self.connection, &self.task.router).await
            };
            match log.meanwhile(stored).await? {
                Some(stored) => break (log, stored?),
                None => self.task.filter = false,
            }
        };
        self.find_candidates(&stored);
        Ok(log)
    }

    /// Fetches an export when the router has its turn, or a second one in the same turn to confirm the first.
    fn fetch(&self, unconfirmed: Option<(Export, Turn)>) -> PendingExport {
        let (connection, router) = (Arc::clone(&self.connection), Arc::clone(&self.task.router));
        let (turns, failed) = (self.task.turns.clone(), self.task.is_export_failing());
        let earlier = self.task.earlier_export;
        let is_unnamed = self.attribution.pending().kept.is_empty();
        Box::pin(async move {
            if let Some(end) = earlier {
                sleep_until(end).await;
            }
            let (unconfirmed, turn) = match unconfirmed {
                Some((first, turn)) => (Some(first), turn),
                None => (None, turns.next(failed).await),
            };
            let mut fetched = fetch_export(&connection, &router, turn, unconfirmed).await?;
            if is_unnamed {
                fetched.history = read_history(&connection).await;
            }
            Ok(fetched)
        })
    }

    async fn export_fetched(
        &mut self,
        result: Result<FetchedExport, SshFault>,
    ) -> Result<(), SshFault> {
        let began = self.export.take().map_or(Duration::ZERO, |(_, began)| began);
        if matches!(result, Ok(_) | Err(SshFault::Late { .. })) {
            self.task.login_works();
        }
        let mut fetched = match result {
            Ok(fetched) => fetched,
            Err(fault) => return self.fetch_failed(fault),
        };
        // A line that is held back may be about what the export shows.
        self.flush_log();
        let Claims { kept: claims, further, .. } = self.attribution.pending();
        let (is_named, missed) = (!claims.is_empty(), self.task.missed.clone());
        let mut credit = Credit { claims, further, candidates: self.candidates.clone(), missed };
        let router = &self.task.router;
        fetched.history.retain(|entry| !(router.backup && is_own_entry(entry, &router.user)));
        let history = self.task.recorder.history_claims(&self.task.router.name, &fetched.history);
        credit.add_history(history.clone(), self.task.is_history_current);
        let mut aftermath = Aftermath {
            header: Facts::of_header(&fetched.bytes),
            header_began: self.export_began,
            unshown: self.attribution.settled().without_recorded(),
            unshown_candidates: self.candidates.clone().unwrap_or_default(),
            last_line: self.attribution.newest_exported().cloned(),
            ..Aftermath::default()
        };
        if !is_named && self.task.is_history_current {
            aftermath.history = history;
        }
        aftermath.header.history.clone_from(&fetched.history);
        let recorded = self.task.record(fetched, credit).await;
        self.task.requests.export_ended(recorded.as_ref());
        let (outcome, failed) = match recorded {
            Some(Outcome::Incomplete { outcome, failed }) => (Some(*outcome), failed),
            outcome => (outcome, BTreeSet::new()),
        };
        let is_unchanged = matches!(outcome, Some(Outcome::Unchanged));
        match outcome {
            Some(Outcome::Unconfirmed { loss, export: first, turn }) => {
                if let Some(loss) = loss {
                    let text = format!("{loss}: exporting again");
                    self.task.recorder.note(&self.task.router.name, &text);
                }
                self.export = Some((self.fetch(Some((first, turn))), began));
                return Ok(());
            }
            Some(Outcome::Rejected(fault)) => {
                let text = format!("export rejected: {fault} (stored in refused/)");
                self.task.export_failed(fault.kind(), "incomplete export", &text);
                self.retry_export();
                self.read_facts(Aftermath::default());
                return Ok(());
            }
            Some(Outcome::Incomplete { .. }) | None => {
                self.retry_export();
                return Ok(());
            }
            Some(Outcome::First) => {
                let text = "first contact: configuration stored";
                self.task.recorder.note(&self.task.router.name, text);
                aftermath.unshown_candidates.clear(); // lines of the time before are not news
            }
            Some(Outcome::Changed(change)) => {
                self.task.report_change(&change);
                // No user hides a line about access behind a change that rules ignore.
                let is_unshown = |claim: &LogClaim| change.is_ignored() && is_about_security(claim);
                self.attribution.set_recorded(|claim| !is_unshown(claim));
                aftermath.unshown.kept.retain(is_unshown);
                aftermath.unshown.further = 0;
                aftermath.unshown_candidates.retain(is_unshown);
            }
            Some(Outcome::Unchanged) => {}
        }
        self.task.failed_exports = 0;
        self.task.missed.exported(&failed);
        self.task.exports_work(&failed);
        // A change of the logging rules is in an export too: the answer is that of now.
        self.log_check.get_or_insert_with(|| check_log(Arc::clone(&self.connection)));
        if !failed.is_empty() && is_unchanged && self.task.sections.may_pass() {
            // What the log claims may be about a section that failed. Not for ever: others would be credited later.
            self.attribution.export_incomplete(began, self.start.elapsed());
        } else {
            let mut settled = self.attribution.settled();
            self.candidates.take().into_iter().flatten().for_each(|claim| settled.push(claim));
            self.task.missed.settled(&failed, settled);
            self.task.is_history_current &= !is_named;
            self.attribution.export_complete(began, self.start.elapsed());
            aftermath.is_incomplete = !failed.is_empty();
            self.read_facts(aftermath);
            self.task.plan_backup().await;
        }
        if self.task.sections_failed(&failed) {
            if failed.is_empty() {
                self.export_backoff.reset();
            }
            self.attribution
                .schedule
                .again_after(self.start.elapsed(), self.export_backoff.pause());
        } else {
            self.export_backoff.reset();
        }
        Ok(())
    }

    fn fetch_failed(&mut self, fault: SshFault) -> Result<(), SshFault> {
        self.retry_export();
        self.task.requests.export_failed(&format!("export failed: {fault}"));
        if fault.is_final() {
            return Err(fault);
        }
        let is_late = matches!(fault, SshFault::Late { .. });
        if let SshFault::Late { is_ended: false, .. } = fault {
            self.task.export_may_run();
        }
        // If the connection ended, the log reports it, after the lines that it still has.
        if is_late || !self.connection.is_closed() {
            self.task.export_failed("fetch", "failed fetch", &format!("export failed: {fault}"));
        }
        Ok(())
    }

    fn retry_export(&mut self) {
        self.attribution.export_failed(self.start.elapsed(), self.export_backoff.pause());
        self.task.failed_exports = self.task.failed_exports.saturating_add(1);
        let unshown = self.attribution.pending().without_recorded();
        if self.task.failed_exports >= FAILED_EXPORTS && !unshown.kept.is_empty() {
            self.attribution.set_recorded_claims(&unshown.kept);
            self.read_facts(Aftermath { unshown, is_incomplete: true, ..Aftermath::default() });
        }
    }
}
