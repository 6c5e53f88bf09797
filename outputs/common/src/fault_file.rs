//! `NAME.faults`: which faults of its rings an output has reported, so that a restart repeats none, where the sink does not
//! store that.

use std::path::{Path, PathBuf};

use aw_service::Error;

use crate::{Faults, state};

/// The file of an output.
#[derive(Debug)]
pub struct FaultFile(PathBuf);

impl FaultFile {
    /// In the state directory of this output. Also returns the faults that it has.
    pub fn open(directory: &Path, name: &str) -> Result<(FaultFile, Faults), Error> {
        let path = directory.join(format!("{name}.faults"));
        let faults =
            state::load(&path, "remove it: the last fault of each kind is reported again")?;
        Ok((FaultFile(path), Faults::resume(faults.unwrap_or_default())))
    }

    /// Stores the faults that were reported since the last call, if there are any.
    pub fn store(&self, faults: &mut Faults) -> Result<(), Error> {
        match faults.has_changed() {
            true => state::replace(&self.0, faults.all()).inspect(|()| drop(faults.take_changed())),
            false => Ok(()),
        }
    }
}
