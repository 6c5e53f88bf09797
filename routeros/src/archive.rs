//! The archive: for each router its configurations and changes. Directories have mode 0700 and files 0600, because
//! configurations contain secrets.
//!
//! ```text
//! NAME/latest.rsc          the base: the last complete export
//! NAME/snapshots/*.rsc     each different configuration, by time
//! NAME/changes.jsonl       each change as JSON
//! NAME/diff.txt            each change as text with its diff
//! NAME/users/USER.diff     the same for one user
//! NAME/noted.jsonl          each change that no export shows, as JSON
//! NAME/facts.json           facts about the router
//! NAME/log.txt             a line for each message
//! NAME/refused/*.rsc       incomplete exports
//! NAME/sensitive/*.age     exports with secrets, encrypted
//! NAME/backups/*.age       binary backups, encrypted
//! NAME/state.json          the state of the router
//! ```

mod clear;
mod files;
mod sensitive;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use aw_service::{FileKind, open_file, plain, read_file, warn};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::files::{append, first_word, found, remove_lines_before, write_then_rename};
pub use self::files::{make_directory, replace};
use crate::{
    change::Change,
    config::RouterName,
    facts::Facts,
    file_names::{outdated, snapshot, snapshot_time, user_file},
    shared_faults::{ReportedFault, read_reported},
};

#[derive(Clone, Debug)]
pub struct Archive {
    directory: PathBuf,
}

/// The last known state of a router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterState {
    /// As it is configured.
    pub address: String,
    /// `connected`, `unreachable`, `refused`, `host key`, `stopped`.
    pub status: String,
    pub why: String,
    /// Since when it has this status.
    pub since: Option<Timestamp>,
    /// Why it was not followed when the daemon stopped, and since when, until it is tried again.
    pub before: Option<(String, Timestamp)>,
    /// The time of the last complete export.
    pub exported: Option<Timestamp>,
    /// The time of the last change.
    pub changed: Option<Timestamp>,
    pub version: String,
    pub lines: usize,
    /// The file of a backup may still be on the router.
    pub backup_left: bool,
    /// Why there is no backup; empty if the last one was complete.
    pub no_backup: String,
    /// Changed lines that rules ignored so far.
    pub ignored: u64,
    /// Time and message of the last log line about a change, to find later ones after the next connection.
    pub last_line: Option<(String, String)>,
    /// Sections that the router fails to export since that was reported.
    pub failing_sections: BTreeSet<String>,
    /// Faults that were mailed and whose end was not.
    #[serde(deserialize_with = "read_reported")]
    pub reported: Vec<ReportedFault>,
    /// What was damaged in the archive, until it is mailed.
    pub damaged: String,
    /// Why the configuration in the archive may be incomplete; empty if it is confirmed.
    pub unconfirmed: String,
    /// What the router does not answer, besides its exports; empty if it answers all.
    pub unread: String,
    /// When old files were last removed.
    pub tidied: Option<Timestamp>,
    /// latest.rsc is an export with `show_sensitive`, in clear.
    pub shows_secrets: bool,
    /// The rules of `mask.rs` by which files with secrets in clear, from before `encrypt_to`, were found and reported.
    pub clear_rules: u32,
}

const MAX_REFUSED: usize = 20;
/// Bytes that are read: of an export, of a change with its diff, of the state.
const MAX_EXPORT: u64 = 16 << 20;
const MAX_CHANGE: u64 = 128 << 20;
const MAX_STATE: u64 = 1 << 20;
const MAX_FACTS: u64 = 32 << 20;
/// `log.txt` becomes `log.txt.1` at this size, and `noted.jsonl` too.
const MAX_LOG: u64 = 8 << 20;

impl Archive {
    /// A router's part of the archive at `root`. Creates nothing.
    pub fn of(root: &Path, router: &RouterName) -> Archive {
        Archive { directory: root.join(router.as_str()) }
    }

    /// The routers that the archive at `root` has a directory of, also those that are configured no more.
    pub fn names(root: &Path) -> io::Result<Vec<RouterName>> {
        let entries =
            fs::read_dir(root)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> =
            entries.filter_map(|name| RouterName::try_from(name).ok()).collect();
        names.retain(|name| root.join(name.as_str()).is_dir());
        names.sort();
        Ok(names)
    }

    pub fn create(&self) -> io::Result<()> {
        for name in ["snapshots", "users", "refused"] {
            make_directory(&self.directory.join(name))?;
        }
        Ok(())
    }

    /// Whether it exists.
    pub fn is_there(&self) -> bool {
        self.directory.is_dir()
    }

    /// Whether it has a configuration or facts of the router.
    pub fn is_begun(&self) -> bool {
        self.has_base() || self.path("facts.json").exists()
    }

    pub fn has_base(&self) -> bool {
        self.path("latest.rsc").exists()
    }

    pub fn base(&self) -> io::Result<Option<Vec<u8>>> {
        found(read_file(&self.path("latest.rsc"), FileKind::State, MAX_EXPORT))
    }

