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
/// So many are taken into memory for a question, at most: 130 MB.
pub const MOST: usize = 4_000_000;

/// The new sightings of a database.
#[derive(Default)]
pub struct Recent {
    /// For `FROM`.
    pub source: String,
    /// The database has them.
    pub is_there: bool,
    asked: u32,
    /// All of them by pairing, each in the order of time.
    all: Option<HashMap<i64, Vec<RecentRow>>>,
}

impl Recent {
    pub fn new(rows: HistoryRows) -> Recent {
        Recent { source: rows.recent(), is_there: rows.has_recent(), ..Recent::default() }
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
        let all = self.all(database, MOST)?;
        let mut ids = database.prepare_cached("SELECT id FROM pairing WHERE address = ?")?;
        let ids = ids.query_map(params![bytes(&ip)], |row| row.get::<_, i64>(0))?;
        let of = |id: i64| Some((id, all.get(&id)?.clone()));
        Ok(ids.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().filter_map(of).collect())
    }

    /// All of them, at most so many.
    pub fn all(
        &mut self,
        database: &Connection,
        most: usize,
    ) -> rusqlite::Result<&HashMap<i64, Vec<RecentRow>>> {
        if self.all.is_none() {
            // They are nearly in the order of time, so sorting those of a pairing takes less than sorting all.
            let select = format!("SELECT pairing, time, origin FROM {} LIMIT ?", self.source);
            let mut statement = database.prepare(&select)?;
            let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
            let mut all = by_pairing(statement.query_map([limit], triple)?)?;
            all.values_mut().for_each(|rows| rows.sort_by_key(|(time, _)| *time));
            let rows: usize = all.values().map(Vec::len).sum();
            if rows > most {
                let why = format!(
                    "aw-sqlite has more than {most} new sightings that it has not filed by pairing, too many for a question about many addresses (its log has the reason, and what to do)"
                );
                return Err(rusqlite::Error::ToSqlConversionFailure(why.into()));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// All are read up to a number, those of a pairing in the order of time.
    #[test]
    fn a_bounded_number_is_read() {
        let database = Connection::open_in_memory().unwrap();
        let source = "(SELECT column1 AS pairing, column2 AS time, 0 AS origin
            FROM (VALUES (1, 5), (2, 7), (1, 3), (1, 8), (2, 6)))";
        let recent = || Recent { source: source.into(), ..Recent::default() };
        let mut all = recent();
        assert_eq!(all.all(&database, 5).unwrap()[&1], [(3, 0), (5, 0), (8, 0)]);
        assert_eq!(all.known(2), [(6, 0), (7, 0)]);
        let error = recent().all(&database, 4).unwrap_err().to_string();
        assert!(error.starts_with("aw-sqlite has more than 4 new sightings"), "{error}");
    }
}
