//! Rogue routers and servers.

use std::net::Ipv6Addr;

use aw_output::NameEntry;
use shm_layout::{NameCounter, NameKind, NameMarks, NameRecord, NameText};

mod dhcp;
mod gateways;
mod meaning;
mod messages;
mod named;
mod owners;
mod routers;
mod storage;

use super::*;
use crate::infrastructure::{InfrastructureMemory, Known, NamedServer, Part, Trust};

const DAY: i64 = 86_400;
/// When the tests begin, and when an interface has learned.
const BEGIN: i64 = 1_800_000_000;
const LATER: i64 = BEGIN + DAY;

const SERVER: &str = "00:08:e1:00:00:01";
const ROUTER: &str = "00:08:e1:00:00:02";
const CLIENT: &str = "00:08:e1:00:00:03";
const ROGUE: &str = "00:08:e1:00:00:66";

/// A memory of routers and servers, too.
#[derive(Default)]
struct Both {
    memory: TestMemory,
    known: BTreeMap<(String, &'static str, String), Known>,
}

impl Memory for Both {
    type Error = Infallible;
    fn station(&mut self, network: &str, ip: IpAddr) -> Result<Station, Infallible> {
        self.memory.station(network, ip)
    }
    fn store_station(
        &mut self,
        network: &str,
        ip: IpAddr,
        state: &Station,
    ) -> Result<(), Infallible> {
        self.memory.store_station(network, ip, state)
    }
    fn device(&mut self, mac: MacAddr) -> Result<Option<Device>, Infallible> {
        self.memory.device(mac)
    }
    fn store_device(&mut self, mac: MacAddr, state: &Device) -> Result<(), Infallible> {
        self.memory.store_device(mac, state)
    }
    fn network(&mut self, network: &str) -> Result<Option<NetworkState>, Infallible> {
        self.memory.network(network)
    }
    fn store_network(&mut self, network: &str, state: &NetworkState) -> Result<(), Infallible> {
        self.memory.store_network(network, state)
    }
}

impl InfrastructureMemory for Both {
    fn known(&mut self, network: &str, part: Part, key: &str) -> Result<Option<Known>, Infallible> {
        Ok(self.known.get(&(network.into(), part.name(), key.into())).cloned())
    }
    fn store_known(
        &mut self,
        network: &str,
        part: Part,
        key: &str,
        known: &Known,
    ) -> Result<(), Infallible> {
        self.known.insert((network.into(), part.name(), key.into()), known.clone());
        Ok(())
    }
    fn macs(
        &mut self,
        network: &str,
        part: Part,
        key: &str,
    ) -> Result<Vec<(MacAddr, Known)>, Infallible> {
        let mac = |of: &str| of.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
        let rows = self.known.iter();
        let rows = rows.filter(|((of, name, _), _)| of == network && *name == part.name());
        Ok(rows.filter_map(|((.., of), known)| Some((mac(of)?, known.clone()))).collect())
    }
    fn keys(&mut self, network: &str, part: Part) -> Result<Vec<String>, Infallible> {
        let keys = self.known.keys().filter(|(of, name, _)| of == network && *name == part.name());
        Ok(keys.map(|(.., key)| key.clone()).collect())
    }
}

/// A network with what was observed in it.
struct Scene {
    rules: Rules,
    memory: Both,
    time: i64,
    /// Whether all devices are learned.
    learning: bool,
    /// How many seconds after their events messages are made.
    late: i64,
}

impl Scene {
    fn new() -> Scene {
        let (rules, memory) = (Rules::default(), Both::default());
        Scene { rules, memory, time: BEGIN, learning: false, late: 0 }
    }

    /// After the learning period, which saw these.
    fn learned(records: &[NameRecord]) -> Scene {
        let mut scene = Scene::new();
        assert_eq!(scene.kinds(records), []);
        scene.time = LATER;
        scene
    }

    fn alerts(&mut self, records: &[NameRecord]) -> Vec<Alert> {
        records.iter().flat_map(|record| self.observe(record, DAY).alerts).collect()
    }

    fn observe(&mut self, record: &NameRecord, period: i64) -> crate::Observed {
        self.time += 1;
        let ring: RingName = "/addrwatch".parse().unwrap();
        let record = NameRecord { time: UnixTime::new(self.time, 0), ..*record };
        let entry = NameEntry { ring: &ring, host: "sensor", record };
        let observed = self.rules.observe_name(&entry, NOW, period, &mut self.memory);
        let mut observed = observed.unwrap_or_else(|never| match never {});
        self.explain(&mut observed.alerts);
        observed
    }

    fn kinds(&mut self, records: &[NameRecord]) -> Vec<AlertKind> {
        self.alerts(records).into_iter().map(|alert| alert.kind).collect()
    }

