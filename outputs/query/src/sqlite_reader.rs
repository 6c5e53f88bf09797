//! Reads a database of `aw-sqlite`. Its content is not trusted: a value that is not an address or a MAC is
//! skipped, a value that is not a text is an error.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::ErrorKind,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use aw_service::{Error, FileKind, cause, failed, open_file, warn};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params, types::ValueRef};
use shm_layout::{Evidence, MacAddr, UnixTime};

use crate::clocks::Clocks;
use crate::history_reader::{
    AddressSighting, EachSighting, FRAME_SOURCE, HistoryReader, NO_CLAIM, NO_USE, Nearer, Nearest,
    NearestSightings, Network, NetworkIndex, PairingSummary, RouterChange, TimeRange, evidence,
    parse_ip,
};

/// The application id of aw-sqlite's files, "AWhi", and the version of its tables.
const APPLICATION: i32 = 0x4157_6869;
const VERSION: i32 = 1;

pub struct SqliteReader {
    path: String,
    database: Connection,
    networks: NetworkIndex,
    /// The network of each place.
    places: HashMap<i64, usize>,
    clocks: Clocks,
}

impl SqliteReader {
    pub fn open(path: &Path) -> Result<SqliteReader, Error> {
        let shown = path.display().to_string();
        let database = connect(path).map_err(|error| failure(&shown, error))?;
        let (networks, places) = (NetworkIndex::default(), HashMap::new());
        let mut history = SqliteReader {
            path: shown,
            database,
            networks,
            places,
            clocks: Clocks::without_rings(),
        };
        history.check()?;
        history.read(SqliteReader::read_places)?;
        Ok(history)
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> Result<T, Error> {
        read(self).map_err(|error| failure(&self.path, error))
    }

    fn check(&mut self) -> Result<(), Error> {
        let (application, version): (i32, i32) = self.read(|history| {
            let number = |name| history.database.pragma_query_value(None, name, |row| row.get(0));
            Ok((number("application_id")?, number("user_version")?))
        })?;
        let path = &self.path;
        if application != APPLICATION {
            return Err(failed(format_args!(
                "read {path}: it is not a database of aw-sqlite (aw-sqlite --database {path} imports a database of addrwatch)"
            )));
        }
        if version != VERSION {
            return Err(failed(format_args!(
                "read {path}: its tables are of version {version}, this release supports {VERSION} (use the aw-query of the same release)"
            )));
        }
        let old = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%\\_old' ESCAPE '\\'";
        if self.read(|history| history.database.query_row(old, [], |row| row.get(0)))? {
            warn("rows of addrwatch's table that aw-sqlite has not imported yet are not searched");
        }
        Ok(())
    }

    /// Places without a ring have rows that addrwatch wrote. They belong to the network of the ring that has the
    /// interface now, if there is only one.
    fn read_places(&mut self) -> rusqlite::Result<()> {
        let select = "SELECT id, host, interface, vlan, outer_vlan, router, CASE WHEN ring <> '' THEN ring ELSE (
                SELECT CASE WHEN count(DISTINCT ring) = 1 THEN max(ring) ELSE '' END FROM place AS other
                WHERE other.host = place.host AND other.interface = place.interface AND other.ring <> '') END, ring = ''
            FROM place";
        let mut statement = self.database.prepare(select)?;
        let mut rows = statement.query([])?;
        let mut ringless = HashSet::new();
        while let Some(row) = rows.next()? {
            let network = Network {
                host: row.get(1)?,
                interface: row.get(2)?,
                vlan: row.get(3)?,
                outer_vlan: row.get(4)?,
                router: row.get(5)?,
                ring: row.get(6)?,
            };
            if row.get(7)? {
                ringless.insert(interface(&network));
            }
            self.places.insert(row.get(0)?, self.networks.id(network));
        }
        let all = self.networks.all().iter().enumerate();
        let of_ringless = all.filter(|(_, network)| ringless.contains(&interface(network)));
        self.clocks = Clocks::new(of_ringless.map(|(index, _)| index).collect());
        Ok(())
    }

    /// The sightings of a pairing on one side of a time, from the nearest one up to the nearest claim.
    fn nearest_of(
        &self,
        (pairing, at): (i64, UnixTime),
        (side, nearer): (&str, Nearer),
        nearest: &mut Nearest,
    ) -> rusqlite::Result<()> {
        let select = format!("SELECT time, origin FROM sighting WHERE pairing = ? AND {side}");
        let mut statement = self.database.prepare_cached(&select)?;
        let mut rows = statement.query([pairing, at.as_nanos()])?;
        while let Some(row) = rows.next()? {
            let (time, evidence) = (UnixTime::from_nanos(row.get(0)?), evidence(row.get(1)?));
            nearest.add(evidence, time, nearer);
            if evidence == Evidence::Claim {
                break;
            }
        }
        Ok(())
    }

