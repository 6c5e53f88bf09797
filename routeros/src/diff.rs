//! The difference between two exports.

use std::time::Instant;

use similar::{Algorithm, ChangeTag, TextDiff};

/// The difference as `diff -u` prints it, without the two lines of file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Hunks, each line with its line end; empty if nothing changed.
    pub text: String,
    pub added: u32,
    pub removed: u32,
}

impl Difference {
    /// Compares two exports. After `deadline` the result is still correct but may not be the shortest difference.
    pub fn between(old: &[String], new: &[String], deadline: Option<Instant>) -> Difference {
        if old == new {
            return Difference::default();
        }
        let (old, new) = (texts(old), texts(new));
        let mut config = TextDiff::configure();
        config.algorithm(Algorithm::Myers);
        if let Some(deadline) = deadline {
            config.deadline(deadline);
        }
        let diff = config.diff_slices(&old, &new);
        let count = |tag| {
            let lines = diff.iter_all_changes().filter(|change| change.tag() == tag).count();
            u32::try_from(lines).unwrap_or(u32::MAX)
        };
        Difference {
            added: count(ChangeTag::Insert),
            removed: count(ChangeTag::Delete),
            text: diff.unified_diff().context_radius(3).to_string(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

fn texts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn unified() {
        let diff = Difference::between(&lines("a b c d e f"), &lines("a b c x e f g"), None);
        assert_eq!(diff.text, "@@ -1,6 +1,7 @@\n a\n b\n c\n-d\n+x\n e\n f\n+g\n");
        assert_eq!((diff.added, diff.removed), (2, 1));
        assert!(Difference::between(&lines("a b"), &lines("a b"), None).is_empty());
    }

    /// Reconstructs one side from the hunks.
    fn side(diff: &Difference, old: &[String], is_new: bool) -> Vec<String> {
        let mut side = Vec::new();
        let mut at = 0;
        for line in diff.text.lines() {
            let (mark, text) = line.split_at(1);
            match mark {
                "@" => {
                    let start =
                        text.split(['-', ',', ' ']).nth(2).unwrap().parse::<usize>().unwrap();
                    let is_empty = text.split(' ').nth(1).unwrap().ends_with(",0");
                    let upto = if is_empty { start } else { start - 1 };
                    side.extend_from_slice(&old[at..upto]);
                    at = upto;
                }
                "+" if is_new => side.push(text.to_owned()),
                "+" => {}
                _ => {
                    assert_eq!(old[at], text);
                    at += 1;
                    if mark == " " || !is_new {
                        side.push(text.to_owned());
                    }
                }
            }
        }
        side.extend_from_slice(&old[at..]);
        side
    }

    /// The size of the largest exports; the benchmark measures the time.
    #[test]
    fn sixty_thousand_lines() {
        let entry = |list: &str, n| format!("/ip firewall address-list add list={list}{n}");
        let old: Vec<String> = (0..60_000).map(|n| entry("l", n)).collect();
        let each = |every: usize| -> Vec<String> {
            (0..60_000).map(|n| entry(if n % every == 0 { "x" } else { "l" }, n)).collect()
        };
        for (every, changed) in [(60_000, 1), (100, 600), (1, 60_000)] {
            let new = each(every);
            let diff = Difference::between(&old, &new, None);
            assert_eq!((diff.added, diff.removed), (changed, changed));
            assert!(side(&diff, &old, true) == new && side(&diff, &old, false) == old, "{every}");
        }
        let moved = [&old[30_000..], &old[..30_000]].concat();
        let diff = Difference::between(&old, &moved, None);
        assert_eq!((diff.added, diff.removed), (30_000, 30_000));
        assert!(side(&diff, &old, true) == moved);
    }

    proptest! {
        /// The difference, applied to the old lines, gives the new ones.
        #[test]
        fn applies(old in "[a-d]( [a-d]){0,30}", new in "[a-d]( [a-d]){0,30}", late in any::<bool>()) {
            let (old, new) = (lines(&old), lines(&new));
            let diff = Difference::between(&old, &new, late.then(Instant::now));
            prop_assert_eq!(side(&diff, &old, true), new.clone());
            prop_assert_eq!(side(&diff, &old, false), old.clone());
            prop_assert_eq!(old.len() + diff.added as usize - diff.removed as usize, new.len());
        }
    }
}
