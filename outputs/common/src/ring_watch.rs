//! Notices at once that a ring appeared for which an output waits: a replay may overwrite its first events within a second.

use std::{
    mem::MaybeUninit,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, Reader, WatchFlags},
};
use shm_layout::RingName;

/// While some rings are read, and others are missing, it is looked for these so often, for so long: at boot, all collectors start.
const OFTEN: Duration = Duration::from_millis(100);
const AT_FIRST: Duration = Duration::from_secs(60);

/// The system reports here that a file of the rings' directory got its name.
pub(crate) struct RingWatch {
    inotify: OwnedFd,
    since: Instant,
}

impl RingWatch {
    /// Begins before system calls are restricted. None if all rings exist, or the system allows no more of it: a missing ring is
    /// then looked for once a second.
    pub fn begin(rings: &[RingName]) -> Option<RingWatch> {
        let missing = rings.iter().find(|ring| ring.path().symlink_metadata().is_err())?;
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        // A ring is complete before it gets its name.
        let flags = WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, missing.path().parent()?, flags).ok()?;
        Some(RingWatch { inotify, since: Instant::now() })
    }

    /// Whether a file appeared since the last call.
    pub fn has_news(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut has_news = false;
        while reader.next().is_ok() {
            has_news = true;
        }
        has_news
    }

    /// Sleeps until a file appears, a signal arrives, or the time is over.
    pub fn wait(&self, timeout: Duration) {
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout));
    }

    /// The longest sleep of an output that reads other rings meanwhile.
    pub fn pause(&self) -> Duration {
        if self.since.elapsed() < AT_FIRST { OFTEN } else { Duration::MAX }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use shm_layout::{Writer, WriterOptions};

    use super::*;

    #[test]
    fn a_ring_that_appears_ends_the_wait() {
        let name: RingName = format!("/aw-test-appears-{}", std::process::id()).parse().unwrap();
        let watch = RingWatch::begin(std::slice::from_ref(&name)).unwrap();
        let options = WriterOptions { name: name.clone(), slots: 8, group: None, host: None };
        let writer = thread::spawn(move || Writer::create(&options).unwrap());
        // Other tests create rings, too.
        while name.path().symlink_metadata().is_err() {
            watch.wait(Duration::from_secs(3600));
            assert!(watch.has_news());
        }
        assert!(RingWatch::begin(std::slice::from_ref(&name)).is_none(), "all are there");
        drop(writer.join());
        std::fs::remove_file(name.path()).unwrap();
        let _ = std::fs::remove_file(format!("{}.lock", name.path().display()));
    }
}
