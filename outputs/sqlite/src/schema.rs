//! The tables, and the view that has the columns of addrwatch's table. The developer documentation of the
//! history's schema gives the reasons.
//!
//! The row of a sighting is its pairing, its time and its origin. The pairing has the rest, stored once: an
//! address, a MAC and a place. Sightings are ordered by pairing and time, so that this one tree serves
//! queries by (address, time) and by (MAC, time) without another index. New ones are first added to a table in the order of
//! time, which costs a page for many rows, and not a page for each pairing.

use std::str::FromStr;

use aw_database::{
    CLAIMED, CLAIMED_COLUMNS, FILING, FILING_COLUMNS, LEASE, LEASE_COLUMNS, NOT_FILED, RECENT,
    RECENT_COLUMNS, SPAN, SPAN_COLUMNS,
};
use rusqlite::{Connection, OptionalExtension};

use crate::{compaction, delete_trigger};

/// Application id in the header of the file: "AWhi".
const APPLICATION: i32 = 0x4157_6869;
/// Version of these tables.
const VERSION: i32 = 2;

/// The table `pairing`: %s is its name.
const PAIRING: &str = "
    CREATE TABLE %s (
        id INTEGER PRIMARY KEY,
        address BLOB NOT NULL,     -- 4 or 16 bytes
        mac INTEGER NOT NULL,      -- 48 bits
        place INTEGER NOT NULL REFERENCES place,
        ip TEXT NOT NULL,          -- the address as text, which SQL cannot make of IPv6 bytes
        source INTEGER NOT NULL DEFAULT -1, -- MAC that sent the frames; -1: the pairing's own, or not known
        UNIQUE (address, mac, place, source)
    );";

