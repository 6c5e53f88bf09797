//! `collector`: captures ARP and IPv6 Neighbor Discovery on interfaces or from a capture file, receives
//! mirrored frames and the reports of DD-WRT routers (MACupd), and publishes each pairing of a MAC and an address to a ring in
//! shared memory.
//!
//! capture (`live`, `replay`) → `parse` → `check` → admit (`blacklist`, `rate_limit`) → publish
//! (`pipeline`): each stage's output is the next one's input, and every frame ends in the ring or in exactly
//! one counter. Input from the network or from a file is not trusted. Privileges are dropped before the
//! first frame is read.
#![forbid(unsafe_code)]

mod batching;
mod blacklist;
mod broadcasts;
mod capture_file;
mod check;
mod copies;
mod decapsulation;
mod enabled_units;
mod event_name;
mod filter;
mod interface;
mod layer;
mod link;
mod live;
mod macupd;
mod members;
mod merge;
mod monitored_interface;
mod name_publisher;
mod names;
mod options;
mod own_addresses;
mod parse;
mod pipeline;
mod printer;
mod rate_limit;
mod refusal_log;
mod related;
mod replay;
mod replay_sources;
mod sample_file;
mod senders;
mod start_check;
mod stats;
mod tag;
#[cfg(test)]
mod tests;
mod tunnel;
mod udp_source;
mod unknown_header;

use std::{process::ExitCode, thread::sleep, time::Duration};

use aw_service::{
    Access, CapabilitySet, Error, Signals, Startup, SystemCalls, UserAccount, failed, info,
    local_span, warn,
};
use rustix::net::AddressFamily;
use shm_layout::{
    CreateError, Record, RingWriter, WriterOptions, claim, claim_names, remove, remove_names,
};

use crate::{
    enabled_units::EnabledUnits,
    link::LinkType,
    live::LiveCapture,
    members::Members,
    options::{Options, TRUSTED_USERS},
    pipeline::Pipeline,
    sample_file::SampleFile,
};

fn main() -> ExitCode {
    let mut options: Options = aw_service::parse("collector");
    if let Some(moved) = options.moved() {
        info(moved);
        return ExitCode::from(2);
    }
    if options.check {
        return start_check::check(&options);
    }
    if options.claim {
        // A unit calls it with the options of the collector that it then starts.
        (options.service.daemon, options.service.pid_file) = (false, None);
    }
    aw_service::run("collector", &options.service, |startup| run(&options, startup))
}

fn run(options: &Options, startup: &mut Startup) -> Result<(), Error> {
    if options.remove {
        let ring = &options.ring;
        return remove(ring).map_err(|error| Error::new(format_args!("remove ring {ring}"), error));
    }
    if options.stats {
        return stats::print(options);
    }
    // Before privileges are dropped: looking up a group's name needs files.
    let ring = options.writer()?;
    shm_layout::examine_file_system(); // before system calls are restricted
    if options.claim {
        return claim_name(options);
    }
    match &options.read {
        Some(file) => {
            let mut samples = None;
            let confine = || {
                samples = confine(options, CapabilitySet::empty(), None, startup)?;
                Ok(())
            };
            let Some(replay) = replay::open(file, options, confine)? else { return Ok(()) };
            let mut pipeline = open_ring(options, &ring, samples, || Ok(replay.link()))?;
            startup.ready()?;
            let end = replay::run(replay, file, options, &mut pipeline, startup);
            pipeline.finish(end)
        }
        None => {
            options.files_without_effect().into_iter().for_each(warn);
            let signals = Signals::register()?;
            let members = Members::join(options)?;
            let access = members.as_ref().map(Members::access);
            let mut live = LiveCapture::new(options, members)?;
            if access.is_none() {
                live.open(options)?;
            }
            let mut keep = live.capabilities();
            if access.is_some() && options.has_low_port() {
                keep |= CapabilitySet::NET_BIND_SERVICE; // the port is opened when its turn comes
            }
            let samples = confine(options, keep, access.clone(), startup)?;
            // With all that it drops gone: it may wait for months.
            if access.is_some() && !live.open_in_turn(options, &signals, startup)? {
                return Ok(());
            }
            let mut pipeline = open_ring(options, &ring, samples, || live.link())?;
            if let Some((from, to)) = pipeline.gap() {
                let (span, ring) = (local_span(from.seconds(), to.seconds()), &ring.name);
                info(format_args!(
                    "no collector ran for ring {ring} {span}: nothing is recorded of that time"
                ));
            }
            if let Some(kill) = pipeline.predecessor() {
                let time = kill.gap.map(|gap| format!(", for {} ms at most", gap.as_millis()));
                warn(format_args!(
                    "the collector before this one was killed or crashed: nothing was captured until now{} (its last messages may have the cause; a lack of memory is in journalctl -k | grep -i oom, or dmesg)",
                    time.unwrap_or_default()
                ));
            }
            startup.ready()?;
            let end = live.run(&signals, &mut pipeline, startup);
            pipeline.finish(end)
        }
    }
}

