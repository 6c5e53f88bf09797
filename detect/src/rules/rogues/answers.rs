//! The first answer of a known DHCP server, and the first lease of one that was reported.

use std::net::IpAddr;

use shm_layout::{MacAddr, NameKind, NameRecord};

use super::{FIND, LIMIT_SECONDS, RENEW, Rules, Seen, admit_as, client};
use crate::{
    alert::{Alert, AlertKind, Facts},
    infrastructure::{InfrastructureMemory, Known, Part, Trust, includes},
    rules::rogues::dhcp::{HELD_SECONDS, server_key, server_of},
    station::MacClaim,
};

/// No further lease is reported.
pub(super) const NEVER: i64 = i64::MAX;

/// What a server's answer does.
pub(super) fn deed(record: &NameRecord) -> String {
    let client = client(record);
    match (record.kind, record.ip()) {
        (NameKind::DhcpNak, _) => format!("it refuses the address that {client} asked for (NAK)"),
        (NameKind::DhcpAck, Some(ip)) => format!("it gives {ip} to {client}"),
        (_, Some(ip)) => format!("it offers {ip} to {client}"),
        (_, None) => {
            format!("it answers {client} without an address, as servers of boot files do")
        }
    }
}

/// What a server that was reported names, of which the message about its first lease has so many: routers, and DNS servers.
const MOST_NAMED: usize = 4;

/// Whether a client uses from now on what the server names.
pub(super) fn is_lease(record: &NameRecord) -> bool {
    record.kind == NameKind::DhcpAck && record.ip().is_some()
}

