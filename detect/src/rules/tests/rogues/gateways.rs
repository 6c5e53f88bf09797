//! Gateways that another MAC takes.

use super::*;

const GATEWAY: &str = "192.0.2.1";
const NETWORK: &str = "sensor/addrwatch/eth0";
const THIRD: &str = "00:08:e1:00:00:67";
const HOUR: i64 = 3600;

/// What the server, which is the gateway, sends.
fn of_gateway() -> Vec<NameRecord> {
    let named = of_server(NameKind::DhcpRouter, SERVER, GATEWAY, GATEWAY);
    vec![offer(SERVER, GATEWAY), named]
}

/// A network whose router the configuration names, and of which nothing was learned.
fn named(router: &str) -> Scene {
    let mut scene = Scene::new();
    scene.name(router);
    scene
}

/// A network that learned its gateway by DHCP only, and whose learning period is over.
fn learned() -> Scene {
    let mut scene = Scene::learned(&of_gateway());
    assert_eq!(scene.kinds(&of_gateway()), []);
    scene
}

impl Scene {
    fn name(&mut self, router: &str) {
        let ip: IpAddr = router.parse().unwrap();
        self.rules.routers = vec![NamedServer::Addresses(ip.into())];
    }

    fn arp(&mut self, mac: &str) -> Vec<Alert> {
        self.event(mac, GATEWAY, Origin::ArpRequest)
    }

    fn nd(&mut self, mac: &str, ip: &str) -> Vec<Alert> {
        self.event(mac, ip, Origin::NdAdvertisement)
    }

    /// The alerts of records without a learning period.
    fn not_learned(&mut self, records: &[NameRecord]) -> Vec<Alert> {
        records.iter().flat_map(|record| self.observe(record, 0).alerts).collect()
    }

    fn store(&mut self, part: Part, key: &str, known: &Known) {
        self.memory.store_known(NETWORK, part, key, known).unwrap_or_else(|never| match never {});
    }
}

fn note(alert: &Alert) -> String {
    alert.full_note().unwrap_or_default()
}

/// The only alert, which is one of a taken gateway: by which MAC, and which one had it. It calls neither of them the router, and nothing
/// over, whatever was sent before.
#[track_caller]
fn taken(alerts: &[Alert], mac: &str, old: &str) -> Alert {
    let [alert] = alerts else { panic!("{alerts:?}") };
    assert_eq!((alert.kind, alert.digest), (AlertKind::GatewayTaken, false), "{alert}");
    has_the_facts(alert, mac, old);
    alert.clone()
}

/// The only alert, which is about a MAC that was the first one, or was learned: it keeps its kind, and has the facts.
#[track_caller]
fn returns(alerts: &[Alert], mac: &str, old: &str) {
    let [alert] = alerts else { panic!("{alerts:?}") };
    assert!(alert.kind.is_takeover() && alert.kind != AlertKind::GatewayTaken, "{alert}");
    has_the_facts(alert, mac, old);
}

#[track_caller]
fn has_the_facts(alert: &Alert, mac: &str, old: &str) {
    assert_eq!((&*alert.mac, alert.old_mac.as_deref()), (mac, Some(old)), "{alert}");
    let note = note(alert);
    assert!(note.starts_with(mac) && note.contains(" now a"), "{note}");
    assert!(note.contains(&format!(". Before, it was {old}")), "{note}");
    assert!(note.contains(" cannot know which MAC is the router's, "), "{note}");
    assert!(
        note.contains(" If one is not, find that MAC's port in the MAC address table "),
        "{note}"
    );
    for word in
        ["is back", "is over", "other one", &format!("port of {mac}"), &format!("port of {old}")]
    {
        assert!(!note.contains(word), "{word}: {note}");
    }
}

