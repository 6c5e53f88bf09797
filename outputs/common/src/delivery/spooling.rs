//! While the destination is down: events go to the spool, and from there to the sink once it is back.

use std::time::{Duration, Instant};

use aw_service::{Error, info, warn};

use super::{Delivery, RingState};
use crate::{
    CheckpointStore, Entry, Fault, Sink,
    checkpoint::{ItemKind, StreamItem},
    spool::Spool,
};

/// Pauses between two tries of a destination that is down.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where items go.
pub(super) enum Mode {
    /// To the sink.
    Direct,
    /// Into the spool, until the destination is back.
    Spooling {
        retry: Instant,
        pause: Duration,
        full: bool,
        /// It was said, in this run, why; and that the spool is full.
        reported: bool,
        told_full: bool,
        /// The sink may have stored more than it could tell before it failed, or we were killed.
        doubt: bool,
    },
}

/// What the sink took while it counted as down.
enum Handed {
    /// The spool's items up to this number.
    Spooled { last: i64 },
    /// So many of those that are pending.
    Pending { number: usize },
    /// There was nothing.
    Nothing,
}

impl Mode {
    /// At the start: what is in the spool comes first.
    pub fn first(spool: Option<&Spool>) -> Result<Mode, Error> {
        let any = spool.map_or(Ok(false), |spool| spool.is_empty().map(|empty| !empty))?;
        Ok(if any { Mode::spooling(Instant::now(), false) } else { Mode::Direct })
    }

    fn spooling(retry: Instant, reported: bool) -> Mode {
        let (full, told_full) = (false, false);
        Mode::Spooling { retry, pause: FIRST_PAUSE, full, reported, told_full, doubt: true }
    }

    pub fn is_full(&self) -> bool {
        matches!(self, Mode::Spooling { full: true, .. })
    }
}

