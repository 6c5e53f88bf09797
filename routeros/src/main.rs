//! `aw-routeros`: who changed the configuration of RouterOS routers, and what.
//!
//! `ssh` brings a log and exports; `line`, `record` and `actor` make of the log who changed something;
//! `export` judges whether an export is whole, `diff` what changed; `watch` decides when to look and
//! whom to credit; `hub` archives, mails and publishes. What comes from a router is never trusted: its
//! users choose most of it.
#![forbid(unsafe_code)]

mod actor;
mod add;
mod ancestor;
mod archive;
mod backoff;
mod change;
mod check;
mod config;
mod daemon;
mod diff;
mod export;
mod git;
mod host_key;
mod hub;
mod line;
mod look;
mod mask;
mod names;
mod quick;
mod record;
mod router;
mod ssh;
mod terminal;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use aw_service::ServiceOptions;
use clap::{Parser, Subcommand};

/// Follows RouterOS routers over SSH: who changed their configuration, and what.
///
/// Without a command it follows the routers of the configuration file until it is stopped.
#[derive(Parser, Debug)]
#[command(name = "aw-routeros", version, after_help = EXAMPLES)]
struct Options {
    /// The configuration
    #[arg(short, long, value_name = "FILE", global = true, default_value = config::DEFAULT_PATH)]
    config: PathBuf,

    /// Say what the kernel does not have
    #[arg(short, long)]
    verbose: bool,

    /// Follow just this router, HOST or HOST:PORT, and print what changes; nothing is archived
    host: Option<String>,

    /// Log in to it as LOGIN; the password is asked for
    #[arg(requires = "host")]
    login: Option<String>,

    #[command(flatten)]
    quick: quick::QuickOptions,

    #[command(flatten)]
    service: ServiceOptions,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What else it can do.
#[derive(Subcommand, Debug)]
enum Command {
    /// Add a router to the configuration: shows its host key, and asks for what is not given
    Add(add::AddOptions),
    /// List what changed
    Log(look::LogOptions),
    /// Show the last change, or the difference between two snapshots
    Diff(look::DiffOptions),
    /// List the routers and how they are, or show one's configuration
    Show(look::ShowOptions),
    /// Try every router once: login, host key, rights, log, its rule, export, clock
    Check(check::CheckOptions),
}

const EXAMPLES: &str = "\
Examples:
  aw-routeros -d                     follow all routers of the configuration, in the background
  aw-routeros add 192.0.2.1          add a router
  aw-routeros check                  try every router once
  aw-routeros log core1 --since 7d   what changed in a week
  aw-routeros diff core1             the last change
  aw-routeros 192.0.2.1 admin        just look

SIGHUP reads the configuration again, and tries routers that refused a login once more.
Exit status: 0 when stopped by a signal, 1 on failure (check: if a router failed), 2 for wrong options.";

fn main() -> ExitCode {
    let options: Options = aw_service::parse("aw-routeros");
    aw_service::run("aw-routeros", &options.service, |startup| match &options.command {
        Some(Command::Add(add)) => add::run(&options.config, add),
        Some(Command::Log(log)) => look::log(&options.config, log),
        Some(Command::Diff(diff)) => look::diff(&options.config, diff),
        Some(Command::Show(show)) => look::show(&options.config, show),
        Some(Command::Check(check)) => check::run(&options.config, check),
        None => match (&options.host, &options.login) {
            (Some(host), Some(login)) => quick::run(host, login, &options),
            (Some(host), None) => Err(aw_service::failed(format_args!(
                "{host}: neither a command nor HOST USER (aw-routeros --help lists the commands)"
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
    fn the_old_way_and_the_commands() {
        let parse = |line: &str| Options::try_parse_from(line.split(' '));
        let old = parse("aw-routeros 192.0.2.1 admin --legacy").unwrap();
        assert_eq!((old.host.unwrap(), old.login.unwrap()), ("192.0.2.1".into(), "admin".into()));
        let log = parse("aw-routeros -c /x log core1 --since 7d").unwrap();
        assert!(matches!(log.command, Some(Command::Log(_))) && log.config.ends_with("/x"));
        let check = parse("aw-routeros check -c /x --format json").unwrap();
        assert!(matches!(check.command, Some(Command::Check(_))) && check.config.ends_with("/x"));
    }
}
