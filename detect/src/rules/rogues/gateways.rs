//! Another MAC takes a router's address, as events or its advertisement show.

use std::net::IpAddr;

use aw_output::Entry;
use shm_layout::{Event, Evidence, MacAddr, UnixTime};

use super::{Rules, Seen, admit_as, dhcp::HELD_SECONDS, owners::OWNED};
use crate::{
    alert::{Alert, AlertKind, Facts},
    device::{MacClass, MacPolicy, span},
    infrastructure::{InfrastructureMemory, Known, Part, Trust, includes},
    network::{full_name, full_network, interface_of},
    rules::{frames::IGNORED, name_sender, past_time},
};

/// The time of a report that was in a digest only: the next one is due.
pub(super) const LONG_AGO: i64 = 1;

impl Rules {
    /// Makes an alert that a MAC takes a router's address one of a taken gateway, and adds one for the first claim of such an address,
    /// if the learning period saw the router's answers or advertisements from other MACs only. A takeover is left out only if one by the
    /// same MAC was reported within `quiet` seconds. What an attacker chooses, such as its MAC, does not move it into the digest. An alert
    /// about a MAC that was there first, or was learned, keeps its kind: it may be the router's, and gets the facts only. `learning`: as
    /// for [`Rules::observe`], after which this is called.
    pub fn name_gateways<M: InfrastructureMemory>(
        &self,
        entry: &Entry,
        now: UnixTime,
        learning: bool,
        alerts: &mut Vec<Alert>,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let (ip, mac) = (entry.event.ip(), entry.event.mac);
        if learning && self.guards(ip) && self.owners(ip).is_empty() {
            alerts.extend(self.unlearn(entry, now, memory)?);
        }
        let first = self.first_claim(entry, now, alerts, memory)?;
        let evidence = entry.event.kind.evidence();
        let mut kept = Vec::new();
        for alert in alerts.drain(..) {
            match alert.kind.is_takeover() {
                true => kept.extend(self.takeover(alert, evidence, memory)?),
                false => kept.push(alert),
            }
        }
        if let Some(first) = first {
            kept.extend(self.first_takeover(first, memory)?);
        }
        if self.is_stranger(ip, mac) && !kept.iter().any(|alert| alert.kind.is_takeover()) {
            kept.extend(self.stranger_claim(entry, now, memory)?);
        }
        *alerts = kept;
        Ok(())
    }

    /// Takes back that a MAC was learned at a named address because it was the first one in ARP, if messages of the router or server there
    /// came from other MACs before. Returns the alert that no host has it, which was left out because it was learned.
    fn unlearn<M: InfrastructureMemory>(
        &self,
        entry: &Entry,
        now: UnixTime,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let event = Event { time: past_time(entry.event.time, now), ..entry.event };
        let (entry, ip) = (&Entry { event, ..*entry }, event.ip());
        let network = full_network(entry);
        let mut station = memory.station(&network, ip)?;
        let first = station.first.filter(|first| first.mac == event.mac);
        let first = first.map(|first| (first.mac, first.time));
        let group = self.no_host(&event).map(|mac| (mac, event.time.seconds()));
        let mut macs: Vec<_> = first.into_iter().chain(group).collect();
        macs.retain(|(mac, _)| station.learned.contains(mac));
        if macs.is_empty() {
            return Ok(None);
        }
        let learned = self.learned_macs(&network, ip, memory)?;
        macs.retain(|(mac, time)| {
            let is_its = |own: MacAddr| own == *mac || self.is_in_group(own, *mac);
            let came_before = learned.iter().any(|(_, since)| since <= time);
            came_before && !learned.iter().any(|(own, _)| is_its(*own))
        });
        station.learned.retain(|mac| !macs.iter().any(|(one, _)| one == mac));
        let is_of_group = group.is_some_and(|group| macs.contains(&group));
        let alert = match is_of_group {
            true => self.no_host_alert(entry, (false, true), &mut station),
            false => None,
        };
        if !macs.is_empty() {
            memory.store_station(&network, ip, &station)?;
        }
        Ok(alert)
    }

    /// Whether it was reported that this MAC took the address.
    pub(super) fn took<M: InfrastructureMemory>(
        &self,
        (network, ip, mac): (&str, IpAddr, MacAddr),
        memory: &mut M,
    ) -> Result<bool, M::Error> {
        let row = memory.known(network, Part::RouterMac, &format!("{ip} {mac}"))?;
        Ok(row.is_some_and(|row| row.trust == Trust::Reported && row.further != 0))
    }

