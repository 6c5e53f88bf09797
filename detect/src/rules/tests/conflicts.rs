//! Two MACs for one address: duplicates, takeovers, groups that were learned, proxy ARP, and answers to the probes of others.

use super::*;

const C: &str = "00:08:e1:00:00:0c";

/// The alerts of the default kinds that these events cause.
fn alerts_of(rules: &Rules, memory: &mut TestMemory, events: &[Event]) -> Vec<Alert> {
    let alerts = events.iter().flat_map(|event| observe(rules, memory, event));
    alerts.filter(|alert| AlertKind::DEFAULT.contains(&alert.kind)).collect()
}

fn count(alerts: &[Alert], kind: AlertKind) -> usize {
    alerts.iter().filter(|alert| alert.kind == kind).count()
}

/// Each five minutes the gateway asks, and both owners answer at once, 10 ms apart.
fn both_answer(ip: &str, origin: Origin, rounds: std::ops::Range<i64>) -> Vec<Event> {
    let answers = |round| {
        let at = |millis: i64| UnixTime::new(1_700_000_000 + round * 300, millis * 1_000_000);
        [(A, 1), (B, 11)]
            .map(|(mac, millis)| Event { time: at(millis), ..event(0, mac, ip, origin) })
    };
    rounds.flat_map(answers).collect()
}

/// The conflict itself, also if it happens once in five minutes: one alert an hour. After the first one, it is the takeover that begins
/// the conflict, which may be all that an attacker does.
#[test]
fn two_owners_that_answer_are_a_duplicate() {
    for (ip, origin) in [("192.0.2.1", Origin::ArpReply), ("fe80::1", Origin::NdAdvertisement)] {
        let mut memory = TestMemory::default();
        let day = both_answer(ip, origin, 0..288);
        let alerts = alerts_of(&Rules::default(), &mut memory, &day);
        let expected = [
            (AlertKind::NewDevice, 2),
            (AlertKind::Duplicate, 24),
            (AlertKind::Changed, 0),
            (AlertKind::FlipFlop, 0),
        ];
        for (kind, number) in expected {
            assert_eq!(count(&alerts, kind), number, "{kind:?}");
        }
        let duplicates: Vec<_> =
            alerts.iter().filter(|alert| alert.kind == AlertKind::Duplicate).collect();
        let text = duplicates[..2].iter().map(|alert| alert.to_string()).collect::<Vec<_>>();
        let line = format!("duplicate address {ip} {B} ({A}) eth0: both MACs answer");
        let again = format!(
            "duplicate address {ip} {A} ({B}) eth0: both MACs claim it in turn, 22 more since the last alert"
        );
        assert_eq!(text, [line, again]);
    }
}

/// A host that takes an address over announces it; the old one has been silent for some seconds.
#[test]
fn a_takeover_is_a_change() {
    for origin in [Origin::ArpRequest, Origin::ArpReply] {
        let events = [
            event(1000, A, "192.0.2.1", Origin::ArpReply),
            event(1004, B, "192.0.2.1", origin),
            event(1005, B, "192.0.2.1", origin),
            event(1300, B, "192.0.2.1", Origin::ArpReply),
        ];
        let alerts = alerts_of(&Rules::default(), &mut TestMemory::default(), &events);
        let changes: Vec<_> =
            alerts.iter().filter(|alert| alert.kind != AlertKind::NewDevice).collect();
        assert_eq!((changes.len(), changes[0].kind), (1, AlertKind::Changed));
    }
    // A third MAC is reported, however recent the conflict of the first two is.
    let mut memory = TestMemory::default();
    alerts_of(&Rules::default(), &mut memory, &both_answer("192.0.2.1", Origin::ArpReply, 0..1));
    let third = Event {
        time: UnixTime::new(1_700_000_000, 20_000_000),
        ..event(0, C, "192.0.2.1", Origin::ArpReply)
    };
    let alerts = alerts_of(&Rules::default(), &mut memory, &[third]);
    assert_eq!(count(&alerts, AlertKind::Changed), 1);
}

