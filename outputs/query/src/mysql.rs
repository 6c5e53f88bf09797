//! A history that `aw-mysql` keeps, or that addrwatch 1.0 kept: the table `log`. It is only read, and its
//! content is not trusted: what is no address or MAC is passed over.
//!
//! What the table does not have, nobody can tell: times are whole seconds, and there are neither outer
//! VLANs nor routers.

use std::{collections::HashMap, net::IpAddr};

use aw_mysql::{Config, NO_SUCH_TABLE, Prefix, Tables, cause, hex};
use aw_service::{Error, failed, warn};
use mysql::{Conn, OptsBuilder, Row, Value, prelude::Queryable};
use shm_layout::{MacAddr, UnixTime};

use crate::history::{Around, ConfigChange, History, Network, Pairing, Range, Result, Sighting};

/// Times in UTC: in another zone an hour may come twice.
const BEGIN: &str = "SET time_zone = '+00:00', sql_mode = ''";

/// Errors of servers, by number.
const UNKNOWN_COLUMN: u16 = 1054;
const DENIED: [u16; 5] = [1044, 1045, 1142, 1143, 1698];

/// The columns of a pairing's place and its MAC, as [`Mysql::pairing`] takes them.
const PAIRING: &str = "hostname, interface, vlan_tag, mac_address";
const NANOS: i64 = 1_000_000_000;

pub struct Mysql {
    name: String,
    log: String,
    config_change: String,
    link: Conn,
    networks: Vec<Network>,
    known: HashMap<Network, usize>,
}

impl Mysql {
    pub fn open(config: &Config, prefix: &Prefix) -> Result<Mysql> {
        let Tables { log, config_change, .. } = Tables::new(prefix);
        let name = format!("{} at {}", config.database(), config.server());
        let link = connect(config).map_err(|error| fault(&name, &log, &error))?;
        let (networks, known) = (Vec::new(), HashMap::new());
        let mut history = Mysql { name, log, config_change, link, networks, known };
        history.check()?;
        Ok(history)
    }

    /// The table has the columns; and an index, or whoever asks has to be patient.
    fn check(&mut self) -> Result {
        let log = self.log.clone();
        let columns = format!("SELECT tstamp, ip_address, {PAIRING} FROM {log} LIMIT 0");
        self.ask(&columns, &mut |_, _| ())?;
        let indexes = format!(
            "SELECT sum(column_name = 'ip_address' AND seq_in_index = 1) = 0 FROM information_schema.statistics
            WHERE table_schema = database() AND table_name = '{}'",
            log.trim_matches('`')
        );
        let mut missing = false;
        self.ask(&indexes, &mut |_, row| missing = number(row, 0) == Some(1))?;
        if missing {
            warn(format_args!(
                "table {log} has no index by address, so an answer takes long (CREATE INDEX ip_address_tstamp ON {log} (ip_address, tstamp))"
            ));
        }
        Ok(())
    }

    /// Hands each row of an answer on, as it comes.
    fn ask(&mut self, question: &str, each: &mut dyn FnMut(&mut Names, &Row)) -> Result {
        let Mysql { name, log, link, networks, known, .. } = self;
        let mut names = Names { networks, known };
        let mut all = || -> mysql::Result<()> {
            for row in link.query_iter(question)? {
                each(&mut names, &row?);
            }
            Ok(())
        };
        all().map_err(|error| fault(name, log, &error))
    }
}

/// The networks named so far.
struct Names<'a> {
    networks: &'a mut Vec<Network>,
    known: &'a mut HashMap<Network, usize>,
}

