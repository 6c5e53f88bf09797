//! What the alerts about takeovers and about servers that only clients name say: `messages.txt` has all of them on one page, to be read
//! aloud. Its times are seconds.

use super::*;

const GATEWAY: &str = "192.0.2.1";
const THIRD: &str = "00:08:e1:00:00:67";
const HOUR: i64 = 3600;

/// The page, as it is written.
struct Page(String);

impl Page {
    fn head(&mut self, text: &str) {
        self.0 += &format!("\n# {text}\n");
    }

    #[track_caller]
    fn only(&mut self, alerts: &[Alert]) {
        let [alert] = alerts else { panic!("{alerts:?} after {}", self.0) };
        self.0 += &format!("\n{alert}\n");
    }
}

fn named(ip: &str) -> Vec<NamedServer> {
    vec![NamedServer::Addresses(ip.parse::<IpAddr>().unwrap().into())]
}

/// An address that nothing names.
fn of_an_address(page: &mut Page) {
    let reply = Origin::ArpReply;
    let claim = |scene: &mut Scene, mac, after| {
        scene.time += after;
        scene.event_now(mac, GATEWAY, reply)
    };
    page.head("A host takes the address of a DHCP server, which takes it back, at once in the end");
    let mut scene = Scene::learned(&[offer(SERVER, GATEWAY)]);
    assert_eq!(claim(&mut scene, SERVER, 9), []);
    page.only(&claim(&mut scene, ROGUE, 100));
    page.only(&claim(&mut scene, SERVER, 46));
    page.only(&claim(&mut scene, ROGUE, 8));
    assert_eq!(claim(&mut scene, SERVER, 1000), []);
    assert_eq!(claim(&mut scene, ROGUE, 2), []);
    page.head("A third one takes it within the hour, and later the first two");
    page.only(&claim(&mut scene, THIRD, 100));
    page.only(&claim(&mut scene, SERVER, HOUR));
    page.only(&claim(&mut scene, ROGUE, HOUR));
    page.head("Two hosts of another address");
    let mut scene = Scene::learned(&[]);
    assert_eq!(scene.event("00:08:e1:00:00:10", "192.0.2.9", reply), []);
    scene.rules.names.insert(mac("00:08:e1:00:00:10"), "nas".into());
    scene.time += 1;
    page.only(&scene.event_now("00:08:e1:00:00:11", "192.0.2.9", reply));
    page.head("A host answers for all addresses");
    for last in 1..4 {
        let ip = format!("2001:db8::{last}");
        assert_eq!(scene.event("00:08:e1:00:00:12", &ip, Origin::NdDad), []);
        scene.time += 1;
        let alerts = scene.event_now(ROGUE, &ip, Origin::NdAdvertisement);
        if last == 3 {
            page.only(&alerts);
        }
    }
}

/// A router that the configuration names, or whose messages were learned.
fn of_a_gateway(page: &mut Page) {
    page.head(
        "A host takes the address of a router that the configuration names, which takes it back",
    );
    let mut scene = Scene::new();
    scene.rules.routers = named(GATEWAY);
    let arp = |scene: &mut Scene, mac| scene.event(mac, GATEWAY, Origin::ArpReply);
    assert_eq!(arp(&mut scene, SERVER), []);
    scene.time += 2 * DAY;
    page.only(&arp(&mut scene, ROGUE));
    page.only(&arp(&mut scene, SERVER));
    page.head("The same within seconds, later");
    scene.time += HOUR;
    page.only(&arp(&mut scene, ROGUE));
    scene.time += HOUR + 100;
    let mut all = Vec::new();
    for mac in [SERVER, ROGUE, SERVER] {
        scene.time += 1;
        all.extend(scene.event_now(mac, GATEWAY, Origin::ArpReply));
    }
    all.iter().for_each(|one| page.only(std::slice::from_ref(one)));
    page.head("A third one");
    page.only(&arp(&mut scene, THIRD));
    page.head("A router whose answers of DHCP were learned, and that sent no ARP");
    let of_gateway = of_server(NameKind::DhcpRouter, SERVER, GATEWAY, GATEWAY);
    let mut scene = Scene::learned(&[offer(SERVER, GATEWAY), of_gateway]);
    scene.kinds(&[offer(SERVER, GATEWAY)]);
    page.only(&arp(&mut scene, ROGUE));
    page.only(&arp(&mut scene, SERVER));
    page.head("An advertisement in the name of a router, and one that withdraws it");
    for lifetime in [1800, 0] {
        let mut scene = Scene::learned(&usual());
        page.only(&scene.alerts(&[router(ROGUE, "fe80::1", lifetime)]));
    }
}

