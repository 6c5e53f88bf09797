//! The memory of addresses and devices in a SQLite database, with the checkpoint of each ring. All changes since the last
//! commit are one transaction, so that after a kill nothing is forgotten and nothing is reported twice.

mod adoption;
mod columns;
mod faults;
mod first_day;
mod forget;
mod infrastructure;
mod learned;
mod named;

use std::{
    collections::HashMap,
    fs::{OpenOptions, Permissions},
    io::ErrorKind,
    net::IpAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_database::Snapshot;
use aw_output::{Checkpoint, Error, Fault, SinkResult, failed};
use aw_service::{FileKind, full_disk, open_file, unwritable};
use rusqlite::{Connection, OptionalExtension, Row, config::DbConfig, params};
use shm_layout::{MacAddr, RingName};

use crate::{cache::Cache, device::Device, network::NetworkState, rules::Memory, station::Station};
pub use first_day::Place;
pub use infrastructure::InfrastructureRow;
pub use learned::{LearnedDevice, SharedAddress};

use adoption::ShortNames;
use columns::{device_from, ip_bytes, ip_from, station_from};

/// `exclusive`: one program at a time. `full`: after a power cut nothing is reported a second time. `memory`: temporary
/// files, because the program can write to no other directory.
const SCHEMA: &str = "PRAGMA locking_mode = exclusive; PRAGMA journal_mode = wal; PRAGMA synchronous = full; PRAGMA temp_store = memory;
    CREATE TABLE IF NOT EXISTS station (network TEXT, ip BLOB, last INTEGER, claims BLOB, probe BLOB,
        told INTEGER, untold INTEGER, told_duplicate INTEGER, PRIMARY KEY (network, ip)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS device (mac INTEGER PRIMARY KEY, first INTEGER, last INTEGER,
        addresses INTEGER, unknown_day INTEGER, silent INTEGER);
    CREATE TABLE IF NOT EXISTS account (ring TEXT PRIMARY KEY, generation INTEGER,
        began INTEGER, delivered INTEGER, lost INTEGER, skipped INTEGER);
    CREATE TABLE IF NOT EXISTS network (network TEXT PRIMARY KEY, first INTEGER, denied INTEGER,
        denied_since INTEGER, reported INTEGER);
    CREATE TABLE IF NOT EXISTS adoption (network TEXT PRIMARY KEY, full_network TEXT);";

/// Stations and devices that are stored, of each; above that, `forget` deletes some.
const MAX_ROWS: u64 = 1_000_000;
/// "Last seen" times are written at this interval: after a kill they are older by so much, at most.
const WRITE_INTERVAL: Duration = Duration::from_secs(300);
/// New rows after which their number is checked, as a part of the maximum; also at the start.
const CHECK_PART: u64 = 20;

/// The database of one program.
pub struct SqliteMemory {
    path: PathBuf,
    database: Connection,
    /// New rows since their number was checked.
    new: u64,
    /// Stations and devices, of each.
    pub(crate) max_rows: u64,
    /// Rows that were deleted to make room, since [`SqliteMemory::take_forgotten`].
    forgotten: u64,
    stations: Cache<(String, IpAddr), Station>,
    devices: Cache<MacAddr, Device>,
    networks: HashMap<String, NetworkState>,
    short_names: Option<ShortNames>,
    /// When the caches were last written.
    written: Option<Instant>,
}

impl SqliteMemory {
    /// The path of a program's database in its state directory.
    pub fn path(directory: &Path, program: &str) -> PathBuf {
        directory.join(format!("{program}.db"))
    }

    /// Opens or creates the database. `schema` creates further tables of the program.
    pub fn open(directory: &Path, program: &str, schema: &str) -> SinkResult<SqliteMemory> {
        let path = SqliteMemory::path(directory, program);
        make_private(&path)?;
        let open = || {
            let database = Connection::open(&path)?;
            database.busy_timeout(Duration::from_millis(100))?;
            database.set_prepared_statement_cache_capacity(32);
            // Otherwise SQLite compiles some cached statements again for each new value.
            database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            database.execute_batch(SCHEMA)?;
            database.execute_batch(infrastructure::SCHEMA)?;
            columns::add_missing(&database)?;
            // Takes the lock, which is then held to the end.
            let create = format!("BEGIN IMMEDIATE; {schema}; COMMIT");
            database.execute_batch(&create).map(|()| database)
        };
        match open() {
            Ok(database) => {
                let (stations, devices) = (Cache::new(), Cache::new());
                let (new, max_rows) = (MAX_ROWS, MAX_ROWS);
                let (networks, short_names, written) = (HashMap::new(), None, None);
                Ok(SqliteMemory {
                    path,
                    database,
                    new,
                    max_rows,
                    forgotten: 0,
                    stations,
                    devices,
                    networks,
                    short_names,
                    written,
                })
            }
            Err(error) => Err(fault(&path, &error)),
        }
    }

    /// For `--check`: whether the database, if it exists, is one of this program. Nothing is changed, and no
    /// lock is taken. Returns why not.
    pub fn check(directory: &Path, program: &str) -> Result<(), String> {
        match SqliteMemory::peek(directory, program, foreign_table)?.flatten() {
            None => Ok(()),
            Some(table) => Err(format!(
                "use {}: its table {table} is not of {program} (choose another --state-dir, or move the file away)",
                SqliteMemory::path(directory, program).display()
            )),
        }
    }

    /// For `--check`: what `read` finds in the database, if it exists. Nothing is changed, and no lock is taken.
    pub fn peek<T>(
        directory: &Path,
        program: &str,
        read: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, String> {
        let path = SqliteMemory::path(directory, program);
        if !path.exists() {
            return Ok(None);
        }
        let tried = || {
            loop {
                let snapshot = Snapshot::open(&path)?;
                let found = read(&snapshot.database);
                if snapshot.is_intact()? {
                    return found.map(Some);
                }
            }
        };
        tried().map_err(|error| fault(&path, &error).into_error().to_string())
    }

    /// The full names of all networks whose addresses it has.
    pub fn networks(database: &Connection) -> rusqlite::Result<Vec<String>> {
        let mut select = database.prepare(adoption::NETWORKS)?;
        select.query_map([], |row| row.get(0))?.collect()
    }

    /// The file of the database.
    pub fn file(&self) -> &Path {
        &self.path
    }

    /// Runs statements in the transaction that `commit` ends.
    pub fn with<T>(
        &mut self,
        act: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> SinkResult<T> {
        let mut done = Ok(());
        if self.database.is_autocommit() {
            done = self.database.execute_batch("BEGIN");
        }
        done.and_then(|()| act(&self.database)).map_err(|error| fault(&self.path, &error))
    }

    /// Runs a query without beginning a transaction.
    pub fn read<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> SinkResult<T> {
        act(&self.database).map_err(|error| fault(&self.path, &error))
    }

    /// Commits all changes since the last commit, or none of them.
    pub fn commit(&mut self, now: Instant) -> SinkResult {
        if self.new >= self.max_rows / CHECK_PART {
            self.new = 0;
            self.forget()?;
        }
        let full = self.stations.is_full() || self.devices.is_full();
        let written = *self.written.get_or_insert(now);
        if full || now.saturating_duration_since(written) >= WRITE_INTERVAL {
            self.written = Some(now);
            self.write_times()?;
        }
        if self.database.is_autocommit() {
            return Ok(());
        }
        self.with(|database| database.execute_batch("COMMIT"))
    }

    /// Discards all changes since the last commit, and "last seen" times that are not written yet: the caches do not
    /// distinguish the two.
    pub fn roll_back(&mut self) {
        if !self.database.is_autocommit() {
            let _ = self.database.execute_batch("ROLLBACK"); // fails only if SQLite has rolled it back already
        }
        self.stations.clear();
        self.devices.clear();
        self.networks.clear();
        self.short_names = None;
    }

    /// Writes "last seen" times that only the caches have.
    pub fn write_times(&mut self) -> SinkResult {
        for ((network, ip), station) in self.stations.dirty() {
            self.replace_station(&network, ip, &station)?;
        }
        for (mac, device) in self.devices.dirty() {
            self.replace_device(mac, &device)?;
        }
        self.stations.clear();
        self.devices.clear();
        Ok(())
    }

    /// The number of addresses, devices and networks that were forgotten since the last call, to make room for others.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    /// Forgets what is too much.
    fn forget(&mut self) -> SinkResult {
        self.write_times()?;
        self.networks.clear();
        self.forget_stations(self.max_rows)?;
        self.forget_devices(self.max_rows)?;
        // Of networks, the newest: a host that invents VLANs does not displace the real ones.
        let delete = "DELETE FROM network WHERE network IN
            (SELECT network FROM network ORDER BY NOT learned, first LIMIT -1 OFFSET ?)";
        let max_rows = self.max_rows as i64;
        self.forgotten += self.with(|database| database.execute(delete, [max_rows]))? as u64;
        Ok(())
    }

    /// The checkpoint of a ring, if it has one.
    pub fn checkpoint(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        let select = "SELECT * FROM account WHERE ring = ?";
        let checkpoint = |row: &Row| {
            let columns = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
            Ok(Checkpoint::from_columns(columns))
        };
        let found = self
            .with(|database| database.query_row(select, [ring.as_str()], checkpoint).optional());
        found.map(Option::flatten)
    }

    /// Replaces the checkpoint of a ring.
    pub fn store_checkpoint(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        let [generation, began, delivered, lost, skipped] = checkpoint.columns();
        let row = params![ring.as_str(), generation, began, delivered, lost, skipped];
        let replace = "REPLACE INTO account (ring, generation, began, delivered, lost, skipped)
            VALUES (?, ?, ?, ?, ?, ?)";
        self.with(|database| database.execute(replace, row).map(drop))
    }

    /// Calls a function with each station and the full name of its network, or the name that an import gave it, for an
    /// export.
    pub fn each_station(&mut self, mut take: impl FnMut(&str, IpAddr, &Station)) -> SinkResult {
        self.with(|database| {
            let mut select = database.prepare("SELECT * FROM station ORDER BY network, ip")?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let (network, ip): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                if let Some(ip) = ip_from(&ip) {
                    take(&network, ip, &station_from(row)?);
                }
            }
            Ok(())
        })
    }
}

/// The columns without which a table is another program's.
const KEYS: [(&str, &[&str]); 4] = [
    ("station", &["network", "ip"]),
    ("device", &["mac"]),
    ("account", &["ring", "generation"]),
    ("network", &["network"]),
];

/// A table that has one of our names and is another program's.
fn foreign_table(database: &Connection) -> rusqlite::Result<Option<&'static str>> {
    for (table, columns) in KEYS {
        let exists = "SELECT count(*) FROM sqlite_schema WHERE name = ?";
        if database.query_row(exists, [table], |row| row.get(0))?
            && !aw_database::has_columns(database, table, columns)?
        {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

/// Creates the database, or makes it private where an earlier release created it: who may read a file may lock it, and so stop
/// this program. Something else in its place is refused. SQLite reports what else fails here.
fn make_private(path: &Path) -> SinkResult {
    if OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).is_ok() {
        return Ok(());
    }
    match open_file(path, FileKind::State) {
        Ok(file) => drop(file.set_permissions(Permissions::from_mode(0o600))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
        }
        Err(error) => {
            return Err(Error::io(format_args!("use {}", path.display()), error).into());
        }
    }
    Ok(())
}

/// A full or failing disk may recover: [`Fault::Down`]. All other errors are fatal.
fn fault(path: &Path, error: &rusqlite::Error) -> Fault {
    let hint = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => " (free space on its disk)",
        Some(rusqlite::ErrorCode::DatabaseBusy) => {
            " (another process uses it: if that is the service, systemctl stop it, and start it afterwards)"
        }
        Some(
            rusqlite::ErrorCode::CannotOpen
            | rusqlite::ErrorCode::ReadOnly
            | rusqlite::ErrorCode::SystemIoFailure,
        ) => {
            " (check that its directory exists, that its disk has free space, and that it belongs to the user of -u)"
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            " (move it away with its -wal file, or repair it with sqlite3's .recover)"
        }
        _ => "",
    };
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    let may_be_denied = matches!(error.sqlite_error_code(), Some(CannotOpen | ReadOnly));
    let full = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::SystemIoFailure) => path.parent().and_then(full_disk),
        _ => None,
    };
    let why = match unwritable(path).filter(|_| may_be_denied) {
        Some(why) => format!("use {}: {why}", path.display()),
        None => match full {
            Some(why) => format!("use {}: {why}", path.display()),
            None => format!("use {}: {error}{hint}", path.display()),
        },
    };
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure) => {
            Fault::Down(why)
        }
        _ => failed(why).into(),
    }
}

