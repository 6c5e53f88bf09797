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
use crate::history_reader::{HistoryReader, Nearer, NearestSightings, TimeRange, parse_ip};

/// The most rows that a query about several addresses may have for each of them. More than that is of other addresses in
/// between, or of MACs that a host has made up: then each address has its own query.
const ROWS_OF_EACH: usize = 32;

type Key = (IpAddr, usize, MacAddr, Option<MacAddr>);

impl MysqlReader {
    /// Those of each address, in the order of the addresses.
    pub(super) fn nearest_together(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
    ) -> Result<Vec<Vec<NearestSightings>>, Error> {
        let keys = addresses.iter().map(|ip| hex_ip(*ip));
        let between = match (keys.clone().min(), keys.max()) {
            // Without the index, the query would read all rows of the addresses in between.
            (Some(first), Some(last)) if first < last && self.has_pairing_index => {
                let limit = Some(addresses.len() * ROWS_OF_EACH);
                self.nearest_where(&format!("ip_address BETWEEN {first} AND {last}"), at, limit)?
            }
            _ => None,
        };
        let Some(found) = between else {
            return addresses.iter().map(|ip| self.nearest(*ip, at)).collect();
        };
        let mut of_each: HashMap<IpAddr, Vec<NearestSightings>> = HashMap::new();
        found.into_iter().for_each(|(ip, one)| of_each.entry(ip).or_default().push(one));
        Ok(addresses.iter().map(|ip| of_each.remove(ip).unwrap_or_default()).collect())
    }

    /// Those of the addresses for which a condition is true; None if they have more than `limit` rows. A query for each side,
    /// because the server can answer each of them from an index alone, in one step for each pairing and origin. MariaDB uses the
    /// index only if it is grouped by the address, too.
    pub(super) fn nearest_where(
        &mut self,
        condition: &str,
        at: UnixTime,
        limit: Option<usize>,
    ) -> Result<Option<Vec<(IpAddr, NearestSightings)>>, Error> {
        let next = UnixTime::from_nanos(at.as_nanos().saturating_add(1));
        let until = TimeRange { to: next, ..TimeRange::ALL };
        let since = TimeRange { from: next, ..TimeRange::ALL };
        let [_, set] = self.clocks.asked(TimeRange { from: at, to: at }).limits();
        let dated = TimeRange { from: set, ..until };
        let mut found: HashMap<Key, NearestSightings> = HashMap::new();
        let mut sides = vec![("max", until), ("min", since)];
        while let Some((end, range)) = sides.pop() {
            let (log, source, times) = (&self.log, self.source, times(range));
            let by_source = self.by_source();
            let most = limit.map(|limit| format!(" LIMIT {}", limit + 1)).unwrap_or_default();
            let select = format!(
                "SELECT {PAIRING}, ip_address, unix_timestamp({end}(tstamp)), origin_id, {source}, unix_timestamp(min(tstamp))
                FROM {log} WHERE {condition}{times}
                GROUP BY ip_address, mac_address, vlan_tag, interface, hostname, {by_source}origin_id{most}"
            );
            let (mut rows, mut has_undated) = (0, false);
            self.query(&select, &mut |networks, row| {
                rows += 1;
                let first = time(row, 8);
                let (Some((network, mac)), Some(ip), Some(time)) =
                    (pairing(networks, row), parse_ip(bytes(row, 4)), time(row, 5))
                else {
                    return;
                };
                let source = mac_address(row, 7);
                let nearest = found
                    .entry((ip, network, mac, source))
                    .or_insert_with(|| NearestSightings::new(network, mac, source));
                let (side, nearer) = match end {
                    "max" => (&mut nearest.before, UnixTime::max as Nearer),
                    _ => (&mut nearest.after, UnixTime::min as Nearer),
                };
                side.add(origin(row, 6, source), time, nearer);
                let first = first.filter(|_| origin(row, 6, None) == Evidence::Claim);
                has_undated |= first.is_some_and(|first| first < set);
                nearest.first = NearestSightings::first_of(nearest.first, first, set);
            })?;
            if limit.is_some_and(|limit| rows > limit) {
                return Ok(None);
            }
            // The first claim of a clock that was set: later than one before that, of the same rows.
            if has_undated && range == until {
                sides.push(("max", dated));
            }
        }
        Ok(Some(found.into_iter().map(|((ip, ..), one)| (ip, one)).collect()))
    }
}
