//! The ring under `loom`: every interleaving of one writer with one reader in which they are
//! switched at most three times against their will, and every stale value that the memory model
//! lets a relaxed load see. (Without that bound a run takes more than ten minutes.)
//!
//! `tests/loom.sh` runs this, then takes each guard (W1…W3, R1…R4) away in turn and runs it again:
//! each time the model must fail, or the guard or this model is not worth its lines.

use loom::{sync::Arc, sync::atomic::AtomicU64, thread};

use super::{Found, Ring, Slot, Words};

/// Two slots, full before the race begins; then two more events overwrite them.
const SLOTS: usize = 2;
const EVENTS: u64 = 4;

struct Memory {
    slots: [Slot; SLOTS],
    head: AtomicU64,
}

impl Memory {
    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.slots, &self.head, 0)
    }
}

/// Both words tell the number, so that a torn event shows.
fn event(n: u64) -> Words {
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
                Found::Event(words) => {
                    assert_eq!(words, event(next), "torn event");
                    read += 1;
                    next += 1;
                }
                Found::NotYet => return false,
                Found::Gone => {
                    let to = memory.ring().oldest_after(next);
                    assert!(to > next, "stays on a lost event");
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
