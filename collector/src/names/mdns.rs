//! Multicast DNS (RFC 6762): a host announces its own name and model. Records about other hosts are not read: reflectors repeat
//! what they received elsewhere, and any host may announce any name.

use std::net::{Ipv4Addr, Ipv6Addr};

use shm_layout::{NameCounter, NameKind, NameMarks};

use super::{
    Claims, labels,
    message::{MDNS, Message},
    take,
};

/// Types of records (RFC 1035, 3596, 2782).
const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const INTERNET: u16 = 1;
/// Most records that are read of one message.
const RECORDS: usize = 256;
/// Most names of services that are read of one message.
const NAMES: usize = 64;
/// Most services of the own host that are remembered of one message, and most models and sleep proxies.
const SERVICES: usize = 8;
/// The groups (RFC 6762, 3).
const GROUPS: [Ipv6Addr; 2] =
    [Ipv4Addr::new(224, 0, 0, 251).to_ipv6_mapped(), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)];

/// One record.
struct Answer<'a> {
    name: usize,
    kind: u16,
    lifetime: u32,
    /// Where its data begins.
    at: usize,
    data: &'a [u8],
}

pub fn read(
    message: &Message,
    port: u16,
    bytes: &[u8],
    claims: &mut Claims,
) -> Result<(), NameCounter> {
    let [flags, q, answers, authorities, more] =
        [2, 4, 6, 8, 10].map(|at| take::<2>(bytes, at).map(u16::from_be_bytes));
    let (flags, questions) = (flags?, q?);
    let number = [answers?, authorities?, more?].map(usize::from).iter().sum::<usize>();
    // A question, another operation, or a response code other than 0: not read (RFC 6762, 18.3 and 18.11).
    if flags & 0xf80f != 0x8000 {
        return Ok(());
    }
    if port != MDNS {
        return Err(NameCounter::MdnsSource);
    }
    // A router forwards neither of the groups, and lowers the hop limit (RFC 6762, 11).
    if !GROUPS.contains(&message.packet.destination) && message.packet.hop_limit != 255 {
        return Err(NameCounter::MdnsLink);
    }
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(bytes, at)? + 4;
    }
    let mut answers = Vec::with_capacity(number.min(RECORDS));
    for _ in 0..number.min(RECORDS) {
        let answer;
        (answer, at) = record(bytes, at)?;
        answers.push(answer);
    }
    claims.left_out.more += (number - answers.len()) as u64;
    let name_at = |at| labels(bytes, at).map(|(name, _)| name).ok_or(NameCounter::MdnsForm);
    let is_own = |answer: &&Answer| answer.address() == Some(message.packet.source);
    let own = answers.iter().find(|answer| is_own(answer) && answer.lifetime > 0);
    // With a lifetime of 0, it takes its leave (RFC 6762, 10.1).
    let Some(own) = own.or(answers.iter().find(is_own)) else {
        let has_others = answers.iter().any(|answer| answer.address().is_some());
        return if has_others { Err(NameCounter::MdnsOther) } else { Ok(()) };
    };
    let host = name_at(own.name)?;
    let mut record = message.record(NameKind::MdnsHost);
    (record.address, record.lifetime) = (message.packet.source, own.lifetime);
    let is_local = ends_in(&host, b".local");
    let name = if is_local { &host[..host.len() - b".local".len()] } else { &host[..] };
    record.marks.set_if(is_local, NameMarks::LOCAL);
    claims.name(&mut record, name);
    claims.add(record);
    // Its own services: those whose host is this one (RFC 2782). A reflector repeats those of others beside its own address.
    let mut services = vec![name.to_vec()];
    let is_read = |answer: &&Answer| [SRV, TXT, PTR].contains(&answer.kind);
    claims.left_out.more += answers.iter().filter(is_read).skip(NAMES).count() as u64;
    let read = || answers.iter().filter(is_read).take(NAMES);
    for answer in read().filter(|answer| answer.kind == SRV) {
        if services.len() < SERVICES && name_at(answer.at + 6)?.eq_ignore_ascii_case(&host) {
            services.push(instance(&name_at(answer.name)?).to_vec());
        }
    }
    let is_own = |name: &[u8]| services.iter().any(|own| own.eq_ignore_ascii_case(instance(name)));
    for answer in read() {
        let (kind, text) = match answer.kind {
            TXT => {
                let name = name_at(answer.name)?;
                let model = strings(answer.data).find_map(|text| text.strip_prefix(b"model="));
                let Some(model) = model else { continue };
                if !ends_in(&name, b"._device-info._tcp.local") || !is_own(&name) {
                    continue;
                }
                (NameKind::MdnsModel, model.to_vec())
            }
            PTR if name_at(answer.name)?.eq_ignore_ascii_case(b"_sleep-proxy._udp.local") => {
                let service = name_at(answer.at)?;
                if !is_own(&service) {
                    continue;
                }
                (NameKind::MdnsSleepProxy, instance(&service).to_vec())
            }
            _ => continue,
        };
        let mut record = shm_layout::NameRecord { kind, lifetime: answer.lifetime, ..record };
        claims.detail(&mut record, &text);
        claims.add_of(SERVICES, record);
    }
    Ok(())
}

