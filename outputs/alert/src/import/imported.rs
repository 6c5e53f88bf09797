//! What a file contains, until it is stored. The parts of a large file are stored one after the other, in one transaction.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aw_detect::{Device, MAX_CLAIMS, MacClaim, MacClass, Memory};
use aw_output::{SinkResult, makers::MacBlock};
use shm_layout::MacAddr;

use crate::{arpdat, store::AlertStore};

/// Entries after which they are stored. At most 100 MB, and usually less than a tenth of it.
const MAX_ENTRIES: usize = 100_000;
/// The longest name of a device or vendor, in bytes.
const MAX_NAME: usize = 255;
/// The longest name of a network, in bytes: it can have a host and a ring.
const MAX_NETWORK: usize = 400;

/// A pairing as another program has stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPairing {
    pub network: String,
    pub mac: MacAddr,
    pub ip: IpAddr,
    pub first: i64,
    pub last: i64,
}

/// How many of each a file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub pairings: usize,
    pub names: usize,
    pub vendors: usize,
}

#[derive(Default)]
pub struct Imported {
    pub stations: BTreeMap<(String, IpAddr), Vec<MacClaim>>,
    /// When each was first and last seen.
    devices: BTreeMap<MacAddr, (i64, i64)>,
    /// Names of known devices: all others are unknown.
    pub known: BTreeMap<MacAddr, String>,
    /// Names that only messages and exports show, and since when each is valid.
    pub host_names: BTreeMap<MacAddr, (i64, String)>,
    pub vendors: BTreeMap<MacBlock, String>,
}

impl Imported {
    /// Adds a pairing. Within a file, a later line of a pairing replaces an earlier one, as in arpwatch. Returns false if
    /// there can be no such pairing.
    pub fn add_pairing(&mut self, pairing: StoredPairing) -> bool {
        let StoredPairing { network, mac, ip, first, last } = pairing;
        let none = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let is_network = !network.is_empty() && network.len() <= MAX_NETWORK;
        if !is_network || none.contains(&ip) || !self.add_device(mac, first, last) {
            return false;
        }
        let claims = self.stations.entry((network, ip)).or_default();
        arpdat::merge(claims, MacClaim { mac, time: last });
        claims.truncate(MAX_CLAIMS);
        true
    }

    /// Adds a device that was seen. Returns false if no device can have this MAC.
    pub fn add_device(&mut self, mac: MacAddr, first: i64, last: i64) -> bool {
        if mac == MacAddr::ZERO || mac == MacAddr::BROADCAST {
            return false;
        }
        let times = self.devices.entry(mac).or_insert((first, last));
        *times = (times.0.min(first), times.1.max(last));
        true
    }

    /// Adds a name that is valid since `time`; a later one replaces it.
    pub fn add_host_name(&mut self, mac: MacAddr, time: i64, name: &str) {
        let Some(name) = clean(name) else { return };
        let known = self.host_names.entry(mac).or_insert_with(|| (time, name.clone()));
        if time > known.0 {
            *known = (time, name);
        }
    }

    pub fn is_full(&self) -> bool {
        let Imported { stations, devices, known, host_names, vendors } = self;
        let names = known.len() + host_names.len() + vendors.len();
        stations.len() + devices.len() + names >= MAX_ENTRIES
    }

    /// Stores all, in the transaction that the caller commits. In the database, a newer pairing replaces an older one.
    pub fn store(self, store: &mut AlertStore) -> SinkResult<Counts> {
        let counts = Counts {
            pairings: self.stations.values().map(Vec::len).sum(),
            names: self.known.len() + self.host_names.len(),
            vendors: self.vendors.len(),
        };
        let memory = &mut store.memory;
        for (mac, (first, last)) in self.devices {
            let device = memory.device(mac)?;
            let mut device = device.unwrap_or_else(|| Device::new(last));
            device.first = device.first.min(first);
            device.learned = true; // who imports a file vouches for it
            device.seen(last, 0);
            memory.store_device(mac, &device)?;
        }
        for ((network, ip), claims) in self.stations {
            let mut station = memory.station(&network, ip)?;
            for claim in claims {
                let newer = |known: &MacClaim| known.mac == claim.mac && known.time >= claim.time;
                if !station.claims.iter().any(newer) {
                    arpdat::merge(&mut station.claims, claim);
                }
            }
            station.claims.truncate(MAX_CLAIMS);
            // The present MAC is normal, and a virtual one that comes and goes; the others may be old faults and attacks.
            let macs: Vec<_> = station.claims.iter().map(|claim| claim.mac).collect();
            for (number, mac) in macs.into_iter().enumerate() {
                if number == 0 || MacClass::of(mac) == MacClass::Virtual {
                    station.learn(mac);
                }
            }
            memory.store_station(&network, ip, &station)?;
        }
        memory.write_times()?;
        for (mac, name) in self.known {
            store.store_name(mac, &name)?;
        }
        for (mac, (time, name)) in self.host_names {
            store.store_host_name(mac, time, &name)?;
        }
        self.vendors.iter().try_for_each(|(block, name)| store.store_vendor(*block, name))?;
        Ok(counts)
    }
}

/// A name with single blanks; None if nothing is left, or if it is no name.
pub fn clean(name: &str) -> Option<String> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control);
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_pairings() {
        let mac = MacAddr::new([0, 8, 0xe1, 0, 0, 1]);
        let ip = "10.0.0.1".parse().unwrap();
        let good = StoredPairing { network: "eth0".into(), mac, ip, first: 5, last: 7 };
        let mut imported = Imported::default();
        for bad in [
            StoredPairing { network: String::new(), ..good.clone() },
            StoredPairing { mac: MacAddr::ZERO, ..good.clone() },
            StoredPairing { mac: MacAddr::BROADCAST, ..good.clone() },
            StoredPairing { ip: "0.0.0.0".parse().unwrap(), ..good.clone() },
            StoredPairing { ip: "::".parse().unwrap(), ..good.clone() },
        ] {
            assert!(!imported.add_pairing(bad.clone()), "{bad:?}");
        }
        assert!(imported.stations.is_empty());
        assert!(imported.add_pairing(StoredPairing { first: 6, ..good.clone() }));
        assert!(imported.add_pairing(StoredPairing { last: 6, ..good }));
        assert_eq!(imported.devices[&mac], (5, 7));
        assert_eq!(imported.stations.into_values().next(), Some(vec![MacClaim { mac, time: 6 }]));
    }

    #[test]
    fn names_are_clean() {
        assert_eq!(clean(" a  b\t"), Some("a b".into()));
        for bad in ["", " \t", "a\u{1b}[0m", &"x".repeat(256)] {
            assert_eq!(clean(bad), None, "{bad:?}");
        }
    }
}
