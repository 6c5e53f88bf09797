//! Imports the rows of a table that addrwatch created, in steps, while new events arrive. Each step adds
//! the new rows and deletes the old ones in one transaction. The view shows both.
//!
//! A row of a compact table has the first and the last time of a pairing with an origin, and the number of its sightings.
//! It becomes the two sightings whose times are known. The times of the others are not known, so they are not invented.

use std::time::{Duration, Instant};

use aw_output::{info, this_host, warn};
use aw_service::plain;
use rusqlite::{Connection, Row, types::ValueRef};
use shm_layout::MacAddr;

use crate::{
    row_writer::{OWN_FRAME, RowWriter, SightingRow, place_id},
    schema,
};

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// The import of one table. There is more than one only if `--table` was changed during an import.
pub struct LegacyImport {
    host: String,
    pub table: String,
    is_compact: bool,
    /// The rowid of the last row that was read. Rows before it that are still there cannot be imported.
    last_row: i64,
    total: u64,
    imported: u64,
    unreadable: u64,
    /// The first one of these, and why.
    first_unreadable: String,
    /// Sightings that compact rows count without their times.
    undated: u64,
    reported: Instant,
}

impl LegacyImport {
    /// The import of the first table whose name comes after `previous`, if there is one.
    pub fn find(database: &Connection, previous: &str) -> rusqlite::Result<Option<LegacyImport>> {
        let tables = schema::legacy_tables(database)?;
        let Some(table) = tables.into_iter().find(|table| table.as_str() > previous) else {
            return Ok(None);
        };
        let count = format!("SELECT count(*) FROM \"{table}\"");
        let total = database.query_row(&count, [], |row| row.get::<_, i64>(0))? as u64;
        if total > 0 {
            info(format_args!("importing {total} rows of addrwatch's table ({table})"));
        }
        let (host, reported) = (this_host(), Instant::now());
        let is_compact = schema::is_compact(database, &table)?;
        let (last_row, imported, unreadable, undated) = (i64::MIN, 0, 0, 0);
        Ok(Some(LegacyImport {
            host,
            table,
            is_compact,
            last_row,
            total,
            imported,
            unreadable,
            first_unreadable: String::new(),
            undated,
            reported,
        }))
    }

    /// Imports at most `limit` rows, in the caller's transaction. Returns true if there may be more.
    pub fn step(
        &mut self,
        database: &Connection,
        writer: &mut RowWriter,
        limit: usize,
    ) -> rusqlite::Result<bool> {
        let table = self.table.clone();
        let select = select(&table, self.is_compact);
        let delete = format!("DELETE FROM \"{table}\" WHERE rowid = ?");
        let mut select = database.prepare_cached(&select)?;
        let mut rows = select.query([self.last_row, limit as i64])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            self.last_row = row.get(0)?;
            let row = match parse_row(row)? {
                Ok(row) => row,
                Err(why) => {
                    if self.unreadable == 0 {
                        self.first_unreadable = format!("rowid {}: {why}", self.last_row);
                    }
                    self.unreadable += 1;
                    continue;
                }
            };
            let names = [&self.host, "", &row.interface, ""];
            let place = place_id(database, names, [row.vlan, 0])?;
            let last = SightingRow { place, ..row.sighting };
            if let Some(time) = row.first {
                let first = SightingRow { time, ..last };
                writer.add_imported(database, &first, || row.ip.clone())?;
            }
            writer.add_imported(database, &last, || row.ip)?;
            self.undated = self.undated.saturating_add(row.undated);
            database.prepare_cached(&delete)?.execute([self.last_row])?;
            self.imported += 1;
        }
        if read == limit {
            return Ok(true);
        }
        drop(rows);
        schema::end_import(database, &table)?;
        self.report_end();
        Ok(false)
    }

    /// Reports progress every few seconds.
    pub fn report_progress(&mut self) {
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            let read = self.imported + self.unreadable;
            info(format_args!("imported {read} of {} rows", self.total));
        }
    }

    fn report_end(&self) {
        let LegacyImport { table, total, imported, unreadable, undated, first_unreadable, .. } =
            self;
        if *total > 0 {
            info(format_args!("import ended: {imported} rows of addrwatch's table are imported"));
        }
        if *undated > 0 {
            info(format_args!(
                "addrwatch's table was compact: the first and the last sighting of each row are imported; the times of {undated} sightings between them are not in the table"
            ));
        }
        if *unreadable > 0 {
            warn(format_args!(
                "{unreadable} rows are not in addrwatch's format and stay in table {table}; the first one is {first_unreadable} (the view shows them, aw-query does not)"
            ));
        }
    }
}

