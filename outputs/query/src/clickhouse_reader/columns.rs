//! The columns of a row of the server, and conditions on them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aw_clickhouse::Row;
use shm_layout::{MacAddr, UnixTime};

use crate::history_reader::{Network, NetworkIndex, TimeRange, parse_mac};

/// The columns of a network, in the order that [`network`] expects.
pub const NETWORK: &str = "host, ring, interface, vlan, outer_vlan, router";
/// Those of a pairing, in the order that [`pairing`] expects.
pub const PAIRING: &str = "host, ring, interface, vlan, outer_vlan, router, mac, frame_source";
/// What identifies an event.
pub const IDENTITY: &str = "host, ring, generation, sequence";
/// The origins of IPv6. A v4-mapped address in one of their messages stays IPv6.
pub const V6_ORIGINS: &str = "3, 4, 5, 7, 8, 9, 10, 11, 13, 15, 17";

/// Columns of sightings, and which rows are meant.
#[derive(Clone, Copy)]
pub struct SeenSource<'a> {
    pub columns: &'a str,
    pub condition: &'a str,
}

/// Reads the columns of [`NETWORK`].
pub fn network(row: &mut Row) -> io::Result<Network> {
    let (host, ring, interface) = (row.text()?, row.text()?, row.text()?);
    let (vlan, outer_vlan) = (row.uint16()?.into(), row.uint16()?.into());
    let router = router(row.uint32()?);
    Ok(Network { host, ring, interface, vlan, outer_vlan, router })
}

/// The address of a router; empty if there is none.
pub fn router(number: u32) -> String {
    match number {
        0 => String::new(),
        number => Ipv4Addr::from(number).to_string(),
    }
}

/// Reads the columns of [`PAIRING`]: the network, the MAC, and the MAC that sent the frames if it is another one; None if the MAC is none.
pub fn pairing(
    networks: &mut NetworkIndex,
    row: &mut Row,
) -> io::Result<Option<(usize, MacAddr, Option<MacAddr>)>> {
    let network = network(row)?;
    let (mac, source) = (mac(row.uint64()?), row.uint64()?);
    let source = Some(source).filter(|source| *source > 0).and_then(self::mac);
    Ok(mac.map(|mac| (networks.id(network), mac, source)))
}

fn mac(number: u64) -> Option<MacAddr> {
    i64::try_from(number).ok().and_then(parse_mac)
}

/// Whether an origin is one of IPv6.
pub fn is_v6_origin(origin: u8) -> bool {
    V6_ORIGINS.split(", ").any(|number| number.parse() == Ok(origin))
}

/// The address of 16 bytes, of a message of IPv6 or not.
pub fn ip_of(bytes: [u8; 16], is_v6: bool) -> IpAddr {
    let address = Ipv6Addr::from(bytes);
    match address.to_ipv4_mapped() {
        Some(v4) if !is_v6 => v4.into(),
        _ => address.into(),
    }
}

/// The bytes of an address as the tables have them, as an expression.
pub fn bytes_of(ip: IpAddr) -> String {
    let address = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    format!("unhex('{:032x}')", u128::from(address))
}

/// The condition that a row is of this address.
pub fn is_address(ip: IpAddr) -> String {
    let bytes = bytes_of(ip);
    match ip {
        IpAddr::V4(_) => format!("ip IN ({bytes}) AND origin NOT IN ({V6_ORIGINS})"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            format!("ip IN ({bytes}) AND origin IN ({V6_ORIGINS})")
        }
        IpAddr::V6(_) => format!("ip IN ({bytes})"),
    }
}

/// The condition that a row is of this network. The router of one that is none is no address.
pub fn of_network(network: &Network) -> String {
    let Network { host, ring, interface, vlan, outer_vlan, router } = network;
    let [host, ring, interface] = [host, ring, interface].map(quoted);
    let router = router.parse::<Ipv4Addr>().map_or(0, u32::from);
    format!(
        "host = {host} AND ring = {ring} AND interface = {interface}
            AND vlan = {vlan} AND outer_vlan = {outer_vlan} AND router = {router}"
    )
}

/// A text as an expression. All bytes are hexadecimal: no server reads a text in another way.
pub fn quoted(text: impl AsRef<str>) -> String {
    let hex: String = text.as_ref().bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("unhex('{hex}')")
}

/// A condition on a time, to be added to others.
pub fn times(column: &str, range: TimeRange) -> String {
    let mut text = String::new();
    if range.from > TimeRange::ALL.from {
        text += &format!(" AND {column} >= {}", range.from.as_nanos());
    }
    if range.to < TimeRange::ALL.to {
        text += &format!(" AND {column} < {}", range.to.as_nanos());
    }
    text
}

/// A configuration change.
pub struct Change {
    pub time: UnixTime,
    pub network: Network,
    pub user: String,
    pub added: u32,
    pub removed: u32,
}

/// Reads what identifies an event, and the other columns of `config_change`.
pub fn change(row: &mut Row) -> io::Result<Change> {
    let (host, ring) = (row.text()?, row.text()?);
    let (_generation, _sequence) = (row.uint64()?, row.uint64()?);
    let (time, interface) = (row.time()?, row.text()?);
    let router = router(row.uint32()?);
    let (user, added, removed) = (row.text()?, row.uint32()?, row.uint32()?);
    let network = Network { host, ring, interface, router, ..Network::default() };
    Ok(Change { time, network, user, added, removed })
}
