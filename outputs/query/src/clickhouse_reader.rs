//! Reads the tables of `aw-clickhouse`. Their content is not trusted: a value that is not a MAC is skipped, a text is cut.
//!
//! An event may be in `log` several times. First and last times are the same however often it is there; where sightings are listed or
//! counted, copies are left out by what identifies an event.

mod columns;
mod export;
mod nearest;
mod read_ahead;
mod sources;
mod summary;

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use aw_clickhouse::{AnswerLimit, Cluster, Row};
use aw_service::{Error, failed};
use shm_layout::{MacAddr, UnixTime};

use self::columns::{
    IDENTITY, PAIRING, SeenSource, V6_ORIGINS, change, ip_of, is_address, network, times,
};
use self::read_ahead::{Copies, SIGHTING};
use crate::{
    clocks::Clocks,
    export::{ExportPosition, Exporter},
    history_reader::{
        AddressOfMac, ClaimReader, EachSighting, HistoryReader, NO_CLAIM, NearestSightings,
        Network, NetworkIndex, PROBE, PairingSummary, RouterChange, SeenAround, TimeRange,
    },
    read_ahead::ReadAhead,
};

/// Beyond the time limit of a question, in which the server ends it: for its message.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const MAX_ANSWER: u64 = 16 << 30;
/// The same if it has a limit of rows.
const MAX_LIMITED: u64 = 512 << 20;
/// Until a server has to answer the first statement, which takes no time, if others may answer in its place.
const FIRST: Duration = Duration::from_secs(3);

pub struct ClickhouseReader {
    cluster: Cluster,
    /// The name of the database.
    database: String,
    networks: NetworkIndex,
    clocks: Clocks,
    /// For each statement.
    time: Duration,
    /// When the answer must be there, and how many rows it has at most; whether one has fewer than there are.
    end: Option<Instant>,
    most: usize,
    is_cut: bool,
    read_ahead: ReadAhead,
}

impl ClickhouseReader {
    pub fn open(cluster: &Cluster, timeout: Duration) -> Result<ClickhouseReader, Error> {
        let database = cluster.database().to_owned();
        let mut history = ClickhouseReader {
            cluster: cluster.again(),
            database,
            networks: NetworkIndex::default(),
            // Each row has its ring.
            clocks: Clocks::new(Default::default()),
            time: timeout,
            end: Instant::now().checked_add(timeout),
            most: usize::MAX,
            is_cut: false,
            read_ahead: ReadAhead::default(),
        };
        history.check()?;
        history.end = None; // of a question, the server says so
        Ok(history)
    }

    /// Without the view, rows of earlier releases may be missing in `pairing_day`.
    fn check(&mut self) -> Result<(), Error> {
        let exists = format!("EXISTS TABLE {}.pairings", self.database);
        let end = self.end;
        if self.cluster.servers() > 1 {
            let first = Instant::now() + FIRST;
            self.end = Some(end.map_or(first, |end| end.min(first)));
        }
        let mut answers = Vec::new();
        self.query(&exists, &mut |_, row| {
            answers.push(row.uint8()?);
            // A proxy or a portal may answer in place of the server.
            if answers.len() > 1 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
        })
        .or_else(|error| if answers.len() > 1 { Ok(()) } else { Err(error) })?;
        self.end = end;
        let database = &self.database;
        match *answers {
            [1] => self.check_profile(),
            [0] => Err(failed(format_args!(
                "read {database}: it has no view pairings, or the user may not read it (run the statements of this release: aw-clickhouse --database {database} schema | clickhouse-client --multiquery; GRANT SELECT ON {database}.* TO the user)"
            ))),
            _ => Err(failed(format_args!(
                "read {database}: its answer is no answer of ClickHouse (correct --database: the port of HTTP)"
            ))),
        }
    }

    /// A user that may not change settings has an incomplete answer, without an error, if the profile says so.
    fn check_profile(&mut self) -> Result<(), Error> {
        let select = "SELECT toUInt8(1) FROM system.settings
            WHERE name LIKE '%_overflow_mode' AND value IN ('break', 'any') LIMIT 1";
        match self.cluster.settings_refused() && self.finds(select)? {
            false => Ok(()),
            true => Err(failed(format_args!(
                "read {}: the user's profile ends answers without an error (set readonly = 2, or remove break and any from its *_overflow_mode)",
                self.database
            ))),
        }
    }

