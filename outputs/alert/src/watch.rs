//! From an event to what there is to tell of it. No I/O and no clock: what is remembered comes from a [`Memory`], time
//! from the event.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use shm_layout::{Event, Kind as EventKind, MacAddr, Origin};

use crate::{
    device::{Class, Device, Policy},
    report::{Kind, Report},
    station::{Change, Claim, Station},
};

/// What is remembered.
pub trait Memory {
    type Error;
    /// An empty one where nothing is known.
    fn station(&mut self, network: &str, ip: IpAddr) -> Result<Station, Self::Error>;
    fn keep_station(&mut self, network: &str, ip: IpAddr, is: &Station) -> Result<(), Self::Error>;
    fn device(&mut self, mac: MacAddr) -> Result<Option<Device>, Self::Error>;
    fn keep_device(&mut self, mac: MacAddr, is: &Device) -> Result<(), Self::Error>;
}

/// Whose words and conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// This system's: devices, all address families, classes of MACs that make no noise
    #[default]
    Devices,
    /// arpwatch's, exactly: IPv4 only, no probes, each report at once
    Arpwatch,
}

/// Stands for every other network in [`Rules::local`].
pub const EVERYWHERE: &str = "*";

/// MACs with the names that somebody gave them.
pub type Names = BTreeMap<MacAddr, String>;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Rules {
    pub dialect: Dialect,
    /// MACs with their names; where there are any, all others are unknown.
    pub known: Names,
    /// Devices whose silence is told, after so many seconds.
    pub watched: BTreeMap<MacAddr, i64>,
    /// 0 = never told.
    pub returned_after_days: u32,
    /// Two machines use an address if both claim it within so many seconds.
    pub duplicate_within: i64,
    /// An address that keeps changing its MAC is told once in so many seconds.
    pub quiet: i64,
    pub virtual_macs: Policy,
    pub random_macs: Policy,
    /// MACs that take each other's addresses over by design.
    pub failovers: Vec<Vec<MacAddr>>,
    /// The address blocks of a network, or of those that are not named; where there are none, no
    /// address is a bogon.
    pub local: BTreeMap<String, Vec<IpNet>>,
    /// A MAC that was first to claim so many IPv4 addresses answers for others; 0 = none does.
    pub proxy_arp_addresses: u32,
    /// What to do when such a one takes an address over, or loses one.
    pub proxy_arp: Policy,
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
            virtual_macs: Policy::Ignore,
            random_macs: Policy::Digest,
            failovers: Vec::new(),
            local: BTreeMap::new(),
            proxy_arp_addresses: 32,
            proxy_arp: Policy::Digest,
        }
    }
}

impl Rules {
    /// Whatever is new or changes, of every kind of MAC, for listeners who choose themselves.
    pub fn of_all(known: Names) -> Rules {
        let all = Policy::Report;
        Rules { known, virtual_macs: all, random_macs: all, proxy_arp: all, ..Rules::default() }
    }
}

/// The network of an event: the interface with its VLANs, and the router that reported it.
pub fn network(event: &Event) -> String {
    let mut text = event.interface.to_string();
    for vlan in [event.outer_vlan, event.vlan].iter().filter(|vlan| vlan.get() != 0) {
        text += &format!(".{vlan}");
    }
    if !event.router.is_unspecified() && event.kind == EventKind::MacUpd {
        text += &format!("@{}", event.router);
    }
    text
}

impl Rules {
    /// Takes an event into the memory; what there is to tell of it.
    pub fn hear<M: Memory>(&self, event: &Event, memory: &mut M) -> Result<Vec<Report>, M::Error> {
        if let EventKind::ConfigChange(change) = event.kind {
            let mut report = self.report(Kind::ConfigChange, event);
            report.mac.clear();
            let lines = format!("{} lines added, {} removed", change.added, change.removed);
            report.note = Some(format!("by {}, {lines}", change.user));
            return Ok(vec![report]);
        }
        match self.dialect {
            Dialect::Arpwatch => self.hear_as_arpwatch(event, memory),
            Dialect::Devices => self.hear_devices(event, memory),
        }
    }