/// Two network cards of one host, bonding, a sleep proxy: what goes there and back in the learning period is normal. Another
/// MAC is not, and another address is not.
#[test]
fn what_shares_an_address_while_learning_is_normal() {
    let rules = Rules::default();
    let ip = "192.0.2.1";
    let mut memory = TestMemory::default();
    let day = both_answer(ip, Origin::ArpReply, 0..2);
    day.iter().for_each(|event| learn(&rules, &mut memory, event));
    assert_eq!(alerts_of(&rules, &mut memory, &both_answer(ip, Origin::ArpReply, 2..600)), []);
    let alerts = alerts_of(&rules, &mut memory, &[event(1_700_200_000, C, ip, Origin::ArpReply)]);
    assert_eq!(count(&alerts, AlertKind::Changed), 1);
    let other = both_answer("192.0.2.2", Origin::ArpReply, 700..701);
    assert_eq!(count(&alerts_of(&rules, &mut memory, &other), AlertKind::Duplicate), 1);
    // A lease that only moved on is not shared.
    let mut memory = TestMemory::default();
    for (time, mac) in [(0, A), (5000, B)] {
        learn(&rules, &mut memory, &event(time, mac, ip, Origin::ArpRequest));
    }
    let alerts = alerts_of(&rules, &mut memory, &[event(90_000, A, ip, Origin::ArpRequest)]);
    assert_eq!(count(&alerts, AlertKind::FlipFlop), 1);
}

fn host(number: u32) -> (String, String) {
    (format!("00:08:e1:00:01:{number:02x}"), format!("10.0.1.{number}"))
}

/// A router that answers for hosts, also for those that were there first: the alerts of one that was learned go into the
/// digest, which says why. Otherwise, and if it is an attack on the router's own address, they do not.
#[test]
fn proxy_arp_for_hosts_that_were_there_first() {
    let rules = Rules { proxy_arp_addresses: 8, ..Rules::default() };
    let mut memory = TestMemory::default();
    for number in 1..=8 {
        learn(&rules, &mut memory, &event(0, B, &format!("10.0.7.{number}"), Origin::ArpReply));
    }
    let mut events = vec![event(0, B, "10.0.1.254", Origin::ArpRequest)];
    for number in 1..=20 {
        let (mac, ip) = host(number);
        events.push(event(number.into(), &mac, &ip, Origin::ArpRequest));
        events.push(event(i64::from(number) + 100, B, &ip, Origin::ArpReply));
    }
    events.sort_by_key(|event| event.time);
    let alerts = alerts_of(&rules, &mut memory, &events);
    let changed: Vec<_> = alerts.iter().filter(|alert| alert.kind == AlertKind::Changed).collect();
    assert_eq!(changed.len(), 20, "none vanishes");
    assert!(changed.iter().all(|alert| alert.digest));
    let unlearned = alerts_of(&rules, &mut TestMemory::default(), &events);
    assert_eq!(count(&unlearned, AlertKind::Changed), 20);
    assert!(
        unlearned.iter().all(|alert| !alert.digest),
        "it took many addresses, and was not learned"
    );
    assert!(changed[7].to_string().ends_with(&format!(": {B} does proxy ARP")), "{}", changed[7]);
    // Both answer: no duplicate, and the owner that takes its address back is in the digest too.
    let (mac, ip) = host(1);
    let answers = [(10_000, &*mac), (10_000, B), (10_001, &*mac)];
    let answers = answers.map(|(time, mac)| event(time, mac, &ip, Origin::ArpReply));
    let alerts = alerts_of(&rules, &mut memory, &answers);
    assert!(!alerts.is_empty() && alerts.iter().all(|alert| alert.digest));
    assert_eq!(count(&alerts, AlertKind::Duplicate), 0);
    // Its own address is as well guarded as before.
    let attack = event(20_000, C, "10.0.1.254", Origin::ArpReply);
    let alerts = alerts_of(&rules, &mut memory, &[attack]);
    assert_eq!(
        alerts.iter().map(|alert| (alert.kind, alert.digest)).collect::<Vec<_>>(),
        [(AlertKind::NewDevice, false), (AlertKind::Changed, false)]
    );
    // A named one is a proxy at once.
    let rules = Rules { proxies: vec![C.parse().unwrap()], ..Rules::default() };
    let mut memory = TestMemory::default();
    let events =
        [event(0, A, "10.0.0.1", Origin::ArpReply), event(0, C, "10.0.0.1", Origin::ArpReply)];
    let alerts = alerts_of(&rules, &mut memory, &events);
    let last = alerts.last().map(|alert| (alert.kind, alert.digest));
    assert_eq!(last, Some((AlertKind::Changed, true)));
}

