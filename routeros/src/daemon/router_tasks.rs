//! The tasks of the routers that are followed.

use std::{collections::BTreeMap, mem::take, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::MAX_REQUESTS;
use crate::{
    config::{Router, RouterName},
    recorder::{Recorder, RestoredFaults, STOPPED},
    session::{self, AnswerTo, ExportAnswer, ExportRequests, FetchTurns},
};

/// The task of a router, and where it receives requests.
struct RunningTask {
    router: Arc<Router>,
    task: JoinHandle<()>,
    requests: mpsc::Sender<AnswerTo>,
}

pub struct RouterTasks {
    pub recorder: Arc<Recorder>,
    turns: FetchTurns,
    reloaded: watch::Receiver<u64>,
    running: BTreeMap<RouterName, RunningTask>,
}

impl RouterTasks {
    /// `reloaded` changes when the user requests that all try again.
    pub fn new(recorder: Arc<Recorder>, reloaded: watch::Receiver<u64>) -> RouterTasks {
        RouterTasks { recorder, turns: FetchTurns::default(), reloaded, running: BTreeMap::new() }
    }

    /// Stops the tasks of routers that are gone or changed, and starts the missing ones.
    pub fn set(&mut self, routers: &[Router]) {
        self.running.retain(|name, RunningTask { router: old, task, .. }| {
            let new = routers.iter().find(|new| new.name == *name && new.is_followed_like(old));
            let stays = new.is_some();
            if !stays {
                task.abort();
                self.recorder.set_status(name, STOPPED, "");
            }
            stays
        });
        let is_new = |router: &&Router| !self.running.contains_key(&router.name);
        let new: Vec<_> = routers.iter().filter(is_new).cloned().map(Arc::new).collect();
        // All of them before the first one is tried: an outage of several is one mail.
        let begin = |router| (self.recorder.begin(&router), router);
        let new: Vec<_> = new.into_iter().map(begin).collect();
        self.recorder.set_routers(routers);
        new.into_iter().for_each(|(restored, router)| self.start(router, restored));
    }

    /// At the end of the daemon. The routers stay known: what was mailed of them is stored, for their ends after a restart.
    pub fn stop(&mut self) {
        for (name, RunningTask { task, .. }) in take(&mut self.running) {
            task.abort();
            self.recorder.set_status(&name, STOPPED, "");
        }
    }

    fn start(&mut self, router: Arc<Router>, restored: RestoredFaults) {
        let (recorder, turns) = (Arc::clone(&self.recorder), self.turns.clone());
        let (requests, received) = mpsc::channel(MAX_REQUESTS);
        let (received, reloaded) = (ExportRequests::new(received), self.reloaded.clone());
        let task = session::run(Arc::clone(&router), recorder, turns, restored, reloaded, received);
        let (name, task) = (router.name.clone(), tokio::spawn(task));
        self.running.insert(name, RunningTask { router, task, requests });
    }

    /// Passes on the request of an export.
    pub fn export(&self, name: &str, to: AnswerTo) {
        let found = self.running.iter().find(|(running, _)| running.as_str() == name);
        let (to, why) = match found {
            Some((_, task)) => match task.requests.try_send(to) {
                Ok(()) => return,
                Err(error) => (error.into_inner(), "too many requests wait (try again later)"),
            },
            None => (to, "the running daemon does not follow it (systemctl reload aw-routeros)"),
        };
        let _ = to.send(ExportAnswer::failed(why)); // the client may have ended
    }

    /// Restarts tasks that panicked, with a warning.
    pub fn restart_ended(&mut self) {
        let ended: Vec<_> = self
            .running
            .values()
            .filter(|running| running.task.is_finished())
            .map(|running| Arc::clone(&running.router))
            .collect();
        for router in ended {
            let text = "its task ended because of an internal error: restarted";
            self.recorder.alarm(&router, "internal error", text);
            let restored = self.recorder.begin(&router);
            self.start(router, restored);
        }
    }
}
