//! Attribution: the claims of the log that no export has shown yet, and when the next export is due. `change.rs` credits
//! the users. Nothing here has a clock: each time is the time since the connection began.

mod claim;
mod facts_claims;
mod own_lines;
mod schedule;

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

pub use self::{
    claim::{Claims, LogClaim, is_same_time, users},
    facts_claims::FactsClaims,
    own_lines::{OwnLines, is_own_entry},
    schedule::{ExportSchedule, ExportTiming},
};
use crate::log_record::LogRecord;

/// Records that are remembered to recognize repetitions: several logging actions (memory, disk) write the same entry,
/// and `follow-only` may repeat entries.
const REMEMBERED: usize = 1_000;
/// A record of the stored log is repeated within this time only. RouterOS 6 prints no date, and a change at the same
/// second of every day is not a repetition.
const REPETITION: Duration = Duration::from_secs(60);
/// Several logging actions write the same entry at the same moment. Later, or once an export has begun since, it is
/// another change: a clock that was set back shows the same second again.
const COPY: Duration = Duration::from_secs(3);

/// A line that the log had may come by syslog so much later: over TCP, by a relay, from a queue.
const LATE_COPY: Duration = Duration::from_secs(600);
/// Bytes of a message that say whether a message by syslog is its copy: the rest of a long one may be cut off.
const COMPARED: usize = 1 << 10;

/// A record that was received while the log is followed, and may be repeated.
#[derive(Debug)]
struct Received {
    hash: u64,
    /// No later record repeats it after this time.
    until: Duration,
    /// [`Attribution::exports`] at the time of receipt.
    exports: u64,
}

/// The claims of one connection that no complete export has shown yet.
#[derive(Debug)]
pub struct Attribution {
    pub schedule: ExportSchedule,
    /// Received since the last export began.
    claims: Claims,
    /// Received before the export that is being fetched began.
    exporting: Claims,
    /// Hashes of the records of the stored log: many, and remembered for a minute only.
    stored: VecDeque<u64>,
    /// No later record repeats them after this time.
    stored_until: Duration,
    /// Records received since then.
    received: VecDeque<Received>,
    /// The hashes of the messages of the log, and when they were received.
    logged: VecDeque<(u64, Duration)>,
    /// The number of exports that began.
    exports: u64,
    /// Time and message of the newest line about a change in the router's log.
    newest: Option<(String, String)>,
    /// The same when the last export began.
    newest_exported: Option<(String, String)>,
    /// Seeded at random, so that users of the router cannot construct a line with the hash of another.
    hasher: RandomState,
}

impl Attribution {
    /// A router just connected. `claims` are from earlier connections and no export has shown them.
    pub fn new(timing: ExportTiming, claims: Claims) -> Attribution {
        let newest = claims
            .kept
            .iter()
            .rfind(|claim| !claim.syslog)
            .map(|claim| (claim.time.clone(), claim.message.clone()));
        Attribution {
            schedule: ExportSchedule::new(timing),
            claims,
            exporting: Claims::default(),
            stored: VecDeque::new(),
            stored_until: Duration::ZERO,
            received: VecDeque::new(),
            logged: VecDeque::new(),
            exports: 0,
            newest,
            newest_exported: None,
            hasher: RandomState::new(),
        }
    }

    /// Remembers a record that the log already had at connection: when the log repeats it, it is not new.
    pub fn remember(&mut self, now: Duration, record: &LogRecord) {
        self.forget_stored(now);
        if self.stored.len() >= REMEMBERED {
            self.stored.pop_front();
        }
        self.stored.push_back(self.hash(record));
        self.stored_until = now + REPETITION;
        self.newest = Some((record.time.clone(), record.message.clone()));
    }

    /// Frees the memory of what can no longer be repeated.
    fn forget_stored(&mut self, now: Duration) {
        if now > self.stored_until {
            self.stored = VecDeque::new();
        }
    }

    pub fn newest(&self) -> Option<&(String, String)> {
        self.newest.as_ref()
    }

    /// The newest line about a change that the export certainly shows. A line received while the export was fetched may
    /// be about a change that the export does not have yet.
    pub fn newest_exported(&self) -> Option<&(String, String)> {
        self.newest_exported.as_ref()
    }

