//! DHCP for IPv4 (RFC 2131, 2132): who has which address from which server. Only an acknowledgement pairs; a request is a claim.
//!
//! Clients leave out an option that they cannot read, and use the rest. So does this: a sender cannot hide behind a broken option.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use shm_layout::{MacAddr, NameCounter, NameKind, NameMarks, NameRecord, Origin};

use super::{
    Claims, DnsName, NAME, hex, is_device, labels,
    message::{BOOT_REPLY, DHCP_CLIENT, DHCP_SERVER, Message, is_host},
    port as port_text, take, until_zero,
};

/// The first bytes of the options (RFC 2131, 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Most claims of one kind that are read from one message.
const EACH: usize = 4;
const MOST_ROUTES: usize = 12;

// Options of RFC 2132 and what is named with them.
const MASK: u8 = 1;
const ROUTERS: u8 = 3;
const DNS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN: u8 = 15;
const REQUESTED: u8 = 50;
const LEASE: u8 = 51;
const OVERLOAD: u8 = 52;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const RENEW: u8 = 58;
const REBIND: u8 = 59;
const VENDOR: u8 = 60;
const CLIENT: u8 = 61;
const BOOT_SERVER: u8 = 66;
const BOOT_FILE: u8 = 67;
/// RFC 4702.
const FULL_NAME: u8 = 81;
/// RFC 3046.
const RELAY: u8 = 82;
/// RFC 8910.
const PORTAL: u8 = 114;
/// RFC 3397.
const SEARCH: u8 = 119;
/// RFC 3442, and the number that Windows uses.
const ROUTES: [u8; 2] = [121, 249];
const PROXY: u8 = 252;

pub fn read(
    message: &Message,
    port: u16,
    bytes: &[u8],
    claims: &mut Claims,
) -> Result<(), NameCounter> {
    let [operation, hardware, length, _] = take(bytes, 0)?;
    let is_answer = operation == BOOT_REPLY;
    let is_ethernet = (hardware, length) == (1, 6);
    // Of an answer, clients compare only what they have sent themselves.
    if !is_ethernet && !is_answer {
        return Err(NameCounter::DhcpForm);
    }
    let [client, your, next, relay] =
        [12, 16, 20, 24].map(|at| take::<4>(bytes, at).map(Ipv4Addr::from));
    let (client, your, next, relay) = (client?, your?, next?, relay?);
    let (transaction, mac) = (take::<4>(bytes, 4)?, MacAddr::new(take(bytes, 28)?));
    let (name_field, file_field) = (take::<64>(bytes, 44)?, take::<128>(bytes, 108)?);
    if take::<4>(bytes, 236)? != COOKIE {
        return Err(NameCounter::DhcpForm);
    }
    let mut options = Options::new();
    options.read(&bytes[240..]);
    // The fields of the boot file's name and the server's name may have further options (RFC 2132, 9.3).
    let [overload] = options.fixed(OVERLOAD, claims).unwrap_or_default();
    if overload & 1 != 0 {
        options.read(&file_field);
    }
    if overload & 2 != 0 {
        options.read(&name_field);
    }
    claims.option((!options.is_cut).then_some(()));
    claims.option((is_ethernet).then_some(()));
    let [kind] = options.fixed(KIND, claims).ok_or(NameCounter::DhcpType)?;
    let kind = (1..=8).contains(&kind).then(|| NameKind::from_number(kind)).flatten();
    let kind = kind.ok_or(NameCounter::DhcpType)?;
    let may_answer = matches!(kind, NameKind::DhcpOffer | NameKind::DhcpAck | NameKind::DhcpNak);
    match (operation, may_answer) {
        (1, false) | (BOOT_REPLY, true) => {}
        (1 | BOOT_REPLY, _) => return Err(NameCounter::DhcpType),
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
    if is_answer && !is_of_link(message, port, mac, [client, your], relay) {
        return Err(NameCounter::DhcpLink);
    }
    let requested = options.fixed(REQUESTED, claims).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from);
    let address = match kind {
        NameKind::DhcpAck if your.is_unspecified() => client, // answers a host that has an address
        NameKind::DhcpOffer | NameKind::DhcpAck => your,      // none: a server of boot files only
        NameKind::DhcpRequest if requested.is_unspecified() => client, // renews
        NameKind::DhcpDiscover | NameKind::DhcpRequest | NameKind::DhcpDecline => requested,
        NameKind::DhcpNak => Ipv4Addr::UNSPECIFIED,
        _ => client,
    };
    let must_have = kind == NameKind::DhcpDecline;
    if (must_have || !address.is_unspecified()) && !is_host(IpAddr::V4(address)) {
        return Err(NameCounter::Address);
    }
    let own = message.record(kind);
    let server = options.fixed(SERVER, claims).map(Ipv4Addr::from);
    let lease = options.fixed(LEASE, claims).map(u32::from_be_bytes);
    let own = NameRecord {
        other: server.map_or(Ipv6Addr::UNSPECIFIED, |server| server.to_ipv6_mapped()),
        relay: mapped(relay),
        number: u32::from_be_bytes(transaction),
        ..own
    };
    let mut record =
        NameRecord { mac, address: mapped(address), lifetime: lease.unwrap_or(0), ..own };
    record.more_flags = u16::from_be_bytes(take(bytes, 10)?).into();
    let [renew, rebind] =
        [RENEW, REBIND].map(|code| options.fixed(code, claims).map_or(0, u32::from_be_bytes));
    (record.renew, record.rebind) = (renew, rebind);
    if let Some(mask) = options.fixed(MASK, claims).map(u32::from_be_bytes) {
        let is_mask = mask.leading_ones() + mask.trailing_zeros() >= 32;
        record.prefix = claims.option(is_mask.then_some(mask.leading_ones() as u8)).unwrap_or(0);
    }
    record.id = claims.hash(&options.get(CLIENT));
    let full = claims.option(full_name(&options.get(FULL_NAME))).unwrap_or_default();
    let host_name = options.get(HOST_NAME);
    let host_name = until_zero(&host_name);
    let has_both = !full.is_empty() && !host_name.is_empty() && *full != *host_name;
    claims.name(&mut record, if host_name.is_empty() { &full } else { host_name });
    record.marks.set_if(host_name.is_empty() && !full.is_empty(), NameMarks::FULL_NAME);
    claims.detail(&mut record, until_zero(&options.get(VENDOR)));
    let parameters = options.get(PARAMETERS);
    record.third = hex("", &parameters);
    record.marks.set_if(parameters.len() > 31, NameMarks::THIRD_CUT);
    received_at(&options.get(RELAY), &mut record, claims);
    claims.add(record);
    if has_both {
        let mut named =
            NameRecord { kind: NameKind::DhcpFullName, mac, address: record.address, ..own };
        claims.name(&mut named, &full);
        named.marks.set(NameMarks::FULL_NAME);
        claims.add(named);
    }
    let has_server = server.is_some_and(|server| is_host(IpAddr::V4(server)));
    let is_lease = kind == NameKind::DhcpAck && !your.is_unspecified();
    // What is on its way to a relay, or in a capture without the receiver's MAC, another link's host can send with any MAC.
    let is_for_all = message.packet.destination == Ipv4Addr::BROADCAST.to_ipv6_mapped();
    let is_on_link = port == DHCP_CLIENT && (is_for_all || message.receiver != MacAddr::ZERO);
    // Both must be there (RFC 2131, table 3).
    if is_lease && has_server && lease.is_some() && is_ethernet && is_on_link {
        claims.pair(&record, Origin::DhcpAck);
    }
    if is_answer {
        named(own, &options, claims);
        let [field_of_file, field_of_name] = [1, 2].map(|bit| overload & bit == 0);
        let mut boot = NameRecord { kind: NameKind::DhcpBoot, address: mapped(next), ..own };
        for (code, field, is_used, is_name) in [
            (BOOT_SERVER, &name_field[..], field_of_name, true),
            (BOOT_FILE, &file_field[..], field_of_file, false),
        ] {
            let option = options.get(code);
            let text = if option.is_empty() && is_used { field } else { &option };
            match is_name {
                true => claims.name(&mut boot, until_zero(text)),
                false => claims.detail(&mut boot, until_zero(text)),
            }
        }
        let is_other = !next.is_unspecified() && Some(next) != server;
        if is_other || !boot.name.is_empty() || !boot.detail.is_empty() {
            claims.add(boot);
        }
    }
    Ok(())
}

