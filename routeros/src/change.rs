//! A change of a router's configuration: who is credited with it, and its text in messages, mail and diff.txt.

use std::{collections::BTreeSet, fmt::Write};

use aw_service::{plain, plain_lines};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    attribution::{Claims, LogClaim, is_same_time, users},
    config_export::{recovered, touches},
    diff::Difference,
    mask::mask,
};

/// The user who is credited with a change that no log line explains.
pub const UNKNOWN: &str = "UNKNOWN";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When its export was recorded, by this machine's clock.
    pub time: Timestamp,
    pub router: String,
    pub address: String,
    /// The users who are credited: all that the log named since the last export, and [`UNKNOWN`] if it named none or was
    /// not followed all the time.
    pub users: Vec<String>,
    /// Whether one of the users may be forged.
    pub ambiguous: bool,
    /// The log lines about it.
    pub claims: Vec<LogClaim>,
    /// The number of claims beyond those that are kept.
    #[serde(default)]
    pub further_claims: u64,
    /// Log lines from a time when the log was not followed.
    pub candidates: Vec<LogClaim>,
    pub added: u32,
    pub removed: u32,
    /// How many of these lines are ignored by rules: archived, and not reported.
    #[serde(default)]
    pub ignored: u32,
    /// How many lines have another secret only: each is `***` before and after.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub secrets: u32,
    /// The name of the snapshot before.
    #[serde(default)]
    pub before: String,
    pub snapshot: String,
    /// The unified diff.
    pub diff: String,
    /// What no export shows: changed facts about the router. Entries of `noted.jsonl` may have no other content than the
    /// log lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// Whether the export shows no difference.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noted: bool,
    /// Whether the exports were incomplete, so that they may lack what the log lines are about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The log lines to credit a change to.
#[derive(Clone, Debug, Default)]
pub struct Credit {
    /// Claims since the last export.
    pub claims: Vec<LogClaim>,
    /// The number of claims that were only counted.
    pub further: u64,
    /// Claims from a time when the log was not followed. If this is set, an unknown user may have taken part.
    pub candidates: Option<Vec<LogClaim>>,
    /// Sections that no export had since claims were settled, and these claims. A change in these sections may be theirs.
    pub missed: Missed,
}

/// See [`Credit::missed`].
#[derive(Clone, Debug, Default)]
pub struct Missed {
    pub sections: BTreeSet<String>,
    pub claims: Claims,
}

impl Missed {
    /// An export lacks the sections `failed`, and others that it lacked before are complete again.
    pub fn exported(&mut self, failed: &BTreeSet<String>) {
        let recovered = recovered(&self.sections, failed);
        self.sections.retain(|section| !recovered.contains(section));
        if self.sections.is_empty() {
            self.claims = Claims::default();
        }
    }

    /// The claims of an export without these sections are settled.
    pub fn settled(&mut self, failed: &BTreeSet<String>, claims: Claims) {
        if !failed.is_empty() {
            self.sections.extend(failed.iter().cloned());
            self.claims.append(claims);
        }
    }
}

impl Credit {
    /// Adds the users that the router's history names where the log names none. If it names others too, or names of
    /// before may be among them, they are in doubt.
    pub fn add_history(&mut self, history: Vec<LogClaim>, is_current: bool) {
        if self.claims.is_empty() && is_current {
            self.claims = history;
            return;
        }
        let named = users(&self.claims);
        let is_other = |claim: &LogClaim| {
            users(std::slice::from_ref(claim)).iter().any(|user| !named.contains(user))
        };
        let others: Vec<_> = history.into_iter().filter(is_other).collect();
        if !others.is_empty() {
            self.candidates.get_or_insert_default().extend(others);
        }
    }

    /// Takes the settled claims into account if the difference is in a section that no export had since.
    pub fn with_missed(mut self, difference: &Difference) -> Credit {
        let Missed { sections, claims } = std::mem::take(&mut self.missed);
        if touches(&difference.text, &sections) {
            self.further += claims.further;
            self.candidates.get_or_insert_default().extend(claims.kept);
        }
        self
    }

    /// Without secrets in the commands.
    pub fn masked(mut self) -> Credit {
        for claim in self.claims.iter_mut().chain(self.candidates.iter_mut().flatten()) {
            claim.message = mask(&claim.message);
            claim.command = claim.command.as_deref().map(mask);
            for actor in &mut claim.actors {
                actor.user = mask(&actor.user);
                actor.via = actor.via.as_deref().map(mask);
            }
        }
        self
    }
}

