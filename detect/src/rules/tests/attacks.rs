//! What an attacker chooses never lowers an alarm: its MAC, a rotation, answers and probes in another's name, a clock, and a
//! flood of made-up addresses.

use std::time::Instant;

use super::*;
use crate::SqliteMemory;

pub(super) const C: &str = "00:08:e1:00:00:0c";
pub(super) const D: &str = "00:08:e1:00:00:0d";
pub(super) const GATEWAY: &str = "10.0.0.1";

/// Kind and digest of the alerts of the default kinds.
pub(super) fn found<M: Memory<Error: std::fmt::Debug>>(
    rules: &Rules,
    memory: &mut M,
    event: &Event,
) -> Vec<(AlertKind, bool)> {
    let ring: RingName = "/addrwatch".parse().unwrap();
    let position = Position { generation: 1, sequence: 0 };
    let entry = Entry { ring: &ring, host: "sensor", position, event: *event };
    let alerts = rules.observe(&entry, NOW, false, memory).unwrap().into_iter();
    let default = alerts.filter(|alert| AlertKind::DEFAULT.contains(&alert.kind));
    default.map(|alert| (alert.kind, alert.digest)).collect()
}

pub(super) fn reply(time: i64, mac: &str, ip: &str) -> Event {
    event(time, mac, ip, Origin::ArpReply)
}

/// A host whose MAC is of the class of routers' is a host like any other, unless the learning period saw it there.
#[test]
fn a_virtual_mac_of_ones_own_is_reported() {
    let rules = Rules::default();
    let mut memory = TestMemory::default();
    learn(&rules, &mut memory, &reply(0, A, GATEWAY));
    for mac in [VRRP, "00:07:b4:00:01:01"] {
        let both = [(AlertKind::NewDevice, false), (AlertKind::Changed, false)];
        assert_eq!(found(&rules, &mut memory, &reply(5000, mac, GATEWAY)), both);
        found(&rules, &mut memory, &reply(10_000, A, GATEWAY));
    }
    let again = found(&rules, &mut memory, &reply(20_000, VRRP, GATEWAY));
    assert_eq!(again, [(AlertKind::ReusedOld, false)]);
    // A learned one takes back its own address, and no other one.
    let mut memory = TestMemory::default();
    learn(&rules, &mut memory, &reply(0, VRRP, GATEWAY));
    learn(&rules, &mut memory, &reply(0, A, "10.0.0.2"));
    found(&rules, &mut memory, &reply(5000, A, GATEWAY));
    assert_eq!(found(&rules, &mut memory, &reply(9000, VRRP, GATEWAY)), []);
    for time in [10_000, 20_000] {
        let taken = found(&rules, &mut memory, &reply(time, VRRP, "10.0.0.2"));
        assert!(!taken.is_empty() && taken.iter().all(|(_, digest)| !digest));
        found(&rules, &mut memory, &reply(time + 5000, A, "10.0.0.2"));
    }
}

/// Whatever the number of MACs, and also with MACs of DECnet: the first time of each is reported at once, and what comes
/// back is reported once an hour, with the number of times.
#[test]
fn a_rotation_is_reported() {
    let decnet = ["aa:00:04:00:01:04", "aa:00:04:00:02:04"];
    for macs in [&[B, C, D][..], &[B, C], &decnet] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        observe(&rules, &mut memory, &reply(0, A, GATEWAY));
        for (round, mac) in (0..).zip(macs) {
            let kinds = found(&rules, &mut memory, &reply(1000 + round * 300, mac, GATEWAY));
            assert!(kinds.contains(&(AlertKind::Changed, false)), "{mac}");
        }
        let (mut alerts, rounds) = (Vec::new(), 10 * macs.len() as i64);
        for (round, mac) in (0..rounds).zip(macs.iter().cycle()) {
            let event = reply(3000 + round * 600, mac, GATEWAY);
            alerts.extend(observe(&rules, &mut memory, &event));
        }
        alerts.retain(|alert| AlertKind::DEFAULT.contains(&alert.kind));
        assert_eq!(alerts.len() as i64, (rounds + 5) / 6, "once an hour: {alerts:?}");
        assert!(alerts.iter().all(|alert| !alert.digest));
        assert_eq!(alerts[1].note.as_deref(), Some("5 more since the last alert"));
    }
}

