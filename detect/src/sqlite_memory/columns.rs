//! Stations and devices as rows of the database.

use std::net::{IpAddr, Ipv4Addr};

use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::{MacAddr, UnixTime};

use super::{mac_from, mac_number};
use crate::{
    cache::Cached,
    device::{Device, MacClass},
    network::NetworkState,
    station::{Answer, MacClaim, Station},
};

/// Columns that a later release added, at the end of their tables.
const ADDED: [(&str, &str); 23] = [
    ("station", "answer BLOB"),
    ("station", "askers BLOB"),
    ("station", "sharers BLOB"),
    ("device", "addresses_day INTEGER NOT NULL DEFAULT 0"),
    ("device", "probed INTEGER NOT NULL DEFAULT 0"),
    ("device", "denied INTEGER NOT NULL DEFAULT 0"),
    ("device", "denied_day INTEGER NOT NULL DEFAULT 0"),
    ("device", "taken INTEGER NOT NULL DEFAULT 0"),
    ("device", "proxy INTEGER NOT NULL DEFAULT 0"),
    ("device", "probed_since INTEGER NOT NULL DEFAULT 0"),
    ("station", "first BLOB"),
    ("station", "named INTEGER NOT NULL DEFAULT 0"),
    ("station", "learned BLOB"),
    ("station", "no_hosts BLOB"),
    ("device", "learned INTEGER NOT NULL DEFAULT 0"),
    ("device", "named INTEGER NOT NULL DEFAULT 0"),
    ("device", "scanner INTEGER NOT NULL DEFAULT 0"),
    ("station", "no_hosts_untold INTEGER NOT NULL DEFAULT 0"),
    ("station", "ignored INTEGER NOT NULL DEFAULT 0"),
    ("station", "forwarded BLOB"),
    ("network", "learned INTEGER NOT NULL DEFAULT 0"),
    ("network", "learned_random INTEGER NOT NULL DEFAULT 0"),
    ("station", "digested INTEGER NOT NULL DEFAULT 0"),
];
/// What a new column changes. Before devices were learned, a MAC that took many addresses from others became a proxy: an
/// attacker could do that. Of those, `taken` has the number. What an interface's devices were was not stored: it
/// remains unlearned, so that no alert that was in the digest becomes a message.
const ON_ADDED: [(&str, &str, &str); 1] =
    [("device", "learned", "UPDATE device SET proxy = 0 WHERE taken > 0")];

/// Adds the columns that a database of an earlier release does not have.
pub fn add_missing(database: &Connection) -> rusqlite::Result<()> {
    for (table, column) in ADDED {
        let (name, _) = column.split_once(' ').unwrap_or_default();
        let exists = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?) WHERE name = ?)";
        if !database.query_row(exists, [table, name], |row| row.get(0))? {
            let update = ON_ADDED.iter().find(|(of, added, _)| (*of, *added) == (table, name));
            let update = update.map(|(.., update)| *update).unwrap_or_default();
            let alter = format!("ALTER TABLE {table} ADD COLUMN {column}");
            database.execute_batch(&format!("BEGIN; {alter}; {update}; COMMIT"))?;
        }
    }
    Ok(())
}

impl Cached for Station {
    fn timeless(&self) -> Station {
        let timeless = |claim: &MacClaim| MacClaim { time: 0, ..*claim };
        let claims = self.claims.iter().map(timeless).collect();
        let probe = self.probe.as_ref().map(timeless);
        let no_hosts = self.no_hosts.iter().map(timeless).collect();
        Station { claims, probe, no_hosts, answer: None, ..self.clone() }
    }
}

impl Cached for Device {
    fn timeless(&self) -> Device {
        Device { last: 0, ..self.clone() }
    }
}

pub fn station_from(row: &Row) -> rusqlite::Result<Station> {
    let bytes = |column: &str| row.get::<_, Option<Vec<u8>>>(column).map(Option::unwrap_or_default);
    let macs = |bytes: Vec<u8>| bytes.as_chunks().0.iter().copied().map(MacAddr::new).collect();
    let one = |bytes: Vec<u8>| bytes.as_chunks().0.first().map(claim_from);
    let claims = |bytes: Vec<u8>| bytes.as_chunks().0.iter().map(claim_from).collect();
    let answer = |MacClaim { mac, time }| Answer { mac, time: UnixTime::from_nanos(time) };
    Ok(Station {
        claims: claims(bytes("claims")?),
        probe: one(bytes("probe")?),
        last_alert: row.get("told")?,
        suppressed: row.get("untold")?,
        last_duplicate: row.get("told_duplicate")?,
        answer: one(bytes("answer")?).map(answer),
        askers: macs(bytes("askers")?),
        sharers: macs(bytes("sharers")?),
        first: one(bytes("first")?),
        named: row.get("named")?,
        learned: macs(bytes("learned")?),
        no_hosts: claims(bytes("no_hosts")?),
        no_hosts_suppressed: row.get("no_hosts_untold")?,
        last_ignored: row.get("ignored")?,
        forwarded: claims(bytes("forwarded")?),
        last_digested: row.get("digested")?,
    })
}

