//! The tables, and the view that looks like addrwatch's table. `docs/architecture.md` says why they are so.
//!
//! A sighting's row is its pairing, its time and its origin. All else about it is the pairing's: an
//! address, a MAC and a place, kept once. Sightings lie in the order of their pairing and time, so
//! that this one tree answers for (address, time) and for (MAC, time), and needs no index beside it.

use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension};

/// In the header of the file, so that nobody takes it for something else: "AWhi".
pub const APPLICATION: i32 = 0x4157_6869;
/// Version of these tables.
pub const VERSION: i32 = 1;

const TABLES: &str = "
    CREATE TABLE place (
        id INTEGER PRIMARY KEY,
        host TEXT NOT NULL,        -- of the collector
        ring TEXT NOT NULL,        -- empty: from a table that addrwatch made
        interface TEXT NOT NULL,
        vlan INTEGER NOT NULL,     -- 0 = none
        outer_vlan INTEGER NOT NULL,
        router TEXT NOT NULL,      -- that reported it; empty = none
        UNIQUE (host, ring, interface, vlan, outer_vlan, router)
    );
    CREATE TABLE pairing (
        id INTEGER PRIMARY KEY,
        address BLOB NOT NULL,     -- 4 or 16 bytes
        mac INTEGER NOT NULL,      -- 48 bits
        place INTEGER NOT NULL REFERENCES place,
        ip TEXT NOT NULL,          -- the address as text, for SQL cannot write IPv6
        UNIQUE (address, mac, place)
    );
    CREATE INDEX pairing_of_mac ON pairing (mac);
    CREATE TABLE sighting (
        pairing INTEGER NOT NULL REFERENCES pairing,
        time INTEGER NOT NULL,     -- nanoseconds since 1970
        origin INTEGER NOT NULL,   -- 0 ARP_REQ, 1 ARP_REP, 2 ARP_ACD, 3 ND_NS, 4 ND_NA, 5 ND_DAD, 6 MACUPD
        again INTEGER NOT NULL,    -- 0, but for one that is else the same as another
        PRIMARY KEY (pairing, time, origin, again)
    ) WITHOUT ROWID;
    CREATE TABLE account (
        ring TEXT PRIMARY KEY,
        generation INTEGER NOT NULL, began INTEGER NOT NULL, delivered INTEGER NOT NULL,
        lost INTEGER NOT NULL, skipped INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// Made where it is missing, for databases of before have none: a table more disturbs nobody who reads the others.
const CHANGES: &str = "
    CREATE TABLE IF NOT EXISTS config_change (
        time INTEGER NOT NULL,     -- nanoseconds since 1970
        place INTEGER NOT NULL REFERENCES place, -- its interface is the router's name
        user TEXT NOT NULL,        -- 16 bytes of it
        lines_added INTEGER NOT NULL, lines_removed INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS config_change_time ON config_change (time);";

/// What every connection sets. Nothing is synced to the disk but before the log is copied into the
/// tables: a kill loses nothing, a power cut what the kernel had not written yet, and the file is
/// whole in any case. At 16 MiB the log is copied: the more often a page is in it, the fewer times it
/// is written to its place. References are kept by the code: to have each row checked costs a search.
pub const SESSION: &str = "
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = normal;
    PRAGMA wal_autocheckpoint = 4096;
    PRAGMA journal_size_limit = 16777216;
    PRAGMA foreign_keys = off;
    PRAGMA temp_store = memory;
    PRAGMA cache_size = -32768;";

/// Columns of the table that addrwatch makes.
const THEIRS: [&str; 6] =
    ["timestamp", "interface", "vlan_tag", "mac_address", "ip_address", "origin"];

/// Ours, which the view cannot be called.
const OURS: [&str; 7] = [
    "place",
    "pairing",
    "pairing_of_mac",
    "sighting",
    "account",
    "config_change",
    "config_change_time",
];

/// What the view reads, and how it is known as ours.
const FROM: &str =
    "FROM sighting JOIN pairing ON pairing.id = pairing JOIN place ON place.id = place";

/// The view's name: a word, so that scripts need no quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName(String);

impl FromStr for TableName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let lower = text.to_ascii_lowercase();
        if !word || !begins || text.len() > 64 {
            Err("must be a word of at most 64 letters, digits and _")
        } else if OURS.contains(&&*lower) || lower.starts_with("sqlite_") || lower.ends_with("_old")
        {
            Err("is the name of another table")
        } else {
            Ok(TableName(text.into()))
        }
    }
}

impl TableName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where rows of a table that addrwatch made wait to be carried over, once a view has its name.
fn old_of(view: &str) -> String {
    format!("{view}_old")
}

/// What keeps a database from being used at all.
pub enum Refused {
    Sqlite(rusqlite::Error),
    /// It is something else, and stays as it is.
    Foreign(String),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Refused::Sqlite(error)
    }
}

