//! What a message about an address means: a claim, a probe, or a sign of life; and the alert that a claim causes.

use aw_output::Entry;
use shm_layout::{Event, Evidence, Kind as EventKind, Origin};

use super::{Memory, Rules, denials::record_probe};
use crate::{
    alert::{Alert, AlertKind},
    device::{Device, MacClass, MacPolicy, span},
    station::{Answer, MacClaim, Station, Transition},
};

/// A host that asks for an address claims it within so many seconds, if no other host answers (RFC 5227, 2.1.1).
const CLAIM_SECONDS: i64 = 60;
/// An address that its owner has not used for so long is free for the next lease.
const UNUSED_SECONDS: i64 = 3600;
/// An address that one MAC alone has had for so long is not taken for a phone's lease.
const HELD_SECONDS: i64 = 86_400;

/// A message about an address, and what is known of its sender.
pub(super) struct Message<'a> {
    pub entry: &'a Entry<'a>,
    /// The full name of the network.
    pub network: &'a str,
    /// Whether its time is that of the sensor. If not, it is not known what was at the same time.
    pub is_timed: bool,
    /// Whether it is of the learning period.
    pub learning: bool,
    /// Whether the configuration names the address: no learning period makes a second MAC normal there.
    pub is_guarded: bool,
    pub station: &'a mut Station,
    pub device: &'a mut Device,
}

/// Whether a message shows that the address is the MAC's. What is only known from the frame's source never overrules a
/// claim: a proxy or a bridge may have sent the frame.
pub(super) fn proves_address(event: &Event, station: &Station) -> bool {
    match event.kind.evidence() {
        Evidence::Claim => true,
        Evidence::FrameSource => station.owner().is_none_or(|owner| owner == event.mac),
        Evidence::SignOfLife => station.owner() == Some(event.mac),
        Evidence::Probe | Evidence::NoHost | Evidence::Ignored | Evidence::Lease => false,
    }
}

/// What a device did with an address that is not known to be its own.
pub(super) fn deed(event: &Event) -> String {
    let deed = match event.kind.evidence() {
        Evidence::Probe => "probed",
        Evidence::SignOfLife => "asked from",
        Evidence::Claim | Evidence::FrameSource => "answered for",
        Evidence::NoHost => "claimed",
        Evidence::Ignored => "claimed, in a form that Linux ignores,",
        Evidence::Lease => "was given",
    };
    format!("{deed} {}", event.ip())
}

/// Whether a message names the MAC of an address because another host asked for it, or may have asked.
pub(super) fn is_answer(event: &Event) -> bool {
    matches!(event.kind, EventKind::Pairing(Origin::ArpReply | Origin::NdAdvertisement))
}

/// Whether a message was sent from the address as the host's own.
fn is_question(event: &Event) -> bool {
    use Origin::{ArpRequest, NdRouterAdvertisement, NdRouterSolicitation, NdSolicitation};
    let EventKind::Pairing(origin) = event.kind else { return false };
    matches!(origin, ArpRequest | NdSolicitation | NdRouterAdvertisement | NdRouterSolicitation)
}

impl Rules {
    /// Records a message about an address; the alerts that it causes.
    pub(super) fn address_alerts<M: Memory>(
        &self,
        message: &mut Message,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        self.see_network(message, memory)?;
        let event = &message.entry.event;
        if event.kind.evidence() == Evidence::Probe {
            record_probe(message);
        } else if event.kind.evidence() == Evidence::Ignored {
            return Ok(self.ignored_alert(message).into_iter().collect());
        } else if proves_address(event, message.station) {
            if message.learning {
                self.learn_interface(message.entry, memory)?;
            }
            return self.claim_alerts(message, memory);
        }
        Ok(Vec::new())
    }

