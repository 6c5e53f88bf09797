//! Exports with secrets, encrypted: `sensitive/*.rsc.age`, beside `snapshots/`, which then have none.

use std::io::{self, ErrorKind, Write};

use jiff::Timestamp;

use super::{Archive, make_directory, write_then_rename};
use crate::file_names::{outdated, snapshot};

const DIRECTORY: &str = "sensitive";
const END: &str = ".age";

impl Archive {
    /// Stores an encrypted export.
    pub fn add_sensitive(&self, time: Timestamp, sealed: &[u8]) -> io::Result<()> {
        let directory = self.path(DIRECTORY);
        make_directory(&directory)?;
        let mut names = (0..1000).map(|n| directory.join(snapshot(time, n) + END));
        let path = names.find(|path| !path.exists()).ok_or(ErrorKind::AlreadyExists)?;
        let temporary = directory.join("unfinished.new");
        write_then_rename(&temporary, &path, |file| file.write_all(sealed))
    }

    /// Removes the oldest ones beyond `keep`, and all from before `since`, but not the newest.
    pub fn remove_sensitive(&self, keep: usize, since: Option<Timestamp>) -> io::Result<()> {
        let mut names = self.list_with_end(DIRECTORY, &format!(".rsc{END}"))?;
        names.pop();
        let names = names.into_iter().map(|name| name.trim_end_matches(END).to_owned()).collect();
        let old = outdated(names, keep.saturating_sub(1), since);
        self.remove(DIRECTORY, old.into_iter().map(|name| name + END).collect())
    }
}
