//! The process that starts hooks. It reads changes as lines of JSON from a pipe, starts the programs that the configuration
//! names, with the change in their environment and on their standard input, and ends when the pipe is closed, and not before:
//! see `HelperSignals`. It trusts the daemon and the hooks. It has no capabilities, and gets none from programs that it starts.

use std::{
    io::{BufRead, Write},
    process::ExitCode,
    sync::{
        Mutex,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::Duration,
};

use aw_service::{Error, HelperSignals, drop_capabilities};

use super::{
    HookEvent, HookResult, HookSetup,
    program::{run_hook, unusable},
};
use crate::recorder::lock;

/// Changes whose hooks run at the same time. The hooks of one change run one after the other.
const WORKERS: usize = 4;
/// Commits that wait for the hooks of the one before, while those of changes go on.
const MAX_COMMITS: usize = 64;

pub fn run_process() -> ExitCode {
    let signals = match HelperSignals::register() {
        Ok(signals) => signals,
        Err(why) => {
            eprintln!("aw-routeros: process that starts hooks: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let setup = lines.next().and_then(|line| serde_json::from_str::<HookSetup>(&line).ok());
    let Some(setup) = setup else {
        eprintln!("aw-routeros: --hook-process is used by aw-routeros itself only");
        return ExitCode::from(2);
    };
    if let Err(Error::Failed(why)) = drop_capabilities() {
        eprintln!("aw-routeros: process that starts hooks: {why}");
        return ExitCode::FAILURE;
    }
    // A program that is not there is reported before the first change, and one that is there again.
    for (hook, command) in setup.hooks.iter().enumerate() {
        let failure = command.first().and_then(|program| unusable(program));
        answer(&HookResult { hook, router: String::new(), is_looked_for: true, failure });
    }
    // While all workers are busy, nothing is read: the daemon bounds what waits.
    let (send, events) = sync_channel::<HookEvent>(0);
    let (send_commit, commits) = sync_channel::<HookEvent>(MAX_COMMITS);
    let (events, commits) = (Mutex::new(events), Mutex::new(commits));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&setup, &events));
        }
        // One after the other: two pushes to a repository at the same time refuse each other.
        scope.spawn(|| work(&setup, &commits));
        for line in lines {
            let Ok(event) = serde_json::from_str::<HookEvent>(&line) else { continue };
            let to = if event.is_commit { &send_commit } else { &send };
            if to.send(event).is_err() {
                break;
            }
        }
        signals.pipe_is_closed();
        drop((send, send_commit));
    });
    ExitCode::SUCCESS
}

fn work(setup: &HookSetup, events: &Mutex<Receiver<HookEvent>>) {
    let limit = Duration::from_secs(setup.timeout);
    loop {
        let Ok(event) = lock(events).recv() else { return };
        let variables = || setup.variables.iter().chain(&event.variables);
        for (hook, command) in setup.hooks.iter().enumerate() {
            if event.is_commit != (hook >= setup.of_changes) {
                continue;
            }
            let failure = run_hook(command, variables(), &event.text, limit).err();
            let router = event.variables.iter().find(|(name, _)| name == "ROUTER");
            let router = router.map_or(String::new(), |(_, name)| name.clone());
            answer(&HookResult { hook, router, is_looked_for: false, failure });
        }
    }
}

fn answer(result: &HookResult) {
    let mut line = serde_json::to_vec(result).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // The daemon may have ended; the hooks still run.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
