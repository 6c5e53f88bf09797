//! The sink: rows and the checkpoint of each ring, committed together.
//!
//! A transaction is collected here and sent as a whole, so that it can be sent again after a deadlock or
//! on a new connection. It begins with the checkpoint: that locks the row of the checkpoint, and detects
//! whether another program has written for the same host and ring.

mod check;

pub use self::check::check_servers;

use std::{collections::HashMap, time::Instant};

use aw_output::{
    Checkpoint, CheckpointStore, Entry, Fault, NameFollower, RingState, Sink, SinkResult, failed,
    this_host,
};
use aw_service::Condition;
use shm_layout::{ConfigChange, Kind, RingName};

use crate::{
    config::{ServerConfig, TRANSACTION},
    connection::{Conn, Error, Row},
    errors::{TransactionError, cause_and_remedy, disconnected},
    name_thread::NameThread,
    name_writer::NameWriter,
    schema::{FRAME_SOURCE, MACUPD, TableNames, TablePrefix},
    servers::Servers,
    sql::{RowBatch, hex_ip, quoted, timestamp},
};

/// How often a transaction is sent again because of a deadlock.
const DEADLOCK_RETRIES: u32 = 3;

/// The first statement of a connection. Times in UTC: in another zone an hour may come twice. A value that
/// does not fit is an error, so that what is stored is what was seen. The lock timeouts are shorter than
/// the time limit of an answer.
pub(crate) const BEGIN: &str = "SET autocommit = 1, time_zone = '+00:00',
    sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
    lock_wait_timeout = 2, innodb_lock_wait_timeout = 2";

/// The columns of addrwatch's table.
const COLUMNS: &str = "tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id";

const CHANGE_COLUMNS: &str =
    "tstamp, hostname, router, ip_address, user, lines_added, lines_removed";

/// Numbers of server errors.
const DUPLICATE: u16 = 1062;
const DEADLOCK: u16 = 1213;

type Attempt<T = ()> = Result<T, TransactionError>;

/// Stores events in the tables of a server.
pub struct MysqlSink {
    config: ServerConfig,
    servers: Servers,
    tables: TableNames,
    /// The host name in checkpoints, quoted: no other machine has it.
    host: String,
    /// The host name in rows and its quoted form: the collector's, unless `--hostname` sets one.
    row_host: (String, String),
    set_host: Option<String>,
    connection: Option<ServerConnection>,
    /// Checkpoints as last read from or written to the database.
    stored: HashMap<RingName, Option<Checkpoint>>,
    /// What `flush` sends: the checkpoints, the rows, and configuration changes, which have a table of
    /// their own.
    checkpoints: Vec<(RingName, Checkpoint)>,
    rows: RowBatch,
    /// Rows of frames that another MAC sent: with that MAC, and without, for a table that has no column for it.
    forwarded: RowBatch,
    forwarded_without: RowBatch,
    changes: RowBatch,
    no_transactions: Condition,
    no_frame_source: Condition,
    /// Adding the column for the frame's source was tried in this run: each try may stop other users of the table for
    /// the time limit of its lock.
    column_tried: bool,
    /// When the current exchange with the server has to be over, with all connections that it needs.
    end: Instant,
    /// What devices call themselves; it has a connection of its own.
    names: Option<NameThread>,
}

struct ServerConnection {
    conn: Conn,
    /// The longest statement that the server accepts, in bytes.
    longest: usize,
    /// It has carried a query, and the server may have closed it since.
    used: bool,
    /// The table of events has a column for the frame's source.
    has_frame_source: bool,
}

impl MysqlSink {
    /// Connects at the first use: a server that is down now may be up then.
    pub fn new(
        config: &ServerConfig,
        prefix: &TablePrefix,
        hostname: Option<String>,
    ) -> Result<MysqlSink, aw_output::Error> {
        let host = hostname.clone().unwrap_or_else(this_host);
        if host.is_empty() || host.chars().count() > 255 {
            return Err(failed("the host name must have 1 to 255 characters (--hostname)"));
        }
        Ok(MysqlSink {
            config: config.clone(),
            servers: Servers::new(config),
            tables: TableNames::new(prefix),
            host: quoted(&host),
            row_host: Default::default(),
            set_host: hostname,
            connection: None,
            stored: HashMap::new(),
            checkpoints: Vec::new(),
            rows: RowBatch::default(),
            forwarded: RowBatch::default(),
            forwarded_without: RowBatch::default(),
            changes: RowBatch::default(),
            no_transactions: Condition::default(),
            no_frame_source: Condition::default(),
            column_tried: false,
            end: Instant::now(),
            names: None,
        })
    }

