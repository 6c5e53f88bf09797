//! DHCP messages for IPv4, and an announcement of multicast DNS, written byte by byte: what a device calls itself, and what a server
//! gives it.

use crate::frames::{BROADCAST, Ethernet, IPV4, Mac};
use std::net::Ipv4Addr;

/// The server of all messages.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 254);
const SERVER_MAC: Mac = [2, 0, 0, 0, 0, 0xfe];

/// A client's broadcast request for an address, with its name and vendor class.
pub fn request(mac: Mac, ip: Ipv4Addr, name: &str, vendor: &str) -> Vec<u8> {
    let mut options = option(50, &ip.octets());
    options.extend(option(54, &SERVER.octets()));
    options.extend(option(12, name.as_bytes()));
    options.extend(option(60, vendor.as_bytes()));
    let message = message(3, mac, [Ipv4Addr::UNSPECIFIED; 2], &options);
    let ends = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    Ethernet::from(mac).to(BROADCAST).frame(IPV4, &datagram(ends, (68, 67), &message))
}

/// A client's broadcast request to keep the address that it has, as after its server did not answer: from there, without option 50.
pub fn renew(mac: Mac, ip: Ipv4Addr, name: &str) -> Vec<u8> {
    let message = message(3, mac, [ip, Ipv4Addr::UNSPECIFIED], &option(12, name.as_bytes()));
    let datagram = datagram((ip, Ipv4Addr::BROADCAST), (68, 67), &message);
    Ethernet::from(mac).to(BROADCAST).frame(IPV4, &datagram)
}

/// The server's answer to the client alone: the address, for so many seconds.
pub fn ack(mac: Mac, ip: Ipv4Addr, seconds: u32) -> Vec<u8> {
    let mut options = option(54, &SERVER.octets());
    options.extend(option(51, &seconds.to_be_bytes()));
    let message = message(5, mac, [Ipv4Addr::UNSPECIFIED, ip], &options);
    Ethernet::from(SERVER_MAC).to(mac).frame(IPV4, &datagram((SERVER, ip), (67, 68), &message))
}

/// A server's offer of an address, broadcast, with itself as the router.
pub fn offer((server_mac, server): (Mac, Ipv4Addr), mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let server_option = option(54, &server.octets());
    let options = [server_option, option(51, &[0, 0, 14, 16]), option(3, &server.octets())];
    let message = message(2, mac, [Ipv4Addr::UNSPECIFIED, ip], &options.concat());
    let datagram = datagram((server, Ipv4Addr::BROADCAST), (67, 68), &message);
    Ethernet::from(server_mac).to(BROADCAST).frame(IPV4, &datagram)
}

/// The client gives the address back.
pub fn release(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let message = message(7, mac, [ip, Ipv4Addr::UNSPECIFIED], &option(54, &SERVER.octets()));
    Ethernet::from(mac).to(SERVER_MAC).frame(IPV4, &datagram((ip, SERVER), (68, 67), &message))
}

/// A host announces its name and its address in multicast DNS.
pub fn mdns(mac: Mac, ip: Ipv4Addr, name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    for label in [name, "local"] {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4]); // A, of 120 s
    message.extend(ip.octets());
    let group = (ip, Ipv4Addr::new(224, 0, 0, 251));
    let receiver = [0x01, 0, 0x5e, 0, 0, 251];
    Ethernet::from(mac).to(receiver).frame(IPV4, &datagram(group, (5353, 5353), &message))
}

fn option(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, value.len() as u8], value].concat()
}

/// A message with the client's own address, and the one that it is given.
fn message(kind: u8, mac: Mac, [own, given]: [Ipv4Addr; 2], options: &[u8]) -> Vec<u8> {
    let is_answer = [2, 5, 6].contains(&kind);
    let mut bytes = vec![if is_answer { 2 } else { 1 }, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0];
    bytes.extend(own.octets());
    bytes.extend(given.octets());
    bytes.extend([0; 8]);
    bytes.extend(mac);
    bytes.resize(236, 0);
    bytes.extend([0x63, 0x82, 0x53, 0x63]);
    bytes.extend(option(53, &[kind]));
    bytes.extend(options);
    bytes.push(255);
    bytes
}

/// An IPv4/UDP packet, its UDP checksum left out as RFC 768 allows.
fn datagram(
    (source, destination): (Ipv4Addr, Ipv4Addr),
    (from, to): (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(28 + payload.len()).expect("a short packet");
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(from.to_be_bytes());
    bytes.extend(to.to_be_bytes());
    bytes.extend((length - 20).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}
