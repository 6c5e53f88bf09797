//! Walks through the headers around a message, from the outside in: VLAN tags, tags of switches, SNAP, and frames
//! inside of frames. The sender chooses these headers, so their number is limited.

use std::net::IpAddr;

use shm_layout::{Counter, MacAddr, OuterHeader, VlanId};

use crate::{
    link::{LinkType, Payload, ethernet, split},
    tag,
    tunnel::{self, Inner},
    unknown_header,
};

/// EtherTypes of messages, and of a packet that may be a tunnel.
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
pub const IPV4: u16 = 0x0800;
/// LLC for SNAP, unnumbered information, organisation zero: an EtherType follows (RFC 1042).
const SNAP: &[u8] = &[0xaa, 0xaa, 0x03, 0, 0, 0];
/// Up to this, the field is a length and an LLC header follows (IEEE 802.3).
const MAX_LENGTH: u16 = 1500;
/// Most headers that are removed from a frame, and most frames inside of each other. A provider's mirror of an overlay
/// has three.
const MAX_HEADERS: u8 = 32;
const MAX_FRAMES: usize = 4;

/// Where a frame was found that another packet contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The source addresses of the IP packets around it, from the outside in; none for a frame of layer 2.
    pub senders: [Option<IpAddr>; MAX_FRAMES],
    /// The header of the outermost tunnel over IP, or of the last one on layer 2.
    pub header: OuterHeader,
    /// The number of the innermost tunnel that has one.
    pub id: Option<u32>,
}

/// A frame from which some headers were removed.
#[derive(Debug)]
pub struct Layer<'a> {
    /// The sender's MAC, of the innermost frame.
    pub source: MacAddr,
    /// The MAC that the innermost frame was sent to; zero if the capture does not have it.
    pub destination: MacAddr,
    /// EtherType of what follows; a value up to 1500 is a length.
    pub protocol: u16,
    /// What follows.
    pub bytes: &'a [u8],
    /// The innermost frame's VLANs.
    pub vlans: Vlans,
    /// More was on the wire than was captured.
    pub cut: bool,
    /// It lay in a packet that is a fragment.
    pub fragmented: bool,
    /// The last tunnel.
    pub tunnel: Option<Tunnel>,
    /// The header was that of a cooked capture.
    cooked: bool,
    /// A SNAP header was removed: a message has to follow.
    pub snap: bool,
    headers: u8,
    frames: usize,
}

impl<'a> Layer<'a> {
    /// A captured frame without its link-layer header.
    pub fn outermost(link: LinkType, payload: Payload<'a>, cut: bool) -> Self {
        let Payload { source, destination, protocol, vlan, bytes } = payload;
        let mut vlans = Vlans::default();
        vlans.add(vlan);
        Layer {
            source,
            destination,
            protocol,
            bytes,
            vlans,
            cut,
            fragmented: false,
            tunnel: None,
            cooked: link.is_cooked(),
            snap: false,
            headers: 0,
            frames: 0,
        }
    }

    /// Removes the next header. An error if the frame contains no message that can be read.
    pub fn descend(&mut self) -> Result<(), Counter> {
        let unknown = |bytes| Err(unknown_header::outcome(bytes));
        self.headers += 1;
        if self.snap || self.headers > MAX_HEADERS {
            return unknown(self.bytes);
        }
        match self.protocol {
            0..=MAX_LENGTH => self.remove_snap(),
            IPV4 => self.enter(tunnel::in_ipv4(self.bytes)?),
            IPV6 => self.enter(tunnel::in_ipv6(self.bytes)?),
            protocol if tunnel::FRAMES.contains(&protocol) => {
                self.enter(tunnel::in_ethernet(protocol, self.bytes)?)
            }
            protocol => match tag::remove(protocol, self.bytes) {
                Some(tag) => {
                    let tag = tag?;
                    self.vlans.add(tag.vlan);
                    (self.protocol, self.bytes) = (tag.protocol, tag.bytes);
                    Ok(())
                }
                None => unknown(self.bytes),
            },
        }
    }

    /// Continues with a frame that the packet contains. Its VLANs are those of the event, not the packet's.
    fn enter(&mut self, inner: Inner<'a>) -> Result<(), Counter> {
        let (mut senders, outer) = match self.tunnel {
            Some(Tunnel { senders, header, id }) => (senders, Some((header, id))),
            None => Default::default(),
        };
        let over_ip = senders.iter().any(Option::is_some);
        let Some(sender) = senders.get_mut(self.frames) else {
            return Err(unknown_header::outcome(inner.frame));
        };
        *sender = inner.sender;
        self.frames += 1;
        let Payload { source, destination, protocol, bytes, .. } = ethernet(inner.frame)?;
        (self.source, self.destination) = (source, destination);
        (self.protocol, self.bytes) = (protocol, bytes);
        self.vlans = Vlans { header: inner.vlan, ..Vlans::default() };
        self.cut |= inner.cut;
        self.fragmented |= inner.fragmented;
        self.cooked = false;
        let (outer_header, outer_id) = outer.unwrap_or((inner.header, None));
        let header = if over_ip { outer_header } else { inner.header };
        self.tunnel = Some(Tunnel { senders, header, id: inner.id.or(outer_id) });
        Ok(())
    }

    /// IEEE 802.2 with a SNAP header.
    fn remove_snap(&mut self) -> Result<(), Counter> {
        // Cooked headers have the protocol number of 802.2 here (ETH_P_802_2), not a length.
        let bytes = match self.cooked {
            false => self.bytes.get(..self.protocol.into()).unwrap_or(self.bytes),
            true => self.bytes,
        };
        match bytes.split_at_checked(SNAP.len()) {
            Some((SNAP, rest)) => {
                let (protocol, rest) = split::<2>(rest)?;
                (self.protocol, self.bytes) = (u16::from_be_bytes(*protocol), rest);
                self.snap = true;
                Ok(())
            }
            None if SNAP.starts_with(bytes) => Err(Counter::Truncated),
            _ => Err(Counter::Unrelated),
        }
    }
}

/// The tags' ids. A tag with id 0 carries a priority and no VLAN (IEEE 802.1Q, 9.6).
#[derive(Clone, Copy, Debug, Default)]
pub struct Vlans {
    inner: VlanId,
    outer: VlanId,
    /// From a tunnel's header, which names the VLAN of a frame that has no tag.
    header: VlanId,
}

impl Vlans {
    fn add(&mut self, id: VlanId) {
        if id == VlanId::NONE {
            return;
        }
        if self.outer == VlanId::NONE {
            self.outer = self.inner;
        }
        self.inner = id;
    }

    /// The innermost VLAN.
    pub fn inner(&self) -> VlanId {
        if self.inner == VlanId::NONE { self.header } else { self.inner }
    }

    /// The outermost VLAN, where there are several.
    pub fn outer(&self) -> VlanId {
        self.outer
    }
}
