//! The pairings of a time range. Not counted, the server takes one step in its index by pairing for each pairing and origin.

use std::{collections::HashMap, net::IpAddr};

use aw_service::Error;
use shm_layout::{Evidence, MacAddr, UnixTime};

use super::{
    MysqlReader, PAIRING,
    columns::{bytes, mac_address, number, time, times},
    pairing,
};
use crate::history_reader::{PairingSummary, TimeRange, evidence, parse_ip};

/// The earlier of two times. One since the clock was `set` comes before one that has no date.
fn earlier(one: UnixTime, other: UnixTime, set: UnixTime) -> UnixTime {
    let order = |time| (time < set, time);
    if order(other) < order(one) { other } else { one }
}

type Key = (IpAddr, usize, MacAddr, Option<MacAddr>);

impl MysqlReader {
    pub(super) fn summaries(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error> {
        let [_, set] = self.clocks.asked(range).limits();
        let mut found: HashMap<Key, PairingSummary> = HashMap::new();
        let has_undated = self.add_summaries(range, (is_counted, set), &mut found)?;
        // The first one of a clock that was set: later than one before that, of the same rows.
        if has_undated {
            let dated = TimeRange { from: set.max(range.from), ..range };
            self.add_summaries(dated, (false, set), &mut found)?;
        }
        let done = |one: PairingSummary| PairingSummary {
            is_answered: one.is_answered && !one.is_claimed,
            has_undated: one.has_undated && one.first >= set,
            ..one
        };
        Ok(found.into_values().map(done).collect())
    }

    /// Adds the sightings of a time range. Returns whether some of them are from before the clock was `set`.
    fn add_summaries(
        &mut self,
        range: TimeRange,
        (is_counted, set): (bool, UnixTime),
        found: &mut HashMap<Key, PairingSummary>,
    ) -> Result<bool, Error> {
        let (log, times, source) = (&self.log, times(range), self.source);
        let by_source = self.by_source();
        let count = if is_counted { "count(*)" } else { "NULL" };
        let select = format!(
            "SELECT {PAIRING}, ip_address, unix_timestamp(min(tstamp)), unix_timestamp(max(tstamp)), origin_id, {source}, {count}
            FROM {log} WHERE TRUE{times}
            GROUP BY ip_address, mac_address, vlan_tag, interface, hostname, {by_source}origin_id{}",
            self.one_more()
        );
        let (mut has_undated, mut rows) = (false, 0);
        self.query(&select, &mut |networks, row| {
            rows += 1;
            // An origin that is null is that of another program.
            let evidence = evidence(number(row, 7).unwrap_or(i64::MAX));
            if !evidence.is_pairing() {
                return;
            }
            let (Some((network, mac)), Some(ip)) =
                (pairing(networks, row), parse_ip(bytes(row, 4)))
            else {
                return;
            };
            let (Some(first), Some(last)) = (time(row, 5), time(row, 6)) else { return };
            let source = mac_address(row, 8);
            let count = number(row, 9).map(|count| count as u64);
            let is_claimed = evidence == Evidence::Claim && source.is_none();
            let is_answered = evidence == Evidence::FrameSource || evidence == Evidence::Claim;
            let is_undated = first < set;
            has_undated |= is_undated;
            let new = PairingSummary {
                network,
                mac,
                ip,
                source,
                first,
                has_undated: false,
                last,
                count,
                is_claimed,
                is_answered,
            };
            let one = found
                .entry((ip, network, mac, source))
                .or_insert(PairingSummary { count: count.and(Some(0)), ..new });
            one.has_undated |= is_undated;
            one.first = earlier(one.first, first, set);
            one.last = one.last.max(last);
            one.count = one.count.zip(count).map(|(one, other)| one + other).or(one.count);
            one.is_claimed |= is_claimed;
            one.is_answered |= is_answered;
        })?;
        self.is_cut |= rows > self.most;
        Ok(has_undated)
    }
}
