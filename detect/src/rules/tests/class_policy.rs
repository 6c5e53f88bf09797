//! The class of a MAC, and what lowers an alert about its device.

use super::{
    attacks::{GATEWAY, found, reply},
    *,
};

/// The list of known devices has no class of MACs: an intruder chooses its own.
#[test]
fn a_random_mac_is_unknown_at_once() {
    let known = BTreeMap::from([(A.parse().unwrap(), "nas".to_owned())]);
    for (random_macs, new_devices) in [(MacPolicy::Ignore, 0), (MacPolicy::Digest, 1)] {
        let random_macs = Some(random_macs);
        let rules = Rules { known: known.clone(), random_macs, ..Rules::default() };
        let alerts = found(&rules, &mut TestMemory::default(), &reply(86_400, RANDOM, "10.0.0.9"));
        let new = alerts.iter().filter(|alert| **alert == (AlertKind::NewDevice, true));
        assert_eq!(new.count(), new_devices);
        assert!(alerts.contains(&(AlertKind::UnknownDevice, false)), "{alerts:?}");
    }
}

/// Whether a device with such a MAC is nothing special is what the learning period saw at its interface, or what the configuration
/// says: a host that chooses such a MAC lowers no alert.
#[test]
fn a_random_mac_where_none_was_learned() {
    let new = |rules: &Rules, learned: &[&str], ring: &str| {
        let mut memory = TestMemory::default();
        for mac in learned {
            passed("/addrwatch", true, rules, &mut memory, &reply(0, mac, GATEWAY));
        }
        let alerts = passed(ring, false, rules, &mut memory, &reply(90_000, RANDOM, "10.0.0.9"));
        let default = alerts.iter().filter(|alert| AlertKind::DEFAULT.contains(&alert.kind));
        default.map(|alert| (alert.kind, alert.digest)).collect::<Vec<_>>()
    };
    let (rules, phone) = (Rules::default(), "06:00:00:00:00:07");
    let is_new = |digest| vec![(AlertKind::NewDevice, digest)];
    assert_eq!(new(&rules, &[A], "/addrwatch"), is_new(false));
    assert_eq!(new(&rules, &[A, phone], "/addrwatch"), is_new(true));
    // Nothing was learned, or not in this network.
    assert_eq!(new(&rules, &[], "/addrwatch"), is_new(true));
    assert_eq!(new(&rules, &[A], "/other"), is_new(true));
    for (policy, expected) in [
        (MacPolicy::Report, is_new(false)),
        (MacPolicy::Digest, is_new(true)),
        (MacPolicy::Ignore, Vec::new()),
    ] {
        let rules = Rules { random_macs: Some(policy), ..Rules::default() };
        assert_eq!(new(&rules, &[A], "/addrwatch"), expected);
        assert_eq!(new(&rules, &[A, phone], "/addrwatch"), expected);
    }
}

/// A frame can have any tag: that of a VLAN which no learning saw, or where phones are, lowers no alert.
#[test]
fn a_random_mac_with_a_vlan_tag() {
    let rules = Rules::default();
    let mut memory = TestMemory::default();
    passed("/addrwatch", true, &rules, &mut memory, &reply(0, A, GATEWAY));
    let tagged = Event {
        vlan: VlanId::from_tag(999),
        ..event(90_000, RANDOM, "10.0.0.9", Origin::ArpProbe)
    };
    let alerts = passed("/addrwatch", false, &rules, &mut memory, &tagged);
    let is_new = |alert: &&Alert| alert.kind == AlertKind::NewDevice;
    assert!(alerts.iter().find(is_new).is_some_and(|alert| !alert.digest), "{alerts:?}");
}

/// In the learning period, only a claim in a frame of its own shows that a MAC is usual: all else can name any MAC.
#[test]
fn what_teaches_a_random_mac() {
    let phone = "06:00:00:00:00:07";
    let own = reply(0, phone, "10.0.0.7");
    let forged = Event { source: A.parse().unwrap(), ..own };
    let probe = event(0, phone, "10.0.0.7", Origin::ArpProbe);
    let ignored = event(0, phone, "10.0.0.7", Origin::ArpIgnored);
    for (learned, digest) in [(own, true), (forged, false), (probe, false), (ignored, false)] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        passed("/addrwatch", true, &rules, &mut memory, &reply(0, A, GATEWAY));
        passed("/addrwatch", true, &rules, &mut memory, &learned);
        let intruder = reply(90_000, RANDOM, "10.0.0.9");
        let alerts = passed("/addrwatch", false, &rules, &mut memory, &intruder);
        let new = alerts.iter().find(|alert| alert.kind == AlertKind::NewDevice);
        assert_eq!(new.map(|alert| alert.digest), Some(digest), "{learned:?}");
    }
}
