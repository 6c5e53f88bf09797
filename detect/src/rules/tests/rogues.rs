//! Rogue routers and servers.

use std::net::Ipv6Addr;

use aw_output::NameEntry;
use shm_layout::{NameCounter, NameKind, NameMarks, NameRecord, NameText};

mod meaning;
mod named;

use super::*;
use crate::infrastructure::{InfrastructureMemory, Known, NamedServer, Part, Trust};

mod gateways;
mod owners;

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
}

impl Scene {
    fn new() -> Scene {
        let (rules, memory) = (Rules::default(), Both::default());
        Scene { rules, memory, time: BEGIN, learning: false }
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
        let clock = |time: i64| format!("@{time}");
        for alert in alerts {
            let done = self.rules.explain(alert, &clock, &mut self.memory);
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

/// Seen itself, or by a client's request only; once, with what it does.
#[test]
fn a_new_dhcp_server() {
    for (seen, certain) in
        [(offer(ROGUE, "192.0.2.66"), true), (request(CLIENT, "192.0.2.66"), false)]
    {
        let mut scene = Scene::learned(&usual());
        let [alert] = &*scene.alerts(&[seen]) else { panic!() };
        assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewDhcpServer, "192.0.2.66"));
        assert!(!alert.digest);
        let note = alert.note.as_deref().unwrap();
        match certain {
            true => {
                assert_eq!(alert.mac, ROGUE);
                assert!(note.contains("it offers 192.0.2.77 to 00:08:e1:00:00:03"), "{note}");
            }
            false => {
                assert_eq!(alert.mac, "");
                assert!(note.contains("00:08:e1:00:00:03 (\"printer\") asks it"), "{note}");
                assert!(note.contains("a client can name any server"), "{note}");
            }
        }
        // What it names itself is part of this attack.
        use NameKind::*;
        let attack = [
            answer(DhcpAck, ROGUE, "192.0.2.66"),
            of_server(DhcpRouter, ROGUE, "192.0.2.66", "192.0.2.66"),
            of_server(DhcpDns, ROGUE, "192.0.2.66", "192.0.2.66"),
            request(CLIENT, "192.0.2.66"),
            request(SERVER, "192.0.2.66"),
            seen,
        ];
        assert_eq!(scene.kinds(&attack), [AlertKind::NewDhcpServer], "its first lease");
        assert_eq!(scene.kinds(&attack), []);
        assert_eq!(scene.kinds(&usual()), [], "the others are as before");
    }
    // Its MAC is known from its ARP.
    let mut scene = Scene::learned(&usual());
    scene.event(ROGUE, "192.0.2.66", Origin::ArpRequest);
    assert_eq!(scene.alerts(&[request(CLIENT, "192.0.2.66")])[0].mac, ROGUE);
}

/// What is no rogue server.
#[test]
fn dhcp_without_a_rogue() {
    // A failover pair, of which a client names either one.
    let pair = [offer(SERVER, "192.0.2.1"), offer(ROUTER, "192.0.2.2")];
    let mut scene = Scene::learned(&pair);
    let both = [request(CLIENT, "192.0.2.1"), request(CLIENT, "192.0.2.2"), pair[1], pair[0]];
    assert_eq!(scene.kinds(&both), []);
    // 255.255.255.255 is no server: its packet's source is.
    let none = NameRecord { other: v6("255.255.255.255"), ..offer(SERVER, "192.0.2.1") };
    assert_eq!(scene.kinds(&[none, request(CLIENT, "0.0.0.0")]), []);
    let rogue = NameRecord { other: v6("255.255.255.255"), ..offer(ROGUE, "192.0.2.66") };
    let [alert] = &*scene.alerts(&[rogue, rogue]) else { panic!() };
    assert_eq!((&*alert.ip, &*alert.mac), ("192.0.2.66", ROGUE));
    // On its way to a relay; and what the relay hands on, in the name of the known server, is of the relay's MAC.
    let relay = v6("192.0.2.254");
    let far = offer(ROUTER, "198.51.100.1");
    let way = NameRecord { relay, destination: relay, receiver: mac(ROUTER), ..far };
    let handed = NameRecord { relay, ..far };
    assert_eq!(scene.kinds(&[way]), []);
    let mut scene = Scene::learned(&[request(CLIENT, "198.51.100.1"), handed]);
    assert_eq!(scene.kinds(&[handed, request(CLIENT, "198.51.100.1")]), []);
    // Where only requests were learned: the relay has had its address for a day.
    let mut scene = Scene::new();
    scene.rules.routers = vec![NamedServer::Addresses("192.0.2.254/32".parse().unwrap())];
    scene.event(ROUTER, "192.0.2.254", Origin::ArpReply);
    assert_eq!(scene.kinds(&[request(CLIENT, "198.51.100.1")]), []);
    scene.time = LATER + 200;
    assert_eq!(scene.kinds(&[handed]), []);
    let forged = NameRecord { sender: mac(ROGUE), ..handed };
    assert_eq!(scene.kinds(&[forged, forged]), [AlertKind::NewDhcpServer], "another MAC");
    // Servers that the configuration names.
    let mut scene = Scene::new();
    scene.rules.dhcp_servers = vec![
        NamedServer::Addresses("192.0.2.0/28".parse().unwrap()),
        NamedServer::Duid("00030001020000000001".into()),
    ];
    let named = [request(CLIENT, "192.0.2.2"), duid(CLIENT, "00030001020000000001")];
    assert_eq!(scene.kinds(&[request(CLIENT, "198.51.100.1")]), []);
    scene.time = LATER + 10;
    assert_eq!(scene.kinds(&named), []);
    scene.rules.dhcp_servers.clear();
    assert_eq!(scene.kinds(&named).len(), 2, "without the configuration");
    // A server of boot files that was learned; a new one is reported.
    let pxe = NameRecord { address: Ipv6Addr::UNSPECIFIED, ..offer(SERVER, "192.0.2.9") };
    let mut scene = Scene::learned(&[pxe]);
    assert_eq!(scene.kinds(&[pxe]), []);
    let other = NameRecord { address: Ipv6Addr::UNSPECIFIED, ..offer(ROGUE, "192.0.2.66") };
    let [alert] = &*scene.alerts(&[other]) else { panic!() };
    assert!(alert.note.as_deref().unwrap().contains("without an address"), "{alert}");
    // One that only refuses is no server of boot files.
    let refusal = answer(NameKind::DhcpNak, ROGUE, "192.0.2.67");
    let refusal = NameRecord { address: Ipv6Addr::UNSPECIFIED, ..refusal };
    let [alert] = &*scene.alerts(&[refusal]) else { panic!() };
    let note = alert.note.as_deref().unwrap();
    assert!(note.starts_with("it refuses the address that ") && !note.contains("boot"), "{note}");
}

/// The first answer of a server that the configuration names: there is nothing to be added.
#[test]
fn the_first_answer_of_a_named_dhcp_server() {
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = vec![NamedServer::Addresses("192.0.2.9/32".parse().unwrap())];
    let [alert] = &*scene.alerts(&[offer(SERVER, "192.0.2.9")]) else { panic!() };
    let note = alert.full_note().unwrap();
    assert!(note.contains("nothing is to be done") && !note.contains("dhcp_servers"), "{note}");
    assert!(alert.digest);
}

/// A rogue in the name of a known server.
#[test]
fn a_forged_dhcp_server() {
    let mut scene = Scene::learned(&usual());
    let forged = [
        offer(ROGUE, "192.0.2.1"),
        of_server(NameKind::DhcpDns, ROGUE, "192.0.2.1", "192.0.2.66"),
        offer(ROGUE, "192.0.2.1"),
    ];
    let [alert] = &*scene.alerts(&forged) else { panic!() };
    let expected = (AlertKind::NewDhcpServer, "192.0.2.1", ROGUE, Some(SERVER));
    assert_eq!((alert.kind, &*alert.ip, &*alert.mac, alert.old_mac.as_deref()), expected);
    // One that took the address, which was reported, answers: nothing shows that it is the server.
    let mut scene = Scene::learned(&usual());
    scene.event(SERVER, "192.0.2.1", Origin::ArpReply);
    let [alert] = &*scene.event(ROGUE, "192.0.2.1", Origin::ArpReply) else { panic!() };
    assert_eq!(alert.kind, AlertKind::Changed);
    let again = offer(ROGUE, "192.0.2.1");
    assert_eq!(scene.kinds(&[again, again]), [AlertKind::NewDhcpServer]);
    // A pair that the configuration names.
    let mut scene = Scene::learned(&usual());
    scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROGUE.parse().unwrap()]];
    assert_eq!(scene.kinds(&[offer(ROGUE, "192.0.2.1")]), []);
}

