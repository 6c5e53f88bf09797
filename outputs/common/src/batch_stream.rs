//! What a stream of batches on a server is to the run loop: a source like rings, from which a program reads the events of many
//! sensors. The run loop does not know the server.

use std::time::Duration;

use aw_service::Error;
use shm_layout::{Event, Position, RingName};

/// The events of a sensor's ring that were sent together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The host of the collector.
    pub host: String,
    /// The name of its ring there.
    pub ring: RingName,
    /// The number of the first event that this batch accounts for.
    pub first: Position,
    /// The number after the last one.
    pub next: u64,
    /// The events with their numbers, which are between these, in order. Numbers without an event were lost at the sensor; an event
    /// is none if this release does not know its kind.
    pub events: Vec<(u64, Option<Event>)>,
}

/// A message of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamMessage {
    /// When the server stored it, in nanoseconds since 1970, and its number, from 0.
    pub at: Position,
    /// What it has; or why it is not valid.
    pub batch: Result<Batch, String>,
}

/// Where reading a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStart {
    /// With the oldest message that it holds.
    Oldest,
    /// With the next one.
    Now,
    /// With this message: the position of an earlier run, which has the number of the next message, and the time of the last one. If the
    /// stream has another message in place of that one, it was created again, or lost its newest messages: all that it has is read.
    At(Position),
}

/// A stream of batches, of which each reader reads all.
pub trait BatchStream {
    /// The name of its checkpoint: other than that of a sensor's ring, so it has nothing before its first colon.
    fn name(&self) -> &RingName;

    /// Where reading begins. To be called once, before [`BatchStream::next`].
    fn begin(&mut self, start: StreamStart);

    /// The next message; none if there was none for this time. While the server is down, it waits as long and connects again when that
    /// is due: this is no error, unless the program ends when it has read all.
    fn next(&mut self, wait: Duration) -> Result<Option<StreamMessage>, Error>;

    /// Whether all messages are read that were in the stream when it was opened.
    fn is_at_end(&self) -> bool;

    /// Since when it cannot be read, in seconds since 1970, and why; for `--health`.
    fn fault(&self) -> Option<(i64, String)>;

    /// One line for `systemctl status`.
    fn status(&self) -> String;
}