    /// Stores a different configuration and returns its name. The name sorts after all others, even if the clock was set
    /// back. It is not the base before [`Archive::set_base`].
    pub fn add_snapshot(&self, time: Timestamp, export: &[u8]) -> io::Result<String> {
        self.write_new("snapshots", time, export)
    }

    pub fn add_refused(&self, time: Timestamp, export: &[u8]) -> io::Result<PathBuf> {
        let name = self.write_new("refused", time, export)?;
        self.remove("refused", outdated(self.list("refused")?, MAX_REFUSED, None))?;
        Ok(self.path("refused").join(name))
    }

    /// Sets the base. This is the last step of a change: if the process is killed before, the next export shows the
    /// change again.
    pub fn set_base(&self, export: &[u8]) -> io::Result<()> {
        replace(&self.path("latest.rsc"), export)
    }

    /// Renames a damaged base, so that it is no longer the base.
    pub fn set_base_aside(&self) -> io::Result<()> {
        fs::rename(self.path("latest.rsc"), self.path("latest.rsc.damaged"))
    }

    /// Appends a change to `changes.jsonl`, `diff.txt` and the file of each user.
    pub fn add_change(&self, change: &Change, text: &str) -> io::Result<()> {
        let mut line = serde_json::to_string(change)?;
        line.push('\n');
        append(&self.path("changes.jsonl"), line.as_bytes())?.sync_data()?;
        append(&self.path("diff.txt"), text.as_bytes())?;
        for user in &change.users {
            append(&self.path("users").join(user_file(user)), text.as_bytes())?;
        }
        Ok(())
    }

    /// Appends what no export shows to `noted.jsonl`. Earlier releases do not read this file.
    pub fn add_noted(&self, change: &Change) -> io::Result<()> {
        let path = self.path("noted.jsonl");
        let mut line = serde_json::to_string(change)?;
        line.push('\n');
        let file = append(&path, line.as_bytes())?;
        file.sync_data()?;
        if file.metadata()?.len() > MAX_LOG {
            fs::rename(&path, path.with_extension("jsonl.1"))?;
        }
        Ok(())
    }

    /// All that no export shows, oldest first.
    pub fn noted(&self) -> io::Result<Vec<Change>> {
        Ok([self.read_changes("noted.jsonl.1")?, self.read_changes("noted.jsonl")?].concat())
    }

