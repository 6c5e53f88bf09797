//! Records what happens to routers: messages and `log.txt`, `state.json`, the archive, mail, git and the ring. Each part
//! has a file of its own here, and its own lock.

mod clear_secrets;
mod clock;
mod commits;
mod digest;
mod journal;
mod judge;
mod mail;
mod record_backup;
mod record_export;
mod record_facts;
mod report;
mod ring;
mod secret_tags;
mod sensitive;
mod service;
mod shared;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aw_notify::Mailer;
use aw_service::{info, plain, warn};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::Writer;

pub use self::{
    clear_secrets::shows_secrets,
    record_backup::BackupTimes,
    record_export::Outcome,
    secret_tags::untagged,
    shared::{CONNECTING, RestoredFaults, STOPPED, is_followed},
};
use self::{
    clock::RetentionClock,
    commits::{AT_START, Commits},
    journal::Journal,
    judge::Judge,
    mail::ChangeMail,
    ring::ChangeRing,
    secret_tags::SecretTags,
    sensitive::SensitiveHashes,
};
use crate::{
    archive::Archive,
    config::{Config, Router, RouterName},
    git::Repository,
    hooks::{HookEvent, Hooks},
    mask::mask,
    pause::Pause,
    reported_change::MaskedFile,
    service_state::ServiceState,
    shared_faults::{OwnFault, SharedCause, SharedFaults},
    syslog::SyslogSenders,
};

/// Bytes of the reason for a status, at most, in the state of a router.
const MAX_WHY: usize = 4096;

pub struct Recorder {
    /// The configuration at the start; its routers may have changed since then.
    pub config: Config,
    /// The addresses that may send syslog.
    pub syslog_senders: Arc<SyslogSenders>,
    /// Print each change with its diff.
    pub print: bool,
    zone: TimeZone,
    journal: Journal,
    /// What other programs may read of the changes.
    masked_file: Mutex<MaskedFile>,
    mail: ChangeMail,
    ring: Option<ChangeRing>,
    commits: Option<Commits>,
    hooks: Option<Hooks>,
    clock: RetentionClock,
    judge: Judge,
    /// For each router a lock that is held while an export is recorded.
    recording: Mutex<BTreeMap<RouterName, Arc<Mutex<()>>>>,
    sensitive: Mutex<SensitiveHashes>,
    /// Faults that routers share.
    shared: Mutex<SharedFaults>,
    /// The receivers of mail about each router, which a reload may change without a new connection.
    receivers: Mutex<BTreeMap<RouterName, Option<Vec<String>>>>,
    /// The status of each router that is followed.
    statuses: Mutex<BTreeMap<RouterName, String>>,
    secret_tags: Mutex<SecretTags>,
    /// Stored for `--health` and `show`.
    service: Mutex<ServiceState>,
    /// Why a configuration is not, for the service manager: what stores the state above waits for disks.
    not_in_effect: Mutex<String>,
    /// When this process started, and how long none ran before; none after the routers of the start.
    started: Timestamp,
    pause: Mutex<Pause>,
}

impl Recorder {
    pub fn new(
        config: &Config,
        print: bool,
        mailer: Option<Mailer>,
        ring: Option<Writer>,
        git: Option<Repository>,
    ) -> Recorder {
        // The ancestor mails each change.
        let window = Duration::from_secs(if print { 0 } else { config.mail_digest });
        // Of an earlier process, so that the end of what it mailed is mailed.
        let mut service = ServiceState::read(&config.archive);
        if git.is_none() {
            service.git.clear();
        }
        service.syslog.clone_from(&config.syslog);
        if let Some(mailer) = &mailer {
            mailer.restore(service.mail.refused.clone());
        }
        Recorder {
            zone: TimeZone::system(),
            journal: Journal::new(&config.archive),
            masked_file: Mutex::new(MaskedFile::of(&config.archive)),
            mail: ChangeMail::new(
                mailer,
                &config.archive.join(".spool"),
                window,
                config.mail_lines,
            ),
            ring: ring.map(ChangeRing::new),
            commits: git.map(|git| Commits::new(config, git)),
            hooks: None,
            clock: RetentionClock::new(),
            judge: Judge::default(),
            recording: Mutex::default(),
            sensitive: Mutex::default(),
            shared: Mutex::default(),
            receivers: Mutex::default(),
            statuses: Mutex::default(),
            secret_tags: Mutex::default(),
            service: Mutex::new(service),
            not_in_effect: Mutex::default(),
            started: Timestamp::now(),
            pause: Mutex::new(Pause::None),
            syslog_senders: Arc::default(),
            config: config.clone(),
            print,
        }
    }

    /// Writes each change to this file too.
    pub fn with_change_log(mut self, file: Option<File>) -> Recorder {
        self.journal.change_log = Mutex::new(file);
        self
    }

    /// Starts these after each change.
    pub fn with_hooks(mut self, hooks: Option<Hooks>) -> Recorder {
        self.hooks = hooks;
        self.restore_hooks();
        self
    }

    pub fn archive(&self, router: &RouterName) -> Archive {
        Archive::of(&self.config.archive, router)
    }

    /// No process ran for so long before this one.
    pub fn with_pause(mut self, pause: Pause) -> Recorder {
        self.pause = Mutex::new(pause);
        self
    }

