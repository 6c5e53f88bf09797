//! What the learning period saw and made normal.

use std::net::IpAddr;

use aw_output::SinkResult;
use rusqlite::{Connection, Row, params, params_from_iter};
use shm_layout::MacAddr;

use super::{SqliteMemory, ip_bytes, ip_from, mac_from, mac_number, station_from};
use crate::{device::MacClass, station::Station};

/// Addresses that are read at a time, when all are changed.
const CHUNK: usize = 10_000;

/// An address that several MACs shared in the learning period, or that a MAC had which no host has.
pub struct SharedAddress {
    /// The full name of its network.
    pub network: String,
    /// The address.
    pub ip: IpAddr,
    /// The MACs.
    pub macs: Vec<MacAddr>,
    /// The one that claimed the address before all others, if it is known. It may be none of these.
    pub first: Option<MacAddr>,
}

/// A device whose behaviour the learning period made normal.
pub struct LearnedDevice {
    /// Its MAC.
    pub mac: MacAddr,
    /// What it is.
    pub role: &'static str,
}

impl SqliteMemory {
    /// Addresses that several MACs shared in the learning period, or that a group's MAC had: so many of them, and the number
    /// of all. First those of named devices, then those that were first seen longest ago: who invents others comes later.
    pub fn shared_addresses(&mut self, limit: usize) -> SinkResult<(Vec<SharedAddress>, u64)> {
        let (mut first, mut count) = (Vec::new(), 0);
        self.with(|database| {
            // 6 bytes each
            let select = "SELECT * FROM station WHERE length(sharers) > 6 OR length(learned) > 0
                ORDER BY NOT named, ifnull(substr(first, 7), x'ff'), network, ip";
            let mut select = database.prepare(select)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let station = station_from(row)?;
                let groups = station.learned.iter().copied().filter(|mac| mac.is_no_host());
                let mut macs = if station.sharers.len() > 1 { station.sharers } else { Vec::new() };
                macs.extend(groups);
                if macs.is_empty() {
                    continue;
                }
                count += 1;
                let ip = ip_from(&row.get::<_, Vec<u8>>(1)?).filter(|_| first.len() < limit);
                if let Some(ip) = ip {
                    let of_all = station.first.map(|first| first.mac);
                    first.push(SharedAddress { network: row.get(0)?, ip, macs, first: of_all });
                }
            }
            Ok((first, count))
        })
    }

    /// Of the addresses for which `is_wanted`, those that several MACs claimed since a time: the first one of all first, or else the one whose
    /// last claim is the oldest.
    pub fn contested_addresses(
        &mut self,
        since: i64,
        is_wanted: impl Fn(IpAddr) -> bool,
    ) -> SinkResult<Vec<SharedAddress>> {
        self.write_times()?;
        self.with(|database| {
            // 14 bytes each
            let select = "SELECT * FROM station WHERE length(claims) > 14 ORDER BY network, ip";
            let mut select = database.prepare(select)?;
            let (mut rows, mut all) = (select.query([])?, Vec::new());
            while let Some(row) = rows.next()? {
                let ip = ip_from(row.get_ref("ip")?.as_blob()?).filter(|ip| is_wanted(*ip));
                let Some(ip) = ip else { continue };
                let mut station = station_from(row)?;
                station.claims.retain(|claim| claim.time >= since);
                let first = station.first.map(|first| first.mac);
                let mut macs = station.macs();
                if !first.is_some_and(|first| station.has(first)) {
                    macs.reverse();
                }
                all.push(SharedAddress { network: row.get("network")?, ip, macs, first });
            }
            Ok(all)
        })
    }

    /// The states of these addresses in all networks, with the full name of each.
    pub fn stations_at(
        database: &Connection,
        ips: &[IpAddr],
    ) -> rusqlite::Result<Vec<(String, IpAddr, Station)>> {
        let each = vec!["?"; ips.len()].join(", ");
        let select = format!("SELECT * FROM station WHERE ip IN ({each}) ORDER BY network, ip");
        let mut select = database.prepare(&select)?;
        let mut rows = select.query(params_from_iter(ips.iter().map(|ip| ip_bytes(*ip))))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let ip = ip_from(row.get_ref("ip")?.as_blob()?);
            let network = row.get("network")?;
            let station = station_from(row)?;
            all.extend(ip.map(|ip| (network, ip, station)));
        }
        Ok(all)
    }

    /// Interfaces at which new devices with locally administered MACs are in the digest, because the learning period saw this
    /// one: full names, so many of them, and the number of all.
    pub fn random_interfaces(&mut self, limit: usize) -> SinkResult<(Vec<(String, MacAddr)>, u64)> {
        self.with(|database| {
            let count = "SELECT count(*) FROM network WHERE learned_random != 0";
            let count = database.query_row(count, [], |row| row.get::<_, i64>(0))?;
            let select = "SELECT network, learned_random FROM network WHERE learned_random != 0
                ORDER BY network LIMIT ?";
            let mut select = database.prepare(select)?;
            let row = |row: &Row| Ok((row.get(0)?, mac_from(row.get(1)?)));
            let found = select.query_map([limit as i64], row)?.collect::<rusqlite::Result<_>>()?;
            Ok((found, count as u64))
        })
    }

    /// Devices that may answer for others, probe the addresses of others, or have a virtual MAC that takes back what it had: so
    /// many of them, and the number of all, in the same order.
    pub fn learned_devices(&mut self, limit: usize) -> SinkResult<(Vec<LearnedDevice>, u64)> {
        let (mut first, mut count) = (Vec::new(), 0);
        self.write_times()?;
        self.with(|database| {
            let select = "SELECT mac, proxy, scanner FROM device WHERE learned
                ORDER BY NOT named, first, mac";
            let mut select = database.prepare(select)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let mac = mac_from(row.get(0)?);
                let roles = [
                    (row.get(1)?, "proxy ARP"),
                    (row.get(2)?, "scanner"),
                    (MacClass::of(mac) == MacClass::Virtual, "virtual MAC"),
                ];
                let role = roles.into_iter().find(|(is, _)| *is).map(|(_, role)| role);
                count += u64::from(role.is_some());
                let role = role.filter(|_| first.len() < limit);
                first.extend(role.map(|role| LearnedDevice { mac, role }));
            }
            Ok((first, count))
        })
    }

    /// Marks what the learning period saw that ended at `until`, if an earlier release recorded it, which marked nothing: the
    /// devices that were there; and of each address the MACs that shared it, that had it then and not since, or that alone ever
    /// had it. Who took an address later is none of these.
    pub fn learn_until(&mut self, until: i64) -> SinkResult {
        self.write_times()?;
        self.with(|database| {
            let update = "UPDATE device SET learned = 1 WHERE first <= ?";
            database.execute(update, [until])?;
            let mut is_learned = database
                .prepare("SELECT EXISTS (SELECT 1 FROM device WHERE mac = ? AND learned)")?;
            let mut update =
                database.prepare("UPDATE station SET learned = ? WHERE network = ? AND ip = ?")?;
            let select =
                "SELECT * FROM station WHERE (network, ip) > (?, ?) ORDER BY network, ip LIMIT ?";
            let mut select = database.prepare(select)?;
            let (mut after, mut count) = ((String::new(), Vec::new()), CHUNK);
            while count == CHUNK {
                let read = |row: &Row| {
                    Ok(((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?), station_from(row)?))
                };
                let rows = select.query_map(params![after.0, after.1, CHUNK as i64], read)?;
                let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
                count = rows.len();
                for (key, mut station) in rows {
                    let sole = <[_; 1]>::try_from(&*station.claims).ok().map(|[claim]| claim.mac);
                    let claims = station.claims.iter();
                    let earlier = claims.filter(|claim| claim.time <= until).map(|claim| claim.mac);
                    let macs: Vec<_> = station.sharers.iter().copied().chain(earlier).collect();
                    macs.into_iter().for_each(|mac| station.learn(mac));
                    if let Some(mac) = sole
                        && is_learned.query_row([mac_number(mac)], |row| row.get(0))?
                    {
                        station.learn(mac);
                    }
                    let learned: Vec<u8> =
                        station.learned.iter().flat_map(|mac| mac.octets()).collect();
                    if !learned.is_empty() {
                        update.execute(params![learned, key.0, key.1])?;
                    }
                    after = key;
                }
            }
            Ok(())
        })
    }
}