    /// Lets the next alert of this gateway through: this one was in a digest only, as [`Rules::was_digested`] of others.
    pub fn gateway_was_digested<M: InfrastructureMemory>(
        &self,
        alert: &Alert,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let (Ok(ip), Ok(mac)) = (alert.ip.parse(), alert.mac.parse()) else { return Ok(()) };
        for key in [format!("{ip} {mac}"), ignored_key(ip, mac)] {
            let known = memory.known(&network, Part::RouterMac, &key)?;
            if let Some(known) = known.filter(|known| known.further == alert.time) {
                let known = Known { further: LONG_AGO, ..known };
                memory.store_known(&network, Part::RouterMac, &key, &known)?;
            }
        }
        Ok(())
    }

    /// The first claim of an address: the alert that it is new, or one like it if the class of the MAC leaves that out.
    pub(super) fn first_claim<M: InfrastructureMemory>(
        &self,
        entry: &Entry,
        now: UnixTime,
        alerts: &[Alert],
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        if let Some(new) = alerts.iter().find(|alert| alert.kind == AlertKind::NewStation) {
            return Ok(Some(new.clone()));
        }
        let (event, time) = (&entry.event, past_time(entry.event.time, now).seconds());
        let is_left_out = match MacClass::of(event.mac) {
            MacClass::Virtual => self.virtual_macs == MacPolicy::Ignore,
            MacClass::Random => self.random_macs == Some(MacPolicy::Ignore),
            MacClass::Global => false,
        };
        if !is_left_out && self.proxy_arp != MacPolicy::Ignore {
            return Ok(None);
        }
        let alert = Alert { time, ..self.alert(AlertKind::NewStation, entry) };
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let station = memory.station(&network, event.ip())?;
        let is_first = station.claims.len() == 1
            && station.first.is_some_and(|one| one.mac == event.mac && one.time == time);
        Ok(is_first.then_some(alert))
    }

    /// Network, address and MAC of an alert about a router's address.
    pub(super) fn at_router<M: InfrastructureMemory>(
        &self,
        alert: &Alert,
        memory: &mut M,
    ) -> Result<Option<(String, IpAddr, MacAddr)>, M::Error> {
        let (Ok(ip), Ok(mac)) = (alert.ip.parse::<IpAddr>(), alert.mac.parse::<MacAddr>()) else {
            return Ok(None);
        };
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let known = memory.known(&network, Part::Router, &ip.to_string())?;
        let is_router = known.is_some_and(|known| known.is_known(alert.time));
        Ok((is_router || includes(&self.routers, ip)).then_some((network, ip, mac)))
    }

    /// A MAC takes an address from another one.
    pub(super) fn takeover<M: InfrastructureMemory>(
        &self,
        alert: Alert,
        evidence: Evidence,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let Some((network, ip, mac)) = self.at_router(&alert, memory)? else {
            return self.takeover_of_server(alert, evidence, memory);
        };
        let station = memory.station(&network, ip)?;
        // Who only probed the address did not have it.
        let old_mac = alert.old_mac.filter(|old| old.parse().is_ok_and(|old| station.has(old)));
        let alert = Alert { old_mac, ..alert };
        let is_first = station.first.is_some_and(|first| first.mac == mac);
        // Its first claim was reported.
        let was_taken = self.took((&network, ip, mac), memory)?;
        let is_its_own = match self.owners(ip).is_empty() {
            true => station.learned.contains(&mac) || is_first && !was_taken,
            false => self.is_owner(ip, mac),
        };
        if is_its_own {
            return Ok(Some(Alert { facts: answers_for(ip), ..alert }));
        }
        let alert = match self.is_stranger(ip, mac) {
            true => self.of_stranger(alert, (&network, ip), memory)?,
            false => alert,
        };
        let alert = self.once(alert, (&network, ip, mac), evidence, memory)?;
        Ok(alert.map(|mut alert| match evidence {
            Evidence::Ignored => {
                alert.note = None;
                name_sender(&mut alert);
                taken(alert, Facts::Gateway(format!("now claims the gateway {ip} {IGNORED}")))
            }
            _ => taken(alert, answers_for(ip)),
        }))
    }

    /// A MAC is the first one to claim an address. That takes it from a router whose advertisements or answers of DHCP came from other
    /// MACs in the learning period.
    fn first_takeover<M: InfrastructureMemory>(
        &self,
        alert: Alert,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let Some((network, ip, mac)) = self.at_router(&alert, memory)? else { return Ok(None) };
        let learned = self.learned_macs(&network, ip, memory)?;
        if !self.owners(ip).is_empty() {
            return Ok(None); // it is the owner's, or reported otherwise
        }
        let is_its = |(own, _): &(MacAddr, i64)| *own == mac || self.is_in_group(*own, mac);
        let Some((own, since)) = learned.first().filter(|_| !learned.iter().any(is_its)) else {
            return Ok(None);
        };
        if self.was_reported((&network, ip, mac, alert.time), memory)? {
            return Ok(None);
        }
        let held = span(*since, alert.time).unwrap_or(0).max(0);
        let old_mac = Some(own.to_string());
        let alert = Alert { old_mac, held, previous: None, ..alert };
        Ok(Some(taken(alert, answers_for(ip))))
    }

