//! The rules: from an event to alerts. No I/O and no clock: earlier events come from a [`Memory`], time from the event.

mod claims;
mod denials;
mod proxies;

use std::{collections::BTreeMap, net::IpAddr};

use aw_output::Entry;
use ipnet::IpNet;
use shm_layout::{Event, Kind as EventKind, MacAddr, Origin};

use crate::{
    alert::{Alert, AlertKind},
    device::{Device, MacClass, MacPolicy, span},
    mac_pattern::MacPattern,
    names::Names,
    network::{NetworkState, full_network, network_of, stands_for},
    station::{MacClaim, Station, Transition},
};
use claims::{Message, deed, joined, proves_address};

/// What is known of earlier events.
pub trait Memory {
    /// Why it cannot be read or written.
    type Error;
    /// The state of an address in a network, by its full name; an empty one if it was never seen.
    fn station(&mut self, network: &str, ip: IpAddr) -> Result<Station, Self::Error>;
    /// Replaces the state of an address.
    fn store_station(
        &mut self,
        network: &str,
        ip: IpAddr,
        state: &Station,
    ) -> Result<(), Self::Error>;
    /// The state of a device, if it was seen before.
    fn device(&mut self, mac: MacAddr) -> Result<Option<Device>, Self::Error>;
    /// Replaces the state of a device.
    fn store_device(&mut self, mac: MacAddr, state: &Device) -> Result<(), Self::Error>;
    /// The state of a network, by its full name, if it was seen before.
    fn network(&mut self, network: &str) -> Result<Option<NetworkState>, Self::Error>;
    /// Replaces the state of a network.
    fn store_network(&mut self, network: &str, state: &NetworkState) -> Result<(), Self::Error>;
}

/// A rule set, with the message format that belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// Rules about devices: IPv4 and IPv6, with policies for random, virtual and proxy ARP MACs
    #[default]
    Devices,
    /// arpwatch's rules and messages: IPv4 only, no probes, each repeated alert is sent
    Arpwatch,
}

/// In [`Rules::local`]: all networks that are not named.
pub const ALL_NETWORKS: &str = "*";

/// The rules' parameters.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The rule set.
    pub dialect: Dialect,
    /// Known devices; if there are any, all others are unknown devices.
    pub known: Names,
    /// Devices whose silence is reported, after so many seconds.
    pub watched: BTreeMap<MacAddr, i64>,
    /// Days of absence after which a device has returned; 0 = never.
    pub returned_after_days: u32,
    /// Two machines use an address if both claim it within so many seconds.
    pub duplicate_within: i64,
    /// Flip flops and duplicates of an address are reported once in so many seconds.
    pub quiet: i64,
    /// For MACs of VRRP, CARP, HSRP and GLBP.
    pub virtual_macs: MacPolicy,
    /// For locally administered MACs.
    pub random_macs: MacPolicy,
    /// Groups of MACs that take each other's addresses over by design.
    pub failovers: Vec<Vec<MacPattern>>,
    /// The local address blocks by network, or of [`ALL_NETWORKS`]; a network without an entry has no bogons. A longer
    /// name, with the ring and the host, precedes a shorter one.
    pub local: BTreeMap<String, Vec<IpNet>>,
    /// A MAC that answers for so many IPv4 addresses within a week does proxy ARP; 0 = none does.
    pub proxy_arp_addresses: u32,
    /// MACs that do proxy ARP, however many addresses they answer for.
    pub proxies: Vec<MacAddr>,
    /// For addresses that a MAC with proxy ARP takes over or loses.
    pub proxy_arp: MacPolicy,
    /// Whether messages show the ring: networks of several rings can have the same name.
    pub show_ring: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            dialect: Dialect::Devices,
            known: BTreeMap::new(),
            watched: BTreeMap::new(),
            returned_after_days: 30,
            duplicate_within: 60,
            quiet: 3600,
            virtual_macs: MacPolicy::Ignore,
            random_macs: MacPolicy::Digest,
            failovers: Vec::new(),
            local: BTreeMap::new(),
            proxy_arp_addresses: 32,
            proxies: Vec::new(),
            proxy_arp: MacPolicy::Digest,
            show_ring: false,
        }
    }
}

impl Rules {
    /// Rules that report MACs of every class, for receivers that filter themselves.
    pub fn for_all_macs(known: Names) -> Rules {
        let all = MacPolicy::Report;
        Rules { known, virtual_macs: all, random_macs: all, proxy_arp: all, ..Rules::default() }
    }

