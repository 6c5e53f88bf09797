//! The rules: from an event to alerts. No I/O and no clock: earlier events come from a [`Memory`], times from the event and
//! the caller.

mod claims;
mod class_policy;
mod denials;
mod digested;
mod frames;
mod past;
mod proxies;
mod rogues;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aw_output::{Entry, names::Names};
use ipnet::IpNet;
use shm_layout::{Event, Evidence, Kind as EventKind, MacAddr, Origin, UnixTime};

use crate::{
    alert::{Alert, AlertKind},
    device::{Device, MacPolicy, span},
    infrastructure::{NamedServer, names},
    mac_pattern::MacPattern,
    network::{NetworkState, full_network, network_of},
    station::{MacClaim, Station, Transition},
};
use claims::{Message, deed, joined, proves_address};
use past::Past;

pub(crate) use past::latest;
pub use past::past_time;
pub use rogues::{Observed, has_learned};

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
    /// The devices that the operator has listed; if there are any, all others are unknown devices.
    pub known: Names,
    /// Names of devices, for messages and for what is important: a name lowers no alert.
    pub names: Names,
    /// Devices whose silence is reported, after so many seconds.
    pub watched: BTreeMap<MacAddr, i64>,
    /// Days of absence after which a device has returned; 0 = never.
    pub returned_after_days: u32,
    /// Two machines use an address if both claim it within so many seconds.
    pub duplicate_within: i64,
    /// Flip flops and duplicates of an address are reported once in so many seconds.
    pub quiet: i64,
    /// For MACs of VRRP, CARP, HSRP and GLBP that the learning period saw.
    pub virtual_macs: MacPolicy,
    /// For locally administered MACs. None: in a digest, except at interfaces where the learning period saw devices and none of
    /// them had such a MAC; there, each is reported.
    pub random_macs: Option<MacPolicy>,
    /// Groups of MACs that take each other's addresses over by design.
    pub failovers: Vec<Vec<MacPattern>>,
    /// The local address blocks by network, or of [`ALL_NETWORKS`]; a network without an entry has no bogons. A longer
    /// name, with the ring and the host, precedes a shorter one.
    pub local: BTreeMap<String, Vec<IpNet>>,
    /// A MAC that answers for so many IPv4 addresses within a week of the learning period does proxy ARP; 0 = none does.
    pub proxy_arp_addresses: u32,
    /// MACs that do proxy ARP, however many addresses they answer for.
    pub proxies: Vec<MacAddr>,
    /// MACs that probe the addresses of others, so that hosts which answer deny them nothing.
    pub scanners: Vec<MacAddr>,
    /// For addresses that a MAC with proxy ARP takes over or loses.
    pub proxy_arp: MacPolicy,
    /// Routers, DHCP servers and DNS servers that the configuration names.
    pub routers: Vec<NamedServer>,
    /// The same.
    pub dhcp_servers: Vec<NamedServer>,
    /// The same.
    pub dns_servers: Vec<NamedServer>,
    /// Whether messages show the ring: networks of several rings can have the same name.
    pub show_ring: bool,
    /// The configuration file, if it is that of the service: messages name it, and how it is applied.
    pub service_file: Option<String>,
    /// The MACs of the sensor itself: they do not show which kind of MACs others have.
    pub own: BTreeSet<MacAddr>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            dialect: Dialect::Devices,
            known: BTreeMap::new(),
            names: BTreeMap::new(),
            watched: BTreeMap::new(),
            returned_after_days: 30,
            duplicate_within: 60,
            quiet: 3600,
            virtual_macs: MacPolicy::Ignore,
            random_macs: None,
            failovers: Vec::new(),
            local: BTreeMap::new(),
            proxy_arp_addresses: 32,
            proxies: Vec::new(),
            scanners: Vec::new(),
            proxy_arp: MacPolicy::Digest,
            routers: Vec::new(),
            dhcp_servers: Vec::new(),
            dns_servers: Vec::new(),
            show_ring: false,
            service_file: None,
            own: BTreeSet::new(),
        }
    }
}

impl Rules {
    /// Rules that report MACs of every class, for receivers that filter themselves.
    pub fn for_all_macs(known: Names) -> Rules {
        let all = MacPolicy::Report;
        Rules {
            known,
            virtual_macs: all,
            random_macs: Some(all),
            proxy_arp: all,
            ..Rules::default()
        }
    }

