//! What devices call themselves, the addresses that they announced or asked for, and their leases, in a database of aw-sqlite: as far as it
//! has these tables.

use std::net::IpAddr;

use aw_database::Snapshot;
use aw_output::{ClaimedName, NAME_KNOWN_AFTER, NameSource};
use aw_service::Error;
use rusqlite::{params, types::ValueRef};
use shm_layout::{MacAddr, NameText, UnixTime};

use super::{SqliteReader, bytes};
use crate::{
    claims::Claiming,
    history_reader::{ADDRESSES, ClaimedAddress, Lease, NamesOfMacs, parse_mac},
};

/// Names of a MAC that are read: aw-sqlite stores fewer.
const NAMES_OF_DEVICE: i64 = 64;
/// Rows of an address: several places, and MACs that a host invents.
const CLAIMED_ADDRESSES: i64 = 1024;
/// Leases of a pairing that are read.
const LEASES_OF_PAIRING: i64 = 64;

impl SqliteReader {
    pub(super) fn names_of(&mut self, macs: &[MacAddr]) -> Result<NamesOfMacs, Error> {
        self.read(|history| {
            let (mut found, now) = (NamesOfMacs::new(), UnixTime::now());
            if !history.has_names {
                return Ok(found);
            }
            let SqliteReader { snapshot: Snapshot { database, .. }, places, .. } = history;
            let select = "SELECT place, source, name, CAST(first AS INTEGER), CAST(last AS INTEGER)
                FROM claimed_name WHERE mac = ? AND typeof(place) = 'integer' AND typeof(source) = 'integer'
                ORDER BY last DESC LIMIT ?";
            let mut select = database.prepare_cached(select)?;
            for mac in macs {
                let mut rows = select.query([mac.number() as i64, NAMES_OF_DEVICE])?;
                while let Some(row) = rows.next()? {
                    let ValueRef::Text(name) = row.get_ref(2)? else { continue };
                    let name = NameText::cut(&String::from_utf8_lossy(name));
                    let source = NameSource::from_number(row.get(1)?);
                    let network = places.network_of(database, row.get(0)?)?;
                    let source = source.filter(|source| !source.is_address());
                    let Some((source, network)) = source.zip(network) else { continue };
                    let [first, last] = [row.get(3)?, row.get(4)?].map(UnixTime::from_nanos);
                    let last = last.min(now); // it may have been stored while the clock was ahead
                    if !name.is_empty() {
                        let name = name.to_string();
                        let claimed = ClaimedName { source, name, first, last };
                        found.entry(*mac).or_default().push((network, claimed));
                    }
                }
            }
            Ok(found)
        })
    }

    pub(super) fn claiming(&mut self, name: &str) -> Result<Vec<MacAddr>, Error> {
        self.read(|history| {
            if !history.has_names {
                return Ok(Vec::new());
            }
            let select = format!(
                "SELECT DISTINCT mac, name FROM claimed_name
                WHERE typeof(name) = 'text' AND typeof(mac) = 'integer' AND source NOT IN ({ADDRESSES})"
            );
            let mut select = history.snapshot.database.prepare(&select)?;
            let mut rows = select.query([])?;
            let mut claiming = Claiming::new(name);
            while let Some(row) = rows.next()? {
                let (Some(mac), ValueRef::Text(text)) = (parse_mac(row.get(0)?), row.get_ref(1)?)
                else {
                    continue;
                };
                claiming.add(mac, NameText::cut(&String::from_utf8_lossy(text)).as_str());
            }
            Ok(claiming.into_macs())
        })
    }

    pub(super) fn addresses_claimed(&mut self, ip: IpAddr) -> Result<Vec<ClaimedAddress>, Error> {
        self.read(|history| {
            let (mut found, now) = (Vec::new(), UnixTime::now());
            if !history.has_names {
                return Ok(found);
            }
            let SqliteReader { snapshot: Snapshot { database, .. }, places, .. } = history;
            // The first condition is that of the index.
            let select = format!(
                "SELECT place, source, mac, CAST(first AS INTEGER), CAST(last AS INTEGER), CAST(count AS INTEGER)
                FROM claimed_name WHERE source > 7 AND name = ?1 AND source IN ({ADDRESSES})
                AND typeof(place) = 'integer' AND typeof(mac) = 'integer' ORDER BY last - first < ?2, last DESC LIMIT ?3"
            );
            let mut select = database.prepare_cached(&select)?;
            let key = params![ip.to_string(), NAME_KNOWN_AFTER, CLAIMED_ADDRESSES];
            let mut rows = select.query(key)?;
            while let Some(row) = rows.next()? {
                let source = NameSource::from_number(row.get(1)?);
                let network = places.network_of(database, row.get(0)?)?;
                let mac = parse_mac(row.get(2)?);
                let (Some(source), Some(network), Some(mac)) = (source, network, mac) else {
                    continue;
                };
                let [first, last] = [row.get(3)?, row.get(4)?].map(UnixTime::from_nanos);
                let (last, count) = (last.min(now), row.get(5)?);
                found.push(ClaimedAddress { network, mac, source, first, last, count });
            }
            Ok(found)
        })
    }

    pub(super) fn leases_of(
        &mut self,
        (ip, mac): (IpAddr, MacAddr),
        at: UnixTime,
    ) -> Result<Vec<Lease>, Error> {
        self.read(|history| {
            let mut found = Vec::new();
            if !history.has_leases {
                return Ok(found);
            }
            let SqliteReader { snapshot: Snapshot { database, .. }, places, .. } = history;
            let select = "SELECT place, CAST(begin AS INTEGER), CAST(until AS INTEGER), released = 1,
                    until - last >= 2592000000000000 FROM address_lease
                WHERE address = ? AND mac = ? AND begin <= ? AND typeof(place) = 'integer' ORDER BY begin DESC LIMIT ?";
            let mut select = database.prepare_cached(select)?;
            let key = params![bytes(&ip), mac.number() as i64, at.as_nanos(), LEASES_OF_PAIRING];
            let mut rows = select.query(key)?;
            while let Some(row) = rows.next()? {
                let Some(network) = places.network_of(database, row.get(0)?)? else { continue };
                let [begin, until] = [row.get(1)?, row.get(2)?].map(UnixTime::from_nanos);
                let is_released = row.get::<_, Option<bool>>(3)? == Some(true);
                let is_long = row.get::<_, Option<bool>>(4)? == Some(true);
                found.push(Lease { network, mac, begin, is_long, until, is_released });
            }
            Ok(found)
        })
    }
}
