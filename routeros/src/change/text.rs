//! The text of a change in messages, mail and diff.txt.

use std::fmt::Write;

use aw_service::{local_span, plain, plain_lines};

use super::{Change, UNKNOWN, is_about_security};
use crate::{mask::mask, reload::some_of};

/// So many log lines stand before the difference.
const FEW: usize = 5;

impl Change {
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
        let what = if self.incomplete {
            "seen in the log only, the export is incomplete"
        } else {
            "seen in the log only"
        };
        format!("{what}: {message}{more}")
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
        // Of lines that may be forged the sender would choose a part of the subject: the text has their names.
        let is_unknown = self.users.iter().any(|user| user == UNKNOWN);
        let candidates = match &*self.certain_candidates() {
            some if some.is_empty() || !is_unknown => String::new(),
            some => plain(&format!(", candidate: {}", some_of(some, 3))),
        };
        format!(
            "{}: configuration changed by {} (+{} -{}){candidates}",
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
            text.push_str(match self.users.len() {
                1 => "  The log line may be of another kind, or forged (a line by syslog without topics, or with text that a user chose).\n",
                _ => "  The log names several users, and one of them may be forged: all are credited.\n",
            });
        }
        if self.claims.iter().chain(&self.candidates).any(|claim| claim.syslog) {
            text.push_str(
                "  Lines by syslog are not authenticated, so that their names may be forged.\n",
            );
        }
        let candidates = self.candidate_users();
        if self.users == [UNKNOWN] && candidates.is_empty() {
            text.push_str("  UNKNOWN: no line of the router's log names who did this, of those that were read (the router keeps only the last ones).\n");
        }
        if let Some((from, to)) = self.unwatched
            && self.users.iter().any(|user| user == UNKNOWN)
        {
            let span = local_span(from.as_second(), to.as_second());
            let _ = writeln!(
                text,
                "  The router's log was not followed {span}: the change may be of that time."
            );
        }
        if !candidates.is_empty() {
            text.push_str("  A candidate is named by a line that may be about something else: it came by syslog, is of a time without a connection or of before the last complete export, or is one of the router's /system history.\n");
        }
        // Many lines would hide the difference.
        let log = self.log_text(&shown);
        let is_long = !self.noted && self.claims.len() + self.candidates.len() > FEW;
        if is_long {
            text.push_str("  The log lines about it stand below the difference.\n");
        } else {
            text.push_str(&log);
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
        text.push_str(&shown(&self.diff));
        if is_long {
            text.push_str("Log:\n");
            text.push_str(&log);
        }
        text + "\n"
    }

    /// The log lines, those of the same user and channel in a row under one heading.
    fn log_text(&self, shown: &impl Fn(&str) -> String) -> String {
        let (mut text, mut before) = (String::new(), String::new());
        for (what, claims) in [("", &self.claims), ("candidate: ", &self.candidates)] {
            for claim in claims {
                let mut heading = String::new();
                for actor in &claim.actors {
                    let _ = write!(heading, "  {what}{}", shown(&actor.user));
                    for (word, value) in
                        [("by", &actor.channel), ("from", &actor.address), ("through", &actor.via)]
                    {
                        let Some(value) = value else { continue };
                        let _ = write!(heading, " {word} {}", shown(value));
                    }
                    heading.push('\n');
                }
                if heading != before {
                    text.push_str(&heading);
                    before = heading;
                }
                let source = if claim.syslog { "syslog" } else { "log" };
                let _ = writeln!(text, "    {source} {}: {}", claim.time, shown(&claim.message));
                if let Some(command) = &claim.command
                    && !claim.message.contains(command.as_str())
                {
                    let _ = writeln!(text, "    command: {}", shown(command));
                }
            }
        }
        text
    }
}
