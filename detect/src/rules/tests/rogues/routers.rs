//! Router Advertisements and redirects.

use super::*;

#[test]
fn a_new_router() {
    let mut scene = Scene::learned(&usual());
    let rogue = router(ROGUE, "fe80::66", 1800);
    let attack = [
        rogue,
        of_router(NameKind::RouterPrefix, ROGUE, "fe80::66", "2001:db8:66::", 64),
        of_router(NameKind::RouterDns, ROGUE, "fe80::66", "2001:db8:66::53", 0),
        NameRecord { lifetime: 0, ..rogue },
        NameRecord { hops: 255, ..rogue },
        rogue,
    ];
    let [alert] = &*scene.alerts(&attack) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip, &*alert.mac), (AlertKind::NewRouter, "fe80::66", ROGUE));
    assert!(!alert.digest && alert.note.as_deref().unwrap().contains("default router for 1800 s"));
    // After a day it is known as others are.
    scene.time += DAY;
    assert_eq!(scene.kinds(&[NameRecord { lifetime: 0, ..rogue }]), [AlertKind::RouterWithdrawn]);
    // What a known server names as router, or for a route.
    let named = of_server(NameKind::DhcpRouter, SERVER, "192.0.2.1", "192.0.2.66");
    let [alert] = &*scene.alerts(&[named, named]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewRouter, "192.0.2.66"));
    let route = of_server(NameKind::DhcpRoute, SERVER, "192.0.2.1", "0.0.0.0");
    let route = NameRecord { relay: v6("192.0.2.67"), prefix: 1, ..route };
    let [alert] = &*scene.alerts(&[route, route]) else { panic!() };
    assert!(alert.note.as_deref().unwrap().contains("as router to "), "{alert}");
    // Hidden from guards and malformed.
    let detail = NameText::cut("RA");
    let (source, reason) = (v6("fe80::67"), Some(NameCounter::Hidden));
    let hidden = NameRecord { detail, source, reason, ..record(NameKind::Refused, ROGUE) };
    let [alert] = &*scene.alerts(&[hidden, hidden]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewRouter, "fe80::67"));
    assert!(alert.note.as_deref().unwrap().contains("(hidden)"), "{alert}");
    // One that the configuration names.
    let mut scene = Scene::learned(&usual());
    scene.rules.routers = vec![NamedServer::Addresses("fe80::66/128".parse().unwrap())];
    assert_eq!(scene.kinds(&[rogue]), []);
}

/// A router of a stub network is in the digest as long as it takes no traffic from others: whatever flag it sets.
#[test]
fn a_stub_router() {
    use NameKind::*;
    for flags in [0, 0x02] {
        let stub = NameRecord { flags, ..router(ROGUE, "fe80::66", 0) };
        let harmless = [
            stub,
            of_router(RouterPrefix, ROGUE, "fe80::66", "fd00:66::", 64),
            of_router(RouterRoute, ROGUE, "fe80::66", "fd00:67::", 64),
            stub,
        ];
        for (harm, kind) in [
            (NameRecord { lifetime: 1800, ..stub }, AlertKind::NewRouter),
            (of_router(RouterRoute, ROGUE, "fe80::66", "::", 0), AlertKind::NewRouter),
            (of_router(RouterRoute, ROGUE, "fe80::66", "fc00::", 7), AlertKind::NewRouter),
            (of_router(RouterRoute, ROGUE, "fe80::66", "fd00:7::", 64), AlertKind::NewRouter),
            (of_router(RouterPrefix, ROGUE, "fe80::66", "2001:db8:66::", 64), AlertKind::NewRouter),
            (of_router(RouterNat64, ROGUE, "fe80::66", "64:ff9b::", 96), AlertKind::NewRouter),
            (of_router(RouterDns, ROGUE, "fe80::66", "fd00:66::53", 0), AlertKind::ForeignDns),
        ] {
            let own = of_router(RouterPrefix, ROUTER, "fe80::1", "fd00:7::", 56);
            let mut scene = Scene::learned(&[&*usual(), &[own]].concat());
            let [alert] = &*scene.alerts(&harmless) else { panic!() };
            assert!(alert.digest && alert.kind == AlertKind::NewRouter, "{alert}");
            assert_eq!(alert.note.as_deref().unwrap().contains("stub network"), flags != 0);
            let [alert] = &*scene.alerts(&[harm, harm]) else { panic!("{harm:?}") };
            assert!(!alert.digest && alert.kind == kind, "{alert}");
        }
    }
}

