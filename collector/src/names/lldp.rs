//! LLDP (IEEE 802.1AB): a switch announces itself and the port, phones and access points do, too.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use shm_layout::{MacAddr, NameCounter, NameKind, NameText};

use super::{
    Claims, is_device,
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
            LIFETIME => record.lifetime = u16::from_be_bytes(take(value, 0)?).into(),
            PORT_DESCRIPTION => description = value,
            SYSTEM_NAME => name = value,
            CAPABILITIES => record.number = u32::from_be_bytes(take(value, 0)?),
            ADDRESS if record.address.is_unspecified() => record.address = address(value)?,
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
        record.mac = MacAddr::new(mac);
    }
    record.name = match name.is_empty() {
        false => claims.text(name),
        true => identifier(chassis, chassis_kind == 4, claims),
    };
    let port = identifier(port, port_kind == 3, claims);
    let description = claims.text(description);
    record.detail = match (description.is_empty(), description == port) {
        (true, _) | (_, true) => port,
        _ => NameText::cut(&format!("{port} ({description})")),
    };
    claims.add(record);
    Ok(())
}

/// The identifier of a chassis or port: a MAC or a text.
fn identifier(value: &[u8], is_mac: bool, claims: &mut Claims) -> NameText {
    match <[u8; 6]>::try_from(value) {
        Ok(mac) if is_mac => NameText::cut(&MacAddr::new(mac).to_string()),
        // A network address, or what only the maker knows.
        _ if str::from_utf8(value).is_err() || value.contains(&0) => {
            let mut text = String::new();
            value.iter().take(31).for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
            NameText::cut(&text)
        }
        _ => claims.text(value),
    }
}

/// A management address (IEEE 802.1AB, 8.5.9); none if it is of another family, or no host's.
fn address(value: &[u8]) -> Result<Ipv6Addr, NameCounter> {
    let [length, rest @ ..] = value else { return Err(NameCounter::OptionLength) };
    let address = rest.get(..usize::from(*length)).ok_or(NameCounter::OptionLength)?;
    let ip = match address {
        [1, v4 @ ..] => <[u8; 4]>::try_from(v4).ok().map(|v4| IpAddr::V4(Ipv4Addr::from(v4))),
        [2, v6 @ ..] => <[u8; 16]>::try_from(v6).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6))),
        _ => None,
    };
    Ok(match ip.filter(|ip| is_host(*ip)) {
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped(),
        Some(IpAddr::V6(v6)) => v6,
        None => Ipv6Addr::UNSPECIFIED,
    })
}
