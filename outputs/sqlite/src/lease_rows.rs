//! The rows of leases of DHCP servers and of registrations of IPv6 addresses: from when until when a device might use an address, as
//! a server, or the device, says. A renewal makes a row longer; what is given again after its end is another row.

use aw_output::{LEASES_OF_ALL, LEASES_ROOM, LeaseChange};
use aw_service::Condition;
use rusqlite::{Connection, params};
use shm_layout::UnixTime;

use crate::{clock_check::CLOCK_SET, row_writer::ip_bytes};

/// Rows of a MAC without a pairing stay so long, and a time that is later than now by more is one of a wrong clock: a day, in nanoseconds.
const DAY: i64 = 86_400_000_000_000;

/// What is not written yet, in the order of the ring.
#[derive(Default)]
pub struct LeaseRows {
    changes: Vec<(i64, LeaseChange)>,
    /// Rows in the database, if they are counted.
    stored: Option<usize>,
    full: Condition,
}

impl LeaseRows {
    /// Adds what a record begins or ends, at a place.
    pub fn add(&mut self, change: LeaseChange, place: i64) {
        self.changes.push((place, change));
    }

    /// Writes what was added, in the transaction of the caller.
    pub fn write(&mut self, database: &Connection) -> rusqlite::Result<()> {
        let mut stored = self.stored.take();
        let newest = self.changes.iter().map(|(_, change)| change.time.as_nanos()).max();
        let newest = newest.unwrap_or(i64::MIN);
        self.changes.sort_by_key(|(_, change)| change.time); // some waited for their place
        for (place, LeaseChange { mac, address, time, until }) in self.changes.drain(..) {
            let (time, until) = (time.as_nanos(), until.map(UnixTime::as_nanos));
            let key = params![ip_bytes(&address), mac.number() as i64, place, time, until];
            // A server that shortens a lease and a stranger who says so look alike: the later end counts. A lease that ended by time
            // may have been renewed unseen: its device can end it still.
            let update = "UPDATE address_lease
                SET until = coalesce(max(until, ?5), ?4), last = ?4, released = ?5 IS NULL
                WHERE address = ?1 AND mac = ?2 AND place = ?3 AND released = 0 AND begin = (
                    SELECT max(begin) FROM address_lease
                    WHERE address = ?1 AND mac = ?2 AND place = ?3 AND begin <= ?4)
                AND (?5 IS NULL OR until > ?4)";
            let updated = database.prepare_cached(update)?.execute(key)?;
            if until.is_some() && updated == 0 {
                let insert = "REPLACE INTO address_lease (address, mac, place, begin, last, until, released) VALUES (?1, ?2, ?3, ?4, ?4, ?5, 0)";
                stored = Some(stored.map_or_else(|| count(database), Ok)? + 1);
                database.prepare_cached(insert)?.execute(key)?;
            }
        }
        if stored > Some(LEASES_OF_ALL) {
            if count(database)? > LEASES_OF_ALL {
                self.full.begins(format_args!(
                    "{LEASES_OF_ALL} leases of addresses are stored: others make room (does a host invent MACs? rows of address_lease can be deleted)"
                ));
                make_room(database, newest)?;
            }
            stored = None;
        }
        self.stored = stored;
        Ok(())
    }
}

/// Those go that ended longest ago; then those that began last, so that a host that makes them up displaces its own.
fn make_room(database: &Connection, now: i64) -> rusqlite::Result<()> {
    for (condition, order) in [("until < ?1", "until"), ("?1 IS NOT NULL", "begin DESC")] {
        let superfluous = (count(database)? + LEASES_ROOM).saturating_sub(LEASES_OF_ALL);
        let delete = format!(
            "DELETE FROM address_lease WHERE (address, mac, place, begin) IN (
                SELECT address, mac, place, begin FROM address_lease WHERE {condition} ORDER BY {order} LIMIT ?2)"
        );
        database.prepare_cached(&delete)?.execute([now, superfluous as i64])?;
    }
    Ok(())
}

