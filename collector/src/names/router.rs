//! Router Advertisement, Router Solicitation and Redirect (RFC 4861, 4191, 8106, 8781): who is a router, and what it announces.

use std::net::Ipv6Addr;

use shm_layout::{MacAddr, NameCounter, NameKind, NameMarks, NameRecord};

use super::{
    Claims, field, is_device, labels,
    message::{Message, REDIRECT, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION},
    take, until_zero,
};

/// Options of Neighbor Discovery.
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const ROUTE: u8 = 24;
const DNS: u8 = 25;
const MORE_FLAGS: u8 = 26;
const DOMAINS: u8 = 31;
const PORTAL: u8 = 37;
const NAT64: u8 = 38;
/// Most claims of one kind: one kind does not take the places of another.
const EACH: usize = 8;
const FEW: usize = 3;

pub fn read(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    // Sent on this link, and by no router on (RFC 4861, 6.1 and 8.1).
    if message.packet.hop_limit != 255 {
        return Err(NameCounter::HopLimit);
    }
    let [kind, code] = take(bytes, 0)?;
    if code != 0 {
        return Err(NameCounter::Code);
    }
    match kind {
        ROUTER_ADVERTISEMENT => advertisement(message, bytes, claims),
        ROUTER_SOLICITATION => solicitation(message, bytes, claims),
        REDIRECT => redirect(message, bytes, claims),
        _ => Ok(()), // Neighbor Solicitation and Advertisement are not searched for
    }
}

/// RFC 4861, 6.1.2. Only an option without a length, or behind the message's end, refuses it. Hosts leave out any other option that is
/// not right, and use the rest (RFC 4861, 6.3.4; RFC 8106, 5.3.1; RFC 8781, 4).
fn advertisement(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let router = message.packet.source;
    if !router.is_unicast_link_local() {
        return Err(NameCounter::SourceAddress);
    }
    let [hops, flags, life0, life1] = take(bytes, 4)?;
    let [reachable, retransmit] = [take(bytes, 8)?, take(bytes, 12)?].map(u32::from_be_bytes);
    let options = options(bytes, 16)?;
    let mut own = message.record(NameKind::Router);
    link_layer_address(options.clone(), &mut own, claims);
    let mut record = own;
    record.address = router;
    (record.hops, record.flags) = (hops, flags);
    record.lifetime = u16::from_be_bytes([life0, life1]).into();
    (record.preferred, record.id) = (reachable, retransmit.into());
    for (kind, option) in options.clone() {
        match kind {
            MTU => {
                let mtu = claims.option(fixed(option, 8, 4));
                record.number = mtu.map_or(record.number, u32::from_be_bytes);
            }
            MORE_FLAGS => {
                let [a, b, c, d, e, f] = field(option, 2).unwrap_or_default();
                record.more_flags = u64::from_be_bytes([a, b, c, d, e, f, 0, 0]);
            }
            _ => {}
        }
    }
    claims.add(record);
    own.other = router;
    for (kind, option) in options {
        let announced = announced(own, kind, option, claims);
        claims.option(announced);
    }
    Ok(())
}

/// What one option announces; none if it is not right.
fn announced(own: NameRecord, kind: u8, option: &[u8], claims: &mut Claims) -> Option<()> {
    let mut record = own;
    let lifetime = || field(option, 4).map(u32::from_be_bytes);
    match kind {
        // RFC 4861, 4.6.2.
        PREFIX => {
            let [length, flags] = fixed(option, 32, 2)?;
            record.kind = NameKind::RouterPrefix;
            (record.prefix, record.flags) = (length, flags);
            record.lifetime = lifetime()?;
            record.preferred = u32::from_be_bytes(field(option, 8)?);
            record.address = Ipv6Addr::from(field::<16>(option, 16)?);
        }
        // RFC 4191, 2.3: the prefix is as long as it needs to be.
        ROUTE => {
            let [length, flags] = field(option, 2)?;
            let given = option.get(8..)?;
            if given.len() > 16 || usize::from(length).div_ceil(8) > given.len() {
                return None;
            }
            let mut prefix = [0; 16];
            prefix[..given.len()].copy_from_slice(given);
            record.kind = NameKind::RouterRoute;
            (record.prefix, record.flags) = (length, flags);
            record.lifetime = lifetime()?;
            record.address = prefix.into();
        }
        // RFC 8106, 5.1.
        DNS => {
            (record.kind, record.lifetime) = (NameKind::RouterDns, lifetime()?);
            let (servers, rest) = option.get(8..)?.as_chunks::<16>();
            for server in servers {
                claims.add_of(EACH, NameRecord { address: Ipv6Addr::from(*server), ..record });
            }
            return (!servers.is_empty() && rest.is_empty()).then_some(());
        }
        // RFC 8106, 5.2: names, and zero bytes behind them.
        DOMAINS => {
            (record.kind, record.lifetime) = (NameKind::RouterDomain, lifetime()?);
            let mut at = 8;
            while option.get(at).is_some_and(|length| *length > 0) {
                let name;
                (name, at) = labels(option, at)?;
                let mut record = record;
                claims.long(&mut record, &name);
                if !claims.add_of(FEW, record) {
                    break; // no work for what is not kept
                }
            }
            return Some(());
        }
        // RFC 8910, 2.3.
        PORTAL => {
            record.kind = NameKind::RouterPortal;
            claims.long(&mut record, until_zero(option.get(2..)?));
            claims.add_of(1, record);
            return Some(());
        }
        // RFC 8781, 4: a lifetime in units of 8 seconds, and which of six lengths the prefix has.
        NAT64 => {
            let scaled = u16::from_be_bytes(fixed(option, 16, 2)?);
            let length = [96, 64, 56, 48, 40, 32].get(usize::from(scaled & 7))?;
            let mut prefix = [0; 16];
            prefix[..12].copy_from_slice(&field::<12>(option, 4)?);
            record.kind = NameKind::RouterNat64;
            record.prefix = *length;
            record.lifetime = u32::from(scaled & !7);
            record.address = prefix.into();
        }
        _ => return Some(()),
    }
    if record.prefix > 128 {
        return None;
    }
    claims.add_of(if kind == NAT64 { FEW } else { EACH }, record);
    Some(())
}

