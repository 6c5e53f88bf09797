//! Router Advertisement, Router Solicitation and Redirect (RFC 4861, 4191, 8106, 8781): who is a router, and what it announces.

use std::net::Ipv6Addr;

use shm_layout::{MacAddr, NameCounter, NameKind, NameRecord};

use super::{
    Claims,
    message::{Message, REDIRECT, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION},
    take,
};

/// Options of Neighbor Discovery.
const SOURCE_ADDRESS: u8 = 1;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const ROUTE: u8 = 24;
const DNS: u8 = 25;
const NAT64: u8 = 38;

pub fn read(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    // Sent on this link, and by no router on (RFC 4861, 6.1 and 8.1).
    if message.hop_limit != 255 {
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

/// RFC 4861, 6.1.2.
fn advertisement(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let router = message.source;
    if !router.is_unicast_link_local() {
        return Err(NameCounter::SourceAddress);
    }
    let [hops, flags, life0, life1] = take(bytes, 4)?;
    let [reachable, retransmit] = [take(bytes, 8)?, take(bytes, 12)?].map(u32::from_be_bytes);
    let options = bytes.get(16..).ok_or(NameCounter::Truncated)?;
    each(options, |_, _| Ok(()))?; // all are checked before the first one is a record
    let mut own = message.record(NameKind::Router);
    own.mac = source_address(options)?.unwrap_or(message.sender);
    let mut record = own;
    record.address = router;
    (record.hops, record.flags) = (hops, flags);
    record.lifetime = u16::from_be_bytes([life0, life1]).into();
    (record.preferred, record.id) = (reachable, retransmit.into());
    each(options, |kind, option| {
        if kind == MTU {
            record.number = u32::from_be_bytes(fixed(option, 8, 4)?);
        }
        Ok(())
    })?;
    claims.add(record);
    own.other = router;
    each(options, |kind, option| announced(own, kind, option, claims))
}

/// What one option announces.
fn announced(
    own: NameRecord,
    kind: u8,
    option: &[u8],
    claims: &mut Claims,
) -> Result<(), NameCounter> {
    let mut record = own;
    match kind {
        // RFC 4861, 4.6.2.
        PREFIX => {
            let [length, flags] = fixed(option, 32, 2)?;
            record.kind = NameKind::RouterPrefix;
            (record.prefix, record.flags) = (length, flags);
            record.lifetime = u32::from_be_bytes(fixed(option, 32, 4)?);
            record.preferred = u32::from_be_bytes(fixed(option, 32, 8)?);
            record.address = Ipv6Addr::from(fixed::<16>(option, 32, 16)?);
        }
        // RFC 4191, 2.3: the prefix is as long as it needs to be.
        ROUTE => {
            let [length, flags] = take(option, 2)?;
            let given = &option[8.min(option.len())..];
            if given.len() > 16 || usize::from(length).div_ceil(8) > given.len() {
                return Err(NameCounter::OptionLength);
            }
            let mut prefix = [0; 16];
            prefix[..given.len()].copy_from_slice(given);
            record.kind = NameKind::RouterRoute;
            (record.prefix, record.flags) = (length, flags);
            record.lifetime = u32::from_be_bytes(take(option, 4)?);
            record.address = prefix.into();
        }
        // RFC 8106, 5.1.
        DNS => {
            record.kind = NameKind::RouterDns;
            record.lifetime = u32::from_be_bytes(take(option, 4)?);
            let (servers, rest) = option[8.min(option.len())..].as_chunks::<16>();
            if servers.is_empty() || !rest.is_empty() {
                return Err(NameCounter::OptionLength);
            }
            for server in servers {
                claims.add(NameRecord { address: Ipv6Addr::from(*server), ..record });
            }
            return Ok(());
        }
        // RFC 8781, 4: a lifetime in units of 8 seconds, and which of six lengths the prefix has.
        NAT64 => {
            let scaled = u16::from_be_bytes(fixed(option, 16, 2)?);
            let lengths = [96, 64, 56, 48, 40, 32];
            let length = lengths.get(usize::from(scaled & 7)).ok_or(NameCounter::OptionLength)?;
            let mut prefix = [0; 16];
            prefix[..12].copy_from_slice(&fixed::<12>(option, 16, 4)?);
            record.kind = NameKind::RouterNat64;
            record.prefix = *length;
            record.lifetime = u32::from(scaled & !7);
            record.address = prefix.into();
        }
        _ => return Ok(()),
    }
    if record.prefix > 128 {
        return Err(NameCounter::OptionLength);
    }
    claims.add(record);
    Ok(())
}

/// RFC 4861, 6.1.1.
fn solicitation(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let options = bytes.get(8..).ok_or(NameCounter::Truncated)?;
    each(options, |_, _| Ok(()))?;
    let mac = source_address(options)?;
    if message.source.is_multicast() || (message.source.is_unspecified() && mac.is_some()) {
        return Err(NameCounter::SourceAddress);
    }
    let mut record = message.record(NameKind::RouterSolicitation);
    record.mac = mac.unwrap_or(message.sender);
    record.address = message.source;
    claims.add(record);
    Ok(())
}

/// RFC 4861, 8.1.
fn redirect(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    if !message.source.is_unicast_link_local() {
        return Err(NameCounter::SourceAddress);
    }
    let [target, destination] = [take::<16>(bytes, 8)?, take::<16>(bytes, 24)?].map(Ipv6Addr::from);
    each(&bytes[40..], |_, _| Ok(()))?;
    if destination.is_multicast() {
        return Err(NameCounter::Address);
    }
    if !target.is_unicast_link_local() && target != destination {
        return Err(NameCounter::RedirectTarget);
    }
    let mut record = message.record(NameKind::Redirect);
    (record.address, record.other, record.relay) = (target, destination, message.source);
    claims.add(record);
    Ok(())
}

/// Calls a function with the type and the bytes of each option. All must have a length (RFC 4861, 4.6).
fn each<'a>(
    mut options: &'a [u8],
    mut read: impl FnMut(u8, &'a [u8]) -> Result<(), NameCounter>,
) -> Result<(), NameCounter> {
    while let [kind, units, ..] = options {
        let (option, rest) = match usize::from(*units) * 8 {
            0 => return Err(NameCounter::OptionLength),
            length => options.split_at_checked(length).ok_or(NameCounter::Truncated)?,
        };
        read(*kind, option)?;
        options = rest;
    }
    if options.is_empty() { Ok(()) } else { Err(NameCounter::Truncated) }
}

/// The sender's MAC, of the first option that has one (RFC 2464, 6).
fn source_address(options: &[u8]) -> Result<Option<MacAddr>, NameCounter> {
    let mut found = None;
    each(options, |kind, option| {
        if kind == SOURCE_ADDRESS && found.is_none() {
            found = Some(MacAddr::new(fixed(option, 8, 2)?));
        }
        Ok(())
    })?;
    Ok(found)
}

/// A field of an option that has one length only.
fn fixed<const N: usize>(option: &[u8], length: usize, at: usize) -> Result<[u8; N], NameCounter> {
    match option.len() == length {
        true => take(option, at),
        false => Err(NameCounter::OptionLength),
    }
}