/// Removes other users' files from the ring's names, as root.
fn claim_name(options: &Options) -> Result<(), Error> {
    let ring = &options.ring;
    let failure = |why| Error::new(format_args!("reserve ring {ring}"), why);
    let Some(identity) = options.identity()? else {
        return match options.claim {
            true => Err(failed("--claim: permission denied (run it as root)")),
            false => Ok(()), // root of a container that may not change its user
        };
    };
    let (user, group) = (identity.user.as_raw(), identity.group.as_raw());
    let trusted = TRUSTED_USERS.iter().filter_map(|name| UserAccount::named(name));
    let trusted: Vec<u32> = trusted.map(|user| user.uid.as_raw()).collect();
    let mut removed = claim(ring, user, group, &trusted).map_err(failure)?;
    if options.with_names {
        removed.extend(claim_names(ring, user, group, &trusted).map_err(failure)?);
    }
    for (path, owner) in removed {
        warn(format_args!(
            "removed {} of user id {owner}: it prevented the collector from creating ring {ring} (ask that user; two collectors need two rings, -m)",
            path.display()
        ));
    }
    Ok(())
}

/// Drops all privileges that are not needed any more. The ring is created after this, with the remaining
/// privileges, so that it can be created again, and captures opened again, at any time.
fn confine(
    options: &Options,
    keep: CapabilitySet,
    members: Option<Access>,
    startup: &mut Startup,
) -> Result<Option<sample_file::OpenedFile>, Error> {
    let identity = options.identity()?;
    let samples = options.sample_file(identity.as_ref())?;
    let mut calls = SystemCalls::without_truncation();
    calls.allow_ring_writer();
    if options.read.is_none() {
        calls.allow_epoll();
        calls.allow_serving(); // the open sockets
    }
    if !keep.is_empty() {
        calls.allow_captures();
        // The first two to query interfaces.
        for family in [AddressFamily::UNIX, AddressFamily::INET, AddressFamily::PACKET] {
            calls.allow_sockets(family.as_raw().into());
        }
        if members.is_some() && options.has_sockets() {
            calls.allow_sockets(AddressFamily::INET6.as_raw().into());
        }
    }
    let mut files = options.files()?;
    if let Some(members) = members {
        files.extend([members, EnabledUnits::access()]);
    }
    if rustix::process::geteuid().is_root() {
        claim_name(options)?; // last, so that a start that fails removes nothing
    }
    startup.confine(identity.as_ref(), keep, &files, calls, options.verbose)?;
    Ok(samples)
}

/// Called after the captures are open, so that a wrong interface leaves no ring behind.
fn open_ring(
    options: &Options,
    ring: &WriterOptions,
    samples: Option<sample_file::OpenedFile>,
    link: impl FnOnce() -> Result<LinkType, Error>,
) -> Result<Pipeline, Error> {
    let samples = samples.map(|file| SampleFile::begin(file, link()?)).transpose()?;
    let writer = create(options, ring)?;
    let names = options.names_writer(ring).map(|ring| create(options, &ring)).transpose()?;
    // Of an earlier collector: names are personal data, and stay in no ring that is not written any more.
    if names.is_none()
        && ring.name.names().path().exists()
        && let Err(why) = remove_names(&ring.name)
    {
        let ring = ring.name.names();
        warn(format_args!(
            "remove ring {ring}, as --names is off: {why} (remove it as its owner, or as root)"
        ));
    }
    Pipeline::new(writer, names, samples, options)
}

fn create<T: Record<N>, const N: usize>(
    options: &Options,
    ring: &WriterOptions,
) -> Result<RingWriter<T, N>, Error> {
    // With --join: of a process that was killed, the kernel may release the lock of the ring last.
    let mut tries = if options.join.is_some() { 40 } else { 1 };
    let writer = loop {
        tries -= 1;
        match RingWriter::create(ring) {
            Err(CreateError::Busy(_)) if tries > 0 => sleep(Duration::from_millis(50)),
            result => break result,
        }
    };
    writer.map_err(|error| Error::new(format_args!("open ring {}", ring.name), error))
}
