//! While the destination is down, events go to the spool, and from there to the sink once it accepts
//! events again.

use std::time::{Duration, Instant};

use aw_service::{Backoff, Condition, Error, info};
use shm_layout::UnixTime;

use super::{Delivery, RingProgress};
use crate::{
    CheckpointStore, Fault, Sink,
    checkpoint::{ItemKind, StreamItem},
    outage_file::OutageFile,
    spool::{KeptBatch, Spool},
};

/// Where items go.
pub(super) enum Mode {
    /// To the sink.
    Direct,
    /// To the spool, until the destination is back, or has caught up.
    Spooling(Outage),
    /// To the sink once it accepts them again; until then nothing more is read, because the source keeps it.
    Waiting(Outage),
}

/// The shortest time between two messages that the sink is too slow for the events that arrive.
const BEHIND_INTERVAL: Duration = Duration::from_secs(60);

/// How long sending may go on at the end.
const SEND_TIME: Duration = Duration::from_secs(5);

/// The state of delivery while the destination is down, or slower than events arrive.
pub(super) struct Outage {
    pub retry_at: Instant,
    /// The last failure of the destination.
    pub why: String,
    /// When it began, in seconds since 1970.
    since: i64,
    backoff: Backoff,
    /// The spool has no room for the pending items.
    full: bool,
    /// It began because the sink is slower than events arrive.
    is_behind: bool,
    /// The destination fails; not yet at a start with events in the spool.
    down: Condition,
    /// Events are lost because the spool is full.
    overflow: Condition,
    /// The sink may have stored more than it confirmed before it failed, or before this process was killed.
    unconfirmed: bool,
}

/// What the sink accepted from the spool or from the pending items.
enum Accepted {
    /// The items of the spool up to this number.
    Spooled { last: i64 },
    /// This many pending items.
    Pending { count: usize },
    /// There was nothing to deliver.
    Nothing,
}

impl Mode {
    /// At the start: events in the spool are delivered first.
    pub fn initial(spool: Option<&Spool>) -> Result<Mode, Error> {
        let empty = spool.map_or(Ok(true), Spool::is_empty)?;
        Ok(if empty { Mode::Direct } else { Mode::Spooling(Outage::new()) })
    }

    pub fn is_full(&self) -> bool {
        matches!(self, Mode::Spooling(outage) if outage.full)
    }

    /// Whether nothing more is to be read.
    pub fn accepts_nothing(&self) -> bool {
        self.is_full() || matches!(self, Mode::Waiting(_))
    }

    pub fn is_down(&self) -> bool {
        matches!(self, Mode::Spooling(outage) | Mode::Waiting(outage) if outage.down.is_present())
    }
}

impl Outage {
    fn new() -> Outage {
        let (backoff, down, overflow) = Default::default();
        let retry_at = Instant::now();
        Outage {
            retry_at,
            why: String::new(),
            since: UnixTime::now().seconds(),
            backoff,
            full: false,
            is_behind: false,
            down,
            overflow,
            unconfirmed: true,
        }
    }
}

