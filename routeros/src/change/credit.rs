//! The log lines that a change may be credited to.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    attribution::{Claims, LogClaim, users},
    config_export::{recovered, touches},
    diff::Difference,
    mask::mask,
};

/// The log lines to credit a change to.
#[derive(Clone, Debug, Default)]
pub struct Credit {
    /// Claims since the last export.
    pub claims: Vec<LogClaim>,
    /// The number of claims that were only counted.
    pub further: u64,
    /// Claims from a time when the log was not followed. If this is set, an unknown user may have taken part.
    pub candidates: Option<Vec<LogClaim>>,
    /// Sections that no export had since claims were settled, and these claims. A change in these sections may be theirs.
    pub missed: Missed,
    /// When the log was not followed, about; if `candidates` is set.
    pub unwatched: Option<(Timestamp, Timestamp)>,
}

/// See [`Credit::missed`].
#[derive(Clone, Debug, Default)]
pub struct Missed {
    pub sections: BTreeSet<String>,
    pub claims: Claims,
}

impl Missed {
    /// An export lacks the sections `failed`, and others that it lacked before are complete again.
    pub fn exported(&mut self, failed: &BTreeSet<String>) {
        let recovered = recovered(&self.sections, failed);
        self.sections.retain(|section| !recovered.contains(section));
        if self.sections.is_empty() {
            self.claims = Claims::default();
        }
    }

    /// The claims of an export without these sections are settled.
    pub fn settled(&mut self, failed: &BTreeSet<String>, claims: Claims) {
        if !failed.is_empty() {
            self.sections.extend(failed.iter().cloned());
            self.claims.append(claims);
        }
    }
}

impl Credit {
    /// Adds the users that the router's history names where the log names none. If it names others too, or names of
    /// before may be among them, they are in doubt.
    pub fn add_history(&mut self, history: Vec<LogClaim>, is_current: bool) {
        if self.claims.is_empty() && is_current {
            self.claims = history;
            return;
        }
        let named = users(&self.claims);
        let is_other = |claim: &LogClaim| {
            users(std::slice::from_ref(claim)).iter().any(|user| !named.contains(user))
        };
        let others: Vec<_> = history.into_iter().filter(is_other).collect();
        if !others.is_empty() {
            self.candidates.get_or_insert_default().extend(others);
        }
    }

    /// Takes the settled claims into account if the difference is in a section that no export had since.
    pub fn with_missed(mut self, difference: &Difference) -> Credit {
        let Missed { sections, claims } = std::mem::take(&mut self.missed);
        if touches(&difference.text, &sections) {
            self.further += claims.further;
            self.candidates.get_or_insert_default().extend(claims.kept);
        }
        self
    }

    /// Without secrets in the commands.
    pub fn masked(mut self) -> Credit {
        for claim in self.claims.iter_mut().chain(self.candidates.iter_mut().flatten()) {
            claim.message = mask(&claim.message);
            claim.command = claim.command.as_deref().map(mask);
            for actor in &mut claim.actors {
                actor.user = mask(&actor.user);
                actor.via = actor.via.as_deref().map(mask);
            }
        }
        self
    }
}

/// The claims that are credited, and those that came by syslog only although the log names users: they may be forged, and
/// are only candidates.
pub fn without_forged(claims: Vec<LogClaim>) -> (Vec<LogClaim>, Vec<LogClaim>) {
    let (by_syslog, by_log): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| claim.syslog);
    if by_log.is_empty() {
        return (by_syslog, Vec::new());
    }
    let is_new = |claim: &LogClaim| by_log.iter().all(|known| known.message != claim.message);
    let unconfirmed = by_syslog.into_iter().filter(is_new).collect();
    (by_log, unconfirmed)
}
