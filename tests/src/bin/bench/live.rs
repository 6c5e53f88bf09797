//! A link between two network namespaces: the cost of listening compared with tcpdump, losses, and the delay of a line.
//!
//! CPU is what the kernel charges the listening process. The kernel's own work for a frame, filter included, is
//! charged to the sender: the frame goes through all of it before the sender's system call returns.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aw_tests::{
    lan::{Host, Lan},
    rig::{Run, run},
    ring::Ring,
};
use serde_json::Value;

use crate::{FILTER, Options, Outcome, binary, measure, row};

/// tcpdump as the collector listens: woken for each frame, slots and buffer of the same size.
const AT_ONCE: [&str; 5] = ["--immediate-mode", "-s", "1920", "-B", "7680"];
/// Longer than tcpdump keeps a frame.
const SETTLE: Duration = Duration::from_millis(1_300);

pub fn all(options: &Options) -> Outcome<()> {
    let Some(lan) = Lan::new() else { return Ok(()) };
    steady(options, &lan)?;
    most(options, &lan)?;
    idle(options, &lan)?;
    for rate in [100, 10_000, 50_000] {
        delay(options, &lan, rate)?;
    }
    Ok(())
}

fn steady(options: &Options, lan: &Lan) -> Outcome<()> {
    let results = measure(options.runs, || {
        let theirs = tcpdump(lan, &[], options.rate, options.seconds)?;
        let at_once = tcpdump(lan, &AT_ONCE, options.rate, options.seconds)?;
        let ours = collector(lan, options.rate, options.seconds)?;
        Ok(vec![
            ours.rate,
            ours.cpu,
            theirs.cpu,
            at_once.cpu,
            ours.cpu / theirs.cpu,
            ours.cpu / at_once.cpu,
            ours.lost,
            theirs.lost,
            at_once.lost,
            ours.sleeps,
        ])
    })?;
    for (result, (name, scale, unit)) in results.iter().zip([
        (&*format!("live, {} frames/s: frames sent", options.rate), 1e-3, "k frames/s"),
        ("  collector -q", 1.0, "CPU s a million"),
        ("  tcpdump -w /dev/null, which may keep frames for 1 s", 1.0, "CPU s a million"),
        ("  tcpdump --immediate-mode -w /dev/null", 1.0, "CPU s a million"),
        ("  collector's CPU over tcpdump's", 1.0, ""),
        ("  collector's CPU over that of tcpdump --immediate-mode", 1.0, ""),
        ("  lost by collector", 1.0, "frames"),
        ("  lost by tcpdump", 1.0, "frames"),
        ("  lost by tcpdump --immediate-mode", 1.0, "frames"),
        ("  collector asleep", 1.0, "times a second"),
    ]) {
        row(name, result, scale, unit);
    }
    Ok(())
}

fn most(options: &Options, lan: &Lan) -> Outcome<()> {
    let results = measure(options.runs, || {
        let idle = collector(lan, 0, options.seconds.min(3))?;
        Ok(vec![idle.rate, idle.cpu, idle.lost / idle.wanted])
    })?;
    row("live, as fast as the sender can: frames sent", &results[0], 1e-3, "k frames/s");
    row("  collector -q", &results[1], 1.0, "CPU s a million");
    row("  lost by the collector", &results[2], 100.0, "%");
    Ok(())
}

fn idle(options: &Options, lan: &Lan) -> Outcome<()> {
    let ring = Ring::new();
    let listening = listen(lan, &ring);
    let results = measure(options.runs, || {
        let before = Usage::of(&listening)?;
        sleep(Duration::from_secs(options.seconds));
        let used = Usage::of(&listening)?.since(before);
        Ok(vec![used.cpu / options.seconds as f64, used.sleeps / options.seconds as f64])
    })?;
    row("live, no frames: collector -q", &results[0], 100.0, "% of a CPU");
    row("  asleep", &results[1], 1.0, "times a second");
    Ok(())
}

/// From the kernel's time of a packet to its line from aw-stdout, read.
fn delay(options: &Options, lan: &Lan, rate: u64) -> Outcome<()> {
    let results = measure(options.runs, || {
        let ring = Ring::new();
        let listening = listen(lan, &ring);
        let mut command = std::process::Command::new(binary("aw-stdout"));
        command.args(["-m", ring.name(), "--format", "json"]);
        let mut lines = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let output = BufReader::new(lines.0.stdout.take().ok_or("no output")?);
        let reader = std::thread::spawn(|| delays(output));
        sleep(Duration::from_millis(500)); // it attaches
        send(&lan.there, rate, options.seconds.min(5))?;
        sleep(Duration::from_millis(500));
        drop(listening);
        drop(lines);
        let mut delays = reader.join().map_err(|_| "the reader of lines failed")?;
        if delays.is_empty() {
            return Err("no line came".into());
        }
        delays.sort_unstable();
        Ok([50, 99].map(|percent| delays[delays.len() * percent / 100] as f64).to_vec())
    })?;
    row(&format!("live, {rate} frames/s: packet to line, p50"), &results[0], 1e-3, "µs");
    row("  p99", &results[1], 1e-3, "µs");
    Ok(())
}

