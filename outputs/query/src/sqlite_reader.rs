//! Reads a database of `aw-sqlite`. Its content is not trusted: a value that is not an address or a MAC is
//! skipped, a value that is not a text is an error.

mod export;
mod failure;
mod names;
mod nearest;
mod recent;
mod seen_around;
mod spans;
mod summary;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    ops::RangeInclusive,
    path::Path,
    time::Instant,
};

use aw_database::{CLAIMED, CLAIMED_COLUMNS, HistoryRows, LEASE, LEASE_COLUMNS, Snapshot};
use aw_output::Checkpoint;
use aw_service::{Error, failed};
use rusqlite::{
    Row, Rows, params,
    types::{Value, ValueRef},
};
use shm_layout::{MacAddr, UnixTime};

use self::failure::failure;
use self::recent::Recent;
use self::spans::{SpanEnd, Spans};
use crate::clocks::Clocks;
use crate::export::{ExportPosition, Exporter};
use crate::history_reader::{
    AddressOfMac, AddressSighting, EachSighting, HistoryReader, NO_CLAIM, NearestSightings,
    Network, PROBE, PairingSummary, RouterChange, SeenAround, TimeRange, evidence_in_frame,
    parse_ip, parse_mac,
};
use crate::places::Places;
use crate::unread::{RINGS, Unread};

/// The application id of aw-sqlite's files, "AWhi", and the versions of its tables that are supported.
const APPLICATION: i32 = 0x4157_6869;
const VERSIONS: RangeInclusive<i32> = 1..=2;

/// The columns that are read, by table.
const COLUMNS: [(&str, &[&str]); 3] = [
    ("place", &["id", "host", "ring", "interface", "vlan", "outer_vlan", "router"]),
    ("pairing", &["id", "address", "mac", "place"]),
    ("sighting", &["pairing", "time", "origin"]),
];
const CHANGES: &[&str] = &["time", "place", "user", "lines_added", "lines_removed"];

/// Pairings whose sightings are merged.
const MERGED: usize = 8;

/// Steps of a statement between two looks at the clock.
const STEPS: i32 = 10_000;

pub struct SqliteReader {
    path: String,
    snapshot: Snapshot,
    places: Places,
    /// The column with the MAC that sent the frames; databases of earlier releases do not have it.
    source: &'static str,
    recent: Recent,
    spans: Spans,
    has_names: bool,
    has_leases: bool,
    /// Rows of an answer, and whether one has fewer than there are.
    most: usize,
    is_cut: bool,
    remarks: Vec<String>,
}

/// A pairing of an address.
struct Pairing {
    id: i64,
    network: usize,
    mac: MacAddr,
    source: Option<MacAddr>,
}

