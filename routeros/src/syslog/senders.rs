//! Which addresses may send, and to which router their lines belong.

use std::{collections::HashMap, net::IpAddr, sync::Mutex};

use aw_service::{info, warn};
use tokio::sync::mpsc;

use super::message;
use crate::{attribution::LogClaim, config::RouterName, log_record::LogRecord, recorder::lock};

/// Lines of a router that wait for its task, at most; further ones are dropped.
const WAITING: usize = 64;

/// The addresses of the routers.
#[derive(Default)]
pub struct SyslogSenders(Mutex<Senders>);

#[derive(Default)]
struct Senders {
    routers: HashMap<IpAddr, Vec<(RouterName, mpsc::Sender<LogRecord>)>>,
    /// Messages and connections of other addresses.
    foreign: u64,
}

/// The lines of one router that its task has not taken yet.
pub struct SyslogLines {
    lines: mpsc::Receiver<LogRecord>,
    sender: mpsc::Sender<LogRecord>,
}

impl Default for SyslogLines {
    fn default() -> SyslogLines {
        let (sender, lines) = mpsc::channel(WAITING);
        SyslogLines { lines, sender }
    }
}

impl SyslogLines {
    /// Waits for the next line, forever if there is none.
    pub async fn next(&mut self) -> LogRecord {
        match self.lines.recv().await {
            Some(line) => line,
            None => std::future::pending().await, // it has a sender itself
        }
    }
}

impl SyslogSenders {
    /// From now on lines from this address belong to this router. Routers behind one address all get them.
    pub fn add(&self, address: IpAddr, router: &RouterName, lines: &SyslogLines) {
        let mut senders = lock(&self.0);
        // Of tasks that ended too.
        senders.routers.retain(|_, routers| {
            routers.retain(|(_, sender)| !sender.is_closed());
            !routers.is_empty()
        });
        let routers = senders.routers.entry(address.to_canonical()).or_default();
        if !routers.iter().any(|(_, sender)| sender.same_channel(&lines.sender)) {
            routers.push((router.clone(), lines.sender.clone()));
        }
    }

    /// Whether this address may send; others are counted.
    pub fn allows(&self, address: IpAddr) -> bool {
        let mut senders = lock(&self.0);
        let address = address.to_canonical();
        let is_known = senders.routers.contains_key(&address);
        if !is_known {
            senders.foreign += 1;
            if senders.foreign == 1 {
                drop(senders);
                warn(format_args!(
                    "syslog from {address}, which is no router's address: ignored, and further ones are only counted"
                ));
            }
        }
        is_known
    }

    /// Takes a message that arrived from this address.
    pub fn received(&self, from: IpAddr, message: &[u8]) {
        if !self.allows(from) {
            return;
        }
        // Routers may send each packet that a firewall logs.
        if !message.windows(4).any(|part| part == b" by ") {
            return;
        }
        let Some(record) = message::parse(message) else { return };
        if LogClaim::of(&record).is_none() {
            return; // not about a change
        }
        let senders = lock(&self.0);
        for (_, sender) in senders.routers.get(&from.to_canonical()).into_iter().flatten() {
            // Those that do not fit are repeated by no one; the periodic export finds their change.
            let _ = sender.try_send(record.clone());
        }
    }

    /// Reports at the end what was only counted.
    pub fn report(&self) {
        let foreign = lock(&self.0).foreign;
        if foreign > 0 {
            info(format_args!("syslog messages and connections from other addresses: {foreign}"));
        }
    }
}
