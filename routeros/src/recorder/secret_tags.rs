//! Finds lines whose secrets changed, although with `encrypt_to` no configuration in clear has secrets: a tag of each line with
//! a secret is compared. The tags of this process are hashes that only it knows. Those in `secrets.json`, for the first
//! export after a restart, have [`BITS`] bits: they confirm no guess, see docs/dev/routeros.md.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    io,
};

use ring::{
    hmac::{self, HMAC_SHA256},
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};

use super::{Recorder, lock};
use crate::{
    archive::Archive,
    config::RouterName,
    config_export::{Completed, Export},
    diff::Difference,
    mask::mask,
};

/// Of a tag in the archive: of so many guesses one is right by chance, and so is one of so many changes missed that are made
/// while the program does not run.
const BITS: u32 = 12;
/// Stands before the tag at the end of a line.
const MARK: char = '\u{1}';

/// For each line as it is compared, with *** in place of secrets, the tags of these secrets: more than one if several lines
/// differ in secrets only.
type Tags = BTreeMap<String, Vec<u64>>;

/// The content of `secrets.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTags {
    /// Random, of this router.
    key: [u8; 32],
    lines: Tags,
}

impl StoredTags {
    fn new() -> io::Result<StoredTags> {
        let mut key = [0; 32];
        let filled = SystemRandom::new().fill(&mut key);
        filled.map_err(|_| io::Error::other("no random numbers"))?;
        Ok(StoredTags { key, lines: Tags::new() })
    }

    fn tag(&self, line: &str) -> u64 {
        let key = hmac::Key::new(HMAC_SHA256, &self.key);
        let tag = hmac::sign(&key, line.as_bytes());
        let [first, second, ..] = tag.as_ref() else { return 0 };
        u64::from(u16::from_be_bytes([*first, *second]) >> (16 - BITS))
    }
}

/// The tags of the bases of all routers that this process recorded.
#[derive(Default)]
pub struct SecretTags {
    hasher: RandomState,
    routers: BTreeMap<RouterName, Tags>,
}

/// The tags of an export, and which of them differ from those of the base.
pub struct NewTags {
    exact: Tags,
    stored: StoredTags,
    known: Option<StoredTags>,
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

fn tags(lines: &[(String, &str)], tag: impl Fn(&str) -> u64) -> Tags {
    let mut tags = Tags::new();
    for (masked, line) in lines {
        tags.entry(masked.clone()).or_default().push(tag(line));
    }
    tags
}

impl Recorder {
    /// Compares the secrets of an export with those of the base. `clear` is the export with its secrets.
    pub fn secret_tags(
        &self,
        router: &RouterName,
        clear: &Export,
        masked: &Export,
        completed: &Completed,
    ) -> io::Result<NewTags> {
        let lines = secret_lines(&masked.lines, &clear.lines);
        let known = self.archive(router).secret_tags()?;
        let mut stored = known.clone().map_or_else(StoredTags::new, Ok)?;
        stored.lines = tags(&lines, |line| stored.tag(line));
        let mut memory = lock(&self.secret_tags);
        let mut exact = tags(&lines, |line| memory.hasher.hash_one(line));
        let of_base = memory.routers.entry(router.clone()).or_default();
        let mut changed = BTreeMap::new();
        for line in stored.lines.keys() {
            let on_disk = || Some((known.as_ref()?.lines.get(line)?, &stored.lines[line]));
            let Some((old, new)) =
                of_base.get(line).map(|old| (old, &exact[line])).or_else(on_disk)
            else {
                continue; // a new line, or one whose secret no earlier export showed
            };
            if old != new {
                changed.insert(line.clone(), (old.clone(), new.clone()));
            }
        }
        changed.retain(|line, (old, _)| count(&completed.base, line) == old.len());
        // Lines of sections that failed are those of the base.
        for line in &completed.export.lines {
            if let Some(tags) = of_base.get(line).filter(|_| !exact.contains_key(line)) {
                exact.insert(line.clone(), tags.clone());
            }
            let tags = known.as_ref().and_then(|known| known.lines.get(line));
            if let Some(tags) = tags.filter(|_| !stored.lines.contains_key(line)) {
                stored.lines.insert(line.clone(), tags.clone());
            }
        }
        Ok(NewTags { exact, stored, known, changed })
    }

    /// Stores the tags of what is the base now. A failure is reported: the next export stores them again.
    pub fn set_secret_tags(&self, router: &RouterName, new: NewTags) {
        lock(&self.secret_tags).routers.insert(router.clone(), new.exact);
        if new.known.as_ref() != Some(&new.stored) {
            let stored = self.archive(router).set_secret_tags(&new.stored);
            self.journal.report(router, "secrets.json", stored);
        }
    }

    /// Stores the tags of a base that had its secrets in clear until now.
    pub fn set_first_secret_tags(
        archive: &Archive,
        clear: &Export,
        masked: &Export,
    ) -> io::Result<()> {
        let mut stored = StoredTags::new()?;
        stored.lines = tags(&secret_lines(&masked.lines, &clear.lines), |line| stored.tag(line));
        archive.set_secret_tags(&stored)
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
    fn tags_of_the_archive_are_short_and_depend_on_its_key() {
        let (one, other) = (StoredTags::new().unwrap(), StoredTags::new().unwrap());
        let lines: Vec<_> = (0..100).map(|n| format!("/user add password={n}")).collect();
        let all = |tags: &StoredTags| lines.iter().map(|line| tags.tag(line)).collect::<Vec<_>>();
        assert!(all(&one).iter().all(|tag| *tag < 1 << BITS) && all(&one) == all(&one));
        assert_ne!(all(&one), all(&other));
    }

    #[test]
    fn lines_with_tags() {
        let line = "/ppp secret add password=***".to_owned();
        let changed = [(line.clone(), (vec![1, 2], vec![1, 3]))].into();
        let stored = StoredTags::new().unwrap();
        let new = NewTags { exact: Tags::new(), stored, known: None, changed };
        let lines = [line.clone(), "/x add é".into(), line.clone()];
        let (old, new_lines) = new.tagged(&lines, &lines);
        let difference = untagged_difference(Difference::between(&old, &new_lines, None));
        let text = format!("@@ -1,3 +1,3 @@\n {line}\n /x add é\n-{line}\n+{line}\n");
        assert_eq!((difference.text, difference.added, difference.removed), (text, 1, 1));
        assert_eq!(new.changed(), 1);
        assert_eq!(["", "é", &*lines[1]].map(untagged), ["", "é", &*lines[1]]);
    }
}
