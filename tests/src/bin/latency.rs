//! `make bench`: from the packet's own timestamp to the line of `aw-stdout` in another process, live over a veth
//! pair, as a histogram. This is no test: the results depend on the machine.

use std::{
    error::Error,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aw_tests::{
    feed::numbered,
    lan::Lan,
    rig::{Run, wait_until},
    ring::Ring,
};
use clap::Parser;
use serde_json::Value;

/// Prints how long it takes from a packet to its line.
#[derive(Parser)]
struct Options {
    /// Frames
    #[arg(long, default_value_t = 1_000)]
    frames: usize,

    /// Frames a second, at random moments
    #[arg(long, default_value_t = 40)]
    rate: u32,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The target, in microseconds: at up to 50 frames a second; the second one at any rate.
const AIM: [(&str, usize, f64); 2] = [("p50", 500, 150.0), ("p99", 990, 25_000.0)];

/// Sends a frame this many times, at this rate, as a busy network would: at irregular intervals.
const SENDER: &str = "
import random, socket, sys, time
frame, count, rate = bytes.fromhex(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('veth1', 0))
for _ in range(count):
    wire.send(frame)
    time.sleep(random.expovariate(rate))
";

fn main() -> Outcome<()> {
    let options = Options::parse();
    let Some(lan) = Lan::new() else { return Ok(()) }; // prints why
    let ring = Ring::new();
    let mut collector = lan.here.command(binary("collector"));
    collector.args(["--ring", ring.name(), "-q", "veth0"]);
    let collector = Run::start(collector);
    collector.stderr.wait_for("listening on veth0");
    wait_until("the ring", || ring.path().exists());
    let mut output = Command::new(binary("aw-stdout"));
    output.args(["--ring", ring.name(), "--format", "json", "--from", "oldest"]);
    let mut output = output.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(output.stdout.take().ok_or("no output")?);

    let frame: String = numbered(1).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut sender = lan.there.command("/usr/bin/python3");
    sender.args(["-c", SENDER, &frame, &options.frames.to_string(), &options.rate.to_string()]);
    let mut sender = sender.spawn()?;
    let mut delays = Vec::with_capacity(options.frames);
    let mut line = String::new();
    while delays.len() < options.frames && lines.read_line(&mut line)? > 0 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let event: Value = serde_json::from_str(&line)?;
        let number = |field: &str| event[field].as_u64().ok_or("not a number");
        let sent = Duration::new(number("time")?, number("nanoseconds")? as u32);
        delays.push(now.saturating_sub(sent).as_nanos() as f64 / 1000.0);
        line.clear();
    }
    sender.wait()?;
    output.kill()?;
    output.wait()?;
    collector.stop();
    delays.sort_by(f64::total_cmp);
    if delays.is_empty() {
        return Err("nothing was captured".into());
    }
    print(&delays);
    Ok(())
}

fn print(delays: &[f64]) {
    let at = |mille: usize| delays[(delays.len() - 1) * mille / 1000];
    println!("packet to line, live over veth, {} frames", delays.len());
    for (name, mille, aim) in AIM {
        let verdict = if at(mille) <= aim { "reached" } else { "missed" };
        println!("{name:44} {:9.1} µs           [aim {aim:.0}: {verdict}]", at(mille));
    }
    println!("{:44} {:9.1} µs", "p99.9", at(999));
    println!("{:44} {:9.1} µs", "longest", at(1000));
    let mut from = 0.0;
    const BOUNDS: [f64; 12] = [
        20.0,
        30.0,
        50.0,
        70.0,
        100.0,
        150.0,
        300.0,
        1_000.0,
        5_000.0,
        10_000.0,
        25_000.0,
        f64::MAX,
    ];
    for to in BOUNDS {
        let number = delays.iter().filter(|delay| (from..to).contains(*delay)).count();
        let bar = "#".repeat((number * 60).div_ceil(delays.len()));
        let to_text = if to < f64::MAX { format!("{to:.0}") } else { "more".into() };
        println!("{from:6.0} .. {to_text:>5} µs {number:7} {bar}");
        from = to;
    }
}

/// A binary of this build: they lie beside this one.
fn binary(name: &str) -> std::path::PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}