/// Nanoseconds between the time in each line and now.
fn delays(lines: impl BufRead) -> Vec<i128> {
    let delay = |line: String| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos() as i128;
        let event: Value = serde_json::from_str(&line).ok()?;
        let number = |field: &str| event[field].as_i64().map(i128::from);
        Some(now - number("time")? * 1_000_000_000 - number("nanoseconds")?)
    };
    lines.lines().map_while(Result::ok).filter_map(delay).collect()
}

/// Results for the frames that were sent.
struct Delivery {
    /// ARP and Neighbor Discovery among them.
    wanted: f64,
    /// Frames per second.
    rate: f64,
    /// Seconds for a million frames sent.
    cpu: f64,
    /// Times a second that the process slept.
    sleeps: f64,
    lost: f64,
}

fn collector(lan: &Lan, rate: u64, seconds: u64) -> Outcome<Delivery> {
    let ring = Ring::new();
    let listening = listen(lan, &ring);
    let (sent, used) = watch(lan, &listening, rate, seconds)?;
    listening.stop().ok();
    let mut stats = std::process::Command::new(binary("collector"));
    stats.args(["--stats", "--format", "json", "-m", ring.name()]);
    let stats: Value = serde_json::from_str(&run(stats).ok().stdout)?;
    let counter = |name: &str| stats["interfaces"][0]["counters"][name].as_f64().unwrap_or(0.0);
    let lost = sent.wanted - counter("seen");
    if lost != counter("kernel_dropped") {
        return Err(format!("{lost} frames did not arrive, but others are counted: {stats}").into());
    }
    Ok(sent.delivery(used, lost))
}

fn tcpdump(lan: &Lan, options: &[&str], rate: u64, seconds: u64) -> Outcome<Delivery> {
    let mut command = lan.here.command("tcpdump");
    command.args(["-i", "veth0", "-w", "/dev/null"]).args(options).arg(FILTER);
    let listening = Run::start(command);
    listening.stderr.wait_for("listening on veth0");
    let (sent, used) = watch(lan, &listening, rate, seconds)?;
    let summary = listening.stop().stderr;
    let captured = summary.lines().find_map(|line| line.strip_suffix(" packets captured"));
    let captured: f64 = captured.ok_or("tcpdump printed no number of packets")?.parse()?;
    Ok(sent.delivery(used, sent.wanted - captured))
}

/// A collector that listens on the link.
fn listen(lan: &Lan, ring: &Ring) -> Run {
    let mut command = lan.here.command(binary("collector"));
    command.args(["-q", "-m", ring.name(), "veth0"]);
    let listening = Run::start(command);
    listening.stderr.wait_for("listening on veth0");
    listening
}

/// Sends, and waits until all frames were read: what the listener used meanwhile.
fn watch(lan: &Lan, listening: &Run, rate: u64, seconds: u64) -> Outcome<(Sent, Usage)> {
    let before = Usage::of(listening)?;
    let sent = send(&lan.there, rate, seconds)?;
    sleep(SETTLE);
    Ok((sent, Usage::of(listening)?.since(before)))
}

/// The report of the sender.
struct Sent {
    frames: f64,
    wanted: f64,
    seconds: f64,
}

fn send(from: &Host, rate: u64, seconds: u64) -> Outcome<Sent> {
    let mut command = from.command(binary("send-frames"));
    command.args(["veth1", "--rate", &rate.to_string(), "--seconds", &seconds.to_string()]);
    let output = run(command).ok().stdout;
    let numbers: Result<Vec<f64>, _> = output.split_whitespace().map(str::parse).collect();
    let [frames, wanted, nanos] = numbers?[..] else {
        return Err("the sender printed something else".into());
    };
    Ok(Sent { frames, wanted, seconds: nanos / 1e9 })
}

impl Sent {
    fn delivery(&self, used: Usage, lost: f64) -> Delivery {
        Delivery {
            wanted: self.wanted,
            rate: self.frames / self.seconds,
            cpu: used.cpu / self.frames * 1e6,
            sleeps: used.sleeps / self.seconds,
            lost,
        }
    }
}

/// What a process used so far.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Seconds, user and system; from the scheduler, for the clock ticks of `stat` are too coarse for an idle process.
    pub cpu: f64,
    /// Times that it gave the CPU up by itself.
    sleeps: f64,
}

impl Usage {
    pub fn of(process: &Run) -> Outcome<Usage> {
        let mut usage = Usage { cpu: 0.0, sleeps: 0.0 };
        for task in fs::read_dir(format!("/proc/{}/task", process.id()))? {
            let task = task?.path();
            let times = fs::read_to_string(task.join("schedstat"))?;
            let nanos: f64 = times.split(' ').next().unwrap_or_default().parse()?;
            usage.cpu += nanos / 1e9;
            let status = fs::read_to_string(task.join("status"))?;
            let switches =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            usage.sleeps += switches.unwrap_or_default().trim().parse::<f64>()?;
        }
        Ok(usage)
    }

    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu: self.cpu - before.cpu, sleeps: self.sleeps - before.sleeps }
    }
}

/// A process that ends when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
