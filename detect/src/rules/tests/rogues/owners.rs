//! Addresses that the configuration names with their MACs.

use super::*;
use crate::SqliteMemory;
use AlertKind::{Broadcast, Changed, GatewayTaken, NewDhcpServer};

const GATEWAY: &str = "192.0.2.1";
const NETWORK: &str = "sensor/addrwatch/eth0";
const GROUP: &str = "03:00:5e:00:00:66";
const HOUR: i64 = 3600;
const THIRD: &str = "00:08:e1:00:00:67";

fn owned(ip: &str, macs: &[&str]) -> Vec<NamedServer> {
    vec![NamedServer::Owned(ip.parse().unwrap(), macs.iter().map(|one| mac(one)).collect())]
}

/// Whose router, of IPv4, has this MAC.
fn scene(macs: &[&str], learning: bool) -> Scene {
    let mut scene = Scene { learning, ..Scene::new() };
    scene.rules.routers = owned(GATEWAY, macs);
    scene
}

fn kinds(alerts: &[Alert]) -> Vec<AlertKind> {
    alerts.iter().map(|alert| alert.kind).collect()
}

impl Scene {
    fn claims(&mut self, mac: &str) -> Vec<AlertKind> {
        kinds(&self.event(mac, GATEWAY, Origin::ArpRequest))
    }

    fn trust(&mut self, part: Part, key: &str) -> Option<Trust> {
        let known = self.memory.known(NETWORK, part, key).unwrap_or_else(|never| match never {});
        known.map(|known| known.trust)
    }

    fn has_learned(&mut self, of: &str) -> bool {
        let station = self.memory.station(NETWORK, GATEWAY.parse().unwrap());
        station.unwrap_or_else(|never| match never {}).learned.contains(&mac(of))
    }
}

/// On an empty state, also while all is learned: who speaks first is not the owner, and the owner is no thief.
#[test]
fn the_first_one_is_not_the_owner() {
    for learning in [true, false] {
        let mut scene = scene(&[SERVER], learning);
        let [alert] = &*scene.event(ROGUE, GATEWAY, Origin::ArpRequest) else { panic!() };
        assert_eq!((alert.kind, alert.digest, &*alert.mac), (GatewayTaken, false, ROGUE));
        assert_eq!((alert.old_mac.as_deref(), alert.held), (None, DAY), "no host had it");
        let note = alert.full_note().unwrap();
        let of_owner = format!(
            "{ROGUE} now answers for the gateway {GATEWAY}. `routers` has the MAC {SERVER} for {GATEWAY}, and not {ROGUE}. If {ROGUE} is a MAC of your router, too, "
        );
        assert!(note.starts_with(&of_owner), "{note}");
        let line = format!("write routers = [\"{GATEWAY} {SERVER} {ROGUE}\"] in the configuration");
        assert!(note.contains(&line) && !note.contains("cannot know"), "{note}");
        assert_eq!(scene.claims(ROGUE), [], "within `quiet`");
        // The owner's claim says that there is a conflict, and keeps its kind.
        let back = scene.event(SERVER, GATEWAY, Origin::ArpRequest);
        assert!(!back.iter().any(|alert| alert.kind == GatewayTaken), "{back:?}");
        assert!(back.iter().all(|alert| {
            let note = alert.full_note().unwrap();
            note.contains(&format!("{SERVER} is the MAC that `routers` has for {GATEWAY}: "))
        }));
        assert_eq!(back.len(), 1, "{back:?}");
        // It goes on after `quiet`, with and without a claim of the owner in between.
        scene.time += HOUR;
        assert_eq!(scene.claims(ROGUE), [GatewayTaken]);
        scene.time += HOUR;
        assert_eq!(scene.claims(ROGUE), [GatewayTaken]);
        assert_eq!((scene.has_learned(ROGUE), scene.has_learned(SERVER)), (false, false));
    }
}