#[test]
fn a_new_dhcpv6_server() {
    let mut scene = Scene::learned(&[duid(CLIENT, "00030001000000000001")]);
    let rogue = duid(CLIENT, "0001000112345678000000000066");
    let [alert] = &*scene.alerts(&[duid(CLIENT, "00030001000000000001"), rogue, rogue]) else {
        panic!()
    };
    assert_eq!((alert.kind, &*alert.mac), (AlertKind::NewDhcpServer, "00:00:00:00:00:66"));
    // One whose server does not contain a MAC.
    let [alert] = &*scene.alerts(&[duid(CLIENT, "0002abcdef")]) else { panic!() };
    assert_eq!((&*alert.mac, &*alert.ip), ("", ""));
}

#[test]
fn a_conflict() {
    let mut scene = Scene::learned(&usual());
    scene.event(ROGUE, "192.0.2.77", Origin::ArpReply);
    let (address, other) = (v6("192.0.2.77"), v6("192.0.2.1"));
    let decline = NameRecord { address, other, ..record(NameKind::DhcpDecline, CLIENT) };
    let [alert] = &*scene.alerts(&[decline, decline]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::DhcpConflict, "192.0.2.77"));
    assert_eq!((&*alert.mac, alert.old_mac.as_deref()), (CLIENT, Some(ROGUE)));
    scene.time += DAY;
    assert_eq!(scene.kinds(&[decline, decline]), [AlertKind::DhcpConflict], "on another day");
}

