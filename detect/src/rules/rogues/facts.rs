//! What an alert about an address that another MAC takes can mean: since when its MACs had it, whose address it is, what to do, and until
//! when the same is not reported. After all decisions, for messages only, because a flood of alerts is counted and needs no text; and
//! with the clock of the reader, because a message can be late.

use std::net::IpAddr;

use shm_layout::MacAddr;

use super::{Rules, gateways::LONG_AGO};
use crate::{
    alert::{Alert, AlertKind, Facts},
    device::span,
    infrastructure::{InfrastructureMemory, Part, Trust, includes},
    network::full_name,
    rules::{Dialect, claims::sentences, frames::IGNORED},
    station::Station,
};

/// Of a router's address.
const OF_GATEWAY: &str = "aw-alert cannot know which MAC is the router's, and one that is not may receive what hosts send to other networks: compare each with the MAC on your router. If all are its own, name them in [[failover]]";
/// Where a host is found whose MAC is not a device's own.
const NOT_ITS_OWN: &str =
    "find that MAC's port in the MAC address table of the switch, and unplug it";

/// The text of an older alert is in the past tense: so many seconds before its message is made.
const LATE: i64 = 60;

/// An address, and what is known of its MACs.
pub(super) struct Claimed<'a> {
    pub network: &'a str,
    pub ip: IpAddr,
    /// When the alert was, and when its message is made.
    pub time: i64,
    pub now: i64,
    pub clock: &'a dyn Fn(i64) -> String,
    pub station: Station,
    pub is_of_gateway: bool,
    /// The MACs of a router's messages in the learning period, and since when.
    pub learned: Vec<(MacAddr, i64)>,
    pub mac: Option<MacAddr>,
    pub old: Option<MacAddr>,
}

impl Claimed<'_> {
    /// `now answers for the gateway 192.0.2.1`; of a message about the past, `answered for ...`.
    fn deed(&self, deed: &str) -> String {
        match span(self.time, self.now).is_some_and(|age| age > LATE) {
            true => deed
                .replace("now answers ", "answered ")
                .replace("now announces ", "announced ")
                .replace("now claims ", "claimed ")
                .replace("withdraws it: hosts stop ", "withdrew it: hosts stopped "),
            false => deed.to_owned(),
        }
    }

    /// ` at 05:19:07 UTC`; empty if the clock was set since.
    fn when(&self, word: &str, time: i64) -> String {
        let is_past = span(time, self.time).is_some_and(|age| age >= 0);
        if is_past { format!(" {word} {}", (self.clock)(time)) } else { String::new() }
    }

    /// The first MAC of all, and since when: in messages that were learned, or by its claim.
    pub fn first(&self) -> Option<(MacAddr, i64)> {
        let first = self.station.first.map(|first| (first.mac, first.time));
        first.into_iter().chain(self.learned.iter().copied()).min_by_key(|(_, since)| *since)
    }
}

impl Rules {
    /// Adds to an alert what is known of the MACs of its address, what that can mean, and what to do. `now`: when its message is made.
    /// `clock`: shows a time.
    pub fn explain<M: InfrastructureMemory>(
        &self,
        alert: &mut Alert,
        (now, clock): (i64, &dyn Fn(i64) -> String),
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let facts = std::mem::take(&mut alert.facts);
        if let Facts::Reported(time) = facts {
            // Not if the clock was set since.
            if span(time, alert.time).is_some_and(|age| age >= 0) {
                alert.advice = format!("The report was at {} {}", clock(time), alert.advice);
            }
            return Ok(());
        }
        // Other alerts of arpwatch's rules have arpwatch's words.
        let is_explained = match facts {
            Facts::None => alert.kind.is_takeover() && self.dialect == Dialect::Devices,
            _ => true,
        };
        let Some(ip) = alert.ip.parse::<IpAddr>().ok().filter(|_| is_explained) else {
            return Ok(());
        };
        let network = &*full_name(&alert.host, &alert.ring, &alert.network);
        let station = memory.station(network, ip)?;
        let is_of_gateway = matches!(facts, Facts::Gateway(_));
        let learned = self.learned_macs(network, ip, memory)?;
        let mac_of = |text: &str| text.parse::<MacAddr>().ok();
        let (mac, old) = (mac_of(&alert.mac), alert.old_mac.as_deref().and_then(mac_of));
        let time = alert.time;
        let claimed =
            Claimed { network, ip, time, now, clock, station, is_of_gateway, learned, mac, old };
        let of_gateway = match &facts {
            Facts::Gateway(deed) => Some(&**deed),
            _ => None,
        };
        let is_ignored = [alert.note.as_deref(), of_gateway];
        let is_ignored = is_ignored.into_iter().flatten().any(|text| text.contains(IGNORED));
        match facts {
            Facts::Claims => {
                if let Some(claims) = self.claimants(&claimed, memory)? {
                    alert.advice = format!("{claims} {}", alert.advice);
                }
                return Ok(());
            }
            Facts::Gateway(deed) => self.explain_gateway(alert, &claimed, &deed),
            _ => self.explain_takeover(alert, &claimed, memory)?,
        }
        alert.pause = self.pause((alert.kind, is_ignored), &claimed, memory)?;
        Ok(())
    }