    /// Takes a record of the log. Returns true if it claims a change and is not a repetition.
    pub fn observe(&mut self, now: Duration, record: &LogRecord) -> bool {
        let Some(claim) = LogClaim::of(record) else { return false };
        let (hash, exports) = (self.hash(record), self.exports);
        self.forget_stored(now);
        self.received.retain(|known| known.until >= now && known.exports == exports);
        if self.stored.contains(&hash) || self.received.iter().any(|known| known.hash == hash) {
            return false;
        }
        if self.received.len() >= REMEMBERED {
            self.received.pop_front();
        }
        self.received.push_back(Received { hash, until: now + COPY, exports });
        if self.logged.len() >= REMEMBERED {
            self.logged.pop_front();
        }
        self.logged.push_back((self.hash_message(record), now));
        self.newest = Some((record.time.clone(), record.message.clone()));
        self.claims.push(claim);
        self.schedule.line_received(now);
        true
    }

    /// Takes a record that came by syslog. It triggers exports less often, and is not a line of the log to continue at.
    /// Returns its claim, unless it is the copy of a line that the log had.
    pub fn observe_syslog(&mut self, now: Duration, record: &LogRecord) -> Option<LogClaim> {
        let claim = LogClaim { syslog: true, ..LogClaim::of(record)? };
        let hash = self.hash_message(record);
        if self.logged.iter().any(|(known, at)| *known == hash && now <= *at + LATE_COPY) {
            return None;
        }
        self.claims.push(claim.clone());
        self.schedule.syslog_line_received(now);
        Some(claim)
    }

    fn hash_message(&self, record: &LogRecord) -> u64 {
        let message = &record.message;
        self.hasher.hash_one(&message[..message.floor_char_boundary(COMPARED)])
    }

    fn hash(&self, record: &LogRecord) -> u64 {
        self.hasher.hash_one((&record.time, &record.topics, &record.message))
    }

    pub fn export_began(&mut self) {
        self.schedule.export_began();
        self.exports += 1;
        self.exporting = std::mem::take(&mut self.claims);
        self.newest_exported.clone_from(&self.newest);
    }

    /// The claims whose changes the export may show: those received before it began, and those received while it was
    /// fetched.
    pub fn pending(&self) -> Claims {
        let mut pending = self.exporting.clone();
        pending.append(self.claims.clone());
        pending
    }

    /// The claims whose changes the export that is being recorded shows, if it shows any.
    pub fn settled(&self) -> Claims {
        self.exporting.clone()
    }

    /// These of the pending claims are in the record of a change.
    pub fn set_recorded(&mut self, is_recorded: impl Fn(&LogClaim) -> bool) {
        self.claims.kept.iter_mut().for_each(|claim| claim.recorded |= is_recorded(claim));
        self.claims.further = 0;
    }

    /// These claims are in a record: they are not noted again.
    pub fn set_recorded_claims(&mut self, recorded: &[LogClaim]) {
        for claim in self.claims.kept.iter_mut().chain(&mut self.exporting.kept) {
            claim.recorded |= recorded.iter().any(|known| known.is_same_line(claim));
        }
    }

    /// The export that began at `began` is complete: the claims from before it are settled.
    pub fn export_complete(&mut self, began: Duration, now: Duration) {
        self.exporting = Claims::default();
        self.schedule.export_complete(began, now);
        self.forget_stored(now);
        self.received.shrink_to(2 * self.received.len());
    }

    /// The export that began at `began` is complete but for some sections: its claims stay pending.
    pub fn export_incomplete(&mut self, began: Duration, now: Duration) {
        self.claims = self.pending();
        self.exporting = Claims::default();
        self.schedule.export_complete(began, now);
    }

    /// The export failed: its claims stay pending, and the next export is due after `pause`.
    pub fn export_failed(&mut self, now: Duration, pause: Duration) {
        self.claims = self.pending();
        self.exporting = Claims::default();
        self.schedule.export_failed(now, pause);
    }
}

#[cfg(test)]
#[path = "attribution/syslog_tests.rs"]
mod syslog_tests;
#[cfg(test)]
#[path = "attribution/tests.rs"]
mod tests;
