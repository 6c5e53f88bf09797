//! RFC 9686, 6762, 3810, IEEE 802.1AB.

use super::*;

mod registration {
    use super::*;

    const ADDRESS: &str = "2001:db8::77";

    fn option(code: u16, value: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    fn address() -> Vec<u8> {
        let address = ADDRESS.parse::<Ipv6Addr>().unwrap().octets();
        option(5, &[&address[..], &[0, 0, 7, 8, 0, 0, 0x0e, 0x10]].concat())
    }

    fn client() -> Vec<u8> {
        option(1, &[0, 4, 0xab, 0xcd])
    }

    fn message(options: &[Vec<u8>]) -> Vec<u8> {
        [&[36, 1, 2, 3][..], &options.concat()].concat()
    }

    fn frame(source: &str, message: &[u8]) -> Vec<u8> {
        ethernet(0x86dd, &udp6(source, [546, 547], message))
    }

    #[test]
    fn an_address_is_registered() {
        let name = option(39, b"\0\x07printer\x07example\0");
        let frame = frame(ADDRESS, &message(&[client(), address(), name]));
        let claims = read(&frame).unwrap().unwrap();
        let pairing = claims.pairing().unwrap();
        assert_eq!(pairing.origin, Origin::AddressRegistration);
        assert_eq!(
            (pairing.mac, pairing.address),
            (MacAddr::new(SENDER), ADDRESS.parse().unwrap())
        );
        assert_eq!(claims.records()[0].preferred, 1800);
        assert_eq!(
            lines(&frame),
            [
                "0 02:00:00:00:00:01 2001:db8::77 ADDR_REG lifetime=3600 name=\"printer.example\" detail=\"DUID 0004abcd\""
            ]
        );
        cut_at_each_place(&frame);
    }

    /// The MAC is what the relay found (option 79), the source the innermost peer.
    #[test]
    fn through_relays() {
        let forward = |peer: &str, options: &[Vec<u8>]| {
            let mut message = vec![12, 0];
            message.extend([0; 16]);
            message.extend(peer.parse::<Ipv6Addr>().unwrap().octets());
            message.extend(options.concat());
            message
        };
        let inner = message(&[client(), address()]);
        let found = option(79, &[&[0, 1][..], &CLIENT].concat());
        let first = forward(ADDRESS, &[found, option(9, &inner)]);
        let second = forward("fe80::5", &[option(9, &first)]);
        for relayed in [&first, &second] {
            assert_eq!(
                lines(&frame("fe80::9", relayed)),
                [
                    "0 02:00:00:00:00:11 2001:db8::77 ADDR_REG sender=02:00:00:00:00:01 relay=fe80::9 lifetime=3600 detail=\"DUID 0004abcd\""
                ]
            );
        }
        let unknown = frame("fe80::9", &forward(ADDRESS, &[option(9, &inner)]));
        assert_eq!(read(&unknown).unwrap().unwrap().pairing(), None);
        let mut nested = inner;
        for _ in 0..9 {
            nested = forward(ADDRESS, &[option(9, &nested)]);
        }
        assert_eq!(records(&frame("fe80::9", &nested)), []);
    }

    /// RFC 9686, 4.2.1.
    #[test]
    fn refusals() {
        let refuse = |source: &str, options: &[Vec<u8>], reason| {
            refused(&frame(source, &message(options)), reason);
        };
        refuse(ADDRESS, &[address()], NameCounter::RegClient);
        refuse(ADDRESS, &[option(1, &[]), address()], NameCounter::RegClient);
        refuse(ADDRESS, &[client(), address(), option(2, &[1])], NameCounter::RegOption);
        refuse(ADDRESS, &[client(), address(), option(6, &[0, 1])], NameCounter::RegOption);
        refuse(ADDRESS, &[client()], NameCounter::RegAddress);
        refuse(ADDRESS, &[client(), address(), address()], NameCounter::RegAddress);
        refuse("2001:db8::78", &[client(), address()], NameCounter::RegSource);
        refuse(ADDRESS, &[client(), address(), vec![0, 1, 0, 9]], NameCounter::Truncated);
    }

    #[test]
    fn other_messages_of_dhcpv6() {
        assert_eq!(records(&frame("fe80::1", &[1, 0, 0, 0])), []);
    }
}

mod mdns {
    use super::*;

