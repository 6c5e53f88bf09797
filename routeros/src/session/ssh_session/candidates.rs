//! The lines of the stored log that came while the log was not followed.

use jiff::Timestamp;

use super::Session;
use crate::{
    attribution::{Claims, LogClaim, is_same_time},
    log_record::LogRecord,
    mask::mask,
};

/// Candidates, at most: the last ones of the log.
const MAX_CANDIDATES: usize = 20;
/// Lines that are masked to compare them, at most: a hostile log may have any number of the same time.
const MAX_MASKED: usize = 1_000;

impl Session<'_> {
    pub(super) fn find_candidates(&mut self, stored: &[LogRecord]) {
        let is_claim = |record: &&LogRecord| LogClaim::of(record).is_some();
        let stored: Vec<_> = stored.iter().filter(is_claim).collect();
        let (now, last) = (self.start.elapsed(), self.attribution.newest().cloned());
        stored.iter().for_each(|record| self.attribution.remember(now, record));
        let last = last.or_else(|| self.task.last_line.clone());
        let last = last.or_else(|| self.task.recorder.last_line(&self.task.router.name));
        let known = last.and_then(|(time, message)| {
            // What stands before the first secret is as it was.
            let masked = message.split_once("***").map(|(beginning, _)| beginning);
            let mut left = MAX_MASKED;
            stored.iter().rposition(|record| {
                let is_like = || masked.is_some_and(|start| record.message.starts_with(start));
                let mut is_masked = || {
                    left = left.saturating_sub(1);
                    left > 0 && mask(&record.message) == message
                };
                is_same_time(&record.time, &time)
                    && (record.message == message || is_like() && is_masked())
            })
        });
        // At the first contact lines are not news, and there is no difference to credit to them. Facts are enough: of a router
        // whose exports are all rejected there is no more.
        let archive = self.task.recorder.archive(&self.task.router.name);
        let most = if archive.is_begun() { MAX_CANDIDATES } else { 0 };
        let own_lines = &self.task.own_lines;
        let new = stored.into_iter().skip(known.map_or(0, |at| at + 1));
        let new = new.filter(|record| !own_lines.is_known(&record.time, &record.message));
        let new: Vec<_> = new.collect();
        let newest = new[new.len().saturating_sub(most)..].iter();
        let mut candidates = Claims::default(); // bounded in size
        newest.filter_map(|record| LogClaim::of(record)).for_each(|claim| candidates.push(claim));
        if !candidates.kept.is_empty() || !self.attribution.pending().kept.is_empty() {
            self.attribution.schedule.delay_first(now);
        }
        if known.is_none() || !candidates.kept.is_empty() {
            self.task.facts_claims.not_followed(candidates.kept.clone());
            self.candidates.get_or_insert_default().extend(candidates.kept);
            // Of an earlier process, its last export is known.
            let exported = || archive.state().ok().and_then(|state| state.exported);
            let from = self.task.followed_until.or_else(exported);
            self.unwatched = from.map(|from| (from, Timestamp::now()));
        }
    }
}
