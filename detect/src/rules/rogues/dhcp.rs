//! DHCP: servers that are new, whether they answer or a client names them, and addresses that a client finds in use.

use std::net::IpAddr;

use shm_layout::{MacAddr, NameKind, NameMarks, NameRecord};

use super::{
    FIND, RENEW, Rules, Seen,
    answers::{NEVER, deed, is_lease},
    claimed_by, client, text_of,
};
use crate::{
    alert::{Alert, AlertKind, Facts},
    device::span,
    infrastructure::{InfrastructureMemory, Known, Part, Trust, includes, names, usable},
    network::interface_of,
    station::{MacClaim, Station},
};

/// An address that clients find in use is reported once in so many seconds.
const CONFLICT_SECONDS: i64 = 86_400;
/// Who has an address for so many seconds has not taken it for an attack.
pub(super) const HELD_SECONDS: i64 = 86_400;
/// What comes with this number of message so soon after a MAC's first answer is of that message: the collector counts them from its start.
const MESSAGE_SECONDS: i64 = 60;

/// The server of an answer: as it names itself, or else the packet's source.
pub(super) fn server_of(record: &NameRecord) -> Option<IpAddr> {
    usable(record.other_ip()).or(usable(record.source_ip()))
}

/// Its key; of a server without an address, its MAC.
pub(super) fn server_key(record: &NameRecord) -> String {
    server_of(record).map_or_else(|| format!("mac {}", record.sender), |ip| ip.to_string())
}

/// Whether it is on its way to a relay, which sends its client a message of its own: what is only forwarded, no host of this link
/// accepts.
fn is_for_relay(record: &NameRecord) -> bool {
    let NameRecord { relay, destination, receiver, mac, .. } = *record;
    let is_forwarded = !receiver.is_no_host() && receiver != mac;
    record.relay_ip().is_some() && relay == destination && is_forwarded
}

