//! The tables of a configuration, before they become a [`Config`]: those of the file and of its directory `include`. A
//! router gets each key that it does not have from its group, and then from `[defaults]`, so that all three have the keys of
//! [`Router`]. Places in all files are counted through, so that an error names the file and the line that the value stands in.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer, Error, ValueDeserializer},
};

use super::{Config, Router, words};
use crate::{mask::without_private_keys, start_access};

/// Files of the directory, at most.
const MAX_FILES: usize = 1_000;
/// A router has one of these. The one that stands nearest to it replaces the others.
const LOGINS: [&str; 3] = ["password_file", "key_file", "agent"];
/// Keys that only a router has.
pub const OF_ROUTER: [&str; 3] = ["name", "address", "group"];

/// Keys that an empty text unsets, so that the router does not have that of its group or of the defaults.
const UNSET: [&str; 4] = ["via", "source", "mail_to", "passphrase_file"];

/// The text of a file.
pub struct Source {
    /// Its path in messages; empty: none.
    path: PathBuf,
    text: String,
    /// The place of its first byte, counted through all files.
    start: usize,
}

/// Why a configuration is refused, and the place of it.
pub struct Fault {
    at: Option<usize>,
    why: String,
}

type Table<'a> = Spanned<DeTable<'a>>;

impl Fault {
    fn at(span: Range<usize>, why: impl Into<String>) -> Fault {
        Fault { at: Some(span.start), why: why.into() }
    }

    fn of(error: &Error, otherwise: usize) -> Fault {
        let at = error.span().map_or(otherwise, |span| span.start);
        Fault { at: Some(at), why: error.message().into() }
    }

    /// With the file and the line.
    pub fn explain(self, sources: &[Source]) -> String {
        let of_place = |at| sources.iter().rfind(|source| source.start <= at);
        let source = self.at.map_or(sources.first(), of_place);
        let Some(Source { path, text, start }) = source else {
            return without_private_keys(&self.why);
        };
        let line = self.at.map_or(String::new(), |at| {
            let before = &text.as_bytes()[..(at - start).min(text.len())];
            format!("line {}: ", before.iter().filter(|byte| **byte == b'\n').count() + 1)
        });
        let why = words::plain(&self.why, text, self.at.map(|at| (at - start).min(text.len())));
        let why = without_private_keys(&why);
        match path.as_os_str().is_empty() {
            true => format!("{line}{why}"),
            false => format!("{}: {line}{why}", path.display()),
        }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Fault {
        Fault { at: None, why }
    }
}

/// A text without a file.
pub fn source(text: &str) -> Vec<Source> {
    vec![Source { path: PathBuf::new(), text: text.into(), start: 0 }]
}

/// The text of a file, and those of the files `*.toml` in the directory that its key `include` names, by name.
pub fn sources(
    path: &Path,
    text: String,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Vec<Source>, String> {
    let include = DeTable::parse(&text)
        .ok()
        .and_then(|table| Some(PathBuf::from(table.get_ref().get("include")?.get_ref().as_str()?)));
    let mut start = text.len() + 1;
    let mut sources = vec![Source { path: path.into(), text, start: 0 }];
    let Some(include) = include else { return Ok(sources) };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    for path in files_of_include(&absolute.parent().unwrap_or(Path::new("/")).join(include))? {
        let text = read(&path)
            .map_err(|error| format!("read {}: {}", path.display(), aw_service::cause(&error)))?;
        let length = text.len() + 1;
        sources.push(Source { path, text, start });
        start += length;
    }
    Ok(sources)
}

/// The files of `include`.
pub fn files_of_include(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = directory.display();
    let failure = |error: std::io::Error| {
        let cause = start_access::denied_path(directory, &error);
        let missing = match error.kind() {
            io::ErrorKind::NotFound => " (create the directory, or take out the key include)",
            _ => "",
        };
        let cause = cause.unwrap_or_else(|| aw_service::cause(&error));
        format!("read include {shown}: {cause}{missing}")
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failure)? {
        let path = entry.map_err(failure)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if path.extension().is_some_and(|end| end == "toml") && !is_hidden {
            paths.push(path);
        }
    }
    if paths.len() > MAX_FILES {
        return Err(format!("include {shown}: more than {MAX_FILES} files *.toml (join some)"));
    }
    paths.sort();
    Ok(paths)
}

/// The configuration, unchecked, and the place of each router.
pub fn merge(sources: &[Source]) -> Result<(Config, Vec<usize>), Fault> {
    let (mut root, mut defaults, mut groups, mut routers) =
        (DeTable::new(), None, BTreeMap::new(), Vec::new());
    for (number, Source { text, start, .. }) in sources.iter().enumerate() {
        let parsed = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            Fault { at: Some(start + at), why: error.message().into() }
        })?;
        let mut tables = moved_table(parsed, *start).into_inner();
        for (name, group) in
            tables.remove("group").map(table).transpose()?.into_iter().flat_map(Spanned::into_inner)
        {
            let (at, name) = (name.span(), name.into_inner().into_owned());
            let group = template(group)?;
            if groups.insert(name.clone(), group).is_some() {
                return Err(Fault::at(at, format!("group {name}: the name is used twice")));
            }
        }
        if let Some(list) = tables.remove("router") {
            let at = list.span();
            let DeValue::Array(list) = list.into_inner() else {
                return Err(Fault::at(at, "router: must be tables (write [[router]])"));
            };
            for router in list {
                routers.push(table(router)?);
            }
        }
        if number == 0 {
            defaults = tables.remove("defaults").map(template).transpose()?;
            root = tables;
        } else if let Some((key, _)) = tables.into_iter().next() {
            let why = format!(
                "unknown table or key `{}`: a file of include has [[router]] and [group.NAME] (the rest stands in {})",
                key.get_ref(),
                sources[0].path.display()
            );
            return Err(Fault::at(key.span(), why));
        }
    }
    let root = Deserializer::from(Spanned::new(0..0, root));
    let mut config = Config::deserialize(root).map_err(|error| match error.span() {
        Some(span) if span.end > 0 => Fault::of(&error, 0),
        _ => Fault::from(error.message().to_owned()),
    })?;
    config.groups = groups.keys().cloned().collect();
    let mut places = Vec::new();
    for mut router in routers {
        let at = router.span();
        if let Some(group) = router.get_ref().get("group")
            && let Some(name) = group.get_ref().as_str()
        {
            let Some(group) = groups.get(name) else {
                return Err(Fault::at(group.span(), unknown_group(name, groups.keys())));
            };
            inherit(router.get_mut(), group.get_ref());
        }
        if let Some(defaults) = &defaults {
            inherit(router.get_mut(), defaults.get_ref());
        }
        config.routers.push(router_of(router)?);
        places.push(at.start);
    }
    Ok((config, places))
}

