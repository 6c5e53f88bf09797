//! Registration of IPv6 addresses (RFC 9686): a host reports an address that it has chosen itself, with its lifetime and name.

use std::net::{IpAddr, Ipv6Addr};

use shm_layout::{MacAddr, NameCounter, NameKind, NameText, Origin};

use super::{
    Claims, hash, is_device,
    message::{Message, is_host},
    take,
};

/// Messages (RFC 8415, 7.3; RFC 9686, 4.2).
const RELAY_FORWARD: u8 = 12;
const ADDRESS_REGISTRATION: u8 = 36;
/// Options (RFC 8415, 21; RFC 4704; RFC 6939).
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const ADDRESS: u16 = 5;
const REQUESTED_OPTIONS: u16 = 6;
const RELAYED: u16 = 9;
const FULL_NAME: u16 = 39;
const LINK_LAYER_ADDRESS: u16 = 79;
/// Most relays on a message's way (HOP_COUNT_LIMIT of RFC 8415, 7.6).
const RELAYS: usize = 8;
/// Bytes of a client's identifier that fit as text.
const SHOWN: usize = 29;

pub fn read(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let (mut bytes, mut source) = (bytes, message.source);
    // Without a relay, the frame is the client's.
    let (mut mac, mut relay) = (Some(message.sender), Ipv6Addr::UNSPECIFIED);
    for _ in 0..RELAYS {
        if bytes.first() != Some(&RELAY_FORWARD) {
            break;
        }
        relay = message.source;
        source = Ipv6Addr::from(take::<16>(bytes, 18)?);
        let (mut inner, mut address) = (None, None);
        each(bytes.get(34..).ok_or(NameCounter::Truncated)?, |code, value| {
            match code {
                RELAYED => inner = Some(value),
                // Hardware type, then the address.
                LINK_LAYER_ADDRESS => address = value.try_into().ok(),
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
    if kind != ADDRESS_REGISTRATION {
        return Ok(()); // another message of DHCPv6
    }
    let mut record = message.record(NameKind::AddrReg);
    let (mut client, mut address, mut addresses) = (None, None, 0);
    let (mut is_for_server, mut name) = (false, &[][..]);
    each(&bytes[4..], |code, value| {
        match code {
            CLIENT_ID => client = Some(value),
            ADDRESS => (address, addresses) = (Some(value), addresses + 1),
            SERVER_ID | REQUESTED_OPTIONS => is_for_server = true,
            FULL_NAME => name = value,
            _ => {}
        }
        Ok(())
    })?;
    // RFC 9686, 4.2.1.
    let client = client.filter(|client| !client.is_empty()).ok_or(NameCounter::RegClient)?;
    if is_for_server {
        return Err(NameCounter::RegOption);
    }
    let address = address.filter(|_| addresses == 1).ok_or(NameCounter::RegAddress)?;
    record.address = Ipv6Addr::from(take::<16>(address, 0)?);
    if record.address != source {
        return Err(NameCounter::RegSource);
    }
    if !is_host(IpAddr::V6(record.address)) {
        return Err(NameCounter::Address);
    }
    record.preferred = u32::from_be_bytes(take(address, 16)?);
    record.lifetime = u32::from_be_bytes(take(address, 20)?);
    record.number = u32::from_be_bytes([0, t0, t1, t2]);
    (record.id, record.relay) = (hash(client), relay);
    record.mac = mac.filter(|mac| is_device(*mac)).unwrap_or(MacAddr::ZERO);
    record.detail = identifier(client);
    // RFC 4704, 4: flags, then a name that need not end in an empty label.
    if let [_, name @ ..] = name {
        record.name = labels(name, claims)?;
    }
    claims.add(record);
    if record.mac != MacAddr::ZERO {
        claims.pair(&record, Origin::AddressRegistration);
    }
    Ok(())
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

/// A client's identifier as text, cut.
fn identifier(client: &[u8]) -> NameText {
    use std::fmt::Write;
    let mut text = String::from("DUID ");
    for byte in client.iter().take(SHOWN) {
        let _ = write!(text, "{byte:02x}");
    }
    NameText::cut(&text)
}

fn labels(mut name: &[u8], claims: &mut Claims) -> Result<NameText, NameCounter> {
    let mut text = Vec::new();
    while let [length @ 1..=255, rest @ ..] = name {
        let (label, rest) =
            rest.split_at_checked(usize::from(*length)).ok_or(NameCounter::Truncated)?;
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend(label);
        name = rest;
    }
    Ok(claims.text(&text))
}
