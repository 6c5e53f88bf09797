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

/// The lines of one router that its task has not taken yet. Without a listener there are none, and no channel: it takes
/// memory for each router.
#[derive(Default)]
pub struct SyslogLines(Option<(mpsc::Sender<LogRecord>, mpsc::Receiver<LogRecord>)>);

impl SyslogLines {
    pub fn new(listens: bool) -> SyslogLines {
        SyslogLines(listens.then(|| mpsc::channel(WAITING)))
    }

    /// Waits for the next line, forever if there is none.
    pub async fn next(&mut self) -> LogRecord {
        if let Some((_, lines)) = &mut self.0
            && let Some(line) = lines.recv().await
        {
            return line;
        }
        std::future::pending().await // it has a sender itself
    }
}

impl SyslogSenders {
    /// From now on lines from this address belong to this router. Routers behind one address all get them.
    pub fn add(&self, address: IpAddr, router: &RouterName, lines: &SyslogLines) {
        let Some((own, _)) = &lines.0 else { return };
        let mut senders = lock(&self.0);
        // Of tasks that ended too.
        senders.routers.retain(|_, routers| {
            routers.retain(|(_, sender)| !sender.is_closed());
            !routers.is_empty()
        });
        let routers = senders.routers.entry(address.to_canonical()).or_default();
        if !routers.iter().any(|(_, sender)| sender.same_channel(own)) {
            routers.push((router.clone(), own.clone()));
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
