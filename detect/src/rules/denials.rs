//! Hosts that are denied each address: another machine answers their probes, so that they get none (RFC 4862, 5.4; the
//! attack of `atk6-dos-new-ip6`).

use std::net::IpAddr;

use aw_output::Entry;
use shm_layout::{Event, Evidence};

use super::{
    Memory, Rules,
    claims::{Message, is_answer},
};
use crate::{
    alert::{Alert, AlertKind},
    device::span,
    network::{NetworkState, full_network, interface_of},
    station::MacClaim,
};

/// An answer to a probe comes within so many seconds (RFC 5227, 2.1.1; RFC 4862, 5.4).
const PROBE_SECONDS: i64 = 2;
/// So many answers to probes, for addresses that the MAC never had, are an attack: of one MAC in a day, or of several in ten
/// minutes, because an attacker can answer with a new MAC each time.
const DENIED_PROBES: u32 = 3;
/// A sensor that has just started does not know which MAC has which address.
const KNOWN_SECONDS: i64 = 3600;

/// Records a probe: it claims nothing. Scanners are learned: later, anyone could make a victim look like one, by probes with
/// its MAC.
pub(super) fn record_probe(message: &mut Message) {
    let Message { entry, learning, station, device, .. } = message;
    let (mac, time) = (entry.event.mac, entry.event.time.seconds());
    if *learning && !station.has(mac) {
        let last = station.probe.filter(|probe| probe.mac == mac).map(|probe| probe.time);
        device.probes(time, last, is_tried_alone(&entry.event));
    }
    station.probe = Some(MacClaim { mac, time });
}

impl Rules {
    /// Records that a network was seen. Its first time counts from the moment when the clock was set.
    pub(super) fn see_network<M: Memory>(
        &self,
        message: &Message,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let time = message.entry.event.time.seconds();
        let known = memory.network(message.network)?;
        let is_timed =
            |state: NetworkState| span(state.first, time).is_some() || time < state.first;
        if known.is_some_and(is_timed) {
            return Ok(());
        }
        memory.store_network(
            message.network,
            &NetworkState { first: time, ..known.unwrap_or_default() },
        )
    }

    /// Records what the learning period, or the first day, saw at the interface, whatever the VLAN: a claim in a frame of the
    /// device itself, if that is not the sensor. All else can name any MAC.
    pub fn learn_interface<M: Memory>(
        &self,
        entry: &Entry,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let event = &entry.event;
        let is_own = event.kind.evidence() == Evidence::Claim && event.source == event.mac;
        if !is_own || self.own.contains(&event.mac) {
            return Ok(());
        }
        let network = full_network(entry);
        let interface = interface_of(&network);
        let mut state = memory.network(interface)?.unwrap_or_default();
        if state.learn(event.mac) { memory.store_network(interface, &state) } else { Ok(()) }
    }

    /// The alert about an attack; call it before the claim is recorded. Each answer counts that another host's probe causes,
    /// for an address that the MAC never had. Probes of scanners do not count.
    pub(super) fn denial_alert<M: Memory>(
        &self,
        message: &mut Message,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let event = &message.entry.event;
        let (mac, time, station) = (event.mac, event.time.seconds(), &message.station);
        let at_once = |probe: &MacClaim| {
            let after = span(probe.time, time);
            probe.mac != mac && after.is_some_and(|span| (0..=PROBE_SECONDS).contains(&span))
        };
        let Some(probe) = station.probe.filter(at_once) else { return Ok(None) };
        let by_design = self.is_proxy(mac, message.device) || self.is_in_group(mac, probe.mac);
        if !message.is_timed
            || event.kind.evidence() != Evidence::Claim
            || !is_answer(event)
            || station.has(mac)
            || by_design
            || self.is_owner(event.ip(), mac)
        {
            return Ok(None);
        }
        let prober = memory.device(probe.mac)?;
        if self.scanners.contains(&probe.mac) || prober.is_some_and(|prober| prober.scanner) {
            return Ok(None);
        }
        let mut network = memory.network(message.network)?.unwrap_or_default();
        let of_one = message.device.denied_a_probe(time);
        let of_all = network.denied_a_probe(time);
        let is_known = span(network.first, time).is_some_and(|span| span >= KNOWN_SECONDS);
        let note = if of_one >= DENIED_PROBES {
            Some(format!("answers probes of {of_one} addresses that it never had"))
        } else if of_all >= DENIED_PROBES && is_known {
            Some(format!("{of_all} probes were answered by MACs that never had the address"))
        } else {
            None
        };
        let is_due = network.reported == 0 || (time - network.reported).abs() >= self.quiet;
        let note = note.filter(|_| is_due);
        if note.is_some() {
            network.reported = time;
        }
        memory.store_network(message.network, &network)?;
        let alert = self.alert(AlertKind::Duplicate, message.entry);
        Ok(note.map(|note| Alert {
            old_mac: Some(probe.mac.to_string()),
            note: Some(note),
            ..alert
        }))
    }
}

/// Whether a host tries such an address alone, and the next one seconds later: it waits before it asks for another lease
/// (RFC 2131, 3.1), but not for another link-local address, and it probes several IPv6 addresses at once.
fn is_tried_alone(event: &Event) -> bool {
    matches!(event.ip(), IpAddr::V4(ip) if !ip.is_link_local())
}
