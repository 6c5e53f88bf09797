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

fn owned(ip: &str, of: &str) -> Vec<NamedServer> {
    vec![NamedServer::Owned(ip.parse().unwrap(), vec![mac(of)])]
}

/// An address that the configuration has with its MAC.
fn of_an_owner(page: &mut Page) {
    const DNS: &str = "192.0.2.53";
    page.head("An address that the configuration has with its MAC: a router. Another host is the first one, then the router, both in turn, a third one");
    let mut scene = Scene::new();
    scene.rules.routers = owned(GATEWAY, SERVER);
    let claim = |scene: &mut Scene, mac, ip, after| {
        scene.time += after;
        scene.event_now(mac, ip, Origin::ArpReply)
    };
    page.only(&claim(&mut scene, ROGUE, GATEWAY, 100));
    page.only(&claim(&mut scene, SERVER, GATEWAY, 100));
    page.only(
        &claim(&mut scene, SERVER, GATEWAY, 0)
            .into_iter()
            .chain(claim(&mut scene, ROGUE, GATEWAY, 100))
            .chain(claim(&mut scene, SERVER, GATEWAY, 1))
            .collect::<Vec<_>>(),
    );
    page.only(&claim(&mut scene, THIRD, GATEWAY, 100));
    page.head("The router first, and the other one after an hour once more");
    let mut scene = Scene::new();
    scene.rules.routers = owned(GATEWAY, SERVER);
    scene.rules.service_file = Some("/etc/addrwatch/alert.toml".into());
    assert_eq!(claim(&mut scene, SERVER, GATEWAY, 100), []);
    page.only(&claim(&mut scene, ROGUE, GATEWAY, 100));
    page.only(&claim(&mut scene, SERVER, GATEWAY, 100));
    page.only(&claim(&mut scene, ROGUE, GATEWAY, HOUR));
    page.head("Its Router Advertisement");
    let mut scene = Scene::learned(&usual());
    scene.rules.routers = owned("fe80::1", ROUTER);
    page.only(&scene.alerts(&[router(ROGUE, "fe80::1", 1800), router(ROUTER, "fe80::1", 1800)]));
    page.head("Its answer of DHCP, and its first lease; the first answer of the server itself");
    let mut scene = Scene::learned(&usual()[3..]);
    scene.rules.dhcp_servers = owned(GATEWAY, SERVER);
    let lease = answer(NameKind::DhcpAck, ROGUE, GATEWAY);
    let router_of = of_server(NameKind::DhcpRouter, ROGUE, GATEWAY, "192.0.2.66");
    let alerts = scene.alerts(&[offer(ROGUE, GATEWAY), router_of, lease, offer(SERVER, GATEWAY)]);
    assert_eq!(alerts.len(), 3);
    alerts.iter().for_each(|one| page.only(std::slice::from_ref(one)));
    page.head("The router answers, which is not named as a DHCP server");
    let mut scene = Scene::learned(&usual()[3..]);
    scene.rules.routers = owned(GATEWAY, SERVER);
    page.only(&scene.alerts(&[offer(SERVER, GATEWAY)]));
    page.head("A DNS server: it was there, another host takes its address, a client's request, it is back, both in turn, and an hour later");
    let mut scene = Scene::learned(&usual()[3..]);
    scene.rules.dns_servers = owned(DNS, SERVER);
    assert_eq!(claim(&mut scene, SERVER, DNS, 100), []);
    page.only(&claim(&mut scene, ROGUE, DNS, 100));
    page.only(&scene.alerts(&[request(CLIENT, DNS)]));
    page.only(&claim(&mut scene, SERVER, DNS, 100));
    assert_eq!(claim(&mut scene, ROGUE, DNS, 100), []);
    page.only(&claim(&mut scene, SERVER, DNS, 1));
    page.only(&claim(&mut scene, ROGUE, DNS, HOUR));
    page.head("In a form that Linux ignores: at that server, and at a router before and after the owner was seen");
    scene.time += HOUR;
    page.only(&scene.event_now(ROGUE, DNS, Origin::ArpIgnored));
    for macs in [&[][..], &[SERVER]] {
        let mut scene = Scene::new();
        scene.rules.routers = owned(GATEWAY, SERVER);
        macs.iter().for_each(|mac| assert_eq!(claim(&mut scene, mac, GATEWAY, 100), []));
        page.only(&scene.event(ROGUE, GATEWAY, Origin::ArpIgnored));
    }
}

