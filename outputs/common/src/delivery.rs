//! Delivery from the rings to the sink: the items that the sink has not confirmed yet, and the checkpoints.

mod checkpoints;
mod spooling;
mod summary;

use std::time::{Duration, Instant};

use aw_service::{Condition, Error, count_of, warn};
use shm_layout::{Event, Position, RingName};

use crate::{
    Checkpoint, Entry, Fault, Look, Plan, Sink,
    checkpoint::{ItemKind, StreamItem},
    host_of,
    outage_file::OutageFile,
    source::Source,
};
use spooling::Mode;

pub(crate) use checkpoints::{CheckpointFiles, SAVE_INTERVAL};

/// The longest time that an event waits for its batch, while events keep arriving or go to the spool.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Items that are added to the spool at once, at most.
const SPOOL_BATCH: usize = 16_384;

pub(crate) struct Delivery<'a, S> {
    sink: &'a mut S,
    plan: &'a Plan,
    ring_states: Vec<RingProgress>,
    /// Items, with the index of their ring, that are neither confirmed by the sink nor in the spool.
    pending: Vec<(usize, StreamItem)>,
    /// The time when the oldest of them was added.
    pending_since: Option<Instant>,
    began: Instant,
    /// When the sink confirmed items for the last time.
    confirmed_at: Option<Instant>,
    /// The sink's maintenance is not complete. It goes on between two deliveries, so they are not postponed.
    is_maintaining: bool,
    mode: Mode,
    /// When it was last reported that the sink is too slow.
    behind: Option<Instant>,
    /// Batches are sent that the spool has no room for.
    unkept: Condition,
    files: CheckpointFiles,
    outage_file: Option<OutageFile>,
    /// Of a stream: since when it cannot be read, in seconds since 1970, and why.
    source_fault: Option<(i64, String)>,
}

/// The index of the first one, and the positions.
type OpenedCheckpoints = (usize, Vec<Option<Position>>);

/// The progress in one ring.
struct RingProgress {
    ring: RingName,
    /// The host of its collector, and the generation in which it was read: another generation may be of another host.
    host: Option<(u64, String)>,
    checkpoint: Option<Checkpoint>,
    /// The last one that was confirmed, also if the destination has another one now: it may be another server.
    confirmed: Option<Checkpoint>,
    /// The sink returned it, or has none.
    is_loaded: bool,
    /// A restart of the checkpoint is pending or in the spool: the checkpoint does not apply to new items.
    restarting: bool,
    /// Of a stream: the sensor that read the ring, and its name there.
    sensor: Option<(String, RingName)>,
    /// Events delivered in this run.
    delivered: u64,
    /// Of those, the ones that were missing when the next ones were delivered: see [`Delivery::report_lacking`].
    lacking: u64,
    /// Why the spool had no room while the destination was down, if that is not passed to the sink yet.
    was_full: Option<String>,
}

impl RingProgress {
    fn new(ring: RingName, checkpoint: Option<Checkpoint>, restarting: bool) -> RingProgress {
        let (host, sensor, was_full, is_loaded) = (None, None, None, true);
        let (confirmed, delivered, lacking) = (checkpoint, 0, 0);
        RingProgress {
            ring,
            host,
            checkpoint,
            confirmed,
            is_loaded,
            restarting,
            sensor,
            delivered,
            lacking,
            was_full,
        }
    }

    /// The entry of an event of this ring.
    fn entry(&mut self, position: Position, event: Event) -> Entry<'_> {
        let RingProgress { ring, host, sensor, .. } = self;
        if let Some((host, ring)) = sensor {
            return Entry { ring, host, position, event };
        }
        let known = host.take().filter(|(generation, _)| *generation == position.generation);
        let (_, host) = host.insert(known.unwrap_or_else(|| (position.generation, host_of(ring))));
        Entry { ring, host, position, event }
    }
}

