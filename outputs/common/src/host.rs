//! Host names.

use std::os::unix::fs::MetadataExt;

use shm_layout::{Reader, RingName, Start};

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
