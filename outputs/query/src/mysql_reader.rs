//! Reads the table `log` of `aw-mysql` or addrwatch 1.0. Its content is not trusted: a value that is not an
//! address or a MAC is skipped.
//!
//! The table has whole seconds, and neither rings, outer VLANs nor routers.

mod columns;
mod connect;
mod export;
mod names;
mod nearest;
mod read_ahead;
mod summary;

use std::{
    collections::HashSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use aw_mysql::{
    Conn, FRAME_SOURCE_COLUMN, MysqlError, Row, ServerConfig, TableNames, TablePrefix, hex_ip,
    quoted,
};
use aw_peer::Budget;
use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use self::columns::{bytes, number, text, time, times};
use self::connect::{Connected, connect, failure};
use self::read_ahead::sighting;
use crate::clocks::Clocks;
use crate::export::{ExportPosition, Exporter};
use crate::history_reader::{
    AddressOfMac, EachSighting, HistoryReader, NO_CLAIM, NearestSightings, Network, NetworkIndex,
    PROBE, PairingSummary, RouterChange, TimeRange, parse_ip,
};
use crate::read_ahead::ReadAhead;

/// Beyond the time limit of a question, in which the server ends it: for its message.
const GRACE: Duration = Duration::from_secs(5);
/// What the answer to a question may have.
const MAX_ANSWER: u64 = 16 << 30;

/// The columns of a pairing's network and its MAC, in the order that [`pairing`] expects.
const PAIRING: &str = "hostname, interface, vlan_tag, mac_address";
/// The index that answers `nearest` in few steps, and what follows the host name in that of a table that has no column
/// for the frame's source.
const PAIRING_INDEX: &str =
    "ip_address, mac_address, vlan_tag, interface, hostname, frame_source, origin_id, tstamp";
const PAIRING_INDEX_WITHOUT: &str =
    "ip_address, mac_address, vlan_tag, interface, hostname, origin_id, tstamp";

pub struct MysqlReader {
    name: String,
    log: String,
    config_change: String,
    claimed_name: String,
    address_lease: String,
    conn: Conn,
    /// For each question.
    budget: Budget,
    networks: NetworkIndex,
    clocks: Clocks,
    /// The column with the MAC that sent the frame; addrwatch's tables do not have it.
    source: &'static str,
    /// There are names and leases that can be read.
    has_names: bool,
    has_leases: bool,
    /// An index by pairing has all columns that distinguish pairings, origins and times.
    has_pairing_index: bool,
    /// `FORCE INDEX` with the one by address and time, if there is one. Sightings of a second are in the order of their rows there; in that
    /// by pairing, which the server may take for few rows, they are not.
    by_time: String,
    /// When the answer must be there, and how many rows it has at most; whether one has fewer than there are.
    end: Option<Instant>,
    most: usize,
    is_cut: bool,
    read_ahead: ReadAhead,
    remarks: Vec<String>,
}

impl MysqlReader {
    pub fn open(
        config: &ServerConfig,
        prefix: &TablePrefix,
        timeout: Duration,
    ) -> Result<MysqlReader, Error> {
        let TableNames { log, config_change, claimed_name, address_lease, .. } =
            TableNames::new(prefix);
        let end = Instant::now().checked_add(timeout);
        let Connected { conn, server, remark } = connect(config, &log, timeout)?;
        let name = format!("{} at {server}", config.database());
        let networks = NetworkIndex::default();
        let clocks = Clocks::without_rings();
        let (source, has_pairing_index) = ("NULL", false);
        let time = timeout.saturating_add(GRACE);
        let budget = Budget { time, silence: time, bytes: MAX_ANSWER };
        let mut history = MysqlReader {
            name,
            log,
            config_change,
            claimed_name,
            address_lease,
            conn,
            budget,
            networks,
            clocks,
            source,
            has_names: false,
            has_leases: false,
            has_pairing_index,
            by_time: String::new(),
            end,
            most: usize::MAX,
            is_cut: false,
            read_ahead: ReadAhead::default(),
            remarks: remark.into_iter().collect(),
        };
        history.check()?;
        history.find_names()?;
        history.end = None; // of a question, the server says so
        Ok(history)
    }

    /// Checks that the table has the columns. Without the right indexes, it warns that queries are slow.
    fn check(&mut self) -> Result<(), Error> {
        let log = self.log.clone();
        let columns = format!("SELECT tstamp, ip_address, origin_id, {PAIRING} FROM {log} LIMIT 0");
        self.query(&columns, &mut |_, _| ())?;
        let has_source = format!(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = database() AND table_name = '{}'
            AND column_name = '{FRAME_SOURCE_COLUMN}'",
            log.trim_matches('`')
        );
        let mut found = false;
        self.query(&has_source, &mut |_, row| found = number(row, 0) == Some(1))?;
        let (after_host, index) = match found {
            true => (FRAME_SOURCE_COLUMN, PAIRING_INDEX),
            false => ("origin_id", PAIRING_INDEX_WITHOUT),
        };
        if found {
            self.source = FRAME_SOURCE_COLUMN;
        }
        let indexes = format!(
            "SELECT sum(column_name = 'ip_address' AND seq_in_index = 1) = 0,
                sum(column_name = 'hostname' AND seq_in_index = 5) > 0
                    AND sum(column_name = '{after_host}' AND seq_in_index = 6) = 0,
                sum(column_name = 'hostname' AND seq_in_index = 5) > 0
                    AND sum(column_name = '{after_host}' AND seq_in_index = 6) > 0
            FROM information_schema.statistics WHERE table_schema = database() AND table_name = '{}'",
            log.trim_matches('`')
        );
        let (mut missing, mut is_older, mut has_pairing_index) = (false, false, false);
        self.query(&indexes, &mut |_, row| {
            [missing, is_older, has_pairing_index] =
                [0, 1, 2].map(|column| number(row, column) == Some(1));
        })?;
        self.has_pairing_index = has_pairing_index;
        let by_time = format!(
            "SELECT index_name FROM information_schema.statistics WHERE table_schema = database() AND table_name = '{}'
            AND (seq_in_index, column_name) IN ((1, 'ip_address'), (2, 'tstamp')) GROUP BY index_name HAVING count(*) = 2 LIMIT 1",
            log.trim_matches('`')
        );
        let mut name = None;
        self.query(&by_time, &mut |_, row| name = Some(text(row, 0).replace('`', "``")))?;
        // Refused for an index that an administrator has set to IGNORED or INVISIBLE, which not every server lists as such.
        let hint = name.map_or(String::new(), |name| format!(" FORCE INDEX (`{name}`)"));
        self.conn.begin(until(self.budget, self.end));
        self.by_time = match self.conn.query_drop(format!("SELECT 1 FROM {log}{hint} LIMIT 0")) {
            Ok(()) => hint,
            Err(MysqlError::Server(_)) => String::new(),
            Err(error) => return Err(failure(&self.name, &self.log, &error)),
        };
        if is_older {
            self.remarks.push(format!(
                "the index by pairing of {log} is of an earlier release: queries are slow (CREATE INDEX pairing_{after_host} ON {log} ({index}))"
            ));
        }
        if missing {
            self.remarks.push(format!(
                "table {log} has no index by address: queries are slow (CREATE INDEX ip_address_tstamp ON {log} (ip_address, tstamp))"
            ));
        }
        Ok(())
    }

    /// Ends a statement: it returns one row more than an answer has, at most.
    fn one_more(&self) -> String {
        let rows = Some(self.most).filter(|most| *most < usize::MAX);
        rows.map_or(String::new(), |most| format!(" LIMIT {}", most + 1))
    }

    /// The rows that an answer has.
    fn cut<T>(&mut self, mut rows: Vec<T>) -> Vec<T> {
        self.is_cut |= rows.len() > self.most;
        rows.truncate(self.most);
        rows
    }

    /// What the rows of a pairing are grouped by after the host name.
    fn by_source(&self) -> String {
        match self.source {
            "NULL" => String::new(),
            source => format!("{source}, "),
        }
    }

    /// Passes each row of a result to `each`, as it arrives.
    fn query(
        &mut self,
        sql: &str,
        each: &mut dyn FnMut(&mut NetworkIndex, &Row),
    ) -> Result<(), Error> {
        let MysqlReader { name, log, conn, budget, networks, end, .. } = self;
        conn.begin(until(*budget, *end));
        conn.query_each(sql, &mut |row| each(networks, row))
            .map_err(|error| failure(name, log, &error))
    }
}

/// What is left of a budget, if the answer is no use after this time.
fn until(budget: Budget, end: Option<Instant>) -> Budget {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    let [time, silence] =
        [budget.time, budget.silence].map(|time| left.map_or(time, |left| time.min(left)));
    Budget { time, silence, ..budget }
}

/// The network and MAC of a row that begins with the columns of [`PAIRING`].
fn pairing(networks: &mut NetworkIndex, row: &Row) -> Option<(usize, MacAddr)> {
    let (host, interface, vlan) = (text(row, 0), text(row, 1), number(row, 2)?);
    let mac = MacAddr::new(bytes(row, 3).try_into().ok()?);
    Some((networks.id(Network { host, interface, vlan, ..Network::default() }), mac))
}

impl HistoryReader for MysqlReader {
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

    fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Grouped, with a time: so the server takes one step in an index for each address, and not for each row.
    fn addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let (log, times) = (&self.log, times(range));
        let select = format!(
            "SELECT ip_address, max(tstamp) FROM {log} WHERE TRUE{times} GROUP BY ip_address{}",
            self.one_more()
        );
        let mut found = Vec::new();
        self.query(&select, &mut |_, row| found.push(parse_ip(bytes(row, 0))))?;
        let mut found: Vec<IpAddr> = self.cut(found).into_iter().flatten().collect();
        found.sort_unstable(); // neighbours are asked for together, and not each server gives groups in order
        Ok(found)
    }

    fn changed_addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.changed(range)
    }

    fn addresses_of(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<AddressOfMac>, Error> {
        let (log, mac, times, source) = (&self.log, mac.number(), times(range), self.source);
        let select = format!(
            "SELECT ip_address, unix_timestamp(min(tstamp)), unix_timestamp(max(tstamp)),
                max((coalesce(origin_id, 0) NOT IN ({PROBE})) * (1 + ({source} IS NULL)))
            FROM {log} WHERE mac_address = 0x{mac:012x}{times} GROUP BY ip_address{}",
            self.one_more()
        );
        let mut found = Vec::new();
        self.query(&select, &mut |_, row| {
            let (ip, number) = (parse_ip(bytes(row, 0)), number(row, 3));
            let (is_more_than_probed, is_own) = (number > Some(0), number == Some(2));
            let first = time(row, 1).unwrap_or(TimeRange::ALL.from);
            let last = time(row, 2).unwrap_or(TimeRange::ALL.to);
            let of = |ip| AddressOfMac { ip, first, last, is_more_than_probed, is_own };
            found.push(ip.map(of));
        })?;
        Ok(self.cut(found).into_iter().flatten().collect())
    }

    /// Grouped, so that the server can take one step in an index for each pairing and origin; with a condition on the source it
    /// reads each row.
    fn addresses_sent_by(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let (log, source, mac, times) = (&self.log, self.source, mac.number(), times(range));
        if source == "NULL" {
            return Ok(Vec::new());
        }
        let select = format!(
            "SELECT ip_address, {source}, max(tstamp) FROM {log} WHERE TRUE{times}
            GROUP BY ip_address, mac_address, vlan_tag, interface, hostname, {source}, origin_id HAVING {source} = 0x{mac:012x}"
        );
        let mut found = Vec::new();
        self.query(&select, &mut |_, row| found.extend(parse_ip(bytes(row, 0))))?;
        Ok(found)
    }

    fn weight(&mut self, ip: IpAddr, range: TimeRange, limit: u64) -> Result<u64, Error> {
        let (log, address, times, limit) = (&self.log, hex_ip(ip), times(range), limit + 1);
        let of = format!("FROM {log} WHERE ip_address = {address}");
        let select = format!(
            "SELECT 10 * (SELECT count(*) FROM (SELECT {PAIRING} {of} GROUP BY ip_address, mac_address, vlan_tag, interface, hostname LIMIT {limit}) AS a) +
                (SELECT count(*) FROM (SELECT 1 {of}{times} LIMIT {limit}) AS b)"
        );
        let mut weight = 0;
        self.query(&select, &mut |_, row| weight = number(row, 0).unwrap_or(0) as u64)?;
        Ok(weight)
    }

    fn read_ahead(&mut self, addresses: &[IpAddr], range: TimeRange) -> Result<(), Error> {
        self.plan_to_read(addresses, range);
        Ok(())
    }

    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error> {
        if let Some(known) = self.known_sightings(ip, range)? {
            known.into_iter().for_each(each);
            return Ok(());
        }
        let (log, address, times) = (&self.log, hex_ip(ip), times(range));
        let select = format!(
            "SELECT {} FROM {log}{} WHERE ip_address = {address}{times} ORDER BY tstamp",
            self.sighting_columns(),
            self.by_time
        );
        self.query(&select, &mut |networks, row| {
            sighting(networks, row).into_iter().for_each(&mut *each)
        })
    }

    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        self.nearest_of(ip, at)
    }

    fn nearest_of_each(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
    ) -> Result<Vec<Vec<NearestSightings>>, Error> {
        self.nearest_together(addresses, at)
    }

    fn pairings(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error> {
        self.summaries(range, is_counted)
    }

    fn macs_in_use(&mut self, macs: &[MacAddr]) -> Result<HashSet<MacAddr>, Error> {
        self.in_use(macs)
    }

    fn has_own_claims(&mut self, mac: MacAddr) -> Result<bool, Error> {
        let log = &self.log;
        let own = match self.source {
            "NULL" => String::new(),
            source => format!(" AND {source} IS NULL"),
        };
        let select = format!(
            "SELECT 1 FROM {log} WHERE mac_address = x'{:012x}' AND coalesce(origin_id, 0) NOT IN ({NO_CLAIM}){own} LIMIT 1",
            mac.number()
        );
        let mut found = false;
        self.query(&select, &mut |_, _| found = true)?;
        Ok(found)
    }

    fn is_clock_set(&mut self, network: usize) -> Result<bool, Error> {
        let Some(Network { host, interface, .. }) = self.networks.all().get(network) else {
            return Ok(false);
        };
        let (log, set) = (&self.log, self.clocks.set_at(network).seconds());
        let select = format!(
            "SELECT 1 FROM {log} WHERE hostname = {} AND interface = {} AND tstamp >= from_unixtime({set}) LIMIT 1",
            quoted(host),
            quoted(interface)
        );
        let mut found = false;
        self.query(&select, &mut |_, _| found = true)?;
        Ok(found)
    }

    fn export(&mut self, to: &mut Exporter, _: &mut ExportPosition) -> Result<bool, Error> {
        self.export_rows(to).map(|()| true)
    }

    /// The table exists since the first change was stored.
    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error> {
        let (table, times, mut changes) = (self.config_change.clone(), times(range), Vec::new());
        if !self.has_table(&table)? {
            return Ok(changes);
        }
        let select = format!(
            "SELECT hostname, router, ip_address, user, lines_added, lines_removed, unix_timestamp(tstamp)
            FROM {table} WHERE TRUE{times}"
        );
        self.query(&select, &mut |networks, row| {
            let router = parse_ip(bytes(row, 2)).map(|ip| ip.to_string()).unwrap_or_default();
            let (host, interface) = (text(row, 0), text(row, 1));
            let network = Network { host, interface, router, ..Network::default() };
            let (added, removed) = (number(row, 4), number(row, 5));
            if let (Some(time), Some(added), Some(removed)) = (time(row, 6), added, removed) {
                let network = networks.id(network);
                changes.push(RouterChange { time, network, user: text(row, 3), added, removed });
            }
        })?;
        Ok(changes)
    }
}

#[cfg(test)]
mod tests;
