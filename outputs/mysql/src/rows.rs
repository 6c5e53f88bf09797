//! Events as rows, and the account of each ring, committed together.
//!
//! A transaction is built here and sent as a whole, so that it can be sent again after a deadlock or
//! on a new connection. It begins with the account: that locks the account's row, and finds out
//! whether another transaction of this host and ring came between.

use std::{collections::HashMap, fmt::Write, net::IpAddr};

use aw_output::{
    Checkpoint, CheckpointStore, Entry, Fault, Result, Sink, failed, host_of, this_host, warn,
};
use mysql::{Conn, Error, FromRowError, Opts, prelude::Queryable};
use shm_layout::{ConfigChange, Kind, RingName, UnixTime};

use crate::{
    cause::{cause, timed_out},
    config::Config,
    schema::{NO_SUCH_TABLE, Prefix, Tables},
};

/// Rows of a statement, if the server takes packets of that size.
const ROWS: usize = 1000;
/// How often a transaction is sent again because of a deadlock.
const DEADLOCKS: u32 = 3;
/// What a TIMESTAMP can hold everywhere, in seconds.
const TIMES: std::ops::RangeInclusive<i64> = 1..=i32::MAX as i64;

/// Times in UTC: in another zone an hour may come twice. Nothing is cut to fit, so that what is
/// stored is what was seen. And nobody waits longer for a lock than we wait for an answer.
const BEGIN: &str = "SET autocommit = 1, time_zone = '+00:00',
    sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
    lock_wait_timeout = 2, innodb_lock_wait_timeout = 2";

/// Errors of servers, by number.
const DUPLICATE: u16 = 1062;
const DEADLOCK: u16 = 1213;

/// The sink.
pub struct Rows {
    options: Opts,
    server: String,
    database: String,
    tables: Tables,
    /// Whose accounts these are, quoted: a name that no other machine has.
    host: String,
    /// What the rows say, quoted: the same if it was given, else what each ring says.
    hosts: HashMap<RingName, String>,
    given: bool,
    link: Option<Link>,
    /// Accounts as the database had them last.
    known: HashMap<RingName, Option<Checkpoint>>,
    /// What `flush` sends: the accounts, the rows, and changes of configurations, which have a table of
    /// their own.
    accounts: Vec<(RingName, Checkpoint)>,
    rows: Values,
    changes: Values,
    warned: bool,
}

/// Rows for a table, each with a comma before it, and where it ends.
#[derive(Default)]
struct Values {
    text: String,
    ends: Vec<usize>,
}

impl Values {
    fn add(&mut self, row: std::fmt::Arguments) {
        let _ = self.text.write_fmt(row); // memory takes all
        self.ends.push(self.text.len());
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Sends them behind `insert`, in statements that the server takes.
    fn send(&self, link: &mut Link, insert: &str) -> std::result::Result<(), Failure> {
        let (mut from, mut ends) = (0, self.ends.as_slice());
        while !ends.is_empty() {
            let room = (from + link.longest).saturating_sub(insert.len());
            let fit = ends.iter().take(ROWS).take_while(|end| **end <= room).count().max(1);
            let end = ends[fit - 1];
            link.to.query_drop([insert, &self.text[from + 1..end]].concat())?;
            (from, ends) = (end, &ends[fit..]);
        }
        Ok(())
    }
}

/// A connection, and the longest statement that it takes.
struct Link {
    to: Conn,
    longest: usize,
    /// It has carried a transaction, and may have been closed since.
    used: bool,
}

/// Why a transaction failed.
enum Failure {
    Server(Error),
    /// The account is not what it was when it was read: somebody else stores for this host and ring.
    Overtaken,
    /// The connection broke while the server committed: it may have, or not.
    Unknown(Error),
    Moved,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Server(error)
    }
}

impl Rows {
    /// Connects later: what is wrong with the server may be better then.
    pub fn new(
        config: &Config,
        prefix: &Prefix,
        hostname: Option<String>,
    ) -> std::result::Result<Rows, aw_output::Error> {
        let given = hostname.is_some();
        let host = hostname.unwrap_or_else(this_host);
        if host.is_empty() || host.chars().count() > 255 {
            return Err(failed("the host's name must have 1 to 255 characters (--hostname)"));
        }
        Ok(Rows {
            options: config.options(BEGIN),
            server: config.server(),
            database: config.database().into(),
            tables: Tables::new(prefix),
            host: quoted(&host),
            hosts: HashMap::new(),
            given,
            link: None,
            known: HashMap::new(),
            accounts: Vec::new(),
            rows: Values::default(),
            changes: Values::default(),
            warned: false,
        })
    }

