//! Whether a switch that snoops multicast (MLD, RFC 4541) hides Neighbor Discovery of other hosts from this port: it sends that only to
//! the ports of the members of its group. No I/O and no clock; memory is bounded.
//!
//! Snooping needs a querier, and each host with IPv6 answers each general query for the groups of its addresses (RFC 2710, 4; RFC 3810, 6.2).
//! A snooping switch sends the answers to the ports of routers only. So what is counted is, of the hosts that were awake when the querier
//! asked (they sent ARP requests at that time), how many answered. What a host sends at another time shows nothing, and neither does a
//! single solicitation: a switch may send what no host is a member of to all ports.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use shm_layout::{InterfaceName, MacAddr, NameKind, NameRecord, UnixTime, VlanId};

use crate::names::message::{
    Body, MLD_DONE, MLD_QUERY, MLD_REPORT, MLD2_REPORT, Message, ROUTER_ADVERTISEMENT,
};

/// Queries after which a network is judged: 50 minutes, with one each 125 s (RFC 3810, 9.2).
const QUERIES: u32 = 24;
/// A host is awake when a query comes if it asks so long before or after it; of several queries in this time, one counts.
const NEAR: Duration = Duration::from_secs(30);
/// A host counts if it was awake at so many of them: answers can be lost.
const LEAST: u32 = 4;
/// Hosts that have to count.
const HOSTS: usize = 3;
/// A network without a query for so long is forgotten.
const SILENT: Duration = Duration::from_secs(3600);
/// Networks with a VLAN: a frame can have any. Those without are as many as interfaces.
const MAX_NETWORKS: usize = 128;
/// Hosts of a network that are distinguished, and its queriers and routers.
const MAX_HOSTS: usize = 64;
const MAX_ROUTERS: usize = 8;

/// A network of the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    pub interface: InterfaceName,
    pub vlan: VlanId,
    pub outer_vlan: VlanId,
}

impl Network {
    fn is_tagged(&self) -> bool {
        [self.vlan, self.outer_vlan] != [VlanId::NONE; 2]
    }
}

/// All networks with a querier.
#[derive(Debug)]
pub struct Neighbors {
    networks: BTreeMap<Network, View>,
    /// At the last heartbeat.
    now: Instant,
}

/// What arrived in a network since it was last judged.
#[derive(Debug)]
struct View {
    querier: MacAddr,
    last_query: Instant,
    /// A query whose time is not over.
    asked: Option<Instant>,
    queries: u32,
    hosts: Vec<Host>,
    /// Queriers and routers: a switch sends their own reports where it wants.
    routers: Vec<MacAddr>,
}

#[derive(Debug)]
struct Host {
    mac: MacAddr,
    /// Its last ARP request.
    active: Option<Instant>,
    /// Queries at which it was awake.
    awake: u32,
    /// A report of it arrived.
    has_reported: bool,
}

impl Neighbors {
    pub fn new(now: Instant) -> Neighbors {
        Neighbors { networks: BTreeMap::new(), now }
    }

    /// A message of another host that `--names` reads: those of MLD and of routers count.
    pub fn message(&mut self, message: &Message) {
        let &Message { sender, packet, body, interface, vlan, outer_vlan, .. } = message;
        let Body::Icmp(bytes @ [kind, ..]) = body else { return };
        let is_link_local = packet.source.is_unicast_link_local();
        let network = Network { interface, vlan, outer_vlan };
        match (*kind, packet.hop_limit) {
            // A general one: one about a group is answered by its members only.
            (MLD_QUERY, 1) if is_link_local && bytes.get(8..24) == Some(&[0; 16]) => {
                self.query(network, sender);
            }
            // To a group, also if an access point sends it to this host's MAC. From `::`, if it has no address yet.
            (MLD_REPORT | MLD_DONE | MLD2_REPORT, 1)
                if packet.destination.is_multicast()
                    && (is_link_local || packet.source.is_unspecified()) =>
            {
                if let Some(view) = self.networks.get_mut(&network) {
                    view.host(sender, |host| host.has_reported = true);
                }
            }
            (ROUTER_ADVERTISEMENT, 255) if is_link_local => {
                if let Some(view) = self.networks.get_mut(&network) {
                    view.add_router(sender);
                }
            }
            _ => {}
        }
    }