impl<'a, S: Sink> Delivery<'a, S> {
    pub fn new(sink: &'a mut S, plan: &'a Plan, mut files: CheckpointFiles) -> Result<Self, Error> {
        files.schedule.copies = files.in_sink && !plan.interval.is_zero();
        let mode = Mode::initial(files.spool.as_ref())?;
        let outage_file = files.spool.as_ref().map(OutageFile::open).transpose()?;
        let (ring_states, pending) = (Vec::new(), Vec::new());
        Ok(Delivery {
            sink,
            plan,
            ring_states,
            pending,
            pending_since: None,
            began: Instant::now(),
            confirmed_at: None,
            is_maintaining: false,
            mode,
            behind: None,
            unkept: Condition::default(),
            files,
            outage_file,
            source_fault: None,
        })
    }

    /// Reports for `--health` in this file while nothing is delivered: for an output that has no spool.
    pub fn report_in(&mut self, file: OutageFile) {
        self.outage_file = Some(file);
    }

    /// Why the stream cannot be read at present, and since when.
    pub fn report_source(&mut self, fault: Option<(i64, String)>) {
        self.source_fault = fault;
    }

    /// Keeps room for the checkpoints of these rings where this program stores them. False if there is none.
    pub fn reserve(&mut self, rings: &[RingName]) -> bool {
        self.files.file.as_mut().is_none_or(|file| file.reserve(rings))
    }

    /// Loads the checkpoint of a ring; returns the position to resume at, if there is one.
    pub fn open(&mut self, ring: &RingName) -> Result<Option<Position>, Error> {
        let mut is_loaded = true;
        let checkpoint = match self.sink.checkpoints().map(|store| store.load(ring)) {
            // Also if it has none: the files may belong to other rows.
            Some(Ok(stored)) => stored,
            Some(Err(fault)) => {
                self.fail(fault)?;
                is_loaded = false;
                self.files.load_latest(ring)?
            }
            None => self.files.load_latest(ring)?,
        };
        if let (Some(spool), Some(checkpoint)) = (&mut self.files.spool, &checkpoint) {
            let removed = spool.remove_included(ring, checkpoint);
            removed.map(drop).or_else(|fault| self.fail(fault))?;
        }
        let (restarting, end) = match &self.files.spool {
            Some(spool) => (spool.has_restart(ring)?, spool.end_position(ring)?),
            None => (false, None),
        };
        let mut state = RingProgress::new(ring.clone(), checkpoint, restarting);
        if end.is_some() {
            // What follows in the spool was read after that.
            let copy = self.files.load_latest(ring)?;
            let is_of =
                |copy: &Checkpoint| checkpoint.is_some_and(|it| it.generation == copy.generation);
            state.confirmed = copy.filter(is_of).or(checkpoint);
        }
        self.ring_states.push(RingProgress { is_loaded, ..state });
        Ok(end.or(checkpoint.map(|checkpoint| checkpoint.position())))
    }

    /// The same for checkpoints of these names in a stream, of which a sensor has several: its host, and its ring there. Returns the index
    /// of the first one, and the positions; none while the sink cannot return them, and then nothing is open.
    pub fn open_all(
        &mut self,
        names: &[RingName],
        sensor: Option<(&str, &RingName)>,
    ) -> Result<Option<OpenedCheckpoints>, Error> {
        let (first, mut positions) = (self.ring_states.len(), Vec::new());
        for name in names {
            positions.push(self.open(name)?);
            if self.is_waiting_for().is_some() {
                self.ring_states.truncate(first);
                return Ok(None);
            }
        }
        for state in &mut self.ring_states[first..] {
            state.sensor = sensor.map(|(host, ring)| (host.into(), ring.clone()));
        }
        Ok(Some((first, positions)))
    }

    /// Whether it accepts more events.
    pub fn has_room(&self) -> bool {
        !self.mode.accepts_nothing() && self.pending.len() < self.batch()
    }

    /// Items of a batch: for the spool, more than for most sinks, because each batch is synced.
    fn batch(&self) -> usize {
        match self.mode {
            Mode::Direct | Mode::Waiting(_) => self.plan.batch,
            Mode::Spooling(_) => self.plan.batch.max(SPOOL_BATCH),
        }
    }

