//! Notices at once that a ring appeared for which an output waits: a replay may overwrite its first events within a second.

use std::{
    ffi::OsStr,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
};
use shm_layout::RingName;

/// While some rings are read, and others are missing, it is looked for these so often, for so long: at boot, all collectors start.
const OFTEN: Duration = Duration::from_millis(100);
const AT_FIRST: Duration = Duration::from_secs(60);
/// The least time between two looks. Any user may rename files in that directory, as often as the machine allows.
const LEAST: Duration = Duration::from_millis(20);

/// The system reports here that a file of the rings' directory got its name.
pub(crate) struct RingWatch {
    inotify: OwnedFd,
    /// The files of all rings.
    files: Vec<PathBuf>,
    since: Instant,
    is_new: bool,
    looked_at: Option<Instant>,
    woken_at: Option<Instant>,
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
        let files = rings.iter().map(RingName::path).collect();
        let (is_new, looked_at, woken_at) = (false, None, None);
        Some(RingWatch { inotify, files, since: Instant::now(), is_new, looked_at, woken_at })
    }

    /// Whether one of the rings may have appeared since it was true the last time. What is not read now is read by a later call.
    pub fn take_news(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let is_ring = event.file_name().is_some_and(|name| {
                let name = Some(OsStr::from_bytes(name.to_bytes()));
                self.files.iter().any(|file| file.file_name() == name)
            });
            self.is_new |= is_ring || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            if reader.is_buffer_empty() {
                break;
            }
        }
        let is_due = self.looked_at.is_none_or(|at| at.elapsed() >= LEAST);
        if self.is_new && is_due {
            (self.is_new, self.looked_at) = (false, Some(Instant::now()));
            return true;
        }
        false
    }

    /// Sleeps until a file appears, a signal arrives, or the time is over; a little longer if another file appeared just before.
    pub fn wait(&mut self, timeout: Duration) {
        let timeout = if self.is_new { timeout.min(LEAST) } else { timeout };
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout));
        if ready.is_ok_and(|ready| ready > 0) {
            let since = self.woken_at.map_or(LEAST, |at| at.elapsed());
            thread::sleep(LEAST.saturating_sub(since));
            self.woken_at = Some(Instant::now());
        }
    }

    /// The longest sleep of an output that reads other rings meanwhile.
    pub fn pause(&self) -> Duration {
        if self.since.elapsed() < AT_FIRST { OFTEN } else { Duration::MAX }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use shm_layout::{Writer, WriterOptions};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn ring(what: &str) -> RingName {
        format!("/aw-test-{what}-{}", std::process::id()).parse().unwrap()
    }

    fn watch(name: &RingName) -> RingWatch {
        RingWatch::begin(std::slice::from_ref(name)).unwrap()
    }

    /// Until it is news; other tests create rings, too.
    fn wait_for_news(watch: &mut RingWatch) {
        while !watch.take_news() {
            watch.wait(LONG);
        }
    }

    #[test]
    fn a_ring_that_appears_ends_the_wait() {
        let name = ring("appears");
        let mut watch = watch(&name);
        watch.wait(Duration::ZERO);
        assert!(!watch.take_news(), "it is not there");
        let options = WriterOptions { name: name.clone(), slots: 8, group: None, host: None };
        let writer = Writer::create(&options).unwrap();
        wait_for_news(&mut watch);
        assert!(!watch.take_news(), "once");
        assert!(RingWatch::begin(std::slice::from_ref(&name)).is_none(), "all are there");
        drop(writer);
        fs::remove_file(name.path()).unwrap();
        let _ = fs::remove_file(format!("{}.lock", name.path().display()));
    }

    /// Files of other names are no news, and a flood of them neither hides the ring nor is it read at once.
    #[test]
    fn files_of_other_users() {
        let name = ring("flood");
        let (path, mut watch) = (name.path(), watch(&name));
        let [from, to, other] = ["a", "b", "c"].map(|end| path.with_extension(end));
        let rename = |from: &Path, to: &Path| {
            fs::write(from, "").unwrap();
            fs::rename(from, to).unwrap();
        };
        rename(&from, &to);
        watch.wait(LONG);
        assert!(!watch.take_news(), "another name");
        // Not the same one twice, of which the system makes one event.
        for _ in 0..500 {
            rename(&from, &to);
            rename(&from, &other);
        }
        rename(&from, &path);
        let mut turns = 0;
        while !watch.take_news() {
            watch.wait(LONG);
            turns += 1;
        }
        assert!(turns > 3, "{turns}: each reads a part only");
        // Also the ring's own name: what comes at once is one look, and is not forgotten.
        rename(&from, &path);
        let looked_at = watch.looked_at;
        let is_at_once = watch.take_news();
        assert!(!is_at_once || looked_at.unwrap().elapsed() >= LEAST);
        if !is_at_once {
            assert!(watch.is_new);
            wait_for_news(&mut watch);
        }
        for file in [path, to, other] {
            fs::remove_file(file).unwrap();
        }
    }
}
