//! The pcapng format (draft-ietf-opsawg-pcapng): sections of blocks. Each section describes interfaces, and
//! each packet names its interface. Interfaces may differ in link type, snapshot length and unit of time,
//! which libpcap refuses.

use std::io::Read;

use shm_layout::UnixTime;

use super::{CUT, Description, Lookahead, Record, fields::Order, text};
use crate::link::Frame;

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;
/// Type and length before a block's body, and the length again behind it.
const HEAD: usize = 8;
const TAIL: usize = 4;
/// Longest block that is kept in memory: libpcap's limit. Blocks of other kinds are skipped, however long.
const LONGEST: usize = 16 << 20;
/// Most interfaces of a section.
const MOST_INTERFACES: usize = 4096;

/// What is known of the current section.
#[derive(Debug)]
pub struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
}

#[derive(Debug)]
struct Interface {
    /// Units of its times in a second.
    units: u64,
    /// Seconds to add to its times.
    offset: i64,
    /// Snapshot length; 0 = none.
    snapshot: u32,
}

impl Pcapng {
    /// Recognises the format, and takes nothing; none if the file has another one.
    pub fn open(input: &mut Lookahead<impl Read>) -> Result<Option<Pcapng>, String> {
        let first = input.peek(4).map_err(text)?;
        let pcapng = first == SECTION.to_be_bytes();
        Ok(pcapng.then_some(Pcapng { order: Order::Little, interfaces: Vec::new() }))
    }

    /// The next frame, interface or section; none at the end.
    pub fn next<'a>(
        &mut self,
        input: &'a mut Lookahead<impl Read>,
    ) -> Result<Option<Record<'a>>, String> {
        loop {
            let head = input.peek(HEAD + 4).map_err(text)?;
            if head.is_empty() {
                return Ok(None);
            }
            if head.len() < HEAD + 4 {
                return Err("the file ends in the middle of a block".into());
            }
            // The same bytes in both orders.
            if head[..4] == SECTION.to_be_bytes() {
                let mark = head[HEAD..].first_chunk().copied().unwrap_or_default();
                self.order = Order::of(BYTE_ORDER, mark)
                    .ok_or("corrupt: a section without the mark of its byte order")?;
            }
            let [kind, length] = [0, 4].map(|at| self.order.u32(head, at));
            if length % 4 != 0 || (length as usize) < HEAD + TAIL {
                return Err(format!("corrupt: a block of {length} bytes"));
            }
            let length = length as usize;
            if matches!(kind, SECTION | INTERFACE | OLD_PACKET | SIMPLE_PACKET | PACKET) {
                let body = whole(input, length, self.order)?;
                return self.record(kind, body).map(Some);
            }
            let skipped = input.skip((length - TAIL) as u64).map_err(text)?;
            let tail = input.advance(TAIL).map_err(text)?;
            if !skipped || tail.len() < TAIL {
                return Err("the file ends in the middle of a block".into());
            }
            check_tail(self.order.u32(tail, 0), length)?;
        }
    }

    fn record<'a>(&mut self, kind: u32, body: &'a [u8]) -> Result<Record<'a>, String> {
        let order = self.order;
        match kind {
            SECTION => {
                let [major, minor] = [4, 6].map(|at| order.u16(body, at));
                if body.len() < 16 || major != 1 {
                    return Err(format!("version {major}.{minor} of pcapng is not supported"));
                }
                self.interfaces.clear();
                Ok(Record::Section)
            }
            INTERFACE => {
                if self.interfaces.len() == MOST_INTERFACES {
                    return Err(format!("it has more than {MOST_INTERFACES} interfaces"));
                }
                let (interface, description) = interface(body, order)?;
                self.interfaces.push(interface);
                Ok(Record::Interface(description))
            }
            // Interface, time, stored length, length.
            PACKET => self.frame(order.u32(body, 0) as usize, body),
            // The same, but the interface in two bytes and a count of drops.
            OLD_PACKET => self.frame(order.u16(body, 0).into(), body),
            // Only the length; of the first interface.
            _ => {
                let length = order.u32(body, 0);
                let snapshot = self.interface(0)?.snapshot;
                let limit = if snapshot == 0 { length } else { length.min(snapshot) } as usize;
                let bytes = body.get(4..).unwrap_or_default();
                let bytes = &bytes[..bytes.len().min(limit)];
                let time = UnixTime::from_nanos(0); // it has none
                let frame = Frame { time, bytes, length: length as usize };
                Ok(Record::Frame { interface: 0, frame })
            }
        }
    }

    fn interface(&self, number: usize) -> Result<&Interface, String> {
        let interface = self.interfaces.get(number);
        interface.ok_or_else(|| {
            format!("corrupt: a frame of interface {number}, which is not described")
        })
    }

    fn frame<'a>(&self, number: usize, body: &'a [u8]) -> Result<Record<'a>, String> {
        let interface = self.interface(number)?;
        let [high, low, stored, length] = [4, 8, 12, 16].map(|at| self.order.u32(body, at));
        let bytes = body.get(20..).and_then(|bytes| bytes.get(..stored as usize));
        let bytes = bytes.ok_or_else(|| {
            format!("corrupt: a frame of {stored} bytes in a block that holds fewer")
        })?;
        let time = interface.time(u64::from(high) << 32 | u64::from(low));
        let frame = Frame { time, bytes, length: length as usize };
        Ok(Record::Frame { interface: number, frame })
    }
}

