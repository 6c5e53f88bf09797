//! What an alert about an address means, and what a learning time of all devices does not make normal.

use super::*;

const GATEWAY: &str = "192.0.2.1";
const HOUR: i64 = 3600;

fn named(list: &[&str]) -> Vec<NamedServer> {
    list.iter().map(|ip| NamedServer::Addresses(ip.parse::<IpAddr>().unwrap().into())).collect()
}

fn known(scene: &mut Scene, part: Part, key: &str) -> Option<Known> {
    let known = scene.memory.known("sensor/addrwatch/eth0", part, key);
    known.unwrap_or_else(|never| match never {})
}

fn station(scene: &mut Scene, ip: &str) -> Station {
    let station = scene.memory.station("sensor/addrwatch/eth0", ip.parse().unwrap());
    station.unwrap_or_else(|never| match never {})
}

#[track_caller]
fn only(alerts: &[Alert]) -> &Alert {
    let [alert] = alerts else { panic!("{alerts:?}") };
    alert
}

/// Each takeover says who had the address, since when, and what to do; also that it is a server's. The first words are as they were.
#[test]
fn a_takeover_says_what_it_means() {
    let mut scene = Scene::learned(&[offer(SERVER, GATEWAY)]);
    scene.rules.dns_servers = named(&[GATEWAY]);
    assert_eq!(scene.event(SERVER, GATEWAY, Origin::ArpRequest), []);
    let changed = scene.event(ROGUE, GATEWAY, Origin::ArpRequest);
    let line = only(&changed).to_string();
    let begin = format!(
        "changed ethernet address {GATEWAY} {ROGUE} ({SERVER}) eth0: {GATEWAY} is the DHCP server that was learned here and the DNS server that the configuration names, and may be the router, too. \
        Before, it was {SERVER} (first seen at @1), which was the first one. Either a device was exchanged "
    );
    assert!(line.starts_with(&begin), "{line}");
    assert!(line.contains("(ARP spoofing)"), "{line}");
    assert!(line.ends_with(" and unplug it. The next takeover is reported, too."), "{line}");
    let short = only(&changed).short_line();
    let fact = format!(
        "{GATEWAY} is the DHCP server that was learned here and the DNS server that the configuration names, and may be the router, too"
    );
    assert_eq!(
        short,
        format!("changed ethernet address {GATEWAY} {ROGUE} ({SERVER}) eth0: {fact}")
    );
    // Its way back, and both at once.
    let flip = scene.event(SERVER, GATEWAY, Origin::ArpRequest);
    let line = only(&flip).to_string();
    let first = format!("{SERVER} (first seen at @1) was the first one.");
    let begin = format!(
        "flip flop {GATEWAY} {SERVER} ({ROGUE}) eth0: {fact}. {first} Before, it was {ROGUE}. "
    );
    assert!(line.starts_with(&begin), "{line}");
    scene.time += 2 * HOUR;
    scene.event(ROGUE, GATEWAY, Origin::ArpReply);
    scene.time += 1;
    let both = scene.event_now(SERVER, GATEWAY, Origin::ArpReply);
    let line = only(&both).to_string();
    let begin =
        format!("duplicate address {GATEWAY} {SERVER} ({ROGUE}) eth0: both MACs answer. {fact}. ");
    assert!(line.starts_with(&begin) && line.contains("Either two devices have "), "{line}");
    let short = only(&both).short_line();
    assert!(short.ends_with(&format!(" eth0: both MACs answer. {fact}")), "{short}");
    // Of another address; IPv6; and a server that was only reported.
    scene.event(SERVER, "2001:db8::9", Origin::NdAdvertisement);
    let other = scene.event(ROGUE, "2001:db8::9", Origin::NdAdvertisement);
    let line = only(&other).to_string();
    assert!(
        !line.contains(" server ") && line.contains("(spoofing of Neighbor Discovery)"),
        "{line}"
    );
    scene.alerts(&[offer(ROGUE, "192.0.2.66")]);
    scene.event(ROGUE, "192.0.2.66", Origin::ArpRequest);
    let reported = scene.event(SERVER, "192.0.2.66", Origin::ArpRequest);
    assert!(!only(&reported).to_string().contains("DHCP server"), "{reported:?}");
    // arpwatch's rules have arpwatch's texts.
    scene.rules.dialect = Dialect::Arpwatch;
    let (advice, pause) = (String::new(), String::new());
    let mut alert = Alert { advice, pause, note: None, ..only(&changed).clone() };
    scene.explain(std::slice::from_mut(&mut alert));
    assert_eq!(alert.to_string(), alert.arpwatch_line());
}

