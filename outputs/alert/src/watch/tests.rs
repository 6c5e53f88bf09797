use std::{collections::HashMap, convert::Infallible, net::Ipv4Addr};

use shm_layout::{UnixTime, VlanId};

use super::*;

#[derive(Default)]
pub struct Notes {
    stations: HashMap<(String, IpAddr), Station>,
    devices: HashMap<MacAddr, Device>,
}

impl Memory for Notes {
    type Error = Infallible;
    fn station(&mut self, network: &str, ip: IpAddr) -> Result<Station, Infallible> {
        Ok(self.stations.get(&(network.into(), ip)).cloned().unwrap_or_default())
    }
    fn keep_station(&mut self, network: &str, ip: IpAddr, is: &Station) -> Result<(), Infallible> {
        self.stations.insert((network.into(), ip), is.clone());
        Ok(())
    }
    fn device(&mut self, mac: MacAddr) -> Result<Option<Device>, Infallible> {
        Ok(self.devices.get(&mac).cloned())
    }
    fn keep_device(&mut self, mac: MacAddr, is: &Device) -> Result<(), Infallible> {
        self.devices.insert(mac, is.clone());
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

/// The kinds that each event was told as, of those that are told by default.
fn told(rules: &Rules, notes: &mut Notes, events: &[Event]) -> Vec<Vec<Kind>> {
    let hear = |event| rules.hear(event, notes).unwrap_or_else(|never| match never {});
    let kinds = events.iter().map(hear).map(|reports| {
        let kinds = reports.into_iter().map(|report| report.kind);
        kinds.filter(|kind| Kind::DEFAULT.contains(kind)).collect()
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
    let expected = [vec![Kind::NewDevice], vec![], vec![], vec![], vec![Kind::Returned]];
    assert_eq!(told(&Rules::default(), &mut Notes::default(), &events), expected);
}

#[test]
fn in_arpwatchs_dialect_addresses_are_stations() {
    let rules = Rules { dialect: Dialect::Arpwatch, ..Rules::default() };
    let mut notes = Notes::default();
    let mut hear = |event: Event| {
        let reports = rules.hear(&event, &mut notes).unwrap_or_else(|never| match never {});
        reports.iter().map(Report::to_string).collect::<Vec<_>>()
    };
    let line = format!("new station 10.0.0.1 {VRRP} eth0.7");
    let vlan = VlanId::from_tag(7);
    assert_eq!(hear(Event { vlan, ..event(0, VRRP, "10.0.0.1", Origin::ArpReply) }), [line]);
    assert!(hear(event(0, A, "10.0.0.9", Origin::ArpProbe)).is_empty());
    assert!(hear(event(0, A, "fe80::1", Origin::NdAdvertisement)).is_empty());
    assert_eq!(hear(event(0, A, "10.0.0.9", Origin::ArpReply)).len(), 1, "a probe is no station");
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
        event(9001, A, ip, Origin::ArpReply), // told of just now
        event(9002, B, ip, Origin::ArpReply), // but this is more: in turn
        event(13_000, B, ip, Origin::ArpReply),
        event(17_000, A, ip, Origin::ArpProbe),
        event(17_001, B, ip, Origin::ArpReply),
    ];
    let expected = [
        vec![Kind::NewDevice],
        vec![Kind::NewDevice, Kind::Changed],
        vec![Kind::FlipFlop],
        vec![Kind::FlipFlop],
        vec![],
        vec![Kind::Duplicate],
        vec![],
        vec![],
        vec![Kind::Duplicate],
    ];
    assert_eq!(told(&rules, &mut Notes::default(), &events), expected);
}

#[test]
fn classes_that_make_no_noise() {
    let rules = Rules { proxy_arp_addresses: 3, ..Rules::default() };
    let mut notes = Notes::default();
    // A virtual router takes its address back without a word; that another takes it from there is told.
    let ip = "10.0.0.1";
    let moves = [VRRP, A, VRRP, A].map(|mac| event(0, mac, ip, Origin::ArpReply));
    let none: Vec<Kind> = vec![];
    let expected =
        [none.clone(), vec![Kind::NewDevice, Kind::Changed], none.clone(), vec![Kind::Duplicate]];
    assert_eq!(told(&rules, &mut notes, &moves), expected);
    // Proxy ARP: B answers for three addresses, then for one that is another's.
    let claims = ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.0.1", "10.0.0.1"];
    let claims = claims.map(|ip| event(1, B, ip, Origin::ArpReply));
    let before = rules.hear(&claims[0], &mut notes).unwrap();
    assert!(before.iter().all(|report| !report.digest), "not yet");
    let expected = [none.clone(), none.clone(), none.clone(), vec![Kind::Changed], none.clone()];
    assert_eq!(told(&rules, &mut notes, &claims), expected);
    // It waits for the digest, or is not told, or each is.
    let takes = |proxy_arp, notes: &mut Notes| {
        let rules = Rules { proxy_arp, ..rules.clone() };
        let owner = event(100, A, "10.0.0.1", Origin::ArpReply);
        let took = event(8000, B, "10.0.0.1", Origin::ArpReply);
        rules.hear(&owner, notes).unwrap();
        let told = rules.hear(&took, notes).unwrap();
        told.into_iter().map(|report| (report.kind, report.digest)).collect::<Vec<_>>()
    };
    assert_eq!(takes(Policy::Digest, &mut notes), [(Kind::FlipFlop, true)]);
    assert_eq!(takes(Policy::Ignore, &mut notes), []);
    // A phone's made-up MAC waits for the digest; one that has a name does not.
    let phone = event(2, RANDOM, "10.0.0.7", Origin::ArpReply);
    assert!(rules.hear(&phone, &mut notes).unwrap().iter().all(|report| report.digest));
    let known = BTreeMap::from([(RANDOM.parse().unwrap(), "laptop".to_owned())]);
    let rules = Rules { known, ..rules };
    let reports = rules.hear(&phone, &mut Notes::default()).unwrap();
    assert_eq!((reports[0].name.as_deref(), reports[0].digest), (Some("laptop"), false));
}

/// That somebody new has the address is told, however lately another change of it was.
#[test]
fn one_takeover_does_not_hide_the_next() {
    let c = "00:08:e1:00:00:0c";
    let events = [(A, 0), (B, 5000), (c, 6000), (B, 6100), (c, 6200)];
    let events = events.map(|(mac, time)| event(time, mac, "10.0.0.1", Origin::ArpReply));
    let told = told(&Rules::default(), &mut Notes::default(), &events);
    assert_eq!(told[1], [Kind::NewDevice, Kind::Changed]);
    assert_eq!(told[2], [Kind::NewDevice, Kind::Changed]);
    assert_eq!((&told[3], &told[4]), (&vec![Kind::FlipFlop], &vec![]), "to and fro: once an hour");
}

#[test]
fn a_failover_pair_takes_over_in_silence() {
    let pair = vec![A.parse().unwrap(), B.parse().unwrap()];
    let rules = Rules { failovers: vec![pair], ..Rules::default() };
    let c = "00:08:e1:00:00:0c";
    let events = [A, B, A, B, c].map(|mac| event(100, mac, "10.0.0.1", Origin::ArpReply));
    let expected = [
        vec![Kind::NewDevice],
        vec![Kind::NewDevice],
        vec![],
        vec![],
        vec![Kind::NewDevice, Kind::Changed],
    ];
    assert_eq!(told(&rules, &mut Notes::default(), &events), expected);
}

#[test]
fn unknown_once_a_day_silent_and_back() {
    let mac = A.parse().unwrap();
    let rules = Rules {
        known: BTreeMap::from([(mac, "nas".to_owned())]),
        watched: BTreeMap::from([(mac, 600)]),
        ..Rules::default()
    };
    let mut notes = Notes::default();
    let heard = [
        event(0, A, "10.0.0.1", Origin::ArpReply),
        event(86_400, B, "10.0.0.2", Origin::ArpReply),
        event(86_401, B, "10.0.0.2", Origin::ArpReply),
        event(2 * 86_400, B, "10.0.0.2", Origin::ArpReply),
    ];
    let expected = [
        vec![Kind::NewDevice],
        vec![Kind::NewDevice, Kind::UnknownDevice],
        vec![],
        vec![Kind::UnknownDevice],
    ];
    assert_eq!(told(&rules, &mut notes, &heard), expected);
    let mut silent = |now| rules.silent(now, 0, &mut notes).unwrap_or_else(|never| match never {});
    assert!(silent(600).is_empty());
    assert_eq!(
        silent(601)[0].to_string(),
        "silent device  00:08:e1:00:00:0a  [nas]: not heard for 601 s"
    );
    assert!(silent(602).is_empty(), "told once");
    let back = told(&rules, &mut notes, &[event(700, A, "10.0.0.1", Origin::ArpReply)]);
    assert_eq!(back, [[Kind::Back]]);
}