/// The MAC of the router is known from what was learned: the first ARP of another one takes its address, and the router's own does not.
#[test]
fn the_first_arp_of_a_gateway_is_forged() {
    let mut scene = learned();
    scene.rules.names.insert(mac(SERVER), "gateway".into());
    let alert = taken(&scene.arp(ROGUE), ROGUE, SERVER);
    let begin = format!(
        "{ROGUE} now answers for the gateway {GATEWAY}. Before, it was {SERVER} [gateway] (first seen at @1), which was the first one. aw-alert cannot know "
    );
    assert!(note(&alert).starts_with(&begin), "{alert}");
    assert!(alert.held >= DAY);
    let line = alert.to_string();
    let begin = format!("gateway taken {GATEWAY} {ROGUE} (other MAC: {SERVER}) eth0: ");
    assert!(line.starts_with(&begin), "{line}");
    // The router claims it, and the attacker once more after `quiet`.
    let alert = taken(&scene.arp(SERVER), SERVER, ROGUE);
    let begin = format!(
        "{SERVER} [gateway] (first seen at @1), which was the first one, now answers for the gateway "
    );
    assert!(note(&alert).starts_with(&begin), "{alert}");
    scene.time += 2 * HOUR;
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    // The router comes first.
    let mut scene = learned();
    assert_eq!(scene.arp(SERVER), []);
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    // The same by advertisements.
    let advertised = || {
        let mut scene = Scene::learned(&usual());
        assert_eq!(scene.kinds(&usual()), []);
        scene
    };
    assert_eq!(advertised().nd(ROUTER, "fe80::1"), []);
    taken(&advertised().nd(ROGUE, "fe80::1"), ROGUE, ROUTER);
    // Another address, a group that the configuration names, and two MACs that were learned.
    let mut scene = learned();
    assert_eq!(scene.event(ROGUE, "192.0.2.2", Origin::ArpRequest), []);
    scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROGUE.parse().unwrap()]];
    assert_eq!(scene.arp(ROGUE), []);
    let both = [router(ROUTER, "fe80::1", 1800), router(SERVER, "fe80::1", 1800)];
    let mut scene = Scene::learned(&both);
    assert_eq!(scene.kinds(&both), []);
    assert_eq!(scene.nd(SERVER, "fe80::1"), []);
}

/// Whatever MAC the attacker takes, also one of which other alerts are left out.
#[test]
fn the_class_of_a_mac_hides_no_first_claim() {
    for mac in [RANDOM, VRRP] {
        let mut scene = learned();
        scene.rules.random_macs = Some(MacPolicy::Ignore);
        let mut device = Device::new(BEGIN);
        device.learned = true;
        scene.memory.memory.devices.insert(mac.parse().unwrap(), device);
        taken(&scene.arp(mac), mac, SERVER);
    }
    let mut scene = learned();
    scene.rules.proxy_arp = MacPolicy::Ignore;
    scene.rules.proxies = vec![mac(ROGUE)];
    taken(&scene.event(ROGUE, GATEWAY, Origin::ArpReply), ROGUE, SERVER);
}

/// Nothing was learned: the alert is about the MAC that claims the address now, whatever was answered or claimed before.
#[test]
fn a_gateway_of_two_macs() {
    for (answers, learns) in [(0, false), (1, false), (1, true), (2, true)] {
        let mut scene = named(GATEWAY);
        let offers = &[offer(ROGUE, GATEWAY), offer(ROGUE, GATEWAY)][..answers];
        let answer = |scene: &mut Scene| match learns {
            true => assert_eq!(scene.kinds(offers), []),
            false => assert_eq!(scene.not_learned(offers).len(), answers, "a new server"),
        };
        // On the first day, one answer outranks no earlier claim, nor one that follows.
        if answers == 2 {
            answer(&mut scene);
        }
        let first = scene.arp(SERVER);
        match answers {
            // Both MACs are named, and neither is called the router.
            2 => drop(taken(&first, SERVER, ROGUE)),
            _ => assert_eq!(first, []),
        }
        if answers == 1 {
            answer(&mut scene);
        }
        let alert = taken(&scene.arp(ROGUE), ROGUE, SERVER);
        let begin = format!("Before, it was {SERVER} (first seen at @10");
        assert!(note(&alert).contains(&begin), "{alert}");
        for _ in 0..3 {
            scene.time += 2 * HOUR;
            match answers {
                2 => drop(taken(&scene.arp(SERVER), SERVER, ROGUE)),
                _ => returns(&scene.arp(SERVER), SERVER, ROGUE),
            }
            scene.time += 2 * DAY;
            scene.alerts(&[request(CLIENT, GATEWAY)]);
            taken(&scene.arp(ROGUE), ROGUE, SERVER);
        }
    }
    // While the interface learns, the router's messages came from another MAC.
    let mut scene = Scene::new();
    assert_eq!(scene.kinds(&of_gateway()), []);
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    let mut scene = Scene::new();
    assert_eq!(scene.kinds(&of_gateway()), []);
    assert_eq!(scene.arp(SERVER), []);
    // A first answer after the learning period is none of the period.
    let mut scene = Scene::learned(&usual()[3..]);
    scene.name(GATEWAY);
    scene.alerts(&[offer(ROGUE, GATEWAY)]);
    assert_eq!(scene.arp(SERVER), []);
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
}

