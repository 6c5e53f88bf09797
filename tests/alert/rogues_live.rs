//! Rogues, live: collector with `--names`, aw-alert and aw-sqlite run as services at a port of a switch that mirrors nothing, in a
//! network of real servers, routers and clients: a pair of kea, a relay, a server of boot files, keepalived, radvd, avahi, lldpd. What
//! is normal there causes no message, also while its parts fail; a rogue server does.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs;
use std::path::Path;

use aw_tests::alerting::Alert;
use aw_tests::collect::{held, json};
use aw_tests::history::History;
use aw_tests::hub::Hub;
use aw_tests::infrastructure::{
    AVAHI, DHCLIENT, DNSMASQ, Infrastructure, KEA, KEEPALIVED, LLDPD, RADVD, are_installed, cable,
    has_address,
};
use aw_tests::lan::Host;
use aw_tests::rig::{Run, binary, program, run, wait_until};
use aw_tests::ring::Ring;
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;

const SENSOR: usize = 0;
const KEA1: usize = 1;
const KEA2: usize = 2;
const RELAY: usize = 3;
/// Behind the relay.
const FAR: usize = 4;
const ROUTER1: usize = 5;
const ROUTER2: usize = 6;
const PHONE: usize = 7;
const DESK: usize = 8;
const BOOT: usize = 9;
const ROGUE: usize = 10;
const HOSTS: usize = 11;

/// Once when it begins, and once when it is over.
const BLIND: &str = "blind -";

const PREFIX: &str = "prefix 2001:db8:7::/64 { };";
/// The same network with another prefix of its provider, and the end of the first one.
const NEXT_PREFIX: &str = "prefix 2001:db8:8::/64 { }; prefix 2001:db8:7::/64 { AdvPreferredLifetime 0; AdvValidLifetime 7200; };";
const ROGUE_SERVER: &str = "new_dhcp_server 192.0.2.66";
const FAR_SERVER: &str = "198.51.100.1";
/// Servers and routers of the network.
const OWN: [&str; 9] = [
    "192.0.2.9",
    "192.0.2.11",
    "192.0.2.12",
    FAR_SERVER,
    "192.0.2.254",
    "192.0.2.53",
    "fe80::5",
    "fe80::6",
    "2001:db8:7::53",
];
const ALL: [&str; 3] = ["192.0.2.11", "192.0.2.12", FAR_SERVER];

/// What runs in the hosts, and is ended with the test.
struct Servers {
    kea: [Run; 2],
    routers: [Run; 2],
    advertisers: [Run; 2],
    _others: Vec<Run>,
}

struct Scene {
    hub: Hub,
    alert: Alert,
    history: History,
    infrastructure: Infrastructure,
    lease: Cell<u32>,
    lease_time: Cell<u32>,
}

impl Scene {
    fn new() -> Option<Scene> {
        if !are_installed(&[KEA, DNSMASQ, DHCLIENT, KEEPALIVED, RADVD, AVAHI, LLDPD]) {
            return None;
        }
        let macs: Vec<_> = (0..HOSTS).map(|host| format!("00:08:e1:00:00:{host:02x}")).collect();
        let macs: Vec<_> = macs.iter().map(String::as_str).collect();
        let (hub, alert) = (Hub::new(&macs)?, Alert::new());
        // It learns where each MAC is: what is sent to one host does not reach the sensor.
        hub.sensor.ip("link set hub0 type bridge ageing_time 30000");
        // Each message, and in another file when it came.
        alert.config(&(alert.appending_channel() + "burst = 1000\n"));
        let out = alert.path("alerts").display().to_string();
        let script = format!("#!/bin/sh\ndate +%s%N >> {out}.times\nexec cat >> {out}\n");
        fs::write(alert.path("append"), script).unwrap();
        let infrastructure = Infrastructure::new(alert.directory.path());
        let history = History::new();
        let scene = Scene {
            hub,
            alert,
            history,
            infrastructure,
            lease: Cell::new(0),
            lease_time: Cell::new(3600),
        };
        for (host, last) in
            [(KEA1, 11), (KEA2, 12), (RELAY, 3), (ROUTER1, 252), (ROUTER2, 253), (BOOT, 9)]
        {
            scene.host(host).ip(&format!("address add 192.0.2.{last}/24 dev eth0"));
        }
        cable(scene.host(RELAY), scene.host(FAR), "far");
        scene.host(RELAY).ip("address add 198.51.100.3/24 dev far");
        scene.host(FAR).ip("address add 198.51.100.1/24 dev far");
        scene.host(FAR).ip("route add 192.0.2.0/24 via 198.51.100.3");
        scene.host(RELAY).run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        Some(scene)
    }

