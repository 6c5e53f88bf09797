//! The sightings that are nearest to a time: of one address, or of many with few queries.

use std::{collections::HashMap, net::IpAddr};

use aw_mysql::hex_ip;
use aw_service::Error;
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::{
    MysqlReader, PAIRING,
    columns::{bytes, mac_address, origin, time, times},
    pairing,
};
use crate::history_reader::{Nearer, NearestSightings, TimeRange, parse_ip};

/// The most rows that a query about several addresses may have for each of them. More than that is of other addresses in
/// between, or of MACs that a host has made up: then each address has its own `SELECT`.
pub(super) const ROWS_OF_EACH: usize = 8;
/// So many of them are one query.
const SELECTS: usize = 50;

/// What was found so far: by address, network, MAC and the MAC that sent the frames.
type Found = HashMap<(IpAddr, usize, MacAddr, Option<MacAddr>), NearestSightings>;

/// One side of a time, in which the first or the last sighting is the nearest one.
struct Side {
    end: &'static str,
    range: TimeRange,
    /// Also the first one. That is one more search of each pairing and origin.
    with_first: bool,
    /// The most rows to read.
    limit: Option<usize>,
}

/// What one query has read.
struct Read {
    rows: usize,
    /// Some claims are from before the clock was set.
    has_undated: bool,
}

impl MysqlReader {
    pub(super) fn nearest_of(
        &mut self,
        ip: IpAddr,
        at: UnixTime,
    ) -> Result<Vec<NearestSightings>, Error> {
        let (condition, [until, since]) = (format!("ip_address = {}", hex_ip(ip)), sides(at));
        let [_, set] = self.clocks.asked(TimeRange { from: at, to: at }).limits();
        let mut found = Found::new();
        let condition = &[condition];
        let side = |end, range| Side { end, range, with_first: true, limit: None };
        let both = [side("min", since), side("max", until)];
        let read = self.add_sides(condition, &both, set, &mut found)?;
        if read.has_undated {
            // The first claim of a clock that was set is a later one of the same rows.
            let dated = TimeRange { from: set, ..until };
            self.add_sides(condition, &[side("max", dated)], set, &mut found)?;
        }
        Ok(found.into_values().collect())
    }

    /// Those of each address, in the order of the addresses.
    pub(super) fn nearest_together(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
    ) -> Result<Vec<Vec<NearestSightings>>, Error> {
        let keys = addresses.iter().map(|ip| hex_ip(*ip));
        let found = match (keys.clone().min(), keys.max()) {
            // Without the index, the query would read all rows of the addresses in between.
            (Some(first), Some(last)) if first < last && self.has_pairing_index => {
                let between = format!("ip_address BETWEEN {first} AND {last}");
                self.nearest_between(&between, at, addresses.len() * ROWS_OF_EACH)?
            }
            _ => None,
        };
        let found = match found {
            Some(found) => found,
            None => self.nearest_one_by_one(addresses, at)?,
        };
        let mut of_each: HashMap<IpAddr, Vec<NearestSightings>> = HashMap::new();
        found.into_iter().for_each(|((ip, ..), one)| of_each.entry(ip).or_default().push(one));
        Ok(addresses.iter().map(|ip| of_each.remove(ip).unwrap_or_default()).collect())
    }

    /// Whatever else the table has: a search of the index for each address, in few queries.
    fn nearest_one_by_one(&mut self, addresses: &[IpAddr], at: UnixTime) -> Result<Found, Error> {
        let mut found = Found::new();
        for addresses in addresses.chunks(SELECTS) {
            let each = |ip: &IpAddr| format!("ip_address = {}", hex_ip(*ip));
            let conditions: Vec<_> = addresses.iter().map(each).collect();
            let [until, since] = sides(at);
            let side = |end, range| Side { end, range, with_first: false, limit: None };
            let both = [side("max", until), side("min", since)];
            self.add_sides(&conditions, &both, TimeRange::ALL.from, &mut found)?;
        }
        Ok(found)
    }

    /// Those of the addresses for which a condition is true; None if they have more rows.
    fn nearest_between(
        &mut self,
        condition: &str,
        at: UnixTime,
        most: usize,
    ) -> Result<Option<Found>, Error> {
        let mut found = Found::new();
        for (end, range) in ["max", "min"].into_iter().zip(sides(at)) {
            let side = Side { end, range, with_first: false, limit: Some(most + 1) };
            let condition = &[condition.to_owned()];
            if self.add_sides(condition, &[side], TimeRange::ALL.from, &mut found)?.rows > most {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// A `SELECT` for each side, because the server can answer each of them from an index alone, in one step for each pairing and
    /// origin; and all in one query. MariaDB uses the index only if it is grouped by the address, too.
    fn add_sides(
        &mut self,
        conditions: &[String],
        sides: &[Side],
        set: UnixTime,
        found: &mut Found,
    ) -> Result<Read, Error> {
        let (log, source, by_source) = (&self.log, self.source, self.by_source());
        let select = |condition: &String, Side { end, range, with_first, limit }: &Side| {
            let first = if *with_first { "unix_timestamp(min(tstamp))" } else { "NULL" };
            let (times, limit) = (times(*range), limit.map(|rows| format!(" LIMIT {rows}")));
            format!(
                "(SELECT {PAIRING}, ip_address, unix_timestamp({end}(tstamp)), origin_id, {source}, {first}, '{end}'
                FROM {log} WHERE {condition}{times}
                GROUP BY ip_address, mac_address, vlan_tag, interface, hostname, {by_source}origin_id{})",
                limit.unwrap_or_default()
            )
        };
        let of_each = |condition| sides.iter().map(move |side| select(condition, side));
        let select = conditions.iter().flat_map(of_each).collect::<Vec<_>>().join(" UNION ALL ");
        let mut read = Read { rows: 0, has_undated: false };
        self.query(&select, &mut |networks, row| {
            read.rows += 1;
            let (Some((network, mac)), Some(ip), Some(nearest)) =
                (pairing(networks, row), parse_ip(bytes(row, 4)), time(row, 5))
            else {
                return;
            };
            let source = mac_address(row, 7);
            let one = found
                .entry((ip, network, mac, source))
                .or_insert_with(|| NearestSightings::new(network, mac, source));
            let is_before = bytes(row, 9) == b"max";
            let (side, nearer) = match is_before {
                true => (&mut one.before, UnixTime::max as Nearer),
                false => (&mut one.after, UnixTime::min as Nearer),
            };
            side.add(origin(row, 6, source), nearest, nearer);
            let first = time(row, 8).filter(|_| origin(row, 6, None) == Evidence::Claim);
            read.has_undated |= is_before && first.is_some_and(|first| first < set);
            one.first = NearestSightings::first_of(one.first, first, set);
        })?;
        Ok(read)
    }
}

/// Until a time, and after it.
fn sides(at: UnixTime) -> [TimeRange; 2] {
    let next = UnixTime::from_nanos(at.as_nanos().saturating_add(1));
    [TimeRange { to: next, ..TimeRange::ALL }, TimeRange { from: next, ..TimeRange::ALL }]
}
