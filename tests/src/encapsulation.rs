//! What mirrors put around a frame, byte by byte: tags of switches, and tunnels over IPv4 and IPv6.

use crate::frames::{IPV4, IPV6, Mac, station};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Cisco VN-Tag.
pub const VN_TAG: u16 = 0x8926;
/// IEEE 802.1BR E-TAG.
pub const E_TAG: u16 = 0x893f;
/// Cisco Metadata.
pub const CISCO_METADATA: u16 = 0x8909;
/// High-availability Seamless Redundancy.
pub const HSR: u16 = 0x892f;
/// The same, version 0.
pub const HSR_0: u16 = 0x88fb;
/// The older tag of Broadcom switches.
pub const BRCM_LEGACY: u16 = 0x8874;
/// EDSA of Marvell switches.
pub const EDSA: u16 = 0xdada;
/// IEEE 802.1AE.
pub const MACSEC: u16 = 0x88e5;
/// I-TAG of a provider bridge.
pub const PBB: u16 = 0x88e7;
/// Cisco FabricPath.
pub const FABRICPATH: u16 = 0x8903;
/// TRILL.
pub const TRILL: u16 = 0x22f3;
/// IEEE 802.1CB R-TAG.
pub const R_TAG: u16 = 0xf1c1;
/// A session of PPPoE.
pub const PPPOE: u16 = 0x8864;

/// UDP port of VXLAN.
pub const VXLAN: u16 = 4789;
/// UDP port of GENEVE.
pub const GENEVE: u16 = 6081;
/// UDP port of TZSP.
pub const TZSP: u16 = 37008;

/// Protocol number of GRE.
pub const GRE: u8 = 47;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// Who sends the mirrored frames.
pub const MIRROR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// The same.
pub const MIRROR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// An EtherType and these bytes between a frame's addresses and its own EtherType.
pub fn inserted(frame: &[u8], protocol: u16, bytes: &[u8]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &protocol.to_be_bytes(), bytes, rest].concat()
}

/// The addresses of the link on which the mirror sends.
fn link(protocol: u16, payload: &[u8]) -> Vec<u8> {
    let (to, from): (Mac, Mac) = (station(0xfa), station(0xfe));
    [&to[..], &from, &protocol.to_be_bytes(), payload].concat()
}

/// A frame on the mirror's link with a whole frame in it, behind this header.
pub fn behind(protocol: u16, header: &[u8], frame: &[u8]) -> Vec<u8> {
    link(protocol, &[header, frame].concat())
}

/// A frame with an IPv4 packet of the mirror.
pub fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_of(0, 0, protocol, payload)
}

/// The same, with this fragment field and this many words of options.
pub fn ipv4_of(fragment: u16, options: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length =
        u16::try_from(20 + usize::from(options) * 4 + payload.len()).expect("a short packet");
    let mut header = vec![0x45 + options, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 1]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(MIRROR.octets());
    header.extend([10, 9, 0, 1]);
    header.extend(vec![1; usize::from(options) * 4]); // no operation
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    link(IPV4, &[&header, payload].concat())
}

/// A frame with an IPv6 packet of the mirror. `limit`: with destination options, as Linux sends GRE over IPv6.
pub fn ipv6(protocol: u8, limit: bool, payload: &[u8]) -> Vec<u8> {
    let options = [protocol, 0, 4, 1, 4, 1, 0, 0]; // tunnel encapsulation limit (RFC 2473)
    let (next, options) = if limit { (60, &options[..]) } else { (protocol, &[][..]) };
    let length = u16::try_from(options.len() + payload.len()).expect("a short packet");
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length.to_be_bytes());
    header.extend([next, 64]);
    header.extend(MIRROR6.octets());
    header.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
    link(IPV6, &[&header, options, payload].concat())
}

/// A datagram without its IP header and without checksum.
pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a short datagram");
    [&[0xc0, 0][..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat()
}

/// VXLAN: flags, network identifier, frame (RFC 7348).
pub fn vxlan(network: u32, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(network << 8).to_be_bytes(), frame].concat()
}

/// GENEVE with this many words of options (RFC 8926).
pub fn geneve(network: u32, options: u8, frame: &[u8]) -> Vec<u8> {
    let option = vec![0; usize::from(options) * 4];
    [&[options, 0, 0x65, 0x58][..], &(network << 8).to_be_bytes(), &option, frame].concat()
}

/// TZSP: a received packet of Ethernet, these tags, the end tag, the frame.
pub fn tzsp(tags: &[u8], frame: &[u8]) -> Vec<u8> {
    [&[1, 0, 0, 1][..], tags, &[1], frame].concat()
}

/// GRE: protocol type, and the optional fields that are there: checksum, key, sequence number.
pub fn gre(protocol: u16, fields: [Option<u32>; 3], payload: &[u8]) -> Vec<u8> {
    let [checksum, key, sequence] = fields.map(|field| u8::from(field.is_some()));
    let mut bytes = vec![checksum << 7 | key << 5 | sequence << 4, 0];
    bytes.extend(protocol.to_be_bytes());
    fields.into_iter().flatten().for_each(|field| bytes.extend(field.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

/// ERSPAN type II in GRE.
pub fn erspan_2(vlan: u16, session: u16, frame: &[u8]) -> Vec<u8> {
    let header = [(1 << 12 | vlan).to_be_bytes(), session.to_be_bytes(), [0; 2], [0, 1]].concat();
    gre(0x88be, [None, None, Some(1)], &[&header, frame].concat())
}

/// ERSPAN type III in GRE, with or without a subheader.
pub fn erspan_3(vlan: u16, session: u16, subheader: bool, frame: &[u8]) -> Vec<u8> {
    let mut header = [(2 << 12 | vlan).to_be_bytes(), session.to_be_bytes()].concat();
    header.extend([0, 0, 0, 7, 0, 0]); // time stamp, security group tag
    header.extend([0, u8::from(subheader)]);
    header.extend(vec![0; if subheader { 8 } else { 0 }]);
    gre(0x22eb, [None, None, Some(1)], &[&header, frame].concat())
}
