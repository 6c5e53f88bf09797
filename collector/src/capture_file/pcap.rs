//! The pcap format (draft-ietf-opsawg-pcap): a header, then records of one link type.

use std::io::Read;

use shm_layout::UnixTime;

use super::{CUT, Description, Lookahead, fields::Order, text};
use crate::link::Frame;

/// Bytes of the file's header.
const HEADER: usize = 24;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The format of Alexey Kuznetzov's patches, which some Linux systems wrote around 2000.
const PATCHED: u32 = 0xa1b2_cd34;
/// Most bytes that a program stores of a frame (MAXIMUM_SNAPLEN of libpcap).
const LONGEST: usize = 262_144;

/// What is known from the file's header.
#[derive(Debug)]
pub struct Pcap {
    order: Order,
    /// Nanoseconds of a unit of the time's fraction.
    unit: i64,
    /// Bytes of a record's header.
    record: usize,
    /// Before version 2.4 the two lengths may stand in the other order.
    swapped_lengths: bool,
}

impl Pcap {
    /// Reads the header; none if the file has another format.
    pub fn open(input: &mut Lookahead<impl Read>) -> Result<Option<(Pcap, Description)>, String> {
        let header = input.peek(HEADER).map_err(text)?;
        let Some(&magic) = header.first_chunk() else { return Ok(None) };
        let find = |number| Some((Order::of(number, magic)?, number));
        let Some((order, magic)) = [MICROSECONDS, NANOSECONDS, PATCHED].into_iter().find_map(find)
        else {
            return Ok(None);
        };
        if header.len() < HEADER {
            return Err("the file ends in the middle of its header".into());
        }
        let [major, minor] = [4, 6].map(|at| order.u16(header, at));
        if major != 2 {
            return Err(format!("version {major}.{minor} of the pcap format is not supported"));
        }
        // The upper bits describe the frame check sequence, which is behind the payload.
        let link = order.u32(header, 20) as u16;
        input.skip(HEADER as u64).map_err(text)?;
        let pcap = Pcap {
            order,
            unit: if magic == NANOSECONDS { 1 } else { 1000 },
            record: if magic == PATCHED { 24 } else { 16 },
            swapped_lengths: minor < 4,
        };
        Ok(Some((pcap, Description { link, name: None })))
    }

    /// The next frame; none at the end.
    pub fn next<'a>(
        &self,
        input: &'a mut Lookahead<impl Read>,
    ) -> Result<Option<Frame<'a>>, String> {
        let header = input.peek(self.record).map_err(text)?;
        if header.is_empty() {
            return Ok(None);
        }
        if header.len() < self.record {
            return Err(CUT.into());
        }
        let [seconds, fraction, stored, length] =
            [0, 4, 8, 12].map(|at| self.order.u32(header, at));
        let swap = self.swapped_lengths && stored > length;
        let (stored, length) = if swap { (length, stored) } else { (stored, length) };
        let stored = stored as usize;
        if stored > LONGEST {
            return Err(format!("corrupt: a frame of {stored} bytes, more than {LONGEST}"));
        }
        let record = input.advance(self.record + stored).map_err(text)?;
        let bytes = &record[self.record.min(record.len())..];
        if bytes.len() < stored {
            return Err(CUT.into());
        }
        // Seconds are unsigned: until 2106.
        let time = UnixTime::new(seconds.into(), i64::from(fraction) * self.unit);
        Ok(Some(Frame { time, bytes, length: length as usize }))
    }
}