    /// Records an event in the memory and returns the alerts that it causes. A time after `now` counts as now. `learning`:
    /// MACs that share an address now share it by design.
    pub fn observe<M: Memory>(
        &self,
        entry: &Entry,
        now: UnixTime,
        learning: bool,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let sensor_time = entry.event.time;
        let event = Event { time: past_time(sensor_time, now), ..entry.event };
        let is_timed = event.time == sensor_time;
        let (entry, event) = (&Entry { event, ..*entry }, &event);
        let memory = &mut Past { memory, latest: latest(now).seconds() };
        if let EventKind::ConfigChange(change) = event.kind {
            let mut alert = self.alert(AlertKind::ConfigChange, entry);
            alert.mac.clear();
            let lines = format!("{} lines added, {} removed", change.added, change.removed);
            alert.note = Some(format!("by {}, {lines}", change.user));
            return Ok(vec![alert]);
        }
        // Of a lease, nothing shows that the device is there: what it is to be compared with is not kept.
        if event.kind.evidence() == Evidence::Lease {
            return Ok(Vec::new());
        }
        match self.dialect {
            Dialect::Arpwatch => self.observe_as_arpwatch(entry, memory),
            Dialect::Devices => self.observe_device(entry, is_timed, learning, memory),
        }
    }

    fn observe_as_arpwatch<M: Memory>(
        &self,
        entry: &Entry,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let event = &entry.event;
        // Debian's arpwatch ignores probes (sender address 0.0.0.0), IPv6, and ARP in a SNAP header.
        let is_ignored = event.kind.evidence() == Evidence::Ignored;
        if !event.kind.is_ipv4() || is_probe(event) || is_ignored {
            return Ok(Vec::new());
        }
        // arpwatch reports an anomaly of the frame and nothing else of it.
        let network = full_network(entry);
        if let Some(kind) = self.anomaly(event, &network) {
            return Ok(vec![self.anomaly_alert(kind, entry)]);
        }
        let ip = event.ip();
        let mut station = memory.station(&network, ip)?;
        let is_named = |mac| self.is_named(mac);
        let change = station.claim(event.mac, event.time.seconds(), is_named);
        memory.store_station(&network, ip, &station)?;
        let alert = change.map(|(change, old)| Alert {
            held: old.map_or(0, |old| station.held(old.mac, event.time.seconds())),
            ..self.change_alert(entry, change, old)
        });
        Ok(alert.into_iter().collect())
    }

    fn observe_device<M: Memory>(
        &self,
        entry: &Entry,
        is_timed: bool,
        learning: bool,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let (event, network, ip) = (&entry.event, full_network(entry), entry.event.ip());
        let anomaly = self.anomaly(event, &network).filter(|kind| *kind != AlertKind::Broadcast);
        let anomaly = anomaly.map(|kind| self.anomaly_alert(kind, entry));
        let mut alerts: Vec<_> = anomaly.into_iter().collect();
        let mut station = memory.station(&network, ip)?;
        let is_guarded = self.guards(ip);
        // No learning period makes another MAC normal where the configuration has the owner's.
        let learning = learning && !self.is_stranger(ip, event.mac);
        alerts.extend(self.no_host_alert(entry, (learning, is_guarded), &mut station));
        if event.mac.is_no_host() {
            memory.store_station(&network, ip, &station)?;
            return Ok(alerts);
        }
        // Another host's redirect does not show that the device which it names is there, nor which address it has.
        let is_named_by_other = is_redirect(event) && event.source != event.mac;
        let learning = learning && !is_named_by_other;
        let known = memory.device(event.mac)?;
        let is_new = known.is_none();
        let mut device = known.unwrap_or_else(|| Device::new(event.time.seconds()));
        device.learned |= learning;
        device.named = self.is_named(event.mac);
        let proven = proves_address(event, &station);
        if !is_named_by_other {
            alerts.extend(self.device_alerts(entry, proven, &mut device, is_new));
        }
        let (station, device) = (&mut station, &mut device);
        let network = &*network;
        let mut message =
            Message { entry, network, is_timed, learning, is_guarded, station, device };
        let of_address = self.address_alerts(&mut message, memory)?;
        self.note_takeover((ip, event.mac), &mut alerts, &of_address, message.station);
        alerts.extend(of_address);
        memory.store_station(network, ip, station)?;
        if !is_named_by_other {
            memory.store_device(event.mac, device)?;
        }
        let policy = self.class_policy(event.mac, device, network, memory)?;
        class_policy::apply(policy, device, &mut alerts);
        alerts.iter_mut().for_each(name_sender);
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

    /// Says of a new or unknown device that it takes the address of another one, unless that belongs in the digest. Where the configuration
    /// has MACs beside the address, these decide who takes it.
    fn note_takeover(
        &self,
        (ip, mac): (IpAddr, MacAddr),
        of_device: &mut [Alert],
        of_address: &[Alert],
        station: &Station,
    ) {
        let note = if self.owners(ip).is_empty() {
            let taken = of_address.iter().find(|one| one.kind.is_takeover() && !one.digest);
            let old = taken.and_then(|one| one.old_mac.as_ref()?.parse().ok());
            // Who probed the address did not have it.
            old.filter(|old| station.has(*old)).map(|old| {
                let name = self.name(old).map(|name| format!(" [{name}]")).unwrap_or_default();
                format!("it claims the address of {old}{name}")
            })
        } else {
            let claims = station.owner() == Some(mac) && self.is_stranger(ip, mac);
            claims.then(|| format!("it claims {ip}: {}", self.other_than(ip, mac)))
        };
        let Some(note) = note else { return };
        use AlertKind::{NewDevice, UnknownDevice};
        for one in of_device.iter_mut().filter(|one| matches!(one.kind, NewDevice | UnknownDevice))
        {
            one.note = Some(note.clone());
        }
    }

    /// Whether the configuration names the address itself as that of a router or server, and not only a block that has it.
    pub fn guards(&self, ip: IpAddr) -> bool {
        self.naming_key(ip).is_some()
    }

    /// The key of the configuration that names this address itself.
    pub fn naming_key(&self, ip: IpAddr) -> Option<&'static str> {
        self.named_lists().into_iter().find(|(_, all)| names(all, ip)).map(|(key, _)| key)
    }