/// What an attacker chooses does not lower the alert: many answers for addresses that nothing uses, or the class of its MAC.
#[test]
fn a_takeover_is_reported_at_once_whatever_the_mac() {
    let rules = Rules { proxy_arp_addresses: 8, ..Rules::default() };
    let gateway = "10.0.1.254";
    for mac in [C, RANDOM, VRRP] {
        for while_learning in [false, true] {
            let mut memory = TestMemory::default();
            let owner = event(0, A, gateway, Origin::ArpRequest);
            learn(&rules, &mut memory, &owner);
            for number in 1..=40 {
                let forged = event(number.into(), mac, &host(number).1, Origin::ArpReply);
                match while_learning {
                    true => learn(&rules, &mut memory, &forged),
                    false => drop(observe(&rules, &mut memory, &forged)),
                }
            }
            let attack = event(20_000, mac, gateway, Origin::ArpReply);
            let alerts = alerts_of(&rules, &mut memory, &[attack]);
            let found: Vec<_> = alerts.iter().map(|alert| (alert.kind, alert.digest)).collect();
            let digest = while_learning;
            assert_eq!(found, [(AlertKind::Changed, digest)], "{mac} {while_learning}");
            // A phone that takes the address of another phone is a new device as usual.
            let mut memory = TestMemory::default();
            let phones = [RANDOM, "02:00:00:00:00:02"];
            let phones = phones.map(|mac| event(0, mac, gateway, Origin::ArpRequest));
            let alerts = alerts_of(&rules, &mut memory, &phones);
            let is_new = |alert: &Alert| alert.kind == AlertKind::NewDevice;
            assert!(alerts.len() == 3 && alerts.iter().all(|alert| alert.digest == is_new(alert)));
        }
    }
}

/// A host probes the address of one that left hours ago, and gets it: a lease that moved. Without the probe, with an answer,
/// or soon after the owner's last message, it is a takeover.
#[test]
fn a_lease_that_moves_is_in_the_digest() {
    let rules = Rules::default();
    let ip = "192.0.2.100";
    let digest = |probes: bool, answers: bool, hours: i64| {
        let mut memory = TestMemory::default();
        let now = hours * 3600 + 10;
        let mut events = vec![event(5, A, ip, Origin::ArpRequest)];
        events.extend(probes.then(|| event(now, B, ip, Origin::ArpProbe)));
        events.extend(answers.then(|| event(now, A, ip, Origin::ArpReply)));
        events.push(event(now + 7, B, ip, Origin::ArpRequest));
        let alerts = alerts_of(&rules, &mut memory, &events);
        let changed = alerts.into_iter().find(|alert| alert.kind == AlertKind::Changed).unwrap();
        (changed.digest, changed.note)
    };
    assert_eq!(digest(true, false, 5), (true, Some("it was not used for 5 h".into())));
    for (probes, answers, hours) in [(false, false, 5), (true, true, 5), (true, false, 0)] {
        assert_eq!(digest(probes, answers, hours), (false, None), "{probes} {answers} {hours}");
    }
}