    /// The connection, made and with all tables if there was none.
    fn link(&mut self) -> std::result::Result<Link, Failure> {
        if let Some(link) = self.link.take() {
            return Ok(link);
        }
        let mut to = Conn::new(self.options.clone())?;
        if !self.tables.set_up(&mut to)? {
            return Err(Failure::Moved);
        }
        if !std::mem::replace(&mut self.warned, true)
            && let Some(engine) = self.tables.engine_without_transactions(&mut to)?
        {
            let log = &self.tables.log;
            warn(format_args!(
                "table {log} is of engine {engine}, which has no transactions: after a failure events may be in it twice (ALTER TABLE {log} ENGINE = InnoDB)"
            ));
        }
        let packet: Option<usize> = to.query_first("SELECT @@max_allowed_packet")?;
        Ok(Link { to, longest: packet.unwrap_or(0).max(1024) - 64, used: false })
    }

    fn transact(&self, link: &mut Link) -> std::result::Result<(), Failure> {
        if !self.changes.ends.is_empty() {
            self.tables.set_up_changes(&mut link.to)?; // before it begins: to make a table commits
        }
        link.to.query_drop("START TRANSACTION")?;
        for (ring, account) in &self.accounts {
            self.write_account(&mut link.to, ring, account)?;
        }
        let Tables { log, config_change, .. } = &self.tables;
        let columns = "tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id";
        self.rows.send(link, &format!("INSERT INTO {log} ({columns}) VALUES "))?;
        let columns = "tstamp, hostname, router, ip_address, user, lines_added, lines_removed";
        self.changes.send(link, &format!("INSERT INTO {config_change} ({columns}) VALUES "))?;
        link.to.query_drop("COMMIT").map_err(|error| match error {
            Error::MySqlError(_) => Failure::Server(error),
            _ => Failure::Unknown(error),
        })
    }

    fn write_account(
        &self,
        to: &mut Conn,
        ring: &RingName,
        account: &Checkpoint,
    ) -> std::result::Result<(), Failure> {
        let (table, key) = (&self.tables.position, self.key(ring));
        let columns = |account: &Checkpoint, between: &str| {
            let Checkpoint { generation, began, delivered, lost, skipped } = account;
            format!(
                "generation = {generation}{between}began = {began}{between}delivered = {delivered}{between}lost = {lost}{between}skipped = {skipped}"
            )
        };
        let new = columns(account, ", ");
        let Some(Some(before)) = self.known.get(ring) else {
            let (host, ring) = (&self.host, quoted(ring.as_str()));
            let insert = format!("INSERT INTO {table} SET hostname = {host}, ring = {ring}, {new}");
            return match to.query_drop(insert) {
                Err(Error::MySqlError(error)) if error.code == DUPLICATE => Err(Failure::Overtaken),
                done => Ok(done?),
            };
        };
        let before = columns(before, " AND ");
        to.query_drop(format!("UPDATE {table} SET {new} WHERE {key} AND {before}"))?;
        if to.affected_rows() == 1 { Ok(()) } else { Err(Failure::Overtaken) }
    }

    fn key(&self, ring: &RingName) -> String {
        format!("hostname = {} AND ring = {}", self.host, quoted(ring.as_str()))
    }

