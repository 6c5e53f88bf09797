//! What is nearest to a time: of all days from `pairing_day`, and of the day of that time from `log`, if a pairing has sightings on both
//! sides of it on that day.

use std::{cell::Cell, collections::HashMap, net::IpAddr};

use aw_clickhouse::{Row, day};
use aw_service::Error;
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::{
    ClickhouseReader,
    columns::{NETWORK, PAIRING, ip_of, is_v6_origin, of_network, pairing, times},
    read_ahead::list,
    sources::day_range,
};
use crate::{
    history_reader::{
        HistoryReader, NearestSightings, Network, NetworkIndex, SeenAround, TimeRange, evidence,
        evidence_in_frame,
    },
    holders::near,
    periods::KEPT_WITHIN,
};

/// In the place of no time before another one, and of none after it: no event has them.
const NONE_BEFORE: i64 = -1;
const NONE_AFTER: i64 = i64::MAX;

/// Pairings of a network that are looked at: as many as in SQLite. If there are more, which a host can make up, it is not known.
const MOST: u64 = 5_000;
/// Of more, and at first, so many addresses are looked at.
const SOME: u64 = 200;

/// Rows of an address, if there are many: a row for each pairing and origin.
const ROWS_OF_EACH: usize = 200;

/// What was found so far: by address, network, MAC and the MAC that sent the frames.
type Found = HashMap<(IpAddr, usize, MacAddr, Option<MacAddr>), NearestSightings>;

/// The last time up to `at`, and the first one after it, as expressions; of a row with a first and a last time that are sightings.
fn sides(at: UnixTime, first: &str, last: &str) -> String {
    let at = at.as_nanos();
    format!(
        "max(if({last} <= {at}, {last}, if({first} <= {at}, {first}, toInt64({NONE_BEFORE})))) AS last_before,
            min(if({first} > {at}, {first}, if({last} > {at}, {last}, toInt64({NONE_AFTER}))))"
    )
}

fn before(nanos: i64) -> Option<UnixTime> {
    Some(nanos).filter(|nanos| *nanos > NONE_BEFORE).map(UnixTime::from_nanos)
}

fn after(nanos: i64) -> Option<UnixTime> {
    Some(nanos).filter(|nanos| *nanos < NONE_AFTER).map(UnixTime::from_nanos)
}

const FIRST: &str = "finalizeAggregation(first)";
const LAST: &str = "finalizeAggregation(last)";

impl ClickhouseReader {
    /// Those of each address, in the order of the addresses.
    pub(super) fn nearest_of(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
    ) -> Result<Vec<Vec<NearestSightings>>, Error> {
        let mut found = Found::new();
        let [set, _] = self.clocks.asked(TimeRange { from: at, to: at }).limits();
        let Some(both_sides) = self.add_days(addresses, (at, set), &mut found)? else {
            // Any host can make up MACs for an address: the others are found without them.
            return addresses.iter().map(|ip| self.nearest(*ip, at)).collect();
        };
        if !both_sides.is_empty() {
            self.add_day_of(&both_sides, at, &mut found)?;
        }
        let mut of_each: HashMap<IpAddr, Vec<NearestSightings>> = HashMap::new();
        found.into_iter().for_each(|((ip, ..), one)| of_each.entry(ip).or_default().push(one));
        Ok(addresses.iter().map(|ip| of_each.remove(ip).unwrap_or_default()).collect())
    }

    /// Adds what `pairing_day` has; of one address, if an answer has a limit and it has more rows, those that claimed it first and those
    /// that were seen last before the time. Returns the addresses of which a day has sightings on both sides of the time, so that others
    /// may be nearer; None if there are several, with too many rows.
    fn add_days(
        &mut self,
        addresses: &[IpAddr],
        (at, set): (UnixTime, UnixTime),
        found: &mut Found,
    ) -> Result<Option<Vec<IpAddr>>, Error> {
        let (pairing_day, list) = (self.table("pairing_day"), list(addresses));
        let most = match addresses.len() {
            1 => self.most,
            many => (many * ROWS_OF_EACH).min(self.most),
        };
        let (sides, at, set_nanos) = (sides(at, FIRST, LAST), at.as_nanos(), set.as_nanos());
        let select = format!(
            "SELECT {PAIRING}, ip, origin, {sides}, min({FIRST}) AS first_time,
                min(if({FIRST} >= {set_nanos}, {FIRST}, toInt64({NONE_AFTER}))),
                toUInt8(max({FIRST} <= {at} AND {LAST} > {at}))
            FROM {pairing_day} WHERE ip IN ({list}) GROUP BY {PAIRING}, ip, origin"
        );
        let (mut both_sides, rows) = (Vec::new(), Cell::new(0));
        let mut add_row = |networks: &mut NetworkIndex, row: &mut Row| {
            rows.set(rows.get() + 1);
            let (pairing, bytes, origin) = (pairing(networks, row)?, row.fixed()?, row.uint8()?);
            let (last, next) = (before(row.int64()?), after(row.int64()?));
            let (first, first_set) = (row.int64()?, after(row.int64()?));
            let has_both_sides = row.uint8()? == 1;
            let ip = ip_of(bytes, is_v6_origin(origin));
            let Some((network, mac, source)) = pairing else { return Ok(()) };
            if has_both_sides && both_sides.last() != Some(&ip) {
                both_sides.push(ip);
            }
            let one = found
                .entry((ip, network, mac, source))
                .or_insert_with(|| NearestSightings::new(network, mac, source));
            add(one, origin, [last, next]);
            if evidence(origin.into()) == Evidence::Claim {
                let first = first_set.or(Some(UnixTime::from_nanos(first)));
                one.first = NearestSightings::first_of(one.first, first, set);
            }
            Ok(())
        };
        if most == usize::MAX {
            self.query(&select, &mut add_row)?;
        } else {
            self.query(&format!("{select} LIMIT {}", most + 1), &mut add_row)?;
        }
        if rows.get() > most && addresses.len() > 1 {
            return Ok(None);
        }
        if rows.get() > most {
            for order in ["first_time", "last_before DESC"] {
                let some = format!("{select} ORDER BY {order} LIMIT {}", most / 2);
                self.query(&some, &mut add_row)?;
            }
            self.is_cut = true;
        }
        both_sides.sort_unstable();
        both_sides.dedup();
        Ok(Some(both_sides))
    }

