//! `aw-relay`: publishes the events of the collector's rings to a stream of a NATS server. The ring is the queue: while the server does
//! not answer, at most one batch is kept in memory, and its position is stored when the server has stored the batch.
#![forbid(unsafe_code)]

use std::{
    io::{Write, stdout},
    process::ExitCode,
    time::Duration,
};

use aw_output::{Plan, RingOptions, as_service, check, parse, run};
use aw_relay::{BATCH, RelaySink, StreamLimits, StreamUrl, create};
use clap::{Parser, Subcommand};

/// Publishes the events of the collector's rings to a stream of a NATS server, for a history of many sites
#[derive(Parser)]
#[command(name = "aw-relay", version, after_help = EXAMPLES)]
struct Options {
    /// Stream: nats://HOST[:PORT][,HOST...]/STREAM, or tls://HOST/STREAM?ca=FILE&cert=FILE&key=FILE with TLS: authorities in place of the
    /// system's, and a client certificate with its key, which other users may not read
    #[arg(long, global = true, value_name = "URL", default_value = "nats://localhost/addrwatch")]
    to: StreamUrl,

    /// Name of this sensor in subjects; must be unique among the sensors, and must not change [default: the collector's host name]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    #[command(flatten)]
    rings: RingOptions,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Create the stream on the server, or change its limits, and exit
    Create {
        #[command(flatten)]
        limits: StreamLimits,
    },
}

const EXAMPLES: &str = "\
Examples:
  aw-relay --to nats://localhost/addrwatch create --max-bytes 20G    once, at the centre
  aw-relay --to 'tls://nats.example.net/addrwatch?ca=/etc/addrwatch/ca.pem&cert=/etc/addrwatch/nats.pem&key=/etc/addrwatch/nats.key'
  aw-sqlite --stream nats://localhost/addrwatch --database all.db    at the centre

A message has the events of one ring, on the subject addrwatch.HOST.RING. While no server stores
messages, events wait in the ring; what the collector overwrites meanwhile is counted as lost, there
and at the centre.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

/// How long an event waits for others: each message is a write to the disks of the servers.
const LINGER: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let Options { to, hostname, rings, command } = parse("aw-relay");
    if let Some(Command::Create { limits }) = command {
        let created = to.tls().and_then(|tls| create(&to, tls.as_ref(), &limits));
        return match created {
            Ok(line) => {
                let _ = writeln!(stdout(), "{line}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("aw-relay: {error}");
                ExitCode::FAILURE
            }
        };
    }
    // Before privileges are dropped, because the key may belong to root. Errors are reported later, when the log is open.
    let tls = match rings.check {
        true => as_service(&rings, None, || to.tls()).and_then(|tls| tls),
        false => to.tls(),
    };
    let plan = Plan {
        files: to.access(),
        named: to.files(),
        sockets: vec![libc::AF_INET, libc::AF_INET6],
        event_loop: true,
        linger: LINGER,
        batch: BATCH,
        waits: !rings.once,
        ..Plan::default()
    };
    if rings.check {
        return check("aw-relay", &rings, &plan, || {
            let tls = tls.map_err(|error| vec![error.to_string()])?;
            RelaySink::new(to, tls, hostname).check().map_err(|why| vec![why])
        });
    }
    run("aw-relay", &rings, &plan, || Ok(RelaySink::new(to, tls?, hostname)))
}
