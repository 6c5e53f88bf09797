//! `log`, `diff`, `show`, `grep` and `report`: print what is in the archive.

mod all_messages;
mod grep;
mod report;
mod show;

use std::path::Path;

use aw_service::{Error, failed, info, parse_time};
use clap::{Args, ValueEnum};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;
use serde_json::json;

pub use self::{
    grep::{GrepOptions, grep},
    report::{ReportOptions, report},
    show::{ShowOptions, show},
};
use crate::{
    access::{did_you_mean, read_config},
    archive::Archive,
    attribution::{LogClaim, users},
    change::Change,
    config::{Config, RouterName},
    config_export::parse_stored,
    diff::Difference,
    mask::{mask, mask_json},
    reload::some_of,
    terminal::{print, table},
};

/// Routers that a message names.
const NAMED: usize = 10;

/// Output format.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns
    Table,
    /// One JSON object in each line
    Json,
}

/// Options of all three.
#[derive(Args, Debug)]
struct OutputOptions {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print secrets instead of ***
    #[arg(long)]
    secrets: bool,
}

impl OutputOptions {
    /// Prints text with secrets masked, unless they are requested.
    fn print(&self, text: &str) -> Result<(), Error> {
        print(&if self.secrets { text.to_owned() } else { mask(text) })
    }

    /// Prints a line of JSON, with secrets masked in each text, unless they are requested.
    fn print_json(&self, value: &impl Serialize) -> Result<(), Error> {
        let mut value = serde_json::to_value(value).unwrap_or_default();
        if !self.secrets {
            mask_json(&mut value);
        }
        print(&format!("{value}\n"))
    }
}

#[derive(Args, Debug)]
pub struct LogOptions {
    /// Only changes of this router
    router: Option<String>,
    /// Only changes credited to USER, or that USER is a candidate for: named by a line of a time without a connection
    #[arg(long, value_name = "USER", allow_hyphen_values = true)]
    user: Option<String>,
    /// Only changes since TIME, such as 2026-11-22, '2026-11-22 10:00', yesterday, or 7d for a time span before now
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// All messages, not only changes: connections, faults, exports
    #[arg(long, conflicts_with = "user")]
    all: bool,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args, Debug)]
pub struct DiffOptions {
    /// Name of the router
    router: String,
    /// First snapshot: its name, or the beginning of it, as log prints it; or the name of another router, to compare the last exports of both
    #[arg(value_name = "A")]
    from: Option<String>,
    /// Second snapshot [default: the newest]
    #[arg(value_name = "B")]
    to: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
}

/// Lists changes.
pub fn log(path: &Path, options: &LogOptions) -> Result<(), Error> {
    let config = read_config(path)?;
    let mut changes: Vec<Change> = Vec::new();
    let names = match &options.router {
        Some(name) => vec![find_router(&config, name)?],
        None => configured(&config),
    };
    if options.all {
        return all_messages::print_all(&config, &names, options);
    }
    for name in names {
        let archive = Archive::of(&config.archive, &name);
        changes.extend(read(&name, archive.changes())?);
        changes.extend(read(&name, archive.noted())?);
    }
    changes.retain(|change| {
        options.since.is_none_or(|since| change.time >= since)
            && options.user.as_ref().is_none_or(|user| {
                change.users.contains(user) || change.candidate_users().contains(&user.as_str())
            })
    });
    changes.sort_by_key(|change| change.time);
    if options.output.format == Format::Json {
        return changes.iter().try_for_each(|change| options.output.print_json(change));
    }
    if changes.is_empty() {
        info(format_args!("no changes{}", searched(options)));
    }
    let mut rows = Vec::new();
    for change in &changes {
        let claims = || change.claims.iter().chain(&change.candidates);
        let is_by = |claim: &&LogClaim| {
            options
                .user
                .as_ref()
                .is_some_and(|user| users(std::slice::from_ref(*claim)).contains(&&**user))
        };
        let claim = claims().rfind(is_by).or(claims().next_back());
        let message = claim.map_or("", |claim| claim.message.as_str());
        let facts = change.facts.join("; ");
        let message = if facts.is_empty() { message } else { facts.as_str() };
        let shown = |text: &str| if options.output.secrets { text.to_owned() } else { mask(text) };
        let count = claims().count() as u64 + change.further_claims;
        let message = match shown(message) {
            message if facts.is_empty() && count > 1 => {
                format!("{message} (and {} more)", count - 1)
            }
            message => message,
        };
        let message = match change.ignored {
            0 => message,
            ignored => format!("({ignored} ignored) {message}"),
        };
        let lines = format!("+{} -{}", change.added, change.removed);
        // A cell that is never empty: scripts split lines at blanks.
        let snapshot = match change.noted {
            true => "-".to_owned(),
            false => change.snapshot.trim_end_matches(".rsc").to_owned(),
        };
        let (time, router) = (local(change.time), change.router.clone());
        let who = match &*change.candidate_users() {
            [] => change.who(),
            some => format!("{} (candidate: {})", change.who(), some_of(some, 3)),
        };
        rows.push(vec![time, router, shown(&who), lines, snapshot, message]);
    }
    print(&table(&["TIME", "ROUTER", "USER", "LINES", "SNAPSHOT", "LOG"], &rows))
}