/// The claims that are credited, and those that came by syslog only although the log names users: they may be forged, and
/// are only candidates.
fn without_forged(claims: Vec<LogClaim>) -> (Vec<LogClaim>, Vec<LogClaim>) {
    let (by_syslog, by_log): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| claim.syslog);
    if by_log.is_empty() {
        return (by_syslog, Vec::new());
    }
    let is_new = |claim: &LogClaim| by_log.iter().all(|known| known.message != claim.message);
    let unconfirmed = by_syslog.into_iter().filter(is_new).collect();
    (by_log, unconfirmed)
}

impl Change {
    pub fn new(
        time: Timestamp,
        (router, address): (&str, &str),
        credit: Credit,
        difference: Difference,
        (before, snapshot): (String, String),
    ) -> Change {
        let Credit { claims, further, candidates, .. } = credit;
        let (claims, unconfirmed) = without_forged(claims);
        let mut named: Vec<String> = users(&claims).into_iter().map(str::to_owned).collect();
        let is_unknown = named.is_empty() || candidates.is_some();
        if is_unknown && !named.iter().any(|user| user == UNKNOWN) {
            named.push(UNKNOWN.into());
        }
        let mut candidates = candidates.unwrap_or_default();
        candidates.extend(unconfirmed);
        Change {
            time,
            router: router.into(),
            address: address.into(),
            users: named,
            ambiguous: claims.iter().any(|claim| claim.ambiguous),
            further_claims: further,
            claims,
            candidates,
            added: difference.added,
            removed: difference.removed,
            ignored: 0,
            secrets: 0,
            before,
            snapshot,
            diff: difference.text,
            facts: Vec::new(),
            noted: false,
            incomplete: false,
        }
    }

    /// Log lines whose export shows no difference, and changed facts.
    pub fn noted(
        time: Timestamp,
        names: (&str, &str),
        credit: Credit,
        facts: Vec<String>,
    ) -> Change {
        let difference = Difference { text: String::new(), added: 0, removed: 0 };
        let candidates = credit.candidates.clone().unwrap_or_default();
        let mut change = Change::new(time, names, credit, difference, Default::default());
        (change.facts, change.noted) = (facts, true);
        if change.facts.is_empty() {
            // A line names a user, before or after the connection: no other is sought.
            change.users.retain(|user| user != UNKNOWN);
            for user in users(&candidates) {
                if !change.users.iter().any(|known| known == user) {
                    change.users.push(user.into());
                }
            }
            change.ambiguous |= candidates.iter().any(|claim| claim.ambiguous);
        }
        change
    }

    /// Whether this line is in it, which may be stored without its secrets.
    pub fn has_line(&self, line: &LogClaim) -> bool {
        self.claims.iter().chain(&self.candidates).any(|claim| {
            is_same_time(&claim.time, &line.time)
                && (claim.message == line.message || claim.message == mask(&line.message))
        })
    }