    const SOURCE: [u8; 4] = [192, 0, 2, 7];

    fn name(labels: &[&str]) -> Vec<u8> {
        let label = |label: &&str| [&[label.len() as u8], label.as_bytes()].concat();
        let mut name = labels.iter().flat_map(label).collect::<Vec<u8>>();
        name.push(0);
        name
    }

    fn record(name: &[u8], kind: u16, lifetime: u32, data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u16).to_be_bytes();
        [name, &kind.to_be_bytes(), &[0x80, 1], &lifetime.to_be_bytes(), &length, data].concat()
    }

    fn message(records: &[Vec<u8>]) -> Vec<u8> {
        let number = records.len() as u16;
        let head = [0, 0x8400, 0, number, 0, 0].map(u16::to_be_bytes).concat();
        [head, records.concat()].concat()
    }

    fn frame(records: &[Vec<u8>]) -> Vec<u8> {
        ethernet(0x0800, &udp4(SOURCE, [5353, 5353], &message(records)))
    }

    fn host() -> Vec<u8> {
        record(&name(&["printer", "local"]), 1, 120, &SOURCE)
    }

    #[test]
    fn a_host_names_itself() {
        let info = record(
            &name(&["My Mac", "_device-info", "_tcp", "local"]),
            16,
            120,
            b"\x0cmodel=J132AP",
        );
        let service = ["_sleep-proxy", "_udp", "local"];
        let proxy = record(
            &name(&service),
            12,
            120,
            &name(&["70-35-60-63.1 TV", "_sleep-proxy", "_udp", "local"]),
        );
        let frame = frame(&[info, proxy, host()]);
        let mac = "0 02:00:00:00:00:01 192.0.2.7";
        assert_eq!(
            lines(&frame),
            [
                format!("{mac} MDNS_HOST lifetime=120 name=\"printer\""),
                format!("{mac} MDNS_MODEL name=\"printer\" detail=\"J132AP\""),
                format!("{mac} MDNS_SLEEP_PROXY name=\"printer\" detail=\"70-35-60-63.1 TV\""),
            ]
        );
        cut_at_each_place(&frame);
    }

    /// A name whose end is elsewhere in the message.
    #[test]
    fn pointers() {
        let first = record(&name(&["other", "local"]), 99, 120, &[]);
        let pointing = record(b"\x07printer\xc0\x12", 1, 120, &SOURCE);
        assert_eq!(records(&frame(&[first, pointing]))[0].name.as_str(), "printer");
        for to in [0x0c, 0x0d, 0x20, 0xff] {
            let looping = record(&[0xc0, to], 1, 120, &SOURCE);
            refused(&frame(&[looping]), NameCounter::MdnsForm);
        }
        refused(&frame(&[record(&[0x80, 0], 1, 120, &SOURCE)]), NameCounter::MdnsForm);
    }

    #[test]
    fn what_is_said_of_others_is_not_read() {
        let other = record(&name(&["printer", "local"]), 1, 120, &[192, 0, 2, 8]);
        refused(&frame(std::slice::from_ref(&other)), NameCounter::MdnsOther);
        assert_eq!(records(&frame(&[other, host()])).len(), 1);
        let six = "fe80::7".parse::<Ipv6Addr>().unwrap().octets();
        let host = message(&[record(&name(&["printer", "local"]), 28, 120, &six)]);
        let packet = |source| ethernet(0x86dd, &udp6(source, [5353, 5353], &host));
        assert_eq!(records(&packet("fe80::7"))[0].name.as_str(), "printer");
        refused(&packet("fe80::8"), NameCounter::MdnsOther);
    }

    #[test]
    fn no_claims() {
        let mut question = message(&[host()]);
        question[2] = 0;
        let goodbye = message(&[record(&name(&["printer", "local"]), 1, 0, &SOURCE)]);
        let mut failed = message(&[host()]);
        failed[3] = 3;
        for message in [question, goodbye, failed, message(&[])] {
            assert_eq!(records(&ethernet(0x0800, &udp4(SOURCE, [5353; 2], &message))), []);
        }
        let other_port = udp4(SOURCE, [5354, 5353], &message(&[host()]));
        refused(&ethernet(0x0800, &other_port), NameCounter::MdnsSource);
        let mut more = message(&[host()]);
        more[7] = 2;
        refused(&ethernet(0x0800, &udp4(SOURCE, [5353; 2], &more)), NameCounter::Truncated);
    }
}

