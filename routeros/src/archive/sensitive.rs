//! What is stored encrypted only: exports with secrets, `sensitive/*.rsc.age`, beside `snapshots/`, which then have none; and
//! binary backups, `backups/*.backup.age`.

use std::{
    fs,
    io::{self, ErrorKind, Write},
};

use jiff::Timestamp;

use super::{Archive, found, make_directory, write_then_rename};
use crate::file_names::{outdated, snapshot, snapshot_time};

/// A directory, and the end of its files in place of that of a snapshot.
type Kind = (&'static str, &'static str);

const EXPORTS: Kind = ("sensitive", ".rsc.age");
const BACKUPS: Kind = ("backups", ".backup.age");
const OF_SNAPSHOT: &str = ".rsc";

impl Archive {
    /// Stores an encrypted export.
    pub fn add_sensitive(&self, time: Timestamp, sealed: &[u8]) -> io::Result<()> {
        self.add_sealed(EXPORTS, time, sealed).map(drop)
    }

    /// Stores an encrypted backup, and returns its path in the directory of the router.
    pub fn add_backup(&self, time: Timestamp, sealed: &[u8]) -> io::Result<String> {
        self.add_sealed(BACKUPS, time, sealed)
    }

    /// The time of the newest backup.
    pub fn newest_backup(&self) -> io::Result<Option<Timestamp>> {
        Ok(self.sealed(BACKUPS)?.iter().rev().find_map(|name| snapshot_time(name)))
    }

    /// Removes hashes of secrets, which an earlier version stored.
    pub fn remove_secret_tags(&self) -> io::Result<()> {
        found(fs::remove_file(self.path("secrets.json"))).map(drop)
    }

    /// Removes the oldest exports and backups beyond `keep` of each, and all from before `since`, but not the newest.
    pub fn remove_sensitive(&self, keep: usize, since: Option<Timestamp>) -> io::Result<()> {
        for kind @ (directory, end) in [EXPORTS, BACKUPS] {
            let mut names = self.sealed(kind)?;
            names.pop();
            let old = outdated(names, keep.saturating_sub(1), since);
            let file = |name: String| name.trim_end_matches(OF_SNAPSHOT).to_owned() + end;
            self.remove(directory, old.into_iter().map(file).collect())?;
        }
        Ok(())
    }

    fn add_sealed(&self, kind: Kind, time: Timestamp, sealed: &[u8]) -> io::Result<String> {
        let (name, end) = kind;
        let directory = self.path(name);
        make_directory(&directory)?;
        let file = |n| snapshot(time, n).trim_end_matches(OF_SNAPSHOT).to_owned() + end;
        let mut names = (0..1000).map(file);
        let file =
            names.find(|file| !directory.join(file).exists()).ok_or(ErrorKind::AlreadyExists)?;
        let temporary = directory.join("unfinished.new");
        write_then_rename(&temporary, &directory.join(&file), |file| file.write_all(sealed))?;
        Ok(format!("{name}/{file}"))
    }

    /// The files, each with the name of the snapshot of its time, by time.
    fn sealed(&self, (directory, end): Kind) -> io::Result<Vec<String>> {
        let names = self.list_with_end(directory, end)?;
        let name = |file: String| file.trim_end_matches(end).to_owned() + OF_SNAPSHOT;
        let mut names: Vec<_> = names.into_iter().map(name).collect();
        names.sort();
        Ok(names)
    }
}
