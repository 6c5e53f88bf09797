//! Logins that count together: those of routers that are trusted, or those of others.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::MAX_REFUSED;
use crate::config::RouterName;

/// How long an answer counts.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Lane {
    /// Logins that run.
    pub running: usize,
    /// Routers that refused it, or did not answer, within [`WINDOW`] and not before; with those of the lane before.
    pub refusals: BTreeMap<RouterName, Instant>,
    /// Logins that were accepted within [`WINDOW`], since the last refusal.
    pub accepted: VecDeque<Instant>,
}

impl Lane {
    pub fn forget_old(&mut self, now: Instant) {
        self.refusals.retain(|_, since| *since + WINDOW > now);
        while self.accepted.front().is_some_and(|since| *since + WINDOW <= now) {
            self.accepted.pop_front();
        }
    }

    /// Whether no further login may begin. Each that was accepted opens one more, so that their number doubles.
    pub fn is_full(&self) -> bool {
        self.running + self.refusals.len() >= MAX_REFUSED + self.accepted.len()
    }

    /// Those that run are still counted.
    pub fn reset(&mut self) {
        self.refusals.clear();
        self.accepted.clear();
    }
}
