//! What starts the time in which a repeated alert is suppressed, and what the first day makes known.

use super::*;

const ADDRESS: &str = "192.0.2.1";
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

/// Its devices and its interfaces' kind of MACs are known, as in a learning period, by the same frames; nothing of an address is.
#[test]
fn the_first_day() {
    let phone = "06:00:00:00:00:07";
    let own = event(BEGIN, phone, "10.0.0.7", Origin::ArpReply);
    let forged = Event { source: A.parse().unwrap(), ..own };
    let probe = event(BEGIN, phone, "10.0.0.7", Origin::ArpProbe);
    for (seen, digest) in [(own, true), (forged, false), (probe, false)] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        for event in [claim(0, A), claim(7200, B), claim(14_400, A), seen] {
            observe(&rules, &mut memory, &event);
            let ring: RingName = "/addrwatch".parse().unwrap();
            let position = Position { generation: 1, sequence: 0 };
            let entry = Entry { ring: &ring, host: "sensor", position, event };
            rules.learn_device(&entry, NOW, &mut memory).unwrap();
        }
        assert!(memory.devices.values().all(|device| device.learned && !device.proxy));
        let station = &memory.stations[&("sensor/addrwatch/eth0".into(), ADDRESS.parse().unwrap())];
        assert_eq!((&*station.learned, &*station.sharers), (&[][..], &[][..]));
        let intruder = event(BEGIN + 90_000, RANDOM, "10.0.0.9", Origin::ArpReply);
        let new = of(&[AlertKind::NewDevice], observe(&rules, &mut memory, &intruder));
        assert_eq!(new.iter().map(|alert| alert.digest).collect::<Vec<_>>(), [digest], "{seen:?}");
        let flip = of(&[AlertKind::FlipFlop], observe(&rules, &mut memory, &claim(90_000, B)));
        assert_eq!(flip.len(), 1, "it is as much news as before");
    }
}
