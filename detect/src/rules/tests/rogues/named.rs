//! What is named or known is no alarm; what a reported server does next is one.

use super::*;
use AlertKind::{Changed, ForeignDns, NewDhcpServer, NewRouter, NewSetting, RouterChanged};

/// Another server, which no learning period saw.
const NAMED: &str = "192.0.2.9";

fn blocks(all: &[&str]) -> Vec<NamedServer> {
    all.iter().map(|one| NamedServer::Addresses(one.parse().unwrap())).collect()
}

fn note(alert: &Alert) -> &str {
    alert.note.as_deref().unwrap()
}

/// Kind, and whether it is in the digest.
fn found(alerts: &[Alert]) -> Vec<(AlertKind, bool)> {
    alerts.iter().map(|alert| (alert.kind, alert.digest)).collect()
}

/// Records of one message.
fn message(number: u32, records: &[NameRecord]) -> Vec<NameRecord> {
    records.iter().map(|record| NameRecord { message: number, ..*record }).collect()
}

fn text(kind: NameKind, from: &str, server: &str, text: &str) -> NameRecord {
    NameRecord { name: NameText::cut(text), ..of_server(kind, from, server, "::") }
}

/// What is known of a MAC that answered in the name of a server.
fn of_mac(scene: &mut Scene, server: &str, mac: &str) -> Known {
    let known = scene.memory.known(
        "sensor/addrwatch/eth0",
        Part::DhcpServerMac,
        &format!("{server} {mac}"),
    );
    known.unwrap_or_else(|never| match never {}).expect("it answered")
}

/// All that the first answer of a server names is in the digest, one line each, and nothing counts as a new server.
#[test]
fn a_first_answer_with_all_that_it_names() {
    use NameKind::*;
    let named = |learned: &[NameRecord]| {
        let mut scene = Scene::learned(learned);
        scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
        (scene, "which the configuration names")
    };
    let asked = [request(CLIENT, NAMED)];
    for (mut scene, by) in [
        named(&usual()),
        named(&usual()[3..]),
        (Scene::learned(&[&*usual(), &asked].concat()), "which only its clients named"),
    ] {
        let answers = [
            offer(ROUTER, NAMED),
            of_server(DhcpRouter, ROUTER, NAMED, "192.0.2.8"),
            of_server(DhcpDns, ROUTER, NAMED, "192.0.2.7"),
            text(DhcpDomain, ROUTER, NAMED, "example.org"),
            text(DhcpProxy, ROUTER, NAMED, "http://192.0.2.6/wpad.dat"),
            text(DhcpPortal, ROUTER, NAMED, "https://192.0.2.6/"),
            of_server(DhcpBoot, ROUTER, NAMED, "192.0.2.5"),
        ];
        let alerts = scene.alerts(&message(7, &answers));
        assert_eq!(found(&alerts), [(NewSetting, true); 7]);
        assert!(note(&alerts[0]).contains(by), "{}", alerts[0]);
        assert!(note(&alerts[0]).contains("No ARP shows that this MAC has its address"), "{by}");
        assert!(!note(&alerts[0]).contains("dhcp_servers"), "{}", alerts[0]);
        for alert in &alerts {
            assert!(!note(alert).contains("before") && alert.old_mac.is_none(), "{alert}");
        }
        // Nothing of it again; and the same number of another message makes nothing harmless.
        assert_eq!(scene.kinds(&message(8, &answers)), []);
        scene.time += 3600;
        let dns = of_server(DhcpDns, ROUTER, NAMED, "192.0.2.66");
        let alerts = scene.alerts(&message(7, &[dns]));
        assert_eq!(found(&alerts), [(ForeignDns, false)]);
        // No answer of this time is learned, and it is no rogue's either.
        let known = of_mac(&mut scene, NAMED, ROUTER);
        assert_eq!((known.trust, known.number), (Trust::Reported, 1));
        assert_eq!(scene.kinds(&[answer(DhcpAck, ROUTER, NAMED)]), []);
    }
}

