//! One connection to a router: follows its log, and fetches an export when the log or the interval requires one.

mod after_export;
mod candidates;
mod exports;

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use aw_service::Backoff;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};

use self::exports::EXPORT_PAUSES;
use super::{
    FetchedExport, RouterTask,
    backup::{BackupRun, PendingBackup},
    fetch::stored_log,
    follow_log::{LogEvent, LogFollower},
    log_check::{LogCheck, LogChecked, next_check},
    random_byte,
    read_facts::{Aftermath, Reading},
    spread,
};
use crate::{
    attribution::{Attribution, ExportTiming, LogClaim},
    facts::Facts,
    log_record::{LogAssembler, LogRecord},
    ssh::{SshConnection, SshFault},
};

/// A record is complete when nothing follows it for this time.
const QUIET: Duration = Duration::from_millis(300);
/// From the first log line about a change to its export, at most.
const LATEST_EXPORT: Duration = Duration::from_secs(30);
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
    /// That time, about.
    unwatched: Option<(Timestamp, Timestamp)>,
    is_followed: bool,
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
            unwatched: None,
            is_followed: false,
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
        if self.is_followed {
            self.task.followed_until = Some(Timestamp::now());
        }
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
        self.is_followed = true;
        self.task.allow_syslog(self.connection.peer());
        loop {
            if std::mem::take(&mut self.follows_again) {
                // The stored log needs a turn, and so does an export: routers with one that wait for another stop each other.
                if self.export.is_some() {
                    self.connection.disconnect().await;
                    let why =
                        "the router does not support the filter of its log: following it without";
                    return Err(SshFault::Unreachable(why.into()));
                }
                log = Box::pin(self.start_log()).await?;
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
}
