//! Between the rings and the sink: what was handed over and is not confirmed yet, and the checkpoint of it.

mod checkpoints;
mod spooling;
mod summary;

use std::time::{Duration, Instant};

use aw_service::Error;
use shm_layout::{Position, RingName};

use crate::{
    Checkpoint, Entry, Fault, Plan, Sink,
    checkpoint::{ItemKind, StreamItem},
};
use spooling::Mode;

pub(crate) use checkpoints::{CheckpointFiles, SAVE};

/// How long events wait at most where there are always more; and for the spool.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Delivery<'a, S> {
    sink: &'a mut S,
    plan: &'a Plan,
    ring_states: Vec<RingState>,
    /// Handed to the sink, which has not confirmed them; while the destination is down, not spooled.
    pending: Vec<(usize, StreamItem)>,
    /// Since when the oldest of them waits.
    since: Option<Instant>,
    mode: Mode,
    stores: CheckpointFiles,
}

/// What is known of one ring.
struct RingState {
    ring: RingName,
    checkpoint: Option<Checkpoint>,
    /// A restart of the checkpoint is pending, or spooled: what it has says nothing of what comes.
    restarts: bool,
    /// Delivered in this run.
    delivered: u64,
}

impl<'a, S: Sink> Delivery<'a, S> {
    pub fn new(sink: &'a mut S, plan: &'a Plan, stores: CheckpointFiles) -> Result<Self, Error> {
        let mode = Mode::first(stores.spool.as_ref())?;
        let (ring_states, pending) = (Vec::new(), Vec::new());
        Ok(Delivery { sink, plan, ring_states, pending, since: None, mode, stores })
    }

    /// Opens the checkpoint of a ring; where to read on, if that is known.
    pub fn open(&mut self, ring: &RingName) -> Result<Option<Position>, Error> {
        let checkpoint = match self.sink.checkpoints().map(|store| store.load(ring)) {
            // Also if it has none: what we wrote down was for other rows.
            Some(Ok(kept)) => kept,
            Some(Err(fault)) => {
                self.fail(fault)?;
                self.stores.load(ring)?
            }
            None => self.stores.load_latest(ring)?,
        };
        if let (Some(spool), Some(checkpoint)) = (&mut self.stores.spool, &checkpoint) {
            let forgotten = spool.forget_all_in(ring, checkpoint);
            forgotten.or_else(|fault| self.fail(fault))?;
        }
        let (restarts, end) = match &self.stores.spool {
            Some(spool) => (spool.restarts(ring)?, spool.end(ring)?),
            None => (false, None),
        };
        self.ring_states.push(RingState { ring: ring.clone(), checkpoint, restarts, delivered: 0 });
        Ok(end.or(checkpoint.map(|checkpoint| checkpoint.position())))
    }

    /// Whether it can take more events.
    pub fn has_room(&self) -> bool {
        !self.mode.is_full() && self.pending.len() < self.plan.batch
    }

    /// Takes a item of the ring that was opened as number `ring`.
    pub fn take(&mut self, ring: usize, item: StreamItem) -> Result<(), Error> {
        let restart = item.kind == ItemKind::Restart;
        if restart {
            self.deliver()?;
        }
        let state = &mut self.ring_states[ring];
        state.restarts |= restart;
        // Read again, for the sink could not say before how far it was.
        if !state.restarts && state.checkpoint.is_some_and(|checkpoint| checkpoint.has(&item)) {
            return Ok(());
        }
        if let (Mode::Direct, ItemKind::Event(event)) = (&self.mode, item.kind) {
            let entry = Entry { ring: &self.ring_states[ring].ring, position: item.at, event };
            if let Err(fault) = self.sink.write(&entry) {
                self.fail(fault)?;
            }
        }
        if self.pending.is_empty() {
            self.since = Some(Instant::now());
        }
        // Lost while there is no room: one item, however long that lasts.
        if let ItemKind::Lost(more) = item.kind
            && let Some((_, last)) = self.pending.iter_mut().rev().find(|(of, _)| *of == ring)
            && let ItemKind::Lost(number) = &mut last.kind
            && last.at.generation == item.at.generation
        {
            *number += more;
            return Ok(());
        }
        self.pending.push((ring, item));
        // Alone: while nobody knows whether it was confirmed, nothing behind it was handed over, so that
        // it can be handed over again.
        if restart { self.deliver() } else { Ok(()) }
    }

