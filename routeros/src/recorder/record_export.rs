//! Records an export: checks it, compares it with the base, and archives, mails, commits and publishes a change.

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Recorder,
    judge::Judgement,
    lock,
    secret_tags::{NewTags, untagged_difference},
};
use crate::{
    archive::Archive,
    change::{Change, Credit},
    config::Router,
    config_export::{Completed, Export, ExportFault, list, parse, parse_stored},
    diff::Difference,
    file_names::snapshot_time,
    ignore::reported,
    session::{FetchedExport, Turn},
    shared_faults::{OwnFault, SharedFault},
};

/// The result of an export.
#[derive(Debug)]
pub enum Outcome {
    /// The first configuration of this router is stored.
    First,
    Unchanged,
    Changed(Box<Change>),
    /// Recorded, but these sections failed: their lines are those of the base.
    Incomplete {
        outcome: Box<Outcome>,
        failed: BTreeSet<String>,
    },
    /// The export may be cut, or is the first one: a second export must confirm it.
    Unconfirmed {
        /// What it lost, unless it is the first one.
        loss: Option<String>,
        export: Export,
        /// For the second export, which need not wait for another turn.
        turn: Turn,
    },
    /// The export is incomplete, and stored in `refused/`.
    Rejected(ExportFault),
}

/// The interval at which old files are removed.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// For the log, mail and `show`.
const UNCONFIRMED: &str = "the configuration changes between any two exports, so the first one is stored without confirmation: it may be incomplete (until an export is equal to the one before)";
/// The time limit for the shortest diff.
const DIFF_TIME: Duration = Duration::from_secs(2);

impl Recorder {
    /// Records an export. Waits for disks: not for the thread of the event loop.
    pub fn record_export(
        &self,
        router: &Arc<Router>,
        mut fetched: FetchedExport,
        credit: Credit,
    ) -> io::Result<Outcome> {
        let sensitive = self.encrypts(router).then(|| fetched.bytes.clone());
        fetched.bytes = self.comparable(router, fetched.bytes);
        // A task that was aborted by a reload may still record an export of the same router.
        let exporting = self.export_lock(&router.name);
        let _lock = lock(&exporting);
        let (archive, now) = (self.archive(&router.name), Timestamp::now());
        archive.create()?;
        let newest = archive.newest_snapshot()?.and_then(|name| snapshot_time(&name));
        let base = self.base(router, &archive)?;
        let is_first = base.is_none();
        let clear = sensitive.as_deref().map(parse).transpose();
        let judged = match (&fetched.fault, &clear) {
            (Some(fault), _) | (None, Err(fault)) => Err(fault.clone()),
            (None, Ok(_)) => {
                self.judge.judge(&router.name, &fetched.bytes, base, fetched.unconfirmed.take())
            }
        };
        let (completed, is_confirmed) = match judged {
            Ok(Judgement::Accepted(completed)) => (completed, true),
            Ok(Judgement::AcceptedUnconfirmed(completed)) => (completed, false),
            Ok(Judgement::Unconfirmed { loss, export }) => {
                return Ok(Outcome::Unconfirmed { loss, export, turn: fetched.turn });
            }
            Err(fault) => {
                archive.add_refused(now, &fetched.bytes)?;
                return Ok(Outcome::Rejected(fault));
            }
        };
        let tags = if let Ok(Some(clear)) = clear
            && let Ok(masked) = parse(&fetched.bytes)
        {
            Some(self.secret_tags(&router.name, &clear, &masked, &completed))
        } else {
            None
        };
        let outcome = if is_first {
            self.store_first(router, &fetched, &completed, now)?
        } else {
            self.store(router, &fetched, credit, &completed, tags.as_ref(), now)?
        };
        // From here on a failure must not cause the same change to be recorded again.
        if let Some(tags) = tags {
            self.set_secret_tags(&router.name, tags);
        }
        if let Some(sensitive) = sensitive.filter(|_| completed.failed.is_empty()) {
            self.store_sensitive(router, &sensitive, now);
        }
        if !is_confirmed {
            let text = UNCONFIRMED.into();
            self.own_fault(router, SharedFault::own(OwnFault::Unconfirmed, "", text));
        } else if matches!(outcome, Outcome::Unchanged) && completed.failed.is_empty() {
            let text = "the configuration is confirmed: an export was equal to the one before";
            self.own_fault_ends(&router.name, OwnFault::Unconfirmed, text);
        }
        self.finish_export(router, &completed, &outcome, now, newest, is_confirmed);
        Ok(match completed.failed.is_empty() {
            true => outcome,
            false => Outcome::Incomplete { outcome: Box::new(outcome), failed: completed.failed },
        })
    }

    /// The export to compare with: the base or, if it is damaged, the newest complete snapshot, which becomes the base.
    fn base(&self, router: &Arc<Router>, archive: &Archive) -> io::Result<Option<Export>> {
        let Some(bytes) = archive.base()? else { return Ok(None) };
        let bytes = self.comparable(router, bytes); // also one from before `encrypt_to`
        let fault = match parse_stored(&bytes) {
            Ok(base) => return Ok(Some(base)),
            Err(fault) => fault,
        };
        for name in archive.snapshots()?.iter().rev() {
            let bytes = self.comparable(router, archive.snapshot(name)?);
            if let Ok(base) = parse_stored(&bytes) {
                let text = format!("latest.rsc is damaged ({fault}): using {name} instead");
                self.own_fault(router, SharedFault::own(OwnFault::Archive, "", text));
                archive.set_base(&bytes)?;
                return Ok(Some(base));
            }
        }
        archive.set_base_aside()?; // before the report, so that it is reported once
        let text = format!(
            "latest.rsc is damaged ({fault}), and no snapshot is complete: the next export becomes the first one"
        );
        self.own_fault(router, SharedFault::own(OwnFault::Archive, "", text));
        Ok(None)
    }

