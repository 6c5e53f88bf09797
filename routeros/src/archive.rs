//! The archive: of each router its configurations, what changed, when, and who did it. Directories
//! are 0700 and files 0600, for configurations hold secrets.
//!
//! ```text
//! NAME/latest.rsc          the base: the last export that was whole
//! NAME/snapshots/*.rsc     each configuration that was different, by time
//! NAME/changes.jsonl       each change, for programs
//! NAME/diff.txt            each change with its diff, for people
//! NAME/users/USER.diff     the same, of one user
//! NAME/log.txt             what happened, a line each
//! NAME/refused/*.rsc       exports that were not whole
//! NAME/state.json          how it is
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, ErrorKind, Seek, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    change::Change,
    config::Name,
    names::{outdated, snapshot, snapshot_time, user_file},
};

/// One router's part of the archive.
#[derive(Clone, Debug)]
pub struct Archive {
    directory: PathBuf,
}

/// How a router is, as it was last known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// `connected`, `unreachable`, `refused`, `host key`, `stopped`.
    pub status: String,
    /// Why, where something is wrong.
    pub why: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When an export was last whole.
    pub exported: Option<Timestamp>,
    /// When the configuration last changed.
    pub changed: Option<Timestamp>,
    /// RouterOS's version.
    pub version: String,
    /// Lines of configuration.
    pub lines: usize,
    /// Time and message of the last change that its log told, to find those after it.
    pub last_line: Option<(String, String)>,
    /// When what is too old was last looked for.
    pub tidied: Option<Timestamp>,
}

/// Refused exports kept.
const REFUSED: usize = 20;
/// `log.txt` becomes `log.txt.1` at this size.
const LONGEST_LOG: u64 = 8 << 20;

impl Archive {
    /// A router's part of the archive at `root`; nothing is made yet.
    pub fn of(root: &Path, router: &Name) -> Archive {
        Archive { directory: root.join(router.as_str()) }
    }

    /// Makes its directories.
    pub fn make(&self) -> io::Result<()> {
        for name in ["snapshots", "users", "refused"] {
            make_directory(&self.directory.join(name))?;
        }
        Ok(())
    }

    /// The base, if there is one.
    pub fn base(&self) -> io::Result<Option<Vec<u8>>> {
        found(fs::read(self.path("latest.rsc")))
    }

    /// Keeps a configuration that is different, under the name that is returned: behind all others, though
    /// the clock may have been set back since they were kept. It is not the base before
    /// [`Archive::set_base`].
    pub fn keep(&self, time: Timestamp, export: &[u8]) -> io::Result<String> {
        self.write_new("snapshots", time, export)
    }

    /// Keeps an export that was not whole.
    pub fn refuse(&self, time: Timestamp, export: &[u8]) -> io::Result<PathBuf> {
        let name = self.write_new("refused", time, export)?;
        self.remove("refused", outdated(self.list("refused")?, REFUSED, None))?;
        Ok(self.path("refused").join(name))
    }

    /// Makes a snapshot the base: last of all, so that a change is found again if we are killed
    /// before everything else about it is written.
    pub fn set_base(&self, export: &[u8]) -> io::Result<()> {
        replace(&self.path("latest.rsc"), export)
    }

    /// Keeps a base that is damaged, but no longer takes it for one.
    pub fn set_base_aside(&self) -> io::Result<()> {
        fs::rename(self.path("latest.rsc"), self.path("latest.rsc.damaged"))
    }

    /// Writes down a change, for programs, for people, and to the file of each user.
    pub fn record(&self, change: &Change, text: &str) -> io::Result<()> {
        let mut line = serde_json::to_string(change)?;
        line.push('\n');
        append(&self.path("changes.jsonl"), line.as_bytes())?.sync_data()?;
        append(&self.path("diff.txt"), text.as_bytes())?;
        for user in &change.users {
            append(&self.path("users").join(user_file(user)), text.as_bytes())?;
        }
        Ok(())
    }

    /// Adds a line to `log.txt`.
    pub fn log(&self, time: &str, what: &str) -> io::Result<()> {
        let path = self.path("log.txt");
        let line = format!("{time} {}\n", what.replace(char::is_control, "?"));
        let file = append(&path, line.as_bytes())?;
        if file.metadata()?.len() > LONGEST_LOG {
            fs::rename(&path, path.with_extension("txt.1"))?;
        }
        Ok(())
    }

    /// Removes snapshots beyond so many, and those from before `since`; never the newest.
    pub fn retain(&self, keep: usize, since: Option<Timestamp>) -> io::Result<()> {
        let newest = self.newest("snapshots")?;
        let mut names = self.snapshots()?;
        names.retain(|name| newest.as_ref() != Some(name));
        self.remove("snapshots", outdated(names, keep.saturating_sub(1), since))
    }

    /// Since when there are snapshots, if there are as many as are kept: changes from before have none. A
    /// snapshot's name may be later than itself, where the clock was set back.
    pub fn complete_since(&self, keep: usize) -> io::Result<Option<Timestamp>> {
        let names = self.snapshots()?;
        let Some(first) = names.first().filter(|_| names.len() >= keep) else { return Ok(None) };
        let written = fs::metadata(self.path("snapshots").join(first))?.modified()?;
        let written = Timestamp::try_from(written).unwrap_or(Timestamp::MAX);
        Ok(snapshot_time(first).map(|time| time.min(written)))
    }

