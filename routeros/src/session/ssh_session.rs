//! One connection to a router: follows its log, and fetches an export when the log or the interval requires one.

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
    log_check::{LogCheck, check_log, next_check},
    random_byte,
    read_facts::{Aftermath, PendingFacts, read_facts, read_history},
    spread,
};
use crate::{
    attribution::{Attribution, Claims, ExportTiming, LogClaim, is_own_entry},
    change::Credit,
    config_export::Export,
    facts::Facts,
    log_record::{LogAssembler, LogRecord},
    log_rule::ChangeLog,
    recorder::Outcome,
    ssh::{SshConnection, SshFault},
};

/// A record is complete when nothing follows it for this time.
const QUIET: Duration = Duration::from_millis(300);
/// From the first log line about a change to its export, at most.
const LATEST_EXPORT: Duration = Duration::from_secs(30);
/// The first and the longest pause after a failed export.
const EXPORT_PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(600)];

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
    /// Asks whether the log shows changes.
    log_check: Option<LogCheck>,
    export_backoff: Backoff,
    /// The backup that is taken. No export begins meanwhile.
    backup: Option<PendingBackup>,
    /// What is read and recorded after an export.
    aftermath: Option<(PendingFacts, Aftermath)>,
    /// Nothing arrived for [`QUIET`].
    is_quiet: bool,
}

enum SessionEvent {
    Log(LogEvent),
    Quiet,
    ExportDue,
    Exported(Result<FetchedExport, SshFault>),
    ExportRequested,
    Syslog(LogRecord),
    LogChecked(Option<ChangeLog>),
    FactsRead(Facts),
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
            log_check: None,
            export_backoff: Backoff::new(EXPORT_PAUSES[0], EXPORT_PAUSES[1]),
            backup: None,
            aftermath: None,
            is_quiet: false,
        }
    }

    /// Follows the router until the connection ends. Claims without an export are credited after the next connection.
    pub async fn run(mut self) -> SshFault {
        let Err(fault) = self.follow().await;
        self.flush_log();
        if self.backup.take().is_some() {
            self.task.backup_lost();
        }
        self.task.claims = self.attribution.pending();
        self.record_facts(Facts::default()).await;
        fault
    }

    async fn follow(&mut self) -> Result<Infallible, SshFault> {
        let mut log = self.start_log().await?;
        self.task.connected();
        self.task.allow_syslog(self.connection.peer());
        loop {
            match self.next_event(&mut log).await? {
                SessionEvent::Log(LogEvent::Bytes(bytes)) => {
                    let records = self.assembler.feed(&bytes);
                    records.iter().for_each(|record| self.observe(record));
                    self.is_quiet = false;
                }
                SessionEvent::Log(LogEvent::FilterUnsupported) => {
                    self.task.filter = false;
                    log = self.start_log().await?;
                }
                SessionEvent::Quiet => {
                    self.is_quiet = true;
                    self.flush_log();
                }
                SessionEvent::ExportDue => {
                    self.attribution.export_began();
                    self.task.requests.export_began();
                    self.export = Some((self.fetch(None), self.start.elapsed()));
                }
                SessionEvent::Exported(result) => self.export_fetched(result).await?,
                SessionEvent::ExportRequested => {}
                SessionEvent::Syslog(record) if self.task.is_own_syslog(&record) => {}
                SessionEvent::Syslog(record) => {
                    self.attribution.observe_syslog(self.start.elapsed(), &record);
                }
                SessionEvent::LogChecked(place) => {
                    self.log_check = None;
                    self.task.report_change_log(place);
                }
                SessionEvent::FactsRead(facts) => self.record_facts(facts).await,
                SessionEvent::BackupDue => self.backup = self.task.begin_backup(&self.connection),
                SessionEvent::BackedUp(run) => {
                    self.backup = None;
                    match self.connection.is_closed() && !run.is_complete() {
                        true => self.task.backup_lost(),
                        false => self.task.end_backup(run).await,
                    }
                }
            }
        }
    }

    async fn next_event(&mut self, log: &mut LogFollower) -> Result<SessionEvent, SshFault> {
        if self.task.requests.is_waiting() && self.export.is_none() {
            self.attribution.schedule.request(self.start.elapsed());
        }
        let due = self.start + self.attribution.schedule.due();
        let (export, log_check, syslog) =
            (&mut self.export, &mut self.log_check, &mut self.task.syslog);
        let (aftermath, backup) = (&mut self.aftermath, &mut self.backup);
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
            match aftermath {
                Some((facts, _)) => SessionEvent::FactsRead(facts.await),
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

    fn observe(&mut self, record: &LogRecord) {
        if self.task.is_own_line(record) {
            self.attribution.remember(self.start.elapsed(), record);
            // After a restart it is known too, unless an export is to come anyway.
            let is_settled = self.export.is_none() && self.candidates.is_none();
            if is_settled && self.attribution.pending().kept.is_empty() {
                let newest = self.attribution.newest().cloned();
                self.task.recorder.set_last_line(&self.task.router.name, newest);
            }
            return;
        }
        self.attribution.observe(self.start.elapsed(), record);
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
        let mut fetched = match result {
            Ok(fetched) => fetched,
            Err(fault) => return self.fetch_failed(fault),
        };
        // A line that is held back may be about what the export shows.
        self.flush_log();
        let Claims { kept: mut claims, further, .. } = self.attribution.pending();
        if claims.is_empty() {
            let router = &self.task.router;
            fetched.history.retain(|entry| !(router.backup && is_own_entry(entry, &router.user)));
            claims = self.task.recorder.history_claims(&self.task.router.name, &fetched.history);
        }
        let newest = self.attribution.newest_exported().cloned();
        let credit = Credit { claims, further, candidates: self.candidates.clone() };
        let mut aftermath = Aftermath::new(&fetched.bytes, &credit, self.attribution.settled());
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
                return Ok(());
            }
            Some(Outcome::Incomplete { .. }) | None => {
                self.retry_export();
                return Ok(());
            }
            Some(Outcome::First) => {
                let text = "first contact: configuration stored";
                self.task.recorder.note(&self.task.router.name, text);
                aftermath.is_first();
            }
            Some(Outcome::Changed(change)) => {
                self.task.report_change(&change);
                self.attribution.set_recorded();
                aftermath.is_recorded();
            }
            Some(Outcome::Unchanged) => {}
        }
        self.task.exports_work();
        // A change of the logging rules is in an export too: the answer is that of now.
        self.log_check = Some(check_log(Arc::clone(&self.connection)));
        if !failed.is_empty() && is_unchanged && self.task.sections.may_pass() {
            // What the log claims may be about a section that failed. Not for ever: others would be credited later.
            self.attribution.export_incomplete(began, self.start.elapsed());
        } else {
            self.candidates = None;
            self.read_facts(aftermath);
            self.attribution.export_complete(began, self.start.elapsed());
            self.task.recorder.set_last_line(&self.task.router.name, newest);
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

    /// Reads facts about the router after an export, and records them once they are read.
    fn read_facts(&mut self, mut aftermath: Aftermath) {
        let facts = match self.aftermath.take() {
            Some((facts, earlier)) => {
                aftermath = earlier.followed_by(aftermath);
                facts
            }
            None => read_facts(Arc::clone(&self.connection)),
        };
        self.aftermath = Some((facts, aftermath));
    }

    async fn record_facts(&mut self, facts: Facts) {
        if let Some((_, aftermath)) = self.aftermath.take() {
            self.task.record_facts(facts, aftermath).await;
        }
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
    }
}
