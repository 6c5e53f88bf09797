//! Frames, and the link-layer headers that a capture may give them.

use pcap::Linktype;
use shm_layout::{Counter, MacAddr, UnixTime};

/// A frame as captured.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When.
    pub time: UnixTime,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was on the wire.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// From a capture opened with nanosecond precision.
    pub fn new(packet: &pcap::Packet<'a>) -> Self {
        let time = packet.header.ts;
        // libpcap 1.10 reads the unsigned 32-bit seconds of a pcap file as signed, which ends in
        // 2038; nothing was captured before 1970.
        let wrapped = (i32::MIN.into()..0).contains(&time.tv_sec);
        let seconds = time.tv_sec + if wrapped { 1 << 32 } else { 0 };
        Frame {
            time: UnixTime::new(seconds, time.tv_usec),
            bytes: packet.data,
            length: packet.header.len as usize,
        }
    }

    /// Whether the capture's snapshot length cut it.
    pub fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }
}

/// Link types that carry Ethernet's payloads and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// LINKTYPE_ETHERNET, 1.
    Ethernet,
    /// LINKTYPE_LINUX_SLL, 113: Linux cooked, as `any` gives it.
    CookedV1,
    /// LINKTYPE_LINUX_SLL2, 276: Linux cooked with the interface's index.
    CookedV2,
}

/// What follows a link-layer header.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The sender's address; zero where the header has none of six bytes.
    pub source: MacAddr,
    /// EtherType, or a length where it is 1500 or less.
    pub protocol: u16,
    /// The rest of the frame.
    pub bytes: &'a [u8],
}

impl Link {
    /// The link type of a capture, if it is one of these.
    pub fn of(link: Linktype) -> Option<Link> {
        match link {
            Linktype::ETHERNET => Some(Link::Ethernet),
            Linktype::LINUX_SLL => Some(Link::CookedV1),
            Linktype(276) => Some(Link::CookedV2),
            _ => None,
        }
    }

    /// The number of the link type.
    pub fn number(self) -> u32 {
        match self {
            Link::Ethernet => 1,
            Link::CookedV1 => 113,
            Link::CookedV2 => 276,
        }
    }

    /// Takes the header off.
    pub fn payload<'a>(self, frame: &Frame<'a>) -> Result<Payload<'a>, Counter> {
        let bytes = frame.bytes;
        match self {
            Link::Ethernet => {
                let (header, bytes) = split::<14>(bytes)?;
                let [_, _, _, _, _, _, a, b, c, d, e, f, protocol @ ..] = *header;
                Ok(Payload {
                    source: MacAddr::new([a, b, c, d, e, f]),
                    protocol: u16::from_be_bytes(protocol),
                    bytes,
                })
            }
            // Packet type, device type, address length, address padded to 8, protocol.
            Link::CookedV1 => {
                let (header, bytes) = split::<16>(bytes)?;
                let [_, _, d0, d1, l0, l1, a, b, c, d, e, f, _, _, protocol @ ..] = *header;
                cooked(u16::from_be_bytes([d0, d1]), u16::from_be_bytes([l0, l1]))?;
                Ok(Payload {
                    source: MacAddr::new([a, b, c, d, e, f]),
                    protocol: u16::from_be_bytes(protocol),
                    bytes,
                })
            }
            // Protocol, reserved, interface index, device type, packet type, address length, address.
            Link::CookedV2 => {
                let (header, bytes) = split::<20>(bytes)?;
                let [p0, p1, _, _, _, _, _, _, d0, d1, _, length, a, b, c, d, e, f, _, _] = *header;
                cooked(u16::from_be_bytes([d0, d1]), length.into())?;
                Ok(Payload {
                    source: MacAddr::new([a, b, c, d, e, f]),
                    protocol: u16::from_be_bytes([p0, p1]),
                    bytes,
                })
            }
        }
    }
}

/// Cooked captures mix all devices; only Ethernet's (ARPHRD_ETHER) have pairings to tell.
fn cooked(device: u16, address_length: u16) -> Result<(), Counter> {
    match (device, address_length) {
        (1, 6) => Ok(()),
        _ => Err(Counter::Unrelated),
    }
}

/// The first bytes, and the rest.
pub fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Counter> {
    bytes.split_first_chunk().ok_or(Counter::Truncated)
}
