//! Reads facts about a router after an export, in the same connection.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{
    archive::Archive,
    attribution::{Claims, LogClaim},
    facts::{COMMANDS, Facts, HISTORY, HistoryEntry, parse_history},
    lossless::lossless,
    ssh::{SshConnection, SshFault},
};

/// The time limit of a command, and of all together: a router that is slow keeps what is known of it.
const COMMAND_TIME: Duration = Duration::from_secs(10);
const ALL_TIME: Duration = Duration::from_secs(40);
/// Bytes of an answer, at most; a longer one is not read.
const MAX_ANSWER: usize = 512 << 10;
/// Answers to a command, at most, until two in a row are equal.
const MAX_ANSWERS: usize = 4;
/// Routers whose facts are read at the same time, or whose logging rules are checked; exports do not wait for them.
pub static TURNS: Semaphore = Semaphore::const_new(8);

/// The facts, and whether the router was asked for all of them.
pub type PendingFacts = Pin<Box<dyn Future<Output = (Facts, bool)> + Send>>;

/// What is recorded after an export, once the facts are read.
#[derive(Clone, Debug, Default)]
pub struct Aftermath {
    /// The header of the export, and its history if it was read.
    pub header: Facts,
    /// [`FactsClaims::next`](crate::attribution::FactsClaims::next) when the export began.
    pub header_began: u64,
    /// The log lines that the export shows no difference for.
    pub unshown: Claims,
    /// The same of the time when the log was not followed.
    pub unshown_candidates: Vec<LogClaim>,
    /// The export is incomplete, or there is none.
    pub is_incomplete: bool,
    /// The users that the history names, in place of log lines.
    pub history: Vec<LogClaim>,
    /// The last line of the log that is settled once all of this is recorded.
    pub last_line: Option<(String, String)>,
}

impl Aftermath {
    /// Whether there are log lines to record.
    pub fn has_lines(&self) -> bool {
        !self.unshown.kept.is_empty() || !self.unshown_candidates.is_empty()
    }

    /// Both, if another export is recorded before the facts are read.
    pub fn followed_by(mut self, later: Aftermath) -> Aftermath {
        if !later.header.sections.is_empty() {
            self.header_began = later.header_began;
        }
        self.header.update(later.header);
        self.unshown.append(later.unshown);
        self.unshown_candidates.extend(later.unshown_candidates);
        self.is_incomplete |= later.is_incomplete;
        self.history.extend(later.history);
        self.last_line = later.last_line.or(self.last_line);
        self
    }

    /// These lines are in a record.
    pub fn set_recorded(&mut self, recorded: &[LogClaim]) {
        let is_new = |claim: &LogClaim| !recorded.iter().any(|known| known.is_same_line(claim));
        self.unshown.kept.retain(is_new);
        self.unshown_candidates.retain(is_new);
    }
}

/// Facts that are being read.
pub struct Reading {
    pub facts: PendingFacts,
    /// What is recorded with them.
    pub aftermath: Aftermath,
    /// [`FactsClaims::next`](crate::attribution::FactsClaims::next) when the reading began.
    pub began: u64,
}

/// Reads what the router prints. What it does not print in time, or refuses, is left out. What differs from the facts in
/// `archive` is read again until two answers are equal: an answer may be cut, and then a user seems to be removed.
pub fn read_facts(connection: Arc<SshConnection>, archive: Archive) -> PendingFacts {
    Box::pin(async move {
        let mut facts = Facts::default();
        let read = async {
            // First: it names users only if it is not older than the claims that were credited.
            facts.history = parse_history(&answer(&connection, HISTORY).await?.unwrap_or_default());
            let known = spawn_blocking(move || archive.facts()).await.ok()?.ok()?;
            let known = known.unwrap_or_default();
            for fact in &COMMANDS {
                let mut before = known.sections.get(fact.section).cloned();
                for _ in 0..MAX_ANSWERS {
                    let Some(answer) = answer(&connection, fact.command).await? else { break };
                    let Some(section) = fact.read(&answer) else { break };
                    let mut printed = Facts::default();
                    printed.add_section(fact.section, section);
                    let section = printed.sections.remove(fact.section);
                    if section == before {
                        facts.sections.extend(section.map(|all| (fact.section.into(), all)));
                        break;
                    }
                    before = section;
                }
            }
            Some(())
        };
        // The turn is no part of the time: otherwise most facts are not read while many routers wait.
        let _turn = TURNS.acquire().await;
        let is_complete = matches!(timeout(ALL_TIME, read).await, Ok(Some(())));
        (facts, is_complete)
    })
}

pub async fn read_history(connection: &SshConnection) -> Vec<HistoryEntry> {
    let answer = answer(connection, HISTORY).await.flatten();
    parse_history(&answer.unwrap_or_default())
}

/// The complete answer to a command, or nothing. After a fault of the connection no further command is tried, but after one
/// that took too long and was ended.
async fn answer(connection: &SshConnection, command: &str) -> Option<Option<String>> {
    let answer = match connection.ask(command, COMMAND_TIME).await {
        Ok(answer) => answer,
        Err(SshFault::Late { is_ended: true, .. }) => return Some(None),
        Err(_) => return None,
    };
    let is_whole = answer.is_closed && !answer.is_cut && answer.bytes.len() <= MAX_ANSWER;
    Some(is_whole.then(|| lossless(&answer.bytes).into_owned()))
}