    fn host(&self, number: usize) -> &Host {
        &self.hub.hosts[number]
    }

    fn mac(&self, number: usize) -> &str {
        &self.host(number).mac
    }

    fn servers(&self) -> Servers {
        let Scene { infrastructure, .. } = self;
        let kea = [self.kea(0), self.kea(1)];
        for server in &kea {
            server.stdout.wait_for("to LOAD-BALANCING state");
        }
        let far = [
            "--interface=far",
            "--dhcp-range=192.0.2.200,192.0.2.220,255.255.255.0,1h",
            "--dhcp-authoritative",
            "--dhcp-option=3,192.0.2.254",
            "--dhcp-option=6,192.0.2.53",
            // Otherwise it is the first one to answer any client.
            "--dhcp-vendorclass=set:behind,far",
            "--dhcp-ignore=tag:!behind",
        ];
        let relay = ["--interface=eth0", "--interface=far", "--dhcp-relay=192.0.2.3,198.51.100.1"];
        let proxy = "--dhcp-range=192.0.2.0,proxy";
        let boot = ["--interface=eth0", proxy, "--pxe-service=x86PC,Boot,pxelinux"];
        Servers {
            kea,
            routers: [self.router(ROUTER1), self.router(ROUTER2)],
            advertisers: [ROUTER1, ROUTER2].map(|host| self.advertiser(host, PREFIX)),
            _others: vec![
                infrastructure.dnsmasq(self.host(FAR), "far", &far),
                infrastructure.dnsmasq(self.host(RELAY), "relay", &relay),
                infrastructure.dnsmasq(self.host(BOOT), "boot", &boot),
                infrastructure.lldpd(self.host(BOOT), "none"),
            ],
        }
    }

    /// One of the pair, with leases of this time.
    fn kea(&self, number: usize) -> Run {
        let host = [KEA1, KEA2][number];
        self.infrastructure.kea(self.host(host), number as u8 + 1, self.lease_time.get())
    }

    fn router(&self, host: usize) -> Run {
        let priority = if host == ROUTER1 { 150 } else { 100 };
        self.infrastructure.keepalived(self.host(host), &format!("router{host}"), priority)
    }

    /// A router of IPv6 that announces these prefixes.
    fn advertiser(&self, host: usize, prefixes: &str) -> Run {
        let address = format!("fe80::{host}");
        let options = format!("{prefixes} RDNSS 2001:db8:7::53 {{ }};");
        self.infrastructure.radvd(self.host(host), &format!("radvd{host}"), &address, &options)
    }

    fn collector(&self) -> Run {
        self.sensor(self.host(SENSOR), &self.alert.ring, "eth0")
    }

    /// At a port that mirrors all others.
    fn mirror(&self, ring: &Ring) -> Run {
        self.sensor(&self.hub.sensor, ring, "hub0")
    }

    fn sensor(&self, host: &Host, ring: &Ring, interface: &str) -> Run {
        let mut collector = host.command(binary("collector"));
        collector.args(["-q", "--names", "--ring", ring.name(), interface]);
        let collector = Run::start(collector);
        collector.stderr.wait_for(&format!("listening on {interface}"));
        collector
    }

    fn alerts(&self) -> Run {
        self.alert.start_with(&["-v", "--learn", "1d"])
    }

    /// Records of the ring of names.
    fn records(&self) -> Vec<Value> {
        let shown = ["--names", "--once", "--format", "json", "--ring", self.alert.ring.name()];
        run(program("aw-stdout", &shown)).ok().stdout.lines().map(json).collect()
    }

    /// Waits for a record of this kind with this value, beyond those that were there.
    fn record(&self, kind: &str, key: &str, value: &str, mut act: impl FnMut()) {
        let count = || {
            let is_it = |record: &&Value| record["kind"] == kind && record[key] == value;
            self.records().iter().filter(is_it).count()
        };
        let before = count();
        wait_until(&format!("{kind} with {key} {value}"), || {
            act();
            count() > before
        });
    }

