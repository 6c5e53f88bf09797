//! The files that grow or change with each message: `log.txt` and `state.json` of each router, and the legacy log file.
//! A file that cannot be written is reported once, and once more when it can be written again.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aw_service::{Condition, explain};
use jiff::Timestamp;

use crate::{
    archive::{Archive, RouterState},
    config::RouterName,
};

/// Writes these files; a lock makes the writers wait for each other.
pub struct Journal {
    archive: PathBuf,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    change_log: Option<File>,
    /// The files that cannot be written.
    failing: BTreeMap<String, Condition>,
}

impl Journal {
    pub fn new(archive: &Path) -> Journal {
        Journal { archive: archive.into(), files: Mutex::default() }
    }

    /// Sets the file of [`Journal::append_change`].
    pub fn set_change_log(&mut self, file: Option<File>) {
        self.lock().change_log = file;
    }

    /// Appends a line to a router's `log.txt`.
    pub fn log(&self, router: &RouterName, time: &str, text: &str) {
        let mut files = self.lock();
        let written = Archive::of(&self.archive, router).append_log(time, text);
        files.report(router, "log.txt", written);
    }

    /// Removes lines of a router's `log.txt` from before `since`.
    pub fn remove_log_lines(&self, router: &RouterName, since: Timestamp) -> io::Result<()> {
        let _lock = self.lock();
        Archive::of(&self.archive, router).remove_log_lines(since)
    }

    /// Changes a router's `state.json`. A failure is reported and has no other effect.
    pub fn update_state(&self, router: &RouterName, change: impl FnOnce(&mut RouterState)) {
        let mut files = self.lock();
        let archive = Archive::of(&self.archive, router);
        let update = || {
            archive.create()?;
            let old = archive.state()?;
            let mut new = old.clone();
            change(&mut new);
            if new == old { Ok(()) } else { archive.set_state(&new) }
        };
        files.report(router, "state.json", update());
    }

    /// Appends the text of a change to the legacy log file, if one is set.
    pub fn append_change(&self, router: &RouterName, text: &str) {
        let mut files = self.lock();
        let Some(file) = &mut files.change_log else { return };
        let written = file.write_all(text.as_bytes());
        files.report(router, "the log file", written);
    }

    /// The files that cannot be written.
    #[cfg(test)]
    pub fn failing(&self) -> Vec<String> {
        self.lock().failing.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn report(&mut self, router: &RouterName, file: &str, written: io::Result<()>) {
        let operation = format!("{router}: write {file}");
        match written {
            Ok(()) => {
                if let Some(mut condition) = self.failing.remove(&operation) {
                    condition.ends(format_args!("{operation}: works again"));
                }
            }
            Err(error) => {
                let report = format!("{operation}: {}", explain(&error));
                self.failing.entry(operation).or_default().begins(report);
            }
        }
    }
}