#[test]
fn a_router_that_changes() {
    use NameKind::*;
    let own = router(ROUTER, "fe80::1", 1800);
    for (change, what) in [
        (NameRecord { flags: 0x80, ..own }, "now: addresses by DHCPv6; before: not"),
        (NameRecord { hops: 255, ..own }, "hop_limit=255, before 64"),
        (NameRecord { number: 1280, ..own }, "mtu=1280"),
        (of_router(RouterRoute, ROUTER, "fe80::1", "::", 0), "route ::/0"),
        (of_router(RouterNat64, ROUTER, "fe80::1", "64:ff9b::", 96), "NAT64 prefix 64:ff9b::/96"),
    ] {
        let mut scene = Scene::learned(&usual());
        let [alert] = &*scene.alerts(&[change, own, change]) else { panic!("{change:?}") };
        assert!(alert.kind == AlertKind::RouterChanged && !alert.digest);
        assert!(alert.note.as_deref().unwrap().contains(what), "{alert}");
    }
    let mut scene = Scene::learned(&usual());
    // What it leaves to hosts, and lifetimes that count down, are no changes (RFC 4861, 6.2.7).
    let unset = NameRecord { hops: 0, lifetime: 1799, ..own };
    let prefix = of_router(RouterPrefix, ROUTER, "fe80::1", "2001:db8:7::", 64);
    let later = NameRecord { lifetime: 599, preferred: 299, ..prefix };
    assert_eq!(scene.kinds(&[unset, own, later]), []);
    // A new prefix, as some providers give each day, is in the digest.
    let other = NameRecord { address: v6("2001:db8:8::"), ..prefix };
    let ended = NameRecord { preferred: 0, ..prefix };
    let alerts = scene.alerts(&[other, ended, other]);
    assert!(alerts.len() == 2 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
}

/// Once for each withdrawal, and once in `quiet` seconds if another host forges it.
#[test]
fn a_router_that_is_withdrawn() {
    let own = router(ROUTER, "fe80::1", 1800);
    let last = NameRecord { lifetime: 0, ..own };
    let mut scene = Scene::learned(&[own]);
    let [alert] = &*scene.alerts(&[last, last]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::RouterWithdrawn, "fe80::1"));
    assert!(alert.held >= DAY);
    assert_eq!(scene.kinds(&[own, last, own, last]), []);
    scene.time += 3600;
    assert_eq!(scene.kinds(&[last, own, last]), [AlertKind::RouterWithdrawn]);
}

#[test]
fn a_foreign_dns_server() {
    let mut scene = Scene::learned(&usual());
    let of_router = of_router(NameKind::RouterDns, ROUTER, "fe80::1", "2001:db8:66::53", 0);
    let of_server = of_server(NameKind::DhcpDns, SERVER, "192.0.2.1", "192.0.2.66");
    let ended = NameRecord { lifetime: 0, address: v6("2001:db8::54"), ..of_router };
    let alerts = scene.alerts(&[ended, of_router, of_server, of_router, of_server]);
    let found: Vec<_> = alerts.iter().map(|alert| (alert.kind, &*alert.ip)).collect();
    let kind = AlertKind::ForeignDns;
    assert_eq!(found, [(kind, "2001:db8:66::53"), (kind, "192.0.2.66")]);
    let mut scene = Scene::learned(&usual());
    scene.rules.dns_servers = ["2001:db8:66::/48", "192.0.2.66/32"]
        .map(|block| NamedServer::Addresses(block.parse().unwrap()))
        .into();
    assert_eq!(scene.kinds(&[of_router, of_server]), []);
}

