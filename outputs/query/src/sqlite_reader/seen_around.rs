//! When anything at all was seen in a network, around a time: whether a sensor captured there at all.

use aw_database::{RECENT, recent_between};
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::UnixTime;

use super::{recent::Recent, spans::Spans};
use crate::{
    history_reader::{Network, SeenAround},
    holders::near,
    periods::KEPT_WITHIN,
};

/// Pairings that are looked at, with four searches each: if there are more, which a host can make up, it is not known.
const MOST: usize = 5_000;
/// Of more, so many are looked at: a device that has been there for long may have been near.
const OF_MORE: usize = 500;

/// The pairings of a network: those of `ring`, and of no ring, if that belongs to it.
const PAIRINGS: &str = "SELECT pairing.id FROM place JOIN pairing ON pairing.place = place.id
    WHERE host = ?1 AND ring IN (?2, ?3) AND interface = ?4 AND vlan = ?5 AND outer_vlan = ?6 AND router = ?7";

/// The last sighting at or before the time, and the first one after it; any that is within ten minutes. None: there are too many
/// pairings. `rings`: the places of which rings are meant.
pub fn seen_around(
    database: &Connection,
    (network, rings): (&Network, [&str; 2]),
    at: UnixTime,
    (recent, spans): (&Recent, Spans),
) -> rusqlite::Result<SeenAround> {
    let Network { host, interface, vlan, outer_vlan, router, .. } = network;
    let of_network = params![host, rings[0], rings[1], interface, vlan, outer_vlan, router];
    let (time, at_nanos) = (|nanos| UnixTime::from_nanos(nanos), at.as_nanos());
    if recent.is_there {
        let select = format!(
            "SELECT slot - shift FROM {RECENT} WHERE {} AND pairing IN ({PAIRINGS}) LIMIT 1",
            recent_between("?8", "?9")
        );
        let (from, to) =
            (at_nanos.saturating_sub(KEPT_WITHIN), at_nanos.saturating_add(KEPT_WITHIN));
        let row = params![host, rings[0], rings[1], interface, vlan, outer_vlan, router, from, to];
        let near = database.prepare_cached(&select)?.query_row(row, |row| row.get(0)).optional()?;
        if let Some(near) = near.map(time) {
            return Ok(Some([Some(near), None]));
        }
    }
    let mut found = [None, None];
    let mut pairings = database.prepare_cached(PAIRINGS)?;
    let pairings = pairings.query_map(of_network, |row| row.get(0))?;
    let mut pairings: Vec<i64> = pairings.take(MOST + 1).collect::<rusqlite::Result<_>>()?;
    let is_more = pairings.len() > MOST;
    pairings.truncate(if is_more { OF_MORE } else { MOST });
    let spans = spans.source;
    let searches = [
        "SELECT time FROM sighting WHERE pairing = ? AND time <= ? ORDER BY time DESC LIMIT 1",
        "SELECT time FROM sighting WHERE pairing = ? AND time > ? ORDER BY time LIMIT 1",
        &format!(
            "SELECT last FROM {spans} WHERE pairing = ? AND first <= ? ORDER BY first DESC LIMIT 1"
        ),
        &format!(
            "SELECT first FROM {spans} WHERE pairing = ? AND first > ? ORDER BY first LIMIT 1"
        ),
    ];
    let searches = searches.map(|search| database.prepare_cached(search));
    let mut searches = searches.into_iter().collect::<rusqlite::Result<Vec<_>>>()?;
    for pairing in pairings {
        for (index, search) in searches.iter_mut().enumerate() {
            let one = search.query_row([pairing, at_nanos], |row| row.get(0)).optional()?;
            let one: Option<UnixTime> = one.map(time);
            match index % 2 {
                0 => found[0] = found[0].max(one.map(|one| one.min(at))),
                _ => found[1] = found[1].into_iter().chain(one).min(),
            }
        }
        if found.into_iter().any(|one| near(one, at)) {
            return Ok(Some(found));
        }
    }
    if is_more {
        return Ok(None);
    }
    let recent = format!(
        "SELECT max(time) FILTER (WHERE time <= ?8), min(time) FILTER (WHERE time > ?8) FROM {} WHERE pairing IN ({PAIRINGS})",
        recent.source
    );
    let row = params![host, rings[0], rings[1], interface, vlan, outer_vlan, router, at_nanos];
    let [before, after]: [Option<i64>; 2] =
        database.prepare_cached(&recent)?.query_row(row, |row| Ok([row.get(0)?, row.get(1)?]))?;
    found[0] = found[0].max(before.map(time));
    found[1] = found[1].into_iter().chain(after.map(time)).min();
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aw_database::HistoryRows;

    const MINUTE: i64 = 60_000_000_000;

    /// Single sightings, spans and new sightings count, those of the network only; within a span, something was seen.
    #[test]
    fn each_table_counts() {
        let database = Connection::open_in_memory().unwrap();
        let tables = "
            CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
            CREATE TABLE pairing (id INTEGER PRIMARY KEY, place);
            CREATE TABLE sighting (pairing, time, origin, PRIMARY KEY (pairing, time));
            CREATE TABLE sighting_span (pairing, first, last, count, first_origin, last_origin);
            CREATE TABLE recent_sighting (slot INTEGER PRIMARY KEY, shift, pairing, origin);
            CREATE TABLE recent_filing (before, pairing, time);
            INSERT INTO place VALUES (1, 'h', '/r', 'eth0', 0, 0, ''), (2, 'h', '', 'eth0', 0, 0, ''), (3, 'h', '/r', 'eth0', 7, 0, '');
            INSERT INTO pairing VALUES (1, 1), (2, 2), (3, 3);";
        database.execute_batch(tables).unwrap();
        let insert = |table: &str, values: &[i64]| {
            let values: Vec<_> = values.iter().map(i64::to_string).collect();
            let insert = format!("INSERT INTO {table} VALUES ({})", values.join(", "));
            database.execute_batch(&insert).unwrap();
        };
        insert("sighting", &[1, 100 * MINUTE, 0]);
        insert("sighting_span", &[2, 200 * MINUTE, 300 * MINUTE, 50, 0, 0]);
        insert("recent_sighting", &[400 * MINUTE, 0, 1, 0]);
        insert("sighting", &[3, 150 * MINUTE, 0]);
        let rows = HistoryRows::of(&database).unwrap();
        let (recent, spans) = (Recent::new(rows), Spans::new(rows));
        let network = Network { host: "h".into(), interface: "eth0".into(), ..Network::default() };
        let seen = |minutes: i64| {
            let at = UnixTime::from_nanos(minutes * MINUTE);
            let found = seen_around(&database, (&network, ["/r", ""]), at, (&recent, spans));
            found.unwrap().unwrap().map(|time| time.map(|time| time.as_nanos() / MINUTE))
        };
        assert_eq!(seen(50), [None, Some(100)]);
        assert_eq!(seen(150), [Some(100), Some(200)], "what VLAN 7 has does not count");
        assert_eq!(seen(350), [Some(300), Some(400)]);
        assert_eq!(seen(500), [Some(400), None]);
        let near = |minutes: i64, expected: i64| seen(minutes).contains(&Some(expected));
        assert!(near(105, 100) && near(250, 250) && near(395, 400) && near(405, 400));
        // Who makes up pairings makes it unknown, and not slow.
        let made_up = format!(
            "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < {MOST} + 10) INSERT INTO pairing SELECT i, 1 FROM n"
        );
        database.execute_batch(&made_up).unwrap();
        let at = UnixTime::from_nanos(500 * MINUTE);
        let found = seen_around(&database, (&network, ["/r", ""]), at, (&recent, spans));
        assert_eq!(found.unwrap(), None);
    }
}