/// In a network of virtual machines, all MACs are locally administered. An address of such a MAC that is silent for an hour
/// is a phone's lease, unless another host ever had it or the operator named the MAC.
#[test]
fn a_random_mac_takes_an_address_of_a_random_mac() {
    let other = "02:00:00:00:00:02";
    let taken = |rules: &Rules, owners: &[&str], time| {
        let mut memory = TestMemory::default();
        for (begin, owner) in (0..).zip(owners) {
            observe(rules, &mut memory, &reply(begin * 10, owner, GATEWAY));
        }
        let kinds = found(rules, &mut memory, &reply(time, other, GATEWAY));
        kinds.into_iter().find(|(kind, _)| *kind == AlertKind::Changed).unwrap().1
    };
    let rules = Rules::default();
    assert!(!taken(&rules, &[RANDOM], 3500));
    assert!(taken(&rules, &[RANDOM], 3700));
    assert!(!taken(&rules, &[A, RANDOM], 3700));
    // A router of virtual machines, which has had its address alone for a day.
    for (held, digest) in [(86_000, true), (86_400, false)] {
        let mut memory = TestMemory::default();
        for time in [0, held] {
            observe(&rules, &mut memory, &reply(time, RANDOM, GATEWAY));
        }
        let kinds = found(&rules, &mut memory, &reply(held + 4000, other, GATEWAY));
        assert_eq!(kinds.last(), Some(&(AlertKind::Changed, digest)), "held for {held} s");
    }
    let known = BTreeMap::from([(RANDOM.parse().unwrap(), "gateway".to_owned())]);
    assert!(!taken(&Rules { known, ..rules }, &[RANDOM], 3700));
}

/// Forged answers in the gateway's name: they are reported, and its own conflicts stay as loud as before.
#[test]
fn the_gateway_becomes_no_proxy() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    learn(&rules, &mut memory, &reply(0, A, GATEWAY));
    for number in 1..=40_i64 {
        let (mac, ip) = (format!("00:08:e1:00:01:{number:02x}"), format!("10.0.1.{number}"));
        learn(&rules, &mut memory, &reply(number, &mac, &ip));
        let forged = found(&rules, &mut memory, &reply(1000 + number, A, &ip));
        assert_eq!(forged, [(AlertKind::Changed, false)]);
    }
    for (time, mac) in [(2000, B), (2002, A)] {
        let kinds = found(&rules, &mut memory, &reply(time, mac, GATEWAY));
        assert!(kinds.iter().all(|(_, digest)| !digest), "{kinds:?}");
        let kind = if mac == A { AlertKind::Duplicate } else { AlertKind::Changed };
        assert!(kinds.iter().any(|(found, _)| *found == kind), "{kinds:?}");
    }
    // Who forges an answer of a real proxy first, does not take the address in the digest.
    let rules = Rules { proxies: vec![D.parse().unwrap()], ..rules };
    let events = [(0, A), (10, D), (5000, B)];
    let kinds = events.map(|(time, mac)| {
        let kinds = found(&rules, &mut memory, &reply(3000 + time, mac, "10.0.3.3"));
        kinds.into_iter().find(|(kind, _)| *kind == AlertKind::Changed)
    });
    assert_eq!(kinds, [None, Some((AlertKind::Changed, true)), Some((AlertKind::Changed, false))]);
}

/// Forged probes make no victim a scanner: that its own probes are answered is reported. A learned or named one is no victim.
#[test]
fn forged_probes_exempt_no_host() {
    for (learning, named, expected) in [(false, false, 1), (true, false, 0), (false, true, 0)] {
        let scanners = named.then(|| B.parse().unwrap()).into_iter().collect();
        let (rules, mut memory) = (Rules { scanners, ..Rules::default() }, TestMemory::default());
        for number in 0..8 {
            let probe = event(number, B, &format!("10.0.9.{number}"), Origin::ArpProbe);
            passed("/addrwatch", learning, &rules, &mut memory, &probe);
        }
        let mut duplicates = 0;
        for number in 1..=5 {
            let (time, ip) = (100 + number * 10, format!("10.0.1.{number}"));
            found(&rules, &mut memory, &event(time, B, &ip, Origin::ArpProbe));
            let kinds = found(&rules, &mut memory, &reply(time + 1, C, &ip));
            duplicates += kinds.iter().filter(|(kind, _)| *kind == AlertKind::Duplicate).count();
        }
        assert_eq!(duplicates, expected);
    }
}

