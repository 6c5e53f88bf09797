//! Fills a directory with logs of a simulated network: to look at a report, and for benchmarks.
#![forbid(unsafe_code)]

use clap::Parser;
use std::path::PathBuf;

/// Writes the logs of a simulated network, as aw-tracker does, of days up to today.
#[derive(Parser)]
struct Options {
    /// Where to
    directory: PathBuf,
    /// Devices in all
    #[arg(long, default_value_t = 60)]
    devices: u32,
    /// Days up to today
    #[arg(long, default_value_t = 31)]
    days: u32,
}

fn main() {
    let options = Options::parse();
    aw_tests::tracker::make_logs(&options.directory, options.devices, options.days);
}
