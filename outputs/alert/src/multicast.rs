//! Multicast Listener Discovery: a switch that sends multicasts to their listeners only hides Neighbor Discovery of others from this port.
//! A querier asks all hosts there, and none answers. In memory: what was reported is stored as a fault. No I/O and no clock.

use std::collections::BTreeMap;

use aw_detect::{network_name, network_of};
use aw_output::{Entry, NameEntry};
use shm_layout::{Kind, MacAddr, NameKind, NameRecord, Origin, RingName};

/// So many queries without an answer, over so many seconds: each host answers each query within seconds (RFC 3810, 9.3).
const QUERIES: u32 = 8;
const SECONDS: i64 = 900;
/// Networks of a ring: a frame can have any VLAN.
const MAX_NETWORKS: usize = 64;

/// The queries of each network, by ring.
#[derive(Debug, Default)]
pub struct Multicast(BTreeMap<RingName, BTreeMap<String, Queries>>);

#[derive(Debug)]
struct Queries {
    querier: MacAddr,
    /// When the first one without an answer came, and the last one, and how many did.
    first: i64,
    last: i64,
    count: u32,
    /// Whether an answer came since the last look.
    is_seen: bool,
}

impl Multicast {
    /// A query, or the report of a listener. This host's own show nothing.
    pub fn record(&mut self, entry: &NameEntry, own: &[MacAddr]) {
        let record = &entry.record;
        if !matches!(record.kind, NameKind::MldQuery | NameKind::MldReport)
            || own.contains(&record.sender)
        {
            return;
        }
        let network = network_name(record.interface, record.outer_vlan, record.vlan);
        if record.kind == NameKind::MldReport {
            let of_ring = self.0.get_mut(entry.ring).filter(|_| is_to_group(record));
            if let Some(queries) = of_ring.and_then(|all| all.get_mut(&network)) {
                queries.answered();
            }
            return;
        }
        // One about a group is answered by its members only.
        if !record.other.is_unspecified() {
            return;
        }
        let time = record.time.seconds();
        let of_ring = self.0.entry(entry.ring.clone()).or_default();
        if of_ring.len() >= MAX_NETWORKS && !of_ring.contains_key(&network) {
            return;
        }
        let querier = record.sender;
        let new = Queries { querier, first: time, last: time, count: 0, is_seen: false };
        let queries = of_ring.entry(network).or_insert(new);
        if queries.count == 0 || queries.first > time {
            (queries.first, queries.count) = (time, 0);
        }
        (queries.querier, queries.last, queries.count) = (querier, time, queries.count + 1);
    }

    /// Neighbor Discovery of another host than the querier arrives. The querier is often the router, which also asks this host alone.
    pub fn neighbor(&mut self, entry: &Entry, own: &[MacAddr]) {
        let event = &entry.event;
        let is_solicitation =
            matches!(event.kind, Kind::Pairing(Origin::NdSolicitation | Origin::NdDad));
        let of_ring = self.0.get_mut(entry.ring).filter(|_| is_solicitation);
        let queries = of_ring.and_then(|all| all.get_mut(&network_of(event)));
        if let Some(queries) = queries
            && queries.querier != event.source
            && !own.contains(&event.source)
        {
            queries.answered();
        }
    }

    /// The networks of which it is known now: with the querier, if no host answers it.
    pub fn take(&mut self, ring: &RingName) -> Vec<(String, Option<MacAddr>)> {
        let of_ring = self.0.get_mut(ring).into_iter().flatten();
        let known = of_ring.filter_map(|(network, queries)| {
            let is_hidden = queries.count >= QUERIES && queries.last - queries.first >= SECONDS;
            let hidden = is_hidden.then_some(queries.querier);
            let is_known = std::mem::take(&mut queries.is_seen) || hidden.is_some();
            is_known.then(|| (network.clone(), hidden))
        });
        known.collect()
    }
}

impl Queries {
    fn answered(&mut self) {
        (self.count, self.is_seen) = (0, true);
    }
}

