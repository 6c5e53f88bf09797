//! The states in which a killed writer may leave the ring. The slots are those of names, the widest.

use super::*;

const WORDS: usize = 63;

struct Memory {
    slots: Vec<Slot<WORDS>>,
    head: AtomicU64,
}

impl Memory {
    /// Four slots, so many events published.
    fn with(events: u64) -> Self {
        let memory =
            Memory { slots: (0..4).map(|_| Slot::new()).collect(), head: AtomicU64::new(0) };
        for n in 0..events {
            memory.ring().publish(n, &event(n));
        }
        memory
    }

    fn ring(&self) -> Ring<'_, WORDS> {
        Ring::new(&self.slots, &self.head, 0)
    }
}

fn event(n: u64) -> [u64; WORDS] {
    [n; WORDS]
}

#[test]
fn in_order_then_nothing() {
    let memory = Memory::with(3);
    for n in 0..3 {
        assert_eq!(memory.ring().read(n), SlotRead::Event(event(n)));
    }
    assert_eq!(memory.ring().read(3), SlotRead::NotYet);
    assert!(!memory.ring().ready(3));
}

#[test]
fn exactly_the_overwritten_are_lost() {
    let memory = Memory::with(11);
    let ring = memory.ring();
    assert_eq!(ring.read(0), SlotRead::Gone);
    assert_eq!(ring.oldest_after(0), 7);
    for n in 7..11 {
        assert_eq!(ring.read(n), SlotRead::Event(event(n)));
    }
}

/// Slots whose sequence is that of later events than were ever published: a reader comes to the end,
/// sleeps, and reads what is published then.
#[test]
fn damaged_slots_hide_no_later_event() {
    for sequence in [complete(40), writing(1 << 50), u64::MAX] {
        let memory = Memory::with(6);
        let ring = memory.ring();
        for slot in &memory.slots {
            slot.sequence.store(sequence, Relaxed);
        }
        let mut n = ring.oldest();
        while ring.read(n) == SlotRead::Gone {
            n = ring.oldest_after(n);
            assert!(n <= 6);
        }
        assert_eq!((n, ring.read(n), ring.ready(n)), (6, SlotRead::NotYet, false));
        assert_eq!((ring.oldest(), ring.end()), (3, 6));
        ring.publish(6, &event(6));
        assert_eq!(ring.read(6), SlotRead::Event(event(6)));
    }
}

/// Slots of zeros, as a truncation of the file leaves them: exactly their events are lost, and none is waited for.
#[test]
fn emptied_slots_are_gone() {
    for published in [4, 6, 7] {
        for emptied in 0..16_u64 {
            let memory = Memory::with(published);
            let ring = memory.ring();
            let held: Vec<u64> =
                (published - 4..published).filter(|n| emptied >> (n % 4) & 1 == 0).collect();
            for (at, slot) in memory.slots.iter().enumerate() {
                if emptied >> at & 1 == 1 {
                    slot.sequence.store(0, Relaxed);
                }
            }
            let (mut n, mut read) = (0, Vec::new());
            loop {
                assert_eq!(ring.ready(n), n < published);
                n = match ring.read(n) {
                    SlotRead::Event(words) => {
                        assert_eq!(words, event(n));
                        read.push(n);
                        n + 1
                    }
                    SlotRead::Gone | SlotRead::Emptied => ring.oldest_after(n),
                    SlotRead::NotYet => break,
                };
            }
            assert_eq!((n, &read), (published, &held));
            assert_eq!(ring.oldest(), held.first().copied().unwrap_or(published));
            ring.publish(n, &event(n));
            assert_eq!(ring.read(n), SlotRead::Event(event(n)));
        }
    }
}

#[test]
fn killed_before_the_head_was_stored() {
    for events in [0, 1, 3, 4, 5, 9] {
        let memory = Memory::with(events + 1);
        memory.head.store(events, Relaxed); // the last store of `publish` never happened
        assert_eq!(
            memory.ring().read(events),
            SlotRead::Event(event(events)),
            "readers have read it"
        );
        assert_eq!(memory.ring().recover(), events + 1, "so it keeps its number");
        assert_eq!(memory.ring().head(), events + 1);
    }
}

#[test]
fn killed_in_the_middle_of_an_event() {
    for events in [0, 1, 3, 4, 5, 9] {
        let memory = Memory::with(events);
        let ring = memory.ring();
        let slot = ring.slot(events);
        slot.sequence.store(writing(events), Relaxed);
        slot.words[0].store(77, Relaxed);
        assert_eq!(ring.read(events), SlotRead::NotYet, "half an event is not read");
        assert_eq!(ring.recover(), events, "the next writer writes it again");
        let oldest = ring.oldest();
        assert_eq!(oldest, (events + 1).saturating_sub(4), "its slot's old event is gone");
        for n in oldest..events {
            assert_eq!(ring.read(n), SlotRead::Event(event(n)));
        }
        if let Some(overwritten) = events.checked_sub(4) {
            assert_eq!(ring.read(overwritten), SlotRead::Gone);
            assert_eq!(ring.oldest_after(overwritten), overwritten + 1);
        }
        ring.publish(events, &event(events));
        assert_eq!(ring.read(events), SlotRead::Event(event(events)));
    }
}

#[test]
fn events_before_the_first_are_gone_and_not_waited_for() {
    let memory = Memory::with(0);
    memory.head.store(10, Relaxed);
    let ring = Ring::new(&memory.slots, &memory.head, 10);
    ring.publish(10, &event(10));
    assert_eq!(ring.oldest(), 10);
    for n in [0, 6, 9] {
        assert_eq!(ring.read(n), SlotRead::Gone);
        assert!(ring.ready(n));
        assert_eq!(ring.oldest_after(n), 10);
    }
    assert_eq!(ring.read(10), SlotRead::Event(event(10)));
}
