//! What is remembered, on disk: stations, devices, how far the rings were read, and what is to be told - all in one
//! database, and what belongs together in one transaction, so that a kill neither forgets nor repeats.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_output::{Checkpoint, Fault, Result, failed, warn};
use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::{MacAddr, RingName};

use crate::{
    device::Device,
    gate::Gate,
    recent::{Heard, Recent},
    report::Message,
    station::{Claim, Station},
    watch::{Memory, Names},
};

/// `exclusive`: one program at a time. `full`: what was told is not told again after a power cut. `memory`:
/// no other directory can be written to.
const SCHEMA: &str = "PRAGMA locking_mode = exclusive; PRAGMA journal_mode = wal; PRAGMA synchronous = full; PRAGMA temp_store = memory;
    CREATE TABLE IF NOT EXISTS station (network TEXT, ip BLOB, last INTEGER, claims BLOB, probe BLOB,
        told INTEGER, untold INTEGER, told_duplicate INTEGER, PRIMARY KEY (network, ip)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS device (mac INTEGER PRIMARY KEY, first INTEGER, last INTEGER,
        addresses INTEGER, unknown_day INTEGER, silent INTEGER);
    CREATE TABLE IF NOT EXISTS account (ring TEXT PRIMARY KEY, generation INTEGER,
        began INTEGER, delivered INTEGER, lost INTEGER, skipped INTEGER);
    CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT, message TEXT);
    CREATE TABLE IF NOT EXISTS refused (id INTEGER PRIMARY KEY, channel TEXT, message TEXT);
    CREATE INDEX IF NOT EXISTS waiting ON outbox (channel, id);
    CREATE TABLE IF NOT EXISTS gate (channel TEXT PRIMARY KEY, state TEXT);
    CREATE TABLE IF NOT EXISTS name (mac INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE IF NOT EXISTS vendor (oui INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE IF NOT EXISTS note (key TEXT PRIMARY KEY, value INTEGER);";

/// Stations, and devices, that are remembered; beyond, those silent longest are forgotten.
const MOST: u64 = 1_000_000;
/// After a kill, the times of what was only heard once more are older by so much, at most.
const WRITE_DOWN: Duration = Duration::from_secs(300);
/// New ones after which that is looked at, and at the start.
const LOOK: u32 = 50_000;

pub struct Store {
    path: PathBuf,
    database: Connection,
    new: u32,
    stations: Recent<(String, IpAddr), Station>,
    devices: Recent<MacAddr, Device>,
    /// When all that is recent was written down.
    written: Instant,
}

impl Store {
    /// In a state directory, of this program.
    pub fn path(directory: &Path, program: &str) -> PathBuf {
        directory.join(format!("{program}.db"))
    }

    pub fn open(directory: &Path, program: &str) -> Result<Store> {
        let path = Store::path(directory, program);
        let open = || {
            let database = Connection::open(&path)?;
            database.busy_timeout(Duration::from_millis(100))?;
            database.set_prepared_statement_cache_capacity(32);
            database.execute_batch(SCHEMA)?;
            // Takes the lock that it then keeps. What was refused may please by now: its place is the old one.
            let again =
                "BEGIN IMMEDIATE; INSERT INTO outbox SELECT id, channel, message FROM refused;
                DELETE FROM refused; COMMIT";
            database.execute_batch(again).map(|()| database)
        };
        match open() {
            Ok(database) => {
                let (stations, devices) = (Recent::new(), Recent::new());
                Ok(Store { path, database, new: LOOK, stations, devices, written: Instant::now() })
            }
            Err(error) => Err(fault(&path, &error)),
        }
    }

    /// Does something in the transaction that `commit` ends.
    pub fn with<T>(&mut self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut done = Ok(());
        if self.database.is_autocommit() {
            done = self.database.execute_batch("BEGIN");
        }
        done.and_then(|()| act(&self.database)).map_err(|error| fault(&self.path, &error))
    }

    /// All since the last commit, or nothing of it.
    pub fn commit(&mut self) -> Result {
        if self.new >= LOOK {
            self.new = 0;
            self.forget(MOST)?;
        }
        let full = self.stations.is_full() || self.devices.is_full();
        if full || self.written.elapsed() >= WRITE_DOWN {
            self.write_down()?;
        }
        if self.database.is_autocommit() {
            return Ok(());
        }
        self.with(|database| database.execute_batch("COMMIT"))
    }

    /// Takes back all since the last commit. What was only heard once more since it was written down goes, too: it
    /// cannot be told apart.
    pub fn roll_back(&mut self) {
        if !self.database.is_autocommit() {
            let _ = self.database.execute_batch("ROLLBACK"); // fails only if it was rolled back already
        }
        self.stations.clear();
        self.devices.clear();
    }

    /// Also what was heard once more since the last time, and nothing else.
    pub fn write_down(&mut self) -> Result {
        self.written = Instant::now();
        for ((network, ip), station) in self.stations.late() {
            self.replace_station(&network, ip, &station)?;
        }
        for (mac, device) in self.devices.late() {
            self.replace_device(mac, &device)?;
        }
        self.stations.clear();
        self.devices.clear();
        Ok(())
    }

    fn forget(&mut self, most: u64) -> Result {
        self.write_down()?;
        for (table, key) in [("station", "(network, ip)"), ("device", "mac")] {
            let all = format!("SELECT count(*) FROM {table}");
            let all =
                self.with(|database| database.query_row(&all, [], |row| row.get::<_, i64>(0)))?;
            let most = most as i64;
            if all <= most {
                continue;
            }
            // A tenth more, so that it is done seldom. So many, and not whatever is as old: of an import all is.
            let beyond = format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {} FROM {table} ORDER BY last LIMIT ?)",
                key.trim_matches(['(', ')'])
            );
            self.with(|database| database.execute(&beyond, [all - most / 10 * 9]))?;
        }
        Ok(())
    }

    pub fn account(&mut self, ring: &RingName) -> Result<Option<Checkpoint>> {
        let select = "SELECT * FROM account WHERE ring = ?";
        let account = |row: &Row| {
            let columns = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
            Ok(Checkpoint::from_columns(columns))
        };
        let account =
            self.with(|database| database.query_row(select, [ring.as_str()], account).optional());
        account.map(Option::flatten)
    }

    pub fn keep_account(&mut self, ring: &RingName, account: &Checkpoint) -> Result {
        let [generation, began, delivered, lost, skipped] = account.columns();
        let row = params![ring.as_str(), generation, began, delivered, lost, skipped];
        let replace = "REPLACE INTO account VALUES (?, ?, ?, ?, ?, ?)";
        self.with(|database| database.execute(replace, row).map(drop))
    }

    /// A number under a name: until when it learns.
    pub fn note(&mut self, key: &str) -> Result<Option<i64>> {
        let select = "SELECT value FROM note WHERE key = ?";
        self.with(|database| database.query_row(select, [key], |row| row.get(0)).optional())
    }

    pub fn keep_note(&mut self, key: &str, value: i64) -> Result {
        let replace = "REPLACE INTO note VALUES (?, ?)";
        self.with(|database| database.execute(replace, params![key, value]).map(drop))
    }

    /// A device's name, from elsewhere.
    pub fn keep_name(&mut self, mac: MacAddr, name: &str) -> Result {
        let replace = "REPLACE INTO name VALUES (?, ?)";
        self.with(|database| {
            database.prepare_cached(replace)?.execute(params![number(mac), name]).map(drop)
        })
    }

    pub fn names(&mut self) -> Result<Names> {
        let names = self.with(|database| {
            let mut select = database.prepare("SELECT mac, name FROM name")?;
            let name = |row: &Row| Ok((mac_from(row.get(0)?), row.get(1)?));
            select.query_map([], name)?.collect::<rusqlite::Result<Names>>()
        });
        self.commit().and(names)
    }

    /// Who was given a block of MACs; the first to be told counts.
    pub fn keep_vendor(&mut self, oui: [u8; 3], name: &str) -> Result {
        let insert = "INSERT OR IGNORE INTO vendor VALUES (?, ?)";
        self.with(|database| {
            database.prepare_cached(insert)?.execute(params![block(oui), name]).map(drop)
        })
    }

    /// A MAC's maker.
    pub fn vendor(&mut self, mac: MacAddr) -> Result<Option<String>> {
        let [a, b, c, ..] = mac.octets();
        let select = "SELECT name FROM vendor WHERE oui = ?";
        self.with(|database| {
            let mut select = database.prepare_cached(select)?;
            select.query_row([block([a, b, c])], |row| row.get(0)).optional()
        })
    }

    pub fn gate(&mut self, channel: &str) -> Result<Gate> {
        let select = "SELECT state FROM gate WHERE channel = ?";
        let state: Option<String> = self
            .with(|database| database.query_row(select, [channel], |row| row.get(0)).optional())?;
        Ok(state.and_then(|state| serde_json::from_str(&state).ok()).unwrap_or_default())
    }

    pub fn keep_gate(&mut self, channel: &str, gate: &Gate) -> Result {
        let state = serde_json::to_string(gate).unwrap_or_default();
        let replace = "REPLACE INTO gate VALUES (?, ?)";
        self.with(|database| database.execute(replace, [channel, &state]).map(drop))
    }

    /// Puts a message into the queue of a channel.
    pub fn send(&mut self, channel: &str, message: &Message) -> Result {
        let message = serde_json::to_string(message).unwrap_or_default();
        let insert = "INSERT INTO outbox (channel, message) VALUES (?, ?)";
        self.with(|database| {
            database.prepare_cached(insert)?.execute([channel, &message]).map(drop)
        })
    }

    /// The channels that messages wait for, and how many.
    pub fn channels(&mut self) -> Result<Vec<(String, u64)>> {
        let select = "SELECT channel, count(*) FROM outbox GROUP BY channel";
        self.with(|database| {
            let mut select = database.prepare(select)?;
            let count = |row: &Row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64));
            select.query_map([], count)?.collect()
        })
    }

    /// The oldest message that waits for a channel.
    pub fn waiting(&mut self, channel: &str) -> Result<Option<(i64, Message)>> {
        let select = "SELECT id, message FROM outbox WHERE channel = ? ORDER BY id LIMIT 1";
        let read = |database: &Connection| {
            let row = |row: &Row| Ok((row.get(0)?, row.get::<_, String>(1)?));
            database.prepare_cached(select)?.query_row([channel], row).optional()
        };
        let found = read(&self.database).map_err(|error| fault(&self.path, &error))?;
        let Some((id, text)) = found else { return Ok(None) };
        match serde_json::from_str(&text) {
            Ok(message) => Ok(Some((id, message))),
            // Of another release.
            Err(error) => {
                warn(format_args!(
                    "message {id} for channel {channel} is lost, it cannot be read: {error}"
                ));
                self.sent(id).map(|()| None)
            }
        }
    }

    pub fn count(&mut self, channel: &str) -> Result<u64> {
        let select = "SELECT count(*) FROM outbox WHERE channel = ?";
        let count = self.with(|database| {
            database.prepare_cached(select)?.query_row([channel], |row| row.get::<_, i64>(0))
        });
        count.map(|count| count as u64)
    }

    pub fn sent(&mut self, id: i64) -> Result {
        self.with(|database| database.execute("DELETE FROM outbox WHERE id = ?", [id]).map(drop))
    }

    /// Keeps a message that its channel refuses, but not in the way of those behind it. The next start tries it again.
    pub fn set_aside(&mut self, id: i64) -> Result {
        let insert = "INSERT INTO refused SELECT id, channel, message FROM outbox WHERE id = ?";
        self.with(|database| database.execute(insert, [id]).map(drop))?;
        self.sent(id)
    }

    /// How many messages a channel has refused.
    pub fn refused(&mut self, channel: &str) -> Result<u64> {
        let count = "SELECT count(*) FROM refused WHERE channel = ?";
        let count: i64 =
            self.with(|database| database.query_row(count, [channel], |row| row.get(0)))?;
        Ok(count as u64)
    }

    /// Hands over every station, for an export.
    pub fn each_station(&mut self, mut take: impl FnMut(&str, IpAddr, &Station)) -> Result {
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

/// A disk that is full, or fails, may be better later; nothing else that can be wrong here.
fn fault(path: &Path, error: &rusqlite::Error) -> Fault {
    let hint = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => " (make room on its disk)",
        Some(rusqlite::ErrorCode::DatabaseBusy) => {
            " (another program uses it: stop that one, or choose another --state-dir)"
        }
        Some(
            rusqlite::ErrorCode::CannotOpen
            | rusqlite::ErrorCode::ReadOnly
            | rusqlite::ErrorCode::SystemIoFailure,
        ) => {
            " (it must be there, with room on its disk, and belong to the user of this program: -u)"
        }
        _ => "",
    };
    let why = format!("use {}: {error}{hint}", path.display());
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure) => {
            Fault::Down(why)
        }
        _ => failed(why).into(),
    }
}

