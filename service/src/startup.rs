//! The start of a program, from the command line to ready, and its end.

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
    background::{self, Detaching, Process},
    failed,
    log::{self, info, warn},
    manual,
    pid_file::PidFile,
    privileges::{CapabilitySet, drop_all_but},
    sandbox::{Access, restrict_calls, restrict_files, time_zone},
    system_calls::SystemCalls,
};

/// Options that every long-running program has.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Process")]
pub struct ServiceOptions {
    /// Run in the background; messages go to syslog once the start has succeeded
    #[arg(short, long)]
    pub daemon: bool,

    /// Write the process id to FILE, which is locked while the process runs and removed at its end
    #[arg(short = 'p', long = "pid", value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Switch to USER (name or number) after the start [default if root: the user with the
    /// program's name or `addrwatch`, if it exists]
    // Given again, the last one counts: the unit of the collector names it before the user's options.
    #[arg(short, long, value_name = "USER", overrides_with = "user")]
    pub user: Option<String>,
}

/// Reads the command line. A mistake in it is reported in one line and exits with status 2.
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
        let command = P::command();
        let commands = || command.get_subcommands().map(clap::Command::get_name);
        let mut arguments = std::env::args().skip(1);
        let used = arguments.find(|argument| commands().any(|one| one == argument));
        let of = used.map_or(name.to_owned(), |used| format!("{name} {used}"));
        log::error(format_args!("{} ({of} --help lists the options)", fault.join(" ")));
        std::process::exit(2);
    })
}

/// Runs a program to its end: in the background if `-d` is set, with its pid file. `name` is the
/// program's name, for its messages.
pub fn run(
    name: &'static str,
    options: &ServiceOptions,
    program: impl FnOnce(&mut Startup) -> Result<(), Error>,
) -> ExitCode {
    log::set_name(name);
    // In the background standard error is not visible.
    panic::set_hook(Box::new(|panic| log::error(format_args!("please report this bug: {panic}"))));
    let detaching = match options.daemon.then(background::detach).transpose() {
        Ok(None) => None,
        Ok(Some(Process::Child(detaching))) => Some(detaching),
        Ok(Some(Process::Parent(status))) => return status,
        Err(error) => return end(Err(error)),
    };
    let mut startup = Startup { detaching, pid_file: None, watchdog: None, status: String::new() };
    let pid_file = options.pid_file.as_deref().map(PidFile::take).transpose();
    let result = pid_file.and_then(|file| {
        startup.pid_file = file;
        program(&mut startup)
    });
    if result.is_ok() {
        notify_systemd(&[NotifyState::Stopping]);
    }
    let status = end(result);
    drop(startup.pid_file.take()); // before the parent reports the end, and a supervisor tries again
    if let Some(detaching) = startup.detaching.take() {
        // It ended before it was ready: a failure, or there was no work.
        detaching.report(u8::from(status != ExitCode::SUCCESS));
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

/// The start of a program, and its notifications afterwards.
#[derive(Default)]
pub struct Startup {
    detaching: Option<Detaching>,
    pid_file: Option<PidFile>,
    watchdog: Option<Watchdog>,
    status: String,
}

struct Watchdog {
    interval: Duration,
    notified: Instant,
}

impl Startup {
    /// Drops everything except these capabilities, files and system calls, and verifies that with the
    /// kernel. The calls that these files and the start itself need are added. Call it before there is a second thread and before untrusted input is read.
    pub fn confine(
        &mut self,
        identity: Option<&Identity>,
        keep: CapabilitySet,
        files: &[Access],
        mut calls: SystemCalls,
        verbose: bool,
    ) -> Result<(), Error> {
        drop_all_but(keep, identity)?;
        let mut files = files.to_vec();
        files.extend(time_zone());
        if let Some(pid_file) = &self.pid_file {
            let directory = pid_file.directory();
            if pid_file.is_removable() {
                files.push(Access::Remove(directory.into()));
                calls.allow_removing();
            } else {
                calls.allow_emptying(pid_file.descriptor());
                warn(format_args!(
                    "at its end the program will empty the pid file instead of removing it: its user may not write to {} (choose a directory of that user)",
                    directory.display()
                ));
            }
        }
        if files.iter().any(|one| matches!(one, Access::Write(_) | Access::Tree(_))) {
            calls.allow_files();
        }
        if self.detaching.is_some() {
            calls.allow_leaving_the_terminal();
        }
        if self.detaching.is_some() || std::env::var_os("NOTIFY_SOCKET").is_some() {
            calls.allow_local_messages();
        }
        for (supported, what) in [
            (restrict_files(&files)?, "Landlock rules"),
            (restrict_calls(calls)?, "seccomp filters"),
        ] {
            if !supported && verbose {
                info(format_args!("this kernel does not support {what}: continuing without them"));
            }
        }
        Ok(())
    }

    /// The start has succeeded: leaves the terminal and notifies systemd.
    pub fn ready(&mut self) -> Result<(), Error> {
        if let Some(detaching) = self.detaching.take() {
            if !log::has_syslog() {
                warn(
                    "no syslog daemon listens on /dev/log: all further messages are lost (start one, or run without -d)",
                );
            }
            detaching.leave_terminal().map_err(|error| Error::io("leave the terminal", error))?;
            log::start(true);
            if !detaching.report(0) {
                return Err(failed("go into the background: the parent process has ended"));
            }
        } else {
            log::start(false);
        }
        notify_systemd(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
        self.watchdog = sd_notify::watchdog_enabled()
            .map(|limit| Watchdog { interval: limit / 3, notified: Instant::now() });
        Ok(())
    }

    /// Notifies the watchdog of systemd: call it about once a second.
    pub fn alive(&mut self) {
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.notified.elapsed() >= watchdog.interval
        {
            watchdog.notified = Instant::now();
            notify_systemd(&[NotifyState::Watchdog]);
        }
    }

    /// The line that `systemctl status` shows, sent if it changed.
    pub fn status(&mut self, text: &str) {
        if self.status != text {
            self.status = text.into();
            notify_systemd(&[NotifyState::Status(text)]);
        }
    }
}

/// Without effect if systemd did not start the program; errors are ignored.
fn notify_systemd(what: &[NotifyState]) {
    let _ = sd_notify::notify(what);
}
