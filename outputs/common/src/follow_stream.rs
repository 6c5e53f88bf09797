//! The run loop for a stream of batches: passes the events of all sensors to the delivery, and sleeps while there are none.
//!
//! Each sensor's ring has its own checkpoints, with the numbers that its events have in that ring, as if this program read it at the
//! sensor. So a batch that is sent, or read, a second time changes nothing, and a number that is missing counts as lost, wherever it was
//! lost. The checkpoint of the stream is only where reading resumes.

mod sensor;

use std::{
    collections::HashMap,
    mem::take,
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{Error, Signals, Startup, count_of, warn};
use shm_layout::{Position, RingName};

use crate::{
    Batch, BatchStream, Plan, RingOptions, Sink, StartFrom, StreamMessage, StreamStart,
    checkpoint::{ItemKind, StreamItem},
    delivery::Delivery,
    state::MAX_CHECKPOINTS,
};
use sensor::{CHECKPOINTS, Sensor, checkpoint_names};

/// The longest sleep, and so the longest delay of a signal.
const SLEEP: Duration = Duration::from_secs(1);
/// Messages that are read before signals and due work are checked.
const ROUND: usize = 64;
/// The shortest time between two reports of lost events, or of messages that are skipped.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The index of the stream in the delivery.
const STREAM: usize = 0;
/// Rings of sensors, at most: a sensor that may publish under any name could use all memory, and more than a file of checkpoints has room
/// for.
const MAX_SENSORS: usize = (MAX_CHECKPOINTS - 1) / CHECKPOINTS;

pub(crate) fn follow_stream<S: Sink>(
    options: &RingOptions,
    plan: &Plan,
    mut delivery: Delivery<S>,
    stream: &mut dyn BatchStream,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let from = options.start(plan);
    let names = [stream.name().clone()];
    delivery.reserve(&names);
    let mut opened = delivery.open_all(&names, None)?;
    startup.ready()?;
    // Without its checkpoint it is unknown what is delivered.
    while opened.is_none() {
        if signals.stopped() {
            return delivery.finish();
        }
        startup.status(|| delivery.lacks().unwrap_or_default());
        startup.alive();
        sleep(SLEEP.min(delivery.pause()));
        delivery.work(true, false)?;
        if delivery.is_waiting_for().is_none() {
            opened = delivery.open_all(&names, None)?;
        }
    }
    let saved = opened.and_then(|(_, positions)| positions.into_iter().next()).flatten();
    stream.begin(match (from, saved) {
        (StartFrom::Resume, Some(position)) => StreamStart::At(position),
        (StartFrom::Now, _) => StreamStart::Now,
        _ => StreamStart::Oldest,
    });
    if let Some(lacks) = &plan.lacks {
        warn(lacks);
    }
    let position = saved.filter(|_| from == StartFrom::Resume);
    let mut follower = Follower::new(&mut delivery, position);
    let end = follower.run(stream, options.once, signals, startup);
    follower.report(true);
    let Follower { sensors, lost, messages, .. } = follower;
    let end = end.and_then(|()| delivery.close());
    if end.is_err() {
        delivery.save_after_failure();
    }
    if !matches!(end, Err(Error::Closed)) {
        delivery.log_stream(messages, sensors.len(), lost.all);
    }
    end
}

struct Follower<'a, 'b, S> {
    delivery: &'a mut Delivery<'b, S>,
    sensors: HashMap<(String, RingName), Sensor>,
    /// The next message.
    position: Option<Position>,
    /// A message of a sensor whose checkpoints the sink cannot return yet.
    held: Option<StreamMessage>,
    messages: u64,
    /// Events of all sensors.
    lost: Count,
    /// Messages, and why the last one.
    invalid: Count,
    invalid_why: String,
    /// Messages of sensors beyond the limit.
    unwanted: Count,
    /// Messages that the stream did not have any more.
    deleted: Count,
}

/// What is reported the first time at once, then at most once a minute.
#[derive(Default)]
struct Count {
    all: u64,
    reported: Option<(u64, Instant)>,
}

impl Count {
    fn add(&mut self, number: u64) {
        self.all = self.all.saturating_add(number);
    }

    /// How many are to be reported now; at the end, all that were not reported yet.
    fn due(&mut self, is_end: bool) -> Option<u64> {
        let (reported, is_due) = match self.reported {
            Some((number, at)) => (number, at.elapsed() >= REPORT_INTERVAL),
            None => (0, true),
        };
        let new = self.all - reported;
        if new == 0 || !(is_due || is_end) {
            return None;
        }
        self.reported = Some((self.all, Instant::now()));
        Some(new)
    }
}

impl<'a, 'b, S: Sink> Follower<'a, 'b, S> {
    fn new(delivery: &'a mut Delivery<'b, S>, position: Option<Position>) -> Self {
        Follower {
            delivery,
            sensors: HashMap::new(),
            position,
            held: None,
            messages: 0,
            lost: Count::default(),
            invalid: Count::default(),
            invalid_why: String::new(),
            unwanted: Count::default(),
            deleted: Count::default(),
        }
    }

    fn run(
        &mut self,
        stream: &mut dyn BatchStream,
        once: bool,
        signals: &Signals,
        startup: &mut Startup,
    ) -> Result<(), Error> {
        let (mut wait, mut shown) = (Duration::ZERO, None);
        while !signals.stopped() {
            if signals.take_hangup() {
                self.delivery.reopen()?;
            }
            let all_read = self.read_round(stream, wait)?;
            self.delivery.report_source(stream.fault());
            let busy = self.delivery.work(all_read, false)?;
            self.report(false);
            if shown.is_none_or(|shown: Instant| shown.elapsed() >= SLEEP) {
                shown = Some(Instant::now());
                startup.status(|| {
                    let lacks = self.delivery.lacks().into_iter();
                    lacks.chain([stream.status()]).collect::<Vec<_>>().join("; ")
                });
            }
            startup.alive();
            if once && all_read && stream.is_at_end() {
                self.delivery.finish()?;
                if self.delivery.maintain()? {
                    continue;
                }
                return self.delivery.check_all_delivered();
            }
            wait = match busy || !all_read && self.delivery.has_room() {
                true => Duration::ZERO,
                false => SLEEP.min(self.delivery.pause()),
            };
        }
        self.delivery.finish()
    }

    /// Passes on messages, up to a round and as long as there is room; the first one may come within `wait`. Returns whether all were
    /// read.
    fn read_round(&mut self, stream: &mut dyn BatchStream, wait: Duration) -> Result<bool, Error> {
        let mut wait = Some(wait);
        for _ in 0..ROUND {
            if !self.delivery.has_room() {
                sleep(wait.unwrap_or_default());
                return Ok(false);
            }
            let message = match self.held.take() {
                Some(message) => message,
                None => match stream.next(wait.take().unwrap_or_default())? {
                    Some(message) => message,
                    None => return Ok(true),
                },
            };
            self.take(message)?;
        }
        Ok(false)
    }

    fn take(&mut self, message: StreamMessage) -> Result<(), Error> {
        let at = message.at;
        let opened = match &message.batch {
            Ok(batch) => self.open(batch)?,
            Err(why) => Opened::Invalid(why.clone()),
        };
        if let Opened::NotYet = opened {
            self.held = Some(message);
            return Ok(());
        }
        let next = self.position.map(|position| position.sequence);
        self.deleted.add(at.sequence.saturating_sub(next.unwrap_or(at.sequence)));
        match (opened, message.batch) {
            (Opened::Ready, Ok(batch)) => {
                let sensor = self.sensors.get_mut(&(batch.host.clone(), batch.ring.clone()));
                let lost =
                    sensor.map_or(Ok(0), |sensor| sensor.take_batch(self.delivery, batch))?;
                self.lost.add(lost);
            }
            (Opened::Invalid(why), _) => {
                self.invalid.add(1);
                self.invalid_why = format!("message {}: {why}", at.sequence + 1);
            }
            _ => self.unwanted.add(1),
        }
        // The first one; or the stream was created again, or lost its newest messages.
        if next.is_none_or(|next| at.sequence < next) {
            self.delivery.take(STREAM, StreamItem { at, kind: ItemKind::Restart })?;
        }
        self.delivery.take(STREAM, StreamItem { at, kind: ItemKind::Message })?;
        self.position = Some(Position { sequence: at.sequence + 1, ..at });
        self.messages += 1;
        Ok(())
    }

    /// Makes the checkpoints of a batch's sensor known.
    fn open(&mut self, batch: &Batch) -> Result<Opened, Error> {
        let Batch { host, ring, .. } = batch;
        let key = (host.clone(), ring.clone());
        if self.sensors.contains_key(&key) {
            return Ok(Opened::Ready);
        }
        let Some(names) = checkpoint_names(host, ring) else {
            return Ok(Opened::Invalid(format!(
                "the name of ring {ring} of host {host} is too long"
            )));
        };
        if self.sensors.len() >= MAX_SENSORS || !self.delivery.reserve(&names) {
            return Ok(Opened::Unwanted);
        }
        let Some((index, positions)) = self.delivery.open_all(&names, Some((host, ring)))? else {
            return Ok(Opened::NotYet);
        };
        self.sensors.insert(key, Sensor::new(index, &positions));
        Ok(Opened::Ready)
    }

    fn report(&mut self, is_end: bool) {
        if let Some(deleted) = self.deleted.due(is_end) {
            let number =
                count_of(deleted, "message of the stream was", "messages of the stream were");
            warn(format_args!(
                "{number} deleted before they were read: their events are lost (let the stream keep more: --max-bytes, --max-age and --max-messages of aw-relay create)"
            ));
        }
        if let Some(lost) = self.lost.due(is_end) {
            let number = count_of(lost, "event", "events");
            warn(format_args!(
                "{number} of sensors lost: their rings were overwritten before aw-relay read them, or messages of the stream were deleted; the checkpoint of each sensor has its number"
            ));
        }
        if let Some(invalid) = self.invalid.due(is_end) {
            let number = count_of(invalid, "message is", "messages are");
            warn(format_args!("{number} skipped; the last one is {}", take(&mut self.invalid_why)));
        }
        if let Some(unwanted) = self.unwanted.due(is_end) {
            let number = count_of(unwanted, "message is", "messages are");
            warn(format_args!(
                "{number} skipped: there are {} rings of sensors, and no room for the checkpoints of more (restrict the subjects that each sensor may publish to)",
                self.sensors.len()
            ));
        }
    }
}

/// Whether the checkpoints of a batch's sensor are known.
enum Opened {
    Ready,
    /// The sink cannot return them yet.
    NotYet,
    /// The batch is not valid.
    Invalid(String),
    /// There are too many sensors.
    Unwanted,
}

#[cfg(test)]
mod tests;