    /// Rows have the host of their event, also if this machine has a name of its own in saved positions: for events of many sensors.
    pub fn with_hosts_of_events(self) -> MysqlSink {
        MysqlSink { set_host: None, ..self }
    }

    /// Stores what devices call themselves, too.
    pub fn with_names(self, follower: NameFollower) -> MysqlSink {
        let host = (self.host.clone(), self.set_host.clone());
        let writer = NameWriter::new(&self.config, self.tables.clone(), host, follower);
        MysqlSink { names: Some(NameThread::new(writer)), ..self }
    }

    /// The open connection, or a new one; a new one creates the missing tables.
    fn connect(&mut self) -> Attempt<ServerConnection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        loop {
            let conn = self.servers.connect_to_write(BEGIN, TRANSACTION.until(self.end))?;
            match self.prepare(conn) {
                Err(TransactionError::Server(error)) => self.servers.fail_over_if_unfit(error)?,
                prepared => return prepared,
            }
        }
    }

    /// Creates the missing tables.
    fn prepare(&mut self, mut conn: Conn) -> Attempt<ServerConnection> {
        if !self.tables.create_missing(&mut conn)? {
            return Err(TransactionError::LogMissing);
        }
        let log = &self.tables.log;
        match self.tables.engine_without_transactions(&mut conn)? {
            Some(engine) => self.no_transactions.begins(format_args!(
                "table {log} is of engine {engine}, which has no transactions: after a failure events may be stored twice (ALTER TABLE {log} ENGINE = InnoDB)"
            )),
            None => self.no_transactions.ends(format_args!("table {log} has transactions now")),
        }
        let has_frame_source = self.tables.has_frame_source(&mut conn, !self.column_tried)?;
        self.column_tried = true;
        match has_frame_source {
            true => self.no_frame_source.ends(format_args!("table {log} has the column {FRAME_SOURCE} now")),
            false => self.no_frame_source.begins(format_args!(
                "table {log} has no column {FRAME_SOURCE}: which MAC sent a frame is not stored (ALTER TABLE {log} ADD COLUMN {FRAME_SOURCE} BINARY(6) NULL, and restart aw-mysql)"
            )),
        }
        let packet = conn.query_first("SELECT @@max_allowed_packet")?;
        let packet = packet.and_then(|bytes| bytes.parse().ok()).unwrap_or(0).max(1024);
        Ok(ServerConnection { conn, longest: packet - 64, used: false, has_frame_source })
    }

    fn run_transaction(&self, connection: &mut ServerConnection) -> Attempt {
        let ServerConnection { conn, longest, has_frame_source, .. } = connection;
        conn.begin(TRANSACTION.until(self.end));
        if !self.changes.is_empty() {
            self.tables.create_changes(conn)?; // before it begins: CREATE TABLE commits
        }
        conn.query_drop("START TRANSACTION")?;
        self.servers.refuse_replica(conn)?;
        for (ring, checkpoint) in &self.checkpoints {
            self.write_checkpoint(conn, ring, checkpoint)?;
        }
        let TableNames { log, config_change, .. } = &self.tables;
        let insert = format!("INSERT INTO {log} ({COLUMNS}) VALUES ");
        self.rows.send(conn, *longest, [&insert, ""])?;
        // Without the column, only the last value of these rows cannot be stored.
        let (rows, column) = match has_frame_source {
            true => (&self.forwarded, format!(", {FRAME_SOURCE}")),
            false => (&self.forwarded_without, String::new()),
        };
        let insert = format!("INSERT INTO {log} ({COLUMNS}{column}) VALUES ");
        rows.send(conn, *longest, [&insert, ""])?;
        let insert = format!("INSERT INTO {config_change} ({CHANGE_COLUMNS}) VALUES ");
        self.changes.send(conn, *longest, [&insert, ""])?;
        // After a deadlock it is undone. Of other errors that is not known: a node that loses its cluster reports 1180.
        conn.query_drop("COMMIT").map_err(|error| match error {
            Error::Server(ref server) if server.code == DEADLOCK => TransactionError::Server(error),
            _ => TransactionError::CommitUnknown(error),
        })
    }

    fn write_checkpoint(&self, to: &mut Conn, ring: &RingName, checkpoint: &Checkpoint) -> Attempt {
        let (table, key) = (&self.tables.position, key(&self.host, ring));
        let columns = |checkpoint: &Checkpoint, between: &str| {
            let Checkpoint { generation, began, delivered, lost, skipped } = checkpoint;
            format!(
                "generation = {generation}{between}began = {began}{between}delivered = {delivered}{between}lost = {lost}{between}skipped = {skipped}"
            )
        };
        let new = columns(checkpoint, ", ");
        let Some(Some(stored)) = self.stored.get(ring) else {
            let (host, ring) = (&self.host, quoted(ring.as_str()));
            let insert = format!("INSERT INTO {table} SET hostname = {host}, ring = {ring}, {new}");
            return match to.query_drop(insert) {
                Err(Error::Server(error)) if error.code == DUPLICATE => {
                    Err(TransactionError::CheckpointChanged)
                }
                result => Ok(result?),
            };
        };
        let stored = columns(stored, " AND ");
        to.query_drop(format!("UPDATE {table} SET {new} WHERE {key} AND {stored}"))?;
        match to.affected_rows() {
            1 => Ok(()),
            _ => Err(TransactionError::CheckpointChanged),
        }
    }

    /// Sends the transaction; again after a deadlock, and once on a new connection if the server has closed
    /// the old one (`wait_timeout`, a restart). It does not try again if the server did not answer: a new
    /// connection would not help, and the ring does not wait.
    fn send(&mut self) -> Attempt {
        let mut deadlocks = 0;
        self.begin();
        loop {
            let mut connection = self.connect()?;
            let result = self.run_transaction(&mut connection);
            let used = std::mem::replace(&mut connection.used, true);
            match result {
                Ok(()) => {
                    self.connection = Some(connection);
                    return Ok(());
                }
                Err(TransactionError::Server(Error::Server(error)))
                    if error.code == DEADLOCK && deadlocks < DEADLOCK_RETRIES =>
                {
                    deadlocks += 1;
                    self.connection = Some(connection);
                }
                Err(TransactionError::Server(error)) if used && disconnected(&error) => {}
                Err(TransactionError::Server(error)) => self.servers.fail_over_if_unfit(error)?,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Forgets what is written and not flushed.
    fn discard(&mut self) {
        for rows in [&mut self.rows, &mut self.forwarded, &mut self.forwarded_without] {
            rows.clear();
        }
        self.changes.clear();
        self.checkpoints.clear();
    }

    /// Begins an exchange with the servers.
    fn begin(&mut self) {
        self.end = Instant::now() + TRANSACTION.time;
        self.servers.begin();
    }

    /// The next attempt is at another server, unless it would be the same there.
    fn fault(&mut self, failure: TransactionError) -> Fault {
        if matches!(failure, TransactionError::CommitUnknown(_) | TransactionError::LogMissing) {
            self.servers.begin_with_next();
        }
        let (database, server) = (self.config.database(), self.servers.name());
        let (log, position) = (&self.tables.log, &self.tables.position);
        let why = match failure {
            TransactionError::Server(error) => {
                return Fault::Down(self.servers.fault("write to", &error));
            }
            TransactionError::CheckpointChanged if self.config.is_list() => format!(
                "it has another position of this ring in {position} than was confirmed: it lags behind another server of the list, or has no copy of its rows, or another program writes for this ring (run only one aw-mysql for each host, ring and prefix); the position is read again"
            ),
            TransactionError::CheckpointChanged => format!(
                "another program has changed the row of this ring in {position} (run only one aw-mysql for each host, ring and prefix)"
            ),
            TransactionError::CommitUnknown(error) => format!(
                "{}: the commit is not confirmed, and is checked on the next connection",
                cause_and_remedy(&error, database)
            ),
            TransactionError::LogMissing => format!(
                "table {log} is missing (rename it back, or create it with CREATE TABLE {log} LIKE the old table)"
            ),
        };
        Fault::Down(format!("write to {database} at {server}: {why}"))
    }
}

impl Sink for MysqlSink {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let event = &entry.event;
        let seconds = timestamp(event.time);
        if self.set_host.is_none() && self.row_host.0 != entry.host {
            self.row_host = (entry.host.into(), quoted(entry.host));
        }
        let host = if self.set_host.is_some() { &self.host } else { &self.row_host.1 };
        let (interface, vlan) = (quoted(event.interface.as_str()), event.vlan);
        let ip = hex_ip(event.ip());
        let origin = match event.kind {
            Kind::Pairing(origin) => origin as u8,
            Kind::MacUpd => MACUPD,
            Kind::ConfigChange(ConfigChange { user, added, removed }) => {
                let user = quoted(user.as_str());
                self.changes.add(format_args!(
                    ",(from_unixtime({seconds}),{host},{interface},{ip},{user},{added},{removed})"
                ));
                return Ok(());
            }
        };
        let mac = event.mac.number();
        let row = format!(
            "from_unixtime({seconds}),{host},{interface},{vlan},0x{mac:012x},{ip},{origin}"
        );
        if event.source == event.mac {
            self.rows.add(format_args!(",({row})"));
        } else {
            let source = event.source.number();
            self.forwarded.add(format_args!(",({row},0x{source:012x})"));
            self.forwarded_without.add(format_args!(",({row})"));
        }
        Ok(())
    }

    fn flush(&mut self) -> SinkResult {
        let sent = self.send();
        let checkpoints = std::mem::take(&mut self.checkpoints);
        self.discard();
        match &sent {
            Ok(()) => {
                self.stored.extend(checkpoints.into_iter().map(|(ring, it)| (ring, Some(it))))
            }
            // The run loop loads them before it writes again.
            Err(_) => self.stored.retain(|ring, _| checkpoints.iter().all(|(of, _)| of != ring)),
        }
        sent.map_err(|failure| self.fault(failure))
    }

    fn destination(&self) -> String {
        format!("{} at {}", self.config.database(), self.servers.name())
    }

    fn maintain(&mut self) -> SinkResult<bool> {
        self.names.iter_mut().for_each(NameThread::wake);
        Ok(false)
    }

    fn observe(&mut self, _: &RingState) -> SinkResult {
        self.names.iter_mut().for_each(NameThread::wake); // also if events never pause
        Ok(())
    }

    fn close(&mut self) -> SinkResult {
        self.names.take().into_iter().for_each(NameThread::finish);
        Ok(())
    }

    /// Connects again, because the certificates may have been replaced.
    fn reopen(&mut self) -> SinkResult {
        self.connection = None;
        Ok(())
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for MysqlSink {
    /// With a lock: a transaction whose connection broke may still be active on the server, and this waits
    /// for its end.
    fn load(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        let select = select_position(&self.tables, &self.host, ring);
        let load = |sink: &mut MysqlSink| -> Attempt<Option<Row>> {
            sink.begin();
            loop {
                let mut connection = sink.connect()?;
                connection.conn.begin(TRANSACTION.until(sink.end));
                let used = std::mem::replace(&mut connection.used, true);
                match connection.conn.query(&select) {
                    Ok(rows) => {
                        sink.connection = Some(connection);
                        return Ok(rows.into_iter().next());
                    }
                    Err(error) if used && disconnected(&error) => {}
                    Err(error) => sink.servers.fail_over_if_unfit(error)?,
                }
            }
        };
        let row = load(self).map_err(|failure| {
            self.discard();
            self.fault(failure)
        })?;
        let row = row.map(|row| numbers(&row)).map(|numbers| numbers.ok_or_else(|| {
            let (database, table, ring) = (self.config.database(), &self.tables.position, ring.as_str());
            Fault::Down(format!(
                "read {table} of {database}: the row of ring {ring} has values that aw-mysql does not write (delete the row to begin again with the oldest event)"
            ))
        })).transpose()?;
        let checkpoint =
            row.and_then(|columns| Checkpoint::from_columns(columns.map(|number| number as i64)));
        self.stored.insert(ring.clone(), checkpoint);
        Ok(checkpoint)
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        self.checkpoints.push((ring.clone(), *checkpoint));
        Ok(())
    }
}

/// The condition for the checkpoint of a ring of a host, which is quoted.
fn key(host: &str, ring: &RingName) -> String {
    format!("hostname = {host} AND ring = {}", quoted(ring.as_str()))
}

/// Reads a checkpoint, with a lock: a transaction whose connection broke may still be active on the server.
pub(crate) fn select_position(tables: &TableNames, host: &str, ring: &RingName) -> String {
    let (table, key) = (&tables.position, key(host, ring));
    format!(
        "SELECT generation, began, delivered, lost, skipped FROM {table} WHERE {key} FOR UPDATE"
    )
}

/// The columns of a checkpoint.
pub(crate) fn numbers(row: &Row) -> Option<[u64; 5]> {
    let number = |value: &Option<Vec<u8>>| str::from_utf8(value.as_deref()?).ok()?.parse().ok();
    row.iter().map(number).collect::<Option<Vec<_>>>()?.try_into().ok()
}