    fn claim_alerts<M: Memory>(
        &self,
        message: &mut Message,
        memory: &mut M,
    ) -> Result<Vec<Alert>, M::Error> {
        let Entry { event, .. } = *message.entry;
        let (mac, within) = (event.mac, self.duplicate_within);
        let mut alerts: Vec<_> = self.denial_alert(message, memory)?.into_iter().collect();
        let passed_over = message.station.sent_by(mac, event.source, event.time.seconds());
        let conflict = message.station.duplicate(mac, event.time, within, is_answer(&event));
        let conflict = conflict.filter(|_| message.is_timed);
        let unused = self.unused_seconds(message);
        let change = self.record_claim(message);
        let old = change.and_then(|(_, old)| old).filter(|old| old.mac != mac);
        let other = conflict.map(|(other, _)| other).or(old);
        let is_taken = matches!(change, Some((Transition::Changed, _)));
        let proxy = self.proxy_note(message, other, is_taken, memory)?;
        // At a named address, no learned proxy counts.
        let macs = [Some(mac), other.map(|other| other.mac)];
        let is_named_proxy = macs.iter().flatten().any(|mac| self.proxies.contains(mac));
        let proxy = proxy.filter(|_| is_named_proxy || !message.is_guarded);
        if proxy.is_some() && self.proxy_arp == MacPolicy::Ignore {
            return Ok(alerts);
        }
        if message.learning && !message.is_guarded && is_return(change, conflict.is_some()) {
            other.inspect(|other| message.station.share(mac, other.mac));
        }
        let takes_back =
            MacClass::of(mac) == MacClass::Virtual && message.station.learned.contains(&mac);
        let virtual_macs = if takes_back { self.virtual_macs } else { MacPolicy::Report };
        // The MACs are a failover group, or shared the address in the learning period, or a virtual MAC takes back the
        // address that it had then.
        let by_design = |old: &MacClaim| {
            virtual_macs == MacPolicy::Ignore
                || self.is_in_group(mac, old.mac)
                || self.is_owner(event.ip(), mac) && self.is_owner(event.ip(), old.mac)
                || message.station.is_shared(mac, old.mac)
        };
        // A router with proxy ARP answers beside the owner.
        let conflict = conflict.filter(|(other, _)| proxy.is_none() && !by_design(other));
        let change = change.filter(|_| !old.as_ref().is_some_and(by_design));
        let lease = unused.map(|unused| format!("it was not used for {} h", unused / 3600));
        let lease = lease.filter(|_| conflict.is_none() && old.is_some());
        let proxy_digest = proxy.is_some() && self.proxy_arp == MacPolicy::Digest;
        let digest = proxy_digest || lease.is_some() || virtual_macs == MacPolicy::Digest;
        let alert = self.conflict_alert(message, conflict, change, digest);
        let forwarded = passed_over.filter(|last| other.is_some_and(|other| other.mac != *last));
        let forwarded = forwarded.map(|last| format!("frames of other MACs named {last}"));
        let old_mac = alert.as_ref().and_then(|alert| alert.old_mac.as_ref()?.parse().ok());
        let held = old_mac.map_or(0, |old| message.station.held(old, event.time.seconds()));
        alerts.extend(alert.map(|alert| Alert {
            held,
            digest,
            note: [alert.note, lease, proxy, forwarded].into_iter().reduce(sentences).flatten(),
            ..alert
        }));
        Ok(alerts)
    }

    /// The alert about a conflict, or otherwise about a change of the address's MAC. Conflicts and the returns of earlier MACs
    /// are limited, those that belong in the digest apart from others; a change to another MAC is always reported.
    fn conflict_alert(
        &self,
        message: &mut Message,
        conflict: Option<(MacClaim, &str)>,
        change: Option<(Transition, Option<MacClaim>)>,
        digest: bool,
    ) -> Option<Alert> {
        let (time, quiet) = (message.entry.event.time.seconds(), self.quiet);
        let station = &mut *message.station;
        let entry = message.entry;
        let duplicate = |other: MacClaim, evidence: &str, suppressed| Alert {
            old_mac: Some(other.mac.to_string()),
            previous: span(other.time, time).map(|_| other.time),
            note: joined(Some(evidence.into()), more(suppressed)),
            ..self.alert(AlertKind::Duplicate, entry)
        };
        if let Some((other, evidence)) = conflict {
            let admitted = match digest {
                true => station.admit_digested(time, quiet),
                false => station.admit_alert(time, quiet, true),
            };
            if let Some(suppressed) = admitted {
                return Some(duplicate(other, evidence, suppressed));
            }
        }
        let (change, old) = change?;
        let note = match (change, old) {
            (Transition::Changed, _) => None,
            _ if conflict.is_some() => return None,
            (Transition::FlipFlop | Transition::Reused, _) if digest => {
                more(station.admit_digested(time, quiet)?)
            }
            // A conflict that lasts is one alert in `quiet` seconds: this half of it says so, and the other half is not reported.
            (Transition::FlipFlop, Some(old))
                if station.is_in_conflict(time, quiet.saturating_mul(2)) =>
            {
                let suppressed = station.admit_alert_again(time, quiet)?;
                return Some(duplicate(old, "both MACs claim it in turn", suppressed));
            }
            (Transition::FlipFlop | Transition::Reused, _) => {
                more(station.admit_alert(time, quiet, false)?)
            }
            _ => None,
        };
        Some(Alert { note, ..self.change_alert(entry, change, old) })
    }