/// Its owner claims it first, and learns it; a second one is reported.
#[test]
fn the_owner_is_the_first_one() {
    for learning in [true, false] {
        let mut scene = scene(&[SERVER, ROUTER], learning);
        // A pair, whose MACs take over from each other, and answer at once.
        for mac in [SERVER, ROUTER, SERVER, ROUTER] {
            assert_eq!(scene.claims(mac), []);
        }
        for mac in [SERVER, ROUTER] {
            assert_eq!(scene.event_now(mac, GATEWAY, Origin::ArpReply), []);
        }
        let [alert] = &*scene.event(ROGUE, GATEWAY, Origin::ArpReply) else { panic!() };
        assert_eq!((alert.kind, alert.old_mac.as_deref()), (GatewayTaken, Some(ROUTER)));
        assert_eq!(scene.has_learned(SERVER), learning);
        assert!(!scene.has_learned(ROGUE));
    }
    let mut scene = scene(&[SERVER], false);
    scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROUTER.parse().unwrap()]];
    for mac in [ROUTER, SERVER, ROUTER] {
        assert_eq!(scene.claims(mac), []);
    }
}

/// What was learned before the configuration had the MAC counts no longer: that of ARP, of advertisements, and of answers.
#[test]
fn what_was_learned_before() {
    let mut scene = Scene { learning: true, ..Scene::new() };
    let of_router = router(ROGUE, "fe80::1", 1800);
    for _ in 0..3 {
        assert_eq!(scene.claims(ROGUE), []);
        assert_eq!(scene.kinds(&[of_router, offer(ROGUE, GATEWAY)]), []);
    }
    scene.rules.routers = [owned(GATEWAY, &[SERVER]), owned("fe80::1", &[ROUTER])].concat();
    scene.rules.dhcp_servers = owned(GATEWAY, &[SERVER]);
    scene.learning = false;
    scene.time = LATER;
    assert_eq!(scene.claims(ROGUE), [GatewayTaken]);
    let found = scene.alerts(&[of_router, offer(ROGUE, GATEWAY), of_router, offer(ROGUE, GATEWAY)]);
    assert_eq!(kinds(&found), [GatewayTaken, NewDhcpServer]);
    assert_eq!(found[0].old_mac, None, "the owner was not seen");
    assert!(!found[0].full_note().unwrap().contains("Before, it was"), "{}", found[0]);
    for (part, key) in [(Part::RouterMac, "fe80::1"), (Part::DhcpServerMac, GATEWAY)] {
        assert_eq!(scene.trust(part, &format!("{key} {ROGUE}")), Some(Trust::Reported));
    }
    assert_eq!(scene.kinds(&[router(ROUTER, "fe80::1", 1800)]), []);
    assert!(!scene.kinds(&[offer(SERVER, GATEWAY)]).contains(&NewDhcpServer));
}

/// The advertisement of another MAC is reported while all is learned, also the first one; and nothing of it is learned.
#[test]
fn an_advertisement_of_another_mac() {
    use NameKind::{RouterDns, RouterPrefix};
    for period in [DAY, 0] {
        let mut scene = Scene { learning: period > 0, ..Scene::new() };
        scene.rules.routers = owned("fe80::1", &[ROUTER]);
        let observe =
            |scene: &mut Scene, record: &NameRecord| kinds(&scene.observe(record, period).alerts);
        let forged = router(ROGUE, "fe80::1", 1800);
        assert_eq!(observe(&mut scene, &forged), [GatewayTaken]);
        for record in [
            of_router(RouterPrefix, ROGUE, "fe80::1", "2001:db8:66::", 64),
            of_router(RouterDns, ROGUE, "fe80::1", "2001:db8:66::53", 0),
            forged,
        ] {
            assert_eq!(observe(&mut scene, &record), []);
        }
        let learned = scene.memory.known.iter().filter(|((_, part, key), known)| {
            let is_row = *part != "period" && *part != "limit" && !key.is_empty();
            is_row && known.trust == Trust::Learned
        });
        assert_eq!(learned.count(), 0, "{:?}", scene.memory.known);
        // The router itself, and what it announces, before and after the rogue.
        let own = router(ROUTER, "fe80::1", 1800);
        assert_eq!(observe(&mut scene, &own), []);
        scene.time += HOUR;
        assert_eq!(observe(&mut scene, &forged), [GatewayTaken]);
        assert_eq!(observe(&mut scene, &own), []);
        // Neighbor Discovery is the same takeover.
        assert_eq!(scene.event(ROGUE, "fe80::1", Origin::NdAdvertisement), []);
        scene.time += HOUR;
        assert_eq!(kinds(&scene.event(ROGUE, "fe80::1", Origin::NdAdvertisement)), [GatewayTaken]);
        assert_eq!(observe(&mut scene, &forged), []);
    }
}