    /// The network and MAC of a pairing, from its columns `mac` and `place`; None if they are not valid.
    fn pairing(&self, mac: i64, place: i64) -> Option<(usize, MacAddr)> {
        let [0, 0, octets @ ..] = mac.to_be_bytes() else { return None };
        Some((*self.places.get(&place)?, MacAddr::new(octets)))
    }

    /// The pairings of an address: id, network, MAC.
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

impl HistoryReader for SqliteReader {
    fn networks(&self) -> &[Network] {
        self.networks.all()
    }

    fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    fn addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.read(|history| {
            let select = "SELECT DISTINCT address FROM pairing WHERE EXISTS (
                SELECT 1 FROM sighting WHERE pairing = id AND time >= ? AND time < ?)";
            let mut statement = history.database.prepare_cached(select)?;
            let times = [range.from.as_nanos(), range.to.as_nanos()];
            let rows = statement.query_map(times, |row| ip(row, 0))?;
            rows.filter_map(rusqlite::Result::transpose).collect()
        })
    }

    fn addresses_of(
        &mut self,
        mac: MacAddr,
        range: TimeRange,
    ) -> Result<Vec<(IpAddr, bool)>, Error> {
        self.read(|history| {
            let in_range = "SELECT 1 FROM sighting WHERE pairing = id AND time >= ?2 AND time < ?3";
            let select = format!(
                "SELECT address, max(EXISTS ({in_range} AND origin NOT IN ({NO_USE}))) FROM pairing
                WHERE mac = ?1 AND EXISTS ({in_range}) GROUP BY address"
            );
            let mut statement = history.database.prepare_cached(&select)?;
            let (mac, from, to) = (mac.number() as i64, range.from.as_nanos(), range.to.as_nanos());
            let rows = statement.query_map([mac, from, to], |row| {
                let ip = ip(row, 0)?;
                Ok(ip.zip(Some(row.get(1)?)))
            })?;
            rows.filter_map(rusqlite::Result::transpose).collect()
        })
    }

    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error> {
        self.read(|history| {
            let known: HashMap<_, _> = history
                .pairings_of(ip)?
                .into_iter()
                .map(|(id, network, mac)| (id, (network, mac)))
                .collect();
            let select = "SELECT time, pairing, origin FROM sighting
                WHERE pairing IN (SELECT id FROM pairing WHERE address = ?)
                AND time >= ? AND time < ? ORDER BY time";
            let mut statement = history.database.prepare_cached(select)?;
            let (from, to) = (range.from.as_nanos(), range.to.as_nanos());
            let mut rows = statement.query(params![bytes(&ip), from, to])?;
            while let Some(row) = rows.next()? {
                if let Some((network, mac)) = known.get(&row.get(1)?) {
                    let (time, evidence) =
                        (UnixTime::from_nanos(row.get(0)?), evidence(row.get(2)?));
                    each(AddressSighting { time, network: *network, mac: *mac, evidence });
                }
            }
            Ok(())
        })
    }

    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        self.read(|history| {
            let before: (&str, Nearer) = ("time <= ? ORDER BY time DESC", UnixTime::max);
            let after: (&str, Nearer) = ("time > ? ORDER BY time", UnixTime::min);
            let mut found: HashMap<(usize, MacAddr), NearestSightings> = HashMap::new();
            for (id, network, mac) in history.pairings_of(ip)? {
                let nearest = found
                    .entry((network, mac))
                    .or_insert_with(|| NearestSightings::new(network, mac));
                history.nearest_of((id, at), before, &mut nearest.before)?;
                history.nearest_of((id, at), after, &mut nearest.after)?;
            }
            Ok(found.into_values().collect())
        })
    }

    fn pairings(&mut self, range: TimeRange) -> Result<Vec<PairingSummary>, Error> {
        self.read(|history| {
            // Searches for one row of each pairing: sums over all of its rows would take twice as long.
            let in_range = "FROM sighting WHERE pairing = id AND time >= ?1 AND time < ?2";
            let select = format!(
                "SELECT mac, place, address, count(*), max(time), min(time),
                    (SELECT min(time) {in_range} AND time >= ?3), (SELECT min(time) {in_range} AND time >= ?4),
                    CASE WHEN EXISTS (SELECT 1 {in_range} AND origin NOT IN ({NO_CLAIM})) THEN 2
                        ELSE EXISTS (SELECT 1 {in_range} AND origin = {FRAME_SOURCE}) END
                FROM pairing JOIN sighting ON pairing = id WHERE time >= ?1 AND time < ?2 GROUP BY pairing"
            );
            let mut statement = history.database.prepare_cached(&select)?;
            let clocks = history.clocks.asked(range);
            let [with_ring, ringless] = clocks.limits();
            let times = [range.from, range.to, with_ring, ringless].map(UnixTime::as_nanos);
            let mut rows = statement.query(times)?;
            let mut pairings = Vec::new();
            while let Some(row) = rows.next()? {
                let found = history.pairing(row.get(0)?, row.get(1)?);
                let (Some((network, mac)), Some(ip)) = (found, ip(row, 2)?) else { continue };
                let count = row.get::<_, i64>(3)? as u64;
                let [last, first] = [row.get(4)?, row.get(5)?].map(UnixTime::from_nanos);
                let dated = clocks.choose(network, (time(row, 6)?, time(row, 7)?));
                let first = dated.unwrap_or(first);
                let number: u8 = row.get(8)?;
                let (is_claimed, is_answered) = (number == 2, number == 1);
                let summary =
                    PairingSummary { network, mac, ip, first, last, count, is_claimed, is_answered };
                pairings.push(summary);
            }
            Ok(pairings)
        })
    }

    fn is_clock_set(&mut self, network: usize) -> Result<bool, Error> {
        self.read(|history| {
            let all = history.networks.all();
            let interface = |network: usize| all.get(network).map(interface);
            let select = "SELECT place FROM pairing
                WHERE EXISTS (SELECT 1 FROM sighting WHERE pairing = id AND time >= ?)";
            let mut statement = history.database.prepare_cached(select)?;
            let mut rows = statement.query([history.clocks.set_at(network).as_nanos()])?;
            while let Some(row) = rows.next()? {
                let of_place = history.places.get(&row.get(0)?).copied();
                if of_place.is_some_and(|other| interface(other) == interface(network)) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error> {
        self.read(|history| {
            let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'config_change'";
            if !history.database.query_row(known, [], |row| row.get(0))? {
                return Ok(Vec::new()); // an earlier release of aw-sqlite created the database
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
                changes.push(RouterChange { time, network, user, added, removed });
            }
            Ok(changes)
        })
    }
}

/// Opens it read-only. SQLite needs files beside a database that is being written. If this user may not
/// create them and there is no log, no program writes: then the database is read as it is.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.busy_timeout(Duration::from_secs(5))?;
    let tried = database.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    let code = tried.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
    let is_denied = matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly));
    if !is_denied || Path::new(&format!("{}-wal", path.display())).exists() {
        return tried.map(|()| database);
    }
    let absolute = std::path::absolute(path).unwrap_or(path.into());
    let escaped: String = absolute
        .to_string_lossy()
        .chars()
        .map(|c| if "%?#".contains(c) { format!("%{:02x}", c as u32) } else { c.into() })
        .collect();
    let uri = format!("file:{escaped}?immutable=1");
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}