/// Another MAC has the server's address: whatever relay the message names, that is no first answer.
#[test]
fn a_first_answer_of_another_mac() {
    let forged = offer(ROGUE, NAMED);
    for relay in ["::", "203.0.113.9", "192.0.2.66", NAMED] {
        let mut scene = Scene::learned(&usual());
        scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
        scene.event(SERVER, NAMED, Origin::ArpReply);
        scene.event(ROGUE, "192.0.2.66", Origin::ArpReply);
        let forged = NameRecord { relay: v6(relay), ..forged };
        let dns = of_server(NameKind::DhcpDns, ROGUE, NAMED, "192.0.2.66");
        let [alert] = &*scene.alerts(&message(7, &[forged, dns, forged])) else {
            panic!("{relay}")
        };
        assert_eq!((alert.kind, alert.digest, &*alert.mac), (NewDhcpServer, false, ROGUE));
        assert_eq!(alert.old_mac.as_deref(), Some(SERVER));
        assert!(note(alert).contains(&format!("but {SERVER} has its address: ")), "{alert}");
        // It never becomes the server's own, and the server's own is reported beside it.
        for _ in 0..3 {
            scene.time += 2 * DAY;
            assert_eq!(scene.kinds(&message(7, &[forged])), []);
            assert_eq!(of_mac(&mut scene, NAMED, ROGUE).trust, Trust::Reported);
        }
        let [alert] = &*scene.alerts(&[offer(SERVER, NAMED)]) else { panic!("{relay}") };
        assert_eq!((alert.kind, alert.digest), (NewDhcpServer, false));
        assert_eq!(alert.old_mac.as_deref(), Some(ROGUE));
        assert!(note(alert).contains("answered for it before: "), "{alert}");
        assert!(alert.advice.contains("find the port of the foreign one"), "{alert}");
    }
    // The owner of the relay's address counts, too.
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
    scene.event(ROUTER, "192.0.2.254", Origin::ArpReply);
    let relayed = NameRecord { relay: v6("192.0.2.254"), ..forged };
    let [alert] = &*scene.alerts(&[relayed]) else { panic!() };
    assert_eq!((alert.kind, alert.old_mac.as_deref()), (NewDhcpServer, Some(ROUTER)));
    // What any host can claim confirms nothing.
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
    scene.event(ROGUE, NAMED, Origin::ArpReply);
    scene.time += 2;
    let [alert] = &*scene.alerts(&[forged]) else { panic!() };
    let arp =
        format!(". By ARP, which any host can send, only {ROGUE} has claimed {NAMED} since @");
    assert!(alert.to_string().contains(&arp), "{alert}");
    // A pair.
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
    scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROGUE.parse().unwrap()]];
    scene.event(SERVER, NAMED, Origin::ArpReply);
    assert_eq!(found(&scene.alerts(&[forged])), [(NewSetting, true)]);
}

/// Who takes a server's address before its first answer is none of its MACs.
#[test]
fn a_first_answer_after_a_takeover() {
    let mut scene = Scene::learned(&[request(CLIENT, NAMED)]);
    scene.event(SERVER, NAMED, Origin::ArpReply);
    let [alert] = &*scene.event(ROGUE, NAMED, Origin::ArpReply) else { panic!() };
    assert_eq!(alert.kind, Changed);
    let [alert] = &*scene.alerts(&[offer(ROGUE, NAMED)]) else { panic!() };
    assert_eq!((alert.kind, alert.digest), (NewDhcpServer, false));
    assert_eq!(alert.old_mac.as_deref(), Some(SERVER));
    assert_eq!(of_mac(&mut scene, NAMED, ROGUE).number, 0);
    // One that has had the address for a day is the server's own.
    let mut scene = Scene::learned(&[request(CLIENT, NAMED)]);
    scene.event(SERVER, NAMED, Origin::ArpReply);
    scene.time += DAY;
    assert_eq!(scene.kinds(&[offer(SERVER, NAMED)]), []);
    let known = of_mac(&mut scene, NAMED, SERVER);
    assert_eq!((known.trust, known.number), (Trust::Reported, 1));
    // Its settings are reported as those of a known server.
    let dns = of_server(NameKind::DhcpDns, SERVER, NAMED, "192.0.2.66");
    assert_eq!(found(&scene.alerts(&[dns])), [(ForeignDns, false)]);
}

