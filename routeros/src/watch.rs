//! When to take an export, and whom to credit with what it shows. Time is an argument: how long the
//! connection has lasted.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    actor::{Actor, naming},
    record::Record,
};

/// What a log line says of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The router's time, as text.
    pub time: String,
    /// The message.
    pub message: String,
    /// Whom it names.
    pub actors: Vec<Actor>,
    /// The command, where it tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether it may be forged.
    #[serde(default)]
    pub ambiguous: bool,
}

impl Claim {
    /// What a record claims, if it is about a change and names somebody.
    pub fn of(record: &Record) -> Option<Claim> {
        let naming = record.may_be_change().then(|| naming(&record.message))??;
        Some(Claim {
            time: record.time.clone(),
            message: record.message.clone(),
            ambiguous: naming.ambiguous || record.doubtful,
            actors: naming.actors,
            command: naming.command,
        })
    }
}

/// Users named by these claims, each once, in order.
pub fn users(claims: &[Claim]) -> Vec<&str> {
    let mut users = Vec::new();
    for actor in claims.iter().flat_map(|claim| &claim.actors) {
        if !users.contains(&actor.user.as_str()) {
            users.push(actor.user.as_str());
        }
    }
    users
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the last line to the export: changes come in groups, and take a moment to settle.
    pub settle: Duration,
    /// From the first line to the export, at most.
    pub latest: Duration,
    /// From one export to the next where the log shows nothing.
    pub interval: Duration,
}

/// Claims between two exports, at most: beyond, they are only counted.
const MOST_CLAIMS: usize = 500;
/// Records remembered, to tell repeated ones: of several actions for one entry (memory, disk), and
/// what `follow-only` may repeat...
const REMEMBERED: usize = 1_000;
/// ...for so long: RouterOS 6 gives no date, and what somebody does daily at the same second is no
/// repetition.
const REPEATED: Duration = Duration::from_secs(60);

/// A connected router: what its log said and its export has not yet shown.
#[derive(Debug)]
pub struct Watch {
    pace: Pace,
    claims: Vec<Claim>,
    /// Claims beyond those kept.
    uncounted: u64,
    /// Each with when it was heard.
    heard: VecDeque<(Duration, Record)>,
    first: Option<Duration>,
    last: Option<Duration>,
    /// Not before: the router rests four times as long as an export took it, up to 30 s.
    rest: Duration,
    next: Duration,
}

impl Watch {
    /// A router just connected, of whose log these records are old.
    pub fn new(pace: Pace, old: impl IntoIterator<Item = Record>) -> Watch {
        let mut heard: VecDeque<_> = old.into_iter().map(|old| (Duration::ZERO, old)).collect();
        heard.drain(..heard.len().saturating_sub(REMEMBERED));
        let (claims, none) = (Vec::new(), Duration::ZERO);
        Watch { pace, claims, uncounted: 0, heard, first: None, last: None, rest: none, next: none }
    }

    /// Takes a record; tells whether it claims a change and is new.
    pub fn hear(&mut self, now: Duration, record: Record) -> bool {
        let Some(claim) = Claim::of(&record) else { return false };
        while self.heard.front().is_some_and(|(heard, _)| *heard + REPEATED < now) {
            self.heard.pop_front();
        }
        if self.heard.iter().any(|(_, heard)| *heard == record) {
            return false;
        }
        if self.heard.len() >= REMEMBERED {
            self.heard.pop_front();
        }
        self.heard.push_back((now, record));
        if self.claims.len() < MOST_CLAIMS {
            self.claims.push(claim);
        } else {
            self.uncounted += 1;
        }
        self.first.get_or_insert(now);
        self.last = Some(now);
        true
    }

    /// When the next export is due.
    pub fn due(&self) -> Duration {
        let armed = self.last.zip(self.first).map(|(last, first)| {
            (last + self.pace.settle).min(first + self.pace.latest).max(self.rest)
        });
        armed.map_or(self.next, |armed| armed.min(self.next.max(self.rest)))
    }

    /// An export begins now: from here on, lines arm the next one.
    pub fn begin(&mut self) -> (Vec<Claim>, u64) {
        (self.first, self.last) = (None, None);
        (std::mem::take(&mut self.claims), std::mem::take(&mut self.uncounted))
    }

    /// Claims that arrived since the export began: it may show their changes already.
    pub fn meanwhile(&self) -> &[Claim] {
        &self.claims
    }

    /// An export that began at `began` ended, and it was whole.
    pub fn end(&mut self, began: Duration, now: Duration) {
        // Not after the first one: before it there was rest enough, and at the start, when all routers
        // are asked at once, it is we who are slow.
        if self.next > Duration::ZERO {
            self.rest = now + (now.saturating_sub(began) * 4).min(Duration::from_secs(30));
        }
        self.next = now + self.pace.interval;
    }

    /// An export was refused: its claims stand, and it is tried again after a pause.
    pub fn retry(
        &mut self,
        (mut claims, uncounted): (Vec<Claim>, u64),
        now: Duration,
        pause: Duration,
    ) {
        claims.append(&mut self.claims);
        claims.truncate(MOST_CLAIMS);
        self.claims = claims;
        self.uncounted += uncounted;
        (self.first, self.last) = (None, None);
        self.rest = now + pause;
        self.next = now + pause;
    }
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
