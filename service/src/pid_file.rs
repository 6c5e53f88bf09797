//! `-p`: the process's id in a file that is locked as long as the process lives.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    Error, failed,
    file::{is_at, open_own},
};

/// Removed when dropped; emptied where the directory is another's.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Takes the file, or says who has it.
    pub fn take(path: &Path) -> Result<PidFile, Error> {
        let failure =
            |operation, error| Error::io(format_args!("{operation} {}", path.display()), error);
        let path = std::path::absolute(path).map_err(|error| failure("find", error))?;
        let mut file = loop {
            let file = open_own(&path, 0o644)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => break file,
                Ok(()) => {} // removed since we opened it, by the process that had it
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
        write(&mut file).map_err(|error| failure("write", error))?;
        Ok(PidFile { path, file })
    }

    /// Where it is removed from at the end.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) && fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0); // nothing is left to try
        }
    }
}
