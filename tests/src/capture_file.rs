//! Capture files, written by hand: pcap in microseconds or nanoseconds, and pcapng.
//! (Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.)

use std::io::{Result, Write};
use std::path::Path;

/// LINKTYPE_ETHERNET.
pub const ETHERNET: u32 = 1;
/// LINKTYPE_LINUX_SLL.
pub const LINUX_SLL: u32 = 113;
/// LINKTYPE_LINUX_SLL2.
pub const LINUX_SLL2: u32 = 276;
/// LINKTYPE_RAW: IP packets without a header before them, as a tunnel's interface has them.
pub const RAW_IP: u32 = 101;
/// LINKTYPE_IEEE802_11, which carries no Ethernet header.
pub const WLAN: u32 = 105;

/// When a packet was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Since the epoch.
    pub seconds: u32,
    /// Less than a thousand million.
    pub nanoseconds: u32,
}

/// A time, in whole seconds since the epoch.
pub fn at(seconds: u32) -> Time {
    Time { seconds, nanoseconds: 0 }
}

/// What a unit of a packet's time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Magic a1b2c3d4.
    Microsecond,
    /// Magic a1b23c4d.
    Nanosecond,
}

/// A pcap file in the making, in this machine's byte order or the other.
pub struct Pcap<W> {
    out: W,
    unit: Unit,
    swapped: bool,
}

impl<W: Write> Pcap<W> {
    /// Writes the file's header.
    pub fn new(out: W, link_type: u32, unit: Unit) -> Result<Self> {
        Self::start(out, link_type, unit, false)
    }

    /// The same, as a machine of the other byte order would write it.
    pub fn swapped(out: W, link_type: u32, unit: Unit) -> Result<Self> {
        Self::start(out, link_type, unit, true)
    }

    fn start(out: W, link_type: u32, unit: Unit, swapped: bool) -> Result<Self> {
        let mut file = Pcap { out, unit, swapped };
        let magic = match unit {
            Unit::Microsecond => 0xa1b2_c3d4,
            Unit::Nanosecond => 0xa1b2_3c4d,
        };
        file.word(magic)?;
        let version: [u16; 2] =
            if swapped { [2u16.swap_bytes(), 4u16.swap_bytes()] } else { [2, 4] };
        file.out.write_all(&version[0].to_le_bytes())?;
        file.out.write_all(&version[1].to_le_bytes())?;
        for word in [0, 0, 262_144, link_type] {
            file.word(word)?;
        }
        Ok(file)
    }

    /// One packet, captured whole.
    pub fn packet(&mut self, time: Time, bytes: &[u8]) -> Result<()> {
        self.cut_packet(time, bytes, bytes.len())
    }

    /// One packet of which only `bytes` were captured, out of `wire_length`.
    pub fn cut_packet(&mut self, time: Time, bytes: &[u8], wire_length: usize) -> Result<()> {
        let fraction = match self.unit {
            Unit::Microsecond => time.nanoseconds / 1000,
            Unit::Nanosecond => time.nanoseconds,
        };
        for word in [
            time.seconds,
            fraction,
            length(bytes),
            u32::try_from(wire_length).expect("a short packet"),
        ] {
            self.word(word)?;
        }
        self.out.write_all(bytes)
    }

    /// What it was written to.
    pub fn finish(mut self) -> Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn word(&mut self, word: u32) -> Result<()> {
        let word = if self.swapped { word.swap_bytes() } else { word };
        self.out.write_all(&word.to_le_bytes())
    }
}

/// A pcapng file in the making: one section, one or more interfaces, nanosecond times.
pub struct Pcapng<W> {
    out: W,
}

impl<W: Write> Pcapng<W> {
    /// Writes the section header.
    pub fn new(out: W) -> Result<Self> {
        let mut file = Pcapng { out };
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        file.block(0x0a0d_0d0a, &body)?;
        Ok(file)
    }

    /// An interface; the first is number 0.
    pub fn interface(&mut self, link_type: u16) -> Result<()> {
        let mut body = link_type.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(262_144_u32.to_le_bytes());
        body.extend([9, 0, 1, 0, 9, 0, 0, 0]); // if_tsresol: 10^-9 s
        body.extend([0, 0, 0, 0]); // opt_endofopt
        self.block(1, &body)
    }

    /// An interface with this snapshot length and name.
    pub fn named_interface(&mut self, link_type: u32, snapshot: u32, name: &str) -> Result<()> {
        let link_type = u16::try_from(link_type).expect("a link type of 16 bits");
        let mut body = link_type.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(snapshot.to_le_bytes());
        body.extend([2, 0]); // if_name
        body.extend(u16::try_from(name.len()).expect("a short name").to_le_bytes());
        body.extend(name.as_bytes());
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend([9, 0, 1, 0, 9, 0, 0, 0]); // if_tsresol: 10^-9 s
        self.block(1, &body)
    }

    /// An enhanced packet block.
    pub fn packet(&mut self, interface: u32, time: Time, bytes: &[u8]) -> Result<()> {
        let stamp = u64::from(time.seconds) * 1_000_000_000 + u64::from(time.nanoseconds);
        let mut body = interface.to_le_bytes().to_vec();
        body.extend(((stamp >> 32) as u32).to_le_bytes());
        body.extend((stamp as u32).to_le_bytes());
        body.extend(length(bytes).to_le_bytes());
        body.extend(length(bytes).to_le_bytes());
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        self.block(6, &body)
    }

    /// Any block: type, length, body, length again.
    pub fn block(&mut self, kind: u32, body: &[u8]) -> Result<()> {
        let total = length(body) + 12;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&total.to_le_bytes())?;
        self.out.write_all(body)?;
        self.out.write_all(&total.to_le_bytes())
    }

    /// What it was written to.
    pub fn finish(mut self) -> Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A whole microsecond pcap of Ethernet frames, one second apart, beginning at second 1000.
pub fn ethernet_pcap<B: AsRef<[u8]>>(frames: &[B]) -> Vec<u8> {
    pcap_of(ETHERNET, frames)
}

/// The same, of any link type.
pub fn pcap_of<B: AsRef<[u8]>>(link_type: u32, frames: &[B]) -> Vec<u8> {
    let mut file = Pcap::new(Vec::new(), link_type, Unit::Microsecond).expect("memory takes all");
    for (second, frame) in (1000..).zip(frames) {
        file.packet(at(second), frame.as_ref()).expect("memory takes all");
    }
    file.finish().expect("memory takes all")
}

/// Writes it under this name in that directory and returns the path.
pub fn save(directory: &Path, name: &str, bytes: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::write(&path, bytes).expect("the test's own directory takes a file");
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a short packet")
}
