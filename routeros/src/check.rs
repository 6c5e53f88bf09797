//! `check`: tries each router once and reports what prevents it from being followed.

mod answers;

use std::{path::Path, time::Duration};

use aw_service::{Error, failed};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;

use self::answers::{clock, rights};
use crate::{
    add::block_on,
    archive::Archive,
    archive_commands::Format,
    config::{Config, Router},
    config_export::{parse_stored, validate},
    log_rule::change_log,
    session::{export, records},
    ssh::SshConnection,
    terminal::{print, table},
};

/// Options of `check`.
#[derive(Args, Debug)]
pub struct CheckOptions {
    /// Check only this router
    router: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The result for one router: `ok` or the fault, for each column.
#[derive(Debug, Default, Serialize)]
struct Finding {
    router: String,
    address: String,
    /// Address, host key and login.
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
/// Routers that are tried at the same time.
const AT_ONCE: usize = 32;
/// The time limit of a command.
const COMMAND_TIME: Duration = Duration::from_secs(30);

pub fn run(path: &Path, options: &CheckOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let routers: Vec<_> = config
        .routers
        .into_iter()
        .filter(|router| options.router.as_ref().is_none_or(|name| router.name.as_str() == name))
        .collect();
    if let Some(name) = &options.router
        && routers.is_empty()
    {
        return Err(failed(format_args!("{name}: no router of this name in {}", path.display())));
    }
    let mut findings: Vec<_> = block_on(async {
        let (mut running, mut findings) = (JoinSet::new(), Vec::new());
        for router in routers {
            if running.len() >= AT_ONCE {
                findings.extend(running.join_next().await);
            }
            let (archive, listens) =
                (Archive::of(&config.archive, &router.name), config.syslog.is_some());
            running.spawn(async move { check_router(&router, &archive, listens).await });
        }
        while let Some(finding) = running.join_next().await {
            findings.push(finding);
        }
        findings.into_iter().flatten().collect()
    })?;
    findings.sort_by(|a, b| a.router.cmp(&b.router));
    print_findings(&findings, options.format)?;
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        failing => {
            Err(failed(format_args!("{failing} of {} routers cannot be followed", findings.len())))
        }
    }
}

fn print_findings(findings: &[Finding], format: Format) -> Result<(), Error> {
    if format == Format::Json {
        for finding in findings {
            let line = serde_json::to_string(finding).map_err(|error| failed(error.to_string()))?;
            print(&(line + "\n"))?;
        }
        return Ok(());
    }
    let head = ["ROUTER", "ADDRESS", "LOGIN", "RIGHTS", "LOG", "RULE", "EXPORT", "CLOCK"];
    let mut rows = Vec::new();
    for Finding { router, address, login, rights, log, rule, export, clock, .. } in findings {
        let cells = [router, address, login, rights, log, rule, export, clock];
        rows.push(cells.map(Clone::clone).to_vec());
    }
    print(&table(&head, &rows))
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
            finding.login = fault.to_string();
            return finding;
        }
    };
    finding.login = "ok".into();
    let users = answer(&connection, "/user print detail").await;
    let groups = answer(&connection, "/user group print detail").await;
    finding.rights = match (users, groups) {
        (Ok(users), Ok(groups)) => rights(router, &users, &groups),
        (Err(fault), _) | (_, Err(fault)) => fault,
    };
    finding.log = match answer(&connection, "/log print").await {
        Ok(log) if log.trim().is_empty() || !records(log.as_bytes()).is_empty() => "ok".into(),
        Ok(log) => log.lines().next().unwrap_or_default().to_owned(),
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
