//! DHCP servers.

use super::*;

/// Seen itself, or by a client's request only; once, with what it does.
#[test]
fn a_new_dhcp_server() {
    for (seen, certain) in
        [(offer(ROGUE, "192.0.2.66"), true), (request(CLIENT, "192.0.2.66"), false)]
    {
        let mut scene = Scene::learned(&usual());
        let [alert] = &*scene.alerts(&[seen]) else { panic!() };
        assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewDhcpServer, "192.0.2.66"));
        assert!(!alert.digest);
        let note = alert.note.as_deref().unwrap();
        match certain {
            true => {
                assert_eq!(alert.mac, ROGUE);
                assert!(note.contains("it offers 192.0.2.77 to 00:08:e1:00:00:03"), "{note}");
            }
            false => {
                assert_eq!(alert.mac, "");
                assert!(note.contains("00:08:e1:00:00:03 (\"printer\") asks it"), "{note}");
                assert!(note.contains("A client can name any server"), "{note}");
            }
        }
        // What it names itself is part of this attack.
        use NameKind::*;
        let attack = [
            answer(DhcpAck, ROGUE, "192.0.2.66"),
            of_server(DhcpRouter, ROGUE, "192.0.2.66", "192.0.2.66"),
            of_server(DhcpDns, ROGUE, "192.0.2.66", "192.0.2.66"),
            request(CLIENT, "192.0.2.66"),
            request(SERVER, "192.0.2.66"),
            seen,
        ];
        assert_eq!(scene.kinds(&attack), [AlertKind::NewDhcpServer], "its first lease");
        assert_eq!(scene.kinds(&attack), []);
        assert_eq!(scene.kinds(&usual()), [], "the others are as before");
    }
    // ARP is no answer of it: who claims its address is in the text, and the message is about no MAC.
    let mut scene = Scene::learned(&usual());
    scene.event(ROGUE, "192.0.2.66", Origin::ArpRequest);
    let [alert] = &*scene.alerts(&[request(CLIENT, "192.0.2.66")]) else { panic!() };
    assert_eq!((&*alert.mac, &alert.old_mac, &alert.name), ("", &None, &None));
    assert_eq!(alert.claimed_by, [ROGUE]);
    let begin = format!("new DHCP server 192.0.2.66 (claimed by {ROGUE}) eth0: {CLIENT} ");
    assert!(alert.short_line().starts_with(&begin), "{alert}");
    let note = alert.full_note().unwrap();
    let arp =
        format!(". By ARP, which any host can send, only {ROGUE} has claimed 192.0.2.66 since @");
    assert!(note.contains(&arp), "{note}");
}

