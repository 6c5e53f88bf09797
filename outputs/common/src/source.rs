//! One ring as an output reads it: across restarts of its collector, changes of its size and its removal.

use std::time::{Duration, Instant};

use aw_service::{Condition, Error, count_of, info, join_group, warn};
use rustix::io::Errno;
use shm_layout::{AttachError, CaptureState, Next, Position, Reader, RingName, Start, UnixTime};

use crate::{
    Checkpoint, LossCause, RingState, StartFrom,
    checkpoint::{ItemKind, StreamItem},
    this_host,
    writer_kills::{kills_status, not_started_again, writer_of},
};

/// How often a missing ring is looked for, and an idle ring is checked for a replacement.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// If no descriptor is free, a ring is opened so often again, with a pause before each.
const DESCRIPTOR_TRIES: u32 = 20;
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(100);
/// The shortest time between two reports of lost events.
const LOSS_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// A collector updates its heartbeat once a second; after this time without one it is dead or hangs.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a ring may be missing that was not there since the start, or be without a collector that has ended in order: at
/// boot, it may start later, and an update or a restart waits for its interfaces.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Events that a reader may always be behind, as far as they are half of the ring; above that, a quarter of it.
const LEAST_BACKLOG: u64 = 4096;

/// A ring, its reader while it exists, and its counts.
pub(crate) struct Source<'a> {
    ring: &'a RingName,
    /// Users whose rings are trusted.
    owners: &'a [u32],
    verbose: bool,
    once: bool,
    from: StartFrom,
    pub reader: Option<Reader>,
    /// An item that was read but not taken yet.
    next: Option<StreamItem>,
    /// Where to resume when the ring appears.
    resume: Option<Position>,
    /// The ring does not exist yet.
    waiting: bool,
    /// The ring was truncated, and has not been created again yet.
    cut: bool,
    /// Since when; and whether it existed before, in this run.
    waiting_since: Instant,
    existed: bool,
    /// The ring was replaced by a new segment; its remaining events are read first.
    replaced: bool,
    checked_at: Instant,
    heartbeat: Heartbeat,
    pub lost: u64,
    /// Those of them that a truncation took; and whether it took the newest.
    cut_events: u64,
    loss: LossCause,
    pub skipped: u64,
    /// The numbers of losses that were reported, all and those by a truncation, and when.
    losses_reported: ([u64; 2], Instant),
}

/// The last heartbeat, and since when it has this value. Its age is measured with the monotonic clock, so
/// that a change of the system time causes no false alarm.
struct Heartbeat {
    last: UnixTime,
    since: Instant,
    missing: Condition,
}

impl<'a> Source<'a> {
    pub fn new(
        ring: &'a RingName,
        owners: &'a [u32],
        (verbose, once): (bool, bool),
        from: StartFrom,
        resume: Option<Position>,
    ) -> Self {
        let (now, missing) = (Instant::now(), Condition::default());
        Source {
            ring,
            owners,
            verbose,
            once,
            from,
            reader: None,
            next: None,
            resume,
            waiting: false,
            cut: false,
            waiting_since: now,
            existed: false,
            replaced: false,
            checked_at: now,
            heartbeat: Heartbeat { last: UnixTime::default(), since: now, missing },
            lost: 0,
            cut_events: 0,
            loss: LossCause::default(),
            skipped: 0,
            losses_reported: ([0; 2], now),
        }
    }

    /// Attaches if the ring exists. After waiting for it, reading begins with its first event.
    pub fn attach(&mut self) -> Result<(), Error> {
        let start = match (self.resume, self.from) {
            (Some(position), _) => Start::At(position),
            (None, _) if self.waiting => Start::First,
            (None, StartFrom::Now) => Start::Now,
            (None, StartFrom::Oldest | StartFrom::Resume) => Start::Oldest,
        };
        let mut attached = self.attach_at(start);
        // Clients of this program may have all descriptors before it reads anything: they go.
        for _ in 0..DESCRIPTOR_TRIES {
            match &attached {
                Err(AttachError::Io(error)) if !self.once && is_short_of_descriptors(error) => {
                    std::thread::sleep(DESCRIPTOR_PAUSE);
                    attached = self.attach_at(start);
                }
                _ => break,
            }
        }
        match attached {
            Ok(reader) => {
                if self.verbose || self.waiting {
                    info(format_args!(
                        "reading ring {}, {} slots, generation {:016x}, from event {}",
                        self.ring,
                        reader.slots(),
                        reader.generation(),
                        reader.position().sequence
                    ));
                }
                self.reader = Some(reader);
                (self.waiting, self.cut, self.existed) = (false, false, true);
                self.resume = None;
                self.heartbeat.since = Instant::now();
                Ok(())
            }
            Err(error @ (AttachError::Missing | AttachError::Cut)) if !self.once => {
                self.cut = matches!(error, AttachError::Cut);
                if !self.waiting {
                    self.waiting_since = Instant::now();
                    info(format_args!(
                        "waiting for ring {} (start the collector, or name its ring with -m)",
                        self.ring
                    ));
                }
                self.waiting = true;
                Ok(())
            }
            // Clients of this program have all descriptors: they go, and then it looks again.
            Err(AttachError::Io(error)) if self.waiting && is_short_of_descriptors(&error) => {
                Ok(())
            }
            Err(error) => {
                Err(Error::new(format_args!("open ring {}", self.ring), attach_fault(&error)))
            }
        }
    }

