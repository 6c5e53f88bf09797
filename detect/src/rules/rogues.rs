//! The rules about rogue routers and servers: from a record of the ring of names to alerts. What a network has is learned for a
//! while; what is new after that is reported once. What a message says of itself lowers no alert: that depends on what was learned,
//! on what the configuration names, and on what the message can do.

mod announced;
mod answers;
mod dhcp;
mod dhcpv6;
mod facts;
mod gateways;
mod owners;
mod pause;
mod redirects;
mod routers;
mod words;

use std::net::IpAddr;

use aw_output::NameEntry;
use shm_layout::{MacAddr, NameKind, NameRecord, UnixTime};

use super::{Rules, latest, past_time};
use crate::{
    alert::{Alert, AlertKind},
    device::span,
    infrastructure::{InfrastructureMemory, Known, Part, Trust},
    network::{full_name, interface_of, network_name},
    rules::Dialect,
};

/// Seconds in which alerts are counted, and how many of each kind are sent in them for an interface: a host can name any number of
/// servers and routers.
const LIMIT_SECONDS: i64 = 3600;
const LIMIT: i64 = 5;
/// MACs that claimed an address, in an alert about what names it.
const MOST_CLAIMANTS: usize = 4;
/// How exact the time is at which something was last seen: a known router or server and its MACs, and others. It is written as seldom.
const LAST_SECONDS: i64 = 60;
const LAST_OF_OTHERS: i64 = 3600;
/// Rows of a part that reported ones may fill: half of those that there can be.
const MOST_OF_REPORTED: usize = 32;
/// What was not reported, in the message about it.
const LISTED: usize = 20;

/// What a record causes.
#[derive(Debug, Default)]
pub struct Observed {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// The full name of the interface whose learning period is over with this record.
    pub learned: Option<String>,
}

/// A record, and where it was captured.
struct Seen<'a, 'b> {
    entry: &'a NameEntry<'b>,
    record: &'a NameRecord,
    /// Interface and VLANs, and the full name of that network.
    short: String,
    network: String,
    time: i64,
    learning: bool,
}

impl Rules {
    /// Records what a message names in the memory, and returns the alerts that it causes. `period`: how many seconds each interface
    /// learns, from its first record on. A time after `now` counts as now.
    pub fn observe_name<M: InfrastructureMemory>(
        &self,
        entry: &NameEntry,
        now: UnixTime,
        period: i64,
        memory: &mut M,
    ) -> Result<Observed, M::Error> {
        let record = &entry.record;
        if self.dialect == Dialect::Arpwatch || !is_of_infrastructure(record.kind) {
            return Ok(Observed::default());
        }
        let short = network_name(record.interface, record.outer_vlan, record.vlan);
        let network = full_name(entry.host, entry.ring.as_str(), &short);
        let time = past_time(record.time, now).seconds();
        let mut seen = Seen { entry, record, short, network, time, learning: false };
        let times = (time, latest(now).seconds());
        let (learning, learned) = learns(&seen.network, times, period, memory)?;
        seen.learning = learning && !self.is_of_stranger(record);
        let seen = &seen;
        use NameKind::*;
        let alerts = match record.kind {
            DhcpOffer | DhcpAck | DhcpNak => self.dhcp_answer(seen, memory)?,
            DhcpRequest => self.dhcp_claim(seen, memory)?,
            DhcpDecline | Dhcp6Decline => self.dhcp_conflict(seen, memory)?,
            Dhcp6Request | Dhcp6Renew | Dhcp6Release => self.dhcpv6_claim(seen, memory)?,
            DhcpRouter | DhcpRoute => self.named_router(seen, memory)?,
            DhcpDns => self.dns_of_server(seen, memory)?,
            DhcpProxy | DhcpBoot | DhcpPortal | DhcpDomain => self.set_by_server(seen, memory)?,
            Router => self.advertisement(seen, memory)?,
            RouterDns => self.dns_of_router(seen, memory)?,
            RouterPrefix | RouterRoute | RouterNat64 | RouterDomain | RouterPortal => {
                self.announced(seen, memory)?
            }
            Redirect => self.redirect(seen, memory)?,
            _ => self.refused(seen, memory)?,
        };
        Ok(Observed { alerts: alerts.into_iter().collect(), learned })
    }