/// What a message says of the next takeover is of its event's time, and of every MAC.
#[test]
fn the_next_takeover() {
    let claim = |scene: &mut Scene, mac, time| {
        scene.time = BEGIN + time;
        let alerts = scene.event_now(mac, GATEWAY, Origin::ArpRequest);
        alerts.iter().map(|one| one.pause.contains("The next ")).collect::<Vec<_>>()
    };
    let own = |late| {
        let mut scene = Scene { late, ..Scene::new() };
        scene.rules.routers = owned(GATEWAY, SERVER);
        scene
    };
    let mut scene = own(7200);
    let found =
        [(ROGUE, 0), (SERVER, 100), (ROGUE, 200)].map(|(mac, time)| claim(&mut scene, mac, time));
    assert_eq!(found, [vec![false], vec![false], vec![]]);
    let mut scene = own(0);
    for (mac, time, reported) in [
        (ROGUE, 0, true),
        (THIRD, 2000, true),
        (ROGUE, 3000, false),
        (SERVER, 4000, true),
        (THIRD, 4100, false),
    ] {
        let said: &[_] = if reported { &[false] } else { &[] };
        assert_eq!(claim(&mut scene, mac, time), said, "{time}");
    }
    // Without an owner: two at once, which is said not to be reported, and one of them alone an hour after the first report.
    for is_router in [false, true] {
        let mut scene = Scene::new();
        scene.rules.routers = if is_router { named(GATEWAY) } else { Vec::new() };
        for (mac, time) in
            [(SERVER, 0), (ROGUE, 1), (SERVER, 2), (SERVER, 3498), (ROGUE, 3499), (SERVER, 3500)]
        {
            claim(&mut scene, mac, time);
        }
        assert_eq!(claim(&mut scene, ROGUE, 3700).len(), 1, "{is_router}");
    }
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
    of_an_owner(&mut page);
    of_a_device(&mut page);
    assert!(page.0 == include_str!("messages.txt"), "messages.txt is to be:\n{}", page.0);
}

/// Whose takeovers an alert says are not reported.
#[derive(Debug)]
enum Who {
    Macs(Vec<String>),
    /// The two of the alert, and those of their group that had the address.
    Either(Vec<String>),
    /// Those that had the address.
    Had,
    /// Those that the configuration has for it, and that had it.
    Owner,
}

/// What an alert says is not reported: until when, whose, and whether those that claim it in turn, or an advertisement, are.
#[derive(Debug)]
struct Promise {
    until: i64,
    who: Who,
    but_in_turn: bool,
    but_announced: bool,
}

impl Promise {
    /// Whether it is about a takeover. `had`: whether that MAC had the address before.
    fn is_of(&self, takeover: &Takeover) -> bool {
        let Takeover { mac, time, is_in_turn, is_announced, had, group } = *takeover;
        let is_one = |macs: &[String]| macs.iter().any(|one| one == mac);
        let is_of_group = |one: &String| group.contains(&&**one) && group.contains(&mac);
        let is_its = match &self.who {
            Who::Macs(macs) => is_one(macs),
            Who::Either(macs) => is_one(macs) || had && macs.iter().any(is_of_group),
            Who::Had => had,
            Who::Owner => had && (mac == SERVER || group.contains(&mac)),
        };
        let is_in_turn = is_in_turn && !is_announced;
        let is_excepted = self.but_in_turn && is_in_turn || self.but_announced && is_announced;
        time < self.until && is_its && !is_excepted
    }
}

/// A MAC takes the address.
struct Takeover<'a> {
    mac: &'a str,
    time: i64,
    /// Within seconds after another one.
    is_in_turn: bool,
    /// By an advertisement.
    is_announced: bool,
    had: bool,
    group: &'a [&'a str],
}

fn promises(alert: &Alert) -> Vec<Promise> {
    let mut found = Vec::new();
    let list = |macs: &str| Who::Macs(macs.split(" and ").map(str::to_owned).collect());
    for sentence in alert.pause.split_inclusive(". ") {
        if sentence.starts_with("The next ") || sentence.starts_with("Further answers to probes") {
            continue;
        }
        let (who, rest) = sentence.split_once(" not reported until ").unwrap();
        let (times, but) = rest.split_once(", unless ").unwrap_or((rest, ""));
        let both = [Some(alert.mac.clone()), alert.old_mac.clone()];
        let takeovers = who.strip_prefix("Further takeovers by ");
        let takeovers = takeovers.or(who.strip_prefix("Other takeovers by "));
        let mut who = Some(match takeovers.map(|who| who.strip_suffix(" are").unwrap()) {
            Some("either MAC") => Who::Either(both.into_iter().flatten().collect()),
            Some("MACs that have had it") => Who::Had,
            Some(macs) => list(macs),
            None if who.starts_with("That ") && who.ends_with(" takes it back is") => Who::Owner,
            None => panic!("{sentence}"),
        });
        for time in times.split(", and by ") {
            let (further, time) = time.split_once('@').unwrap();
            let end = time.find(|of: char| !of.is_ascii_digit()).unwrap_or(time.len());
            let further = further.strip_suffix(" until ").map(list);
            found.push(Promise {
                until: BEGIN + time[..end].parse::<i64>().unwrap(),
                who: further.or(who.take()).unwrap(),
                but_in_turn: but.contains(" claim it in turn within 60 s"),
                but_announced: but.contains("one announces the router"),
            });
        }
    }
    found
}

/// What the configuration has of the address in the test below, and whether it has a MAC beside it.
const NAMED: [(&str, bool); 5] = [
    ("nothing", false),
    ("a router", false),
    ("a router with its MAC", true),
    ("a DHCP server with its MAC", true),
    ("a DNS server with its MAC", true),
];

