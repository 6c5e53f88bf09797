//! Where what happens goes: the archive, mail, the ring, messages.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aw_notify::Mailer;
use aw_service::{Error, say, warn};
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use shm_layout::{ConfigChange, Counter, Event, UnixTime, UserName, Writer};

use crate::{
    archive::{Archive, State},
    change::{Change, Credit},
    config::{Config, Name, Router},
    diff::Difference,
    export::{Export, Unfit, has_shrunk, judge},
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
    /// The ancestor's log, which has each change.
    log_file: Option<Mutex<File>>,
}

/// What became of an export.
#[derive(Debug)]
pub enum Outcome {
    /// The first one of this router.
    First,
    /// Nothing changed.
    Same,
    /// Something did.
    Changed(Box<Change>),
    /// It lost many lines: it must be taken again.
    Doubtful {
        /// Lines of the base.
        base: usize,
        /// What was sent.
        export: Export,
    },
    /// It was not whole, and is kept aside.
    Refused(Unfit),
}

/// An export as it came.
#[derive(Debug)]
pub struct Sent {
    /// What the router sent.
    pub bytes: Vec<u8>,
    /// Where something was wrong with it on the way.
    pub fault: Option<Unfit>,
    /// It was taken because the one before, which is this, had lost many lines.
    pub first: Option<Export>,
}

/// A diff that takes longer is no longer the shortest.
const DIFF: Duration = Duration::from_secs(2);

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

    /// Judges an export, and archives, mails and publishes what it shows. Takes as long as a disk
    /// takes: not for the thread that listens.
    pub fn conclude(&self, router: &Router, sent: Sent, credit: Credit) -> io::Result<Outcome> {
        let (archive, now) = (self.archive(&router.name), Timestamp::now());
        archive.make()?;
        let old = archive.base()?.map(|bytes| judge(&bytes, None));
        let base = match old {
            Some(Ok(base)) => Some(base),
            Some(Err(unfit)) => {
                self.note(
                    &router.name,
                    &format!("latest.rsc is damaged ({unfit}): beginning anew"),
                );
                None
            }
            None => None,
        };
        let judged = match sent.fault {
            Some(fault) => Err(fault),
            None => judge(&sent.bytes, base.as_ref().map(|base| &base.failed)),
        };
        let judged = judged.and_then(|export| match (&base, &sent.first) {
            (_, Some(first)) if first.lines == export.lines => Ok((export, false)),
            (Some(base), first) if has_shrunk(base.lines.len(), export.lines.len()) => {
                match first {
                    Some(first) => Err(Unfit::Unstable {
                        lines: [base, first, &export].map(|export| export.lines.len()),
                    }),
                    None => Ok((export, true)),
                }
            }
            _ => Ok((export, false)),
        });
        let export = match judged {
            Ok((export, false)) => export,
            Ok((export, true)) => {
                let base = base.map_or(0, |base| base.lines.len());
                return Ok(Outcome::Doubtful { base, export });
            }
            Err(unfit) => {
                archive.refuse(now, &sent.bytes)?;
                return Ok(Outcome::Refused(unfit));
            }
        };
        let outcome = match base {
            None => {
                archive.keep(now, &sent.bytes)?;
                archive.set_base(&sent.bytes)?;
                self.commit(router, "first configuration", "aw-routeros", now);
                Outcome::First
            }
            Some(base) => {
                let deadline = Instant::now() + DIFF;
                let difference = Difference::between(&base.lines, &export.lines, Some(deadline));
                if difference.is_empty() {
                    Outcome::Same
                } else {
                    Outcome::Changed(self.changed(router, &sent.bytes, credit, difference, now)?)
                }
            }
        };
        let mut state = archive.state()?;
        state.exported = Some(now);
        (state.version, state.lines) = (export.version, export.lines.len());
        if !matches!(outcome, Outcome::Same) {
            state.changed = Some(now);
        }
        archive.set_state(&state)?;
        Ok(outcome)
    }

    fn changed(
        &self,
        router: &Router,
        bytes: &[u8],
        credit: Credit,
        difference: Difference,
        now: Timestamp,
    ) -> io::Result<Box<Change>> {
        let archive = self.archive(&router.name);
        let snapshot = archive.keep(now, bytes)?;
        let names = (router.name.as_str(), &*router.address.to_string());
        let change = Change::new(now, names, credit, difference, snapshot);
        let when = self.when(now);
        archive.record(&change, &change.text(&when, true))?;
        self.mail(&change.summary(), &change.text(&when, self.secrets));
        if let Some(file) = &self.log_file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(change.text(&when, self.secrets).as_bytes())?;
        }
        archive.set_base(bytes)?;
        let since = self.keep_days.and_then(|days| {
            now.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).ok()
        });
        archive.retain(self.keep, since)?;
        self.publish(router, &change);
        self.commit(router, &change.summary(), &change.users.join(", "), now);
        Ok(Box::new(change))
    }

    /// Every router's latest configuration is a file of the commit.
    fn commit(&self, router: &Router, message: &str, author: &str, now: Timestamp) {
        let Some(git) = &self.git else { return };
        let git = git.lock().unwrap_or_else(PoisonError::into_inner);
        let commit = || -> io::Result<()> {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&self.root)? {
                let Ok(name) = entry?.file_name().into_string() else { continue };
                let Ok(name) = Name::try_from(name) else { continue };
                if let Some(bytes) = self.archive(&name).base()? {
                    files.push((format!("{name}.rsc"), bytes));
                }
            }
            git.commit(&files, author, now.as_second(), message)
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