    fn attach_at(&mut self, start: Start) -> Result<Reader, AttachError> {
        let reader = Reader::attach_to(self.ring, self.owners, start)?;
        let Start::At(resume) = start else {
            let kind =
                if self.from == StartFrom::Resume { ItemKind::Start } else { ItemKind::Restart };
            self.next = Some(StreamItem { at: reader.position(), kind });
            return Ok(reader);
        };
        let ring = self.ring;
        if reader.generation() != resume.generation {
            info(format_args!(
                "ring {ring} is a new one, as after each start of the machine: it is read from its first event on; events that the ring before got after its event {}, if any, are lost (nothing need be done)",
                resume.sequence
            ));
            let reader = Reader::attach_to(ring, self.owners, Start::First)?;
            // Saved at once: until there is an event, each start would report it again.
            let at = Position { generation: reader.generation(), sequence: 0 };
            self.next = Some(StreamItem { at, kind: ItemKind::Restart });
            return Ok(reader);
        }
        if reader.position() != resume {
            warn(format_args!(
                "ring {ring} does not contain the saved position, event {}: continuing with its oldest event and starting a new checkpoint",
                resume.sequence
            ));
            self.next = Some(StreamItem { at: reader.position(), kind: ItemKind::Restart });
        }
        Ok(reader)
    }

    /// The next item, if there is one.
    pub fn peek(&mut self) -> Option<&StreamItem> {
        if self.next.is_none() {
            self.next = self.read();
        }
        self.next.as_ref()
    }

    /// Takes the next item.
    pub fn take(&mut self) -> Option<StreamItem> {
        self.next.take().or_else(|| self.read())
    }

    fn read(&mut self) -> Option<StreamItem> {
        let reader = self.reader.as_mut()?;
        let at = reader.position();
        let kind = match reader.next() {
            Next::Event(_, event) => ItemKind::Event(event),
            Next::Unknown(..) => ItemKind::Skipped,
            Next::Lapped { lost } => ItemKind::Lost(lost),
            Next::Empty => return None,
        };
        self.count(kind);
        Some(StreamItem { at, kind })
    }

    /// Takes the events that were overwritten meanwhile, for an output that cannot accept events now.
    pub fn take_losses(&mut self) -> Option<StreamItem> {
        if self.next.is_some() {
            return None; // an item that was read before the losses
        }
        let reader = self.reader.as_mut()?;
        let at = reader.position();
        let lost = Some(reader.skip_lost()).filter(|lost| *lost > 0)?;
        self.count(ItemKind::Lost(lost));
        Some(StreamItem { at, kind: ItemKind::Lost(lost) })
    }

    fn count(&mut self, kind: ItemKind) {
        match kind {
            ItemKind::Lost(lost) => {
                let cut = self.reader.as_mut().map_or(0, Reader::take_cut_events);
                self.loss = if cut > 0 { LossCause::Cut } else { LossCause::Overwritten };
                self.lost += lost;
                self.cut_events += cut;
            }
            ItemKind::Skipped => self.skipped += 1,
            ItemKind::Start | ItemKind::Restart | ItemKind::Event(_) | ItemKind::Message => {}
        }
    }

    /// Reports lost events: the first time at once, then at most once a minute.
    pub fn report_losses(&mut self) {
        let ([reported, reported_cut], at) = self.losses_reported;
        if self.lost > reported && (reported == 0 || at.elapsed() >= LOSS_REPORT_INTERVAL) {
            let cut = self.cut_events - reported_cut;
            let overwritten = (self.lost - reported).saturating_sub(cut);
            let causes = [
                (overwritten, "overwritten before they were read"),
                (cut, "the ring was truncated before they were read"),
            ];
            let ring = self.ring;
            for (number, why) in causes.into_iter().filter(|(number, _)| *number > 0) {
                warn(format_args!(
                    "ring {ring}: {} lost: {why}",
                    count_of(number, "event", "events")
                ));
            }
            self.losses_reported = ([self.lost, self.cut_events], Instant::now());
        }
    }

