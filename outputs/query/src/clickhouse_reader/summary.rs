//! The pairings of a time range, and the addresses that may have a change in it.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use aw_clickhouse::NANOS_OF_DAY;
use aw_service::Error;
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::{
    ClickhouseReader, check_number,
    columns::{PAIRING, SeenSource, V6_ORIGINS, ip_of, is_v6_origin, pairing, times},
    sources::{days_of, of_days},
};
use crate::history_reader::{HistoryReader, NO_CLAIM, PairingSummary, TimeRange, evidence};

/// An address that one MAC claimed and no other one used for so many days is not changed.
const SETTLED_DAYS: i64 = 7;

type Key = (IpAddr, usize, MacAddr, Option<MacAddr>);

impl ClickhouseReader {
    /// See [`HistoryReader::changed_addresses`]. Left out are those that since some days before the range have had one pairing, which
    /// claimed the address before the range: whatever was seen before these days was not the last one.
    pub(super) fn changed(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        let [set, _] = self.clocks.asked(range).limits();
        if range.from < set || range.from == TimeRange::ALL.from {
            return self.addresses(range);
        }
        let (from, set) = (range.from.as_nanos(), set.as_nanos());
        let begin = from.saturating_sub(SETTLED_DAYS * NANOS_OF_DAY);
        let since = TimeRange { from: UnixTime::from_nanos(begin), ..range };
        let days = of_days(days_of(since));
        let before_end = times("first_time", TimeRange { from: TimeRange::ALL.from, ..range });
        let one_only = PAIRING.split(", ").map(|column| format!("min({column}) = max({column})"));
        let one_only = one_only.collect::<Vec<_>>().join(" AND ");
        let select = format!(
            "SELECT ip, v6 FROM (
                SELECT {PAIRING}, ip, origin, toUInt8(origin IN ({V6_ORIGINS})) AS v6,
                    finalizeAggregation(first) AS first_time, finalizeAggregation(last) AS last_time
                FROM {} WHERE 1{days})
            WHERE 1{before_end} GROUP BY ip, v6
            HAVING max(last_time) >= {from} AND NOT ({one_only} AND max(frame_source) = 0
                AND sum(origin NOT IN ({NO_CLAIM}) AND first_time >= {set} AND first_time < {from}) > 0){}",
            self.table("pairing_day"),
            self.one_more()
        );
        let changed = self.ips(&select)?;
        let (first, last) = days_of(range);
        if first < last {
            return Ok(changed);
        }
        // Within a day, first and last times of the day do not show whether something was seen.
        let changed: HashSet<IpAddr> = changed.into_iter().collect();
        let mut seen = self.addresses(range)?;
        seen.retain(|ip| changed.contains(ip));
        Ok(seen)
    }

    pub(super) fn summaries(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error> {
        let [set, _] = self.clocks.asked(range).limits();
        let columns = format!("{PAIRING}, ip, origin");
        // To count takes every event, without its copies.
        let (source, count) = match is_counted {
            false => {
                let source = SeenSource { columns: &columns, condition: "1" };
                (self.seen(range, source), "toUInt64(0)")
            }
            true => {
                let (log, times) = (self.table("log"), times("time", range));
                let select = format!(
                    "(SELECT {columns}, time AS first_time, time AS last_time FROM {log} FINAL WHERE 1{times})"
                );
                (select, "count()")
            }
        };
        let select = format!(
            "SELECT {columns}, min(first_time), min(if(first_time >= {set}, first_time, toInt64({none}))), max(last_time), {count}
            FROM {source} GROUP BY {columns}{limit}",
            set = set.as_nanos(),
            none = i64::MAX,
            limit = self.one_more()
        );
        let (mut found, mut rows) = (HashMap::<Key, PairingSummary>::new(), 0);
        let most = self.most;
        self.query(&select, &mut |networks, row| {
            check_number(rows, most)?;
            rows += 1;
            let (pairing, bytes, origin) = (pairing(networks, row)?, row.fixed()?, row.uint8()?);
            let (first, since_set) = (row.time()?, row.time()?);
            let (last, number) = (row.time()?, row.uint64()?);
            let evidence = evidence(origin.into());
            let Some((network, mac, source)) = pairing.filter(|_| evidence.is_pairing()) else {
                return Ok(());
            };
            let ip = ip_of(bytes, is_v6_origin(origin));
            let has_undated = first < set;
            let is_dated = since_set < TimeRange::ALL.to;
            let first = if is_dated { since_set } else { first };
            let is_claimed = evidence == Evidence::Claim && source.is_none();
            let is_answered = evidence == Evidence::FrameSource || evidence == Evidence::Claim;
            let count = is_counted.then_some(number);
            let new = PairingSummary {
                network,
                mac,
                ip,
                source,
                first,
                has_undated,
                last,
                count,
                is_claimed,
                is_answered,
            };
            let Some(one) = found.get_mut(&(ip, network, mac, source)) else {
                found.insert((ip, network, mac, source), new);
                return Ok(());
            };
            let order = |time: UnixTime| (time < set, time);
            if order(first) < order(one.first) {
                one.first = first;
            }
            one.has_undated |= has_undated;
            one.last = one.last.max(last);
            one.count = one.count.zip(count).map(|(one, other)| one.saturating_add(other));
            one.is_claimed |= is_claimed;
            one.is_answered |= is_answered;
            Ok(())
        })?;
        self.is_cut |= rows > self.most;
        let done = |one: PairingSummary| PairingSummary {
            is_answered: one.is_answered && !one.is_claimed,
            has_undated: one.has_undated && one.first >= set,
            ..one
        };
        Ok(found.into_values().map(done).collect())
    }
}