impl Memory for Store {
    type Error = Fault;

    fn station(&mut self, network: &str, ip: IpAddr) -> Result<Station> {
        let key = (network.to_owned(), ip);
        if let Some(station) = self.stations.get(&key) {
            return Ok(station.clone());
        }
        let select = "SELECT * FROM station WHERE network = ? AND ip = ?";
        let found = self.with(|database| {
            let mut select = database.prepare_cached(select)?;
            select.query_row(params![network, ip_bytes(ip)], station_from).optional()
        })?;
        if let Some(station) = &found {
            self.stations.loaded(key, station.clone());
        }
        Ok(found.unwrap_or_default())
    }

    fn keep_station(&mut self, network: &str, ip: IpAddr, is: &Station) -> Result {
        let key = (network.to_owned(), ip);
        self.new += u32::from(self.stations.get(&key).is_none());
        let at_once = self.stations.keep(&key, is);
        if at_once { self.replace_station(network, ip, is) } else { Ok(()) }
    }

    fn device(&mut self, mac: MacAddr) -> Result<Option<Device>> {
        if let Some(device) = self.devices.get(&mac) {
            return Ok(Some(device.clone()));
        }
        let select = "SELECT * FROM device WHERE mac = ?";
        let device = |row: &Row| {
            Ok(Device {
                first: row.get(1)?,
                last: row.get(2)?,
                addresses: row.get(3)?,
                unknown_day: row.get(4)?,
                silent: row.get(5)?,
            })
        };
        let found = self.with(|database| {
            database.prepare_cached(select)?.query_row([number(mac)], device).optional()
        })?;
        if let Some(device) = &found {
            self.devices.loaded(mac, device.clone());
        }
        Ok(found)
    }