    /// A router's address.
    fn explain_gateway(&self, alert: &mut Alert, claimed: &Claimed, deed: &str) {
        // The MAC of a new claim is the first one, too, if advertisements or DHCP alone showed another one before.
        let first = self.first_of(claimed).filter(|(first, _)| Some(*first) == claimed.mac);
        let was_first = first.is_some_and(|(_, since)| since < claimed.time);
        let shown = |mac| match was_first {
            true => self.shown(claimed, mac) + ",",
            false => self.with_age(claimed, mac),
        };
        let mut note =
            format!("{} {}.", claimed.mac.map(shown).unwrap_or_default(), claimed.deed(deed));
        note += &self.before(claimed);
        if let Some(also) = &alert.note {
            note += &format!(" Also: {also}.");
        }
        alert.note = Some(note);
        let of_owner = self.owner_advice(claimed.ip, claimed.mac, claimed.old);
        alert.advice = of_owner.unwrap_or_else(|| {
            format!("{OF_GATEWAY} {}. If one is not, {NOT_ITS_OWN}.", self.in_file())
        });
    }

    /// Another address.
    fn explain_takeover<M: InfrastructureMemory>(
        &self,
        alert: &mut Alert,
        claimed: &Claimed,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let Claimed { ip, station, mac, old, .. } = claimed;
        let has_owner = old.is_some_and(|old| station.has(old));
        let is_first =
            |mac: &MacAddr| self.first_of(claimed).is_some_and(|(first, _)| first == *mac);
        let first = mac.filter(|mac| has_owner && is_first(mac));
        let first = first.map(|mac| format!("{} was the first one.", self.with_age(claimed, mac)));
        let before = self.before(claimed);
        let was_first = first.is_some();
        let mut parts: Vec<_> = first.into_iter().collect();
        parts.extend(Some(before.trim_start().to_owned()).filter(|text| !text.is_empty()));
        let spoofing = if ip.is_ipv4() { "ARP spoofing" } else { "spoofing of Neighbor Discovery" };
        let of_owner = self.owner_advice(*ip, *mac, *old);
        parts.push(match alert.kind {
            _ if of_owner.is_some() => of_owner.unwrap_or_default(),
            AlertKind::Duplicate if !has_owner => {
                format!("Hosts get no address while {} answers for all: {NOT_ITS_OWN}.", alert.mac)
            }
            AlertKind::Duplicate => format!(
                "Either two devices have this address, or one of them takes what is sent to the other one ({spoofing}). If both are yours, give one of them another address; if one is not, {NOT_ITS_OWN}."
            ),
            _ if was_first => format!(
                "One of them may take what is sent to the other one ({spoofing}): compare both with the MAC of your device; if one is not its own, {NOT_ITS_OWN}."
            ),
            _ => format!(
                "Either a device was exchanged or got another address, or one of them takes what is sent to the other one ({spoofing}). If you changed nothing, compare both with the MAC of your device; if one is not its own, {NOT_ITS_OWN}."
            ),
        });
        let roles = self.roles((claimed.network, *ip), memory)?;
        (alert.advice, alert.note) = (parts.join(" "), sentences(alert.note.take(), roles));
        Ok(())
    }