/// Of a pair, what each announces while it learns is normal.
#[test]
fn the_advertisements_of_a_pair() {
    let mut scene = Scene::new();
    scene.rules.routers = owned("fe80::1", &[ROUTER, SERVER]);
    let other = NameRecord { hops: 32, ..router(SERVER, "fe80::1", 1800) };
    let all = [router(ROUTER, "fe80::1", 1800), router(SERVER, "fe80::1", 1800), other];
    assert_eq!(scene.kinds(&all), []);
    scene.time = LATER;
    assert_eq!(scene.kinds(&[other]), []);
}

/// The answer of another MAC is a new server, also while it is learned, and what it names is not learned; the owner's is none.
#[test]
fn an_answer_of_another_mac() {
    use NameKind::{DhcpAck, DhcpDns, DhcpRouter};
    for period in [DAY, 0] {
        let mut scene = Scene::new();
        scene.rules.dhcp_servers = owned(GATEWAY, &[SERVER]);
        let observe = |scene: &mut Scene, record: &NameRecord| scene.observe(record, period).alerts;
        let [alert] = &*observe(&mut scene, &offer(ROGUE, GATEWAY)) else { panic!() };
        assert_eq!((alert.kind, alert.digest), (NewDhcpServer, false));
        assert_eq!((&*alert.mac, alert.old_mac.as_deref()), (ROGUE, Some(SERVER)));
        let note = alert.note.as_deref().unwrap();
        let line = format!("write dhcp_servers = [\"{GATEWAY} {SERVER} {ROGUE}\"]");
        assert!(note.contains(&format!(". `dhcp_servers` has the MAC {SERVER} ")), "{note}");
        assert!(note.contains(&line), "{note}");
        for kind in [DhcpRouter, DhcpDns] {
            assert_eq!(observe(&mut scene, &of_server(kind, ROGUE, GATEWAY, "192.0.2.66")), []);
        }
        for part in [Part::Router, Part::Dns] {
            assert_ne!(scene.trust(part, "192.0.2.66"), Some(Trust::Learned));
        }
        let lease = observe(&mut scene, &answer(DhcpAck, ROGUE, GATEWAY));
        assert_eq!(kinds(&lease), [NewDhcpServer], "its first lease");
        assert_eq!(observe(&mut scene, &answer(DhcpAck, ROGUE, GATEWAY)), []);
        for _ in 0..2 {
            let own = observe(&mut scene, &answer(DhcpAck, SERVER, GATEWAY));
            assert!(!kinds(&own).contains(&NewDhcpServer), "{own:?}");
        }
        // It goes on: after `quiet`, it is reported again, and its first lease after that.
        for later in [HOUR, 8 * DAY] {
            scene.time += later;
            let lease = answer(DhcpAck, ROGUE, GATEWAY);
            let again = [offer(ROGUE, GATEWAY), lease, lease].map(|one| observe(&mut scene, &one));
            assert_eq!(
                again.map(|one| kinds(&one)),
                [vec![NewDhcpServer], vec![NewDhcpServer], vec![]]
            );
        }
        let own = of_server(DhcpRouter, SERVER, GATEWAY, "192.0.2.254");
        assert!(!kinds(&observe(&mut scene, &own)).contains(&NewDhcpServer));
    }
    // What was reported long before the configuration had the MAC silences nothing.
    let mut scene = Scene::new();
    let known = Known { further: i64::MAX, ..Known::new(BEGIN - DAY, Trust::Reported) };
    let key = format!("{GATEWAY} {ROGUE}");
    let stored = scene.memory.store_known(NETWORK, Part::DhcpServerMac, &key, &known);
    stored.unwrap_or_else(|never| match never {});
    scene.rules.dhcp_servers = owned(GATEWAY, &[SERVER]);
    assert_eq!(scene.kinds(&[offer(ROGUE, GATEWAY)]), [NewDhcpServer]);
}

