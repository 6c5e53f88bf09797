//! The saved position of an output in the stream of a ring, with counts that always add up.

use shm_layout::{Event, Position};

/// The progress of one output in the stream of one ring: every event from `began` up to but not
/// including `next()` is counted in exactly one of `delivered`, `lost` and `skipped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The generation of the stream.
    pub generation: u64,
    /// The number of the first event that is counted.
    pub began: u64,
    /// Events that the sink confirmed.
    pub delivered: u64,
    /// Events that the collector overwrote before they were read.
    pub lost: u64,
    /// Events of kinds that this release does not know.
    pub skipped: u64,
}

impl Checkpoint {
    /// A checkpoint that begins with this event.
    pub fn begin(at: Position) -> Checkpoint {
        let Position { generation, sequence } = at;
        Checkpoint { generation, began: sequence, delivered: 0, lost: 0, skipped: 0 }
    }

    /// The number of the next event to deliver.
    pub fn next(&self) -> u64 {
        self.began + self.delivered + self.lost + self.skipped
    }

    /// As signed numbers, for the columns of a database.
    pub fn columns(&self) -> [i64; 5] {
        let Checkpoint { generation, began, delivered, lost, skipped } = *self;
        [generation, began, delivered, lost, skipped].map(|number| number as i64)
    }

    /// The reverse of [`Checkpoint::columns`]. None if the numbers are not those of a checkpoint.
    pub fn from_columns(columns: [i64; 5]) -> Option<Checkpoint> {
        let [generation, began, delivered, lost, skipped] = columns.map(|number| number as u64);
        let sum = [delivered, lost, skipped].into_iter().try_fold(began, u64::checked_add);
        sum.map(|_| Checkpoint { generation, began, delivered, lost, skipped })
    }

    /// The position of the next event to deliver.
    pub fn position(&self) -> Position {
        Position { generation: self.generation, sequence: self.next() }
    }

    /// The delivered events that this one counts, and `base` does not. Of another stream, that is all of them.
    pub(crate) fn not_in(&self, base: &Checkpoint) -> u64 {
        if base.generation != self.generation {
            return self.delivered;
        }
        let more = self.next().saturating_sub(base.next());
        more.min(self.delivered.saturating_sub(base.delivered))
    }

    /// Whether this item, and so every item before it, is counted already.
    pub(crate) fn includes(&self, item: &StreamItem) -> bool {
        item.at.generation == self.generation && item.end() <= self.next()
    }

    /// The checkpoint `before`, if any, advanced by this item.
    pub(crate) fn after(before: Option<Checkpoint>, item: &StreamItem) -> Checkpoint {
        let begin = |sequence| Checkpoint::begin(Position { sequence, ..item.at });
        let mut checkpoint = match before {
            _ if item.kind == ItemKind::Restart => return begin(item.at.sequence),
            // Each has its own generation.
            Some(checkpoint) if item.kind == ItemKind::Message => {
                Checkpoint { generation: item.at.generation, ..checkpoint }
            }
            Some(checkpoint) if checkpoint.generation == item.at.generation => checkpoint,
            Some(_) => begin(0), // another stream, which is read from its first event
            None => begin(item.at.sequence),
        };
        checkpoint.lost += item.at.sequence.saturating_sub(checkpoint.next()); // a gap has no better explanation
        let new = item.end().saturating_sub(checkpoint.next()); // 0 if it is counted already
        match item.kind {
            ItemKind::Start | ItemKind::Restart => {}
            ItemKind::Event(_) | ItemKind::Message => checkpoint.delivered += new,
            ItemKind::Lost(_) => checkpoint.lost += new,
            ItemKind::Skipped => checkpoint.skipped += new,
        }
        checkpoint
    }
}

/// An item of a stream, as read from a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamItem {
    pub at: Position,
    pub kind: ItemKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// The checkpoint begins here, if there is none yet.
    Start,
    /// The checkpoint begins here and replaces the one before.
    Restart,
    Event(Event),
    /// This many events were overwritten before they were read.
    Lost(u64),
    /// An event of a kind that this release does not know.
    Skipped,
    /// A message of a stream whose events come before: their own counts are those of the sensor's ring. Its generation is its own, and
    /// not that of all messages: the checkpoint has that of the last one.
    Message,
}

impl StreamItem {
    /// The number of the event that follows the item.
    pub fn end(&self) -> u64 {
        self.at.sequence.saturating_add(match self.kind {
            ItemKind::Start | ItemKind::Restart => 0,
            ItemKind::Event(_) | ItemKind::Skipped | ItemKind::Message => 1,
            ItemKind::Lost(number) => number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(generation: u64, sequence: u64, kind: ItemKind) -> StreamItem {
        StreamItem { at: Position { generation, sequence }, kind }
    }

    #[test]
    fn counts_add_up() {
        let mut checkpoint = None;
        for (item, [began, delivered, lost, skipped]) in [
            (item(1, 10, ItemKind::Start), [10, 0, 0, 0]),
            (item(1, 10, ItemKind::Skipped), [10, 0, 0, 1]),
            (item(1, 11, ItemKind::Lost(5)), [10, 0, 5, 1]),
            (item(1, 16, event()), [10, 1, 5, 1]),
            // Repeated after a crash: counted already.
            (item(1, 11, ItemKind::Lost(5)), [10, 1, 5, 1]),
            (item(1, 16, event()), [10, 1, 5, 1]),
            // A loss that overlaps delivered events: only the rest counts.
            (item(1, 12, ItemKind::Lost(10)), [10, 1, 10, 1]),
            // A gap counts as lost.
            (item(1, 30, event()), [10, 2, 18, 1]),
            // Another stream, from its first event.
            (item(2, 0, ItemKind::Lost(3)), [0, 0, 3, 0]),
            (item(2, 3, event()), [0, 1, 3, 0]),
            (item(2, 1, ItemKind::Start), [0, 1, 3, 0]),
            (item(2, 6, ItemKind::Start), [0, 1, 5, 0]),
            (item(2, 1, ItemKind::Restart), [1, 0, 0, 0]),
            // Messages, each of a generation of its own; two are missing, one is repeated.
            (item(8, 1, ItemKind::Message), [1, 1, 0, 0]),
            (item(7, 4, ItemKind::Message), [1, 2, 2, 0]),
            (item(7, 4, ItemKind::Message), [1, 2, 2, 0]),
        ] {
            let now = Checkpoint::after(checkpoint, &item);
            let expected =
                Checkpoint { generation: now.generation, began, delivered, lost, skipped };
            assert_eq!(now, expected, "{item:?}");
            assert!(now.includes(&item));
            checkpoint = Some(now);
        }
        assert_eq!(Checkpoint::after(None, &item(3, 7, event())).began, 7);
    }

    #[test]
    fn foreign_columns_are_refused() {
        let checkpoint =
            Checkpoint { generation: u64::MAX, began: 1, delivered: 2, lost: 3, skipped: 4 };
        assert_eq!(Checkpoint::from_columns(checkpoint.columns()), Some(checkpoint));
        for columns in [[7, 0, -1, -1, 0], [7, -1, 0, 0, 1], [7, 1, i64::MIN, i64::MIN, 0]] {
            assert_eq!(Checkpoint::from_columns(columns), None, "{columns:?}");
        }
    }

    fn event() -> ItemKind {
        ItemKind::Event(Event::from_bytes(&crate::spool::tests::EVENT).unwrap())
    }
}