    /// What was noted, in a few words.
    fn noted_words(&self) -> String {
        if let Some(first) = self.facts.first() {
            let more = self.facts.len() - 1;
            return if more == 0 { first.clone() } else { format!("{first} and {more} more") };
        }
        let claims = || self.claims.iter().chain(&self.candidates);
        let claim = claims().find(|claim| is_about_security(claim)).or(claims().next_back());
        let more = claims().count().saturating_sub(1) as u64 + self.further_claims;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more lines)") };
        let message = claim.map_or("", |claim| claim.message.as_str());
        let what =
            if self.incomplete { "not in an incomplete export" } else { "not part of an export" };
        format!("{what}: {message}{more}")
    }

    /// Whether a fact changed, or a line is about users, keys, certificates, packages and the like.
    pub fn is_about_security(&self) -> bool {
        !self.facts.is_empty() || self.claims.iter().chain(&self.candidates).any(is_about_security)
    }

    /// Whether all of it is ignored by rules.
    pub fn is_ignored(&self) -> bool {
        self.ignored > 0 && self.ignored >= self.added.saturating_add(self.removed)
    }

    /// The user, if the log names one only, beyond doubt.
    pub fn only_user(&self) -> Option<&str> {
        let is_certain = self.candidates.is_empty()
            && self.further_claims == 0
            && !self.claims.iter().any(LogClaim::is_doubtful);
        match &*self.users {
            [user] if is_certain && user != UNKNOWN => Some(user),
            _ => None,
        }
    }

    /// The users in a few words.
    pub fn who(&self) -> String {
        let mut who = self.users.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        if self.users.len() > 3 {
            let _ = write!(who, " and {} more", self.users.len() - 3);
        }
        if self.ambiguous {
            who.push_str(" (ambiguous)");
        }
        if self.claims.iter().any(|claim| claim.syslog) {
            who.push_str(" (by syslog)");
        }
        plain(&who)
    }

    /// One line, for messages, subjects of mail and commits.
    pub fn summary(&self) -> String {
        if self.noted {
            let words: String = self.noted_words().chars().take(150).collect();
            return format!("{}: {}: {}", self.router, self.who(), plain(&words));
        }
        format!(
            "{}: configuration changed by {} (+{} -{})",
            self.router,
            self.who(),
            self.added,
            self.removed
        )
    }

    /// The full text with its diff; `when` is its time as it is printed.
    pub fn text(&self, when: &str, secrets: bool) -> String {
        let shown = |text: &str| {
            let text = plain_lines(text);
            if secrets { text } else { mask(&text) }
        };
        let mut text = String::new();
        let _ = writeln!(text, "{when} {} ({})", shown(&self.summary()), self.address);
        if self.ambiguous {
            text.push_str(
                "  The log names several users, and one of them may be forged: all are credited.\n",
            );
        }
        if self.claims.iter().chain(&self.candidates).any(|claim| claim.syslog) {
            text.push_str(
                "  Lines by syslog are not authenticated, so that their names may be forged.\n",
            );
        }
        for (what, claims) in [("", &self.claims), ("candidate: ", &self.candidates)] {
            for claim in claims {
                for actor in &claim.actors {
                    let _ = write!(text, "  {what}{}", shown(&actor.user));
                    for (word, value) in
                        [("by", &actor.channel), ("from", &actor.address), ("through", &actor.via)]
                    {
                        let Some(value) = value else { continue };
                        let _ = write!(text, " {word} {}", shown(value));
                    }
                    text.push('\n');
                }
                let source = if claim.syslog { "syslog" } else { "log" };
                let _ = writeln!(text, "    {source} {}: {}", claim.time, shown(&claim.message));
                if let Some(command) = &claim.command {
                    let _ = writeln!(text, "    command: {}", shown(command));
                }
            }
        }
        if self.secrets > 0 {
            let _ = writeln!(
                text,
                "  Lines of which only a secret changed, which is ***: {}",
                self.secrets
            );
        }
        for fact in &self.facts {
            let _ = writeln!(text, "  {}", shown(fact));
        }
        if self.further_claims > 0 {
            let _ = writeln!(text, "  and {} more log lines", self.further_claims);
        }
        if self.noted {
            text.push_str(match self.incomplete {
                true => "  The export of the configuration is incomplete: it may lack this.\n\n",
                false => "  The export of the configuration shows no difference for this.\n\n",
            });
            return text;
        }
        let _ = writeln!(text, "--- {}\n+++ {}", self.before, self.snapshot);
        text + &shown(&self.diff) + "\n"
    }
}