/// No message proposes to write the MAC of a host that answers for an address which another one has; and one that is named as a router's with its
/// MAC is no new server's.
#[test]
fn no_other_mac_is_proposed() {
    let mut scene = Scene::learned(&[]);
    scene.event(SERVER, GATEWAY, Origin::ArpRequest);
    scene.event(ROUTER, "fe80::1", Origin::NdAdvertisement);
    for forged in [offer(ROGUE, GATEWAY), router(ROGUE, "fe80::1", 1800)] {
        for alert in scene.not_in_period(&forged) {
            let note = alert.full_note().unwrap();
            assert!(!note.contains(&format!("{ROGUE}\"]")), "{note}");
        }
    }
    let mut scene = Scene::new();
    scene.rules.routers = owned(GATEWAY, &[SERVER]);
    let [alert] = &*scene.not_in_period(&offer(ROGUE, GATEWAY)) else { panic!() };
    let note = alert.full_note().unwrap();
    assert!(note.contains(&format!("`routers` has the MAC {SERVER} for {GATEWAY}")), "{note}");
    assert!(!note.contains("dhcp_servers"), "{note}");
}

/// arpwatch reports changes only.
#[test]
fn with_the_rules_of_arpwatch() {
    let mut scene = Scene::new();
    scene.rules.dialect = Dialect::Arpwatch;
    scene.rules.dns_servers = owned(GATEWAY, &[SERVER]);
    for _ in 0..3 {
        assert_eq!(scene.claims(ROGUE), []);
        scene.time += HOUR;
    }
}

/// Who makes up servers and takes routers that are not named with their MACs hides nothing there.
#[test]
fn other_alerts_use_up_no_limit() {
    let learned = (1..=9).map(|number| router(ROUTER, &format!("fe80::{number}"), 1800));
    let mut scene = Scene::learned(&learned.collect::<Vec<_>>());
    scene.rules.routers = owned("fe80::1", &[ROUTER]);
    scene.rules.dhcp_servers = owned(GATEWAY, &[SERVER]);
    for number in 2..=9 {
        let forged = router(ROGUE, &format!("fe80::{number}"), 1800);
        scene.alerts(&[forged, offer(ROGUE, &format!("192.0.2.{number}"))]);
    }
    let forged = [router(ROGUE, "fe80::1", 1800), offer(ROGUE, GATEWAY)];
    assert_eq!(scene.kinds(&forged), [GatewayTaken, NewDhcpServer]);
}

/// The address of a server that is no router: another MAC is reported at once, and not in the digest.
#[test]
fn the_address_of_a_server() {
    for learning in [true, false] {
        let mut scene = Scene { learning, ..Scene::new() };
        scene.rules.dns_servers = owned(GATEWAY, &[SERVER]);
        let [alert] = &*scene.event(ROGUE, GATEWAY, Origin::ArpRequest) else { panic!() };
        assert_eq!((alert.kind, alert.digest, &*alert.mac), (Changed, false, ROGUE));
        let note = alert.full_note().unwrap();
        assert!(note.contains(&format!("`dns_servers` has the MAC {SERVER} for ")), "{note}");
        assert_eq!(scene.claims(ROGUE), []);
        assert!(!scene.claims(SERVER).contains(&GatewayTaken));
        scene.time += HOUR;
        assert_eq!(scene.claims(ROGUE).len(), 1);
    }
}

/// A MAC that no host has: it is not learned, and no message of the digest. A cluster's own is no alert.
#[test]
fn the_mac_of_a_group() {
    for learning in [true, false] {
        let mut other = scene(&[SERVER], learning);
        let [alert] = &*other.event(GROUP, GATEWAY, Origin::ArpReply) else { panic!() };
        assert_eq!((alert.kind, alert.digest), (Broadcast, false));
        assert!(!other.has_learned(GROUP));
        let mut own = scene(&[GROUP], learning);
        assert_eq!(own.claims(GROUP), []);
        assert_eq!(own.claims(ROGUE), [GatewayTaken]);
    }
}