/// What is no rogue server.
#[test]
fn dhcp_without_a_rogue() {
    // A failover pair, of which a client names either one.
    let pair = [offer(SERVER, "192.0.2.1"), offer(ROUTER, "192.0.2.2")];
    let mut scene = Scene::learned(&pair);
    let both = [request(CLIENT, "192.0.2.1"), request(CLIENT, "192.0.2.2"), pair[1], pair[0]];
    assert_eq!(scene.kinds(&both), []);
    // 255.255.255.255 is no server: its packet's source is.
    let none = NameRecord { other: v6("255.255.255.255"), ..offer(SERVER, "192.0.2.1") };
    assert_eq!(scene.kinds(&[none, request(CLIENT, "0.0.0.0")]), []);
    let rogue = NameRecord { other: v6("255.255.255.255"), ..offer(ROGUE, "192.0.2.66") };
    let [alert] = &*scene.alerts(&[rogue, rogue]) else { panic!() };
    assert_eq!((&*alert.ip, &*alert.mac), ("192.0.2.66", ROGUE));
    // On its way to a relay; and what the relay hands on, in the name of the known server, is of the relay's MAC.
    let relay = v6("192.0.2.254");
    let far = offer(ROUTER, "198.51.100.1");
    let way = NameRecord { relay, destination: relay, receiver: mac(ROUTER), ..far };
    let handed = NameRecord { relay, ..far };
    assert_eq!(scene.kinds(&[way]), []);
    let mut scene = Scene::learned(&[request(CLIENT, "198.51.100.1"), handed]);
    assert_eq!(scene.kinds(&[handed, request(CLIENT, "198.51.100.1")]), []);
    // Where only requests were learned: the relay has had its address for a day.
    let mut scene = Scene::new();
    scene.rules.routers = vec![NamedServer::Addresses("192.0.2.254/32".parse().unwrap())];
    scene.event(ROUTER, "192.0.2.254", Origin::ArpReply);
    assert_eq!(scene.kinds(&[request(CLIENT, "198.51.100.1")]), []);
    scene.time = LATER + 200;
    assert_eq!(scene.kinds(&[handed]), []);
    let forged = NameRecord { sender: mac(ROGUE), ..handed };
    assert_eq!(scene.kinds(&[forged, forged]), [AlertKind::NewDhcpServer], "another MAC");
    // Servers that the configuration names.
    let mut scene = Scene::new();
    scene.rules.dhcp_servers = vec![
        NamedServer::Addresses("192.0.2.0/28".parse().unwrap()),
        NamedServer::Duid("00030001020000000001".into()),
    ];
    let named = [request(CLIENT, "192.0.2.2"), duid(CLIENT, "00030001020000000001")];
    assert_eq!(scene.kinds(&[request(CLIENT, "198.51.100.1")]), []);
    scene.time = LATER + 10;
    assert_eq!(scene.kinds(&named), []);
    scene.rules.dhcp_servers.clear();
    assert_eq!(scene.kinds(&named).len(), 2, "without the configuration");
    // A server of boot files that was learned; a new one is reported.
    let pxe = NameRecord { address: Ipv6Addr::UNSPECIFIED, ..offer(SERVER, "192.0.2.9") };
    let mut scene = Scene::learned(&[pxe]);
    assert_eq!(scene.kinds(&[pxe]), []);
    let other = NameRecord { address: Ipv6Addr::UNSPECIFIED, ..offer(ROGUE, "192.0.2.66") };
    let [alert] = &*scene.alerts(&[other]) else { panic!() };
    assert!(alert.note.as_deref().unwrap().contains("without an address"), "{alert}");
    // One that only refuses is no server of boot files.
    let refusal = answer(NameKind::DhcpNak, ROGUE, "192.0.2.67");
    let refusal = NameRecord { address: Ipv6Addr::UNSPECIFIED, ..refusal };
    let [alert] = &*scene.alerts(&[refusal]) else { panic!() };
    let note = alert.note.as_deref().unwrap();
    assert!(note.starts_with("it refuses the address that ") && !note.contains("boot"), "{note}");
}

/// The first answer of a server that the configuration names: there is nothing to be added.
#[test]
fn the_first_answer_of_a_named_dhcp_server() {
    let mut scene = Scene::learned(&usual());
    scene.rules.dhcp_servers = vec![NamedServer::Addresses("192.0.2.9/32".parse().unwrap())];
    let [alert] = &*scene.alerts(&[offer(SERVER, "192.0.2.9")]) else { panic!() };
    let note = alert.full_note().unwrap();
    assert!(note.contains("nothing is to be done") && !note.contains("dhcp_servers"), "{note}");
    assert!(alert.digest);
}

/// A rogue in the name of a known server.
#[test]
fn a_forged_dhcp_server() {
    let mut scene = Scene::learned(&usual());
    let forged = [
        offer(ROGUE, "192.0.2.1"),
        of_server(NameKind::DhcpDns, ROGUE, "192.0.2.1", "192.0.2.66"),
        offer(ROGUE, "192.0.2.1"),
    ];
    let [alert] = &*scene.alerts(&forged) else { panic!() };
    let expected = (AlertKind::NewDhcpServer, "192.0.2.1", ROGUE, Some(SERVER));
    assert_eq!((alert.kind, &*alert.ip, &*alert.mac, alert.old_mac.as_deref()), expected);
    // One that took the address, which was reported, answers: nothing shows that it is the server.
    let mut scene = Scene::learned(&usual());
    scene.event(SERVER, "192.0.2.1", Origin::ArpReply);
    let [alert] = &*scene.event(ROGUE, "192.0.2.1", Origin::ArpReply) else { panic!() };
    assert_eq!(alert.kind, AlertKind::Changed);
    let again = offer(ROGUE, "192.0.2.1");
    assert_eq!(scene.kinds(&[again, again]), [AlertKind::NewDhcpServer]);
    // A pair that the configuration names.
    let mut scene = Scene::learned(&usual());
    scene.rules.failovers = vec![vec![SERVER.parse().unwrap(), ROGUE.parse().unwrap()]];
    assert_eq!(scene.kinds(&[offer(ROGUE, "192.0.2.1")]), []);
}

