//! `aw-routeros`: records who changed the configuration of RouterOS routers, and what changed.
//!
//! `session` follows a router over `ssh`. `log_line`, `log_record` and `actor` read from its log who changed something;
//! `config_export` checks that an export is complete, `diff` compares it with the one before; `attribution` decides when an
//! export is due and who is credited; `recorder` archives, mails, commits and publishes. Text from a router is not
//! trusted: its users choose most of it.
#![forbid(unsafe_code)]

mod actor;
mod add;
mod archive;
mod archive_commands;
mod attribution;
mod change;
mod check;
mod config;
mod config_export;
mod daemon;
mod diff;
mod file_names;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/bodies/routeros.rs"]
pub mod fuzzed;
mod git;
mod hooks;
mod host_key;
mod ignore;
mod legacy;
mod log_line;
mod log_record;
mod mask;
mod recorder;
mod session;
mod ssh;
mod terminal;

use std::{path::PathBuf, process::ExitCode};

use aw_service::ServiceOptions;
use clap::{Parser, Subcommand};

/// Records who changed the configuration of RouterOS routers, and what changed.
///
/// Follows the log of each router over SSH and fetches its configuration after a change. Stores configurations and
/// changes in an archive, sends mail, and publishes an event for each change. Without a command it follows all routers of
/// the configuration file until a signal stops it.
#[derive(Parser, Debug)]
#[command(name = "aw-routeros", version, after_help = EXAMPLES)]
struct Options {
    /// Configuration file: see addrwatch-routeros.toml(5)
    #[arg(short, long, value_name = "FILE", global = true, default_value = config::DEFAULT_PATH)]
    config: PathBuf,

    /// Log which sandbox features the kernel does not support
    #[arg(short, long)]
    verbose: bool,

    /// Follow only this router, HOST or HOST:PORT, and print its changes; nothing is archived
    host: Option<String>,

    /// User for HOST; the password is asked for
    #[arg(requires = "host")]
    login: Option<String>,

    /// Run as the process that starts hooks; for aw-routeros itself
    #[arg(long, hide = true)]
    hook_process: bool,

    #[command(flatten)]
    legacy_mode: legacy::LegacyOptions,

    #[command(flatten)]
    service: ServiceOptions,

    #[command(subcommand)]
    command: Option<RouterosCommand>,
}

/// Commands other than the daemon.
#[derive(Subcommand, Debug)]
enum RouterosCommand {
    /// Add a router to the configuration file: prints its host key, and asks for missing values
    Add(add::AddOptions),
    /// List changes
    Log(archive_commands::LogOptions),
    /// Print the last change of a router, or the difference between two snapshots
    Diff(archive_commands::DiffOptions),
    /// List the routers with their state, or print the configuration of one
    Show(archive_commands::ShowOptions),
    /// Test each router once: its host key, the login, the user's rights, the log, the logging rule, the export and the clock
    Check(check::CheckOptions),
}

const EXAMPLES: &str = "\
Examples:
  aw-routeros -d                     follow all routers of the configuration file, in the background
  aw-routeros add 192.0.2.1          add a router
  aw-routeros check                  try each router once
  aw-routeros log core1 --since 7d   changes of the last 7 days
  aw-routeros diff core1             the last change of core1
  aw-routeros 192.0.2.1 admin        follow one router without an archive

SIGHUP loads the configuration file again, and tries refused logins once more.
Exit status: 0 after SIGINT or SIGTERM, 1 for a failure (check: if a router cannot be followed), 2 for wrong options.";

/// The program.
pub fn main() -> ExitCode {
    let options: Options = aw_service::parse("aw-routeros");
    if options.hook_process {
        return hooks::run_process();
    }
    aw_service::run("aw-routeros", &options.service, |startup| match &options.command {
        Some(RouterosCommand::Add(add)) => add::run(&options.config, add),
        Some(RouterosCommand::Log(log)) => archive_commands::log(&options.config, log),
        Some(RouterosCommand::Diff(diff)) => archive_commands::diff(&options.config, diff),
        Some(RouterosCommand::Show(show)) => archive_commands::show(&options.config, show),
        Some(RouterosCommand::Check(check)) => check::run(&options.config, check),
        None => match (&options.host, &options.login) {
            (Some(host), Some(login)) => legacy::run(host, login, &options),
            (Some(host), None) => Err(aw_service::failed(format_args!(
                "{host}: not a command; HOST needs a LOGIN (aw-routeros --help lists the commands)"
            ))),
            (None, _) => daemon::run(&options, startup),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn legacy_arguments_and_commands() {
        let parse = |line: &str| Options::try_parse_from(line.split(' '));
        let old = parse("aw-routeros 192.0.2.1 admin --legacy").unwrap();
        assert_eq!((old.host.unwrap(), old.login.unwrap()), ("192.0.2.1".into(), "admin".into()));
        let log = parse("aw-routeros -c /x log core1 --since 7d").unwrap();
        assert!(matches!(log.command, Some(RouterosCommand::Log(_))) && log.config.ends_with("/x"));
        let check = parse("aw-routeros check -c /x --format json").unwrap();
        assert!(
            matches!(check.command, Some(RouterosCommand::Check(_)))
                && check.config.ends_with("/x")
        );
    }
}