/// The filters of a search, for the message that it found nothing.
fn searched(LogOptions { router, user, since, .. }: &LogOptions) -> String {
    let of = router.as_ref().map_or(String::new(), |router| format!(" of {router}"));
    let by = user.as_ref().map_or(String::new(), |user| format!(" by {user}"));
    let since = since.map_or(" in the archive".into(), |time| format!(" since {}", local(time)));
    of + &by + &since
}

/// Prints the last change, or the difference between two snapshots, or that between two routers.
pub fn diff(path: &Path, options: &DiffOptions) -> Result<(), Error> {
    let config = read_config(path)?;
    let name = find_router(&config, &options.router)?;
    let archive = Archive::of(&config.archive, &name);
    let Some(from) = &options.from else {
        let changes = read(&name, archive.changes())?;
        let last = changes
            .last()
            .ok_or_else(|| failed(format_args!("{name}: no changes in the archive yet")))?;
        return match options.output.format {
            Format::Table => print(&last.text(&local(last.time), options.output.secrets)),
            Format::Json => options.output.print_json(last),
        };
    };
    let lines = |snapshot: &str| {
        let bytes = read(&name, archive.snapshot(snapshot))?;
        let export =
            parse_stored(&bytes).map_err(|fault| failed(format_args!("{snapshot}: {fault}")))?;
        Ok::<_, Error>(export.lines)
    };
    let snapshots = read(&name, archive.snapshots())?;
    if options.to.is_none()
        && !snapshots.iter().any(|snapshot| snapshot.starts_with(from))
        && let Ok(other) = find_router(&config, from)
    {
        return diff_routers(&config, [name, other], &options.output);
    }
    if let Some(to) = &options.to {
        let is_router = |word: &&String| find_configured(&config, word).is_ok();
        if let Some(other) = [from, to].into_iter().find(is_router) {
            return Err(failed(format_args!(
                "{other} is a router: diff compares two routers (aw-routeros diff {name} {other}), or two snapshots of one (aw-routeros log {name} lists them)"
            )));
        }
    }
    let from = match (find_snapshot(&snapshots, from), &options.to) {
        (Err(NoSnapshot::None(why)), None) => {
            return Err(failed(format_args!("{why}, and no router has this name")));
        }
        (found, _) => found?,
    };
    let to = match &options.to {
        Some(to) => find_snapshot(&snapshots, to)?,
        None => snapshots.last().ok_or_else(|| failed(format_args!("{name}: no snapshots yet")))?,
    };
    let difference = Difference::between(&lines(from)?, &lines(to)?, None);
    if options.output.format == Format::Json {
        let Difference { text, added, removed } = &difference;
        return options.output.print_json(&json!({ // with the names of Change
            "router": name.as_str(), "before": from, "snapshot": to,
            "added": added, "removed": removed, "diff": text,
        }));
    }
    if difference.is_empty() {
        info(format_args!("{name}: {from} and {to} are the same"));
    }
    options.output.print(&format!("--- {from}\n+++ {to}\n{}", difference.text))
}

/// Prints the difference between the last exports of two routers.
fn diff_routers(
    config: &Config,
    names: [RouterName; 2],
    output: &OutputOptions,
) -> Result<(), Error> {
    let lines = |name: &RouterName| {
        grep::lines(config, name)?
            .ok_or_else(|| failed(format_args!("{name}: no configuration in the archive yet")))
    };
    let [from, to] = &names;
    let difference = Difference::between(&lines(from)?, &lines(to)?, None);
    if output.format == Format::Json {
        let Difference { text, added, removed } = &difference;
        return output.print_json(&json!({
            "router": from.as_str(), "other": to.as_str(),
            "added": added, "removed": removed, "diff": text,
        }));
    }
    if difference.is_empty() {
        info(format_args!("{from} and {to} have the same configuration"));
    }
    output.print(&format!("--- {from}\n+++ {to}\n{}", difference.text))
}

/// A router of the configuration.
pub fn find_configured(config: &Config, name: &str) -> Result<RouterName, Error> {
    let found = config.routers.iter().find(|router| router.name.as_str() == name);
    let found = found.map(|router| router.name.clone());
    found.ok_or_else(|| {
        let near = did_you_mean(config, name);
        failed(format_args!("{name}: no router of this name in the configuration{near}"))
    })
}

