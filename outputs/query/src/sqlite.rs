//! A history that `aw-sqlite` keeps. It is read only, and its content is not trusted: what is no
//! address or MAC is passed over, what is no text is an error.

use std::{collections::HashMap, net::IpAddr, path::Path, time::Duration};

use aw_service::{Error, failed, warn};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params, types::ValueRef};
use shm_layout::{MacAddr, UnixTime};

use crate::history::{Around, ConfigChange, History, Network, Pairing, Range, Result, Sighting};

/// Of aw-sqlite's files: "AWhi", and the version of its tables.
const APPLICATION: i32 = 0x4157_6869;
const VERSION: i32 = 1;

pub struct Sqlite {
    path: String,
    database: Connection,
    networks: Vec<Network>,
    /// Which network a place belongs to.
    places: HashMap<i64, usize>,
}

impl Sqlite {
    pub fn open(path: &Path) -> Result<Sqlite> {
        let shown = path.display().to_string();
        let database = connect(path).map_err(|error| fault(&shown, error))?;
        let mut history =
            Sqlite { path: shown, database, networks: Vec::new(), places: HashMap::new() };
        history.check()?;
        history.asked(Sqlite::read_places)?;
        Ok(history)
    }

    fn asked<T>(&mut self, ask: impl FnOnce(&mut Sqlite) -> rusqlite::Result<T>) -> Result<T> {
        ask(self).map_err(|error| fault(&self.path, error))
    }

    fn check(&mut self) -> Result {
        let number = |name: &'static str| {
            move |history: &mut Sqlite| {
                history.database.pragma_query_value(None, name, |r| r.get(0))
            }
        };
        let application: i32 = self.asked(number("application_id"))?;
        let version: i32 = self.asked(number("user_version"))?;
        let path = &self.path;
        if application != APPLICATION {
            return Err(failed(format_args!(
                "read {path}: it is not a database of aw-sqlite (aw-sqlite --database {path} carries one of addrwatch's on)"
            )));
        }
        if version != VERSION {
            return Err(failed(format_args!(
                "read {path}: its tables are of version {version}, and this release knows {VERSION}"
            )));
        }
        let old = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%\\_old' ESCAPE '\\'";
        if self.asked(|history| history.database.query_row(old, [], |row| row.get(0)))? {
            warn(
                "rows of addrwatch's table that aw-sqlite has not carried over yet are not looked at",
            );
        }
        Ok(())
    }

    fn read_places(&mut self) -> rusqlite::Result<()> {
        let select = "SELECT id, host, interface, vlan, outer_vlan, router FROM place";
        let mut known = HashMap::new();
        let mut statement = self.database.prepare(select)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let network = Network {
                host: row.get(1)?,
                interface: row.get(2)?,
                vlan: row.get(3)?,
                outer_vlan: row.get(4)?,
                router: row.get(5)?,
            };
            let index = *known.entry(network.clone()).or_insert(self.networks.len());
            if index == self.networks.len() {
                self.networks.push(network);
            }
            self.places.insert(row.get(0)?, index);
        }
        Ok(())
    }

    /// The network and MAC of a pairing, in its columns `mac` and `place`; none if they make no sense.
    fn pairing(&self, mac: i64, place: i64) -> Option<(usize, MacAddr)> {
        let [0, 0, octets @ ..] = mac.to_be_bytes() else { return None };
        Some((*self.places.get(&place)?, MacAddr::new(octets)))
    }

    /// The pairings of an address: number, network, MAC.
    fn pairings_of(&self, ip: IpAddr) -> rusqlite::Result<Vec<(i64, usize, MacAddr)>> {
        let select = "SELECT id, mac, place FROM pairing WHERE address = ?";
        let mut statement = self.database.prepare_cached(select)?;
        let rows = statement.query_map([bytes(&ip)], |row| {
            let id = row.get(0)?;
            let found = self.pairing(row.get(1)?, row.get(2)?);
            Ok(found.map(|(network, mac)| (id, network, mac)))
        })?;
        rows.filter_map(rusqlite::Result::transpose).collect()
    }
}

impl History for Sqlite {
    fn networks(&self) -> &[Network] {
        &self.networks
    }

    fn addresses(&mut self, mac: Option<MacAddr>, range: Range) -> Result<Vec<IpAddr>> {
        self.asked(|history| {
            let select = "SELECT DISTINCT address FROM pairing WHERE (?1 IS NULL OR mac = ?1)
                AND EXISTS (SELECT 1 FROM sighting WHERE pairing = id AND time >= ?2 AND time < ?3)";
            let only = "SELECT DISTINCT address FROM pairing WHERE mac = ?1
                AND EXISTS (SELECT 1 FROM sighting WHERE pairing = id AND time >= ?2 AND time < ?3)";
            let select = if mac.is_some() { only } else { select };
            let (from, to) = (range.from.as_nanos(), range.to.as_nanos());
            let mut statement = history.database.prepare_cached(select)?;
            let rows = statement.query_map(params![mac.map(number), from, to], |row| ip(row, 0))?;
            rows.filter_map(rusqlite::Result::transpose).collect()
        })
    }