#[test]
fn a_new_router() {
    let mut scene = Scene::learned(&usual());
    let rogue = router(ROGUE, "fe80::66", 1800);
    let attack = [
        rogue,
        of_router(NameKind::RouterPrefix, ROGUE, "fe80::66", "2001:db8:66::", 64),
        of_router(NameKind::RouterDns, ROGUE, "fe80::66", "2001:db8:66::53", 0),
        NameRecord { lifetime: 0, ..rogue },
        NameRecord { hops: 255, ..rogue },
        rogue,
    ];
    let [alert] = &*scene.alerts(&attack) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip, &*alert.mac), (AlertKind::NewRouter, "fe80::66", ROGUE));
    assert!(!alert.digest && alert.note.as_deref().unwrap().contains("default router for 1800 s"));
    // After a day it is known as others are.
    scene.time += DAY;
    assert_eq!(scene.kinds(&[NameRecord { lifetime: 0, ..rogue }]), [AlertKind::RouterWithdrawn]);
    // What a known server names as router, or for a route.
    let named = of_server(NameKind::DhcpRouter, SERVER, "192.0.2.1", "192.0.2.66");
    let [alert] = &*scene.alerts(&[named, named]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewRouter, "192.0.2.66"));
    let route = of_server(NameKind::DhcpRoute, SERVER, "192.0.2.1", "0.0.0.0");
    let route = NameRecord { relay: v6("192.0.2.67"), prefix: 1, ..route };
    let [alert] = &*scene.alerts(&[route, route]) else { panic!() };
    assert!(alert.note.as_deref().unwrap().contains("as router to "), "{alert}");
    // Hidden from guards and malformed.
    let detail = NameText::cut("RA");
    let (source, reason) = (v6("fe80::67"), Some(NameCounter::Hidden));
    let hidden = NameRecord { detail, source, reason, ..record(NameKind::Refused, ROGUE) };
    let [alert] = &*scene.alerts(&[hidden, hidden]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewRouter, "fe80::67"));
    assert!(alert.note.as_deref().unwrap().contains("(hidden)"), "{alert}");
    // One that the configuration names.
    let mut scene = Scene::learned(&usual());
    scene.rules.routers = vec![NamedServer::Addresses("fe80::66/128".parse().unwrap())];
    assert_eq!(scene.kinds(&[rogue]), []);
}

/// A router of a stub network is in the digest as long as it takes no traffic from others: whatever flag it sets.
#[test]
fn a_stub_router() {
    use NameKind::*;
    for flags in [0, 0x02] {
        let stub = NameRecord { flags, ..router(ROGUE, "fe80::66", 0) };
        let harmless = [
            stub,
            of_router(RouterPrefix, ROGUE, "fe80::66", "fd00:66::", 64),
            of_router(RouterRoute, ROGUE, "fe80::66", "fd00:67::", 64),
            stub,
        ];
        for (harm, kind) in [
            (NameRecord { lifetime: 1800, ..stub }, AlertKind::NewRouter),
            (of_router(RouterRoute, ROGUE, "fe80::66", "::", 0), AlertKind::NewRouter),
            (of_router(RouterRoute, ROGUE, "fe80::66", "fc00::", 7), AlertKind::NewRouter),
            (of_router(RouterRoute, ROGUE, "fe80::66", "fd00:7::", 64), AlertKind::NewRouter),
            (of_router(RouterPrefix, ROGUE, "fe80::66", "2001:db8:66::", 64), AlertKind::NewRouter),
            (of_router(RouterNat64, ROGUE, "fe80::66", "64:ff9b::", 96), AlertKind::NewRouter),
            (of_router(RouterDns, ROGUE, "fe80::66", "fd00:66::53", 0), AlertKind::ForeignDns),
        ] {
            let own = of_router(RouterPrefix, ROUTER, "fe80::1", "fd00:7::", 56);
            let mut scene = Scene::learned(&[&*usual(), &[own]].concat());
            let [alert] = &*scene.alerts(&harmless) else { panic!() };
            assert!(alert.digest && alert.kind == AlertKind::NewRouter, "{alert}");
            assert_eq!(alert.note.as_deref().unwrap().contains("stub network"), flags != 0);
            let [alert] = &*scene.alerts(&[harm, harm]) else { panic!("{harm:?}") };
            assert!(!alert.digest && alert.kind == kind, "{alert}");
        }
    }
}