    /// Forgets changes from before `since`, and what else was written about them.
    pub fn forget_changes(&self, since: Timestamp) -> io::Result<()> {
        forget(&self.path("changes.jsonl"), since, |line| {
            Some(serde_json::from_str::<Dated>(line).ok()?.time)
        })?;
        forget(&self.path("diff.txt"), since, first_word)?;
        for entry in found(fs::read_dir(self.path("users")))?.into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "diff") {
                forget(&path, since, first_word)?;
            }
        }
        self.remove("refused", outdated(self.list("refused")?, REFUSED, Some(since)))
    }

    /// Forgets lines of `log.txt` from before `since`. Nobody may add one meanwhile.
    pub fn forget_log(&self, since: Timestamp) -> io::Result<()> {
        forget(&self.path("log.txt"), since, first_word)?;
        forget(&self.path("log.txt.1"), since, first_word)
    }

    /// How the router is.
    pub fn state(&self) -> io::Result<State> {
        let Some(bytes) = found(fs::read(self.path("state.json")))? else {
            return Ok(State::default());
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_default()) // it is only a memory
    }

    /// Writes down how it is.
    pub fn set_state(&self, state: &State) -> io::Result<()> {
        replace(&self.path("state.json"), &serde_json::to_vec(state)?)
    }

    /// All changes, oldest first. A line that a crash cut short is left out.
    pub fn changes(&self) -> io::Result<Vec<Change>> {
        let Some(bytes) = found(fs::read(self.path("changes.jsonl")))? else {
            return Ok(Vec::new());
        };
        let lines = bytes.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// The names of all snapshots, oldest first.
    pub fn snapshots(&self) -> io::Result<Vec<String>> {
        self.list("snapshots")
    }

    /// A snapshot's text.
    pub fn snapshot(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path("snapshots").join(name))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn write_new(&self, directory: &str, time: Timestamp, bytes: &[u8]) -> io::Result<String> {
        let newest = self.newest(directory)?.unwrap_or_default();
        let after = |time: Timestamp| time.checked_add(SignedDuration::from_secs(1)).ok();
        let behind = snapshot_time(&newest).and_then(after).map(|time| snapshot(time, 0));
        // We alone write here.
        let mut names = (0..1000).map(|n| snapshot(time, n)).chain(behind);
        let name = names.find(|name| *name > newest).ok_or(ErrorKind::AlreadyExists)?;
        let directory = self.path(directory);
        put(&directory.join("unfinished.new"), &directory.join(&name), |file| {
            file.write_all(bytes)
        })?;
        Ok(name)
    }

    /// The newest of what we named in `snapshots` or `refused`.
    pub fn newest(&self, directory: &str) -> io::Result<Option<String>> {
        let ours = |name: &String| snapshot_time(name).is_some();
        Ok(self.list(directory)?.into_iter().rfind(ours))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let Some(entries) = found(fs::read_dir(self.path(directory)))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.retain(|name| name.ends_with(".rsc"));
        names.sort();
        Ok(names)
    }

    fn remove(&self, directory: &str, names: Vec<String>) -> io::Result<()> {
        let directory = self.path(directory);
        names.iter().try_for_each(|name| fs::remove_file(directory.join(name)))
    }
}

/// Makes a directory, and those above it, for us alone.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file in another's place, at once or not at all.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(&beside(path), path, |file| file.write_all(bytes))
}

/// Where its successor is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes a file under another name, under which half of it may stay, and then gives it its own.
fn put(
    unfinished: &Path,
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    found(fs::remove_file(unfinished))?; // of a process that was killed
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
    let mut file = BufWriter::new(file);
    write(&mut file)?;
    file.into_inner()?.sync_all()?;
    fs::rename(unfinished, path)
}

/// When an entry of `changes.jsonl` was written.
#[derive(Deserialize)]
struct Dated {
    time: Timestamp,
}

/// When a line was written that begins with its time; what follows it, like the lines of a diff, does not.
fn first_word(line: &str) -> Option<Timestamp> {
    let starts = line.starts_with(|c: char| c.is_ascii_digit());
    line.split(' ').next().filter(|_| starts)?.parse().ok()
}

/// Drops what was written before `since`: lines with a time, each with those behind it that have none. A file
/// that then is empty goes. Nothing of it is held but a line: there is no bound to what was kept for years.
fn forget(
    path: &Path,
    since: Timestamp,
    time: impl Fn(&str) -> Option<Timestamp>,
) -> io::Result<()> {
    let Some(file) = found(File::open(path))? else { return Ok(()) };
    let mut old = BufReader::new(file);
    let mut line = Vec::new();
    let is_old = |line: &[u8]| time(&String::from_utf8_lossy(line)).map(|time| time < since);
    old.read_until(b'\n', &mut line)?;
    // The oldest stands first, unless its time cannot be read or is of a clock that was ahead.
    let now = Timestamp::now();
    let says = time(&String::from_utf8_lossy(&line)).filter(|time| *time <= now).is_some();
    while is_old(&line) != Some(true) {
        if says || line.is_empty() {
            return Ok(());
        }
        line.clear();
        old.read_until(b'\n', &mut line)?;
    }
    old.rewind()?;
    line.clear();
    old.read_until(b'\n', &mut line)?;
    let (mut keeps, mut is_empty) = (false, true);
    put(&beside(path), path, |new| {
        while !line.is_empty() {
            keeps = is_old(&line).map_or(keeps, |old| !old);
            if keeps {
                new.write_all(&line)?;
                is_empty = false;
            }
            line.clear();
            old.read_until(b'\n', &mut line)?;
        }
        Ok(())
    })?;
    if is_empty { fs::remove_file(path) } else { Ok(()) }
}

/// Adds lines. If the last one was cut short, by a crash or a full disk, it stays alone.
fn append(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut last = [b'\n'];
    if let Some(end) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, end)?;
    }
    if last == [b'\n'] {
        file.write_all(bytes)?; // in one call, so that nothing comes in between
    } else {
        file.write_all(&[b"\n", bytes].concat())?;
    }
    Ok(file)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
#[path = "archive/tests.rs"]
mod tests;