#[test]
fn a_new_dhcpv6_server() {
    let mut scene = Scene::learned(&[duid(CLIENT, "00030001000000000001")]);
    let rogue = duid(CLIENT, "0001000112345678000000000066");
    let [alert] = &*scene.alerts(&[duid(CLIENT, "00030001000000000001"), rogue, rogue]) else {
        panic!()
    };
    assert_eq!((alert.kind, &*alert.mac), (AlertKind::NewDhcpServer, ""));
    assert!(alert.to_string().contains(", which contains the MAC 00:00:00:00:00:66."), "{alert}");
    // One whose server does not contain a MAC.
    let [alert] = &*scene.alerts(&[duid(CLIENT, "0002abcdef")]) else { panic!() };
    assert!(alert.ip.is_empty() && !alert.to_string().contains("contains the MAC"), "{alert}");
}

#[test]
fn a_conflict() {
    let mut scene = Scene::learned(&usual());
    scene.event(ROGUE, "192.0.2.77", Origin::ArpReply);
    let (address, other) = (v6("192.0.2.77"), v6("192.0.2.1"));
    let decline = NameRecord { address, other, ..record(NameKind::DhcpDecline, CLIENT) };
    let [alert] = &*scene.alerts(&[decline, decline]) else { panic!() };
    assert_eq!((alert.kind, &*alert.ip), (AlertKind::DhcpConflict, "192.0.2.77"));
    assert_eq!((&*alert.mac, alert.old_mac.as_deref()), (CLIENT, Some(ROGUE)));
    scene.time += DAY;
    assert_eq!(scene.kinds(&[decline, decline]), [AlertKind::DhcpConflict], "on another day");
}

/// An identifier that no host can have is what a client then asks, and nothing else is seen of that server.
#[test]
fn a_server_without_a_usable_address() {
    for server in ["255.255.255.255", "127.0.0.1", "0.1.2.3", "224.0.0.1"] {
        let claim = request(CLIENT, server);
        let mut scene = Scene::learned(&usual());
        let [alert] = &*scene.alerts(&[claim, claim]) else { panic!("{server}") };
        assert_eq!((alert.kind, &*alert.ip), (AlertKind::NewDhcpServer, server));
        let mut scene = Scene::learned(&[claim]);
        assert_eq!(scene.kinds(&[claim]), []);
    }
}

/// A relay's address in an answer to a client, or to all, hides nothing.
#[test]
fn an_answer_that_looks_forwarded() {
    for receiver in ["ff:ff:ff:ff:ff:ff", CLIENT, "00:00:00:00:00:00"] {
        let (relay, receiver) = (v6("192.0.2.77"), mac(receiver));
        let answer = offer(ROGUE, "192.0.2.66");
        let answer = NameRecord { relay, destination: relay, receiver, ..answer };
        let mut scene = Scene::learned(&usual());
        assert_eq!(scene.kinds(&[answer]), [AlertKind::NewDhcpServer], "{receiver}");
    }
}

/// The first answer in the name of a server that only requests or the configuration named is in the digest, with what it names.
#[test]
fn a_first_answer() {
    let mut named = Scene::learned(&[router(ROUTER, "fe80::1", 1800)]);
    named.rules.dhcp_servers = vec![NamedServer::Addresses("192.0.2.1/32".parse().unwrap())];
    let asked = Scene::learned(&[request(CLIENT, "192.0.2.1")]);
    for mut scene in [named, asked] {
        let first = NameRecord { message: 7, ..offer(SERVER, "192.0.2.1") };
        let dns = of_server(NameKind::DhcpDns, SERVER, "192.0.2.1", "192.0.2.53");
        let dns = NameRecord { message: 7, ..dns };
        let alerts = scene.alerts(&[first, dns, first, dns]);
        let found: Vec<_> = alerts.iter().map(|alert| (alert.kind, alert.digest)).collect();
        assert_eq!(found, [(AlertKind::NewSetting, true); 2]);
        let later = of_server(NameKind::DhcpDns, SERVER, "192.0.2.1", "192.0.2.66");
        let [alert] = &*scene.alerts(&[later]) else { panic!() };
        assert!(alert.kind == AlertKind::ForeignDns && !alert.digest);
        let [alert] = &*scene.alerts(&[offer(ROGUE, "192.0.2.1")]) else { panic!() };
        assert!(alert.kind == AlertKind::NewDhcpServer && !alert.digest, "another MAC");
    }
    // An own address as relay, and a claim of the address of a server that is behind a relay, do not make it the server.
    let mut scene = Scene::learned(&[request(CLIENT, "198.51.100.1")]);
    scene.event(ROGUE, "192.0.2.66", Origin::ArpReply);
    scene.event(ROGUE, "198.51.100.1", Origin::ArpReply);
    scene.time += 2 * DAY;
    scene.event(ROGUE, "192.0.2.66", Origin::ArpReply);
    let relayed = NameRecord { relay: v6("192.0.2.66"), ..offer(ROGUE, "198.51.100.9") };
    assert_eq!(scene.kinds(&[request(CLIENT, "198.51.100.9")]), [AlertKind::NewDhcpServer]);
    scene.time += 2 * DAY;
    assert_eq!(scene.kinds(&[relayed]), [AlertKind::NewDhcpServer]);
    let mut scene = Scene::learned(&[request(CLIENT, "198.51.100.1")]);
    scene.event(ROGUE, "198.51.100.1", Origin::ArpReply);
    assert_eq!(scene.kinds(&[offer(ROGUE, "198.51.100.1")]), [AlertKind::NewSetting]);
}

