//! Router Advertisements and redirects: routers that are new, that change what they announce, or withdraw themselves.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;
use shm_layout::{MacAddr, NameKind, NameMarks, NameRecord};

use super::{
    FIND, Rules, Seen, text_of,
    words::{change, in_words},
};
use crate::{
    alert::{Alert, AlertKind},
    device::span,
    infrastructure::{InfrastructureMemory, Known, Part, Trust, includes, usable},
};

/// Flags of an advertisement (RFC 4861, 4.2; RFC 6275, 7.1; RFC 4191, 2.2), and of a router of a stub network such as Thread (SNAC).
pub(super) const MANAGED: u8 = 0x80;
pub(super) const OTHER: u8 = 0x40;
const STUB: u8 = 0x02;
/// Addresses that are only of a site (RFC 4193); prefixes that are shorter than those of sites are of more than one.
const SITE_PREFIX: u8 = 48;
/// What hosts use without a router: a higher hop limit is no harm, and neither is this MTU.
const HOP_LIMIT: u64 = 64;
const MTU: u64 = 1500;

/// Settings that are stored of a router that is not known.
const MOST_OF_OTHERS: usize = 16;
/// What a router announces so soon after it was first seen differs from nothing before.
const FIRST_SECONDS: i64 = 60;
/// What of a message was not read.
const HIDDEN: [&str; 2] = ["not_all_read", "bad_option"];

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
        if self.is_stranger(router, mac) {
            let known = memory.known(&seen.network, Part::Router, &key)?;
            let known = known.unwrap_or_else(|| Known::new(time, Trust::Named));
            let of_mac = memory.known(&seen.network, with_mac.0, with_mac.1)?;
            return self.taken_by_advertisement(seen, memory, (router, &known), of_mac);
        }
        let Some(mut known) = self.look(seen, memory, (Part::Router, &key), is_named)? else {
            let is_harmless = !is_used && self.has_harmless_header(seen, memory)?;
            let trust = if is_harmless { Trust::Harmless } else { Trust::Reported };
            let (mac, number) = (Some(mac), i64::from(is_used));
            let known = Known { mac, number, text, ..Known::new(time, trust) };
            let new = self.with_own(seen, memory, router)?;
            let alert = self.new_router(seen, router, is_harmless, &new);
            let alert = self.report(seen, memory, (Part::Router, &key), known, alert)?;
            if alert.is_some() {
                self.note(seen, memory, with_mac, Trust::Reported)?;
                self.note_settings(seen, memory, &key, &settings(record))?;
            }
            return Ok(alert);
        };
        let before = known.clone();
        // No learning period makes a second MAC normal for a router that the configuration names.
        let is_other = |own| own != mac && !self.is_in_group(own, mac);
        let is_second = seen.learning && is_named && known.mac.is_some_and(is_other);
        let of_mac = match is_second {
            true => memory.known(&seen.network, with_mac.0, with_mac.1)?,
            false => self.look(seen, memory, with_mac, false)?,
        };
        if self.is_of_taker(seen, memory, (router, &known), of_mac.as_ref())? {
            return self.taken_by_advertisement(seen, memory, (router, &known), of_mac);
        }
        if is_second && of_mac.as_ref().is_some_and(|one| one.trust == Trust::Reported) {
            return Ok(None);
        }
        if of_mac.is_none() {
            // Any host can send it, so it is not learned, but what it announces is reported.
            let number = known.is_known(time).into();
            let of_mac = Known { number, ..Known::new(time, Trust::Reported) };
            memory.store_known(&seen.network, with_mac.0, with_mac.1, &of_mac)?;
        } else if !seen.learning && !self.is_own_mac(seen, memory, &key, &known)? {
            return Ok(None);
        }
        known.mac = known.mac.filter(|own| !self.is_stranger(router, *own)).or(Some(mac));
        let changes = self.new_settings(seen, memory, &key)?;
        if known.trust == Trust::Harmless && (is_used || !self.has_harmless_header(seen, memory)?) {
            let (number, trust) = (is_used.into(), Trust::Reported);
            let known = Known { first: time, trust, number, text, ..known };
            let new = self.with_own(seen, memory, router)?;
            let alert = self.new_router(seen, router, false, &new);
            let alert = self.report(seen, memory, (Part::Router, &key), known, alert)?;
            if alert.is_some() {
                self.note_settings(seen, memory, &key, &changes)?;
            }
            return Ok(alert);
        }
        let is_known = known.is_known(time) && !seen.learning;
        let is_withdrawn = known.number == 1 && !is_used;
        let had = std::mem::replace(&mut known.text, text);
        known.number = is_used.into();
        let is_due = (time - known.further).abs() >= self.quiet;
        // It was never withdrawn, so it was no default router.
        let is_promoted = is_used && before.number == 0 && before.further == 0;
        let old: Vec<_> = had.split(' ').collect();
        let changed: Vec<_> = changes.iter().map(|new| change(new, &old)).collect();
        let mut changed = if had.is_empty() { String::new() } else { changed.join(", ") };
        if is_promoted && !had.is_empty() {
            let also = if changed.is_empty() { "" } else { ", " };
            let life = record.lifetime;
            changed = format!("it is a default router, for {life} s{also}{changed}");
        }
        let mut alert = None;
        let held = span(known.first, time).unwrap_or(0).max(0);
        if is_withdrawn && is_known && is_due {
            known.further = time;
            let also = if changed.is_empty() { "" } else { ", with other values than before: " };
            let note = format!(
                "it announces a lifetime of 0{also}{changed}: hosts do not use it as default router any more, until it announces itself again. A router does so when it is restarted or switched off (if yours was not, another host forges its messages: compare the MAC with the router's own; {FIND})"
            );
            let one = self.rogue(seen, AlertKind::RouterWithdrawn, Some(router), Some(mac), note);
            alert = Some(one);
        } else if !changed.is_empty() && is_known {
            alert = Some(self.changed(seen, router, &changed, false, false));
        }
        if let Some(one) = alert {
            alert = super::admit(seen, memory, Alert { held, ..one })?;
            if alert.is_none() {
                return Ok(None); // not stored, and reported when it is seen again
            }
        }
        self.note_settings(seen, memory, &key, &changes)?;
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
        if let Ok(ip) = router.parse()
            && !self.owners(ip).is_empty()
        {
            return Ok(self.is_owner(ip, seen.record.sender));
        }
        let key = format!("{router} {}", seen.record.sender);
        let with_mac = memory.known(&seen.network, Part::RouterMac, &key)?;
        let is_first = known.mac == Some(seen.record.sender);
        Ok(with_mac.is_some_and(|one| is_first || one.number == 1 || one.is_known(seen.time)))
    }

    /// What of the router's header is new.
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
                new.push(setting);
            }
        }
        Ok(new)
    }

    fn note_settings<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: &str,
        settings: &[String],
    ) -> Result<(), M::Error> {
        settings.iter().try_for_each(|setting| {
            let key = format!("{router} {setting}");
            self.note(seen, memory, (Part::Setting, &key), Trust::Reported)
        })
    }

    /// Whether the header of a router that is no default router changes nothing for hosts, which apply that of any router (RFC 4861,
    /// 6.3.4): it leaves all to them, or sets what a known router sets.
    fn has_harmless_header<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<bool, M::Error> {
        const BOTH: u8 = MANAGED | OTHER;
        let flags_of = |setting: &str| -> Option<u8> {
            u8::from_str_radix(setting.strip_prefix("flags=0x")?, 16).ok()
        };
        let number_of = |setting: &str, name| setting.strip_prefix(name)?.parse::<u64>().ok();
        let mut harmful = settings(seen.record);
        harmful.retain(|setting| match flags_of(setting) {
            Some(flags) => flags & BOTH != 0,
            None => {
                number_of(setting, "hop_limit=").is_none_or(|number| number < HOP_LIMIT)
                    && number_of(setting, "mtu=") != Some(MTU)
            }
        });
        if harmful.is_empty() {
            return Ok(true);
        }
        for key in memory.keys(&seen.network, Part::Setting)? {
            let Some((router, known)) = key.split_once(' ') else { continue };
            let is_it = |setting: &String| match (flags_of(setting), flags_of(known)) {
                (Some(flags), Some(known)) => flags & BOTH & !known == 0,
                // What is hidden there may be anything.
                _ => setting == known && !HIDDEN.iter().any(|hidden| setting.starts_with(hidden)),
            };
            if !harmful.iter().any(is_it) {
                continue;
            }
            let router = memory.known(&seen.network, Part::Router, router)?;
            let of_it = memory.known(&seen.network, Part::Setting, &key)?;
            let is_known = |one: Option<Known>| one.is_some_and(|one| one.is_known(seen.time));
            if is_known(router) && is_known(of_it) {
                harmful.retain(|setting| !is_it(setting));
            }
        }
        Ok(harmful.is_empty())
    }

    /// `new`: what is to be written, if it is right.
    fn new_router(&self, seen: &Seen, router: IpAddr, is_harmless: bool, new: &str) -> Alert {
        let record = seen.record;
        let stub = match record.flags & STUB {
            0 => "",
            _ => {
                ". It says that it connects a stub network, such as Thread, which any host can say"
            }
        };
        let what = match (record.kind, record.lifetime) {
            (NameKind::Router, 1..) => format!(
                "it announces itself as default router for {} s, so that hosts send it what is for other networks",
                record.lifetime
            ),
            _ if is_harmless => "it announces itself, but not as default router".to_owned(),
            (NameKind::Router, _) => {
                let settings: Vec<_> = settings(record).iter().map(|one| in_words(one)).collect();
                format!(
                    "it announces itself, not as default router, but with values that hosts use nevertheless: {}",
                    settings.join(", ")
                )
            }
            _ => format!("it announces {}", announcement(record)),
        };
        let add = self.to_add("routers", &self.routers, new);
        let note = format!("{what}{stub} (if it is yours, {add}; if not, {FIND})");
        let mac = Some(record.sender);
        let alert = self.rogue(seen, AlertKind::NewRouter, Some(router), mac, note);
        Alert { digest: is_harmless, ..alert }
    }

    /// A known router announces something new. `is_first`: there was no message of it before. In the digest, it is no change of the router
    /// that needs attention at once.
    fn changed(
        &self,
        seen: &Seen,
        router: IpAddr,
        what: &str,
        digest: bool,
        is_first: bool,
    ) -> Alert {
        let (values, was) = match is_first {
            true => ("", "if that is not its configuration"),
            false => ("other values than before: ", "if its configuration was not changed"),
        };
        let note = format!("it announces {values}{what}");
        let advice = format!(
            "({was}, another host forges its messages: compare the MAC with the router's own; {FIND})"
        );
        let kind = if digest { AlertKind::NewSetting } else { AlertKind::RouterChanged };
        let mac = Some(seen.record.sender);
        Alert { digest, advice, ..self.rogue(seen, kind, Some(router), mac, note) }
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
        let mac = memory.station(&seen.network, dns)?.owner();
        let sender = record.sender;
        let is_first = (seen.time - known.first).abs() < FIRST_SECONDS;
        let before = if is_first { "" } else { ", and did not before" };
        let add = self.to_add("dns_servers", &self.dns_servers, &key);
        let note = format!(
            "the router {router} (message from {sender}) names it as DNS server{before} (if that is right, {add}; if not, look at that router's configuration, and for who else has its address)"
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
        let sender = record.sender;
        let who = match (by_router, is_named_router) {
            (true, _) => format!("the router {router} (message from {sender})"),
            (false, true) => format!("{sender} pretends to be the router {router} and"),
            (false, false) => {
                format!("{router} (message from {sender}), which is not known as a router,")
            }
        };
        let hosts = match record.destination_ip() {
            Some(ip) if ip.is_multicast() => "all hosts".into(),
            Some(ip) => ip.to_string(),
            None => "hosts".into(),
        };
        let destination = record.other_ip().map(|ip| ip.to_string()).unwrap_or_default();
        let by_mac = target.map(|mac| format!(", at the MAC {mac}")).unwrap_or_default();
        let way = if is_direct { "directly to it".into() } else { format!("to {to}") };
        let note = format!(
            "{who} redirects {hosts}: what is for {destination} goes {way}{by_mac} (if that is no router of yours, {FIND})"
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
        (HIDDEN[0], record.marks.has(NameMarks::INCOMPLETE).into()),
        (HIDDEN[1], record.marks.has(NameMarks::BAD_OPTION).into()),
    ];
    let set = numbers.into_iter().filter(|(_, number)| *number != 0);
    all.extend(set.map(|(name, number)| format!("{name}={number}")));
    all
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
fn announcement(record: &NameRecord) -> String {
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
