//! `collector`: hears ARP and IPv6 Neighbor Discovery on live interfaces or from a capture file,
//! and publishes each pairing of a MAC with an address to a ring in shared memory.
//!
//! capture (`live`, `replay`) → `parse` → `check` → admit (`blacklist`, `limit`) → publish
//! (`pipeline`): each stage's output is the next one's input, and every frame ends in the ring or
//! in one counter. It trusts nothing that comes from the network or from a file.
#![forbid(unsafe_code)]

mod blacklist;
mod check;
mod filter;
mod interface;
mod limit;
mod link;
mod live;
mod options;
mod pace;
mod parse;
mod pipeline;
mod printer;
mod replay;
mod signals;
mod stats;
#[cfg(test)]
mod tests;

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use shm_layout::{Writer, remove};

use crate::{options::Options, pipeline::Pipeline};

/// A failure: what failed, on what, why, and what to do; or the reader of our lines has gone.
#[derive(Debug)]
pub enum Stop {
    /// Standard output was closed: `| head` has its lines.
    Closed,
    /// A text for the user.
    Failed(String),
}

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let lines = text.trim_start_matches("error: ").lines().map(str::trim);
            let fault: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            say(format_args!("{} (collector --help lists the options)", fault.join(" ")));
            return ExitCode::from(2);
        }
        Err(help) => help.exit(),
    };
    if let Some(moved) = options.moved() {
        say(moved);
        return ExitCode::from(2);
    }
    match run(&options) {
        Ok(()) | Err(Stop::Closed) => ExitCode::SUCCESS,
        Err(Stop::Failed(why)) => {
            say(why);
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Stop> {
    if options.remove {
        return remove(&options.ring).map_err(failed);
    }
    if options.stats {
        return stats::print(&options.ring, options.format);
    }
    match &options.read {
        Some(file) => {
            let Some(replay) = replay::open(file)? else { return Ok(()) };
            let mut pipeline = open_ring(options)?;
            let end = replay::run(replay, file, options, &mut pipeline);
            pipeline.finish(end)
        }
        None => {
            let listeners = live::open(options)?;
            let mut pipeline = open_ring(options)?;
            let end = live::run(listeners, &mut pipeline);
            pipeline.finish(end)
        }
    }
}

/// After the captures, so that a wrong interface leaves no ring behind.
fn open_ring(options: &Options) -> Result<Pipeline, Stop> {
    let ring = options.writer()?;
    Pipeline::new(Writer::create(&ring).map_err(failed)?, options)
}

/// Says something on standard error. That it cannot be said is no reason to stop.
fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "collector: {what}");
}

fn failed(error: impl Display) -> Stop {
    Stop::Failed(error.to_string())
}
