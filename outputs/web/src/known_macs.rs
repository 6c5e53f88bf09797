//! Which devices the history had when it was last read: so that one that joins is new at once.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use shm_layout::MacAddr;

use crate::listing::DeviceList;

/// None if devices may be missing.
static KNOWN: Mutex<Option<HashSet<MacAddr>>> = Mutex::new(None);

/// Notes the devices of the history.
pub fn set(list: &DeviceList) {
    let macs = || list.devices(false).iter().map(|device| device.mac).collect();
    *KNOWN.lock().unwrap_or_else(PoisonError::into_inner) = list.is_complete.then(macs);
}

/// Whether the history did not have this device.
pub fn is_new(mac: MacAddr) -> bool {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.as_ref().is_some_and(|known| !known.contains(&mac))
}
