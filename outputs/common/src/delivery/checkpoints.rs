//! Accounts, written down beside the sink: in the spool or a file now and then, and as a note at once.

use std::time::{Duration, Instant};

use aw_service::{Error, info, warn};
use shm_layout::RingName;

use super::Delivery;
use crate::{
    Checkpoint, CheckpointStore, Fault, Sink, live_checkpoint::LiveCheckpoint, spool::Spool,
    state::StateFile,
};

/// How often checkpoints are written down where no row is written with them; at the end in any case.
/// A disk is not worn out.
pub(crate) const SAVE: Duration = Duration::from_secs(5);

/// Where checkpoints are written down.
pub(crate) struct CheckpointFiles {
    pub spool: Option<Spool>,
    pub file: Option<StateFile>,
    /// For `--health`, and to go on after a kill.
    pub live_checkpoint: Option<LiveCheckpoint>,
    /// The sink keeps checkpoints with its rows: what is here is for times when it cannot be asked.
    pub own: bool,
    pub saved: SaveSchedule,
}

/// When checkpoints were last written down, and what has happened since.
pub(crate) struct SaveSchedule {
    at: Instant,
    /// Something was confirmed since.
    behind: bool,
    /// Without delay: nothing was written down yet, and live_checkpoint alone are not believed.
    now: bool,
    /// It was said that it cannot be done.
    reported: bool,
}

impl Default for SaveSchedule {
    fn default() -> Self {
        SaveSchedule { at: Instant::now(), behind: false, now: false, reported: false }
    }
}

impl CheckpointFiles {
    /// What was written down of a ring.
    pub(super) fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>, Error> {
        let checkpoint = match (&mut self.spool, &mut self.file) {
            (Some(spool), _) => spool.load(ring),
            (None, Some(file)) => file.load(ring),
            (None, None) => Ok(None),
        };
        checkpoint.map_err(Fault::into_error)
    }

    /// The same, or what was noted since. Whoever removes what was written down wants to begin anew.
    pub(super) fn load_latest(&mut self, ring: &RingName) -> Result<Option<Checkpoint>, Error> {
        let Some(written) = self.load(ring)? else { return Ok(None) };
        let noted =
            self.live_checkpoint.as_ref().and_then(|live_checkpoint| live_checkpoint.get(ring));
        self.saved.behind |= noted.is_some_and(|noted| noted != written);
        Ok(noted.or(Some(written)))
    }

    /// The sink has confirmed what is in this checkpoint; `first`: there was none.
    pub(super) fn confirmed(&mut self, ring: &RingName, checkpoint: &Checkpoint, first: bool) {
        self.saved.behind = true;
        if let Some(live_checkpoint) = &mut self.live_checkpoint {
            live_checkpoint.put(ring, checkpoint);
            self.saved.now |= first && !self.own;
        }
    }

    fn write(&mut self, checkpoints: &[(RingName, Checkpoint)]) -> Result<(), Error> {
        if let Some(spool) = &mut self.spool {
            spool.delivered(0, checkpoints)?;
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
    /// All checkpoints that have begun.
    pub(super) fn checkpoints(&self) -> Vec<(RingName, Checkpoint)> {
        let begun = self
            .ring_states
            .iter()
            .filter_map(|state| Some((state.ring.clone(), state.checkpoint?)));
        begun.collect()
    }

    pub(super) fn save_if_due(&mut self) -> Result<(), Error> {
        let SaveSchedule { at, now, .. } = self.stores.saved;
        if now || at.elapsed() >= SAVE { self.save() } else { Ok(()) }
    }

    /// Writes the checkpoints down where the sink does not. If it asks to wait, or there is no room, they
    /// stay behind, never ahead.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        match self.write_down() {
            Ok(()) | Err(NotSaved::Wait(_)) => Ok(()),
            Err(NotSaved::Sink(error)) => Err(error),
            Err(NotSaved::Store(error)) => {
                if let (Error::Failed(why), false) = (error, self.stores.saved.reported) {
                    warn(format_args!("{why}: going on without"));
                    self.stores.saved.reported = true;
                }
                Ok(())
            }
        }
    }

    /// The end, once all is finished: the sink is told, and is to have no excuse any more.
    pub fn close(&mut self) -> Result<(), Error> {
        let closed = self.sink.close().map_err(NotSaved::from);
        match closed.and_then(|()| self.write_down()) {
            Ok(()) => Ok(()),
            // It comes again, from the spool's checkpoint on.
            Err(NotSaved::Wait(why)) if self.stores.spool.is_some() => {
                warn(why);
                Ok(())
            }
            Err(NotSaved::Store(_)) if self.stores.own => self.save(), // says so, if it was not said
            Err(NotSaved::Wait(why)) => Err(Error::Failed(why)),
            Err(NotSaved::Sink(error) | NotSaved::Store(error)) => Err(error),
        }
    }

    /// At an end that is a failure already: what was confirmed stays so.
    pub fn save_anyway(&mut self) {
        match self.write_down() {
            Err(NotSaved::Wait(why)) => warn(why),
            Err(NotSaved::Sink(Error::Failed(why)) | NotSaved::Store(Error::Failed(why))) => {
                warn(why);
            }
            _ => {}
        }
    }

    fn write_down(&mut self) -> Result<(), NotSaved> {
        if !self.stores.saved.behind {
            return Ok(());
        }
        (self.stores.saved.at, self.stores.saved.now) = (Instant::now(), false);
        if !self.stores.own {
            self.sink.sync()?;
        }
        let checkpoints = self.checkpoints();
        self.stores.write(&checkpoints).map_err(NotSaved::Store)?;
        self.stores.saved.behind = false;
        if std::mem::take(&mut self.stores.saved.reported) {
            info("the state directory can be written again");
        }
        Ok(())
    }
}

/// Why checkpoints could not be written down.
enum NotSaved {
    /// The sink asks for time.
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