    /// Lets an interface learn that is captured now, also while nothing is received: what comes first may be an attack. Returns its
    /// alerts that are due without a record, and its name if its learning period is over now.
    pub fn observe_interface<M: InfrastructureMemory>(
        &self,
        (host, ring, interface): (&str, &str, &str),
        now: UnixTime,
        period: i64,
        memory: &mut M,
    ) -> Result<Observed, M::Error> {
        if self.dialect == Dialect::Arpwatch {
            return Ok(Observed::default());
        }
        let full = full_name(host, ring, interface);
        let time = now.seconds();
        let (_, learned) = learns(&full, (time, latest(now).seconds()), period, memory)?;
        let mut alerts = Vec::new();
        let full = interface_of(&full);
        for key in memory.keys(full, Part::Limit)? {
            let known = memory.known(full, Part::Limit, &key)?;
            let is_due =
                |known: &Known| known.further > 0 && (time - known.first).abs() >= LIMIT_SECONDS;
            let Some(mut known) = known.filter(is_due) else { continue };
            let name = key.split(' ').next().unwrap_or_default();
            let kind = serde_json::from_value(name.into()).unwrap_or(AlertKind::NewRouter);
            let note = format!("{}: {}", further(known.further), known.text);
            alerts.push(Alert {
                host: host.to_owned(),
                ring: ring.to_owned(),
                show_ring: self.show_ring,
                network: interface.to_owned(),
                note: Some(note),
                digest: true,
                setting: match kind {
                    AlertKind::NewSetting => key.split(' ').nth(2).unwrap_or_default().into(),
                    _ => String::new(),
                },
                ..Alert::new(kind, time)
            });
            (known.further, known.number, known.first) = (0, 0, time);
            known.text.clear();
            memory.store_known(full, Part::Limit, &key, &known)?;
        }
        Ok(Observed { alerts, learned })
    }

    /// What is known of it, which counts as seen now; none if it is new. What the learning period sees, or the configuration names, is
    /// known.
    fn look<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (part, key): (Part, &str),
        is_named: bool,
    ) -> Result<Option<Known>, M::Error> {
        let known = memory.known(&seen.network, part, key)?;
        // No learning period makes these normal.
        let learns = seen.learning && !matches!(part, Part::Redirect | Part::Refused);
        let is_of_mac = matches!(part, Part::RouterMac | Part::DhcpServerMac);
        let trust = match known.as_ref().map(|known| known.trust) {
            Some(Trust::Learned) => Trust::Learned,
            // A MAC that was reported in the name of a router or server is not learned by what it sends.
            Some(Trust::Reported) if is_of_mac => Trust::Reported,
            _ if learns => Trust::Learned,
            _ if is_named => Trust::Named,
            Some(trust) => trust,
            None => return Ok(None),
        };
        let is_new = known.is_none();
        let mut known = known.unwrap_or_else(|| Known::new(seen.time, trust));
        // A host can make up any number of others.
        let is_own =
            matches!(trust, Trust::Learned | Trust::Named) || is_of_mac && known.number == 1;
        let exactness = match part {
            Part::Router | Part::RouterMac | Part::DhcpServer | Part::DhcpServerMac | Part::Dns
                if is_own =>
            {
                LAST_SECONDS
            }
            _ => LAST_OF_OTHERS,
        };
        let is_old = (seen.time - known.last).abs() >= exactness;
        if is_new || is_old || known.trust != trust {
            (known.last, known.trust) = (seen.time, trust);
            // What is named is known without it: a claim of it leaves nothing behind.
            if trust != Trust::Named || !is_new || !is_claim(seen.record.kind) {
                memory.store_known(&seen.network, part, key, &known)?;
            }
        }
        Ok(Some(known))
    }

    /// Stores something that no alert of its own reports.
    fn note<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (part, key): (Part, &str),
        trust: Trust,
    ) -> Result<(), M::Error> {
        let trust = if seen.learning { Trust::Learned } else { trust };
        memory.store_known(&seen.network, part, key, &Known::new(seen.time, trust))
    }

    /// Stores what a reported one names: that is part of its report, and may be any number, so it takes at most half of the places.
    fn note_of_reported<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (part, key): (Part, &str),
    ) -> Result<(), M::Error> {
        match memory.keys(&seen.network, part)?.len() < MOST_OF_REPORTED {
            true => self.note(seen, memory, (part, key), Trust::Reported),
            false => Ok(()),
        }
    }

    /// An alert about what is stored with it, unless there were too many: then it is not stored, and reported when it is seen again.
    fn report<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (part, key): (Part, &str),
        known: Known,
        alert: Alert,
    ) -> Result<Option<Alert>, M::Error> {
        let alert = admit(seen, memory, alert)?;
        if alert.is_some() {
            memory.store_known(&seen.network, part, key, &known)?;
        }
        Ok(alert)
    }

    /// An alert about this record.
    fn rogue(
        &self,
        seen: &Seen,
        kind: AlertKind,
        ip: Option<IpAddr>,
        mac: Option<MacAddr>,
        note: String,
    ) -> Alert {
        Alert {
            host: seen.entry.host.to_owned(),
            ring: seen.entry.ring.to_string(),
            show_ring: self.show_ring,
            network: seen.short.clone(),
            ip: ip.map(|ip| ip.to_string()).unwrap_or_default(),
            mac: mac.map(|mac| mac.to_string()).unwrap_or_default(),
            name: mac.and_then(|mac| self.name(mac).cloned()),
            note: Some(note),
            setting: match kind {
                AlertKind::NewSetting => seen.record.kind.name().into(),
                _ => String::new(),
            },
            ..Alert::new(kind, seen.time)
        }
    }

    /// Whether a MAC may be another one of a router or server at this address: it has had the address for a day, or in the learning
    /// period, or both are of one failover group. Not one that took it, which was reported.
    fn is_same_device<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        ip: IpAddr,
        (mac, old): (MacAddr, Option<MacAddr>),
    ) -> Result<bool, M::Error> {
        if !self.owners(ip).is_empty() {
            return Ok(self.is_owner(ip, mac));
        }
        let station = memory.station(&seen.network, ip)?;
        let is_held = station.held(mac, seen.time) >= dhcp::HELD_SECONDS
            && !self.took((&seen.network, ip, mac), memory)?;
        let is_in_group = old.is_some_and(|old| self.is_in_group(mac, old));
        Ok(is_held || station.learned.contains(&mac) || is_in_group)
    }
}

