//! `log`, `diff` and `show`: what the archive holds.

use std::path::Path;

use aw_service::{Error, failed};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;

use crate::{
    archive::{Archive, State},
    change::Change,
    config::{Config, Name},
    diff::Difference,
    export::judge,
    mask::mask,
    terminal::{print, table},
};

/// How to print.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum Format {
    /// For people
    Table,
    /// One JSON object a line
    Json,
}

/// Options of `log`.
#[derive(Args, Debug)]
pub struct LogOptions {
    /// Only of this router
    router: Option<String>,
    /// Only changes credited to USER
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only since then: 2026-11-22, 2026-11-22T10:00, 90m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show secrets
    #[arg(long)]
    secrets: bool,
}

/// Options of `diff`.
#[derive(Args, Debug)]
pub struct DiffOptions {
    /// The router
    router: String,
    /// From this snapshot, by the beginning of its name, as log shows it
    #[arg(value_name = "A")]
    from: Option<String>,
    /// To this one [default: the newest]
    #[arg(value_name = "B")]
    to: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show secrets
    #[arg(long)]
    secrets: bool,
}

/// Options of `show`.
#[derive(Args, Debug)]
pub struct ShowOptions {
    /// Print this router's configuration
    router: Option<String>,
    /// That of a snapshot, by the beginning of its name
    snapshot: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show secrets
    #[arg(long)]
    secrets: bool,
}

/// What changed.
pub fn log(path: &Path, options: &LogOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let mut changes: Vec<Change> = Vec::new();
    for name in chosen(&config, options.router.as_deref())? {
        changes.extend(read(&name, Archive::of(&config.archive, &name).changes())?);
    }
    changes.retain(|change| {
        options.since.is_none_or(|since| change.time >= since)
            && options.user.as_ref().is_none_or(|user| change.users.contains(user))
    });
    changes.sort_by_key(|change| change.time);
    if options.format == Format::Json {
        return print(
            &changes.iter().map(|change| json(change, options.secrets)).collect::<String>(),
        );
    }
    let mut rows = vec![row(&["TIME", "ROUTER", "USER", "LINES", "SNAPSHOT", "LOG"])];
    for change in &changes {
        let said = change.claims.iter().chain(&change.candidates).next_back();
        let said = said.map_or("", |claim| claim.message.as_str());
        let said = if options.secrets { said.to_owned() } else { mask(said) };
        let lines = format!("+{} -{}", change.added, change.removed);
        let snapshot = change.snapshot.trim_end_matches(".rsc").to_owned();
        let (time, router) = (local(change.time), change.router.clone());
        rows.push(vec![time, router, change.who(), lines, snapshot, said]);
    }
    print(&table(&rows))
}

/// The last change, or the difference between two snapshots.
pub fn diff(path: &Path, options: &DiffOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let [name] =
        chosen(&config, Some(&options.router))?.try_into().unwrap_or_else(|_| unreachable!());
    let archive = Archive::of(&config.archive, &name);
    let Some(from) = &options.from else {
        let changes = read(&name, archive.changes())?;
        let last =
            changes.last().ok_or_else(|| failed(format_args!("{name}: nothing changed yet")))?;
        return print(&match options.format {
            Format::Table => last.text(&local(last.time), options.secrets),
            Format::Json => json(last, options.secrets),
        });
    };
    let lines = |snapshot: &str| {
        let bytes = read(&name, archive.snapshot(snapshot))?;
        let export =
            judge(&bytes, None).map_err(|unfit| failed(format_args!("{snapshot}: {unfit}")))?;
        Ok::<_, Error>(export.lines)
    };
    let snapshots = read(&name, archive.snapshots())?;
    let from = find(&snapshots, from)?;
    let to = match &options.to {
        Some(to) => find(&snapshots, to)?,
        None => snapshots.last().ok_or_else(|| failed(format_args!("{name}: no snapshots")))?,
    };
    let difference = Difference::between(&lines(from)?, &lines(to)?, None);
    if options.format == Format::Json {
        let Difference { text, added, removed } = &difference;
        let between = Between {
            router: name.as_str(),
            before: from,
            snapshot: to,
            added: *added,
            removed: *removed,
            diff: text,
        };
        return print(&json(&between, options.secrets));
    }
    let text = format!("--- {from}\n+++ {to}\n{}", difference.text);
    print(&if options.secrets { text } else { mask(&text) })
}

