//! `-p`: a file with the process id, locked while the process runs. Only its owner may open it: any
//! user who can read a file can lock it, and so prevent the program from starting.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, Mode, access, fchmod},
    process::geteuid,
};

use crate::{
    Error, failed,
    file::{is_at, open_own},
};

/// Removed when dropped; emptied where the directory is not writable.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Creates and locks the file; the error names the process that holds it.
    pub fn take(path: &Path) -> Result<PidFile, Error> {
        let failure =
            |operation, error| Error::io(format_args!("{operation} {}", path.display()), error);
        let path = std::path::absolute(path).map_err(|error| failure("find", error))?;
        let file = loop {
            let file = open_own(&path, 0o600, None)?;
            fchmod(&file, Mode::RUSR | Mode::WUSR)
                .map_err(|error| failure("protect", error.into()))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => break file,
                Ok(()) => {} // the process that held it has removed it since the open
                Err(TryLockError::WouldBlock) => {
                    let mut id = String::new();
                    let _ = (&file).take(20).read_to_string(&mut id);
                    return Err(failed(format_args!(
                        "lock {}: in use by process {} (stop it, or choose another file with -p)",
                        path.display(),
                        id.trim()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(failure("lock", error)),
            }
        };
        let write = |file: &mut File| {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        let mut pid_file = PidFile { path: path.clone(), file }; // dropped, and so removed, if the write fails
        write(&mut pid_file.file).map_err(|error| failure("write", error))?;
        Ok(pid_file)
    }

    /// The directory of the file.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The open file.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether this process, with its current user, may remove the file: the directory must be
    /// writable, and if it is sticky, the user must own the directory or the file.
    pub fn is_removable(&self) -> bool {
        let directory = self.directory();
        let own = |file: fs::Metadata| file.uid() == geteuid().as_raw();
        let sticky = directory.metadata().is_ok_and(|file| file.mode() & 0o1000 != 0);
        let owned = directory.metadata().is_ok_and(own) || self.file.metadata().is_ok_and(own);
        access(directory, Access::WRITE_OK).is_ok() && (!sticky || owned)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) && fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0); // no other fallback
        }
    }
}
