//! `report`: who changed what where in a time, as text, JSON or a page.

mod html;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use aw_service::{Error, count_of};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{configured, find_router, local, read, since};
use crate::{
    access::read_config,
    archive::Archive,
    change::Change,
    mask::mask,
    reported_change::ReportedChange,
    terminal::{print, table},
};

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub enum ReportFormat {
    /// Tables
    Text,
    /// One JSON object
    Json,
    /// A page that needs no other file
    Html,
}

#[derive(Args, Debug)]
pub struct ReportOptions {
    /// Only changes of this router
    router: Option<String>,
    /// Changes since TIME: a time or a time span as of log [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Output format
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// Print secrets instead of ***
    #[arg(long)]
    secrets: bool,
}

/// The report. Its texts have no secrets, unless they are requested.
#[derive(Debug, Serialize)]
struct Report {
    since: Timestamp,
    until: Timestamp,
    /// The number of routers that were searched.
    routers: usize,
    users: BTreeMap<String, OfUser>,
    changes: Vec<ReportedChange>,
}

/// What a user was credited with.
#[derive(Debug, Default, Serialize)]
struct OfUser {
    changes: usize,
    lines_added: u64,
    lines_removed: u64,
    routers: BTreeSet<String>,
}

pub fn report(path: &Path, options: &ReportOptions) -> Result<(), Error> {
    let config = read_config(path)?;
    let until = Timestamp::now();
    let week = || until.checked_sub(SignedDuration::from_hours(7 * 24)).unwrap_or(until);
    let since = options.since.unwrap_or_else(week);
    let names = match &options.router {
        Some(name) => vec![find_router(&config, name)?],
        None => configured(&config),
    };
    let mut report =
        Report { since, until, routers: names.len(), users: BTreeMap::new(), changes: Vec::new() };
    for name in &names {
        let archive = Archive::of(&config.archive, name);
        let noted = read(name, archive.noted())?;
        for change in read(name, archive.changes())?.iter().chain(&noted) {
            if change.time >= since {
                report.add(change, options.secrets);
            }
        }
    }
    report.changes.sort_by_key(|change| change.time);
    print(&match options.format {
        ReportFormat::Text => report.text(),
        ReportFormat::Json => serde_json::to_string(&report).unwrap_or_default() + "\n",
        ReportFormat::Html => report.html(),
    })
}

impl Report {
    fn add(&mut self, change: &Change, secrets: bool) {
        let shown = |text: &str| if secrets { text.to_owned() } else { mask(text) };
        for user in &change.users {
            let of_user = self.users.entry(shown(user)).or_default();
            of_user.changes += 1;
            of_user.lines_added += u64::from(change.added);
            of_user.lines_removed += u64::from(change.removed);
            of_user.routers.insert(change.router.clone());
        }
        self.changes.push(ReportedChange::of(change, secrets));
    }

    /// In a few words what it is about.
    fn head(&self) -> String {
        let changed: BTreeSet<_> = self.changes.iter().map(|change| &change.router).collect();
        let of = match self.routers {
            1 => String::new(),
            all => format!(", of {all} that are configured"),
        };
        format!(
            "{} of {}{of}, from {} to {}",
            count_of(self.changes.len() as u64, "change", "changes"),
            count_of(changed.len() as u64, "router", "routers"),
            local(self.since),
            local(self.until)
        )
    }

    fn text(&self) -> String {
        let mut text = self.head() + "\n";
        if self.changes.is_empty() {
            return text;
        }
        let rows = self.users.iter().map(|(user, of_user)| {
            let lines = format!("+{} -{}", of_user.lines_added, of_user.lines_removed);
            vec![user.clone(), of_user.changes.to_string(), lines, some(&of_user.routers)]
        });
        let rows: Vec<_> = rows.collect();
        text += &format!("\n{}", table(&["USER", "CHANGES", "LINES", "ROUTERS"], &rows));
        let rows = self.changes.iter().map(|change| {
            let lines = format!("+{} -{}", change.added, change.removed);
            let snapshot = change.snapshot.trim_end_matches(".rsc").to_owned();
            let (time, who) = (local(change.time), change.who.clone());
            let (snapshot, about) = match change.noted {
                true => ("-".to_owned(), change.log.join("; ")),
                false => (snapshot, change.menus.join(", ")),
            };
            let about = match change.ignored {
                0 => about,
                ignored => format!("({ignored} ignored) {about}"),
            };
            vec![time, change.router.clone(), who, lines, snapshot, about]
        });
        let rows: Vec<_> = rows.collect();
        let head = ["TIME", "ROUTER", "USER", "LINES", "SNAPSHOT", "ABOUT"];
        text + &format!("\n{}", table(&head, &rows))
    }
}

/// The first names of many.
fn some(names: &BTreeSet<String>) -> String {
    let shown = names.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(10) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