impl SqliteReader {
    /// Opens it until this time.
    pub fn open(path: &Path, end: Option<Instant>) -> Result<SqliteReader, Error> {
        loop {
            let shown = path.display().to_string();
            let snapshot =
                Snapshot::open_until(path, end).map_err(|error| failure(&shown, error))?;
            let mut history = SqliteReader {
                path: shown,
                snapshot,
                places: Places::default(),
                source: "-1",
                recent: Recent::default(),
                spans: Spans::default(),
                has_names: false,
                has_leases: false,
                most: usize::MAX,
                is_cut: false,
                remarks: Vec::new(),
            };
            // What was read of two states is no error of the file.
            match history.check() {
                Err(_) if !history.is_intact()? && end.is_none_or(|end| Instant::now() < end) => {}
                checked => return checked.map(|()| history),
            }
        }
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> Result<T, Error> {
        read(self).map_err(|error| failure(&self.path, error))
    }

    /// How many rows a statement returns at most: one more than an answer has.
    fn one_more(&self) -> i64 {
        i64::try_from(self.most).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// The rows that an answer has.
    fn cut<T>(&mut self, mut rows: Vec<T>) -> Vec<T> {
        self.is_cut |= rows.len() > self.most;
        rows.truncate(self.most);
        rows
    }

    fn check(&mut self) -> Result<(), Error> {
        let (application, version): (i32, i32) = self.read(|history| {
            let database = &history.snapshot.database;
            let number = |name| database.pragma_query_value(None, name, |row| row.get(0));
            Ok((number("application_id")?, number("user_version")?))
        })?;
        let path = &self.path;
        if application != APPLICATION {
            return Err(failed(format_args!(
                "read {path}: it is not a database of aw-sqlite (a copy of one that is in use lacks what is in its -wal file: aw-query copy FILE makes a complete one; aw-sqlite import {path} adds a database of addrwatch to that of the service)"
            )));
        }
        if !VERSIONS.contains(&version) {
            let newest = VERSIONS.end();
            return Err(failed(format_args!(
                "read {path}: its tables are of version {version}, this release supports {newest} (use the aw-query of the same release)"
            )));
        }
        for (table, columns) in COLUMNS {
            if !self.read(|history| {
                aw_database::has_columns(&history.snapshot.database, table, columns)
            })? {
                return Err(failed(format_args!(
                    "read {}: its table {table} is not of aw-sqlite (choose another file with --database)",
                    self.path
                )));
            }
        }
        let has_source = |history: &mut SqliteReader| {
            aw_database::has_columns(&history.snapshot.database, "pairing", &["source"])
        };
        if self.read(has_source)? {
            self.source = "source";
        }
        let rows = self.read(|history| HistoryRows::of(&history.snapshot.database))?;
        if let Some(table) = rows.missing().filter(|_| version > 1) {
            return Err(failed(format_args!(
                "read {}: its table {table} is not of aw-sqlite (choose another file with --database)",
                self.path
            )));
        }
        (self.recent, self.spans) = (Recent::new(rows), Spans::new(rows));
        (self.has_names, self.has_leases) = self.read(|history| {
            let database = &history.snapshot.database;
            let has_names = aw_database::has_columns(database, CLAIMED, &CLAIMED_COLUMNS)?;
            Ok((has_names, aw_database::has_columns(database, LEASE, &LEASE_COLUMNS)?))
        })?;
        let old = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%\\_old' ESCAPE '\\'";
        if self.read(|history| history.snapshot.database.query_row(old, [], |row| row.get(0)))? {
            self.remarks.push(
                "rows of addrwatch's table are not searched: aw-sqlite imports them while it runs, but not those that are not in addrwatch's format (its log names the first one)".into(),
            );
        }
        Ok(())
    }

    /// The addresses that were seen in a time range with a pairing, in SQL `one`, for which this condition does not hold.
    fn addresses_unless(&mut self, not: &str, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.read(|history| {
            let select = format!(
                "SELECT DISTINCT address FROM pairing AS one WHERE CASE WHEN {not} THEN 0 ELSE (EXISTS (
                    SELECT 1 FROM sighting WHERE pairing = one.id AND time >= ?1 AND time < ?2)
                OR one.id IN (SELECT pairing FROM {} WHERE time >= ?1 AND time < ?2)
                OR EXISTS (SELECT 1 FROM {} WHERE pairing = one.id AND {})) END LIMIT ?3",
                history.recent.source,
                history.spans.source,
                history.spans.in_range("?1", "?2")
            );
            let mut statement = history.snapshot.database.prepare_cached(&select)?;
            let row = [range.from.as_nanos(), range.to.as_nanos(), history.one_more()];
            let rows = statement.query_map(row, |row| ip(row, 0))?;
            let found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            drop(statement);
            Ok(history.cut(found).into_iter().flatten().collect())
        })
    }

    /// The pairings of an address, without those that are not valid.
    fn pairings_of(&mut self, ip: IpAddr) -> rusqlite::Result<Vec<Pairing>> {
        let SqliteReader { snapshot: Snapshot { database, .. }, places, source, .. } = self;
        let select = format!("SELECT id, mac, place, {source} FROM pairing WHERE address = ?");
        let mut statement = database.prepare_cached(&select)?;
        let mut rows = statement.query([bytes(&ip)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, mac) = (row.get(0)?, parse_mac(row.get(1)?));
            let (network, source) =
                (places.network_of(database, row.get(2)?)?, parse_mac(row.get(3)?));
            found.extend(mac.zip(network).map(|(mac, network)| Pairing {
                id,
                network,
                mac,
                source,
            }));
        }
        Ok(found)
    }
}

impl HistoryReader for SqliteReader {
    fn networks(&self) -> &[Network] {
        self.places.networks()
    }

    fn clocks(&self) -> &Clocks {
        self.places.clocks()
    }

    fn copy(&mut self, to: &Path) -> Result<(), Error> {
        let copied = self.snapshot.database.execute("VACUUM INTO ?", [to.to_string_lossy()]);
        let (path, to) = (&self.path, to.display());
        copied.map(drop).map_err(|error| failed(format_args!("copy {path} to {to}: {error}")))
    }

    fn export(&mut self, to: &mut Exporter, from: &mut ExportPosition) -> Result<bool, Error> {
        self.export_rows(to, from)
    }

    fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn remarks(&self) -> &[String] {
        &self.remarks
    }

