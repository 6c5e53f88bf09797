//! Pairings in SQLite databases: addrwatch's table, the tables of aw-sqlite, and hostwatch's. What else is in the file does
//! nothing.

use std::{
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use aw_database::{Connection, HistoryRows, Snapshot, has_columns};
use rusqlite::{ErrorCode, Row};
use shm_layout::MacAddr;

use super::imported::{Imported, StoredPairing};

/// A row has interface, VLAN, MAC, address, last claim, first and last sighting. Probes (origins 2 and 5)
/// and messages without a MAC (7 and 8) are no claims, and those with a MAC that no host has (12 to 15) no pairings.
const PAIRINGS: &str = "
    SELECT interface, vlan_tag, mac_address, ip_address,
        max(timestamp) FILTER (WHERE coalesce(origin, 0) NOT IN (2, 5, 7, 8, 12, 13, 14, 15)), min(timestamp), max(timestamp)
    FROM %s WHERE coalesce(origin, 0) NOT IN (12, 13, 14, 15) GROUP BY 1, 2, 3, 4";
/// Columns of addrwatch's table.
const ADDRWATCH: &str = "timestamp, interface, vlan_tag, mac_address, ip_address, origin";
/// The tables of aw-sqlite, and their columns that are read.
const HISTORY: [(&str, &str); 3] = [
    ("place", "id, interface, vlan"),
    ("pairing", "id, mac, place, ip"),
    ("sighting", "pairing, time, origin"),
];
/// The rows of these tables, with addrwatch's columns.
const SIGHTINGS: &str = "
    SELECT time / 1000000000 - (time % 1000000000 < 0) AS timestamp, interface, vlan AS vlan_tag,
        printf('%02x:%02x:%02x:%02x:%02x:%02x', mac >> 40, mac >> 32 & 255, mac >> 24 & 255, mac >> 16 & 255,
            mac >> 8 & 255, mac & 255) AS mac_address, ip AS ip_address, origin
    FROM (SELECT pairing, time, origin FROM sighting UNION ALL SELECT pairing, time, origin FROM %r
        UNION ALL SELECT pairing, first, first_origin FROM %s UNION ALL SELECT pairing, last, last_origin FROM %s WHERE last > first)
    JOIN pairing ON pairing.id = pairing JOIN place ON place.id = place";
const HOSTS: &str = "interface_name, ip_address, ether_address, real_ether_address, first_seen, last_seen, prev_ether_address, prev_last_seen";
/// Times are in UTC. hostwatch stores the MAC of the frame and that of the ARP message: the pairing has the latter. The
/// previous pairing comes first, so that the newer one is the current one.
const HOSTWATCH: &str = "
    SELECT interface_name, 0, prev_ether_address, ip_address, strftime('%s', prev_last_seen), NULL, NULL
        FROM hosts WHERE prev_ether_address <> '' AND prev_last_seen IS NOT NULL
    UNION ALL SELECT interface_name, 0, coalesce(nullif(real_ether_address, ''), ether_address),
        ip_address, strftime('%s', last_seen), strftime('%s', first_seen), NULL FROM hosts";

/// How long a database is read: some time, and more for each MiB. A file can be made so that reading it has no end.
const AT_LEAST: Duration = Duration::from_secs(60);
const OF_EACH_MIB: Duration = Duration::from_secs(1);
const AT_MOST: Duration = Duration::from_secs(6 * 3600);

/// How reading a database ended.
#[derive(Debug, PartialEq)]
pub enum End {
    Read,
    /// No program that is known has created it.
    Unknown,
    /// Another program changed it: what was read, and an error, is to be discarded.
    Changed,
}

/// Calls a function with each row.
pub fn each_row<E: From<rusqlite::Error>>(
    path: &Path,
    take: impl FnMut(&Row) -> Result<(), E>,
) -> Result<End, E> {
    let size = path.metadata().map_or(0, |file| file.len());
    let limit = AT_LEAST + OF_EACH_MIB * u32::try_from(size >> 20).unwrap_or(u32::MAX);
    each_row_within(limit.min(AT_MOST), path, take)
}

fn each_row_within<E: From<rusqlite::Error>>(
    limit: Duration,
    path: &Path,
    take: impl FnMut(&Row) -> Result<(), E>,
) -> Result<End, E> {
    // Without a lock, which would stop a program that writes to it.
    let snapshot = Snapshot::open(path)?;
    let database = &snapshot.database;
    let interrupt = database.get_interrupt_handle();
    let (done, is_done) = mpsc::channel::<()>();
    let timer = thread::spawn(move || {
        while is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let end = read(database, |error| explained(error, limit), take);
    drop(done);
    let _ = timer.join(); // its only failure would be a panic, which is reported
    if snapshot.is_intact()? { end } else { Ok(End::Changed) }
}

fn read<E: From<rusqlite::Error>>(
    database: &Connection,
    explained: impl Fn(rusqlite::Error) -> rusqlite::Error,
    mut take: impl FnMut(&Row) -> Result<(), E>,
) -> Result<End, E> {
    let Some(select) = select_of(database)? else { return Ok(End::Unknown) };
    let mut select = database.prepare(&select)?;
    let mut rows = select.query([]).map_err(&explained)?;
    while let Some(row) = rows.next().map_err(&explained)? {
        take(row)?;
    }
    Ok(End::Read)
}

/// What to read, if the tables are of a program that is known.
fn select_of(database: &Connection) -> rusqlite::Result<Option<String>> {
    let has = |table: &str, columns: &str| {
        has_columns(database, table, &columns.split(", ").collect::<Vec<_>>())
    };
    if has("hosts", HOSTS)? {
        return Ok(Some(HOSTWATCH.into()));
    }
    if has("addrwatch", ADDRWATCH)? {
        return Ok(Some(PAIRINGS.replace("%s", "addrwatch")));
    }
    for (table, columns) in HISTORY {
        if !has(table, columns)? {
            return Ok(None);
        }
    }
    // Rows of addrwatch's table that aw-sqlite has not imported yet are in a table of their own.
    let old =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%\\_old' ESCAPE '\\'";
    let mut old = database.prepare(old)?;
    let old = old.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut all = SIGHTINGS.to_owned();
    let rows = HistoryRows::of(database)?;
    all = all.replace("%r", &rows.recent()).replace("%s", rows.spans());
    for table in old {
        if has(&table, ADDRWATCH)? {
            let name = table.replace('"', "\"\"");
            all += &format!(" UNION ALL SELECT {ADDRWATCH} FROM \"{name}\"");
        }
    }
    Ok(Some(PAIRINGS.replace("%s", &format!("({all})"))))
}

fn explained(error: rusqlite::Error, limit: Duration) -> rusqlite::Error {
    if error.sqlite_error_code() != Some(ErrorCode::OperationInterrupted) {
        return error;
    }
    let why = format!(
        "reading it took longer than {} s: it is damaged, or was made to have no end (copy it with sqlite3's .recover, and import the copy)",
        limit.as_secs()
    );
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT);
    rusqlite::Error::SqliteFailure(code, Some(why))
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

#[cfg(test)]
#[path = "database/tests.rs"]
mod tests;