/// An event of the far future counts as now, and what an earlier release stored of one is forgotten.
#[test]
fn a_clock_ahead_freezes_nothing() {
    let now = NOW.seconds();
    let day = 86_400;
    let watched = BTreeMap::from([(A.parse().unwrap(), 600)]);
    let rules = Rules { watched, ..Rules::default() };
    let ahead = now + 20 * 365 * day;
    let mut memory = TestMemory::default();
    let alerts = observe(&rules, &mut memory, &reply(ahead, A, GATEWAY));
    assert!(alerts.iter().all(|alert| alert.time == now), "{alerts:?}");
    assert_eq!(memory.devices[&A.parse().unwrap()].last, now);
    let mac = A.parse().unwrap();
    let mut old = Device::new(ahead);
    (old.unknown_day, old.denied_day) = (ahead / day, ahead / day);
    for stored in [None, Some(old)] {
        stored.map(|device| memory.devices.insert(mac, device));
        let mut silent = |time| rules.silent_devices(time, now, &mut memory).unwrap().len();
        assert_eq!([silent(now + 600), silent(now + 601)], [0, 1]);
        memory.devices.get_mut(&mac).unwrap().silent = false;
    }
    // A station with such times: what follows is judged by its own times, and reported.
    let mut station = Station { last_alert: ahead, last_duplicate: ahead, ..Station::default() };
    station.claims = [B, A].map(|mac| MacClaim { mac: mac.parse().unwrap(), time: ahead }).into();
    let key = ("sensor/addrwatch/eth0".to_owned(), GATEWAY.parse().unwrap());
    memory.stations.insert(key.clone(), station);
    let alerts = observe(&rules, &mut memory, &reply(now - 50, A, GATEWAY));
    let flip = alerts.iter().find(|alert| alert.kind == AlertKind::FlipFlop).unwrap();
    assert_eq!((flip.time, flip.previous), (now - 50, None));
    assert_eq!(memory.stations[&key].last_alert, now - 50);
    // Two claims of a clock that is ahead arrive together after a pause: nothing shows that they were at the same time.
    let mut memory = TestMemory::default();
    let claims = [(0, A), (5 * day, B), (9 * day, A)];
    let alerts =
        claims.map(|(time, mac)| observe(&rules, &mut memory, &reply(ahead + time, mac, GATEWAY)));
    let kinds = alerts.concat().into_iter().map(|alert| alert.kind).collect::<Vec<_>>();
    assert!(kinds.contains(&AlertKind::Changed) && kinds.contains(&AlertKind::FlipFlop));
    assert!(!kinds.contains(&AlertKind::Duplicate), "{kinds:?}");
}

/// An address at a MAC that no host has: reported once in an hour for each of them. A cluster's MAC that was learned or named
/// is its owner's.
#[test]
fn a_mac_that_no_host_has() {
    let (group, broadcast, zero) = ("03:bf:0a:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00");
    for (origin, ip) in [(Origin::ArpNoHost, GATEWAY), (Origin::NdNoHost, "fe80::1")] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        observe(&rules, &mut memory, &event(0, A, ip, Origin::ArpReply));
        let mut lines = |time, mac: &str, rules: &Rules| {
            let event = Event { source: B.parse().unwrap(), ..event(time, mac, ip, origin) };
            let alerts = observe(rules, &mut memory, &event);
            alerts.iter().map(Alert::to_string).collect::<Vec<_>>()
        };
        for mac in [broadcast, zero, group] {
            let line =
                format!("ethernet broadcast {ip} {B} ({mac}) eth0: no host has the MAC {mac}");
            assert_eq!(lines(1000, mac, &rules), std::slice::from_ref(&line));
            assert_eq!(lines(4599, mac, &rules), [""; 0]);
            assert_eq!(lines(4600, mac, &rules), [line]);
        }
        let known = BTreeMap::from([(group.parse().unwrap(), "cluster".to_owned())]);
        assert_eq!(lines(90_000, group, &Rules { known, ..Rules::default() }), [""; 0]);
        assert!(memory.devices.len() <= 1, "no device and no claim");
        learn(&rules, &mut memory, &event(0, group, ip, origin));
        assert_eq!(observe(&rules, &mut memory, &event(100_000, group, ip, origin)), []);
        assert_eq!(
            observe(&rules, &mut memory, &event(100_000, group, "10.0.0.7", origin)).len(),
            1
        );
    }
}

