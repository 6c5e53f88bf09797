//! `collector`: hears ARP and IPv6 Neighbor Discovery on live interfaces or from a capture file, and
//! the reports of DD-WRT routers (MACupd), and publishes each pairing of a MAC with an address to a
//! ring in shared memory.
//!
//! capture (`live`, `replay`) → `parse` → `check` → admit (`blacklist`, `limit`) → publish
//! (`pipeline`): each stage's output is the next one's input, and every frame ends in the ring or
//! in one counter. It trusts nothing that comes from the network or from a file, and gives up its
//! privileges before it looks at the first frame.
#![forbid(unsafe_code)]

mod blacklist;
mod check;
mod filter;
mod interface;
mod limit;
mod link;
mod listener;
mod live;
mod macupd;
mod options;
mod pace;
mod parse;
mod pipeline;
mod printer;
mod refusals;
mod replay;
mod router;
mod snap;
mod stats;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use aw_service::{CapabilitySet, Error, Signals, Startup, SystemCalls, failed, info, warn};
use rustix::net::AddressFamily;
use shm_layout::{Writer, WriterOptions, remove};

use crate::{link::Link, live::Live, options::Options, pipeline::Pipeline, snap::Snap};

fn main() -> ExitCode {
    let options: Options = aw_service::parse("collector");
    if let Some(moved) = options.moved() {
        info(moved);
        return ExitCode::from(2);
    }
    aw_service::run("collector", &options.service, |startup| run(&options, startup))
}

fn run(options: &Options, startup: &mut Startup) -> Result<(), Error> {
    if options.remove {
        return remove(&options.ring).map_err(failed);
    }
    if options.stats {
        return stats::print(options);
    }
    // Before privileges go, for to look up a name of a group takes files.
    let ring = options.writer()?;
    match &options.read {
        Some(file) => {
            let mut snap = None;
            let confine = || {
                snap = confine(options, CapabilitySet::empty(), startup)?;
                Ok(())
            };
            let Some(replay) = replay::open(file, options, confine)? else { return Ok(()) };
            let mut pipeline = open_ring(options, &ring, snap, || Ok(replay.link()))?;
            startup.ready()?;
            let end = replay::run(replay, file, options, &mut pipeline, startup);
            pipeline.finish(end)
        }
        None => {
            let signals = Signals::register()?;
            let mut live = Live::open(options)?;
            let snap = confine(options, live.needs(), startup)?;
            let mut pipeline = open_ring(options, &ring, snap, || live.link())?;
            startup.ready()?;
            let end = live.run(&signals, &mut pipeline, startup);
            pipeline.finish(end)
        }
    }
}

/// Gives up all that is not needed any more. The ring is made after this, by whoever we are then,
/// so that it can be made again, and its captures opened again, at any time.
fn confine(
    options: &Options,
    keep: CapabilitySet,
    startup: &mut Startup,
) -> Result<Option<snap::Opened>, Error> {
    let identity = options.identity()?;
    let snap = options.snap(identity.as_ref())?;
    let mut calls = SystemCalls::basic();
    if !keep.is_empty() {
        calls.allow_sockets(AddressFamily::INET.as_raw().into()); // to ask for interfaces
        calls.allow_sockets(AddressFamily::PACKET.as_raw().into());
    }
    startup.confine(identity.as_ref(), keep, &options.files()?, calls, options.verbose)?;
    Ok(snap)
}

/// After the captures, so that a wrong interface leaves no ring behind.
fn open_ring(
    options: &Options,
    ring: &WriterOptions,
    snap: Option<snap::Opened>,
    link: impl FnOnce() -> Result<Link, Error>,
) -> Result<Pipeline, Error> {
    let snap = snap.map(|opened| Snap::begin(opened, link()?)).transpose()?;
    let writer = Writer::create(ring).map_err(failed)?;
    Pipeline::new(writer, snap, options)
}
