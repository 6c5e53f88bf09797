//! What was in a digest only, or was left out, does not start the time in which the same is not reported again.

use super::{Memory, Rules};
use crate::alert::{Alert, AlertKind};
use crate::network::full_name;

impl Rules {
    /// Lets the next alert of this kind about its address through: this one was in a digest, among many others, and in no message
    /// of its own. Alerts that belong in the digest have an interval of their own.
    pub fn was_digested<M: Memory>(&self, alert: &Alert, memory: &mut M) -> Result<(), M::Error> {
        use AlertKind::{Broadcast, Changed, Duplicate, FlipFlop, GatewayTaken, ReusedOld};
        let is_limited = matches!(
            alert.kind,
            FlipFlop | ReusedOld | Changed | Duplicate | GatewayTaken | Broadcast
        );
        let Some(ip) = alert.ip.parse().ok().filter(|_| is_limited && !alert.digest) else {
            return Ok(());
        };
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let mut station = memory.station(&network, ip)?;
        // A taken gateway was one of both.
        let is_duplicate = matches!(alert.kind, Duplicate | GatewayTaken);
        let is_change = matches!(alert.kind, FlipFlop | ReusedOld | GatewayTaken);
        station.was_not_sent(alert.time, is_change, is_duplicate);
        if alert.kind == Broadcast {
            station.no_host_was_not_sent(alert.time);
        }
        memory.store_station(&network, ip, &station)?;
        // An attack on probes is limited in the whole network.
        match memory.network(&network)? {
            Some(mut state) if is_duplicate && state.reported == alert.time => {
                state.reported = 0;
                memory.store_network(&network, &state)
            }
            _ => Ok(()),
        }
    }
}
