//! Whether a switch that snoops multicast (MLD, RFC 4541) hides Neighbor Discovery of other hosts from this port: it sends that only to
//! the ports of the members of its group. No I/O and no clock; memory is bounded.
//!
//! Snooping needs a querier, and each host with IPv6 answers each general query for the groups of its addresses (RFC 2710, 4; RFC 3810, 6.2).
//! A snooping switch sends the answers to the ports of routers only. So what is counted is, of the hosts that were awake when the querier
//! asked (they sent ARP requests at that time), how many answered. What a host sends at another time shows nothing, and neither does a
//! single solicitation: a switch may send what no host is a member of to all ports.
//!
//! No single frame changes a verdict, as any host can forge one, not even one in each round: a host is awake, and has answered, after several
//! queries, and a router counts after several messages.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use shm_layout::{InterfaceId, MAX_NETWORKS, MacAddr, NeighborView, VlanId};

use crate::names::message::{
    Body, MLD_DONE, MLD_QUERY, MLD_REPORT, MLD2_REPORT, Message, ROUTER_ADVERTISEMENT,
};

/// Queries after which a network is judged: 50 minutes, with one each 125 s (RFC 3810, 9.2).
const QUERIES: u32 = 24;
/// A host is awake when a query comes if it asks so long before or after it; of several queries in this time, one counts.
const NEAR: Duration = Duration::from_secs(30);
/// A host counts if it was awake at so many of them: answers can be lost.
const LEAST: u32 = 4;
/// It has answered if a report of it arrived after so many of them, and a querier or router is one after so many messages: a single frame may
/// be forged.
const CERTAIN: u32 = 2;
/// Hosts that have to count.
const HOSTS: usize = 3;
/// A network without a query for so long is forgotten.
const SILENT: Duration = Duration::from_secs(3600);
/// Of the networks, those with a VLAN: a frame can have any.
const MAX_TAGGED: usize = 48;
/// Hosts of a network that are distinguished, and its queriers and routers.
const MAX_HOSTS: usize = 64;
const MAX_ROUTERS: usize = 8;

/// A network of the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    pub interface: InterfaceId,
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
    last_query: Instant,
    /// A query whose time is not over.
    asked: Option<Instant>,
    queries: u32,
    hosts: Vec<Host>,
    /// Who sent queries or Router Advertisements, and how many: a switch sends the reports of queriers and routers where it wants.
    routers: Vec<(MacAddr, u32)>,
    /// What was found last.
    verdict: Option<Verdict>,
    /// When a host last sent an ARP request.
    last_request: Option<Instant>,
    /// Its place in the header, which stays the same: readers find each network once.
    place: usize,
}

/// How many of the hosts that were awake answered.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    is_hidden: bool,
    awake: usize,
    answered: usize,
}

#[derive(Debug)]
struct Host {
    mac: MacAddr,
    /// Its last ARP request.
    active: Option<Instant>,
    /// Queries at which it was awake.
    awake: u32,
    /// A report of it arrived since the last query, and after so many queries one did.
    has_reported: bool,
    answered: u32,
}

impl Neighbors {
    pub fn new(now: Instant) -> Neighbors {
        Neighbors { networks: BTreeMap::new(), now }
    }

