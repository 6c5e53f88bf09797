//! `check`: every router once, and what would keep it from being followed.

use std::{path::Path, sync::Arc, time::Duration};

use aw_service::{Error, failed};
use clap::Args;
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    add::block_on,
    archive::Archive,
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
    /// The user's group has the policies that are needed.
    rights: String,
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
            let archive = Archive::of(&config.archive, &router.name);
            running.spawn(async move { try_once(&router, &archive).await });
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
        let head = ["ROUTER", "ADDRESS", "LOGIN", "RIGHTS", "LOG", "RULE", "EXPORT", "CLOCK"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for Finding { router, address, login, rights, log, rule, export, clock, .. } in &findings {
            let cells = [router, address, login, rights, log, rule, export, clock];
            rows.push(cells.map(Clone::clone).to_vec());
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

async fn try_once(router: &Router, archive: &Archive) -> Finding {
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
    let users = answer("/user print detail").await;
    let groups = answer("/user group print detail").await;
    finding.rights = match (users, groups) {
        (Ok(users), Ok(groups)) => rights(router, &users.text(), &groups.text()),
        (Err(fault), _) | (_, Err(fault)) => fault.to_string(),
    };
    let log = answer("/log print").await;
    let is_log = log
        .as_ref()
        .is_ok_and(|answer| answer.text().trim().is_empty() || !records(answer).is_empty());
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
    // What failed in the base already is no fault now; one that cannot be read here the daemon may well read.
    let base = archive.base().ok().flatten().and_then(|bytes| judge(&bytes, None).ok());
    let known = base.map(|base| base.failed);
    let is_whole = match export(&session, router).await {
        Ok((_, Some(unfit))) => Err(unfit.to_string()),
        Ok((bytes, None)) => judge(&bytes, known.as_ref()).map_err(|unfit| unfit.to_string()),
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

/// Whether the user's group has the policies that are needed: to log in by SSH, to read, and, where secrets are to
/// be in the export, to see them. Whoever has no leave to look at users may have what is needed all the same.
fn rights(router: &Router, users: &str, groups: &str) -> String {
    let entry = |text, name: &str| {
        entries(text).into_iter().find(|entry| field(entry, "name") == Some(name))
    };
    let user = entry(users, &router.user);
    let group = user.as_deref().and_then(|user| field(user, "group"));
    let group = group.and_then(|group| entry(groups, group));
    let Some(policies) = group.as_deref().and_then(|group| field(group, "policy")) else {
        return "unknown: it does not show the user's group".into();
    };
    let has = |policy: &str| policies.split(',').any(|one| one == policy);
    let needed =
        ["ssh", "read", "sensitive"].into_iter().take(2 + usize::from(router.show_sensitive));
    let missing: Vec<_> = needed.filter(|policy| !has(policy)).collect();
    let more: Vec<_> = ["write", "policy", "reboot"].into_iter().filter(|it| has(it)).collect();
    match (&*missing, &*more) {
        ([], []) => "ok".into(),
        ([], more) => format!("ok, and {} without need", more.join(", ")),
        (missing, _) => format!("{} missing", missing.join(", ")),
    }
}

/// The numbered entries of `print detail`, each in one line: it wraps them, between words or behind a comma.
fn entries(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
            entries.push(format!(" {line}"));
        } else if let Some(entry) = entries.last_mut() {
            let gap = if entry.ends_with(',') { "" } else { " " };
            *entry += &format!("{gap}{line}");
        }
    }
    entries
}

/// A value of an entry, without its quotes.
fn field<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = entry.split_once(&format!(" {name}="))?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split(' ').next(),
    }
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

    #[test]
    fn what_the_user_may() {
        let users = "Flags: X - disabled\r\n 0   ;;; system default user\r\n     name=\"admin\" group=full address=\"\"\r\n\r\n \
            1   name=\"audit\" group=our audit address=\"\"\r\n 2   name=\"look\" group=\"our looks\"\r\n 3 X name=\"web\" group=web\r\n";
        let groups = " 0 name=\"web\" policy=read,web,!ssh\r\n 1 name=\"our looks\" policy=ssh,read,!local,!telnet,\r\n      \
            !write,!sensitive skin=default\r\n 2 name=\"full\" policy=local,telnet,ssh,ftp,\r\n      reboot,read,write,policy,sensitive \r\n      skin=default\r\n";
        let of = |user: &str, more: &str| {
            let text = format!(
                "archive = \"/\"\n[[router]]\nname = \"x\"\naddress = \"192.0.2.1\"\nuser = {user:?}\nagent = true\n{more}"
            );
            rights(&Config::parse(&text).unwrap().routers[0], users, groups)
        };
        assert_eq!(of("look", ""), "ok");
        assert_eq!(of("look", "show_sensitive = true"), "sensitive missing");
        assert_eq!(
            of("admin", "show_sensitive = true"),
            "ok, and write, policy, reboot without need"
        );
        assert_eq!(of("web", ""), "ssh missing");
        for user in ["nobody", "audit", "full", ""] {
            assert!(of(user, "").starts_with("unknown"), "{user}");
        }
        assert!(rights(&Config::parse("archive = \"/\"\n[[router]]\nname = \"x\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true").unwrap().routers[0], "not enough permissions (9)", "").starts_with("unknown"));
    }
}