    /// The routers and servers that the configuration names, with its keys.
    pub fn named_lists(&self) -> [(&'static str, &[NamedServer]); 3] {
        [
            ("routers", &self.routers),
            ("dhcp_servers", &self.dhcp_servers),
            ("dns_servers", &self.dns_servers),
        ]
    }

    /// Whether all of these MACs take over each other's addresses by design.
    pub fn are_grouped(&self, macs: &[MacAddr]) -> bool {
        macs.iter().all(|mac| self.is_in_group(*mac, macs[0]))
    }

    /// Whether two MACs are of one failover group.
    fn is_in_group(&self, mac: MacAddr, old: MacAddr) -> bool {
        let includes = |macs: &[MacPattern], mac| macs.iter().any(|one| one.matches(mac));
        self.failovers.iter().any(|macs| includes(macs, mac) && includes(macs, old))
    }

    /// The name of a device.
    pub fn name(&self, mac: MacAddr) -> Option<&String> {
        self.names.get(&mac).or_else(|| self.known.get(&mac))
    }

    /// Whether the configuration names this MAC itself, and not only a pattern that includes it.
    fn is_named(&self, mac: MacAddr) -> bool {
        let mut failovers = self.failovers.iter().flatten();
        self.name(mac).is_some()
            || self.watched.contains_key(&mac)
            || self.proxies.contains(&mac)
            || self.scanners.contains(&mac)
            || failovers.any(|pattern| pattern.is(mac))
    }

    /// All MACs that the configuration names itself.
    pub fn named_macs(&self) -> Vec<MacAddr> {
        let named = self.names.keys().chain(self.known.keys()).chain(self.watched.keys());
        let named = named.chain(&self.proxies).chain(&self.scanners).copied();
        named.chain(self.failovers.iter().flatten().filter_map(MacPattern::single)).collect()
    }

    /// Alerts about watched devices that are silent for too long at `now`. Nothing is known of the time before `since`,
    /// when the program was not running: it does not count as silence.
    pub fn silent_devices<M: Memory>(
        &self,
        now: i64,
        since: i64,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let latest = latest(UnixTime::new(now, 0)).seconds();
        let memory = &mut Past { memory, latest };
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
                name: self.name(*mac).cloned(),
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
            name: self.name(event.mac).cloned(),
            frame_source: (event.source != event.mac).then(|| event.source.to_string()),
            ..Alert::new(kind, event.time.seconds())
        }
    }
}

/// Says in the note which MAC sent the frame. An alert about the frame has that MAC as its own.
fn name_sender(alert: &mut Alert) {
    let sender = alert.frame_source.as_ref().filter(|sender| **sender != alert.mac);
    if let Some(sender) = sender {
        alert.note = joined(alert.note.take(), Some(format!("sent by {sender}")));
    }
}

fn is_probe(event: &Event) -> bool {
    matches!(event.kind, EventKind::Pairing(Origin::ArpProbe | Origin::NdDad))
}

/// Whether it is a redirect, in which a router names another host.
fn is_redirect(event: &Event) -> bool {
    event.kind == EventKind::Pairing(Origin::NdRedirect)
}

#[cfg(test)]
mod tests;
