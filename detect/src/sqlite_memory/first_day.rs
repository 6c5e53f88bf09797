//! What the first day saw: all devices, each with one address.

use std::{collections::HashMap, net::IpAddr};

use aw_output::SinkResult;
use rusqlite::Row;
use shm_layout::MacAddr;

use super::{SqliteMemory, ip_from, mac_from};
use crate::rules::Memory;

/// A device that was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDevice {
    /// Its MAC.
    pub mac: MacAddr,
    /// When it was first seen.
    pub first: i64,
    /// The full name of a network, and its address there. None of a device that only probed.
    pub place: Option<(String, IpAddr)>,
}

impl SqliteMemory {
    /// Whether no device and no address is known.
    pub fn is_empty(&mut self) -> SinkResult<bool> {
        let select =
            "SELECT NOT EXISTS (SELECT 1 FROM device) AND NOT EXISTS (SELECT 1 FROM station)";
        self.read(|database| database.query_row(select, [], |row| row.get(0)))
    }

    /// The devices that were learned, those that were seen first: so many of them, and the number of all. Each with an address that
    /// it was the last to claim: an IPv4 address, if it has one, and no link-local one, if it has another.
    pub fn seen_devices(&mut self, limit: usize) -> SinkResult<(Vec<SeenDevice>, u64)> {
        self.write_times()?;
        self.with(|database| {
            let count = "SELECT count(*) FROM device WHERE learned";
            let count = database.query_row(count, [], |row| row.get::<_, i64>(0))?;
            let select = "SELECT mac, first FROM device WHERE learned ORDER BY first, mac LIMIT ?";
            let row = |row: &Row| {
                Ok(SeenDevice { mac: mac_from(row.get(0)?), first: row.get(1)?, place: None })
            };
            let mut select = database.prepare(select)?;
            let found = select.query_map([limit as i64], row)?;
            let mut devices = found.collect::<rusqlite::Result<Vec<_>>>()?;
            let index: HashMap<_, _> = (0..).zip(&devices).map(|(at, one)| (one.mac, at)).collect();
            // The first six bytes are the MAC of the last claim.
            let select = "SELECT substr(claims, 1, 6), network, ip FROM station
                WHERE length(claims) > 0 ORDER BY network, ip";
            let mut select = database.prepare(select)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let mac = row.get::<_, Vec<u8>>(0)?.try_into().map(MacAddr::new);
                let ip = ip_from(&row.get::<_, Vec<u8>>(2)?);
                let (Ok(mac), Some(ip)) = (mac, ip) else { continue };
                let Some(device) = index.get(&mac).map(|at: &usize| &mut devices[*at]) else {
                    continue;
                };
                if device.place.as_ref().is_none_or(|(_, other)| rank(ip) < rank(*other)) {
                    device.place = Some((row.get(1)?, ip));
                }
            }
            Ok((devices, count as u64))
        })
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
        let ip = found.iter().filter_map(|bytes| ip_from(bytes)).min_by_key(|ip| rank(*ip));
        Ok(Some((device.last, ip)))
    }
}

/// Smaller is what an administrator knows a device by.
fn rank(ip: IpAddr) -> (bool, bool) {
    match ip {
        IpAddr::V4(ip) => (false, ip.is_link_local()),
        IpAddr::V6(ip) => (true, ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::Device, station::Station};

    /// The address by which users know a device; who came first is first, so that invented devices displace none.
    #[test]
    fn each_device_with_one_address() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = SqliteMemory::open(directory.path(), "aw-test", "").unwrap();
        assert!(memory.is_empty().unwrap());
        let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        for (last, first) in [(1, 30), (2, 20), (3, 10), (4, 40)] {
            let device = Device { learned: last != 4, ..Device::new(first) };
            memory.store_device(mac(last), &device).unwrap();
        }
        for (last, ip) in [
            (1, "169.254.0.1"),
            (1, "192.0.2.1"),
            (1, "192.0.2.9"),
            (1, "fe80::1"),
            (2, "fe80::2"),
            (2, "2001:db8::2"),
            (4, "192.0.2.4"),
        ] {
            let mut station = Station::default();
            station.claim(mac(3), 1, |_| false); // it had the address before
            station.claim(mac(last), 2, |_| false);
            memory.store_station("s/r/eth0", ip.parse().unwrap(), &station).unwrap();
        }
        assert!(!memory.is_empty().unwrap());
        let (devices, count) = memory.seen_devices(10).unwrap();
        let place = |ip: &str| Some(("s/r/eth0".to_owned(), ip.parse().unwrap()));
        let of = |last, first, place| SeenDevice { mac: mac(last), first, place };
        let expected =
            [of(3, 10, None), of(2, 20, place("2001:db8::2")), of(1, 30, place("192.0.2.1"))];
        assert_eq!((&*devices, count), (&expected[..], 3));
        let (devices, count) = memory.seen_devices(1).unwrap();
        assert_eq!((&*devices, count), (&expected[..1], 3));
    }
}
