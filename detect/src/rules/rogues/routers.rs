//! Router Advertisements and redirects: routers that are new, that change what they announce, or withdraw themselves.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use shm_layout::{MacAddr, NameKind, NameMarks, NameRecord};

use super::{FIND, Rules, Seen, gateways::GATEWAY};
use crate::{
    alert::{Alert, AlertKind},
    device::span,
    infrastructure::{InfrastructureMemory, Known, Part, Trust, includes, usable},
};

/// Flags of an advertisement (RFC 4861, 4.2; RFC 6275, 7.1; RFC 4191, 2.2), and of a router of a stub network such as Thread (SNAC).
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const STUB: u8 = 0x02;
/// Addresses that are only of a site (RFC 4193); prefixes that are shorter than those of sites are of more than one.
const SITE_PREFIX: u8 = 48;

/// Who announces something, and what of it is reported.
enum Announcer {
    /// Each change.
    Known,
    /// Nothing: it was reported itself.
    Reported,
    /// What is not harmless.
    Harmless(Known),
}

impl Rules {
    /// A router announces itself.
    pub(super) fn advertisement<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let (record, time) = (seen.record, seen.time);
        let Some(router) = usable(record.ip()) else { return Ok(None) };
        let (key, mac) = (router.to_string(), record.sender);
        let with_mac = format!("{key} {mac}");
        let with_mac = (Part::RouterMac, &*with_mac);
        let is_used = record.lifetime > 0;
        let is_named = includes(&self.routers, router);
        let text = settings(record).join(" ");
        let Some(mut known) = self.look(seen, memory, (Part::Router, &key), is_named)? else {
            let trust = if is_used { Trust::Reported } else { Trust::Harmless };
            let (mac, number) = (Some(mac), i64::from(is_used));
            let known = Known { mac, number, text, ..Known::new(time, trust) };
            let alert = self.new_router(seen, router, !is_used);
            let alert = self.report(seen, memory, (Part::Router, &key), known, alert)?;
            if alert.is_some() {
                self.note(seen, memory, with_mac, Trust::Reported)?;
                self.new_settings(seen, memory, &key)?;
            }
            return Ok(alert);
        };
        let before = known.clone();
        if self.look(seen, memory, with_mac, false)?.is_none() {
            let is_same = self.is_same_device(seen, memory, router, (mac, known.mac))?;
            let is_first = known.mac.is_none();
            let is_known = known.is_known(time);
            if !(is_first || is_same) && is_known {
                let ends = if is_used { "" } else { ", and withdraws it" };
                let note = format!("{mac} sends advertisements of this router{ends}: {GATEWAY}");
                let alert =
                    self.rogue(seen, AlertKind::GatewayTaken, Some(router), Some(mac), note);
                let held = span(known.first, time).unwrap_or(0).max(0);
                let old_mac = known.mac.map(|mac| mac.to_string());
                let alert = Alert { old_mac, held, ..alert };
                let reported = Known::new(time, Trust::Reported);
                return self.report(seen, memory, with_mac, reported, alert);
            }
            let trust = if is_known { Trust::Learned } else { Trust::Reported };
            self.note(seen, memory, with_mac, trust)?;
        } else if !seen.learning && !self.is_own_mac(seen, memory, &key, &known)? {
            return Ok(None);
        }
        known.mac = known.mac.or(Some(mac));
        if known.trust == Trust::Harmless && is_used {
            let text = text.clone();
            let known = Known { first: time, trust: Trust::Reported, number: 1, text, ..known };
            let alert = self.new_router(seen, router, false);
            return self.report(seen, memory, (Part::Router, &key), known, alert);
        }
        let is_known = known.is_known(time) && !seen.learning;
        let is_withdrawn = known.number == 1 && !is_used;
        let changes = self.new_settings(seen, memory, &key)?;
        let had = std::mem::replace(&mut known.text, text);
        known.number = is_used.into();
        let is_due = (time - known.further).abs() >= self.quiet;
        let mut alert = None;
        let held = span(known.first, time).unwrap_or(0).max(0);
        if is_withdrawn && is_known && is_due {
            known.further = time;
            let note = format!(
                "it announces a lifetime of 0: hosts do not use it as default router any more, until it announces itself again (if it was not switched off or configured so, another host forges its messages: compare the MAC with the router's own; {FIND})"
            );
            let one = self.rogue(seen, AlertKind::RouterWithdrawn, Some(router), Some(mac), note);
            alert = admit_held(seen, memory, one, held)?;
        } else if !changes.is_empty() && is_known && !had.is_empty() && !is_withdrawn {
            let old: Vec<_> = had.split(' ').collect();
            let changes: Vec<_> = changes.iter().map(|new| change(new, &old)).collect();
            let one = self.changed(seen, router, &changes.join(", "));
            alert = admit_held(seen, memory, one, held)?;
        }
        if known != before {
            memory.store_known(&seen.network, Part::Router, &key, &known)?;
        }
        Ok(alert)
    }

    /// Whether a record is from a MAC of its router, and not from one that was reported.
    fn is_own_mac<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: &str,
        known: &Known,
    ) -> Result<bool, M::Error> {
        let key = format!("{router} {}", seen.record.sender);
        let with_mac = memory.known(&seen.network, Part::RouterMac, &key)?;
        let is_first = known.mac == Some(seen.record.sender);
        Ok(with_mac.is_some_and(|one| is_first || one.is_known(seen.time)))
    }

    /// Stores what the router's header announces, and returns what of it is new.
    fn new_settings<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: &str,
    ) -> Result<Vec<String>, M::Error> {
        let mut new = Vec::new();
        for setting in settings(seen.record) {
            let key = format!("{router} {setting}");
            if self.look(seen, memory, (Part::Setting, &key), false)?.is_none() {
                self.note(seen, memory, (Part::Setting, &key), Trust::Reported)?;
                new.push(setting);
            }
        }
        Ok(new)
    }

    fn new_router(&self, seen: &Seen, router: IpAddr, is_harmless: bool) -> Alert {
        let record = seen.record;
        let stub = match record.flags & STUB {
            0 => "",
            _ => {
                " It says that it connects a stub network, such as Thread, which any host can say."
            }
        };
        let what = match (record.kind, record.lifetime) {
            (NameKind::Router, 1..) => format!(
                "it announces itself as default router for {} s, so that hosts send it what is for other networks",
                record.lifetime
            ),
            _ if is_harmless => "it announces itself, but not as default router".to_owned(),
            _ => format!("it announces {}", announcement(record)),
        };
        let note = format!(
            "{what}.{stub} (if it is yours, add it to routers in the configuration of aw-alert; if not, {FIND})"
        );
        let mac = Some(record.sender);
        let alert = self.rogue(seen, AlertKind::NewRouter, Some(router), mac, note);
        Alert { digest: is_harmless, ..alert }
    }

    fn changed(&self, seen: &Seen, router: IpAddr, what: &str) -> Alert {
        let note = format!(
            "it announces other values than before: {what} (if its configuration was not changed, another host forges its messages: compare the MAC with the router's own; {FIND})"
        );
        let mac = Some(seen.record.sender);
        self.rogue(seen, AlertKind::RouterChanged, Some(router), mac, note)
    }

    /// Who announces a prefix, route or server; none if too many were reported to store it, or if the MAC is not the router's.
    fn announcer<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<(IpAddr, Announcer)>, M::Error> {
        let Some(router) = usable(seen.record.other_ip()) else { return Ok(None) };
        let key = router.to_string();
        let Some(known) = memory.known(&seen.network, Part::Router, &key)? else {
            return Ok(None);
        };
        if !self.is_own_mac(seen, memory, &key, &known)? {
            return Ok(None);
        }
        let announcer = match known.trust {
            Trust::Harmless => Announcer::Harmless(known),
            _ if known.is_known(seen.time) => Announcer::Known,
            _ => Announcer::Reported,
        };
        Ok(Some((router, announcer)))
    }

    /// A router announces a prefix, a route or something else. What it leaves out is not looked at: it may be in another message.
    pub(super) fn announced<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let Some((router, announcer)) = self.announcer(seen, memory)? else { return Ok(None) };
        let is_prefix = record.kind == NameKind::RouterPrefix;
        let has_lifetime = !matches!(record.kind, NameKind::RouterPortal);
        if has_lifetime && record.lifetime == 0 && !is_prefix {
            return Ok(None);
        }
        let what = announcement(record);
        let key = format!("{router} {what}");
        if self.look(seen, memory, (Part::Setting, &key), false)?.is_some() {
            return Ok(None);
        }
        match announcer {
            Announcer::Known => {
                let alert = self.changed(seen, router, &what);
                // Many providers give a new prefix each day, and hosts use it with the router that they have.
                let alert = Alert { digest: is_prefix, ..alert };
                let known = Known::new(seen.time, Trust::Reported);
                self.report(seen, memory, (Part::Setting, &key), known, alert)
            }
            Announcer::Harmless(known) if !self.is_harmless(seen, memory, router)? => {
                let alert = self.new_router(seen, router, false);
                let known = Known { first: seen.time, trust: Trust::Reported, ..known };
                self.report(seen, memory, (Part::Router, &router.to_string()), known, alert)
            }
            Announcer::Harmless(_) | Announcer::Reported => {
                self.note(seen, memory, (Part::Setting, &key), Trust::Reported)?;
                Ok(None)
            }
        }
    }

    /// Whether what a router announces that is no default router takes no traffic from others: prefixes and routes of the site's own
    /// addresses that no other router announces.
    fn is_harmless<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: IpAddr,
    ) -> Result<bool, M::Error> {
        let record = seen.record;
        let of_site = record.address.octets()[0] & 0xfe == 0xfc && record.prefix >= SITE_PREFIX;
        let is_ended = record.kind == NameKind::RouterPrefix && record.lifetime == 0;
        if !matches!(record.kind, NameKind::RouterPrefix | NameKind::RouterRoute) || is_ended {
            return Ok(is_ended);
        }
        let Some(block) = net(record.address, record.prefix).filter(|_| of_site) else {
            return Ok(false);
        };
        if record.kind == NameKind::RouterPrefix {
            return Ok(true);
        }
        let own = format!("{router} ");
        let mut others = memory.keys(&seen.network, Part::Setting)?;
        others.retain(|key| !key.starts_with(&own));
        let mut prefixes = others.iter().filter_map(|key| {
            let rest = key.split_once(" prefix ")?.1;
            rest.split(' ').next()?.parse::<Ipv6Net>().ok()
        });
        Ok(!prefixes.any(|other| other.contains(&block) || block.contains(&other)))
    }

    /// A router names a server of the DNS (RFC 8106).
    pub(super) fn dns_of_router<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let Some(dns) = usable(record.ip()).filter(|_| record.lifetime > 0) else {
            return Ok(None);
        };
        let Some((router, announcer)) = self.announcer(seen, memory)? else { return Ok(None) };
        let (key, is_named) = (dns.to_string(), includes(&self.dns_servers, dns));
        if self.look(seen, memory, (Part::Dns, &key), is_named)?.is_some() {
            return Ok(None);
        }
        if let Announcer::Reported = announcer {
            self.note(seen, memory, (Part::Dns, &key), Trust::Reported)?;
            return Ok(None);
        }
        let mac = memory.station(&seen.network, dns)?.owner();
        let sender = record.sender;
        let note = format!(
            "the router {router} (message from {sender}) names it as DNS server, and did not before (if that is right, add it to dns_servers in the configuration of aw-alert; if not, look at that router's configuration, and for who else has its address)"
        );
        let alert = self.rogue(seen, AlertKind::ForeignDns, Some(dns), mac, note);
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Dns, &key), reported, alert)
    }

    /// A router sends a host another way. A known router may send it to another known one, or to the destination itself.
    pub(super) fn redirect<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let (Some(router), Some(to)) = (record.relay_ip(), record.ip()) else { return Ok(None) };
        let key = router.to_string();
        let by = memory.known(&seen.network, Part::Router, &key)?;
        let is_known = |known: Option<Known>| known.is_some_and(|known| known.is_known(seen.time));
        let is_own = match &by {
            Some(known) => self.is_own_mac(seen, memory, &key, known)?,
            None => false,
        };
        let is_named_router = is_known(by);
        let by_router = is_named_router && is_own;
        let target = Some(record.target).filter(|mac| *mac != MacAddr::ZERO);
        let has_target = match target {
            Some(target) => memory.station(&seen.network, to)?.has(target),
            None => true,
        };
        let is_direct = record.address == record.other;
        let to_router = memory.known(&seen.network, Part::Router, &to.to_string())?;
        let is_right = match is_direct {
            // Hosts find it on this link: another host would answer for what is not there.
            true => self.is_on_link(seen, memory, &router.to_string())?,
            false => is_known(to_router),
        };
        if by_router && has_target && is_right {
            return Ok(None);
        }
        let key = if is_direct { format!("{router} direct") } else { format!("{router} {to}") };
        if self.look(seen, memory, (Part::Redirect, &key), false)?.is_some() {
            return Ok(None);
        }
        let who = match (by_router, is_named_router) {
            (true, _) => "the router",
            (false, true) => "another MAC in the name of the router",
            (false, false) => "what is not known as a router,",
        };
        let destination = record.other_ip().map(|ip| ip.to_string()).unwrap_or_default();
        let by_mac = target.map(|mac| format!(" at the MAC {mac}")).unwrap_or_default();
        let way = if is_direct { "directly" } else { "by this address" };
        let note = format!(
            "{who} {router} (message from {}) sends {} to {destination} {way}{by_mac} from now on (if that is no router of yours, {FIND})",
            record.sender,
            record.destination_ip().map(|ip| ip.to_string()).unwrap_or_default()
        );
        let mac = target.or(Some(record.sender));
        let alert = self.rogue(seen, AlertKind::Redirect, Some(to), mac, note);
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Redirect, &key), reported, alert)
    }

    /// Whether the destination of a redirect is in a prefix that the router announces for this link.
    fn is_on_link<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: &str,
    ) -> Result<bool, M::Error> {
        let begin = format!("{router} prefix ");
        for key in memory.keys(&seen.network, Part::Setting)? {
            let Some(rest) = key.strip_prefix(&begin).filter(|rest| rest.contains(" on this link"))
            else {
                continue;
            };
            let net = rest.split(' ').next().and_then(|net| net.parse::<Ipv6Net>().ok());
            let known = memory.known(&seen.network, Part::Setting, &key)?;
            let is_known = known.is_some_and(|known| known.is_known(seen.time));
            if is_known && net.is_some_and(|net| net.contains(&seen.record.other)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A message of a router or server that is malformed or hidden, and that hosts may accept.
    pub(super) fn refused<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let (kind, what, list) = match record.detail.as_str() {
            "RA" => (AlertKind::NewRouter, "a Router Advertisement", "routers"),
            "REDIRECT" => (AlertKind::Redirect, "a redirect", "routers"),
            _ => (AlertKind::NewDhcpServer, "an answer of a DHCP server", "dhcp_servers"),
        };
        let source = record.source_ip();
        let source_text = source.map(|ip| ip.to_string()).unwrap_or_default();
        let key = format!("{list} {kind:?} {source_text} {}", record.sender);
        if self.look(seen, memory, (Part::Refused, &key), false)?.is_some() {
            return Ok(None);
        }
        let reason = record.reason.map_or("malformed", |reason| reason.name());
        let note = format!(
            "it sends {what} that addrwatch does not read ({reason}), and that hosts may accept: guards in switches do not see it either, so this may be an attack that hides ({FIND}; collector --stats counts such messages)"
        );
        let alert = self.rogue(seen, kind, source, Some(record.sender), note);
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Refused, &key), reported, alert)
    }
}

