//! Headers of layer 2 that stand between a frame's addresses and its payload: VLAN tags, and tags that switches add
//! on links to other switches, to a mirror's destination or to their CPU. The frame's addresses stay the same.

use shm_layout::{Counter, VlanId};

use crate::link::split;

/// 802.1Q, 802.1ad, and the number used for stacked tags before 802.1ad.
pub const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// IEEE 802.1AE.
pub const MACSEC: u16 = 0x88e5;
/// EDSA of Marvell switches: two bytes of zero and a DSA tag follow.
pub const EDSA: u16 = 0xdada;

/// EtherTypes of other tags, and the bytes from there to the next EtherType.
pub const FIXED: [(u16, usize); 8] = [
    (0x8926, 4), // Cisco VN-Tag, of Nexus switches
    (0x893f, 6), // IEEE 802.1BR E-TAG
    (0x8909, 6), // Cisco Metadata with one option (security group tag)
    (0x892f, 4), // HSR (IEC 62439-3)
    (0x88fb, 4), // HSR, version 0
    (0xf1c1, 4), // IEEE 802.1CB R-TAG
    (0x8874, 4), // Broadcom switches, the older form
    (EDSA, 6),
];

/// A tag that was removed.
#[derive(Debug)]
pub struct Tag<'a> {
    /// The VLAN that it names; [`VlanId::NONE`] if it names none.
    pub vlan: VlanId,
    /// The next EtherType.
    pub protocol: u16,
    /// What follows that.
    pub bytes: &'a [u8],
}

/// Removes the tag of this EtherType; none if it is not a tag.
pub fn remove(protocol: u16, bytes: &[u8]) -> Option<Result<Tag<'_>, Counter>> {
    if VLAN_TAGS.contains(&protocol) {
        return Some(vlan(bytes));
    }
    if protocol == MACSEC {
        return macsec(bytes);
    }
    let (_, length) = FIXED.iter().find(|(known, _)| *known == protocol)?;
    Some(fixed(protocol, *length, bytes))
}

fn vlan(bytes: &[u8]) -> Result<Tag<'_>, Counter> {
    let ([c0, c1, p0, p1], bytes) = split::<4>(bytes)?;
    let vlan = VlanId::from_tag(u16::from_be_bytes([*c0, *c1]));
    Ok(Tag { vlan, protocol: u16::from_be_bytes([*p0, *p1]), bytes })
}

fn fixed(protocol: u16, length: usize, bytes: &[u8]) -> Result<Tag<'_>, Counter> {
    let (tag, bytes) = bytes.split_at_checked(length).ok_or(Counter::Truncated)?;
    let vlan = if protocol == EDSA { dsa_vlan(tag) } else { VlanId::NONE };
    let (next, bytes) = split::<2>(bytes)?;
    Ok(Tag { vlan, protocol: u16::from_be_bytes(*next), bytes })
}

/// The VLAN of a DSA tag, which is the last four bytes. Without the bit for "tagged" the frame had no tag on its port
/// (`tag_dsa.c` of Linux).
pub fn dsa_vlan(tag: &[u8]) -> VlanId {
    const TAGGED: u8 = 0x20;
    match tag.last_chunk::<4>() {
        Some([first, _, c0, c1]) if first & TAGGED != 0 => {
            VlanId::from_tag(u16::from_be_bytes([*c0, *c1]))
        }
        _ => VlanId::NONE,
    }
}

/// A frame that MACsec protects but does not encrypt (IEEE 802.1AE, 9.3 to 9.5). None if it is encrypted: then
/// nothing in it can be read.
fn macsec(bytes: &[u8]) -> Option<Result<Tag<'_>, Counter>> {
    const ENCRYPTED_OR_CHANGED: u8 = 0x0c;
    const SCI: u8 = 0x20;
    const ICV: usize = 16;
    let Some([control, short, ..]) = bytes.first_chunk::<2>() else {
        return Some(Err(Counter::Truncated));
    };
    if control & ENCRYPTED_OR_CHANGED != 0 {
        return None;
    }
    let header = if control & SCI != 0 { 14 } else { 6 };
    let Some(data) = bytes.get(header..) else { return Some(Err(Counter::Truncated)) };
    // Data of less than 48 bytes has its length in the header, and padding behind it.
    let length = match short & 0x3f {
        0 => data.len().saturating_sub(ICV),
        short => short.into(),
    };
    let data = data.get(..length).unwrap_or(data);
    let next = split::<2>(data).map(|(next, bytes)| {
        let (vlan, protocol) = (VlanId::NONE, u16::from_be_bytes(*next));
        Tag { vlan, protocol, bytes }
    });
    Some(next)
}
