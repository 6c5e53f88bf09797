//! What a router announces beside itself: prefixes, routes, DNS servers and the like, and what it takes back.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use shm_layout::{NameKind, NameRecord};

use super::{Rules, Seen, claimed_by, text_of};
use crate::{
    alert::{Alert, AlertKind, Facts},
    infrastructure::{InfrastructureMemory, Known, Part, Trust, includes, usable},
};

/// Addresses that are only of a site (RFC 4193); prefixes that are shorter than those of sites are of more than one.
const SITE_PREFIX: u8 = 48;
/// Settings that are stored of a router that is not known.
const MOST_OF_OTHERS: usize = 16;
/// What a router announces so soon after it was first seen differs from nothing before.
const FIRST_SECONDS: i64 = 60;

/// Who announces something, and what of it is reported.
enum Announcer {
    /// Each change.
    Known(Known),
    /// Nothing: it was reported itself.
    Reported,
    /// What is not harmless.
    Harmless(Known),
}

impl Rules {
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
            _ if known.is_known(seen.time) => Announcer::Known(known),
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
            // A route's preference may be another one then.
            let what = announcement(&NameRecord { flags: 0, ..*record });
            let keys = PREFERENCES.map(|preference| format!("{router} {what}{preference}"));
            let part = (Part::Setting, &keys[..]);
            return self.part_withdrawn(seen, memory, (router, &announcer), part, &what);
        }
        let what = announcement(record);
        let key = format!("{router} {what}");
        if self.is_announced(seen, memory, (Part::Setting, &key), false)? {
            return Ok(None);
        }
        match announcer {
            Announcer::Known(known) => {
                // Many providers give a new prefix each day, and hosts use it with the router that they have. A known stub router
                // changes its routes as it likes.
                let digest = is_prefix
                    || self.is_harmless_stub(seen, memory, (router, &known))?
                    || self.is_of_own_prefix(seen, memory, router)?;
                let is_first = (seen.time - known.first).abs() < FIRST_SECONDS;
                let alert = self.changed(seen, router, &what, digest, is_first);
                let known = Known::new(seen.time, Trust::Reported);
                self.report(seen, memory, (Part::Setting, &key), known, alert)
            }
            Announcer::Harmless(known) if !self.is_harmless(seen, memory, router)? => {
                let new = self.with_own(seen, memory, router)?;
                let alert = self.new_router(seen, router, false, &new);
                let known = Known { first: seen.time, trust: Trust::Reported, ..known };
                self.report(seen, memory, (Part::Router, &router.to_string()), known, alert)
            }
            Announcer::Harmless(_) | Announcer::Reported => {
                // It may announce any number, and takes no place of others.
                let own = format!("{router} ");
                let keys = memory.keys(&seen.network, Part::Setting)?;
                if keys.iter().filter(|key| key.starts_with(&own)).count() < MOST_OF_OTHERS {
                    self.note(seen, memory, (Part::Setting, &key), Trust::Reported)?;
                }
                Ok(None)
            }
        }
    }

    /// Whether a router's part is known. One that was withdrawn is there again.
    fn is_announced<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (part, key): (Part, &str),
        is_named: bool,
    ) -> Result<bool, M::Error> {
        let Some(known) = self.look(seen, memory, (part, key), is_named)? else {
            return Ok(false);
        };
        if known.number != 0 {
            memory.store_known(&seen.network, part, key, &Known { number: 0, ..known })?;
        }
        Ok(true)
    }

    /// A known router takes back something that it announced: once for each withdrawal, and once in `quiet` seconds. What a router
    /// takes back that withdraws itself is part of that.
    fn part_withdrawn<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (router, announcer): (IpAddr, &Announcer),
        (part, keys): (Part, &[String]),
        what: &str,
    ) -> Result<Option<Alert>, M::Error> {
        let Announcer::Known(of) = announcer else { return Ok(None) };
        let is_recent = |time: i64| (seen.time - time).abs() < self.quiet;
        if seen.learning || of.number == 0 && is_recent(of.further) {
            return Ok(None);
        }
        let mut there = Vec::new();
        for key in keys {
            let known = memory.known(&seen.network, part, key)?;
            let known = known.filter(|known| known.is_known(seen.time) && known.number == 0);
            there.extend(known.map(|known| (key, known)));
        }
        let mut alert = None;
        if !there.is_empty() && !there.iter().any(|(_, known)| is_recent(known.further)) {
            // What is no default router, such as a resolver that announces itself, may be started again each day.
            let digest = of.number == 0 || self.is_of_own_prefix(seen, memory, router)?;
            let one = self.changed(seen, router, &format!("no longer {what}"), digest, false);
            alert = super::admit(seen, memory, one)?;
            if alert.is_none() {
                return Ok(None); // not stored, and reported when it is seen again
            }
        }
        for (key, known) in there {
            let further = if alert.is_some() { seen.time } else { known.further };
            memory.store_known(&seen.network, part, key, &Known { number: 1, further, ..known })?;
        }
        Ok(alert)
    }

    /// Whether it is a route to a prefix that the router itself announces or announced: with a provider's daily prefix, that changes, too.
    fn is_of_own_prefix<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: IpAddr,
    ) -> Result<bool, M::Error> {
        let record = seen.record;
        let route = net(record.address, record.prefix);
        let route =
            route.filter(|_| record.kind == NameKind::RouterRoute && record.prefix >= SITE_PREFIX);
        let Some(route) = route else { return Ok(false) };
        let own = router.to_string();
        let prefixes = prefixes(memory.keys(&seen.network, Part::Setting)?);
        Ok(prefixes
            .iter()
            .any(|(of, net)| *of == own && (route.contains(net) || net.contains(&route))))
    }

    /// Whether a router is no default router, and what it announces is harmless.
    fn is_harmless_stub<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        (router, known): (IpAddr, &Known),
    ) -> Result<bool, M::Error> {
        Ok(known.number == 0 && self.is_harmless(seen, memory, router)?)
    }

    /// Whether what a router announces that is no default router takes no traffic from others: prefixes and routes of the site's own
    /// addresses that no default router announces; and the end of a prefix that only itself had.
    fn is_harmless<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: IpAddr,
    ) -> Result<bool, M::Error> {
        let record = seen.record;
        let is_prefix = record.kind == NameKind::RouterPrefix;
        let of_site = record.address.octets()[0] & 0xfe == 0xfc && record.prefix >= SITE_PREFIX;
        let is_ended = is_prefix && (record.lifetime == 0 || record.preferred == 0);
        let is_of_routers = is_prefix || record.kind == NameKind::RouterRoute;
        let block = net(record.address, record.prefix).filter(|_| is_of_routers);
        let Some(block) = block.filter(|_| of_site || is_ended) else { return Ok(false) };
        let own = router.to_string();
        let mut was_own = false;
        for (of, net) in prefixes(memory.keys(&seen.network, Part::Setting)?) {
            if of == own {
                was_own |= net == block;
            } else if net.contains(&block) || block.contains(&net) {
                // The border routers of one stub network announce the same.
                let other = memory.known(&seen.network, Part::Router, &of)?;
                if is_ended || other.is_some_and(|other| other.number == 1) {
                    return Ok(false);
                }
            }
        }
        // Rows of others may be missing: only what it had, it can end.
        Ok(was_own || !is_ended)
    }

    /// A router names a server of the DNS (RFC 8106).
    pub(super) fn dns_of_router<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let Some(dns) = usable(record.ip()) else { return Ok(None) };
        let Some((router, announcer)) = self.announcer(seen, memory)? else { return Ok(None) };
        let (key, is_named) = (dns.to_string(), includes(&self.dns_servers, dns));
        // Which router names it is known for its end only.
        let what = announcement(record);
        let of_router = format!("{router} {what}");
        if record.lifetime == 0 {
            let part = (Part::Setting, &[of_router][..]);
            return self.part_withdrawn(seen, memory, (router, &announcer), part, &what);
        }
        let of_router = (Part::Setting, &*of_router);
        let is_new = !self.is_announced(seen, memory, of_router, false)?;
        if is_new && matches!(announcer, Announcer::Known(_)) {
            self.note(seen, memory, of_router, Trust::Reported)?;
        }
        if self.look(seen, memory, (Part::Dns, &key), is_named)?.is_some() {
            return Ok(None);
        }
        let known = match announcer {
            Announcer::Reported => {
                self.note_of_reported(seen, memory, (Part::Dns, &key))?;
                return Ok(None);
            }
            Announcer::Known(known) | Announcer::Harmless(known) => known,
        };
        let sender = record.sender;
        let is_first = (seen.time - known.first).abs() < FIRST_SECONDS;
        let before = if is_first { "" } else { ", and did not before" };
        let add = self.to_add("dns_servers", &self.dns_servers, &key);
        let note =
            format!("the router {router} (message from {sender}) names it as DNS server{before}");
        let advice = format!(
            "(if that is right, {add}; if not, look at that router's configuration, and for who else has its address)"
        );
        let alert = self.rogue(seen, AlertKind::ForeignDns, Some(dns), None, note);
        let claimed_by = claimed_by(seen, memory, dns)?;
        let alert = Alert { advice, facts: Facts::Claims, claimed_by, ..alert };
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Dns, &key), reported, alert)
    }
}

/// The prefixes among what routers announced, with their routers.
fn prefixes(keys: Vec<String>) -> Vec<(String, Ipv6Net)> {
    let prefix = |key: &String| {
        let (router, rest) = key.split_once(" prefix ")?;
        let net = rest.split(' ').next()?.parse::<Ipv6Net>().ok()?;
        Some((router.to_owned(), net.trunc()))
    };
    keys.iter().filter_map(prefix).collect()
}

/// Of a route (RFC 4191, 2.1): medium, high and low.
const PREFERENCES: [&str; 3] = ["", " preferred", " with low preference"];

fn net(address: Ipv6Addr, prefix: u8) -> Option<Ipv6Net> {
    Ipv6Net::new(address, prefix).ok().map(|net| net.trunc())
}

/// What one record of an advertisement announces: its identity, without lifetimes that count down.
pub(super) fn announcement(record: &NameRecord) -> String {
    let &NameRecord { kind, address, prefix, flags, .. } = record;
    let text = text_of(record);
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
            let [none, high, low] = PREFERENCES;
            let preference = match flags >> 3 & 3 {
                1 => high,
                3 => low,
                _ => none,
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
