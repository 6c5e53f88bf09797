//! A change of a router's configuration, and who is credited with it.

mod credit;
mod security;
mod text;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::credit::without_forged;
pub use self::{
    credit::{Credit, Missed},
    security::is_about_security,
};
use crate::{
    attribution::{LogClaim, is_same_time, users},
    diff::Difference,
    mask::mask,
};

/// The user who is credited with a change that no log line explains.
pub const UNKNOWN: &str = "UNKNOWN";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When its export was recorded, by this machine's clock.
    pub time: Timestamp,
    pub router: String,
    pub address: String,
    /// The users who are credited: all that the log named since the last export, and [`UNKNOWN`] if it named none or was
    /// not followed all the time.
    pub users: Vec<String>,
    /// Whether one of the users may be forged.
    pub ambiguous: bool,
    /// The log lines about it.
    pub claims: Vec<LogClaim>,
    /// The number of claims beyond those that are kept.
    #[serde(default)]
    pub further_claims: u64,
    /// Log lines from a time when the log was not followed.
    pub candidates: Vec<LogClaim>,
    /// When it was not followed, about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwatched: Option<(Timestamp, Timestamp)>,
    pub added: u32,
    pub removed: u32,
    /// How many of these lines are ignored by rules: archived, and not reported.
    #[serde(default)]
    pub ignored: u32,
    /// How many lines have another secret only: each is `***` before and after.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secrets: u32,
    /// The name of the snapshot before.
    #[serde(default)]
    pub before: String,
    pub snapshot: String,
    /// The unified diff.
    pub diff: String,
    /// What no export shows: changed facts about the router. Entries of `noted.jsonl` may have no other content than the
    /// log lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// Whether the export shows no difference.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noted: bool,
    /// Whether the exports were incomplete, so that they may lack what the log lines are about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Change {
    pub fn new(
        time: Timestamp,
        (router, address): (&str, &str),
        credit: Credit,
        difference: Difference,
        (before, snapshot): (String, String),
    ) -> Change {
        let Credit { claims, further, candidates, unwatched, .. } = credit;
        let (claims, unconfirmed) = without_forged(claims);
        let mut named: Vec<String> = users(&claims).into_iter().map(str::to_owned).collect();
        let is_unknown = named.is_empty() || candidates.is_some();
        if is_unknown && !named.iter().any(|user| user == UNKNOWN) {
            named.push(UNKNOWN.into());
        }
        let mut candidates = candidates.unwrap_or_default();
        candidates.extend(unconfirmed);
        Change {
            time,
            router: router.into(),
            address: address.into(),
            users: named,
            ambiguous: claims.iter().any(|claim| claim.ambiguous),
            further_claims: further,
            claims,
            candidates,
            unwatched,
            added: difference.added,
            removed: difference.removed,
            ignored: 0,
            secrets: 0,
            before,
            snapshot,
            diff: difference.text,
            facts: Vec::new(),
            noted: false,
            incomplete: false,
        }
    }

    /// Log lines whose export shows no difference, and changed facts.
    pub fn noted(
        time: Timestamp,
        names: (&str, &str),
        credit: Credit,
        facts: Vec<String>,
    ) -> Change {
        let difference = Difference { text: String::new(), added: 0, removed: 0 };
        let candidates = credit.candidates.clone().unwrap_or_default();
        let mut change = Change::new(time, names, credit, difference, Default::default());
        (change.facts, change.noted) = (facts, true);
        if change.facts.is_empty() {
            // A line names a user, before or after the connection: no other is sought.
            change.users.retain(|user| user != UNKNOWN);
            for user in users(&candidates) {
                if !change.users.iter().any(|known| known == user) {
                    change.users.push(user.into());
                }
            }
            change.ambiguous |= candidates.iter().any(|claim| claim.ambiguous);
        }
        change
    }

    /// The users of log lines that it is not credited to for certain.
    pub fn candidate_users(&self) -> Vec<&str> {
        self.not_credited(users(&self.candidates))
    }

    /// Those of them that a line names which no other user may have written.
    fn certain_candidates(&self) -> Vec<&str> {
        self.not_credited(users(self.candidates.iter().filter(|claim| !claim.is_doubtful())))
    }

    fn not_credited<'a>(&self, mut named: Vec<&'a str>) -> Vec<&'a str> {
        named.retain(|user| !self.users.iter().any(|credited| credited == user));
        named
    }

    /// Whether this line is in it, which may be stored without its secrets.
    pub fn has_line(&self, line: &LogClaim) -> bool {
        self.claims.iter().chain(&self.candidates).any(|claim| {
            is_same_time(&claim.time, &line.time)
                && (claim.message == line.message || claim.message == mask(&line.message))
        })
    }

    /// Whether a fact changed, or a line is about users, keys, certificates, packages and the like.
    pub fn is_about_security(&self) -> bool {
        !self.facts.is_empty() || self.claims.iter().chain(&self.candidates).any(is_about_security)
    }

    /// Whether all of it is ignored by rules.
    pub fn is_ignored(&self) -> bool {
        self.ignored > 0 && self.ignored >= self.added.saturating_add(self.removed)
    }

    /// The user, if the log names one only, beyond doubt.
    pub fn only_user(&self) -> Option<&str> {
        let is_certain = self.candidates.is_empty()
            && self.further_claims == 0
            && !self.claims.iter().any(LogClaim::is_doubtful);
        match &*self.users {
            [user] if is_certain && user != UNKNOWN => Some(user),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
