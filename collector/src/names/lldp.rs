//! LLDP (IEEE 802.1AB): a switch announces itself and the port, phones and access points do, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shm_layout::{MacAddr, NameCounter, NameKind, NameMarks, NameText};

use super::{
    Claims, field, hex, is_device,
    message::{Message, is_host},
    take,
};

/// Types of fields.
const END: u8 = 0;
const CHASSIS: u8 = 1;
const PORT: u8 = 2;
const LIFETIME: u8 = 3;
const PORT_DESCRIPTION: u8 = 4;
const SYSTEM_NAME: u8 = 5;
const CAPABILITIES: u8 = 7;
const ADDRESS: u8 = 8;

pub fn read(message: &Message, bytes: &[u8], claims: &mut Claims) -> Result<(), NameCounter> {
    let mut record = message.record(NameKind::Lldp);
    let (mut chassis, mut port, mut name, mut description) = (&[][..], &[][..], &[][..], &[][..]);
    let mut rest = bytes;
    for place in 1.. {
        let [head, low, after @ ..] = rest else { return Err(NameCounter::Truncated) };
        let (kind, length) = (head >> 1, usize::from(head & 1) << 8 | usize::from(*low));
        let (value, after) = after.split_at_checked(length).ok_or(NameCounter::Truncated)?;
        // The first three are there, in this order, and once (IEEE 802.1AB, 8.2).
        let mandatory = (CHASSIS..=LIFETIME).contains(&kind);
        if mandatory != (place <= LIFETIME.into()) || (mandatory && place != i32::from(kind)) {
            return Err(NameCounter::LldpForm);
        }
        match kind {
            END => break,
            CHASSIS => chassis = value,
            PORT => port = value,
            LIFETIME => record.lifetime = u16::from_be_bytes(take(value, 0)?).into(), // 0: it goes away
            PORT_DESCRIPTION => description = value,
            SYSTEM_NAME => name = value,
            CAPABILITIES => {
                record.number = claims.option(field(value, 0)).map_or(0, u32::from_be_bytes);
            }
            ADDRESS if record.address.is_unspecified() => {
                record.address = claims.option(address(value)).unwrap_or(record.address);
            }
            _ => {}
        }
        rest = after;
    }
    let (&chassis_kind, chassis) = chassis.split_first().ok_or(NameCounter::LldpForm)?;
    let (&port_kind, port) = port.split_first().ok_or(NameCounter::LldpForm)?;
    if chassis_kind == 4
        && let Ok(mac) = chassis.try_into()
        && is_device(MacAddr::new(mac))
    {
        record.target = MacAddr::new(mac);
        record.mac = record.target;
        record.marks.set_if(record.mac != record.sender, NameMarks::MAC_OF_OPTION);
    }
    record.third = identifier(chassis, chassis_kind == 4, claims);
    match name.is_empty() {
        false => claims.name(&mut record, name),
        true => record.name = record.third,
    }
    record.circuit = identifier(port, port_kind == 3, claims);
    claims.detail(&mut record, description);
    claims.add(record);
    Ok(())
}

/// The identifier of a chassis or port: a MAC or a text.
fn identifier(value: &[u8], is_mac: bool, claims: &mut Claims) -> NameText {
    match <[u8; 6]>::try_from(value) {
        Ok(mac) if is_mac => NameText::cut(&MacAddr::new(mac).to_string()),
        // A network address, or what only the maker knows.
        _ if str::from_utf8(value).is_err() || value.contains(&0) => hex("", value),
        _ => claims.text(value).0,
    }
}

/// A management address (IEEE 802.1AB, 8.5.9); none if it is of another family, or no host's.
fn address(value: &[u8]) -> Option<Ipv6Addr> {
    let (length, rest) = value.split_first()?;
    let address = rest.get(..usize::from(*length))?;
    let ip = match address {
        [1, v4 @ ..] => <[u8; 4]>::try_from(v4).ok().map(|v4| IpAddr::V4(Ipv4Addr::from(v4))),
        [2, v6 @ ..] => <[u8; 16]>::try_from(v6).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6))),
        _ => None,
    };
    Some(match ip.filter(|ip| is_host(*ip)) {
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped(),
        Some(IpAddr::V6(v6)) => v6,
        None => Ipv6Addr::UNSPECIFIED,
    })
}