    /// Lets clients get leases until the sensor has seen that each of these servers was chosen.
    fn lease_from(&self, servers: &[&str]) {
        for server in servers {
            let class = if *server == FAR_SERVER { "far" } else { "phone" };
            self.record("DHCP_REQUEST", "other_ip", server, || self.lease(class));
        }
    }

    /// Gets a lease as another client, of a class. Every second one wants the answers sent to all.
    fn lease(&self, class: &str) {
        let number = self.lease.replace(self.lease.get() + 1);
        let id = number % 16;
        let (id, name) = (format!("0x3d:01{id:012x}"), format!("hostname:phone{number}"));
        let options = ["-a", "-C", "-V", class, "-x", &id, "-x", &name, "-B"];
        let options = &options[..options.len() - number as usize % 2];
        assert!(self.infrastructure.udhcpc(self.host(PHONE), options), "it gets a lease");
    }

    /// One boots from the network: it asks as firmware does.
    fn boot(&self) {
        let number = self.lease.replace(self.lease.get() + 1);
        let id = format!("0x61:00{number:032x}");
        let options = [
            "-B",
            "-V",
            "PXEClient:Arch:00000:UNDI:002001",
            "-x",
            "0x5d:0000",
            "-x",
            "0x5e:010201",
            "-x",
            &id,
        ];
        self.infrastructure.udhcpc(self.host(DESK), &options);
    }

    /// What goes on in the network: leases of all servers, a boot, a workstation, names.
    fn traffic(&self, servers: &[&str]) {
        self.lease_from(servers);
        self.record("DHCP_OFFER", "other_ip", "192.0.2.9", || self.boot());
        let desk = self.infrastructure.dhclient(self.host(DESK), "desk");
        let named = self.infrastructure.avahi(self.host(DESK), "desk");
        named.stderr.wait_for("Server startup complete");
        named.stop();
        desk.stop();
        let mut arping = self.host(DESK).command("busybox");
        arping.args(["arping", "-c", "1", "-I", "eth0", "192.0.2.254"]);
        run(arping);
    }

    /// The router of IPv4 goes, the other one takes over, and it returns.
    fn failover(&self, servers: &mut Servers) {
        stop(&servers.routers[0]);
        has_address(self.host(ROUTER2), "192.0.2.254");
        self.event(ROUTER2);
        servers.routers[0] = self.router(ROUTER1);
        has_address(self.host(ROUTER1), "192.0.2.254");
        self.event(ROUTER1);
    }

    /// Waits until the sensor sees that this host has the router's address; it announces that.
    fn event(&self, host: usize) {
        let mac = self.mac(host);
        wait_until("the router announces its address", || {
            let events = held(&self.alert.ring);
            let last = events.lines().rfind(|line| line.contains(" 192.0.2.254 "));
            last.is_some_and(|line| line.contains(mac))
        });
    }

    /// Lets both learning periods be over.
    fn end_learning(&self) {
        let database = Connection::open(self.alert.path("state/aw-alert.db")).unwrap();
        let updates = [
            "UPDATE infrastructure SET first = first - 86400 WHERE part = 'period'",
            "UPDATE note SET value = value - 86400 WHERE key = 'learns until'",
        ];
        for update in updates {
            assert_eq!(database.execute(update, []).unwrap(), 1, "it has begun");
        }
    }

    /// Kind and address of what was sent alone, without what was learned.
    fn found(&self) -> Vec<String> {
        let all = self.alert.alerts();
        let is_alone = |alert: &&Value| {
            alert["kind"] != "learned" && alert["kind"] != "digest" && alert["digest"] != true
        };
        // What a reported server does next, each once, if it sends that to all hosts: it answers, after a client had named it; it gives a
        // lease. Which of them is part of the first message depends on what arrives first.
        let is_further = |alert: &&Value, begin: &str, end: &str| {
            let note = alert["note"].as_str().unwrap_or_default();
            note.starts_with(begin) && note.contains(end)
        };
        let answers =
            |alert: &&Value| is_further(alert, "it was reported", ", and now it answers: ");
        let gives = |alert: &&Value| {
            is_further(alert, "this server, which was reported", " gave 192.0.2.7")
        };
        for count in [all.iter().filter(answers).count(), all.iter().filter(gives).count()] {
            assert!(count <= 1, "{all:?}");
        }
        let alone = all.iter().filter(is_alone).filter(|one| !answers(one) && !gives(one));
        let text = |alert: &Value, key: &str| match alert[key].as_str() {
            None | Some("") => "-".to_owned(),
            Some(text) => text.to_owned(),
        };
        alone.map(|alert| ["kind", "ip"].map(|key| text(alert, key)).join(" ")).collect()
    }

