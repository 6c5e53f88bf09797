//! `aw-sqlite forget-names`: deletes what devices call themselves, the addresses that they announced, and their leases, also while aw-sqlite writes to the database.

use std::{collections::BTreeSet, path::Path, time::Duration};

use aw_output::{
    Error, failed, info,
    names::{NAMES_FILE, Names, named, without_local},
    warn,
};
use aw_service::count_of;
use rusqlite::{Connection, Transaction, TransactionBehavior, params_from_iter};
use shm_layout::MacAddr;

use crate::{
    database_file::file_id,
    schema::{Unusable, ViewName},
    sqlite_sink::{open_connection, write_failure},
};

/// How long to wait for another program's transaction: those of aw-sqlite are short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// MACs in a message.
const LISTED: usize = 8;
/// MACs in a statement.
const MACS: usize = 500;

/// Where else names are: no other program can delete them there.
const ELSEWHERE: &str = "names may also be in the ring of names (a collector without --names removes it), in memory of aw-tracker and aw-mqtt until they are restarted, in messages and the database of aw-alert, in logs, and in copies and exports of the history";

/// A device as it is named on the command line.
#[derive(Clone, Debug)]
pub enum Device {
    Mac(MacAddr),
    Name(String),
}

/// Deletes the names and leases of these devices; of all, if none is named. `names` are those that a user gave.
pub fn forget_names(
    path: &Path,
    view: &ViewName,
    (devices, names): (&[Device], &Names),
) -> Result<(), Error> {
    let what = format!("forget names in {}", path.display());
    if file_id(path).is_none() {
        return Err(failed(format_args!(
            "{what}: there is no such file (choose another one with --database)"
        )));
    }
    let opened = open_connection(path, view, None, BUSY_TIMEOUT);
    let (database, _lock) = opened.map_err(|why| match why {
        Unusable::Foreign(why) => failed(format_args!("{what}: {why}")),
        Unusable::Sqlite(error) => failed(write_failure(path, error)),
    })?;
    let macs = devices.iter().map(|device| mac_of((&database, path), device, names));
    let macs = macs.collect::<Result<Vec<_>, _>>()?;
    let ([names, leases], is_clean) =
        delete(&database, &macs).map_err(|error| failed(write_failure(path, error)))?;
    info(format_args!(
        "{} and {} deleted from {}",
        count_of(names, "name or address", "names and addresses"),
        count_of(leases, "lease", "leases"),
        path.display()
    ));
    if !is_clean {
        warn(format_args!(
            "the log beside {} still has them, because another program reads it (run this command again later)",
            path.display()
        ));
    }
    info(ELSEWHERE);
    Ok(())
}

/// The MAC of a device, as `aw-query name` has it: what a device calls itself is no reason to delete something.
fn mac_of(
    (database, path): (&Connection, &Path),
    device: &Device,
    names: &Names,
) -> Result<MacAddr, Error> {
    let name = match device {
        Device::Mac(mac) => return Ok(*mac),
        Device::Name(name) => name,
    };
    let listed = |macs: &[MacAddr]| {
        let macs: Vec<_> = macs.iter().take(LISTED).map(MacAddr::to_string).collect();
        macs.join(", ")
    };
    match named(names, name).as_slice() {
        [mac] => return Ok(*mac),
        [] => {}
        several => {
            return Err(failed(format_args!(
                "several devices have the name {name:?}: {} (write one of these MACs)",
                listed(several)
            )));
        }
    }
    let claiming = claiming(database, name).map_err(|error| failed(write_failure(path, error)))?;
    let calls = match claiming.as_slice() {
        [] => "no device calls itself so (write a MAC)".into(),
        macs => format!("these call themselves so: {} (write one of these MACs)", listed(macs)),
    };
    Err(failed(format_args!("no device has the name {name:?} in {NAMES_FILE}; {calls}")))
}

/// The MACs that call themselves so; case does not count, and not only that of ASCII, which is what SQLite's `lower` has.
fn claiming(database: &Connection, name: &str) -> rusqlite::Result<Vec<MacAddr>> {
    let select = "SELECT mac, name FROM claimed_name
        WHERE source < 8 AND typeof(mac) = 'integer' AND typeof(name) = 'text'";
    let wanted = [name, without_local(name).unwrap_or(name)].map(str::to_lowercase);
    let mut found = BTreeSet::new();
    let mut select = database.prepare(select)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let [_, _, mac @ ..] = row.get::<_, i64>(0)?.to_be_bytes();
        let name = String::from_utf8_lossy(row.get_ref(1)?.as_bytes()?).to_lowercase();
        if wanted.contains(&name) {
            found.insert(MacAddr::new(mac));
        }
    }
    Ok(found.into_iter().collect())
}

/// Returns how many names and leases are deleted, and whether the write-ahead log has none of them.
fn delete(database: &Connection, macs: &[MacAddr]) -> rusqlite::Result<([u64; 2], bool)> {
    // What is deleted is overwritten, and not only free.
    database.query_row("PRAGMA secure_delete = on", [], |_| Ok(()))?;
    let transaction = Transaction::new_unchecked(database, TransactionBehavior::Immediate)?;
    let mut deleted = [0; 2];
    for (table, deleted) in ["claimed_name", "address_lease"].into_iter().zip(&mut deleted) {
        if macs.is_empty() {
            *deleted += transaction.execute(&format!("DELETE FROM {table}"), [])? as u64;
        }
        for macs in macs.chunks(MACS) {
            let places = vec!["?"; macs.len()].join(", ");
            let delete = format!("DELETE FROM {table} WHERE mac IN ({places})");
            let macs = params_from_iter(macs.iter().map(|mac| mac.number() as i64));
            *deleted += transaction.execute(&delete, macs)? as u64;
        }
    }
    transaction.commit()?;
    let busy: i64 = database.query_row("PRAGMA wal_checkpoint(truncate)", [], |row| row.get(0))?;
    Ok((deleted, busy == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who asks to be forgotten is found, as by `aw-query mac`: an answer that there is nothing would be wrong.
    #[test]
    fn what_devices_call_themselves() {
        let database = Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE claimed_name (mac, source, name);
            INSERT INTO claimed_name VALUES (2, 1, 'müller'), (1, 4, 'MÜLLER'), (1, 1, 'müller'), (3, 1, 'nas'), (4, 8, 'nas'),
                (5, 1, x'ff'), ('x', 1, 'nas');";
        database.execute_batch(tables).unwrap();
        let found = |name| {
            let macs = claiming(&database, name).unwrap();
            macs.iter().map(|mac| mac.number()).collect::<Vec<_>>()
        };
        assert_eq!(found("MÜLLER"), [1, 2]);
        assert_eq!(found("Müller.local"), [1, 2]);
        assert_eq!(found("NAS.local"), [3]);
        assert_eq!(found("nas2"), [] as [u64; 0]);
    }
}