impl Memory for SqliteMemory {
    type Error = Fault;

    fn station(&mut self, network: &str, ip: IpAddr) -> SinkResult<Station> {
        let key = (network.to_owned(), ip);
        if let Some(station) = self.stations.get(&key) {
            return Ok(station.clone());
        }
        let found = self.adopt(network, ip)?;
        if let Some(station) = &found {
            self.stations.insert_clean(key, station.clone());
        }
        Ok(found.unwrap_or_default())
    }

    fn store_station(&mut self, network: &str, ip: IpAddr, state: &Station) -> SinkResult {
        let key = (network.to_owned(), ip);
        self.new += u64::from(self.stations.get(&key).is_none());
        let write_now = self.stations.update(&key, state);
        if write_now { self.replace_station(network, ip, state) } else { Ok(()) }
    }

    fn device(&mut self, mac: MacAddr) -> SinkResult<Option<Device>> {
        if let Some(device) = self.devices.get(&mac) {
            return Ok(Some(device.clone()));
        }
        let select = "SELECT * FROM device WHERE mac = ?";
        let found = self.with(|database| {
            database.prepare_cached(select)?.query_row([mac_number(mac)], device_from).optional()
        })?;
        if let Some(device) = &found {
            self.devices.insert_clean(mac, device.clone());
        }
        Ok(found)
    }

