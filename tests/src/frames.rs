//! Ethernet, tags, SNAP, Linux cooked headers and ARP, written byte by byte; every field can be set wrong on purpose.
//! (IPv6 Neighbor Discovery is in `neighbor.rs`.)

use std::net::Ipv4Addr;

/// Six bytes, as on the wire.
pub type Mac = [u8; 6];

/// All stations on the link.
pub const BROADCAST: Mac = [0xff; 6];

/// Ethertype of ARP.
pub const ARP: u16 = 0x0806;
/// Ethertype of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Tag protocol of IEEE 802.1Q.
pub const DOT1Q: u16 = 0x8100;
/// Tag protocol of IEEE 802.1ad, the provider's tag.
pub const DOT1AD: u16 = 0x88a8;
/// Tag protocol of stacked tags before 802.1ad.
pub const OLD_QINQ: u16 = 0x9100;

/// The system name of a switch, in LLDP.
pub fn lldp(mac: Mac, name: &str) -> Vec<u8> {
    let mut body = b"\x02\x07\x04".to_vec();
    body.extend(mac);
    body.extend(b"\x04\x02\x051\x06\x02\0\x78");
    body.extend([10, name.len() as u8]);
    body.extend(name.bytes());
    body.extend([0, 0]);
    Ethernet::from(mac).frame(0x88cc, &body)
}

/// A unicast, locally administered MAC: `02:00:` and the number.
pub fn station(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0, a, b, c, d]
}

/// Everything before the payload: addresses, any tags, and whether 802.3/SNAP carries the ethertype.
#[derive(Clone, Debug)]
pub struct Ethernet {
    /// The receivers.
    pub destination: Mac,
    /// The sender.
    pub source: Mac,
    /// Tag protocol and tag control information (priority and VLAN id), outermost first.
    pub tags: Vec<(u16, u16)>,
    /// 802.3 length, LLC `AA AA 03` and a SNAP header in place of the ethertype.
    pub snap: bool,
}

impl Ethernet {
    /// An untagged broadcast from `source`.
    pub fn from(source: Mac) -> Self {
        Ethernet { destination: BROADCAST, source, tags: Vec::new(), snap: false }
    }

    /// The same, to one station or group.
    pub fn to(mut self, destination: Mac) -> Self {
        self.destination = destination;
        self
    }

    /// The same, with one more tag inside those it has.
    pub fn tag(mut self, protocol: u16, control: u16) -> Self {
        self.tags.push((protocol, control));
        self
    }

    /// The same, as 802.3/SNAP.
    pub fn snap(mut self) -> Self {
        self.snap = true;
        self
    }

    /// The whole frame, without padding and without frame check sequence.
    pub fn frame(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        for (protocol, control) in &self.tags {
            bytes.extend(protocol.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        if self.snap {
            let length = u16::try_from(payload.len() + 8).expect("a payload that fits a frame");
            bytes.extend(length.to_be_bytes());
            bytes.extend([0xaa, 0xaa, 0x03, 0, 0, 0]);
        }
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

/// Zeros up to the 60 bytes that a network card makes of a short frame.
pub fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

/// LINKTYPE_LINUX_SLL: a broadcast from `source` on an Ethernet interface.
pub fn cooked(source: Mac, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 1, 0, 6];
    bytes.extend(source);
    bytes.extend([0, 0]);
    bytes.extend(protocol.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// LINKTYPE_LINUX_SLL2: a broadcast from `source` on the Ethernet interface with index `interface`.
pub fn cooked_v2(source: Mac, interface: u32, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = protocol.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(interface.to_be_bytes());
    bytes.extend([0, 1, 1, 6]);
    bytes.extend(source);
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// One ARP packet (RFC 826). The sizes can be set; the addresses always have six and four bytes.
#[derive(Clone, Debug)]
pub struct Arp {
    /// 1 = Ethernet, 6 = IEEE 802.
    pub hardware: u16,
    /// 0x0800 = IPv4.
    pub protocol: u16,
    /// 6.
    pub hardware_size: u8,
    /// 4.
    pub protocol_size: u8,
    /// 1 = request, 2 = reply.
    pub operation: u16,
    /// The pairing's MAC.
    pub sender_mac: Mac,
    /// The pairing's address.
    pub sender_ip: Ipv4Addr,
    /// Zeros in a request.
    pub target_mac: Mac,
    /// The address in question, or the receiver of an answer.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// `mac`, who has `ip`, asks for `target`.
    pub fn request(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Arp {
            hardware: 1,
            protocol: IPV4,
            hardware_size: 6,
            protocol_size: 4,
            operation: 1,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: [0; 6],
            target_ip: target,
        }
    }

    /// `mac` announces that it has `ip`.
    pub fn reply(mac: Mac, ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Arp { operation: 2, target_mac: station(0xffff), ..Arp::request(mac, ip, target) }
    }

    /// `mac` asks whether a station has `ip`, before it uses it (RFC 5227, address conflict detection).
    pub fn probe(mac: Mac, ip: Ipv4Addr) -> Self {
        Arp::request(mac, Ipv4Addr::UNSPECIFIED, ip)
    }

    /// The 28 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.hardware.to_be_bytes().to_vec();
        bytes.extend(self.protocol.to_be_bytes());
        bytes.extend([self.hardware_size, self.protocol_size]);
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sender_mac);
        bytes.extend(self.sender_ip.octets());
        bytes.extend(self.target_mac);
        bytes.extend(self.target_ip.octets());
        bytes
    }

    /// As a frame behind this header.
    pub fn on(&self, ethernet: &Ethernet) -> Vec<u8> {
        ethernet.frame(ARP, &self.bytes())
    }

    /// As an untagged broadcast from the sender.
    pub fn frame(&self) -> Vec<u8> {
        self.on(&Ethernet::from(self.sender_mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame of RFC 826 as tcpdump would print it, typed by hand.
    #[test]
    fn a_tagged_request_has_these_bytes() {
        let arp = Arp::request(station(1), [192, 0, 2, 1].into(), [192, 0, 2, 254].into());
        let frame = arp.on(&Ethernet::from(station(1)).tag(DOT1Q, 0x6007));
        let expected: Vec<u8> = [
            "ffffffffffff 020000000001 8100 6007 0806 0001 0800 06 04 0001",
            "020000000001 c0000201 000000000000 c00002fe",
        ]
        .concat()
        .replace(' ', "")
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
        assert_eq!(frame, expected);
    }
}