    fn keep_device(&mut self, mac: MacAddr, is: &Device) -> Result {
        self.new += u32::from(self.devices.get(&mac).is_none());
        if self.devices.keep(&mac, is) { self.replace_device(mac, is) } else { Ok(()) }
    }
}

impl Heard for Station {
    fn timeless(&self) -> Station {
        let claims = self.claims.iter().map(|claim| Claim { time: 0, ..*claim }).collect();
        Station { claims, ..self.clone() }
    }
}

impl Heard for Device {
    fn timeless(&self) -> Device {
        Device { last: 0, ..self.clone() }
    }
}

impl Store {
    fn replace_station(&mut self, network: &str, ip: IpAddr, is: &Station) -> Result {
        let claims: Vec<u8> = is.claims.iter().flat_map(claim_bytes).collect();
        let probe = is.probe.as_ref().map(claim_bytes);
        let last = is.claims.first().or(is.probe.as_ref()).map_or(0, |claim| claim.time);
        let row = params![
            network,
            ip_bytes(ip),
            last,
            claims,
            probe,
            is.told,
            is.untold,
            is.told_duplicate
        ];
        let replace = "REPLACE INTO station VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        self.with(|database| database.prepare_cached(replace)?.execute(row).map(drop))
    }

    fn replace_device(&mut self, mac: MacAddr, is: &Device) -> Result {
        let Device { first, last, addresses, unknown_day, silent } = is;
        let row = params![number(mac), first, last, addresses, unknown_day, silent];
        let replace = "REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?)";
        self.with(|database| database.prepare_cached(replace)?.execute(row).map(drop))
    }
}

