//! The event's bytes and its text.

use super::*;

fn event() -> Event {
    Event {
        time: UnixTime::new(1_700_000_000, 123_456_789),
        address: Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(),
        interface: "eth0".parse().unwrap(),
        mac: MacAddr::new([0x02, 0xab, 0, 0, 0, 0x1f]),
        source: MacAddr::new([0x02, 0xab, 0, 0, 0, 0x1f]),
        vlan: VlanId::from_tag(0xe005),
        outer_vlan: VlanId::from_tag(4095),
        kind: Kind::Pairing(Origin::ArpRequest),
        router: Ipv4Addr::UNSPECIFIED,
    }
}

fn bytes(event: &Event) -> Vec<u8> {
    event.pack().iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn layout() {
    let bytes = bytes(&Event { router: Ipv4Addr::new(10, 0, 0, 1), ..event() });
    assert_eq!(bytes[0..8], 1_700_000_000_123_456_789_i64.to_ne_bytes());
    assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
    assert_eq!(&bytes[24..40], b"eth0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[40..46], [0x02, 0xab, 0, 0, 0, 0x1f]);
    assert_eq!(bytes[46..48], 5_u16.to_ne_bytes());
    assert_eq!(bytes[48..50], 4095_u16.to_ne_bytes());
    assert_eq!(bytes[50..56], [1, 0, 10, 0, 0, 1]);
}

#[test]
fn packed_and_unpacked() {
    for origin in Origin::ALL {
        let event = Event { kind: Kind::Pairing(origin), ..event() };
        assert_eq!(Event::unpack(&event.pack()), Ok(event));
        assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event));
    }
    for source in [MacAddr::new([2, 1, 2, 3, 4, 5]), MacAddr::ZERO, MacAddr::BROADCAST] {
        let event = Event { source, ..event() };
        assert_eq!(Event::unpack(&event.pack()), Ok(event));
        assert_eq!(bytes(&event)[8..14], source.octets());
        assert_eq!(bytes(&event)[14..24], [0, 1, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
    }
    let (address, longest) =
        ("2001:db8::ff:1".parse().unwrap(), "fifteen-bytes-x".parse().unwrap());
    for source in [MacAddr::new([0xfe, 1, 2, 3, 4, 5]), MacAddr::ZERO, MacAddr::BROADCAST] {
        for (vlan, outer_vlan) in [(0, 0), (5, 4095), (4095, 1)] {
            let (vlan, outer_vlan) = (VlanId::from_tag(vlan), VlanId::from_tag(outer_vlan));
            let kind = Kind::Pairing(Origin::NdRedirect);
            let event =
                Event { source, address, vlan, outer_vlan, kind, interface: longest, ..event() };
            assert_eq!(Event::unpack(&event.pack()), Ok(event));
            assert_eq!(bytes(&event)[39], source.octets()[0]);
            assert_eq!(bytes(&event)[50..56], [&[4, 10], &source.octets()[2..]].concat());
        }
    }
    let router = Ipv4Addr::new(192, 0, 2, 1);
    let event = Event { kind: Kind::MacUpd, router, ..event() };
    assert_eq!(Event::unpack(&event.pack()), Ok(event));
    assert_eq!(event.to_string(), "1700000000 eth0 5 02:ab:00:00:00:1f 192.0.2.7 MACUPD");
}

#[test]
fn a_configuration_change() {
    let change = ConfigChange { user: UserName::cut("alice"), added: 3, removed: 70_000 };
    let (name, router) = ("core1".parse().unwrap(), Ipv4Addr::new(192, 0, 2, 1));
    let event = Event::config_change(UnixTime::new(1_700_000_000, 5), name, router, change);
    assert_eq!(Event::unpack(&event.pack()), Ok(event));
    let bytes = bytes(&event);
    assert_eq!(&bytes[8..24], b"alice\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(&bytes[24..40], b"core1\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[40..48], [3_u32.to_ne_bytes(), 70_000_u32.to_ne_bytes()].concat());
    assert_eq!(bytes[48..56], [0, 0, 3, 0, 192, 0, 2, 1]);
    let line = "1700000000 core1 0 00:00:00:00:00:00 192.0.2.1 CONFIG:+3-70000:alice";
    assert_eq!(event.to_string(), line);
}

#[test]
fn an_unknown_kind_is_recognized() {
    for (kind, origin) in
        [(0, 0), (2, 1), (3, 1), (4, 0), (4, 6), (4, 16), (5, 0), (255, 255), (1, 6), (1, 18)]
    {
        let mut words = event().pack();
        words[6] = u64::from_ne_bytes([0, 0, kind, origin, 0, 0, 0, 0]);
        assert_eq!(Event::unpack(&words), Err(UnknownEvent { kind, origin }));
    }
}

#[test]
fn text() {
    let event = event();
    assert_eq!(event.to_string(), "1700000000 eth0 5 02:ab:00:00:00:1f 192.0.2.7 ARP_REQ");
    for (ip, text) in [
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1:0:0:1", "fe80::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("::1", "::1"),
        ("::1:2", "::0.1.0.2"),
        ("::192.0.2.1", "::192.0.2.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ] {
        let kind = Kind::Pairing(Origin::NdDad);
        let event = Event { address: ip.parse().unwrap(), kind, ..event };
        let line = format!("1700000000 eth0 5 02:ab:00:00:00:1f {text} ND_DAD");
        assert_eq!(event.to_string(), line);
    }
}
