use std::{collections::HashMap, convert::Infallible, net::Ipv4Addr};

use shm_layout::{Position, RingName, UnixTime, VlanId};

use super::*;

mod attacks;
mod class_policy;
mod conflicts;
mod digested;
mod evidence;
mod rogues;
mod senders;

#[derive(Default)]
struct TestMemory {
    stations: HashMap<(String, IpAddr), Station>,
    devices: HashMap<MacAddr, Device>,
    networks: HashMap<String, NetworkState>,
}

impl Memory for TestMemory {
    type Error = Infallible;
    fn station(&mut self, network: &str, ip: IpAddr) -> Result<Station, Infallible> {
        Ok(self.stations.get(&(network.into(), ip)).cloned().unwrap_or_default())
    }
    fn store_station(
        &mut self,
        network: &str,
        ip: IpAddr,
        state: &Station,
    ) -> Result<(), Infallible> {
        self.stations.insert((network.into(), ip), state.clone());
        Ok(())
    }
    fn device(&mut self, mac: MacAddr) -> Result<Option<Device>, Infallible> {
        Ok(self.devices.get(&mac).cloned())
    }
    fn store_device(&mut self, mac: MacAddr, state: &Device) -> Result<(), Infallible> {
        self.devices.insert(mac, state.clone());
        Ok(())
    }
    fn network(&mut self, network: &str) -> Result<Option<NetworkState>, Infallible> {
        Ok(self.networks.get(network).copied())
    }
    fn store_network(&mut self, network: &str, state: &NetworkState) -> Result<(), Infallible> {
        self.networks.insert(network.into(), *state);
        Ok(())
    }
}

fn event(time: i64, mac: &str, ip: &str, origin: Origin) -> Event {
    let address = match ip.parse().unwrap() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    Event {
        time: UnixTime::new(time, 0),
        address,
        interface: "eth0".parse().unwrap(),
        mac: mac.parse().unwrap(),
        source: mac.parse().unwrap(),
        vlan: VlanId::NONE,
        outer_vlan: VlanId::NONE,
        kind: EventKind::Pairing(origin),
        router: Ipv4Addr::UNSPECIFIED,
    }
}

const A: &str = "00:08:e1:00:00:0a";
const B: &str = "00:08:e1:00:00:0b";
const RANDOM: &str = "02:00:00:00:00:01";
const VRRP: &str = "00:00:5e:00:01:01";

/// The alerts of an event in a ring.
fn observe_in(ring: &str, rules: &Rules, memory: &mut TestMemory, event: &Event) -> Vec<Alert> {
    passed(ring, false, rules, memory, event)
}

fn observe(rules: &Rules, memory: &mut TestMemory, event: &Event) -> Vec<Alert> {
    observe_in("/addrwatch", rules, memory, event)
}

/// An event of the learning period, whose alerts are not sent.
fn learn(rules: &Rules, memory: &mut TestMemory, event: &Event) {
    passed("/addrwatch", true, rules, memory, event);
}

fn passed(
    ring: &str,
    learning: bool,
    rules: &Rules,
    memory: &mut TestMemory,
    event: &Event,
) -> Vec<Alert> {
    let ring: RingName = ring.parse().unwrap();
    let position = Position { generation: 1, sequence: 0 };
    let entry = Entry { ring: &ring, host: "sensor", position, event: *event };
    rules.observe(&entry, NOW, learning, memory).unwrap_or_else(|never| match never {})
}

/// The clock of the rules' caller, after all events of these tests.
const NOW: UnixTime = UnixTime::from_nanos(2_000_000_000_000_000_000);

/// The kinds of alerts that each event causes, of those that channels want by default.
fn kinds_of(rules: &Rules, memory: &mut TestMemory, events: &[Event]) -> Vec<Vec<AlertKind>> {
    let observe = |event| observe(rules, memory, event);
    let kinds = events.iter().map(observe).map(|alerts| {
        let kinds = alerts.into_iter().map(|alert| alert.kind);
        kinds.filter(|kind| AlertKind::DEFAULT.contains(kind)).collect()
    });
    kinds.collect()
}

#[test]
fn a_device_is_new_once_whatever_its_addresses() {
    let events = [
        event(0, A, "10.0.0.1", Origin::ArpRequest),
        event(1, A, "10.0.0.2", Origin::ArpReply),
        event(2, A, "2001:db8::1", Origin::NdAdvertisement),
        event(3, A, "2001:db8::abcd", Origin::NdDad),
        event(4 + 30 * 86_400, A, "10.0.0.1", Origin::ArpRequest),
    ];
    let expected = [vec![AlertKind::NewDevice], vec![], vec![], vec![], vec![AlertKind::Returned]];
    assert_eq!(kinds_of(&Rules::default(), &mut TestMemory::default(), &events), expected);
}

