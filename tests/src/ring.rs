//! Rings with unique names, whose files are removed with the test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A unique ring name; its files in /dev/shm are removed with it.
pub struct Ring(String);

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl Ring {
    /// A new name.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ring(format!("/aw-test-{}-{number:04}", std::process::id()))
    }

    /// As an argument of `--ring`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The segment's file.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm{}", self.0))
    }

    /// All files in /dev/shm that belong to this ring: segment, lock, incomplete segments.
    pub fn files(&self) -> Vec<PathBuf> {
        let listing = std::fs::read_dir("/dev/shm").expect("/dev/shm can be listed");
        listing
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().contains(&self.0[1..]))
            .collect()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for file in self.files() {
            let _ = std::fs::remove_file(file);
        }
    }
}
