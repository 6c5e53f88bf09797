//! What becomes of an export: judged, compared, and told to all.

use std::{
    io::{self, Write},
    sync::PoisonError,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::Hub;
use crate::{
    change::{Change, Credit},
    config::Router,
    diff::Difference,
    export::{Export, Unfit, has_shrunk, judge},
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
        self.publish(router, &change);
        archive.set_base(bytes)?; // last: whoever is killed before finds the change again
        let days = self.keep_days.filter(|_| self.is_believed(now));
        let since = days.and_then(|days| {
            now.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).ok()
        });
        archive.retain(self.keep, since)?;
        self.commit(router, &change.summary(), &change.users.join(", "), now);
        Ok(Box::new(change))
    }
}
