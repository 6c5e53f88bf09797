//! Whether Neighbor Discovery of other hosts reaches this port, of one network, as a word of the header.

use crate::{InterfaceName, VlanId, network_name};

/// Networks of which the header has that.
pub const MAX_NETWORKS: usize = 64;

/// What the collector found about a network: how many of the hosts that were awake answered multicast queries at this port. `I`: what
/// the interface is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborView<I = InterfaceName> {
    /// The interface that captures it.
    pub interface: I,
    /// Its outermost VLAN, where there are several.
    pub outer_vlan: VlanId,
    /// Its innermost VLAN.
    pub vlan: VlanId,
    /// Too few answered: a switch hides Neighbor Discovery, or the hosts have no IPv6. Otherwise most of them did.
    pub is_hidden: bool,
    /// Hosts that were awake when they were asked.
    pub awake: u8,
    /// Those of them that answered.
    pub answered: u8,
    /// How often they were asked.
    pub queries: u8,
}

/// The state, in the lowest bits of a word: 0 = nothing is known.
const HIDDEN: u64 = 1;
const SEEN: u64 = 2;

impl NeighborView {
    /// The name of its network, such as `eth0.7`.
    pub fn network(&self) -> String {
        network_name(self.interface, self.outer_vlan, self.vlan)
    }
}

impl<I> NeighborView<I> {
    /// The same of another description of the interface.
    pub(crate) fn of<J>(self, interface: J) -> NeighborView<J> {
        let NeighborView { outer_vlan, vlan, is_hidden, awake, answered, queries, .. } = self;
        NeighborView { interface, outer_vlan, vlan, is_hidden, awake, answered, queries }
    }
}

impl NeighborView<usize> {
    /// Bits 0 and 1 have the state; from 2 on the index of the interface's counters, from 9 and 21 on the VLANs (the inner one first), from 33, 41 and 49 on
    /// the numbers.
    pub(crate) fn to_word(self) -> u64 {
        let state = if self.is_hidden { HIDDEN } else { SEEN };
        let vlans = u64::from(self.vlan.get()) << 9 | u64::from(self.outer_vlan.get()) << 21;
        let [awake, answered, queries] = [self.awake, self.answered, self.queries].map(u64::from);
        state
            | (self.interface as u64 & 0x7f) << 2
            | vlans
            | awake << 33
            | answered << 41
            | queries << 49
    }

    /// None of a state that is not known, of a later version or in a damaged segment.
    pub(crate) fn from_word(word: u64) -> Option<NeighborView<usize>> {
        let is_hidden = match word & 3 {
            HIDDEN => true,
            SEEN => false,
            _ => return None,
        };
        let [outer_vlan, vlan] = [21, 9].map(|at| VlanId::from_tag((word >> at) as u16));
        let [awake, answered, queries] = [33, 41, 49].map(|at| (word >> at) as u8);
        let interface = (word >> 2 & 0x7f) as usize;
        Some(NeighborView { interface, outer_vlan, vlan, is_hidden, awake, answered, queries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let view = NeighborView {
            interface: 127_usize,
            outer_vlan: VlanId::from_tag(4095),
            vlan: VlanId::from_tag(7),
            is_hidden: true,
            awake: 64,
            answered: 3,
            queries: 255,
        };
        let other = NeighborView { interface: 0, vlan: VlanId::NONE, is_hidden: false, ..view };
        for view in [view, other] {
            assert_eq!(NeighborView::from_word(view.to_word()), Some(view));
        }
        assert_eq!([0, 3, !0, 4].map(NeighborView::from_word), [None; 4]);
        let named = view.of("eth0".parse().unwrap());
        assert_eq!(named.network(), "eth0.4095.7");
    }
}
