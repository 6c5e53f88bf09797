//! Exports of a connection: fetches them, records what they show, and tries again those that fail.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep_until;

use super::{
    super::{
        FetchedExport, Turn,
        fetch::fetch_export,
        log_check::check_log,
        read_facts::{Aftermath, read_history},
    },
    PendingExport, Session,
};
use crate::{
    attribution::{Claims, LogClaim, is_own_entry},
    change::{Credit, is_about_security},
    config_export::Export,
    facts::Facts,
    recorder::Outcome,
    ssh::SshFault,
};

/// The first and the longest pause after a failed export.
pub(super) const EXPORT_PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(600)];
/// After so many failed exports in a row, what the log says is recorded without one.
const FAILED_EXPORTS: u32 = 5;

impl Session<'_> {
    /// Fetches an export when the router has its turn, or a second one in the same turn to confirm the first.
    pub(super) fn fetch(&self, unconfirmed: Option<(Export, Turn)>) -> PendingExport {
        let (connection, router) = (Arc::clone(&self.connection), Arc::clone(&self.task.router));
        let (turns, failed) = (self.task.turns.clone(), self.task.is_export_failing());
        let earlier = self.task.earlier_export;
        let is_unnamed = self.attribution.pending().kept.is_empty();
        Box::pin(async move {
            if let Some(end) = earlier {
                sleep_until(end).await;
            }
            let (unconfirmed, turn) = match unconfirmed {
                Some((first, turn)) => (Some(first), turn),
                None => (None, turns.next(failed).await),
            };
            let mut fetched = fetch_export(&connection, &router, turn, unconfirmed).await?;
            if is_unnamed {
                fetched.history = read_history(&connection).await;
            }
            Ok(fetched)
        })
    }

    pub(super) async fn export_fetched(
        &mut self,
        result: Result<FetchedExport, SshFault>,
    ) -> Result<(), SshFault> {
        let began = self.export.take().map_or(Duration::ZERO, |(_, began)| began);
        if matches!(result, Ok(_) | Err(SshFault::Late { .. })) {
            self.task.login_works();
        }
        let mut fetched = match result {
            Ok(fetched) => fetched,
            Err(fault) => return self.fetch_failed(fault),
        };
        // A line that is held back may be about what the export shows.
        self.flush_log();
        let Claims { kept: claims, further, .. } = self.attribution.pending();
        let (is_named, missed) = (!claims.is_empty(), self.task.missed.clone());
        let candidates = self.candidates.clone();
        let unwatched = self.unwatched.filter(|_| candidates.is_some());
        let mut credit = Credit { claims, further, candidates, missed, unwatched };
        let router = &self.task.router;
        fetched.history.retain(|entry| !(router.backup && is_own_entry(entry, &router.user)));
        let history = self.task.recorder.history_claims(&self.task.router.name, &fetched.history);
        credit.add_history(history.clone(), self.task.is_history_current);
        let mut aftermath = Aftermath {
            header: Facts::of_header(&fetched.bytes),
            header_began: self.export_began,
            unshown: self.attribution.settled().without_recorded(),
            unshown_candidates: self.candidates.clone().unwrap_or_default(),
            last_line: self.attribution.newest_exported().cloned(),
            ..Aftermath::default()
        };
        if !is_named && self.task.is_history_current {
            aftermath.history = history;
        }
        aftermath.header.history.clone_from(&fetched.history);
        let recorded = self.task.record(fetched, credit).await;
        self.task.requests.export_ended(recorded.as_ref());
        let (outcome, failed) = match recorded {
            Some(Outcome::Incomplete { outcome, failed }) => (Some(*outcome), failed),
            outcome => (outcome, BTreeSet::new()),
        };
        let is_unchanged = matches!(outcome, Some(Outcome::Unchanged));
        match outcome {
            Some(Outcome::Unconfirmed { loss, export: first, turn }) => {
                if let Some(loss) = loss {
                    let text = format!("{loss}: exporting again");
                    self.task.recorder.note(&self.task.router.name, &text);
                }
                self.export = Some((self.fetch(Some((first, turn))), began));
                return Ok(());
            }
            Some(Outcome::Rejected(fault)) => {
                let text = format!("export rejected: {fault} (stored in refused/)");
                self.task.export_failed(fault.kind(), "incomplete export", &text);
                self.retry_export();
                self.read_facts(Aftermath {
                    last_line: self.line_of_facts(),
                    ..Aftermath::default()
                });
                return Ok(());
            }
            Some(Outcome::Incomplete { .. }) | None => {
                self.retry_export();
                return Ok(());
            }
            Some(Outcome::First) => {
                let text = "first contact: configuration stored";
                self.task.recorder.note(&self.task.router.name, text);
                aftermath.unshown_candidates.clear(); // lines of the time before are not news
            }
            Some(Outcome::Changed(change)) => {
                self.task.report_change(&change);
                // No user hides a line about access behind a change that rules ignore.
                let is_unshown = |claim: &LogClaim| change.is_ignored() && is_about_security(claim);
                self.attribution.set_recorded(|claim| !is_unshown(claim));
                aftermath.unshown.kept.retain(is_unshown);
                aftermath.unshown.further = 0;
                aftermath.unshown_candidates.retain(is_unshown);
            }
            Some(Outcome::Unchanged) => {}
        }
        self.task.failed_exports = 0;
        self.task.missed.exported(&failed);
        self.task.exports_work(&failed);
        // A change of the logging rules is in an export too: the answer is that of now.
        self.log_check.get_or_insert_with(|| check_log(Arc::clone(&self.connection)));
        if !failed.is_empty() && is_unchanged && self.task.sections.may_pass() {
            // What the log claims may be about a section that failed. Not for ever: others would be credited later.
            self.attribution.export_incomplete(began, self.start.elapsed());
        } else {
            let mut settled = self.attribution.settled();
            self.candidates.take().into_iter().flatten().for_each(|claim| settled.push(claim));
            self.task.missed.settled(&failed, settled);
            self.task.is_history_current &= !is_named;
            self.attribution.export_complete(began, self.start.elapsed());
            aftermath.is_incomplete = !failed.is_empty();
            self.read_facts(aftermath);
            self.task.plan_backup().await;
        }
        if self.task.sections_failed(&failed) {
            if failed.is_empty() {
                self.export_backoff.reset();
            }
            self.attribution
                .schedule
                .again_after(self.start.elapsed(), self.export_backoff.pause());
        } else {
            self.export_backoff.reset();
        }
        Ok(())
    }

    fn fetch_failed(&mut self, fault: SshFault) -> Result<(), SshFault> {
        self.retry_export();
        self.task.requests.export_failed(&format!("export failed: {fault}"));
        if fault.is_final() {
            return Err(fault);
        }
        let is_late = matches!(fault, SshFault::Late { .. });
        if let SshFault::Late { is_ended: false, .. } = fault {
            self.task.export_may_run();
        }
        // If the connection ended, the log reports it, after the lines that it still has.
        if is_late || !self.connection.is_closed() {
            let text = format!("export failed: {fault}");
            match self.task.failed_exports {
                // A slow router may fail now and then, and the next one is soon.
                0 | 1 => self.task.export_repeated(&text),
                _ => self.task.export_failed("fetch", "failed fetch", &text),
            }
        }
        Ok(())
    }

    fn retry_export(&mut self) {
        self.attribution.export_failed(self.start.elapsed(), self.export_backoff.pause());
        self.task.failed_exports = self.task.failed_exports.saturating_add(1);
        let unshown = self.attribution.pending().without_recorded();
        if self.task.failed_exports >= FAILED_EXPORTS && !unshown.kept.is_empty() {
            self.attribution.set_recorded_claims(&unshown.kept);
            let last_line = self.line_of_facts();
            self.read_facts(Aftermath {
                unshown,
                last_line,
                is_incomplete: true,
                ..Aftermath::default()
            });
        }
    }
}
