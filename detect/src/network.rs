//! The name of a network: an address belongs to one machine within it. Two interfaces `eth0` of different hosts or rings are
//! two networks.

use aw_output::Entry;
pub use shm_layout::network_name;
use shm_layout::{Event, Kind, MacAddr, RingName};

use crate::{device::MacClass, station::forget_after};

/// Seconds in which answers to probes are counted.
const DENIAL_SECONDS: i64 = 600;

/// The state of one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkState {
    /// When it was first seen.
    pub first: i64,
    /// Addresses that were claimed for the first time in answer to another host's probe, within ten minutes.
    pub denied: u32,
    /// The begin of these ten minutes.
    pub denied_since: i64,
    /// When that was last reported as an attack; 0 = never.
    pub reported: i64,
    /// Of an interface: whether the learning period saw devices there.
    pub learned: bool,
    /// Of an interface: the first locally administered MAC that the learning period saw there.
    pub learned_random: Option<MacAddr>,
}

impl NetworkState {
    /// Counts an address that is denied to the host that probes it. Returns their number within ten minutes.
    pub fn denied_a_probe(&mut self, time: i64) -> u32 {
        if !(0..DENIAL_SECONDS).contains(&(time - self.denied_since)) {
            (self.denied, self.denied_since) = (0, time);
        }
        self.denied = self.denied.saturating_add(1);
        self.denied
    }

    /// Records that the learning period saw a device at this interface. Returns whether that is new.
    pub(crate) fn learn(&mut self, mac: MacAddr) -> bool {
        let random = Some(mac).filter(|mac| MacClass::of(*mac) == MacClass::Random);
        let learned = (true, self.learned_random.or(random));
        let before = (self.learned, self.learned_random);
        (self.learned, self.learned_random) = learned;
        learned != before
    }

    /// Forgets times after `latest`, which an event of a clock that was ahead has left.
    pub fn forget_after(&mut self, latest: i64) {
        let times = [&mut self.first, &mut self.denied_since, &mut self.reported];
        times.into_iter().for_each(|time| forget_after(time, latest));
    }
}

/// The name of an event's network within its ring: the interface with its VLANs, and the router that reported it.
pub fn network_of(event: &Event) -> String {
    let mut text = network_name(event.interface, event.outer_vlan, event.vlan);
    if !event.router.is_unspecified() && event.kind == Kind::MacUpd {
        text += &format!("@{}", event.router);
    }
    text
}

/// The full name: `HOST/RING/NETWORK`, the ring without its leading slash.
pub(crate) fn full_network(entry: &Entry) -> String {
    full_name(entry.host, entry.ring.as_str(), &network_of(&entry.event))
}

/// The full name of a network: host, ring and network.
pub fn full_name(host: &str, ring: &str, network: &str) -> String {
    // A slash in a host name would look like the end of it.
    format!("{}/{}/{network}", host.replace('/', "_"), ring.trim_start_matches('/'))
}

/// What no frame can invent of a full name: host, ring and interface, without VLANs and router.
pub fn interface_of(full: &str) -> &str {
    let start = full.rfind('/').map_or(0, |slash| slash + 1);
    let end = full[start..].find(['.', '@']).map_or(full.len(), |end| start + end);
    &full[..end]
}

/// Whether a name stands for a network: `eth0` for that of each host and ring, `site-a/eth0` for that of each host's ring
/// /site-a, and the full name for one only. The ring may have its leading slash.
pub(crate) fn stands_for(name: &str, full: &str) -> bool {
    let after_slash = name.strip_prefix('/').filter(|rest| rest.contains('/'));
    full.strip_suffix(after_slash.unwrap_or(name))
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// The same, for a filter: `eth0.*` stands for all VLANs of `eth0`, and not for `eth0`.
pub fn matches_network(name: &str, full: &str) -> bool {
    let Some(parent) = name.strip_suffix(".*") else { return stands_for(name, full) };
    let start = full.rfind('/').map_or(0, |slash| slash + 1);
    let end = full[start..].find('@').map_or(full.len(), |end| start + end);
    let mut dots = full[start..end].match_indices('.');
    dots.any(|(at, _)| stands_for(parent, &full[..start + at]))
}

/// The parts of a name: host, ring with its leading slash, and network. Host and ring are empty where the name has none.
pub fn split_network(name: &str) -> (&str, String, &str) {
    let (place, network) = name.rsplit_once('/').unwrap_or(("", name));
    let (host, ring) = place.rsplit_once('/').unwrap_or(("", place));
    let ring = ring.parse::<RingName>().map(|ring| ring.to_string());
    (host, ring.unwrap_or_default(), network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_name_stands_for_fewer_networks() {
        let full = full_name("sensor/1", "/site-a", "eth0.7");
        assert_eq!(full, "sensor_1/site-a/eth0.7");
        for (name, stands) in [
            ("eth0.7", true),
            ("site-a/eth0.7", true),
            ("/site-a/eth0.7", true),
            ("sensor_1/site-a/eth0.7", true),
            ("th0.7", false),
            ("/eth0.7", false),
            ("a/eth0.7", false),
            ("eth0", false),
            ("other/sensor_1/site-a/eth0.7", false),
        ] {
            assert_eq!(stands_for(name, &full), stands, "{name}");
        }
        for (full, interface) in
            [("a.b/r/eth0.7.8", "a.b/r/eth0"), ("h/r/e@192.0.2.1", "h/r/e"), ("eth0", "eth0")]
        {
            assert_eq!(interface_of(full), interface);
        }
        for (name, matches) in [
            ("eth0.*", true),
            ("site-a/eth0.*", true),
            ("eth0.7.*", false),
            ("eth.*", false),
            ("eth1.*", false),
            ("site-b/eth0.*", false),
            ("eth0.7", true),
        ] {
            assert_eq!(matches_network(name, &full), matches, "{name}");
        }
        let matches = ["h/r/eth0", "h/r/eth0.7.9", "h/r.b/eth0", "h/r/eth0@192.0.2.1"]
            .map(|full| matches_network("eth0.*", full));
        assert_eq!(matches, [false, true, false, false]);
        assert_eq!(split_network(&full), ("sensor_1", "/site-a".to_owned(), "eth0.7"));
        assert_eq!(split_network("eth0"), ("", String::new(), "eth0"));
    }
}