/// The routers of the configuration. Others of the archive are named, because they are left out.
fn configured(config: &Config) -> Vec<RouterName> {
    let names: Vec<_> = config.routers.iter().map(|router| router.name.clone()).collect();
    let mut others = Archive::names(&config.archive).unwrap_or_default();
    others.retain(|name| !names.contains(name));
    if !others.is_empty() {
        let others = some_of(&others, NAMED);
        info(format_args!(
            "archives of removed routers, not shown: {others} (aw-routeros log NAME shows one; rm -r {}/NAME deletes it)",
            config.archive.display()
        ));
    }
    names
}

/// A router of the configuration or of the archive.
pub fn find_router(config: &Config, name: &str) -> Result<RouterName, Error> {
    if let Ok(name) = find_configured(config, name) {
        return Ok(name);
    }
    // One that was removed, or has another name now.
    match RouterName::try_from(name.to_owned()) {
        Ok(name) if Archive::of(&config.archive, &name).is_there() => {
            info(format_args!("{name} is not in the configuration: this is what its archive has"));
            Ok(name)
        }
        _ => {
            let help = match did_you_mean(config, name) {
                near if near.is_empty() => " (aw-routeros show lists those of the configuration, aw-routeros log names the others)".into(),
                near => near,
            };
            Err(failed(format_args!(
                "{name}: no router of this name in the configuration, nor in the archive{help}"
            )))
        }
    }
}

/// The only snapshot whose name begins with `start`.
fn find_snapshot<'a>(snapshots: &'a [String], start: &str) -> Result<&'a String, NoSnapshot> {
    if start.is_empty() {
        // As log prints it for what is not part of an export.
        let why = "the name of a snapshot is empty (log has none for what is noted)";
        return Err(NoSnapshot::Ambiguous(why.into()));
    }
    let name = |snapshot: &String| snapshot.trim_end_matches(".rsc").to_owned();
    let found: Vec<_> = snapshots.iter().filter(|name| name.starts_with(start)).collect();
    if let Some(exact) = found.iter().find(|found| name(found) == start) {
        return Ok(exact);
    }
    match &*found {
        [one] => Ok(one),
        [] => {
            let stored = match (snapshots.first(), snapshots.last()) {
                (Some(first), Some(last)) => format!("stored: {} to {}", name(first), name(last)),
                _ => "none is stored".into(),
            };
            Err(NoSnapshot::None(format!("{start}: no snapshot begins with this ({stored})")))
        }
        several => {
            let names: Vec<_> = several.iter().copied().map(name).collect();
            Err(NoSnapshot::Ambiguous(format!(
                "{start}: {} snapshots begin with this: {} (write more of the name)",
                names.len(),
                some_of(&names, NAMED)
            )))
        }
    }
}

/// Why no snapshot is found.
#[derive(Debug, PartialEq, Eq)]
enum NoSnapshot {
    None(String),
    Ambiguous(String),
}

impl From<NoSnapshot> for Error {
    fn from(why: NoSnapshot) -> Error {
        let (NoSnapshot::None(why) | NoSnapshot::Ambiguous(why)) = why;
        failed(why)
    }
}

fn read<T>(name: &RouterName, result: std::io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error::io(format_args!("read the archive of {name}"), error))
}

pub fn local(time: Timestamp) -> String {
    Zoned::new(time, TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The begin of a time expression.
fn since(text: &str) -> Result<Timestamp, String> {
    parse_time(text, &Zoned::now()).map(|times| times.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots() {
        let names = ["20261122T100000Z", "20261122T100000Z-1", "20261123T100000Z"];
        let snapshots = names.map(|name| format!("{name}.rsc"));
        let found = |start: &str| find_snapshot(&snapshots, start);
        assert_eq!(found("20261123"), Ok(&snapshots[2]));
        assert_eq!(found("20261122T100000Z"), Ok(&snapshots[0]));
        let several = "202611: 3 snapshots begin with this: 20261122T100000Z, 20261122T100000Z-1, 20261123T100000Z (write more of the name)";
        assert_eq!(found("202611"), Err(NoSnapshot::Ambiguous(several.into())));
        let none =
            "r9: no snapshot begins with this (stored: 20261122T100000Z to 20261123T100000Z)";
        assert_eq!(found("r9"), Err(NoSnapshot::None(none.into())));
    }

    #[test]
    fn times() {
        for text in
            ["90m", "12h", "7d", "1d12h", "2026-11-22", "2026-11-22T10:00", "2026-11-22T10:00:00Z"]
        {
            assert!(since(text).is_ok(), "{text}");
        }
        for text in ["yesterday", "yesterday 14:05", "last tue", "14:05", "2026-11-22 10:00"] {
            assert!(since(text).is_ok(), "{text}");
        }
        for text in ["", "7", "d", "7x", "tomorrow", "-", "é"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
