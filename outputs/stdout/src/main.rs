//! `aw-stdout`: prints events as lines of text or JSON, to standard output or a file.
#![forbid(unsafe_code)]

mod lines;

use std::{path::PathBuf, process::ExitCode};

use aw_output::{Access, Plan, RingOptions, StartFrom, check, parse, run, run_names};
use clap::{Parser, ValueEnum};

use crate::lines::LineSink;

/// Prints the events of the collector's ring, one event per line
#[derive(Parser)]
#[command(name = "aw-stdout", version, after_help = EXAMPLES)]
struct Options {
    /// Format of a line; see addrwatch-lines(5)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Format of the time
    #[arg(long, value_enum, default_value_t = TimeStyle::Unix)]
    time: TimeStyle,

    /// Append to FILE instead of standard output; re-opened on SIGHUP; required with --daemon
    #[arg(short, long, value_name = "FILE", required_if_eq("daemon", "true"))]
    output: Option<PathBuf>,

    /// Print names, routers and DHCP servers in place of events: the ring that collector --names writes beside its ring of
    /// events; see addrwatch-lines(5)
    #[arg(long, conflicts_with_all = ["health", "check"])]
    #[cfg_attr(feature = "stream", arg(conflicts_with = "stream"))]
    names: bool,

    #[command(flatten)]
    rings: RingOptions,
    #[cfg(feature = "stream")]
    #[command(flatten)]
    stream: aw_relay::StreamOptions,
}

/// The format of a line.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One line of text: seconds interface vlan mac ip ORIGIN
    Text,
    /// One JSON object per line, with all fields
    Json,
}

/// The format of a time.
#[derive(Clone, Copy, ValueEnum)]
enum TimeStyle {
    /// Seconds since 1970-01-01 00:00 UTC
    Unix,
    /// Date and time in the zone of TZ, or else of this machine: 2026-11-22T14:05:00+01:00
    Rfc3339,
}

const EXAMPLES: &str = "\
Examples:
  aw-stdout                        print events from now on
  aw-stdout --once --format json   print the events in the ring, then exit
  aw-stdout -m /lan -m /dmz        read the rings of two collectors
  aw-stdout --names --replay       print what collector --names has in its ring, and go on
  aw-stdout -o /var/log/addrwatch.log --time rfc3339
  aw-stdout -d -o /var/log/addrwatch.log --from resume
                                   run in the background, resume after a restart
  aw-stdout --health               check the health, for a monitoring system

It needs to be a member of the ring's group; it drops all other privileges.
When it ends it reports on standard error how many events of each ring were printed and lost.
Exit status: 0 after a stop signal, a closed pipe or --once, and if healthy with --health;
1 on failure, or if not healthy; 2 for wrong options.";

/// The most lines that are printed twice after a kill.
const BATCH: usize = 256;

fn main() -> ExitCode {
    let options: Options = parse("aw-stdout");
    let files = options.output.iter().filter_map(|path| std::path::absolute(path).ok());
    // A file that exists need not be created, unless logrotate renames it, and then that creates it again.
    let is_check = options.rings.check;
    let needed = |path: PathBuf| match is_check && path.exists() {
        true => Some(path),
        false => writable_path(path),
    };
    let files = files.filter_map(needed).map(Access::Write).collect();
    let plan = Plan { files, from: StartFrom::Now, batch: BATCH, ..Plan::default() };
    #[cfg(feature = "stream")]
    if let Some(stream) = options.stream.source(&options.rings, &plan) {
        let check =
            |options: &Options| lines::check(options).map_err(|error| vec![error.to_string()]);
        return stream.run("aw-stdout", &options, check, LineSink::open);
    }
    if options.rings.check {
        return check("aw-stdout", &options.rings, &plan, || {
            lines::check(&options).map_err(|error| vec![error.to_string()])
        });
    }
    if options.names {
        return run_names("aw-stdout", &options.rings, &plan, || LineSink::open(&options));
    }
    run("aw-stdout", &options.rings, &plan, || LineSink::open(&options))
}

/// The path that must be writable: the directory of the file, because logrotate renames the file; but only
/// the file itself if it is a device or in the root directory.
fn writable_path(path: PathBuf) -> Option<PathBuf> {
    let alone = match path.metadata() {
        Ok(file) if file.is_dir() => return None, // opening it fails later
        Ok(file) => !file.is_file(),
        Err(_) => false,
    };
    match path.parent().filter(|parent| !alone && *parent != "/") {
        Some(parent) => Some(parent.into()),
        None => Some(path),
    }
}