    /// What is due: delivers, spools, tries the destination again, writes checkpoints down. `flush`:
    /// there is nothing more to read now. Tells whether there is more to do at once.
    pub fn work(&mut self, idle: bool) -> Result<bool, Error> {
        let linger = match self.mode {
            Mode::Direct => self.plan.linger,
            Mode::Spooling { .. } => LONGEST_WAIT,
        };
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        if self.pending.len() >= self.plan.batch
            || waited >= linger && (idle || waited >= LONGEST_WAIT)
        {
            self.deliver()?;
        }
        let more = self.drain()? || (idle && self.maintain()?);
        self.save_if_due()?;
        Ok(more)
    }

    /// Lets the sink do what is not urgent, if it has confirmed all; tells whether there is more.
    pub fn maintain(&mut self) -> Result<bool, Error> {
        if !self.pending.is_empty() || !matches!(self.mode, Mode::Direct) {
            return Ok(false);
        }
        self.sink.maintain().or_else(|fault| self.fail(fault).map(|()| false))
    }

    /// Lets the sink open its files anew, once it has confirmed all.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.deliver()?;
        self.sink.reopen().or_else(|fault| self.fail(fault))
    }

    /// How long `work` can wait.
    pub fn pause(&self) -> Duration {
        let left = |limit: Duration, since: Instant| limit.saturating_sub(since.elapsed());
        match &self.mode {
            Mode::Direct => self.since.map_or(SAVE, |since| left(self.plan.linger, since)),
            Mode::Spooling { retry, .. } => {
                retry.saturating_duration_since(Instant::now()).min(LONGEST_WAIT)
            }
        }
    }

    /// Everything taken is delivered, or in the spool; the checkpoints are written down.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.deliver()?;
        self.save()
    }

    /// What was handed over is delivered once the sink says so.
    fn deliver(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if matches!(self.mode, Mode::Direct) {
            let pending = std::mem::take(&mut self.pending);
            let confirmed = self.confirm(&pending);
            self.pending = pending;
            match confirmed {
                Ok(()) => {
                    self.pending.clear();
                    self.since = None;
                    return self.look_for_restarts();
                }
                Err(fault) => self.fail(fault)?,
            }
        }
        self.spool_pending()
    }

    /// Lets the sink confirm these items, which it has, and ring_states them.
    fn confirm(&mut self, items: &[(usize, StreamItem)]) -> Result<(), Fault> {
        let mut checkpoints: Vec<_> =
            self.ring_states.iter().map(|state| state.checkpoint).collect();
        for (ring, item) in items {
            checkpoints[*ring] = Some(Checkpoint::after(checkpoints[*ring], item));
        }
        if let Some(store) = self.sink.checkpoints() {
            for (state, checkpoint) in self.ring_states.iter().zip(&checkpoints) {
                if let Some(checkpoint) = checkpoint.filter(|_| *checkpoint != state.checkpoint) {
                    store.store(&state.ring, &checkpoint)?;
                }
            }
        }
        self.sink.flush()?;
        for (ring, item) in items {
            self.ring_states[*ring].delivered += u64::from(matches!(item.kind, ItemKind::Event(_)));
        }
        for (state, checkpoint) in self.ring_states.iter_mut().zip(checkpoints) {
            if let Some(checkpoint) =
                checkpoint.filter(|checkpoint| Some(*checkpoint) != state.checkpoint)
            {
                self.stores.confirmed(&state.ring, &checkpoint, state.checkpoint.is_none());
            }
            state.checkpoint = checkpoint;
        }
        Ok(())
    }

    /// After a confirmation: whether restarts are still to come.
    fn look_for_restarts(&mut self) -> Result<(), Error> {
        for (index, state) in
            self.ring_states.iter_mut().enumerate().filter(|(_, state)| state.restarts)
        {
            let restart =
                |(of, item): &(usize, StreamItem)| *of == index && item.kind == ItemKind::Restart;
            let spooled = self.stores.spool.as_ref().map(|spool| spool.restarts(&state.ring));
            state.restarts = self.pending.iter().any(restart) || spooled.unwrap_or(Ok(false))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
