//! A link between two network namespaces: the cost of listening compared with tcpdump, losses, and the delay of a line.
//!
//! CPU is what the kernel charges the listening process. The kernel's own work for a frame, filter included, is
//! charged to the sender: the frame goes through all of it before the sender's system call returns.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aw_tests::{
    lan::{Host, Lan},
    rig::{Run, run},
    ring::Ring,
    usage::Usage,
};
use serde_json::Value;

use crate::{FILTER, Options, Outcome, binary, measure, row, table_row};

/// tcpdump as the collector listens: woken for each frame, slots and buffer of the same size.
const AT_ONCE: [&str; 5] = ["--immediate-mode", "-s", "1920", "-B", "7680"];
/// Longer than tcpdump keeps a frame.
const SETTLE: Duration = Duration::from_millis(1_300);

pub fn all(options: &Options) -> Outcome<()> {
    let Some(lan) = Lan::new() else { return Ok(()) };
    rates(options, &lan)?;
    at_once(options, &lan)?;
    wake_ups(options)?;
    idle(options, &lan)
}

/// Frames a second of each row; 0 = as many as the sender can.
const RATES: [u64; 8] = [10, 100, 1_000, 5_000, 20_000, 60_000, 200_000, 0];
/// The columns of the table: what, and the factor from what is measured.
const COLUMNS: [(&str, f64); 10] = [
    ("sent/s", 1.0),
    ("collector µs", 1.0),
    ("% of a CPU", 100.0),
    ("sleeps/s", 1.0),
    ("tcpdump µs", 1.0),
    ("ratio", 1.0),
    ("p50 µs", 1e-3),
    ("p99 µs", 1e-3),
    ("lost", 1.0),
    ("lost by tcpdump", 1.0),
];

/// What a frame costs at each rate, beside tcpdump, which wakes once for many frames and may keep them for a second; and the
/// delay from packet to line.
fn rates(options: &Options, lan: &Lan) -> Outcome<()> {
    println!("live, CPU time a frame, beside `tcpdump -w /dev/null`; packet to line");
    let titles = COLUMNS.map(|(title, _)| format!("{title:>16}")).concat();
    println!("{:>9} {titles}", "frames/s");
    for rate in RATES {
        let results = measure(options.runs, || {
            let theirs = tcpdump(lan, &[], rate, options.seconds)?;
            let ours = collector(lan, rate, options.seconds)?;
            let [p50, p99] = delay(lan, rate, options.seconds.min(5))?;
            let (cpu, lost) = (ours.cpu, ours.lost);
            let ratio = cpu / theirs.cpu;
            let share = cpu * ours.rate / 1e6;
            Ok(vec![
                ours.rate,
                cpu,
                share,
                ours.sleeps,
                theirs.cpu,
                ratio,
                p50,
                p99,
                lost,
                theirs.lost,
            ])
        })?;
        let name = if rate == 0 { "most".into() } else { rate.to_string() };
        table_row(&name, &results, &COLUMNS);
    }
    Ok(())
}

fn at_once(options: &Options, lan: &Lan) -> Outcome<()> {
    let results = measure(options.runs, || {
        let theirs = tcpdump(lan, &AT_ONCE, options.rate, options.seconds)?;
        let ours = collector(lan, options.rate, options.seconds)?;
        Ok(vec![ours.cpu / theirs.cpu])
    })?;
    let name =
        format!("live, {} frames/s: CPU over that of tcpdump --immediate-mode", options.rate);
    row(&name, &results[0], 1.0, "");
    Ok(())
}

