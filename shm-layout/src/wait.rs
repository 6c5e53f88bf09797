//! How a reader waits for events: on the futex word of each ring.

use std::{
    sync::atomic::{Ordering::*, fence},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    thread::futex::{self, Wait, WaitFlags, WaitvFlags},
    time::{ClockId, Timespec},
};

use crate::Reader;

/// As [`Reader::wait`], for several rings at once.
pub fn wait_any(readers: &[&Reader], timeout: Duration) {
    // The word is loaded before the rings are checked: if an event arrives after the check, the kernel
    // finds the word changed and does not sleep.
    let words = readers.iter().map(|reader| reader.wake_word());
    let seen: Vec<_> = words.map(|word| (word, word.load(Relaxed))).collect();
    fence(Acquire); // pairs with the release in `segment::wake`
    if readers.iter().any(|reader| reader.is_ready()) {
        return;
    }
    // Every error means "check again": the word changed, a signal arrived, or the time is over.
    match seen.as_slice() {
        [] => std::thread::sleep(timeout),
        [(word, value)] => {
            let timeout = timespec(timeout);
            let _ = futex::wait(word, futex::Flags::empty(), *value, Some(&timeout));
        }
        several => {
            let waits: Vec<_> = several
                .iter()
                .map(|(word, value)| {
                    let mut wait = Wait::new();
                    wait.val = u64::from(*value);
                    wait.uaddr = futex::WaitPtr::new(std::ptr::from_ref(*word).cast_mut().cast());
                    wait.flags = WaitFlags::SIZE_U32;
                    wait
                })
                .collect();
            let now = rustix::time::clock_gettime(ClockId::Monotonic);
            let until = timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + timeout);
            let woken = futex::waitv(&waits, WaitvFlags::empty(), Some(&until), ClockId::Monotonic);
            if matches!(woken, Err(Errno::NOSYS | Errno::PERM | Errno::INVAL)) {
                poll_often(readers, timeout); // Linux before 5.16, or a sandbox without futex_waitv
            }
        }
    }
}

fn poll_often(readers: &[&Reader], timeout: Duration) {
    let end = Instant::now() + timeout;
    while Instant::now() < end && !readers.iter().any(|reader| reader.is_ready()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
