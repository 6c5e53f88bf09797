//! The service itself: its configuration and its hooks. What fails is mailed once, and shown by `--health` and `show`.

use std::mem::replace;

use aw_service::{explain, info, warn};
use jiff::Timestamp;

use super::{Recorder, lock};
use crate::{hooks::HookReport, service_state::ServiceState};

impl Recorder {
    /// A configuration was read at the start or at a reload. `why`: it, or some of it, is not in effect; empty if all is.
    pub fn configuration_read(&self, why: &str) {
        let stored = self.stored(why);
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
            (false, false) => self.mail_of_all("configuration not in effect", why),
        }
    }

    /// Mails the reports that have waited long enough, and faults of hooks; to be called about once a second, not by the
    /// event loop.
    pub fn maintain_reports(&self) {
        self.mail.maintain();
        let Some(hooks) = &self.hooks else { return };
        let reports = hooks.reports();
        if reports.is_empty() {
            return;
        }
        {
            let state = &mut *lock(&self.service);
            state.failing_hooks = hooks.failing().iter().map(|why| self.stored(why)).collect();
            self.store_service(state);
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
