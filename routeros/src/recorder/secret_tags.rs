//! Finds lines whose secrets changed, although with `encrypt_to` no configuration in clear has secrets: a hash of each line with
//! a secret is compared. The hashes have a key that only this process knows, and none is stored, so the first export after a
//! restart is compared without secrets: see docs/dev/routeros.md.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
};

use super::{Recorder, lock};
use crate::{
    config::RouterName,
    config_export::{Completed, Export},
    diff::Difference,
    mask::mask,
};

/// Stands before the tag at the end of a line.
const MARK: char = '\u{1}';

/// For each line as it is compared, with *** in place of secrets, the tags of these secrets: more than one if several lines
/// differ in secrets only.
type Tags = BTreeMap<String, Vec<u64>>;

/// The tags of the bases of all routers that this process recorded.
#[derive(Default)]
pub struct SecretTags {
    hasher: RandomState,
    routers: BTreeMap<RouterName, Tags>,
}

/// The tags of an export, and which of them differ from those of the base.
pub struct NewTags {
    all: Tags,
    /// Lines with another secret than in the base: the tags there and here.
    changed: BTreeMap<String, (Vec<u64>, Vec<u64>)>,
}

/// Lines with a secret: as they are compared, and as they are.
fn secret_lines<'a>(masked: &'a [String], clear: &'a [String]) -> Vec<(String, &'a str)> {
    let is_aligned = masked.len() == clear.len();
    let of = |at: usize| masked.get(at).filter(|_| is_aligned).cloned();
    let pairs = clear.iter().enumerate();
    let pairs = pairs.map(|(at, line)| (of(at).unwrap_or_else(|| mask(line)), line.as_str()));
    pairs.filter(|(masked, line)| masked != line).collect()
}

impl Recorder {
    /// Compares the secrets of an export with those of the base. `clear` is the export with its secrets.
    pub fn secret_tags(
        &self,
        router: &RouterName,
        clear: &Export,
        masked: &Export,
        completed: &Completed,
    ) -> NewTags {
        let mut memory = lock(&self.secret_tags);
        let mut all = Tags::new();
        for (masked, line) in secret_lines(&masked.lines, &clear.lines) {
            all.entry(masked).or_default().push(memory.hasher.hash_one(line));
        }
        let of_base = memory.routers.entry(router.clone()).or_default();
        let mut changed = BTreeMap::new();
        for (line, new) in &all {
            // Without one: a new line, or one whose secret no earlier export of this process showed.
            let old = of_base.get(line).filter(|old| *old != new);
            if let Some(old) = old.filter(|old| count(&completed.base, line) == old.len()) {
                changed.insert(line.clone(), (old.clone(), new.clone()));
            }
        }
        // Lines of sections that failed are those of the base.
        for line in &completed.export.lines {
            if let Some(tags) = of_base.get(line).filter(|_| !all.contains_key(line)) {
                all.insert(line.clone(), tags.clone());
            }
        }
        NewTags { all, changed }
    }

    /// Remembers the tags of what is the base now.
    pub fn set_secret_tags(&self, router: &RouterName, new: NewTags) {
        lock(&self.secret_tags).routers.insert(router.clone(), new.all);
    }
}

fn count(export: &Export, line: &str) -> usize {
    export.lines.iter().filter(|known| *known == line).count()
}

impl NewTags {
    /// The number of lines that have another secret than in the base.
    pub fn changed(&self) -> u32 {
        let differ = |(old, new): &(Vec<u64>, Vec<u64>)| {
            old.iter().zip(new).filter(|(old, new)| old != new).count()
        };
        u32::try_from(self.changed.values().map(differ).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// The lines of the base and of the export, so that lines differ whose secrets differ: see [`untagged`].
    pub fn tagged(&self, base: &[String], export: &[String]) -> (Vec<String>, Vec<String>) {
        let tagged = |lines: &[String], is_new: bool| {
            let (mut seen, mut all) = (BTreeMap::<&str, usize>::new(), Vec::new());
            for line in lines {
                let tags = self.changed.get(line).map(|(old, new)| if is_new { new } else { old });
                let at = seen.entry(line).or_default();
                let tag = tags.and_then(|tags| tags.get(*at)).copied().unwrap_or_default();
                *at += 1;
                all.push(format!("{line}{MARK}{tag:016x}"));
            }
            all
        };
        (tagged(base, false), tagged(export, true))
    }
}

/// A line without its tag.
pub fn untagged(line: &str) -> &str {
    let tag = line.len().checked_sub(17).and_then(|at| line.split_at_checked(at));
    match tag {
        Some((line, tag)) if tag.starts_with(MARK) => line,
        _ => line,
    }
}

/// The difference of lines with tags, without them.
pub fn untagged_difference(difference: Difference) -> Difference {
    let lines = difference.text.split_inclusive('\n').map(|line| {
        let (text, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        untagged(text).to_owned() + end
    });
    Difference { text: lines.collect(), ..difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_tags() {
        let line = "/ppp secret add password=***".to_owned();
        let changed = [(line.clone(), (vec![1, 2], vec![1, 3]))].into();
        let new = NewTags { all: Tags::new(), changed };
        let lines = [line.clone(), "/x add é".into(), line.clone()];
        let (old, new_lines) = new.tagged(&lines, &lines);
        let difference = untagged_difference(Difference::between(&old, &new_lines, None));
        let text = format!("@@ -1,3 +1,3 @@\n {line}\n /x add é\n-{line}\n+{line}\n");
        assert_eq!((difference.text, difference.added, difference.removed), (text, 1, 1));
        assert_eq!(new.changed(), 1);
        assert_eq!(["", "é", &*lines[1]].map(untagged), ["", "é", &*lines[1]]);
    }
}