    /// The alerts of an event, after the rules about gateways.
    fn event(&mut self, mac: &str, ip: &str, origin: Origin) -> Vec<Alert> {
        self.time += 100; // no duplicate
        self.event_now(mac, ip, origin)
    }

    fn event_now(&mut self, mac: &str, ip: &str, origin: Origin) -> Vec<Alert> {
        let ring: RingName = "/addrwatch".parse().unwrap();
        let position = Position { generation: 1, sequence: 0 };
        let event = event(self.time, mac, ip, origin);
        let entry = Entry { ring: &ring, host: "sensor", position, event };
        let observed = self.rules.observe(&entry, NOW, self.learning, &mut self.memory);
        let mut alerts = observed.unwrap_or_else(|never| match never {});
        if self.learning && !self.rules.guards(event.ip()) {
            return Vec::new();
        }
        let Scene { rules, memory, learning, .. } = self;
        let named = rules.name_gateways(&entry, NOW, *learning, &mut alerts, memory);
        named.unwrap_or_else(|never| match never {});
        alerts.retain(|one| one.kind.is_takeover() || one.kind == AlertKind::Broadcast);
        self.explain(&mut alerts);
        alerts
    }

    /// As before a message is made.
    fn explain(&mut self, alerts: &mut [Alert]) {
        // Seconds since the begin.
        let clock = |time: i64| format!("@{}", time - BEGIN);
        for alert in alerts {
            let done = self.rules.explain(alert, (self.time + self.late, &clock), &mut self.memory);
            done.unwrap_or_else(|never| match never {});
        }
    }
}

fn v6(ip: &str) -> Ipv6Addr {
    match ip.parse().unwrap() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

fn record(kind: NameKind, from: &str) -> NameRecord {
    let record = NameRecord::new(kind, UnixTime::new(0, 0), "eth0".parse().unwrap());
    NameRecord { mac: mac(from), sender: mac(from), ..record }
}

/// What a server says to a client.
fn answer(kind: NameKind, from: &str, server: &str) -> NameRecord {
    let (source, destination) = (v6(server), v6("255.255.255.255"));
    let (other, address) = (v6(server), v6("192.0.2.77"));
    NameRecord { mac: mac(CLIENT), other, address, source, destination, ..record(kind, from) }
}

fn offer(from: &str, server: &str) -> NameRecord {
    answer(NameKind::DhcpOffer, from, server)
}

/// What else it names.
fn of_server(kind: NameKind, from: &str, server: &str, ip: &str) -> NameRecord {
    NameRecord { mac: mac(from), address: v6(ip), ..answer(kind, from, server) }
}

/// A client asks this server.
fn request(client: &str, server: &str) -> NameRecord {
    let (other, name) = (v6(server), NameText::cut("printer"));
    NameRecord { other, name, ..record(NameKind::DhcpRequest, client) }
}

fn duid(client: &str, duid: &str) -> NameRecord {
    let detail = NameText::cut(&format!("DUID {duid}"));
    NameRecord { detail, ..record(NameKind::Dhcp6Request, client) }
}

fn router(from: &str, ip: &str, lifetime: u32) -> NameRecord {
    let (address, source) = (v6(ip), v6(ip));
    NameRecord { address, source, lifetime, hops: 64, ..record(NameKind::Router, from) }
}

/// What a router announces beside itself.
fn of_router(kind: NameKind, from: &str, router: &str, ip: &str, prefix: u8) -> NameRecord {
    let (other, address) = (v6(router), v6(ip));
    let (lifetime, preferred, flags) = (600, 600, 0xc0);
    NameRecord { other, address, prefix, lifetime, preferred, flags, ..record(kind, from) }
}

fn redirect(from: &str, router: &str, to: &str, destination: &str) -> NameRecord {
    let (relay, address, other) = (v6(router), v6(to), v6(destination));
    let destination = v6("2001:db8:7::77");
    NameRecord { relay, address, other, destination, ..record(NameKind::Redirect, from) }
}

/// A network with a router and a DHCP server.
fn usual() -> Vec<NameRecord> {
    use NameKind::*;
    vec![
        offer(SERVER, "192.0.2.1"),
        of_server(DhcpRouter, SERVER, "192.0.2.1", "192.0.2.254"),
        of_server(DhcpDns, SERVER, "192.0.2.1", "192.0.2.53"),
        router(ROUTER, "fe80::1", 1800),
        of_router(RouterPrefix, ROUTER, "fe80::1", "2001:db8:7::", 64),
        of_router(RouterDns, ROUTER, "fe80::1", "2001:db8:7::53", 0),
    ]
}

#[test]
fn what_was_learned_is_normal() {
    let mut scene = Scene::learned(&usual());
    for _ in 0..3 {
        assert_eq!(scene.kinds(&usual()), []);
        scene.time += 40 * DAY;
    }
}

/// An interface learns for a time of its own, whatever the VLAN, and the end of that is passed on once.
#[test]
fn an_interface_learns_once() {
    let mut scene = Scene::new();
    let one = request(CLIENT, "192.0.2.1");
    assert!(scene.observe(&one, DAY).alerts.is_empty());
    scene.time = LATER;
    let other = request(CLIENT, "192.0.2.2");
    let observed = scene.observe(&other, DAY);
    assert_eq!(observed.learned.as_deref(), Some("sensor/addrwatch/eth0"));
    assert_eq!(observed.alerts.len(), 1);
    assert!(scene.observe(&one, DAY).learned.is_none());
    // Of another VLAN it is new, and does not learn.
    let tagged = NameRecord { vlan: VlanId::from_tag(7), ..one };
    let [alert] = &*scene.alerts(&[tagged]) else { panic!() };
    assert_eq!((alert.network.as_str(), alert.kind), ("eth0.7", AlertKind::NewDhcpServer));
    // Another interface learns; without a learning time, none does.
    let elsewhere = NameRecord { interface: "eth1".parse().unwrap(), ..other };
    assert!(scene.alerts(&[elsewhere]).is_empty());
    let mut scene = Scene::new();
    let observed = scene.observe(&one, 0);
    assert_eq!((observed.alerts.len(), observed.learned), (1, None));
    // A clock that was not set.
    let mut scene = Scene::new();
    scene.time = 100;
    assert!(scene.alerts(&[one]).is_empty());
    scene.time = BEGIN;
    assert!(scene.alerts(&[other]).is_empty(), "the time begins again");
    scene.time = LATER + 10;
    assert_eq!(scene.kinds(&[request(CLIENT, "192.0.2.3")]), [AlertKind::NewDhcpServer]);
}

/// A flood of one kind sends a few messages in an hour, and neither hides what is certain nor another kind.
#[test]
fn floods() {
    let mut scene = Scene::learned(&usual());
    let address = |number: u32| Ipv4Addr::from(0x0a00_0000 + number).to_string();
    let claims: Vec<_> = (1..500).map(|number| request(CLIENT, &address(number))).collect();
    assert_eq!(scene.alerts(&claims).len(), 5);
    let certain = [offer(ROGUE, "192.0.2.66"), router(ROGUE, "fe80::66", 1800)];
    let kinds = [AlertKind::NewDhcpServer, AlertKind::NewRouter];
    assert_eq!(scene.kinds(&certain), kinds);
    let stubs: Vec<_> =
        (1..500).map(|number| router(ROGUE, &format!("fe80::1:{number}"), 0)).collect();
    assert_eq!(scene.alerts(&stubs).len(), 5);
    assert_eq!(scene.kinds(&[router(ROGUE, "fe80::67", 1800)]), [AlertKind::NewRouter]);
    scene.time += 3600;
    let [alert] = &*scene.alerts(&[request(CLIENT, "192.0.2.99")]) else { panic!() };
    assert!(alert.note.as_deref().unwrap().contains("494 further ones of this kind"), "{alert}");
}

/// An interface learns from when it is captured, not from when an attack begins.
#[test]
fn a_quiet_interface() {
    let mut scene = Scene::new();
    let place = ("sensor", "/addrwatch", "eth0");
    let observe = |scene: &mut Scene, time| {
        let now = UnixTime::new(time, 0);
        let observed = scene.rules.observe_interface(place, now, DAY, &mut scene.memory);
        observed.unwrap_or_else(|never| match never {}).learned
    };
    assert_eq!(observe(&mut scene, BEGIN), None);
    assert_eq!(observe(&mut scene, LATER - 1), None);
    assert_eq!(observe(&mut scene, LATER).as_deref(), Some("sensor/addrwatch/eth0"));
    assert_eq!(observe(&mut scene, LATER + 1), None);
    scene.time = LATER + 1;
    let attack = [offer(ROGUE, "192.0.2.66"), router(ROGUE, "fe80::66", 1800)];
    assert_eq!(scene.kinds(&attack), [AlertKind::NewDhcpServer, AlertKind::NewRouter]);
}

/// What is not read of a known router's or server's message may be there for hosts.
#[test]
fn what_is_not_read() {
    for mark in [NameMarks::INCOMPLETE, NameMarks::BAD_OPTION] {
        let mut scene = Scene::learned(&usual());
        let marked = |record: NameRecord| {
            let mut marks = record.marks;
            marks.set(mark);
            NameRecord { marks, ..record }
        };
        let (advertised, answered) = (marked(usual()[3]), marked(usual()[0]));
        let found = scene.kinds(&[advertised, answered, usual()[3], advertised, answered]);
        assert_eq!(found, [AlertKind::RouterChanged, AlertKind::ForeignDns]);
        assert_eq!(
            Scene::learned(&[&*usual(), &[advertised, answered]].concat())
                .kinds(&[advertised, answered]),
            []
        );
    }
}

/// What was too much is reported at the end of the hour, without another message; a VLAN that learned has limits of its own.
#[test]
fn what_was_not_reported() {
    let tagged = |record: NameRecord| NameRecord { vlan: VlanId::from_tag(7), ..record };
    let learned: Vec<_> = usual().into_iter().map(tagged).collect();
    let mut scene = Scene::learned(&[&*usual(), &learned].concat());
    let claims: Vec<_> =
        (1..9).map(|last| request(CLIENT, &format!("198.51.100.{last}"))).collect();
    assert_eq!(scene.alerts(&claims).len(), 5);
    let in_vlan = tagged(request(CLIENT, "198.51.100.99"));
    assert_eq!(scene.kinds(&[in_vlan]), [AlertKind::NewDhcpServer]);
    let place = ("sensor", "/addrwatch", "eth0");
    let mut due = |time| {
        let now = UnixTime::new(time, 0);
        let observed = scene.rules.observe_interface(place, now, DAY, &mut scene.memory);
        observed.unwrap_or_else(|never| match never {}).alerts
    };
    assert!(due(LATER + 60).is_empty());
    let [alert] = &*due(LATER + 3700) else { panic!() };
    assert!(alert.digest && alert.kind == AlertKind::NewDhcpServer && alert.network == "eth0");
    let note = alert.full_note().unwrap();
    assert!(note.starts_with("3 further ones ") && note.contains("198.51.100.8"), "{note}");
    assert!(due(LATER + 3701).is_empty());
}

/// What is not reported, because there was too much, is reported when it is seen again.
#[test]
fn what_is_not_reported_is_not_stored() {
    let own = router(ROUTER, "fe80::1", 1800);
    let mut scene = Scene::learned(&[own]);
    let forged: Vec<_> = (1..9).map(|number| NameRecord { number, ..own }).collect();
    assert_eq!(scene.alerts(&forged).len(), 5);
    let managed = NameRecord { flags: 0x80, ..own };
    assert_eq!(scene.kinds(&[managed]), []);
    scene.time += 3600;
    assert_eq!(scene.kinds(&[managed, managed]), [AlertKind::RouterChanged]);
    // The same of withdrawals, of which each has another router.
    let all: Vec<_> =
        (1..9).map(|number| router(ROUTER, &format!("fe80::{number}"), 1800)).collect();
    let mut scene = Scene::learned(&all);
    let ended: Vec<_> = all.iter().map(|one| NameRecord { lifetime: 0, ..*one }).collect();
    assert_eq!(scene.alerts(&ended).len(), 5);
    scene.time += 3600;
    assert_eq!(scene.alerts(&ended).len(), 3);
    // A withdrawal has what else is new.
    let mut scene = Scene::learned(&[own]);
    let [alert] = &*scene.alerts(&[NameRecord { lifetime: 0, number: 1280, ..own }]) else {
        panic!()
    };
    assert!(alert.note.as_deref().unwrap().contains("mtu=1280"), "{alert}");
}

/// Claims of made-up clients do not hide what one says that was there before.
#[test]
fn claims_of_known_clients() {
    let mut scene = Scene::learned(&usual());
    scene.time = BEGIN;
    scene.event(CLIENT, "192.0.2.77", Origin::ArpRequest);
    scene.time = LATER + 200;
    let made_up = |number: u8| MacAddr::new([2, 0, 0, 0, 0, number]).to_string();
    let claims: Vec<_> =
        (1..20).map(|number| request(&made_up(number), &format!("198.51.100.{number}"))).collect();
    assert_eq!(scene.alerts(&claims).len(), 5);
    assert_eq!(scene.kinds(&[request(CLIENT, "192.0.2.66")]), [AlertKind::NewDhcpServer]);
    // Nor what is in the digest.
    let name = NameText::cut("http://192.0.2.66/wpad.dat");
    let wpad = of_server(NameKind::DhcpProxy, SERVER, "192.0.2.1", "::");
    assert_eq!(scene.kinds(&[NameRecord { name, ..wpad }]), [AlertKind::NewSetting]);
    // A server that was reported takes no more than half of the places by what it names.
    let mut scene = Scene::learned(&usual());
    assert_eq!(scene.kinds(&[offer(ROGUE, "192.0.2.66")]), [AlertKind::NewDhcpServer]);
    let dns = |number: u8| {
        let ip = format!("198.51.100.{number}");
        of_server(NameKind::DhcpDns, ROGUE, "192.0.2.66", &ip)
    };
    assert_eq!(scene.kinds(&(1..100).map(dns).collect::<Vec<_>>()), []);
    let network = "sensor/addrwatch/eth0";
    let rows = scene.memory.keys(network, Part::Dns).unwrap_or_else(|never| match never {});
    assert_eq!(rows.len(), 32);
}
