//! Whether an export is whole, and its lines made comparable. RouterOS writes no mark at the end of
//! an export and ends its command with status 0 even if it failed, so everything that can show a
//! cut is looked at before an export becomes the base for later diffs.

use std::{collections::BTreeSet, fmt};

/// An export that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The router's version, from the header.
    pub version: String,
    /// Lines that can be compared: wrapped ones joined, each with its menu, without comments, which
    /// come and go with the router's state. Comments of users are `comment="..."`.
    pub lines: Vec<String>,
    /// Sections that the router failed to export, as it marked them.
    pub failed: BTreeSet<String>,
}

/// Why an export must not become the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is no export but a message: the router refused the command.
    Refused(String),
    /// The router says that it was interrupted.
    Interrupted,
    /// It ends in the middle of a line.
    CutLine,
    /// There is a header and nothing more.
    Empty,
    /// Sections failed now that did not fail before.
    Failed(BTreeSet<String>),
    /// It is longer than what is accepted.
    TooLarge(usize),
    /// The connection ended before the command did.
    NotClosed,
    /// It lost many lines, or is the first one, and a second one, taken at once, has not the same.
    Unstable {
        /// Lines of the base (0: there is none), of the first and of the second export.
        lines: [usize; 3],
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Refused(text) if text.is_empty() => write!(f, "the router sent nothing"),
            Unfit::Refused(text) => write!(f, "the router answered: {text}"),
            Unfit::Interrupted => write!(f, "the router interrupted it"),
            Unfit::CutLine => write!(f, "it ends in the middle of a line"),
            Unfit::Empty => write!(f, "it has a header but no configuration"),
            Unfit::Failed(sections) => {
                let sections: Vec<_> = sections.iter().map(String::as_str).collect();
                write!(f, "the router failed to export {}", sections.join(", "))
            }
            Unfit::TooLarge(limit) => write!(f, "it is longer than {limit} bytes"),
            Unfit::NotClosed => write!(f, "the connection ended in the middle of it"),
            Unfit::Unstable { lines: [0, ..] } => {
                write!(f, "it is the first one, and another one taken at once differs")
            }
            Unfit::Unstable { lines: [base, first, second] } => write!(
                f,
                "of {base} lines it has {first}, and another one taken at once has {second}"
            ),
        }
    }
}

const HEADER: &str = " by RouterOS ";
const ERROR: &str = "#error exporting ";
const INTERRUPTED: &str = "#interrupted";

/// Judges what a router sent. `known` are the sections that failed in the base already: some
/// machines always fail in some. Without a base, what fails is taken as usual.
pub fn judge(bytes: &[u8], known: Option<&BTreeSet<String>>) -> Result<Export, Unfit> {
    let export = read(bytes)?;
    let new: BTreeSet<_> = match known {
        Some(known) => export.failed.difference(known).cloned().collect(),
        None => BTreeSet::new(),
    };
    if new.is_empty() { Ok(export) } else { Err(Unfit::Failed(new)) }
}

fn read(bytes: &[u8]) -> Result<Export, Unfit> {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let version = first.strip_prefix('#').and_then(|line| Some(line.split_once(HEADER)?.1));
    let Some(version) = version else {
        return Err(Unfit::Refused(first.chars().filter(|c| !c.is_control()).take(200).collect()));
    };
    if !text.ends_with('\n') {
        return Err(Unfit::CutLine);
    }
    let mut export =
        Export { version: version.trim().into(), lines: Vec::new(), failed: BTreeSet::new() };
    let mut menu = String::new();
    let (mut whole, mut is_part) = (String::new(), false);
    for line in text.lines() {
        let part = if is_part { line.trim_start_matches(' ') } else { line };
        // A comment is whole: it must not hide the line behind it.
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
            return Err(Unfit::Interrupted);
        } else if let Some(section) = line.strip_prefix(ERROR) {
            export.failed.insert(section.trim().into());
        } else if line.starts_with('/') && !has_verb(&line) {
            menu = line;
        } else if line.starts_with('/') {
            export.lines.push(line);
        } else if !line.starts_with('#') && !line.trim().is_empty() {
            export.lines.push(format!("{menu} {line}").trim_start().to_owned());
        }
    }
    // The router wraps a line only where it goes on.
    if is_part {
        return Err(Unfit::CutLine);
    }
    if export.lines.is_empty() && menu.is_empty() { Err(Unfit::Empty) } else { Ok(export) }
}

/// The line without the backslash that says it goes on: a single one, for those of the text itself
/// are doubled.
fn wrapped(line: &str) -> Option<&str> {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

/// Whether a line beginning with a menu also says what to do there, as `terse` writes it.
fn has_verb(line: &str) -> bool {
    line.split(' ').skip(1).any(|word| matches!(word, "add" | "set" | "remove" | "unset" | "reset"))
}

/// Whether an export has lost so much that it must be taken again to be believed: a cut at the end
/// of a line leaves no other trace.
pub fn has_shrunk(base: usize, now: usize) -> bool {
    base >= 10 && now < base - base / 5
}

#[cfg(test)]
#[path = "export/tests.rs"]
mod tests;
