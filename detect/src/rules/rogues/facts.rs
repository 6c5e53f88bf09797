//! What an alert about an address that another MAC takes can mean: since when its MACs had it, whose address it is, and what to do. After
//! all decisions, for messages only, because a flood of alerts is counted and needs no text.

use std::{net::IpAddr, time::Duration};

use aw_service::TimeSpan;
use shm_layout::MacAddr;

use super::Rules;
use crate::{
    alert::{Alert, AlertKind},
    device::span,
    infrastructure::{InfrastructureMemory, Part, Trust, includes},
    network::full_name,
    rules::{Dialect, claims::joined},
    station::Station,
};

/// Of a router's address.
const OF_GATEWAY: &str = "aw-alert cannot know which MAC is the router's, and one that is not may receive what hosts send to other networks: compare each with the MAC on your router. If all are its own, name them in [[failover]]";
/// Where a host is found whose MAC is not a device's own.
const NOT_ITS_OWN: &str =
    "find that MAC's port in the MAC address table of the switch, and unplug it";

/// An address, and what is known of its MACs.
struct Claimed<'a> {
    alert: &'a Alert,
    station: Station,
    is_of_gateway: bool,
    /// The MACs of a router's messages in the learning period, and since when.
    learned: Vec<(MacAddr, i64)>,
    mac: Option<MacAddr>,
    old: Option<MacAddr>,
}

impl Rules {
    /// Adds to an alert about an address that another MAC takes what it can mean, and what to do. `clock`: shows a time.
    pub fn explain<M: InfrastructureMemory>(
        &self,
        alert: &mut Alert,
        clock: &dyn Fn(i64) -> String,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let deed = std::mem::take(&mut alert.deed);
        let is_of_gateway = !deed.is_empty();
        // Other alerts of arpwatch's rules have arpwatch's words.
        let has_own_words = is_of_gateway || self.dialect == Dialect::Devices;
        let is_explained = alert.kind.is_takeover() && has_own_words;
        let Some(ip) = alert.ip.parse::<IpAddr>().ok().filter(|_| is_explained) else {
            return Ok(());
        };
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let station = memory.station(&network, ip)?;
        let learned = match is_of_gateway {
            true => self.learned_macs(&network, ip, memory)?,
            false => Vec::new(),
        };
        let mac_of = |text: &str| text.parse::<MacAddr>().ok();
        let (mac, old) = (mac_of(&alert.mac), alert.old_mac.as_deref().and_then(mac_of));
        let claimed = Claimed { alert, station, is_of_gateway, learned, mac, old };
        if is_of_gateway {
            // The MAC of a new claim is the first one, too, if advertisements or DHCP alone showed another one before.
            let first = claimed.station.first.filter(|first| Some(first.mac) == mac);
            let was_first = first.is_some_and(|first| first.time < alert.time);
            let shown = |mac| match was_first {
                true => self.shown(&claimed, mac) + ",",
                false => self.with_age(&claimed, mac),
            };
            let mut note = format!("{} {deed}.", mac.map(shown).unwrap_or_default());
            note += &self.before(&claimed);
            if let Some(also) = &alert.note {
                note += &format!(" Also: {also}.");
            }
            let mut advice =
                format!("{OF_GATEWAY} {}. If one is not, {NOT_ITS_OWN}.", self.in_file());
            if let Some(of_owner) = self.owner_advice(ip, mac, old) {
                advice = of_owner;
            }
            for one in [mac, old].into_iter().flatten() {
                let row = memory.known(&network, Part::RouterMac, &format!("{ip} {one}"))?;
                if let Some(row) = row.filter(|row| self.is_recent(row, alert.time)) {
                    let until = clock(row.further.saturating_add(self.quiet));
                    advice +=
                        &format!(" Further takeovers by {one} until {until} are not reported.");
                }
            }
            (alert.note, alert.advice) = (Some(note), advice);
            return Ok(());
        }
        let mut parts = Vec::new();
        parts.extend(
            Some(self.before(&claimed).trim_start().to_owned()).filter(|text| !text.is_empty()),
        );
        let roles = self.roles((&network, ip), memory)?;
        if let Some(of_owner) = self.owner_advice(ip, mac, old) {
            parts.push(of_owner);
            (alert.advice, alert.note) = (parts.join(" "), joined(alert.note.take(), roles));
            return Ok(());
        }
        let spoofing = if ip.is_ipv4() { "ARP spoofing" } else { "spoofing of Neighbor Discovery" };
        let has_owner = old.is_some_and(|old| claimed.station.has(old));
        parts.push(match alert.kind {
            AlertKind::Duplicate if !has_owner => {
                format!("Hosts get no address while {} answers for all: {NOT_ITS_OWN}.", alert.mac)
            }
            AlertKind::Duplicate => format!(
                "Either two devices have this address, or one of them takes what is sent to the other one ({spoofing}). If both are yours, give one of them another address; if one is not, {NOT_ITS_OWN}."
            ),
            _ => format!(
                "Either a device was exchanged or got another address, or one of them takes what is sent to the other one ({spoofing}). If you changed nothing, compare both with the MAC of your device; if one is not its own, {NOT_ITS_OWN}."
            ),
        });
        (alert.advice, alert.note) = (parts.join(" "), joined(alert.note.take(), roles));
        Ok(())
    }

