//! What becomes of an export: judged, compared, and told to all.

use std::{
    io::{self, Write},
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{Hub, Turn};
use crate::{
    archive::Archive,
    change::{Change, Credit},
    config::{Name, Router},
    diff::Difference,
    export::{Export, Unfit, has_shrunk, judge},
    names::snapshot_time,
};

/// What became of an export.
#[derive(Debug)]
pub enum Outcome {
    /// The first one of this router.
    First,
    /// Nothing changed.
    Same,
    /// Something did.
    Changed(Box<Change>),
    /// It lost many lines, or is the first one: it must be taken again.
    Doubtful {
        /// Lines of the base, if there is one.
        base: Option<usize>,
        /// What was sent.
        export: Export,
        /// For the next one: only so many wait for theirs with one in hand.
        turn: Turn,
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
    /// It was taken because the one before, which is this, was doubtful.
    pub first: Option<Export>,
    /// Where the router is, if that is an address of version 4.
    pub address: Option<Ipv4Addr>,
    /// Until it is archived.
    pub turn: Turn,
}

/// From one look for what is too old to the next.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// A diff that takes longer is no longer the shortest.
const DIFF: Duration = Duration::from_secs(2);

impl Hub {
    /// Judges an export, and archives, mails and publishes what it shows. Takes as long as a disk
    /// takes: not for the thread that listens.
    pub fn conclude(&self, router: &Router, sent: Sent, credit: Credit) -> io::Result<Outcome> {
        // The task before, which a reload ended, may not be done: then its change is known after it.
        let alone = self.concluding(&router.name);
        let _alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        let (archive, now) = (self.archive(&router.name), Timestamp::now());
        archive.make()?;
        let newest = archive.newest("snapshots")?;
        let base = self.base(router, &archive)?;
        let judged = match &sent.fault {
            Some(fault) => Err(fault.clone()),
            None => judge(&sent.bytes, base.as_ref().map(|base| &base.failed)),
        };
        // Nothing speaks for the first one of all but a second one that is the same.
        let lines = base.as_ref().map(|base| base.lines.len());
        let judged = judged.and_then(|export| match &sent.first {
            Some(first) if first.lines == export.lines => Ok((export, false)),
            _ if lines.is_some_and(|base| !has_shrunk(base, export.lines.len())) => {
                Ok((export, false))
            }
            Some(first) => {
                let lines = [lines.unwrap_or(0), first.lines.len(), export.lines.len()];
                Err(Unfit::Unstable { lines })
            }
            None => Ok((export, true)),
        });
        let export = match judged {
            Ok((export, false)) => export,
            Ok((export, true)) => {
                return Ok(Outcome::Doubtful { base: lines, export, turn: sent.turn });
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
                self.commit(router, &sent.bytes, "first configuration", "aw-routeros", now);
                Outcome::First
            }
            Some(base) => {
                let deadline = Instant::now() + DIFF;
                let difference = Difference::between(&base.lines, &export.lines, Some(deadline));
                if difference.is_empty() {
                    Outcome::Same
                } else {
                    Outcome::Changed(self.changed(router, &sent, credit, difference, now)?)
                }
            }
        };
        // From here on nothing that fails may have the same change found and told once more.
        let last = archive.state().ok().and_then(|state| state.tidied);
        let is_due = last.is_none_or(|last| now.duration_since(last).abs() > DAY);
        let newest = newest.and_then(|name| snapshot_time(&name));
        let believed = self.keep_days.is_none() || self.is_believed(now, newest);
        if (is_due || matches!(outcome, Outcome::Changed(_)))
            && let Err(error) = self.tidy(&archive, now, is_due, believed)
        {
            let why = shm_layout::cause(&error);
            self.note(&router.name, &format!("remove what is too old: {why}"));
        }
        self.update(&router.name, |state| {
            if is_due && believed {
                state.tidied = Some(now);
            }
            state.exported = Some(now);
            (state.version, state.lines) = (export.version, export.lines.len());
            if !matches!(outcome, Outcome::Same) {
                state.changed = Some(now);
            }
        });
        Ok(outcome)
    }

    fn concluding(&self, router: &Name) -> Arc<Mutex<()>> {
        let mut all = self.concluding.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(router.clone()).or_default())
    }

    /// What to compare with: the base, or, where it is damaged, the newest snapshot that is whole, which then
    /// is the base again.
    fn base(&self, router: &Router, archive: &Archive) -> io::Result<Option<Export>> {
        let Some(bytes) = archive.base()? else { return Ok(None) };
        let unfit = match judge(&bytes, None) {
            Ok(base) => return Ok(Some(base)),
            Err(unfit) => unfit,
        };
        for name in archive.snapshots()?.iter().rev() {
            let bytes = archive.snapshot(name)?;
            if let Ok(base) = judge(&bytes, None) {
                let what = format!("latest.rsc is damaged ({unfit}): {name} is taken instead");
                self.alarm(router, "archive", &what);
                archive.set_base(&bytes)?;
                return Ok(Some(base));
            }
        }
        let what =
            format!("latest.rsc is damaged ({unfit}), and no snapshot is whole: beginning anew");
        archive.set_base_aside()?; // told once
        self.alarm(router, "archive", &what);
        Ok(None)
    }

    fn changed(
        &self,
        router: &Router,
        sent: &Sent,
        credit: Credit,
        difference: Difference,
        now: Timestamp,
    ) -> io::Result<Box<Change>> {
        let archive = self.archive(&router.name);
        let old = archive.newest("snapshots")?.unwrap_or_default();
        let snapshots = (old, archive.keep(now, &sent.bytes)?);
        let names = (router.name.as_str(), &*router.address.to_string());
        let change = Change::new(now, names, credit, difference, snapshots);
        let when = self.when(now);
        archive.record(&change, &change.text(&when, true))?;
        self.mail(&change.summary(), &change.text(&when, self.secrets));
        if let Some(file) = &self.log_file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let written = file.write_all(change.text(&when, self.secrets).as_bytes());
            self.tell_written(&router.name, "the log file", written);
        }
        self.publish(router, sent.address, &change);
        archive.set_base(&sent.bytes)?; // last: whoever is killed before finds the change again
        self.commit(router, &sent.bytes, &change.summary(), &change.users.join(", "), now);
        Ok(Box::new(change))
    }

    /// Removes snapshots that are too many or, if the clock is believed, too old; once a day all else, for which files are written anew. Changes go
    /// with their snapshots: so they have a bound where no days are set, too.
    fn tidy(&self, archive: &Archive, now: Timestamp, all: bool, aged: bool) -> io::Result<()> {
        let days = self.keep_days.filter(|_| aged);
        let age = days.map(|days| SignedDuration::from_hours(24 * i64::from(days)));
        let since = age.and_then(|age| now.checked_sub(age).ok());
        archive.retain(self.keep, since)?;
        if !all {
            return Ok(());
        }
        let complete = archive.complete_since(self.keep)?.filter(|since| *since <= now);
        if let Some(since) = since.max(complete) {
            archive.forget_changes(since)?;
        }
        let _alone = self.logging.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Ok(()), |since| archive.forget_log(since))
    }
}