/// Of a rogue with the identifier and the MAC of the true server, only what it sets is another one.
#[test]
fn what_a_dhcp_server_sets() {
    use NameKind::*;
    let text = |kind, text: &str| NameRecord {
        name: NameText::cut(text),
        ..of_server(kind, SERVER, "192.0.2.1", "::")
    };
    let boot = |next: &str, file: &str| NameRecord {
        detail: NameText::cut(file),
        ..of_server(DhcpBoot, SERVER, "192.0.2.1", next)
    };
    let own = [
        text(DhcpDomain, "example.org"),
        text(DhcpPortal, "https://192.0.2.9/"),
        text(DhcpProxy, "http://192.0.2.9/wpad.dat"),
        boot("::", "pxelinux.0"),
    ];
    let boot_file = own[3];
    let learned = [&*usual(), &own].concat();
    for (set, what) in [
        (
            text(DhcpProxy, "http://192.0.2.66/wpad.dat"),
            "the proxy configuration \"http://192.0.2.66/",
        ),
        (text(DhcpPortal, "https://192.0.2.66/"), "the captive portal "),
        (boot("192.0.2.66", "pxelinux.0"), "the boot server 192.0.2.66"),
        (boot("::", "http://192.0.2.66/x"), "the boot server \"http://192.0.2.66/x\""),
        (
            NameRecord { name: NameText::cut("boot.evil"), ..boot("::", "") },
            "the boot server \"boot.",
        ),
    ] {
        let mut scene = Scene::learned(&learned);
        assert_eq!(scene.kinds(&own), []);
        let [alert] = &*scene.alerts(&[set, set]) else { panic!("{what}") };
        assert!(!alert.digest && alert.kind == AlertKind::NewDhcpServer, "{alert}");
        assert_eq!((&*alert.ip, &*alert.mac), ("192.0.2.1", SERVER));
        assert!(alert.note.as_deref().unwrap().contains(what), "{alert}");
        // Of a new server, it is part of what was reported.
        let of_rogue = NameRecord { other: v6("192.0.2.66"), sender: mac(ROGUE), ..set };
        let mut scene = Scene::learned(&learned);
        assert_eq!(
            scene.kinds(&[offer(ROGUE, "192.0.2.66"), of_rogue]),
            [AlertKind::NewDhcpServer]
        );
    }
    // The first of a kind comes with the first client that asks for it; and of domains there are several.
    let first = [
        text(DhcpProxy, "http://192.0.2.9/wpad.dat"),
        boot("192.0.2.9", "pxelinux.0"),
        text(DhcpDomain, "example.org"),
        text(DhcpDomain, "example.net"),
    ];
    let mut scene = Scene::learned(&usual());
    let alerts = scene.alerts(&[first, first].concat());
    assert!(alerts.len() == 4 && alerts.iter().all(|alert| alert.digest), "{alerts:?}");
    // Another file of the same server: machines of another kind boot, too.
    let mut scene = Scene::learned(&learned);
    let other = boot("::", "bootx64.efi");
    let [alert] = &*scene.alerts(&[other, other, boot_file]) else { panic!() };
    assert!(
        alert.digest && alert.note.as_deref().unwrap().contains("the boot file \"bootx64.efi\"")
    );
}
