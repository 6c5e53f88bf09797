//! Reads the table `log` of `aw-mysql` or addrwatch 1.0. Its content is not trusted: a value that is not an
//! address or a MAC is skipped.
//!
//! The table has whole seconds, and neither rings, outer VLANs nor routers.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use aw_mysql::{
    Conn, MysqlError, NO_SUCH_TABLE, Row, ServerConfig, TableNames, TablePrefix, cause,
    connection_remedy, hex_ip, quoted,
};
use aw_peer::Budget;
use aw_service::{Error, failed, warn};
use shm_layout::{Evidence, MacAddr, UnixTime};

use crate::clocks::Clocks;
use crate::history_reader::{
    AddressSighting, EachSighting, FRAME_SOURCE, HistoryReader, NO_CLAIM, NO_USE, Nearer,
    NearestSightings, Network, NetworkIndex, PairingSummary, RouterChange, TimeRange, evidence,
    parse_ip,
};

/// Times in UTC: in another zone an hour may come twice.
const BEGIN: &str = "SET time_zone = '+00:00', sql_mode = ''";

/// For the login, and for a question: a large table without an index takes long, and the user can interrupt it.
const LOGIN: Budget =
    Budget { time: Duration::from_secs(20), silence: Duration::from_secs(10), bytes: 1 << 20 };
const QUESTION: Budget =
    Budget { time: Duration::from_secs(3600), silence: Duration::from_secs(3600), bytes: 16 << 30 };

/// Numbers of server errors.
const UNKNOWN_COLUMN: u16 = 1054;
const DENIED: [u16; 5] = [1044, 1045, 1142, 1143, 1698];

/// The columns of a pairing's network and its MAC, in the order that [`pairing`] expects.
const PAIRING: &str = "hostname, interface, vlan_tag, mac_address";
/// The index that answers `nearest` in few steps.
const PAIRING_INDEX: &str =
    "ip_address, mac_address, vlan_tag, interface, hostname, origin_id, tstamp";
const NANOS: i64 = 1_000_000_000;

pub struct MysqlReader {
    name: String,
    log: String,
    config_change: String,
    conn: Conn,
    networks: NetworkIndex,
    clocks: Clocks,
}

impl MysqlReader {
    pub fn open(config: &ServerConfig, prefix: &TablePrefix) -> Result<MysqlReader, Error> {
        let TableNames { log, config_change, .. } = TableNames::new(prefix);
        let name = format!("{} at {}", config.database(), config.server());
        let conn = connect(config).map_err(|error| failure(&name, &log, &error))?;
        let networks = NetworkIndex::default();
        let clocks = Clocks::without_rings();
        let mut history = MysqlReader { name, log, config_change, conn, networks, clocks };
        history.check()?;
        Ok(history)
    }

    /// Checks that the table has the columns. Without the right indexes, it warns that queries are slow.
    fn check(&mut self) -> Result<(), Error> {
        let log = self.log.clone();
        let columns = format!("SELECT tstamp, ip_address, origin_id, {PAIRING} FROM {log} LIMIT 0");
        self.query(&columns, &mut |_, _| ())?;
        let indexes = format!(
            "SELECT sum(column_name = 'ip_address' AND seq_in_index = 1) = 0,
                sum(column_name = 'hostname' AND seq_in_index = 5) > 0
                    AND sum(column_name = 'origin_id' AND seq_in_index = 6) = 0
            FROM information_schema.statistics WHERE table_schema = database() AND table_name = '{}'",
            log.trim_matches('`')
        );
        let (mut missing, mut is_older) = (false, false);
        self.query(&indexes, &mut |_, row| {
            [missing, is_older] = [0, 1].map(|column| number(row, column) == Some(1));
        })?;
        if is_older {
            warn(format_args!(
                "the index by pairing of {log} is of an earlier release: queries are slow (CREATE INDEX pairing_origin ON {log} ({PAIRING_INDEX}))"
            ));
        }
        if missing {
            warn(format_args!(
                "table {log} has no index by address: queries are slow (CREATE INDEX ip_address_tstamp ON {log} (ip_address, tstamp))"
            ));
        }
        Ok(())
    }

    /// Passes each row of a result to `each`, as it arrives.
    fn query(
        &mut self,
        sql: &str,
        each: &mut dyn FnMut(&mut NetworkIndex, &Row),
    ) -> Result<(), Error> {
        let MysqlReader { name, log, conn, networks, .. } = self;
        conn.begin(QUESTION);
        conn.query_each(sql, &mut |row| each(networks, row))
            .map_err(|error| failure(name, log, &error))
    }
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