#[test]
fn a_redirect() {
    let to_other = redirect(ROUTER, "fe80::1", "fe80::2", "2001:db8:9::1");
    let learned = [&*usual(), &[router(SERVER, "fe80::2", 1800)]].concat();
    let mut scene = Scene::learned(&learned);
    let direct = redirect(ROUTER, "fe80::1", "2001:db8:7::9", "2001:db8:7::9");
    assert_eq!(
        scene.kinds(&[to_other, direct]),
        [],
        "a known router, to one, or to the host itself"
    );
    for attack in [
        redirect(ROGUE, "fe80::66", "fe80::66", "2001:db8:9::1"),
        redirect(ROGUE, "fe80::1", "fe80::2", "2001:db8:9::1"),
        redirect(ROUTER, "fe80::1", "fe80::66", "2001:db8:9::1"),
        NameRecord { target: mac(ROGUE), ..direct },
        NameRecord { target: mac(ROGUE), ..to_other },
    ] {
        let mut scene = Scene::learned(&learned);
        let again = NameRecord { other: v6("2001:db8:9::2"), ..attack };
        let again = if attack.address == attack.other { attack } else { again };
        let [alert] = &*scene.alerts(&[attack, again]) else { panic!("{attack:?}") };
        assert_eq!(alert.kind, AlertKind::Redirect);
    }
}

/// A known router's redirect to the destination itself is right on this link only.
#[test]
fn a_redirect_off_this_link() {
    let mut scene = Scene::learned(&usual());
    let far = redirect(ROUTER, "fe80::1", "2001:db8:9::1", "2001:db8:9::1");
    assert_eq!(scene.kinds(&[far, far]), [AlertKind::Redirect]);
    let near = redirect(ROUTER, "fe80::1", "2001:db8:7::9", "2001:db8:7::9");
    assert_eq!(scene.kinds(&[near]), []);
    // No learning period makes one normal.
    let attack = redirect(ROGUE, "fe80::66", "fe80::66", "2001:db8:9::1");
    assert_eq!(Scene::new().kinds(&[attack, attack]), [AlertKind::Redirect]);
}

/// The header of a router that is no default router: hosts apply it nevertheless.
#[test]
fn a_header_that_harms() {
    let stub = |change: fn(&mut NameRecord)| {
        let mut record = NameRecord { hops: 0, ..router(ROGUE, "fe80::66", 0) };
        change(&mut record);
        record
    };
    let known = NameRecord { flags: 0x40, number: 1492, ..router(ROUTER, "fe80::1", 1800) };
    for (record, is_harmless) in [
        (stub(|_| {}), true),
        (stub(|one| one.hops = 64), true),
        (stub(|one| one.hops = 255), true),
        (stub(|one| one.number = 1500), true),
        (stub(|one| one.number = 1492), true), // as the known router
        (stub(|one| one.flags = 0x42), true),  // the same
        (stub(|one| one.hops = 1), false),
        (stub(|one| one.number = 1280), false),
        (stub(|one| one.flags = 0x80), false),
        (stub(|one| one.preferred = 1), false),
        (stub(|one| one.id = 1), false),
        (stub(|one| one.marks.set(NameMarks::INCOMPLETE)), false),
    ] {
        // At once, and after it was harmless.
        for before in [None, Some(stub(|_| {}))] {
            let mut scene = Scene::learned(&[known]);
            let first = before.map_or(0, |before| scene.alerts(&[before]).len());
            let alerts = scene.alerts(&[record, record]);
            let alone = alerts.iter().filter(|alert| !alert.digest).count();
            assert_eq!(alone, usize::from(!is_harmless), "{record:?} {alerts:?}");
            assert!(alerts.iter().all(|alert| alert.kind == AlertKind::NewRouter));
            assert_eq!(alerts.len() + first, if is_harmless || first == 0 { 1 } else { 2 });
        }
    }
}

