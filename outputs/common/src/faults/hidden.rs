//! What does not reach a port that is captured: ARP broadcasts, and Neighbor Discovery.

use std::collections::BTreeSet;

use shm_layout::{BroadcastState, CaptureState, InterfaceName, MAX_NETWORKS, NeighborView};

use super::{DAY, FaultKind, FaultReport, Faults};
use crate::{RingState, broadcast_fault, neighbor_hint};

/// Networks of a ring of which it is remembered whether they answer multicast queries: a frame can have any VLAN.
const MOST_NETWORKS: usize = 2 * MAX_NETWORKS;

impl Faults {
    /// The reports that broadcasts do not arrive at an interface, once: it may be meant so.
    pub(super) fn of_broadcasts(
        &mut self,
        state: &RingState,
        now: i64,
    ) -> Vec<Option<FaultReport>> {
        let prefix = format!("broadcasts {} ", state.ring);
        let known = self.faults.keys().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok());
        let seen = state.broadcasts.iter().map(|(interface, _)| *interface);
        let mut reports = Vec::new();
        for interface in known.chain(seen).collect::<BTreeSet<InterfaceName>>() {
            let captured = state.interfaces.iter().find(|(one, _)| *one == interface);
            let captured = captured.map_or(CaptureState::None, |(_, captured)| *captured);
            let found = state.broadcasts.iter().find(|(one, _)| *one == interface);
            let name = format!("{prefix}{interface}");
            if self.waits(&name, captured, now) {
                continue;
            }
            let (why, over) = match (captured, found.map(|(_, found)| *found)) {
                (CaptureState::None, _) => {
                    (None, format!("the collector captures no longer on interface {interface}"))
                }
                (_, None | Some(BroadcastState::Unknown)) => continue, // such as after a restart
                (_, Some(found)) => (
                    broadcast_fault(interface, found),
                    format!("ARP broadcasts of other hosts arrive on {interface} again"),
                ),
            };
            let report = self.level_once(name, FaultKind::Blind, why.as_deref(), &over, now);
            reports.push(report.map(|report| report.on(interface)));
        }
        reports
    }

    /// The reports that hosts of a network do not answer multicast queries at this port, once, as hints: they may have no IPv6.
    pub(super) fn of_neighbors(&mut self, state: &RingState, now: i64) -> Vec<Option<FaultReport>> {
        let prefix = format!("neighbors {} ", state.ring);
        let known = self.faults.keys().filter_map(|name| name.strip_prefix(&prefix));
        let seen = state.neighbors.iter().map(NeighborView::network);
        let networks: BTreeSet<String> = known.map(str::to_owned).chain(seen).collect();
        let mut reports = Vec::new();
        for network in networks {
            let name = format!("{prefix}{network}");
            // An interface may have the name of another one's VLAN: the longest name is meant.
            let length = |interface: InterfaceName| {
                let rest = network.strip_prefix(interface.as_str());
                let is_of = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
                is_of.then_some(interface.as_str().len())
            };
            let captured = state.interfaces.iter().max_by_key(|(one, _)| length(*one));
            let captured = captured.filter(|(one, _)| length(*one).is_some());
            let captured = captured.map_or(CaptureState::None, |(_, captured)| *captured);
            if self.waits(&name, captured, now) {
                continue;
            }
            let views = state.neighbors.iter().filter(|view| view.network() == network);
            let found = views.max_by_key(|view| length(view.interface));
            let (why, over) = match (captured, found) {
                (CaptureState::None, _) => {
                    (None, format!("the collector captures no longer on interface {network}"))
                }
                (_, None) => {
                    self.is_unknown(name, now);
                    continue;
                }
                (_, Some(view)) => (
                    neighbor_hint(view),
                    format!("hosts on {network} answer multicast queries at this port"),
                ),
            };
            self.unknown.remove(&name);
            if why.is_some() && !self.faults.contains_key(&name) {
                self.make_room(&prefix, MOST_NETWORKS);
            }
            let report = self.level_once(name, FaultKind::Blind, why.as_deref(), &over, now);
            let network = Some(network);
            reports.push(report.map(|report| FaultReport { network, is_hint: true, ..report }));
        }
        reports
    }

    /// Nothing is known of a network that was reported, as after a restart of the collector. After a day, as if its querier is gone, the report is
    /// forgotten, so that the next one is news.
    fn is_unknown(&mut self, name: String, now: i64) {
        let since = self.unknown.entry(name.clone()).or_insert(now);
        *since = now.min(*since); // the clock may have been set back
        if now - *since >= DAY {
            self.unknown.remove(&name);
            self.faults.remove(&name);
            self.removed.push(name);
        }
    }
}
