//! A change of a router's configuration: who is credited with it, and its text in messages, mail and diff.txt.

use std::fmt::Write;

use aw_service::{plain, plain_lines};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    attribution::{LogClaim, users},
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
    /// The name of the snapshot before.
    #[serde(default)]
    pub before: String,
    pub snapshot: String,
    /// The unified diff.
    pub diff: String,
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
}

impl Change {
    pub fn new(
        time: Timestamp,
        (router, address): (&str, &str),
        credit: Credit,
        difference: Difference,
        (before, snapshot): (String, String),
    ) -> Change {
        let Credit { claims, further, candidates } = credit;
        let mut named: Vec<String> = users(&claims).into_iter().map(str::to_owned).collect();
        if named.is_empty() || candidates.is_some() {
            named.push(UNKNOWN.into());
        }
        let candidates = candidates.unwrap_or_default();
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
            before,
            snapshot,
            diff: difference.text,
        }
    }

    /// Whether all of it is ignored by rules.
    pub fn is_ignored(&self) -> bool {
        self.ignored > 0 && self.ignored >= self.added.saturating_add(self.removed)
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
        plain(&who)
    }

    /// One line, for messages, subjects of mail and commits.
    pub fn summary(&self) -> String {
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
        let _ = writeln!(text, "{when} {} ({})", self.summary(), self.address);
        if self.ambiguous {
            text.push_str(
                "  The log names several users, and one of them may be forged: all are credited.\n",
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
                let _ = writeln!(text, "    log {}: {}", claim.time, shown(&claim.message));
                if let Some(command) = &claim.command {
                    let _ = writeln!(text, "    command: {}", shown(command));
                }
            }
        }
        if self.further_claims > 0 {
            let _ = writeln!(text, "  and {} more log lines", self.further_claims);
        }
        let _ = writeln!(text, "--- {}\n+++ {}", self.before, self.snapshot);
        text + &shown(&self.diff) + "\n"
    }
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
        let credit = Credit { claims: vec![claim("item added by bob")], further: 0, candidates };
        let change = change(credit);
        assert_eq!(
            (change.users.as_slice(), change.claims.len()),
            (["bob".to_owned(), UNKNOWN.into()].as_slice(), 1)
        );
        assert!(change.text("now", false).contains("  candidate: eve\n"));
    }

    #[test]
    fn an_ambiguous_change() {
        let line = "x <y by ssh:bob@1.2.3.4 (> changed by ssh:eve@10.0.0.1 (/x)";
        let change = change(Credit { claims: vec![claim(line)], ..Credit::default() });
        assert!(change.who().ends_with("(ambiguous)") && change.users.len() == 2);
    }
}