/// RFC 4861, 6.1.1.
fn solicitation(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let options = options(bytes, 8)?;
    let source = message.packet.source;
    let mut record = message.record(NameKind::RouterSolicitation);
    let names_a_mac = options.clone().any(|(kind, _)| kind == SOURCE_ADDRESS);
    if source.is_multicast() || (source.is_unspecified() && names_a_mac) {
        return Err(NameCounter::SourceAddress);
    }
    link_layer_address(options, &mut record, claims);
    record.address = source;
    claims.add(record);
    Ok(())
}

/// RFC 4861, 8.1.
fn redirect(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let source = message.packet.source;
    if !source.is_unicast_link_local() {
        return Err(NameCounter::SourceAddress);
    }
    let [target, destination] = [take::<16>(bytes, 8)?, take::<16>(bytes, 24)?].map(Ipv6Addr::from);
    let mut options = options(bytes, 40)?;
    if destination.is_multicast() {
        return Err(NameCounter::Address);
    }
    if !target.is_unicast_link_local() && target != destination {
        return Err(NameCounter::RedirectTarget);
    }
    let mut record = message.record(NameKind::Redirect);
    (record.address, record.other, record.relay) = (target, destination, source);
    if let Some((_, option)) = options.find(|(kind, _)| *kind == TARGET_ADDRESS) {
        record.target = claims.option(fixed(option, 8, 2)).map_or(MacAddr::ZERO, MacAddr::new);
    }
    claims.add(record);
    Ok(())
}

/// Type and bytes of each option from this place on. All must have a length, and end in the message (RFC 4861, 4.6).
fn options(
    bytes: &[u8],
    at: usize,
) -> Result<impl Iterator<Item = (u8, &[u8])> + Clone, NameCounter> {
    let options = bytes.get(at..).ok_or(NameCounter::Truncated)?;
    let mut rest = options;
    while !rest.is_empty() {
        let is_zero = rest.get(1) == Some(&0);
        (_, rest) = split(rest).ok_or(match is_zero {
            true => NameCounter::OptionLength,
            false => NameCounter::Truncated,
        })?;
    }
    let mut rest = options;
    Ok(std::iter::from_fn(move || {
        let option;
        (option, rest) = split(rest)?;
        Some((option[0], option))
    }))
}

/// The first option, and the rest.
fn split(options: &[u8]) -> Option<(&[u8], &[u8])> {
    let units = *options.get(1).filter(|units| **units > 0)?;
    options.split_at_checked(usize::from(units) * 8)
}

/// Stores the MAC of the first option that has one, if a device can have it (RFC 2464, 6).
fn link_layer_address<'a>(
    mut options: impl Iterator<Item = (u8, &'a [u8])>,
    record: &mut NameRecord,
    claims: &mut Claims,
) {
    if let Some((_, option)) = options.find(|(kind, _)| *kind == SOURCE_ADDRESS) {
        let mac = fixed(option, 8, 2).map(MacAddr::new).filter(|mac| is_device(*mac));
        if let Some(mac) = claims.option(mac) {
            record.mac = mac;
            record.marks.set(NameMarks::MAC_OF_OPTION);
        }
    }
}

/// A field of an option that has one length only.
fn fixed<const N: usize>(option: &[u8], length: usize, at: usize) -> Option<[u8; N]> {
    if option.len() == length { field(option, at) } else { None }
}
