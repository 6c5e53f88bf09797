//! Host names.

use std::{os::unix::fs::MetadataExt, path::PathBuf};

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

/// The MACs of this machine's interfaces: to be called before the file system is closed to the program.
pub fn own_macs() -> Vec<MacAddr> {
    let interfaces = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mac = |path: PathBuf| {
        read_file_text(&path.join("address"), FileKind::Settings, 64).ok()?.trim().parse().ok()
    };
    let macs = interfaces.filter_map(|interface| mac(interface.path()));
    macs.filter(|mac: &MacAddr| !mac.is_no_host()).collect()
}

/// This machine's name.
pub fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