/// What Linux ignores claims nothing: the owner keeps its address, and the device has none.
#[test]
fn what_linux_ignores_is_no_claim() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    observe(&rules, &mut memory, &reply(0, A, GATEWAY));
    let alerts = observe(&rules, &mut memory, &event(10, B, GATEWAY, Origin::ArpIgnored));
    let line = format!("new device {B} eth0: claimed, in a form that Linux ignores, {GATEWAY}");
    // Other hosts may accept it, so that it is reported, in the digest and once in an hour.
    let taken = format!(
        "changed ethernet address {GATEWAY} {B} ({A}) eth0: \
         it claims the address in a form that Linux ignores, and other hosts may accept"
    );
    assert_eq!(alerts.iter().map(Alert::to_string).collect::<Vec<_>>(), [line, taken]);
    assert_eq!(alerts.iter().map(|alert| alert.digest).collect::<Vec<_>>(), [false, true]);
    let mut again = |time| {
        let event = event(time, B, GATEWAY, Origin::ArpIgnored);
        observe(&rules, &mut memory, &event).len()
    };
    assert_eq!([again(3609), again(3610), again(3611)], [0, 1, 0]);
    assert_eq!(observe(&rules, &mut memory, &event(30, A, GATEWAY, Origin::ArpIgnored)), []);
    assert_eq!(observe(&rules, &mut memory, &reply(20, A, GATEWAY)), []);
    // It delays no alert about a claim.
    assert_eq!(found(&rules, &mut memory, &reply(3700, B, GATEWAY)), [(AlertKind::Changed, false)]);
    let arpwatch = Rules { dialect: Dialect::Arpwatch, ..rules };
    let ignored = event(10, B, "10.0.0.8", Origin::ArpIgnored);
    assert_eq!(observe(&arpwatch, &mut memory, &ignored), []);
}

/// A lease is a server's word, or that of a host that poses as one: it takes no address from its owner, adds no device, and lowers
/// no later alert.
#[test]
fn a_lease_is_no_claim() {
    for (owner, lease) in [(GATEWAY, Origin::DhcpAck), ("fe80::1", Origin::AddressRegistration)] {
        for dialect in [Dialect::Devices, Dialect::Arpwatch] {
            let rules = Rules { dialect, ..Rules::default() };
            let mut memory = TestMemory::default();
            let claim = match lease {
                Origin::DhcpAck => Origin::ArpReply,
                _ => Origin::NdAdvertisement,
            };
            observe(&rules, &mut memory, &event(0, A, owner, claim));
            assert_eq!(observe(&rules, &mut memory, &event(10, B, owner, lease)), []);
            assert_eq!(observe(&rules, &mut memory, &event(20, A, owner, claim)), []);
            let taken = observe(&rules, &mut memory, &event(3700, B, owner, claim));
            let is_seen = dialect == Dialect::Devices || lease == Origin::DhcpAck;
            assert_eq!(!taken.is_empty(), is_seen, "{taken:?}");
        }
    }
}

/// Any number of MACs that no host has, at any number of addresses: a few at once for each address that a host has, with the
/// number of the others; what no host has is in the digest.
#[test]
fn many_macs_that_no_host_has() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    observe(&rules, &mut memory, &reply(0, A, GATEWAY));
    let group = |number: u8| format!("03:bf:00:00:00:{number:02x}");
    let mut alerts = Vec::new();
    for round in 0..10 {
        for number in 0..20 {
            let event = event(100 + round * 20, &group(number), GATEWAY, Origin::ArpNoHost);
            alerts.extend(observe(&rules, &mut memory, &event));
        }
    }
    assert_eq!(alerts.len(), 8, "{alerts:?}");
    let later = event(4000, &group(99), GATEWAY, Origin::ArpNoHost);
    let note = observe(&rules, &mut memory, &later)[0].note.clone().unwrap();
    assert!(note.ends_with(", 120 more since the last alert"), "{note}");
    for number in 0..200 {
        let ip = format!("10.0.7.{number}");
        let event = event(100, "ff:ff:ff:ff:ff:ff", &ip, Origin::ArpNoHost);
        assert_eq!(found(&rules, &mut memory, &event), [(AlertKind::Broadcast, true)]);
    }
}

/// Nothing makes all hosts or none a cluster, and groups displace no host from what was learned.
#[test]
fn what_is_learned_as_a_cluster() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    for mac in ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        learn(&rules, &mut memory, &event(0, mac, GATEWAY, Origin::ArpNoHost));
        let later = event(10_000, mac, GATEWAY, Origin::ArpNoHost);
        assert_eq!(observe(&rules, &mut memory, &later).len(), 1, "{mac}");
    }
    for number in 0..100 {
        let group = format!("03:bf:00:00:00:{number:02x}");
        learn(&rules, &mut memory, &event(1, &group, GATEWAY, Origin::ArpNoHost));
    }
    learn(&rules, &mut memory, &reply(2, A, GATEWAY));
    let station = memory.station("sensor/addrwatch/eth0", GATEWAY.parse().unwrap()).unwrap();
    assert!(station.learned.contains(&A.parse().unwrap()) && station.learned.len() == 9);
}

