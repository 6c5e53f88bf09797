//! Checkpoints outside the sink: in the spool or in a file every few seconds, and in the live checkpoint
//! after each batch.

use std::time::{Duration, Instant};

use aw_service::{Condition, Error, warn};
use shm_layout::RingName;

use super::Delivery;
use crate::{
    Checkpoint, CheckpointStore, Fault, Sink, live_checkpoint::LiveCheckpoint, spool::Spool,
    state::StateFile,
};

/// How often checkpoints are saved that the sink does not store with its rows; seldom enough to spare
/// the disk. They are saved at the end in any case.
pub(crate) const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// The same for copies of checkpoints that the sink stores with its rows, if it delivers at intervals to spare the disk. They are
/// used only while it is down; the live checkpoint is a page for each commit, which `--health` and aw-metrics need.
const COPY_INTERVAL: Duration = Duration::from_secs(600);

/// Where checkpoints are saved.
pub(crate) struct CheckpointFiles {
    pub spool: Option<Spool>,
    pub file: Option<StateFile>,
    /// For `--health`, and to resume after a kill.
    pub live_checkpoint: Option<LiveCheckpoint>,
    /// The live checkpoint is for `--health` alone.
    pub for_health: bool,
    /// The sink stores checkpoints with its rows; those in the files are used while it is down.
    pub in_sink: bool,
    pub schedule: SaveSchedule,
}

/// When checkpoints are saved next.
pub(crate) struct SaveSchedule {
    saved_at: Instant,
    /// A checkpoint changed since then.
    unsaved: bool,
    /// Save at once: nothing is saved yet, and a live checkpoint alone is not trusted.
    save_now: bool,
    /// The state directory cannot be written.
    unwritable: Condition,
    /// Only copies are saved, and seldom.
    pub copies: bool,
}

impl Default for SaveSchedule {
    fn default() -> Self {
        let (unwritable, copies) = (Condition::default(), false);
        let (saved_at, unsaved, save_now) = (Instant::now(), false, false);
        SaveSchedule { saved_at, unsaved, save_now, unwritable, copies }
    }
}

impl CheckpointFiles {
    /// The saved checkpoint of a ring.
    pub(super) fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>, Error> {
        let checkpoint = match (&mut self.spool, &mut self.file) {
            (Some(spool), _) => spool.load(ring),
            (None, Some(file)) => file.load(ring),
            (None, None) => Ok(None),
        };
        checkpoint.map_err(Fault::into_error)
    }

    /// The live checkpoint of a ring, or else the saved one. Without a saved one there is none: a user
    /// who removes the file wants to start again with the oldest event.
    pub(super) fn load_latest(&mut self, ring: &RingName) -> Result<Option<Checkpoint>, Error> {
        let Some(saved) = self.load(ring)? else { return Ok(None) };
        let live = self.live_checkpoint.as_ref().filter(|_| !self.for_health);
        let live = live.and_then(|file| file.load(ring));
        self.schedule.unsaved |= live.is_some_and(|live| live != saved);
        Ok(live.or(Some(saved)))
    }

    /// The sink confirmed the events in this checkpoint; `first`: there was none before.
    pub(super) fn confirmed(&mut self, ring: &RingName, checkpoint: &Checkpoint, first: bool) {
        self.schedule.unsaved = true;
        if let Some(live_checkpoint) = &mut self.live_checkpoint {
            self.schedule.save_now |= first && (self.schedule.copies || !self.in_sink);
            live_checkpoint.store(ring, checkpoint);
        }
    }

    fn write(&mut self, checkpoints: &[(RingName, Checkpoint)]) -> Result<(), Error> {
        if let Some(spool) = &mut self.spool {
            spool.remove_delivered(0, checkpoints)?;
        }
        if let Some(file) = &mut self.file {
            for (ring, checkpoint) in checkpoints {
                file.store(ring, checkpoint).map_err(Fault::into_error)?;
            }
            file.save()?;
        }
        Ok(())
    }
}

impl<S: Sink> Delivery<'_, S> {
    /// The checkpoints of all rings that have one.
    pub(super) fn checkpoints(&self) -> Vec<(RingName, Checkpoint)> {
        let states = self.ring_states.iter();
        states.filter_map(|state| Some((state.ring.clone(), state.checkpoint?))).collect()
    }

    pub(super) fn save_if_due(&mut self) -> Result<(), Error> {
        let SaveSchedule { saved_at, save_now, copies, .. } = self.files.schedule;
        let interval = if copies { COPY_INTERVAL } else { SAVE_INTERVAL };
        if save_now || saved_at.elapsed() >= interval { self.save() } else { Ok(()) }
    }

    /// Saves the checkpoints that the sink does not store. If the sink asks to wait, or the disk is full,
    /// the saved ones stay behind the confirmed ones, never ahead.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        match self.try_save() {
            Ok(()) | Err(NotSaved::Wait(_)) => Ok(()),
            Err(NotSaved::Sink(error)) => Err(error),
            Err(NotSaved::Store(error)) => {
                if let Error::Failed(why) = error {
                    let report = format_args!("{why}: continuing without saving the position");
                    self.files.schedule.unwritable.begins(report);
                }
                Ok(())
            }
        }
    }

    /// Closes the sink after `finish`, and saves the checkpoints for the last time.
    pub fn close(&mut self) -> Result<(), Error> {
        let closed = self.sink.close().map_err(NotSaved::from);
        match closed.and_then(|()| self.try_save()) {
            Ok(()) => Ok(()),
            // The events are delivered again, from the checkpoint in the spool on.
            Err(NotSaved::Wait(why)) if self.files.spool.is_some() => {
                warn(why);
                Ok(())
            }
            Err(NotSaved::Store(_)) if self.files.in_sink => self.save(), // logs the error
            Err(NotSaved::Wait(why)) => Err(Error::Failed(why)),
            Err(NotSaved::Sink(error) | NotSaved::Store(error)) => Err(error),
        }
    }

    /// After a failure that ends the output: saves what was confirmed before.
    pub fn save_after_failure(&mut self) {
        match self.try_save() {
            Err(NotSaved::Wait(why)) => warn(why),
            Err(NotSaved::Sink(Error::Failed(why)) | NotSaved::Store(Error::Failed(why))) => {
                warn(why);
            }
            _ => {}
        }
    }

    fn try_save(&mut self) -> Result<(), NotSaved> {
        if !self.files.schedule.unsaved {
            return Ok(());
        }
        (self.files.schedule.saved_at, self.files.schedule.save_now) = (Instant::now(), false);
        if !self.files.in_sink {
            self.sink.sync()?;
        }
        let checkpoints = self.checkpoints();
        self.files.write(&checkpoints).map_err(NotSaved::Store)?;
        self.files.schedule.unsaved = false;
        self.files.schedule.unwritable.ends("the state directory can be written again");
        Ok(())
    }
}

/// Why checkpoints could not be saved.
enum NotSaved {
    /// The sink asks to wait.
    Wait(String),
    /// The sink failed.
    Sink(Error),
    /// The state directory cannot be written.
    Store(Error),
}

impl From<Fault> for NotSaved {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Down(why) => NotSaved::Wait(why),
            Fault::Fatal(error) => NotSaved::Sink(error),
        }
    }
}