/// A prefix of others that a stub router announces or ends.
#[test]
fn a_prefix_of_others() {
    use NameKind::RouterPrefix;
    let stub = |ip: &str| router(ROGUE, ip, 0);
    let own = [
        router(ROUTER, "fe80::1", 1800),
        of_router(RouterPrefix, ROUTER, "fe80::1", "2001:db8:7::", 64),
        of_router(RouterPrefix, ROUTER, "fe80::1", "fd00:7::", 64),
        // A border router of a stub network, and its prefix.
        router(SERVER, "fe80::2", 0),
        of_router(RouterPrefix, SERVER, "fe80::2", "fd00:8::", 64),
    ];
    let prefix = |ip: &str| of_router(RouterPrefix, ROGUE, "fe80::66", ip, 64);
    let ended = |ip: &str| NameRecord { lifetime: 0, preferred: 0, ..prefix(ip) };
    for (record, is_harmless) in [
        (ended("2001:db8:7::"), false),
        (ended("fd00:7::"), false),
        (ended("2001:db8:9::"), false), // which others may have had
        (ended("fd00:8::"), false),
        (NameRecord { preferred: 0, ..prefix("fd00:7::") }, false),
        (prefix("fd00:7::"), false),
        (prefix("fd00:8::"), true), // another border router of that network
        (NameRecord { preferred: 0, ..prefix("fd00:8::") }, false),
        (prefix("fd00:9::"), true),
    ] {
        let mut scene = Scene::learned(&own);
        assert_eq!(scene.kinds(&[stub("fe80::66")]), [AlertKind::NewRouter]);
        let alerts = scene.alerts(&[record, record]);
        assert_eq!(alerts.len(), usize::from(!is_harmless), "{record:?} {alerts:?}");
        assert!(alerts.iter().all(|alert| !alert.digest));
    }
}

/// A router that was none of the default ones becomes one, in its own name and MAC.
#[test]
fn a_router_that_becomes_a_default_router() {
    let stub = router(SERVER, "fe80::2", 0);
    let mut scene = Scene::learned(&[&*usual(), &[stub]].concat());
    let used = NameRecord { lifetime: 1800, ..stub };
    let [alert] = &*scene.alerts(&[used, used]) else { panic!() };
    assert!(!alert.digest && alert.kind == AlertKind::RouterChanged, "{alert}");
    assert!(alert.note.as_deref().unwrap().contains("a default router, for 1800 s"), "{alert}");
    // One that was withdrawn comes back.
    let mut scene = Scene::learned(&usual());
    let own = usual()[3];
    let last = NameRecord { lifetime: 0, ..own };
    assert_eq!(scene.kinds(&[last, own]), [AlertKind::RouterWithdrawn]);
}

/// A stub that announces any number of prefixes takes no place of others, and cannot end theirs then.
#[test]
fn prefixes_without_number() {
    use NameKind::RouterPrefix;
    let prefix = |ip: &str| of_router(RouterPrefix, ROGUE, "fe80::66", ip, 64);
    let mut scene = Scene::learned(&usual());
    assert_eq!(scene.kinds(&[router(ROGUE, "fe80::66", 0)]), [AlertKind::NewRouter]);
    let many: Vec<_> = (0..100).map(|number| prefix(&format!("fd00:{number}::"))).collect();
    assert_eq!(scene.kinds(&many), []);
    let own = "fe80::66 ";
    let stored = scene.memory.known.keys().filter(|(.., key)| key.starts_with(own)).count();
    assert!(stored < 20, "{stored}");
    let ended = NameRecord { lifetime: 0, preferred: 0, ..prefix("2001:db8:7::") };
    let [alert] = &*scene.alerts(&[ended]) else { panic!() };
    assert!(!alert.digest && alert.kind == AlertKind::NewRouter, "{alert}");
}