    /// What was not sent alone, all of which is sent now, is about what the network has, and of a kind that belongs there: a new prefix, and the
    /// first answer of a server that only its clients had named. `expected`: it has lines with these texts.
    fn digest_is_harmless(&self, expected: &[&str]) {
        let config = self.alert.path("alert.toml").display().to_string();
        run(self.alert.command(&["--once", "-c", &config])).ok();
        let all = self.alert.alerts();
        let digests = all.iter().filter(|alert| alert["kind"] == "digest");
        let samples =
            digests.clone().flat_map(|digest| digest["samples"].as_array().expect("some"));
        let count: u64 = digests.filter_map(|digest| digest["count"].as_u64()).sum();
        assert_eq!(count, samples.clone().count() as u64, "it names all");
        let samples = samples.map(|sample| sample.as_str().expect("a text"));
        let samples = samples.map(|sample| sample.split_once(' ').expect("time and text").1);
        let alone = all.iter().filter(|alert| alert["digest"] == true);
        let alone = alone.map(|alert| alert["message"].as_str().expect("a text"));
        let texts: Vec<_> = samples.chain(alone).collect();
        for one in expected {
            assert!(texts.iter().any(|text| text.contains(one)), "{one}: {texts:#?}");
        }
        for text in texts {
            let is_own = OWN.iter().any(|ip| text.split(' ').any(|word| word == *ip));
            let is_change = text.starts_with("router changed ") || text.starts_with("new setting ");
            let is_first = text.contains("first answer") || text.contains(" did not before");
            assert!(is_own && (is_change || is_first), "{text}");
        }
    }

    /// When a message about this was delivered, in nanoseconds.
    fn delivered(&self, kind: &str) -> Option<u64> {
        let times = fs::read_to_string(self.alert.path("alerts.times")).unwrap_or_default();
        let all = self.alert.alerts();
        let place = all.iter().position(|alert| alert["kind"] == kind)?;
        times.lines().nth(place)?.parse().ok()
    }

    fn learn(&self) -> Servers {
        let mut servers = self.servers();
        let alerts = self.alerts();
        alerts.stderr.wait_for("reading ring");
        self.traffic(&ALL);
        for router in [ROUTER1, ROUTER2] {
            self.record("RA", "ip", &format!("fe80::{router}"), || ());
        }
        self.failover(&mut servers);
        alerts.stop().ok();
        let config = self.alert.path("alert.toml").display().to_string();
        run(self.alert.command(&["--once", "--learn", "1d", "-c", &config])).ok();
        assert_eq!(self.found(), [""; 0], "while it learns");
        self.end_learning();
        servers
    }

    /// A rogue server answers, and a client takes it; prints how long it took until the message was there.
    fn rogue(&self, running: &Run) {
        let rogue = self.host(ROGUE);
        rogue.ip("address add 192.0.2.66/24 dev eth0");
        let options =
            ["--interface=eth0", "--dhcp-range=192.0.2.70,192.0.2.80,1h", "--dhcp-authoritative"];
        let server = self.infrastructure.dnsmasq(rogue, "rogue", &options);
        let kind = "new_dhcp_server";
        running.wait_until("the rogue is reported", || {
            if self.delivered(kind).is_none() {
                self.lease("phone");
            }
            self.delivered(kind).is_some()
        });
        self.lease_from(&["192.0.2.66"]); // the client that got its offer may have chosen another server
        server.stop();
        let is_its = |record: &&Value| record["other_ip"] == "192.0.2.66";
        let records = self.records();
        let first = records.iter().find(is_its).expect("it is recorded");
        let part = |key: &str| first[key].as_u64().expect("a number");
        let seen = part("time") * 1_000_000_000 + part("nanoseconds");
        let delivered = self.delivered(kind).expect("it was delivered");
        let took = delivered.checked_sub(seen).expect("a message is about what was seen before it");
        eprintln!("{} of the rogue to message: {} ms", first["kind"], took / 1_000_000);
    }
}

/// Ends a process of which only the value remains.
fn stop(run: &Run) {
    run.signal(Signal::TERM);
    wait_until("it ends", || !Path::new(&format!("/proc/{}/exe", run.id())).exists());
}