/// A client's claim makes no server known, however long ago: its first answer is reported alone, and its first lease.
#[test]
fn the_first_answer_of_a_reported_server() {
    use NameKind::*;
    for wait in [59, DAY - 61, 2 * DAY] {
        let mut scene = Scene::learned(&usual());
        assert_eq!(scene.kinds(&[request(CLIENT, "192.0.2.66")]), [NewDhcpServer]);
        scene.time += wait;
        let [alert] = &*scene.alerts(&[offer(ROGUE, "192.0.2.66")]) else { panic!("{wait}") };
        assert_eq!((alert.kind, alert.digest), (NewDhcpServer, false));
        let begin = "it was reported because a client named it, and now it answers: it offers ";
        assert!(note(alert).starts_with(begin), "{alert}");
        assert!(
            alert.to_string().contains(". The report was at @86401 (if it is yours"),
            "{alert}"
        );
        scene.time += 120;
        let lease = [
            answer(DhcpAck, ROGUE, "192.0.2.66"),
            of_server(DhcpDns, ROGUE, "192.0.2.66", "192.0.2.66"),
        ];
        let [alert] = &*scene.alerts(&[lease, lease].concat()) else { panic!("{wait}") };
        assert!(!alert.digest && note(alert).contains("gave 192.0.2.77"), "{alert}");
        // Another MAC for it.
        let other = answer(DhcpAck, ROUTER, "192.0.2.66");
        assert_eq!(found(&scene.alerts(&[other, other])), [(NewDhcpServer, false)]);
    }
}

/// The first proxy of a known server, or domain, is in the digest; what replaces one is not.
#[test]
fn what_a_known_server_sends_first() {
    use NameKind::*;
    let mut scene = Scene::learned(&usual());
    let proxy = |name: &str| text(DhcpProxy, SERVER, "192.0.2.1", name);
    let sent = [
        proxy("http://192.0.2.6/wpad.dat"),
        text(DhcpDomain, SERVER, "192.0.2.1", "example.org"),
        proxy("http://192.0.2.66/wpad.dat"),
    ];
    let alerts = scene.alerts(&sent);
    assert_eq!(found(&alerts), [(NewSetting, true), (NewSetting, true), (NewDhcpServer, false)]);
    assert!(
        alerts[0].to_string().contains(", and did not before (if that is right"),
        "{}",
        alerts[0]
    );
}

/// A prefix is no change of a router that needs attention; a route is, and neither has a "before" at the first message.
#[test]
fn what_a_router_announces() {
    use NameKind::*;
    let mut scene = Scene::learned(&usual());
    scene.rules.routers = blocks(&["fe80::2/128"]);
    let prefix = of_router(RouterPrefix, ROGUE, "fe80::2", "2001:db8:8::", 64);
    let route = of_router(RouterRoute, ROGUE, "fe80::2", "2001:db8:9::", 48);
    let dns = of_router(RouterDns, ROGUE, "fe80::2", "2001:db8:8::53", 0);
    let own = message(7, &[router(ROGUE, "fe80::2", 1800), prefix, route, dns]);
    let alerts = scene.alerts(&own);
    assert_eq!(found(&alerts), [(NewSetting, true), (RouterChanged, false), (ForeignDns, false)]);
    for alert in &alerts {
        assert!(!note(alert).contains("before"), "{alert}");
    }
    assert_eq!(scene.kinds(&own), []);
    scene.time += 3600;
    let later = NameRecord { address: v6("2001:db8:66::"), ..prefix };
    let [alert] = &*scene.alerts(&[later]) else { panic!() };
    assert_eq!((alert.kind, alert.digest), (NewSetting, true));
    assert!(note(alert).starts_with("it announces other values than before: prefix "), "{alert}");
    // What is not known keeps its kind, in the digest, too.
    let alerts = scene.alerts(&[router(ROGUE, "fe80::66", 0)]);
    assert_eq!(found(&alerts), [(NewRouter, true)]);
}

