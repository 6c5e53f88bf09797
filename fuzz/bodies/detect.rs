//! What operators write about devices and networks.

use aw_output::names::NameList;
use shm_layout::{InterfaceName, MacAddr, RingName};

use crate::{mac_pattern::MacPattern, network::split_network};

/// Any text: as a list of names, and each line of it as an address, a pattern or a name of a network, which are read again
/// as they are printed.
pub fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let list = NameList::parse(input).expect("any bytes are lines");
    assert!(list.names.values().all(|name| !name.contains(['\n', '\t']) && name.trim() == name));
    assert!(list.damaged.len() <= list.damaged_number);
    for line in text.lines() {
        if let Ok(mac) = line.parse::<MacAddr>() {
            assert_eq!(mac.to_string().parse(), Ok(mac), "{line:?}");
            assert!(line.parse::<MacPattern>().is_ok_and(|pattern| pattern.matches(mac)));
        }
        let _ = line.parse::<MacPattern>();
        if let Ok(ring) = line.parse::<RingName>() {
            assert_eq!(ring.to_string().parse().ok(), Some(ring), "{line:?}");
        }
        if let Ok(interface) = line.parse::<InterfaceName>() {
            assert_eq!(interface.to_string().parse().ok(), Some(interface), "{line:?}");
        }
        let (host, ring, network) = split_network(line);
        assert!(line.starts_with(host) && line.ends_with(network), "{line:?}");
        assert!(ring.is_empty() || ring.starts_with('/'), "{line:?}");
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("names", names);
}