/// The instance of a service's name: `My printer` of `My printer._ipp._tcp.local` (RFC 6763, 4.1). It may have dots.
fn instance(name: &[u8]) -> &[u8] {
    let mut parts = name.rsplitn(4, |byte| *byte == b'.');
    let is_service = [b"local".as_slice(), b"_tcp", b"_udp"];
    let [domain, protocol, service] = [parts.next(), parts.next(), parts.next()];
    let has_form = domain.is_some_and(|domain| domain.eq_ignore_ascii_case(is_service[0]))
        && protocol.is_some_and(|protocol| is_service[1..].contains(&protocol))
        && service.is_some_and(|service| service.starts_with(b"_"));
    if has_form { parts.next().unwrap_or_default() } else { name }
}

impl Answer<'_> {
    fn address(&self) -> Option<Ipv6Addr> {
        match self.kind {
            A => <[u8; 4]>::try_from(self.data).ok().map(|v4| Ipv4Addr::from(v4).to_ipv6_mapped()),
            AAAA => {
                let address = <[u8; 16]>::try_from(self.data).ok().map(Ipv6Addr::from);
                address.filter(|address| address.to_ipv4_mapped().is_none())
            }
            _ => None,
        }
    }
}

/// A record, and where the next one begins. Of another class than the Internet's, it has no type here.
fn record(bytes: &[u8], at: usize) -> Result<(Answer<'_>, usize), NameCounter> {
    let fields = after_name(bytes, at)?;
    let [kind, class, length] =
        [0, 2, 8].map(|field| take::<2>(bytes, fields + field).map(u16::from_be_bytes));
    let (kind, class, length) = (kind?, class?, usize::from(length?));
    let lifetime = u32::from_be_bytes(take(bytes, fields + 4)?);
    let data = bytes.get(fields + 10..fields + 10 + length).ok_or(NameCounter::Truncated)?;
    // The highest bit says that earlier records are to be forgotten (RFC 6762, 10.2).
    let kind = if class & 0x7fff == INTERNET { kind } else { 0 };
    Ok((Answer { name: at, kind, lifetime, at: fields + 10, data }, fields + 10 + length))
}

/// Where a name ends in the message.
fn after_name(bytes: &[u8], mut at: usize) -> Result<usize, NameCounter> {
    loop {
        match *bytes.get(at).ok_or(NameCounter::Truncated)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192.. => return Ok(at + 2),
            _ => return Err(NameCounter::MdnsForm),
        }
    }
}

fn ends_in(name: &[u8], end: &[u8]) -> bool {
    let at = name.len().checked_sub(end.len());
    at.is_some_and(|at| name[at..].eq_ignore_ascii_case(end))
}

/// The strings of a TXT record.
fn strings(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [length, rest @ ..] = data else { return None };
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        data = rest;
        Some(text)
    })
}
