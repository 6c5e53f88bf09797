//! Multicast Listener Discovery (RFC 2710, 3810): where a querier is and ports are snooped, a port receives Neighbor Discovery of
//! others only for the groups of which it is a member.

use std::net::Ipv6Addr;

use shm_layout::{NameCounter, NameKind};

use super::{
    Claims,
    message::{MLD_QUERY, MLD2_REPORT, Message},
    take,
};

pub fn read(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    // RFC 3810, 6.2 and 5.1.14; a host without an address yet reports from `::` (5.2.13).
    if message.hop_limit != 1 {
        return Err(NameCounter::HopLimit);
    }
    let [kind] = take(bytes, 0)?;
    let is_query = kind == MLD_QUERY;
    let has_source =
        message.source.is_unicast_link_local() || (!is_query && message.source.is_unspecified());
    if !has_source {
        return Err(NameCounter::SourceAddress);
    }
    let mut record =
        message.record(if is_query { NameKind::MldQuery } else { NameKind::MldReport });
    record.address = message.source;
    // Of a report of version 2, the first of its groups.
    let group = match kind {
        MLD2_REPORT => {
            record.number = u16::from_be_bytes(take(bytes, 6)?).into();
            if record.number == 0 {
                return Ok(());
            }
            take::<16>(bytes, 12)?
        }
        _ => take::<16>(bytes, 8)?,
    };
    record.other = Ipv6Addr::from(group);
    let is_general = is_query && record.other.is_unspecified();
    if !is_general && !record.other.is_multicast() {
        return Err(NameCounter::Address);
    }
    claims.add(record);
    Ok(())
}
