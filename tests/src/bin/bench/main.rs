//! `make bench`: the speed, as a table of medians. This is no test: the results depend on the machine.
#![forbid(unsafe_code)]

mod alert;
mod last;
mod live;
mod mysql;
mod questions;
mod replay;
mod ring;
mod rogue;
mod routeros;
mod routers;
mod web;

use std::{error::Error, path::PathBuf};

use clap::{Parser, ValueEnum};

/// Prints how fast ring, wake-up, replay, rate limit, live capture, reports of routers, aw-tracker, rows into MariaDB, questions about large histories, pages of aw-web, aw-alert, its messages about rogues and aw-routeros are: medians, with the range of all runs.
#[derive(Parser)]
struct Options {
    /// What to measure; all, if nothing is named
    sections: Vec<Section>,

    /// Runs of each measurement
    #[arg(long, default_value_t = 5)]
    runs: usize,

    /// Events in each run of the ring
    #[arg(long, default_value_t = 200_000_000)]
    events: u64,

    /// Wake-ups in each run
    #[arg(long, default_value_t = 5_000)]
    wakes: u64,

    /// Frames in the generated capture
    #[arg(long, default_value_t = 2_000_000)]
    frames: u64,

    /// Frames a second of a live capture
    #[arg(long, default_value_t = 200_000)]
    rate: u64,

    /// Seconds of each live capture
    #[arg(long, default_value_t = 10)]
    seconds: u64,

    /// Rows in the SQLite history that aw-query and aw-web search
    #[arg(long, default_value_t = 100_000_000)]
    rows: u64,

    /// Its addresses
    #[arg(long, default_value_t = questions::ADDRESSES)]
    addresses: i64,

    /// Rows in MariaDB
    #[arg(long, default_value_t = 10_000_000)]
    server_rows: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Publishing to the ring, and through it
    Ring,
    /// From publishing to a reader that is awake
    Wake,
    /// Capture files, beside tcpdump
    Replay,
    /// What the rate limit costs
    Limit,
    /// A link between two network namespaces, beside tcpdump; needs root
    Live,
    /// Reports of routers, on the loopback
    Macupd,
    /// aw-tracker with ten thousand devices
    Tracker,
    /// Rows into MariaDB, beside inserts by hand
    Mysql,
    /// aw-query with large histories, in SQLite and in MariaDB, and the bytes of a row
    Questions,
    /// aw-web with the same history in SQLite: bytes and time of its pages, its memory, and what live viewers cost
    Web,
    /// aw-alert with a million stations
    Alert,
    /// From the frame of a rogue server, and of a takeover of the gateway, to aw-alert's message; needs root
    Rogue,
    /// aw-routeros with two hundred routers, and large exports
    Routeros,
}

/// The filter of tcpdump for the same messages; the collector's is written otherwise, but lets as much through.
const FILTER: &str = "arp or icmp6 or (vlan and (arp or icmp6))";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut options = Options::parse();
    if options.sections.is_empty() {
        options.sections = Section::value_variants().to_vec();
    }
    println!("medians of {} runs, lowest and highest in brackets", options.runs);
    let mut large = None; // of both sections that need it
    for section in &options.sections {
        match section {
            Section::Ring => {
                ring::publish(&options)?;
                ring::through(&options, 1)?;
                ring::through(&options, 3)?;
            }
            Section::Wake => ring::wake_up(&options)?,
            Section::Replay => replay::beside_tcpdump(&options)?,
            Section::Limit => replay::rate_limit(&options)?,
            Section::Live => live::all(&options)?,
            Section::Macupd => routers::datagrams(&options)?,
            Section::Tracker => routers::tracker(&options)?,
            Section::Routeros => {
                routeros::many_routers(&options)?;
                routeros::differences(&options)?;
            }
            Section::Mysql => mysql::beside_hand_batched(&options)?,
            Section::Questions => {
                questions::in_a_file(questions::large(&mut large, &options)?)?;
                questions::on_a_server(&options)?;
            }
            Section::Web => {
                let large = questions::large(&mut large, &options)?;
                web::pages(&options, large)?;
                web::viewers(&options, large)?;
            }
            Section::Alert => alert::events(&options)?,
            Section::Rogue => rogue::reported(&options)?,
        }
        last::save()?;
    }
    Ok(())
}

/// A binary of this build: they lie beside this one.
fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}

/// Runs a measurement this many times; returns for each of its figures the values of all runs.
fn measure(runs: usize, mut once: impl FnMut() -> Outcome<Vec<f64>>) -> Outcome<Vec<Vec<f64>>> {
    let mut figures: Vec<Vec<f64>> = Vec::new();
    for _ in 0..runs {
        for (index, value) in once()?.into_iter().enumerate() {
            if figures.len() == index {
                figures.push(Vec::new());
            }
            figures[index].push(value);
        }
    }
    Ok(figures)
}

fn row(name: &str, values: &[f64], scale: f64, unit: &str) {
    let mut values: Vec<f64> = values.iter().map(|value| value * scale).collect();
    values.sort_by(f64::total_cmp);
    let (low, median, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    let before = last::replace_below_heading(name, &[median]);
    let before = before.first().map_or(String::new(), |before| format!(", before {before:.2}"));
    println!("{name:56} {median:9.2} {unit:15} [{low:.2} .. {high:.2}{before}]");
}

/// A row of a table: the median of each column, and below it those of the last run.
fn table_row(name: &str, results: &[Vec<f64>], columns: &[(&str, f64)]) {
    let median = |values: &Vec<f64>| {
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let scaled = results.iter().zip(columns).map(|(values, (_, scale))| median(values) * scale);
    let medians: Vec<f64> = scaled.collect();
    let line = |numbers: &[f64]| {
        let number = |number: &f64| format!("{number:>16.*}", if *number < 10.0 { 3 } else { 1 });
        numbers.iter().map(number).collect::<String>()
    };
    println!("{name:>9} {}", line(&medians));
    let before = last::replace(&format!("rate {name}"), &medians);
    if !before.is_empty() {
        println!("{:>9} {}", "before", line(&before));
    }
}
