//! Multicast Listener Discovery (RFC 2710, 3810): where a querier is and ports are snooped, a port receives Neighbor Discovery of
//! others only for the groups of which it is a member.

use std::net::Ipv6Addr;

use shm_layout::{NameCounter, NameKind, NameRecord};

use super::{
    Claims,
    message::{MLD_DONE, MLD_QUERY, MLD2_REPORT, Message},
    take,
};

/// Types of a report's records (RFC 3810, 5.2.12).
const IS_INCLUDE: u8 = 1;
const TO_INCLUDE: u8 = 3;
const BLOCK: u8 = 6;

pub fn read(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    // RFC 3810, 6.2 and 5.1.14; a host without an address yet reports from `::` (5.2.13).
    if message.packet.hop_limit != 1 {
        return Err(NameCounter::HopLimit);
    }
    let [kind] = take(bytes, 0)?;
    let is_query = kind == MLD_QUERY;
    let source = message.packet.source;
    if !source.is_unicast_link_local() && (is_query || !source.is_unspecified()) {
        return Err(NameCounter::SourceAddress);
    }
    let mut record = message.record(match kind {
        MLD_QUERY => NameKind::MldQuery,
        MLD_DONE => NameKind::MldDone,
        _ => NameKind::MldReport,
    });
    record.address = source;
    // A query of version 2 is longer (RFC 3810, 8.1).
    record.version = if kind == MLD2_REPORT || (is_query && bytes.len() >= 28) { 2 } else { 1 };
    if kind == MLD2_REPORT {
        record.number = u16::from_be_bytes(take(bytes, 6)?).into();
        return reported(record, bytes, claims);
    }
    record.other = Ipv6Addr::from(take::<16>(bytes, 8)?);
    let is_general = is_query && record.other.is_unspecified();
    if !is_general && !record.other.is_multicast() {
        return Err(NameCounter::Address);
    }
    claims.add(record);
    Ok(())
}

/// Each group of a report of version 2.
fn reported(own: NameRecord, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let mut at = 8;
    for _ in 0..own.number {
        let [kind, auxiliary, s0, s1] = take(bytes, at)?;
        let sources = usize::from(u16::from_be_bytes([s0, s1]));
        let group = Ipv6Addr::from(take::<16>(bytes, at + 4)?);
        at += 20 + sources * 16 + usize::from(auxiliary) * 4;
        if at > bytes.len() {
            return Err(NameCounter::Truncated);
        }
        if !group.is_multicast() {
            return Err(NameCounter::Address);
        }
        let leaves = kind == BLOCK || (sources == 0 && [IS_INCLUDE, TO_INCLUDE].contains(&kind));
        let kind = if leaves { NameKind::MldDone } else { NameKind::MldReport };
        claims.add(NameRecord { kind, other: group, ..own });
    }
    Ok(())
}
