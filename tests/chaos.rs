//! Everything is killed at random: the collector, three outputs, the connection to a database; the ring changes its size
//! all the time. Afterwards each event that was ever published is in the databases exactly once, in the file at least
//! once, or in a loss count. `make chaos` runs it longer; the seed is printed.
#![forbid(unsafe_code)]

use aw_tests::bench::Random;
use aw_tests::collect::{json, stdout_of};
use aw_tests::feed::{numbered_capture, reading_collector};
use aw_tests::rig::{Finished, Run, program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::rows::Rows;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::env::var;
use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An output: how it is started, and its process, if it runs.
struct Output {
    name: &'static str,
    start: Box<dyn Fn() -> Command>,
    run: Option<Run>,
    asleep: bool,
}

impl Output {
    fn new(name: &'static str, start: impl Fn() -> Command + 'static) -> Self {
        run({
            let mut command = start();
            command.arg("--once");
            command
        })
        .ok(); // from now on it has an account, so nothing is before its time
        Output { name, start: Box::new(start), run: None, asleep: false }
    }

    fn ensure(&mut self) {
        if self.run.is_none() {
            self.run = Some(Run::start((self.start)()));
        }
    }

    fn kill(&mut self) {
        if let Some(run) = self.run.take() {
            self.look_at(&run.kill());
        }
        self.asleep = false;
    }

    /// Ended as an administrator would; it may not have got so far that it notices the signal.
    fn stop(&mut self) {
        self.wake();
        let Some(run) = self.run.take() else { return };
        let ended = run.stop();
        assert!(ended.status.success() || ended.stderr.is_empty(), "{}: {ended:#?}", self.name);
        self.look_at(&ended);
    }

    fn look_at(&self, ended: &Finished) {
        assert_ne!(ended.status.code(), Some(1), "{} failed: {ended:#?}", self.name);
        assert!(!ended.stderr.contains("panic"), "{}: {ended:#?}", self.name);
    }

    fn sleep(&mut self) {
        if let Some(run) = &self.run {
            run.signal(Signal::STOP);
            self.asleep = true;
        }
    }

    fn wake(&mut self) {
        if let Some(run) = self.run.as_ref().filter(|_| self.asleep) {
            run.signal(Signal::CONT);
        }
        self.asleep = false;
    }
}

/// A collector that replays, and the thread that feeds it.
struct Collector {
    run: Run,
    feeder: JoinHandle<()>,
}

impl Collector {
    fn start(ring: &Ring, random: &mut Random) -> Self {
        let slots = (64 << random.below(8)).to_string(); // 64 to 8192
        let rate = (1000 + random.below(30_000)).to_string();
        let numbers = 1..500 + random.below(20_000);
        let options = ["-q", "-L", &slots, "--max-rate", &rate];
        let mut run = Run::start(reading_collector(ring, &options));
        let mut stdin = run.stdin.take().expect("piped");
        // A broken pipe: the collector was killed.
        let feed = move || drop(stdin.write_all(&numbered_capture(numbers)));
        Collector { run, feeder: std::thread::spawn(feed) }
    }

    fn has_ended(&self) -> bool {
        self.feeder.is_finished()
    }

    fn end(self, kill: bool) {
        let ended = if kill { self.run.kill() } else { self.run.finish().ok() };
        assert!(!ended.stderr.contains("panic"), "{ended:#?}");
        self.feeder.join().expect("the feeder does not panic");
    }
}

/// Events published in the ring's stream.
fn published(ring: &Ring) -> u64 {
    let options = ["--ring", ring.name(), "--stats", "--format", "json"];
    let stats = json(&run(program("collector", &options)).ok().stdout);
    stats["events"].as_u64().expect("a number")
}

fn setting(name: &str) -> Option<u64> {
    var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect("a number"))
}

