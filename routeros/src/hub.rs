//! Where what happens goes: the archive, mail, the ring, messages.

mod conclude;

use std::{
    fs::{File, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aw_notify::Mailer;
use aw_service::{Error, say, warn};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::{ConfigChange, Counter, Event, UnixTime, UserName, Writer};

pub use self::conclude::{Outcome, Sent};
use crate::{
    archive::{Archive, State},
    change::Change,
    config::{Config, Name, Router},
    git::Repository,
    mask::mask,
    watch::Claim,
};

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
    git: Option<Mutex<Repository>>,
    /// Held while a `log.txt` is written.
    logging: Mutex<()>,
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
            git: git.map(Mutex::new),
            logging: Mutex::new(()),
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
        say(format_args!("{router}: {shown}"));
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
        let _alone = self.logging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.archive(router).log(&self.when(Timestamp::now()), what) {
            warn(format_args!("{router}: write log.txt: {}", shm_layout::cause(&error)));
        }
    }

    fn mail(&self, subject: &str, text: &str) {
        let Some(mailer) = &self.mailer else { return };
        if let Err(why) = mailer.send(&format!("[addrwatch] {subject}"), text) {
            warn(why);
        }
    }

    /// Every router's latest configuration is a file of the commit: of the others, what they had when the
    /// first one was made, and since.
    fn commit(&self, router: &Router, bytes: &[u8], message: &str, author: &str, now: Timestamp) {
        let Some(git) = &self.git else { return };
        let mut git = git.lock().unwrap_or_else(PoisonError::into_inner);
        let mut commit = || -> io::Result<()> {
            if git.is_empty() {
                let names = std::fs::read_dir(&self.root)?.filter_map(|entry| {
                    Name::try_from(entry.ok()?.file_name().into_string().ok()?).ok()
                });
                git.fill(names.filter_map(|name| {
                    let bytes = self.archive(&name).base().transpose()?;
                    Some(bytes.map(|bytes| (format!("{name}.rsc"), bytes)))
                }))?;
            }
            git.put(&format!("{}.rsc", router.name), bytes)?;
            git.commit(author, now.as_second(), message)
        };
        if let Err(error) = commit() {
            let why = shm_layout::cause(&error);
            self.alarm(router, "git", &format!("commit to the git repository: {why}"));
        }
    }

    fn publish(&self, router: &Router, change: &Change) {
        let Some(ring) = &self.ring else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        // The ring's names have 15 bytes; a router's is of ASCII.
        let name = router.name.as_str();
        let Ok(name) = name[..name.len().min(15)].parse() else { return };
        let address = match router.address.host.parse() {
            Ok(IpAddr::V4(address)) => address,
            _ => Ipv4Addr::UNSPECIFIED,
        };
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
        if let Err(error) = ring.keep_name() {
            warn(error);
        }
    }

    /// Notes how a router is.
    pub fn set_status(&self, router: &Name, status: &str, why: &str) {
        let archive = self.archive(router);
        let set = || {
            archive.make()?;
            let mut state = archive.state()?;
            if (state.status.as_str(), state.why.as_str()) == (status, why) {
                return Ok(());
            }
            state.since = Some(Timestamp::now());
            (state.status, state.why) = (status.into(), why.into());
            archive.set_state(&state)
        };
        if let Err(error) = set() {
            let error: io::Error = error;
            warn(format_args!("{router}: write state.json: {}", shm_layout::cause(&error)));
        }
    }

    /// Remembers the last line about a change, to know after a restart which ones are new.
    pub fn remember(&self, router: &Name, claims: &[Claim]) -> io::Result<()> {
        let Some(last) = claims.last() else { return Ok(()) };
        let archive = self.archive(router);
        let state = State { last_message: Some(last.message.clone()), ..archive.state()? };
        archive.set_state(&state)
    }

    /// Sends what mail can be sent at once.
    pub fn finish(self) {
        if let Some(mailer) = self.mailer {
            mailer.finish(Duration::from_secs(3));
        }
    }
}
