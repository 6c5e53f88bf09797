//! From the command line to a program that works, step by step, and its end.

use std::{
    panic,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser};
use sd_notify::NotifyState;

use crate::{
    Error, Identity,
    background::{self, Side, Waiting},
    failed,
    log::{self, info, warn},
    manual,
    pid_file::PidFile,
    privileges::{CapabilitySet, drop_all_but},
    sandbox::{Access, SystemCalls, restrict_calls, restrict_files, time_zone},
};

/// Options that every long-running program has.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Process")]
pub struct ServiceOptions {
    /// Go into the background once everything is open; messages then go to syslog
    #[arg(short, long)]
    pub daemon: bool,

    /// Write the process id to FILE, which stays locked while the process lives and is removed at its end
    #[arg(short = 'p', long = "pid", value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Run as USER, by name or number, once everything is open [default if root:
    /// `addrwatch`, or the user of the program's name, if there is one]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
}

/// Reads the command line. A fault in it is one line, and ends the program with status 2.
pub fn parse<P: Parser>(name: &'static str) -> P {
    log::set_name(name);
    manual::print_if_asked(name, P::command());
    P::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit(); // --help, --version
        }
        let text = error.to_string();
        let lines = text.trim_start_matches("error: ").lines().map(str::trim);
        let fault: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        log::error(format_args!("{} ({name} --help lists the options)", fault.join(" ")));
        std::process::exit(2);
    })
}

/// Runs a program to its end: in the background if asked to, with its pid file. `name` is the
/// program's, for its messages.
pub fn run(
    name: &'static str,
    options: &ServiceOptions,
    program: impl FnOnce(&mut Startup) -> Result<(), Error>,
) -> ExitCode {
    log::set_name(name);
    // In the background nobody sees standard error.
    panic::set_hook(Box::new(|panic| log::error(format_args!("a fault in the program: {panic}"))));
    let waiting = match options.daemon.then(background::detach).transpose() {
        Ok(None) => None,
        Ok(Some(Side::Background(waiting))) => Some(waiting),
        Ok(Some(Side::Started(status))) => return status,
        Err(error) => return end(Err(error)),
    };
    let mut startup = Startup { waiting, pid_file: None, watchdog: None };
    let result = startup.take_pid_file(options).and_then(|()| program(&mut startup));
    if result.is_ok() {
        tell_systemd(&[NotifyState::Stopping]);
    }
    let status = end(result);
    drop(startup.pid_file.take()); // before anybody hears that we have ended, and tries again
    if let Some(waiting) = startup.waiting.take() {
        // It ended before it was ready: a failure, or nothing was left to do.
        waiting.tell(u8::from(status != ExitCode::SUCCESS));
    }
    log::finish();
    status
}

fn end(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) | Err(Error::Closed) => ExitCode::SUCCESS,
        Err(Error::Failed(why)) => {
            log::error(why);
            ExitCode::FAILURE
        }
    }
}

/// A program between its start and its work.
#[derive(Default)]
pub struct Startup {
    waiting: Option<Waiting>,
    pid_file: Option<PidFile>,
    watchdog: Option<Watchdog>,
}

struct Watchdog {
    pause: Duration,
    told: Instant,
}

impl Startup {
    fn take_pid_file(&mut self, options: &ServiceOptions) -> Result<(), Error> {
        self.pid_file = options.pid_file.as_deref().map(PidFile::take).transpose()?;
        Ok(())
    }

    /// Gives up everything but these capabilities, files and system calls, and asks the kernel
    /// whether it is so. Before there is a second thread, and before anything that others sent is
    /// looked at.
    pub fn confine(
        &mut self,
        identity: Option<&Identity>,
        keep: CapabilitySet,
        files: &[Access],
        calls: SystemCalls,
        verbose: bool,
    ) -> Result<(), Error> {
        drop_all_but(keep, identity)?;
        let mut files = files.to_vec();
        files.extend(time_zone());
        if let Some(pid_file) = &self.pid_file {
            let directory = pid_file.directory();
            if pid_file.is_removable() {
                files.push(Access::Remove(directory.into()));
            } else {
                warn(format_args!(
                    "the pid file will be emptied at the end and not removed: its user may not write to {} (choose a directory of that user)",
                    directory.display()
                ));
            }
        }
        for (done, what) in
            [(restrict_files(&files)?, "Landlock"), (restrict_calls(calls)?, "seccomp filters")]
        {
            if !done && verbose {
                info(format_args!("this kernel has no {what}: going on without"));
            }
        }
        Ok(())
    }

    /// Everything is open: the terminal is left, and systemd told.
    pub fn ready(&mut self) -> Result<(), Error> {
        if let Some(waiting) = self.waiting.take() {
            if !log::syslog_is_there() {
                warn("there is no syslog daemon at /dev/log: what is said from now on is lost");
            }
            waiting.leave().map_err(|error| Error::io("leave the terminal", error))?;
            log::start(true);
            if !waiting.tell(0) {
                return Err(failed("whoever started this has ended before it was ready"));
            }
        } else {
            log::start(false);
        }
        tell_systemd(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
        self.watchdog = sd_notify::watchdog_enabled()
            .map(|limit| Watchdog { pause: limit / 3, told: Instant::now() });
        Ok(())
    }

    /// The program lives: to be called about once a second.
    pub fn alive(&mut self) {
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.told.elapsed() >= watchdog.pause
        {
            watchdog.told = Instant::now();
            tell_systemd(&[NotifyState::Watchdog]);
        }
    }
}

/// To whoever started us, if that is systemd; it may have ended, and we go on.
fn tell_systemd(what: &[NotifyState]) {
    let _ = sd_notify::notify(what);
}