    /// `By ARP, which any host can send, MAC claimed 192.0.2.1 last, ...`: none of them sent the message that names the address.
    fn claimants<M: InfrastructureMemory>(
        &self,
        claimed: &Claimed,
        memory: &mut M,
    ) -> Result<Option<String>, M::Error> {
        let Claimed { network, ip, station, .. } = claimed;
        let ([last, others @ ..], Some(first)) = (&*station.claims, station.first) else {
            return Ok(None);
        };
        let by = if ip.is_ipv4() { "ARP" } else { "Neighbor Discovery" };
        let begin = format!("By {by}, which any host can send,");
        // Of the owner's address that is no router's, too, it is stored when another MAC was reported.
        let router = memory.known(network, Part::Router, &ip.to_string())?;
        let is_router = router.is_some_and(|known| known.is_known(claimed.time));
        let kind = match is_router || includes(&self.routers, *ip) {
            true => AlertKind::GatewayTaken,
            false => AlertKind::Changed,
        };
        let mut shown = |mac: MacAddr, does: &str, at: String| -> Result<String, M::Error> {
            let row = memory.known(network, Part::RouterMac, &format!("{ip} {mac}"))?;
            let taken = row.filter(|row| row.trust == Trust::Reported && row.further > LONG_AGO);
            let is_change = first.mac != mac
                && !station.learned.contains(&mac)
                && !station.is_shared(mac, first.mac)
                && !self.is_in_group(mac, first.mac);
            let seen_as = match taken {
                Some(row) => {
                    format!(", seen as {}{}", kind.label(), claimed.when("at", row.further))
                }
                None if is_change => format!(", seen as {}", AlertKind::Changed.label()),
                None => String::new(),
            };
            Ok(format!("{}{does}{at}{seen_as}", self.named(mac)))
        };
        let at = |time| claimed.when("at", time);
        let claims = match others {
            [] => {
                let since = claimed.when("since", first.time);
                format!("only {}", shown(last.mac, &format!(" has claimed {ip}"), since)?)
            }
            [before, ..] => {
                let is_first = last.mac == first.mac;
                let last = shown(last.mac, &format!(" claimed {ip} last"), at(last.time))?;
                match is_first {
                    true => {
                        let before = shown(before.mac, "", at(before.time))?;
                        format!("{last}, and was the first one; before, it was {before}")
                    }
                    false => {
                        let first = shown(first.mac, "", at(first.time))?;
                        format!("{last}; the first one was {first}")
                    }
                }
            }
        };
        let mut all = station.claims.iter().map(|claim| claim.mac);
        let stranger = all.find(|mac| self.is_stranger(*ip, *mac));
        let other = stranger.map(|mac| format!("; {}", self.other_than(*ip, mac)));
        Ok(Some(format!("{begin} {claims}{}", other.unwrap_or_default())))
    }

    /// A MAC and its name.
    fn named(&self, mac: MacAddr) -> String {
        let name = self.name(mac).map(|name| format!(" [{name}]")).unwrap_or_default();
        format!("{mac}{name}")
    }

    /// A MAC, its name, and since when it had the address, if it was the first one or of messages that were learned.
    fn with_age(&self, claimed: &Claimed, mac: MacAddr) -> String {
        let Claimed { station, learned, .. } = claimed;
        let first = station.first.map(|first| (first.mac, first.time));
        let all = learned.iter().copied().chain(first);
        let since = all.filter(|(one, _)| *one == mac).map(|(_, since)| since).min();
        // What is new now has no age.
        let since =
            since.filter(|since| *since != claimed.time).map(|since| claimed.when("at", since));
        let since = since.filter(|since| !since.is_empty());
        let since = since.map(|since| format!(" (first seen{since})")).unwrap_or_default();
        format!("{}{since}", self.named(mac))
    }

    /// The first MAC of all, and since when; none where the configuration has the owner's, beside which being first is nothing.
    fn first_of(&self, claimed: &Claimed) -> Option<(MacAddr, i64)> {
        claimed.first().filter(|_| self.owners(claimed.ip).is_empty())
    }

    /// The same, and whether it was the first one.
    fn shown(&self, claimed: &Claimed, mac: MacAddr) -> String {
        let is_first = self.first_of(claimed).is_some_and(|(first, _)| first == mac);
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
        let first = self.first_of(claimed).map(|(first, _)| first);
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
