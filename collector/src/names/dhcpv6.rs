//! DHCPv6 of clients (RFC 8415): which server a client has chosen, also on a port that gets multicast only; and the registration of
//! addresses (RFC 9686): a host reports an address that it has chosen itself, with its lifetime and name. Only that pairs.

use std::net::{IpAddr, Ipv6Addr};

use shm_layout::{MacAddr, NameCounter, NameKind, NameMarks, NameText, Origin};

use super::{
    Claims, hex, is_device, labels,
    message::{Message, is_host},
    port, take,
};

/// Where clients send (RFC 8415, 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// A relay's message (RFC 8415, 7.3).
const RELAY_FORWARD: u8 = 12;
/// Options (RFC 8415, 21; RFC 4704; RFC 6939).
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const ADDRESSES: u16 = 3;
const ADDRESS: u16 = 5;
const REQUESTED_OPTIONS: u16 = 6;
const RELAYED: u16 = 9;
const INTERFACE_ID: u16 = 18;
const FULL_NAME: u16 = 39;
const LINK_LAYER_ADDRESS: u16 = 79;
/// Most relays on a message's way (HOP_COUNT_LIMIT of RFC 8415, 7.6).
const RELAYS: usize = 8;

/// RFC 8415, 7.3; RFC 9686, 4.2.
fn kind_of(message: u8) -> Option<NameKind> {
    Some(match message {
        1 => NameKind::Dhcp6Solicit,
        3 => NameKind::Dhcp6Request,
        5 => NameKind::Dhcp6Renew,
        6 => NameKind::Dhcp6Rebind,
        8 => NameKind::Dhcp6Release,
        9 => NameKind::Dhcp6Decline,
        36 => NameKind::AddrReg,
        _ => return None,
    })
}

pub fn read(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let (mut bytes, mut source) = (bytes, message.packet.source);
    // Without a relay, the frame is the client's.
    let (mut mac, mut relay) = (Some(message.sender), Ipv6Addr::UNSPECIFIED);
    let mut circuit = NameText::EMPTY;
    for _ in 0..RELAYS {
        if bytes.first() != Some(&RELAY_FORWARD) {
            break;
        }
        relay = message.packet.source;
        source = Ipv6Addr::from(take::<16>(bytes, 18)?);
        let (mut inner, mut address) = (None, None);
        each(bytes.get(34..).ok_or(NameCounter::Truncated)?, |code, value| {
            match code {
                RELAYED => once(&mut inner, value)?,
                // Hardware type, then the address.
                LINK_LAYER_ADDRESS => address = value.try_into().ok(),
                INTERFACE_ID => circuit = port(value),
                _ => {}
            }
            Ok(())
        })?;
        mac = address.and_then(|[t0, t1, mac @ ..]: [u8; 8]| {
            ([t0, t1] == [0, 1]).then(|| MacAddr::new(mac))
        });
        bytes = inner.ok_or(NameCounter::Truncated)?;
    }
    let [kind, t0, t1, t2] = take(bytes, 0)?;
    let Some(kind) = kind_of(kind) else { return Ok(()) }; // another message of DHCPv6
    let is_relayed = !relay.is_unspecified();
    if !is_relayed && message.packet.destination != SERVERS {
        return Err(NameCounter::Dhcpv6Link);
    }
    let mut record = message.record(kind);
    let (mut client, mut server, mut name) = (None, None, &[][..]);
    let (mut address, mut addresses, mut requests) = (None, 0, false);
    each(&bytes[4..], |code, value| {
        match code {
            CLIENT_ID => once(&mut client, value)?,
            SERVER_ID => once(&mut server, value)?,
            ADDRESS => (address, addresses) = (Some(value), addresses + 1),
            // Identifier and two times, then the addresses.
            ADDRESSES if address.is_none() && kind != NameKind::AddrReg => {
                each(value.get(12..).ok_or(NameCounter::Truncated)?, |code, value| {
                    if code == ADDRESS {
                        address = address.or(Some(value));
                    }
                    Ok(())
                })?;
            }
            REQUESTED_OPTIONS => requests = true,
            FULL_NAME => name = value,
            _ => {}
        }
        Ok(())
    })?;
    let client = client.filter(|client| !client.is_empty()).ok_or(NameCounter::RegClient)?;
    if let Some(address) = address {
        record.address = Ipv6Addr::from(take::<16>(address, 0)?);
        record.preferred = u32::from_be_bytes(take(address, 16)?);
        record.lifetime = u32::from_be_bytes(take(address, 20)?);
    }
    let is_registration = kind == NameKind::AddrReg;
    if is_registration {
        // RFC 9686, 4.2.1.
        if server.is_some() || requests {
            return Err(NameCounter::RegOption);
        }
        if addresses != 1 {
            return Err(NameCounter::RegAddress);
        }
        if record.address != source {
            return Err(NameCounter::RegSource);
        }
    }
    if !record.address.is_unspecified() && !is_host(IpAddr::V6(record.address)) {
        return Err(NameCounter::Address);
    }
    record.number = u32::from_be_bytes([0, t0, t1, t2]);
    (record.id, record.relay, record.circuit) = (claims.hash(client), relay, circuit);
    record.mac = mac.filter(|mac| is_device(*mac)).unwrap_or(MacAddr::ZERO);
    record.marks.set_if(is_relayed, NameMarks::MAC_OF_OPTION);
    if let Some(server) = server {
        record.other_id = claims.hash(server);
        let (first, rest) = server.split_at(server.len().min(29));
        (record.detail, record.third) = (hex("DUID ", first), hex("", rest));
        record.marks.set_if(rest.len() > 31, NameMarks::THIRD_CUT);
    }
    // RFC 4704, 4: flags, then a name that need not end in an empty label.
    if let [_, name @ ..] = name {
        let name = claims.option(labels(name, 0));
        claims.name(&mut record, &name.unwrap_or_default().0);
        record.marks.set(NameMarks::FULL_NAME);
    }
    claims.add(record);
    // A lifetime of 0 ends the registration. What a relay forwards, another link's host can send with any MAC.
    if is_registration && !is_relayed && record.mac != MacAddr::ZERO && record.lifetime > 0 {
        claims.pair(&record, Origin::AddressRegistration);
    }
    Ok(())
}

/// Programs differ in which of two values they take.
fn once<'a>(to: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), NameCounter> {
    match to.replace(value) {
        None => Ok(()),
        Some(_) => Err(NameCounter::Dhcpv6Double),
    }
}

/// Options of DHCPv6.
fn each<'a>(
    mut options: &'a [u8],
    mut read: impl FnMut(u16, &'a [u8]) -> Result<(), NameCounter>,
) -> Result<(), NameCounter> {
    while let [c0, c1, l0, l1, rest @ ..] = options {
        let length = u16::from_be_bytes([*l0, *l1]).into();
        let (value, rest) = rest.split_at_checked(length).ok_or(NameCounter::Truncated)?;
        read(u16::from_be_bytes([*c0, *c1]), value)?;
        options = rest;
    }
    if options.is_empty() { Ok(()) } else { Err(NameCounter::Truncated) }
}
