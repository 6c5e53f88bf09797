//! `check`: tries each router once, and what else the service needs, as its user, and reports what prevents it from being
//! followed.

mod answers;
mod service;

use std::{path::Path, sync::atomic::Ordering, time::Duration};

use aw_notify::Mail;
use aw_service::{Error, Identity, count_of, failed, info, run_as, warn};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;

use self::answers::{clock, rights};
use crate::{
    access::{self, note_of_another_user, remedy_for_the_service},
    add::{block_on, list::same_router},
    archive::Archive,
    archive_commands::Format,
    config::{Config, Router},
    config_export::{parse_stored, validate},
    daemon::DEFAULT_USERS,
    log_rule::change_log,
    mask::mask,
    reload::some_of,
    session::{export, records},
    ssh::{SshConnection, SshFault},
    terminal::{print, table_with_notes},
};

/// Options of `check`.
#[derive(Args, Debug)]
pub struct CheckOptions {
    /// Check only this router
    router: Option<String>,
    /// Also send a test mail to all recipients
    #[arg(long)]
    send: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The result for one router: `ok` or the fault, for each column.
#[derive(Debug, Default, Serialize)]
struct Finding {
    router: String,
    address: String,
    /// Whether its host key is the pinned one.
    host_key: String,
    /// Address and login.
    login: String,
    /// The policies of the user's group.
    rights: String,
    /// Whether the log can be read.
    log: String,
    /// Whether the logging rules send changes to the log.
    rule: String,
    /// Whether the export is complete.
    export: String,
    /// Whether the clock agrees with this machine's.
    clock: String,
    /// Whether the router can be followed, and its log shows changes.
    ok: bool,
}

/// Seconds by which clocks may differ.
const CLOCK_TOLERANCE: i64 = 120;
/// Routers that a message names.
const MAX_NAMED: usize = 10;
/// Routers that are tried at the same time.
const AT_ONCE: usize = 32;
/// The time limit of a command.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// `user` is the user that the service runs as, instead of the default one.
pub fn run(path: &Path, options: &CheckOptions, user: Option<&str>) -> Result<(), Error> {
    let identity = Identity::choose(user, DEFAULT_USERS, None)?;
    if user.is_none()
        && let Some(note) = note_of_another_user(DEFAULT_USERS)
    {
        info(note);
    }
    access::IS_TRIAL.store(identity.is_some(), Ordering::Relaxed);
    run_as(identity.as_ref(), || check(path, options))?
}

fn check(path: &Path, options: &CheckOptions) -> Result<(), Error> {
    let config = service::read_config(path)?;
    let mut faults = service::faults(&config, path);
    let mail = service::mail(&config).unwrap_or_else(|why| {
        faults.push(why);
        None
    });
    if options.send {
        faults.extend(send(&config, mail));
    } else if let Some(Err(why)) = mail.map(|(client, _)| client.try_connection()) {
        faults.push(why);
    }
    let is_chosen =
        |router: &&Router| options.router.as_ref().is_none_or(|name| router.name.as_str() == name);
    let routers: Vec<_> = config.routers.iter().filter(is_chosen).cloned().collect();
    if let Some(name) = &options.router
        && routers.is_empty()
    {
        let near = access::did_you_mean(&config, name);
        return Err(failed(format_args!(
            "{name}: no router of this name in {}{near}",
            path.display()
        )));
    }
    for twice in same_router(&[], &config.routers, &Vec::new()) {
        warn(twice);
    }
    config.warnings.iter().for_each(warn);
    for router in routers.iter().filter(|router| router.backup) {
        let state = Archive::of(&config.archive, &router.name).whole_state();
        let why = state.map_or(String::new(), |state| state.no_backup);
        faults.extend((!why.is_empty()).then(|| format!("{}: {}", router.name, mask(&why))));
    }
    let findings = block_on(check_routers(&config, routers))?;
    if !findings.is_empty() {
        print_findings(&findings, options.format)?;
    }
    for fault in &faults {
        warn(fault);
    }
    let failing = findings.iter().filter(|finding| !finding.ok).count();
    let mut results = Vec::new();
    if findings.is_empty() {
        results.push(format!("no routers in {} (aw-routeros add HOST adds one)", path.display()));
    }
    if failing > 0 {
        let all = count_of(findings.len() as u64, "router", "routers");
        results.push(format!("{failing} of {all} cannot be followed"));
    }
    if !faults.is_empty() {
        let faults = count_of(faults.len() as u64, "fault", "faults");
        results.push(format!("{faults} of the service (the lines before this one)"));
    }
    if results.is_empty() { Ok(()) } else { Err(failed(results.join("; "))) }
}

/// Sends a test mail to all recipients. Returns the faults.
fn send(config: &Config, mail: Option<service::MailTo>) -> Vec<String> {
    let Some((client, lists)) = mail else {
        let none = || vec!["--send: no mail is configured (add the table [mail])".to_owned()];
        return if config.mail.is_none() { none() } else { Vec::new() };
    };
    let text = "This is a test mail of aw-routeros check --send.\n";
    let mail = Mail { subject: "[addrwatch] test", text, id: None, comment: None };
    let mut faults = Vec::new();
    for list in lists {
        match client.send_to(&list, &mail) {
            Ok(refused) => faults.extend(refused.iter().map(|why| format!("test mail: {why}"))),
            Err(why) => faults.push(format!("test mail: {why}")),
        }
    }
    if faults.is_empty() {
        info("the mail server has accepted the test mail");
    }
    faults
}

/// The findings in the order of the configuration.
async fn check_routers(config: &Config, routers: Vec<Router>) -> Vec<Finding> {
    let (mut running, mut findings) = (JoinSet::new(), Vec::new());
    for (number, router) in routers.into_iter().enumerate() {
        if running.len() >= AT_ONCE {
            findings.extend(running.join_next().await);
        }
        let (archive, listens) =
            (Archive::of(&config.archive, &router.name), config.syslog.is_some());
        running.spawn(async move { (number, check_router(&router, &archive, listens).await) });
    }
    while let Some(finding) = running.join_next().await {
        findings.push(finding);
    }
    let mut findings: Vec<_> = findings.into_iter().flatten().collect();
    findings.sort_by_key(|(number, _)| *number);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn print_findings(findings: &[Finding], format: Format) -> Result<(), Error> {
    if format == Format::Json {
        for finding in findings {
            let line = serde_json::to_string(finding).map_err(|error| failed(error.to_string()))?;
            print(&(line + "\n"))?;
        }
        return Ok(());
    }
    let head =
        ["ROUTER", "ADDRESS", "HOST KEY", "LOGIN", "RIGHTS", "LOG", "RULE", "EXPORT", "CLOCK"];
    let mut rows = Vec::new();
    for Finding { router, address, host_key, login, rights, log, rule, export, clock, .. } in
        findings
    {
        // In days, if it is far off; a program gets seconds.
        let clock = &seconds_off(clock).map_or(clock.clone(), difference);
        let cells = [router, address, host_key, login, rights, log, rule, export, clock];
        let cell = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
        rows.push(cells.map(cell).to_vec());
    }
    let clocks = wrong_clocks(findings).map_or(String::new(), |note| note + "\n");
    print(&(table_with_notes(&head, rows) + &clocks))
}

/// `listens` is set if the daemon listens for syslog.
async fn check_router(router: &Router, archive: &Archive, listens: bool) -> Finding {
    let mut finding = Finding {
        router: router.name.to_string(),
        address: router.address.to_string(),
        ..Finding::default()
    };
    let connection = match SshConnection::open(router).await {
        Ok(connection) => connection,
        Err(fault) => {
            match &fault {
                SshFault::ChangedKey(_) | SshFault::UnknownKey(..) => {
                    finding.host_key = fault.to_string();
                }
                SshFault::Refused(_) => {
                    (finding.host_key, finding.login) = ("ok".into(), fault.to_string());
                }
                _ => finding.login = fault.to_string(),
            }
            return finding;
        }
    };
    (finding.host_key, finding.login) = ("ok".into(), "ok".into());
    let users = answer(&connection, "/user print detail").await;
    let groups = answer(&connection, "/user group print detail").await;
    finding.rights = match (users, groups) {
        (Ok(users), Ok(groups)) => rights(router, &users, &groups),
        (Err(fault), _) | (_, Err(fault)) => fault,
    };
    finding.log = match answer(&connection, "/log print").await {
        Ok(log) if log.trim().is_empty() || !records(log.as_bytes()).is_empty() => "ok".into(),
        Ok(log) => mask(log.lines().next().unwrap_or_default()),
        Err(fault) => fault,
    };
    let mut is_blind = false;
    finding.rule = match change_log(&connection).await {
        Ok(Some(place)) => match place.blind(listens) {
            Some(why) => {
                is_blind = true;
                why
            }
            None => place.as_checked().into(),
        },
        Ok(None) => "unknown: the router does not print its logging rules".into(),
        Err(fault) => fault.to_string(),
    };
    let export = check_export(&connection, router, archive).await;
    finding.ok = finding.log == "ok" && !is_blind && export.is_ok();
    finding.export = export.unwrap_or_else(|fault| fault);
    finding.clock = match answer(&connection, "/system clock print").await.as_deref().map(clock) {
        Ok(Some(time)) => match time.as_second() - Timestamp::now().as_second() {
            off if off.abs() <= CLOCK_TOLERANCE => "ok".into(),
            off => format!("{off:+} s"),
        },
        Ok(None) => "unreadable".into(),
        Err(fault) => fault.to_owned(),
    };
    connection.close().await;
    finding
}

/// By how much the clock of a finding differs, if that is too much.
fn seconds_off(clock: &str) -> Option<i64> {
    clock.strip_suffix(" s")?.parse().ok()
}

/// What to do about clocks that differ: their routers are followed all the same.
fn wrong_clocks(findings: &[Finding]) -> Option<String> {
    let wrong = findings.iter().filter(|finding| seconds_off(&finding.clock).is_some());
    let wrong: Vec<_> = wrong.map(|finding| &finding.router).collect();
    (!wrong.is_empty()).then(|| {
        format!(
            "wrong clock: {}: the times in the log of the router, which changes are stored with, are wrong (set the clock: /system clock, or enabled=yes and servers of /system ntp client)",
            some_of(&wrong, MAX_NAMED)
        )
    })
}

/// By how much a clock is ahead of this machine's, or behind it.
fn difference(seconds: i64) -> String {
    const DAY: i64 = 24 * 3600;
    let word = if seconds > 0 { "ahead" } else { "behind" };
    match seconds.abs() {
        off @ ..DAY => format!("{off} s {word}"),
        off => format!("{} {word}", count_of((off / DAY).cast_unsigned(), "day", "days")),
    }
}

#[cfg(test)]
#[test]
fn differences_of_clocks() {
    for (seconds, text) in [
        (300, "300 s ahead"),
        (-121, "121 s behind"),
        (-817_584_486, "9462 days behind"),
        (90_000, "1 day ahead"),
    ] {
        assert_eq!(difference(seconds), text);
    }
}

/// The text that a command prints, or the fault.
async fn answer(connection: &SshConnection, command: &str) -> Result<String, String> {
    let answer = connection.run(command, COMMAND_TIME).await;
    answer.map(|answer| answer.text().into_owned()).map_err(|fault| fault.to_string())
}

async fn check_export(
    connection: &SshConnection,
    router: &Router,
    archive: &Archive,
) -> Result<String, String> {
    // Sections that failed in the base may fail. This user may be unable to read the base while the daemon can.
    let base = archive.base().ok().flatten().and_then(|bytes| parse_stored(&bytes).ok());
    let known = base.map(|base| base.failed);
    let (bytes, fault) = export(connection, router).await.map_err(|fault| fault.to_string())?;
    let checked = match fault {
        Some(fault) => Err(fault),
        None => validate(&bytes, known.as_ref()),
    };
    let export = checked.map_err(|fault| fault.to_string())?;
    Ok(format!("ok, {} lines, RouterOS {}", export.lines.len(), export.version))
}