/// Only what was there for a day takes an address from a proxy in the digest.
#[test]
fn a_fresh_mac_takes_nothing_from_a_proxy_in_the_digest() {
    let rules = Rules { proxies: vec![D.parse().unwrap()], ..Rules::default() };
    for (known_for, digest) in [(0, false), (3600, false), (86_400, true)] {
        let mut memory = TestMemory::default();
        observe(&rules, &mut memory, &reply(100_000 - known_for, B, "10.0.3.4"));
        observe(&rules, &mut memory, &reply(99_000, D, "10.0.3.3"));
        let kinds = found(&rules, &mut memory, &reply(100_000, B, "10.0.3.3"));
        assert_eq!(kinds, [(AlertKind::Changed, digest)], "known for {known_for} s");
    }
}

/// So many made-up addresses, each with a MAC of its own, beside twenty hosts. Then: a new device, and the takeover of the
/// address of a host that was there before.
fn flood(max_rows: u64, addresses: u32) {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
    memory.max_rows = max_rows;
    let rules = Rules::default();
    let host = |number: u32| format!("00:08:e1:00:00:{number:02x}");
    let ip = |number: u32| format!("10.0.0.{number}");
    for number in 1..=20 {
        found(&rules, &mut memory, &reply(1_700_000_000, &host(number), &ip(number)));
        let own = format!("fe80::{number}");
        let event = event(1_700_000_000, &host(number), &own, Origin::NdAdvertisement);
        found(&rules, &mut memory, &event);
    }
    memory.commit(Instant::now()).unwrap();
    let mut forged = reply(0, A, "10.0.0.0");
    for number in 0..addresses {
        let [_, b, c, d] = number.to_be_bytes();
        forged.time = UnixTime::new(1_700_000_100 + i64::from(number / 10_000), 0);
        forged.mac = MacAddr::new([0, 0x1b, 0x21, b, c, d]);
        forged.source = forged.mac;
        forged.address = Ipv4Addr::new(11, b, c, d).to_ipv6_mapped();
        assert_eq!(found(&rules, &mut memory, &forged), [(AlertKind::NewDevice, false)]);
        if number % 1000 == 999 {
            memory.commit(Instant::now()).unwrap();
        }
    }
    assert!(memory.take_forgotten() > 0);
    assert_eq!(memory.take_forgotten(), 0);
    let new = "00:08:e1:00:00:ff";
    let kinds = found(&rules, &mut memory, &reply(1_700_004_000, new, "10.0.0.255"));
    assert_eq!(kinds, [(AlertKind::NewDevice, false)]);
    for number in 1..=20 {
        let own = event(1_700_004_000, &host(number), &ip(number), Origin::ArpRequest);
        assert_eq!(found(&rules, &mut memory, &own), [], "still known");
        for address in [ip(number), format!("fe80::{number}")] {
            let taken = event(1_700_005_000, new, &address, Origin::ArpReply);
            let taken = if number % 2 == 0 {
                taken
            } else {
                Event { time: UnixTime::new(1_700_005_005, 0), ..taken }
            };
            let kinds = found(&rules, &mut memory, &taken);
            assert_eq!(kinds, [(AlertKind::Changed, false)], "{address}");
        }
    }
}

#[test]
fn made_up_addresses_displace_no_host() {
    flood(10_000, 11_000);
    flood(10_000, 35_000);
}

/// With the real limit: half a minute.
#[test]
fn a_million_made_up_addresses_displace_no_host() {
    flood(1_000_000, 1_100_000);
}

/// MACs in rotation at one address: the first one, learned and named ones are not forgotten.
#[test]
fn a_rotation_displaces_no_owner() {
    let known = BTreeMap::from([(B.parse().unwrap(), "standby".to_owned())]);
    let (rules, mut memory) = (Rules { known, ..Rules::default() }, TestMemory::default());
    learn(&rules, &mut memory, &reply(0, C, GATEWAY));
    for (time, mac) in [(10, A), (20, B)] {
        observe(&rules, &mut memory, &reply(time, mac, GATEWAY));
    }
    for number in 0..200_u8 {
        let mac = format!("00:1b:21:00:00:{number:02x}");
        let kinds = found(&rules, &mut memory, &reply(100 + 10 * i64::from(number), &mac, GATEWAY));
        assert!(kinds.contains(&(AlertKind::Changed, false)), "each is reported");
    }
    for (time, mac) in [(20_000, C), (30_000, B)] {
        let kinds = found(&rules, &mut memory, &reply(time, mac, GATEWAY));
        assert_eq!(kinds[0].0, AlertKind::ReusedOld, "{mac}");
    }
    let station = memory.station("sensor/addrwatch/eth0", GATEWAY.parse().unwrap()).unwrap();
    assert_eq!(station.claims.len(), crate::MAX_CLAIMS);
}
