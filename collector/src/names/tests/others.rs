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
            ["0 02:00:00:00:00:01 2001:db8::77 ADDR_REG lifetime=3600 name=\"printer.example\""]
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
        let first = forward(ADDRESS, &[found, option(18, b"gi0/7"), option(9, &inner)]);
        let second = forward("fe80::5", &[option(9, &first)]);
        for relayed in [&first, &second] {
            assert_eq!(
                lines(&frame("fe80::9", relayed)),
                [
                    "0 02:00:00:00:00:11 2001:db8::77 ADDR_REG sender=02:00:00:00:00:01 relay=fe80::9 lifetime=3600"
                ]
            );
        }
        let claims = read(&frame("fe80::9", &first)).unwrap().unwrap();
        assert_eq!((claims.records()[0].circuit.as_str(), claims.pairing()), ("gi0/7", None));
        let doubled = forward(ADDRESS, &[option(9, &inner), option(9, &inner)]);
        refused(&frame("fe80::9", &doubled), NameCounter::Dhcpv6Double);
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
        refuse(ADDRESS, &[client(), address(), client()], NameCounter::Dhcpv6Double);
    }

    /// What another link sends to an address of this one, with the MAC of the last router.
    #[test]
    fn from_another_link() {
        let mut datagram = [546_u16, 547, 0, 0].map(u16::to_be_bytes).concat();
        datagram.extend(message(&[client(), address()]));
        let length = (datagram.len() as u16).to_be_bytes();
        datagram[4..6].copy_from_slice(&length);
        let packet = packet6(ADDRESS, "2001:db8::1", (17, 60), datagram, 6);
        refused(&ethernet(0x86dd, &packet), NameCounter::Dhcpv6Link);
    }

    /// It ends a registration.
    #[test]
    fn a_lifetime_of_zero() {
        let ended = ADDRESS.parse::<Ipv6Addr>().unwrap().octets();
        let ended = option(5, &[&ended[..], &[0; 8]].concat());
        let frame = frame(ADDRESS, &message(&[client(), ended]));
        assert!(lines(&frame)[0].contains(" ADDR_REG lifetime=0"));
        assert_eq!(read(&frame).unwrap().unwrap().pairing(), None);
    }

    /// The identifier is personal data, and as long as the hardware's MAC: only a hash is stored.
    #[test]
    fn identifiers_are_hashes() {
        let frame = frame(ADDRESS, &message(&[client(), address()]));
        let [first, second] = [&frame, &frame].map(|frame| records(frame)[0]);
        assert!(first.detail.is_empty() && first.id != 0);
        assert_ne!(first.id, second.id, "each start has another key");
    }

    /// Which server a client has chosen, as it sends it to all.
    #[test]
    fn a_client_names_its_server() {
        let addresses = option(3, &[&[0; 12][..], &address()].concat());
        let options = [client(), option(2, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x66]), addresses].concat();
        for (kind, name) in [
            (1, "SOLICIT"),
            (3, "REQUEST"),
            (5, "RENEW"),
            (6, "REBIND"),
            (8, "RELEASE"),
            (9, "DECLINE"),
        ] {
            let frame = frame("fe80::7", &[&[kind, 1, 2, 3][..], &options].concat());
            assert_eq!(
                lines(&frame),
                [format!(
                    "0 02:00:00:00:00:01 2001:db8::77 DHCP6_{name} detail=\"DUID 00030001020000000066\""
                )]
            );
            assert_eq!(read(&frame).unwrap().unwrap().pairing(), None);
        }
    }

    #[test]
    fn other_messages_of_dhcpv6() {
        assert_eq!(records(&frame("fe80::1", &[11, 0, 0, 0])), []);
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
        let service = |name: &[&str], host: &[&str]| {
            record(&self::name(name), 33, 120, &[&[0; 6][..], &self::name(host)].concat())
        };
        let own = ["printer", "local"];
        let files = service(&["My Mac", "_smb", "_tcp", "local"], &own);
        let sleep = service(&["70-35-60-63.1 TV", "_sleep-proxy", "_udp", "local"], &own);
        // What a reflector repeats, beside its own address.
        let other = service(&["My Mac", "_smb", "_tcp", "local"], &["other", "local"]);
        assert_eq!(lines(&self::frame(&[info.clone(), proxy.clone(), other, host()])).len(), 1);
        let frame = frame(&[info, proxy, files, sleep, host()]);
        assert!(records(&frame)[0].marks.has(NameMarks::LOCAL));
        let mac = "0 02:00:00:00:00:01 192.0.2.7";
        assert_eq!(
            lines(&frame),
            [
                format!("{mac} MDNS_HOST lifetime=120 name=\"printer\""),
                format!("{mac} MDNS_MODEL lifetime=120 name=\"printer\" detail=\"J132AP\""),
                format!(
                    "{mac} MDNS_SLEEP_PROXY lifetime=120 name=\"printer\" detail=\"70-35-60-63.1 TV\""
                ),
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
        let mut failed = message(&[host()]);
        failed[3] = 3;
        for message in [question, failed, message(&[])] {
            assert_eq!(records(&ethernet(0x0800, &udp4(SOURCE, [5353; 2], &message))), []);
        }
        let other_port = udp4(SOURCE, [5354, 5353], &message(&[host()]));
        refused(&ethernet(0x0800, &other_port), NameCounter::MdnsSource);
        let mut more = message(&[host()]);
        more[7] = 2;
        refused(&ethernet(0x0800, &udp4(SOURCE, [5353; 2], &more)), NameCounter::Truncated);
    }

    /// A host that takes its leave (RFC 6762, 10.1).
    #[test]
    fn goodbye() {
        let goodbye = record(&name(&["printer", "local"]), 1, 0, &SOURCE);
        let line = "0 02:00:00:00:00:01 192.0.2.7 MDNS_HOST lifetime=0 name=\"printer\"";
        assert_eq!(lines(&frame(&[goodbye])), [line]);
    }

    /// A host on another link can send to one host here, with a lower hop limit.
    #[test]
    fn from_another_link() {
        let sent = |hops| {
            ethernet(0x0800, &udp4_to([192, 0, 2, 1], hops, SOURCE, [5353; 2], &message(&[host()])))
        };
        assert_eq!(records(&sent(255)).len(), 1);
        refused(&sent(254), NameCounter::MdnsLink);
    }

    /// A chain of pointers costs no more than a few steps for each record, and a message with more records than are read is marked.
    #[test]
    fn long_messages() {
        let chain = |length: usize| {
            let mut records = vec![record(b"\x07printer\0", 99, 120, &[])];
            let mut to = 12_u16;
            for _ in 0..length {
                let at = 12 + records.iter().map(Vec::len).sum::<usize>() as u16;
                records.push(record(&(0xc000 | to).to_be_bytes(), 99, 120, &[]));
                to = at;
            }
            records.push(record(&(0xc000 | to).to_be_bytes(), 1, 120, &SOURCE));
            frame(&records)
        };
        assert_eq!(records(&chain(15))[0].name.as_str(), "printer");
        refused(&chain(16), NameCounter::MdnsForm);
        let mut many = vec![host()];
        many.extend((0..300).map(|_| record(&[0], 99, 120, &[])));
        let claims = read(&frame(&many)).unwrap().unwrap();
        assert_eq!(claims.left_out().more, 45);
        assert!(claims.records()[0].marks.has(NameMarks::INCOMPLETE));
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
                "0 02:00:00:00:00:55 192.0.2.254 LLDP sender=02:00:00:00:00:01 lifetime=120 name=\"switch-1\" port=\"gi0/7\" detail=\"desk 7\""
            ]
        );
        let record = records(&frame)[0];
        assert_eq!((record.number, record.third.as_str()), (0x0014_0004, "02:00:00:00:00:55"));
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

    /// With a lifetime of 0 it goes away. What is not right in the other fields is left out.
    #[test]
    fn a_switch_that_goes_away() {
        let [chassis, port, _] = mandatory();
        let fields =
            [chassis, port, field(3, &[0, 0]), field(7, &[0]), field(8, &[9]), field(0, &[])];
        let claims = read(&frame(&fields)).unwrap().unwrap();
        assert!(
            claims.records()[0].to_string().contains(" LLDP sender=02:00:00:00:00:01 lifetime=0 ")
        );
        assert_eq!(claims.left_out().options, 2);
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
        assert_eq!(records(&frame("fe80::1", 1, &report()))[0].version, 2);
    }

    /// Each group is a record, and one that is left is another kind.
    #[test]
    fn groups_that_are_left() {
        let group = |kind: u8, last: u8| {
            let group = format!("ff02::{last:x}").parse::<Ipv6Addr>().unwrap().octets();
            [&[kind, 0, 0, 0][..], &group].concat()
        };
        let groups = [group(4, 1), group(3, 2), group(2, 3), group(6, 4)].concat();
        let report = [&[143, 0, 0, 0, 0, 0, 0, 4][..], &groups].concat();
        let group = "ff02::5".parse::<Ipv6Addr>().unwrap().octets();
        let done = [&[132, 0, 0, 0, 0, 0, 0, 0][..], &group].concat();
        let shown = [report, done]
            .iter()
            .flat_map(|message| lines(&frame("fe80::1", 1, message)))
            .collect::<Vec<_>>();
        let line = "0 02:00:00:00:00:01 fe80::1";
        assert_eq!(
            shown,
            [("REPORT", 1), ("DONE", 2), ("REPORT", 3), ("DONE", 4), ("DONE", 5)]
                .map(|(kind, group)| format!("{line} MLD_{kind} group=ff02::{group}"))
        );
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
