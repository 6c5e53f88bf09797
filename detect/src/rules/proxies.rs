//! Routers that do proxy ARP: they answer for the addresses of hosts. An alert about such an address goes into the digest.

use shm_layout::MacAddr;

use super::{Memory, Rules, claims::Message};
use crate::{
    device::{Device, span},
    station::MacClaim,
};

/// A device that was seen for so long is a host for which a proxy can have answered.
const KNOWN_SECONDS: i64 = 86_400;

impl Rules {
    /// What a note says, if an address moves to or from a MAC that does proxy ARP for it. A router's own address, from which
    /// it asks, is no such address. Nor is one that a third MAC has claimed: who forges an answer of the router first could
    /// take it unnoticed. Nor one that a device takes for the first time which came less than a day
    /// ago, unless the address was its own first.
    ///
    /// An attacker can answer for many addresses, too. Only what the operator named or the learning period saw counts.
    pub(super) fn proxy_note<M: Memory>(
        &self,
        message: &Message,
        other: Option<MacClaim>,
        is_taken: bool,
        memory: &mut M,
    ) -> Result<Option<String>, M::Error> {
        let mac = message.entry.event.mac;
        let note = |mac: MacAddr, device: &Device| {
            let only_answers = !message.station.askers.contains(&mac);
            let is_proxy = only_answers && self.is_proxy(mac, device);
            is_proxy.then(|| format!("{mac} does proxy ARP"))
        };
        if let Some(note) = note(mac, message.device) {
            return Ok(Some(note));
        }
        let Some(other) = other else { return Ok(None) };
        let of_these = |claim: &MacClaim| claim.mac == mac || claim.mac == other.mac;
        let (device, time) = (&message.device, message.entry.event.time.seconds());
        let is_known = span(device.first, time).is_some_and(|span| span >= KNOWN_SECONDS);
        let was_first = message.station.first.is_some_and(|first| first.mac == mac);
        if is_taken && !(device.learned || is_known || was_first)
            || !message.station.claims.iter().all(of_these)
        {
            return Ok(None);
        }
        Ok(memory.device(other.mac)?.and_then(|device| note(other.mac, &device)))
    }

    /// Whether a MAC is known to do proxy ARP.
    pub(super) fn is_proxy(&self, mac: MacAddr, device: &Device) -> bool {
        self.proxies.contains(&mac) || self.proxy_arp_addresses > 0 && device.proxy
    }
}