    /// For how long an address was not used that a MAC claims now, if it was free: its owner has not used it for an hour, and
    /// the MAC probed it first and no host answered, or had it in the learning period, or it had no owner but phones with
    /// random MACs, and not one of them for a day. So a lease moves to the next host.
    fn unused_seconds(&self, message: &Message) -> Option<i64> {
        let (station, event) = (&message.station, &message.entry.event);
        let (time, owner) = (event.time.seconds(), station.claims.first()?);
        let is_recent = |probe: &MacClaim| {
            let span = span(probe.time, time).filter(|span| (0..=CLAIM_SECONDS).contains(span));
            probe.mac == event.mac && span.is_some()
        };
        let is_random = |claim: &MacClaim| {
            MacClass::of(claim.mac) == MacClass::Random && !self.is_named(claim.mac)
        };
        let begin = match station.probe.filter(is_recent) {
            Some(probe) => probe.time,
            None if station.learned.contains(&event.mac) => time,
            None if self.random_macs != Some(MacPolicy::Report)
                && station.claims.iter().all(is_random)
                && !is_held(station) =>
            {
                time
            }
            None => return None,
        };
        let is_answered = station.answer.is_some_and(|answer| answer.time.seconds() >= begin);
        span(owner.time, begin).filter(|unused| *unused >= UNUSED_SECONDS && !is_answered)
    }

    fn record_claim(&self, message: &mut Message) -> Option<(Transition, Option<MacClaim>)> {
        let learning = message.learning;
        let Message { entry: Entry { event, .. }, station, device, is_guarded, .. } = message;
        let (mac, time, is_first) = (event.mac, event.time.seconds(), !station.has(event.mac));
        if is_first && station.probe.is_some_and(|probe| probe.mac == mac) {
            device.probed = device.probed.saturating_sub(1); // it probed the address, and uses it
        }
        if is_answer(event) {
            station.answer = Some(Answer { mac, time: event.time });
            if is_first && learning && event.kind.is_ipv4() {
                device.answered_for(time, self.proxy_arp_addresses);
            }
        }
        let change = station.claim(mac, time, |mac| self.is_named(mac));
        if learning && (!*is_guarded || station.first.is_some_and(|first| first.mac == mac)) {
            station.learn(mac);
        }
        station.named = station.first.is_some_and(|first| self.is_named(first.mac));
        if is_question(event) {
            station.asked(mac);
        }
        // Anyone can use a MAC of DECnet.
        change.map(|(change, old)| match change {
            Transition::SuppressedDecnet => (Transition::FlipFlop, old),
            change => (change, old),
        })
    }
}

/// Whether one MAC alone has had an address for a day, as a server or a router of virtual machines.
fn is_held(station: &Station) -> bool {
    let [owner] = &*station.claims else { return false };
    station.held(owner.mac, owner.time) >= HELD_SECONDS
}

/// Whether an address that moved came back, or is used by two MACs.
fn is_return(change: Option<(Transition, Option<MacClaim>)>, conflict: bool) -> bool {
    conflict || matches!(change, Some((Transition::FlipFlop | Transition::Reused, _)))
}

pub(super) fn more(suppressed: u32) -> Option<String> {
    (suppressed > 0).then(|| format!("{suppressed} more since the last alert"))
}

/// Two sentences.
pub(super) fn sentences(note: Option<String>, further: Option<String>) -> Option<String> {
    match (note, further) {
        (Some(note), Some(further)) => Some(format!("{note}. {further}")),
        (note, further) => note.or(further),
    }
}

/// A sentence, and what belongs to it.
pub(super) fn joined(note: Option<String>, further: Option<String>) -> Option<String> {
    match (note, further) {
        (Some(note), Some(further)) => Some(format!("{note}, {further}")),
        (note, further) => note.or(further),
    }
}
