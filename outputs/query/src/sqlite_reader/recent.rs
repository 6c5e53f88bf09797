//! New sightings, which aw-sqlite has not filed by pairing yet. They are in the order of time, so all of them are read to find
//! those of a pairing: some milliseconds. A question about many addresses reads them once.

use std::{collections::HashMap, net::IpAddr};

use aw_database::HistoryRows;
use aw_service::warn;
use rusqlite::{Connection, Row, params};

use super::bytes;

/// A sighting: its time in nanoseconds, and its origin.
pub type RecentRow = (i64, i64);

/// Questions about single addresses before all rows are taken into memory.
const SINGLE: u32 = 2;

/// There are so many if filing fails.
const MANY: usize = 1_000_000;

/// The new sightings of a database.
#[derive(Default)]
pub struct Recent {
    /// For `FROM`.
    pub source: String,
    asked: u32,
    /// All of them by pairing, each in the order of time.
    all: Option<HashMap<i64, Vec<RecentRow>>>,
}

impl Recent {
    pub fn new(rows: HistoryRows) -> Recent {
        Recent { source: rows.recent(), ..Recent::default() }
    }

    /// Those of the pairings of an address, or of more pairings.
    pub fn of(
        &mut self,
        database: &Connection,
        ip: IpAddr,
    ) -> rusqlite::Result<HashMap<i64, Vec<RecentRow>>> {
        self.asked += 1;
        if self.asked <= SINGLE {
            let select = format!(
                "SELECT pairing, time, origin FROM {} WHERE pairing IN
                (SELECT id FROM pairing WHERE address = ?) ORDER BY time",
                self.source
            );
            let mut statement = database.prepare_cached(&select)?;
            return by_pairing(statement.query_map(params![bytes(&ip)], triple)?);
        }
        let all = self.all(database)?;
        let mut ids = database.prepare_cached("SELECT id FROM pairing WHERE address = ?")?;
        let ids = ids.query_map(params![bytes(&ip)], |row| row.get::<_, i64>(0))?;
        let of = |id: i64| Some((id, all.get(&id)?.clone()));
        Ok(ids.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().filter_map(of).collect())
    }

    /// All of them.
    pub fn all(
        &mut self,
        database: &Connection,
    ) -> rusqlite::Result<&HashMap<i64, Vec<RecentRow>>> {
        if self.all.is_none() {
            let select = format!("SELECT pairing, time, origin FROM {} ORDER BY time", self.source);
            let mut statement = database.prepare(&select)?;
            let all = by_pairing(statement.query_map([], triple)?)?;
            let rows: usize = all.values().map(Vec::len).sum();
            if rows > MANY {
                warn(format_args!(
                    "aw-sqlite has not filed {rows} new sightings by pairing: a question takes longer, and more memory (its log says why)"
                ));
            }
            self.all = Some(all);
        }
        Ok(self.all.get_or_insert_default())
    }

    /// The pairings between two others that have some, in order, after [`Recent::all`].
    pub fn between(&self, (before, after): (i64, i64)) -> Vec<i64> {
        let all = self.all.iter().flat_map(HashMap::keys).copied();
        let mut between: Vec<i64> = all.filter(|id| before < *id && *id < after).collect();
        between.sort_unstable();
        between
    }

    /// Those of a pairing, after [`Recent::all`].
    pub fn known(&self, pairing: i64) -> &[RecentRow] {
        let known = self.all.as_ref().and_then(|all| all.get(&pairing));
        known.map_or(&[], Vec::as_slice)
    }
}

fn triple(row: &Row) -> rusqlite::Result<(i64, i64, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn by_pairing(
    rows: impl Iterator<Item = rusqlite::Result<(i64, i64, i64)>>,
) -> rusqlite::Result<HashMap<i64, Vec<RecentRow>>> {
    let mut found: HashMap<i64, Vec<RecentRow>> = HashMap::new();
    for row in rows {
        let (pairing, time, origin) = row?;
        found.entry(pairing).or_default().push((time, origin));
    }
    Ok(found)
}