impl<S: Sink> Delivery<'_, S> {
    /// The sink failed: from now on events go to the spool, if there is one, or stay where they are.
    pub(super) fn fail(&mut self, fault: Fault) -> Result<(), Error> {
        let spool = self.files.spool.as_ref();
        let Fault::Down(why) = &fault else { return Err(fault.into_error()) };
        if spool.is_none() && !self.plan.waits {
            return Err(fault.into_error());
        }
        if matches!(self.mode, Mode::Direct) {
            let outage = Outage::new();
            self.mode =
                if spool.is_some() { Mode::Spooling(outage) } else { Mode::Waiting(outage) };
        }
        let mut pause = Duration::ZERO;
        if let Mode::Spooling(outage) | Mode::Waiting(outage) = &mut self.mode {
            let meanwhile = match spool {
                Some(spool) => format!("queueing events in {}", spool.path().display()),
                None => "reading no further events".into(),
            };
            outage.down.begins(format_args!(
                "{why}: {meanwhile} until the destination accepts them, which is tried at least once a minute"
            ));
            pause = outage.backoff.jittered_pause();
            outage.retry_at = Instant::now() + pause;
            outage.unconfirmed = true;
            outage.why.clone_from(why);
        }
        if let (Some(file), Some(spool)) = (&mut self.outage_file, spool) {
            file.begin(why, spool, pause);
        }
        Ok(())
    }

    /// Delivers the pending items that the sink did not accept before.
    fn retry(&mut self) -> Result<bool, Error> {
        if let Err(fault) = self.deliver_again() {
            return self.fail(fault).map(|()| false);
        }
        if let Mode::Waiting(outage) = &mut self.mode {
            outage.down.ends("the destination is back: events are delivered again");
        }
        self.mode = Mode::Direct;
        self.update_pending_restarts().map(|()| true)
    }

    fn deliver_again(&mut self) -> Result<(), Fault> {
        self.remove_stored_items()?;
        loop {
            let all = self.pending.len().min(self.plan.batch);
            let before_restart =
                batch_before_restart(self.pending[..all].iter().map(|(_, item)| item));
            let batch = self.pending[..before_restart.unwrap_or(all)].to_vec();
            for (index, item) in &batch {
                if let ItemKind::Event(event) = item.kind {
                    self.sink.write(&self.ring_states[*index].entry(item.at, event))?;
                }
            }
            self.confirm(&batch)?; // without an item, it shows whether the destination is back
            self.pending.drain(..batch.len());
            if self.pending.is_empty() {
                self.pending_since = None;
                return Ok(());
            }
        }
    }

    /// The ring fills faster than the sink takes events, and the collector may overwrite unread ones soon:
    /// from now on they go to the spool, which is faster. The sink gets them from there, while nothing
    /// is to be read.
    pub fn fall_behind(&mut self) -> Result<(), Error> {
        if self.files.spool.is_none() || !matches!(self.mode, Mode::Direct) {
            return Ok(());
        }
        self.deliver()?;
        if !matches!(self.mode, Mode::Direct) {
            return Ok(()); // the sink failed
        }
        let is_due = self.behind.is_none_or(|last| last.elapsed() >= BEHIND_INTERVAL);
        if let Some(spool) = self.files.spool.as_ref().filter(|_| is_due) {
            self.behind = Some(Instant::now());
            let path = spool.path().display();
            info(format_args!(
                "events arrive faster than they can be delivered: queueing them in {path}"
            ));
        }
        self.mode = Mode::Spooling(Outage { is_behind: true, unconfirmed: false, ..Outage::new() });
        Ok(())
    }

    /// Puts the pending items into the spool, from which they are sent: not before the interval between two deliveries is over, if the
    /// ring could not wait as long.
    pub(super) fn keep(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let retry_at = self.due().unwrap_or_else(Instant::now);
        self.mode = Mode::Spooling(Outage {
            retry_at,
            is_behind: true,
            unconfirmed: false,
            ..Outage::new()
        });
        self.spool_pending()
    }

    /// Sends what waits in the spool for the end of the interval, as far as that takes a few seconds.
    pub(super) fn send_kept(&mut self) -> Result<(), Error> {
        let end = Instant::now() + SEND_TIME;
        if let Mode::Spooling(outage) = &mut self.mode
            && !outage.down.is_present()
        {
            outage.retry_at = Instant::now();
            while Instant::now() < end && self.drain()? {}
        }
        Ok(())
    }

    /// Stores for `--health` why nothing is delivered, or how much is queued while the destination is down.
    pub(super) fn report_outage(&mut self) {
        let Some(file) = &mut self.outage_file else { return };
        match (&self.mode, &self.files.spool) {
            (Mode::Direct, _) => file.part(self.source_fault.clone().or_else(|| self.sink.stuck())),
            (Mode::Waiting(outage), _) => file.part(Some((outage.since, outage.why.clone()))),
            (Mode::Spooling(outage), Some(spool)) if outage.down.is_present() => {
                file.update(spool, false);
            }
            (Mode::Spooling(_), _) => {}
        }
    }

    /// Why the spool has no room, if so.
    pub(super) fn spool_full(&self) -> Option<String> {
        let spool = self.files.spool.as_ref().filter(|_| self.mode.is_full())?;
        Some(full(spool))
    }

    pub(super) fn spool_pending(&mut self) -> Result<(), Error> {
        let checkpoints = self.checkpoints();
        let (Some(spool), Mode::Spooling(outage)) = (&mut self.files.spool, &mut self.mode) else {
            return Ok(());
        };
        let ring = |index: usize| &self.ring_states[index].ring;
        let items: Vec<_> =
            self.pending.iter().map(|(index, item)| (ring(*index), *item)).collect();
        outage.full = !spool.append(&items, &checkpoints)?;
        if !outage.full {
            self.pending.clear();
            self.pending_since = None;
            return Ok(());
        }
        self.pending_since = Some(Instant::now());
        if self.plan.keeps_batches && !outage.down.is_present() {
            outage.retry_at = Instant::now(); // the sink gets them without it, also before the interval is over
            self.unkept.begins(unkept(spool));
            return Ok(());
        }
        // Reported once for each outage, even if there is room for a while.
        outage.overflow.begins(full(spool));
        Ok(())
    }

    /// Delivers a batch from the spool to the sink, if a retry is due. Returns whether there is more.
    pub(super) fn drain(&mut self) -> Result<bool, Error> {
        if matches!(&self.mode, Mode::Waiting(outage) if outage.retry_at <= Instant::now()) {
            return self.retry();
        }
        if !matches!(&self.mode, Mode::Spooling(outage) if outage.retry_at <= Instant::now()) {
            return Ok(false);
        }
        let accepted = match self.deliver_oldest() {
            Ok(accepted) => accepted,
            Err(fault) => return self.fail(fault).map(|()| false),
        };
        let checkpoints = self.checkpoints();
        match (accepted, &mut self.files.spool) {
            // What is in the spool is delivered before what comes now.
            (Accepted::Nothing, Some(spool)) => {
                debug_assert!(matches!(spool.is_empty(), Ok(true)), "items are in the spool");
            }
            (_, None) => {}
            (Accepted::Spooled { last }, Some(spool)) => {
                // Other files fill its disk: the delivered items are removed later.
                if let Err(Error::Failed(why)) = spool.remove_delivered(last, &checkpoints) {
                    return self.fail(Fault::Down(why)).map(|()| false);
                }
                return self.continue_draining();
            }
            (Accepted::Pending { count }, Some(_)) => {
                self.pending.drain(..count);
                self.pending_since = (!self.pending.is_empty()).then(Instant::now);
                return self.continue_draining();
            }
        }
        if !matches!(&self.mode, Mode::Spooling(outage) if outage.is_behind && !outage.down.is_present())
        {
            info(self.sink.spool_is_empty());
        }
        self.mode = Mode::Direct;
        self.outage_file.iter_mut().for_each(OutageFile::end);
        Ok(true)
    }

    /// The sink accepted items: continues with the next ones at once.
    fn continue_draining(&mut self) -> Result<bool, Error> {
        if let Mode::Spooling(outage) = &mut self.mode {
            outage.backoff.reset();
            (outage.full, outage.unconfirmed) = (false, false);
        }
        self.update_pending_restarts().map(|()| true)
    }

    /// Delivers the oldest items: those in the spool, then the pending ones that it had no room for.
    fn deliver_oldest(&mut self) -> Result<Accepted, Fault> {
        if matches!(&self.mode, Mode::Spooling(outage) if outage.unconfirmed) {
            self.remove_stored_items()?;
        }
        let Some(spool) = &mut self.files.spool else { return Ok(Accepted::Nothing) };
        let kept = if self.plan.keeps_batches { spool.kept_batch()? } else { None };
        let (items, last) = match &kept {
            Some(kept) => spool.oldest(usize::MAX, kept.last)?,
            None => {
                let (items, last) = spool.oldest(self.plan.batch, i64::MAX)?;
                match batch_before_restart(items.iter().map(|(_, item)| item)) {
                    Some(count) => spool.oldest(count, i64::MAX)?,
                    None => (items, last),
                }
            }
        };
        let mut batch = Vec::with_capacity(items.len());
        for (ring, item) in items {
            let found = self.ring_states.iter().position(|state| state.ring == ring);
            let index = match found {
                Some(index) => index,
                None => {
                    // From an earlier run, of a ring that is no longer read.
                    let checkpoint = match self.sink.checkpoints() {
                        Some(store) => store.load(&ring)?,
                        None => spool.load(&ring)?,
                    };
                    self.ring_states.push(RingProgress::new(ring, checkpoint, false));
                    self.ring_states.len() - 1
                }
            };
            batch.push((index, item));
        }
        let is_full = matches!(&self.mode, Mode::Spooling(outage) if outage.full);
        let accepted = match self.pending.len() {
            _ if last > 0 => Accepted::Spooled { last },
            0 => Accepted::Nothing,
            // They are of the next batch.
            _ if self.plan.keeps_batches && !is_full => Accepted::Nothing,
            all => {
                let all = all.min(self.plan.batch);
                let before_restart =
                    batch_before_restart(self.pending[..all].iter().map(|(_, item)| item));
                let count = before_restart.unwrap_or(all);
                batch.extend_from_slice(&self.pending[..count]);
                Accepted::Pending { count }
            }
        };
        let kept = match kept {
            None if self.plan.keeps_batches && last > 0 => Some(self.keep_batch(last, &batch)?),
            kept => kept,
        };
        for (index, item) in &batch {
            if let ItemKind::Event(event) = item.kind {
                let state = &mut self.ring_states[*index];
                if let Some(host) = kept.as_ref().and_then(|kept| kept.host(&state.ring, item.at)) {
                    state.host = Some((item.at.generation, host.to_owned()));
                }
                self.sink.write(&state.entry(item.at, event))?;
            }
        }
        if !batch.is_empty() {
            self.confirm(&batch)?;
        }
        Ok(accepted)
    }

    /// Stores that the items of the spool up to this number are one batch, and the hosts of their collectors: when it is sent again, a
    /// ring may be gone, or that of another host.
    fn keep_batch(&mut self, last: i64, batch: &[(usize, StreamItem)]) -> Result<KeptBatch, Fault> {
        let mut kept = KeptBatch { last, hosts: Vec::new() };
        for (index, item) in batch {
            let state = &mut self.ring_states[*index];
            if let ItemKind::Event(event) = item.kind
                && kept.host(&state.ring, item.at).is_none()
            {
                let host = state.entry(item.at, event).host.to_owned();
                kept.hosts.push((state.ring.clone(), item.at.generation, host));
            }
        }
        if let Some(spool) = &mut self.files.spool {
            match spool.keep_batch(&kept)? {
                true => self.unkept.ends("batches are kept in the spool again"),
                false => self.unkept.begins(unkept(spool)),
            }
        }
        Ok(kept)
    }

    /// Removes the items that the sink has stored, according to its checkpoints, from the spool and from
    /// the pending items, and counts their events as delivered.
    fn remove_stored_items(&mut self) -> Result<(), Fault> {
        for (index, state) in self.ring_states.iter_mut().enumerate() {
            // Of a stream there are thousands of checkpoints, and those without an item did not change.
            let has_item = || self.pending.iter().any(|(of, _)| *of == index);
            if self.files.spool.is_none() && state.is_loaded && !has_item() {
                continue;
            }
            let checkpoint = match self.sink.checkpoints() {
                Some(store) => store.load(&state.ring)?,
                None => state.checkpoint,
            };
            state.is_loaded = true;
            let Some(checkpoint) = checkpoint else { continue };
            state.checkpoint = Some(checkpoint);
            if let Some(spool) = &mut self.files.spool {
                state.delivered += spool.remove_included(&state.ring, &checkpoint)?;
                if spool.has_restart(&state.ring)? {
                    continue; // all pending items follow that restart
                }
            }
            let is_restart =
                |(of, item): &(usize, StreamItem)| *of == index && item.kind == ItemKind::Restart;
            let limit = self.pending.iter().position(is_restart).unwrap_or(self.pending.len());
            let is_stored =
                |(of, item): &(usize, StreamItem)| *of == index && checkpoint.includes(item);
            let stored = self.pending[..limit].iter().rposition(is_stored);
            let end = stored.map_or(0, |last| last + 1);
            let mut place = 0..;
            self.pending.retain(|(of, item)| {
                let keep = place.next() >= Some(end) || *of != index;
                state.delivered += u64::from(!keep && matches!(item.kind, ItemKind::Event(_)));
                keep
            });
        }
        Ok(())
    }
}

/// The number of items of the next batch, if a restart limits it: a restart is delivered alone, see
/// [`Delivery::take`].
fn batch_before_restart<'a>(mut items: impl Iterator<Item = &'a StreamItem>) -> Option<usize> {
    let restart = items.position(|item| item.kind == ItemKind::Restart);
    restart.map(|before| before.max(1))
}

fn unkept(spool: &Spool) -> String {
    format!(
        "{} has no room: batches are sent and not kept, and the server may have the events of one whose answer is lost twice (raise --spool-size, or free space on its disk)",
        spool.path().display()
    )
}

fn full(spool: &Spool) -> String {
    format!(
        "{} is full: events that the rings overwrite from now on are lost (raise --spool-size, or free space on its disk)",
        spool.path().display()
    )
}
