//! Writes captures: the sample of `tests/data/`, the lines that it must become, large ones for benchmarks; and the seeds
//! of the fuzz targets.
#![forbid(unsafe_code)]

use aw_tests::{bench, sample, seeds};
use clap::{Parser, Subcommand};
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

/// Writes capture files for addrwatch-rs's tests and benchmarks.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every origin, every kind of header, every refusal
    Sample {
        /// Where to write it
        file: PathBuf,
    },
    /// The lines that the sample must become
    SampleText {
        /// Where to write them
        file: PathBuf,
    },
    /// The seeds of the fuzz targets: fuzz/corpus
    Seeds {
        /// The directory to write them to
        directory: PathBuf,
    },
    /// Many frames: 60 % ARP, 25 % ND, 15 % other
    Bench {
        /// Where to write them
        file: PathBuf,
        /// How many
        #[arg(long, default_value_t = 2_000_000)]
        frames: usize,
        /// From how many hosts, each with two addresses
        #[arg(long, default_value_t = 20_000)]
        hosts: u32,
        /// Before them, each pairing of so many hosts once
        #[arg(long, default_value_t = 0)]
        introduce: u32,
        /// The same seed makes the same file
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let (file, result) = match Options::parse().what {
        What::Sample { file } => (file.clone(), std::fs::write(file, sample::capture())),
        What::SampleText { file } => (file.clone(), std::fs::write(file, sample::text("pcap"))),
        What::Seeds { directory } => (directory.clone(), seeds::write(&directory)),
        What::Bench { file, frames, hosts, introduce, seed } => {
            let first = bench::introductions(introduce);
            let all = first.chain(bench::traffic(hosts, seed).take(frames));
            let result = File::create(&file)
                .and_then(|out| bench::write(BufWriter::with_capacity(1 << 20, out), all));
            (file, result)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make-capture: write {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