pub struct LegacyRow {
    /// The last one, of a compact row.
    pub sighting: SightingRow,
    /// The time of the first one, if there is another.
    pub first: Option<i64>,
    /// The number of those between them.
    pub undated: u64,
    pub interface: String,
    pub vlan: i64,
    pub ip: String,
}

/// The next rows of a table after a rowid, so many.
pub fn select(table: &str, is_compact: bool) -> String {
    let first = if is_compact { "timestamp_first, count" } else { "timestamp, 1" };
    format!(
        "SELECT rowid, timestamp, interface, vlan_tag, mac_address, ip_address, origin, {first}
        FROM \"{table}\" WHERE rowid > ? ORDER BY rowid LIMIT ?"
    )
}

/// A row as addrwatch writes it; why it is not one, if the view would show it differently after the import.
pub fn parse_row(row: &Row) -> rusqlite::Result<Result<LegacyRow, String>> {
    const SECOND: i64 = 1_000_000_000;
    let mut wrong = None;
    let mut fails = |column: usize, name: &str, wanted: &str| -> rusqlite::Result<()> {
        let value = match row.get_ref(column)? {
            ValueRef::Null => "NULL".into(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) => {
                let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
                format!("'{}'", plain(&text))
            }
            ValueRef::Blob(_) => "bytes".into(),
        };
        wrong.get_or_insert(format!("{name} is {value}, not {wanted}"));
        Ok(())
    };
    let mut number = |column: usize, name: &str, wanted: &str, is_good: &dyn Fn(i64) -> bool| {
        let found = row.get_ref(column)?.as_i64().ok().filter(|number| is_good(*number));
        if found.is_none() {
            fails(column, name, wanted)?;
        }
        Ok::<_, rusqlite::Error>(found.unwrap_or_default())
    };
    let is_time = |seconds: i64| seconds.checked_mul(SECOND).is_some();
    let time = number(1, "timestamp", "seconds", &is_time)?;
    let vlan = number(3, "vlan_tag", "a number", &|_| true)?;
    let origin = number(6, "origin", "a number from 0 to 5", &|it| (0..=5).contains(&it))?;
    let first = number(7, "timestamp_first", "seconds", &is_time)?;
    let is_count = |count: i64| count > 1 || count == 1 && first == time;
    let count = number(8, "count", "the number of its sightings", &is_count)?;
    let text = |column: usize| row.get_ref(column).map(|value| value.as_str().ok());
    let (mac, ip) = (text(4)?.and_then(parse_mac), text(5)?.and_then(|ip| ip.parse().ok()));
    let (Some(interface), Some(mac), Some(address)) = (text(2)?, mac, ip) else {
        for (column, name, wanted, is_wrong) in [
            (2, "interface", "a text", text(2)?.is_none()),
            (4, "mac_address", "a MAC such as 00:1a:2b:3c:4d:5e", mac.is_none()),
            (5, "ip_address", "an address", ip.is_none()),
        ] {
            if is_wrong {
                fails(column, name, wanted)?;
            }
        }
        return Ok(Err(wrong.unwrap_or_default()));
    };
    if let Some(why) = wrong {
        return Ok(Err(why));
    }
    let sighting = SightingRow {
        place: 0,
        mac,
        ip: address,
        source: OWN_FRAME,
        time: time * SECOND,
        origin: origin as u8,
    };
    let (interface, ip) = (interface.to_owned(), text(5)?.unwrap_or_default().to_owned());
    let (first, undated) = match count {
        1 => (None, 0),
        count => (Some(first * SECOND), count as u64 - 2),
    };
    Ok(Ok(LegacyRow { sighting, first, undated, interface, vlan, ip }))
}

/// Only the notation that addrwatch writes, because the view prints that one.
fn parse_mac(text: &str) -> Option<MacAddr> {
    text.parse().ok().filter(|mac: &MacAddr| mac.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        let mac = MacAddr::new([0, 0x1a, 0xff, 2, 3, 4]);
        assert_eq!(parse_mac("00:1a:ff:02:03:04"), Some(mac));
        for bad in
            ["", "00:1a:ff:02:03", "00:1a:ff:02:03:04:05", "0:1a:ff:2:3:4", "00:1A:ff:02:03:04"]
        {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
