//! Binary backups: when one is due, and how it is taken, fetched and removed on the router.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use aw_service::{explain, plain};
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::Instant,
};

use super::{FetchTurns, RouterTask, fetch::run_beside, random_byte};
use crate::{
    config::Router,
    log_record::LogRecord,
    recorder::BackupTimes,
    sftp::SftpFault,
    shared_faults::{OwnFault, SharedFault},
    ssh::{SshConnection, SshFault},
};

/// The file on the router. It is overwritten if it is there, so that what a failure left does not pile up.
const FILE: &str = "addrwatch-backup.backup";
/// Not encrypted by the router: a password would be in its log and history. RouterOS appends `.backup`.
const SAVE: &str = "/system backup save name=addrwatch-backup dont-encrypt=yes";
const REMOVE: &str = "/file remove addrwatch-backup.backup";
/// What the user needs: to save a backup, to remove a file, and to transfer it.
pub const POLICIES: [&str; 7] = ["ssh", "read", "write", "policy", "sensitive", "test", "ftp"];

/// Bytes of a backup, at most.
const MAX_BACKUP: u64 = 64 << 20;
/// From one backup to the next, at least: a save takes a router seconds, and each backup has the size of all before it.
const SHORTEST: Duration = Duration::from_secs(3600);
/// At most: passwords of users, and what else no export shows, are in a backup only.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The pause after a file could not be removed, and while others take their turn.
const REMOVAL_PAUSE: Duration = Duration::from_secs(600);
const TURN_PAUSE: Duration = Duration::from_secs(2);
/// Backups that are fetched at the same time: each is in memory, and once more when it is encrypted.
static TURNS: Semaphore = Semaphore::const_new(2);

/// What is to be done on the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupStep {
    /// Save, fetch and remove.
    Take,
    /// Remove what an earlier connection left.
    Remove,
}

/// A backup that was taken, or why it was not.
pub struct BackupRun {
    step: BackupStep,
    began: Timestamp,
    result: Result<Vec<u8>, BackupFault>,
    /// Why the file is still on the router.
    left: Option<String>,
    _turn: SemaphorePermit<'static>,
}

impl BackupRun {
    /// Nothing is left to be done.
    pub fn is_complete(&self) -> bool {
        self.result.is_ok() && self.left.is_none()
    }
}

pub type PendingBackup = Pin<Box<dyn Future<Output = BackupRun> + Send>>;

#[derive(Debug)]
enum BackupFault {
    /// The user lacks rights.
    Rights(String),
    Failed(String),
}

impl From<SshFault> for BackupFault {
    fn from(fault: SshFault) -> BackupFault {
        BackupFault::Failed(fault.to_string())
    }
}

/// When backups of a router are due.
#[derive(Default)]
pub struct Backups {
    next: Option<(Instant, BackupStep)>,
    /// No backup before this time, since the last one began.
    rest_until: Option<Instant>,
    /// How often the connection ended meanwhile, since one was complete.
    lost: u32,
}

impl Backups {
    pub fn next(&self) -> Option<Instant> {
        self.next.map(|(due, _)| due)
    }

    /// Plans the next one. `times` are those of the archive.
    fn plan(&mut self, times: &BackupTimes, now: Timestamp) {
        let (time, rest) = (Instant::now(), self.rest_until.unwrap_or_else(Instant::now));
        let take = (time + wait(times, now)).max(rest);
        self.next = Some(match times.is_left && take > time {
            true => (time, BackupStep::Remove),
            false => (take, BackupStep::Take),
        });
    }
}

/// How long the next backup waits: an hour after the last one if the configuration has changed since, otherwise a day.
fn wait(times: &BackupTimes, now: Timestamp) -> Duration {
    let Some(newest) = times.backup else { return Duration::ZERO };
    let age = Duration::try_from(now.duration_since(newest)).unwrap_or_default();
    let has_changed = times.snapshot.is_some_and(|snapshot| snapshot >= newest);
    (if has_changed { SHORTEST } else { LONGEST }).saturating_sub(age)
}

impl RouterTask {
    /// Plans the next backup, after a complete export.
    pub async fn plan_backup(&mut self) {
        if !self.router.backup {
            return;
        }
        let (recorder, router) = (Arc::clone(&self.recorder), Arc::clone(&self.router));
        let times = spawn_blocking(move || recorder.backup_times(&router)).await;
        match times {
            Ok(Ok(times)) => self.backups.plan(&times, Timestamp::now()),
            Ok(Err(error)) => self.backup_failed("archive", &explain(&error)),
            Err(_) => {}
        }
    }

