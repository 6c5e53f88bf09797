//! What is wrong with a message regardless of earlier ones: its address, its MAC, or the MAC of its frame.

use aw_output::Entry;
use ipnet::IpNet;
use shm_layout::{Event, Kind as EventKind, MacAddr};

use super::{
    ALL_NETWORKS, Dialect, Rules,
    claims::{Message, joined, more},
    is_probe,
};
use crate::{
    alert::{Alert, AlertKind},
    device::span,
    network::stands_for,
    station::Station,
};

/// What such a claim is.
pub(super) const IGNORED: &str = "in a form that Linux ignores, and other hosts may accept";

impl Rules {
    /// What is wrong with a message, in arpwatch's order. arpwatch knows ARP only.
    pub(super) fn anomaly(&self, event: &Event, network: &str) -> Option<AlertKind> {
        if !matches!(event.kind, EventKind::Pairing(_)) {
            return None;
        }
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
        let differs = event.source != event.mac;
        (differs && (is_ipv4 || self.dialect == Dialect::Devices)).then_some(AlertKind::Mismatch)
    }

    /// The MAC of the message or of its frame that no host has. arpwatch takes the MAC of a group for a host's.
    pub(super) fn no_host(&self, event: &Event) -> Option<MacAddr> {
        let is_no_host = |mac: &MacAddr| match self.dialect {
            Dialect::Devices => mac.is_no_host(),
            Dialect::Arpwatch => [MacAddr::BROADCAST, MacAddr::ZERO].contains(mac),
        };
        [event.mac, event.source].into_iter().find(is_no_host)
    }

    /// The alert about a MAC that no host has: once in `quiet` seconds for each address and MAC, of a few MACs. In the digest,
    /// if no host was seen at the address: anyone can name any number of those. Not about the MAC of a cluster, which the
    /// operator has listed or the learning period saw at this address; all hosts and none are no cluster.
    pub(super) fn no_host_alert(
        &self,
        entry: &Entry,
        (learning, is_guarded): (bool, bool),
        station: &mut Station,
    ) -> Option<Alert> {
        let (mac, time) = (self.no_host(&entry.event)?, entry.event.time.seconds());
        let is_cluster = ![MacAddr::BROADCAST, MacAddr::ZERO].contains(&mac);
        // At a named address, only the first MAC is learned.
        let is_first = station.claims.is_empty() && station.learned.is_empty();
        if learning && is_cluster && (is_first || !is_guarded) {
            station.learn_cluster(mac);
        }
        let ip = entry.event.ip();
        let is_own = match self.owners(ip).is_empty() {
            true => station.learned.contains(&mac) || self.known.contains_key(&mac),
            false => self.is_owner(ip, mac),
        };
        if is_cluster && is_own {
            return None;
        }
        let suppressed = station.admit_no_host(mac, time, self.quiet)?;
        Some(Alert {
            note: joined(Some(format!("no host has the MAC {mac}")), more(suppressed)),
            digest: station.claims.is_empty() && self.owners(ip).is_empty(),
            ..self.anomaly_alert(AlertKind::Broadcast, entry)
        })
    }

    /// The alert about a claim in a form that Linux ignores, to an address that another MAC has: other hosts may accept it. It
    /// changes nothing. Once in `quiet` seconds for each address, in the digest; if the configuration has the owner's MAC, and this is another
    /// one, not in the digest, and once for each MAC (`Rules::once`).
    pub(super) fn ignored_alert(&self, message: &mut Message) -> Option<Alert> {
        let Message { entry, station, device, .. } = message;
        let (mac, time) = (entry.event.mac, entry.event.time.seconds());
        let is_stranger = self.is_stranger(entry.event.ip(), mac);
        let owner = station.lasting_claim().filter(|owner| owner.mac != mac);
        let by_design = match owner {
            _ if is_stranger => self.proxies.contains(&mac),
            _ if self.is_owner(entry.event.ip(), mac) => true,
            None => true,
            Some(owner) => {
                station.is_shared(mac, owner.mac)
                    || station.learned.contains(&mac)
                    || self.is_in_group(mac, owner.mac)
                    || self.is_proxy(mac, device)
            }
        };
        // Each of these is limited as a takeover is.
        let is_due = is_stranger
            || station.last_ignored == 0
            || (time - station.last_ignored).abs() >= self.quiet;
        if by_design || !is_due {
            return None;
        }
        if !is_stranger {
            station.last_ignored = time;
        }
        let kind = if station.has(mac) { AlertKind::FlipFlop } else { AlertKind::Changed };
        Some(Alert {
            old_mac: owner.map(|owner| owner.mac.to_string()),
            previous: owner.and_then(|owner| span(owner.time, time).map(|_| owner.time)),
            held: owner.map_or(0, |owner| station.held(owner.mac, time)),
            note: Some(format!("it claims the address {IGNORED}")),
            digest: !is_stranger,
            ..self.alert(kind, entry)
        })
    }

    /// Its MAC is the frame's, its old MAC the message's.
    pub(super) fn anomaly_alert(&self, kind: AlertKind, entry: &Entry) -> Alert {
        let event = &entry.event;
        let frame = Entry { event: Event { mac: event.source, ..*event }, ..*entry };
        let of_frame = self.alert(kind, &frame);
        let differs = event.source != event.mac;
        Alert {
            old_mac: differs.then(|| event.mac.to_string()),
            frame_source: differs.then(|| of_frame.mac.clone()),
            ..of_frame
        }
    }
}