fn count(database: &Connection) -> rusqlite::Result<usize> {
    let count = "SELECT count(*) FROM address_lease";
    let count = database.prepare_cached(count)?.query_row([], |row| row.get::<_, i64>(0));
    Ok(usize::try_from(count?).unwrap_or(0))
}

/// Deletes leases of which nothing was received since a time, and those whose pairing is not there any more, a day before the newest one. At
/// most `rows`. When they end does not matter: a stranger can send any lifetime. A time of a clock that was ahead is no age; with retention, such
/// rows go, because they would stay until then.
pub fn delete_leases(database: &Connection, before: i64, rows: usize) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM address_lease WHERE (address, mac, place, begin) IN (
        SELECT address, mac, place, begin FROM address_lease AS one
        WHERE last < ?1 OR (last > ?4 + ?2 AND ?1 > ?5) OR (last < (SELECT max(last) FROM address_lease WHERE last <= ?4) - ?2 AND NOT EXISTS (
            SELECT 1 FROM pairing WHERE pairing.address = one.address AND pairing.mac = one.mac)) LIMIT ?3)";
    let row = params![before, DAY, rows as i64, UnixTime::now().as_nanos(), CLOCK_SET];
    database.prepare_cached(delete)?.execute(row)
}

#[cfg(test)]
mod tests {
    use aw_output::LONGEST_LEASE;
    use shm_layout::{MacAddr, NameKind, NameRecord};

    use super::*;
    use crate::schema;

    const BEGIN: i64 = 1_700_000_000;
    const SERVER: &str = "::ffff:192.0.2.1";

    fn database() -> Connection {
        let mut database = Connection::open_in_memory().unwrap();
        assert!(schema::prepare(&mut database, &"addrwatch".parse().unwrap()).is_ok());
        database.execute_batch("PRAGMA foreign_keys = off").unwrap();
        database
    }

    fn record(kind: NameKind, seconds: i64, lifetime: u32) -> NameRecord {
        let time = UnixTime::new(BEGIN + seconds, 0);
        NameRecord {
            mac: MacAddr::new([2, 0, 0, 0, 0, 7]),
            sender: MacAddr::new([2, 0, 0, 0, 0, 7]),
            source: "::ffff:192.0.2.7".parse().unwrap(),
            receiver: MacAddr::new([2, 0, 0, 0, 0, 7]),
            address: "::ffff:192.0.2.7".parse().unwrap(),
            other: SERVER.parse().unwrap(),
            lifetime,
            ..NameRecord::new(kind, time, "eth0".parse().unwrap())
        }
    }

    /// Begin and end of each row, in seconds.
    fn stored(database: &Connection, records: &[NameRecord]) -> Vec<(i64, i64)> {
        let mut rows = LeaseRows::default();
        for record in records {
            rows.add(LeaseChange::of(record, UnixTime::now()).unwrap(), 1);
        }
        rows.write(database).unwrap();
        let select =
            "SELECT begin / 1000000000, until / 1000000000 FROM address_lease ORDER BY begin";
        let mut select = database.prepare(select).unwrap();
        let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        rows.unwrap().map(Result::unwrap).map(|(a, b)| (a - BEGIN, b - BEGIN)).collect()
    }

