//! When to take an export, and whom to credit with what it shows. Time is an argument: how long the
//! connection has lasted.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

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

/// Whether two times of the router may be the same: RouterOS 6 leaves out the date while it is today's,
/// and the year while it is this one.
pub fn is_same_time(one: &str, other: &str) -> bool {
    let parts = |time| str::rsplit_once(time, ' ').unwrap_or(("", time));
    let ((one, clock), (other, same)) = (parts(one), parts(other));
    let begins = |long: &str, short: &str| {
        let rest = long.strip_prefix(short);
        short.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    clock == same && (begins(one, other) || begins(other, one))
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

/// Claims kept, at most: beyond, they are only counted...
const MOST_CLAIMS: usize = 500;
/// ...and so many bytes of them: a single message may have 64 KiB.
const LARGEST_CLAIMS: usize = 256 << 10;
/// Records remembered, to tell repeated ones: of several actions for one entry (memory, disk), and
/// what `follow-only` may repeat...
const REMEMBERED: usize = 1_000;
/// ...for so long: RouterOS 6 gives no date, and what somebody does daily at the same second is no
/// repetition.
const REPEATED: Duration = Duration::from_secs(60);

/// What the log said, within bounds.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// In order.
    pub kept: Vec<Claim>,
    /// Those beyond.
    pub further: u64,
    bytes: usize,
}

impl Claims {
    /// One more.
    pub fn push(&mut self, claim: Claim) {
        // A command stands in the message, too, and so do the names.
        let bytes = 2 * (claim.time.len() + claim.message.len());
        if self.kept.len() < MOST_CLAIMS && self.bytes + bytes <= LARGEST_CLAIMS {
            self.bytes += bytes;
            self.kept.push(claim);
        } else {
            self.further += 1;
        }
    }

    /// Those that came later.
    pub fn append(&mut self, later: Claims) {
        later.kept.into_iter().for_each(|claim| self.push(claim));
        self.further += later.further;
    }
}

/// A connected router: what its log said and its export has not yet shown.
#[derive(Debug)]
pub struct Watch {
    pace: Pace,
    claims: Claims,
    /// Those that the export which is being taken may show.
    begun: Claims,
    /// What was heard, as hashes, each with when.
    heard: VecDeque<(Duration, u64)>,
    /// The last line about a change that the router's log has: time and message.
    newest: Option<(String, String)>,
    /// The same when the export began that is being taken, or was last.
    newest_begun: Option<(String, String)>,
    /// Of our own, so that nobody can make a line whose hash is that of another.
    hasher: RandomState,
    first: Option<Duration>,
    last: Option<Duration>,
    /// Not before: the router rests four times as long as an export took it, up to 30 s.
    rest: Duration,
    next: Duration,
    /// An export was whole in this connection.
    exported: bool,
}

impl Watch {
    /// A router just connected, with claims from before that no export has shown.
    pub fn new(pace: Pace, claims: Claims) -> Watch {
        let newest = claims.kept.last().map(|claim| (claim.time.clone(), claim.message.clone()));
        Watch {
            pace,
            claims,
            begun: Claims::default(),
            heard: VecDeque::new(),
            newest,
            newest_begun: None,
            hasher: RandomState::new(),
            first: None,
            last: None,
            rest: Duration::ZERO,
            next: Duration::ZERO,
            exported: false,
        }
    }

    /// What the first export is to show may have happened just now: it settles first.
    pub fn settle(&mut self, now: Duration) {
        self.next = now + self.pace.settle;
    }

    /// The router held this record when we came: hearing it once more is nothing new.
    pub fn know(&mut self, now: Duration, record: &Record) {
        if self.heard.len() >= REMEMBERED {
            self.heard.pop_front();
        }
        self.heard.push_back((now, self.hash(record)));
        self.newest = Some((record.time.clone(), record.message.clone()));
    }

    /// The last line about a change that the router's log has: time and message.
    pub fn newest(&self) -> Option<&(String, String)> {
        self.newest.as_ref()
    }

    /// The last line about a change whose change the export shows for certain: those heard since it began may be
    /// about what comes behind it.
    pub fn newest_begun(&self) -> Option<&(String, String)> {
        self.newest_begun.as_ref()
    }

    /// Takes a record; tells whether it claims a change and is new.
    pub fn hear(&mut self, now: Duration, record: &Record) -> bool {
        let Some(claim) = Claim::of(record) else { return false };
        while self.heard.front().is_some_and(|(heard, _)| *heard + REPEATED < now) {
            self.heard.pop_front();
        }
        let hash = self.hash(record);
        if self.heard.iter().any(|(_, heard)| *heard == hash) {
            return false;
        }
        self.know(now, record);
        self.claims.push(claim);
        self.first.get_or_insert(now);
        self.last = Some(now);
        true
    }

    fn hash(&self, record: &Record) -> u64 {
        self.hasher.hash_one((&record.time, &record.topics, &record.message))
    }

    /// When the next export is due.
    pub fn due(&self) -> Duration {
        let armed = self.last.zip(self.first).map(|(last, first)| {
            (last + self.pace.settle).min(first + self.pace.latest).max(self.rest)
        });
        armed.map_or(self.next, |armed| armed.min(self.next.max(self.rest)))
    }

    /// An export begins now: from here on, lines arm the next one.
    pub fn begin(&mut self) {
        (self.first, self.last) = (None, None);
        self.begun = std::mem::take(&mut self.claims);
        self.newest_begun.clone_from(&self.newest);
    }

    /// What the export may show: claims from before it began, and since, for it may show their changes
    /// already.
    pub fn shown(&self) -> Claims {
        let mut shown = self.begun.clone();
        shown.append(self.claims.clone());
        shown
    }

    /// An export that began at `began` ended, and it was whole.
    pub fn end(&mut self, began: Duration, now: Duration) {
        self.begun = Claims::default();
        // Not after the first one: before it there was rest enough, and at the start, when all routers
        // are asked at once, it is we who are slow.
        if self.exported {
            self.rest = now + (now.saturating_sub(began) * 4).min(Duration::from_secs(30));
        }
        self.next = now + self.pace.interval;
        self.exported = true;
    }

    /// An export was refused: its claims stand, and it is tried again after a pause.
    pub fn retry(&mut self, now: Duration, pause: Duration) {
        self.claims = self.shown();
        self.begun = Claims::default();
        (self.first, self.last) = (None, None);
        self.rest = now + pause;
        self.next = now + pause;
    }

    /// The connection ends: what no export has shown.
    pub fn leave(self) -> Claims {
        self.shown()
    }
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;