#[test]
fn arpwatchs_rules_know_addresses_only() {
    let rules = Rules { dialect: Dialect::Arpwatch, ..Rules::default() };
    let mut memory = TestMemory::default();
    let mut observe = |event: Event| {
        let alerts = observe(&rules, &mut memory, &event);
        alerts.iter().map(Alert::to_string).collect::<Vec<_>>()
    };
    let line = format!("new station 10.0.0.1 {VRRP} eth0.7");
    let vlan = VlanId::from_tag(7);
    assert_eq!(observe(Event { vlan, ..event(0, VRRP, "10.0.0.1", Origin::ArpReply) }), [line]);
    assert!(observe(event(0, A, "10.0.0.9", Origin::ArpProbe)).is_empty());
    assert!(observe(event(0, A, "fe80::1", Origin::NdAdvertisement)).is_empty());
    assert_eq!(
        observe(event(0, A, "10.0.0.9", Origin::ArpReply)).len(),
        1,
        "a probe is no station"
    );
}

#[test]
fn changes_and_duplicates() {
    let rules = Rules::default();
    let ip = "10.0.0.1";
    let events = [
        event(0, A, ip, Origin::ArpReply),
        event(100, B, ip, Origin::ArpReply),  // moved
        event(5000, A, ip, Origin::ArpReply), // and back: a flip flop
        event(9000, B, ip, Origin::ArpReply),
        event(9010, A, ip, Origin::ArpReply), // reported just now
        event(9020, B, ip, Origin::ArpReply), // now in turn: a duplicate
        event(13_000, B, ip, Origin::ArpReply),
        event(17_000, A, ip, Origin::ArpProbe),
        event(17_001, B, ip, Origin::ArpReply), // the owner defends it
    ];
    let expected = [
        vec![AlertKind::NewDevice],
        vec![AlertKind::NewDevice, AlertKind::Changed],
        vec![AlertKind::FlipFlop],
        vec![AlertKind::FlipFlop],
        vec![],
        vec![AlertKind::Duplicate],
        vec![],
        vec![],
        vec![],
    ];
    assert_eq!(kinds_of(&rules, &mut TestMemory::default(), &events), expected);
}

#[test]
fn policies_of_mac_classes() {
    let rules = Rules { proxy_arp_addresses: 3, ..Rules::default() };
    let mut memory = TestMemory::default();
    // A virtual MAC takes its learned address back without an alert; that another MAC takes it is reported.
    let ip = "10.0.0.1";
    let moves = [VRRP, A, VRRP, A].map(|mac| event(0, mac, ip, Origin::ArpRequest));
    learn(&rules, &mut memory, &moves[0]);
    let none: Vec<AlertKind> = vec![];
    let expected = [
        none.clone(),
        vec![AlertKind::NewDevice, AlertKind::Changed],
        none.clone(),
        vec![AlertKind::Duplicate],
    ];
    assert_eq!(kinds_of(&rules, &mut memory, &moves), expected);
    // Answers for three free addresses do not make B a proxy: that it takes one of another's is reported at once.
    let claims = ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.0.1", "10.0.0.1"];
    let claims = claims.map(|ip| event(1, B, ip, Origin::ArpReply));
    let before = observe(&rules, &mut memory, &claims[0]);
    assert!(before.iter().all(|alert| !alert.digest), "not yet");
    let expected =
        [none.clone(), none.clone(), none.clone(), vec![AlertKind::Changed], none.clone()];
    assert_eq!(kinds_of(&rules, &mut memory, &claims), expected);
    // The policy for a named proxy: in a digest, ignored, or each reported.
    let takes = |proxy_arp, memory: &mut TestMemory| {
        let rules = Rules { proxy_arp, proxies: vec![B.parse().unwrap()], ..rules.clone() };
        let owner = event(100, A, "10.0.0.1", Origin::ArpReply);
        let took = event(8000, B, "10.0.0.1", Origin::ArpReply);
        observe(&rules, memory, &owner);
        let alerts = observe(&rules, memory, &took);
        alerts.into_iter().map(|alert| (alert.kind, alert.digest)).collect::<Vec<_>>()
    };
    assert_eq!(takes(MacPolicy::Digest, &mut memory), [(AlertKind::FlipFlop, true)]);
    assert_eq!(takes(MacPolicy::Ignore, &mut memory), []);
    // Where it says so, a phone's random MAC goes into the digest; one that has a name does not.
    let rules = Rules { random_macs: Some(MacPolicy::Digest), ..rules };
    let phone = event(2, RANDOM, "10.0.0.7", Origin::ArpReply);
    assert!(observe(&rules, &mut memory, &phone).iter().all(|alert| alert.digest));
    let known = BTreeMap::from([(RANDOM.parse().unwrap(), "laptop".to_owned())]);
    let rules = Rules { known, ..rules };
    let alerts = observe(&rules, &mut TestMemory::default(), &phone);
    assert_eq!((alerts[0].name.as_deref(), alerts[0].digest), (Some("laptop"), false));
}

