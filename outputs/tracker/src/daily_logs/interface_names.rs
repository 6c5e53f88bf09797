//! The interface column of a row. Names are kept, because each event needs one and rows share them.

use std::{collections::HashMap, sync::Arc};

use shm_layout::{Event, InterfaceName, RingName, VlanId};

/// Names that are kept. A frame can invent VLANs.
pub(super) const MAX_INTERFACES: usize = 4_096;

/// The number of a ring, an interface of its collector, the outer VLAN and the VLAN.
type InterfaceKey = (usize, InterfaceName, VlanId, VlanId);

#[derive(Debug)]
pub(super) struct InterfaceNames {
    /// The rings that are read. Each may have an interface eth0.
    rings: Vec<RingName>,
    pub(super) names: HashMap<InterfaceKey, Arc<str>>,
    /// The one of the last event, which is often that of the next one, too.
    last: Option<(InterfaceKey, Arc<str>)>,
}

impl InterfaceNames {
    pub fn new(rings: &[RingName]) -> InterfaceNames {
        InterfaceNames { rings: rings.to_vec(), names: HashMap::new(), last: None }
    }

    /// The interface column, as Linux names VLAN interfaces: `eth0`, `eth0.9` for VLAN 9, `eth0.100.9` for VLAN 9 in 100.
    /// Interfaces of another ring than the first one have its name, too: `site-b/eth0`.
    pub fn of(&mut self, ring: &RingName, event: &Event) -> Arc<str> {
        let Event { interface, vlan, outer_vlan, .. } = *event;
        let index = self.rings.iter().position(|name| name == ring).unwrap_or(0);
        let key = (index, interface, outer_vlan, vlan);
        if let Some((_, name)) = self.last.as_ref().filter(|(last, _)| *last == key) {
            return Arc::clone(name);
        }
        if self.names.len() >= MAX_INTERFACES {
            self.names.clear();
        }
        let name = || {
            let name = if interface.as_str().is_empty() { "-" } else { interface.as_str() };
            let tags = [outer_vlan, vlan].into_iter().filter(|vlan| *vlan != VlanId::NONE);
            let name = tags.fold(name.to_owned(), |name, vlan| format!("{name}.{vlan}"));
            match index {
                0 => name.into(),
                _ => format!("{}/{name}", ring.as_str().trim_start_matches('/')).into(),
            }
        };
        let name = Arc::clone(self.names.entry(key).or_insert_with(name));
        self.last = Some((key, Arc::clone(&name)));
        name
    }
}