/// Servers and addresses of which no message has the MAC.
fn of_what_is_named(page: &mut Page) {
    let asked = |scene: &mut Scene| scene.alerts(&[request(CLIENT, GATEWAY)]);
    page.head(
        "A client asks a DHCP server whose address no MAC claims, then one, then another one",
    );
    let mut scene = Scene::learned(&usual()[3..]);
    let arp = |scene: &mut Scene, mac| scene.event(mac, GATEWAY, Origin::ArpReply);
    page.only(&asked(&mut scene));
    for macs in [&[SERVER][..], &[SERVER, ROGUE], &[SERVER, ROGUE, SERVER]] {
        let mut scene = Scene::learned(&usual()[3..]);
        macs.iter().for_each(|mac| drop(arp(&mut scene, mac)));
        page.only(&asked(&mut scene));
    }
    page.head("The same at a router that the configuration names: the takeover was reported");
    for macs in [&[SERVER, ROGUE][..], &[SERVER, ROGUE, SERVER]] {
        let mut scene = Scene::learned(&usual()[3..]);
        scene.rules.routers = named(GATEWAY);
        scene.rules.service_file = Some("/etc/addrwatch/alert.toml".into());
        macs.iter().for_each(|mac| drop(arp(&mut scene, mac)));
        page.only(&asked(&mut scene));
    }
    page.head("The same, with the MAC of that router in the configuration");
    for macs in [&[ROGUE][..], &[ROGUE, SERVER]] {
        let mut scene = Scene::learned(&usual()[3..]);
        let ip = GATEWAY.parse().unwrap();
        scene.rules.routers = vec![NamedServer::Owned(ip, vec![mac(SERVER)])];
        macs.iter().for_each(|mac| drop(arp(&mut scene, mac)));
        page.only(&asked(&mut scene));
    }
    page.head("A router names itself as DNS server, after a takeover that is the first claim of its address");
    let mut scene = Scene::learned(&usual());
    scene.event(ROGUE, "fe80::1", Origin::NdAdvertisement);
    let dns = of_router(NameKind::RouterDns, ROUTER, "fe80::1", "fe80::1", 0);
    page.only(&scene.alerts(&[dns]));
    page.head("That server answers, and gives a lease");
    let mut scene = Scene::learned(&usual());
    let asked = request(CLIENT, "192.0.2.66");
    let lease = answer(NameKind::DhcpAck, ROGUE, "192.0.2.66");
    let alerts = scene.alerts(&[asked, offer(ROGUE, "192.0.2.66"), lease]);
    alerts[1..].iter().for_each(|one| page.only(std::slice::from_ref(one)));
    page.head("A client asks a server of DHCPv6, whose identifier contains a MAC, or none");
    for id in ["0001000112345678000000000066", "0002abcdef"] {
        page.only(&scene.alerts(&[duid(CLIENT, id)]));
    }
    page.head("The first answer of a server that only clients named");
    let mut scene = Scene::learned(&[request(CLIENT, GATEWAY)]);
    scene.event(SERVER, GATEWAY, Origin::ArpReply);
    page.only(&scene.alerts(&[offer(SERVER, GATEWAY)]));
    page.head("A known server and a known router name a DNS server");
    let mut scene = Scene::learned(&usual());
    scene.event(ROGUE, "192.0.2.66", Origin::ArpReply);
    scene.event(ROGUE, "2001:db8:7::66", Origin::NdAdvertisement);
    page.only(&scene.alerts(&[of_server(NameKind::DhcpDns, SERVER, GATEWAY, "192.0.2.66")]));
    let dns = of_router(NameKind::RouterDns, ROUTER, "fe80::1", "2001:db8:7::66", 0);
    page.only(&scene.alerts(&[dns]));
    page.head("A client declines an address");
    scene.event(ROGUE, "192.0.2.77", Origin::ArpReply);
    let (address, other) = (v6("192.0.2.77"), v6(GATEWAY));
    let decline = NameRecord { address, other, ..record(NameKind::DhcpDecline, CLIENT) };
    page.only(&scene.alerts(&[decline]));
}

