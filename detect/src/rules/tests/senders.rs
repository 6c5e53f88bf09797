//! Frames of one MAC that name another: the sender is reported, and what it names outweighs no host.

use super::{
    attacks::{C, D, GATEWAY, found, reply},
    *,
};

/// A message in a frame of another MAC.
fn sent_by(source: &str, event: Event) -> Event {
    Event { source: source.parse().unwrap(), ..event }
}

fn lines(rules: &Rules, memory: &mut TestMemory, event: &Event) -> Vec<String> {
    let alerts = observe(rules, memory, event).into_iter();
    let default = alerts.filter(|alert| AlertKind::DEFAULT.contains(&alert.kind));
    default.map(|alert| alert.to_string()).collect()
}

/// A host names another one at the address of a third, and then itself: it took the address from the third. The other one
/// never had it, whatever kind of message names it, and the owner that returns is the previous one.
#[test]
fn a_forged_claim_hides_no_owner() {
    for (origin, ip) in [
        (Origin::ArpReply, GATEWAY),
        (Origin::ArpRequest, GATEWAY),
        (Origin::NdAdvertisement, "fe80::1"),
        (Origin::NdRouterAdvertisement, "fe80::1"),
        (Origin::NdRedirect, "fe80::1"),
    ] {
        for (returns, kind, note) in
            [(10_012, "duplicate address", ": both MACs answer"), (20_000, "flip flop", "")]
        {
            let (rules, mut memory) = (Rules::default(), TestMemory::default());
            let of_owner = if ip == GATEWAY { Origin::ArpReply } else { Origin::NdAdvertisement };
            observe(&rules, &mut memory, &event(0, A, ip, of_owner));
            for (mac, own) in [(B, "10.0.0.2"), (C, "10.0.0.3"), (D, "10.0.0.4")] {
                observe(&rules, &mut memory, &reply(0, mac, own));
            }
            for (time, forged) in [(10_000, C), (10_010, D)] {
                let event = sent_by(B, event(time, forged, ip, origin));
                let line = format!("changed ethernet address {ip} {forged} (");
                let found = lines(&rules, &mut memory, &event);
                assert!(found.len() == 1 && found[0].starts_with(&line), "{found:?}");
                assert!(found[0].ends_with(&format!("sent by {B}")), "{found:?}");
            }
            let taken = event(10_011, B, ip, of_owner);
            let alerts = observe(&rules, &mut memory, &taken);
            let line = format!(
                "changed ethernet address {ip} {B} ({A}) eth0: frames of other MACs named {D}"
            );
            assert_eq!((alerts.len(), alerts[0].to_string()), (1, line), "{origin}");
            assert_eq!(alerts[0].held, 10_011, "what ranks it in a storm");
            let back = lines(&rules, &mut memory, &event(returns, A, ip, of_owner));
            assert_eq!(back, [format!("{kind} {ip} {A} ({B}) eth0{note}")], "{origin}");
        }
    }
}

/// What Linux ignores takes the address from its owner, too, and not from a host that another one named.
#[test]
fn a_forged_claim_hides_no_owner_from_an_ignored_one() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    for (mac, ip) in [(A, GATEWAY), (B, "10.0.0.2"), (C, "10.0.0.3")] {
        observe(&rules, &mut memory, &reply(0, mac, ip));
    }
    observe(&rules, &mut memory, &sent_by(B, reply(10, C, GATEWAY)));
    let ignored = lines(&rules, &mut memory, &event(11, B, GATEWAY, Origin::ArpIgnored));
    let line = format!(
        "changed ethernet address {GATEWAY} {B} ({A}) eth0: it claims the address in a form"
    );
    assert!(ignored[0].starts_with(&line), "{ignored:?}");
}

/// A host whose frames another one forwards: it keeps its address if it was there first, or while `aw-alert` learned, or for
/// a day. So does a host that was forwarded once, and sends frames of its own.
#[test]
fn what_is_forwarded_for_long_is_an_owner() {
    let day = 86_400;
    let named = format!(": frames of other MACs named {C}");
    for (before, learned, until, forwards_always, expected) in [
        (None, false, 0, true, C),
        (Some(A), false, 0, true, A),
        (Some(A), true, 0, true, C),
        (Some(A), false, day - 1, true, A),
        (Some(A), false, day, true, C),
        (Some(A), false, 10, false, C),
    ] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        if let Some(before) = before {
            observe(&rules, &mut memory, &reply(0, before, GATEWAY));
        }
        let forwarded = |time: i64| sent_by(D, reply(1000 + time, C, GATEWAY));
        passed("/addrwatch", learned, &rules, &mut memory, &forwarded(0));
        let last = if forwards_always { forwarded(until) } else { reply(1010, C, GATEWAY) };
        observe(&rules, &mut memory, &last);
        let taken = lines(&rules, &mut memory, &reply(200_000, B, GATEWAY));
        // Who it was before, and what cannot be known: whether that is forged, or a host behind a repeater.
        let named = if expected == A { &*named } else { "" };
        let line = format!("changed ethernet address {GATEWAY} {B} ({expected}) eth0{named}");
        assert_eq!(taken.last(), Some(&line), "{before:?} {learned} {until}");
    }
}

