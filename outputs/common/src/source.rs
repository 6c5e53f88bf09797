//! One ring as an output reads it: while it exists, and through restarts, other sizes and removal.

use std::time::{Duration, Instant};

use aw_service::{Error, info, warn};
use shm_layout::{AttachError, Next, Position, Reader, RingName, Start, UnixTime};

use crate::{
    RingOptions, StartFrom,
    checkpoint::{ItemKind, StreamItem},
};

/// How often a ring that does not exist is looked for, and an idle one is checked for its successor.
pub(crate) const LOOK: Duration = Duration::from_millis(200);
/// How often losses are told, at most.
const TELL: Duration = Duration::from_secs(60);
/// A collector that says for so long not that it lives, which it does once a second, is dead or hangs.
const BLIND: Duration = Duration::from_secs(5);

/// A ring: its reader while it exists, and what was lost on the mode.
pub(crate) struct Source<'a> {
    ring: &'a RingName,
    /// Users whose rings are believed.
    owners: &'a [u32],
    verbose: bool,
    once: bool,
    from: StartFrom,
    pub reader: Option<Reader>,
    /// Read, and not taken yet.
    next: Option<StreamItem>,
    /// Where to go on when the ring appears, or appears again.
    resume: Option<Position>,
    waiting: bool,
    /// Another segment has taken this one's place; what is left is read first.
    leaving: bool,
    looked: Instant,
    pulse: Pulse,
    pub lost: u64,
    pub skipped: u64,
    /// Losses that were told, and when.
    lost_told: (u64, Instant),
}

/// The heartbeat that was seen last, since when, and whether it was told that it stopped. Judged by
/// our own clock, so that nobody who sets the machine's raises an alarm.
struct Pulse {
    beat: UnixTime,
    since: Instant,
    reported: bool,
}

impl<'a> Source<'a> {
    pub fn new(
        ring: &'a RingName,
        owners: &'a [u32],
        options: &RingOptions,
        from: StartFrom,
        resume: Option<Position>,
    ) -> Self {
        let now = Instant::now();
        Source {
            ring,
            owners,
            verbose: options.verbose,
            once: options.once,
            from,
            reader: None,
            next: None,
            resume,
            waiting: false,
            leaving: false,
            looked: now,
            pulse: Pulse { beat: UnixTime::default(), since: now, reported: false },
            lost: 0,
            skipped: 0,
            lost_told: (0, now),
        }
    }

    fn failed(&self, error: AttachError) -> Error {
        match error {
            AttachError::Denied(Some(id)) => match uzers::get_group_by_gid(id) {
                Some(group) => Error::Failed(format!(
                    "open ring {}: permission denied (run as a member of group {})",
                    self.ring,
                    group.name().display()
                )),
                None => Error::new(format_args!("open ring {}", self.ring), error),
            },
            _ => Error::new(format_args!("open ring {}", self.ring), error),
        }
    }