    fn hear_as_arpwatch<M: Memory>(
        &self,
        event: &Event,
        memory: &mut M,
    ) -> Result<Vec<Report>, M::Error> {
        // A probe's sender address is 0.0.0.0, which Debian's arpwatch leaves out; it knows no IPv6.
        if !event.kind.is_ipv4() || is_probe(event) {
            return Ok(Vec::new());
        }
        // What is odd about the frame is all that is said of it.
        if let Some(kind) = self.oddity(event) {
            return Ok(vec![self.odd(kind, event)]);
        }
        let (network, ip) = (network(event), event.ip());
        let mut station = memory.station(&network, ip)?;
        let change = station.claim(event.mac, event.time.seconds());
        memory.keep_station(&network, ip, &station)?;
        Ok(change.map(|(change, old)| self.changed(event, change, old)).into_iter().collect())
    }

    fn hear_devices<M: Memory>(
        &self,
        event: &Event,
        memory: &mut M,
    ) -> Result<Vec<Report>, M::Error> {
        let (network, ip, time) = (network(event), event.ip(), event.time.seconds());
        let mut reports = Vec::new();
        if let Some(kind) = self.oddity(event) {
            reports.push(self.odd(kind, event));
        }
        if is_no_device(event.mac) {
            return Ok(reports);
        }
        let known = memory.device(event.mac)?;
        let is_new = known.is_none();
        let mut device = known.unwrap_or_else(|| Device::new(time));
        if is_new {
            reports.push(self.report(Kind::NewDevice, event));
        }
        let last = device.last;
        let returned = device.hear(time, self.returned_after_days);
        if std::mem::take(&mut device.silent) {
            reports.push(Report { previous: Some(last), ..self.report(Kind::Back, event) });
        } else if let Some(days) = returned {
            let note = Some(format!("after {days} days"));
            reports.push(Report {
                previous: Some(last),
                note,
                ..self.report(Kind::Returned, event)
            });
        }
        let unknown = !self.known.is_empty() && !self.known.contains_key(&event.mac);
        if unknown && device.is_unknown_today(time) {
            reports.push(self.report(Kind::UnknownDevice, event));
        }
        let mut station = memory.station(&network, ip)?;
        if is_probe(event) {
            station.probe = Some(Claim { mac: event.mac, time });
        } else {
            let answers = matches!(
                event.kind,
                EventKind::Pairing(Origin::ArpReply | Origin::NdAdvertisement)
            );
            let duplicate = station.duplicate(event.mac, time, self.duplicate_within, answers);
            let change = station.claim(event.mac, time);
            if let Some((Change::NewStation, _)) = change
                && ip.is_ipv4()
            {
                device.addresses = device.addresses.saturating_add(1);
            }
            let old = change.and_then(|(_, old)| old).or(duplicate.map(|(other, _)| other));
            let old = old.filter(|old| old.mac != event.mac);
            // A virtual MAC takes its address back by design; that another takes it from there is not.
            let by_design = Class::of(event.mac) == Class::Virtual
                && self.virtual_macs == Policy::Ignore
                || old.is_some_and(|old| self.are_a_failover(event.mac, old.mac));
            let proxy = self.answers_for_others(&device)
                || match old {
                    Some(old) => {
                        memory.device(old.mac)?.is_some_and(|old| self.answers_for_others(&old))
                    }
                    None => false,
                };
            let silent = by_design || proxy && self.proxy_arp == Policy::Ignore;
            let report = match (duplicate, change) {
                (Some((other, why)), _) => Some(Report {
                    old_mac: Some(other.mac.to_string()),
                    previous: Some(other.time),
                    note: Some(why.into()),
                    ..self.report(Kind::Duplicate, event)
                }),
                (None, change) => change.map(|(change, old)| self.changed(event, change, old)),
            };
            reports.extend(report.filter(|_| !silent).and_then(|mut report| {
                report.digest = proxy && self.proxy_arp == Policy::Digest;
                // What goes to and fro is told now and then; that somebody new has it, always.
                if !matches!(report.kind, Kind::FlipFlop | Kind::Duplicate) {
                    return Some(report);
                }
                let duplicate = report.kind == Kind::Duplicate;
                let untold = station.tell(time, self.quiet, duplicate)?;
                Some(if untold > 0 {
                    noted(report, format!("{untold} more since"))
                } else {
                    report
                })
            }));
        }
        memory.keep_station(&network, ip, &station)?;
        memory.keep_device(event.mac, &device)?;
        let policy = match Class::of(event.mac) {
            Class::Global => Policy::Report,
            // One that somebody wrote down is a device like others.
            _ if self.known.contains_key(&event.mac) => Policy::Report,
            Class::Virtual => self.virtual_macs,
            Class::Random => self.random_macs,
        };
        match policy {
            Policy::Ignore => reports.clear(),
            // That two machines fight for an address is no less urgent for their kind of MAC.
            Policy::Digest => {
                reports.iter_mut().for_each(|r| r.digest |= r.kind != Kind::Duplicate);
            }
            Policy::Report => {}
        }
        Ok(reports)
    }

