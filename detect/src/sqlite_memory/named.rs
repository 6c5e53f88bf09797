//! Which rows the configuration protects: those of the MACs that it names.

use std::time::Instant;

use aw_output::SinkResult;
use rusqlite::params;
use shm_layout::MacAddr;

use super::{SqliteMemory, mac_number};

impl SqliteMemory {
    /// Marks the devices that the configuration names now, and the addresses that they had first, and no others: at the start,
    /// because a row is else marked only when its device is seen again. Commits.
    pub fn apply_names(&mut self, macs: &[MacAddr]) -> SinkResult {
        self.mark_named(macs)?;
        self.commit(Instant::now())
    }

    /// The same as a part of the transaction.
    pub fn mark_named(&mut self, macs: &[MacAddr]) -> SinkResult {
        self.write_times()?;
        self.with(|database| {
            database.execute_batch(
                "CREATE TEMP TABLE IF NOT EXISTS named (mac INTEGER PRIMARY KEY, octets BLOB UNIQUE);
                DELETE FROM named",
            )?;
            let mut insert = database.prepare("INSERT OR IGNORE INTO named VALUES (?, ?)")?;
            for mac in macs {
                insert.execute(params![mac_number(*mac), mac.octets()])?;
            }
            // An earlier release did not store the first claim; the last one of a row is the oldest.
            database.execute_batch(
                "UPDATE device SET named = NOT named WHERE named != (mac IN (SELECT mac FROM named));
                UPDATE station SET named = NOT named WHERE named !=
                    (ifnull(substr(ifnull(first, substr(claims, -14)), 1, 6), '') IN
                        (SELECT octets FROM named))",
            )
        })
    }
}
