//! Captured frames, and the link-layer headers of a capture.

use pcap::Linktype;
use shm_layout::{Counter, MacAddr, UnixTime, VlanId};

use crate::tag;

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
    /// LINKTYPE_DSA_TAG_BRCM: the port of a Broadcom switch to its CPU; four bytes behind the MACs.
    BrcmTag = 281,
    /// LINKTYPE_DSA_TAG_BRCM_PREPEND: the same four bytes before the MACs.
    BrcmPrepended = 282,
    /// LINKTYPE_DSA_TAG_DSA: the port of a Marvell switch to its CPU; four bytes behind the MACs.
    DsaTag = 284,
    /// LINKTYPE_DSA_TAG_EDSA: the same, behind an EtherType and two bytes of zero.
    EdsaTag = 285,
}

/// What follows a link-layer header.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The sender's MAC.
    pub source: MacAddr,
    /// The MAC that it was sent to; zero in cooked captures, which do not have it.
    pub destination: MacAddr,
    /// EtherType; a value up to 1500 is a length.
    pub protocol: u16,
    /// The VLAN in the header, if it has one.
    pub vlan: VlanId,
    /// The rest of the frame.
    pub bytes: &'a [u8],
}

impl LinkType {
    /// All of them.
    pub const ALL: [LinkType; 7] = [
        LinkType::Ethernet,
        LinkType::CookedV1,
        LinkType::CookedV2,
        LinkType::BrcmTag,
        LinkType::BrcmPrepended,
        LinkType::DsaTag,
        LinkType::EdsaTag,
    ];

    /// The link type of a capture; an error with a remedy if it is not supported.
    pub fn of(link: Linktype) -> Result<LinkType, String> {
        LinkType::ALL.into_iter().find(|known| *known as i32 == link.0).ok_or_else(|| {
            let name = link.get_name().unwrap_or_else(|_| "unknown".into());
            let number = link.0;
            format!("link type {name} ({number}) carries no Ethernet frames ({})", remedy(number))
        })
    }

    /// Whether the frames have a header of Linux in place of the link's own.
    pub fn is_cooked(self) -> bool {
        matches!(self, LinkType::CookedV1 | LinkType::CookedV2)
    }

    /// Whether a frame was sent to the broadcast address by another host; of Ethernet, the header does not show by which.
    pub fn is_broadcast(self, frame: &Frame) -> bool {
        /// Packet type of a broadcast of another host (LINKTYPE_LINUX_SLL).
        const OF_OTHERS: u8 = 1;
        match self {
            LinkType::CookedV1 => frame.bytes.starts_with(&[0, OF_OTHERS]),
            LinkType::CookedV2 => frame.bytes.get(10) == Some(&OF_OTHERS),
            _ => self.payload(frame).is_ok_and(|one| one.destination == MacAddr::BROADCAST),
        }
    }

    /// Removes the header.
    pub fn payload<'a>(self, frame: &Frame<'a>) -> Result<Payload<'a>, Counter> {
        let bytes = frame.bytes;
        match self {
            LinkType::Ethernet => ethernet(bytes),
            // Packet type, device type, address length, address padded to 8, protocol.
            LinkType::CookedV1 => {
                let (header, bytes) = split::<16>(bytes)?;
                let [_, _, d0, d1, l0, l1, source @ .., _, _, p0, p1] = *header;
                cooked(u16::from_be_bytes([d0, d1]), u16::from_be_bytes([l0, l1]))?;
                Ok(payload([source, NO_MAC], [p0, p1], VlanId::NONE, bytes))
            }
            // Protocol, reserved, interface index, device type, packet type, address length, address.
            LinkType::CookedV2 => {
                let (header, bytes) = split::<20>(bytes)?;
                let [p0, p1, _, _, _, _, _, _, d0, d1, _, length, source @ .., _, _] = *header;
                cooked(u16::from_be_bytes([d0, d1]), length.into())?;
                Ok(payload([source, NO_MAC], [p0, p1], VlanId::NONE, bytes))
            }
            LinkType::BrcmTag => behind_macs(bytes, 4, |_| VlanId::NONE),
            LinkType::BrcmPrepended => ethernet(split::<4>(bytes)?.1),
            LinkType::DsaTag => behind_macs(bytes, 4, tag::dsa_vlan),
            LinkType::EdsaTag => behind_macs(bytes, 8, tag::dsa_vlan),
        }
    }
}

/// An Ethernet header and what follows it.
pub fn ethernet(bytes: &[u8]) -> Result<Payload<'_>, Counter> {
    let (header, bytes) = split::<14>(bytes)?;
    let [d0, d1, d2, d3, d4, d5, source @ .., p0, p1] = *header;
    Ok(payload([source, [d0, d1, d2, d3, d4, d5]], [p0, p1], VlanId::NONE, bytes))
}

const NO_MAC: [u8; 6] = [0; 6];

fn payload(macs: [[u8; 6]; 2], protocol: [u8; 2], vlan: VlanId, bytes: &[u8]) -> Payload<'_> {
    let [source, destination] = macs.map(MacAddr::new);
    Payload { source, destination, protocol: u16::from_be_bytes(protocol), vlan, bytes }
}

/// An Ethernet header with a switch's tag of this length between MACs and EtherType.
fn behind_macs(
    bytes: &[u8],
    length: usize,
    vlan: impl FnOnce(&[u8]) -> VlanId,
) -> Result<Payload<'_>, Counter> {
    let ([d0, d1, d2, d3, d4, d5, source @ ..], bytes) = split::<12>(bytes)?;
    let (tag, bytes) = bytes.split_at_checked(length).ok_or(Counter::Truncated)?;
    let (protocol, bytes) = split::<2>(bytes)?;
    let macs = [*source, [*d0, *d1, *d2, *d3, *d4, *d5]];
    Ok(payload(macs, *protocol, vlan(tag), bytes))
}

/// What to do about a link type without Ethernet frames.
fn remedy(link: i32) -> &'static str {
    match link {
        // IEEE 802.11, with and without radiotap, Prism, AVS and PPI headers.
        105 | 119 | 127 | 163 | 192 => {
            "monitor mode sees Wi-Fi frames, mostly encrypted: capture on the interface in managed mode, such as wlan0, or on the access point's bridge, such as br-lan"
        }
        // Raw IP, PPP, tunnels, loopback of BSD.
        0 | 9 | 12 | 50 | 51 | 101 | 108 | 228 | 229 => {
            "there is no ARP on a tunnel or point-to-point link: capture on the Ethernet interface or bridge of the network, such as eth0 or br-lan"
        }
        _ => "capture on an Ethernet interface, on a bridge such as br-lan, or on `any`",
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
