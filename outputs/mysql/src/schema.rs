//! The tables: addrwatch 1.0's, and one for the accounts. What exists is used as it is.

use std::str::FromStr;

use mysql::{Conn, Error, prelude::Queryable};

/// What stands before the name of each table.
#[derive(Clone, Debug)]
pub struct Prefix(String);

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "_$-".contains(c);
        let longest = 64 - "log_plaintext".len();
        if text.len() > longest || !text.chars().all(fine) {
            return Err("must have at most 51 letters, digits, _, $ or - (the pid file is --pid)");
        }
        Ok(Prefix(text.into()))
    }
}

/// The numbers and names of origins: addrwatch's, then ours.
const ORIGINS: [(u8, &str, &str); 7] = [
    (0, "ARP_REQ", "ARP request"),
    (1, "ARP_REP", "ARP reply"),
    (2, "ARP_ACD", "ARP probe of an address, before it is used"),
    (3, "ND_NS", "Neighbor Solicitation"),
    (4, "ND_NA", "Neighbor Advertisement"),
    (5, "ND_DAD", "Neighbor Solicitation of an address, before it is used"),
    (6, "MACUPD", "report of a router, from its ARP table"),
];

/// Errors of servers, by number.
/// Or view.
pub const NO_SUCH_TABLE: u16 = 1146;
const TABLE_EXISTS: u16 = 1050;
const DENIED: u16 = 1142;

/// The names of the tables, quoted.
pub struct Tables {
    /// A row for each event.
    pub log: String,
    /// Names of origins.
    pub origin: String,
    view: String,
    /// The accounts.
    pub position: String,
    /// Changes of routers' configurations.
    pub config_change: String,
}

impl Tables {
    /// With this before each name.
    pub fn new(Prefix(prefix): &Prefix) -> Tables {
        let name = |name| format!("`{prefix}{name}`");
        Tables {
            log: name("log"),
            origin: name("origin"),
            view: name("log_plaintext"),
            position: name("position"),
            config_change: name("config_change"),
        }
    }

    /// Makes what is missing. The table of positions is the last, and says that there were others:
    /// if the log is missing then, somebody has moved it away and may move it back. Tells whether
    /// the log is there.
    pub fn set_up(&self, to: &mut Conn) -> Result<bool, Error> {
        if !exists(to, &self.origin)? {
            to.query_drop(self.create_origin())?;
        }
        self.fill_origin(to)?;
        if exists(to, &self.position)? {
            return exists(to, &self.log);
        }
        to.query_drop(self.create_log())?;
        if !exists(to, &self.view)? {
            match to.query_drop(self.create_view()) {
                Err(Error::MySqlError(error)) if error.code == TABLE_EXISTS => {} // just now, by another
                done => done?,
            }
        }
        to.query_drop(self.create_position())?;
        Ok(true)
    }

    /// Addrwatch's, and three indexes more. With the last one a server steps from pairing to pairing of an
    /// address, however many sightings they have. Names are of any script, whatever the server's default is.
    fn create_log(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (
                tstamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
                hostname VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT 'localhost',
                interface VARCHAR(16) CHARACTER SET utf8mb4 NOT NULL,
                vlan_tag INT NOT NULL DEFAULT 0,
                mac_address BINARY(6) NOT NULL,
                ip_address VARBINARY(16) NOT NULL,
                origin_id INT NOT NULL,
                KEY interface (interface),
                KEY vlan_tag (vlan_tag),
                KEY mac_address (mac_address),
                KEY interface_vlan_tag (interface, vlan_tag),
                KEY ip_address_tstamp (ip_address, tstamp),
                KEY mac_address_tstamp (mac_address, tstamp),
                KEY pairing (ip_address, mac_address, vlan_tag, interface, hostname, tstamp)
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

    /// What addrwatch 1.0 shows.
    fn create_view(&self) -> String {
        let Tables { log, origin, view, .. } = self;
        format!(
            "CREATE VIEW {view} AS
            SELECT tstamp, hostname, interface, vlan_tag, hex(mac_address) AS mac_address,
                hex(ip_address) AS ip_address, name AS origin
            FROM {log} JOIN {origin} ON id = origin_id"
        )
    }

    /// An account for each ring of each host. Binary collation: rings differ by case.
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

    /// For changes of routers' configurations, once there is one: nobody else is asked for the right to
    /// make tables.
    pub fn set_up_changes(&self, to: &mut Conn) -> Result<(), Error> {
        if exists(to, &self.config_change)? {
            return Ok(());
        }
        to.query_drop(format!(
            "CREATE TABLE IF NOT EXISTS {} (
                tstamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
                hostname VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
                router VARCHAR(16) CHARACTER SET utf8mb4 NOT NULL,
                ip_address VARBINARY(16) NOT NULL,
                user VARCHAR(16) CHARACTER SET utf8mb4 NOT NULL,
                lines_added INT UNSIGNED NOT NULL,
                lines_removed INT UNSIGNED NOT NULL,
                KEY tstamp (tstamp),
                KEY router_tstamp (router, tstamp)
            ) ENGINE = InnoDB",
            self.config_change
        ))
    }

    /// An origin without a name would hide its rows from the view.
    fn fill_origin(&self, to: &mut Conn) -> Result<(), Error> {
        // As text: others may have added origins of any number.
        let known: Vec<String> =
            to.query(format!("SELECT concat(id) FROM {} WHERE id IS NOT NULL", self.origin))?;
        for (id, name, description) in
            ORIGINS.iter().filter(|it| !known.contains(&it.0.to_string()))
        {
            let origin = &self.origin;
            to.query_drop(format!(
                "INSERT IGNORE INTO {origin} VALUES ({id}, '{name}', '{description}')"
            ))?;
        }
        Ok(())
    }

    /// The log's engine, if it has no transactions: then nothing can be exactly once.
    pub fn engine_without_transactions(&self, to: &mut Conn) -> Result<Option<String>, Error> {
        let name = self.log.trim_matches('`');
        to.query_first(format!(
            "SELECT engine FROM information_schema.tables JOIN information_schema.engines USING (engine)
            WHERE table_schema = database() AND table_name = '{name}' AND transactions <> 'YES'"
        ))
    }
}

/// Whether there is a table or view of this name. One that we may not read is there.
fn exists(to: &mut Conn, name: &str) -> Result<bool, Error> {
    match to.query_drop(format!("SELECT 1 FROM {name} LIMIT 0")) {
        Ok(()) => Ok(true),
        Err(Error::MySqlError(error)) if error.code == NO_SUCH_TABLE => Ok(false),
        Err(Error::MySqlError(error)) if error.code == DENIED => Ok(true),
        Err(error) => Err(error),
    }
}