/// The way back names the first MAC, and until when the other one's next takeover is not reported; no sentence depends on the header.
#[test]
fn the_way_back_of_a_gateway() {
    let mut scene = Scene::new();
    scene.rules.routers = named(&[GATEWAY]);
    assert_eq!(scene.event(SERVER, GATEWAY, Origin::ArpRequest), []);
    scene.time += 4 * DAY;
    let taken = scene.event(ROGUE, GATEWAY, Origin::ArpRequest);
    assert_eq!(only(&taken).kind, AlertKind::GatewayTaken);
    let end = scene.time + HOUR - BEGIN;
    let until = format!(" Further takeovers by {ROGUE} are not reported until @{end}.");
    assert!(only(&taken).to_string().ends_with(&until), "{taken:?}");
    let back = scene.event(SERVER, GATEWAY, Origin::ArpRequest);
    let line = only(&back).to_string();
    let begin = format!(
        "flip flop {GATEWAY} {SERVER} ({ROGUE}) eth0: {SERVER} (first seen at @100), which was the first one, now answers for the gateway {GATEWAY}. Before, it was {ROGUE}. "
    );
    let then = format!(
        " Further takeovers by {ROGUE} are not reported until @{end}. Other takeovers by either MAC are not reported until @{}, unless both claim it in turn within 60 s.",
        scene.time + HOUR - BEGIN
    );
    assert!(line.starts_with(&begin) && line.ends_with(&then), "{line}");
    // It is so: silent until then, and reported after it.
    assert_eq!(scene.event(ROGUE, GATEWAY, Origin::ArpRequest), []);
    scene.event(SERVER, GATEWAY, Origin::ArpRequest);
    scene.time += HOUR;
    assert_eq!(
        only(&scene.event(ROGUE, GATEWAY, Origin::ArpRequest)).kind,
        AlertKind::GatewayTaken
    );
}

/// A message about the past is in the past tense.
#[test]
fn a_late_message_about_a_gateway() {
    let mut scene = Scene::new();
    scene.rules.routers = named(&[GATEWAY]);
    scene.event(SERVER, GATEWAY, Origin::ArpRequest);
    let taken = scene.event(ROGUE, GATEWAY, Origin::ArpRequest);
    let deed = format!("now announces the router {GATEWAY} and withdraws it: hosts stop using it");
    for (after, does) in [
        (60, &*deed),
        (61, "announced the router 192.0.2.1 and withdrew it: hosts stopped using it"),
    ] {
        let facts = crate::alert::Facts::Gateway(deed.clone());
        let mut late = Alert { facts, note: None, ..only(&taken).clone() };
        scene.time = late.time + after;
        scene.explain(std::slice::from_mut(&mut late));
        let note = late.note.unwrap();
        assert!(note.starts_with(&format!("{ROGUE} {does}. Before, it was ")), "{note}");
    }
}

