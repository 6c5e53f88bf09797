//! Stores what devices call themselves, and their leases, on a connection of its own: what fails there stops no event, and no event
//! waits for it.
//!
//! While the server is down, records are read into memory, up to a bound; then they wait in their ring, and what is overwritten there is
//! counted as lost. The statements of a transaction stay in memory until it is committed. Each sets what a row is to be, so that a
//! transaction whose end is not known is sent again.

use std::time::{Duration, Instant};

use aw_output::{Checkpoint, Error, NAMES_OF_ALL, NameEntry, NameFollower, failed};
use aw_service::{Condition, jittered};
use shm_layout::RingName;

use crate::{
    config::{ServerConfig, TRANSACTION},
    connection::{Conn, Error as ConnectionError},
    errors::disconnected,
    mysql_sink::{BEGIN, numbers, select_position},
    name_batch::{LEASE_COLUMNS, NAME_COLUMNS, NameBatch, Reading},
    schema::{DENIED, TableNames},
    sensor_names::SensorNames,
    servers::Servers,
    sql::quoted,
};

/// Records of each ring of names that are read at once.
const RECORDS: usize = 512;
/// Names and leases that are written before the interval is over.
const MANY: usize = 1000;
/// The shortest time between two transactions otherwise.
const INTERVAL: Duration = Duration::from_secs(10);
/// Names and leases in memory that are not written: then no more is read.
const MOST: usize = NAMES_OF_ALL;
/// How often names are written that were only repeated: many devices do so each minute.
const REPEATS_EVERY: Duration = Duration::from_secs(3_600);
/// How long after a failure it is tried again, at most: after one of the connection, and after what the server refuses until its administrator
/// changes something.
const PAUSE: Duration = Duration::from_secs(10);
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// How often a transaction is sent again because of a deadlock.
const DEADLOCK_RETRIES: u32 = 3;
const DEADLOCK: u16 = 1213;

/// Reads the rings of names, and writes the tables.
pub struct NameWriter {
    servers: Servers,
    database: String,
    tables: TableNames,
    /// The host name in saved positions, quoted, and the one in rows, if it is not the collector's.
    host: (String, Option<String>),
    follower: NameFollower,
    connection: Option<NameConnection>,
    sensors: Vec<SensorNames>,
    /// The saved positions are loaded.
    is_resumed: bool,
    /// What is sent, until it is committed.
    transaction: Option<Transaction>,
    /// The positions as they are stored.
    stored: Vec<(RingName, Checkpoint)>,
    off_until: Option<Instant>,
    fault: Condition,
    /// The user may not delete rows.
    no_delete: Condition,
    written_at: Option<Instant>,
    repeats_at: Instant,
}

struct NameConnection {
    conn: Conn,
    longest: usize,
    /// There are tables.
    has_tables: bool,
    /// It has carried a transaction, and the server may have closed it since.
    used: bool,
}

#[derive(Default)]
struct Transaction {
    batch: NameBatch,
    /// Up to which all is written then; none if more is to be written.
    positions: Vec<(RingName, Checkpoint)>,
    /// No question failed for it.
    is_whole: bool,
}

type Attempt<T = ()> = Result<T, ConnectionError>;

impl NameWriter {
    /// Nothing is opened yet. The host is that of saved positions, quoted, and the one that `--hostname` sets.
    pub fn new(
        config: &ServerConfig,
        tables: TableNames,
        host: (String, Option<String>),
        follower: NameFollower,
    ) -> NameWriter {
        NameWriter {
            servers: Servers::new(config),
            database: config.database().into(),
            tables,
            host,
            follower,
            connection: None,
            sensors: Vec::new(),
            is_resumed: false,
            transaction: None,
            stored: Vec::new(),
            off_until: None,
            fault: Condition::default(),
            no_delete: Condition::default(),
            written_at: None,
            repeats_at: Instant::now(),
        }
    }

    /// Whether there is a ring of names.
    pub fn has_ring(&self) -> bool {
        self.follower.is_there()
    }

    /// Reads what there is, and writes what is due. Returns whether there is more to do at once.
    pub fn work(&mut self) -> bool {
        let more = self.read();
        let now = Instant::now();
        if !self.is_off(now) && self.is_due(now) {
            self.write();
            return !self.is_off(now) && (more || self.urgent() >= MANY);
        }
        more
    }

    /// Stores all that there is, at the end; names that were only repeated, too.
    pub fn finish(mut self) {
        loop {
            let more = self.read();
            self.sensors.iter_mut().for_each(SensorNames::hurry);
            while !self.is_off(Instant::now()) && (self.is_changed() || self.has_new_position()) {
                self.write();
            }
            if !more || self.is_off(Instant::now()) {
                break;
            }
        }
        self.follower.log();
    }

