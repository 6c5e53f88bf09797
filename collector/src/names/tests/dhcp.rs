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
        assert_eq!(
            lines(&dhcp.frame()),
            [format!("0 02:00:00:00:00:11 {shown} sender=02:00:00:00:00:01")]
        );
        // What answers DHCPINFORM gives no address.
        assert_eq!(read(&dhcp.frame()).unwrap().unwrap().pairing(), None);
    }
}

#[test]
fn a_relayed_answer() {
    let mut dhcp = Dhcp::ack();
    dhcp.addresses[2] = [198, 51, 100, 1];
    dhcp.ports = [67, 67];
    assert!(lines(&dhcp.frame())[0].contains(" relay=198.51.100.1 "));
    dhcp.addresses[2] = NONE;
    refused(&dhcp.frame(), NameCounter::DhcpPort);
}

/// 255.255.255.255, which some programs name, is no server.
#[test]
fn a_server_that_is_no_host() {
    for server in [[255; 4], [0; 4], [224, 0, 0, 1], [127, 0, 0, 1]] {
        let options = [option(53, &[3]), option(50, &GIVEN), option(54, &server)].concat();
        let dhcp = Dhcp { options, ..Dhcp::request() };
        assert_eq!(records(&dhcp.frame())[0].other_ip(), None);
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
    refused(
        &Dhcp::request().with(&[option(81, b"\x04\0\0\x09printer")]).frame(),
        NameCounter::Truncated,
    );
    let dhcp = Dhcp::request().with(&[option(12, b"b\xfcro")]);
    let claims = read(&dhcp.frame()).unwrap().unwrap();
    assert_eq!((claims.records()[0].name.as_str(), claims.left_out()), ("", (0, 1)));
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
    refused(&with(&|dhcp| dhcp.options = option(53, &[3, 3])), NameCounter::OptionLength);
    refused(&with(&|dhcp| dhcp.options.extend(option(53, &[3]))), NameCounter::OptionLength);
    refused(&with(&|dhcp| dhcp.options.extend(option(6, &[9, 9, 9]))), NameCounter::OptionLength);
    refused(&with(&|dhcp| dhcp.options.extend([12, 99, b'x'])), NameCounter::Truncated);
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
}
