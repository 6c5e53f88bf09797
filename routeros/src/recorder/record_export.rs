//! Records an export: checks it, compares it with the base, and archives, mails, commits and publishes a change.

use std::{
    io,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{Recorder, lock};
use crate::{
    archive::Archive,
    change::{Change, Credit},
    config::Router,
    config_export::{Export, ExportFault, has_shrunk, validate},
    diff::Difference,
    file_names::snapshot_time,
    ignore::reported,
    session::{FetchedExport, Turn},
};

/// The result of an export.
#[derive(Debug)]
pub enum Outcome {
    /// The first configuration of this router is stored.
    First,
    Unchanged,
    Changed(Box<Change>),
    /// The export lost many lines, or is the first one: a second export must confirm it.
    Unconfirmed {
        /// Lines of the base, if there is one.
        base: Option<usize>,
        export: Export,
        /// For the second export, which need not wait for another turn.
        turn: Turn,
    },
    /// The export is incomplete, and stored in `refused/`.
    Rejected(ExportFault),
}

/// The interval at which old files are removed.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The time limit for the shortest diff.
const DIFF_TIME: Duration = Duration::from_secs(2);

impl Recorder {
    /// Records an export. Waits for disks: not for the thread of the event loop.
    pub fn record_export(
        &self,
        router: &Router,
        fetched: FetchedExport,
        credit: Credit,
    ) -> io::Result<Outcome> {
        // A task that was aborted by a reload may still record an export of the same router.
        let exporting = self.export_lock(&router.name);
        let _lock = lock(&exporting);
        let (archive, now) = (self.archive(&router.name), Timestamp::now());
        archive.create()?;
        let newest = archive.newest_snapshot()?.and_then(|name| snapshot_time(&name));
        let base = self.base(router, &archive)?;
        let validated = match &fetched.fault {
            Some(fault) => Err(fault.clone()),
            None => validate(&fetched.bytes, base.as_ref().map(|base| &base.failed)),
        };
        let lines = base.as_ref().map(|base| base.lines.len());
        let confirmed = validated
            .and_then(|export| Ok((is_confirmed(lines, &fetched.unconfirmed, &export)?, export)));
        let export = match confirmed {
            Ok((true, export)) => export,
            Ok((false, export)) => {
                return Ok(Outcome::Unconfirmed { base: lines, export, turn: fetched.turn });
            }
            Err(fault) => {
                archive.add_refused(now, &fetched.bytes)?;
                return Ok(Outcome::Rejected(fault));
            }
        };
        let outcome = self.store(router, &fetched, credit, base, &export, now)?;
        // From here on a failure must not cause the same change to be recorded again.
        self.finish_export(router, &export, &outcome, now, newest);
        Ok(outcome)
    }

    /// The export to compare with: the base or, if it is damaged, the newest complete snapshot, which becomes the base.
    fn base(&self, router: &Router, archive: &Archive) -> io::Result<Option<Export>> {
        let Some(bytes) = archive.base()? else { return Ok(None) };
        let fault = match validate(&bytes, None) {
            Ok(base) => return Ok(Some(base)),
            Err(fault) => fault,
        };
        for name in archive.snapshots()?.iter().rev() {
            let bytes = archive.snapshot(name)?;
            if let Ok(base) = validate(&bytes, None) {
                let text = format!("latest.rsc is damaged ({fault}): using {name} instead");
                self.alarm(router, "archive", &text);
                archive.set_base(&bytes)?;
                return Ok(Some(base));
            }
        }
        archive.set_base_aside()?; // before the report, so that it is reported once
        let text = format!(
            "latest.rsc is damaged ({fault}), and no snapshot is complete: the next export becomes the first one"
        );
        self.alarm(router, "archive", &text);
        Ok(None)
    }

    /// Stores a complete export if it differs from the base.
    fn store(
        &self,
        router: &Router,
        fetched: &FetchedExport,
        credit: Credit,
        base: Option<Export>,
        export: &Export,
        now: Timestamp,
    ) -> io::Result<Outcome> {
        let archive = self.archive(&router.name);
        let Some(base) = base else {
            archive.add_snapshot(now, &fetched.bytes)?;
            archive.set_base(&fetched.bytes)?;
            self.commit(router, &fetched.bytes, "first configuration", "aw-routeros", now);
            return Ok(Outcome::First);
        };
        let deadline = Some(Instant::now() + DIFF_TIME);
        let difference = Difference::between(&base.lines, &export.lines, deadline);
        if difference.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let old = archive.newest_snapshot()?.unwrap_or_default();
        let between = |old: &[String], new: &[String]| Difference::between(old, new, deadline);
        let lines = (&*base.lines, &*export.lines);
        let rules = &self.config.ignore;
        let reported = reported(rules, &router.name, &credit, lines, &difference, between);
        let snapshots = (old, archive.add_snapshot(now, &fetched.bytes)?);
        let names = (router.name.as_str(), &*router.address.to_string());
        let mut change = Change::new(now, names, credit, difference, snapshots);
        change.ignored = reported.ignored;
        archive.add_change(&change, &change.text(&self.local_time(now), true))?;
        let shown = self.report(router, fetched.address, &change, reported);
        // After the above: if the process is killed before this, the next export shows the change again.
        archive.set_base(&fetched.bytes)?;
        self.commit(router, &fetched.bytes, &change.summary(), &change.users.join(", "), now);
        if let Some(shown) = shown {
            self.start_hooks(router, &shown);
        }
        Ok(Outcome::Changed(Box::new(change)))
    }

    /// Removes old files, and stores the new state of the router.
    fn finish_export(
        &self,
        router: &Router,
        export: &Export,
        outcome: &Outcome,
        now: Timestamp,
        newest: Option<Timestamp>,
    ) {
        let archive = self.archive(&router.name);
        let last = archive.state().ok().and_then(|state| state.tidied);
        let is_due = last.is_none_or(|last| now.duration_since(last).abs() > DAY);
        let trusted = self.config.keep_days.is_none() || self.clock.is_trusted(now, newest);
        if (is_due || matches!(outcome, Outcome::Changed(_)))
            && let Err(error) = self.tidy(router, now, is_due, trusted)
        {
            let cause = aw_service::cause(&error);
            self.note(&router.name, &format!("remove old files from the archive: {cause}"));
        }
        self.journal.update_state(&router.name, |state| {
            if is_due && trusted {
                state.tidied = Some(now);
            }
            state.exported = Some(now);
            (state.version, state.lines) = (export.version.clone(), export.lines.len());
            if let Outcome::Changed(change) = outcome {
                state.ignored += u64::from(change.ignored);
            }
            if !matches!(outcome, Outcome::Unchanged) {
                state.changed = Some(now);
            }
        });
    }

    /// Removes the oldest snapshots beyond `keep` and, if the clock is trusted, those older than `keep_days`. With `all`,
    /// which rewrites files, removes old changes and log lines too; changes are removed with their snapshots, so that
    /// they are bounded without `keep_days` too.
    fn tidy(&self, router: &Router, now: Timestamp, all: bool, trusted: bool) -> io::Result<()> {
        let archive = self.archive(&router.name);
        let days = self.config.keep_days.filter(|_| trusted);
        let age = days.map(|days| SignedDuration::from_hours(24 * i64::from(days)));
        let since = age.and_then(|age| now.checked_sub(age).ok());
        archive.remove_snapshots(self.config.keep, since)?;
        if !all {
            return Ok(());
        }
        let complete = archive.complete_since(self.config.keep)?.filter(|since| *since <= now);
        if let Some(since) = since.max(complete) {
            archive.remove_changes(since)?;
        }
        since.map_or(Ok(()), |since| self.journal.remove_log_lines(&router.name, since))
    }
}

/// Whether an export need not be confirmed by a second one: it has not lost many lines of the base, or it is equal to the
/// one before. The first export of all always needs a second one.
fn is_confirmed(
    base: Option<usize>,
    unconfirmed: &Option<Export>,
    export: &Export,
) -> Result<bool, ExportFault> {
    let lines = export.lines.len();
    match unconfirmed {
        Some(first) if first.lines == export.lines => Ok(true),
        _ if base.is_some_and(|base| !has_shrunk(base, lines)) => Ok(true),
        Some(first) => {
            Err(ExportFault::Unstable { lines: [base.unwrap_or(0), first.lines.len(), lines] })
        }
        None => Ok(false),
    }
}
