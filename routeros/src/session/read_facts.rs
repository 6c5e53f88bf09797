//! Reads facts about a router after an export, in the same connection.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::{
    attribution::{Claims, LogClaim},
    change::Credit,
    facts::{COMMANDS, Facts, HISTORY, HistoryEntry, parse_history},
    lossless::lossless,
    ssh::SshConnection,
};

/// The time limit of a command, and of all together: a router that is slow keeps what is known of it.
const COMMAND_TIME: Duration = Duration::from_secs(10);
const ALL_TIME: Duration = Duration::from_secs(40);
/// Bytes of an answer, at most; a longer one is not read.
const MAX_ANSWER: usize = 512 << 10;
/// Routers whose facts are read at the same time; exports do not wait for them.
static TURNS: Semaphore = Semaphore::const_new(8);

pub type PendingFacts = Pin<Box<dyn Future<Output = Facts> + Send>>;

/// What is recorded after an export, once the facts are read.
#[derive(Debug)]
pub struct Aftermath {
    /// The header of the export.
    pub header: Facts,
    /// The log lines to credit a change of the facts to.
    pub credit: Credit,
    /// The log lines that the export shows no difference for.
    pub unshown: Claims,
    /// The same of the time when the log was not followed.
    pub unshown_candidates: Vec<LogClaim>,
}

impl Aftermath {
    /// `settled` are the claims from before the export.
    pub fn new(export: &[u8], credit: &Credit, settled: Claims) -> Aftermath {
        Aftermath {
            header: Facts::of_header(export),
            unshown: settled.without_recorded(),
            unshown_candidates: credit.candidates.clone().unwrap_or_default(),
            credit: credit.clone(),
        }
    }

    /// The export is the first one: lines of the time before are not news.
    pub fn is_first(&mut self) {
        self.unshown_candidates.clear();
    }

    /// The export shows a change, which is recorded with all lines.
    pub fn is_recorded(&mut self) {
        self.unshown = Claims::default();
        self.unshown_candidates.clear();
    }

    /// Both, if another export is complete before the facts are read.
    pub fn followed_by(mut self, later: Aftermath) -> Aftermath {
        self.header.update(later.header);
        self.unshown.append(later.unshown);
        self.unshown_candidates.extend(later.unshown_candidates);
        let mut claims = Claims::default();
        let all = self.credit.claims.into_iter().chain(later.credit.claims);
        all.for_each(|claim| claims.push(claim));
        self.credit.claims = claims.kept;
        self.credit.further += claims.further + later.credit.further;
        if let Some(candidates) = later.credit.candidates {
            self.credit.candidates.get_or_insert_default().extend(candidates);
        }
        self
    }
}

/// Reads what the router prints. What it does not print in time, or refuses, is left out.
pub fn read_facts(connection: Arc<SshConnection>) -> PendingFacts {
    Box::pin(async move {
        let mut facts = Facts::default();
        let read = async {
            let _turn = TURNS.acquire().await;
            for fact in &COMMANDS {
                let Some(mut answer) = answer(&connection, fact.command).await? else { continue };
                if answer.trim().is_empty() {
                    // An empty list; twice, because an answer may be lost.
                    answer = match self::answer(&connection, fact.command).await? {
                        Some(answer) => answer,
                        None => continue,
                    };
                }
                if let Some(section) = fact.read(&answer) {
                    facts.add_section(fact.section, section);
                }
            }
            facts.history = parse_history(&answer(&connection, HISTORY).await?.unwrap_or_default());
            Some(())
        };
        let _ = timeout(ALL_TIME, read).await;
        facts
    })
}

pub async fn read_history(connection: &SshConnection) -> Vec<HistoryEntry> {
    let answer = answer(connection, HISTORY).await.flatten();
    parse_history(&answer.unwrap_or_default())
}

/// The complete answer to a command, or nothing. After a fault of the connection no further command is tried.
async fn answer(connection: &SshConnection, command: &str) -> Option<Option<String>> {
    let answer = connection.run(command, COMMAND_TIME).await.ok()?;
    let is_whole = answer.is_closed && !answer.is_cut && answer.bytes.len() <= MAX_ANSWER;
    Some(is_whole.then(|| lossless(&answer.bytes).into_owned()))
}
