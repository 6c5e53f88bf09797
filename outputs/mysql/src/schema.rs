//! The tables: those of addrwatch 1.0, one for the checkpoints, one for configuration changes and two for names. Existing
//! tables are used as they are.
//!
//! Each new table has a primary key, which servers may require (`sql_require_primary_key`). That of the two tables with
//! events is a number in the order of the rows, so that rows are appended. The time is part of it, because a table can be
//! partitioned by time only if each unique key has the time. The number is invisible where the server can do that (MySQL
//! 8.0.23, MariaDB 10.3): programs for addrwatch's table find its seven columns.

use std::str::FromStr;

use aw_output::warn;

use crate::{
    connection::{Conn, Error},
    errors::is_of_one_server,
};

/// The prefix of the name of each table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePrefix(String);

impl FromStr for TablePrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_$-".contains(c);
        let longest = 64 - "log_plaintext".len();
        if text.len() > longest || !text.chars().all(allowed) {
            return Err("must have at most 51 letters, digits, _, $ or - (the pid file is --pid)");
        }
        Ok(TablePrefix(text.into()))
    }
}

/// The origin of a router's report: the number after addrwatch's own origins.
pub const MACUPD: u8 = 6;

/// The number, name and description of each origin. The names differ, because rows that move here from addrwatch 0.8
/// find their origin by its name.
const ORIGINS: [(u8, &str, &str); 18] = [
    (0, "ARP_REQ", "ARP request"),
    (1, "ARP_REP", "ARP reply"),
    (2, "ARP_ACD", "ARP probe of an address, before it is used"),
    (3, "ND_NS", "Neighbor Solicitation"),
    (4, "ND_NA", "Neighbor Advertisement"),
    (5, "ND_DAD", "Neighbor Solicitation of an address, before it is used"),
    (MACUPD, "MACUPD", "report of a router, from its ARP table"),
    (7, "ND_NA_FRAME", "Neighbor Advertisement without a MAC: that of its frame"),
    (8, "ND_NS_FRAME", "Neighbor Solicitation without a MAC: that of its frame"),
    (9, "ND_RA", "Router Advertisement"),
    (10, "ND_RD", "Redirect, which names the MAC of another host"),
    (11, "ND_RS", "Router Solicitation"),
    (12, "ARP_NO_HOST", "ARP with a MAC that no host has: of a group, or zero"),
    (13, "ND_NO_HOST", "Neighbor Discovery with a MAC that no host has"),
    (14, "ARP_IGNORED", "ARP in a form that Linux ignores"),
    (15, "ND_IGNORED", "Neighbor Discovery in a form that Linux ignores"),
    (16, "DHCP_ACK", "lease of a DHCP server"),
    (17, "ADDR_REG", "registration of an IPv6 address (RFC 9686)"),
];

/// Numbers of server errors. A table or view that does not exist.
pub const NO_SUCH_TABLE: u16 = 1146;
const TABLE_EXISTS: u16 = 1050;
pub const DENIED: u16 = 1142;

/// The column with the MAC that sent the frame, where it is another one than that of the pairing. Programs for addrwatch's
/// table do not see it where the server can hide it.
pub const FRAME_SOURCE: &str = "frame_source";
const FRAME_SOURCE_TYPE: &str =
    "BINARY(6) NULL DEFAULT NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */";

/// The last column of a table with events, and its primary key. Each server reads one of the two comments at most. Its name
/// is not `id`: views join the table with that of the origins by `id`.
const ROW_ID: &str =
    "row_id BIGINT UNSIGNED NOT NULL /*!80023 INVISIBLE */ /*M!100303 INVISIBLE */ AUTO_INCREMENT,
                PRIMARY KEY (row_id, tstamp)";