/// Any number of prefixes hides no first answer, and no domain hides what else a server names.
#[test]
fn limits_of_settings() {
    use NameKind::*;
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
    let prefix = |number: u32| {
        of_router(RouterPrefix, ROUTER, "fe80::1", &format!("2001:db8:{number}::"), 64)
    };
    let domain = |number: u32| text(DhcpDomain, SERVER, "192.0.2.1", &format!("{number}.example"));
    assert_eq!(scene.alerts(&(100..120).map(prefix).collect::<Vec<_>>()).len(), 5);
    assert_eq!(scene.alerts(&(0..20).map(domain).collect::<Vec<_>>()).len(), 5);
    let dns = of_server(DhcpDns, ROUTER, NAMED, "192.0.2.7");
    let alerts = scene.alerts(&message(7, &[offer(ROUTER, NAMED), dns]));
    assert_eq!(found(&alerts), [(NewSetting, true); 2]);
    // What was left out is counted, in the digest and under its kind.
    let now = UnixTime::new(scene.time + 3600, 0);
    let place = ("sensor", "/addrwatch", "eth0");
    let observed = scene.rules.observe_interface(place, now, DAY, &mut scene.memory);
    let observed = observed.unwrap_or_else(|never| match never {}).alerts;
    assert_eq!(found(&observed), [(NewSetting, true), (NewSetting, true)]);
    assert!(observed.iter().all(|alert| note(alert).starts_with("15 further ones ")));
}