/// In a form that Linux ignores: reported at once, also before the owner was seen, and it silences no claim that Linux accepts.
#[test]
fn a_claim_that_linux_ignores() {
    for (list, learning) in [(0, false), (0, true), (2, false), (2, true)] {
        let mut scene = Scene { learning, ..Scene::new() };
        let Rules { routers, dns_servers, .. } = &mut scene.rules;
        *(if list == 0 { routers } else { dns_servers }) = owned(GATEWAY, &[SERVER]);
        let kind = if list == 0 { GatewayTaken } else { Changed };
        let ignored = |scene: &mut Scene, mac| scene.event(mac, GATEWAY, Origin::ArpIgnored);
        let first = ignored(&mut scene, ROGUE);
        assert_eq!((kinds(&first), first[0].digest), (vec![kind], false));
        let pause = first[0].pause.clone();
        let form = format!("Further claims in this form by {ROGUE} are not reported until ");
        assert!(pause.starts_with(&form), "{pause}");
        assert_eq!(ignored(&mut scene, ROGUE), []);
        assert_eq!(ignored(&mut scene, SERVER), []);
        assert_eq!(scene.claims(ROGUE), [kind]);
        assert_eq!(scene.claims(SERVER), [Changed]);
        // Another MAC is reported at once; one whose claim was reported is not, as that message said.
        assert_eq!(kinds(&ignored(&mut scene, ROUTER)), [kind]);
        scene.time += HOUR - 600;
        assert_eq!(ignored(&mut scene, ROGUE), []);
        scene.time += HOUR;
        let held_back = ignored(&mut scene, ROGUE);
        assert_eq!(held_back.len(), 1);
        // It was in a digest only: the next one is due.
        let memory = &mut scene.memory;
        scene.rules.was_digested(&held_back[0], memory).unwrap_or_else(|never| match never {});
        let digested = scene.rules.gateway_was_digested(&held_back[0], memory);
        digested.unwrap_or_else(|never| match never {});
        assert_eq!(ignored(&mut scene, ROGUE).len(), 1);
        // Of a pair, the other one is an owner.
        let Rules { routers, dns_servers, .. } = &mut scene.rules;
        *(if list == 0 { routers } else { dns_servers }) = owned(GATEWAY, &[SERVER, THIRD]);
        scene.time += HOUR;
        assert_eq!(ignored(&mut scene, THIRD), []);
        assert_eq!(ignored(&mut scene, ROGUE).len(), 1);
        // Of another address, it is in the digest.
        scene.rules.routers = Vec::new();
        scene.rules.dns_servers = Vec::new();
        scene.learning = false;
        scene.time += HOUR;
        let other = ignored(&mut scene, ROUTER);
        assert_eq!((kinds(&other), other[0].digest), (vec![Changed], true));
    }
}

/// A takeover that was left out, because that MAC was reported, delays no message that the owner is back.
#[test]
fn the_owner_after_a_claim_that_was_left_out() {
    for list in 0..3 {
        let mut scene = Scene::new();
        let Rules { routers, dhcp_servers, dns_servers, .. } = &mut scene.rules;
        *[routers, dhcp_servers, dns_servers][list] = owned(GATEWAY, &[SERVER]);
        assert_eq!(scene.claims(ROGUE).len(), 1);
        assert_eq!(scene.claims(SERVER), [Changed]);
        assert_eq!(scene.claims(ROGUE), []);
        let back = scene.event(SERVER, GATEWAY, Origin::ArpRequest);
        assert_eq!(kinds(&back), [AlertKind::FlipFlop]);
        let pause = &back[0].pause;
        assert!(pause.contains(&format!("Further takeovers by {ROGUE} are not ")), "{pause}");
        assert!(pause.contains(&format!(" That {SERVER} takes it back is not ")), "{pause}");
        // One that Linux ignores takes nothing of that back, in the same second either.
        assert_eq!(scene.event_now(ROGUE, GATEWAY, Origin::ArpIgnored), []);
        assert_eq!(scene.claims(ROGUE), []);
        assert_eq!(scene.claims(SERVER), []);
    }
}

/// Who asked whether a gateway's address is free never had it; and an owner that answers such a question denies no host an address.
#[test]
fn a_prober_did_not_have_it() {
    const PHONE: &str = "00:08:e1:00:00:77";
    for (owner, answers) in [(None, SERVER), (Some(SERVER), SERVER), (Some(SERVER), ROGUE)] {
        let mut scene = Scene::new();
        let ip = NamedServer::Addresses(GATEWAY.parse::<IpAddr>().unwrap().into());
        scene.rules.routers = owner.map_or(vec![ip], |owner| owned(GATEWAY, &[owner]));
        scene.event(CLIENT, "192.0.2.9", Origin::ArpRequest);
        scene.time += 2 * HOUR;
        let mut last = Vec::new();
        for (ip, mac) in [("192.0.2.10", CLIENT), ("192.0.2.11", CLIENT), (GATEWAY, answers)] {
            assert_eq!(scene.event(PHONE, ip, Origin::ArpProbe), []);
            scene.time += 1;
            last = scene.event_now(mac, ip, Origin::ArpReply);
        }
        match (owner, answers) {
            (Some(_), SERVER) => assert_eq!(last, []),
            _ => {
                let [alert] = &*last else { panic!("{last:?}") };
                assert_eq!(alert.old_mac, None);
                assert!(!alert.to_string().contains(PHONE), "{alert}");
                let also = "Also: 3 probes were answered by MACs that never had the address.";
                assert!(alert.to_string().contains(also), "{alert}");
                assert!(alert.pause.starts_with("Further answers to probes are not "), "{alert}");
            }
        }
    }
}