/// The MACs that claimed an address, the last one first, and of many the first one of all.
fn claimed_by<M: InfrastructureMemory>(
    seen: &Seen,
    memory: &mut M,
    ip: IpAddr,
) -> Result<Vec<String>, M::Error> {
    let station = memory.station(&seen.network, ip)?;
    let mut macs: Vec<_> = station.claims.iter().map(|claim| claim.mac).collect();
    let first = station.first.map(|first| first.mac);
    let others = macs.len().min(MOST_CLAIMANTS);
    macs.splice(others.., first.filter(|first| !macs[..others].contains(first)));
    Ok(macs.iter().map(ToString::to_string).collect())
}

/// The client of a message, with the name that it gives itself.
fn client(record: &NameRecord) -> String {
    match record.name.as_str() {
        "" => record.mac.to_string(),
        name => format!("{} ({name:?})", record.mac),
    }
}

/// A text that goes on in further fields.
fn text_of(record: &NameRecord) -> String {
    format!("{}{}{}{}", record.name, record.detail, record.third, record.circuit)
}

/// Where a host is found whose MAC is known.
const FIND: &str =
    "find the port of that MAC in the MAC address table of the switch, and unplug it";
/// What a client keeps until its lease ends.
const RENEW: &str = ", and then renew that client's address";

/// The same with the MAC, where a text has several.
fn find(mac: MacAddr) -> String {
    format!("find the port of {mac} in the MAC address table of the switch, and unplug it")
}

/// Whether the rules look at records of this kind.
fn is_of_infrastructure(kind: NameKind) -> bool {
    use NameKind::*;
    matches!(
        kind,
        DhcpOffer
            | DhcpAck
            | DhcpNak
            | DhcpRequest
            | DhcpDecline
            | Dhcp6Decline
            | Dhcp6Request
            | Dhcp6Renew
            | Dhcp6Release
            | DhcpRouter
            | DhcpRoute
            | DhcpDns
            | DhcpProxy
            | DhcpBoot
            | DhcpPortal
            | DhcpDomain
            | Router
            | RouterDns
            | RouterPrefix
            | RouterRoute
            | RouterNat64
            | RouterDomain
            | RouterPortal
            | Redirect
            | Refused
    )
}

