//! How much an output has queued on disk while its destination is down.

use crate::feed::{numbered_capture, reading_collector};
use crate::rig::{run_with, wait_until};
use crate::ring::Ring;
use rusqlite::Connection;
use std::ops::Range;
use std::path::Path;

/// The number of queued events. The spool is locked by the output, so a copy is read; 0 if the copy is of a moment in a write.
pub fn queued(spool: &Path) -> u64 {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let copy = directory.path().join("spool");
    for end in ["", "-wal"] {
        let file = |path: &Path| format!("{}{end}", path.display());
        let _ = std::fs::copy(file(spool), file(&copy));
    }
    let count = "SELECT count(*) FROM piece WHERE length(event) > 0";
    let counted = Connection::open(&copy)
        .and_then(|copy| copy.query_row(count, [], |row| row.get::<_, i64>(0)));
    counted.map_or(0, |number| number as u64)
}

/// Publishes these numbers to a ring of this size while the output queues all of them, and waits for each part: the ring is
/// overwritten, and no reader is too slow for it.
#[track_caller]
pub fn publish_while_down(ring: &Ring, slots: u32, numbers: Range<u32>, spool: &Path) {
    let first = numbers.start;
    for begin in numbers.clone().step_by(slots as usize / 2) {
        let part = begin..numbers.end.min(begin + slots / 2);
        let queued_then = u64::from(part.end - first);
        let collector = reading_collector(ring, &["-q", "-L", &slots.to_string()]);
        run_with(collector, &numbered_capture(part)).ok();
        wait_until("they are queued", || queued(spool) == queued_then);
    }
}
