//! Whether an interface is captured, and whether broadcasts arrive at it, as words of the header.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::UnixTime;

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

/// Whether ARP broadcasts of other hosts arrive at an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum BroadcastState {
    /// Not known since the collector started.
    #[default]
    Unknown = 0,
    /// They arrived since then.
    Arriving = 1,
    /// They do not: three other hosts or more were answered whose questions did not arrive, and for an hour no broadcast did.
    Missing = 2,
}

impl BroadcastState {
    /// The bits of a time that have the state.
    const BITS: u64 = 3;

    /// The word with this state, and with the time of another one.
    pub(crate) fn with_time(self, time: u64) -> u64 {
        time & !Self::BITS | self as u64
    }

    /// The state, and the time of the last broadcast; a number of a later version is not known.
    pub(crate) fn from_word(word: u64) -> (BroadcastState, Option<UnixTime>) {
        use BroadcastState::*;
        let (state, time) = (word & Self::BITS, word & !Self::BITS);
        let state = [Arriving, Missing].into_iter().find(|one| *one as u64 == state);
        (state.unwrap_or_default(), (time != 0).then(|| UnixTime::from_nanos(time as i64)))
    }
}
