//! What is wrong with a message regardless of earlier ones: its address, its MAC, or the MAC of its frame.

use aw_output::Entry;
use ipnet::IpNet;
use shm_layout::{Event, Kind as EventKind, MacAddr, Origin};

use super::{ALL_NETWORKS, Dialect, Rules, is_probe};
use crate::{
    alert::{Alert, AlertKind},
    network::stands_for,
    station::Station,
};

impl Rules {
    /// What is wrong with a message, in arpwatch's order. arpwatch knows ARP only.
    pub(super) fn anomaly(&self, event: &Event, network: &str) -> Option<AlertKind> {
        let EventKind::Pairing(origin) = event.kind else { return None };
        let is_ipv4 = event.kind.is_ipv4();
        let named = self.local.iter().filter(|(name, _)| stands_for(name, network));
        let named = named.max_by_key(|(name, _)| name.len()).map(|(_, blocks)| blocks);
        let local = named.or(self.local.get(ALL_NETWORKS));
        let is_local = |nets: &Vec<IpNet>| nets.iter().any(|net| net.contains(&event.ip()));
        // A probe only asks for an address; it does not claim it.
        if is_ipv4 && !is_probe(event) && local.is_some_and(|nets| !is_local(nets)) {
            return Some(AlertKind::Bogon);
        }
        if self.no_host(event).is_some() {
            return Some(AlertKind::Broadcast);
        }
        // A redirect names the MAC of another host than its sender.
        let differs = event.source != event.mac && origin != Origin::NdRedirect;
        (differs && (is_ipv4 || self.dialect == Dialect::Devices)).then_some(AlertKind::Mismatch)
    }

    /// The MAC of the message or of its frame that no host has. arpwatch takes the MAC of a group for a host's.
    fn no_host(&self, event: &Event) -> Option<MacAddr> {
        let is_no_host = |mac: &MacAddr| match self.dialect {
            Dialect::Devices => mac.is_no_host(),
            Dialect::Arpwatch => [MacAddr::BROADCAST, MacAddr::ZERO].contains(mac),
        };
        [event.mac, event.source].into_iter().find(is_no_host)
    }

    /// The alert about a MAC that no host has: once in `quiet` seconds for each address and MAC. Not about the MAC of a
    /// cluster, which the configuration names or the learning period saw at this address.
    pub(super) fn no_host_alert(
        &self,
        entry: &Entry,
        learning: bool,
        station: &mut Station,
    ) -> Option<Alert> {
        let mac = self.no_host(&entry.event)?;
        if learning {
            station.learn(mac);
        }
        let by_design = station.learned.contains(&mac) || self.known.contains_key(&mac);
        let is_due =
            !by_design && station.admit_no_host(mac, entry.event.time.seconds(), self.quiet);
        is_due.then(|| Alert {
            note: Some(format!("no host has the MAC {mac}")),
            ..self.anomaly_alert(AlertKind::Broadcast, entry)
        })
    }

    /// Its MAC is the frame's, its old MAC the message's.
    pub(super) fn anomaly_alert(&self, kind: AlertKind, entry: &Entry) -> Alert {
        let event = &entry.event;
        let frame = Entry { event: Event { mac: event.source, ..*event }, ..*entry };
        let old_mac = (event.source != event.mac).then(|| event.mac.to_string());
        Alert { old_mac, ..self.alert(kind, &frame) }
    }
}
