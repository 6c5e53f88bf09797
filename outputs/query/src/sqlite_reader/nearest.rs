//! The sightings of an address that are nearest to a time.

use std::{collections::HashMap, net::IpAddr};

use aw_service::Error;
use rusqlite::{Connection, OptionalExtension, params};
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::{Pairing, SqliteReader, recent::RecentRow};
use crate::{
    history_reader::{
        NO_CLAIM, Nearer, Nearest, NearestSightings, TimeRange, evidence, evidence_in_frame,
    },
    holders::near,
};

/// Rows that are looked at for a claim, of a pairing on one side of a time: a host can send any number of probes. What is older than a week is in
/// spans, and found without them.
const LOOKED_AT: i64 = 100_000;
/// And in all of an address; beyond that, so many of each pairing.
const IN_ALL: i64 = 1_000_000;
const AT_LEAST: i64 = 1_000;

const CUT: &str = "MACs sent many probes or other messages about the address that are no claim: a claim before or after them may be missing (aw-query ip with --from and --to reads all)";

/// How many rows may be looked at.
struct Budget {
    left: i64,
    is_cut: bool,
}

impl Budget {
    /// Of the next pairing, on one side of the time.
    fn of_pairing(&self) -> i64 {
        self.left.clamp(AT_LEAST, LOOKED_AT)
    }

    fn take(&mut self, looked_at: i64, has_claim: bool) {
        self.is_cut |= !has_claim && looked_at >= self.of_pairing();
        self.left = self.left.saturating_sub(looked_at);
    }
}

impl SqliteReader {
    pub(super) fn nearest_to(
        &mut self,
        ip: IpAddr,
        at: UnixTime,
    ) -> Result<Vec<NearestSightings>, Error> {
        let (found, budget) = self.read(|history| {
            let before: (&str, Nearer) = ("time <= ? ORDER BY time DESC", UnixTime::max);
            let after: (&str, Nearer) = ("time > ? ORDER BY time", UnixTime::min);
            type Key = (usize, MacAddr, Option<MacAddr>);
            let mut found: HashMap<Key, NearestSightings> = HashMap::new();
            let mut budget = Budget { left: IN_ALL, is_cut: false };
            let pairings = history.pairings_of(ip)?;
            let clocks = history.places.clocks().asked(TimeRange { from: at, to: at });
            let recent = history.recent.of(&history.snapshot.database, ip)?;
            let with_first = pairings.iter().any(|pairing| pairing.source.is_some());
            for pairing in pairings {
                let Pairing { network, mac, source, .. } = pairing;
                let nearest = found
                    .entry((network, mac, source))
                    .or_insert_with(|| NearestSightings::new(network, mac, source));
                let database = &history.snapshot.database;
                let recent = recent.get(&pairing.id).map_or(&[][..], Vec::as_slice);
                let (older, newer) =
                    recent.split_at(recent.partition_point(|(time, _)| *time <= at.as_nanos()));
                let (older, newer) = (&mut older.iter().rev(), &mut newer.iter());
                history.spans.add_nearest(database, pairing.id, at, nearest)?;
                let of = (&pairing, at);
                nearest_of(database, of, (before, older), &mut nearest.before, &mut budget)?;
                nearest_of(database, of, (after, newer), &mut nearest.after, &mut budget)?;
                let sides = [nearest.before, nearest.after];
                let mut times = sides.iter().flat_map(|side| side.all());
                let is_wanted = with_first || times.any(|time| near(time, at));
                // Without a claim, all probes would be looked at for the first one.
                if is_wanted && nearest.is_known() {
                    let set = clocks.set_at(network);
                    let first = first_claim(database, (&pairing, set), recent, &mut budget)?;
                    let of_spans = history.spans.first_claim(database, pairing.id)?;
                    let first = NearestSightings::first_of(first, of_spans, set);
                    nearest.first = NearestSightings::first_of(nearest.first, first, set);
                }
            }
            Ok((found.into_values().collect(), budget))
        })?;
        if budget.is_cut && !self.remarks.iter().any(|remark| remark == CUT) {
            self.remarks.push(CUT.into());
        }
        Ok(found)
    }
}

/// The sightings of a pairing on one side of a time, from the nearest one up to the nearest claim.
fn nearest_of(
    database: &Connection,
    (pairing, at): (&Pairing, UnixTime),
    ((side, nearer), mut recent): ((&str, Nearer), &mut dyn Iterator<Item = &RecentRow>),
    nearest: &mut Nearest,
    budget: &mut Budget,
) -> rusqlite::Result<()> {
    // Returns whether it is a claim: beyond that, nothing is nearer.
    let add = |nearest: &mut Nearest, time: i64, origin: i64| {
        let evidence = evidence_in_frame(origin, pairing.source);
        nearest.add(evidence, UnixTime::from_nanos(time), nearer);
        let is_claim = evidence == Evidence::FrameSource && pairing.source.is_some();
        evidence == Evidence::Claim || is_claim
    };
    // A span or a new sighting may have it already: then the rows are for what is nearer.
    let is_known =
        nearest.claim.is_some() || pairing.source.is_some() && nearest.frame_source.is_some();
    let is_known = is_known | (&mut recent).any(|(time, origin)| add(nearest, *time, *origin));
    let select = format!("SELECT time, origin FROM sighting WHERE pairing = ? AND {side} LIMIT ?");
    let mut statement = database.prepare_cached(&select)?;
    let mut rows = statement.query(params![pairing.id, at.as_nanos(), budget.of_pairing()])?;
    let (mut looked_at, mut has_claim) = (0, false);
    while !has_claim && let Some(row) = rows.next()? {
        looked_at += 1;
        has_claim = add(nearest, row.get(0)?, row.get(1)?);
    }
    budget.take(looked_at, has_claim || is_known);
    Ok(())
}

