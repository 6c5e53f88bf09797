//! Capture files: pcap and pcapng, also compressed. They are read here and not by libpcap: it refuses a pcapng
//! file whose interfaces differ. The file is not trusted; memory is bounded by the longest block.

mod compression;
mod fields;
mod lookahead;
mod pcap;
mod pcapng;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use ::pcap::Linktype;
use lookahead::Lookahead;
use pcap::Pcap;
use pcapng::Pcapng;

use crate::link::Frame;

const CUT: &str = "the file ends in the middle of a frame";

/// An interface as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The number of its link type in files.
    link: u16,
    /// Its name, where the file has it.
    pub name: Option<String>,
}

impl Description {
    /// Its link type by libpcap's number, which differs from that in files for a few.
    pub fn link(&self) -> Linktype {
        // LINKTYPE_RAW in files, DLT_RAW for libpcap on Linux.
        Linktype(if self.link == 101 { 12 } else { self.link.into() })
    }
}

/// The next thing in a file.
#[derive(Debug)]
pub enum Record<'a> {
    /// A new section: the interfaces of the last one do not count any more.
    Section,
    /// An interface; the first one of a section is number 0.
    Interface(Description),
    /// A frame that an interface captured.
    Frame { interface: usize, frame: Frame<'a> },
}

/// A capture file.
pub struct CaptureFile {
    input: Lookahead<Box<dyn Read>>,
    format: Format,
    /// The only interface of a pcap file, until it is returned.
    first: Option<Description>,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl CaptureFile {
    /// Reads the header. The error is the cause alone.
    pub fn open(input: impl Read + 'static) -> Result<CaptureFile, String> {
        let mut input = Lookahead::new(compression::decompressed(input).map_err(text)?);
        if let Some((pcap, description)) = Pcap::open(&mut input)? {
            let first = Some(description);
            return Ok(CaptureFile { input, format: Format::Pcap(pcap), first });
        }
        match Pcapng::open(&mut input)? {
            Some(pcapng) => Ok(CaptureFile { input, format: Format::Pcapng(pcapng), first: None }),
            None => Err(unknown(input.peek(6).map_err(text)?)),
        }
    }

    /// The next record; none at the end of the file.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, String> {
        if let Some(description) = self.first.take() {
            return Ok(Some(Record::Interface(description)));
        }
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.next(&mut self.input),
            Format::Pcap(pcap) => {
                let frame = pcap.next(&mut self.input)?;
                Ok(frame.map(|frame| Record::Frame { interface: 0, frame }))
            }
        }
    }
}

/// The cause and the remedy for a file that begins so.
fn unknown(first: &[u8]) -> String {
    let program = match first {
        [] => return "it is empty (must be pcap or pcapng)".into(),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xzcat",
        [b'B', b'Z', b'h', ..] => "bzcat",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4cat",
        _ => {
            return "unknown file format (must be pcap or pcapng, which may be compressed with gzip or zstd; other formats: tshark -r FILE -F pcapng -w - | collector --read -)".into();
        }
    };
    format!("its compression is not supported (use {program} FILE | collector --read -)")
}

fn text(error: io::Error) -> String {
    aw_service::explain(&error)
}
