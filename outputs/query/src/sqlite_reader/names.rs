//! What devices call themselves, the addresses that they announced or asked for, and their leases, in a database of aw-sqlite: as far as it
//! has these tables.

use std::net::IpAddr;

use aw_database::Snapshot;
use aw_output::{ClaimedName, NAME_KNOWN_AFTER, NameSource};
use aw_service::Error;
use rusqlite::{Connection, Params, Row, params, types::ValueRef};
use shm_layout::{MacAddr, NameText, UnixTime};

use super::{SqliteReader, bytes, ip};
use crate::{
    claims::Claiming,
    history_reader::{
        ADDRESSES, CLAIMS, Claim, ClaimReader, ClaimedAddress, Lease, NamesOfMacs, TimeRange,
        parse_mac,
    },
    left_out::Why,
    places::Places,
};

/// Names of a MAC that are read: aw-sqlite stores fewer.
const NAMES_OF_DEVICE: i64 = 64;
/// Rows of an address, of MACs that announced it for a day, and of others: several places, and MACs that a host invents.
const CLAIMED_ADDRESSES: i64 = 512;
/// Leases of a pairing that are read.
const LEASES_OF_PAIRING: i64 = 64;

impl ClaimReader for SqliteReader {
    fn claimed_names(&mut self, macs: &[MacAddr]) -> Result<NamesOfMacs, Error> {
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

    fn macs_claiming(&mut self, name: &str) -> Result<Vec<MacAddr>, Error> {
        self.read(|history| {
            if !history.has_names {
                return Ok(Vec::new());
            }
            let select = format!(
                "SELECT mac, name FROM claimed_name
                WHERE typeof(name) = 'text' AND typeof(mac) = 'integer' AND source NOT IN ({ADDRESSES})
                GROUP BY mac, name ORDER BY min(CAST(first AS INTEGER)) / 1000000000, mac, name"
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

    fn claimed_addresses(
        &mut self,
        ip: IpAddr,
        near: TimeRange,
    ) -> Result<Vec<ClaimedAddress>, Error> {
        let mut found = Vec::new();
        for is_known in [true, false] {
            // The first condition is that of the index.
            let condition = "source > 7 AND name = ?1 AND (last - first >= ?2) = ?3
                ORDER BY max(first - ?5, ?4 - last, 0), first LIMIT ?6";
            let (from, to) = (near.from.as_nanos(), near.to.as_nanos());
            let key =
                params![ip.to_string(), NAME_KNOWN_AFTER, is_known, from, to, CLAIMED_ADDRESSES];
            found.extend(self.claimed_where(condition, key)?);
        }
        Ok(found)
    }

    fn addresses_claimed_by(&mut self, mac: MacAddr) -> Result<Vec<ClaimedAddress>, Error> {
        let condition = "mac = ?1 ORDER BY last - first < ?2, last DESC LIMIT ?3";
        let key = params![mac.number() as i64, NAME_KNOWN_AFTER, NAMES_OF_DEVICE];
        self.claimed_where(condition, key)
    }

    fn claims(&mut self, range: TimeRange) -> Result<(Vec<Claim>, bool), Error> {
        self.read(|history| {
            let (mut found, mut is_cut) = (Vec::new(), false);
            let SqliteReader { snapshot: Snapshot { database, .. }, places, .. } = history;
            let (now, most) = (UnixTime::now(), CLAIMS as i64 + 1);
            let times = |first: &str| {
                format!(
                    "typeof(place) = 'integer' AND typeof(mac) = 'integer' AND ({first} >= ?1 AND {first} < ?2 OR last >= ?1 AND last < ?2)
                    ORDER BY last DESC LIMIT ?3"
                )
            };
            let row = [range.from.as_nanos(), range.to.as_nanos(), most];
            let mut read = |select: &str, leases: bool| -> rusqlite::Result<()> {
                let mut statement = database.prepare_cached(select)?;
                let (mut rows, mut number) = (statement.query(row)?, 0);
                while let Some(row) = rows.next()? {
                    number += 1;
                    let one = match leases {
                        true => lease(database, places, row, now)?,
                        false => claim(database, places, row, now)?,
                    };
                    found.extend(one.filter(|_| number < most));
                }
                is_cut |= number == most;
                Ok(())
            };
            if history.has_names {
                let names = format!(
                    "SELECT place, source, mac, name, CAST(first AS INTEGER), CAST(last AS INTEGER)
                    FROM claimed_name WHERE typeof(source) = 'integer' AND {}",
                    times("first")
                );
                read(&names, false)?;
            }
            if history.has_leases {
                let leases = format!(
                    "SELECT place, address, mac, CAST(begin AS INTEGER), CAST(last AS INTEGER) FROM address_lease WHERE {}",
                    times("begin")
                );
                read(&leases, true)?;
            }
            Ok((found, is_cut))
        })
    }

    fn leases(&mut self, (ip, mac): (IpAddr, MacAddr), at: UnixTime) -> Result<Vec<Lease>, Error> {
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

impl SqliteReader {
    /// The addresses in rows for which a condition holds.
    fn claimed_where(
        &mut self,
        condition: &str,
        key: impl Params,
    ) -> Result<Vec<ClaimedAddress>, Error> {
        self.read(|history| {
            let (mut found, now) = (Vec::new(), UnixTime::now());
            if !history.has_names {
                return Ok(found);
            }
            let SqliteReader { snapshot: Snapshot { database, .. }, places, .. } = history;
            let select = format!(
                "SELECT place, source, mac, name, CAST(first AS INTEGER), CAST(last AS INTEGER), CAST(count AS INTEGER)
                FROM claimed_name WHERE source IN ({ADDRESSES}) AND typeof(place) = 'integer' AND typeof(mac) = 'integer'
                AND typeof(name) = 'text' AND {condition}"
            );
            let mut select = database.prepare_cached(&select)?;
            let mut rows = select.query(key)?;
            while let Some(row) = rows.next()? {
                let Some(Claim { network, mac, what: Some((why, ip)), first, last }) =
                    claim(database, places, row, now)?
                else {
                    continue;
                };
                let count = row.get(6)?;
                found.push(ClaimedAddress { network, mac, ip, why, first, last, count });
            }
            Ok(found)
        })
    }
}

/// A row that begins with place, source, MAC, name, first and last time; None if its values are not valid.
fn claim(
    database: &Connection,
    places: &mut Places,
    row: &Row,
    now: UnixTime,
) -> rusqlite::Result<Option<Claim>> {
    let source = NameSource::from_number(row.get(1)?);
    let network = places.network_of(database, row.get(0)?)?;
    let (Some(source), Some(network), Some(mac)) = (source, network, parse_mac(row.get(2)?)) else {
        return Ok(None);
    };
    let what = match (Why::of_claim(source), row.get_ref(3)?) {
        (Some(why), ValueRef::Text(text)) => {
            let ip = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            let Some(ip) = ip else { return Ok(None) };
            Some((why, ip))
        }
        (Some(_), _) => return Ok(None),
        (None, _) => None,
    };
    let [first, last] = [row.get(4)?, row.get(5)?].map(UnixTime::from_nanos);
    // It may have been stored while the clock was ahead.
    Ok(Some(Claim { network, mac, what, first, last: last.min(now) }))
}

/// The same of a lease: place, address, MAC, begin and last time.
fn lease(
    database: &Connection,
    places: &mut Places,
    row: &Row,
    now: UnixTime,
) -> rusqlite::Result<Option<Claim>> {
    let network = places.network_of(database, row.get(0)?)?;
    let (Some(network), Some(ip), Some(mac)) = (network, ip(row, 1)?, parse_mac(row.get(2)?))
    else {
        return Ok(None);
    };
    let [first, last] = [row.get(3)?, row.get(4)?].map(UnixTime::from_nanos);
    let what = Some((Why::Lease, ip));
    Ok(Some(Claim { network, mac, what, first, last: last.min(now) }))
}
