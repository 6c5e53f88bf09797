//! `aw-web.fault`: empty, or why the history cannot be read; for `--health`, which may not have the options of the service.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use aw_service::{
    Condition, Error, FileKind, explain_or, failed, info, plain, read_file_text, replace, warn,
};

/// Bytes of the file, at most.
const MAX_FILE: usize = 4096;

/// Whether the history can be read, for the log and for the file.
#[derive(Debug)]
pub struct FaultFile {
    path: PathBuf,
    is_present: Condition,
}

impl FaultFile {
    /// In this state directory. A fault of an earlier process is over until it is found again.
    pub fn create(state: &Path) -> Result<FaultFile, Error> {
        let file = FaultFile { path: path(state), is_present: Condition::default() };
        file.write("").map(|()| file)
    }

    /// The history cannot be read.
    pub fn begins(&mut self, why: &str) {
        if self.is_present.set("") {
            warn(format_args!("{why} (questions are answered when it is readable)"));
            let why = plain(why);
            self.store(&why[..why.floor_char_boundary(MAX_FILE)]);
        }
    }

    /// The history can be read.
    pub fn ends(&mut self) {
        if self.is_present.clear() {
            info("the history is readable again");
            self.store("");
        }
    }

    fn store(&self, why: &str) {
        if let Err(error) = self.write(why) {
            warn(format_args!(
                "{error} (until then, aw-web --health does not know the state of the history)"
            ));
        }
    }

    fn write(&self, why: &str) -> Result<(), Error> {
        let new = format!("{}.new", self.path.display());
        replace(&self.path, Path::new(&new), 0o640, why.as_bytes())
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("aw-web.fault")
}

/// Why the process that runs with this state directory cannot read the history; none if it can.
pub fn fault(state: &Path) -> Result<Option<String>, Error> {
    let path = path(state);
    match read_file_text(&path, FileKind::State, MAX_FILE as u64) {
        Ok(why) => Ok(Some(why).filter(|why| !why.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let remedy = "(use sudo, or join the group addrwatch)";
            Err(failed(format_args!("read {}: {}", path.display(), explain_or(&error, remedy))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_there_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        assert_eq!(fault(state).unwrap(), None);
        let mut file = FaultFile::create(state).unwrap();
        assert_eq!(fault(state).unwrap(), None);
        file.begins(&format!("read\n{}", "é".repeat(MAX_FILE)));
        let why = fault(state).unwrap().unwrap();
        assert!(why.starts_with("read?é") && why.len() <= MAX_FILE, "{why}");
        file.ends();
        assert_eq!(fault(state).unwrap(), None);
        file.begins("gone");
        assert_eq!(fault(state).unwrap().as_deref(), Some("gone"));
        FaultFile::create(state).unwrap();
        assert_eq!(fault(state).unwrap(), None, "of an earlier process");
    }
}