/// An attacker that names a host for days makes no owner of it, as long as the owner claims the address at times.
#[test]
fn a_forged_claim_becomes_no_owner_by_waiting() {
    for (interval, expected) in [(43_200, A), (10_000_000, C)] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        for time in (0..864_000).step_by(3600) {
            if time % interval == 0 {
                observe(&rules, &mut memory, &reply(time, A, GATEWAY));
            }
            observe(&rules, &mut memory, &sent_by(B, reply(time + 1800, C, GATEWAY)));
        }
        let taken = observe(&rules, &mut memory, &reply(864_000, B, GATEWAY));
        let change = taken.iter().find(|alert| alert.kind == AlertKind::Changed).unwrap();
        assert_eq!(change.old_mac.as_deref(), Some(expected), "{interval}");
    }
}

/// A MAC that only frames of another one name is a new device: so are all hosts behind a Wi-Fi repeater, and an intruder who
/// sends from there. The alert names the sender.
#[test]
fn a_forwarded_device_is_new() {
    let (rules, mut memory) = (Rules::default(), TestMemory::default());
    let new = lines(&rules, &mut memory, &sent_by(B, reply(0, C, "10.0.0.3")));
    assert_eq!(new, [format!("new device 10.0.0.3 {C} eth0: sent by {B}")]);
}

/// The frame of another MAC, for Neighbor Discovery too, also where it names another host by nature: a redirect.
#[test]
fn mismatches() {
    for (origin, number) in [
        (Origin::ArpReply, 1),
        (Origin::NdAdvertisement, 1),
        (Origin::NdRouterAdvertisement, 1),
        (Origin::NdRedirect, 1),
    ] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        let event = Event { source: B.parse().unwrap(), ..event(0, A, "fe80::1", origin) };
        let alerts = observe(&rules, &mut memory, &event);
        let mismatches = alerts.iter().filter(|alert| alert.kind == AlertKind::Mismatch);
        assert_eq!(mismatches.count(), number, "{origin}");
    }
}

/// What a host says in frames of its own with another's MAC is reported with its own MAC.
#[test]
fn the_sender_is_named() {
    for origin in [Origin::ArpReply, Origin::NdAdvertisement] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        observe(&rules, &mut memory, &event(0, A, "fe80::1", origin));
        for mac in [B, C] {
            observe(&rules, &mut memory, &event(0, mac, &format!("fe80::{mac}"), origin));
        }
        let forged = Event { source: B.parse().unwrap(), ..event(10_000, C, "fe80::1", origin) };
        let alerts = observe(&rules, &mut memory, &forged);
        let lines = alerts.iter().map(Alert::to_string).collect::<Vec<_>>();
        let expected = [
            format!("ethernet mismatch fe80::1 {B} ({C}) eth0"),
            format!("changed ethernet address fe80::1 {C} ({A}) eth0: sent by {B}"),
        ];
        assert_eq!(lines, expected);
        assert!(alerts.iter().all(|alert| alert.frame_source.as_deref() == Some(B)));
    }
}

/// A redirect says nothing about the device that it names, if another one sent it; that it moves an address is reported with
/// the sender, and is learned for no host.
#[test]
fn a_redirect_blames_no_host() {
    let gateway = "fe80::1";
    let redirect = |mac: &str| Event {
        source: B.parse().unwrap(),
        ..event(10_000, mac, gateway, Origin::NdRedirect)
    };
    for learning in [false, true] {
        let (rules, mut memory) = (Rules::default(), TestMemory::default());
        observe(&rules, &mut memory, &event(0, A, gateway, Origin::NdAdvertisement));
        let alerts = passed("/addrwatch", learning, &rules, &mut memory, &redirect(C));
        let lines = alerts.iter().map(Alert::to_string).collect::<Vec<_>>();
        let expected = [
            format!("ethernet mismatch {gateway} {B} ({C}) eth0"),
            format!("changed ethernet address {gateway} {C} ({A}) eth0: sent by {B}"),
        ];
        assert_eq!(lines, expected);
        assert_eq!(memory.devices.len(), 1, "the named device was not seen");
        let station = memory.station("sensor/addrwatch/eth0", gateway.parse().unwrap()).unwrap();
        assert_eq!(station.learned, []);
        // Its own MAC it cannot hide.
        let both = [(AlertKind::NewDevice, false), (AlertKind::Changed, false)];
        assert_eq!(found(&rules, &mut memory, &redirect(B)), both);
    }
}
