//! Parses an export into comparable lines and checks that it is complete. RouterOS writes no mark at the end of an
//! export and exits with status 0 even if it failed, so each sign of a cut is checked before an export becomes the base
//! of later diffs.

mod lines;
mod loss;
mod sections;

use std::{collections::BTreeSet, fmt};

use aw_service::plain;

use self::lines::{Kind, Quotes, is_foreign_start, kind, wrapped};
pub use self::{
    loss::{Loss, confirms},
    sections::{Completed, complete, difference as recovered, touches},
};
use crate::lossless::lossless;

/// A complete export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The router's version, from the header.
    pub version: String,
    /// Comparable lines: wrapped lines joined, each with its menu, without `#` comments, which depend on the router's
    /// state. (Comments of users are `comment="..."`.)
    pub lines: Vec<String>,
    /// Sections that the router marked as failed.
    pub failed: BTreeSet<String>,
}

/// Why an export is rejected as the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportFault {
    /// The answer is a message, not an export: the router refused the command.
    Refused(String),
    Interrupted,
    /// This line is not configuration.
    Foreign(String),
    CutLine,
    Empty,
    /// Sections failed that did not fail before.
    Failed(BTreeSet<String>),
    /// It is longer than the limit, in bytes.
    TooLarge(usize),
    /// Its lines, each with its menu, are longer than [`MAX_EXPANDED`] together.
    Expanded,
    /// The connection ended before the command did.
    NotClosed,
    /// It lost many lines, or is the first export, and a second export right after it differs.
    Unstable {
        /// Lines of the base (0 if there is none), of the first and of the second export.
        lines: [usize; 3],
    },
}

impl fmt::Display for ExportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportFault::Refused(text) if text.is_empty() => write!(f, "the router sent nothing"),
            ExportFault::Refused(text) => write!(f, "the router answered: {text}"),
            ExportFault::Interrupted => write!(f, "the router interrupted the export"),
            ExportFault::Foreign(line) => {
                write!(f, "the export has a line that is not configuration: {line}")
            }
            ExportFault::CutLine => write!(f, "the export ends in the middle of a line"),
            ExportFault::Empty => write!(f, "the export has a header but no configuration"),
            ExportFault::Failed(sections) => {
                write!(f, "the router failed to export {}", list(sections))
            }
            ExportFault::TooLarge(limit) => write!(f, "the export is longer than {limit} bytes"),
            ExportFault::Expanded => write!(
                f,
                "the lines of the export, each with its menu, need more than {MAX_EXPANDED} bytes"
            ),
            ExportFault::NotClosed => write!(f, "the connection ended during the export"),
            ExportFault::Unstable { lines: [0, ..] } => {
                write!(f, "the first two exports in a row differ")
            }
            ExportFault::Unstable { lines: [base, first, second] } => write!(
                f,
                "the export has {first} of {base} lines, and a second export right after it has {second}"
            ),
        }
    }
}

/// Bytes that all lines may have with their menus, and what each line takes beside its text: a menu of some hundred
/// kilobytes before many short lines would fill the memory. More than twice the longest answer; an export with `terse`
/// has its menus already.
const MAX_EXPANDED: usize = 40 << 20;
const LINE_COST: usize = 64;
/// Bytes of the name of a section that failed, and of a version: both are stored in the state of the router.
const MAX_NAME: usize = 200;

const HEADER: &str = " by RouterOS ";
const ERROR: &str = "#error exporting ";
const INTERRUPTED: &str = "#interrupted";

/// At most [`MAX_NAME`] bytes.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME)]
}

/// Sections as a message lists them, ten at most.
pub fn list(sections: &BTreeSet<String>) -> String {
    let shown: Vec<_> = sections.iter().take(10).map(String::as_str).collect();
    let more = match sections.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

impl ExportFault {
    /// The kind of the fault: each is reported once until an export is complete, whatever the details.
    pub fn kind(&self) -> &'static str {
        match self {
            ExportFault::Refused(_) => "refused",
            ExportFault::Interrupted => "interrupted",
            ExportFault::Foreign(_) => "foreign",
            ExportFault::CutLine | ExportFault::Empty | ExportFault::NotClosed => "cut",
            ExportFault::Failed(_) => "sections",
            ExportFault::TooLarge(_) | ExportFault::Expanded => "too large",
            ExportFault::Unstable { .. } => "unstable",
        }
    }
}

