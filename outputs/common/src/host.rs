//! Host names.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt};

use aw_service::{FileKind, read_file_text};
use shm_layout::{MacAddr, Reader, RingName, Start};

/// The host name of the collector, from its ring; that of this machine if the ring no longer exists.
/// It does not check the owner of the ring: the source that read its events has done so.
pub fn host_of(ring: &RingName) -> String {
    let owner = std::fs::metadata(ring.path()).map(|file| file.uid());
    let owners: Vec<u32> = owner.into_iter().collect();
    match Reader::attach_to(ring, &owners, Start::Now) {
        Ok(reader) => reader.host(),
        Err(_) => this_host(),
    }
}

/// This machine's name.
pub fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The MACs of this machine, as the kernel has them now: before access is dropped.
pub fn own_macs() -> BTreeSet<MacAddr> {
    let interfaces = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let macs = interfaces.filter_map(|interface| {
        let path = interface.path().join("address");
        read_file_text(&path, FileKind::Settings, 64).ok()?.trim().parse().ok()
    });
    macs.filter(|mac: &MacAddr| !mac.is_no_host()).collect()
}
