//! RFC 2131, 2132, 4702.

use super::*;

/// Operation, kind, and addresses: of the client, given, of the relay.
struct Dhcp {
    operation: u8,
    addresses: [[u8; 4]; 3],
    options: Vec<u8>,
    ports: [u16; 2],
}

const SERVER: [u8; 4] = [192, 0, 2, 1];
const GIVEN: [u8; 4] = [192, 0, 2, 77];
const NONE: [u8; 4] = [0; 4];

const SOURCE: &str = "sender=02:00:00:00:00:01";

fn option(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, value.len() as u8], value].concat()
}

impl Dhcp {
    fn request() -> Dhcp {
        let options = [option(53, &[3]), option(50, &GIVEN), option(54, &SERVER)].concat();
        Dhcp { operation: 1, addresses: [NONE; 3], options, ports: [68, 67] }
    }

    fn ack() -> Dhcp {
        let options =
            [option(53, &[5]), option(54, &SERVER), option(51, &3600_u32.to_be_bytes())].concat();
        Dhcp { operation: 2, addresses: [NONE, GIVEN, NONE], options, ports: [67, 68] }
    }

    fn with(mut self, options: &[Vec<u8>]) -> Dhcp {
        self.options.extend(options.concat());
        self
    }

    fn message(&self) -> Vec<u8> {
        let [client, given, relay] = self.addresses;
        let mut message = vec![self.operation, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0];
        message.extend([client, given, NONE, relay].concat());
        message.extend(CLIENT);
        message.resize(236, 0);
        message.extend([99, 130, 83, 99]);
        message.extend(&self.options);
        message.push(255);
        message
    }

    fn frame(&self) -> Vec<u8> {
        ethernet(0x0800, &udp4(SERVER, self.ports, &self.message()))
    }
}

#[test]
fn an_acknowledgement_pairs() {
    let dhcp = Dhcp::ack().with(&[
        option(12, b"printer\0"),
        option(60, b"udhcp 1.35"),
        option(3, &[SERVER, [192, 0, 2, 2]].concat()),
        option(6, &[9, 9, 9, 9]),
    ]);
    let claims = read(&dhcp.frame()).unwrap().unwrap();
    let pairing = claims.pairing().unwrap();
    assert_eq!((pairing.mac, pairing.source), (MacAddr::new(CLIENT), MacAddr::new(SENDER)));
    assert_eq!(pairing.address, Ipv4Addr::from(GIVEN).to_ipv6_mapped());
    assert_eq!(pairing.origin, Origin::DhcpAck);
    assert_eq!(
        lines(&dhcp.frame()),
        [
            "0 02:00:00:00:00:11 192.0.2.77 DHCP_ACK sender=02:00:00:00:00:01 server=192.0.2.1 lifetime=3600 name=\"printer\" detail=\"udhcp 1.35\"",
            "0 02:00:00:00:00:01 192.0.2.1 DHCP_ROUTER server=192.0.2.1",
            "0 02:00:00:00:00:01 192.0.2.2 DHCP_ROUTER server=192.0.2.1",
            "0 02:00:00:00:00:01 9.9.9.9 DHCP_DNS server=192.0.2.1",
        ]
    );
    cut_at_each_place(&dhcp.frame());
}

/// A request is a claim: it says which server the client has chosen, and pairs nothing.
#[test]
fn a_request_names_the_server() {
    let dhcp = Dhcp::request().with(&[option(61, b"\x01abcdef")]);
    let claims = read(&dhcp.frame()).unwrap().unwrap();
    assert_eq!(claims.pairing(), None);
    let [record] = claims.records() else { panic!() };
    assert_eq!((record.kind, record.number), (NameKind::DhcpRequest, 0x0102_0304));
    assert_ne!(record.id, 0);
    assert_eq!(
        lines(&dhcp.frame()),
        ["0 02:00:00:00:00:11 192.0.2.77 DHCP_REQUEST sender=02:00:00:00:00:01 server=192.0.2.1"]
    );
}

