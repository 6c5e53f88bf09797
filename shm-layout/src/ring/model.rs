//! The ring under `loom`: every interleaving of one writer with one reader with at most three
//! preemptions, and every stale value that the memory model allows a relaxed load to see. (Without that bound a run takes more than ten minutes.)
//!
//! `tests/loom.sh` runs this, then removes each guard (W1…W4, R1…R5) in turn and runs it again: each
//! time the model must fail; otherwise the guard is not needed, or the model does not test it.

use loom::{sync::Arc, sync::atomic::AtomicU64, thread};

use super::{Ring, Slot, SlotRead};

/// Two slots, full before the race begins; then two more events overwrite them.
const SLOTS: usize = 2;
const EVENTS: u64 = 4;

struct Memory {
    slots: [Slot<2>; SLOTS],
    head: AtomicU64,
}

impl Memory {
    fn ring(&self) -> Ring<'_, 2> {
        Ring::new(&self.slots, &self.head, 0)
    }
}

/// Both words contain the number, so that a torn event is detected.
fn event(n: u64) -> [u64; 2] {
    [100 + n, 200 + n]
}

#[test]
fn no_event_is_torn_and_each_is_read_or_counted_lost() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memory = Arc::new(Memory {
            slots: std::array::from_fn(|_| Slot::new()),
            head: AtomicU64::new(0),
        });
        for n in 0..2 {
            memory.ring().publish(n, &event(n));
        }
        let writer = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                for n in 2..EVENTS {
                    memory.ring().publish(n, &event(n));
                }
            })
        };
        let mut next = 0;
        let mut read = 0;
        let mut lost = 0;
        let mut look = || {
            let found = memory.ring().read(next);
            match found {
                SlotRead::Event(words) => {
                    assert_eq!(words, event(next), "torn event");
                    read += 1;
                    next += 1;
                }
                SlotRead::NotYet => return false,
                SlotRead::Gone | SlotRead::Emptied => {
                    let to = memory.ring().oldest_after(next);
                    assert!(to > next, "stays on a lost event");
                    assert!(to <= EVENTS - SLOTS as u64, "the last events stay readable");
                    lost += to - next;
                    next = to;
                }
            }
            assert_eq!(read + lost, next);
            assert!(next <= EVENTS, "an event that was never published");
            true
        };
        for _ in 0..3 {
            look();
        }
        writer.join().unwrap();
        while look() {}
        assert_eq!(read + lost, EVENTS, "the last events stay readable");
    });
}
