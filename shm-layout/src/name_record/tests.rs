//! Records in the ring's bytes, and their lines.

use super::*;

/// Every field has another value.
fn record(kind: NameKind) -> NameRecord {
    NameRecord {
        time: UnixTime::new(1_700_000_000, 5),
        interface: "eth0".parse().unwrap(),
        vlan: VlanId::from_tag(7),
        outer_vlan: VlanId::from_tag(8),
        kind,
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
        sender: MacAddr::new([2, 0, 0, 0, 0, 2]),
        address: "2001:db8::1".parse().unwrap(),
        other: "fe80::1".parse().unwrap(),
        relay: "::ffff:192.0.2.9".parse().unwrap(),
        flags: 0xc0,
        prefix: 64,
        hops: 65,
        lifetime: 3600,
        preferred: 1800,
        number: 1500,
        id: 0x0102_0304_0506_0708,
        name: NameText::cut("printer"),
        detail: NameText::cut("Model \"X\" \\"),
        source: "fe80::5".parse().unwrap(),
        destination: "ff02::1".parse().unwrap(),
        receiver: MacAddr::new([0x33, 0x33, 0, 0, 0, 1]),
        ttl: 255,
        version: 2,
        target: MacAddr::new([2, 0, 0, 0, 0, 3]),
        reason: (kind == NameKind::Refused).then_some(NameCounter::Hidden),
        marks: NameMarks::BAD_OPTION,
        repeats: 9,
        repeated: UnixTime::new(1_699_999_999, 7),
        message: 70_000,
        index: 1,
        of: 3,
        renew: 900,
        rebind: 1350,
        more_flags: 0x1122_3344_5566_7788,
        other_id: 0x0a0b_0c0d_0e0f_1011,
        third: NameText::cut("third"),
        circuit: NameText::cut("port 7"),
    }
}

#[test]
fn each_kind_is_read_as_written() {
    for kind in NameKind::ALL {
        let record = record(*kind);
        assert_eq!(NameRecord::unpack(&record.pack()), Ok(record));
        assert_eq!(NameKind::from_number(*kind as u8), Some(*kind));
    }
}

#[test]
fn an_unknown_kind_is_not_misread() {
    let mut words = record(NameKind::Router).pack();
    let [_, rest @ ..] = words[7].to_ne_bytes();
    let [b, c, d, e, f, g, h] = rest;
    words[7] = u64::from_ne_bytes([255, b, c, d, e, f, g, h]);
    assert_eq!(NameRecord::unpack(&words), Err(UnknownEvent { kind: 255, origin: 0 }));
}

/// What `-4` and `-6` leave out.
#[test]
fn families() {
    for kind in NameKind::ALL {
        let wanted = match kind.name() {
            name if name.starts_with("DHCP_") => Some(true),
            name if name.starts_with("MDNS_") || ["LLDP", "REFUSED"].contains(&name) => None,
            _ => Some(false),
        };
        assert_eq!(kind.is_ipv4(), wanted, "{kind}");
    }
}

#[test]
fn lines() {
    let mut router = record(NameKind::RouterPrefix);
    router.lifetime = u32::MAX;
    assert_eq!(
        router.to_string(),
        "1700000000 eth0 7 02:00:00:00:00:01 2001:db8::1 RA_PREFIX sender=02:00:00:00:00:02 router=fe80::1 \
         relay=192.0.2.9 length=64 lifetime=infinite flags=0xc0 bad_option=yes name=\"printer\" detail=\"Model \\\"X\\\" \\\\\""
    );
    let refused = record(NameKind::Refused).to_string();
    assert!(refused.contains(" REFUSED ") && refused.contains(" reason=hidden "), "{refused}");
    let offer = NameRecord { source: router.address, ..record(NameKind::DhcpOffer) };
    assert!(
        offer.to_string().contains(" server=fe80::1 relay=192.0.2.9 source=2001:db8::1 "),
        "{offer}"
    );
    let time = UnixTime::new(1, 0);
    let empty = NameRecord::new(NameKind::DhcpDiscover, time, "eth0".parse().unwrap());
    assert_eq!(empty.to_string(), "1 eth0 0 00:00:00:00:00:00 - DHCP_DISCOVER");
}

#[test]
fn texts() {
    let sixty_two = "x".repeat(62);
    for (text, stored) in [
        ("printer", "printer"),
        (" Living Room ", "Living Room"),
        ("a\x1b[31mb\nc\0d", "a[31mbcd"),
        ("\u{202e}nimda\u{200b}", "nimda"),
        ("drucker-büro", "drucker-büro"),
        (&format!("{sixty_two}xx"), &format!("{sixty_two}x")),
        (&format!("{sixty_two}é"), &sixty_two),
        ("", ""),
    ] {
        assert_eq!(NameText::cut(text).as_str(), stored);
        assert_eq!(NameText::clean(text.as_bytes()), Some((NameText::cut(text), text.len() > 63)));
    }
    assert_eq!(NameText::clean(b"b\xfcro"), None);
    let mut escape = [0; 64];
    escape[..3].copy_from_slice(b"a\x1bb");
    for damaged in [[0xff; 64], [b'x'; 64], escape] {
        assert_eq!(NameText::from_bytes(damaged).as_str(), "");
    }
}

/// An unknown reason of a newer collector is none.
#[test]
fn an_unknown_reason() {
    let mut words = record(NameKind::Refused).pack();
    words[35] = u64::MAX;
    assert_eq!(NameRecord::unpack(&words).unwrap().reason, None);
}

/// The number is the reason of a record, so that it cannot change.
#[test]
fn numbers_of_counters() {
    let names = NameCounter::ALL.iter().map(|counter| counter.name()).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names,
        "seen published repeated limited filtered no_claim interrupted truncated fragmented hidden checksum hop_limit code \
         source_address option_length address dhcp_form dhcp_type dhcp_client dhcp_port dhcp_link dhcpv6_link dhcpv6_double \
         reg_client reg_address reg_source reg_option redirect_target mdns_form mdns_source mdns_link mdns_other lldp_form text \
         more bad_option"
    );
}

#[test]
fn counters_have_names_of_their_own() {
    let mut names: Vec<_> = NameCounter::ALL.iter().map(|counter| counter.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), NameCounter::ALL.len());
}