/// An alert about a router that has been known for so long.
fn admit_held<M: InfrastructureMemory>(
    seen: &Seen,
    memory: &mut M,
    alert: Alert,
    held: i64,
) -> Result<Option<Alert>, M::Error> {
    super::admit(seen, memory, Alert { held, ..alert })
}

/// What the header of an advertisement sets (RFC 4861, 6.2.7): what is 0 is left to hosts.
fn settings(record: &NameRecord) -> Vec<String> {
    let mut all = vec![format!("flags={:#04x}", record.flags)];
    let numbers = [
        ("hop_limit", u64::from(record.hops)),
        ("mtu", u64::from(record.number)),
        ("reachable_time", u64::from(record.preferred)),
        ("retransmission_time", record.id),
        ("more_flags", record.more_flags),
        // What was not read may be there for hosts.
        ("not_all_read", record.marks.has(NameMarks::INCOMPLETE).into()),
        ("bad_option", record.marks.has(NameMarks::BAD_OPTION).into()),
    ];
    let set = numbers.into_iter().filter(|(_, number)| *number != 0);
    all.extend(set.map(|(name, number)| format!("{name}={number}")));
    all
}

/// `hop_limit=255, before 64`, with the flags in words.
fn change(new: &str, old: &[&str]) -> String {
    let name = new.split('=').next().unwrap_or_default();
    let before = old.iter().find(|old| old.split('=').next() == Some(name));
    match before {
        Some(before) => {
            format!(
                "{}, before {}",
                in_words(new),
                in_words(before).replace(&format!("{name}="), "")
            )
        }
        None => in_words(new),
    }
}

