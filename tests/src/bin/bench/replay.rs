//! Capture files: speed and memory compared with tcpdump, and the cost of the rate limit.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use aw_tests::ring::Ring;

use crate::{FILTER, Options, Outcome, binary, measure, row};

/// A complete file: speed compared with tcpdump, and memory.
pub fn beside_tcpdump(options: &Options) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let capture = directory.path().join("bench.pcap");
    make_capture(&["bench", text(&capture)?, "--frames", &options.frames.to_string()])?;
    let tcpdump: [PathBuf; 1] = ["tcpdump".into()];
    let ring = Ring::new();
    let ours = ["--read", text(&capture)?, "-q", "-m", ring.name()];
    let lines = ["--read", text(&capture)?, "-m", ring.name()];
    let theirs = ["-r", text(&capture)?, "-w", "/dev/null", FILTER];
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

/// The cost of a frame with the rate limit and without, when every pairing is known and nothing is reported any more.
/// The table is built by a capture in which each pairing occurs once; its time is subtracted from that of a capture with
/// more frames after these.
pub fn rate_limit(options: &Options) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let short = directory.path().join("short.pcap");
    let long = directory.path().join("long.pcap");
    let (short, long) = (text(&short)?, text(&long)?);
    let frames = options.frames.to_string();
    let ring = Ring::new();
    let collector = binary("collector");
    let limit = ["-r", "60", "--max-pairings", "4000000"];
    let without = |capture| vec!["--read", capture, "-q", "-m", ring.name()];
    let with = |capture| [&without(capture)[..], &limit].concat();
    // The last but one knows as many pairings as the last, but sees few, which the caches may hold. It is the
    // least certain: a small difference of long times.
    let cases = [1_000, 10_000, 100_000, 1_000_000].map(|pairings| (pairings, pairings));
    for (known, seen) in [&cases[..3], &[(1_000_000, 1_000)], &cases[3..]].concat() {
        let introduced = (known / 2).to_string();
        let hosts = (seen / 2).to_string();
        for (capture, frames) in [(short, "0"), (long, &*frames)] {
            let rest = ["--introduce", &introduced, "--hosts", &hosts, "--frames", frames];
            make_capture(&[&["bench", capture][..], &rest].concat())?;
        }
        let costs = measure(options.runs, || {
            let without = run(&collector, &without(long))? - run(&collector, &without(short))?;
            let with = run(&collector, &with(long))? - run(&collector, &with(short))?;
            let frames = options.frames as f64;
            Ok(vec![without / frames, with / frames, (with - without) / frames])
        })?;
        row(
            &format!("{known} pairings known, {seen} seen, no limit"),
            &costs[0],
            1e9,
            "ns a frame",
        );
        row("  -r 60, reporting none of them", &costs[1], 1e9, "ns a frame");
        row("  difference", &costs[2], 1e9, "ns a frame");
    }
    let memory = measure(options.runs, || {
        let without = peak_memory(&collector, &without(long))?;
        Ok(vec![(peak_memory(&collector, &with(long))? - without) / 1024.0])
    })?;
    row("memory for the last", &memory[0], 1.0, "MiB");
    Ok(())
}

fn make_capture(arguments: &[&str]) -> Outcome<()> {
    let made = Command::new(binary("make-capture")).args(arguments).status()?;
    if made.success() { Ok(()) } else { Err("make-capture failed".into()) }
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
    let output = String::from_utf8(output.stderr)?;
    Ok(output.lines().last().ok_or("time printed nothing")?.parse()?)
}