/// The message that a group does not exist.
pub fn unknown_group<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<_> = known.map(String::as_str).collect();
    let known = match known.as_slice() {
        [] => format!("there are no groups: add [group.{name}] with the keys of its routers"),
        known => format!("there are: {}", known.join(", ")),
    };
    format!("group {name:?}: there is no [group.{name}] ({known})")
}

impl Config {
    /// A fault of a router, at its place.
    pub(super) fn fault_of(&self, number: usize, places: &[usize], why: &str) -> Fault {
        let name = &self.routers[number].name;
        Fault { at: places.get(number).copied(), why: format!("router {name}: {why}") }
    }
}

fn router_of(mut table: Table) -> Result<Router, Fault> {
    for key in UNSET {
        let value = table.get_ref().get(key).map(Spanned::get_ref);
        if matches!(value, Some(DeValue::String(text)) if text.is_empty()) {
            table.get_mut().remove(key);
        }
    }
    let (at, value) = (table.span(), DeValue::Table(table.into_inner()));
    Router::deserialize(ValueDeserializer::from(Spanned::new(at.clone(), value)))
        .map_err(|error| Fault::of(&error, at.start))
}

fn table(value: Spanned<DeValue>) -> Result<Table, Fault> {
    let at = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Ok(Spanned::new(at, table)),
        other => Err(Fault::at(at, format!("must be a table, not {}", other.type_str()))),
    }
}

/// `[defaults]` or a group: it must be valid in a router that has the keys which it lacks.
fn template(value: Spanned<DeValue>) -> Result<Table, Fault> {
    let template = table(value)?;
    for key in OF_ROUTER {
        if let Some((found, _)) = template.get_ref().get_key_value(key) {
            return Err(Fault::at(found.span(), format!("{key}: only a [[router]] has it")));
        }
    }
    let mut router = template.clone();
    for key in ["name", "address", "user"] {
        let value = Spanned::new(0..0, DeValue::String(Cow::Borrowed("x")));
        let absent = !router.get_ref().contains_key(key);
        absent.then(|| router.get_mut().insert(Spanned::new(0..0, Cow::Borrowed(key)), value));
    }
    router_of(router)?;
    Ok(template)
}

/// Adds the keys that a router does not have.
fn inherit<'a>(router: &mut DeTable<'a>, template: &DeTable<'a>) {
    let has_login = LOGINS.iter().any(|key| router.contains_key(*key));
    for (key, value) in template {
        let name = key.get_ref().as_ref();
        let of_login = LOGINS.contains(&name) || name == "passphrase_file";
        if !(has_login && of_login || router.contains_key(name)) {
            router.insert(key.clone(), value.clone());
        }
    }
}

/// The table with its places counted from `by`.
fn moved_table(table: Table, by: usize) -> Table {
    let moved = |span: Range<usize>| span.start + by..span.end + by;
    let span = moved(table.span());
    let entries = table.into_inner().into_iter().map(|(key, value)| {
        (Spanned::new(moved(key.span()), key.into_inner()), moved_value(value, by))
    });
    Spanned::new(span, entries.collect())
}

fn moved_value(value: Spanned<DeValue>, by: usize) -> Spanned<DeValue> {
    let span = value.span();
    let span = span.start + by..span.end + by;
    let value = match value.into_inner() {
        DeValue::Table(table) => {
            DeValue::Table(moved_table(Spanned::new(0..0, table), by).into_inner())
        }
        DeValue::Array(values) => {
            DeValue::Array(values.into_iter().map(|value| moved_value(value, by)).collect())
        }
        value => value,
    };
    Spanned::new(span, value)
}

#[cfg(test)]
#[path = "tables/tests.rs"]
mod tests;
