//! Reads rings of names (`collector --names`), for a program that prints them: without a saved position and without a queue.
//! `name_follower.rs` reads them beside rings of events.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use aw_service::{Condition, Error, Signals, Startup, count_of, failed, info};
use shm_layout::{
    AttachError, NameRecord, NamesReader, NextOf, Position, RingName, Start, wait_any,
};

use crate::{Plan, RingOptions, StartFrom, confine};

/// The longest sleep, and how often a missing ring is looked for.
const SLEEP: Duration = Duration::from_secs(1);
/// Without a loss for so long, a flood is over.
const CALM: Duration = Duration::from_secs(60);
/// Records that are read before signals are checked.
const ROUND: usize = 4096;

/// Takes the records of rings of names.
pub trait NameSink {
    /// Writes a record; the sink may buffer it until `flush`.
    fn write(&mut self, ring: &RingName, record: &NameRecord) -> Result<(), Error>;

    /// Writes what is buffered.
    fn flush(&mut self) -> Result<(), Error>;

    /// Re-opens its file (SIGHUP).
    fn reopen(&mut self) -> Result<(), Error>;
}

/// Runs a program until a stop signal, as [`crate::run`] does, and writes the records of the rings of names beside the rings of
/// its options.
pub fn run_names<S: NameSink>(
    name: &'static str,
    options: &RingOptions,
    plan: &Plan,
    open: impl FnOnce() -> Result<S, Error>,
) -> ExitCode {
    aw_service::run(name, &options.service, |startup| {
        let owners = options.owners()?;
        let start = match options.start(plan) {
            StartFrom::Now => Start::Now,
            StartFrom::Oldest => Start::Oldest,
            StartFrom::Resume => {
                return Err(failed(
                    "--from resume: no position is saved for names (use now or oldest)",
                ));
            }
        };
        let signals = Signals::register()?;
        confine(options, &owners, plan, false, startup)?;
        let mut sink = open()?;
        let rings = options.rings.iter().map(|ring| NameRing::new(ring.names(), start));
        let mut rings: Vec<_> = rings.collect();
        rings.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        rings.dedup_by(|a, b| a.name == b.name);
        for ring in &mut rings {
            ring.attach(&owners, options.once)?;
        }
        startup.ready()?;
        let end = follow(&mut rings, &owners, options.once, &mut sink, &signals, startup);
        let end = end.and_then(|()| sink.flush());
        if !matches!(end, Err(Error::Closed)) {
            rings.iter().for_each(NameRing::log);
        }
        end
    })
}

/// One ring of names.
pub(crate) struct NameRing {
    pub name: RingName,
    pub start: Start,
    pub reader: Option<NamesReader>,
    waiting: bool,
    checked_at: Instant,
    written: u64,
    lost: u64,
    /// Records are lost: a flood can cause it, and is not to fill the log, too.
    overrun: Condition,
    lost_at: Instant,
    skipped: u64,
}

fn follow<S: NameSink>(
    rings: &mut [NameRing],
    owners: &[u32],
    once: bool,
    sink: &mut S,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    while !signals.stopped() {
        if signals.take_hangup() {
            sink.reopen()?;
        }
        let mut all_read = true;
        for ring in rings.iter_mut() {
            all_read &= ring.write_to(sink)?;
        }
        startup.alive();
        if !all_read {
            continue;
        }
        sink.flush()?;
        if once {
            return Ok(());
        }
        for ring in rings.iter_mut() {
            ring.follow_replacement(owners)?;
        }
        let readers: Vec<_> = rings.iter().filter_map(|ring| ring.reader.as_ref()).collect();
        wait_any(&readers, SLEEP);
    }
    Ok(())
}

impl NameRing {
    pub fn new(name: RingName, start: Start) -> NameRing {
        let checked_at = Instant::now();
        NameRing {
            name,
            start,
            reader: None,
            waiting: false,
            checked_at,
            written: 0,
            lost: 0,
            overrun: Condition::default(),
            lost_at: checked_at,
            skipped: 0,
        }
    }