impl Names<'_> {
    /// The network and MAC of a row that begins with the columns of [`PAIRING`].
    fn pairing(&mut self, row: &Row) -> Option<(usize, MacAddr)> {
        let text = |column| String::from_utf8_lossy(bytes(row, column)).into_owned();
        let network = Network {
            host: text(0),
            interface: text(1),
            vlan: number(row, 2)?,
            ..Network::default()
        };
        let mac = MacAddr::new(bytes(row, 3).try_into().ok()?);
        Some((self.number(network), mac))
    }

    fn number(&mut self, network: Network) -> usize {
        let index = *self.known.entry(network.clone()).or_insert(self.networks.len());
        if index == self.networks.len() {
            self.networks.push(network);
        }
        index
    }
}

impl History for Mysql {
    fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Grouped, with a time: so a server takes one step of an index for each address, not for each row.
    fn addresses(&mut self, mac: Option<MacAddr>, range: Range) -> Result<Vec<IpAddr>> {
        let of_mac = mac.map(|mac| format!("mac_address = {}", hex(&mac.octets())));
        let filter = of_mac.as_deref().unwrap_or("TRUE");
        let (log, times) = (&self.log, times(range));
        let select = format!(
            "SELECT ip_address, max(tstamp) FROM {log} WHERE {filter}{times} GROUP BY ip_address"
        );
        let mut found = Vec::new();
        self.ask(&select, &mut |_, row| found.extend(ip(row, 0)))?;
        Ok(found)
    }

    fn sightings(&mut self, ip: IpAddr, range: Range, each: &mut dyn FnMut(Sighting)) -> Result {
        let (log, address, times) = (&self.log, hex_of(ip), times(range));
        let select = format!(
            "SELECT {PAIRING}, unix_timestamp(tstamp) FROM {log} WHERE ip_address = {address}{times} ORDER BY tstamp"
        );
        self.ask(&select, &mut |names, row| {
            if let (Some((network, mac)), Some(time)) = (names.pairing(row), time(row, 4)) {
                each(Sighting { time, network, mac });
            }
        })
    }