/// The names of the tables, quoted.
#[derive(Clone)]
pub struct TableNames {
    /// A row for each event.
    pub log: String,
    /// Names of origins.
    pub origin: String,
    view: String,
    /// The checkpoints.
    pub position: String,
    /// Configuration changes of routers.
    pub config_change: String,
    /// What devices call themselves.
    pub claimed_name: String,
    /// From when until when devices may use addresses.
    pub address_lease: String,
}

impl TableNames {
    /// The names with this prefix.
    pub fn new(TablePrefix(prefix): &TablePrefix) -> TableNames {
        let name = |name| format!("`{prefix}{name}`");
        TableNames {
            log: name("log"),
            origin: name("origin"),
            view: name("log_plaintext"),
            position: name("position"),
            config_change: name("config_change"),
            claimed_name: name("claimed_name"),
            address_lease: name("address_lease"),
        }
    }

    /// Creates the missing tables, `position` last: if it exists and `log` does not, an administrator has
    /// renamed `log` and may rename it back. Returns false then.
    pub fn create_missing(&self, to: &mut Conn) -> Result<bool, Error> {
        if !exists(to, &self.origin)? {
            to.query_drop(self.create_origin())?;
        }
        self.fill_origin(to)?;
        if exists(to, &self.position)? {
            return exists(to, &self.log);
        }
        to.query_drop(compact(&self.create_log()))?;
        if !exists(to, &self.view)? {
            match to.query_drop(self.create_view()) {
                Err(Error::Server(error)) if error.code == TABLE_EXISTS => {} // another program was faster
                result => result?,
            }
        }
        to.query_drop(self.create_position())?;
        Ok(true)
    }

