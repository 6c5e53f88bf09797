//! Commits changes to a git repository with one file for each router.

use std::{io, path::PathBuf, sync::Mutex};

use jiff::Timestamp;

use super::{
    clear_secrets::{is_looked_through, is_masked},
    lock,
};
use crate::{
    archive::Archive,
    config::{Config, RouterName},
    git::Repository,
    lossless::{bytes_of, lossless},
    mask::mask,
};

/// The subject of a commit at the start.
pub const AT_START: &str = "as found at the start";

pub struct Commits {
    archive: PathBuf,
    /// Whose configurations have secrets in clear, if they are from before `encrypt_to`.
    masked: Vec<RouterName>,
    git: Mutex<Repository>,
}

impl Commits {
    pub fn new(config: &Config, git: Repository) -> Commits {
        let mut masked = Archive::names(&config.archive).unwrap_or_default();
        masked.retain(|name| is_masked(config, name));
        Commits { archive: config.archive.clone(), masked, git: Mutex::new(git) }
    }

    /// Commits the archive if the last commit differs from it, and returns whether it did.
    pub fn commit_archive(&self) -> io::Result<bool> {
        let mut git = lock(&self.git);
        self.fill(&mut git)?;
        if git.is_empty() || git.is_committed()? {
            return Ok(false);
        }
        git.commit("aw-routeros", Timestamp::now().as_second(), AT_START).map(|()| true)
    }

    /// Commits the configuration of one router. The files of the others stay as they were.
    pub fn commit(
        &self,
        router: &RouterName,
        bytes: &[u8],
        message: &str,
        author: &str,
        time: Timestamp,
    ) -> io::Result<()> {
        let mut git = lock(&self.git);
        if git.is_empty() {
            self.fill(&mut git)?;
        }
        git.put(&format!("{router}.rsc"), bytes)?;
        git.commit(author, time.as_second(), message)
    }

    /// Sets the tree of the next commit to the newest configurations in the archive.
    fn fill(&self, git: &mut Repository) -> io::Result<()> {
        let names = Archive::names(&self.archive)?;
        git.fill(names.into_iter().filter_map(|name| {
            let archive = Archive::of(&self.archive, &name);
            let bytes = archive.base().transpose()?;
            // Also if the start could not mask the file itself.
            let is_clear = self.masked.contains(&name) && !is_looked_through(&archive);
            let bytes = bytes.map(|bytes| match is_clear {
                true => bytes_of(&mask(&lossless(&bytes))),
                false => bytes,
            });
            Some(bytes.map(|bytes| (format!("{name}.rsc"), bytes)))
        }))
    }
}