    /// Grouped, with a time: so the server takes one step in an index for each address, and not for each row.
    fn addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let (log, times) = (&self.log, times(range));
        let select = format!(
            "SELECT ip_address, max(tstamp) FROM {log} WHERE TRUE{times} GROUP BY ip_address"
        );
        let mut found = Vec::new();
        self.query(&select, &mut |_, row| found.extend(parse_ip(bytes(row, 0))))?;
        Ok(found)
    }

    fn addresses_of(
        &mut self,
        mac: MacAddr,
        range: TimeRange,
    ) -> Result<Vec<(IpAddr, bool)>, Error> {
        let (log, mac, times) = (&self.log, mac.number(), times(range));
        let select = format!(
            "SELECT ip_address, max(origin_id NOT IN ({NO_USE})) FROM {log} WHERE mac_address = 0x{mac:012x}{times}
            GROUP BY ip_address"
        );
        let mut found = Vec::new();
        self.query(&select, &mut |_, row| {
            found.extend(parse_ip(bytes(row, 0)).map(|ip| (ip, number(row, 1) != Some(0))));
        })?;
        Ok(found)
    }

    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error> {
        let (log, address, times) = (&self.log, hex_ip(ip), times(range));
        let select = format!(
            "SELECT {PAIRING}, unix_timestamp(tstamp), origin_id FROM {log} WHERE ip_address = {address}{times}
            ORDER BY tstamp"
        );
        self.query(&select, &mut |networks, row| {
            if let (Some((network, mac)), Some(time)) = (pairing(networks, row), time(row, 4)) {
                let evidence = origin(row, 5);
                each(AddressSighting { time, network, mac, evidence });
            }
        })
    }

    /// Two queries, because the server can answer each of them from an index alone, in one step for each
    /// pairing and origin. All rows have the same address, but MariaDB uses the index only if it is grouped by it, too.
    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        let (log, address) = (self.log.clone(), hex_ip(ip));
        let next = UnixTime::from_nanos(at.as_nanos().saturating_add(1));
        let until = TimeRange { to: next, ..TimeRange::ALL };
        let since = TimeRange { from: next, ..TimeRange::ALL };
        let mut found: HashMap<(usize, MacAddr), NearestSightings> = HashMap::new();
        for (end, nearer, range) in
            [("max", UnixTime::max as Nearer, until), ("min", UnixTime::min, since)]
        {
            let times = times(range);
            let select = format!(
                "SELECT {PAIRING}, unix_timestamp({end}(tstamp)), origin_id FROM {log} WHERE ip_address = {address}{times}
                GROUP BY ip_address, mac_address, vlan_tag, interface, hostname, origin_id"
            );
            self.query(&select, &mut |networks, row| {
                let (Some((network, mac)), Some(time)) = (pairing(networks, row), time(row, 4))
                else {
                    return;
                };
                let nearest = found
                    .entry((network, mac))
                    .or_insert_with(|| NearestSightings::new(network, mac));
                let side = if end == "max" { &mut nearest.before } else { &mut nearest.after };
                side.add(origin(row, 5), time, nearer);
            })?;
        }
        Ok(found.into_values().collect())
    }

    fn pairings(&mut self, range: TimeRange) -> Result<Vec<PairingSummary>, Error> {
        let (log, times) = (&self.log, times(range));
        let [_, set] = self.clocks.asked(range).limits();
        let set = set.seconds().max(0); // a limit that the server can store
        let select = format!(
            "SELECT {PAIRING}, ip_address, count(*), unix_timestamp(max(tstamp)),
                unix_timestamp(coalesce(min(CASE WHEN tstamp >= from_unixtime({set}) THEN tstamp END), min(tstamp))),
                max(origin_id NOT IN ({NO_CLAIM})), max(origin_id = {FRAME_SOURCE})
            FROM {log} WHERE TRUE{times} GROUP BY ip_address, mac_address, vlan_tag, interface, hostname"
        );
        let mut pairings = Vec::new();
        self.query(&select, &mut |networks, row| {
            let pairing = pairing(networks, row).and_then(|(network, mac)| {
                let (ip, count) = (parse_ip(bytes(row, 4))?, number(row, 5)? as u64);
                let (last, first) = (time(row, 6)?, time(row, 7)?);
                // An origin that is null is that of another program.
                let is_claimed = number(row, 8) != Some(0);
                let is_answered = !is_claimed && number(row, 9) == Some(1);
                Some(PairingSummary {
                    network,
                    mac,
                    ip,
                    first,
                    last,
                    count,
                    is_claimed,
                    is_answered,
                })
            });
            pairings.extend(pairing);
        })?;
        Ok(pairings)
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
        self.conn.begin(QUESTION);
        let found = self.conn.query_first(select);
        found.map(|found| found.is_some()).map_err(|error| failure(&self.name, log, &error))
    }

    /// The table exists since the first change was stored.
    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error> {
        let (table, times) = (self.config_change.clone(), times(range));
        let exists_query = format!(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = '{}'",
            table.trim_matches('`')
        );
        let (mut exists, mut changes) = (false, Vec::new());
        self.query(&exists_query, &mut |_, row| exists = number(row, 0) == Some(1))?;
        if !exists {
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

fn connect(config: &ServerConfig) -> Result<Conn, MysqlError> {
    let mut conn = config.connect(BEGIN, LOGIN)?;
    conn.query_drop("SET SESSION TRANSACTION READ ONLY")?;
    Ok(conn)
}

fn failure(name: &str, log: &str, error: &MysqlError) -> Error {
    let remedy = match error {
        MysqlError::Server(error) if error.code == NO_SUCH_TABLE => {
            " (set --prefix; convert tables of addrwatch 0.8 with migrate_0.8_to_1.0.sql)".into()
        }
        MysqlError::Server(error) if error.code == UNKNOWN_COLUMN => {
            " (not a table of aw-mysql or addrwatch 1.0: choose another with --database or --prefix)".into()
        }
        MysqlError::Server(error) if DENIED.contains(&error.code) => {
            format!(
                " (set user and password in the section [addrwatch] of --config; GRANT SELECT ON {log} TO the user)"
            )
        }
        error => connection_remedy(&cause(error)).into(),
    };
    failed(format_args!("read {name}: {}{remedy}", cause(error)))
}

/// A condition on the time, to be added to others. A stored time is a whole second. A limit that the server
/// cannot store is omitted, because comparisons with it fail.
fn times(range: TimeRange) -> String {
    // The first second that begins at this time or later.
    let second = |time: UnixTime| {
        let nanos = time.as_nanos();
        nanos.div_euclid(NANOS) + i64::from(nanos.rem_euclid(NANOS) > 0)
    };
    let mut text = String::new();
    let from = second(range.from);
    if from > 0 {
        text += &format!(" AND tstamp >= from_unixtime({})", from.min(i32::MAX.into()));
    }
    match second(range.to) {
        ..=0 => text += " AND FALSE",
        to if to <= i32::MAX.into() => text += &format!(" AND tstamp < from_unixtime({to})"),
        _ => {}
    }
    text
}

/// The bytes of a column; none if it is null or missing.
fn bytes(row: &Row, column: usize) -> &[u8] {
    row.get(column).and_then(Option::as_deref).unwrap_or_default()
}

fn text(row: &Row, column: usize) -> String {
    String::from_utf8_lossy(bytes(row, column)).into_owned()
}

/// A number without its fraction.
fn number(row: &Row, column: usize) -> Option<i64> {
    let text = std::str::from_utf8(bytes(row, column)).ok()?;
    text.split('.').next()?.parse().ok()
}

fn origin(row: &Row, column: usize) -> Evidence {
    evidence(number(row, column).unwrap_or(i64::MAX))
}

fn time(row: &Row, column: usize) -> Option<UnixTime> {
    Some(UnixTime::from_nanos(number(row, column)?.checked_mul(NANOS)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds() {
        let range =
            |from, to| TimeRange { from: UnixTime::from_nanos(from), to: UnixTime::from_nanos(to) };
        let after_2038 = 2_147_483_648 * NANOS;
        for (range, expected) in [
            (TimeRange::ALL, ""),
            (
                range(5 * NANOS, 7 * NANOS),
                " AND tstamp >= from_unixtime(5) AND tstamp < from_unixtime(7)",
            ),
            (
                range(5 * NANOS + 1, 6 * NANOS + 1),
                " AND tstamp >= from_unixtime(6) AND tstamp < from_unixtime(7)",
            ),
            (range(-1, after_2038), ""),
            (range(after_2038, i64::MAX), " AND tstamp >= from_unixtime(2147483647)"),
            (range(i64::MIN, 0), " AND FALSE"),
            (range(i64::MIN, -1), " AND FALSE"),
        ] {
            assert_eq!(times(range), expected);
        }
    }
}