    /// Begins what is due, unless others have their turn.
    pub fn begin_backup(&mut self, connection: &Arc<SshConnection>) -> Option<PendingBackup> {
        let (_, step) = self.backups.next.take()?;
        let Ok(turn) = TURNS.try_acquire() else {
            let pause = TURN_PAUSE + Duration::from_millis(10) * u32::from(random_byte());
            self.backups.next = Some((Instant::now() + pause, step));
            return None;
        };
        // Before the command: after a kill in between, the file is removed at the next connection.
        self.recorder.set_backup_left(&self.router.name, true);
        if step == BackupStep::Take {
            self.backups.rest_until = Some(Instant::now() + SHORTEST);
        }
        self.own_lines.begin();
        let (connection, router) = (Arc::clone(connection), Arc::clone(&self.router));
        let (turns, failed) = (self.turns.clone(), self.is_export_failing());
        Some(Box::pin(async move { run(&connection, &router, &turns, failed, step, turn).await }))
    }

    /// The connection ended meanwhile: what is on the router is removed at the next one.
    pub fn backup_lost(&mut self) {
        self.own_lines.end(Instant::now().into_std());
        self.backups.lost += 1;
        let why = "the connection ended during the backup";
        match self.backups.lost {
            1 => self.recorder.note(&self.router.name, &format!("no backup: {why}")),
            _ => self.backup_failed("connection", &format!("{why}, again")),
        }
    }

    /// Records it, and plans the next one.
    pub async fn end_backup(&mut self, run: BackupRun) {
        self.own_lines.end(Instant::now().into_std());
        let name = self.router.name.clone();
        self.recorder.set_backup_left(&name, run.left.is_some());
        match &run.left {
            Some(why) => {
                let text = format!(
                    "the router still has {FILE}, which is not encrypted: {why} (tried again)"
                );
                let fault = SharedFault::own(OwnFault::BackupLeft, "", text);
                self.recorder.own_fault(&self.router, fault);
            }
            None => {
                let text = format!("{FILE} was removed on the router");
                self.recorder.own_fault_ends(&name, OwnFault::BackupLeft, &text);
            }
        }
        let BackupRun { step, began, result, left, _turn } = run;
        match result {
            Ok(_) if step == BackupStep::Remove => {}
            Ok(bytes) => self.store_backup(bytes, began).await,
            Err(BackupFault::Rights(why)) => {
                let text = format!(
                    "{why} (its group needs the policies {}; or remove backup = true)",
                    POLICIES.join(",")
                );
                self.backup_failed("rights", &text);
            }
            Err(BackupFault::Failed(why)) => self.backup_failed("failed", &why),
        }
        self.plan_backup().await;
        if left.is_some() && self.backups.next.is_some() {
            self.backups.next = Some((Instant::now() + REMOVAL_PAUSE, BackupStep::Remove));
        }
    }

    /// Whether a record of the log is about a backup of this program.
    pub fn is_own_line(&mut self, record: &LogRecord) -> bool {
        self.own_lines.take(Instant::now().into_std(), record, &self.router.user)
    }

    /// The same for one that came by syslog.
    pub fn is_own_syslog(&mut self, record: &LogRecord) -> bool {
        self.own_lines.take_syslog(Instant::now().into_std(), record, &self.router.user)
    }

    async fn store_backup(&mut self, bytes: Vec<u8>, began: Timestamp) {
        let (recorder, router) = (Arc::clone(&self.recorder), Arc::clone(&self.router));
        let stored = spawn_blocking(move || recorder.store_backup(&router, &bytes, began)).await;
        match stored {
            Ok(Ok(())) => {
                self.backups.lost = 0;
                let text = "backups are complete again";
                self.recorder.own_fault_ends(&self.router.name, OwnFault::Backups, text);
                self.recorder.set_no_backup(&self.router.name, "");
            }
            Ok(Err(error)) => {
                self.backup_failed("archive", &format!("write a backup: {}", explain(&error)));
            }
            Err(_) => self.backup_failed("internal error", "the backup could not be recorded"),
        }
    }

    /// Reports a fault once for each kind.
    fn backup_failed(&mut self, kind: &str, why: &str) {
        let why = format!("no backup: {why}");
        self.recorder.set_no_backup(&self.router.name, &why);
        let fault = SharedFault::own(OwnFault::Backups, kind, why);
        self.recorder.own_fault(&self.router, fault);
    }
}

async fn run(
    connection: &SshConnection,
    router: &Router,
    turns: &FetchTurns,
    failed: bool,
    step: BackupStep,
    turn: SemaphorePermit<'static>,
) -> BackupRun {
    let _turn = turns.next(failed).await;
    let began = Timestamp::now();
    let mut result = Ok(Vec::new());
    if step == BackupStep::Take {
        result = match save(connection, router).await {
            Ok(()) => fetch(connection, router).await,
            Err(fault) => Err(fault),
        };
    }
    // Also after a failure, unless nothing was saved.
    let left = match &result {
        Err(BackupFault::Rights(why)) if why == DENIED => None,
        _ => remove(connection, router).await.err(),
    };
    BackupRun { step, began, result, left, _turn: turn }
}

