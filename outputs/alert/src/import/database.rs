//! Pairings in SQLite databases: addrwatch's table, which databases of aw-sqlite have as a view, and hostwatch's.

use std::path::Path;

use aw_database::Snapshot;
use rusqlite::{Row, config::DbConfig};
use shm_layout::MacAddr;

use super::imported::{Imported, StoredPairing};

/// A row has interface, VLAN, MAC, address, last claim, first and last sighting. Probes (origins 2 and 5)
/// and messages without a MAC (7 and 8) are no claims, and those with a MAC that no host has (12 to 15) no pairings.
const ADDRWATCH: &str = "
    SELECT interface, vlan_tag, mac_address, ip_address,
        max(timestamp) FILTER (WHERE coalesce(origin, 0) NOT IN (2, 5, 7, 8, 12, 13, 14, 15)), min(timestamp), max(timestamp)
    FROM addrwatch WHERE coalesce(origin, 0) NOT IN (12, 13, 14, 15) GROUP BY 1, 2, 3, 4";
/// Times are in UTC. hostwatch stores the MAC of the frame and that of the ARP message: the pairing has the latter. The
/// previous pairing comes first, so that the newer one is the current one.
const HOSTWATCH: &str = "
    SELECT interface_name, 0, prev_ether_address, ip_address, strftime('%s', prev_last_seen), NULL, NULL
        FROM hosts WHERE prev_ether_address <> '' AND prev_last_seen IS NOT NULL
    UNION ALL SELECT interface_name, 0, coalesce(nullif(real_ether_address, ''), ether_address),
        ip_address, strftime('%s', last_seen), strftime('%s', first_seen), NULL FROM hosts";

/// Calls a function with each row. Returns false if no program that is known has created the database.
pub fn each_row<E: From<rusqlite::Error>>(
    path: &Path,
    mut take: impl FnMut(&Row) -> Result<(), E>,
) -> Result<bool, E> {
    // Without a lock, which would stop a program that writes to it. A database of aw-sqlite has addrwatch's table as a view.
    let snapshot = Snapshot::open(path)?;
    let database = &snapshot.database;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, true)?;
    let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?)";
    let is_there = |name: &str| database.query_row(is_there, [name], |row| row.get::<_, bool>(0));
    let select = if is_there("hosts")? {
        HOSTWATCH
    } else if is_there("addrwatch")? {
        ADDRWATCH
    } else {
        return Ok(false);
    };
    let mut select = database.prepare(select)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    if !snapshot.is_intact()? {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        let why = "another program changed it while it was read (import it again)";
        return Err(rusqlite::Error::SqliteFailure(busy, Some(why.into())).into());
    }
    Ok(true)
}

/// Adds a row's pairing. Returns false if the row cannot be read.
pub fn add(row: &Row, imported: &mut Imported) -> rusqlite::Result<bool> {
    let text = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    // SQLite does not enforce the type of a column.
    let number = |column| {
        let value = row.get_ref(column)?;
        let text = value.as_str().ok().and_then(|text| text.parse().ok());
        Ok::<_, rusqlite::Error>(value.as_i64().ok().or(text))
    };
    let (interface, mac, ip) = (text(0)?, text(2)?, text(3)?);
    let (Ok(mac), Ok(ip)) = (mac.parse::<MacAddr>(), ip.parse()) else { return Ok(false) };
    let (claimed, first, last) = (number(4)?, number(5)?, number(6)?);
    let Some(first) = first.or(claimed) else { return Ok(false) };
    let last = last.or(claimed).unwrap_or(first);
    let network = match number(1)?.unwrap_or(0) {
        0 => interface,
        vlan => format!("{interface}.{vlan}"),
    };
    Ok(match claimed {
        Some(claimed) => {
            imported.add_pairing(StoredPairing { network, mac, ip, first, last: claimed })
                && imported.add_device(mac, first, last)
        }
        None => imported.add_device(mac, first, last), // no claim
    })
}
