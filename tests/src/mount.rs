//! A small disk that can be filled.

use crate::rig::run;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs, until it is dropped. Needs root.
pub struct Mount(PathBuf);

impl Mount {
    /// Makes the directory and mounts it, with options such as `size=8m`.
    pub fn new(at: &Path, options: &str) -> Mount {
        fs::create_dir_all(at).expect("our own directory can be written to");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        run(mount).ok();
        Mount(at.into())
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        self.fill_but(0);
    }

    /// Fills it but for so many bytes.
    pub fn fill_but(&self, room: u64) {
        let file = File::create(self.0.join("other")).expect("a file");
        let mut size = 0;
        while let Ok(4096) = file.write_at(&[1; 4096], size) {
            size += 4096;
        }
        file.set_len(size.saturating_sub(room)).expect("our own file");
    }

    /// Removes the file that filled it.
    pub fn make_room(&self) {
        fs::remove_file(self.0.join("other")).expect("it was filled");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
