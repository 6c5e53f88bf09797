//! DHCP for IPv4 (RFC 2131, 2132): who has which address from which server. Only an acknowledgement pairs; a request is a claim.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shm_layout::{MacAddr, NameCounter, NameKind, NameText, Origin};

use super::{
    Claims, hash, is_device,
    message::{DHCP_CLIENT, DHCP_SERVER, Message, is_host},
    take,
};

/// The first bytes of the options (RFC 2131, 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Most servers and routers that are read from one message.
const MOST: usize = 4;

/// The options that are read (RFC 2132).
#[derive(Default)]
struct Options<'a> {
    routers: &'a [u8],
    servers: &'a [u8],
    host_name: &'a [u8],
    requested: Option<Ipv4Addr>,
    lease: Option<u32>,
    overload: Option<u8>,
    kind: Option<u8>,
    server: Option<Ipv4Addr>,
    vendor: &'a [u8],
    client: &'a [u8],
    /// RFC 4702.
    full_name: &'a [u8],
}

pub fn read(
    message: &Message,
    port: u16,
    bytes: &[u8],
    claims: &mut Claims,
) -> Result<(), NameCounter> {
    let ([operation, hardware, length, _], _) =
        bytes.split_first_chunk().ok_or(NameCounter::Truncated)?;
    if *hardware != 1 || *length != 6 {
        return Err(NameCounter::DhcpForm);
    }
    let [client, your, relay] = [12, 16, 24].map(|at| take::<4>(bytes, at).map(Ipv4Addr::from));
    let (client, your, relay) = (client?, your?, relay?);
    let (transaction, mac) = (take::<4>(bytes, 4)?, MacAddr::new(take(bytes, 28)?));
    let (name_field, file_field) = (take::<64>(bytes, 44)?, take::<128>(bytes, 108)?);
    if take::<4>(bytes, 236)? != COOKIE {
        return Err(NameCounter::DhcpForm);
    }
    let mut options = Options::default();
    options.read(&bytes[240..])?;
    // The fields of the boot file's name and the server's name may have further options (RFC 2132, 9.3).
    let overload = options.overload.unwrap_or(0);
    if overload & 1 != 0 {
        options.read(&file_field)?;
    }
    if overload & 2 != 0 {
        options.read(&name_field)?;
    }
    let kind = options.kind.ok_or(NameCounter::DhcpType)?;
    let kind = (1..=8).contains(&kind).then(|| NameKind::from_number(kind)).flatten();
    let kind = kind.ok_or(NameCounter::DhcpType)?;
    let is_answer = matches!(kind, NameKind::DhcpOffer | NameKind::DhcpAck | NameKind::DhcpNak);
    match (operation, is_answer) {
        (1, false) | (2, true) => {}
        (1 | 2, _) => return Err(NameCounter::DhcpType),
        _ => return Err(NameCounter::DhcpForm),
    }
    // A server answers a relay at the servers' port (RFC 2131, 4.1).
    match (is_answer, port) {
        (false, DHCP_SERVER) | (true, DHCP_CLIENT) => {}
        (true, DHCP_SERVER) if !relay.is_unspecified() => {}
        _ => return Err(NameCounter::DhcpPort),
    }
    if !is_device(mac) {
        return Err(NameCounter::DhcpClient);
    }
    let requested = options.requested.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let address = match kind {
        NameKind::DhcpAck if your.is_unspecified() => client, // answers a host that has an address
        NameKind::DhcpOffer | NameKind::DhcpAck => your,
        NameKind::DhcpRequest if requested.is_unspecified() => client, // renews
        NameKind::DhcpDiscover | NameKind::DhcpRequest | NameKind::DhcpDecline => requested,
        NameKind::DhcpNak => Ipv4Addr::UNSPECIFIED,
        _ => client,
    };
    let must_have = matches!(kind, NameKind::DhcpOffer | NameKind::DhcpDecline);
    if must_have || !address.is_unspecified() {
        host(address)?;
    }
    let own = message.record(kind);
    let mut record = own;
    record.mac = mac;
    record.address = mapped(address);
    // Some programs name 255.255.255.255 as the server: that is none.
    let server = options.server.filter(|server| is_host(IpAddr::V4(*server)));
    record.other = server.map_or(Ipv6Addr::UNSPECIFIED, mapped);
    record.relay = mapped(relay);
    record.lifetime = options.lease.unwrap_or(0);
    record.number = u32::from_be_bytes(transaction);
    if !options.client.is_empty() {
        record.id = hash(options.client);
    }
    record.name = claims.text(until_zero(options.host_name));
    if record.name.is_empty() {
        record.name = full_name(options.full_name, claims)?;
    }
    record.detail = claims.text(until_zero(options.vendor));
    claims.add(record);
    if kind == NameKind::DhcpAck && !your.is_unspecified() {
        claims.pair(&record, Origin::DhcpAck);
    }
    if matches!(kind, NameKind::DhcpOffer | NameKind::DhcpAck) {
        let named = [(NameKind::DhcpRouter, options.routers), (NameKind::DhcpDns, options.servers)];
        for (kind, addresses) in named {
            let hosts = addresses.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets));
            for address in hosts.filter(|address| is_host(IpAddr::V4(*address))).take(MOST) {
                let (address, other, relay) = (mapped(address), record.other, record.relay);
                claims.add(shm_layout::NameRecord { kind, address, other, relay, ..own });
            }
        }
    }
    Ok(())
}