/// A change to another MAC is always reported, however recent the last change is.
#[test]
fn one_takeover_does_not_hide_the_next() {
    let c = "00:08:e1:00:00:0c";
    let events = [(A, 0), (B, 5000), (c, 6000), (B, 6100), (c, 6200)];
    let events = events.map(|(mac, time)| event(time, mac, "10.0.0.1", Origin::ArpReply));
    let kinds = kinds_of(&Rules::default(), &mut TestMemory::default(), &events);
    assert_eq!(kinds[1], [AlertKind::NewDevice, AlertKind::Changed]);
    assert_eq!(kinds[2], [AlertKind::NewDevice, AlertKind::Changed]);
    assert_eq!(
        (&kinds[3], &kinds[4]),
        (&vec![AlertKind::FlipFlop], &vec![]),
        "flip flops: once an hour"
    );
}

#[test]
fn a_failover_pair_takes_over_without_alerts() {
    let pair = vec![A.parse().unwrap(), B.parse().unwrap()];
    let rules = Rules { failovers: vec![pair], ..Rules::default() };
    let c = "00:08:e1:00:00:0c";
    let events = [A, B, A, B, c].map(|mac| event(100, mac, "10.0.0.1", Origin::ArpRequest));
    let expected = [
        vec![AlertKind::NewDevice],
        vec![AlertKind::NewDevice],
        vec![],
        vec![],
        vec![AlertKind::NewDevice, AlertKind::Changed],
    ];
    assert_eq!(kinds_of(&rules, &mut TestMemory::default(), &events), expected);
}

#[test]
fn unknown_once_a_day_silent_and_back() {
    let mac = A.parse().unwrap();
    let rules = Rules {
        known: BTreeMap::from([(mac, "nas".to_owned())]),
        watched: BTreeMap::from([(mac, 600)]),
        ..Rules::default()
    };
    let mut memory = TestMemory::default();
    let events = [
        event(0, A, "10.0.0.1", Origin::ArpReply),
        event(86_400, B, "10.0.0.2", Origin::ArpReply),
        event(86_401, B, "10.0.0.2", Origin::ArpReply),
        event(2 * 86_400, B, "10.0.0.2", Origin::ArpReply),
    ];
    let expected = [
        vec![AlertKind::NewDevice],
        vec![AlertKind::NewDevice, AlertKind::UnknownDevice],
        vec![],
        vec![AlertKind::UnknownDevice],
    ];
    assert_eq!(kinds_of(&rules, &mut memory, &events), expected);
    let mut silent =
        |now| rules.silent_devices(now, 0, &mut memory).unwrap_or_else(|never| match never {});
    assert!(silent(600).is_empty());
    assert_eq!(
        silent(601)[0].to_string(),
        "silent device 00:08:e1:00:00:0a [nas]: not seen for 601 s"
    );
    assert!(silent(602).is_empty(), "reported once");
    let back = kinds_of(&rules, &mut memory, &[event(700, A, "10.0.0.1", Origin::ArpReply)]);
    assert_eq!(back, [[AlertKind::Back]]);
}

/// Two rings with an eth0 each are two networks; devices are the same in both.
#[test]
fn a_network_is_more_than_its_interface() {
    let ip = "192.168.1.1";
    let rules = Rules {
        show_ring: true,
        local: BTreeMap::from([
            ("eth0".to_owned(), vec!["192.168.0.0/16".parse().unwrap()]),
            ("site-b/eth0".to_owned(), vec!["10.0.0.0/8".parse().unwrap()]),
        ]),
        ..Rules::default()
    };
    for dialect in [Dialect::Devices, Dialect::Arpwatch] {
        let rules = Rules { dialect, ..rules.clone() };
        let mut memory = TestMemory::default();
        let mut kinds = |ring, time, mac, ip| {
            let event = event(time, mac, ip, Origin::ArpReply);
            let alerts = observe_in(ring, &rules, &mut memory, &event);
            alerts.into_iter().map(|alert| alert.kind).collect::<Vec<_>>()
        };
        let first = kinds("/site-a", 0, A, ip);
        assert_eq!(first.last(), Some(&AlertKind::NewStation));
        assert!(kinds("/site-b", 1, B, ip).contains(&AlertKind::Bogon));
        assert_eq!(kinds("/site-b", 2, B, "10.0.0.1").last(), Some(&AlertKind::NewStation));
        assert_eq!(kinds("/site-a", 3, A, ip), [], "still the only one there");
    }
    let event = event(5, B, ip, Origin::ArpReply);
    let alert = observe_in("/site-a", &rules, &mut TestMemory::default(), &event).remove(0);
    assert_eq!((&*alert.host, &*alert.ring, &*alert.network), ("sensor", "/site-a", "eth0"));
    assert_eq!(alert.to_string(), format!("new device {ip} {B} site-a/eth0"));
    assert_eq!(alert.arpwatch_line(), format!("new device {ip} {B} eth0"));
    let is_of = ["eth0", "site-a/eth0", "sensor/site-a/eth0", "site-b/eth0"]
        .map(|name| alert.is_of_network(name));
    assert_eq!(is_of, [true, true, true, false]);
}