    /// Records an event in the memory and returns the alerts that it causes. `learning`: MACs that share an address now share
    /// it by design.
    pub fn observe<M: Memory>(
        &self,
        entry: &Entry,
        learning: bool,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let event = &entry.event;
        if let EventKind::ConfigChange(change) = event.kind {
            let mut alert = self.alert(AlertKind::ConfigChange, entry);
            alert.mac.clear();
            let lines = format!("{} lines added, {} removed", change.added, change.removed);
            alert.note = Some(format!("by {}, {lines}", change.user));
            return Ok(vec![alert]);
        }
        match self.dialect {
            Dialect::Arpwatch => self.observe_as_arpwatch(entry, memory),
            Dialect::Devices => self.observe_device(entry, learning, memory),
        }
    }

    fn observe_as_arpwatch<M: Memory>(
        &self,
        entry: &Entry,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let event = &entry.event;
        // Debian's arpwatch ignores probes (sender address 0.0.0.0) and IPv6.
        if !event.kind.is_ipv4() || is_probe(event) {
            return Ok(Vec::new());
        }
        // arpwatch reports an anomaly of the frame and nothing else of it.
        let network = full_network(entry);
        if let Some(kind) = self.anomaly(event, &network) {
            return Ok(vec![self.anomaly_alert(kind, entry)]);
        }
        let ip = event.ip();
        let mut station = memory.station(&network, ip)?;
        let change = station.claim(event.mac, event.time.seconds());
        memory.store_station(&network, ip, &station)?;
        Ok(change.map(|(change, old)| self.change_alert(entry, change, old)).into_iter().collect())
    }

    fn observe_device<M: Memory>(
        &self,
        entry: &Entry,
        learning: bool,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let (event, network) = (&entry.event, full_network(entry));
        let anomaly = self.anomaly(event, &network).map(|kind| self.anomaly_alert(kind, entry));
        let mut alerts: Vec<_> = anomaly.into_iter().collect();
        if is_no_device(event.mac) {
            return Ok(alerts);
        }
        let known = memory.device(event.mac)?;
        let is_new = known.is_none();
        let mut device = known.unwrap_or_else(|| Device::new(event.time.seconds()));
        let ip = event.ip();
        let mut station = memory.station(&network, ip)?;
        let proven = proves_address(event, &station);
        alerts.extend(self.device_alerts(entry, proven, &mut device, is_new));
        let (station, device) = (&mut station, &mut device);
        let network = &*network;
        let mut message = Message { entry, network, learning, station, device };
        alerts.extend(self.address_alerts(&mut message, memory)?);
        memory.store_station(network, ip, station)?;
        memory.store_device(event.mac, device)?;
        self.apply_class_policy(event.mac, &mut alerts);
        Ok(alerts)
    }

    /// Alerts about the device itself: new, back, returned, unknown. Without an address, if the event does not show that it is
    /// the device's.
    fn device_alerts(
        &self,
        entry: &Entry,
        proven: bool,
        device: &mut Device,
        is_new: bool,
    ) -> Vec<Alert> {
        let event = &entry.event;
        let time = event.time.seconds();
        let previous = span(device.last, time).map(|_| device.last);
        let mut alert = Alert { previous, ..self.alert(AlertKind::Back, entry) };
        if !proven {
            alert.ip.clear();
            alert.asked = Some(event.ip());
            alert.note = Some(deed(event));
        }
        let alert = |kind| Alert { kind, ..alert.clone() };
        let mut alerts = Vec::new();
        if is_new {
            alerts.push(Alert { previous: None, ..alert(AlertKind::NewDevice) });
        }
        let returned = device.seen(time, self.returned_after_days);
        if std::mem::take(&mut device.silent) {
            alerts.push(alert(AlertKind::Back));
        } else if let Some(days) = returned {
            let alert = alert(AlertKind::Returned);
            let note = joined(Some(format!("after {days} days")), alert.note);
            alerts.push(Alert { note, ..alert });
        }
        let unknown = !self.known.is_empty() && !self.known.contains_key(&event.mac);
        if unknown && device.unknown_is_due(time) {
            alerts.push(Alert { previous: None, ..alert(AlertKind::UnknownDevice) });
        }
        alerts
    }

    /// Whether two MACs are of one failover group.
    fn is_in_group(&self, mac: MacAddr, old: MacAddr) -> bool {
        let includes = |macs: &[MacPattern], mac| macs.iter().any(|one| one.matches(mac));
        self.failovers.iter().any(|macs| includes(macs, mac) && includes(macs, old))
    }

    /// Applies the policies of the classes of the MACs. An attacker chooses its own MAC, not that of the owner: what the alert
    /// about a MAC that takes an address is worth depends on both.
    fn apply_class_policy(&self, mac: MacAddr, alerts: &mut Vec<Alert>) {
        let own = self.policy_of(mac);
        alerts.retain_mut(|alert| {
            let old = alert.old_mac.as_ref().filter(|_| alert.kind.is_takeover());
            let old = old.and_then(|old| old.parse().ok()).map(|old| self.policy_of(old));
            let policy = old.map_or(own, |old| own.min(old));
            // A duplicate address is urgent, whatever the class of the MAC.
            alert.digest |= policy == MacPolicy::Digest && alert.kind != AlertKind::Duplicate;
            policy != MacPolicy::Ignore
        });
    }