/// Makes what is missing, in one transaction. A table that addrwatch made gets another name, and is
/// part of the view until all its rows are carried over.
pub fn prepare(database: &mut Connection, table: &TableName) -> Result<(), Refused> {
    let number = |database: &Connection, pragma: &str| -> rusqlite::Result<i32> {
        database.pragma_query_value(None, pragma, |row| row.get(0))
    };
    let (application, version) =
        (number(database, "application_id")?, number(database, "user_version")?);
    if ![0, APPLICATION].contains(&application) {
        return Err(Refused::Foreign("it is the database of another program".into()));
    }
    if application == APPLICATION && version > VERSION {
        return Err(Refused::Foreign(format!(
            "its tables are of version {version}, and this release knows {VERSION}"
        )));
    }
    let transaction = database.transaction()?;
    if application == 0 {
        for name in OURS {
            if kind(&transaction, name)?.is_some() {
                let why = format!("it has a table {name} already, which is not ours");
                return Err(Refused::Foreign(why));
            }
        }
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.execute_batch(CHANGES)?;
    let (name, old) = (table.as_str(), old_of(table.as_str()));
    let like =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'view' AND name = ? AND sql NOT LIKE ?";
    let ours = format!("%{FROM}%");
    if transaction.query_row(like, [name, &ours], |row| row.get::<_, bool>(0))? {
        return Err(Refused::Foreign(format!("its view {name} is not ours (--table)")));
    }
    if kind(&transaction, name)?.as_deref() == Some("table") {
        if columns(&transaction, name)? != THEIRS {
            let why = format!("its table {name} is not one that addrwatch made (--table)");
            return Err(Refused::Foreign(why));
        }
        // Views and triggers of others stay with the name, which is the view's from now on.
        transaction.execute_batch(&format!(
            "PRAGMA legacy_alter_table = on; ALTER TABLE \"{name}\" RENAME TO \"{old}\""
        ))?;
    }
    make_view(&transaction, name, &[])?;
    make_views(&transaction)?;
    Ok(transaction.commit()?)
}

/// What the definition of each view of ours begins with.
fn head(name: &str) -> String {
    format!(
        "CREATE VIEW \"{name}\" (timestamp, interface, vlan_tag, mac_address, ip_address, origin) AS
        SELECT time / 1000000000 - (time % 1000000000 < 0), interface, vlan,
            printf('%02x:%02x:%02x:%02x:%02x:%02x', mac >> 40, mac >> 32 & 255, mac >> 24 & 255,
                mac >> 16 & 255, mac >> 8 & 255, mac & 255), ip, origin
        {FROM}"
    )
}

/// Our views: that of `--table`, and those of earlier ones.
fn views(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = database
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'view' ORDER BY name")?;
    let all = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let all: Vec<(String, String)> = all.collect::<rusqlite::Result<_>>()?;
    Ok(all.into_iter().filter(|(name, sql)| sql.starts_with(&head(name))).map(|it| it.0).collect())
}

/// Tables that addrwatch made whose rows are still to be carried over, under whatever name they came.
pub fn olds(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut found = Vec::new();
    for old in views(database)?.iter().map(|view| old_of(view)) {
        if kind(database, &old)?.as_deref() == Some("table") && columns(database, &old)? == THEIRS {
            found.push(old);
        }
    }
    found.sort();
    Ok(found)
}

/// Makes those of our views that are not as they should be: each with all old tables that there are.
fn make_views(database: &Connection) -> rusqlite::Result<()> {
    let olds = olds(database)?;
    views(database)?.iter().try_for_each(|view| make_view(database, view, &olds))
}

fn make_view(database: &Connection, name: &str, olds: &[String]) -> rusqlite::Result<()> {
    let mut sql = head(name);
    for old in olds {
        let theirs = THEIRS.join(", ");
        sql += &format!(" UNION ALL SELECT {theirs} FROM \"{old}\"");
    }
    let is = "SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?";
    if database.query_row(is, [name], |row| row.get(0)).optional()? != Some(sql.clone()) {
        database.execute_batch(&format!("DROP VIEW IF EXISTS \"{name}\"; {sql}"))?;
    }
    Ok(())
}

/// Nothing is left of an old table.
pub fn drop_old(database: &Connection, old: &str) -> rusqlite::Result<()> {
    database.execute_batch(&format!("DROP TABLE \"{old}\""))?;
    make_views(database)
}

/// What kind of thing has this name, if any.
pub fn kind(database: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let select = "SELECT type FROM sqlite_schema WHERE lower(name) = lower(?)";
    database.query_row(select, [name], |row| row.get(0)).optional()
}

fn columns(database: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare("SELECT lower(name) FROM pragma_table_info(?)")?;
    statement.query_map([table], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names() {
        for good in ["addrwatch", "_x", "Sightings2026"] {
            assert_eq!(good.parse::<TableName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(65);
        for bad in ["", "2x", "a b", "a\"b", "é", "pairing", "Sighting", "sqlite_x", "a_old", &long]
        {
            assert!(bad.parse::<TableName>().is_err(), "{bad}");
        }
    }
}
