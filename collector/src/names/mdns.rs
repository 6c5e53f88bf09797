//! Multicast DNS (RFC 6762): a host announces its own name and model. Records about other hosts are not read: reflectors repeat
//! what they received elsewhere, and any host may announce any name.

use std::net::{Ipv4Addr, Ipv6Addr};

use shm_layout::{NameCounter, NameKind, NameText};

use super::{
    Claims,
    message::{MDNS, Message},
    take,
};

/// Types of records (RFC 1035, 3596, 2782).
const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;
/// Most records that are read of one message.
const RECORDS: usize = 256;
/// Longest name, and most pointers in it: each has to lead to an earlier place.
const NAME: usize = 255;

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
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(bytes, at)? + 4;
    }
    let first = at;
    // Where the host's own name is, with its lifetime; whether other addresses are there.
    let (mut own, mut others) = (None, false);
    for _ in 0..number.min(RECORDS) {
        let answer;
        (answer, at) = record(bytes, at)?;
        if let Some(address) = answer.address() {
            match address == message.source {
                true if answer.lifetime > 0 => own = own.or(Some((answer.name, answer.lifetime))),
                true => {} // says goodbye
                false => others = true,
            }
        }
    }
    let Some((name, lifetime)) = own else {
        return if others { Err(NameCounter::MdnsOther) } else { Ok(()) };
    };
    let mut host = message.record(NameKind::MdnsHost);
    (host.address, host.lifetime) = (message.source, lifetime);
    host.name = text_of(bytes, name, claims)?;
    claims.add(host);
    at = first;
    for _ in 0..number.min(RECORDS) {
        let answer;
        (answer, at) = record(bytes, at)?;
        let name = labels(bytes, answer.name)?;
        match answer.kind {
            TXT if ends_in(&name, b"._device-info._tcp.local") => {
                let model = strings(answer.data).find_map(|text| text.strip_prefix(b"model="));
                if let Some(model) = model {
                    host.kind = NameKind::MdnsModel;
                    host.detail = claims.text(model);
                    claims.add(host);
                }
            }
            PTR if name.eq_ignore_ascii_case(b"_sleep-proxy._udp.local") => {
                let instance = labels(bytes, answer.at)?;
                let end = instance.len().saturating_sub(name.len() + 1);
                host.kind = NameKind::MdnsSleepProxy;
                host.detail = claims.text(&instance[..end]);
                claims.add(host);
            }
            _ => {}
        }
    }
    Ok(())
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

/// A name's labels with dots between them; pointers are followed (RFC 1035, 4.1.4).
fn labels(bytes: &[u8], mut at: usize) -> Result<Vec<u8>, NameCounter> {
    let mut name = Vec::new();
    let mut end = at + 1; // pointers lead in front of this
    loop {
        match *bytes.get(at).ok_or(NameCounter::Truncated)? {
            0 => return Ok(name),
            length @ 1..=63 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length));
                let label = label.ok_or(NameCounter::Truncated)?;
                if name.len() + label.len() + 1 > NAME {
                    return Err(NameCounter::MdnsForm);
                }
                if !name.is_empty() {
                    name.push(b'.');
                }
                name.extend(label);
                at += 1 + label.len();
            }
            high @ 192.. => {
                let low = *bytes.get(at + 1).ok_or(NameCounter::Truncated)?;
                let to = usize::from(high & 0x3f) << 8 | usize::from(low);
                if to + 1 >= end {
                    return Err(NameCounter::MdnsForm);
                }
                (at, end) = (to, to + 1);
            }
            _ => return Err(NameCounter::MdnsForm),
        }
    }
}

/// A host's name without the domain that all have.
fn text_of(bytes: &[u8], at: usize, claims: &mut Claims) -> Result<NameText, NameCounter> {
    let name = labels(bytes, at)?;
    let own = match ends_in(&name, b".local") {
        true => &name[..name.len() - b".local".len()],
        false => &name[..],
    };
    Ok(claims.text(own))
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
