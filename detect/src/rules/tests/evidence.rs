//! What a message proves: probes, frame sources, signs of life, and times of a clock that was not set.

use super::*;

fn lines(alerts: &[Alert]) -> Vec<String> {
    let default = alerts.iter().filter(|alert| AlertKind::DEFAULT.contains(&alert.kind));
    default.map(Alert::to_string).collect()
}

/// A device that probes an address does not have it: the alert names none, and the claim that follows is no second one.
#[test]
fn a_probe_is_no_address_of_a_new_device() {
    let day = 86_400;
    let known = BTreeMap::from([(A.parse().unwrap(), "nas".to_owned())]);
    let rules = Rules { known, ..Rules::default() };
    for (ip, probe, claim) in [
        ("192.0.2.7", Origin::ArpProbe, Origin::ArpRequest),
        ("2001:db8::7", Origin::NdDad, Origin::NdAdvertisement),
    ] {
        let mut memory = TestMemory::default();
        let alerts = observe(&rules, &mut memory, &event(day, B, ip, probe));
        assert_eq!(
            lines(&alerts),
            [
                format!("new device {B} eth0: probed {ip}"),
                format!("unknown device {B} eth0: probed {ip}"),
            ]
        );
        assert_eq!(lines(&observe(&rules, &mut memory, &event(day + 7, B, ip, claim))), [""; 0]);
        let later =
            observe(&rules, &mut memory, &event(31 * day + 8, B, "192.0.2.8", Origin::ArpProbe));
        assert_eq!(
            lines(&later)[0],
            format!("returned device {B} eth0: after 30 days, probed 192.0.2.8")
        );
    }
}

/// A scanner from 0.0.0.0, a switch that tracks its devices, a DHCP server: no owner that answers it is a duplicate.
#[test]
fn a_prober_stands_beside_no_owner() {
    let rules = Rules::default();
    for (probe, answer, net) in [
        (Origin::ArpProbe, Origin::ArpReply, "192.0.2."),
        (Origin::NdDad, Origin::NdAdvertisement, "2001:db8::"),
    ] {
        let mut memory = TestMemory::default();
        let mut alerts = Vec::new();
        for round in 0..100 {
            for host in 1..60 {
                let (time, ip) = (round * 300 + host, format!("{net}{host}"));
                alerts.extend(observe(&rules, &mut memory, &event(time, A, &ip, probe)));
                // A third of the addresses is in use.
                if host % 3 == 0 {
                    let owner = format!("00:08:e1:00:01:{host:02x}");
                    alerts.extend(observe(&rules, &mut memory, &event(time, &owner, &ip, answer)));
                }
            }
        }
        let default = alerts.iter().filter(|alert| AlertKind::DEFAULT.contains(&alert.kind));
        let (new, others): (Vec<_>, Vec<_>) =
            default.partition(|alert| alert.kind == AlertKind::NewDevice);
        assert_eq!((new.len(), others), (20, vec![]));
        assert_eq!(new.iter().filter(|alert| alert.mac == A && alert.ip.is_empty()).count(), 1);
    }
}

