//! `aw-mysql import`: adds a history that `aw-query export` wrote to the tables of a server, also while aw-mysql writes to
//! them.
//!
//! The tables have whole seconds, and neither rings, outer VLANs nor routers of sightings. Lines that are the same there are
//! rows of one number in their second. A batch adds rows only until the table has as many as its lines demand.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    net::IpAddr,
    time::{Duration, Instant},
};

use aw_output::{
    Error, HistoryChange, HistoryCount, HistoryLine, HistoryName, HistoryPlace, HistorySighting,
    HistorySpan, HistoryTarget, failed, warn,
};
use aw_peer::Budget;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    config::ServerConfig,
    connection::{Conn, Error as ConnectionError, Row},
    errors::cause_and_remedy,
    mysql_sink::BEGIN,
    name_batch::{NameBatch, Reading},
    name_import::import_names,
    schema::{FRAME_SOURCE, TableNames, TablePrefix},
    servers::Servers,
    sql::{RowBatch, hex_ip, quoted, timestamp},
};

/// For the statements of a batch together.
const BATCH: Budget =
    Budget { time: Duration::from_secs(300), silence: Duration::from_secs(60), bytes: 64 << 20 };
/// Searches that one statement contains.
const SEARCHES: usize = 100;
/// What is within a statement beside a row, in bytes.
const ROOM: usize = 8 << 10;
/// Characters of a name of an interface or router.
const MAX_NAME: usize = 16;
/// Numbers of server errors: a lock that others had for too long, and a deadlock.
const LOCKED: [u16; 2] = [1205, 1213];
/// How often a batch is tried: each waits 2 s for a lock.
const LOCK_TRIES: u32 = 15;

/// Adds lines to the tables of a server.
pub struct MysqlTarget {
    /// The server and the database, for messages.
    name: String,
    database: String,
    tables: TableNames,
    conn: Conn,
    /// The longest statement that the server accepts, in bytes.
    longest: usize,
    has_frame_source: bool,
    has_changes: bool,
    has_names: bool,
    /// It was reported that the file has spans.
    has_spans: bool,
}

/// Rows that the table of events does not distinguish but by their second.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Looks {
    ip: IpAddr,
    mac: MacAddr,
    vlan: i64,
    interface: String,
    host: String,
    source: Option<MacAddr>,
    origin: i64,
}

/// What lines demand of a second.
#[derive(Clone, Copy, Default)]
struct Demand {
    /// So many rows there should be, of which the lines stand for so many.
    rows: u64,
    of_lines: u64,
    /// So many there are.
    found: u64,
}

impl Demand {
    fn add(&mut self, HistoryCount { count, nth, .. }: HistoryCount) {
        self.rows = self.rows.max(nth - 1 + count);
        self.of_lines += count;
    }

    fn missing(&self) -> u64 {
        self.rows.saturating_sub(self.found).min(self.of_lines)
    }
}

type Seconds = HashMap<i64, Demand>;

impl MysqlTarget {
    /// Connects, and creates the tables that do not exist.
    pub fn open(config: &ServerConfig, prefix: &TablePrefix) -> Result<MysqlTarget, Error> {
        let (tables, database) = (TableNames::new(prefix), config.database().to_owned());
        // The first one: a second import is refused by the server of the first.
        let config = config.beginning_with_first();
        let (mut servers, log) = (Servers::new(&config), &tables.log);
        let connected = connect(&mut servers, &tables);
        let (mut conn, has_log) =
            connected.map_err(|error| failed(servers.fault("import into", &error)))?;
        let name = format!("{database} at {}", servers.name());
        let failure = |error: ConnectionError| {
            failed(format_args!("import into {name}: {}", cause_and_remedy(&error, &database)))
        };
        if !has_log {
            return Err(failed(format_args!(
                "import into {name}: table {log} is missing (rename it back, or create it with CREATE TABLE {log} LIKE the old table)"
            )));
        }
        let bare = log.trim_matches('`');
        let lock =
            format!("SELECT get_lock(concat('addrwatch ', md5(concat(database(), '.{bare}'))), 0)");
        if conn.query_first(lock).map_err(failure)?.as_deref() != Some("1") {
            return Err(failed(format_args!(
                "import into {name}: another import into {log} is active (wait for its end)"
            )));
        }
        let has_index = format!(
            "SELECT count(*) FROM information_schema.statistics WHERE table_schema = database()
            AND table_name = '{bare}' AND column_name = 'ip_address' AND seq_in_index = 1"
        );
        if conn.query_first(has_index).map_err(failure)?.as_deref() == Some("0") {
            return Err(failed(format_args!(
                "import into {name}: table {log} has no index by address, so each row would cost a search through all (CREATE INDEX ip_address_tstamp ON {log} (ip_address, tstamp))"
            )));
        }
        let has_frame_source = tables.has_frame_source(&mut conn, true).map_err(failure)?;
        let packet = conn.query_first("SELECT @@max_allowed_packet").map_err(failure)?;
        let packet = packet.and_then(|bytes| bytes.parse().ok()).unwrap_or(0).max(2 * ROOM);
        let longest = packet - 64;
        let (has_changes, has_names, has_spans) = (false, false, false);
        Ok(MysqlTarget {
            name,
            database,
            tables,
            conn,
            longest,
            has_frame_source,
            has_changes,
            has_names,
            has_spans,
        })
    }