const DENIED: &str = "the user may not save a backup";

async fn save(connection: &SshConnection, router: &Router) -> Result<(), BackupFault> {
    let answer = answer(connection, router, SAVE).await?;
    let is_saved = answer.is_empty() || answer.to_ascii_lowercase().contains("backup saved");
    if is_saved {
        Ok(())
    } else if is_denied(&answer) {
        Err(BackupFault::Rights(DENIED.into()))
    } else {
        Err(BackupFault::Failed(format!("the router does not save it: {answer}")))
    }
}

async fn remove(connection: &SshConnection, router: &Router) -> Result<(), String> {
    let answer = answer(connection, router, REMOVE).await.map_err(|fault| fault.to_string())?;
    // Nothing to remove.
    if answer.is_empty() || answer.contains("no such item") { Ok(()) } else { Err(answer) }
}

fn is_denied(answer: &str) -> bool {
    answer.contains("not enough permissions") || answer.contains("permission denied")
}

/// The beginning of the answer to a command.
async fn answer(
    connection: &SshConnection,
    router: &Router,
    command: &'static str,
) -> Result<String, SshFault> {
    let (bytes, fault) = run_beside(connection, router, &[command]).await?;
    match fault {
        Some(fault) => Err(SshFault::Unreachable(format!("{command}: {fault}"))),
        None => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
            let words: Vec<_> = text.split_whitespace().collect();
            Ok(plain(&words.join(" ")).to_string().chars().take(300).collect())
        }
    }
}

async fn fetch(connection: &SshConnection, router: &Router) -> Result<Vec<u8>, BackupFault> {
    let fetched = match transfer(connection, router).await {
        Err(SshFault::NoChannel(_)) => {
            let second = SshConnection::open(router).await?;
            let fetched = transfer(&second, router).await;
            second.close().await;
            fetched?
        }
        fetched => fetched?,
    };
    match fetched {
        Ok(bytes) if bytes.is_empty() => {
            Err(BackupFault::Failed(format!("{FILE} is empty on the router")))
        }
        Ok(bytes) => Ok(bytes),
        Err(fault) if fault.is_about_rights() => {
            Err(BackupFault::Rights(format!("the user may not fetch {FILE}: {fault}")))
        }
        Err(fault) => Err(BackupFault::Failed(format!("fetch {FILE}: {fault}"))),
    }
}

async fn transfer(
    connection: &SshConnection,
    router: &Router,
) -> Result<Result<Vec<u8>, SftpFault>, SshFault> {
    connection.download(FILE, MAX_BACKUP, router.export_timeout()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_backup_is_due() {
        let at = |second: i64| Some(Timestamp::from_second(1_000_000 + second).unwrap());
        let now = at(100_000).unwrap();
        let of = |snapshot, backup| wait(&BackupTimes { snapshot, backup, is_left: false }, now);
        assert_eq!(of(at(99_000), None), Duration::ZERO, "the first one");
        assert_eq!(of(at(99_990), at(99_900)), Duration::from_secs(3500), "a change");
        assert_eq!(of(at(99_990), at(90_000)), Duration::ZERO, "a change, and an hour");
        assert_eq!(of(at(10), at(99_900)), Duration::from_secs(86_300), "no change");
        assert_eq!(of(at(10), at(20)), Duration::ZERO, "a day");
        // A clock that was set back.
        assert_eq!(of(at(10), at(200_000)), LONGEST);
    }

    /// What an earlier connection left is removed at once, although the next backup waits.
    #[tokio::test]
    async fn what_was_left_is_removed() {
        let now = Timestamp::now();
        let times = |is_left| BackupTimes { snapshot: None, backup: Some(now), is_left };
        let step = |backups: &Backups| backups.next.map(|(_, step)| step);
        let mut backups = Backups::default();
        backups.plan(&times(true), now);
        assert_eq!(step(&backups), Some(BackupStep::Remove));
        backups.plan(&times(false), now);
        assert_eq!(step(&backups), Some(BackupStep::Take));
        assert!(backups.next().unwrap() > Instant::now() + SHORTEST);
        // After a failure there is none for an hour.
        backups.rest_until = Some(Instant::now() + SHORTEST);
        backups.plan(&BackupTimes { snapshot: None, backup: None, is_left: false }, now);
        assert!(backups.next().unwrap() > Instant::now() + SHORTEST / 2);
    }
}
