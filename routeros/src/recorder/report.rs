//! What leaves the archive about a change: mail, an event of the ring, the legacy log file.

use std::net::Ipv4Addr;

use aw_service::plain;

use super::{Recorder, mail::Notice};
use crate::{
    change::Change,
    config::Router,
    hooks::HookEvent,
    ignore::{Reported, ignores_user},
};

/// Log lines about a change in a mail, at most.
pub const MAX_CLAIMS: usize = 100;
/// Bytes of a line in a mail, at most.
const MAX_LINE: usize = 2000;

impl Recorder {
    /// Mails and publishes a change, without what is ignored of it. Returns the change as it is reported, or `None` if
    /// all of it is ignored.
    pub fn report(
        &self,
        router: &Router,
        address: Option<Ipv4Addr>,
        change: &Change,
        reported: Reported,
    ) -> Option<Change> {
        if reported.difference.is_empty() {
            return None;
        }
        let mut shown = change.clone();
        for user in &mut shown.users {
            *user = self.masked(user); // users choose the names of scripts
        }
        (shown.added, shown.removed) = (reported.difference.added, reported.difference.removed);
        shown.diff = reported.difference.text;
        let when = self.local_time(shown.time);
        let notice = Notice {
            router: router.name.clone(),
            who: self.masked(&shown.who()),
            only_user: change.only_user().map(str::to_owned),
            summary: self.masked(&shown.summary()),
            text: mail_text(&shown, &when, self.config.mail_secrets, self.config.mail_lines),
            command: Some(diff_command(&shown)),
            when: when.clone(),
            to: self.receivers(router),
        };
        self.notice(&notice);
        self.journal.append_change(&router.name, &shown.text(&when, self.config.mail_secrets));
        self.ring.iter().for_each(|ring| ring.publish(&router.name, address, &shown));
        Some(shown)
    }

    /// Starts the hooks after a change, which is archived and committed.
    pub fn start_hooks(&self, router: &Router, change: &Change) {
        let Some(hooks) = &self.hooks else { return };
        let when = self.local_time(change.time);
        let snapshots = self.config.archive.join(router.name.as_str()).join("snapshots");
        let path = |name: &str| snapshots.join(name).display().to_string();
        let variables = [
            ("ROUTER", change.router.clone()),
            ("ADDRESS", change.address.clone()),
            ("USERS", self.masked(&change.users.join(", "))),
            ("AMBIGUOUS", u8::from(change.ambiguous).to_string()),
            ("TIME", when.clone()),
            ("SUMMARY", self.masked(&change.summary())),
            ("ADDED", change.added.to_string()),
            ("REMOVED", change.removed.to_string()),
            ("IGNORED", change.ignored.to_string()),
            ("BEFORE", path(&change.before)),
            ("SNAPSHOT", path(&change.snapshot)),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), plain(&value))).to_vec();
        let (secrets, lines) = (self.config.mail_secrets, self.config.mail_lines);
        hooks.run(&HookEvent {
            is_commit: false,
            variables,
            text: mail_text(change, &when, secrets, lines),
        });
    }

    /// Mails a report, unless a rule ignores what its only user does.
    pub fn notice(&self, notice: &Notice) {
        if !ignores_user(&self.config.ignore, &notice.router, notice.only_user.as_deref()) {
            self.mail.notice(notice);
        }
    }
}

/// The command that prints all of a change.
fn diff_command(change: &Change) -> String {
    let name = |snapshot: &str| snapshot.trim_end_matches(".rsc").to_owned();
    let names = (name(&change.before), name(&change.snapshot));
    format!("aw-routeros diff {} {} {}", change.router, names.0, names.1)
}

/// The text of a change with so many lines of its diff at most.
pub fn mail_text(change: &Change, when: &str, secrets: bool, lines: usize) -> String {
    let mut brief = change.clone();
    for claims in [&mut brief.claims, &mut brief.candidates] {
        brief.further_claims += claims.len().saturating_sub(MAX_CLAIMS) as u64;
        claims.truncate(MAX_CLAIMS);
    }
    brief.diff = change.diff.lines().take(lines).map(|line| format!("{line}\n")).collect();
    let more = change.diff.lines().count().saturating_sub(lines);
    if more > 0 {
        brief.diff += &format!("[{more} more lines: {}]\n", diff_command(change));
    }
    let mut text = String::new();
    for line in brief.text(when, secrets).lines() {
        let shown = &line[..line.floor_char_boundary(MAX_LINE)];
        text += shown;
        if shown.len() < line.len() {
            text += &format!(" [{} more bytes]", line.len() - shown.len());
        }
        text.push('\n');
    }
    let ignored = if change.ignored == 0 {
        String::new()
    } else {
        format!("[{} changed lines are ignored by rules: not shown]\n", change.ignored)
    };
    text + &ignored
}