/// Parses what a router sent, and checks that it is complete. `known` are the sections that failed in the base: on some
/// machines some sections always fail. Without a base any section may fail.
pub fn validate(bytes: &[u8], known: Option<&BTreeSet<String>>) -> Result<Export, ExportFault> {
    let export = parse(bytes)?;
    let new: BTreeSet<_> = match known {
        Some(known) => export.failed.difference(known).cloned().collect(),
        None => BTreeSet::new(),
    };
    if new.is_empty() { Ok(export) } else { Err(ExportFault::Failed(new)) }
}

/// Parses an export that is in the archive. Earlier releases recorded lines that are not configuration: they are left
/// out.
pub fn parse_stored(bytes: &[u8]) -> Result<Export, ExportFault> {
    parse_lines(bytes, false, |_| {})
}

/// Parses what a router sent, and checks that it is complete but for the sections that it marked as failed.
pub fn parse(bytes: &[u8]) -> Result<Export, ExportFault> {
    parse_lines(bytes, true, |_| {})
}

/// A part of an export.
enum Item<'a> {
    Comment(&'a str),
    /// A comparable line, of which the export now has one more.
    Line,
}

/// Parses an export, and passes the parts in their order. Unless it is strict, foreign lines are left out.
fn parse_lines(
    bytes: &[u8],
    is_strict: bool,
    mut pass: impl FnMut(Item<'_>),
) -> Result<Export, ExportFault> {
    let text = lossless(bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let version = first.strip_prefix('#').and_then(|line| Some(line.split_once(HEADER)?.1));
    let Some(version) = version else {
        return Err(ExportFault::Refused(excerpt(first)));
    };
    if !text.ends_with('\n') {
        return Err(ExportFault::CutLine);
    }
    let mut export =
        Export { version: cut(version.trim()).into(), lines: Vec::new(), failed: BTreeSet::new() };
    let mut menu = String::new();
    // The beginning of a line that continues, because it is wrapped or a string has not ended.
    let (mut whole, mut is_wrapped, mut quotes) = (String::new(), false, Quotes::default());
    let mut left = MAX_EXPANDED;
    let mut take = |bytes: usize| {
        left = left.checked_sub(bytes + LINE_COST).ok_or(ExportFault::Expanded)?;
        Ok::<_, ExportFault>(())
    };
    for line in text.lines() {
        // A comment is never wrapped: it must not hide the next line.
        if whole.is_empty() && !is_wrapped {
            if line.trim_start().starts_with('#') {
                if line.starts_with(INTERRUPTED) {
                    return Err(ExportFault::Interrupted);
                }
                if let Some(section) = line.strip_prefix(ERROR) {
                    take(section.len())?;
                    export.failed.insert(cut(section.trim()).into());
                }
                pass(Item::Comment(line));
                continue;
            }
            if is_foreign_start(line) {
                foreign(line, is_strict)?;
                continue;
            }
        }
        if quotes.is_open() && !is_wrapped {
            whole.push_str("\\n"); // as RouterOS writes a line end in a string
        }
        let part = if is_wrapped { line.trim_start_matches(' ') } else { line };
        let start = wrapped(part);
        is_wrapped = start.is_some();
        quotes.scan(start.unwrap_or(part));
        whole.push_str(start.unwrap_or(part));
        if is_wrapped || quotes.is_open() {
            continue;
        }
        let line = std::mem::take(&mut whole);
        quotes = Quotes::default();
        match kind(&line) {
            Kind::Blank | Kind::Comment => continue,
            Kind::Menu => {
                menu = line;
                continue;
            }
            Kind::Terse => {
                take(line.len())?;
                export.lines.push(line);
            }
            Kind::Command if !menu.is_empty() => {
                take(menu.len() + line.len())?;
                export.lines.push(format!("{menu} {line}"));
            }
            Kind::Command | Kind::Foreign => {
                foreign(&line, is_strict)?;
                continue;
            }
        }
        pass(Item::Line);
    }
    // A wrapped line always continues, and a string ends.
    if is_wrapped || quotes.is_open() {
        return Err(ExportFault::CutLine);
    }
    if export.lines.is_empty() && menu.is_empty() { Err(ExportFault::Empty) } else { Ok(export) }
}

fn foreign(line: &str, is_strict: bool) -> Result<(), ExportFault> {
    match line.trim() {
        _ if !is_strict => Ok(()),
        "interrupted" => Err(ExportFault::Interrupted),
        line => Err(ExportFault::Foreign(excerpt(line))),
    }
}

/// The beginning of a line of a router, for a message.
fn excerpt(line: &str) -> String {
    plain(&line.chars().take(200).collect::<String>())
}

#[cfg(test)]
#[path = "config_export/tests.rs"]
mod tests;
