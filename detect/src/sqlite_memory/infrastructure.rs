//! Routers and servers as rows of the database.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aw_output::SinkResult;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shm_layout::MacAddr;

use super::{SqliteMemory, ip_bytes, mac_from, mac_number};
use crate::{
    infrastructure::{InfrastructureMemory, Known, Part, Trust},
    network::{full_name, interface_of, stands_for},
};

/// Network, part, key and what is known of it.
pub type InfrastructureRow = (String, Part, String, Known);

/// What a message and a list have: routers, servers and their MACs.
const SELECT: &str =
    "SELECT first, last, trust, mac, number, further, text, network, part, key FROM infrastructure
    WHERE part IN ('dhcp_server', 'dhcp_server_mac', 'router', 'router_mac', 'dns')";

/// Rows of a part in a network, and rows in all: few are real, and a host can invent any number, and any VLAN.
const MAX_OF_PART: i64 = 64;
const MAX_ROWS: i64 = 20_000;
/// What was learned and seen for less than this time only, and not again for that, may be an invention.
const BRIEF_SECONDS: i64 = 3600;
const FORGET_SECONDS: i64 = 86_400;

pub(super) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS infrastructure (network TEXT, part TEXT, key TEXT,
    first INTEGER, last INTEGER, trust INTEGER, mac INTEGER, number INTEGER, further INTEGER, text TEXT,
    PRIMARY KEY (network, part, key)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS infrastructure_of_interface ON infrastructure (network) WHERE part IN ('period', 'limit');";

impl InfrastructureMemory for SqliteMemory {
    fn known(&mut self, network: &str, part: Part, key: &str) -> SinkResult<Option<Known>> {
        let select = "SELECT first, last, trust, mac, number, further, text FROM infrastructure
            WHERE network = ? AND part = ? AND key = ?";
        self.with(|database| {
            let mut select = database.prepare_cached(select)?;
            select.query_row([network, part.name(), key], known_from).optional()
        })
    }

    fn store_known(&mut self, network: &str, part: Part, key: &str, known: &Known) -> SinkResult {
        let max = (self.max_rows as i64).min(MAX_ROWS);
        self.with(|database| {
            let exists = "SELECT EXISTS (SELECT 1 FROM infrastructure WHERE network = ? AND part = ? AND key = ?)";
            let mut exists = database.prepare_cached(exists)?;
            if !exists.query_row([network, part.name(), key], |row| row.get(0))?
                && !make_room(database, (network, part), known, max)?
            {
                return Ok(());
            }
            let Known { first, last, trust, mac, number, further, text } = known;
            let (mac, trust) = (mac.map(mac_number), *trust as i64);
            let row = params![network, part.name(), key, first, last, trust, mac, number, further, text];
            let replace = "REPLACE INTO infrastructure (network, part, key, first, last, trust, mac, number, further, text)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
            database.prepare_cached(replace)?.execute(row).map(drop)
        })
    }

    fn macs(&mut self, network: &str, part: Part, key: &str) -> SinkResult<Vec<(MacAddr, Known)>> {
        // A MAC follows a space; the next character after that is an exclamation mark.
        let (from, to) = (format!("{key} "), format!("{key}!"));
        let select =
            "SELECT first, last, trust, mac, number, further, text, key FROM infrastructure
            WHERE network = ? AND part = ? AND key > ? AND key < ?";
        let mut macs = Vec::new();
        self.with(|database| {
            let mut select = database.prepare_cached(select)?;
            let mut rows = select.query([network, part.name(), &from, &to])?;
            while let Some(row) = rows.next()? {
                let mac = row.get_ref(7)?.as_str()?[from.len()..].parse().ok();
                let known = known_from(row)?;
                macs.extend(mac.map(|mac| (mac, known)));
            }
            Ok(macs)
        })
    }

    fn keys(&mut self, network: &str, part: Part) -> SinkResult<Vec<String>> {
        self.with(|database| {
            let select = "SELECT key FROM infrastructure WHERE network = ? AND part = ?";
            let mut select = database.prepare_cached(select)?;
            select.query_map([network, part.name()], |row| row.get(0))?.collect()
        })
    }
}

impl SqliteMemory {
    /// The interfaces of a ring that learn, or whose alerts are counted.
    pub fn limited_interfaces(&mut self, host: &str, ring: &str) -> SinkResult<Vec<String>> {
        let from = full_name(host, ring, "");
        // The next character after the slash.
        let to = format!("{}0", from.trim_end_matches('/'));
        self.with(|database| {
            let select = "SELECT DISTINCT network FROM infrastructure
                WHERE network >= ? AND network < ? AND part IN ('period', 'limit')";
            let mut select = database.prepare_cached(select)?;
            let name = |row: &Row| Ok(row.get::<_, String>(0)?.split_off(from.len()));
            select.query_map([&from, &to], name)?.collect()
        })
    }

    /// Routers and servers of an interface and its VLANs, and their MACs, as they were learned.
    pub fn learned_infrastructure(
        &mut self,
        interface: &str,
    ) -> SinkResult<Vec<InfrastructureRow>> {
        // A VLAN follows a dot; the next character after that is a slash.
        let (from, to) = (format!("{interface}."), format!("{interface}/"));
        let learned = Trust::Learned as i64;
        self.with(|database| {
            let of = "AND (network = ? OR network >= ? AND network < ?) AND trust = ?";
            let select = format!("{SELECT} {of} ORDER BY network, part DESC, first, key");
            let mut select = database.prepare_cached(&select)?;
            select.query_map(params![interface, from, to, learned], row_from)?.collect()
        })
    }

    /// All routers and servers, and their MACs, for whatever reason they are known.
    pub fn infrastructure(database: &Connection) -> rusqlite::Result<Vec<InfrastructureRow>> {
        // An earlier release has no such table.
        if !aw_database::has_columns(database, "infrastructure", &["network"])? {
            return Ok(Vec::new());
        }
        let select = format!("{SELECT} ORDER BY network, part DESC, trust, first, key");
        database.prepare(&select)?.query_map([], row_from)?.collect()
    }

    /// The interfaces that learn, by their full names: when each began, and for how many seconds.
    pub fn periods(database: &Connection) -> rusqlite::Result<Vec<(String, i64, i64)>> {
        // With the words of the index, which has few rows: this is asked each second.
        let select = "SELECT network, first, further FROM infrastructure
            WHERE part IN ('period', 'limit') AND part = 'period' AND number = 0 ORDER BY network";
        let mut select = database.prepare_cached(select)?;
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
    }

    /// Ends the learning period of each interface. Returns their full names.
    pub fn end_periods(&mut self) -> SinkResult<Vec<String>> {
        self.with(|database| {
            let interfaces = SqliteMemory::periods(database)?;
            let update = "UPDATE infrastructure SET number = 1 WHERE part = 'period'";
            database.execute(update, [])?;
            Ok(interfaces.into_iter().map(|(interface, ..)| interface).collect())
        })
    }

    /// Forgets the routers and servers of the interfaces that the name stands for, of all without one, so that these learn again.
    /// What is never learned stays: who redirects, for example, is not reported again. Forgets there also which MACs claimed these
    /// addresses. Returns the interfaces, by their full names, with the number of their routers and servers.
    pub fn forget_infrastructure(
        &mut self,
        name: Option<&str>,
        addresses: &[IpAddr],
    ) -> SinkResult<Vec<(String, u64)>> {
        self.write_times()?;
        self.with(|database| {
            let mut interfaces: BTreeMap<String, u64> = BTreeMap::new();
            let select = "SELECT network, key, part IN ('dhcp_server', 'router', 'dns') FROM infrastructure";
            let mut select = database.prepare(select)?;
            let (mut rows, mut counted) = (select.query([])?, BTreeSet::new());
            while let Some(row) = rows.next()? {
                let network: String = row.get(0)?;
                let interface = interface_of(&network);
                if name.is_none_or(|name| stands_for(name, interface)) {
                    let is_one = row.get::<_, bool>(2)?;
                    *interfaces.entry(interface.to_owned()).or_default() += u64::from(is_one);
                    if is_one {
                        counted.insert((network, row.get::<_, String>(1)?));
                    }
                }
            }
            let mut delete = database.prepare(
                "DELETE FROM infrastructure WHERE (network = ?1 OR network >= ?1 || '.' AND network < ?1 || '/')
                AND part NOT IN ('redirect', 'refused', 'conflict', 'limit')",
            )?;
            for interface in interfaces.keys() {
                delete.execute([interface])?;
            }
            let mut delete = database.prepare("DELETE FROM station WHERE network = ? AND ip = ?")?;
            for (network, ip, _) in SqliteMemory::stations_at(database, addresses)? {
                let interface = interface_of(&network);
                if name.is_none_or(|name| stands_for(name, interface)) {
                    delete.execute(params![network, ip_bytes(ip)])?;
                    let has_row = counted.contains(&(network.clone(), ip.to_string()));
                    *interfaces.entry(interface.to_owned()).or_default() += u64::from(!has_row);
                }
            }
            Ok(interfaces.into_iter().collect())
        })
    }
}

fn row_from(row: &Row) -> rusqlite::Result<InfrastructureRow> {
    let part = Part::named(&row.get::<_, String>(8)?).unwrap_or(Part::Router);
    Ok((row.get(7)?, part, row.get(9)?, known_from(row)?))
}

fn known_from(row: &Row) -> rusqlite::Result<Known> {
    Ok(Known {
        first: row.get(0)?,
        last: row.get(1)?,
        trust: match row.get(2)? {
            0 => Trust::Learned,
            1 => Trust::Reported,
            2 => Trust::Harmless,
            _ => Trust::Named,
        },
        mac: row.get::<_, Option<i64>>(3)?.map(mac_from),
        number: row.get(4)?,
        further: row.get(5)?,
        text: row.get(6)?,
    })
}

/// Whether there is room for another row. The one that was seen longest ago goes, if it was not learned. Else one that was learned, and
/// was seen for less than an hour: while this one is learned, too, or if it was not seen for a day. Who invents servers on the first
/// day does not take their places for good.
fn make_room(
    database: &Connection,
    (network, part): (&str, Part),
    new: &Known,
    max: i64,
) -> rusqlite::Result<bool> {
    if matches!(part, Part::Limit | Part::Period) {
        return Ok(true); // few of each interface
    }
    let count = |select: &str, of: &[&str]| -> rusqlite::Result<i64> {
        let of = rusqlite::params_from_iter(of);
        database.prepare_cached(select)?.query_row(of, |row| row.get(0))
    };
    let of_part = "SELECT count(*) FROM infrastructure WHERE network = ? AND part = ?";
    let (learned, name) = (Trust::Learned as i64, part.name());
    let idle = if new.trust == Trust::Learned { 0 } else { FORGET_SECONDS };
    let unseen = new.last.saturating_sub(idle);
    if count(of_part, &[network, name])? >= MAX_OF_PART {
        let delete = "DELETE FROM infrastructure WHERE network = ?1 AND part = ?2 AND key IN (SELECT key FROM infrastructure
            WHERE network = ?1 AND part = ?2 AND (trust <> ?3 OR last - first < ?4 AND last <= ?5)
            ORDER BY trust = ?3, last, key LIMIT 1)";
        let of = params![network, name, learned, BRIEF_SECONDS, unseen];
        return Ok(database.execute(delete, of)? > 0);
    }
    if count("SELECT count(*) FROM infrastructure", &[])? < max {
        return Ok(true);
    }
    // A part of them, so that a flood is not slow.
    let delete = "DELETE FROM infrastructure WHERE (network, part, key) IN (SELECT network, part, key FROM infrastructure
        WHERE part NOT IN ('limit', 'period') AND (trust <> ?1 OR last - first < ?2 AND last <= ?3)
        ORDER BY trust = ?1, last LIMIT max(1, ?4 / 20))";
    Ok(database.execute(delete, params![learned, BRIEF_SECONDS, unseen, max])? > 0)
}