/// The routers and how they are, or a configuration.
pub fn show(path: &Path, options: &ShowOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    if let Some(router) = &options.router {
        let [name] = chosen(&config, Some(router))?.try_into().unwrap_or_else(|_| unreachable!());
        let archive = Archive::of(&config.archive, &name);
        let bytes = match &options.snapshot {
            Some(start) => {
                let snapshots = read(&name, archive.snapshots())?;
                read(&name, archive.snapshot(find(&snapshots, start)?))?
            }
            None => read(&name, archive.base())?
                .ok_or_else(|| failed(format_args!("{name}: no configuration is stored yet")))?,
        };
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        if options.format == Format::Json {
            let line = Configuration { router: name.as_str(), configuration: &text };
            return print(&json(&line, options.secrets));
        }
        return print(&if options.secrets { text } else { mask(&text) });
    }
    let mut rows = vec![row(&[
        "ROUTER", "ADDRESS", "STATUS", "SINCE", "EXPORTED", "CHANGED", "VERSION", "LINES", "WHY",
    ])];
    for router in &config.routers {
        let state = read(&router.name, Archive::of(&config.archive, &router.name).state())?;
        let time = |time: Option<Timestamp>| time.map_or("-".into(), local);
        if options.format == Format::Json {
            let line = Shown {
                name: router.name.as_str(),
                address: router.address.to_string(),
                state: &state,
            };
            print(&json(&line, options.secrets))?;
            continue;
        }
        let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        rows.push(vec![
            router.name.to_string(),
            router.address.to_string(),
            text(&state.status),
            time(state.since),
            time(state.exported),
            time(state.changed),
            text(&state.version),
            state.lines.to_string(),
            state.why.clone(),
        ]);
    }
    if options.format == Format::Json { Ok(()) } else { print(&table(&rows)) }
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    address: String,
    #[serde(flatten)]
    state: &'a State,
}

/// Named as in a change.
#[derive(Serialize)]
struct Between<'a> {
    router: &'a str,
    before: &'a str,
    snapshot: &'a str,
    added: u32,
    removed: u32,
    diff: &'a str,
}

#[derive(Serialize)]
struct Configuration<'a> {
    router: &'a str,
    configuration: &'a str,
}

/// The router of this name, or all.
fn chosen(config: &Config, name: Option<&str>) -> Result<Vec<Name>, Error> {
    let all = config.routers.iter().map(|router| router.name.clone());
    let Some(name) = name else { return Ok(all.collect()) };
    let found: Vec<_> = all.filter(|router| router.as_str() == name).collect();
    match found.len() {
        1 => Ok(found),
        _ => Err(failed(format_args!("{name}: no router of this name in the configuration"))),
    }
}

/// The one snapshot whose name begins so.
fn find<'a>(snapshots: &'a [String], start: &str) -> Result<&'a String, Error> {
    let mut found = snapshots.iter().filter(|name| name.starts_with(start));
    match (found.next(), found.next()) {
        (Some(name), None) => Ok(name),
        (Some(name), Some(_)) if name.trim_end_matches(".rsc") == start => Ok(name),
        (Some(_), Some(_)) => Err(failed(format_args!("{start}: several snapshots begin so"))),
        (None, _) => {
            let there_are = match (snapshots.first(), snapshots.last()) {
                (Some(first), Some(last)) => format!("they are {first} to {last}"),
                _ => "there are none".into(),
            };
            Err(failed(format_args!("{start}: no snapshot begins so ({there_are})")))
        }
    }
}

fn read<T>(name: &Name, result: std::io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error::io(format_args!("read the archive of {name}"), error))
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// A line of JSON; every text in it masked, unless secrets are to be shown.
fn json(value: &impl Serialize, secrets: bool) -> String {
    fn masked(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = mask(text),
            serde_json::Value::Array(values) => values.iter_mut().for_each(masked),
            serde_json::Value::Object(values) => values.values_mut().for_each(masked),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(value).unwrap_or_default();
    if !secrets {
        masked(&mut value);
    }
    format!("{value}\n")
}

fn local(time: Timestamp) -> String {
    Zoned::new(time, TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time, or how long ago it was.
fn since(text: &str) -> Result<Timestamp, String> {
    let fault = || format!("{text:?}: a time such as 2026-11-22, 2026-11-22T10:00, 90m, 12h or 7d");
    if let Some((number, unit)) = text.split_at_checked(text.len().saturating_sub(1))
        && let Ok(number) = number.parse::<i64>()
    {
        let seconds = match unit {
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(fault()),
        };
        let ago = SignedDuration::from_secs(number.saturating_mul(seconds));
        return Timestamp::now().checked_sub(ago).map_err(|_| fault());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let time = text.parse::<jiff::civil::DateTime>().map_err(|_| fault())?;
    time.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp()).map_err(|_| fault())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for text in ["90m", "12h", "7d", "2026-11-22", "2026-11-22T10:00", "2026-11-22T10:00:00Z"] {
            assert!(since(text).is_ok(), "{text}");
        }
        for text in ["", "7", "d", "7x", "yesterday", "-", "é"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