/// A router with a provider's daily prefix has another route each day; a resolver that announces itself is started again.
#[test]
fn daily_changes() {
    use NameKind::*;
    let prefix = |ip: &str| of_router(RouterPrefix, ROUTER, "fe80::1", ip, 64);
    let route = |ip: &str| of_router(RouterRoute, ROUTER, "fe80::1", ip, 56);
    let mut scene = Scene::learned(&[&*usual(), &[route("2001:db8:7::")]].concat());
    let ended = NameRecord { lifetime: 0, ..route("2001:db8:7::") };
    let alerts = scene.alerts(&[prefix("2001:db8:8::"), route("2001:db8:8::"), ended]);
    assert!(alerts.len() == 3 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
    let resolver = router(SERVER, "fe80::53", 0);
    let dns = of_router(RouterDns, SERVER, "fe80::53", "fd00::53", 0);
    let mut scene = Scene::learned(&[&*usual(), &[resolver, dns]].concat());
    let alerts = scene.alerts(&[NameRecord { lifetime: 0, ..dns }, dns]);
    assert!(alerts.iter().all(|alert| alert.digest), "{alerts:?}");
}

/// What a router takes back: once; not if it withdraws itself, nor what was not there.
#[test]
fn a_part_that_is_withdrawn() {
    use NameKind::*;
    let own = router(ROUTER, "fe80::1", 1800);
    let domain = of_router(RouterDomain, ROUTER, "fe80::1", "::", 0);
    let parts = [
        (
            of_router(RouterDns, ROUTER, "fe80::1", "2001:db8:7::53", 0),
            "no longer DNS server 2001:",
        ),
        (of_router(RouterRoute, ROUTER, "fe80::1", "2001:db8:9::", 48), "no longer route 2001:"),
        (of_router(RouterNat64, ROUTER, "fe80::1", "64:ff9b::", 96), "no longer NAT64 prefix "),
        (NameRecord { name: NameText::cut("example.org"), ..domain }, "no longer search domain "),
    ];
    let preferred = NameRecord { flags: 0x08, ..parts[1].0 };
    let learned: Vec<_> = [own, preferred].into_iter().chain(parts.map(|(part, _)| part)).collect();
    let ended = |part: &NameRecord| NameRecord { lifetime: 0, flags: 0, ..*part };
    for (part, what) in &parts {
        let mut scene = Scene::learned(&learned);
        let [alert] = &*scene.alerts(&[ended(part), ended(part)]) else { panic!("{what}") };
        assert!(!alert.digest && alert.kind == AlertKind::RouterChanged, "{alert}");
        assert!(alert.note.as_deref().unwrap().contains(what), "{alert}");
        assert_eq!(scene.kinds(&[*part, ended(part), *part]), [], "within an hour");
        scene.time += 3600;
        assert_eq!(scene.kinds(&[ended(part)]), [AlertKind::RouterChanged]);
        // It goes itself.
        let mut scene = Scene::learned(&learned);
        let last = NameRecord { lifetime: 0, ..own };
        assert_eq!(scene.kinds(&[last, ended(part)]), [AlertKind::RouterWithdrawn]);
        // Not of another MAC, and not of what was not known.
        let mut scene = Scene::learned(&[own]);
        assert_eq!(scene.kinds(&[ended(part)]), []);
        let forged = NameRecord { sender: mac(ROGUE), mac: mac(ROGUE), ..ended(part) };
        assert_eq!(Scene::learned(&learned).kinds(&[forged]), []);
    }
}

/// A border router of a stub network that was learned: its routes are in the digest.
#[test]
fn a_known_stub_router() {
    use NameKind::*;
    let stub = router(SERVER, "fe80::2", 0);
    let route = |ip: &str| of_router(RouterRoute, SERVER, "fe80::2", ip, 64);
    let mut scene = Scene::learned(&[&*usual(), &[stub, route("fd00:8::")]].concat());
    let ended = NameRecord { lifetime: 0, ..route("fd00:8::") };
    let alerts = scene.alerts(&[route("fd00:9::"), ended]);
    assert!(alerts.len() == 2 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
    let [alert] = &*scene.alerts(&[route("2001:db8:9::")]) else { panic!() };
    assert!(!alert.digest && alert.kind == AlertKind::RouterChanged);
}
