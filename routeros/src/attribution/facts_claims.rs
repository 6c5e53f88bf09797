//! The claims that a change of the facts about a router may be credited to: those since the router last printed the section
//! that changed, whatever exports showed meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::claim::{Claims, LogClaim, MAX_CLAIMS, MAX_CLAIMS_BYTES, MAX_SYSLOG_CLAIMS};
use crate::change::Credit;

#[derive(Clone, Debug)]
struct Entry {
    number: u64,
    claim: LogClaim,
    /// From a time when the log was not followed.
    is_candidate: bool,
    /// A change of the facts was credited to it.
    is_credited: bool,
}

/// Numbered claims. The oldest are forgotten beyond the bounds.
#[derive(Clone, Debug, Default)]
pub struct FactsClaims {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the next claim.
    next: u64,
    /// The number of the last claim that was not kept, or of the last time when the log was not followed.
    gap: Option<u64>,
    /// The number of the next claim when the section was asked for the last time that it was printed.
    read: BTreeMap<String, u64>,
    /// Sections that the router did not print when they were last asked for.
    skipped: BTreeSet<String>,
}

impl FactsClaims {
    /// The number of the next claim.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn push(&mut self, claim: LogClaim) {
        if claim.syslog {
            let by_syslog = || self.entries.iter().filter(|entry| entry.claim.syslog);
            if by_syslog().any(|entry| entry.claim.message == claim.message) {
                return;
            }
            // Forged ones must not leave those of the log no room.
            if by_syslog().count() >= MAX_SYSLOG_CLAIMS {
                self.miss();
                return;
            }
        }
        self.add(claim, false);
    }

    /// The log was not followed for some time, from which it has these lines.
    pub fn not_followed(&mut self, candidates: Vec<LogClaim>) {
        candidates.into_iter().for_each(|claim| self.add(claim, true));
        self.miss();
    }

    fn miss(&mut self) {
        self.gap = Some(self.next);
        self.next += 1;
    }

    fn add(&mut self, claim: LogClaim, is_candidate: bool) {
        self.bytes += claim.bytes();
        let number = self.next;
        self.entries.push_back(Entry { number, claim, is_candidate, is_credited: false });
        self.next += 1;
        while self.entries.len() > MAX_CLAIMS || self.bytes > MAX_CLAIMS_BYTES {
            self.gap = self.gap.max(self.forget_first());
        }
    }

    fn forget_first(&mut self) -> Option<u64> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.claim.bytes();
        Some(entry.number)
    }

    /// Which users a difference in these sections is credited to. It is doubtful where a section was not printed in between, for
    /// the first time of this process, and where a claim has its difference already.
    pub fn credit(&self, sections: &BTreeSet<String>) -> Credit {
        let (mut claims, mut candidates) = (Claims::default(), Claims::default());
        let mut since = self.next;
        let mut is_doubtful = false;
        for section in sections {
            let read = self.read.get(section).copied();
            is_doubtful |=
                self.skipped.contains(section) || read.is_none_or(|at| Some(at) <= self.gap);
            since = since.min(read.unwrap_or_default());
        }
        for entry in self.entries.iter().filter(|entry| entry.number >= since) {
            is_doubtful |= entry.is_credited;
            let of = if entry.is_candidate { &mut candidates } else { &mut claims };
            of.push(entry.claim.clone());
        }
        let candidates = is_doubtful.then_some(candidates.kept);
        Credit { claims: claims.kept, further: claims.further, candidates, ..Credit::default() }
    }

    /// A difference is credited to these claims.
    pub fn set_credited(&mut self, claims: &[LogClaim]) {
        for entry in &mut self.entries {
            entry.is_credited |= claims.iter().any(|claim| claim.is_same_line(&entry.claim));
        }
    }

    /// The router printed these sections; for each, the number of the next claim when it was asked for.
    pub fn read(&mut self, printed: BTreeMap<String, u64>) {
        let unprinted = self.read.keys().filter(|section| !printed.contains_key(*section));
        self.skipped.extend(unprinted.cloned());
        self.skipped.retain(|section| !printed.contains_key(section));
        self.read.extend(printed);
        let oldest = self.read.values().min().copied().unwrap_or_default();
        while self.entries.front().is_some_and(|entry| entry.number < oldest) {
            self.forget_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_record::LogRecord;

    fn claim(message: &str) -> LogClaim {
        let (time, topics) = ("12:00:00".into(), "system,info".into());
        LogClaim::of(&LogRecord { time, topics, message: message.into(), doubtful: false }).unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn read(claims: &mut FactsClaims, began: u64, sections: &[&str]) {
        claims.read(set(sections).into_iter().map(|section| (section, began)).collect());
    }

    fn read_now(claims: &mut FactsClaims, sections: &[&str]) {
        read(claims, claims.next(), sections);
    }

    /// The users who are credited, candidates in brackets, and `?` if it is doubtful.
    fn who(claims: &FactsClaims, sections: &[&str]) -> String {
        let credit = claims.credit(&set(sections));
        let mut text = super::super::users(&credit.claims).join(" ");
        if let Some(candidates) = &credit.candidates {
            text += &format!(" ? [{}]", super::super::users(candidates).join(" "));
        }
        text
    }

    #[test]
    fn since_the_section_was_printed() {
        let mut claims = FactsClaims::default();
        claims.push(claim("item changed by alice"));
        assert_eq!(who(&claims, &["user"]), "alice ? []", "the first time of this process");
        read_now(&mut claims, &["user", "group"]);
        assert_eq!(who(&claims, &["user"]), "");
        claims.push(claim("item changed by bob"));
        assert_eq!(who(&claims, &["user"]), "bob");
        let began = claims.next();
        claims.push(claim("item changed by carol"));
        // Carol's line came while it was read: it may be about what is printed, and about what is printed next.
        read(&mut claims, began, &["group"]);
        assert_eq!(who(&claims, &["group"]), "carol");
        assert_eq!(who(&claims, &["user"]), "bob carol ? []", "it was not printed meanwhile");
        claims.set_credited(&claims.credit(&set(&["user"])).claims);
        assert_eq!(who(&claims, &["group"]), "carol ? []", "she has a difference already");
        read_now(&mut claims, &["user", "group"]);
        claims.not_followed(vec![claim("item changed by dave")]);
        assert_eq!(who(&claims, &["user"]), " ? [dave]");
        read_now(&mut claims, &["user", "group"]);
        claims.push(claim("item changed by erin"));
        assert_eq!(who(&claims, &["user", "group"]), "erin");
    }

    #[test]
    fn bounds() {
        let mut claims = FactsClaims::default();
        read(&mut claims, 0, &["user"]);
        for n in 0..=MAX_CLAIMS {
            claims.push(claim(&format!("item changed by u{n}")));
        }
        assert_eq!(claims.entries.len(), MAX_CLAIMS);
        assert!(who(&claims, &["user"]).ends_with(" ? []"));
        read_now(&mut claims, &["user"]);
        assert_eq!((claims.entries.len(), claims.bytes), (0, 0));
        for n in 0..=MAX_SYSLOG_CLAIMS {
            let claim = claim(&format!("item changed by u{n}"));
            claims.push(LogClaim { syslog: true, ..claim });
        }
        assert_eq!(claims.entries.len(), MAX_SYSLOG_CLAIMS);
        assert!(who(&claims, &["user"]).ends_with(" ? []"));
    }
}