/// The first claim of a pairing since the clock was `set`; an earlier one if there is no other.
fn first_claim(
    database: &Connection,
    (pairing, set): (&Pairing, UnixTime),
    recent: &[RecentRow],
    budget: &mut Budget,
) -> rusqlite::Result<Option<UnixTime>> {
    let select = format!(
        "SELECT time FROM (SELECT time, origin FROM sighting WHERE pairing = ? AND time >= ? ORDER BY time LIMIT {LOOKED_AT})
        WHERE origin NOT IN ({NO_CLAIM}) LIMIT 1"
    );
    let mut statement = database.prepare_cached(&select)?;
    let mut since =
        |time: i64| statement.query_row([pairing.id, time], |row| row.get(0)).optional();
    let mut first: Option<i64> = since(set.as_nanos())?;
    if first.is_none() {
        // If there are many rows, one may be beyond those that were looked at: it is not known.
        let more = format!(
            "SELECT 1 FROM sighting WHERE pairing = ? AND time >= ? LIMIT 1 OFFSET {LOOKED_AT}"
        );
        let row = [pairing.id, set.as_nanos()];
        match database.prepare_cached(&more)?.exists(row)? {
            true => budget.is_cut = true,
            false => first = since(i64::MIN)?,
        }
    }
    let mut first = first.map(UnixTime::from_nanos);
    for (time, origin) in recent {
        if evidence(*origin) == Evidence::Claim {
            let time = Some(UnixTime::from_nanos(*time));
            first = NearestSightings::first_of(first, time, set);
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Any number of probes is not read: a bounded number of rows is looked at, and what is nearest is found; a claim beyond them, as in an honest
    /// history, is.
    #[test]
    fn a_bounded_number_of_probes() {
        let database = Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE sighting (pairing INTEGER, time INTEGER, origin, again, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
            WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 300000)
                INSERT INTO sighting SELECT 1, n * 1000000000, 2, 0 FROM n;
            INSERT INTO sighting VALUES (1, 1, 0, 0), (1, 250000000000001, 0, 0);";
        database.execute_batch(tables).unwrap();
        let pairing = Pairing { id: 1, network: 0, mac: MacAddr::new([2; 6]), source: None };
        let look = |at: i64, left: i64| {
            let (mut nearest, mut budget) = (Nearest::default(), Budget { left, is_cut: false });
            let before: (&str, Nearer) = ("time <= ? ORDER BY time DESC", UnixTime::max);
            let of = (&pairing, UnixTime::from_nanos(at * SECOND));
            let sides = (before, &mut [].iter() as &mut dyn Iterator<Item = &RecentRow>);
            nearest_of(&database, of, sides, &mut nearest, &mut budget).unwrap();
            let seconds = |time: Option<UnixTime>| time.map(UnixTime::seconds);
            (seconds(nearest.claim), seconds(nearest.probe), left - budget.left, budget.is_cut)
        };
        assert_eq!(look(90_000, IN_ALL), (Some(0), Some(90_000), 90_001, false));
        assert_eq!(look(249_000, IN_ALL), (None, Some(249_000), LOOKED_AT, true));
        assert_eq!(look(249_000, 5_000), (None, Some(249_000), 5_000, true));
        assert_eq!(look(300_000, IN_ALL), (Some(250_000), Some(300_000), 50_001, false));
        let mut budget = Budget { left: IN_ALL, is_cut: false };
        let first = |set, budget: &mut Budget| {
            first_claim(&database, (&pairing, UnixTime::from_nanos(set)), &[], budget).unwrap()
        };
        assert_eq!(first(1, &mut budget), Some(UnixTime::from_nanos(1)));
        assert_eq!((first(2, &mut budget), budget.is_cut), (None, true), "it is too far");
        // A claim that is known already: nothing may be missing.
        let mut nearest = Nearest { claim: Some(UnixTime::from_nanos(5)), ..Nearest::default() };
        let mut budget = Budget { left: IN_ALL, is_cut: false };
        let before: (&str, Nearer) = ("time <= ? ORDER BY time DESC", UnixTime::max);
        let sides = (before, &mut [].iter() as &mut dyn Iterator<Item = &RecentRow>);
        let of = (&pairing, UnixTime::new(249_000, 0));
        nearest_of(&database, of, sides, &mut nearest, &mut budget).unwrap();
        assert!(!budget.is_cut);
    }
}