/// A third MAC: the first one is named, too, and the one of the router's messages.
#[test]
fn a_third_mac() {
    let mut scene = learned();
    assert_eq!(scene.arp(SERVER), []);
    scene.time += 3 * DAY;
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    let alert = taken(&scene.arp(THIRD), THIRD, ROGUE);
    let part = format!(" The first one was {SERVER} (first seen at @1).");
    assert!(note(&alert).contains(&part), "{alert}");
    let mut scene = learned();
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    let alert = taken(&scene.arp(THIRD), THIRD, ROGUE);
    let part = format!(" The first one was {SERVER} (first seen at @1).");
    assert!(note(&alert).contains(&part), "{alert}");
}

/// When the owner defends its address, the alert about the other MAC has this kind; the owner's way back keeps its own, and has the facts.
#[test]
fn a_gateway_that_is_defended() {
    let mut scene = named(GATEWAY);
    assert_eq!(scene.event(SERVER, GATEWAY, Origin::ArpReply), []);
    scene.time += 2 * DAY;
    assert_eq!(scene.event(SERVER, GATEWAY, Origin::ArpReply), []);
    taken(&scene.event(ROGUE, GATEWAY, Origin::ArpReply), ROGUE, SERVER);
    scene.time += 2 * HOUR;
    let mut found = Vec::new();
    for mac in [SERVER, ROGUE, SERVER, ROGUE, SERVER] {
        scene.time += 1;
        found.extend(scene.event_now(mac, GATEWAY, Origin::ArpReply));
    }
    let [returns, defends] = &*found else { panic!("{found:?}") };
    self::returns(std::slice::from_ref(returns), SERVER, ROGUE);
    let defends = taken(std::slice::from_ref(defends), ROGUE, SERVER);
    assert!(note(&defends).contains(" Also: both MACs "), "{defends}");
}

/// One takeover of a MAC in `quiet` seconds, and what goes on after that is reported again, also by advertisements.
#[test]
fn a_takeover_that_goes_on() {
    let mut scene = learned();
    assert_eq!(scene.arp(SERVER), []);
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    returns(&scene.arp(SERVER), SERVER, ROGUE);
    for _ in 0..5 {
        assert_eq!(scene.arp(ROGUE), []);
        assert_eq!(scene.arp(SERVER), []);
        scene.time += HOUR;
        taken(&scene.arp(ROGUE), ROGUE, SERVER);
        assert_eq!(scene.arp(SERVER), []);
    }
    let own = router(ROUTER, "fe80::1", 1800);
    for (lifetime, ends) in [(1800, ""), (0, " and withdraws it: hosts stop using it")] {
        let forged = router(ROGUE, "fe80::1", lifetime);
        let mut scene = Scene::learned(&[own]);
        for _ in 0..60 {
            let alert = taken(&scene.alerts(&[forged, own, forged]), ROGUE, ROUTER);
            let begin = format!(
                "{ROGUE} now announces the router fe80::1{ends}. Before, it was {ROUTER} (first seen "
            );
            assert!(note(&alert).starts_with(&begin), "{alert}");
            assert_eq!(scene.kinds(&[forged, own, forged, own]), []);
            scene.time += HOUR;
        }
    }
}

/// A router that was replaced is known after a day, as others are: then only what it announces counts.
#[test]
fn a_router_that_was_replaced() {
    let mut scene = Scene::learned(&usual());
    let new = router(SERVER, "fe80::1", 1800);
    taken(&scene.alerts(&[new]), SERVER, ROUTER);
    for _ in 0..3 {
        scene.time += 2 * HOUR;
        assert_eq!(scene.kinds(&[new]), [], "once");
    }
    scene.time += DAY;
    assert_eq!(scene.kinds(&[new, new]), []);
    let last = NameRecord { lifetime: 0, ..new };
    assert_eq!(scene.kinds(&[last, last]), [AlertKind::RouterWithdrawn]);
    // The old one is there still.
    taken(&scene.alerts(&[usual()[3], new]), SERVER, ROUTER);
    // A group that the configuration names since.
    scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROUTER.parse().unwrap()]];
    scene.time += 2 * HOUR;
    assert_eq!(scene.kinds(&[usual()[3], new]), []);
}

