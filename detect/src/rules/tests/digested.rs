//! What starts the time in which a repeated alert is suppressed, what the first day makes known, and what a name does.

use std::collections::BTreeSet;

use super::*;

const ADDRESS: &str = "192.0.2.1";
const C: &str = "00:08:e1:00:00:0c";
const BEGIN: i64 = 1_700_000_000;

fn claim(time: i64, mac: &str) -> Event {
    event(BEGIN + time, mac, ADDRESS, Origin::ArpRequest)
}

/// The alerts of these kinds.
fn of(kinds: &[AlertKind], alerts: Vec<Alert>) -> Vec<Alert> {
    alerts.into_iter().filter(|alert| kinds.contains(&alert.kind)).collect()
}

/// A storm held the alert back: the next one of the address is raised. The one that is sent is the last of the hour.
#[test]
fn what_was_only_in_a_digest_does_not_silence_the_next_one() {
    let broadcast = |time| Event { source: MacAddr::BROADCAST, ..claim(time, A) };
    let changes = [claim(0, A), claim(100, B)];
    let flips = [claim(200, A), claim(300, B), claim(400, A)];
    let duplicate = |time: i64| {
        let half = |mac, nanos| Event {
            time: UnixTime::new(BEGIN + time, nanos),
            ..event(0, mac, ADDRESS, Origin::ArpReply)
        };
        [half(A, 1), half(B, 2)]
    };
    for (kind, events) in [
        (AlertKind::FlipFlop, changes.iter().chain(&flips).copied().collect::<Vec<_>>()),
        (AlertKind::Duplicate, [1, 101, 201].into_iter().flat_map(duplicate).collect()),
        (AlertKind::Broadcast, vec![claim(0, A), broadcast(1), broadcast(2), broadcast(3)]),
    ] {
        for digested in [true, false] {
            let (rules, mut memory) = (Rules::default(), TestMemory::default());
            let mut number = 0;
            for event in &events {
                for alert in of(&[kind], observe(&rules, &mut memory, event)) {
                    number += 1;
                    if digested {
                        rules.was_digested(&alert, &mut memory).unwrap();
                    }
                }
            }
            assert_eq!(number, if digested { 3 } else { 1 }, "{kind:?}");
        }
    }
}

/// A flip flop that belongs in the digest, as that of a lease or of a proxy, silences no other; but the other way round.
#[test]
fn a_digest_has_an_interval_of_its_own() {
    let mut station = Station::default();
    assert_eq!(station.admit_digested(1000, 3600), Some(0));
    assert_eq!(station.admit_digested(2000, 3600), None);
    assert_eq!(station.admit_alert(2100, 3600, false), Some(1));
    assert_eq!(station.admit_digested(5000, 3600), None);
    assert_eq!(station.admit_digested(5701, 3600), Some(1));
}

/// A claim for a MAC that no host has is in the digest while no host has the address; not after that.
#[test]
fn an_address_that_gets_a_host() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    let kinds = &[AlertKind::Broadcast];
    let broadcast = |time| claim(time, "ff:ff:ff:ff:ff:ff");
    let digest = |alerts: Vec<Alert>| alerts.iter().map(|one| one.digest).collect::<Vec<_>>();
    let mut at = |event| digest(of(kinds, observe(&rules, &mut memory, &event)));
    assert_eq!(at(broadcast(0)), [true]);
    let none: [bool; 0] = [];
    assert_eq!(at(broadcast(1)), none);
    assert_eq!(at(claim(2, A)), none);
    assert_eq!(at(broadcast(3)), [false]);
    assert_eq!(at(broadcast(4)), none);
}

/// A takeover is raised after a duplicate that was in a digest only: because of a storm, or because it belongs there.
#[test]
fn a_duplicate_in_a_digest_silences_no_flip_flop() {
    let answer = |time: i64, mac, nanos| Event {
        time: UnixTime::new(BEGIN + time, nanos),
        ..event(0, mac, ADDRESS, Origin::ArpReply)
    };
    for digested in [true, false] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        let mut at = |event: &Event| {
            let alerts = observe(&rules, &mut memory, event);
            for alert in alerts.iter().filter(|alert| digested && alert.kind.is_takeover()) {
                rules.was_digested(alert, &mut memory).unwrap();
            }
            alerts.into_iter().map(|alert| alert.kind).collect::<Vec<_>>()
        };
        let [_, conflict] = [answer(0, A, 1), answer(0, B, 2)].map(|event| at(&event));
        assert_eq!(conflict, [AlertKind::NewDevice, AlertKind::Duplicate]);
        let flips = (1..=6).map(|n| at(&claim(400 * n, if n % 2 == 1 { A } else { B })));
        let flips = flips.filter(|kinds| *kinds == [AlertKind::FlipFlop]).count();
        assert_eq!(flips, if digested { 6 } else { 0 });
    }
    // That of a proxy belongs in the digest; then a third MAC takes the address, and the owner takes it back.
    let rules = Rules { proxies: vec![B.parse().unwrap()], ..Rules::default() };
    let mut memory = TestMemory::default();
    let mut at = |event: &Event| {
        let of = [AlertKind::Duplicate, AlertKind::FlipFlop, AlertKind::ReusedOld];
        let alerts = self::of(&of, observe(&rules, &mut memory, event));
        alerts.iter().map(|alert| (alert.kind, alert.digest)).collect::<Vec<_>>()
    };
    at(&answer(0, A, 1));
    at(&answer(0, B, 2));
    at(&claim(300, A));
    at(&claim(600, C));
    assert_eq!(at(&claim(900, A)), [(AlertKind::FlipFlop, false)]);
}