    fn unread(&mut self) -> Vec<Unread> {
        let select =
            "SELECT ring, generation, began, delivered, lost, skipped FROM account LIMIT ?";
        let stored = self.read(|history| {
            let mut select = history.snapshot.database.prepare(select)?;
            let row = |row: &rusqlite::Row| {
                let columns = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
                Ok((row.get::<_, String>(0)?, Checkpoint::from_columns(columns)))
            };
            select.query_map([RINGS], row)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        // A fault of these rows is none of the answer.
        let stored = stored.unwrap_or_default().into_iter();
        let rings = stored.filter_map(|(ring, stored)| ring.parse().ok().zip(stored));
        rings.filter_map(|(ring, stored)| Unread::of(&ring, &stored)).collect()
    }

    fn limit(&mut self, end: Instant, most: usize) -> Result<(), Error> {
        self.most = most;
        self.read(|history| {
            let database = &mut history.snapshot.database;
            // A process that is confined has no directory for temporary files.
            database.execute_batch("PRAGMA temp_store = memory")?;
            database.progress_handler(STEPS, Some(move || Instant::now() >= end))
        })
    }

    fn is_intact(&self) -> Result<bool, Error> {
        self.snapshot.is_intact().map_err(|error| failure(&self.path, error))
    }

    fn addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.addresses_unless("0", range)
    }

    fn changed_addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let [one, other] = self.places.clocks().asked(range).limits();
        let set = one.max(other);
        if range.from < set {
            return self.addresses(range);
        }
        // It is so for most addresses, and reads one page of each.
        let is_known = format!(
            "{source} < 0 AND ((SELECT origin NOT IN ({NO_CLAIM}) FROM sighting
                    WHERE pairing = one.id AND time >= {set} AND time < ?1 ORDER BY time DESC LIMIT 1) = 1
                OR EXISTS (SELECT 1 FROM {spans} WHERE pairing = one.id AND first >= {set} AND first < ?1))
            AND NOT EXISTS (SELECT 1 FROM pairing WHERE address = one.address AND id <> one.id)",
            source = self.source,
            spans = self.spans.source,
            set = set.as_nanos()
        );
        self.addresses_unless(&is_known, range)
    }

    fn addresses_of(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<AddressOfMac>, Error> {
        self.read(|history| {
            let one_more = history.one_more();
            let SqliteReader { snapshot: Snapshot { database, .. }, source, recent, spans, .. } =
                history;
            let in_range = "FROM sighting WHERE pairing = id AND time >= ?2 AND time < ?3";
            let filed = format!(
                "SELECT address, min((SELECT min(time) {in_range})), max((SELECT max(time) {in_range})),
                    max(EXISTS (SELECT 1 {in_range} AND origin NOT IN ({PROBE})) * (1 + ({source} < 0)))
                FROM pairing WHERE mac = ?1 AND EXISTS (SELECT 1 {in_range}) GROUP BY address LIMIT ?4"
            );
            let recent = format!(
                "SELECT address, min(time), max(time), max((origin NOT IN ({PROBE})) * (1 + ({source} < 0)))
                FROM {} JOIN pairing ON id = pairing
                WHERE mac = ?1 AND time >= ?2 AND time < ?3 GROUP BY address LIMIT ?4",
                recent.source
            );
            let spans = format!(
                "SELECT address, min(max(first, ?2)), max(min(last, ?3 - 1)), max((first_origin NOT IN ({PROBE})) * (1 + ({source} < 0)))
                FROM {} JOIN pairing ON id = pairing WHERE mac = ?1 AND {} GROUP BY address LIMIT ?4",
                spans.source,
                spans.in_range("?2", "?3")
            );
            let (mac, from, to) = (mac.number() as i64, range.from.as_nanos(), range.to.as_nanos());
            let mut found: HashMap<IpAddr, AddressOfMac> = HashMap::new();
            for select in [filed, recent, spans] {
                let mut statement = database.prepare_cached(&select)?;
                let mut rows = statement.query([mac, from, to, one_more])?;
                while let Some(row) = rows.next()? {
                    let Some(ip) = ip(row, 0)? else { continue };
                    let [first, last] = [row.get(1)?, row.get(2)?].map(UnixTime::from_nanos);
                    let number: u8 = row.get(3)?;
                    let (is_more_than_probed, is_own) = (number > 0, number == 2);
                    let new = AddressOfMac { ip, first, last, is_more_than_probed, is_own };
                    found.entry(ip).and_modify(|known| known.merge(&new)).or_insert(new);
                }
            }
            let found = found.into_values().collect();
            Ok(history.cut(found))
        })
    }

    fn addresses_sent_by(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.read(|history| {
            let SqliteReader { snapshot: Snapshot { database, .. }, source, recent, spans, .. } =
                history;
            let select = format!(
                "SELECT DISTINCT address FROM pairing WHERE {source} = ?1 AND {source} >= 0 AND (EXISTS (
                    SELECT 1 FROM sighting WHERE pairing = id AND time >= ?2 AND time < ?3)
                OR id IN (SELECT pairing FROM {} WHERE time >= ?2 AND time < ?3)
                OR EXISTS (SELECT 1 FROM {} WHERE pairing = id AND {}))",
                recent.source,
                spans.source,
                spans.in_range("?2", "?3")
            );
            let mut statement = database.prepare_cached(&select)?;
            let (mac, from, to) = (mac.number() as i64, range.from.as_nanos(), range.to.as_nanos());
            let rows = statement.query_map([mac, from, to], |row| ip(row, 0))?;
            rows.filter_map(rusqlite::Result::transpose).collect()
        })
    }

    fn weight(&mut self, ip: IpAddr, range: TimeRange, limit: u64) -> Result<u64, Error> {
        self.read(|history| {
            let SqliteReader { snapshot: Snapshot { database, .. }, recent, spans, .. } = history;
            let select = "WITH known AS (SELECT id FROM pairing WHERE address = ?1 LIMIT ?4)
                SELECT 10 * (SELECT count(*) FROM known) + (SELECT count(*) FROM (SELECT 1 FROM sighting
                WHERE pairing IN (SELECT id FROM known) AND time >= ?2 AND time < ?3 LIMIT ?4))";
            let (from, to) = (range.from.as_nanos(), range.to.as_nanos());
            let parameters = params![bytes(&ip), from, to, limit as i64 + 1];
            let filed = database.prepare_cached(select)?.query_row(parameters, |row| row.get(0));
            let filed: i64 = filed?;
            let recent = recent.of(database, ip)?.into_values().flatten();
            let recent = recent.filter(|(time, _)| (from..to).contains(time)).count();
            let spans = format!(
                "SELECT count(*) FROM (SELECT 1 FROM {} WHERE pairing IN
                (SELECT id FROM pairing WHERE address = ?1 LIMIT ?4) AND {} LIMIT ?4)",
                spans.source,
                spans.in_range("?2", "?3")
            );
            let spans = database.prepare_cached(&spans)?.query_row(parameters, |row| row.get(0));
            let spans: i64 = spans?;
            Ok(filed as u64 + recent as u64 + 2 * spans as u64)
        })
    }

    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error> {
        self.read(|history| {
            let all = history.pairings_of(ip)?;
            // Of few pairings, a tree is faster.
            let known: BTreeMap<i64, Pairing> = all.into_iter().map(|one| (one.id, one)).collect();
            let (from, to) = (range.from.as_nanos(), range.to.as_nanos());
            let database = &history.snapshot.database;
            let mut others = history.spans.ends(database, ip, range)?;
            for (pairing, rows) in history.recent.of(database, ip)? {
                let in_range = rows.into_iter().filter(|(time, _)| (from..to).contains(time));
                others.extend(in_range.map(|(time, origin)| SpanEnd {
                    time,
                    pairing,
                    origin,
                    more: 0,
                    until: None,
                }));
            }
            others.sort_by_key(|other| other.time);
            let mut others = others.into_iter().peekable();
            let ids: Vec<i64> = known.keys().copied().collect();
            // Those of a pairing are in the order of time already: of a few pairings they are merged, which is faster than to sort all.
            let (of, keys) = match ids.len() {
                ..=MERGED => ("= ?", ids.into_iter().map(Value::Integer).collect()),
                _ => ("IN (SELECT id FROM pairing WHERE address = ?)", vec![Value::Blob(bytes(&ip))]),
            };
            let select = format!(
                "SELECT time, pairing, origin FROM sighting WHERE pairing {of} AND time >= ? AND time < ? ORDER BY time"
            );
            let statements = keys.iter().map(|_| database.prepare_cached(&select));
            let mut statements = statements.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut sources = Vec::new();
            for (statement, key) in statements.iter_mut().zip(keys) {
                let mut rows = statement.query(params![key, from, to])?;
                let first = next_of(&mut rows)?;
                sources.push((rows, first));
            }
            let mut add = |SpanEnd { time, pairing, origin, more, until }: SpanEnd| {
                let Some(Pairing { network, mac, source, .. }) = known.get(&pairing) else {
                    return;
                };
                let (network, mac, source) = (*network, *mac, *source);
                let time = UnixTime::from_nanos(time);
                let evidence = evidence_in_frame(origin, source);
                let until = until.map(UnixTime::from_nanos);
                each(AddressSighting { time, network, mac, evidence, source, more, until });
            };
            loop {
                let next = sources.iter().enumerate();
                let next = next.filter_map(|(at, (_, first))| Some((first.as_ref()?.0, at))).min();
                let time = next.map_or(i64::MAX, |(time, _)| time);
                while let Some(other) = others.next_if(|other| other.time <= time) {
                    add(other);
                }
                let Some((_, at)) = next else { return Ok(()) };
                let (rows, first) = &mut sources[at];
                if let Some((time, pairing, origin)) = std::mem::replace(first, next_of(rows)?) {
                    add(SpanEnd { time, pairing, origin, more: 0, until: None });
                }
            }
        })
    }

    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        self.nearest_to(ip, at)
    }

    fn presence(
        &mut self,
        (ip, mac): (IpAddr, MacAddr),
        at: UnixTime,
    ) -> Result<Vec<(usize, UnixTime, UnixTime)>, Error> {
        self.read(|history| {
            let SqliteReader { snapshot: Snapshot { database, .. }, places, spans, .. } = history;
            let mut found = Vec::new();
            for (place, first, last) in spans.around(database, (ip, mac), at)? {
                let network = places.network_of(database, place)?;
                found.extend(network.map(|network| (network, first, last)));
            }
            Ok(found)
        })
    }

    fn pairings(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error> {
        self.read(|history| history.summaries(range, is_counted))
    }

    fn macs_in_use(&mut self, macs: &[MacAddr]) -> Result<HashSet<MacAddr>, Error> {
        self.read(|history| history.in_use(macs))
    }

    fn has_own_claims(&mut self, mac: MacAddr) -> Result<bool, Error> {
        self.read(|history| {
            let SqliteReader { snapshot: Snapshot { database, .. }, source, recent, spans, .. } =
                history;
            let select = format!(
                "SELECT EXISTS (SELECT 1 FROM pairing WHERE mac = ? AND {source} < 0 AND (EXISTS (
                    SELECT 1 FROM sighting WHERE pairing = id AND origin NOT IN ({NO_CLAIM}))
                OR id IN (SELECT pairing FROM {} WHERE origin NOT IN ({NO_CLAIM}))
                OR EXISTS (SELECT 1 FROM {} WHERE pairing = id AND first_origin NOT IN ({NO_CLAIM}))))",
                recent.source, spans.source
            );
            database.prepare_cached(&select)?.query_row([mac.number() as i64], |row| row.get(0))
        })
    }

    fn is_clock_set(&mut self, network: usize) -> Result<bool, Error> {
        self.read(|history| {
            let SqliteReader { snapshot, places, recent, spans, .. } = history;
            places.is_clock_set(&snapshot.database, network, (&recent.source, spans.source))
        })
    }

    fn seen_around(&mut self, network: usize, at: UnixTime) -> Result<SeenAround, Error> {
        self.read(|history| {
            let SqliteReader { snapshot: Snapshot { database, .. }, places, recent, spans, .. } =
                history;
            let Some((network, other)) = places.rings_of(database, network)? else {
                return Ok(None);
            };
            let rings = [network.ring.as_str(), other.as_str()];
            seen_around::seen_around(database, (&network, rings), at, (recent, *spans))
        })
    }

    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error> {
        self.read(|history| {
            let SqliteReader { snapshot: Snapshot { database, .. }, places, .. } = history;
            if !aw_database::has_columns(database, "config_change", CHANGES)? {
                return Ok(Vec::new()); // an earlier release of aw-sqlite created the database
            }
            let select = "SELECT time, place, user, lines_added, lines_removed FROM config_change
                WHERE time >= ? AND time < ?";
            let mut statement = database.prepare_cached(select)?;
            let mut rows = statement.query([range.from.as_nanos(), range.to.as_nanos()])?;
            let mut changes = Vec::new();
            while let Some(row) = rows.next()? {
                let Some(network) = places.network_of(database, row.get(1)?)? else { continue };
                let time = UnixTime::from_nanos(row.get(0)?);
                let (user, added, removed) = (row.get(2)?, row.get(3)?, row.get(4)?);
                changes.push(RouterChange { time, network, user, added, removed });
            }
            Ok(changes)
        })
    }
}

/// A time, a pairing, and an origin.
fn next_of(rows: &mut Rows) -> rusqlite::Result<Option<(i64, i64, i64)>> {
    rows.next()?.map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).transpose()
}

fn bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

/// The address in a column; None if it is something else.
fn ip(row: &Row, column: usize) -> rusqlite::Result<Option<IpAddr>> {
    let ValueRef::Blob(bytes) = row.get_ref(column)? else { return Ok(None) };
    Ok(parse_ip(bytes))
}
