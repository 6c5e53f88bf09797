//! The service itself: its configuration, its hooks and its git repository. What fails is mailed once, with its end, and shown by
//! `--health` and `show`.

use std::{io, mem::replace};

use aw_service::{explain, info, warn};
use jiff::Timestamp;

use super::{Recorder, lock};
use crate::{hooks::HookReport, service_state::ServiceState};

impl Recorder {
    /// A configuration was read at the start or at a reload. `why`: it, or some of it, is not in effect; empty if all is.
    pub fn configuration_read(&self, why: &str) {
        self.set_configuration(why, why);
    }

    /// The file was refused at a reload.
    pub fn configuration_refused(&self, why: &str, can_start: bool) {
        let start = if can_start { "" } else { ", and cannot start again with this file" };
        let mail = format!("{why}: the running aw-routeros keeps its old configuration{start}");
        self.set_configuration(why, &mail);
    }

    fn set_configuration(&self, why: &str, mail: &str) {
        let stored = self.stored(why);
        lock(&self.not_in_effect).clone_from(&stored);
        let before = {
            let state = &mut *lock(&self.service);
            if why.is_empty() {
                state.loaded = Some(Timestamp::now());
            }
            let before = replace(&mut state.not_in_effect, stored.clone());
            self.store_service(state);
            before
        };
        match (before == stored, why.is_empty()) {
            (true, _) => {}
            (false, true) => {
                self.mail_of_all("configuration in effect", "the configuration is in effect again");
            }
            (false, false) => self.mail_of_all("configuration not in effect", mail),
        }
    }

    /// Mails the reports that have waited long enough, and faults of hooks; to be called about once a second, not by the
    /// event loop.
    pub fn maintain_reports(&self) {
        self.mail.maintain();
        self.store_reported();
        self.store_mail_faults();
        let Some(hooks) = &self.hooks else { return };
        let reports = hooks.reports();
        {
            let state = &mut *lock(&self.service);
            let failing: Vec<_> = hooks.failing().iter().map(|why| self.stored(why)).collect();
            if replace(&mut state.failing_hooks, failing.clone()) != failing {
                self.store_service(state);
            }
        }
        for HookReport { subject, text, is_over } in reports {
            let shown = self.masked(&text);
            if is_over {
                info(&shown)
            } else {
                warn(&shown)
            }
            self.mail_of_all(&self.masked(&subject), &text);
        }
    }

    /// What is wrong with mail, which no mail can report.
    fn store_mail_faults(&self) {
        let mut faults = self.mail.faults();
        faults.waiting = self.stored(&faults.waiting);
        faults.refused.values_mut().for_each(|why| *why = self.stored(why));
        let state = &mut *lock(&self.service);
        if replace(&mut state.mail, faults.clone()) != faults {
            self.store_service(state);
        }
    }

    /// The hooks that an earlier process mailed as failing. Those that are gone are mailed as such.
    pub(super) fn restore_hooks(&mut self) {
        let failing = lock(&self.service).failing_hooks.clone();
        let gone = match &self.hooks {
            Some(hooks) => hooks.restore(failing),
            None => failing,
        };
        if gone.is_empty() {
            return;
        }
        let state = &mut *lock(&self.service);
        state.failing_hooks.retain(|why| !gone.contains(why));
        self.store_service(state);
        for why in gone {
            let text = format!("no longer configured, or started again: {why}");
            info(self.masked(&text));
            self.mail_of_all("hook no longer fails", &text);
        }
    }

    /// A commit, or why there was none: one fault for all routers, because the repository is one.
    pub(super) fn committed(&self, error: Option<&io::Error>) {
        let why = error.map(|error| format!("commit to the git repository: {}", explain(error)));
        let why = why.map_or(String::new(), |why| self.stored(&why));
        let before = {
            let state = &mut *lock(&self.service);
            let before = replace(&mut state.git, why.clone());
            if before != why {
                self.store_service(state);
            }
            before
        };
        match (before.is_empty(), why.is_empty()) {
            (true, false) => self.warn_of_all(
                "git takes no commit",
                &format!("{why} (what is not committed is committed at the next start)"),
            ),
            (false, true) => {
                let text =
                    "commit to the git repository: works again (a restart commits what is missing)";
                info(text);
                self.mail_of_all("git works again", text);
            }
            _ => {}
        }
    }

    /// Logs a warning that is about no router, and sends it by mail.
    pub(super) fn warn_of_all(&self, subject: &str, text: &str) {
        warn(self.masked(text));
        self.mail_of_all(subject, text);
    }

    fn mail_of_all(&self, subject: &str, text: &str) {
        let (when, shown) = (self.local_time(Timestamp::now()), self.masked(text));
        self.mail.send(None, subject, &format!("{when}\n\n{shown}\n"));
    }

    fn store_service(&self, state: &ServiceState) {
        if let Err(error) = state.store(&self.config.archive) {
            warn(format_args!("write to the archive: .service.json: {}", explain(&error)));
        }
    }
}
