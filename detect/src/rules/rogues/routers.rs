//! Router Advertisements: routers that are new, that change what they announce, or withdraw themselves.

use std::net::IpAddr;

use shm_layout::{NameKind, NameMarks, NameRecord};

use super::{
    FIND, Rules, Seen,
    announced::announcement,
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
/// What hosts use without a router: a higher hop limit is no harm, and neither is this MTU.
const HOP_LIMIT: u64 = 64;
const MTU: u64 = 1500;
/// What of a message was not read.
const HIDDEN: [&str; 2] = ["not_all_read", "bad_option"];

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
        let is_second = seen.learning
            && is_named
            && known.mac.is_some_and(is_other)
            && !self.is_owner(router, mac);
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
    pub(super) fn is_own_mac<M: InfrastructureMemory>(
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
    pub(super) fn new_router(
        &self,
        seen: &Seen,
        router: IpAddr,
        is_harmless: bool,
        new: &str,
    ) -> Alert {
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
        let add = self.if_yours("routers", &self.routers, new);
        let note = format!("{what}{stub} ({add}; if not, {FIND})");
        let mac = Some(record.sender);
        let alert = self.rogue(seen, AlertKind::NewRouter, Some(router), mac, note);
        Alert { digest: is_harmless, ..alert }
    }

    /// A known router announces something new. `is_first`: there was no message of it before. In the digest, it is no change of the router
    /// that needs attention at once.
    pub(super) fn changed(
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