pub fn replace_station(
    database: &Connection,
    network: &str,
    ip: IpAddr,
    state: &Station,
) -> rusqlite::Result<()> {
    let macs = |macs: &[MacAddr]| macs.iter().flat_map(|mac| mac.octets()).collect::<Vec<u8>>();
    let claims = |claims: &[MacClaim]| claims.iter().flat_map(claim_bytes).collect::<Vec<u8>>();
    let answer = state.answer.map(|Answer { mac, time }| MacClaim { mac, time: time.as_nanos() });
    let row = params![
        network,
        ip_bytes(ip),
        state
            .claims
            .iter()
            .chain(&state.probe)
            .chain(&state.no_hosts)
            .next()
            .map_or(0, |claim| claim.time),
        claims(&state.claims),
        state.probe.as_ref().map(claim_bytes),
        state.last_alert,
        state.suppressed,
        state.last_duplicate,
        answer.as_ref().map(claim_bytes),
        macs(&state.askers),
        macs(&state.sharers),
        state.first.as_ref().map(claim_bytes),
        state.named,
        macs(&state.learned),
        claims(&state.no_hosts),
        state.no_hosts_suppressed,
        state.last_ignored,
        claims(&state.forwarded),
        state.last_digested,
    ];
    // With names, so that a release that does not know a column of a later one can still write.
    let replace = "REPLACE INTO station (network, ip, last, claims, probe, told, untold, told_duplicate, answer, askers,
            sharers, first, named, learned, no_hosts, no_hosts_untold, ignored, forwarded, digested)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    database.prepare_cached(replace)?.execute(row).map(drop)
}

pub fn device_from(row: &Row) -> rusqlite::Result<Device> {
    Ok(Device {
        first: row.get("first")?,
        last: row.get("last")?,
        addresses: row.get("addresses")?,
        unknown_day: row.get("unknown_day")?,
        silent: row.get("silent")?,
        addresses_day: row.get("addresses_day")?,
        probed: row.get("probed")?,
        denied: row.get("denied")?,
        denied_day: row.get("denied_day")?,
        proxy: row.get("proxy")?,
        probed_since: row.get("probed_since")?,
        learned: row.get("learned")?,
        named: row.get("named")?,
        scanner: row.get("scanner")?,
    })
}

pub fn replace_device(database: &Connection, mac: MacAddr, state: &Device) -> rusqlite::Result<()> {
    let row = params![
        mac_number(mac),
        state.first,
        state.last,
        state.addresses,
        state.unknown_day,
        state.silent,
        state.addresses_day,
        state.probed,
        state.denied,
        state.denied_day,
        state.proxy,
        state.probed_since,
        state.learned,
        state.named,
        state.scanner,
    ];
    // `taken` is of an earlier release.
    let replace = "REPLACE INTO device (mac, first, last, addresses, unknown_day, silent, addresses_day, probed, denied,
            denied_day, proxy, probed_since, learned, named, scanner)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    database.prepare_cached(replace)?.execute(row).map(drop)
}

pub fn select_network(
    database: &Connection,
    network: &str,
) -> rusqlite::Result<Option<NetworkState>> {
    let state = |row: &Row| {
        Ok(NetworkState {
            first: row.get("first")?,
            denied: row.get("denied")?,
            denied_since: row.get("denied_since")?,
            reported: row.get("reported")?,
            learned: row.get("learned")?,
            learned_random: Some(mac_from(row.get("learned_random")?))
                .filter(|mac| MacClass::of(*mac) == MacClass::Random),
        })
    };
    let mut select = database.prepare_cached("SELECT * FROM network WHERE network = ?")?;
    select.query_row([network], state).optional()
}

pub fn replace_network(
    database: &Connection,
    network: &str,
    state: &NetworkState,
) -> rusqlite::Result<()> {
    let NetworkState { first, denied, denied_since, reported, learned, learned_random } = state;
    let random = learned_random.map_or(0, mac_number);
    let row = params![network, first, denied, denied_since, reported, learned, random];
    let replace = "REPLACE INTO network (network, first, denied, denied_since, reported, learned, learned_random)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    database.prepare_cached(replace)?.execute(row).map(drop)
}

pub fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

pub fn ip_from(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn claim_bytes(claim: &MacClaim) -> [u8; 14] {
    let mut bytes = [0; 14];
    bytes[..6].copy_from_slice(&claim.mac.octets());
    bytes[6..].copy_from_slice(&claim.time.to_be_bytes());
    bytes
}

fn claim_from(bytes: &[u8; 14]) -> MacClaim {
    let [a, b, c, d, e, f, time @ ..] = *bytes;
    MacClaim { mac: MacAddr::new([a, b, c, d, e, f]), time: i64::from_be_bytes(time) }
}
