//! Names of hosts.

use std::os::unix::fs::MetadataExt;

use shm_layout::{Reader, RingName, Start};

/// The collector's host, as its ring has it; this machine, if the ring has gone meanwhile. Who may
/// write the ring was asked by whoever read its events.
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
