//! What the first day asks: whether it may begin, and at which address each of its devices is.

use std::{collections::HashMap, net::IpAddr};

use aw_output::SinkResult;
use shm_layout::MacAddr;

use super::{SqliteMemory, ip_from};
use crate::rules::Memory;

/// The full name of a network, and an address there.
pub type Place = (String, IpAddr);

impl SqliteMemory {
    /// Whether no device and no address is known.
    pub fn is_empty(&mut self) -> SinkResult<bool> {
        let select =
            "SELECT NOT EXISTS (SELECT 1 FROM device) AND NOT EXISTS (SELECT 1 FROM station)";
        self.read(|database| database.query_row(select, [], |row| row.get(0)))
    }

    /// The address of each of these devices: one that it claimed first, or else one that it was the last to claim. An IPv4 address,
    /// if it has one, and no link-local one, if it has another.
    pub fn places(&mut self, devices: &[MacAddr]) -> SinkResult<HashMap<MacAddr, Place>> {
        self.write_times()?;
        let mut places: HashMap<MacAddr, Option<(Rank, Place)>> =
            devices.iter().map(|mac| (*mac, None)).collect();
        self.with(|database| {
            // The first six bytes of each are a MAC.
            let select =
                "SELECT substr(claims, 1, 6), substr(first, 1, 6), network, ip FROM station
                WHERE length(claims) > 0 ORDER BY network, ip";
            let mut select = database.prepare(select)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let Some(ip) = ip_from(row.get_ref(3)?.as_blob()?) else { continue };
                for (column, is_first) in [(1, true), (0, false)] {
                    let mac = row.get::<_, Option<Vec<u8>>>(column)?.unwrap_or_default();
                    let Ok(mac) = mac.try_into().map(MacAddr::new) else { continue };
                    let Some(place) = places.get_mut(&mac) else { continue };
                    let rank = rank(ip, is_first);
                    if place.as_ref().is_none_or(|(other, _)| rank < *other) {
                        *place = Some((rank, (row.get(2)?, ip)));
                    }
                }
            }
            Ok(())
        })?;
        Ok(places.into_iter().filter_map(|(mac, place)| Some((mac, place?.1))).collect())
    }
}

impl SqliteMemory {
    /// When a device was last seen, and the address that it was the last to claim; none if it is not known.
    pub fn last_seen(&mut self, mac: MacAddr) -> SinkResult<Option<(i64, Option<IpAddr>)>> {
        let Some(device) = self.device(mac)? else { return Ok(None) };
        self.write_times()?;
        let select = "SELECT ip FROM station WHERE substr(claims, 1, 6) = ? ORDER BY network, ip";
        let found = self.with(|database| {
            let mut select = database.prepare(select)?;
            let bytes = mac.octets();
            let rows = select.query_map([&bytes[..]], |row| row.get::<_, Vec<u8>>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let ip = found.iter().filter_map(|bytes| ip_from(bytes)).min_by_key(|ip| rank(*ip, true));
        Ok(Some((device.last, ip)))
    }
}

/// Smaller is what an administrator knows a device by.
type Rank = (bool, bool, bool);

fn rank(ip: IpAddr, is_first: bool) -> Rank {
    let (is_ipv6, is_link_local) = match ip {
        IpAddr::V4(ip) => (false, ip.is_link_local()),
        IpAddr::V6(ip) => (true, ip.is_unicast_link_local()),
    };
    (is_ipv6, is_link_local, !is_first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::Station;

    /// The address by which users know a device, also after another one took it.
    #[test]
    fn each_device_with_one_address() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
        assert!(memory.is_empty().unwrap());
        let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        for (claims, ip) in [
            (&[1][..], "169.254.0.1"),
            (&[1], "192.0.2.1"),
            (&[1], "192.0.2.9"),
            (&[1], "fe80::1"),
            (&[2], "fe80::2"),
            (&[2], "2001:db8::2"),
            (&[3, 4], "192.0.2.3"), // 4 takes it from 3
            (&[4], "192.0.2.4"),
            (&[4, 5], "192.0.2.5"), // and has lost this one
        ] {
            let mut station = Station::default();
            for (time, last) in (0..).zip(claims) {
                station.claim(mac(*last), time, |_| false);
            }
            memory.store_station("s/r/eth0", ip.parse().unwrap(), &station).unwrap();
        }
        assert!(!memory.is_empty().unwrap());
        let places = memory.places(&[1, 2, 3, 4, 5, 6].map(mac)).unwrap();
        let place = |last| places.get(&mac(last)).map(|(_, ip)| ip.to_string()).unwrap_or_default();
        let expected = ["192.0.2.1", "2001:db8::2", "192.0.2.3", "192.0.2.4", "192.0.2.5", ""];
        assert_eq!([1, 2, 3, 4, 5, 6].map(place), expected);
        assert!(places.values().all(|(network, _)| network == "s/r/eth0"));
    }
}
