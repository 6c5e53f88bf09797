//! The statements of a transaction of names, and the questions before it.

use std::{fmt::Write, time::Instant};

use aw_output::{NameSource, NameUse};
use aw_peer::Budget;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    connection::{Conn, Error, Row},
    name_rows::NameKey,
    schema::TableNames,
    sql::{RowBatch, quoted, timestamp},
};

/// The columns of the two tables.
pub const NAME_COLUMNS: &str =
    "hostname, ring, mac_address, interface, vlan_tag, source, name, first_seen, last_seen, uses";
pub const LEASE_COLUMNS: &str = "hostname, ring, ip_address, mac_address, interface, vlan_tag, begins, last_seen, ends, released";

/// Rows that one statement deletes, at most.
const DELETED: usize = 100;

/// Statements that are not committed yet.
#[derive(Default)]
pub struct NameBatch {
    /// Beginnings of statements, and conditions of the rows that each deletes.
    pub deleted: Vec<(String, Vec<String>)>,
    names: RowBatch,
    pub leases: RowBatch,
}

impl NameBatch {
    pub fn is_empty(&self) -> bool {
        self.deleted.is_empty() && self.names.is_empty() && self.leases.is_empty()
    }

    /// `sensor`: host and ring, quoted.
    pub fn add_name(&mut self, sensor: &str, mac: MacAddr, key: &NameKey, used: &NameUse) {
        let NameKey { interface, vlan, source, name } = key;
        let (mac, interface) = (mac.number(), quoted(interface));
        let (source, name, uses) = (*source as u8, quoted(name), used.count.max(1));
        let [first, last] = [used.first, used.last].map(timestamp);
        self.names.add(format_args!(
            ",({sensor},0x{mac:012x},{interface},{vlan},{source},{name},from_unixtime({first}),from_unixtime({last}),{uses})"
        ));
    }

    /// Deletes the rows that make room.
    pub fn delete(&self, to: &mut Conn, longest: usize) -> Result<(), Error> {
        for (begin, conditions) in &self.deleted {
            let mut left = conditions.as_slice();
            while !left.is_empty() {
                let mut statement = format!("{begin} AND (");
                let mut rows = 0;
                for condition in left.iter().take(DELETED) {
                    if rows > 0 && statement.len() + condition.len() + 8 > longest {
                        break;
                    }
                    let or = if rows > 0 { " OR " } else { "" };
                    let _ = write!(statement, "{or}({condition})");
                    rows += 1;
                }
                to.query_drop(statement + ")")?;
                left = &left[rows..];
            }
        }
        Ok(())
    }

    /// No row makes room.
    pub fn keep_all(&mut self) {
        self.deleted.clear();
    }

    /// Writes the rows.
    pub fn write(&self, to: &mut Conn, tables: &TableNames, longest: usize) -> Result<(), Error> {
        // An import may have made a name older, and a clock may have been ahead.
        let (set, now) = (UnixTime::CLOCK_SET.seconds(), timestamp(UnixTime::now()));
        let update = format!(
            " ON DUPLICATE KEY UPDATE first_seen = if(first_seen >= from_unixtime({set}) AND first_seen < VALUES(first_seen), first_seen, VALUES(first_seen)),
                last_seen = if(last_seen > from_unixtime({now}), VALUES(last_seen), greatest(last_seen, VALUES(last_seen))), uses = greatest(uses, VALUES(uses))"
        );
        let insert = format!("INSERT INTO {} ({NAME_COLUMNS}) VALUES ", tables.claimed_name);
        self.names.send(to, longest, [&insert, &update])?;
        let update = " ON DUPLICATE KEY UPDATE last_seen = VALUES(last_seen), ends = VALUES(ends), released = VALUES(released)";
        let insert = format!("INSERT INTO {} ({LEASE_COLUMNS}) VALUES ", tables.address_lease);
        self.leases.send(to, longest, [&insert, update])
    }
}

/// Where rows are read.
pub struct Reading<'a> {
    pub conn: &'a mut Conn,
    pub tables: &'a TableNames,
    /// The longest statement that the server accepts, in bytes.
    pub longest: usize,
    /// For one question, and when all is to be over.
    pub budget: Budget,
    pub end: Instant,
    /// Rows may be deleted.
    pub may_delete: bool,
}

impl Reading<'_> {
    /// The rows of a result, in an exchange of its own.
    pub fn rows(&mut self, select: &str) -> Result<Vec<Row>, Error> {
        self.conn.begin(self.budget.until(self.end));
        self.conn.query(select)
    }

    pub fn count(&mut self, table: &str, condition: &str) -> Result<usize, Error> {
        self.conn.begin(self.budget.until(self.end));
        let count = format!("SELECT count(*) FROM {table} WHERE {condition}");
        let count = self.conn.query_first(count)?.and_then(|count| count.parse::<u32>().ok());
        Ok(count.unwrap_or(0) as usize)
    }
}

/// The MAC and the key of a row that begins with their columns.
pub fn name_key(row: &Row) -> Option<(MacAddr, NameKey)> {
    let mac = MacAddr::new(row.first()?.as_deref()?.try_into().ok()?);
    let source = NameSource::from_number(number(row, 3)?)?;
    let name = String::from_utf8(row.get(4)?.clone()?).ok()?;
    let (interface, vlan) = (text(row, 1), number(row, 2)?);
    Some((mac, NameKey { interface, vlan, source, name }))
}

pub fn text(row: &Row, column: usize) -> String {
    let bytes = row.get(column).and_then(Option::as_deref).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

/// A number without its fraction.
pub fn number(row: &Row, column: usize) -> Option<i64> {
    text(row, column).split('.').next()?.parse().ok()
}

/// The condition for the rows of a sensor, and the values of its columns.
pub fn of_sensor(host: &str, ring: &str) -> String {
    format!("hostname = {} AND ring = {}", quoted(host), quoted(ring))
}

pub fn sensor_values(host: &str, ring: &str) -> String {
    [host, ring].map(quoted).join(",")
}
