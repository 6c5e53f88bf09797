//! Another MAC takes a router's address, as the events show.

use std::net::IpAddr;

use shm_layout::MacAddr;

use super::Rules;
use crate::{
    alert::{Alert, AlertKind},
    infrastructure::{InfrastructureMemory, Known, Part, Trust, includes},
    network::full_name,
    rules::claims::joined,
};

impl Rules {
    /// Makes an alert that a MAC takes an address one of a taken gateway, if that is the address of a router. One that the router's
    /// advertisement caused already is left out. What an attacker chooses, such as its MAC, does not move it into the digest.
    pub fn name_gateways<M: InfrastructureMemory>(
        &self,
        alerts: &mut Vec<Alert>,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let mut kept = Vec::new();
        for alert in alerts.drain(..) {
            kept.extend(self.name_gateway(alert, memory)?);
        }
        *alerts = kept;
        Ok(())
    }

    /// Lets the next alert of this gateway through: this one was in a digest only, as [`Rules::was_digested`] of others.
    pub fn gateway_was_digested<M: InfrastructureMemory>(
        &self,
        alert: &Alert,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let key = format!("{} {}", alert.ip, alert.mac);
        match memory.known(&network, Part::RouterMac, &key)? {
            Some(known) if known.first == alert.time && known.trust == Trust::Reported => {
                let known = Known { first: 0, ..known };
                memory.store_known(&network, Part::RouterMac, &key, &known)
            }
            _ => Ok(()),
        }
    }

    fn name_gateway<M: InfrastructureMemory>(
        &self,
        mut alert: Alert,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let ip = alert.ip.parse::<IpAddr>().ok().filter(|_| alert.kind.is_takeover());
        let (Some(ip), Ok(mac)) = (ip, alert.mac.parse::<MacAddr>()) else {
            return Ok(Some(alert));
        };
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let key = ip.to_string();
        let known = memory.known(&network, Part::Router, &key)?;
        let is_router = known.as_ref().is_some_and(|known| known.is_known(alert.time));
        if !is_router && !includes(&self.routers, ip) {
            return Ok(Some(alert));
        }
        // It takes back what was its own.
        if memory.station(&network, ip)?.held(mac, alert.time) > 0 {
            return Ok(Some(alert));
        }
        let key = format!("{key} {mac}");
        let with_mac = memory.known(&network, Part::RouterMac, &key)?;
        let is_recent = |known: &Known| (alert.time - known.first).abs() < self.quiet;
        if with_mac.is_some_and(|known| known.trust == Trust::Reported && is_recent(&known)) {
            return Ok(None);
        }
        let reported = Known::new(alert.time, Trust::Reported);
        memory.store_known(&network, Part::RouterMac, &key, &reported)?;
        let why = format!("{}: {GATEWAY}", alert.kind.label());
        alert.note = joined(Some(why), alert.note.take());
        (alert.kind, alert.digest) = (AlertKind::GatewayTaken, false);
        Ok(Some(alert))
    }
}

/// What a taken gateway means, and what is to be done.
pub(super) const GATEWAY: &str = "this is the address of a router, so that this MAC may receive what hosts send to other networks (if the router was replaced, or both MACs are its own, name them in [[failover]] in the configuration of aw-alert; if not, find the port of the new MAC in the MAC address table of the switch, and unplug it)";
