//! Facts about a router beyond its export: version, model and serial number, firmware, licence, packages, users, groups,
//! SSH keys, certificates, and the newest entries of `/system history`. Nothing here does I/O.
//!
//! Only what an administrator changes is a fact: no counter, no time of the last login, no remaining days. A section that
//! the router does not print, for lack of a right or in its version, stays as it was.

mod answers;
mod history;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    answers::COMMANDS,
    history::{HistoryEntry, claims as history_claims, parse as parse_history},
};
use crate::lossless::lossless;

/// The command whose entries name the users of changes that the log does not.
pub const HISTORY: &str = "/system history print detail";

/// Entries of a section, and bytes of a name or value, at most.
const MAX_ENTRIES: usize = 1_000;
const MAX_TEXT: usize = 500;

/// Names and values of one kind: `ops`, `group=full`.
pub type Section = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub sections: BTreeMap<String, Section>,
    /// The newest entries of `/system history`, to find later ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
}

impl Facts {
    /// What the header of an export says: version, software id, model, serial number.
    pub fn of_header(export: &[u8]) -> Facts {
        let text = lossless(&export[..export.len().min(2_000)]);
        let mut facts = Facts::default();
        let header = text.lines().map(str::trim).take_while(|line| line.starts_with('#')).take(10);
        for line in header {
            let line = line.trim_start_matches('#').trim();
            let found = match line.split_once(" by RouterOS ") {
                Some((_, version)) => Some(("version", version)),
                None => line.split_once(" = "),
            };
            match found {
                Some((name, value))
                    if ["version", "software id", "model", "serial number"].contains(&name) =>
                {
                    facts.add("system", name, value.trim());
                }
                _ => {}
            }
        }
        facts
    }

    /// Adds a section that the router printed, which may be empty.
    pub fn add_section(&mut self, section: &str, values: Section) {
        let all = self.sections.entry(section.into()).or_default();
        for (name, value) in values {
            if all.len() < MAX_ENTRIES {
                all.insert(cut(&name), cut(&value));
            }
        }
    }

    fn add(&mut self, section: &str, name: &str, value: &str) {
        self.add_section(section, Section::from([(name.into(), value.into())]));
    }

    /// Takes over what `newer` has.
    pub fn update(&mut self, newer: Facts) {
        self.sections.extend(newer.sections);
        if !newer.history.is_empty() {
            self.history = newer.history;
        }
    }

    /// The differences of `newer`, one line each, by section. A section that only one of both has is not compared.
    pub fn differences(&self, newer: &Facts) -> BTreeMap<String, Vec<String>> {
        let mut differences = BTreeMap::new();
        for (section, new) in &newer.sections {
            let Some(old) = self.sections.get(section) else { continue };
            let mut lines = Vec::new();
            for (name, value) in new {
                match old.get(name) {
                    Some(before) if before == value => {}
                    Some(before) => lines.push(format!("{section} {name}: {before} -> {value}")),
                    None => lines.push(format!("{section} {name} added: {value}")),
                }
            }
            let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
            lines.extend(gone.map(|(name, value)| format!("{section} {name} removed: {value}")));
            if !lines.is_empty() {
                differences.insert(section.clone(), lines);
            }
        }
        differences
    }

    /// A line for each fact, without the history.
    pub fn lines(&self) -> Vec<String> {
        let sections = self.sections.iter();
        let lines = sections.flat_map(|(section, values)| {
            values.iter().map(move |(name, value)| format!("{section} {name}: {value}"))
        });
        lines.collect()
    }
}

/// The text within [`MAX_TEXT`].
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "facts/tests.rs"]
mod tests;