    /// The columns of addrwatch's table, and one for the frame's source. Numbers take two bytes instead of four: VLANs are -1 to
    /// 4095, origins 0 to 255. Names may be of any script, whatever the server's default character set is.
    ///
    /// Each index takes a fifth of the table or more, so each has questions that need it (the developer documentation has them, with
    /// its bytes). Of addrwatch's four, those of the interface and of the MAC alone would be the beginnings of others here. An
    /// interface is in most rows, so `vlan_tag_interface` begins with the VLAN. `pairing` lets a server step from pairing to pairing
    /// and from origin to origin without reading each row; the other two have the times of an address and of a MAC.
    fn create_log(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (
                tstamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
                hostname VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT 'localhost',
                interface VARCHAR(16) CHARACTER SET utf8mb4 NOT NULL,
                vlan_tag SMALLINT NOT NULL DEFAULT 0,
                mac_address BINARY(6) NOT NULL,
                ip_address VARBINARY(16) NOT NULL,
                origin_id SMALLINT NOT NULL,
                {FRAME_SOURCE} {FRAME_SOURCE_TYPE},
                {ROW_ID},
                KEY vlan_tag_interface (vlan_tag, interface),
                KEY ip_address_tstamp (ip_address, tstamp),
                KEY mac_address_tstamp (mac_address, tstamp),
                KEY pairing (ip_address, mac_address, vlan_tag, interface, hostname, {FRAME_SOURCE}, origin_id, tstamp)
            ) ENGINE = InnoDB",
            self.log
        )
    }

    fn create_origin(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (
                id INT NOT NULL PRIMARY KEY,
                name VARCHAR(16) NOT NULL,
                description VARCHAR(255) NOT NULL
            ) ENGINE = InnoDB",
            self.origin
        )
    }

    /// The view of addrwatch 1.0.
    fn create_view(&self) -> String {
        let TableNames { log, origin, view, .. } = self;
        format!(
            "CREATE VIEW {view} AS
            SELECT tstamp, hostname, interface, vlan_tag, hex(mac_address) AS mac_address,
                hex(ip_address) AS ip_address, name AS origin
            FROM {log} JOIN {origin} ON id = origin_id"
        )
    }

    /// A checkpoint for each ring of each host. Binary collation: names of rings are case-sensitive.
    fn create_position(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (
                hostname VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
                ring VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
                generation BIGINT UNSIGNED NOT NULL,
                began BIGINT UNSIGNED NOT NULL,
                delivered BIGINT UNSIGNED NOT NULL,
                lost BIGINT UNSIGNED NOT NULL,
                skipped BIGINT UNSIGNED NOT NULL,
                PRIMARY KEY (hostname, ring)
            ) ENGINE = InnoDB",
            self.position
        )
    }

    /// Creates the table of configuration changes. Called with the first change: a user who never stores one
    /// needs no permission to create it.
    pub fn create_changes(&self, to: &mut Conn) -> Result<(), Error> {
        if exists(to, &self.config_change)? {
            return Ok(());
        }
        to.query_drop(compact(&format!(
            "CREATE TABLE IF NOT EXISTS {} (
                tstamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
                hostname VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
                router VARCHAR(16) CHARACTER SET utf8mb4 NOT NULL,
                ip_address VARBINARY(16) NOT NULL,
                user VARCHAR(16) CHARACTER SET utf8mb4 NOT NULL,
                lines_added INT UNSIGNED NOT NULL,
                lines_removed INT UNSIGNED NOT NULL,
                {ROW_ID},
                KEY tstamp (tstamp),
                KEY router_tstamp (router, tstamp)
            ) ENGINE = InnoDB",
            self.config_change
        )))
    }

    /// Creates the tables of names and leases. Called with the first of them: without names, the user needs no permission to
    /// create them. The host and the ring come first in each key, so that sensors do not wait for each other.
    pub fn create_names(&self, to: &mut Conn) -> Result<(), Error> {
        const SENSOR: &str = "hostname VARCHAR(255) NOT NULL, ring VARCHAR(255) NOT NULL";
        const PLACE: &str = "mac_address BINARY(6) NOT NULL, interface VARCHAR(16) NOT NULL, vlan_tag SMALLINT NOT NULL";
        // Only the first TIMESTAMP of a table would have a default of its own, and one that changes with each update.
        const TIME: &str = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP";
        const END: &str = "ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        let names = format!(
            "CREATE TABLE IF NOT EXISTS {} ({SENSOR}, {PLACE},
                source TINYINT UNSIGNED NOT NULL, name VARCHAR(63) NOT NULL,
                first_seen {TIME}, last_seen {TIME}, uses BIGINT UNSIGNED NOT NULL,
                PRIMARY KEY (hostname, ring, mac_address, interface, vlan_tag, source, name),
                KEY mac_address_last_seen (mac_address, last_seen), KEY source_name (source, name)
            ) {END}",
            self.claimed_name
        );
        let leases = format!(
            "CREATE TABLE IF NOT EXISTS {} ({SENSOR}, ip_address VARBINARY(16) NOT NULL, {PLACE},
                begins {TIME}, last_seen {TIME}, ends {TIME}, released TINYINT NOT NULL,
                PRIMARY KEY (hostname, ring, ip_address, mac_address, interface, vlan_tag, begins),
                KEY ip_address_mac_address (ip_address, mac_address, begins)
            ) {END}",
            self.address_lease
        );
        if exists(to, &self.claimed_name)? {
            self.add_index(to)?;
        }
        for (table, create) in [(&self.claimed_name, names), (&self.address_lease, leases)] {
            if !exists(to, table)? {
                to.query_drop(compact(&create))?;
            }
        }
        Ok(())
    }

    /// The index of addresses, in a table of an earlier build. Without the right to add it, or in a table of another program, questions about an
    /// address that no device was seen to use read the whole table.
    fn add_index(&self, to: &mut Conn) -> Result<(), Error> {
        let (table, name) = (&self.claimed_name, self.claimed_name.trim_matches('`'));
        let select = format!(
            "SELECT count(*) FROM information_schema.statistics WHERE table_schema = database()
            AND table_name = '{name}' AND index_name = 'source_name'"
        );
        if to.query_first(&select)?.as_deref() != Some("0") {
            return Ok(());
        }
        let alter = format!("ALTER TABLE {table} ADD KEY source_name (source, name)");
        match to.query_drop(&alter) {
            Err(Error::Server(error)) => {
                warn(format_args!(
                    "index source_name of {table}: {}: questions about an address that no device was seen to use read the whole table (as an administrator: {alter})",
                    error.message
                ));
                Ok(())
            }
            done => done,
        }
    }

    /// Adds the missing origins: without a name, the view would not show their rows.
    fn fill_origin(&self, to: &mut Conn) -> Result<(), Error> {
        // As text: other programs may have added origins with any number.
        let known =
            to.query(format!("SELECT concat(id) FROM {} WHERE id IS NOT NULL", self.origin))?;
        let is_known = |id: &u8| {
            known.iter().any(|row| row.first() == Some(&Some(id.to_string().into_bytes())))
        };
        let mut missing = ORIGINS.iter().filter(|(id, ..)| !is_known(id));
        missing.try_for_each(|(id, name, description)| {
            let values = format!("{id}, '{name}', '{description}'");
            to.query_drop(format!("INSERT IGNORE INTO {} VALUES ({values})", self.origin))
        })
    }

    /// Whether the table of events has a column for the frame's source. It is added to an existing table if the user may do
    /// that, the server can do it without copying the table, and programs for addrwatch's table do not see it.
    pub fn has_frame_source(&self, to: &mut Conn, may_add: bool) -> Result<bool, Error> {
        let (log, name) = (&self.log, self.log.trim_matches('`'));
        let select = format!(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = database()
            AND table_name = '{name}' AND column_name = '{FRAME_SOURCE}'"
        );
        if to.query_first(&select)?.as_deref() == Some("1") {
            return Ok(true);
        }
        let version = to.query_first("SELECT version()")?.unwrap_or_default();
        if !may_add || !hides_columns(&version) {
            return Ok(false);
        }
        let add = format!(
            "ALTER TABLE {log} ADD COLUMN {FRAME_SOURCE} {FRAME_SOURCE_TYPE}, ALGORITHM = INSTANT"
        );
        match to.query_drop(add) {
            Ok(()) => Ok(true),
            Err(error @ Error::Server(_)) if !is_of_one_server(&error) => Ok(false),
            Err(error) => Err(error), // of a replica, in whose place another server can do it
        }
    }

    /// The engine of the table of events, if it has no transactions: then an event may be stored twice.
    pub fn engine_without_transactions(&self, to: &mut Conn) -> Result<Option<String>, Error> {
        let name = self.log.trim_matches('`');
        to.query_first(format!(
            "SELECT engine FROM information_schema.tables JOIN information_schema.engines USING (engine)
            WHERE table_schema = database() AND table_name = '{name}' AND transactions <> 'YES'"
        ))
    }
}

/// Whether a server of this version has invisible columns: MySQL since 8.0.23. MariaDB has them for longer than it adds
/// columns without copying the table.
fn hides_columns(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().unwrap_or(0);
    version.contains("MariaDB") || [next(), next(), next()] >= [8, 0, 23]
}

/// A statement without indentation: a server may accept 1024 bytes only.
fn compact(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether there is a table or view of this name. If the user may not read it, it exists.
fn exists(to: &mut Conn, name: &str) -> Result<bool, Error> {
    match to.query_drop(format!("SELECT 1 FROM {name} LIMIT 0")) {
        Ok(()) => Ok(true),
        Err(Error::Server(error)) if error.code == NO_SUCH_TABLE => Ok(false),
        Err(Error::Server(error)) if error.code == DENIED => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_invisible_columns() {
        for version in ["8.0.23", "8.0.40-0ubuntu0.22.04.1", "9.1.0", "10.11.6-MariaDB-0+deb12u1"] {
            assert!(hides_columns(version), "{version}");
        }
        for version in ["8.0.22", "5.7.44-log", "8.0", ""] {
            assert!(!hides_columns(version), "{version}");
        }
    }
}
