//! A sensor's ring in a stream, with what is known of its generations.
//!
//! A ring gets a new generation when its machine starts. Messages of a former one may come again, if the stream is read again from an
//! earlier message on, and two sensors may have one name by mistake. So the last generations have a checkpoint each; which one is the
//! oldest shows a further checkpoint, in which each generation counts as a message.

use aw_service::{Error, warn};
use shm_layout::{Position, RingName};

use crate::{
    Batch, Sink,
    checkpoint::{ItemKind, StreamItem},
    delivery::Delivery,
};

/// Generations that are known: the present one, and those before.
const GENERATIONS: usize = 3;
/// Checkpoints of a sensor's ring.
pub(super) const CHECKPOINTS: usize = 1 + GENERATIONS;

pub(super) struct Sensor {
    /// In the delivery: the checkpoint that counts generations. Theirs follow.
    index: usize,
    /// Generations that began.
    begun: u64,
    /// The next event of the last generations; generation N, from 0, is at N modulo their number.
    next: [Option<Position>; GENERATIONS],
    /// It was reported that two sensors have its name.
    pub has_twin: bool,
}

impl Sensor {
    /// `index` and `positions` are those of its checkpoints.
    pub fn new(index: usize, positions: &[Option<Position>]) -> Sensor {
        let position = |at: usize| positions.get(at).copied().flatten();
        let begun = position(0).map_or(0, |position| position.sequence);
        Sensor { index, begun, next: std::array::from_fn(|at| position(1 + at)), has_twin: false }
    }

    /// Passes on the events of a batch that are new; returns how many are missing among them.
    pub fn take_batch<S: Sink>(
        &mut self,
        delivery: &mut Delivery<S>,
        batch: Batch,
    ) -> Result<u64, Error> {
        let Batch { host, ring, first, next, events } = batch;
        let generation = first.generation;
        if next <= first.sequence {
            return Ok(0); // it accounts for nothing
        }
        let (slot, mut expected) = match self.known(generation) {
            Some(known) => known,
            None => self.begin(delivery, first)?,
        };
        let newest = self.begun.checked_sub(1).map(slot_of);
        if next > expected && newest != Some(slot) && !self.has_twin {
            self.has_twin = true;
            warn(format_args!(
                "two sensors publish as ring {ring} of host {host}: what they see is stored under one name (set --hostname of aw-relay on one of them)"
            ));
        }
        let index = self.index + 1 + slot;
        let mut take = |sequence, kind| {
            delivery.take(index, StreamItem { at: Position { generation, sequence }, kind })
        };
        let mut lost = 0;
        for (sequence, event) in events {
            if sequence < expected {
                continue; // sent, or read, before
            }
            if sequence > expected {
                take(expected, ItemKind::Lost(sequence - expected))?;
                lost += sequence - expected;
            }
            take(sequence, event.map_or(ItemKind::Skipped, ItemKind::Event))?;
            expected = sequence + 1;
        }
        if next > expected {
            take(expected, ItemKind::Lost(next - expected))?;
            lost += next - expected;
            expected = next;
        }
        self.next[slot] = Some(Position { generation, sequence: expected });
        Ok(lost)
    }

    /// The place of a known generation, and its next event.
    fn known(&self, generation: u64) -> Option<(usize, u64)> {
        self.next.iter().enumerate().find_map(|(slot, next)| {
            next.filter(|next| next.generation == generation).map(|next| (slot, next.sequence))
        })
    }

    /// A generation begins in place of the oldest one. The first one of a sensor begins with its first event here; a later one with the
    /// first event of the ring, as each reader of a ring does.
    fn begin<S: Sink>(
        &mut self,
        delivery: &mut Delivery<S>,
        first: Position,
    ) -> Result<(usize, u64), Error> {
        let Position { generation, sequence } = first;
        let slot = slot_of(self.begun);
        let sequence = if self.begun == 0 { sequence } else { 0 };
        // Counted first: after a kill between the two, it begins once more, in the next place.
        let at = Position { generation, sequence: self.begun };
        delivery.take(self.index, StreamItem { at, kind: ItemKind::Message })?;
        self.begun += 1;
        let at = Position { generation, sequence };
        let kind = if self.next[slot].is_some() { ItemKind::Restart } else { ItemKind::Start };
        delivery.take(self.index + 1 + slot, StreamItem { at, kind })?;
        self.next[slot] = Some(at);
        Ok((slot, sequence))
    }
}

fn slot_of(generation: u64) -> usize {
    (generation % GENERATIONS as u64) as usize
}

/// The names of a ring's checkpoints: `/HOST::RING` for the number of its generations, and `/HOST:0:RING` and so on for these. A host has
/// no colon, so no two rings have one name.
pub(super) fn checkpoint_names(host: &str, ring: &RingName) -> Option<Vec<RingName>> {
    if host.is_empty() || host.contains(':') {
        return None;
    }
    let ring = ring.as_str().trim_start_matches('/');
    let slots = (0..GENERATIONS).map(|slot| slot.to_string());
    let names = std::iter::once(String::new()).chain(slots);
    names.map(|slot| format!("/{host}:{slot}:{ring}").parse().ok()).collect()
}