fn in_words(setting: &str) -> String {
    let flags = setting.strip_prefix("flags=0x").and_then(|hex| u8::from_str_radix(hex, 16).ok());
    let Some(flags) = flags else { return setting.to_owned() };
    let is = |flag: u8| if flags & flag != 0 { "yes" } else { "no" };
    let preference = match flags >> 3 & 3 {
        1 => "high",
        3 => "low",
        _ => "medium",
    };
    format!(
        "flags={flags:#04x} (addresses by DHCPv6 {}, other settings by DHCPv6 {}, preference {preference})",
        is(MANAGED),
        is(OTHER)
    )
}

fn net(address: Ipv6Addr, prefix: u8) -> Option<Ipv6Net> {
    Ipv6Net::new(address, prefix).ok().map(|net| net.trunc())
}

/// What one record of an advertisement announces: its identity, without lifetimes that count down.
fn announcement(record: &NameRecord) -> String {
    let &NameRecord { kind, address, prefix, flags, .. } = record;
    let text = format!("{}{}{}{}", record.name, record.detail, record.third, record.circuit);
    match kind {
        NameKind::RouterPrefix if record.lifetime == 0 => {
            format!("prefix {address}/{prefix} with a lifetime of 0")
        }
        NameKind::RouterPrefix if record.preferred == 0 => {
            format!("prefix {address}/{prefix} that is no longer to be used")
        }
        NameKind::RouterPrefix => {
            let of = |flag: u8, text: &'static str| if flags & flag != 0 { text } else { "" };
            let (link, own) = (of(0x80, " on this link"), of(0x40, " for own addresses"));
            format!("prefix {address}/{prefix}{link}{own}")
        }
        NameKind::RouterRoute => {
            let preference = match flags >> 3 & 3 {
                1 => " preferred",
                3 => " with low preference",
                _ => "",
            };
            format!("route {address}/{prefix}{preference}")
        }
        NameKind::RouterNat64 => format!("NAT64 prefix {address}/{prefix}"),
        NameKind::RouterDomain => format!("search domain {text:?}"),
        NameKind::RouterPortal => format!("captive portal {text:?}"),
        NameKind::RouterDns => format!("DNS server {address}"),
        _ => kind.name().to_owned(),
    }
}
