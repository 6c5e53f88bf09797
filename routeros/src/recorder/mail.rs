//! Mail about changes and faults.

use std::{mem::take, sync::Mutex, time::Duration};

use aw_notify::Mailer;
use aw_service::{Condition, warn};

use super::lock;

/// How long the end of the program waits for mail that can be sent.
const FINISH: Duration = Duration::from_secs(3);

/// Queues mail; does nothing without a mailer.
pub struct ChangeMail {
    mailer: Option<Mailer>,
    /// Whether the queue cannot be written, and the number of mails lost since then.
    unwritable: Mutex<(Condition, u64)>,
}

impl ChangeMail {
    pub fn new(mailer: Option<Mailer>) -> ChangeMail {
        ChangeMail { mailer, unwritable: Mutex::default() }
    }

    /// `to`: the receivers of a router, if it has its own.
    pub fn send(&self, to: Option<&[String]>, subject: &str, text: &str) {
        let Some(mailer) = &self.mailer else { return };
        let subject = format!("[addrwatch] {subject}");
        let Err(cause) = mailer.send_to(to, &subject, text) else {
            return self.report_lost();
        };
        let (unwritable, lost) = &mut *lock(&self.unwritable);
        *lost += 1;
        unwritable.begins(format_args!("{cause}: mails are lost until the queue can be written"));
    }

    fn report_lost(&self) {
        let (unwritable, lost) = &mut *lock(&self.unwritable);
        if unwritable.clear() {
            let lost = take(lost);
            warn(format_args!("mails lost because the queue could not be written: {lost}"));
        }
    }

    /// Sends what can be sent at once.
    pub fn finish(self) {
        self.report_lost();
        if let Some(mailer) = self.mailer {
            mailer.finish(FINISH);
        }
    }
}
