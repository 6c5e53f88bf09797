//! Whether the router's log has its configuration changes: what `/system logging` and `/system logging action` say about
//! the topics `system,info`, under which RouterOS logs them.
//!
//! A rule takes an entry that has all of its topics and none of those with `!`; without topics it takes each entry. `/log
//! print` shows the entries of actions that store them in memory and the newest ones of actions that write to a disk
//! (MikroTik's manual, Log, of 6 Oct 2026).

use std::time::Duration;

use crate::ssh::{SshConnection, SshFault};

/// Where the changes are logged, the best place first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeLog {
    /// In memory: `/log print` shows them.
    Memory,
    /// Only on a disk: `/log print` shows the newest ones.
    Disk,
    /// Only on a syslog server, by the action of this name.
    Remote(String),
    /// Where this program does not see them, such as `echo`, with the name of the action.
    Elsewhere(String),
    /// No rule takes them all.
    Nowhere,
}

impl ChangeLog {
    /// Why the log shows no changes, and what to do; `None` if it shows them, or the syslog listener receives them.
    pub fn blind(&self, listens: bool) -> Option<String> {
        let remedy = "only the periodic export finds changes, without a user (on the router: \
                      /system logging add topics=info action=memory";
        match self {
            ChangeLog::Memory | ChangeLog::Disk => None,
            ChangeLog::Remote(_) if listens => None,
            ChangeLog::Remote(action) => Some(format!(
                "its changes go to the action {action} (a syslog server) and not to its log: {remedy}; or set syslog here)"
            )),
            ChangeLog::Elsewhere(action) => {
                Some(format!("its changes go to the action {action} and not to its log: {remedy})"))
            }
            ChangeLog::Nowhere => {
                Some(format!("none for info: no logging rule takes all changes: {remedy})"))
            }
        }
    }

    /// As `check` prints it if it is not blind.
    pub fn as_checked(&self) -> &'static str {
        match self {
            ChangeLog::Disk => "ok, on disk only",
            ChangeLog::Remote(_) => "ok, by syslog only",
            _ => "ok",
        }
    }
}

/// The time limit of a command.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// Asks a router; `None` if it does not answer in a known form.
pub async fn change_log(connection: &SshConnection) -> Result<Option<ChangeLog>, SshFault> {
    let print = async |menu: &str| {
        // `print` alone may print columns, with one topic in each line.
        let mut empty = None;
        for command in [format!("{menu} print detail"), format!("{menu} print")] {
            let answer = connection.ask(&command, COMMAND_TIME).await?;
            match entries(&answer.text()) {
                Some(entries) if entries.is_empty() => empty = Some(entries),
                Some(entries) => return Ok(Some(entries)),
                None => {}
            }
        }
        Ok(empty)
    };
    let Some(rules) = print("/system logging").await? else { return Ok(None) };
    let actions = print("/system logging action").await?;
    Ok(judge(&rules, &actions.unwrap_or_default()))
}

/// One entry of a printed menu.
#[derive(Debug, Default)]
pub struct Entry {
    flags: String,
    values: Vec<(String, String)>,
    /// Of columns without names: the first one, which may have several lines, and the second one.
    columns: [String; 2],
}

impl Entry {
    fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// By its name in `print detail`, or by its column.
    fn get(&self, name: &str, column: usize) -> &str {
        match self.values.is_empty() {
            true => &self.columns[column],
            false => self.value(name).unwrap_or_default(),
        }
    }
}

/// The entries of `print` and `print detail`, of which RouterOS wraps long ones; `None` if it is not such an answer.
fn entries(text: &str) -> Option<Vec<Entry>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut is_heading = true;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let first = line.split_whitespace().next().unwrap_or_default();
        // Entries are numbered from 0: a wrapped value that begins with a number is none.
        if first.parse() == Ok(blocks.len()) {
            blocks.push(vec![line]);
        } else if let Some(block) = blocks.last_mut() {
            block.push(line);
        } else {
            let heading =
                ["Flags:", "Columns:", "#"].iter().any(|word| line.trim().starts_with(word));
            is_heading &= heading || line.contains(" - ");
        }
    }
    (is_heading || !blocks.is_empty()).then(|| blocks.iter().map(|block| entry(block)).collect())
}

fn entry(lines: &[&str]) -> Entry {
    let mut text = String::new();
    for line in lines {
        // Wrapped between words or after a comma.
        if !text.is_empty() && !text.ends_with(',') {
            text.push(' ');
        }
        text.push_str(line.trim());
    }
    let mut entry = Entry::default();
    let words = words(&text);
    let is_flags = |word: &str| word.len() <= 3 && word.bytes().all(|byte| b"XID*".contains(&byte));
    let mut rest = words.iter().skip(1).peekable(); // after its number
    while let Some(word) = rest.next_if(|word| is_flags(word)) {
        entry.flags += word;
    }
    for word in rest {
        if let Some((key, value)) = word.split_once('=') {
            entry.values.push((key.into(), unquoted(value)));
        }
    }
    if entry.values.is_empty() {
        entry.columns = columns(lines);
    }
    entry
}

/// The first two columns; further lines of an entry continue its first one.
fn columns(lines: &[&str]) -> [String; 2] {
    let first = lines[0];
    let is_value =
        |word: &&str| word.len() > 1 && !word.bytes().all(|byte| b"XID*".contains(&byte));
    let mut words = first.split_whitespace().skip(1).filter(is_value);
    let (mut topics, second) = (words.next().unwrap_or_default().to_owned(), words.next());
    let at = first.find(&*topics).unwrap_or(0);
    for line in &lines[1..] {
        let indent = line.len() - line.trim_start().len();
        if let Some(word) = line.split_whitespace().next().filter(|_| indent == at) {
            let gap = if topics.ends_with(',') { "" } else { "," };
            topics = topics + gap + word;
        }
    }
    [topics, second.unwrap_or_default().into()]
}

/// Words, in which a quoted part may have blanks.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            ' ' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn unquoted(value: &str) -> String {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value).into()
}

/// The best place of the changes; `None` if it depends on an action of unknown type.
fn judge(rules: &[Entry], actions: &[Entry]) -> Option<ChangeLog> {
    let (mut best, mut unknown) = (ChangeLog::Nowhere, false);
    for rule in rules {
        let is_off = rule.flags.contains(['X', 'I']);
        let is_limited = rule.value("regex").is_some_and(|regex| !regex.is_empty());
        if is_off || is_limited || !takes_changes(rule.get("topics", 0)) {
            continue;
        }
        let name = rule.get("action", 1);
        let action = actions.iter().find(|action| action.get("name", 0) == name);
        let kind = action.map_or(name, |action| action.get("target", 1));
        let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        let place = match kind {
            "memory" => ChangeLog::Memory,
            "disk" => ChangeLog::Disk,
            "remote" => ChangeLog::Remote(shown),
            "echo" | "email" | "script" => ChangeLog::Elsewhere(shown),
            _ => {
                unknown = true;
                continue;
            }
        };
        best = best.min(place);
    }
    (!unknown || best <= ChangeLog::Disk).then_some(best)
}

/// Whether a rule with these topics takes the entries of `system,info`.
fn takes_changes(topics: &str) -> bool {
    topics.split(',').map(str::trim).filter(|topic| !topic.is_empty()).all(|topic| {
        match topic.strip_prefix('!') {
            Some(not) => !["system", "info"].contains(&not),
            None => ["system", "info"].contains(&topic),
        }
    })
}

#[cfg(test)]
#[path = "log_rule/tests.rs"]
mod tests;