#[test]
fn each_kind_has_its_address() {
    let own = [192, 0, 2, 50];
    for (kind, operation, addresses, options, shown) in [
        (1, 1, [NONE; 3], vec![], "- DHCP_DISCOVER"),
        (1, 1, [NONE; 3], option(50, &GIVEN), "192.0.2.77 DHCP_DISCOVER"),
        (2, 2, [NONE, GIVEN, NONE], vec![], "192.0.2.77 DHCP_OFFER"),
        (2, 2, [NONE; 3], vec![], "- DHCP_OFFER"), // of boot files only
        (3, 1, [own, NONE, NONE], vec![], "192.0.2.50 DHCP_REQUEST"),
        (4, 1, [NONE; 3], option(50, &GIVEN), "192.0.2.77 DHCP_DECLINE"),
        (5, 2, [own, NONE, NONE], vec![], "192.0.2.50 DHCP_ACK"),
        (6, 2, [NONE; 3], vec![], "- DHCP_NAK"),
        (7, 1, [own, NONE, NONE], vec![], "192.0.2.50 DHCP_RELEASE"),
        (8, 1, [own, NONE, NONE], vec![], "192.0.2.50 DHCP_INFORM"),
    ] {
        let ports = if operation == 1 { [68, 67] } else { [67, 68] };
        let options = [option(53, &[kind]), options].concat();
        let dhcp = Dhcp { operation, addresses, options, ports };
        // An answer without a server identifier shows the packet's source.
        let source = if operation == 2 { " source=192.0.2.1" } else { "" };
        assert_eq!(lines(&dhcp.frame()), [format!("0 02:00:00:00:00:11 {shown} {SOURCE}{source}")]);
        // What answers DHCPINFORM gives no address.
        assert_eq!(read(&dhcp.frame()).unwrap().unwrap().pairing(), None);
    }
}

#[test]
fn a_relayed_answer() {
    let relay = [198, 51, 100, 1];
    let circuit = option(82, b"\x01\x06gi0/7 \x02\x03sw1");
    let mut dhcp = Dhcp::ack().with(&[circuit]);
    dhcp.addresses[2] = relay;
    dhcp.ports = [67, 67];
    let to = |destination| udp4_to(destination, 64, SERVER, dhcp.ports, &dhcp.message());
    let frame = ethernet(0x0800, &to(relay));
    assert!(lines(&frame)[0].contains(" relay=198.51.100.1 "));
    assert_eq!(read(&frame).unwrap().unwrap().pairing(), None, "any host can send it to a relay");
    let [record, ..] = records(&frame)[..] else { panic!() };
    assert_eq!(record.circuit.as_str(), "gi0/7");
    assert_ne!(record.other_id, 0);
    refused(&ethernet(0x0800, &to([198, 51, 100, 2])), NameCounter::DhcpLink);
    dhcp.addresses[2] = NONE;
    refused(&dhcp.frame(), NameCounter::DhcpPort);
}

/// A host on another link can send to the port of clients, but neither to all hosts, nor choose the MAC that the last router sends to.
#[test]
fn an_answer_from_another_link() {
    let dhcp = Dhcp::ack();
    let sent = |receiver: [u8; 6], destination| {
        let packet = udp4_to(destination, 60, SERVER, dhcp.ports, &dhcp.message());
        [&receiver[..], &SENDER, &[8, 0], &packet].concat()
    };
    for (receiver, destination) in [(CLIENT, GIVEN), ([0xff; 6], GIVEN), ([0xff; 6], [255; 4])] {
        assert!(read(&sent(receiver, destination)).unwrap().unwrap().pairing().is_some());
    }
    for (receiver, destination) in [([2, 0, 0, 0, 0, 9], GIVEN), (CLIENT, [192, 0, 2, 50])] {
        let frame = sent(receiver, destination);
        refused(&frame, NameCounter::DhcpLink);
        assert_eq!(
            refusal(&frame),
            "1700000000 eth0 0 02:00:00:00:00:01 192.0.2.1 REFUSED reason=dhcp_link detail=\"DHCP\""
        );
    }
}

/// As it was sent: 255.255.255.255, which some programs name, is no server, and no pairing.
#[test]
fn a_server_that_is_no_host() {
    for server in [[255; 4], [0; 4], [224, 0, 0, 1], [127, 0, 0, 1]] {
        let options = [option(53, &[5]), option(51, &[0, 0, 0, 9]), option(54, &server)].concat();
        let claims = read(&Dhcp { options, ..Dhcp::ack() }.frame()).unwrap().unwrap();
        let record = claims.records()[0];
        assert_eq!(record.other, Ipv4Addr::from(server).to_ipv6_mapped());
        assert_eq!(record.source, Ipv4Addr::from(SERVER).to_ipv6_mapped());
        assert_eq!(claims.pairing(), None);
    }
}

/// Both must be there (RFC 2131, table 3): otherwise it is a record, and no pairing.
#[test]
fn an_acknowledgement_without_lease_or_server() {
    for options in [
        [option(53, &[5]), option(54, &SERVER)].concat(),
        [option(53, &[5]), option(51, &[0, 0, 0, 9])].concat(),
    ] {
        let claims = read(&Dhcp { options, ..Dhcp::ack() }.frame()).unwrap().unwrap();
        assert_eq!((claims.records().len(), claims.pairing()), (1, None));
    }
}

