//! `NAME.faults`: which faults of its rings an output has reported, so that a restart repeats none, where the sink does not
//! store that.

use std::path::{Path, PathBuf};

use aw_service::{Error, warn};

use crate::{Faults, state};

/// The file of an output.
#[derive(Debug)]
pub struct FaultFile(PathBuf);

impl FaultFile {
    /// In the state directory of this output. Also returns the faults that it has. One that cannot be read is no reason to
    /// end: it begins again, and what was reported is reported once more.
    pub fn open(directory: &Path, name: &str) -> (FaultFile, Faults) {
        let path = directory.join(format!("{name}.faults"));
        let again = "it begins again, and the last fault of each kind is reported again";
        let faults = match state::load(&path, again) {
            Ok(faults) => faults.unwrap_or_default(),
            Err(Error::Failed(why)) => {
                warn(why);
                Default::default()
            }
            Err(Error::Closed) => Default::default(),
        };
        (FaultFile(path), Faults::resume(faults))
    }

    /// Stores the faults that were reported since the last call, if there are any.
    pub fn store(&self, faults: &mut Faults) -> Result<(), Error> {
        match faults.has_changed() {
            true => state::replace(&self.0, faults.all()).inspect(|()| drop(faults.take_changed())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file whose whole worth is that a line is not repeated stops no output.
    #[test]
    fn a_file_that_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("aw-test.faults");
        for content in [Vec::new(), b"{".to_vec(), vec![b' '; state::MAX_STATE as usize + 1]] {
            fs::write(&path, content).unwrap();
            let (_, faults) = FaultFile::open(directory.path(), "aw-test");
            assert!(faults.all().is_empty());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(FaultFile::open(directory.path(), "aw-test").1.all().is_empty());
    }
}