/// Each answer from another MAC, as `atk6-dos-new-ip6` does it. A sensor that has just started does not know the owners.
#[test]
fn denials_by_changing_macs() {
    let rules = Rules::default();
    for (known_since, number) in [(None, 0), (Some(0), 1)] {
        let mut memory = TestMemory::default();
        let known = known_since.map(|time| event(time, A, "fe80::a", Origin::NdSolicitation));
        let mut events: Vec<_> = known.into_iter().collect();
        for probe in 1..=7_i64 {
            let (time, ip) = (7200 + probe * 30, format!("2001:db8::{probe}"));
            let forged = format!("00:1b:00:00:00:{probe:02x}");
            let nanos = UnixTime::new(time, 8_000_000);
            events.push(event(time, B, &ip, Origin::NdDad));
            events.push(Event { time: nanos, ..event(0, &forged, &ip, Origin::NdAdvertisement) });
        }
        let alerts = alerts_of(&rules, &mut memory, &events);
        assert_eq!(count(&alerts, AlertKind::Duplicate), number);
        if let Some(alert) = alerts.iter().find(|alert| alert.kind == AlertKind::Duplicate) {
            let note = "3 probes were answered by MACs that never had the address";
            assert_eq!(alert.note.as_deref(), Some(note));
        }
    }
}

/// One MAC answers each probe of the others, so that none of them gets an address.
#[test]
fn who_denies_addresses_to_others_is_reported_once() {
    let rules = Rules::default();
    for (net, probe, answer) in [
        ("2001:db8::", Origin::NdDad, Origin::NdAdvertisement),
        ("192.0.2.", Origin::ArpProbe, Origin::ArpReply),
    ] {
        let mut memory = TestMemory::default();
        let mut events = Vec::new();
        for number in 1..=10 {
            let ip = format!("{net}{number}");
            let victim = if number % 2 == 0 { A } else { B };
            events.push(event(i64::from(number) * 10, victim, &ip, probe));
            events.push(event(i64::from(number) * 10 + 1, C, &ip, answer));
        }
        let alerts = alerts_of(&rules, &mut memory, &events);
        let duplicates: Vec<_> =
            alerts.iter().filter(|alert| alert.kind == AlertKind::Duplicate).collect();
        assert_eq!(duplicates.len(), 1, "{alerts:?}");
        assert_eq!(
            duplicates[0].to_string(),
            format!(
                "duplicate address {net}3 {C} ({B}) eth0: answers probes of 3 addresses that it never had"
            )
        );
        // A host that probes its new addresses and claims them is no scanner, and no victim.
        let mut memory = TestMemory::default();
        let mut events = Vec::new();
        for number in 1..=20 {
            let ip = format!("{net}{number}");
            events.push(event(i64::from(number) * 10, A, &ip, probe));
            events.push(event(i64::from(number) * 10 + 5, A, &ip, answer));
        }
        let alerts = alerts_of(&rules, &mut memory, &events);
        assert_eq!(count(&alerts, AlertKind::Duplicate), 0);
        let mut memory = TestMemory::default();
        events.iter().for_each(|event| learn(&rules, &mut memory, event));
        let device = memory.device(A.parse().unwrap()).unwrap().unwrap();
        assert_eq!((device.probed, device.denied, device.scanner), (0, 0, false));
    }
}

/// Answers for free addresses make no MAC a proxy: neither its conflicts nor its answers to probes are lowered.
#[test]
fn answers_for_free_addresses_lower_nothing() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    let forge = |number: u32| event(number.into(), C, &host(number).1, Origin::ArpReply);
    alerts_of(&rules, &mut memory, &(1..=40).map(forge).collect::<Vec<_>>());
    let both = [(100, A), (200, C), (201, A)]
        .map(|(time, mac)| event(time, mac, "10.0.1.254", Origin::ArpReply));
    let alerts = alerts_of(&rules, &mut memory, &both);
    let found: Vec<_> = alerts.iter().map(|alert| (alert.kind, alert.digest)).collect();
    let expected = [AlertKind::NewDevice, AlertKind::Changed, AlertKind::Duplicate];
    assert_eq!(found, expected.map(|kind| (kind, false)));
    let probes = (1..=3).flat_map(|number: i64| {
        let (time, ip) = (1000 + number * 10, format!("10.0.2.{number}"));
        [event(time, B, &ip, Origin::ArpProbe), event(time, C, &ip, Origin::ArpReply)]
    });
    let alerts = alerts_of(&rules, &mut memory, &probes.collect::<Vec<_>>());
    assert_eq!(count(&alerts, AlertKind::Duplicate), 1);
}
