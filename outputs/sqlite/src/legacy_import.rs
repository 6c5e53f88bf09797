//! Imports the rows of a table that addrwatch created, in steps, while new events arrive. Each step adds
//! the new rows and deletes the old ones in one transaction. The view shows both.
//!
//! A row of a compact table has the first and the last time of a pairing with an origin, and the number of its sightings.
//! It becomes the two sightings whose times are known. The times of the others are not known, so they are not invented.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use aw_output::{info, this_host, warn};
use rusqlite::{Connection, Row};
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
        let first = if self.is_compact { "timestamp_first, count" } else { "timestamp, 1" };
        let select = format!(
            "SELECT rowid, timestamp, interface, vlan_tag, mac_address, ip_address, origin, {first}
            FROM \"{table}\" WHERE rowid > ? ORDER BY rowid LIMIT ?"
        );
        let delete = format!("DELETE FROM \"{table}\" WHERE rowid = ?");
        let mut select = database.prepare_cached(&select)?;
        let mut rows = select.query([self.last_row, limit as i64])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            self.last_row = row.get(0)?;
            let Some(row) = parse_row(row)? else {
                self.unreadable += 1;
                continue;
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
        let LegacyImport { table, total, imported, unreadable, undated, .. } = self;
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
                "{unreadable} rows are not in addrwatch's format and stay in table {table} (the view shows them)"
            ));
        }
    }
}

struct LegacyRow {
    /// The last one, of a compact row.
    sighting: SightingRow,
    /// The time of the first one, if there is another.
    first: Option<i64>,
    /// The number of those between them.
    undated: u64,
    interface: String,
    vlan: i64,
    ip: String,
}

/// A row as addrwatch writes it; None if the view would show it differently after the import.
fn parse_row(row: &Row) -> rusqlite::Result<Option<LegacyRow>> {
    let number = |column| row.get_ref(column).map(|value| value.as_i64().ok());
    let text = |column| row.get_ref(column).map(|value| value.as_str().ok().map(str::to_owned));
    let (time, interface, vlan) = (number(1)?, text(2)?, number(3)?);
    let (mac, ip, origin) = (text(4)?, text(5)?, number(6)?);
    let (first, count) = (number(7)?, number(8)?);
    let parse = || {
        let ip = ip?;
        let nanos = |seconds: i64| seconds.checked_mul(1_000_000_000);
        let (first, time) = (nanos(first?)?, nanos(time?)?);
        let (first, undated) = match count? {
            1 if first == time => (None, 0),
            count @ 2.. => (Some(first), count as u64 - 2),
            _ => return None,
        };
        let origin = u8::try_from(origin?).ok().filter(|origin| *origin <= 5)?;
        let mac = parse_mac(&mac?)?;
        let address: IpAddr = ip.parse().ok()?;
        let sighting = SightingRow { place: 0, mac, ip: address, source: OWN_FRAME, time, origin };
        Some(LegacyRow { sighting, first, undated, interface: interface?, vlan: vlan?, ip })
    };
    Ok(parse())
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