fn failure(path: &str, error: rusqlite::Error) -> Error {
    const NO_FILE: &str = "start aw-sqlite, which creates it, or choose a file with --database";
    const NO_LOG: &str =
        "start aw-sqlite, or run aw-query as a user who can write to its directory";
    let (cause, remedy) = match error.sqlite_error_code() {
        _ if Path::new(path).is_dir() => {
            ("it is a directory".into(), "choose a file with --database".into())
        }
        Some(ErrorCode::CannotOpen) => match open_file(Path::new(path), FileKind::Settings) {
            Ok(_) => (error.to_string(), NO_LOG.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => (cause(&error), NO_FILE.into()),
            Err(error) => (cause(&error), access_remedy(path)),
        },
        Some(ErrorCode::DatabaseCorrupt) => {
            (error.to_string(), "repair it with sqlite3's .recover".into())
        }
        _ => return failed(format_args!("read {path}: {error}")),
    };
    failed(format_args!("read {path}: {cause} ({remedy})"))
}

/// What permits this user to read the file: the group of the file, or of the directory that hides it.
fn access_remedy(path: &str) -> String {
    let path = std::path::absolute(path).unwrap_or(path.into());
    let visible = path.ancestors().find_map(|path| fs::metadata(path).ok());
    let group = visible.filter(|file| file.mode() & 0o040 != 0);
    match group.and_then(|file| uzers::get_group_by_gid(file.gid())) {
        Some(group) if group.gid() == 0 => {
            "run as root, or give the file to a group that you are in".into()
        }
        Some(group) => format!("join group {}", group.name().display()),
        None => "run aw-query as a user who can read it".into(),
    }
}

/// The interface of a network, on its host and ring.
fn interface(network: &Network) -> [String; 3] {
    [&network.host, &network.ring, &network.interface].map(Clone::clone)
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

/// The address in a column; None if it is something else.
fn ip(row: &Row, column: usize) -> rusqlite::Result<Option<IpAddr>> {
    let ValueRef::Blob(bytes) = row.get_ref(column)? else { return Ok(None) };
    Ok(parse_ip(bytes))
}