    fn store_device(&mut self, mac: MacAddr, state: &Device) -> SinkResult {
        self.new += u64::from(self.devices.get(&mac).is_none());
        let write_now = self.devices.update(&mac, state);
        if write_now { self.replace_device(mac, state) } else { Ok(()) }
    }

    fn network(&mut self, network: &str) -> SinkResult<Option<NetworkState>> {
        if let Some(state) = self.networks.get(network) {
            return Ok(Some(*state));
        }
        let found = self.with(|database| columns::select_network(database, network))?;
        if let Some(state) = found {
            self.remember_network(network, state);
        }
        Ok(found)
    }

    fn store_network(&mut self, network: &str, state: &NetworkState) -> SinkResult {
        self.new += u64::from(!self.networks.contains_key(network));
        self.remember_network(network, *state);
        self.with(|database| columns::replace_network(database, network, state))
    }
}

/// Networks in memory; when it is full, it is emptied.
const MAX_NETWORKS: usize = 4096;

impl SqliteMemory {
    fn remember_network(&mut self, network: &str, state: NetworkState) {
        if self.networks.len() >= MAX_NETWORKS {
            self.networks.clear();
        }
        self.networks.insert(network.to_owned(), state);
    }

    /// The row of an address, past the cache.
    fn select_station(&mut self, network: &str, ip: IpAddr) -> SinkResult<Option<Station>> {
        let select = "SELECT * FROM station WHERE network = ? AND ip = ?";
        self.with(|database| {
            let mut select = database.prepare_cached(select)?;
            select.query_row(params![network, ip_bytes(ip)], station_from).optional()
        })
    }

    fn replace_station(&mut self, network: &str, ip: IpAddr, state: &Station) -> SinkResult {
        self.with(|database| columns::replace_station(database, network, ip, state))
    }

    fn replace_device(&mut self, mac: MacAddr, state: &Device) -> SinkResult {
        self.with(|database| columns::replace_device(database, mac, state))
    }
}

/// A MAC as the database stores it.
pub fn mac_number(mac: MacAddr) -> i64 {
    mac.number() as i64
}

/// The MAC of a number in the database.
pub fn mac_from(number: i64) -> MacAddr {
    let [_, _, octets @ ..] = number.to_be_bytes();
    MacAddr::new(octets)
}

#[cfg(test)]
mod tests;
