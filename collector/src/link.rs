//! Captured frames, and the link-layer headers of a capture.

use pcap::Linktype;
use shm_layout::{Counter, MacAddr, UnixTime};

/// A frame as captured.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When it was captured.
    pub time: UnixTime,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// From a capture opened with nanosecond precision.
    pub fn new(packet: &pcap::Packet<'a>) -> Self {
        let time = packet.header.ts;
        // libpcap 1.10 reads the unsigned 32-bit seconds of a pcap file as signed, which fails from
        // 2038 on; no frame was captured before 1970.
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

/// Link types with Ethernet payloads and addresses, and their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// LINKTYPE_ETHERNET.
    Ethernet = 1,
    /// LINKTYPE_LINUX_SLL: Linux cooked capture, the link type of `any`.
    CookedV1 = 113,
    /// LINKTYPE_LINUX_SLL2: Linux cooked capture with the interface's index.
    CookedV2 = 276,
}

/// What follows a link-layer header.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The sender's MAC.
    pub source: MacAddr,
    /// EtherType; a value up to 1500 is a length.
    pub protocol: u16,
    /// The rest of the frame.
    pub bytes: &'a [u8],
}

impl LinkType {
    /// The link type of a capture; an error if it is not supported.
    pub fn of(link: Linktype) -> Result<LinkType, String> {
        let mut known = [LinkType::Ethernet, LinkType::CookedV1, LinkType::CookedV2].into_iter();
        known.find(|known| *known as i32 == link.0).ok_or_else(|| {
            let name = link.get_name().unwrap_or_else(|_| "unknown".into());
            format!(
                "link type {name} ({}) carries no Ethernet frames (capture on an Ethernet interface, or on `any`)",
                link.0
            )
        })
    }

    /// Removes the header.
    pub fn payload<'a>(self, frame: &Frame<'a>) -> Result<Payload<'a>, Counter> {
        let bytes = frame.bytes;
        let (source, protocol, bytes) = match self {
            LinkType::Ethernet => {
                let (header, bytes) = split::<14>(bytes)?;
                let [_, _, _, _, _, _, source @ .., p0, p1] = *header;
                (source, [p0, p1], bytes)
            }
            // Packet type, device type, address length, address padded to 8, protocol.
            LinkType::CookedV1 => {
                let (header, bytes) = split::<16>(bytes)?;
                let [_, _, d0, d1, l0, l1, source @ .., _, _, p0, p1] = *header;
                cooked(u16::from_be_bytes([d0, d1]), u16::from_be_bytes([l0, l1]))?;
                (source, [p0, p1], bytes)
            }
            // Protocol, reserved, interface index, device type, packet type, address length, address.
            LinkType::CookedV2 => {
                let (header, bytes) = split::<20>(bytes)?;
                let [p0, p1, _, _, _, _, _, _, d0, d1, _, length, source @ .., _, _] = *header;
                cooked(u16::from_be_bytes([d0, d1]), length.into())?;
                (source, [p0, p1], bytes)
            }
        };
        let (source, protocol) = (MacAddr::new(source), u16::from_be_bytes(protocol));
        Ok(Payload { source, protocol, bytes })
    }
}

/// Cooked captures contain frames of all devices; only Ethernet's (ARPHRD_ETHER) contain pairings.
fn cooked(device: u16, address_length: u16) -> Result<(), Counter> {
    match (device, address_length) {
        (1, 6) => Ok(()),
        _ => Err(Counter::Unrelated),
    }
}

/// Splits off the first bytes.
pub fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Counter> {
    bytes.split_first_chunk().ok_or(Counter::Truncated)
}