/// The first advertisement of a router that the configuration names: from the MAC that has its address, or from another one. None of
/// them is learned.
#[test]
fn the_first_advertisement_of_a_named_router() {
    let advertised = router(ROGUE, "fe80::2", 1800);
    let mut scene = named("fe80::2");
    assert_eq!(scene.nd(ROUTER, "fe80::2"), []);
    taken(&scene.not_learned(&[advertised]), ROGUE, ROUTER);
    let mut scene = named("fe80::2");
    assert_eq!(scene.not_learned(&[advertised, advertised]), []);
    assert_eq!(scene.nd(ROGUE, "fe80::2"), []);
    let rows = scene.memory.known.iter();
    let rows: Vec<_> = rows.filter(|((.., key), _)| key.starts_with("fe80::2 00")).collect();
    assert!(rows.len() == 1 && rows[0].1.trust == Trust::Reported, "{rows:?}");
    taken(&scene.not_learned(&[router(ROUTER, "fe80::2", 1800)]), ROUTER, ROGUE);
    // What it announces is compared, and that is all.
    let dns = of_router(NameKind::RouterDns, ROGUE, "fe80::2", "2001:db8:66::53", 0);
    let [alert] = &*scene.not_learned(&[advertised, dns]) else { panic!() };
    assert_eq!(alert.kind, AlertKind::ForeignDns);
    // A MAC that took its address withdraws it.
    let mut scene = named("fe80::2");
    assert_eq!(scene.nd(ROUTER, "fe80::2"), []);
    taken(&scene.nd(ROGUE, "fe80::2"), ROGUE, ROUTER);
    for _ in 0..3 {
        let killed = router(ROGUE, "fe80::2", 0);
        assert_eq!(scene.not_learned(&[killed]), []);
        scene.time += HOUR;
        taken(&scene.not_learned(&[killed, killed]), ROGUE, ROUTER);
    }
}

/// Another MAC of a router, which had its address in the learning period of events: what it announces is compared with what was learned.
#[test]
fn another_mac_of_a_router() {
    let mut station = Station::default();
    for one in [ROUTER, SERVER] {
        station.claim(mac(one), BEGIN, |_| false);
        station.learn(mac(one));
    }
    let with_both = |learned: &[NameRecord], ip: &str| {
        let mut scene = Scene::learned(learned);
        let stored = scene.memory.store_station(NETWORK, ip.parse().unwrap(), &station);
        stored.unwrap_or_else(|never| match never {});
        scene
    };
    let mut scene = with_both(&usual(), "fe80::1");
    let other = router(SERVER, "fe80::1", 1800);
    assert_eq!(scene.kinds(&[other, other]), []);
    let dns = of_router(NameKind::RouterDns, SERVER, "fe80::1", "2001:db8:66::53", 0);
    assert_eq!(scene.kinds(&[dns, dns]), [AlertKind::ForeignDns]);
    let changed = NameRecord { number: 1280, ..other };
    assert_eq!(scene.kinds(&[changed]), [AlertKind::RouterChanged]);
    // The same of its answers of DHCP.
    let mut scene = with_both(&of_gateway(), GATEWAY);
    assert_eq!(scene.kinds(&[offer(ROUTER, GATEWAY), offer(SERVER, GATEWAY)]), []);
}

