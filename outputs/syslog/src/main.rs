//! `aw-syslog`: sends events as lines to a syslog daemon, here or elsewhere.
#![forbid(unsafe_code)]

mod destination;
mod message;
mod sender;

use std::process::ExitCode;

use aw_output::{Plan, RingOptions, SpoolOptions, failed, parse, run};
use clap::{Parser, ValueEnum};

use crate::{destination::Destination, message::Writer, sender::Sender};

/// Sends the events of the collector's ring to a syslog daemon, as daemon.info with the name addrwatch.
#[derive(Parser)]
#[command(name = "aw-syslog", version, after_help = EXAMPLES)]
struct Options {
    /// Where the syslog daemon is: a socket's path, udp://HOST[:PORT] or tcp://HOST[:PORT]; the port is 514
    #[arg(long, value_name = "DESTINATION", default_value = "/dev/log")]
    to: Destination,

    /// How to write a message
    #[arg(long, value_enum, default_value_t = Format::Rfc3164)]
    format: Format,

    /// With rfc5424: each field as structured data, too
    #[arg(long)]
    structured: bool,

    /// With tcp: what stands between two messages
    #[arg(long, value_enum, default_value_t = Framing::Newline)]
    framing: Framing,

    /// Send NAME as the host's name [default: this machine's]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,
}

/// The shape of a message.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The old one: local time without a year
    Rfc3164,
    /// The new one: time with year, zone and microseconds
    Rfc5424,
}

/// What stands between two messages of a stream (RFC 6587).
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Framing {
    /// A newline behind each, which no message contains
    Newline,
    /// Its length before each
    Counted,
}

const EXAMPLES: &str = "\
Examples:
  aw-syslog                        to the syslog daemon of this machine
  aw-syslog --to udp://logs.example.net
  aw-syslog --to tcp://[2001:db8::1]:6514 --framing counted --format rfc5424 --structured

A message's time is the event's. While the daemon is away, or takes nothing, events are kept in the
state directory.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

fn main() -> ExitCode {
    let Options { rings, spool, to, format, structured, framing, hostname } = parse("aw-syslog");
    let plan =
        Plan { files: to.access(), sockets: to.sockets(), spool: Some(spool), ..Plan::default() };
    run("aw-syslog", &rings, &plan, || {
        if structured && format != Format::Rfc5424 {
            return Err(failed("--structured needs --format rfc5424"));
        }
        let writer = Writer::new(format, structured, to.is_local(), hostname)?;
        Ok(Sender::new(to, framing, writer))
    })
}