/// While all devices are learned, a named address is guarded: its takeover is reported, and no second MAC is normal there.
#[test]
fn a_named_address_while_all_is_learned() {
    for (ip, list) in [(GATEWAY, 0), ("192.0.2.2", 1), ("192.0.2.3", 2)] {
        let mut scene = Scene::new();
        let Rules { routers, dhcp_servers, dns_servers, .. } = &mut scene.rules;
        *[routers, dhcp_servers, dns_servers][list] = named(&[ip]);
        scene.learning = true;
        assert_eq!(scene.event(SERVER, ip, Origin::ArpRequest), []);
        let taken = scene.event(ROGUE, ip, Origin::ArpReply);
        let kind = if list == 0 { AlertKind::GatewayTaken } else { AlertKind::Changed };
        assert_eq!((only(&taken).kind, only(&taken).digest), (kind, false));
        let back = scene.event(SERVER, ip, Origin::ArpReply);
        assert_eq!(only(&back).kind, AlertKind::FlipFlop);
        let found = station(&mut scene, ip);
        assert_eq!((&*found.learned, &*found.sharers), (&[mac(SERVER)][..], &[][..]));
        // A cluster's group is none there, either.
        scene.event("03:bf:c0:00:02:01", ip, Origin::ArpReply);
        assert_eq!(station(&mut scene, ip).learned, [mac(SERVER)]);
        // When the time is over, both are still reported.
        scene.learning = false;
        scene.time += 2 * HOUR;
        assert_eq!(scene.event(ROGUE, ip, Origin::ArpReply).len(), 1);
        // What nothing names is learned, and silent.
        scene.learning = true;
        for mac in [SERVER, ROGUE, SERVER] {
            assert_eq!(scene.event(mac, "192.0.2.9", Origin::ArpReply), []);
        }
        assert_eq!(station(&mut scene, "192.0.2.9").learned, [mac(SERVER), mac(ROGUE)]);
    }
    // A group that the configuration names stays quiet, as does a proxy that it names.
    let mut scene = Scene::new();
    scene.rules.routers = named(&[GATEWAY]);
    scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROGUE.parse().unwrap()]];
    (scene.rules.proxies, scene.rules.proxy_arp) = (vec![mac(CLIENT)], MacPolicy::Ignore);
    scene.learning = true;
    for mac in [SERVER, ROGUE, SERVER, CLIENT] {
        assert_eq!(scene.event(mac, GATEWAY, Origin::ArpReply), []);
    }
    // One that answered for many while it was learned is none there.
    for (list, proxy_arp) in
        [(0, MacPolicy::Ignore), (1, MacPolicy::Digest), (2, MacPolicy::Ignore)]
    {
        let mut scene = Scene::new();
        let Rules { routers, dhcp_servers, dns_servers, .. } = &mut scene.rules;
        *[routers, dhcp_servers, dns_servers][list] = named(&[GATEWAY]);
        scene.rules.proxy_arp = proxy_arp;
        scene.learning = true;
        scene.event(SERVER, GATEWAY, Origin::ArpReply);
        for last in 10..60 {
            assert_eq!(scene.event(ROGUE, &format!("192.0.2.{last}"), Origin::ArpReply), []);
        }
        let taken = scene.event(ROGUE, GATEWAY, Origin::ArpReply);
        let kind = if list == 0 { AlertKind::GatewayTaken } else { AlertKind::Changed };
        assert_eq!((only(&taken).kind, only(&taken).digest), (kind, false));
    }
    // The first MAC of a cluster is its own; and a block names a network, not each of its hosts.
    let mut scene = Scene::new();
    scene.rules.dns_servers = named(&["192.0.2.53"]);
    scene.rules.routers = vec![NamedServer::Addresses("192.0.2.0/27".parse().unwrap())];
    scene.learning = true;
    scene.event("03:bf:c0:00:02:35", "192.0.2.53", Origin::ArpReply);
    assert_eq!(station(&mut scene, "192.0.2.53").learned.len(), 1);
    for mac in [SERVER, ROGUE, SERVER] {
        assert_eq!(scene.event(mac, GATEWAY, Origin::ArpReply), []);
    }
}