    fn failure(&self, error: &ConnectionError) -> Error {
        let why = cause_and_remedy(error, &self.database);
        failed(format_args!(
            "import into {}: {why}; import again: no row is added twice",
            self.name
        ))
    }

    fn add_lines(&mut self, batch: &[HistoryLine]) -> Result<u64, ConnectionError> {
        let mut sightings: HashMap<Looks, Seconds> = HashMap::new();
        let mut changes: HashMap<String, (String, Demand)> = HashMap::new();
        let mut names: BTreeMap<(&str, &str), Vec<&HistoryName>> = BTreeMap::new();
        let mut has_spans = false;
        for line in batch {
            match line {
                HistoryLine::Sighting(sighting) => {
                    let HistorySighting { place, time, mac, ip, source, origin, times, span } =
                        sighting;
                    let HistoryPlace { host, interface, vlan, .. } = place.clone();
                    let (ip, mac, source) = (*ip, *mac, *source);
                    let looks = Looks { ip, mac, vlan, interface, host, source, origin: *origin };
                    let mut add = |looks: Looks, time: UnixTime, times: HistoryCount| {
                        let seconds = sightings.entry(looks).or_default();
                        seconds.entry(timestamp(time)).or_default().add(times);
                    };
                    if let Some(HistorySpan { last, last_origin, .. }) = *span {
                        let once = HistoryCount { count: 1, nth: 1, before: 0 };
                        add(Looks { origin: last_origin, ..looks.clone() }, last, once);
                        has_spans = true;
                    }
                    add(looks, *time, *times);
                }
                HistoryLine::Change(change) => {
                    let search = || (change_search(change), Demand::default());
                    let entry = changes.entry(change_values(change));
                    entry.or_insert_with(search).1.add(change.times);
                }
                HistoryLine::Name(name) => {
                    let of_sensor = (&*name.place.host, &*name.place.ring);
                    names.entry(of_sensor).or_default().push(name);
                }
                HistoryLine::Begin | HistoryLine::End(_) => {}
            }
        }
        if has_spans && !std::mem::replace(&mut self.has_spans, true) {
            warn(
                "the file has spans of old sightings, which the tables have not: the first and the last one of each are added (keep the SQLite history for the time between)",
            );
        }
        let mut sightings: Vec<(Looks, Seconds)> = sightings.into_iter().collect();
        sightings.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.conn.begin(BATCH);
        if !changes.is_empty() && !self.has_changes {
            self.tables.create_changes(&mut self.conn)?; // before it begins: CREATE TABLE commits
            self.has_changes = true;
        }
        if !names.is_empty() && !self.has_names {
            self.tables.create_names(&mut self.conn)?;
            self.has_names = true;
        }
        self.conn.query_drop("START TRANSACTION")?;
        self.count_sightings(&mut sightings)?;
        for (search, demand) in changes.values_mut() {
            let search =
                format!("SELECT count(*) FROM {} WHERE {search}", self.tables.config_change);
            let found = self.conn.query_first(search)?;
            demand.found = found.and_then(|found| found.parse().ok()).unwrap_or(0);
        }
        let added = self.insert_sightings(&sightings)? + self.insert_changes(&changes)?;
        let added = added + self.insert_names(&names)?;
        self.conn.query_drop("COMMIT")?;
        Ok(added)
    }

    fn insert_names(
        &mut self,
        names: &BTreeMap<(&str, &str), Vec<&HistoryName>>,
    ) -> Result<u64, ConnectionError> {
        let MysqlTarget { tables, conn, longest, .. } = self;
        let tables = &*tables;
        let (mut batch, mut added) = (NameBatch::default(), 0);
        for (sensor, names) in names {
            let (longest, budget, end) = (*longest, BATCH, Instant::now() + BATCH.time);
            let (conn, may_delete) = (&mut *conn, false);
            let mut reading = Reading { conn, tables, longest, budget, end, may_delete };
            added += import_names(*sensor, names, &mut reading, &mut batch)?;
        }
        conn.begin(BATCH);
        batch.write(conn, tables, *longest)?;
        Ok(added)
    }