/// After a takeover, the attacker answers DHCP as the gateway: that makes it neither the server nor the router.
#[test]
fn an_answer_after_a_takeover() {
    let mut scene = learned();
    assert_eq!(scene.arp(SERVER), []);
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    let answered = scene.kinds(&[answer(NameKind::DhcpAck, ROGUE, GATEWAY)]);
    assert_eq!(answered, [AlertKind::NewDhcpServer]);
    let row = scene.memory.known(NETWORK, Part::DhcpServerMac, &format!("{GATEWAY} {ROGUE}"));
    assert_ne!(row.unwrap_or_else(|never| match never {}).unwrap().trust, Trust::Learned);
    for _ in 0..30 {
        scene.time += 2 * HOUR;
        scene.alerts(&[answer(NameKind::DhcpAck, ROGUE, GATEWAY)]);
        returns(&scene.arp(SERVER), SERVER, ROGUE);
        scene.time += 2 * HOUR;
        taken(&scene.arp(ROGUE), ROGUE, SERVER);
    }
    // While the interface learns, its MAC that was reported is not learned by what it announces.
    let mut scene = named("fe80::2");
    assert_eq!(scene.nd(ROUTER, "fe80::2"), []);
    taken(&scene.nd(ROGUE, "fe80::2"), ROGUE, ROUTER);
    scene.alerts(&[router(ROGUE, "fe80::2", 1800)]);
    let row = scene.memory.known(NETWORK, Part::RouterMac, &format!("fe80::2 {ROGUE}"));
    assert_eq!(row.unwrap_or_else(|never| match never {}).unwrap().trust, Trust::Reported);
}

/// Before a takeover, the attacker answers first in the name of a server of which only ARP was seen, with a made-up relay.
#[test]
fn an_answer_before_a_takeover() {
    for relay in ["0.0.0.0", "203.0.113.9"] {
        let mut scene = Scene::learned(&usual()[3..]);
        scene.name(GATEWAY);
        scene.rules.dhcp_servers = scene.rules.routers.clone();
        assert_eq!(scene.arp(SERVER), []);
        scene.alerts(&[NameRecord { relay: v6(relay), ..offer(ROGUE, GATEWAY) }]);
        taken(&scene.arp(ROGUE), ROGUE, SERVER);
        returns(&scene.arp(SERVER), SERVER, ROGUE);
    }
}

/// An answer that was reported is none of the router's a day later, however often it comes; nor is what an earlier release stored so.
#[test]
fn an_answer_a_day_after_its_report() {
    let forged = offer(ROGUE, GATEWAY);
    let mut scene = learned();
    assert_eq!(scene.kinds(&[forged]), [AlertKind::NewDhcpServer]);
    for _ in 0..3 {
        scene.time += DAY;
        scene.alerts(&[forged, forged]);
    }
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    // The server was known by its clients' requests only.
    let mut scene = Scene::learned(&[request(CLIENT, GATEWAY)]);
    scene.name(GATEWAY);
    for _ in 0..3 {
        scene.alerts(&[forged, forged]);
        scene.time += DAY;
    }
    assert_eq!(scene.arp(SERVER), []);
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
    for (first, is_learned) in [(BEGIN + 5, true), (LATER + DAY, false)] {
        let mut scene = named(GATEWAY);
        let period = Known { number: 1, ..Known::new(BEGIN, Trust::Learned) };
        scene.store(Part::Period, "", &period);
        let key = format!("{GATEWAY} {SERVER}");
        scene.store(Part::DhcpServerMac, &key, &Known::new(first, Trust::Learned));
        scene.time = LATER + 5 * DAY;
        assert_eq!(scene.arp(ROGUE).len(), usize::from(is_learned));
    }
    // The end of a period that --learn made longer.
    let mut scene = named(GATEWAY);
    let period = Known { number: 1, further: 7 * DAY, ..Known::new(BEGIN, Trust::Learned) };
    scene.store(Part::Period, "", &period);
    let row = Known::new(BEGIN + 5 * DAY, Trust::Learned);
    scene.store(Part::DhcpServerMac, &format!("{GATEWAY} {SERVER}"), &row);
    scene.time = BEGIN + 9 * DAY;
    taken(&scene.arp(ROGUE), ROGUE, SERVER);
}

/// The attacker lets the router defend itself, or sends a frame in its name, and goes on: each message says that both answer.
#[test]
fn no_message_calls_it_over() {
    let mut scene = learned();
    assert_eq!(scene.arp(SERVER), []);
    let mut found = Vec::new();
    for mac in [ROGUE, SERVER, ROGUE, SERVER, ROGUE] {
        scene.time += 1;
        found.extend(scene.event_now(mac, GATEWAY, Origin::ArpRequest));
    }
    let [first, last] = &*found else { panic!("{found:?}") };
    taken(std::slice::from_ref(first), ROGUE, SERVER);
    returns(std::slice::from_ref(last), SERVER, ROGUE);
    // A router that is withdrawn by another MAC, and announces itself in between.
    let (own, forged) = (router(ROUTER, "fe80::1", 1800), router(ROGUE, "fe80::1", 0));
    let mut scene = Scene::learned(&[own]);
    taken(&scene.alerts(&[forged, own, forged, own, forged]), ROGUE, ROUTER);
}