/// An advertisement without the option pairs the frame's source, if nothing else is known; a question is a sign of life.
#[test]
fn a_frame_source_never_overrules() {
    let rules = Rules::default();
    let (from_frame, sign) =
        (Origin::NdAdvertisementFrameSource, Origin::NdSolicitationFrameSource);
    let ip = "2001:db8::1";
    let mut memory = TestMemory::default();
    let first = observe(&rules, &mut memory, &event(0, A, ip, from_frame));
    assert_eq!(first.last().map(|alert| alert.kind), Some(AlertKind::NewStation));
    assert_eq!(first[0].ip, ip);
    for origin in [from_frame, sign] {
        let mut memory = TestMemory::default();
        observe(&rules, &mut memory, &event(0, A, ip, Origin::NdAdvertisement));
        let alerts = observe(&rules, &mut memory, &event(1, B, ip, origin));
        let deed = if origin == sign { "asked from" } else { "answered for" };
        assert_eq!(lines(&alerts), [format!("new device {B} eth0: {deed} {ip}")]);
        assert_eq!(observe(&rules, &mut memory, &event(2, A, ip, Origin::NdAdvertisement)), []);
        // Of the owner it refreshes the claim and the device.
        assert_eq!(observe(&rules, &mut memory, &event(1800, A, ip, origin)), []);
        let station = memory.station("sensor/addrwatch/eth0", ip.parse().unwrap()).unwrap();
        assert_eq!(station.claims, [MacClaim { mac: A.parse().unwrap(), time: 1800 }]);
        assert_eq!(memory.device(A.parse().unwrap()).unwrap().unwrap().last, 1800);
    }
    // A sign of life alone proves no pairing.
    let mut memory = TestMemory::default();
    let alerts = observe(&rules, &mut memory, &event(0, A, ip, sign));
    assert_eq!(lines(&alerts), [format!("new device {A} eth0: asked from {ip}")]);
    assert_eq!(
        memory.station("sensor/addrwatch/eth0", ip.parse().unwrap()),
        Ok(Station::default())
    );
}

/// A sensor without a battery boots in 1970: nothing is days or half a year ago because of it.
#[test]
fn a_clock_that_was_not_set() {
    const NOW: i64 = 1_700_000_000;
    let c = "00:08:e1:00:00:0c";
    for (dialect, expected) in [(Dialect::Devices, 0), (Dialect::Arpwatch, 0)] {
        let rules = Rules { dialect, ..Rules::default() };
        let mut memory = TestMemory::default();
        let request = |time, mac, ip| event(time, mac, ip, Origin::ArpRequest);
        let mut observe = |event: Event| observe(&rules, &mut memory, &event);
        observe(request(NOW, A, "192.0.2.21"));
        for time in [30, 31] {
            assert_eq!(observe(request(time, A, "192.0.2.21")).len(), expected);
        }
        observe(request(40, B, "192.0.2.22"));
        for (mac, ip) in [(A, "192.0.2.21"), (B, "192.0.2.22")] {
            assert_eq!(observe(request(NOW + 86_400, mac, ip)).len(), expected, "{dialect:?}");
        }
        // That an address moved is true, whatever the clock; since when is not known.
        let moved = observe(request(50, c, "192.0.2.21"));
        assert_eq!(
            moved.last().map(|alert| (alert.kind, alert.previous)),
            Some((AlertKind::Changed, None))
        );
        let back = observe(request(NOW + 90_000, A, "192.0.2.21"));
        assert_eq!(
            back.last().map(|alert| (alert.kind, alert.previous)),
            Some((AlertKind::FlipFlop, None))
        );
        let mac = B.parse().unwrap();
        if dialect == Dialect::Devices {
            assert_eq!(memory.device(mac).unwrap().unwrap().first, NOW + 86_400);
        }
        // Within an old capture, spans are what they were.
        let old = [0, 200 * 86_400].map(|time| request(time, A, "192.0.2.1"));
        let mut memory = TestMemory::default();
        let alerts = old.map(|event| super::observe(&rules, &mut memory, &event));
        assert!(alerts[1].iter().any(|alert| alert.kind == AlertKind::NewActivity));
        assert!(alerts[1].iter().all(|alert| alert.previous == Some(0)), "{:?}", alerts[1]);
    }
}

#[test]
fn a_silence_does_not_span_a_wrong_clock() {
    const NOW: i64 = 1_700_000_000;
    let mac = A.parse().unwrap();
    let rules = Rules { watched: BTreeMap::from([(mac, 600)]), ..Rules::default() };
    let mut memory = TestMemory::default();
    observe(&rules, &mut memory, &event(30, A, "10.0.0.1", Origin::ArpReply));
    let mut silent = |now, since| rules.silent_devices(now, since, &mut memory).unwrap();
    assert_eq!(silent(NOW, 20), [], "the clock was just set");
    assert_eq!(silent(NOW + 600, NOW), []);
    let alert = &silent(NOW + 601, NOW)[0];
    assert_eq!((alert.note.as_deref(), alert.previous), (Some("not seen for 601 s"), None));
}
