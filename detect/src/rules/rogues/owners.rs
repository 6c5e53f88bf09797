//! Addresses of routers and servers beside which the configuration has their MACs: no other MAC is the owner's, whatever was learned, came
//! first, or was seen for long.

use std::net::IpAddr;

use aw_output::Entry;
use shm_layout::{Evidence, MacAddr, NameKind, NameRecord, UnixTime};

use super::{
    FIND, RENEW, Rules, Seen, admit_as,
    answers::deed,
    dhcp::{HELD_SECONDS, server_of},
    find,
};
use crate::{
    alert::{Alert, AlertKind},
    infrastructure::{InfrastructureMemory, Known, NamedServer, Part, Trust},
    network::full_network,
    rules::{Dialect, name_sender, past_time},
};

/// Alerts of these addresses have a limit of their own: those of other ones, which a host makes up, do not use it up.
pub(super) const OWNED: &str = " owned";

impl Rules {
    /// The MACs that the configuration has beside this address.
    pub fn owners(&self, ip: IpAddr) -> Vec<MacAddr> {
        let named = self.named_lists().into_iter().flat_map(|(_, list)| list);
        let named = named.filter(|one| one.address() == Some(ip));
        let mut macs: Vec<MacAddr> = Vec::new();
        for mac in named.flat_map(|one| one.macs()) {
            if !macs.contains(mac) {
                macs.push(*mac);
            }
        }
        macs
    }

    /// Whether the configuration has this MAC beside the address, or one of its failover group.
    pub fn is_owner(&self, ip: IpAddr, mac: MacAddr) -> bool {
        self.owners(ip).iter().any(|own| *own == mac || self.is_in_group(*own, mac))
    }

    /// Whether the configuration has other MACs beside the address.
    pub fn is_stranger(&self, ip: IpAddr, mac: MacAddr) -> bool {
        !self.owners(ip).is_empty() && !self.is_owner(ip, mac)
    }

    /// Whether a message speaks for an address beside which the configuration has other MACs: nothing is learned from it.
    pub(super) fn is_of_stranger(&self, record: &NameRecord) -> bool {
        use NameKind::*;
        let ip = match record.kind {
            DhcpOffer | DhcpAck | DhcpNak | DhcpRouter | DhcpRoute | DhcpDns | DhcpProxy
            | DhcpBoot | DhcpPortal | DhcpDomain => server_of(record),
            Router => record.ip(),
            RouterDns | RouterPrefix | RouterRoute | RouterNat64 | RouterDomain | RouterPortal => {
                record.other_ip()
            }
            _ => None,
        };
        ip.is_some_and(|ip| self.is_stranger(ip, record.sender))
    }

    /// The alert about a claim of another MAC than the owner's that nothing else reports, because that MAC was first or was learned, or
    /// has the address since long: once in `quiet` seconds.
    pub(super) fn stranger_claim<M: InfrastructureMemory>(
        &self,
        entry: &Entry,
        now: UnixTime,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let (event, ip) = (&entry.event, entry.event.ip());
        let evidence = event.kind.evidence();
        // arpwatch does not report what is as before.
        if self.dialect != Dialect::Devices {
            return Ok(None);
        }
        let is_claim =
            matches!(evidence, Evidence::Claim | Evidence::FrameSource | Evidence::SignOfLife);
        let network = full_network(entry);
        // What claims nothing has changed no owner.
        let has_it = memory.station(&network, ip)?.owner() == Some(event.mac);
        if !is_claim || !has_it || self.proxies.contains(&event.mac) {
            return Ok(None);
        }
        let time = past_time(event.time, now).seconds();
        let mut alert = Alert { time, ..self.alert(AlertKind::Changed, entry) };
        name_sender(&mut alert);
        self.takeover(alert, evidence, memory)
    }

    /// An alert about another MAC than the owner's, with the owner as the MAC that had the address, if it was seen there; as important as
    /// one about an address that was held for long.
    pub(super) fn of_stranger<M: InfrastructureMemory>(
        &self,
        alert: Alert,
        (network, ip): (&str, IpAddr),
        memory: &mut M,
    ) -> Result<Alert, M::Error> {
        let station = memory.station(network, ip)?;
        let learned = self.learned_macs(network, ip, memory)?;
        let was_seen =
            |own: &MacAddr| station.has(*own) || learned.iter().any(|(mac, _)| mac == own);
        let owner = self.owners(ip).into_iter().find(was_seen).map(|own| own.to_string());
        let held = alert.held.max(HELD_SECONDS);
        // Who only probed the address did not have it.
        let is_other =
            |old: &String| *old != alert.mac && old.parse().is_ok_and(|old| station.has(old));
        let old_mac = alert.old_mac.filter(is_other).or(owner);
        Ok(Alert { old_mac, held, digest: false, ..alert })
    }

