//! `aw-stdout`: prints events as lines, addrwatch's or JSON, to standard output or a file.
#![forbid(unsafe_code)]

mod lines;

use std::{path::PathBuf, process::ExitCode};

use aw_output::{Access, Plan, RingOptions, StartFrom, parse, run};
use clap::{Parser, ValueEnum};

use crate::lines::Lines;

/// Prints the events of the collector's ring, one a line.
#[derive(Parser)]
#[command(name = "aw-stdout", version, after_help = EXAMPLES)]
struct Options {
    /// How to write an event
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// How to write its time: seconds since 1970, or date and time with the zone's offset
    #[arg(long, value_enum, default_value_t = Time::Unix)]
    time: Time,

    /// Append to FILE instead of standard output; opened anew on SIGHUP
    #[arg(short, long, value_name = "FILE", required_if_eq("daemon", "true"))]
    output: Option<PathBuf>,

    #[command(flatten)]
    rings: RingOptions,
}

/// The shape of a line.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// seconds interface vlan mac ip ORIGIN
    Text,
    /// One JSON object a line, with all fields
    Json,
}

/// The shape of a time.
#[derive(Clone, Copy, ValueEnum)]
enum Time {
    /// Seconds since 1970-01-01 00:00 UTC
    Unix,
    /// Date and time in the zone of TZ, or of this machine: 2026-11-22T14:05:00+01:00
    Rfc3339,
}

const EXAMPLES: &str = "\
Examples:
  aw-stdout                        what is heard from now on
  aw-stdout --once --format json   what the ring still holds, then exit
  aw-stdout -m /lan -m /dmz        two collectors at once
  aw-stdout -o /var/log/addrwatch.log --time rfc3339
  aw-stdout -d -o /var/log/addrwatch.log --from resume
                                   in the background; after a restart it goes on where it was
  aw-stdout --health               whether all is well, for a monitoring check

It needs no privileges but to be a member of the ring's group, and gives up all others.
Exit status: 0 when stopped by a signal or a closed pipe, 1 on failure, 2 for wrong options.";

/// Lines that come twice after a kill, at most.
const BATCH: usize = 256;

fn main() -> ExitCode {
    let options: Options = parse("aw-stdout");
    let files = options.output.iter().filter_map(|path| std::path::absolute(path).ok());
    let files = files.filter_map(place).map(Access::Write).collect();
    let plan = Plan { files, from: StartFrom::Now, batch: BATCH, ..Plan::default() };
    run("aw-stdout", &options.rings, &plan, || Lines::open(&options))
}

/// Where a file is made: its directory, for logrotate renames it; but where it is a device, and in
/// the root directory, only the file itself.
fn place(path: PathBuf) -> Option<PathBuf> {
    let alone = match path.metadata() {
        Ok(file) if file.is_dir() => return None, // it will not be opened
        Ok(file) => !file.is_file(),
        Err(_) => false,
    };
    match path.parent().filter(|parent| !alone && *parent != "/") {
        Some(parent) => Some(parent.into()),
        None => Some(path),
    }
}