    fn sightings(&mut self, ip: IpAddr, range: Range, each: &mut dyn FnMut(Sighting)) -> Result {
        self.asked(|history| {
            let known: HashMap<_, _> = history
                .pairings_of(ip)?
                .into_iter()
                .map(|(id, network, mac)| (id, (network, mac)))
                .collect();
            let select = "SELECT time, pairing FROM sighting
                WHERE pairing IN (SELECT id FROM pairing WHERE address = ?)
                AND time >= ? AND time < ? ORDER BY time";
            let mut statement = history.database.prepare_cached(select)?;
            let (from, to) = (range.from.as_nanos(), range.to.as_nanos());
            let mut rows = statement.query(params![bytes(&ip), from, to])?;
            while let Some(row) = rows.next()? {
                if let Some((network, mac)) = known.get(&row.get(1)?) {
                    let time = UnixTime::from_nanos(row.get(0)?);
                    each(Sighting { time, network: *network, mac: *mac });
                }
            }
            Ok(())
        })
    }

    fn around(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<Around>> {
        self.asked(|history| {
            let select =
                "SELECT (SELECT max(time) FROM sighting WHERE pairing = ?1 AND time <= ?2),
                (SELECT min(time) FROM sighting WHERE pairing = ?1 AND time > ?2)";
            let mut found: Vec<Around> = Vec::new();
            for (id, network, mac) in history.pairings_of(ip)? {
                let mut statement = history.database.prepare_cached(select)?;
                let (before, after) = statement
                    .query_row([id, at.as_nanos()], |row| Ok((time(row, 0)?, time(row, 1)?)))?;
                match found.iter_mut().find(|known| (known.network, known.mac) == (network, mac)) {
                    Some(known) => {
                        known.before = known.before.max(before);
                        known.after = [known.after, after].into_iter().flatten().min();
                    }
                    None => found.push(Around { network, mac, before, after }),
                }
            }
            found.retain(|around| around.before.is_some() || around.after.is_some());
            Ok(found)
        })
    }

    fn pairings(&mut self, range: Range) -> Result<Vec<Pairing>> {
        self.asked(|history| {
            let select = "SELECT mac, place, address, min(time), max(time), count(*)
                FROM pairing JOIN sighting ON pairing = id
                WHERE time >= ? AND time < ? GROUP BY pairing";
            let mut statement = history.database.prepare_cached(select)?;
            let mut rows = statement.query([range.from.as_nanos(), range.to.as_nanos()])?;
            let mut pairings = Vec::new();
            while let Some(row) = rows.next()? {
                let found = history.pairing(row.get(0)?, row.get(1)?);
                let (Some((network, mac)), Some(ip)) = (found, ip(row, 2)?) else { continue };
                let [first, last] = [row.get(3)?, row.get(4)?].map(UnixTime::from_nanos);
                let count = row.get::<_, i64>(5)? as u64;
                pairings.push(Pairing { network, mac, ip, first, last, count });
            }
            Ok(pairings)
        })
    }

    fn config_changes(&mut self, range: Range) -> Result<Vec<ConfigChange>> {
        self.asked(|history| {
            let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'config_change'";
            if !history.database.query_row(known, [], |row| row.get(0))? {
                return Ok(Vec::new()); // made by an aw-sqlite that knew of none
            }
            let select = "SELECT time, place, user, lines_added, lines_removed FROM config_change
                WHERE time >= ? AND time < ?";
            let mut statement = history.database.prepare_cached(select)?;
            let mut rows = statement.query([range.from.as_nanos(), range.to.as_nanos()])?;
            let mut changes = Vec::new();
            while let Some(row) = rows.next()? {
                let Some(network) = history.places.get(&row.get(1)?).copied() else { continue };
                let time = UnixTime::from_nanos(row.get(0)?);
                let (user, added, removed) = (row.get(2)?, row.get(3)?, row.get(4)?);
                changes.push(ConfigChange { time, network, user, added, removed });
            }
            Ok(changes)
        })
    }
}

/// Read only. Where nobody has it open and we may not make the files beside it that SQLite needs to
/// read while another writes, nobody writes, and it is read as it is.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.busy_timeout(Duration::from_secs(5))?;
    let looked = database.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    let alone = || !Path::new(&format!("{}-wal", path.display())).exists();
    match looked {
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
            ) && alone() =>
        {
            let absolute = std::path::absolute(path).unwrap_or(path.into());
            let escaped: String = absolute
                .to_string_lossy()
                .chars()
                .map(|c| if "%?#".contains(c) { format!("%{:02x}", c as u32) } else { c.into() })
                .collect();
            let uri = format!("file:{escaped}?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        }
        looked => looked.map(|()| database),
    }
}

fn fault(path: &str, error: rusqlite::Error) -> Error {
    let help = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => " (--database names another)",
        Some(ErrorCode::DatabaseCorrupt) => " (repair it with sqlite3's .recover)",
        _ => "",
    };
    failed(format_args!("read {path}: {error}{help}"))
}

fn time(row: &Row, column: usize) -> rusqlite::Result<Option<UnixTime>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(UnixTime::from_nanos))
}

fn bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

/// An address of 4 or 16 bytes; none if it is something else.
fn ip(row: &Row, column: usize) -> rusqlite::Result<Option<IpAddr>> {
    let ValueRef::Blob(bytes) = row.get_ref(column)? else { return Ok(None) };
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    Ok(v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok()))
}

fn number(mac: MacAddr) -> i64 {
    mac.octets().iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}
