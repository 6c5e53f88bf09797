//! What keeps sightings of a pairing from being compacted: other MACs that use the address near their time, and probes of its own.
//! Which pairings of an address have any sightings at a time is read once for all of them. So what any host can make up, thousands
//! of MACs with an address, costs a few searches for each of them, and only near the time in which it did.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::Evidence;

use super::{ALONE, APART, DAY_NANOS, evidence, not_of_span};

/// Other pairings near a sighting, and their sightings: with more of them, any host may have made them up, and the sighting stays.
const OTHERS: usize = 100;
const SIGHTINGS_OF_OTHERS: i64 = 10_000;
/// Pairings of an address, some MB in memory: with more of them, all its sightings stay.
pub const PAIRINGS: usize = 1 << 16;
/// Pairings of an address that are compared with a time while a row is read.
const COMPARED: usize = 64;

/// A pairing of an address, with the times of its first and last sighting in a pass.
#[derive(Clone, Copy)]
struct Member {
    id: i64,
    mac: i64,
    source: i64,
    place: i64,
    /// Places of one network have the same number.
    network: i64,
    first: i64,
    last: i64,
}

/// The pairings of an address.
pub struct Neighbours {
    address: Vec<u8>,
    /// The times of the pass.
    window: (i64, i64),
    all: Vec<Member>,
    /// Those of which the times are known.
    known: usize,
    /// The number of a place's network.
    networks: HashMap<i64, i64>,
}

impl Neighbours {
    /// Lists the pairings of an address, for sightings in this time. Then they are to be read.
    pub fn of(
        database: &Connection,
        address: Vec<u8>,
        window: (i64, i64),
    ) -> rusqlite::Result<Neighbours> {
        let select =
            "SELECT id, CAST(mac AS INTEGER), CAST(source AS INTEGER), CAST(place AS INTEGER)
            FROM pairing WHERE address = ? LIMIT ?";
        let mut select = database.prepare_cached(select)?;
        let all = select.query_map(params![address, PAIRINGS as i64 + 1], |row| {
            let [id, mac, source, place] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok(Member { id, mac, source, place, network: 0, first: 0, last: 0 })
        })?;
        let all = all.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Neighbours { address, window, all, known: 0, networks: HashMap::new() })
    }

    /// Whether they are the pairings of this address, for at least this time.
    pub fn are_of(&self, address: &[u8], window: (i64, i64)) -> bool {
        self.address == address && self.window.0 <= window.0 && self.window.1 >= window.1
    }

    /// How many pairings are listed.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether the times of all of them are known.
    pub fn are_known(&self) -> bool {
        self.known == self.all.len()
    }

    /// Reads the times of at most so many pairings. Returns how many were read.
    pub fn read(&mut self, database: &Connection, most: usize) -> rusqlite::Result<usize> {
        let select = format!(
            "SELECT CAST(min(begin) AS INTEGER), CAST(max(end) AS INTEGER) FROM (
            SELECT (SELECT time FROM sighting WHERE pairing = ?1 AND time >= ?2 ORDER BY time LIMIT 1) AS begin,
                (SELECT time FROM sighting WHERE pairing = ?1 AND time < ?3 ORDER BY time DESC LIMIT 1) AS end
            UNION ALL SELECT (SELECT first FROM sighting_span WHERE pairing = ?1 AND first > ?2 - {DAY_NANOS} ORDER BY first LIMIT 1),
                (SELECT last FROM sighting_span WHERE pairing = ?1 AND first < ?3 ORDER BY first DESC LIMIT 1))"
        );
        let mut select = database.prepare_cached(&select)?;
        let (from, to) = self.window;
        let end = self.all.len().min(self.known + most);
        for at in self.known..end {
            let Member { id, place, .. } = self.all[at];
            let times = select.query_row([id, from, to], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
            })?;
            let (first, last) = (times.0.unwrap_or(i64::MAX), times.1.unwrap_or(i64::MIN));
            let network = match self.networks.get(&place) {
                Some(network) => *network,
                None => *self.networks.entry(place).or_insert(network_of(database, place)?),
            };
            self.all[at] = Member { network, first, last, ..self.all[at] };
        }
        let read = end - self.known;
        self.known = end;
        Ok(read)
    }

    /// What disturbs the sightings of a pairing in a time, None if it is too much; and how many rows were read for that.
    pub fn disturbing(
        &self,
        database: &Connection,
        pairing: i64,
        (from, to): (i64, i64),
    ) -> rusqlite::Result<(Option<Disturbing>, usize)> {
        let compared = self.all.len() / COMPARED;
        let own = self.all.iter().find(|member| member.id == pairing);
        let Some(own) = own else { return Ok((None, compared)) };
        // A span of yesterday may last until now.
        let is_near = |member: &&Member| member.first < to && member.last >= from;
        let near = || self.all.iter().filter(is_near);
        // Another pairing of the same MAC is one network's, and claims the same, or it is another network.
        let is_own = |member: &Member| member.mac == own.mac && member.source < 0;
        let others = near().filter(|other| other.network == own.network && !is_own(other));
        let others: Vec<i64> = others.map(|other| other.id).take(OTHERS + 1).collect();
        let same = near().filter(|other| other.mac == own.mac);
        let same: Vec<i64> = same.map(|other| other.id).take(OTHERS + 1).collect();
        if others.len().max(same.len()) > OTHERS {
            return Ok((None, compared));
        }
        let no_use = not_of_span();
        let uses = format!(
            "SELECT time, time FROM sighting
            WHERE pairing = ?1 AND time >= ?2 AND time < ?3 AND origin NOT IN ({no_use})
            UNION ALL SELECT first, last FROM sighting_span
            WHERE pairing = ?1 AND first > ?2 - {DAY_NANOS} AND first < ?3 AND last >= ?2 LIMIT ?4"
        );
        let probe = (0..=i64::from(u8::MAX)).filter(|origin| evidence(*origin) == Evidence::Probe);
        let probe = probe.map(|origin| origin.to_string()).collect::<Vec<_>>().join(", ");
        let probes = format!(
            "SELECT time, time FROM sighting
            WHERE pairing = ?1 AND time >= ?2 AND time < ?3 AND origin IN ({probe}) LIMIT ?4"
        );
        let (mut times, mut left) = (Vec::new(), SIGHTINGS_OF_OTHERS);
        for (select, pairings) in [(uses, &others), (probes, &same)] {
            let mut select = database.prepare_cached(&select)?;
            for pairing in pairings {
                let row = |row: &rusqlite::Row| Ok((time(row, 0)?, time(row, 1)?));
                let found = select.query_map([*pairing, from, to, left], row)?;
                let before = times.len();
                for found in found {
                    times.push(found?);
                }
                left -= (times.len() - before) as i64;
            }
        }
        let cost = compared + others.len() + same.len() + times.len();
        if left <= 0 {
            return Ok((None, cost));
        }
        widen(&mut times);
        Ok((Some(Disturbing { times }), cost))
    }
}

