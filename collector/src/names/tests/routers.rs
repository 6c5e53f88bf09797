//! RFC 4861 (6.1 and 8.1), 4191, 8106, 8781, 7113.

use super::*;

/// Hop limit 64, M and O flags, lifetime 1800 s, reachable and retransmission times.
pub fn advertisement(options: &[u8]) -> Vec<u8> {
    let head = [134, 0, 0, 0, 64, 0xc0, 7, 8, 0, 0, 0x75, 0x30, 0, 0, 3, 0xe8];
    [&head, options].concat()
}

fn announced(options: &[u8]) -> Vec<u8> {
    ethernet(0x86dd, &icmp6("fe80::1", "ff02::1", 255, &advertisement(options)))
}

fn address(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

const ROUTER: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 0x99];

#[test]
fn a_router_and_what_it_announces() {
    let prefix =
        [&[3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 7, 8, 0, 0, 0, 0][..], &address("2001:db8::")];
    let dns =
        [&[25, 5, 0, 0, 0, 0, 2, 0x58][..], &address("2001:db8::53"), &address("2001:db8::54")];
    let route = [&[24, 2, 48, 8, 0xff, 0xff, 0xff, 0xff][..], &address("2001:db8:9::")[..8]];
    let nat64 = [&[38, 2, 2, 88][..], &address("64:ff9b::")[..12]];
    let options = [
        &ROUTER[..],
        &[5, 1, 0, 0, 0, 0, 5, 0xdc],
        &prefix.concat(),
        &dns.concat(),
        &route.concat(),
        &nat64.concat(),
        &[200, 1, 0, 0, 0, 0, 0, 0],
    ];
    let frame = announced(&options.concat());
    let mac = "0 02:00:00:00:00:99";
    let sender = "sender=02:00:00:00:00:01";
    assert_eq!(
        lines(&frame),
        [
            format!("{mac} fe80::1 RA {sender} lifetime=1800 flags=0xc0"),
            format!(
                "{mac} 2001:db8:: RA_PREFIX {sender} router=fe80::1 length=64 lifetime=3600 flags=0xc0"
            ),
            format!("{mac} 2001:db8::53 RA_DNS {sender} router=fe80::1 lifetime=600"),
            format!("{mac} 2001:db8::54 RA_DNS {sender} router=fe80::1 lifetime=600"),
            format!(
                "{mac} 2001:db8:9:: RA_ROUTE {sender} router=fe80::1 length=48 lifetime=infinite flags=0x08"
            ),
            format!("{mac} 64:ff9b:: RA_NAT64 {sender} router=fe80::1 length=96 lifetime=600"),
        ]
    );
    let router = records(&frame)[0];
    assert_eq!((router.hops, router.number), (64, 1500));
    assert_eq!((router.preferred, router.id), (30_000, 1000));
    cut_at_each_place(&frame);
}

#[test]
fn a_router_without_its_mac() {
    assert_eq!(lines(&announced(&[])), ["0 02:00:00:00:00:01 fe80::1 RA lifetime=1800 flags=0xc0"]);
}

/// One kind of claim does not take the places of another one, and what is not read is marked.
#[test]
fn more_records_than_are_kept() {
    let mut options = Vec::new();
    for number in 0..30 {
        options.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 7, 8, 0, 0, 0, 0]);
        options.extend(address(&format!("2001:db8:{number}::")));
    }
    options.extend([25, 3, 0, 0, 0, 0, 2, 0x58]);
    options.extend(address("2001:db8::53"));
    let claims = read(&announced(&options)).unwrap().unwrap();
    assert_eq!((claims.records().len(), claims.left_out().more), (10, 22));
    assert!(claims.records().iter().all(|record| record.marks.has(NameMarks::INCOMPLETE)));
    assert_eq!(claims.records()[9].kind, NameKind::RouterDns);
    let places = claims.records().iter().map(|record| (record.index, record.of));
    assert!(places.eq((0..10).map(|index| (index, 10))));
}