impl Rules {
    /// The first answer in the name of a server that only the configuration or its clients named: in the digest, unless another MAC has
    /// its address or answered for it. Any host can send it, so its MAC is stored as one that was reported. `of_report`, `of_server`: how
    /// that is, where what it names is part of the alert, or reported like what a known server names.
    pub(super) fn first_answer<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (key, server): (&str, Option<IpAddr>),
        mut known: Known,
        (of_report, of_server): (Known, Known),
    ) -> Result<Option<Alert>, M::Error> {
        let (record, mac) = (seen.record, seen.record.sender);
        let with_mac = format!("{key} {mac}");
        let with_mac = (Part::DhcpServerMac, &*with_mac);
        let deed = deed(record);
        let other = self.other_mac(seen, memory, (key, server))?;
        // A client named it, which was reported, and that was all that was known of it.
        let was_reported = known.trust == Trust::Reported;
        if other.is_some() || was_reported {
            let (note, advice, facts) = match &other {
                Some((other, why)) => (
                    format!("it answers in the name of this server, but {other} {why}: {deed}"),
                    "(if both MACs are your server's, name them in [[failover]]; if not, find the port of the foreign one in the MAC address table of the switch, and unplug it)".into(),
                    Facts::None,
                ),
                None => (
                    format!(
                        "it was reported because a client named it, and now it answers: {deed}"
                    ),
                    self.of_new_server(seen, memory, server)?,
                    Facts::Reported(known.first),
                ),
            };
            let alert = self.rogue(seen, AlertKind::NewDhcpServer, server, Some(mac), note);
            let old_mac = other.map(|(mac, _)| mac.to_string());
            let is_its_own = old_mac.is_none();
            let alert = Alert { old_mac, advice, facts, ..alert };
            let alert = self.report(seen, memory, with_mac, of_report, alert)?;
            if alert.is_some() && is_its_own {
                known.mac = Some(mac); // of a server that was reported itself
                memory.store_known(&seen.network, Part::DhcpServer, key, &known)?;
            }
            return Ok(alert);
        }
        // A refusal, which all hosts receive, names nothing: the first answer with an address is compared with what comes later.
        if record.ip().is_some() {
            (known.mac, known.further) = (Some(mac), record.message.into());
        }
        let held = match server {
            Some(ip) => memory.station(&seen.network, ip)?.held(mac, seen.time),
            None => HELD_SECONDS,
        };
        let mut alert = None;
        if held < HELD_SECONDS && !self.is_relayed(seen, memory)? {
            let is_named = server.is_some_and(|ip| includes(&self.dhcp_servers, ip));
            let by = if is_named { "the configuration names" } else { "only its clients named" };
            let owner = match server {
                Some(ip) => memory.station(&seen.network, ip)?.owner(),
                None => None,
            };
            let of_owner = server.filter(|ip| self.is_owner(*ip, mac));
            let (arp, facts) = match owner {
                _ if of_owner.is_some() => ("", Facts::None),
                Some(owner) if owner == mac => ("", Facts::Claims),
                _ => (". No ARP shows that this MAC has its address", Facts::None),
            };
            let note = format!(
                "this is the first answer that arrives here of this DHCP server, which {by}: {deed}{arp}"
            );
            let advice = match of_owner {
                Some(ip) => format!("({}: nothing is to be done)", self.owned_by(ip, mac)),
                None => format!(
                    "(if this is the MAC of your server, nothing is to be done; if not, {FIND}{RENEW})"
                ),
            };
            let one = self.rogue(seen, AlertKind::NewSetting, server, Some(mac), note);
            let one = Alert { digest: true, advice, facts, ..one };
            alert = self.report(seen, memory, with_mac, of_server, one)?;
            if alert.is_none() {
                return Ok(None); // not stored, and reported when it is seen again
            }
        } else {
            memory.store_known(&seen.network, with_mac.0, with_mac.1, &of_server)?;
        }
        memory.store_known(&seen.network, Part::DhcpServer, key, &known)?;
        Ok(alert)
    }

    /// Another MAC that answered in the name of this server, or has its address in ARP, or that of the relay, and why it counts. A relay's
    /// address is the sender's claim, so it takes nothing from what the server's address shows. The first MAC of the server's address counts
    /// if it was learned, or claimed the address within a day: after that, the server may have got another network card.
    fn other_mac<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (key, server): (&str, Option<IpAddr>),
    ) -> Result<Option<(MacAddr, &'static str)>, M::Error> {
        let mac = seen.record.sender;
        if server.is_some_and(|ip| self.is_owner(ip, mac)) {
            return Ok(None);
        }
        let is_other = |other: &MacAddr| *other != mac && !self.is_in_group(mac, *other);
        for row in memory.keys(&seen.network, Part::DhcpServerMac)? {
            let other = row.strip_prefix(key).and_then(|rest| rest.strip_prefix(' '));
            let other = other.and_then(|mac| mac.parse::<MacAddr>().ok()).filter(is_other);
            if let Some(other) = other {
                return Ok(Some((other, "answered for it before")));
            }
        }
        let relay = seen.record.relay_ip();
        for (ip, why) in [(server, "has its address"), (relay, "has the address of its relay")] {
            let Some(ip) = ip else { continue };
            let station = memory.station(&seen.network, ip)?;
            if station.learned.contains(&mac) {
                continue;
            }
            if let Some(other) = station.owner().filter(is_other) {
                return Ok(Some((other, why)));
            }
            let is_recent = |claim: &&MacClaim| (seen.time - claim.time).abs() < HELD_SECONDS;
            let recent: Vec<_> =
                station.claims.iter().filter(is_recent).map(|one| one.mac).collect();
            let first = station.first.map(|first| first.mac).filter(is_other);
            let counts = |mac: &MacAddr| station.learned.contains(mac) || recent.contains(mac);
            if let Some(first) = first.filter(|first| Some(ip) == server && counts(first)) {
                return Ok(Some((first, "had its address before")));
            }
        }
        Ok(None)
    }

    /// Stores what a server names that was reported, until the message about its first lease.
    pub(super) fn note_named<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let record = seen.record;
        let what = match (record.kind, record.ip(), record.relay_ip()) {
            (NameKind::DhcpRouter, Some(ip), _) | (NameKind::DhcpRoute, _, Some(ip)) => {
                format!("router {ip}")
            }
            (NameKind::DhcpDns, Some(ip), _) => format!("DNS server {ip}"),
            (NameKind::DhcpProxy, ..) => "a proxy (WPAD)".into(),
            (NameKind::DhcpPortal, ..) => "a captive portal".into(),
            (NameKind::DhcpBoot, ..) => "a boot server".into(),
            _ => return Ok(()),
        };
        let with_mac = format!("{} {}", server_key(record), record.sender);
        let row = memory.known(&seen.network, Part::DhcpServerMac, &with_mac)?;
        let is_open =
            |row: &Known| row.trust == Trust::Reported && row.number == 0 && row.further != NEVER;
        let Some(row) = row.filter(is_open) else { return Ok(()) };
        // Many of one kind leave room for the others.
        let kind = what.trim_end_matches(|of: char| of != ' ');
        let named: Vec<_> = row.text.split(", ").filter(|one| !one.is_empty()).collect();
        let alike = named.iter().filter(|one| one.starts_with(kind)).count();
        let what = match alike {
            _ if named.contains(&&*what) => return Ok(()),
            ..MOST_NAMED => what,
            MOST_NAMED => format!("{kind}and others"),
            _ => return Ok(()),
        };
        let text = named.into_iter().chain([&*what]).collect::<Vec<_>>().join(", ");
        memory.store_known(&seen.network, Part::DhcpServerMac, &with_mac, &Known { text, ..row })
    }

    /// The first lease that a MAC gives which was reported is one further alert, however long it waits: a host uses from now on what that
    /// server names. `of_mac`: what is stored with it.
    pub(super) fn lease_of_reported<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (part, with_mac): (Part, &str),
        (of_mac, server): (Known, &Known),
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let mac = record.sender;
        let is_own = server.mac.is_some_and(|other| other == mac || self.is_in_group(mac, other));
        // It was named meanwhile.
        let is_right = match server_of(record).map(|ip| (ip, self.owners(ip).is_empty())) {
            Some((ip, false)) => self.is_owner(ip, mac),
            _ => is_own && matches!(server.trust, Trust::Learned | Trust::Named),
        };
        let is_reported = of_mac.trust == Trust::Reported && of_mac.number == 0;
        let Some(ip) = record.ip().filter(|_| is_lease(record)) else { return Ok(None) };
        if seen.learning || !is_reported || is_right || seen.time < of_mac.further {
            return Ok(None);
        }
        let first = if is_own { server.first.min(of_mac.first) } else { of_mac.first };
        let note = format!(
            "this server, which was reported before, gave {ip} to {}, which uses from then on what that lease names{}",
            client(record),
            match &*of_mac.text {
                "" => String::new(),
                named =>
                    format!(". Before it, this server named: {named}; the lease may name others"),
            }
        );
        let advice = format!("(aw-stdout --names --replay shows what it names; {FIND}{RENEW})");
        let server = server_of(record);
        let alert = self.rogue(seen, AlertKind::NewDhcpServer, server, Some(mac), note);
        let alert = Alert { advice, facts: Facts::Reported(first), ..alert };
        let alert = admit_as(seen, memory, alert, " lease")?;
        // One that was refused is counted once, and reported later.
        let further = if alert.is_some() { NEVER } else { seen.time + LIMIT_SECONDS };
        memory.store_known(&seen.network, part, with_mac, &Known { further, ..of_mac })?;
        Ok(alert)
    }
}
