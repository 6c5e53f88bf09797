use std::net::Ipv6Addr;

use shm_layout::UnixTime;

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
        let (interface, outer_vlan) = (InterfaceId::default(), VlanId::NONE);
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
        let interface_name = "eth0".parse().unwrap();
        self.neighbors.message(
            interface,
            &Message {
                time,
                interface: interface_name,
                sender,
                receiver,
                vlan,
                outer_vlan,
                packet,
                body,
                refused,
            },
        );
    }

    /// Lets seconds pass.
    fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        self.neighbors.judge(self.start + Duration::from_secs(self.now));
    }

    /// What is known of each network, as a line.
    fn views(&self) -> Vec<String> {
        let line = |NeighborView { is_hidden, answered, awake, queries, .. }: NeighborView<_>| {
            let state = if is_hidden { "hidden" } else { "seen" };
            format!("{state}: {answered} of {awake} at {queries}")
        };
        self.neighbors.views().into_iter().flatten().map(line).collect()
    }

    /// So many queries, each 125 s, and what else comes at that time.
    fn queries(&mut self, number: u32, each: &[Seen]) -> Vec<String> {
        (0..number).for_each(|_| self.query(each));
        self.views()
    }

    fn query(&mut self, each: &[Seen]) {
        self.see(0, Query(QUERIER));
        self.pass(3);
        each.iter().for_each(|seen| self.see(0, *seen));
        self.pass(40);
        self.pass(82);
    }
}

const AWAKE: [Seen; 4] = [Asks(10), Asks(11), Asks(12), Asks(13)];
const REPORTS: [Seen; 3] = [Report(10), Report(11), Report(12)];

fn with(rest: &[Seen]) -> Vec<Seen> {
    [&AWAKE, rest].concat()
}

/// A querier that hosts which are awake do not answer; few of many are those on the sensor's side of the switch.
#[test]
fn hidden_from_this_port() {
    let hidden = ["hidden: 0 of 4 at 24"];
    let mut sensor = Sensor::new();
    assert_eq!(sensor.queries(23, &AWAKE), [""; 0], "not for so long");
    assert_eq!(sensor.queries(1, &AWAKE), hidden);
    assert_eq!(sensor.queries(24, &[]), hidden, "hosts sleep, and nothing else is known");
    assert_eq!(sensor.queries(24, &with(&REPORTS)), ["seen: 3 of 4 at 24"]);
    assert_eq!(sensor.queries(24, &AWAKE), hidden);
    assert_eq!(sensor.queries(24, &with(&REPORTS[..1])), [""; 0], "in between: not known any more");
    assert_eq!(sensor.queries(24, &AWAKE), hidden);
    // Its own reports, and those of routers, which ask, too.
    let routers = [QUERIER, ROUTER, 3].map(|one| [Router(one), Report(one), Asks(one)]);
    assert_eq!(Sensor::new().queries(24, &with(routers.as_flattened())), hidden);
    let many: Vec<_> = (20..28).map(Asks).collect();
    let one = with(&[&many[..], &[Report(10)]].concat());
    assert_eq!(Sensor::new().queries(24, &one), ["hidden: 1 of 12 at 24"]);
    // The interface is not captured any more, and then no query comes for an hour.
    sensor.neighbors.forget(InterfaceId::default());
    assert_eq!(sensor.views(), [""; 0]);
    assert_eq!(sensor.queries(24, &AWAKE), hidden);
    sensor.pass(3600);
    assert_eq!(sensor.views(), [""; 0]);
}

#[test]
fn nothing_to_report() {
    let some = with(&[Asks(14), Report(10), Report(11)]);
    let none: [&[Seen]; 5] = [
        &[],
        &[Asks(10), Asks(11)],
        &[Asks(10), Asks(11), Asks(QUERIER), Asks(ROUTER), Router(ROUTER)],
        &REPORTS,
        &some,
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
        sensor.pass(125);
    }
    assert!(sensor.views().is_empty() && sensor.neighbors.networks.is_empty());
}

