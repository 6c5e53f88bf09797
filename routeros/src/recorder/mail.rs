//! Mail about changes and faults.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use aw_notify::Mailer;
use aw_service::warn;

/// How long the end of the program waits for mail that can be sent.
const FINISH: Duration = Duration::from_secs(3);

/// Queues mail; does nothing without a mailer.
pub struct ChangeMail {
    mailer: Option<Mailer>,
    /// Mails that could not be queued since the last one that could.
    lost: AtomicU64,
}

impl ChangeMail {
    pub fn new(mailer: Option<Mailer>) -> ChangeMail {
        ChangeMail { mailer, lost: AtomicU64::new(0) }
    }

    /// Queues a mail.
    pub fn send(&self, subject: &str, text: &str) {
        let Some(mailer) = &self.mailer else { return };
        match mailer.send(&format!("[addrwatch] {subject}"), text) {
            Ok(()) => self.report_lost(),
            Err(cause) => {
                if self.lost.fetch_add(1, Relaxed) == 0 {
                    warn(format_args!("{cause}: mails are lost until the queue can be written"));
                }
            }
        }
    }

    fn report_lost(&self) {
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0 {
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