/// Its messages came from another MAC before: who is the first one in ARP is reported, and not learned.
#[test]
fn the_first_in_arp_at_a_named_address() {
    let mut scene = Scene::new();
    scene.rules.routers = named(&[GATEWAY]);
    scene.learning = true;
    scene.alerts(&[offer(SERVER, GATEWAY)]);
    let taken = scene.event(ROGUE, GATEWAY, Origin::ArpRequest);
    assert_eq!(only(&taken).kind, AlertKind::GatewayTaken);
    scene.event(ROGUE, GATEWAY, Origin::ArpRequest);
    assert_eq!(station(&mut scene, GATEWAY).learned, []);
    scene.event(SERVER, GATEWAY, Origin::ArpRequest);
    scene.learning = false;
    scene.time += 2 * DAY;
    let taken = scene.event(ROGUE, GATEWAY, Origin::ArpRequest);
    assert_eq!(only(&taken).kind, AlertKind::GatewayTaken);
    assert_eq!(scene.kinds(&[offer(ROGUE, GATEWAY)]), [AlertKind::NewDhcpServer]);
    // The group of a cluster.
    let group = "03:bf:c0:00:02:01";
    let mut scene = Scene::new();
    scene.rules.dhcp_servers = named(&[GATEWAY]);
    scene.learning = true;
    scene.alerts(&[offer(SERVER, GATEWAY)]);
    assert_eq!(only(&scene.event(group, GATEWAY, Origin::ArpReply)).kind, AlertKind::Broadcast);
    assert_eq!(scene.event(group, GATEWAY, Origin::ArpReply), []);
    assert_eq!(station(&mut scene, GATEWAY).learned, []);
    scene.learning = false;
    scene.time += 2 * HOUR;
    assert_eq!(only(&scene.event(group, GATEWAY, Origin::ArpReply)).kind, AlertKind::Broadcast);
    // Its own MAC, one of its group, and one that was there before the messages.
    for (mac_of_arp, is_before) in [(SERVER, false), (ROUTER, false), (CLIENT, true)] {
        let mut scene = Scene::new();
        scene.rules.routers = named(&[GATEWAY]);
        scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROUTER.parse().unwrap()]];
        scene.learning = true;
        if is_before {
            assert_eq!(scene.event(mac_of_arp, GATEWAY, Origin::ArpRequest), []);
        }
        scene.alerts(&[offer(SERVER, GATEWAY)]);
        assert_eq!(scene.event(mac_of_arp, GATEWAY, Origin::ArpRequest), []);
        assert_eq!(station(&mut scene, GATEWAY).learned, [mac(mac_of_arp)]);
    }
}

/// The same of messages in the name of what the configuration names: the second MAC is reported, and not learned.
#[test]
fn messages_in_a_named_name_while_an_interface_learns() {
    let (own, forged) = (router(ROUTER, "fe80::1", 1800), router(ROGUE, "fe80::1", 1800));
    let mut scene = Scene::new();
    scene.rules.routers = named(&["fe80::1"]);
    assert_eq!(scene.kinds(&[own, forged, own, forged]), [AlertKind::GatewayTaken]);
    let row = known(&mut scene, Part::RouterMac, &format!("fe80::1 {ROGUE}")).unwrap();
    assert_eq!(row.trust, Trust::Reported);
    // One that nothing names is learned with both.
    assert_eq!(Scene::new().kinds(&[own, forged, own]), []);
    // A server whose address another MAC has, or had first, or that answered first.
    for before in [&[SERVER][..], &[SERVER, ROGUE], &[]] {
        let mut scene = Scene::new();
        scene.rules.dhcp_servers = named(&[GATEWAY]);
        for mac in before {
            scene.event(mac, GATEWAY, Origin::ArpRequest);
        }
        let (own, forged) = (offer(SERVER, GATEWAY), offer(ROGUE, GATEWAY));
        let records = if before.len() == 2 { vec![forged, forged] } else { vec![own, forged, own] };
        assert_eq!(scene.kinds(&records), [AlertKind::NewDhcpServer], "{before:?}");
        let row = known(&mut scene, Part::DhcpServerMac, &format!("{GATEWAY} {ROGUE}")).unwrap();
        assert_eq!(row.trust, Trust::Reported);
    }
}