mod lldp {
    use super::*;

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind << 1, value.len() as u8], value].concat()
    }

    fn mandatory() -> [Vec<u8>; 3] {
        [field(1, b"\x04\x02\0\0\0\0\x55"), field(2, b"\x05gi0/7"), field(3, &[0, 120])]
    }

    fn frame(fields: &[Vec<u8>]) -> Vec<u8> {
        ethernet(0x88cc, &fields.concat())
    }

    #[test]
    fn a_switch_and_its_port() {
        let fields = [
            &mandatory()[..],
            &[
                field(4, b"desk 7"),
                field(5, b"switch-1"),
                field(7, &[0, 0x14, 0, 4]),
                field(8, b"\x05\x01\xc0\0\x02\xfe\x02\0\0\0\x01\0"),
                field(0, &[]),
            ],
        ];
        let frame = frame(&fields.concat());
        assert_eq!(
            lines(&frame),
            [
                "0 02:00:00:00:00:55 192.0.2.254 LLDP sender=02:00:00:00:00:01 lifetime=120 name=\"switch-1\" detail=\"gi0/7 (desk 7)\""
            ]
        );
        assert_eq!(records(&frame)[0].number, 0x0014_0004);
        cut_at_each_place(&frame);
        let padded = [frame, vec![0; 20]].concat();
        assert_eq!(records(&padded).len(), 1);
    }

    #[test]
    fn without_a_name() {
        let fields = [&mandatory()[..], &[field(0, &[])]].concat();
        assert_eq!(records(&frame(&fields))[0].name.as_str(), "02:00:00:00:00:55");
    }

    #[test]
    fn refusals() {
        let [chassis, port, lifetime] = mandatory();
        let end = field(0, &[]);
        for fields in [
            [port.clone(), chassis.clone(), lifetime.clone(), end.clone()],
            [chassis.clone(), port.clone(), end.clone(), lifetime.clone()],
            [chassis.clone(), port.clone(), lifetime.clone(), chassis.clone()],
            [chassis.clone(), field(2, &[]), lifetime.clone(), end.clone()],
        ] {
            refused(&frame(&fields), NameCounter::LldpForm);
        }
        refused(&frame(&[chassis, port, lifetime]), NameCounter::Truncated);
    }
}

mod mld {
    use super::*;

    /// Behind hop-by-hop options with a router alert, as each message of MLD.
    fn frame(source: &str, hops: u8, message: &[u8]) -> Vec<u8> {
        let plain = icmp6(source, "ff02::16", hops, message);
        let mut packet = plain[..40].to_vec();
        packet[6] = 0;
        packet[5] += 8;
        packet.extend([58, 0, 5, 2, 0, 0, 1, 0]);
        packet.extend(&plain[40..]);
        ethernet(0x86dd, &packet)
    }

    fn report() -> Vec<u8> {
        let group = "ff02::1:ff00:7".parse::<Ipv6Addr>().unwrap().octets();
        [&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &group].concat()
    }

    fn query() -> Vec<u8> {
        [&[130, 0, 0, 0, 0x27, 0x10, 0, 0][..], &[0; 20]].concat()
    }

    #[test]
    fn queries_and_reports() {
        assert_eq!(
            lines(&frame("fe80::1", 1, &query())),
            ["0 02:00:00:00:00:01 fe80::1 MLD_QUERY"]
        );
        assert_eq!(
            lines(&frame("::", 1, &report())),
            ["0 02:00:00:00:00:01 - MLD_REPORT group=ff02::1:ff00:7"]
        );
        cut_at_each_place(&frame("fe80::1", 1, &report()));
    }

    #[test]
    fn refusals() {
        refused(&frame("fe80::1", 2, &query()), NameCounter::HopLimit);
        refused(&frame("::", 1, &query()), NameCounter::SourceAddress);
        refused(&frame("2001:db8::1", 1, &report()), NameCounter::SourceAddress);
        refused(&frame("fe80::1", 1, &report()[..20]), NameCounter::Truncated);
        let mut unicast = report();
        unicast[12] = 0xfe;
        refused(&frame("fe80::1", 1, &unicast), NameCounter::Address);
    }
}
