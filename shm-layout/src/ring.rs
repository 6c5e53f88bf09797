//! The ring's algorithm: one writer, any number of readers, a sequence lock for each slot.
//!
//! Every word is an atomic, so a race is a value that is discarded, never undefined behaviour.
//! Readers only load: their mapping is read-only, and there std promises relaxed loads alone, so
//! each ordering a reader needs is a fence of its own.
//!
//! A slot's sequence word states which event it holds: 0 = never written, `2n + 1` = event `n` is being
//! written, `2n + 2` = event `n` is complete. It only ever grows.
//!
//! The guards carry names (W1…W4 of the writer, R1…R5 of the reader); `ring/model.rs` proves the
//! algorithm, and that each guard is needed: without it, the proof fails.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering::*, fence};

/// One event of `N` words and the word that guards it: seven in the ring of events, so that a slot is one cache line, 63 in the
/// ring of names. The loom model has two, the smallest event that can be torn.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Slot<const N: usize> {
    sequence: AtomicU64,
    words: [AtomicU64; N],
}

#[cfg(any(loom, test))]
impl<const N: usize> Slot<N> {
    /// An empty slot, on the heap; the real ones are mapped, and zero bytes are an empty slot.
    pub(crate) fn new() -> Self {
        Slot { sequence: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

/// No ring reaches this number: at a thousand million events a second it takes a century. A greater one
/// comes from a damaged segment; limited to this, twice the number still fits a word.
pub(crate) const LAST: u64 = 1 << 62;

const fn writing(n: u64) -> u64 {
    2 * n + 1
}

const fn complete(n: u64) -> u64 {
    2 * n + 2
}

/// What a reader finds in the slot of event `n`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SlotRead<const N: usize> {
    /// Event `n`, whole.
    Event([u64; N]),
    /// Not published yet.
    NotYet,
    /// Overwritten, or being overwritten, by a later event.
    Gone,
    /// Published, and its slot was emptied since: the file was truncated.
    Emptied,
}

/// The slots and the number of events published so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring<'a, const N: usize> {
    slots: &'a [Slot<N>],
    head: &'a AtomicU64,
    first: u64,
}

impl<'a, const N: usize> Ring<'a, N> {
    /// `slots` must have a power of two as its length, which the caller has checked. No event before
    /// `first` was ever in these slots: they took over from a ring of another size.
    pub(crate) fn new(slots: &'a [Slot<N>], head: &'a AtomicU64, first: u64) -> Self {
        debug_assert!(slots.len().is_power_of_two());
        Ring { slots, head, first }
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&self, n: u64) -> &'a Slot<N> {
        &self.slots[n as usize & (self.slots.len() - 1)]
    }

    /// Events published so far, as last seen; the next one has this number.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Relaxed).min(LAST)
    }

    /// Publishes event `n`. Only one thread of one process may ever do this, with `n` = head.
    #[inline]
    pub(crate) fn publish(&self, n: u64, words: &[u64; N]) {
        let slot = self.slot(n);
        slot.sequence.store(writing(n), Relaxed); // W1: a reader that sees a new word finds this mark at R3
        fence(Release); // W2, pairs with R2
        for (to, word) in slot.words.iter().zip(words) {
            to.store(*word, Relaxed);
        }
        slot.sequence.store(complete(n), Release); // W3, pairs with R1
        self.head.store(n + 1, Release); // W4, pairs with R5
    }

    /// Looks for event `n`.
    #[inline]
    pub(crate) fn read(&self, n: u64) -> SlotRead<N> {
        let slot = self.slot(n);
        let mut before = slot.sequence.load(Relaxed);
        if before < complete(n) && n >= self.first {
            if self.head() <= n {
                return SlotRead::NotYet;
            }
            // Published meanwhile. If its slot does not show that now, it never will: it was emptied.
            fence(Acquire); // R5, pairs with W4
            before = slot.sequence.load(Relaxed);
            if before < complete(n) {
                return SlotRead::Emptied;
            }
        }
        if before != complete(n) {
            return self.gone(n);
        }
        fence(Acquire); // R1, pairs with W3
        let words = std::array::from_fn(|i| slot.words[i].load(Relaxed));
        fence(Acquire); // R2, pairs with W2
        if slot.sequence.load(Relaxed) != before {
            return SlotRead::Gone;
        } // R3: the re-check
        SlotRead::Event(words)
    }

    /// Whether event `n`, whose slot is at a later event, is really gone. A writer that has reached a
    /// later event in this slot has stored a head greater than `n`, which this fence makes visible (it
    /// pairs with W2 of the event before that one). Otherwise the slot is damaged, and event `n` is
    /// still to be published: a reader would go from one damaged slot to the next without end.
    #[cold]
    fn gone(&self, n: u64) -> SlotRead<N> {
        fence(Acquire);
        if self.head() > n { SlotRead::Gone } else { SlotRead::NotYet }
    }

    /// Whether reading event `n` gives something other than [`SlotRead::NotYet`].
    pub(crate) fn ready(&self, n: u64) -> bool {
        self.read(n) != SlotRead::NotYet
    }

    /// Where a reader continues whose event `n` is gone: at the oldest one still held, and in any case
    /// after `n`, because the slot proves that `n` is lost even if the head seen here is stale.
    pub(crate) fn oldest_after(&self, n: u64) -> u64 {
        self.held_from(self.oldest().max(n + 1)) // R4: never stay on a lost event
    }

    /// The oldest event still held. The writer may overwrite it at any moment.
    pub(crate) fn oldest(&self) -> u64 {
        let head = self.head();
        let oldest = head.saturating_sub(self.capacity()).max(self.first.min(LAST));
        // An event that the writer is overwriting at this moment is already gone; a future one is not.
        let gone = oldest < head && self.slot(oldest).sequence.load(Relaxed) > complete(oldest);
        self.held_from(oldest + u64::from(gone))
    }

    /// Whether the slot of the newest event, which has this number, was emptied.
    pub(crate) fn is_emptied(&self, newest: u64) -> bool {
        self.slot(newest).sequence.load(Relaxed) < complete(newest)
    }

    /// The first event from `n` on whose slot was not emptied, which only a truncation of the file does.
    fn held_from(&self, n: u64) -> u64 {
        let head = self.head();
        fence(Acquire); // pairs with W4: the slots of these events are at them or later ones
        let is_empty = |n: &u64| self.slot(*n).sequence.load(Relaxed) < complete(*n);
        n + (n..head).take_while(is_empty).count() as u64
    }

    /// The number of the next event. A writer that was killed may have completed one, which readers
    /// may have read, without storing the head.
    pub(crate) fn end(&self) -> u64 {
        let mut end = self.head();
        while self.slot(end).sequence.load(Relaxed) == complete(end) {
            end += 1;
        }
        end
    }

    /// For a writer that takes over: stores the number of the next event in the head, and returns it.
    pub(crate) fn recover(&self) -> u64 {
        let end = self.end();
        self.head.store(end, Release);
        end
    }
}

#[cfg(all(test, loom))]
mod model;

#[cfg(all(test, not(loom)))]
mod tests;