#[test]
fn domains_portal_and_more_flags() {
    let mut domains = b"\x1f\x05\0\0\0\0\x02\x58\x03lan\x07example\0\x05guest\x04test\0".to_vec();
    domains.resize(40, 0);
    let portal = b"\x25\x02https://x.y\0\0\0";
    let flags = [26, 1, 0x80, 0, 0, 0, 0, 1];
    let frame = announced(&[&domains[..], portal, &flags].concat());
    let mac = "0 02:00:00:00:00:01";
    assert_eq!(
        lines(&frame)[1..],
        [
            format!("{mac} - RA_DOMAIN router=fe80::1 lifetime=600 name=\"lan.example\""),
            format!("{mac} - RA_DOMAIN router=fe80::1 lifetime=600 name=\"guest.test\""),
            format!("{mac} - RA_PORTAL router=fe80::1 name=\"https://x.y\""),
        ]
    );
    assert_eq!(records(&frame)[0].more_flags, 0x8000_0000_0001_0000);
}

/// The MAC in the option, if a device can have it.
#[test]
fn a_mac_that_no_router_has() {
    for mac in [[0; 6], [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]] {
        let record = records(&announced(&[&[1, 1][..], &mac].concat()))[0];
        assert_eq!(record.mac, MacAddr::new(SENDER));
        assert!(record.marks.has(NameMarks::BAD_OPTION));
        assert!(!record.marks.has(NameMarks::MAC_OF_OPTION));
    }
    assert!(records(&announced(&ROUTER))[0].marks.has(NameMarks::MAC_OF_OPTION));
}