#[test]
fn a_router_that_changes() {
    use NameKind::*;
    let own = router(ROUTER, "fe80::1", 1800);
    for (change, what) in [
        (NameRecord { flags: 0x80, ..own }, "now: addresses by DHCPv6; before: not"),
        (NameRecord { hops: 255, ..own }, "hop_limit=255, before 64"),
        (NameRecord { number: 1280, ..own }, "mtu=1280"),
        (of_router(RouterRoute, ROUTER, "fe80::1", "::", 0), "route ::/0"),
        (of_router(RouterNat64, ROUTER, "fe80::1", "64:ff9b::", 96), "NAT64 prefix 64:ff9b::/96"),
    ] {
        let mut scene = Scene::learned(&usual());
        let [alert] = &*scene.alerts(&[change, own, change]) else { panic!("{change:?}") };
        assert!(alert.kind == AlertKind::RouterChanged && !alert.digest);
        assert!(alert.note.as_deref().unwrap().contains(what), "{alert}");
    }
    let mut scene = Scene::learned(&usual());
    // What it leaves to hosts, and lifetimes that count down, are no changes (RFC 4861, 6.2.7).
    let unset = NameRecord { hops: 0, lifetime: 1799, ..own };
    let prefix = of_router(RouterPrefix, ROUTER, "fe80::1", "2001:db8:7::", 64);
    let later = NameRecord { lifetime: 599, preferred: 299, ..prefix };
    assert_eq!(scene.kinds(&[unset, own, later]), []);
    // A new prefix, as some providers give each day, is in the digest.
    let other = NameRecord { address: v6("2001:db8:8::"), ..prefix };
    let ended = NameRecord { preferred: 0, ..prefix };
    let alerts = scene.alerts(&[other, ended, other]);
    assert!(alerts.len() == 2 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
}

/// Once for each withdrawal, and once in `quiet` seconds if another host forges it.
#[test]
fn a_router_that_is_withdrawn() {
    let own = router(ROUTER, "fe80::1", 1800);
    let last = NameRecord { lifetime: 0, ..own };
    let mut scene = Scene::learned(&[own]);
    let [alert] = &*scene.alerts(&[last, last]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::RouterWithdrawn, "fe80::1"));
    assert!(alert.held >= DAY);
    assert_eq!(scene.kinds(&[own, last, own, last]), []);
    scene.time += 3600;
    assert_eq!(scene.kinds(&[last, own, last]), [AlertKind::RouterWithdrawn]);
}

#[test]
fn a_foreign_dns_server() {
    let mut scene = Scene::learned(&usual());
    let of_router = of_router(NameKind::RouterDns, ROUTER, "fe80::1", "2001:db8:66::53", 0);
    let of_server = of_server(NameKind::DhcpDns, SERVER, "192.0.2.1", "192.0.2.66");
    let ended = NameRecord { lifetime: 0, address: v6("2001:db8::54"), ..of_router };
    let alerts = scene.alerts(&[ended, of_router, of_server, of_router, of_server]);
    let found: Vec<_> = alerts.iter().map(|alert| (alert.kind, &*alert.ip)).collect();
    let kind = AlertKind::ForeignDns;
    assert_eq!(found, [(kind, "2001:db8:66::53"), (kind, "192.0.2.66")]);
    let mut scene = Scene::learned(&usual());
    scene.rules.dns_servers = ["2001:db8:66::/48", "192.0.2.66/32"]
        .map(|block| NamedServer::Addresses(block.parse().unwrap()))
        .into();
    assert_eq!(scene.kinds(&[of_router, of_server]), []);
}

#[test]
fn a_redirect() {
    let to_other = redirect(ROUTER, "fe80::1", "fe80::2", "2001:db8:9::1");
    let learned = [&*usual(), &[router(SERVER, "fe80::2", 1800)]].concat();
    let mut scene = Scene::learned(&learned);
    let direct = redirect(ROUTER, "fe80::1", "2001:db8:7::9", "2001:db8:7::9");
    assert_eq!(
        scene.kinds(&[to_other, direct]),
        [],
        "a known router, to one, or to the host itself"
    );
    for attack in [
        redirect(ROGUE, "fe80::66", "fe80::66", "2001:db8:9::1"),
        redirect(ROGUE, "fe80::1", "fe80::2", "2001:db8:9::1"),
        redirect(ROUTER, "fe80::1", "fe80::66", "2001:db8:9::1"),
        NameRecord { target: mac(ROGUE), ..direct },
        NameRecord { target: mac(ROGUE), ..to_other },
    ] {
        let mut scene = Scene::learned(&learned);
        let again = NameRecord { other: v6("2001:db8:9::2"), ..attack };
        let again = if attack.address == attack.other { attack } else { again };
        let [alert] = &*scene.alerts(&[attack, again]) else { panic!("{attack:?}") };
        assert_eq!(alert.kind, AlertKind::Redirect);
    }
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

/// The database: what is known survives, and a flood displaces nothing that was learned.
#[test]
fn infrastructure_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let open = || crate::SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
    let learned = Known {
        mac: Some(mac(ROUTER)),
        number: 1,
        further: 2,
        text: "flags=0x00".into(),
        ..Known::new(5, Trust::Learned)
    };
    let mut memory = open();
    let store = |memory: &mut crate::SqliteMemory, network: &str, key: &str, known: &Known| {
        memory.store_known(network, Part::Router, key, known).unwrap();
    };
    store(&mut memory, "s/r/eth0", "fe80::1", &learned);
    store(&mut memory, "s/r/eth0.7", "fe80::2", &learned);
    store(&mut memory, "s/r/eth01", "fe80::3", &learned);
    for number in 0..500 {
        let reported = Known::new(number, Trust::Reported);
        store(&mut memory, "s/r/eth0", &format!("fe80::1:{number}"), &reported);
    }
    memory.commit(std::time::Instant::now()).unwrap();
    drop(memory);
    let mut memory = open();
    assert_eq!(memory.known("s/r/eth0", Part::Router, "fe80::1").unwrap(), Some(learned.clone()));
    assert_eq!(memory.known("s/r/eth0", Part::Dns, "fe80::1").unwrap(), None);
    assert_eq!(memory.keys("s/r/eth0", Part::Router).unwrap().len(), 64);
    let newest = memory.known("s/r/eth0", Part::Router, "fe80::1:499").unwrap().unwrap();
    assert_eq!((newest.trust, newest.first), (Trust::Reported, 499));
    let found = memory.learned_infrastructure("s/r/eth0").unwrap();
    let found: Vec<_> = found.iter().map(|(network, _, key, _)| (&**network, &**key)).collect();
    assert_eq!(found, [("s/r/eth0", "fe80::1"), ("s/r/eth0.7", "fe80::2")]);
    // All of a part are learned: further ones are not stored.
    let long = Known { last: 5 + 3600, ..learned.clone() };
    for number in 0..100 {
        store(&mut memory, "s/r/eth9", &format!("fe80::1:{number}"), &long);
    }
    assert_eq!(memory.keys("s/r/eth9", Part::Router).unwrap().len(), 64);
    assert_eq!(memory.known("s/r/eth9", Part::Router, "fe80::1:99").unwrap(), None);
    // What was learned and seen for less than an hour only makes room for what is learned, and for others a day later.
    let has = |memory: &mut crate::SqliteMemory, key: &str| {
        memory.known("s/r/eth8", Part::Router, key).unwrap().is_some()
    };
    store(&mut memory, "s/r/eth8", "fe80::1", &long);
    for number in 0..100 {
        store(&mut memory, "s/r/eth8", &format!("fe80::1:{number}"), &learned);
    }
    assert!(has(&mut memory, "fe80::1") && has(&mut memory, "fe80::1:99"));
    for (time, is_stored) in [(5 + DAY - 1, false), (5 + DAY, true)] {
        store(&mut memory, "s/r/eth8", "fe80::2", &Known::new(time, Trust::Reported));
        assert_eq!(has(&mut memory, "fe80::2"), is_stored);
    }
    assert!(has(&mut memory, "fe80::1"));
}