/// What fails in a network, and what is changed there on purpose, is no rogue: but a router that withdraws itself, and a sensor that does not
/// run, are reported.
#[test]
fn faults_are_no_rogues() {
    let Some(scene) = Scene::new() else { return };
    let collector = scene.collector();
    let mut servers = scene.learn();
    let running = scene.alerts();
    // A DHCP server crashes, and comes back.
    servers.kea[0].signal(Signal::KILL);
    servers.kea[1].stdout.wait_for("to PARTNER-DOWN state");
    scene.lease_from(&ALL[1..]);
    servers.kea[0] = scene.kea(0);
    servers.kea[0].stdout.wait_for("to LOAD-BALANCING state");
    scene.lease_from(&ALL);
    // Its leases are shorter from now on.
    scene.lease_time.set(600);
    for number in 0..2 {
        stop(&servers.kea[number]);
        servers.kea[number] = scene.kea(number);
    }
    servers.kea.iter().for_each(|server| drop(server.stdout.wait_for("to LOAD-BALANCING state")));
    scene.lease_from(&ALL);
    // A router of IPv6 crashes; the provider gives another prefix.
    servers.advertisers[1].signal(Signal::KILL);
    let prefixes = [(1, ROUTER2), (0, ROUTER1)];
    for (number, host) in prefixes {
        if number == 0 {
            stop(&servers.advertisers[0]); // it withdraws itself
        }
        servers.advertisers[number] = scene.advertiser(host, NEXT_PREFIX);
        scene.record("RA_PREFIX", "ip", "2001:db8:8::", || ());
    }
    scene.failover(&mut servers);
    // aw-alert crashes, and the cable of the sensor is pulled.
    running.kill();
    scene.traffic(&ALL);
    let running = scene.alerts();
    scene.hub.sensor.ip("link set port0 down");
    scene.lease("phone");
    scene.hub.sensor.ip("link set port0 up");
    scene.traffic(&ALL);
    // The sensor crashes.
    collector.kill();
    running.wait_until("the sensor is blind", || scene.found().iter().any(|one| one == BLIND));
    let collector = scene.collector();
    scene.traffic(&ALL);
    scene.rogue(&running);
    running.stop().ok();
    collector.stop().ok();
    let withdrawn = format!("router_withdrawn fe80::{ROUTER1}");
    assert_eq!(scene.found(), [&withdrawn, BLIND, BLIND, ROGUE_SERVER]);
    scene.digest_is_harmless(&["2001:db8:8::/64"]);
}

/// A day without a fault.
#[test]
fn a_rogue_in_a_live_network() {
    let Some(scene) = Scene::new() else { return };
    let collector = scene.collector();
    let history = scene.history.start(&scene.alert.ring, &[]);
    let (all, mirrored) = (Ring::new(), History::new());
    let mirror = [scene.mirror(&all), mirrored.start(&all, &[])];
    let mut servers = scene.learn();
    let running = scene.alerts();
    scene.traffic(&ALL);
    scene.failover(&mut servers);
    scene.rogue(&running);
    running.stop().ok();
    history.stop().ok();
    mirror.into_iter().rev().for_each(|one| drop(one.stop().ok()));
    // Leases of both pools of the pair, and of the rogue server; what a relay forwards is stored as none.
    for ([first, last], is_stored) in
        [([100, 149], true), ([150, 199], true), ([70, 80], true), ([200, 220], false)]
    {
        let leases = format!(
            "SELECT count(*) FROM address_lease WHERE address BETWEEN x'c00002{first:02x}' AND x'c00002{last:02x}'"
        );
        assert_eq!(
            mirrored.value::<i64>(&leases).map(|number| number > 0),
            Some(is_stored),
            "{leases}"
        );
    }
    // All of both rings, and from both.
    let value = |select: &str| scene.history.value::<i64>(select).expect("a number");
    assert_eq!(value("SELECT count(*) * 10 + sum(lost > 0) FROM account"), 20);
    assert!(value("SELECT count(*) FROM claimed_name WHERE name = 'desk'") >= 2, "DHCP and mDNS");
    assert!(value("SELECT count(*) FROM addrwatch WHERE ip_address = '192.0.2.254'") > 0);
    collector.stop().ok();

    assert_eq!(scene.found(), [ROGUE_SERVER]);
    scene.digest_is_harmless(&[]);
}