/// What a wake-up costs on this machine if nothing is done in it: the CPU of the rows below is no lower than this, times the
/// number of wake-ups.
fn wake_ups(options: &Options) -> Outcome<()> {
    for rate in [1, 10, 50, 300] {
        let results = measure(options.runs, || {
            let own = || -> Outcome<f64> {
                let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
                Ok(times.split(' ').next().ok_or("no times")?.parse()?)
            };
            let (before, number) = (own()?, rate * options.seconds);
            for _ in 0..number {
                sleep(Duration::from_secs(1) / rate as u32);
            }
            Ok(vec![(own()? - before) / number as f64])
        })?;
        row(&format!("a wake-up for nothing, {rate} a second"), &results[0], 1e-3, "µs");
    }
    Ok(())
}

/// A collector and four outputs that have nothing to do.
fn idle(options: &Options, lan: &Lan) -> Outcome<()> {
    let (ring, directory) = (Ring::new(), tempfile::tempdir()?);
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(
        path("alert.toml"),
        "[[channel]]\nname = \"none\"\ncommand = [\"/bin/true\"]\n",
    )?;
    let mut running = vec![("collector -q", listen(lan, &ring))];
    for (name, options) in [
        ("aw-stdout", vec![]),
        ("aw-sqlite", vec!["--database".into(), path("history.db")]),
        ("aw-alert", vec!["--config".into(), path("alert.toml")]),
        ("aw-tracker", vec!["--log-dir".into(), path("")]),
    ] {
        let state = path(name);
        std::fs::create_dir(&state)?;
        let mut command = std::process::Command::new(binary(name));
        command.args(["-v", "-m", ring.name(), "--state-dir", &state]).args(options);
        let output = Run::start(command);
        output.stderr.wait_for("reading ring");
        running.push((name, output));
    }
    sleep(Duration::from_secs(2)); // they have started
    let results = measure(options.runs, || {
        let before: Vec<_> = running.iter().map(|(_, one)| Usage::of(one)).collect();
        sleep(Duration::from_secs(options.seconds));
        let after = running.iter().zip(before).map(|((_, one), was)| Usage::of(one).since(was));
        let used = after.flat_map(|used| [used.cpu, used.sleeps]);
        Ok(used.map(|number| number / options.seconds as f64).collect())
    })?;
    let sum = |at: usize| (0..running.len()).map(|one| results[2 * one][at]).sum();
    let sums: Vec<f64> = (0..results[0].len()).map(sum).collect();
    row("no frames: collector and four outputs", &sums, 100.0, "% of a CPU");
    for (index, (name, _)) in running.iter().enumerate() {
        row(&format!("  {name}"), &results[2 * index], 100.0, "% of a CPU");
        row(&format!("  {name}, asleep"), &results[2 * index + 1], 1.0, "times a second");
    }
    Ok(())
}

/// From the kernel's time of a packet to its line from aw-stdout, read: p50 and p99, in nanoseconds.
fn delay(lan: &Lan, rate: u64, seconds: u64) -> Outcome<[f64; 2]> {
    let ring = Ring::new();
    let listening = listen(lan, &ring);
    let mut command = std::process::Command::new(binary("aw-stdout"));
    command.args(["-m", ring.name(), "--format", "json"]);
    let mut lines = Killed(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let output = BufReader::new(lines.0.stdout.take().ok_or("no output")?);
    let reader = std::thread::spawn(|| delays(output));
    sleep(Duration::from_millis(500)); // it attaches
    send(&lan.there, rate, seconds)?;
    sleep(Duration::from_millis(500));
    drop(listening);
    drop(lines);
    let mut delays = reader.join().map_err(|_| "the reader of lines failed")?;
    if delays.is_empty() {
        return Err("no line came".into());
    }
    delays.sort_unstable();
    Ok([50, 99].map(|percent| delays[delays.len() * percent / 100] as f64))
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
    let before = Usage::of(listening);
    let sent = send(&lan.there, rate, seconds)?;
    sleep(SETTLE);
    Ok((sent, Usage::of(listening).since(before)))
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
            rate: self.frames / self.seconds,
            cpu: used.cpu / self.frames * 1e6,
            sleeps: used.sleeps / self.seconds,
            lost,
        }
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
