//! The run loop: every ring in turn, then sleep until there is more.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use shm_layout::{AttachError, Next, Position, Reader, RingName, Start, wait_any};

use aw_service::Signals;

use crate::{Entry, Error, RingOptions, Sink, say};

/// Longest sleep: how late a signal that arrives just before the sleep is seen, at worst.
const SLEEP: Duration = Duration::from_millis(500);
/// How often a ring that does not exist is looked for, and an idle one is checked for its successor.
const LOOK: Duration = Duration::from_millis(200);
/// How often losses are told, at most.
const TELL: Duration = Duration::from_secs(1);
/// Events taken from one ring before the next ring has its turn.
const TURN: usize = 4096;

pub(crate) fn follow(options: &RingOptions, sink: &mut impl Sink) -> Result<(), Error> {
    let signals = Signals::register()?;
    let owners = options.owners()?;
    let mut once = HashSet::new(); // a ring named twice would be delivered twice
    let rings = options.rings.iter().filter(|ring| once.insert(*ring));
    let mut sources: Vec<Source> = rings.map(|ring| Source::new(ring, &owners, options)).collect();
    for source in &mut sources {
        source.attach()?;
    }
    let end = serve(&mut sources, options, sink, &signals).and_then(|()| sink.close());
    if !matches!(end, Err(Error::Closed)) {
        sources.iter().for_each(Source::report);
    }
    end
}

fn serve(
    sources: &mut [Source],
    options: &RingOptions,
    sink: &mut impl Sink,
    signals: &Signals,
) -> Result<(), Error> {
    while !signals.stopped() {
        if signals.take_hangup() {
            deliver(sources, sink)?;
            sink.reopen()?;
        }
        let mut busy = false;
        for source in sources.iter_mut() {
            busy |= source.drain(sink)? || (!options.once && source.look_for_successor()?);
        }
        if busy {
            continue;
        }
        deliver(sources, sink)?;
        if options.once {
            return Ok(());
        }
        let readers: Vec<&Reader> = sources.iter().filter_map(|s| s.reader.as_ref()).collect();
        let all = readers.len() == sources.len();
        wait_any(&readers, if all { SLEEP } else { LOOK });
    }
    deliver(sources, sink)
}

/// What was handed over is delivered once the sink says so.
fn deliver(sources: &mut [Source], sink: &mut impl Sink) -> Result<(), Error> {
    sink.idle()?;
    for source in sources {
        source.delivered += std::mem::take(&mut source.pending);
    }
    Ok(())
}

/// One ring: its reader while it exists, and the account of what came from it.
struct Source<'a> {
    ring: &'a RingName,
    /// Users whose rings are believed.
    owners: &'a [u32],
    verbose: bool,
    once: bool,
    reader: Option<Reader>,
    /// Where to begin when the ring appears, or appears again.
    start: Start,
    waiting: bool,
    /// Another segment has taken this one's place; what is left is read first.
    leaving: bool,
    looked: Instant,
    delivered: u64,
    /// Handed to the sink, which has not confirmed them yet.
    pending: u64,
    lost: u64,
    /// Of those, the ones that `-v` has told, and when it did.
    lost_told: (u64, Instant),
    unknown: u64,
}

impl<'a> Source<'a> {
    fn new(ring: &'a RingName, owners: &'a [u32], options: &RingOptions) -> Self {
        let start = if options.replay || options.once { Start::Oldest } else { Start::Now };
        Source {
            ring,
            owners,
            verbose: options.verbose,
            once: options.once,
            reader: None,
            start,
            waiting: false,
            leaving: false,
            looked: Instant::now(),
            delivered: 0,
            pending: 0,
            lost: 0,
            lost_told: (0, Instant::now()),
            unknown: 0,
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
    fn attach(&mut self) -> Result<(), Error> {
        match Reader::attach_to(self.ring, self.owners, self.start) {
            Ok(reader) => {
                if self.verbose {
                    say(format_args!(
                        "reading ring {}, {} slots, generation {:016x}, from event {}",
                        self.ring,
                        reader.slots(),
                        reader.generation(),
                        reader.position().sequence
                    ));
                }
                self.reader = Some(reader);
                self.waiting = false;
                Ok(())
            }
            Err(AttachError::Missing) if !self.once => {
                if !self.waiting {
                    say(format_args!(
                        "waiting for ring {} (start the collector, or name its ring with -m)",
                        self.ring
                    ));
                }
                self.waiting = true;
                if self.start == Start::Now {
                    self.start = Start::Oldest;
                }
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Hands over what there is, up to a turn; tells whether there was anything.
    fn drain(&mut self, sink: &mut impl Sink) -> Result<bool, Error> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let generation = reader.generation();
        for turn in 0..TURN {
            match reader.next() {
                Next::Event(sequence, event) => {
                    let position = Position { generation, sequence };
                    sink.put(&Entry { ring: self.ring, position, event })?;
                    self.pending += 1;
                }
                Next::Unknown(..) => self.unknown += 1,
                Next::Lapped { lost } => self.lost += lost,
                Next::Empty => {
                    self.tell_lost();
                    return Ok(turn > 0);
                }
            }
        }
        self.tell_lost();
        Ok(true)
    }

    /// `-v`: what was lost since this was last told, once a second at most.
    fn tell_lost(&mut self) {
        let (told, at) = self.lost_told;
        if self.verbose && self.lost > told && (told == 0 || at.elapsed() >= TELL) {
            let new = self.lost - told;
            say(format_args!("ring {}: {new} events lost, overtaken by the collector", self.ring));
            self.lost_told = (self.lost, Instant::now());
        }
    }

    /// With nothing to read: goes on to the segment that took this one's place, if one did, and
    /// looks again for a ring that is not there. Tells whether there may be something to read.
    fn look_for_successor(&mut self) -> Result<bool, Error> {
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
            self.start = Start::At(reader.position());
            self.reader = None;
            self.leaving = false;
        } else if !due {
            return Ok(false);
        }
        self.attach()?;
        Ok(self.reader.is_some())
    }

    fn report(&self) {
        let Source { ring, delivered, lost, .. } = self;
        let mut text = format!("{ring}: {delivered} events, {lost} lost");
        for (number, what) in [
            (self.pending, "not delivered, or only in part"),
            (self.unknown, "of a kind that this release does not know"),
        ] {
            if number > 0 {
                text += &format!(", {number} {what}");
            }
        }
        say(format_args!("{text}"));
    }
}
