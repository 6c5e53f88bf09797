//! Sections that a router fails to export. On a busy router another section runs into its time limit each time, so the
//! rest of the export is used: the lines of a failed section are those of the base.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    Export, Item,
    lines::{ancestors, menu_of, menu_of_section},
    parse_lines,
};

/// An export and the base that it is compared with, so that a failed section makes no difference.
pub struct Completed {
    /// The base, with the sections that it lacks and this export has.
    pub base: Export,
    /// The export, with the sections that it lacks and the base has.
    pub export: Export,
    /// The export as it is stored, if it is not what the router sent.
    pub bytes: Option<Vec<u8>>,
    /// Sections that failed in this export and not in the base.
    pub failed: BTreeSet<String>,
    /// Sections that failed in the base and not in this export: they are exported for the first time.
    pub new: BTreeSet<String>,
}

/// Completes an export, which the router sent as `bytes`, and its base.
pub fn complete(bytes: &[u8], export: Export, base: Export) -> Completed {
    let failed = difference(&export.failed, &base.failed);
    let new = difference(&base.failed, &export.failed);
    if export.failed.is_empty() && new.is_empty() {
        return Completed { base, export, bytes: None, failed, new };
    }
    let adopted = Graft::of(&base, &export, &Sections::new(&new, &BTreeSet::new(), &base));
    let base = Export { lines: adopted.apply(&base.lines), ..base };
    let known = export.failed.difference(&failed).cloned().collect();
    let graft = Graft::of(&export, &base, &Sections::new(&failed, &known, &export));
    let is_as_sent = failed.is_empty() && graft.is_empty();
    let bytes = (!is_as_sent).then(|| graft.stored(bytes, &export, &failed));
    let export = Export { lines: graft.apply(&export.lines), failed: known, ..export };
    Completed { base, export, bytes, failed, new }
}

/// Sections by their menus: the reason of a failure may differ.
pub fn difference(these: &BTreeSet<String>, known: &BTreeSet<String>) -> BTreeSet<String> {
    let known: HashSet<_> = known.iter().map(|section| menu_of_section(section)).collect();
    these.iter().filter(|section| !known.contains(&menu_of_section(section))).cloned().collect()
}

/// Whether a line of a unified diff is in one of these sections or in a submenu of one.
pub fn touches(diff: &str, sections: &BTreeSet<String>) -> bool {
    if sections.is_empty() {
        return false;
    }
    let menus: HashSet<_> = sections.iter().map(|section| menu_of_section(section)).collect();
    diff.lines().filter_map(|line| line.strip_prefix(['+', '-'])).any(|line| {
        let menu = menu_of(line);
        ancestors(&menu).any(|parent| menus.contains(parent))
    })
}

/// The menus whose lines are taken from another export.
struct Sections {
    menus: HashSet<String>,
    /// Menus whose submenus are taken too, if this export has none of their lines.
    parents: HashSet<String>,
    present: HashSet<String>,
}

impl Sections {
    /// `sections` with their submenus, and `alone` without them, for an export that lacks them.
    fn new(sections: &BTreeSet<String>, alone: &BTreeSet<String>, of: &Export) -> Sections {
        let menus = |sections: &BTreeSet<String>| -> HashSet<String> {
            sections.iter().map(|section| menu_of_section(section)).collect()
        };
        let parents = menus(sections);
        let mut all = menus(alone);
        all.extend(parents.iter().cloned());
        let present = of.lines.iter().map(|line| menu_of(line)).collect();
        Sections { menus: all, parents, present }
    }

    /// Whether the export may have a part of this menu only.
    fn is_failed(&self, menu: &str) -> bool {
        self.menus.contains(menu)
    }

    fn is_taken(&self, menu: &str) -> bool {
        self.is_failed(menu)
            || !self.present.contains(menu)
                && ancestors(menu).any(|parent| self.parents.contains(parent))
    }
}

/// Lines of one export that become a part of another one.
struct Graft<'a> {
    /// For each line of the other export, whether it remains.
    kept: Vec<bool>,
    /// Lines before the line of this number.
    inserted: BTreeMap<usize, Vec<&'a str>>,
}

impl<'a> Graft<'a> {
    /// Replaces the lines of `sections` in `onto` by those of `from`, behind the same line as there.
    fn of(onto: &Export, from: &'a Export, sections: &Sections) -> Graft<'a> {
        let kept: Vec<_> =
            onto.lines.iter().map(|line| !sections.is_failed(&menu_of(line))).collect();
        let numbered = onto.lines.iter().zip(&kept).enumerate().filter(|(_, (_, kept))| **kept);
        let places: HashMap<&str, usize> =
            numbered.map(|(number, (line, _))| (line.as_str(), number + 1)).collect();
        let (mut place, mut inserted) = (0, BTreeMap::<usize, Vec<&str>>::new());
        for line in &from.lines {
            if sections.is_taken(&menu_of(line)) {
                inserted.entry(place).or_default().push(line);
            } else if let Some(behind) = places.get(line.as_str()) {
                place = *behind;
            }
        }
        Graft { kept, inserted }
    }

    fn is_empty(&self) -> bool {
        self.inserted.is_empty() && self.kept.iter().all(|kept| *kept)
    }

    fn before(&self, number: usize) -> impl Iterator<Item = &str> {
        self.inserted.get(&number).into_iter().flatten().copied()
    }

    fn apply(&self, lines: &[String]) -> Vec<String> {
        let mut all = Vec::with_capacity(lines.len());
        for (number, (line, kept)) in lines.iter().zip(&self.kept).enumerate() {
            all.extend(self.before(number).map(str::to_owned));
            all.extend(kept.then(|| line.clone()));
        }
        all.extend(self.before(lines.len()).map(str::to_owned));
        all
    }

    /// The export as text, with its comments; those that mark a section as failed name the origin of its lines.
    fn stored(&self, bytes: &[u8], export: &Export, failed: &BTreeSet<String>) -> Vec<u8> {
        let (mut text, mut number) = (String::new(), 0);
        let mut push = |line: &str| {
            text += line;
            text += "\r\n";
        };
        let parsed = parse_lines(bytes, true, |item| match item {
            Item::Comment(line) => {
                let section = line.strip_prefix(super::ERROR).map(str::trim);
                match section.filter(|section| failed.contains(*section)) {
                    Some(section) => push(&format!(
                        "# aw-routeros: the router failed to export {section}: its lines are those of the export before"
                    )),
                    None => push(line),
                }
            }
            Item::Line => {
                self.before(number).for_each(&mut push);
                if self.kept[number] {
                    push(&export.lines[number]);
                }
                number += 1;
            }
        });
        debug_assert!(parsed.is_ok(), "it was parsed before");
        self.before(number).for_each(&mut push);
        text.into_bytes()
    }
}

#[cfg(test)]
#[path = "sections/tests.rs"]
mod tests;