    /// Counts the rows that are there already, by second: each search is a range of the index by pairing.
    fn count_sightings(
        &mut self,
        sightings: &mut [(Looks, Seconds)],
    ) -> Result<(), ConnectionError> {
        let MysqlTarget { tables, conn, longest, has_frame_source, .. } = self;
        let mut from = 0;
        while from < sightings.len() {
            let (mut statement, mut to) = (String::new(), from);
            while to < sightings.len() && to - from < SEARCHES && statement.len() + ROOM <= *longest
            {
                let union = if to > from { " UNION ALL " } else { "" };
                let (looks, seconds) = &sightings[to];
                let search = search(&tables.log, looks, seconds, *has_frame_source);
                let _ = write!(statement, "{union}SELECT {to}, {search}");
                to += 1;
            }
            conn.query_each(&statement, &mut |row| {
                let [Some(index), Some(second), Some(found)] = numbers(row) else { return };
                let of = usize::try_from(index).ok().and_then(|index| sightings.get_mut(index));
                if let Some(demand) = of.and_then(|(_, seconds)| seconds.get_mut(&second)) {
                    demand.found += found as u64;
                }
            })?;
            from = to;
        }
        Ok(())
    }

    fn insert_sightings(&mut self, sightings: &[(Looks, Seconds)]) -> Result<u64, ConnectionError> {
        let (mut rows, mut added) = (RowBatch::default(), 0);
        let source =
            if self.has_frame_source { format!(", {FRAME_SOURCE}") } else { String::new() };
        let insert = format!(
            "INSERT INTO {} (tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id{source}) VALUES ",
            self.tables.log
        );
        for (looks, seconds) in sightings {
            let Looks { ip, mac, vlan, interface, host, source, origin } = looks;
            let (ip, mac, host) = (hex_ip(*ip), mac.number(), quoted(host));
            let interface = quoted(interface);
            let source =
                source.map_or("NULL".into(), |source| format!("0x{:012x}", source.number()));
            let source = if self.has_frame_source { format!(",{source}") } else { String::new() };
            let mut seconds: Vec<_> = seconds.iter().collect();
            seconds.sort_unstable_by_key(|(second, _)| **second);
            for (second, demand) in seconds {
                for _ in 0..demand.missing() {
                    rows.add(format_args!(
                        ",(from_unixtime({second}),{host},{interface},{vlan},0x{mac:012x},{ip},{origin}{source})"
                    ));
                    added += 1;
                    if rows.is_long(self.longest) {
                        rows.send(&mut self.conn, self.longest, [&insert, ""])?;
                        rows.clear();
                    }
                }
            }
        }
        rows.send(&mut self.conn, self.longest, [&insert, ""])?;
        Ok(added)
    }

    fn insert_changes(
        &mut self,
        changes: &HashMap<String, (String, Demand)>,
    ) -> Result<u64, ConnectionError> {
        let (mut rows, mut added) = (RowBatch::default(), 0);
        for (values, (_, demand)) in changes {
            for _ in 0..demand.missing() {
                rows.add(format_args!(",({values})"));
                added += 1;
            }
        }
        let insert = format!("INSERT INTO {} {CHANGE} VALUES ", self.tables.config_change);
        rows.send(&mut self.conn, self.longest, [&insert, ""])?;
        Ok(added)
    }
}

/// Connects to a server, of several ones to one that accepts rows, and creates the tables that do not exist. Returns whether there is
/// the one of events.
fn connect(servers: &mut Servers, tables: &TableNames) -> Result<(Conn, bool), ConnectionError> {
    loop {
        let mut conn = servers.connect_to_write(BEGIN, BATCH)?;
        match tables.create_missing(&mut conn) {
            Ok(has_log) => return Ok((conn, has_log)),
            Err(error) => servers.fail_over_if_unfit(error)?,
        }
    }
}

impl HistoryTarget for MysqlTarget {
    /// The tables cannot have everything that a line can.
    fn check(&self, line: &HistoryLine) -> Result<(), String> {
        let (place, source) = match line {
            HistoryLine::Sighting(HistorySighting { place, source, .. }) => (place, *source),
            HistoryLine::Change(HistoryChange { place, .. })
            | HistoryLine::Name(HistoryName { place, .. }) => (place, None),
            HistoryLine::Begin | HistoryLine::End(_) => return Ok(()),
        };
        let (HistoryPlace { host, interface, .. }, log) = (place, &self.tables.log);
        if source.is_some() && !self.has_frame_source {
            return Err(format!(
                "table {log} has no column {FRAME_SOURCE} for the MAC that sent a frame (ALTER TABLE {log} ADD COLUMN {FRAME_SOURCE} BINARY(6) NULL, and import again)"
            ));
        }
        match interface.chars().count() > MAX_NAME {
            true => Err(format!(
                "host {host:?}: the interface {interface:?} has more than the {MAX_NAME} characters of the table"
            )),
            false => Ok(()),
        }
    }

