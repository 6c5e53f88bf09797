//! What a ring can hold: events, or names. Both rings have the same algorithm, header and files.

use std::fmt::Debug;

use crate::{Counter, Event, NameCounter, NameRecord, UnknownEvent};

/// Words of an event: with its sequence word it fills one cache line.
pub(crate) const EVENT_WORDS: usize = 7;
/// Words of a record of names: with its sequence word it fills eight cache lines.
pub(crate) const NAME_WORDS: usize = 63;

/// The magic number of a ring whose slots have so many words. A reader of events refuses a ring of names, and the other way
/// round.
pub(crate) const fn magic(words: usize) -> u64 {
    match words {
        EVENT_WORDS => u64::from_ne_bytes(*b"ADDRWTCH"),
        NAME_WORDS => u64::from_ne_bytes(*b"ADDRNAME"),
        _ => 0,
    }
}

/// The version of the layout of a ring whose slots have so many words. A different one makes a new segment with a new generation.
/// Version 1 of the ring of names, with slots of 256 bytes, was in no release.
pub(crate) const fn layout_version(words: usize) -> u64 {
    if words == NAME_WORDS { 2 } else { 1 }
}

/// What one slot of a ring holds, in `N` words.
pub trait Record<const N: usize>: Copy + Debug {
    /// What is counted for each interface in this ring's header.
    type Counter: CounterSet;

    /// Its words in the ring.
    fn pack(&self) -> [u64; N];

    /// From its words; an error if this program does not know its kind.
    fn unpack(words: &[u64; N]) -> Result<Self, UnknownEvent>;
}

/// The counters of a ring's header.
pub trait CounterSet: Copy + 'static {
    /// What was processed.
    const SEEN: Self;
    /// What became a record of the ring.
    const PUBLISHED: Self;
    /// What was being processed when the writer was killed.
    const INTERRUPTED: Self;
    /// What the kernel dropped before it was seen, if that is counted.
    const DROPPED: Option<Self>;

    /// All counters, in the order of the layout.
    fn all() -> &'static [Self];

    /// The counter's place among an interface's counters.
    fn index(self) -> usize;

    /// Whether it is one of the outcomes, whose sum is what was seen.
    fn is_outcome(self) -> bool;
}

impl Record<EVENT_WORDS> for Event {
    type Counter = Counter;

    #[inline]
    fn pack(&self) -> [u64; EVENT_WORDS] {
        Event::pack(self)
    }

    #[inline]
    fn unpack(words: &[u64; EVENT_WORDS]) -> Result<Self, UnknownEvent> {
        Event::unpack(words)
    }
}

impl Record<NAME_WORDS> for NameRecord {
    type Counter = NameCounter;

    fn pack(&self) -> [u64; NAME_WORDS] {
        NameRecord::pack(self)
    }

    fn unpack(words: &[u64; NAME_WORDS]) -> Result<Self, UnknownEvent> {
        NameRecord::unpack(words)
    }
}

impl CounterSet for Counter {
    const SEEN: Self = Counter::Seen;
    const PUBLISHED: Self = Counter::Published;
    const INTERRUPTED: Self = Counter::Interrupted;
    const DROPPED: Option<Self> = Some(Counter::KernelDropped);

    fn all() -> &'static [Self] {
        Counter::ALL
    }

    #[inline]
    fn index(self) -> usize {
        self as usize
    }

    fn is_outcome(self) -> bool {
        Counter::is_outcome(self)
    }
}

impl CounterSet for NameCounter {
    const SEEN: Self = NameCounter::Seen;
    const PUBLISHED: Self = NameCounter::Published;
    const INTERRUPTED: Self = NameCounter::Interrupted;
    const DROPPED: Option<Self> = None;

    fn all() -> &'static [Self] {
        NameCounter::ALL
    }

    #[inline]
    fn index(self) -> usize {
        self as usize
    }

    fn is_outcome(self) -> bool {
        NameCounter::is_outcome(self)
    }
}
