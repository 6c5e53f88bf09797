//! The MAC addresses of this host, by the kernel: what its interfaces send shows nothing of what reaches them.

use std::fs;

use shm_layout::MacAddr;

/// Of an empty one, nothing is known, as for a replay.
#[derive(Debug, Default)]
pub struct OwnAddresses(Vec<MacAddr>);

impl OwnAddresses {
    /// Of this machine.
    pub fn of_this_machine() -> OwnAddresses {
        let mut own = OwnAddresses::default();
        own.read();
        own
    }

    /// Reads them again: when an interface has changed.
    pub fn read(&mut self) {
        let interfaces = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let macs = interfaces.filter_map(|interface| {
            let name = interface.file_name();
            let text = fs::read_to_string(format!("/sys/class/net/{}/address", name.display()));
            text.ok()?.trim().parse().ok()
        });
        self.0 = macs.collect();
        self.0.sort_unstable();
        self.0.dedup();
    }

    /// Whether an interface of this host has this MAC address.
    #[inline]
    pub fn contains(&self, mac: MacAddr) -> bool {
        self.0.binary_search(&mac).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine() {
        assert!(OwnAddresses::of_this_machine().contains(MacAddr::ZERO), "of lo");
        assert!(!OwnAddresses::default().contains(MacAddr::ZERO));
    }
}
