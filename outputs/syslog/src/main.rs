//! `aw-syslog`: sends events to a syslog daemon, local or remote.
#![forbid(unsafe_code)]

mod destination;
mod message;
mod syslog_sink;

use std::process::ExitCode;

use aw_output::{Plan, RingOptions, SpoolOptions, check, failed, parse, run};
use clap::{Parser, ValueEnum};

use crate::{destination::Destination, message::MessageFormat, syslog_sink::SyslogSink};

/// Sends the events of the collector's ring to a syslog daemon, with facility daemon, level info and program name addrwatch
#[derive(Parser)]
#[command(name = "aw-syslog", version, after_help = EXAMPLES)]
struct Options {
    /// Send to this syslog daemon: the path of a socket, udp://HOST[:PORT] or tcp://HOST[:PORT]; default
    /// port 514
    #[arg(long, value_name = "DESTINATION", default_value = "/dev/log")]
    to: Destination,

    /// Format of a message
    #[arg(long, value_enum, default_value_t = Format::Rfc3164)]
    format: Format,

    /// With --format rfc5424: add each field as structured data
    #[arg(long)]
    structured: bool,

    /// With tcp://: how messages are separated (RFC 6587)
    #[arg(long, value_enum, default_value_t = Framing::Newline)]
    framing: Framing,

    /// Use NAME as the host name in messages to another machine [default: the name of this machine]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,
}

/// The format of a message.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// RFC 3164: local time without year
    Rfc3164,
    /// RFC 5424: time with year, zone offset and microseconds
    Rfc5424,
}

/// How messages of a TCP stream are separated (RFC 6587).
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Framing {
    /// A newline after each message; no message contains one
    Newline,
    /// The length before each message (octet counting)
    Counted,
}

const EXAMPLES: &str = "\
Examples:
  aw-syslog                        send to the syslog daemon of this machine
  aw-syslog --to udp://logs.example.net
  aw-syslog --to tcp://[2001:db8::1]:6514 --framing counted --format rfc5424 --structured

The time of a message is the time of its event; its text is the text line of addrwatch-lines(5).
While the daemon is down or accepts nothing, events are queued in the state directory.
Exit status: 0 after a stop signal or --once, and if healthy with --health;
1 on failure, or if not healthy; 2 for wrong options.";

fn main() -> ExitCode {
    let Options { rings, spool, to, format, structured, framing, hostname } = parse("aw-syslog");
    let plan =
        Plan { files: to.access(), sockets: to.sockets(), spool: Some(spool), ..Plan::default() };
    let is_local = to.is_local();
    let prepare = || {
        if structured && format != Format::Rfc5424 {
            return Err(failed("--structured needs --format rfc5424"));
        }
        MessageFormat::new(format, structured, is_local, hostname)
    };
    if rings.check {
        return check("aw-syslog", &rings, &plan, || {
            let unreachable = |error| format!("send to {to}: {}", to.why(error));
            let tried = [
                prepare().err().map(|error| error.to_string()),
                to.connect().err().map(unreachable),
            ];
            let faults: Vec<_> = tried.into_iter().flatten().collect();
            if faults.is_empty() { Ok(to.tried()) } else { Err(faults) }
        });
    }
    run("aw-syslog", &rings, &plan, || Ok(SyslogSink::new(to, framing, prepare()?)))
}
