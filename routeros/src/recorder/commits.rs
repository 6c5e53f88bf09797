//! Commits changes to a git repository with one file for each router.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use jiff::Timestamp;

use super::lock;
use crate::{archive::Archive, config::RouterName, git::Repository};

/// The subject of a commit at the start.
pub const AT_START: &str = "as found at the start";

pub struct Commits {
    archive: PathBuf,
    git: Mutex<Repository>,
}

impl Commits {
    pub fn new(archive: &Path, git: Repository) -> Commits {
        Commits { archive: archive.into(), git: Mutex::new(git) }
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
        let names = fs::read_dir(&self.archive)?.filter_map(|entry| {
            RouterName::try_from(entry.ok()?.file_name().into_string().ok()?).ok()
        });
        git.fill(names.filter_map(|name| {
            let bytes = Archive::of(&self.archive, &name).base().transpose()?;
            Some(bytes.map(|bytes| (format!("{name}.rsc"), bytes)))
        }))
    }
}