    /// A MAC takes an address that is no router's. If that is named with its MACs, no class of the MAC and no proxy moves it into the digest,
    /// and each other MAC is reported once in `quiet` seconds.
    fn takeover_of_server<M: InfrastructureMemory>(
        &self,
        alert: Alert,
        evidence: Evidence,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let (Ok(ip), Ok(mac)) = (alert.ip.parse::<IpAddr>(), alert.mac.parse::<MacAddr>()) else {
            return Ok(Some(alert));
        };
        if !self.is_stranger(ip, mac) {
            return Ok(Some(alert));
        }
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let alert = self.of_stranger(alert, (&network, ip), memory)?;
        self.once(alert, (&network, ip, mac), evidence, memory)
    }

    /// The alert, unless a takeover by this MAC was reported within `quiet` seconds: then the next one of another MAC does not wait for
    /// this one. What Linux ignores silences no claim that it accepts.
    fn once<M: InfrastructureMemory>(
        &self,
        alert: Alert,
        (network, ip, mac): (&str, IpAddr, MacAddr),
        evidence: Evidence,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let time = alert.time;
        let was_reported = if evidence == Evidence::Ignored {
            let row = memory.known(network, Part::RouterMac, &format!("{ip} {mac}"))?;
            row.is_some_and(|row| self.is_recent(&row, time))
                || self.is_stranger(ip, mac)
                    && self.was_reported_as(network, &ignored_key(ip, mac), time, memory)?
        } else {
            self.was_reported((network, ip, mac, time), memory)?
        };
        if !was_reported {
            return Ok(Some(alert));
        }
        if evidence == Evidence::Ignored {
            // It had begun no other time.
            let mut station = memory.station(network, ip)?;
            station.ignored_was_not_sent(time);
            memory.store_station(network, ip, &station)?;
        } else {
            self.was_digested(&alert, memory)?;
        }
        Ok(None)
    }

    /// Whether a claim that Linux ignores was reported within `quiet` seconds; if not, it is now.
    fn was_reported_as<M: InfrastructureMemory>(
        &self,
        network: &str,
        key: &str,
        time: i64,
        memory: &mut M,
    ) -> Result<bool, M::Error> {
        let known = memory.known(network, Part::RouterMac, key)?;
        if known.is_some_and(|known| self.is_recent(&known, time)) {
            return Ok(true);
        }
        let known = Known { further: time, ..Known::new(time, Trust::Reported) };
        memory.store_known(network, Part::RouterMac, key, &known)?;
        Ok(false)
    }

    /// Whether a takeover by this MAC was reported within `quiet` seconds; if not, it is now.
    pub(super) fn was_reported<M: InfrastructureMemory>(
        &self,
        (network, ip, mac, time): (&str, IpAddr, MacAddr, i64),
        memory: &mut M,
    ) -> Result<bool, M::Error> {
        let key = format!("{ip} {mac}");
        let known = memory.known(network, Part::RouterMac, &key)?;
        if known.as_ref().is_some_and(|known| self.is_recent(known, time)) {
            return Ok(true);
        }
        let mut known = known.unwrap_or_else(|| Known::new(time, Trust::Reported));
        if self.is_stranger(ip, mac) {
            known.trust = Trust::Reported; // it may have been learned before the configuration had the owner's
        }
        let known = Known { last: time, further: time, ..known };
        memory.store_known(network, Part::RouterMac, &key, &known)?;
        Ok(false)
    }

    pub(super) fn is_recent(&self, known: &Known, time: i64) -> bool {
        known.further != 0 && (time - known.further).abs() < self.quiet
    }