    /// Whether it does proxy ARP.
    fn answers_for_others(&self, device: &Device) -> bool {
        self.proxy_arp_addresses > 0 && device.addresses >= self.proxy_arp_addresses
    }

    /// Whether these take each other's addresses over by design.
    fn are_a_failover(&self, one: MacAddr, other: MacAddr) -> bool {
        self.failovers.iter().any(|macs| macs.contains(&one) && macs.contains(&other))
    }

    /// What is odd about an ARP message, whatever it says, in arpwatch's order.
    fn oddity(&self, event: &Event) -> Option<Kind> {
        if !matches!(event.kind, EventKind::Pairing(_)) || !event.kind.is_ipv4() {
            return None;
        }
        let local = self.local.get(&network(event)).or(self.local.get(EVERYWHERE));
        let is_local = |nets: &Vec<IpNet>| nets.iter().any(|net| net.contains(&event.ip()));
        // A probe asks for an address; whoever has it has not said so.
        if !is_probe(event) && local.is_some_and(|nets| !is_local(nets)) {
            Some(Kind::Bogon)
        } else if is_no_device(event.source) || is_no_device(event.mac) {
            Some(Kind::Broadcast)
        } else {
            (event.source != event.mac).then_some(Kind::Mismatch)
        }
    }

    /// Its first MAC is the frame's, its second the message's.
    fn odd(&self, kind: Kind, event: &Event) -> Report {
        let theirs = Event { mac: event.source, ..*event };
        let old_mac = (event.source != event.mac).then(|| event.mac.to_string());
        Report { old_mac, ..self.report(kind, &theirs) }
    }

    /// Which of the watched devices fell silent by now. Passive: only when they were last heard is known, and nothing of
    /// the time before `since`, when nobody listened.
    pub fn silent<M: Memory>(
        &self,
        now: i64,
        since: i64,
        memory: &mut M,
    ) -> Result<Vec<Report>, M::Error> {
        let mut reports = Vec::new();
        for (mac, limit) in &self.watched {
            let Some(mut device) = memory.device(*mac)? else { continue };
            if device.silent || now - device.last.max(since) <= *limit {
                continue;
            }
            device.silent = true;
            memory.keep_device(*mac, &device)?;
            reports.push(Report {
                kind: Kind::Silent,
                time: now,
                network: String::new(),
                ip: String::new(),
                mac: mac.to_string(),
                name: self.known.get(mac).cloned(),
                vendor: None,
                old_vendor: None,
                old_mac: None,
                previous: Some(device.last),
                note: Some(format!("not heard for {} s", now - device.last)),
                digest: false,
            });
        }
        Ok(reports)
    }

    fn changed(&self, event: &Event, change: Change, old: Option<Claim>) -> Report {
        let kind = match change {
            Change::NewActivity => Kind::NewActivity,
            Change::NewStation => Kind::NewStation,
            Change::SuppressedDecnet => Kind::SuppressedDecnet,
            Change::FlipFlop => Kind::FlipFlop,
            Change::Reused => Kind::ReusedOld,
            Change::Changed => Kind::Changed,
        };
        Report {
            old_mac: old.filter(|old| old.mac != event.mac).map(|old| old.mac.to_string()),
            previous: old.map(|old| old.time),
            ..self.report(kind, event)
        }
    }

    fn report(&self, kind: Kind, event: &Event) -> Report {
        Report {
            kind,
            time: event.time.seconds(),
            network: network(event),
            ip: event.ip().to_string(),
            mac: event.mac.to_string(),
            name: self.known.get(&event.mac).cloned(),
            vendor: None,
            old_vendor: None,
            old_mac: None,
            previous: None,
            note: None,
            digest: false,
        }
    }
}

fn noted(report: Report, more: String) -> Report {
    let note = report.note.map_or(more.clone(), |note| format!("{note}, {more}"));
    Report { note: Some(note), ..report }
}

/// Whether no device has this MAC.
fn is_no_device(mac: MacAddr) -> bool {
    mac == MacAddr::BROADCAST || mac == MacAddr::ZERO
}

fn is_probe(event: &Event) -> bool {
    matches!(event.kind, EventKind::Pairing(Origin::ArpProbe | Origin::NdDad))
}

#[cfg(test)]
mod tests;