/// A server behind two relays, which has no ARP here: only one that the configuration names, and whose address no other MAC had, is in the
/// digest. Any host can write a relay's address.
#[test]
fn a_named_server_behind_two_relays() {
    const RELAY: &str = "192.0.2.254";
    let relayed = |mac, relay| NameRecord { relay: v6(relay), ..offer(mac, GATEWAY) };
    let alarm = (AlertKind::NewDhcpServer, false, 0);
    for (is_named, arp, expected) in [
        (true, &[CLIENT][..], (AlertKind::NewSetting, true, 1)),
        (false, &[CLIENT], alarm),
        (true, &[], alarm),
        (true, &[ROUTER], alarm),
        (true, &[ROUTER, CLIENT], alarm),
    ] {
        let mut scene = Scene::new();
        scene.rules.dhcp_servers = named(&[GATEWAY]);
        scene.rules.routers = named(if is_named { &[RELAY] } else { &[] });
        for mac in arp {
            scene.event(mac, RELAY, Origin::ArpReply);
        }
        let own = relayed(ROUTER, "192.0.2.253");
        let alerts = scene.alerts(&[own, relayed(CLIENT, RELAY), own]);
        let row = known(&mut scene, Part::DhcpServerMac, &format!("{GATEWAY} {CLIENT}")).unwrap();
        assert_eq!((only(&alerts).kind, only(&alerts).digest, row.number), expected, "{arp:?}");
        assert_eq!(row.trust, Trust::Reported);
    }
}

/// A server that was replaced long before its interface learns, with or without `--learn` at that time, is its own.
#[test]
fn a_named_server_that_was_replaced_before() {
    for learned in [true, false] {
        let mut scene = Scene::new();
        scene.rules.dhcp_servers = named(&[GATEWAY]);
        scene.learning = learned;
        scene.event(SERVER, GATEWAY, Origin::ArpReply);
        scene.learning = false;
        scene.time += 30 * DAY;
        scene.event(CLIENT, GATEWAY, Origin::ArpReply);
        scene.time += 20 * DAY;
        scene.event(CLIENT, GATEWAY, Origin::ArpReply);
        assert_eq!(scene.alerts(&[offer(CLIENT, GATEWAY)]), []);
        let row = known(&mut scene, Part::DhcpServerMac, &format!("{GATEWAY} {CLIENT}")).unwrap();
        assert_eq!(row.trust, Trust::Learned);
        // If the first one is there, too, the next one is reported.
        scene.event(SERVER, GATEWAY, Origin::ArpReply);
        assert_eq!(scene.kinds(&[offer(ROGUE, GATEWAY)]), [AlertKind::NewDhcpServer]);
    }
}

/// What 10,000 forged ARP requests for a gateway cost, of which a few are sent. With `--ignored --nocapture`, in
/// seconds: 1.4 with texts for each, and a query for each of a router's MACs.
#[test]
#[ignore = "a measurement"]
fn a_flood_of_takeovers() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = crate::SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
    let rules = Rules { routers: named(&[GATEWAY]), ..Rules::default() };
    let ring: RingName = "/addrwatch".parse().unwrap();
    let begin = std::time::Instant::now();
    for number in 0..10_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        let mac = MacAddr::new([0, 8, 0xe1, a, b, c]).to_string();
        let event = event(BEGIN + i64::from(number), &mac, GATEWAY, Origin::ArpRequest);
        let position = Position { generation: 1, sequence: 0 };
        let entry = Entry { ring: &ring, host: "sensor", position, event };
        let mut alerts = rules.observe(&entry, NOW, false, &mut memory).unwrap();
        rules.name_gateways(&entry, NOW, false, &mut alerts, &mut memory).unwrap();
        if number < 30 {
            let clock = |_| String::new();
            alerts
                .iter_mut()
                .for_each(|one| rules.explain(one, (one.time, &clock), &mut memory).unwrap());
        }
    }
    eprintln!("{:?}", begin.elapsed());
}