    /// Two questions, for a server can answer each from an index alone, one step for each pairing; the
    /// address is the same in each group, and without it there MariaDB does not see that.
    fn around(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<Around>> {
        let (log, address) = (self.log.clone(), hex_of(ip));
        let next = UnixTime::from_nanos(at.as_nanos().saturating_add(1));
        let until = Range { to: next, ..Range::ALL };
        let since = Range { from: next, ..Range::ALL };
        let mut found: HashMap<(usize, MacAddr), [Option<UnixTime>; 2]> = HashMap::new();
        for (side, (end, range)) in [("max", until), ("min", since)].into_iter().enumerate() {
            let times = times(range);
            let select = format!(
                "SELECT {PAIRING}, unix_timestamp({end}(tstamp)) FROM {log} WHERE ip_address = {address}{times}
                GROUP BY ip_address, mac_address, vlan_tag, interface, hostname"
            );
            self.ask(&select, &mut |names, row| {
                if let (Some(pairing), Some(time)) = (names.pairing(row), time(row, 4)) {
                    found.entry(pairing).or_default()[side] = Some(time);
                }
            })?;
        }
        let found = found.into_iter();
        Ok(found
            .map(|((network, mac), [before, after])| Around { network, mac, before, after })
            .collect())
    }

    fn pairings(&mut self, range: Range) -> Result<Vec<Pairing>> {
        let (log, times) = (&self.log, times(range));
        let select = format!(
            "SELECT {PAIRING}, ip_address, unix_timestamp(min(tstamp)), unix_timestamp(max(tstamp)), count(*)
            FROM {log} WHERE TRUE{times} GROUP BY ip_address, mac_address, vlan_tag, interface, hostname"
        );
        let mut pairings = Vec::new();
        self.ask(&select, &mut |names, row| {
            let (pairing, ip) = (names.pairing(row), ip(row, 4));
            let (first, last, count) = (time(row, 5), time(row, 6), number(row, 7));
            if let (Some((network, mac)), Some(ip), Some(first), Some(last), Some(count)) =
                (pairing, ip, first, last, count)
            {
                pairings.push(Pairing { network, mac, ip, first, last, count: count as u64 });
            }
        })?;
        Ok(pairings)
    }

    /// Before the first one there is no table for them.
    fn config_changes(&mut self, range: Range) -> Result<Vec<ConfigChange>> {
        let (table, times) = (self.config_change.clone(), times(range));
        let is_there = format!(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = '{}'",
            table.trim_matches('`')
        );
        let (mut there, mut changes) = (false, Vec::new());
        self.ask(&is_there, &mut |_, row| there = number(row, 0) == Some(1))?;
        if !there {
            return Ok(changes);
        }
        let select = format!(
            "SELECT hostname, router, ip_address, user, lines_added, lines_removed, unix_timestamp(tstamp)
            FROM {table} WHERE TRUE{times}"
        );
        self.ask(&select, &mut |names, row| {
            let text = |column| String::from_utf8_lossy(bytes(row, column)).into_owned();
            let router = ip(row, 2).map(|ip| ip.to_string()).unwrap_or_default();
            let network =
                Network { host: text(0), interface: text(1), router, ..Network::default() };
            let (added, removed) = (number(row, 4), number(row, 5));
            if let (Some(time), Some(added), Some(removed)) = (time(row, 6), added, removed) {
                let network = names.number(network);
                changes.push(ConfigChange { time, network, user: text(3), added, removed });
            }
        })?;
        Ok(changes)
    }
}

/// Without a bound on the time that an answer takes: whoever asks may wait, or not.
fn connect(config: &Config) -> mysql::Result<Conn> {
    let options = OptsBuilder::from_opts(config.options(BEGIN)).read_timeout(None);
    let mut link = Conn::new(options.tcp_keepalive_time_ms(Some(30_000)))?;
    link.query_drop("SET SESSION TRANSACTION READ ONLY")?; // whatever the user may do
    Ok(link)
}

fn fault(name: &str, log: &str, error: &mysql::Error) -> Error {
    let help = match error {
        mysql::Error::MySqlError(error) if error.code == NO_SUCH_TABLE => {
            " (--prefix, or tables of addrwatch 0.8: contrib/migrate_0.8_to_1.0.sql)".into()
        }
        mysql::Error::MySqlError(error) if error.code == UNKNOWN_COLUMN => {
            " (it is not a table of aw-mysql or addrwatch 1.0)".into()
        }
        mysql::Error::MySqlError(error) if DENIED.contains(&error.code) => {
            format!(
                " (user and password are in the section [addrwatch] of --config; GRANT SELECT ON {log} TO the user)"
            )
        }
        _ => String::new(),
    };
    failed(format_args!("read {name}: {}{help}", cause(error)))
}

/// As a condition behind others. A stored time is its whole second. A time that a server cannot hold is
/// left out: it compares with nothing.
fn times(range: Range) -> String {
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

/// A cell; nothing if it is null, or not there.
fn bytes(row: &Row, column: usize) -> &[u8] {
    match row.as_ref(column) {
        Some(Value::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

/// A whole number, or what is whole of it.
fn number(row: &Row, column: usize) -> Option<i64> {
    let text = std::str::from_utf8(bytes(row, column)).ok()?;
    text.split('.').next()?.parse().ok()
}

fn time(row: &Row, column: usize) -> Option<UnixTime> {
    Some(UnixTime::from_nanos(number(row, column)?.checked_mul(NANOS)?))
}

/// An address of 4 or 16 bytes.
fn ip(row: &Row, column: usize) -> Option<IpAddr> {
    let bytes = bytes(row, column);
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

fn hex_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => hex(&ip.octets()),
        IpAddr::V6(ip) => hex(&ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds() {
        let range =
            |from, to| Range { from: UnixTime::from_nanos(from), to: UnixTime::from_nanos(to) };
        let after_2038 = 2_147_483_648 * NANOS;
        for (range, expected) in [
            (Range::ALL, ""),
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