/// Hosts leave out an option that is not right, and use the rest (RFC 4861, 6.3.4; RFC 8106, 5.3.1; RFC 8781, 4).
#[test]
fn options_that_are_left_out() {
    let prefix = [&[3, 4, 129, 0][..], &[0; 28]].concat();
    for option in [
        &[3, 1, 64, 0, 0, 0, 0, 0][..],
        &[25, 1, 0, 0, 0, 0, 0, 0],
        &[25, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[24, 1, 64, 0, 0, 0, 0, 0],
        &[38, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[5, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &prefix,
    ] {
        let dns = [&[25, 3, 0, 0, 0, 0, 2, 0x58][..], &address("2001:db8::53")].concat();
        let claims = read(&announced(&[option, &dns].concat())).unwrap().unwrap();
        let kinds = claims.records().iter().map(|record| record.kind);
        assert!(kinds.eq([NameKind::Router, NameKind::RouterDns]), "{option:?}");
        assert_eq!(claims.left_out().options, 1, "{option:?}");
        assert!(claims.records()[0].to_string().ends_with(" bad_option=yes"));
    }
}

#[test]
fn refused_advertisements() {
    let refuse = |source, hops, message: &[u8], reason| {
        refused(&ethernet(0x86dd, &icmp6(source, "ff02::1", hops, message)), reason);
    };
    let good = advertisement(&ROUTER);
    refuse("fe80::1", 254, &good, NameCounter::HopLimit);
    refuse("2001:db8::1", 255, &good, NameCounter::SourceAddress);
    refuse("::", 255, &good, NameCounter::SourceAddress);
    refuse("fe80::1", 255, &good[..15], NameCounter::Truncated);
    refuse("fe80::1", 255, &good[..20], NameCounter::Truncated);
    refuse("fe80::1", 255, &good[..17], NameCounter::Truncated);
    let mut code = good.clone();
    code[1] = 1;
    refuse("fe80::1", 255, &code, NameCounter::Code);
    refused(&announced(&[1, 0, 0, 0, 0, 0, 0, 0]), NameCounter::OptionLength);
    let mut damaged = announced(&ROUTER);
    damaged[60] ^= 1;
    refused(&damaged, NameCounter::Checksum);
}

/// Hosts accept a message there, and a switch's guard may not see it (RFC 7113).
#[test]
fn hidden_advertisements() {
    let message = advertisement(&ROUTER);
    let plain = icmp6("fe80::1", "ff02::1", 255, &message);
    let behind = |next: u8, header: [u8; 8]| {
        let mut packet = plain[..40].to_vec();
        packet[6] = next;
        packet[5] += 8;
        packet.extend(header);
        packet.extend(&plain[40..]);
        ethernet(0x86dd, &packet)
    };
    for next in [0, 43, 60] {
        refused(&behind(next, [58, 0, 1, 4, 0, 0, 0, 0]), NameCounter::Hidden);
    }
    refused(&behind(44, [58, 0, 0, 1, 0, 0, 0, 1]), NameCounter::Fragmented);
    assert!(read(&behind(44, [58, 0, 0, 9, 0, 0, 0, 1])).is_none());
    let length = plain.len() as u16 + 8;
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd][..], &plain].concat();
    refused(&ethernet(length, &snap), NameCounter::Hidden);
    // Hosts accept it: it is in the ring.
    let line = "1700000000 eth0 0 02:00:00:00:00:01 fe80::1 REFUSED";
    for (frame, reason) in [
        (behind(60, [58, 0, 1, 4, 0, 0, 0, 0]), "hidden"),
        (behind(44, [58, 0, 0, 1, 0, 0, 0, 1]), "fragmented"),
        (ethernet(length, &snap), "hidden"),
        (announced(&[1, 0, 0, 0, 0, 0, 0, 0]), "option_length"),
    ] {
        assert_eq!(refusal(&frame), format!("{line} reason={reason} detail=\"RA\""));
    }
}

#[test]
fn solicitations() {
    let solicitation = |source, options: &[u8]| {
        let message = [&[133, 0, 0, 0, 0, 0, 0, 0], options].concat();
        ethernet(0x86dd, &icmp6(source, "ff02::2", 255, &message))
    };
    assert_eq!(
        lines(&solicitation("fe80::7", &ROUTER)),
        ["0 02:00:00:00:00:99 fe80::7 RS sender=02:00:00:00:00:01"]
    );
    assert_eq!(lines(&solicitation("::", &[])), ["0 02:00:00:00:00:01 - RS"]);
    refused(&solicitation("::", &ROUTER), NameCounter::SourceAddress);
}

#[test]
fn redirects() {
    let redirect = |source, target, destination| {
        let head = [137, 0, 0, 0, 0, 0, 0, 0];
        let message = [&head[..], &address(target), &address(destination)].concat();
        ethernet(0x86dd, &icmp6(source, "fe80::9", 255, &message))
    };
    assert_eq!(
        lines(&redirect("fe80::1", "fe80::2", "2001:db8::1")),
        ["0 02:00:00:00:00:01 fe80::2 REDIRECT destination=2001:db8::1 router=fe80::1"]
    );
    assert_eq!(records(&redirect("fe80::1", "2001:db8::1", "2001:db8::1")).len(), 1);
    let head = [137, 0, 0, 0, 0, 0, 0, 0];
    let target = [2, 1, 2, 0, 0, 0, 0, 0x77];
    let message = [&head[..], &address("fe80::2"), &address("2001:db8::1"), &target].concat();
    let [record] = records(&ethernet(0x86dd, &icmp6("fe80::1", "fe80::9", 255, &message)))[..]
    else {
        panic!()
    };
    assert_eq!(record.target, MacAddr::new([2, 0, 0, 0, 0, 0x77]));
    let other = redirect("fe80::1", "2001:db8::2", "2001:db8::1");
    refused(&other, NameCounter::RedirectTarget);
    refused(&redirect("fe80::1", "fe80::2", "ff02::1"), NameCounter::Address);
    refused(&redirect("2001:db8::9", "fe80::2", "2001:db8::1"), NameCounter::SourceAddress);
}
