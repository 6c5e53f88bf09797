//! Whether the log that is followed shows changes at all, asked after each complete export and reported once.

use std::{net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{RouterTask, read_facts::TURNS};
use crate::{
    log_rule::{ChangeLog, change_log},
    shared_faults::{OwnFault, SharedFault},
    ssh::{SshConnection, SshFault},
};

/// The answer; `None` if it has no known form.
pub type LogChecked = Result<Option<ChangeLog>, SshFault>;

pub type LogCheck = Pin<Box<dyn Future<Output = LogChecked> + Send>>;

/// The time limit of all commands together; the wait for a turn is no part of it.
const ALL_TIME: Duration = Duration::from_secs(40);

/// Asks the router. A router that does not answer is judged after the next export.
pub fn check_log(connection: Arc<SshConnection>) -> LogCheck {
    Box::pin(async move {
        let _turn = TURNS.acquire().await;
        let late = |_| Err(SshFault::NoChannel("the router is too slow".into()));
        timeout(ALL_TIME, change_log(&connection)).await.unwrap_or_else(late)
    })
}

/// Waits for the answer, forever if nothing was asked.
pub async fn next_check(check: &mut Option<LogCheck>) -> LogChecked {
    match check {
        Some(check) => check.await,
        None => std::future::pending().await,
    }
}

impl RouterTask {
    /// Notes once that the router does not answer, and once that it does again. Reports once that the log shows no changes, and
    /// once that it does again.
    pub fn report_change_log(&mut self, checked: LogChecked) {
        let place = match checked {
            Ok(place) => place,
            Err(fault) => {
                if self.rules_missing.set("missing") {
                    let text = format!(
                        "whether its log shows changes is not known: its logging rules cannot be read: {fault} (asked again after each export)"
                    );
                    self.recorder.note(&self.router.name, &text);
                }
                return self.store_unread();
            }
        };
        if self.rules_missing.clear() {
            self.recorder.note(&self.router.name, "its logging rules are read again");
        }
        self.store_unread();
        let Some(place) = place else { return };
        let listens = self.recorder.config.syslog.is_some();
        match place.blind(listens) {
            Some(why) => {
                let fault = SharedFault::own(OwnFault::Log, &why, why.clone());
                self.recorder.own_fault(&self.router, fault);
            }
            None => {
                let text = "its log shows changes again";
                self.recorder.own_fault_ends(&self.router.name, OwnFault::Log, text);
            }
        }
    }

    /// Lets this address of the router send syslog.
    pub fn allow_syslog(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.recorder.syslog_senders.add(address, &self.router.name, &self.syslog);
        }
    }
}