    /// Facts about the router; the default if the file is missing or damaged.
    pub fn facts(&self) -> io::Result<Option<Facts>> {
        let bytes = found(read_file(&self.path("facts.json"), FileKind::State, MAX_FACTS))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub fn set_facts(&self, facts: &Facts) -> io::Result<()> {
        replace(&self.path("facts.json"), &serde_json::to_vec_pretty(facts)?)
    }

    pub fn append_log(&self, time: &str, what: &str) -> io::Result<()> {
        let path = self.path("log.txt");
        let line = format!("{time} {}\n", plain(what));
        let file = append(&path, line.as_bytes())?;
        if file.metadata()?.len() > MAX_LOG {
            fs::rename(&path, path.with_extension("txt.1"))?;
        }
        Ok(())
    }

    /// Removes the oldest snapshots beyond `keep`, and all from before `since`, but not the newest.
    pub fn remove_snapshots(&self, keep: usize, since: Option<Timestamp>) -> io::Result<()> {
        let newest = self.newest_snapshot()?;
        let mut names = self.snapshots()?;
        names.retain(|name| newest.as_ref() != Some(name));
        self.remove("snapshots", outdated(names, keep.saturating_sub(1), since))
    }

    /// The time of the oldest snapshot, if as many as `keep` exist: changes from before it have no snapshot. The time in
    /// a snapshot's name may be later than the file if the clock was set back.
    pub fn complete_since(&self, keep: usize) -> io::Result<Option<Timestamp>> {
        let names = self.snapshots()?;
        let Some(first) = names.first().filter(|_| names.len() >= keep) else { return Ok(None) };
        let written = fs::metadata(self.path("snapshots").join(first))?.modified()?;
        let written = Timestamp::try_from(written).unwrap_or(Timestamp::MAX);
        Ok(snapshot_time(first).map(|time| time.min(written)))
    }

    /// Removes changes from before `since` from all files, and refused exports.
    pub fn remove_changes(&self, since: Timestamp) -> io::Result<()> {
        remove_lines_before(&self.path("changes.jsonl"), since, |line| {
            Some(serde_json::from_str::<Dated>(line).ok()?.time)
        })?;
        for name in ["noted.jsonl.1", "noted.jsonl"] {
            remove_lines_before(&self.path(name), since, |line| {
                Some(serde_json::from_str::<Dated>(line).ok()?.time)
            })?;
        }
        remove_lines_before(&self.path("diff.txt"), since, first_word)?;
        for entry in found(fs::read_dir(self.path("users")))?.into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "diff") {
                remove_lines_before(&path, since, first_word)?;
            }
        }
        self.remove("refused", outdated(self.list("refused")?, MAX_REFUSED, Some(since)))
    }

    /// Removes lines of `log.txt` from before `since`. The caller makes sure that no line is appended meanwhile.
    pub fn remove_log_lines(&self, since: Timestamp) -> io::Result<()> {
        remove_lines_before(&self.path("log.txt"), since, first_word)?;
        remove_lines_before(&self.path("log.txt.1"), since, first_word)
    }

    /// Each line of `log.txt`, oldest first: its time and its text.
    pub fn log_lines(&self, mut take: impl FnMut(Timestamp, &str)) -> io::Result<()> {
        for name in ["log.txt.1", "log.txt"] {
            let Some(file) = found(open_file(&self.path(name), FileKind::State))? else { continue };
            let (mut file, mut line) = (BufReader::new(file.take(2 * MAX_LOG)), Vec::new());
            while file.read_until(b'\n', &mut line)? > 0 {
                let text = String::from_utf8_lossy(&line);
                if let Some((time, text)) = text.trim_end().split_once(' ')
                    && let Ok(time) = time.parse()
                {
                    take(time, text);
                }
                line.clear();
            }
        }
        Ok(())
    }

    /// The state of the router; the default if the file is missing, and with a warning if it is damaged or too large.
    pub fn state(&self) -> io::Result<RouterState> {
        match self.whole_state() {
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                warn(format_args!("{}: {error}", self.path("state.json").display()));
                Ok(RouterState::default())
            }
            state => state,
        }
    }

    /// The same; a file that is damaged or too large is an error.
    pub fn whole_state(&self) -> io::Result<RouterState> {
        let Some(file) = found(open_file(&self.path("state.json"), FileKind::State))? else {
            return Ok(RouterState::default());
        };
        let damaged = |why| {
            let why = format!("{why}: not used (the running daemon replaces it)");
            io::Error::new(ErrorKind::InvalidData, why)
        };
        let mut bytes = Vec::new();
        file.take(MAX_STATE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_STATE {
            return Err(damaged("it is larger than 1 MiB"));
        }
        serde_json::from_slice(&bytes).map_err(|_| damaged("it is damaged"))
    }

    pub fn set_state(&self, state: &RouterState) -> io::Result<()> {
        replace(&self.path("state.json"), &serde_json::to_vec(state)?)
    }

    /// All changes, oldest first, without incomplete lines.
    pub fn changes(&self) -> io::Result<Vec<Change>> {
        self.read_changes("changes.jsonl")
    }

    fn read_changes(&self, name: &str) -> io::Result<Vec<Change>> {
        let Some(file) = found(open_file(&self.path(name), FileKind::State))? else {
            return Ok(Vec::new());
        };
        let (mut file, mut line, mut changes) = (BufReader::new(file), Vec::new(), Vec::new());
        while file.by_ref().take(MAX_CHANGE).read_until(b'\n', &mut line)? > 0 {
            changes.extend(serde_json::from_slice::<Change>(&line));
            line.clear();
        }
        Ok(changes)
    }

    pub fn snapshots(&self) -> io::Result<Vec<String>> {
        self.list("snapshots")
    }

    pub fn snapshot(&self, name: &str) -> io::Result<Vec<u8>> {
        read_file(&self.path("snapshots").join(name), FileKind::State, MAX_EXPORT)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write_new(&self, directory: &str, time: Timestamp, bytes: &[u8]) -> io::Result<String> {
        let newest = self.newest(directory)?.unwrap_or_default();
        let after = |time: Timestamp| time.checked_add(SignedDuration::from_secs(1)).ok();
        let behind = snapshot_time(&newest).and_then(after).map(|time| snapshot(time, 0));
        let mut names = (0..1000).map(|n| snapshot(time, n)).chain(behind);
        let name = names.find(|name| *name > newest).ok_or(ErrorKind::AlreadyExists)?;
        let directory = self.path(directory);
        write_then_rename(&directory.join("unfinished.new"), &directory.join(&name), |file| {
            file.write_all(bytes)
        })?;
        Ok(name)
    }

    pub fn newest_snapshot(&self) -> io::Result<Option<String>> {
        self.newest("snapshots")
    }

    /// The newest file of a directory that this program named.
    fn newest(&self, directory: &str) -> io::Result<Option<String>> {
        let ours = |name: &String| snapshot_time(name).is_some();
        Ok(self.list(directory)?.into_iter().rfind(ours))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.list_with_end(directory, ".rsc")
    }

    fn list_with_end(&self, directory: &str, end: &str) -> io::Result<Vec<String>> {
        let Some(entries) = found(fs::read_dir(self.path(directory)))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.retain(|name| name.ends_with(end));
        names.sort();
        Ok(names)
    }

    fn remove(&self, directory: &str, names: Vec<String>) -> io::Result<()> {
        let directory = self.path(directory);
        names.iter().try_for_each(|name| fs::remove_file(directory.join(name)))
    }
}

#[derive(Deserialize)]
struct Dated {
    time: Timestamp,
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;
