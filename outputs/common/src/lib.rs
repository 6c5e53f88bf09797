//! What every output shares, so that an output is only its [`Sink`]: the options, attaching to
//! rings and following them through restarts, counting what was lost, signals and exit codes.
//!
//! It trusts the collector whose ring it reads, and nobody else.
#![forbid(unsafe_code)]

mod follow;
mod signals;

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use clap::{Args, Parser};
use shm_layout::{Event, Position, RingName, cause};

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

    /// Say on standard error what happens: rings found and left, events lost
    #[arg(short, long)]
    pub verbose: bool,
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
}

/// Why an output ends.
#[derive(Debug)]
pub enum Error {
    /// Whoever read the output has gone: `| head` has its lines. Not a failure.
    Closed,
    /// A failure: what failed, on what, why, and what to do.
    Failed(String),
}

impl Error {
    /// A failure of an operation on something.
    pub fn new(what: impl fmt::Display, cause: impl fmt::Display) -> Error {
        Error::Failed(format!("{what}: {cause}"))
    }

    /// A failure to write to something; a closed pipe is [`Error::Closed`].
    pub fn write(to: impl fmt::Display, error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::BrokenPipe => Error::Closed,
            _ => Error::new(format_args!("write to {to}"), cause(&error)),
        }
    }
}

/// Reads the command line. A fault in it is one line, and ends the program with status 2.
pub fn parse<P: Parser>(name: &str) -> P {
    P::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit(); // --help, --version
        }
        let text = error.to_string();
        let lines = text.trim_start_matches("error: ").lines().map(str::trim);
        let fault: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        say(name, format_args!("{} ({name} --help lists the options)", fault.join(" ")));
        std::process::exit(2);
    })
}

/// Says something on standard error. That it cannot be said is no reason to stop.
pub fn say(name: &str, what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{name}: {what}");
}

/// Runs an output until it is told to stop: opens its sink and hands it every event of its rings.
/// `name` is the program's, for its messages.
pub fn run<S: Sink>(
    name: &str,
    options: &RingOptions,
    open: impl FnOnce() -> Result<S, Error>,
) -> ExitCode {
    match open().and_then(|mut sink| follow::follow(name, options, &mut sink)) {
        Ok(()) | Err(Error::Closed) => ExitCode::SUCCESS,
        Err(Error::Failed(why)) => {
            say(name, why);
            ExitCode::FAILURE
        }
    }
}
