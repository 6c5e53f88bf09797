//! `check`: every router once, and what would keep it from being followed.

use std::{path::Path, sync::Arc, time::Duration};

use aw_service::{Error, failed};
use clap::Args;
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    add::block_on,
    config::{Config, Router},
    export::judge,
    look::Format,
    router::{export, records},
    ssh::Session,
    terminal::{print, table},
};

/// Options of `check`.
#[derive(Args, Debug)]
pub struct CheckOptions {
    /// Only this router
    router: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Finding {
    router: String,
    address: String,
    /// Host key, address and login are right.
    login: String,
    /// The log can be read.
    log: String,
    /// The log's rule for changes is there.
    rule: String,
    /// The export is whole.
    export: String,
    /// The clock agrees with ours.
    clock: String,
    /// It would be followed.
    ok: bool,
}

/// Clocks that differ by no more agree.
const CLOSE: i64 = 120;
/// Routers tried at the same time.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries the routers.
pub fn run(path: &Path, options: &CheckOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let routers: Vec<_> = config
        .routers
        .into_iter()
        .filter(|router| options.router.as_ref().is_none_or(|name| router.name.as_str() == name))
        .map(Arc::new)
        .collect();
    if let Some(name) = &options.router
        && routers.is_empty()
    {
        return Err(failed(format_args!("{name}: no router of this name in the configuration")));
    }
    let mut findings = block_on(async {
        let (mut running, mut findings) = (JoinSet::new(), Vec::new());
        for router in routers {
            if running.len() >= AT_ONCE {
                findings.extend(running.join_next().await);
            }
            running.spawn(async move { try_once(&router).await });
        }
        while let Some(finding) = running.join_next().await {
            findings.push(finding);
        }
        findings.into_iter().flatten().collect::<Vec<_>>()
    })?;
    findings.sort_by(|a, b| a.router.cmp(&b.router));
    if options.format == Format::Json {
        for finding in &findings {
            let line = serde_json::to_string(finding).map_err(|error| failed(error.to_string()))?;
            print(&(line + "\n"))?;
        }
    } else {
        let head = ["ROUTER", "ADDRESS", "LOGIN", "LOG", "RULE", "EXPORT", "CLOCK"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for Finding { router, address, login, log, rule, export, clock, .. } in &findings {
            rows.push(
                [router, address, login, log, rule, export, clock].map(Clone::clone).to_vec(),
            );
        }
        print(&table(&rows))?;
    }
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        failing => {
            Err(failed(format_args!("{failing} of {} routers cannot be followed", findings.len())))
        }
    }
}

async fn try_once(router: &Router) -> Finding {
    let mut finding = Finding {
        router: router.name.to_string(),
        address: router.address.to_string(),
        ..Finding::default()
    };
    let session = match Session::open(router).await {
        Ok(session) => session,
        Err(fault) => {
            finding.login = fault.to_string();
            return finding;
        }
    };
    finding.login = "ok".into();
    let answer = |command: &'static str| session.run(command, PATIENCE);
    let log = answer("/log print").await;
    let is_log = log
        .as_ref()
        .is_ok_and(|answer| answer.text().trim().is_empty() || !records(&answer.bytes).is_empty());
    finding.log = match &log {
        _ if is_log => "ok".into(),
        Ok(answer) => answer.text().lines().next().unwrap_or_default().to_owned(),
        Err(fault) => fault.to_string(),
    };
    finding.rule = match answer("/system logging print").await {
        Ok(answer) if has_rule(&answer.text()) => "ok".into(),
        Ok(_) => "none for info: changes are seen by the periodic export only".into(),
        Err(fault) => fault.to_string(),
    };
    let is_whole = match export(&session, router).await {
        Ok((_, Some(unfit))) => Err(unfit.to_string()),
        Ok((bytes, None)) => judge(&bytes, None).map_err(|unfit| unfit.to_string()),
        Err(fault) => Err(fault.to_string()),
    };
    finding.ok = is_log && is_whole.is_ok();
    finding.export = match is_whole {
        Ok(export) => format!("ok, {} lines, RouterOS {}", export.lines.len(), export.version),
        Err(why) => why,
    };
    finding.clock = match answer("/system clock print").await {
        Ok(answer) => match clock(&answer.text()) {
            Some(time) => {
                let off = time.as_second() - Timestamp::now().as_second();
                if off.abs() <= CLOSE { "ok".into() } else { format!("{off:+} s") }
            }
            None => "unreadable".into(),
        },
        Err(fault) => fault.to_string(),
    };
    session.close().await;
    finding
}

/// Whether a rule logs `info`, which changes are, and is not switched off (`X`) or invalid (`I`).
fn has_rule(text: &str) -> bool {
    let rule = |line: &str| {
        let mut words = line.split_whitespace();
        let is_numbered = words.next().is_some_and(|word| word.parse::<u32>().is_ok());
        let words: Vec<_> = words.collect();
        let is_off = words.first().is_some_and(|word| word.len() <= 2 && word.contains(['X', 'I']));
        let logs = words.iter().any(|word| {
            let topics = word.trim_start_matches("topics=");
            topics.split(',').any(|topic| topic == "info")
                && topics.split(',').all(|topic| {
                    ["info", "system"].contains(&topic)
                        || topic.strip_prefix('!').is_some_and(|not| not != "system")
                })
        });
        is_numbered && !is_off && logs
    };
    text.lines().any(rule)
}

/// The time of `/system clock print`, with its offset from UTC.
fn clock(text: &str) -> Option<Timestamp> {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let date = value("date")?;
    let date = match jiff::civil::Date::strptime("%Y-%m-%d", date) {
        Ok(date) => date,
        Err(_) => jiff::civil::Date::strptime("%b/%d/%Y", date.replace(' ', "")).ok()?,
    };
    let time = jiff::civil::Time::strptime("%H:%M:%S", value("time")?).ok()?;
    let offset = value("gmt-offset")?;
    let (hours, minutes) = offset.trim_start_matches(['+', '-']).split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let offset =
        Offset::from_seconds(if offset.starts_with('-') { -seconds } else { seconds }).ok()?;
    offset.to_timestamp(DateTime::from_parts(date, time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks() {
        let v7 = "                  time: 14:05:00\r\n                  date: 2026-11-22\r\n  time-zone-autodetect: yes\r\n            gmt-offset: +01:00\r\n";
        let v6 = "time: 12:05:00\ndate: nov/22/2026\ngmt-offset: -01:00\n";
        assert_eq!(clock(v7), "2026-11-22T13:05:00Z".parse().ok());
        assert_eq!(clock(v6), clock(v7));
        assert_eq!(clock("what"), None);
    }

    #[test]
    fn rules() {
        assert!(has_rule("Flags: X - disabled\n 0    topics=info prefix=\"\" action=memory\n"));
        assert!(has_rule(" 0 *  info       memory\n") && has_rule("1 system,info memory"));
        assert!(!has_rule(" 0 X  topics=info action=memory\n") && !has_rule("0 error memory"));
        assert!(!has_rule("0 dhcp,info memory") && !has_rule("info"));
        assert!(has_rule("0 info,!account memory") && !has_rule("0 info,!system memory"));
    }
}