/// As events show it, or the advertisement of another MAC in the router's name: one of them.
#[test]
fn a_gateway_that_is_taken() {
    let mut scene = Scene::learned(&usual());
    assert!(scene.event(ROUTER, "192.0.2.254", Origin::ArpReply).is_empty());
    let [alert] = &*scene.event(RANDOM, "192.0.2.254", Origin::ArpReply) else { panic!() };
    assert!(alert.kind == AlertKind::GatewayTaken && !alert.digest);
    assert_eq!(alert.old_mac.as_deref(), Some(ROUTER));
    let again = scene.event(RANDOM, "192.0.2.254", Origin::ArpReply);
    assert!(again.is_empty(), "{again:?}");
    // Of another address, and in another network, it is what it was.
    assert!(scene.event(ROUTER, "192.0.2.9", Origin::ArpReply).is_empty());
    let [alert] = &*scene.event(ROGUE, "192.0.2.9", Origin::ArpReply) else { panic!() };
    assert_eq!(alert.kind, AlertKind::Changed);

    let forged = router(ROGUE, "fe80::1", 1800);
    let withdrawn = NameRecord { lifetime: 0, hops: 255, ..forged };
    let mut scene = Scene::learned(&usual());
    scene.event(ROUTER, "fe80::1", Origin::NdAdvertisement);
    let dns = of_router(NameKind::RouterDns, ROGUE, "fe80::1", "2001:db8:66::53", 0);
    let [alert] = &*scene.alerts(&[withdrawn, forged, dns, usual()[3]]) else { panic!() };
    assert_eq!((alert.kind, &*alert.mac), (AlertKind::GatewayTaken, ROGUE));
    assert_eq!(alert.old_mac.as_deref(), Some(ROUTER));
    let event = scene.event(ROGUE, "fe80::1", Origin::NdAdvertisement);
    assert!(event.is_empty(), "it was reported: {event:?}");
    // The other way round.
    let mut scene = Scene::learned(&usual());
    scene.event(ROUTER, "fe80::1", Origin::NdAdvertisement);
    let [alert] = &*scene.event(ROGUE, "fe80::1", Origin::NdAdvertisement) else { panic!() };
    assert_eq!(alert.kind, AlertKind::GatewayTaken);
    assert_eq!(scene.kinds(&[forged, withdrawn]), []);
    // A group of routers that the configuration names.
    let mut scene = Scene::learned(&usual());
    scene.rules.failovers = vec![vec![ROUTER.parse().unwrap(), ROGUE.parse().unwrap()]];
    assert_eq!(scene.kinds(&[forged]), []);
    // A virtual router with two MACs that were learned.
    let mut scene = Scene::learned(&[&*usual(), &[forged]].concat());
    assert_eq!(scene.kinds(&[forged, usual()[3], forged]), []);
}

/// A taken gateway that was only in a digest is reported again.
#[test]
fn a_gateway_in_a_digest() {
    let mut scene = Scene::learned(&usual());
    scene.event(ROUTER, "192.0.2.254", Origin::ArpReply);
    let [alert] = &*scene.event(ROGUE, "192.0.2.254", Origin::ArpReply) else { panic!() };
    let again = |scene: &mut Scene| {
        let mut alerts =
            vec![Alert { kind: AlertKind::Changed, time: alert.time + 10, ..alert.clone() }];
        let ring: RingName = "/addrwatch".parse().unwrap();
        let position = Position { generation: 1, sequence: 0 };
        let event = event(alert.time + 10, ROGUE, "192.0.2.254", Origin::ArpReply);
        let entry = Entry { ring: &ring, host: "sensor", position, event };
        let named = scene.rules.name_gateways(&entry, NOW, false, &mut alerts, &mut scene.memory);
        named.unwrap_or_else(|never| match never {});
        alerts.len()
    };
    assert_eq!(again(&mut scene), 0);
    let digested = scene.rules.gateway_was_digested(alert, &mut scene.memory);
    digested.unwrap_or_else(|never| match never {});
    assert_eq!(again(&mut scene), 1);
}
