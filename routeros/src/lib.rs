//! `aw-routeros`: records who changed the configuration of RouterOS routers, and what changed.
//!
//! `session` follows a router over `ssh`. `log_line`, `log_record` and `actor` read from its log who changed something;
//! `config_export` checks that an export is complete, `diff` compares it with the one before; `attribution` decides when an
//! export is due and who is credited; `recorder` archives, mails, commits and publishes. Text from a router is not
//! trusted: its users choose most of it.
#![forbid(unsafe_code)]

mod access;
mod actor;
mod add;
mod archive;
mod archive_commands;
mod attribution;
mod change;
mod check;
mod config;
mod config_export;
mod control;
mod daemon;
mod diff;
mod export;
mod facts;
mod file_names;
mod forget_secrets;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/bodies/routeros.rs"]
pub mod fuzzed;
mod git;
mod health;
mod hooks;
mod host_key;
mod ignore;
mod import;
mod legacy;
mod log_line;
mod log_record;
mod log_rule;
mod login_gate;
mod lossless;
mod mask;
mod open_files;
mod pause;
mod recorder;
mod reload;
mod remove;
mod reported_change;
mod seal;
mod service_state;
mod session;
mod set_host_key;
mod sftp;
mod shared_faults;
mod ssh;
mod start_access;
mod syslog;
mod terminal;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use aw_service::{ServiceOptions, TIME_FORMS};
use clap::{Parser, Subcommand};

pub use self::reported_change::{ReportedChange, masked_changes};

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

    /// Print whether the daemon runs and follows all routers, for a monitoring system, and exit: 0 if it does, else 1
    #[arg(long, conflicts_with = "host")]
    health: bool,

    /// Follow only this router, HOST or HOST:PORT, and print its changes; nothing is archived
    host: Option<String>,

    /// User for HOST; the password is asked for
    #[arg(requires = "host")]
    login: Option<String>,

    /// Read the configuration file and exit, with status 1 if it is refused; for the reload of the unit
    #[arg(long, hide = true, conflicts_with = "host")]
    read_config: bool,

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
    /// Add a router, or those of a list, to the configuration file: prints their host keys, and asks for missing values
    Add(add::AddOptions),
    /// Add the routers of Oxidized's router.db to the configuration file: prints their host keys, and asks once
    Import(import::ImportOptions),
    /// Set the host keys of routers that show another one than in the configuration file: prints them, and asks once
    HostKey(set_host_key::HostKeyOptions),
    /// Remove routers from the configuration file, with the password files that add wrote; what was archived stays
    Remove(remove::RemoveOptions),
    /// List changes
    #[command(after_help = TIME_FORMS)]
    Log(archive_commands::LogOptions),
    /// Print the last change of a router, or the difference between two snapshots or two routers
    Diff(archive_commands::DiffOptions),
    /// Print lines of the last configuration of each router that match a pattern, each with its menu
    Grep(archive_commands::GrepOptions),
    /// Summarize who changed what where, as text, JSON or a page
    #[command(after_help = TIME_FORMS)]
    Report(archive_commands::ReportOptions),
    /// List the routers with their state, or print the configuration of one
    Show(archive_commands::ShowOptions),
    /// Have the running daemon take an export of a router now, and print whether the configuration changed, and who changed it
    Export(export::ExportOptions),
    /// Replace secrets by *** in files of the archive from before encrypt_to, while the daemon is stopped
    ForgetSecrets,
    /// Test each router once, as the user of the service: its host key, the login, the user's rights, the log, the logging rule, the export and the clock; and the archive and mail
    Check(check::CheckOptions),
}

const EXAMPLES: &str = "\
Examples:
  aw-routeros -d                     follow all routers of the configuration file, in the background
  aw-routeros add 192.0.2.1          add a router
  aw-routeros add --from list.txt    add the routers of a list
  aw-routeros remove core1           remove a router; its archive stays
  aw-routeros host-key core1         set the new host key of core1
  aw-routeros check                  try each router once; with --send a test mail, too
  aw-routeros --health               check the health, for a monitoring system
  aw-routeros log core1 --since 7d   changes of the last 7 days
  aw-routeros log core1 --all        everything that happened to core1
  aw-routeros diff core1             the last change of core1
  aw-routeros diff core1 core2       what distinguishes two routers
  aw-routeros grep 'chain=forward'   lines of all configurations
  aw-routeros report --since 7d --format html > report.html
  aw-routeros export core1           export core1 now, by the running daemon
  aw-routeros 192.0.2.1 admin        follow one router without an archive

SIGHUP loads the configuration file again, and tries refused logins once more.
Exit status: 0 after SIGINT or SIGTERM, and if healthy with --health; 1 for a failure (check: if a router cannot be
followed), or if not healthy; 2 for wrong options.";