/// The first lease of a server that was reported: what the client uses from now on is the harm.
#[test]
fn the_first_lease_of_a_reported_server() {
    use NameKind::*;
    let lease =
        NameRecord { name: NameText::cut("laptop"), ..answer(DhcpAck, ROGUE, "192.0.2.66") };
    let refusal = NameRecord { address: v6("::"), ..answer(DhcpNak, ROGUE, "192.0.2.66") };
    let gave = "gave 192.0.2.77 to 00:08:e1:00:00:03 (\"laptop\"), which uses from then on what that lease names";
    for (first, wait) in
        [(refusal, 120), (offer(ROGUE, "192.0.2.66"), 120), (offer(ROGUE, "192.0.2.66"), 3 * DAY)]
    {
        let mut scene = Scene::learned(&usual());
        assert_eq!(found(&scene.alerts(&[first])), [(NewDhcpServer, false)]);
        scene.time += wait;
        let all = [
            offer(ROGUE, "192.0.2.66"),
            lease,
            of_server(DhcpDns, ROGUE, "192.0.2.66", "192.0.2.66"),
            lease,
        ];
        // After a day, what it names is reported, too.
        let mut alerts = scene.alerts(&all);
        alerts.retain(|alert| alert.kind != ForeignDns);
        let [alert] = &*alerts else { panic!("{first:?}") };
        assert_eq!((alert.kind, alert.digest, &*alert.mac), (NewDhcpServer, false, ROGUE));
        assert!(
            note(alert).starts_with("this server, which was reported before, gave "),
            "{alert}"
        );
        assert!(alert.to_string().contains(". The report was at @86401 (aw-stdout "), "{alert}");
        assert!(note(alert).contains(gave), "{alert}");
    }
    // What it named until then: a few of each kind, so that none hides another one.
    let mut scene = Scene::learned(&usual());
    let named = |kind, ip: &str| of_server(kind, ROGUE, "192.0.2.66", ip);
    let set = [
        offer(ROGUE, "192.0.2.66"),
        named(DhcpRouter, "192.0.2.66"),
        named(DhcpDns, "192.0.2.53"),
        text(DhcpProxy, ROGUE, "192.0.2.66", "http://192.0.2.66/"),
        named(DhcpDns, "192.0.2.53"),
        lease,
    ];
    let alerts = scene.alerts(&set);
    let so_far = "what that lease names. Before it, this server named: router 192.0.2.66, DNS server 192.0.2.53, a proxy (WPAD); the lease may name others";
    assert_eq!(alerts.len(), 2);
    assert!(note(&alerts[1]).ends_with(so_far), "{}", alerts[1]);
    let mut scene = Scene::learned(&usual());
    let many = (1..99).map(|last| named(DhcpDns, &format!("198.51.100.{last}")));
    let all: Vec<_> = [set[0]].into_iter().chain(many).chain([set[1], lease]).collect();
    let alerts = scene.alerts(&all);
    let [.., alert] = &*alerts else { panic!() };
    assert!(
        note(alert)
            .contains(", DNS server 198.51.100.4, DNS server and others, router 192.0.2.66; "),
        "{alert}"
    );
    // The first alert was about it.
    let mut scene = Scene::learned(&usual());
    let [alert] = &*scene.alerts(&[lease, lease, offer(ROGUE, "192.0.2.66"), lease]) else {
        panic!()
    };
    assert!(note(alert).starts_with("it gives 192.0.2.77 to "), "{alert}");
    // A message without an address gives none.
    let mut scene = Scene::learned(&usual());
    let none = NameRecord { address: v6("::"), ..lease };
    assert_eq!(scene.kinds(&[offer(ROGUE, "192.0.2.66"), none]), [NewDhcpServer]);
    // In the name of a known server, also of one without an earlier answer.
    let forged =
        |record: NameRecord, ip: &str| NameRecord { other: v6(ip), source: v6(ip), ..record };
    for server in ["192.0.2.1", NAMED] {
        let mut scene = Scene::learned(&usual());
        scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
        scene.event(SERVER, NAMED, Origin::ArpReply);
        let records = [forged(refusal, server), forged(lease, server), forged(lease, server)];
        let [_, alert] = &*scene.alerts(&records) else { panic!("{server}") };
        assert!(note(alert).contains(gave) && !alert.digest, "{alert}");
        // The known one gives leases as before.
        assert_eq!(scene.kinds(&[answer(DhcpAck, SERVER, "192.0.2.1")]), []);
    }
    // It was named meanwhile.
    for first in [
        &[offer(ROGUE, "192.0.2.66")][..],
        &[request(CLIENT, "192.0.2.66"), offer(ROGUE, "192.0.2.66")],
    ] {
        let mut scene = Scene::learned(&usual());
        assert_eq!(scene.kinds(first).len(), first.len());
        scene.rules.dhcp_servers = blocks(&["192.0.2.66/32"]);
        assert_eq!(scene.kinds(&[lease]), []);
    }
}

