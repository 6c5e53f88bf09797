//! Rings with unique names, which are deleted at the end of the test.

use std::{
    fs,
    ops::Deref,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use shm_layout::RingName;

pub struct Ring(RingName);

impl Ring {
    pub fn new() -> Ring {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("/aw-shm-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        Ring(name.parse().unwrap())
    }
}

impl Deref for Ring {
    type Target = RingName;

    fn deref(&self) -> &RingName {
        &self.0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for suffix in ["", ".lock", ".new", ".names", ".names.lock", ".names.new"] {
            let _ = fs::remove_file(format!("/dev/shm{}{suffix}", self.0));
        }
    }
}