impl<S: Sink> Delivery<'_, S> {
    /// The sink cannot take it: events go to the spool, if there is one.
    pub(super) fn fail(&mut self, fault: Fault) -> Result<(), Error> {
        let (Fault::Down(why), Some(spool)) = (&fault, &self.stores.spool) else {
            return Err(fault.into_error());
        };
        let now = Instant::now();
        if !matches!(self.mode, Mode::Spooling { reported: true, .. }) {
            warn(format_args!("{why}: keeping events in {}", spool.path().display()));
        }
        match &mut self.mode {
            Mode::Direct => self.mode = Mode::spooling(now + FIRST_PAUSE, true),
            Mode::Spooling { retry, pause, reported, doubt, .. } => {
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                *retry = now + *pause;
                (*reported, *doubt) = (true, true);
            }
        }
        Ok(())
    }

    pub(super) fn spool_pending(&mut self) -> Result<(), Error> {
        let checkpoints = self.checkpoints();
        let (Some(spool), Mode::Spooling { full, told_full, .. }) =
            (&mut self.stores.spool, &mut self.mode)
        else {
            return Ok(());
        };
        let ring = |of: usize| &self.ring_states[of].ring;
        let items: Vec<_> = self.pending.iter().map(|(of, item)| (ring(*of), *item)).collect();
        *full = !spool.append(&items, &checkpoints)?;
        if !*full {
            self.pending.clear();
            self.since = None;
            return Ok(());
        }
        self.since = Some(Instant::now());
        // Once, however often there is room for a while.
        if !std::mem::replace(told_full, true) {
            warn(format_args!(
                "{} is full: what the rings overwrite from now on is lost (--spool-size, or room on its disk)",
                spool.path().display()
            ));
        }
        Ok(())
    }

    /// Hands a batch from the spool to the sink, if it is time to. Tells whether there is more.
    pub(super) fn drain(&mut self) -> Result<bool, Error> {
        if !matches!(self.mode, Mode::Spooling { retry, .. } if retry <= Instant::now()) {
            return Ok(false);
        }
        let handed = match self.hand_over() {
            Ok(handed) => handed,
            Err(fault) => return self.fail(fault).map(|()| false),
        };
        let checkpoints = self.checkpoints();
        match (handed, &mut self.stores.spool) {
            (Handed::Nothing, _) | (_, None) => {}
            (Handed::Spooled { last }, Some(spool)) => {
                // Its disk is full, of other things: what was handed over is forgotten later.
                if let Err(Error::Failed(why)) = spool.delivered(last, &checkpoints) {
                    return self.fail(Fault::Down(why)).map(|()| false);
                }
                return self.go_on();
            }
            (Handed::Pending { number }, Some(_)) => {
                self.pending.drain(..number);
                self.since = None;
                return self.go_on();
            }
        }
        self.mode = Mode::Direct;
        info("the destination is back, and has all that was kept for it");
        Ok(true)
    }

    /// The sink has taken something while it counted as down.
    fn go_on(&mut self) -> Result<bool, Error> {
        if let Mode::Spooling { pause, full, reported, doubt, .. } = &mut self.mode {
            (*pause, *full, *reported, *doubt) = (FIRST_PAUSE, false, true, false);
        }
        self.look_for_restarts().map(|()| true)
    }

    /// Hands over what is oldest: in the spool, and behind that what it had no room for.
    fn hand_over(&mut self) -> Result<Handed, Fault> {
        if matches!(self.mode, Mode::Spooling { doubt: true, .. }) {
            self.ask_how_far()?;
        }
        let Some(spool) = &mut self.stores.spool else { return Ok(Handed::Nothing) };
        let (mut items, mut last) = spool.oldest(self.plan.batch)?;
        if let Some(few) = to_restart(items.iter().map(|(_, item)| item)) {
            (items, last) = spool.oldest(few)?;
        }
        let mut known = Vec::with_capacity(items.len());
        for (ring, item) in items {
            let found = self.ring_states.iter().position(|state| state.ring == ring);
            let index = match found {
                Some(index) => index,
                None => {
                    // From an earlier run, of a ring that is not read any more.
                    let checkpoint = match self.sink.checkpoints() {
                        Some(store) => store.load(&ring)?,
                        None => spool.load(&ring)?,
                    };
                    self.ring_states.push(RingState {
                        ring,
                        checkpoint,
                        restarts: false,
                        delivered: 0,
                    });
                    self.ring_states.len() - 1
                }
            };
            known.push((index, item));
        }
        let handed = match self.pending.len() {
            _ if last > 0 => Handed::Spooled { last },
            0 => Handed::Nothing,
            all => {
                let few = to_restart(self.pending.iter().map(|(_, item)| item));
                let number = few.unwrap_or(all);
                known.extend_from_slice(&self.pending[..number]);
                Handed::Pending { number }
            }
        };
        for (index, item) in &known {
            if let ItemKind::Event(event) = item.kind {
                let entry =
                    Entry { ring: &self.ring_states[*index].ring, position: item.at, event };
                self.sink.write(&entry)?;
            }
        }
        if !known.is_empty() {
            self.confirm(&known)?;
        }
        Ok(handed)
    }

    /// What the sink has, after all, is neither in the spool nor pending any more.
    fn ask_how_far(&mut self) -> Result<(), Fault> {
        let Some(spool) = &mut self.stores.spool else { return Ok(()) };
        for (index, state) in self.ring_states.iter_mut().enumerate() {
            let checkpoint = match self.sink.checkpoints() {
                Some(store) => store.load(&state.ring)?,
                None => state.checkpoint,
            };
            let Some(checkpoint) = checkpoint else { continue };
            state.checkpoint = Some(checkpoint);
            spool.forget_all_in(&state.ring, &checkpoint)?;
            if spool.restarts(&state.ring)? {
                continue; // all that is pending is behind it
            }
            let restart =
                |(of, item): &(usize, StreamItem)| *of == index && item.kind == ItemKind::Restart;
            let old = self.pending.iter().position(restart).unwrap_or(self.pending.len());
            let has = |(of, item): &(usize, StreamItem)| *of == index && checkpoint.has(item);
            let had = self.pending[..old].iter().rposition(has).map_or(0, |last| last + 1);
            let mut place = 0..;
            self.pending.retain(|(of, _)| place.next() >= Some(had) || *of != index);
        }
        Ok(())
    }
}

/// How many items go together, if not all: a restart comes alone, see `take`.
fn to_restart<'a>(mut items: impl Iterator<Item = &'a StreamItem>) -> Option<usize> {
    let restart = items.position(|item| item.kind == ItemKind::Restart);
    restart.map(|before| before.max(1))
}
