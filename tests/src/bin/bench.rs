//! `make bench`: how fast this is, as a table of medians. Nothing here is a test: the machine decides.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use aw_tests::ring::Ring;
use clap::Parser;

/// Prints the speed of ring, wake-up and replay: medians, with the range of all runs.
#[derive(Parser)]
struct Options {
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
}

/// Events after which the writer wakes its readers, a system call: a busy interface's turn.
const BATCH: &str = "1024";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let options = Options::parse();
    println!("medians of {} runs, lowest and highest in brackets", options.runs);
    publish(&options)?;
    through(&options, 1)?;
    through(&options, 3)?;
    wake_up(&options)?;
    replay(&options)?;
    rate_limit(&options)?;
    Ok(())
}

/// A process of `ring-load`, waiting for its start.
struct Load {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Load {
    fn start(arguments: &[&str]) -> Outcome<Load> {
        let mut process = Command::new(binary("ring-load"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut load = Load { process, lines };
        load.numbers()?;
        Ok(load)
    }

    fn go(&mut self) -> Outcome<()> {
        Ok(self.process.stdin.take().ok_or("started already")?.write_all(b"go\n")?)
    }

    /// The numbers in its next line.
    fn numbers(&mut self) -> Outcome<Vec<f64>> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn publish(options: &Options) -> Outcome<()> {
    let events = options.events.to_string();
    let alone = measure(options.runs, || {
        let ring = Ring::new();
        let mut writer = Load::start(&["write", ring.name(), &events, BATCH])?;
        writer.go()?;
        Ok(vec![writer.numbers()?[1] / options.events as f64])
    })?;
    row("publish, no reader", &alone[0], 1.0, "ns an event");
    Ok(())
}

/// One writer at full speed and so many readers, each a process.
fn through(options: &Options, readers: usize) -> Outcome<()> {
    let events = options.events.to_string();
    let results = measure(options.runs, || {
        let ring = Ring::new();
        let mut writer = Load::start(&["write", ring.name(), &events, BATCH])?;
        let mut following = (0..readers)
            .map(|_| Load::start(&["read", ring.name(), &events, "0"]))
            .collect::<Outcome<Vec<_>>>()?;
        writer.go()?;
        let written = writer.numbers()?[1] / options.events as f64;
        let mut least = f64::MAX;
        let mut lost = 0.0_f64;
        for reader in &mut following {
            let [read, missed, _, torn, nanos] = reader.numbers()?[..] else {
                return Err("a reader said something else".into());
            };
            assert!(torn == 0.0 && read + missed == options.events as f64);
            least = least.min(read / nanos * 1e9);
            lost = lost.max(missed / options.events as f64);
        }
        Ok(vec![written, least, lost])
    })?;
    let name = format!("{readers} reader{}", if readers == 1 { "" } else { "s" });
    row(&format!("publish, {name}"), &results[0], 1.0, "ns an event");
    row(&format!("through to {name}, the slowest"), &results[1], 1e-6, "M events/s");
    row("  lost to it, and counted", &results[2], 100.0, "%");
    Ok(())
}

fn wake_up(options: &Options) -> Outcome<()> {
    let wakes = options.wakes.to_string();
    let results = measure(options.runs, || {
        let ring = Ring::new();
        let mut writer = Load::start(&["wakes", ring.name(), &wakes])?;
        let mut reader = Load::start(&["delays", ring.name(), &wakes])?;
        writer.go()?;
        reader.numbers()
    })?;
    for (result, name) in results.iter().zip(["p50", "p99", "p99.9"]) {
        row(&format!("publish to reader awake, {name}"), result, 1e-3, "µs");
    }
    Ok(())
}

fn replay(options: &Options) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let capture = directory.path().join("bench.pcap");
    let frames = options.frames.to_string();
    let made = Command::new(binary("make-capture"))
        .args(["bench", text(&capture)?, "--frames", &frames])
        .status()?;
    if !made.success() {
        return Err("make-capture failed".into());
    }
    let filter = "arp or icmp6 or (vlan and (arp or icmp6))";
    let tcpdump: [PathBuf; 1] = ["tcpdump".into()];
    let ring = Ring::new();
    let ours = ["--read", text(&capture)?, "-q", "-m", ring.name()];
    let lines = ["--read", text(&capture)?, "-m", ring.name()];
    let theirs = ["-r", text(&capture)?, "-w", "/dev/null", filter];
    let both = measure(options.runs, || {
        Ok(vec![
            run(&tcpdump[0], &theirs)?,
            run(&binary("collector"), &ours)?,
            run(&binary("collector"), &lines)?,
        ])
    })?;
    let frames = options.frames as f64;
    for (seconds, name) in
        both.iter().zip(["tcpdump -r -w /dev/null", "collector --read -q", "collector --read"])
    {
        let rates: Vec<f64> = seconds.iter().map(|seconds| frames / seconds).collect();
        row(name, &rates, 1e-6, "M frames/s");
    }
    let ratios: Vec<f64> =
        both[0].iter().zip(&both[1]).map(|(theirs, ours)| ours / theirs).collect();
    row("collector --read -q, time over tcpdump's", &ratios, 1.0, "");
    for (name, command) in [
        ("collector --read -q, with its ring", (binary("collector"), ours.to_vec())),
        (
            "aw-stdout --once, with the ring",
            (binary("aw-stdout"), vec!["--once", "-m", ring.name()]),
        ),
    ] {
        let peak = measure(options.runs, || Ok(vec![peak_memory(&command.0, &command.1)?]))?;
        row(&format!("peak memory, {name}"), &peak[0], 1.0 / 1024.0, "MiB");
    }
    Ok(())
}

/// What the rate limit costs a frame, however many pairings it knows, and how much memory they take.
fn rate_limit(options: &Options) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let capture = directory.path().join("limit.pcap");
    let frames = options.frames.to_string();
    let ring = Ring::new();
    let collector = binary("collector");
    let without = ["--read", text(&capture)?, "-q", "-m", ring.name()];
    let with = [&without[..], &["-r", "60", "--max-pairings", "4000000"]].concat();
    for pairings in [1_000, 10_000, 100_000, 1_000_000] {
        let hosts = (pairings / 2).to_string();
        let made = Command::new(binary("make-capture"))
            .args(["bench", text(&capture)?, "--frames", &frames, "--hosts", &hosts])
            .status()?;
        if !made.success() {
            return Err("make-capture failed".into());
        }
        let both = measure(options.runs, || {
            let without = run(&collector, &without)?;
            Ok(vec![(run(&collector, &with)? - without) / options.frames as f64])
        })?;
        row(&format!("rate limit, of {pairings} pairings"), &both[0], 1e9, "ns a frame");
    }
    let memory = measure(options.runs, || {
        let without = peak_memory(&collector, &without)?;
        Ok(vec![(peak_memory(&collector, &with)? - without) / 1024.0])
    })?;
    row("  memory for the last", &memory[0], 1.0, "MiB");
    Ok(())
}

/// A binary of this build: they lie beside this one.
fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}

fn text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or("the path is not text".into())
}

/// Seconds that a command takes.
fn run(program: &Path, arguments: &[&str]) -> Outcome<f64> {
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("{} failed", program.display()).into());
    }
    Ok(start.elapsed().as_secs_f64())
}

/// The largest resident set of a command in KiB, as GNU time has it: shared pages count.
fn peak_memory(program: &Path, arguments: &[&str]) -> Outcome<f64> {
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%M"])
        .arg(program)
        .args(arguments)
        .stdout(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    Ok(said.lines().last().ok_or("time said nothing")?.parse()?)
}

/// Runs something so many times; gives for each of its figures the values of all runs.
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
    println!("{name:44} {median:9.2} {unit:12} [{low:.2} .. {high:.2}]");
}
