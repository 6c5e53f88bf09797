//! After an export: reads facts about the router, and records them with what no export shows. Only then the last line of the
//! log is stored: if the process ends before, the lines are candidates after the next start.

use std::{future::pending, sync::Arc};

use super::{
    super::read_facts::{Aftermath, Reading, read_facts},
    Session,
};
use crate::facts::Facts;

impl Session<'_> {
    /// Reads facts about the router after an export, and records them once they are read. While they are being read for an
    /// earlier one, they are read again after that: the router may have printed them before what this export is about.
    pub(super) fn read_facts(&mut self, aftermath: Aftermath) {
        let waiting =
            [self.reading.as_ref().map(|reading| &reading.aftermath), self.aftermath.as_ref()];
        if !aftermath.has_lines() && !waiting.into_iter().flatten().any(Aftermath::has_lines) {
            self.set_last_line(aftermath.last_line.clone());
        }
        let aftermath = match self.aftermath.take() {
            Some(earlier) => earlier.followed_by(aftermath),
            None => aftermath,
        };
        if self.reading.is_some() {
            self.aftermath = Some(aftermath);
            return;
        }
        let archive = self.task.recorder.archive(&self.task.router.name);
        let facts = read_facts(Arc::clone(&self.connection), archive);
        self.reading = Some(Reading { facts, aftermath, began: self.task.facts_claims.next() });
    }

    /// Returns whether it is recorded. Otherwise it is tried again after the next export.
    pub(super) async fn record_facts(&mut self, facts: Facts) -> bool {
        let Some(Reading { aftermath, began, .. }) = self.reading.take() else { return false };
        let of_header = aftermath.header.sections.keys().map(|name| (name, aftermath.header_began));
        let printed = facts.sections.keys().map(|name| (name, began)).chain(of_header);
        let printed = printed.map(|(name, began)| (name.clone(), began)).collect();
        let has_history = !facts.history.is_empty();
        let Some(credited) = self.task.record_facts(facts, aftermath.clone()).await else {
            self.aftermath = Some(match self.aftermath.take() {
                Some(later) => aftermath.followed_by(later),
                None => aftermath,
            });
            return false;
        };
        self.task.facts_claims.set_credited(&credited);
        self.task.facts_claims.read(printed);
        self.attribution.set_recorded_claims(&credited);
        if let Some(next) = &mut self.aftermath {
            next.set_recorded(&credited);
        } else {
            self.task.is_history_current |= has_history;
        }
        self.set_last_line(aftermath.last_line);
        true
    }

    /// The line up to which facts settle all: without a configuration no export will show a difference. `None` if there is one,
    /// and while lines wait to be noted.
    pub(super) fn line_of_facts(&self) -> Option<(String, String)> {
        let archive = self.task.recorder.archive(&self.task.router.name);
        let is_settled = self.attribution.pending().without_recorded().kept.is_empty();
        let line = self.attribution.newest_exported().filter(|_| is_settled);
        line.filter(|_| !archive.has_base()).cloned()
    }

    /// The lines up to this one are settled and recorded. While claims are remembered for sections that failed, they are
    /// candidates again after a restart.
    pub(super) fn set_last_line(&mut self, line: Option<(String, String)>) {
        let Some(line) = line else { return };
        self.task.last_line = Some(line.clone());
        if self.task.missed.sections.is_empty() {
            self.task.recorder.set_last_line(&self.task.router.name, Some(line));
        }
    }

    /// The connection ended: records what waits for facts without them.
    pub(super) async fn record_rest(&mut self) {
        if self.reading.is_some() {
            self.record_facts(Facts::default()).await;
        }
        if let Some(aftermath) = self.aftermath.take() {
            let (facts, began) = (Box::pin(pending()), self.task.facts_claims.next());
            self.reading = Some(Reading { facts, aftermath, began });
            self.record_facts(Facts::default()).await;
        }
    }
}
