//! VLAN ids.

use std::fmt;

/// A VLAN id of 12 bits (IEEE 802.1Q); 0 means no VLAN, as in a priority tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VlanId(pub(crate) u16);

impl VlanId {
    /// Not on a VLAN.
    pub const NONE: VlanId = VlanId(0);

    /// The id in a tag's control information: its lower 12 bits.
    pub const fn from_tag(control: u16) -> Self {
        VlanId(control & 0x0fff)
    }

    /// The number, 0 to 4095.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
