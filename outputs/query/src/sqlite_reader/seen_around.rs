//! When anything at all was seen in a network, around a time: whether a sensor captured there at all.

use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::UnixTime;

use super::spans::Spans;
use crate::{history_reader::Network, holders::near};

/// Pairings that are looked at: some searches each.
const MOST: usize = 100_000;

/// The pairings of a network: those of `ring`, and of no ring, if that belongs to it.
const PAIRINGS: &str = "SELECT pairing.id FROM place JOIN pairing ON pairing.place = place.id
    WHERE host = ?1 AND ring IN (?2, ?3) AND interface = ?4 AND vlan = ?5 AND outer_vlan = ?6 AND router = ?7";

/// The last sighting at or before the time, and the first one after it; any that is within ten minutes. None: there are too many
/// pairings. `rings`: the places of which rings are meant.
pub fn seen_around(
    database: &Connection,
    (network, rings): (&Network, [&str; 2]),
    at: UnixTime,
    (recent, spans): (&str, Spans),
) -> rusqlite::Result<Option<[Option<UnixTime>; 2]>> {
    let Network { host, interface, vlan, outer_vlan, router, .. } = network;
    let of_network = params![host, rings[0], rings[1], interface, vlan, outer_vlan, router];
    let (time, at_nanos) = (|nanos| UnixTime::from_nanos(nanos), at.as_nanos());
    let mut found = [None, None];
    let mut pairings = database.prepare_cached(PAIRINGS)?;
    let mut pairings = pairings.query(of_network)?;
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
    let mut number = 0;
    while let Some(pairing) = pairings.next()? {
        number += 1;
        if number > MOST {
            return Ok(None);
        }
        let pairing: i64 = pairing.get(0)?;
        for (index, search) in searches.into_iter().enumerate() {
            let mut search = database.prepare_cached(search)?;
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
    let recent = format!(
        "SELECT max(time) FILTER (WHERE time <= ?8), min(time) FILTER (WHERE time > ?8) FROM {recent} WHERE pairing IN ({PAIRINGS})"
    );
    let row = params![host, rings[0], rings[1], interface, vlan, outer_vlan, router, at_nanos];
    let [before, after]: [Option<i64>; 2] =
        database.prepare_cached(&recent)?.query_row(row, |row| Ok([row.get(0)?, row.get(1)?]))?;
    found[0] = found[0].max(before.map(time));
    found[1] = found[1].into_iter().chain(after.map(time)).min();
    Ok(Some(found))
}