fn number(mac: MacAddr) -> i64 {
    mac.octets().iter().fold(0, |number, octet| number << 8 | i64::from(*octet))
}

fn mac_from(number: i64) -> MacAddr {
    let [_, _, octets @ ..] = number.to_be_bytes();
    MacAddr::new(octets)
}

fn block([a, b, c]: [u8; 3]) -> i64 {
    i64::from(a) << 16 | i64::from(b) << 8 | i64::from(c)
}

fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip_from(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn claim_bytes(claim: &Claim) -> [u8; 14] {
    let mut bytes = [0; 14];
    bytes[..6].copy_from_slice(&claim.mac.octets());
    bytes[6..].copy_from_slice(&claim.time.to_be_bytes());
    bytes
}

fn claim_from(bytes: &[u8; 14]) -> Claim {
    let [a, b, c, d, e, f, time @ ..] = *bytes;
    Claim { mac: MacAddr::new([a, b, c, d, e, f]), time: i64::from_be_bytes(time) }
}

fn station_from(row: &Row) -> rusqlite::Result<Station> {
    let (claims, probe): (Vec<u8>, Option<Vec<u8>>) = (row.get(3)?, row.get(4)?);
    Ok(Station {
        claims: claims.as_chunks().0.iter().map(claim_from).collect(),
        probe: probe.as_deref().and_then(|probe| probe.as_chunks().0.first().map(claim_from)),
        told: row.get(5)?,
        untold: row.get(6)?,
        told_duplicate: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_back_what_was_not_committed() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (MacAddr::new([2; 6]), MacAddr::new([4; 6]));
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        let mut store = Store::open(directory.path(), "aw-test").unwrap();
        store.keep_device(old, &Device::new(1)).unwrap();
        store.commit().unwrap();
        let mut station = Station::default();
        station.claim(new, 7);
        for _ in 0..2 {
            store.keep_station("eth0", ip, &station).unwrap();
            store.keep_device(new, &Device::new(7)).unwrap();
            store.keep_device(old, &Device { addresses: 1, ..Device::new(7) }).unwrap();
            store.roll_back();
            assert_eq!(store.station("eth0", ip).unwrap(), Station::default());
            assert_eq!(store.device(new).unwrap(), None);
            assert_eq!(store.device(old).unwrap(), Some(Device::new(1)));
        }
    }

    #[test]
    fn remembers_what_was_committed() {
        let directory = tempfile::tempdir().unwrap();
        let mac = MacAddr::new([0, 8, 0xe1, 0, 0, 1]);
        let mut station = Station { probe: Some(Claim { mac, time: -5 }), ..Station::default() };
        station.claim(mac, 7);
        station.tell(9, 1, true);
        let device = Device { addresses: 3, silent: true, ..Device::new(7) };
        let ips: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()];
        let mut store = Store::open(directory.path(), "aw-alert").unwrap();
        assert!(Store::open(directory.path(), "aw-alert").is_err(), "one at a time");
        for ip in ips {
            store.keep_station("eth0", ip, &station).unwrap();
        }
        store.keep_device(mac, &device).unwrap();
        let message = Message { subject: "s".into(), text: "t".into(), fields: 1.into() };
        store.send("mail", &message).unwrap();
        store.commit().unwrap();
        store.send("mail", &message).unwrap();
        drop(store);
        let mut store = Store::open(directory.path(), "aw-alert").unwrap();
        for ip in ips {
            assert_eq!(store.station("eth0", ip).unwrap(), station);
        }
        assert_eq!(store.station("eth1", ips[0]).unwrap(), Station::default());
        assert_eq!(store.device(mac).unwrap(), Some(device));
        assert_eq!(store.count("mail").unwrap(), 1, "not what was not committed");
        let (id, found) = store.waiting("mail").unwrap().unwrap();
        assert_eq!(found, message);
        store.send("mail", &Message { subject: "next".into(), ..message.clone() }).unwrap();
        store.set_aside(id).unwrap();
        assert_eq!((store.count("mail").unwrap(), store.refused("mail").unwrap()), (1, 1));
        assert_eq!(store.waiting("mail").unwrap().unwrap().1.subject, "next");
        store.commit().unwrap();
        drop(store);
        let mut store = Store::open(directory.path(), "aw-alert").unwrap();
        assert_eq!((store.count("mail").unwrap(), store.refused("mail").unwrap()), (2, 0));
        assert_eq!(store.waiting("mail").unwrap(), Some((id, message)), "in its old place");
        store.sent(id).unwrap();
        assert_eq!(store.count("mail").unwrap(), 1);
    }

    #[test]
    fn forgets_the_silent() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), "aw-alert").unwrap();
        let mac = |number: i64| MacAddr::new([0, 0, 0, 0, 1, number as u8]);
        for time in 0..200 {
            store.keep_device(mac(time), &Device::new(time)).unwrap();
        }
        for time in 0..300 {
            // Imported: all as old.
            let ip = Ipv4Addr::from(time as u32).into();
            let claims = vec![Claim { mac: mac(time), time: 5 }];
            store.keep_station("eth0", ip, &Station { claims, ..Station::default() }).unwrap();
        }
        assert_eq!(store.new, LOOK + 500, "whatever made them up is looked at");
        store.forget(200).unwrap();
        let mut left = 0;
        store.each_station(|_, _, _| left += 1).unwrap();
        assert_eq!(left, 180, "a tenth fewer than so many, not none");
        assert!(store.device(mac(0)).unwrap().is_some());
        store.forget(100).unwrap();
        let left = (0..200).filter(|time| store.device(mac(*time)).unwrap().is_some());
        assert_eq!(left.collect::<Vec<_>>(), (110..200).collect::<Vec<_>>());
    }
}
