//! The database of aw-alert: the memory of the rules, imported names and vendors, and for each channel its queue and its
//! rate gate. All is one transaction, so that an event and the messages that it causes are stored together or not at all.

use std::{net::IpAddr, path::Path, time::Instant};

use aw_detect::{Alert, InfrastructureRow, Names, SqliteMemory, Station, mac_from, mac_number};
use aw_output::{
    Error, SinkResult,
    makers::{MacBlock, Makers, is_local},
    warn,
};
use rusqlite::{Connection, OptionalExtension, Params, Row, ToSql, params, types::FromSql};
use shm_layout::MacAddr;

use crate::{learning_periods::LearningPeriod, notification::Notification, rate_gate::RateGate};

const PROGRAM: &str = "aw-alert";

/// The last two statements put refused messages back into the queues, at their old places: a channel may accept them now.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT, message TEXT);
    CREATE TABLE IF NOT EXISTS refused (id INTEGER PRIMARY KEY, channel TEXT, message TEXT);
    CREATE INDEX IF NOT EXISTS waiting ON outbox (channel, id);
    CREATE TABLE IF NOT EXISTS gate (channel TEXT PRIMARY KEY, state TEXT);
    CREATE TABLE IF NOT EXISTS name (mac INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE IF NOT EXISTS host_name (mac INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE IF NOT EXISTS host_name_since (mac INTEGER PRIMARY KEY, time INTEGER);
    CREATE TABLE IF NOT EXISTS vendor (oui INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE IF NOT EXISTS fault (name TEXT PRIMARY KEY, state TEXT);
    CREATE TABLE IF NOT EXISTS note (key TEXT PRIMARY KEY, value INTEGER);
    CREATE TABLE IF NOT EXISTS held (place INTEGER PRIMARY KEY, mac TEXT UNIQUE, alert TEXT);
    INSERT INTO outbox SELECT id, channel, message FROM refused;
    DELETE FROM refused";

/// The statement that drops the queue of a channel, whose name has letters, digits, - and _ only.
fn dropping(channel: &str) -> String {
    format!("DELETE FROM outbox WHERE channel = '{channel}'")
}

pub struct AlertStore {
    pub memory: SqliteMemory,
    /// The makers that the IEEE lists.
    pub makers: Makers,
}

impl AlertStore {
    pub fn exists(directory: &Path) -> bool {
        SqliteMemory::path(directory, PROGRAM).exists()
    }

    pub fn open(directory: &Path) -> Result<AlertStore, Error> {
        let memory =
            SqliteMemory::open(directory, PROGRAM, SCHEMA).map_err(aw_output::Fault::into_error)?;
        Ok(AlertStore { memory, makers: Makers::default() })
    }

    /// For `--check`: whether it can be used, if it exists.
    pub fn check(directory: &Path) -> Result<(), String> {
        SqliteMemory::check(directory, PROGRAM)
    }

    /// For `--check`: the networks that it knows, and whether devices are known because of an import.
    pub fn seen(directory: &Path) -> Option<(Vec<String>, bool)> {
        let seen = |database: &Connection| {
            let imported = "SELECT EXISTS (SELECT * FROM name)";
            Ok((
                SqliteMemory::networks(database)?,
                database.query_row(imported, [], |row| row.get(0))?,
            ))
        };
        SqliteMemory::peek(directory, PROGRAM, seen).ok().flatten()
    }

    /// The learning periods that have begun and are not over.
    pub fn periods(directory: &Path, now: i64) -> Result<Vec<LearningPeriod>, String> {
        let read = |database: &Connection| LearningPeriod::all(database, now);
        SqliteMemory::peek(directory, PROGRAM, read).map(Option::unwrap_or_default)
    }

    /// The routers and servers that are known, and their MACs; nothing if there is no database.
    pub fn infrastructure(directory: &Path) -> Result<Option<Vec<InfrastructureRow>>, String> {
        SqliteMemory::peek(directory, PROGRAM, SqliteMemory::infrastructure)
    }

    /// The states of these addresses, with the full names of their networks; of a database of an earlier release, none.
    pub fn stations_at(directory: &Path, ips: &[IpAddr]) -> Vec<(String, IpAddr, Station)> {
        let read = |database: &Connection| SqliteMemory::stations_at(database, ips);
        SqliteMemory::peek(directory, PROGRAM, read).ok().flatten().unwrap_or_default()
    }

    /// For `--check`: the names of known devices.
    pub fn imported_names(directory: &Path) -> Names {
        let names = |database: &Connection| {
            let mut select = database.prepare("SELECT mac, name FROM name")?;
            let names = select.query_map([], |row| Ok((mac_from(row.get(0)?), row.get(1)?)))?;
            names.collect()
        };
        SqliteMemory::peek(directory, PROGRAM, names).ok().flatten().unwrap_or_default()
    }

    /// The command that drops the queue of a channel.
    pub fn dropping(&self, channel: &str) -> String {
        format!("sqlite3 {} \"{}\"", self.memory.file().display(), dropping(channel))
    }

    pub fn commit(&mut self) -> SinkResult {
        self.memory.commit(Instant::now())
    }

    fn execute(&mut self, statement: &str, values: impl Params) -> SinkResult {
        self.memory.with(|database| database.prepare_cached(statement)?.execute(values).map(drop))
    }

    fn query<T: FromSql>(&mut self, select: &str, value: impl ToSql) -> SinkResult<Option<T>> {
        self.memory.with(|database| {
            let mut select = database.prepare_cached(select)?;
            select.query_row([value], |row| row.get(0)).optional()
        })
    }

    /// A number under a name, such as the end of the learning period.
    pub fn note(&mut self, key: &str) -> SinkResult<Option<i64>> {
        self.memory.with(|database| AlertStore::note_of(database, key))
    }

    /// The same of a database that is only read.
    pub fn note_of(database: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
        let mut select = database.prepare_cached("SELECT value FROM note WHERE key = ?")?;
        select.query_row([key], |row| row.get(0)).optional()
    }

    pub fn store_note(&mut self, key: &str, value: i64) -> SinkResult {
        self.execute("REPLACE INTO note VALUES (?, ?)", params![key, value])
    }

    /// Stores an alert about a new device that is sent later, unless there is one about this device.
    pub fn hold(&mut self, alert: &Alert) -> SinkResult {
        let text = serde_json::to_string(alert).unwrap_or_default();
        self.execute("INSERT OR IGNORE INTO held (mac, alert) VALUES (?, ?)", [&alert.mac, &text])
    }

    /// The number of alerts that are held.
    pub fn held_number(&mut self) -> SinkResult<u64> {
        let count = |database: &Connection| {
            database.query_row("SELECT count(*) FROM held", [], |row| row.get::<_, i64>(0))
        };
        self.memory.read(count).map(|count| count as u64)
    }

    /// The alerts that are held, in the order in which they came, and how many another release wrote in another form; they are no
    /// longer held.
    pub fn take_held(&mut self) -> SinkResult<(Vec<Alert>, u64)> {
        let texts: Vec<String> = self.memory.with(|database| {
            let mut select = database.prepare("SELECT alert FROM held ORDER BY place")?;
            let texts = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            database.execute("DELETE FROM held", []).map(|_| texts)
        })?;
        let alerts: Vec<_> =
            texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        let unread = (texts.len() - alerts.len()) as u64;
        Ok((alerts, unread))
    }

    pub fn store_name(&mut self, mac: MacAddr, name: &str) -> SinkResult {
        self.execute("REPLACE INTO name VALUES (?, ?)", params![mac_number(mac), name])
    }

    /// Stores a name that only messages and exports show: its device is not a known one for that. It is valid since `time`, and
    /// replaces no later one.
    pub fn store_host_name(&mut self, mac: MacAddr, time: i64, name: &str) -> SinkResult {
        let mac = mac_number(mac);
        let since = "SELECT time FROM host_name_since WHERE mac = ?";
        if self.query::<i64>(since, mac)?.is_some_and(|known| known > time) {
            return Ok(());
        }
        self.execute("REPLACE INTO host_name_since VALUES (?, ?)", [mac, time])?;
        self.execute("REPLACE INTO host_name VALUES (?, ?)", params![mac, name])
    }

    pub fn host_name(&mut self, mac: MacAddr) -> SinkResult<Option<String>> {
        self.query("SELECT name FROM host_name WHERE mac = ?", mac_number(mac))
    }

    /// The names of known devices.
    pub fn names(&mut self) -> SinkResult<Names> {
        self.names_of("SELECT mac, name FROM name")
    }

    /// The names of all devices: a name of a known one replaces its host name.
    pub fn all_names(&mut self) -> SinkResult<Names> {
        let mut names = self.names_of("SELECT mac, name FROM host_name")?;
        names.append(&mut self.names()?);
        Ok(names)
    }

    fn names_of(&mut self, select: &str) -> SinkResult<Names> {
        self.memory.read(|database| {
            let mut select = database.prepare(select)?;
            let name = |row: &Row| Ok((mac_from(row.get(0)?), row.get(1)?));
            select.query_map([], name)?.collect::<rusqlite::Result<Names>>()
        })
    }

    pub fn store_vendor(&mut self, block: MacBlock, name: &str) -> SinkResult {
        self.execute("REPLACE INTO vendor VALUES (?, ?)", params![block.key(), name])
    }

    /// The maker of the smallest block that has this MAC: an imported one, unless the IEEE lists a smaller block.
    pub fn vendor(&mut self, mac: MacAddr) -> SinkResult<Option<String>> {
        if is_local(mac) {
            return Ok(None);
        }
        let [small, medium, large] = MacBlock::of(mac).map(MacBlock::key);
        let select =
            "SELECT name, oui FROM vendor WHERE oui IN (?, ?, ?) ORDER BY oui DESC LIMIT 1";
        let imported: Option<(String, i64)> = self.memory.with(|database| {
            let mut select = database.prepare_cached(select)?;
            let row = |row: &Row| Ok((row.get(0)?, row.get(1)?));
            select.query_row([small, medium, large], row).optional()
        })?;
        let imported = imported.map(|(name, key)| (name, MacBlock::from_key(key).bits()));
        let listed = self.makers.find(mac);
        let is_smaller =
            |(_, bits): &(String, u8)| imported.as_ref().is_none_or(|one| *bits > one.1);
        Ok(listed.filter(is_smaller).or(imported).map(|(maker, _)| maker))
    }

    pub fn gate(&mut self, channel: &str) -> SinkResult<RateGate> {
        let state: Option<String> =
            self.query("SELECT state FROM gate WHERE channel = ?", channel)?;
        Ok(state.and_then(|state| serde_json::from_str(&state).ok()).unwrap_or_default())
    }

    pub fn store_gate(&mut self, channel: &str, gate: &RateGate) -> SinkResult {
        let state = serde_json::to_string(gate).unwrap_or_default();
        self.execute("REPLACE INTO gate VALUES (?, ?)", [channel, &state])
    }

    pub fn enqueue(&mut self, channel: &str, notification: &Notification) -> SinkResult {
        let text = serde_json::to_string(notification).unwrap_or_default();
        self.execute("INSERT INTO outbox (channel, message) VALUES (?, ?)", [channel, &text])
    }

    /// Removes what was to announce a first day that is over: a channel with hours has it still.
    pub fn remove_first_day(&mut self) -> SinkResult {
        // In a text, the quotes have a backslash.
        self.execute("DELETE FROM outbox WHERE message LIKE '%\"kind\":\"learning\"%'", [])
    }

    /// The channels with queued messages, and how many each has.
    pub fn channels(&mut self) -> SinkResult<Vec<(String, u64)>> {
        self.memory.with(|database| {
            let mut select =
                database.prepare_cached("SELECT channel, count(*) FROM outbox GROUP BY channel")?;
            let count = |row: &Row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64));
            select.query_map([], count)?.collect()
        })
    }

    /// The oldest message in the queue of a channel.
    pub fn next(&mut self, channel: &str) -> SinkResult<Option<(i64, Notification)>> {
        let select = "SELECT id, message FROM outbox WHERE channel = ? ORDER BY id LIMIT 1";
        let read = |database: &Connection| {
            let row = |row: &Row| Ok((row.get(0)?, row.get::<_, String>(1)?));
            database.prepare_cached(select)?.query_row([channel], row).optional()
        };
        let Some((id, text)) = self.memory.read(read)? else { return Ok(None) };
        match serde_json::from_str(&text) {
            Ok(notification) => Ok(Some((id, notification))),
            // Another release has written it.
            Err(error) => {
                warn(format_args!(
                    "channel {channel}: message {id} is discarded: read it from the queue: {error}"
                ));
                self.remove(id).map(|()| None)
            }
        }
    }

    fn count(&mut self, table: &str, channel: &str) -> SinkResult<u64> {
        let select = format!("SELECT count(*) FROM {table} WHERE channel = ?");
        Ok(self.query::<i64>(&select, channel)?.unwrap_or_default() as u64)
    }

    pub fn queued(&mut self, channel: &str) -> SinkResult<u64> {
        self.count("outbox", channel)
    }

    /// Messages that a channel still has to send: those in its queue, and those that it refused since the start.
    pub fn unsent(&mut self, channel: &str) -> SinkResult<u64> {
        Ok(self.queued(channel)? + self.count("refused", channel)?)
    }

    pub fn remove(&mut self, id: i64) -> SinkResult {
        self.execute("DELETE FROM outbox WHERE id = ?", [id])
    }

    /// Moves a refused message out of its queue, so that the next ones are sent. The next start puts it back.
    pub fn set_aside(&mut self, id: i64) -> SinkResult {
        let insert = "INSERT INTO refused SELECT id, channel, message FROM outbox WHERE id = ?";
        self.execute(insert, [id])?;
        self.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_block_has_the_vendor() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        store.makers = Makers::new(directory.path());
        for (prefix, bits, name) in
            [(0x0055da, 24, "large"), (0x0055da1, 28, "medium"), (0x0055da123, 36, "small")]
        {
            store.store_vendor(MacBlock::new(prefix, bits).unwrap(), name).unwrap();
        }
        for (mac, name) in [
            ("00:55:da:00:00:00", Some("large")),
            ("00:55:da:1f:00:00", Some("medium")),
            ("00:55:da:12:3f:ff", Some("small")),
            ("00:55:db:12:3f:ff", None),
        ] {
            assert_eq!(store.vendor(mac.parse().unwrap()).unwrap().as_deref(), name, "{mac}");
        }
        assert_eq!(MacBlock::new(0x0055_da12, 32), None);
        std::fs::write(
            directory.path().join("oui.csv"),
            "MA-L,0055DA,of the IEEE,\nMA-L,0055DB,new,\n",
        )
        .unwrap();
        std::fs::write(directory.path().join("oui36.csv"), "MA-S,0055DA456,smaller,\n").unwrap();
        store.makers = Makers::new(directory.path());
        for (mac, name) in [
            ("00:55:da:00:00:00", Some("large")),
            ("00:55:da:45:6f:ff", Some("smaller")),
            ("00:55:db:12:3f:ff", Some("new")),
            ("02:55:da:00:00:00", None),
        ] {
            assert_eq!(store.vendor(mac.parse().unwrap()).unwrap().as_deref(), name, "{mac}");
        }
    }

    #[test]
    fn an_older_host_name_replaces_no_newer_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = AlertStore::open(directory.path()).unwrap();
        let mac = "00:55:da:00:00:00".parse().unwrap();
        for (time, name, kept) in [
            (1700, "new", "new"),
            (1600, "old", "new"),
            (1700, "same", "same"),
            (1800, "newest", "newest"),
        ] {
            store.store_host_name(mac, time, name).unwrap();
            assert_eq!(store.host_name(mac).unwrap().as_deref(), Some(kept), "{time}");
        }
    }

    #[test]
    fn queues_survive_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let open = || AlertStore::open(directory.path());
        let message = Notification { subject: "s".into(), text: "t".into(), fields: 1.into() };
        let mut store = open().unwrap();
        store.enqueue("mail", &message).unwrap();
        store.commit().unwrap();
        store.enqueue("mail", &message).unwrap();
        drop(store);
        let mut store = open().unwrap();
        assert_eq!(store.queued("mail").unwrap(), 1, "not what was not committed");
        let (id, found) = store.next("mail").unwrap().unwrap();
        assert_eq!(found, message);
        let next = Notification { subject: "next".into(), ..message.clone() };
        store.enqueue("mail", &next).unwrap();
        store.set_aside(id).unwrap();
        assert_eq!(
            (store.queued("mail").unwrap(), store.count("refused", "mail").unwrap()),
            (1, 1)
        );
        assert_eq!(store.next("mail").unwrap().unwrap().1.subject, "next");
        store.commit().unwrap();
        drop(store);
        let mut store = open().unwrap();
        assert_eq!(
            (store.queued("mail").unwrap(), store.count("refused", "mail").unwrap()),
            (2, 0)
        );
        assert_eq!(store.next("mail").unwrap(), Some((id, message)), "at its old place");
        store.remove(id).unwrap();
        assert_eq!(store.queued("mail").unwrap(), 1);
        assert_eq!(store.channels().unwrap(), [("mail".to_owned(), 1)]);
        let command = store.dropping("mail");
        let statement = command.split('"').nth(1).unwrap();
        assert!(command.starts_with("sqlite3 /") && command.contains("/aw-alert.db \"DELETE "));
        store.execute(statement, []).unwrap();
        assert_eq!(store.channels().unwrap(), []);
    }
}