    /// Takes an item of the ring with the index `ring`, in the order of the calls to `open`.
    pub fn take(&mut self, ring: usize, item: StreamItem) -> Result<(), Error> {
        let restart = item.kind == ItemKind::Restart;
        if restart {
            self.deliver()?;
        }
        let state = &mut self.ring_states[ring];
        state.restarting |= restart;
        // Read a second time: the sink could not return its checkpoint before.
        if !state.restarting && state.checkpoint.is_some_and(|it| it.includes(&item)) {
            return Ok(());
        }
        if !self.plan.keeps_batches
            && let (Mode::Direct, ItemKind::Event(event)) = (&self.mode, item.kind)
        {
            let entry = self.ring_states[ring].entry(item.at, event);
            if let Err(fault) = self.sink.write(&entry) {
                self.fail(fault)?;
            }
        }
        if self.pending.is_empty() {
            self.pending_since = Some(Instant::now());
        }
        // Losses while there is no room are merged into one item.
        if let ItemKind::Lost(more) = item.kind
            && let Some((_, last)) = self.pending.iter_mut().rev().find(|(of, _)| *of == ring)
            && let ItemKind::Lost(number) = &mut last.kind
            && last.at.generation == item.at.generation
        {
            *number += more;
            return Ok(());
        }
        self.pending.push((ring, item));
        // A restart is delivered alone: while it is unknown whether the sink confirmed it, no later item
        // was delivered, so that it can be delivered again.
        if restart { self.deliver() } else { Ok(()) }
    }

    /// The position up to which the sink confirmed the events of a ring.
    pub fn confirmed(&self, ring: usize) -> Option<Position> {
        self.ring_states.get(ring)?.checkpoint.map(|checkpoint| checkpoint.position())
    }

    /// When the pending items are to be delivered.
    fn due(&self) -> Option<Instant> {
        let since = self.pending_since?;
        let Mode::Direct = self.mode else { return Some(since + LONGEST_WAIT) };
        let next = self.confirmed_at.filter(|_| !self.is_maintaining);
        // After the start, each interval is twice the one before: the first answers of a new history do not lack a minute.
        let interval = |last: Instant| self.plan.interval.min(last - self.began);
        let next = next.map(|last| last + interval(last));
        Some((since + self.plan.linger).max(next.unwrap_or(since)))
    }

    /// Whether the first events of a ring would wait for an interval: until its position is stored, a kill would not read them again.
    pub fn has_first_of(&self, ring: usize) -> bool {
        let is_of_ring = |(index, _): &(usize, StreamItem)| *index == ring;
        !self.plan.interval.is_zero() && self.pending.iter().any(is_of_ring)
    }

    /// Delivers what is pending before its time: the collector may overwrite it soon, and then a kill would lose it.
    pub fn hurry(&mut self) -> Result<(), Error> {
        match self.mode {
            Mode::Direct if self.plan.keeps_batches => self.keep(),
            Mode::Direct => self.deliver(),
            Mode::Spooling(_) | Mode::Waiting(_) => Ok(()),
        }
    }

    /// Does what is due: delivers, spools, tries the destination again, saves checkpoints. `idle`: there
    /// are no more events to read now; `behind`: the collector may overwrite unread ones soon, so that the
    /// spool must wait. Returns whether there is more to do at once.
    pub fn work(&mut self, idle: bool, behind: bool) -> Result<bool, Error> {
        let batching = match self.mode {
            Mode::Direct => LONGEST_WAIT.saturating_sub(self.plan.linger),
            Mode::Spooling(_) | Mode::Waiting(_) => Duration::ZERO,
        };
        let is_due = |due: Instant| {
            let late = Instant::now().checked_duration_since(due);
            late.is_some_and(|late| idle || late >= batching)
        };
        let look = if idle { self.look()? } else { Look::Wait };
        let is_full = self.pending.len() >= self.batch() || look == Look::Flush;
        if is_full || self.due().is_some_and(is_due) {
            self.deliver()?;
        }
        let more = look == Look::Again;
        let more =
            more || (!behind || !self.has_room()) && self.drain()? || (idle && self.maintain()?);
        self.save_if_due()?;
        self.report_outage();
        Ok(more)
    }