    /// Another MAC than the owner's answers in the name of a DHCP server: once in `quiet` seconds, and once more with the first lease after
    /// that. Its row is as old as the last report.
    pub(super) fn stranger_answers<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (ip, with_mac): (IpAddr, (Part, &str)),
        of_report: Known,
    ) -> Result<Option<Alert>, M::Error> {
        let mac = seen.record.sender;
        let of_mac = memory.known(&seen.network, with_mac.0, with_mac.1)?;
        if let Some(of_mac) = of_mac
            && of_mac.trust == Trust::Reported
            && of_mac.number == 0
            && (seen.time - of_mac.first).abs() < self.quiet
        {
            let server = Known::new(seen.time, Trust::Named);
            return self.lease_of_reported(seen, memory, with_mac, (of_mac, &server));
        }
        let note = format!(
            "it answers in the name of this server: {}. {} (if it is a MAC of your server, too, or of its relay, {}; if not, {}{RENEW})",
            deed(seen.record),
            self.other_than(ip, mac),
            self.to_own(ip, mac),
            find(mac)
        );
        let alert = self.rogue(seen, AlertKind::NewDhcpServer, Some(ip), Some(mac), note);
        let owner = self.owners(ip).first().map(|own| own.to_string());
        let alert = Alert { old_mac: owner, ..alert };
        let alert = admit_as(seen, memory, alert, OWNED)?;
        if alert.is_some() {
            memory.store_known(&seen.network, with_mac.0, with_mac.1, &of_report)?;
        }
        Ok(alert)
    }

    /// What to do about an alert that a MAC takes an address from another one, if the configuration has MACs beside it.
    pub(super) fn owner_advice(
        &self,
        ip: IpAddr,
        mac: Option<MacAddr>,
        old: Option<MacAddr>,
    ) -> Option<String> {
        let mac = mac.filter(|_| !self.owners(ip).is_empty())?;
        if self.is_owner(ip, mac) {
            let old = old.filter(|old| self.is_stranger(ip, *old))?;
            return Some(format!("{}: {}.", self.owned_by(ip, mac), find(old)));
        }
        let (other, add) = (self.other_than(ip, mac), self.to_own(ip, mac));
        let what = if self.list_of(ip).0 == "routers" { "router" } else { "server" };
        Some(format!(
            "{other}. If {mac} is a MAC of your {what}, too, {add}; if not, {}.",
            find(mac)
        ))
    }

    /// `` 00:08:e1:00:00:01 is the MAC that `routers` has for 192.0.2.1``
    pub fn owned_by(&self, ip: IpAddr, mac: MacAddr) -> String {
        let is_of_group = !self.owners(ip).contains(&mac);
        let group = if is_of_group { " in a [[failover]] with" } else { "" };
        format!("{mac} is{group} the MAC that `{}` has for {ip}", self.list_of(ip).0)
    }

    /// `` `routers` has the MAC 00:08:e1:00:00:01 for 192.0.2.1, and not 00:08:e1:00:00:66``
    pub fn other_than(&self, ip: IpAddr, mac: MacAddr) -> String {
        let owners: Vec<_> = self.owners(ip).iter().map(ToString::to_string).collect();
        let key = self.list_of(ip).0;
        format!("`{key}` has the MAC {} for {ip}, and not {mac}", owners.join(" and "))
    }

    /// How to write another MAC beside an address that the configuration names.
    fn to_own(&self, ip: IpAddr, mac: MacAddr) -> String {
        let (key, list) = self.list_of(ip);
        self.to_add(key, list, &format!("{ip} {mac}"))
    }

    /// What to write of an address that a message speaks for: with the MAC of that message, if no other one ever claimed the address, and no
    /// relay sent it. Who pastes another one's makes it the owner.
    pub(super) fn with_own<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        ip: IpAddr,
    ) -> Result<String, M::Error> {
        let mac = seen.record.sender;
        let station = memory.station(&seen.network, ip)?;
        let is_first = station.first.is_some_and(|first| first.mac == mac);
        let is_only = is_first && station.macs() == [mac];
        Ok(match is_only && seen.record.relay_ip().is_none() {
            true => format!("{ip} {mac}"),
            false => ip.to_string(),
        })
    }

    /// What to do about an answer of a DHCP server that the configuration does not name as one. Its MAC may be that of a router there.
    pub(super) fn of_new_server<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        server: Option<IpAddr>,
    ) -> Result<String, M::Error> {
        let (key, list, mac) = ("dhcp_servers", &self.dhcp_servers, seen.record.sender);
        let yours = match server {
            Some(ip) if self.is_owner(ip, mac) => {
                let (own, add) = (self.owned_by(ip, mac), self.to_add(key, list, &ip.to_string()));
                return Ok(format!(
                    "({own}: if it is to answer DHCP, {add}; if not, look at its configuration)"
                ));
            }
            Some(ip) => self.if_yours(key, list, &self.with_own(seen, memory, ip)?),
            None => "if it is yours, let it name its address, and add that to dhcp_servers".into(),
        };
        Ok(format!("({yours}; if not, {FIND}{RENEW})"))
    }

    /// The list of the configuration that has the address with its MACs, or else that has it.
    fn list_of(&self, ip: IpAddr) -> (&'static str, &[NamedServer]) {
        let lists = self.named_lists();
        let has = |with_macs: bool| {
            let is_it = move |one: &NamedServer| {
                one.address() == Some(ip) && with_macs != one.macs().is_empty()
            };
            lists.into_iter().find(|(_, list)| list.iter().any(is_it))
        };
        has(true).or(has(false)).unwrap_or(lists[0])
    }

    /// The first claim of an address that the configuration names without its MAC: as alert, which shows who it was and where. From then
    /// on, this MAC counts as the owner's.
    pub fn first_of_named<M: InfrastructureMemory>(
        &self,
        entry: &Entry,
        now: UnixTime,
        alerts: &[Alert],
        memory: &mut M,
    ) -> Result<Option<(Alert, String)>, M::Error> {
        let ip = entry.event.ip();
        let is_named = self.guards(ip) && self.owners(ip).is_empty();
        if !is_named || self.dialect != Dialect::Devices {
            return Ok(None);
        }
        let first = self.first_claim(entry, now, alerts, memory)?;
        let mac = entry.event.mac;
        Ok(first.map(|first| (first, self.to_own(ip, mac))))
    }
}
