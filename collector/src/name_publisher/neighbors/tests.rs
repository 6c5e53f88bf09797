use std::net::Ipv6Addr;

use super::*;
use crate::names::message::Packet;

const QUERIER: u8 = 1;
const ROUTER: u8 = 2;

fn mac(last: u8) -> MacAddr {
    MacAddr::new([0, 8, 0xe1, 0, 0, last])
}

/// What happens in a network. Hosts are numbers.
#[derive(Clone, Copy)]
enum Seen {
    /// A general query, and one about a group.
    Query(u8),
    QueryOfGroup(u8),
    /// The report of a host, to the group's MAC, and to this host's.
    Report(u8),
    ReportToThis(u8),
    Router(u8),
    /// An ARP request.
    Asks(u8),
}
use Seen::*;

/// A collector whose clock is set by what happens.
struct Sensor {
    neighbors: Neighbors,
    start: Instant,
    now: u64,
}

impl Sensor {
    fn new() -> Sensor {
        let start = Instant::now();
        Sensor { neighbors: Neighbors::new(start), start, now: 0 }
    }

    fn see(&mut self, vlan: u16, seen: Seen) {
        let (interface, outer_vlan) = ("eth0".parse().unwrap(), VlanId::NONE);
        let vlan = VlanId::from_tag(vlan);
        let (all, group) = ([0x33, 0x33, 0, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 0x16]);
        let (sender, kind, hop_limit, to, receiver, other) = match seen {
            Query(host) => (host, 130, 1, "ff02::1", all, [0; 16]),
            QueryOfGroup(host) => (host, 130, 1, "ff02::fb", all, [0xff; 16]),
            Report(host) => (host, 143, 1, "ff02::16", group, [0; 16]),
            ReportToThis(host) => (host, 131, 1, "ff02::16", mac(99).octets(), [0; 16]),
            Router(host) => (host, 134, 255, "ff02::1", all, [0; 16]),
            Asks(host) => {
                let network = Network { interface, vlan, outer_vlan };
                return self.neighbors.arp_request(network, mac(host));
            }
        };
        let bytes = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &other].concat();
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, sender.into());
        let (sender, receiver) = (mac(sender), MacAddr::new(receiver));
        let packet = Packet { source, destination: to.parse().unwrap(), hop_limit };
        let (time, body, refused) = (UnixTime::new(0, 0), Body::Icmp(&bytes), None);
        self.neighbors.message(&Message {
            time,
            interface,
            sender,
            receiver,
            vlan,
            outer_vlan,
            packet,
            body,
            refused,
        });
    }

    /// Lets seconds pass; returns what is published, as a line.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        self.now += seconds;
        let now = self.start + Duration::from_secs(self.now);
        let records = self.neighbors.judge(now, UnixTime::new(7, 0));
        let line = |NameRecord { kind, preferred, number, lifetime, .. }: NameRecord| {
            format!("{kind} {preferred} of {number} at {lifetime}")
        };
        records.into_iter().map(line).collect()
    }

    /// So many queries, each 125 s, and what else comes at that time.
    fn queries(&mut self, number: u32, each: &[Seen]) -> Vec<String> {
        let mut found = Vec::new();
        for _ in 0..number {
            self.see(0, Query(QUERIER));
            found.extend(self.pass(3));
            each.iter().for_each(|seen| self.see(0, *seen));
            found.extend(self.pass(40));
            found.extend(self.pass(82));
        }
        found
    }
}

const AWAKE: [Seen; 4] = [Asks(10), Asks(11), Asks(12), Asks(13)];

fn with(rest: &[Seen]) -> Vec<Seen> {
    [&AWAKE, rest].concat()
}

/// A querier that hosts which are awake do not answer; few of many are those on the sensor's side of the switch.
#[test]
fn hidden_from_this_port() {
    let hidden = ["ND_HIDDEN 0 of 4 at 24"];
    let mut sensor = Sensor::new();
    assert_eq!(sensor.queries(23, &AWAKE), [""; 0], "not for so long");
    assert_eq!(sensor.queries(1, &AWAKE), hidden);
    assert_eq!(sensor.queries(24, &AWAKE), hidden, "again: a reader may have missed it");
    // Its own reports, and those of routers, which ask, too.
    let routers = [QUERIER, ROUTER, 3].map(|one| [Router(one), Report(one), Asks(one)]);
    assert_eq!(Sensor::new().queries(48, &with(routers.as_flattened())), [hidden; 2].concat());
    let many: Vec<_> = (20..28).map(Asks).collect();
    let one = with(&[&many[..], &[Report(10)]].concat());
    assert_eq!(Sensor::new().queries(24, &one), ["ND_HIDDEN 1 of 12 at 24"]);
}

