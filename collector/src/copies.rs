//! Copies of a frame that several captured interfaces of one network see: a bridge and its port, the
//! interfaces of `any`. The first one that is read is published, the others end in `captured_twice`.
//!
//! The kernel hands a copy on within microseconds, and stamps a received frame only once. A sighting is a copy if
//! another interface had the same one at most [`WINDOW`] earlier or later; each sighting of an interface
//! is matched with one of another, so that repetitions through one interface stay repetitions. `any` is one
//! interface here, and its frames do not name the interface: there, a copy has exactly the same time, or was sent
//! (or forwarded) by this machine.

use std::hash::{BuildHasher, RandomState};

use shm_layout::{InterfaceName, UnixTime, VlanId};

use crate::{
    check::Sighting,
    link::{Frame, LinkType},
};

/// Whether other captured interfaces see frames of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    None,
    /// Events of others have the same name; the number of this one.
    Shared(usize),
    /// Another one captures all its frames.
    Contained,
}

/// Nanoseconds between two copies. A host that repeats a message waits longer, usually a second.
const WINDOW: u64 = 10_000_000;
/// Recent sightings that are remembered: in sets by their hash, of which the oldest makes room. If there
/// are more within [`WINDOW`], a copy may be published.
const SETS: usize = 128;
const SET: usize = 8;

/// A recent sighting.
#[derive(Clone, Copy, Default)]
struct Recent {
    /// The hash of what it says, without VLANs; keyed at random, so that an attacker cannot choose two that collide.
    hash: u64,
    time: UnixTime,
    vlan: VlanId,
    outer_vlan: VlanId,
    /// The interfaces that saw it, one bit each. If there are more than 64, two of them share a bit, and
    /// a copy may be published.
    interfaces: u64,
}

/// The recent sightings of interfaces whose frames overlap.
#[derive(Default)]
pub struct Copies {
    hasher: RandomState,
    /// Empty until it is needed.
    recent: Vec<[Recent; SET]>,
}

impl Copies {
    /// Whether this is a copy of a sighting that was published.
    pub fn is_copy(
        &mut self,
        overlap: Overlap,
        name: InterfaceName,
        link: LinkType,
        frame: &Frame,
        sighting: &Sighting,
    ) -> bool {
        let number = match overlap {
            Overlap::None => return false,
            Overlap::Contained => return true,
            Overlap::Shared(number) => number,
        };
        let Sighting { mac, source, address, origin, vlan, outer_vlan } = *sighting;
        let new = Recent {
            hash: self.hasher.hash_one((name, mac, source, address, origin)),
            time: frame.time,
            vlan,
            outer_vlan,
            interfaces: 1 << (number % 64),
        };
        if self.recent.is_empty() {
            self.recent = vec![Default::default(); SETS];
        }
        let set = &mut self.recent[new.hash as usize % SETS];
        let outgoing = is_outgoing(link, frame.bytes);
        let copied = set.iter_mut().filter(|recent| new.is_copy_of(recent, link, outgoing));
        if let Some(earliest) = copied.min_by_key(|recent| recent.time) {
            earliest.interfaces |= new.interfaces;
            return true;
        }
        // Not simply the oldest: after the clock was set back, it would stay for ever.
        if let Some(farthest) = set.iter_mut().max_by_key(|recent| new.apart(recent)) {
            *farthest = new;
        }
        false
    }
}

impl Recent {
    /// Nanoseconds between the two; an empty place is farther away than any sighting.
    fn apart(&self, other: &Recent) -> u64 {
        if other.interfaces == 0 {
            return u64::MAX;
        }
        self.time.as_nanos().abs_diff(other.time.as_nanos())
    }

    fn is_copy_of(&self, other: &Recent, link: LinkType, outgoing: bool) -> bool {
        let apart = self.apart(other);
        // A copy may lack tags, but has no others: it would be in another network.
        let tags = self.vlan == VlanId::NONE
            || self.vlan == other.vlan
                && (self.outer_vlan == VlanId::NONE || self.outer_vlan == other.outer_vlan);
        let elsewhere = self.interfaces & other.interfaces == 0;
        let of_any = link.is_cooked() && (apart == 0 || outgoing);
        self.hash == other.hash && apart <= WINDOW && tags && (elsewhere || of_any)
    }
}

/// Whether this machine sent or forwarded a frame, as a cooked header says (PACKET_OUTGOING).
fn is_outgoing(link: LinkType, bytes: &[u8]) -> bool {
    match link {
        LinkType::CookedV1 => bytes.starts_with(&[0, 4]),
        LinkType::CookedV2 => bytes.get(10) == Some(&4),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
