//! A collector that listens on an interface.

use crate::lan::Host;
use crate::rig::{Run, binary};
use crate::ring::Ring;
use std::time::{SystemTime, UNIX_EPOCH};

/// A collector that has reported that it listens on an interface.
pub struct Listening {
    /// Its process.
    pub run: Run,
    since: u64,
    _ring: Ring,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Listening {
    /// Starts it with these options and interfaces, and waits until it listens on this one.
    #[track_caller]
    pub fn start(host: &Host, arguments: &[&str], interface: &str) -> Self {
        let ring = Ring::new();
        let mut command = host.command(binary("collector"));
        command.args(["--ring", ring.name(), "-v"]).args(arguments);
        let run = Run::start(command);
        run.stderr.wait_for(&format!("collector: listening on {interface}"));
        Listening { run, since: now(), _ring: ring }
    }

    /// Waits for exactly these lines (without their times), and ends the collector, which must not have printed any other.
    #[track_caller]
    pub fn prints(self, expected: &[String]) {
        self.run.stdout.wait_for_lines(expected.len());
        assert_eq!(self.stop(), expected);
    }

    /// Ends the collector; returns its lines without their times, which must lie in the test's run time.
    #[track_caller]
    pub fn stop(self) -> Vec<String> {
        let finished = self.run.stop().ok();
        let without_time = |line: &str| {
            let (time, rest) = line.split_once(' ').expect("a time");
            let time: u64 = time.parse().expect("seconds");
            assert!((self.since..=now()).contains(&time), "{line}");
            rest.to_owned()
        };
        finished.stdout.lines().map(without_time).collect()
    }
}

/// A collector that listens on this host's veth0 with these options and does not print, started through this command, which
/// executes it; `[]` for root itself.
pub fn quiet(host: &Host, ring: &Ring, by: &[&str], options: &[&str]) -> Run {
    let collector = binary("collector");
    let words: Vec<&str> = by.iter().copied().chain([collector.to_str().expect("text")]).collect();
    let mut command = host.command(words[0]);
    command.args(&words[1..]).args(["-q", "--ring", ring.name()]).args(options).arg("veth0");
    let run = Run::start(command);
    run.stderr.wait_for("listening on veth0");
    run
}