/// Whether a router or DHCP server was learned in a network, by its full name.
pub fn has_learned<M: InfrastructureMemory>(
    network: &str,
    memory: &mut M,
) -> Result<bool, M::Error> {
    for part in [Part::Router, Part::DhcpServer] {
        for key in memory.keys(network, part)? {
            let known = memory.known(network, part, &key)?;
            if known.is_some_and(|known| known.trust == Trust::Learned) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn further(number: i64) -> String {
    format!(
        "{number} further ones of this kind were not reported, because there were too many within an hour (a host forges them, or aw-stdout --names shows what changed)"
    )
}

/// Whether the client of a message was seen long before.
fn is_old_client<M: InfrastructureMemory>(seen: &Seen, memory: &mut M) -> Result<bool, M::Error> {
    let device = memory.device(seen.record.mac)?;
    let age = device.and_then(|device| span(device.first, seen.time));
    Ok(age.is_some_and(|age| age >= dhcp::HELD_SECONDS))
}

/// Whether a client sends it, so that what it names is its claim.
fn is_claim(kind: NameKind) -> bool {
    use NameKind::*;
    matches!(kind, DhcpRequest | DhcpDecline)
        || (kind as u8 >= Dhcp6Solicit as u8 && kind as u8 <= Dhcp6Decline as u8)
}

/// Whether the interface learns at this time, and its name if that is over now. Not of the VLAN: a frame can have any tag.
fn learns<M: InfrastructureMemory>(
    network: &str,
    (time, latest): (i64, i64),
    period: i64,
    memory: &mut M,
) -> Result<(bool, Option<String>), M::Error> {
    if period == 0 {
        return Ok((false, None));
    }
    let interface = interface_of(network);
    let known = memory.known(interface, Part::Period, "")?;
    let is_new = known.is_none();
    let mut known = known.unwrap_or_else(|| Known::new(time, Trust::Learned));
    if known.number != 0 {
        return Ok((false, None));
    }
    // The clock was set since.
    let age = span(known.first, time).filter(|_| known.first <= latest);
    if age.is_none() {
        known.first = time;
    }
    let is_over = age.unwrap_or(0) >= period;
    known.number = is_over.into();
    let is_changed = std::mem::replace(&mut known.further, period) != period;
    if is_new || is_over || is_changed || age.is_none() {
        memory.store_known(interface, Part::Period, "", &known)?;
    }
    Ok((!is_over, is_over.then(|| interface.to_owned())))
}

/// The alert, unless its interface had too many of its kind within an hour: then it is counted, and the next one has the number.
fn admit<M: InfrastructureMemory>(
    seen: &Seen,
    memory: &mut M,
    alert: Alert,
) -> Result<Option<Alert>, M::Error> {
    admit_as(seen, memory, alert, "")
}

/// The same with a limit of its own.
fn admit_as<M: InfrastructureMemory>(
    seen: &Seen,
    memory: &mut M,
    mut alert: Alert,
    limit: &str,
) -> Result<Option<Alert>, M::Error> {
    let interface = interface_of(&seen.network);
    // A host that forges requests of clients, harmless routers or refused messages hides no server that answers and no router that is
    // used; and in a VLAN with own limits, because something was learned there, none of another VLAN.
    let is_claim = is_claim(seen.record.kind);
    let is_refused = seen.record.kind == NameKind::Refused;
    let mut key = alert.kind.name() + limit;
    key += if alert.digest { " minor" } else { "" };
    // Prefixes of a router do not hide what a server names.
    if alert.kind == AlertKind::NewSetting {
        key += &format!(" {}", alert.setting);
    }
    key += if is_claim { " claim" } else { "" };
    // Who invents clients does not hide what the known ones name.
    key += if is_claim && is_old_client(seen, memory)? { " known" } else { "" };
    key += if is_refused { " refused" } else { "" };
    if seen.network != interface && has_learned(&seen.network, memory)? {
        key += &format!(" {}", seen.short);
    }
    let known = memory.known(interface, Part::Limit, &key)?;
    let new = Known::new(seen.time, Trust::Learned);
    let is_recent = |known: &Known| (seen.time - known.first).abs() < LIMIT_SECONDS;
    let mut limit = match known {
        Some(known) if is_recent(&known) => known,
        Some(Known { further, text, .. }) => Known { further, text, ..new },
        None => new,
    };
    let is_admitted = limit.number < LIMIT;
    if is_admitted {
        limit.number += 1;
        let number = std::mem::take(&mut limit.further);
        let listed = std::mem::take(&mut limit.text);
        if number > 0 {
            let note = alert.note.get_or_insert_default();
            *note += &format!("; {}: {listed}", further(number));
        }
    } else {
        limit.further += 1;
        // A server of DHCPv6 has neither.
        let duid = if alert.ip.is_empty() { dhcpv6::duid_of(seen.record) } else { String::new() };
        let what = [&*alert.ip, &*alert.mac, &*duid].join(" ");
        let what = what.trim();
        let is_listed = what.is_empty() || limit.text.split(", ").any(|one| one == what);
        if limit.text.split(", ").count() < LISTED && !is_listed {
            limit.text += if limit.text.is_empty() { "" } else { ", " };
            limit.text += what;
        }
    }
    memory.store_known(interface, Part::Limit, &key, &limit)?;
    Ok(is_admitted.then_some(alert))
}
