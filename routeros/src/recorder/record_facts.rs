//! Records what no export shows: log lines that name a user and left no difference, and changed facts about the router.

use std::{collections::BTreeMap, io};

use jiff::{SignedDuration, Timestamp};

use super::{Recorder, lock, mail::Notice};
use crate::{
    attribution::{Claims, FactsClaims, LogClaim},
    change::{Change, Credit},
    config::{MailNoted, Router, RouterName},
    facts::{Facts, HistoryEntry, history_claims},
    session::Aftermath,
};

/// Before that, a line without a date is another one.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

impl Recorder {
    /// Compares the facts with the stored ones and records both. `claims` are those that a difference is credited to, and
    /// the result is those that it was credited to. Waits for disks: not for the thread of the event loop.
    pub fn record_facts(
        &self,
        router: &Router,
        facts: Facts,
        mut aftermath: Aftermath,
        claims: &FactsClaims,
    ) -> io::Result<Vec<LogClaim>> {
        let recording = self.export_lock(&router.name);
        let _lock = lock(&recording);
        let archive = self.archive(&router.name);
        archive.create()?;
        let mut new = std::mem::take(&mut aftermath.header);
        new.update(facts);
        let known = archive.facts()?;
        let differences = known.as_ref().map_or(BTreeMap::new(), |known| known.differences(&new));
        let mut credited = Vec::new();
        if !differences.is_empty() {
            let sections = differences.keys().cloned().collect();
            let mut credit = claims.credit(&sections);
            credit.add_history(std::mem::take(&mut aftermath.history), true);
            credited = credit.claims.clone();
            credited.extend(credit.candidates.iter().flatten().cloned());
            let differences = differences.into_values().flatten().collect();
            // Before the facts: if the process is killed in between, the difference is found again.
            self.record_noted(router, credit, differences, false)?;
        }
        aftermath.set_recorded(&credited);
        if !aftermath.unshown_candidates.is_empty() {
            // An earlier process may have recorded them and ended before it stored the last line.
            let recorded = archive.changes()?.into_iter().chain(archive.noted()?);
            let since = Timestamp::now() - RECENT;
            for change in recorded.filter(|change| change.time > since) {
                aftermath.unshown_candidates.retain(|claim| !change.has_line(claim));
            }
        }
        if aftermath.has_lines() {
            let Aftermath { unshown, unshown_candidates, is_incomplete, .. } = aftermath;
            let Claims { kept: claims, further, .. } = unshown;
            let candidates = Some(unshown_candidates).filter(|lines| !lines.is_empty());
            let credit = Credit { claims, further, candidates, ..Credit::default() };
            self.record_noted(router, credit, Vec::new(), is_incomplete)?;
        }
        self.store_facts(router, known, new)?;
        Ok(credited)
    }

    fn record_noted(
        &self,
        router: &Router,
        credit: Credit,
        facts: Vec<String>,
        is_incomplete: bool,
    ) -> io::Result<()> {
        let names = (router.name.as_str(), &*router.address.to_string());
        let credit = if self.encrypts(router) { credit.masked() } else { credit };
        let mut change = Change::noted(Timestamp::now(), names, credit, facts);
        change.incomplete = is_incomplete;
        self.archive(&router.name).add_noted(&change)?;
        lock(&self.masked_file).add(&change);
        self.report_noted(router, &change);
        Ok(())
    }

    fn store_facts(&self, router: &Router, known: Option<Facts>, new: Facts) -> io::Result<()> {
        let mut all = known.clone().unwrap_or_default();
        all.update(new);
        if known.as_ref() == Some(&all) {
            Ok(())
        } else {
            self.archive(&router.name).set_facts(&all)
        }
    }

    /// Logs it, and mails it if `mail_noted` says so.
    fn report_noted(&self, router: &Router, change: &Change) {
        let summary = change.summary();
        let name = format!("{}: ", router.name);
        let mut text = summary.strip_prefix(&name).unwrap_or(&summary).to_owned();
        if change.facts.len() > 1 {
            text = format!("{}: {}", change.who(), change.facts.join("; "));
        }
        self.note(&router.name, &text);
        let is_about_security = change.is_about_security();
        let is_mailed = match self.config.mail_noted {
            MailNoted::None => false,
            MailNoted::Security => is_about_security,
            MailNoted::All => true,
        };
        if !is_mailed {
            return;
        }
        let when = self.local_time(change.time);
        let (summary, text) = (self.masked(&summary), change.text(&when, self.config.mail_secrets));
        if is_about_security {
            // Neither a rule nor a burst of other changes delays a new user or key.
            return self.mail.send(self.receivers(router).as_deref(), &summary, &text);
        }
        let (who, to) = (self.masked(&change.who()), self.receivers(router));
        let only_user = change.only_user().map(str::to_owned);
        let router = router.name.clone();
        self.notice(&Notice { router, who, only_user, when, summary, text, command: None, to });
    }

    /// The users that the router's history names since the last export, in place of log lines.
    pub fn history_claims(&self, router: &RouterName, history: &[HistoryEntry]) -> Vec<LogClaim> {
        if history.is_empty() {
            return Vec::new();
        }
        let known = self.archive(router).facts().ok().flatten().unwrap_or_default();
        let mut claims = Claims::default(); // bounded in size
        history_claims(&known.history, history).into_iter().for_each(|claim| claims.push(claim));
        claims.kept
    }
}
