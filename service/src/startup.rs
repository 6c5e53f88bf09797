//! The start of a program, from the command line to ready, and its end.

use std::{
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{
    ArgMatches, Args, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use sd_notify::NotifyState;

use crate::{
    Error, Identity, access,
    background::{self, Detaching, Process},
    failed,
    log::{self, info, warn},
    manual,
    pid_file::PidFile,
    plain_text::plain,
    privileges::{CapabilitySet, drop_all_but},
    sandbox::{Access, restrict_calls, restrict_files, time_zone},
    system_calls::SystemCalls,
    unit_command::{arguments, check_as_unit},
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
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
}

/// Reads the command line. Of an option that is given twice and takes one value, the last counts: units name options before
/// those of the user. A mistake is reported in one line and exits with status 2.
pub fn parse<P: Parser>(name: &'static str) -> P {
    parse_with(name, |_| None)
}

/// The same, with the program's own remedy for a mistake, in the place of the name that is most similar.
pub fn parse_with<P: Parser>(
    name: &'static str,
    remedy: impl Fn(&clap::Error) -> Option<String>,
) -> P {
    log::set_name(name);
    manual::print_if_asked(name, P::command());
    let has_check = P::command().get_arguments().any(|option| option.get_id() == "check");
    if has_check && let Err(why) = check_as_unit(name) {
        log::error(format_args!("check: {why}"));
        std::process::exit(1);
    }
    let mut command = P::command().args_override_self(true);
    let parsed = command.try_get_matches_from_mut(std::env::args_os());
    let parsed = parsed.and_then(|found| match mode_beside_command(&found) {
        Some((mode, used)) => {
            let why =
                format!("--{mode} cannot be used with the command {used}: omit one of the two");
            Err(command.error(ErrorKind::ArgumentConflict, why))
        }
        None => P::from_arg_matches(&found).map_err(|error| error.format(&mut command)),
    });
    parsed.unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit(); // --help, --version
        }
        let text = error.to_string();
        let lines = text.trim_start_matches("error: ").lines().map(str::trim);
        let fault: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let fault = as_typed(&fault.join(" "), &P::command());
        let command = P::command();
        let commands = || command.get_subcommands().map(clap::Command::get_name);
        let mut arguments = arguments();
        let used = arguments.find(|argument| commands().any(|one| one == argument));
        let of = used.map_or(name.to_owned(), |used| format!("{name} {used}"));
        let remedy = remedy(&error).or_else(|| similar(&error));
        let remedy = remedy.map_or(String::new(), |remedy| match remedy.ends_with('?') {
            true => format!("{remedy} "),
            false => format!("{remedy}; "),
        });
        log::error(format_args!("{} ({remedy}{of} --help lists the options)", fault));
        std::process::exit(2);
    })
}

/// A message about an option by the name that was typed: it may have several.
fn as_typed(message: &str, command: &clap::Command) -> String {
    let commands = [command].into_iter().chain(command.get_subcommands());
    for option in commands.flat_map(clap::Command::get_arguments) {
        let Some(long) = option.get_long() else { continue };
        let is_typed = |name: &str| {
            let name = format!("--{name}");
            arguments().any(|word| word.split('=').next() == Some(&name))
        };
        let others = option.get_visible_aliases().unwrap_or_default();
        let other = others.into_iter().find(|other| is_typed(other)).filter(|_| !is_typed(long));
        if let Some(other) = other {
            return message.replace(&format!("'--{long} "), &format!("'--{other} "));
        }
    }
    message.into()
}

/// Options that say what the program does instead of its service, or how the service runs: a command does neither.
const MODES: [&str; 4] = ["check", "health", "daemon", "once"];

/// The mode that is named beside a command, and the command.
fn mode_beside_command(found: &ArgMatches) -> Option<(&'static str, &str)> {
    let used = found.subcommand_name()?;
    let is_named = |mode: &&str| {
        found.ids().any(|id| id == *mode)
            && found.value_source(mode) == Some(ValueSource::CommandLine)
    };
    Some((MODES.into_iter().find(is_named)?, used))
}

/// The question whether another option or subcommand was meant, whose name is similar.
fn similar(error: &clap::Error) -> Option<String> {
    let names = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg];
    let names = names.into_iter().filter_map(|kind| match error.get(kind)? {
        ContextValue::String(name) => Some(name),
        ContextValue::Strings(names) => names.last(), // the most similar one
        _ => None,
    });
    if let Some(name) = names.into_iter().next() {
        return Some(format!("did you mean `{name}`?"));
    }
    let Some(ContextValue::StyledStrs(texts)) = error.get(ContextKind::Suggested) else {
        return None;
    };
    // An option of a subcommand, before it: 'who --at' exists.
    let mut texts = texts.iter().map(ToString::to_string);
    let other =
        texts.find_map(|text| Some(text.strip_suffix("' exists")?.trim_matches('\'').to_owned()));
    other.map(|other| format!("did you mean `{other}`?"))
}

/// Runs a program to its end: in the background if `-d` is set, with its pid file. `name` is the
/// program's name, for its messages.
pub fn run(
    name: &'static str,
    options: &ServiceOptions,
    program: impl FnOnce(&mut Startup) -> Result<(), Error>,
) -> ExitCode {
    log::set_name(name);
    let mut ignored: Vec<String> = Vec::new();
    if access::unit() == Some(name) {
        let file = Path::new("/etc/default").join(name);
        ignored.extend(access::ignored_options(&file, name));
        ignored.iter().for_each(warn);
    }
    // In the background standard error is not visible.
    panic::set_hook(Box::new(|panic| log::error(format_args!("please report this bug: {panic}"))));
    let detaching = match options.daemon.then(background::detach).transpose() {
        Ok(None) => None,
        Ok(Some(Process::Child(detaching))) => Some(detaching),
        Ok(Some(Process::Parent(status))) => return status,
        Err(error) => return end(Err(error)),
    };
    let mut startup = Startup { detaching, ignored, ..Startup::default() };
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
    /// As last sent to systemd.
    status: String,
    /// Lines without effect of the file of options.
    ignored: Vec<String>,
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
        access::remember();
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
        self.notify_ready();
        Ok(())
    }

    /// The program is ready and waits until it can do its work, before privileges are dropped.
    pub fn waits(&mut self, status: &str) {
        self.notify_ready();
        self.status(|| status.into());
    }

    fn notify_ready(&mut self) {
        notify_systemd(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
        self.watchdog = sd_notify::watchdog_enabled()
            .map(|limit| Watchdog { interval: limit / 3, notified: Instant::now() });
    }

    /// Sets the line that `systemctl status` shows: what the program does, or what it lacks.
    pub fn status(&mut self, status: impl FnOnce() -> String) {
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            let ignored = self.ignored.iter().map(|why| format!("; {why}"));
            let status = plain(&(status() + &ignored.collect::<String>()));
            if status != self.status {
                notify_systemd(&[NotifyState::Status(&status)]);
                self.status = status;
            }
        }
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
}

/// Without effect if systemd did not start the program; errors are ignored.
fn notify_systemd(what: &[NotifyState]) {
    let _ = sd_notify::notify(what);
}