    /// The policy of a MAC's class. A MAC with a name is treated like a vendor's.
    fn policy_of(&self, mac: MacAddr) -> MacPolicy {
        match MacClass::of(mac) {
            _ if self.known.contains_key(&mac) => MacPolicy::Report,
            MacClass::Global => MacPolicy::Report,
            MacClass::Virtual => self.virtual_macs,
            MacClass::Random => self.random_macs,
        }
    }

    /// What is wrong with an ARP message regardless of earlier ones, in arpwatch's order.
    fn anomaly(&self, event: &Event, network: &str) -> Option<AlertKind> {
        if !matches!(event.kind, EventKind::Pairing(_)) || !event.kind.is_ipv4() {
            return None;
        }
        let named = self.local.iter().filter(|(name, _)| stands_for(name, network));
        let named = named.max_by_key(|(name, _)| name.len()).map(|(_, blocks)| blocks);
        let local = named.or(self.local.get(ALL_NETWORKS));
        let is_local = |nets: &Vec<IpNet>| nets.iter().any(|net| net.contains(&event.ip()));
        // A probe only asks for an address; it does not claim it.
        if !is_probe(event) && local.is_some_and(|nets| !is_local(nets)) {
            Some(AlertKind::Bogon)
        } else if is_no_device(event.source) || is_no_device(event.mac) {
            Some(AlertKind::Broadcast)
        } else {
            (event.source != event.mac).then_some(AlertKind::Mismatch)
        }
    }

    /// Its MAC is the frame's, its old MAC the message's.
    fn anomaly_alert(&self, kind: AlertKind, entry: &Entry) -> Alert {
        let event = &entry.event;
        let frame = Entry { event: Event { mac: event.source, ..*event }, ..*entry };
        let old_mac = (event.source != event.mac).then(|| event.mac.to_string());
        Alert { old_mac, ..self.alert(kind, &frame) }
    }

    /// Alerts about watched devices that are silent for too long at `now`. Nothing is known of the time before `since`,
    /// when the program was not running: it does not count as silence.
    pub fn silent_devices<M: Memory>(
        &self,
        now: i64,
        since: i64,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let mut alerts = Vec::new();
        for (mac, limit) in &self.watched {
            let Some(mut device) = memory.device(*mac)? else { continue };
            // Not if the clock was set in between: the time is unknown then.
            let silence = span(device.last.max(since), now);
            if device.silent || silence.is_none_or(|silence| silence <= *limit) {
                continue;
            }
            let last = span(device.last, now).map(|_| device.last);
            device.silent = true;
            memory.store_device(*mac, &device)?;
            alerts.push(Alert {
                mac: mac.to_string(),
                name: self.known.get(mac).cloned(),
                previous: last,
                note: Some(format!("not seen for {} s", now - last.unwrap_or(since))),
                ..Alert::new(AlertKind::Silent, now)
            });
        }
        Ok(alerts)
    }

    fn change_alert(&self, entry: &Entry, change: Transition, old: Option<MacClaim>) -> Alert {
        let (mac, time) = (entry.event.mac, entry.event.time.seconds());
        let kind = match change {
            Transition::NewActivity => AlertKind::NewActivity,
            Transition::NewStation => AlertKind::NewStation,
            Transition::SuppressedDecnet => AlertKind::SuppressedDecnet,
            Transition::FlipFlop => AlertKind::FlipFlop,
            Transition::Reused => AlertKind::ReusedOld,
            Transition::Changed => AlertKind::Changed,
        };
        Alert {
            old_mac: old.filter(|old| old.mac != mac).map(|old| old.mac.to_string()),
            previous: old.map(|old| old.time).filter(|old| span(*old, time).is_some()),
            ..self.alert(kind, entry)
        }
    }

    fn alert(&self, kind: AlertKind, entry: &Entry) -> Alert {
        let event = &entry.event;
        Alert {
            host: entry.host.to_owned(),
            ring: entry.ring.to_string(),
            show_ring: self.show_ring,
            network: network_of(event),
            ip: event.ip().to_string(),
            mac: event.mac.to_string(),
            name: self.known.get(&event.mac).cloned(),
            ..Alert::new(kind, event.time.seconds())
        }
    }
}

/// Whether no device can have this MAC.
fn is_no_device(mac: MacAddr) -> bool {
    mac == MacAddr::BROADCAST || mac == MacAddr::ZERO
}

fn is_probe(event: &Event) -> bool {
    matches!(event.kind, EventKind::Pairing(Origin::ArpProbe | Origin::NdDad))
}

#[cfg(test)]
mod tests;