/// Whether it was sent to all of its group, as snooping switches hide it. One that was sent to this host only shows nothing.
fn is_to_group(record: &NameRecord) -> bool {
    let [.., a, b, c, d] = record.destination.octets();
    [MacAddr::new([0x33, 0x33, a, b, c, d]), MacAddr::ZERO].contains(&record.receiver)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use shm_layout::{Event, Position, UnixTime, VlanId};

    use super::*;

    /// What one round of queries brings.
    #[derive(Clone, Copy)]
    enum Seen {
        Query(Ipv6Addr, MacAddr),
        Report(MacAddr, MacAddr),
        Neighbor(MacAddr, Origin),
    }

    #[test]
    fn who_answers_queries() {
        use Seen::*;
        let [own, router, client] = [1, 2, 3].map(|last| MacAddr::new([0, 8, 0xe1, 0, 0, last]));
        let ring: RingName = "/r".parse().unwrap();
        let group = MacAddr::new([0x33, 0x33, 0, 0, 0, 0x16]);
        let query = Query(Ipv6Addr::UNSPECIFIED, router);
        // So many rounds of two minutes; whether it is hidden then, where that is known.
        let rounds = |times: i64, seen: &[Seen]| {
            let mut multicast = Multicast::default();
            let mut found = Vec::new();
            for round in 0..times {
                let time = UnixTime::new(1_700_000_000 + round * 120, 0);
                for one in seen {
                    let interface = "eth0".parse().unwrap();
                    let mut record = NameRecord::new(NameKind::MldQuery, time, interface);
                    match *one {
                        Query(group, mac) => (record.other, record.sender) = (group, mac),
                        Report(mac, to) => {
                            record.kind = NameKind::MldReport;
                            (record.sender, record.receiver) = (mac, to);
                            record.destination = "ff02::16".parse().unwrap();
                        }
                        Neighbor(mac, origin) => {
                            let address = "fe80::1".parse().unwrap();
                            let (vlan, kind) = (VlanId::NONE, Kind::Pairing(origin));
                            let (outer_vlan, router) = (vlan, std::net::Ipv4Addr::UNSPECIFIED);
                            let event = Event {
                                time,
                                address,
                                interface,
                                mac,
                                source: mac,
                                vlan,
                                outer_vlan,
                                kind,
                                router,
                            };
                            let position = Position { generation: 1, sequence: 0 };
                            multicast.neighbor(
                                &Entry { ring: &ring, host: "sensor", position, event },
                                &[own],
                            );
                            continue;
                        }
                    }
                    multicast.record(&NameEntry { ring: &ring, host: "sensor", record }, &[own]);
                }
                found = multicast.take(&ring);
            }
            found.first().map(|(network, hidden)| (network.clone(), hidden.is_some()))
        };
        let hidden = Some(("eth0".to_owned(), true));
        let seen = Some(("eth0".to_owned(), false));
        assert_eq!(rounds(30, &[query]), hidden);
        assert_eq!(rounds(8, &[query]), None, "not for so long");
        // This host's own answers, what is sent to it alone, and what the querier asks it, show nothing.
        let nothing = [
            query,
            Report(own, group),
            Report(client, own),
            Neighbor(own, Origin::NdDad),
            Neighbor(router, Origin::NdSolicitation),
            Neighbor(client, Origin::NdAdvertisement),
        ];
        assert_eq!(rounds(30, &nothing), hidden);
        assert_eq!(rounds(30, &[query, Report(client, group)]), seen);
        assert_eq!(rounds(30, &[query, Neighbor(client, Origin::NdDad)]), seen);
        assert_eq!(rounds(30, &[query, Neighbor(client, Origin::NdSolicitation)]), seen);
        // Of this host's own queries, and of those about a group, nothing is known.
        assert_eq!(rounds(30, &[Query(Ipv6Addr::UNSPECIFIED, own)]), None);
        assert_eq!(rounds(30, &[Query("ff02::fb".parse().unwrap(), router)]), None);
        assert_eq!(rounds(30, &[Report(own, group)]), None);
    }
}