    /// A message of another host that `--names` reads: those of MLD and of routers count.
    pub fn message(&mut self, interface: InterfaceId, message: &Message) {
        let &Message { sender, packet, body, vlan, outer_vlan, .. } = message;
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
            let Some(place) = self.place_of(&network) else { return };
            let view = View {
                last_query: now,
                asked: None,
                queries: 0,
                hosts: Vec::new(),
                routers: Vec::new(),
                verdict: None,
                last_request: None,
                place,
            };
            self.networks.insert(network, view);
        }
        let Some(view) = self.networks.get_mut(&network) else { return };
        view.last_query = now;
        if view.asked.is_none() {
            view.asked = Some(now);
            view.hosts.iter_mut().for_each(|host| host.has_reported = false);
        }
        view.add_router(querier);
    }

    /// A free place for a network; if there is none, that of a VLAN in which no host counts, as in one that a frame made up: the one where
    /// no host asked for longest.
    fn place_of(&mut self, network: &Network) -> Option<usize> {
        let tagged = self.networks.keys().filter(|network| network.is_tagged()).count();
        if self.networks.len() >= MAX_NETWORKS || network.is_tagged() && tagged >= MAX_TAGGED {
            let unused = self.networks.iter().filter(|(network, view)| {
                network.is_tagged()
                    && view.verdict.is_none()
                    && view.hosts.iter().all(|host| host.awake < LEAST)
            });
            let (least, _) = unused.min_by_key(|(_, view)| (view.last_request, view.last_query))?;
            let least = *least;
            return Some(self.networks.remove(&least)?.place);
        }
        (0..MAX_NETWORKS).find(|place| self.networks.values().all(|view| view.place != *place))
    }

    /// Another host sent an ARP request, and so is awake.
    pub fn arp_request(&mut self, network: Network, sender: MacAddr) {
        let now = self.now;
        if let Some(view) = self.networks.get_mut(&network) {
            view.last_request = Some(now);
            view.host(sender, |host| host.active = Some(now));
        }
    }

    /// Judges what can be judged now, about once a second.
    pub fn judge(&mut self, now: Instant) {
        self.now = now;
        self.networks.retain(|_, view| {
            view.count(now);
            if view.queries >= QUERIES {
                view.conclude();
            }
            now.saturating_duration_since(view.last_query) < SILENT
        });
    }

    /// What was found last, of each network where that is known.
    pub fn views(&self) -> [Option<NeighborView<InterfaceId>>; MAX_NETWORKS] {
        let mut views = [None; MAX_NETWORKS];
        for (&Network { interface, vlan, outer_vlan }, view) in &self.networks {
            let Some(Verdict { is_hidden, awake, answered }) = view.verdict else { continue };
            let [awake, answered] = [awake, answered].map(|hosts| hosts as u8); // at most MAX_HOSTS
            let queries = QUERIES as u8;
            let found =
                NeighborView { interface, outer_vlan, vlan, is_hidden, awake, answered, queries };
            if let Some(place) = views.get_mut(view.place) {
                *place = Some(found);
            }
        }
        views
    }

    /// The interface is not to be captured any more.
    pub fn forget(&mut self, interface: InterfaceId) {
        self.networks.retain(|network, _| network.interface != interface);
    }
}

impl View {
    /// Remembers something of a host, if there is room.
    fn host(&mut self, mac: MacAddr, remember: impl FnOnce(&mut Host)) {
        let found = match self.hosts.iter().position(|host| host.mac == mac) {
            Some(index) => self.hosts.get_mut(index),
            None if self.hosts.len() < MAX_HOSTS => {
                let host = Host { mac, active: None, awake: 0, has_reported: false, answered: 0 };
                self.hosts.push(host);
                self.hosts.last_mut()
            }
            None => None,
        };
        if let Some(host) = found {
            remember(host);
        }
    }

    fn add_router(&mut self, mac: MacAddr) {
        if let Some((_, messages)) = self.routers.iter_mut().find(|(known, _)| *known == mac) {
            *messages = messages.saturating_add(1);
        } else if self.routers.len() < MAX_ROUTERS {
            self.routers.push((mac, 1));
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
            host.answered += u32::from(std::mem::take(&mut host.has_reported));
        }
    }

    /// Fewer than a quarter of the hosts that were awake answered, or half of them did; in between, nothing is known. Of a few hosts, what was found
    /// before stays: the others sleep.
    fn conclude(&mut self) {
        let is_router = |host: &&Host| {
            let mut routers = self.routers.iter();
            routers.any(|(mac, messages)| *mac == host.mac && *messages >= CERTAIN)
        };
        let awake = self.hosts.iter().filter(|host| host.awake >= LEAST && !is_router(host));
        let answered = awake.clone().filter(|host| host.answered >= CERTAIN).count();
        let awake = awake.count();
        if awake >= HOSTS {
            let is_hidden = answered * 4 < awake;
            let is_known = is_hidden || answered * 2 >= awake;
            self.verdict = is_known.then_some(Verdict { is_hidden, awake, answered });
        }
        self.queries = 0;
        self.hosts.clear();
        // One message in each round makes no router, two in one do, and who sends one in each then remains one.
        self.routers.iter_mut().for_each(|(_, messages)| *messages /= 2);
        self.routers.retain(|(_, messages)| *messages > 0);
    }
}

#[cfg(test)]
mod tests;
