//! Whether an interface is captured, as a word of the header.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whether a collector captures an interface, and if not, why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum CaptureState {
    /// Its collector does not capture it, and need not.
    #[default]
    None = 0,
    /// It is captured, and up.
    Captured = 1,
    /// It is down.
    Down = 2,
    /// It is up, and without a carrier: its cable is out, or the other end is down.
    NoCarrier = 3,
    /// There is no such interface.
    Absent = 4,
    /// It is there, and cannot be opened.
    NotOpened = 5,
    /// Its unit is enabled, and no collector runs for it.
    NotRunning = 6,
}

impl CaptureState {
    /// A number that is not known, of a later version or in a damaged segment, is none.
    pub(crate) fn from_word(word: &AtomicU64) -> CaptureState {
        use CaptureState::*;
        let all = [Captured, Down, NoCarrier, Absent, NotOpened, NotRunning];
        let word = word.load(Relaxed);
        all.into_iter().find(|state| *state as u64 == word).unwrap_or_default()
    }
}