/// A network that nothing was learned of, or the server and router; time passes before.
fn named_in_a_round(round: usize, ip: &str, is_pair: bool) -> Scene {
    let mut scene = match round % 3 {
        0 => Scene::new(),
        _ => Scene::learned(&[offer(SERVER, GATEWAY), router(SERVER, "fe80::1", 1800)]),
    };
    scene.time += 99 * DAY;
    let Rules { routers, dhcp_servers, dns_servers, .. } = &mut scene.rules;
    match round / 6 % NAMED.len() {
        0 => {}
        1 => *routers = named(ip),
        2 => *routers = owned(ip, SERVER),
        3 => *dhcp_servers = owned(ip, SERVER),
        _ => *dns_servers = owned(ip, SERVER),
    }
    if is_pair {
        scene.rules.failovers = vec![[SERVER, THIRD].map(|mac| mac.parse().unwrap()).into()];
    }
    scene
}

/// Whatever three hosts claim, and announce, nothing is reported that an alert before said would not be; and a takeover that is not
/// reported is one of which an alert said so.
#[test]
fn what_is_said_not_to_be_reported_is_not() {
    let mut number = 7_u64;
    let mut random = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (number >> 33) % below
    };
    let mut counts = BTreeMap::<_, [usize; 3]>::new();
    for round in 0..480 {
        let (ip, origin) = match round % 2 {
            0 => (GATEWAY, Origin::ArpReply),
            _ => ("fe80::1", Origin::NdAdvertisement),
        };
        let (list, is_owned) = NAMED[round / 6 % NAMED.len()];
        let is_pair = round % 4 == 3 || round % 4 == 0;
        let group = if is_pair { &[SERVER, THIRD][..] } else { &[] };
        let mut scene = named_in_a_round(round, ip, is_pair);
        // Of a message that is made later, only what it says of the next one is left.
        scene.late = if round < 240 { 0 } else { 2 * HOUR };
        let [said, silent, next] = counts.entry((list, ip, is_pair)).or_default();
        let mut promised: Vec<Promise> = Vec::new();
        let mut is_next_said = false;
        for _ in 0..200 {
            scene.time += [1, 8, 50, 300, 3000][random(5) as usize];
            if random(100) == 0 {
                // The clock is set back: what was said before is of another clock.
                scene.time -= DAY;
                promised.clear();
                is_next_said = false;
            }
            let of = [SERVER, SERVER, ROGUE, ROGUE, THIRD][random(5) as usize];
            let is_announced = random(8) == 0 && round % 2 == 1;
            let before = scene.station(ip);
            let now = UnixTime::new(scene.time, 0);
            let is_in_turn = before.duplicate(mac(of), now, 60, true).is_some();
            let alerts = match is_announced {
                true => scene.alerts(&[router(of, ip, 1800)]),
                false => scene.event_now(of, ip, origin),
            };
            let (time, had) = (scene.time, before.has(mac(of)));
            let takeover = Takeover { mac: of, time, is_in_turn, is_announced, had, group };
            let is_own = of == SERVER || group.contains(&of);
            let takes = before.owner().is_some_and(|old| {
                let is_of_group = |one| group.iter().any(|mac| self::mac(mac) == one);
                old != mac(of) && !(is_of_group(old) && is_of_group(mac(of)))
            });
            let must_be_said = match (is_announced, is_owned) {
                (true, _) => is_owned && list.starts_with("a router") && !is_own,
                (false, _) => takes,
            };
            let is_takeover = |one: &&Alert| one.kind.is_takeover() && one.mac == of;
            if must_be_said && alerts.iter().find(is_takeover).is_none() {
                let is_said = scene.late > 0 || promised.iter().any(|one| one.is_of(&takeover));
                assert!(
                    is_said && !is_next_said,
                    "{round} {list} {ip}: {of} at {time}, said: {promised:?}"
                );
                *silent += 1;
            }
            is_next_said &= !takes && alerts.is_empty();
            for alert in alerts.iter().filter(is_takeover) {
                let broken = promised.iter().find(|one| one.is_of(&takeover));
                assert!(broken.is_none(), "{round} {list} {ip}: {broken:?} at {time}: {alert}");
                let further = promises(alert);
                *said += further.len();
                promised.extend(further);
                is_next_said = alert.pause.contains("The next takeover is reported, too.");
                *next += usize::from(is_next_said);
            }
        }
    }
    assert_eq!(counts.len(), 20, "{counts:?}");
    for (of, [said, silent, _]) in &counts {
        assert!(*said > 100 && *silent > 50, "{of:?}: {counts:?}");
    }
    assert!(counts.values().map(|[.., next]| next).sum::<usize>() > 10, "{counts:?}");
}

impl Scene {
    fn station(&mut self, ip: &str) -> Station {
        let station = self.memory.station("sensor/addrwatch/eth0", ip.parse().unwrap());
        station.unwrap_or_else(|never| match never {})
    }
}