    /// Reports once that the heartbeat of the collector is missing, and once that it is back.
    pub fn check_heartbeat(&mut self) {
        let (Some(reader), heartbeat) = (&self.reader, &mut self.heartbeat) else { return };
        let (ring, now) = (self.ring, reader.heartbeat());
        if now != heartbeat.last {
            (heartbeat.last, heartbeat.since) = (now, Instant::now());
            heartbeat.missing.ends(format_args!("ring {ring}: the collector is back"));
        } else if heartbeat.since.elapsed() >= HEARTBEAT_TIMEOUT {
            let report = format_args!("ring {ring}: {}", no_heartbeat(reader));
            heartbeat.missing.begins(report);
        }
    }

    /// Whether so many events are unread that the collector may overwrite them soon.
    pub fn is_behind(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| {
            let unread = reader.published().saturating_sub(reader.position().sequence);
            let slots = reader.slots();
            unread > (slots / 4).max(LEAST_BACKLOG.min(slots / 2))
        })
    }

    /// Whether a quarter of the ring is read and not confirmed: what a kill leaves behind must be read again.
    pub fn may_lose(&self, confirmed: Position) -> bool {
        self.reader.as_ref().is_some_and(|reader| {
            let read = reader.position();
            read.generation == confirmed.generation
                && read.sequence.saturating_sub(confirmed.sequence) > reader.slots() / 4
        })
    }

    /// The state of the ring for the sink.
    pub fn state(&self, checkpoint: Option<Checkpoint>, spool_full: Option<String>) -> RingState {
        let (reader, blind) = (self.reader.as_ref(), self.blind());
        let counts = |reader: &Reader| {
            let since = reader.counted_since()?;
            let cuts = reader.cuts().map_or(0, |(number, _)| number);
            let interfaces = reader.interfaces();
            let captured = |name| interfaces.contains(&(name, CaptureState::Captured));
            let broadcasts = reader.broadcasts().into_iter();
            let broadcasts = broadcasts.filter(|(name, ..)| captured(*name));
            let broadcasts = broadcasts.map(|(name, state, _)| (name, state)).collect();
            let neighbors = reader.neighbors().into_iter();
            let neighbors = neighbors.filter(|view| captured(view.interface)).collect();
            let states: (_, Vec<_>, Vec<_>) = (interfaces, broadcasts, neighbors);
            let counts = (reader.generation(), reader.counters(), cuts, reader.host(), states);
            // Loaded before: a truncation may have made zeros of them, or they begin again.
            (!reader.is_cut() && reader.counted_since() == Some(since)).then_some(counts)
        };
        let counts = reader.and_then(counts);
        let generation = counts.as_ref().map(|(generation, ..)| *generation);
        let (_, counters, cuts, host, states) =
            counts.unwrap_or_else(|| (0, Vec::new(), 0, this_host(), Default::default()));
        let is_running = blind.is_none() && reader.is_some_and(|reader| reader.writer().is_some());
        let (interfaces, broadcasts, neighbors) =
            if is_running { states } else { Default::default() };
        RingState {
            ring: self.ring.clone(),
            host,
            generation,
            counters,
            interfaces,
            broadcasts,
            neighbors,
            gap: reader.filter(|_| !self.once).and_then(Reader::gap),
            blind,
            is_running,
            heartbeat: reader.map(Reader::heartbeat).filter(|time| time.is_plausible()),
            kills: reader.filter(|_| !self.once).map(Reader::kills).unwrap_or_default(),
            silent_since: reader.and_then(Reader::silent_since),
            has_captured: reader.is_some_and(|reader| reader.last_frame().is_some()),
            checkpoint,
            loss: self.loss,
            cuts,
            spool_full,
        }
    }

    /// One line for `systemctl status`.
    pub fn status(&self) -> String {
        let ring = self.ring;
        let kills = self.reader.as_ref().and_then(|reader| kills_status(&reader.kills()));
        let kills = kills.map_or(String::new(), |kills| format!("; {kills}"));
        match (&self.reader, self.blind()) {
            (_, Some(why)) => format!("ring {ring}: {why}{kills}"),
            (None, _) => format!("waiting for ring {ring} (start the collector)"),
            (Some(reader), _) if reader.writer().is_none() => {
                format!("ring {ring}: its collector has ended{kills}")
            }
            _ => format!("reading ring {ring}{kills}"),
        }
    }

    /// Why no events arrive. With `--once`, the collector may have ended as it should.
    fn blind(&self) -> Option<String> {
        let timeout = if self.existed { HEARTBEAT_TIMEOUT } else { START_TIMEOUT };
        match &self.reader {
            _ if self.once => None,
            Some(reader) => {
                let is_restarting =
                    reader.writer().is_none() && self.heartbeat.since.elapsed() < START_TIMEOUT;
                let missing = self.heartbeat.missing.is_present() && !is_restarting;
                missing.then(|| no_heartbeat(reader))
            }
            None => (self.waiting && self.waiting_since.elapsed() >= timeout).then(|| {
                let (why, remedy) = match self.cut {
                    true => ("it is empty or truncated", "which creates it again"),
                    false => ("it does not exist", "or name its ring with -m"),
                };
                format!("{why}: no events arrive (start the collector, {remedy})")
            }),
        }
    }

    /// Called when there is nothing to read: switches to the segment that replaced this one, if any, and
    /// looks for a missing ring, also if `is_new`: some ring appeared. Returns whether there may be something to read.
    pub fn follow_replacement(&mut self, is_new: bool) -> Result<bool, Error> {
        let is_due = self.checked_at.elapsed() >= CHECK_INTERVAL;
        let due = is_due || is_new && self.reader.is_none();
        if due {
            self.checked_at = Instant::now();
        }
        if let Some(reader) = &self.reader
            && reader.is_cut()
        {
            warn(format_args!(
                "ring {} was truncated by a process of its owner or of root: waiting for a new one (the collector creates it within a second; if none runs, start it)",
                self.ring
            ));
            (self.waiting, self.cut, self.replaced) = (true, true, false);
            self.waiting_since = Instant::now();
            self.resume = Some(reader.position());
            self.reader = None;
        } else if let Some(reader) = &self.reader {
            if !self.replaced && (reader.is_retired() || (due && reader.is_replaced())) {
                // Events may have been added since the last read; from now on none are.
                self.replaced = true;
                return Ok(true);
            }
            if !self.replaced {
                return Ok(false);
            }
            self.resume = Some(reader.position());
            self.reader = None;
            self.replaced = false;
        } else if !due {
            return Ok(false);
        }
        self.attach()?;
        Ok(self.reader.is_some())
    }
}

