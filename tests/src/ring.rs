//! Rings with unique names, whose files are removed with the test.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

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

    /// Moves the last heartbeat of a ring without a writer back, by the clock that is never set.
    pub fn beat_earlier(&self, time: Duration) {
        const BEAT_SINCE_BOOT: u64 = 2432; // see addrwatch-ring(5)
        let file = File::options().read(true).write(true).open(self.path()).unwrap();
        let mut word = [0; 8];
        file.read_exact_at(&mut word, BEAT_SINCE_BOOT).unwrap();
        let earlier = u64::from_ne_bytes(word) - time.as_nanos() as u64;
        file.write_all_at(&earlier.to_ne_bytes(), BEAT_SINCE_BOOT).unwrap();
    }

    /// Moves all that is known of killed collectors back, by the clock that is never set.
    pub fn kills_earlier(&self, time: Duration) {
        const KILLS: u64 = 3992; // see addrwatch-ring(5)
        let file = File::options().read(true).write(true).open(self.path()).unwrap();
        for place in (KILLS..KILLS + 96).step_by(8) {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, place).unwrap();
            let earlier = u64::from_ne_bytes(word).saturating_sub(time.as_nanos() as u64);
            file.write_all_at(&earlier.to_ne_bytes(), place).unwrap();
        }
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