/// Leases have a limit of their own. One that was too much is counted once, and reported later.
#[test]
fn leases_of_many_servers() {
    let mut scene = Scene::learned(&usual());
    let address = |number: u8| format!("198.51.100.{number}");
    let offers: Vec<_> = (0..5).map(|number| offer(ROGUE, &address(number))).collect();
    assert_eq!(scene.alerts(&offers).len(), 5);
    scene.time += 3600;
    let more: Vec<_> = (5..7).map(|number| offer(ROGUE, &address(number))).collect();
    assert_eq!(scene.alerts(&more).len(), 2);
    let leases: Vec<_> =
        (0..7).map(|number| answer(NameKind::DhcpAck, ROGUE, &address(number))).collect();
    assert_eq!(scene.alerts(&leases).len(), 5);
    assert_eq!(scene.alerts(&[&*leases, &leases, &leases].concat()), []);
    // Other servers are reported as before, and after an hour the leases that were too much.
    assert_eq!(scene.kinds(&[offer(ROGUE, "192.0.2.66")]), [NewDhcpServer]);
    scene.time += 3600;
    let [one, other] = &*scene.alerts(&[&*leases, &leases].concat()) else { panic!() };
    assert!(note(one).contains("; 2 further ones of this kind"), "{one}");
    assert!(note(one).ends_with(&format!("198.51.100.5 {ROGUE}, 198.51.100.6 {ROGUE}")), "{one}");
    assert!(!note(other).contains("further"), "{other}");
}

/// What was left out is listed in whole parts: one address is not another one that begins so.
#[test]
fn what_is_listed() {
    let mut scene = Scene::learned(&usual());
    let claims: Vec<_> = [90, 91, 92, 93, 94, 53, 5]
        .map(|last| request(CLIENT, &format!("198.51.100.{last}")))
        .into();
    assert_eq!(scene.alerts(&claims).len(), 5);
    scene.time += 3600;
    let [alert] = &*scene.alerts(&[request(CLIENT, "198.51.100.95")]) else { panic!() };
    assert!(note(alert).ends_with(": 198.51.100.53, 198.51.100.5"), "{alert}");
}

/// What a message says first is what it looks like, and what differs.
#[test]
fn words() {
    let own = router(ROUTER, "fe80::1", 1800);
    let changed = |before: u8, flags: u8| {
        let mut scene = Scene::learned(&[NameRecord { flags: before, ..own }]);
        let [alert] = &*scene.alerts(&[NameRecord { flags, ..own }]) else { panic!() };
        let rest = note(alert).strip_prefix("it announces other values than before: ").unwrap();
        rest.split(" (if ").next().unwrap().to_owned()
    };
    assert_eq!(changed(0, 0x80), "now: addresses by DHCPv6; before: not");
    assert_eq!(
        changed(0xc0, 0x48),
        "now: no addresses by DHCPv6; before: yes, now: preference high; before: medium"
    );
    assert_eq!(changed(0, 0x02), "now: flags=0x02; before: 0x00");
    // A router that is restarted.
    let mut scene = Scene::learned(&usual());
    let [alert] = &*scene.alerts(&[NameRecord { lifetime: 0, ..own }]) else { panic!() };
    let restarted = "until it announces itself again. A router does so when it is restarted or switched off (if yours was not, another host forges";
    assert!(note(alert).contains(restarted), "{alert}");
    // A redirect.
    let forged = redirect(ROGUE, "fe80::1", "fe80::66", "2001:db8:9::1");
    let (target, all) = (mac(ROGUE), v6("ff02::1"));
    for (record, expected) in [
        (
            NameRecord { destination: all, target, ..forged },
            format!(
                "{ROGUE} pretends to be the router fe80::1 and redirects all hosts: what is for 2001:db8:9::1 goes to fe80::66, at the MAC {ROGUE} ("
            ),
        ),
        (
            redirect(ROUTER, "fe80::1", "fe80::66", "2001:db8:9::1"),
            format!(
                "the router fe80::1 (message from {ROUTER}) redirects 2001:db8:7::77: what is for 2001:db8:9::1 goes to fe80::66 ("
            ),
        ),
        (
            redirect(ROGUE, "fe80::66", "2001:db8:9::1", "2001:db8:9::1"),
            format!(
                "fe80::66 (message from {ROGUE}), which is not known as a router, redirects 2001:db8:7::77: what is for 2001:db8:9::1 goes directly to it ("
            ),
        ),
    ] {
        let [alert] = &*Scene::learned(&usual()).alerts(&[record]) else { panic!() };
        assert!(note(alert).starts_with(&expected), "{alert}");
    }
    // The line to write, with what it has; a long one is not repeated.
    let mut scene = Scene::learned(&usual());
    scene.rules.routers = blocks(&["192.0.2.254/32", "2001:db8::/64"]);
    let [alert] = &*scene.alerts(&[router(ROGUE, "fe80::66", 1800)]) else { panic!() };
    let line = "for other networks (if it is yours, write routers = [\"192.0.2.254\", \"2001:db8::/64\", \"fe80::66\"] in the configuration of aw-alert, and restart aw-alert; if not";
    assert!(note(alert).contains(line), "{alert}");
    // No line names a server without an address.
    let hidden = NameRecord { source: v6("0.0.0.0"), ..offer(ROGUE, "255.255.255.255") };
    let [alert] = &*scene.alerts(&[hidden]) else { panic!() };
    assert!(note(alert).contains("(if it is yours, let it name its address, and add"), "{alert}");
    let key = NamedServer::Duid("00030001020000000001".into());
    scene.rules.dhcp_servers = vec![key; 9];
    let [alert] = &*scene.alerts(&[offer(ROGUE, "192.0.2.66")]) else { panic!() };
    let add =
        "(if it is yours, add \"192.0.2.66\" to dhcp_servers in the configuration of aw-alert";
    assert!(note(alert).contains(add), "{alert}");
}

