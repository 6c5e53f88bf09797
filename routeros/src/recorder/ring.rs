//! The ring to which changes are published.

use std::{
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
};

use aw_service::warn;
use shm_layout::{ConfigChange, Counter, Event, UnixTime, UserName, Writer};

use crate::{change::Change, config::RouterName};

/// The writer of the ring.
pub struct ChangeRing(Mutex<Writer>);

impl ChangeRing {
    pub fn new(mut writer: Writer) -> ChangeRing {
        writer.set_no_frames();
        ChangeRing(Mutex::new(writer))
    }

    /// Publishes a change.
    pub fn publish(&self, router: &RouterName, address: Option<Ipv4Addr>, change: &Change) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Names on the ring have 15 bytes; router names are ASCII.
        let name = router.as_str();
        let Ok(name) = name[..name.len().min(15)].parse() else { return };
        let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let nanos = i64::try_from(change.time.as_nanosecond()).unwrap_or(i64::MAX);
        let user = UserName::cut(&change.users.join(","));
        let change = ConfigChange { user, added: change.added, removed: change.removed };
        let counters = ring.interface(name);
        ring.count(counters, Counter::Seen);
        let event = Event::config_change(UnixTime::from_nanos(nanos), name, address, change);
        ring.publish(counters, &event);
        ring.wake();
    }

    /// Updates the heartbeat, and re-creates the ring if it was deleted.
    pub fn maintain(&self) {
        let change =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).maintain(UnixTime::now());
        if let Some(change) = change {
            warn(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use shm_layout::{Reader, RingName, Start, WriterOptions};

    use super::*;

    /// Outputs must not take it for a collector that captures nothing.
    #[test]
    fn no_frames_are_expected() {
        let name: RingName = format!("/aw-test-changes-{}", std::process::id()).parse().unwrap();
        let options = WriterOptions { name: name.clone(), slots: 64, group: None, host: None };
        let ring = ChangeRing::new(Writer::create(&options).unwrap());
        ring.maintain();
        let reader = Reader::attach(&name, Start::Now).unwrap();
        assert_eq!(reader.silent_since(), None);
        drop(ring);
        std::fs::remove_file(name.path()).unwrap();
        let _ = std::fs::remove_file(format!("{}.lock", name.path().display()));
    }
}