    /// Adds the sightings of the day of the time.
    fn add_day_of(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
        found: &mut Found,
    ) -> Result<(), Error> {
        let (log, list, sides) = (self.table("log"), list(addresses), sides(at, "time", "time"));
        let times = times("time", day_range(day(at)));
        let select = format!(
            "SELECT {PAIRING}, ip, origin, {sides} FROM {log} WHERE ip IN ({list}){times}
            GROUP BY {PAIRING}, ip, origin"
        );
        self.query(&select, &mut |networks, row| {
            let (pairing, bytes, origin) = (pairing(networks, row)?, row.fixed()?, row.uint8()?);
            let (last, next) = (before(row.int64()?), after(row.int64()?));
            let ip = ip_of(bytes, is_v6_origin(origin));
            let Some((network, mac, source)) = pairing else { return Ok(()) };
            let one = found
                .entry((ip, network, mac, source))
                .or_insert_with(|| NearestSightings::new(network, mac, source));
            add(one, origin, [last, next]);
            Ok(())
        })
    }

    /// When anything was seen in a network around a time: see [`crate::history_reader::HistoryReader::seen_around`].
    pub(super) fn seen_in_network(
        &mut self,
        network: &Network,
        at: UnixTime,
    ) -> Result<SeenAround, Error> {
        let (pairing_day, of_network) = (self.table("pairing_day"), of_network(network));
        let (sides_of_days, nanos) = (sides(at, FIRST, LAST), at.as_nanos());
        let select = format!(
            "SELECT {sides_of_days}, toUInt8(max({FIRST} <= {nanos} AND {LAST} > {nanos}))
            FROM {pairing_day} PREWHERE {of_network} GROUP BY {NETWORK}"
        );
        let (mut found, mut has_both_sides) = ([None, None], false);
        self.query(&select, &mut |_, row| {
            found = [before(row.int64()?), after(row.int64()?)];
            has_both_sides = row.uint8()? == 1;
            Ok(())
        })?;
        let is_near = |found: &[Option<UnixTime>; 2]| found.iter().any(|time| near(*time, at));
        if is_near(&found) {
            return Ok(Some(found));
        }
        let number = format!(
            "SELECT count() FROM (SELECT DISTINCT ip, mac, frame_source FROM {pairing_day} PREWHERE {of_network} LIMIT {})",
            MOST + 1
        );
        let mut pairings = 0;
        self.query(&number, &mut |_, row| {
            pairings = row.uint64()?;
            Ok(())
        })?;
        if !has_both_sides {
            return Ok(Some(found).filter(|_| pairings <= MOST));
        }
        // Of that day, at first those near the time.
        let span = |nanos: i64| TimeRange {
            from: UnixTime::from_nanos(at.as_nanos().saturating_sub(nanos)),
            to: UnixTime::from_nanos(at.as_nanos().saturating_add(nanos).saturating_add(1)),
        };
        let of_day = day_range(day(at));
        let within = span(KEPT_WITHIN);
        let near_time =
            TimeRange { from: within.from.max(of_day.from), to: within.to.min(of_day.to) };
        for (range, limit) in [(near_time, format!(" LIMIT {SOME}")), (of_day, String::new())] {
            if limit.is_empty() && pairings > MOST {
                return Ok(None);
            }
            let (log, sides) = (self.table("log"), sides(at, "time", "time"));
            let (times, date) = (times("time", range), day(at));
            let select = format!(
                "SELECT {sides} FROM {log} WHERE {of_network}{times} AND ip IN (
                    SELECT DISTINCT ip FROM {pairing_day} WHERE {of_network} AND day = toDate(toUInt16({date}))
                        AND {FIRST} <= {nanos} AND {LAST} > {nanos}{limit})
                GROUP BY {NETWORK}"
            );
            self.query(&select, &mut |_, row| {
                found[0] = found[0].max(before(row.int64()?));
                found[1] = [found[1], after(row.int64()?)].into_iter().flatten().min();
                Ok(())
            })?;
            if is_near(&found) {
                break;
            }
        }
        Ok(Some(found))
    }
}

/// Adds the nearest sightings of an origin on both sides.
fn add(one: &mut NearestSightings, origin: u8, [last, next]: [Option<UnixTime>; 2]) {
    let evidence = evidence_in_frame(origin.into(), one.source);
    if let Some(last) = last {
        one.before.add(evidence, last, UnixTime::max);
    }
    if let Some(next) = next {
        one.after.add(evidence, next, UnixTime::min);
    }
}