/// Any host can forge any frame. One of them in each round, at the time of a query or not, changes no verdict, also where there are just as many
/// hosts as are needed.
#[test]
fn a_single_forged_frame() {
    let forged = [Report(10), ReportToThis(10), Query(10), Router(10), QueryOfGroup(10), Asks(99)];
    let awake = &AWAKE[..3];
    let answered = [awake, &REPORTS].concat();
    for (usual, verdict) in [(awake, "hidden: 0 of 3 at 24"), (&answered[..], "seen: 3 of 3 at 24")]
    {
        for (one, is_near) in forged.into_iter().flat_map(|one| [(one, true), (one, false)]) {
            let mut sensor = Sensor::new();
            let with_one = [usual, &[one]].concat();
            for _ in 0..5 {
                sensor.queries(12, usual);
                if !is_near {
                    sensor.see(0, one);
                }
                sensor.query(if is_near { &with_one } else { usual });
                assert_eq!(sensor.queries(11, usual), [verdict]);
            }
        }
    }
}

/// Two advertisements in a round make a router, and then one in each: its reports do not count.
#[test]
fn routers() {
    let mut sensor = Sensor::new();
    sensor.query(&[]);
    let usual = with(&[Asks(ROUTER), Report(ROUTER)]);
    for round in 0..5 {
        let advertisements = if round == 0 { 2 } else { 1 };
        (0..advertisements).for_each(|_| sensor.see(0, Router(ROUTER)));
        let queries = if round == 0 { 23 } else { 24 };
        assert_eq!(sensor.queries(queries, &usual), ["hidden: 0 of 4 at 24"], "{round}");
    }
    assert_eq!(sensor.queries(24, &usual), ["hidden: 1 of 5 at 24"]);
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
        sensor.pass(40);
        AWAKE.iter().for_each(|one| sensor.see(0, *one));
        sensor.pass(85);
    }
    assert_eq!(sensor.views(), [""; 0]);
    // A querier that asks each second is as one that asks each 30 s.
    let mut sensor = Sensor::new();
    for second in 0..24 * 31 {
        with(&[Query(QUERIER)]).into_iter().for_each(|one| sensor.see(0, one));
        sensor.pass(1);
        assert!(second + 1 >= 24 * 30 || sensor.views().is_empty());
    }
    assert_eq!(sensor.views(), ["hidden: 0 of 4 at 24"]);
}

/// Also if an access point sends them to this host's MAC.
#[test]
fn it_is_not_hidden() {
    for reports in [[10, 11].map(Report), [10, 11].map(ReportToThis)] {
        assert_eq!(Sensor::new().queries(24, &with(&reports)), ["seen: 2 of 4 at 24"]);
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
        sensor.pass(31);
    };
    let reports = with(&REPORTS);
    for _ in 0..24 {
        each(&mut sensor, &mut (1..41), &reports);
    }
    assert_eq!(sensor.views(), ["seen: 3 of 4 at 24"; 40]);
    for round in 0..24 {
        let made_up = 100 + round * 100..200 + round * 100;
        each(&mut sensor, &mut (1..41).chain(made_up), &[]);
        each(&mut sensor, &mut (1..41).chain([0]), &AWAKE);
        assert_eq!(sensor.neighbors.networks.len(), MAX_TAGGED + 1);
    }
    assert_eq!(sensor.views(), ["hidden: 0 of 4 at 24"; 41]);
    sensor.pass(3600);
    assert!(sensor.neighbors.networks.is_empty());
    // Made-up ones came first.
    for _ in 0..24 {
        each(&mut sensor, &mut (100..200), &[]);
        each(&mut sensor, &mut [7].into_iter(), &AWAKE);
    }
    assert_eq!(sensor.views(), ["hidden: 0 of 4 at 24"]);
    assert_eq!(sensor.neighbors.networks.len(), MAX_TAGGED);
    sensor.pass(3600);
    (0..=255).for_each(|one| {
        sensor.see(9, Query(one));
        sensor.see(9, Asks(one));
    });
    let view = sensor.neighbors.networks.values().next().unwrap();
    assert_eq!((view.hosts.len(), view.routers.len()), (MAX_HOSTS, MAX_ROUTERS));
}
