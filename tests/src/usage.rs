//! What a running process used: CPU time, and how often it woke up.

use crate::rig::Run;
use std::fs;

/// What a process used so far.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Seconds, user and system; from the scheduler, for the clock ticks of `stat` are too coarse for an idle process.
    pub cpu: f64,
    /// Times that it slept, and so woke up again.
    pub sleeps: f64,
}

impl Usage {
    /// That of all threads of a process.
    #[track_caller]
    pub fn of(process: &Run) -> Usage {
        let mut usage = Usage { cpu: 0.0, sleeps: 0.0 };
        let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).expect("it runs");
        for task in tasks {
            let task = task.expect("it runs").path();
            let read = |name: &str| fs::read_to_string(task.join(name)).expect("the thread runs");
            let (times, status) = (read("schedstat"), read("status"));
            let nanos = times.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
            usage.cpu += nanos.expect("schedstat begins with nanoseconds") / 1e9;
            let mut lines = status.lines();
            let sleeps = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let sleeps = sleeps.and_then(|sleeps| sleeps.trim().parse::<f64>().ok());
            usage.sleeps += sleeps.expect("status counts the switches");
        }
        usage
    }

    /// What it used since an earlier moment.
    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu: self.cpu - before.cpu, sleeps: self.sleeps - before.sleeps }
    }
}