/// The program.
pub fn main() -> ExitCode {
    let mut options: Options = aw_service::parse("aw-routeros");
    // Messages name the directory that denies access, and a daemon in the background leaves this one.
    if let Ok(path) = std::path::absolute(&options.config) {
        options.config = path;
    }
    if options.hook_process {
        return hooks::run_process();
    }
    if options.health && options.command.is_none() {
        return health::run(&options.config);
    }
    aw_service::run("aw-routeros", &options.service, |startup| match &options.command {
        Some(_) if options.host.is_some() => {
            let host = options.host.as_deref().unwrap_or_default();
            Err(aw_service::failed(format_args!(
                "{host}: a command stands before its router, and HOST has none (such as aw-routeros log NAME)"
            )))
        }
        Some(RouterosCommand::Add(add)) => add::run(&options.config, add),
        Some(RouterosCommand::Import(import)) => import::run(&options.config, import),
        Some(RouterosCommand::HostKey(keys)) => set_host_key::run(&options.config, keys),
        Some(RouterosCommand::Remove(names)) => remove::run(&options.config, names),
        Some(RouterosCommand::Log(log)) => archive_commands::log(&options.config, log),
        Some(RouterosCommand::Diff(diff)) => archive_commands::diff(&options.config, diff),
        Some(RouterosCommand::Grep(grep)) => archive_commands::grep(&options.config, grep),
        Some(RouterosCommand::Report(report)) => archive_commands::report(&options.config, report),
        Some(RouterosCommand::Show(show)) => archive_commands::show(&options.config, show),
        Some(RouterosCommand::Export(export)) => export::run(&options.config, export),
        Some(RouterosCommand::ForgetSecrets) => forget_secrets::run(&options.config),
        Some(RouterosCommand::Check(check)) => {
            check::run(&options.config, check, options.service.user.as_deref())
        }
        None if options.read_config => {
            let config = access::read_or_explain(&options.config).map_err(aw_service::failed)?;
            match export::refused_reload(&config.archive) {
                Some(why) => Err(aw_service::failed(format_args!(
                    "{why}: the running aw-routeros keeps its old configuration"
                ))),
                None => Ok(()),
            }
        }
        None => match (&options.host, &options.login) {
            (Some(word), Some(login)) => {
                match is_mistyped(word, login, |name| is_known(&options.config, name)) {
                    true => Err(aw_service::failed(not_a_command(word))),
                    false => legacy::run(word, login, &options),
                }
            }
            (Some(host), None) => Err(aw_service::failed(not_a_command(host))),
            (None, _) => daemon::run(&options, startup),
        },
    })
}

/// A word that is neither a command nor a host with a login.
fn not_a_command(word: &str) -> String {
    let hint = match nearest_command(word) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are: {}", commands().join(", ")),
    };
    // With a port it is a host, see `is_mistyped`.
    let host = if is_host(word) { word.to_owned() } else { format!("{word}:22") };
    format!(
        "{word}: not a command ({hint}); if it is a host, to follow it without an archive: aw-routeros {host} LOGIN"
    )
}

fn commands() -> Vec<String> {
    let options = <Options as clap::CommandFactory>::command();
    options.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

fn nearest_command(word: &str) -> Option<String> {
    let mut words = commands();
    words.push("--health".into());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    // Of a word of two letters one may be wrong, too.
    let few = (word.len() / 3).clamp(usize::from(word.len() > 1), 3);
    aw_service::nearest_within(word, &words, few).map(str::to_owned)
}

/// An address or a name with its domain or port.
fn is_host(word: &str) -> bool {
    word.contains(['.', ':'])
}

/// Whether the first word was to be a command, so that no connection is made: it is like one, or the second word is no user.
fn is_mistyped(word: &str, login: &str, is_known: impl Fn(&str) -> bool) -> bool {
    let is_address = || {
        let address = aw_service::HostPort::parse(login, 22);
        address.is_ok_and(|address| address.host.parse::<std::net::IpAddr>().is_ok())
    };
    !is_host(word) && (nearest_command(word).is_some() || is_address() || is_known(login))
}

/// Whether the configuration or the archive has a router or jump host of this name. Without the right to read both it is not
/// known.
fn is_known(path: &Path, name: &str) -> bool {
    let config = config::Config::read(path);
    let archive = match &config {
        Ok(config) => Some(config.archive.clone()),
        Err(_) => config::archive_of_rejected(path),
    };
    let is_configured = config.is_ok_and(|config| {
        config.routers.iter().chain(&config.jump_hosts).any(|router| router.name.as_str() == name)
    });
    let names = archive.and_then(|archive| archive::Archive::names(&archive).ok());
    is_configured || names.into_iter().flatten().any(|known| known.as_str() == name)
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
    fn mistyped_commands() {
        for (typed, command) in
            [("chek", "check"), ("logs", "log"), ("host-keys", "host-key"), ("health", "--health")]
        {
            let why = not_a_command(typed);
            assert!(why.contains(&format!("(did you mean {command}?)")), "{why}");
        }
        for (word, login) in [
            ("ad", "192.0.2.1"),
            ("dd", "192.0.2.1:22"),
            ("ad", "core1.example.org"),
            ("lo", "core9"),
            ("impotr", "router.db"),
            ("grpe", "pattern"),
            ("chek", "core1"),
            ("expotr", "bastion"),
            ("list", "r1"),
        ] {
            assert!(is_mistyped(word, login, |name| name == "r1"), "{word}");
        }
        // A router may have the name of the user.
        for (word, login) in
            [("192.0.2.9", "admin"), ("logs:22", "admin"), ("2001:db8::1", "admin"), ("core1", "x")]
        {
            assert!(!is_mistyped(word, login, |name| name == "admin"), "{word}");
        }
        assert!(not_a_command("logs").ends_with(": aw-routeros logs:22 LOGIN"));
        assert!(not_a_command("list").contains("there are: add, import, host-key, remove, log, "));
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
