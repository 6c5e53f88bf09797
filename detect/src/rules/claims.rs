//! What a message about an address means: a claim, a probe, or a sign of life; and the alert that a claim causes.

use aw_output::Entry;
use shm_layout::{Event, Evidence, Kind as EventKind, MacAddr, Origin};

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

/// A message about an address, and what is known of its sender.
pub(super) struct Message<'a> {
    pub entry: &'a Entry<'a>,
    /// The full name of the network.
    pub network: &'a str,
    /// Whether it is of the learning period.
    pub learning: bool,
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
        Evidence::Probe | Evidence::NoHost | Evidence::Ignored => false,
    }
}

/// What a device did with an address that is not known to be its own.
pub(super) fn deed(event: &Event) -> String {
    let deed = match event.kind.evidence() {
        Evidence::Probe => "probed",
        Evidence::SignOfLife => "asked from",
        Evidence::Claim | Evidence::FrameSource => "answered for",
        Evidence::NoHost | Evidence::Ignored => "claimed",
    };
    format!("{deed} {}", event.ip())
}

/// Whether a message names the MAC of an address because another host asked for it, or may have asked.
pub(super) fn is_answer(event: &Event) -> bool {
    matches!(event.kind, EventKind::Pairing(Origin::ArpReply | Origin::NdAdvertisement))
}

/// Whether a message was sent from the address as the host's own.
fn is_question(event: &Event) -> bool {
    matches!(event.kind, EventKind::Pairing(Origin::ArpRequest | Origin::NdSolicitation))
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
        } else if proves_address(event, message.station) {
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
        let conflict = message.station.duplicate(mac, event.time, within, is_answer(&event));
        let unused = unused_seconds(message);
        let change = record_claim(message, self.proxy_arp_addresses);
        let old = change.and_then(|(_, old)| old).filter(|old| old.mac != mac);
        let other = conflict.map(|(other, _)| other).or(old);
        let proxy = self.proxy_note(message, other, memory)?;
        if proxy.is_some() && self.proxy_arp == MacPolicy::Ignore {
            return Ok(alerts);
        }
        if message.learning && is_return(change, conflict.is_some()) {
            other.inspect(|other| message.station.share(mac, other.mac));
        }
        let is_new = change.is_some_and(|(change, _)| change == Transition::Changed);
        let by_design = |old: &MacClaim| self.is_by_design(mac, old.mac, is_new, message.station);
        // A router with proxy ARP answers beside the owner.
        let conflict = conflict.filter(|(other, _)| proxy.is_none() && !by_design(other));
        let change = change.filter(|_| !old.as_ref().is_some_and(by_design));
        let alert = self.conflict_alert(message, conflict, change);
        let lease = unused.map(|unused| format!("it was not used for {} h", unused / 3600));
        let lease = lease.filter(|_| conflict.is_none() && old.is_some());
        alerts.extend(alert.map(|alert| Alert {
            digest: proxy.is_some() && self.proxy_arp == MacPolicy::Digest || lease.is_some(),
            note: joined(alert.note, joined(lease, proxy)),
            ..alert
        }));
        Ok(alerts)
    }

    /// The alert about a conflict, or otherwise about a change of the address's MAC. Conflicts and flip flops are limited; a
    /// change to another MAC is always reported.
    fn conflict_alert(
        &self,
        message: &mut Message,
        conflict: Option<(MacClaim, &str)>,
        change: Option<(Transition, Option<MacClaim>)>,
    ) -> Option<Alert> {
        let (time, quiet) = (message.entry.event.time.seconds(), self.quiet);
        let station = &mut *message.station;
        // Half of a conflict that is reported as such.
        let is_part = station.last_conflict != 0 && (time - station.last_conflict).abs() < quiet;
        if let Some((other, evidence)) = conflict {
            station.last_conflict = time;
            if let Some(suppressed) = station.admit_alert(time, quiet, true) {
                return Some(Alert {
                    old_mac: Some(other.mac.to_string()),
                    previous: span(other.time, time).map(|_| other.time),
                    note: joined(Some(evidence.into()), more(suppressed)),
                    ..self.alert(AlertKind::Duplicate, message.entry)
                });
            }
        }
        let (change, old) = change?;
        let mut note = None;
        if change == Transition::FlipFlop {
            if conflict.is_some() || is_part {
                return None;
            }
            note = more(station.admit_alert(time, quiet, false)?);
        } else if conflict.is_some() && change != Transition::Changed {
            return None;
        }
        Some(Alert { note, ..self.change_alert(message.entry, change, old) })
    }

    /// Whether a change of the address's MAC is normal: the MACs are a failover group, or shared the address in the learning
    /// period, or a virtual MAC takes its address back. That one of another MAC's address is new, or that another MAC takes
    /// the address of a virtual one, is not: anyone can use such a MAC.
    fn is_by_design(&self, mac: MacAddr, old: MacAddr, is_new: bool, station: &Station) -> bool {
        let is_virtual = MacClass::of(mac) == MacClass::Virtual;
        is_virtual && self.virtual_macs == MacPolicy::Ignore && !is_new
            || self.is_in_group(mac, old)
            || station.is_shared(mac, old)
    }
}

/// For how long an address was not used that a MAC claims now, if it was free: the MAC probed it first, no host answered, and
/// its owner has not used it for an hour. So a lease moves to the next host.
fn unused_seconds(message: &Message) -> Option<i64> {
    let (station, event) = (&message.station, &message.entry.event);
    let (time, owner) = (event.time.seconds(), station.claims.first()?);
    let probe = station.probe.filter(|probe| probe.mac == event.mac)?;
    span(probe.time, time).filter(|span| (0..=CLAIM_SECONDS).contains(span))?;
    let is_answered = station.answer.is_some_and(|answer| answer.time.seconds() >= probe.time);
    span(owner.time, probe.time).filter(|unused| *unused >= UNUSED_SECONDS && !is_answered)
}

/// Whether an address that moved came back, or is used by two MACs.
fn is_return(change: Option<(Transition, Option<MacClaim>)>, conflict: bool) -> bool {
    conflict || matches!(change, Some((Transition::FlipFlop | Transition::Reused, _)))
}

fn record_claim(
    message: &mut Message,
    proxy_arp_addresses: u32,
) -> Option<(Transition, Option<MacClaim>)> {
    let learning = message.learning;
    let Message { entry: Entry { event, .. }, station, device, .. } = message;
    let (mac, time, is_first) = (event.mac, event.time.seconds(), !station.has(event.mac));
    if is_first && station.probe.is_some_and(|probe| probe.mac == mac) {
        device.probed = device.probed.saturating_sub(1); // it probed the address, and uses it
    }
    if is_answer(event) {
        station.answer = Some(Answer { mac, time: event.time });
        if is_first && event.kind.is_ipv4() {
            let of_another = station.owner().is_some();
            device.answered_for(time, proxy_arp_addresses, of_another, learning);
        }
    }
    let change = station.claim(mac, time);
    if is_question(event) {
        station.asked(mac);
    }
    change
}

fn more(suppressed: u32) -> Option<String> {
    (suppressed > 0).then(|| format!("{suppressed} more since the last alert"))
}

pub(super) fn joined(note: Option<String>, further: Option<String>) -> Option<String> {
    match (note, further) {
        (Some(note), Some(further)) => Some(format!("{note}, {further}")),
        (note, further) => note.or(further),
    }
}
