//! What log lines claim about changes, within bounds.

use serde::{Deserialize, Serialize};

use crate::{
    actor::{Actor, actors_in},
    log_record::LogRecord,
};

/// A log line that names who made a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogClaim {
    /// The router's time, as text.
    pub time: String,
    pub message: String,
    pub actors: Vec<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether an actor may be forged.
    #[serde(default)]
    pub ambiguous: bool,
    /// Whether it came by syslog, which anybody can forge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub syslog: bool,
    /// Whether a change that was recorded has this line already.
    #[serde(skip)]
    pub recorded: bool,
}

impl LogClaim {
    /// Whether another user may have written it.
    pub fn is_doubtful(&self) -> bool {
        self.ambiguous || self.syslog
    }

    /// Its size. The command and the names are parts of the message.
    pub fn bytes(&self) -> usize {
        2 * (self.time.len() + self.message.len())
    }

    /// Whether both are of the same line of the log, or of two that cannot be distinguished.
    pub fn is_same_line(&self, other: &LogClaim) -> bool {
        self.message == other.message && is_same_time(&self.time, &other.time)
    }

    /// The claim of a record that is about a change and names an actor.
    pub fn of(record: &LogRecord) -> Option<LogClaim> {
        let named = record.may_be_change().then(|| actors_in(&record.message))??;
        Some(LogClaim {
            time: record.time.clone(),
            message: record.message.clone(),
            ambiguous: named.ambiguous || record.doubtful,
            syslog: false,
            actors: named.actors,
            command: named.command,
            recorded: false,
        })
    }
}

/// Whether two times of the router may be equal. RouterOS 6 omits the date of the current day, and the year of the
/// current year.
pub fn is_same_time(one: &str, other: &str) -> bool {
    let parts = |time| str::rsplit_once(time, ' ').unwrap_or(("", time));
    let ((one, clock), (other, same)) = (parts(one), parts(other));
    let begins = |long: &str, short: &str| {
        let rest = long.strip_prefix(short);
        short.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    clock == same && (begins(one, other) || begins(other, one))
}

/// The users that these claims name, each once, in order.
pub fn users<'a>(claims: impl IntoIterator<Item = &'a LogClaim>) -> Vec<&'a str> {
    let mut users = Vec::new();
    for actor in claims.into_iter().flat_map(|claim| &claim.actors) {
        if !users.contains(&actor.user.as_str()) {
            users.push(actor.user.as_str());
        }
    }
    users
}

/// Claims that are kept, at most; further ones are only counted.
pub const MAX_CLAIMS: usize = 500;
/// Bytes of the claims that are kept, at most: a single message may have 64 KiB.
pub const MAX_CLAIMS_BYTES: usize = 256 << 10;

/// Claims by syslog among them, at most: forged ones must not leave those of the log no room.
pub const MAX_SYSLOG_CLAIMS: usize = 30;

/// Claims in the order of the log, bounded in number and size.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    pub kept: Vec<LogClaim>,
    /// The number of claims beyond the bounds.
    pub further: u64,
    bytes: usize,
}

impl Claims {
    pub fn push(&mut self, claim: LogClaim) {
        let bytes = claim.bytes();
        if claim.syslog {
            let known = self.kept.iter().filter(|kept| kept.syslog);
            let (same, number) = known.fold((false, 0), |(same, number), kept| {
                (same || kept.message == claim.message, number + 1)
            });
            if same || number >= MAX_SYSLOG_CLAIMS {
                self.further += u64::from(!same);
                return;
            }
        }
        if self.kept.len() < MAX_CLAIMS && self.bytes + bytes <= MAX_CLAIMS_BYTES {
            self.bytes += bytes;
            self.kept.push(claim);
        } else {
            self.further += 1;
        }
    }

    /// The claims that no recorded change has.
    pub fn without_recorded(mut self) -> Claims {
        self.kept.retain(|claim| !claim.recorded);
        self
    }

    pub fn append(&mut self, later: Claims) {
        later.kept.into_iter().for_each(|claim| self.push(claim));
        self.further += later.further;
    }
}
