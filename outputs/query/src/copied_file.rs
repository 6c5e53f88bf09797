//! A file that gets its name when it is complete.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aw_service::{Error, Wanted, cause, explain_or, explained, failed};

/// Removed when it is dropped before it is complete.
pub struct CopiedFile {
    name: PathBuf,
    incomplete: PathBuf,
    file: File,
    is_complete: bool,
}

impl CopiedFile {
    /// It is private until its owner decides otherwise.
    pub fn create(name: &Path) -> Result<CopiedFile, Error> {
        refuse_existing(name)?;
        let mut incomplete = name.as_os_str().to_owned();
        incomplete.push(".new");
        let incomplete = PathBuf::from(incomplete);
        let create = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&incomplete);
        let file = create.map_err(|error| {
            let error = explained(error, &incomplete, Wanted::Write);
            let remedy = match error.kind() {
                ErrorKind::AlreadyExists => {
                    "(wait for the end of another copy, or remove what an ended one left)"
                }
                _ => "(choose another file)",
            };
            let why = explain_or(&error, remedy);
            failed(format_args!("create {}: {why}", incomplete.display()))
        })?;
        Ok(CopiedFile { name: name.into(), incomplete, file, is_complete: false })
    }

    /// The file to write to.
    pub fn incomplete(&self) -> &Path {
        &self.incomplete
    }

    /// Deletes the content.
    pub fn clear(&self) -> Result<(), Error> {
        self.file.set_len(0).map_err(|error| self.failure(&error))
    }

    /// Gives the file its name.
    pub fn complete(mut self) -> Result<(), Error> {
        refuse_existing(&self.name)?;
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.incomplete, &self.name));
        renamed.map_err(|error| self.failure(&error))?;
        self.is_complete = true;
        Ok(())
    }

    fn failure(&self, error: &std::io::Error) -> Error {
        failed(format_args!("write {}: {}", self.name.display(), cause(error)))
    }
}

impl Drop for CopiedFile {
    fn drop(&mut self) {
        if !self.is_complete {
            let _ = fs::remove_file(&self.incomplete);
        }
    }
}

fn refuse_existing(name: &Path) -> Result<(), Error> {
    match name.symlink_metadata() {
        Err(_) => Ok(()), // what else is wrong is reported when it is created
        Ok(_) => {
            let name = name.display();
            Err(failed(format_args!("create {name}: it exists already (choose another file)")))
        }
    }
}