/// A time, also if another program stored it as a real number.
fn time(row: &rusqlite::Row, column: usize) -> rusqlite::Result<i64> {
    let value = row.get_ref(column)?;
    Ok(value.as_i64().or_else(|_| value.as_f64().map(|time| time as i64)).unwrap_or(0))
}

/// A number for the network of a place. Ring, outer VLAN and router are no part of it: rows that lack them may belong to the same one.
fn network_of(database: &Connection, place: i64) -> rusqlite::Result<i64> {
    let select = "SELECT min(there.id) FROM place JOIN place there ON there.host = place.host
        AND there.interface = place.interface AND there.vlan = place.vlan WHERE place.id = ?";
    let network = database.prepare_cached(select)?.query_row([place], |row| row.get(0));
    Ok(network.optional()?.flatten().unwrap_or(-place))
}

/// The times near which a pairing's sightings stay as they are, each from and to, sorted, and none overlap.
pub struct Disturbing {
    times: Vec<(i64, i64)>,
}

impl Disturbing {
    /// The time that must be known around sightings from a first one to a last one, of which the first may continue a span.
    pub fn near(first: i64, last: i64) -> (i64, i64) {
        (first.saturating_sub(ALONE + APART), last.saturating_add(ALONE + 1))
    }

    pub fn touches(&self, time: i64) -> bool {
        let after = self.times.partition_point(|(from, _)| *from <= time);
        after.checked_sub(1).and_then(|at| self.times.get(at)).is_some_and(|(_, to)| time <= *to)
    }
}

/// Adds twenty minutes on both sides, and joins what overlaps.
fn widen(times: &mut Vec<(i64, i64)>) {
    for (from, to) in times.iter_mut() {
        (*from, *to) = (from.saturating_sub(ALONE), to.saturating_add(ALONE));
    }
    times.sort_unstable();
    times.dedup_by(|next, known| {
        let overlaps = next.0 <= known.1;
        known.1 = if overlaps { known.1.max(next.1) } else { known.1 };
        overlaps
    });
}