/// Whether a line is about what exports leave out and decides who has access: users, groups, keys, certificates, packages,
/// licences, firmware, backups.
pub fn is_about_security(claim: &LogClaim) -> bool {
    const WORDS: [&str; 13] = [
        "user",
        "users",
        "group",
        "ssh",
        "key",
        "keys",
        "certificate",
        "package",
        "license",
        "licence",
        "password",
        "firmware",
        "backup",
    ];
    const MENUS: [&str; 10] = [
        "user",
        "password",
        "certificate",
        "ip ssh",
        "system package",
        "system license",
        "system routerboard",
        "system backup",
        "system reset-configuration",
        "system device-mode",
    ];
    let command = claim.command.as_deref().and_then(|command| command.split_once('/'));
    if let Some((_, path)) = command {
        let path = path.replace('/', " ") + " ";
        return MENUS.iter().any(|menu| path.starts_with(&format!("{menu} ")));
    }
    let what = claim.message.split(" by ").next().unwrap_or_default();
    let mut words = what.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_record::LogRecord;

    fn claim(message: &str) -> LogClaim {
        let (time, topics) = ("12:00:00".into(), "system,info".into());
        LogClaim::of(&LogRecord { time, topics, message: message.into(), doubtful: false }).unwrap()
    }

    fn change(credit: Credit) -> Change {
        let text = "@@ -1 +1 @@\n-/ppp secret add password=old\n+/ppp secret add password=new\n";
        let difference = Difference { text: text.into(), added: 1, removed: 1 };
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        Change::new(
            time,
            ("core1", "192.0.2.1:22"),
            credit,
            difference,
            ("w.rsc".into(), "x.rsc".into()),
        )
    }

    #[test]
    fn text_and_json() {
        let line =
            "secret changed by ssh:alice@192.0.2.7/terminal (/ppp secret set x password=new)";
        let claims = vec![claim(line), claim("item added by bob")];
        let change = change(Credit { claims, ..Credit::default() });
        assert_eq!(
            change.text("now", false),
            "now core1: configuration changed by alice, bob (+1 -1) (192.0.2.1:22)\n  \
             alice by ssh from 192.0.2.7 through terminal\n    \
             log 12:00:00: secret changed by ssh:alice@192.0.2.7/terminal (/ppp secret set x password=***)\n    \
             command: /ppp secret set x password=***\n  bob\n    \
             log 12:00:00: item added by bob\n--- w.rsc\n+++ x.rsc\n@@ -1 +1 @@\n\
             -/ppp secret add password=***\n+/ppp secret add password=***\n\n"
        );
        assert!(change.text("now", true).contains("+/ppp secret add password=new\n"));
        let json = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change);
    }

    #[test]
    fn unknown_users() {
        assert_eq!(change(Credit::default()).users, [UNKNOWN]);
        let candidates = Some(vec![claim("item added by eve")]);
        let credit =
            Credit { claims: vec![claim("item added by bob")], candidates, ..Credit::default() };
        let change = change(credit);
        assert_eq!(
            (change.users.as_slice(), change.claims.len()),
            (["bob".to_owned(), UNKNOWN.into()].as_slice(), 1)
        );
        assert!(change.text("now", false).contains("  candidate: eve\n"));
    }

    #[test]
    fn what_no_export_shows() {
        let noted = |message: &str, facts: &[&str]| {
            let credit = Credit { claims: vec![claim(message)], ..Credit::default() };
            let facts = facts.iter().map(|fact| (*fact).to_owned()).collect();
            Change::noted(Timestamp::UNIX_EPOCH, ("core1", "192.0.2.1:22"), credit, facts)
        };
        let ops = "user ops added by ssh:-2@192.0.2.7 (*2 = /user add group=full password=x)";
        let change = noted(ops, &[]);
        assert_eq!(change.summary(), format!("core1: -2: not part of an export: {ops}"));
        let text = change.text("now", false);
        assert!(
            text.contains("/user add group=full password=***") && !text.contains("=x"),
            "{text}"
        );
        assert!(change.is_about_security() && change.noted);
        let change = noted(ops, &["user ops added: group=full", "a b: 1 -> 2"]);
        assert_eq!(change.summary(), "core1: -2: user ops added: group=full and 1 more");
        for (message, security) in [
            ("user ops added by admin", true),
            ("ssh key added by admin", true),
            ("new package by local:alice ()", true),
            ("x changed by ssh:a@192.0.2.7 (/certificate import file-name=x)", true),
            ("x changed by ssh:a@192.0.2.7 (/user/ssh-keys/add)", true),
            ("item changed by bob", false),
            ("user x changed by ssh:a@192.0.2.7 (/ip hotspot user set x)", false),
            ("x changed by ssh:a@192.0.2.7 (/user-manager user add)", false),
            ("device changed by scheduler:guest (/interface set)", false),
            ("route changed by user", false),
        ] {
            assert_eq!(noted(message, &[]).is_about_security(), security, "{message}");
        }
        let unknown = Change::noted(
            Timestamp::UNIX_EPOCH,
            ("core1", ""),
            Credit::default(),
            vec!["system version: 1 -> 2".into()],
        );
        assert_eq!(unknown.summary(), "core1: UNKNOWN: system version: 1 -> 2");
        let json = serde_json::to_string(&unknown).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), unknown);
    }

    #[test]
    fn an_ambiguous_change() {
        let line = "x <y by ssh:bob@1.2.3.4 (> changed by ssh:eve@10.0.0.1 (/x)";
        let change = change(Credit { claims: vec![claim(line)], ..Credit::default() });
        assert!(change.who().ends_with("(ambiguous)") && change.users.len() == 2);
    }
}