    /// A time as it is printed.
    pub fn local_time(&self, time: Timestamp) -> String {
        Zoned::new(time, self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// Text that leaves the archive: messages, mail with its subject, hooks, the ring, authors and subjects of commits. What
    /// has a diff is masked as a whole before it is cut, by `Change::text`.
    fn masked(&self, text: &str) -> String {
        if self.config.mail_secrets { text.to_owned() } else { mask(text) }
    }

    /// Text of a message as it is stored.
    fn stored(&self, text: &str) -> String {
        if self.config.encrypt_to.is_empty() { text.to_owned() } else { mask(text) }
    }

    /// Writes a line to a router's `log.txt` only.
    pub fn log(&self, router: &RouterName, text: &str) {
        self.journal.log(router, &self.local_time(Timestamp::now()), &self.stored(text));
    }

    /// Logs a message about a router, also to its `log.txt`.
    pub fn note(&self, router: &RouterName, text: &str) {
        info(format_args!("{router}: {}", self.masked(text)));
        self.log(router, text);
    }

    /// Logs a warning about a router, also to its `log.txt`, and sends it by mail.
    pub fn alarm(&self, router: &Router, subject: &str, text: &str) {
        self.warn_of(&router.name, text);
        self.mail_message(router, subject, text);
    }

    /// Logs a warning about a router, also to its `log.txt`.
    pub fn warn_of(&self, router: &RouterName, text: &str) {
        warn(format_args!("{router}: {}", self.masked(text)));
        self.log(router, text);
    }

    /// Notes the end of a fault of the router itself, if it was reported.
    pub fn own_fault_ends(&self, router: &RouterName, own: OwnFault, text: &str) {
        if self.shared_fault_ends(router, |by| *by == SharedCause::Own(own)) {
            self.note(router, text);
        }
    }

    fn mail_message(&self, router: &Router, subject: &str, text: &str) {
        let (name, address, shown) = (&router.name, &router.address, self.masked(text));
        let when = self.local_time(Timestamp::now());
        let text = format!("{when} {name} ({address})\n\n{shown}\n");
        let subject = format!("{name}: {}", self.masked(subject));
        self.mail.send(self.receivers(router).as_deref(), &subject, &text);
    }

    pub fn set_status(&self, router: &RouterName, status: &str, cause: &str) {
        lock(&self.statuses).insert(router.clone(), status.into());
        let mut cause = self.stored(cause);
        cause.truncate(cause.floor_char_boundary(MAX_WHY));
        self.journal.update_state(router, |state| {
            shared::set_status(state, status, Timestamp::now());
            state.why.clone_from(&cause);
        });
    }

    /// Stores why there is no backup.
    pub fn set_no_backup(&self, router: &RouterName, why: &str) {
        let why = self.stored(why);
        self.journal.update_state(router, |state| state.no_backup = why);
    }

    /// Stores what the router does not answer, besides its exports.
    pub fn set_unread(&self, router: &RouterName, unread: &str) {
        self.journal.update_state(router, |state| state.unread = unread.into());
    }

    /// Stores the last log line about a change. Later lines are new after the next connection.
    pub fn set_last_line(&self, router: &RouterName, line: Option<(String, String)>) {
        if line.is_some() {
            // Compared with masked messages too, see `Session::find_candidates`.
            let line = line.map(|(time, text)| (time, self.stored(&text)));
            self.journal.update_state(router, |state| state.last_line = line);
        }
    }

    /// See [`Recorder::set_last_line`].
    pub fn last_line(&self, router: &RouterName) -> Option<(String, String)> {
        self.archive(router).state().ok()?.last_line
    }

    /// Stores the sections that the router fails to export, as it was reported.
    pub fn set_failing_sections(&self, router: &RouterName, sections: &BTreeSet<String>) {
        self.journal.update_state(router, |state| state.failing_sections.clone_from(sections));
    }

    /// Commits at the start what the archive has and git does not, because a commit failed or a file was edited. The next
    /// change is not credited with it.
    pub fn commit_archive(&self) {
        let Some(commits) = &self.commits else { return };
        let committed = commits.commit_archive();
        self.committed(committed.as_ref().err());
        if let Ok(true) = committed {
            self.start_commit_hooks("", AT_START, "aw-routeros");
        }
    }

    fn commit(&self, router: &Router, bytes: &[u8], message: &str, author: &str, now: Timestamp) {
        let Some(commits) = &self.commits else { return };
        let (message, author) = (self.masked(message), self.masked(author));
        let committed = commits.commit(&router.name, bytes, &message, &author, now);
        self.committed(committed.as_ref().err());
        if committed.is_ok() {
            self.start_commit_hooks(router.name.as_str(), &message, &author);
        }
    }

    fn start_commit_hooks(&self, router: &str, message: &str, author: &str) {
        let Some(hooks) = self.hooks.as_ref().filter(|_| !self.config.commit_hooks.is_empty())
        else {
            return;
        };
        let variables = [("ROUTER", router), ("SUMMARY", message), ("USERS", author)];
        let variables = variables.map(|(name, value)| (name.to_owned(), plain(value))).to_vec();
        hooks.run(&HookEvent { is_commit: true, variables, text: String::new() });
    }

    /// Updates the ring's heartbeat and re-creates the ring if it was deleted; to be called about once a second.
    pub fn maintain_ring(&self) {
        self.ring.iter().for_each(ChangeRing::maintain);
    }

    /// Mails the reports that an earlier process gathered.
    pub fn send_earlier_mail(&self) {
        self.mail.send_earlier();
    }

    pub fn finish(self) {
        self.report_the_rest();
        self.store_reported();
        if let Some(hooks) = self.hooks {
            hooks.finish();
        }
        self.mail.finish();
    }

    fn export_lock(&self, router: &RouterName) -> Arc<Mutex<()>> {
        Arc::clone(lock(&self.recording).entry(router.clone()).or_default())
    }
}

/// Locks a mutex, also after another task panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "recorder/tests.rs"]
mod tests;