impl<'a> Options<'a> {
    /// Reads options up to their end (RFC 2132, 2). Of a text, or a list of addresses, that is in several parts, the first one
    /// is read (RFC 3396); a second value of any other is refused, because hosts differ in which one they take.
    fn read(&mut self, mut bytes: &'a [u8]) -> Result<(), NameCounter> {
        while let [code, rest @ ..] = bytes {
            bytes = match (code, rest) {
                (0, _) => rest,
                (255, _) => return Ok(()),
                (code, [length, rest @ ..]) => {
                    let (value, rest) = rest
                        .split_at_checked(usize::from(*length))
                        .ok_or(NameCounter::Truncated)?;
                    self.take(*code, value)?;
                    rest
                }
                _ => return Err(NameCounter::Truncated),
            };
        }
        Ok(())
    }

    fn take(&mut self, code: u8, value: &'a [u8]) -> Result<(), NameCounter> {
        match code {
            3 => first(&mut self.routers, addresses(value)?),
            6 => first(&mut self.servers, addresses(value)?),
            12 => first(&mut self.host_name, value),
            50 => once(&mut self.requested, value, |value: [u8; 4]| value.into())?,
            51 => once(&mut self.lease, value, u32::from_be_bytes)?,
            52 => once(&mut self.overload, value, |[value]: [u8; 1]| value)?,
            53 => once(&mut self.kind, value, |[value]: [u8; 1]| value)?,
            54 => once(&mut self.server, value, |value: [u8; 4]| value.into())?,
            60 => first(&mut self.vendor, value),
            61 => first(&mut self.client, value),
            81 => first(&mut self.full_name, value),
            _ => {}
        }
        Ok(())
    }
}

fn first<'a>(to: &mut &'a [u8], value: &'a [u8]) {
    if to.is_empty() {
        *to = value;
    }
}

fn once<T, const N: usize>(
    to: &mut Option<T>,
    value: &[u8],
    read: impl FnOnce([u8; N]) -> T,
) -> Result<(), NameCounter> {
    let value = value.try_into().map_err(|_| NameCounter::OptionLength)?;
    match to.replace(read(value)) {
        None => Ok(()),
        Some(_) => Err(NameCounter::OptionLength),
    }
}

fn addresses(value: &[u8]) -> Result<&[u8], NameCounter> {
    match value.len() {
        0 => Err(NameCounter::OptionLength),
        length if length % 4 != 0 => Err(NameCounter::OptionLength),
        _ => Ok(value),
    }
}

/// RFC 4702, 2: flags, two bytes that are not used, and a name in DNS's form or, from older clients, as text.
fn full_name(option: &[u8], claims: &mut Claims) -> Result<NameText, NameCounter> {
    let [flags, _, _, name @ ..] = option else { return Ok(NameText::EMPTY) };
    if flags & 4 == 0 {
        return Ok(claims.text(until_zero(name)));
    }
    let (mut text, mut rest) = (Vec::new(), name);
    // It need not end in an empty label.
    while let [length @ 1..=255, after @ ..] = rest {
        let (label, after) =
            after.split_at_checked(usize::from(*length)).ok_or(NameCounter::Truncated)?;
        if !text.is_empty() {
            text.push(b'.');
        }
        text.extend(label);
        rest = after;
    }
    Ok(claims.text(&text))
}

/// Texts should not end in zero bytes, and some clients add one (RFC 2132, 2).
fn until_zero(text: &[u8]) -> &[u8] {
    let length = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    &text[..length]
}

fn host(address: Ipv4Addr) -> Result<(), NameCounter> {
    if is_host(IpAddr::V4(address)) { Ok(()) } else { Err(NameCounter::Address) }
}

/// As a record has it; `0.0.0.0` is none.
fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    match address.is_unspecified() {
        true => Ipv6Addr::UNSPECIFIED,
        false => address.to_ipv6_mapped(),
    }
}
