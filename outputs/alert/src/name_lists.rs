//! The names of devices: of the common file, which are only names, and the list of known devices, which makes all others unknown.

use std::path::Path;

use aw_output::{
    Access, Error,
    names::{LiveNames, Names},
};

#[derive(Debug)]
pub struct NameLists {
    /// The file of all programs.
    common: LiveNames,
    /// The file of the key `known`.
    known: Option<LiveNames>,
}

impl NameLists {
    /// `common`: instead of the default file.
    pub fn read(common: Option<&Path>, known: Option<&Path>) -> Result<NameLists, Error> {
        let known = known.map(|path| LiveNames::read(Some(path))).transpose()?;
        Ok(NameLists { common: LiveNames::read(common)?, known })
    }

    fn each(&self) -> impl Iterator<Item = &LiveNames> {
        [&self.common].into_iter().chain(&self.known)
    }

    /// Without the secrets beside the files, which only the sender process is to read.
    pub fn access(&self) -> Vec<Access> {
        self.each().flat_map(LiveNames::narrow_access).collect()
    }

    pub fn follow(&self) {
        self.each().for_each(LiveNames::follow);
    }

    pub fn reload(&self) {
        self.each().for_each(LiveNames::reload);
    }

    /// Whether one of them changed since the last call.
    pub fn take_changed(&self) -> bool {
        self.each().filter(|names| names.take_changed()).count() > 0 // of each, also after the first
    }

    pub fn set_changed(&self) {
        self.common.set_changed();
    }

    /// Devices of the key `known`.
    pub fn known(&self) -> Names {
        self.known.as_ref().map(|names| Names::clone(&names.names())).unwrap_or_default()
    }

    /// The known devices, with those that were imported.
    pub fn all_known(&self, imported: Names) -> Names {
        imported.into_iter().chain(self.known()).collect()
    }

    /// All names. Those of the configuration replace those of the common file, and these replace imported ones.
    pub fn all(&self, imported: Names) -> Names {
        let common = Names::clone(&self.common.names());
        imported.into_iter().chain(common).chain(self.known()).collect()
    }
}