const TABLES: &str = "
    CREATE TABLE place (
        id INTEGER PRIMARY KEY,
        host TEXT NOT NULL,        -- of the collector
        ring TEXT NOT NULL,        -- empty: from a table that addrwatch created
        interface TEXT NOT NULL,
        vlan INTEGER NOT NULL,     -- 0 = none, -1 = any of those for which there was no room
        outer_vlan INTEGER NOT NULL,
        router TEXT NOT NULL,      -- that reported the pairing; empty = none
        UNIQUE (host, ring, interface, vlan, outer_vlan, router)
    );
    CREATE TABLE sighting (
        pairing INTEGER NOT NULL REFERENCES pairing,
        time INTEGER NOT NULL,     -- nanoseconds since 1970
        origin INTEGER NOT NULL,   -- 0 ARP_REQ, 1 ARP_REP, 2 ARP_ACD, 3 ND_NS, 4 ND_NA, 5 ND_DAD, 6 MACUPD, 7 to 15: addrwatch-history(5)
        again INTEGER NOT NULL,    -- 0; larger if the other columns are those of another row
        PRIMARY KEY (pairing, time, origin, again)
    ) WITHOUT ROWID;
    CREATE TABLE account (
        ring TEXT PRIMARY KEY,
        generation INTEGER NOT NULL, began INTEGER NOT NULL, delivered INTEGER NOT NULL,
        lost INTEGER NOT NULL, skipped INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// Created if it is missing: databases of earlier releases do not have it.
const ADDITIONS: &str = "
    CREATE INDEX IF NOT EXISTS pairing_of_mac ON pairing (mac, ip);
    CREATE INDEX IF NOT EXISTS pairing_of_place ON pairing (place);
    CREATE INDEX IF NOT EXISTS pairing_of_source ON pairing (source, address) WHERE source >= 0;
    CREATE TABLE IF NOT EXISTS config_change (
        time INTEGER NOT NULL,     -- nanoseconds since 1970
        place INTEGER NOT NULL REFERENCES place, -- its interface is the router's name
        user TEXT NOT NULL,        -- 16 bytes of it
        lines_added INTEGER NOT NULL, lines_removed INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS config_change_time ON config_change (time);
    CREATE TABLE IF NOT EXISTS recent_sighting ( -- filed by pairing, in `sighting`, when there are many
        slot INTEGER PRIMARY KEY,  -- the time, nanoseconds since 1970, or the next number that is free
        shift INTEGER NOT NULL,    -- from the time to the slot
        pairing INTEGER NOT NULL REFERENCES pairing, origin INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS recent_filing ( -- one row while rows are being filed, see aw_database::FILING
        before INTEGER NOT NULL, pairing INTEGER NOT NULL, time INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS sighting_span ( -- old sightings of a pairing, with claims at most ten minutes apart, within a day
        pairing INTEGER NOT NULL REFERENCES pairing,
        first INTEGER NOT NULL, last INTEGER NOT NULL, -- nanoseconds since 1970
        count INTEGER NOT NULL, first_origin INTEGER NOT NULL, last_origin INTEGER NOT NULL,
        PRIMARY KEY (pairing, first)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS span_progress ( -- how far the compaction of old sightings is; time: without a pass, none begins before
        until INTEGER NOT NULL, before INTEGER NOT NULL, pairing INTEGER NOT NULL, time INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS raw_days ( -- one row: --raw-days of the last run; none: not known
        days INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS late_pairing ( -- has sightings from before `before` of span_progress, from this time on, to be examined
        pairing INTEGER PRIMARY KEY, time INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS clock_check ( -- the last time that was trusted; that of a clock which may be ahead, when it was found
        trusted INTEGER NOT NULL, doubted INTEGER
    );
    CREATE TABLE IF NOT EXISTS claimed_name ( -- what devices call themselves
        mac INTEGER NOT NULL,      -- 48 bits
        place INTEGER NOT NULL REFERENCES place,
        source INTEGER NOT NULL,   -- in which message: addrwatch-history(5)
        name TEXT NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, -- nanoseconds since 1970
        count INTEGER NOT NULL,
        PRIMARY KEY (mac, place, source, name)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS claimed_address ON claimed_name (name) WHERE source > 7; -- addresses, in the place of a name
    CREATE TABLE IF NOT EXISTS address_lease ( -- from when until when devices may use addresses, nanoseconds since 1970
        address BLOB NOT NULL, mac INTEGER NOT NULL, place INTEGER NOT NULL REFERENCES place,
        begin INTEGER NOT NULL, last INTEGER NOT NULL, until INTEGER NOT NULL, -- last: when it was received last
        released INTEGER NOT NULL, -- 1: the device gave it back
        PRIMARY KEY (address, mac, place, begin)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS address_lease_until ON address_lease (until);
    CREATE TABLE IF NOT EXISTS undated (
        pairing INTEGER PRIMARY KEY, -- was seen while the clock was not set; 0: configuration changes
        found INTEGER NOT NULL     -- when --retention first found such rows, nanoseconds since 1970
    );";

/// Earlier releases created the index of MACs without the address.
const OLD_INDEX: &str = "CREATE INDEX pairing_of_mac ON pairing (mac)";

/// The columns that this release uses, by table.
const COLUMNS: [(&str, &[&str]); 15] = [
    ("place", &["id", "host", "ring", "interface", "vlan", "outer_vlan", "router"]),
    ("pairing", &["id", "address", "mac", "place", "ip", "source"]),
    ("sighting", &["pairing", "time", "origin", "again"]),
    ("account", &["ring", "generation", "began", "delivered", "lost", "skipped"]),
    ("config_change", &["time", "place", "user", "lines_added", "lines_removed"]),
    ("undated", &["pairing", "found"]),
    (RECENT, &RECENT_COLUMNS),
    (FILING, &FILING_COLUMNS),
    (SPAN, &SPAN_COLUMNS),
    (CLAIMED, &CLAIMED_COLUMNS),
    (LEASE, &LEASE_COLUMNS),
    ("span_progress", &["until", "before", "pairing", "time"]),
    ("raw_days", &["days"]),
    ("late_pairing", &["pairing", "time"]),
    ("clock_check", &["trusted", "doubted"]),
];

/// What every connection sets. The log is synced to the disk only before it is copied into the tables: a
/// kill loses nothing, a power cut loses what the kernel had not written yet, and the file is consistent
/// in both cases. The log is copied by `database_file`: a page that is in it several times is copied once. The
/// code keeps references valid, because a check by SQLite costs a search for each row.
pub const SESSION: &str = "
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = normal;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = 16777216;
    PRAGMA foreign_keys = off;
    PRAGMA temp_store = memory;
    PRAGMA cache_size = -32768;";

/// Columns of the table that addrwatch creates.
pub const LEGACY_COLUMNS: [&str; 6] =
    ["timestamp", "interface", "vlan_tag", "mac_address", "ip_address", "origin"];
/// Columns of its compact table: a row for each pairing and origin, with its first and its
/// last time and the number of its sightings.
pub const COMPACT_COLUMNS: [&str; 8] = [
    "timestamp_first",
    "timestamp",
    "interface",
    "vlan_tag",
    "mac_address",
    "ip_address",
    "origin",
    "count",
];

/// Names of our tables and indexes, which the view cannot have.
const RESERVED_NAMES: &str = "place pairing pairing_of_mac pairing_of_place pairing_of_source pairing_new sighting account config_change config_change_time undated recent_sighting recent_filing sighting_span span_progress raw_days late_pairing clock_check claimed_name claimed_address address_lease address_lease_until";

/// What the view reads; it identifies a view of aw-sqlite.
const VIEW_SOURCE: &str =
    "FROM sighting JOIN pairing ON pairing.id = pairing JOIN place ON place.id = place";

/// The view's name: a word, so that scripts need no quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewName {
    name: String,
    /// Created only if the database has no view of this program under another name.
    is_optional: bool,
}

impl Default for ViewName {
    fn default() -> ViewName {
        ViewName { name: "addrwatch".into(), is_optional: false }
    }
}

impl FromStr for ViewName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let lower = text.to_ascii_lowercase();
        if !word || !begins || text.len() > 64 {
            Err("must be a word of at most 64 letters, digits and _")
        } else if RESERVED_NAMES.split(' ').any(|name| name == lower)
            || lower.starts_with("sqlite_")
            || lower.ends_with("_old")
        {
            Err("is reserved for another table")
        } else {
            Ok(ViewName { name: text.into(), is_optional: false })
        }
    }
}

impl ViewName {
    /// That of the database, whose service has chosen it; the default for a new database.
    pub fn of_database() -> ViewName {
        ViewName { is_optional: true, ..ViewName::default() }
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// The name that a table of addrwatch gets when a view takes its name, until its rows are imported.
fn legacy_name(view: &str) -> String {
    format!("{view}_old")
}

/// Why a database cannot be used.
pub enum Unusable {
    Sqlite(rusqlite::Error),
    /// It is not a database of this program, and is not changed.
    Foreign(String),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Unusable::Sqlite(error)
    }
}

/// Creates what is missing, in one transaction. A table that addrwatch created gets another name, and is
/// part of the view until all its rows are imported.
pub fn prepare(database: &mut Connection, view: &ViewName) -> Result<(), Unusable> {
    let is_ours = is_ours(database)?;
    let transaction = database.transaction()?;
    if !is_ours {
        create_tables(&transaction)?;
    }
    add_source(&transaction)?;
    if has_old_index(&transaction)? {
        transaction.execute_batch("DROP INDEX pairing_of_mac")?;
    }
    transaction.execute_batch(ADDITIONS)?;
    check_columns(&transaction, |_, _| false)?;
    // Programs of earlier releases would miss rows.
    if version(&transaction)? != VERSION {
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    compaction::prepare(&transaction)?;
    prepare_view(&transaction, view)?;
    Ok(transaction.commit()?)
}

/// Whether [`prepare`] will change tables that exist: nothing is written. Fails if it will refuse the database.
pub fn is_older(database: &Connection, view: &ViewName) -> Result<bool, Unusable> {
    let has_legacy = check_view(database, view.as_str())?;
    if !is_ours(database)? {
        refuse_reserved(database)?;
        return Ok(has_legacy || !is_empty(database)?);
    }
    let has_source = has_source(database)?;
    let mut misses = false;
    check_columns(database, |table, column| {
        let is_added = column == "source" && !has_source
            || !["place", "pairing", "sighting", "account"].contains(&table)
                && kind(database, table).is_ok_and(|found| found.is_none());
        misses |= is_added;
        is_added
    })?;
    Ok(has_legacy || misses || has_old_index(database)? || version(database)? < VERSION)
}

/// Whether a file that is only read is of aw-sqlite, of any release.
pub fn has_our_id(database: &Connection) -> rusqlite::Result<bool> {
    let id = database.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?;
    Ok(id == APPLICATION)
}

/// Whether the tables are those of this program; none of them in a new database, and in one of addrwatch.
fn is_ours(database: &Connection) -> Result<bool, Unusable> {
    let application =
        database.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?;
    let version = version(database)?;
    if ![0, APPLICATION].contains(&application) {
        let why = "it is the database of another program (choose another file with --database)";
        return Err(Unusable::Foreign(why.into()));
    }
    if application == APPLICATION && version > VERSION {
        return Err(Unusable::Foreign(format!(
            "its tables are of version {version}, this release supports {VERSION} (install the newer release)"
        )));
    }
    Ok(application == APPLICATION)
}

fn version(database: &Connection) -> rusqlite::Result<i32> {
    database.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn has_old_index(database: &Connection) -> rusqlite::Result<bool> {
    let index = "SELECT count(*) FROM sqlite_schema WHERE name = 'pairing_of_mac' AND sql = ?";
    database.query_row(index, [OLD_INDEX], |row| row.get(0))
}

/// Each table must have the columns that this release uses, without those that are added.
fn check_columns(
    database: &Connection,
    mut is_added: impl FnMut(&str, &str) -> bool,
) -> Result<(), Unusable> {
    for (table, columns) in COLUMNS {
        let columns: Vec<_> =
            columns.iter().copied().filter(|column| !is_added(table, column)).collect();
        if !columns.is_empty() && !aw_database::has_columns(database, table, &columns)? {
            let why = format!(
                "its table {table} is not of aw-sqlite (choose another file with --database)"
            );
            return Err(Unusable::Foreign(why));
        }
    }
    Ok(())
}

fn create_tables(database: &Connection) -> Result<(), Unusable> {
    refuse_reserved(database)?;
    database.execute_batch(TABLES)?;
    database.execute_batch(&PAIRING.replace("%s", "pairing"))?;
    Ok(database.pragma_update(None, "application_id", APPLICATION)?)
}

fn refuse_reserved(database: &Connection) -> Result<(), Unusable> {
    for name in RESERVED_NAMES.split(' ') {
        if kind(database, name)?.is_some() {
            return Err(Unusable::Foreign(format!(
                "it already has a table {name} of another program (choose another file with --database)"
            )));
        }
    }
    Ok(())
}

/// Whether the file has no table, view or index.
pub fn is_empty(database: &Connection) -> rusqlite::Result<bool> {
    database.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Earlier releases created the table of pairings without the frame's source, and a pairing could be in it once only.
/// The names of tables in views stay as they are, which `legacy_alter_table` is for.
fn add_source(database: &Connection) -> rusqlite::Result<()> {
    if has_source(database)? {
        return Ok(());
    }
    let create = PAIRING.replace("%s", "pairing_new");
    database.execute_batch(&format!(
        "PRAGMA legacy_alter_table = on; {create}
        INSERT INTO pairing_new (id, address, mac, place, ip) SELECT id, address, mac, place, ip FROM pairing;
        DROP TABLE pairing; ALTER TABLE pairing_new RENAME TO pairing"
    ))
}

fn has_source(database: &Connection) -> rusqlite::Result<bool> {
    Ok(columns(database, "pairing")?.iter().any(|column| column == "source"))
}

/// Whether a table of addrwatch has the name of the view. Fails if a table or view of another program has it.
fn check_view(database: &Connection, name: &str) -> Result<bool, Unusable> {
    let foreign =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'view' AND name = ? AND sql NOT LIKE ?";
    let ours = format!("%{VIEW_SOURCE}%");
    if database.query_row(foreign, [name, &ours], |row| row.get::<_, bool>(0))? {
        let why = format!("its view {name} is not of aw-sqlite (choose another name with --table)");
        return Err(Unusable::Foreign(why));
    }
    let has_table = kind(database, name)?.as_deref() == Some("table");
    if has_table && !is_legacy(&columns(database, name)?) {
        return Err(Unusable::Foreign(format!(
            "its table {name} does not have the columns of addrwatch (choose another name with --table)"
        )));
    }
    Ok(has_table)
}

fn prepare_view(database: &Connection, view: &ViewName) -> Result<(), Unusable> {
    if view.is_optional && !views(database)?.is_empty() {
        return Ok(update_views(database)?);
    }
    let name = view.as_str();
    if check_view(database, name)? {
        // Views and triggers of other programs keep using the name, which is the view's from now on.
        let legacy = legacy_name(name);
        database.execute_batch(&format!(
            "PRAGMA legacy_alter_table = on; ALTER TABLE \"{name}\" RENAME TO \"{legacy}\""
        ))?;
    }
    update_view(database, name, &[])?;
    Ok(update_views(database)?)
}

/// Whether a table with these columns is one that addrwatch creates.
fn is_legacy(columns: &[String]) -> bool {
    columns == LEGACY_COLUMNS || columns == COMPACT_COLUMNS
}

/// The tables of a database of addrwatch, of any name.
pub fn addrwatch_tables(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let select =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name";
    let mut names = database.prepare(select)?;
    let names = names.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let is_usable = |name: &str| {
        Ok::<_, rusqlite::Error>(!name.contains('"') && is_legacy(&columns(database, name)?))
    };
    names
        .into_iter()
        .filter_map(|name| match is_usable(&name) {
            Ok(is_usable) => is_usable.then_some(Ok(name)),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

/// Whether this table of addrwatch is a compact one.
pub fn is_compact(database: &Connection, table: &str) -> rusqlite::Result<bool> {
    Ok(columns(database, table)? == COMPACT_COLUMNS)
}

/// The beginning of the definition of each of our views, in this release and in earlier ones.
fn view_begin(name: &str) -> String {
    format!(
        "CREATE VIEW \"{name}\" (timestamp, interface, vlan_tag, mac_address, ip_address, origin) AS"
    )
}

/// The definition of one of our views, without tables of addrwatch. The cast gives the column the type of addrwatch's
/// table: a number compared with a text, such as strftime('%s', 'now'), would be less than any.
fn view_head(name: &str) -> String {
    const COLUMNS: &str =
        "CAST(time / 1000000000 - (time % 1000000000 < 0) AS INTEGER), interface, vlan,
            printf('%02x:%02x:%02x:%02x:%02x:%02x', mac >> 40, mac >> 32 & 255, mac >> 24 & 255,
                mac >> 16 & 255, mac >> 8 & 255, mac & 255), ip, origin";
    let recent = VIEW_SOURCE.replace("FROM sighting", "FROM recent_sighting");
    let of_recent = COLUMNS.replace("time", "(slot - shift)");
    let spans = VIEW_SOURCE.replace("FROM sighting", "FROM sighting_span");
    let [first, last] = ["first", "last"]
        .map(|end| COLUMNS.replace("time", end).replace(" origin", &format!(" {end}_origin")));
    format!(
        "{}
        SELECT {COLUMNS}
        {VIEW_SOURCE}
        UNION ALL SELECT {of_recent}
        {recent} WHERE {NOT_FILED}
        UNION ALL SELECT {first}
        {spans}
        UNION ALL SELECT {last}
        {spans} WHERE last > first",
        view_begin(name)
    )
}

/// Our views: that of `--table`, and those that earlier values of `--table` created.
fn views(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = database
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'view' ORDER BY name")?;
    let all = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut all: Vec<(String, String)> = all.collect::<rusqlite::Result<_>>()?;
    all.retain(|(name, sql)| sql.starts_with(&view_begin(name)) && sql.contains(VIEW_SOURCE));
    Ok(all.into_iter().map(|(name, _)| name).collect())
}

/// Tables of addrwatch that have rows to import, whatever name they had, sorted.
pub fn legacy_tables(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut found = Vec::new();
    for table in views(database)?.iter().map(|view| legacy_name(view)) {
        if kind(database, &table)?.as_deref() == Some("table")
            && is_legacy(&columns(database, &table)?)
        {
            found.push(table);
        }
    }
    found.sort();
    Ok(found)
}

/// Gives each of our views the right definition: with all tables of addrwatch that are left.
fn update_views(database: &Connection) -> rusqlite::Result<()> {
    let legacy = legacy_tables(database)?;
    views(database)?.iter().try_for_each(|view| {
        update_view(database, view, &legacy)?;
        delete_trigger::update(database, view, &legacy)
    })
}

fn update_view(database: &Connection, name: &str, legacy: &[String]) -> rusqlite::Result<()> {
    let mut sql = view_head(name);
    for table in legacy {
        let columns = LEGACY_COLUMNS.join(", ");
        sql += &format!(" UNION ALL SELECT {columns} FROM \"{table}\"");
    }
    let current = "SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?";
    if database.query_row(current, [name], |row| row.get(0)).optional()? != Some(sql.clone()) {
        database.execute_batch(&format!("DROP VIEW IF EXISTS \"{name}\"; {sql}"))?;
    }
    Ok(())
}

/// To be called when no more rows of a table of addrwatch can be imported.
pub fn end_import(database: &Connection, table: &str) -> rusqlite::Result<()> {
    let any = format!("SELECT 1 FROM \"{table}\" LIMIT 1");
    match database.query_row(&any, [], |_| Ok(())).optional()? {
        Some(()) => delete_trigger::create_index(database, table)?,
        None => database.execute_batch(&format!("DROP TABLE \"{table}\""))?,
    }
    update_views(database)
}

/// `table`, `view` or `index`, if one has this name.
fn kind(database: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
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
    fn view_names() {
        for good in ["addrwatch", "_x", "Sightings2026"] {
            assert_eq!(good.parse::<ViewName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(65);
        for bad in ["", "2x", "a b", "a\"b", "é", "pairing", "Sighting", "sqlite_x", "a_old", &long]
        {
            assert!(bad.parse::<ViewName>().is_err(), "{bad}");
        }
    }
}