    /// Stores the first configuration of a router.
    fn store_first(
        &self,
        router: &Router,
        fetched: &FetchedExport,
        completed: &Completed,
        now: Timestamp,
    ) -> io::Result<Outcome> {
        let archive = self.archive(&router.name);
        let bytes = completed.bytes.as_ref().unwrap_or(&fetched.bytes);
        archive.add_snapshot(now, bytes)?;
        archive.set_base(bytes)?;
        self.commit(router, bytes, "first configuration", "aw-routeros", now);
        let without = &completed.export.failed;
        if !without.is_empty() {
            let text = format!("the router does not export {}", list(without));
            self.note(&router.name, &text);
        }
        Ok(Outcome::First)
    }

    /// Stores sections of which the base has no lines, because they failed until now: not a change.
    fn store_new_sections(
        &self,
        router: &Router,
        bytes: &[u8],
        sections: &BTreeSet<String>,
        now: Timestamp,
    ) -> io::Result<()> {
        let archive = self.archive(&router.name);
        archive.add_snapshot(now, bytes)?;
        archive.set_base(bytes)?;
        let text = format!("stored for the first time: {}", list(sections));
        self.commit(router, bytes, &text, "aw-routeros", now);
        self.note(&router.name, &text);
        Ok(())
    }

    /// Stores an export if it differs from the base.
    fn store(
        &self,
        router: &Router,
        fetched: &FetchedExport,
        credit: Credit,
        completed: &Completed,
        tags: Option<&NewTags>,
        now: Timestamp,
    ) -> io::Result<Outcome> {
        let archive = self.archive(&router.name);
        let Completed { base, export, new, .. } = completed;
        let bytes = completed.bytes.as_ref().unwrap_or(&fetched.bytes);
        let deadline = Some(Instant::now() + DIFF_TIME);
        let tags = tags.filter(|tags| tags.changed() > 0);
        let tagged = tags.map(|tags| tags.tagged(&base.lines, &export.lines));
        let lines =
            tagged.as_ref().map_or((&*base.lines, &*export.lines), |(old, new)| (&**old, &**new));
        let between = |old: &[String], new: &[String]| {
            let difference = Difference::between(old, new, deadline);
            if tags.is_some() { untagged_difference(difference) } else { difference }
        };
        let difference = between(lines.0, lines.1);
        if difference.is_empty() {
            if !new.is_empty() {
                self.store_new_sections(router, bytes, new, now)?;
            }
            return Ok(Outcome::Unchanged);
        }
        let credit = credit.with_missed(&difference);
        let old = archive.newest_snapshot()?.unwrap_or_default();
        let rules = &self.config.ignore;
        let reported = reported(rules, &router.name, &credit, lines, &difference, between);
        let snapshots = (old, archive.add_snapshot(now, bytes)?);
        let credit = if self.encrypts(router) { credit.masked() } else { credit };
        let names = (router.name.as_str(), &*router.address.to_string());
        let mut change = Change::new(now, names, credit, difference, snapshots);
        change.ignored = reported.ignored;
        change.secrets = tags.map_or(0, NewTags::changed);
        archive.add_change(&change, &change.text(&self.local_time(now), true))?;
        lock(&self.masked_file).add(&change);
        let shown = self.report(router, fetched.address, &change, reported);
        // After the above: if the process is killed before this, the next export shows the change again.
        archive.set_base(bytes)?;
        self.commit(router, bytes, &change.summary(), &change.users.join(", "), now);
        if let Some(shown) = shown {
            self.start_hooks(router, &shown);
        }
        Ok(Outcome::Changed(Box::new(change)))
    }

    /// Removes old files, and stores the new state of the router.
    fn finish_export(
        &self,
        router: &Router,
        completed: &Completed,
        outcome: &Outcome,
        now: Timestamp,
        newest: Option<Timestamp>,
        is_confirmed: bool,
    ) {
        let Completed { export, failed, .. } = completed;
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
            state.shows_secrets = router.show_sensitive && self.config.encrypt_to.is_empty();
            (state.version, state.lines) = (export.version.clone(), export.lines.len());
            if let Outcome::Changed(change) = outcome {
                state.ignored += u64::from(change.ignored);
            }
            if !matches!(outcome, Outcome::Unchanged) {
                state.changed = Some(now);
            } else if failed.is_empty() {
                state.unconfirmed.clear(); // an export was equal to the one before
            }
            if !is_confirmed {
                state.unconfirmed = UNCONFIRMED.into();
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
        archive.remove_sensitive(self.config.keep, since)?;
        if !all {
            return Ok(());
        }
        let complete = archive.complete_since(self.config.keep)?.filter(|since| *since <= now);
        if let Some(since) = since.max(complete) {
            archive.remove_changes(since)?;
        }
        if let Some(since) = since {
            let removed = lock(&self.masked_file).remove_before(since);
            removed.map_err(|error| io::Error::other(error.to_string()))?;
        }
        since.map_or(Ok(()), |since| self.journal.remove_log_lines(&router.name, since))
    }
}
