//! The ring alone: publishing, throughput to readers, and the delay until one is awake.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use aw_tests::ring::Ring;

use crate::{Options, Outcome, binary, measure, row};

/// Events after which the writer wakes its readers, a system call: a busy interface's turn.
const BATCH: &str = "1024";

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

pub fn publish(options: &Options) -> Outcome<()> {
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
pub fn through(options: &Options, readers: usize) -> Outcome<()> {
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
                return Err("a reader printed something else".into());
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

pub fn wake_up(options: &Options) -> Outcome<()> {
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