/// Whether an answer is on its way to its client or relay, as a server on this link sends it (RFC 2131, 4.1). Another link's host can
/// send to the port of clients of any address that it reaches, but neither to all, nor choose the MAC.
fn is_of_link(
    message: &Message,
    port: u16,
    mac: MacAddr,
    client: [Ipv4Addr; 2],
    relay: Ipv4Addr,
) -> bool {
    let Some(to) = message.packet.destination.to_ipv4_mapped() else { return false };
    let is_for_client = message.receiver == mac || message.receiver.is_no_host();
    match to {
        Ipv4Addr::BROADCAST => true,
        Ipv4Addr::UNSPECIFIED => false,
        to => (port == DHCP_SERVER && to == relay) || (is_for_client && client.contains(&to)),
    }
}

/// What a server names: each is a record.
fn named(own: NameRecord, options: &Options, claims: &mut Claims) {
    let own = |kind| NameRecord { kind, ..own };
    for (kind, code) in [(NameKind::DhcpRouter, ROUTERS), (NameKind::DhcpDns, DNS)] {
        let value = options.get(code);
        let (addresses, rest) = value.as_chunks::<4>();
        let has_form = !options.has(code) || (!addresses.is_empty() && rest.is_empty());
        claims.option(has_form.then_some(()));
        for address in addresses.iter().map(|octets| Ipv4Addr::from(*octets)) {
            let host = is_host(IpAddr::V4(address)).then(|| mapped(address));
            if let Some(address) = claims.option(host) {
                claims.add_of(EACH, NameRecord { address, ..own(kind) });
            }
        }
    }
    for code in ROUTES {
        let value = options.get(code);
        let routes = routes(&value, |address, prefix, router| {
            let relay = router.to_ipv6_mapped();
            let address = address.to_ipv6_mapped();
            claims.add_of(
                MOST_ROUTES,
                NameRecord { address, prefix, relay, ..own(NameKind::DhcpRoute) },
            );
        });
        claims.option(routes);
    }
    let texts = [
        (NameKind::DhcpDomain, DOMAIN),
        (NameKind::DhcpProxy, PROXY),
        (NameKind::DhcpPortal, PORTAL),
    ];
    for (kind, code) in texts.into_iter().filter(|(_, code)| options.has(*code)) {
        let mut record = own(kind);
        claims.long(&mut record, until_zero(&options.get(code)));
        claims.add_of(EACH, record);
    }
    let (search, mut at) = (options.get(SEARCH), 0);
    while at < search.len() {
        let Some((name, next)) = claims.option(labels(&search, at)) else { break };
        at = next;
        let mut record = own(NameKind::DhcpDomain);
        claims.long(&mut record, &name);
        if !claims.add_of(EACH, record) {
            break; // no work for what is not kept
        }
    }
}