impl Interface {
    fn time(&self, stamp: u64) -> UnixTime {
        let seconds = i64::try_from(stamp / self.units).unwrap_or(i64::MAX);
        let fraction = u128::from(stamp % self.units) * 1_000_000_000 / u128::from(self.units);
        UnixTime::new(seconds.saturating_add(self.offset), fraction as i64)
    }
}

/// Takes a whole block; returns its body.
fn whole(input: &mut Lookahead<impl Read>, length: usize, order: Order) -> Result<&[u8], String> {
    if length > LONGEST {
        return Err(format!("corrupt: a block of {length} bytes, more than {LONGEST}"));
    }
    let block = input.advance(length).map_err(text)?;
    if block.len() < length {
        return Err(CUT.into());
    }
    let (rest, tail) = block.split_at(length - TAIL);
    check_tail(order.u32(tail, 0), length)?;
    Ok(&rest[HEAD..])
}

fn check_tail(found: u32, length: usize) -> Result<(), String> {
    match found as usize == length {
        true => Ok(()),
        false => {
            Err(format!("corrupt: a block of {length} bytes that ends with the length {found}"))
        }
    }
}

/// Link type, reserved, snapshot length, options.
fn interface(body: &[u8], order: Order) -> Result<(Interface, Description), String> {
    let Some(mut options) = body.get(8..) else {
        return Err("corrupt: the description of an interface is too short".into());
    };
    let mut description = Description { link: order.u16(body, 0), name: None };
    let mut interface = Interface { units: 1_000_000, offset: 0, snapshot: order.u32(body, 4) };
    while options.len() >= 4 {
        let [code, length] = [0, 2].map(|at| order.u16(options, at));
        let length = usize::from(length);
        let Some(value) = options[4..].get(..length) else {
            return Err("corrupt: an option that is longer than its block".into());
        };
        match (code, value) {
            (0, _) => break,
            (2, name) => description.name = Some(String::from_utf8_lossy(name).into_owned()),
            (9, [resolution]) => interface.units = units(*resolution)?,
            (14, &[a, b, c, d, e, f, g, h]) => {
                let bytes = [a, b, c, d, e, f, g, h];
                interface.offset = match order {
                    Order::Little => i64::from_le_bytes(bytes),
                    Order::Big => i64::from_be_bytes(bytes),
                };
            }
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((interface, description))
}

/// `if_tsresol`: units in a second, a power of ten, or of two if the highest bit is set.
fn units(resolution: u8) -> Result<u64, String> {
    let exponent = u32::from(resolution & 0x7f);
    let units = match resolution & 0x80 {
        0 => 10_u64.checked_pow(exponent),
        _ => 1_u64.checked_shl(exponent),
    };
    units.ok_or_else(|| "times in units too small to be counted in 64 bits".into())
}
