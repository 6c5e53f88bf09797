//! Exports that the user requests from the running daemon: who waits for the next export, and who for the one that runs.

use std::future::pending;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{change::Change, config_export::list, recorder::Outcome};

/// Where the result of a requested export goes.
pub type AnswerTo = oneshot::Sender<ExportAnswer>;

/// The result of a requested export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportAnswer {
    pub result: ExportResult,
    /// Why it failed.
    pub why: String,
    /// The users who are credited with a change.
    pub users: Vec<String>,
    /// The same in a few words.
    pub who: String,
    pub added: u32,
    pub removed: u32,
    /// The name of the new snapshot.
    pub snapshot: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportResult {
    #[default]
    Failed,
    /// The first configuration of the router is stored.
    First,
    Unchanged,
    Changed,
}

impl ExportAnswer {
    pub fn failed(why: impl Into<String>) -> ExportAnswer {
        ExportAnswer { why: why.into(), ..ExportAnswer::default() }
    }

    fn of(outcome: &Outcome) -> Option<ExportAnswer> {
        let plain = |result| Some(ExportAnswer { result, ..ExportAnswer::default() });
        match outcome {
            Outcome::First => plain(ExportResult::First),
            Outcome::Unchanged => plain(ExportResult::Unchanged),
            Outcome::Changed(change) => Some(ExportAnswer::changed(change)),
            Outcome::Incomplete { outcome, failed } => ExportAnswer::of(outcome).map(|answer| {
                let why = format!("sections that the router did not export: {}", list(failed));
                ExportAnswer { why, ..answer }
            }),
            Outcome::Unconfirmed { .. } => None,
            Outcome::Rejected(fault) => {
                Some(ExportAnswer::failed(format!("export rejected: {fault} (stored in refused/)")))
            }
        }
    }

    fn changed(change: &Change) -> ExportAnswer {
        ExportAnswer {
            result: ExportResult::Changed,
            why: String::new(),
            users: change.users.clone(),
            who: change.who(),
            added: change.added,
            removed: change.removed,
            snapshot: change.snapshot.clone(),
        }
    }
}

/// The requests for one router.
#[derive(Default)]
pub struct ExportRequests {
    received: Option<mpsc::Receiver<AnswerTo>>,
    /// For the next export.
    waiting: Vec<AnswerTo>,
    /// For the export that is being fetched, which began after them.
    running: Vec<AnswerTo>,
}

impl ExportRequests {
    pub fn new(received: mpsc::Receiver<AnswerTo>) -> ExportRequests {
        ExportRequests { received: Some(received), ..ExportRequests::default() }
    }

    /// Waits for a request, which waits for the next export.
    pub async fn next(&mut self) {
        let Some(received) = &mut self.received else { return pending().await };
        match received.recv().await {
            Some(request) => self.waiting.push(request),
            None => pending().await, // the daemon ends
        }
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn export_began(&mut self) {
        self.receive_all();
        self.running.append(&mut self.waiting);
    }

    /// Answers those that wait for the export that ended, unless a second one has to confirm it. `None`: a failure.
    pub fn export_ended(&mut self, outcome: Option<&Outcome>) {
        let failed = || {
            Some(ExportAnswer::failed(
                "the export could not be recorded (journalctl -u aw-routeros has the reason)",
            ))
        };
        if let Some(answer) = outcome.map_or_else(failed, ExportAnswer::of) {
            answer_all(self.running.drain(..), &answer);
        }
    }

    pub fn export_failed(&mut self, why: &str) {
        answer_all(self.running.drain(..), &ExportAnswer::failed(why));
    }

    /// There is no connection: no request waits for the next one.
    pub fn disconnected(&mut self, why: &str) {
        self.receive_all();
        let all = self.running.drain(..).chain(self.waiting.drain(..));
        answer_all(all, &ExportAnswer::failed(why));
    }

    fn receive_all(&mut self) {
        while let Some(Ok(request)) = self.received.as_mut().map(mpsc::Receiver::try_recv) {
            self.waiting.push(request);
        }
    }
}

fn answer_all(requests: impl Iterator<Item = AnswerTo>, answer: &ExportAnswer) {
    for request in requests {
        let _ = request.send(answer.clone()); // the client may have ended
    }
}
