//! A change as it leaves the archive: for reports and for aw-web.

use std::{io, path::Path};

use aw_service::LineFile;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{change::Change, mask::mask};

/// Lines of a change's difference, at most.
const MAX_LINES: usize = 500;
/// Log lines of a change, and menus, at most.
const MAX_LOG: usize = 50;
const MAX_MENUS: usize = 8;
/// The file of all routers that aw-web reads, in the archive, and its bytes.
const MASKED: &str = ".masked.jsonl";
const MAX_MASKED: u64 = 4 << 20;

/// A change. Its texts have no secrets, unless they are requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedChange {
    /// When its export was recorded.
    pub time: Timestamp,
    /// The name of the router, and its address with the port.
    pub router: String,
    #[allow(missing_docs)]
    pub address: String,
    /// Who is credited, and the same in words.
    pub users: Vec<String>,
    #[allow(missing_docs)]
    pub who: String,
    /// Whether one of them may be forged.
    pub ambiguous: bool,
    /// The number of lines that were added, and that of those that were removed.
    pub added: u32,
    #[allow(missing_docs)]
    pub removed: u32,
    /// Changed lines that rules ignore.
    pub ignored: u32,
    /// Lines of which only a secret changed.
    pub secrets: u32,
    /// It is not part of an export: a user, a key, a version.
    pub noted: bool,
    /// The menus that its lines are in.
    pub menus: Vec<String>,
    /// The log lines about it.
    pub log: Vec<String>,
    /// The name of its snapshot.
    pub snapshot: String,
    /// The difference, without the lines beyond the limit.
    pub diff: String,
    /// The number of those.
    pub further_lines: usize,
}

impl ReportedChange {
    /// Of a change of the archive; with its secrets, if they are requested.
    pub(crate) fn of(change: &Change, secrets: bool) -> ReportedChange {
        let shown = |text: &str| if secrets { text.to_owned() } else { mask(text) };
        // Masked as a whole: a secret may go on over the limit.
        let diff = shown(&change.diff);
        let mut lines = diff.split_inclusive('\n');
        let kept: String = lines.by_ref().take(MAX_LINES).collect();
        let claims = change.claims.iter().chain(&change.candidates);
        let claims = claims.map(|claim| shown(&claim.message));
        let facts = change.facts.iter().map(|fact| shown(fact));
        ReportedChange {
            time: change.time,
            router: change.router.clone(),
            address: change.address.clone(),
            users: change.users.iter().map(|user| shown(user)).collect(),
            who: shown(&change.who()),
            ambiguous: change.ambiguous,
            added: change.added,
            removed: change.removed,
            ignored: change.ignored,
            secrets: change.secrets,
            noted: change.noted,
            menus: menus(&change.diff),
            log: facts.chain(claims).take(MAX_LOG).collect(),
            snapshot: change.snapshot.clone(),
            diff: kept,
            further_lines: lines.count(),
        }
    }
}

/// The changes of all routers without secrets, which members of the group may read: nothing else of the archive is for them.
#[derive(Debug)]
pub(crate) struct MaskedFile(LineFile);

impl MaskedFile {
    /// Of the archive at `root`.
    pub fn of(root: &Path) -> MaskedFile {
        MaskedFile(LineFile::new(root.join(MASKED), MAX_MASKED))
    }

    pub fn add(&mut self, change: &Change) {
        let reported = ReportedChange::of(change, false);
        self.0.append(&serde_json::to_string(&reported).into_iter().collect::<Vec<_>>());
    }

    /// Removes changes from before `since`.
    pub fn remove_before(&mut self, since: Timestamp) -> Result<(), aw_service::Error> {
        self.0.retain(|line| {
            serde_json::from_str::<ReportedChange>(line).is_ok_and(|change| change.time >= since)
        })
    }
}

/// The changes of all routers, without secrets, that an archive has for other programs, the oldest first; none if there is no
/// archive.
pub fn masked_changes(archive: &Path) -> io::Result<Vec<ReportedChange>> {
    let lines = LineFile::read(&archive.join(MASKED), MAX_MASKED)?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The menus of the lines that were added or removed, in their order. A menu is what stands before the verb.
fn menus(diff: &str) -> Vec<String> {
    const VERBS: [&str; 7] = ["add", "set", "remove", "unset", "reset", "move", "print"];
    let mut menus: Vec<String> = Vec::new();
    for line in diff.lines() {
        let Some(line) = line.strip_prefix(['+', '-']).filter(|line| line.starts_with('/')) else {
            continue;
        };
        let words = line.split(' ').take(8);
        let words =
            words.take_while(|word| !VERBS.contains(word) && !word.contains(['=', '[', '"']));
        let menu = words.collect::<Vec<_>>().join(" ");
        if !menus.contains(&menu) {
            menus.push(menu);
        }
        if menus.len() > MAX_MENUS {
            menus.pop();
            menus.push("...".into());
            break;
        }
    }
    menus
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{change::Credit, diff::Difference};

    fn change(second: i64, diff: &str) -> Change {
        let difference = Difference { text: diff.into(), added: 1, removed: 0 };
        let time = Timestamp::from_second(second).unwrap();
        let names = ("core1", "192.0.2.1:22");
        Change::new(time, names, Credit::default(), difference, Default::default())
    }

    /// Other programs get no secret, and nothing that is older than what is kept.
    #[test]
    fn what_others_may_read() {
        let archive = tempfile::tempdir().unwrap();
        assert!(masked_changes(archive.path()).unwrap().is_empty());
        let mut file = MaskedFile::of(archive.path());
        for second in [5, 7] {
            file.add(&change(second, "@@ -1 +1 @@\n+/ppp secret add name=x password=geheim\n"));
        }
        let text = std::fs::read_to_string(archive.path().join(MASKED)).unwrap();
        assert!(!text.contains("geheim") && text.contains("password=***"), "{text}");
        let found = masked_changes(archive.path()).unwrap();
        assert_eq!((found.len(), &*found[0].router, &*found[0].who), (2, "core1", "UNKNOWN"));
        file.remove_before(found[1].time).unwrap();
        assert_eq!(masked_changes(archive.path()).unwrap(), found[1..]);
    }

    #[test]
    fn menus_are_bounded() {
        let lines: String = (0..100).map(|n| format!("+/menu{n} add x=y\n")).collect();
        let found = menus(&lines);
        assert_eq!((found.len(), found.last().unwrap().as_str()), (MAX_MENUS + 1, "..."));
        assert_eq!(menus("+/interface bridge port [ find ] x\n"), ["/interface bridge port"]);
    }
}
