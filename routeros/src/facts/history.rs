//! `/system history print detail`: what was done, by which user, and when. Users choose the commands in it, so that an entry can
//! be forged: it only names a user where the log names none.

use serde::{Deserialize, Serialize};

use crate::{
    actor::Actor,
    attribution::{LogClaim, is_same_time},
};

/// Entries that are kept, at most; RouterOS stores a hundred.
const MAX_HISTORY: usize = 200;
/// Bytes of an action or a name, at most.
const MAX_WORDS: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub time: String,
    pub by: String,
    pub action: String,
}

impl HistoryEntry {
    fn is_same(&self, other: &HistoryEntry) -> bool {
        self.by == other.by && self.action == other.action && is_same_time(&self.time, &other.time)
    }

    /// The entry in place of a log line.
    fn claim(&self) -> LogClaim {
        let channel = Some("history".into());
        LogClaim {
            syslog: false,
            time: self.time.clone(),
            message: format!("no log line; /system history: {} by {}", self.action, self.by),
            actors: vec![Actor { user: self.by.clone(), channel, address: None, via: None }],
            command: None,
            ambiguous: false,
            recorded: false,
        }
    }
}

/// The entries of an answer.
pub fn parse(answer: &str) -> Vec<HistoryEntry> {
    let words: Vec<&str> = answer.split_whitespace().collect();
    let text = words.join(" ");
    let (mut entries, mut rest) = (Vec::new(), text.as_str());
    // An entry ends with `action="..." by="..." policy=... time=DATE CLOCK`; before that are commands of users.
    while let Some(at) = rest.find(" time=") {
        let (before, after) = rest.split_at(at);
        let mut time = after[" time=".len()..].split(' ');
        let (first, second) = (time.next().unwrap_or_default(), time.next().unwrap_or_default());
        let has_clock = !first.contains(':') && second.contains(':');
        let time = if has_clock { format!("{first} {second}") } else { first.to_owned() };
        rest = &after[" time=".len() + time.len()..];
        let Some((before, _)) = before.rsplit_once(" policy=") else { continue };
        let Some((before, by)) = before.rsplit_once(" by=\"") else { continue };
        let Some((_, action)) = before.rsplit_once(" action=\"") else { continue };
        let value = |text: &str| text.trim_end_matches('"').chars().take(MAX_WORDS).collect();
        if entries.len() < MAX_HISTORY && first.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            entries.push(HistoryEntry { time, by: value(by), action: value(action) });
        }
    }
    entries
}

/// Claims for the entries that are not among the known ones. RouterOS prints the newest entry first.
pub fn claims(known: &[HistoryEntry], entries: &[HistoryEntry]) -> Vec<LogClaim> {
    if known.is_empty() {
        return Vec::new(); // a name must be of the time since the last export
    }
    let mut known: Vec<_> = known.iter().collect();
    let new = entries.iter().filter(|entry| {
        let found = known.iter().position(|old| old.is_same(entry));
        found.map(|at| known.swap_remove(at)).is_none()
    });
    new.filter(|entry| !entry.by.is_empty()).map(HistoryEntry::claim).collect()
}