    /// Again if others have locked the tables: nothing waits for an import.
    fn add(&mut self, batch: &[HistoryLine]) -> Result<u64, Error> {
        let mut tries = 1;
        loop {
            match self.add_lines(batch) {
                Ok(added) => return Ok(added),
                Err(ConnectionError::Server(error))
                    if LOCKED.contains(&error.code) && tries < LOCK_TRIES =>
                {
                    tries += 1;
                    let undone = self.conn.query_drop("ROLLBACK");
                    undone.map_err(|error| self.failure(&error))?;
                }
                Err(error) => return Err(self.failure(&error)),
            }
        }
    }
}

/// The columns of a configuration change.
const CHANGE: &str = "(tstamp, hostname, router, ip_address, user, lines_added, lines_removed)";

/// Their values.
fn change_values(change: &HistoryChange) -> String {
    let HistoryChange { place, time, user, added, removed, .. } = change;
    let HistoryPlace { host, interface, router, .. } = place;
    let router: IpAddr = router.parse().unwrap_or(IpAddr::from([0; 4]));
    let (second, host, router) = (timestamp(*time), quoted(host), hex_ip(router));
    let (interface, user) = (quoted(interface), quoted(user));
    format!("from_unixtime({second}),{host},{interface},{router},{user},{added},{removed}")
}

/// The condition for a change that is in the table already.
fn change_search(change: &HistoryChange) -> String {
    let HistoryChange { place, time, user, added, removed, .. } = change;
    let HistoryPlace { host, interface, router, .. } = place;
    let router: IpAddr = router.parse().unwrap_or(IpAddr::from([0; 4]));
    let (second, router) = (timestamp(*time), hex_ip(router));
    let names = [("hostname", host), ("router", interface), ("user", user)];
    let [host, interface, user] = names.map(|(column, name)| is_name(column, name));
    format!(
        "tstamp = from_unixtime({second}) AND {host} AND {interface} AND ip_address = {router} AND {user}
        AND lines_added = {added} AND lines_removed = {removed}"
    )
}

/// The condition that a column has this name: by the index, which may be without regard to case and to blanks at the end, and
/// then byte by byte.
fn is_name(column: &str, name: &str) -> String {
    let bytes: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    let name = quoted(name);
    format!("{column} = {name} AND cast(convert({column} USING utf8mb4) AS BINARY) = x'{bytes}'")
}

/// The rest of a search for rows, each with its second and how many there are.
fn search(log: &str, looks: &Looks, seconds: &Seconds, has_frame_source: bool) -> String {
    let Looks { ip, mac, vlan, interface, host, source, origin } = looks;
    let (ip, mac) = (hex_ip(*ip), mac.number());
    let source = match source {
        _ if !has_frame_source => String::new(),
        Some(source) => format!(" AND {FRAME_SOURCE} = 0x{:012x}", source.number()),
        None => format!(" AND {FRAME_SOURCE} IS NULL"),
    };
    let (interface, host) = (is_name("interface", interface), is_name("hostname", host));
    let (first, last) = (seconds.keys().min().unwrap_or(&0), seconds.keys().max().unwrap_or(&0));
    format!(
        "unix_timestamp(tstamp), count(*) FROM {log} WHERE ip_address = {ip} AND mac_address = 0x{mac:012x}
        AND vlan_tag = {vlan} AND {interface} AND {host}{source} AND origin_id = {origin}
        AND tstamp BETWEEN from_unixtime({first}) AND from_unixtime({last}) GROUP BY tstamp"
    )
}

fn numbers(row: &Row) -> [Option<i64>; 3] {
    [0, 1, 2].map(|column| {
        // Seconds may come with a fraction of zeros.
        let value = str::from_utf8(row.get(column)?.as_deref()?).ok()?;
        value.split('.').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands() {
        let count = |count, nth| HistoryCount { count, nth, before: 0 };
        for (lines, found, missing) in [
            (&[count(1, 1)][..], 0, 1),
            (&[count(1, 1)], 1, 0),
            (&[count(1, 1), count(1, 2), count(2, 3)], 0, 4),
            (&[count(1, 1), count(1, 2), count(2, 3)], 3, 1),
            (&[count(1, 3)], 2, 1), // the others are of an earlier batch
            (&[count(1, 3)], 0, 1),
            (&[count(1, 3)], 7, 0),
        ] {
            let mut demand = Demand::default();
            lines.iter().for_each(|line| demand.add(*line));
            demand.found = found;
            assert_eq!(demand.missing(), missing, "{lines:?} {found}");
        }
        assert_eq!(timestamp(UnixTime::new(-5, 0)), 1);
    }
}