#[test]
fn nothing_to_report() {
    let half = with(&[Report(10)]);
    let none: [&[Seen]; 5] = [
        &[],
        &[Asks(10), Asks(11)],
        &[Asks(10), Asks(11), Asks(QUERIER), Asks(ROUTER), Router(ROUTER)],
        &[Report(10), Report(11), Report(12)],
        &half,
    ];
    for seen in none {
        assert_eq!(Sensor::new().queries(24, seen), [""; 0]);
    }
    // No querier, or none that asks all.
    let mut sensor = Sensor::new();
    for _ in 0..100 {
        with(&[QueryOfGroup(QUERIER), Router(ROUTER)])
            .into_iter()
            .for_each(|one| sensor.see(0, one));
        assert_eq!(sensor.pass(125), [""; 0]);
    }
    assert!(sensor.neighbors.networks.is_empty());
}

/// Hosts that were awake before the querier came, or between its queries, and those that pass.
#[test]
fn who_is_awake_when_it_asks() {
    let mut sensor = Sensor::new();
    sensor.queries(3, &AWAKE);
    assert_eq!(sensor.queries(21, &[]), [""; 0]);
    let mut sensor = Sensor::new();
    for _ in 0..48 {
        sensor.see(0, Query(QUERIER));
        assert_eq!(sensor.pass(40), [""; 0]);
        AWAKE.iter().for_each(|one| sensor.see(0, *one));
        assert_eq!(sensor.pass(85), [""; 0]);
    }
    // A querier that asks each second is as one that asks each 30 s.
    let mut sensor = Sensor::new();
    let mut found = Vec::new();
    for second in 0..24 * 31 {
        with(&[Query(QUERIER)]).into_iter().for_each(|one| sensor.see(0, one));
        found.extend(sensor.pass(1));
        assert!(second + 1 >= 24 * 30 || found.is_empty());
    }
    assert_eq!(found, ["ND_HIDDEN 0 of 4 at 24"]);
}

/// Also if an access point sends them to this host's MAC.
#[test]
fn it_is_not_hidden() {
    for reports in [[Report(10), Report(11)], [ReportToThis(10), ReportToThis(11)]] {
        assert_eq!(Sensor::new().queries(24, &with(&reports)), ["ND_SEEN 2 of 4 at 24"]);
    }
}

/// A trunk: each VLAN is judged alone. A flood of made-up ones takes the place of none that was there, and of none without a VLAN; its
/// places become free.
#[test]
fn vlans() {
    let mut sensor = Sensor::new();
    let each = |sensor: &mut Sensor, vlans: &mut dyn Iterator<Item = u16>, seen: &[Seen]| {
        for vlan in vlans {
            sensor.see(vlan, Query(QUERIER));
            seen.iter().for_each(|seen| sensor.see(vlan, *seen));
        }
        sensor.pass(31)
    };
    let reports = with(&[Report(10), Report(11)]);
    let mut found = Vec::new();
    for _ in 0..24 {
        found.extend(each(&mut sensor, &mut (1..61), &reports));
    }
    assert_eq!(found, ["ND_SEEN 2 of 4 at 24"; 60]);
    found.clear();
    for round in 0..24 {
        found.extend(each(
            &mut sensor,
            &mut (1..61).chain(100 + round * 100..200 + round * 100),
            &[],
        ));
        let mut all = (1..61).chain([0]);
        found.extend(each(&mut sensor, &mut all, &AWAKE));
        assert_eq!(sensor.neighbors.networks.len(), MAX_NETWORKS + 1);
    }
    assert!(
        found.len() >= 61 && found.iter().all(|one| one == "ND_HIDDEN 0 of 4 at 24"),
        "{found:?}"
    );
    sensor.pass(3600);
    assert!(sensor.neighbors.networks.is_empty());
    (0..=255).for_each(|one| {
        sensor.see(9, Query(one));
        sensor.see(9, Asks(one));
    });
    let view = sensor.neighbors.networks.values().next().unwrap();
    assert_eq!((view.hosts.len(), view.routers.len()), (MAX_HOSTS, MAX_ROUTERS));
}
