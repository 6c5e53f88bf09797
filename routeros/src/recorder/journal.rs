//! The files that grow or change with each message: `log.txt` and `state.json` of each router, and the legacy log file.
//! A file that cannot be written is reported once, and once more when it can be written again.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use aw_service::{Condition, explain};
use jiff::Timestamp;

use super::lock;
use crate::{
    archive::{Archive, RouterState},
    config::RouterName,
};

/// Writes these files. Each kind of file has a lock, so that its writers wait for each other; faults are reported after
/// the lock is released.
pub struct Journal {
    archive: PathBuf,
    logs: Mutex<()>,
    states: Mutex<()>,
    /// The legacy log file, if one is set.
    pub change_log: Mutex<Option<File>>,
    /// The files that cannot be written.
    failing: Mutex<BTreeMap<String, (Condition, String)>>,
}

impl Journal {
    pub fn new(archive: &Path) -> Journal {
        Journal {
            archive: archive.into(),
            logs: Mutex::default(),
            states: Mutex::default(),
            change_log: Mutex::default(),
            failing: Mutex::default(),
        }
    }

    /// Appends a line to a router's `log.txt`.
    pub fn log(&self, router: &RouterName, time: &str, text: &str) {
        let lock = lock(&self.logs);
        let written = Archive::of(&self.archive, router).append_log(time, text);
        drop(lock);
        self.report(router, "log.txt", written);
    }

    /// Removes lines of a router's `log.txt` from before `since`.
    pub fn remove_log_lines(&self, router: &RouterName, since: Timestamp) -> io::Result<()> {
        let _lock = lock(&self.logs);
        Archive::of(&self.archive, router).remove_log_lines(since)
    }

    /// Changes a router's `state.json`. A failure is reported and has no other effect.
    pub fn update_state(&self, router: &RouterName, change: impl FnOnce(&mut RouterState)) {
        let archive = Archive::of(&self.archive, router);
        let update = || {
            archive.create()?;
            let old = archive.state()?;
            let mut new = old.clone();
            change(&mut new);
            if new == old { Ok(()) } else { archive.set_state(&new) }
        };
        let lock = lock(&self.states);
        let written = update();
        drop(lock);
        self.report(router, "state.json", written);
    }

    /// Appends the text of a change to the legacy log file, if one is set.
    pub fn append_change(&self, router: &RouterName, text: &str) {
        let append = |file: &mut File| file.write_all(text.as_bytes());
        let written = lock(&self.change_log).as_mut().map_or(Ok(()), append);
        self.report(router, "the log file", written);
    }

    /// Why a file cannot be written, for the first one, with the number of the others.
    pub fn faults(&self) -> Option<String> {
        let failing = lock(&self.failing);
        let (_, first) = failing.values().next()?;
        Some(match failing.len() {
            1 => first.clone(),
            count => format!("{first}, and {} more files", count - 1),
        })
    }

    /// The files that cannot be written.
    #[cfg(test)]
    pub fn failing(&self) -> Vec<String> {
        lock(&self.failing).keys().cloned().collect()
    }

    /// Reports that a file cannot be written, once, and that it can be again.
    pub fn report(&self, router: &RouterName, file: &str, written: io::Result<()>) {
        let operation = format!("{router}: write {file}");
        let mut failing = lock(&self.failing);
        if let Err(error) = written {
            let report = format!("{operation}: {}", explain(&error));
            let (condition, why) = failing.entry(operation).or_default();
            why.clone_from(&report);
            condition.begins(report);
        } else if let Some((mut condition, _)) = failing.remove(&operation) {
            condition.ends(format_args!("{operation}: works again"));
        }
    }
}