#[test]
fn nothing_is_lost_in_silence_or_delivered_twice() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("AW_CHAOS_SEED").unwrap_or(now % 1_000_000);
    let time = Duration::from_secs(setting("AW_CHAOS_SECONDS").unwrap_or(20));
    // Past the test harness, which would swallow it.
    let _ = writeln!(std::io::stderr(), "chaos: AW_CHAOS_SEED={seed}, {} s", time.as_secs());
    let mut random = Random::new(seed);

    let ring: &'static Ring = Box::leak(Box::new(Ring::new()));
    let rows: &'static [Rows; 2] = Box::leak(Box::new([Rows::new(), Rows::new()]));
    let log = rows[0].path().join("log");
    let (file, state) = (log.clone(), rows[0].path().join("state"));
    run_with(reading_collector(ring, &["-q", "-L", "64"]), &numbered_capture(1..2)).ok();
    let mut outputs = [
        Output::new("the database", || rows[0].command(ring, &[])),
        Output::new("the locked database", || rows[1].command(ring, &["--spool-size", "1M"])),
        Output::new("the file", move || {
            let mut command = stdout_of(ring, &["--from", "resume", "--format", "json"]);
            command.arg("--state-dir").arg(&state).arg("-o").arg(&file);
            command
        }),
    ];

    let mut collector = Some(Collector::start(ring, &mut random));
    let mut lock = None;
    let mut done = [0_u32; 8];
    let end = Instant::now() + time;
    while Instant::now() < end {
        for output in &mut outputs {
            if random.below(4) > 0 {
                output.ensure();
            }
        }
        if collector.as_ref().is_none_or(Collector::has_ended) && random.below(3) > 0 {
            collector.take().into_iter().for_each(|ended| ended.end(false));
            collector = Some(Collector::start(ring, &mut random));
        }
        sleep(Duration::from_millis(u64::from(random.below(250))));
        let output = &mut outputs[random.below(3) as usize];
        let action = random.below(8);
        done[action as usize] += 1;
        match action {
            0 | 1 => output.kill(),
            2 => output.stop(),
            3 => output.sleep(),
            4 => outputs.iter_mut().for_each(Output::wake),
            5 => collector.take().into_iter().for_each(|running| running.end(true)),
            6 => lock = lock.take().or_else(|| rows[1].try_lock()),
            _ => lock = None,
        }
    }
    drop(lock);
    collector.take().into_iter().for_each(|running| running.end(false));
    run_with(reading_collector(ring, &["-q", "-L", "256"]), &numbered_capture(1..20)).ok();
    let all = published(ring);
    outputs.iter_mut().for_each(Output::kill);
    outputs.iter_mut().for_each(Output::ensure);
    for rows in rows {
        let next = || rows.account(ring).map(|account| account.next());
        wait_until("all is in the databases", || next() == Some(all));
    }
    let positions = rows[0].path().join("state/aw-stdout.positions");
    let position = || {
        let text = fs::read_to_string(&positions).ok()?;
        Some(json(&text)[ring.name()].clone())
    };
    wait_until("all is in the file", || position().is_some_and(|at| at["next"] == all));
    outputs.iter_mut().for_each(Output::stop);

    for rows in rows {
        rows.assert_exactly_once(ring, all);
        assert_eq!(rows.account(ring).unwrap().began, 0);
    }
    // Whole lines: a kill may have cut one, which then came again.
    let text = fs::read_to_string(&log).unwrap();
    let whole =
        text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let in_file: BTreeSet<u64> = whole.filter_map(|event| event["sequence"].as_u64()).collect();
    let position = position().unwrap();
    let [began, delivered, lost] =
        ["began", "delivered", "lost"].map(|field| position[field].as_u64().unwrap());
    assert_eq!((began, delivered + lost), (0, all), "{position}");
    assert!(in_file.len() as u64 >= delivered, "{} of {delivered} are there", in_file.len());
    let accounts = rows.each_ref().map(|rows| rows.account(ring).unwrap());
    let _ = writeln!(
        std::io::stderr(),
        "chaos: {all} events; databases {accounts:?}; file {delivered} delivered, {lost} lost; actions {done:?}"
    );
    // What lives as long as the program does not vanish by itself.
    ring.files().iter().for_each(|file| drop(fs::remove_file(file)));
    rows.iter().for_each(|rows| drop(fs::remove_dir_all(rows.path())));
}