    /// Attaches if the ring exists. Whoever waited for it wants its first event too.
    pub fn attach(&mut self) -> Result<(), Error> {
        let start = match (self.resume, self.from) {
            (Some(position), _) => Start::At(position),
            (None, _) if self.waiting => Start::First,
            (None, StartFrom::Now) => Start::Now,
            (None, StartFrom::Oldest | StartFrom::Resume) => Start::Oldest,
        };
        match self.attach_at(start) {
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
                self.waiting = false;
                self.resume = None;
                self.pulse.since = Instant::now();
                Ok(())
            }
            Err(AttachError::Missing) if !self.once => {
                if !self.waiting {
                    info(format_args!(
                        "waiting for ring {} (start the collector, or name its ring with -m)",
                        self.ring
                    ));
                }
                self.waiting = true;
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn attach_at(&mut self, start: Start) -> Result<Reader, AttachError> {
        let reader = Reader::attach_to(self.ring, self.owners, start)?;
        let Start::At(resume) = start else {
            let what =
                if self.from == StartFrom::Resume { ItemKind::Start } else { ItemKind::Restart };
            self.next = Some(StreamItem { at: reader.position(), kind: what });
            return Ok(reader);
        };
        let ring = self.ring;
        if reader.generation() != resume.generation {
            let Position { generation, sequence } = resume;
            info(format_args!(
                "ring {ring} was made anew, with another stream: what came after event {sequence} of generation {generation:016x} and was not read is unknown"
            ));
            return Reader::attach_to(ring, self.owners, Start::First);
        }
        if reader.position() != resume {
            warn(format_args!(
                "ring {ring} has no event {} yet, where this output was: going on with the oldest, and beginning its checkpoint anew",
                resume.sequence
            ));
            self.next = Some(StreamItem { at: reader.position(), kind: ItemKind::Restart });
        }
        Ok(reader)
    }

    /// What comes next, if there is anything.
    pub fn peek(&mut self) -> Option<&StreamItem> {
        if self.next.is_none() {
            self.next = self.read();
        }
        self.next.as_ref()
    }

    /// Takes what comes next.
    pub fn take(&mut self) -> Option<StreamItem> {
        self.next.take().or_else(|| self.read())
    }

    fn read(&mut self) -> Option<StreamItem> {
        let reader = self.reader.as_mut()?;
        let at = reader.position();
        let what = match reader.next() {
            Next::Event(_, event) => ItemKind::Event(event),
            Next::Unknown(..) => ItemKind::Skipped,
            Next::Lapped { lost } => ItemKind::Lost(lost),
            Next::Empty => return None,
        };
        self.count(what);
        Some(StreamItem { at, kind: what })
    }

    /// What was lost meanwhile, for an output that can take nothing else now.
    pub fn take_lost(&mut self) -> Option<StreamItem> {
        if self.next.is_some() {
            return None; // read and held back: what is lost is behind it
        }
        let reader = self.reader.as_mut()?;
        let at = reader.position();
        let lost = Some(reader.skip_lost()).filter(|lost| *lost > 0)?;
        self.count(ItemKind::Lost(lost));
        Some(StreamItem { at, kind: ItemKind::Lost(lost) })
    }

    fn count(&mut self, kind: ItemKind) {
        match kind {
            ItemKind::Lost(lost) => self.lost += lost,
            ItemKind::Skipped => self.skipped += 1,
            ItemKind::Start | ItemKind::Restart | ItemKind::Event(_) => {}
        }
    }

    /// What was lost since this was last told: at once, and then once a minute at most.
    pub fn tell_lost(&mut self) {
        let (reported, at) = self.lost_told;
        if self.lost > reported && (reported == 0 || at.elapsed() >= TELL) {
            let new = self.lost - reported;
            warn(format_args!("ring {}: {new} events lost, overtaken by the collector", self.ring));
            self.lost_told = (self.lost, Instant::now());
        }
    }

    /// Says once that the collector gives no sign of life, and once that it is back.
    pub fn feel_pulse(&mut self) {
        let (Some(reader), pulse) = (&self.reader, &mut self.pulse) else { return };
        let ring = self.ring;
        let beat = reader.heartbeat();
        if beat != pulse.beat {
            if pulse.reported {
                info(format_args!("ring {ring}: the collector is back"));
            }
            *pulse = Pulse { beat, since: Instant::now(), reported: false };
        } else if !pulse.reported && pulse.since.elapsed() >= BLIND {
            pulse.reported = true;
            match reader.writer() {
                Some(pid) => warn(format_args!(
                    "ring {ring}: no sign of life from the collector, process {pid}, for {} s: nothing new will come (start it again)",
                    BLIND.as_secs()
                )),
                None => warn(format_args!(
                    "ring {ring}: its collector has ended: nothing new will come (start it again)"
                )),
            }
        }
    }

    /// With nothing to read: goes on to the segment that took this one's place, if one did, and
    /// looks again for a ring that is not there. Tells whether there may be something to read.
    pub fn look_for_successor(&mut self) -> Result<bool, Error> {
        let due = self.looked.elapsed() >= LOOK;
        if due {
            self.looked = Instant::now();
        }
        if let Some(reader) = &self.reader {
            if !self.leaving && (reader.is_retired() || (due && reader.is_replaced())) {
                // Its last events may have come since we looked; after this, none can.
                self.leaving = true;
                return Ok(true);
            }
            if !self.leaving {
                return Ok(false);
            }
            self.resume = Some(reader.position());
            self.reader = None;
            self.leaving = false;
        } else if !due {
            return Ok(false);
        }
        self.attach()?;
        Ok(self.reader.is_some())
    }
}