    fn attach(&mut self, owners: &[u32], once: bool) -> Result<(), Error> {
        match self.try_attach(owners) {
            Ok(()) => {
                if self.waiting {
                    info(format_args!("reading ring {}", self.name));
                }
                self.waiting = false;
                Ok(())
            }
            Err(AttachError::Missing | AttachError::Cut) if !once => {
                if !self.waiting {
                    info(format_args!(
                        "waiting for ring {} (start the collector with --names)",
                        self.name
                    ));
                }
                self.waiting = true;
                Ok(())
            }
            Err(AttachError::Missing) => Err(failed(format_args!(
                "read ring {}: no such ring (start the collector with --names, or name its ring with -m)",
                self.name
            ))),
            Err(error) => Err(failed(format_args!("read ring {}: {error}", self.name))),
        }
    }

    /// Attaches, if the ring is there. After another generation, it begins with the first record of the new one.
    pub fn try_attach(&mut self, owners: &[u32]) -> Result<(), AttachError> {
        let attach = |start| NamesReader::attach_to(&self.name, owners, start);
        let reader = attach(self.start).and_then(|reader| match self.start {
            Start::At(at) if at.generation != reader.generation() => attach(Start::First),
            _ => Ok(reader),
        });
        // What a ring has that was missing before is new, unless an earlier one is continued.
        if matches!(reader, Err(AttachError::Missing | AttachError::Cut))
            && !matches!(self.start, Start::At(_))
        {
            self.start = Start::First;
        }
        self.reader = Some(reader?);
        Ok(())
    }

    /// What is next, with its position, if there is something.
    pub fn next(&mut self) -> Option<(Position, NextOf<NameRecord>)> {
        let reader = self.reader.as_mut()?;
        let (at, next) = (reader.position(), reader.next());
        match next {
            NextOf::Event(..) => self.written += 1,
            NextOf::Unknown(..) => self.skipped += 1,
            NextOf::Lapped { lost } => {
                self.lost += lost;
                self.lost_at = Instant::now();
                let lost = count_of(lost, "record", "records");
                self.overrun.begins(format_args!(
                    "ring {}: lost {lost}: they were overwritten (further losses are counted, and reported when they are over)",
                    self.name
                ));
            }
            NextOf::Empty => return None,
        }
        Some((at, next))
    }

    /// Writes what is there, up to a round; returns whether that was all.
    fn write_to<S: NameSink>(&mut self, sink: &mut S) -> Result<bool, Error> {
        for _ in 0..ROUND {
            match self.next() {
                Some((_, NextOf::Event(_, record))) => sink.write(&self.name, &record)?,
                Some(_) => {}
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Attaches to the ring that has taken the place of this one. All of this one was read.
    fn follow_replacement(&mut self, owners: &[u32]) -> Result<(), Error> {
        if self.is_over() { self.attach(owners, false) } else { Ok(()) }
    }

    /// Whether it is to be attached to another ring, or looked for: at most once a second. All of this one was read.
    pub fn is_over(&mut self) -> bool {
        let is_due = self.checked_at.elapsed() >= SLEEP;
        if self.lost_at.elapsed() >= CALM {
            let lost = count_of(self.lost, "record", "records");
            self.overrun.ends(format_args!("ring {}: {lost} lost in all, none now", self.name));
        }
        let is_over = match &self.reader {
            None => is_due,
            Some(reader) => {
                reader.is_retired() || reader.is_cut() || (is_due && reader.is_replaced())
            }
        };
        if is_due {
            self.checked_at = Instant::now();
        }
        if is_over && let Some(reader) = self.reader.take() {
            self.start = Start::At(reader.position());
        }
        is_over
    }

    pub fn log(&self) {
        let NameRing { name, written, lost, skipped, .. } = self;
        let records = count_of(*written, "record", "records");
        let unknown = match skipped {
            0 => String::new(),
            skipped => format!(", {skipped} of an unknown kind (install the same release)"),
        };
        info(format_args!("{name}: {records}, {lost} lost{unknown}"));
    }
}