    /// The MACs of a router's advertisements and answers of DHCP in the learning period, and since when. What a message after it has
    /// stored is none of them: any host sends it.
    pub(super) fn learned_macs<M: InfrastructureMemory>(
        &self,
        network: &str,
        ip: IpAddr,
        memory: &mut M,
    ) -> Result<Vec<(MacAddr, i64)>, M::Error> {
        let period = memory.known(interface_of(network), Part::Period, "")?;
        let Some(period) = period else { return Ok(Vec::new()) };
        // An earlier release did not store how long it lasts, which is a day unless --learn says otherwise.
        let end = match period.number {
            0 => i64::MAX,
            _ => period.first.saturating_add(period.further.max(HELD_SECONDS)),
        };
        let is_learned = |row: &Known| row.trust == Trust::Learned && row.first < end;
        let mut macs = Vec::new();
        for part in [Part::RouterMac, Part::DhcpServerMac] {
            let rows = memory.macs(network, part, &ip.to_string())?.into_iter();
            macs.extend(rows.filter(|(_, row)| is_learned(row)).map(|(mac, row)| (mac, row.first)));
        }
        Ok(macs)
    }

    /// Whether an advertisement is of another MAC than the router's, which is reported. `of_mac`: what is stored of its MAC.
    pub(super) fn is_of_taker<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (router, known): (IpAddr, &Known),
        of_mac: Option<&Known>,
    ) -> Result<bool, M::Error> {
        let (network, mac) = (&*seen.network, seen.record.sender);
        if self.is_owner(router, mac) {
            return Ok(false);
        }
        let is_own = |own| own == mac || self.is_in_group(own, mac);
        if !known.is_known(seen.time) || known.mac.is_some_and(is_own) {
            return Ok(false);
        }
        let Some(of_mac) = of_mac else {
            // Of a router that nothing announced before, another MAC may have the address.
            let owner = memory.station(network, router)?.owner();
            let other = known.mac.or(owner).filter(|other| *other != mac);
            return Ok(other.is_some() && !self.is_same_device(seen, memory, router, (mac, other))?);
        };
        if of_mac.trust != Trust::Reported || of_mac.further == 0 || of_mac.number == 1 {
            return Ok(false);
        }
        // A router that was replaced is reported once, and known after a day. It is no replacement if the other one goes on to announce
        // itself. What withdraws it harms hosts each time.
        let other = match known.mac {
            Some(own) => memory.known(network, Part::RouterMac, &format!("{router} {own}"))?,
            None => None,
        };
        let goes_on = other.is_some_and(|other| other.last > of_mac.further);
        Ok(goes_on || seen.record.lifetime == 0 && !of_mac.is_known(seen.time))
    }

    /// The alert that another MAC announces a router, if one is due: each takeover once in `quiet` seconds.
    pub(super) fn taken_by_advertisement<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (ip, known): (IpAddr, &Known),
        of_mac: Option<Known>,
    ) -> Result<Option<Alert>, M::Error> {
        let (network, time, mac) = (&*seen.network, seen.time, seen.record.sender);
        let mut of_mac = of_mac.unwrap_or_else(|| Known::new(time, Trust::Reported));
        if self.is_recent(&of_mac, time) {
            return Ok(None);
        }
        if self.is_stranger(ip, mac) {
            of_mac.trust = Trust::Reported;
        }
        let station = memory.station(network, ip)?;
        let others = station.claims.iter().map(|claim| claim.mac);
        let old = known.mac.or_else(|| others.into_iter().find(|other| *other != mac));
        let ends = match seen.record.lifetime {
            0 => " and withdraws it: hosts stop using it",
            _ => "",
        };
        let alert = self.rogue(seen, AlertKind::GatewayTaken, Some(ip), Some(mac), String::new());
        let held = span(known.first, time).unwrap_or(0).max(0);
        let old_mac = old.map(|old| old.to_string());
        let mut alert = Alert { note: None, old_mac, held, ..alert };
        if self.is_stranger(ip, mac) {
            alert = self.of_stranger(Alert { old_mac: None, ..alert }, (network, ip), memory)?;
        }
        let deed = Facts::Gateway(format!("now announces the router {ip}{ends}"));
        let alert = taken(alert, deed);
        let of_mac = Known { last: time, further: time, ..of_mac };
        let limit = if self.is_stranger(ip, mac) { OWNED } else { "" };
        let alert = admit_as(seen, memory, alert, limit)?;
        if alert.is_some() {
            memory.store_known(network, Part::RouterMac, &format!("{ip} {mac}"), &of_mac)?;
        }
        Ok(alert)
    }
}

/// Of a MAC's claims that Linux ignores: they silence none that it accepts.
pub(super) fn ignored_key(ip: IpAddr, mac: MacAddr) -> String {
    format!("{ip} {mac} ignored")
}

/// An alert that a gateway is taken.
fn taken(alert: Alert, facts: Facts) -> Alert {
    Alert { kind: AlertKind::GatewayTaken, digest: false, facts, ..alert }
}

/// What a claim of the address does.
fn answers_for(ip: IpAddr) -> Facts {
    Facts::Gateway(format!("now answers for the gateway {ip}"))
}