/// RFC 3442: the length of each destination, as many of its bytes as needed, and the router.
fn routes(mut value: &[u8], mut route: impl FnMut(Ipv4Addr, u8, Ipv4Addr)) -> Option<()> {
    while let [length @ 0..=32, rest @ ..] = value {
        let (significant, rest) = rest.split_at_checked(usize::from(length.div_ceil(8)))?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        let mut destination = [0; 4];
        destination[..significant.len()].copy_from_slice(significant);
        route(destination.into(), *length, (*router).into());
        value = rest;
    }
    value.is_empty().then_some(())
}

/// RFC 3046: the port that the relay or switch received the message at, and which relay it was.
fn received_at(mut option: &[u8], record: &mut NameRecord, claims: &mut Claims) {
    while let [code, length, rest @ ..] = option {
        let parts = rest.split_at_checked(usize::from(*length));
        let Some((value, rest)) = claims.option(parts) else { return };
        match code {
            1 => record.circuit = port_text(value),
            2 => record.other_id = claims.hash(value),
            _ => {}
        }
        option = rest;
    }
}

/// The options of a message.
struct Options<'a> {
    first: [Option<&'a [u8]>; 256],
    /// Further parts (RFC 3396), or second values.
    again: Vec<(usize, &'a [u8])>,
    /// The last option is longer than the message.
    is_cut: bool,
}

impl<'a> Options<'a> {
    fn new() -> Self {
        Options { first: [None; 256], again: Vec::new(), is_cut: false }
    }

    /// Reads options up to their end (RFC 2132, 2).
    fn read(&mut self, mut bytes: &'a [u8]) {
        while let [code, rest @ ..] = bytes {
            bytes = match (*code, rest) {
                (0, _) => rest,
                (255, _) => return,
                (code, [length, rest @ ..]) if rest.len() >= usize::from(*length) => {
                    let (value, rest) = rest.split_at(usize::from(*length));
                    match &mut self.first[usize::from(code)] {
                        first @ None => *first = Some(value),
                        Some(_) => self.again.push((code.into(), value)),
                    }
                    rest
                }
                _ => {
                    self.is_cut = true;
                    return;
                }
            };
        }
    }

    fn has(&self, code: u8) -> bool {
        self.first[usize::from(code)].is_some()
    }

    fn again(&self, code: u8) -> impl Iterator<Item = &'a [u8]> {
        let parts = self.again.iter().filter(move |(other, _)| *other == usize::from(code));
        parts.map(|(_, value)| *value)
    }

    /// All parts of a text or list, joined (RFC 3396); empty if it is not there.
    fn get(&self, code: u8) -> Cow<'a, [u8]> {
        let mut value = Cow::Borrowed(self.first[usize::from(code)].unwrap_or_default());
        self.again(code).for_each(|part| value.to_mut().extend(part));
        value
    }

    /// The value of an option of one length, also in parts. A second one is left out: clients differ in which one they take.
    fn fixed<const N: usize>(&self, code: u8, claims: &mut Claims) -> Option<[u8; N]> {
        let first = self.first[usize::from(code)]?;
        if first.len() < N
            && let Ok(joined) = (*self.get(code)).try_into()
        {
            return Some(joined);
        }
        self.again(code).for_each(|_| claims.left_out.options += 1);
        claims.option(first.try_into().ok())
    }
}

/// RFC 4702, 2: flags, two bytes that are not used, and a name in DNS's form or, from older clients, as text.
fn full_name(option: &[u8]) -> Option<DnsName> {
    match option {
        [flags, _, _, ..] if flags & 4 != 0 => labels(&option[3..], 0).map(|(name, _)| name),
        [_, _, _, name @ ..] => {
            let (mut text, name) = (DnsName::default(), until_zero(name));
            text.add(&name[..name.len().min(NAME)])?;
            Some(text)
        }
        _ => Some(DnsName::default()),
    }
}

/// As a record has it; `0.0.0.0` is none.
fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    match address.is_unspecified() {
        true => Ipv6Addr::UNSPECIFIED,
        false => address.to_ipv6_mapped(),
    }
}
