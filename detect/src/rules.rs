//! The rules: from an event to alerts. No I/O and no clock: earlier events come from a [`Memory`], time from the event.

use std::{collections::BTreeMap, net::IpAddr};

use aw_output::Entry;
use ipnet::IpNet;
use shm_layout::{Event, Kind as EventKind, MacAddr, Origin};

use crate::{
    alert::{Alert, AlertKind},
    device::{Device, MacClass, MacPolicy},
    mac_pattern::MacPattern,
    names::Names,
    network::{full_network, network_of, stands_for},
    station::{MacClaim, Station, Transition},
};

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
    /// A MAC that claimed so many IPv4 addresses before any other MAC does proxy ARP; 0 = none does.
    pub proxy_arp_addresses: u32,
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

    /// Records an event in the memory and returns the alerts that it causes.
    pub fn observe<M: Memory>(
        &self,
        entry: &Entry,
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
            Dialect::Devices => self.observe_device(entry, memory),
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
        alerts.extend(self.device_alerts(entry, &mut device, is_new));
        let ip = event.ip();
        let mut station = memory.station(&network, ip)?;
        if is_probe(event) {
            station.probe = Some(MacClaim { mac: event.mac, time: event.time.seconds() });
        } else {
            alerts.extend(self.address_alert(entry, &mut station, &mut device, memory)?);
        }
        memory.store_station(&network, ip, &station)?;
        memory.store_device(event.mac, &device)?;
        self.apply_class_policy(event.mac, &mut alerts);
        Ok(alerts)
    }

    /// Alerts about the device itself: new, back, returned, unknown.
    fn device_alerts(&self, entry: &Entry, device: &mut Device, is_new: bool) -> Vec<Alert> {
        let event = &entry.event;
        let (time, last) = (event.time.seconds(), device.last);
        let mut alerts = Vec::new();
        if is_new {
            alerts.push(self.alert(AlertKind::NewDevice, entry));
        }
        let returned = device.seen(time, self.returned_after_days);
        if std::mem::take(&mut device.silent) {
            alerts.push(Alert { previous: Some(last), ..self.alert(AlertKind::Back, entry) });
        } else if let Some(days) = returned {
            let note = Some(format!("after {days} days"));
            let alert = self.alert(AlertKind::Returned, entry);
            alerts.push(Alert { previous: Some(last), note, ..alert });
        }
        let unknown = !self.known.is_empty() && !self.known.contains_key(&event.mac);
        if unknown && device.unknown_is_due(time) {
            alerts.push(self.alert(AlertKind::UnknownDevice, entry));
        }
        alerts
    }

    /// Records the device's claim of an address; the alert that it causes, if any.
    fn address_alert<M: Memory>(
        &self,
        entry: &Entry,
        station: &mut Station,
        device: &mut Device,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let event = &entry.event;
        let time = event.time.seconds();
        let answer = EventKind::Pairing(Origin::ArpReply);
        let answers =
            event.kind == answer || event.kind == EventKind::Pairing(Origin::NdAdvertisement);
        let duplicate = station.duplicate(event.mac, time, self.duplicate_within, answers);
        let change = station.claim(event.mac, time);
        if matches!(change, Some((Transition::NewStation, _))) && event.ip().is_ipv4() {
            device.addresses = device.addresses.saturating_add(1);
        }
        let old = change.and_then(|(_, old)| old).or(duplicate.map(|(other, _)| other));
        let old = old.filter(|old| old.mac != event.mac);
        let old_device = old.map(|old| memory.device(old.mac)).transpose()?.flatten();
        let proxy = [Some(&*device), old_device.as_ref()];
        let proxy = proxy.into_iter().flatten().any(|device| self.does_proxy_arp(device));
        if self.is_by_design(event.mac, old) || proxy && self.proxy_arp == MacPolicy::Ignore {
            return Ok(None);
        }
        let alert = match (duplicate, change) {
            (Some((other, evidence)), _) => Some(Alert {
                old_mac: Some(other.mac.to_string()),
                previous: Some(other.time),
                note: Some(evidence.into()),
                ..self.alert(AlertKind::Duplicate, entry)
            }),
            (None, change) => change.map(|(change, old)| self.change_alert(entry, change, old)),
        };
        Ok(alert.and_then(|mut alert| {
            alert.digest = proxy && self.proxy_arp == MacPolicy::Digest;
            self.limit_repeats(alert, station)
        }))
    }

    /// Whether a change of the address's MAC is normal: a virtual MAC takes its address back, or one of a failover group
    /// takes over. That another MAC takes the address of a virtual MAC is not.
    fn is_by_design(&self, mac: MacAddr, old: Option<MacClaim>) -> bool {
        let in_group = |old: MacAddr| {
            let includes = |macs: &[MacPattern], mac| macs.iter().any(|one| one.matches(mac));
            self.failovers.iter().any(|macs| includes(macs, mac) && includes(macs, old))
        };
        MacClass::of(mac) == MacClass::Virtual && self.virtual_macs == MacPolicy::Ignore
            || old.is_some_and(|old| in_group(old.mac))
    }

    /// Suppresses what repeats: flip flops and duplicates. A change to another MAC is always reported.
    fn limit_repeats(&self, mut alert: Alert, station: &mut Station) -> Option<Alert> {
        let duplicate = alert.kind == AlertKind::Duplicate;
        if !duplicate && alert.kind != AlertKind::FlipFlop {
            return Some(alert);
        }
        let suppressed = station.admit_alert(alert.time, self.quiet, duplicate)?;
        if suppressed > 0 {
            let more = format!("{suppressed} more since the last alert");
            alert.note = Some(alert.note.map_or(more.clone(), |note| format!("{note}, {more}")));
        }
        Some(alert)
    }

    /// Applies the policy of the MAC's class. A MAC with a name is treated like a vendor's.
    fn apply_class_policy(&self, mac: MacAddr, alerts: &mut Vec<Alert>) {
        let policy = match MacClass::of(mac) {
            _ if self.known.contains_key(&mac) => MacPolicy::Report,
            MacClass::Global => MacPolicy::Report,
            MacClass::Virtual => self.virtual_macs,
            MacClass::Random => self.random_macs,
        };
        match policy {
            MacPolicy::Ignore => alerts.clear(),
            // A duplicate address is urgent, whatever the class of the MAC.
            MacPolicy::Digest => alerts
                .iter_mut()
                .for_each(|alert| alert.digest |= alert.kind != AlertKind::Duplicate),
            MacPolicy::Report => {}
        }
    }

    fn does_proxy_arp(&self, device: &Device) -> bool {
        self.proxy_arp_addresses > 0 && device.addresses >= self.proxy_arp_addresses
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
            if device.silent || now - device.last.max(since) <= *limit {
                continue;
            }
            device.silent = true;
            memory.store_device(*mac, &device)?;
            alerts.push(Alert {
                mac: mac.to_string(),
                name: self.known.get(mac).cloned(),
                previous: Some(device.last),
                note: Some(format!("not seen for {} s", now - device.last)),
                ..Alert::new(AlertKind::Silent, now)
            });
        }
        Ok(alerts)
    }

    fn change_alert(&self, entry: &Entry, change: Transition, old: Option<MacClaim>) -> Alert {
        let mac = entry.event.mac;
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
            previous: old.map(|old| old.time),
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