    /// A MAC, its name, and since when it had the address, if it was the first one or of messages that were learned.
    fn with_age(&self, Claimed { alert, station, learned, .. }: &Claimed, mac: MacAddr) -> String {
        let name = self.name(mac).map(|name| format!(" [{name}]")).unwrap_or_default();
        let first = station.first.map(|first| (first.mac, first.time));
        let all = learned.iter().copied().chain(first);
        let since = all.filter(|(one, _)| *one == mac).map(|(_, since)| since).min();
        let age = since.and_then(|since| u64::try_from(span(since, alert.time)?).ok());
        // What is new now has no age.
        let age = age.filter(|age| *age > 0).map(|age| TimeSpan(Duration::from_secs(age)));
        let age = age.map(|age| format!(" (first seen {age} ago)")).unwrap_or_default();
        format!("{mac}{name}{age}")
    }

    /// The same, and whether it was the first one.
    fn shown(&self, claimed: &Claimed, mac: MacAddr) -> String {
        let is_first = claimed.station.first.is_some_and(|first| first.mac == mac);
        let first = if is_first { ", which was the first one" } else { "" };
        format!("{}{first}", self.with_age(claimed, mac))
    }

    /// The MACs that had the address before. Which of them is the router's or device's own is not known: what any host can send would
    /// decide it.
    fn before(&self, claimed: &Claimed) -> String {
        let Claimed { station, learned, mac, old, .. } = claimed;
        let mut text = String::new();
        // Who only probed an address did not have it.
        if let Some(old) = old.filter(|old| claimed.is_of_gateway || station.has(*old)) {
            text += &format!(" Before, it was {}.", self.shown(claimed, old));
        }
        let is_other = |one: &MacAddr| Some(*one) != *mac && Some(*one) != *old;
        let first = station.first.map(|first| first.mac);
        if let Some(first) = first.filter(is_other) {
            text += &format!(" The first one was {}.", self.with_age(claimed, first));
        }
        let mut of_messages = learned.iter().map(|(one, _)| *one);
        if let Some(one) = of_messages.find(|one| is_other(one) && Some(*one) != first) {
            let shown = self.with_age(claimed, one);
            text += &format!(" In its advertisements or answers of DHCP, it was {shown}.");
        }
        text
    }

    /// What else the address is: that of a DHCP or DNS server which was learned or is named.
    fn roles<M: InfrastructureMemory>(
        &self,
        (network, ip): (&str, IpAddr),
        memory: &mut M,
    ) -> Result<Option<String>, M::Error> {
        let mut roles = Vec::new();
        let mut is_dhcp = false;
        for (part, list, what) in [
            (Part::DhcpServer, &self.dhcp_servers, "DHCP server"),
            (Part::Dns, &self.dns_servers, "DNS server"),
        ] {
            let known = memory.known(network, part, &ip.to_string())?;
            let why = match known.map(|known| known.trust) {
                Some(Trust::Learned) => "that was learned here",
                _ if includes(list, ip) => "that the configuration names",
                _ => continue,
            };
            is_dhcp |= part == Part::DhcpServer;
            roles.push(format!("the {what} {why}"));
        }
        let router = if is_dhcp { ", and may be the router, too" } else { "" };
        Ok((!roles.is_empty()).then(|| format!("{ip} is {}{router}", roles.join(" and "))))
    }
}