    /// Lets the sink look for what comes beside the events, while these wait.
    fn look(&mut self) -> Result<Look, Error> {
        if self.pending.is_empty() || !matches!(self.mode, Mode::Direct) {
            return Ok(Look::Wait);
        }
        self.sink.look().or_else(|fault| self.fail(fault).map(|()| Look::Wait))
    }

    /// Lets the sink do its maintenance, if nothing is pending; returns whether there is more to do.
    pub fn maintain(&mut self) -> Result<bool, Error> {
        if !self.pending.is_empty() || !matches!(self.mode, Mode::Direct) {
            return Ok(false);
        }
        self.is_maintaining = false;
        let more = self.sink.maintain().or_else(|fault| self.fail(fault).map(|()| false))?;
        self.is_maintaining = more;
        Ok(more)
    }

    /// Passes the state of a ring to the sink, if the destination is not down. That the spool was full while it was down is
    /// passed afterwards.
    pub fn observe(&mut self, ring: usize, source: &Source) -> Result<(), Error> {
        let full = self.spool_full();
        let state = &mut self.ring_states[ring];
        if self.mode.is_down() {
            state.was_full = full.or(state.was_full.take());
            return Ok(());
        }
        let full = full.or(state.was_full.take());
        let state = source.state(state.checkpoint, full);
        self.sink.observe(&state).or_else(|fault| self.fail(fault))
    }

    /// What cannot be delivered at present, for `systemctl status`.
    pub fn lacks(&self) -> Option<String> {
        if let Some(why) = self.is_waiting_for() {
            return Some(why);
        }
        if !self.mode.is_down() {
            return self.sink.lacks();
        }
        let outage = self.outage_file.as_ref().and_then(OutageFile::next_try);
        let (next, why) = outage.unwrap_or_default();
        Some(format!("events are queued{next}: {why}"))
    }

    /// Why nothing is read at present, if so.
    pub fn is_waiting_for(&self) -> Option<String> {
        match &self.mode {
            Mode::Waiting(outage) => Some(outage.why.clone()),
            Mode::Direct | Mode::Spooling(_) => None,
        }
    }