/// A server that got another network card long ago: its first answer is in the digest. Within a day, the first MAC may be its own.
#[test]
fn a_first_answer_of_a_replaced_server() {
    for (days, expected) in [(30, (NewSetting, true)), (0, (NewDhcpServer, false))] {
        let mut scene = Scene::learned(&usual());
        scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
        scene.event(SERVER, NAMED, Origin::ArpReply);
        let replaced = scene.event(ROUTER, NAMED, Origin::ArpReply);
        assert_eq!(replaced.iter().map(|alert| alert.kind).collect::<Vec<_>>(), [Changed]);
        scene.time += days * DAY;
        assert_eq!(found(&scene.alerts(&[offer(ROUTER, NAMED)])), [expected]);
    }
}

/// A refusal names nothing, so what the first answer with an address names is in the digest, too.
#[test]
fn a_first_answer_that_refuses() {
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = blocks(&["192.0.2.9/32"]);
    let refused = NameRecord { address: v6("::"), ..answer(NameKind::DhcpNak, ROUTER, NAMED) };
    assert_eq!(found(&scene.alerts(&message(6, &[refused]))), [(NewSetting, true)]);
    scene.time += 3600;
    let dns = of_server(NameKind::DhcpDns, ROUTER, NAMED, "192.0.2.7");
    let alerts = scene.alerts(&message(7, &[offer(ROUTER, NAMED), dns]));
    assert_eq!(found(&alerts), [(NewSetting, true)]);
    // Only once.
    let other = of_server(NameKind::DhcpDns, ROUTER, NAMED, "192.0.2.66");
    let alerts = scene.alerts(&message(8, &[refused, offer(ROUTER, NAMED), other]));
    assert_eq!(found(&alerts), [(ForeignDns, false)]);
}

/// Where another MAC has the server's address in this network, no relay makes the sender the server.
#[test]
fn a_made_up_relay() {
    let server = "192.0.2.1";
    let mut scene = Scene::learned(&[&*usual(), &[offer(SERVER, server)]].concat());
    scene.rules.routers = blocks(&["192.0.2.66/32"]);
    scene.event(SERVER, server, Origin::ArpReply);
    scene.event(ROGUE, "192.0.2.66", Origin::ArpReply);
    scene.time += 2 * DAY;
    let relayed = NameRecord { relay: v6("192.0.2.66"), ..offer(ROGUE, server) };
    assert_eq!(found(&scene.alerts(&[relayed])), [(NewDhcpServer, false)]);
}
