//! Signs that an export is cut at the end of a line, where nothing marks it. Such an export is confirmed by a second one
//! before anybody is credited with a removal.
//!
//! RouterOS drops the end of an export, so a cut one always lacks the last line. A section that is missing without a mark,
//! for example while the router still starts, shows as a menu without lines. A cut anywhere else needs a router that
//! drops single lines from the middle of a menu, of which no report was found: only a loss of a fifth of the lines is
//! confirmed there.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use super::{Export, lines::menu_of};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// So many lines, of so many.
    Lines { now: usize, base: usize },
    /// The last line.
    End,
    /// All lines of a menu.
    Menu(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Lines { now, base } => write!(f, "the export has {now} of {base} lines"),
            Loss::End => write!(f, "the export lacks the last line of the one before"),
            Loss::Menu(menu) => write!(f, "the export has no line of {menu} any more"),
        }
    }
}

impl Loss {
    /// What an export lost of the base that may be a cut.
    pub fn between(base: &Export, now: &Export) -> Option<Loss> {
        if base.lines == now.lines {
            return None;
        }
        if has_shrunk(base.lines.len(), now.lines.len()) {
            return Some(Loss::Lines { now: now.lines.len(), base: base.lines.len() });
        }
        let last = base.lines.last();
        let count =
            |export: &Export| export.lines.iter().filter(|line| Some(*line) == last).count();
        if count(now) < count(base) {
            return Some(Loss::End);
        }
        lost_menus(base, now).into_iter().next().map(Loss::Menu)
    }
}

/// Whether a second export confirms what the first one lost of the base. They need not be equal, because some
/// configurations change all the time: both lack the same lines, or both have the same end and the same menus.
pub fn confirms(base: &Export, first: &Export, second: &Export) -> bool {
    let same_end = first.lines.last() == second.lines.last();
    lost_lines(base, first) == lost_lines(base, second)
        || same_end && lost_menus(base, first) == lost_menus(base, second)
}

/// Whether an export lost so many lines that a second export must confirm it.
fn has_shrunk(base: usize, now: usize) -> bool {
    base >= 10 && now < base - base / 5
}

fn lost_menus(base: &Export, now: &Export) -> BTreeSet<String> {
    let menus = |export: &Export| -> BTreeSet<String> {
        export.lines.iter().map(|line| menu_of(line)).collect()
    };
    menus(base).difference(&menus(now)).cloned().collect()
}

/// The lines of the base that an export lacks, and how many of each.
fn lost_lines<'a>(base: &'a Export, now: &'a Export) -> HashMap<&'a str, i64> {
    let mut lost = HashMap::new();
    base.lines.iter().for_each(|line| *lost.entry(line.as_str()).or_default() += 1);
    now.lines.iter().for_each(|line| *lost.entry(line.as_str()).or_default() -= 1);
    lost.retain(|_, count| *count > 0);
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(lines: &[&str]) -> Export {
        let lines = lines.iter().map(|line| format!("/{line}")).collect();
        Export { version: "7".into(), lines, failed: BTreeSet::new() }
    }

    #[test]
    fn a_loss_of_a_fifth_needs_confirmation() {
        assert!(
            has_shrunk(100, 79)
                && !has_shrunk(100, 80)
                && !has_shrunk(5, 1)
                && !has_shrunk(100, 200)
        );
    }

    /// Every cut at the end of a line is noticed, also behind a change, and small removals elsewhere need no second export.
    #[test]
    fn each_cut_is_a_loss() {
        let all = ["a add x=1", "a add x=2", "b add x=1", "b add x=1", "c add x=1", "c add x=2"];
        let base = export(&all);
        for length in 1..all.len() {
            let mut cut = all[..length].to_vec();
            assert!(Loss::between(&base, &export(&cut)).is_some(), "{cut:?}");
            cut[length - 1] = "a add x=9";
            cut.insert(0, "a add x=0");
            assert!(Loss::between(&base, &export(&cut)).is_some(), "{cut:?}");
        }
        let changes: [&[&str]; 4] = [
            &["a add x=1", "a add x=3", "b add x=1", "b add x=1", "c add x=1", "c add x=2"],
            &["a add x=1", "b add x=1", "b add x=1", "c add x=1", "c add x=2"],
            &["a add x=1", "a add x=2", "b add x=1", "b add x=1", "c add x=2"],
            &["a add x=1", "a add x=2", "b add x=1", "b add x=1", "c add x=2", "c add x=1", "d"],
        ];
        for now in changes {
            assert_eq!(Loss::between(&base, &export(now)), None, "{now:?}");
        }
        let missing = ["a add x=1", "a add x=2", "c add x=1", "c add x=2"];
        assert_eq!(Loss::between(&base, &export(&missing)), Some(Loss::Menu("/b".into())));
        assert_eq!(Loss::between(&base, &base), None);
    }

    #[test]
    fn two_exports_confirm_each_other() {
        let base = export(&["a add x=1", "b set n=1", "c add x=1", "c add x=2"]);
        let first = export(&["a add x=1", "b set n=2", "c add x=1"]);
        assert!(confirms(&base, &first, &first));
        // A counter goes on, and the last line is removed.
        assert!(confirms(&base, &first, &export(&["a add x=1", "b set n=3", "c add x=1"])));
        // Cut at two places.
        assert!(!confirms(&base, &first, &export(&["a add x=1", "b set n=2"])));
        assert!(!confirms(&base, &export(&["a add x=1"]), &first));
    }
}
