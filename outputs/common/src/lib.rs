//! What every output shares, so that an output is only its [`Sink`]: the options, attaching to
//! rings and following them through restarts, counting what was lost, signals and exit codes.
//!
//! It trusts the collector whose ring it reads, and nobody else.
#![forbid(unsafe_code)]

mod follow;

use std::process::ExitCode;

use aw_service::{Account, ServiceOptions};
use clap::Args;
use shm_layout::{Event, Position, RingName};

pub use aw_service::{Error, parse, say};

/// Options that every output has.
#[derive(Args, Clone, Debug)]
pub struct RingOptions {
    /// Read the ring of this name, as given to the collector's -m; may be repeated
    #[arg(
        short = 'm',
        long = "ring",
        visible_alias = "shm-log-name",
        value_name = "NAME",
        default_value = "/addrwatch"
    )]
    pub rings: Vec<RingName>,

    /// Begin with the oldest event that the ring still holds, not with the next one
    #[arg(long)]
    pub replay: bool,

    /// Exit once every event has been read; begins with the oldest, as --replay
    #[arg(long)]
    pub once: bool,

    /// Believe rings of USER, the collector's, instead of `addrwatch`; those of root and one's own always
    #[arg(long, value_name = "USER", default_value = DEFAULT_USER, hide_default_value = true)]
    pub owner: String,

    /// Say on standard error what happens: rings found and left, events lost
    #[arg(short, long)]
    pub verbose: bool,
}

/// The user that the collector runs as where root says nothing else.
const DEFAULT_USER: &str = "addrwatch";

impl RingOptions {
    /// The users whose rings are believed, besides root and ourselves.
    fn owners(&self) -> Result<Vec<u32>, Error> {
        if self.owner == DEFAULT_USER {
            return Ok(Account::named(DEFAULT_USER).iter().map(|user| user.uid.as_raw()).collect());
        }
        Ok(vec![Account::find(&self.owner)?.uid.as_raw()])
    }
}

/// An event with its place in the stream.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The ring it came from.
    pub ring: &'a RingName,
    /// Its generation and its own number.
    pub position: Position,
    /// The event.
    pub event: Event,
}

/// Where an output puts events.
pub trait Sink {
    /// Takes an event, in order. It may keep it until `idle`.
    fn put(&mut self, entry: &Entry) -> Result<(), Error>;

    /// Delivers what it kept: called when there is nothing more to read, and before the end.
    fn idle(&mut self) -> Result<(), Error>;

    /// Opens its files anew (SIGHUP: they were renamed by whoever rotates logs).
    fn reopen(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// The end, after the last `idle`: nothing more will come.
    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Runs an output until it is told to stop: opens its sink and hands it every event of its rings.
/// `name` is the program's, for its messages.
pub fn run<S: Sink>(
    name: &'static str,
    options: &RingOptions,
    open: impl FnOnce() -> Result<S, Error>,
) -> ExitCode {
    aw_service::run(name, &ServiceOptions::default(), |_| follow::follow(options, &mut open()?))
}