/// Its interfaces' kind of MACs is known, as in a learning period, by the same frames; nothing of a device or an address is.
#[test]
fn the_first_day() {
    let phone = "06:00:00:00:00:07";
    let own = event(BEGIN, phone, "10.0.0.7", Origin::ArpReply);
    let forged = Event { source: A.parse().unwrap(), ..own };
    let probe = event(BEGIN, phone, "10.0.0.7", Origin::ArpProbe);
    let sensor = BTreeSet::from([phone.parse().unwrap()]);
    for (seen, of_sensor, digest) in [
        (own, BTreeSet::new(), true),
        (forged, BTreeSet::new(), false),
        (probe, BTreeSet::new(), false),
        (own, sensor, false), // what the sensor sends shows nothing of other devices
    ] {
        let rules = Rules { own: of_sensor, ..Rules::default() };
        let mut memory = TestMemory::default();
        for event in [claim(0, A), claim(7200, B), claim(14_400, A), seen] {
            observe(&rules, &mut memory, &event);
            let ring: RingName = "/addrwatch".parse().unwrap();
            let position = Position { generation: 1, sequence: 0 };
            let entry = Entry { ring: &ring, host: "sensor", position, event };
            rules.learn_interface(&entry, &mut memory).unwrap();
        }
        assert!(memory.devices.values().all(|device| !device.learned && !device.proxy));
        let station = &memory.stations[&("sensor/addrwatch/eth0".into(), ADDRESS.parse().unwrap())];
        assert_eq!((&*station.learned, &*station.sharers), (&[][..], &[][..]));
        let intruder = event(BEGIN + 90_000, RANDOM, "10.0.0.9", Origin::ArpReply);
        let new = of(&[AlertKind::NewDevice], observe(&rules, &mut memory, &intruder));
        assert_eq!(new.iter().map(|alert| alert.digest).collect::<Vec<_>>(), [digest], "{seen:?}");
        let flip = of(&[AlertKind::FlipFlop], observe(&rules, &mut memory, &claim(90_000, B)));
        assert_eq!(flip.len(), 1, "it is as much news as before");
    }
}

/// A line in the file of all programs, which more users may write than the configuration, lowers no alert.
#[test]
fn a_name_lowers_no_alert() {
    let group = "03:bf:c0:00:02:01";
    let macs = [A, RANDOM, "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", group];
    let names = macs.map(|mac| (mac.parse().unwrap(), "printer".to_owned()));
    let rules = Rules { names: BTreeMap::from(names.clone()), ..Rules::default() };
    let kinds = |rules: &Rules, mac: &str| {
        let mut memory = TestMemory::default();
        observe(rules, &mut memory, &claim(0, B));
        let alerts = observe(rules, &mut memory, &event(BEGIN, mac, "10.0.0.3", Origin::ArpReply));
        alerts.iter().map(|alert| alert.kind).collect::<Vec<_>>()
    };
    for mac in macs {
        let first =
            if mac == A || mac == RANDOM { AlertKind::NewDevice } else { AlertKind::Broadcast };
        assert_eq!(kinds(&rules, mac)[0], first, "{mac}");
    }
    let mut memory = TestMemory::default();
    let new = observe(&rules, &mut memory, &claim(0, A));
    assert_eq!(new[0].name.as_deref(), Some("printer"));
    // On the list of known devices are a cluster's MACs, and no host's: all hosts and none are no cluster.
    let rules = Rules { known: BTreeMap::from(names), ..Rules::default() };
    for (mac, reported) in [(macs[2], true), (macs[3], true), (group, false)] {
        assert_eq!(kinds(&rules, mac).contains(&AlertKind::Broadcast), reported, "{mac}");
    }
}
