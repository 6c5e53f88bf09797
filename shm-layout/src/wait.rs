//! How a reader waits for events: on the futex word of each ring.

use std::{
    num::NonZeroU32,
    sync::atomic::{Ordering::*, fence},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    thread::{
        futex::{self, Wait, WaitFlags, WaitvFlags},
        nanosleep,
    },
    time::{ClockId, Timespec},
};

use crate::{Record, RingReader};

/// The bits of readers that wait for the next batch, and of those that gather events. A reader that waits with all bits, as
/// those of earlier releases, and a writer of one, which wakes all readers, work with both.
pub(crate) const FOLLOWING_READERS: NonZeroU32 = NonZeroU32::new(1).unwrap();
const GATHERING_READERS: NonZeroU32 = NonZeroU32::new(2).unwrap();
pub(crate) const ALL_READERS: NonZeroU32 = NonZeroU32::MAX;

/// So many events wake a reader that gathers them. With those that were there before, it is then an eighth of the ring and
/// a batch behind at most.
pub(crate) fn part(slots: u64) -> u64 {
    (slots / 16).max(1)
}

/// Waits while events are gathered: until the time is over, a signal arrives, or a part of the ring was written. The reader of one
/// ring is not woken for each batch; a reader of several is.
pub fn gather<T: Record<N>, const N: usize>(readers: &[&RingReader<T, N>], timeout: Duration) {
    let [reader] = readers else { return wait_any(readers, timeout) };
    let word = reader.wake_word();
    let seen = word.load(Relaxed);
    fence(Acquire); // pairs with the release in `segment::wake`
    if reader.has_gathered() {
        return;
    }
    // As below; the time is that of the clock at which it is over.
    let (flags, until) = (futex::Flags::empty(), deadline(timeout));
    let _ = futex::wait_bitset(word, flags, seen, Some(&until), GATHERING_READERS);
}

/// As [`RingReader::wait`], for several rings at once.
pub fn wait_any<T: Record<N>, const N: usize>(readers: &[&RingReader<T, N>], timeout: Duration) {
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
        [] => drop(nanosleep(&timespec(timeout))),
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
            let until = deadline(timeout);
            let woken = futex::waitv(&waits, WaitvFlags::empty(), Some(&until), ClockId::Monotonic);
            if matches!(woken, Err(Errno::NOSYS | Errno::PERM | Errno::INVAL)) {
                poll_often(readers, timeout); // Linux before 5.16, or a sandbox without futex_waitv
            }
        }
    }
}

fn poll_often<T: Record<N>, const N: usize>(readers: &[&RingReader<T, N>], timeout: Duration) {
    let end = Instant::now() + timeout;
    while Instant::now() < end && !readers.iter().any(|reader| reader.is_ready()) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn deadline(timeout: Duration) -> Timespec {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + timeout)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