    /// An event without its day: an output of an earlier release has inserted it. It would be missing in answers.
    pub(self) fn check_days(&mut self, condition: &str, what: &str) -> Result<(), Error> {
        let select =
            format!("SELECT toUInt8(1) FROM {} WHERE {condition} LIMIT 1", self.table("log"));
        match self.finds(&select)? {
            false => Ok(()),
            true => Err(failed(format_args!(
                "read {}: pairing_day lacks events of {what} that log has, because an aw-clickhouse of an earlier release inserted them (upgrade all sensors, DROP TABLE {}, and run aw-clickhouse schema | clickhouse-client --multiquery again)",
                self.database,
                self.table("pairings")
            ))),
        }
    }

    /// The table with this name.
    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.database)
    }

    /// Ends a statement: it returns one row more than an answer has, at most.
    fn one_more(&self) -> String {
        let rows = Some(self.most).filter(|most| *most < usize::MAX);
        rows.map_or(String::new(), |most| format!(" LIMIT {}", most + 1))
    }

    /// The rows that an answer has.
    fn cut_to_most<T>(&mut self, mut rows: Vec<T>) -> Vec<T> {
        self.is_cut |= rows.len() > self.most;
        rows.truncate(self.most);
        rows
    }

    /// Passes each row of a result to `each`, as it arrives.
    fn query(
        &mut self,
        select: &str,
        each: &mut dyn FnMut(&mut NetworkIndex, &mut Row) -> io::Result<()>,
    ) -> Result<(), Error> {
        let ClickhouseReader { cluster, networks, end, time, most, database, .. } = self;
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(failed(format_args!("read {database}: no answer in time")));
        }
        let limit = AnswerLimit {
            server: left.unwrap_or(*time),
            time: left.unwrap_or(time.saturating_add(GRACE)),
            bytes: if *most < usize::MAX { MAX_LIMITED } else { MAX_ANSWER },
        };
        let statement = format!("{select} FORMAT RowBinary");
        cluster.select(&statement, limit, &mut |row| each(networks, row)).map_err(failed)
    }

    /// Whether a statement returns a row.
    fn finds(&mut self, select: &str) -> Result<bool, Error> {
        let mut found = false;
        self.query(select, &mut |_, row| {
            found = true;
            row.uint8().map(drop)
        })?;
        Ok(found)
    }

    /// The addresses of a result, sorted: neighbours are asked for together.
    fn ips(&mut self, select: &str) -> Result<Vec<IpAddr>, Error> {
        let (mut found, most) = (Vec::new(), self.most);
        self.query(select, &mut |_, row| {
            check_number(found.len(), most)?;
            let (ip, is_v6) = (row.fixed()?, row.uint8()? == 1);
            found.push(ip_of(ip, is_v6));
            Ok(())
        })?;
        let mut found = self.cut_to_most(found);
        found.sort_unstable();
        Ok(found)
    }
}

/// A server that sends more rows than the statement permits is none.
fn check_number(rows: usize, most: usize) -> io::Result<()> {
    match rows > most {
        false => Ok(()),
        true => Err(io::Error::other("it has more rows than were asked for")),
    }
}

/// The stream of aw-clickhouse has no names.
impl ClaimReader for ClickhouseReader {}

impl HistoryReader for ClickhouseReader {
    fn networks(&self) -> &[Network] {
        self.networks.all()
    }

    fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    fn limit(&mut self, end: Instant, most: usize) -> Result<(), Error> {
        (self.end, self.most) = (Some(end), most);
        Ok(())
    }

    fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let seen = self.seen_in(range, "1");
        let select = format!(
            "SELECT ip, origin IN ({V6_ORIGINS}) AS v6 FROM {seen} GROUP BY ip, v6{}",
            self.one_more()
        );
        self.ips(&select)
    }

    fn changed_addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.changed(range)
    }

    fn addresses_of(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<AddressOfMac>, Error> {
        let condition = format!("mac = {}", mac.number());
        let columns = "ip, frame_source, origin";
        let seen = self.seen(range, SeenSource { columns, condition: &condition });
        let select = format!(
            "SELECT ip, origin IN ({V6_ORIGINS}) AS v6, min(first_time), max(last_time),
                toUInt8(max((origin NOT IN ({PROBE})) * (1 + (frame_source = 0))))
            FROM {seen} GROUP BY ip, v6{}",
            self.one_more()
        );
        let (mut found, most) = (Vec::new(), self.most);
        self.query(&select, &mut |_, row| {
            check_number(found.len(), most)?;
            let ip = ip_of(row.fixed()?, row.uint8()? == 1);
            let (first, last, number) = (row.time()?, row.time()?, row.uint8()?);
            let (is_more_than_probed, is_own) = (number > 0, number == 2);
            found.push(AddressOfMac { ip, first, last, is_more_than_probed, is_own });
            Ok(())
        })?;
        if found.is_empty() && range == TimeRange::ALL {
            self.check_days(&condition, &mac.to_string())?;
        }
        Ok(self.cut_to_most(found))
    }

    fn addresses_sent_by(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let seen = self.seen_in(range, &format!("frame_source = {}", mac.number()));
        let most = std::mem::replace(&mut self.most, usize::MAX);
        let found = self
            .ips(&format!("SELECT ip, origin IN ({V6_ORIGINS}) AS v6 FROM {seen} GROUP BY ip, v6"));
        self.most = most;
        found
    }

    fn weight(&mut self, ip: IpAddr, range: TimeRange, limit: u64) -> Result<u64, Error> {
        let (log, days) = (self.table("log"), self.table("pairing_day"));
        let (address, times, limit) = (is_address(ip), times("time", range), limit + 1);
        let select = format!(
            "SELECT toUInt64(10 * count()) FROM (SELECT DISTINCT {PAIRING} FROM {days} WHERE {address} LIMIT {limit})
            UNION ALL
            SELECT count() FROM (SELECT DISTINCT {IDENTITY} FROM {log} WHERE {address}{times} LIMIT {limit})"
        );
        let mut weight: u64 = 0;
        self.query(&select, &mut |_, row| {
            weight = weight.saturating_add(row.uint64()?);
            Ok(())
        })?;
        Ok(weight)
    }

    fn read_ahead(&mut self, addresses: &[IpAddr], range: TimeRange) -> Result<(), Error> {
        self.plan_to_read(addresses, range)
    }

    /// Copies come one after the other.
    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error> {
        if let Some(known) = self.known_sightings(ip, range)? {
            known.into_iter().for_each(each);
            return Ok(());
        }
        let (log, address, times) = (self.table("log"), is_address(ip), times("time", range));
        let select = format!(
            "SELECT {SIGHTING} FROM {log} WHERE {address}{times}
            ORDER BY time, {IDENTITY}"
        );
        let mut copies = Copies::default();
        self.query(&select, &mut |networks, row| {
            if let Some((_, sighting)) = copies.next(networks, row)? {
                each(sighting);
            }
            Ok(())
        })
    }

    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        let found: Vec<_> = self.nearest_of(&[ip], at)?.into_iter().flatten().collect();
        if found.is_empty() {
            self.check_days(&is_address(ip), &ip.to_string())?;
        }
        Ok(found)
    }

    fn nearest_of_each(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
    ) -> Result<Vec<Vec<NearestSightings>>, Error> {
        self.nearest_of(addresses, at)
    }

    fn seen_around(&mut self, network: usize, at: UnixTime) -> Result<SeenAround, Error> {
        match self.networks.all().get(network).cloned() {
            Some(network) => self.seen_in_network(&network, at),
            None => Ok(None),
        }
    }

    fn pairings(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error> {
        self.summaries(range, is_counted)
    }

    fn has_own_claims(&mut self, mac: MacAddr) -> Result<bool, Error> {
        let select = format!(
            "SELECT toUInt8(1) FROM {} PREWHERE mac = {} WHERE frame_source = 0 AND origin NOT IN ({NO_CLAIM}) LIMIT 1",
            self.table("pairing_day"),
            mac.number()
        );
        self.finds(&select)
    }

    fn is_clock_set(&mut self, network: usize) -> Result<bool, Error> {
        let Some(of) = self.networks.all().get(network) else { return Ok(false) };
        let set = self.clocks.set_at(network).as_nanos();
        let [host, ring, interface] = [&of.host, &of.ring, &of.interface].map(columns::quoted);
        let select = format!(
            "SELECT toUInt8(1) FROM {} WHERE host = {host} AND ring = {ring} AND interface = {interface}
                AND finalizeAggregation(last) >= {set} LIMIT 1",
            self.table("pairing_day")
        );
        self.finds(&select)
    }

    fn export(&mut self, to: &mut Exporter, _: &mut ExportPosition) -> Result<bool, Error> {
        self.export_rows(to).map(|()| true)
    }

    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error> {
        let select = format!(
            "SELECT DISTINCT {IDENTITY}, time, router_name, router, user, lines_added, lines_removed
            FROM {} WHERE 1{} ORDER BY time, {IDENTITY}",
            self.table("config_change"),
            times("time", range)
        );
        let mut changes = Vec::new();
        self.query(&select, &mut |networks, row| {
            let change = change(row)?;
            let network = networks.id(change.network);
            let (added, removed) = (change.added.into(), change.removed.into());
            changes.push(RouterChange {
                time: change.time,
                network,
                user: change.user,
                added,
                removed,
            });
            Ok(())
        })?;
        Ok(changes)
    }
}

#[cfg(test)]
mod tests;