    /// Sends the transaction; again after a deadlock, and once on a new connection if the server had
    /// closed the old one meanwhile (`wait_timeout`, a restart). Not if it did not answer: it would not on
    /// another one either, and the ring goes on.
    fn send(&mut self) -> std::result::Result<(), Failure> {
        let mut deadlocks = 0;
        loop {
            let mut link = self.link()?;
            let done = self.transact(&mut link);
            let used = std::mem::replace(&mut link.used, true);
            match done {
                Ok(()) => {
                    self.link = Some(link);
                    return Ok(());
                }
                Err(Failure::Server(Error::MySqlError(error)))
                    if error.code == DEADLOCK && deadlocks < DEADLOCKS =>
                {
                    deadlocks += 1;
                    self.link = Some(link);
                }
                Err(Failure::Server(error)) if used && closed(&error) => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    fn fault(&self, failure: Failure) -> Fault {
        let Rows { server, database, .. } = self;
        let (log, position) = (&self.tables.log, &self.tables.position);
        let why = match failure {
            Failure::Server(error) => explain(&error, database),
            Failure::Overtaken => format!(
                "another program has changed our row in {position} (run one aw-mysql for each host, ring and prefix)"
            ),
            Failure::Unknown(error) => {
                format!("{}; whether it has committed will be asked", explain(&error, database))
            }
            Failure::Moved => format!(
                "table {log} is missing (rename it back, or make another with CREATE TABLE {log} LIKE the old one)"
            ),
        };
        Fault::Down(format!("write to {database} at {server}: {why}"))
    }
}

impl Sink for Rows {
    fn write(&mut self, entry: &Entry) -> Result {
        let event = &entry.event;
        let time: UnixTime = event.time;
        let seconds = time.seconds().clamp(*TIMES.start(), *TIMES.end());
        if !self.given && !self.hosts.contains_key(entry.ring) {
            self.hosts.insert(entry.ring.clone(), quoted(&host_of(entry.ring)));
        }
        let host = self.hosts.get(entry.ring).unwrap_or(&self.host);
        let (interface, vlan) = (quoted(event.interface.as_str()), event.vlan);
        let ip = match event.ip() {
            IpAddr::V4(ip) => hex(&ip.octets()),
            IpAddr::V6(ip) => hex(&ip.octets()),
        };
        let origin = match event.kind {
            Kind::Pairing(origin) => origin as u8,
            Kind::MacUpd => 6,
            Kind::ConfigChange(ConfigChange { user, added, removed }) => {
                let user = quoted(user.as_str());
                self.changes.add(format_args!(
                    ",(from_unixtime({seconds}),{host},{interface},{ip},{user},{added},{removed})"
                ));
                return Ok(());
            }
        };
        let mac = hex(&event.mac.octets());
        self.rows.add(format_args!(
            ",(from_unixtime({seconds}),{host},{interface},{vlan},{mac},{ip},{origin})"
        ));
        Ok(())
    }

    fn flush(&mut self) -> Result {
        let sent = self.send();
        self.rows.clear();
        self.changes.clear();
        let accounts = std::mem::take(&mut self.accounts);
        match sent {
            Ok(()) => {
                self.known.extend(accounts.into_iter().map(|(ring, it)| (ring, Some(it))));
                Ok(())
            }
            Err(failure) => {
                self.known.clear(); // the loop asks for them before it hands anything over again
                Err(self.fault(failure))
            }
        }
    }

    /// A new connection: certificates may be others.
    fn reopen(&mut self) -> Result {
        self.link = None;
        Ok(())
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for Rows {
    /// With a lock: a transaction of ours whose connection broke may still be going on, and this waits
    /// for its end.
    fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>> {
        type Row = std::result::Result<(u64, u64, u64, u64, u64), FromRowError>;
        let select = format!(
            "SELECT generation, began, delivered, lost, skipped FROM {} WHERE {} FOR UPDATE",
            self.tables.position,
            self.key(ring)
        );
        let load = |rows: &mut Rows| -> std::result::Result<Option<Row>, Failure> {
            let mut link = rows.link()?;
            let row = link.to.query_first_opt(&select)?;
            rows.link = Some(link);
            Ok(row)
        };
        let row = load(self).map_err(|failure| self.fault(failure))?.transpose();
        let row = row.map_err(|_| {
            let Rows { database, tables, .. } = self;
            Fault::Down(format!(
                "read {} of {database}: its row for {} has other columns than ours",
                tables.position,
                ring.as_str()
            ))
        })?;
        let account = row.and_then(|(generation, began, delivered, lost, skipped)| {
            let columns = [generation, began, delivered, lost, skipped];
            Checkpoint::from_columns(columns.map(|number: u64| number as i64))
        });
        self.known.insert(ring.clone(), account);
        Ok(account)
    }

    fn store(&mut self, ring: &RingName, account: &Checkpoint) -> Result {
        self.accounts.push((ring.clone(), *account));
        Ok(())
    }
}

/// Whether the connection has gone.
fn closed(error: &Error) -> bool {
    match error {
        // Too long idle, too many connections, about to stop: MySQL says so before it closes.
        Error::MySqlError(error) => [1053, 1927, 4031].contains(&error.code),
        Error::IoError(_) | Error::CodecError(_) => !timed_out(error),
        _ => false,
    }
}

fn explain(error: &Error, database: &str) -> String {
    let Error::MySqlError(server) = error else { return cause(error) };
    let advice = match server.code {
        1045 | 1698 => " (user and password are in the section [addrwatch] of --config)".into(),
        1044 | 1142 => format!(" (GRANT ALL ON `{database}`.* TO the user)"),
        1049 => format!(" (CREATE DATABASE `{database}`)"),
        NO_SUCH_TABLE => " (rename it back)".into(),
        _ => String::new(),
    };
    cause(error) + &advice
}

/// As text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// As bytes in SQL.
pub fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| char::from(HEX[usize::from(digit)]));
    ['0', 'x'].into_iter().chain(digits).collect()
}