    /// Tries the statements without a row. Creates the tables if there is a ring of names, as the service does.
    pub fn check(mut self) -> Result<(), Error> {
        if !self.has_ring() {
            return Ok(());
        }
        let end = Instant::now() + TRANSACTION.time;
        let tried = self.connect(end).and_then(|mut connection| {
            let TableNames { claimed_name, address_lease, .. } = &self.tables;
            let conn = &mut connection.conn;
            self.tables.create_names(conn)?;
            for (table, columns) in [(claimed_name, NAME_COLUMNS), (address_lease, LEASE_COLUMNS)] {
                let values = vec!["?"; columns.split(',').count()].join(",");
                for statement in [
                    format!("SELECT {columns} FROM {table} WHERE FALSE"),
                    format!("INSERT INTO {table} ({columns}) VALUES ({values}) ON DUPLICATE KEY UPDATE last_seen = VALUES(last_seen)"),
                    format!("DELETE FROM {table} WHERE FALSE"),
                ] {
                    conn.query_drop(format!("PREPARE aw_check FROM '{statement}'"))?;
                    conn.query_drop("DEALLOCATE PREPARE aw_check")?;
                }
            }
            Ok(())
        });
        tried.map_err(|error| failed(self.why(&error)))
    }

    fn urgent(&self) -> usize {
        self.sensors.iter().map(SensorNames::urgent).sum()
    }

    fn is_changed(&self) -> bool {
        self.transaction.is_some() || self.sensors.iter().any(SensorNames::is_changed)
    }

    fn is_off(&self, now: Instant) -> bool {
        self.off_until.is_some_and(|until| now < until)
    }

    fn has_new_position(&self) -> bool {
        self.follower.unsaved().any(|(ring, at)| !self.stored.contains(&(ring.clone(), at)))
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_changed = self.is_changed();
        if is_changed && now.duration_since(self.repeats_at) >= REPEATS_EVERY {
            self.sensors.iter_mut().for_each(SensorNames::hurry);
            self.repeats_at = now;
        }
        let is_hurried = self.sensors.iter().any(SensorNames::is_hurried);
        let (urgent, is_begun) = (self.urgent(), self.transaction.is_some() || is_hurried);
        let is_time = self.written_at.is_none_or(|at| now.duration_since(at) >= INTERVAL);
        is_begun || urgent >= MANY || urgent > 0 && is_time
    }

    /// Takes what the rings have, a part of it. Returns whether there may be more.
    fn read(&mut self) -> bool {
        if !self.is_resumed && !self.is_off(Instant::now()) {
            match self.resume() {
                Ok(()) => self.is_resumed = true,
                Err(error) => self.put_off(&error),
            }
        }
        if !self.is_resumed || self.urgent() >= MOST {
            return false;
        }
        let NameWriter { follower, sensors, host: (_, set_host), .. } = self;
        !follower.read(RECORDS, |NameEntry { ring, host, record }| {
            let host = set_host.as_deref().unwrap_or(host);
            let known = sensors.iter().position(|sensor| sensor.is_of(host, ring.as_str()));
            let at = known.unwrap_or_else(|| {
                sensors.push(SensorNames::new(host, ring.as_str()));
                sensors.len() - 1
            });
            sensors[at].add(record);
        })
    }

    /// Loads the saved positions.
    fn resume(&mut self) -> Attempt {
        self.servers.begin();
        let end = Instant::now() + TRANSACTION.time;
        while let Err(error) = self.load(end) {
            self.servers.fail_over_if_unfit(error)?;
        }
        Ok(())
    }

    fn load(&mut self, end: Instant) -> Attempt {
        let mut connection = self.connect(end)?;
        let NameWriter { follower, tables, host: (host, _), .. } = self;
        follower.resume(|ring| {
            let select = select_position(tables, host, ring);
            let row = connection.conn.query(select)?.into_iter().next();
            let columns = row.as_ref().and_then(numbers);
            // A row with other values is written again: rows of names are not added twice.
            let columns = columns.map(|columns| columns.map(|number| number as i64));
            Ok::<_, ConnectionError>(columns.and_then(Checkpoint::from_columns))
        })?;
        self.connection = Some(connection);
        Ok(())
    }

    /// The open connection, or a new one. It creates the table of positions, which may be needed before the first event.
    fn connect(&mut self, end: Instant) -> Attempt<NameConnection> {
        if let Some(mut connection) = self.connection.take() {
            connection.conn.begin(TRANSACTION.until(end));
            return Ok(connection);
        }
        let mut conn = self.servers.connect_to_write(BEGIN, TRANSACTION.until(end))?;
        self.tables.create_missing(&mut conn)?;
        let packet = conn.query_first("SELECT @@max_allowed_packet")?;
        let packet = packet.and_then(|bytes| bytes.parse().ok()).unwrap_or(0).max(1024);
        Ok(NameConnection { conn, longest: packet - 64, has_tables: false, used: false })
    }

