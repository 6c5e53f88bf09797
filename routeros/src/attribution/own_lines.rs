//! The lines that the backups of this program cause in a router's log: no change by anybody.
//!
//! No user may hide behind them. A line is one of them only if it names the user of this program and no other, by an SSH
//! command and without a step in between; if its command is one of ours; while a backup runs or shortly after; and once for
//! each command. Whatever else this user does counts, also meanwhile.

use std::time::{Duration, Instant};

use super::is_same_time;
use crate::{actor::actors_in, facts::HistoryEntry, log_record::LogRecord};

/// A line may come this long after the command.
const LATE: Duration = Duration::from_secs(30);
/// Lines that are remembered, to know them in the stored log too.
const REMEMBERED: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Saved,
    Removed,
}

#[derive(Debug, Default)]
pub struct OwnLines {
    /// The last one that is awaited may come until then; without a time: a backup runs.
    until: Option<Option<Instant>>,
    /// Those that came since a backup began, in the log and by syslog.
    came: [Vec<Own>; 2],
    /// Their times and messages, the newest last.
    known: Vec<(String, String)>,
}

impl OwnLines {
    pub fn begin(&mut self) {
        self.until = Some(None);
        self.came = Default::default();
    }

    pub fn end(&mut self, now: Instant) {
        self.until = Some(Some(now + LATE));
    }

    /// Whether the record is one of them. Several logging actions write the same one.
    pub fn take(&mut self, now: Instant, record: &LogRecord, user: &str) -> bool {
        self.is_known(&record.time, &record.message) || self.is_new(now, record, user, 0)
    }

    /// The same for a record that came by syslog.
    pub fn take_syslog(&mut self, now: Instant, record: &LogRecord, user: &str) -> bool {
        self.is_new(now, record, user, 1)
    }

    /// Whether a line of the stored log is one of those that came.
    pub fn is_known(&self, time: &str, message: &str) -> bool {
        self.known.iter().any(|(known, text)| text == message && is_same_time(known, time))
    }

    fn is_new(&mut self, now: Instant, record: &LogRecord, user: &str, way: usize) -> bool {
        let is_open = self.until.is_some_and(|end| end.is_none_or(|end| now < end));
        let Some(own) = own(record, user).filter(|_| is_open) else { return false };
        if self.came[way].contains(&own) {
            return false;
        }
        self.came[way].push(own);
        if way == 0 {
            if self.known.len() == REMEMBERED {
                self.known.remove(0);
            }
            self.known.push((record.time.clone(), record.message.clone()));
        }
        true
    }
}

/// What a record says that this user did over SSH, if it is what a backup does.
fn own(record: &LogRecord, user: &str) -> Option<Own> {
    let named =
        actors_in(&record.message).filter(|_| record.may_be_change() && !record.doubtful)?;
    let [actor] = &*named.actors else { return None };
    let is_ours = actor.user == user
        && actor.via.is_none()
        && actor.channel.as_deref().is_none_or(|channel| channel == "ssh-cmd");
    if !is_ours {
        return None;
    }
    match named.command {
        Some(command) => of_command(&command),
        None => of_action(record.message.split(" by ").next()?),
    }
}

fn of_command(command: &str) -> Option<Own> {
    if let Some(words) = command.strip_prefix("/system backup save") {
        let ours = ["name=addrwatch-backup", "dont-encrypt=yes"];
        return words.split_whitespace().all(|word| ours.contains(&word)).then_some(Own::Saved);
    }
    let file = command.strip_prefix("/file remove ")?;
    let file = file.strip_prefix("numbers=").unwrap_or(file).trim_matches('"');
    // The router may name a file by its number.
    let is_number = file.strip_prefix('*').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    (file == "addrwatch-backup.backup" || is_number).then_some(Own::Removed)
}

/// RouterOS 6 logs no command, and the history has none either.
fn of_action(action: &str) -> Option<Own> {
    match action {
        "backup saved" | "configuration backup saved" => Some(Own::Saved),
        "file removed" => Some(Own::Removed),
        _ => None,
    }
}

/// Whether an entry of the history is what a backup does. It names no user then, but hides nothing: the change of the
/// export remains.
pub fn is_own_entry(entry: &HistoryEntry, user: &str) -> bool {
    entry.by == user && of_action(&entry.action).is_some()
}

#[cfg(test)]
#[path = "own_lines_tests.rs"]
mod tests;