impl Rules {
    /// A server answers.
    pub(super) fn dhcp_answer<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        if is_for_relay(record) {
            return Ok(None);
        }
        let (server, key, mac) = (server_of(record), server_key(record), record.sender);
        let with_mac = format!("{key} {mac}");
        let with_mac = (Part::DhcpServerMac, &*with_mac);
        let is_named = server.is_some_and(|ip| includes(&self.dhcp_servers, ip));
        let deed = deed(record);
        // Its report has the lease already.
        let further = if is_lease(record) { NEVER } else { 0 };
        let of_report = Known { further, ..Known::new(seen.time, Trust::Reported) };
        if let Some(ip) = server.filter(|ip| self.is_stranger(*ip, mac)) {
            return self.stranger_answers(seen, memory, (ip, with_mac), of_report);
        }
        let Some(mut known) = self.look(seen, memory, (Part::DhcpServer, &key), is_named)? else {
            let known = Known { mac: Some(mac), ..Known::new(seen.time, Trust::Reported) };
            let advice = self.of_new_server(seen, memory, server)?;
            let note = format!("{deed} {advice}");
            let alert = self.rogue(seen, AlertKind::NewDhcpServer, server, Some(mac), note);
            let alert = self.report(seen, memory, (Part::DhcpServer, &key), known, alert)?;
            if alert.is_some() {
                memory.store_known(&seen.network, with_mac.0, with_mac.1, &of_report)?;
            }
            return Ok(alert);
        };
        let is_owner = server.is_some_and(|ip| self.is_owner(ip, mac));
        let old = known.mac;
        // No learning period makes the answers of a second MAC normal in the name of a named server.
        let mut others = vec![old];
        if let Some(ip) = server.filter(|_| is_named && seen.learning) {
            let station = memory.station(&seen.network, ip)?;
            others.extend([recent_first(seen, memory, &station)?, station.owner()]);
        }
        let is_other = |own: &MacAddr| *own != mac && !self.is_in_group(*own, mac);
        let is_second =
            others.iter().flatten().any(is_other) && is_named && seen.learning && !is_owner;
        let of_mac = match is_second {
            true => memory.known(&seen.network, with_mac.0, with_mac.1)?,
            false => self.look(seen, memory, with_mac, false)?,
        };
        if let Some(of_mac) = of_mac {
            let was_reported = of_mac.trust == Trust::Reported && of_mac.number == 0;
            // It only refused until now: this is its first answer with an address.
            let is_first = of_mac.number == 1 && record.ip().is_some();
            if old.is_none() && !was_reported && (is_first || of_mac.number != 1) {
                known.mac = Some(mac);
                if is_first {
                    known.further = record.message.into();
                    let of_mac = Known { first: seen.time, ..of_mac.clone() };
                    memory.store_known(&seen.network, with_mac.0, with_mac.1, &of_mac)?;
                }
                memory.store_known(&seen.network, Part::DhcpServer, &key, &known)?;
            }
            let alert = self.lease_of_reported(seen, memory, with_mac, (of_mac, &known))?;
            return match alert {
                Some(alert) => Ok(Some(alert)),
                None => self.incomplete_answer(seen, memory, (&key, server), &known),
            };
        }
        // What it names is reported, too: an answer after the learning period is learned by none.
        let part_of_server = Known { number: 1, ..Known::new(seen.time, Trust::Reported) };
        if old.is_none() {
            return self.first_answer(
                seen,
                memory,
                (&key, server),
                known,
                (of_report, part_of_server),
            );
        }
        if !known.is_known(seen.time) {
            // Another MAC in the name of a server that was reported is part of that.
            let of_mac = Known::new(seen.time, Trust::Reported);
            memory.store_known(&seen.network, with_mac.0, with_mac.1, &of_mac)?;
            return self.lease_of_reported(seen, memory, with_mac, (of_mac, &known));
        }
        let is_same = old == Some(mac)
            || match server {
                Some(ip) => !is_second && self.is_same_device(seen, memory, ip, (mac, old))?,
                None => true,
            };
        if is_same || self.is_relayed(seen, memory)? {
            memory.store_known(&seen.network, with_mac.0, with_mac.1, &part_of_server)?;
            return Ok(None);
        }
        // Its address is known already: the message is about the MAC.
        let note = format!(
            "it answers in the name of a known server, from another MAC: {deed} (if both MACs are your server's, name them in [[failover]]; if not, {FIND}{RENEW})"
        );
        // A server behind two relays answers from both. Any host can write the address of a relay.
        let is_here = others[1..] != [None, None];
        let may_be_relay = is_second && !is_here && self.is_of_named_relay(seen, memory)?;
        let kind = if may_be_relay { AlertKind::NewSetting } else { AlertKind::NewDhcpServer };
        let alert = self.rogue(seen, kind, server, Some(mac), note);
        let old_mac = old.map(|mac| mac.to_string());
        let alert = Alert { old_mac, digest: may_be_relay, ..alert };
        let stored = if may_be_relay { part_of_server } else { of_report };
        self.report(seen, memory, with_mac, stored, alert)
    }

    /// An answer of a known server of which not all was read, and that was complete before: a client may take what is left out.
    fn incomplete_answer<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (server, ip): (&str, Option<IpAddr>),
        known: &Known,
    ) -> Result<Option<Alert>, M::Error> {
        let marks = seen.record.marks;
        let key = format!("{server} not all read");
        let is_incomplete = marks.has(NameMarks::INCOMPLETE) || marks.has(NameMarks::BAD_OPTION);
        if !is_incomplete
            || !known.is_known(seen.time)
            || self.look(seen, memory, (Part::Setting, &key), false)?.is_some()
        {
            return Ok(None);
        }
        let mac = seen.record.sender;
        let note = format!(
            "the DHCP server {server} (message from {mac}) sends more than addrwatch reads, or an option twice or malformed, and did not before: DNS servers and routes may be hidden there (look at that server's configuration, and for who else has its address)"
        );
        let alert = self.rogue(seen, AlertKind::ForeignDns, ip, Some(mac), note);
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Setting, &key), reported, alert)
    }

    /// Whether the sender has had the relay's address of this answer for long, and that is a known router: it is the relay. Not if another
    /// MAC has the server's address here: then the server is in this network.
    pub(super) fn is_relayed<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<bool, M::Error> {
        let Some(relay) = seen.record.relay_ip() else { return Ok(false) };
        let owner = match server_of(seen.record) {
            Some(server) => memory.station(&seen.network, server)?.owner(),
            None => None,
        };
        let is_other = |owner| owner != seen.record.sender;
        if owner
            .is_some_and(|owner| is_other(owner) && !self.is_in_group(owner, seen.record.sender))
        {
            return Ok(false);
        }
        let known = memory.known(&seen.network, Part::Router, &relay.to_string())?;
        let is_router = known.is_some_and(|known| known.is_known(seen.time));
        if !is_router && !includes(&self.routers, relay) {
            return Ok(false);
        }
        let station = memory.station(&seen.network, relay)?;
        Ok(station.held(seen.record.sender, seen.time) >= HELD_SECONDS)
    }

    /// Whether the relay's address of an answer is that of a router which the configuration names, and no host but the sender had it.
    fn is_of_named_relay<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<bool, M::Error> {
        let relay = seen.record.relay_ip().filter(|relay| names(&self.routers, *relay));
        let Some(relay) = relay else { return Ok(false) };
        let station = memory.station(&seen.network, relay)?;
        let macs: Vec<_> = station.claims.iter().map(|claim| claim.mac).collect();
        Ok(macs == [seen.record.sender])
    }

    /// A client names the server that it chose: on a port that gets broadcasts only, nothing else shows it.
    pub(super) fn dhcp_claim<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let Some(server) = record.other_ip().filter(|ip| !ip.is_unspecified()) else {
            return Ok(None);
        };
        // A server that names itself so is asked so: nothing else shows it here.
        let is_usable = usable(Some(server)).is_some();
        let key = if is_usable { server.to_string() } else { format!("unusable {server}") };
        let is_named = includes(&self.dhcp_servers, server);
        if self.look(seen, memory, (Part::DhcpServer, &key), is_named)?.is_some() {
            return Ok(None);
        }
        let add = self.if_yours("dhcp_servers", &self.dhcp_servers, &server.to_string());
        let note = format!(
            "{} asks it for an address. A client can name any server, and no answer of this one is known here",
            client(record)
        );
        let advice = format!(
            "({add}; if not, ask that client for the MAC of its server, such as with arp -n, and {FIND}{RENEW})"
        );
        let alert = self.rogue(seen, AlertKind::NewDhcpServer, Some(server), None, note);
        let (facts, claimed_by) = match is_usable {
            true => (Facts::Claims, claimed_by(seen, memory, server)?),
            false => (Facts::None, Vec::new()),
        };
        let alert = Alert { advice, facts, claimed_by, ..alert };
        let known = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::DhcpServer, &key), known, alert)
    }

    /// A client found that another host uses the address that it was given.
    pub(super) fn dhcp_conflict<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let Some(ip) = record.ip().filter(|_| !seen.learning) else { return Ok(None) };
        let key = ip.to_string();
        let known = memory.known(&seen.network, Part::Conflict, &key)?;
        let age = known.and_then(|known| span(known.first, seen.time));
        if age.is_some_and(|age| age.abs() < CONFLICT_SECONDS) {
            return Ok(None);
        }
        let owner = memory.station(&seen.network, ip)?.owner().filter(|mac| *mac != record.mac);
        let server = match usable(record.other_ip()) {
            Some(server) => format!(" of the server {server}"),
            None => String::new(),
        };
        let (by, facts) = match owner {
            Some(_) => ("", Facts::Claims),
            None => (": its MAC was not seen", Facts::None),
        };
        let note = format!(
            "{} declines this address{server}, because another host uses it{by}",
            client(record)
        );
        let advice = format!(
            "(give that host another address, or take this one out of the server's range; aw-query who {ip} shows who had it)"
        );
        let alert = self.rogue(seen, AlertKind::DhcpConflict, Some(ip), Some(record.mac), note);
        let old_mac = owner.map(|mac| mac.to_string());
        let alert = Alert { old_mac, advice, facts, ..alert };
        let known = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Conflict, &key), known, alert)
    }

    /// A server names a router (option 3), or one for a route (options 121 and 249).
    pub(super) fn named_router<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let (router, way) = match record.relay_ip() {
            Some(router) if record.kind == NameKind::DhcpRoute => {
                let to = record.ip().map_or("0.0.0.0".into(), |ip| ip.to_string());
                (Some(router), format!("names it as router to {to}/{}", record.prefix))
            }
            _ if record.kind == NameKind::DhcpRoute => (None, String::new()),
            _ => (record.ip(), "names it as router".into()),
        };
        let Some(router) = usable(router) else { return Ok(None) };
        let (part, ip) = ((Part::Router, &*router.to_string()), Some(router));
        let is_named = includes(&self.routers, router);
        let right = &*self.to_add("routers", &self.routers, &router.to_string());
        let new = OfServer { kind: AlertKind::NewRouter, part, ip, way, right, digest: false };
        self.of_server(seen, memory, new, is_named)
    }

    /// A server names a server of the DNS (option 6).
    pub(super) fn dns_of_server<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let Some(dns) = usable(seen.record.ip()) else { return Ok(None) };
        let (part, ip) = ((Part::Dns, &*dns.to_string()), Some(dns));
        let (is_named, way) = (includes(&self.dns_servers, dns), "names it as DNS server".into());
        let right = &*self.to_add("dns_servers", &self.dns_servers, &dns.to_string());
        let new = OfServer { kind: AlertKind::ForeignDns, part, ip, way, right, digest: false };
        self.of_server(seen, memory, new, is_named)
    }

    /// A server names a proxy, a portal, a domain or a boot server: of a rogue with the identifier and MAC of the true one, only that
    /// is another one.
    pub(super) fn set_by_server<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let (server, file) = (server_key(record), record.detail.as_str());
        let text = text_of(record);
        // One server has several files, for several machines; but a URL names a server.
        let is_url = file.contains("://");
        let (what, file) = match record.kind {
            NameKind::DhcpProxy => (format!("the proxy configuration {text:?} (WPAD)"), None),
            NameKind::DhcpPortal => (format!("the captive portal {text:?}"), None),
            NameKind::DhcpDomain => (format!("the domain {text:?}"), None),
            _ => {
                let own = server_of(record).filter(|_| record.name.is_empty() && !is_url);
                let (ip, name) = (usable(record.ip()).or(own), record.name.as_str());
                let named = (!name.is_empty()).then(|| format!("{name:?}"));
                let file = format!("{file:?}");
                let parts = [ip.map(|ip| ip.to_string()), named, is_url.then(|| file.clone())];
                let of = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
                let file = (!is_url).then(|| format!("the boot file {file}"));
                (format!("the boot server {of}"), file)
            }
        };
        let key = format!("{server} {what}");
        let part = Part::DhcpSetting;
        let is_known = self.look(seen, memory, (part, &key), false)?.is_some();
        let file_key = file.as_ref().map(|file| format!("{server} {file}"));
        let has_file = match &file_key {
            Some(key) => self.look(seen, memory, (part, key), false)?.is_some(),
            None => true,
        };
        // What a server sends depends on what its client asks for, so the first of a kind comes with the first such client; and of
        // domains, a server has a list.
        let kind = format!("{server} {}", what.split(' ').take(3).collect::<Vec<_>>().join(" "));
        let has_other = record.kind != NameKind::DhcpDomain
            && memory.keys(&seen.network, part)?.iter().any(|key| key.starts_with(&kind));
        let (part, way) = match (&file_key, file) {
            _ if is_known && has_file => return Ok(None),
            (Some(key), Some(file)) if is_known => (key, format!("sends {file}")),
            _ => (&key, format!("sends {what}")),
        };
        let (kind, part) = (AlertKind::NewDhcpServer, (Part::DhcpSetting, &**part));
        let (ip, right) = (server_of(record), "nothing is to be done");
        let digest = is_known || !has_other;
        let alert =
            self.of_server(seen, memory, OfServer { kind, part, ip, way, right, digest }, false)?;
        if let Some(key) = file_key.filter(|_| alert.is_some() && !has_file) {
            self.note(seen, memory, (Part::DhcpSetting, &key), Trust::Reported)?;
        }
        Ok(alert)
    }

    /// What a server names. Of a server that was reported itself, that report is enough.
    fn of_server<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        OfServer { kind, part, ip, way, right, digest }: OfServer,
        is_named: bool,
    ) -> Result<Option<Alert>, M::Error> {
        self.note_named(seen, memory)?;
        if self.look(seen, memory, part, is_named)?.is_some() {
            return Ok(None);
        }
        let server = server_key(seen.record);
        let Some(known) = memory.known(&seen.network, Part::DhcpServer, &server)? else {
            return Ok(None); // too many were reported
        };
        let sender = seen.record.sender;
        let with_mac = format!("{server} {sender}");
        let with_mac = memory.known(&seen.network, Part::DhcpServerMac, &with_mac)?;
        let Some(with_mac) = with_mac else { return Ok(None) };
        let is_of_server = with_mac.is_known(seen.time) || with_mac.number == 1;
        if !known.is_known(seen.time) || !is_of_server {
            // What it sets is part of that report, and not stored: it may be any number.
            if part.0 != Part::DhcpSetting {
                self.note_of_reported(seen, memory, part)?;
            }
            return Ok(None);
        }
        // On a port that mirrors nothing, the first answer may come long after the requests.
        let message = i64::from(seen.record.message);
        let is_soon = (seen.time - with_mac.first).abs() < MESSAGE_SECONDS;
        let is_first = message != 0 && message == known.further && is_soon;
        let when = match is_first {
            true => " in its first answer that arrives here",
            false => ", and did not before",
        };
        let note = format!("the DHCP server {server} (message from {sender}) {way}{when}");
        let advice = format!(
            "(if that is right, {right}; if not, look at that server's configuration, and for who else has its address)"
        );
        // Of what it names, the message has no MAC.
        let (mac, facts, claimed_by) = match ip.filter(|_| part.0 != Part::DhcpSetting) {
            Some(ip) => (None, Facts::Claims, claimed_by(seen, memory, ip)?),
            None => (Some(sender), Facts::None, Vec::new()),
        };
        let digest = is_first || digest;
        let kind = if digest { AlertKind::NewSetting } else { kind };
        let alert = self.rogue(seen, kind, ip, mac, note);
        let alert = Alert { digest, advice, facts, claimed_by, ..alert };
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, part, reported, alert)
    }
}

/// The first MAC of a server's address, if it claimed that within a day, or since its interface began to learn. One that was replaced
/// longer ago is not the server's.
fn recent_first<M: InfrastructureMemory>(
    seen: &Seen,
    memory: &mut M,
    station: &Station,
) -> Result<Option<MacAddr>, M::Error> {
    let Some(first) = station.first else { return Ok(None) };
    let period = memory.known(interface_of(&seen.network), Part::Period, "")?;
    let since = seen.time - HELD_SECONDS;
    let since = period.map_or(since, |period| since.min(period.first));
    let is_recent = |claim: &MacClaim| claim.mac == first.mac && claim.time >= since;
    Ok(station.claims.iter().any(is_recent).then_some(first.mac))
}

/// What a server names.
struct OfServer<'a> {
    kind: AlertKind,
    /// Where it is stored.
    part: (Part, &'a str),
    /// The address of the alert.
    ip: Option<IpAddr>,
    /// `names it as router`
    way: String,
    /// What is to be done if that is right.
    right: &'a str,
    digest: bool,
}