/// What can turn traffic away: routes, proxies, boot files, domains, the portal.
#[test]
fn what_a_server_names() {
    let dhcp = Dhcp::ack().with(&[
        option(1, &[255, 255, 255, 0]),
        option(58, &[0, 0, 7, 8]),
        option(59, &[0, 0, 12, 78]),
        option(121, &[0, 192, 0, 2, 66, 24, 10, 0, 0, 192, 0, 2, 67]),
        option(249, &[32, 10, 9, 9, 9, 192, 0, 2, 68]),
        option(15, b"example\0"),
        option(252, b"http://wpad/wpad.dat\n"),
        option(114, b"https://portal/"),
        option(66, b"boot"),
        option(67, b"pxe.0"),
    ]);
    let own = "0 02:00:00:00:00:01";
    let shown = lines(&dhcp.frame());
    assert_eq!(
        shown[1..],
        [
            format!("{own} 0.0.0.0 DHCP_ROUTE server=192.0.2.1 router=192.0.2.66 length=0"),
            format!("{own} 10.0.0.0 DHCP_ROUTE server=192.0.2.1 router=192.0.2.67 length=24"),
            format!("{own} 10.9.9.9 DHCP_ROUTE server=192.0.2.1 router=192.0.2.68 length=32"),
            format!("{own} - DHCP_DOMAIN server=192.0.2.1 name=\"example\""),
            format!("{own} - DHCP_WPAD server=192.0.2.1 name=\"http://wpad/wpad.dat\""),
            format!("{own} - DHCP_PORTAL server=192.0.2.1 name=\"https://portal/\""),
            format!("{own} - DHCP_BOOT server=192.0.2.1 name=\"boot\" detail=\"pxe.0\""),
        ]
    );
    let record = records(&dhcp.frame())[0];
    assert_eq!((record.prefix, record.renew, record.rebind), (24, 1800, 3150));
    // Search paths have pointers, to earlier names of the same option (RFC 3397).
    let search = option(119, b"\x03lan\x07example\0\x05guest\xc0\x04");
    let dhcp = Dhcp::ack().with(&[search]);
    assert_eq!(
        lines(&dhcp.frame())[1..],
        ["lan", "guest"]
            .map(|host| format!("{own} - DHCP_DOMAIN server=192.0.2.1 name=\"{host}.example\""))
    );
}

/// What a client requests shows which system it is.
#[test]
fn parameters() {
    let dhcp = Dhcp::request().with(&[option(55, &[1, 3, 6, 15, 119, 252])]);
    assert_eq!(records(&dhcp.frame())[0].third.as_str(), "0103060f77fc");
}

/// Of a list in several parts, all are read (RFC 3396); what is more than four is counted, and the records are marked.
#[test]
fn long_lists() {
    let hosts = |from: u8, number: u8| {
        (from..from + number).flat_map(|host| [192, 0, 2, host]).collect::<Vec<_>>()
    };
    let two = Dhcp::ack().with(&[option(6, &hosts(1, 1)), option(6, &hosts(66, 1))]);
    let found = lines(&two.frame());
    assert!(found[2].contains("192.0.2.66 DHCP_DNS"), "{found:?}");
    let six = Dhcp::ack().with(&[option(6, &hosts(1, 6))]);
    let claims = read(&six.frame()).unwrap().unwrap();
    assert_eq!((claims.records().len(), claims.left_out().more), (5, 2));
    assert!(claims.records()[0].to_string().contains(" incomplete=yes"));
}

/// Clients leave out an option that is not right, or take one of two: the server is in the ring nevertheless.
#[test]
fn options_that_are_left_out() {
    for options in [
        option(6, &[9, 9, 9]),
        option(3, &[]),
        option(54, &[192, 0, 2, 66]),
        option(50, &[1, 2, 3, 4, 5]),
        option(51, &[0, 0, 0, 1]),
        option(53, &[6]),
        option(1, &[255, 0, 255, 0]),
        option(6, &[0; 4]),
        option(121, &[33, 1, 2, 3, 4, 5]),
        option(81, b"\x04\0\0\x09printer"),
        vec![12, 99, b'x'],
    ] {
        let claims =
            read(&Dhcp::ack().with(std::slice::from_ref(&options)).frame()).unwrap().unwrap();
        let record = claims.records()[0];
        assert_eq!((record.kind, record.other_ip()), (NameKind::DhcpAck, Some(SERVER.into())));
        assert!(record.marks.has(NameMarks::BAD_OPTION), "{options:?}");
        assert_eq!(claims.left_out().options, 1, "{options:?}");
    }
    let mut message = Dhcp::ack().message();
    for (at, value) in [(1, 32), (2, 16)] {
        let before = std::mem::replace(&mut message[at], value);
        let claims = read(&ethernet(0x0800, &udp4(SERVER, [67, 68], &message))).unwrap().unwrap();
        assert_eq!((claims.left_out().options, claims.pairing()), (1, None));
        message[at] = before;
    }
}

