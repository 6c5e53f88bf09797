//! Any bytes as a message with names: it is refused, or its records are such as the ring may have.

use std::net::{Ipv4Addr, Ipv6Addr};

use shm_layout::{InterfaceName, MacAddr, UnixTime, VlanId};

use crate::{
    link::{Frame, LinkType},
    names::{
        Claims,
        message::{self, Body, Message, Packet},
    },
};

/// The first byte selects the protocol, or a whole frame; what follows is the message.
pub fn name_messages(input: &[u8]) {
    let [choice, bytes @ ..] = input else { return };
    let interface: InterfaceName = "eth0".parse().unwrap();
    let time = UnixTime::new(1_700_000_000, 0);
    let body = match choice % 8 {
        0 => Body::Dhcp(67, bytes),
        1 => Body::Dhcp(68, bytes),
        2 => Body::Dhcpv6(bytes),
        3 => Body::Mdns(5353, bytes),
        4 | 5 => Body::Icmp(bytes),
        6 => Body::Lldp(bytes),
        _ => {
            let frame = Frame { time, bytes, length: bytes.len() };
            if let Some(message) = message::find(LinkType::Ethernet, &frame, interface) {
                read(&message);
            }
            return;
        }
    };
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let destination = match body {
        Body::Dhcp(..) => Ipv4Addr::BROADCAST.to_ipv6_mapped(),
        _ => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
    };
    let hop_limit = if choice % 8 == 5 { 1 } else { 255 };
    read(&Message {
        time,
        interface,
        sender: MacAddr::new([2, 0, 0, 0, 0, 1]),
        receiver: MacAddr::ZERO,
        vlan: VlanId::NONE,
        outer_vlan: VlanId::NONE,
        packet: Packet { source, destination, hop_limit },
        body,
        refused: None,
    });
}

fn read(message: &Message) {
    let mut claims = Claims::default();
    let read = claims.read(message);
    assert!(claims.records().len() <= 32);
    assert!(read.is_ok() || claims.pairing().is_none());
    for record in claims.records() {
        let line = record.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.starts_with("1700000000 eth0 "), "{line:?}");
        let texts = [record.name, record.detail, record.third, record.circuit];
        assert!(texts.iter().all(|text| text.as_str().len() < 64));
        assert_eq!(record.reason, read.err());
    }
    if let Some(pairing) = claims.pairing() {
        assert!(!pairing.mac.is_no_host() && !pairing.address.is_unspecified());
        assert!(!pairing.address.is_multicast());
    }
}
