//! Any bytes as a message with names: it is refused, or its records are such as the ring may have.

use std::net::Ipv6Addr;

use shm_layout::{InterfaceName, MacAddr, UnixTime, VlanId};

use crate::{
    link::{Frame, LinkType},
    names::{
        Claims,
        message::{self, Body, Message},
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
            if let Some(Ok(message)) = message::find(LinkType::Ethernet, &frame, interface) {
                read(&message);
            }
            return;
        }
    };
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    read(&Message {
        time,
        interface,
        sender: MacAddr::new([2, 0, 0, 0, 0, 1]),
        vlan: VlanId::NONE,
        outer_vlan: VlanId::NONE,
        source,
        hop_limit: if choice % 8 == 5 { 1 } else { 255 },
        body,
    });
}

fn read(message: &Message) {
    let mut claims = Claims::default();
    let Ok(()) = claims.read(message) else { return };
    assert!(claims.records().len() <= 24);
    for record in claims.records() {
        let line = record.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.starts_with("1700000000 eth0 "), "{line:?}");
        assert!(record.name.as_str().len() < 64 && record.detail.as_str().len() < 64);
    }
    if let Some(pairing) = claims.pairing() {
        assert!(!pairing.mac.is_no_host() && !pairing.address.is_unspecified());
        assert!(!pairing.address.is_multicast());
    }
}