/// The first answer of a server from the MAC that the configuration has is not to be compared with anything.
#[test]
fn the_first_answer_of_the_owner() {
    let mut scene = Scene::learned(&usual()[3..]);
    scene.rules.dhcp_servers = owned(GATEWAY, &[SERVER]);
    let [alert] = &*scene.alerts(&[offer(SERVER, GATEWAY)]) else { panic!() };
    let advice = format!(
        "({SERVER} is the MAC that `dhcp_servers` has for {GATEWAY}: nothing is to be done)"
    );
    assert_eq!((alert.kind, &alert.advice), (AlertKind::NewSetting, &advice));
    assert!(!alert.to_string().contains("No ARP"), "{alert}");
}

/// The line to write has what the list has; a MAC is added to those of its address.
#[test]
fn the_line_to_write() {
    let mut scene = scene(&[SERVER], false);
    scene.rules.routers.push(NamedServer::Addresses("fe80::1/128".parse().unwrap()));
    let line = |new: &str| scene.rules.to_add("routers", &scene.rules.routers, new);
    let begin = "write routers = [";
    for (new, list) in [
        ("192.0.2.9", format!("\"{GATEWAY} {SERVER}\", \"fe80::1\", \"192.0.2.9\"")),
        ("fe80::1 00:08:e1:00:00:02", format!("\"{GATEWAY} {SERVER}\", \"fe80::1 {ROUTER}\"")),
    ] {
        assert!(line(new).starts_with(&format!("{begin}{list}] in ")), "{}", line(new));
    }
    scene.event(ROGUE, "fe80::66", Origin::NdAdvertisement);
    let [alert] = &*scene.not_in_period(&router(ROGUE, "fe80::66", 1800)) else { panic!() };
    let text = alert.full_note().unwrap();
    assert!(text.contains(&format!("\"fe80::66 {ROGUE}\"] in ")), "{text}");
    let condition = "(if it is yours and the MAC is on its label, write routers = [";
    assert!(text.contains(condition), "{text}");
}

impl Scene {
    fn not_in_period(&mut self, record: &NameRecord) -> Vec<Alert> {
        self.observe(record, 0).alerts
    }
}

/// When a router was last seen is known to a minute, with a write a minute for each row that people list, and none for each message.
#[test]
fn last_seen_costs_a_write_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
    let (rules, ring) = (Rules::default(), "/addrwatch".parse::<RingName>().unwrap());
    let mut see = |time: i64, ip: &str, period: i64| {
        let time = UnixTime::new(BEGIN + time, 0);
        let record = NameRecord { time, ..router(ROUTER, ip, 1800) };
        let entry = NameEntry { ring: &ring, host: "sensor", record };
        rules.observe_name(&entry, NOW, period, &mut memory).unwrap();
        let total = "SELECT total_changes()";
        let total = memory.read(|database| database.query_row(total, [], |row| row.get(0)));
        let known = memory.known(NETWORK, Part::Router, ip).unwrap().unwrap();
        (total.unwrap(), known.last - BEGIN)
    };
    let (before, _): (i64, _) = see(0, "fe80::1", DAY);
    let seen: Vec<_> =
        (1..=200).map(|number| (number * 3, see(number * 3, "fe80::1", DAY))).collect();
    for (time, (_, last)) in &seen {
        assert!((0..60).contains(&(time - last)), "{time}: {last}");
    }
    let (_, (after, _)) = seen.last().unwrap();
    assert_eq!(after - before, 2 * 10, "the router and its MAC, each minute");
    // What was reported is written once an hour: a host can make up any number.
    let (before, _) = see(700, "fe80::66", 0);
    let (after, _) = (1..=200).map(|number| see(700 + number * 3, "fe80::66", 0)).last().unwrap();
    assert_eq!(after - before, 0);
}