#[test]
fn full_names() {
    for (option, name) in [
        (&b"\x04\0\0\x07printer\x07example\0"[..], "printer.example"),
        (b"\x04\0\0\x07printer", "printer"),
        (b"\0\0\0printer.example", "printer.example"),
        (b"\0\0\0", ""),
        (b"\0", ""),
    ] {
        let dhcp = Dhcp::request().with(&[self::option(81, option)]);
        assert_eq!(records(&dhcp.frame())[0].name.as_str(), name);
    }
    let dhcp = Dhcp::request().with(&[option(12, b"b\xfcro")]);
    let claims = read(&dhcp.frame()).unwrap().unwrap();
    assert_eq!((claims.records()[0].name.as_str(), claims.left_out().texts), ("b\u{fffd}ro", 1));
    assert!(claims.records()[0].marks.has(NameMarks::BAD_TEXT));
}

/// RFC 2132, 9.3: the fields of the server's and the file's name have further options.
#[test]
fn overloaded_fields() {
    let dhcp = Dhcp { options: option(52, &[3]), ..Dhcp::request() };
    let mut message = dhcp.message();
    message[108..111].copy_from_slice(&[53, 1, 3]);
    message[111] = 255;
    message[44..53].copy_from_slice(b"\x0c\x07printer");
    message[53] = 255;
    let frame = ethernet(0x0800, &udp4(SERVER, [68, 67], &message));
    let [record] = records(&frame)[..] else { panic!() };
    assert_eq!((record.kind, record.name.as_str()), (NameKind::DhcpRequest, "printer"));
}

#[test]
fn refusals() {
    let with = |change: &dyn Fn(&mut Dhcp)| {
        let mut dhcp = Dhcp::request();
        change(&mut dhcp);
        dhcp.frame()
    };
    refused(&with(&|dhcp| dhcp.operation = 2), NameCounter::DhcpType);
    refused(&with(&|dhcp| dhcp.operation = 3), NameCounter::DhcpForm);
    refused(&with(&|dhcp| dhcp.ports = [67, 68]), NameCounter::DhcpPort);
    refused(&with(&|dhcp| dhcp.options.clear()), NameCounter::DhcpType);
    for kind in [0, 9, 255] {
        refused(&with(&|dhcp| dhcp.options = option(53, &[kind])), NameCounter::DhcpType);
    }
    refused(&with(&|dhcp| dhcp.options = option(53, &[3, 3])), NameCounter::DhcpType);
    refused(&Dhcp::request().frame()[..14 + 20 + 8 + 100], NameCounter::Truncated);
    let no_host = [option(53, &[4]), option(50, &[224, 0, 0, 1])].concat();
    refused(&with(&|dhcp| dhcp.options = no_host.clone()), NameCounter::Address);
    refused(&with(&|dhcp| dhcp.options = option(53, &[4])), NameCounter::Address);
    let mut message = Dhcp::request().message();
    for (at, value, reason) in [
        (1, 32, NameCounter::DhcpForm),
        (2, 16, NameCounter::DhcpForm),
        (236, 0, NameCounter::DhcpForm),
        (28, 0xff, NameCounter::DhcpClient),
    ] {
        let before = std::mem::replace(&mut message[at], value);
        refused(&ethernet(0x0800, &udp4(SERVER, [68, 67], &message)), reason);
        message[at] = before;
    }
}

/// The checksums of the headers, and what a network card would complete.
#[test]
fn checksums() {
    let frame = Dhcp::request().frame();
    for at in [14 + 10, 14 + 20 + 6, frame.len() - 2] {
        let mut wrong = frame.clone();
        wrong[at] ^= 0x10;
        refused(&wrong, NameCounter::Checksum);
    }
    let mut without = frame.clone();
    without[40..42].fill(0);
    assert_eq!(records(&without).len(), 1);
    let mut partial = frame.clone();
    let length = (frame.len() - 34) as u32;
    let pseudo = !u16::from_be_bytes(checksum(sum(&frame[26..34]) + 17 + length));
    partial[40..42].copy_from_slice(&pseudo.to_be_bytes());
    assert_eq!(records(&partial).len(), 1);
}

/// The first fragment has the headers of a message whose rest is not there; the others have none.
#[test]
fn fragments() {
    let mut frame = Dhcp::request().frame();
    frame[20] = 0x20;
    refused(&frame, NameCounter::Fragmented);
    frame[21] = 1;
    assert!(read(&frame).is_none());
    // A client may put the fragments together: the server is in the ring.
    let mut answer = Dhcp::ack().frame();
    answer[20] = 0x20;
    for answer in [&answer, &answer[..42]] {
        assert!(refusal(answer).contains(" REFUSED reason=fragmented "));
    }
}