    #[test]
    fn renewals_and_ends() {
        use NameKind::{DhcpAck, DhcpDecline, DhcpRelease};
        let database = database();
        assert_eq!(stored(&database, &[record(DhcpAck, 0, 3600)]), [(0, 3600)]);
        let renewed = [record(DhcpAck, 1800, 3600), record(DhcpAck, 1801, 60)];
        assert_eq!(stored(&database, &renewed), [(0, 5400)], "the later end counts");
        let again = [record(DhcpAck, 6000, 3600), record(DhcpRelease, 7000, 0)];
        assert_eq!(stored(&database, &again), [(0, 5400), (6000, 7000)]);
        let declined = [record(DhcpAck, 7000, 3600), record(DhcpDecline, 7001, 0)];
        let all = [(0, 5400), (6000, 7000), (7000, 7001)];
        assert_eq!(stored(&database, &declined), all);
        // Of another MAC: no end of this one.
        let other = MacAddr::new([2, 0, 0, 0, 0, 8]);
        let other = NameRecord { mac: other, sender: other, ..record(DhcpRelease, 10, 0) };
        assert_eq!(stored(&database, &[other]), all);
        let released = "SELECT group_concat(released) FROM (SELECT released FROM address_lease ORDER BY begin)";
        let released: String = database.query_row(released, [], |row| row.get(0)).unwrap();
        assert_eq!(released, "0,1,1");
        // Without a pairing, they go a day before the newest one; with retention, by the last record, whenever they end.
        let at = |seconds: i64| (BEGIN + seconds) * 1_000_000_000;
        assert_eq!(delete_leases(&database, i64::MIN, 10), Ok(0));
        assert_eq!(delete_leases(&database, at(1802), 10), Ok(1));
        let endless = [record(DhcpAck, 7002, u32::MAX)];
        assert_eq!(
            stored(&database, &endless).last(),
            Some(&(7002, 7002 + i64::from(LONGEST_LEASE)))
        );
        assert_eq!(delete_leases(&database, at(7003), 10), Ok(3));
        let ahead = "INSERT INTO address_lease VALUES (x'c0000207', 7, 1, ?1, ?1, ?1, 0)";
        let in_a_year = UnixTime::now().as_nanos() + 365 * DAY;
        database.execute(ahead, [in_a_year]).unwrap();
        assert_eq!(delete_leases(&database, i64::MIN, 10), Ok(0));
        assert_eq!(delete_leases(&database, at(0), 10), Ok(1));
        let days = [record(DhcpAck, 0, u32::MAX), record(DhcpAck, 2 * 86_400, 60)];
        assert_eq!(stored(&database, &days[..1]).len(), 1);
        let other = NameRecord { mac: MacAddr::new([2, 0, 0, 0, 0, 8]), ..days[1] };
        assert_eq!(stored(&database, &[other]).len(), 2);
        assert_eq!(delete_leases(&database, i64::MIN, 10), Ok(1));
    }

    /// Renewals that were not captured: the device ends its lease after its stored end.
    #[test]
    fn an_end_after_the_stored_one() {
        let database = database();
        let records =
            [record(NameKind::DhcpRelease, 20_000, 0), record(NameKind::DhcpAck, 0, 3600)];
        assert_eq!(stored(&database, &records), [(0, 20_000)]);
        assert_eq!(stored(&database, &[record(NameKind::DhcpRelease, 20_001, 0)]), [(0, 20_000)]);
        let endless = record(NameKind::DhcpAck, 30_000, u32::MAX);
        let month = 31 * 86_400;
        let ended = stored(&database, &[endless, record(NameKind::DhcpDecline, month, 0)]);
        assert_eq!(ended, [(0, 20_000), (30_000, month)]);
    }

    /// However many leases a host makes up, the table is bounded, and a lease that runs stays; a count that is wrong deletes nothing.
    #[test]
    fn a_flood() {
        let database = database();
        let mut rows = LeaseRows::default();
        let ack = record(NameKind::DhcpAck, 0, 3600);
        let of = |record: &NameRecord| LeaseChange::of(record, UnixTime::now()).unwrap();
        rows.add(of(&ack), 1);
        let made_up = |number: u32| {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_ipv6_mapped();
            let time = UnixTime::new(BEGIN + 1, 0);
            of(&NameRecord { address: ip, time, lifetime: u32::MAX, ..ack })
        };
        (0..LEASES_OF_ALL as u32 + 10).for_each(|number| rows.add(made_up(number), 1));
        rows.write(&database).unwrap();
        assert_eq!(count(&database), Ok(LEASES_OF_ALL - LEASES_ROOM));
        let own = "SELECT count(*) FROM address_lease WHERE address = x'c0000207'";
        assert_eq!(database.query_row(own, [], |row| row.get(0)), Ok(1));
        database.execute_batch("DELETE FROM address_lease WHERE address <> x'c0000207'").unwrap();
        rows.stored = Some(LEASES_OF_ALL);
        rows.add(made_up(1), 1);
        rows.write(&database).unwrap();
        assert_eq!(count(&database), Ok(2));
    }
}
