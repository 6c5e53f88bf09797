//! A wall clock that can be set while programs run: libfaketime's, which reads it from a file.

use crate::rig::skip;
use crate::ring::Ring;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The clock of some programs; the machine's is not touched.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

/// Where libfaketime is, if it is installed.
pub fn library() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").expect("it can be listed").flatten();
    let mut paths = libraries.map(|it| it.path().join("faketime/libfaketime.so.1"));
    paths.find(|path| path.exists())
}

impl Clock {
    /// A correct clock. Its file is among the ring's, where every program may read it, and is removed with them.
    pub fn new(ring: &Ring) -> Option<Clock> {
        let Some(library) = library() else {
            skip("there is no libfaketime here (faketime)");
            return None;
        };
        let clock = Clock { library, file: format!("{}.clock", ring.path().display()).into() };
        clock.set(0);
        Some(clock)
    }

    /// Makes it wrong by this many days.
    pub fn set(&self, days: i64) {
        self.set_hours(days * 24);
    }

    /// Makes it wrong by this many hours.
    pub fn set_hours(&self, hours: i64) {
        let new = self.file.with_extension("clock.new"); // never half a file
        fs::write(&new, format!("{hours:+}h\n")).expect("room in /dev/shm");
        fs::rename(&new, &self.file).expect("our own file");
    }

    /// Gives it to a program that is not started yet.
    pub fn give(&self, command: &mut Command) {
        self.give_all(command);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// The same, with the monotonic clock: time goes by when it is set forward.
    pub fn give_all(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library);
        command.env("FAKETIME_TIMESTAMP_FILE", &self.file).env("FAKETIME_NO_CACHE", "1");
    }
}

/// Removes files that libfaketime leaves behind when a process was killed, or may not remove them.
pub fn clean_up(id: u32) {
    for file in [format!("faketime_shm_{id}"), format!("sem.faketime_sem_{id}")] {
        let _ = fs::remove_file(Path::new("/dev/shm").join(file));
    }
}