    /// Writes a part of what was read; again after a deadlock, and on a new connection if the server has closed the old one.
    fn write(&mut self) {
        let (now, mut deadlocks) = (Instant::now(), 0);
        self.servers.begin();
        let end = now + TRANSACTION.time;
        loop {
            let sent = self.connect(end).map(|mut connection| {
                let sent = self.send(&mut connection, end);
                let was_used = std::mem::replace(&mut connection.used, true);
                // Rights that are granted later hold for a new session only.
                let stays = match &sent {
                    Err(ConnectionError::Server(error)) => error.code == DEADLOCK,
                    sent => sent.is_ok(),
                };
                self.connection = stays.then_some(connection);
                (sent, was_used)
            });
            match sent {
                Ok((Ok(()), _)) => {
                    let sent = self.transaction.take().unwrap_or_default();
                    if !sent.positions.is_empty() {
                        self.stored.clone_from(&sent.positions);
                    }
                    self.written_at = Some(now);
                    if sent.is_whole {
                        self.fault.ends("names of devices are stored again");
                    }
                    return;
                }
                Ok((Err(ConnectionError::Server(error)), _))
                    if error.code == DEADLOCK && deadlocks < DEADLOCK_RETRIES =>
                {
                    deadlocks += 1;
                }
                Ok((Err(error), true)) if disconnected(&error) => {}
                Ok((Err(error), _)) | Err(error) => {
                    if let Err(error) = self.servers.fail_over_if_unfit(error) {
                        return self.put_off(&error);
                    }
                }
            }
        }
    }

    /// Sends the transaction that is not committed yet, or the next one.
    fn send(&mut self, connection: &mut NameConnection, end: Instant) -> Attempt {
        let NameConnection { conn, longest, has_tables, .. } = connection;
        let NameWriter { tables, sensors, follower, transaction, no_delete, .. } = self;
        let is_changed = sensors.iter().any(SensorNames::is_changed);
        if !*has_tables && (is_changed || transaction.is_some()) {
            tables.create_names(conn)?;
            *has_tables = true;
        }
        if transaction.is_none() {
            let mut batch = NameBatch::default();
            let (longest, budget, may_delete) = (*longest, TRANSACTION, !no_delete.is_present());
            let mut reading =
                Reading { conn: &mut *conn, tables, longest, budget, end, may_delete };
            let planned =
                sensors.iter_mut().try_for_each(|sensor| sensor.plan(&mut reading, &mut batch));
            // After a failed question, what is planned already is sent nevertheless: it is forgotten elsewhere.
            let is_whole = planned.is_ok();
            let is_all = is_whole && sensors.iter().all(|sensor| sensor.urgent() == 0);
            let positions = follower.unsaved().filter(|_| is_all);
            let positions = positions.map(|(ring, at)| (ring.clone(), at)).collect();
            if is_whole || !batch.is_empty() {
                *transaction = Some(Transaction { batch, positions, is_whole });
            }
            planned?;
        }
        let Some(Transaction { batch, positions, .. }) = transaction else { return Ok(()) };
        conn.begin(TRANSACTION.until(end));
        conn.query_drop("START TRANSACTION")?;
        self.servers.refuse_replica(conn)?;
        for (ring, checkpoint) in positions {
            conn.query_drop(set_position(tables, &self.host.0, ring, checkpoint))?;
        }
        match batch.delete(conn, *longest) {
            Err(ConnectionError::Server(error)) if error.code == DENIED => {
                no_delete.begins(format_args!(
                    "store names of devices: {}: where a table is full, further ones are not stored (GRANT DELETE ON `{}`.*, and restart aw-mysql)",
                    error.message,
                    self.database
                ));
                batch.keep_all();
            }
            deleted => deleted?,
        }
        batch.write(conn, tables, *longest)?;
        conn.query_drop("COMMIT")
    }

    /// Nothing is written for some time. What was read stays in memory.
    fn put_off(&mut self, error: &ConnectionError) {
        let is_refused = matches!(error, ConnectionError::Server(_)) && !disconnected(error);
        let pause = if is_refused { LONG_PAUSE } else { PAUSE };
        self.off_until = Some(Instant::now() + jittered(pause));
        let why = self.why(error);
        self.fault.begins(format_args!(
            "{why}: names of devices are not stored until a server accepts them, and events are not affected"
        ));
    }

    fn why(&self, error: &ConnectionError) -> String {
        self.servers.fault("write names of devices to", error)
    }
}

/// Sets the position in a ring of names, whatever it was.
fn set_position(tables: &TableNames, host: &str, ring: &RingName, at: &Checkpoint) -> String {
    let Checkpoint { generation, began, delivered, lost, skipped } = at;
    let columns = format!(
        "generation = {generation}, began = {began}, delivered = {delivered}, lost = {lost}, skipped = {skipped}"
    );
    let (table, ring) = (&tables.position, quoted(ring.as_str()));
    format!(
        "INSERT INTO {table} SET hostname = {host}, ring = {ring}, {columns} ON DUPLICATE KEY UPDATE {columns}"
    )
}
