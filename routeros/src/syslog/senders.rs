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

    /// The next line that arrived already.
    pub fn waiting(&mut self) -> Option<LogRecord> {
        self.0.as_mut()?.1.try_recv().ok()
    }
}

impl SyslogSenders {
    /// From now on lines from this address belong to this router. Of routers behind one address that gets a line which it
    /// names as its host; without such a name all get it.
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
        let Some(routers) = senders.routers.get(&from.to_canonical()) else { return };
        let host = message::host(message).unwrap_or_default();
        let is_named = |name: &RouterName| name.as_str().eq_ignore_ascii_case(&host);
        let names_one = routers.iter().any(|(name, _)| is_named(name));
        for (_, sender) in routers.iter().filter(|(name, _)| !names_one || is_named(name)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_behind_one_address() {
        let (senders, from) = (SyslogSenders::default(), IpAddr::from([192, 0, 2, 1]));
        let mut routers = ["core1", "core2"].map(|name| (name, SyslogLines::new(true)));
        for (name, lines) in &routers {
            senders.add(from, &RouterName::try_from((*name).to_owned()).unwrap(), lines);
        }
        let mut received = |message: &str| {
            senders.received(from, message.as_bytes());
            let of = routers.iter_mut().filter_map(|(name, lines)| lines.waiting().map(|_| *name));
            of.collect::<Vec<_>>()
        };
        let text = "system,info item added by alice";
        assert_eq!(received(&format!("<30>Oct  2 17:36:35 Core1 {text}")), ["core1"]);
        assert_eq!(
            received(&format!("<30>1 2026-10-02T17:36:35Z core2 - - - - {text}")),
            ["core2"]
        );
        let cef = "CEF:0|MikroTik|B|7.18|10|system,info|Low|dvchost=core2 msg=item added by alice";
        assert_eq!(received(&format!("Oct  2 17:36:35 core2 {cef}")), ["core2"]);
        // Another name, or none.
        assert_eq!(received(&format!("<30>Oct  2 17:36:35 relay {text}")), ["core1", "core2"]);
        assert_eq!(received(text), ["core1", "core2"]);
    }
}
