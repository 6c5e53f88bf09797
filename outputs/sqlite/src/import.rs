//! Carries over the rows of a table that addrwatch made, some at a time, while new events come: each
//! step adds the new rows and deletes the old ones in one transaction. The view has both.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use aw_output::{info, this_host, warn};
use rusqlite::{Connection, OptionalExtension, Row};
use shm_layout::MacAddr;

use crate::{
    insert::{Insert, Sighting, place},
    schema,
};

/// How often progress is told.
const TELL: Duration = Duration::from_secs(5);

/// One table at a time: there are two only where `--table` was changed meanwhile.
pub struct Import {
    host: String,
    old: String,
    /// Rows dealt with, by their number; rows that cannot be carried over stay behind it.
    last: i64,
    rows: [u64; 3],
    told: Instant,
    ended: bool,
}

/// What `rows` counts, after all of them.
const DONE: usize = 1;
const LEFT: usize = 2;

impl Import {
    /// What there is to be carried over, if anything: of the first table behind this one.
    pub fn find(database: &Connection, behind: &str) -> rusqlite::Result<Option<Import>> {
        let olds = schema::olds(database)?;
        let Some(old) = olds.into_iter().find(|old| old.as_str() > behind) else { return Ok(None) };
        let count = format!("SELECT count(*) FROM \"{old}\"");
        let all = database.query_row(&count, [], |row| row.get::<_, i64>(0))? as u64;
        if all > 0 {
            info(format_args!("carrying over {all} rows of addrwatch's table ({old})"));
        }
        let (host, told) = (this_host(), Instant::now());
        Ok(Some(Import { host, old, last: i64::MIN, rows: [all, 0, 0], told, ended: false }))
    }

    /// The table.
    pub fn old(&self) -> &str {
        &self.old
    }

    /// Carries over so many rows; tells whether there may be more. In the caller's transaction.
    pub fn step(
        &mut self,
        database: &Connection,
        insert: &mut Insert,
        limit: usize,
    ) -> rusqlite::Result<bool> {
        let old = self.old.clone();
        let select = format!(
            "SELECT rowid, timestamp, interface, vlan_tag, mac_address, ip_address, origin
            FROM \"{old}\" WHERE rowid > ? ORDER BY rowid LIMIT ?"
        );
        let delete = format!("DELETE FROM \"{old}\" WHERE rowid = ?");
        let mut select = database.prepare_cached(&select)?;
        let mut rows = select.query([self.last, limit as i64])?;
        let mut taken = 0;
        while let Some(row) = rows.next()? {
            taken += 1;
            self.last = row.get(0)?;
            let Some(old) = old_row(row)? else {
                self.rows[LEFT] += 1;
                continue;
            };
            let names = [&self.host, "", &old.interface, ""];
            let place = place(database, names, [old.vlan, 0])?;
            let sighting = Sighting { place, ..old.sighting };
            insert.sighting(database, &sighting, || old.ip)?;
            database.prepare_cached(&delete)?.execute([self.last])?;
            self.rows[DONE] += 1;
        }
        if taken == limit {
            return Ok(true);
        }
        drop(rows);
        let any = format!("SELECT 1 FROM \"{old}\" LIMIT 1");
        if database.query_row(&any, [], |_| Ok(())).optional()?.is_none() {
            schema::drop_old(database, &old)?;
        }
        self.ended = true;
        self.tell_end();
        Ok(false)
    }

    /// Tells how far it is, now and then.
    pub fn tell(&mut self) {
        if self.told.elapsed() >= TELL && !self.ended {
            self.told = Instant::now();
            let [all, done, left] = self.rows;
            info(format_args!("carried over {} of {all} rows", done + left));
        }
    }

    fn tell_end(&self) {
        let [all, done, left] = self.rows;
        if all > 0 {
            info(format_args!("all of addrwatch's rows that can be read are carried over: {done}"));
        }
        if left > 0 {
            warn(format_args!("{left} rows cannot be read, and stay in table {}", self.old));
        }
    }
}

struct OldRow {
    sighting: Sighting,
    interface: String,
    vlan: i64,
    ip: String,
}

/// A row as addrwatch writes it; nothing if it could not be told the same afterwards.
fn old_row(row: &Row) -> rusqlite::Result<Option<OldRow>> {
    let number = |column| row.get_ref(column).map(|value| value.as_i64().ok());
    let text = |column| row.get_ref(column).map(|value| value.as_str().ok().map(str::to_owned));
    let (time, interface, vlan) = (number(1)?, text(2)?, number(3)?);
    let (mac, ip, origin) = (text(4)?, text(5)?, number(6)?);
    let read = || {
        let ip = ip?;
        let time = time?.checked_mul(1_000_000_000)?;
        let origin = u8::try_from(origin?).ok().filter(|origin| *origin <= 5)?;
        let mac = mac_of(&mac?)?;
        let address: IpAddr = ip.parse().ok()?;
        let sighting = Sighting { place: 0, mac, ip: address, time, origin };
        Some(OldRow { sighting, interface: interface?, vlan: vlan?, ip })
    };
    Ok(read())
}

/// Only as addrwatch writes it: the view would print another spelling differently.
fn mac_of(text: &str) -> Option<MacAddr> {
    text.parse().ok().filter(|mac: &MacAddr| mac.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        let mac = MacAddr::new([0, 0x1a, 0xff, 2, 3, 4]);
        assert_eq!(mac_of("00:1a:ff:02:03:04"), Some(mac));
        for bad in
            ["", "00:1a:ff:02:03", "00:1a:ff:02:03:04:05", "0:1a:ff:2:3:4", "00:1A:ff:02:03:04"]
        {
            assert_eq!(mac_of(bad), None, "{bad}");
        }
    }
}
