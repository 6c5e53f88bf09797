//! What a switch keeps from the sensor's port: ARP broadcasts, and Neighbor Discovery where it snoops multicast. A bridge of Linux does both.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

use aw_tests::alerting::Alert;
use aw_tests::clock::{Clock, library};
use aw_tests::feed::publish;
use aw_tests::history::History;
use aw_tests::hub::Hub;
use aw_tests::mosquitto::{Mosquitto, Sent};
use aw_tests::rig::{Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::tracker::Tracking;
use aw_tests::web::Server;
use serde_json::Value;
use shm_layout::{
    CaptureState, Counter, MAX_NETWORKS, NeighborView, UnixTime, VlanId, Writer, WriterOptions,
};

const MACS: [&str; 5] = [
    "00:08:e1:00:00:10",
    "00:08:e1:00:00:11",
    "00:08:e1:00:00:12",
    "00:08:e1:00:00:13",
    "00:08:e1:00:00:14",
];

/// A switch with a sensor and four hosts at its ports.
struct Scene {
    hub: Hub,
    alert: Alert,
}

impl Scene {
    fn new() -> Option<Scene> {
        let (hub, alert) = (Hub::new(&MACS)?, Alert::new());
        for (host, last) in hub.hosts.iter().zip(10..) {
            host.ip(&format!("address add 192.0.2.{last}/24 dev eth0"));
        }
        alert.config(&(alert.appending_channel() + "kinds = [\"blind\"]\nburst = 100\n"));
        Some(Scene { hub, alert })
    }

    /// The sensor's collector.
    fn collector(&self, options: &[&str], prepare: impl FnOnce(&mut Command)) -> Run {
        let mut collector = self.hub.hosts[0].command(binary("collector"));
        collector.args(["-q", "--ring", self.alert.ring.name(), "eth0"]).args(options);
        prepare(&mut collector);
        let collector = Run::start(collector);
        collector.stderr.wait_for("listening on eth0");
        collector
    }

    /// Hosts look for an address each.
    fn ask(&self, hosts: &[(usize, u8)]) {
        for (host, last) in hosts {
            let host = &self.hub.hosts[*host];
            host.ip("neighbor flush dev eth0");
            let mut ping = host.command("busybox");
            ping.args(["ping", "-c", "1", "-W", "1", &format!("192.0.2.{last}")]);
            run(ping); // whether it is answered
        }
    }

    /// What the collector says of itself.
    fn stats(&self) -> Value {
        let mut stats = program("collector", &["--stats", "--format", "json"]);
        stats.args(["--ring", self.alert.ring.name()]);
        serde_json::from_str(&run(stats).ok().stdout).unwrap()
    }

    fn broadcasts(&self) -> u64 {
        self.stats()["interfaces"][0]["counters"]["arp_broadcast"].as_u64().unwrap()
    }

    fn heartbeat(&self) -> i64 {
        self.stats()["heartbeat"].as_i64().unwrap()
    }

    fn another_heartbeat(&self) {
        let before = self.heartbeat();
        wait_until("another heartbeat", || self.heartbeat() > before);
    }

    /// What the collector found about Neighbor Discovery: whether it is hidden.
    fn is_hidden(&self) -> Option<bool> {
        let stats = self.stats();
        let found = &stats["interfaces"][0]["neighbors"][0];
        assert!(found.is_null() || found["network"] == "eth0", "{stats}");
        found["hidden"].as_bool()
    }

    /// Lines of the ring of names of a kind.
    fn lines(&self, kind: &str) -> Vec<String> {
        let mut shown = program("aw-stdout", &["--names", "--once"]);
        shown.args(["--ring", self.alert.ring.name()]);
        let shown = run(shown).ok().stdout;
        let is_of_kind = |line: &&str| line.split(' ').nth(5) == Some(kind);
        shown.lines().filter(is_of_kind).map(str::to_owned).collect()
    }

    /// What aw-alert reports of the sensor, since the last time.
    fn blind(&self, prepare: impl FnOnce(&mut Command)) -> Vec<Value> {
        let all = || {
            let all = self.alert.alerts().into_iter();
            all.filter(|alert| alert["kind"] == "blind").collect::<Vec<_>>()
        };
        let before = all().len();
        let config = self.alert.path("alert.toml").display().to_string();
        let mut once = self.alert.command(&["--once", "--learn", "0", "-c", &config]);
        prepare(&mut once);
        run(once).ok();
        all().split_off(before)
    }

    /// The only thing that it reports.
    #[track_caller]
    fn only(&self, subject: &str, note: &str, prepare: impl FnOnce(&mut Command)) -> Value {
        let found = self.blind(prepare);
        let [one] = &*found else {
            let all = self.alert.alerts();
            panic!("one of {note:?}: {found:#?} of {all:#?} {:#}", self.stats())
        };
        let text = one["note"].as_str().unwrap();
        assert!(text.starts_with(note), "{text}");
        let expected = format!("{subject} (ring {})", self.alert.ring.name());
        assert_eq!(one["summary"], *expected);
        one.clone()
    }
}

/// A mirror without broadcasts: the answers to other hosts arrive, and not their questions. Whatever becomes an event, and of which name.
#[test]
fn no_broadcasts() {
    let Some(scene) = Scene::new() else { return };
    let Some(clock) = Clock::new(&scene.alert.ring) else { return };
    let give = |command: &mut Command| clock.give_all(command);
    let collector = scene.collector(&["-r", "-1", "--as", "eth0=site"], give);
    // Each frame goes to all ports, other than broadcasts.
    scene.hub.sensor.ip("link set port0 type bridge_slave bcast_flood off");
    let all = [(1, 12), (2, 13), (3, 14), (4, 11)];
    let mut hours = 0;
    let mut next_hours = || {
        let before = scene.heartbeat();
        hours += 2;
        clock.set_hours(hours);
        wait_until("two hours have passed", || scene.heartbeat() > before + 7000);
    };
    scene.another_heartbeat(); // from then on it is looked at
    scene.ask(&all);
    (0..3).for_each(|_| scene.another_heartbeat());
    assert_eq!((scene.broadcasts(), scene.blind(give)), (0, vec![]));
    assert_eq!(scene.stats()["interfaces"][0]["last_broadcast"], Value::Null);
    next_hours();
    assert_eq!(scene.blind(give), [Value::Null; 0], "nothing came since: hosts sleep");
    scene.ask(&all);
    (0..3).for_each(|_| scene.another_heartbeat());
    let note = "ARP broadcasts do not arrive on eth0: ";
    let one = scene.only("ARP broadcasts do not arrive on eth0", note, give);
    assert_eq!(one["iface"], "eth0");
    next_hours();
    assert_eq!(scene.blind(give), [Value::Null; 0], "once");
    scene.hub.sensor.ip("link set port0 type bridge_slave bcast_flood on");
    scene.ask(&all);
    wait_until("it is counted", || scene.broadcasts() >= 4);
    scene.another_heartbeat();
    let note = "over: ARP broadcasts of other hosts arrive on eth0 again";
    scene.only("ARP broadcasts arrive on eth0", note, give);
    assert!(scene.stats()["interfaces"][0]["last_broadcast"].is_i64(), "{}", scene.stats());
    next_hours();
    scene.ask(&all);
    (0..3).for_each(|_| scene.another_heartbeat());
    assert_eq!(scene.blind(give), [Value::Null; 0]);
    collector.stop().ok();
}

/// Each second a query, and hosts that send ARP all the time; for the sensor, half a minute goes by in a second.
struct Queries {
    scene: Scene,
    _hosts: Vec<Run>,
    collector: Run,
}

impl Queries {
    /// `snoops`: the switch asks, and sends the answers to routers only, while a host forges the answer of another one; otherwise it asks.
    fn new(snoops: bool) -> Option<Queries> {
        let Some(library) = library() else {
            skip("there is no libfaketime here (faketime)");
            return None;
        };
        let mut python = Command::new("/usr/bin/python3");
        if !python.args(["-c", "import scapy"]).output().is_ok_and(|found| found.status.success()) {
            skip("scapy is not installed (contrib/setup.sh test)");
            return None;
        }
        let scene = Scene::new()?;
        let switch = &scene.hub.sensor;
        // In this order: otherwise it snoops ten seconds later.
        switch.ip("link set hub0 type bridge ageing_time 30000 mcast_query_interval 100 mcast_startup_query_interval 100 mcast_query_response_interval 50");
        if snoops {
            switch.ip("link set hub0 type bridge mcast_snooping 1 mcast_querier 1");
        }
        let fast = |command: &mut Command| {
            command.env("LD_PRELOAD", &library).env("FAKETIME", "+0 x30");
        };
        let collector = scene.collector(&["--names"], fast);
        let mut hosts = Vec::new();
        if snoops {
            switch.ipv6("hub0");
            switch.ip("address add fe80::1/64 dev hub0 nodad");
            wait_until("the switch asks", || !scene.lines("MLD_QUERY").is_empty());
        }
        for (host, last) in scene.hub.hosts.iter().zip(10..) {
            host.ipv6("eth0");
            host.ip(&format!("address add fe80::{last}/64 dev eth0 nodad"));
        }
        let own = MACS[4];
        let query = format!(
            "sendp(Ether(src='{own}',dst='33:33:00:00:00:01')/IPv6(src='fe80::14',dst='ff02::1',hlim=1)/IPv6ExtHdrHopByHop(options=[RouterAlert()])/ICMPv6MLQuery(mrd=500), iface='eth0', inter=1, loop=1)"
        );
        let asks = |last: usize, mac: &str| {
            format!(
                "sendp(Ether(src='{mac}',dst='ff:ff:ff:ff:ff:ff')/ARP(op=1,hwsrc='{mac}',psrc='192.0.2.1{last}',pdst='192.0.2.99'), iface='eth0', inter=0.2, loop=1)"
            )
        };
        let mut python = |host: usize, script: &str| {
            let mut python = scene.hub.hosts[host].command("/usr/bin/python3");
            python.args(["-c", &format!("from scapy.all import *\nconf.verb = 0\n{script}")]);
            hosts.push(Run::start(python));
        };
        (1..4).for_each(|host| python(host, &asks(host, MACS[host])));
        // To all MACs: a switch sends that to all ports. Once in 24 queries at most.
        let forged = MACS[1];
        let report = format!(
            "sendp(Ether(src='{forged}',dst='ff:ff:ff:ff:ff:ff')/IPv6(src='fe80::11',dst='ff02::16',hlim=1)/IPv6ExtHdrHopByHop(options=[RouterAlert()])/ICMPv6MLReport2(records_number=1,records=[ICMPv6MLDMultAddrRec(rtype=4,dst='ff02::1:ff00:11')]), iface='eth0', inter=30, loop=1)"
        );
        python(4, if snoops { &report } else { &query });
        Some(Queries { scene, _hosts: hosts, collector })
    }
}

/// A switch that snoops multicast hides Neighbor Discovery from a port, also if a host forges an answer; as that of a router, the port has all of it.
#[test]
fn multicast_snooping() {
    let Some(Queries { scene, _hosts, collector }) = Queries::new(true) else { return };
    // The first answers came before the switch snooped.
    wait_until("it is judged", || scene.is_hidden() == Some(true));
    let one = scene.only(
        "Neighbor Discovery may be hidden on eth0",
        "0 of 3 hosts that were awake answered 24 multicast queries on eth0: ",
        |_| {},
    );
    assert_eq!((&one["iface"], &one["digest"]), (&"eth0".into(), &true.into()));
    scene.hub.sensor.ip("link set port0 type bridge_slave mcast_router 2");
    wait_until("it is not hidden", || scene.is_hidden() == Some(false));
    let note = "over: hosts on eth0 answer multicast queries at this port";
    scene.only("multicast queries are answered on eth0", note, |_| {});
    collector.stop().ok();
}

/// The same switch without snooping, and a host that asks.
#[test]
fn a_querier_without_snooping() {
    let Some(Queries { scene, _hosts, collector }) = Queries::new(false) else { return };
    wait_until("it is judged", || scene.is_hidden().is_some());
    assert_eq!((scene.is_hidden(), scene.blind(|_| {})), (Some(false), vec![]));
    collector.stop().ok();
}

/// What the collector stored in its ring, in each output: as a hint, which is no reason for `--health` to fail.
#[test]
fn what_the_outputs_show() {
    let Some(broker) = Mosquitto::start() else { return };
    let (ring, listener) = (Ring::new(), broker.listen());
    publish(&ring, 1..4);
    let history = History::new();
    run(history.command(&ring, &["--once"])).ok();
    let options = WriterOptions {
        name: ring.name().parse().unwrap(),
        slots: WriterOptions::DEFAULT_SLOTS,
        group: None,
        host: None,
    };
    let mut collector = Writer::create(&options).unwrap();
    let eth0 = collector.interface("eth0".parse().unwrap());
    let mut stored = |is_hidden| {
        let view = NeighborView {
            interface: eth0,
            outer_vlan: VlanId::NONE,
            vlan: VlanId::from_tag(7),
            is_hidden,
            awake: 5,
            answered: if is_hidden { 1 } else { 4 },
            queries: 24,
        };
        collector.count(eth0, Counter::Seen);
        collector.set_state(eth0, CaptureState::Captured);
        let mut views = [None; MAX_NETWORKS];
        views[0] = Some(view);
        collector.set_neighbors(&views);
        collector.maintain(UnixTime::now());
    };
    stored(false);
    let outputs = history.path().join("state");
    let web =
        Server::start(&history, &["--ring", ring.name(), "--outputs", outputs.to_str().unwrap()]);
    let tracking = Tracking::start(&ring, &["--serve", "0"]);
    let line = tracking.run.stderr.wait_for("serving the report on http://");
    let port = line.trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let mqtt = broker.output(&ring, &[]);
    let fetched = |url: &str| {
        let mut curl = Command::new("/usr/bin/curl");
        curl.args(["-s", url]);
        run(curl).ok().stdout
    };
    let text = "1 of 5 hosts that were awake answered 24 multicast queries on eth0.7: a switch ";
    // As long as it lasts in a sentence, and then in the list of messages only.
    let of_tracker = |page: &str| page.matches(text).count();
    let published = |begin: &str| {
        let is_blind = |sent: &Sent| sent.topic.ends_with("/blind");
        let blind: Vec<_> = listener.sent().into_iter().filter(is_blind).collect();
        let is_it = |sent: &Sent| {
            sent.payload.contains(&format!("\"note\":\"{begin}"))
                && sent.payload.contains("\"hint\":true")
        };
        blind.iter().any(is_it)
    };
    let metric = |state: &Path| {
        let file = state.join("metrics.prom");
        let mut metrics = program("aw-metrics", &["--once", "--ring", ring.name(), "--state-dir"]);
        metrics.arg(state).arg("--file").arg(&file);
        run(metrics).ok();
        let text = std::fs::read_to_string(file).unwrap();
        let begin = format!(
            "addrwatch_network_neighbors_hidden{{ring=\"{}\",network=\"eth0.7\"}} ",
            ring.name()
        );
        text.lines().find_map(|line| line.strip_prefix(&begin)).map(str::to_owned)
    };
    let page = format!("http://127.0.0.1:{port}/");
    let api = || web.get("/api/v1/health").expect(200).json();
    wait_until("the web sees the collector", || {
        stored(false);
        api()["collectors"][0]["running"] == true
    });
    assert!(of_tracker(&fetched(&page)) == 0 && !published(""), "{:?}", listener.sent());
    let state = tempfile::tempdir().unwrap();
    assert_eq!(metric(state.path()).as_deref(), Some("0"));
    wait_until("all of them show it", || {
        stored(true);
        let hint = api()["collectors"][0]["hints"][0].clone();
        let is_in_web = hint.as_str().is_some_and(|hint| hint.starts_with(text));
        is_in_web && of_tracker(&fetched(&page)) == 2 && published(text)
    });
    assert!(web.get("/health").expect(200).body.contains(text));
    assert_eq!(api()["well"], true, "{}", api());
    assert_eq!(metric(state.path()).as_deref(), Some("1"));
    let shown = run(program("collector", &["--stats", "--ring", ring.name()])).ok().stdout;
    assert!(shown.contains("may be hidden on eth0.7: 1 of 5 hosts answered 24 queries"), "{shown}");
    run(program("aw-stdout", &["--health", "--ring", ring.name()])).ok();
    wait_until("it is over", || {
        stored(false);
        published("over: hosts on eth0.7 answer multicast queries at this port")
            && api()["collectors"][0]["hints"] == Value::Array(Vec::new())
            && of_tracker(&fetched(&page)) == 1
    });
    mqtt.stop().ok();
    tracking.run.stop().ok();
}