/// An identifier that no host can have is what a client then asks, and nothing else is seen of that server.
#[test]
fn a_server_without_a_usable_address() {
    for server in ["255.255.255.255", "127.0.0.1", "0.1.2.3", "224.0.0.1"] {
        let claim = request(CLIENT, server);
        let mut scene = Scene::learned(&usual());
        let [alert] = &*scene.alerts(&[claim, claim]) else { panic!("{server}") };
        assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewDhcpServer, server));
        let mut scene = Scene::learned(&[claim]);
        assert_eq!(scene.kinds(&[claim]), []);
    }
}

/// A relay's address in an answer to a client, or to all, hides nothing.
#[test]
fn an_answer_that_looks_forwarded() {
    for receiver in ["ff:ff:ff:ff:ff:ff", CLIENT, "00:00:00:00:00:00"] {
        let (relay, receiver) = (v6("192.0.2.77"), mac(receiver));
        let answer = offer(ROGUE, "192.0.2.66");
        let answer = NameRecord { relay, destination: relay, receiver, ..answer };
        let mut scene = Scene::learned(&usual());
        assert_eq!(scene.kinds(&[answer]), [AlertKind::NewDhcpServer], "{receiver}");
    }
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

/// A known router's redirect to the destination itself is right on this link only.
#[test]
fn a_redirect_off_this_link() {
    let mut scene = Scene::learned(&usual());
    let far = redirect(ROUTER, "fe80::1", "2001:db8:9::1", "2001:db8:9::1");
    assert_eq!(scene.kinds(&[far, far]), [AlertKind::Redirect]);
    let near = redirect(ROUTER, "fe80::1", "2001:db8:7::9", "2001:db8:7::9");
    assert_eq!(scene.kinds(&[near]), []);
    // No learning period makes one normal.
    let attack = redirect(ROGUE, "fe80::66", "fe80::66", "2001:db8:9::1");
    assert_eq!(Scene::new().kinds(&[attack, attack]), [AlertKind::Redirect]);
}

/// The first answer in the name of a server that only requests or the configuration named is in the digest, with what it names.
#[test]
fn a_first_answer() {
    let mut named = Scene::learned(&[router(ROUTER, "fe80::1", 1800)]);
    named.rules.dhcp_servers = vec![NamedServer::Addresses("192.0.2.1/32".parse().unwrap())];
    let asked = Scene::learned(&[request(CLIENT, "192.0.2.1")]);
    for mut scene in [named, asked] {
        let first = NameRecord { message: 7, ..offer(SERVER, "192.0.2.1") };
        let dns = of_server(NameKind::DhcpDns, SERVER, "192.0.2.1", "192.0.2.53");
        let dns = NameRecord { message: 7, ..dns };
        let alerts = scene.alerts(&[first, dns, first, dns]);
        let found: Vec<_> = alerts.iter().map(|alert| (alert.kind, alert.digest)).collect();
        assert_eq!(found, [(AlertKind::NewSetting, true); 2]);
        let later = of_server(NameKind::DhcpDns, SERVER, "192.0.2.1", "192.0.2.66");
        let [alert] = &*scene.alerts(&[later]) else { panic!() };
        assert!(alert.kind == AlertKind::ForeignDns && !alert.digest);
        let [alert] = &*scene.alerts(&[offer(ROGUE, "192.0.2.1")]) else { panic!() };
        assert!(alert.kind == AlertKind::NewDhcpServer && !alert.digest, "another MAC");
    }
    // An own address as relay, and a claim of the address of a server that is behind a relay, do not make it the server.
    let mut scene = Scene::learned(&[request(CLIENT, "198.51.100.1")]);
    scene.event(ROGUE, "192.0.2.66", Origin::ArpReply);
    scene.event(ROGUE, "198.51.100.1", Origin::ArpReply);
    scene.time += 2 * DAY;
    scene.event(ROGUE, "192.0.2.66", Origin::ArpReply);
    let relayed = NameRecord { relay: v6("192.0.2.66"), ..offer(ROGUE, "198.51.100.9") };
    assert_eq!(scene.kinds(&[request(CLIENT, "198.51.100.9")]), [AlertKind::NewDhcpServer]);
    scene.time += 2 * DAY;
    assert_eq!(scene.kinds(&[relayed]), [AlertKind::NewDhcpServer]);
    let mut scene = Scene::learned(&[request(CLIENT, "198.51.100.1")]);
    scene.event(ROGUE, "198.51.100.1", Origin::ArpReply);
    assert_eq!(scene.kinds(&[offer(ROGUE, "198.51.100.1")]), [AlertKind::NewSetting]);
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

/// Claims of a server that the configuration names, in made-up VLANs, leave nothing behind; periods and limits have a place always.
#[test]
fn what_is_named_displaces_nothing() {
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = vec![NamedServer::Addresses("198.51.100.0/24".parse().unwrap())];
    let before = scene.memory.known.len();
    for vlan in 1..100 {
        let claim = NameRecord { vlan: VlanId::from_tag(vlan), ..request(CLIENT, "198.51.100.1") };
        assert_eq!(scene.kinds(&[claim]), []);
    }
    assert_eq!(scene.memory.known.len(), before);
    let directory = tempfile::tempdir().unwrap();
    let mut memory = crate::SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
    memory.max_rows = 10;
    let learned = Known { last: DAY, ..Known::new(5, Trust::Learned) };
    for number in 0..20 {
        memory.store_known(&format!("s/r/eth{number}"), Part::Router, "fe80::1", &learned).unwrap();
    }
    assert_eq!(memory.known("s/r/eth19", Part::Router, "fe80::1").unwrap(), None);
    memory.store_known("s/r/eth19", Part::Period, "", &learned).unwrap();
    assert_eq!(memory.known("s/r/eth19", Part::Period, "").unwrap(), Some(learned));
}

/// Of a rogue with the identifier and the MAC of the true server, only what it sets is another one.
#[test]
fn what_a_dhcp_server_sets() {
    use NameKind::*;
    let text = |kind, text: &str| NameRecord {
        name: NameText::cut(text),
        ..of_server(kind, SERVER, "192.0.2.1", "::")
    };
    let boot = |next: &str, file: &str| NameRecord {
        detail: NameText::cut(file),
        ..of_server(DhcpBoot, SERVER, "192.0.2.1", next)
    };
    let own = [
        text(DhcpDomain, "example.org"),
        text(DhcpPortal, "https://192.0.2.9/"),
        text(DhcpProxy, "http://192.0.2.9/wpad.dat"),
        boot("::", "pxelinux.0"),
    ];
    let boot_file = own[3];
    let learned = [&*usual(), &own].concat();
    for (set, what) in [
        (
            text(DhcpProxy, "http://192.0.2.66/wpad.dat"),
            "the proxy configuration \"http://192.0.2.66/",
        ),
        (text(DhcpPortal, "https://192.0.2.66/"), "the captive portal "),
        (boot("192.0.2.66", "pxelinux.0"), "the boot server 192.0.2.66"),
        (boot("::", "http://192.0.2.66/x"), "the boot server \"http://192.0.2.66/x\""),
        (
            NameRecord { name: NameText::cut("boot.evil"), ..boot("::", "") },
            "the boot server \"boot.",
        ),
    ] {
        let mut scene = Scene::learned(&learned);
        assert_eq!(scene.kinds(&own), []);
        let [alert] = &*scene.alerts(&[set, set]) else { panic!("{what}") };
        assert!(!alert.digest && alert.kind == AlertKind::NewDhcpServer, "{alert}");
        assert_eq!((&*alert.ip, &*alert.mac), ("192.0.2.1", SERVER));
        assert!(alert.note.as_deref().unwrap().contains(what), "{alert}");
        // Of a new server, it is part of what was reported.
        let of_rogue = NameRecord { other: v6("192.0.2.66"), sender: mac(ROGUE), ..set };
        let mut scene = Scene::learned(&learned);
        assert_eq!(
            scene.kinds(&[offer(ROGUE, "192.0.2.66"), of_rogue]),
            [AlertKind::NewDhcpServer]
        );
    }
    // The first of a kind comes with the first client that asks for it; and of domains there are several.
    let first = [
        text(DhcpProxy, "http://192.0.2.9/wpad.dat"),
        boot("192.0.2.9", "pxelinux.0"),
        text(DhcpDomain, "example.org"),
        text(DhcpDomain, "example.net"),
    ];
    let mut scene = Scene::learned(&usual());
    let alerts = scene.alerts(&[first, first].concat());
    assert!(alerts.len() == 4 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
    // Another file of the same server: machines of another kind boot, too.
    let mut scene = Scene::learned(&learned);
    let other = boot("::", "bootx64.efi");
    let [alert] = &*scene.alerts(&[other, other, boot_file]) else { panic!() };
    assert!(
        alert.digest && alert.note.as_deref().unwrap().contains("the boot file \"bootx64.efi\"")
    );
}

/// The header of a router that is no default router: hosts apply it nevertheless.
#[test]
fn a_header_that_harms() {
    let stub = |change: fn(&mut NameRecord)| {
        let mut record = NameRecord { hops: 0, ..router(ROGUE, "fe80::66", 0) };
        change(&mut record);
        record
    };
    let known = NameRecord { flags: 0x40, number: 1492, ..router(ROUTER, "fe80::1", 1800) };
    for (record, is_harmless) in [
        (stub(|_| {}), true),
        (stub(|one| one.hops = 64), true),
        (stub(|one| one.hops = 255), true),
        (stub(|one| one.number = 1500), true),
        (stub(|one| one.number = 1492), true), // as the known router
        (stub(|one| one.flags = 0x42), true),  // the same
        (stub(|one| one.hops = 1), false),
        (stub(|one| one.number = 1280), false),
        (stub(|one| one.flags = 0x80), false),
        (stub(|one| one.preferred = 1), false),
        (stub(|one| one.id = 1), false),
        (stub(|one| one.marks.set(NameMarks::INCOMPLETE)), false),
    ] {
        // At once, and after it was harmless.
        for before in [None, Some(stub(|_| {}))] {
            let mut scene = Scene::learned(&[known]);
            let first = before.map_or(0, |before| scene.alerts(&[before]).len());
            let alerts = scene.alerts(&[record, record]);
            let alone = alerts.iter().filter(|alert| !alert.digest).count();
            assert_eq!(alone, usize::from(!is_harmless), "{record:?} {alerts:?}");
            assert!(alerts.iter().all(|alert| alert.kind == AlertKind::NewRouter));
            assert_eq!(alerts.len() + first, if is_harmless || first == 0 { 1 } else { 2 });
        }
    }
}

/// A prefix of others that a stub router announces or ends.
#[test]
fn a_prefix_of_others() {
    use NameKind::RouterPrefix;
    let stub = |ip: &str| router(ROGUE, ip, 0);
    let own = [
        router(ROUTER, "fe80::1", 1800),
        of_router(RouterPrefix, ROUTER, "fe80::1", "2001:db8:7::", 64),
        of_router(RouterPrefix, ROUTER, "fe80::1", "fd00:7::", 64),
        // A border router of a stub network, and its prefix.
        router(SERVER, "fe80::2", 0),
        of_router(RouterPrefix, SERVER, "fe80::2", "fd00:8::", 64),
    ];
    let prefix = |ip: &str| of_router(RouterPrefix, ROGUE, "fe80::66", ip, 64);
    let ended = |ip: &str| NameRecord { lifetime: 0, preferred: 0, ..prefix(ip) };
    for (record, is_harmless) in [
        (ended("2001:db8:7::"), false),
        (ended("fd00:7::"), false),
        (ended("2001:db8:9::"), false), // which others may have had
        (ended("fd00:8::"), false),
        (NameRecord { preferred: 0, ..prefix("fd00:7::") }, false),
        (prefix("fd00:7::"), false),
        (prefix("fd00:8::"), true), // another border router of that network
        (NameRecord { preferred: 0, ..prefix("fd00:8::") }, false),
        (prefix("fd00:9::"), true),
    ] {
        let mut scene = Scene::learned(&own);
        assert_eq!(scene.kinds(&[stub("fe80::66")]), [AlertKind::NewRouter]);
        let alerts = scene.alerts(&[record, record]);
        assert_eq!(alerts.len(), usize::from(!is_harmless), "{record:?} {alerts:?}");
        assert!(alerts.iter().all(|alert| !alert.digest));
    }
}

/// A router that was none of the default ones becomes one, in its own name and MAC.
#[test]
fn a_router_that_becomes_a_default_router() {
    let stub = router(SERVER, "fe80::2", 0);
    let mut scene = Scene::learned(&[&*usual(), &[stub]].concat());
    let used = NameRecord { lifetime: 1800, ..stub };
    let [alert] = &*scene.alerts(&[used, used]) else { panic!() };
    assert!(!alert.digest && alert.kind == AlertKind::RouterChanged, "{alert}");
    assert!(alert.note.as_deref().unwrap().contains("a default router, for 1800 s"), "{alert}");
    // One that was withdrawn comes back.
    let mut scene = Scene::learned(&usual());
    let own = usual()[3];
    let last = NameRecord { lifetime: 0, ..own };
    assert_eq!(scene.kinds(&[last, own]), [AlertKind::RouterWithdrawn]);
}

/// A stub that announces any number of prefixes takes no place of others, and cannot end theirs then.
#[test]
fn prefixes_without_number() {
    use NameKind::RouterPrefix;
    let prefix = |ip: &str| of_router(RouterPrefix, ROGUE, "fe80::66", ip, 64);
    let mut scene = Scene::learned(&usual());
    assert_eq!(scene.kinds(&[router(ROGUE, "fe80::66", 0)]), [AlertKind::NewRouter]);
    let many: Vec<_> = (0..100).map(|number| prefix(&format!("fd00:{number}::"))).collect();
    assert_eq!(scene.kinds(&many), []);
    let own = "fe80::66 ";
    let stored = scene.memory.known.keys().filter(|(.., key)| key.starts_with(own)).count();
    assert!(stored < 20, "{stored}");
    let ended = NameRecord { lifetime: 0, preferred: 0, ..prefix("2001:db8:7::") };
    let [alert] = &*scene.alerts(&[ended]) else { panic!() };
    assert!(!alert.digest && alert.kind == AlertKind::NewRouter, "{alert}");
}

/// A router with a provider's daily prefix has another route each day; a resolver that announces itself is started again.
#[test]
fn daily_changes() {
    use NameKind::*;
    let prefix = |ip: &str| of_router(RouterPrefix, ROUTER, "fe80::1", ip, 64);
    let route = |ip: &str| of_router(RouterRoute, ROUTER, "fe80::1", ip, 56);
    let mut scene = Scene::learned(&[&*usual(), &[route("2001:db8:7::")]].concat());
    let ended = NameRecord { lifetime: 0, ..route("2001:db8:7::") };
    let alerts = scene.alerts(&[prefix("2001:db8:8::"), route("2001:db8:8::"), ended]);
    assert!(alerts.len() == 3 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
    let resolver = router(SERVER, "fe80::53", 0);
    let dns = of_router(RouterDns, SERVER, "fe80::53", "fd00::53", 0);
    let mut scene = Scene::learned(&[&*usual(), &[resolver, dns]].concat());
    let alerts = scene.alerts(&[NameRecord { lifetime: 0, ..dns }, dns]);
    assert!(alerts.iter().all(|alert| alert.digest), "{alerts:?}");
}

/// What a router takes back: once; not if it withdraws itself, nor what was not there.
#[test]
fn a_part_that_is_withdrawn() {
    use NameKind::*;
    let own = router(ROUTER, "fe80::1", 1800);
    let domain = of_router(RouterDomain, ROUTER, "fe80::1", "::", 0);
    let parts = [
        (
            of_router(RouterDns, ROUTER, "fe80::1", "2001:db8:7::53", 0),
            "no longer DNS server 2001:",
        ),
        (of_router(RouterRoute, ROUTER, "fe80::1", "2001:db8:9::", 48), "no longer route 2001:"),
        (of_router(RouterNat64, ROUTER, "fe80::1", "64:ff9b::", 96), "no longer NAT64 prefix "),
        (NameRecord { name: NameText::cut("example.org"), ..domain }, "no longer search domain "),
    ];
    let preferred = NameRecord { flags: 0x08, ..parts[1].0 };
    let learned: Vec<_> = [own, preferred].into_iter().chain(parts.map(|(part, _)| part)).collect();
    let ended = |part: &NameRecord| NameRecord { lifetime: 0, flags: 0, ..*part };
    for (part, what) in &parts {
        let mut scene = Scene::learned(&learned);
        let [alert] = &*scene.alerts(&[ended(part), ended(part)]) else { panic!("{what}") };
        assert!(!alert.digest && alert.kind == AlertKind::RouterChanged, "{alert}");
        assert!(alert.note.as_deref().unwrap().contains(what), "{alert}");
        assert_eq!(scene.kinds(&[*part, ended(part), *part]), [], "within an hour");
        scene.time += 3600;
        assert_eq!(scene.kinds(&[ended(part)]), [AlertKind::RouterChanged]);
        // It goes itself.
        let mut scene = Scene::learned(&learned);
        let last = NameRecord { lifetime: 0, ..own };
        assert_eq!(scene.kinds(&[last, ended(part)]), [AlertKind::RouterWithdrawn]);
        // Not of another MAC, and not of what was not known.
        let mut scene = Scene::learned(&[own]);
        assert_eq!(scene.kinds(&[ended(part)]), []);
        let forged = NameRecord { sender: mac(ROGUE), mac: mac(ROGUE), ..ended(part) };
        assert_eq!(Scene::learned(&learned).kinds(&[forged]), []);
    }
}

/// A border router of a stub network that was learned: its routes are in the digest.
#[test]
fn a_known_stub_router() {
    use NameKind::*;
    let stub = router(SERVER, "fe80::2", 0);
    let route = |ip: &str| of_router(RouterRoute, SERVER, "fe80::2", ip, 64);
    let mut scene = Scene::learned(&[&*usual(), &[stub, route("fd00:8::")]].concat());
    let ended = NameRecord { lifetime: 0, ..route("fd00:8::") };
    let alerts = scene.alerts(&[route("fd00:9::"), ended]);
    assert!(alerts.len() == 2 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
    let [alert] = &*scene.alerts(&[route("2001:db8:9::")]) else { panic!() };
    assert!(!alert.digest && alert.kind == AlertKind::RouterChanged);
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