    fn query(&mut self, network: Network, querier: MacAddr) {
        let now = self.now;
        if !self.networks.contains_key(&network) {
            let tagged = self.networks.keys().filter(|network| network.is_tagged());
            if network.is_tagged() && tagged.count() >= MAX_NETWORKS {
                return;
            }
        }
        let view = self.networks.entry(network).or_insert_with(|| View {
            querier,
            last_query: now,
            asked: None,
            queries: 0,
            hosts: Vec::new(),
            routers: Vec::new(),
        });
        (view.querier, view.last_query) = (querier, now);
        view.asked.get_or_insert(now);
        view.add_router(querier);
    }

    /// Another host sent an ARP request, and so is awake.
    pub fn arp_request(&mut self, network: Network, sender: MacAddr) {
        let now = self.now;
        if let Some(view) = self.networks.get_mut(&network) {
            view.host(sender, |host| host.active = Some(now));
        }
    }

    /// Judges what can be judged now, about once a second.
    pub fn judge(&mut self, now: Instant, time: UnixTime) -> Vec<NameRecord> {
        self.now = now;
        let mut found = Vec::new();
        self.networks.retain(|network, view| {
            view.count(now);
            if view.queries >= QUERIES {
                found.extend(view.verdict().map(|verdict| verdict.record(network, view, time)));
                view.queries = 0;
                view.hosts.clear();
            }
            now.saturating_duration_since(view.last_query) < SILENT
        });
        found
    }
}

/// How many of the hosts that were awake answered.
struct Verdict {
    kind: NameKind,
    awake: u32,
    answered: u32,
}

impl Verdict {
    fn record(
        self,
        &Network { interface, vlan, outer_vlan }: &Network,
        view: &View,
        time: UnixTime,
    ) -> NameRecord {
        let (Verdict { kind, awake, answered }, mac) = (self, view.querier);
        let record = NameRecord::new(kind, time, interface);
        // As of a message with one record.
        NameRecord {
            mac,
            sender: mac,
            vlan,
            outer_vlan,
            number: awake,
            preferred: answered,
            lifetime: view.queries,
            of: 1,
            ..record
        }
    }
}

impl View {
    /// Remembers something of a host, if there is room.
    fn host(&mut self, mac: MacAddr, remember: impl FnOnce(&mut Host)) {
        let found = match self.hosts.iter().position(|host| host.mac == mac) {
            Some(index) => self.hosts.get_mut(index),
            None if self.hosts.len() < MAX_HOSTS => {
                self.hosts.push(Host { mac, active: None, awake: 0, has_reported: false });
                self.hosts.last_mut()
            }
            None => None,
        };
        if let Some(host) = found {
            remember(host);
        }
    }

    fn add_router(&mut self, mac: MacAddr) {
        if self.routers.len() < MAX_ROUTERS && !self.routers.contains(&mac) {
            self.routers.push(mac);
        }
    }

    /// Counts a query whose time is over, and who was awake.
    fn count(&mut self, now: Instant) {
        let Some(asked) = self.asked.filter(|asked| now.saturating_duration_since(*asked) >= NEAR)
        else {
            return;
        };
        self.asked = None;
        self.queries += 1;
        for host in &mut self.hosts {
            let is_near = |active: Instant| {
                let (before, after) = (
                    asked.saturating_duration_since(active),
                    active.saturating_duration_since(asked),
                );
                before.max(after) <= NEAR
            };
            host.awake += u32::from(host.active.is_some_and(is_near));
        }
    }

    /// Fewer than a quarter answered, or half of them did; in between, and of a few hosts, nothing is known.
    fn verdict(&self) -> Option<Verdict> {
        let is_router = |host: &&Host| self.routers.contains(&host.mac);
        let awake = self.hosts.iter().filter(|host| host.awake >= LEAST && !is_router(host));
        let answered = awake.clone().filter(|host| host.has_reported).count();
        let awake = awake.count();
        let kind = match () {
            () if awake < HOSTS => return None,
            () if answered * 4 < awake => NameKind::NeighborsHidden,
            () if answered * 2 >= awake => NameKind::NeighborsSeen,
            () => return None,
        };
        Some(Verdict { kind, awake: awake as u32, answered: answered as u32 })
    }
}

#[cfg(test)]
mod tests;
