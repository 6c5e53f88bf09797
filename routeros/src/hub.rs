//! Where what happens goes: the archive, mail, the ring, messages.

mod conclude;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aw_notify::Mailer;
use aw_service::{Error, info, warn};
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use shm_layout::{ConfigChange, Counter, Event, UnixTime, UserName, Writer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::conclude::{Outcome, Sent};
use crate::{
    archive::{Archive, State},
    change::Change,
    config::{Config, Name, Router},
    git::Repository,
    mask::mask,
};

/// So many routers send a log or an export at the same time, each of up to 16 MiB...
const TURNS: usize = 16;
/// ...and besides so many whose last export failed: those that hang keep nobody else waiting.
const FAILED_TURNS: usize = 4;

/// It is a router's turn until this is dropped.
pub type Turn = Option<OwnedSemaphorePermit>;

/// What all routers share.
pub struct Hub {
    /// The archive's directory.
    pub root: PathBuf,
    /// See [`Config::keep`].
    pub keep: usize,
    /// See [`Config::keep_days`].
    pub keep_days: Option<u32>,
    /// See [`Config::alarm_after`].
    pub alarm_after: Duration,
    /// See [`Config::mail_secrets`].
    pub secrets: bool,
    /// Say on the terminal what changed, with its diff.
    pub print: bool,
    zone: TimeZone,
    mailer: Option<Mailer>,
    ring: Option<Mutex<Writer>>,
    /// It was said that the ring has lost its name.
    displaced: AtomicBool,
    /// Files that cannot be written, which was said.
    unwritten: Mutex<BTreeSet<String>>,
    /// Mails that could not be kept, since one last could.
    unkept: AtomicU64,
    /// What the clock showed when it was last looked at, and since when it is not believed.
    clock: Mutex<(Timestamp, Instant, Option<Instant>)>,
    started: Instant,
    git: Option<Mutex<Repository>>,
    /// Held while a `log.txt` is written.
    logging: Mutex<()>,
    /// Held from reading a `state.json` until it is written.
    remembering: Mutex<()>,
    /// Of each router, held while an export of it is concluded.
    concluding: Mutex<BTreeMap<Name, Arc<Mutex<()>>>>,
    turns: Arc<Semaphore>,
    failed_turns: Arc<Semaphore>,
    /// The ancestor's log, which has each change.
    log_file: Option<Mutex<File>>,
}

impl Hub {
    /// Opens what is shared.
    pub fn new(
        config: &Config,
        print: bool,
        mailer: Option<Mailer>,
        ring: Option<Writer>,
        git: Option<Repository>,
    ) -> Hub {
        Hub {
            root: config.archive.clone(),
            keep: config.keep,
            keep_days: config.keep_days,
            alarm_after: Duration::from_secs(config.alarm_after),
            secrets: config.mail_secrets,
            print,
            zone: TimeZone::system(),
            mailer,
            ring: ring.map(Mutex::new),
            displaced: AtomicBool::new(false),
            unwritten: Mutex::default(),
            unkept: AtomicU64::new(0),
            clock: Mutex::new((Timestamp::now(), Instant::now(), None)),
            started: Instant::now(),
            git: git.map(Mutex::new),
            logging: Mutex::new(()),
            remembering: Mutex::new(()),
            concluding: Mutex::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
            failed_turns: Arc::new(Semaphore::new(FAILED_TURNS)),
            log_file: None,
        }
    }

    /// Writes each change to this file, too.
    pub fn with_log_file(self, path: Option<&str>) -> Result<Hub, Error> {
        let open = |path: &str| {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            file.map_err(|error| Error::io(format_args!("open {path}"), error))
        };
        Ok(Hub { log_file: path.map(open).transpose()?.map(Mutex::new), ..self })
    }

    /// Waits for the turn of a router, whose last export failed or not.
    pub async fn turn(&self, failed: bool) -> Turn {
        let turns = if failed { &self.failed_turns } else { &self.turns };
        Arc::clone(turns).acquire_owned().await.ok() // nobody closes them
    }

    /// A router's part of the archive.
    pub fn archive(&self, router: &Name) -> Archive {
        Archive::of(&self.root, router)
    }

    /// A time as people read it.
    pub fn when(&self, time: Timestamp) -> String {
        Zoned::new(time, self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// Says what happened to a router, and writes it to its log.
    pub fn note(&self, router: &Name, what: &str) {
        let shown = if self.secrets { what.to_owned() } else { mask(what) };
        info(format_args!("{router}: {shown}"));
        self.log(router, what);
    }

    /// The same of something that somebody should look at, and mails it.
    pub fn alarm(&self, router: &Router, subject: &str, what: &str) {
        let shown = if self.secrets { what.to_owned() } else { mask(what) };
        warn(format_args!("{}: {shown}", router.name));
        self.log(&router.name, what);
        let (name, address, when) = (&router.name, &router.address, self.when(Timestamp::now()));
        self.mail(
            &format!("{name}: {subject}"),
            &format!("{when} {name} ({address})\n\n{shown}\n"),
        );
    }

    fn log(&self, router: &Name, what: &str) {
        let alone = self.logging.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.archive(router).log(&self.when(Timestamp::now()), what);
        drop(alone);
        self.tell_written(router, "log.txt", written);
    }

    /// That a file cannot be written is said once, until it can be.
    fn tell_written(&self, router: &Name, file: &str, written: io::Result<()>) {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let what = format!("{router}: write {file}");
        match written {
            Ok(()) if unwritten.remove(&what) => info(format_args!("{what}: it works again")),
            Err(error) if unwritten.insert(what.clone()) => {
                warn(format_args!("{what}: {}", aw_service::explain(&error)));
            }
            _ => {}
        }
    }

    fn mail(&self, subject: &str, text: &str) {
        let Some(mailer) = &self.mailer else { return };
        match mailer.send(&format!("[addrwatch] {subject}"), text) {
            Ok(()) => self.tell_unkept(),
            Err(why) => {
                if self.unkept.fetch_add(1, Relaxed) == 0 {
                    warn(format_args!("{why}: mails are lost until it can be kept"));
                }
            }
        }
    }

    fn tell_unkept(&self) {
        let lost = self.unkept.swap(0, Relaxed);
        if lost > 0 {
            warn(format_args!("mails lost, for they could not be kept: {lost}"));
        }
    }

    /// Whether what is old can be told by this clock: not within an hour after it was found a day ahead of
    /// where it was; nor in the first hour, where it is so far ahead of a router's newest snapshot.
    fn is_believed(&self, now: Timestamp, newest: Option<Timestamp>) -> bool {
        const DAY: SignedDuration = SignedDuration::from_hours(24);
        const HOUR: Duration = Duration::from_secs(3600);
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (was, at, doubted) = &mut *clock;
        let gone = SignedDuration::try_from(at.elapsed()).unwrap_or_default();
        if now.duration_since(*was) - gone > DAY {
            *doubted = Some(Instant::now());
            warn("the clock was set forward: no snapshot is removed for its age for an hour");
        }
        (*was, *at) = (now, Instant::now());
        let is_ahead = newest.is_some_and(|newest| now.duration_since(newest) > DAY);
        if is_ahead && doubted.is_none() {
            *doubted = Some(self.started); // what is kept from now on says nothing of the clock
        }
        doubted.is_none_or(|since| since.elapsed() >= HOUR)
    }

    /// Commits, before routers are followed, what the archive has and git has not: it could not be written
    /// there, and is nobody's who changes something later.
    pub fn commit_found(&self) {
        let Some(git) = &self.git else { return };
        let mut git = git.lock().unwrap_or_else(PoisonError::into_inner);
        let mut commit = || -> io::Result<()> {
            self.fill(&mut git)?;
            if git.is_empty() || git.is_committed()? {
                return Ok(());
            }
            let now = Timestamp::now().as_second();
            git.commit("aw-routeros", now, "as found at the start")
        };
        if let Err(error) = commit() {
            let why = format!("commit to the git repository: {}", aw_service::explain(&error));
            warn(&why);
            self.mail("git", &format!("{}\n\n{why}\n", self.when(Timestamp::now())));
        }
    }

    /// Makes the next commit's tree of what the archive has.
    fn fill(&self, git: &mut Repository) -> io::Result<()> {
        let names = std::fs::read_dir(&self.root)?
            .filter_map(|entry| Name::try_from(entry.ok()?.file_name().into_string().ok()?).ok());
        git.fill(names.filter_map(|name| {
            let bytes = self.archive(&name).base().transpose()?;
            Some(bytes.map(|bytes| (format!("{name}.rsc"), bytes)))
        }))
    }

    /// Every router's latest configuration is a file of the commit: of the others, what they had at the
    /// start, and since.
    fn commit(&self, router: &Router, bytes: &[u8], message: &str, author: &str, now: Timestamp) {
        let Some(git) = &self.git else { return };
        let mut git = git.lock().unwrap_or_else(PoisonError::into_inner);
        let mut commit = || -> io::Result<()> {
            if git.is_empty() {
                self.fill(&mut git)?;
            }
            git.put(&format!("{}.rsc", router.name), bytes)?;
            git.commit(author, now.as_second(), message)
        };
        if let Err(error) = commit() {
            let why = aw_service::explain(&error);
            self.alarm(router, "git", &format!("commit to the git repository: {why}"));
        }
    }

    fn publish(&self, router: &Router, address: Option<Ipv4Addr>, change: &Change) {
        let Some(ring) = &self.ring else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        // The ring's names have 15 bytes; a router's is of ASCII.
        let name = router.name.as_str();
        let Ok(name) = name[..name.len().min(15)].parse() else { return };
        let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let nanos = i64::try_from(change.time.as_nanosecond()).unwrap_or(i64::MAX);
        let user = UserName::cut(&change.users.join(","));
        let what = ConfigChange { user, added: change.added, removed: change.removed };
        let account = ring.interface(name);
        ring.count(account, Counter::Seen);
        let event = Event::config_change(UnixTime::from_nanos(nanos), name, address, what);
        ring.publish(account, &event);
        ring.wake();
    }

    /// About once a second: the ring's name and heartbeat.
    pub fn keep_ring(&self) {
        let Some(ring) = &self.ring else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.beat(UnixTime::now());
        let kept = ring.keep_name();
        let told = self.displaced.swap(kept.is_err(), Relaxed);
        if let (Err(error), false) = (kept, told) {
            warn(format_args!("{error}: readers that come later will not find ours"));
        }
    }

    /// Notes how a router is.
    pub fn set_status(&self, router: &Name, status: &str, why: &str) {
        self.update(router, |state| {
            if (state.status.as_str(), state.why.as_str()) != (status, why) {
                state.since = Some(Timestamp::now());
                (state.status, state.why) = (status.into(), why.into());
            }
        });
    }

    /// Remembers the last line about a change, to know after the next connection which ones are new.
    pub fn remember(&self, router: &Name, line: Option<(String, String)>) {
        if line.is_some() {
            self.update(router, |state| state.last_line = line);
        }
    }

    /// Changes what is remembered of a router. It is only a memory: nothing waits for it to be written.
    fn update(&self, router: &Name, change: impl FnOnce(&mut State)) {
        let archive = self.archive(router);
        let update = || {
            archive.make()?;
            let old = archive.state()?;
            let mut new = old.clone();
            change(&mut new);
            if new == old { Ok(()) } else { archive.set_state(&new) }
        };
        let alone = self.remembering.lock().unwrap_or_else(PoisonError::into_inner);
        let updated = update();
        drop(alone);
        self.tell_written(router, "state.json", updated);
    }

    /// Sends what mail can be sent at once.
    pub fn finish(self) {
        self.tell_unkept();
        if let Some(mailer) = self.mailer {
            mailer.finish(Duration::from_secs(3));
        }
    }
}

#[cfg(test)]
#[path = "hub/tests.rs"]
mod tests;