    /// Makes the sink re-open its files, after all pending items are delivered.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.deliver()?;
        self.sink.reopen().or_else(|fault| self.fail(fault))
    }

    /// Whether events wait for others, so that further ones need not be read before `work` is due.
    pub fn is_gathering(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How long until `work` is due again.
    pub fn pause(&self) -> Duration {
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        let due = self.due().map_or(SAVE_INTERVAL, left);
        match &self.mode {
            Mode::Direct if self.pending.is_empty() => due.min(self.sink.maintain_within()),
            Mode::Direct => due.min(self.sink.look_within()),
            Mode::Spooling(outage) => due.min(left(outage.retry_at)),
            Mode::Waiting(outage) => left(outage.retry_at),
        }
    }

    /// Delivers or spools all pending items, and saves the checkpoints.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.deliver()?;
        if self.plan.keeps_batches {
            self.send_kept()?;
        }
        self.save()
    }

    /// Lets the sink confirm the pending items; if it fails, they go to the spool.
    fn deliver(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if matches!(self.mode, Mode::Direct) && self.plan.keeps_batches {
            self.keep()?;
            while self.drain()? {}
            return Ok(());
        }
        if matches!(self.mode, Mode::Direct) {
            let pending = std::mem::take(&mut self.pending);
            let confirmed = self.confirm(&pending);
            self.pending = pending;
            match confirmed {
                Ok(()) => {
                    self.pending.clear();
                    self.pending_since = None;
                    return self.update_pending_restarts();
                }
                Err(fault) => self.fail(fault)?,
            }
        }
        self.spool_pending()
    }

    /// Lets the sink confirm these items, which it has taken, and advances the checkpoints.
    fn confirm(&mut self, items: &[(usize, StreamItem)]) -> Result<(), Fault> {
        let mut checkpoints: Vec<_> =
            self.ring_states.iter().map(|state| state.checkpoint).collect();
        for (ring, item) in items {
            checkpoints[*ring] = Some(Checkpoint::after(checkpoints[*ring], item));
        }
        for (state, checkpoint) in self.ring_states.iter().zip(&checkpoints) {
            if let Some(new) = checkpoint.filter(|_| *checkpoint != state.checkpoint) {
                if let Some(store) = self.sink.checkpoints() {
                    store.store(&state.ring, &new)?;
                }
                self.sink.progress(&state.ring, state.checkpoint.as_ref(), &new)?;
            }
        }
        self.sink.flush()?;
        self.confirmed_at = Some(Instant::now());
        self.report_lacking(&checkpoints);
        for (ring, item) in items {
            self.ring_states[*ring].delivered += u64::from(matches!(item.kind, ItemKind::Event(_)));
        }
        // The stream, which is the first, comes last: what a kill leaves behind is read again, and known by the sensors' checkpoints.
        for (state, checkpoint) in self.ring_states.iter_mut().zip(checkpoints).rev() {
            if let Some(new) = checkpoint.filter(|_| checkpoint != state.checkpoint) {
                self.files.confirmed(&state.ring, &new, state.checkpoint.is_none());
            }
            state.checkpoint = checkpoint;
        }
        Ok(())
    }

    /// These checkpoints are confirmed. Logs how many events were confirmed earlier and are not in the rows that they continue, because the
    /// destination is another server now, or was restored from a copy.
    fn report_lacking(&mut self, checkpoints: &[Option<Checkpoint>]) {
        let is_stream = self.ring_states.iter().any(|state| state.sensor.is_some());
        let (mut rings, mut all, mut counted) = (Vec::new(), 0, 0);
        for (state, new) in self.ring_states.iter_mut().zip(checkpoints) {
            let Some(new) = new.filter(|_| *new != state.checkpoint) else { continue };
            let confirmed = state.confirmed.replace(new);
            // A stream's own position counts messages; the events in them are counted for each sensor.
            let is_counted = !is_stream || state.sensor.is_some();
            let (Some(base), Some(confirmed), true) = (state.checkpoint, confirmed, is_counted)
            else {
                continue;
            };
            let mut lacking = if base == confirmed { 0 } else { confirmed.not_in(&base) };
            if base.generation != confirmed.generation {
                lacking = lacking.min(state.delivered); // what an earlier run confirmed may be of a still older stream
            }
            if lacking > 0 {
                let in_run = lacking.min(state.delivered);
                state.delivered -= in_run;
                state.lacking += in_run;
                let before = if base.generation == new.generation { base.lost } else { 0 };
                counted += new.lost.saturating_sub(before);
                all += lacking;
                rings.push(&state.ring);
            }
        }
        if let [first, more @ ..] = &*rings {
            let events = count_of(all, "event", "events");
            let more =
                if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            warn(format_args!(
                "ring {first}{more}: {} lacks {events} that were confirmed (it has an older copy of the rows); its position counts {counted} as lost",
                self.sink.destination()
            ));
        }
    }

    /// After a confirmation: updates which rings still have a pending restart.
    fn update_pending_restarts(&mut self) -> Result<(), Error> {
        for (index, state) in
            self.ring_states.iter_mut().enumerate().filter(|(_, state)| state.restarting)
        {
            let restart =
                |(of, item): &(usize, StreamItem)| *of == index && item.kind == ItemKind::Restart;
            let spooled = self.files.spool.as_ref().map(|spool| spool.has_restart(&state.ring));
            state.restarting = self.pending.iter().any(restart) || spooled.unwrap_or(Ok(false))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