fn no_heartbeat(reader: &Reader) -> String {
    let Some(process) = reader.writer() else {
        return "its collector has ended: no new events arrive (start it again: systemctl restart addrwatch-collector@INTERFACE)".into();
    };
    let (seconds, captures) = (HEARTBEAT_TIMEOUT.as_secs(), reader.silent_since().is_some());
    let (writer, remedy) = (writer_of(captures), not_started_again(captures));
    format!(
        "no heartbeat from {writer}, process {process}, for {seconds} s: no new events arrive ({remedy})"
    )
}

fn is_short_of_descriptors(error: &std::io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| short.contains(&number))
}

/// Why a ring cannot be read, with the group that this user lacks.
pub(crate) fn attach_fault(why: &AttachError) -> String {
    match why {
        AttachError::Denied(Some(group @ 1..)) if has_name(*group) => {
            let why = join_group(*group);
            let with_group = match why.ends_with("let this user read it") {
                true => ", as with --group of its collector",
                false => "",
            };
            format!("permission denied ({why}{with_group})")
        }
        why => why.to_string(),
    }
}

fn has_name(group: u32) -> bool {
    uzers::get_group_by_gid(group).is_some()
}

#[cfg(test)]
mod tests {
    use shm_layout::{Writer, WriterOptions};

    use super::*;

    /// Zeros that a truncation made are no counts.
    #[test]
    fn the_state_of_a_ring_that_was_cut() {
        let name: RingName = format!("/aw-test-state-{}", std::process::id()).parse().unwrap();
        let options = WriterOptions { name: name.clone(), slots: 64, group: None, host: None };
        let mut writer = Writer::create(&options).unwrap();
        let mut source = Source::new(&name, &[], (false, false), StartFrom::Oldest, None);
        source.attach().unwrap();
        let cut = || std::fs::File::options().write(true).open(name.path()).unwrap().set_len(0);
        cut().unwrap();
        assert!(writer.maintain(UnixTime::now()).is_some());
        source.reader = None;
        source.attach().unwrap();
        let state = source.state(None, None);
        assert_eq!((state.generation.is_some(), state.cuts), (true, 1));
        cut().unwrap();
        let state = source.state(None, None);
        assert_eq!((state.generation, state.cuts, state.counters.len()), (None, 0, 0));
        drop(writer);
        std::fs::remove_file(name.path()).unwrap();
        let _ = std::fs::remove_file(format!("{}.lock", name.path().display()));
    }
}
