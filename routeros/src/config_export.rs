//! Parses an export into comparable lines and checks that it is complete. RouterOS writes no mark at the end of an
//! export and exits with status 0 even if it failed, so each sign of a cut is checked before an export becomes the base
//! of later diffs.

use std::{collections::BTreeSet, fmt};

use aw_service::plain;

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
            ExportFault::CutLine => write!(f, "the export ends in the middle of a line"),
            ExportFault::Empty => write!(f, "the export has a header but no configuration"),
            ExportFault::Failed(sections) => {
                let shown: Vec<_> = sections.iter().take(10).map(String::as_str).collect();
                write!(f, "the router failed to export {}", shown.join(", "))?;
                match sections.len() - shown.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
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

const HEADER: &str = " by RouterOS ";
const ERROR: &str = "#error exporting ";
const INTERRUPTED: &str = "#interrupted";

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

fn parse(bytes: &[u8]) -> Result<Export, ExportFault> {
    let text = lossless(bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let version = first.strip_prefix('#').and_then(|line| Some(line.split_once(HEADER)?.1));
    let Some(version) = version else {
        return Err(ExportFault::Refused(plain(&first.chars().take(200).collect::<String>())));
    };
    if !text.ends_with('\n') {
        return Err(ExportFault::CutLine);
    }
    let mut export =
        Export { version: version.trim().into(), lines: Vec::new(), failed: BTreeSet::new() };
    let mut menu = String::new();
    let (mut whole, mut is_part) = (String::new(), false);
    let mut left = MAX_EXPANDED;
    let mut take = |bytes: usize| {
        left = left.checked_sub(bytes + LINE_COST).ok_or(ExportFault::Expanded)?;
        Ok::<_, ExportFault>(())
    };
    for line in text.lines() {
        let part = if is_part { line.trim_start_matches(' ') } else { line };
        // A comment is never wrapped: it must not hide the next line.
        let is_comment = !is_part && line.starts_with('#');
        if let Some(start) = wrapped(part).filter(|_| !is_comment) {
            whole.push_str(start);
            is_part = true;
            continue;
        }
        whole.push_str(part);
        is_part = false;
        let line = std::mem::take(&mut whole);
        if line.starts_with(INTERRUPTED) {
            return Err(ExportFault::Interrupted);
        } else if let Some(section) = line.strip_prefix(ERROR) {
            take(section.len())?;
            export.failed.insert(section.trim().into());
        } else if line.starts_with('/') && !has_verb(&line) {
            menu = line;
        } else if line.starts_with('/') {
            take(line.len())?;
            export.lines.push(line);
        } else if !line.starts_with('#') && !line.trim().is_empty() {
            take(menu.len() + line.len())?;
            export.lines.push(format!("{menu} {line}").trim_start().to_owned());
        }
    }
    // A wrapped line always continues.
    if is_part {
        return Err(ExportFault::CutLine);
    }
    if export.lines.is_empty() && menu.is_empty() { Err(ExportFault::Empty) } else { Ok(export) }
}

/// The line without the backslash that marks it as wrapped: an odd one, because backslashes of the text are doubled.
fn wrapped(line: &str) -> Option<&str> {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

/// Whether a line that begins with a menu also has a verb, as `terse` prints it.
fn has_verb(line: &str) -> bool {
    line.split(' ').skip(1).any(|word| matches!(word, "add" | "set" | "remove" | "unset" | "reset"))
}

/// Whether an export lost so many lines that a second export must confirm it: a cut at the end of a line has no other
/// sign.
pub fn has_shrunk(base: usize, now: usize) -> bool {
    base >= 10 && now < base - base / 5
}

#[cfg(test)]
#[path = "config_export/tests.rs"]
mod tests;