/// Devices that are new, and not in the file of known ones, in the event in which they take an address.
fn of_a_device(page: &mut Page) {
    page.head("A device that is new, and unknown, takes an address");
    let mut scene = Scene::new();
    scene.rules.known.insert(mac(SERVER), "router".into());
    let mut claim = |mac: &str, after| {
        scene.time += after;
        let event = event(scene.time, mac, GATEWAY, Origin::ArpReply);
        let mut alerts = observe(&scene.rules, &mut scene.memory.memory, &event);
        alerts.retain(|one| matches!(one.kind, AlertKind::NewDevice | AlertKind::UnknownDevice));
        alerts
    };
    claim(SERVER, 1);
    let alerts = claim(ROGUE, 100);
    assert_eq!(alerts.len(), 2);
    alerts.iter().for_each(|one| page.only(std::slice::from_ref(one)));
    page.head("Two new devices at a router whose MAC the configuration has: the other one first, then last");
    for macs in [[ROGUE, SERVER], [SERVER, ROGUE]] {
        let mut scene = Scene::new();
        let ip = GATEWAY.parse().unwrap();
        scene.rules.routers = vec![NamedServer::Owned(ip, vec![mac(SERVER)])];
        for mac in macs {
            scene.time += 100;
            let event = event(scene.time, mac, GATEWAY, Origin::ArpReply);
            let mut alerts = observe(&scene.rules, &mut scene.memory.memory, &event);
            alerts.retain(|one| one.kind == AlertKind::NewDevice);
            page.only(&alerts);
        }
    }
}

#[test]
fn what_a_takeover_says() {
    let mut page =
        Page("What each alert says. The test `what_a_takeover_says` compares it.\n".into());
    of_an_address(&mut page);
    of_a_gateway(&mut page);
    of_what_is_named(&mut page);
    of_a_device(&mut page);
    assert!(page.0 == include_str!("messages.txt"), "messages.txt is to be:\n{}", page.0);
}

/// What an alert promises about later ones: until when, by which MACs, and whether a duplicate is reported.
fn promises(alert: &Alert) -> Vec<(i64, Vec<&'static str>, bool)> {
    const ALL: [&str; 3] = [SERVER, ROGUE, THIRD];
    let mut found = Vec::new();
    for sentence in alert.pause.split_inclusive('.') {
        let time = sentence.split('@').nth(1).unwrap();
        let end = time.find(|of: char| !of.is_ascii_digit()).unwrap();
        let is_of = |mac: &&str| match () {
            () if sentence.contains("either MAC") => {
                *mac == alert.mac || Some(*mac) == alert.old_mac.as_deref()
            }
            () => sentence.contains("these MACs") || sentence.contains(*mac),
        };
        let macs = ALL.into_iter().filter(is_of).collect();
        let with_duplicates = sentence.contains(" only if two ");
        found.push((BEGIN + time[..end].parse::<i64>().unwrap(), macs, with_duplicates));
    }
    found
}

/// Whatever three hosts claim, and announce, nothing is reported that an alert before said would not be.
#[test]
fn what_is_said_not_to_be_reported_is_not() {
    let mut number = 7_u64;
    let mut random = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (number >> 33) % below
    };
    let mut said = 0;
    for round in 0..60 {
        let (ip, origin) = match round % 2 {
            0 => (GATEWAY, Origin::ArpReply),
            _ => ("fe80::1", Origin::NdAdvertisement),
        };
        let mut scene = match round % 3 {
            0 => Scene::new(),
            _ => Scene::learned(&[offer(SERVER, GATEWAY), router(SERVER, "fe80::1", 1800)]),
        };
        scene.time += 99 * DAY;
        scene.rules.routers = if round % 3 == 1 { named(ip) } else { Vec::new() };
        if round % 5 == 3 {
            let ip = ip.parse().unwrap();
            scene.rules.routers = vec![NamedServer::Owned(ip, vec![mac(SERVER)])];
            if round % 10 == 8 {
                // No router.
                scene.rules.dns_servers = std::mem::take(&mut scene.rules.routers);
            }
        }
        if round % 5 == 4 {
            let pair = [SERVER, THIRD].map(|mac| mac.parse().unwrap());
            scene.rules.failovers = vec![pair.into()];
        }
        let mut promised: Vec<(i64, Vec<&str>, bool)> = Vec::new();
        for _ in 0..200 {
            scene.time += [1, 8, 50, 300, 3000][random(5) as usize];
            if random(100) == 0 {
                // The clock is set back: what was said before is of another clock.
                scene.time -= DAY;
                promised.clear();
            }
            let mac = [SERVER, SERVER, ROGUE, ROGUE, THIRD][random(5) as usize];
            let alerts = match random(8) {
                0 if round % 2 == 1 => scene.alerts(&[router(mac, ip, 1800)]),
                _ => scene.event_now(mac, ip, origin),
            };
            for alert in alerts.iter().filter(|one| one.kind.is_takeover()) {
                let is_duplicate = alert.to_string().contains("both MACs ");
                let broken = promised.iter().find(|(until, macs, with_duplicates)| {
                    alert.time < *until
                        && macs.contains(&&*alert.mac)
                        && !(*with_duplicates && is_duplicate)
                });
                assert!(broken.is_none(), "{round}: {broken:?} at {}: {alert}", alert.time);
                promised.extend(promises(alert));
                said += promises(alert).len();
            }
        }
    }
    assert!(said > 1000, "{said}");
}
